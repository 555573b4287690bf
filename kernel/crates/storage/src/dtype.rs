//! Owns the data types of arrays that are no text: what metadata calls them, and which of them are rewritten to what is left to
//! decode. Instants and durations of NumPy become integers with units.

use nuna_chunk::DType;
use serde_json::{Map, Value};

use crate::{
    cf::{NOT_A_TIME, Stored},
    json::Attributes,
    metadata::ZarrFormat,
};

/// The type of an array's elements, which are no text. The metadata is rewritten where others spell it otherwise, and instants get
/// their units.
///
/// # Errors
/// In words, if elements of the type cannot be read.
pub(crate) fn stored(
    format: ZarrFormat,
    array: &mut Map<String, Value>,
    attrs: &mut Attributes,
) -> Result<Stored, String> {
    match format {
        ZarrFormat::V2 => v2(array, attrs),
        ZarrFormat::V3 => v3(array, attrs),
    }
}

fn unsupported(name: &str) -> String {
    format!("its data type `{name}` is not supported")
}

fn v2(array: &mut Map<String, Value>, attrs: &mut Attributes) -> Result<Stored, String> {
    let dtype = array.get("dtype").ok_or("its metadata has no `dtype`")?;
    let Some(name) = dtype.as_str().map(str::to_owned) else {
        return Err("structured data types are not supported".to_owned());
    };
    let bare = name.trim_start_matches(['<', '>', '|', '=']);
    match bare.split_at_checked(1) {
        Some(("f", "2")) => return Ok(Stored::F16),
        // Of one byte there is no order, whatever some write.
        Some(("b" | "i" | "u", "1")) => drop(array.insert("dtype".to_owned(), format!("|{bare}").into())),
        Some((kind @ ("M" | "m"), rest)) => {
            let unit = rest.strip_prefix("8[").and_then(|rest| rest.strip_suffix(']')).and_then(words);
            let unit = unit.ok_or_else(|| unsupported(&name))?;
            let order = if name.starts_with('>') { '>' } else { '<' };
            array.insert("dtype".to_owned(), format!("{order}i8").into());
            count(unit, kind == "M", array, attrs);
            return Ok(Stored::Plain(DType::I64));
        }
        _ => {}
    }
    bare.parse().map(Stored::Plain).map_err(|_| unsupported(&name))
}

fn v3(array: &mut Map<String, Value>, attrs: &mut Attributes) -> Result<Stored, String> {
    let dtype = array.get("data_type").ok_or("its metadata has no `data_type`")?;
    let name = dtype.as_str().or_else(|| dtype.get("name").and_then(Value::as_str));
    let name = name.unwrap_or("of unknown form").to_owned();
    match name.as_str() {
        "float16" => Ok(Stored::F16),
        "numpy.datetime64" | "numpy.timedelta64" => {
            let setting = |key: &str| dtype.get("configuration").and_then(|all| all.get(key));
            let unit = setting("unit").and_then(Value::as_str).unwrap_or_default();
            let factor = setting("scale_factor").map_or(Some(1), Value::as_u64).unwrap_or(0);
            let known = words(unit).filter(|_| factor == 1);
            let known = known
                .ok_or_else(|| format!("its data type `{name}` of {factor} `{unit}` is not supported"))?;
            array.insert("data_type".to_owned(), "int64".into());
            count(known, name == "numpy.datetime64", array, attrs);
            Ok(Stored::Plain(DType::I64))
        }
        name => name.parse().map(Stored::Plain).map_err(|_| unsupported(name)),
    }
}

/// NumPy's units as CF has them; `None` for those of no fixed length, and for several at once.
fn words(unit: &str) -> Option<&'static str> {
    match unit {
        "D" => Some("days"),
        "h" => Some("hours"),
        "m" => Some("minutes"),
        "s" => Some("seconds"),
        "ms" => Some("milliseconds"),
        "us" | "μs" => Some("microseconds"),
        "ns" => Some("nanoseconds"),
        _ => None,
    }
}

/// Has integers count a unit.
fn count(unit: &str, is_instant: bool, array: &mut Map<String, Value>, attrs: &mut Attributes) {
    let units = if is_instant { format!("{unit} since 1970-01-01") } else { unit.to_owned() };
    attrs.insert("units".to_owned(), units.into());
    if is_instant {
        attrs.insert("calendar".to_owned(), "proleptic_gregorian".into());
    }
    if array.get("fill_value").is_some_and(|fill| fill == "NaT") {
        array.insert("fill_value".to_owned(), NOT_A_TIME.into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(format: ZarrFormat, document: Value) -> (Result<Stored, String>, Value, Value) {
        let Value::Object(mut array) = document else { panic!("an object") };
        let mut attrs = Attributes::new();
        let found = stored(format, &mut array, &mut attrs);
        (found, array.into(), attrs.into())
    }

    #[test]
    fn instants_are_integers_with_units() {
        let (found, array, attrs) = read(ZarrFormat::V2, json!({"dtype": ">M8[ms]", "fill_value": "NaT"}));
        assert_eq!(found, Ok(Stored::Plain(DType::I64)));
        assert_eq!(array, json!({"dtype": ">i8", "fill_value": i64::MIN}));
        assert_eq!(attrs["units"], "milliseconds since 1970-01-01");
        let data_type = |factor: u64| json!({"name": "numpy.timedelta64", "configuration": {"unit": "h", "scale_factor": factor}});
        let (found, array, attrs) = read(ZarrFormat::V3, json!({"data_type": data_type(1), "fill_value": 3}));
        assert_eq!(found, Ok(Stored::Plain(DType::I64)));
        assert_eq!(
            (array, attrs),
            (json!({"data_type": "int64", "fill_value": 3}), json!({"units": "hours"}))
        );
        let (found, ..) = read(ZarrFormat::V3, json!({"data_type": data_type(10), "fill_value": 3}));
        assert!(found.unwrap_err().contains("`numpy.timedelta64` of 10 `h`"));
        assert!(read(ZarrFormat::V2, json!({"dtype": "<M8[Y]"})).0.unwrap_err().contains("<M8[Y]"));
    }

    #[test]
    fn a_byte_has_no_order() {
        let (found, array, _) = read(ZarrFormat::V2, json!({"dtype": "<u1"}));
        assert_eq!((found, &array["dtype"]), (Ok(Stored::Plain(DType::U8)), &json!("|u1")));
        assert!(read(ZarrFormat::V2, json!({"dtype": "é"})).0.is_err());
    }
}
