//! Owns the counterpart of `w7_climatology.py`: the monthly climatology of `theta(time, lat, lon)`, and the root mean square
//! of the anomaly of each time, in one run.

use std::path::Path;

use nuna::prelude::*;
use serde_json::json;

use crate::{Shape, meter::Meter, summary::field_summary};

/// Starts a cluster, computes both, prints the line.
///
/// # Errors
/// If the store cannot be read or a task fails.
pub fn climatology(shape: &Shape, store: &Path) -> anyhow::Result<()> {
    let (cluster, start_seconds) = shape.start()?;
    let meter = Meter::start();
    let theta = open_zarr(store)?.var("theta")?;
    let months = theta.groupby("time.month")?;
    let climatology = months.mean()?;
    let anomaly = &months - &climatology;
    let rms = anomaly.square()?.mean(["lat", "lon"])?.sqrt()?;
    let results = Dataset::from_arrays([("clim", climatology), ("rms", rms)])?.compute()?;
    let reading = meter.stop();
    cluster.shutdown();
    let (clim, rms) = (results.var("clim")?, results.var("rms")?.values_f64()?);
    let name = store.file_stem().map(|stem| stem.to_string_lossy().trim_start_matches("d1_").to_owned());
    let more = json!({
        "gb_per_s": theta.nbytes() as f64 / 1e9 / reading.seconds,
        "result": {
            "clim": field_summary(clim.shape(), &clim.dtype().to_string(), &clim.values_f64()?),
            "rms_mean": rms.iter().sum::<f64>() / rms.len() as f64,
            "rms0": rms.first(),
            "rms_last": rms.last(),
        },
    });
    shape.report(&format!("w7_climatology_{}", name.unwrap_or_default()), start_seconds, reading, more);
    Ok(())
}
