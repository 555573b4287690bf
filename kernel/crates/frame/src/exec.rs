//! Owns what a block does, from the rows of its source to what is handed on, and putting together what comes back. Leaves the stages
//! of a plan to `stages`.

use std::sync::Arc;

use nuna_plan::{Input, Stage, TaskError, Value};
use serde::{Deserialize, Serialize};

use crate::{
    column::ColumnType,
    divide::{By, Sample, cut},
    error::FrameError,
    eval,
    expr::Node,
    group::{Groups, Layout, Resolved},
    pipeline::{MEMORY_ROWS, Pipeline, Source},
    sort,
    table::{DataTable, Schema},
    wire::{from_value, some_of_value, to_value},
    write::{Format, Part},
};

/// What becomes of a block's rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Sink {
    /// They are the result.
    Rows,
    /// Only so many are wanted.
    Head(usize),
    Group {
        keys: Vec<(Node, ColumnType)>,
        aggs: Vec<Resolved>,
    },
    /// The first so many by this order.
    Top {
        by: Vec<(String, bool)>,
        count: usize,
    },
    /// They are written as a file, and only their number comes back.
    Write {
        folder: String,
        format: Format,
    },
    /// They are cut into parts.
    Divide {
        by: By,
        bounds: DataTable,
    },
    /// Some columns of some of them are looked at.
    Sample,
}

/// All that workers have to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) pipelines: Vec<Pipeline>,
    pub(crate) sink: Sink,
    /// Of the rows at the end.
    pub(crate) schema: Arc<Schema>,
    /// Blocks before the first one of a plan.
    pub(crate) first_block: u64,
}

impl Job {
    pub(crate) fn blocks(&self) -> u64 {
        self.pipelines.iter().map(|pipeline| pipeline.source.blocks()).sum()
    }

    /// Whether all rows are in memory here, so that nobody else is needed.
    pub(crate) fn is_local(&self) -> bool {
        self.pipelines.iter().all(|pipeline| matches!(pipeline.source, Source::Memory(_)))
    }

    fn pipeline(&self, block: u64) -> Option<(&Pipeline, u64)> {
        let mut block = block;
        for pipeline in &self.pipelines {
            let blocks = pipeline.source.blocks();
            if block < blocks {
                return Some((pipeline, block));
            }
            block -= blocks;
        }
        None
    }

    /// Bytes of all blocks, at most.
    pub(crate) fn bytes(&self) -> u64 {
        let one =
            |pipeline: &Pipeline| pipeline.source.blocks().saturating_mul(pipeline.source.block_bytes());
        self.pipelines.iter().map(one).fold(0, u64::saturating_add)
    }

    /// Bytes of the largest block.
    pub(crate) fn block_bytes(&self) -> u64 {
        self.pipelines.iter().map(|pipeline| pipeline.source.block_bytes()).max().unwrap_or(0)
    }

    /// What a block needs beside what it hands on.
    pub(crate) fn scratch_bytes(&self) -> u64 {
        self.pipelines.iter().map(|pipeline| pipeline.source.scratch_bytes()).max().unwrap_or(0)
    }

    /// Adds the stages of which blocks read values, if they read any, and says which.
    pub(crate) fn inputs(&self, label: &str, stages: &mut Vec<Stage>) -> Result<Vec<Input>, FrameError> {
        match &self.pipelines[..] {
            [Pipeline { source: Source::Divided(divided), .. }] => divided.stages(label, stages),
            _ => Ok(Vec::new()),
        }
    }

    /// Whether blocks read what others have made.
    pub(crate) fn is_divided(&self) -> bool {
        self.pipelines.iter().any(|pipeline| matches!(pipeline.source, Source::Divided(_)))
    }

    /// One block, from its file or the values it reads to what comes back.
    pub(crate) fn run(&self, number: u64, values: &[Value]) -> Result<Value, TaskError> {
        let number = number + self.first_block;
        let (pipeline, block) =
            self.pipeline(number).ok_or_else(|| TaskError::fatal(format!("there is no block {number}")))?;
        match &self.sink {
            Sink::Rows | Sink::Head(_) => {
                let limit = if let Sink::Head(count) = self.sink { count } else { usize::MAX };
                let mut all = DataTable::empty(self.schema.clone());
                let skipped = pipeline.run(block, values, &mut |table| {
                    if all.rows < limit {
                        let more = table.head(limit - all.rows);
                        append(&mut all, &more)?;
                    }
                    Ok(())
                })?;
                to_value(&[all], skipped)
            }
            Sink::Group { keys, aggs } => {
                let mut groups = Groups::new(keys.iter().map(|(_, kind)| *kind), aggs);
                let skipped = pipeline.run(block, values, &mut |table| {
                    let keys: Vec<_> =
                        keys.iter().map(|(node, _)| eval::eval(node, &table)).collect::<Result<_, _>>()?;
                    let inputs = aggs
                        .iter()
                        .map(|agg| agg.input.as_ref().map(|node| eval::eval(node, &table)).transpose());
                    let inputs: Vec<_> = inputs.collect::<Result<_, _>>()?;
                    Ok(groups.update(&keys, &inputs, table.rows)?)
                })?;
                to_value(&groups.parted()?, skipped)
            }
            Sink::Top { by, count } => {
                let mut best = DataTable::empty(self.schema.clone());
                let skipped = pipeline.run(block, values, &mut |table| {
                    append(&mut best, &sort::top(&table, by, *count)?)?;
                    // Not for every few rows.
                    if best.rows > 2 * count + MEMORY_ROWS {
                        best = sort::top(&best, by, *count)?;
                    }
                    Ok(())
                })?;
                to_value(&[sort::top(&best, by, *count)?], skipped)
            }
            Sink::Write { folder, format } => {
                let mut part = Part::begin(folder, *format, number, &self.schema)?;
                let skipped = pipeline.run(block, values, &mut |table| part.write(&table))?;
                let count = DataTable::new().with_i64("rows", [part.finish()?])?;
                to_value(&[count], skipped)
            }
            Sink::Divide { by, bounds } => {
                let mut all = DataTable::empty(self.schema.clone());
                let skipped = pipeline.run(block, values, &mut |table| append(&mut all, &table))?;
                to_value(&cut(&all, by, bounds)?, skipped)
            }
            Sink::Sample => {
                let mut sample = Sample::new(self.schema.clone());
                pipeline.run(block, values, &mut |table| sample.add(&table))?;
                to_value(&[sample.finish()], 0)
            }
        }
    }

    /// Among how many partial results can be shared out, of `wanted`.
    pub(crate) fn shares(&self, wanted: usize) -> u64 {
        match &self.sink {
            Sink::Group { keys, aggs } => Layout::of(keys.len(), aggs).shares(wanted) as u64,
            Sink::Top { .. }
            | Sink::Rows
            | Sink::Head(_)
            | Sink::Write { .. }
            | Sink::Divide { .. }
            | Sink::Sample => 1,
        }
    }

    /// Puts one share of partial results together.
    pub(crate) fn merge(&self, values: &[Value], share: u64, shares: u64) -> Result<Value, TaskError> {
        let mut skipped_rows = 0;
        match &self.sink {
            Sink::Group { keys, aggs } => {
                let layout = Layout::of(keys.len(), aggs);
                let mut merged = Vec::new();
                for part in layout.share(share as usize, shares as usize) {
                    let mut groups = Groups::new(keys.iter().map(|(_, kind)| *kind), aggs);
                    for value in values {
                        let (tables, skipped) = some_of_value(value, layout.tables(part))?;
                        // Once for all parts.
                        skipped_rows += if part == 0 { skipped } else { 0 };
                        groups.merge(&tables)?;
                    }
                    merged.extend(groups.partial()?);
                }
                to_value(&merged, skipped_rows)
            }
            Sink::Top { by, count } => {
                let mut best = DataTable::empty(self.schema.clone());
                for value in values {
                    let (tables, skipped) = from_value(value)?;
                    skipped_rows += skipped;
                    tables.iter().try_for_each(|table| append(&mut best, table))?;
                }
                to_value(&[sort::top(&best, by, *count)?], skipped_rows)
            }
            Sink::Rows | Sink::Head(_) | Sink::Write { .. } | Sink::Divide { .. } | Sink::Sample => {
                Err(TaskError::fatal("rows are not merged"))
            }
        }
    }

    /// What came back, as the result.
    pub(crate) fn finish(&self, values: &[Value]) -> Result<DataTable, FrameError> {
        let mut skipped_rows = 0;
        let mut table = match &self.sink {
            Sink::Group { keys, aggs } => {
                let mut all = Vec::new();
                for value in values {
                    let (tables, skipped) = from_value(value).map_err(contents)?;
                    skipped_rows += skipped;
                    all.extend(tables);
                }
                let kinds = keys.iter().map(|(_, kind)| *kind).collect();
                Groups::finish_parts(kinds, aggs, all, self.schema.clone())?
            }
            Sink::Rows
            | Sink::Head(_)
            | Sink::Top { .. }
            | Sink::Write { .. }
            | Sink::Divide { .. }
            | Sink::Sample => {
                let schema = match &self.sink {
                    Sink::Write { .. } => Arc::new(Schema(vec![("rows".to_owned(), ColumnType::Int64)])),
                    _ => self.schema.clone(),
                };
                let mut all = DataTable::empty(schema);
                for value in values {
                    let (tables, skipped) = from_value(value).map_err(contents)?;
                    skipped_rows += skipped;
                    for table in tables {
                        append(&mut all, &table).map_err(contents)?;
                    }
                }
                match &self.sink {
                    Sink::Head(count) => all.head(*count),
                    Sink::Top { by, count } => sort::top(&all, by, *count)?,
                    Sink::Rows
                    | Sink::Group { .. }
                    | Sink::Write { .. }
                    | Sink::Divide { .. }
                    | Sink::Sample => all,
                }
            }
        };
        table.skipped = skipped_rows;
        Ok(table)
    }
}

pub(crate) fn contents(error: TaskError) -> FrameError {
    FrameError::Contents(error.message)
}

pub(crate) fn append(all: &mut DataTable, more: &DataTable) -> Result<(), TaskError> {
    for (name, _) in &all.schema.0 {
        more.schema.position(name)?;
    }
    for ((name, _), column) in all.schema.0.iter().zip(&mut all.columns) {
        Arc::make_mut(column).append(more.column(name)?)?;
    }
    all.rows += more.rows;
    Ok(())
}
