//! Owns the scheduler's state and its one entry: an event in, effects out.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use nuna_plan::{EngineError, HeldId, RangeSet};
use nuna_wire::{
    ClientId, StageKey, WorkerId,
    message::{Blocks, Sample, ToClient, ToWorker, WorkerHello},
};

use crate::{
    event::{Effect, Event, Settings},
    fair::{Rank, Turns},
    handover::HandOver,
    journal::{Next, Record},
    published::Publication,
    restore::Recovery,
    stage::StageState,
    unreachable::Unreached,
};

/// How often silence is looked for.
const TICK: Duration = Duration::from_millis(500);

pub(crate) struct Worker {
    pub(crate) hello: WorkerHello,
    pub(crate) last_heard: Instant,
    /// Blocks leased to it, by stage; no zeros.
    pub(crate) queued: BTreeMap<StageKey, u64>,
    /// Peers whose addresses it has.
    pub(crate) peers: BTreeSet<WorkerId>,
    /// Bytes of values it stores, as far as is known here.
    pub(crate) stored_bytes: u64,
    pub(crate) sample: Sample,
    pub(crate) reclaim: Reclaim,
    /// So that none of equal priority is always first. Each worker has turns of its own, or those who are served in step
    /// would always meet the same plans, and find that these are another's to run.
    pub(crate) turns: Turns,
    pub(crate) joined: Instant,
    /// When it begins to drain, if it knows.
    pub(crate) lasts_until: Option<Instant>,
    /// It gets nothing more.
    pub(crate) draining: bool,
}

/// Whether blocks are being asked back from a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reclaim {
    Possible,
    /// Its answer is awaited.
    Asked,
    /// It had nothing left to give; worth asking once it has got further.
    Barren,
}

pub(crate) struct Client {
    pub(crate) last_heard: Instant,
    /// Delivered, but not taken yet.
    pub(crate) outstanding_bytes: u64,
    /// The computations it runs, by its own number.
    pub(crate) submissions: BTreeMap<u32, u32>,
    /// What it holds, and how many of its arrays read that; no zeros.
    pub(crate) held: BTreeMap<HeldId, u32>,
}

pub(crate) struct Computation {
    pub(crate) client: ClientId,
    pub(crate) submission: u32,
    pub(crate) stages: Vec<StageKey>,
    /// False once its client was told the end; it stays for as long as what it left behind may have to be recomputed.
    pub(crate) running: bool,
    /// Blocks that are done, of all its stages.
    pub(crate) done: u64,
    pub(crate) total: u64,
    /// From stores, by all attempts.
    pub(crate) read_bytes: u64,
    /// Blocks the client was told to fetch and has not confirmed.
    pub(crate) offered: u64,
    pub(crate) last_progress: Instant,
    /// It goes on without its client.
    pub(crate) detached: bool,
}

/// Decides. See the crate's documentation for the states of a block.
pub struct Scheduler {
    pub(crate) settings: Settings,
    pub(crate) workers: BTreeMap<WorkerId, Worker>,
    pub(crate) clients: BTreeMap<ClientId, Client>,
    pub(crate) computations: BTreeMap<u32, Computation>,
    pub(crate) stages: BTreeMap<StageKey, StageState>,
    pub(crate) held: BTreeMap<HeldId, StageKey>,
    /// What was held, is needed by a client or a publication, and cannot be made again; with the reason.
    pub(crate) lost: BTreeMap<HeldId, String>,
    pub(crate) published: BTreeMap<String, Publication>,
    /// Stages with ready blocks.
    pub(crate) ready_stages: BTreeSet<Rank>,
    /// Workers that may have less to do than they should: all that do, and some that do not.
    pub(crate) hungry: BTreeSet<WorkerId>,
    /// Of all workers, each with one at least.
    pub(crate) threads_total: u64,
    /// The most that a worker ever had, by name.
    pub(crate) most_seen: BTreeMap<String, u32>,
    /// Values to be forgotten at the end of this event.
    pub(crate) forget: BTreeMap<(WorkerId, StageKey), RangeSet>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) next_stage: u32,
    pub(crate) next_computation: u32,
    pub(crate) last_tick: Option<Instant>,
    /// Since when work waits without any worker.
    pub(crate) stranded_since: Option<Instant>,
    /// Workers that will come if nothing goes wrong; and what is wrong.
    pub(crate) coming: (u32, Option<String>),
    /// Who failed to fetch from whom.
    pub(crate) unreached: BTreeMap<(WorkerId, WorkerId), Unreached>,
    /// Workers that are to leave.
    pub(crate) drains: BTreeSet<WorkerId>,
    /// What those hand over that only they have.
    pub(crate) handovers: BTreeMap<WorkerId, HandOver>,
    /// Those of them to be looked at at the end of this event.
    pub(crate) handovers_due: BTreeSet<WorkerId>,
    /// Set until those have returned who were there before this took the place of a lost scheduler.
    pub(crate) recovery: Option<Box<Recovery>>,
}

/// What a cluster is doing, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub workers: usize,
    pub clients: usize,
    pub computations_running: usize,
    pub stages: usize,
    pub blocks_leased: u64,
    pub blocks_ready: u64,
}

impl Scheduler {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            workers: BTreeMap::new(),
            clients: BTreeMap::new(),
            computations: BTreeMap::new(),
            stages: BTreeMap::new(),
            held: BTreeMap::new(),
            lost: BTreeMap::new(),
            published: BTreeMap::new(),
            ready_stages: BTreeSet::new(),
            hungry: BTreeSet::new(),
            threads_total: 0,
            most_seen: BTreeMap::new(),
            forget: BTreeMap::new(),
            effects: Vec::new(),
            next_stage: 1,
            next_computation: 1,
            last_tick: None,
            stranded_since: None,
            coming: (0, None),
            unreached: BTreeMap::new(),
            drains: BTreeSet::new(),
            handovers: BTreeMap::new(),
            handovers_due: BTreeSet::new(),
            recovery: None,
        }
    }

    /// Applies one event. Effects are returned in the order they must be carried out.
    pub fn handle(&mut self, now: Instant, event: Event) -> Vec<Effect> {
        let events = if self.recovery.is_some() { self.recover(now, event) } else { vec![event] };
        if events.is_empty() {
            return std::mem::take(&mut self.effects);
        }
        let mut moves = false;
        for event in events {
            moves |= self.apply(now, event);
        }
        self.hand_over(now);
        self.dismiss_drained();
        // Before leases, so that a value freed and computed again is not forgotten the second time.
        self.flush_forgets();
        self.place(now);
        if moves && !self.work_waits() {
            self.steal();
        }
        std::mem::take(&mut self.effects)
    }

    /// Whether it may have changed anybody's queue.
    fn apply(&mut self, now: Instant, event: Event) -> bool {
        self.heard(now, &event);
        // With 10,000 workers most events only show that somebody is alive; they change nobody's queue.
        let moves = !matches!(event, Event::ClientHeard(_) | Event::WorkerHeard(_) | Event::Sample { .. });
        match event {
            Event::ClientJoined(client) => self.client_joined(now, client),
            Event::ClientLeft(client) => self.client_left(client),
            Event::ClientHeard(_) | Event::WorkerHeard(_) => {}
            Event::Submit { client, submission, plan } => self.submit(now, client, submission, *plan),
            Event::Cancel { client, submission } => self.cancel(client, submission),
            Event::Release { client, held } => self.release(client, held),
            Event::Ask { client, request, ask } => self.ask(client, request, ask),
            Event::Received { client, submission, stage, blocks } => {
                self.received(client, submission, stage, &blocks)
            }
            Event::Missing { client, submission, stage, block, worker } => {
                self.missing(client, submission, stage, block, worker);
            }
            Event::Consumed { client, bytes } => {
                if let Some(client) = self.clients.get_mut(&client) {
                    client.outstanding_bytes = client.outstanding_bytes.saturating_sub(bytes);
                }
            }
            Event::WorkerJoined { worker, hello } => self.worker_joined(now, worker, hello),
            Event::WorkerLeft(worker) => self.worker_left(worker),
            Event::Sample { worker, sample } => {
                if let Some(worker) = self.workers.get_mut(&worker) {
                    worker.stored_bytes = sample.managed_bytes;
                    worker.sample = sample;
                }
            }
            Event::Completed { worker, stage, blocks } => self.completed(now, worker, stage, blocks),
            Event::Failed { worker, stage, block, error } => self.failed(worker, stage, block, error),
            Event::InputMissing { worker, stage, block, input, input_block, holder } => {
                self.input_missing(worker, stage, block, (input, input_block), holder);
            }
            Event::Unreachable { worker, holder, error } => self.unreachable(now, worker, holder, error),
            Event::Reclaimed { worker, stage, runs } => self.reclaimed(worker, stage, &runs),
            Event::Adopted { worker, stage, runs } => self.adopted(now, worker, stage, &runs),
            Event::NotAdopted { worker, stage, runs } => self.not_adopted(worker, stage, &runs),
            Event::WorkerLasts { worker, until } => {
                if let Some(worker) = self.workers.get_mut(&worker) {
                    worker.lasts_until = Some(until);
                }
            }
            Event::Draining { worker } => self.drain(now, worker),
            Event::Retire { worker } => self.retire(now, worker),
            Event::Coming { workers, trouble } => self.coming = (workers, trouble),
            Event::Tick => self.tick(now),
            Event::ClientReturned { client, state } => self.client_returned_late(now, client, &state),
            // The driver lets nobody in that it is too late for.
            Event::WorkerReturned { worker, .. } => {
                let reason = "the cluster has gone on without it".to_owned();
                self.effects.push(Effect::DisconnectWorker { worker, reason });
            }
        }
        moves
    }

    pub(crate) fn journal(&mut self, record: Record) {
        self.effects.push(Effect::Journal(record));
    }

    pub(crate) fn next_numbers(&self) -> Next {
        Next { stage: self.next_stage, computation: self.next_computation, ..Next::default() }
    }

    /// When to call `handle` with `Event::Tick` if nothing else arrives first.
    pub fn next_deadline(&self) -> Option<Instant> {
        let idle = self.workers.is_empty() && self.clients.is_empty() && self.recovery.is_none();
        self.last_tick.filter(|_| !idle).map(|tick| tick + TICK)
    }

    pub fn totals(&self) -> Totals {
        Totals {
            workers: self.workers.len(),
            clients: self.clients.len(),
            computations_running: self
                .computations
                .values()
                .filter(|computation| computation.running)
                .count(),
            stages: self.stages.len(),
            blocks_leased: self.workers.values().flat_map(|worker| worker.queued.values()).sum(),
            blocks_ready: self.stages.values().map(|stage| stage.ready.len()).sum(),
        }
    }

    /// Bytes of values and blocks at hand of each worker, as last heard.
    pub fn samples(&self) -> impl Iterator<Item = (WorkerId, &WorkerHello, &Sample)> {
        self.workers.iter().map(|(&id, worker)| (id, &worker.hello, &worker.sample))
    }

    fn heard(&mut self, now: Instant, event: &Event) {
        self.last_tick.get_or_insert(now);
        let worker = match event {
            Event::WorkerHeard(worker)
            | Event::Sample { worker, .. }
            | Event::Completed { worker, .. }
            | Event::Failed { worker, .. }
            | Event::InputMissing { worker, .. }
            | Event::Unreachable { worker, .. }
            | Event::Adopted { worker, .. }
            | Event::NotAdopted { worker, .. }
            | Event::Reclaimed { worker, .. } => Some(worker),
            Event::ClientHeard(client)
            | Event::Submit { client, .. }
            | Event::Cancel { client, .. }
            | Event::Received { client, .. }
            | Event::Missing { client, .. }
            | Event::Release { client, .. }
            | Event::Ask { client, .. }
            | Event::Consumed { client, .. } => {
                if let Some(client) = self.clients.get_mut(client) {
                    client.last_heard = now;
                }
                None
            }
            Event::ClientJoined(_)
            | Event::ClientLeft(_)
            | Event::ClientReturned { .. }
            | Event::WorkerReturned { .. }
            | Event::WorkerJoined { .. }
            | Event::WorkerLeft(_)
            | Event::WorkerLasts { .. }
            | Event::Draining { .. }
            | Event::Retire { .. }
            | Event::Coming { .. }
            | Event::Tick => None,
        };
        if let Some(worker) = worker.and_then(|worker| self.workers.get_mut(worker)) {
            worker.last_heard = now;
        }
    }

    fn tick(&mut self, now: Instant) {
        self.last_tick = Some(now);
        self.handovers_due.extend(self.handovers.keys());
        let silent = |heard: Instant| now.saturating_duration_since(heard) > self.settings.silence_max;
        let seconds = self.settings.silence_max.as_secs_f64();
        let workers: Vec<_> =
            self.workers.iter().filter(|(_, w)| silent(w.last_heard)).map(|(&id, _)| id).collect();
        let clients: Vec<_> =
            self.clients.iter().filter(|(_, c)| silent(c.last_heard)).map(|(&id, _)| id).collect();
        for worker in workers {
            let reason = format!("it has not been heard of for {seconds} s");
            self.effects.push(Effect::DisconnectWorker { worker, reason });
            self.worker_left(worker);
        }
        for client in clients {
            let reason = format!("it has not been heard of for {seconds} s");
            self.effects.push(Effect::DisconnectClient { client, reason });
            self.client_left(client);
        }
        let stranded = self.workers.is_empty()
            && self.coming.0 == 0
            && self.computations.values().any(|computation| computation.running);
        if !stranded {
            self.stranded_since = None;
            return;
        }
        let since = *self.stranded_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= self.settings.no_worker_patience {
            let why = self.coming.1.clone().unwrap_or_else(|| {
                "look at the workers' logs for why they ended, then start them again".to_owned()
            });
            let error = EngineError::Refused(format!(
                "no worker has been there for {} s; {why}",
                self.settings.no_worker_patience.as_secs_f64()
            ));
            let running: Vec<u32> =
                self.computations.iter().filter(|(_, c)| c.running).map(|(&id, _)| id).collect();
            running.into_iter().for_each(|computation| self.fail(computation, error.clone()));
        }
    }

    pub(crate) fn stage(&self, key: StageKey) -> &StageState {
        self.stages.get(&key).expect("stages named by stages outlive them")
    }

    pub(crate) fn stage_mut(&mut self, key: StageKey) -> &mut StageState {
        self.stages.get_mut(&key).expect("stages named by stages outlive them")
    }

    pub(crate) fn to_worker(&mut self, worker: WorkerId, message: ToWorker) {
        self.effects.push(Effect::ToWorker { worker, message });
    }

    pub(crate) fn to_client(&mut self, client: ClientId, message: ToClient) {
        if self.clients.contains_key(&client) {
            self.effects.push(Effect::ToClient { client, message });
        }
    }

    /// Marks a block ready, to run on `prefer` if that is soon possible.
    pub(crate) fn make_ready(&mut self, key: StageKey, block: u64, prefer: Option<WorkerId>) {
        let prefer = prefer.filter(|worker| self.workers.contains_key(worker));
        let stage = self.stage_mut(key);
        stage.set_state(block, crate::stage::BlockState::Ready);
        stage.ready.insert(block..block + 1, prefer);
        let rank = stage.rank();
        self.ready_stages.insert(rank);
    }

    fn flush_forgets(&mut self) {
        for ((worker, stage), set) in std::mem::take(&mut self.forget) {
            if self.workers.contains_key(&worker) {
                let runs = set.runs().map(|run| Blocks { stage, start: run.start, end: run.end }).collect();
                self.to_worker(worker, ToWorker::Forget(runs));
            }
        }
    }
}
