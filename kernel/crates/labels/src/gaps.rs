//! Owns what is done about elements that are missing: leaving out positions along a dimension, and filling from another array.
//! Filling along a dimension is with windows and fits.

use crate::{DataArray, Dataset, Join, LabelError, Result, align};

impl DataArray {
    /// Where along a dimension no element, or not every one, is missing.
    fn complete(&self, dim: &str, all: bool) -> Result<DataArray> {
        self.axis(dim)?;
        let there = self.notnull()?;
        let others: Vec<String> = self.dims.iter().filter(|d| *d != dim).cloned().collect();
        match (others.is_empty(), all) {
            (true, _) => Ok(there),
            (false, false) => there.all(others),
            (false, true) => there.any(others),
        }
    }

    /// Without the positions along a dimension at which any element is NaN. They are computed to see.
    ///
    /// # Errors
    /// [`LabelError::NoDim`], or as [`DataArray::compute`].
    pub fn dropna(&self, dim: &str) -> Result<DataArray> {
        self.isel(dim, self.complete(dim, false)?)
    }

    /// Without the positions along a dimension at which every element is NaN (xarray's `how="all"`); see
    /// [`dropna`](DataArray::dropna).
    ///
    /// # Errors
    /// As [`dropna`](DataArray::dropna).
    pub fn dropna_all(&self, dim: &str) -> Result<DataArray> {
        self.isel(dim, self.complete(dim, true)?)
    }

    /// Its elements, and those of another where it has none or they are NaN. Labels are joined ([`Join::Outer`]).
    ///
    /// # Errors
    /// As [`align`](crate::align()).
    pub fn combine_first(&self, other: &DataArray) -> Result<DataArray> {
        let both = align(&[self.clone(), other.clone()], Join::Outer)?;
        let [own, other] = both.as_slice() else {
            return Err(LabelError::Invalid("aligning two arrays gave another number of them".to_owned()));
        };
        let filled = own.where_or(&own.notnull()?, other)?;
        Ok(DataArray { attrs: self.attrs.clone(), name: self.name.clone(), ..filled })
    }

    /// Interpolated to the labels of another array, along every dimension of numbers or times that both have; see
    /// [`interp`](DataArray::interp).
    ///
    /// # Errors
    /// As [`interp`](DataArray::interp).
    pub fn interp_like(&self, other: &DataArray) -> Result<DataArray> {
        let mut like = self.clone();
        for dim in &self.dims {
            if let (Some(own), Some(wanted)) = (self.coords.index(dim), other.coords.index(dim))
                && !own.same(wanted)
            {
                like = like.interp(dim, wanted.values()?.clone())?;
            }
        }
        Ok(like)
    }

    /// Whether dimensions, coordinates and elements are those of another array; NaN equals NaN. Both are computed. Names and
    /// attributes may differ, and dtypes where numbers are equal.
    ///
    /// # Errors
    /// As [`DataArray::compute`].
    pub fn equals(&self, other: &DataArray) -> Result<bool> {
        let labels =
            |of: &DataArray| of.coords.names().into_iter().collect::<std::collections::BTreeSet<_>>();
        if self.dims != other.dims || self.shape() != other.shape() || labels(self) != labels(other) {
            return Ok(false);
        }
        let same = |(name, coord): (&str, &std::sync::Arc<crate::Coord>)| {
            other.coords.get(name).is_some_and(|theirs| coord.same(theirs))
        };
        if !self.coords.iter().all(same) {
            return Ok(false);
        }
        let (a, b) = (&self.array, &other.array);
        let both = a.isnan()?.binary(nuna_array::Binary::And, &b.isnan()?)?;
        let equal = a.binary(nuna_array::Binary::Eq, b)?.binary(nuna_array::Binary::Or, &both)?;
        Ok(equal.all(&equal.all_axes())?.compute()?.to_vec::<bool>() == [true])
    }
}

impl Dataset {
    /// Without the positions along a dimension at which any variable that has it is NaN. They are computed to see.
    ///
    /// # Errors
    /// [`LabelError::NoDim`], or as [`DataArray::compute`].
    pub fn dropna(&self, dim: &str) -> Result<Dataset> {
        self.size(dim)?;
        let mut mask: Option<DataArray> = None;
        for (_, variable) in self.variables().filter(|(_, variable)| variable.dims.iter().any(|d| d == dim)) {
            let own = variable.complete(dim, false)?;
            mask = Some(match mask {
                Some(mask) => mask.binary(nuna_array::Binary::And, &own)?,
                None => own,
            });
        }
        match mask {
            Some(mask) => self.isel(dim, mask),
            None => Ok(self.clone()),
        }
    }
}
