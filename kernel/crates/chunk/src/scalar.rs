//! Owns single values of any dtype, and NumPy 2's rule for them: a scalar is weak, it takes the array's dtype
//! unless its kind is higher.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    dtype::{DType, Kind},
    error::ChunkError,
};

/// One value. Which dtype it becomes depends on what it meets.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Scalar {
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
}

impl Scalar {
    /// The dtype of an operation between an array of `dtype` and this scalar.
    pub fn promote(self, dtype: DType) -> DType {
        match (self, dtype.kind()) {
            (Scalar::Bool(_), _) => dtype,
            (Scalar::Int(_) | Scalar::UInt(_), Kind::Bool) => DType::I64,
            (Scalar::Int(_) | Scalar::UInt(_), _) => dtype,
            (Scalar::Float(_), Kind::Float) => dtype,
            (Scalar::Float(_), _) => DType::F64,
        }
    }

    /// The dtype it has when it stands alone.
    pub fn dtype(self) -> DType {
        match self {
            Scalar::Bool(_) => DType::Bool,
            Scalar::Int(_) => DType::I64,
            Scalar::UInt(_) => DType::U64,
            Scalar::Float(_) => DType::F64,
        }
    }

    /// Checks that an integer fits an integer dtype.
    ///
    /// # Errors
    /// [`ChunkError::ScalarOutOfRange`], as NumPy 2 raises `OverflowError`.
    pub fn check_fits(self, dtype: DType) -> Result<(), ChunkError> {
        let value = match self {
            Scalar::Int(v) => i128::from(v),
            Scalar::UInt(v) => i128::from(v),
            Scalar::Bool(_) | Scalar::Float(_) => return Ok(()),
        };
        let bits = dtype.size() as u32 * 8;
        let (low, high) = match dtype.kind() {
            Kind::Signed => (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1),
            Kind::Unsigned => (0, (1i128 << bits) - 1),
            Kind::Bool | Kind::Float => return Ok(()),
        };
        if (low..=high).contains(&value) {
            Ok(())
        } else {
            Err(ChunkError::ScalarOutOfRange { value: value.to_string(), dtype })
        }
    }

    pub fn as_f64(self) -> f64 {
        match self {
            Scalar::Bool(v) => f64::from(u8::from(v)),
            Scalar::Int(v) => v as f64,
            Scalar::UInt(v) => v as f64,
            Scalar::Float(v) => v,
        }
    }

    pub fn as_i64(self) -> i64 {
        match self {
            Scalar::Bool(v) => i64::from(v),
            Scalar::Int(v) => v,
            Scalar::UInt(v) => v as i64,
            Scalar::Float(v) => v as i64,
        }
    }

    pub fn as_u64(self) -> u64 {
        match self {
            Scalar::Bool(v) => u64::from(v),
            Scalar::Int(v) => v as u64,
            Scalar::UInt(v) => v,
            Scalar::Float(v) => v as u64,
        }
    }

    pub fn as_bool(self) -> bool {
        match self {
            Scalar::Bool(v) => v,
            Scalar::Int(v) => v != 0,
            Scalar::UInt(v) => v != 0,
            Scalar::Float(v) => v != 0.0,
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Bool(v) => v.fmt(f),
            Scalar::Int(v) => v.fmt(f),
            Scalar::UInt(v) => v.fmt(f),
            Scalar::Float(v) => v.fmt(f),
        }
    }
}

macro_rules! from {
    ($($t:ty => $variant:ident as $to:ty),*) => {$(
        impl From<$t> for Scalar {
            fn from(value: $t) -> Self {
                Scalar::$variant(<$to>::from(value))
            }
        }
    )*};
}
from!(bool => Bool as bool, i8 => Int as i64, i16 => Int as i64, i32 => Int as i64, i64 => Int as i64,
      u8 => UInt as u64, u16 => UInt as u64, u32 => UInt as u64, u64 => UInt as u64, f32 => Float as f64,
      f64 => Float as f64);

impl From<usize> for Scalar {
    fn from(value: usize) -> Self {
        Scalar::UInt(value as u64)
    }
}
