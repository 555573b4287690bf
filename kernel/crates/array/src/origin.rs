//! Owns which notebook cell is running, so that an error can name the cell that built a failing stage.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use nuna_plan::Origin;

static CELL: AtomicU32 = AtomicU32::new(0);

/// Says that `In [cell]` runs now; 0 outside of a notebook. The kernel calls it before each cell.
pub fn set_cell(cell: u32) {
    CELL.store(cell, Relaxed);
}

pub(crate) fn current() -> Option<Origin> {
    match CELL.load(Relaxed) {
        0 => None,
        cell => Some(Origin { cell, line: 0 }),
    }
}
