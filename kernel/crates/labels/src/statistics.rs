//! Owns statistics of two arrays and places in an order: covariance, correlation, ranks, positions of extremes.

use nuna_array::{Array, Axes, Binary, DType, NanPolicy, Operation, einsum};

use crate::{
    DataArray, LabelError, Result,
    arithmetic::{align, merge_attrs, union},
    dims::{Dims, IntoDims},
};

/// Both arrays in doubles, with NaN where either has one, and how many of their elements along dimensions are none.
struct Pair {
    left: DataArray,
    right: DataArray,
    dims: Dims,
    count: DataArray,
}

impl Pair {
    fn new(operation: &str, left: &DataArray, right: &DataArray, dims: impl IntoDims) -> Result<Self> {
        let (left, right) = align(operation, left, right)?;
        let (left, right) = (left.astype(DType::F64), right.astype(DType::F64));
        let there = left.notnull()?.binary(Binary::And, &right.notnull()?)?;
        let (left, right) = (left.where_(&there)?, right.where_(&there)?);
        // All dimensions that either has.
        let dims = match dims.into_dims() {
            Dims::All => Dims::Named(there.dims.clone()),
            named => named,
        };
        let there = there.transpose(union(&left.dims, &right.dims))?;
        Ok(Self { count: there.sum(dims.clone())?, left, right, dims })
    }

    /// The sum of products of what is left when means are taken away, over `count - ddof`; NaN of nothing.
    fn covariance(&self, ddof: u32) -> Result<DataArray> {
        let apart = |of: &DataArray| -> Result<DataArray> {
            let own: Vec<String> = match &self.dims {
                Dims::All => of.dims.clone(),
                Dims::Named(dims) => dims.iter().filter(|dim| of.dims.contains(dim)).cloned().collect(),
            };
            of.binary(Binary::Sub, &of.mean(own)?)
        };
        let products = apart(&self.left)?.binary(Binary::Mul, &apart(&self.right)?)?;
        let sum = products.sum(self.dims.clone())?;
        let count = self.count.where_(&self.count.greater(0)?)?;
        sum.binary(Binary::Div, &count.binary(Binary::Sub, f64::from(ddof))?)
    }
}

impl DataArray {
    /// The sum of products with another array over dimensions (`..` for all that either has), as `xarray.dot`: `a.dot(&b, "k")` of
    /// two matrices is their product, and made as such. Labels are joined as in arithmetic. NaN makes NaN; dtypes promote.
    ///
    /// # Errors
    /// [`LabelError::NoDim`] for a dimension that neither has, or as [`binary`](DataArray::binary).
    pub fn dot(&self, other: &DataArray, dims: impl IntoDims) -> Result<DataArray> {
        let (left, right) = align("dot", self, other)?;
        let all = union(&left.dims, &right.dims);
        let summed = match dims.into_dims() {
            Dims::All => all.clone(),
            Dims::Named(names) => names,
        };
        if let Some(dim) = summed.iter().find(|dim| !all.contains(dim)) {
            return Err(LabelError::NoDim { owner: self.describe(), dim: dim.clone(), dims: all });
        }
        let letters: Vec<char> = ('a'..='z').chain('A'..='Z').take(all.len()).collect();
        if letters.len() < all.len() {
            return Err(LabelError::Invalid(format!("dot of {} dimensions; at most 52 go", all.len())));
        }
        let kept: Vec<String> = all.iter().filter(|dim| !summed.contains(dim)).cloned().collect();
        let names = |dims: &[String]| -> String {
            all.iter()
                .zip(&letters)
                .filter(|(dim, _)| dims.contains(dim))
                .map(|(_, letter)| *letter)
                .collect()
        };
        let subscripts = format!("{},{}->{}", names(&left.dims), names(&right.dims), names(&kept));
        // Axes in the order of the letters.
        let ordered = |of: &DataArray| -> Result<Array> {
            let order: Vec<usize> =
                all.iter().filter_map(|dim| of.dims.iter().position(|d| d == dim)).collect();
            Ok(of.array.transpose(&order)?)
        };
        let array = einsum(&subscripts, &[ordered(&left)?, ordered(&right)?])?;
        let coords = left.coords.merge(&right.coords).within(&kept);
        let name = if self.name == other.name { self.name.clone() } else { None };
        let attrs = merge_attrs(&self.attrs, &other.attrs);
        Ok(DataArray { array, dims: kept, coords, attrs, name, loaded: None })
    }

    /// The covariance with another array over dimensions (`..` for all), as `xarray.cov`: of the elements that both have, over
    /// their number minus 1. Labels are joined as in arithmetic; NaN where nothing is left. The result is `float64`.
    ///
    /// # Errors
    /// [`LabelError::NoDim`], or as [`binary`](DataArray::binary).
    pub fn cov(&self, other: &DataArray, dims: impl IntoDims) -> Result<DataArray> {
        self.cov_with(other, dims, 1)
    }

    /// [`cov`](DataArray::cov) over the number of elements minus `ddof`.
    ///
    /// # Errors
    /// As [`cov`](DataArray::cov).
    pub fn cov_with(&self, other: &DataArray, dims: impl IntoDims, ddof: u32) -> Result<DataArray> {
        Pair::new("cov", self, other, dims)?.covariance(ddof)
    }

    /// Pearson's correlation with another array over dimensions (`..` for all), as `xarray.corr`. NaN where nothing is left or
    /// one of them does not vary. The result is `float64`.
    ///
    /// # Errors
    /// As [`cov`](DataArray::cov).
    pub fn corr(&self, other: &DataArray, dims: impl IntoDims) -> Result<DataArray> {
        let pair = Pair::new("corr", self, other, dims)?;
        let spread = |of: &DataArray| -> Result<DataArray> {
            let own: Vec<String> = match &pair.dims {
                Dims::All => of.dims.clone(),
                Dims::Named(dims) => dims.iter().filter(|dim| of.dims.contains(dim)).cloned().collect(),
            };
            of.std(own)
        };
        let both = spread(&pair.left)?.binary(Binary::Mul, &spread(&pair.right)?)?;
        pair.covariance(0)?.binary(Binary::Div, &both)
    }

    /// The place of each element along a dimension if these were sorted, from 1, as xarray's `rank`: equal ones share the mean of
    /// their places, NaN stays and does not count. The result is `float64`; the dimension becomes one chunk.
    ///
    /// # Errors
    /// [`LabelError::NoDim`].
    pub fn rank(&self, dim: &str) -> Result<DataArray> {
        self.ranked(dim, false)
    }

    /// [`rank`](DataArray::rank) divided by how many elements of the line are not NaN.
    ///
    /// # Errors
    /// [`LabelError::NoDim`].
    pub fn rank_pct(&self, dim: &str) -> Result<DataArray> {
        self.ranked(dim, true)
    }

    fn ranked(&self, dim: &str, pct: bool) -> Result<DataArray> {
        if self.dtype().is_complex() {
            return Err(LabelError::Invalid(format!(
                "rank of {}: complex numbers have no order",
                self.describe()
            )));
        }
        self.astype(DType::F64).each_line(dim, "rank", &pct, |pct: &bool, line| {
            let mut order: Vec<usize> = (0..line.len()).filter(|&at| !line[at].is_nan()).collect();
            order.sort_unstable_by(|&a, &b| line[a].total_cmp(&line[b]));
            let count = if *pct { order.len() as f64 } else { 1.0 };
            let mut start = 0;
            while start < order.len() {
                let value = line[order[start]];
                let same = order[start..].iter().take_while(|&&at| line[at] == value).count();
                // Places start + 1 up to start + same.
                let rank = (2 * start + 1 + same) as f64 / 2.0 / count;
                order[start..start + same].iter().for_each(|&at| line[at] = rank);
                start += same;
            }
        })
    }

    /// Where the first least element over several dimensions is: for each of them the positions, as xarray's `argmin` of several
    /// dimensions. NaNs are skipped; where there is nothing else it is an error when computed.
    ///
    /// # Errors
    /// [`LabelError::NoDim`], or if there is no dimension.
    pub fn argmin_of(&self, dims: impl IntoDims) -> Result<Vec<(String, DataArray)>> {
        self.positions(Operation::ArgMin, dims)
    }

    /// Where the first greatest element over several dimensions is; see [`argmin_of`](DataArray::argmin_of).
    ///
    /// # Errors
    /// As [`argmin_of`](DataArray::argmin_of).
    pub fn argmax_of(&self, dims: impl IntoDims) -> Result<Vec<(String, DataArray)>> {
        self.positions(Operation::ArgMax, dims)
    }

    fn positions(&self, operation: Operation, dims: impl IntoDims) -> Result<Vec<(String, DataArray)>> {
        let axes = self.axes(dims)?;
        if axes.is_empty() {
            return Err(LabelError::Invalid(format!("no dimension of {} is named", self.describe())));
        }
        let kept: Vec<usize> = (0..self.ndim()).filter(|axis| !axes.contains(axis)).collect();
        let order: Vec<usize> = kept.iter().chain(&axes).copied().collect();
        let lines = self.array.transpose(&order)?.flatten(kept.len(), axes.len())?;
        let flat = lines.reduce(operation, NanPolicy::Skip, &[kept.len()], Axes::Drop)?;
        let dims: Vec<String> = kept.iter().map(|&axis| self.dims[axis].clone()).collect();
        let coords = self.coords.within(&dims);
        let mut below = 1i64;
        let mut found = Vec::new();
        for &axis in axes.iter().rev() {
            let n = self.shape()[axis].max(1).cast_signed();
            let array = flat.binary(Binary::FloorDiv, below)?.binary(Binary::Rem, n)?;
            let place = DataArray { dims: dims.clone(), coords: coords.clone(), ..self.with_array(array) };
            found.push((self.dims[axis].clone(), place));
            below = below.saturating_mul(n);
        }
        found.reverse();
        Ok(found)
    }
}
