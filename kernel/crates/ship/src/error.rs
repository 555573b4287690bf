//! Owns what can go wrong between a closure and its arrival.

use nuna_plan::LibraryId;

/// Why a closure could not be packed, or not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    #[error(
        "the code at {address:#x} belongs to no loaded library, so it cannot be found again in another process"
    )]
    NoHome { address: usize },
    #[error(
        "cannot read the library {path}: {message}; it was loaded into this process, so it must stay on disk until it was shipped once"
    )]
    Unreadable { path: String, message: String },
    #[error(
        "library {expected:?} arrived with other contents ({found:?}); it was damaged or tampered with on the way and was not loaded"
    )]
    WrongContents { expected: LibraryId, found: LibraryId },
    #[error("cannot load library {library:?}: {message}")]
    Load { library: LibraryId, message: String },
    #[error("library {library:?} is not here yet; it must be sent before what was compiled into it can run")]
    Missing { library: LibraryId },
    #[error(
        "`{name}` was compiled into the program {program}, and this process runs another program; put it in a notebook cell or a shared library, which can be shipped"
    )]
    OtherProgram { name: String, program: String },
    #[error(
        "`{name}` is said to be at offset {offset:#x} of {home}, where there is no code; sender and receiver differ"
    )]
    NoCode { name: String, offset: u64, home: String },
    #[error("`{name}` cannot be unpacked: {message}")]
    Unpack { name: String, message: String },
    #[error("`{name}` cannot be packed: {message}")]
    Pack { name: String, message: String },
    #[error(
        "the parameters take {bytes} bytes, more than the {limit} that one call may carry; map over indices or file names instead and read the data on the workers"
    )]
    TooManyParameters { bytes: usize, limit: usize },
    #[error(
        "a value of {bytes} bytes cannot be scattered, {limit} is the most; write it to a file that the workers read, or scatter it in parts"
    )]
    TooLarge { bytes: usize, limit: usize },
}

impl From<ShipError> for nuna_plan::TaskError {
    fn from(error: ShipError) -> Self {
        // A missing or damaged library may arrive whole at another worker; the others would only repeat.
        let retryable = matches!(error, ShipError::Missing { .. } | ShipError::WrongContents { .. });
        nuna_plan::TaskError { message: error.to_string(), retryable }
    }
}
