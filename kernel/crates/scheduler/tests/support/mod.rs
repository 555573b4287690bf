//! Clusters without sockets or clocks: scenarios in which every worker does what it is told in one step.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]
#![allow(unreachable_pub, dead_code, reason = "each test binary uses its part of this")]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use nuna_plan::{
    AxisMap, BlockGrid, BlockMap, Input, Keep, MemoryBound, Plan, Source, Stage, TaskError, Value, Work,
    WorkKind,
};
use nuna_scheduler::{Effect, Event, Scheduler, Settings, journal::Record};
use nuna_wire::{
    ClientId, StageKey, WorkerId,
    message::{Ask, Completed, StageDefinition, ToClient, ToWorker, Told, WorkerHello},
};

pub const CLIENT: ClientId = ClientId(1);
pub const GIGABYTE: u64 = 1 << 30;

pub fn stage(name: &str, grid: BlockGrid, keep: Keep) -> Stage {
    Stage {
        name: name.into(),
        grid,
        inputs: Vec::new(),
        work: Work { kind: WorkKind::Call, payload: Vec::new(), libraries: Vec::new() },
        bound: MemoryBound { inputs: 0, output: 8, scratch: 0 },
        keep,
        retries: 0,
        origin: None,
    }
}

pub fn reads(mut stage: Stage, source: Source, map: BlockMap) -> Stage {
    stage.inputs.push(Input { source, map });
    stage
}

pub fn plan(stages: Vec<Stage>) -> Plan {
    Plan { label: "test".into(), stages, terms: Default::default() }
}

pub fn farm(count: u64) -> Plan {
    plan(vec![stage("farm", BlockGrid::line(count), Keep::Deliver)])
}

pub fn group(blocks: u64, size: u64) -> BlockMap {
    BlockMap::Axes { input_grid: BlockGrid::line(blocks), axes: vec![AxisMap::Group { axis: 0, size }] }
}

/// `count` blocks, summed in groups of `size` until one is left.
pub fn tree(count: u64, size: u64) -> Plan {
    let mut stages = vec![stage("leaf", BlockGrid::line(count), Keep::No)];
    let mut blocks = count;
    while blocks > 1 {
        let map = group(blocks, size);
        blocks = blocks.div_ceil(size);
        let keep = if blocks == 1 { Keep::Deliver } else { Keep::No };
        let source = Source::Stage(stages.len() as u32 - 1);
        stages.push(reads(stage("sum", BlockGrid::line(blocks), keep), source, map));
    }
    plan(stages)
}

/// What a worker of a scenario has been told.
#[derive(Default)]
pub struct Worker {
    pub definitions: BTreeMap<StageKey, StageDefinition>,
    /// Blocks to run, in order.
    pub leased: Vec<(StageKey, u64)>,
    /// Values it has.
    pub stored: BTreeSet<(StageKey, u64)>,
}

/// What workers do with values that they are to take over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Adopts {
    All,
    None,
    /// Nothing, and they do not say so.
    Silently,
}

/// A scheduler with workers that are plain data.
pub struct Cluster {
    pub scheduler: Scheduler,
    pub now: Instant,
    pub workers: BTreeMap<WorkerId, Worker>,
    /// Blocks delivered to the client, by submission and stage.
    pub delivered: Vec<(u32, u32, u64)>,
    pub messages: Vec<ToClient>,
    /// Workers that had nothing left to do, and were sent home.
    pub dismissed: Vec<WorkerId>,
    /// Every block that was run, and by whom.
    pub ran: Vec<(WorkerId, StageKey, u64)>,
    /// Values larger than what travels along with their completion.
    pub large: bool,
    pub duration_us: u32,
    /// Of workers that join from now on.
    pub resources: Vec<(String, u32)>,
    /// What every delivered block gives.
    pub value: Value,
    /// What a scheduler that takes this one's place is told.
    pub journal: Vec<Record>,
    pub adopts: Adopts,
    /// Values taken over.
    pub adopted: u64,
    next_submission: u32,
    /// Answers of workers that have yet to reach the scheduler.
    pending: VecDeque<Event>,
}

/// A cluster that has so many of something once for all workers.
pub fn sharing(name: &str, amount: u32) -> Cluster {
    cluster_with(Settings { shared: BTreeMap::from([(name.to_owned(), amount)]), ..Settings::default() })
}

pub fn cluster() -> Cluster {
    cluster_with(Settings::default())
}

fn cluster_with(settings: Settings) -> Cluster {
    let mut cluster = Cluster {
        scheduler: Scheduler::new(settings),
        now: Instant::now(),
        workers: BTreeMap::new(),
        delivered: Vec::new(),
        messages: Vec::new(),
        dismissed: Vec::new(),
        ran: Vec::new(),
        large: false,
        duration_us: 1000,
        resources: Vec::new(),
        value: Value::default(),
        journal: Vec::new(),
        adopts: Adopts::All,
        adopted: 0,
        next_submission: 1,
        pending: VecDeque::new(),
    };
    cluster.handle(Event::ClientJoined(CLIENT));
    cluster
}

impl Cluster {
    pub fn workers(mut self, count: u16) -> Self {
        (0..count).for_each(|number| self.join(number, 1, GIGABYTE));
        self
    }

    pub fn join(&mut self, number: u16, threads: u16, memory_bytes: u64) {
        let hello = WorkerHello {
            name: format!("w{number}"),
            threads,
            memory_bytes,
            limit_bytes: memory_bytes,
            data_address: "127.0.0.1:1".parse().unwrap(),
            disks: Vec::new(),
            pid: 1,
            resources: self.resources.clone(),
        };
        self.workers.insert(WorkerId(number), Worker::default());
        self.handle(Event::WorkerJoined { worker: WorkerId(number), hello });
    }

    pub fn lose(&mut self, number: u16) {
        self.workers.remove(&WorkerId(number)).expect("a worker of that number is there");
        self.handle(Event::WorkerLeft(WorkerId(number)));
    }

    pub fn submit(&mut self, plan: Plan) -> u32 {
        let submission = self.next_submission;
        self.next_submission += 1;
        self.handle(Event::Submit { client: CLIENT, submission, plan: Box::new(plan) });
        submission
    }

    pub fn handle(&mut self, event: Event) {
        let effects = self.scheduler.handle(self.now, event);
        self.scheduler.assert_consistent();
        for effect in effects {
            match effect {
                Effect::ToWorker { worker, message } => self.to_worker(worker, message),
                Effect::ToClient { client: _, message } => self.messages.push(message),
                Effect::Deliver { submission, stage, values, .. } => {
                    self.delivered.extend(values.iter().map(|&(block, _)| (submission, stage, block)));
                }
                Effect::Dismiss { worker } => {
                    self.workers.remove(&worker);
                    self.dismissed.push(worker);
                }
                Effect::DisconnectWorker { worker, .. } => {
                    self.workers.remove(&worker);
                }
                Effect::DisconnectClient { .. } | Effect::Note(_) => {}
                Effect::Journal(record) => self.journal.push(record),
            }
        }
        if let Some(event) = self.pending.pop_front() {
            self.handle(event);
        }
    }

    pub fn ask(&mut self, client: ClientId, ask: Ask) -> Told {
        self.handle(Event::Ask { client, request: 7, ask });
        match self.messages.pop() {
            Some(ToClient::Told { request: 7, told }) => told,
            other => panic!("an answer, not {other:?}"),
        }
    }

    fn to_worker(&mut self, id: WorkerId, message: ToWorker) {
        let Some(worker) = self.workers.get_mut(&id) else { panic!("{id} is not there: {message:?}") };
        match message {
            ToWorker::Define(definition) => {
                worker.definitions.insert(definition.key, *definition);
            }
            ToWorker::Lease { blocks, .. } => {
                assert!(worker.definitions.contains_key(&blocks.stage), "defined before it is leased");
                worker.leased.extend((blocks.start..blocks.end).map(|block| (blocks.stage, block)));
            }
            ToWorker::Forget(runs) => {
                for run in runs {
                    worker.stored.retain(|&(stage, block)| {
                        stage != run.stage || !(run.start..run.end).contains(&block)
                    });
                }
            }
            ToWorker::Drop(stages) => {
                worker.leased.retain(|(stage, _)| !stages.contains(stage));
                worker.stored.retain(|(stage, _)| !stages.contains(stage));
                stages.iter().for_each(|stage| drop(worker.definitions.remove(stage)));
            }
            ToWorker::Reclaim { stage, count } => {
                let mut runs = Vec::new();
                for _ in 0..count {
                    // The first one runs already.
                    let Some(at) = worker.leased.iter().skip(1).rposition(|&(of, _)| of == stage) else {
                        break;
                    };
                    let (_, block) = worker.leased.remove(at + 1);
                    runs.push((block, block + 1));
                }
                self.pending.push_back(Event::Reclaimed { worker: id, stage, runs });
            }
            ToWorker::Adopt { blocks, from, .. } => {
                assert!(worker.definitions.contains_key(&blocks.stage), "defined before it is taken over");
                let (stage, runs) = (blocks.stage, vec![(blocks.start, blocks.end)]);
                let wanted: Vec<_> = (blocks.start..blocks.end).map(|block| (stage, block)).collect();
                let there = &self.workers.get(&from).expect("it is told of workers that are there").stored;
                assert!(wanted.iter().all(|value| there.contains(value)), "{from} has {blocks:?}");
                match self.adopts {
                    Adopts::All => {
                        self.workers.get_mut(&id).expect("as above").stored.extend(wanted);
                        self.adopted += blocks.end - blocks.start;
                        self.pending.push_back(Event::Adopted { worker: id, stage, runs });
                    }
                    Adopts::None => self.pending.push_back(Event::NotAdopted { worker: id, stage, runs }),
                    Adopts::Silently => {}
                }
            }
            ToWorker::Drain
            | ToWorker::Library(_)
            | ToWorker::Peers(_)
            | ToWorker::Heartbeat
            | ToWorker::ShutDown => {}
        }
    }

    /// Completes the next `count` blocks of a worker.
    pub fn work(&mut self, number: u16, count: usize) {
        let id = WorkerId(number);
        for _ in 0..count {
            let worker = self.workers.get_mut(&id).expect("a worker of that number is there");
            if worker.leased.is_empty() {
                return;
            }
            let (stage, block) = worker.leased.remove(0);
            let definition = worker.definitions[&stage].clone();
            for (input, &source) in definition.stage.inputs.iter().zip(&definition.inputs) {
                for read in input.map.read_indices(&definition.stage.grid, block) {
                    let there = self.workers.values().any(|worker| worker.stored.contains(&(source, read)));
                    assert!(there, "{stage:?} block {block} reads {source:?} block {read}, which nobody has");
                }
            }
            let deliver = matches!(definition.stage.keep, Keep::Deliver);
            let inline = deliver && !self.large;
            if definition.retain || (deliver && !inline) {
                self.workers.get_mut(&id).expect("as above").stored.insert((stage, block));
            }
            self.ran.push((id, stage, block));
            let completed = Completed {
                block,
                bytes: 8,
                start_us: 0,
                duration_us: self.duration_us,
                thread: 0,
                read_bytes: 0,
                inline: None,
            };
            let blocks = vec![(completed, inline.then(|| self.value.clone()))];
            self.handle(Event::Completed { worker: id, stage, blocks });
        }
    }

    /// Lets all workers work in turn until nothing is left to do.
    pub fn run(&mut self) {
        loop {
            let busy: Vec<u16> =
                self.workers.iter().filter(|(_, w)| !w.leased.is_empty()).map(|(id, _)| id.0).collect();
            if busy.is_empty() {
                return;
            }
            busy.into_iter().for_each(|number| {
                if self.workers.contains_key(&WorkerId(number)) {
                    self.work(number, 1);
                }
            });
        }
    }

    /// Lets the workers work in turn until so many blocks have run in all.
    pub fn run_until(&mut self, ran: usize) {
        while self.ran.len() < ran {
            let busy = self.workers.iter().find(|(_, worker)| !worker.leased.is_empty());
            let number = busy.expect("somebody has something to do").0.0;
            self.work(number, 1);
        }
    }

    pub fn fail(&mut self, number: u16, retryable: bool) {
        let id = WorkerId(number);
        let (stage, block) = self.workers.get_mut(&id).unwrap().leased.remove(0);
        let error = TaskError { message: "no".into(), retryable };
        self.handle(Event::Failed { worker: id, stage, block, error });
    }

    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        self.handle(Event::Tick);
    }

    pub fn finished(&self, submission: u32) -> bool {
        self.messages
            .iter()
            .any(|message| matches!(message, ToClient::Finished { submission: of, .. } if *of == submission))
    }

    pub fn failure(&self, submission: u32) -> Option<String> {
        self.messages.iter().find_map(|message| match message {
            ToClient::Failed { submission: of, error } if *of == submission => Some(error.to_string()),
            _ => None,
        })
    }
}
