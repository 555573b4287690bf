//! Owns the count of bytes that a thread reads from stores while it runs a block, for whoever runs blocks to pass on.

use std::cell::Cell;

thread_local! {
    static READ: Cell<u64> = const { Cell::new(0) };
}

/// So many decoded bytes were read.
pub fn add_read_bytes(bytes: u64) {
    READ.set(READ.get().saturating_add(bytes));
}

/// What this thread has read since the last time.
pub fn take_read_bytes() -> u64 {
    READ.take()
}
