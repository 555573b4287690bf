//! Owns the proof that the scheduler's collections agree, for tests and the simulation.

use std::{collections::BTreeMap, time::Instant};

use nuna_wire::{StageKey, WorkerId};

use crate::{scheduler::Scheduler, stage::BlockState};

impl Scheduler {
    /// Panics if two collections disagree about a block or a worker.
    pub fn assert_consistent(&self) {
        let mut queued: BTreeMap<(WorkerId, StageKey), u64> = BTreeMap::new();
        let mut done: BTreeMap<u32, u64> = BTreeMap::new();
        let mut offered: BTreeMap<u32, u64> = BTreeMap::new();
        for (&key, stage) in &self.stages {
            let computation = self.computations.get(&stage.computation);
            let computation = computation.unwrap_or_else(|| panic!("{key:?} belongs to no computation"));
            assert!(computation.stages.contains(&key), "{key:?} is not among its computation's stages");
            let ready: std::collections::BTreeSet<u64> = stage.ready.iter().collect();
            assert_eq!(ready.len() as u64, stage.ready.len(), "{key:?}: blocks are ready twice");
            assert_eq!(
                self.ready_stages.contains(&stage.rank()),
                !ready.is_empty(),
                "{key:?}: ready blocks and ready stages differ"
            );
            let (mut stage_done, mut stored) = (0, 0);
            for block in 0..stage.block_count() {
                let state = stage.state(block);
                assert_eq!(
                    ready.contains(&block),
                    state == BlockState::Ready,
                    "{key:?} block {block} is {state:?}"
                );
                stage_done += u64::from(state.is_done());
                let holder = stage.holder(block);
                if matches!(state, BlockState::Leased | BlockState::Stored) {
                    assert!(
                        self.workers.contains_key(&holder),
                        "{key:?} block {block} is {state:?} with {holder}, which is gone"
                    );
                }
                match state {
                    BlockState::Leased => *queued.entry((holder, key)).or_default() += 1,
                    BlockState::Stored => {
                        stored += 1;
                        let readers = self.readers_left(key, block);
                        assert_eq!(stage.count(block), readers, "{key:?} block {block}: readers");
                        assert!(
                            readers > 0 || stage.offered.contains(&block),
                            "{key:?} block {block} is stored for nobody"
                        );
                    }
                    BlockState::Waiting => self.assert_waits(key, block),
                    BlockState::Finished => {
                        assert!(
                            stage.is_delivered(block),
                            "{key:?} block {block} was freed before it was delivered"
                        );
                        let readers = self.readers_left(key, block);
                        assert!(readers == 0, "{key:?} block {block} was freed with {readers} readers left");
                    }
                    BlockState::Ready => {}
                }
            }
            assert_eq!(stage.done, stage_done, "{key:?}: blocks done");
            let leased = (0..stage.block_count()).filter(|&block| stage.state(block) == BlockState::Leased);
            assert_eq!(stage.leased(), leased.count() as u64, "{key:?}: blocks leased");
            assert_eq!(stage.stored_count, stored, "{key:?}: blocks stored");
            *done.entry(stage.computation).or_default() += stage_done;
            *offered.entry(stage.computation).or_default() += stage.offered.len() as u64;
        }
        for (id, computation) in &self.computations {
            assert_eq!(computation.done, done.get(id).copied().unwrap_or(0), "computation {id}: blocks done");
            assert_eq!(
                computation.offered,
                offered.get(id).copied().unwrap_or(0),
                "computation {id}: blocks offered"
            );
            assert!(
                !computation.running || computation.done < computation.total || computation.offered > 0,
                "computation {id} is done, but runs"
            );
        }
        let counted: BTreeMap<(WorkerId, StageKey), u64> = self
            .workers
            .iter()
            .flat_map(|(&id, worker)| worker.queued.iter().map(move |(&key, &blocks)| ((id, key), blocks)))
            .collect();
        assert_eq!(queued, counted, "blocks leased to workers");
        let threads: u64 = self.workers.values().map(|worker| u64::from(worker.hello.threads.max(1))).sum();
        assert_eq!(threads, self.threads_total, "threads of all workers");
        self.assert_handovers();
        self.assert_needs();
        for (held, key) in &self.held {
            assert_eq!(self.stage(*key).held, Some(*held), "{held:?}");
        }
        for (name, publication) in &self.published {
            for held in &publication.held {
                assert_ne!(
                    self.held.contains_key(held),
                    self.lost.contains_key(held),
                    "{held:?} of `{name}` is either held or lost"
                );
            }
        }
        for held in self.lost.keys() {
            let held_by = |client: &crate::scheduler::Client| client.held.contains_key(held);
            let published = self.published.values().any(|publication| publication.held.contains(held));
            assert!(published || self.clients.values().any(held_by), "{held:?} is lost to nobody");
        }
    }

    /// Panics if a worker has nothing to do though a block is ready that it may have, and can do before it leaves. Holds
    /// between any two events; `now` is when the last one came.
    pub fn assert_nobody_idles(&self, now: Instant) {
        let idle = |(_, worker): &(&WorkerId, &crate::scheduler::Worker)| {
            worker.queued.is_empty() && !worker.draining
        };
        for (id, worker) in self.workers.iter().filter(idle) {
            for key in self.ready_stages.iter().map(|rank| rank.key) {
                let may = self.allowance(worker, key).min(self.before_end(now, worker, key));
                assert_eq!(may, 0, "{id} idles, and {key:?} has ready blocks for it");
            }
        }
    }

    fn assert_waits(&self, key: StageKey, block: u64) {
        let stage = self.stage(key);
        let mut missing = 0;
        for (input, &source) in stage.inputs.iter().enumerate() {
            let source_stage = self.stage(source);
            for read in stage.stage.inputs[input].map.read_indices(&stage.stage.grid, block) {
                let state = source_stage.state(read);
                assert_ne!(
                    state,
                    BlockState::Finished,
                    "{key:?} block {block} waits for {source:?} block {read}, which is freed"
                );
                missing += u32::from(state != BlockState::Stored);
            }
        }
        assert!(missing > 0, "{key:?} block {block} waits for nothing");
        let count = stage.count(block);
        let untouched = count == 0 && missing == stage.read_total(block);
        assert!(
            count == missing || untouched,
            "{key:?} block {block} counts {count} missing inputs of {missing}"
        );
    }
}
