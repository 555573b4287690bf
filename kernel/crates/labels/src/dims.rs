//! Owns the ways to name dimensions in a call: `"time"`, `["lat", "lon"]`, or `..` for all of them.

/// Dimensions as a call names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dims {
    All,
    Named(Vec<String>),
}

/// What can name dimensions.
pub trait IntoDims {
    fn into_dims(self) -> Dims;
}

impl IntoDims for Dims {
    fn into_dims(self) -> Dims {
        self
    }
}

/// All of them, as xarray's call without arguments.
impl IntoDims for () {
    fn into_dims(self) -> Dims {
        Dims::All
    }
}

/// All of them: `mean(..)`.
impl IntoDims for std::ops::RangeFull {
    fn into_dims(self) -> Dims {
        Dims::All
    }
}

impl IntoDims for &str {
    fn into_dims(self) -> Dims {
        Dims::Named(vec![self.to_owned()])
    }
}

impl IntoDims for String {
    fn into_dims(self) -> Dims {
        Dims::Named(vec![self])
    }
}

impl<T: AsRef<str>, const N: usize> IntoDims for [T; N] {
    fn into_dims(self) -> Dims {
        Dims::Named(self.iter().map(|dim| dim.as_ref().to_owned()).collect())
    }
}

impl<T: AsRef<str>> IntoDims for &[T] {
    fn into_dims(self) -> Dims {
        Dims::Named(self.iter().map(|dim| dim.as_ref().to_owned()).collect())
    }
}

impl<T: AsRef<str>> IntoDims for Vec<T> {
    fn into_dims(self) -> Dims {
        self.as_slice().into_dims()
    }
}
