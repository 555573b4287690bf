//! NetCDF and HDF5 files of many kinds open as in xarray, value by value; damaged ones are errors, never panics.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::{path::PathBuf, sync::LazyLock};

use common::assert_close;
use nuna_labels::{
    Attributes, Coord, DataArray, Values, open_dataset, open_many, open_mfdataset, open_netcdf,
    open_netcdf_group,
};
use serde_json::{Value, json};

struct Files {
    folder: tempfile::TempDir,
    expected: Value,
}

static FILES: LazyLock<Files> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    common::run("make_netcdf.py", &[folder.path()]);
    let text = std::fs::read_to_string(folder.path().join("expected.json")).unwrap();
    Files { folder, expected: serde_json::from_str(&text).unwrap() }
});

fn path(name: &str) -> PathBuf {
    FILES.folder.path().join(name)
}

#[track_caller]
fn assert_labels(what: &str, coord: &Coord, expected: &Value) {
    let values = &expected["values"];
    assert_eq!(json!(coord.dims()), expected["dims"], "{what}");
    match coord.values().unwrap() {
        Values::Numbers(chunk) => assert_close(what, &chunk.to_vec::<f64>(), values, 0.0),
        Values::Times(times) => {
            let found: Value = (0..times.len()).map(|i| times.iso(i)).collect();
            assert_eq!(&found, values, "{what}");
        }
        Values::Text(text) => assert_eq!(&json!(text), values, "{what}"),
    }
}

#[track_caller]
fn assert_attributes(what: &str, found: &Attributes, expected: &Value) {
    let plain = |value: &Value| match value {
        Value::Array(values) => values.iter().map(|v| v.as_f64().map_or(v.clone(), Value::from)).collect(),
        value => value.as_f64().map_or(value.clone(), Value::from),
    };
    let found: Value =
        found.iter().map(|(k, v)| (k.clone(), plain(v))).collect::<serde_json::Map<_, _>>().into();
    assert_eq!(&found, expected, "attributes of {what}");
}

#[track_caller]
fn assert_variable(what: &str, found: &DataArray, expected: &Value) {
    // Libraries number dimensions without a name each in their own way.
    if !found.dims().iter().any(|dim| dim.starts_with("phony_dim")) {
        assert_eq!(json!(found.dims()), expected["dims"], "{what}");
    }
    assert_eq!(json!(found.shape()), expected["shape"], "{what}");
    // Half precision is for storage.
    let dtype = if expected["dtype"] == "float16" { json!("float32") } else { expected["dtype"].clone() };
    assert_eq!(found.dtype().name(), dtype, "{what}");
    // Products of packed numbers may be rounded once more or less.
    let tolerance = if what.contains("packed32") { 1e-6 } else { 1e-15 };
    assert_close(what, &found.values_f64().unwrap(), &expected["values"], tolerance);
    let attrs = &expected["attrs"];
    let attrs = if attrs.get("dtype").is_some() { json!({}) } else { attrs.clone() };
    assert_attributes(what, found.attrs(), &attrs);
}

#[test]
fn files_open_as_in_xarray() {
    let expected = FILES.expected.as_object().unwrap();
    assert!(expected.len() > 20);
    for (key, expected) in expected {
        let Some((file, group)) = key.split_once(':') else { continue };
        let ds = open_netcdf_group(path(file), group).unwrap_or_else(|error| panic!("{key}: {error}"));
        let variables = expected["data_vars"].as_object().unwrap();
        let mut text = 0;
        for (name, expected) in variables {
            let what = format!("{key} {name}");
            if expected["is_text"] == true {
                let error = ds.var(name).unwrap_err().to_string();
                assert!(error.contains("string"), "{error}");
                // Rows of characters are text here, also where xarray leaves them apart.
                let coord = ds.coord(name).unwrap();
                if json!(coord.dims()) == expected["dims"] {
                    assert_labels(&what, coord, expected);
                }
                assert!(matches!(coord.values(), Ok(Values::Text(_))), "{what}");
                text += 1;
                continue;
            }
            assert_variable(&what, &ds.var(name).unwrap_or_else(|error| panic!("{what}: {error}")), expected);
        }
        let mut no_index = 0;
        for (name, expected) in expected["coords"].as_object().unwrap() {
            let what = format!("{key} {name}");
            // What has a dimension's name but other dimensions is a coordinate without an index in xarray, a variable here.
            let is_index = expected["dims"] == json!([name]);
            if !is_index && key.starts_with("groups.nc") {
                assert_variable(&what, &ds.var(name).unwrap(), expected);
                no_index += 1;
                continue;
            }
            assert_labels(&what, ds.coord(name).unwrap(), expected);
        }
        let known = ds.names().len() + text;
        assert_eq!(known, variables.len() + no_index, "{key}: {:?} {:?}", ds.names(), ds.skipped());
        assert_attributes(key, ds.attrs(), &expected["attrs"]);
    }
}

#[test]
fn boxes_of_any_chunking_are_parts_of_the_whole() {
    for (file, name) in [
        ("deflate.nc", "theta"),
        ("plain.nc", "theta"),
        ("classic.nc", "theta"),
        ("classic_records.nc", "theta"),
        ("unlimited.nc", "theta"),
        ("noshuffle.nc", "theta"),
    ] {
        let theta = open_dataset(path(file)).unwrap().var(name).unwrap();
        let whole = theta.values_f64().unwrap();
        for chunks in [[1, 1, 1], [24, 9, 12], [5, 3, 7], [1, 9, 12], [24, 1, 5], [7, 9, 1]] {
            let cut = theta.rechunk([("time", chunks[0]), ("lat", chunks[1]), ("lon", chunks[2])]).unwrap();
            let same = |(a, b): (&f64, &f64)| a == b || (a.is_nan() && b.is_nan());
            assert!(cut.values_f64().unwrap().iter().zip(&whole).all(same), "{file} {chunks:?}");
        }
        let part = theta.isel("lat", 2..5).unwrap().isel("lon", 3..4).unwrap().isel("time", 20..24).unwrap();
        let expected: Vec<f64> = (20..24)
            .flat_map(|t| (2..5).map(move |y| (t, y)))
            .map(|(t, y)| whole[(t * 9 + y) * 12 + 3])
            .collect();
        assert_eq!(format!("{:?}", part.values_f64().unwrap()), format!("{expected:?}"), "{file}");
    }
}

#[test]
fn what_cannot_be_read_says_why_beside_what_can() {
    let ds = open_netcdf(path("odd.h5")).unwrap();
    assert_eq!(ds.names(), ["good"]);
    for (name, word) in [
        ("record", "compound"),
        ("scaled", "filter 6 (scaleoffset)"),
        ("lists", "variable length"),
        ("reference", "references"),
        ("complex", "compound"),
        ("virtual", "virtual"),
        ("empty", "no elements"),
        ("link", "use `/good`"),
    ] {
        let error = ds.var(name).unwrap_err().to_string();
        assert!(error.contains(word), "{name}: {error}");
    }
    let groups = open_netcdf(path("groups.nc")).unwrap();
    assert!(
        groups.var("forecast").unwrap_err().to_string().contains("open_netcdf_group(path, \"forecast\")")
    );
    let error = open_netcdf_group(path("groups.nc"), "forecast/sea").unwrap_err().to_string();
    assert!(error.contains("no group `forecast/sea`") && error.contains("surface"), "{error}");
}

#[test]
fn paths_that_hold_no_netcdf_say_so() {
    let refused = |path: PathBuf, words: &[&str]| {
        let error = open_dataset(&path).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    refused(path("nowhere.nc"), &["nowhere.nc", "there is no store"]);
    refused(path("expected.json"), &["expected.json", "no reference file"]);
    let text = FILES.folder.path().join("plain.txt");
    std::fs::write(&text, "time,theta").unwrap();
    refused(text, &["plain.txt", "no NetCDF and no HDF5"]);
    let error = open_netcdf(FILES.folder.path()).unwrap_err().to_string();
    assert!(error.contains("it is a folder"), "{error}");
    let empty = FILES.folder.path().join("empty.nc");
    std::fs::write(&empty, "").unwrap();
    refused(empty, &["no NetCDF"]);
}

#[test]
fn a_file_that_changes_after_it_was_opened_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.nc");
    std::fs::copy(path("deflate.nc"), &copy).unwrap();
    let theta = open_netcdf(&copy).unwrap().var("theta").unwrap();
    assert!(theta.values_f64().is_ok());
    std::fs::write(&copy, std::fs::read(path("fletcher.nc")).unwrap()).unwrap();
    let error = theta.values_f64().unwrap_err().to_string();
    assert!(error.contains("copy.nc") && error.contains("open it again"), "{error}");
}

/// Reads all of a file that may be damaged; how many variables gave values.
fn read_all(path: &std::path::Path) -> usize {
    let mut good = 0;
    for group in ["", "forecast/surface", "dense"] {
        let Ok(ds) = open_netcdf_group(path, group) else { continue };
        for name in ds.names() {
            let Ok(variable) = ds.var(&name) else { continue };
            // What pretends to be huge is refused by the plan's memory bound, and would take long here.
            if variable.nbytes() < 1 << 22 {
                good += usize::from(variable.values_f64().is_ok());
            }
        }
        for coord in ds.coords().names() {
            let coord = ds.coord(&coord).unwrap();
            if coord.shape().iter().product::<u64>() < 1 << 20 {
                good += usize::from(coord.values().is_ok());
            }
        }
    }
    good
}

#[test]
fn truncated_files_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("short.nc");
    for file in ["deflate.nc", "indices_latest.h5", "indices_earliest.h5", "model.nc"] {
        let bytes = std::fs::read(path(file)).unwrap();
        for part in 0..20 {
            std::fs::write(&copy, &bytes[..bytes.len() * part / 20]).unwrap();
            let error = open_netcdf(&copy).unwrap_err().to_string();
            assert!(error.contains("short.nc"), "{file} {part}: {error}");
        }
    }
    // These have no length of their own: what is cut off is missed when it is read.
    for file in ["classic.nc", "classic_records.nc"] {
        let bytes = std::fs::read(path(file)).unwrap();
        std::fs::write(&copy, &bytes[..bytes.len() - 3000]).unwrap();
        let failed = open_netcdf(&copy).and_then(|ds| ds.compute().map(drop)).unwrap_err().to_string();
        assert!(failed.contains("truncated or damaged"), "{failed}");
    }
}

#[test]
fn damaged_files_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("damaged.nc");
    let rounds = std::env::var("NUNA_DAMAGE_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(60u64);
    let mut good = 0;
    for file in [
        "deflate.nc",
        "groups.nc",
        "indices_latest.h5",
        "indices_earliest.h5",
        "classic_records.nc",
        "fletcher.nc",
    ] {
        let bytes = std::fs::read(path(file)).unwrap();
        for seed in 0..rounds {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut next = |limit: usize| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state % limit as u64) as usize
            };
            let mut damaged = bytes.clone();
            // Metadata lies at the front, so that is hit more often.
            let reach = if seed % 2 == 0 { bytes.len() } else { bytes.len().min(6000) };
            for _ in 0..=next(6) {
                let at = next(reach);
                damaged[at] = match next(3) {
                    0 => damaged[at] ^ 1 << next(8),
                    1 => [0, 0xff, 0x7f, 0x80][next(4)],
                    _ => next(256) as u8,
                };
            }
            std::fs::write(&copy, &damaged).unwrap();
            let outcome = std::panic::catch_unwind(|| read_all(&copy));
            match outcome {
                Ok(read) => good += read,
                Err(_) => {
                    let kept = std::env::temp_dir().join(format!("nuna-damaged-{seed}-{file}"));
                    std::fs::copy(&copy, &kept).unwrap();
                    panic!("{file} damaged by seed {seed} made a panic; it is kept at {}", kept.display());
                }
            }
        }
    }
    assert!(good > 0, "some damage does not matter");
}

#[test]
fn a_series_of_files_is_one_dataset() {
    let expected = &FILES.expected["series"];
    let pattern = FILES.folder.path().join("series/part_?.nc");
    let ds = open_mfdataset(pattern.to_str().unwrap(), "time").unwrap();
    for (name, expected) in expected["data_vars"].as_object().unwrap() {
        assert_variable(&format!("series {name}"), &ds.var(name).unwrap(), expected);
    }
    for (name, expected) in expected["coords"].as_object().unwrap() {
        assert_labels(&format!("series {name}"), ds.coord(name).unwrap(), expected);
    }
    let may = ds.var("theta").unwrap().sel("time", "2000-05").unwrap();
    assert_eq!(may.shape(), [1, 9, 12]);
}

#[test]
fn files_that_do_not_fit_are_named() {
    let part = |name: &str| FILES.folder.path().join("series").join(name);
    for (other, words) in [
        ("shape.nc", &["`theta`", "length along `lon`", "12", "11", "part_0.nc", "shape.nc"][..]),
        ("dtype.nc", &["`theta`", "float32", "float64", "dtype.nc"]),
        ("calendar.nc", &["`time`", "noleap", "calendar.nc", "part_0.nc"]),
        ("labels.nc", &["`theta`", "labels along `lat` differ", "labels.nc"]),
        ("lacks.nc", &["no variable `theta`", "lacks.nc"]),
        ("missing.nc", &["missing.nc", "there is no store"]),
    ] {
        let error = open_many([part("part_0.nc"), part(other)], "time").unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{other}: {error}");
    }
    let error = open_many([part("part_0.nc")], "depth").unwrap_err().to_string();
    assert!(error.contains("no dimension `depth`") && error.contains("part_0.nc"), "{error}");
    let error = open_many(Vec::<PathBuf>::new(), "time").unwrap_err().to_string();
    assert!(error.contains("no files"), "{error}");
    let error = open_mfdataset("/nowhere/*.nc", "time").unwrap_err().to_string();
    assert!(error.contains("/nowhere/*.nc"), "{error}");
}
