//! Owns reductions by dimension name. NaNs are skipped, as is xarray's default; `array.skipna(false).mean("time")` lets
//! them through.

use nuna_array::{Axes, NanPolicy, Operation};

use crate::{DataArray, Result, counted::Makes, dims::IntoDims};

/// Reductions of an array with a choice about NaN; from [`DataArray::skipna`].
#[derive(Clone, Debug)]
pub struct Reducer {
    array: DataArray,
    nan: NanPolicy,
}

impl DataArray {
    /// Chooses whether the reduction that follows skips NaNs.
    pub fn skipna(&self, skip: bool) -> Reducer {
        Reducer { array: self.clone(), nan: if skip { NanPolicy::Skip } else { NanPolicy::Propagate } }
    }

    /// Reduces over dimensions. Coordinates along them go away; name and attributes stay.
    ///
    /// # Errors
    /// [`crate::LabelError::NoDim`], or a minimum over nothing.
    pub fn reduce(&self, operation: Operation, nan: NanPolicy, dims: impl IntoDims) -> Result<DataArray> {
        let axes = self.axes(dims)?;
        let array = self.array.reduce(operation, nan, &axes, Axes::Drop)?;
        let dims: Vec<String> = self
            .dims
            .iter()
            .enumerate()
            .filter(|(axis, _)| !axes.contains(axis))
            .map(|(_, dim)| dim.clone())
            .collect();
        let coords = self.coords.within(&dims);
        let reduced = DataArray { array, dims, coords, loaded: None, ..self.clone() };
        Ok(reduced.after(Makes::by_reduction(operation)))
    }

    /// How many elements are not NaN.
    ///
    /// # Errors
    /// [`crate::LabelError::NoDim`].
    pub fn count(&self, dims: impl IntoDims) -> Result<DataArray> {
        self.reduce(Operation::Count, NanPolicy::Skip, dims)
    }

    /// Whether any element is true.
    ///
    /// # Errors
    /// [`crate::LabelError::NoDim`].
    pub fn any(&self, dims: impl IntoDims) -> Result<DataArray> {
        self.reduce(Operation::Any, NanPolicy::Propagate, dims)
    }

    /// Whether all elements are true.
    ///
    /// # Errors
    /// [`crate::LabelError::NoDim`].
    pub fn all(&self, dims: impl IntoDims) -> Result<DataArray> {
        self.reduce(Operation::All, NanPolicy::Propagate, dims)
    }
}

macro_rules! reductions {
    ($($(#[$doc:meta])* $name:ident => $operation:expr;)*) => {
        impl DataArray {$(
            $(#[$doc])*
            /// NaNs are skipped. Dimensions: `"time"`, `["lat", "lon"]`, or `..` for all.
            ///
            /// # Errors
            /// [`crate::LabelError::NoDim`].
            pub fn $name(&self, dims: impl IntoDims) -> Result<DataArray> {
                self.reduce($operation, NanPolicy::Skip, dims)
            }
        )*}

        impl Reducer {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// [`crate::LabelError::NoDim`].
            pub fn $name(&self, dims: impl IntoDims) -> Result<DataArray> {
                self.array.reduce($operation, self.nan, dims)
            }
        )*}
    };
}
reductions!(
    /// The sum; 0 over nothing.
    sum => Operation::Sum;
    /// The product; 1 over nothing.
    prod => Operation::Prod;
    /// The mean; NaN over nothing. Integers give `float64`.
    mean => Operation::Mean;
    /// The least element.
    min => Operation::Min;
    /// The greatest element.
    max => Operation::Max;
    /// The standard deviation of the population (`ddof` 0, as xarray).
    std => Operation::Std { ddof: 0 };
    /// The variance of the population (`ddof` 0, as xarray).
    var => Operation::Var { ddof: 0 };
);
