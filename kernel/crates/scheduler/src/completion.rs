//! Owns what follows when a block is done or has failed: values delivered and freed, readers made ready, the
//! computation's end.

use std::time::Instant;

use nuna_plan::{EngineError, RangeSet, TaskError, Value};
use nuna_wire::{
    ClientId, StageKey, WorkerId,
    message::{Completed, ToClient},
};

use crate::{
    event::{Effect, Note, Outcome},
    journal::Record,
    scheduler::{Reclaim, Scheduler},
    stage::{BlockState, UNCOUNTED},
};

/// How much of the slowest block is remembered with each report.
const SLOW_FADES: f64 = 0.98;

impl Scheduler {
    pub(crate) fn completed(
        &mut self,
        now: Instant,
        worker: WorkerId,
        key: StageKey,
        blocks: Vec<(Completed, Option<Value>)>,
    ) {
        // A stage that was cancelled, or a worker that was given up a moment ago.
        if !self.stages.contains_key(&key) || !self.workers.contains_key(&worker) {
            return;
        }
        let mut values = Vec::new();
        // Of all other blocks somebody else can tell that they are done: docs/decisions/journal.md.
        let unwitnessed = self.stage(key).is_unwitnessed();
        let mut committed = RangeSet::new();
        let (mut time_us, mut count, mut read_bytes, mut slowest_us) = (0_u64, 0_u64, 0_u64, 0_u32);
        for (done, value) in blocks {
            let stage = self.stage_mut(key);
            let known = done.block < stage.block_count();
            if !known || stage.state(done.block) != BlockState::Leased || stage.holder(done.block) != worker {
                continue;
            }
            read_bytes = read_bytes.saturating_add(done.read_bytes);
            time_us += u64::from(done.duration_us);
            slowest_us = slowest_us.max(done.duration_us);
            count += 1;
            self.unqueue(worker, key, 1);
            self.block_done(worker, key, done.block, done.bytes, value, &mut values);
            if unwitnessed {
                committed.insert(done.block..done.block + 1);
            }
        }
        if !committed.is_empty() {
            let runs = committed.runs().map(|run| (run.start, run.end)).collect();
            self.journal(Record::Committed { stage: key, runs });
        }
        let stage = self.stage_mut(key);
        if count > 0 {
            let mean = time_us as f64 / count as f64;
            stage.mean_us = Some(stage.mean_us.map_or(mean, |before| before.mul_add(0.7, 0.3 * mean)));
            stage.slow_us = (stage.slow_us * SLOW_FADES).max(f64::from(slowest_us));
        }
        let (computation, index) = (stage.computation, stage.index);
        self.worker_mut(worker).reclaim = match self.worker_mut(worker).reclaim {
            Reclaim::Asked => Reclaim::Asked,
            Reclaim::Possible | Reclaim::Barren => Reclaim::Possible,
        };
        let (client, submission) = {
            let computation = self.computation_mut(computation);
            computation.read_bytes = computation.read_bytes.saturating_add(read_bytes);
            (computation.client, computation.submission)
        };
        if let Some(to) = self.clients.get_mut(&client)
            && !values.is_empty()
        {
            to.outstanding_bytes +=
                values.iter().map(|(_, value): &(u64, Value)| value.byte_count()).sum::<u64>();
            self.effects.push(Effect::Deliver { client, submission, stage: index, values });
        }
        self.after_progress(now, computation);
    }

    /// Tells the client how far its computation is, if it has not heard for a while, or that it is over.
    fn after_progress(&mut self, now: Instant, id: u32) {
        let interval = self.settings.progress_interval;
        let computation = self.computation_mut(id);
        if !computation.running {
            return;
        }
        let (client, submission, done, total) =
            (computation.client, computation.submission, computation.done, computation.total);
        if done == total && computation.offered == 0 {
            self.finish(id, Outcome::Done, None);
        } else if now.saturating_duration_since(computation.last_progress) >= interval {
            computation.last_progress = now;
            let stages = self.computation(id).stages.iter().map(|key| self.stage(*key).done).collect();
            let read_bytes = self.computation(id).read_bytes;
            self.to_client(client, ToClient::Progress { submission, done, total, stages, read_bytes });
        }
    }

    fn block_done(
        &mut self,
        worker: WorkerId,
        key: StageKey,
        block: u64,
        bytes: u64,
        value: Option<Value>,
        values: &mut Vec<(u64, Value)>,
    ) {
        let readers = self.readers_left(key, block);
        let stage = self.stage_mut(key);
        let mut offer = false;
        if !stage.is_delivered(block) {
            match value {
                Some(value) => {
                    stage.set_delivered(block);
                    values.push((block, value));
                }
                None => offer = true,
            }
        }
        stage.done += 1;
        let (retains, computation) = (stage.retains(), stage.computation);
        stage.losses.remove(&block);
        stage.cut_short.remove(&block);
        if readers > 0 || offer {
            stage.store(block, readers, bytes, offer);
            self.worker_mut(worker).stored_bytes += bytes;
            self.hand_over_too(worker, key, block);
        } else {
            stage.set_state(block, BlockState::Finished);
            stage.set_count(block, 0);
            if retains {
                self.forget_value(key, block, worker);
            }
        }
        self.computation_mut(computation).done += 1;
        if offer {
            self.offer(key, block, bytes, worker);
        }
        self.inputs_read(key, block);
        self.readers_wait_less(key, block, worker);
    }

    /// Tells the client of a block that it is to fetch from `worker`.
    pub(crate) fn offer(&mut self, key: StageKey, block: u64, bytes: u64, worker: WorkerId) {
        let (computation, stage) = (self.stage(key).computation, self.stage(key).index);
        let address = self.worker_mut(worker).hello.data_address;
        let computation = self.computation_mut(computation);
        computation.offered += 1;
        let (client, submission) = (computation.client, computation.submission);
        self.to_client(client, ToClient::Available { submission, stage, key, block, bytes, worker, address });
    }

    /// Readers of a block that are not done, as it stands now.
    pub(crate) fn readers_left(&self, key: StageKey, block: u64) -> u32 {
        let stage = self.stage(key);
        if stage.held.is_some() {
            return UNCOUNTED;
        }
        let mut left = 0;
        for &(consumer, input) in &stage.consumers {
            let consumer = self.stage(consumer);
            let map = &consumer.stage.inputs[input].map;
            if map.leaves_out(block) {
                continue;
            }
            let readers = map.readers(&consumer.stage.grid, block);
            left += if consumer.done == 0 {
                readers.iter().map(|range| range.end.saturating_sub(range.start)).product::<u64>()
            } else {
                let indices = consumer.stage.grid.indices_in(&readers);
                indices.filter(|&reader| !consumer.state(reader).is_done()).count() as u64
            };
        }
        u32::try_from(left).expect("a block has fewer than 2^32 readers").min(UNCOUNTED - 1)
    }

    /// Block `block` is done: what it read has one reader less.
    fn inputs_read(&mut self, key: StageKey, block: u64) {
        let stage = self.stage(key);
        let inputs = stage.inputs.clone();
        for (input, source) in inputs.into_iter().enumerate() {
            let stage = self.stage(key);
            let reads = stage.stage.inputs[input].map.read_indices(&stage.stage.grid, block);
            for read in reads {
                let source_stage = self.stage_mut(source);
                source_stage.missing.remove(&read);
                if source_stage.state(read) != BlockState::Stored || source_stage.count(read) == UNCOUNTED {
                    continue;
                }
                let left =
                    source_stage.count(read).checked_sub(1).expect("readers of a stored block are counted");
                source_stage.set_count(read, left);
                if left == 0 && !source_stage.offered.contains(&read) {
                    self.free(source, read);
                }
            }
        }
    }

    /// A stored value is of no further use.
    pub(crate) fn free(&mut self, key: StageKey, block: u64) {
        let stage = self.stage_mut(key);
        assert_eq!(stage.state(block), BlockState::Stored, "{key:?} block {block}");
        let holder = stage.holder(block);
        stage.set_state(block, BlockState::Finished);
        self.unstore(key, block);
        self.forget_value(key, block, holder);
    }

    /// Takes a value out of the accounts; the block's state is the caller's.
    pub(crate) fn unstore(&mut self, key: StageKey, block: u64) {
        let stage = self.stage_mut(key);
        let holder = stage.holder(block);
        let mean = stage.stored_bytes / stage.stored_count.max(1);
        stage.stored_bytes -= mean;
        stage.stored_count -= 1;
        stage.set_count(block, 0);
        if let Some(worker) = self.workers.get_mut(&holder) {
            worker.stored_bytes = worker.stored_bytes.saturating_sub(mean);
        }
    }

    fn forget_value(&mut self, key: StageKey, block: u64, holder: WorkerId) {
        self.forget.entry((holder, key)).or_default().insert(block..block + 1);
        let copies: Vec<WorkerId> = self.stage(key).copies.iter().copied().collect();
        for copy in copies {
            self.forget.entry((copy, key)).or_default().insert(block..block + 1);
        }
    }

    /// Block `block` is stored: whoever reads it waits for one block less.
    fn readers_wait_less(&mut self, key: StageKey, block: u64, worker: WorkerId) {
        if self.stage(key).consumers.is_empty() {
            return;
        }
        for (consumer, input) in self.stage(key).consumers.clone() {
            let stage = self.stage(consumer);
            let readers = stage.stage.inputs[input].map.reader_indices(&stage.stage.grid, block);
            for reader in readers {
                let stage = self.stage_mut(consumer);
                if stage.state(reader) != BlockState::Waiting {
                    continue;
                }
                let waits_for = match stage.count(reader) {
                    0 => stage.read_total(reader),
                    count => count,
                } - 1;
                stage.set_count(reader, waits_for);
                if waits_for == 0 {
                    self.make_ready(consumer, reader, Some(worker));
                }
            }
        }
    }

    pub(crate) fn failed(&mut self, worker: WorkerId, key: StageKey, block: u64, error: TaskError) {
        let Some(stage) = self.stages.get_mut(&key) else { return };
        if block >= stage.block_count()
            || stage.state(block) != BlockState::Leased
            || stage.holder(block) != worker
        {
            return;
        }
        self.unqueue(worker, key, 1);
        let name = self.worker_mut(worker).hello.name.clone();
        if self.count_failure((worker, name), key, block, error) {
            self.requeue(key, block);
        }
    }

    /// Whether the block is to be tried again; if not, its computation is given up.
    pub(crate) fn count_failure(
        &mut self,
        (worker, name): (WorkerId, String),
        key: StageKey,
        block: u64,
        error: TaskError,
    ) -> bool {
        let stage = self.stage_mut(key);
        let attempt = stage.attempts.entry(block).or_default();
        *attempt += 1;
        let again = error.retryable && *attempt <= stage.stage.retries;
        let (attempts, computation) = (*attempt, stage.computation);
        let cell = stage.stage.origin.as_ref().map(|origin| origin.cell).filter(|&cell| cell > 0);
        let task = stage.task(block);
        self.effects.push(Effect::Note(Note::Failure {
            stage: key,
            block,
            worker,
            message: error.message.clone(),
        }));
        if again {
            self.journal(Record::Failed { stage: key, block, attempts });
        } else {
            let message =
                if attempts > 1 { format!("{} (attempt {attempts})", error.message) } else { error.message };
            self.give_up(computation, EngineError::Task { task, worker: name, cell, message });
        }
        again
    }

    pub(crate) fn received(&mut self, client: ClientId, submission: u32, index: u32, blocks: &[u64]) {
        let Some((id, key)) = self.submitted_stage(client, submission, index) else { return };
        for &block in blocks {
            let stage = self.stage_mut(key);
            if !stage.offered.remove(&block) {
                continue;
            }
            stage.set_delivered(block);
            let unread = stage.count(block) == 0;
            self.computation_mut(id).offered -= 1;
            if unread {
                self.free(key, block);
            }
        }
        let computation = self.computation(id);
        if computation.running && computation.done == computation.total && computation.offered == 0 {
            self.finish(id, Outcome::Done, None);
        }
    }

    pub(crate) fn submitted_stage(
        &self,
        client: ClientId,
        submission: u32,
        index: u32,
    ) -> Option<(u32, StageKey)> {
        let id = *self.clients.get(&client)?.submissions.get(&submission)?;
        Some((id, *self.computation(id).stages.get(index as usize)?))
    }
}
