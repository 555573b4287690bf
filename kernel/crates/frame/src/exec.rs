//! Owns running frames: what a block does from its file to what is handed on, the stages of a plan, and putting together
//! what comes back.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use nuna_array::engine;
use nuna_plan::{
    AxisMap, BlockGrid, BlockMap, Engine, EngineError, Finished, Input, Keep, MemoryBound, Plan,
    Source as From, Stage, TaskError, Terms, Value, Work, engine::interrupted,
};
use nuna_ship::{Call, tasks::block_work};
use serde::{Deserialize, Serialize};

use crate::{
    column::{Column, ColumnType},
    csv::{CsvScan, CsvSource, quote_parity},
    divide::{By, Divided, Sample, cut},
    error::FrameError,
    eval,
    expr::Node,
    group::{Groups, Layout, Resolved},
    join::Join,
    parquet::ParquetScan,
    sort,
    table::{DataTable, Schema},
    wire::{from_value, some_of_value, to_value},
    write::{Format, Part},
};

/// How long one wait for the next block lasts; also how fast an interrupt is noticed.
const PATIENCE: Duration = Duration::from_millis(200);
/// Blocks whose partial results one block puts together.
const FAN_IN: u64 = 8;
/// What a block needs beside what it hands on: a window of the file, some thousand rows of it, and their groups.
const SCRATCH_BYTES: u64 = 16 << 20;
/// Rows of a table in memory that are looked at together.
const MEMORY_ROWS: usize = 1 << 16;
/// Further attempts where reading or writing failed.
const RETRIES: u32 = 2;

/// Where rows come from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Source {
    Csv(CsvScan),
    Parquet(ParquetScan),
    Memory(DataTable),
    /// Parts that other blocks have made.
    Divided(Divided),
}

impl Source {
    fn blocks(&self) -> u64 {
        match self {
            Source::Csv(scan) => scan.source.blocks,
            Source::Parquet(scan) => scan.blocks(),
            Source::Memory(_) => 1,
            Source::Divided(divided) => divided.parts,
        }
    }

    fn block_bytes(&self) -> u64 {
        match self {
            Source::Csv(scan) => scan.source.block_bytes,
            Source::Parquet(scan) => scan.block_bytes(),
            Source::Memory(table) => table.rows as u64 * 8 * table.columns.len() as u64,
            Source::Divided(divided) => divided.block_bytes(),
        }
    }

    /// What reading a block needs beside what it hands on.
    fn scratch_bytes(&self) -> u64 {
        match self {
            Source::Csv(_) | Source::Memory(_) => SCRATCH_BYTES,
            Source::Divided(divided) => SCRATCH_BYTES.saturating_add(divided.block_bytes().saturating_mul(2)),
            Source::Parquet(scan) => SCRATCH_BYTES.saturating_add(scan.scratch_bytes()),
        }
    }

    pub(crate) fn schema(&self) -> Arc<Schema> {
        match self {
            Source::Csv(scan) => scan.schema(),
            Source::Parquet(scan) => scan.schema(),
            Source::Memory(table) => table.schema.clone(),
            Source::Divided(divided) => divided.schema.clone(),
        }
    }
}

/// What is done with rows on their way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum RowOp {
    Filter(Node),
    Project(Vec<(String, Node, ColumnType)>),
    Join(Join),
}

/// Rows from one source to the end of their block.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pipeline {
    pub(crate) source: Source,
    pub(crate) ops: Vec<RowOp>,
}

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

impl Pipeline {
    pub(crate) fn schema(&self) -> Arc<Schema> {
        let mut schema = self.source.schema();
        for op in &self.ops {
            match op {
                RowOp::Filter(_) => {}
                RowOp::Project(items) => {
                    let items = items.iter().map(|(name, _, kind)| (name.clone(), *kind));
                    schema = Arc::new(Schema(items.collect()));
                }
                RowOp::Join(join) => {
                    let mut joined = Schema::clone(&schema);
                    joined.0.extend(join.right.schema.0.iter().cloned());
                    schema = Arc::new(joined);
                }
            }
        }
        schema
    }

    /// Hands on a block's rows, some thousand at a time.
    fn run(
        &self,
        block: u64,
        values: &[Value],
        take: &mut dyn FnMut(DataTable) -> Result<(), TaskError>,
    ) -> Result<u64, TaskError> {
        let mut through = |mut table: DataTable| {
            for op in &self.ops {
                if table.rows == 0 {
                    return Ok(());
                }
                table = apply(op, table)?;
            }
            if table.rows > 0 { take(table) } else { Ok(()) }
        };
        match &self.source {
            Source::Csv(scan) => scan.run(block, &mut through),
            Source::Parquet(scan) => scan.run(block, &mut through).map(|()| 0),
            Source::Memory(table) => piecewise(table, &mut through).map(|()| table.skipped),
            Source::Divided(divided) => {
                let (table, skipped) = divided.gather(values)?;
                piecewise(&table, &mut through).map(|()| skipped)
            }
        }
    }
}

/// Hands on a table in memory, some thousand rows at a time.
fn piecewise(
    table: &DataTable,
    take: &mut dyn FnMut(DataTable) -> Result<(), TaskError>,
) -> Result<(), TaskError> {
    let mut start = 0;
    while start < table.rows {
        let end = (start + MEMORY_ROWS).min(table.rows);
        let rows: Vec<usize> = (start..end).collect();
        take(if end - start == table.rows { table.clone() } else { table.gather(&rows) })?;
        start = end;
    }
    Ok(())
}

fn apply(op: &RowOp, table: DataTable) -> Result<DataTable, FrameError> {
    match op {
        RowOp::Filter(node) => Ok(table.filter(&eval::mask(node, &table)?)),
        RowOp::Project(items) => {
            let columns: Vec<Arc<Column>> =
                items.iter().map(|(_, node, _)| eval::eval(node, &table)).collect::<Result<_, _>>()?;
            let schema = items.iter().map(|(name, _, kind)| (name.clone(), *kind)).collect();
            Ok(DataTable::from_parts(Arc::new(Schema(schema)), columns, table.rows))
        }
        RowOp::Join(join) => join.run(&table),
    }
}

impl Job {
    pub(crate) fn blocks(&self) -> u64 {
        self.pipelines.iter().map(|pipeline| pipeline.source.blocks()).sum()
    }

    /// Whether all rows are in memory here, so that nobody else is needed.
    fn is_local(&self) -> bool {
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
    fn shares(&self, wanted: usize) -> u64 {
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
    fn merge(&self, values: &[Value], share: u64, shares: u64) -> Result<Value, TaskError> {
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
    fn finish(&self, values: &[Value]) -> Result<DataTable, FrameError> {
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

    /// Runs it: here if all rows are here, else on the cluster or the threads of this process.
    pub(crate) fn execute(mut self, label: &str) -> Result<DataTable, FrameError> {
        if self.is_local() || self.blocks() == 0 {
            let run = |block| self.run(block, &[]).map_err(contents);
            let mut values: Vec<Value> = (0..self.blocks()).map(run).collect::<Result<_, _>>()?;
            if values.len() > 1 && matches!(self.sink, Sink::Group { .. }) {
                values = vec![self.merge(&values, 0, 1).map_err(contents)?];
            }
            return self.finish(&values);
        }
        let engine = engine();
        let is_divided = self.is_divided();
        let submit = |job: &Job, blocks: u64| {
            let mut stages = Vec::new();
            job.stages(label, blocks, &mut stages)?;
            follow_stage(label, stages, &engine)
        };
        let Sink::Head(count) = self.sink else {
            let values = submit(&self, self.blocks())?;
            return self.finish(&values);
        };
        if is_divided {
            // All parts are made at once, whoever looks at them.
            let values = submit(&self, self.blocks())?;
            return self.finish(&values);
        }
        // Blocks in order, more each time, until there is enough.
        let (total, mut window) = (self.blocks(), 1);
        let mut all = DataTable::empty(self.schema.clone());
        while all.rows < count && self.first_block < total {
            let blocks = window.min(total - self.first_block);
            let values = submit(&self, blocks)?;
            let more = self.finish(&values)?;
            let needed = more.head(count - all.rows);
            append(&mut all, &needed).map_err(contents)?;
            all.skipped += more.skipped;
            self.first_block += blocks;
            window = (window * 4).max(engine.thread_count() as u64);
        }
        Ok(all)
    }

    /// Adds the stages of so many blocks. The last one has the blocks' values, or what partial results come to, in shares.
    pub(crate) fn stages(&self, label: &str, blocks: u64, stages: &mut Vec<Stage>) -> Result<(), FrameError> {
        let inputs = self.inputs(label, stages)?;
        let read = Call::over_blocks_with(self, |job: &Job, block, values| job.run(block, values))?;
        let block_bytes = self.block_bytes();
        let output = match &self.sink {
            // Short numbers take more room in memory than in a file.
            Sink::Rows | Sink::Divide { .. } => block_bytes.saturating_mul(2),
            Sink::Head(_) => block_bytes,
            Sink::Group { .. } | Sink::Top { .. } => block_bytes / 4,
            Sink::Write { .. } => 1024,
            Sink::Sample => 1 << 20,
        };
        let scratch = self.scratch_bytes().saturating_add(match &self.sink {
            Sink::Write { format, .. } => format.scratch_bytes(),
            Sink::Sample => 0,
            Sink::Rows | Sink::Head(_) | Sink::Group { .. } | Sink::Top { .. } | Sink::Divide { .. } => {
                output
            }
        });
        let bound = MemoryBound { inputs: if inputs.is_empty() { 0 } else { block_bytes }, output, scratch };
        stages.push(stage(label.to_owned(), BlockGrid::line(blocks), inputs, block_work(read), bound));
        if !matches!(self.sink, Sink::Group { .. } | Sink::Top { .. }) {
            return Ok(());
        }
        let mut left = blocks;
        // Only what is done with rows is needed here, not where they come from.
        let environment = Job { pipelines: Vec::new(), ..self.clone() };
        while left > 1 {
            // The last of all reads everything, and would alone be as long as several: threads share it out.
            let is_last = left <= FAN_IN;
            let shares = if is_last { self.shares(engine().thread_count()) } else { 1 };
            let merge = |(job, shares): &(Job, u64), block: u64, values: &[Value]| {
                job.merge(values, block % shares, *shares)
            };
            let call = Call::over_blocks_with(&(environment.clone(), shares), merge)?;
            let axis = if is_last { AxisMap::All } else { AxisMap::Group { axis: 0, size: FAN_IN } };
            let map = BlockMap::Axes { input_grid: BlockGrid::line(left), axes: vec![axis] };
            let inputs = vec![Input { source: From::Stage(stages.len() as u32 - 1), map }];
            let all = output.saturating_mul(FAN_IN.min(left));
            let bound = MemoryBound { inputs: all, output, scratch: all };
            left = left.div_ceil(FAN_IN);
            let name = format!("merge {label}");
            let blocks = if is_last { shares } else { left };
            stages.push(stage(name, BlockGrid::line(blocks), inputs, block_work(call), bound));
        }
        Ok(())
    }
}

pub(crate) fn contents(error: TaskError) -> FrameError {
    FrameError::Contents(error.message)
}

pub(crate) fn stage(
    name: String,
    grid: BlockGrid,
    inputs: Vec<Input>,
    work: Work,
    bound: MemoryBound,
) -> Stage {
    Stage { name, grid, inputs, work, bound, keep: Keep::No, retries: RETRIES, origin: nuna_array::origin() }
}

/// Runs stages. The values of the last one's blocks, in order.
pub(crate) fn follow_stage(
    label: &str,
    mut stages: Vec<Stage>,
    engine: &Arc<dyn Engine>,
) -> Result<Vec<Value>, FrameError> {
    let number = stages.len().saturating_sub(1) as u32;
    let Some(last) = stages.last_mut() else { return Ok(Vec::new()) };
    last.keep = Keep::Deliver;
    let blocks = last.grid.count();
    let plan = Plan { label: label.to_owned(), stages, terms: Terms::default() };
    follow(plan, number, blocks, engine)
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

/// For each block of a file with line ends in quotes, whether it begins within quotes.
pub(crate) fn parities(source: &Arc<CsvSource>) -> Result<Vec<bool>, FrameError> {
    let engine = engine();
    let environment = CsvSource::clone(source);
    let call = Call::over_blocks_with(&environment, |source: &CsvSource, block, _| {
        let odd = quote_parity(source, block)?;
        to_value(&[DataTable::new().with_bool("odd", [odd])?], 0)
    })?;
    let name = format!("quotes of {}", source.name);
    let bound = MemoryBound { inputs: 0, output: 1024, scratch: SCRATCH_BYTES };
    let stages =
        vec![stage(name.clone(), BlockGrid::line(source.blocks), Vec::new(), block_work(call), bound)];
    let mut begins = Vec::with_capacity(source.blocks as usize);
    let mut inside = false;
    let firsts: Vec<u64> = source.files.iter().map(|file| file.first_block).collect();
    for (block, value) in (0..).zip(follow_stage(&name, stages, &engine)?) {
        if firsts.binary_search(&block).is_ok() {
            inside = false;
        }
        begins.push(inside);
        let (tables, _) = from_value(&value).map_err(contents)?;
        let odd = tables.first().map(|table| table.column_bool("odd")).transpose()?;
        inside ^= odd.is_some_and(|odd| odd.first() == Some(&true));
    }
    Ok(begins)
}

/// Runs a plan. The values of a stage's blocks, in order.
fn follow(plan: Plan, stage: u32, blocks: u64, engine: &Arc<dyn Engine>) -> Result<Vec<Value>, FrameError> {
    let label = plan.label.clone();
    let mut values: Vec<Option<Value>> = vec![None; blocks as usize];
    let mut running = nuna_plan::watch::submit(engine, plan, None)?;
    loop {
        if interrupted() {
            running.cancel();
            return Err(EngineError::Cancelled.into());
        }
        match running.next(PATIENCE)? {
            Finished::Block { stage: from, block, value } if from == stage => {
                if let Some(place) = values.get_mut(block as usize) {
                    *place = Some(value);
                }
            }
            Finished::Block { .. } | Finished::Waiting { .. } => {}
            Finished::End => break,
        }
    }
    let count = values.len();
    let values: Vec<Value> = values.into_iter().flatten().collect();
    if values.len() != count {
        let mut message = format!("{label}: ");
        let _ = write!(message, "{} of {count} blocks arrived", values.len());
        return Err(FrameError::Invalid(message));
    }
    Ok(values)
}
