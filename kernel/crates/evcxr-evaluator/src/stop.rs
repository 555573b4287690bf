//! Owns the interrupt. evcxr cannot stop a cell: what can be ended is the compiler, which loses nothing, or the process
//! that runs cells, which loses every variable.

use std::{
    fs,
    process::Child,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// The kernel asks until the cell has ended; what was ended needs this long to be missed.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Stop {
    state: Mutex<State>,
    /// The process that runs cells; evcxr puts a new one in its place when it ends.
    process: OnceLock<Arc<Mutex<Child>>>,
}

#[derive(Default)]
struct State {
    is_running: bool,
    /// When something was last ended for the cell that runs.
    ended: Option<Instant>,
}

impl Stop {
    pub(crate) fn watch(&self, process: Arc<Mutex<Child>>) {
        let _ = self.process.set(process);
    }

    /// A cell begins.
    pub(crate) fn begin(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State { is_running: true, ended: None };
    }

    /// The cell has ended; says whether the person asked for it.
    pub(crate) fn end(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_running = false;
        state.ended.is_some()
    }

    /// Ends what the running cell waits for.
    pub(crate) fn ask(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.is_running || state.ended.is_some_and(|at| at.elapsed() < PATIENCE) {
            return;
        }
        state.ended = Some(Instant::now());
        let Some(process) = self.process.get() else { return };
        let mut process = process.lock().unwrap_or_else(PoisonError::into_inner);
        let compilers = children().into_iter().filter(|id| *id != process.id());
        let ended = compilers
            .filter(|id| i32::try_from(*id).is_ok_and(|id| kill(Pid::from_raw(id), Signal::SIGKILL).is_ok()));
        if ended.count() == 0 {
            // One that is gone already is no error.
            let _ = process.kill();
        }
    }
}

/// Processes that this one has started and that still run.
fn children() -> Vec<u32> {
    let mut found = Vec::new();
    for thread in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let list = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        found.extend(list.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
    }
    found
}
