//! Owns the counterpart of `w4_rechunk.py`: a store of time slabs becomes one of tiles that hold all times.

use std::path::Path;

use nuna::{StoreOptions, prelude::*};
use serde_json::json;

use crate::{Shape, meter::Meter};

/// Starts a cluster, writes `theta` of `store` in tiles of `tile × tile` below `scratch`, reads it back, prints the line.
///
/// # Errors
/// If the store cannot be read or the new one not be written, or their sums differ.
pub fn rechunk(shape: &Shape, store: &Path, tile: i64, scratch: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(scratch)?;
    let target = scratch.join(format!("w4-{}.zarr", std::process::id()));
    let (cluster, start_seconds) = shape.start()?;
    let theta = open_zarr(store)?.var("theta")?;
    let meter = Meter::start();
    let tiles = write_tiles(&theta, tile, &target)?;
    let reading = meter.stop();
    let written = open_zarr(&target)?.var("theta")?;
    let sum = written.astype(DType::F64).sum(())?.compute()?.item()?;
    // Both skip missing values, so they are counted too.
    let apart = (&written - &tiles).abs()?.max(())?.compute()?.item()?;
    let missing = |array: &DataArray| -> anyhow::Result<f64> {
        Ok(array.shape().iter().product::<u64>() as f64 - array.count(())?.compute()?.item()?)
    };
    let (before, after) = (missing(&theta)?, missing(&written)?);
    cluster.shutdown();
    let bytes = written.nbytes();
    let stored = folder_bytes(&target)?;
    std::fs::remove_dir_all(&target)?;
    anyhow::ensure!(
        apart == 0.0 && before == after,
        "what was written is up to {apart} away, {after} values are missing of {before}"
    );
    let more = json!({
        "gb_per_s": bytes as f64 / 1e9 / reading.seconds,
        "bytes": bytes,
        "out_mb": stored as f64 / 1e6,
        "result": { "shape": written.shape(), "sum": sum, "nan": after },
    });
    shape.report("w4_rechunk", start_seconds, reading, more);
    Ok(())
}

/// Writes it so; what was written, as it was computed.
pub(crate) fn write_tiles(theta: &DataArray, tile: i64, target: &Path) -> anyhow::Result<DataArray> {
    let tiles = theta.rechunk([("time", -1), ("lat", tile), ("lon", tile)])?;
    tiles.to_zarr_with(target, &StoreOptions { overwrite: true, ..StoreOptions::default() })?;
    Ok(tiles)
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
