//! Owns reductions over axes, in three steps that a tree can be made of: chunks update an [`Accumulator`], its
//! partial results merge in a fixed order, the last one finishes.
//!
//! Sums and means of floats accumulate in `float64`; variances merge by Chan's formula. Given the same order of
//! updates and merges the result is the same to the last bit, whatever the processor.

mod accumulator;
mod complex;
mod counter;
mod fold;
mod moments;
mod walk;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    dtype::{DType, Kind},
    error::ChunkError,
};

pub use accumulator::Accumulator;

/// What is computed over the reduced axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// 0 over nothing. Integers and bool give 64 bits.
    Sum,
    /// 1 over nothing.
    Prod,
    /// NaN over nothing. Integers give `float64`.
    Mean,
    /// NaN where there are no more than `ddof` values.
    Var {
        ddof: u32,
    },
    /// The square root of the variance.
    Std {
        ddof: u32,
    },
    /// An error over an empty axis; NaN if all are skipped.
    Min,
    Max,
    /// How many values are not NaN, as `int64`.
    Count,
    /// NaN counts as true.
    Any,
    All,
    /// Index of the first least value along one axis, as `int64`.
    ArgMin,
    ArgMax,
}

/// What happens to NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NanPolicy {
    /// As if it were not there: xarray's default, NumPy's `nan…` functions.
    Skip,
    /// A NaN makes its result NaN: NumPy's plain functions.
    Propagate,
}

/// A reduction of elements of a known dtype.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reduction {
    pub operation: Operation,
    pub nan: NanPolicy,
    pub dtype: DType,
}

impl Reduction {
    /// Whether NaN needs looking at.
    pub(crate) fn skips(&self) -> bool {
        self.nan == NanPolicy::Skip && self.dtype.has_nan()
    }

    /// The dtype of the result.
    ///
    /// # Errors
    /// [`ChunkError::Undefined`] for complex numbers, where the operation asks for an order or a variance.
    pub fn output(&self) -> Result<DType, ChunkError> {
        let dtype = self.dtype;
        if dtype.is_complex() {
            return match self.operation {
                Operation::Sum | Operation::Prod | Operation::Mean => Ok(dtype),
                Operation::Count => Ok(DType::I64),
                Operation::Any | Operation::All => Ok(DType::Bool),
                Operation::Var { .. }
                | Operation::Std { .. }
                | Operation::Min
                | Operation::Max
                | Operation::ArgMin
                | Operation::ArgMax => Err(ChunkError::Undefined { operation: self.to_string(), dtype }),
            };
        }
        Ok(match self.operation {
            Operation::Sum | Operation::Prod => match dtype.kind() {
                Kind::Bool | Kind::Signed => DType::I64,
                Kind::Unsigned => DType::U64,
                Kind::Float | Kind::Complex => dtype,
            },
            Operation::Mean | Operation::Var { .. } | Operation::Std { .. } => dtype.to_float(),
            Operation::Min | Operation::Max => dtype,
            Operation::Count | Operation::ArgMin | Operation::ArgMax => DType::I64,
            Operation::Any | Operation::All => DType::Bool,
        })
    }

    /// Whether an empty axis is an error, since there is no value to give.
    pub fn needs_elements(&self) -> bool {
        matches!(self.operation, Operation::Min | Operation::Max | Operation::ArgMin | Operation::ArgMax)
    }

    /// Chunks of a partial result, as [`Accumulator::into_parts`] gives them.
    ///
    /// # Errors
    /// As [`Reduction::output`].
    pub fn part_count(&self) -> Result<usize, ChunkError> {
        Ok(Accumulator::part_dtypes(*self)?.len() + 1)
    }

    /// Bytes that one result element takes while partial, at most.
    pub fn partial_bytes(&self) -> u64 {
        match self.operation {
            Operation::Sum | Operation::Prod if self.dtype.is_complex() => 16,
            Operation::Mean if self.dtype.is_complex() => 24,
            Operation::Sum | Operation::Prod | Operation::Count => 8,
            Operation::Mean => 16,
            Operation::Var { .. } | Operation::Std { .. } => 24,
            Operation::Min | Operation::Max => self.dtype.size() as u64,
            Operation::Any | Operation::All => 1,
            Operation::ArgMin | Operation::ArgMax => 8 + self.dtype.size() as u64,
        }
    }
}

impl fmt::Display for Reduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.operation {
            Operation::Sum => "sum",
            Operation::Prod => "prod",
            Operation::Mean => "mean",
            Operation::Var { .. } => "var",
            Operation::Std { .. } => "std",
            Operation::Min => "min",
            Operation::Max => "max",
            Operation::Count => "count",
            Operation::Any => "any",
            Operation::All => "all",
            Operation::ArgMin => "argmin",
            Operation::ArgMax => "argmax",
        };
        let has_nan_form = !matches!(self.operation, Operation::Count | Operation::Any | Operation::All);
        if self.skips() && has_nan_form { write!(f, "nan{name}") } else { f.write_str(name) }
    }
}
