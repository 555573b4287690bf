//! Owns plans: stages in topological order, each a grid of blocks with its inputs, its work and its memory bound.

use serde::{Deserialize, Serialize};

use crate::{grid::BlockGrid, map::BlockMap};

/// One computation as the array crates or a task farm hand it over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What a person would call it; the dashboard shows it.
    pub label: String,
    /// In topological order: inputs name earlier stages only.
    pub stages: Vec<Stage>,
    pub terms: Terms,
}

/// On what terms a plan runs beside others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Plans of higher priority run first. Among equals clients take turns, then the plans of each.
    pub priority: i32,
    /// It goes on when whoever submitted it is gone, and delivers nothing.
    pub detached: bool,
    /// What each block takes from a worker, or from the cluster, for as long as it is with a worker: name and amount.
    pub needs: Vec<(String, u32)>,
}

/// A grid of blocks that all do the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Such as `read theta`, `mean(time)`; task keys are `name[block]`.
    pub name: String,
    pub grid: BlockGrid,
    pub inputs: Vec<Input>,
    pub work: Work,
    /// Per block; what a worker reserves before the block starts.
    pub bound: MemoryBound,
    pub keep: Keep,
    /// Further attempts after a failed one that was worth repeating.
    pub retries: u32,
    pub origin: Option<Origin>,
}

/// Where a stage's values come from, and which of them each block reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    pub source: Source,
    pub map: BlockMap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Source {
    /// An earlier stage of this plan.
    Stage(u32),
    /// A stage of an earlier plan whose blocks the workers hold.
    Held(HeldId),
}

/// Names the blocks that a stage with [`Keep::Hold`] left on the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HeldId(pub u64);

/// BLAKE3 of a cell's shared object.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LibraryId(pub [u8; 32]);

impl std::fmt::Debug for LibraryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for byte in &self.0[..8] {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    pub kind: WorkKind,
    /// For the executor of that kind; opaque to everyone else.
    pub payload: Vec<u8>,
    /// What a worker must have loaded before it prepares the stage, in this order.
    pub libraries: Vec<LibraryId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WorkKind {
    /// An array program (`nuna_array`).
    Array,
    /// A shipped closure per block (`nuna_ship`): the task farm.
    Call,
}

/// Upper limits in bytes for one block of a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryBound {
    pub inputs: u64,
    pub output: u64,
    pub scratch: u64,
}

impl MemoryBound {
    pub fn total(&self) -> u64 {
        self.inputs.saturating_add(self.output).saturating_add(self.scratch)
    }
}

/// What becomes of a block's value once its readers have run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keep {
    /// Freed when the last reader has run.
    No,
    /// Sent to the client as soon as it is there, then freed.
    Deliver,
    /// Stays on the workers under this id until released.
    Hold(HeldId),
}

/// The cell that built a stage, for error messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// `In [n]` of the notebook; 0 outside of one.
    pub cell: u32,
    pub line: u32,
}

/// A plan that no scheduler may accept. All of these are mistakes of the crate that built it, except for sizes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum PlanError {
    #[error("plan `{plan}` has no stages")]
    Empty { plan: String },
    #[error("stage {stage} (`{name}`) reads stage {source_stage}, which does not come before it")]
    NotTopological { stage: usize, name: String, source_stage: u32 },
    #[error(
        "stage {stage} (`{name}`) has {blocks} blocks, more than the {limit} that a plan may have; use larger chunks"
    )]
    TooManyBlocks { stage: usize, name: String, blocks: u64, limit: u64 },
    #[error(
        "stage {stage} (`{name}`): input {input} maps a grid of {found:?} blocks, but its source has {expected:?}"
    )]
    GridMismatch { stage: usize, name: String, input: usize, found: Vec<u64>, expected: Vec<u64> },
    #[error("stage {stage} (`{name}`): input {input} names axis {axis} of a grid with {axes} axes")]
    NoSuchAxis { stage: usize, name: String, input: usize, axis: u8, axes: usize },
    #[error("stage {stage} (`{name}`): input {input}, axis {axis}: {reason}")]
    BadRule { stage: usize, name: String, input: usize, axis: usize, reason: String },
}

impl Plan {
    /// More blocks than this in one stage are refused.
    pub const BLOCKS_MAX: u64 = 1 << 32;

    /// Checks what the scheduler relies on: order, sizes, and that maps fit the grids they join.
    ///
    /// # Errors
    /// The first [`PlanError`] found.
    pub fn validate(&self) -> Result<(), PlanError> {
        if self.stages.is_empty() {
            return Err(PlanError::Empty { plan: self.label.clone() });
        }
        for (number, stage) in self.stages.iter().enumerate() {
            let name = || stage.name.clone();
            let blocks = stage.grid.count();
            if blocks > Self::BLOCKS_MAX {
                return Err(PlanError::TooManyBlocks {
                    stage: number,
                    name: name(),
                    blocks,
                    limit: Self::BLOCKS_MAX,
                });
            }
            for (index, input) in stage.inputs.iter().enumerate() {
                let source_grid = match input.source {
                    Source::Stage(source) if (source as usize) < number => {
                        Some(&self.stages[source as usize].grid)
                    }
                    Source::Stage(source_stage) => {
                        return Err(PlanError::NotTopological { stage: number, name: name(), source_stage });
                    }
                    Source::Held(_) => None,
                };
                let found = match &input.map {
                    BlockMap::Same => &stage.grid,
                    BlockMap::Axes { input_grid, axes } => {
                        if axes.len() != input_grid.shape().len() {
                            return Err(PlanError::GridMismatch {
                                stage: number,
                                name: name(),
                                input: index,
                                found: vec![axes.len() as u64],
                                expected: vec![input_grid.shape().len() as u64],
                            });
                        }
                        for axis in axes.iter().filter_map(crate::map::AxisMap::output_axis) {
                            let axes = stage.grid.shape().len();
                            if axis as usize >= axes {
                                return Err(PlanError::NoSuchAxis {
                                    stage: number,
                                    name: name(),
                                    input: index,
                                    axis,
                                    axes,
                                });
                            }
                        }
                        for (axis, rule) in axes.iter().enumerate() {
                            rule.check(&stage.grid, input_grid.shape()[axis]).map_err(|reason| {
                                PlanError::BadRule { stage: number, name: name(), input: index, axis, reason }
                            })?;
                        }
                        input_grid
                    }
                };
                if let Some(expected) = source_grid
                    && expected != found
                {
                    return Err(PlanError::GridMismatch {
                        stage: number,
                        name: name(),
                        input: index,
                        found: found.shape().to_vec(),
                        expected: expected.shape().to_vec(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Blocks of all stages.
    pub fn block_count(&self) -> u64 {
        self.stages.iter().map(|stage| stage.grid.count()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::{AxisMap, Splits};

    fn stage(grid: BlockGrid, inputs: Vec<Input>) -> Stage {
        let work = Work { kind: WorkKind::Call, payload: Vec::new(), libraries: Vec::new() };
        let bound = MemoryBound::default();
        Stage { name: "s".to_owned(), grid, inputs, work, bound, keep: Keep::No, retries: 0, origin: None }
    }

    /// 12 elements in blocks of 3 are read by `blocks` blocks.
    fn reading(blocks: u64, rule: AxisMap) -> Plan {
        let input_grid = BlockGrid::line(4);
        let map = BlockMap::Axes { input_grid: input_grid.clone(), axes: vec![rule] };
        let input = Input { source: Source::Stage(0), map };
        let stages = vec![stage(input_grid, Vec::new()), stage(BlockGrid::line(blocks), vec![input])];
        Plan { label: "p".to_owned(), stages, terms: Terms::default() }
    }

    /// What the scheduler asks of a map that it has accepted.
    fn walk(plan: &Plan) {
        let (from, to) = (&plan.stages[0].grid, &plan.stages[1].grid);
        let map = &plan.stages[1].inputs[0].map;
        (0..to.count()).for_each(|block| assert!(map.read_indices(to, block).len() as u64 <= from.count()));
        (0..from.count()).for_each(|block| assert!(map.reader_indices(to, block).len() as u64 <= to.count()));
    }

    #[test]
    fn a_plan_whose_cuts_belong_to_other_grids_is_refused() {
        let regular = |chunk| Splits::Regular { chunk, length: 12 };
        let listed = |bounds: &[u64]| Splits::Listed { bounds: bounds.to_vec() };
        let overlap = |output, input| AxisMap::Overlap { axis: 0, output, input };
        for (blocks, rule) in [
            (2, overlap(regular(6), regular(3))),
            (3, overlap(listed(&[0, 1, 1, 12]), listed(&[0, 3, 6, 9, 12]))),
            (3, AxisMap::Group { axis: 0, size: u64::MAX }),
            (9, AxisMap::Along { axis: 0, offset: -5 }),
            (1, AxisMap::Fixed { start: 7, end: 2 }),
        ] {
            let plan = reading(blocks, rule);
            plan.validate().unwrap();
            walk(&plan);
        }
        for (blocks, rule) in [
            (3, overlap(regular(6), regular(3))),
            (2, overlap(regular(6), regular(4))),
            (2, overlap(listed(&[0, 12]), regular(3))),
            (2, overlap(listed(&[0, 9, 6]), regular(3))),
            (4, overlap(regular(3), listed(&[]))),
            (12, overlap(Splits::Regular { chunk: 0, length: 12 }, regular(3))),
            (4, AxisMap::Group { axis: 0, size: 0 }),
            (4, AxisMap::Along { axis: 0, offset: i64::MIN }),
        ] {
            let error = reading(blocks, rule.clone()).validate();
            assert!(
                matches!(error, Err(PlanError::BadRule { stage: 1, axis: 0, .. })),
                "{rule:?}: {error:?}"
            );
        }
    }
}
