//! Owns what clients want computed: plans of every shape the scheduler knows, what they must give, and which of their
//! blocks fail. A job is a few plans, one after another, where a later one may read what an earlier one has left.

use std::collections::BTreeMap;

use nuna_plan::{
    AxisMap, BlockGrid, BlockMap, HeldId, Input, Keep, MemoryBound, Plan, Source, Splits, Stage, Work,
    WorkKind,
};
use rand::{Rng, rngs::StdRng};

use crate::agenda::Time;

/// Every value has this many bytes.
pub(crate) const VALUE_BYTES: u64 = 100;
/// Stands in a plan for what its client will call the held values.
const HELD: HeldId = HeldId(0);

/// How a job must end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// With all its results.
    Results,
    /// With an error that says this.
    Error(String),
    /// With its results, or with an error that says this.
    ResultsOrError(String),
    /// Nobody wants it any more after so many microseconds, whether it was over by then or not.
    Cancelled(u64),
}

/// What is wrong with a block.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    /// Fails so many times, and says that it may be tried again.
    Transient(u32),
    Fatal,
    /// Takes its worker with it.
    Crash,
}

/// What only the simulation knows of a stage.
#[derive(Clone, Debug)]
pub(crate) struct StageTruth {
    /// Whether delivered values travel with their completion, or wait at the worker.
    pub(crate) inline: bool,
    pub(crate) duration: (Time, Time),
    pub(crate) troubles: BTreeMap<u64, Trouble>,
}

#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) plan: Plan,
    pub(crate) truths: Vec<StageTruth>,
    /// What is delivered, by stage and block.
    pub(crate) expected: BTreeMap<(u32, u64), u64>,
}

/// What one client wants computed, plan after plan.
#[derive(Clone, Debug)]
pub struct Job {
    pub(crate) steps: Vec<Step>,
    pub expect: Expect,
}

/// What a block computes: its inputs and its own number, so that order and omissions show.
pub(crate) fn compute(block: u64, inputs: impl IntoIterator<Item = u64>) -> u64 {
    let mut value = block.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for (number, input) in inputs.into_iter().enumerate() {
        value = value.rotate_left(5) ^ input.wrapping_add(number as u64);
    }
    value
}

fn stage(name: &str, grid: BlockGrid, keep: Keep) -> Stage {
    Stage {
        name: name.into(),
        grid,
        inputs: Vec::new(),
        work: Work { kind: WorkKind::Call, payload: Vec::new(), libraries: Vec::new() },
        bound: MemoryBound { inputs: 0, output: VALUE_BYTES, scratch: 0 },
        keep,
        retries: 0,
        origin: None,
    }
}

fn reads(mut stage: Stage, source: Source, map: BlockMap) -> Stage {
    stage.inputs.push(Input { source, map });
    let most = (0..stage.grid.count())
        .map(|block| stage.inputs.iter().map(|input| input.map.read_count(&stage.grid, block)).sum::<u64>())
        .max();
    stage.bound.inputs = most.unwrap_or(0) * VALUE_BYTES;
    stage
}

fn axes<const N: usize>(grid: BlockGrid, axes: [AxisMap; N]) -> BlockMap {
    BlockMap::Axes { input_grid: grid, axes: axes.into() }
}

fn plan(label: &str, stages: Vec<Stage>) -> Plan {
    Plan { label: label.into(), stages, terms: Default::default() }
}

fn farm_plan(count: u64) -> Plan {
    plan("farm", vec![stage("farm", BlockGrid::line(count), Keep::Deliver)])
}

/// `count` blocks, combined in groups of `size` until one is left.
fn tree_plan(count: u64, size: u64) -> Plan {
    let mut stages = vec![stage("leaf", BlockGrid::line(count), Keep::No)];
    let mut blocks = count;
    while blocks > 1 {
        let map = axes(BlockGrid::line(blocks), [AxisMap::Group { axis: 0, size }]);
        blocks = blocks.div_ceil(size);
        let keep = if blocks == 1 { Keep::Deliver } else { Keep::No };
        let source = Source::Stage(stages.len() as u32 - 1);
        stages.push(reads(stage("sum", BlockGrid::line(blocks), keep), source, map));
    }
    plan("tree", stages)
}

/// Everything reads everything: a rechunk at its worst.
fn transpose_plan(from: u64, to: u64) -> Plan {
    let all = axes(BlockGrid::line(from), [AxisMap::All]);
    plan(
        "transpose",
        vec![
            stage("a", BlockGrid::line(from), Keep::No),
            reads(stage("b", BlockGrid::line(to), Keep::Deliver), Source::Stage(0), all),
        ],
    )
}

/// Cut along one axis, then along the other, as from maps to time series.
fn rechunk_plan(rng: &mut StdRng) -> Plan {
    let length: u64 = rng.random_range(4..40);
    let chunk = |rng: &mut StdRng| Splits::Regular { chunk: rng.random_range(1..=length.min(8)), length };
    let (input, output) = (chunk(rng), chunk(rng));
    let rows = rng.random_range(1..3);
    let (grid, result) = (BlockGrid::new([input.count(), rows]), BlockGrid::new([output.count()]));
    let map = axes(grid.clone(), [AxisMap::Overlap { axis: 0, output, input }, AxisMap::All]);
    plan(
        "rechunk",
        vec![
            stage("maps", grid, Keep::No),
            reads(stage("series", result, Keep::Deliver), Source::Stage(0), map),
        ],
    )
}

/// Two inputs, one shifted by its neighbour; a value that is delivered and read.
fn neighbours_plan(n: u64) -> Plan {
    let line = || BlockGrid::line(n);
    let shift = axes(line(), [AxisMap::Along { axis: 0, offset: 1 }]);
    let thirds = axes(line(), [AxisMap::Group { axis: 0, size: 3 }]);
    plan(
        "neighbours",
        vec![
            stage("a", line(), Keep::No),
            reads(stage("b", line(), Keep::Deliver), Source::Stage(0), BlockMap::Same),
            reads(
                reads(stage("c", line(), Keep::No), Source::Stage(1), shift),
                Source::Stage(0),
                BlockMap::Same,
            ),
            reads(stage("d", BlockGrid::line(n.div_ceil(3)), Keep::Deliver), Source::Stage(2), thirds),
        ],
    )
}

/// Held by a first plan, read by later ones.
fn held_plans(n: u64) -> Vec<Plan> {
    let line = || BlockGrid::line(n);
    let read = axes(line(), [AxisMap::Group { axis: 0, size: 2 }]);
    vec![
        plan(
            "persist",
            vec![
                stage("a", line(), Keep::No),
                reads(stage("kept", line(), Keep::Hold(HELD)), Source::Stage(0), BlockMap::Same),
            ],
        ),
        plan("read once", vec![reads(stage("b", line(), Keep::Deliver), Source::Held(HELD), BlockMap::Same)]),
        plan(
            "read again",
            vec![reads(stage("c", BlockGrid::line(n.div_ceil(2)), Keep::Deliver), Source::Held(HELD), read)],
        ),
    ]
}

impl Job {
    fn new(plans: Vec<Plan>, inline: bool, duration: (Time, Time)) -> Self {
        let mut held = BTreeMap::new();
        let steps = plans
            .into_iter()
            .map(|plan| {
                let expected = expected(&plan, &mut held);
                let truth = StageTruth { inline, duration, troubles: BTreeMap::new() };
                Step { truths: vec![truth; plan.stages.len()], plan, expected }
            })
            .collect();
        Self { steps, expect: Expect::Results }
    }

    /// `count` blocks that read nothing, each of about `duration` microseconds.
    pub fn farm(count: u64, duration: u64) -> Self {
        Self::new(vec![farm_plan(count)], true, (duration, duration + duration / 10 + 1))
    }

    /// `count` blocks combined in groups of `size`, each of about `duration` microseconds.
    pub fn tree(count: u64, size: u64, duration: u64) -> Self {
        Self::new(vec![tree_plan(count, size)], true, (duration, duration + duration / 10 + 1))
    }

    /// `to` blocks that all read all of `from` blocks, each of about `duration` microseconds.
    pub fn transpose(from: u64, to: u64, duration: u64) -> Self {
        Self::new(vec![transpose_plan(from, to)], true, (duration, duration + duration / 10 + 1))
    }

    /// A block of the first stage takes its worker with it whenever it runs.
    #[must_use]
    pub fn with_crash(mut self, block: u64) -> Self {
        let stage = &self.steps[0].plan.stages[0];
        let coords: Vec<String> = stage.grid.coords(block).iter().map(u64::to_string).collect();
        self.expect = Expect::Error(format!("{}[{}]", stage.name, coords.join(", ")));
        self.steps[0].truths[0].troubles.insert(block, Trouble::Crash);
        self
    }

    /// It may also end with an error that says `text`.
    #[must_use]
    pub fn or_error(mut self, text: &str) -> Self {
        self.expect = Expect::ResultsOrError(text.to_owned());
        self
    }

    /// Blocks of all its plans.
    pub fn block_count(&self) -> u64 {
        self.steps.iter().map(|step| step.plan.block_count()).sum()
    }

    /// A job of any shape, with or without blocks that fail.
    pub fn random(rng: &mut StdRng) -> Self {
        let plans = match rng.random_range(0..6) {
            0 => vec![tree_plan(rng.random_range(2..150), rng.random_range(2..7))],
            1 => vec![transpose_plan(rng.random_range(1..14), rng.random_range(1..14))],
            2 => vec![neighbours_plan(rng.random_range(2..40))],
            3 => vec![rechunk_plan(rng)],
            4 => held_plans(rng.random_range(1..40)),
            _ => vec![farm_plan(rng.random_range(1..400))],
        };
        let duration = [(1, 60), (10, 3_000), (2_000, 20_000)][rng.random_range(0..3)];
        let mut job = Self::new(plans, rng.random(), duration);
        match rng.random_range(0..10) {
            0 => job.expect = Expect::Cancelled(rng.random_range(0..60_000)),
            1..=3 => job.add_troubles(rng),
            _ => {}
        }
        if rng.random_bool(0.2) {
            let name = ["gpu", "licence"][rng.random_range(0..2)];
            job.steps.iter_mut().for_each(|step| step.plan.terms.needs.push((name.to_owned(), 1)));
        }
        if rng.random_bool(0.25) {
            job = job.with_priority(rng.random_range(-2..3));
        }
        job
    }

    /// The same job, of that priority.
    #[must_use]
    pub fn with_priority(mut self, priority: i32) -> Self {
        self.steps.iter_mut().for_each(|step| step.plan.terms.priority = priority);
        self
    }

    /// Some blocks fail now and then; sometimes one fails too often, or for good.
    fn add_troubles(&mut self, rng: &mut StdRng) {
        let retries = rng.random_range(0..4);
        for step in &mut self.steps {
            for (stage, truth) in step.plan.stages.iter_mut().zip(&mut step.truths) {
                stage.retries = retries;
                for block in 0..stage.grid.count() {
                    if retries > 0 && rng.random_bool(0.05) {
                        truth.troubles.insert(block, Trouble::Transient(rng.random_range(1..=retries)));
                    }
                }
            }
        }
        let worst = match rng.random_range(0..4) {
            0 => Trouble::Fatal,
            1 => Trouble::Transient(retries + 1),
            _ => return,
        };
        // Later steps may never begin.
        let step = &mut self.steps[0];
        let stage = rng.random_range(0..step.truths.len());
        let block = rng.random_range(0..step.plan.stages[stage].grid.count());
        step.truths[stage].troubles.insert(block, worst);
        // A failure may be lost with the worker that was to report it, and then it was one too few to count.
        self.expect = match worst {
            Trouble::Transient(_) => Expect::ResultsOrError("it does not work".into()),
            Trouble::Fatal | Trouble::Crash => Expect::Error("it does not work".into()),
        };
    }
}

impl Step {
    /// The plan as a client submits it: what it holds has a name of its own, and blocks can be told by their payload.
    pub(crate) fn plan_for(&self, job: usize, step: usize, held: HeldId) -> Plan {
        let mut plan = self.plan.clone();
        for (number, stage) in plan.stages.iter_mut().enumerate() {
            let words = [job as u32, step as u32, number as u32];
            stage.work.payload = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            if matches!(stage.keep, Keep::Hold(_)) {
                stage.keep = Keep::Hold(held);
            }
            for input in &mut stage.inputs {
                if matches!(input.source, Source::Held(_)) {
                    input.source = Source::Held(held);
                }
            }
        }
        plan
    }
}

/// The job, step and stage that a payload of [`Step::plan_for`] names.
pub(crate) fn named_by(payload: &[u8]) -> (usize, usize, usize) {
    let word =
        |at: usize| u32::from_le_bytes(payload[4 * at..4 * at + 4].try_into().expect("four bytes")) as usize;
    (word(0), word(1), word(2))
}

/// What a plan gives, computed in order and by one. `held` has what earlier plans left, and gets what this one leaves.
fn expected(plan: &Plan, held: &mut BTreeMap<u64, u64>) -> BTreeMap<(u32, u64), u64> {
    let mut values: BTreeMap<(u32, u64), u64> = BTreeMap::new();
    for (number, stage) in plan.stages.iter().enumerate() {
        for block in 0..stage.grid.count() {
            let mut inputs = Vec::new();
            for input in &stage.inputs {
                inputs.extend(input.map.read_indices(&stage.grid, block).into_iter().map(|read| {
                    match input.source {
                        Source::Stage(source) => values[&(source, read)],
                        Source::Held(_) => held[&read],
                    }
                }));
            }
            let value = compute(block, inputs);
            values.insert((number as u32, block), value);
            if matches!(stage.keep, Keep::Hold(_)) {
                held.insert(block, value);
            }
        }
    }
    values.retain(|&(number, _), _| matches!(plan.stages[number as usize].keep, Keep::Deliver));
    values
}
