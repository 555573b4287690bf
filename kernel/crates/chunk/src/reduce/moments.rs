//! Owns reductions with several values per cell: mean where NaN is skipped (sum and count), variance (count, mean
//! and sum of squared deviations), and the place of an extreme.

use crate::{
    cast::CastFrom,
    reduce::{
        counter::Counter,
        fold::{Extreme, Missing},
        walk::Visitor,
    },
    simd::widest,
};

/// Columns handled at once, with their counters on the stack.
const STRIP: usize = 512;
/// Rows over which deviations are taken from one mean; their strip stays in the second-level cache.
const BATCH: usize = 64;
/// Elements of a row handled at once.
const RUN: usize = 4096;
const LANES: usize = 16;

/// Sum and count of what is not NaN.
pub(crate) struct SumCount<'a, T, C> {
    pub(crate) from: &'a [T],
    pub(crate) sum: &'a mut [f64],
    pub(crate) count: &'a mut [C],
}

/// As a sum's term, and as a count.
#[inline(always)]
fn counted<T: Missing>(v: T) -> (f64, u32)
where
    f64: CastFrom<T>,
{
    // Masked rather than branched, so that it becomes vector code.
    if v.missing() { (0.0, 0) } else { (f64::cast_from(v), 1) }
}

impl<T: Missing, C: Counter> Visitor for SumCount<'_, T, C>
where
    f64: CastFrom<T>,
{
    fn columns(&mut self, from: usize, to: usize, rows: usize, stride: usize, width: usize) {
        let source = self.from;
        for strip in (0..width).step_by(STRIP) {
            let length = STRIP.min(width - strip);
            let sum = &mut self.sum[to + strip..][..length];
            let count = &mut self.count[to + strip..][..length];
            let base = from + strip;
            // 32-bit counters keep up with the elements' vectors; they are emptied before they can overflow.
            for first in (0..rows).step_by(u32::MAX as usize) {
                let last = rows.min(first + u32::MAX as usize);
                let mut seen = [0u32; STRIP];
                widest(
                    #[inline(always)]
                    || {
                        let seen = &mut seen[..length];
                        let mut row = first;
                        while row + 4 <= last {
                            let at = |r: usize| &source[base + (row + r) * stride..][..length];
                            let (a, b, c, d) = (at(0), at(1), at(2), at(3));
                            for j in 0..length {
                                let ((a, m), (b, n)) = (counted(a[j]), counted(b[j]));
                                let ((c, o), (d, p)) = (counted(c[j]), counted(d[j]));
                                sum[j] = sum[j] + a + b + c + d;
                                seen[j] = seen[j].wrapping_add(m + n + o + p);
                            }
                            row += 4;
                        }
                        while row < last {
                            let a = &source[base + row * stride..][..length];
                            for j in 0..length {
                                let (a, m) = counted(a[j]);
                                sum[j] += a;
                                seen[j] = seen[j].wrapping_add(m);
                            }
                            row += 1;
                        }
                        for (count, &seen) in count.iter_mut().zip(&*seen) {
                            *count = count.plus(i64::from(seen));
                        }
                    },
                );
            }
        }
    }

    fn row(&mut self, from: usize, to: usize, count: usize) {
        for run in self.from[from..from + count].chunks(RUN) {
            let (sum, count) = widest(
                #[inline(always)]
                || row_sum(run),
            );
            self.sum[to] += sum;
            self.count[to] = self.count[to].plus(i64::from(count));
        }
    }
}

#[inline(always)]
fn row_sum<T: Missing>(run: &[T]) -> (f64, u32)
where
    f64: CastFrom<T>,
{
    let (mut sums, mut counts) = ([0.0f64; LANES], [0u32; LANES]);
    let (whole, rest) = run.as_chunks::<LANES>();
    for values in whole {
        for lane in 0..LANES {
            let (v, n) = counted(values[lane]);
            sums[lane] += v;
            counts[lane] = counts[lane].wrapping_add(n);
        }
    }
    for (lane, &v) in rest.iter().enumerate() {
        let (v, n) = counted(v);
        sums[lane] += v;
        counts[lane] = counts[lane].wrapping_add(n);
    }
    (add_lanes(sums), counts.iter().fold(0, |a, &b| a.wrapping_add(b)))
}

#[inline(always)]
fn add_lanes(mut lanes: [f64; LANES]) -> f64 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// Count, mean and sum of squared deviations of some values.
#[derive(Clone, Copy, Default)]
pub(crate) struct Moments {
    pub(crate) count: i64,
    pub(crate) mean: f64,
    pub(crate) m2: f64,
}

impl Moments {
    /// Chan, Golub and LeVeque's merge.
    #[inline(always)]
    pub(crate) fn merge(self, other: Moments) -> Moments {
        if other.count == 0 {
            return self;
        }
        if self.count == 0 {
            return other;
        }
        let (a, b) = (self.count as f64, other.count as f64);
        let total = a + b;
        let delta = other.mean - self.mean;
        Moments {
            count: self.count + other.count,
            mean: self.mean + delta * (b / total),
            m2: self.m2 + other.m2 + delta * delta * (a * b / total),
        }
    }
}

/// Variance of what is not NaN, or of everything.
pub(crate) struct Variance<'a, T, const SKIP: bool> {
    pub(crate) from: &'a [T],
    pub(crate) count: &'a mut [i64],
    pub(crate) mean: &'a mut [f64],
    pub(crate) m2: &'a mut [f64],
}

impl<T: Missing, const SKIP: bool> Variance<'_, T, SKIP>
where
    f64: CastFrom<T>,
{
    fn merge(&mut self, to: usize, other: Moments) {
        let own = Moments { count: self.count[to], mean: self.mean[to], m2: self.m2[to] };
        let Moments { count, mean, m2 } = own.merge(other);
        (self.count[to], self.mean[to], self.m2[to]) = (count, mean, m2);
    }

    #[inline(always)]
    fn skipped(v: T) -> bool {
        SKIP && v.missing()
    }
}

impl<T: Missing, const SKIP: bool> Visitor for Variance<'_, T, SKIP>
where
    f64: CastFrom<T>,
{
    fn columns(&mut self, from: usize, to: usize, rows: usize, stride: usize, width: usize) {
        let source = self.from;
        for strip in (0..width).step_by(STRIP) {
            let length = STRIP.min(width - strip);
            for first in (0..rows).step_by(BATCH) {
                let last = rows.min(first + BATCH);
                let row = |r: usize| &source[from + strip + r * stride..][..length];
                // Two passes over a batch that is in the cache: the mean, then deviations from it.
                let (mut mean, mut m2, mut seen) = ([0.0f64; STRIP], [0.0f64; STRIP], [0u32; STRIP]);
                widest(
                    #[inline(always)]
                    || {
                        let (mean, m2, seen) = (&mut mean[..length], &mut m2[..length], &mut seen[..length]);
                        for r in first..last {
                            let values = row(r);
                            for j in 0..length {
                                let skip = Self::skipped(values[j]);
                                mean[j] += if skip { 0.0 } else { f64::cast_from(values[j]) };
                                seen[j] = seen[j].wrapping_add(u32::from(!skip));
                            }
                        }
                        for j in 0..length {
                            mean[j] /= f64::from(seen[j].max(1));
                        }
                        for r in first..last {
                            let values = row(r);
                            for j in 0..length {
                                let deviation = f64::cast_from(values[j]) - mean[j];
                                m2[j] += if Self::skipped(values[j]) { 0.0 } else { deviation * deviation };
                            }
                        }
                    },
                );
                for j in 0..length {
                    self.merge(
                        to + strip + j,
                        Moments { count: i64::from(seen[j]), mean: mean[j], m2: m2[j] },
                    );
                }
            }
        }
    }

    fn row(&mut self, from: usize, to: usize, count: usize) {
        let source = self.from;
        for run in source[from..from + count].chunks(RUN) {
            let moments = widest(
                #[inline(always)]
                || {
                    let (mut sums, mut seen) = ([0.0f64; LANES], 0u32);
                    for values in run.chunks(LANES) {
                        for (sum, &v) in sums.iter_mut().zip(values) {
                            let skip = Self::skipped(v);
                            *sum += if skip { 0.0 } else { f64::cast_from(v) };
                            seen = seen.wrapping_add(u32::from(!skip));
                        }
                    }
                    let mean = add_lanes(sums) / f64::from(seen.max(1));
                    let mut squares = [0.0f64; LANES];
                    for values in run.chunks(LANES) {
                        for (square, &v) in squares.iter_mut().zip(values) {
                            let deviation = f64::cast_from(v) - mean;
                            *square += if Self::skipped(v) { 0.0 } else { deviation * deviation };
                        }
                    }
                    Moments { count: i64::from(seen), mean, m2: add_lanes(squares) }
                },
            );
            self.merge(to, moments);
        }
    }
}

/// Where the first least or greatest value is along the one reduced axis. An index of -1 means nothing was seen.
pub(crate) struct Place<'a, T> {
    pub(crate) from: &'a [T],
    pub(crate) value: &'a mut [T],
    pub(crate) index: &'a mut [i64],
    /// Index along the axis of the chunk's first element.
    pub(crate) origin: i64,
    pub(crate) greatest: bool,
    pub(crate) skip: bool,
}

impl<T: Extreme> Place<'_, T> {
    #[inline(always)]
    fn offer(&mut self, to: usize, value: T, index: i64) {
        if better(self.value[to], self.index[to], value, self.greatest, self.skip) {
            self.value[to] = value;
            self.index[to] = index;
        }
    }
}

/// Whether a value that comes later replaces the one held.
#[inline(always)]
pub(crate) fn better<T: Extreme>(held: T, held_index: i64, value: T, greatest: bool, skip: bool) -> bool {
    if value.missing() {
        // Plain argmin and argmax stop at the first NaN, as NumPy's.
        return !skip && (held_index < 0 || !held.missing());
    }
    held_index < 0 || if greatest { value > held } else { value < held }
}

impl<T: Extreme> Visitor for Place<'_, T> {
    fn columns(&mut self, from: usize, to: usize, rows: usize, stride: usize, width: usize) {
        for row in 0..rows {
            for j in 0..width {
                self.offer(to + j, self.from[from + row * stride + j], self.origin + row as i64);
            }
        }
    }

    fn row(&mut self, from: usize, to: usize, count: usize) {
        for i in 0..count {
            self.offer(to, self.from[from + i], self.origin + i as i64);
        }
    }
}
