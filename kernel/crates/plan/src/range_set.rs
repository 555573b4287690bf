//! Owns sets of block numbers kept as runs: a million neighbours cost one entry.

use std::{collections::BTreeMap, ops::Range};

/// A set of numbers as disjoint runs that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    /// Start to end (exclusive).
    runs: BTreeMap<u64, u64>,
    len: u64,
}

impl RangeSet {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn contains(&self, number: u64) -> bool {
        self.runs.range(..=number).next_back().is_some_and(|(_, &end)| number < end)
    }

    pub fn runs(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.runs.iter().map(|(&start, &end)| start..end)
    }

    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.runs().flatten()
    }

    /// Adds a run, whatever of it was there already.
    pub fn insert(&mut self, run: Range<u64>) {
        if run.is_empty() {
            return;
        }
        let (mut start, mut end) = (run.start, run.end);
        // The common case first: blocks become ready in order, so the run extends its neighbour.
        if let Some((&before, before_end)) = self.runs.range_mut(..=start).next_back()
            && *before_end >= start
        {
            if *before_end >= end {
                return;
            }
            start = before;
            self.len -= *before_end - before;
            self.runs.remove(&before);
        }
        while let Some((&next, &next_end)) = self.runs.range(start..).next()
            && next <= end
        {
            end = end.max(next_end);
            self.len -= next_end - next;
            self.runs.remove(&next);
        }
        self.runs.insert(start, end);
        self.len += end - start;
    }

    /// Takes a number out; false if it was not there.
    pub fn remove(&mut self, number: u64) -> bool {
        let Some((&start, &end)) = self.runs.range(..=number).next_back() else { return false };
        if number >= end {
            return false;
        }
        self.runs.remove(&start);
        if start < number {
            self.runs.insert(start, number);
        }
        if number + 1 < end {
            self.runs.insert(number + 1, end);
        }
        self.len -= 1;
        true
    }

    /// Takes the first run, at most `max` numbers of it.
    pub fn take_first(&mut self, max: u64) -> Option<Range<u64>> {
        if max == 0 {
            return None;
        }
        let (start, end) = self.runs.pop_first()?;
        let cut = end.min(start.saturating_add(max));
        if cut < end {
            self.runs.insert(cut, end);
        }
        self.len -= cut - start;
        Some(start..cut)
    }

    /// Takes the last run, at most `max` numbers of it.
    pub fn take_last(&mut self, max: u64) -> Option<Range<u64>> {
        if max == 0 {
            return None;
        }
        let (start, end) = self.runs.pop_last()?;
        let cut = start.max(end.saturating_sub(max));
        if start < cut {
            self.runs.insert(start, cut);
        }
        self.len -= end - cut;
        Some(cut..end)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn runs_that_touch_become_one() {
        let mut set = RangeSet::new();
        set.insert(0..2);
        set.insert(4..6);
        set.insert(2..4);
        assert!(set.runs().eq(std::iter::once(0..6)));
        assert!(set.remove(3));
        assert_eq!(set.runs().collect::<Vec<_>>(), [0..3, 4..6]);
        assert_eq!((set.take_first(2), set.take_last(9)), (Some(0..2), Some(4..6)));
        assert_eq!(set.len(), 1);
    }

    #[test]
    fn it_agrees_with_a_plain_set() {
        let mut rng = StdRng::seed_from_u64(7);
        let (mut set, mut plain) = (RangeSet::new(), BTreeSet::new());
        for step in 0..5000 {
            match rng.random_range(0..4) {
                0 | 1 => {
                    let start = rng.random_range(0..200);
                    let end = start + rng.random_range(0..9);
                    set.insert(start..end);
                    plain.extend(start..end);
                }
                2 => {
                    let number = rng.random_range(0..210);
                    assert_eq!(set.remove(number), plain.remove(&number), "step {step}");
                }
                _ => {
                    let max = rng.random_range(0..6);
                    let run = if rng.random() { set.take_first(max) } else { set.take_last(max) };
                    for number in run.into_iter().flatten() {
                        assert!(plain.remove(&number), "step {step}");
                    }
                }
            }
            assert_eq!(set.len(), plain.len() as u64, "step {step}");
            assert!(set.iter().eq(plain.iter().copied()), "step {step}");
        }
    }
}
