//! Owns dividing rows by ranges of some columns among the cluster, for sorts and groups that are larger than one process: each
//! block cuts its rows into parts, each part comes together on one worker, and is sorted or grouped there. Between which values
//! parts are cut is found from rows here and there.

use std::sync::Arc;

use nuna_array::engine;
use nuna_plan::{AxisMap, BlockGrid, BlockMap, Input, MemoryBound, Source as From, Stage, TaskError, Value};
use nuna_ship::{Call, tasks::block_work};
use serde::{Deserialize, Serialize};

use crate::{
    column::ColumnType,
    error::FrameError,
    eval,
    exec::{Job, Sink, append, contents},
    expr::Node,
    group::{Groups, Resolved},
    sort,
    stages::{follow_stage, stage},
    table::{DataTable, Schema},
    wire::{from_value, nth_table},
};

/// Blocks in which rows are looked at to find where to cut; of more, so many are chosen.
const SAMPLED_BLOCKS: u64 = 256;
/// Rows of such a block of which at least half as many are looked at, if there are any.
const SAMPLED_ROWS: usize = 1 << 10;

/// By which columns rows are ordered, each descending or not.
pub(crate) type By = Vec<(String, bool)>;

/// What becomes of the rows of a part.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Then {
    Sort,
    Group { keys: Vec<(Node, ColumnType)>, aggs: Vec<Resolved> },
}

/// Rows in parts, each of which is a block. Parts follow one another in the order of `by`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Divided {
    /// What makes the rows. Workers that have them do not need it.
    #[serde(skip)]
    job: Option<Box<Job>>,
    by: By,
    then: Then,
    pub(crate) parts: u64,
    /// Of the rows that come in.
    rows: Arc<Schema>,
    /// Of the rows that come out.
    pub(crate) schema: Arc<Schema>,
    block_bytes: u64,
}

impl Divided {
    /// Looks at some rows of `keys`, which are those of `job` with the columns of `by` alone, and says where to cut. There may be fewer parts than are asked for, where many rows are
    /// alike.
    pub(crate) fn new(
        mut job: Job,
        keys: Job,
        by: By,
        then: Then,
        parts: u64,
        schema: Arc<Schema>,
    ) -> Result<Self, FrameError> {
        let rows = job.schema.clone();
        let bounds = bounds(keys, &by, parts)?;
        let parts = bounds.rows as u64 + 1;
        let bytes = job.bytes().saturating_mul(2);
        job.sink = Sink::Divide { by: by.clone(), bounds };
        // Cuts are not exact.
        let block_bytes = (bytes / parts).saturating_mul(2);
        Ok(Divided { job: Some(Box::new(job)), by, then, parts, rows, schema, block_bytes })
    }

    pub(crate) fn block_bytes(&self) -> u64 {
        self.block_bytes
    }

    /// Adds the stages that make the parts. What the parts' own stage reads: a part is a value for each block.
    pub(crate) fn stages(&self, label: &str, stages: &mut Vec<Stage>) -> Result<Vec<Input>, FrameError> {
        let Some(job) = &self.job else {
            return Err(FrameError::Invalid(
                "parts of rows were asked for where they cannot be made".to_owned(),
            ));
        };
        let blocks = job.blocks();
        job.stages(&format!("divide {label}"), blocks, stages)?;
        // Each part of each block is a value of its own, so that who needs a part fetches no others.
        let call = Call::over_blocks_with(&self.parts, |parts: &u64, block, values: &[Value]| {
            let value = values.first().ok_or_else(|| TaskError::fatal("rows to be divided are not there"))?;
            nth_table(value, (block % parts) as usize)
        })?;
        let grid = BlockGrid::new([blocks, self.parts]);
        let along = |axis: u8| AxisMap::Along { axis, offset: 0 };
        let input = |input_grid: BlockGrid, axes: Vec<AxisMap>, of: usize| Input {
            source: From::Stage(of as u32 - 1),
            map: BlockMap::Axes { input_grid, axes },
        };
        let inputs = vec![input(BlockGrid::line(blocks), vec![along(0)], stages.len())];
        let each = job.block_bytes().saturating_mul(2);
        let bound = MemoryBound { inputs: each, output: each / self.parts.max(1) * 2 + 4096, scratch: 0 };
        stages.push(stage(format!("parts of {label}"), grid.clone(), inputs, block_work(call), bound));
        Ok(vec![input(grid, vec![AxisMap::All, along(0)], stages.len())])
    }

    /// The rows of a part, sorted or grouped, from what blocks have of it; and how many were left out before.
    pub(crate) fn gather(&self, values: &[Value]) -> Result<(DataTable, u64), TaskError> {
        let mut all = DataTable::empty(self.rows.clone());
        let mut skipped = 0;
        for value in values {
            let (tables, more) = from_value(value)?;
            skipped += more;
            tables.iter().try_for_each(|table| append(&mut all, table))?;
        }
        let table = match &self.then {
            Then::Sort => sort::sorted(&all, &self.by)?,
            Then::Group { keys, aggs } => {
                let mut groups = Groups::new(keys.iter().map(|(_, kind)| *kind), aggs);
                let columns: Vec<_> =
                    keys.iter().map(|(node, _)| eval::eval(node, &all)).collect::<Result<_, FrameError>>()?;
                let inputs =
                    aggs.iter().map(|agg| agg.input.as_ref().map(|node| eval::eval(node, &all)).transpose());
                let inputs: Vec<_> = inputs.collect::<Result<_, FrameError>>()?;
                groups.update(&columns, &inputs, all.rows)?;
                groups.finish(self.schema.clone())?
            }
        };
        Ok((table, skipped))
    }
}

/// Cuts rows between bounds: a table more than there are bounds. Rows that are alike stay together.
pub(crate) fn cut(table: &DataTable, by: &By, bounds: &DataTable) -> Result<Vec<DataTable>, FrameError> {
    let mut keys = bounds.clone();
    append(&mut keys, table).map_err(contents)?;
    let order = sort::order(&keys, by)?;
    let mut rows: Vec<Vec<usize>> = vec![Vec::new(); bounds.rows + 1];
    for row in 0..table.rows {
        let (mut low, mut high) = (0, bounds.rows);
        while low < high {
            let middle = low.midpoint(high);
            if order(middle, bounds.rows + row).is_le() { low = middle + 1 } else { high = middle }
        }
        rows[low].push(row);
    }
    Ok(rows.iter().map(|rows| table.gather(rows)).collect())
}

/// Rows here and there of all that a block has.
#[derive(Debug)]
pub(crate) struct Sample {
    kept: DataTable,
    every: usize,
    seen: usize,
}

impl Sample {
    pub(crate) fn new(schema: Arc<Schema>) -> Self {
        Sample { kept: DataTable::empty(schema), every: 1, seen: 0 }
    }

    pub(crate) fn add(&mut self, table: &DataTable) -> Result<(), TaskError> {
        let first = (self.every - self.seen % self.every) % self.every;
        let rows: Vec<usize> = (first..table.rows).step_by(self.every).collect();
        self.seen += table.rows;
        append(&mut self.kept, &table.gather(&rows))?;
        while self.kept.rows > SAMPLED_ROWS {
            let half: Vec<usize> = (0..self.kept.rows).step_by(2).collect();
            self.kept = self.kept.gather(&half);
            self.every *= 2;
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> DataTable {
        self.kept
    }
}

/// Where to cut rows into parts of about one size, of which the job has the columns of `by`.
fn bounds(mut job: Job, by: &By, parts: u64) -> Result<DataTable, FrameError> {
    job.sink = Sink::Sample;
    let mut all = DataTable::empty(job.schema.clone());
    let blocks = job.blocks();
    if blocks > 0 {
        let label = "look where to divide";
        let mut stages = Vec::new();
        if job.is_divided() {
            // Blocks that are parts themselves are made by all, so all are looked at.
            job.stages(label, blocks, &mut stages)?;
        } else {
            let looked_at = blocks.min(SAMPLED_BLOCKS);
            let block = |index: u64| (u128::from(index) * u128::from(blocks) / u128::from(looked_at)) as u64;
            let chosen: Vec<u64> = (0..looked_at).map(block).collect();
            let bound = MemoryBound { inputs: 0, output: 1 << 20, scratch: job.scratch_bytes() };
            let run = |(job, chosen): &(Job, Vec<u64>), block: u64, values: &[Value]| {
                let block = usize::try_from(block).ok().and_then(|block| chosen.get(block));
                job.run(*block.ok_or_else(|| TaskError::fatal("there is no such block"))?, values)
            };
            let call = Call::over_blocks_with(&(job, chosen), run)?;
            let grid = BlockGrid::line(looked_at);
            stages.push(stage(label.to_owned(), grid, Vec::new(), block_work(call), bound));
        }
        for value in follow_stage(label, stages, &engine())? {
            let (tables, _) = from_value(&value).map_err(contents)?;
            tables.iter().try_for_each(|table| append(&mut all, table)).map_err(contents)?;
        }
    }
    let all = sort::sorted(&all, by)?;
    let order = sort::order(&all, by)?;
    let mut cuts: Vec<usize> = Vec::new();
    for part in 1..parts {
        let at = (u128::from(part) * all.rows as u128 / u128::from(parts)) as usize;
        if at < all.rows && cuts.last().is_none_or(|&last| order(last, at).is_lt()) {
            cuts.push(at);
        }
    }
    Ok(all.gather(&cuts))
}
