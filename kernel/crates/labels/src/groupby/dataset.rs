//! Owns groups of a whole dataset: every variable that has the grouped dimension is reduced, the others stay.

use std::sync::Arc;

use nuna_array::Binary;

use super::{Bins, GroupBy, GroupKey, Grouping};
use crate::{DataArray, Dataset, Result, coord::Values};

/// A dataset whose elements along one dimension are sorted into groups; from [`Dataset::groupby`].
#[derive(Clone, Debug)]
pub struct DatasetGroupBy {
    dataset: Dataset,
    by: Arc<Grouping>,
    skipna: bool,
    ddof: u32,
}

impl Dataset {
    /// [`DataArray::groupby`] of every variable that has the dimension.
    ///
    /// # Errors
    /// As [`DataArray::groupby`].
    pub fn groupby(&self, key: impl Into<GroupKey>) -> Result<DatasetGroupBy> {
        self.grouped(key.into().resolve(&self.describe(), &self.coords)?.unique()?)
    }

    /// [`DataArray::groupby_bins`] of every variable that has the dimension.
    ///
    /// # Errors
    /// As [`DataArray::groupby_bins`].
    pub fn groupby_bins(&self, key: impl Into<GroupKey>, bins: impl Into<Bins>) -> Result<DatasetGroupBy> {
        self.grouped(key.into().resolve(&self.describe(), &self.coords)?.binned(&bins.into())?)
    }

    /// [`DataArray::resample`] of every variable that has the dimension.
    ///
    /// # Errors
    /// As [`DataArray::resample`].
    pub fn resample(&self, dim: &str, frequency: &str) -> Result<DatasetGroupBy> {
        self.size(dim)?;
        self.grouped(GroupKey::from(dim).resolve(&self.describe(), &self.coords)?.resampled(frequency)?)
    }

    fn grouped(&self, by: Grouping) -> Result<DatasetGroupBy> {
        self.size(&by.dim)?;
        Ok(DatasetGroupBy { dataset: self.clone(), by: Arc::new(by), skipna: true, ddof: 0 })
    }
}

impl DatasetGroupBy {
    /// The names of the groups.
    pub fn labels(&self) -> &Values {
        &self.by.labels
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

    fn each(&self, reduce: impl Fn(&GroupBy) -> Result<DataArray>) -> Result<Dataset> {
        let mut coords = self.dataset.coords.without(&self.by.dim);
        coords.insert(&self.by.group, self.by.coord());
        self.dataset.along(&self.by.dim, coords, |variable| {
            let by = GroupBy::new(variable.clone(), self.by.clone())?;
            reduce(&by.skipna(self.skipna).ddof(self.ddof))
        })
    }

    /// [`GroupBy::quantile`] of every variable.
    ///
    /// # Errors
    /// As [`GroupBy::quantile`].
    pub fn quantile(&self, q: f64) -> Result<Dataset> {
        let mut reduced = self.each(|by| by.quantile(q))?;
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
        let dim = &self.by.dim;
        let variables: Result<Vec<(String, DataArray)>> = self
            .dataset
            .variables
            .iter()
            .map(|(name, variable)| {
                if !variable.dims.iter().any(|d| d == dim) {
                    return Ok((name.clone(), variable.clone()));
                }
                let by = GroupBy::new(variable.clone(), self.by.clone())?;
                Ok((name.clone(), by.binary(op, &climatology.var(name)?)?))
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
