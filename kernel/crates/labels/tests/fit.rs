//! What is fitted, filled, stacked and regridded by the names of dimensions; random programs compare the rest with xarray.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use nuna_array::{Array, Chunk, DType};
use nuna_labels::{Calendar, DataArray, Times, open_weights};

fn field() -> DataArray {
    let values: Vec<f64> = (0..24).map(f64::from).collect();
    DataArray::from_chunk(Chunk::from_slice(&[2, 3, 4], &values), ["t", "y", "x"])
        .unwrap()
        .assign_coord("y", vec![10.0, 20.0, 30.0])
        .unwrap()
        .assign_coord("x", vec!["a", "b", "c", "d"])
        .unwrap()
}

#[test]
fn what_is_stacked_is_unstacked_again() {
    let field = field().rechunk([("y", 1), ("x", 3)]).unwrap();
    let stacked = field.stack(["y", "x"], "point").unwrap();
    assert_eq!(stacked.dims(), ["t", "point"]);
    assert_eq!(stacked.values_f64().unwrap(), field.values_f64().unwrap());
    assert_eq!(common::plain(stacked.coord("y").unwrap())[5], 20.0);
    assert_eq!(common::plain(stacked.coord("x").unwrap())[5], "b");
    let back = stacked.unstack("point", ["y", "x"]).unwrap();
    assert_eq!(back.dims(), field.dims());
    assert_eq!(back.values_f64().unwrap(), field.values_f64().unwrap());
    assert_eq!(common::plain(back.coord("x").unwrap()), common::plain(field.coord("x").unwrap()));
    let other = field.stack(["x", "t"], "point").unwrap();
    let expected = field.transpose(["y", "x", "t"]).unwrap().values_f64().unwrap();
    assert_eq!(other.values_f64().unwrap(), expected);
    assert_eq!(common::plain(other.coord("t").unwrap())[1], 1.0);
}

#[test]
fn what_is_no_grid_is_not_unstacked() {
    let stacked = field().stack(["y", "x"], "point").unwrap();
    let message = stacked.isel("point", 1..).unwrap().unstack("point", ["y", "x"]).unwrap_err().to_string();
    assert!(message.contains("all combinations"), "{message}");
    let message = stacked.unstack("point", ["x", "y"]).unwrap_err().to_string();
    assert!(message.contains("all combinations"), "{message}");
}

#[test]
fn a_polynomial_through_points_is_found_and_has_its_values() {
    let x: Vec<f64> = (0..40).map(|at| f64::from(at) * 0.25 - 3.0).collect();
    let values: Vec<f64> = x.iter().map(|x| 2.0 - 0.5 * x + 0.125 * x * x).collect();
    let line = DataArray::from_chunk(Chunk::from_slice(&[40], &values), ["x"]).unwrap();
    let line = line.assign_coord("x", x).unwrap();
    let coefficients = line.polyfit("x", 2).unwrap();
    assert_eq!(coefficients.dims(), ["degree"]);
    for (found, expected) in coefficients.values_f64().unwrap().iter().zip([0.125, -0.5, 2.0]) {
        assert!((found - expected).abs() < 1e-13, "{found}");
    }
    let again =
        coefficients.polyval(&line.coord("x").unwrap().to_array().unwrap()).unwrap().values_f64().unwrap();
    assert!(again.iter().zip(&values).all(|(a, b)| (a - b).abs() < 1e-12));
    assert!(line.isel("x", ..2).unwrap().polyfit("x", 2).unwrap_err().to_string().contains("needs 3 labels"));
}

#[test]
fn a_trend_in_time_is_by_day() {
    let times = Times::from_dates(&["2000-01-31", "2000-02-02", "2000-02-10"], Calendar::Standard).unwrap();
    let line = DataArray::from_chunk(Chunk::from_slice(&[3], &[1.0, 2.0, 6.0]), ["time"]).unwrap();
    let found = line.assign_coord("time", times).unwrap().polyfit("time", 1).unwrap().values_f64().unwrap();
    assert!((found[0] - 0.5).abs() < 1e-13 && (found[1] - 1.0).abs() < 1e-13, "{found:?}");
}

#[test]
fn shorter_periods_are_filled_from_what_is_beside() {
    let times = Times::from_dates(&["2000-01-01", "2000-01-03"], Calendar::Standard).unwrap();
    let line = DataArray::from_chunk(Chunk::from_slice(&[2], &[1.0, 5.0]), ["time"]).unwrap();
    let daily = line.assign_coord("time", times).unwrap().resample("time", "D").unwrap();
    assert_eq!(daily.interpolate().unwrap().values_f64().unwrap(), [1.0, 3.0, 5.0]);
    assert_eq!(daily.ffill().unwrap().values_f64().unwrap(), [1.0, 1.0, 5.0]);
    assert!(daily.asfreq().unwrap().values_f64().unwrap()[1].is_nan());
}

#[test]
fn weights_of_a_file_make_what_scipy_makes() {
    let folder = tempfile::tempdir().unwrap();
    let expected = serde_json::from_str(&common::run("make_weights.py", &[folder.path()])).unwrap();
    let weights = open_weights(folder.path().join("weights.nc")).unwrap();
    assert_eq!(weights.shape, [3, 2]);
    let values: Vec<f64> = (0..48).map(f64::from).collect();
    let field = DataArray::from_chunk(Chunk::from_slice(&[2, 4, 6], &values), ["t", "lat", "lon"]).unwrap();
    let made =
        field.transpose(["lon", "t", "lat"]).unwrap().regrid(&weights, ["lat", "lon"], ["y", "x"]).unwrap();
    assert_eq!(made.dims(), ["t", "y", "x"]);
    common::assert_close("regridded", &made.values_f64().unwrap(), &expected, 1e-14);
    let message = open_weights(folder.path().join("damaged.nc")).unwrap_err().to_string();
    assert!(message.contains("damaged.nc") && message.contains("[3, 2]"), "{message}");
    let message = open_weights(folder.path().join("fractions.nc")).unwrap_err().to_string();
    assert!(message.contains("`row`") && message.contains("whole"), "{message}");
    assert!(field.regrid(&weights, ["lat", "lon"], ["y"]).unwrap_err().to_string().contains("2 dimensions"));
}

#[test]
fn coordinates_pass_between_arrays() {
    let (field, bare) = (field(), DataArray::new(Array::ones(&[4], DType::F64), ["x"]).unwrap());
    let labelled = bare.assign_coord_of("x", field.coord("x").unwrap()).unwrap();
    assert_eq!(common::plain(labelled.coord("x").unwrap())[3], "d");
    assert!(bare.assign_coord_of("y", field.coord("y").unwrap()).is_err());
    let radians = field.coord("y").unwrap().to_array().unwrap().to_radians().unwrap().values_f64().unwrap();
    assert!((radians[2] - 0.523_598_775_598_298_8).abs() < 1e-15);
    assert!(field.coord("x").unwrap().to_array().is_err());
    assert!(field.explain().unwrap().contains("(t 2 by 2, y 3 by 3, x 4 by 4)"));
}

#[test]
fn labels_of_extremes_skip_nan() {
    let values = [f64::NAN, 3.0, 1.0, f64::NAN, f64::NAN, f64::NAN];
    let lines = DataArray::from_chunk(Chunk::from_slice(&[2, 3], &values), ["y", "x"]).unwrap();
    let lines = lines.assign_coord("x", vec![5i64, 6, 7]).unwrap();
    let least = lines.idxmin("x").unwrap().values_f64().unwrap();
    assert!(least[0] == 7.0 && least[1].is_nan());
    assert_eq!(lines.fillna(0.0).unwrap().astype(DType::I32).idxmax("x").unwrap().dtype(), DType::I64);
}
