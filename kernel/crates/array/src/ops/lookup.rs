//! Owns what asks where elements stand among given numbers: sorted edges, sets, counts of small integers, bins of scattered
//! points.

use nuna_chunk::{Chunk, DType, Scalar, reduce::NanPolicy};
use serde::{Deserialize, Serialize};

use crate::{
    array::Array,
    error::{ArrayError, ArrayErrorKind},
    ops::{
        histogram::histogram,
        routine::{Reads, Routine, routine},
    },
};

/// Where a number goes that is equal to one of those it is sorted among.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// Before it.
    #[default]
    Left,
    /// After it.
    Right,
}

/// What [`Array::isin`] looks for: exactly for integers.
#[derive(Default, Serialize, Deserialize)]
struct Wanted {
    floats: Vec<f64>,
    integers: Vec<i64>,
    unsigned: Vec<u64>,
}

impl Wanted {
    fn add(&mut self, value: Scalar) -> Result<(), ArrayError> {
        match value {
            Scalar::Int(x) => {
                self.floats.push(x as f64);
                self.integers.push(x);
                self.unsigned.extend(u64::try_from(x));
            }
            Scalar::UInt(x) => {
                self.floats.push(x as f64);
                self.integers.extend(i64::try_from(x));
                self.unsigned.push(x);
            }
            Scalar::Bool(x) => {
                self.floats.push(f64::from(u8::from(x)));
                self.integers.push(x.into());
                self.unsigned.push(x.into());
            }
            Scalar::Float(x) if x.is_nan() => {}
            Scalar::Float(x) => {
                self.floats.push(x);
                // A whole double is an integer too.
                if x.fract() == 0.0 && (-9.2e18..9.2e18).contains(&x) {
                    self.integers.push(x as i64);
                }
                if x.fract() == 0.0 && (0.0..1.8e19).contains(&x) {
                    self.unsigned.push(x as u64);
                }
            }
            Scalar::Complex(..) => {
                let message = "`isin` looks for real numbers, not for a complex one".to_owned();
                return Err(ArrayErrorKind::Invalid(message).into());
            }
        }
        Ok(())
    }

    fn found_in(&self, chunk: &Chunk) -> Result<Vec<bool>, nuna_chunk::ChunkError> {
        let among = |x: &f64| {
            let order = |y: &f64| y.partial_cmp(x).unwrap_or(std::cmp::Ordering::Less);
            self.floats.binary_search_by(order).is_ok()
        };
        Ok(match chunk.dtype() {
            DType::U64 => {
                let elements = chunk.elements::<u64>()?;
                elements.iter().map(|x| self.unsigned.binary_search(x).is_ok()).collect()
            }
            DType::F64 => chunk.elements::<f64>()?.iter().map(among).collect(),
            _ => {
                let elements = chunk.elements::<i64>()?;
                elements.iter().map(|x| self.integers.binary_search(x).is_ok()).collect()
            }
        })
    }
}

impl Array {
    /// A function of each block for itself.
    fn by_block<E, F>(
        &self,
        name: &str,
        dtype: DType,
        environment: &E,
        function: F,
    ) -> Result<Array, ArrayError>
    where
        E: Serialize + serde::de::DeserializeOwned + Send + Sync + 'static,
        F: Fn(&E, &Chunk) -> Result<Chunk, String> + Copy + nuna_ship::Ship + 'static,
    {
        let made = Routine {
            name: name.to_owned(),
            dtype,
            grid: self.chunks().clone(),
            scratch: self.block_bytes(dtype),
        };
        routine(vec![(self.clone(), Reads::Own)], made, environment, move |environment, block| {
            function(environment, &block.inputs[0])
        })
    }

    /// For each element how many of the `sorted` numbers go before it, as `numpy.searchsorted(sorted, self, side)`: `int64`.
    /// A NaN comes after all of them. Compared in `float64`.
    ///
    /// # Errors
    /// If the numbers do not ascend (equal ones may follow each other) or hold NaN, or elements are complex.
    pub fn searchsorted(&self, sorted: &[f64], side: Side) -> Result<Array, ArrayError> {
        self.check_real("searchsorted")?;
        if sorted.iter().any(|x| x.is_nan()) || sorted.windows(2).any(|pair| pair[0] > pair[1]) {
            let message = format!("`searchsorted` takes numbers that ascend, unlike {sorted:?}");
            return Err(ArrayErrorKind::Invalid(message).into());
        }
        let environment = (sorted.to_vec(), side);
        self.astype(DType::F64).by_block("searchsorted", DType::I64, &environment, |(sorted, side), chunk| {
            let place = |x: &f64| match (x.is_nan(), side) {
                (true, _) => sorted.len(),
                (false, Side::Left) => sorted.partition_point(|edge| edge < x),
                (false, Side::Right) => sorted.partition_point(|edge| edge <= x),
            };
            let elements = chunk.elements::<f64>().map_err(|error| error.to_string())?;
            let places: Vec<i64> = elements.iter().map(|x| place(x) as i64).collect();
            Ok(Chunk::from_slice(chunk.shape(), &places))
        })
    }

    /// The bin of each element, as `numpy.digitize(self, edges)`: 0 below the first edge, 1 from the first edge to before the
    /// second, as many as there are edges from the last one on and for NaN. `int64`.
    ///
    /// # Errors
    /// As [`searchsorted`](Array::searchsorted).
    pub fn digitize(&self, edges: &[f64]) -> Result<Array, ArrayError> {
        self.searchsorted(edges, Side::Right)
    }

    /// Whether each element is one of `values`: exactly for integers, floats as `float64`. A NaN is none.
    ///
    /// # Errors
    /// For complex numbers.
    pub fn isin<T: Into<Scalar>>(&self, values: impl IntoIterator<Item = T>) -> Result<Array, ArrayError> {
        self.check_real("isin")?;
        let mut wanted = Wanted::default();
        values.into_iter().try_for_each(|value| wanted.add(value.into()))?;
        wanted.floats.sort_by(f64::total_cmp);
        wanted.integers.sort_unstable();
        wanted.unsigned.sort_unstable();
        let exact = match self.dtype() {
            DType::U64 => DType::U64,
            dtype if dtype.is_float() => DType::F64,
            _ => DType::I64,
        };
        self.astype(exact).by_block("isin", DType::Bool, &wanted, |wanted, chunk| {
            let found = wanted.found_in(chunk).map_err(|error| error.to_string())?;
            Ok(Chunk::from_slice(chunk.shape(), &found))
        })
    }

    /// How often each of the integers from 0 to before `length` occurs, over all axes: `int64`, or with `weights` of the same shape
    /// their sums in `float64`. Others are not counted, unlike in NumPy, which lengthens the result for them or refuses negative ones.
    ///
    /// # Errors
    /// If elements are no integers, or shapes differ.
    pub fn bincount(&self, length: u64, weights: Option<&Array>) -> Result<Array, ArrayError> {
        if self.dtype().has_nan() {
            return Err(ArrayErrorKind::Invalid(format!(
                "`bincount` counts integers, and {} is {}; give edges to `histogram`, or convert it with `astype`",
                self.expression(),
                self.dtype()
            ))
            .into());
        }
        if length == 0 {
            return Ok(Array::zeros(&[0], if weights.is_some() { DType::F64 } else { DType::I64 }));
        }
        // Halfway between integers, where no element is.
        let edges = (0..=length).map(|at| at as f64 - 0.5).collect();
        histogram(std::slice::from_ref(self), &[edges], weights)
    }

    /// The most frequent element along `axis`, which goes away; of several the least. The same dtype. The axis becomes one
    /// chunk.
    ///
    /// # Errors
    /// If the axis is out of range or empty, or elements are complex.
    pub fn mode(&self, axis: usize, nan: NanPolicy) -> Result<Array, ArrayError> {
        self.check_axis(axis)?;
        self.check_real("mode")?;
        if self.shape()[axis] == 0 {
            let (operation, name) = ("mode".to_owned(), self.expression());
            return Err(ArrayErrorKind::EmptyAxis { operation, axis, name }.into());
        }
        let lengths = [Some(1)];
        let along = super::routine::AlongAxes {
            name: "mode",
            axes: &[axis],
            dtype: self.dtype(),
            lengths: &lengths,
            scratch: 1,
        };
        let kept = self.over_axes(&along, &(axis, nan), |(axis, nan), block| {
            Ok(nuna_chunk::along::mode(&block.inputs[0], *axis, *nan))
        })?;
        kept.squeeze(&[axis])
    }
}

/// The mean of `values` at scattered points in each bin of a grid: `points` and `edges` as for [`histogram`], all of one shape. NaNs
/// among the values are left out; bins without any are NaN. `float64`.
///
/// # Errors
/// As [`histogram`].
pub fn binned_mean(points: &[Array], edges: &[Vec<f64>], values: &Array) -> Result<Array, ArrayError> {
    values.check_real("binned_mean")?;
    let values = values.astype(DType::F64);
    let there = values.isnan()?.logical_not()?.astype(DType::F64);
    let sums = histogram(points, edges, Some(&values.fillna(0.0)?))?;
    sums.div(histogram(points, edges, Some(&there))?)
}
