//! Owns coordinates: labels along one or more dimensions, in memory once they are looked at. Arrays share them.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use nuna_chunk::Chunk;
use nuna_storage::{Attributes, Source, StorageError};

use crate::{
    Result,
    positions::Positions,
    time::{TimeUnits, Times},
};

/// Labels in C order.
#[derive(Clone, Debug)]
pub enum Values {
    Numbers(Chunk),
    Times(Times),
    Text(Arc<[String]>),
}

/// Named labels. Cheap to clone through [`Coords`].
#[derive(Debug)]
pub struct Coord {
    pub(crate) dims: Vec<String>,
    pub(crate) shape: Vec<u64>,
    pub(crate) attrs: Attributes,
    data: Data,
}

#[derive(Debug)]
enum Data {
    Loaded(Values),
    /// Read when first looked at.
    Stored {
        source: Source,
        values: OnceLock<Result<Values, StorageError>>,
    },
}

impl Values {
    pub fn len(&self) -> usize {
        match self {
            Values::Numbers(chunk) => chunk.len(),
            Values::Times(times) => times.len(),
            Values::Text(text) => text.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As xarray prints the dtype.
    pub fn dtype_name(&self) -> String {
        match self {
            Values::Numbers(chunk) => chunk.dtype().name().to_owned(),
            Values::Times(times) if times.calendar.is_gregorian() => "datetime64[us]".to_owned(),
            Values::Times(times) => format!("datetime64[us, {}]", times.calendar),
            Values::Text(_) => "string".to_owned(),
        }
    }

    pub fn byte_count(&self) -> u64 {
        match self {
            Values::Numbers(chunk) => chunk.byte_count(),
            Values::Times(times) => times.len() as u64 * 8,
            Values::Text(text) => text.iter().map(|t| t.len() as u64).sum(),
        }
    }

    /// One label as it is printed.
    pub fn show(&self, index: usize) -> String {
        match self {
            Values::Numbers(chunk) => crate::format::number(chunk.get(index)),
            Values::Times(times) => times.short(index),
            Values::Text(text) => format!("'{}'", text[index]),
        }
    }

    pub(crate) fn same(&self, other: &Values) -> bool {
        match (self, other) {
            (Values::Numbers(a), Values::Numbers(b)) => {
                a.len() == b.len()
                    && (a.dtype() == b.dtype() && a.bytes() == b.bytes() || self.keys() == other.keys())
            }
            (Values::Times(a), Values::Times(b)) => {
                a.micros == b.micros
                    && (a.calendar == b.calendar || (a.calendar.is_gregorian() && b.calendar.is_gregorian()))
            }
            (Values::Text(a), Values::Text(b)) => a == b,
            _ => false,
        }
    }

    /// Keys that are equal exactly where labels are, for look-ups.
    pub(crate) fn keys(&self) -> Vec<Key> {
        match self {
            Values::Numbers(chunk) => match whole(chunk) {
                Some(numbers) => numbers.into_iter().map(Key::Whole).collect(),
                None => chunk.to_vec::<f64>().into_iter().map(Key::number).collect(),
            },
            Values::Times(times) => times.micros.iter().map(|&t| Key::Time(t)).collect(),
            Values::Text(text) => text.iter().map(|t| Key::Text(t.clone())).collect(),
        }
    }

    /// The labels at flat positions.
    pub(crate) fn take(&self, shape: &[u64], positions: &[usize]) -> Values {
        match self {
            Values::Numbers(chunk) => {
                let size = chunk.dtype().size();
                let mut bytes = Vec::with_capacity(positions.len() * size);
                for &at in positions {
                    bytes.extend_from_slice(&chunk.bytes()[at * size..(at + 1) * size]);
                }
                let taken = Chunk::new(chunk.dtype(), shape, Bytes::from(bytes));
                Values::Numbers(taken.expect("as many elements as the shape has, of the chunk's own dtype"))
            }
            Values::Times(times) => Values::Times(Times {
                calendar: times.calendar,
                micros: positions.iter().map(|&at| times.micros[at]).collect(),
            }),
            Values::Text(text) => Values::Text(positions.iter().map(|&at| text[at].clone()).collect()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Key {
    /// A whole number, of whatever dtype: identifiers of 64 bits are told apart.
    Whole(i128),
    /// The bits of any other.
    Bits(u64),
    Time(i64),
    Text(String),
}

impl Key {
    #[expect(clippy::cast_possible_truncation, reason = "whole, and within the range")]
    pub(crate) fn number(x: f64) -> Key {
        match x {
            x if x.fract() == 0.0 && x.abs() < 1e38 => Key::Whole(x as i128),
            x if x.is_nan() => Key::Bits(f64::NAN.to_bits()),
            x => Key::Bits(x.to_bits()),
        }
    }
}

/// The numbers of a chunk of integers or bools, exactly.
pub(crate) fn whole(chunk: &Chunk) -> Option<Vec<i128>> {
    match chunk.dtype() {
        dtype if dtype.has_nan() => None,
        nuna_chunk::DType::U64 => Some(chunk.to_vec::<u64>().into_iter().map(i128::from).collect()),
        _ => Some(chunk.to_vec::<i64>().into_iter().map(i128::from).collect()),
    }
}

impl Coord {
    pub(crate) fn new(dims: Vec<String>, shape: Vec<u64>, values: Values, attrs: Attributes) -> Self {
        debug_assert_eq!(shape.iter().product::<u64>(), values.len() as u64);
        Self { dims, shape, attrs, data: Data::Loaded(values) }
    }

    pub(crate) fn line(dim: &str, values: Values, attrs: Attributes) -> Self {
        Self::new(vec![dim.to_owned()], vec![values.len() as u64], values, attrs)
    }

    pub(crate) fn stored(dims: Vec<String>, source: Source, attrs: Attributes) -> Self {
        let shape = source.shape().to_vec();
        Self { dims, shape, attrs, data: Data::Stored { source, values: OnceLock::new() } }
    }

    pub fn dims(&self) -> &[String] {
        &self.dims
    }

    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    pub fn attrs(&self) -> &Attributes {
        &self.attrs
    }

    /// The labels, read from the store at the first call.
    ///
    /// # Errors
    /// If they cannot be read, or are complex numbers: those have no order, so nothing can be looked up in them.
    pub fn values(&self) -> Result<&Values> {
        let values = match &self.data {
            Data::Loaded(values) => values,
            Data::Stored { source, values } => {
                let read = || match source.is_text() {
                    true => source.read_all_text().map(|text| Values::Text(text.into())),
                    false => source.read_all().map(Values::Numbers),
                };
                let values = values.get_or_init(read);
                values.as_ref().map_err(Clone::clone)?
            }
        };
        if let Values::Numbers(chunk) = values
            && chunk.dtype().is_complex()
        {
            return Err(crate::LabelError::Invalid(format!(
                "a coordinate along ({}) holds {}, which cannot be labels; rename it, or write its parts as two",
                self.dims.join(", "),
                chunk.dtype()
            )));
        }
        Ok(values)
    }

    /// The labels as an array along the coordinate's dimensions, named by nothing: `ds.coord("lat")?.to_array()?.to_radians()?`.
    ///
    /// # Errors
    /// If they are times or text, or cannot be read.
    pub fn to_array(&self) -> Result<crate::DataArray> {
        let chunk = numbers_only(&self.dims.join(", "), self.values()?)?.reshape(&self.shape);
        let chunk = chunk.map_err(nuna_array::ArrayError::from)?;
        let array = crate::DataArray::from_chunk(chunk, &self.dims)?;
        Ok(crate::DataArray { attrs: self.attrs.clone(), ..array })
    }

    /// The labels if they are in memory.
    pub(crate) fn loaded(&self) -> Option<&Values> {
        match &self.data {
            Data::Loaded(values) => Some(values),
            Data::Stored { values, .. } => values.get()?.as_ref().ok(),
        }
    }

    /// The stored array, if it holds numbers that have not been read.
    pub(crate) fn source(&self) -> Option<&Source> {
        match &self.data {
            Data::Stored { source, values } if values.get().is_none() && !source.is_text() => Some(source),
            _ => None,
        }
    }

    /// Where the labels are stored, whether they have been read or not.
    pub(crate) fn address(&self) -> Option<&Source> {
        match &self.data {
            Data::Stored { source, .. } => Some(source),
            Data::Loaded(_) => None,
        }
    }

    pub(crate) fn dtype_name(&self) -> String {
        match &self.data {
            Data::Loaded(values) => values.dtype_name(),
            Data::Stored { source, .. } if source.is_text() => "string".to_owned(),
            Data::Stored { source, .. } => source.dtype().name().to_owned(),
        }
    }

    pub(crate) fn byte_count(&self) -> u64 {
        match &self.data {
            Data::Loaded(values) => values.byte_count(),
            Data::Stored { source, .. } => self.shape.iter().product::<u64>() * source.dtype().size() as u64,
        }
    }

    pub(crate) fn same(&self, other: &Coord) -> bool {
        if std::ptr::eq(self, other) {
            return true;
        }
        self.dims == other.dims
            && self.shape == other.shape
            && matches!((self.values(), other.values()), (Ok(a), Ok(b)) if a.same(b))
    }

    /// The labels that remain when `positions` are taken along `dim`.
    pub(crate) fn isel(&self, dim: &str, positions: &Positions) -> Result<Coord> {
        let Some(axis) = self.dims.iter().position(|d| d == dim) else {
            return Err(crate::LabelError::Invalid(format!(
                "no dimension `{dim}` in a coordinate along ({})",
                self.dims.join(", ")
            )));
        };
        let along = positions.list();
        let count = |shape: &[u64]| usize::try_from(shape.iter().product::<u64>()).unwrap_or(usize::MAX);
        let (outer, inner) = (count(&self.shape[..axis]), count(&self.shape[axis + 1..]));
        let length = count(&self.shape[axis..=axis]);
        let mut flat = Vec::with_capacity(outer * along.len() * inner);
        for o in 0..outer {
            for &at in &along {
                let start = (o * length + at) * inner;
                flat.extend(start..start + inner);
            }
        }
        let (mut dims, mut shape) = (self.dims.clone(), self.shape.clone());
        if positions.is_single() {
            dims.remove(axis);
            shape.remove(axis);
        } else {
            shape[axis] = along.len() as u64;
        }
        let values = self.values()?.take(&shape, &flat);
        Ok(Coord::new(dims, shape, values, self.attrs.clone()))
    }

    /// Dimensions in the order in which they stand in `dims`.
    pub(crate) fn transpose(self: &Arc<Self>, dims: &[String]) -> Result<Arc<Coord>> {
        let order: Vec<usize> =
            dims.iter().filter_map(|dim| self.dims.iter().position(|d| d == dim)).collect();
        if order.iter().copied().eq(0..self.dims.len()) {
            return Ok(self.clone());
        }
        let shape: Vec<u64> = order.iter().map(|&axis| self.shape[axis]).collect();
        let grid = nuna_plan::BlockGrid::new(shape.iter().copied());
        let flat: Vec<usize> = (0..grid.count())
            .map(|number| {
                let coords = grid.coords(number);
                let at = |axis: usize| order.iter().position(|&o| o == axis).map_or(0, |i| coords[i]);
                let index = (0..self.dims.len()).fold(0, |index, axis| index * self.shape[axis] + at(axis));
                usize::try_from(index).unwrap_or(usize::MAX)
            })
            .collect();
        let dims = order.iter().map(|&axis| self.dims[axis].clone()).collect();
        let values = self.values()?.take(&shape, &flat);
        Ok(Arc::new(Coord::new(dims, shape, values, self.attrs.clone())))
    }

    /// The same labels, dimensions renamed.
    pub(crate) fn with_dims(&self, dims: Vec<String>) -> Result<Coord> {
        Ok(Coord::new(dims, self.shape.clone(), self.values()?.clone(), self.attrs.clone()))
    }
}

/// Turns numbers with CF units of time into times; the attributes that said so leave `attrs`.
pub(crate) fn decode_times(values: Values, attrs: &mut Attributes) -> Values {
    let text = |key: &str| attrs.get(key).and_then(|value| value.as_str()).map(str::to_owned);
    let Values::Numbers(chunk) = &values else { return values };
    let Some(units) = text("units") else { return values };
    let Some(times) =
        TimeUnits::parse(&units, text("calendar").as_deref()).and_then(|units| units.decode(chunk))
    else {
        return values;
    };
    attrs.shift_remove("units");
    attrs.shift_remove("calendar");
    Values::Times(times)
}

/// Named coordinates in order. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Coords(Vec<(String, Arc<Coord>)>);

impl Coords {
    pub fn get(&self, name: &str) -> Option<&Arc<Coord>> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, coord)| coord)
    }

    /// The labels along a dimension: the one-dimensional coordinate of its name.
    pub fn index(&self, dim: &str) -> Option<&Arc<Coord>> {
        self.get(dim).filter(|coord| coord.dims == [dim])
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<Coord>)> {
        self.0.iter().map(|(name, coord)| (name.as_str(), coord))
    }

    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn insert(&mut self, name: &str, coord: Arc<Coord>) {
        match self.0.iter_mut().find(|(n, _)| n == name) {
            Some(slot) => slot.1 = coord,
            None => self.0.push((name.to_owned(), coord)),
        }
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&str, &Coord) -> bool) {
        self.0.retain(|(name, coord)| keep(name, coord));
    }

    /// Those whose dimensions are all among `dims`.
    pub(crate) fn within(&self, dims: &[String]) -> Coords {
        self.filtered(|coord| coord.dims.iter().all(|dim| dims.contains(dim)))
    }

    /// Those that do not lie along `dim`.
    pub(crate) fn without(&self, dim: &str) -> Coords {
        self.filtered(|coord| !coord.dims.iter().any(|d| d == dim))
    }

    /// Only what is kept is cloned: a dataset may have thousands that a variable of it has not.
    fn filtered(&self, keep: impl Fn(&Coord) -> bool) -> Coords {
        Coords(self.0.iter().filter(|(_, coord)| keep(coord)).cloned().collect())
    }

    pub(crate) fn isel(&self, dim: &str, positions: &Positions) -> Result<Coords> {
        self.try_map(|_, coord| {
            if coord.dims.iter().any(|d| d == dim) {
                Ok(Arc::new(coord.isel(dim, positions)?))
            } else {
                Ok(coord.clone())
            }
        })
    }

    pub(crate) fn try_map(
        &self,
        mut change: impl FnMut(&str, &Arc<Coord>) -> Result<Arc<Coord>>,
    ) -> Result<Coords> {
        self.0
            .iter()
            .map(|(name, coord)| Ok((name.clone(), change(name, coord)?)))
            .collect::<Result<_>>()
            .map(Coords)
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<Coords> {
        let mut out = Vec::new();
        for (name, coord) in &self.0 {
            let coord = if coord.dims.iter().any(|d| d == from) {
                let dims =
                    coord.dims.iter().map(|d| if d == from { to.to_owned() } else { d.clone() }).collect();
                Arc::new(coord.with_dims(dims)?)
            } else {
                coord.clone()
            };
            out.push((if name == from { to.to_owned() } else { name.clone() }, coord));
        }
        Ok(Coords(out))
    }

    /// Both sides' coordinates. What differs stays only if it labels a dimension: the left side's if both do.
    pub(crate) fn merge(&self, other: &Coords) -> Coords {
        let mut merged = Coords::default();
        let labels = |name: &String, coord: &Coord| coord.dims == [name.clone()];
        for (name, coord) in &self.0 {
            match other.get(name) {
                Some(theirs) if labels(name, theirs) && !labels(name, coord) => {
                    merged.0.push((name.clone(), theirs.clone()));
                }
                Some(theirs) if !labels(name, coord) && !coord.same(theirs) => {}
                _ => merged.0.push((name.clone(), coord.clone())),
            }
        }
        for (name, coord) in &other.0 {
            if self.get(name).is_none() {
                merged.0.push((name.clone(), coord.clone()));
            }
        }
        merged
    }
}

/// Labels from plain Rust values.
impl From<Vec<f64>> for Values {
    fn from(values: Vec<f64>) -> Self {
        Values::Numbers(Chunk::from_slice(&[values.len() as u64], &values))
    }
}

impl From<Vec<i64>> for Values {
    fn from(values: Vec<i64>) -> Self {
        Values::Numbers(Chunk::from_slice(&[values.len() as u64], &values))
    }
}

impl From<Vec<&str>> for Values {
    fn from(values: Vec<&str>) -> Self {
        Values::Text(values.into_iter().map(str::to_owned).collect())
    }
}

impl From<Vec<String>> for Values {
    fn from(values: Vec<String>) -> Self {
        Values::Text(values.into())
    }
}

impl From<Times> for Values {
    fn from(times: Times) -> Self {
        Values::Times(times)
    }
}

/// For coordinates that become data.
pub(crate) fn numbers_only(name: &str, values: &Values) -> Result<Chunk> {
    match values {
        Values::Numbers(chunk) => Ok(chunk.clone()),
        Values::Times(_) | Values::Text(_) => Err(crate::LabelError::Invalid(format!(
            "`{name}` holds {}, which arrays cannot compute with; look at it with `coord(\"{name}\")?`, compare it with `equal`, `isin` and the like of that",
            values.dtype_name()
        ))),
    }
}
