//! Labels, names and times at the edge of what they can be: a right answer, or an error that says what to do.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use nuna_array::{Array, Binary, Chunk};
use nuna_labels::{Calendar, DataArray, Dataset, Method, Times, Values, concat, open_dataset};

fn line(values: &[f64], labels: impl Into<Values>) -> DataArray {
    let array = Array::from_slice(&[values.len() as u64], values).unwrap();
    DataArray::new(array, ["x"]).unwrap().assign_coord("x", labels).unwrap()
}

fn dated(dates: &[&str], calendar: Calendar) -> DataArray {
    let values: Vec<f64> = (1..=dates.len()).map(|at| at as f64).collect();
    line(&values, Times::from_dates(dates, calendar).unwrap())
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: nuna_labels::Result<T>, words: &[&str]) {
    let error = result.unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "{error}");
    }
}

/// Identifiers that are equal as doubles.
const ID: i64 = 1 << 60;

#[test]
fn identifiers_of_64_bits_are_told_apart() {
    let cells = |ids: Vec<i64>| line(&[1.0, 2.0, 3.0][..ids.len()], ids);
    let sum = cells(vec![ID, ID + 1]).binary(Binary::Add, cells(vec![ID + 1, ID + 2])).unwrap();
    assert_eq!(sum.values_f64().unwrap(), [3.0]);
    let all = cells(vec![ID, ID + 1, ID + 2]);
    assert_eq!(all.sel("x", ID + 1).unwrap().item().unwrap(), 2.0);
    assert_eq!(all.sel("x", ID + 1..=ID + 2).unwrap().values_f64().unwrap(), [2.0, 3.0]);
    let down = std::ops::Range { start: ID + 2, end: ID };
    assert_eq!(all.sel("x", down).unwrap().values_f64().unwrap(), [2.0, 3.0]);
    assert_eq!(
        all.sel("x", vec![ID + 2, ID, ID + 1, ID, ID]).unwrap().values_f64().unwrap(),
        [3.0, 1.0, 2.0, 1.0, 1.0]
    );
    refused(all.sel("x", ID - 1), &["no label 1152921504606846975"]);
    assert_eq!(all.reindex("x", vec![ID + 2, ID + 3]).unwrap().values_f64().unwrap()[0], 3.0);
    assert!(concat(&[cells(vec![ID]), cells(vec![ID + 1])], "x").unwrap().sel("x", ID).is_ok());
}

#[test]
fn many_labels_are_found_in_one_pass() {
    let labels: Vec<f64> = (0..200_000).map(f64::from).collect();
    let long = line(&labels, labels.clone());
    let wanted: Vec<f64> = (0..100_000).rev().map(|at| f64::from(at) * 2.0).collect();
    // One after the other they would be looked for among 200,000 each.
    let started = std::time::Instant::now();
    assert_eq!(long.sel("x", wanted.clone()).unwrap().values_f64().unwrap(), wanted);
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    refused(long.sel("x", vec![0.0, 1.0, 2.0, 3.0, 0.5]), &["no label 0.5 along `x`"]);
    let twice = line(&[1.0, 2.0, 3.0], vec![1.0, 1.0, 2.0]);
    let chosen = twice.sel("x", vec![2.0, 1.0, 2.0, 2.0, 2.0]).unwrap();
    assert_eq!(chosen.values_f64().unwrap(), [3.0, 1.0, 2.0, 3.0, 3.0, 3.0]);
    let dates = ["2000-01-01", "2000-01-02", "2001-01-01"];
    let chosen =
        dated(&dates, Calendar::NoLeap).sel("x", vec![dates[2], "2000", dates[0], dates[1], dates[1]]);
    assert_eq!(chosen.unwrap().values_f64().unwrap(), [3.0, 1.0, 2.0, 1.0, 2.0, 2.0]);
}

#[test]
fn of_two_equally_near_the_larger_is_taken_whatever_their_order() {
    for (labels, at) in
        [(vec![10.0, 20.0, 30.0], 1.0), (vec![30.0, 20.0, 10.0], 1.0), (vec![20.0, 10.0, 20.0], 0.0)]
    {
        let values = line(&[0.0, 1.0, 2.0], labels.clone());
        assert_eq!(values.sel_nearest("x", 15.0).unwrap().item().unwrap(), at, "{labels:?}");
        let many = values.sel_nearest("x", vec![15.0; 6]).unwrap();
        assert_eq!(many.values_f64().unwrap(), [at; 6], "{labels:?}");
    }
    let dates = dated(&["2000-01-01", "2000-01-03"], Calendar::Standard);
    assert_eq!(dates.sel_nearest("x", "2000-01-02").unwrap().item().unwrap(), 2.0);
    let values = line(&[0.0, 1.0], vec![10.0, 20.0]);
    assert_eq!(values.reindex_with("x", vec![15.0], Method::Nearest).unwrap().values_f64().unwrap(), [1.0]);
    refused(values.sel_nearest("x", f64::NAN), &["NaN is not a label"]);
}

#[test]
fn ranges_of_dates_and_names_stand_in_either_order() {
    let down = dated(&["2002-01-01", "2001-06-01", "2001-01-01", "2000-01-01"], Calendar::Day360);
    assert_eq!(down.sel("x", "2002"..="2001").unwrap().values_f64().unwrap(), [1.0, 2.0, 3.0]);
    assert_eq!(down.sel("x", "2002".."2001").unwrap().values_f64().unwrap(), [1.0]);
    assert_eq!(down.sel("x", "2001".."2002").unwrap().values_f64().unwrap(), [2.0, 3.0]);
    let names = line(&[1.0, 2.0, 3.0], vec!["a", "b", "c"]);
    assert_eq!(names.sel("x", "c"..="b").unwrap().values_f64().unwrap(), [2.0, 3.0]);
    assert_eq!(names.sel("x", "c".."a").unwrap().values_f64().unwrap(), [2.0, 3.0]);
}

#[test]
fn labels_that_do_not_go_together_are_not_dropped() {
    let (a, b) = (dated(&["2000-01-01"], Calendar::Day360), dated(&["2000-01-02"], Calendar::Standard));
    refused(concat(&[a, b], "x"), &["concat along `x`", "360_day", "do not go together"]);
    let (a, b) = (line(&[1.0], vec![1i64]), line(&[2.0], vec![1.5]));
    let joined = concat(&[a.clone(), b], "x").unwrap();
    let labels = joined.coord("x").unwrap().to_array().unwrap();
    assert_eq!(labels.values_f64().unwrap(), [1.0, 1.5]);
    refused(concat(&[a, line(&[2.0], vec!["n"])], "x"), &["int64 and string", "drop_coords"]);
}

#[test]
fn no_dimension_is_there_twice() {
    let named = |name: &str| {
        let array = Array::from_slice(&[2, 2], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        DataArray::new(array, [name, "x"]).unwrap().assign_coord("x", vec![0.0, 1.0]).unwrap()
    };
    refused(named("quantile").quantile(vec![0.5, 0.7], "x"), &["`quantile` is named twice"]);
    refused(named("quantile").quantile(0.5, "x"), &["`quantile` is named twice"]);
    refused(named("degree").polyfit("x", 1), &["`degree` is named twice"]);
    let dates = Times::from_dates(&["2000-01-01", "2000-02-01"], Calendar::Standard).unwrap();
    let months = named("month").assign_coord("x", dates).unwrap();
    refused(months.groupby("x.month"), &["`month`", "has a dimension of this name"]);
}

#[test]
fn a_name_is_that_of_a_variable_or_of_a_coordinate() {
    let values = line(&[1.0, 2.0], vec![5.0, 6.0]);
    refused(Dataset::from_arrays([("x", values.clone())]), &["`x` would be a variable and a coordinate"]);
    let ds = Dataset::from_arrays([("v", values.clone())]).unwrap();
    refused(ds.assign("x", &values), &["`x` would be a variable and a coordinate"]);
    refused(ds.assign_coord("v", vec![1.0]), &["`v` would be"]);
    refused(ds.assign_coord("x", vec![1.0]), &["`x`", "length"]);
    assert_eq!(ds.select(["x", "v"]).unwrap().names(), ["v"]);
    let without = ds.drop_var("x").unwrap();
    assert!(without.coord("x").is_err() && without.var("v").unwrap().coord("x").is_err());
}

const EXA: i64 = 1_000_000_000_000_000_000;

#[test]
fn times_as_far_as_they_go_are_written_and_resampled() {
    let micros = vec![i64::MAX, i64::MIN + 1, 0];
    let times = Times { calendar: Calendar::ProlepticGregorian, micros: micros.clone().into() };
    let far = line(&[1.0, 2.0, 3.0], times).named("far");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("far.zarr");
    far.to_zarr(&path).unwrap();
    let read = open_dataset(&path).unwrap();
    match read.coord("x").unwrap().values().unwrap() {
        Values::Times(times) => assert_eq!(times.micros.to_vec(), micros),
        other => panic!("{other:?}"),
    }
    let counted = far.resample("x", "100000YS").and_then(|years| years.count());
    refused(counted, &["begins or ends beyond the times that there are"]);
    let near = Times { calendar: Calendar::ProlepticGregorian, micros: vec![9 * EXA, -9 * EXA, 0].into() };
    let near = line(&[1.0, 2.0, 3.0], near);
    let years = near.resample("x", "1000YS").unwrap().count().unwrap().values_f64().unwrap();
    assert_eq!(years.iter().filter(|n| **n > 0.0).sum::<f64>(), 3.0);
    refused(far.resample("x", "1us").and_then(|days| days.mean()), &["choose a coarser frequency"]);
}

#[test]
fn offsets_from_utc_that_no_clock_has_are_no_times() {
    for text in [
        "2000-01-01T00:00 +999999999999999999:00",
        "2000-01-01T00:00 +1:9223372036854775807",
        "2000-01-01T00:00-100",
    ] {
        assert!(Times::from_dates(&[text], Calendar::Standard).is_err(), "{text}");
    }
    let offset = Times::from_dates(&["2000-01-01T02:30 +02:30"], Calendar::Standard).unwrap();
    assert_eq!(offset.iso(0), "2000-01-01T00:00:00");
}

#[test]
fn thousands_of_variables_with_dimensions_of_their_own_are_written_and_opened() {
    let one = |at: usize| {
        let chunk = Chunk::from_slice(&[2], &[at as f64, 1.0]);
        let dim = format!("d{at}");
        let array = DataArray::from_chunk(chunk, [&dim]).unwrap().assign_coord(&dim, vec![0.0, 1.0]).unwrap();
        (format!("v{at}"), array)
    };
    let ds = Dataset::from_arrays((0..1500).map(one)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wide.nc");
    ds.to_netcdf(&path).unwrap();
    let read = open_dataset(&path).unwrap();
    assert_eq!(read.sizes().len(), 1500);
    assert_eq!(read.var("v1499").unwrap().values_f64().unwrap(), [1499.0, 1.0]);
}

#[test]
fn a_label_that_two_of_three_disagree_about_goes_away() {
    let days = dated(&["2000-01-01", "2000-01-02"], Calendar::Standard);
    let (first, second) = (days.isel("x", 0).unwrap(), days.isel("x", 1).unwrap());
    let chosen = first.where_or(&second, &first).unwrap();
    assert!(chosen.coords().get("x").is_none());
    assert!(first.where_or(&first, &first).unwrap().coords().get("x").is_some());
}
