//! Owns running blocks of a task farm on a worker: parameters through their steps, results into pairs.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use nuna_plan::{Executor, HeldId, Prepared, Stage, TaskError, Value};

use crate::{
    call::{Blocks, Call, Cause, TaskFault, TaskRoutine},
    scatter,
    tasks::{Begin, DONE, FAILED, Failure, Layout, Payload},
    timeout::{self, Calls},
};

/// Runs stages of [`WorkKind::Call`](nuna_plan::WorkKind::Call).
pub fn executor() -> Arc<dyn Executor> {
    Arc::new(CallExecutor)
}

struct CallExecutor;

type Routine = Box<dyn TaskRoutine>;

/// A stage on this worker. Shared, since a thread that runs a block may have to be left to itself.
struct PreparedFarm {
    payload: Payload,
    /// What the stage is called.
    name: String,
    /// Woken by the first block: captures may be handles to values that only blocks have.
    steps: OnceLock<Result<Arc<Steps>, TaskError>>,
}

struct Steps {
    attempts: u32,
    begin: Prologue,
    then: Vec<Routine>,
    fold: Option<Routine>,
    finish: Option<Routine>,
    /// Of the steps, in order; empty if there is only one.
    names: Vec<String>,
}

enum Prologue {
    Tasks { first: Routine, layout: Layout, block_starts: Vec<u64>, parameters: Bytes },
    Pairs(Routine),
    Value(Bytes),
    Blocks(Box<dyn Blocks>),
}

impl Executor for CallExecutor {
    fn prepare(&self, stage: &Stage) -> Result<Box<dyn Prepared>, TaskError> {
        let payload: Payload = postcard::from_bytes(&stage.work.payload).map_err(|error| {
            TaskError::fatal(format!("the tasks of `{}` cannot be read: {error}", stage.name))
        })?;
        let farm = PreparedFarm { payload, name: stage.name.clone(), steps: OnceLock::new() };
        if farm.payload.scattered.is_empty() {
            farm.steps()?;
        }
        Ok(Box::new(farm))
    }
}

impl PreparedFarm {
    fn steps(&self) -> Result<Arc<Steps>, TaskError> {
        self.steps.get_or_init(|| Steps::wake(&self.payload, &self.name).map(Arc::new)).clone()
    }
}

impl Steps {
    fn wake(payload: &Payload, name: &str) -> Result<Self, TaskError> {
        let begin = match &payload.begin {
            Begin::Tasks { call, task_count, tasks_per_block, block_starts, parameters } => {
                let layout = Layout { task_count: *task_count, tasks_per_block: *tasks_per_block };
                if layout.tasks_per_block == 0 || block_starts.len() as u64 != layout.block_count() {
                    return Err(TaskError::fatal(format!("the tasks of `{name}` do not add up")));
                }
                Prologue::Tasks {
                    first: call.open_tasks()?,
                    layout,
                    block_starts: block_starts.clone(),
                    parameters: parameters.clone(),
                }
            }
            Begin::Pairs { call } => Prologue::Pairs(call.open_tasks()?),
            Begin::Value(bytes) => Prologue::Value(bytes.clone()),
            Begin::Blocks { call } => Prologue::Blocks(call.open()?),
        };
        let then = payload.then.iter().map(Call::open_tasks).collect::<Result<_, _>>()?;
        let fold = payload.fold.as_ref().map(Call::open_tasks).transpose()?;
        let finish = payload.finish.as_ref().map(Call::open_tasks).transpose()?;
        Ok(Steps { attempts: payload.attempts, begin, then, fold, finish, names: payload.names.clone() })
    }
}

/// The scattered values that a block reads, by name.
fn scattered(ids: &[HeldId], inputs: &[Vec<Value>]) -> HashMap<HeldId, Bytes> {
    let values = inputs.iter().filter_map(|values| values.first());
    ids.iter().copied().zip(values.map(|value| value.body.clone())).collect()
}

impl Prepared for PreparedFarm {
    fn run(&self, block: u64, inputs: Vec<Vec<Value>>) -> Result<Value, TaskError> {
        let values = scattered(&self.payload.scattered, &inputs);
        let steps = scatter::reading(values.clone(), || self.steps())?;
        let Some(limit) = self.payload.timeout else {
            let run = || Run { farm: &steps, calls: &Calls::Unlimited }.block(block, &inputs);
            return scatter::reading(values, run);
        };
        let inputs = Arc::new(inputs);
        timeout::within(limit, move |calls| {
            let run = || Run { farm: &steps, calls }.block(block, &inputs);
            scatter::reading(values.clone(), run)
        })
    }
}

/// One block under way.
struct Run<'a> {
    farm: &'a Steps,
    calls: &'a Calls,
}

impl Run<'_> {
    fn block(&self, block: u64, inputs: &[Vec<Value>]) -> Result<Value, TaskError> {
        let mut body = Vec::new();
        match &self.farm.begin {
            Prologue::Tasks { first, layout, block_starts, parameters } => {
                let start = block_starts.get(block as usize).copied().unwrap_or(u64::MAX);
                let mut parameters = parameters.get(start as usize..).ok_or_else(|| {
                    TaskError::fatal(format!("block {block} of the tasks has no parameters"))
                })?;
                match &self.farm.fold {
                    None => {
                        for _ in layout.tasks(block) {
                            self.run_task(first.as_ref(), &mut parameters, &mut body)?;
                        }
                    }
                    Some(fold) => {
                        let mut pairs = Pairs::new(self, fold.as_ref(), self.farm.names.len());
                        let mut outcome = Vec::new();
                        for task in layout.tasks(block) {
                            outcome.clear();
                            self.run_task(first.as_ref(), &mut parameters, &mut outcome)?;
                            if !pairs.push(&outcome, || Some(task))? {
                                break;
                            }
                        }
                        body = pairs.finish()?;
                    }
                }
            }
            Prologue::Pairs(fold) => {
                let mut pairs = Pairs::new(self, fold.as_ref(), self.farm.names.len());
                for value in inputs.iter().flatten() {
                    if !pairs.push(&value.body, || None)? {
                        break;
                    }
                }
                let folded = pairs.finish()?;
                self.follow(&folded, &mut body)?;
            }
            Prologue::Value(bytes) => {
                return Ok(Value { header: Bytes::from_static(scatter::SHARED), body: bytes.clone() });
            }
            Prologue::Blocks(blocks) => {
                let values: Vec<Value> = inputs.iter().flatten().cloned().collect();
                return blocks.run(block, &values);
            }
        }
        if let Some(finish) = &self.farm.finish {
            body = self.finish(finish.as_ref(), block, &body)?;
        }
        Ok(Value { header: Bytes::new(), body: body.into() })
    }

    /// Gives the block's outcomes away; what came of that is its one outcome. The time it takes is not the tasks'.
    fn finish(&self, finish: &dyn TaskRoutine, block: u64, outcomes: &[u8]) -> Result<Vec<u8>, TaskError> {
        let (first, count) = match &self.farm.begin {
            Prologue::Tasks { layout, .. } if self.farm.fold.is_none() => {
                let tasks = layout.tasks(block);
                (tasks.start, tasks.end - tasks.start)
            }
            Prologue::Tasks { .. } | Prologue::Pairs(_) | Prologue::Value(_) | Prologue::Blocks(_) => {
                (block, 1)
            }
        };
        // An outcome is written as `postcard` writes a `Result`, so that they follow their number as a `Vec` of them does.
        let head = postcard::to_stdvec(&(block, first, count));
        let mut input = head.map_err(|error| TaskError::fatal(error.to_string()))?;
        input.extend_from_slice(outcomes);
        let run = Run { farm: self.farm, calls: &Calls::Unlimited };
        let mut body = Vec::new();
        run.attempt(finish, self.farm.names.len(), &mut input.as_slice(), &mut body)?;
        Ok(body)
    }

    /// One parameter through all its steps; appends the outcome.
    fn run_task(
        &self,
        first: &dyn TaskRoutine,
        parameters: &mut &[u8],
        body: &mut Vec<u8>,
    ) -> Result<(), TaskError> {
        if self.farm.then.is_empty() {
            return self.attempt(first, 0, parameters, body);
        }
        let mut outcome = Vec::new();
        self.attempt(first, 0, parameters, &mut outcome)?;
        self.follow(&outcome, body)
    }

    /// An outcome through the steps that follow it; a failure stays what it is.
    fn follow(&self, outcome: &[u8], body: &mut Vec<u8>) -> Result<(), TaskError> {
        let from = self
            .farm
            .names
            .len()
            .saturating_sub(self.farm.then.len() + usize::from(self.farm.fold.is_some()));
        let (mut current, mut next) = (outcome.to_vec(), Vec::new());
        for (number, routine) in self.farm.then.iter().enumerate() {
            let Some((&DONE, mut parameter)) = current.split_first() else { break };
            next.clear();
            self.attempt(routine.as_ref(), from + number, &mut parameter, &mut next)?;
            std::mem::swap(&mut current, &mut next);
        }
        body.extend_from_slice(&current);
        Ok(())
    }

    /// Attempts follow one another on this worker: what a task failed with is nearly always its own doing, and
    /// a worker that dies takes the whole block along to another one anyway.
    fn attempt(
        &self,
        routine: &dyn TaskRoutine,
        step: usize,
        parameters: &mut &[u8],
        body: &mut Vec<u8>,
    ) -> Result<(), TaskError> {
        let before = *parameters;
        let mut attempt = 1;
        loop {
            let start = body.len();
            body.push(DONE);
            match self.calls.run(routine, parameters, body) {
                Ok(()) => return Ok(()),
                Err(fault) if matches!(fault.cause, Cause::Unreadable | Cause::Left) => {
                    return Err(TaskError::fatal(fault.message));
                }
                Err(fault) if attempt >= self.farm.attempts => {
                    body.truncate(start);
                    return self.give_up(fault, step, attempt, body);
                }
                Err(_) => {
                    body.truncate(start);
                    *parameters = before;
                    attempt += 1;
                }
            }
        }
    }

    #[cold]
    fn give_up(
        &self,
        fault: TaskFault,
        step: usize,
        attempts: u32,
        body: &mut Vec<u8>,
    ) -> Result<(), TaskError> {
        let TaskFault { mut message, location, parameter, cause } = fault;
        if let Some(name) = self.farm.names.get(step) {
            message = format!("{message} (in step {} of {}, `{name}`)", step + 1, self.farm.names.len());
        }
        let (panicked, timed_out) = (cause == Cause::Panicked, cause == Cause::TimedOut);
        write_failure(&Failure { message, location, parameter, attempts, panicked, timed_out }, body)
    }
}

fn write_failure(failure: &Failure, body: &mut Vec<u8>) -> Result<(), TaskError> {
    body.push(FAILED);
    postcard::to_io(failure, body).map(drop).map_err(|error| TaskError::fatal(error.to_string()))
}

/// Folds results as a tree of pairs: at any time one result of each size, the larger before the smaller, as the bits of
/// how many came. Two neighbours on the stack lie one behind the other, which is how `postcard` writes a pair.
struct Pairs<'a> {
    run: &'a Run<'a>,
    routine: &'a dyn TaskRoutine,
    /// What the step is called.
    step: usize,
    bytes: Vec<u8>,
    /// The rank of each result on the stack, and where it begins.
    stack: Vec<(u32, usize)>,
    scratch: Vec<u8>,
    failed: Option<Vec<u8>>,
}

impl<'a> Pairs<'a> {
    fn new(run: &'a Run<'a>, routine: &'a dyn TaskRoutine, steps: usize) -> Self {
        let farm = run.farm;
        let step = if farm.fold.is_some() { steps } else { steps.saturating_sub(farm.then.len()) };
        Pairs {
            run,
            routine,
            step: step.saturating_sub(1),
            bytes: Vec::new(),
            stack: Vec::new(),
            scratch: Vec::new(),
            failed: None,
        }
    }

    /// Takes an outcome in. False if there is no use in further ones: the first failure is the result.
    fn push(&mut self, outcome: &[u8], task: impl FnOnce() -> Option<u64>) -> Result<bool, TaskError> {
        let Some((&DONE, result)) = outcome.split_first() else {
            self.failed = Some(named(outcome, task())?);
            return Ok(false);
        };
        self.stack.push((0, self.bytes.len()));
        self.bytes.extend_from_slice(result);
        while let [.., (left, _), (right, _)] = self.stack[..]
            && left == right
        {
            if !self.merge()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The two smallest results become one.
    fn merge(&mut self) -> Result<bool, TaskError> {
        self.stack.pop();
        let Some((rank, start)) = self.stack.last_mut() else { return Ok(true) };
        self.scratch.clear();
        let mut pair = &self.bytes[*start..];
        self.run.attempt(self.routine, self.step, &mut pair, &mut self.scratch)?;
        match self.scratch.split_first() {
            Some((&DONE, result)) => {
                self.bytes.truncate(*start);
                self.bytes.extend_from_slice(result);
                *rank += 1;
                Ok(true)
            }
            _ => {
                self.failed = Some(std::mem::take(&mut self.scratch));
                Ok(false)
            }
        }
    }

    /// The one result, as an outcome.
    fn finish(mut self) -> Result<Vec<u8>, TaskError> {
        while self.failed.is_none() && self.stack.len() > 1 {
            self.merge()?;
        }
        if let Some(failed) = self.failed {
            return Ok(failed);
        }
        if self.stack.is_empty() {
            return Err(TaskError::fatal("a block of a reduction was given no results"));
        }
        self.bytes.insert(0, DONE);
        Ok(self.bytes)
    }
}

/// A failed outcome that says which task it was, which nobody could tell from the reduced result.
#[cold]
fn named(outcome: &[u8], task: Option<u64>) -> Result<Vec<u8>, TaskError> {
    let Some(task) = task else { return Ok(outcome.to_vec()) };
    let unreadable = || TaskError::fatal("an outcome cannot be read");
    let (_, failure) = outcome.split_first().ok_or_else(unreadable)?;
    let mut failure: Failure = postcard::from_bytes(failure).map_err(|_| unreadable())?;
    failure.message = format!("task {task}: {}", failure.message);
    let mut body = Vec::new();
    write_failure(&failure, &mut body)?;
    Ok(body)
}
