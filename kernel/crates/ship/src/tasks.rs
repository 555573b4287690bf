//! Owns the task farm: parameters packed into one stage of blocks, the executor that runs such blocks, and the
//! outcomes read back in order.
//!
//! A block holds many tasks, so that a hundred thousand trivial ones cost a few hundred messages; a failing task
//! fails alone, is repeated alone, and its neighbours' results count.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use nuna_plan::{
    BlockGrid, Executor, Keep, MemoryBound, Origin, Plan, Prepared, Stage, TaskError, Value, Work, WorkKind,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    call::{Call, Cause, TaskFault, TaskRoutine},
    error::ShipError,
};

/// Parameters of one farm may take this much; workers each get a copy.
pub const PARAMETER_BYTES_MAX: usize = 32 << 20;
/// What a worker sets aside for one block's results before it has seen any.
const RESULT_BYTES_EXPECTED: u64 = 64 << 10;
/// As many blocks as keep this many compute threads busy and balanced, however many tasks there are.
const BLOCKS_PER_THREAD: u64 = 64;
const BLOCKS_MIN: u64 = 256;

/// A closure and all its parameters, ready to become a plan.
#[derive(Debug)]
pub struct Farm {
    call: Call,
    parameters: Vec<u8>,
    /// Where each task's parameter begins.
    starts: Vec<usize>,
}

/// How to run a [`Farm`].
#[derive(Clone, Debug)]
pub struct FarmOptions {
    /// What a person would call it; task keys are `label[i]`.
    pub label: String,
    /// Further attempts after a failed one, per task.
    pub retries: u32,
    /// Compute threads that will share the work; decides how many tasks make a block.
    pub thread_count: usize,
    /// Tasks per block, where the caller knows better.
    pub batch: Option<u64>,
    pub origin: Option<Origin>,
}

#[derive(Serialize, Deserialize)]
struct Payload {
    call: Call,
    attempts: u32,
    task_count: u64,
    tasks_per_block: u64,
    /// Where each block's parameters begin.
    block_starts: Vec<u64>,
    parameters: Bytes,
}

impl Farm {
    /// Serialises the parameters, in order.
    ///
    /// # Errors
    /// If one cannot be serialised, or all together are larger than [`PARAMETER_BYTES_MAX`].
    pub fn new<P: Serialize>(call: Call, parameters: impl IntoIterator<Item = P>) -> Result<Self, ShipError> {
        let mut farm = Farm { call, parameters: Vec::new(), starts: Vec::new() };
        for parameter in parameters {
            farm.starts.push(farm.parameters.len());
            postcard::to_io(&parameter, &mut farm.parameters).map_err(|error| ShipError::Pack {
                name: farm.call.name.clone(),
                message: format!(
                    "parameter {}, of type {}, cannot be serialised: {error}",
                    farm.starts.len() - 1,
                    std::any::type_name::<P>()
                ),
            })?;
            let bytes = farm.parameters.len();
            if bytes > PARAMETER_BYTES_MAX {
                return Err(ShipError::TooManyParameters { bytes, limit: PARAMETER_BYTES_MAX });
            }
        }
        Ok(farm)
    }

    /// How many tasks there are.
    pub fn task_count(&self) -> u64 {
        self.starts.len() as u64
    }

    /// A plan of one stage that delivers every block, and the way to read its blocks.
    ///
    /// # Errors
    /// If the payload cannot be serialised.
    pub fn plan(self, options: &FarmOptions) -> Result<(Plan, Layout), ShipError> {
        let task_count = self.task_count();
        let blocks_wanted = (options.thread_count as u64).saturating_mul(BLOCKS_PER_THREAD).max(BLOCKS_MIN);
        let tasks_per_block = options.batch.unwrap_or(task_count.div_ceil(blocks_wanted)).max(1);
        let layout = Layout { task_count, tasks_per_block };
        let libraries = self.call.libraries();
        let name = self.call.name.clone();
        let block_starts =
            (0..layout.block_count()).map(|block| self.starts[layout.tasks(block).start as usize] as u64);
        let payload = Payload {
            attempts: options.retries.saturating_add(1),
            task_count,
            tasks_per_block,
            block_starts: block_starts.collect(),
            parameters: self.parameters.into(),
            call: self.call,
        };
        let payload = postcard::to_stdvec(&payload)
            .map_err(|error| ShipError::Pack { name, message: error.to_string() })?;
        let stage = Stage {
            name: options.label.clone(),
            grid: BlockGrid::line(layout.block_count()),
            inputs: Vec::new(),
            work: Work { kind: WorkKind::Call, payload, libraries },
            bound: MemoryBound { inputs: 0, output: RESULT_BYTES_EXPECTED, scratch: 0 },
            keep: Keep::Deliver,
            retries: options.retries,
            origin: options.origin.clone(),
        };
        Ok((Plan { label: options.label.clone(), stages: vec![stage] }, layout))
    }
}

/// Which tasks are in which block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub task_count: u64,
    pub tasks_per_block: u64,
}

impl Layout {
    pub fn block_count(&self) -> u64 {
        self.task_count.div_ceil(self.tasks_per_block)
    }

    /// Numbers of the tasks in `block`.
    pub fn tasks(&self, block: u64) -> Range<u64> {
        let start = block * self.tasks_per_block;
        start..(start + self.tasks_per_block).min(self.task_count)
    }
}

/// A task that failed at every attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}{}{message}, with parameter {parameter}{}",
    if *panicked { "panicked" } else { "failed" },
    location.as_ref().map_or_else(|| ": ".to_owned(), |place| format!(" at {place}: ")),
    if *attempts > 1 { format!(", {attempts} times") } else { String::new() })]
pub struct Failure {
    pub message: String,
    /// Where it panicked: `file:line:column`.
    pub location: Option<String>,
    /// The parameter as JSON, shortened.
    pub parameter: String,
    pub attempts: u32,
    pub panicked: bool,
}

/// Reads the value of one block: an outcome per task, in order.
///
/// # Errors
/// If the bytes are not such a value, which only differing builds could bring about.
pub fn outcomes<R: DeserializeOwned>(value: &Value) -> Result<Vec<Result<R, Failure>>, TaskError> {
    let mut rest: &[u8] = &value.body;
    let mut outcomes = Vec::new();
    while !rest.is_empty() {
        let outcome = take_outcome(&mut rest).map_err(|error| {
            let wanted = std::any::type_name::<R>();
            TaskError::fatal(format!("a result cannot be read as {wanted}: {error}"))
        })?;
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

fn take_outcome<R: DeserializeOwned>(rest: &mut &[u8]) -> postcard::Result<Result<R, Failure>> {
    let (tag, after) = rest.split_first().ok_or(postcard::Error::DeserializeUnexpectedEnd)?;
    *rest = after;
    if *tag == DONE {
        let (result, after) = postcard::take_from_bytes(rest)?;
        *rest = after;
        Ok(Ok(result))
    } else {
        let (failure, after) = postcard::take_from_bytes(rest)?;
        *rest = after;
        Ok(Err(failure))
    }
}

const DONE: u8 = 0;
const FAILED: u8 = 1;

/// Runs stages of [`WorkKind::Call`].
pub fn executor() -> Arc<dyn Executor> {
    Arc::new(CallExecutor)
}

struct CallExecutor;

struct PreparedFarm {
    payload: Payload,
    layout: Layout,
    routine: Box<dyn TaskRoutine>,
}

impl Executor for CallExecutor {
    fn prepare(&self, stage: &Stage) -> Result<Box<dyn Prepared>, TaskError> {
        let payload: Payload = postcard::from_bytes(&stage.work.payload).map_err(|error| {
            TaskError::fatal(format!("the tasks of `{}` cannot be read: {error}", stage.name))
        })?;
        let layout = Layout { task_count: payload.task_count, tasks_per_block: payload.tasks_per_block };
        if payload.tasks_per_block == 0 || payload.block_starts.len() as u64 != layout.block_count() {
            return Err(TaskError::fatal(format!("the tasks of `{}` do not add up", stage.name)));
        }
        let routine = payload.call.open_tasks()?;
        Ok(Box::new(PreparedFarm { payload, layout, routine }))
    }
}

impl Prepared for PreparedFarm {
    fn run(&self, block: u64, _inputs: Vec<Vec<Value>>) -> Result<Value, TaskError> {
        let start = self.payload.block_starts.get(block as usize).copied().unwrap_or(u64::MAX);
        let mut parameters = self
            .payload
            .parameters
            .get(start as usize..)
            .ok_or_else(|| TaskError::fatal(format!("block {block} of the tasks has no parameters")))?;
        let mut body = Vec::new();
        for _ in self.layout.tasks(block) {
            self.run_task(&mut parameters, &mut body)?;
        }
        Ok(Value { header: Bytes::new(), body: body.into() })
    }
}

impl PreparedFarm {
    /// Attempts follow one another on this worker: what a task failed with is nearly always its own doing, and
    /// a worker that dies takes the whole block along to another one anyway.
    fn run_task(&self, parameters: &mut &[u8], body: &mut Vec<u8>) -> Result<(), TaskError> {
        let before = *parameters;
        let mut attempt = 1;
        loop {
            let start = body.len();
            body.push(DONE);
            match self.routine.run(parameters, body) {
                Ok(()) => return Ok(()),
                Err(fault) if fault.cause == Cause::Unreadable => {
                    return Err(TaskError::fatal(fault.message));
                }
                Err(fault) if attempt >= self.payload.attempts => {
                    body.truncate(start);
                    body.push(FAILED);
                    let TaskFault { message, location, parameter, cause } = fault;
                    let panicked = cause == Cause::Panicked;
                    let failure = Failure { message, location, parameter, attempts: attempt, panicked };
                    postcard::to_io(&failure, body).map_err(|error| TaskError::fatal(error.to_string()))?;
                    return Ok(());
                }
                Err(_) => {
                    body.truncate(start);
                    *parameters = before;
                    attempt += 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn options(thread_count: usize) -> FarmOptions {
        FarmOptions { label: "tasks".to_owned(), retries: 0, thread_count, batch: None, origin: None }
    }

    /// Runs every block as a worker would, from the plan's bytes alone.
    fn run<R: DeserializeOwned>(plan: &Plan) -> Result<Vec<Result<R, Failure>>, TaskError> {
        plan.validate().unwrap();
        let prepared = executor().prepare(&plan.stages[0])?;
        let mut all = Vec::new();
        for block in 0..plan.stages[0].grid.count() {
            all.extend(outcomes(&prepared.run(block, Vec::new())?)?);
        }
        Ok(all)
    }

    #[test]
    fn many_tasks_make_few_blocks_and_keep_their_order() {
        let call = Call::over_tasks(|x: u64| x + 1).unwrap();
        let (plan, layout) = Farm::new(call, 0..100_000_u64).unwrap().plan(&options(2)).unwrap();
        assert_eq!(layout.block_count(), 256);
        let results: Vec<u64> = run(&plan).unwrap().into_iter().map(Result::unwrap).collect();
        assert!(results.iter().copied().eq(1..=100_000));
    }

    #[test]
    fn few_tasks_get_a_block_each() {
        let call = Call::over_tasks(|x: u64| x).unwrap();
        let (_, layout) = Farm::new(call, 0..40_u64).unwrap().plan(&options(2)).unwrap();
        assert_eq!((layout.tasks_per_block, layout.block_count()), (1, 40));
    }

    #[test]
    fn no_tasks_make_no_blocks() {
        let call = Call::over_tasks(|x: u64| x).unwrap();
        let (plan, _) = Farm::new(call, Vec::<u64>::new()).unwrap().plan(&options(2)).unwrap();
        assert_eq!(run::<u64>(&plan).unwrap(), []);
    }

    #[test]
    fn a_failing_task_names_its_parameter_and_spares_its_neighbours() {
        let call = Call::over_tasks(|(name, x): (String, f64)| {
            assert!(x >= 0.0, "no root of {x} for {name}");
            x.sqrt()
        });
        let parameters = vec![("a".to_owned(), 4.0), ("b".to_owned(), -1.0), ("c".to_owned(), 9.0)];
        let options = FarmOptions { batch: Some(3), ..options(1) };
        let (plan, _) = Farm::new(call.unwrap(), parameters).unwrap().plan(&options).unwrap();
        let results = run::<f64>(&plan).unwrap();
        assert_eq!((&results[0], &results[2]), (&Ok(2.0), &Ok(3.0)));
        let failure = results[1].as_ref().unwrap_err();
        let text = failure.to_string();
        assert!(text.starts_with("panicked at ") && text.contains("tasks.rs:"), "{text}");
        assert!(
            text.contains("no root of -1 for b") && text.ends_with(r#"with parameter ["b",-1.0]"#),
            "{text}"
        );
    }

    #[test]
    fn a_task_is_repeated_as_often_as_it_may_be() {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let call = Call::over_tasks_with(&(), |(): &(), (): ()| -> Result<u32, String> {
            let run = RUNS.fetch_add(1, Ordering::Relaxed);
            if run < 2 { Err(format!("attempt {run}")) } else { Ok(run) }
        });
        let farm = |retries| {
            RUNS.store(0, Ordering::Relaxed);
            let options = FarmOptions { retries, ..options(1) };
            Farm::new(call.as_ref().unwrap().clone(), [()]).unwrap().plan(&options).unwrap().0
        };
        assert_eq!(run::<u32>(&farm(2)).unwrap(), [Ok(2)]);
        let failure = run::<u32>(&farm(1)).unwrap().remove(0).unwrap_err();
        assert_eq!(failure.to_string(), "failed: attempt 1, with parameter null, 2 times");
    }

    #[test]
    fn a_payload_that_is_cut_short_is_refused() {
        let call = Call::over_tasks(|x: u64| x).unwrap();
        let (mut plan, _) = Farm::new(call, 0..4_u64).unwrap().plan(&options(1)).unwrap();
        plan.stages[0].work.payload.truncate(20);
        assert!(run::<u64>(&plan).unwrap_err().message.contains("cannot be read"));
    }

    #[test]
    fn more_parameters_than_one_call_may_carry_are_refused_with_a_way_out() {
        let call = Call::over_tasks(|x: Vec<u8>| x.len()).unwrap();
        let error = Farm::new(call, vec![vec![0_u8; PARAMETER_BYTES_MAX]; 2]).unwrap_err();
        assert!(error.to_string().contains("map over indices or file names"), "{error}");
    }
}
