//! Owns what can be wrong with a file; the file's name is the caller's to add.

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("it is no Parquet file: it does not {0} with PAR1")]
    NotParquet(&'static str),
    #[error("{0}; the file is truncated or damaged")]
    Damaged(String),
    /// What the file holds, or asks for, cannot be read here.
    #[error("{0}")]
    Unsupported(String),
}

impl Error {
    pub(crate) fn damaged(message: impl Into<String>) -> Self {
        Self::Damaged(message.into())
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::Unsupported(message.into())
    }
}
