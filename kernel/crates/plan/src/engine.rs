//! Owns the client's side of the contract: something that accepts plans and delivers blocks. A cluster is one,
//! the threads of this process are another; `array` and `labels` know only this trait.

use std::{
    sync::{Arc, RwLock},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    stage::{HeldId, Plan, PlanError},
    value::Value,
};

/// Accepts plans. Implemented by a cluster's client, and by the threads of this process.
pub trait Engine: Send + Sync {
    /// Starts `plan` and returns at once.
    ///
    /// # Errors
    /// If the plan is refused or the cluster cannot be reached. What fails later is reported by [`Running::next`].
    fn submit(&self, plan: Plan) -> Result<Box<dyn Running>, EngineError>;

    /// An id for a stage with [`crate::Keep::Hold`], never given out before by this engine.
    fn new_held_id(&self) -> HeldId;

    /// Frees what a [`crate::Keep::Hold`] stage left on the workers. Releasing what is gone succeeds.
    fn release(&self, held: HeldId);

    /// Compute threads in all, for choosing chunk sizes; at least 1.
    fn thread_count(&self) -> usize;

    /// Memory of a worker for each of its threads, of the worker with the least, if that is known and limited.
    fn memory_bytes(&self) -> Option<u64> {
        None
    }

    /// What all workers together can put on local disks when memory is short, if blocks are spread evenly.
    fn spill_bytes(&self) -> u64 {
        0
    }

    /// For messages: `cluster local-1`, `2 threads of this process`.
    fn describe(&self) -> String;

    /// Worker processes that are there now; nothing if blocks run in this process.
    fn worker_count(&self) -> Option<usize> {
        None
    }
}

/// A plan under way. Dropping it cancels what has not run.
pub trait Running: Send {
    /// The next delivered block in order of completion, or the end. Waits at most `patience`.
    ///
    /// # Errors
    /// The first failure that retries could not mend; the plan is cancelled by then.
    fn next(&mut self, patience: Duration) -> Result<Finished, EngineError>;

    /// Stops what has not started; blocks that run finish unseen.
    fn cancel(&mut self);

    /// How far it is, as far as is known without waiting.
    fn progress(&self) -> Progress {
        Progress::default()
    }
}

/// How far a plan is, in blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub done: u64,
    pub total: u64,
    /// Blocks done of each stage; empty if that is not known.
    pub stages: Vec<u64>,
    /// Decoded bytes read from stores.
    pub read_bytes: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Finished {
    /// A block of a [`crate::Keep::Deliver`] stage.
    Block { stage: u32, block: u64, value: Value },
    /// Nothing yet: so many of the plan's blocks are done.
    Waiting { done: u64, total: u64 },
    /// Every block of every stage is done, and all were delivered.
    End,
}

/// Why a plan did not run to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum EngineError {
    #[error("the plan cannot run: {0}")]
    Plan(#[from] PlanError),
    /// `task` is `name[block]`; `cell` says which cell built it, when a notebook did.
    #[error("task {task} failed on worker {worker}{}: {message}", cell.map(|n| format!(" (built by In [{n}])")).unwrap_or_default())]
    Task { task: String, worker: String, cell: Option<u32>, message: String },
    #[error(
        "stage `{stage}` needs {needed} bytes for one block, but a worker has {limit}; use smaller chunks (for example rechunk to {suggestion}) or workers with more memory"
    )]
    Memory { stage: String, needed: u64, limit: u64, suggestion: String },
    #[error("the computation was cancelled")]
    Cancelled,
    #[error(
        "lost the connection to {engine}: {message}; results that were persisted can be picked up again once it answers"
    )]
    Lost { engine: String, message: String },
    #[error("{0}")]
    Refused(String),
}

static DEFAULT: RwLock<Option<Arc<dyn Engine>>> = RwLock::new(None);

/// The engine that `compute()` uses when none is named: the cluster started last, if one runs.
pub fn default_engine() -> Option<Arc<dyn Engine>> {
    DEFAULT.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
}

/// Makes `engine` the default, or takes the default away.
pub fn set_default_engine(engine: Option<Arc<dyn Engine>>) {
    *DEFAULT.write().unwrap_or_else(std::sync::PoisonError::into_inner) = engine;
}

static INTERRUPT_CHECK: RwLock<Option<fn() -> bool>> = RwLock::new(None);

/// Lets whoever can be interrupted (a kernel) say how to find out: `check` answers whether the cell should stop.
/// Whoever waits for results asks it every so often and cancels what runs.
pub fn set_interrupt_check(check: Option<fn() -> bool>) {
    *INTERRUPT_CHECK.write().unwrap_or_else(std::sync::PoisonError::into_inner) = check;
}

/// Whether the program was asked to stop waiting.
pub fn interrupted() -> bool {
    INTERRUPT_CHECK.read().unwrap_or_else(std::sync::PoisonError::into_inner).is_some_and(|check| check())
}
