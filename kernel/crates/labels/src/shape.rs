//! Owns what changes which dimensions and coordinates there are, and which labels along them, without touching values:
//! squeezing, expanding, swapping, sorting, dropping.

use std::{collections::HashSet, sync::Arc};

use nuna_array::{Array, Axes, NanPolicy, Operation, Scalar};
use nuna_chunk::{Chunk, DType};
use nuna_storage::Attributes;

use crate::{
    DataArray, Dataset, LabelError, Result,
    coord::{Coord, Coords, Values, decode_times},
    dims::{Dims, IntoDims},
    positions::Positions,
};

impl Coords {
    /// A dimension called otherwise, and its labels under its new name. Those of the old name stay as another coordinate
    /// along it.
    fn swapped(&self, from: &str, to: &str) -> Result<Coords> {
        self.try_map(|_, coord| {
            if !coord.dims.iter().any(|d| d == from) {
                return Ok(coord.clone());
            }
            let dims = coord.dims.iter().map(|d| if d == from { to.to_owned() } else { d.clone() }).collect();
            Ok(Arc::new(coord.with_dims(dims)?))
        })
    }

    /// The coordinate without dimensions of that name as labels of a new dimension of length 1.
    fn expanded(&self, dim: &str) -> Result<Coords> {
        let Some(scalar) = self.get(dim) else { return Ok(self.clone()) };
        if !scalar.dims.is_empty() {
            let dims = scalar.dims.join(", ");
            let message =
                format!("`{dim}` is a coordinate along ({dims}); a new dimension needs another name");
            return Err(LabelError::Invalid(message));
        }
        let mut coords = self.clone();
        let values = scalar.values()?.take(&[1], &[0]);
        coords.insert(dim, Arc::new(Coord::line(dim, values, scalar.attrs.clone())));
        Ok(coords)
    }
}

/// Positions of the labels along one dimension in ascending order, or in descending order.
fn sorted(name: &str, coords: &Coords, ascending: bool, owner: &str) -> Result<(String, Positions)> {
    let coord = coords.get(name).ok_or_else(|| LabelError::NoCoord {
        owner: owner.to_owned(),
        name: name.to_owned(),
        have: coords.names(),
    })?;
    let [dim] = coord.dims.as_slice() else {
        let dims = coord.dims.join(", ");
        return Err(LabelError::Invalid(format!(
            "sorting by `{name}`, which is along ({dims}), not one dimension"
        )));
    };
    let mut order = coord.values()?.order();
    if !ascending {
        order.reverse();
    }
    Ok((dim.clone(), Positions::from_list(order.into_iter().map(|at| at as u64).collect())))
}

/// Positions of the first of each label.
fn firsts(values: &Values) -> Positions {
    let mut seen = HashSet::new();
    let list =
        (0..).zip(values.keys()).filter(|(_, key)| seen.insert(key.clone())).map(|(at, _)| at).collect();
    Positions::from_list(list)
}

impl DataArray {
    /// Takes away dimensions of length 1: all of them (`..`), or those named. Their labels stay as coordinates without
    /// dimensions.
    ///
    /// # Errors
    /// If a dimension that is named has another length, or does not exist.
    pub fn squeeze(&self, dims: impl IntoDims) -> Result<DataArray> {
        let names = match dims.into_dims() {
            Dims::All => {
                self.dims.iter().zip(self.shape()).filter(|(_, n)| **n == 1).map(|(d, _)| d.clone()).collect()
            }
            Dims::Named(names) => names,
        };
        let mut squeezed = self.clone();
        for dim in &names {
            let axis = squeezed.axis(dim)?;
            if squeezed.shape()[axis] != 1 {
                return Err(LabelError::Invalid(format!(
                    "dimension `{dim}` of {} has length {}, only those of length 1 can be squeezed; choose one position with `isel`",
                    self.describe(),
                    squeezed.shape()[axis]
                )));
            }
            squeezed = squeezed.take(axis, &Positions::At(0))?;
        }
        Ok(squeezed)
    }

    /// Puts a new dimension of length 1 in front. A coordinate without dimensions of that name becomes its label.
    ///
    /// # Errors
    /// If there is such a dimension.
    pub fn expand_dims(&self, dim: &str) -> Result<DataArray> {
        if self.dims.iter().any(|d| d == dim) {
            return Err(LabelError::DimTwice { dim: dim.to_owned(), dims: self.dims.clone() });
        }
        let dims = std::iter::once(dim.to_owned()).chain(self.dims.iter().cloned()).collect();
        let array = self.array.expand_dims(0)?;
        Ok(DataArray { dims, coords: self.coords.expanded(dim)?, ..self.with_array(array) })
    }

    /// Puts a new dimension in front along which the array is repeated for each of these labels.
    ///
    /// # Errors
    /// If there is such a dimension.
    pub fn expand_dims_with(&self, dim: &str, labels: impl Into<Values>) -> Result<DataArray> {
        let labels = labels.into();
        let mut wide = DataArray { coords: self.coords.clone(), ..self.clone() };
        wide.coords.retain(|name, _| name != dim);
        let wide = wide.expand_dims(dim)?;
        let mut shape = wide.shape().to_vec();
        shape[0] = labels.len() as u64;
        wide.with_array(wide.array.broadcast_to(&shape)?).assign_coord(dim, labels)
    }

    /// Makes another coordinate along a dimension its labels: the dimension gets that coordinate's name. A name that no
    /// coordinate has leaves it without labels.
    ///
    /// # Errors
    /// If there is no such dimension, or the coordinate is not along it alone.
    pub fn swap_dims(&self, from: &str, to: &str) -> Result<DataArray> {
        self.axis(from)?;
        check_swap(&self.coords, from, to)?;
        let dims = self.dims.iter().map(|d| if d == from { to.to_owned() } else { d.clone() }).collect();
        Ok(DataArray { dims, coords: self.coords.swapped(from, to)?, ..self.clone() })
    }

    /// [`rename`](DataArray::rename) of several at once: `rename_all([("lat", "y"), ("lon", "x")])`.
    ///
    /// # Errors
    /// As [`rename`](DataArray::rename).
    pub fn rename_all<A: AsRef<str>, B: AsRef<str>>(
        &self,
        names: impl IntoIterator<Item = (A, B)>,
    ) -> Result<DataArray> {
        names.into_iter().try_fold(self.clone(), |array, (from, to)| array.rename(from.as_ref(), to.as_ref()))
    }

    /// The same with a coordinate along some of its dimensions: `assign_coords("month", &months)`. Values are computed.
    ///
    /// # Errors
    /// If the coordinate has other dimensions, or another length along one.
    pub fn assign_coord_array(&self, name: &str, array: &DataArray) -> Result<DataArray> {
        for (dim, &size) in array.dims.iter().zip(array.shape()) {
            let own = self.shape()[self.axis(dim)?];
            if own != size {
                return Err(LabelError::Sizes {
                    operation: "assign_coord_array".to_owned(),
                    dim: dim.clone(),
                    left: self.describe(),
                    left_size: own,
                    right: array.describe(),
                    right_size: size,
                });
            }
        }
        let values = Values::Numbers(array.to_chunk()?);
        let coord = Coord::new(array.dims.clone(), array.shape().to_vec(), values, array.attrs.clone());
        let mut with = self.clone();
        with.coords.insert(name, Arc::new(coord));
        Ok(with)
    }

    /// The same with a coordinate of another array or dataset, of any kind, also times and text:
    /// `a.assign_coord_of("lat", b.coord("lat")?)`.
    ///
    /// # Errors
    /// If the coordinate has a dimension that this array has not, or one of another length.
    pub fn assign_coord_of(&self, name: &str, coord: &Coord) -> Result<DataArray> {
        for (dim, &size) in coord.dims.iter().zip(&coord.shape) {
            let own = self.shape()[self.axis(dim)?];
            if own != size {
                return Err(LabelError::Sizes {
                    operation: "assign_coord_of".to_owned(),
                    dim: dim.clone(),
                    left: self.describe(),
                    left_size: own,
                    right: format!("the coordinate `{name}`"),
                    right_size: size,
                });
            }
        }
        let values = coord.values()?.clone();
        let same = Coord::new(coord.dims.clone(), coord.shape.clone(), values, coord.attrs.clone());
        let mut with = self.clone();
        with.coords.insert(name, Arc::new(same));
        Ok(with)
    }

    /// The same without some coordinates; the dimensions stay.
    ///
    /// # Errors
    /// [`LabelError::NoCoord`].
    pub fn drop_coords(&self, names: impl IntoDims) -> Result<DataArray> {
        let names = match names.into_dims() {
            Dims::All => self.coords.names(),
            Dims::Named(names) => names,
        };
        for name in &names {
            self.coord(name)?;
        }
        let mut without = self.clone();
        without.coords.retain(|name, _| !names.iter().any(|n| n == name));
        Ok(without)
    }

    /// Sorts along the dimension of a coordinate, by its labels in ascending order. Equal labels keep their order, NaN comes
    /// last.
    ///
    /// # Errors
    /// If there is no such coordinate along one dimension.
    pub fn sortby(&self, name: &str) -> Result<DataArray> {
        let (dim, order) = sorted(name, &self.coords, true, &self.describe())?;
        self.take(self.axis(&dim)?, &order)
    }

    /// [`sortby`](DataArray::sortby) in the opposite order.
    ///
    /// # Errors
    /// As [`sortby`](DataArray::sortby).
    pub fn sortby_descending(&self, name: &str) -> Result<DataArray> {
        let (dim, order) = sorted(name, &self.coords, false, &self.describe())?;
        self.take(self.axis(&dim)?, &order)
    }

    /// Keeps the first of each label along a dimension.
    ///
    /// # Errors
    /// If the dimension has no labels.
    pub fn drop_duplicates(&self, dim: &str) -> Result<DataArray> {
        let positions = firsts(self.index(dim)?.values()?);
        self.take(self.axis(dim)?, &positions)
    }

    /// Whether each element is one of `values`. A NaN is none.
    ///
    /// # Errors
    /// For complex numbers.
    pub fn isin<T: Into<Scalar>>(&self, values: impl IntoIterator<Item = T>) -> Result<DataArray> {
        Ok(self.with_array(self.array.isin(values)?).after(crate::counted::Makes::Numbers))
    }

    /// Its elements where `condition` is true, NaN elsewhere; labels along which it is true nowhere are left out. The
    /// condition is computed.
    ///
    /// # Errors
    /// As [`where_`](DataArray::where_).
    pub fn where_drop(&self, condition: &DataArray) -> Result<DataArray> {
        let (mut kept, mut condition) = crate::arithmetic::align("where", self, condition)?;
        let dims: Vec<String> =
            condition.dims.iter().filter(|dim| kept.dims.contains(dim)).cloned().collect();
        let mut lists = Vec::new();
        for dim in &dims {
            let others: Vec<String> = condition.dims.iter().filter(|d| *d != dim).cloned().collect();
            let any = if others.is_empty() { condition.clone() } else { condition.any(others)? };
            lists.push(any.array.astype(DType::Bool));
        }
        let found = nuna_array::compute(&lists, &nuna_array::engine())?;
        for (dim, any) in dims.iter().zip(found) {
            let list: Vec<u64> =
                (0..).zip(any.to_vec::<bool>()).filter(|(_, any)| *any).map(|(at, _)| at).collect();
            let positions = Positions::from_list(list);
            kept = kept.take(kept.axis(dim)?, &positions)?;
            condition = condition.take(condition.axis(dim)?, &positions)?;
        }
        kept.where_(&condition)
    }

    /// Part of a time coordinate as numbers along its dimension: `dt("time.month")`; also year, quarter, weekofyear, day,
    /// dayofyear, dayofweek (Monday is 0), days_in_month, hour, minute, second. Missing times make it NaN.
    ///
    /// # Errors
    /// [`LabelError::GroupKey`].
    pub fn dt(&self, key: &str) -> Result<DataArray> {
        dt(key, &self.coords, &self.describe())
    }
}

fn dt(key: &str, coords: &Coords, owner: &str) -> Result<DataArray> {
    use crate::time::{PARTS, TimePart};
    let bad = |reason: String| LabelError::GroupKey { key: key.to_owned(), reason };
    let (name, part) = key.split_once('.').ok_or_else(|| bad("write it like `time.month`".to_owned()))?;
    let coord = coords.get(name).ok_or_else(|| LabelError::NoCoord {
        owner: owner.to_owned(),
        name: name.to_owned(),
        have: coords.names(),
    })?;
    let part = TimePart::from_name(part)
        .filter(|part| *part != TimePart::Season)
        .ok_or_else(|| bad(format!("`{part}` is not one of {PARTS}; a season is no number")))?;
    let times = match coord.values()? {
        Values::Times(times) if part.is_in(times.calendar) => times,
        Values::Times(times) => {
            return Err(bad(format!("the calendar {} has no weeks that go on", times.calendar)));
        }
        other => return Err(bad(format!("`{name}` holds {}, not times", other.dtype_name()))),
    };
    let parts = times.part(part);
    let whole: Option<Vec<i64>> = parts.iter().copied().collect();
    #[expect(clippy::cast_precision_loss, reason = "parts of times are small")]
    let chunk = match whole {
        Some(whole) => Chunk::from_slice(&coord.shape, &whole),
        None => {
            let floats: Vec<f64> = parts.into_iter().map(|x| x.map_or(f64::NAN, |x| x as f64)).collect();
            Chunk::from_slice(&coord.shape, &floats)
        }
    };
    let made = DataArray::from_chunk(chunk, &coord.dims)?.named(part.name());
    Ok(DataArray { coords: coords.within(&coord.dims), ..made })
}

fn check_swap(coords: &Coords, from: &str, to: &str) -> Result<()> {
    match coords.get(to) {
        Some(coord) if coord.dims != [from] => Err(LabelError::Invalid(format!(
            "`{to}` is along ({}), not along `{from}` alone, so it cannot be its labels",
            coord.dims.join(", ")
        ))),
        _ => Ok(()),
    }
}

impl Coord {
    /// The labels, each once and sorted. NaN and missing times are left out.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn unique(&self) -> Result<Values> {
        let values = self.values()?;
        let mut kept: Vec<usize> = Vec::new();
        let keys = values.keys();
        for at in values.order() {
            let missing = !matches!(values, Values::Text(_)) && values.is_missing(at);
            if !missing && kept.last().is_none_or(|&last| keys[last] != keys[at]) {
                kept.push(at);
            }
        }
        Ok(values.take(&[kept.len() as u64], &kept))
    }
}

/// A dataset has but one of a name.
pub(crate) fn both(name: &str) -> LabelError {
    LabelError::Invalid(format!(
        "`{name}` would be a variable and a coordinate of one dataset; give the variable another name, or drop the coordinate with `drop_coords`"
    ))
}

impl Dataset {
    /// Variables that share coordinates, checked: the way from many variables to a dataset.
    pub(crate) fn from_variables(variables: Vec<(String, DataArray)>, attrs: Attributes) -> Result<Dataset> {
        let mut sizes: std::collections::HashMap<String, (usize, u64)> = std::collections::HashMap::new();
        let mut coords = Coords::default();
        for (number, (name, variable)) in variables.iter().enumerate() {
            for (dim, &size) in variable.dims.iter().zip(variable.shape()) {
                let (first, first_size) = *sizes.entry(dim.clone()).or_insert((number, size));
                if first_size != size {
                    return Err(LabelError::DimConflict {
                        dim: dim.clone(),
                        first: variables[first].0.clone(),
                        first_size,
                        second: name.clone(),
                        second_size: size,
                    });
                }
            }
            for (key, coord) in variable.coords.iter() {
                match coords.get(key) {
                    None => coords.insert(key, coord.clone()),
                    Some(ours) if coord.dims.iter().any(|d| d == key) && !ours.same(coord) => {
                        return Err(LabelError::Invalid(format!(
                            "the labels along `{key}` of `{name}` differ from those of other variables: {}",
                            crate::align::difference(("they", ours.values()?), (name, coord.values()?))
                        )));
                    }
                    Some(_) => {}
                }
            }
        }
        if let Some((name, _)) = variables.iter().find(|(name, _)| coords.get(name).is_some()) {
            return Err(both(name));
        }
        let variables = variables.into_iter().map(|(name, v)| (name.clone(), v.named(&name))).collect();
        Ok(Dataset { variables, coords, attrs, ..Dataset::new() })
    }

    /// A dataset of named arrays; their coordinates become the dataset's.
    ///
    /// # Errors
    /// If two disagree about the length of a dimension, or the labels along it; or a name stands twice, or is also that of a
    /// coordinate.
    pub fn from_arrays<T: Into<String>>(arrays: impl IntoIterator<Item = (T, DataArray)>) -> Result<Dataset> {
        let variables: Vec<(String, DataArray)> =
            arrays.into_iter().map(|(name, array)| (name.into(), array)).collect();
        let mut names = HashSet::new();
        if let Some((name, _)) = variables.iter().find(|(name, _)| !names.insert(name.clone())) {
            return Err(LabelError::Invalid(format!("two variables are named `{name}`")));
        }
        Dataset::from_variables(variables, Attributes::new())
    }

    /// Applies a function to every variable, as xarray's `map`. Coordinates are those of the results; attributes of the
    /// dataset stay.
    ///
    /// # Errors
    /// Those of the function, and if results disagree about a dimension.
    pub fn map(&self, mut function: impl FnMut(&DataArray) -> Result<DataArray>) -> Result<Dataset> {
        let results: Result<Vec<_>> = self
            .variables
            .iter()
            .map(|(name, variable)| {
                let result =
                    function(variable).map_err(|error| LabelError::Invalid(format!("`{name}`: {error}")))?;
                Ok((name.clone(), result))
            })
            .collect();
        Dataset::from_variables(results?, self.attrs.clone())
    }

    /// Takes away dimensions, and all variables and coordinates along them.
    ///
    /// # Errors
    /// [`LabelError::NoDim`].
    pub fn drop_dims(&self, dims: impl IntoDims) -> Result<Dataset> {
        let names = match dims.into_dims() {
            Dims::All => self.sizes().into_iter().map(|(dim, _)| dim).collect(),
            Dims::Named(names) => names,
        };
        for dim in &names {
            self.size(dim)?;
        }
        let gone = |dims: &[String]| dims.iter().any(|dim| names.contains(dim));
        let mut without = self.clone();
        without.variables.retain(|(_, variable)| !gone(&variable.dims));
        without.coords.retain(|_, coord| !gone(&coord.dims));
        Ok(without)
    }

    /// [`DataArray::squeeze`] of every variable.
    ///
    /// # Errors
    /// As [`DataArray::squeeze`].
    pub fn squeeze(&self, dims: impl IntoDims) -> Result<Dataset> {
        let names: Vec<String> = match dims.into_dims() {
            Dims::All => self.sizes().into_iter().filter(|(_, n)| *n == 1).map(|(dim, _)| dim).collect(),
            Dims::Named(names) => names,
        };
        let mut squeezed = self.clone();
        for dim in &names {
            let size = self.size(dim)?;
            if size != 1 {
                let message =
                    format!("dimension `{dim}` has length {size}, only those of length 1 can be squeezed");
                return Err(LabelError::Invalid(message));
            }
            squeezed = squeezed.isel(dim, 0)?;
        }
        Ok(squeezed)
    }

    /// [`DataArray::expand_dims`] of every variable.
    ///
    /// # Errors
    /// As [`DataArray::expand_dims`].
    pub fn expand_dims(&self, dim: &str) -> Result<Dataset> {
        let mut wide = self.each(|variable| variable.expand_dims(dim))?;
        wide.coords = self.coords.expanded(dim)?;
        Ok(wide)
    }

    /// [`DataArray::swap_dims`] of every variable that has the dimension.
    ///
    /// # Errors
    /// As [`DataArray::swap_dims`].
    pub fn swap_dims(&self, from: &str, to: &str) -> Result<Dataset> {
        self.size(from)?;
        check_swap(&self.coords, from, to)?;
        let coords = self.coords.swapped(from, to)?;
        self.along(from, coords, |variable| variable.swap_dims(from, to))
    }

    /// [`rename`](Dataset::rename) of several at once.
    ///
    /// # Errors
    /// As [`rename`](Dataset::rename).
    pub fn rename_all<A: AsRef<str>, B: AsRef<str>>(
        &self,
        names: impl IntoIterator<Item = (A, B)>,
    ) -> Result<Dataset> {
        names
            .into_iter()
            .try_fold(self.clone(), |dataset, (from, to)| dataset.rename(from.as_ref(), to.as_ref()))
    }

    /// Makes variables coordinates. They are computed.
    ///
    /// # Errors
    /// [`LabelError::NoVariable`], or as [`DataArray::compute`].
    pub fn set_coords(&self, names: impl IntoDims) -> Result<Dataset> {
        let names = match names.into_dims() {
            Dims::All => self.names(),
            Dims::Named(names) => names,
        };
        // Text lies among them already.
        let is_text = |name: &String| self.text.contains(name) && self.coords.get(name).is_some();
        let (text, names): (Vec<String>, Vec<String>) = names.into_iter().partition(is_text);
        let chosen: Result<Vec<DataArray>> = names.iter().map(|name| self.var(name)).collect();
        let chosen = chosen?;
        let arrays: Vec<Array> = chosen.iter().map(|variable| variable.array.clone()).collect();
        let chunks =
            if arrays.is_empty() { Vec::new() } else { nuna_array::compute(&arrays, &nuna_array::engine())? };
        let mut with = self.clone();
        with.text.retain(|name| !text.contains(name));
        for ((name, variable), chunk) in names.iter().zip(&chosen).zip(chunks) {
            if self.coords.get(name).is_some() {
                continue;
            }
            let mut attrs = variable.attrs.clone();
            let values = decode_times(Values::Numbers(chunk), &mut attrs);
            let coord = Coord::new(variable.dims.clone(), variable.shape().to_vec(), values, attrs);
            with.coords.insert(name, Arc::new(coord));
        }
        with.variables.retain(|(name, _)| !names.contains(name));
        let coords = with.coords.clone();
        with.each(|variable| Ok(DataArray { coords: coords.within(&variable.dims), ..variable.clone() }))
    }

    /// Makes coordinates of numbers variables; those that label a dimension stay, unless they are named.
    ///
    /// # Errors
    /// [`LabelError::NoCoord`], or if one holds times.
    pub fn reset_coords(&self, names: impl IntoDims) -> Result<Dataset> {
        let names: Vec<String> = match names.into_dims() {
            Dims::All => self
                .coords
                .iter()
                .filter(|(name, c)| c.dims != [*name])
                .map(|(name, _)| name.to_owned())
                .collect(),
            Dims::Named(names) => names,
        };
        // Text stays where it is, as a variable of stores.
        let mut with = self.clone();
        let mut numbers = Vec::new();
        for name in names {
            if matches!(self.coord(&name)?.values()?, Values::Text(_)) {
                with.text.retain(|text| *text != name);
                with.text.push(name);
            } else {
                numbers.push(name);
            }
        }
        let names = numbers;
        let mut variables = Vec::new();
        for name in &names {
            variables.push((name.clone(), self.var(name)?));
        }
        with.variables.extend(variables);
        with.coords.retain(|name, _| !names.iter().any(|n| n == name));
        let coords = with.coords.clone();
        with.each(|variable| Ok(DataArray { coords: coords.within(&variable.dims), ..variable.clone() }))
    }

    /// [`DataArray::sortby`] of every variable that has the coordinate's dimension.
    ///
    /// # Errors
    /// As [`DataArray::sortby`].
    pub fn sortby(&self, name: &str) -> Result<Dataset> {
        let (dim, order) = sorted(name, &self.coords, true, "the dataset")?;
        let coords = self.coords.isel(&dim, &order)?;
        self.along(&dim, coords, |variable| variable.take(variable.axis(&dim)?, &order))
    }

    /// Keeps the first of each label along a dimension.
    ///
    /// # Errors
    /// If the dimension has no labels.
    pub fn drop_duplicates(&self, dim: &str) -> Result<Dataset> {
        let positions = firsts(self.coord(dim)?.values()?);
        let coords = self.coords.isel(dim, &positions)?;
        self.along(dim, coords, |variable| variable.take(variable.axis(dim)?, &positions))
    }

    /// [`DataArray::where_`] of every variable.
    ///
    /// # Errors
    /// As [`DataArray::where_`].
    pub fn where_(&self, condition: &DataArray) -> Result<Dataset> {
        self.map(|variable| variable.where_(condition))
    }

    /// [`DataArray::dt`] of the dataset's coordinate.
    ///
    /// # Errors
    /// As [`DataArray::dt`].
    pub fn dt(&self, key: &str) -> Result<DataArray> {
        dt(key, &self.coords, "the dataset")
    }

    /// Reduces every variable over those of the dimensions that it has; see [`DataArray::reduce`].
    ///
    /// # Errors
    /// As [`DataArray::reduce`].
    pub fn reduce(&self, operation: Operation, nan: NanPolicy, dims: impl IntoDims) -> Result<Dataset> {
        self.reduced(&dims.into_dims(), |variable, dims| variable.reduce(operation, nan, dims))
    }
}

impl DataArray {
    /// Position along a dimension of the first least element. NaNs are skipped; a line of nothing else is an error when
    /// computed.
    ///
    /// # Errors
    /// [`LabelError::NoDim`].
    pub fn argmin(&self, dim: &str) -> Result<DataArray> {
        self.position(Operation::ArgMin, dim)
    }

    /// Position along a dimension of the first greatest element; see [`argmin`](DataArray::argmin).
    ///
    /// # Errors
    /// [`LabelError::NoDim`].
    pub fn argmax(&self, dim: &str) -> Result<DataArray> {
        self.position(Operation::ArgMax, dim)
    }

    fn position(&self, operation: Operation, dim: &str) -> Result<DataArray> {
        let axis = self.axis(dim)?;
        let array = self.array.reduce(operation, NanPolicy::Skip, &[axis], Axes::Drop)?;
        let mut dims = self.dims.clone();
        dims.remove(axis);
        let found = DataArray { array, coords: self.coords.without(dim), dims, loaded: None, ..self.clone() };
        Ok(found.after(crate::counted::Makes::Numbers))
    }
}
