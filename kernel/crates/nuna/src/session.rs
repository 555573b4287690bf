//! Owns what cells and the evaluator process share about the run: which cell it is, and whether the person
//! pressed interrupt. Set by the kernel's evaluator; plain programs never touch it.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

static CELL: AtomicU32 = AtomicU32::new(0);
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Says which `In [n]` runs from now on; clears an interrupt meant for the one before.
pub fn set_cell(number: u32) {
    CELL.store(number, Ordering::Relaxed);
    nuna_array::set_cell(number);
    crate::progress::begin_cell();
    INTERRUPTED.store(false, Ordering::Relaxed);
}

/// The running cell; 0 outside of a notebook.
pub fn cell() -> u32 {
    CELL.load(Ordering::Relaxed)
}

/// The running cell as plans name it.
pub fn origin() -> Option<nuna_plan::Origin> {
    match cell() {
        0 => None,
        cell => Some(nuna_plan::Origin { cell, line: 0 }),
    }
}

/// Asks whatever waits to stop waiting. Safe to call from a signal handler.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::Relaxed);
    nuna_array::interrupt();
}

/// Whether the person asked to stop. Long waits look every few tens of milliseconds.
#[inline]
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}
