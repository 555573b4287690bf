//! Owns what can be said of the scheduler from outside, message by message: no block is with two workers, no block is
//! tried more often than allowed.

use std::collections::{BTreeSet, HashMap};

use nuna_scheduler::Event;
use nuna_wire::{
    StageKey, WorkerId,
    message::{Blocks, ToWorker},
};

#[derive(Default)]
pub(crate) struct Ledger {
    leases: HashMap<(StageKey, u64), WorkerId>,
    by_worker: HashMap<WorkerId, BTreeSet<(StageKey, u64)>>,
    /// Failures that the scheduler counted.
    failures: HashMap<(StageKey, u64), u32>,
    retries: HashMap<StageKey, u32>,
}

impl Ledger {
    /// Before the scheduler hears of it.
    pub(crate) fn scheduler_hears(&mut self, event: &Event) {
        match event {
            Event::Completed { worker, stage, blocks } => {
                for (done, _) in blocks {
                    self.ended(*worker, *stage, done.block);
                }
            }
            Event::InputMissing { worker, stage, block, .. } => {
                self.ended(*worker, *stage, *block);
            }
            Event::Failed { worker, stage, block, .. } => {
                let counted = u32::from(self.ended(*worker, *stage, *block));
                *self.failures.entry((*stage, *block)).or_default() += counted;
            }
            Event::Reclaimed { worker, stage, runs } => {
                for block in runs.iter().flat_map(|&(start, end)| start..end) {
                    self.ended(*worker, *stage, block);
                }
            }
            Event::WorkerLeft(worker) => self.worker_gone(*worker),
            _ => {}
        }
    }

    /// The scheduler is lost, and perhaps what it has counted.
    pub(crate) fn scheduler_lost(&mut self) {
        self.leases.clear();
        self.by_worker.clear();
        self.failures.clear();
    }

    /// A worker is back at a new scheduler, with blocks that it runs.
    pub(crate) fn returns(&mut self, worker: WorkerId, leased: &[Blocks]) {
        for run in leased {
            for block in run.start..run.end {
                let key = (run.stage, block);
                // One that was given up may come back and run what another does by now.
                self.leases.entry(key).or_insert(worker);
                self.by_worker.entry(worker).or_default().insert(key);
            }
        }
    }

    pub(crate) fn worker_gone(&mut self, worker: WorkerId) {
        for block in self.by_worker.remove(&worker).unwrap_or_default() {
            if self.leases.get(&block) == Some(&worker) {
                self.leases.remove(&block);
            }
        }
    }

    /// Whether the block was with that worker.
    fn ended(&mut self, worker: WorkerId, stage: StageKey, block: u64) -> bool {
        let held = self.leases.get(&(stage, block)) == Some(&worker);
        if held {
            self.leases.remove(&(stage, block));
            self.by_worker.entry(worker).or_default().remove(&(stage, block));
        }
        held
    }

    pub(crate) fn to_worker(&mut self, worker: WorkerId, message: &ToWorker) {
        match message {
            ToWorker::Define(definition) => {
                self.retries.insert(definition.key, definition.stage.retries);
            }
            ToWorker::Lease { blocks, .. } => {
                for block in blocks.start..blocks.end {
                    let key = (blocks.stage, block);
                    let before = self.leases.insert(key, worker);
                    assert_eq!(before, None, "{key:?} is leased to {worker}, and still is with another");
                    self.by_worker.entry(worker).or_default().insert(key);
                    let failures = self.failures.get(&key).copied().unwrap_or(0);
                    let retries = self.retries.get(&blocks.stage).copied().unwrap_or(0);
                    assert!(failures <= retries, "{key:?} is tried again after {failures} failures");
                }
            }
            ToWorker::Drop(stages) => {
                for &stage in stages {
                    let ranges = self.by_worker.entry(worker).or_default();
                    let gone: Vec<_> = ranges.range((stage, 0)..=(stage, u64::MAX)).copied().collect();
                    for key in gone {
                        ranges.remove(&key);
                        if self.leases.get(&key) == Some(&worker) {
                            self.leases.remove(&key);
                        }
                    }
                }
            }
            _ => {}
        }
    }
}
