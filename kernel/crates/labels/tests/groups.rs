//! Groups, bins and periods of time give what xarray gives.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::{path::PathBuf, sync::LazyLock};

use common::assert_same;
use nuna_labels::{Bins, Calendar, DataArray, Dataset, GroupBy, GroupKey, Result, Times, Values, open_zarr};
use serde_json::Value;

struct Groups {
    folder: tempfile::TempDir,
    expected: Value,
}

static GROUPS: LazyLock<Groups> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    common::run("make_groups.py", &[folder.path()]);
    let text = std::fs::read_to_string(folder.path().join("expected.json")).unwrap();
    Groups { folder, expected: serde_json::from_str(&text).unwrap() }
});

fn path(store: &str) -> PathBuf {
    GROUPS.folder.path().join(store)
}

fn groups() -> Result<Dataset> {
    open_zarr(path("groups.zarr"))
}

fn apply(by: &GroupBy, operation: &str) -> Result<DataArray> {
    match operation {
        "mean" => by.mean(),
        "sum" => by.sum(),
        "prod" => by.prod(),
        "min" => by.min(),
        "max" => by.max(),
        "count" => by.count(),
        "first" => by.first(),
        "last" => by.last(),
        "std" => by.std(),
        "var" => by.var(),
        "median" => by.median(),
        "any" => by.any(),
        "all" => by.all(),
        other => panic!("{other}"),
    }
}

/// xarray puts the groups first where they took the place of a later dimension's.
#[track_caller]
fn check(what: &str, found: &DataArray, expected: &Value, tolerance: f64) {
    let dims: Vec<&str> = expected["dims"].as_array().unwrap().iter().map(|d| d.as_str().unwrap()).collect();
    let found = found.transpose(dims.as_slice()).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_same(what, &found, expected, tolerance);
}

#[test]
fn reductions_of_groups_equal_xarrays_in_any_chunks() -> Result<()> {
    let ds = groups()?;
    let expected = GROUPS.expected["results"].as_object().unwrap();
    let mut checked = 0;
    for chunks in
        [None, Some([("time", 1), ("x", 1)]), Some([("time", 17), ("x", 2)]), Some([("time", -1), ("x", 1)])]
    {
        let get = |name: &str| -> Result<DataArray> {
            let array = ds.var(name)?;
            let Some(chunks) = chunks else { return Ok(array) };
            array.rechunk(chunks.into_iter().filter(|(dim, _)| array.dims().iter().any(|d| d == dim)))
        };
        for (what, expected) in expected {
            let words: Vec<&str> = what.split(' ').collect();
            let variable =
                words.get(3).or(words.get(2)).copied().filter(|v| ["single", "big", "small"].contains(v));
            let t = get(variable.unwrap_or("t"))?;
            let found = match words.as_slice() {
                ["resample", "YS", operation @ ("any" | "all")] => {
                    apply(&get("flag")?.resample("time", "YS")?, operation)?
                }
                ["resample", frequency, operation, ..] => apply(&t.resample("time", frequency)?, operation)?,
                ["basin", operation, ..] => apply(&t.groupby("basin")?, operation)?,
                ["bins", operation] => {
                    apply(&t.groupby_bins("level", [0.0, 5.0, 12.5, 29.5, 80.0, 90.0])?, operation)?
                }
                ["noskip", operation] => apply(&t.resample("time", "QS")?.skipna(false), operation)?,
                ["part", part] => t.groupby(format!("time.{part}"))?.mean()?,
                _ => continue,
            };
            // Products of many doubles and float32 sums round in another order than NumPy's.
            let tolerance = if variable == Some("single") { 2e-6 } else { 1e-12 };
            check(what, &found, expected, tolerance);
            checked += 1;
        }
    }
    assert!(checked > 4 * 100, "{checked} results checked");
    Ok(())
}

#[test]
fn quantiles_keys_and_functions_of_groups_equal_xarrays() -> Result<()> {
    let ds = groups()?;
    let (t, single, depth) = (ds.var("t")?, ds.var("single")?, ds.var("depth")?);
    let month = t.groupby("time.month")?;
    let small = ds.var("small")? % 7;
    let mut results: Vec<(String, DataArray)> = Vec::new();
    for (name, q) in [("0.0", 0.0), ("0.1", 0.1), ("0.75", 0.75), ("1.0", 1.0)] {
        results.push((format!("quantile {name}"), month.quantile(q)?));
        results.push((format!("quantile single {name}"), single.resample("time", "7D")?.quantile(q)?));
    }
    let bins = |right, include_lowest| Bins { edges: vec![5.0, 50.0, 500.0], right, include_lowest };
    let (season, basin) = (t.groupby("time.season")?, t.groupby("basin")?);
    for (name, found) in [
        ("quantile noskip", month.skipna(false).quantile(0.3)?),
        ("ddof", basin.ddof(1).std()?),
        ("level", t.groupby("level")?.mean()?),
        ("array", t.groupby(small.named("small"))?.mean()?),
        ("depth bins", t.groupby_bins(&depth, [0.0, 50.0, 1000.0])?.mean()?),
        ("left bins", t.groupby_bins(&depth, bins(false, false))?.mean()?),
        ("lowest bins", t.groupby_bins(&depth, bins(true, true))?.mean()?),
        ("anomaly", season.anomaly()?),
        ("ratio", &basin / basin.max()?),
        ("map whole", basin.map(|part| part.binary(nuna_array::Binary::Sub, part.mean("time")?))?),
        (
            "map reduced",
            basin.map(|part| part.max("time")?.binary(nuna_array::Binary::Sub, part.min("time")?))?,
        ),
    ] {
        results.push((name.to_owned(), found));
    }
    for (name, found) in &results {
        let tolerance = if name.contains("single") { 2e-6 } else { 1e-12 };
        check(name, found, &GROUPS.expected["results"][name], tolerance);
    }
    Ok(())
}

/// Keys as `make_groups.py` names them.
fn keys(ds: &Dataset, name: &str) -> Result<Vec<GroupKey>> {
    name.split(' ')
        .map(|word| {
            Ok(match word {
                "season" | "year" | "month" => format!("time.{word}").into(),
                "levels" => GroupKey::bins("level", [0.0, 5.0, 12.5, 29.5, 80.0, 90.0]),
                "region" | "zone" => ds.var(word)?.into(),
                other => other.into(),
            })
        })
        .collect()
}

#[test]
fn several_keys_give_a_dimension_each_as_in_xarray() -> Result<()> {
    let ds = groups()?;
    let mut checked = 0;
    for chunks in [None, Some([("time", 17), ("y", 2), ("x", 1)]), Some([("time", 1), ("y", 1), ("x", 2)])] {
        for (what, expected) in GROUPS.expected["several"].as_object().unwrap() {
            let [name, operation, variable] = what.split('/').collect::<Vec<_>>()[..] else {
                panic!("{what}")
            };
            let variable = if variable == "single" && name.contains("zone") { "big" } else { variable };
            let mut array = ds.var(variable)?;
            if let Some(chunks) = chunks {
                array =
                    array.rechunk(chunks.into_iter().filter(|(d, _)| array.dims().iter().any(|o| o == d)))?;
            }
            let found = apply(&array.groupby(keys(&ds, name)?)?, operation)?;
            check(what, &found, expected, if variable == "single" { 2e-6 } else { 1e-12 });
            checked += 1;
        }
    }
    assert!(checked > 3 * 140, "{checked} results checked");
    Ok(())
}

#[test]
fn anomalies_and_functions_of_several_keys_find_their_groups() -> Result<()> {
    let ds = groups()?;
    let (t, region) = (ds.var("t")?, ds.var("region")?);
    let (seasons, regions) = (t.groupby(["time.season", "basin"])?, t.groupby(("basin", &region))?);
    assert_eq!((seasons.keys(), seasons.len()), (vec!["season".to_owned(), "basin".to_owned()], 12));
    assert_eq!(regions.labels_of("region")?.len(), 3);
    let anomaly = seasons.anomaly()?;
    assert_eq!(anomaly.dims(), t.dims());
    for (name, found) in [
        ("several anomaly", anomaly.clone()),
        ("several regions", &regions - regions.max()?),
        ("several quantile", seasons.quantile(0.3)?),
    ] {
        check(name, &found, &GROUPS.expected["results"][name], 1e-12);
    }
    // A function of each group is the same, whether along one dimension or stacked.
    let same = |a: &DataArray, b: &DataArray| -> Result<()> {
        let b = b.transpose(a.dims())?;
        for (a, b) in a.values_f64()?.into_iter().zip(b.values_f64()?) {
            assert!((a - b).abs() < 1e-12 || (a.is_nan() && b.is_nan()), "{a} {b}");
        }
        Ok(())
    };
    same(&seasons.map(|part| part.binary(nuna_array::Binary::Sub, part.mean("time")?))?, &anomaly)?;
    same(&seasons.map(|part| part.max("time"))?, &seasons.max()?)?;
    let whole = regions.map(|part| {
        assert_eq!(part.dims().last().unwrap(), "stacked_time_y_x");
        part.binary(nuna_array::Binary::Sub, part.max("stacked_time_y_x")?)
    })?;
    assert_eq!(whole.dims(), ["time", "y", "x"]);
    same(&whole, &regions.binary(nuna_array::Binary::Sub, &regions.max()?)?)?;
    assert_eq!(whole.coord("basin")?.values()?.len(), 260);
    same(&regions.map(|part| part.min("stacked_time_y_x"))?, &regions.min()?)?;
    // What is in no bin has no anomaly.
    let bins = t.groupby((GroupKey::bins("level", [0.0, 12.5]), &region))?;
    let missing = bins.anomaly()?.isnull()?.sum(..)?.item()?;
    let outside = ds.coord("level")?.to_array()?.greater(12.5)? | ds.coord("level")?.to_array()?.isnull()?;
    let outside = outside | ds.coord("level")?.to_array()?.equal(0.0)?;
    assert_eq!(missing, (outside | t.isnull()?).sum(..)?.item()?);
    Ok(())
}

#[test]
fn datasets_group_by_several_keys() -> Result<()> {
    let ds = groups()?;
    let by = ds.groupby(["time.season", "basin"])?;
    let means = by.mean()?;
    assert_eq!(means.var("t")?.dims(), ["season", "basin", "y", "x"]);
    check("t", &means.var("t")?, &GROUPS.expected["several"]["season basin/mean/t"], 1e-12);
    // Without a grouped dimension it stays; with one of them it is repeated along the others.
    assert_eq!(means.var("depth")?.dims(), ["y"]);
    let regions = ds.select(["t", "depth"])?.groupby(("basin", ds.var("region")?))?;
    assert_eq!(regions.sum()?.var("depth")?.dims(), ["basin", "region"]);
    assert_eq!(regions.count()?.var("depth")?.sum(..)?.item()?, 260.0 * 6.0);
    let anomaly = ds.select(["t", "single"])?.groupby(["time.season", "basin"])?.anomaly()?;
    check("anomaly", &anomaly.var("t")?, &GROUPS.expected["results"]["several anomaly"], 1e-12);
    Ok(())
}

#[test]
fn periods_follow_every_calendar_as_in_xarray() -> Result<()> {
    for (what, expected) in GROUPS.expected["calendars"].as_object().unwrap() {
        let (calendar, key) = what.split_once(' ').unwrap();
        let t = open_zarr(path(&format!("{calendar}.zarr")))?.var("t")?;
        let found = match key {
            "6h" => t.isel("time", ..5)?.resample("time", key)?.mean()?,
            "season" | "dayofyear" | "month" => t.groupby(format!("time.{key}"))?.mean()?,
            _ => t.resample("time", key)?.mean()?,
        };
        check(what, &found, expected, 1e-12);
    }
    Ok(())
}

#[test]
fn keys_that_cannot_group_say_why() -> Result<()> {
    let ds = groups()?;
    let t = ds.var("t")?;
    let message = |result: Result<GroupBy>| result.unwrap_err().to_string();
    assert!(
        message(t.groupby("time.fortnight")).contains("dayofyear"),
        "{}",
        message(t.groupby("time.fortnight"))
    );
    assert!(message(t.groupby("lat")).contains("it has"));
    assert!(message(t.groupby("y.month")).contains("not times"));
    assert!(message(t.groupby(t.isel("time", 0)?.isel("y", 0)?.isel("x", 0)?)).contains("no dimension"));
    assert!(message(t.groupby(["time.month", "time.month"])).contains("two keys"));
    assert!(message(t.groupby(Vec::<GroupKey>::new())).contains("at least one"));
    assert!(message(t.groupby(ds.var("region")?.named("time"))).contains("stays"));
    assert!(message(t.groupby_bins("level", [1.0, 1.0])).contains("rise"));
    assert!(message(t.groupby_bins("basin", [1.0, 2.0])).contains("not numbers"));
    assert!(message(t.resample("y", "MS")).contains("not times"));
    assert!(message(t.resample("depth", "MS")).contains("no dimension"));
    assert!(message(t.resample("time", "fortnight")).contains("not a unit"));
    let noleap = open_zarr(path("noleap.zarr"))?.var("t")?;
    assert!(message(noleap.groupby("time.weekofyear")).contains("noleap"));
    let shorter = ds.var("small")?.isel("time", ..10)?;
    assert!(message(t.groupby(&shorter)).contains("are not those of"));
    let none = t.isel("time", ..0)?;
    assert!(none.resample("time", "MS").unwrap_err().to_string().contains("empty"));
    assert!(none.groupby("time.month")?.mean().unwrap_err().to_string().contains("no groups"));
    Ok(())
}

#[test]
fn missing_times_and_empty_lines_are_right() -> Result<()> {
    let mut micros: Vec<i64> = (0..6).map(|day| day * 86_400_000_000).collect();
    micros[2] = i64::MIN;
    let times = Times { calendar: Calendar::Standard, micros: micros.into() };
    let line = DataArray::new(nuna_array::Array::arange(0, 1, 6), ["time"])?.assign_coord("time", times)?;
    assert!(line.resample("time", "D").unwrap_err().to_string().contains("missing times"));
    // In no group, as in xarray.
    assert_eq!(line.groupby("time.month")?.sum()?.values_f64()?, [13.0]);
    assert_eq!(line.groupby_bins("time.day", [0.0, 2.0, 4.0])?.sum()?.values_f64()?, [1.0, 3.0]);
    assert!(line.groupby_bins("time.day", [50.0, 60.0])?.sum()?.values_f64()?[0].is_nan());
    // Another dimension may be empty.
    let flat = nuna_array::Array::full(&[6, 0], 1.0, nuna_array::DType::F64);
    let flat = DataArray::new(flat, ["time", "x"])?
        .assign_coord("time", Values::from(vec!["a", "a", "b", "b", "c", "c"]))?;
    assert_eq!(flat.groupby("time")?.mean()?.shape(), [3, 0]);
    assert!(flat.groupby("time")?.median()?.values_f64()?.is_empty());
    Ok(())
}
