//! Owns the maps from a block to the blocks it reads, and back. They are computed, never stored: a stage of a
//! million blocks costs one map.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::grid::BlockGrid;

/// Which blocks of an input a block of the output reads. Values arrive in row-major order of the input's grid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlockMap {
    /// Block *i* reads block *i*; both grids are equal.
    Same,
    /// One rule per axis of the *input*; the blocks read are the box the rules span.
    Axes { input_grid: BlockGrid, axes: Vec<AxisMap> },
}

/// The blocks read along one axis of the input. `axis` always names an axis of the output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AxisMap {
    /// All blocks along the axis.
    All,
    /// These blocks, whatever the output block.
    Fixed { start: u64, end: u64 },
    /// The block with the output's coordinate on `axis`, plus `offset`; none where that is outside.
    Along { axis: u8, offset: i64 },
    /// `size` neighbouring blocks per output block (fewer at the end): one level of a reduction tree.
    Group { axis: u8, size: u64 },
    /// The blocks that hold the elements of the output's block, both axes cut as `output` and `input` say.
    Overlap { axis: u8, output: Splits, input: Splits },
    /// The block with coordinate *c* on `axis` reads `ranges[c]`. Starts ascend and so do ends, so that who reads a block is a
    /// range too; ranges may overlap.
    Windows { axis: u8, ranges: Vec<Range<u64>> },
}

/// Where an axis of elements is cut into blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Splits {
    /// Blocks of `chunk` elements, the last one shorter.
    Regular { chunk: u64, length: u64 },
    /// Block *i* is `bounds[i]..bounds[i + 1]`; bounds ascend.
    Listed { bounds: Vec<u64> },
}

impl Splits {
    /// How many blocks there are.
    pub fn count(&self) -> u64 {
        match self {
            Splits::Regular { chunk, length } => length.div_ceil((*chunk).max(1)),
            Splits::Listed { bounds } => bounds.len().saturating_sub(1) as u64,
        }
    }

    /// Whether these are cuts into `blocks` blocks.
    fn check(&self, blocks: u64) -> Result<(), String> {
        match self {
            Splits::Regular { chunk: 0, .. } => return Err("cuts make blocks of no elements".to_owned()),
            Splits::Listed { bounds } if !bounds.is_sorted() => return Err("cuts do not ascend".to_owned()),
            Splits::Regular { .. } | Splits::Listed { .. } => {}
        }
        match self.count() {
            count if count == blocks => Ok(()),
            count => Err(format!("cuts make {count} blocks of a grid's {blocks}")),
        }
    }

    /// Elements of block `block`.
    pub fn range(&self, block: u64) -> Range<u64> {
        match self {
            Splits::Regular { chunk, length } => {
                (block * chunk).min(*length)..(block.saturating_add(1).saturating_mul(*chunk)).min(*length)
            }
            Splits::Listed { bounds } => bounds[block as usize]..bounds[block as usize + 1],
        }
    }

    /// Blocks that hold any of `elements`; empty for an empty range.
    pub fn overlapping(&self, elements: Range<u64>) -> Range<u64> {
        if elements.is_empty() {
            return 0..0;
        }
        match self {
            // What lies beyond the end is in no block.
            Splits::Regular { length, .. } if elements.start >= *length => 0..0,
            Splits::Regular { chunk, .. } => {
                let chunk = (*chunk).max(1);
                elements.start / chunk..elements.end.div_ceil(chunk).min(self.count())
            }
            Splits::Listed { bounds } => {
                let first = bounds.partition_point(|&bound| bound <= elements.start).saturating_sub(1);
                let end = bounds.partition_point(|&bound| bound < elements.end);
                first as u64..(end as u64).min(self.count())
            }
        }
    }
}

impl AxisMap {
    /// The axis of the output that the rule follows, if it follows one.
    pub fn output_axis(&self) -> Option<u8> {
        match self {
            AxisMap::All | AxisMap::Fixed { .. } => None,
            AxisMap::Along { axis, .. }
            | AxisMap::Group { axis, .. }
            | AxisMap::Overlap { axis, .. }
            | AxisMap::Windows { axis, .. } => Some(*axis),
        }
    }

    /// Whether the rule is one for an input of `count` blocks along its axis, read by blocks of `output`, of which it names
    /// an axis that is there. What passes can be asked for any block of both without a panic.
    pub(crate) fn check(&self, output: &BlockGrid, count: u64) -> Result<(), String> {
        match self {
            AxisMap::All | AxisMap::Fixed { .. } => Ok(()),
            AxisMap::Along { offset, .. } if *offset == i64::MIN => {
                Err("its offset has no opposite".to_owned())
            }
            AxisMap::Along { .. } => Ok(()),
            AxisMap::Group { size: 0, .. } => Err("it reads groups of no blocks".to_owned()),
            AxisMap::Group { .. } => Ok(()),
            AxisMap::Overlap { axis, output: cuts, input } => {
                cuts.check(output.shape()[*axis as usize])
                    .map_err(|reason| format!("its readers' {reason}"))?;
                input.check(count).map_err(|reason| format!("its {reason}"))
            }
            AxisMap::Windows { axis, ranges } => {
                let blocks = output.shape()[*axis as usize];
                if ranges.len() as u64 != blocks {
                    return Err(format!("it has {} windows for {blocks} blocks", ranges.len()));
                }
                if ranges.iter().any(|r| r.start > r.end || r.end > count) {
                    return Err(format!("a window is not within {count} blocks"));
                }
                match ranges.windows(2).all(|w| w[0].start <= w[1].start && w[0].end <= w[1].end) {
                    true => Ok(()),
                    false => Err("its windows do not ascend".to_owned()),
                }
            }
        }
    }

    fn reads(&self, output: &[u64], count: u64) -> Range<u64> {
        match self {
            AxisMap::All => 0..count,
            AxisMap::Fixed { start, end } => *start..(*end).min(count),
            AxisMap::Along { axis, offset } => match output[*axis as usize].checked_add_signed(*offset) {
                Some(block) if block < count => block..block + 1,
                _ => 0..0,
            },
            AxisMap::Group { axis, size } => {
                let first = output[*axis as usize].saturating_mul(*size);
                first.min(count)..first.saturating_add(*size).min(count)
            }
            AxisMap::Overlap { axis, output: cuts, input } => {
                input.overlapping(cuts.range(output[*axis as usize]))
            }
            AxisMap::Windows { axis, ranges } => ranges[output[*axis as usize] as usize].clone(),
        }
    }

    /// Output coordinates on the named axis that read `input`, or `None` if the rule names no axis.
    fn read_by(&self, input: u64, output_grid: &BlockGrid) -> Option<(u8, Range<u64>)> {
        let clamp = |axis: u8, range: Range<u64>| {
            let count = output_grid.shape()[axis as usize];
            Some((axis, range.start.min(count)..range.end.min(count)))
        };
        match self {
            AxisMap::All | AxisMap::Fixed { .. } => None,
            AxisMap::Along { axis, offset } => match input.checked_add_signed(-offset) {
                Some(block) => clamp(*axis, block..block + 1),
                None => Some((*axis, 0..0)),
            },
            AxisMap::Group { axis, size } => clamp(*axis, input / size..input / size + 1),
            AxisMap::Overlap { axis, output, input: cuts } => {
                let mut blocks = output.overlapping(cuts.range(input));
                // Blocks of no elements, at the ends of what reads this input, read nothing.
                while !blocks.is_empty() && output.range(blocks.start).is_empty() {
                    blocks.start += 1;
                }
                while !blocks.is_empty() && output.range(blocks.end - 1).is_empty() {
                    blocks.end -= 1;
                }
                clamp(*axis, blocks)
            }
            AxisMap::Windows { axis, ranges } => {
                let first = ranges.partition_point(|r| r.end <= input);
                let end = ranges.partition_point(|r| r.start <= input);
                Some((*axis, first as u64..end.max(first) as u64))
            }
        }
    }
}

impl BlockMap {
    /// The box of input blocks that output block `block` reads: one range per input axis.
    ///
    /// `output` is the grid of the stage that reads. For [`BlockMap::Same`] it is the input's grid too.
    pub fn reads(&self, output: &BlockGrid, block: u64) -> SmallVec<[Range<u64>; 6]> {
        let coords = output.coords(block);
        match self {
            BlockMap::Same => coords.iter().map(|&c| c..c + 1).collect(),
            BlockMap::Axes { input_grid, axes } => {
                axes.iter().zip(input_grid.shape()).map(|(axis, &n)| axis.reads(&coords, n)).collect()
            }
        }
    }

    /// The numbers of the input blocks that output block `block` reads, in row-major order.
    pub fn read_indices(&self, output: &BlockGrid, block: u64) -> Vec<u64> {
        match self {
            BlockMap::Same => vec![block],
            BlockMap::Axes { input_grid, .. } => {
                let ranges = self.reads(output, block);
                input_grid.indices_in(&ranges).collect()
            }
        }
    }

    /// How many input blocks output block `block` reads, without listing them.
    pub fn read_count(&self, output: &BlockGrid, block: u64) -> u64 {
        match self {
            BlockMap::Same => 1,
            BlockMap::Axes { .. } => {
                self.reads(output, block).iter().map(|r| r.end.saturating_sub(r.start)).product()
            }
        }
    }

    /// Whether no output block at all reads input block `block`, because a fixed range leaves it out. An output without
    /// axes cannot say so by an empty box, so ask this before [`readers`](Self::readers).
    pub fn leaves_out(&self, block: u64) -> bool {
        match self {
            BlockMap::Same => false,
            BlockMap::Axes { input_grid, axes } => axes.iter().zip(input_grid.coords(block)).any(
                |(axis, coord)| matches!(axis, AxisMap::Fixed { start, end } if !(*start..*end).contains(&coord)),
            ),
        }
    }

    /// The box of output blocks that read input block `block`: one range per output axis.
    pub fn readers(&self, output: &BlockGrid, block: u64) -> SmallVec<[Range<u64>; 6]> {
        match self {
            BlockMap::Same => output.coords(block).iter().map(|&c| c..c + 1).collect(),
            BlockMap::Axes { input_grid, axes } => {
                let coords = input_grid.coords(block);
                let mut ranges: SmallVec<[Range<u64>; 6]> = output.shape().iter().map(|&n| 0..n).collect();
                for (axis, &coord) in axes.iter().zip(&coords) {
                    match axis.read_by(coord, output) {
                        Some((axis, range)) => {
                            let held = &mut ranges[axis as usize];
                            *held = held.start.max(range.start)..held.end.min(range.end);
                            held.end = held.end.max(held.start);
                        }
                        None => {
                            if let AxisMap::Fixed { start, end } = axis
                                && !(*start..*end).contains(&coord)
                            {
                                ranges.iter_mut().for_each(|r| *r = 0..0);
                            }
                        }
                    }
                }
                ranges
            }
        }
    }

    /// The numbers of the output blocks that read input block `block`, in row-major order.
    pub fn reader_indices(&self, output: &BlockGrid, block: u64) -> Vec<u64> {
        if self.leaves_out(block) {
            return Vec::new();
        }
        let ranges = self.readers(output, block);
        output.indices_in(&ranges).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `readers` must be the inverse of `reads` for every block of both grids.
    fn assert_inverse(map: &BlockMap, input: &BlockGrid, output: &BlockGrid) {
        for to in 0..output.count() {
            let reads = map.read_indices(output, to);
            assert_eq!(reads.len() as u64, map.read_count(output, to));
            for from in 0..input.count() {
                assert_eq!(
                    reads.contains(&from),
                    map.reader_indices(output, from).contains(&to),
                    "{map:?}: input {from}, output {to}"
                );
            }
        }
    }

    #[test]
    fn readers_invert_reads() {
        let (a, b) = (BlockGrid::new([4, 5]), BlockGrid::new([4, 2]));
        let group = vec![AxisMap::Along { axis: 0, offset: 0 }, AxisMap::Group { axis: 1, size: 3 }];
        assert_inverse(&BlockMap::Axes { input_grid: a.clone(), axes: group }, &a, &b);
        let shifted = vec![AxisMap::Along { axis: 0, offset: -1 }, AxisMap::All];
        assert_inverse(&BlockMap::Axes { input_grid: a.clone(), axes: shifted }, &a, &b);
        let fixed = vec![AxisMap::Fixed { start: 1, end: 3 }, AxisMap::Along { axis: 1, offset: 2 }];
        assert_inverse(&BlockMap::Axes { input_grid: a.clone(), axes: fixed }, &a, &b);
        assert_inverse(&BlockMap::Same, &a, &a);
    }

    #[test]
    fn blocks_of_no_elements_at_the_ends_read_nothing() {
        // The second of three joined parts, which has one element of an input of one block.
        let cuts = Splits::Listed { bounds: vec![0, 0, 1, 1] };
        let rule = AxisMap::Overlap { axis: 0, output: cuts, input: Splits::Regular { chunk: 2, length: 2 } };
        let (input, output) = (BlockGrid::new([1]), BlockGrid::new([3]));
        assert_inverse(&BlockMap::Axes { input_grid: input.clone(), axes: vec![rule] }, &input, &output);
        // Elements 0 to 4 in steps of 3, of an input of blocks of one element.
        let cuts = Splits::Regular { chunk: 3, length: 4 };
        let rule =
            AxisMap::Overlap { axis: 0, output: cuts, input: Splits::Regular { chunk: 1, length: 12 } };
        let (input, output) = (BlockGrid::new([12]), BlockGrid::new([2]));
        assert_inverse(&BlockMap::Axes { input_grid: input.clone(), axes: vec![rule] }, &input, &output);
    }

    #[test]
    fn a_scalar_may_read_one_block_of_several() {
        let input = BlockGrid::new([5]);
        let map =
            BlockMap::Axes { input_grid: input.clone(), axes: vec![AxisMap::Fixed { start: 2, end: 3 }] };
        assert_inverse(&map, &input, &BlockGrid::new([]));
        assert!(map.leaves_out(1) && !map.leaves_out(2));
    }

    #[test]
    fn overlaps_follow_the_elements() {
        let input = Splits::Regular { chunk: 3, length: 10 };
        let output = Splits::Listed { bounds: vec![0, 4, 5, 10] };
        assert_eq!(input.count(), 4);
        assert_eq!(input.overlapping(output.range(0)), 0..2);
        assert_eq!(input.overlapping(output.range(1)), 1..2);
        assert_eq!(input.overlapping(output.range(2)), 1..4);
        assert_eq!(output.overlapping(3..6), 0..3);
        let (a, b) = (BlockGrid::line(4), BlockGrid::line(3));
        let axes = vec![AxisMap::Overlap { axis: 0, output, input }];
        assert_inverse(&BlockMap::Axes { input_grid: a.clone(), axes }, &a, &b);
    }

    #[test]
    fn windows_may_overlap_and_be_empty() {
        let (input, output) = (BlockGrid::new([5, 2]), BlockGrid::new([2, 4]));
        let ranges = vec![0..2, 1..4, 4..4, 4..5];
        let axes =
            vec![AxisMap::Windows { axis: 1, ranges: ranges.clone() }, AxisMap::Along { axis: 0, offset: 0 }];
        assert_inverse(&BlockMap::Axes { input_grid: input, axes }, &BlockGrid::new([5, 2]), &output);
        let check = |ranges| AxisMap::Windows { axis: 1, ranges }.check(&output, 5);
        assert!(check(ranges).is_ok());
        assert!(check(vec![0..2, 1..4, 0..4, 4..5]).is_err(), "they do not ascend");
        assert!(check(vec![0..2, 1..4]).is_err(), "too few");
        assert!(check(vec![0..2, 1..4, 4..5, 4..6]).is_err(), "there are five blocks");
    }

    #[test]
    fn a_reduction_to_a_scalar_reads_everything() {
        let input = BlockGrid::new([2, 3]);
        let map = BlockMap::Axes { input_grid: input.clone(), axes: vec![AxisMap::All, AxisMap::All] };
        assert_eq!(map.read_indices(&BlockGrid::new([]), 0), (0..6).collect::<Vec<_>>());
        assert_inverse(&map, &input, &BlockGrid::new([]));
    }
}
