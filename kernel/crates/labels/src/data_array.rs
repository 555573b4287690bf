//! Owns [`DataArray`]: an array with names for its axes, coordinates along them, attributes and a name; selection,
//! shape and the calls that compute.

use std::sync::Arc;

use ndarray::ArrayD;
use nuna_array::{Array, Block, DType, MapBlocks};
use nuna_chunk::{Chunk, ChunkError, Element};
use nuna_ship::Ship;
use nuna_storage::Attributes;

use crate::{
    LabelError, Result, Times,
    coord::{Coord, Coords, Values, decode_times},
    dims::{Dims, IntoDims},
    label::Selection,
    positions::{Pick, Positions},
    select::Matching,
};

/// A lazy, chunked array with labels. Cloning shares everything; nothing is computed until
/// [`compute`](DataArray::compute), [`persist`](DataArray::persist) or [`to_zarr`](DataArray::to_zarr).
#[derive(Clone, Debug)]
pub struct DataArray {
    pub(crate) array: Array,
    pub(crate) dims: Vec<String>,
    pub(crate) coords: Coords,
    pub(crate) attrs: Attributes,
    pub(crate) name: Option<String>,
    /// The elements, once computed: for views, plots and conversions without a further computation.
    pub(crate) loaded: Option<Chunk>,
}

/// Refuses dimensions of which two have one name.
pub(crate) fn distinct(dims: &[String]) -> Result<()> {
    match dims.iter().enumerate().find(|(i, dim)| dims[..*i].contains(dim)) {
        Some((_, dim)) => Err(LabelError::DimTwice { dim: dim.clone(), dims: dims.to_vec() }),
        None => Ok(()),
    }
}

impl DataArray {
    /// Names the axes of an array.
    ///
    /// # Errors
    /// If there is not one name per axis, or a name stands twice.
    pub fn new<T: AsRef<str>>(array: Array, dims: impl IntoIterator<Item = T>) -> Result<Self> {
        let dims: Vec<String> = dims.into_iter().map(|dim| dim.as_ref().to_owned()).collect();
        if dims.len() != array.ndim() {
            return Err(LabelError::Invalid(format!(
                "{} names ({}) for an array of {} axes, shape {:?}",
                dims.len(),
                dims.join(", "),
                array.ndim(),
                array.shape()
            )));
        }
        distinct(&dims)?;
        Ok(Self {
            array,
            dims,
            coords: Coords::default(),
            attrs: Attributes::new(),
            name: None,
            loaded: None,
        })
    }

    /// An array whose elements are in memory.
    ///
    /// # Errors
    /// As [`DataArray::new`].
    pub fn from_chunk<T: AsRef<str>>(chunk: Chunk, dims: impl IntoIterator<Item = T>) -> Result<Self> {
        let mut made = Self::new(Array::from_chunk(chunk.clone()), dims)?;
        made.loaded = Some(chunk);
        Ok(made)
    }

    pub fn dims(&self) -> &[String] {
        &self.dims
    }

    pub fn shape(&self) -> &[u64] {
        self.array.shape()
    }

    pub fn ndim(&self) -> usize {
        self.dims.len()
    }

    pub fn dtype(&self) -> DType {
        self.array.dtype()
    }

    /// Number of elements.
    pub fn size(&self) -> u64 {
        self.shape().iter().product()
    }

    /// Bytes it takes computed.
    pub fn nbytes(&self) -> u64 {
        self.array.byte_count()
    }

    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub fn attrs(&self) -> &Attributes {
        &self.attrs
    }

    /// The array without its labels.
    pub fn array(&self) -> &Array {
        &self.array
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

    /// For messages: `` `theta` `` or its expression.
    pub(crate) fn describe(&self) -> String {
        match &self.name {
            Some(name) => format!("`{name}`"),
            None => format!("`{}`", self.array.expression()),
        }
    }

    /// The position of a dimension.
    ///
    /// # Errors
    /// [`LabelError::NoDim`], listing those there are.
    pub fn axis(&self, dim: &str) -> Result<usize> {
        self.dims.iter().position(|d| d == dim).ok_or_else(|| LabelError::NoDim {
            owner: self.describe(),
            dim: dim.to_owned(),
            dims: self.dims.clone(),
        })
    }

    /// Positions of the named dimensions, each once.
    pub(crate) fn axes(&self, dims: impl IntoDims) -> Result<Vec<usize>> {
        match dims.into_dims() {
            Dims::All => Ok((0..self.ndim()).collect()),
            Dims::Named(names) => {
                let mut axes = Vec::with_capacity(names.len());
                for name in &names {
                    let axis = self.axis(name)?;
                    if axes.contains(&axis) {
                        return Err(LabelError::DimTwice { dim: name.clone(), dims: names });
                    }
                    axes.push(axis);
                }
                Ok(axes)
            }
        }
    }

    /// The same labels on another array of the same dimensions.
    pub(crate) fn with_array(&self, array: Array) -> Self {
        Self { array, loaded: None, ..self.clone() }
    }

    /// The same under another name.
    #[must_use]
    pub fn named(&self, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..self.clone() }
    }

    /// The same with one attribute set.
    #[must_use]
    pub fn with_attr(&self, key: &str, value: impl Into<serde_json::Value>) -> Self {
        let mut with = self.clone();
        with.attrs.insert(key.to_owned(), value.into());
        with
    }

    /// The same with labels along one of its dimensions.
    ///
    /// # Errors
    /// If there is no such dimension, or the lengths differ.
    pub fn assign_coord(&self, dim: &str, values: impl Into<Values>) -> Result<Self> {
        let (axis, values) = (self.axis(dim)?, values.into());
        let size = self.shape()[axis];
        if values.len() as u64 != size {
            return Err(LabelError::Invalid(format!(
                "{} labels for dimension `{dim}` of length {size}",
                values.len()
            )));
        }
        let mut with = self.clone();
        with.coords.insert(dim, Arc::new(Coord::line(dim, values, Attributes::new())));
        Ok(with)
    }

    /// Takes positions along a dimension: `isel("time", 0)`, `isel("lat", 10..20)`, `isel("lon", [3, 1])`,
    /// `isel("time", slice(0, None, 12))`, or those at which a mask along it is true:
    /// `isel("time", &ds.dt("time.month")?.isin([6, 7, 8])?)`. One position takes the dimension away.
    ///
    /// # Errors
    /// [`LabelError::NoDim`], or [`LabelError::Position`] for a position beyond the end; a mask that is not along the dimension.
    pub fn isel(&self, dim: &str, pick: impl Into<Pick>) -> Result<Self> {
        let axis = self.axis(dim)?;
        self.take(axis, &pick.into().resolve_in(dim, self.shape()[axis], &self.coords)?)
    }

    /// Takes labels along a dimension: `sel("lat", 30.0)`, `sel("time", "2001-06")`, `sel("time", "2000".."2002")`,
    /// `sel("lat", -30.0..=30.0)`. A date coarser than the labels takes all that lie in it, as in pandas.
    ///
    /// # Errors
    /// [`LabelError::NoLabel`] with the nearest one there is, [`LabelError::NoCoord`] for a dimension without labels.
    pub fn sel(&self, dim: &str, labels: impl Into<Selection>) -> Result<Self> {
        self.sel_matching(dim, &labels.into(), Matching::Exact)
    }

    /// As [`sel`](DataArray::sel), with the nearest label there is.
    ///
    /// # Errors
    /// As [`sel`](DataArray::sel).
    pub fn sel_nearest(&self, dim: &str, labels: impl Into<Selection>) -> Result<Self> {
        self.sel_matching(dim, &labels.into(), Matching::Nearest)
    }

    fn sel_matching(&self, dim: &str, selection: &Selection, matching: Matching) -> Result<Self> {
        let axis = self.axis(dim)?;
        let index = self.index(dim)?;
        self.take(axis, &selection.resolve(dim, index.values()?, matching)?)
    }

    /// The labels along a dimension.
    pub(crate) fn index(&self, dim: &str) -> Result<&Arc<Coord>> {
        self.coords.index(dim).ok_or_else(|| LabelError::NoCoord {
            owner: self.describe(),
            name: dim.to_owned(),
            have: self.coords.names(),
        })
    }

    pub(crate) fn take(&self, axis: usize, positions: &Positions) -> Result<Self> {
        let array = positions.of(&self.array, axis)?;
        let mut dims = self.dims.clone();
        let coords = self.coords.isel(&dims[axis], positions)?;
        if positions.is_single() {
            dims.remove(axis);
        }
        Ok(Self { array, dims, coords, loaded: None, ..self.clone() })
    }

    /// Dimensions in another order.
    ///
    /// # Errors
    /// If `dims` does not name every dimension once.
    pub fn transpose(&self, dims: impl IntoDims) -> Result<Self> {
        let order = match dims.into_dims() {
            Dims::All => (0..self.ndim()).rev().collect(),
            named @ Dims::Named(_) => self.axes(named)?,
        };
        if order.len() != self.ndim() {
            return Err(LabelError::Invalid(format!(
                "transpose of {} names {} of its {} dimensions ({})",
                self.describe(),
                order.len(),
                self.ndim(),
                self.dims.join(", ")
            )));
        }
        let dims: Vec<String> = order.iter().map(|&axis| self.dims[axis].clone()).collect();
        let coords = self.coords.try_map(|_, coord| coord.transpose(&dims))?;
        Ok(Self { dims, coords, ..self.with_array(self.array.transpose(&order)?) })
    }

    /// Renames a dimension, a coordinate, or both of the same name.
    ///
    /// # Errors
    /// If there is neither, or the new name is taken.
    pub fn rename(&self, from: &str, to: &str) -> Result<Self> {
        if self.coords.get(from).is_none() {
            self.axis(from)?;
        }
        if from != to && (self.dims.iter().any(|d| d == to) || self.coords.get(to).is_some()) {
            return Err(LabelError::Invalid(format!("{} has a `{to}` already", self.describe())));
        }
        let dims = self.dims.iter().map(|d| if d == from { to.to_owned() } else { d.clone() }).collect();
        Ok(Self { dims, coords: self.coords.rename(from, to)?, ..self.clone() })
    }

    /// Cuts it into chunks of other lengths: `rechunk([("time", 100)])`; -1 is the whole dimension. Dimensions not
    /// named keep their chunks.
    ///
    /// # Errors
    /// If a dimension does not exist or a length is 0.
    pub fn rechunk<T: AsRef<str>>(&self, chunks: impl IntoIterator<Item = (T, i64)>) -> Result<Self> {
        let mut lengths = self.array.chunks().chunk_shape();
        for (dim, length) in chunks {
            let axis = self.axis(dim.as_ref())?;
            lengths[axis] = match u64::try_from(length) {
                Ok(0) => {
                    let dim = dim.as_ref();
                    return Err(LabelError::Invalid(format!(
                        "chunks of length 0 along `{dim}`; give at least 1, or -1 for one chunk"
                    )));
                }
                Ok(length) => length,
                Err(_) => self.shape()[axis].max(1),
            };
        }
        for length in &mut lengths {
            *length = (*length).max(1);
        }
        Ok(Self { loaded: self.loaded.clone(), ..self.with_array(self.array.rechunk(&lengths)?) })
    }

    /// xarray's name for [`rechunk`](DataArray::rechunk).
    ///
    /// # Errors
    /// As [`rechunk`](DataArray::rechunk).
    pub fn chunk<T: AsRef<str>>(&self, chunks: impl IntoIterator<Item = (T, i64)>) -> Result<Self> {
        self.rechunk(chunks)
    }

    /// The same values as another dtype.
    ///
    /// # Panics
    /// If complex numbers are to become real ones: take [`real`](DataArray::real), [`imag`](DataArray::imag) or
    /// [`abs`](DataArray::abs) first.
    #[must_use]
    #[track_caller]
    pub fn astype(&self, dtype: DType) -> Self {
        self.with_array(self.array.astype(dtype))
    }

    /// Applies a function to every block, as native code where the block is. The result has the same dimensions.
    ///
    /// # Errors
    /// If the closure cannot travel, or the result would have another shape.
    pub fn map_blocks<F>(&self, options: MapBlocks, function: F) -> Result<Self>
    where
        F: Fn(Block<'_>) -> Result<Chunk, String> + Copy + Ship + 'static,
    {
        let array = self.array.map_blocks(options, function)?;
        if array.shape() != self.shape() {
            return Err(LabelError::Invalid(format!(
                "map_blocks of {} gives shape {:?}, but its labels need {:?}; use `array().map_blocks` and label the result",
                self.describe(),
                array.shape(),
                self.shape()
            )));
        }
        Ok(self.with_array(array))
    }

    /// Computes it; the result is in memory.
    ///
    /// # Errors
    /// What failed, with the task and the cell that built it.
    pub fn compute(&self) -> Result<Self> {
        if self.loaded.is_some() {
            return Ok(self.clone());
        }
        let chunk = self.array.compute()?;
        Ok(Self { array: Array::from_chunk(chunk.clone()), loaded: Some(chunk), ..self.clone() })
    }

    /// Computes it and leaves the chunks on the workers.
    ///
    /// # Errors
    /// As [`compute`](DataArray::compute).
    pub fn persist(&self) -> Result<Self> {
        Ok(self.with_array(self.array.persist()?))
    }

    /// What computing it would do: its dimensions with their sizes and those of chunks, then the stages. Axes in the stages are in
    /// the order of the dimensions.
    ///
    /// # Errors
    /// If a part of it is held by another engine.
    pub fn explain(&self) -> Result<String> {
        let lengths = self.array.chunks().chunk_shape();
        let dims = self.dims.iter().zip(self.shape()).zip(&lengths);
        let dims: Vec<String> = dims.map(|((dim, size), chunk)| format!("{dim} {size} by {chunk}")).collect();
        let dims = if dims.is_empty() { "no dimensions".to_owned() } else { dims.join(", ") };
        Ok(format!("{} of ({dims})\n{}", self.describe(), self.array.explain()?))
    }

    /// The elements in C order, computed if need be.
    ///
    /// # Errors
    /// As [`compute`](DataArray::compute).
    pub fn to_chunk(&self) -> Result<Chunk> {
        match &self.loaded {
            Some(chunk) => Ok(chunk.clone()),
            None => Ok(self.array.compute()?),
        }
    }

    /// The elements as doubles in C order.
    ///
    /// # Errors
    /// [`LabelError::Array`] for complex numbers; else as [`compute`](DataArray::compute).
    pub fn values_f64(&self) -> Result<Vec<f64>> {
        if self.dtype().is_complex() {
            let error = ChunkError::ComplexToReal { from: self.dtype(), to: DType::F64 };
            return Err(LabelError::Array(error.into()));
        }
        Ok(self.to_chunk()?.to_vec::<f64>())
    }

    /// The elements as instants in C order, computed if need be: of a variable of times, or of what a maximum or a selection made
    /// of one. Missing elements are no times.
    ///
    /// # Errors
    /// If it has no attribute `units` such as `days since 2000-01-01`, or as [`compute`](DataArray::compute).
    pub fn to_times(&self) -> Result<Times> {
        let mut attrs = self.attrs.clone();
        match decode_times(Values::Numbers(self.to_chunk()?), &mut attrs) {
            Values::Times(times) => Ok(times),
            _ => Err(LabelError::Invalid(format!(
                "{} does not count time: its units are {}",
                self.describe(),
                self.attrs.get("units").map_or("not given".to_owned(), ToString::to_string)
            ))),
        }
    }

    /// The one element of an array without dimensions, or of length 1.
    ///
    /// # Errors
    /// If there are several, or as [`compute`](DataArray::compute).
    pub fn item(&self) -> Result<f64> {
        match self.values_f64()?.as_slice() {
            [one] => Ok(*one),
            several => Err(LabelError::Invalid(format!(
                "{} has {} elements, not one",
                self.describe(),
                several.len()
            ))),
        }
    }

    /// The elements as an `ndarray` of the array's own dtype.
    ///
    /// # Errors
    /// [`LabelError::DType`] if `T` is another; else as [`compute`](DataArray::compute).
    pub fn to_ndarray<T: Element>(&self) -> Result<ArrayD<T>> {
        if T::DTYPE != self.dtype() {
            return Err(LabelError::DType { name: self.describe(), found: self.dtype(), asked: T::DTYPE });
        }
        let chunk = self.to_chunk()?;
        let shape: Vec<usize> =
            chunk.shape().iter().map(|&n| usize::try_from(n).unwrap_or(usize::MAX)).collect();
        ArrayD::from_shape_vec(shape, chunk.to_vec::<T>())
            .map_err(|error| LabelError::Invalid(error.to_string()))
    }
}
