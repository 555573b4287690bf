//! Spectra by dimension name, and complex numbers on their way to stores and back.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::{path::Path, process::Command};

use nuna_array::{Array, Chunk, Complex, DType, FftOptions, PsdOptions, Trend};
use nuna_labels::{Calendar, DataArray, Dataset, StoreOptions, Times, Values, ZarrFormat, open_zarr};
use serde_json::Value;

const HOUR: i64 = 3_600_000_000;

fn hours(n: i64, step: i64) -> Values {
    Values::Times(Times { calendar: Calendar::Standard, micros: (0..n).map(|i| i * step * HOUR).collect() })
}

/// `(time, y, x)`, one oscillation in 16 hours whose size grows with `y`.
fn waves() -> DataArray {
    let (times, rows, columns) = (64u64, 4u64, 3u64);
    let value = |flat: u64| {
        let (time, row) = (flat / (rows * columns), flat / columns % rows);
        ((row + 1) as f64 * (std::f64::consts::TAU * time as f64 / 16.0).sin() + 5.0) as f32
    };
    let shape = [times, rows, columns];
    let chunk = Chunk::from_slice(&shape, &(0..times * rows * columns).map(value).collect::<Vec<_>>());
    let array = Array::from_chunk_in(chunk, &[10, 2, 3]).unwrap();
    let waves = DataArray::new(array, ["time", "y", "x"]).unwrap().named("u");
    let waves = waves.assign_coord("time", hours(64, 1)).unwrap();
    waves.assign_coord("y", vec![0.0, 20.0, 40.0, 60.0]).unwrap()
}

#[test]
fn a_spectrum_takes_few_lines() {
    let u = waves();
    let ds = Dataset::new().assign("u", &u).unwrap().assign("v", &u).unwrap();
    let weights = DataArray::from_chunk(Chunk::from_slice(&[4], &[1.0, 1.0, 2.0, 0.0]), ["y"]).unwrap();
    let power =
        |name: &str| ds.var(name)?.detrend_by("time", Trend::Constant)?.hann("time")?.rfft("time")?.abs2();
    let spectrum = ((power("u").unwrap() + power("v").unwrap()) * 0.5)
        .weighted(&weights)
        .unwrap()
        .mean(["y", "x"])
        .unwrap();
    assert_eq!((spectrum.dims(), spectrum.shape()), (&["freq_time".to_owned()][..], &[33][..]));
    let values = spectrum.values_f64().unwrap();
    let peak = (0..33).max_by(|&a, &b| values[a].total_cmp(&values[b])).unwrap();
    assert_eq!(peak, 4, "64 hours hold four of 16");
    let Values::Numbers(frequencies) = spectrum.coord("freq_time").unwrap().values().unwrap() else {
        panic!("frequencies are numbers")
    };
    assert!((frequencies.to_vec::<f64>()[4] - 1.0 / (16.0 * 3600.0)).abs() < 1e-18);
    assert_eq!(spectrum.coord("freq_time").unwrap().attrs()["units"], "Hz");
    // The window's factors add up to 31.5, half of that times the amplitude: (1 + 4 + 2 * 9) / 4 of the squares.
    let expected = 5.75 * (31.5f64 / 2.0).powi(2);
    assert!((values[4] - expected).abs() < 1e-2 * expected, "{} and {expected}", values[4]);
}

#[test]
fn densities_add_up_to_the_variance() {
    let u = waves();
    let density = u.power_spectrum("time").unwrap();
    let step = 1.0 / (64.0 * 3600.0);
    let total: Vec<f64> = density.isel("x", 0).unwrap().sum("freq_time").unwrap().values_f64().unwrap();
    for (row, total) in total.iter().enumerate() {
        let variance = ((row + 1) as f64).powi(2) / 2.0;
        assert!((total * step - variance).abs() < 1e-5 * variance, "{} and {variance}", total * step);
    }
    let options = PsdOptions { segment: Some(32), ..PsdOptions::default() };
    let by_segments = u.psd("time", options).unwrap();
    assert_eq!((by_segments.shape()[0], by_segments.coord("freq_time").unwrap().shape()), (17, &[17][..]));
}

#[test]
fn transforms_come_back() {
    let u = waves();
    let there = u.rfft("time").unwrap();
    assert_eq!((there.dtype(), there.dims()[0].as_str()), (DType::C64, "freq_time"));
    assert!(there.coord("y").is_ok() && there.coord("time").is_err());
    let back = there.irfft("freq_time", 64).unwrap();
    assert_eq!(back.dims(), u.dims());
    let (a, b) = (u.values_f64().unwrap(), back.values_f64().unwrap());
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5));
    let all = u.fft("y").unwrap().ifft("freq_y").unwrap().real().unwrap().values_f64().unwrap();
    assert!(a.iter().zip(&all).all(|(a, b)| (a - b).abs() < 1e-5));
    let frequencies = u.fft_with("y", FftOptions { n: Some(5), ..FftOptions::default() }).unwrap();
    assert_eq!(frequencies.shape()[1], 5);
    let show = format!(
        "{}",
        there.isel("y", 0).unwrap().isel("x", 0).unwrap().isel("freq_time", 0..1).unwrap().compute().unwrap()
    );
    assert!(show.contains("[320.0") && show.contains("0.0j]"), "{show}");
}

#[test]
fn labels_that_are_not_even_are_refused() {
    let u = waves();
    let gap: Vec<u64> = (0..64).filter(|&i| i != 40).collect();
    let error =
        u.isel("time", gap.iter().map(|&i| i.cast_signed()).collect::<Vec<_>>()).unwrap().rfft("time");
    let error = error.unwrap_err().to_string();
    assert!(error.contains("`time` of `u` is not evenly spaced") && error.contains("7200"), "{error}");
    let error = u.assign_coord("y", vec![0.0, f64::NAN, 2.0, 3.0]).unwrap().fft("y").unwrap_err().to_string();
    assert!(error.contains("not evenly spaced"), "{error}");
    let error = u.rfft("depth").unwrap_err().to_string();
    assert!(error.contains("no dimension `depth`"), "{error}");
    // What rounding to float32 does to positions is even enough.
    let near: Vec<f64> = (0..4u8).map(|i| f64::from(10.1f32 + 0.1 * f32::from(i))).collect();
    assert!(u.assign_coord("y", near).unwrap().fft("y").is_ok());
}

fn python(arguments: &[&Path]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/complex.py");
    let output = Command::new(common::python()).arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn complex_numbers_are_stored_as_zarr_python_stores_them() {
    let folder = tempfile::tempdir().unwrap();
    python(&[Path::new("write"), folder.path()]);
    let expected: Vec<_> = (0..12).map(|i| Complex::new(f64::from(i), f64::from(11 - i) / 4.0)).collect();
    let mut ours = vec![];
    for (version, format) in [("2", ZarrFormat::V2), ("3", ZarrFormat::V3)] {
        let theirs = open_zarr(folder.path().join(format!("theirs{version}.zarr"))).unwrap();
        assert!(theirs.skipped().is_empty(), "{:?}", theirs.skipped());
        for (name, dtype) in [("single", DType::C64), ("double", DType::C128), ("big", DType::C128)] {
            let array = theirs.var(name).unwrap();
            assert_eq!((array.dtype(), array.dims().len()), (dtype, 2), "{name} in v{version}");
            assert_eq!(array.to_chunk().unwrap().to_vec::<Complex<f64>>(), expected, "{name} in v{version}");
        }
        if format == ZarrFormat::V2 {
            let nothing = theirs.var("nothing").unwrap().to_ndarray::<Complex<f32>>().unwrap();
            assert_eq!(nothing.as_slice().unwrap(), [Complex::default(); 2]);
        }
        if format == ZarrFormat::V3 {
            let unwritten = theirs.var("unwritten").unwrap().to_ndarray::<Complex<f32>>().unwrap();
            assert_eq!(unwritten.as_slice().unwrap(), [Complex::new(1.0, 2.0); 2]);
        }
        let path = folder.path().join(format!("ours{version}.zarr"));
        let both = theirs.select(["single", "double"]).unwrap();
        both.to_zarr_with(&path, &StoreOptions { format, ..StoreOptions::default() }).unwrap();
        ours.push(path);
    }
    let read: Value = serde_json::from_str(&python(&[Path::new("read"), &ours[0], &ours[1]])).unwrap();
    for (found, (name, dtype)) in
        read.as_array().unwrap().iter().zip([("double", "complex128"), ("single", "complex64")].repeat(2))
    {
        assert_eq!((found[0].as_str().unwrap(), found[1].as_str().unwrap()), (name, dtype));
        for (part, at) in [(2, 0), (3, 1)] {
            let values: Vec<f64> =
                found[part].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
            let own: Vec<f64> = expected.iter().map(|z| [z.re, z.im][at]).collect();
            assert_eq!(values, own, "{name}");
        }
    }
}

#[test]
fn what_complex_numbers_cannot_do_is_an_error() {
    let z = waves().rfft("time").unwrap();
    for message in [
        z.values_f64().unwrap_err().to_string(),
        z.groupby("y").unwrap().mean().unwrap_err().to_string(),
        z.max("y").unwrap_err().to_string(),
        z.less(1.0).unwrap_err().to_string(),
    ] {
        assert!(message.contains("complex64"), "{message}");
    }
}
