//! Owns the counterpart of `w4_rechunk.py`: a store of time slabs becomes one of tiles that hold all times.

use std::path::Path;

use nuna::{StoreOptions, prelude::*};
use serde_json::json;

use crate::{Shape, floor, meter::Meter};

/// Starts a cluster, writes `theta` of `store` in tiles of `tile × tile` below `scratch`, reads it back, prints the line.
/// With `floor` it measures first what decoding and encoding alone take on as many threads.
///
/// # Errors
/// If the store cannot be read or the new one not be written, or their sums differ.
pub fn rechunk(shape: &Shape, store: &Path, tile: i64, scratch: &Path, floor: bool) -> anyhow::Result<()> {
    std::fs::create_dir_all(scratch)?;
    let target = scratch.join(format!("w4-{}.zarr", std::process::id()));
    let theta = open_zarr(store)?.var("theta")?;
    let threads = (shape.procs * shape.threads).max(1);
    let folder = store.join("theta");
    let floor = floor.then(|| floor::measure(&folder, theta.shape(), tile as usize, threads)).transpose()?;
    let (cluster, start_seconds) = shape.start()?;
    let meter = Meter::start();
    let tiles = write_tiles(&theta, tile, &target)?;
    let reading = meter.stop();
    let largest = largest_worker(&cluster);
    // What follows is done on the threads of this process, which has the memory for it.
    cluster.shutdown();
    let written = open_zarr(&target)?.var("theta")?;
    let sum = written.astype(DType::F64).sum(())?.compute()?.item()?;
    // Both skip missing values, so they are counted too.
    let apart = (&written - &tiles).abs()?.max(())?.compute()?.item()?;
    let missing = |array: &DataArray| -> anyhow::Result<f64> {
        Ok(array.shape().iter().product::<u64>() as f64 - array.count(())?.compute()?.item()?)
    };
    let (before, after) = (missing(&theta)?, missing(&written)?);
    let bytes = written.nbytes();
    let stored = folder_bytes(&target)?;
    std::fs::remove_dir_all(&target)?;
    anyhow::ensure!(
        apart == 0.0 && before == after,
        "what was written is up to {apart} away, {after} values are missing of {before}"
    );
    let mut more = json!({
        "gb_per_s": bytes as f64 / 1e9 / reading.seconds,
        "bytes": bytes,
        // As the system counts it, over the life of the process.
        "peak_worker_mb": largest as f64 / 1e6,
        "limit_mb": shape.memory_bytes()? as f64 / 1e6,
        "store_over_memory": bytes as f64 / (shape.procs as u64 * shape.memory_bytes()?) as f64,
        "out_mb": stored as f64 / 1e6,
        "result": { "shape": written.shape(), "sum": sum, "nan": after },
    });
    if let Some(floor) = floor {
        let floor = json!({
            "floor_s": floor.seconds,
            "floor_cpu_s": floor.cpu,
            "over_floor": reading.seconds / floor.seconds,
        });
        crate::tasks::merge(&mut more, floor);
    }
    shape.report("w4_rechunk", start_seconds, reading, more);
    Ok(())
}

/// Writes it so; what was written, as it was computed.
pub(crate) fn write_tiles(theta: &DataArray, tile: i64, target: &Path) -> anyhow::Result<DataArray> {
    let tiles = theta.rechunk([("time", -1), ("lat", tile), ("lon", tile)])?;
    tiles.to_zarr_with(target, &StoreOptions { overwrite: true, ..StoreOptions::default() })?;
    Ok(tiles)
}

/// The most that any worker's process has ever had in memory.
pub(crate) fn largest_worker(cluster: &Cluster) -> u64 {
    let peak = |pid| crate::meter::bytes_of(pid, "VmHWM:");
    cluster.info().workers.iter().filter_map(|worker| peak(worker.pid)).max().unwrap_or(0)
}

fn folder_bytes(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { folder_bytes(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}
