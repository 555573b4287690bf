//! Points, masks, methods with tolerances, gaps, ranges of dates and arithmetic of datasets give what xarray gives.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::sync::LazyLock;

use common::assert_same;
use nuna_array::DType;
use nuna_labels::{
    Calendar, DataArray, Dataset, Method, Result, Times, Values, concat, date_range, date_range_to,
    open_netcdf,
};
use serde_json::{Value, json};

struct Points {
    folder: tempfile::TempDir,
    expected: Value,
}

static POINTS: LazyLock<Points> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    common::run("make_points.py", &[folder.path()]);
    let text = std::fs::read_to_string(folder.path().join("expected.json")).unwrap();
    Points { folder, expected: serde_json::from_str(&text).unwrap() }
});

fn open(name: &str) -> Result<Dataset> {
    open_netcdf(POINTS.folder.path().join(format!("{name}.nc")))
}

/// Every expected result of these beginnings is compared, none is left over.
fn compare(results: Vec<(&str, DataArray)>, prefixes: &[&str]) {
    let expected = POINTS.expected["results"].as_object().unwrap();
    let wanted = expected.keys().filter(|key| prefixes.iter().any(|p| key.starts_with(p))).count();
    assert_eq!(results.len(), wanted, "{prefixes:?}");
    for (name, found) in &results {
        let expected = expected.get(*name).unwrap_or_else(|| panic!("{name}"));
        assert_same(name, found, expected, 1e-12);
    }
}

fn dates(list: &[&str]) -> Values {
    Times::from_dates(list, Calendar::Standard).unwrap().into()
}

#[test]
fn points_equal_xarrays() -> Result<()> {
    let a = open("a")?;
    let (t, n) = (a.var("t")?, a.var("n")?);
    let two = || [("lat", [3, 0, 3, 1]), ("lon", [4, 4, 0, 2])];
    let near = || [("lat", Values::from(vec![29.0, 2.0, 11.0])), ("lon", vec![300, 100, 0].into())];
    let every = [
        ("time", Values::from(vec!["2001-01-05", "2001-01-03", "2001-02-08"])),
        ("lat", vec![10.1, 30.7, 0.1].into()),
        ("lon", vec![90_i64, 0, 300].into()),
    ];
    let none: [(&str, Vec<i64>); 2] = [("lat", Vec::new()), ("lon", Vec::new())];
    let near_one = [("lat", vec![11.0, 0.0])];
    compare(
        vec![
            ("points", t.isel_points("station", two())?),
            ("points int", n.isel_points("station", two())?),
            ("points one dim", t.isel_points("station", [("lat", [1, 1, 0])])?),
            (
                "points last",
                t.transpose(["lat", "lon", "time"])?
                    .isel_points("station", [("time", [5, 1]), ("lon", [0, 3])])?,
            ),
            ("points apart", t.transpose(["lat", "time", "lon"])?.isel_points("station", two())?),
            ("points none", t.isel_points("station", none)?),
            ("points labels", t.sel_points("station", every)?),
            ("points nearest", t.sel_points_with("station", near(), Method::Nearest)?),
            (
                "points tolerance",
                t.sel_points_with("station", near_one.clone(), Method::Nearest.within(1.0))?,
            ),
            ("points dataset t", a.isel_points("station", two())?.var("t")?),
            ("points dataset line", a.isel_points("station", two())?.var("line")?),
            ("points dataset n", a.sel_points_with("station", near(), Method::Nearest)?.var("n")?),
        ],
        &["points"],
    );
    for (error, says) in [
        (t.sel_points_with("station", near_one.clone(), Method::Nearest.within(0.5)), "within 0.5"),
        (t.sel_points("station", near_one), "Method::Nearest"),
        (
            t.isel_points("station", [("lat", vec![1, 2]), ("lon", vec![1])]),
            "2 places along `lat` and 1 along `lon`",
        ),
        (t.isel_points("time", two()), "choose another"),
        (t.isel_points("height", two()), "choose another"),
        (t.isel_points("station", [("lat", [4])]), "4"),
        (t.isel_points("station", [("lat", [1]), ("lat", [1])]), "twice"),
        (t.isel_points::<&str, i64>("station", []), "at least one"),
    ] {
        let error = error.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    Ok(())
}

#[test]
fn points_do_not_depend_on_chunks() -> Result<()> {
    let t = open("a")?.var("t")?;
    let points = |of: &DataArray| of.isel_points("p", [("lon", [4, 0, 4, 2]), ("time", [19, 3, 0, 19])]);
    let whole = points(&t.compute()?)?.values_f64()?;
    for chunks in [[1, 1, 1], [7, 2, 3], [20, 4, 5]] {
        let cut = t.rechunk([("time", chunks[0]), ("lat", chunks[1]), ("lon", chunks[2])])?;
        let found = points(&cut)?.values_f64()?;
        assert!(found.iter().zip(&whole).all(|(a, b)| a == b || a.is_nan() && b.is_nan()), "{chunks:?}");
    }
    Ok(())
}

#[test]
fn labels_of_float32_are_found_by_what_is_written() -> Result<()> {
    let a = open("a")?;
    let (t, n) = (a.var("t")?, a.var("n")?);
    compare(
        vec![
            ("float label", t.sel("lat", 10.1)?),
            ("float labels", t.sel("lat", [30.7, 0.1])?),
            ("float range", t.sel("lat", 10.1..=30.7)?),
            ("float many", n.sel("lat", [30.7, 0.1, 0.1, 10.1, 20.1, 30.7])?),
            ("float equal", a.var("lat")?.equal(20.1)?),
        ],
        &["float"],
    );
    assert_eq!(t.sel("lat", 10.1..30.7)?.shape(), [20, 2, 5]);
    assert_eq!(a.coord("lat")?.equal(20.1)?.sum(..)?.item()?, 1.0);
    assert!(t.sel("lat", 10.2).is_err());
    Ok(())
}

#[test]
fn methods_and_masks_equal_xarrays() -> Result<()> {
    let a = open("a")?;
    let (t, n) = (a.var("t")?, a.var("n")?);
    let month = a.dt("time.month")?.equal(2)?;
    let places = DataArray::new(nuna_array::Array::from_slice(&[3], &[4_i64, -1, 0])?, ["lon"])?;
    compare(
        vec![
            ("with nearest", t.sel_with("lat", 11.0, Method::Nearest.within(1.0))?),
            ("with pad", t.sel_with("time", "2001-01-06", Method::Pad)?),
            ("with backfill", t.sel_with("time", ["2001-01-06", "2001-01-07"], Method::Backfill)?),
            ("with whole", n.sel_with("lon", [100, 299], Method::Nearest.within(10.0))?),
            ("mask", t.isel("time", &month)?),
            ("mask list", n.isel("lat", [true, false, true, false])?),
            ("mask int", n.isel("lon", &places)?),
            ("mask dataset", a.isel("time", &month)?.var("line")?),
        ],
        &["with", "mask"],
    );
    for (error, says) in [
        (t.sel_with("lat", 12.0, Method::Nearest.within(1.0)), "within 1"),
        (t.sel_with("time", "2000-12-31", Method::Pad), "2000-12-31"),
        (t.sel_with("lat", 0.0..=1.0, Method::Nearest), "range"),
        (t.sel_with("height", 0.0, Method::Nearest), "height"),
        (t.isel("time", &n), "`isel_points`"),
        (t.isel("lon", vec![true, false]), "a mask of 2"),
        (t.isel("time", &a.var("line")?), "neither bools nor positions"),
        (t.isel("time", &month.isel("time", 0..19)?), "differ"),
        (t.isel("time", &month.assign_coord("time", vec![0_i64; 20])?), "differ"),
    ] {
        let error = error.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    Ok(())
}

#[test]
fn gaps_equal_xarrays() -> Result<()> {
    let (a, b) = (open("a")?, open("b")?);
    let t = a.var("t")?;
    let bare = |of: &Dataset| of.var("t")?.drop_coords(["height", "area"]);
    compare(
        vec![
            ("dropna", t.dropna("time")?),
            ("dropna all", t.dropna_all("time")?),
            ("dropna line", t.isel("lat", 0)?.isel("lon", 0)?.dropna("time")?),
            ("dropna dataset", a.select(["t", "line"])?.dropna("time")?.var("line")?),
            ("combine first", bare(&a)?.combine_first(&bare(&b)?)?),
            ("interp like", bare(&a)?.fillna(0)?.interp_like(&bare(&b)?.isel("lat", 0..2)?)?),
        ],
        &["dropna", "combine", "interp"],
    );
    assert!(t.equals(&t.rechunk([("time", 1)])?)?);
    assert!(!t.equals(&(&t + 1))? && !t.equals(&t.isel("time", 1..)?)?);
    assert!(!t.equals(&t.assign_coord("lon", vec![1_i64, 2, 3, 4, 5])?)?);
    Ok(())
}

#[test]
fn arithmetic_of_datasets_equals_xarrays() -> Result<()> {
    let (all, b) = (open("a")?, open("b")?);
    let a = all.select(["t", "n", "line"])?;
    let (t, line) = (a.var("t")?, a.var("line")?);
    let apart = &a - a.mean("time")?;
    let bare = |of: &Dataset, names: &[&str]| -> Result<Dataset> {
        of.select(names)?.drop_var("height")?.drop_var("area")
    };
    compare(
        vec![
            ("dataset add", (&a + 1.5).var("t")?),
            ("dataset sub", apart.var("t")?),
            ("dataset sub line", apart.var("line")?),
            ("dataset mul array", (&a * &line).var("n")?),
            ("dataset joined", (bare(&all, &["t", "line"])? + bare(&b, &["t"])?).var("t")?),
            ("round", t.round_to(1)?),
            ("round tens", t.round_to(-1)?),
            ("round float32", t.astype(DType::F32).round_to(2)?),
            ("atan2", t.atan2(&a.var("n")?)?),
            ("sinh", line.sinh()?),
            ("floor div", a.var("n")?.floor_div(7)?),
        ],
        &["dataset", "round", "atan2", "sinh", "floor div"],
    );
    let error =
        a.select(["n"])?.binary(nuna_array::Binary::Add, &b.select(["line"])?).unwrap_err().to_string();
    assert!(error.contains("in common") && error.contains("line"), "{error}");
    Ok(())
}

#[test]
fn products_and_quantiles_of_groups_equal_xarrays() -> Result<()> {
    let (a, b) = (open("a")?, open("b")?);
    let bare = |of: &Dataset, name: &str| of.select([name])?.drop_var("height")?.drop_var("area")?.var(name);
    let (t, n, line) = (bare(&a, "t")?, bare(&a, "n")?, a.var("line")?);
    compare(
        vec![
            ("dot", t.dot(&bare(&b, "t")?, "time")?),
            ("dot two", t.fillna(0)?.dot(&line, ["time", "lon"])?),
            ("dot all", n.dot(&n, ..)?),
            ("group quantiles", t.groupby("time.month")?.quantile([0.1, 0.5])?),
            ("group quantile", t.resample("time", "MS")?.quantile(0.5)?),
        ],
        &["dot", "group"],
    );
    let error = t.dot(&n, "depth").unwrap_err().to_string();
    assert!(error.contains("depth") && error.contains("lat"), "{error}");
    assert!(t.groupby("time.month")?.quantile(Vec::new()).is_err());
    Ok(())
}

#[test]
fn times_counted_otherwise_are_the_same_times() -> Result<()> {
    let [first, second] = [open("c0")?, open("c1")?];
    let paths = ["c0.nc", "c1.nc"].map(|name| POINTS.folder.path().join(name));
    let both = nuna_labels::open_many(&paths, "time")?;
    let expected = &POINTS.expected["dates"];
    let texts = |array: &DataArray| -> Result<Value> {
        let times = array.to_times()?;
        Ok((0..times.len()).map(|at| json!(times.iso(at))).collect())
    };
    assert_eq!(texts(&both.var("seen")?)?, expected["both seen"]);
    assert_eq!(texts(&both.var("time_bnds")?)?, expected["both bounds"]);
    assert_eq!(texts(&both.var("seen")?.min(..)?)?, expected["first seen"]);
    let bare = |of: &Dataset, name: &str| of.var(name)?.drop_coords("time");
    let (seen, later) = (bare(&first, "seen")?, bare(&second, "seen")?);
    compare(
        vec![
            ("lags", (&seen - bare(&second, "time_bnds")?.isel("nv", 0)?).named("lags")),
            ("later", seen.greater(&(&later - 30.0))?),
        ],
        &["lags", "later"],
    );
    let grown = tempfile::tempdir().unwrap();
    let store = grown.path().join("grown.zarr");
    first.drop_var("time_bnds")?.to_zarr(&store)?;
    second.drop_var("time_bnds")?.append_zarr(&store, "time")?;
    assert_eq!(texts(&nuna_labels::open_zarr(&store)?.var("seen")?)?, expected["both seen"]);
    let units = |of: &DataArray| of.attrs().get("units").cloned();
    assert_eq!(units(&seen.diff("time")?), Some(json!("days")));
    assert_eq!(units(&seen.std("time")?), Some(json!("days")));
    for made in [seen.count("time")?, seen.isnull()?, seen.argmax("time")?, seen.equal(1.0)?] {
        assert_eq!((units(&made), made.attrs().get("calendar")), (None, None));
    }
    let counted = |values: &[i64], units: &str| -> Result<DataArray> {
        let array = nuna_array::Array::from_slice(&[values.len() as u64], values)?;
        Ok(DataArray::new(array, ["time"])?.with_attr("units", units))
    };
    let days = counted(&[0, 59, -1], "days since 2000-01-01")?;
    let hours = concat(&[counted(&[1], "hours since 1999-12-31T01:00")?, days.clone()], "time")?;
    assert_eq!((hours.dtype(), hours.values_f64()?), (DType::I64, vec![1.0, 23.0, 1439.0, -1.0]));
    let halves = concat(&[days.clone(), counted(&[36], "hours since 2000-01-01")?], "time")?;
    assert_eq!((halves.dtype(), halves.values_f64()?[3]), (DType::F64, 1.5));
    let model = days.with_attr("calendar", "360_day");
    let error = concat(&[days.clone(), model.clone()], "time").unwrap_err().to_string();
    assert!(error.contains("360_day"), "{error}");
    assert!(days.less(&model).is_err());
    Ok(())
}

#[test]
fn dates_equal_pandas() -> Result<()> {
    let a = open("a")?;
    let standard = |start: &str, n: u64, frequency: &str| date_range(start, n, frequency);
    let found = [
        ("D", standard("2000-02-27", 5, "D")?),
        ("6h", standard("2000-02-28T03:00", 9, "6h")?),
        ("MS", standard("2000-01-15", 14, "MS")?),
        ("MS first", standard("2000-01-01T06:00", 3, "MS")?),
        ("2MS", standard("2000-01-02", 4, "2MS")?),
        ("ME", standard("1999-12-31", 4, "ME")?),
        ("QS-DEC", standard("2000-01-01", 5, "QS-DEC")?),
        ("2QE", standard("2000-01-01", 5, "2QE")?),
        ("YS-JUL", standard("2000-07-02", 3, "YS-JUL")?),
        ("W", standard("2000-01-01", 3, "W")?),
        ("2W-WED", standard("2000-01-05", 3, "2W-WED")?),
        ("to", date_range_to("2000-12-30", "2001-01-02T12:00", "D")?),
        ("to months", date_range_to("2000-01-31", "2000-06-01", "MS")?),
        ("to nothing", date_range_to("2000-01-31", "2000-01-01", "D")?),
        ("noleap", Times::range("2000-02-27", 4, "D", Calendar::NoLeap)?),
        ("360_day", Times::range("2000-02-01", 4, "ME", Calendar::Day360)?),
        ("warmest", a.var("line")?.idxmax("time")?.to_times()?),
        ("warmest each", a.var("t")?.isel("lat", 1)?.idxmax("time")?.to_times()?),
        ("bounds", a.var("time_bnds")?.to_times()?),
    ];
    let expected = POINTS.expected["dates"].as_object().unwrap();
    assert_eq!(found.len() + 3, expected.len(), "three are of series");
    for (name, times) in &found {
        let texts: Value = (0..times.len()).map(|at| json!(times.iso(at))).collect();
        assert_eq!(texts, expected[*name], "{name}");
    }
    for error in [
        date_range("2000-13-01", 3, "D"),
        date_range("2000-01-01", 3, "fortnight"),
        date_range("2000-01-01", u64::MAX, "D"),
        date_range("2000-01-01", 1_000_000, "1000000000YS"),
        date_range("2000-01-01", 3, "100000D")
            .and_then(|_| date_range("2000-01-01", 1_000_000, "100000000D")),
        date_range_to("2000-01-01", "2300-01-01", "s"),
    ] {
        error.unwrap_err();
    }
    let days = DataArray::new(nuna_array::Array::arange(0.0, 1.0, 366), ["time"])?
        .assign_coord("time", date_range("2000-01-01", 366, "D")?)?;
    assert_eq!(days.sel("time", "2000-02")?.shape(), [29]);
    let shifted = days.assign_coord("time", date_range("2001-01-01", 366, "D")?)?;
    assert_eq!(
        concat(&[days, shifted], "time")?.resample("time", "YS")?.count()?.values_f64()?,
        [366.0, 365.0, 1.0]
    );
    assert_eq!(dates(&["2000-02-29"]).show(0), "2000-02-29");
    Ok(())
}
