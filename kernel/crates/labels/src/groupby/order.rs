//! Owns reductions of groups that need all elements of one side by side: median and quantile. Where groups follow each
//! other along the axis it is cut between them, else it becomes one block and the other axes are cut finer.

use nuna_array::{Array, Block, ChunkGrid, MapBlocks};
use nuna_chunk::{Chunk, DType};
use serde::{Deserialize, Serialize};

use crate::Result;

/// A block with the whole axis holds at most this many bytes where the other axes can be cut.
const BLOCK_BYTES: u64 = 64 << 20;
/// Lines that are gathered at a time: as many elements as a few cache lines hold.
const TILE: usize = 32;

#[derive(Serialize, Deserialize)]
struct Environment {
    quantile: f64,
    skipna: bool,
    axis: usize,
    grid: Vec<u64>,
    /// Per block along the axis, the group of each element.
    codes: Vec<Vec<u32>>,
    /// Per block the groups that it makes, from the first to before the second.
    ranges: Vec<(u32, u32)>,
    output: DType,
}

/// The quantile of every group; a group without elements is NaN. Every position must be in a group.
pub(super) fn quantile(
    source: &Array,
    axis: usize,
    (codes, labels): (&[u32], u32),
    quantile: f64,
    (skipna, output): (bool, DType),
    name: String,
) -> Result<Array> {
    let mut lengths = source.chunks().chunk_lengths();
    let cuts = cuts(codes, lengths[axis].iter().copied().max().unwrap_or(1));
    lengths[axis] = cuts.iter().map(|codes| codes.len() as u64).collect();
    // The other axes are cut until a block is small enough.
    let longest = lengths[axis].iter().copied().max().unwrap_or(1);
    loop {
        let bytes =
            lengths.iter().enumerate().fold(source.dtype().size() as u64, |bytes, (at, axis_lengths)| {
                let n = if at == axis { longest } else { axis_lengths.iter().copied().max().unwrap_or(1) };
                bytes.saturating_mul(n)
            });
        let widest = (0..lengths.len())
            .filter(|&at| at != axis)
            .max_by_key(|&at| lengths[at].iter().copied().max().unwrap_or(1));
        match widest {
            Some(at) if bytes > BLOCK_BYTES && lengths[at].iter().any(|&n| n > 1) => {
                let cut = |&n: &u64| if n > 1 { vec![n.div_ceil(2), n / 2] } else { vec![n] };
                lengths[at] = lengths[at].iter().flat_map(cut).collect();
            }
            _ => break,
        }
    }
    let shape: Vec<u64> = lengths.iter().map(|axis| axis.iter().sum()).collect();
    let array = source.rechunk_to(ChunkGrid::listed(&shape, &lengths)?);
    let starts: Vec<u32> = cuts.iter().map(|codes| codes.iter().copied().min().unwrap_or(0)).collect();
    let ranges: Vec<(u32, u32)> = (0..cuts.len())
        .map(|at| (if at == 0 { 0 } else { starts[at] }, starts.get(at + 1).copied().unwrap_or(labels)))
        .collect();
    let grid = lengths.iter().map(|axis| axis.len() as u64).collect();
    lengths[axis] = ranges.iter().map(|(from, to)| u64::from(to - from)).collect();
    let shape: Vec<u64> = lengths.iter().map(|axis| axis.iter().sum()).collect();
    let environment = Environment { quantile, skipna, axis, grid, codes: cuts, ranges, output };
    let options = MapBlocks { name, dtype: output, chunks: Some(ChunkGrid::listed(&shape, &lengths)?) };
    Ok(array.map_blocks_with(options, &environment, |env, block| run(env, &block))?)
}

/// Blocks along the axis: whole groups, several in one up to the chunks' own length.
fn cuts(codes: &[u32], longest: u64) -> Vec<Vec<u32>> {
    if !codes.is_sorted() {
        return vec![codes.to_vec()];
    }
    let mut blocks: Vec<Vec<u32>> = Vec::new();
    for run in codes.chunk_by(|a, b| a == b) {
        match blocks.last_mut() {
            Some(open) if (open.len() + run.len()) as u64 <= longest => open.extend_from_slice(run),
            _ => blocks.push(run.to_vec()),
        }
    }
    blocks
}

fn run(env: &Environment, block: &Block<'_>) -> Result<Chunk, String> {
    let chunk = &block.inputs[0];
    let coords = nuna_plan::BlockGrid::new(env.grid.iter().copied()).coords(block.index);
    let along = usize::try_from(coords[env.axis]).unwrap_or(usize::MAX);
    let (Some(codes), Some(&(from, to))) = (env.codes.get(along), env.ranges.get(along)) else {
        return Err(format!("block {} was not planned", block.index));
    };
    let count = |shape: &[u64]| usize::try_from(shape.iter().product::<u64>()).unwrap_or(usize::MAX);
    let (outer, inner) = (count(&chunk.shape()[..env.axis]), count(&chunk.shape()[env.axis + 1..]));
    if codes.len() as u64 != chunk.shape()[env.axis] {
        return Err(format!(
            "a block of shape {:?} where {} along the axis were planned",
            chunk.shape(),
            codes.len()
        ));
    }
    let mut members = vec![Vec::new(); (to - from) as usize];
    for (place, code) in codes.iter().enumerate() {
        members[(code - from) as usize].push(place);
    }
    let floats;
    let elements: Elements<'_> = match chunk.dtype() {
        DType::F32 => Elements::Single(chunk.elements().map_err(|e| e.to_string())?),
        DType::F64 => Elements::Double(chunk.elements().map_err(|e| e.to_string())?),
        _ => {
            floats = chunk.to_vec::<f64>();
            Elements::Double(&floats)
        }
    };
    let mut out = vec![f64::NAN; outer * members.len() * inner];
    let mut lines: Vec<Vec<f64>> = vec![Vec::new(); TILE];
    for outer in 0..outer {
        for (group, places) in members.iter().enumerate() {
            for tile in (0..inner).step_by(TILE) {
                let cells = TILE.min(inner - tile);
                lines.iter_mut().for_each(Vec::clear);
                for place in places {
                    let start = (outer * codes.len() + place) * inner + tile;
                    for (cell, line) in lines.iter_mut().take(cells).enumerate() {
                        line.push(elements.get(start + cell));
                    }
                }
                let start = (outer * members.len() + group) * inner + tile;
                for (line, out) in lines.iter_mut().zip(&mut out[start..start + cells]) {
                    *out = quantile_of(line, env.quantile, env.skipna);
                }
            }
        }
    }
    let mut shape = chunk.shape().to_vec();
    shape[env.axis] = members.len() as u64;
    Ok(Chunk::from_slice(&shape, &out).cast(env.output))
}

enum Elements<'a> {
    Single(&'a [f32]),
    Double(&'a [f64]),
}

impl Elements<'_> {
    fn get(&self, at: usize) -> f64 {
        match self {
            Self::Single(elements) => elements[at].into(),
            Self::Double(elements) => elements[at],
        }
    }
}

/// By linear interpolation, as NumPy; puts the line in another order.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positions in a line"
)]
fn quantile_of(line: &mut Vec<f64>, quantile: f64, skipna: bool) -> f64 {
    let all = line.len();
    line.retain(|x| !x.is_nan());
    if line.is_empty() || (!skipna && line.len() < all) {
        return f64::NAN;
    }
    let place = quantile * (line.len() - 1) as f64;
    let low = (place.floor() as usize).min(line.len() - 1);
    let t = place - low as f64;
    let (_, &mut a, above) = line.select_nth_unstable_by(low, f64::total_cmp);
    if t == 0.0 || above.is_empty() {
        return a;
    }
    let b = above.iter().copied().fold(f64::INFINITY, f64::min);
    // NumPy's order of operations: exact at both ends.
    if t < 0.5 { a + (b - a) * t } else { b - (b - a) * (1.0 - t) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate_and_leave_nan_out() {
        let q = |line: &[f64], q, skipna| quantile_of(&mut line.to_vec(), q, skipna);
        assert_eq!(q(&[3.0, 1.0, 2.0, 4.0], 0.5, true), 2.5);
        assert_eq!(q(&[3.0, f64::NAN, 1.0], 0.25, true), 1.5);
        assert!(q(&[3.0, f64::NAN, 1.0], 0.25, false).is_nan());
        assert!(q(&[], 0.5, true).is_nan());
        assert_eq!(q(&[1.0, f64::INFINITY], 0.0, true), 1.0);
    }
}
