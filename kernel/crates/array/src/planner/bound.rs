//! Owns upper limits of memory: the largest box a block may need.

use std::{collections::BTreeMap, ops::Range};

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

/// What a node that reads blocks of another stage is given.
pub(crate) struct Given {
    pub(crate) node: usize,
    pub(crate) bytes: u64,
    /// By axis of the stage's grid: the blocks from the first to the last that are given any.
    pub(crate) blocks: SmallVec<[(u8, Range<u64>); 6]>,
}

/// A node that joins others.
pub(crate) struct Join {
    pub(crate) node: usize,
    pub(crate) members: Vec<Member>,
}

/// One of those: the nodes that only it needs, and the blocks that need it.
pub(crate) struct Member {
    pub(crate) nodes: Range<usize>,
    pub(crate) axis: u8,
    pub(crate) blocks: Range<u64>,
}

/// The sum of what nodes cost a block, where of the members of joins only those count that lie in one block; nodes that are
/// not `alone` there count always.
pub(crate) fn with_joins(mut costs: Vec<u64>, joins: &[Join], alone: impl Fn(usize, &Member) -> bool) -> u64 {
    // Joins within joins come first.
    for join in joins {
        let mut changes: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for member in &join.members {
            if !member.nodes.clone().all(|node| alone(node, member)) {
                continue;
            }
            let cost = member.nodes.clone().map(|node| costs[node]).fold(0, u64::saturating_add);
            costs[member.nodes.clone()].fill(0);
            let (more, less) = (changes.entry(member.blocks.start).or_default(), cost);
            more.0 = more.0.saturating_add(less);
            let less = changes.entry(member.blocks.end).or_default();
            less.1 = less.1.saturating_add(cost);
        }
        let (mut now, mut most) = (0u64, 0u64);
        for (more, less) in changes.into_values() {
            now = now.saturating_add(more).saturating_sub(less);
            most = most.max(now);
        }
        costs[join.node] = costs[join.node].saturating_add(most);
    }
    costs.into_iter().fold(0, u64::saturating_add)
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
