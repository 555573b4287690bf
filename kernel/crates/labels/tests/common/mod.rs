//! Stores and expected results, made by xarray once per test program.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]
#![allow(dead_code, reason = "each test program uses a part")]

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use nuna_labels::{Coord, DataArray, Dataset, Values};
pub(crate) use nuna_testing::python;
use serde_json::{Value, json};

pub(crate) struct Stores {
    folder: tempfile::TempDir,
    pub(crate) expected: Value,
}

pub(crate) fn run(script: &str, arguments: &[&Path]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle").join(script);
    let output = Command::new(python()).arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a line of Python prints.
pub(crate) fn run_python(code: &str, arguments: &[&Path]) -> String {
    let output = Command::new(python()).arg("-c").arg(code).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) static STORES: LazyLock<Stores> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    run("make_stores.py", &[folder.path()]);
    let text = std::fs::read_to_string(folder.path().join("expected.json")).unwrap();
    Stores { folder, expected: serde_json::from_str(&text).unwrap() }
});

impl Stores {
    pub(crate) fn path(&self, store: &str) -> PathBuf {
        self.folder.path().join(store)
    }
}

/// Equal to `tolerance`, relative to the value or, since differences of float32 cancel, a tenth of the largest one; missing is
/// null in the expected JSON.
#[track_caller]
pub(crate) fn assert_close(what: &str, found: &[f64], expected: &Value, tolerance: f64) {
    let expected = expected.as_array().unwrap();
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().filter_map(Value::as_f64).fold(0.0, |a: f64, b| a.max(b.abs()));
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let expected = match expected {
            Value::Bool(b) => f64::from(u8::from(*b)),
            other => other.as_f64().unwrap_or(f64::NAN),
        };
        let same = (found.is_nan() && expected.is_nan())
            || (found - expected).abs() <= tolerance * expected.abs().max(0.1 * largest);
        assert!(same, "{what}[{index}]: {found}, expected {expected}");
    }
}

/// Labels as the expected JSON has them.
pub(crate) fn plain(coord: &Coord) -> Value {
    match coord.values().unwrap() {
        Values::Times(times) => (0..times.len()).map(|i| times.iso(i)).collect(),
        Values::Text(text) => json!(text),
        Values::Numbers(chunk) => json!(chunk.to_vec::<f64>()),
    }
}

#[track_caller]
pub(crate) fn assert_labels(what: &str, coord: &Coord, expected: &Value) {
    let found = plain(coord);
    match coord.values().unwrap() {
        Values::Numbers(chunk) => assert_close(what, &chunk.to_vec::<f64>(), expected, 1e-12),
        Values::Times(_) | Values::Text(_) => assert_eq!(&found, expected, "{what}"),
    }
}

#[track_caller]
pub(crate) fn assert_same(what: &str, found: &DataArray, expected: &Value, tolerance: f64) {
    let dims: Vec<_> = expected["dims"].as_array().unwrap().iter().map(|d| d.as_str().unwrap()).collect();
    assert_eq!(found.dims(), dims, "{what}");
    assert_eq!(found.dtype().name(), expected["dtype"], "{what}");
    if found.dtype().is_integer() {
        // Exactly, also beyond what doubles hold.
        let values: Vec<Option<i64>> =
            found.to_chunk().unwrap().to_vec::<i64>().into_iter().map(Some).collect();
        let wanted: Vec<Option<i64>> = expected["values"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_i64().or_else(|| v.as_u64().map(u64::cast_signed)))
            .collect();
        assert_eq!(values, wanted, "{what}");
    } else {
        assert_close(what, &found.values_f64().unwrap(), &expected["values"], tolerance);
    }
    for (name, values) in expected["coords"].as_object().unwrap() {
        let coord = found.coord(name).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_labels(&format!("{what}.{name}"), coord, values);
    }
    assert_eq!(
        found.coords().names().len(),
        expected["coords"].as_object().unwrap().len(),
        "{what}: {:?}",
        found.coords().names()
    );
    let attrs: Value = found
        .attrs()
        .iter()
        .filter(|(_, v)| v.is_string())
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect::<serde_json::Map<_, _>>()
        .into();
    assert_eq!(attrs, expected["attrs"], "{what}");
}

/// Everything in a dataset that can be compared: dims, values, labels, attributes.
pub(crate) fn contents(dataset: &Dataset) -> Vec<String> {
    let mut out = vec![format!("{:?}", dataset.attrs())];
    let mut names = dataset.names();
    names.sort();
    for name in names {
        let array = dataset.var(&name).unwrap();
        let values = array.values_f64().unwrap();
        out.push(format!("{name} {:?} {:?} {:?} {:?}", array.dims(), array.shape(), array.attrs(), values));
        for (dim, &n) in array.dims().iter().zip(array.shape()) {
            if let Ok(coord) = array.coord(dim) {
                let labels = coord.values().unwrap();
                out.extend((0..n as usize).map(|index| format!("{dim} {}", labels.show(index))));
            }
        }
    }
    out
}
