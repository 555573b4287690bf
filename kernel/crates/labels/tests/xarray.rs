//! Opening, computing and writing give what xarray gives on the same stores.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use common::{STORES, assert_close, assert_labels, assert_same, plain};
use nuna_labels::{Compressor, DataArray, Result, StoreOptions, ZarrFormat, concat, open_zarr, slice};
use serde_json::{Value, json};

#[test]
fn datasets_open_as_in_xarray() {
    for (store, expected) in STORES.expected.as_object().unwrap() {
        if !store.ends_with(".zarr") {
            continue;
        }
        let ds = open_zarr(STORES.path(store)).unwrap();
        assert!(ds.skipped().is_empty(), "{store}: {:?}", ds.skipped());
        let mut names: Vec<String> = expected["data_vars"].as_object().unwrap().keys().cloned().collect();
        names.sort();
        let mut found = ds.names();
        found.sort();
        assert_eq!(found, names, "{store}");
        for (name, coord) in expected["coords"].as_object().unwrap() {
            assert_labels(&format!("{store}/{name}"), ds.coord(name).unwrap(), &coord["values"]);
        }
        for (name, variable) in expected["data_vars"].as_object().unwrap() {
            if variable["dtype"] == "float16" {
                continue;
            }
            let mut variable = variable.clone();
            let native = variable["dtype"].as_str().unwrap().trim_start_matches('>').to_owned();
            variable["dtype"] =
                if native == "float64" || native.len() > 3 { native.into() } else { json!("float64") };
            assert_same(&format!("{store}/{name}"), &ds.var(name).unwrap(), &variable, 1e-12);
        }
    }
}

#[test]
fn computations_equal_xarrays() -> Result<()> {
    let ds = open_zarr(STORES.path("v3_zstd.zarr"))?;
    let t = ds.var("theta")?;
    let area = ds.var("area")?;
    let month = t.groupby("time.month")?;
    let results: Vec<(&str, DataArray)> = vec![
        ("mean_time", t.mean("time")?),
        ("mean_all", t.mean(..)?),
        ("mean_lat_lon", t.mean(["lat", "lon"])?),
        ("mean_noskip", t.skipna(false).mean("time")?),
        ("sum_time", t.sum("time")?),
        ("min_time", t.min("time")?),
        ("max_lon", t.max("lon")?),
        ("std_time", t.std("time")?),
        ("var_time", t.var("time")?),
        ("count_time", t.count("time")?),
        ("isel", t.isel("time", slice(2, 20, 3))?.isel("lat", 4)?),
        ("sel_nearest", t.sel_nearest("lat", 13.0)?.sel_nearest("lon", 100.0)?),
        ("sel_year", t.sel("time", "2001")?),
        ("sel_month", t.sel("time", "2001-06")?),
        ("sel_slice", t.sel("time", "2000-06"..="2001-02-15")?.sel("lat", -30..=30)?),
        ("arithmetic", (&t - t.mean("time")?) * 2.0 + 1.0 / (&area + 1.0)),
        ("broadcast", &area * ds.var("count")?),
        ("where", t.where_(&t.greater(10)?)?),
        ("where_else", t.where_or(&ds.var("wet")?, -1.0)?),
        ("month_mean", month.mean()?),
        ("season_mean", t.groupby("time.season")?.mean()?),
        ("year_sum", t.groupby("time.year")?.sum()?),
        ("year_max", t.groupby("time.year")?.max()?),
        ("month_std", month.std()?),
        ("anomaly", &month - &month.mean()?),
        ("weighted_mean", t.weighted(&area)?.mean("lat")?),
        ("weighted_mean_all", t.weighted(&area)?.mean(["lat", "lon"])?),
        ("weighted_sum", t.weighted(&area)?.sum(["lat", "lon"])?),
        ("transpose", t.transpose(["lon", "time", "lat"])?),
        ("concat", concat(&[t.isel("time", 0..3)?, t.isel("time", 10..14)?], "time")?),
        ("rename", t.rename("lat", "y")?),
        ("int_mean", ds.var("count")?.mean("lon")?),
        ("wet_sum", ds.var("wet")?.sum("lon")?),
    ];
    let expected = STORES.expected["results"].as_object().unwrap();
    assert_eq!(results.len(), expected.len());
    for (name, found) in &results {
        // xarray adds up float32 in float32, we in float64.
        assert_same(name, found, &expected[*name], 2e-6);
    }
    Ok(())
}

#[test]
fn chunks_do_not_change_results() -> Result<()> {
    let ds = open_zarr(STORES.path("v3_zstd.zarr"))?;
    let t = ds.var("theta")?;
    for chunks in [[1, -1, -1], [36, 1, 5], [7, 4, 12]] {
        let cut = t.rechunk([("time", chunks[0]), ("lat", chunks[1]), ("lon", chunks[2])])?;
        let expected = &STORES.expected["results"];
        assert_same("mean", &cut.mean("time")?, &expected["mean_time"], 2e-6);
        assert_same("month", &cut.groupby("time.month")?.mean()?, &expected["month_mean"], 2e-6);
        assert_same("std", &cut.groupby("time.month")?.std()?, &expected["month_std"], 2e-6);
        assert_same("anomaly", &cut.groupby("time.month")?.anomaly()?, &expected["anomaly"], 2e-6);
    }
    Ok(())
}

#[test]
fn what_is_written_opens_in_xarray() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    for (store, format) in [("two.zarr", ZarrFormat::V2), ("three.zarr", ZarrFormat::V3)] {
        let ds = open_zarr(STORES.path("v3_zstd.zarr"))?;
        let ds = ds.assign("anomaly", &ds.var("theta")?.groupby("time.month")?.anomaly()?)?;
        let ds = ds.assign("climatology", &ds.var("theta")?.groupby("time.season")?.mean()?)?;
        let path = folder.path().join(store);
        let options =
            StoreOptions { format, compressor: Compressor::Zstd { level: 5 }, ..StoreOptions::default() };
        ds.to_zarr_with(&path, &options)?;
        assert!(ds.to_zarr_with(&path, &options).unwrap_err().to_string().contains("exists already"));
        ds.to_zarr_with(&path, &StoreOptions { overwrite: true, ..options.clone() })?;
        let left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{left:?}");
        let report: Value =
            serde_json::from_str(&common::run("read_back.py", &[&path, &STORES.path("v3_zstd.zarr")]))
                .unwrap();
        assert_eq!(
            report,
            json!({"format": if format == ZarrFormat::V2 { 2 } else { 3 }, "consolidated": true, "differences": []})
        );
        // And we read our own.
        let again = open_zarr(&path)?;
        let theta = &STORES.expected["v3_zstd.zarr"]["data_vars"]["theta"];
        assert_close("theta", &again.var("theta")?.values_f64()?, &theta["values"], 0.0);
        assert_eq!(plain(again.coord("season")?), json!(["DJF", "JJA", "MAM", "SON"]));
    }
    Ok(())
}

#[test]
fn variables_of_times_and_durations_are_numbers_with_nan_for_what_is_missing() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let make = "import sys, numpy as np, xarray as xr\n\
        when = np.array(['2001-01-01T06', 'NaT', '2003-05-05'], dtype='M8[ns]')\n\
        lag = np.array([1, 'NaT', 3], dtype='m8[h]').astype('m8[ns]')\n\
        ds = xr.Dataset({'when': ('x', when), 'lag': ('x', lag)})\n\
        for v in (2, 3): ds.to_zarr(f'{sys.argv[1]}/{v}', zarr_format=v)\n\
        ds.to_netcdf(f'{sys.argv[1]}/n')";
    common::run_python(make, &[folder.path()]);
    for name in ["2", "3", "n"] {
        let ds = nuna_labels::open_dataset(folder.path().join(name))?;
        let when = ds.var("when")?;
        assert!(when.values_f64()?[1].is_nan(), "{name}");
        let latest = when.max(())?.to_times()?;
        assert_eq!(latest.iso(0), "2003-05-05T00:00:00", "{name}");
        let lag = ds.var("lag")?;
        let mean = lag.mean(())?.compute()?.item()?;
        let hours = match lag.attrs()["units"].as_str() {
            Some("hours") => mean,
            other => panic!("{other:?}"),
        };
        assert_eq!(hours, 2.0, "{name}");
        assert!(lag.to_times().unwrap_err().to_string().contains("does not count time"));
        let coord = ds.set_coords(["when"])?;
        assert_eq!(coord.coord("when")?.values()?.show(2), "2003-05-05");
        // Written and read again, also behind itself.
        let path = folder.path().join(format!("{name}.zarr"));
        ds.to_zarr(&path)?;
        ds.append_zarr(&path, "x")?;
        let code = "import sys, json, numpy as np, xarray as xr\n\
            ds = xr.open_zarr(sys.argv[1], decode_timedelta=True)\n\
            print(json.dumps([str(v) for v in ds.when.values.astype('M8[s]')] + [str(v) for v in ds.lag.values.astype('m8[h]')]))";
        let found: Value = serde_json::from_str(&common::run_python(code, &[&path])).unwrap();
        let (when, lag) =
            (["2001-01-01T06:00:00", "NaT", "2003-05-05T00:00:00"], ["1 hours", "NaT", "3 hours"]);
        assert_eq!(found, json!([when, when, lag, lag].concat()), "{name}");
    }
    Ok(())
}
