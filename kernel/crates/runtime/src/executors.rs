//! Owns which executor runs which kind of work.

use std::sync::Arc;

use nuna_plan::{Executor, WorkKind};

/// One executor per [`WorkKind`].
#[derive(Clone)]
pub struct Executors {
    pub array: Arc<dyn Executor>,
    pub call: Arc<dyn Executor>,
}

impl Executors {
    pub fn of(&self, kind: WorkKind) -> &Arc<dyn Executor> {
        match kind {
            WorkKind::Array => &self.array,
            WorkKind::Call => &self.call,
        }
    }
}

/// What `nuna worker` runs: array programs and shipped closures.
pub fn executors() -> Executors {
    Executors { array: nuna_array::executor(), call: nuna_ship::executor() }
}
