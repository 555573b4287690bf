//! Owns what cuts or extends arrays at the ends of dimensions, and repeats them to another's dimensions.

use std::sync::Arc;

use nuna_array::Pad;

use crate::{
    DataArray, Dataset, LabelError, Result,
    align::Places,
    positions::{Pick, slice},
};

/// The first `n` positions.
fn first(n: u64) -> Pick {
    slice(0, n.min(i64::MAX as u64).cast_signed(), 1)
}

/// The last `n` positions of `size`.
fn last(n: u64, size: u64) -> Pick {
    slice(size.saturating_sub(n).cast_signed(), None, 1)
}

fn every(step: u64) -> Result<Pick> {
    match i64::try_from(step) {
        Ok(step) if step > 0 => Ok(slice(None, None, step)),
        _ => Err(LabelError::Invalid(format!("every {step}th position: give at least 1"))),
    }
}

macro_rules! ends {
    ($($type:ident: $size:expr;)*) => {$(
        impl $type {
            /// The first `n` positions along a dimension, or all if there are fewer.
            ///
            /// # Errors
            /// [`LabelError::NoDim`].
            pub fn head(&self, dim: &str, n: u64) -> Result<$type> {
                self.isel(dim, first(n))
            }

            /// The last `n` positions along a dimension, or all if there are fewer.
            ///
            /// # Errors
            /// [`LabelError::NoDim`].
            pub fn tail(&self, dim: &str, n: u64) -> Result<$type> {
                self.isel(dim, last(n, $size(self, dim)?))
            }

            /// Every `step`th position along a dimension, from the first on.
            ///
            /// # Errors
            /// [`LabelError::NoDim`], or if the step is 0.
            pub fn thin(&self, dim: &str, step: u64) -> Result<$type> {
                self.isel(dim, every(step)?)
            }
        }
    )*};
}
ends! {
    DataArray: |array: &DataArray, dim: &str| -> Result<u64> { Ok(array.shape()[array.axis(dim)?]) };
    Dataset: Dataset::size;
}

impl DataArray {
    /// `before` and `after` more positions at the ends of a dimension: `t.pad("lon", 1, 1, Pad::Wrap)?`. With
    /// `Pad::Constant(f64::NAN.into())` integers become floats. Labels are extended in the same way, with a constant by NaN,
    /// missing times or no text.
    ///
    /// # Errors
    /// [`LabelError::NoDim`]; if a constant does not fit the dtype, or there is nothing to repeat.
    pub fn pad(&self, dim: &str, before: u64, after: u64, mode: Pad) -> Result<DataArray> {
        let axis = self.axis(dim)?;
        let array = self.array.pad(axis, before, after, mode)?;
        let n = self.shape()[axis].cast_signed();
        let places: Places = (-before.cast_signed()..n.saturating_add_unsigned(after))
            .map(|at| match mode {
                Pad::Constant(_) => usize::try_from(at).ok().filter(|_| at < n),
                mode => usize::try_from(mode.place(at, n)).ok(),
            })
            .collect();
        let coords = self.coords.try_map(|_, coord| match coord.dims.iter().any(|d| d == dim) {
            true => Ok(Arc::new(coord.at(dim, &places)?)),
            false => Ok(coord.clone()),
        })?;
        Ok(DataArray { coords, ..self.with_array(array) })
    }

    /// Repeated along the dimensions that another array has and this one lacks; its dimensions come in the other's order, then
    /// its own. Labels of both are joined as by [`Join::Outer`](crate::Join::Outer), as in xarray.
    ///
    /// # Errors
    /// As [`align`](crate::align()).
    pub fn broadcast_like(&self, other: &DataArray) -> Result<DataArray> {
        let both = crate::align(&[other.clone(), self.clone()], crate::Join::Outer)?;
        let [other, own] = both.as_slice() else { return Ok(self.clone()) };
        let dims = crate::arithmetic::union(&other.dims, &own.dims);
        let size = |dim: &String| -> Result<u64> {
            let of = if own.dims.contains(dim) { own } else { other };
            Ok(of.shape()[of.axis(dim)?])
        };
        let shape: Vec<u64> = dims.iter().map(size).collect::<Result<_>>()?;
        let mut array = crate::arithmetic::spread(own, &dims)?;
        while array.ndim() < shape.len() {
            array = array.expand_dims(0)?;
        }
        let mut coords = own.coords.clone();
        for (name, coord) in other.coords.iter() {
            if coord.dims == [name] && own.coords.get(name).is_none() {
                coords.insert(name, coord.clone());
            }
        }
        Ok(DataArray { dims, coords, ..own.with_array(array.broadcast_to(&shape)?) })
    }
}
