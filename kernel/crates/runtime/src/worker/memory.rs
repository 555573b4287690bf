//! Owns how a worker's process stays within the memory it was given: what of it is left for values and running blocks, how
//! the C library's allocator is set for that, and giving back what it keeps when little is left.
//!
//! Leaves to others: what is done with what is left (`nuna_worker`), and the buffers of chunks (`nuna_chunk::pool`).
#![expect(unsafe_code, reason = "settings of the C library's allocator")]

use std::{
    fs::File,
    os::unix::fs::FileExt,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use nix::libc;

/// What becomes resident only with work: code that has not run yet, connections, lists of blocks.
const GROWTH_BYTES: u64 = 20 << 20;
/// Stack, and contexts of the codecs, which are kept: zstd needs up to 4 MB.
const THREAD_BYTES: u64 = 7 << 20;
/// What the lists of the store and of the state machine take for each value, on disk or not.
pub(crate) const VALUE_BYTES: u64 = 280;
/// Share of the limit, and most of it, for holes between values that the allocator cannot give back.
const HOLES_SHARE: u64 = 16;
const HOLES_MAX: u64 = 1 << 30;
/// A limit that leaves less than this share of it for values is not kept: nothing could be computed.
const LEAST_SHARE: u64 = 4;
/// From here on free memory is given back, in thousandths of the limit.
const TIGHT_PERMILLE: u64 = 920;
/// Looking costs a system call, giving back a walk over all free memory.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
const TRIM_INTERVAL: Duration = Duration::from_millis(100);

/// Allocations from this share of the limit on, within bounds, are mapped, and unmapped when they are freed. glibc would
/// raise it to the size of the largest that was freed, up to 32 MB, and keep everything below.
const MAP_SHARE: u64 = 1024;
const MAP_FROM: (u64, u64) = (256 << 10, 32 << 20);

/// Watches the process's resident memory. Shared by threads.
pub(crate) struct Memory {
    limit: u64,
    statm: Option<File>,
    page_bytes: u64,
    born: Instant,
    /// Microseconds since `born`.
    looked: AtomicU64,
    trimmed: AtomicU64,
}

impl Memory {
    /// Sets the allocator; to be called before threads are started that allocate.
    pub(crate) fn new(limit: u64, threads: u16) -> Self {
        // Every compute thread has a heap of its own; all others share two.
        set(libc::M_ARENA_MAX, libc::c_int::from(threads).saturating_add(2));
        let map_from = (limit / MAP_SHARE).clamp(MAP_FROM.0, MAP_FROM.1) as libc::c_int;
        set(libc::M_MMAP_THRESHOLD, map_from);
        // Free memory at the end of the first heap above which it is given back.
        set(libc::M_TRIM_THRESHOLD, 2 * map_from);
        let page_bytes = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
        Self {
            limit,
            statm: File::open("/proc/self/statm").ok(),
            page_bytes: page_bytes.map_or(4096, |bytes| bytes as u64),
            born: Instant::now(),
            looked: AtomicU64::new(0),
            trimmed: AtomicU64::new(0),
        }
    }

    /// What is left of the limit for values and running blocks, now that everything else is in place.
    pub(crate) fn left_for_values(&self, threads: u16) -> u64 {
        let taken = self.resident() + GROWTH_BYTES + u64::from(threads) * THREAD_BYTES;
        let taken = taken + (self.limit / HOLES_SHARE).min(HOLES_MAX);
        let left = self.limit.saturating_sub(taken).max(self.limit / LEAST_SHARE);
        if left + taken > self.limit {
            tracing::warn!(
                limit_mb = self.limit / 1_000_000,
                needed_mb = (left + taken) / 1_000_000,
                "the memory limit leaves too little for values; this worker may exceed it"
            );
        }
        nuna_array::pool::set_bytes_max(left);
        left
    }

    /// Gives free memory back if the process is close to its limit. Cheap: it looks now and then.
    pub(crate) fn keep(&self) {
        if !self.due(&self.looked, LOOK_INTERVAL) {
            return;
        }
        let tight = self.limit / 1000 * TIGHT_PERMILLE;
        if self.resident() > tight && self.due(&self.trimmed, TRIM_INTERVAL) {
            nuna_array::pool::trim();
            // SAFETY: it takes the heaps' locks and moves nothing.
            unsafe { libc::malloc_trim(0) };
        }
    }

    /// Whether `interval` has passed since some thread was told so.
    fn due(&self, last: &AtomicU64, interval: Duration) -> bool {
        let now = self.born.elapsed().as_micros() as u64;
        let before = last.load(Ordering::Relaxed);
        now.saturating_sub(before) >= interval.as_micros() as u64
            && last.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn resident(&self) -> u64 {
        let mut text = [0; 128];
        let length = self.statm.as_ref().and_then(|file| file.read_at(&mut text, 0).ok()).unwrap_or(0);
        let pages = std::str::from_utf8(&text[..length]).unwrap_or_default().split_whitespace().nth(1);
        pages.and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * self.page_bytes
    }
}

fn set(parameter: libc::c_int, value: libc::c_int) {
    // SAFETY: it only changes the allocator's own settings, under its lock.
    if unsafe { libc::mallopt(parameter, value) } == 0 {
        tracing::debug!(parameter, value, "the allocator does not take this setting");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_for_values_and_what_else_there_is_fit_the_limit() {
        let memory = Memory::new(4 << 30, 2);
        let left = memory.left_for_values(2);
        assert!(left > 3 << 30 && left + memory.resident() < 4 << 30, "{left}");
        let little = Memory::new(1 << 20, 2);
        assert_eq!(little.left_for_values(2), 1 << 18);
        nuna_array::pool::set_bytes_max(u64::MAX);
    }

    #[test]
    fn freed_memory_goes_back_when_it_is_tight() {
        let memory = Memory::new(1 << 20, 1);
        // Small enough to come from a heap, with survivors that keep its end from being cut.
        let mut values: Vec<Vec<u8>> = (0..4096).map(|_| vec![1; 20_000]).collect();
        let full = memory.resident();
        let mut number = 0;
        values.retain(|_| {
            number += 1;
            number % 64 == 0
        });
        memory.trimmed.store(0, Ordering::Relaxed);
        while !memory.due(&memory.looked, LOOK_INTERVAL) {
            std::hint::spin_loop();
        }
        memory.looked.store(0, Ordering::Relaxed);
        while memory.trimmed.load(Ordering::Relaxed) == 0 {
            memory.keep();
        }
        assert!(memory.resident() + (40 << 20) < full, "{} of {full}", memory.resident());
        assert_eq!(values.len(), 64);
    }
}
