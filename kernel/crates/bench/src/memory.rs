//! Owns the counterpart of `w10_memory.py`: sums of many random arrays, each moved from slabs of columns to slabs of rows,
//! on workers with little memory.

use nuna::{Chunk, ChunkGrid, parts::cluster::show_bytes, prelude::*};
use serde_json::json;

use crate::{Shape, meter::Meter, rechunk::largest_worker};

/// Slabs of each array.
const SLABS: u64 = 8;

/// Starts a cluster, sums `count` arrays of `side × side` numbers, prints what the plan needs at most, then the line.
///
/// # Errors
/// If the cluster does not start, or a block needs more than a worker has.
pub fn memory(shape: &Shape, count: u64, side: u64) -> anyhow::Result<()> {
    let columns = side.div_ceil(SLABS);
    let mut total: Option<Array> = None;
    for number in 0..count {
        let numbers = Array::full(&[1, side.div_ceil(columns)], 0_u8, DType::U8).rechunk(&[1, 1])?;
        let options = MapBlocks {
            name: "random".to_owned(),
            dtype: DType::F64,
            chunks: Some(ChunkGrid::regular(&[side, side], &[side, columns])?),
        };
        let random = numbers.map_blocks(options, move |block: Block<'_>| {
            let width = columns.min(side - block.index * columns);
            let mut state = (number * SLABS + block.index).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let values: Vec<f64> = (0..side * width).map(|_| next(&mut state)).collect();
            Ok(Chunk::from_slice(&[side, width], &values))
        })?;
        let sum = random.rechunk(&[columns, side])?.sum(&[0, 1])?;
        total = Some(match total {
            Some(total) => total.add(&sum)?,
            None => sum,
        });
    }
    let Some(total) = total else { anyhow::bail!("no arrays, no sum") };
    let mean = total.div((count * side * side) as f64)?;
    let (cluster, start_seconds) = shape.start()?;
    let plan = mean.plan()?;
    let block = plan.stages.iter().map(|stage| stage.bound.total()).max().unwrap_or(0);
    eprintln!(
        "w10: {} stages, {} blocks; a block needs at most {}, a worker has {}",
        plan.stages.len(),
        plan.block_count(),
        show_bytes(block),
        shape.memory_limit
    );
    let meter = Meter::start();
    let value = mean.compute()?.to_vec::<f64>();
    let reading = meter.stop();
    let largest = largest_worker(&cluster);
    cluster.shutdown();
    let value = value.first().copied().unwrap_or(f64::NAN);
    anyhow::ensure!((value - 0.5).abs() < 0.01, "the mean of numbers between 0 and 1 is {value}");
    let more = json!({
        "k": count,
        "side": side,
        "gb_per_s": (count * side * side * 8) as f64 / 1e9 / reading.seconds,
        "peak_worker_mb": largest as f64 / 1e6,
        "limit_mb": shape.memory_bytes()? as f64 / 1e6,
        "block_bound_mb": block as f64 / 1e6,
        "result": value,
    });
    shape.report("w10_memory_scalars", start_seconds, reading, more);
    Ok(())
}

/// The next number of splitmix64, in `0..1`.
fn next(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
}
