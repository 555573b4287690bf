//! NetCDF files that are written open equal in netCDF4-python, h5netcdf, xarray and here, and can be appended to; what cannot
//! be written is refused before anything is computed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::path::Path;

use nuna_array::{Array, Chunk, DType};
use nuna_labels::{
    Calendar, DataArray, Dataset, NetcdfEncoding, NetcdfOptions, Packing, Result, Times, Values, open_netcdf,
    open_zarr,
};
use serde_json::{Value, json};

fn numbers(dtype: DType, shape: &[u64], chunks: &[u64]) -> Array {
    let count = shape.iter().product::<u64>();
    let values: Vec<f64> = (0..count).map(|i| (i * 7919 % 251) as f64).collect();
    let chunk = Chunk::from_slice(shape, &values).cast(dtype);
    Array::from_chunk_in(chunk, chunks).unwrap()
}

fn array<const N: usize>(dtype: DType, shape: [u64; N], chunks: [u64; N], dims: [&str; N]) -> DataArray {
    DataArray::new(numbers(dtype, &shape, &chunks.map(|n| n.max(1))), dims).unwrap()
}

fn days(count: usize) -> Values {
    let dates: Vec<String> =
        (0..count).map(|i| format!("20{:02}-{:02}-{:02}", i / 336, i / 28 % 12 + 1, i % 28 + 1)).collect();
    Values::Times(Times::from_dates(&dates, Calendar::Standard).unwrap())
}

/// Everything that a dataset can hold.
fn everything() -> Result<Dataset> {
    let mut ds = Dataset::new();
    for dtype in DType::ALL.into_iter().filter(|dtype| !dtype.is_complex()) {
        let name = format!("v_{dtype}");
        // Chunks at the end of both axes are cut short, and the array is beyond what is kept in one piece.
        let made = array(dtype, [300, 260], [64, 100], ["time", "x"]);
        ds = ds.assign(&name, &made)?;
        ds = ds.assign(&format!("small_{dtype}"), &array(dtype, [3], [2], ["few"]))?;
    }
    let wide = array(DType::F32, [300, 7, 260], [50, 3, 260], ["time", "z", "x"]);
    let holes = wide.where_(&wide.greater(20.0)?)?;
    ds = ds.assign(
        "holes",
        &holes
            .with_attr("units", "K")
            .with_attr("long_name", "température de l’eau")
            .with_attr("empty", "")
            .with_attr("levels", json!([1, 2, 3]))
            .with_attr("weights", json!([0.5, 1.5]))
            .with_attr("names", json!(["one", "", "drei ß"]))
            .with_attr("valid_range", json!([0.0, 300.0]))
            .with_attr("number", 5)
            .with_attr("story", "long ".repeat(20_000).trim_end()),
    )?;
    ds = ds.assign("scalar", &array(DType::F64, [], [], []).with_attr("units", "1"))?;
    ds = ds.assign("nothing", &array(DType::F32, [0, 260], [1, 260], ["none", "x"]))?;
    ds = ds.assign(
        "flags",
        &array(DType::I8, [300], [300], ["time"]).with_attr("flag_values", json!([0, 1, 2])),
    )?;
    ds = ds.assign_coord("time", days(300))?;
    ds = ds.assign_coord(
        "z",
        Values::Text(["a", "", "cé", "d", "e", "f", "g"].map(str::to_owned).to_vec().into()),
    )?;
    ds = ds.assign_coord("x", (0..260).map(|i| f64::from(i) / 4.0).collect::<Vec<f64>>())?;
    Ok(ds)
}

fn report(file: &Path, store: &Path) -> Value {
    serde_json::from_str(&common::run("netcdf_written.py", &[file, store])).unwrap()
}

#[test]
fn what_is_written_opens_everywhere() -> Result<()> {
    let ds = everything()?;
    for (level, unlimited) in [(4, vec!["time".to_owned()]), (0, vec![]), (1, vec![])] {
        let folder = tempfile::tempdir().unwrap();
        let (file, store) = (folder.path().join("all.nc"), folder.path().join("all.zarr"));
        let options =
            NetcdfOptions { deflate_level: level, unlimited: unlimited.clone(), ..NetcdfOptions::default() };
        ds.to_netcdf_with(&file, &options)?;
        ds.to_zarr(&store)?;
        let report = report(&file, &store);
        assert_eq!(report["differences"], json!([]), "level {level} {unlimited:?}");
        assert_eq!(report["dims"]["time"], json!([300, !unlimited.is_empty()]));
        assert_eq!(report["dims"]["none"], json!([0, true]));
        let seen = &report["seen"];
        assert_eq!(seen["v_bool"]["dtype"], "int8");
        assert_eq!(seen["v_uint64"]["dtype"], "uint64");
        assert_eq!(seen["z"]["dtype"], "str");
        assert_eq!(seen["holes"]["chunks"], json!([50, 3, 260]));
        assert_eq!((&seen["holes"]["level"], &seen["holes"]["shuffle"]), (&json!(level), &json!(level > 0)));
        assert_eq!(seen["small_float64"]["chunks"], "contiguous");
        assert_eq!(seen["flags"]["attrs"]["flag_values"], json!(["int8", 3]));
        assert_eq!(seen["holes"]["attrs"]["valid_range"], json!(["float32", 2]));
        assert_eq!(seen["holes"]["attrs"]["_FillValue"], json!(["float32", 1]));
        assert_eq!(report["scales"]["holes"], json!([["/time"], ["/z"], ["/x"]]));

        // And we read our own.
        let (back, known) = (open_netcdf(&file)?, open_zarr(&store)?);
        assert_eq!(back.attrs(), known.attrs());
        assert_eq!(back.names().len(), known.names().len());
        for (name, variable) in known.variables() {
            let read = back.var(name)?;
            assert_eq!((read.dims(), read.dtype()), (variable.dims(), variable.dtype()), "{name}");
            let (a, b) = (read.to_chunk()?, variable.to_chunk()?);
            assert!(a.bytes() == b.bytes(), "{name}: {a:?} {b:?}");
            // A number in a list alone is a number.
            assert_eq!(read.attrs(), variable.attrs(), "{name}");
        }
        for name in known.coords().names() {
            assert_eq!(common::plain(back.coord(&name)?), common::plain(known.coord(&name)?), "{name}");
        }
        let left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{left:?}");
    }
    Ok(())
}

#[test]
fn what_netcdf_has_no_place_for_is_refused_first() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.nc");
    let line = array(DType::F32, [3], [3], ["x"]);
    let refused = |array: &DataArray, words: &[&str]| {
        let error = array.to_netcdf(&path).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{error}");
    };
    refused(&line.astype(DType::C64).named("wave"), &["`wave`", "complex", "imag()"]);
    refused(&line.named("a/b"), &["`a/b`", "name of a variable"]);
    refused(&line.named("a").with_attr("DIMENSION_LIST", 1), &["`DIMENSION_LIST`", "NetCDF's own"]);
    refused(&line.astype(DType::U8).named("a").with_attr("_FillValue", -1), &["`_FillValue` -1", "uint8"]);
    refused(
        &line.named("a").with_attr("table", json!(vec![1.5; 9000])),
        &["`table`", "72000 bytes", "variable"],
    );
    refused(&line, &["no name"]);
    let options = |level: u32, unlimited: &str, overwrite: bool| NetcdfOptions {
        deflate_level: level,
        unlimited: Some(unlimited.to_owned()).filter(|dim| !dim.is_empty()).into_iter().collect(),
        overwrite,
        ..NetcdfOptions::default()
    };
    let line = line.named("a");
    let failed = |options: &NetcdfOptions| line.to_netcdf_with(&path, options).unwrap_err().to_string();
    assert!(failed(&options(10, "", false)).contains("levels 0 to 9"));
    assert!(failed(&options(4, "y", false)).contains("no dimension `y`"));
    // What is there stays, unless it is asked for, and is a NetCDF file.
    std::fs::write(&path, "mine").unwrap();
    assert!(failed(&options(4, "", false)).contains("exists already"));
    assert!(failed(&options(4, "", true)).contains("is not a NetCDF file"));
    std::fs::remove_file(&path).unwrap();
    line.to_netcdf(&path)?;
    (&line + 1.0).named("a").to_netcdf_with(&path, &options(4, "", true))?;
    assert_eq!(open_netcdf(&path)?.var("a")?.values_f64()?[0], line.values_f64()?[0] + 1.0);
    // A file may be written anew from itself.
    let again = open_netcdf(&path)?;
    again.assign("b", &(again.var("a")? * 2.0))?.to_netcdf_with(&path, &options(4, "", true))?;
    assert_eq!(open_netcdf(&path)?.names(), ["a", "b"]);
    Ok(())
}

#[test]
fn a_computation_that_fails_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source.nc");
    let big = array(DType::F64, [400, 300], [100, 300], ["y", "x"]).named("a");
    big.to_netcdf(&source).unwrap();
    let opened = open_netcdf(&source).unwrap().var("a").unwrap();
    let bytes = std::fs::read(&source).unwrap();
    std::fs::write(&source, [&bytes[..], b"changed"].concat()).unwrap();
    let target = folder.path().join("target.nc");
    let error = opened.to_netcdf(&target).unwrap_err().to_string();
    assert!(error.contains("open it again"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn names_of_dimensions_may_be_names_of_other_variables() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let (file, store) = (folder.path().join("a.nc"), folder.path().join("a.zarr"));
    let mut ds = Dataset::new();
    // More variables than HDF5 keeps in a header by itself.
    for number in 0..40 {
        ds = ds.assign(&format!("v{number}"), &array(DType::I16, [4, 5], [2, 5], ["y", "x"]))?;
    }
    ds = ds.assign("x", &array(DType::F64, [4, 5], [4, 5], ["y", "x"]).with_attr("units", "m"))?;
    ds.to_netcdf(&file)?;
    let back = open_netcdf(&file)?;
    assert_eq!(back.var("x")?.dims(), ["y", "x"]);
    assert_eq!(back.var("x")?.to_chunk()?.bytes(), ds.var("x")?.to_chunk()?.bytes());
    ds.drop_var("x")?.to_zarr(&store)?;
    let plain = folder.path().join("b.nc");
    ds.drop_var("x")?.to_netcdf(&plain)?;
    assert_eq!(report(&plain, &store)["differences"], json!([]));
    let seen = common::run_python(
        "import sys, netCDF4; print(netCDF4.Dataset(sys.argv[1])['x'].dimensions)",
        &[&file],
    );
    assert_eq!(seen.trim(), "('y', 'x')");
    Ok(())
}

#[test]
fn numbers_are_packed_and_rounded_as_netcdf_reads_them() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("packed.nc");
    let value = |i: u64| if i % 50 == 7 { f64::NAN } else { (i % 1000) as f64 / 4.0 };
    let values: Vec<f64> = (0..30 * 200).map(value).collect();
    let t = Array::from_slice(&[30, 200], &values).and_then(|t| t.rechunk(&[7, 200]))?;
    let t = DataArray::new(t, ["time", "x"])?;
    let fine = t.clone();
    let packing =
        Packing { dtype: DType::I16, scale_factor: 0.25, add_offset: 100.0, fill_value: Some(-32768.0) };
    let packed =
        NetcdfEncoding { packing: Some(packing), chunks: Some(vec![10, 100]), ..NetcdfEncoding::default() };
    let rounded = NetcdfEncoding { keep_bits: Some(4), deflate_level: Some(9), ..NetcdfEncoding::default() };
    let encoding = [("t".to_owned(), packed.clone()), ("fine".to_owned(), rounded)].into();
    let ds = Dataset::new().assign("t", &t)?.assign("fine", &fine)?;
    ds.to_netcdf_with(&path, &NetcdfOptions { encoding, ..NetcdfOptions::default() })?;
    let code = "import sys, json, netCDF4, numpy as np\n\
        d = netCDF4.Dataset(sys.argv[1]); t = d['t']; f = d['fine'][:].filled(np.nan)\n\
        raw = f.view('u8')[~np.isnan(f)]\n\
        print(json.dumps([str(t.dtype), t.chunking(), np.nan_to_num(t[:].filled(np.nan), nan=-1).sum(), int(t[:].mask.sum()),\n\
            int((raw & ((1 << 48) - 1)).max()), float(np.nanmax(f))]))";
    let report: Value = serde_json::from_str(&common::run_python(code, &[&path])).unwrap();
    let sum: f64 = values.iter().map(|v| if v.is_nan() { -1.0 } else { *v }).sum();
    assert_eq!(report, json!(["int16", [10, 100], sum, 120, 0, 248.0]));
    let back = open_netcdf(&path)?.var("t")?.values_f64()?;
    assert!(back.iter().zip(&values).all(|(a, b)| a == b || (a.is_nan() && b.is_nan())));
    let encoding = [("temp".to_owned(), packed)].into();
    let options = NetcdfOptions { encoding, overwrite: true, ..NetcdfOptions::default() };
    assert!(
        ds.to_netcdf_with(&path, &options).unwrap_err().to_string().contains("the variables are t, fine")
    );
    Ok(())
}
