//! Owns writing NetCDF4 files: what variables and attributes become in one, and in which chunks. Chunks get into it by
//! `sink` and `draft`; the bytes around them are the `netcdf` crate's.

use std::{collections::BTreeMap, path::Path};

use nuna_chunk::{Chunk, DType};
use nuna_inputs::Disk;
use nuna_netcdf::{Data, Element, Kind, NewGroup, NewLayout, StoredChunk, Value as Attribute};
use serde_json::Value;

use crate::{
    cf::{self, NOT_A_TIME},
    draft::{Draft, Place},
    encoding::{self, check_names},
    error::StorageError,
    json::Attributes,
    packing::{Change, Packing},
    sink::{Encoding, NewPieces, PieceSink},
    write::NewVariable,
};

/// How one variable of a NetCDF4 file is stored, where that is not as the others are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NetcdfEncoding {
    /// Elements of a chunk along each dimension; else as the array is chunked.
    pub chunks: Option<Vec<u64>>,
    pub deflate_level: Option<u32>,
    pub packing: Option<Packing>,
    /// Bits of the mantissa that floats keep, rounded half to even; the others are zero, and compress to nothing.
    pub keep_bits: Option<u32>,
}

/// How a NetCDF4 file is written.
#[derive(Clone, Debug, PartialEq)]
pub struct NetcdfOptions {
    /// Level of deflate, 1 (fastest) to 9 (smallest), after shuffling bytes; 0 stores chunks as they are.
    pub deflate_level: u32,
    /// Dimensions that other programs may make longer later, such as `time`. Those of length 0 always are.
    pub unlimited: Vec<String>,
    /// How some variables are stored otherwise, by name.
    pub encoding: BTreeMap<String, NetcdfEncoding>,
    /// Replace a NetCDF file of that name.
    pub overwrite: bool,
}

impl Default for NetcdfOptions {
    fn default() -> Self {
        Self { deflate_level: 4, unlimited: Vec::new(), encoding: BTreeMap::new(), overwrite: false }
    }
}

/// A variable of no more bytes lies in one piece, uncompressed.
const SMALL_BYTES: u64 = 64 << 10;
/// Chunks of more bytes do not fit the cache that the NetCDF library gives a variable; it would decode them again for every row.
const CHUNK_BYTES_MAX: u64 = 16 << 20;

/// A file that is being written. Dropping it unfinished removes what was written.
#[derive(Debug)]
pub struct NewNetcdf {
    draft: Draft,
    group: NewGroup,
    /// Of text there are none to write to.
    sinks: Vec<Option<PieceSink>>,
}

fn is_netcdf(path: &Path) -> bool {
    path.is_file()
        && Disk::open(path).is_ok_and(|disk| nuna_netcdf::format(&disk).is_ok_and(|it| it.is_some()))
}

impl NewNetcdf {
    /// Begins a file beside `path`.
    ///
    /// # Errors
    /// If `path` exists and may not be replaced, NetCDF has no place for a variable, name or attribute, or the file system
    /// refuses.
    pub fn create(
        path: impl AsRef<Path>,
        attrs: &Attributes,
        variables: Vec<NewVariable>,
        options: &NetcdfOptions,
    ) -> Result<Self, StorageError> {
        let path = path.as_ref();
        let refused = |message: String| StorageError::Write { path: path.to_owned(), message };
        let levels = options.encoding.values().filter_map(|encoding| encoding.deflate_level);
        if let Some(level) = levels.chain([options.deflate_level]).find(|level| *level > 9) {
            return Err(refused(format!("deflate has the levels 0 to 9, not {level}")));
        }
        let have = || variables.iter().map(|v| v.name.as_str());
        check_names(options.encoding.keys(), have)?;
        let mut group = NewGroup {
            attributes: attrs.iter().map(|(name, value)| (name.clone(), attribute(value))).collect(),
            variables: Vec::new(),
            unlimited: options.unlimited.clone(),
        };
        let replaces = options.overwrite.then_some(("a NetCDF file", is_netcdf as fn(&Path) -> bool));
        let mut pieces = Vec::new();
        for variable in variables {
            let (new, written) = converted(&variable, options)?;
            group.variables.push(new);
            pieces.push(written);
        }
        group.check().map_err(|error| refused(error.to_string()))?;
        let draft = Draft::create(path, nuna_netcdf::ELEMENTS_FROM, replaces)?;
        let sink = |(number, pieces): (usize, Option<NewPieces>)| {
            pieces.map(|pieces| PieceSink::new(pieces, number as u32, draft.folder()))
        };
        let sinks = pieces.into_iter().enumerate().map(sink).collect();
        Ok(Self { draft, group, sinks })
    }

    fn number(&self, name: &str) -> usize {
        let number = self.group.variables.iter().position(|variable| variable.name == name);
        number.expect("callers name variables that they created")
    }

    /// The target of one variable for a plan.
    ///
    /// # Panics
    /// If the file was not created with that variable, or it is text.
    pub fn sink(&self, name: &str) -> PieceSink {
        let sink = self.sinks[self.number(name)].clone();
        sink.expect("text is never planned, it is written from memory")
    }

    /// Writes a variable that is in memory.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn write(&self, name: &str, chunk: &Chunk) -> Result<(), StorageError> {
        self.sink(name).write(self.draft.pieces(), chunk)
    }

    /// Keeps a variable of text, which is written at the end.
    pub fn write_text(&mut self, name: &str, text: Vec<String>) {
        let number = self.number(name);
        self.group.variables[number].data = Data::Text(text);
    }

    /// Writes what the file says about itself and moves it to its name.
    ///
    /// # Errors
    /// If a chunk was not written, another file took the name meanwhile, or the file system refuses.
    pub fn finish(mut self) -> Result<(), StorageError> {
        let count = |sink: &Option<PieceSink>| sink.as_ref().map_or(0, PieceSink::pieces);
        let counts: Vec<u64> = self.sinks.iter().map(count).collect();
        let places = self.draft.gather(&counts)?;
        for (new, places) in self.group.variables.iter_mut().zip(places) {
            match &mut new.data {
                Data::Text(_) => {}
                Data::Numbers { layout: NewLayout::Contiguous(address), .. } => {
                    *address = places.first().map(|place| place.offset);
                }
                Data::Numbers { layout: NewLayout::Chunked { chunks, .. }, .. } => {
                    let stored = |place: Place| StoredChunk { address: place.offset, bytes: place.bytes };
                    *chunks = places.into_iter().map(stored).collect();
                }
            }
        }
        let draft = self.draft;
        let written = self.group.write(draft.end(), &mut |offset, bytes| draft.write_at(offset, bytes));
        written.map_err(|error| draft.blame(&error))?;
        draft.publish()
    }
}

/// A variable as the file will have it, and how its elements get there.
fn converted(
    variable: &NewVariable,
    options: &NetcdfOptions,
) -> Result<(nuna_netcdf::NewVariable, Option<NewPieces>), StorageError> {
    let NewVariable { name, dims, shape, dtype: given, .. } = variable;
    let refused = |message: String| StorageError::Variable { variable: name.clone(), message };
    let mut attrs = variable.attrs.clone();
    let own = NetcdfEncoding::default();
    let encoding = options.encoding.get(name).unwrap_or(&own);
    let change = Change::of(encoding.packing, encoding.keep_bits, *given).map_err(refused)?;
    if let Some(packed) = &change.packed {
        packed.describe(&mut attrs);
        attrs.shift_remove("_FillValue");
        attrs.extend(packed.fill_json().map(|fill| ("_FillValue".to_owned(), fill)));
    }
    let dtype = &change.packed.map(|packed| packed.dtype).or(*given);
    let wanted = match &encoding.chunks {
        Some(chunks) => encoding::checked("chunks", chunks, variable).map_err(refused)?,
        None => variable.chunk_shape.clone(),
    };
    let element = dtype.map(element).transpose().map_err(refused)?;
    if *dtype == Some(DType::Bool) {
        // As xarray writes and reads them.
        attrs.insert("dtype".to_owned(), "bool".into());
    }
    let counts_time = *dtype == Some(DType::I64)
        && attrs.get("units").and_then(Value::as_str).is_some_and(|units| units.contains(" since "));
    if counts_time && !attrs.contains_key("_FillValue") {
        attrs.insert("_FillValue".to_owned(), NOT_A_TIME.into());
    }
    let is_scale = dims.len() == 1 && dims[0] == *name;
    if dtype.is_some_and(DType::is_float) && !attrs.contains_key("_FillValue") && !is_scale {
        attrs.insert("_FillValue".to_owned(), "NaN".into());
    }
    let mut attributes = Vec::with_capacity(attrs.len());
    let mut fill = None;
    for (key, value) in &attrs {
        let own = OF_THE_VARIABLE.contains(&key.as_str());
        let typed = element.filter(|_| own).and_then(|element| as_elements(value, element));
        match (key.as_str(), element, typed) {
            ("_FillValue", None, _) => {}
            ("_FillValue", Some(element), Some(bytes)) if bytes.len() == element.size as usize => {
                attributes.push((key.clone(), Attribute::Numbers(element, bytes.clone())));
                fill = Some(bytes);
            }
            ("_FillValue", Some(_), _) => {
                let dtype = dtype.map_or("text", DType::name);
                return Err(refused(format!("its `_FillValue` {value} is no value of {dtype}")));
            }
            (_, Some(element), Some(bytes)) => {
                attributes.push((key.clone(), Attribute::Numbers(element, bytes)))
            }
            (_, _, _) => attributes.push((key.clone(), attribute(value))),
        }
    }
    let element_bytes = element.map_or(0, |element| element.size);
    let bytes =
        |shape: &[u64]| shape.iter().fold(u64::from(element_bytes), |bytes, &n| bytes.saturating_mul(n));
    // NetCDF takes a dimension of length 0 for one that is unlimited.
    let grows = shape.contains(&0) || dims.iter().any(|dim| options.unlimited.contains(dim));
    let is_whole = !grows && encoding.chunks.is_none() && bytes(shape) <= SMALL_BYTES;
    let level = encoding.deflate_level.unwrap_or(options.deflate_level);
    let deflate = (level > 0 && !is_whole).then_some(level);
    let chunk_shape = match is_whole {
        true => shape.iter().map(|&n| n.max(1)).collect(),
        false if encoding.chunks.is_some() => wanted,
        false => fitted(&wanted, shape, element_bytes),
    };
    if bytes(&chunk_shape) > u64::from(u32::MAX) || chunk_shape.iter().any(|&n| n > u64::from(u32::MAX)) {
        return Err(refused(format!(
            "its chunks of shape {chunk_shape:?} are more than the 4 GiB that HDF5 allows"
        )));
    }
    let data = match element {
        None => Data::Text(Vec::new()),
        Some(element) => {
            let layout = match is_whole {
                true => NewLayout::Contiguous(None),
                false => NewLayout::Chunked { chunk_shape: chunk_shape.clone(), deflate, chunks: Vec::new() },
            };
            Data::Numbers { element, fill: fill.clone(), layout }
        }
    };
    let pieces = dtype.zip(*given).map(|(dtype, given)| NewPieces {
        name: name.clone(),
        dtype: given,
        stored: dtype,
        change: change.clone(),
        shape: shape.clone(),
        chunk_shape,
        fill: fill.unwrap_or_else(|| vec![0; dtype.size()]),
        encoding: match deflate {
            None => Encoding::Plain,
            Some(level) => Encoding::Shuffled { level },
        },
    });
    let new = nuna_netcdf::NewVariable {
        name: name.clone(),
        dims: dims.clone(),
        shape: shape.clone(),
        attributes,
        data,
    };
    Ok((new, pieces))
}

/// How elements are stored; truth values as bytes.
fn element(dtype: DType) -> Result<Element, String> {
    let kind = match dtype {
        DType::Bool | DType::I8 | DType::I16 | DType::I32 | DType::I64 => Kind::Int,
        DType::U8 | DType::U16 | DType::U32 | DType::U64 => Kind::UInt,
        DType::F32 | DType::F64 => Kind::Float,
        DType::C64 | DType::C128 => {
            let message = "NetCDF has no complex numbers; write its real and imaginary parts (`real()`, `imag()`) as two \
                           variables, or `to_zarr`";
            return Err(message.to_owned());
        }
    };
    Ok(Element { kind, size: dtype.size() as u32, big_endian: false })
}

/// The stored chunks of an array that comes in blocks of `block`: no longer than an array that does not grow, and cut into
/// equal parts where they would be too large, so that each block has whole ones.
fn fitted(block: &[u64], shape: &[u64], element_bytes: u32) -> Vec<u64> {
    let mut chunk: Vec<u64> = block.iter().zip(shape).map(|(&n, &length)| n.min(length).max(1)).collect();
    let bytes =
        |chunk: &[u64]| chunk.iter().fold(u64::from(element_bytes), |bytes, &n| bytes.saturating_mul(n));
    while bytes(&chunk) > CHUNK_BYTES_MAX {
        // An axis in one piece may be cut anywhere, others into what they are a multiple of.
        let parts = |axis: usize| match chunk[axis] {
            n if n >= shape[axis] => 2,
            n => (2..).take_while(|p| p * p <= n).find(|p| n.is_multiple_of(*p)).unwrap_or(n),
        };
        let axes = (0..chunk.len()).filter(|&axis| chunk[axis] > 1);
        let Some(axis) = axes.max_by_key(|&axis| (parts(axis) <= 7, chunk[axis])) else { break };
        chunk[axis] = chunk[axis].div_ceil(parts(axis));
    }
    chunk
}

/// Attributes that CF wants in the type of their variable.
const OF_THE_VARIABLE: [&str; 8] = [
    "_FillValue",
    "missing_value",
    "valid_min",
    "valid_max",
    "valid_range",
    "actual_range",
    "flag_values",
    "flag_masks",
];

/// Numbers as elements; `None` if one is not exactly such an element.
fn as_elements(value: &Value, element: Element) -> Option<Vec<u8>> {
    if let Value::Array(values) = value {
        let elements: Option<Vec<_>> = values.iter().map(|value| as_elements(value, element)).collect();
        return elements.map(|elements| elements.concat());
    }
    let size = element.size as usize;
    if element.kind == Kind::Float {
        let value = cf::number(value)?;
        #[expect(clippy::cast_possible_truncation, reason = "single precision is what the variable has")]
        return Some(match size {
            4 => (value as f32).to_le_bytes().to_vec(),
            _ => value.to_le_bytes().to_vec(),
        });
    }
    let whole = match value {
        Value::Number(number) => {
            let float = number.as_f64().filter(|x| x.fract() == 0.0 && x.abs() < 2f64.powi(63));
            #[expect(clippy::cast_possible_truncation, reason = "a whole number that fits")]
            let float = float.map(|x| x as i128);
            number.as_i64().map(i128::from).or(number.as_u64().map(i128::from)).or(float)?
        }
        Value::Bool(value) => i128::from(*value),
        _ => return None,
    };
    let bits = 8 * element.size;
    let (low, high) = match element.kind {
        Kind::UInt => (0, (1i128 << bits) - 1),
        _ => (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1),
    };
    (low..=high).contains(&whole).then(|| whole.to_le_bytes()[..size].to_vec())
}

/// Any other attribute: whole numbers have 64 bits, truth values are bytes, and what NetCDF has no attributes for is text in JSON.
fn attribute(value: &Value) -> Attribute {
    const I8: Element = Element { kind: Kind::Int, size: 1, big_endian: false };
    const I64: Element = Element { kind: Kind::Int, size: 8, big_endian: false };
    const U64: Element = Element { kind: Kind::UInt, size: 8, big_endian: false };
    const F64: Element = Element { kind: Kind::Float, size: 8, big_endian: false };
    let list = match value {
        Value::String(text) => return Attribute::Text(text.clone()),
        Value::Array(values) => &values[..],
        one => std::slice::from_ref(one),
    };
    let texts: Option<Vec<String>> = list.iter().map(|value| value.as_str().map(str::to_owned)).collect();
    if let Some(texts) = texts.filter(|texts| !texts.is_empty()) {
        return Attribute::Texts(texts);
    }
    let kinds = match list.iter().any(Value::is_boolean) {
        true => &[I8][..],
        false => &[I64, U64, F64],
    };
    // Numbers that Python writes as text, such as NaN, are numbers among others.
    let fits = |element: &Element| list.iter().all(|value| element.kind == Kind::Float || !value.is_f64());
    for element in kinds.iter().filter(|element| fits(element)) {
        let bytes: Option<Vec<_>> = list.iter().map(|value| as_elements(value, *element)).collect();
        if let Some(bytes) = bytes {
            return Attribute::Numbers(*element, bytes.concat());
        }
    }
    Attribute::Text(value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn chunks_are_cut_into_equal_parts_until_they_fit() {
        assert_eq!(fitted(&[365, 100, 100], &[3650, 100, 100], 4), [365, 100, 100]);
        let cut = fitted(&[360, 500, 1000], &[3600, 500, 1000], 8);
        assert!(cut.iter().product::<u64>() * 8 <= CHUNK_BYTES_MAX, "{cut:?}");
        assert_eq!(360 % cut[0], 0, "blocks have whole chunks: {cut:?}");
        // A prime number of rows is left alone as long as another axis can be cut.
        assert_eq!(fitted(&[8191, 4096], &[80_000, 4096], 4), [8191, 512]);
        assert_eq!(fitted(&[10, 10], &[3, 0], 4), [3, 1]);
        assert_eq!(fitted(&[], &[], 4), [0; 0]);
    }

    #[test]
    fn attributes_keep_what_they_are() {
        let bytes = |value: Value| match attribute(&value) {
            Attribute::Numbers(element, bytes) => (element.kind, element.size, bytes.len()),
            other => panic!("{value}: {other:?}"),
        };
        assert_eq!(bytes(json!(3)), (Kind::Int, 8, 8));
        assert_eq!(bytes(json!([1, -2])), (Kind::Int, 8, 16));
        assert_eq!(bytes(json!(u64::MAX)), (Kind::UInt, 8, 8));
        assert_eq!(bytes(json!([1, 2.0])), (Kind::Float, 8, 16));
        assert_eq!(bytes(json!(2.0)), (Kind::Float, 8, 8));
        assert_eq!(bytes(json!([1.5, "NaN"])), (Kind::Float, 8, 16));
        assert_eq!(bytes(json!([true, false])), (Kind::Int, 1, 2));
        assert_eq!(bytes(json!([])), (Kind::Int, 8, 0));
        assert_eq!(attribute(&json!("K")), Attribute::Text("K".to_owned()));
        assert_eq!(attribute(&json!(["a", "b"])), Attribute::Texts(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(attribute(&json!({"a": 1})), Attribute::Text("{\"a\":1}".to_owned()));
        assert_eq!(attribute(&json!(["a", 1])), Attribute::Text("[\"a\",1]".to_owned()));
        assert_eq!(attribute(&json!(null)), Attribute::Text("null".to_owned()));
        let u8s = Element { kind: Kind::UInt, size: 1, big_endian: false };
        assert_eq!(as_elements(&json!([0, 255.0]), u8s), Some(vec![0, 255]));
        assert_eq!(as_elements(&json!(256), u8s), None);
        assert_eq!(as_elements(&json!(0.5), u8s), None);
    }
}
