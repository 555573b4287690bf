//! Owns what can go wrong with tables, in words.

use std::sync::Arc;

use nuna_plan::{EngineError, TaskError};
use nuna_ship::ShipError;

/// Why a table could not be described, computed or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FrameError {
    /// A name that no column has.
    #[error("there is no column `{name}`; there are: {columns}")]
    NoColumn { name: String, columns: String },
    /// Two columns of one name.
    #[error("two columns would be called `{name}`; rename one with `.named(…)`")]
    NameTwice { name: String },
    /// An operation that its operands do not have.
    #[error("{expression}: {message}")]
    Types { expression: String, message: String },
    /// No file has that name or fits that pattern.
    #[error("there is no file `{pattern}`")]
    NoFiles { pattern: String },
    #[error("{path}: {message}")]
    File { path: String, message: String },
    /// A file's contents; `message` says where in it.
    #[error("{0}")]
    Contents(String),
    /// What was asked for makes no sense as it was asked.
    #[error("{0}")]
    Invalid(String),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Ship(#[from] Arc<ShipError>),
}

impl From<ShipError> for FrameError {
    fn from(error: ShipError) -> Self {
        FrameError::Ship(Arc::new(error))
    }
}

impl From<FrameError> for TaskError {
    fn from(error: FrameError) -> Self {
        TaskError::fatal(error.to_string())
    }
}

pub(crate) fn no_column(name: &str, columns: &[String]) -> FrameError {
    FrameError::NoColumn { name: name.to_owned(), columns: columns.join(", ") }
}

/// Reading or writing failed; another attempt may succeed.
pub(crate) fn io(path: &str, doing: &str, error: &std::io::Error) -> TaskError {
    TaskError::transient(format!("{path}: {doing} failed: {error}"))
}
