//! Owns what elements and filters of files are in metadata of Zarr's version 2.

use nuna_netcdf::{Element, Filter, Kind, Placement};
use serde_json::{Value, json};

/// A filter as numcodecs has it.
pub(super) fn codec(filter: Filter) -> Result<Value, String> {
    match filter {
        // Levels matter to who writes.
        Filter::Deflate => Ok(json!({"id": "zlib", "level": 1})),
        Filter::Zstd => Ok(json!({"id": "zstd", "level": 1})),
        Filter::Shuffle { element_bytes } => Ok(json!({"id": "shuffle", "elementsize": element_bytes})),
        Filter::Fletcher32 => Ok(json!({"id": "fletcher32"})),
        Filter::Lzf => Err("its chunks are compressed with lzf, for which Zarr has no codec".to_owned()),
    }
}

/// NumPy's name of elements.
pub(super) fn dtype(element: Element) -> Result<String, String> {
    let code = match element.kind {
        Kind::Int => 'i',
        Kind::UInt => 'u',
        Kind::Float => 'f',
        Kind::Bool => 'b',
        Kind::Text => 'S',
        Kind::LongText => return Err("it is text of any length".to_owned()),
    };
    let order = match (element.size, element.kind, element.big_endian) {
        (1, ..) | (_, Kind::Text, _) => '|',
        (_, _, true) => '>',
        (_, _, false) => '<',
    };
    Ok(format!("{order}{code}{}", element.size))
}

/// Whether a fill value is one of the elements.
pub(super) fn fits(element: Element, value: &Value) -> bool {
    let bits = 8 * element.size.min(8);
    match element.kind {
        Kind::Int => {
            value.as_i64().is_some_and(|x| bits == 64 || x >> (bits - 1) == 0 || x >> (bits - 1) == -1)
        }
        Kind::UInt => value.as_u64().is_some_and(|x| bits == 64 || x >> bits == 0),
        Kind::Float => value.is_number() || ["NaN", "Infinity", "-Infinity"].iter().any(|name| value == name),
        Kind::Bool | Kind::Text | Kind::LongText => false,
    }
}

/// What the file has for elements that were never written; `None` where that is 0.
pub(super) fn unwritten(placement: &Placement) -> Option<Value> {
    let Element { kind, size, big_endian } = placement.element;
    let mut raw = [0u8; 8];
    let bytes = placement.fill.get(..size.min(8) as usize)?;
    raw[..bytes.len()].copy_from_slice(bytes);
    if big_endian {
        raw[..bytes.len()].reverse();
    }
    let bits = u64::from_le_bytes(raw);
    let number = |x: f64| match serde_json::Number::from_f64(x) {
        Some(number) => Value::Number(number),
        None if x.is_nan() => "NaN".into(),
        None if x > 0.0 => "Infinity".into(),
        None => "-Infinity".into(),
    };
    match (kind, size) {
        _ if bits == 0 => None,
        (Kind::Int, 1 | 2 | 4 | 8) => {
            let unused = 64 - 8 * size;
            Some(((bits << unused).cast_signed() >> unused).into())
        }
        (Kind::UInt, _) => Some(bits.into()),
        (Kind::Float, 2) => Some(number(half::f16::from_bits(bits as u16).to_f64())),
        (Kind::Float, 4) => Some(number(f64::from(f32::from_bits(bits as u32)))),
        (Kind::Float, 8) => Some(number(f64::from_bits(bits))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fill_values_that_are_no_elements_stay_attributes() {
        let element = |kind, size| Element { kind, size, big_endian: false };
        assert!(fits(element(Kind::Int, 2), &json!(-32768)));
        assert!(!fits(element(Kind::Int, 2), &json!(-32769)));
        assert!(!fits(element(Kind::Int, 2), &json!(1.5)));
        assert!(fits(element(Kind::UInt, 1), &json!(255)));
        assert!(!fits(element(Kind::UInt, 1), &json!(256)) && !fits(element(Kind::UInt, 1), &json!(-1)));
        assert!(
            fits(element(Kind::Float, 4), &json!("NaN")) && !fits(element(Kind::Float, 4), &json!("none"))
        );
        assert!(
            fits(element(Kind::Int, 8), &json!(i64::MIN)) && fits(element(Kind::UInt, 8), &json!(u64::MAX))
        );
    }
}
