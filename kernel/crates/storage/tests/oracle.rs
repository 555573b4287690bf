//! What xarray and zarr-python write is read as xarray reads it: every codec, both formats, CF decoding.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::{path::Path, process::Command};

use nuna_chunk::{DType, Region};
use nuna_storage::open;
use nuna_testing::python;
use serde_json::Value;

fn stores() -> (tempfile::TempDir, Value) {
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../labels/tests/oracle/make_stores.py");
    let output = Command::new(python()).arg(script).arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(folder.path().join("expected.json")).unwrap();
    (folder, serde_json::from_str(&text).unwrap())
}

/// Equal in value; missing is null in the expected JSON.
fn assert_values(what: &str, found: &[f64], expected: &Value) {
    let expected = expected["values"].as_array().unwrap();
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let expected = match expected {
            Value::Bool(b) => f64::from(u8::from(*b)),
            other => other.as_f64().unwrap_or(f64::NAN),
        };
        // xarray computed in the same precision; only the order of rounding may differ.
        let same =
            (found.is_nan() && expected.is_nan()) || (found - expected).abs() <= 1e-12 * expected.abs();
        assert!(same, "{what}[{index}]: {found}, expected {expected}");
    }
}

#[test]
fn stores_are_read_as_xarray_reads_them() {
    let (folder, expected) = stores();
    let mut compared = 0;
    for (store, expected) in expected.as_object().unwrap() {
        if !store.ends_with(".zarr") || store == "calendars.zarr" {
            continue;
        }
        let group = open(folder.path().join(store)).unwrap();
        assert!(group.skipped.is_empty(), "{store}: {:?}", group.skipped);
        for variable in &group.variables {
            let what = format!("{store}/{}", variable.name);
            let kinds = [&expected["data_vars"], &expected["coords"]];
            let expected =
                kinds.iter().find_map(|kind| kind.get(&variable.name)).unwrap_or_else(|| panic!("{what}"));
            let dims: Vec<_> =
                expected["dims"].as_array().unwrap().iter().map(|d| d.as_str().unwrap()).collect();
            assert_eq!(variable.dims, dims, "{what}");
            if variable.name == "time" {
                continue;
            }
            compared += 1;
            if variable.source.is_text() {
                let text = variable.source.read_all_text().unwrap();
                assert_eq!(serde_json::json!(text), expected["values"], "{what}");
                continue;
            }
            let dtype = match expected["dtype"].as_str().unwrap() {
                "float16" => DType::F32,
                name => name.trim_start_matches('>').parse().unwrap(),
            };
            assert_eq!(variable.source.dtype(), dtype, "{what}");
            let all = variable.source.read_all().unwrap();
            assert_values(&what, &all.to_vec::<f64>(), expected);
            // Boxes that cut chunks give the same elements.
            if variable.source.shape().iter().all(|&n| n > 2) {
                let region = Region::new(variable.source.shape().iter().map(|&n| 1..n - 1));
                let part = zarr(&variable.source).reader().unwrap().read(&region).unwrap();
                let same = all.slice(&region).unwrap();
                assert_eq!(part.bytes(), same.bytes(), "{what}");
            }
        }
    }
    assert!(compared > 100, "only {compared} variables were compared");
}

fn zarr(source: &nuna_storage::Source) -> &nuna_storage::ZarrSource {
    match source {
        nuna_storage::Source::Zarr(source) => source,
        nuna_storage::Source::Netcdf(_) | nuna_storage::Source::Geotiff(_) => panic!("a Zarr store"),
    }
}

/// Writes a group of arrays, one for each way to set Blosc, zlib and gzip, and the elements of each as they are.
const COMPRESSED: &str = r#"
import itertools, sys
import numpy as np
import zarr
from numcodecs import Blosc, GZip, Shuffle, Zlib
group = zarr.open_group(sys.argv[1], mode="w", zarr_format=2)
random = np.random.default_rng(7)
number = 0
for dtype, shape, chunks in [("u1", (3000,), (1000,)), ("<i2", (70, 41), (32, 20)), ("<f4", (9, 130, 70), (4, 64, 70)),
                             ("<f8", (40000,), (30011,)), ("<u4", (5,), (3,))]:
    smooth = np.arange(np.prod(shape)).reshape(shape) // 7
    values = (smooth + random.integers(0, 3, shape)).astype(dtype)
    values.tofile(f"{sys.argv[1]}/{dtype[-2:]}.bin")
    for cname, clevel, shuffle, blocksize in itertools.product(["zstd", "lz4"], [0, 1, 9], [0, 1, 2], [0, 2048]):
        codec = Blosc(cname=cname, clevel=clevel, shuffle=shuffle, blocksize=blocksize)
        array = group.create_array(f"v{number}_{dtype[-2:]}", shape=shape, chunks=chunks, dtype=dtype, compressors=codec, fill_value=None,
                                   attributes={"_ARRAY_DIMENSIONS": list("zyx"[-len(shape):])})
        array[...] = values
        number += 1
    for compressor, shuffle in itertools.product([Zlib(4), GZip(1)], [None, values.itemsize]):
        filters = [Shuffle(shuffle)] if shuffle else None
        array = group.create_array(f"v{number}_{dtype[-2:]}", shape=shape, chunks=chunks, dtype=dtype, filters=filters,
                                   compressors=compressor, fill_value=None,
                                   attributes={"_ARRAY_DIMENSIONS": list("zyx"[-len(shape):])})
        array[...] = values
        number += 1
"#;

#[test]
fn compressed_chunks_are_read_however_that_is_set_and_damage_is_found_or_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(python()).args(["-c", COMPRESSED]).arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let group = open(folder.path()).unwrap();
    assert_eq!(group.variables.len(), 5 * 40, "{:?}", group.skipped);
    for (number, variable) in group.variables.iter().enumerate() {
        let name = &variable.name;
        let elements = folder.path().join(format!("{}.bin", name.rsplit('_').next().unwrap()));
        let elements = std::fs::read(elements).unwrap();
        assert!(variable.source.read_all().unwrap().bytes()[..] == elements[..], "{name}");
        if number % 4 != 1 {
            continue;
        }
        // The first chunk of some, byte by byte: what is read then has the same shape, or there is an error.
        let chunk = std::fs::read_dir(folder.path().join(name)).unwrap().map(|entry| entry.unwrap().path());
        let chunk =
            chunk.filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.')).min().unwrap();
        let stored = std::fs::read(&chunk).unwrap();
        for at in (0..stored.len().min(40)).chain((40..stored.len()).step_by(stored.len() / 8 + 1)) {
            let mut damaged = stored.clone();
            damaged[at] ^= 0x55;
            std::fs::write(&chunk, &damaged).unwrap();
            if let Ok(read) = variable.source.read_all() {
                assert_eq!(read.bytes().len(), elements.len(), "{name}, byte {at}");
            }
        }
        for length in [0, 3, 15, 16, 20, stored.len() / 2, stored.len() - 1] {
            std::fs::write(&chunk, &stored[..length.min(stored.len() - 1)]).unwrap();
            let error = variable.source.read_all().unwrap_err().to_string();
            assert!(error.contains(name.as_str()), "{name} cut to {length}: {error}");
        }
        std::fs::write(&chunk, &stored).unwrap();
    }
}
