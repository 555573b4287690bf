//! Owns weighted sums and means.

use nuna_array::DType;

use crate::{
    DataArray, LabelError, Result,
    dims::{Dims, IntoDims},
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
}
