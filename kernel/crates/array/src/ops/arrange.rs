//! Owns operations that put elements in other places along an axis: roll, shift, pad, flip, repeat, tile, diff, coarsen, convolve.

use nuna_chunk::{
    Scalar,
    reduce::{NanPolicy, Operation, Reduction},
    tile::Binary,
};
use nuna_plan::Splits;
use serde::{Deserialize, Serialize};

use crate::{
    array::Array,
    error::{ArrayError, ArrayErrorKind},
    grid::{ChunkGrid, bounds, normal},
    ops::{
        routine::{Reads, Routine, routine},
        shape::concat,
    },
};

/// What lies beyond the ends of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Pad {
    Constant(Scalar),
    /// The element at the end, again and again.
    Edge,
    /// `d c b a | a b c d | d c b a`
    Symmetric,
    /// `d c b | a b c d | c b a`
    Reflect,
    /// `a b c d | a b c d | a b c d`
    Wrap,
}

impl Pad {
    /// Which of `n` elements lies at a position, which may be beyond the ends; with a constant the one at the end.
    ///
    /// # Panics
    /// If there are none, or but one to reflect.
    pub fn place(self, i: i64, n: i64) -> i64 {
        match self {
            Pad::Edge | Pad::Constant(_) => i.clamp(0, n - 1),
            Pad::Wrap => i.rem_euclid(n),
            Pad::Symmetric => {
                let i = i.rem_euclid(2 * n);
                if i < n { i } else { 2 * n - 1 - i }
            }
            Pad::Reflect => {
                let period = 2 * (n - 1);
                let i = i.rem_euclid(period);
                if i < n { i } else { period - i }
            }
        }
    }
}

impl Array {
    /// Convolves along `axis` with few `weights`: each element becomes the sum of its neighbours times the weights, which run
    /// against them, the middle one (of an even number the one before the middle) meeting the element itself. Beyond the ends
    /// lies what `mode` says; with zeros it is `numpy.convolve(…, mode="same")`. The same shape; `float32` stays, everything
    /// else gives `float64`; summed in `float64`. A NaN makes all that it reaches NaN.
    ///
    /// # Errors
    /// If the axis is out of range, there is no weight, or elements are complex; as [`pad`](Array::pad).
    pub fn convolve(&self, axis: usize, weights: &[f64], mode: Pad) -> Result<Array, ArrayError> {
        self.check_axis(axis)?;
        self.check_real("convolve")?;
        if weights.is_empty() {
            let message = format!("`convolve` of {} needs at least one weight", self.expression());
            return Err(ArrayErrorKind::Invalid(message).into());
        }
        let more = weights.len() as u64 - 1;
        let floats = self.astype(self.dtype().to_float());
        let padded = floats.pad(axis, more.div_ceil(2), more / 2, mode)?;
        // Blocks much shorter than the weights would be read over and over.
        let short = crate::grid::longest(&self.chunks().axes()[axis]) < more;
        let cut = if short { self.merged_along(axis, 2 * more) } else { self.clone() };
        let windows =
            bounds(&cut.chunks().axes()[axis]).windows(2).map(|cut| cut[0]..cut[1] + more).collect();
        let mut rules = crate::planner::own_cuts(cut.chunks());
        rules[axis] = crate::program::AxisRule::windows(axis as u8, windows);
        let made = Routine {
            name: format!("convolve({axis})"),
            dtype: padded.dtype(),
            grid: cut.chunks().clone(),
            scratch: 0,
        };
        routine(
            vec![(padded, Reads::Rules(rules))],
            made,
            &(axis, weights.to_vec()),
            |(axis, weights), block| Ok(nuna_chunk::along::convolve(&block.inputs[0], *axis, weights)),
        )
    }

    /// Elements move `by` places towards the end of `axis` (towards its beginning if negative); what leaves comes in at the other end.
    ///
    /// # Errors
    /// [`ArrayErrorKind::AxisOutOfRange`].
    pub fn roll(&self, by: i64, axis: usize) -> Result<Array, ArrayError> {
        self.check_axis(axis)?;
        let n = self.shape()[axis] as i64;
        if n == 0 || by.rem_euclid(n) == 0 {
            return Ok(self.clone());
        }
        let cut = n - by.rem_euclid(n);
        concat(
            &[self.slice_axis(axis, Some(cut), None, 1)?, self.slice_axis(axis, None, Some(cut), 1)?],
            axis,
        )
    }

    /// Elements move `by` places towards the end of `axis` (towards its beginning if negative), and `fill` comes in. The dtype becomes
    /// one that can hold both: NaN makes integers `float64`.
    ///
    /// # Errors
    /// [`ArrayErrorKind::AxisOutOfRange`], and if `fill` does not fit an integer dtype.
    pub fn shift(&self, by: i64, axis: usize, fill: impl Into<Scalar>) -> Result<Array, ArrayError> {
        self.check_axis(axis)?;
        let n = self.shape()[axis];
        let kept = n.saturating_sub(by.unsigned_abs()) as i64;
        let part = match by >= 0 {
            true => self.slice_axis(axis, Some(0), Some(kept), 1)?,
            false => self.slice_axis(axis, Some(n as i64 - kept), None, 1)?,
        };
        let gone = n - kept as u64;
        let (before, after) = if by >= 0 { (gone, 0) } else { (0, gone) };
        part.pad(axis, before, after, Pad::Constant(fill.into()))
    }

    /// The array with `before` and `after` more elements at the ends of `axis`.
    ///
    /// # Errors
    /// [`ArrayErrorKind::AxisOutOfRange`]; if a constant does not fit the dtype; and for other modes than a constant if the axis has
    /// no elements, or `Reflect` has but one to reflect.
    pub fn pad(&self, axis: usize, before: u64, after: u64, mode: Pad) -> Result<Array, ArrayError> {
        self.check_axis(axis)?;
        if before == 0 && after == 0 && !matches!(mode, Pad::Constant(_)) {
            return Ok(self.clone());
        }
        let n = self.shape()[axis];
        if let Pad::Constant(value) = mode {
            let dtype = value.promote(self.dtype());
            value.check_fits(dtype)?;
            let border = |length: u64| {
                let mut shape = self.shape().to_vec();
                shape[axis] = length;
                // In the same chunks otherwise.
                let mut axes = self.chunks().axes().to_vec();
                axes[axis] = Splits::Regular { chunk: length.max(1), length };
                Array::full(&shape, value, dtype).rechunk_to(ChunkGrid::from_axes(axes))
            };
            let parts = [(before, None), (n, Some(self.astype(dtype))), (after, None)];
            let parts: Vec<Array> = parts
                .into_iter()
                .filter(|(length, own)| *length > 0 || own.is_some())
                .map(|(length, own)| own.unwrap_or_else(|| border(length)))
                .collect();
            return concat(&parts, axis);
        }
        if n == 0 || (n == 1 && mode == Pad::Reflect) {
            return Err(ArrayErrorKind::Invalid(format!(
                "axis {axis} of {} has length {n}: nothing to pad with {mode:?}; pad with a constant",
                self.expression()
            ))
            .into());
        }
        let n = n as i64;
        let at = |i: i64| mode.place(i, n);
        let ends = |range: std::ops::Range<i64>| self.take(axis, &range.map(at).collect::<Vec<_>>());
        let mut parts = vec![self.clone()];
        if before > 0 {
            parts.insert(0, ends(-(before as i64)..0)?);
        }
        if after > 0 {
            parts.push(ends(n..n + after as i64)?);
        }
        concat(&parts, axis)
    }

    /// Elements along `axis` in reverse order.
    ///
    /// # Errors
    /// [`ArrayErrorKind::AxisOutOfRange`].
    pub fn flip(&self, axis: usize) -> Result<Array, ArrayError> {
        self.slice_axis(axis, None, None, -1)
    }

    /// Every element along `axis` `times` times, one after another.
    ///
    /// # Errors
    /// [`ArrayErrorKind::AxisOutOfRange`].
    pub fn repeat(&self, times: u64, axis: usize) -> Result<Array, ArrayError> {
        self.check_axis(axis)?;
        let n = self.shape()[axis] as i64;
        let indices: Vec<i64> = (0..n).flat_map(|i| std::iter::repeat_n(i, times as usize)).collect();
        self.take(axis, &indices)
    }

    /// The array `times` times along `axis`, whole after whole.
    ///
    /// # Errors
    /// [`ArrayErrorKind::AxisOutOfRange`].
    pub fn tile(&self, times: u64, axis: usize) -> Result<Array, ArrayError> {
        self.check_axis(axis)?;
        match times {
            0 => self.slice_axis(axis, Some(0), Some(0), 1),
            _ => concat(&vec![self.clone(); times as usize], axis),
        }
    }

    /// The difference of neighbours along `axis`, `n` times: the axis becomes `n` shorter. For bool, whether they differ.
    ///
    /// # Errors
    /// [`ArrayErrorKind::AxisOutOfRange`].
    pub fn diff(&self, n: u64, axis: usize) -> Result<Array, ArrayError> {
        self.check_axis(axis)?;
        let mut array = self.clone();
        for _ in 0..n.min(self.shape()[axis]) {
            let (after, before) =
                (array.slice_axis(axis, Some(1), None, 1)?, array.slice_axis(axis, None, Some(-1), 1)?);
            let op = if self.dtype() == nuna_chunk::DType::Bool { Binary::Ne } else { Binary::Sub };
            array = after.binary(op, &before)?;
        }
        Ok(array)
    }

    /// Reduces every `window` elements along `axis` to one. What is left over at the end is no part of the result.
    ///
    /// # Errors
    /// If the axis is out of range, the window has no element, or the operation is not defined for the dtype.
    pub fn coarsen(
        &self,
        operation: Operation,
        nan: NanPolicy,
        axis: usize,
        window: u64,
    ) -> Result<Array, ArrayError> {
        self.check_axis(axis)?;
        if window == 0 {
            return Err(ArrayErrorKind::Invalid(
                "`coarsen` needs a window of at least one element".to_owned(),
            )
            .into());
        }
        if matches!(operation, Operation::ArgMin | Operation::ArgMax) {
            return Err(ArrayErrorKind::Invalid(format!("`coarsen` cannot give {operation:?}")).into());
        }
        let reduction = Reduction { operation, nan, dtype: self.dtype() };
        let dtype = reduction.output()?;
        let count = self.shape()[axis] / window;
        let part = self.slice_axis(axis, Some(0), Some((count * window) as i64), 1)?;
        // Cuts move to multiples of the window.
        let mut axes = part.chunks().axes().to_vec();
        let mut cuts: Vec<u64> = bounds(&axes[axis]).into_iter().map(|cut| cut / window * window).collect();
        cuts.dedup();
        axes[axis] = normal(cuts.clone());
        let input = part.rechunk_to(ChunkGrid::from_axes(axes.clone()));
        axes[axis] = normal(cuts.into_iter().map(|cut| cut / window).collect());
        let scratch = input.block_bytes(dtype).saturating_add(
            ChunkGrid::from_axes(axes.clone()).chunk_shape().iter().product::<u64>()
                * reduction.partial_bytes(),
        );
        let made = Routine {
            name: format!("coarsen {reduction}({axis})"),
            dtype,
            grid: ChunkGrid::from_axes(axes),
            scratch,
        };
        routine(
            vec![(input, Reads::Own)],
            made,
            &(reduction, axis, window),
            |(reduction, axis, window), b| {
                let chunk = &b.inputs[0];
                let mut shape = chunk.shape().to_vec();
                shape[*axis] /= window;
                let result = shape.clone();
                shape.insert(axis + 1, *window);
                let mut reduced = vec![false; shape.len()];
                reduced[axis + 1] = true;
                let text = |error: nuna_chunk::ChunkError| error.to_string();
                let chunk = chunk.reshape(&shape).map_err(text)?;
                let mut whole = nuna_chunk::reduce::Accumulator::new(*reduction, chunk.shape(), &reduced)
                    .map_err(text)?;
                whole.update(&chunk, 0).map_err(text)?;
                whole.finish().map_err(text)?.reshape(&result).map_err(text)
            },
        )
    }
}
