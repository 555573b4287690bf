//! Owns the counterpart of `w6_spectra.py`: frequency spectra of kinetic energy. Hourly maps become whole time series by
//! a rechunk; each series loses its mean, is windowed and transformed; the area mean is weighted by latitude.

use std::path::Path;

use nuna::prelude::*;
use serde_json::json;

use crate::{Shape, meter::Meter};

/// Starts a cluster, computes the spectrum of `u` and `v` of `store` in tiles of `tile × tile`, prints the line.
///
/// # Errors
/// If the store cannot be read, or a task fails.
pub fn spectra(shape: &Shape, store: &Path, tile: u64) -> anyhow::Result<()> {
    let (cluster, start_seconds) = shape.start()?;
    let meter = Meter::start();
    let spectrum = spectrum(store, tile)?;
    let reading = meter.stop();
    cluster.shutdown();
    let later = spectrum.iter().enumerate().skip(20);
    let peak = later.max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(bin, _)| bin);
    let bin = |number: usize| spectrum.get(number.min(spectrum.len() - 1)).copied().unwrap_or(f64::NAN);
    let more = json!({ "result": {
        "n": spectrum.len(), "sum": spectrum.iter().sum::<f64>(), "peak_bin_gt20": peak,
        "s1": bin(1), "s10": bin(10), "s82": bin(82), "last": bin(usize::MAX),
    } });
    shape.report("w6_spectra", start_seconds, reading, more);
    Ok(())
}

/// One number for each frequency, from 0 to half the sampling rate.
pub(crate) fn spectrum(store: &Path, tile: u64) -> anyhow::Result<Vec<f64>> {
    let dataset = open_zarr(store)?;
    let weights = (dataset.var("y")? * (std::f64::consts::PI / 180.0)).cos()?;
    let tile = tile.cast_signed();
    let power = |name: &str| -> anyhow::Result<DataArray> {
        let series = dataset.var(name)?.rechunk([("time", -1), ("y", tile), ("x", tile)])?;
        Ok(series.detrend_by("time", Trend::Constant)?.hann("time")?.rfft("time")?.abs2()?)
    };
    let energy = (power("u")? + power("v")?) * 0.5;
    // Rows first: their weights are then applied to sums.
    let rows = energy.mean("x")?;
    Ok(rows.weighted(&weights)?.mean("y")?.values_f64()?)
}
