//! Owns which freed buffers are kept for the next block: those of sizes that were asked for last.
//!
//! What one stage of a computation frees is of no use to the next if its blocks have other sizes; kept, it would only take the
//! place of what is.

use super::Allocation;

/// Bytes kept at most: what small blocks free before they are needed again, or a large block's input and output.
const KEPT_MAX: usize = 64 << 20;
const KEPT_MAX_LARGE: usize = 256 << 20;
/// A buffer may stand in for one that is smaller by this share.
const WIDER: usize = 8;
/// Sizes that are remembered.
const SIZES_MAX: usize = 16;

pub(super) struct Idle {
    /// The one freed last at the end.
    buffers: Vec<Allocation>,
    bytes: usize,
    /// Sizes that were asked for, the last one at the end.
    asked: Vec<usize>,
}

impl Idle {
    pub(super) const fn new() -> Self {
        Self { buffers: Vec::new(), bytes: 0, asked: Vec::new() }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A buffer of `capacity` bytes or slightly more: the last one freed, which is the warmest in the cache.
    pub(super) fn take(&mut self, capacity: usize) -> Option<Allocation> {
        if self.asked.last() != Some(&capacity) {
            self.asked.retain(|&size| size != capacity);
            if self.asked.len() == SIZES_MAX {
                self.asked.remove(0);
            }
            self.asked.push(capacity);
        }
        let index = self.buffers.iter().rposition(|idle| serves(idle.capacity, capacity))?;
        let allocation = self.buffers.remove(index);
        self.bytes -= allocation.capacity;
        Some(allocation)
    }

    /// Keeps what is freed, and says what is given up for it, maybe itself: all together take up at most `room` bytes, and no
    /// more than is soon needed again, or `wanted` if that is more.
    #[must_use = "giving memory back takes long, and needs no lock"]
    pub(super) fn keep(&mut self, freed: Allocation, room: usize, wanted: usize) -> Vec<Allocation> {
        self.bytes += freed.capacity;
        self.buffers.push(freed);
        let largest = self.buffers.iter().map(|idle| idle.capacity).max().unwrap_or(0);
        let soon = largest.saturating_mul(2).clamp(KEPT_MAX, KEPT_MAX_LARGE);
        self.shrink(soon.max(wanted).min(room))
    }

    /// What no longer fits `bytes`: of sizes that nobody has asked for longest, those freed first.
    #[must_use = "giving memory back takes long, and needs no lock"]
    pub(super) fn shrink(&mut self, bytes: usize) -> Vec<Allocation> {
        let mut given = Vec::new();
        while self.bytes > bytes {
            let mut known = (0, None);
            let mut rank = |capacity: usize| {
                if known.0 != capacity {
                    known = (capacity, self.asked.iter().rposition(|&size| serves(capacity, size)));
                }
                known.1
            };
            let ranks = self.buffers.iter().map(|idle| rank(idle.capacity)).enumerate();
            let Some((index, _)) = ranks.min_by_key(|&(index, rank)| (rank, index)) else { break };
            let allocation = self.buffers.remove(index);
            self.bytes -= allocation.capacity;
            given.push(allocation);
        }
        given
    }
}

fn serves(capacity: usize, asked: usize) -> bool {
    capacity >= asked && capacity - asked <= asked / WIDER
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(megabytes: usize) -> Allocation {
        Allocation::new(megabytes << 20, false).unwrap()
    }

    fn kept(idle: &Idle) -> Vec<usize> {
        idle.buffers.iter().map(|idle| idle.capacity >> 20).collect()
    }

    #[test]
    fn what_nobody_asks_for_any_more_makes_way_for_what_is_wanted() {
        let mut idle = Idle::new();
        for megabytes in [33, 2, 33, 2] {
            assert!(idle.take(megabytes << 20).is_none());
        }
        for megabytes in [33, 2, 33] {
            assert!(idle.keep(buffer(megabytes), usize::MAX, 0).len() <= 1);
        }
        assert_eq!(kept(&idle), [2, 33], "two of 33 MB, and that of the size asked for last");
        // The next stage has blocks of 44 MB, and goes on to free small ones.
        assert!(idle.take(44 << 20).is_none());
        let given = idle.keep(buffer(44), usize::MAX, 0);
        assert!(given.is_empty(), "88 MB may be kept, and 79 are");
        let given = idle.keep(buffer(12), usize::MAX, 0);
        assert_eq!(given.iter().map(|a| a.capacity >> 20).collect::<Vec<_>>(), [12], "nobody asked for that");
        assert_eq!(kept(&idle), [2, 33, 44]);
        assert_eq!(idle.take(40 << 20).map(|a| a.capacity >> 20), Some(44), "a tenth more serves as well");
        assert!(idle.take(28 << 20).is_none(), "a sixth does not");
    }

    #[test]
    fn where_more_is_wanted_again_more_is_kept() {
        let (mut few, mut many) = (Idle::new(), Idle::new());
        for _ in 0..12 {
            drop((few.keep(buffer(8), usize::MAX, 0), many.keep(buffer(8), usize::MAX, 90 << 20)));
        }
        assert_eq!((few.bytes(), many.bytes()), (64 << 20, 88 << 20));
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let mut idle = Idle::new();
        for _ in 0..4 {
            drop(idle.keep(buffer(8), 20 << 20, 64 << 20));
        }
        assert_eq!((kept(&idle), idle.bytes()), (vec![8, 8], 16 << 20));
        drop(idle.shrink(0));
        assert_eq!((kept(&idle), idle.bytes()), (vec![], 0));
    }
}
