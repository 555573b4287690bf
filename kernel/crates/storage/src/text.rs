//! Owns text in Zarr arrays: which of their data types are text, and text of fixed length, which is read as bytes.
//!
//! NumPy's `S` is bytes padded with NULs, its `U` is UTF-32. Characters (`S1`) make one text along their last axis, as NetCDF
//! has it and xarray reads it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{json::Attributes, metadata::ZarrFormat};

/// One text is no longer than this.
const BYTES_MAX: usize = 1 << 20;

/// How the elements of an array are text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Text {
    /// Each is as long as it is.
    Long,
    Fixed {
        /// Of an element.
        bytes: usize,
        encoding: Encoding,
        /// Elements are characters of texts, which lie along the last axis.
        is_characters: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Encoding {
    Utf8,
    Latin1,
    Utf32 { big_endian: bool },
}

/// Whether an array's elements are text. Those of fixed length become plain bytes in its metadata document, so that every
/// codec reads them.
///
/// # Errors
/// If they are text that cannot be read.
pub(crate) fn of(
    format: ZarrFormat,
    array: &mut Map<String, Value>,
    attrs: &mut Attributes,
) -> Result<Option<Text>, String> {
    let text = match format {
        ZarrFormat::V2 => of_v2(array)?,
        ZarrFormat::V3 => of_v3(array)?,
    };
    let Some(Text::Fixed { bytes, encoding, .. }) = text else { return Ok(text) };
    let is_characters =
        bytes == 1 && array.get("shape").and_then(Value::as_array).is_some_and(|n| !n.is_empty());
    let encoding = match attrs.shift_remove("_Encoding") {
        Some(named) if encoding == Encoding::Utf8 => {
            let name = named.as_str().unwrap_or_default().to_lowercase().replace('_', "-");
            match name.as_str() {
                "utf-8" | "utf8" | "ascii" | "us-ascii" => Encoding::Utf8,
                "latin-1" | "latin1" | "iso-8859-1" | "iso8859-1" => Encoding::Latin1,
                _ => return Err(format!("it is text in the encoding {named}, which is not supported")),
            }
        }
        _ => encoding,
    };
    Ok(Some(Text::Fixed { bytes, encoding, is_characters }))
}

fn of_v2(array: &mut Map<String, Value>) -> Result<Option<Text>, String> {
    let Some(name) = array.get("dtype").and_then(Value::as_str) else { return Ok(None) };
    if name == "|O" {
        let filters = array.get("filters").and_then(Value::as_array);
        let first = filters.and_then(|filters| filters.first()?.get("id")?.as_str());
        return match first {
            Some("vlen-utf8") => Ok(Some(Text::Long)),
            Some(codec) => {
                Err(format!("it holds Python objects, encoded as `{codec}`; only `vlen-utf8` is read"))
            }
            None => Err("it holds Python objects".to_owned()),
        };
    }
    let (encoding, digits) = match name.split_at_checked(2) {
        Some(("|S" | "<S" | ">S" | "=S" | "|a", digits)) => (Encoding::Utf8, digits),
        Some((order @ ("<U" | ">U" | "=U" | "|U"), digits)) => {
            (Encoding::Utf32 { big_endian: order == ">U" }, digits)
        }
        _ => return Ok(None),
    };
    let count = digits.parse().map_err(|_| format!("its data type `{name}` is not supported"))?;
    let bytes = width(name, count, encoding)?;
    let fill = match (array.get("fill_value").and_then(Value::as_str), encoding) {
        (Some(text), Encoding::Utf32 { big_endian }) => utf32(text, big_endian),
        // The specification has it in base64, and some write it as it is.
        (Some(text), _) => match STANDARD.decode(text) {
            Ok(fill) if fill.len() == bytes => fill,
            _ => text.as_bytes().to_vec(),
        },
        (None, _) => Vec::new(),
    };
    array.insert("fill_value".to_owned(), STANDARD.encode(padded(fill, bytes)).into());
    array.insert("dtype".to_owned(), format!("|V{bytes}").into());
    Ok(Some(Text::Fixed { bytes, encoding, is_characters: false }))
}

fn of_v3(array: &mut Map<String, Value>) -> Result<Option<Text>, String> {
    let name = |value: &Value| {
        value.as_str().or_else(|| value.get("name").and_then(Value::as_str)).unwrap_or_default().to_owned()
    };
    let Some(dtype) = array.get("data_type") else { return Ok(None) };
    let is_wide = match name(dtype).as_str() {
        "string" => return Ok(Some(Text::Long)),
        "fixed_length_utf32" => true,
        "null_terminated_bytes" => false,
        _ => return Ok(None),
    };
    let bytes = dtype.pointer("/configuration/length_bytes").and_then(Value::as_u64);
    let count = bytes.and_then(|bytes| usize::try_from(bytes).ok());
    let count = count.ok_or_else(|| format!("its data type `{dtype}` has no `length_bytes`"))?;
    let codecs = array.get("codecs").and_then(Value::as_array).into_iter().flatten();
    let mut orders =
        codecs.filter_map(|codec| codec.pointer("/configuration/endian").and_then(Value::as_str));
    let encoding = match is_wide {
        true => Encoding::Utf32 { big_endian: orders.next() == Some("big") },
        false => Encoding::Utf8,
    };
    let bytes = width(&dtype.to_string(), count, Encoding::Utf8)?;
    let fill = match (array.get("fill_value").and_then(Value::as_str), encoding) {
        (Some(text), Encoding::Utf32 { big_endian }) => utf32(text, big_endian),
        (Some(text), _) => STANDARD.decode(text).unwrap_or_default(),
        (None, _) => Vec::new(),
    };
    array.insert("fill_value".to_owned(), json!(padded(fill, bytes)));
    array.insert("data_type".to_owned(), format!("r{}", bytes * 8).into());
    Ok(Some(Text::Fixed { bytes, encoding, is_characters: false }))
}

/// Bytes of an element of `count` characters.
fn width(dtype: &str, count: usize, encoding: Encoding) -> Result<usize, String> {
    let size = if matches!(encoding, Encoding::Utf32 { .. }) { 4 } else { 1 };
    let bytes = count.checked_mul(size).filter(|bytes| (1..=BYTES_MAX).contains(bytes));
    bytes.ok_or_else(|| format!("its data type `{dtype}` is of no length, or of too great a one"))
}

fn padded(mut fill: Vec<u8>, bytes: usize) -> Vec<u8> {
    fill.resize(bytes, 0);
    fill
}

fn utf32(text: &str, big_endian: bool) -> Vec<u8> {
    let order = |c: char| if big_endian { u32::from(c).to_be_bytes() } else { u32::from(c).to_le_bytes() };
    text.chars().flat_map(order).collect()
}

/// Texts of `bytes` bytes each, without the NULs behind them. What is no text in its encoding becomes U+FFFD.
pub(crate) fn decoded(stored: &[u8], bytes: usize, encoding: Encoding) -> Vec<String> {
    let text = |element: &[u8]| {
        let end = element.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        match encoding {
            Encoding::Utf8 => String::from_utf8_lossy(&element[..end]).into_owned(),
            Encoding::Latin1 => element[..end].iter().copied().map(char::from).collect(),
            Encoding::Utf32 { big_endian } => {
                let (units, _) = element.as_chunks::<4>();
                let code = |&unit: &[u8; 4]| match big_endian {
                    true => u32::from_be_bytes(unit),
                    false => u32::from_le_bytes(unit),
                };
                let count = units.iter().rposition(|unit| code(unit) != 0).map_or(0, |last| last + 1);
                let character = |unit| char::from_u32(code(unit)).unwrap_or(char::REPLACEMENT_CHARACTER);
                units[..count].iter().map(character).collect()
            }
        }
    };
    stored.chunks_exact(bytes.max(1)).map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ends_where_its_nuls_begin() {
        assert_eq!(decoded(b"ab\0\0c\0d\0\0\0\0\0", 4, Encoding::Utf8), ["ab", "c\0d", ""]);
        assert_eq!(decoded(b"\xe9\0", 2, Encoding::Latin1), ["é"]);
        for big_endian in [false, true] {
            let stored = padded(utf32("é😀", big_endian), 12);
            assert_eq!(decoded(&stored, 12, Encoding::Utf32 { big_endian }), ["é😀"]);
        }
        assert_eq!(decoded(&[0xff; 4], 4, Encoding::Utf32 { big_endian: true }), ["\u{fffd}"]);
    }

    #[test]
    fn lengths_beyond_reason_are_refused() {
        for dtype in ["|S0", "<U18446744073709551615", "|S99999999", "<U4611686018427387905", "|S-1", "|S"] {
            let mut array = Map::from_iter([("dtype".to_owned(), Value::from(dtype))]);
            assert!(of(ZarrFormat::V2, &mut array, &mut Map::new()).is_err(), "{dtype}");
        }
    }

    #[test]
    fn an_encoding_that_is_not_known_is_named() {
        let mut array = Map::from_iter([("dtype".to_owned(), Value::from("|S5"))]);
        let mut attrs = Map::from_iter([("_Encoding".to_owned(), Value::from("koi8-r"))]);
        let message = of(ZarrFormat::V2, &mut array, &mut attrs).unwrap_err();
        assert!(message.contains("koi8-r"), "{message}");
    }
}
