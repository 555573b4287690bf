//! Owns how a scheduler takes the place of one whose process was lost: it knows the plans from the journal, waits for
//! those who were there to return, and puts together from what they have which blocks are done, stored, under way, or
//! to be run. Nothing is leased before that; workers meanwhile go on with what they have.
//!
//! Who knows what: a client which blocks it received, a worker which values it has and which blocks it runs, and a
//! block's readers that it was done, since they could not have run before it. The journal knows the rest.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Instant,
};

use nuna_plan::{HeldId, RangeSet, TaskError};
use nuna_wire::{
    ClientId, StageKey, WorkerId,
    message::{Blocks, ClientReturn, ToClient, ToWorker, WorkerHello, WorkerReturn},
};

use crate::{
    event::{Event, Outcome, Settings},
    journal::{Image, Record},
    lifetime::held_by,
    scheduler::Scheduler,
    stage::{BlockState, StageState},
};

/// What a scheduler knows while it waits for others to return.
pub(crate) struct Recovery {
    image: Image,
    began: Instant,
    workers: BTreeMap<WorkerId, (WorkerHello, WorkerReturn)>,
    clients: BTreeMap<ClientId, ClientReturn>,
    /// Those who were there, and are not back.
    workers_awaited: BTreeSet<WorkerId>,
    clients_awaited: BTreeSet<ClientId>,
    /// What cannot be acted on before everybody is back.
    deferred: Vec<Event>,
    /// What workers reported that have left again since: the attempts count all the same.
    failures: Vec<Failure>,
    /// Stages that they knew: perhaps the journal does not, and their numbers are not to be given out again.
    stages_seen: BTreeSet<StageKey>,
}

/// A block that failed at a worker that is gone.
struct Failure {
    worker: (WorkerId, String),
    stage: StageKey,
    block: u64,
    error: TaskError,
}

/// What workers say about one stage.
#[derive(Default)]
struct Witness {
    stored: HashMap<u64, (WorkerId, u64)>,
    leased: HashMap<u64, WorkerId>,
    /// Values that another worker has too.
    surplus: Vec<(WorkerId, u64)>,
}

impl Scheduler {
    /// A scheduler that goes on with what `image` tells. It leases nothing before those have returned who were there.
    pub fn restore(settings: Settings, now: Instant, image: Image) -> Self {
        let mut scheduler = Self::new(settings);
        scheduler.next_stage = image.next.stage.max(1);
        scheduler.next_computation = image.next.computation.max(1);
        scheduler.last_tick = Some(now);
        scheduler.recovery = Some(Box::new(Recovery {
            workers_awaited: image.workers.keys().copied().collect(),
            clients_awaited: image.clients.clone(),
            image,
            began: now,
            workers: BTreeMap::new(),
            clients: BTreeMap::new(),
            deferred: Vec::new(),
            failures: Vec::new(),
            stages_seen: BTreeSet::new(),
        }));
        scheduler
    }

    /// Whether workers that were there before are still let in.
    pub fn awaits_return(&self) -> bool {
        self.recovery.is_some()
    }

    /// Takes an event while others are awaited; gives those to be acted on once nobody is any more.
    pub(crate) fn recover(&mut self, now: Instant, event: Event) -> Vec<Event> {
        let recovery = self.recovery.as_mut().expect("called while others are awaited");
        match event {
            Event::Tick => self.last_tick = Some(now),
            Event::ClientHeard(_) | Event::WorkerHeard(_) | Event::Sample { .. } => {}
            Event::WorkerReturned { worker, hello, state } => {
                recovery.workers_awaited.remove(&worker);
                // If it joined meanwhile and lost its connection, it is there once, as it says now.
                recovery.deferred.retain(|event| event.worker() != Some(worker));
                recovery.workers.insert(worker, (hello, state));
            }
            Event::ClientReturned { client, state } => {
                recovery.clients_awaited.remove(&client);
                recovery.deferred.retain(|event| event.client() != Some(client) || event.stands(&state));
                recovery.clients.insert(client, state);
            }
            Event::WorkerLeft(worker) if recovery.workers.contains_key(&worker) => {
                recovery.left_again(worker)
            }
            Event::ClientLeft(client) if recovery.clients.remove(&client).is_some() => {
                recovery.clients_awaited.insert(client);
                recovery.deferred.retain(|event| event.client() != Some(client));
            }
            Event::WorkerJoined { worker, hello } => {
                // Whoever watches over workers has started it in place of one that will not return.
                recovery
                    .workers_awaited
                    .retain(|awaited| recovery.image.workers.get(awaited) != Some(&hello.name));
                recovery.deferred.push(Event::WorkerJoined { worker, hello });
            }
            other => recovery.deferred.push(other),
        }
        let passed = now.saturating_duration_since(recovery.began);
        let workers = recovery.workers_awaited.is_empty() || passed >= self.settings.workers_return_max;
        let clients = recovery.clients_awaited.is_empty() || passed >= self.settings.clients_return_max;
        if workers && clients { self.resume(now) } else { Vec::new() }
    }

    /// Everybody is back, or will not come: goes on. Gives the events that had to wait, and a tick.
    fn resume(&mut self, now: Instant) -> Vec<Event> {
        let recovery = *self.recovery.take().expect("called while others are awaited");
        let Recovery { image, workers, clients, workers_awaited, clients_awaited, .. } = recovery;
        let (mut deferred, failures) = (recovery.deferred, recovery.failures);
        if let Some(last) = recovery.stages_seen.last() {
            self.next_stage = self.next_stage.max(last.0.saturating_add(1));
        }
        workers_awaited.into_iter().for_each(|worker| self.journal(Record::WorkerGone(worker)));
        clients_awaited.into_iter().for_each(|client| self.journal(Record::ClientGone(client)));

        let mut received: BTreeMap<(ClientId, u32), BTreeMap<u32, RangeSet>> = BTreeMap::new();
        for (&client, state) in &clients {
            self.client_joined(now, client);
            let holds = state.held.iter().copied().filter(|&(_, uses)| uses > 0).collect();
            self.clients.get_mut(&client).expect("it has just joined").held = holds;
            for returning in &state.submissions {
                let stages = returning.received.iter().map(|(stage, runs)| {
                    let mut set = RangeSet::new();
                    runs.iter().for_each(|&(start, end)| set.insert(start..end));
                    (*stage, set)
                });
                received.insert((client, returning.submission), stages.collect());
            }
        }
        self.published = image.published;
        let mut runs_on = BTreeMap::new();
        for (id, kept) in image.plans {
            let by = (kept.accepted.client, kept.accepted.submission);
            // One that is over and whose client has not heard so is finished once more.
            let mut awaited = received.remove(&by);
            if awaited.is_none() && kept.accepted.plan.terms.detached && !kept.over {
                // It goes on without its client.
                awaited = Some(BTreeMap::new());
            }
            // That it is over is not written at once. A client that has what it was to leave behind and does not wait for
            // it has heard so.
            let told = || {
                let held = clients.get(&by.0).map(|state| state.held.as_slice()).unwrap_or_default();
                let mut made = kept.accepted.plan.stages.iter().filter_map(held_by);
                made.any(|made| held.iter().any(|&(held, uses)| held == made && uses > 0))
            };
            let running = awaited.is_some() || !(kept.over || told());
            self.install(now, *kept.accepted);
            self.computation_mut(id).running = running;
            if awaited.is_none()
                && let Some(client) = self.clients.get_mut(&by.0)
            {
                client.submissions.remove(&by.1);
            }
            self.hold_what_is_needed(id);
            runs_on.insert(id, (running, awaited));
        }
        let mut witnesses = BTreeMap::new();
        for (worker, (hello, state)) in workers {
            self.admit(now, worker, hello);
            self.hear_witness(worker, state, &mut witnesses);
        }

        // Readers have greater keys than what they read, and tell whether it was done.
        let keys: Vec<StageKey> = self.stages.keys().rev().copied().collect();
        let mut waiting = Vec::new();
        for &key in &keys {
            let index = self.stage(key).index;
            let (running, awaited) = &runs_on[&self.stage(key).computation];
            let set = match awaited {
                Some(stages) => stages.get(&index),
                None => None,
            };
            let over = !*running;
            let witness = witnesses.remove(&key).unwrap_or_default();
            let committed = image.committed.get(&key);
            let runs = self.restore_stage(key, over, awaited.is_some(), set, committed, witness);
            waiting.push((key, runs));
        }
        for ((key, block), attempts) in image.attempts {
            if let Some(stage) = self.stages.get_mut(&key)
                && block < stage.block_count()
                && !stage.state(block).is_done()
            {
                stage.attempts.insert(block, attempts);
            }
        }
        for (key, runs) in waiting {
            self.make_waiting_ready(key, &runs);
        }
        self.note_losses();
        for (id, (running, awaited)) in runs_on {
            let Some(computation) = self.computations.get(&id) else { continue };
            match (running, awaited) {
                (true, None) => self.end(id, Outcome::Cancelled),
                (true, Some(_)) if computation.done == computation.total && computation.offered == 0 => {
                    self.finish(id, Outcome::Done, None);
                }
                (true, Some(_)) => {}
                (false, _) => self.collect(id),
            }
        }
        for Failure { worker, stage: key, block, error } in failures {
            // What another runs, or has done, says by itself how it ends.
            let pending = |stage: &StageState| {
                block < stage.block_count()
                    && matches!(stage.state(block), BlockState::Waiting | BlockState::Ready)
            };
            if self.stages.get(&key).is_some_and(pending) {
                self.count_failure(worker, key, block, error);
            }
        }
        let resources: Vec<_> =
            self.workers.values().flat_map(|worker| worker.hello.resources.clone()).collect();
        self.look_at_needs(&resources);
        self.check_bounds();
        // Those that are left over were accepted a moment before the process was lost.
        let mut unknown: BTreeMap<ClientId, Vec<u32>> =
            clients.keys().map(|&client| (client, Vec::new())).collect();
        for (client, submission) in received.into_keys() {
            unknown.entry(client).or_default().push(submission);
        }
        for (client, unknown) in unknown {
            self.to_client(client, ToClient::Returned { unknown });
        }
        let next = self.next_numbers();
        self.journal(Record::Next(next));
        deferred.push(Event::Tick);
        deferred
    }

    /// One that returns when everybody else has gone on: it may submit again what it waits for.
    pub(crate) fn client_returned_late(&mut self, now: Instant, client: ClientId, state: &ClientReturn) {
        self.client_joined(now, client);
        let held: BTreeMap<HeldId, u32> = state
            .held
            .iter()
            .copied()
            .filter(|&(held, uses)| uses > 0 && self.held.contains_key(&held))
            .collect();
        self.clients.get_mut(&client).expect("it has just joined").held = held;
        let unknown = state.submissions.iter().map(|returning| returning.submission).collect();
        self.to_client(client, ToClient::Returned { unknown });
    }

    /// Of the stages that were to be held, those that nobody holds any more are not.
    fn hold_what_is_needed(&mut self, id: u32) {
        for key in self.computation(id).stages.clone() {
            let Some(held) = held_by(&self.stage(key).stage) else { continue };
            if !self.is_needed(held) {
                self.stage_mut(key).held = None;
                if self.held.get(&held) == Some(&key) {
                    self.held.remove(&held);
                }
            } else if self.held.get(&held) != Some(&key) {
                self.stage_mut(key).held = None;
            }
        }
    }

    fn hear_witness(
        &mut self,
        worker: WorkerId,
        state: WorkerReturn,
        witnesses: &mut BTreeMap<StageKey, Witness>,
    ) {
        let mut unknown = BTreeSet::new();
        for key in keys(&state) {
            self.next_stage = self.next_stage.max(key.0.saturating_add(1));
            if !self.stages.contains_key(&key) {
                unknown.insert(key);
            }
        }
        let WorkerReturn { stages, stored, copies, leased } = state;
        for key in stages {
            if let Some(stage) = self.stages.get_mut(&key) {
                stage.defined.insert(worker);
            }
        }
        for key in copies {
            if let Some(stage) = self.stages.get_mut(&key) {
                stage.copies.insert(worker);
            }
        }
        for (Blocks { stage: key, start, end }, bytes) in stored {
            let Some(stage) = self.stages.get(&key) else { continue };
            let witness = witnesses.entry(key).or_default();
            for block in start..end.min(stage.block_count()) {
                match witness.stored.entry(block) {
                    std::collections::hash_map::Entry::Occupied(_) => witness.surplus.push((worker, block)),
                    std::collections::hash_map::Entry::Vacant(entry) => drop(entry.insert((worker, bytes))),
                }
            }
        }
        for Blocks { stage: key, start, end } in leased {
            let Some(stage) = self.stages.get(&key) else { continue };
            // It runs only what it has the definition of.
            if stage.defined.contains(&worker) {
                let leased = &mut witnesses.entry(key).or_default().leased;
                (start..end.min(stage.block_count())).for_each(|block| {
                    leased.entry(block).or_insert(worker);
                });
            }
        }
        if !unknown.is_empty() {
            self.to_worker(worker, ToWorker::Drop(unknown.into_iter().collect()));
        }
    }

    /// Finds out how each block of a stage stands; gives those that must run, or run again.
    fn restore_stage(
        &mut self,
        key: StageKey,
        over: bool,
        awaited: bool,
        received: Option<&RangeSet>,
        committed: Option<&RangeSet>,
        witness: Witness,
    ) -> RangeSet {
        let mut waiting = RangeSet::new();
        let stage = self.stage(key);
        let (count, delivers, id) = (stage.block_count(), stage.delivers(), stage.computation);
        let unread = stage.consumers.is_empty() && stage.held.is_none();
        let unwitnessed = stage.is_unwitnessed();
        let Witness { mut stored, leased, surplus } = witness;
        for (worker, block) in surplus {
            self.forget.entry((worker, key)).or_default().insert(block..block + 1);
        }
        for block in 0..count {
            let has = delivers && (over || received.is_some_and(|set| set.contains(block)));
            if has {
                self.stage_mut(key).set_delivered(block);
            }
            let delivered = has || !delivers;
            let readers = if unread { 0 } else { self.readers_left(key, block) };
            if let Some((worker, bytes)) = stored.remove(&block) {
                self.restore_value(key, block, (worker, bytes), readers, !delivered && awaited);
                continue;
            }
            if let Some(&worker) = leased.get(&block) {
                let stage = self.stage_mut(key);
                stage.set_state(block, BlockState::Leased);
                stage.holders[block as usize] = worker;
                *self.worker_mut(worker).queued.entry(key).or_default() += 1;
                continue;
            }
            let done = has
                || over
                || (unwitnessed && committed.is_some_and(|set| set.contains(block)))
                || (readers == 0 && !unread && self.is_read(key, block));
            if done && delivered && readers == 0 {
                let stage = self.stage_mut(key);
                stage.set_state(block, BlockState::Finished);
                stage.done += 1;
                self.computation_mut(id).done += 1;
            } else {
                waiting.insert(block..block + 1);
            }
        }
        waiting
    }

    /// A worker has the value of a block.
    fn restore_value(
        &mut self,
        key: StageKey,
        block: u64,
        (worker, bytes): (WorkerId, u64),
        readers: u32,
        offer: bool,
    ) {
        let stage = self.stage_mut(key);
        stage.done += 1;
        let id = stage.computation;
        if readers > 0 || offer {
            stage.holders[block as usize] = worker;
            stage.store(block, readers, bytes, offer);
            self.worker_mut(worker).stored_bytes += bytes;
        } else {
            // Of a stage that is to be delivered, but not to anybody any more.
            stage.set_delivered(block);
            stage.set_state(block, BlockState::Finished);
            self.forget.entry((worker, key)).or_default().insert(block..block + 1);
        }
        self.computation_mut(id).done += 1;
        if offer {
            self.offer(key, block, bytes, worker);
        }
    }

    /// Whether any block reads it, done or not.
    fn is_read(&self, key: StageKey, block: u64) -> bool {
        self.stage(key).consumers.iter().any(|&(consumer, input)| {
            let consumer = self.stage(consumer);
            let map = &consumer.stage.inputs[input].map;
            !map.leaves_out(block) && !map.reader_indices(&consumer.stage.grid, block).is_empty()
        })
    }

    fn make_waiting_ready(&mut self, key: StageKey, runs: &RangeSet) {
        if !self.stage(key).inputs.is_empty() {
            runs.iter().for_each(|block| self.recount(key, block));
            return;
        }
        for run in runs.runs() {
            let stage = self.stage_mut(key);
            run.clone().for_each(|block| stage.set_state(block, BlockState::Ready));
            stage.ready.insert(run, None);
            let rank = stage.rank();
            self.ready_stages.insert(rank);
        }
    }

    /// What is held by name or by a client, and which no plan of the journal makes.
    fn note_losses(&mut self) {
        let published = self.published.values().flat_map(|publication| &publication.held);
        let held = self.clients.values().flat_map(|client| client.held.keys());
        let missing: BTreeSet<HeldId> =
            published.chain(held).filter(|held| !self.held.contains_key(held)).copied().collect();
        for held in missing {
            let reason =
                "the scheduler was restarted, and its journal does not tell how it was made".to_owned();
            self.lost.insert(held, reason);
        }
    }
}

/// The stages that a worker has anything to do with.
fn keys(state: &WorkerReturn) -> impl Iterator<Item = StageKey> {
    let WorkerReturn { stages, stored, copies, leased } = state;
    let values = stored.iter().map(|(blocks, _)| blocks).chain(leased).map(|blocks| blocks.stage);
    stages.iter().chain(copies).copied().chain(values)
}

impl Recovery {
    /// A worker that had returned is gone. It may return once more, with what it says then: but not of the blocks that it has
    /// said to have failed.
    fn left_again(&mut self, worker: WorkerId) {
        let Some((hello, state)) = self.workers.remove(&worker) else { return };
        self.stages_seen.extend(keys(&state));
        self.workers_awaited.insert(worker);
        for event in self.deferred.extract_if(.., |event| event.worker() == Some(worker)) {
            if let Event::Failed { stage, block, error, .. } = event {
                self.failures.push(Failure { worker: (worker, hello.name.clone()), stage, block, error });
            }
        }
    }
}

impl Event {
    fn worker(&self) -> Option<WorkerId> {
        match self {
            Event::Completed { worker, .. }
            | Event::Failed { worker, .. }
            | Event::InputMissing { worker, .. }
            | Event::Reclaimed { worker, .. }
            | Event::Adopted { worker, .. }
            | Event::NotAdopted { worker, .. }
            | Event::WorkerLasts { worker, .. }
            | Event::Draining { worker }
            | Event::Unreachable { worker, .. }
            | Event::WorkerJoined { worker, .. }
            | Event::WorkerLeft(worker)
            | Event::Retire { worker } => Some(*worker),
            _ => None,
        }
    }

    fn client(&self) -> Option<ClientId> {
        match self {
            Event::Submit { client, .. }
            | Event::Cancel { client, .. }
            | Event::Release { client, .. }
            | Event::Ask { client, .. }
            | Event::Received { client, .. }
            | Event::Missing { client, .. }
            | Event::Consumed { client, .. }
            | Event::ClientJoined(client)
            | Event::ClientLeft(client) => Some(*client),
            _ => None,
        }
    }

    /// Whether it is a plan that goes on without its client, and of which that does not speak any more.
    fn stands(&self, state: &ClientReturn) -> bool {
        let listed =
            |submission| state.submissions.iter().any(|returning| returning.submission == submission);
        matches!(self, Event::Submit { submission, plan, .. } if plan.terms.detached && !listed(*submission))
    }
}
