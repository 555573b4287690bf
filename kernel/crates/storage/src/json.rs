//! Owns JSON as Python writes it, which knows `NaN` and `Infinity`; these become the strings that Zarr uses for them.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{error::StorageError, place};

/// Attributes of a variable or a group, in the order in which they were written.
pub type Attributes = serde_json::Map<String, Value>;

/// Reads a metadata file, also from an address; `None` if there is no such file.
pub(crate) fn read(file: &Path) -> Result<Option<Value>, StorageError> {
    parsed(file, place::begin(file)?.wait()?)
}

/// Files read at a time, where that saves waiting.
const READ_AT_ONCE: usize = 32;

/// Reads several JSON documents, those at addresses side by side; `None` for those that are not there.
///
/// # Errors
/// If one cannot be read or is no JSON.
pub fn read_documents(files: &[PathBuf]) -> Result<Vec<Option<Value>>, StorageError> {
    let mut found = Vec::with_capacity(files.len());
    for files in files.chunks(READ_AT_ONCE) {
        let begun = files.iter().map(|file| place::begin(file)).collect::<Result<Vec<_>, _>>()?;
        for (file, reading) in files.iter().zip(begun) {
            found.push(parsed(file, reading.wait()?)?);
        }
    }
    Ok(found)
}

/// The document that was read from `file`.
pub(crate) fn parsed(file: &Path, bytes: Option<Vec<u8>>) -> Result<Option<Value>, StorageError> {
    let damaged = |message: String| StorageError::Metadata { file: place::shown(file), message };
    bytes.map(from_bytes).transpose().map_err(damaged)
}

/// Reads the bytes of a metadata file.
pub(crate) fn from_bytes(bytes: Vec<u8>) -> Result<Value, String> {
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    if text.trim().is_empty() {
        return Err("the file is empty".to_owned());
    }
    parse(&text)
}

fn parse(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).or_else(|first| {
        serde_json::from_str(&quote_constants(text)).map_err(|_| format!("it is not JSON: {first}"))
    })
}

/// Puts quotes around Python's bare `NaN`, `Infinity` and `-Infinity` wherever they stand outside of strings.
fn quote_constants(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    let mut in_string = false;
    'text: while let Some(c) = rest.chars().next() {
        if in_string {
            let taken = if c == '\\' { rest.chars().take(2).map(char::len_utf8).sum() } else { c.len_utf8() };
            in_string = c != '"';
            out.push_str(&rest[..taken]);
            rest = &rest[taken..];
            continue;
        }
        for constant in ["NaN", "-Infinity", "Infinity"] {
            if let Some(after) = rest.strip_prefix(constant) {
                out.push('"');
                out.push_str(constant);
                out.push('"');
                rest = after;
                continue 'text;
            }
        }
        in_string = c == '"';
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_constants_become_strings_but_text_stays() {
        let value = parse(r#"{"a": NaN, "b": [-Infinity, 1], "c": "NaN \" Infinity"}"#).unwrap();
        assert_eq!(value["a"], "NaN");
        assert_eq!(value["b"][0], "-Infinity");
        assert_eq!(value["c"], "NaN \" Infinity");
    }

    #[test]
    fn damage_is_reported_with_its_place() {
        let error = parse("{\"a\": 1").unwrap_err();
        assert!(error.contains("line 1"), "{error}");
    }
}
