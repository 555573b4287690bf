//! Owns the shell for operations that are a function of ours over blocks: what of each input a block reads, how much memory
//! it takes, and how axes are put into one chunk for functions along whole axes.

use std::sync::Arc;

use nuna_chunk::{Chunk, DType, Shape};
use nuna_plan::Splits;
use nuna_ship::{Call, Ship};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    array::{Array, Block, run_block},
    error::{ArrayError, ArrayErrorKind},
    expr::{Expr, Op},
    grid::{ChunkGrid, bounds, longest},
    planner::own_cuts,
    program::AxisRule,
};

/// Blocks in which an axis is whole have no more bytes than this, as far as other axes can be cut.
const WHOLE_BYTES: u64 = 64 << 20;

/// What a function over blocks makes.
pub(crate) struct Routine {
    /// As a person would write it: `sort(0)`.
    pub(crate) name: String,
    pub(crate) dtype: DType,
    /// How the result is cut.
    pub(crate) grid: ChunkGrid,
    /// Bytes the function takes for a block at most, besides its inputs and its result.
    pub(crate) scratch: u64,
}

/// What of an input the blocks of a result read.
pub(crate) enum Reads {
    /// The block at the same place.
    Own,
    /// One rule per axis of the input. Windows must ascend.
    Rules(Vec<AxisRule>),
}

/// The array whose blocks `function` makes from the parts of `inputs` that each block reads. Blocks of the result are numbered
/// in row-major order.
///
/// # Errors
/// If the environment cannot be serialised.
pub(crate) fn routine<E, F>(
    inputs: Vec<(Array, Reads)>,
    routine: Routine,
    environment: &E,
    function: F,
) -> Result<Array, ArrayError>
where
    E: Serialize + DeserializeOwned + Send + Sync + 'static,
    F: Fn(&E, Block<'_>) -> Result<Chunk, String> + Copy + Ship + 'static,
{
    let call =
        Call::over_blocks_with(environment, move |environment: &E, index, values: &[nuna_plan::Value]| {
            run_block(index, values, &|block: Block<'_>| function(environment, block))
        })?;
    Ok(packed(inputs, routine, call))
}

/// What is not compiled beside every function.
fn packed(inputs: Vec<(Array, Reads)>, routine: Routine, call: Call) -> Array {
    let Routine { name, dtype, grid, scratch } = routine;
    let (mut nodes, mut reads) = (Vec::with_capacity(inputs.len()), Vec::with_capacity(inputs.len()));
    for (input, rules) in inputs {
        let rules = match rules {
            Reads::Own => {
                assert_eq!(input.chunks().block_grid(), grid.block_grid(), "blocks of `{name}`");
                own_cuts(input.chunks())
            }
            Reads::Rules(rules) => rules,
        };
        assert_eq!(rules.len(), input.ndim(), "rules of `{name}`");
        reads.push(rules);
        nodes.push(input.node.clone());
    }
    let op = Op::Opaque { inputs: nodes, reads, call: Arc::new(call), name, scratch, lines: None };
    Array::from_node(Expr::new(op, dtype, grid))
}

/// What a function over whole axes makes of each block.
pub(crate) struct AlongAxes<'a> {
    pub(crate) name: &'a str,
    pub(crate) axes: &'a [usize],
    pub(crate) dtype: DType,
    /// Lengths of these axes in the result; `None`: an axis is gone.
    pub(crate) lengths: &'a [Option<u64>],
    /// Bytes it takes per byte of its input, besides input and result.
    pub(crate) scratch: u64,
}

impl Array {
    /// The same array with `axes` in one chunk each. Other axes are cut further where blocks would become too large.
    pub(crate) fn whole_along(&self, axes: &[usize]) -> Array {
        let own = self.chunks().axes();
        let mut chunk: Shape = self.chunks().chunk_shape();
        for &axis in axes {
            chunk[axis] = self.shape()[axis];
        }
        let whole = axes.iter().all(|&axis| own[axis].count() <= 1);
        let bytes = |chunk: &Shape| {
            chunk.iter().fold(self.dtype().size() as u64, |bytes, &n| bytes.saturating_mul(n.max(1)))
        };
        if whole && bytes(&chunk) <= 2 * WHOLE_BYTES {
            return self.clone();
        }
        let mut cut = false;
        while bytes(&chunk) > WHOLE_BYTES {
            // The first axis that can be cut: what is left stays together in memory.
            let Some(axis) = (0..self.ndim()).find(|axis| !axes.contains(axis) && chunk[*axis] > 1) else {
                break;
            };
            let others = bytes(&chunk) / chunk[axis];
            chunk[axis] = (WHOLE_BYTES / others.max(1)).clamp(1, chunk[axis] - 1);
            cut = true;
        }
        let splits = own.iter().enumerate().map(|(axis, own)| match axes.contains(&axis) {
            true => Splits::Regular { chunk: chunk[axis].max(1), length: self.shape()[axis] },
            false if cut && chunk[axis] < longest(own) => {
                Splits::Regular { chunk: chunk[axis].max(1), length: self.shape()[axis] }
            }
            false => own.clone(),
        });
        self.rechunk_to(ChunkGrid::from_axes(splits.collect()))
    }

    /// A function of blocks in which `along.axes` are whole.
    ///
    /// # Errors
    /// If an axis is out of range or named twice.
    pub(crate) fn over_axes<E, F>(
        &self,
        along: &AlongAxes<'_>,
        environment: &E,
        function: F,
    ) -> Result<Array, ArrayError>
    where
        E: Serialize + DeserializeOwned + Send + Sync + 'static,
        F: Fn(&E, Block<'_>) -> Result<Chunk, String> + Copy + Ship + 'static,
    {
        let (input, reads, routine_of) = self.prepare(along)?;
        routine(vec![(input, Reads::Rules(reads))], routine_of, environment, function)
    }

    fn prepare(&self, along: &AlongAxes<'_>) -> Result<(Array, Vec<AxisRule>, Routine), ArrayError> {
        for (i, &axis) in along.axes.iter().enumerate() {
            self.check_axis(axis)?;
            if along.axes[..i].contains(&axis) {
                return Err(ArrayErrorKind::AxisRepeated { axis, axes: along.axes.to_vec() }.into());
            }
        }
        let input = self.whole_along(along.axes);
        let (mut reads, mut grid) = (Vec::new(), Vec::new());
        for (axis, splits) in input.chunks().axes().iter().enumerate() {
            match along.axes.iter().position(|&a| a == axis) {
                None => {
                    reads.push(AxisRule::Along { axis: grid.len() as u8, splits: splits.clone() });
                    grid.push(splits.clone());
                }
                Some(place) => {
                    reads.push(AxisRule::Fixed { start: 0, end: input.shape()[axis] });
                    if let Some(length) = along.lengths[place] {
                        grid.push(Splits::Regular { chunk: length.max(1), length });
                    }
                }
            }
        }
        let block =
            input.chunks().chunk_shape().iter().fold(self.dtype().size() as u64, |b, &n| b * n.max(1));
        let axes: Vec<String> = along.axes.iter().map(ToString::to_string).collect();
        let routine = Routine {
            name: format!("{}({})", along.name, axes.join(",")),
            dtype: along.dtype,
            grid: ChunkGrid::from_axes(grid),
            scratch: block.saturating_mul(along.scratch),
        };
        Ok((input, reads, routine))
    }
}

/// For each block of `splits` the elements that reach `before` and `after` it, within the axis.
pub(crate) fn halo(splits: &Splits, before: u64, after: u64) -> Vec<std::ops::Range<u64>> {
    let cuts = bounds(splits);
    let length = cuts.last().copied().unwrap_or(0);
    cuts.windows(2)
        .map(|cut| cut[0].saturating_sub(before)..cut[1].saturating_add(after).min(length))
        .collect()
}
