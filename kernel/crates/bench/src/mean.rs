//! Owns `bench_mean`, the counterpart of `w2_zarr_mean.py` and `w3_netcdf_mean.py`: reductions of `theta(time, lat, lon)`
//! from a Zarr store, or from a folder of NetCDF files.

use std::{path::Path, time::Instant};

use clap::ValueEnum;
use nuna::prelude::*;
use serde_json::json;

use crate::{Shape, emit, meter::Meter, summary::field_summary, tasks::merge};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum MeanOf {
    /// The mean over time: a field.
    TimeMean,
    /// Mean and standard deviation over everything: two numbers.
    Global,
}

/// Starts a cluster, reduces the store, prints the line.
///
/// # Errors
/// If the store cannot be read or the cluster does not start.
pub fn mean(shape: &Shape, store: &Path, op: MeanOf) -> anyhow::Result<()> {
    let name = store
        .file_stem()
        .map(|stem| stem.to_string_lossy().trim_start_matches("d1_").to_owned())
        .unwrap_or_default();
    let started = Instant::now();
    let cluster = Cluster::local()
        .workers(shape.procs)
        .threads(shape.threads)
        .memory(shape.memory_limit.as_str())
        .start()?;
    let start_seconds = started.elapsed().as_secs_f64();
    cluster.map(0..4 * shape.procs as u64, |x: u64| x).gather()?;
    let meter = Meter::start();
    let netcdf = store.join("theta_000.nc").exists();
    let theta = if netcdf {
        open_mfdataset(&format!("{}/*.nc", store.display()), "time")?.var("theta")?
    } else {
        open_zarr(store)?.var("theta")?
    };
    let (result, reading) = match op {
        MeanOf::TimeMean => {
            let field = theta.mean(["time"])?.compute()?;
            let reading = meter.stop();
            let dtype = field.dtype().to_string();
            (field_summary(field.shape(), &dtype, &field.values_f64()?), reading)
        }
        MeanOf::Global => {
            let (mean, deviation) = (theta.mean(())?.compute()?.item()?, theta.std(())?.compute()?.item()?);
            let reading = meter.stop();
            (json!({ "mean": mean, "std": deviation }), reading)
        }
    };
    cluster.shutdown();
    let bytes = theta.nbytes() as f64;
    let op = if op == MeanOf::TimeMean { "time_mean" } else { "global" };
    let mut line = json!({
        "workload": format!("{}_{op}_{name}", if netcdf { "w3" } else { "w2" }),
        "engine": "nuna",
        "seconds": reading.seconds,
        "gb_per_s": bytes / 1e9 / reading.seconds,
        "procs": shape.procs,
        "threads": shape.threads,
        "cluster_start_s": start_seconds,
        "result": result,
    });
    merge(&mut line, reading.memory);
    emit(&line);
    Ok(())
}
