//! Opens files and stores and reads everything in them, groups included: `look PATH…`. A line of JSON each: of every variable its
//! type, shape, sum and some elements, or why it could not be read; to be compared with what others read.
#![allow(clippy::print_stdout, reason = "that is what it is for")]

use nuna_labels::{DataArray, Dataset, Values, open_dataset, open_netcdf_group, open_zarr};
use serde_json::{Map, Value, json};

/// Larger arrays are not read whole: their corners are looked at.
const BYTES_MAX: u64 = 256 << 20;
/// Groups within groups.
const DEPTH_MAX: usize = 5;

fn main() {
    nuna_storage::register();
    for path in std::env::args().skip(1) {
        let shown = std::panic::catch_unwind(|| match open_dataset(&path) {
            Ok(dataset) => {
                let mut found = Map::new();
                look(&path, "", &dataset, &mut found, 0);
                Value::from(found)
            }
            Err(error) => json!({"error": error.to_string()}),
        });
        println!("{}", json!({"path": path, "found": shown.unwrap_or_else(|_| json!({"error": "PANIC"}))}));
    }
}

fn look(path: &str, group: &str, dataset: &Dataset, found: &mut Map<String, Value>, depth: usize) {
    for (name, variable) in dataset.variables() {
        found.insert(format!("{group}{name}"), elements(variable));
    }
    for (name, coord) in dataset.coords().iter() {
        let seen = match coord.values() {
            Ok(Values::Numbers(chunk)) => {
                let values = chunk.to_vec::<f64>();
                json!({"dtype": chunk.dtype().name(), "shape": coord.shape(), "sum": sum(&values), "some": some(&values)})
            }
            Ok(values) => {
                let n = values.len();
                let some: Vec<String> = places(n).into_iter().map(|at| values.show(at)).collect();
                json!({"dtype": values.dtype_name(), "shape": coord.shape(), "some": some})
            }
            Err(error) => json!({"error": error.to_string()}),
        };
        found.insert(format!("{group}{name}"), seen);
    }
    for skipped in dataset.skipped() {
        let name = &skipped.name;
        let inner = format!("{group}{name}");
        let is_group = skipped.reason.starts_with("it is a group") && depth < DEPTH_MAX;
        let opened = match is_group {
            true if std::path::Path::new(path).is_dir() => Some(open_zarr(format!("{path}/{inner}"))),
            true => Some(open_netcdf_group(path, &inner)),
            false => None,
        };
        match opened {
            Some(Ok(dataset)) => look(path, &format!("{inner}/"), &dataset, found, depth + 1),
            Some(Err(error)) => drop(found.insert(inner, json!({"error": error.to_string()}))),
            None => drop(found.insert(inner, json!({"skipped": skipped.reason}))),
        }
    }
}

fn elements(variable: &DataArray) -> Value {
    let (dtype, shape) = (variable.dtype().name(), variable.shape());
    if variable.nbytes() > BYTES_MAX {
        return json!({"dtype": dtype, "shape": shape, "large": true});
    }
    // Of complex numbers the real parts.
    let numbers = if variable.dtype().is_complex() { variable.real() } else { Ok(variable.clone()) };
    match numbers.and_then(|numbers| numbers.to_chunk()) {
        Ok(chunk) => {
            let values = chunk.to_vec::<f64>();
            json!({"dtype": dtype, "shape": shape, "sum": sum(&values), "some": some(&values)})
        }
        Err(error) => json!({"dtype": dtype, "shape": shape, "error": error.to_string()}),
    }
}

/// Of what is finite.
fn sum(values: &[f64]) -> f64 {
    values.iter().filter(|v| v.is_finite()).sum()
}

/// The first, a few between, and the last.
fn places(n: usize) -> Vec<usize> {
    if n == 0 { Vec::new() } else { vec![0, n / 3, n / 2, n - 1] }
}

fn some(values: &[f64]) -> Vec<Value> {
    places(values.len())
        .into_iter()
        .map(|at| if values[at].is_finite() { json!(values[at]) } else { json!(values[at].to_string()) })
        .collect()
}
