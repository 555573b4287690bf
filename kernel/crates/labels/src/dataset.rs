//! Owns [`Dataset`]: variables that share dimensions and coordinates.

use std::{collections::BTreeMap, ops::Index, path::PathBuf, sync::Arc};

use nuna_array::Array;
use nuna_storage::{Attributes, Skipped};

use crate::{
    DataArray, LabelError, Result,
    coord::{Coord, Coords, Values, numbers_only},
    dims::{Dims, IntoDims},
    label::Selection,
    positions::Pick,
};

/// Labelled arrays by name. Cloning shares everything.
#[derive(Clone, Debug, Default)]
pub struct Dataset {
    pub(crate) variables: Vec<(String, DataArray)>,
    pub(crate) coords: Coords,
    pub(crate) attrs: Attributes,
    /// What the store holds besides, and why it cannot be used.
    pub(crate) skipped: Vec<Skipped>,
    pub(crate) path: Option<PathBuf>,
    /// Which coordinates are variables of text in stores: no array computes with text, so here they lie among the coordinates.
    pub(crate) text: Vec<String>,
}

impl Dataset {
    pub fn new() -> Self {
        Self::default()
    }

    /// For messages.
    pub(crate) fn describe(&self) -> String {
        match &self.path {
            Some(path) => format!("the dataset {}", path.display()),
            None => "the dataset".to_owned(),
        }
    }

    /// A variable, or a coordinate of numbers.
    ///
    /// # Errors
    /// [`LabelError::NoVariable`], listing those there are; [`LabelError::Skipped`] with the reason.
    pub fn var(&self, name: &str) -> Result<DataArray> {
        if let Some((_, variable)) = self.variables.iter().find(|(n, _)| n == name) {
            return Ok(variable.clone());
        }
        if let Some(skipped) = self.skipped.iter().find(|s| s.name == name) {
            return Err(LabelError::Skipped { name: name.to_owned(), reason: skipped.reason.clone() });
        }
        let Some(coord) = self.coords.get(name) else {
            let have = self.names();
            return Err(LabelError::NoVariable { owner: self.describe(), name: name.to_owned(), have });
        };
        let array = match coord.source() {
            Some(source) => DataArray::new(Array::from_source(Arc::new(source.clone())), &coord.dims)?,
            None => DataArray::from_chunk(numbers_only(name, coord.values()?)?, &coord.dims)?,
        };
        let coords = self.coords.within(&coord.dims);
        Ok(DataArray { coords, attrs: coord.attrs.clone(), name: Some(name.to_owned()), ..array })
    }

    /// Names of the variables, coordinates left out.
    pub fn names(&self) -> Vec<String> {
        self.variables.iter().map(|(name, _)| name.clone()).collect()
    }

    pub fn variables(&self) -> impl Iterator<Item = (&str, &DataArray)> {
        self.variables.iter().map(|(name, variable)| (name.as_str(), variable))
    }

    pub fn coords(&self) -> &Coords {
        &self.coords
    }

    /// The coordinate of that name.
    ///
    /// # Errors
    /// [`LabelError::NoCoord`].
    pub fn coord(&self, name: &str) -> Result<&Coord> {
        self.coords.get(name).map(AsRef::as_ref).ok_or_else(|| LabelError::NoCoord {
            owner: self.describe(),
            name: name.to_owned(),
            have: self.coords.names(),
        })
    }

    pub fn attrs(&self) -> &Attributes {
        &self.attrs
    }

    /// What the store holds that could not be opened, with the reasons.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Lengths of the dimensions, in order of appearance.
    pub fn sizes(&self) -> Vec<(String, u64)> {
        let of_variables = self.variables.iter().map(|(_, v)| (v.dims(), v.shape()));
        let of_coords = self.coords.iter().map(|(_, c)| (c.dims(), c.shape()));
        let mut sizes: Vec<(String, u64)> = Vec::new();
        for (dims, shape) in of_variables.chain(of_coords) {
            for (dim, &size) in dims.iter().zip(shape) {
                if !sizes.iter().any(|(d, _)| d == dim) {
                    sizes.push((dim.clone(), size));
                }
            }
        }
        sizes
    }

    pub fn nbytes(&self) -> u64 {
        let variables: u64 = self.variables.iter().map(|(_, v)| v.nbytes()).sum();
        variables + self.coords.iter().map(|(_, c)| c.byte_count()).sum::<u64>()
    }

    /// The dataset with a variable added or replaced; its coordinates join the dataset's.
    ///
    /// # Errors
    /// If a dimension has another length here, or labels along one differ, or the name is that of a coordinate.
    pub fn assign(&self, name: &str, array: &DataArray) -> Result<Dataset> {
        let mut with = self.clone();
        if self.coords.get(name).or(array.coords.get(name)).is_some() {
            return Err(crate::shape::both(name));
        }
        let others: Vec<_> = self.variables.iter().filter(|(n, _)| n != name).collect();
        for (dim, &size) in array.dims.iter().zip(array.shape()) {
            for (other, variable) in &others {
                if let Some(axis) = variable.dims.iter().position(|d| d == dim)
                    && variable.shape()[axis] != size
                {
                    return Err(LabelError::DimConflict {
                        dim: dim.clone(),
                        first: other.clone(),
                        first_size: variable.shape()[axis],
                        second: name.to_owned(),
                        second_size: size,
                    });
                }
            }
        }
        for (key, coord) in array.coords.iter() {
            match self.coords.get(key) {
                Some(ours) if coord.dims.iter().any(|d| d == key) && !ours.same(coord) => {
                    return Err(LabelError::Invalid(format!(
                        "the labels along `{key}` of `{name}` differ from the dataset's: {}; `merge` joins them, or select the same range",
                        crate::align::difference(("the dataset", ours.values()?), (name, coord.values()?))
                    )));
                }
                Some(_) => {}
                None => with.coords.insert(key, coord.clone()),
            }
        }
        let variable = array.named(name);
        match with.variables.iter_mut().find(|(n, _)| n == name) {
            Some(slot) => slot.1 = variable,
            None => with.variables.push((name.to_owned(), variable)),
        }
        Ok(with)
    }

    /// The dataset with labels along one of its dimensions.
    ///
    /// # Errors
    /// If the number of labels is not the dimension's length.
    pub fn assign_coord(&self, dim: &str, values: impl Into<Values>) -> Result<Dataset> {
        let values = values.into();
        if self.variables.iter().any(|(name, _)| name == dim) {
            return Err(crate::shape::both(dim));
        }
        if let Some((_, size)) = self.sizes().into_iter().find(|(d, _)| d == dim)
            && size != values.len() as u64
        {
            return Err(LabelError::Sizes {
                operation: "assign_coord".to_owned(),
                dim: dim.to_owned(),
                left: self.describe(),
                left_size: size,
                right: "the labels".to_owned(),
                right_size: values.len() as u64,
            });
        }
        let with = self.each(|variable| {
            if variable.dims.iter().any(|d| d == dim) {
                variable.assign_coord(dim, values.clone())
            } else {
                Ok(variable.clone())
            }
        })?;
        let mut coords = self.coords.clone();
        coords.insert(dim, Arc::new(Coord::line(dim, values, Attributes::new())));
        Ok(Dataset { coords, ..with })
    }

    /// The dataset with a variable of text, which lies among the coordinates: `assign_text("station", ["point"], names)`.
    ///
    /// # Errors
    /// If there are more or fewer texts than the dimensions have positions, or a dimension does not exist.
    pub fn assign_text<T: AsRef<str>>(
        &self,
        name: &str,
        dims: impl IntoIterator<Item = T>,
        values: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Dataset> {
        let dims: Vec<String> = dims.into_iter().map(|dim| dim.as_ref().to_owned()).collect();
        let text: Vec<String> = values.into_iter().map(Into::into).collect();
        let shape: Vec<u64> = dims.iter().map(|dim| self.size(dim)).collect::<Result<_>>()?;
        if shape.iter().product::<u64>() != text.len() as u64 || self.variables.iter().any(|(n, _)| n == name)
        {
            return Err(LabelError::Invalid(format!(
                "{} texts for `{name}` along ({}) of shape {shape:?}: give one for each, under a name that is free",
                text.len(),
                dims.join(", ")
            )));
        }
        let mut with = self.clone();
        with.coords.insert(name, Arc::new(Coord::new(dims, shape, text.into(), Attributes::new())));
        with.text.retain(|own| own != name);
        with.text.push(name.to_owned());
        Ok(with)
    }

    /// The same without one variable.
    ///
    /// # Errors
    /// [`LabelError::NoVariable`].
    pub fn drop_var(&self, name: &str) -> Result<Dataset> {
        if self.coords.get(name).is_none() {
            self.var(name)?;
        }
        let mut without = self.clone();
        without.variables.retain(|(n, _)| n != name);
        without.coords.retain(|n, _| n != name);
        without.variables.iter_mut().for_each(|(_, variable)| variable.coords.retain(|n, _| n != name));
        Ok(without)
    }

    /// Only these variables, with their coordinates.
    ///
    /// # Errors
    /// [`LabelError::NoVariable`].
    pub fn select<T: AsRef<str>>(&self, names: impl IntoIterator<Item = T>) -> Result<Dataset> {
        let (mut chosen, mut coords) = (Vec::new(), Vec::new());
        for name in names {
            let name = name.as_ref();
            match self.coords.get(name) {
                Some(coord) => coords.push((name.to_owned(), coord.clone())),
                None => chosen.push((name.to_owned(), self.var(name)?)),
            }
        }
        let mut selected = Dataset::from_variables(chosen, self.attrs.clone())?;
        for (name, coord) in coords {
            // With the labels along its dimensions, as variables have them.
            for dim in coord.dims() {
                if let Some(index) = self.coords.index(dim) {
                    selected.coords.insert(dim, index.clone());
                }
            }
            selected.coords.insert(&name, coord);
            if self.text.contains(&name) {
                selected.text.push(name);
            }
        }
        Ok(selected)
    }

    /// A change of every variable; coordinates stay.
    pub(crate) fn each(&self, mut change: impl FnMut(&DataArray) -> Result<DataArray>) -> Result<Dataset> {
        let variables: Result<Vec<_>> =
            self.variables.iter().map(|(name, variable)| Ok((name.clone(), change(variable)?))).collect();
        Ok(Dataset { variables: variables?, ..self.clone() })
    }

    /// Applies a change to variables that have a dimension, and keeps the others; `coords` are the coordinates after.
    pub(crate) fn along(
        &self,
        dim: &str,
        coords: Coords,
        mut change: impl FnMut(&DataArray) -> Result<DataArray>,
    ) -> Result<Dataset> {
        let changed = self.each(|variable| {
            if variable.dims.iter().any(|d| d == dim) { change(variable) } else { Ok(variable.clone()) }
        })?;
        Ok(Dataset { coords, ..changed })
    }

    pub(crate) fn size(&self, dim: &str) -> Result<u64> {
        let sizes = self.sizes();
        sizes.iter().find(|(d, _)| d == dim).map(|(_, size)| *size).ok_or_else(|| LabelError::NoDim {
            owner: self.describe(),
            dim: dim.to_owned(),
            dims: sizes.iter().map(|(d, _)| d.clone()).collect(),
        })
    }

    /// [`DataArray::isel`] of every variable that has the dimension.
    ///
    /// # Errors
    /// As [`DataArray::isel`].
    pub fn isel(&self, dim: &str, pick: impl Into<Pick>) -> Result<Dataset> {
        let positions = pick.into().resolve_in(dim, self.size(dim)?, &self.coords)?;
        let coords = self.coords.isel(dim, &positions)?;
        self.along(dim, coords, |variable| variable.take(variable.axis(dim)?, &positions))
    }

    /// [`DataArray::sel`] of every variable that has the dimension.
    ///
    /// # Errors
    /// As [`DataArray::sel`].
    pub fn sel(&self, dim: &str, labels: impl Into<Selection>) -> Result<Dataset> {
        self.sel_matching(dim, &labels.into(), crate::select::Matching::Exact)
    }

    /// [`DataArray::sel_nearest`] of every variable that has the dimension.
    ///
    /// # Errors
    /// As [`DataArray::sel`].
    pub fn sel_nearest(&self, dim: &str, labels: impl Into<Selection>) -> Result<Dataset> {
        self.sel_matching(dim, &labels.into(), crate::select::Matching::Nearest)
    }

    fn sel_matching(
        &self,
        dim: &str,
        selection: &Selection,
        matching: crate::select::Matching,
    ) -> Result<Dataset> {
        self.size(dim)?;
        let index = self.coord(dim)?;
        let positions = selection.resolve(dim, index.values()?, matching)?;
        let coords = self.coords.isel(dim, &positions)?;
        self.along(dim, coords, |variable| variable.take(variable.axis(dim)?, &positions))
    }

    /// Reduces every variable over those of the dimensions that it has.
    pub(crate) fn reduced(
        &self,
        dims: &Dims,
        reduce: impl Fn(&DataArray, Dims) -> Result<DataArray>,
    ) -> Result<Dataset> {
        if let Dims::Named(names) = dims {
            for name in names {
                self.size(name)?;
            }
        }
        let gone = |dim: &String| match dims {
            Dims::All => true,
            Dims::Named(names) => names.contains(dim),
        };
        let reduced = self.each(|variable| {
            let own: Vec<String> = variable.dims.iter().filter(|dim| gone(dim)).cloned().collect();
            if own.is_empty() { Ok(variable.clone()) } else { reduce(variable, Dims::Named(own)) }
        })?;
        let mut coords = self.coords.clone();
        coords.retain(|_, coord| !coord.dims.iter().any(gone));
        Ok(Dataset { coords, ..reduced })
    }

    /// Computes every variable in one run.
    ///
    /// # Errors
    /// As [`DataArray::compute`].
    pub fn compute(&self) -> Result<Dataset> {
        let arrays: Vec<Array> = self.variables.iter().map(|(_, variable)| variable.array.clone()).collect();
        if arrays.is_empty() {
            return Ok(self.clone());
        }
        let mut chunks = nuna_array::compute(&arrays, &nuna_array::engine())?.into_iter();
        self.each(|variable| {
            let chunk = chunks
                .next()
                .ok_or_else(|| LabelError::Invalid("the engine gave fewer results than asked".to_owned()))?;
            Ok(DataArray { array: Array::from_chunk(chunk.clone()), loaded: Some(chunk), ..variable.clone() })
        })
    }

    /// What [`compute`](Dataset::compute) would do: stages, blocks, bytes read and moved, memory per block.
    ///
    /// # Errors
    /// As [`DataArray::explain`].
    pub fn explain(&self) -> Result<String> {
        let arrays: Vec<Array> = self.variables.iter().map(|(_, variable)| variable.array.clone()).collect();
        Ok(nuna_array::explain(&arrays, &nuna_array::engine())?)
    }

    /// Computes every variable and leaves the chunks on the workers.
    ///
    /// # Errors
    /// As [`DataArray::compute`].
    pub fn persist(&self) -> Result<Dataset> {
        self.each(DataArray::persist)
    }

    /// [`DataArray::rechunk`] of every variable, for the dimensions that it has.
    ///
    /// # Errors
    /// As [`DataArray::rechunk`].
    pub fn rechunk<T: AsRef<str>>(&self, chunks: impl IntoIterator<Item = (T, i64)>) -> Result<Dataset> {
        let chunks: BTreeMap<String, i64> =
            chunks.into_iter().map(|(dim, n)| (dim.as_ref().to_owned(), n)).collect();
        for dim in chunks.keys() {
            self.size(dim)?;
        }
        self.each(|variable| {
            variable.rechunk(
                chunks.iter().filter(|(dim, _)| variable.dims.contains(dim)).map(|(dim, n)| (dim, *n)),
            )
        })
    }

    /// Renames a variable, a dimension or a coordinate.
    ///
    /// # Errors
    /// If there is nothing of that name, or the new one is taken.
    pub fn rename(&self, from: &str, to: &str) -> Result<Dataset> {
        let is_variable = self.variables.iter().any(|(name, _)| name == from);
        if !is_variable && self.coords.get(from).is_none() {
            self.size(from)?;
        }
        let taken = self.variables.iter().any(|(name, _)| name == to) || self.coords.get(to).is_some();
        if from != to && taken {
            return Err(LabelError::Invalid(format!("{} has a `{to}` already", self.describe())));
        }
        let mut renamed = self.each(|variable| {
            let concerned = variable.dims.iter().any(|d| d == from) || variable.coords.get(from).is_some();
            if concerned { variable.rename(from, to) } else { Ok(variable.clone()) }
        })?;
        for (name, variable) in &mut renamed.variables {
            if name == from {
                *variable = variable.named(to);
                to.clone_into(name);
            }
        }
        renamed.coords = self.coords.rename(from, to)?;
        renamed.text.iter_mut().filter(|name| *name == from).for_each(|name| to.clone_into(name));
        Ok(renamed)
    }
}

macro_rules! reductions {
    ($($name:ident),*) => {
        impl Dataset {$(
            /// Of every variable, over those of the dimensions that it has. NaNs are skipped.
            ///
            /// # Errors
            /// [`LabelError::NoDim`] if no variable has a dimension.
            pub fn $name(&self, dims: impl IntoDims) -> Result<Dataset> {
                self.reduced(&dims.into_dims(), |variable, dims| variable.$name(dims))
            }
        )*}
    };
}
reductions!(sum, prod, mean, min, max, std, count, any, all, median);

impl Index<&str> for Dataset {
    type Output = DataArray;

    /// The variable of that name; [`Dataset::var`] returns an error instead of panicking.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    fn index(&self, name: &str) -> &DataArray {
        match self.variables.iter().find(|(n, _)| n == name) {
            Some((_, variable)) => variable,
            None => match self.var(name) {
                Ok(_) => panic!("`{name}` is a coordinate; use `var(\"{name}\")?`"),
                Err(error) => panic!("{error}"),
            },
        }
    }
}
