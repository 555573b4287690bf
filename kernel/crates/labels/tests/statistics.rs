//! Ranks, covariances, derivatives, integrals, weighted statistics, borders and comparisons of text equal xarray's.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::{path::PathBuf, sync::LazyLock};

use common::assert_same;
use nuna_array::{Chunk, Pad};
use nuna_labels::{DataArray, Dataset, Result, Values, combine_by_coords, concat, open_netcdf, open_zarr};
use serde_json::Value;

struct Made {
    folder: tempfile::TempDir,
    expected: Value,
}

impl Made {
    fn by(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        common::run(script, &[folder.path()]);
        let text = std::fs::read_to_string(folder.path().join("expected.json")).unwrap();
        Self { folder, expected: serde_json::from_str(&text).unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

static STATISTICS: LazyLock<Made> = LazyLock::new(|| Made::by("make_statistics.py"));
static TEXT: LazyLock<Made> = LazyLock::new(|| Made::by("make_text.py"));

fn padding(name: &str) -> Pad {
    match name {
        "constant" => Pad::Constant(f64::NAN.into()),
        "edge" => Pad::Edge,
        "wrap" => Pad::Wrap,
        "reflect" => Pad::Reflect,
        "symmetric" => Pad::Symmetric,
        other => panic!("{other}"),
    }
}

fn weighted(t: &DataArray, area: &DataArray, name: &str, dims: &[&str]) -> Result<DataArray> {
    let by = t.weighted(area)?;
    match name {
        "mean" => by.mean(dims),
        "sum" => by.sum(dims),
        "sum_of_squares" => by.sum_of_squares(dims),
        "sum_of_weights" => by.sum_of_weights(dims),
        "var" => by.var(dims),
        "std" => by.std(dims),
        other => panic!("{other}"),
    }
}

fn found(ds: &Dataset, what: &str) -> Result<DataArray> {
    let get = |name: &str| ds.var(name);
    let (t, u, n, area, smooth) = (get("t")?, get("u")?, get("n")?, get("area")?, get("smooth")?);
    match what.split(' ').collect::<Vec<_>>()[..] {
        ["rank", "n"] => n.rank("time"),
        ["rank", "single"] => get("single")?.rank("y"),
        ["rank", "pct", dim] => t.rank_pct(dim),
        ["rank", dim] => t.rank(dim),
        ["differentiate", coord] => smooth.differentiate(coord),
        ["cumulative", "nan"] => t.cumulative_integrate("x"),
        ["cumulative", coord] => smooth.cumulative_integrate(coord),
        ["integrate", "n"] => n.integrate("x"),
        ["integrate", "nan"] => t.integrate("x"),
        ["integrate", ref coords @ ..] => smooth.integrate(coords),
        ["pad", "n"] => n.pad("x", 1, 2, Pad::Constant(f64::NAN.into())),
        ["pad", "zero"] => n.pad("x", 1, 2, Pad::Constant(7.into())),
        ["pad", mode, dim] => t.pad(dim, 2, 1, padding(mode)),
        ["cov", "time"] => t.cov(&u, "time"),
        ["cov", "all"] => t.cov(&u, ..),
        ["cov", "line"] => t.cov(&get("line")?, "time"),
        ["cov", "ddof"] => t.cov_with(&u, ["y", "x"], 0),
        ["cov", "labels"] => t.cov(&u.isel("time", 3..)?, "time"),
        ["corr", "line"] => get("line")?.corr(&t, "time")?.transpose(["y", "x"]),
        ["corr", "all"] => t.corr(&u, ..),
        ["corr", ref dims @ ..] => t.corr(&u, dims),
        ["head"] => t.head("time", 3),
        ["tail"] => t.tail("time", 3),
        ["tail", "all"] => t.tail("time", 30),
        ["thin"] => t.thin("time", 5),
        ["broadcast"] => get("fill")?.broadcast_like(&t),
        ["broadcast", "n"] => n.broadcast_like(&area),
        ["fillna"] => t.fillna(get("fill")?),
        ["fillna", "shorter"] => t.fillna(u.isel("time", 2..6)?),
        ["clip"] => t.clip(get("fill")? * 0.05, 12.0),
        ["weighted", "quantile"] => t.weighted(&area)?.quantile([0.0, 0.1, 0.5, 0.9, 1.0], ["y", "x"]),
        ["weighted", "quantile", "x"] => t.weighted(&area)?.quantile(0.3, "x"),
        ["weighted", "y", name] => weighted(&t, &area, name, &["y"]),
        ["weighted", name] => weighted(&t, &area, name, &["y", "x"]),
        [name @ ("argmin" | "argmax"), dim] => {
            let places = match name {
                "argmin" => t.fillna(50.0)?.argmin_of(["x", "time"])?,
                _ => t.fillna(-50.0)?.argmax_of(["y", "x"])?,
            };
            Ok(places.into_iter().find(|(name, _)| name == dim).unwrap().1)
        }
        _ => panic!("{what}"),
    }
}

#[test]
fn statistics_derivatives_and_borders_equal_xarrays_in_any_chunks() -> Result<()> {
    let whole = open_zarr(STATISTICS.path("a.zarr"))?;
    for chunks in [None, Some([("time", -1), ("y", 1), ("x", 3)]), Some([("time", 4), ("y", 5), ("x", 1)])] {
        let ds = match chunks {
            None => whole.clone(),
            Some(chunks) => whole.rechunk(chunks)?,
        };
        for (what, expected) in STATISTICS.expected.as_object().unwrap() {
            let result = found(&ds, what).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_same(what, &result, expected, 1e-11);
        }
    }
    Ok(())
}

#[test]
fn statistics_of_what_has_none_say_so() -> Result<()> {
    let ds = open_zarr(STATISTICS.path("a.zarr"))?;
    let t = ds.var("t")?;
    let message = |result: Result<DataArray>| result.unwrap_err().to_string();
    assert!(message(t.rank("depth")).contains("no dimension"));
    assert!(message(t.differentiate("basin")).contains("no coordinate"));
    assert!(message(t.isel("x", ..1)?.differentiate("x")).contains("two labels"));
    assert!(message(t.weighted(&ds.var("area")?)?.quantile(1.5, "x")).contains("from 0 to 1"));
    assert!(message(t.thin("time", 0)).contains("at least 1"));
    assert!(message(t.isel("x", ..0)?.pad("x", 1, 1, Pad::Edge)).contains("length 0"));
    assert_eq!(t.isel("x", ..1)?.cumulative_integrate("x")?.sum(..)?.item()?, 0.0);
    // Both are given what the other has.
    let nothing = t.cov(&t.where_(&t.isnull()?)?, "time")?;
    assert!(nothing.values_f64()?.iter().all(|x| x.is_nan()));
    let of = ds.select(["t", "area", "line"])?.weighted(&ds.var("area")?)?.mean(["y", "x"])?;
    assert_same("mean", &of.var("t")?, &STATISTICS.expected["weighted mean"], 1e-12);
    assert_eq!(of.var("line")?.values_f64()?, ds.var("line")?.values_f64()?);
    assert_eq!(ds.select(["t"])?.rank("time")?.var("t")?.max(..)?.item()?, t.rank("time")?.max(..)?.item()?);
    assert!(ds.head("time", 4)?.sizes().contains(&("time".to_owned(), 4)));
    Ok(())
}

#[test]
fn text_is_compared_and_selects_as_in_xarray() -> Result<()> {
    for name in ["text.zarr", "text2.zarr", "text.nc"] {
        let path = TEXT.path(name);
        let ds = if name.ends_with("nc") { open_netcdf(path)? } else { open_zarr(path)? };
        let (t, station, kind) = (ds.var("t")?, ds.coord("station")?, ds.coord("kind")?);
        let time = ds.coord("time")?;
        let masks = [
            ("equal", station.equal("Alert")?),
            ("not equal", station.not_equal("Alert")?),
            ("less", station.less("Cape Grim")?),
            ("greater equal", station.greater_equal("Cape Grim")?),
            ("other", station.equal(ds.coord("twin")?)?),
            ("other less", station.less(ds.coord("twin")?)?),
            ("isin", station.isin(["Alert", "Ümlaut", "nowhere"])?),
            ("contains", station.contains("a")?),
            ("starts", station.starts_with("Ca")?),
            ("ends", station.ends_with("t")?),
            ("two", kind.equal("sea")?),
            ("time", time.greater("2001-01-03")?),
            ("number", ds.coord("x")?.less_equal(1.0)?),
        ];
        for (what, mask) in masks {
            let expected = &TEXT.expected[what];
            assert_eq!(serde_json::json!(mask.dims()), expected["dims"], "{name} {what}");
            let found: Vec<bool> = mask.values_f64()?.into_iter().map(|x| x != 0.0).collect();
            assert_eq!(serde_json::json!(found), expected["values"], "{name} {what}");
        }
        let plain = |array: &DataArray| array.drop_coords(..);
        for (what, result) in [
            ("where", t.where_(&kind.equal("sea")?)?),
            ("drop", t.where_drop(&station.isin(["Alert", "Barrow"])?)?),
            (
                "group",
                ds.assign("t", &t.assign_coord_of("station", station)?)?
                    .var("t")?
                    .groupby("station")?
                    .mean()?,
            ),
        ] {
            let result = if what == "group" { result } else { plain(&result)? };
            let expected = &TEXT.expected[what];
            common::assert_close(
                what,
                &result.transpose(dims(expected))?.values_f64()?,
                &expected["values"],
                1e-12,
            );
        }
        // What the dataset does, it does with its text.
        for (what, result) in [
            ("sorted", ds.sortby("station")?),
            ("selected", ds.sel("x", 2.0)?),
            ("positions", ds.isel("x", [3, 0])?),
            ("reindexed", ds.reindex("x", vec![1.0, 9.0, 3.0])?),
            ("joined", concat(&[ds.isel("x", ..2)?, ds.isel("x", 3..)?], "x")?),
        ] {
            let expected = &TEXT.expected[what];
            assert_eq!(common::plain(result.coord("station")?), expected["values"], "{name} {what}");
        }
        let other = station.where_or(&station.less("C")?, "elsewhere")?;
        assert_eq!(common::plain(&other), TEXT.expected["chosen"]["values"], "{name}");
    }
    Ok(())
}

fn dims(expected: &Value) -> Vec<String> {
    expected["dims"].as_array().unwrap().iter().map(|dim| dim.as_str().unwrap().to_owned()).collect()
}

#[test]
fn text_is_written_as_it_was_read() -> Result<()> {
    let ds = open_zarr(TEXT.path("text.zarr"))?;
    let folder = tempfile::tempdir().unwrap();
    let (zarr, netcdf) = (folder.path().join("again.zarr"), folder.path().join("again.nc"));
    let named = ds.assign_text("country", ["x"], ["ca", "us", "au", "de", "ca"])?;
    named.to_zarr(&zarr)?;
    named.to_netcdf(&netcdf)?;
    let code = "
import sys, xarray as xr
for path in sys.argv[1:]:
    ds = xr.open_dataset(path, engine='zarr' if path.endswith('zarr') else None)
    print(sorted(ds.data_vars), ds.station.values.tolist(), ds.kind.values.tolist(), ds.country.values.tolist())
";
    let told = common::run_python(code, &[&zarr, &netcdf]);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 2, "{told}");
    assert_eq!(lines[0], lines[1]);
    let first = TEXT.expected["whole"].as_str().unwrap();
    assert!(lines[0].starts_with(first), "{} {first}", lines[0]);
    assert!(lines[0].ends_with("['ca', 'us', 'au', 'de', 'ca']"), "{}", lines[0]);
    for again in [open_zarr(&zarr)?, open_netcdf(&netcdf)?] {
        assert_eq!(common::plain(again.coord("kind")?), common::plain(ds.coord("kind")?));
        assert_eq!(again.names(), ds.names());
    }
    // As a coordinate it is written as one.
    let labelled = folder.path().join("labelled.zarr");
    ds.set_coords(["station"])?.to_zarr(&labelled)?;
    let code = "import sys, xarray as xr; print(sorted(xr.open_zarr(sys.argv[1]).coords))";
    assert!(common::run_python(code, &[&labelled]).contains("station"));
    let back = open_zarr(&labelled)?.reset_coords(["station"])?;
    back.to_zarr(folder.path().join("back.zarr"))?;
    assert!(!common::run_python(code, &[&folder.path().join("back.zarr")]).contains("station"));
    // Another process gets it too.
    let (arrays, labels) = ds.take_apart();
    let there = Dataset::put_together(&labels, arrays)?;
    assert_eq!(common::plain(there.coord("station")?), common::plain(ds.coord("station")?));
    Ok(())
}

#[test]
fn what_text_cannot_do_is_named() -> Result<()> {
    let ds = open_zarr(TEXT.path("text.zarr"))?;
    let error = ds.var("station").unwrap_err().to_string();
    assert!(error.contains("string") && error.contains("equal"), "{error}");
    let message = |result: Result<DataArray>| result.unwrap_err().to_string();
    let station = ds.coord("station")?;
    assert!(message(station.equal(3.0)).contains("compare with text"));
    assert!(message(ds.coord("x")?.equal("Alert")).contains("compare with a number"));
    assert!(message(ds.coord("time")?.less("soon")).contains("dates are written"));
    assert!(message(station.equal(ds.coord("time")?)).contains("must be the same"));
    assert!(message(ds.coord("x")?.contains("a")).contains("for text"));
    let short = DataArray::from_chunk(Chunk::from_slice(&[2], &[true, false]), ["x"])?;
    assert!(station.where_or(&short, "x").unwrap_err().to_string().contains("mask"));
    assert!(ds.assign_text("t", ["x"], ["a"]).is_err());
    // Numbers of the dataset have means, text none.
    let means = ds.mean("x")?;
    assert!(means.coord("station").is_err() && means.var("t").is_ok());
    assert!(matches!(station.unique()?, Values::Text(text) if text.len() == 5));
    Ok(())
}

#[test]
fn tiles_come_together_by_their_labels() -> Result<()> {
    let ds = open_zarr(STATISTICS.path("a.zarr"))?.select(["t", "n"])?;
    for ds in [ds.clone(), ds.isel("x", nuna_labels::slice(None, None, -1))?] {
        let tile = |time: std::ops::Range<i64>, x: std::ops::Range<i64>| ds.isel("time", time)?.isel("x", x);
        let tiles = [tile(5..12, 0..1)?, tile(0..5, 1..4)?, tile(5..12, 1..4)?, tile(0..5, 0..1)?];
        let whole = combine_by_coords(&tiles)?;
        for name in ["t", "n"] {
            let (found, expected) = (whole.var(name)?, ds.var(name)?);
            assert_eq!(found.dims(), expected.dims());
            let pairs = found.values_f64()?.into_iter().zip(expected.values_f64()?);
            assert!(pairs.into_iter().all(|(a, b)| a == b || (a.is_nan() && b.is_nan())), "{name}");
        }
        for name in ["time", "x"] {
            assert_eq!(common::plain(whole.coord(name)?), common::plain(ds.coord(name)?));
        }
        // Other variables are merged.
        let parts = [tiles[0].select(["n"])?, tiles[0].select(["t"])?];
        assert_eq!(combine_by_coords(&parts)?.names(), ["n", "t"]);
        let error = |tiles: &[Dataset]| combine_by_coords(tiles).unwrap_err().to_string();
        assert!(error(&[tiles[0].clone(), tiles[0].clone()]).contains("same labels"));
        assert!(error(&[tile(0..6, 0..4)?, tile(4..12, 0..4)?]).contains("overlap"));
        assert!(!error(&tiles[..3]).is_empty(), "a tile is missing");
    }
    Ok(())
}
