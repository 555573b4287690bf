//! Owns statistics over windows that slide along an axis.
//!
//! Windows are put together from running results to the left and to the right of every `width`-th element, counted from the
//! array's beginning (van Herk's scheme): two steps per element whatever the width, nothing is subtracted, and the same bits
//! however the axis is cut.

use serde::{Deserialize, Serialize};

use super::{each_line, is_nan};
use crate::{
    cast::CastFrom,
    chunk::Chunk,
    dtype::{DType, with_dtype},
};

/// What is made of the elements of a window that are not NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Rolling {
    Sum,
    Mean,
    Min,
    Max,
    Count,
    Var { ddof: u32 },
    Std { ddof: u32 },
    Median,
}

impl Rolling {
    pub fn name(self) -> &'static str {
        match self {
            Rolling::Sum => "sum",
            Rolling::Mean => "mean",
            Rolling::Min => "min",
            Rolling::Max => "max",
            Rolling::Count => "count",
            Rolling::Var { .. } => "var",
            Rolling::Std { .. } => "std",
            Rolling::Median => "median",
        }
    }

    /// `float32` stays, everything else gives `float64`.
    pub fn output(self, dtype: DType) -> DType {
        dtype.to_float()
    }
}

/// Windows of `left + 1 + right` elements around each, cut short at the ends of the axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Windows {
    pub rolling: Rolling,
    pub left: u64,
    pub right: u64,
    /// With fewer elements that are not NaN the result is NaN.
    pub min_periods: u64,
}

/// A part of a line and where it lies.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Index in the array of the first element that is given.
    pub first: u64,
    /// Indices in the array of the results that are wanted.
    pub start: u64,
    pub end: u64,
}

/// What is known of some elements.
#[derive(Clone, Copy)]
struct Known {
    count: u64,
    /// Their mean for variances, else their sum, least or greatest.
    value: f64,
    /// Sum of squared distances from the mean.
    squares: f64,
}

const NOTHING: Known = Known { count: 0, value: 0.0, squares: 0.0 };

impl Known {
    fn join(self, other: Known, rolling: Rolling) -> Known {
        if self.count == 0 {
            return other;
        }
        if other.count == 0 {
            return self;
        }
        let count = self.count + other.count;
        let (value, squares) = match rolling {
            Rolling::Sum | Rolling::Mean | Rolling::Count | Rolling::Median => {
                (self.value + other.value, 0.0)
            }
            Rolling::Min => (self.value.min(other.value), 0.0),
            Rolling::Max => (self.value.max(other.value), 0.0),
            // Chan, Golub and LeVeque 1979.
            Rolling::Var { .. } | Rolling::Std { .. } => {
                let step = other.value - self.value;
                let share = other.count as f64 / count as f64;
                let squares = self.squares + other.squares + step * step * share * self.count as f64;
                (self.value + step * share, squares)
            }
        };
        Known { count, value, squares }
    }

    fn result(self, rolling: Rolling) -> f64 {
        let count = self.count as f64;
        match rolling {
            Rolling::Count => count,
            Rolling::Sum => self.value,
            _ if self.count == 0 => f64::NAN,
            Rolling::Mean => self.value / count,
            Rolling::Min | Rolling::Max | Rolling::Median => self.value,
            Rolling::Var { ddof } => variance(self.squares, count, ddof),
            Rolling::Std { ddof } => variance(self.squares, count, ddof).sqrt(),
        }
    }
}

fn variance(squares: f64, count: f64, ddof: u32) -> f64 {
    let left = count - f64::from(ddof);
    if left <= 0.0 { f64::NAN } else { squares / left }
}

/// The statistic of the window around each element `place.start..place.end`; the chunk has the elements that those windows
/// reach, as far as there are any. Windows with fewer than `min_periods` numbers give NaN (counts too).
pub fn rolling(chunk: &Chunk, axis: usize, windows: &Windows, place: Place) -> Chunk {
    let count = place.end - place.start;
    let single = windows.rolling.output(chunk.dtype()) == DType::F32;
    let mut buffers = Buffers::default();
    with_dtype!(chunk.dtype(), T => {
        let known = |value: T| match is_nan(value) {
            true => NOTHING,
            false => {
                let value = f64::cast_from(value);
                // An infinite one has no distance from itself.
                Known { count: 1, value, squares: if value.is_finite() { 0.0 } else { f64::NAN } }
            }
        };
        if single {
            each_line::<T, f32>(chunk, axis, count, |line, out| {
                buffers.fill(line.iter().map(|&v| known(v)));
                buffers.slide(windows, place, |i, value| out[i] = value as f32);
            })
        } else {
            each_line::<T, f64>(chunk, axis, count, |line, out| {
                buffers.fill(line.iter().map(|&v| known(v)));
                buffers.slide(windows, place, |i, value| out[i] = value);
            })
        }
    })
}

#[derive(Default)]
struct Buffers {
    line: Vec<Known>,
    /// From each element to the next multiple of the width.
    after: Vec<Known>,
    /// From the last multiple of the width to each element.
    before: Vec<Known>,
    sorted: Vec<f64>,
}

impl Buffers {
    fn fill(&mut self, line: impl Iterator<Item = Known>) {
        self.line.clear();
        self.line.extend(line);
    }

    fn slide(&mut self, windows: &Windows, place: Place, mut put: impl FnMut(usize, f64)) {
        let Windows { rolling, left, right, min_periods } = *windows;
        let n = self.line.len() as u64;
        let width = left.saturating_add(right).saturating_add(1);
        let bounds = |at: u64| {
            let low = at.saturating_sub(left).max(place.first) - place.first;
            low..(at.saturating_add(right).saturating_add(1) - place.first).min(n)
        };
        let checked = |known: Known, value: f64| if known.count < min_periods { f64::NAN } else { value };
        if rolling == Rolling::Median {
            for at in place.start..place.end {
                let range = bounds(at);
                self.sorted.clear();
                let line = &self.line[range.start as usize..range.end as usize];
                self.sorted.extend(line.iter().filter(|k| k.count > 0).map(|k| k.value));
                let known = Known { count: self.sorted.len() as u64, ..NOTHING };
                put((at - place.start) as usize, checked(known, median(&mut self.sorted)));
            }
            return;
        }
        self.before.clear();
        let mut held = NOTHING;
        for (i, &known) in self.line.iter().enumerate() {
            if (place.first + i as u64).is_multiple_of(width) {
                held = NOTHING;
            }
            held = held.join(known, rolling);
            self.before.push(held);
        }
        self.after.clear();
        self.after.resize(self.line.len(), NOTHING);
        held = NOTHING;
        for (i, &known) in self.line.iter().enumerate().rev() {
            held = known.join(held, rolling);
            self.after[i] = held;
            if (place.first + i as u64).is_multiple_of(width) {
                held = NOTHING;
            }
        }
        for at in place.start..place.end {
            let range = bounds(at);
            let (low, last) = (range.start as usize, range.end as usize - 1);
            let group = |i: usize| (place.first + i as u64) / width;
            // A window touches two groups at most. Within one it begins or ends with it, except at the ends of the axis,
            // where it is shorter than the group.
            let known = if group(low) != group(last) {
                self.after[low].join(self.before[last], rolling)
            } else if (place.first + low as u64).is_multiple_of(width) {
                self.before[last]
            } else {
                self.line[low..=last].iter().fold(NOTHING, |held, &known| held.join(known, rolling))
            };
            put((at - place.start) as usize, checked(known, known.result(rolling)));
        }
    }
}

fn median(values: &mut [f64]) -> f64 {
    let n = values.len();
    if n == 0 {
        return f64::NAN;
    }
    let (_, &mut high, _) = values.select_nth_unstable_by(n / 2, f64::total_cmp);
    if n % 2 == 1 {
        return high;
    }
    let low = values[..n / 2].iter().copied().fold(f64::NEG_INFINITY, f64::max);
    low + (high - low) * 0.5
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(values: &[f64], windows: &Windows, at: usize) -> f64 {
        let low = at.saturating_sub(windows.left as usize);
        let high = (at + windows.right as usize + 1).min(values.len());
        let mut kept: Vec<f64> = values[low..high].iter().copied().filter(|v| !v.is_nan()).collect();
        let n = kept.len() as f64;
        if (kept.len() as u64) < windows.min_periods {
            return f64::NAN;
        }
        let sum: f64 = kept.iter().sum();
        let squares: f64 = kept.iter().map(|v| (v - sum / n).powi(2)).sum();
        match windows.rolling {
            Rolling::Count => n,
            Rolling::Sum => sum,
            _ if kept.is_empty() => f64::NAN,
            Rolling::Mean => sum / n,
            Rolling::Min => kept.iter().copied().fold(f64::INFINITY, f64::min),
            Rolling::Max => kept.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Rolling::Var { ddof } => variance(squares, n, ddof),
            Rolling::Std { ddof } => variance(squares, n, ddof).sqrt(),
            Rolling::Median => median(&mut kept),
        }
    }

    #[test]
    fn windows_with_an_infinite_number_have_no_variance() {
        let chunk = Chunk::from_slice(&[4], &[f64::INFINITY, 1.0, 2.0, 4.0]);
        let windows = Windows { rolling: Rolling::Var { ddof: 0 }, left: 1, right: 0, min_periods: 1 };
        let found = rolling(&chunk, 0, &windows, Place { first: 0, start: 0, end: 4 }).to_vec::<f64>();
        assert!(found[0].is_nan() && found[1].is_nan(), "{found:?}");
        assert_eq!(found[2..], [0.25, 1.0]);
    }

    #[test]
    fn windows_hold_what_a_plain_loop_finds_in_them_however_the_line_is_cut() {
        let values: Vec<f64> =
            (0..23).map(|i| if i % 7 == 3 { f64::NAN } else { f64::from((i * 37) % 11) - 4.0 }).collect();
        let n = values.len() as u64;
        for rolling_by in [
            Rolling::Sum,
            Rolling::Mean,
            Rolling::Min,
            Rolling::Max,
            Rolling::Count,
            Rolling::Var { ddof: 0 },
            Rolling::Std { ddof: 1 },
            Rolling::Median,
        ] {
            for (left, right) in [(0, 0), (2, 0), (1, 1), (3, 2), (0, 4), (30, 0), (22, 22)] {
                for min_periods in [0, 1, 3] {
                    let windows = Windows { rolling: rolling_by, left, right, min_periods };
                    for part in [23, 5, 1] {
                        for start in (0..n).step_by(part) {
                            let end = (start + part as u64).min(n);
                            let first = start.saturating_sub(left);
                            let given = &values[first as usize..(end + right).min(n) as usize];
                            let chunk = Chunk::from_slice(&[given.len() as u64], given);
                            let found = rolling(&chunk, 0, &windows, Place { first, start, end });
                            for (i, found) in found.to_vec::<f64>().into_iter().enumerate() {
                                let expected = naive(&values, &windows, start as usize + i);
                                let same = (found.is_nan() && expected.is_nan())
                                    || (found - expected).abs() <= 1e-12 * expected.abs().max(1.0);
                                assert!(
                                    same,
                                    "{windows:?} at {}: {found}, not {expected}",
                                    start as usize + i
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}
