//! Owns which parts of a spill file are taken: places of whole pages, given back in any order, and joined with what is free
//! beside them.

use std::collections::{BTreeMap, BTreeSet};

/// Holes can be punched in whole pages only.
const PAGE: u64 = 4096;
/// Pages of values that are gone are kept for others up to this many bytes. Those of others are given back at once: before they
/// are written to the disk for nothing, and while they are quick to use again.
const REUSED_MAX: u64 = 32 << 20;

/// The parts of one file.
#[derive(Debug)]
pub(super) struct Room {
    /// No place ends beyond it.
    limit: u64,
    /// Behind the last place.
    end: u64,
    /// The file is so long.
    length: u64,
    taken: u64,
    /// Between places, by offset; no two of them touch.
    free: BTreeMap<u64, u64>,
    /// The same, by length.
    by_length: BTreeSet<(u64, u64)>,
    free_bytes: u64,
    /// Of these, about so many still have pages.
    kept: u64,
}

/// What is to be done with the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Return {
    Nothing,
    /// These pages go back to the disk.
    Hole {
        offset: u64,
        length: u64,
    },
    Cut {
        length: u64,
    },
}

impl Room {
    pub(super) fn new(limit: u64) -> Self {
        let (free, by_length) = (BTreeMap::new(), BTreeSet::new());
        Self { limit, end: 0, length: 0, taken: 0, free, by_length, free_bytes: 0, kept: 0 }
    }

    /// Where `length` bytes go; nowhere if the limit leaves no such place.
    pub(super) fn take(&mut self, length: u64) -> Option<u64> {
        let pages = pages(length);
        // The smallest that is large enough.
        let offset = if let Some(&(there, offset)) = self.by_length.range((pages, 0)..).next() {
            self.unlist(offset, there);
            self.kept = self.kept.saturating_sub(pages);
            if there > pages {
                self.list(offset + pages, there - pages);
            }
            offset
        } else {
            let end = self.end.checked_add(pages).filter(|&end| end <= self.limit)?;
            std::mem::replace(&mut self.end, end)
        };
        self.length = self.length.max(self.end);
        self.taken += pages;
        Some(offset)
    }

    /// The place at `offset`, of `length` bytes when it was taken, is free.
    pub(super) fn give_back(&mut self, offset: u64, length: u64) -> Return {
        let pages = pages(length);
        self.taken -= pages;
        let (mut from, mut to) = (offset, offset + pages);
        if let Some((&before, &there)) = self.free.range(..from).next_back()
            && before + there == from
        {
            self.unlist(before, there);
            from = before;
        }
        if let Some(&there) = self.free.get(&to) {
            self.unlist(to, there);
            to += there;
        }
        if to == self.end {
            self.end = from;
        } else {
            self.list(from, to - from);
        }
        if self.taken == 0 || self.length - self.end > REUSED_MAX {
            self.length = self.end;
            self.kept = self.kept.min(self.free_bytes);
            return Return::Cut { length: self.end };
        }
        if offset >= self.end {
            return Return::Nothing;
        }
        if self.kept + pages > REUSED_MAX {
            return Return::Hole { offset, length: pages };
        }
        self.kept += pages;
        Return::Nothing
    }

    /// Bytes of places that are taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    fn list(&mut self, offset: u64, length: u64) {
        self.free.insert(offset, length);
        self.by_length.insert((length, offset));
        self.free_bytes += length;
    }

    fn unlist(&mut self, offset: u64, length: u64) {
        self.free.remove(&offset);
        self.by_length.remove(&(length, offset));
        self.free_bytes -= length;
    }
}

/// Whole pages, at least one, so that no two places begin at one offset.
fn pages(length: u64) -> u64 {
    length.max(1).next_multiple_of(PAGE)
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn places_never_overlap_nor_pass_the_limit_and_what_is_given_back_is_taken_again() {
        let mut rng = StdRng::seed_from_u64(7);
        let limit = 64 * PAGE;
        let mut room = Room::new(limit);
        let mut places: BTreeMap<u64, u64> = BTreeMap::new();
        let mut refused = 0;
        for _ in 0..20_000 {
            if rng.random_bool(0.55) {
                let length = rng.random_range(0..9 * PAGE);
                let Some(offset) = room.take(length) else {
                    refused += 1;
                    continue;
                };
                let end = offset + pages(length);
                assert!(end <= limit);
                let before = places.range(..end).next_back();
                assert!(
                    before.is_none_or(|(&at, &length)| at + pages(length) <= offset),
                    "{places:?} {offset}"
                );
                places.insert(offset, length);
            } else if !places.is_empty() {
                let nth = rng.random_range(0..places.len());
                let (&offset, &length) = places.iter().nth(nth).unwrap();
                places.remove(&offset);
                room.give_back(offset, length);
            }
            let taken: u64 = places.values().map(|&length| pages(length)).sum();
            assert_eq!(room.taken(), taken);
            assert_eq!(room.end, taken + room.free_bytes);
        }
        assert!(refused > 100, "{refused}");
        for (offset, length) in std::mem::take(&mut places) {
            room.give_back(offset, length);
        }
        assert_eq!(room.take(limit), Some(0), "all of it is one place again");
        assert_eq!(room.give_back(0, limit), Return::Cut { length: 0 });
    }

    #[test]
    fn pages_go_back_to_the_disk_once_many_are_free() {
        let mut room = Room::new(u64::MAX);
        let each = REUSED_MAX / 2;
        let places: Vec<u64> = (0..6).map(|_| room.take(each).unwrap()).collect();
        assert_eq!(room.give_back(places[0], each), Return::Nothing);
        assert_eq!(room.give_back(places[2], each), Return::Nothing);
        assert_eq!(room.give_back(places[3], each), Return::Hole { offset: places[3], length: each });
        assert_eq!(room.give_back(places[5], each), Return::Nothing);
        assert_eq!(room.give_back(places[4], each), Return::Cut { length: each * 2 });
        assert_eq!(room.give_back(places[1], each), Return::Cut { length: 0 });
    }
}
