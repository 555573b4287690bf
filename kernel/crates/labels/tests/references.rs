//! Files of references, as kerchunk makes them, hold what the files hold that they refer to; what they get wrong is said.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::{path::PathBuf, sync::LazyLock};

use nuna_labels::{
    Dataset, Values, open_dataset, open_netcdf, open_netcdf_group, open_zarr, open_zarr_group,
};

static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    common::run("make_references.py", &[folder.path()]);
    folder
});

fn path(name: &str) -> PathBuf {
    FOLDER.path().join(name)
}

fn values(dataset: &Dataset, name: &str) -> Vec<f64> {
    dataset.var(name).unwrap().values_f64().unwrap()
}

#[track_caller]
fn assert_same(found: &Dataset, expected: &Dataset) {
    let mut names = (found.names(), expected.names());
    names.0.sort();
    names.1.sort();
    assert_eq!(names.0, names.1);
    for name in names.0 {
        let (found_values, expected_values) = (values(found, &name), values(expected, &name));
        let (found, expected) = (found.var(&name).unwrap(), expected.var(&name).unwrap());
        assert_eq!((found.dims(), found.shape()), (expected.dims(), expected.shape()), "{name}");
        for (found, expected) in found_values.iter().zip(&expected_values) {
            assert!(
                found == expected || (found.is_nan() && expected.is_nan()),
                "{name}: {found}, not {expected}"
            );
        }
        assert_eq!(found.attrs().get("units"), expected.attrs().get("units"), "{name}");
    }
    let times = |dataset: &Dataset| dataset.coord("time").unwrap().values().unwrap().show(5);
    assert_eq!(times(found), times(expected));
}

#[test]
fn references_hold_what_their_files_hold() {
    let expected = open_netcdf(path("chunked.nc")).unwrap();
    for name in
        ["chunked.json", "relative.json", "templates.json", "older.json", "chunked.parq", "relative.parq"]
    {
        let found = open_zarr(path(name)).unwrap();
        assert_same(&found, &expected);
        assert_eq!(found.attrs()["title"], "references");
    }
    assert_same(&open_dataset(path("classic.json")).unwrap(), &open_netcdf(path("classic.nc")).unwrap());
}

#[test]
fn a_table_has_whole_files_bytes_and_chunks_that_are_not() {
    let found = values(&open_dataset(path("mixed.parq")).unwrap(), "m");
    assert_eq!(found[..4], [1.0, 2.0, 3.0, 4.0]);
    assert!(found[4].is_nan() && found[5].is_nan(), "{found:?}");
    assert_eq!(found[6..], [1e300, 8.0]);
}

#[track_caller]
fn texts(dataset: &Dataset, name: &str) -> Vec<String> {
    match dataset.coord(name).unwrap().values().unwrap() {
        Values::Text(text) => text.to_vec(),
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn groups_of_references_open_by_name() {
    let expected = open_netcdf_group(path("text.nc"), "forecast/surface").unwrap();
    for name in ["text.json", "text.parq"] {
        let outer = open_zarr(path(name)).unwrap();
        assert_eq!(values(&outer, "t"), (0..12).map(f64::from).collect::<Vec<_>>());
        assert_eq!(texts(&outer, "name"), ["Zürich", "Bern", ""]);
        assert!(outer.to_string().contains("open_zarr_group(path, \"forecast\")"), "{outer}");
        let group = open_zarr_group(path(name), "/forecast/surface/").unwrap();
        assert_eq!(values(&group, "u"), values(&expected, "u"));
        assert_eq!(group.attrs()["title"], "inner");
        assert!(open_zarr_group(path(name), "forecast").unwrap().names().is_empty());
        let message = open_zarr_group(path(name), "surface").unwrap_err().to_string();
        assert!(message.contains("`surface`") && message.contains("forecast/surface"), "{message}");
        assert!(open_zarr_group(path(name), "forecast/../forecast").is_err());
    }
}

#[test]
fn groups_of_stores_open_by_name() {
    for name in ["grouped2.zarr", "grouped3.zarr"] {
        for group in ["", "a", "a/b"] {
            let first = group.len() as f64;
            let found = values(&open_zarr_group(path(name), group).unwrap(), "v");
            assert_eq!(found, [first, first + 1.0, first + 2.0], "{name} {group}");
        }
        assert!(open_zarr_group(path(name), "b").unwrap_err().to_string().contains("`b`"));
        let plain = format!("plain_{name}");
        assert_eq!(values(&open_zarr_group(path(&plain), "a/b").unwrap(), "v"), [0.0, 1.0, 2.0]);
        assert!(open_zarr_group(path(&plain), "b").is_err());
    }
}

#[test]
fn text_of_fixed_length_is_read_in_both_versions() {
    for name in ["fixed2.zarr", "fixed3.zarr"] {
        let found = open_zarr(path(name)).unwrap();
        assert_eq!(texts(&found, "wide"), ["Zürich", "Bern", "😀"], "{name}");
        assert_eq!(texts(&found, "bytes"), ["ab", "", "abcde"], "{name}");
        assert_eq!(texts(&found, "square"), ["a", "b", "c", "", "é", "f"], "{name}");
        assert_eq!(found.coord("square").unwrap().dims(), ["station", "two"]);
    }
}

/// Bits of the tables and of their metadata turned over: the right elements, or an error.
#[test]
fn damaged_tables_are_errors_or_elements() {
    let inner = tempfile::tempdir_in(FOLDER.path()).unwrap();
    std::fs::copy(path("whole.bin"), inner.path().join("whole.bin")).unwrap();
    let mut state = 7u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let (mut read, mut refused) = (0, 0);
    for round in 0..200 {
        let store = inner.path().join(format!("{round}.parq"));
        std::fs::create_dir_all(store.join("m")).unwrap();
        for (name, turned) in [(".zmetadata", round % 2 == 0), ("m/refs.0.parq", round % 2 == 1)] {
            let mut bytes = std::fs::read(path("mixed.parq").join(name)).unwrap();
            if turned {
                let at = random(bytes.len());
                bytes[at] ^= 1 << random(8);
            }
            std::fs::write(store.join(name), bytes).unwrap();
        }
        let array = open_dataset(&store).and_then(|dataset| dataset.var("m"));
        match array {
            Ok(array) if array.shape().iter().product::<u64>() > 100_000 => refused += 1,
            Ok(array) => match array.values_f64() {
                Ok(values) => {
                    assert_eq!(values.len() as u64, array.shape().iter().product::<u64>());
                    read += 1;
                }
                Err(error) => {
                    assert!(!error.to_string().contains("panicked"), "{error}");
                    refused += 1;
                }
            },
            Err(_) => refused += 1,
        }
    }
    assert!(read > 20 && refused > 20, "{read} read, {refused} refused");
}

#[test]
fn an_axis_of_nothing_is_empty() {
    assert_eq!(values(&open_zarr(path("empty.json")).unwrap(), "e"), [0.0; 0]);
}

#[test]
fn what_cannot_be_reached_is_named() {
    let said = |name: &str| {
        let theta = open_zarr(path(name)).and_then(|dataset| dataset.var("theta"));
        theta.and_then(|theta| theta.compute()).unwrap_err().to_string()
    };
    let far = said("far.json");
    assert!(far.contains("gs://somewhere/chunked.nc") && far.contains("not supported"), "{far}");
    let gone = said("gone.json");
    assert!(gone.contains("removed.nc"), "{gone}");
    let short = said("short.json");
    assert!(short.contains("changed after the references"), "{short}");
    let damaged = said("damaged.json");
    assert!(damaged.contains("theta/0.0.0"), "{damaged}");
}

#[test]
fn json_that_holds_no_references_says_so() {
    let file = path("other.json");
    std::fs::write(&file, "{\"a\": 1}").unwrap();
    let message = open_dataset(&file).unwrap_err().to_string();
    assert!(message.contains("no reference file") && message.contains("other.json"), "{message}");
    std::fs::write(&file, "{\"refs\": {").unwrap();
    assert!(open_dataset(&file).unwrap_err().to_string().contains("JSON"));
}

/// Bits turned over, ends cut off, numbers and names that mean harm: an error, or arrays of the shape that they say.
#[test]
fn damaged_references_are_errors_or_arrays() {
    let text = std::fs::read(path("relative.json")).unwrap();
    let inner = tempfile::tempdir_in(FOLDER.path()).unwrap();
    std::fs::copy(path("chunked.nc"), inner.path().join("chunked.nc")).unwrap();
    let file = inner.path().join("damaged.json");
    let (mut read, mut refused) = (0, 0);
    let mut look = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        let Ok(dataset) = open_zarr(&file) else {
            refused += 1;
            return;
        };
        for name in dataset.names() {
            let array = dataset.var(&name).unwrap();
            let count: u64 = array.shape().iter().product();
            if count > 100_000 {
                continue;
            }
            match array.values_f64() {
                Ok(values) => {
                    assert_eq!(values.len() as u64, count);
                    read += 1;
                }
                Err(error) => {
                    assert!(!error.to_string().contains("panicked"), "{error}");
                    refused += 1;
                }
            }
        }
    };
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for _ in 0..150 {
        let mut bytes = text.clone();
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            bytes[at] ^= 1 << random(7);
        }
        look(&bytes);
    }
    for _ in 0..20 {
        look(&text[..random(text.len())]);
    }
    let whole = String::from_utf8(text).unwrap();
    for (from, to) in [
        ("[2,10,30]", "[2, 10, 18446744073709551615]"),
        ("[2,10,30]", "[0, 10, 30]"),
        ("[2,10,30]", "[2, 10]"),
        ("[6,20,30]", "[6, 20, 1e300]"),
        ("[6,20,30]", "[-6, 20, 30]"),
        (
            "\"theta/0.0.0\": [\"chunked.nc\", ",
            "\"theta/0.0.0\": [\"../../../etc/passwd\", 1844674407370955161",
        ),
        ("\"theta/0.0.0\": [\"chunked.nc\", ", "\"theta/0.0.0\": [\"\", "),
        ("\"theta/0.0.0\": [\"chunked.nc\", ", "\"theta/0.0.0\": [\".\", "),
        ("\"theta/0.0.0\": [\"chunked.nc\", ", "\"theta/0.0.0\": [\"s3://../x\", "),
        ("theta/", "/"),
        ("theta/", "../theta/"),
        ("theta/", "\\u0000/"),
        ("theta/.zarray", "theta//.zarray"),
    ] {
        assert!(whole.contains(from), "{from}");
        look(whole.replace(from, to).as_bytes());
    }
    assert!(read > 100 && refused > 20, "{read} arrays read, {refused} refused");
}
