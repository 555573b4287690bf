//! Owns the mistakes that chunk ops report.

use crate::dtype::DType;

/// Why a chunk could not be made or used as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    #[error("{found} bytes do not fill a chunk of shape {shape:?} and dtype {dtype}, which takes {expected}")]
    Length { dtype: DType, shape: Vec<u64>, expected: u64, found: u64 },
    #[error("the chunk holds {found}, not {asked}; convert it with `cast` first")]
    DType { asked: DType, found: DType },
    #[error("region {region} lies outside a chunk of shape {shape:?}")]
    Outside { region: String, shape: Vec<u64> },
    #[error("a bool chunk holds a byte other than 0 and 1")]
    Bool,
    #[error(
        "unknown dtype `{0}`; known are bool, int8 to int64, uint8 to uint64, float32, float64, complex64 and complex128"
    )]
    UnknownDType(String),
    #[error("the value's header cannot be read as a chunk's: {0}")]
    Header(String),
    #[error("{value} does not fit into {dtype}")]
    ScalarOutOfRange { value: String, dtype: DType },
    #[error("{operation} is not defined for {dtype}")]
    Undefined { operation: String, dtype: DType },
    #[error(
        "{from} does not become {to}: the imaginary parts would be lost; take `real`, `imag` or `abs` first"
    )]
    ComplexToReal { from: DType, to: DType },
    #[error("{operation} of an empty axis has no value; select a non-empty range first")]
    EmptyAxis { operation: &'static str },
    #[error("a chunk of shape {shape:?} and dtype {dtype} is larger than this machine can address")]
    TooLarge { dtype: DType, shape: Vec<u64> },
}
