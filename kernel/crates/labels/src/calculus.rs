//! Owns derivatives and integrals along a coordinate, by the rules of xarray: centred differences and trapezia.

use nuna_array::{Array, Axes, Binary, NanPolicy, Operation, Scan};
use nuna_chunk::Chunk;

use crate::{DataArray, LabelError, Result, coord::Values, positions::Positions};

impl DataArray {
    /// A coordinate's labels as numbers, and the dimension along which they lie: times in seconds.
    fn steps(&self, operation: &str, coord: &str) -> Result<(usize, Vec<f64>)> {
        let refuse = |why: &str| {
            LabelError::Invalid(format!("{operation} of {} along `{coord}`: {why}", self.describe()))
        };
        let found = self.coord(coord)?;
        let [dim] = found.dims.as_slice() else { return Err(refuse("it is not along one dimension")) };
        let axis = self.axis(dim)?;
        let values = found.values()?;
        let x = values.distances().ok_or_else(|| refuse("its labels are text"))?;
        if x.iter().any(|x| x.is_nan()) {
            return Err(refuse("a label is missing; select the others first"));
        }
        // Differences of seconds since long ago lose nothing that microseconds have.
        let from = if matches!(values, Values::Times(_)) { x.first().copied().unwrap_or(0.0) } else { 0.0 };
        Ok((axis, x.into_iter().map(|x| x - from).collect()))
    }

    /// The same labels on what is of another unit.
    fn of_other_unit(&self, array: Array) -> DataArray {
        DataArray { attrs: nuna_storage::Attributes::new(), ..self.with_array(array) }
    }

    /// Numbers that broadcast along an axis.
    fn factors(&self, axis: usize, factors: &[f64]) -> Array {
        let mut shape = vec![1; self.ndim() - axis];
        shape[0] = factors.len() as u64;
        Array::from_chunk(Chunk::from_slice(&shape, factors))
    }

    fn part(&self, axis: usize, start: u64, count: u64) -> Result<Array> {
        Positions::Slice { start, step: 1, count }.of(&self.array, axis)
    }

    /// The derivative by a coordinate, as xarray's `differentiate` and NumPy's `gradient`: of second order inside, where
    /// spacings may differ, of first order at both ends. By times it is per second. Attributes go away, as the unit is another. The same shape; `float32` becomes
    /// `float64`, as everything.
    ///
    /// # Errors
    /// If there is no such coordinate, it is not along one dimension, its labels are text or missing, or fewer than two.
    pub fn differentiate(&self, coord: &str) -> Result<DataArray> {
        let (axis, x) = self.steps("differentiate", coord)?;
        let n = x.len();
        if n < 2 {
            return Err(LabelError::Invalid(format!(
                "differentiate of {} along `{coord}` needs two labels, and there are {n}",
                self.describe()
            )));
        }
        let h: Vec<f64> = x.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let y = self.with_array(self.array.astype(nuna_array::DType::F64));
        let (last, count) = (n as u64, n as u64 - 2);
        let end = |at: u64, h: f64| -> Result<Array> {
            Ok(y.part(axis, at + 1, 1)?.binary(Binary::Sub, y.part(axis, at, 1)?)?.binary(Binary::Div, h)?)
        };
        let mut parts = vec![end(0, h[0])?];
        if n > 2 {
            let (before, after) = (y.part(axis, 0, count)?, y.part(axis, 2, count)?);
            let inside = if h.iter().all(|step| *step == h[0]) {
                after.binary(Binary::Sub, before)?.binary(Binary::Div, 2.0 * h[0])?
            } else {
                let weights = |of: &dyn Fn(f64, f64) -> f64| {
                    y.factors(axis, &h.windows(2).map(|pair| of(pair[0], pair[1])).collect::<Vec<_>>())
                };
                let a = before.binary(Binary::Mul, weights(&|s, d| -d / (s * (s + d))))?;
                let b = y.part(axis, 1, count)?.binary(Binary::Mul, weights(&|s, d| (d - s) / (s * d)))?;
                let c = after.binary(Binary::Mul, weights(&|s, d| s / (d * (s + d))))?;
                a.binary(Binary::Add, b)?.binary(Binary::Add, c)?
            };
            parts.push(inside);
        }
        parts.push(end(last - 2, h[n - 2])?);
        Ok(self.of_other_unit(nuna_array::concat(&parts, axis)?))
    }

    /// The integral over coordinates by trapezia, as xarray's `integrate`; their dimensions go away. Over times it is in
    /// seconds. Attributes go away, as the unit is another. A NaN makes its line NaN; one label alone gives 0. The result is `float64`.
    ///
    /// # Errors
    /// If there is no such coordinate, it is not along one dimension, or its labels are text or missing.
    pub fn integrate(&self, coords: impl crate::IntoDims) -> Result<DataArray> {
        let names = match coords.into_dims() {
            crate::Dims::All => self.dims.clone(),
            crate::Dims::Named(names) => names,
        };
        let mut whole = self.clone();
        for name in &names {
            let (axis, x) = whole.steps("integrate", name)?;
            let step = |at: usize| match (x.get(at), x.get(at + 1)) {
                (Some(a), Some(b)) => b - a,
                _ => 0.0,
            };
            let weights: Vec<f64> =
                (0..x.len()).map(|at| (if at > 0 { step(at - 1) } else { 0.0 } + step(at)) / 2.0).collect();
            let weighted = whole.array.binary(Binary::Mul, whole.factors(axis, &weights))?;
            let array = weighted.reduce(Operation::Sum, NanPolicy::Propagate, &[axis], Axes::Drop)?;
            let mut dims = whole.dims.clone();
            let dim = dims.remove(axis);
            whole = DataArray { coords: whole.coords.without(&dim), dims, ..whole.of_other_unit(array) };
        }
        Ok(whole)
    }

    /// The integral from the first label up to each, by trapezia, as xarray's `cumulative_integrate`: 0 at the first. By times
    /// it is in seconds. A NaN makes all that follow NaN. The same shape, in `float64`.
    ///
    /// # Errors
    /// As [`integrate`](DataArray::integrate).
    pub fn cumulative_integrate(&self, coord: &str) -> Result<DataArray> {
        let (axis, x) = self.steps("cumulative_integrate", coord)?;
        let mut shape = self.shape().to_vec();
        shape[axis] = shape[axis].min(1);
        let zero = Array::full(&shape, 0.0, nuna_array::DType::F64);
        if x.len() < 2 {
            return Ok(self.of_other_unit(zero));
        }
        let half: Vec<f64> = x.windows(2).map(|pair| (pair[1] - pair[0]) / 2.0).collect();
        let count = half.len() as u64;
        let y = self.with_array(self.array.astype(nuna_array::DType::F64));
        let sums = y.part(axis, 0, count)?.binary(Binary::Add, y.part(axis, 1, count)?)?;
        let areas = sums.binary(Binary::Mul, self.factors(axis, &half))?;
        let sums = areas.scan(Scan::Sum, NanPolicy::Propagate, axis)?;
        Ok(self.of_other_unit(nuna_array::concat(&[zero, sums], axis)?))
    }
}
