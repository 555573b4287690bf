//! Owns where the memory of a buffer comes from: a mapping of its own, or the heap.
#![expect(unsafe_code, reason = "aligned allocation")]

use std::{
    alloc::{Layout, alloc, alloc_zeroed, dealloc},
    ptr::NonNull,
};

use super::{
    ALIGNMENT,
    pages::{self, HUGE_PAGE},
};

/// A block of initialised bytes, aligned to [`ALIGNMENT`].
pub(super) struct Allocation {
    base: NonNull<u8>,
    /// Usable bytes from the aligned start.
    pub(super) capacity: usize,
    /// A mapping of its own, at huge pages; else from the heap, where the block starts inside a slightly larger allocation,
    /// because `calloc` hands out untouched zero pages only for small alignments.
    pub(super) mapped: bool,
}

// SAFETY: an allocation owns its bytes alone; nothing about them is tied to a thread.
unsafe impl Send for Allocation {}
// SAFETY: shared access only reads.
unsafe impl Sync for Allocation {}

impl Allocation {
    fn layout(capacity: usize) -> Option<Layout> {
        Layout::from_size_align(capacity.checked_add(ALIGNMENT)?, 16).ok()
    }

    /// With `zero` all bytes are zero, else whatever was there before. `None` if the system has not so much.
    pub(super) fn new(capacity: usize, zero: bool) -> Option<Self> {
        if capacity.is_multiple_of(HUGE_PAGE)
            && capacity > 0
            && let Some(base) = pages::map(capacity)
        {
            return Some(Self { base, capacity, mapped: true });
        }
        let layout = Self::layout(capacity)?;
        // Zeroing would touch every byte twice.
        // SAFETY: the layout's size is at least ALIGNMENT, so not zero.
        let base = NonNull::new(unsafe { if zero { alloc_zeroed(layout) } else { alloc(layout) } })?;
        // SAFETY: no instruction at all. To the compiler it may have written any bytes to the memory that `base` points to, so
        // they are initialised from here on; the allocator gives out memory whose bytes stay as they are until written.
        unsafe { std::arch::asm!("/* {0} */", in(reg) base.as_ptr(), options(nostack, preserves_flags)) };
        Some(Self { base, capacity, mapped: false })
    }

    pub(super) fn start(&self) -> *mut u8 {
        let address = self.base.as_ptr();
        let offset = if self.mapped { 0 } else { address.align_offset(ALIGNMENT) };
        // SAFETY: at most ALIGNMENT - 1 bytes in, and an allocation from the heap has ALIGNMENT spare bytes.
        unsafe { address.add(offset) }
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        if self.mapped {
            // SAFETY: what `map` gave to `new`, once, and nobody uses any more.
            unsafe { pages::unmap(self.base, self.capacity) };
        } else if let Some(layout) = Self::layout(self.capacity) {
            // SAFETY: allocated in `new` with this very layout, and freed once.
            unsafe { dealloc(self.base.as_ptr(), layout) }
        }
    }
}
