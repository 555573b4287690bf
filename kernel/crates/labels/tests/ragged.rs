//! Profiles of different lengths become contiguous ragged arrays, and these profiles again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::{path::PathBuf, sync::LazyLock};

use nuna_array::{Chunk, DType};
use nuna_labels::{DataArray, Dataset, Result, open_ragged, open_zarr};
use serde_json::Value;

struct Files {
    folder: tempfile::TempDir,
    expected: Value,
}

static FILES: LazyLock<Files> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    common::run("make_ragged.py", &[folder.path()]);
    let text = std::fs::read_to_string(folder.path().join("expected.json")).unwrap();
    Files { folder, expected: serde_json::from_str(&text).unwrap() }
});

fn paths(numbers: impl IntoIterator<Item = usize>) -> Vec<PathBuf> {
    numbers.into_iter().map(|number| FILES.folder.path().join(format!("{number}.nc"))).collect()
}

fn numbers(name: &str) -> Vec<f64> {
    FILES.expected[name].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

#[test]
fn files_become_ragged_arrays_that_python_reads() -> Result<()> {
    let ds = open_ragged(paths(0..5), "N_LEVELS", ["PRES", "TEMP", "FLAG"])?;
    // The last file has no profiles to count, so nothing for each of them that all files have.
    assert_eq!(ds.names(), ["row_size", "PRES", "TEMP", "FLAG"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ragged.zarr");
    ds.rechunk([("sample", 7)])?.to_zarr(&path)?;
    for ds in [&ds, &open_zarr(&path)?] {
        for name in ["row_size", "PRES", "TEMP", "FLAG"] {
            assert_eq!(ds.var(name)?.values_f64()?, numbers(name), "{name}");
        }
        assert_eq!(ds.var("PRES")?.dtype(), DType::F32);
        assert_eq!(ds.var("FLAG")?.dtype(), DType::I64);
        let exact: Vec<i64> =
            FILES.expected["FLAG"].as_array().unwrap().iter().map(|value| value.as_i64().unwrap()).collect();
        assert_eq!(ds.var("FLAG")?.to_chunk()?.to_vec::<i64>(), exact);
        assert_eq!(ds.var("PRES")?.attrs()["units"], "decibar");
        assert_eq!(ds.var("row_size")?.attrs()["sample_dimension"], "sample");
        assert_eq!(ds.attrs()["featureType"], "profile");
    }
    let told = common::run_python(
        "import sys, xarray as xr; ds = xr.open_zarr(sys.argv[1]); print(ds.row_size.values.tolist(), ds.TEMP.dims)",
        &[&path],
    );
    assert_eq!(
        told.trim(),
        format!("{} ('sample',)", FILES.expected["row_size"]).replace(',', ", ").replace(", )", ",)")
    );
    Ok(())
}

#[test]
fn what_is_of_each_profile_is_kept() -> Result<()> {
    let ds = open_ragged(paths(0..4), "N_LEVELS", ["PRES", "TEMP"])?;
    assert_eq!(ds.var("LATITUDE")?.values_f64()?, numbers("LATITUDE"));
    assert_eq!(ds.var("CYCLE")?.dims(), ["profile"]);
    assert_eq!(common::plain(ds.coord("STATION")?), FILES.expected["STATION"]);
    let profiles = ds.profiles()?;
    assert_eq!((profiles.len(), profiles.is_empty()), (12, false));
    let sizes: Vec<u64> = numbers("row_size")[..12].iter().map(|size| *size as u64).collect();
    assert_eq!(profiles.row_sizes(), sizes);
    let (latitudes, all) = (numbers("LATITUDE"), numbers("TEMP"));
    let mut start = 0;
    let padded = profiles.padded("level")?;
    let whole = padded.var("TEMP")?;
    assert_eq!(whole.dims(), ["profile", "level"]);
    for (at, &size) in sizes.iter().enumerate() {
        let end = start + size as usize;
        let one = profiles.get(at)?;
        assert_eq!(one.var("TEMP")?.values_f64()?, all[start..end]);
        assert_eq!(one.var("LATITUDE")?.item()?, latitudes[at]);
        let row = whole.isel("profile", at as i64)?.values_f64()?;
        assert_eq!(row[..size as usize], all[start..end]);
        assert!(row[size as usize..].iter().all(|x| x.is_nan()));
        start = end;
    }
    // Each sample knows its profile.
    let of_samples: Vec<f64> = sizes
        .iter()
        .zip(&latitudes)
        .flat_map(|(&size, &latitude)| std::iter::repeat_n(latitude, size as usize))
        .collect();
    assert_eq!(profiles.spread("LATITUDE")?.values_f64()?, of_samples);
    let warmest = ds.var("TEMP")?.groupby(profiles.numbers()?)?.max()?;
    assert_eq!(warmest.dims(), ["profile"]);
    let expected = whole.max("level")?;
    let there = expected.notnull()?;
    assert_eq!(warmest.values_f64()?, expected.where_drop(&there)?.values_f64()?);
    Ok(())
}

#[test]
fn what_holds_no_profiles_says_so() -> Result<()> {
    let error = |result: Result<Dataset>| result.unwrap_err().to_string();
    let message = error(open_ragged(paths([0, 1]), "depth", ["PRES"]));
    assert!(message.contains("0.nc") && message.contains("no dimension `depth`"), "{message}");
    assert!(error(open_ragged(paths([0, 4]), "N_LEVELS", ["PRES", "SALT"])).contains("no variable `SALT`"));
    assert!(error(open_ragged(paths([]), "N_LEVELS", ["PRES"])).contains("at least one"));
    assert!(error(open_ragged(paths([7]), "N_LEVELS", ["PRES"])).contains("7.nc"));
    let ds = open_ragged(paths([0]), "N_LEVELS", ["PRES"])?;
    assert!(ds.profiles()?.get(99).unwrap_err().to_string().contains("99"));
    assert!(ds.profiles()?.padded("sample").is_err());
    assert!(ds.profiles()?.spread("PRES").unwrap_err().to_string().contains("not along"));
    assert!(ds.drop_var("row_size")?.profiles().unwrap_err().to_string().contains("sample_dimension"));
    // Lengths that lie are no profiles.
    for lengths in [[1.0, -1.0], [1e300, 2.0], [f64::NAN, 3.0], [0.5, 1.5]] {
        let sizes = DataArray::from_chunk(Chunk::from_slice(&[2], &lengths), ["profile"])?;
        let sizes = sizes.with_attr("sample_dimension", "sample");
        let damaged = ds.drop_dims("profile")?.assign("row_size", &sizes)?;
        assert!(damaged.profiles().unwrap_err().to_string().contains("do not add up"));
    }
    // Nothing counts: no samples, and all profiles are there.
    let empty = open_ragged(paths([2]), "N_LEVELS", ["PRES", "TEMP"])?;
    assert_eq!(empty.profiles()?.row_sizes(), [0, 0]);
    assert_eq!(empty.profiles()?.padded("level")?.var("TEMP")?.shape(), [2, 0]);
    Ok(())
}
