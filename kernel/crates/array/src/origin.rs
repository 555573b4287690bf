//! Owns what a notebook says about the cell that runs: its number, so that an error can name the cell that built a
//! failing stage, and whether its person wants it to stop.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use nuna_plan::Origin;

static CELL: AtomicU32 = AtomicU32::new(0);
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Says that `In [cell]` runs now; 0 outside of a notebook. The kernel calls it before each cell. Forgets an interrupt that
/// was meant for the cell before.
pub fn set_cell(cell: u32) {
    CELL.store(cell, Relaxed);
    INTERRUPTED.store(false, Relaxed);
}

/// Makes the computation that the running cell waits for end with [`nuna_plan::EngineError::Cancelled`].
pub fn interrupt() {
    INTERRUPTED.store(true, Relaxed);
}

/// Whether the running cell was interrupted; asking takes it back, so that the next computation runs.
pub(crate) fn take_interrupt() -> bool {
    INTERRUPTED.swap(false, Relaxed)
}

/// The running cell as plans name it.
pub fn current() -> Option<Origin> {
    match CELL.load(Relaxed) {
        0 => None,
        cell => Some(Origin { cell, line: 0 }),
    }
}
