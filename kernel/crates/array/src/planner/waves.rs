//! Owns how a rechunk that is larger than the workers' memory is written. Where they have local disks for it, at once: what
//! does not fit goes to the disk and comes back, which costs half a second of processor time for a gigabyte. Else in waves, each a
//! window of the result whose elements fit. Every wave reads from the stores what it needs, so a stored chunk is decoded once for
//! each wave that has a part of it: a gigabyte in about a second on one core.

use std::{ops::Range, sync::Arc};

use nuna_plan::{Engine, Splits};

use crate::{
    error::ArrayError,
    expr::{Expr, Node, Op},
    grid::bounds,
    planner::{Goal, Planned, plan, written_grid},
    sink::ChunkSink,
};

/// The elements of the result along each axis.
pub(crate) type Window = Vec<Range<u64>>;

/// Of the workers' memory, what the blocks of a wave may take between being read and being wanted; the rest is for blocks
/// that are being read, put together and written.
const SHARE: f64 = 0.4;

/// Pieces of which each takes less than this are too many to be put on disk one by one.
const SPILLED_PIECE_MIN: u64 = 32 << 10;
/// Room on disk for what moves: blocks and the pieces they are cut into are there at the same time, unevenly spread.
const DISK_FACTOR: f64 = 2.0;

/// The windows in which `node` has to be written: none, or one, if all of it fits.
pub(crate) fn waves(
    node: &Node,
    sink: &dyn ChunkSink,
    engine: &Arc<dyn Engine>,
) -> Result<Vec<Window>, ArrayError> {
    let Some(memory) = engine.memory_bytes() else { return Ok(Vec::new()) };
    let memory = memory.saturating_mul(engine.thread_count() as u64);
    let budget = ((memory as f64 * SHARE) as u64).max(1);
    // Cheaper than a plan.
    if node.byte_count() <= budget || !cuts_stores_anew(node) {
        return Ok(Vec::new());
    }
    let Planned { moved, pieces, .. } = plan("", &[(node.clone(), Goal::Write(sink))], engine)?;
    let spilled = (moved as f64 * DISK_FACTOR) as u64;
    if moved / pieces.max(1) >= SPILLED_PIECE_MIN && engine.spill_bytes() >= spilled {
        return Ok(Vec::new());
    }
    Ok(windows(written_grid(node, sink).axes(), &stored_counts(node), moved.div_ceil(budget)))
}

/// Whether every element comes from a store, and some by way of other blocks.
fn cuts_stores_anew(expr: &Expr) -> bool {
    match &expr.op {
        Op::Source(_) => true,
        Op::Reduce { .. } | Op::Opaque { .. } | Op::Held(_) => false,
        _ => expr.inputs().into_iter().all(|input| cuts_stores_anew(input)),
    }
}

/// Chunks along each axis of what is cut anew, as far as axes stay the same on the way there.
fn stored_counts(expr: &Expr) -> Vec<u64> {
    let mut expr = expr;
    loop {
        let inputs = expr.inputs();
        match (&expr.op, inputs.first()) {
            (Op::Map { .. } | Op::Rechunk { .. }, Some(input)) if input.shape == expr.shape => expr = input,
            _ => return expr.grid.axes().iter().map(Splits::count).collect(),
        }
    }
}

/// At least `wanted` windows, if there are so many blocks. Cut first where the stores are cut too: there a wave reads
/// only its part of them.
fn windows(axes: &[Splits], stored: &[u64], wanted: u64) -> Vec<Window> {
    let mut order: Vec<usize> = (0..axes.len()).collect();
    let rank = |axis: usize| (stored.get(axis).copied().unwrap_or(1), axes[axis].count());
    order.sort_by_key(|&axis| std::cmp::Reverse(rank(axis)));
    let mut parts = vec![1; axes.len()];
    let mut left = wanted.max(1);
    for axis in order {
        parts[axis] = left.min(axes[axis].count().max(1));
        left = left.div_ceil(parts[axis]);
    }
    let mut windows: Vec<Window> = vec![Vec::new()];
    for (splits, parts) in axes.iter().zip(parts) {
        let cuts = bounds(splits);
        let blocks = cuts.len() as u64 - 1;
        let at = |part: u64| cuts[(u128::from(part) * u128::from(blocks) / u128::from(parts)) as usize];
        windows = windows
            .into_iter()
            .flat_map(|window| {
                (0..parts).map(move |part| {
                    let mut window = window.clone();
                    window.push(at(part)..at(part + 1));
                    window
                })
            })
            .collect();
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regular(chunk: u64, length: u64) -> Splits {
        Splits::Regular { chunk, length }
    }

    #[test]
    fn windows_cover_every_block_once() {
        let axes = [regular(400, 400), regular(36, 720), regular(36, 1440)];
        for wanted in [1, 2, 7, 20, 21, 52, 5000] {
            let windows = windows(&axes, &[400, 1, 1], wanted);
            assert!(windows.len() as u64 >= wanted.min(800), "{wanted}");
            let elements: u64 =
                windows.iter().map(|w| w.iter().map(|range| range.end - range.start).product::<u64>()).sum();
            assert_eq!(elements, 400 * 720 * 1440);
            for range in windows.iter().flatten() {
                assert!(range.start % 36 == 0 || range.start == 0, "{range:?}");
            }
        }
    }

    #[test]
    fn a_wave_reads_only_its_part_of_the_store_where_it_can() {
        let axes = [regular(10, 100), regular(10, 100)];
        let windows = windows(&axes, &[1, 50], 5);
        assert_eq!(windows, (0..5).map(|i| vec![0..100, 20 * i..20 * (i + 1)]).collect::<Vec<_>>());
    }
}
