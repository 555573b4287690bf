//! Owns the counterpart of `w5_ndvi.py`: vegetation index of a cube of dates with clouds masked; how often each pixel was
//! clear, its greenest value, and the mean of each date.

use std::{path::Path, time::Instant};

use nuna::{
    parts::{
        array::source::ChunkSource,
        storage::{Raster, open_geotiff},
    },
    prelude::*,
};
use serde_json::{Value, json};

use crate::{Shape, meter::Meter, summary::field_summary};

/// Starts a cluster, computes the three results from the images of `red`, `nir` and `scl` in `folder`, prints the line. With
/// `floor` it also measures what decoding every image once takes on as many threads of this process.
///
/// # Errors
/// If the images cannot be read, or a task fails.
pub fn ndvi(shape: &Shape, folder: &Path, floor: bool) -> anyhow::Result<()> {
    let decoded = floor.then(|| decode(shape, folder)).transpose()?;
    let (cluster, start_seconds) = shape.start()?;
    let meter = Meter::start();
    let results = results(folder)?.compute()?;
    let reading = meter.stop();
    cluster.shutdown();
    let (count, max, per_date) = (results.var("count")?, results.var("max")?, results.var("per_date")?);
    let field = |array: &DataArray| -> anyhow::Result<Value> {
        Ok(field_summary(array.shape(), &array.dtype().to_string(), &array.values_f64()?))
    };
    let means = per_date.values_f64()?;
    let known: Vec<f64> = means.iter().copied().filter(|mean| !mean.is_nan()).collect();
    let mut more = json!({ "result": {
        "count": field(&count)?,
        "max": field(&max)?,
        "per_date": {
            "n": means.len(),
            "mean": known.iter().sum::<f64>() / known.len() as f64,
            "first": means.first(),
            "last": means.last(),
        },
    } });
    if let Some((seconds, bytes)) = decoded {
        more["floor_s"] = json!(seconds);
        more["over_floor"] = json!(reading.seconds / seconds);
        more["gb_per_s"] = json!(bytes as f64 / 1e9 / reading.seconds);
    }
    shape.report("w5_ndvi", start_seconds, reading, more);
    Ok(())
}

/// The three results, lazily.
pub(crate) fn results(folder: &Path) -> anyhow::Result<Dataset> {
    let cube = |name: &str| -> anyhow::Result<DataArray> {
        let files = format!("{}/{name}_*.tif", folder.display());
        Ok(open_geotiffs(files, "time")?.isel("band", 0)?)
    };
    let (red, nir, scl) = (cube("red")?, cube("nir")?, cube("scl")?);
    let clear = scl.equal(4)? | scl.equal(5)? | scl.equal(6)?;
    let (red, nir) = (red.astype(DType::F32), nir.astype(DType::F32));
    let ndvi = ((&nir - &red) / (&nir + &red)).where_(&clear)?;
    let results = Dataset::new()
        .assign("count", &clear.sum("time")?)?
        .assign("max", &ndvi.max("time")?)?
        .assign("per_date", &ndvi.mean(["y", "x"])?)?;
    Ok(results)
}

/// Seconds that reading every image once takes, on as many threads as the cluster has, one image each at a time; and the bytes
/// that this gives.
fn decode(shape: &Shape, folder: &Path) -> anyhow::Result<(f64, u64)> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        paths.push(entry?.path());
    }
    let options = GeotiffOptions::default();
    let rasters = paths.iter().map(|path| open_geotiff(path, &options)).collect::<Result<Vec<_>, _>>()?;
    let bytes = |raster: &Raster| {
        let source = &raster.source;
        source.shape().iter().product::<u64>() * source.dtype().size() as u64
    };
    let total = rasters.iter().map(bytes).sum();
    let threads = (shape.procs * shape.threads).max(1);
    let share = rasters.len().div_ceil(threads).max(1);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let decode = |part: &[Raster]| part.iter().try_for_each(|raster| raster.source.read_all().map(drop));
        let running: Vec<_> = rasters.chunks(share).map(|part| scope.spawn(move || decode(part))).collect();
        running.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
    })?;
    Ok((started.elapsed().as_secs_f64(), total))
}
