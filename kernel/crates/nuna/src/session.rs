//! Owns what cells and the evaluator process share about the run: which cell it is, for which request a thread works, and
//! whether the person pressed interrupt. Set by the kernel's evaluator; plain programs never touch it.

use std::{
    cell::Cell,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

static CELL: AtomicU32 = AtomicU32::new(0);
static RUNNING: AtomicU64 = AtomicU64::new(0);
/// The message whose handler ran last.
static HANDLER: AtomicU64 = AtomicU64::new(0);
/// For whom the last interrupt was.
static TARGET: AtomicU64 = AtomicU64::new(0);
static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static ASK: OnceLock<Ask> = OnceLock::new();

thread_local! {
    // Without destructors, so that they may be asked for at any time of a thread's life.
    static PARENT: Cell<u64> = const { Cell::new(0) };
    static CUT: Cell<bool> = const { Cell::new(false) };
}

/// Asks the person: the prompt, and whether the answer is a password.
pub type Ask = fn(&str, bool) -> std::io::Result<String>;

/// Says which `In [n]` runs from now on; clears an interrupt meant for the one before.
pub fn set_cell(number: u32) {
    CELL.store(number, Ordering::Relaxed);
    nuna_array::set_cell(number);
    crate::progress::begin_cell();
    forget_interrupt();
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

/// The request whose cell runs now; 0 between cells.
pub fn running() -> u64 {
    RUNNING.load(Ordering::Relaxed)
}

/// An interrupt so far was meant for what ran before.
pub fn forget_interrupt() {
    INTERRUPTED.store(false, Ordering::Relaxed);
    CUT.set(false);
}

/// A comm's handler begins: an interrupt that was meant for a cell is not for it.
pub fn begin_handler() {
    HANDLER.store(parent(), Ordering::Relaxed);
    if running() == 0 {
        forget_interrupt();
    }
}

/// See [`running`].
pub fn set_running(parent: u64) {
    RUNNING.store(parent, Ordering::Relaxed);
}

/// The request for which this thread works: that of the cell which started it.
pub fn parent() -> u64 {
    PARENT.get()
}

/// See [`parent`].
pub fn set_parent(parent: u64) {
    PARENT.set(parent);
}

/// Asks whatever waits to stop waiting. Safe to call from a signal handler.
pub fn interrupt() {
    let running = running();
    let target = if running == 0 { HANDLER.load(Ordering::Relaxed) } else { running };
    TARGET.store(target, Ordering::Relaxed);
    INTERRUPTED.store(true, Ordering::Relaxed);
    nuna_array::interrupt();
}

/// Whether the person asked to stop. Long waits look every few tens of milliseconds.
#[inline]
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Whether the last interrupt was for what this thread does: not if an earlier cell has started it.
pub fn is_meant() -> bool {
    let parent = parent();
    parent == 0 || parent == TARGET.load(Ordering::Relaxed)
}

/// A wait of this thread was cut short because of the interrupt, so what follows must not run as if it had been waited.
pub fn cut_wait() {
    CUT.set(true);
}

/// Whether a wait of this thread was cut short since the cell began.
pub fn wait_was_cut() -> bool {
    CUT.get()
}

/// Says how the person is asked; the first call counts.
pub fn set_ask(ask: Ask) {
    let _ = ASK.set(ask);
}

pub(crate) fn ask() -> Option<Ask> {
    ASK.get().copied()
}
