//! Owns putting several dimensions into one and back, and regridding several dimensions by sparse weights. Labels of stacked
//! dimensions become coordinates along the new one, flattened: there is no index of several levels.

use std::{collections::HashMap, path::Path, sync::Arc};

use nuna_array::SparseWeights;
use nuna_chunk::Chunk;
use nuna_storage::Attributes;

use crate::{
    DataArray, LabelError, Result,
    coord::{Coord, Key},
    dims::IntoDims,
};

fn count(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

impl DataArray {
    /// Several dimensions as one, the last, in C order of the dimensions as they are named: `t.stack(["lat", "lon"], "point")`.
    /// Their labels (positions, where there are none) and coordinates along them alone become coordinates along the new one.
    /// Coordinates along these and others go away.
    ///
    /// Of the stacked dimensions all but the first become one chunk.
    ///
    /// # Errors
    /// If there is no such dimension, fewer than one is named, or the new name is one of a dimension or coordinate that stays.
    pub fn stack(&self, dims: impl IntoDims, new: &str) -> Result<DataArray> {
        let axes = self.axes(dims)?;
        let stacked: Vec<String> = axes.iter().map(|&axis| self.dims[axis].clone()).collect();
        let kept: Vec<String> = self.dims.iter().filter(|dim| !stacked.contains(dim)).cloned().collect();
        if stacked.is_empty() || kept.iter().any(|dim| dim == new) || self.coords.get(new).is_some() {
            return Err(LabelError::Invalid(format!(
                "stack of ({}) of {} as `{new}`: name dimensions, and one that is not there",
                stacked.join(", "),
                self.describe()
            )));
        }
        let shape: Vec<u64> = axes.iter().map(|&axis| self.shape()[axis]).collect();
        let order: Vec<usize> =
            (0..self.ndim()).filter(|axis| !axes.contains(axis)).chain(axes.iter().copied()).collect();
        let array = self.array.transpose(&order)?.flatten(kept.len(), axes.len())?;
        let mut coords = self.coords.within(&kept);
        let total = count(shape.iter().product());
        for (name, coord) in self.coords.iter() {
            let places: Option<Vec<usize>> =
                coord.dims.iter().map(|dim| stacked.iter().position(|d| d == dim)).collect();
            let Some(places) = places.filter(|places| !places.is_empty()) else { continue };
            let flat: Vec<usize> = (0..total).map(|at| place_of(at, &shape, &places)).collect();
            let values = coord.values()?.take(&[total as u64], &flat);
            coords.insert(name, Arc::new(Coord::line(new, values, coord.attrs.clone())));
        }
        for (place, dim) in stacked.iter().enumerate().filter(|(_, dim)| self.coords.get(dim).is_none()) {
            let flat = (0..total).map(|at| place_of(at, &shape, &[place]) as i64).collect::<Vec<_>>();
            coords.insert(dim, Arc::new(Coord::line(new, flat.into(), Attributes::new())));
        }
        let dims = kept.into_iter().chain([new.to_owned()]).collect();
        Ok(DataArray { dims, coords, ..self.with_array(array) })
    }

    /// One dimension as several, the inverse of [`stack`](DataArray::stack): `t.unstack("point", ["lat", "lon"])`. The new
    /// dimensions stand where it was, in this order, and are labelled by the coordinates of their names along it, which must
    /// be all combinations in C order. Other coordinates along it alone get the new dimensions; those along it and others go away.
    ///
    /// # Errors
    /// If there is no such dimension or coordinate, or combinations are missing, twice or in another order.
    pub fn unstack<T: AsRef<str>>(&self, dim: &str, into: impl IntoIterator<Item = T>) -> Result<DataArray> {
        let axis = self.axis(dim)?;
        let total = count(self.shape()[axis]);
        let into: Vec<String> = into.into_iter().map(|name| name.as_ref().to_owned()).collect();
        let refuse = |why: &str| {
            LabelError::Invalid(format!(
                "unstack of `{dim}` of {} into ({}): {why}",
                self.describe(),
                into.join(", ")
            ))
        };
        if into.is_empty() || into.iter().any(|name| name != dim && self.dims.contains(name)) {
            return Err(refuse("name dimensions that are not there"));
        }
        // The distinct labels of each, in the order in which they come, and which of them each element has.
        let mut levels: Vec<(Vec<usize>, Vec<usize>)> = Vec::with_capacity(into.len());
        for name in &into {
            let coord = self.coord(name)?;
            if coord.dims != [dim] {
                return Err(refuse(&format!("`{name}` is not along `{dim}` alone")));
            }
            let mut seen: HashMap<Key, usize> = HashMap::new();
            let mut firsts = Vec::new();
            let codes = coord.values()?.keys().into_iter().enumerate().map(|(at, key)| {
                *seen.entry(key).or_insert_with(|| {
                    firsts.push(at);
                    firsts.len() - 1
                })
            });
            let codes: Vec<usize> = codes.collect();
            levels.push((firsts, codes));
        }
        let shape: Vec<u64> = levels.iter().map(|(firsts, _)| firsts.len() as u64).collect();
        let is_grid = shape.iter().try_fold(1u64, |product, &n| product.checked_mul(n)) == Some(total as u64)
            && (0..total).all(|at| {
                levels
                    .iter()
                    .enumerate()
                    .all(|(level, (_, codes))| codes[at] == place_of(at, &shape, &[level]))
            });
        if !is_grid {
            return Err(refuse(
                "their labels are not all combinations in order; sort it, or reindex it first",
            ));
        }
        let array = self.array.unflatten(axis, &shape)?;
        let mut coords = self.coords.without(dim);
        for (name, coord) in self.coords.iter().filter(|(_, coord)| coord.dims == [dim]) {
            let made = match into.iter().position(|n| n == name) {
                Some(level) => {
                    let firsts = &levels[level].0;
                    let values = coord.values()?.take(&[firsts.len() as u64], firsts);
                    Coord::line(name, values, coord.attrs.clone())
                }
                None if name == dim => continue,
                None => {
                    let all: Vec<usize> = (0..total).collect();
                    let values = coord.values()?.take(&shape, &all);
                    Coord::new(into.clone(), shape.clone(), values, coord.attrs.clone())
                }
            };
            coords.insert(name, Arc::new(made));
        }
        let mut dims = self.dims.clone();
        dims.splice(axis..=axis, into);
        crate::data_array::distinct(&dims)?;
        Ok(DataArray { dims, coords, ..self.with_array(array) })
    }

    /// Multiplies dimensions, taken as one in the order named, with a sparse matrix such as of ESMF or xESMF (see
    /// [`open_weights`]): `t.regrid(&weights, ["lat", "lon"], ["y", "x"])`. The new dimensions, one for each in the weights'
    /// shape, come last and have no labels yet. Elements without weight, and those with weight on a NaN, are NaN.
    ///
    /// # Errors
    /// If there is no such dimension, or weights do not fit; see [`nuna_array::Array::regrid`].
    pub fn regrid<T: Into<String>>(
        &self,
        weights: &SparseWeights,
        from: impl IntoDims,
        to: impl IntoIterator<Item = T>,
    ) -> Result<DataArray> {
        let axes = self.axes(from)?;
        let to: Vec<String> = to.into_iter().map(Into::into).collect();
        if to.len() != weights.shape.len() {
            return Err(LabelError::Invalid(format!(
                "regrid of {} to ({}) with weights for {} dimensions",
                self.describe(),
                to.join(", "),
                weights.shape.len()
            )));
        }
        let kept: Vec<usize> = (0..self.ndim()).filter(|axis| !axes.contains(axis)).collect();
        let order: Vec<usize> = kept.iter().chain(&axes).copied().collect();
        let array = self.array.transpose(&order)?.regrid(weights, axes.len())?;
        let kept: Vec<String> = kept.iter().map(|&axis| self.dims[axis].clone()).collect();
        let coords = self.coords.within(&kept);
        let plain = DataArray::new(array, kept.into_iter().chain(to))?;
        Ok(DataArray { coords, dims: plain.dims, ..self.with_array(plain.array) })
    }
}

/// Number of an element of the axes `places` (in C order of these) where element `at` of all axes lies.
fn place_of(at: usize, shape: &[u64], places: &[usize]) -> usize {
    let along = |axis: usize| {
        let below = count(shape[axis + 1..].iter().product());
        at / below.max(1) % count(shape[axis]).max(1)
    };
    places.iter().fold(0, |number, &axis| number * count(shape[axis]) + along(axis))
}

/// Weights for regridding from a NetCDF file as ESMF and xESMF write them: `row` and `col` (counted from 1), `S`, and
/// `dst_grid_dims` (the fastest first), which becomes the shape; without it the shape is one dimension, `n_b`.
///
/// # Errors
/// If the file cannot be opened, lacks one of these, or they do not fit each other.
pub fn open_weights(path: impl AsRef<Path>) -> Result<SparseWeights> {
    let path = path.as_ref();
    let file = crate::open_netcdf(path)?;
    let bad = |why: String| LabelError::Invalid(format!("weights in {}: {why}", path.display()));
    let list = |name: &str| -> Result<Chunk> {
        let chunk = file.var(name)?.to_chunk()?;
        if chunk.ndim() == 1 && !chunk.dtype().is_complex() {
            return Ok(chunk);
        }
        Err(bad(format!("`{name}` is {} of shape {:?}, not a list of numbers", chunk.dtype(), chunk.shape())))
    };
    let indices = |name: &str| -> Result<Vec<u64>> {
        let from_one = list(name)?;
        if from_one.dtype().is_float() && from_one.to_vec::<f64>().iter().any(|at| at.fract() != 0.0) {
            return Err(bad(format!("`{name}` holds what is no whole number")));
        }
        let from_one = from_one.to_vec::<i64>();
        let index = |&at: &i64| u64::try_from(at - 1).ok();
        let found: Option<Vec<u64>> =
            from_one.iter().map(|at| if *at < 1 { None } else { index(at) }).collect();
        found.ok_or_else(|| bad(format!("`{name}` counts from 1, but holds less")))
    };
    let (rows, columns, values) = (indices("row")?, indices("col")?, list("S")?.to_vec::<f64>());
    if rows.len() != values.len() || columns.len() != values.len() {
        let (r, c, s) = (rows.len(), columns.len(), values.len());
        return Err(bad(format!("{r} rows, {c} columns and {s} values")));
    }
    let shape: Vec<u64> = match file.var("dst_grid_dims") {
        Ok(dims) => {
            let dims = dims.to_chunk()?.to_vec::<i64>();
            let lengths: Option<Vec<u64>> = dims.iter().rev().map(|&n| u64::try_from(n).ok()).collect();
            lengths
                .filter(|lengths| !lengths.is_empty())
                .ok_or_else(|| bad("`dst_grid_dims` holds no lengths".to_owned()))?
        }
        Err(_) => {
            let sizes = file.sizes();
            let target = sizes.iter().find(|(name, _)| name == "n_b");
            vec![target.ok_or_else(|| bad("neither `dst_grid_dims` nor the dimension `n_b`".to_owned()))?.1]
        }
    };
    let cells = shape.iter().try_fold(1u64, |product, &n| product.checked_mul(n));
    let last = rows.iter().max();
    if cells.is_none_or(|cells| last.is_some_and(|&row| row >= cells)) {
        return Err(bad(format!(
            "rows up to {} for a grid of shape {shape:?}",
            last.map_or(0, |row| row + 1)
        )));
    }
    Ok(SparseWeights { rows, columns, values, shape })
}
