//! Owns labelled arrays taken apart, for another program to put together again: the arrays, whose blocks stay where they
//! are, and everything around them as bytes. Coordinates that were not read yet stay unread. Nothing is rounded.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use nuna_array::{Array, ChunkSource, DType, SourceSpec};
use nuna_chunk::Chunk;
use nuna_storage::{Attributes, Source};
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use crate::{
    DataArray, Dataset, LabelError, Result,
    calendar::Calendar,
    coord::{Coord, Coords, Values},
    time::Times,
};

#[derive(Serialize, Deserialize)]
struct Parts {
    /// Each once, however many variables share it.
    coords: Vec<CoordParts>,
    variables: Vec<VariableParts>,
    /// The dataset's own; nothing of them for a single array.
    names: Vec<(String, u32)>,
    attrs: Vec<(String, Attribute)>,
    path: Option<PathBuf>,
    /// Coordinates that are variables of text.
    text: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct VariableParts {
    key: String,
    name: Option<String>,
    dims: Vec<String>,
    coords: Vec<(String, u32)>,
    attrs: Vec<(String, Attribute)>,
}

#[derive(Serialize, Deserialize)]
struct CoordParts {
    dims: Vec<String>,
    shape: Vec<u64>,
    attrs: Vec<(String, Attribute)>,
    values: ValuesParts,
}

#[derive(Serialize, Deserialize)]
enum ValuesParts {
    Numbers(DType, Vec<u64>, Vec<u8>),
    Times(String, Vec<i64>),
    Text(Vec<String>),
    Stored(SourceSpec),
}

/// A JSON value whose numbers keep their bits.
#[derive(Serialize, Deserialize)]
enum Attribute {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    Text(String),
    List(Vec<Attribute>),
    Map(Vec<(String, Attribute)>),
}

impl DataArray {
    /// Its array, and the labels around it as bytes.
    pub fn take_apart(&self) -> (Vec<Array>, Vec<u8>) {
        let mut coords = Table::default();
        let variables = vec![coords.variable("", self)];
        let parts = Parts {
            coords: coords.parts,
            variables,
            names: Vec::new(),
            attrs: Vec::new(),
            path: None,
            text: Vec::new(),
        };
        (vec![self.array.clone()], encode(&parts))
    }

    /// What [`take_apart`](Self::take_apart) took apart, around an array of the same shape.
    ///
    /// # Errors
    /// If bytes and array do not fit.
    pub fn put_together(labels: &[u8], arrays: Vec<Array>) -> Result<Self> {
        let parts = decode(labels)?;
        let coords = coords_of(parts.coords)?;
        match (parts.variables.into_iter().next(), arrays.into_iter().next()) {
            (Some(variable), Some(array)) => Ok(variable.around(array, &coords)?.1),
            _ => Err(odd("there is no variable")),
        }
    }
}

impl Dataset {
    /// Its variables' arrays in their order, and the labels around them as bytes.
    pub fn take_apart(&self) -> (Vec<Array>, Vec<u8>) {
        let mut coords = Table::default();
        let variables = self.variables.iter().map(|(key, variable)| coords.variable(key, variable)).collect();
        let names = coords.names(&self.coords);
        let parts = Parts {
            coords: coords.parts,
            variables,
            names,
            attrs: attributes(&self.attrs),
            path: self.path.clone(),
            text: self.text.clone(),
        };
        (self.variables.iter().map(|(_, variable)| variable.array.clone()).collect(), encode(&parts))
    }

    /// What [`take_apart`](Self::take_apart) took apart, around arrays of the same shapes.
    ///
    /// # Errors
    /// If bytes and arrays do not fit.
    pub fn put_together(labels: &[u8], arrays: Vec<Array>) -> Result<Self> {
        let parts = decode(labels)?;
        let coords = coords_of(parts.coords)?;
        if parts.variables.len() != arrays.len() {
            return Err(odd(&format!("{} arrays for {} variables", arrays.len(), parts.variables.len())));
        }
        let variables: Result<Vec<_>> = parts
            .variables
            .into_iter()
            .zip(arrays)
            .map(|(variable, array)| variable.around(array, &coords))
            .collect();
        Ok(Self {
            variables: variables?,
            coords: named(parts.names, &coords)?,
            attrs: plain_attributes(parts.attrs),
            skipped: Vec::new(),
            path: parts.path,
            text: parts.text,
        })
    }
}

/// Coordinates on their way out.
#[derive(Default)]
struct Table {
    parts: Vec<CoordParts>,
    seen: Vec<Arc<Coord>>,
}

impl Table {
    fn variable(&mut self, key: &str, variable: &DataArray) -> VariableParts {
        VariableParts {
            key: key.to_owned(),
            name: variable.name.clone(),
            dims: variable.dims.clone(),
            coords: self.names(&variable.coords),
            attrs: attributes(&variable.attrs),
        }
    }

    fn names(&mut self, coords: &Coords) -> Vec<(String, u32)> {
        coords.iter().map(|(name, coord)| (name.to_owned(), self.number(coord))).collect()
    }

    fn number(&mut self, coord: &Arc<Coord>) -> u32 {
        let known = self.seen.iter().position(|seen| Arc::ptr_eq(seen, coord));
        let number = known.unwrap_or_else(|| {
            self.parts.push(CoordParts {
                dims: coord.dims.clone(),
                shape: coord.shape.clone(),
                attrs: attributes(&coord.attrs),
                values: values(coord),
            });
            self.seen.push(coord.clone());
            self.seen.len() - 1
        });
        u32::try_from(number).expect("fewer than 2^32 coordinates fit into memory")
    }
}

fn values(coord: &Coord) -> ValuesParts {
    match (coord.loaded(), coord.address()) {
        (Some(Values::Numbers(chunk)), _) => {
            ValuesParts::Numbers(chunk.dtype(), chunk.shape().to_vec(), chunk.bytes().to_vec())
        }
        (Some(Values::Times(times)), _) => {
            ValuesParts::Times(times.calendar.name().to_owned(), times.micros.to_vec())
        }
        (Some(Values::Text(text)), _) => ValuesParts::Text(text.to_vec()),
        // Addresses are those of numbers.
        (None, Some(source)) if source.is_text() => match coord.values() {
            Ok(Values::Text(text)) => ValuesParts::Text(text.to_vec()),
            _ => ValuesParts::Stored(source.spec()),
        },
        (None, Some(source)) => ValuesParts::Stored(source.spec()),
        (None, None) => unreachable!("a coordinate that is not in memory is stored"),
    }
}

impl VariableParts {
    fn around(self, array: Array, coords: &[Arc<Coord>]) -> Result<(String, DataArray)> {
        let made = DataArray::new(array, &self.dims)?;
        let coords = named(self.coords, coords)?;
        Ok((self.key, DataArray { coords, attrs: plain_attributes(self.attrs), name: self.name, ..made }))
    }
}

fn coords_of(parts: Vec<CoordParts>) -> Result<Vec<Arc<Coord>>> {
    parts.into_iter().map(|parts| Ok(Arc::new(coord(parts)?))).collect()
}

fn coord(parts: CoordParts) -> Result<Coord> {
    let CoordParts { dims, shape, attrs, values } = parts;
    let attrs = plain_attributes(attrs);
    let values = match values {
        ValuesParts::Numbers(dtype, shape, bytes) => Values::Numbers(
            Chunk::new(dtype, &shape, Bytes::from(bytes)).map_err(|error| odd(&error.to_string()))?,
        ),
        ValuesParts::Times(calendar, micros) => {
            let calendar = Calendar::from_name(&calendar).ok_or_else(|| odd("a calendar is unknown"))?;
            Values::Times(Times { calendar, micros: micros.into() })
        }
        ValuesParts::Text(text) => Values::Text(text.into()),
        ValuesParts::Stored(spec) => {
            let source = Source::from_spec(&spec, shape).map_err(|error| odd(&error))?;
            return Ok(Coord::stored(dims, source, attrs));
        }
    };
    if shape.iter().try_fold(1_u64, |product, &n| product.checked_mul(n)) != Some(values.len() as u64) {
        return Err(odd("a coordinate is not of its shape"));
    }
    Ok(Coord::new(dims, shape, values, attrs))
}

fn named(names: Vec<(String, u32)>, coords: &[Arc<Coord>]) -> Result<Coords> {
    let mut found = Coords::default();
    for (name, number) in names {
        let coord = coords.get(number as usize).ok_or_else(|| odd("a coordinate is missing"))?;
        found.insert(&name, coord.clone());
    }
    Ok(found)
}

fn attributes(attrs: &Attributes) -> Vec<(String, Attribute)> {
    attrs.iter().map(|(key, value)| (key.clone(), attribute(value))).collect()
}

fn attribute(value: &Value) -> Attribute {
    match value {
        Value::Null => Attribute::Null,
        Value::Bool(value) => Attribute::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => Attribute::Int(value),
            (None, Some(value)) => Attribute::UInt(value),
            (None, None) => Attribute::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Attribute::Text(text.clone()),
        Value::Array(values) => Attribute::List(values.iter().map(attribute).collect()),
        Value::Object(map) => Attribute::Map(attributes(map)),
    }
}

fn plain_attributes(attrs: Vec<(String, Attribute)>) -> Attributes {
    attrs.into_iter().map(|(key, value)| (key, plain(value))).collect()
}

fn plain(attribute: Attribute) -> Value {
    match attribute {
        Attribute::Null => Value::Null,
        Attribute::Bool(value) => Value::Bool(value),
        Attribute::Int(value) => value.into(),
        Attribute::UInt(value) => value.into(),
        Attribute::Float(value) => Number::from_f64(value).map_or(Value::Null, Value::Number),
        Attribute::Text(text) => Value::String(text),
        Attribute::List(values) => Value::Array(values.into_iter().map(plain).collect()),
        Attribute::Map(map) => Value::Object(plain_attributes(map)),
    }
}

fn encode(parts: &Parts) -> Vec<u8> {
    postcard::to_stdvec(parts).expect("plain data always encodes")
}

fn decode(labels: &[u8]) -> Result<Parts> {
    postcard::from_bytes(labels).map_err(|error| odd(&error.to_string()))
}

fn odd(what: &str) -> LabelError {
    LabelError::Invalid(format!("the labels of published data cannot be read: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open_zarr;

    fn array() -> DataArray {
        let array = Array::from_slice(&[2, 3], &[0.1, 0.2, 0.3, 0.4, 0.5, f64::NAN]).unwrap();
        let times = Times { calendar: Calendar::NoLeap, micros: vec![-1, i64::MAX].into() };
        DataArray::new(array, ["time", "x"])
            .unwrap()
            .named("sst")
            .assign_coord("time", Values::Times(times))
            .unwrap()
            .assign_coord("x", vec!["a", "b", "ä"])
            .unwrap()
            .with_attr("units", "K")
            .with_attr("tenth", 0.1 + 0.2)
            .with_attr("nested", serde_json::json!({"b": [1, -2, 1e300, null], "a": true}))
    }

    #[test]
    fn labels_survive_being_taken_apart() {
        let before = array();
        let (arrays, labels) = before.take_apart();
        let after = DataArray::put_together(&labels, arrays).unwrap();
        assert_eq!((after.dims(), after.name()), (before.dims(), before.name()));
        assert_eq!(
            serde_json::to_string(after.attrs()).unwrap(),
            serde_json::to_string(before.attrs()).unwrap()
        );
        assert_eq!(after.coords().names(), before.coords().names());
        for (name, coord) in before.coords().iter() {
            assert!(coord.same(after.coord(name).unwrap()), "{name}");
        }
        assert_eq!(after.to_chunk().unwrap().bytes(), before.to_chunk().unwrap().bytes());
    }

    #[test]
    fn variables_share_coordinates_as_before_and_unread_ones_stay_unread() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("a.zarr");
        let lines = DataArray::new(Array::arange(0, 1, 3), ["x"]).unwrap();
        let plane = DataArray::new(Array::from_slice(&[3], &[1.0, 2.0, 3.0]).unwrap(), ["x"]).unwrap();
        let made = Dataset::new().assign("n", &lines).unwrap().assign("p", &plane).unwrap();
        made.assign_coord("x", vec![0.1, 0.2, 0.3]).unwrap().to_zarr(&store).unwrap();
        let before = open_zarr(&store).unwrap();
        let (arrays, labels) = before.take_apart();
        assert_eq!(arrays.len(), 2);
        let after = Dataset::put_together(&labels, arrays).unwrap();
        assert_eq!(after.names(), before.names());
        let (n, p) = (after.var("n").unwrap(), after.var("p").unwrap());
        assert!(Arc::ptr_eq(&n.coords().get("x").unwrap().clone(), p.coords().get("x").unwrap()));
        assert!(n.coord("x").unwrap().same(before.coord("x").unwrap()));
        assert!(Dataset::put_together(&labels, Vec::new()).is_err());
        assert!(Dataset::put_together(b"what", Vec::new()).is_err());
    }
}
