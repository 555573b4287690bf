//! Owns the counterpart of `w6_spectra.py`: frequency spectra of kinetic energy. Hourly maps become whole time series by
//! a rechunk; each series loses its mean, is windowed and transformed; the area mean is weighted by latitude.

use std::path::Path;

use nuna::{ChunkGrid, prelude::*};
use realfft::RealFftPlanner;
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
    let latitudes: Vec<f64> = dataset.var("y")?.values_f64()?;
    let weights: Vec<f64> = latitudes.iter().map(|latitude| latitude.to_radians().cos()).collect();
    let mut total: Option<Array> = None;
    for name in ["u", "v"] {
        let component = dataset.var(name)?;
        let &[times, rows, columns] = component.shape() else {
            anyhow::bail!("{name} of {} has other dimensions than time, y, x", store.display());
        };
        let across = columns.div_ceil(tile);
        let scale = 1.0 / (weights.iter().sum::<f64>() * columns as f64);
        let weights: Vec<f64> = weights.iter().map(|weight| weight * scale).collect();
        let series = component.array().rechunk(&[times, tile, tile])?;
        let frequencies = times / 2 + 1;
        let chunks = ChunkGrid::regular(&[frequencies, rows.div_ceil(tile), across], &[frequencies, 1, 1])?;
        let options =
            MapBlocks { name: format!("energy of {name}"), dtype: DType::F64, chunks: Some(chunks) };
        let energy = series.map_blocks_with(options, &weights, move |weights: &Vec<f64>, block| {
            let first_row = block.index / across * tile;
            energy(&block.inputs[0], &weights[first_row as usize..])
        })?;
        total = Some(match total {
            Some(before) => &before + &energy,
            None => energy,
        });
    }
    let total = total.expect("there are two components");
    Ok(total.sum(&[1, 2])?.compute()?.to_vec::<f64>())
}

/// Half the power of every series of `(time, y, x)`, weighted by its row and added up.
fn energy(series: &Chunk, weights: &[f64]) -> Result<Chunk, String> {
    let &[times, rows, columns] = series.shape() else { return Err("not three dimensions".to_owned()) };
    let (times, rows, columns) = (times as usize, rows as usize, columns as usize);
    let values = series.to_vec::<f32>();
    // As `numpy.hanning`: zero at both ends.
    let step = std::f32::consts::TAU / (times.max(2) - 1) as f32;
    let window: Vec<f32> = (0..times).map(|n| 0.5 - 0.5 * (step * n as f32).cos()).collect();
    let transform = RealFftPlanner::<f32>::new().plan_fft_forward(times);
    let (mut input, mut output) = (transform.make_input_vec(), transform.make_output_vec());
    let mut scratch = transform.make_scratch_vec();
    let mut energy = vec![0.0_f64; times / 2 + 1];
    for (row, weight) in weights.iter().enumerate().take(rows) {
        for column in 0..columns {
            let at = |n: usize| values[(n * rows + row) * columns + column];
            let mean = (0..times).map(|n| f64::from(at(n))).sum::<f64>() / times as f64;
            for (n, slot) in input.iter_mut().enumerate() {
                *slot = (at(n) - mean as f32) * window[n];
            }
            let done = transform.process_with_scratch(&mut input, &mut output, &mut scratch);
            done.map_err(|error| error.to_string())?;
            for (sum, value) in energy.iter_mut().zip(&output) {
                *sum += 0.5 * weight * f64::from(value.norm_sqr());
            }
        }
    }
    Ok(Chunk::from_slice(&[energy.len() as u64, 1, 1], &energy))
}
