//! Owns how a worker leaves without harm: it gets nothing more, gives back what it has not begun, finishes what it has, hands
//! over what only it holds (`handover.rs`), and goes once nobody waits for anything of it.

use std::time::Instant;

use nuna_wire::{WorkerId, message::ToWorker};

use crate::{event::Effect, scheduler::Scheduler, stage::BlockState};

impl Scheduler {
    /// It has said that it drains.
    pub(crate) fn drain(&mut self, now: Instant, worker: WorkerId) {
        let Some(state) = self.workers.get_mut(&worker) else { return };
        if state.draining {
            return;
        }
        state.draining = true;
        self.drains.insert(worker);
        self.begin_handover(now, worker);
        // What waited for this worker because it has the inputs may go anywhere.
        for stage in self.stages.values_mut() {
            stage.ready.forget_worker(worker);
        }
    }

    pub(crate) fn retire(&mut self, now: Instant, worker: WorkerId) {
        if self.workers.get(&worker).is_some_and(|state| !state.draining) {
            self.drain(now, worker);
            self.to_worker(worker, ToWorker::Drain);
        }
    }

    /// Sends those home that have nothing left to do.
    pub(crate) fn dismiss_drained(&mut self) {
        let drained: Vec<WorkerId> = self
            .drains
            .iter()
            .copied()
            .filter(|id| {
                self.workers[id].queued.is_empty() && self.has_handed_over(*id) && !self.is_fetched_from(*id)
            })
            .collect();
        for worker in drained {
            self.effects.push(Effect::Dismiss { worker });
            self.worker_left(worker);
        }
    }

    /// Whether a client was told to fetch a value there and has not done so.
    fn is_fetched_from(&self, worker: WorkerId) -> bool {
        self.stages.values().any(|stage| {
            stage
                .offered
                .iter()
                .any(|&block| stage.state(block) == BlockState::Stored && stage.holder(block) == worker)
        })
    }
}
