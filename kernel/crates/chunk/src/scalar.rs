//! Owns single values of any dtype, and NumPy 2's rule for them: a scalar is weak, it takes the array's dtype
//! unless its kind is higher.

use std::fmt;

use num_complex::Complex;
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
    /// Real and imaginary part.
    Complex(f64, f64),
}

impl Scalar {
    /// The dtype of an operation between an array of `dtype` and this scalar.
    pub fn promote(self, dtype: DType) -> DType {
        match (self, dtype.kind()) {
            (Scalar::Bool(_), _) => dtype,
            (Scalar::Int(_) | Scalar::UInt(_), Kind::Bool) => DType::I64,
            (Scalar::Int(_) | Scalar::UInt(_), _) => dtype,
            (Scalar::Float(_), Kind::Float | Kind::Complex) => dtype,
            (Scalar::Float(_), _) => DType::F64,
            (Scalar::Complex(..), Kind::Complex) => dtype,
            (Scalar::Complex(..), _) if dtype == DType::F32 => DType::C64,
            (Scalar::Complex(..), _) => DType::C128,
        }
    }

    /// The dtype it has when it stands alone.
    pub fn dtype(self) -> DType {
        match self {
            Scalar::Bool(_) => DType::Bool,
            Scalar::Int(_) => DType::I64,
            Scalar::UInt(_) => DType::U64,
            Scalar::Float(_) => DType::F64,
            Scalar::Complex(..) => DType::C128,
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
            Scalar::Bool(_) | Scalar::Float(_) | Scalar::Complex(..) => return Ok(()),
        };
        let bits = dtype.size() as u32 * 8;
        let (low, high) = match dtype.kind() {
            Kind::Signed => (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1),
            Kind::Unsigned => (0, (1i128 << bits) - 1),
            Kind::Bool | Kind::Float | Kind::Complex => return Ok(()),
        };
        if (low..=high).contains(&value) {
            Ok(())
        } else {
            Err(ChunkError::ScalarOutOfRange { value: value.to_string(), dtype })
        }
    }

    /// Its real and imaginary part.
    pub fn as_complex(self) -> Complex<f64> {
        match self {
            Scalar::Complex(re, im) => Complex::new(re, im),
            real => Complex::new(real.as_f64(), 0.0),
        }
    }

    /// As a double. A complex number that is not real has none, and gives NaN.
    pub fn as_f64(self) -> f64 {
        match self {
            Scalar::Bool(v) => f64::from(u8::from(v)),
            Scalar::Int(v) => v as f64,
            Scalar::UInt(v) => v as f64,
            Scalar::Float(v) => v,
            Scalar::Complex(re, im) => {
                if im == 0.0 {
                    re
                } else {
                    f64::NAN
                }
            }
        }
    }

    pub fn as_i64(self) -> i64 {
        match self {
            Scalar::Bool(v) => i64::from(v),
            Scalar::Int(v) => v,
            Scalar::UInt(v) => v as i64,
            Scalar::Float(v) => v as i64,
            Scalar::Complex(..) => self.as_f64() as i64,
        }
    }

    pub fn as_u64(self) -> u64 {
        match self {
            Scalar::Bool(v) => u64::from(v),
            Scalar::Int(v) => v as u64,
            Scalar::UInt(v) => v,
            Scalar::Float(v) => v as u64,
            Scalar::Complex(..) => self.as_f64() as u64,
        }
    }

    pub fn as_bool(self) -> bool {
        match self {
            Scalar::Bool(v) => v,
            Scalar::Int(v) => v != 0,
            Scalar::UInt(v) => v != 0,
            Scalar::Float(v) => v != 0.0,
            Scalar::Complex(re, im) => re != 0.0 || im != 0.0,
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
            // As Python: the sign stands between the parts, also of NaN and of -0.
            Scalar::Complex(re, im) => {
                let sign = if im.is_sign_negative() && !im.is_nan() { '-' } else { '+' };
                write!(f, "{re}{sign}{}j", im.abs())
            }
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

impl From<Complex<f32>> for Scalar {
    fn from(value: Complex<f32>) -> Self {
        Scalar::Complex(value.re.into(), value.im.into())
    }
}

impl From<Complex<f64>> for Scalar {
    fn from(value: Complex<f64>) -> Self {
        Scalar::Complex(value.re, value.im)
    }
}

impl From<usize> for Scalar {
    fn from(value: usize) -> Self {
        Scalar::UInt(value as u64)
    }
}
