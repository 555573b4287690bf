//! Alignment, merging, sorting, windows and interpolation give what xarray gives.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::sync::LazyLock;

use common::assert_same;
use nuna_array::{Array, Binary, DType, Scalar};
use nuna_labels::{
    Boundary, Calendar, Compat, DataArray, Dataset, Join, Merge, Method, Reindex, Result, Times, Values,
    align, concat, concat_with, merge, merge_with, open_zarr,
};
use serde_json::Value;

struct Shapes {
    folder: tempfile::TempDir,
    expected: Value,
}

static SHAPES: LazyLock<Shapes> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    common::run("make_shapes.py", &[folder.path()]);
    let text = std::fs::read_to_string(folder.path().join("expected.json")).unwrap();
    Shapes { folder, expected: serde_json::from_str(&text).unwrap() }
});

fn open(name: &str) -> Result<Dataset> {
    open_zarr(SHAPES.folder.path().join(format!("{name}.zarr")))
}

fn dates(list: &[&str]) -> Times {
    Times::from_dates(list, Calendar::Standard).unwrap()
}

fn bare(array: &DataArray) -> Result<DataArray> {
    let dims = array.dims().to_vec();
    let others: Vec<String> =
        array.coords().names().into_iter().filter(|name| !dims.contains(name)).collect();
    array.drop_coords(others)
}

/// Every expected result is compared, none is left over.
fn compare(results: Vec<(&str, DataArray)>, prefixes: &[&str]) {
    let expected = SHAPES.expected["results"].as_object().unwrap();
    let wanted = expected.keys().filter(|key| prefixes.iter().any(|p| key.starts_with(p))).count();
    assert_eq!(results.len(), wanted, "{prefixes:?}");
    for (name, found) in &results {
        let expected = expected.get(*name).unwrap_or_else(|| panic!("{name}"));
        assert_same(name, found, expected, 1e-12);
    }
}

#[test]
fn alignment_equals_xarrays() -> Result<()> {
    let (a, b, c) = (open("a")?, open("b")?, open("c")?);
    let (t, n, line) = (a.var("t")?, a.var("n")?, a.var("line")?);
    let mut results = Vec::new();
    let joins = [
        (Join::Inner, ["align inner t", "align inner second n", "align inner line", "arithmetic inner"]),
        (Join::Outer, ["align outer t", "align outer second n", "align outer line", "arithmetic outer"]),
        (Join::Left, ["align left t", "align left second n", "align left line", "arithmetic left"]),
        (Join::Right, ["align right t", "align right second n", "align right line", "arithmetic right"]),
    ];
    for (join, names) in joins {
        let both = align(&[a.clone(), b.clone()], join)?;
        results.push((names[0], both[0].var("t")?));
        results.push((names[1], both[1].var("n")?));
        results.push((names[2], both[1].var("line")?));
        results.push((names[3], bare(&t)?.binary_with(Binary::Add, &bare(&b.var("t")?)?, join)?));
    }
    let days = dates(&["2000-12-31", "2001-01-01", "2001-01-04", "2001-01-13"]);
    let lats = || vec![-30.0, -6.0, 5.0, 14.9, 99.0];
    let fill = Reindex { fill_value: Scalar::Int(-1), ..Reindex::default() };
    results.extend([
        ("reindex", t.reindex("time", days)?),
        ("reindex int", n.reindex("lat", vec![0.0, 5.0, 20.0])?),
        ("reindex fill", bare(&n)?.reindex_with("lat", vec![0.0, 5.0, 20.0], fill)?),
        ("reindex none", line.reindex("time", dates(&["2000-12-31"]))?),
        ("reindex like", t.reindex_like(&b.var("n")?)?),
        ("reindex nearest", t.reindex_with("lat", lats(), Method::Nearest)?),
        ("reindex tolerance", t.reindex_with("lat", lats(), Method::Nearest.within(4.5))?),
        ("reindex pad", t.reindex_with("lat", lats(), Method::Pad)?),
        ("reindex backfill", t.reindex_with("lat", lats(), Method::Backfill)?),
        (
            "reindex unsorted",
            c.var("t")?.drop_duplicates("time")?.reindex("time", a.coord("time")?.values()?.clone())?,
        ),
    ]);
    compare(results, &["align", "arithmetic", "reindex"]);
    Ok(())
}

#[test]
fn merging_and_joining_equal_xarrays() -> Result<()> {
    let (a, b) = (open("a")?, open("b")?);
    let only =
        |ds: &Dataset, name: &str| -> Result<Dataset> { Dataset::new().assign(name, &bare(&ds.var(name)?)?) };
    let both = merge(&[only(&a, "t")?, only(&b, "line")?])?;
    let t = a.select(["t"])?;
    let gaps = merge(&[t.isel("time", 0..6)?, t.isel("time", 3..10)?])?;
    let (first, second) =
        (a.var("t")?.drop_coords("height")?, b.var("t")?.isel("time", 6..12)?.drop_coords("height")?);
    let n = a.var("n")?;
    compare(
        vec![
            ("merge t", both.var("t")?),
            ("merge line", both.var("line")?),
            ("merge gaps", gaps.var("t")?),
            ("concat outer", concat_with(&[first.clone(), second.clone()], "time", Join::Outer)?),
            ("concat inner", concat_with(&[first.clone(), second.clone()], "time", Join::Inner)?),
            ("concat new", concat(&[n.clone(), &n + 1], "member")?),
            ("concat dataset", concat(&[a.isel("time", 0..3)?, a.isel("time", 5..7)?], "time")?.var("t")?),
        ],
        &["merge", "concat"],
    );
    let message = |error: nuna_labels::LabelError| error.to_string();
    let error = message(concat(&[first.clone(), second], "time").unwrap_err());
    assert!(error.contains("`lat`") && error.contains("-10.0") && error.contains("30.0"), "{error}");
    let error = message(merge(&[only(&a, "t")?, only(&b, "t")?]).unwrap_err());
    assert!(error.contains("`t`") && error.contains("elements"), "{error}");
    let kept =
        merge_with(&[only(&a, "n")?, only(&b, "n")?], Merge { compat: Compat::Override, join: Join::Left })?;
    assert_eq!(kept.var("n")?.values_f64()?, n.values_f64()?);
    let exact = Merge { join: Join::Exact, ..Merge::default() };
    let error = message(merge_with(&[a.clone(), b.clone()], exact).unwrap_err());
    assert!(error.contains("`time`") && error.contains("2001-01-01"), "{error}");
    // A variable here, a coordinate there.
    let error = message(merge(&[a.select(["n"])?, a.set_coords("n")?.select(["t"])?]).unwrap_err());
    assert!(error.contains("set_coords"), "{error}");
    Ok(())
}

#[test]
fn dimensions_and_coordinates_change_as_in_xarray() -> Result<()> {
    let (a, c) = (open("a")?, open("c")?);
    let (t, n) = (a.var("t")?, a.var("n")?);
    let ct = c.var("t")?;
    let lat = a.var("lat")?.greater(5)?;
    let condition =
        lat.binary(Binary::And, a.var("lon")?.less(100)?)?.binary(Binary::And, a.var("line")?.greater(0)?)?;
    compare(
        vec![
            ("squeeze", t.isel("time", 2..3)?.squeeze(..)?),
            ("expand", t.isel("time", 2)?.expand_dims("time")?),
            ("expand labels", n.expand_dims_with("member", vec![3i64, 5])?),
            ("swap", t.swap_dims("lat", "height")?),
            ("rename all", t.rename_all([("lat", "y"), ("lon", "x"), ("height", "z")])?),
            ("sortby", ct.sortby("lat")?),
            ("sortby time", ct.sortby("time")?),
            ("sortby height", ct.sortby_descending("height")?),
            ("sortby text", ct.sortby("season")?),
            ("drop duplicates", ct.drop_duplicates("time")?),
            ("isin", n.isin([3, 17, 40, 41, 42, 43, 44, 45, 5])?),
            ("where drop", t.where_drop(&condition)?),
            ("month", a.dt("time.dayofyear")?),
            ("set coords", a.set_coords("line")?.var("t")?),
            ("reset coords", a.reset_coords("height")?.var("height")?),
            ("argmax", a.var("line")?.argmax("time")?),
        ],
        &[
            "squeeze", "expand", "swap", "rename", "sortby", "drop", "isin", "where", "month", "set",
            "reset", "argmax",
        ],
    );
    let Values::Text(seasons) = ct.coord("season")?.unique()? else { panic!("seasons are text") };
    assert_eq!(seasons[..], ["s0", "s1", "s2"]);
    assert_eq!(a.drop_dims("time")?.names(), ["n"]);
    assert!(a.squeeze("lat").unwrap_err().to_string().contains("length 4"));
    assert!(t.swap_dims("lon", "height").unwrap_err().to_string().contains("along (lat)"));
    // Text is a variable then, also in a store.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reset.zarr");
    a.reset_coords("season")?.to_zarr(&path)?;
    let code = "import sys, xarray as xr; print(sorted(xr.open_zarr(sys.argv[1]).data_vars))";
    assert_eq!(common::run_python(code, &[&path]).trim(), "['line', 'n', 'season', 't']");
    Ok(())
}

#[test]
fn windows_and_interpolation_equal_xarrays() -> Result<()> {
    let (a, c) = (open("a")?, open("c")?);
    let mut cut = vec![a.clone()];
    cut.push(a.rechunk([("time", 1), ("lat", 2), ("lon", 1)])?);
    cut.push(a.rechunk([("time", -1), ("lat", -1), ("lon", -1)])?);
    for a in cut {
        let (t, n, line) = (a.var("t")?, a.var("n")?, a.var("line")?);
        let times = dates(&["2001-01-02T06", "2001-01-05", "2001-02-01"]);
        let bare = t.drop_coords("season")?;
        compare(
            vec![
                ("diff", t.diff("time")?),
                ("diff 2", t.diff_n("lat", 2)?),
                ("shift", t.shift("time", 2)?),
                ("shift back", n.shift("lon", -1)?),
                ("roll", t.roll("lon", 1)?),
                ("roll labels", t.roll_labels("lon", 1)?),
                ("cumsum", t.cumsum("time")?),
                ("cumprod", line.cumprod("time")?),
                ("median", t.median("time")?),
                ("median two", t.median(["lat", "lon"])?),
                ("quantile", t.quantile(0.3, "time")?),
                ("quantiles", t.quantile([0.1, 0.5, 1.0], ["time", "lon"])?),
                ("rolling mean", t.rolling("time", 3)?.mean()?),
                ("rolling center", t.rolling("time", 4)?.center().sum()?),
                ("rolling odd center", t.rolling("time", 3)?.center().min_periods(1).max()?),
                ("rolling periods", t.rolling("time", 4)?.min_periods(2).std()?),
                ("rolling count", t.rolling("time", 4)?.count()?),
                ("rolling long", t.rolling("time", 10)?.min_periods(1).min()?),
                ("coarsen", bare.coarsen([("time", 5)])?.mean()?),
                ("coarsen two", bare.coarsen([("time", 5), ("lat", 2)])?.mean()?),
                ("coarsen trim", bare.coarsen([("time", 3)])?.boundary(Boundary::Trim).max()?),
                ("coarsen pad", bare.coarsen([("time", 3)])?.boundary(Boundary::Pad).mean()?),
                ("coarsen pad two", bare.coarsen([("time", 3), ("lon", 2)])?.boundary(Boundary::Pad).mean()?),
                ("coarsen int", n.coarsen([("lat", 2)])?.sum()?),
                ("interp", t.interp("lat", vec![-20.0, -4.0, 12.5, 25.0])?),
                ("interp exact", n.interp("lat", vec![-10.0, 20.0, 10.0])?),
                ("interp time", line.drop_coords("season")?.interp("time", times)?),
                ("interp unsorted", c.var("n")?.interp("lat", vec![5.0, 15.0])?),
                ("interp two", t.interp("lat", vec![5.0, 15.0])?.interp("lon", vec![10.0, 100.0])?),
            ],
            &["diff", "shift", "roll", "cum", "median", "quantile", "coarsen", "interp"],
        );
    }
    let t = a.var("t")?;
    let error = t.coarsen([("time", 3)])?.mean().unwrap_err().to_string();
    assert!(error.contains("leave 1 of the 10"), "{error}");
    assert!(t.rolling("time", 0).is_err() && t.coarsen([("lat", 0)]).is_err());
    assert!(t.interp("season", vec![1.0]).is_err());
    assert!(t.interp("time", vec![1.0]).unwrap_err().to_string().contains("datetime64"));
    Ok(())
}

#[test]
fn datasets_compute_every_variable_as_in_xarray() -> Result<()> {
    let a = open("a")?;
    let two = a.select(["t", "line"])?;
    compare(
        vec![
            ("ds mean", a.mean("time")?.var("t")?),
            ("ds median", a.median("lat")?.var("n")?),
            ("ds group", a.groupby("season")?.mean()?.var("t")?),
            ("ds resample", a.resample("time", "3D")?.max()?.var("line")?),
            ("ds anomaly", two.groupby("time.month")?.anomaly()?.var("line")?),
            ("ds diff", a.select(["t", "n"])?.diff("time")?.var("t")?),
            ("ds map", a.map(|variable| variable.max(..))?.var("n")?),
        ],
        &["ds"],
    );
    // What does not have the dimension stays.
    assert_eq!(a.resample("time", "3D")?.mean()?.var("n")?.values_f64()?, a.var("n")?.values_f64()?);
    Ok(())
}

#[test]
fn what_cannot_be_aligned_says_what_differs() -> Result<()> {
    let line = |values: Values| {
        let n = values.len() as u64;
        DataArray::new(Array::full(&[n], 1.0, DType::F64), ["x"]).unwrap().assign_coord("x", values).unwrap()
    };
    let fails =
        |a: &DataArray, b: &DataArray, join| align(&[a.clone(), b.clone()], join).unwrap_err().to_string();
    let times = |calendar| Values::Times(Times::from_dates(&["2000-01-01", "2000-01-02"], calendar).unwrap());
    let (standard, noleap) = (line(times(Calendar::Standard)), line(times(Calendar::NoLeap)));
    for join in [Join::Inner, Join::Outer, Join::Exact] {
        let error = fails(&standard, &noleap, join);
        assert!(error.contains("noleap") || error.contains("do not go together"), "{join:?}: {error}");
    }
    let operators = |a: &DataArray, b: &DataArray| a.binary(Binary::Add, b).unwrap_err().to_string();
    assert!(operators(&standard, &noleap).contains("noleap"));
    let (numbers, text) = (line(vec![1.0, 2.0].into()), line(vec!["a", "b"].into()));
    assert!(fails(&numbers, &text, Join::Inner).contains("string"));
    let twice = line(vec![1.0, 1.0, 3.0].into());
    let error = fails(&twice, &numbers, Join::Outer);
    assert!(error.contains("1.0 stands several times") && error.contains("drop_duplicates"), "{error}");
    assert!(operators(&twice, &numbers).contains("several times"), "{}", operators(&twice, &numbers));
    assert!(operators(&numbers, &twice).contains("several times"), "{}", operators(&numbers, &twice));
    let far = line(vec![7.0, 8.0].into());
    assert!(fails(&numbers, &far, Join::Inner).contains("nothing in common"));
    let long: Vec<f64> = (0..100).map(f64::from).collect();
    let error = fails(&line(long.into()), &numbers, Join::Exact);
    assert!(error.contains("98 are only in") && error.contains('…'), "{error}");
    // Without labels, lengths must be equal.
    let plain = |n| DataArray::new(Array::full(&[n], 1.0, DType::F64), ["x"]).unwrap();
    assert!(fails(&plain(2), &plain(3), Join::Outer).contains("has length 2"));
    assert!(fails(&plain(3), &numbers, Join::Outer).contains("but 3 in"));
    // Empty labels align, NaN labels are equal.
    let empty = line(Vec::<f64>::new().into());
    assert_eq!(align(&[numbers.clone(), empty.clone()], Join::Outer)?[1].values_f64()?.len(), 2);
    assert_eq!(align(&[numbers, empty], Join::Inner)?[0].shape(), [0]);
    let nan = line(vec![f64::NAN, 2.0].into());
    assert_eq!(align(&[nan.clone(), line(vec![2.0, f64::NAN].into())], Join::Inner)?[1].shape(), [2]);
    assert_eq!(nan.sortby("x")?.coord("x")?.values()?.len(), 2);
    Ok(())
}

#[test]
fn ten_thousand_variables_are_no_trouble() -> Result<()> {
    let line = DataArray::new(Array::arange(0, 1, 6), ["x"])?.assign_coord("x", vec![0i64, 0, 1, 1, 2, 2])?;
    let many = (0..10_000).map(|i| (format!("v{i}"), line.clone()));
    let ds = Dataset::from_arrays(many)?;
    let half = ds.select((0..5_000).map(|i| format!("v{i}")))?;
    let merged = merge(&[half, ds.select((5_000..10_000).map(|i| format!("v{i}")))?])?;
    assert_eq!(merged.names().len(), 10_000);
    let grouped = merged.groupby("x")?.sum()?;
    assert_eq!(grouped.var("v9999")?.values_f64()?, [1.0, 5.0, 9.0]);
    assert_eq!(merged.mean("x")?.names().len(), 10_000);
    // Work on every pair of names would run into the limit of the test's time.
    Ok(())
}
