//! Owns the codecs of numcodecs that `zarrs` does not have, or has with fewer digits: lz4, delta, fixedscaleoffset, astype,
//! quantize, packbits, and checksums. They are read; lz4, and delta of integers, are written too.
//!
//! All of them are functions of bytes, so they stand behind the codec that makes bytes of an array, also where metadata of
//! version 3 has them before it ([`rewritten`]). What they make of numbers is what NumPy makes of them.

use std::{
    borrow::Cow,
    sync::{Arc, Once},
};

use half::f16;
use serde_json::{Map, Value, json};
use zarrs::{
    array::codec::api::{
        BytesRepresentation, BytesToBytesCodecTraits, Codec, CodecError, CodecMetadataOptions, CodecOptions,
        CodecRuntimePluginV3, CodecTraits, PartialDecoderCapability, PartialEncoderCapability,
        RecommendedConcurrency, register_codec_v3,
    },
    convert::codec_metadata_v2_to_v3,
    metadata::{
        Configuration,
        v2::{ArrayMetadataV2Order, MetadataV2},
        v3::MetadataV3,
    },
    plugin::{ExtensionName, PluginCreateError, ZarrVersion},
};

/// The name of ours in metadata that is rewritten.
const NAME: &str = "nuna.numcodecs";
/// Those that numcodecs applies to an array, of which the first stands next to it.
const OF_ARRAYS: [&str; 5] = ["delta", "fixedscaleoffset", "astype", "quantize", "packbits"];
const OF_BYTES: [&str; 4] = ["lz4", "adler32", "crc32", "crc32c"];
/// Those that `zarrs` has by their names without `numcodecs.` in metadata of version 3, configured otherwise.
const KNOWN_OTHERWISE: [&str; 4] = ["blosc", "gzip", "zlib", "zstd"];
/// Changes what is written so that it compresses better; there is nothing to undo.
const WITHOUT_DECODING: &str = "bitround";

/// Whether it is one of ours, by its name in version 2 or, with `numcodecs.` before it, in version 3.
fn is_ours(id: &str) -> bool {
    OF_ARRAYS.contains(&id) || OF_BYTES.contains(&id)
}

/// Our codecs in metadata of version 2: ids and configurations of filters and compressor, in the order in which they encode.
/// `None` if `zarrs` knows them all.
pub(crate) fn in_v2(metadata: &Value) -> Option<Vec<&Map<String, Value>>> {
    let filters = metadata.get("filters").and_then(Value::as_array).into_iter().flatten();
    let codecs: Vec<_> = filters.chain(metadata.get("compressor")).filter_map(Value::as_object).collect();
    codecs.iter().any(|codec| is_ours(id(codec)) || id(codec) == WITHOUT_DECODING).then_some(codecs)
}

/// A codec's name in version 2.
pub(crate) fn id(codec: &Map<String, Value>) -> &str {
    codec.get("id").and_then(Value::as_str).unwrap_or_default()
}

/// One of ours as metadata of version 3 has it behind the codec that makes bytes; `None` if it is not ours.
pub(crate) fn behind_bytes(
    id: &str,
    configuration: &Map<String, Value>,
    endian: Option<&str>,
) -> Option<Value> {
    is_ours(id).then(|| {
        let mut configuration = configuration.clone();
        configuration.insert("id".to_owned(), id.into());
        if let Some(endian) = endian {
            configuration.insert("endian".to_owned(), endian.into());
        }
        json!({"name": NAME, "configuration": configuration})
    })
}

/// A codec of version 2 as metadata of version 3 has it, behind the one that makes bytes; `None` if there is nothing to decode.
///
/// # Errors
/// If nobody knows it.
pub(crate) fn converted(codec: &Map<String, Value>) -> Result<Option<MetadataV3>, String> {
    let damaged = |error: serde_json::Error| format!("its metadata is damaged: {error}");
    if id(codec) == WITHOUT_DECODING {
        return Ok(None);
    }
    if let Some(ours) = behind_bytes(id(codec), codec, None) {
        return serde_json::from_value(ours).map(Some).map_err(damaged);
    }
    let codec: MetadataV2 = serde_json::from_value(Value::from(codec.clone())).map_err(damaged)?;
    // What a compressor knows of the elements matters to who writes.
    let data_type = MetadataV3::new("uint8".to_owned());
    let alone = codec_metadata_v2_to_v3(ArrayMetadataV2Order::C, 1, &data_type, None, &None, &Some(codec));
    Ok(alone.map_err(|error| error.to_string())?.pop())
}

/// Codecs of version 3 with ours behind the one that makes bytes, also within shards.
///
/// # Errors
/// If one of ours comes before a codec of arrays that is not.
pub(crate) fn rewritten(codecs: Vec<Value>) -> Result<Vec<Value>, String> {
    let name = |codec: &Value| -> String {
        codec.get("name").or(Some(codec)).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let configuration =
        |codec: &Value| codec.get("configuration").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut out = Vec::with_capacity(codecs.len());
    let mut moved: Vec<(String, Map<String, Value>)> = Vec::new();
    for mut codec in codecs {
        let name = name(&codec);
        let id = name.strip_prefix("numcodecs.").unwrap_or_default();
        if let Some(Value::Array(inner)) = codec.pointer_mut("/configuration/codecs") {
            *inner = rewritten(std::mem::take(inner))?;
        }
        if name == "zstd"
            && let Some(Value::Object(zstd)) = codec.get_mut("configuration")
        {
            // Others leave it out, and it does not matter to who decodes.
            zstd.entry("checksum").or_insert(json!(false));
        }
        if OF_ARRAYS.contains(&id) {
            moved.push((id.to_owned(), configuration(&codec)));
        } else if let Some(ours) = behind_bytes(id, &configuration(&codec), None) {
            out.push(ours);
        } else if moved.is_empty() && KNOWN_OTHERWISE.contains(&id) {
            let mut codec = configuration(&codec);
            codec.insert("id".to_owned(), id.into());
            // Written where it is not numcodecs' own default only; to decode, no value matters.
            for (key, value) in [
                ("cname", json!("lz4")),
                ("clevel", json!(5)),
                ("shuffle", json!(1)),
                ("blocksize", json!(0)),
            ] {
                if id == "blosc" {
                    codec.entry(key).or_insert(value);
                }
            }
            if id != "blosc" {
                codec.entry("level").or_insert(json!(1));
            }
            let converted = converted(&codec)?;
            out.extend(converted.map(serde_json::to_value).transpose().map_err(|error| error.to_string())?);
        } else if moved.is_empty() {
            out.push(codec);
        } else if name == "bytes" {
            let endian =
                codec.pointer("/configuration/endian").and_then(Value::as_str).unwrap_or("little").to_owned();
            out.push(json!({"name": "bytes", "configuration": {"endian": endian}}));
            let behind = moved.drain(..);
            out.extend(
                behind.filter_map(|(id, configuration)| behind_bytes(&id, &configuration, Some(&endian))),
            );
        } else {
            let (first, _) = &moved[0];
            return Err(format!("the codec `{first}` before `{name}` is not supported"));
        }
    }
    Ok(out)
}

/// Makes the codecs known to `zarrs`; calling it again changes nothing.
pub(crate) fn register() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        register_codec_v3(CodecRuntimePluginV3::new(
            |name| name == NAME,
            |metadata| {
                let configuration = metadata.configuration().cloned().unwrap_or_default();
                let step = Step::new(&Value::Object(configuration.into()));
                let step = step.map_err(PluginCreateError::Other)?;
                Ok(Codec::BytesToBytes(Arc::new(step)))
            },
        ));
    });
}

/// How numbers lie in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Numbers {
    kind: Kind,
    size: usize,
    is_big: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bool,
    Int,
    UInt,
    Float,
}

/// A number with all its digits.
#[derive(Clone, Copy)]
enum Number {
    Int(i128),
    Float(f64),
}

impl Number {
    fn float(self) -> f64 {
        match self {
            Self::Int(value) => value as f64,
            Self::Float(value) => value,
        }
    }
}

impl Numbers {
    /// NumPy's name of a dtype, such as `<i4`; times count as integers. `endian` replaces its byte order.
    fn new(name: &str, endian: Option<&str>) -> Result<Self, String> {
        let unknown = || format!("the data type `{name}` is not supported here");
        let plain = name.trim_start_matches(['<', '>', '|', '=']);
        let plain = plain.split('[').next().unwrap_or_default();
        let is_big = endian.map_or(name.starts_with('>'), |endian| endian == "big");
        let (kind, size) = plain.split_at_checked(1).ok_or_else(unknown)?;
        let size: usize = size.parse().map_err(|_| unknown())?;
        let kind = match (kind, size) {
            ("b", 1) => Kind::Bool,
            ("i", 1 | 2 | 4 | 8) | ("M" | "m", 8) => Kind::Int,
            ("u", 1 | 2 | 4 | 8) => Kind::UInt,
            ("f", 2 | 4 | 8) => Kind::Float,
            _ => return Err(unknown()),
        };
        Ok(Self { kind, size, is_big })
    }

    fn read(self, bytes: &[u8]) -> Number {
        let mut raw = [0u8; 8];
        raw[..self.size].copy_from_slice(&bytes[..self.size]);
        if self.is_big {
            raw[..self.size].reverse();
        }
        let unsigned = u64::from_le_bytes(raw);
        match self.kind {
            Kind::Bool => Number::Int(i128::from(unsigned != 0)),
            Kind::UInt => Number::Int(i128::from(unsigned)),
            Kind::Int => {
                let unused = 64 - 8 * self.size as u32;
                Number::Int(i128::from((unsigned << unused).cast_signed() >> unused))
            }
            Kind::Float => Number::Float(match self.size {
                2 => f64::from(f16::from_bits(unsigned as u16)),
                4 => f64::from(f32::from_bits(unsigned as u32)),
                _ => f64::from_bits(unsigned),
            }),
        }
    }

    /// As NumPy casts: integers wrap, fractions are cut off.
    fn write(self, number: Number, out: &mut Vec<u8>) {
        let bits: u64 = match (self.kind, number) {
            (Kind::Bool, number) => u64::from(number.float() != 0.0),
            (Kind::Int | Kind::UInt, Number::Int(value)) => value as u64,
            (Kind::Int, Number::Float(value)) => (value as i64).cast_unsigned(),
            (Kind::UInt, Number::Float(value)) if value < 0.0 => (value as i64).cast_unsigned(),
            (Kind::UInt, Number::Float(value)) => value as u64,
            (Kind::Float, number) => match (self.size, number) {
                (2, number) => u64::from(f16::from_f64(number.float()).to_bits()),
                // In one step: by way of a double, integers would be rounded twice.
                (4, Number::Int(value)) => u64::from((value as f32).to_bits()),
                (4, Number::Float(value)) => u64::from((value as f32).to_bits()),
                (_, number) => number.float().to_bits(),
            },
        };
        let mut raw = bits.to_le_bytes();
        if self.is_big {
            raw[..self.size].reverse();
        }
        out.extend_from_slice(&raw[..self.size]);
    }

    /// A number as these can hold it.
    fn rounded(self, number: Number) -> Number {
        let mut out = Vec::with_capacity(8);
        self.write(number, &mut out);
        self.read(&out)
    }
}

#[derive(Clone, Copy, Debug)]
enum Checksum {
    Adler32,
    Crc32,
    Crc32c,
}

/// One codec.
#[derive(Clone, Copy, Debug)]
enum Step {
    Lz4,
    Checksum {
        kind: Checksum,
        is_first: bool,
    },
    Delta {
        stored: Numbers,
        decoded: Numbers,
    },
    FixedScaleOffset {
        stored: Numbers,
        decoded: Numbers,
        scale: f64,
        offset: f64,
    },
    /// Also quantized numbers, of which the lost digits are lost.
    Cast {
        stored: Numbers,
        decoded: Numbers,
    },
    PackBits,
}

impl Step {
    fn new(configuration: &Value) -> Result<Self, String> {
        let text = |key: &str| configuration.get(key).and_then(Value::as_str);
        let id = text("id").unwrap_or_default();
        let numbers = |key: &str| {
            let name = text(key).ok_or_else(|| format!("the codec `{id}` does not say its `{key}`"))?;
            Numbers::new(name, text("endian")).map_err(|message| format!("the codec `{id}`: {message}"))
        };
        let number = |key: &str| {
            let number = configuration.get(key).and_then(Value::as_f64);
            number.ok_or_else(|| format!("the codec `{id}` has no number `{key}`"))
        };
        let stored = || if text("astype").is_some() { numbers("astype") } else { numbers("dtype") };
        let checksum = |kind, usual| match text("location").unwrap_or(usual) {
            "start" => Ok(Self::Checksum { kind, is_first: true }),
            "end" => Ok(Self::Checksum { kind, is_first: false }),
            other => Err(format!("the codec `{id}` has its checksum at `{other}`")),
        };
        match id {
            "lz4" => Ok(Self::Lz4),
            "adler32" => checksum(Checksum::Adler32, "start"),
            "crc32" => checksum(Checksum::Crc32, "start"),
            "crc32c" => checksum(Checksum::Crc32c, "end"),
            "delta" => Ok(Self::Delta { stored: stored()?, decoded: numbers("dtype")? }),
            "quantize" => Ok(Self::Cast { stored: stored()?, decoded: numbers("dtype")? }),
            "astype" => {
                Ok(Self::Cast { stored: numbers("encode_dtype")?, decoded: numbers("decode_dtype")? })
            }
            "fixedscaleoffset" => {
                let (scale, offset) = (number("scale")?, number("offset")?);
                Ok(Self::FixedScaleOffset { stored: stored()?, decoded: numbers("dtype")?, scale, offset })
            }
            "packbits" => Ok(Self::PackBits),
            _ => Err(format!("the codec `{id}` is not known")),
        }
    }

    fn decoded(self, stored: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Self::Lz4 => {
                let (length, block) = stored.split_first_chunk::<4>().ok_or("lz4 without its length")?;
                let length = u32::from_le_bytes(*length) as usize;
                // No byte of a block stands for more than 255.
                if length > block.len().saturating_mul(255) {
                    return Err(format!("lz4 of {} bytes cannot be {length} bytes long", block.len()));
                }
                let bytes =
                    lz4_flex::block::decompress(block, length).map_err(|error| format!("lz4: {error}"))?;
                match bytes.len() == length {
                    true => Ok(bytes),
                    false => Err(format!("lz4 holds {} bytes, not {length}", bytes.len())),
                }
            }
            Self::Checksum { kind, is_first } => {
                let (sum, bytes) = match is_first {
                    true => stored.split_first_chunk::<4>(),
                    false => stored.split_last_chunk::<4>().map(|(bytes, sum)| (sum, bytes)),
                }
                .ok_or("a checksum is missing")?;
                let (name, found) = match kind {
                    Checksum::Adler32 => ("adler32", simd_adler32::adler32(&bytes)),
                    Checksum::Crc32 => ("crc32", crc32fast::hash(bytes)),
                    Checksum::Crc32c => ("crc32c", crc32c::crc32c(bytes)),
                };
                match found == u32::from_le_bytes(*sum) {
                    true => Ok(bytes.to_vec()),
                    false => Err(format!("the checksum ({name}) is not that of the bytes")),
                }
            }
            Self::Cast { stored: from, decoded: to } => each(stored, from, to, |number| number),
            Self::Delta { stored: from, decoded: to } => {
                let mut sum = Number::Int(0);
                let is_float = to.kind == Kind::Float;
                each(stored, from, to, |number| {
                    sum = to.rounded(match (sum, number) {
                        (Number::Int(a), Number::Int(b)) if !is_float => Number::Int(a.wrapping_add(b)),
                        (a, b) => Number::Float(a.float() + to.rounded(b).float()),
                    });
                    sum
                })
            }
            Self::FixedScaleOffset { stored: from, decoded: to, scale, offset } => {
                // NumPy computes floats in their own precision, and integers in double.
                let in_own = |value: f64| {
                    if from.kind == Kind::Float { from.rounded(Number::Float(value)).float() } else { value }
                };
                let (scale, offset) = (in_own(scale), in_own(offset));
                each(stored, from, to, |number| {
                    Number::Float(in_own(in_own(number.float() / scale) + offset))
                })
            }
            Self::PackBits => {
                let (&padding, packed) = stored.split_first().ok_or("packed bits without their padding")?;
                let bits = (packed.len() * 8).checked_sub(usize::from(padding)).filter(|_| padding < 8);
                let bits = bits.ok_or_else(|| {
                    format!("packed bits of {} bytes with {padding} of padding", packed.len())
                })?;
                Ok((0..bits).map(|bit| (packed[bit / 8] >> (7 - bit % 8)) & 1).collect())
            }
        }
    }

    fn encoded(self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Self::Lz4 => {
                let length = u32::try_from(bytes.len())
                    .map_err(|_| format!("lz4 has no chunks of {} bytes; make them smaller", bytes.len()))?;
                let mut out = length.to_le_bytes().to_vec();
                out.extend(lz4_flex::block::compress(bytes));
                Ok(out)
            }
            Self::Delta { stored: to, decoded: from } if from.kind != Kind::Float && to == from => {
                let mut before = 0;
                each(bytes, from, to, |number| match number {
                    Number::Int(value) => Number::Int(value - std::mem::replace(&mut before, value)),
                    Number::Float(_) => number,
                })
            }
            _ => Err(format!("nothing is written with the codec `{}`", self.id())),
        }
    }

    fn id(self) -> &'static str {
        match self {
            Self::Lz4 => "lz4",
            Self::Checksum { kind: Checksum::Adler32, .. } => "adler32",
            Self::Checksum { kind: Checksum::Crc32, .. } => "crc32",
            Self::Checksum { kind: Checksum::Crc32c, .. } => "crc32c",
            Self::Delta { .. } => "delta",
            Self::FixedScaleOffset { .. } => "fixedscaleoffset",
            Self::Cast { .. } => "astype or quantize",
            Self::PackBits => "packbits",
        }
    }
}

/// Every number, one after the other.
fn each(
    stored: &[u8],
    from: Numbers,
    to: Numbers,
    mut make: impl FnMut(Number) -> Number,
) -> Result<Vec<u8>, String> {
    if !stored.len().is_multiple_of(from.size) {
        return Err(format!("{} bytes are no numbers of {} bytes", stored.len(), from.size));
    }
    let mut out = Vec::with_capacity(stored.len() / from.size * to.size);
    for bytes in stored.chunks_exact(from.size) {
        to.write(make(from.read(bytes)), &mut out);
    }
    Ok(out)
}

impl ExtensionName for Step {
    fn name(&self, _: ZarrVersion) -> Option<Cow<'static, str>> {
        Some(NAME.into())
    }
}

impl CodecTraits for Step {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn configuration(&self, _: ZarrVersion, _: &CodecMetadataOptions) -> Option<Configuration> {
        None
    }

    fn partial_decoder_capability(&self) -> PartialDecoderCapability {
        PartialDecoderCapability { partial_read: false, partial_decode: false }
    }

    fn partial_encoder_capability(&self) -> PartialEncoderCapability {
        PartialEncoderCapability { partial_encode: false }
    }
}

impl BytesToBytesCodecTraits for Step {
    fn into_dyn(self: Arc<Self>) -> Arc<dyn BytesToBytesCodecTraits> {
        self
    }

    fn recommended_concurrency(&self, _: &BytesRepresentation) -> Result<RecommendedConcurrency, CodecError> {
        Ok(RecommendedConcurrency::new_maximum(1))
    }

    fn encoded_representation(&self, _: &BytesRepresentation) -> BytesRepresentation {
        BytesRepresentation::UnboundedSize
    }

    fn encode<'a>(&self, bytes: Cow<'a, [u8]>, _: &CodecOptions) -> Result<Cow<'a, [u8]>, CodecError> {
        self.encoded(&bytes).map(Cow::from).map_err(CodecError::Other)
    }

    fn decode<'a>(
        &self,
        encoded: Cow<'a, [u8]>,
        expected: &BytesRepresentation,
        _: &CodecOptions,
    ) -> Result<Cow<'a, [u8]>, CodecError> {
        let bytes = self.decoded(&encoded).map_err(CodecError::Other)?;
        match expected {
            BytesRepresentation::FixedSize(expected) if bytes.len() as u64 != *expected => {
                let (id, made) = (self.id(), bytes.len());
                Err(CodecError::Other(format!("the codec `{id}` makes {made} bytes and not {expected}")))
            }
            _ => Ok(bytes.into()),
        }
    }
}
