//! Owns one run: the scheduler, the machines and the clients, what happens to them and when, and what must hold after
//! every event.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use nuna_scheduler::{Effect, Event, Scheduler, journal::Record};
use nuna_wire::{
    ClientId, StageKey, WorkerId,
    message::{ToClient, ToWorker},
};
use nuna_worker::Block;
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{
    agenda::{Agenda, MILLISECOND, SECOND, Time},
    client::{Client, Offer},
    faults::Fault,
    jobs::Job,
    ledger::Ledger,
    machine::Machine,
    network::{Network, Party},
    setup::{Report, Setup},
};

/// As `runtime` has them.
pub(crate) const HEARTBEAT: Time = SECOND;
pub(crate) const SILENCE_MAX: Time = 30 * SECOND;
/// How long after the last fault everything must be over; a fetch that cannot succeed is tried for less.
const PATIENCE: Time = 600 * SECOND;
/// From the end of the last job until nothing of it may be left anywhere.
const SETTLING: Time = 12 * SECOND;

/// Something that happens.
pub(crate) enum What {
    /// On a connection: if it is lost, this never arrives.
    InFlight(Connection, Box<What>),
    /// The scheduler finds that a connection is broken.
    ConnectionLost(Connection),
    SchedulerBack,
    MachineReturns(u32),
    ClientReturns(u32),
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
    /// For a client, once the journal stands.
    HeldBack(u32, Box<What>),
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
    /// A worker joins that was started because another began to leave.
    Replaces,
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

/// Between a party and a process of the scheduler's: each time one breaks, the next has another number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    party: Party,
    incarnation: u32,
    number: u32,
}

/// A record of the scheduler's journal.
pub(crate) struct Recorded {
    pub(crate) at: Time,
    /// When it is written at the latest, with all before it, if it hurries.
    pub(crate) written: Option<Time>,
    pub(crate) record: Record,
}

/// A cluster in which time passes only from event to event.
pub struct World {
    pub(crate) rng: StdRng,
    pub(crate) agenda: Agenda<What>,
    pub(crate) network: Network,
    pub(crate) scheduler: Scheduler,
    pub(crate) ledger: Ledger,
    /// What the scheduler has recorded, oldest first.
    pub(crate) journal: Vec<Recorded>,
    /// When all is written that hurries. Clients hear nothing before.
    pub(crate) stands_from: Time,
    /// There is no scheduler.
    pub(crate) down: bool,
    pub(crate) incarnation: u32,
    pub(crate) crashes: u32,
    zero: Instant,
    pub(crate) setup: Setup,
    /// Workers that the scheduler has a connection to.
    pub(crate) sessions: BTreeMap<WorkerId, u32>,
    pub(crate) client_sessions: BTreeSet<u32>,
    pub(crate) machines: BTreeMap<u32, Machine>,
    pub(crate) by_id: HashMap<WorkerId, u32>,
    pub(crate) machines_started: u32,
    /// Those that were started in place of others and have not joined.
    pub(crate) coming: u32,
    pub(crate) clients: BTreeMap<u32, Client>,
    pub(crate) clients_started: u32,
    pub(crate) jobs: Vec<Job>,
    pub(crate) over: Vec<bool>,
    pub(crate) delivered: Vec<u64>,
    pub(crate) delivered_at_first_end: Vec<u64>,
    /// Attempts of blocks that fail a few times.
    pub(crate) attempts: HashMap<(StageKey, u64), u32>,
    tick: Option<Time>,
    pub(crate) events: u64,
    pub(crate) workers_lost: u32,
    dismissed: u32,
    /// Blocks that ran to their end, each time counted.
    pub(crate) computed: u64,
    /// Values that workers took over from others that left.
    pub(crate) handed_over: u64,
    last_fault: Time,
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
            journal: Vec::new(),
            stands_from: 0,
            down: false,
            incarnation: 0,
            crashes: 0,
            zero: Instant::now(),
            sessions: BTreeMap::new(),
            client_sessions: BTreeSet::new(),
            machines: BTreeMap::new(),
            by_id: HashMap::new(),
            machines_started: 0,
            coming: 0,
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
            computed: 0,
            handed_over: 0,
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
            computed: world.computed,
            handed_over: world.handed_over,
            crashes: world.crashes,
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
        let mut until = self.agenda.now + SETTLING;
        while self.agenda.now < until {
            let away = self.machines.values().any(|machine| machine.away);
            if away || self.down || self.scheduler.awaits_return() {
                until = self.agenda.now + SETTLING;
            }
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
            What::InFlight(connection, what) => {
                if connection == self.connection(connection.party) {
                    self.happen(*what);
                }
            }
            What::ConnectionLost(connection) => self.connection_lost(connection),
            What::SchedulerBack => self.scheduler_back(),
            What::MachineReturns(machine) => self.machine_returns(machine),
            What::ClientReturns(client) => self.client_returns(client),
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
            What::HeldBack(client, what) => {
                if self.client_sessions.contains(&client) {
                    self.from_scheduler(Party::Client(client), *what);
                }
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
            What::Drain(machine, within) => {
                self.replace(machine);
                self.drain(machine, within);
            }
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
            What::Replaces => self.replaces(),
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
        if self.down {
            return;
        }
        self.ledger.scheduler_hears(&event);
        let now = self.instant(self.agenda.now);
        let effects = self.scheduler.handle(now, event);
        if self.events.is_multiple_of(self.setup.check_every) {
            self.scheduler.assert_consistent();
            self.scheduler.assert_nobody_idles(now);
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

    pub(crate) fn instant(&self, time: Time) -> Instant {
        self.zero + Duration::from_micros(time)
    }

    pub(crate) fn connection(&self, party: Party) -> Connection {
        Connection { party, incarnation: self.incarnation, number: self.network.times_broken(party) }
    }

    /// Nothing arrives any more that is on its way, nor what is said before the party is back: it notices at once, the
    /// scheduler a little later.
    pub(crate) fn break_connection(&mut self, party: Party, notices: Time, back: Time) {
        let broken = self.connection(party);
        let returns = match party {
            Party::Machine(number) => {
                let Some(machine) = self.machines.get_mut(&number).filter(|it| !it.away) else { return };
                machine.away = true;
                What::MachineReturns(number)
            }
            Party::Client(number) => {
                let Some(client) = self.clients.get_mut(&number).filter(|it| !it.away) else { return };
                client.away = true;
                What::ClientReturns(number)
            }
            Party::Scheduler => return,
        };
        self.network.break_off(party);
        self.agenda.after(notices, What::ConnectionLost(broken));
        self.agenda.after(back, returns);
    }

    fn connection_lost(&mut self, Connection { party, incarnation, .. }: Connection) {
        if incarnation != self.incarnation {
            return;
        }
        let event = match party {
            Party::Machine(machine) => {
                let session = self.sessions.iter().find(|&(_, &of)| of == machine);
                session.map(|(&worker, _)| Event::WorkerLeft(worker))
            }
            Party::Client(client) => Some(Event::ClientLeft(ClientId(client))),
            Party::Scheduler => None,
        };
        if let Some(event) = event {
            self.arrived_at_scheduler(party, event);
        }
    }

    fn from_scheduler(&mut self, to: Party, what: What) {
        let what = What::InFlight(self.connection(to), Box::new(what));
        self.network.send(&mut self.agenda, &mut self.rng, Party::Scheduler, to, what);
    }

    fn tell_client(&mut self, client: u32, what: What) {
        let now = self.agenda.now;
        if self.stands_from < now {
            return self.from_scheduler(Party::Client(client), what);
        }
        // Also where it stands from now on: others wait that came before.
        let connection = self.connection(Party::Client(client));
        let what = What::InFlight(connection, Box::new(What::HeldBack(client, Box::new(what))));
        self.agenda.after(self.stands_from - now, what);
    }

    fn record(&mut self, record: Record) {
        let at = self.agenda.now;
        let hurries = record.hurries();
        if hurries {
            let slow = self.rng.random_bool(0.02);
            let takes = self.rng.random_range(20..if slow { 50 * MILLISECOND } else { 500 });
            self.stands_from = self.stands_from.max(at + takes);
        }
        self.journal.push(Recorded { at, written: hurries.then_some(self.stands_from), record });
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::ToWorker { worker, message } => {
                let machine = *self.sessions.get(&worker).expect("messages go to workers that are there");
                self.ledger.to_worker(worker, &message);
                self.from_scheduler(Party::Machine(machine), What::ToMachine(machine, message));
            }
            Effect::ToClient { client: ClientId(client), message } => {
                self.tell_client(client, What::ToClient(client, message));
            }
            Effect::Deliver { client: ClientId(client), submission, stage, values } => {
                let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
                let values = values.iter().map(|(block, value)| (*block, number(&value.body))).collect();
                let what = What::Delivered { client, submission, stage, values };
                self.tell_client(client, what);
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
            Effect::Journal(record) => self.record(record),
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
}
