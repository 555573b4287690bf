//! Owns what can be wrong with a file; the file's name is the caller's to add.

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("it is no NetCDF and no HDF5 file: its first bytes are {first:02x?}")]
    NotNetcdf { first: Vec<u8> },
    #[error("at byte {at}: {message}; the file is truncated or damaged")]
    Damaged { at: u64, message: String },
    #[error("{0}")]
    Unsupported(String),
    #[error("there is no group `{group}`; the groups are {have:?}")]
    NoGroup { group: String, have: Vec<String> },
}

impl From<nuna_inputs::Error> for Error {
    fn from(error: nuna_inputs::Error) -> Self {
        match error {
            nuna_inputs::Error::Io(error) => Self::Io(error),
            nuna_inputs::Error::Damaged { at, message } => Self::Damaged { at, message },
        }
    }
}

impl Error {
    pub(crate) fn damaged(at: u64, message: impl Into<String>) -> Self {
        Self::Damaged { at, message: message.into() }
    }
}
