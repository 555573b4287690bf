//! Owns how the box that a block covers changes on the way down an expression, and what reading it costs.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    ops::Range,
};

use nuna_chunk::assemble::Stride;
use nuna_plan::{AxisMap, BlockGrid, BlockMap, Splits};

use crate::{
    expr::{Expr, Node, Op},
    grid::{bounds, length, longest, normal},
    planner::{GATHERED_BLOCKS_MIN, GATHERED_BYTES, PIECE_BYTES},
    program::AxisRule,
};

/// The cuts within `part`, whose ends are cuts too, of what may be only a part of the axis.
pub(crate) fn clipped(splits: &Splits, part: &Range<u64>) -> Splits {
    let mut cuts: Vec<u64> = bounds(splits).into_iter().map(|cut| cut.clamp(part.start, part.end)).collect();
    cuts.dedup();
    normal(cuts)
}

/// The elements that some block covers.
pub(crate) fn span(cut: &AxisRule) -> Range<u64> {
    match cut {
        AxisRule::Along { splits, .. } => {
            let cuts = bounds(splits);
            cuts.first().copied().unwrap_or(0)..cuts.last().copied().unwrap_or(0)
        }
        AxisRule::Fixed { start, end } => *start..*end,
        AxisRule::Windows { ranges, .. } => {
            let start = ranges.iter().filter(|r| !r.is_empty()).map(|r| r.start).min().unwrap_or(0);
            start..ranges.iter().map(|r| r.end).max().unwrap_or(0).max(start)
        }
    }
}

/// Every `size` blocks as one.
pub(crate) fn merged(splits: &Splits, size: u64) -> Splits {
    let cuts = bounds(splits);
    let last = cuts.len() - 1;
    normal(
        cuts.iter()
            .enumerate()
            .filter(|(i, _)| *i == last || (*i as u64).is_multiple_of(size))
            .map(|(_, &b)| b)
            .collect(),
    )
}

/// The boxes of `expr`'s inputs that a box of `expr` reads, input by input.
pub(crate) fn of_inputs(expr: &Expr, cuts: &[AxisRule]) -> Vec<Vec<AxisRule>> {
    match &expr.op {
        Op::Map { inputs, .. } => inputs.iter().map(|input| broadcast(&input.shape, cuts)).collect(),
        Op::Broadcast { input } => vec![broadcast(&input.shape, cuts)],
        Op::Rechunk { .. } => vec![cuts.to_vec()],
        Op::Transpose { order, .. } => {
            let mut below = cuts.to_vec();
            for (to, &from) in order.iter().enumerate() {
                below[from] = cuts[to].clone();
            }
            vec![below]
        }
        Op::Reshape { input, axes } => {
            let mut below = vec![AxisRule::Fixed { start: 0, end: 1 }; input.shape.len()];
            for (to, from) in axes.iter().enumerate() {
                if let Some(from) = from {
                    below[*from] = cuts[to].clone();
                }
            }
            vec![below]
        }
        Op::Stride { axes, .. } => {
            vec![axes.iter().zip(cuts).map(|(stride, cut)| strided(stride, cut)).collect()]
        }
        Op::Take { axis, indices, .. } => {
            let mut below = cuts.to_vec();
            below[*axis] = taken(indices, &cuts[*axis]);
            vec![below]
        }
        Op::Concat { inputs, axis } => of_joined(inputs, *axis, cuts).collect(),
        Op::Source(_)
        | Op::Full(_)
        | Op::Range { .. }
        | Op::Reduce { .. }
        | Op::Opaque { .. }
        | Op::Held(_) => Vec::new(),
    }
}

/// The boxes of what is joined, one after the other.
pub(crate) fn of_joined<'a>(
    inputs: &'a [Node],
    axis: usize,
    cuts: &'a [AxisRule],
) -> impl Iterator<Item = Vec<AxisRule>> + 'a {
    let mut offset = 0;
    inputs.iter().map(move |input| {
        let n = input.shape[axis];
        let joined = within(&cuts[axis], offset, n);
        offset += n;
        let rules = cuts.iter().enumerate();
        rules.map(|(at, cut)| if at == axis { joined.clone() } else { cut.clone() }).collect()
    })
}

/// The axis of the stage's grid, and the blocks on it from the first to the last that have any elements. Nothing if all have the
/// same.
pub(crate) fn blocks_with_any(cut: &AxisRule) -> Option<(u8, Range<u64>)> {
    let from_to = |axis: u8, count: usize, any: &dyn Fn(usize) -> bool| {
        let first = (0..count).find(|&block| any(block));
        let last = (0..count).rev().find(|&block| any(block));
        (axis, first.map_or(0, |at| at as u64)..last.map_or(0, |at| at as u64 + 1))
    };
    match cut {
        AxisRule::Fixed { .. } => None,
        AxisRule::Along { axis, splits } => {
            let cuts = bounds(splits);
            Some(from_to(*axis, cuts.len().saturating_sub(1), &|block| cuts[block] < cuts[block + 1]))
        }
        AxisRule::Windows { axis, ranges } => {
            Some(from_to(*axis, ranges.len(), &|block| !ranges[block].is_empty()))
        }
    }
}

/// What tells boxes apart, in few bytes.
pub(crate) fn digest(cuts: &[AxisRule]) -> u128 {
    let half = |seed: u64| {
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        for cut in cuts {
            match cut {
                AxisRule::Along { axis, splits: Splits::Regular { chunk, length } } => {
                    (0u8, axis, chunk, length).hash(&mut hasher);
                }
                AxisRule::Along { axis, splits: Splits::Listed { bounds } } => {
                    (1u8, axis, bounds).hash(&mut hasher);
                }
                AxisRule::Fixed { start, end } => (2u8, start, end).hash(&mut hasher),
                AxisRule::Windows { axis, ranges } => (3u8, axis, ranges).hash(&mut hasher),
            }
        }
        hasher.finish()
    };
    u128::from(half(0)) << 64 | u128::from(half(1))
}

fn broadcast(shape: &[u64], cuts: &[AxisRule]) -> Vec<AxisRule> {
    let extra = cuts.len() - shape.len();
    let one = AxisRule::Fixed { start: 0, end: 1 };
    shape.iter().zip(&cuts[extra..]).map(|(&n, cut)| if n == 1 { one.clone() } else { cut.clone() }).collect()
}

fn strided(stride: &Stride, cut: &AxisRule) -> AxisRule {
    let at = |i: u64| stride.start.saturating_add_signed(stride.step.saturating_mul(i as i64));
    if stride.count == 0 {
        return AxisRule::Fixed { start: stride.start, end: stride.start };
    }
    match cut {
        AxisRule::Fixed { start, end } if start >= end => {
            AxisRule::Fixed { start: stride.start, end: stride.start }
        }
        AxisRule::Fixed { start, end } => {
            let (a, b) = (at(*start), at(end - 1));
            AxisRule::Fixed { start: a.min(b), end: a.max(b) + 1 }
        }
        AxisRule::Along { axis, splits } if stride.step > 0 => {
            // Between the last element of a block and the first of the next nothing is read, so cuts may lie anywhere there.
            let past = at(stride.count - 1) + 1;
            let below: Vec<u64> = bounds(splits).into_iter().map(|b| at(b).min(past)).collect();
            AxisRule::Along { axis: *axis, splits: normal_from(below) }
        }
        AxisRule::Windows { axis, ranges } => {
            let below = |r: &Range<u64>| {
                if r.is_empty() {
                    return 0..0;
                }
                let (a, b) = (at(r.start), at(r.end - 1));
                a.min(b)..a.max(b) + 1
            };
            AxisRule::windows(*axis, ranges.iter().map(below).collect())
        }
        // Blocks in reverse order cannot be written as ascending cuts; each block is given the whole range.
        AxisRule::Along { .. } => {
            let (a, b) = (at(0), at(stride.count - 1));
            AxisRule::Fixed { start: a.min(b), end: a.max(b) + 1 }
        }
    }
}

fn taken(indices: &[u64], cut: &AxisRule) -> AxisRule {
    let span = |range: Range<u64>| {
        let part = &indices[range.start as usize..range.end as usize];
        let low = part.iter().min().copied().unwrap_or(0);
        low..part.iter().max().map_or(low, |high| high + 1)
    };
    match cut {
        AxisRule::Fixed { start, end } => {
            let Range { start, end } = span(*start..*end);
            AxisRule::Fixed { start, end }
        }
        AxisRule::Along { axis, splits } if indices.is_sorted_by(|a, b| a < b) && !indices.is_empty() => {
            let past = indices[indices.len() - 1] + 1;
            let below = bounds(splits)
                .into_iter()
                .map(|b| indices.get(b as usize).copied().unwrap_or(past))
                .collect();
            AxisRule::Along { axis: *axis, splits: normal_from(below) }
        }
        AxisRule::Along { axis, splits } => {
            AxisRule::windows(*axis, (0..splits.count()).map(|block| span(splits.range(block))).collect())
        }
        AxisRule::Windows { axis, ranges } => {
            AxisRule::windows(*axis, ranges.iter().map(|range| span(range.clone())).collect())
        }
    }
}

fn within(cut: &AxisRule, offset: u64, length: u64) -> AxisRule {
    let inside = |b: u64| b.saturating_sub(offset).min(length);
    match cut {
        AxisRule::Fixed { start, end } => AxisRule::Fixed { start: inside(*start), end: inside(*end) },
        AxisRule::Along { axis, splits } => AxisRule::Along {
            axis: *axis,
            splits: Splits::Listed { bounds: bounds(splits).into_iter().map(inside).collect() },
        },
        AxisRule::Windows { axis, ranges } => {
            AxisRule::windows(*axis, ranges.iter().map(|r| inside(r.start)..inside(r.end)).collect())
        }
    }
}

/// Listed cuts, regular if they start at 0 and are.
fn normal_from(cuts: Vec<u64>) -> Splits {
    if cuts.first() == Some(&0) && cuts.windows(2).all(|w| w[0] < w[1]) {
        normal(cuts)
    } else {
        Splits::Listed { bounds: cuts }
    }
}

/// The map from a stage's blocks to the blocks of an input cut by `axes`.
pub(crate) fn block_map(cuts: &[AxisRule], axes: &[Splits], grid: &BlockGrid) -> BlockMap {
    let input_grid = BlockGrid::new(axes.iter().map(Splits::count));
    let rules: Vec<AxisMap> = cuts
        .iter()
        .zip(axes)
        .map(|(cut, own)| match cut {
            AxisRule::Along { axis, splits } if splits == own => AxisMap::Along { axis: *axis, offset: 0 },
            AxisRule::Along { axis, splits } => {
                AxisMap::Overlap { axis: *axis, output: splits.clone(), input: own.clone() }
            }
            AxisRule::Fixed { start, end } => {
                let blocks = own.overlapping(*start..*end);
                AxisMap::Fixed { start: blocks.start, end: blocks.end }
            }
            AxisRule::Windows { axis, ranges } => {
                let mut before = 0;
                let blocks = ranges.iter().map(|range| {
                    let blocks = own.overlapping(range.clone());
                    let blocks = if blocks.is_empty() { before..before } else { blocks };
                    before = blocks.end;
                    blocks
                });
                AxisMap::Windows { axis: *axis, ranges: blocks.collect() }
            }
        })
        .collect();
    let same = input_grid == *grid
        && rules.iter().enumerate().all(|(i, rule)| *rule == AxisMap::Along { axis: i as u8, offset: 0 });
    if same { BlockMap::Same } else { BlockMap::Axes { input_grid, axes: rules } }
}

/// The axes in the order in which blocks cut like `own` are best counted for those who want boxes like `wanted`: those along
/// which several are wanted together come last, so that they are there one soon after another. Nothing if that is as they are.
pub(crate) fn order(wanted: &[AxisRule], own: &[Splits]) -> Vec<usize> {
    let several = |axis: usize| {
        let blocks = |range: Range<u64>| own[axis].overlapping(range);
        let count = |range: Range<u64>| range.end - range.start;
        let most = match &wanted[axis] {
            AxisRule::Along { splits, .. } if *splits == own[axis] => 1,
            AxisRule::Along { splits, .. } => {
                (0..splits.count()).map(|block| count(blocks(splits.range(block)))).max().unwrap_or(0)
            }
            AxisRule::Fixed { start, end } => count(blocks(*start..*end)),
            AxisRule::Windows { ranges, .. } => {
                ranges.iter().map(|range| count(blocks(range.clone()))).max().unwrap_or(0)
            }
        };
        most > 1
    };
    let (last, first): (Vec<usize>, Vec<usize>) = (0..own.len()).partition(|&axis| several(axis));
    let order = [first, last].concat();
    if order.is_sorted() { Vec::new() } else { order }
}

/// The map to an input whose grid has its axes in this order.
pub(crate) fn in_order(map: BlockMap, grid: &BlockGrid, order: &[usize]) -> BlockMap {
    if order.is_empty() {
        return map;
    }
    let (input_grid, axes) = match map {
        BlockMap::Same => {
            let along = |axis: usize| AxisMap::Along { axis: axis as u8, offset: 0 };
            (grid.clone(), (0..order.len()).map(along).collect())
        }
        BlockMap::Axes { input_grid, axes } => (input_grid, axes),
    };
    BlockMap::Axes {
        input_grid: BlockGrid::new(order.iter().map(|&axis| input_grid.shape()[axis])),
        axes: order.iter().map(|&axis| axes[axis].clone()).collect(),
    }
}

/// Cuts of blocks that are to be split for others: several neighbours as one along the axes on which what is `wanted` is
/// longer, until the pieces are of a size to be worth sending.
pub(crate) fn gathered(
    own: &[Splits],
    wanted: &[AxisRule],
    element: u64,
    block_bytes_max: u64,
) -> Vec<Splits> {
    let block = own.iter().map(longest).fold(element, u64::saturating_mul).max(1);
    let count = own.iter().map(Splits::count).fold(1, u64::saturating_mul);
    let reaches: Vec<u64> = own
        .iter()
        .zip(wanted)
        .map(|(own, rule)| match rule {
            AxisRule::Along { splits, .. } => longest(splits),
            AxisRule::Windows { ranges, .. } => longest_of(ranges),
            AxisRule::Fixed { .. } => longest(own),
        })
        .collect();
    let pieces = own.iter().zip(&reaches).map(|(own, &reach)| longest(own).min(reach));
    let piece = pieces.fold(element, u64::saturating_mul).max(1);
    let most = GATHERED_BYTES.min(block_bytes_max) / block;
    let mut group = PIECE_BYTES.div_ceil(piece).min(most).min(count / GATHERED_BLOCKS_MIN).max(1);
    let mut out = own.to_vec();
    for (axis, &reach) in reaches.iter().enumerate() {
        let size = group.min(reach / longest(&own[axis]).max(1)).max(1);
        if size > 1 {
            out[axis] = merged(&own[axis], size);
        }
        group /= size;
    }
    out
}

/// Where blocks `own` are cut up for blocks that want boxes `wanted`: not at each of those, but so that neighbours, which
/// run one after another on the same worker, read the same pieces: fewer tasks and messages, and the same bytes moved.
pub(crate) fn shared(
    own: &[Splits],
    wanted: &[AxisRule],
    element: u64,
    reads_max: u64,
    groups_min: u64,
) -> Vec<Splits> {
    let mut cut: Vec<Splits> = own
        .iter()
        .zip(wanted)
        .map(|(own, rule)| match rule {
            AxisRule::Along { splits, .. } => splits.clone(),
            // Windows overlap: what is cut at the ends of one would be put together by the next.
            AxisRule::Fixed { .. } | AxisRule::Windows { .. } => own.clone(),
        })
        .collect();
    let box_bytes = cut.iter().map(longest).fold(element, u64::saturating_mul).max(1);
    let boxes = cut.iter().map(Splits::count).fold(1, u64::saturating_mul);
    let mut group = (reads_max / box_bytes).min(boxes / groups_min.max(1)).max(1);
    // Blocks are numbered with the last axis first.
    let mut order: Vec<(u8, usize)> = (wanted.iter().enumerate())
        .filter_map(|(own, rule)| match rule {
            AxisRule::Along { axis, .. } => Some((*axis, own)),
            AxisRule::Fixed { .. } | AxisRule::Windows { .. } => None,
        })
        .collect();
    order.sort_unstable_by_key(|&key| std::cmp::Reverse(key));
    for (_, axis) in order {
        let count = cut[axis].count();
        let size = group.min(count).max(1);
        if size > 1 {
            cut[axis] = merged(&cut[axis], size);
        }
        // Part of an axis: the next block along an earlier one is no neighbour.
        if size < count {
            break;
        }
        group /= size;
    }
    cut
}

/// What all blocks together read, in units of what they need, if reads come in whole `pieces`.
pub(crate) fn read_factor(cuts: &[AxisRule], pieces: &[Splits], grid: &BlockGrid) -> f64 {
    let mut factor = 1.0;
    let mut used = vec![false; grid.shape().len()];
    for (cut, own) in cuts.iter().zip(pieces) {
        let covering = |range: std::ops::Range<u64>| {
            let blocks = own.overlapping(range);
            if blocks.is_empty() { 0 } else { own.range(blocks.end - 1).end - own.range(blocks.start).start }
        };
        match cut {
            AxisRule::Along { axis, splits } => {
                used[*axis as usize] = true;
                if splits == own {
                    continue;
                }
                let (mut read, mut needed) = (0u64, 0u64);
                for block in 0..splits.count() {
                    let range = splits.range(block);
                    needed += range.end - range.start;
                    read += covering(range);
                }
                factor *= read as f64 / needed.max(1) as f64;
            }
            AxisRule::Windows { axis, ranges } => {
                used[*axis as usize] = true;
                let needed: u64 = ranges.iter().map(|r| r.end - r.start).sum();
                let read: u64 = ranges.iter().map(|r| covering(r.clone())).sum();
                factor *= read as f64 / needed.max(1) as f64;
            }
            AxisRule::Fixed { start, end } if end > start => {
                factor *= covering(*start..*end) as f64 / (end - start) as f64;
            }
            AxisRule::Fixed { .. } => {}
        }
    }
    // Blocks along an axis that the input does not have read it again and again.
    let repeats: u64 =
        grid.shape().iter().zip(&used).filter(|(_, used)| !**used).map(|(&n, _)| n.max(1)).product();
    factor * repeats as f64
}

/// Elements of the whole input that some block reads.
pub(crate) fn extent(cuts: &[AxisRule]) -> u64 {
    cuts.iter()
        .map(|cut| match cut {
            AxisRule::Along { splits, .. } => {
                length(splits) - bounds(splits).first().copied().unwrap_or(0).min(length(splits))
            }
            AxisRule::Fixed { start, end } => end - start,
            AxisRule::Windows { .. } => {
                let range = span(cut);
                range.end - range.start
            }
        })
        .product()
}

pub(crate) fn longest_of(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|r| r.end - r.start).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_merge_in_groups() {
        let splits = Splits::Regular { chunk: 3, length: 20 };
        assert_eq!(merged(&splits, 2), Splits::Regular { chunk: 6, length: 20 });
        let listed = Splits::Listed { bounds: vec![0, 1, 5, 6, 9] };
        assert_eq!(bounds(&merged(&listed, 3)), [0, 6, 9]);
    }

    #[test]
    fn slabs_are_read_together_where_their_pieces_would_be_small() {
        let own = [Splits::Regular { chunk: 1, length: 400 }, Splits::Regular { chunk: 720, length: 720 }];
        let along = |axis, chunk, length| AxisRule::Along { axis, splits: Splits::Regular { chunk, length } };
        let tiles = [along(0, 400, 400), along(1, 36, 720)];
        let slabs = |chunk| [Splits::Regular { chunk, length: 400 }, own[1].clone()];
        assert_eq!(gathered(&own, &tiles, 1000, u64::MAX), slabs(2), "pieces of 36 kB become 72 kB");
        assert_eq!(gathered(&own, &tiles, 4, u64::MAX), slabs(8), "48 blocks are left for the workers");
        assert_eq!(gathered(&own, &tiles, 4, 10_000), slabs(3), "no more than a worker can hold");
        assert_eq!(gathered(&own, &tiles, 100_000, u64::MAX), own, "pieces are large");
        let rows = [along(0, 1, 400), along(1, 36, 720)];
        assert_eq!(gathered(&own, &rows, 4, u64::MAX), own, "nothing is put together along time");
    }

    #[test]
    fn reading_a_slab_for_each_point_is_costly() {
        // 4 slabs along axis 0; blocks take everything along axis 0 and a quarter of axis 1.
        let stored = [Splits::Regular { chunk: 25, length: 100 }, Splits::Regular { chunk: 80, length: 80 }];
        let all = AxisRule::Along { axis: 0, splits: Splits::Regular { chunk: 100, length: 100 } };
        let quarter = AxisRule::Along { axis: 1, splits: Splits::Regular { chunk: 20, length: 80 } };
        let factor = read_factor(&[all, quarter], &stored, &BlockGrid::new([1, 4]));
        assert!((factor - 4.0).abs() < 1e-12, "{factor}");
    }
}
