//! Owns operations along one axis: cumulative, sorting, quantiles, windows that slide.

use nuna_chunk::{
    ChunkError, DType,
    along::{self, Place, Quantiles, Rolling, Scan, Windows},
    reduce::NanPolicy,
};
use nuna_plan::Splits;
use serde::{Deserialize, Serialize};

use crate::{
    array::Array,
    error::{ArrayError, ArrayErrorKind},
    grid::{ChunkGrid, bounds},
    ops::routine::{AlongAxes, Reads, Routine, halo, routine},
    planner::own_cuts,
    program::AxisRule,
};

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Scanned {
    axis: usize,
    scan: Scan,
    nan: NanPolicy,
}

impl Array {
    /// Cumulative values along `axis`, in the chunks that the array has: blocks are summed up first, then each goes on where the
    /// one before ends. The same shape; dtype as of `sum` or `prod` (`float32` stays, integers and bool give 64 bits), or
    /// this array's for `Min` and `Max`. Floats are carried in `float64`. Skipped NaNs count as 0 (or 1); minima and maxima spread NaNs
    /// whatever `nan` says.
    ///
    /// # Errors
    /// [`ArrayErrorKind::AxisOutOfRange`].
    pub fn scan(&self, scan: Scan, nan: NanPolicy, axis: usize) -> Result<Array, ArrayError> {
        self.check_axis(axis)?;
        self.check_real(scan.name())?;
        let scanned = Scanned { axis, scan, nan };
        let (dtype, carried) = (scan.output(self.dtype()), scan.carried(self.dtype()));
        let block = self.block_bytes(carried);
        let named = |suffix: &str| format!("{}{suffix}({axis})", scan.name());
        let whole = |name, dtype, grid| Routine { name, dtype, grid, scratch: 2 * block };
        let own = &self.chunks().axes()[axis];
        if own.count() <= 1 {
            let grid = self.chunks().clone();
            return routine(
                vec![(self.clone(), Reads::Own)],
                whole(named(""), dtype, grid),
                &scanned,
                |s, b| Ok(along::scan(&b.inputs[0], s.axis, s.scan, s.nan, None)),
            );
        }
        let mut axes = self.chunks().axes().to_vec();
        axes[axis] = Splits::Regular { chunk: 1, length: own.count() };
        let totals = routine(
            vec![(self.clone(), Reads::Own)],
            whole(named(" of blocks"), carried, ChunkGrid::from_axes(axes)),
            &scanned,
            |s, b| Ok(s.scan.totals(&b.inputs[0], s.axis, s.nan)),
        )?;
        let along = AlongAxes {
            name: scan.name(),
            axes: &[axis],
            dtype: carried,
            lengths: &[Some(own.count())],
            scratch: 1,
        };
        let before = totals.over_axes(&along, &scanned, |s, b| Ok(s.scan.before(&b.inputs[0], s.axis)))?;
        let mut rules = own_cuts(self.chunks());
        rules[axis] =
            AxisRule::Along { axis: axis as u8, splits: Splits::Regular { chunk: 1, length: own.count() } };
        routine(
            vec![(self.clone(), Reads::Own), (before, Reads::Rules(rules))],
            whole(named(""), dtype, self.chunks().clone()),
            &scanned,
            |s, b| Ok(along::scan(&b.inputs[0], s.axis, s.scan, s.nan, Some(&b.inputs[1]))),
        )
    }

    /// Cumulative sum along `axis`; see [`scan`](Array::scan). A NaN makes all that follow NaN.
    ///
    /// # Errors
    /// As [`scan`](Array::scan).
    pub fn cumsum(&self, axis: usize) -> Result<Array, ArrayError> {
        self.scan(Scan::Sum, NanPolicy::Propagate, axis)
    }

    /// Cumulative product along `axis`; see [`scan`](Array::scan). A NaN makes all that follow NaN.
    ///
    /// # Errors
    /// As [`scan`](Array::scan).
    pub fn cumprod(&self, axis: usize) -> Result<Array, ArrayError> {
        self.scan(Scan::Prod, NanPolicy::Propagate, axis)
    }

    /// Elements along `axis` in ascending order, NaNs last. The axis becomes one chunk.
    ///
    /// # Errors
    /// [`ArrayErrorKind::AxisOutOfRange`].
    pub fn sort(&self, axis: usize) -> Result<Array, ArrayError> {
        self.same_length("sort", axis, self.dtype(), &axis, |axis, b| Ok(along::sort(&b.inputs[0], *axis)))
    }

    /// The indices that would sort along `axis`, as `int64`: equal elements keep their order, NaNs come last. The axis becomes
    /// one chunk.
    ///
    /// # Errors
    /// [`ArrayErrorKind::AxisOutOfRange`].
    pub fn argsort(&self, axis: usize) -> Result<Array, ArrayError> {
        self.same_length("argsort", axis, DType::I64, &axis, |axis, b| {
            Ok(along::argsort(&b.inputs[0], *axis))
        })
    }

    fn same_length<E, F>(
        &self,
        name: &str,
        axis: usize,
        dtype: DType,
        environment: &E,
        function: F,
    ) -> Result<Array, ArrayError>
    where
        E: Serialize + serde::de::DeserializeOwned + Send + Sync + 'static,
        F: Fn(&E, crate::Block<'_>) -> Result<nuna_chunk::Chunk, String> + Copy + nuna_ship::Ship + 'static,
    {
        self.check_axis(axis)?;
        self.check_real(name)?;
        let lengths = [Some(self.shape()[axis])];
        let along = AlongAxes { name, axes: &[axis], dtype, lengths: &lengths, scratch: 1 };
        self.over_axes(&along, environment, function)
    }

    /// Exact quantiles over `axes`, by linear interpolation. The result has a new first axis with one element per entry of `at`,
    /// each from 0 to 1; `axes` are gone. `float32` stays, everything else gives `float64`. Cells of no numbers are NaN.
    ///
    /// Blocks hold these axes whole.
    ///
    /// # Errors
    /// If an axis is out of range or named twice, no axis or no quantile is given, or one lies outside 0 to 1.
    pub fn quantile(&self, at: &[f64], nan: NanPolicy, axes: &[usize]) -> Result<Array, ArrayError> {
        if let Some(q) = at.iter().find(|q| !(0.0..=1.0).contains(*q)) {
            return Err(
                ArrayErrorKind::Invalid(format!("a quantile lies between 0 and 1, so {q} is none")).into()
            );
        }
        if at.is_empty() || axes.is_empty() {
            let missing = if at.is_empty() { "quantile" } else { "axis" };
            return Err(ArrayErrorKind::Invalid(format!("`quantile` needs at least one {missing}")).into());
        }
        self.check_real("quantile")?;
        let dtype = self.dtype().to_float();
        let lengths: Vec<Option<u64>> = vec![None; axes.len()];
        let along = AlongAxes { name: "quantile", axes, dtype, lengths: &lengths, scratch: 2 };
        // With the new axis in front, blocks have it whole.
        let kept: Vec<usize> = (0..self.ndim()).filter(|axis| !axes.contains(axis)).collect();
        let environment = (Quantiles { at: at.to_vec(), nan }, axes.to_vec(), kept.clone());
        let one = at.len() == 1;
        if one {
            let dropped = self.over_axes(&along, &environment, |(quantiles, axes, kept), b| {
                let lines = lines_over(&b.inputs[0], axes, kept)?;
                let found = along::quantile(&lines, lines.ndim() - 1, quantiles);
                let shape: Vec<u64> = kept.iter().map(|&axis| b.inputs[0].shape()[axis]).collect();
                found.reshape(&shape).map_err(|error| error.to_string())
            })?;
            return dropped.expand_dims(0);
        }
        // The last of the reduced axes becomes the quantiles', and is then moved to the front.
        let last = axes.iter().copied().max().unwrap_or(0);
        let lengths: Vec<Option<u64>> =
            axes.iter().map(|&axis| (axis == last).then_some(at.len() as u64)).collect();
        let along = AlongAxes { lengths: &lengths, ..along };
        let place = kept.iter().filter(|&&axis| axis < last).count();
        let environment = (environment.0, environment.1, environment.2, place);
        let inner = self.over_axes(&along, &environment, |(quantiles, axes, kept, place), b| {
            let lines = lines_over(&b.inputs[0], axes, kept)?;
            let found = along::quantile(&lines, lines.ndim() - 1, quantiles);
            let mut shape: Vec<u64> = kept.iter().map(|&axis| b.inputs[0].shape()[axis]).collect();
            shape.push(quantiles.at.len() as u64);
            let mut order: Vec<usize> = (0..kept.len()).collect();
            order.insert(*place, kept.len());
            Ok(found.reshape(&shape).map_err(|error| error.to_string())?.transpose(&order))
        })?;
        let mut order: Vec<usize> = (0..inner.ndim()).filter(|&axis| axis != place).collect();
        order.insert(0, place);
        inner.transpose(&order)
    }

    /// Exact median over `axes`; NaN where there is a NaN, or nothing. See [`quantile`](Array::quantile).
    ///
    /// # Errors
    /// As [`quantile`](Array::quantile).
    pub fn median(&self, axes: &[usize]) -> Result<Array, ArrayError> {
        self.quantile(&[0.5], NanPolicy::Propagate, axes)?.squeeze(&[0])
    }

    /// Exact median over `axes` of what is not NaN. See [`quantile`](Array::quantile).
    ///
    /// # Errors
    /// As [`quantile`](Array::quantile).
    pub fn nanmedian(&self, axes: &[usize]) -> Result<Array, ArrayError> {
        self.quantile(&[0.5], NanPolicy::Skip, axes)?.squeeze(&[0])
    }

    /// A statistic of the window from `left` elements before to `right` elements after each element along `axis`. NaNs are
    /// skipped; with fewer than `min_periods` numbers in its window (which ends where the axis does) an element is NaN. The same
    /// shape; `float32` stays, everything else gives `float64`.
    ///
    /// # Errors
    /// [`ArrayErrorKind::AxisOutOfRange`].
    pub fn rolling(
        &self,
        rolling: Rolling,
        axis: usize,
        left: u64,
        right: u64,
        min_periods: u64,
    ) -> Result<Array, ArrayError> {
        self.check_axis(axis)?;
        self.check_real("rolling")?;
        // Chunks much shorter than a window would be read over and over.
        let reach = left.saturating_add(right);
        let longest = crate::grid::longest(&self.chunks().axes()[axis]);
        let input = if longest < reach { self.merged_along(axis, 2 * reach) } else { self.clone() };
        let splits = input.chunks().axes()[axis].clone();
        let mut rules = own_cuts(input.chunks());
        rules[axis] = AxisRule::windows(axis as u8, halo(&splits, left, right));
        let grid = input.chunks().clone();
        let windows = Windows { rolling, left, right, min_periods };
        let line = 64 * (longest + reach) * 8;
        let made = Routine {
            name: format!("rolling {}({axis})", rolling.name()),
            dtype: rolling.output(self.dtype()),
            grid,
            scratch: input.block_bytes(DType::F64).saturating_add(line),
        };
        let counts: Vec<u64> = input.chunks().block_grid().shape().to_vec();
        let environment = (windows, axis, counts, bounds(&splits));
        routine(vec![(input, Reads::Rules(rules))], made, &environment, |(windows, axis, counts, cuts), b| {
            let below: u64 = counts[axis + 1..].iter().product();
            let at = (b.index / below.max(1) % counts[*axis].max(1)) as usize;
            let (start, end) = (cuts[at], cuts[at + 1]);
            let place = Place { first: start.saturating_sub(windows.left), start, end };
            Ok(along::rolling(&b.inputs[0], *axis, windows, place))
        })
    }

    /// Blocks along `axis` merged until they have `length` elements.
    pub(crate) fn merged_along(&self, axis: usize, length: u64) -> Array {
        let mut axes = self.chunks().axes().to_vec();
        let cuts = bounds(&axes[axis]);
        let mut kept = vec![0];
        for &cut in &cuts[1..] {
            if cut - kept[kept.len() - 1] >= length || cut == cuts[cuts.len() - 1] {
                kept.push(cut);
            }
        }
        axes[axis] = crate::grid::normal(kept);
        self.rechunk_to(ChunkGrid::from_axes(axes))
    }

    /// Refuses complex numbers.
    pub(crate) fn check_real(&self, operation: &str) -> Result<(), ArrayError> {
        if self.dtype().is_complex() {
            let (operation, dtype) = (operation.to_owned(), self.dtype());
            return Err(ChunkError::Undefined { operation, dtype }.into());
        }
        Ok(())
    }

    /// Bytes of the largest block, were its elements of this dtype.
    pub(crate) fn block_bytes(&self, dtype: DType) -> u64 {
        self.chunks().chunk_shape().iter().fold(dtype.size() as u64, |bytes, &n| bytes.saturating_mul(n))
    }
}

/// The chunk with `axes` as one, the last, behind the others.
fn lines_over(
    chunk: &nuna_chunk::Chunk,
    axes: &[usize],
    kept: &[usize],
) -> Result<nuna_chunk::Chunk, String> {
    let order: Vec<usize> = kept.iter().chain(axes).copied().collect();
    let count: u64 = axes.iter().map(|&axis| chunk.shape()[axis]).product();
    let mut shape: Vec<u64> = kept.iter().map(|&axis| chunk.shape()[axis]).collect();
    shape.push(count);
    chunk.transpose(&order).reshape(&shape).map_err(|error| error.to_string())
}
