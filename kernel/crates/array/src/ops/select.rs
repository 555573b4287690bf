//! Owns selection: slices with steps, single indices, lists of indices.

use std::{ops::Range, sync::Arc};

use nuna_chunk::assemble::Stride;

use crate::{
    array::Array,
    error::{ArrayError, ArrayErrorKind},
    expr::{Expr, Op},
    grid::{ChunkGrid, bounds, normal},
};

/// What is taken along one axis. Negative positions count from the end, as in Python.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// Everything.
    All,
    /// One element; the axis goes away.
    At(i64),
    /// `start:stop:step`, cut to the axis as Python does.
    Slice { start: Option<i64>, stop: Option<i64>, step: i64 },
}

impl From<i64> for Index {
    fn from(at: i64) -> Self {
        Index::At(at)
    }
}

impl From<Range<i64>> for Index {
    fn from(range: Range<i64>) -> Self {
        Index::Slice { start: Some(range.start), stop: Some(range.end), step: 1 }
    }
}

impl From<std::ops::RangeFull> for Index {
    fn from(_: std::ops::RangeFull) -> Self {
        Index::All
    }
}

/// Python's `slice(start, stop, step).indices(length)`; `step` is not 0.
pub(crate) fn resolve(start: Option<i64>, stop: Option<i64>, step: i64, length: u64) -> Stride {
    let n = i64::try_from(length).unwrap_or(i64::MAX);
    let (low, high) = if step < 0 { (-1, n - 1) } else { (0, n) };
    let place = |at: i64| if at < 0 { at.saturating_add(n).max(low) } else { at.min(high) };
    let start = start.map_or(if step < 0 { high } else { low }, place);
    let stop = stop.map_or(if step < 0 { low } else { high }, place);
    let distance = if step < 0 { start - stop } else { stop - start };
    let count = if distance <= 0 { 0 } else { (distance as u64).div_ceil(step.unsigned_abs()) };
    Stride { start: start.max(0) as u64, step, count }
}

impl Array {
    /// Selects along the leading axes; axes without an index are taken whole.
    ///
    /// # Errors
    /// If there are more indices than axes, one is out of range, or a step is 0.
    pub fn index(&self, indices: &[Index]) -> Result<Array, ArrayError> {
        if indices.len() > self.ndim() {
            return Err(ArrayErrorKind::IndexCount {
                found: indices.len(),
                name: self.expression(),
                ndim: self.ndim(),
            }
            .into());
        }
        let mut strides = Vec::with_capacity(self.ndim());
        let mut single = Vec::new();
        for (axis, &length) in self.shape().iter().enumerate() {
            strides.push(match indices.get(axis).copied().unwrap_or(Index::All) {
                Index::All => Stride { start: 0, step: 1, count: length },
                Index::At(index) => {
                    let at = if index < 0 { index.checked_add_unsigned(length) } else { Some(index) };
                    let Some(start) = at.and_then(|at| u64::try_from(at).ok()).filter(|&at| at < length)
                    else {
                        return Err(ArrayErrorKind::IndexOutOfRange {
                            index,
                            axis,
                            name: self.expression(),
                            length,
                        }
                        .into());
                    };
                    single.push(axis);
                    Stride { start, step: 1, count: 1 }
                }
                Index::Slice { step: 0, .. } => {
                    return Err(ArrayErrorKind::StepZero { axis, name: self.expression() }.into());
                }
                Index::Slice { start, stop, step } => resolve(start, stop, step, length),
            });
        }
        self.stride(strides).squeeze(&single)
    }

    /// One element along `axis`, which goes away.
    ///
    /// # Errors
    /// [`ArrayErrorKind::IndexOutOfRange`].
    pub fn index_axis(&self, axis: usize, index: i64) -> Result<Array, ArrayError> {
        self.check_axis(axis)?;
        let mut indices = vec![Index::All; axis];
        indices.push(Index::At(index));
        self.index(&indices)
    }

    /// `start:stop:step` along one axis.
    ///
    /// # Errors
    /// If the axis is out of range or the step 0.
    pub fn slice_axis(
        &self,
        axis: usize,
        start: Option<i64>,
        stop: Option<i64>,
        step: i64,
    ) -> Result<Array, ArrayError> {
        self.check_axis(axis)?;
        let mut indices = vec![Index::All; axis];
        indices.push(Index::Slice { start, stop, step });
        self.index(&indices)
    }

    fn stride(&self, strides: Vec<Stride>) -> Array {
        let whole =
            strides.iter().zip(self.shape()).all(|(s, &n)| s.start == 0 && s.step == 1 && s.count == n);
        if whole {
            return self.clone();
        }
        // A slice of a slice is one slice.
        let (input, strides) = match &self.node.op {
            Op::Stride { input, axes } => {
                let joined = axes.iter().zip(&strides).map(|(inner, outer)| Stride {
                    start: inner.start.saturating_add_signed(inner.step * outer.start as i64),
                    step: inner.step * outer.step,
                    count: outer.count,
                });
                (input.clone(), joined.collect())
            }
            _ => (self.node.clone(), strides),
        };
        let axes = strides.iter().zip(input.grid.axes()).map(|(stride, splits)| {
            // A cut of the input stays where it is: a block of the result reads one block of the input.
            let step = stride.step.unsigned_abs();
            let last = stride.last().unwrap_or(stride.start);
            let mut cuts = vec![0, stride.count];
            for b in bounds(splits) {
                let before = if stride.step > 0 {
                    // Elements of the result below `b`.
                    b.saturating_sub(stride.start).div_ceil(step)
                } else if b > stride.start || b <= last {
                    0
                } else {
                    (stride.start - b) / step + 1
                };
                if before > 0 && before < stride.count {
                    cuts.push(before);
                }
            }
            cuts.sort_unstable();
            cuts.dedup();
            normal(cuts)
        });
        let grid = ChunkGrid::from_axes(axes.collect());
        Array::from_node(Expr::new(Op::Stride { input, axes: strides }, self.dtype(), grid))
    }

    /// The elements at `indices` along `axis`, in that order, repeated where an index is.
    ///
    /// # Errors
    /// [`ArrayErrorKind::IndexOutOfRange`] for the first index that is not below the axis' length.
    pub fn take(&self, axis: usize, indices: &[i64]) -> Result<Array, ArrayError> {
        self.check_axis(axis)?;
        let length = self.shape()[axis];
        let resolved = indices
            .iter()
            .map(|&index| {
                let at = if index < 0 { index.checked_add_unsigned(length) } else { Some(index) };
                at.and_then(|at| u64::try_from(at).ok()).filter(|&at| at < length).ok_or_else(|| {
                    ArrayErrorKind::IndexOutOfRange { index, axis, name: self.expression(), length }
                })
            })
            .collect::<Result<Arc<[u64]>, _>>()?;
        let mut axes = self.chunks().axes().to_vec();
        // A block of the result takes from one block of the input where the indices allow it, but is no longer than that.
        let splits = &axes[axis];
        let longest = crate::grid::longest(splits).max(1);
        let mut cuts = vec![0u64];
        let mut block = None;
        for (position, &index) in resolved.iter().enumerate() {
            let own = splits.overlapping(index..index + 1).start;
            let since = position as u64 - cuts.last().copied().unwrap_or(0);
            if block.is_some_and(|b| b != own) && since > 0 && (since >= longest || resolved.is_sorted()) {
                cuts.push(position as u64);
            }
            block = Some(own);
        }
        cuts.push(resolved.len() as u64);
        cuts.dedup();
        axes[axis] = normal(cuts);
        let op = Op::Take { input: self.node.clone(), axis, indices: resolved };
        Ok(Array::from_node(Expr::new(op, self.dtype(), ChunkGrid::from_axes(axes))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_resolve_as_in_python() {
        let s = |start, stop, step, n| {
            let r = resolve(start, stop, step, n);
            (0..r.count).map(|i| r.start as i64 + r.step * i as i64).collect::<Vec<_>>()
        };
        assert_eq!(s(Some(1), Some(5), 2, 10), [1, 3]);
        assert_eq!(s(None, None, -1, 3), [2, 1, 0]);
        assert_eq!(s(Some(-2), None, 1, 5), [3, 4]);
        assert_eq!(s(Some(8), Some(-20), -3, 10), [8, 5, 2]);
        assert_eq!(s(Some(5), Some(2), 1, 10), [0i64; 0]);
        assert_eq!(s(Some(100), None, -1, 4), [3, 2, 1, 0]);
        assert_eq!(s(None, None, 1, 0), [0i64; 0]);
        assert_eq!(s(None, None, -1, 0), [0i64; 0]);
    }
}
