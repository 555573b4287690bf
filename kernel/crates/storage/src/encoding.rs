//! Owns how a variable of a Zarr store is stored: compressors, shards, numbers packed into smaller ones, bits that are rounded
//! away, and the metadata documents that say so (Zarr specifications 2 and 3; CF conventions 1.11, 8.1).

use base64::Engine as _;
use nuna_chunk::{Chunk, ChunkMut, DType, Element};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{error::StorageError, json::Attributes, metadata::ZarrFormat, write::NewVariable};

/// What makes chunks smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compressor {
    /// Chunks are stored as they are.
    None,
    Zstd {
        /// -131072 (fastest) to 22 (smallest).
        level: i32,
    },
    Gzip {
        /// 0 to 9.
        level: u32,
    },
    Blosc {
        codec: BloscCodec,
        /// 0 to 9.
        level: u32,
        shuffle: Shuffle,
    },
    /// As numcodecs has it: a block of LZ4 behind its length. Zarr's own version 3 does not know it; zarr-python does.
    Lz4,
}

impl Default for Compressor {
    fn default() -> Self {
        Self::Zstd { level: 3 }
    }
}

/// What Blosc compresses its blocks with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BloscCodec {
    Lz4,
    Lz4hc,
    Zlib,
    Zstd,
}

/// How Blosc orders the bytes of elements before it compresses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shuffle {
    None,
    /// First bytes first.
    Byte,
    /// First bits first.
    Bit,
}

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

/// Numbers stored as `round((x - add_offset) / scale_factor)`, and NaN as `fill_value`, as CF has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Packing {
    /// An integer dtype, or `float32` for `float64`.
    pub dtype: DType,
    pub scale_factor: f64,
    pub add_offset: f64,
    /// What NaN becomes. Without it, NaN is an error.
    pub fill_value: Option<f64>,
}

/// What is done with elements before they are encoded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) packed: Option<Packed>,
    pub(crate) keep_bits: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Packed {
    pub(crate) dtype: DType,
    pub(crate) scale: f64,
    pub(crate) offset: f64,
    pub(crate) fill: Option<f64>,
}

/// The least and the greatest number of an integer dtype.
fn range(dtype: DType) -> Option<(f64, f64)> {
    Some(match dtype {
        DType::I8 => (i8::MIN.into(), i8::MAX.into()),
        DType::U8 => (0.0, u8::MAX.into()),
        DType::I16 => (i16::MIN.into(), i16::MAX.into()),
        DType::U16 => (0.0, u16::MAX.into()),
        DType::I32 => (i32::MIN.into(), i32::MAX.into()),
        DType::U32 => (0.0, u32::MAX.into()),
        // The greatest that are doubles.
        DType::I64 => (-9_223_372_036_854_775_808.0, 9_223_372_036_854_774_784.0),
        DType::U64 => (0.0, 18_446_744_073_709_549_568.0),
        _ => return None,
    })
}

impl Change {
    /// # Errors
    /// What does not fit elements of that dtype.
    pub(crate) fn of(
        packing: Option<Packing>,
        keep_bits: Option<u32>,
        dtype: Option<DType>,
    ) -> Result<Self, String> {
        if let Some(keep) = keep_bits {
            let Some(mantissa) = dtype.and_then(mantissa_bits) else {
                return Err("only floats have bits of a mantissa to keep".to_owned());
            };
            if keep == 0 || keep > mantissa {
                return Err(format!("`keep_bits` is 1 to {mantissa}, not {keep}"));
            }
        }
        let packed = packing.map(|packing| packing.of(dtype)).transpose()?;
        Ok(Self { packed, keep_bits })
    }

    pub(crate) fn is_none(&self) -> bool {
        self.packed.is_none() && self.keep_bits.is_none()
    }

    pub(crate) fn packs(&self) -> bool {
        self.packed.is_some()
    }

    /// The elements as they are stored.
    ///
    /// # Errors
    /// The first number that has no place in the packed dtype.
    pub(crate) fn apply(&self, chunk: &Chunk) -> Result<Chunk, String> {
        let rounded = match (self.keep_bits, chunk.dtype()) {
            (Some(keep), DType::F32) => {
                let round = |v: f32| f32::from_bits(rounded(u64::from(v.to_bits()), keep, 23) as u32);
                let keep_nan = |&v: &f32| if v.is_finite() { round(v) } else { v };
                let values: Vec<f32> = chunk.to_vec::<f32>().iter().map(keep_nan).collect();
                Chunk::from_slice(chunk.shape(), &values)
            }
            (Some(keep), DType::F64) => {
                let round = |v: f64| f64::from_bits(rounded(v.to_bits(), keep, 52));
                let keep_nan = |&v: &f64| if v.is_finite() { round(v) } else { v };
                let values: Vec<f64> = chunk.to_vec::<f64>().iter().map(keep_nan).collect();
                Chunk::from_slice(chunk.shape(), &values)
            }
            _ => chunk.clone(),
        };
        match self.packed {
            Some(packed) => packed.pack(&rounded),
            None => Ok(rounded),
        }
    }
}

/// The bits of a float with `keep` of its `mantissa` bits.
fn rounded(bits: u64, keep: u32, mantissa: u32) -> u64 {
    let drop = mantissa.saturating_sub(keep);
    if drop == 0 {
        return bits;
    }
    let half = (1u64 << (drop - 1)) - 1;
    (bits + half + (bits >> drop & 1)) & !((1u64 << drop) - 1)
}

impl Packed {
    /// Attributes by which readers undo it.
    pub(crate) fn describe(&self, attrs: &mut Attributes) {
        attrs.insert("scale_factor".to_owned(), json!(self.scale));
        attrs.insert("add_offset".to_owned(), json!(self.offset));
    }

    /// The fill value as JSON writes numbers of the dtype.
    pub(crate) fn fill_json(&self) -> Option<Value> {
        let value = self.fill?;
        Some(match range(self.dtype) {
            // JSON has no numbers for these; Zarr has words.
            None if value.is_nan() => json!("NaN"),
            None if value == f64::INFINITY => json!("Infinity"),
            None if value == f64::NEG_INFINITY => json!("-Infinity"),
            None => json!(value),
            Some(_) if value < 0.0 => json!(value as i64),
            Some(_) => json!(value as u64),
        })
    }

    fn pack(self, chunk: &Chunk) -> Result<Chunk, String> {
        // No copy of what is doubles already, and none between: each number goes to its place.
        let doubles = chunk.cast(DType::F64);
        let doubles = doubles.elements::<f64>().map_err(|error| error.to_string())?;
        let shape = chunk.shape();
        match self.dtype {
            DType::I8 => self.each(shape, doubles, |v| v as i8),
            DType::U8 => self.each(shape, doubles, |v| v as u8),
            DType::I16 => self.each(shape, doubles, |v| v as i16),
            DType::U16 => self.each(shape, doubles, |v| v as u16),
            DType::I32 => self.each(shape, doubles, |v| v as i32),
            DType::U32 => self.each(shape, doubles, |v| v as u32),
            DType::I64 => self.each(shape, doubles, |v| v as i64),
            DType::U64 => self.each(shape, doubles, |v| v as u64),
            DType::F32 => self.each(shape, doubles, |v| v as f32),
            DType::F64 => self.each(shape, doubles, |v| v),
            other => Err(format!("numbers cannot be packed as {other}")),
        }
    }

    /// `convert` is exact, or rounds as floats are rounded: whole numbers are within bounds.
    fn each<T: Element>(
        self,
        shape: &[u64],
        doubles: &[f64],
        convert: impl Fn(f64) -> T,
    ) -> Result<Chunk, String> {
        let range = range(self.dtype);
        let mut packed = ChunkMut::new(self.dtype, shape);
        let places = packed.elements_mut::<T>().map_err(|error| error.to_string())?;
        for (place, &value) in places.iter_mut().zip(doubles) {
            *place = convert(match range {
                Some(range) => self.whole(value, range)?,
                None => self.float(value)?,
            });
        }
        Ok(packed.freeze())
    }

    fn whole(self, value: f64, (least, greatest): (f64, f64)) -> Result<f64, String> {
        if value.is_nan() {
            return self.fill.ok_or_else(|| {
                format!(
                    "there is a NaN, for which {} has no number; give the encoding a `fill_value`",
                    self.dtype
                )
            });
        }
        let stored = ((value - self.offset) / self.scale).round_ties_even();
        if !(least..=greatest).contains(&stored) {
            return Err(format!(
                "{value} would be stored as {stored}, but {} ends at {least} and {greatest}; choose another \
                 `scale_factor` and `add_offset`, or a wider dtype",
                self.dtype
            ));
        }
        if Some(stored) == self.fill {
            return Err(Self::is_fill(value, stored));
        }
        Ok(stored)
    }

    fn float(self, value: f64) -> Result<f64, String> {
        if value.is_nan() {
            return Ok(self.fill.unwrap_or(f64::NAN));
        }
        // As readers have it.
        let as_stored = |v: f64| if self.dtype == DType::F32 { f64::from(v as f32) } else { v };
        let stored = as_stored((value - self.offset) / self.scale);
        if value.is_finite() && !stored.is_finite() {
            return Err(format!(
                "{value} is larger than {} can store with scale_factor {} and add_offset {}; choose others, or a wider dtype",
                self.dtype, self.scale, self.offset
            ));
        }
        if self.fill.map(as_stored) == Some(stored) {
            return Err(Self::is_fill(value, stored));
        }
        Ok(stored)
    }

    fn is_fill(value: f64, stored: f64) -> String {
        format!(
            "{value} would be stored as {stored}, which is the `fill_value` and would be read as missing; choose another"
        )
    }
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

fn mantissa_bits(dtype: DType) -> Option<u32> {
    match dtype {
        DType::F32 => Some(23),
        DType::F64 => Some(52),
        _ => None,
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

impl Packing {
    fn of(&self, from: Option<DType>) -> Result<Packed, String> {
        let Packing { dtype, scale_factor: scale, add_offset: offset, fill_value: fill } = *self;
        if !from.is_some_and(|from| !from.is_complex() && from != DType::Bool) {
            return Err("only numbers can be packed".to_owned());
        }
        if dtype.is_complex() || dtype == DType::Bool {
            return Err(format!("numbers cannot be packed as {dtype}"));
        }
        if !scale.is_normal() || !offset.is_finite() {
            return Err(format!(
                "numbers cannot be packed with scale_factor {scale} and add_offset {offset}"
            ));
        }
        if let (Some(fill), Some((least, greatest))) = (fill, range(dtype))
            && (fill.fract() != 0.0 || !(least..=greatest).contains(&fill))
        {
            return Err(format!("{fill} is no {dtype}, so it cannot be the `fill_value`"));
        }
        Ok(Packed { dtype, scale, offset, fill })
    }
}

impl Compressor {
    fn check(self) -> Result<(), String> {
        let (what, level, levels) = match self {
            Compressor::None | Compressor::Lz4 => return Ok(()),
            Compressor::Zstd { level } => ("zstd", i64::from(level), -131_072..=22),
            Compressor::Gzip { level } => ("gzip", i64::from(level), 0..=9),
            Compressor::Blosc { level, .. } => ("Blosc", i64::from(level), 0..=9),
        };
        if levels.contains(&level) {
            return Ok(());
        }
        Err(format!("{what} has the levels {} to {}, not {level}", levels.start(), levels.end()))
    }

    fn v3(self, element_bytes: usize) -> Option<Value> {
        Some(match self {
            Compressor::None => return None,
            Compressor::Lz4 => json!({"name": "numcodecs.lz4", "configuration": {"acceleration": 1}}),
            Compressor::Zstd { level } => {
                json!({"name": "zstd", "configuration": {"level": level, "checksum": false}})
            }
            Compressor::Gzip { level } => json!({"name": "gzip", "configuration": {"level": level}}),
            Compressor::Blosc { codec, level, shuffle } => {
                let shuffle = match shuffle {
                    Shuffle::None => "noshuffle",
                    Shuffle::Byte => "shuffle",
                    Shuffle::Bit => "bitshuffle",
                };
                json!({"name": "blosc", "configuration": {
                    "cname": codec.name(), "clevel": level, "shuffle": shuffle, "typesize": element_bytes, "blocksize": 0,
                }})
            }
        })
    }

    fn v2(self) -> Value {
        match self {
            Compressor::None => Value::Null,
            Compressor::Lz4 => json!({"id": "lz4", "acceleration": 1}),
            Compressor::Zstd { level } => json!({"id": "zstd", "level": level, "checksum": false}),
            Compressor::Gzip { level } => json!({"id": "gzip", "level": level}),
            Compressor::Blosc { codec, level, shuffle } => {
                let shuffle = match shuffle {
                    Shuffle::None => 0,
                    Shuffle::Byte => 1,
                    Shuffle::Bit => 2,
                };
                json!({"id": "blosc", "cname": codec.name(), "clevel": level, "shuffle": shuffle, "blocksize": 0})
            }
        }
    }
}

impl BloscCodec {
    fn name(self) -> &'static str {
        match self {
            BloscCodec::Lz4 => "lz4",
            BloscCodec::Lz4hc => "lz4hc",
            BloscCodec::Zlib => "zlib",
            BloscCodec::Zstd => "zstd",
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const N: f64 = f64::NAN;

    #[test]
    fn bits_are_rounded_half_to_even() {
        let change = Change { packed: None, keep_bits: Some(1) };
        let rounded =
            |v: &[f32]| change.apply(&Chunk::from_slice(&[v.len() as u64], v)).unwrap().to_vec::<f32>();
        assert_eq!(rounded(&[1.0, 1.2, 1.25, 1.26, 1.75, -1.75, 3.9]), [1.0, 1.0, 1.0, 1.5, 2.0, -2.0, 4.0]);
        let odd = rounded(&[f32::NAN, f32::INFINITY, -0.0, f32::MIN_POSITIVE / 4.0]);
        assert!(odd[0].is_nan() && odd[1] == f32::INFINITY && odd[2].is_sign_negative());
    }

    #[test]
    fn numbers_are_packed_or_refused() {
        let packed = Packed { dtype: DType::I16, scale: 0.01, offset: 273.15, fill: Some(-32768.0) };
        let pack = |v: f64| packed.pack(&Chunk::from_slice(&[1], &[v])).map(|chunk| chunk.to_vec::<i16>()[0]);
        assert_eq!(pack(273.15), Ok(0));
        assert_eq!(pack(300.0), Ok(2685));
        assert_eq!(pack(N), Ok(-32768));
        assert!(pack(1000.0).unwrap_err().contains("ends at -32768 and 32767"));
        assert!(pack(f64::INFINITY).is_err());
        assert!(pack(273.15 - 327.68).unwrap_err().contains("would be read as missing"));
        let single = Packed { dtype: DType::F32, scale: 1.0, offset: 0.0, fill: Some(-9999.1) };
        let pack_single =
            |v: f64| single.pack(&Chunk::from_slice(&[1], &[v])).map(|chunk| chunk.to_vec::<f32>()[0]);
        assert_eq!(pack_single(0.1), Ok(0.1));
        assert_eq!(pack_single(N), Ok(-9999.1));
        assert_eq!(pack_single(f64::INFINITY), Ok(f32::INFINITY));
        assert!(pack_single(1e39).unwrap_err().contains("larger than float32 can store"));
        assert!(pack_single(f64::from(-9999.1_f32)).unwrap_err().contains("would be read as missing"));
        let longs = Chunk::from_slice(&[3], &[1_i64, -2, 3]);
        let tens = Packed { dtype: DType::I8, scale: 0.1, offset: 0.0, fill: None };
        assert_eq!(tens.pack(&longs).unwrap().to_vec::<i8>(), [10, -20, 30]);
        let words = [(N, "NaN"), (f64::INFINITY, "Infinity"), (f64::NEG_INFINITY, "-Infinity")];
        for (fill, word) in words {
            assert_eq!(Packed { fill: Some(fill), ..single }.fill_json(), Some(json!(word)));
        }
        let without = Packed { fill: None, ..packed };
        assert!(without.pack(&Chunk::from_slice(&[1], &[N])).unwrap_err().contains("fill_value"));
    }
}
