//! Owns mappings of large buffers: in huge pages where these are quick to come by, else in small ones.
//!
//! First touches of small pages take 0.3 to 0.5 s/GB, of huge ones 0.1. But in a virtual machine whose host has to find memory
//! for a huge page first they take 2 s/GB: no setting says so, so a few are touched beforehand, and timed.
#![expect(unsafe_code, reason = "mappings")]

use std::{
    ptr::NonNull,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use nix::libc;

/// What the system maps at once where it can.
pub(super) const HUGE_PAGE: usize = 2 << 20;
/// A huge page whose first touch takes longer than this is better had as small ones.
const SLOW: Duration = Duration::from_millis(1);
/// So many bytes are then mapped in small pages before huge ones are tried again.
const SMALL_BYTES: usize = 256 << 20;
/// So many bytes of a mapping are touched beforehand, and no more: lengths that others say must not take memory before what
/// they are lengths of is there.
const TOUCHED_MAX: usize = 32 << 20;

/// Bytes still to be mapped in small pages.
static SMALL_LEFT: AtomicUsize = AtomicUsize::new(0);

/// Zero pages of their own, `capacity` bytes, a multiple of [`HUGE_PAGE`], from such a multiple on. `None` if the system has
/// not so much.
pub(super) fn map(capacity: usize) -> Option<NonNull<u8>> {
    let whole = capacity.checked_add(HUGE_PAGE)?;
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping wherever the system likes.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), whole, access, kind, -1, 0) };
    if base == libc::MAP_FAILED {
        return None;
    }
    let base = base.cast::<u8>();
    let before = base.align_offset(HUGE_PAGE);
    // SAFETY: both ends lie in the mapping, before and after the `capacity` bytes that are kept; nobody knows them. If that
    // fails they stay mapped, and are never touched.
    let start = unsafe {
        let start = base.add(before);
        if before > 0 {
            libc::munmap(base.cast(), before);
        }
        libc::munmap(start.add(capacity).cast(), HUGE_PAGE - before);
        NonNull::new(start)?
    };
    let mapping = Mapping { start, capacity };
    let small_left = SMALL_LEFT.load(Relaxed);
    if small_left > 0 {
        SMALL_LEFT.store(small_left.saturating_sub(capacity), Relaxed);
        mapping.small_from(0);
    } else {
        mapping.huge();
    }
    Some(start)
}

/// Gives back what [`map`] gave.
///
/// # Safety
/// All `capacity` bytes of it, once, and nobody uses them any more.
pub(super) unsafe fn unmap(start: NonNull<u8>, capacity: usize) {
    // SAFETY: as the caller says.
    unsafe { libc::munmap(start.as_ptr().cast(), capacity) };
}

/// A new mapping that nobody else knows yet.
struct Mapping {
    start: NonNull<u8>,
    capacity: usize,
}

impl Mapping {
    /// Touches the first pages; if one is slow, the others are small ones.
    fn huge(&self) {
        self.advise(0, self.capacity, libc::MADV_HUGEPAGE);
        for at in (0..self.capacity.min(TOUCHED_MAX)).step_by(HUGE_PAGE) {
            let before = thread_time();
            if !self.advise(at, HUGE_PAGE, libc::MADV_POPULATE_WRITE) {
                // Linux before 5.14, or no memory is left, which whoever writes here will hear of.
                return;
            }
            if thread_time().saturating_sub(before) > SLOW {
                SMALL_LEFT.store(SMALL_BYTES, Relaxed);
                return self.small_from(at + HUGE_PAGE);
            }
        }
    }

    /// Small pages from a byte on. The first are had all at once, which takes less than one after another.
    fn small_from(&self, at: usize) {
        if at < self.capacity {
            self.advise(at, self.capacity - at, libc::MADV_NOHUGEPAGE);
        }
        let end = self.capacity.min(TOUCHED_MAX);
        if at < end {
            self.advise(at, end - at, libc::MADV_POPULATE_WRITE);
        }
    }

    fn advise(&self, at: usize, length: usize, advice: libc::c_int) -> bool {
        assert!(at + length <= self.capacity, "advice on {length} bytes from {at} of {}", self.capacity);
        // SAFETY: inside the mapping; none of the advice given here changes what pages hold.
        unsafe { libc::madvise(self.start.as_ptr().add(at).cast(), length, advice) == 0 }
    }
}

/// Processor time of this thread: whether another runs meanwhile does not matter.
fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock is every thread's own, the place is there.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_mapping_can_be_written_in_small_pages_and_in_huge_ones() {
        for small_left in [0, 1, 5 * HUGE_PAGE] {
            for pages in [1, 3, 20] {
                SMALL_LEFT.store(small_left, Relaxed);
                let capacity = pages * HUGE_PAGE;
                let start = map(capacity).unwrap();
                assert!((start.as_ptr() as usize).is_multiple_of(HUGE_PAGE));
                // SAFETY: mapped above, and zero.
                let bytes = unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), capacity) };
                assert!(bytes.iter().all(|&byte| byte == 0));
                bytes.fill(7);
                // SAFETY: nobody uses them any more.
                unsafe { unmap(start, capacity) };
            }
        }
    }

    #[test]
    fn more_than_there_is_takes_no_memory() {
        if let Some(start) = map(1 << 40) {
            // SAFETY: nobody uses it.
            unsafe { unmap(start, 1 << 40) };
        }
        assert!(map(usize::MAX - HUGE_PAGE + 1).is_none());
    }
}
