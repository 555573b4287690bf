//! Owns the least that a rechunk to disk can take: decoding every chunk of the source and encoding every chunk of the result
//! once, in this process, with nothing between and no files.

use std::path::Path;

use anyhow::Context;
use nuna::{ZarrFormat, parts::storage::Direct};

const ELEMENT: usize = size_of::<f32>();

/// Seconds of processor time: of the slowest thread, which is what the clock would show on a machine with nothing else to do,
/// and of all threads together.
pub(crate) struct Floor {
    pub(crate) seconds: f64,
    pub(crate) cpu: f64,
}

/// Decodes the slabs `(1, lat, lon)` of `variable`, a folder of a v3 store, on so many threads, then encodes tiles of
/// `tile × tile` that hold all times.
///
/// # Errors
/// If the store is none of such slabs of 4-byte numbers, compressed with zstd alone.
pub(crate) fn measure(variable: &Path, shape: &[u64], tile: usize, threads: usize) -> anyhow::Result<Floor> {
    let &[times, lats, lons] = shape else { anyhow::bail!("slabs of {shape:?}") };
    let (times, lats, lons) = (times as usize, lats as usize, lons as usize);
    let metadata = std::fs::read_to_string(variable.join("zarr.json"))?;
    let codec = &Direct::of(ZarrFormat::V3, &metadata).context("its chunks are not zstd alone")?;
    let stored = (0..times)
        .map(|time| {
            let file = variable.join(format!("c/{time}/0/0"));
            std::fs::read(&file).with_context(|| format!("reading {}", file.display()))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut slabs = vec![vec![0_u8; lats * lons * ELEMENT]; times];
    let share = times.div_ceil(threads);
    let decoding = std::thread::scope(|scope| {
        let decode = |(stored, slabs): (&[Vec<u8>], &mut [Vec<u8>])| -> anyhow::Result<f64> {
            let started = thread_seconds();
            for (stored, slab) in stored.iter().zip(slabs) {
                codec.decode(stored, slab).context("a slab cannot be decoded")?;
            }
            Ok(thread_seconds() - started)
        };
        let parts = stored.chunks(share).zip(slabs.chunks_mut(share));
        let running: Vec<_> = parts.map(|part| scope.spawn(move || decode(part))).collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect::<anyhow::Result<Vec<f64>>>()
    })?;
    drop(stored);
    let columns = lons / tile;
    let tiles = lats / tile * columns;
    let encode = |thread: usize| -> anyhow::Result<f64> {
        let row = tile * ELEMENT;
        let mut chunk = vec![0_u8; times * tile * row];
        let mut out = vec![0_u8; codec.encoded_bytes_max(chunk.len())];
        let mut seconds = 0.0;
        for number in (thread..tiles).step_by(threads) {
            let (lat, lon) = (number / columns * tile, number % columns * tile);
            for (number, target) in chunk.chunks_exact_mut(row).enumerate() {
                let from = ((lat + number % tile) * lons + lon) * ELEMENT;
                target.copy_from_slice(&slabs[number / tile][from..from + row]);
            }
            let started = thread_seconds();
            codec.encode(&chunk, &mut out).map_err(anyhow::Error::msg)?;
            seconds += thread_seconds() - started;
        }
        Ok(seconds)
    };
    let encode = &encode;
    let encoding = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || encode(thread))).collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect::<anyhow::Result<Vec<f64>>>()
    })?;
    let slowest = |seconds: &[f64]| seconds.iter().copied().fold(0.0, f64::max);
    Ok(Floor {
        seconds: slowest(&decoding) + slowest(&encoding),
        cpu: decoding.iter().chain(&encoding).sum(),
    })
}

/// Processor time of this thread so far, so that other programs do not count.
fn thread_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|number| number.parse::<f64>().ok());
    nanoseconds.unwrap_or(f64::NAN) / 1e9
}
