//! Indices of job arrays, as `qsub -J` takes them and `qstat` prints them: `0-9`, `2-8:2`, `1,4-6`.
//!
//! They stay ranges: an array of a million jobs is as small as one of two.

use std::fmt;
use std::str::FromStr;

/// No PBS numbers the jobs of an array higher (`max_array_size` is 10,000 if nobody says).
pub const INDEX_MAX: u32 = 999_999_999;
/// Ranges in one list. A server prints what is left of an array, which may have many holes.
const RANGES_MAX: usize = 100_000;

/// `first`, `first + step`, … up to `last`, which is one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u32,
    last: u32,
    step: u32,
}

impl Range {
    fn count(&self) -> u64 {
        u64::from((self.last - self.first) / self.step) + 1
    }

    fn iter(&self) -> impl Iterator<Item = u32> + use<> {
        (self.first..=self.last).step_by(self.step as usize)
    }
}

/// Some indices of an array. Ascending and without repetition; may be none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indices {
    ranges: Vec<Range>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} are no indices of a job array: expected `X-Y` or `X-Y:step` with X below Y and a step of 1 or more, or a list of such ranges and of single numbers in ascending order (up to {INDEX_MAX})"
)]
pub struct InvalidIndices {
    text: String,
}

impl Indices {
    /// From `first` to `last`.
    ///
    /// # Panics
    /// If `last` is below `first`.
    pub fn span(first: u32, last: u32) -> Self {
        assert!(first <= last, "a span from {first} to {last}");
        Self { ranges: vec![Range { first, last, step: 1 }] }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.ranges.iter().map(Range::count).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub fn contains(&self, index: u32) -> bool {
        // Ranges ascend and do not overlap.
        let after = self.ranges.partition_point(|range| range.last < index);
        self.ranges
            .get(after)
            .is_some_and(|range| index >= range.first && (index - range.first).is_multiple_of(range.step))
    }

    /// Those of all the parts. Ranges stay ranges, so that the work is by what is written, not by what it counts. Where steps
    /// overlap in more numbers than a list may have ranges, numbers between them are taken for indices too.
    pub fn union<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut ranges: Vec<Range> = parts.into_iter().flat_map(|part| part.ranges.iter().copied()).collect();
        if let Some(ranges) = joined(&mut ranges) {
            return Self { ranges };
        }
        let is_stepped = |range: &&Range| range.step > 1;
        let stepped: u64 = ranges.iter().filter(is_stepped).map(|range| range.count()).sum();
        if stepped > RANGES_MAX as u64 {
            for range in &mut ranges {
                range.step = 1;
            }
            return Self { ranges: joined(&mut ranges).unwrap_or_default() };
        }
        let numbers: Vec<u32> = ranges.iter().filter(is_stepped).flat_map(Range::iter).collect();
        ranges.retain(|range| range.step == 1);
        ranges.extend(numbers.into_iter().map(|number| Range { first: number, last: number, step: 1 }));
        // Nothing has steps any more, so nothing is refused.
        Self { ranges: joined(&mut ranges).unwrap_or_default() }
    }

    /// All of them, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.ranges.iter().flat_map(Range::iter)
    }
}

/// Ascending numbers, in the fewest ranges that a walk from the first finds: what PBS prints of them.
impl FromIterator<u32> for Indices {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        let mut ranges: Vec<Range> = Vec::new();
        for number in numbers {
            match ranges.last_mut() {
                Some(range) if range.first == range.last && number > range.last => {
                    *range = Range { first: range.first, last: number, step: number - range.first };
                }
                Some(range) if number > range.last && number - range.last == range.step => {
                    range.last = number
                }
                Some(range) if number <= range.last => {}
                Some(_) | None => ranges.push(Range { first: number, last: number, step: 1 }),
            }
            split_odd_pair(&mut ranges);
        }
        // A pair with a gap is two numbers.
        if let Some(&Range { first, last, step }) = ranges.last()
            && step > 1
            && last - first == step
        {
            ranges.pop();
            ranges.push(Range { first, last: first, step: 1 });
            ranges.push(Range { first: last, last, step: 1 });
        }
        Self { ranges }
    }
}

/// Ascending and without overlap, neighbours as one; none if one that has steps overlaps another.
fn joined(ranges: &mut [Range]) -> Option<Vec<Range>> {
    ranges.sort_unstable_by_key(|range| (range.first, range.last));
    let mut joined: Vec<Range> = Vec::new();
    for &range in &*ranges {
        match joined.last_mut() {
            Some(before)
                if before.step == 1 && range.step == 1 && range.first <= before.last.saturating_add(1) =>
            {
                before.last = before.last.max(range.last);
            }
            Some(before) if range.first <= before.last && *before != range => return None,
            Some(before) if *before == range => {}
            Some(_) | None => joined.push(range),
        }
    }
    Some(joined)
}

/// Once a new range has begun, a pair with a gap before it is one number, and the other belongs to what follows.
fn split_odd_pair(ranges: &mut Vec<Range>) {
    let [.., before, last] = ranges.as_mut_slice() else { return };
    if before.step > 1 && before.last - before.first == before.step && last.first == last.last {
        let (middle, next) = (before.last, last.first);
        *before = Range { first: before.first, last: before.first, step: 1 };
        *last = Range { first: middle, last: next, step: next - middle };
    }
}

impl FromStr for Indices {
    type Err = InvalidIndices;

    /// `-` and nothing are no indices, as PBS prints what is left of an array that has begun wholly.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidIndices { text: text.chars().take(80).collect() };
        let mut ranges: Vec<Range> = Vec::new();
        if matches!(text.trim(), "" | "-") {
            return Ok(Self { ranges });
        }
        for part in text.trim().split(',') {
            let range = range(part).ok_or_else(invalid)?;
            let follows = ranges.last().is_none_or(|before| before.last < range.first);
            if !follows || ranges.len() == RANGES_MAX {
                return Err(invalid());
            }
            ranges.push(range);
        }
        Ok(Self { ranges })
    }
}

/// `X`, `X-Y` or `X-Y:step`.
fn range(text: &str) -> Option<Range> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u32>().ok()).flatten()
    };
    let (first, rest) = match text.split_once('-') {
        Some((first, rest)) => (number(first)?, rest),
        None => {
            let first = number(text)?;
            return Some(Range { first, last: first, step: 1 });
        }
    };
    let (last, step) = match rest.split_once(':') {
        Some((last, step)) => (number(last)?, number(step)?),
        None => (number(rest)?, 1),
    };
    if first >= last || step == 0 {
        return None;
    }
    let last = last - (last - first) % step;
    // One number is one, whatever its step.
    Some(Range { first, last, step: if first == last { 1 } else { step } })
}

/// As PBS prints them: `-` if there are none.
impl fmt::Display for Indices {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ranges.is_empty() {
            return formatter.write_str("-");
        }
        for (position, range) in self.ranges.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(formatter, "{comma}{}", range.first)?;
            if range.last > range.first {
                write!(formatter, "-{}", range.last)?;
            }
            if range.step > 1 {
                write!(formatter, ":{}", range.step)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn indices(text: &str) -> Indices {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn ranges_are_read_as_qsub_reads_them() {
        for (text, expected) in [
            ("0-4", vec![0, 1, 2, 3, 4]),
            ("2-7:2", vec![2, 4, 6]),
            ("1,4-6", vec![1, 4, 5, 6]),
            ("3-4:9", vec![3]),
            ("7", vec![7]),
            ("-", vec![]),
            ("", vec![]),
        ] {
            let read = indices(text);
            assert_eq!(read.iter().collect::<Vec<_>>(), expected, "{text}");
            assert_eq!(read.count(), expected.len() as u64, "{text}");
            assert!(expected.iter().all(|&index| read.contains(index)) && !read.contains(99), "{text}");
        }
        assert!(!indices("2-7:2").contains(3) && !indices("2-7:2").contains(7));
    }

    #[test]
    fn nonsense_is_refused_with_what_would_be_right() {
        for bad in
            ["5-5", "9-1", "1-9:0", "a-b", "1-", "-3", "1-2-3", "1:2", "1-5%2", "4,2", "1,1", "1-5,5", "1,,2"]
        {
            let error = bad.parse::<Indices>().expect_err(bad).to_string();
            assert!(error.contains(bad) && error.contains("X-Y:step"), "{error}");
        }
        assert!("0-99999999999".parse::<Indices>().is_err());
        assert!(" 1 - 2".parse::<Indices>().is_err());
    }

    #[test]
    fn a_huge_array_costs_nothing() {
        assert_eq!(indices("0-999999999").count(), 1_000_000_000);
        assert!(indices("0-999999999").contains(123_456_789));
    }

    #[test]
    fn a_union_of_huge_ranges_costs_nothing() {
        let union = |texts: &[&str]| {
            let parts: Vec<Indices> = texts.iter().map(|text| indices(text)).collect();
            Indices::union(&parts)
        };
        let all = union(&["2-999999999", "0", "1"]);
        assert_eq!((all.count(), all.to_string().as_str()), (1_000_000_000, "0-999999999"));
        let odd = union(&["1-999999999:2", "1-999999999:2"]);
        assert_eq!((odd.count(), odd.to_string().as_str()), (500_000_000, "1-999999999:2"));
        let woven = union(&["1-999999999:2", "4-999999998:2"]);
        assert_eq!(woven.to_string(), "1-999999999", "not by walking through them, and none is left out");
        assert_eq!(union(&[]), indices("-"));
    }

    #[test]
    fn what_is_left_prints_as_pbs_prints_it() {
        for (left, text) in [
            (vec![], "-"),
            (vec![4], "4"),
            (vec![4, 5], "4-5"),
            (vec![1, 4], "1,4"),
            (vec![2, 4, 6], "2-6:2"),
            (vec![1, 4, 5, 6], "1,4-6"),
            (vec![1, 2, 3, 7], "1-3,7"),
        ] {
            assert_eq!(left.into_iter().collect::<Indices>().to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(numbers in proptest::collection::btree_set(0_u32..300, 0..60)) {
            let made: Indices = numbers.iter().copied().collect();
            prop_assert_eq!(made.iter().collect::<Vec<_>>(), numbers.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(made.count(), numbers.len() as u64);
            let read = indices(&made.to_string());
            prop_assert_eq!(&read, &made);
            for index in 0..300 {
                prop_assert_eq!(read.contains(index), numbers.contains(&index));
            }
        }

        #[test]
        fn a_union_has_what_its_parts_have(
            texts in proptest::collection::vec((0_u32..60, 0_u32..60, 1_u32..5), 0..6),
        ) {
            let parts: Vec<Indices> = texts
                .iter()
                .map(|(first, more, step)| indices(&format!("{first}-{}:{step}", first + more + 1)))
                .collect();
            let union = Indices::union(&parts);
            for index in 0..130 {
                prop_assert_eq!(union.contains(index), parts.iter().any(|part| part.contains(index)), "{}", index);
            }
            prop_assert_eq!(union.iter().count() as u64, union.count());
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9,:a%-]{0,24}") {
            if let Ok(read) = text.parse::<Indices>() {
                let count = read.count();
                prop_assert_eq!(indices(&read.to_string()).count(), count);
                prop_assert_eq!(read.iter().take(1000).count() as u64, count.min(1000));
            }
        }
    }
}
