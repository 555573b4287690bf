//! Owns who gets what: how many blocks a worker is leased, from which stage, what memory allows, and what is asked
//! back from a busy worker for an idle one.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::Instant,
};

use nuna_wire::{
    StageKey, WorkerId,
    message::{Located, StageDefinition, ToWorker, WorkerHello},
};

use crate::{
    fair::{self, Rank, Turns},
    journal::Record,
    scheduler::{Reclaim, Scheduler, Worker},
    stage::BlockState,
};

/// No lease is longer than this, so that what a lost worker takes with it stays small.
const LEASE_BLOCKS_MAX: f64 = 65_536.0;
/// Blocks count for at least this long: sending them about costs as much.
const BLOCK_US_MIN: f64 = 0.25;
/// Less than this is not asked back from a worker: it will be done before the answer arrives.
const STEAL_US_MIN: f64 = 2_000.0;
/// The part of a worker's memory that values waiting to be read may fill before it gets no more blocks that add to them.
const FILL_MAX: f64 = 0.6;
/// One part in so many of its memory is what an idle worker may be given even so.
const IDLE_SHARE: u64 = 64;

/// Stages with ready blocks that are looked at for a worker before all others are.
const STAGES_AT_ONCE: usize = 64;

/// Whether blocks go to workers that do not have their inputs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Claims {
    Respected,
    Ignored,
}

fn has_idle_threads(worker: &Worker) -> bool {
    worker.queued.values().sum::<u64>() < u64::from(worker.hello.threads.max(1))
}

impl Scheduler {
    pub(crate) fn worker_joined(&mut self, now: Instant, worker: WorkerId, hello: WorkerHello) {
        let resources = hello.resources.clone();
        self.admit(now, worker, hello);
        self.look_at_needs(&resources);
        self.check_bounds();
    }

    pub(crate) fn admit(&mut self, now: Instant, worker: WorkerId, hello: WorkerHello) {
        self.journal(Record::Worker { worker, name: hello.name.clone() });
        self.stranded_since = None;
        let state = Worker {
            hello,
            last_heard: now,
            queued: BTreeMap::new(),
            peers: BTreeSet::new(),
            stored_bytes: 0,
            sample: Default::default(),
            reclaim: Reclaim::Possible,
            turns: Turns::default(),
            joined: now,
            lasts_until: None,
            draining: false,
        };
        self.threads_total += u64::from(state.hello.threads.max(1));
        let before = self.workers.insert(worker, state);
        assert!(before.is_none(), "{worker} joined twice");
        self.hungry.insert(worker);
    }

    pub(crate) fn worker_mut(&mut self, worker: WorkerId) -> &mut Worker {
        self.workers.get_mut(&worker).expect("callers have checked that the worker is there")
    }

    /// `count` blocks are no longer with `worker`.
    pub(crate) fn unqueue(&mut self, worker: WorkerId, key: StageKey, count: u64) {
        self.hungry.insert(worker);
        let queued = &mut self.worker_mut(worker).queued;
        let left = queued.get_mut(&key).expect("blocks leased to a worker are counted there");
        *left = left.checked_sub(count).expect("no more blocks come back than were leased");
        if *left == 0 {
            queued.remove(&key);
        }
    }

    fn block_us(&self, key: StageKey) -> f64 {
        let unknown = self.settings.lease_target.as_micros() as f64 / 2.0;
        self.stage(key).mean_us.map_or(unknown, |mean| mean.max(BLOCK_US_MIN))
    }

    /// How long `worker` is busy with what it has, over all its threads.
    fn queue_us(&self, worker: &Worker) -> f64 {
        worker.queued.iter().map(|(&key, &blocks)| blocks as f64 * self.block_us(key)).sum()
    }

    fn budget_us(&self, worker: &Worker) -> f64 {
        self.settings.lease_target.as_micros() as f64 * f64::from(worker.hello.threads.max(1))
    }

    /// Gives work to every worker that has less than half of what it should have at hand.
    pub(crate) fn place(&mut self, now: Instant) {
        if !self.ready_stages.is_empty() {
            let mut hungry = Vec::new();
            self.hungry.retain(|id| self.workers.contains_key(id));
            for &id in &self.hungry {
                let worker = &self.workers[&id];
                let load = self.queue_us(worker) / self.budget_us(worker);
                if !worker.draining && (load < 0.5 || has_idle_threads(worker)) {
                    hungry.push((load, id));
                }
            }
            self.hungry = hungry.iter().map(|&(_, id)| id).collect();
            hungry.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            for &(_, worker) in &hungry {
                self.feed(now, worker);
            }
            // What was left to a worker with nothing to do, and was too much for it, is now for others.
            for (_, worker) in hungry {
                if self.ready_stages.is_empty() {
                    break;
                }
                if self.workers[&worker].queued.is_empty() {
                    self.feed(now, worker);
                }
            }
        }
    }

    fn feed(&mut self, now: Instant, worker: WorkerId) {
        let stages = self.turn_of(worker, STAGES_AT_ONCE);
        self.feed_from(now, worker, &stages);
        let state = &self.workers[&worker];
        if stages.len() < self.ready_stages.len() && has_idle_threads(state) {
            // None of these was for this worker.
            let stages = self.turn_of(worker, usize::MAX);
            self.feed_from(now, worker, &stages);
        }
    }

    fn turn_of(&mut self, worker: WorkerId, most: usize) -> Vec<StageKey> {
        let worker = self.workers.get_mut(&worker).expect("callers have checked that the worker is there");
        worker.turns.next(&self.ready_stages, most)
    }

    fn feed_from(&mut self, now: Instant, worker: WorkerId, stages: &[StageKey]) {
        let level = |key: &StageKey| fair::level(self.stage(*key).priority);
        let levels: Vec<usize> =
            stages.chunk_by(|a, b| level(a) == level(b)).map(<[StageKey]>::len).collect();
        let mut rest = stages;
        for length in levels {
            let (stages, lower) = rest.split_at(length);
            rest = lower;
            // What has its inputs here, or nobody's; then what waits for others, if this worker is still short of work.
            for (claims, enough) in [(Claims::Respected, 1.0), (Claims::Ignored, 0.5)] {
                for &key in stages {
                    let state = &self.workers[&worker];
                    if self.queue_us(state) >= enough * self.budget_us(state) && !has_idle_threads(state) {
                        break;
                    }
                    self.lease_from(now, worker, key, claims);
                }
            }
        }
    }

    /// How many blocks of a stage `worker` may have now.
    pub(crate) fn allowance(&self, worker: &Worker, key: StageKey) -> u64 {
        let stage = self.stage(key);
        let computation = self.computation(stage.computation);
        if stage.delivers()
            && let Some(client) = self.clients.get(&computation.client)
            && client.outstanding_bytes >= self.settings.client_window_bytes
        {
            return 0;
        }
        let bound = stage.stage.bound;
        if bound.total() > worker.hello.memory_bytes {
            return 0;
        }
        let threads = u64::from(worker.hello.threads.max(1));
        let room = self.budget_us(worker) - self.queue_us(worker);
        // A block for each thread, however long blocks take.
        let idle = threads.saturating_sub(worker.queued.values().sum());
        let by_time = ((room / self.block_us(key)).ceil().clamp(0.0, LEASE_BLOCKS_MAX) as u64).max(idle);
        let share = stage.ready.len().saturating_mul(threads).div_ceil(self.threads_total);
        // Blocks around which workers were lost go out one by one, so that the next loss finds the culprit.
        let by_caution = if stage.losses.is_empty() { u64::MAX } else { threads };
        let by_memory = if stage.retains() && bound.output > 0 {
            let queued: u64 = worker
                .queued
                .iter()
                .filter(|(key, _)| self.stage(**key).retains())
                .map(|(key, &blocks)| blocks.saturating_mul(self.stage(*key).stage.bound.output))
                .fold(0, u64::saturating_add);
            let fill = (worker.hello.memory_bytes as f64 * FILL_MAX) as u64;
            let room = fill.saturating_sub(worker.stored_bytes).saturating_sub(queued);
            // An idle worker always gets something: it can spill, and nothing would ever become free otherwise. Of small
            // blocks it gets so many that they are worth a message.
            let little = (worker.hello.memory_bytes / IDLE_SHARE / bound.output).max(threads);
            (room / bound.output).max(if worker.queued.is_empty() { little } else { 0 })
        } else {
            u64::MAX
        };
        by_time.min(share).min(by_caution).min(by_memory).min(self.by_needs(worker, key))
    }

    /// How many blocks of a stage `worker` can still do before it has to leave.
    pub(crate) fn before_end(&self, now: Instant, worker: &Worker, key: StageKey) -> u64 {
        let Some(until) = worker.lasts_until else { return u64::MAX };
        let us = |from: Instant, to: Instant| to.saturating_duration_since(from).as_micros() as f64;
        let left = us(now, until);
        let stage = self.stage(key);
        // What is too long for any worker is tried at the beginning of one: perhaps it was slow for once.
        let fresh = us(worker.joined, now) * 10.0 < us(worker.joined, until);
        if left <= 0.0 || (stage.slow_us > left && !fresh) {
            return 0;
        }
        let threads = f64::from(worker.hello.threads.max(1));
        let room = left.mul_add(threads, -self.queue_us(worker)) / self.block_us(key);
        (room.max(if worker.queued.is_empty() { threads } else { 0.0 })) as u64
    }

    fn lease_from(&mut self, now: Instant, id: WorkerId, key: StageKey, claims: Claims) {
        let worker = &self.workers[&id];
        let mut allowance = self.allowance(worker, key).min(self.before_end(now, worker, key));
        let idle = self.workers[&id].queued.is_empty();
        while allowance > 0 {
            // Those that will not come to them any more have no claim.
            let comes = |worker: &Worker| !worker.draining && self.before_end(now, worker, key) > 0;
            let gone: BTreeSet<WorkerId> = match claims {
                Claims::Respected => BTreeSet::new(),
                Claims::Ignored => {
                    let owners = self.stage(key).ready.owners();
                    owners.filter(|of| !self.workers.get(of).is_some_and(comes)).collect()
                }
            };
            let threads = u64::from(self.workers[&id].hello.threads);
            let workers = &self.workers;
            // What is more urgent than something else that is ready does not wait for its owner while others do that.
            let outranks = |rank: &Rank| self.stage(key).rank().outranks(rank);
            let presses = self.ready_stages.last().is_some_and(outranks);
            // Another's blocks are taken if it has more than it can begin soon, or if this worker has nothing else.
            let may_rob = |of: WorkerId, len: u64| {
                claims == Claims::Ignored
                    && (gone.contains(&of)
                        || len > 4 * threads
                        || ((idle || presses)
                            && workers.get(&of).is_some_and(|worker| !worker.queued.is_empty())))
            };
            let stage = self.stages.get_mut(&key).expect("stages with ready blocks are there");
            let rank = stage.rank();
            let Some(run) = stage.ready.take(id, allowance, may_rob) else { break };
            if stage.ready.is_empty() {
                self.ready_stages.remove(&rank);
            }
            allowance -= run.end - run.start;
            self.lease(id, key, run);
        }
    }

    fn lease(&mut self, id: WorkerId, key: StageKey, run: Range<u64>) {
        let stage = self.stage_mut(key);
        for block in run.clone() {
            assert_eq!(stage.state(block), BlockState::Ready, "{key:?} block {block}");
            stage.set_state(block, BlockState::Leased);
            stage.holders[block as usize] = id;
        }
        *self.worker_mut(id).queued.entry(key).or_default() += run.end - run.start;
        self.define(id, key);
        let inputs = self.locate_inputs(id, key, &run);
        let stage = self.stage(key);
        let blocks = stage.run(run);
        self.to_worker(id, ToWorker::Lease { blocks, inputs });
    }

    /// Tells a worker what a stage is, unless it knows.
    pub(crate) fn define(&mut self, id: WorkerId, key: StageKey) {
        if self.stage_mut(key).defined.insert(id) {
            let stage = self.stage(key);
            let definition = StageDefinition {
                key,
                stage: stage.stage.clone(),
                inputs: stage.inputs.clone(),
                retain: stage.retains(),
                priority: stage.priority,
            };
            self.to_worker(id, ToWorker::Define(Box::new(definition)));
        }
    }

    /// Tells a worker where these are, unless it knows.
    pub(crate) fn introduce(&mut self, id: WorkerId, peers: &BTreeSet<WorkerId>) {
        let unknown: Vec<WorkerId> = peers.difference(&self.workers[&id].peers).copied().collect();
        if !unknown.is_empty() {
            let addresses =
                unknown.iter().map(|peer| (*peer, self.workers[peer].hello.data_address)).collect();
            self.worker_mut(id).peers.extend(unknown);
            self.to_worker(id, ToWorker::Peers(addresses));
        }
    }

    /// Where the inputs of `run` are that `id` does not hold itself.
    fn locate_inputs(&mut self, id: WorkerId, key: StageKey, run: &Range<u64>) -> Vec<Located> {
        let mut located: Vec<Located> = Vec::new();
        let inputs = self.stage(key).inputs.clone();
        for (input, source) in inputs.into_iter().enumerate() {
            let stage = self.stage(key);
            let map = &stage.stage.inputs[input].map;
            let mut reads: Vec<u64> =
                run.clone().flat_map(|block| map.read_indices(&stage.stage.grid, block)).collect();
            reads.sort_unstable();
            reads.dedup();
            let source_stage = self.stage(source);
            let from = located.len();
            for read in reads {
                assert_eq!(
                    source_stage.state(read),
                    BlockState::Stored,
                    "{source:?} block {read} is read when ready"
                );
                let worker = source_stage.holder(read);
                if worker == id {
                    continue;
                }
                match located[from..].last_mut() {
                    Some(last) if last.worker == worker && last.blocks.end == read => last.blocks.end += 1,
                    Some(_) | None => {
                        located.push(Located { blocks: source_stage.run(read..read + 1), worker })
                    }
                }
            }
            if located.len() > from {
                self.stage_mut(source).copies.insert(id);
            }
        }
        let holders: BTreeSet<WorkerId> = located.iter().map(|located| located.worker).collect();
        self.introduce(id, &holders);
        located
    }

    /// Asks the worker with most to do for half of what it has not begun, if another has nothing.
    pub(crate) fn steal(&mut self) {
        let idle =
            self.workers.values().filter(|worker| worker.queued.is_empty() && !worker.draining).count();
        if idle == 0 || self.work_waits() {
            return;
        }
        let asked = self.workers.values().filter(|worker| worker.reclaim == Reclaim::Asked).count();
        if asked >= idle {
            return;
        }
        let mut victims: Vec<(f64, WorkerId, StageKey, u64)> = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.reclaim == Reclaim::Possible)
            .filter_map(|(&id, worker)| {
                let (&key, &blocks) = worker.queued.iter().max_by_key(|&(_, blocks)| *blocks)?;
                let threads = u64::from(worker.hello.threads);
                let time = (blocks.saturating_sub(threads)) as f64 * self.block_us(key);
                (blocks > threads && time >= STEAL_US_MIN).then(|| (time, id, key, blocks - threads))
            })
            .collect();
        victims.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
        for (_, victim, stage, spare) in victims.into_iter().take(idle - asked) {
            self.worker_mut(victim).reclaim = Reclaim::Asked;
            self.to_worker(victim, ToWorker::Reclaim { stage, count: spare.div_ceil(2) });
        }
    }

    pub(crate) fn reclaimed(&mut self, worker: WorkerId, key: StageKey, runs: &[(u64, u64)]) {
        let Some(state) = self.workers.get_mut(&worker) else { return };
        state.reclaim = if runs.is_empty() { Reclaim::Barren } else { Reclaim::Possible };
        let Some(stage) = self.stages.get(&key) else { return };
        let count = stage.block_count();
        let returned: Vec<u64> = runs
            .iter()
            .flat_map(|&(start, end)| start.min(count)..end.min(count))
            .filter(|&block| stage.state(block) == BlockState::Leased && stage.holder(block) == worker)
            .collect();
        for &block in &returned {
            self.unqueue(worker, key, 1);
            self.stage_mut(key).set_state(block, BlockState::Waiting);
        }
        for block in returned {
            self.recount(key, block);
        }
        // They came back for others to take, so nobody has a claim on them.
        self.stage_mut(key).ready.forget_worker(worker);
    }
}
