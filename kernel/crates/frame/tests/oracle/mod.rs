//! Owns running the scripts that say what is right, and comparing with what they say.

use std::{path::Path, process::Command};

use nuna_frame::DataTable;
pub(crate) use nuna_testing::python;
use serde_json::Value;

#[track_caller]
pub(crate) fn assert_same(what: &str, found: &DataTable, expected: &Value, tolerance: f64) {
    let expected = expected.as_object().unwrap();
    let mut names: Vec<&String> = expected.keys().collect();
    let mut columns = found.columns();
    names.sort();
    columns.sort();
    assert_eq!(columns.iter().collect::<Vec<_>>(), names, "{what}");
    for (name, values) in expected {
        let values = values.as_array().unwrap();
        assert_eq!(found.len(), values.len(), "{what}.{name}");
        let texts = found.column_text(name).unwrap();
        for (row, (text, value)) in texts.iter().zip(values).enumerate() {
            let place = format!("{what}.{name}[{row}]");
            match value {
                Value::Null => assert_eq!(text, "", "{place}"),
                Value::Bool(value) => assert_eq!(text, &value.to_string(), "{place}"),
                Value::String(value) => assert_eq!(text, value, "{place}"),
                Value::Number(value) => {
                    let (found, wanted): (f64, f64) =
                        (text.parse().unwrap_or(f64::NAN), value.as_f64().unwrap());
                    let is_same = match value.as_i64() {
                        Some(whole) if !text.contains('.') => text == &whole.to_string(),
                        _ => (found - wanted).abs() <= tolerance * wanted.abs().max(1e-300),
                    };
                    assert!(is_same, "{place}: {text}, expected {value}");
                }
                other => panic!("{place}: {other}"),
            }
        }
    }
}

/// Runs a script of this folder with a new folder, which it fills, and reads its `expected.json`.
pub(crate) fn run(script: &str) -> (tempfile::TempDir, Value) {
    let folder = tempfile::tempdir().unwrap();
    script_in(script, folder.path(), &[]);
    let text = std::fs::read_to_string(folder.path().join("expected.json")).unwrap();
    (folder, serde_json::from_str(&text).unwrap())
}

/// Runs a script of this folder.
pub(crate) fn script_in(script: &str, folder: &Path, arguments: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle").join(script);
    let output = Command::new(python()).arg(script).arg(folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
