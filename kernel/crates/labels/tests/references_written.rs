//! References that are written open here, by zarr-python and by xarray, and hold what the files hold that they are to.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::{
    path::{Path, PathBuf},
    sync::LazyLock,
};

use nuna_labels::{
    Dataset, ReferencesOptions, Values, open_dataset, open_mfdataset, open_zarr, open_zarr_group,
    write_references, write_references_with,
};

static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    common::run("make_series.py", &[folder.path()]);
    folder
});

fn path(name: &str) -> PathBuf {
    FOLDER.path().join(name)
}

/// How many chunks lie where kerchunk finds them, after all else was compared.
fn checked(references: &Path, pattern: &str, dim: &str, group: &str) -> u32 {
    let printed =
        common::run("references_written.py", &[references, &path(pattern), Path::new(dim), Path::new(group)]);
    printed.trim().parse().unwrap()
}

#[track_caller]
fn assert_same(found: &Dataset, expected: &Dataset) {
    let (mut names, mut wanted) = (found.names(), expected.names());
    names.sort();
    wanted.sort();
    assert_eq!(names, wanted);
    for name in names {
        let (a, b) = (found.var(&name).unwrap(), expected.var(&name).unwrap());
        assert_eq!((a.dims(), a.shape(), a.dtype()), (b.dims(), b.shape(), b.dtype()), "{name}");
        let (a, b) = (a.values_f64().unwrap(), b.values_f64().unwrap());
        assert!(a.iter().zip(&b).all(|(a, b)| a == b || a.is_nan() && b.is_nan()), "{name}");
    }
    for (name, coord) in expected.coords().iter() {
        let (a, b) = (found.coord(name).unwrap().values().unwrap(), coord.values().unwrap());
        match (a, b) {
            (Values::Text(a), Values::Text(b)) => assert_eq!(a, b, "{name}"),
            (a, b) => {
                assert_eq!(a.len(), b.len(), "{name}");
                assert!((0..a.len()).all(|at| a.show(at) == b.show(at)), "{name}");
            }
        }
    }
}

fn series(name: &str) -> Vec<PathBuf> {
    (0..3).map(|number| path(&format!("{name}_{number}.nc"))).collect()
}

#[test]
fn a_series_is_one_store_without_a_copy() {
    for name in ["same", "moved", "classic", "plain"] {
        let pattern = format!("{name}_*.nc");
        let expected = open_mfdataset(path(&pattern).to_str().unwrap(), "time").unwrap();
        for end in ["json", "parq"] {
            let to = path(&format!("{name}.{end}"));
            let options = ReferencesOptions { record_size: 3, ..ReferencesOptions::default() };
            write_references_with(series(name), "time", &to, &options).unwrap();
            assert_same(&open_dataset(&to).unwrap(), &expected);
            if end == "parq" && ["same", "plain"].contains(&name) {
                continue;
            }
            let compared = checked(&to, &pattern, "time", "");
            assert!(
                end == "parq" || !["same", "moved"].contains(&name) || compared >= 4,
                "{name}: {compared}"
            );
        }
    }
    let text = std::fs::read_to_string(path("same.json")).unwrap();
    let refs: serde_json::Value = serde_json::from_str(&text).unwrap();
    // Ten days in chunks of two days and half of the latitudes.
    let chunks = refs["refs"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(key, value)| key.starts_with("theta/") && value.is_array());
    assert_eq!(chunks.count(), 10);
}

#[test]
fn groups_and_chunks_that_were_never_written_are_kept() {
    for end in ["json", "parq"] {
        let to = path(&format!("groups.{end}"));
        write_references([path("groups.nc")], "", &to).unwrap();
        let inner = open_zarr_group(&to, "a/b").unwrap();
        let expected: Vec<f64> = (0..10).map(|n| f64::from(n) / 9.0).collect();
        for (a, b) in inner.var("inner").unwrap().values_f64().unwrap().iter().zip(&expected) {
            assert!((a - b).abs() < 1e-15);
        }
        assert_eq!(inner.attrs()["units"], "1");
        let outer = open_zarr(&to).unwrap();
        assert_eq!(
            outer.var("whole").unwrap().values_f64().unwrap(),
            (0..10).map(f64::from).collect::<Vec<_>>()
        );
        let holes = outer.var("holes").unwrap().values_f64().unwrap();
        assert_eq!(holes[2..5], [1.0, 2.0, 3.0]);
        assert!(holes[..2].iter().chain(&holes[5..]).all(|value| value.is_nan()), "{holes:?}");
    }
    // What a file has for what was never written is missing in a store, as kerchunk has it.
    write_references([path("default.nc")], "", path("default.json")).unwrap();
    let counts = open_zarr(path("default.json")).unwrap().var("counts").unwrap().values_f64().unwrap();
    assert_eq!(counts[4..6], [1.0, 2.0]);
    assert!(counts[..4].iter().chain(&counts[6..]).all(|value| value.is_nan()), "{counts:?}");
    checked(&path("groups.json"), "groups.nc", "", "");
    checked(&path("groups.json"), "groups.nc", "", "a/b");
}

#[test]
fn small_chunks_come_along_and_folders_can_be_moved() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("here");
    std::fs::create_dir(&inner).unwrap();
    std::fs::copy(path("same_0.nc"), inner.join("a.nc")).unwrap();
    let options = ReferencesOptions { relative: true, inline_bytes: 0, ..ReferencesOptions::default() };
    write_references_with([inner.join("a.nc")], "", inner.join("refs.json"), &options).unwrap();
    let moved = folder.path().join("there");
    std::fs::rename(&inner, &moved).unwrap();
    let expected = open_dataset(path("same_0.nc")).unwrap();
    assert_same(&open_zarr(moved.join("refs.json")).unwrap(), &expected);
    // With all in the references, the file is not needed.
    let options = ReferencesOptions { inline_bytes: 1 << 20, ..ReferencesOptions::default() };
    write_references_with([moved.join("a.nc")], "", moved.join("whole.parq"), &options).unwrap();
    std::fs::remove_file(moved.join("a.nc")).unwrap();
    assert_same(&open_zarr(moved.join("whole.parq")).unwrap(), &expected);
}

#[test]
fn what_can_be_no_array_is_named() {
    let to = path("refused.json");
    write_references([path("lzf.h5")], "", path("lzf.json")).unwrap();
    let small = open_zarr(path("lzf.json")).unwrap().var("small").unwrap().values_f64().unwrap();
    assert_eq!(small, (0..1000).map(f64::from).collect::<Vec<_>>());
    let message = write_references([path("large.h5")], "", &to).unwrap_err().to_string();
    assert!(
        message.contains("large.h5") && message.contains("`large`") && message.contains("lzf"),
        "{message}"
    );
    let odd = [path("odd_0.nc"), path("odd_1.nc")];
    let message = write_references(&odd, "time", &to).unwrap_err().to_string();
    assert!(message.contains("odd_0.nc") && message.contains("no multiple"), "{message}");
    let options = ReferencesOptions { leave_out: vec!["large".to_owned()], ..ReferencesOptions::default() };
    write_references_with([path("large.h5")], "", path("left.json"), &options).unwrap();
    assert!(open_zarr(path("left.json")).unwrap().names().is_empty());
    assert!(write_references(&odd, "depth", &to).unwrap_err().to_string().contains("depth"));
    assert!(write_references([] as [&Path; 0], "time", &to).is_err());
    assert!(write_references([path("groups.nc"), path("same_0.nc")], "time", &to).is_err());
    assert!(!to.exists());
}

#[test]
fn what_is_there_is_replaced_only_on_request_and_only_if_it_is_references() {
    let overwrite = ReferencesOptions { overwrite: true, ..ReferencesOptions::default() };
    for name in ["again.json", "again.parq"] {
        let to = path(name);
        write_references([path("lzf.h5")], "", &to).unwrap();
        let message = write_references([path("groups.nc")], "", &to).unwrap_err().to_string();
        assert!(message.contains("exists already"), "{message}");
        write_references_with([path("groups.nc")], "", &to, &overwrite).unwrap();
        assert!(open_zarr(&to).unwrap().names().contains(&"whole".to_owned()));
    }
    let folder = path("precious.parq");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("thesis.txt"), "1").unwrap();
    assert!(write_references_with([path("lzf.h5")], "", &folder, &overwrite).is_err());
    assert!(folder.join("thesis.txt").exists());
    let left: Vec<_> = std::fs::read_dir(FOLDER.path()).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("partial")), "{left:?}");
}
