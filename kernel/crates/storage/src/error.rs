//! Owns what can be wrong with a store, in words that name the file.

use std::path::PathBuf;

use nuna_plan::TaskError;
use nuna_remote::RemoteError;

/// Why a store could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    #[error("there is no store at {path}: {hint}")]
    NotFound { path: PathBuf, hint: String },
    #[error("{path} is not a Zarr store: it has none of zarr.json, .zgroup, .zmetadata and .zarray{hint}")]
    NotZarr { path: PathBuf, hint: String },
    #[error("{path} cannot be opened: {message}")]
    File { path: PathBuf, message: String },
    #[error("variable `{variable}` of {file} cannot be read: {message}")]
    Damaged { variable: String, file: PathBuf, message: String },
    #[error("the metadata file {file} is damaged: {message}")]
    Metadata { file: PathBuf, message: String },
    #[error("variable `{variable}` of {store} cannot be read: {message}")]
    Unsupported { variable: String, store: PathBuf, message: String },
    #[error(
        "chunk {file} of variable `{variable}` cannot be decoded: {message}; the file is truncated or damaged, write it again or remove it to read fill values in its place"
    )]
    Chunk { variable: String, file: PathBuf, message: String },
    #[error("{file} of variable `{variable}` cannot be read: {message}")]
    Read { variable: String, file: PathBuf, message: String },
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error("variable `{variable}` cannot be read: {error}")]
    RemoteVariable { variable: String, error: RemoteError },
    #[error("{path} exists already; choose another name, remove it, or ask for it to be overwritten")]
    Exists { path: PathBuf },
    #[error("{path} exists and is not {what}, so it is not overwritten")]
    ExistsNot { path: PathBuf, what: String },
    #[error("cannot write {path}: {message}")]
    Write { path: PathBuf, message: String },
    #[error("variable `{variable}` cannot be written: {message}")]
    Variable { variable: String, message: String },
}

impl StorageError {
    /// As a worker reports it: what the file system said may be different next time, what the file holds will not.
    pub(crate) fn into_task(self) -> TaskError {
        let retryable = match &self {
            Self::Read { .. } | Self::Write { .. } => true,
            Self::Remote(error) | Self::RemoteVariable { error, .. } => error.is_transient(),
            _ => false,
        };
        TaskError { message: self.to_string(), retryable }
    }
}
