//! What is wrong with a store is said with the file's name, and never by a panic.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::{fs, path::Path};

use common::STORES;
use nuna_labels::{LabelError, open_zarr};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)
        } else {
            assert!(fs::copy(entry.path(), target).is_ok())
        }
    }
}

/// A copy of a store that can be damaged.
fn store(name: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    copy(&STORES.path(name), &path);
    (folder, path)
}

#[track_caller]
fn refused(path: &Path, words: &[&str]) {
    let error = open_zarr(path).expect_err("a bad store").to_string();
    for word in words {
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn paths_that_hold_no_store_say_so() {
    refused(Path::new("/no/such/store.zarr"), &["there is no store at /no/such/store.zarr", "mounted"]);
    refused(Path::new("nowhere.zarr"), &["nowhere.zarr", "looked in"]);
    refused(Path::new("gs://bucket/store.zarr"), &["`gs` is not supported"]);
    let folder = tempfile::tempdir().unwrap();
    refused(folder.path(), &["is not a Zarr store", "zarr.json"]);
    fs::write(folder.path().join("file.nc"), "CDF").unwrap();
    refused(&folder.path().join("file.nc"), &["it is a file, not a folder"]);
    copy(&STORES.path("raw_v2.zarr"), &folder.path().join("inner.zarr"));
    refused(folder.path(), &["inner.zarr"]);
}

#[test]
fn damaged_metadata_names_its_file() {
    for (name, file) in [
        ("v3_zstd.zarr", "zarr.json"),
        ("v2_zstd.zarr", ".zmetadata"),
        ("v2_zlib.zarr", "theta/.zarray"),
        ("v2_zlib.zarr", ".zgroup"),
    ] {
        for text in ["", "{\"zarr_format\": 2, ", "[1, 2]", "\u{1}garbage", "null"] {
            let (_folder, path) = store(name);
            fs::write(path.join(file), text).unwrap();
            match open_zarr(&path) {
                Err(error) => assert!(error.to_string().contains(file), "{name} {text:?}: {error}"),
                // The group file holds nothing that is needed.
                Ok(_) => assert_eq!(file, ".zgroup", "{text:?} was taken for metadata"),
            }
        }
    }
}

#[test]
fn nonsense_in_one_variable_leaves_the_others_usable() {
    let (_folder, path) = store("v2_zlib.zarr");
    let cases = [
        ("\"id\": \"zlib\"", "\"id\": \"lzmagic\"", "lzmagic"),
        ("\"dtype\": \"<f4\"", "\"dtype\": \"<c16\"", "<c16"),
        ("\"chunks\": [\n    10,", "\"chunks\": [\n    0,", ""),
        ("\"shape\": [\n    36,", "\"shape\": [\n    -36,", "shape"),
        ("\"shape\": [\n    36,", "\"shape\": [\n    9223372036854775807,", "beyond any machine"),
    ];
    let file = path.join("theta/.zarray");
    let original = fs::read_to_string(&file).unwrap();
    for (from, to, word) in cases {
        assert!(original.contains(from), "{from} in {original}");
        fs::write(&file, original.replace(from, to)).unwrap();
        let ds = open_zarr(&path).unwrap_or_else(|error| panic!("{to}: {error}"));
        let error = ds.var("theta").unwrap_err();
        assert!(
            matches!(&error, LabelError::Skipped { .. }) && error.to_string().contains(word),
            "{to}: {error}"
        );
        assert!(ds.var("count").unwrap().values_f64().is_ok());
        assert!(ds.to_string().contains("Not opened:\n    theta: "));
    }
}

#[test]
fn damaged_chunks_are_named() {
    for (name, chunk) in [
        ("v3_zstd.zarr", "theta/c/1/1/0"),
        ("v3_gzip.zarr", "theta/c/1/1/0"),
        ("v3_blosc.zarr", "theta/c/1/1/0"),
        ("v3_crc.zarr", "theta/c/1/1/0"),
        ("v3_sharded.zarr", "theta/c/1/0/0"),
        ("v2_zstd.zarr", "theta/1.1.0"),
        ("v2_blosc.zarr", "theta/1.1.0"),
        ("v2_zlib.zarr", "theta/1.1.0"),
    ] {
        let (_folder, path) = store(name);
        let file = path.join(chunk);
        let good = fs::read(&file).unwrap_or_else(|error| panic!("{name}/{chunk}: {error}"));
        let mut flipped = good.clone();
        flipped.iter_mut().for_each(|byte| *byte ^= 0x5a);
        for bad in [good[..good.len() / 2].to_vec(), flipped, Vec::new(), b"not a chunk".to_vec()] {
            fs::write(&file, &bad).unwrap();
            let ds = open_zarr(&path).unwrap();
            let error = ds.var("theta").unwrap().mean("time").unwrap().compute().unwrap_err().to_string();
            assert!(
                error.contains(chunk) && error.contains("`theta`"),
                "{name}, {} bytes: {error}",
                bad.len()
            );
        }
        // A chunk that was never written is fill values.
        fs::remove_file(&file).unwrap();
        let filled = open_zarr(&path).unwrap().var("theta").unwrap();
        assert!(filled.values_f64().is_ok(), "{name}");
    }
}

#[test]
fn a_failed_write_leaves_nothing() {
    let (folder, path) = store("v3_zstd.zarr");
    fs::write(path.join("theta/c/1/1/0"), "not a chunk").unwrap();
    let ds = open_zarr(&path).unwrap();
    let target = folder.path().join("copy.zarr");
    let error = ds.to_zarr(&target).unwrap_err().to_string();
    assert!(error.contains("theta/c/1/1/0"), "{error}");
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["v3_zstd.zarr"]);
    fs::create_dir(&target).unwrap();
    fs::write(target.join("notes.txt"), "mine").unwrap();
    let options = nuna_labels::StoreOptions { overwrite: true, ..Default::default() };
    let error = ds.to_zarr_with(&target, &options).unwrap_err().to_string();
    assert!(error.contains("is not a Zarr store, so it is not overwritten"), "{error}");
}
