//! Owns running frames: the stages of a plan, and following it until all values are there. Leaves what a block does to `exec`.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use nuna_array::engine;
use nuna_plan::{
    AxisMap, BlockGrid, BlockMap, Engine, EngineError, Finished, Input, Keep, MemoryBound, Plan, Source,
    Stage, Terms, Value, Work, engine::interrupted,
};
use nuna_ship::{Call, tasks::block_work};

use crate::{
    csv::{CsvSource, quote_parity},
    error::FrameError,
    exec::{Job, Sink, append, contents},
    pipeline::SCRATCH_BYTES,
    table::DataTable,
    wire::{from_value, to_value},
};

/// How long one wait for the next block lasts; also how fast an interrupt is noticed.
const PATIENCE: Duration = Duration::from_millis(200);
/// Blocks whose partial results one block puts together.
const FAN_IN: u64 = 8;
/// Further attempts where reading or writing failed.
const RETRIES: u32 = 2;

impl Job {
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
            let inputs = vec![Input { source: Source::Stage(stages.len() as u32 - 1), map }];
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
