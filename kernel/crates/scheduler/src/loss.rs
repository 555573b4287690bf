//! Owns what follows a loss: a worker that is gone, a value that is not where it was said to be. Blocks whose
//! values are needed run again, and what they read if that is gone too.

use std::collections::BTreeSet;

use nuna_plan::EngineError;
use nuna_wire::{ClientId, StageKey, WorkerId};

use crate::{
    journal::Record,
    scheduler::Scheduler,
    stage::{BlockState, UNCOUNTED},
};

/// A value that was missing so often is not looked for again: two workers cannot reach each other.
const MISSING_MAX: u32 = 10;

impl Scheduler {
    pub(crate) fn worker_left(&mut self, worker: WorkerId) {
        let Some(gone) = self.workers.remove(&worker) else { return };
        self.journal(Record::WorkerGone(worker));
        self.drains.remove(&worker);
        self.forget_handovers(worker);
        self.forget_unreached(worker);
        let mut lost = Vec::new();
        let mut leased = Vec::new();
        let mut fatal = Vec::new();
        for (&key, stage) in &mut self.stages {
            stage.defined.remove(&worker);
            stage.copies.remove(&worker);
            stage.ready.forget_worker(worker);
            if stage.holders.is_empty() {
                continue;
            }
            // Workers begin blocks in order, so the first ones leased are those that may have ended it.
            let mut suspects = usize::from(gone.hello.threads);
            for block in 0..stage.block_count() {
                if stage.holder(block) != worker {
                    continue;
                }
                match stage.state(block) {
                    BlockState::Leased => {
                        leased.push((key, block));
                        if suspects > 0 {
                            suspects -= 1;
                            // A worker that had to leave is nobody's fault, but no block may go round for ever.
                            let (tally, most) = if gone.draining {
                                (&mut stage.cut_short, self.settings.cut_short_max)
                            } else {
                                (&mut stage.losses, self.settings.losses_max)
                            };
                            let times = tally.entry(block).or_default();
                            *times += 1;
                            if *times > most {
                                fatal.push((key, block, *times));
                            }
                        }
                    }
                    BlockState::Stored => lost.push((key, block)),
                    BlockState::Waiting | BlockState::Ready | BlockState::Finished => {}
                }
            }
        }
        self.forget.retain(|&(of, _), _| of != worker);
        self.hungry.remove(&worker);
        self.threads_total -= u64::from(gone.hello.threads.max(1));
        for peer in self.workers.values_mut() {
            peer.peers.remove(&worker);
        }
        let mut recount = BTreeSet::new();
        for (key, block) in leased {
            self.stage_mut(key).set_state(block, BlockState::Waiting);
            recount.insert((key, block));
        }
        self.recompute(lost, recount);
        for (key, block, times) in fatal {
            let Some(stage) = self.stages.get(&key) else { continue };
            let error = EngineError::Task {
                task: stage.task(block),
                worker: gone.hello.name.clone(),
                cell: stage.stage.origin.as_ref().map(|origin| origin.cell).filter(|&cell| cell > 0),
                message: if gone.draining {
                    format!(
                        "{times} workers had to leave while they ran it, because their jobs ended; give workers a longer walltime, or the task less to do"
                    )
                } else {
                    format!(
                        "{times} workers ended while they ran it; it may need more memory than they have, or crash them (see the workers' logs)"
                    )
                },
            };
            let computation = stage.computation;
            self.give_up(computation, error);
        }
    }

    /// A leased block comes back unfinished; it runs again once its inputs are there.
    pub(crate) fn requeue(&mut self, key: StageKey, block: u64) {
        self.stage_mut(key).set_state(block, BlockState::Waiting);
        self.recompute(Vec::new(), BTreeSet::from([(key, block)]));
    }

    /// Makes `lost` values anew, and counts again what the blocks in `recount` wait for.
    pub(crate) fn recompute(&mut self, lost: Vec<(StageKey, u64)>, mut recount: BTreeSet<(StageKey, u64)>) {
        let mut work = lost;
        while let Some((key, block)) = work.pop() {
            let stage = self.stage_mut(key);
            match stage.state(block) {
                BlockState::Stored => {
                    if stage.offered.remove(&block) {
                        let computation = stage.computation;
                        self.computation_mut(computation).offered -= 1;
                    }
                    self.unstore(key, block);
                }
                BlockState::Finished => {}
                // On its way already.
                BlockState::Waiting | BlockState::Ready | BlockState::Leased => continue,
            }
            let stage = self.stage_mut(key);
            stage.set_state(block, BlockState::Waiting);
            stage.done -= 1;
            let computation = stage.computation;
            self.computation_mut(computation).done -= 1;
            recount.insert((key, block));
            let stage = self.stage(key);
            for &(consumer, input) in &stage.consumers {
                let consumer_stage = self.stage(consumer);
                let map = &consumer_stage.stage.inputs[input].map;
                let readers = map.reader_indices(&consumer_stage.stage.grid, block);
                recount.extend(readers.into_iter().map(|reader| (consumer, reader)));
            }
            for (input, source) in self.stage(key).inputs.clone().into_iter().enumerate() {
                let stage = self.stage(key);
                let reads = stage.stage.inputs[input].map.read_indices(&stage.stage.grid, block);
                for read in reads {
                    let source_stage = self.stage_mut(source);
                    match source_stage.state(read) {
                        BlockState::Stored => {
                            let count = source_stage.count(read);
                            if count != UNCOUNTED {
                                source_stage.set_count(read, count + 1);
                            }
                        }
                        BlockState::Finished => work.push((source, read)),
                        BlockState::Waiting | BlockState::Ready | BlockState::Leased => {}
                    }
                }
            }
        }
        for (key, block) in recount {
            self.recount(key, block);
        }
    }

    /// Finds out anew what a block waits for.
    pub(crate) fn recount(&mut self, key: StageKey, block: u64) {
        let stage = self.stage(key);
        let was_ready = match stage.state(block) {
            BlockState::Ready => true,
            BlockState::Waiting => false,
            BlockState::Leased | BlockState::Stored | BlockState::Finished => return,
        };
        let mut missing = 0;
        let mut prefer = None;
        for (input, &source) in stage.inputs.iter().enumerate() {
            let source = self.stage(source);
            for read in stage.stage.inputs[input].map.read_indices(&stage.stage.grid, block) {
                if source.state(read) == BlockState::Stored {
                    prefer = Some(source.holder(read));
                } else {
                    missing += 1;
                }
            }
        }
        if missing == 0 && !was_ready {
            self.stage_mut(key).set_count(block, 0);
            self.make_ready(key, block, prefer);
        } else if missing > 0 {
            let stage = self.stage_mut(key);
            stage.set_state(block, BlockState::Waiting);
            stage.set_count(block, missing);
            if was_ready {
                stage.ready.remove(block);
                if stage.ready.is_empty() {
                    let rank = stage.rank();
                    self.ready_stages.remove(&rank);
                }
            }
        }
    }

    pub(crate) fn input_missing(
        &mut self,
        worker: WorkerId,
        key: StageKey,
        block: u64,
        (input, input_block): (StageKey, u64),
        holder: WorkerId,
    ) {
        let Some(stage) = self.stages.get(&key) else { return };
        if block >= stage.block_count()
            || stage.state(block) != BlockState::Leased
            || stage.holder(block) != worker
        {
            return;
        }
        self.unqueue(worker, key, 1);
        self.stage_mut(key).set_state(block, BlockState::Waiting);
        let recount = BTreeSet::from([(key, block)]);
        let reachable = stage_reads(self, key, block, input, input_block);
        let lost = if reachable { self.value_missing(input, input_block, holder) } else { Vec::new() };
        self.recompute(lost, recount);
        if reachable {
            // Where it is wanted nobody has to fetch it.
            let source = self.stage_mut(input);
            if source.state(input_block) == BlockState::Ready {
                source.ready.prefer(input_block, worker);
            }
        }
        self.give_up_unreachable(input, input_block, worker, holder);
        self.give_up_apart(worker, key, block, holder);
    }

    pub(crate) fn missing(
        &mut self,
        client: ClientId,
        submission: u32,
        index: u32,
        block: u64,
        holder: WorkerId,
    ) {
        let Some((_, key)) = self.submitted_stage(client, submission, index) else { return };
        if block < self.stage(key).block_count() {
            let lost = self.value_missing(key, block, holder);
            self.recompute(lost, BTreeSet::new());
            self.give_up_unreachable(key, block, holder, holder);
        }
    }

    /// The value that should be with `holder` cannot be had there. It is made anew, unless that is under way.
    fn value_missing(&mut self, key: StageKey, block: u64, holder: WorkerId) -> Vec<(StageKey, u64)> {
        let stage = self.stage_mut(key);
        if stage.state(block) != BlockState::Stored || stage.holder(block) != holder {
            return Vec::new();
        }
        *stage.missing.entry(block).or_default() += 1;
        self.forget.entry((holder, key)).or_default().insert(block..block + 1);
        vec![(key, block)]
    }

    fn give_up_unreachable(&mut self, key: StageKey, block: u64, from: WorkerId, holder: WorkerId) {
        let Some(stage) = self.stages.get(&key) else { return };
        let times = stage.missing.get(&block).copied().unwrap_or(0);
        if times <= MISSING_MAX {
            return;
        }
        let error = EngineError::Task {
            task: stage.task(block),
            worker: from.to_string(),
            cell: stage.stage.origin.as_ref().map(|origin| origin.cell).filter(|&cell| cell > 0),
            message: format!(
                "its value could not be fetched from {holder} in {times} attempts; check that the nodes reach each other"
            ),
        };
        let computation = stage.computation;
        self.give_up(computation, error);
    }
}

/// Whether `block` of `key` does read that block: a worker's word is not taken for it.
fn stage_reads(scheduler: &Scheduler, key: StageKey, block: u64, input: StageKey, input_block: u64) -> bool {
    let stage = scheduler.stage(key);
    stage.inputs.iter().zip(&stage.stage.inputs).any(|(&source, by)| {
        source == input && by.map.read_indices(&stage.stage.grid, block).contains(&input_block)
    })
}
