//! Owns arithmetic of whole datasets: with a value, an array, or another dataset, variable by variable.

use std::ops;

use nuna_array::{Binary, Scalar};

use crate::{DataArray, Dataset, LabelError, Result, arithmetic::merge_attrs};

/// The other side of an operation on a dataset.
#[derive(Clone, Debug)]
pub enum Others {
    Dataset(Dataset),
    Array(DataArray),
    Scalar(Scalar),
}

impl From<Dataset> for Others {
    fn from(dataset: Dataset) -> Self {
        Others::Dataset(dataset)
    }
}

impl From<&Dataset> for Others {
    fn from(dataset: &Dataset) -> Self {
        Others::Dataset(dataset.clone())
    }
}

impl From<DataArray> for Others {
    fn from(array: DataArray) -> Self {
        Others::Array(array)
    }
}

impl From<&DataArray> for Others {
    fn from(array: &DataArray) -> Self {
        Others::Array(array.clone())
    }
}

impl<T: Into<Scalar>> From<T> for Others {
    fn from(value: T) -> Self {
        Others::Scalar(value.into())
    }
}

impl Dataset {
    /// An operation on every variable and a value, an array, or the variable of the same name of another dataset; variables that
    /// one of two datasets lacks go away, as in xarray. See [`DataArray::binary`].
    ///
    /// # Errors
    /// As [`DataArray::binary`], with the variable's name; or if two datasets have no variable in common.
    pub fn binary(&self, op: Binary, other: impl Into<Others>) -> Result<Dataset> {
        let at = |name: &str, error: LabelError| LabelError::Invalid(format!("`{name}`: {error}"));
        let other = match other.into() {
            Others::Scalar(value) => return self.each(|variable| variable.binary(op, value)),
            Others::Array(array) => {
                let of = |variable: &DataArray| variable.binary(op, &array);
                let made: Result<Vec<_>> = self
                    .variables()
                    .map(|(name, variable)| {
                        Ok((name.to_owned(), of(variable).map_err(|error| at(name, error))?))
                    })
                    .collect();
                return Dataset::from_variables(made?, self.attrs.clone());
            }
            Others::Dataset(other) => other,
        };
        let mut made = Vec::new();
        for (name, variable) in self.variables() {
            if let Some((_, theirs)) = other.variables().find(|(theirs, _)| *theirs == name) {
                made.push((name.to_owned(), variable.binary(op, theirs).map_err(|error| at(name, error))?));
            }
        }
        if made.is_empty() && !(self.variables.is_empty() && other.variables.is_empty()) {
            return Err(LabelError::Invalid(format!(
                "{op} of two datasets without a variable in common: one has {}, the other {}",
                self.names().join(", "),
                other.names().join(", ")
            )));
        }
        Dataset::from_variables(made, merge_attrs(&self.attrs, &other.attrs))
    }
}

macro_rules! operators {
    ($($trait:ident, $method:ident, $op:ident;)*) => {$(
        operators!(@dataset $trait, $method, $op, Dataset);
        operators!(@dataset $trait, $method, $op, &Dataset);
    )*};
    (@dataset $trait:ident, $method:ident, $op:ident, $left:ty) => {
        impl<T: Into<Others>> ops::$trait<T> for $left {
            type Output = Dataset;
            #[track_caller]
            fn $method(self, other: T) -> Dataset {
                self.binary(Binary::$op, other).unwrap_or_else(|error| panic!("{error}"))
            }
        }
    };
}
operators! {
    Add, add, Add;
    Sub, sub, Sub;
    Mul, mul, Mul;
    Div, div, Div;
    Rem, rem, Rem;
}
