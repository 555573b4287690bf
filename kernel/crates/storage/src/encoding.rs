//! Owns how a variable of a Zarr store is stored: chunks, shards, codecs, and the metadata documents that say so (Zarr specifications
//! 2 and 3). Leaves what makes chunks smaller to `compressor`, and what is done with elements before to `packing`.

use base64::Engine as _;
use nuna_chunk::DType;
use serde_json::{Value, json};

use crate::{
    compressor::Compressor,
    error::StorageError,
    metadata::ZarrFormat,
    packing::{Change, Packing},
    write::NewVariable,
};

/// How one variable is stored, where that is not as the whole store is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Encoding {
    /// Elements of a chunk along each dimension; else as the array is chunked.
    pub chunks: Option<Vec<u64>>,
    /// Elements of a file along each dimension, a multiple of the chunks: fewer files, of which readers take parts. Version 3 only.
    pub shards: Option<Vec<u64>>,
    pub compressor: Option<Compressor>,
    /// Chunks end with a CRC32C of their bytes, so that damage is noticed. Version 3 only.
    pub checksum: bool,
    /// Each element of a chunk is stored as its difference from the one before it, which compresses well where they grow slowly.
    /// Only of integers, also packed ones: those of floats would lose digits. As numcodecs has it: zarr-python reads it.
    pub delta: bool,
    pub packing: Option<Packing>,
    /// Bits of the mantissa that floats keep, rounded half to even; the others are zero, and compress to nothing.
    pub keep_bits: Option<u32>,
}

impl Encoding {
    /// What the store says of a new variable, and what is done with its elements. The variable gets the chunks in which blocks are
    /// written, and the attributes that a reader needs.
    ///
    /// # Errors
    /// What does not fit the variable or the format.
    pub(crate) fn of_new(
        &self,
        variable: &mut NewVariable,
        format: ZarrFormat,
        compressor: Compressor,
    ) -> Result<(Value, Change), String> {
        let chunks = match &self.chunks {
            Some(chunks) => checked("chunks", chunks, variable)?,
            None => variable.chunk_shape.clone(),
        };
        let shards = match (&self.shards, format) {
            (None, _) => None,
            (Some(_), ZarrFormat::V2) => {
                return Err("version 2 of Zarr has no shards; leave them out, or write version 3".to_owned());
            }
            (Some(shards), ZarrFormat::V3) => {
                let shards = checked("shards", shards, variable)?;
                if shards.iter().zip(&chunks).any(|(shard, &chunk)| !shard.is_multiple_of(chunk)) {
                    return Err(format!("shards of {shards:?} are no multiple of chunks of {chunks:?}"));
                }
                Some(shards)
            }
        };
        if self.checksum && format == ZarrFormat::V2 {
            return Err(
                "version 2 of Zarr has no checksums of chunks; leave it out, or write version 3".to_owned()
            );
        }
        let compressor = self.compressor.unwrap_or(compressor);
        compressor.check()?;
        let change = Change::of(self.packing, self.keep_bits, variable.dtype)?;
        let mut stored = variable.dtype;
        let mut fill = fill_value(variable.dtype);
        let as_stored = change.packed.map_or(stored, |packed| Some(packed.dtype));
        if self.delta && !as_stored.is_some_and(DType::is_integer) {
            let dtype = as_stored.map_or("text", DType::name);
            return Err(format!(
                "differences are of integers, not of {dtype}; leave `delta` out, or pack the numbers"
            ));
        }
        if let Some(packed) = change.packed {
            stored = Some(packed.dtype);
            packed.describe(&mut variable.attrs);
            fill = packed.fill_json().unwrap_or_else(|| fill_value(stored));
            if let Some(value) = packed.fill {
                // As xarray spells it: floats are the bytes of a double.
                let attribute = match packed.dtype.is_float() {
                    true => json!(base64::engine::general_purpose::STANDARD.encode(value.to_le_bytes())),
                    false => fill.clone(),
                };
                variable.attrs.insert("_FillValue".to_owned(), attribute);
            }
        }
        let document = match format {
            ZarrFormat::V2 => {
                // In version 2 the fill value means "missing", so integers have none but that of their packing.
                let means_missing =
                    stored.is_some_and(DType::is_float) || change.packed.is_some_and(|p| p.fill.is_some());
                let fill = if means_missing { fill } else { Value::Null };
                if change.packs() {
                    variable.attrs.shift_remove("_FillValue");
                }
                let mut document = v2_array(variable, stored, &chunks, compressor, &fill);
                if self.delta {
                    let dtype = document["dtype"].clone();
                    document["filters"] = json!([{"id": "delta", "dtype": dtype, "astype": dtype}]);
                }
                document
            }
            ZarrFormat::V3 => {
                let codecs = self.v3_codecs(stored, compressor);
                v3_array(variable, stored, &chunks, shards.as_deref(), codecs, &fill)
            }
        };
        variable.chunk_shape = shards.unwrap_or(chunks);
        Ok((document, change))
    }

    fn v3_codecs(&self, stored: Option<DType>, compressor: Compressor) -> Vec<Value> {
        let to_bytes = match stored {
            None => json!({"name": "vlen-utf8"}),
            Some(dtype) if dtype.size() == 1 => json!({"name": "bytes"}),
            Some(_) => json!({"name": "bytes", "configuration": {"endian": "little"}}),
        };
        let size = stored.map_or(1, DType::size);
        let mut codecs = Vec::new();
        if let (true, Some(dtype)) = (self.delta, stored) {
            codecs.push(json!({"name": "numcodecs.delta", "configuration": {"dtype": v2_name(dtype)}}));
        }
        codecs.push(to_bytes);
        codecs.extend(compressor.v3(size));
        if self.checksum {
            codecs.push(json!({"name": "crc32c"}));
        }
        codecs
    }
}

/// # Errors
/// The first name of an encoding that is no variable's.
pub(crate) fn check_names<'n, I: Iterator<Item = &'n str>>(
    mut names: impl Iterator<Item = &'n String>,
    have: impl Fn() -> I,
) -> Result<(), StorageError> {
    match names.find(|name| !have().any(|own| own == name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let all = have().collect::<Vec<_>>().join(", ");
            let message = format!("there is an encoding for it, but the variables are {all}");
            Err(StorageError::Variable { variable: name.clone(), message })
        }
    }
}

pub(crate) fn checked(what: &str, sizes: &[u64], variable: &NewVariable) -> Result<Vec<u64>, String> {
    if sizes.len() != variable.shape.len() || sizes.contains(&0) {
        return Err(format!(
            "{what} of {sizes:?} do not fit its dimensions ({}); give one size of at least 1 for each",
            variable.dims.join(", ")
        ));
    }
    Ok(sizes.to_vec())
}

/// What chunks that were never written hold.
pub(crate) fn fill_value(dtype: Option<DType>) -> Value {
    match dtype {
        None => json!(""),
        Some(DType::Bool) => json!(false),
        Some(dtype) if dtype.is_float() => json!("NaN"),
        Some(dtype) if dtype.is_complex() => json!([0.0, 0.0]),
        Some(_) => json!(0),
    }
}

fn v3_array(
    variable: &NewVariable,
    stored: Option<DType>,
    chunks: &[u64],
    shards: Option<&[u64]>,
    mut codecs: Vec<Value>,
    fill: &Value,
) -> Value {
    if shards.is_some() {
        codecs = vec![json!({"name": "sharding_indexed", "configuration": {
            "chunk_shape": chunks, "codecs": codecs, "index_location": "end",
            "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
        }})];
    }
    json!({
        "zarr_format": 3, "node_type": "array", "shape": variable.shape,
        "data_type": stored.map_or("string", DType::name),
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shards.unwrap_or(chunks)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill, "codecs": codecs, "storage_transformers": [],
    })
}

pub(crate) fn v2_array(
    variable: &NewVariable,
    stored: Option<DType>,
    chunks: &[u64],
    compressor: Compressor,
    fill: &Value,
) -> Value {
    let (dtype, filters) = match stored {
        None => ("|O".to_owned(), json!([{"id": "vlen-utf8"}])),
        Some(dtype) => (v2_name(dtype), Value::Null),
    };
    json!({
        "zarr_format": 2, "shape": variable.shape, "chunks": chunks, "dtype": dtype, "compressor": compressor.v2(),
        "fill_value": fill, "order": "C", "filters": filters, "dimension_separator": ".",
    })
}

/// NumPy's short name, such as `<i4`.
fn v2_name(dtype: DType) -> String {
    // NumPy's kind letters are the first letters of its names.
    let code = &dtype.name()[..1];
    let order = if dtype.size() == 1 { '|' } else { '<' };
    format!("{order}{code}{}", dtype.size())
}
