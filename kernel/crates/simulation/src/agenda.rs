//! Owns virtual time: what happens when, in an order that the seed alone decides.

use std::{cmp::Ordering, collections::BinaryHeap};

/// Microseconds since the simulation began.
pub(crate) type Time = u64;

pub(crate) const MILLISECOND: Time = 1_000;
pub(crate) const SECOND: Time = 1_000_000;

struct Entry<T> {
    time: Time,
    number: u64,
    what: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives out its greatest entry, which is to be the earliest.
        (other.time, other.number).cmp(&(self.time, self.number))
    }
}

/// What is to happen, earliest first; of equal times, what was entered first.
pub(crate) struct Agenda<T> {
    pub(crate) now: Time,
    number: u64,
    entries: BinaryHeap<Entry<T>>,
}

impl<T> Agenda<T> {
    pub(crate) fn new() -> Self {
        Self { now: 0, number: 0, entries: BinaryHeap::new() }
    }

    pub(crate) fn after(&mut self, delay: Time, what: T) {
        self.number += 1;
        self.entries.push(Entry { time: self.now + delay, number: self.number, what });
    }

    /// The next thing to happen; the clock moves on to it.
    pub(crate) fn next(&mut self) -> Option<T> {
        let entry = self.entries.pop()?;
        self.now = entry.time;
        Some(entry.what)
    }
}
