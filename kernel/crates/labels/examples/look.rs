//! Opens files and reads everything in them: `look FILE…`. A line each: what could be read, or why not.
#![allow(clippy::print_stdout, reason = "that is what it is for")]

use nuna_labels::open_dataset;

fn main() {
    nuna_storage::register();
    for path in std::env::args().skip(1) {
        let shown = std::panic::catch_unwind(|| look(&path));
        println!("{path}: {}", shown.unwrap_or_else(|_| "PANIC".to_owned()));
    }
}

fn look(path: &str) -> String {
    let dataset = match open_dataset(path) {
        Ok(dataset) => dataset,
        Err(error) => return format!("NOT OPENED {error}"),
    };
    let mut out = Vec::new();
    for (name, variable) in dataset.variables() {
        match variable.to_chunk() {
            Ok(chunk) => {
                let sum: f64 = chunk.to_vec::<f64>().iter().filter(|v| v.is_finite()).sum();
                out.push(format!("{name}={} {:?} {sum:e}", chunk.dtype(), chunk.shape()));
            }
            Err(error) => out.push(format!("{name} UNREAD {error}")),
        }
    }
    for (name, coord) in dataset.coords().iter() {
        match coord.values() {
            Ok(values) => out.push(format!("{name}~{} {}", values.dtype_name(), values.len())),
            Err(error) => out.push(format!("{name}~UNREAD {error}")),
        }
    }
    for skipped in dataset.skipped() {
        out.push(format!("SKIPPED {skipped:?}"));
    }
    out.join("; ")
}
