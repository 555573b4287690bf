//! Owns periods of time shorter than what lies between the labels there are, filled from elements beside.

use super::GroupBy;
use crate::{DataArray, LabelError, Result, coord::Values};

impl GroupBy {
    /// The elements at the periods' beginnings, with the labels of all periods; NaN where there is none. This and the four
    /// after it are for periods shorter than what lies between the labels there are: `t.resample("time", "6h")?.interpolate()?`.
    ///
    /// # Errors
    /// If the groups are not periods of time, or a label stands twice.
    pub fn asfreq(&self) -> Result<DataArray> {
        self.array.reindex(&self.by.keys[0].name, self.periods()?)
    }

    /// [`asfreq`](GroupBy::asfreq) with the last element before.
    ///
    /// # Errors
    /// As [`asfreq`](GroupBy::asfreq).
    pub fn ffill(&self) -> Result<DataArray> {
        self.array.reindex_with(&self.by.keys[0].name, self.periods()?, crate::Method::Pad)
    }

    /// [`asfreq`](GroupBy::asfreq) with the next element after.
    ///
    /// # Errors
    /// As [`asfreq`](GroupBy::asfreq).
    pub fn bfill(&self) -> Result<DataArray> {
        self.array.reindex_with(&self.by.keys[0].name, self.periods()?, crate::Method::Backfill)
    }

    /// [`asfreq`](GroupBy::asfreq) with the nearest element.
    ///
    /// # Errors
    /// As [`asfreq`](GroupBy::asfreq).
    pub fn nearest(&self) -> Result<DataArray> {
        self.array.reindex_with(&self.by.keys[0].name, self.periods()?, crate::Method::Nearest)
    }

    /// [`asfreq`](GroupBy::asfreq) with what lies on a straight line between the elements beside; see [`DataArray::interp`].
    ///
    /// # Errors
    /// As [`asfreq`](GroupBy::asfreq).
    pub fn interpolate(&self) -> Result<DataArray> {
        self.array.interp(&self.by.keys[0].name, self.periods()?)
    }

    fn periods(&self) -> Result<Values> {
        match (self.by.keys.as_slice(), self.by.parts.as_slice()) {
            ([key], [part]) if part.dims == [key.name.as_str()] && matches!(key.labels, Values::Times(_)) => {
                Ok(key.labels.clone())
            }
            _ => Err(LabelError::Invalid(format!(
                "groups by `{}` are no periods of time; these come from `resample`",
                self.by.title()
            ))),
        }
    }
}
