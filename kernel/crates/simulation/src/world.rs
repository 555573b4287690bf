//! Owns one run: the scheduler, the machines and the clients, what happens to them and when, and what must hold after
//! every event.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use nuna_plan::{Keep, TaskError};
use nuna_scheduler::{Effect, Event, Scheduler, Settings};
use nuna_wire::{
    ClientId, StageKey, WorkerId,
    message::{FromWorker, Sample, ToClient, ToWorker, WorkerHello},
};
use nuna_worker::Block;
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{
    agenda::{Agenda, MILLISECOND, SECOND, Time},
    client::{Client, Offer},
    faults::{Fault, Faults},
    jobs::{Job, Trouble, named_by},
    ledger::Ledger,
    machine::{Done, Ended, Machine, Started, completed},
    network::{Network, Party},
};

/// As `runtime` has them.
const HEARTBEAT: Time = SECOND;
const SILENCE_MAX: Time = 30 * SECOND;
const FETCH_ITEMS_MAX: usize = 256;
/// How long a fetch over a cut link takes to fail.
const FETCH_PATIENCE: Time = 10 * SECOND;
/// How long after the last fault everything must be over; a fetch that cannot succeed is tried for less.
const PATIENCE: Time = 600 * SECOND;
/// From the end of the last job until nothing of it may be left anywhere.
const SETTLING: Time = 12 * SECOND;

/// Something that happens.
pub(crate) enum What {
    ToScheduler(Party, Event),
    ToMachine(u32, ToWorker),
    /// The scheduler has closed the connection.
    MachineClosed(u32),
    ToClient(u32, ToClient),
    Delivered {
        client: u32,
        submission: u32,
        stage: u32,
        values: Vec<(u64, u64)>,
    },
    ClientClosed(u32),
    Wake(u32),
    /// A thread is done with a block of a group that goes on until `end`.
    Computed {
        machine: u32,
        block: Block,
        end: u64,
        value: u64,
        took: Time,
    },
    Fetched {
        machine: u32,
        holder: WorkerId,
        blocks: Vec<Block>,
        waited: bool,
    },
    Spilled(u32, Vec<Block>),
    Loaded(u32, Vec<Block>),
    SchedulerBeat,
    MachineBeat(u32),
    /// A worker's job is about to end, or has ended.
    Drain(u32, Time),
    TimeUp(u32),
    ClientBeat(u32),
    Tick(Time),
    Fault(Fault),
    Mend(Party),
    MendPeers(u32, u32),
    Join,
    StartClient(Vec<usize>),
    Submit {
        client: u32,
        job: usize,
        step: usize,
    },
    CancelJob {
        client: u32,
        job: usize,
    },
    ClientFetches(u32, Offer),
    ClientConsumes(u32, u64),
}

/// One run before it begins.
#[derive(Clone, Debug)]
pub struct Setup {
    pub workers: u32,
    /// Threads of each worker: at least, at most.
    pub threads: (u16, u16),
    pub memory_bytes: u64,
    /// The jobs of each client.
    pub clients: Vec<Vec<Job>>,
    pub faults: Faults,
    /// Workers that never reach each other, counted from 1.
    pub peers_cut: Vec<(u32, u32)>,
    /// After so many microseconds a worker drains, and after so many more its process ends.
    pub walltime: Option<(u64, u64)>,
    pub settings: Settings,
    /// The scheduler's collections are compared after every so many events.
    pub check_every: u64,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub events: u64,
    /// From the start to the end of the last job, in microseconds.
    pub took_us: u64,
    pub workers_lost: u32,
    /// Workers that left with nothing left to do.
    pub dismissed: u32,
    /// Values delivered of each job when the first one ended.
    pub delivered_at_first_end: Vec<u64>,
}

/// A cluster in which time passes only from event to event.
pub struct World {
    pub(crate) rng: StdRng,
    pub(crate) agenda: Agenda<What>,
    pub(crate) network: Network,
    scheduler: Scheduler,
    ledger: Ledger,
    zero: Instant,
    setup: Setup,
    /// Workers that the scheduler has a connection to.
    sessions: BTreeMap<WorkerId, u32>,
    pub(crate) client_sessions: BTreeSet<u32>,
    machines: BTreeMap<u32, Machine>,
    by_id: HashMap<WorkerId, u32>,
    machines_started: u32,
    pub(crate) clients: BTreeMap<u32, Client>,
    pub(crate) clients_started: u32,
    pub(crate) jobs: Vec<Job>,
    pub(crate) over: Vec<bool>,
    pub(crate) delivered: Vec<u64>,
    pub(crate) delivered_at_first_end: Vec<u64>,
    /// Attempts of blocks that fail a few times.
    attempts: HashMap<(StageKey, u64), u32>,
    tick: Option<Time>,
    events: u64,
    workers_lost: u32,
    dismissed: u32,
    last_fault: Time,
}

impl Setup {
    /// A few workers, a few jobs of one or two clients, and faults.
    pub fn random(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x5eed);
        let clients = rng.random_range(1..3);
        let jobs = |rng: &mut StdRng| (0..rng.random_range(1..4)).map(|_| Job::random(rng)).collect();
        let settings = Settings {
            // A block may be unlucky as often as there are faults.
            losses_max: 1_000,
            no_worker_patience: Duration::from_secs(3600),
            client_window_bytes: if rng.random_bool(0.3) { 200 } else { 1 << 20 },
            ..Settings::default()
        };
        Self {
            workers: rng.random_range(1..6),
            threads: (1, 3),
            memory_bytes: if rng.random_bool(0.4) { 2_500 } else { 1 << 20 },
            clients: (0..clients).map(|_| jobs(&mut rng)).collect(),
            faults: Faults::random(&mut rng),
            peers_cut: Vec::new(),
            walltime: None,
            settings,
            check_every: 1,
        }
    }
}

impl World {
    /// Runs `setup` to its end, with everything left to chance decided by `seed`.
    ///
    /// # Panics
    /// If anything is not as it must be.
    pub fn run(seed: u64, setup: Setup) -> Report {
        let mut rng = StdRng::seed_from_u64(seed);
        let faults = setup.faults.schedule(&mut rng);
        let jobs: Vec<Job> = setup.clients.iter().flatten().cloned().collect();
        let mut world = Self {
            rng,
            agenda: Agenda::new(),
            network: Network::default(),
            scheduler: Scheduler::new(setup.settings.clone()),
            ledger: Ledger::default(),
            zero: Instant::now(),
            sessions: BTreeMap::new(),
            client_sessions: BTreeSet::new(),
            machines: BTreeMap::new(),
            by_id: HashMap::new(),
            machines_started: 0,
            clients: BTreeMap::new(),
            clients_started: 0,
            over: vec![false; jobs.len()],
            delivered: vec![0; jobs.len()],
            delivered_at_first_end: Vec::new(),
            jobs,
            attempts: HashMap::new(),
            tick: None,
            events: 0,
            workers_lost: 0,
            dismissed: 0,
            last_fault: 0,
            setup,
        };
        (0..world.setup.workers).for_each(|_| world.join());
        for &(a, b) in &world.setup.peers_cut {
            world.network.cut_peers(a, b);
        }
        let mut first = 0;
        for count in world.setup.clients.iter().map(Vec::len).collect::<Vec<_>>() {
            world.start_client((first..first + count).collect());
            first += count;
        }
        world.agenda.after(HEARTBEAT, What::SchedulerBeat);
        for (when, fault) in faults {
            world.last_fault = world.last_fault.max(when);
            world.agenda.after(when, What::Fault(fault));
        }
        world.until_over();
        let took_us = world.agenda.now;
        world.settle();
        Report {
            events: world.events,
            took_us,
            workers_lost: world.workers_lost,
            dismissed: world.dismissed,
            delivered_at_first_end: world.delivered_at_first_end,
        }
    }

    fn until_over(&mut self) {
        while self.over.iter().any(|over| !over) {
            let what = self.agenda.next().expect("the scheduler's heartbeat never ends");
            assert!(
                self.agenda.now < self.last_fault + PATIENCE,
                "something waits for ever: {:?}, jobs over: {:?}, workers: {:?}",
                self.scheduler.totals(),
                self.over,
                self.machines.values().map(|machine| (machine.id, machine.core.usage())).collect::<Vec<_>>()
            );
            self.happen(what);
        }
    }

    /// Lets the last messages arrive; then nothing may be left.
    fn settle(&mut self) {
        for party in self.network.cut_parties() {
            self.network.mend(&mut self.agenda, &mut self.rng, party);
        }
        let until = self.agenda.now + SETTLING;
        while self.agenda.now < until {
            let what = self.agenda.next().expect("the scheduler's heartbeat never ends");
            if !matches!(what, What::Fault(_)) {
                self.happen(what);
            }
        }
        let totals = self.scheduler.totals();
        assert_eq!(
            (totals.stages, totals.blocks_leased, totals.blocks_ready, totals.computations_running),
            (0, 0, 0, 0),
            "something is left: {totals:?}"
        );
        for machine in self.machines.values() {
            machine.assert_empty();
        }
    }

    fn happen(&mut self, what: What) {
        self.events += 1;
        match what {
            What::ToScheduler(from, event) => self.arrived_at_scheduler(from, event),
            What::ToMachine(machine, message) => {
                let now = self.agenda.now;
                if let Some(found) = self.machines.get_mut(&machine) {
                    found.last_heard = now;
                    found.messages.push_back(message);
                    self.wake_soon(machine);
                }
            }
            What::MachineClosed(machine) => self.end_machine(machine, 50 * MILLISECOND),
            What::ToClient(client, message) => self.client_hears(client, message),
            What::Delivered { client, submission, stage, values } => {
                self.client_receives(client, submission, stage, values);
            }
            What::ClientClosed(client) => self.end_client(client, SECOND),
            What::Wake(machine) => self.wake(machine),
            What::Computed { machine, block, end, value, took } => {
                self.computed(machine, block, value, took);
                self.next_block(machine, block.0, block.1 + 1, end);
            }
            What::Fetched { machine, holder, blocks, waited } => {
                self.fetched(machine, holder, blocks, waited)
            }
            What::Spilled(machine, blocks) => self.on_disk(machine, blocks, Machine::spill, |block, done| {
                nuna_worker::Event::Spilled { block, done }
            }),
            What::Loaded(machine, blocks) => self.on_disk(machine, blocks, Machine::load, |block, done| {
                nuna_worker::Event::Loaded { block, done }
            }),
            What::SchedulerBeat => self.scheduler_beats(),
            What::MachineBeat(machine) => self.machine_beats(machine),
            What::ClientBeat(client) => self.client_beats(client),
            What::Drain(machine, within) => self.drain(machine, within),
            What::TimeUp(machine) => self.end_machine(machine, 20 * MILLISECOND),
            What::Tick(time) => {
                if self.tick == Some(time) {
                    self.tick = None;
                    self.scheduler_hears(Event::Tick);
                }
            }
            What::Fault(fault) => self.befall(fault),
            What::Mend(party) => self.network.mend(&mut self.agenda, &mut self.rng, party),
            What::MendPeers(a, b) => self.network.mend_peers(a, b),
            What::Join => self.join(),
            What::StartClient(jobs) => self.start_client(jobs),
            What::Submit { client, job, step } => self.submit(client, job, step),
            What::CancelJob { client, job } => self.cancel_job(client, job),
            What::ClientFetches(client, offer) => self.client_fetches(client, offer),
            What::ClientConsumes(client, bytes) => self.client_consumes(client, bytes),
        }
    }

    fn arrived_at_scheduler(&mut self, from: Party, event: Event) {
        // What was on its way when its sender was given up.
        let known = match from {
            Party::Machine(machine) => self.sessions.values().any(|&of| of == machine),
            Party::Client(client) => self.client_sessions.contains(&client),
            Party::Scheduler => false,
        };
        if !known {
            return;
        }
        match event {
            Event::WorkerLeft(worker) => drop(self.sessions.remove(&worker)),
            Event::ClientLeft(client) => drop(self.client_sessions.remove(&client.0)),
            _ => {}
        }
        self.scheduler_hears(event);
    }

    pub(crate) fn scheduler_hears(&mut self, event: Event) {
        self.ledger.scheduler_hears(&event);
        let effects = self.scheduler.handle(self.zero + Duration::from_micros(self.agenda.now), event);
        if self.events.is_multiple_of(self.setup.check_every) {
            self.scheduler.assert_consistent();
            self.scheduler.assert_nobody_idles();
        }
        for effect in effects {
            self.carry_out(effect);
        }
        if let Some(deadline) = self.scheduler.next_deadline() {
            let deadline = (deadline - self.zero).as_micros() as Time;
            if self.tick != Some(deadline) {
                self.tick = Some(deadline);
                self.agenda.after(deadline.saturating_sub(self.agenda.now), What::Tick(deadline));
            }
        }
    }

    fn from_scheduler(&mut self, to: Party, what: What) {
        self.network.send(&mut self.agenda, &mut self.rng, Party::Scheduler, to, what);
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::ToWorker { worker, message } => {
                let machine = *self.sessions.get(&worker).expect("messages go to workers that are there");
                self.ledger.to_worker(worker, &message);
                self.from_scheduler(Party::Machine(machine), What::ToMachine(machine, message));
            }
            Effect::ToClient { client: ClientId(client), message } => {
                self.from_scheduler(Party::Client(client), What::ToClient(client, message));
            }
            Effect::Deliver { client: ClientId(client), submission, stage, values } => {
                let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
                let values = values.iter().map(|(block, value)| (*block, number(&value.body))).collect();
                let what = What::Delivered { client, submission, stage, values };
                self.from_scheduler(Party::Client(client), what);
            }
            Effect::DisconnectWorker { worker, .. } => {
                self.ledger.worker_gone(worker);
                let machine =
                    self.sessions.remove(&worker).expect("only workers that are there are given up");
                self.workers_lost += 1;
                self.from_scheduler(Party::Machine(machine), What::MachineClosed(machine));
            }
            Effect::Dismiss { worker } => {
                self.ledger.worker_gone(worker);
                let machine =
                    self.sessions.remove(&worker).expect("only workers that are there are dismissed");
                self.dismissed += 1;
                self.from_scheduler(Party::Machine(machine), What::MachineClosed(machine));
            }
            Effect::DisconnectClient { client: ClientId(client), .. } => {
                assert!(self.client_sessions.remove(&client), "only clients that are there are given up");
                self.from_scheduler(Party::Client(client), What::ClientClosed(client));
            }
            Effect::Note(_) => {}
        }
    }

    fn scheduler_beats(&mut self) {
        for machine in self.sessions.values().copied().collect::<Vec<_>>() {
            self.from_scheduler(Party::Machine(machine), What::ToMachine(machine, ToWorker::Heartbeat));
        }
        for client in self.client_sessions.iter().copied().collect::<Vec<_>>() {
            self.from_scheduler(Party::Client(client), What::ToClient(client, ToClient::Heartbeat));
        }
        self.agenda.after(HEARTBEAT, What::SchedulerBeat);
    }

    fn join(&mut self) {
        self.machines_started += 1;
        let number = self.machines_started;
        let id = WorkerId(u16::try_from(number).expect("fewer workers than there are ids"));
        let threads = self.rng.random_range(self.setup.threads.0..=self.setup.threads.1);
        let memory_bytes = self.setup.memory_bytes;
        self.machines.insert(number, Machine::new(id, threads, memory_bytes, self.agenda.now));
        self.by_id.insert(id, number);
        self.sessions.insert(id, number);
        let hello = WorkerHello {
            name: id.to_string(),
            threads,
            memory_bytes,
            data_address: "127.0.0.1:1".parse().expect("an address"),
            pid: 1,
        };
        self.scheduler_hears(Event::WorkerJoined { worker: id, hello });
        if let Some((lasts, within)) = self.setup.walltime {
            let until = self.zero + Duration::from_micros(self.agenda.now + lasts);
            self.scheduler_hears(Event::WorkerLasts { worker: id, until });
            self.agenda.after(lasts, What::Drain(number, within));
        }
        let first = self.rng.random_range(0..HEARTBEAT);
        self.agenda.after(first, What::MachineBeat(number));
    }

    /// A worker's process ends, and takes with it what it has. Another one takes its place.
    fn end_machine(&mut self, number: u32, back: Time) {
        let Some(machine) = self.machines.remove(&number) else { return };
        self.by_id.remove(&machine.id);
        self.workers_lost += 1;
        self.from_machine(number, Event::WorkerLeft(machine.id));
        self.agenda.after(back, What::Join);
    }

    pub(crate) fn machine_of(&self, worker: WorkerId) -> Option<&Machine> {
        self.machines.get(self.by_id.get(&worker)?)
    }

    fn from_machine(&mut self, number: u32, event: Event) {
        let from = Party::Machine(number);
        let what = What::ToScheduler(from, event);
        self.network.send(&mut self.agenda, &mut self.rng, from, Party::Scheduler, what);
    }

    fn machine_beats(&mut self, number: u32) {
        let Some(machine) = self.machines.get(&number) else { return };
        if self.agenda.now - machine.last_heard > SILENCE_MAX {
            return self.end_machine(number, SECOND);
        }
        let usage = machine.core.usage();
        let sample = Sample {
            managed_bytes: usage.memory_bytes,
            spilled_bytes: usage.spilled_bytes,
            ..Sample::default()
        };
        let worker = machine.id;
        self.from_machine(number, Event::Sample { worker, sample });
        self.agenda.after(HEARTBEAT, What::MachineBeat(number));
    }

    fn wake_soon(&mut self, number: u32) {
        if let Some(machine) = self.machines.get_mut(&number)
            && !std::mem::replace(&mut machine.waking, true)
        {
            let delay = self.rng.random_range(1..100);
            self.agenda.after(delay, What::Wake(number));
        }
    }

    /// One turn of the worker's driver: messages before what has arrived, and then what threads have done.
    fn wake(&mut self, number: u32) {
        let Some(machine) = self.machines.get_mut(&number) else { return };
        machine.waking = false;
        let mut events = Vec::new();
        if machine.messages.is_empty() {
            events.extend(machine.arrived.drain(..));
        } else {
            for message in std::mem::take(&mut machine.messages) {
                events.extend(machine.receive(message));
            }
        }
        let worker = machine.id;
        let done = std::mem::take(&mut machine.done);
        let again = !machine.arrived.is_empty();
        let mut reports = Vec::new();
        for Done { block: (stage, block), ended } in done {
            let stopped = nuna_worker::Event::Stopped { block: (stage, block) };
            match ended {
                Ended::Value { kept, inline, duration_us } => {
                    let (done, value) = completed(block, inline, duration_us);
                    let bytes = done.bytes;
                    events.push(nuna_worker::Event::Finished {
                        block: (stage, block),
                        bytes,
                        duration_us,
                        kept,
                    });
                    reports.push(Event::Completed { worker, stage, blocks: vec![(done, value)] });
                }
                Ended::Failed(error) => {
                    events.push(stopped);
                    reports.push(Event::Failed { worker, stage, block, error });
                }
                Ended::InputGone((input, input_block)) => {
                    events.push(stopped);
                    reports.push(Event::InputMissing {
                        worker,
                        stage,
                        block,
                        input,
                        input_block,
                        holder: worker,
                    });
                }
                Ended::Skipped => events.push(stopped),
            }
        }
        let effects = machine.core.handle(events);
        machine.assert_within_memory();
        reports.into_iter().for_each(|report| self.from_machine(number, report));
        for effect in effects {
            self.carry_out_at(number, effect);
        }
        self.assign_threads(number);
        if again {
            self.wake_soon(number);
        }
    }

    fn carry_out_at(&mut self, number: u32, effect: nuna_worker::Effect) {
        let Some(machine) = self.machines.get_mut(&number) else { return };
        let worker = machine.id;
        let disk = machine.disk_factor;
        match effect {
            nuna_worker::Effect::Run { stage, start, end } => machine.pool.push_back((stage, start, end)),
            nuna_worker::Effect::Fetch { holder, blocks } => {
                assert!(machine.peers.contains(&holder), "{worker} was not told where {holder} is");
                for blocks in blocks.chunks(FETCH_ITEMS_MAX) {
                    let delay = self.rng.random_range(100..5_000);
                    let what =
                        What::Fetched { machine: number, holder, blocks: blocks.to_vec(), waited: false };
                    self.agenda.after(delay, what);
                }
            }
            nuna_worker::Effect::Spill(blocks) => {
                let delay = self.rng.random_range(100..9_000) * disk;
                self.agenda.after(delay, What::Spilled(number, blocks));
            }
            nuna_worker::Effect::Load(blocks) => {
                let delay = self.rng.random_range(100..9_000) * disk;
                self.agenda.after(delay, What::Loaded(number, blocks));
            }
            nuna_worker::Effect::Discard(blocks) => machine.remove(&blocks),
            nuna_worker::Effect::Close(stage) => {
                machine.definitions.remove(&stage);
                machine.dropped.remove(&stage);
            }
            nuna_worker::Effect::Send(message) => {
                let event = match message {
                    FromWorker::InputMissing { stage, block, input, input_block, worker: holder } => {
                        Event::InputMissing { worker, stage, block, input, input_block, holder }
                    }
                    FromWorker::Reclaimed { stage, runs } => Event::Reclaimed { worker, stage, runs },
                    FromWorker::Draining { .. } => Event::Draining { worker },
                    other => panic!("the state machine does not send {other:?}"),
                };
                self.from_machine(number, event);
            }
        }
    }

    fn assign_threads(&mut self, number: u32) {
        while let Some(machine) = self.machines.get_mut(&number)
            && machine.threads_free > 0
            && let Some((stage, start, end)) = machine.pool.pop_front()
        {
            machine.threads_free -= 1;
            self.next_block(number, stage, start, end);
        }
    }

    /// A thread goes on with its group from `at`, until one block takes its time or none is left.
    fn next_block(&mut self, number: u32, stage: StageKey, mut at: u64, end: u64) {
        while at < end {
            let Some(machine) = self.machines.get_mut(&number) else { return };
            match machine.start((stage, at)) {
                Started::Computing(value) => {
                    let definition = &machine.definitions[&stage];
                    machine.running_bytes += definition.stage.bound.output + definition.stage.bound.scratch;
                    let (job, step, number_in_plan) = named_by(&definition.stage.work.payload);
                    let (least, most) = self.jobs[job].steps[step].truths[number_in_plan].duration;
                    let took = self.rng.random_range(least..most);
                    let what = What::Computed { machine: number, block: (stage, at), end, value, took };
                    return self.agenda.after(took, what);
                }
                Started::Over(ended) => {
                    machine.done.push(Done { block: (stage, at), ended });
                    self.wake_soon(number);
                    at += 1;
                }
            }
        }
        if let Some(machine) = self.machines.get_mut(&number) {
            machine.threads_free += 1;
            self.assign_threads(number);
        }
    }

    fn computed(&mut self, number: u32, block: Block, value: u64, took: Time) {
        let Some(machine) = self.machines.get_mut(&number) else { return };
        let definition = machine.definitions[&block.0].clone();
        machine.running_bytes -= definition.stage.bound.output + definition.stage.bound.scratch;
        let (job, step, stage) = named_by(&definition.stage.work.payload);
        let truth = &self.jobs[job].steps[step].truths[stage];
        let failure = |text: &str, retryable| Ended::Failed(TaskError { message: text.into(), retryable });
        let failed = match truth.troubles.get(&block.1) {
            Some(Trouble::Crash) => return self.end_machine(number, 20 * MILLISECOND),
            Some(Trouble::Fatal) => Some(failure("it does not work", false)),
            Some(Trouble::Transient(times)) => {
                let attempt = self.attempts.entry(block).or_default();
                *attempt += 1;
                (*attempt <= *times).then(|| failure("it does not work today", true))
            }
            None => None,
        };
        let ended = failed.unwrap_or_else(|| {
            let deliver = matches!(definition.stage.keep, Keep::Deliver);
            let inline = deliver && truth.inline;
            let kept = definition.retain || (deliver && !inline);
            if kept {
                machine.insert(block, value);
            }
            Ended::Value { kept, inline: inline.then_some(value), duration_us: took as u32 }
        });
        machine.done.push(Done { block, ended });
        self.wake_soon(number);
    }

    fn fetched(&mut self, number: u32, holder: WorkerId, blocks: Vec<Block>, waited: bool) {
        let there = self.by_id.get(&holder).copied();
        let reached = there.is_some_and(|there| self.network.peers_reach(number, there));
        if there.is_some() && !reached && !waited {
            let what = What::Fetched { machine: number, holder, blocks, waited: true };
            return self.agenda.after(FETCH_PATIENCE, what);
        }
        let values: Vec<Option<u64>> = match there.filter(|_| reached) {
            Some(there) => blocks.iter().map(|&block| self.machines[&there].get(block)).collect(),
            None => vec![None; blocks.len()],
        };
        let Some(machine) = self.machines.get_mut(&number) else { return };
        for (block, value) in blocks.into_iter().zip(values) {
            let event = match value {
                Some(value) => {
                    machine.insert(block, value);
                    nuna_worker::Event::Fetched { block, bytes: crate::jobs::VALUE_BYTES }
                }
                None => nuna_worker::Event::FetchFailed { block, holder },
            };
            machine.arrived.push_back(event);
        }
        self.wake_soon(number);
    }

    fn on_disk(
        &mut self,
        number: u32,
        blocks: Vec<Block>,
        act: impl Fn(&mut Machine, Block, bool) -> bool,
        event: impl Fn(Block, bool) -> nuna_worker::Event,
    ) {
        let Some(machine) = self.machines.get_mut(&number) else { return };
        for block in blocks {
            let fails = self.rng.random_ratio(machine.disk_fails_permille, 1_000);
            let done = act(machine, block, fails);
            machine.arrived.push_back(event(block, done));
        }
        self.wake_soon(number);
    }

    /// It begins to leave, and has so long for it.
    fn drain(&mut self, number: u32, within: Time) {
        if let Some(machine) = self.machines.get_mut(&number) {
            machine.arrived.push_back(nuna_worker::Event::Drain { reason: "its time is up".into() });
            self.wake_soon(number);
            self.agenda.after(within, What::TimeUp(number));
        }
    }

    fn any_machine(&mut self) -> Option<u32> {
        let numbers: Vec<u32> = self.machines.keys().copied().collect();
        (!numbers.is_empty()).then(|| numbers[self.rng.random_range(0..numbers.len())])
    }

    fn any_client(&mut self) -> Option<u32> {
        let numbers: Vec<u32> = self.clients.keys().copied().collect();
        (!numbers.is_empty()).then(|| numbers[self.rng.random_range(0..numbers.len())])
    }

    fn befall(&mut self, fault: Fault) {
        match fault {
            Fault::Kill { back } => {
                if let Some(machine) = self.any_machine() {
                    self.end_machine(machine, back);
                }
            }
            Fault::Leave { within } => {
                if let Some(machine) = self.any_machine() {
                    self.drain(machine, within);
                }
            }
            Fault::Join => self.join(),
            Fault::CutWorker { lasts } => {
                if let Some(machine) = self.any_machine() {
                    self.network.cut(Party::Machine(machine));
                    self.agenda.after(lasts, What::Mend(Party::Machine(machine)));
                }
            }
            Fault::CutClient { lasts } => {
                if let Some(client) = self.any_client() {
                    self.network.cut(Party::Client(client));
                    self.agenda.after(lasts, What::Mend(Party::Client(client)));
                }
            }
            Fault::CutPeers { lasts } => {
                if let (Some(a), Some(b)) = (self.any_machine(), self.any_machine())
                    && a != b
                {
                    self.network.cut_peers(a, b);
                    self.agenda.after(lasts, What::MendPeers(a, b));
                }
            }
            Fault::RestartClient { back } => {
                if let Some(client) = self.any_client() {
                    self.end_client(client, back);
                }
            }
            Fault::SlowClient { lasts } => {
                let until = self.agenda.now + lasts;
                if let Some(client) = self.any_client().and_then(|client| self.clients.get_mut(&client)) {
                    client.slow_until = until;
                }
            }
            Fault::SlowDisk { factor } => {
                if let Some(machine) = self.any_machine().and_then(|number| self.machines.get_mut(&number)) {
                    machine.disk_factor = factor;
                }
            }
            Fault::BadDisk { permille } => {
                if let Some(machine) = self.any_machine().and_then(|number| self.machines.get_mut(&number)) {
                    machine.disk_fails_permille = permille;
                }
            }
        }
    }
}
