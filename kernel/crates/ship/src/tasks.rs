//! Owns the task farm: parameters packed into a stage of blocks, what follows from their results, and the outcomes read
//! back in order. Leaves running a block to `run`.
//!
//! A block holds many tasks, so that a hundred thousand trivial ones cost a few hundred messages; a failing task
//! fails alone, is repeated alone, and its neighbours' results count. A step that takes a result on ([`Farm::then`]) runs
//! in the block that made it, so a chain of a thousand steps moves nothing. A reduction is a tree of pairs over the tasks'
//! numbers: blocks hold a power of two of tasks, so that how many there are, and who runs them, changes no pair.

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use nuna_plan::{
    AxisMap, BlockGrid, BlockMap, HeldId, Input, Keep, LibraryId, MemoryBound, Origin, Plan, Source, Stage,
    TaskError, Terms, Value, Work, WorkKind,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{call::Call, error::ShipError, scatter::Held};

/// Parameters of one farm may take this much; workers each get a copy.
pub const PARAMETER_BYTES_MAX: usize = 32 << 20;
/// What a worker sets aside for one block's results before it has seen any.
const RESULT_BYTES_EXPECTED: u64 = 64 << 10;
/// As many blocks as keep this many compute threads busy and balanced, however many tasks there are.
const BLOCKS_PER_THREAD: u64 = 64;
const BLOCKS_MIN: u64 = 256;
/// Blocks whose results one block of a reduction takes in. A power of two, as the tree of pairs demands.
const FAN_IN: u64 = 16;

/// A closure and all its parameters, and what is to become of the results: ready to become a plan. Clones share the
/// parameters.
#[derive(Clone, Debug)]
pub struct Farm {
    call: Call,
    parameters: Arc<Vec<u8>>,
    /// Where each task's parameter begins.
    starts: Arc<Vec<usize>>,
    steps: Vec<Step>,
    /// What becomes of a block's outcomes on its worker, in place of being sent.
    finish: Option<Call>,
    /// Values on the workers that tasks read.
    scattered: Vec<Arc<Held>>,
}

#[derive(Clone, Debug)]
enum Step {
    Then(Call),
    Reduce(Call),
}

/// How to run a [`Farm`].
#[derive(Clone, Debug)]
pub struct FarmOptions {
    /// What a person would call it; task keys are `label[i]`.
    pub label: String,
    /// Further attempts after a failed one, per task.
    pub retries: u32,
    /// How long each call may run; one that takes longer counts as a failed attempt.
    pub timeout: Option<Duration>,
    /// Compute threads that will share the work; decides how many tasks make a block.
    pub thread_count: usize,
    /// Tasks per block, where the caller knows better.
    pub batch: Option<u64>,
    pub origin: Option<Origin>,
    pub terms: Terms,
}

/// What a block does, for the executor.
#[derive(Serialize, Deserialize)]
pub(crate) struct Payload {
    pub(crate) attempts: u32,
    pub(crate) timeout: Option<Duration>,
    pub(crate) begin: Begin,
    /// What each result goes through, in order.
    pub(crate) then: Vec<Call>,
    /// What makes one of the block's results, at last.
    pub(crate) fold: Option<Call>,
    /// What takes the block's outcomes in, as [`Finishing`].
    pub(crate) finish: Option<Call>,
    /// Values that the tasks read, in the order of the stage's inputs.
    pub(crate) scattered: Vec<HeldId>,
    /// What the steps are called in messages, if there are several.
    pub(crate) names: Vec<String>,
}

/// Where a block's first results come from.
#[derive(Serialize, Deserialize)]
pub(crate) enum Begin {
    /// One call for each parameter.
    Tasks {
        call: Call,
        task_count: u64,
        tasks_per_block: u64,
        /// Where each block's parameters begin.
        block_starts: Vec<u64>,
        parameters: Bytes,
    },
    /// These bytes, whatever the block.
    Value(Bytes),
    /// The single results of the blocks that it reads, folded into one.
    Pairs { call: Call },
    /// What the call makes of the block's number and inputs, as it is.
    Blocks { call: Call },
}

impl Payload {
    pub(crate) fn only(begin: Begin) -> Self {
        Payload {
            attempts: 1,
            timeout: None,
            begin,
            then: Vec::new(),
            fold: None,
            finish: None,
            scattered: Vec::new(),
            names: Vec::new(),
        }
    }
}

/// The work of a stage whose blocks are what `call` makes of them: a closure of [`Call::over_blocks`], which is given the
/// values of all inputs one after another.
pub fn block_work(call: Call) -> Work {
    let libraries = call.libraries();
    let payload = Payload::only(Begin::Blocks { call });
    let payload =
        postcard::to_stdvec(&payload).expect("calls are bytes and names, and memory takes all of them");
    Work { kind: WorkKind::Call, payload, libraries }
}

/// What a finishing closure is given: the number of the block, the number of its first task, and the outcomes of its tasks.
pub type Finishing<R> = (u64, u64, Vec<Result<R, Failure>>);

impl Farm {
    /// Serialises the parameters, in order.
    ///
    /// # Errors
    /// If one cannot be serialised, or all together are larger than [`PARAMETER_BYTES_MAX`].
    pub fn new<P: Serialize>(call: Call, parameters: impl IntoIterator<Item = P>) -> Result<Self, ShipError> {
        let (mut bytes, mut starts) = (Vec::<u8>::new(), Vec::new());
        for parameter in parameters {
            starts.push(bytes.len());
            postcard::to_io(&parameter, &mut bytes)
                .map_err(|error| unserialised(&call, starts.len() - 1, std::any::type_name::<P>(), &error))?;
            if bytes.len() > PARAMETER_BYTES_MAX {
                return Err(ShipError::TooManyParameters { bytes: bytes.len(), limit: PARAMETER_BYTES_MAX });
            }
        }
        Ok(Farm {
            call,
            parameters: Arc::new(bytes),
            starts: Arc::new(starts),
            steps: Vec::new(),
            finish: None,
            scattered: Vec::new(),
        })
    }

    /// Calls `call`, a closure over what the farm gives so far, with each result.
    #[must_use]
    pub fn then(mut self, call: Call) -> Self {
        self.steps.push(Step::Then(call));
        self
    }

    /// Makes one result of all: `call` is a closure over a pair of results. Pairs are neighbours in the order of the tasks,
    /// then pairs of pairs, and so on; one that is left over waits for the next round. Which pairs there are follows from
    /// the number of tasks alone.
    #[must_use]
    pub fn reduce(mut self, call: Call) -> Self {
        self.steps.push(Step::Reduce(call));
        self
    }

    /// Gives the outcomes of each block to `call`, a closure over [`Finishing`], on the worker that made them. What it
    /// returns is the block's one result.
    #[must_use]
    pub fn finish(mut self, call: Call) -> Self {
        self.finish = Some(call);
        self
    }

    /// Its tasks read these values; see [`collecting`](crate::scatter::collecting).
    #[must_use]
    pub fn reading(mut self, scattered: Vec<Arc<Held>>) -> Self {
        self.scattered = scattered;
        self
    }

    /// What must stay held until the plan is with the scheduler.
    pub fn scattered(&self) -> Vec<Arc<Held>> {
        self.scattered.clone()
    }

    /// How many tasks there are.
    pub fn task_count(&self) -> u64 {
        self.starts.len() as u64
    }

    /// How many results there will be.
    pub fn result_count(&self) -> u64 {
        let reduces = self.steps.iter().any(|step| matches!(step, Step::Reduce(_)));
        if reduces { self.task_count().min(1) } else { self.task_count() }
    }

    /// Which tasks will be in which block.
    pub fn layout(&self, options: &FarmOptions) -> Layout {
        let task_count = self.task_count();
        let blocks_wanted = (options.thread_count as u64).saturating_mul(BLOCKS_PER_THREAD).max(BLOCKS_MIN);
        let tasks_per_block = options.batch.unwrap_or(task_count.div_ceil(blocks_wanted)).max(1);
        let reduces = self.steps.iter().any(|step| matches!(step, Step::Reduce(_)));
        // Saturates where no block could hold so many anyway.
        let aligned = || tasks_per_block.checked_next_power_of_two().unwrap_or(1 << 63);
        Layout { task_count, tasks_per_block: if reduces { aligned() } else { tasks_per_block } }
    }

    /// A plan whose last stage delivers every block, and the way to read its blocks.
    ///
    /// # Errors
    /// If the payload cannot be serialised.
    pub fn plan(self, options: &FarmOptions) -> Result<(Plan, Layout), ShipError> {
        let mut layout = self.layout(options);
        let mut names = vec![self.call.name.clone()];
        let block_starts =
            (0..layout.block_count()).map(|block| self.starts[layout.tasks(block).start as usize] as u64);
        let mut begin = Begin::Tasks {
            task_count: layout.task_count,
            tasks_per_block: layout.tasks_per_block,
            block_starts: block_starts.collect(),
            // Copied only while another handle has the parameters too.
            parameters: Arc::unwrap_or_clone(self.parameters).into(),
            call: self.call,
        };
        let scattered: Vec<HeldId> = self.scattered.iter().map(|held| held.id()).collect();
        let mut stages = Vec::new();
        let mut then = Vec::new();
        for step in self.steps {
            match step {
                Step::Then(call) => {
                    names.push(call.name.clone());
                    then.push(call);
                }
                // Nothing makes nothing, and one result needs no partner.
                Step::Reduce(_) if layout.task_count <= 1 => {}
                Step::Reduce(call) => {
                    names.push(call.name.clone());
                    let name = |part: &str| format!("{} {part}", options.label);
                    let draft = Draft {
                        begin,
                        then: std::mem::take(&mut then),
                        fold: Some(call.clone()),
                        finish: None,
                        scattered: &scattered,
                    };
                    stages.push(draft.stage(
                        name("tasks"),
                        layout.block_count(),
                        &stages,
                        options,
                        &names,
                    )?);
                    let mut blocks = layout.block_count();
                    while blocks > FAN_IN {
                        blocks = blocks.div_ceil(FAN_IN);
                        let begin = Begin::Pairs { call: call.clone() };
                        let draft =
                            Draft { begin, then: Vec::new(), fold: None, finish: None, scattered: &[] };
                        stages.push(draft.stage(name("reduce"), blocks, &stages, options, &names)?);
                    }
                    begin = Begin::Pairs { call };
                    layout = Layout { task_count: 1, tasks_per_block: 1 };
                }
            }
        }
        let finishes = self.finish.is_some();
        let draft = Draft { begin, then, fold: None, finish: self.finish, scattered: &scattered };
        let mut last = draft.stage(options.label.clone(), layout.block_count(), &stages, options, &names)?;
        last.keep = if options.terms.detached { Keep::No } else { Keep::Deliver };
        stages.push(last);
        if finishes {
            layout = Layout { task_count: layout.block_count(), tasks_per_block: 1 };
        }
        Ok((Plan { label: options.label.clone(), stages, terms: options.terms.clone() }, layout))
    }
}

/// A stage to be: what its blocks do.
struct Draft<'a> {
    begin: Begin,
    then: Vec<Call>,
    fold: Option<Call>,
    finish: Option<Call>,
    /// For the tasks, if it begins with tasks.
    scattered: &'a [HeldId],
}

impl Draft<'_> {
    /// The stage that follows `before`: it reads the last of them, if it begins with results.
    fn stage(
        self,
        name: String,
        blocks: u64,
        before: &[Stage],
        options: &FarmOptions,
        names: &[String],
    ) -> Result<Stage, ShipError> {
        let Draft { begin, then, fold, finish, scattered } = self;
        let first = match &begin {
            Begin::Tasks { call, .. } | Begin::Pairs { call } | Begin::Blocks { call } => Some(call),
            Begin::Value(_) => None,
        };
        let label = first.map_or_else(|| name.clone(), |call| call.name.clone());
        let mut libraries: Vec<LibraryId> = Vec::new();
        for id in first.into_iter().chain(&then).chain(&fold).chain(&finish).flat_map(Call::libraries) {
            if !libraries.contains(&id) {
                libraries.push(id);
            }
        }
        let mut inputs = Vec::new();
        let mut bound = MemoryBound { inputs: 0, output: RESULT_BYTES_EXPECTED, scratch: 0 };
        if let (Begin::Pairs { .. }, Some(read)) = (&begin, before.last()) {
            let map = BlockMap::Axes {
                input_grid: read.grid.clone(),
                axes: vec![AxisMap::Group { axis: 0, size: FAN_IN }],
            };
            inputs.push(Input { source: Source::Stage(before.len() as u32 - 1), map });
            bound.inputs = FAN_IN * RESULT_BYTES_EXPECTED;
        }
        let scattered = if matches!(begin, Begin::Tasks { .. }) { scattered.to_vec() } else { Vec::new() };
        // They are counted where they are kept: once, however many blocks read them.
        inputs.extend(scattered.iter().map(|&held| Input {
            source: Source::Held(held),
            map: BlockMap::Axes { input_grid: BlockGrid::line(1), axes: vec![AxisMap::All] },
        }));
        let names = if names.len() > 1 { names.to_vec() } else { Vec::new() };
        let payload = Payload {
            attempts: options.retries.saturating_add(1),
            timeout: options.timeout,
            begin,
            then,
            fold,
            finish,
            scattered,
            names,
        };
        let payload = postcard::to_stdvec(&payload)
            .map_err(|error| ShipError::Pack { name: label, message: error.to_string() })?;
        Ok(Stage {
            name,
            grid: BlockGrid::line(blocks),
            inputs,
            work: Work { kind: WorkKind::Call, payload, libraries },
            bound,
            keep: Keep::No,
            retries: options.retries,
            origin: options.origin.clone(),
        })
    }
}

#[cold]
fn unserialised(call: &Call, number: usize, ty: &str, error: &postcard::Error) -> ShipError {
    let message = format!("parameter {number}, of type {ty}, cannot be serialised: {error}");
    ShipError::Pack { name: call.name.clone(), message }
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
    /// Whether the last attempt took longer than it may.
    pub timed_out: bool,
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

/// Before a result.
pub(crate) const DONE: u8 = 0;
/// Before a [`Failure`].
pub(crate) const FAILED: u8 = 1;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::executor;

    fn options(thread_count: usize) -> FarmOptions {
        FarmOptions {
            label: "tasks".to_owned(),
            retries: 0,
            timeout: None,
            thread_count,
            batch: None,
            origin: None,
            terms: Terms::default(),
        }
    }

    /// Runs every block as a worker would, from the plan's bytes alone.
    fn run<R: DeserializeOwned>(plan: &Plan) -> Result<Vec<Result<R, Failure>>, TaskError> {
        plan.validate().unwrap();
        let mut before: Vec<Value> = Vec::new();
        for stage in &plan.stages {
            let prepared = executor().prepare(stage)?;
            let run = |block| {
                let reads = stage.inputs.iter().map(|input| input.map.read_indices(&stage.grid, block));
                let inputs = reads.map(|reads| reads.iter().map(|&b| before[b as usize].clone()).collect());
                prepared.run(block, inputs.collect())
            };
            before = (0..stage.grid.count()).map(run).collect::<Result<_, _>>()?;
        }
        before
            .iter()
            .map(outcomes)
            .collect::<Result<Vec<_>, _>>()
            .map(|all| all.into_iter().flatten().collect())
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

    #[test]
    fn steps_follow_one_another_in_one_block() {
        let farm = Farm::new(Call::over_tasks(|x: u64| x + 1).unwrap(), 0..1000_u64).unwrap();
        let farm = farm.then(Call::over_tasks(|x: u64| format!("{x}")).unwrap());
        let farm = farm.then(Call::over_tasks(|text: String| text.len() as u8).unwrap());
        let (plan, _) = farm.plan(&options(2)).unwrap();
        assert_eq!(plan.stages.len(), 1);
        let lengths: Vec<u8> = run(&plan).unwrap().into_iter().map(Result::unwrap).collect();
        assert!(lengths.into_iter().eq((1..=1000_u64).map(|x| format!("{x}").len() as u8)));
    }

    #[test]
    fn a_failing_step_is_named_and_skips_what_follows() {
        let farm = Farm::new(Call::over_tasks(|x: u64| x).unwrap(), 0..3_u64).unwrap();
        let farm = farm.then(
            Call::over_tasks_with(&(), |(): &(), x: u64| if x == 1 { Err("odd".to_owned()) } else { Ok(x) })
                .unwrap(),
        );
        let farm = farm.then(Call::over_tasks(|x: u64| x * 10).unwrap());
        let results = run::<u64>(&farm.plan(&options(1)).unwrap().0).unwrap();
        assert_eq!((&results[0], &results[2]), (&Ok(0), &Ok(20)));
        let failure = results[1].as_ref().unwrap_err().to_string();
        assert!(
            failure.contains("odd (in step 2 of 3, `") && failure.ends_with("with parameter 1"),
            "{failure}"
        );
    }

    /// Sums of very different numbers, which say in their last bits in which order they were added.
    fn sum(count: u64, batch: Option<u64>) -> (u32, usize) {
        let farm = Farm::new(Call::over_tasks(|x: u64| 1.0 / (x as f32 + 0.3)).unwrap(), 0..count).unwrap();
        let farm = farm.reduce(Call::over_tasks(|(a, b): (f32, f32)| a + b).unwrap());
        let (plan, layout) = farm.plan(&FarmOptions { batch, ..options(2) }).unwrap();
        assert_eq!(layout.block_count(), 1);
        let results = run::<f32>(&plan).unwrap();
        assert_eq!(results.len(), 1);
        (results[0].as_ref().unwrap().to_bits(), plan.stages.len())
    }

    #[test]
    fn a_reduction_gives_the_same_bits_in_whatever_batches() {
        for count in [1, 2, 3, 5, 31, 32, 33, 1000, 4097] {
            let (whole, _) = sum(count, Some(1 << 20));
            for batch in [None, Some(1), Some(3), Some(16), Some(100)] {
                assert_eq!(sum(count, batch).0, whole, "{count} tasks in batches of {batch:?}");
            }
        }
        assert_eq!(sum(4097, Some(1)).1, 5, "4097 blocks, 257, 17, 2 and 1");
    }

    #[test]
    fn a_reduction_of_nothing_is_nothing() {
        let farm = Farm::new(Call::over_tasks(|x: u64| x).unwrap(), Vec::<u64>::new()).unwrap();
        let farm = farm.reduce(Call::over_tasks(|(a, b): (u64, u64)| a + b).unwrap());
        assert_eq!(run::<u64>(&farm.plan(&options(2)).unwrap().0).unwrap(), []);
    }

    #[test]
    fn a_reduction_fails_with_its_first_failed_task_and_goes_on_with_what_it_made() {
        let farm = |limit: u64| {
            let call = Call::over_tasks(move |x: u64| {
                assert!(x < limit, "{x} is too much");
                x
            });
            let farm = Farm::new(call.unwrap(), 0..100_u64).unwrap();
            let farm = farm.reduce(Call::over_tasks(|(a, b): (u64, u64)| a + b).unwrap());
            let farm = farm.then(Call::over_tasks(|sum: u64| format!("{sum} in all")).unwrap());
            farm.plan(&FarmOptions { batch: Some(4), ..options(2) }).unwrap().0
        };
        assert_eq!(run::<String>(&farm(100)).unwrap(), [Ok("4950 in all".to_owned())]);
        let failure = run::<String>(&farm(50)).unwrap().remove(0).unwrap_err().to_string();
        assert!(failure.contains("task 50: 50 is too much (in step 1 of 2, `"), "{failure}");
    }

    #[test]
    fn clones_of_a_farm_go_separate_ways() {
        let farm = Farm::new(Call::over_tasks(|x: u64| x).unwrap(), 0..10_u64).unwrap();
        let twice = farm.clone().then(Call::over_tasks(|x: u64| 2 * x).unwrap());
        assert_eq!(run::<u64>(&farm.plan(&options(1)).unwrap().0).unwrap()[9], Ok(9));
        assert_eq!(run::<u64>(&twice.plan(&options(1)).unwrap().0).unwrap()[9], Ok(18));
    }
}
