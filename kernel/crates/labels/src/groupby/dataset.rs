//! Owns groups of a whole dataset: every variable that has a grouped dimension is reduced, the others stay.

use std::sync::Arc;

use nuna_array::Binary;

use super::{Bins, GroupBy, GroupKey, GroupKeys, Grouping};
use crate::{DataArray, Dataset, Quantiles, Result, coord::Values};

/// A dataset whose elements are sorted into groups; from [`Dataset::groupby`].
#[derive(Clone, Debug)]
pub struct DatasetGroupBy {
    dataset: Dataset,
    by: Arc<Grouping>,
    skipna: bool,
    ddof: u32,
}

impl Dataset {
    /// [`DataArray::groupby`] of every variable that has a grouped dimension. One that lacks others of them is repeated
    /// along these, as in xarray.
    ///
    /// # Errors
    /// As [`DataArray::groupby`].
    pub fn groupby(&self, keys: impl Into<GroupKeys>) -> Result<DatasetGroupBy> {
        let by = keys.into().resolve(&self.describe(), &self.coords)?;
        for (dim, _) in by.sizes() {
            self.size(dim)?;
        }
        Ok(DatasetGroupBy { dataset: self.clone(), by: Arc::new(by), skipna: true, ddof: 0 })
    }

    /// [`DataArray::groupby_bins`] of every variable that has a grouped dimension.
    ///
    /// # Errors
    /// As [`DataArray::groupby_bins`].
    pub fn groupby_bins(&self, key: impl Into<GroupKey>, bins: impl Into<Bins>) -> Result<DatasetGroupBy> {
        self.groupby(GroupKey::bins(key, bins))
    }

    /// [`DataArray::resample`] of every variable that has the dimension.
    ///
    /// # Errors
    /// As [`DataArray::resample`].
    pub fn resample(&self, dim: &str, frequency: &str) -> Result<DatasetGroupBy> {
        self.size(dim)?;
        self.groupby(GroupKey::periods(dim, frequency))
    }
}

impl DatasetGroupBy {
    /// The names of the groups, of the first key if there are several.
    pub fn labels(&self) -> &Values {
        &self.by.keys[0].labels
    }

    /// Chooses whether the reduction that follows skips NaNs; it does unless told.
    #[must_use]
    pub fn skipna(&self, skip: bool) -> Self {
        Self { skipna: skip, ..self.clone() }
    }

    /// As [`GroupBy::ddof`].
    #[must_use]
    pub fn ddof(&self, ddof: u32) -> Self {
        Self { ddof, ..self.clone() }
    }

    /// The groups of one variable; none of one without a grouped dimension.
    fn of(&self, variable: &DataArray) -> Result<Option<GroupBy>> {
        let lacks: Vec<(&String, u64)> =
            self.by.sizes().filter(|(dim, _)| !variable.dims.contains(dim)).collect();
        if lacks.len() == self.by.sizes().count() {
            return Ok(None);
        }
        let mut wide = variable.clone();
        for (dim, n) in lacks {
            let mut dims = wide.dims.clone();
            dims.push(dim.clone());
            let mut shape = wide.shape().to_vec();
            shape.push(n);
            let array = wide.array.expand_dims(shape.len() - 1)?.broadcast_to(&shape)?;
            wide = DataArray { dims, ..wide.with_array(array) };
        }
        Ok(Some(GroupBy::new(wide, self.by.clone())?.skipna(self.skipna).ddof(self.ddof)))
    }

    fn each(&self, reduce: impl Fn(&GroupBy) -> Result<DataArray>) -> Result<Dataset> {
        let reduced = self.dataset.each(|variable| match self.of(variable)? {
            Some(by) => reduce(&by),
            None => Ok(variable.clone()),
        })?;
        Ok(Dataset { coords: self.by.coords(&self.dataset.coords), ..reduced })
    }

    /// [`GroupBy::quantile`] of every variable.
    ///
    /// # Errors
    /// As [`GroupBy::quantile`].
    pub fn quantile(&self, q: impl Into<Quantiles>) -> Result<Dataset> {
        let q = q.into();
        let mut reduced = self.each(|by| by.quantile(q.clone()))?;
        let coord = reduced.variables.iter().find_map(|(_, v)| v.coords.get("quantile").cloned());
        if let Some(coord) = coord {
            reduced.coords.insert("quantile", coord);
        }
        Ok(reduced)
    }

    /// [`GroupBy::binary`] of every variable with the one of its name in `climatology`. Variables without the grouped
    /// dimension stay.
    ///
    /// # Errors
    /// As [`GroupBy::binary`], and if a variable is missing there.
    pub fn binary(&self, op: Binary, climatology: &Dataset) -> Result<Dataset> {
        let variables: Result<Vec<(String, DataArray)>> = self
            .dataset
            .variables
            .iter()
            .map(|(name, variable)| match self.of(variable)? {
                Some(by) => Ok((name.clone(), by.binary(op, &climatology.var(name)?)?)),
                None => Ok((name.clone(), variable.clone())),
            })
            .collect();
        Dataset::from_variables(variables?, self.dataset.attrs.clone())
    }

    /// Each element minus the mean of its group.
    ///
    /// # Errors
    /// As the mean.
    pub fn anomaly(&self) -> Result<Dataset> {
        self.binary(Binary::Sub, &self.mean()?)
    }
}

macro_rules! group_reductions {
    ($($name:ident),*) => {
        impl DatasetGroupBy {$(
            #[doc = concat!("[`GroupBy::", stringify!($name), "`] of every variable that has the dimension.")]
            ///
            /// # Errors
            #[doc = concat!("As [`GroupBy::", stringify!($name), "`].")]
            pub fn $name(&self) -> Result<Dataset> {
                self.each(GroupBy::$name)
            }
        )*}
    };
}
group_reductions!(sum, prod, mean, min, max, count, var, std, first, last, median, any, all);
