//! Owns what is fitted and found along a dimension by its labels: polynomials, labels of extremes, gaps filled between neighbours.

use std::sync::Arc;

use nuna_array::{Array, Binary, MapBlocks, Operation, tensordot};
use nuna_chunk::{Chunk, DType, matrix::Matrix};
use nuna_ship::Ship;
use nuna_storage::Attributes;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    DataArray, LabelError, Result,
    coord::{Coord, Values},
};

impl DataArray {
    /// The labels along a dimension as numbers: times in days since the first one.
    fn label_numbers(&self, operation: &str, dim: &str) -> Result<Vec<f64>> {
        let values = self.index(dim)?.values()?;
        let refuse = |why: &str| {
            LabelError::Invalid(format!("{operation} along `{dim}` of {}: {why}", self.describe()))
        };
        let numbers = values.distances().ok_or_else(|| refuse("its labels are text"))?;
        if numbers.iter().any(|x| !x.is_finite()) {
            return Err(refuse("a label is missing; select the others first"));
        }
        Ok(match values {
            Values::Times(_) => numbers.iter().map(|x| (x - numbers[0]) / 86_400.0).collect(),
            Values::Numbers(_) | Values::Text(_) => numbers,
        })
    }

    /// The coefficients of the polynomial of a degree that comes closest to the elements along a dimension in the sum of squares,
    /// as xarray's `polyfit`: along the new first dimension `degree`, the highest first. Labels are the polynomial's variable,
    /// times in days since the first one. A NaN makes its line NaN. `float32` stays, everything else gives `float64`; computed in
    /// `float64`. [`polyval`](DataArray::polyval) gives values of it.
    ///
    /// # Errors
    /// If the dimension has no labels, they are text or missing, or there are no more of them than the degree.
    pub fn polyfit(&self, dim: &str, degree: u32) -> Result<DataArray> {
        let axis = self.axis(dim)?;
        let x = self.label_numbers("polyfit", dim)?;
        let terms = degree as usize + 1;
        if x.len() < terms {
            return Err(LabelError::Invalid(format!(
                "polyfit of degree {degree} along `{dim}` of {} needs {terms} labels, and there are {}",
                self.describe(),
                x.len()
            )));
        }
        // Powers differ by orders of magnitude: each column is divided by its length, as NumPy does.
        let power = |x: f64, term: usize| x.powi((terms - 1 - term) as i32);
        let lengths: Vec<f64> = (0..terms)
            .map(|term| x.iter().map(|&x| power(x, term).powi(2)).sum::<f64>().sqrt())
            .map(|length| if length > 0.0 { length } else { 1.0 })
            .collect();
        let lengths = &lengths;
        let powers: Vec<f64> =
            x.iter().flat_map(|&x| (0..terms).map(move |term| power(x, term) / lengths[term])).collect();
        let powers = Matrix::from_chunk(&Chunk::from_slice(&[x.len() as u64, terms as u64], &powers));
        let (u, s, vt) = powers.svd();
        let cut = f64::EPSILON * x.len() as f64 * s[0];
        let mut inverse = u.transposed();
        inverse.scale_rows(|at| if s[at] > cut { 1.0 / s[at] } else { 0.0 });
        let mut inverse = vt.transposed().product(&inverse);
        inverse.scale_rows(|term| 1.0 / lengths[term]);
        let inverse = Array::from_chunk(Matrix::to_chunk(&[&inverse], DType::F64));
        let found = tensordot(&inverse, &self.array.astype(DType::F64), &[1], &[axis])?;
        let mut coords = self.coords.without(dim);
        let degrees: Vec<i64> = (0..=i64::from(degree)).rev().collect();
        coords.insert("degree", Arc::new(Coord::line("degree", degrees.into(), Attributes::new())));
        let mut dims = self.dims.clone();
        dims.remove(axis);
        dims.insert(0, "degree".to_owned());
        crate::data_array::distinct(&dims)?;
        Ok(DataArray { coords, dims, ..self.with_array(found.astype(self.dtype().to_float())) })
    }

    /// The values at `x` of polynomials whose coefficients these are, along the dimension `degree` as
    /// [`polyfit`](DataArray::polyfit) makes them. Dimensions broadcast by name.
    ///
    /// # Errors
    /// If there is no dimension `degree`, or its labels do not descend one by one to 0.
    pub fn polyval(&self, x: &DataArray) -> Result<DataArray> {
        let count = self.shape()[self.axis("degree")?];
        let degrees = self.index("degree")?.values()?.distances().unwrap_or_default();
        if count == 0 || !degrees.iter().rev().zip(0u32..).all(|(degree, at)| *degree == f64::from(at)) {
            return Err(LabelError::Invalid(format!(
                "polyval of {}: labels along `degree` descend one by one to 0",
                self.describe()
            )));
        }
        let term = |at: i64| self.isel("degree", at)?.drop_coords(["degree"]);
        let mut value = term(0)?.binary(Binary::Add, &x.binary(Binary::Mul, 0.0)?)?;
        for at in 1..count.cast_signed() {
            value = value.binary(Binary::Mul, x)?.binary(Binary::Add, &term(at)?)?;
        }
        Ok(value)
    }

    /// The label along a dimension of the least element, of several the first one's. NaNs are skipped, and a line of nothing else
    /// gives NaN. Labels of integers become `float64` where elements can be NaN. Times are counted, as in files, by the attribute
    /// `units`: [`to_times`](DataArray::to_times) has them as dates.
    ///
    /// # Errors
    /// If the dimension is empty, or its labels are text: take `argmin`, then `isel` the coordinate.
    pub fn idxmin(&self, dim: &str) -> Result<DataArray> {
        self.label_of(Operation::ArgMin, "idxmin", dim)
    }

    /// The label along a dimension of the greatest element; see [`idxmin`](DataArray::idxmin).
    ///
    /// # Errors
    /// As [`idxmin`](DataArray::idxmin).
    pub fn idxmax(&self, dim: &str) -> Result<DataArray> {
        self.label_of(Operation::ArgMax, "idxmax", dim)
    }

    fn label_of(&self, operation: Operation, name: &str, dim: &str) -> Result<DataArray> {
        let (labels, units) = match self.index(dim)?.values()? {
            Values::Numbers(labels) => (labels.clone(), None),
            Values::Times(times) => {
                let (counts, units, calendar) = times.encode();
                (counts, Some((units, calendar)))
            }
            Values::Text(_) => {
                return Err(LabelError::Invalid(format!(
                    "{name} along `{dim}` of {}: its labels are text; take `argmin` or `argmax`, and `isel` of the coordinate",
                    self.describe()
                )));
            }
        };
        let floats = self.dtype().is_float();
        let dtype = if floats { labels.dtype().to_float() } else { labels.dtype() };
        // Lines of nothing but NaN have no least element, but this has to have a place.
        let there = self.notnull()?.any(dim)?;
        let safe =
            if floats { self.where_or(&there, 0.0)?.transpose(self.dims.as_slice())? } else { self.clone() };
        let places = match operation {
            Operation::ArgMin => safe.argmin(dim)?,
            _ => safe.argmax(dim)?,
        };
        let options = MapBlocks { name: name.to_owned(), dtype, chunks: None };
        let list = labels.cast(dtype).to_vec::<f64>();
        let exact = if dtype.is_float() { Vec::new() } else { labels.to_vec::<i64>() };
        let found =
            places.array.map_blocks_with(options, &(list, exact, dtype), |(list, exact, dtype), block| {
                let places = block.inputs[0].elements::<i64>().map_err(|error| error.to_string())?;
                let shape = block.inputs[0].shape();
                let at = |place: &i64| usize::try_from(*place).unwrap_or(usize::MAX);
                if exact.is_empty() {
                    let of = |place| list.get(at(place)).copied().unwrap_or(f64::NAN);
                    return Ok(
                        Chunk::from_slice(shape, &places.iter().map(of).collect::<Vec<f64>>()).cast(*dtype)
                    );
                }
                let of = |place| exact.get(at(place)).copied().unwrap_or(0);
                Ok(Chunk::from_slice(shape, &places.iter().map(of).collect::<Vec<i64>>()).cast(*dtype))
            })?;
        let mut found = places.with_array(found);
        if let Some((units, calendar)) = units {
            found.attrs = Attributes::new();
            found.attrs.insert("units".to_owned(), units.into());
            found.attrs.insert("calendar".to_owned(), calendar.into());
        }
        if floats { found.where_(&there) } else { Ok(found) }
    }

    /// NaN replaced by what lies between its neighbours along a dimension that are none, on a straight line by the labels (by
    /// positions where there are none). NaNs before the first and after the last stay.
    ///
    /// # Errors
    /// [`LabelError::NoDim`], or if labels are text or missing.
    pub fn interpolate_na(&self, dim: &str) -> Result<DataArray> {
        let axis = self.axis(dim)?;
        let x = match self.coords.index(dim) {
            Some(_) => self.label_numbers("interpolate_na", dim)?,
            None => (0..self.shape()[axis]).map(|at| at as f64).collect(),
        };
        self.each_line(dim, "interpolate_na", &x, |x: &Vec<f64>, line| {
            let mut before: Option<usize> = None;
            for at in 0..line.len() {
                if line[at].is_nan() {
                    continue;
                }
                if let Some(from) = before {
                    for i in from + 1..at {
                        let weight = (x[i] - x[from]) / (x[at] - x[from]);
                        line[i] = line[from] + (line[at] - line[from]) * weight;
                    }
                }
                before = Some(at);
            }
        })
    }

    /// Applies a function to every line of floats along a dimension, which becomes one chunk. Integers have no NaN to look for and
    /// stay as they are.
    pub(crate) fn each_line<E, F>(
        &self,
        dim: &str,
        name: &str,
        environment: &E,
        function: F,
    ) -> Result<DataArray>
    where
        E: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
        F: Fn(&E, &mut [f64]) + Copy + Ship + 'static,
    {
        let axis = self.axis(dim)?;
        if !self.dtype().is_float() {
            return Ok(self.clone());
        }
        let mut lengths: Vec<i64> =
            self.array.chunks().chunk_shape().iter().map(|&n| n.max(1).cast_signed()).collect();
        lengths[axis] = -1;
        let whole = self.rechunk(self.dims.iter().zip(lengths))?;
        let options = MapBlocks { name: name.to_owned(), dtype: self.dtype(), chunks: None };
        let environment = (axis, environment.clone());
        let array =
            whole.array.map_blocks_with(options, &environment, move |(axis, environment), block| {
                let chunk = &block.inputs[0];
                let shape = chunk.shape();
                let count =
                    |shape: &[u64]| usize::try_from(shape.iter().product::<u64>()).unwrap_or(usize::MAX);
                let (length, inner) = (count(&shape[*axis..=*axis]), count(&shape[axis + 1..]));
                let mut values = chunk.to_vec::<f64>();
                let mut line = vec![0.0; length];
                for part in values.chunks_exact_mut((length * inner).max(1)) {
                    for i in 0..inner {
                        line.iter_mut().enumerate().for_each(|(at, value)| *value = part[at * inner + i]);
                        function(environment, &mut line);
                        line.iter().enumerate().for_each(|(at, value)| part[at * inner + i] = *value);
                    }
                }
                Ok(Chunk::from_slice(shape, &values).cast(chunk.dtype()))
            })?;
        Ok(self.with_array(array))
    }
}
