//! Owns the worker's side of the contract: how a stage's blocks are run.

use serde::{Deserialize, Serialize};

use crate::{stage::Stage, value::Value};

/// Turns a stage's payload into something that runs its blocks. One per [`crate::WorkKind`].
pub trait Executor: Send + Sync + 'static {
    /// Decodes `stage.work` once per worker. The libraries it names are already registered with `nuna_ship`.
    ///
    /// # Errors
    /// If the payload cannot be decoded, or a library does not hold what it promises.
    fn prepare(&self, stage: &Stage) -> Result<Box<dyn Prepared>, TaskError>;
}

/// A stage ready to run on this worker. Shared by its compute threads.
pub trait Prepared: Send + Sync {
    /// Runs block `block`. `inputs[i]` holds the values of `stage.inputs[i]` in the order of its map.
    /// May block on file I/O. A panic is caught by the caller and reported as [`TaskError`].
    ///
    /// # Errors
    /// Whatever the block's work failed with; the caller adds key and worker.
    fn run(&self, block: u64, inputs: Vec<Vec<Value>>) -> Result<Value, TaskError>;
}

/// Why a block failed, in words for the person whose cell built it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct TaskError {
    /// What went wrong, on what, and what to do next.
    pub message: String,
    /// Worth another attempt elsewhere (an I/O error), or bound to fail again (a bad program).
    pub retryable: bool,
}

impl TaskError {
    /// A failure that another attempt would only repeat.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self { message: message.into(), retryable: false }
    }

    /// A failure that another attempt may not see.
    pub fn transient(message: impl Into<String>) -> Self {
        Self { message: message.into(), retryable: true }
    }
}
