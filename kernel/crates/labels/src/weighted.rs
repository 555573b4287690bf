//! Owns weighted sums, means, variances and quantiles.

use std::sync::Arc;

use nuna_array::{Binary, DType};
use nuna_chunk::Chunk;
use nuna_storage::Attributes;

use crate::{
    DataArray, Dataset, LabelError, Quantiles, Result,
    arithmetic::align,
    coord::{Coord, Values},
    dims::{Dims, IntoDims},
    positions::Positions,
};

/// An array with weights; from [`DataArray::weighted`].
#[derive(Clone, Debug)]
pub struct Weighted {
    array: DataArray,
    weights: DataArray,
}

impl DataArray {
    /// Weights its elements. Weights broadcast by name, and must not hold NaN: it makes what it weights NaN.
    ///
    /// # Errors
    /// If the weights have a dimension that this array has not.
    pub fn weighted(&self, weights: &DataArray) -> Result<Weighted> {
        for dim in &weights.dims {
            self.axis(dim).map_err(|_| LabelError::NoDim {
                owner: format!("{}, which is to be weighted by {},", self.describe(), weights.describe()),
                dim: dim.clone(),
                dims: self.dims.clone(),
            })?;
        }
        Ok(Weighted { array: self.clone(), weights: weights.clone() })
    }
}

impl Weighted {
    /// Dimensions in the call that the weights lack still count: every element there has the same weight.
    fn products(&self, dims: &Dims) -> Result<(DataArray, DataArray)> {
        let filled = self.array.fillna(0.0)?;
        // Products of small integers do not fit where the integers do.
        let filled = match self.array.dtype().promote(self.weights.dtype()) {
            DType::U8 | DType::U16 | DType::U32 | DType::U64 => filled.astype(DType::U64),
            DType::Bool | DType::I8 | DType::I16 | DType::I32 | DType::I64 => filled.astype(DType::I64),
            _ => filled,
        };
        // NaNs of the array are gone; what is NaN now has no weighted sum, such as infinity with the weight 0.
        let total = |products: DataArray| products.skipna(false).sum(dims.clone());
        let sum = total(filled.binary(nuna_array::Binary::Mul, &self.weights)?)?;
        let present = self.array.notnull()?;
        let weights = total(present.binary(nuna_array::Binary::Mul, &self.weights)?)?;
        Ok((sum, weights))
    }

    fn labelled(&self, result: DataArray) -> DataArray {
        DataArray { name: self.array.name.clone(), attrs: self.array.attrs.clone(), ..result }
    }

    /// The weighted mean, NaNs and their weights left out; NaN where the weights add up to 0. `float32` stays unless the
    /// weights are finer, whatever integers they are; everything else gives `float64`.
    ///
    /// # Errors
    /// [`LabelError::NoDim`].
    pub fn mean(&self, dims: impl IntoDims) -> Result<DataArray> {
        let (sum, weights) = self.products(&dims.into_dims())?;
        let weights = weights.where_(&weights.not_equal(0.0)?)?;
        let dtype = self.array.dtype().promote(self.weights.dtype()).to_float();
        Ok(self.labelled(sum.binary(nuna_array::Binary::Div, &weights)?.astype(dtype)))
    }

    /// The weighted sum, NaNs left out.
    ///
    /// # Errors
    /// [`LabelError::NoDim`].
    pub fn sum(&self, dims: impl IntoDims) -> Result<DataArray> {
        Ok(self.labelled(self.products(&dims.into_dims())?.0))
    }

    /// The sum of the weights of elements that are not NaN; NaN where it is 0.
    ///
    /// # Errors
    /// [`LabelError::NoDim`].
    pub fn sum_of_weights(&self, dims: impl IntoDims) -> Result<DataArray> {
        let weights = self.products(&dims.into_dims())?.1;
        Ok(self.labelled(weights.where_(&weights.not_equal(0.0)?)?))
    }

    /// The weighted sum of squares of what is left when the weighted mean is taken away, NaNs left out.
    ///
    /// # Errors
    /// [`LabelError::NoDim`].
    pub fn sum_of_squares(&self, dims: impl IntoDims) -> Result<DataArray> {
        let dims = dims.into_dims();
        let apart = self.array.binary(Binary::Sub, &self.mean(dims.clone())?)?;
        let squares = Weighted { array: apart.square()?, weights: self.weights.clone() };
        Ok(self.labelled(squares.products(&dims)?.0))
    }

    /// The weighted variance: [`sum_of_squares`](Weighted::sum_of_squares) over
    /// [`sum_of_weights`](Weighted::sum_of_weights). Dtypes as of the mean.
    ///
    /// # Errors
    /// [`LabelError::NoDim`].
    pub fn var(&self, dims: impl IntoDims) -> Result<DataArray> {
        let dims = dims.into_dims();
        let squares = self.sum_of_squares(dims.clone())?;
        let variance = squares.binary(Binary::Div, &self.sum_of_weights(dims)?)?;
        let dtype = self.array.dtype().promote(self.weights.dtype()).to_float();
        Ok(self.labelled(variance.astype(dtype)))
    }

    /// The square root of the weighted [`var`](Weighted::var)iance.
    ///
    /// # Errors
    /// [`LabelError::NoDim`].
    pub fn std(&self, dims: impl IntoDims) -> Result<DataArray> {
        self.var(dims)?.sqrt()
    }

    /// Weighted quantiles from 0 to 1 over dimensions, by xarray's rule: linear interpolation (type 7) with Kish's effective
    /// number of elements. NaNs, and elements of weight 0, are left out; NaN where nothing is left. Several quantiles become
    /// the first dimension, `quantile`. The result is `float64`. Blocks hold the dimensions whole, twice.
    ///
    /// # Errors
    /// [`LabelError::NoDim`], or if a quantile is not from 0 to 1.
    pub fn quantile(&self, q: impl Into<Quantiles>, dims: impl IntoDims) -> Result<DataArray> {
        let q: Quantiles = q.into();
        if let Some(bad) = q.at().iter().find(|q| !(0.0..=1.0).contains(*q)) {
            return Err(LabelError::Invalid(format!("a quantile is from 0 to 1, not {bad}")));
        }
        let axes = self.array.axes(dims)?;
        let (array, weights) = align("weighted", &self.array, &self.weights)?;
        let kept: Vec<usize> = (0..array.ndim()).filter(|axis| !axes.contains(axis)).collect();
        let order: Vec<usize> = kept.iter().chain(&axes).copied().collect();
        let dims: Vec<String> = kept.iter().map(|&axis| array.dims[axis].clone()).collect();
        if q.at().is_empty() || axes.is_empty() {
            return Err(LabelError::Invalid(
                "a weighted quantile needs a quantile and a dimension".to_owned(),
            ));
        }
        let weights = crate::arithmetic::spread(&weights, &array.dims)?.broadcast_to(array.shape())?;
        let lines = |of: &nuna_array::Array| -> Result<nuna_array::Array> {
            Ok(of.astype(DType::F64).transpose(&order)?.flatten(kept.len(), axes.len())?)
        };
        // Elements, then their weights, then room for results.
        let (elements, weights) = (lines(&array.array)?, lines(&weights)?);
        let count = q.at().len() as u64;
        let mut shape = elements.shape().to_vec();
        shape[kept.len()] = count;
        let room = nuna_array::Array::full(&shape, f64::NAN, DType::F64);
        let both = nuna_array::concat(&[room, elements, weights], kept.len())?;
        let names = dims.iter().map(String::as_str).chain(["quantile"]);
        let lines = DataArray::new(both, names)?;
        let at = q.at().to_vec();
        let found = lines.each_line("quantile", "weighted quantile", &at, |at: &Vec<f64>, line| {
            let (room, rest) = line.split_at_mut(at.len());
            let (elements, weights) = rest.split_at(rest.len() / 2);
            quantiles(at, elements, weights, room);
        })?;
        let found = Positions::Slice { start: 0, step: 1, count }.of(&found.array, kept.len())?;
        let mut coords = self.array.coords.within(&dims);
        let (array, dims, own) = if q.is_single() {
            (found.squeeze(&[kept.len()])?, dims, Vec::new())
        } else {
            let order: Vec<usize> = std::iter::once(kept.len()).chain(0..kept.len()).collect();
            let dims = std::iter::once("quantile".to_owned()).chain(dims).collect();
            (found.transpose(&order)?, dims, vec!["quantile".to_owned()])
        };
        let shape: Vec<u64> = own.iter().map(|_| count).collect();
        let values = Values::Numbers(Chunk::from_slice(&shape, q.at()));
        coords.insert("quantile", Arc::new(Coord::new(own, shape, values, Attributes::new())));
        Ok(DataArray { array, dims, coords, loaded: None, ..self.array.clone() })
    }
}

/// xarray's weighted quantiles of one line.
fn quantiles(at: &[f64], elements: &[f64], weights: &[f64], out: &mut [f64]) {
    let mut pairs: Vec<(f64, f64)> = elements
        .iter()
        .copied()
        .zip(weights.iter().copied())
        .filter(|(element, weight)| !element.is_nan() && *weight != 0.0)
        .collect();
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total: f64 = pairs.iter().map(|pair| pair.1).sum();
    let effective = total * total / pairs.iter().map(|pair| pair.1 * pair.1).sum::<f64>();
    for (q, out) in at.iter().zip(out) {
        if pairs.is_empty() {
            *out = f64::NAN;
            continue;
        }
        let h = (effective - 1.0) * q + 1.0;
        let place = |sum: f64| {
            let u = ((h - 1.0) / effective).max((h / effective).min(sum));
            u * effective - h + 1.0
        };
        let (mut sum, mut before, mut value) = (0.0, place(0.0), 0.0);
        for (element, weight) in &pairs {
            sum += weight / total;
            let after = place(sum);
            value += element * (after - before);
            before = after;
        }
        *out = value;
    }
}

/// A dataset with weights; from [`Dataset::weighted`].
#[derive(Clone, Debug)]
pub struct DatasetWeighted {
    dataset: Dataset,
    weights: DataArray,
}

impl Dataset {
    /// [`DataArray::weighted`] of every variable that has one of the dimensions reduced over: `ds.weighted(&area)?.mean(["lat",
    /// "lon"])`. The others stay.
    ///
    /// # Errors
    /// If the weights have a dimension that no variable has.
    pub fn weighted(&self, weights: &DataArray) -> Result<DatasetWeighted> {
        for dim in &weights.dims {
            self.size(dim)?;
        }
        Ok(DatasetWeighted { dataset: self.clone(), weights: weights.clone() })
    }
}

macro_rules! of_datasets {
    ($($name:ident),*) => {
        impl DatasetWeighted {$(
            #[doc = concat!("[`Weighted::", stringify!($name), "`] of every variable that has one of the dimensions.")]
            ///
            /// # Errors
            /// If such a variable lacks a dimension of the weights; [`LabelError::NoDim`].
            pub fn $name(&self, dims: impl IntoDims) -> Result<Dataset> {
                self.dataset.reduced(&dims.into_dims(), |variable, dims| {
                    variable.weighted(&self.weights)?.$name(dims)
                })
            }
        )*}
    };
}
of_datasets!(mean, sum, var, std, sum_of_squares, sum_of_weights);
