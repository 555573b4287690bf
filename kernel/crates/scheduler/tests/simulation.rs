//! Scheduler and workers together under a virtual clock, with messages that take their time, workers that vanish with
//! everything they hold, and disks: whatever the seed, every result arrives once, is right, and nothing is left.
//!
//! `NUNA_SEED=n cargo test -p nuna-scheduler --test simulation` replays one seed; `NUNA_SEEDS=n` runs more of them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::{Duration, Instant},
};

use bytes::Bytes;
use nuna_plan::{AxisMap, BlockGrid, BlockMap, Keep, Plan, Source, Value};
use nuna_scheduler::{Effect, Event, Scheduler, Settings};
use nuna_wire::{
    StageKey, WorkerId,
    message::{Completed, FromWorker, StageDefinition, ToClient, ToWorker, WorkerHello},
};
use nuna_worker::Block;
use rand::{Rng, SeedableRng, rngs::StdRng};
use support::{CLIENT, group, plan, reads, stage, tree};

const SEEDS: u64 = 150;
/// Events in one run; more means that it does not end.
const EVENTS_MAX: u64 = 400_000;

enum What {
    ToScheduler(WorkerId, FromWorker, Vec<Option<u64>>),
    ToWorker(WorkerId, ToWorker),
    ToClient(ToClient),
    Gone(WorkerId),
    Ran(WorkerId, Block),
    Arrived(WorkerId, WorkerId, Block),
    OnDisk(WorkerId, nuna_worker::Event),
    ClientFetched { submission: u32, stage: u32, key: StageKey, block: u64, worker: WorkerId },
    Received(Event),
    Kill,
    Join,
    Tick,
}

struct Node {
    core: nuna_worker::Worker,
    definitions: BTreeMap<StageKey, StageDefinition>,
    store: BTreeMap<Block, u64>,
}

struct Simulation {
    rng: StdRng,
    scheduler: Scheduler,
    zero: Instant,
    now: u64,
    number: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    what: BTreeMap<u64, What>,
    /// When the last message of a link arrives: messages of one connection keep their order.
    links: BTreeMap<(u32, u32), u64>,
    nodes: BTreeMap<WorkerId, Node>,
    next_worker: u16,
    memory_bytes: u64,
    inline: bool,
    results: BTreeMap<(u32, u32, u64), u64>,
    ended: BTreeMap<u32, Result<(), String>>,
}

const SCHEDULER: u32 = 100_000;
const THE_CLIENT: u32 = 100_001;

/// What a block computes: its inputs and its own number, so that order and omissions show.
fn compute(block: u64, inputs: &[Vec<u64>]) -> u64 {
    let mut value = block.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for (number, input) in inputs.iter().flatten().enumerate() {
        value = value.rotate_left(5) ^ input.wrapping_add(number as u64);
    }
    value
}

/// What a plan gives, computed in order and by one.
fn expected(plan: &Plan) -> BTreeMap<(u32, u64), u64> {
    let mut values: BTreeMap<(u32, u64), u64> = BTreeMap::new();
    for (number, stage) in plan.stages.iter().enumerate() {
        for block in 0..stage.grid.count() {
            let inputs: Vec<Vec<u64>> = stage
                .inputs
                .iter()
                .map(|input| {
                    let Source::Stage(source) = input.source else { panic!("these plans hold nothing") };
                    input
                        .map
                        .read_indices(&stage.grid, block)
                        .into_iter()
                        .map(|read| values[&(source, read)])
                        .collect()
                })
                .collect();
            values.insert((number as u32, block), compute(block, &inputs));
        }
    }
    values.retain(|&(number, _), _| matches!(plan.stages[number as usize].keep, Keep::Deliver));
    values
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let settings = Settings {
            losses_max: 1_000,
            no_worker_patience: Duration::from_secs(3600),
            ..Settings::default()
        };
        let memory_bytes = if rng.random_bool(0.4) { 2_000 } else { 1 << 20 };
        let inline = rng.random();
        let mut simulation = Self {
            rng,
            scheduler: Scheduler::new(settings),
            zero: Instant::now(),
            now: 0,
            number: 0,
            queue: BinaryHeap::new(),
            what: BTreeMap::new(),
            links: BTreeMap::new(),
            nodes: BTreeMap::new(),
            next_worker: 0,
            memory_bytes,
            inline,
            results: BTreeMap::new(),
            ended: BTreeMap::new(),
        };
        simulation.scheduler_hears(Event::ClientJoined(CLIENT));
        simulation
    }

    fn at(&mut self, delay: u64, what: What) {
        self.number += 1;
        self.queue.push(Reverse((self.now + delay, self.number)));
        self.what.insert(self.number, what);
    }

    fn send(&mut self, from: u32, to: u32, what: What) {
        let slow = self.rng.random_bool(0.02);
        let delay = self.rng.random_range(20..if slow { 200_000 } else { 500 });
        let earliest = self.links.get(&(from, to)).copied().unwrap_or(0);
        let arrival = earliest.max(self.now + delay);
        self.links.insert((from, to), arrival);
        self.at(arrival - self.now, what);
    }

    fn scheduler_hears(&mut self, event: Event) {
        let effects = self.scheduler.handle(self.zero + Duration::from_micros(self.now), event);
        self.scheduler.assert_consistent();
        for effect in effects {
            match effect {
                Effect::ToWorker { worker, message } => {
                    self.send(SCHEDULER, u32::from(worker.0), What::ToWorker(worker, message));
                }
                Effect::ToClient { client: _, message } => {
                    self.send(SCHEDULER, THE_CLIENT, What::ToClient(message))
                }
                Effect::Deliver { submission, stage, values, .. } => {
                    for (block, value) in values {
                        let number = u64::from_le_bytes(value.body[..].try_into().unwrap());
                        let before = self.results.insert((submission, stage, block), number);
                        assert_eq!(
                            before, None,
                            "submission {submission} stage {stage} block {block} came twice"
                        );
                    }
                }
                Effect::DisconnectWorker { worker, .. } => drop(self.nodes.remove(&worker)),
                Effect::DisconnectClient { .. } => panic!("the client is alive"),
                Effect::Note(_) => {}
            }
        }
    }

    fn join(&mut self) {
        let id = WorkerId(self.next_worker);
        self.next_worker += 1;
        let threads = self.rng.random_range(1..4);
        let settings = nuna_worker::Settings { id, threads, memory_bytes: self.memory_bytes };
        let core = nuna_worker::Worker::new(settings);
        self.nodes.insert(id, Node { core, definitions: BTreeMap::new(), store: BTreeMap::new() });
        let hello = WorkerHello {
            name: id.to_string(),
            threads,
            memory_bytes: self.memory_bytes,
            data_address: "127.0.0.1:1".parse().unwrap(),
            pid: 1,
        };
        self.scheduler_hears(Event::WorkerJoined { worker: id, hello });
    }

    fn worker_hears(&mut self, id: WorkerId, event: nuna_worker::Event) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        for effect in node.core.handle([event]) {
            match effect {
                nuna_worker::Effect::Run { stage, start, end } => {
                    let mut delay = 0;
                    for block in start..end {
                        delay += self.rng.random_range(10..3_000);
                        self.at(delay, What::Ran(id, (stage, block)));
                    }
                }
                nuna_worker::Effect::Fetch { holder, blocks } => {
                    for block in blocks {
                        let delay = self.rng.random_range(100..5_000);
                        self.at(delay, What::Arrived(id, holder, block));
                    }
                }
                nuna_worker::Effect::Spill(blocks) => {
                    for block in blocks {
                        let delay = self.rng.random_range(100..9_000);
                        self.at(delay, What::OnDisk(id, nuna_worker::Event::Spilled { block, done: true }));
                    }
                }
                nuna_worker::Effect::Load(blocks) => {
                    for block in blocks {
                        let delay = self.rng.random_range(100..9_000);
                        self.at(delay, What::OnDisk(id, nuna_worker::Event::Loaded { block, done: true }));
                    }
                }
                nuna_worker::Effect::Discard(blocks) => {
                    let store = &mut self.nodes.get_mut(&id).expect("just heard").store;
                    store.retain(|block, _| !blocks.contains(block));
                }
                nuna_worker::Effect::Close(stage) => {
                    self.nodes.get_mut(&id).expect("just heard").definitions.remove(&stage);
                }
                nuna_worker::Effect::Send(message) => {
                    self.send(u32::from(id.0), SCHEDULER, What::ToScheduler(id, message, Vec::new()));
                }
            }
        }
    }

    /// A block ends on a worker's thread.
    fn ran(&mut self, id: WorkerId, block: Block) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let Some(definition) = node.definitions.get(&block.0) else {
            return self.worker_hears(id, nuna_worker::Event::Stopped { block });
        };
        let mut inputs = Vec::new();
        for (input, &source) in definition.stage.inputs.iter().zip(&definition.inputs) {
            let mut values = Vec::new();
            for read in input.map.read_indices(&definition.stage.grid, block.1) {
                let Some(&value) = node.store.get(&(source, read)) else {
                    let message = FromWorker::InputMissing {
                        stage: block.0,
                        block: block.1,
                        input: source,
                        input_block: read,
                        worker: id,
                    };
                    self.send(u32::from(id.0), SCHEDULER, What::ToScheduler(id, message, Vec::new()));
                    return self.worker_hears(id, nuna_worker::Event::Stopped { block });
                };
                values.push(value);
            }
            inputs.push(values);
        }
        let value = compute(block.1, &inputs);
        let deliver = matches!(definition.stage.keep, Keep::Deliver);
        let inline = deliver && self.inline;
        let kept = definition.retain || (deliver && !inline);
        if kept {
            node.store.insert(block, value);
        }
        let bytes = definition.stage.bound.output;
        let duration_us = self.rng.random_range(0..2_000);
        let completed = Completed {
            block: block.1,
            bytes,
            start_us: 0,
            duration_us,
            thread: 0,
            read_bytes: 0,
            inline: None,
        };
        let message = FromWorker::Completed(vec![(block.0, vec![completed])]);
        self.send(u32::from(id.0), SCHEDULER, What::ToScheduler(id, message, vec![inline.then_some(value)]));
        self.worker_hears(id, nuna_worker::Event::Finished { block, bytes, duration_us, kept });
    }

    fn from_worker(&mut self, worker: WorkerId, message: FromWorker, values: Vec<Option<u64>>) {
        match message {
            FromWorker::Completed(stages) => {
                for (stage, blocks) in stages {
                    let value = |number: &Option<u64>| {
                        number.map(|n| Value {
                            header: Bytes::new(),
                            body: Bytes::copy_from_slice(&n.to_le_bytes()),
                        })
                    };
                    let blocks = blocks.into_iter().zip(values.iter().map(value)).collect();
                    self.scheduler_hears(Event::Completed { worker, stage, blocks });
                }
            }
            FromWorker::InputMissing { stage, block, input, input_block, worker: holder } => {
                self.scheduler_hears(Event::InputMissing {
                    worker,
                    stage,
                    block,
                    input,
                    input_block,
                    holder,
                });
            }
            FromWorker::Reclaimed { stage, runs } => {
                self.scheduler_hears(Event::Reclaimed { worker, stage, runs })
            }
            FromWorker::Failed { .. }
            | FromWorker::Spans(_)
            | FromWorker::Sample(_)
            | FromWorker::Leaving { .. } => {
                panic!("not of these workers")
            }
        }
    }

    fn to_worker(&mut self, id: WorkerId, message: ToWorker) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let event = match message {
            ToWorker::Define(definition) => {
                node.definitions.insert(definition.key, (*definition).clone());
                nuna_worker::Event::Define(definition)
            }
            ToWorker::Lease { blocks, inputs } => nuna_worker::Event::Lease { blocks, inputs },
            ToWorker::Forget(runs) => nuna_worker::Event::Forget(runs),
            ToWorker::Drop(stages) => nuna_worker::Event::Drop(stages),
            ToWorker::Reclaim { stage, count } => nuna_worker::Event::Reclaim { stage, count },
            ToWorker::Library(_) | ToWorker::Peers(_) | ToWorker::Heartbeat | ToWorker::ShutDown => return,
        };
        self.worker_hears(id, event);
    }

    fn to_client(&mut self, message: ToClient) {
        match message {
            ToClient::Available { submission, stage, key, block, worker, .. } => {
                let delay = self.rng.random_range(100..5_000);
                self.at(delay, What::ClientFetched { submission, stage, key, block, worker });
            }
            ToClient::Finished { submission, .. } => drop(self.ended.insert(submission, Ok(()))),
            ToClient::Failed { submission, error } => {
                drop(self.ended.insert(submission, Err(error.to_string())))
            }
            ToClient::Delivered { .. }
            | ToClient::Told { .. }
            | ToClient::Progress { .. }
            | ToClient::Cluster(_)
            | ToClient::Heartbeat => {}
        }
    }

    fn step(&mut self) -> bool {
        let Some(Reverse((time, number))) = self.queue.pop() else { return false };
        self.now = time;
        match self.what.remove(&number).expect("queued with its number") {
            What::ToScheduler(worker, message, values) => self.from_worker(worker, message, values),
            What::ToWorker(worker, message) => self.to_worker(worker, message),
            What::ToClient(message) => self.to_client(message),
            What::Gone(worker) => self.scheduler_hears(Event::WorkerLeft(worker)),
            What::Ran(worker, block) => self.ran(worker, block),
            What::Arrived(worker, holder, block) => {
                let value = self.nodes.get(&holder).and_then(|node| node.store.get(&block)).copied();
                let event = match value {
                    Some(value) => {
                        if let Some(node) = self.nodes.get_mut(&worker) {
                            node.store.insert(block, value);
                        }
                        nuna_worker::Event::Fetched { block, bytes: 100 }
                    }
                    None => nuna_worker::Event::FetchFailed { block, holder },
                };
                self.worker_hears(worker, event);
            }
            What::OnDisk(worker, event) => self.worker_hears(worker, event),
            What::ClientFetched { submission, stage, key, block, worker } => {
                let value = self.nodes.get(&worker).and_then(|node| node.store.get(&(key, block))).copied();
                let event = match value {
                    Some(value) => {
                        let before = self.results.insert((submission, stage, block), value);
                        assert!(before.is_none_or(|before| before == value), "a block has two values");
                        Event::Received { client: CLIENT, submission, stage, blocks: vec![block] }
                    }
                    None => Event::Missing { client: CLIENT, submission, stage, block, worker },
                };
                self.send(THE_CLIENT, SCHEDULER, What::Received(event));
            }
            What::Received(event) => self.scheduler_hears(event),
            What::Kill => {
                let alive: Vec<WorkerId> = self.nodes.keys().copied().collect();
                if !alive.is_empty() {
                    let worker = alive[self.rng.random_range(0..alive.len())];
                    self.nodes.remove(&worker);
                    // After what it had sent: one connection, in order.
                    self.send(u32::from(worker.0), SCHEDULER, What::Gone(worker));
                }
            }
            What::Join => self.join(),
            What::Tick => {
                self.scheduler_hears(Event::ClientHeard(CLIENT));
                for worker in self.nodes.keys().copied().collect::<Vec<_>>() {
                    self.scheduler_hears(Event::WorkerHeard(worker));
                }
                self.scheduler_hears(Event::Tick);
            }
        }
        true
    }
}

fn random_plan(rng: &mut StdRng) -> Plan {
    let mut made = match rng.random_range(0..4) {
        0 => {
            let count = rng.random_range(1..150);
            tree(count.max(2), rng.random_range(2..7))
        }
        1 => {
            // Everything reads everything: what a rechunk does.
            let (n, m) = (rng.random_range(1..14), rng.random_range(1..14));
            let all = BlockMap::Axes { input_grid: BlockGrid::line(n), axes: vec![AxisMap::All] };
            plan(vec![
                stage("a", BlockGrid::line(n), Keep::No),
                reads(stage("b", BlockGrid::line(m), Keep::Deliver), Source::Stage(0), all),
            ])
        }
        2 => {
            // Two inputs, one shifted by its neighbour; a value that is delivered and read.
            let n = rng.random_range(2..40);
            let shift = BlockMap::Axes {
                input_grid: BlockGrid::line(n),
                axes: vec![AxisMap::Along { axis: 0, offset: 1 }],
            };
            plan(vec![
                stage("a", BlockGrid::line(n), Keep::No),
                reads(stage("b", BlockGrid::line(n), Keep::Deliver), Source::Stage(0), BlockMap::Same),
                reads(
                    reads(stage("c", BlockGrid::line(n), Keep::No), Source::Stage(1), shift),
                    Source::Stage(0),
                    BlockMap::Same,
                ),
                reads(
                    stage("d", BlockGrid::line(n.div_ceil(3)), Keep::Deliver),
                    Source::Stage(2),
                    group(n, 3),
                ),
            ])
        }
        _ => support::farm(rng.random_range(1..400)),
    };
    for stage in &mut made.stages {
        stage.bound.output = 100;
    }
    made
}

fn run(seed: u64) {
    let mut simulation = Simulation::new(seed);
    let workers = simulation.rng.random_range(1..6);
    (0..workers).for_each(|_| simulation.join());
    let plans: Vec<Plan> =
        (0..simulation.rng.random_range(1..4)).map(|_| random_plan(&mut simulation.rng)).collect();
    for (number, plan) in plans.iter().enumerate() {
        let event = Event::Submit { client: CLIENT, submission: number as u32, plan: Box::new(plan.clone()) };
        let delay = simulation.rng.random_range(0..20_000);
        simulation.at(delay, What::Received(event));
    }
    for _ in 0..simulation.rng.random_range(0..8) {
        let when = simulation.rng.random_range(0..60_000);
        simulation.at(when, What::Kill);
        let later = simulation.rng.random_range(0..30_000);
        simulation.at(when + later, What::Join);
    }
    (0..200).for_each(|tick| simulation.at(tick * 500_000, What::Tick));
    let mut events = 0;
    while simulation.step() {
        events += 1;
        assert!(events < EVENTS_MAX, "no end");
    }
    for (number, plan) in plans.iter().enumerate() {
        let ended = simulation.ended.get(&(number as u32));
        assert_eq!(ended, Some(&Ok(())), "submission {number}: {:?}", simulation.scheduler.totals());
        let found: BTreeMap<(u32, u64), u64> = simulation
            .results
            .range((number as u32, 0, 0)..(number as u32 + 1, 0, 0))
            .map(|(&(_, stage, block), &value)| ((stage, block), value))
            .collect();
        assert_eq!(found, expected(plan), "submission {number}");
    }
    assert_eq!(simulation.scheduler.totals().stages, 0);
    for (id, node) in &simulation.nodes {
        assert!(node.store.is_empty(), "{id} still stores {:?}", node.store.keys().collect::<Vec<_>>());
        assert_eq!(node.core.usage(), nuna_worker::Usage::default(), "{id}");
    }
}

#[test]
fn whatever_happens_results_are_right_and_nothing_is_left() {
    let seeds = match std::env::var("NUNA_SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse().expect("NUNA_SEED is a number");
            seed..seed + 1
        }
        Err(_) => {
            0..std::env::var("NUNA_SEEDS")
                .map_or(SEEDS, |seeds| seeds.parse().expect("NUNA_SEEDS is a number"))
        }
    };
    for seed in seeds {
        let result = std::panic::catch_unwind(|| run(seed));
        if let Err(panic) = result {
            eprintln!(
                "seed {seed}: replay with NUNA_SEED={seed} cargo test -p nuna-scheduler --test simulation"
            );
            std::panic::resume_unwind(panic);
        }
    }
}
