//! Owns what becomes of values that only a worker that leaves has: others fetch and keep them, a bounded part at a time, those first
//! that took longest to make for their size. What nobody takes in time is computed again, as after a loss.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use nuna_plan::RangeSet;
use nuna_wire::{StageKey, WorkerId, message::ToWorker};

use crate::{scheduler::Scheduler, stage::BlockState};

/// Values asked for at once of one that leaves, and by one that takes them over.
const RUNS_MAX: usize = 8;
const RUN_BLOCKS: u64 = 256;
const RUN_BYTES: u64 = 64 << 20;
/// No value has arrived for so long: the rest is computed again.
const PATIENCE: Duration = Duration::from_secs(30);
/// Who takes a value over should stay for so long, and for so long at least, or for this part of its own time: one that is about
/// to leave itself would only have to hand it on.
const STAYS: Duration = Duration::from_secs(60);
const STAYS_LEAST: Duration = Duration::from_secs(1);
const STAYS_SHARE: u32 = 10;

/// Of one worker that leaves.
pub(crate) struct HandOver {
    /// Values that nobody was asked to take; some are wanted no more.
    left: BTreeMap<StageKey, RangeSet>,
    moving: Vec<Moving>,
    /// Who could not take one.
    unable: BTreeSet<WorkerId>,
    /// When it began, or something arrived last.
    progress: Instant,
}

/// A run of values on their way.
struct Moving {
    to: WorkerId,
    stage: StageKey,
    /// Those that have not arrived.
    blocks: RangeSet,
    bytes: u64,
}

impl Scheduler {
    pub(crate) fn begin_handover(&mut self, now: Instant, worker: WorkerId) {
        let mut left: BTreeMap<StageKey, RangeSet> = BTreeMap::new();
        for (&key, stage) in self.stages.iter().filter(|(_, stage)| stage.stored_count > 0) {
            for block in 0..stage.block_count() {
                if stage.state(block) == BlockState::Stored && stage.holder(block) == worker {
                    left.entry(key).or_default().insert(block..block + 1);
                }
            }
        }
        let handover = HandOver { left, moving: Vec::new(), unable: BTreeSet::new(), progress: now };
        self.handovers.insert(worker, handover);
        self.handovers_due.insert(worker);
    }

    /// A block is done whose worker may be about to leave.
    pub(crate) fn hand_over_too(&mut self, worker: WorkerId, key: StageKey, block: u64) {
        if let Some(handover) = self.handovers.get_mut(&worker) {
            handover.left.entry(key).or_default().insert(block..block + 1);
            self.handovers_due.insert(worker);
        }
    }

    /// Whether nothing of it is on its way to others, nor will be.
    pub(crate) fn has_handed_over(&self, worker: WorkerId) -> bool {
        let done = |handover: &HandOver| handover.left.is_empty() && handover.moving.is_empty();
        self.handovers.get(&worker).is_none_or(done)
    }

    /// Has others fetch what is left with workers that leave.
    pub(crate) fn hand_over(&mut self, now: Instant) {
        for leaver in std::mem::take(&mut self.handovers_due) {
            let Some(mut handover) = self.handovers.remove(&leaver) else { continue };
            self.hand_over_of(now, leaver, &mut handover);
            self.handovers.insert(leaver, handover);
        }
    }

    fn hand_over_of(&mut self, now: Instant, leaver: WorkerId, handover: &mut HandOver) {
        // What was freed, or is to be computed again, is on nobody's way.
        for moving in &mut handover.moving {
            let gone: Vec<u64> =
                moving.blocks.iter().filter(|&block| !self.is_with(leaver, moving.stage, block)).collect();
            for block in gone {
                moving.blocks.remove(block);
            }
        }
        handover.moving.retain(|moving| !moving.blocks.is_empty());
        if now.saturating_duration_since(handover.progress) >= PATIENCE {
            handover.left.clear();
            handover.moving.clear();
        }
        while handover.moving.len() < RUNS_MAX
            && let Some((key, run, bytes)) = self.next_to_hand_over(leaver, handover)
        {
            let Some((to, free)) = self.who_takes_over(now, leaver, handover, bytes) else {
                if handover.moving.is_empty() && self.coming.0 == 0 {
                    // Nobody will come who could.
                    handover.left.clear();
                } else {
                    let left = handover.left.entry(key).or_default();
                    run.runs().for_each(|run| left.insert(run));
                }
                return;
            };
            // No more than there is memory for; the rest is another's.
            let mut rest = run;
            let mut run = RangeSet::new();
            let most = free.checked_div(bytes).unwrap_or(u64::MAX).max(1);
            while run.len() < most
                && let Some(some) = rest.take_first(most - run.len())
            {
                run.insert(some);
            }
            if !rest.is_empty() {
                let left = handover.left.entry(key).or_default();
                rest.runs().for_each(|run| left.insert(run));
            }
            self.define(to, key);
            self.introduce(to, &BTreeSet::from([leaver]));
            let stage = self.stage_mut(key);
            // Both may have them from now on, so both are told when nobody wants them any more.
            stage.copies.extend([to, leaver]);
            let asked: Vec<_> = run.runs().map(|run| stage.run(run)).collect();
            for blocks in asked {
                self.to_worker(to, ToWorker::Adopt { blocks, from: leaver, bytes });
            }
            handover.moving.push(Moving { to, stage: key, blocks: run, bytes });
        }
    }

    fn is_with(&self, worker: WorkerId, key: StageKey, block: u64) -> bool {
        self.stages
            .get(&key)
            .is_some_and(|stage| stage.state(block) == BlockState::Stored && stage.holder(block) == worker)
    }

    /// Takes values from `left`, all of one stage; says how many bytes each has. A client that was told to fetch a value
    /// fetches it there: the worker waits for that.
    fn next_to_hand_over(
        &self,
        leaver: WorkerId,
        handover: &mut HandOver,
    ) -> Option<(StageKey, RangeSet, u64)> {
        handover.left.retain(|key, _| self.stages.contains_key(key));
        loop {
            let worth = |key: StageKey| {
                let stage = self.stage(key);
                let bytes = stage.stored_bytes as f64 / stage.stored_count.max(1) as f64;
                stage.mean_us.unwrap_or(0.0) / bytes.max(1.0)
            };
            let keys = handover.left.keys().copied();
            let key = keys.max_by(|&a, &b| worth(a).total_cmp(&worth(b)))?;
            let stage = self.stage(key);
            let bytes = stage.stored_bytes / stage.stored_count.max(1);
            let most = RUN_BYTES.checked_div(bytes).unwrap_or(RUN_BLOCKS).clamp(1, RUN_BLOCKS);
            let mut run = RangeSet::new();
            let left = handover.left.get_mut(&key).expect("it is one of its keys");
            while run.len() < most
                && let Some(some) = left.take_first(most - run.len())
            {
                for block in some {
                    if self.is_with(leaver, key, block) && !stage.offered.contains(&block) {
                        run.insert(block..block + 1);
                    }
                }
            }
            if left.is_empty() {
                handover.left.remove(&key);
            }
            if !run.is_empty() {
                return Some((key, run, bytes));
            }
        }
    }

    /// The worker with most memory to spare, and how much that is: one that stays, and that has room for a value of so many bytes
    /// or a disk.
    fn who_takes_over(
        &self,
        now: Instant,
        leaver: WorkerId,
        handover: &HandOver,
        bytes: u64,
    ) -> Option<(WorkerId, u64)> {
        let busy: BTreeSet<WorkerId> = handover.moving.iter().map(|moving| moving.to).collect();
        let on_its_way = |to: WorkerId| -> u64 {
            let moving = self.handovers.values().flat_map(|handover| &handover.moving);
            moving.filter(|moving| moving.to == to).map(|moving| moving.bytes * moving.blocks.len()).sum()
        };
        let free = |(&id, worker): (&WorkerId, &crate::scheduler::Worker)| {
            let lasts = |long: Duration| worker.lasts_until.is_none_or(|until| until > now + long);
            let life = worker.lasts_until.map(|until| until.saturating_duration_since(worker.joined));
            let least = life.map_or(STAYS_LEAST, |life| STAYS_LEAST.min(life / STAYS_SHARE));
            let fit = !worker.draining && lasts(least) && id != leaver;
            if !fit || busy.contains(&id) || handover.unable.contains(&id) {
                return None;
            }
            let free = worker.hello.memory_bytes.saturating_sub(worker.stored_bytes);
            let free = free.saturating_sub(on_its_way(id));
            let spills = worker.hello.disks.iter().any(|disk| disk.free_bytes.min(disk.limit_bytes) > bytes);
            (free >= bytes || spills).then_some((lasts(STAYS), free, id))
        };
        self.workers.iter().filter_map(free).max().map(|(_, free, id)| (id, free))
    }

    /// `worker` has these values now.
    pub(crate) fn adopted(&mut self, now: Instant, worker: WorkerId, key: StageKey, runs: &[(u64, u64)]) {
        let Some(stage) = self.stages.get(&key).filter(|_| self.workers.contains_key(&worker)) else {
            return;
        };
        let count = stage.block_count();
        for block in runs.iter().flat_map(|&(start, end)| start.min(count)..end.min(count)) {
            let leaver = self.arrived(worker, key, block);
            let stage = self.stage_mut(key);
            let (state, holder) = (stage.state(block), stage.holder(block));
            if let Some(leaver) = leaver
                && state == BlockState::Stored
                && holder == leaver
            {
                let mean = stage.stored_bytes / stage.stored_count.max(1);
                stage.holders[block as usize] = worker;
                self.worker_mut(worker).stored_bytes += mean;
                let before = self.worker_mut(leaver);
                before.stored_bytes = before.stored_bytes.saturating_sub(mean);
                self.handovers.get_mut(&leaver).expect("it came from there").progress = now;
                // It may be about to leave itself.
                self.hand_over_too(worker, key, block);
            } else if holder != worker || !matches!(state, BlockState::Stored | BlockState::Leased) {
                // Too late: it was made anew, or is of no use any more.
                self.forget.entry((worker, key)).or_default().insert(block..block + 1);
            }
        }
    }

    pub(crate) fn not_adopted(&mut self, worker: WorkerId, key: StageKey, runs: &[(u64, u64)]) {
        let Some(count) = self.stages.get(&key).map(crate::stage::StageState::block_count) else { return };
        for block in runs.iter().flat_map(|&(start, end)| start.min(count)..end.min(count)) {
            if let Some(leaver) = self.arrived(worker, key, block)
                && let Some(handover) = self.handovers.get_mut(&leaver)
            {
                handover.unable.insert(worker);
                handover.left.entry(key).or_default().insert(block..block + 1);
            }
        }
    }

    /// A value is no longer on its way to `worker`. Whom it came from.
    fn arrived(&mut self, worker: WorkerId, key: StageKey, block: u64) -> Option<WorkerId> {
        for (&leaver, handover) in &mut self.handovers {
            let its = |moving: &&mut Moving| moving.to == worker && moving.stage == key;
            for moving in handover.moving.iter_mut().filter(its) {
                if moving.blocks.remove(block) {
                    self.handovers_due.insert(leaver);
                    return Some(leaver);
                }
            }
        }
        None
    }

    /// It is gone: it hands nothing over, and takes nothing over.
    pub(crate) fn forget_handovers(&mut self, worker: WorkerId) {
        self.handovers.remove(&worker);
        self.handovers_due.remove(&worker);
        for (&leaver, handover) in &mut self.handovers {
            for moving in handover.moving.extract_if(.., |moving| moving.to == worker) {
                let left = handover.left.entry(moving.stage).or_default();
                moving.blocks.runs().for_each(|run| left.insert(run));
                self.handovers_due.insert(leaver);
            }
        }
    }

    /// Panics if a value is on its way from or to nobody. Holds between any two events.
    pub(crate) fn assert_handovers(&self) {
        for (leaver, handover) in &self.handovers {
            assert!(
                self.workers.get(leaver).is_some_and(|worker| worker.draining),
                "{leaver} hands over and does not leave"
            );
            assert!(handover.moving.len() <= RUNS_MAX, "{leaver} hands over too much at once");
            for moving in &handover.moving {
                assert!(self.workers.contains_key(&moving.to), "{} takes over and is gone", moving.to);
                assert!(moving.to != *leaver && !moving.blocks.is_empty());
            }
        }
        for worker in &self.drains {
            assert!(self.handovers.contains_key(worker), "{worker} leaves and hands nothing over");
        }
    }
}
