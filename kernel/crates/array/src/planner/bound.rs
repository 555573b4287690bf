//! Owns upper limits of memory: the largest box a block may need.

use nuna_chunk::DType;
use nuna_plan::Splits;
use smallvec::SmallVec;

use crate::{grid::longest, planner::cuts::longest_of, program::AxisRule};

/// Longest extent along each axis over all blocks.
pub(crate) fn longest_box(cuts: &[AxisRule]) -> SmallVec<[u64; 6]> {
    cuts.iter()
        .map(|cut| match cut {
            AxisRule::Along { splits, .. } => longest(splits),
            AxisRule::Fixed { start, end } => end - start,
            AxisRule::Windows { ranges, .. } => longest_of(ranges),
        })
        .collect()
}

/// Bytes of the blocks, cut by `axes`, that a block is given at most.
pub(crate) fn given(cuts: &[AxisRule], axes: &[Splits], dtype: DType) -> u64 {
    let covering = |own: &Splits, range: std::ops::Range<u64>| {
        let blocks = own.overlapping(range);
        if blocks.is_empty() { 0 } else { own.range(blocks.end - 1).end - own.range(blocks.start).start }
    };
    cuts.iter().zip(axes).fold(dtype.size() as u64, |bytes, (cut, own)| {
        let most = match cut {
            AxisRule::Along { splits, .. } if splits == own => longest(own),
            AxisRule::Along { splits, .. } => {
                (0..splits.count()).map(|b| covering(own, splits.range(b))).max().unwrap_or(0)
            }
            AxisRule::Fixed { start, end } => covering(own, *start..*end),
            AxisRule::Windows { ranges, .. } => {
                ranges.iter().map(|range| covering(own, range.clone())).max().unwrap_or(0)
            }
        };
        bytes.saturating_mul(most)
    })
}
