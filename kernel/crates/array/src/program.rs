//! Owns a stage's work as data: what a worker evaluates for each block. The planner writes programs, the executor
//! runs them.

use std::ops::Range;

use nuna_chunk::{DType, Region, Scalar, Shape, assemble::Stride, reduce::Reduction, tile};
use nuna_plan::Splits;
use nuna_ship::Call;
use serde::{Deserialize, Serialize};

use crate::{sink::SinkSpec, source::SourceSpec};

/// The elements along one axis that a block covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AxisRule {
    /// Those of the block's coordinate on `axis` of the stage's grid.
    Along { axis: u8, splits: Splits },
    /// The same for all blocks.
    Fixed { start: u64, end: u64 },
    /// `ranges[c]` for blocks of coordinate *c* on `axis` of the stage's grid. Starts and ends ascend; ranges may overlap.
    Windows { axis: u8, ranges: Vec<Range<u64>> },
}

impl AxisRule {
    /// The box of a block of the stage.
    pub(crate) fn region(rules: &[AxisRule], coords: &[u64]) -> Region {
        Region::new(rules.iter().map(|rule| match rule {
            AxisRule::Along { axis, splits } => splits.range(coords[*axis as usize]),
            AxisRule::Fixed { start, end } => *start..*end,
            AxisRule::Windows { axis, ranges } => ranges[coords[*axis as usize] as usize].clone(),
        }))
    }

    /// The same for a stage whose axes are elsewhere in its grid.
    pub(crate) fn placed(&self, place: impl Fn(u8) -> u8) -> Self {
        match self {
            AxisRule::Along { axis, splits } => {
                AxisRule::Along { axis: place(*axis), splits: splits.clone() }
            }
            AxisRule::Fixed { .. } => self.clone(),
            AxisRule::Windows { axis, ranges } => {
                AxisRule::Windows { axis: place(*axis), ranges: ranges.clone() }
            }
        }
    }

    /// Windows, or what covers them all if they do not ascend.
    pub(crate) fn windows(axis: u8, mut ranges: Vec<Range<u64>>) -> Self {
        // An empty window lies where the one before ends, so that it is in no one's way.
        let mut before = 0;
        for range in &mut ranges {
            if range.is_empty() {
                *range = before..before;
            }
            before = range.end;
        }
        if ranges.windows(2).all(|w| w[0].start <= w[1].start && w[0].end <= w[1].end) {
            return AxisRule::Windows { axis, ranges };
        }
        let full = ranges.iter().filter(|r| !r.is_empty());
        let (start, end) = full.fold((u64::MAX, 0), |(low, high), r| (low.min(r.start), high.max(r.end)));
        AxisRule::Fixed { start: start.min(end), end }
    }
}

/// A value that can be asked for any box of its elements. Inputs are earlier nodes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ProgramNode {
    pub(crate) step: Step,
    pub(crate) dtype: DType,
    pub(crate) shape: Shape,
    /// How many nodes and heads read it; kept while a block runs if several do.
    pub(crate) uses: u32,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Step {
    /// Elements of `Program::sources[source]`.
    Read {
        source: u32,
    },
    /// Put together from the blocks of the stage's input number `input`, which is cut like this. Its grid has the axes in
    /// `order`; in their own if there is none.
    Input {
        input: u32,
        axes: Vec<Splits>,
        order: Vec<u8>,
    },
    Full(Scalar),
    Range {
        start: Scalar,
        step: Scalar,
    },
    Map {
        program: tile::Program,
        inputs: Vec<u32>,
    },
    Stride {
        input: u32,
        axes: Vec<Stride>,
    },
    Take {
        input: u32,
        axis: u32,
        indices: Vec<u64>,
    },
    Transpose {
        input: u32,
        order: Vec<u32>,
    },
    Reshape {
        input: u32,
        axes: Vec<Option<u32>>,
    },
    Broadcast {
        input: u32,
    },
    Concat {
        inputs: Vec<u32>,
        axis: u32,
    },
}

/// A node, and the box of it that a block needs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Root {
    pub(crate) node: u32,
    pub(crate) region: Vec<AxisRule>,
}

/// What becomes of the roots.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Head {
    /// The block is the root's box.
    Emit(Root),
    /// The block is the partial result over the root's box, taken in piece by piece as `pieces` cuts it, so that no more
    /// than a piece is in memory.
    Partial {
        root: Root,
        pieces: Vec<Splits>,
        reduction: Reduction,
        reduced: Vec<bool>,
        finish: Option<Finish>,
    },
    /// The block is the partial results of several reductions over the same box, one after another. Taken in piece by piece,
    /// as `pieces` cuts all axes.
    Partials { heads: Vec<PartialHead>, pieces: Vec<Splits> },
    /// The block is the merged partial results of the stage's only input, in their order.
    Merge {
        cells: Vec<AxisRule>,
        /// Which chunks of an input's block are to be merged, from the first to before the second; all of them if nothing
        /// is said.
        parts: Option<(u32, u32)>,
        reduction: Reduction,
        reduced: Vec<bool>,
        finish: Option<Finish>,
    },
    /// The block is what the function returns; its shape is `shape`. The stage's grid has the axes in `order`, or in their
    /// own; the function is told the block's number in the latter. If only a part of the blocks is made, its first along
    /// each axis is `first`.
    Call { roots: Vec<Root>, call: Call, dtype: DType, shape: Vec<Splits>, order: Vec<u8>, first: Vec<u64> },
    /// The root's box is written; the block is empty.
    Write { root: Root, sink: SinkSpec },
}

/// One of several reductions that are made of one reading.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PartialHead {
    pub(crate) root: Root,
    pub(crate) reduction: Reduction,
    pub(crate) reduced: Vec<bool>,
}

/// What the last step of a reduction does with the reduced axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Finish {
    DropAxes,
    KeepAxes,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Program {
    pub(crate) sources: Vec<SourceSpec>,
    pub(crate) nodes: Vec<ProgramNode>,
    pub(crate) head: Head,
}
