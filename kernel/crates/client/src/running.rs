//! Owns a plan under way, as its caller sees it.

use std::{
    collections::VecDeque,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use nuna_plan::{EngineError, Finished, Progress, Running, Value};
use nuna_wire::{Outbox, Payload, message::FromClient};

use crate::connection::{Shared, Update};

/// How often whoever waits looks whether it was interrupted.
pub(crate) const POLL: Duration = Duration::from_millis(50);
/// The scheduler hears of values taken in steps of so many bytes.
const CONSUMED_STEP: u64 = 1 << 20;

pub(crate) struct RunningPlan {
    submission: u32,
    /// It goes on when this is dropped.
    detached: bool,
    progress: Progress,
    /// Of each stage.
    blocks: Vec<u64>,
    updates: mpsc::Receiver<Update>,
    /// Arrived together, handed out one by one.
    values: VecDeque<(u32, u64, Value)>,
    consumed: u64,
    /// How it ended, once it has.
    end: Option<Result<(), EngineError>>,
    shared: Arc<Shared>,
    outbox: Outbox<FromClient>,
}

impl RunningPlan {
    pub(crate) fn new(
        submission: u32,
        detached: bool,
        blocks: Vec<u64>,
        updates: mpsc::Receiver<Update>,
        shared: Arc<Shared>,
        outbox: Outbox<FromClient>,
    ) -> Self {
        Self {
            submission,
            detached,
            progress: Progress {
                done: 0,
                total: blocks.iter().sum(),
                stages: vec![0; blocks.len()],
                read_bytes: 0,
            },
            blocks,
            updates,
            values: VecDeque::new(),
            consumed: 0,
            end: None,
            shared,
            outbox,
        }
    }

    fn apply(&mut self, update: Update) {
        match update {
            Update::Blocks { stage, values } => {
                self.values.extend(values.into_iter().map(|(block, value)| (stage, block, value)));
            }
            Update::Progress { done, total, stages, read_bytes } => {
                self.progress = Progress { done, total, stages, read_bytes };
            }
            Update::End { read_bytes } => {
                self.progress.read_bytes = read_bytes;
                self.progress.done = self.progress.total;
                self.progress.stages.clone_from(&self.blocks);
                self.end = Some(Ok(()));
            }
            Update::Failed(error) => self.end = Some(Err(error)),
        }
    }

    fn take(&mut self) -> Option<Finished> {
        let (stage, block, value) = self.values.pop_front()?;
        self.consumed += value.byte_count();
        if self.consumed >= CONSUMED_STEP || self.values.is_empty() {
            let bytes = std::mem::take(&mut self.consumed);
            if bytes > 0 {
                let _ = self.outbox.send(FromClient::Consumed { bytes }, Payload::new());
            }
        }
        Some(Finished::Block { stage, block, value })
    }
}

impl Running for RunningPlan {
    fn next(&mut self, patience: Duration) -> Result<Finished, EngineError> {
        let until = Instant::now() + patience;
        loop {
            if matches!(self.end, Some(Err(EngineError::Cancelled))) {
                return Err(EngineError::Cancelled);
            }
            if let Some(finished) = self.take() {
                return Ok(finished);
            }
            match &self.end {
                Some(Ok(())) => return Ok(Finished::End),
                Some(Err(error)) => return Err(error.clone()),
                None => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.updates.recv_timeout(left.min(POLL)) {
                Ok(update) => {
                    self.apply(update);
                    continue;
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    let lost = self.shared.lost();
                    self.end = Some(Err(lost.unwrap_or(EngineError::Cancelled)));
                    continue;
                }
            }
            if nuna_plan::engine::interrupted() {
                self.cancel();
            } else if left <= POLL {
                return Ok(Finished::Waiting { done: self.progress.done, total: self.progress.total });
            }
        }
    }

    fn progress(&self) -> Progress {
        self.progress.clone()
    }

    fn cancel(&mut self) {
        if self.end.is_none() {
            self.shared.close(self.submission);
            let _ = self.outbox.send(FromClient::Cancel { submission: self.submission }, Payload::new());
            self.end = Some(Err(EngineError::Cancelled));
            self.values.clear();
        }
        if self.consumed > 0 {
            let bytes = std::mem::take(&mut self.consumed);
            let _ = self.outbox.send(FromClient::Consumed { bytes }, Payload::new());
        }
    }
}

impl Drop for RunningPlan {
    fn drop(&mut self) {
        // First, so that nothing more arrives here.
        self.shared.close(self.submission);
        // Values that arrived and were not taken no longer count against the client.
        let untaken: u64 = self.values.iter().map(|(_, _, value)| value.byte_count()).sum();
        let on_their_way: u64 = self
            .updates
            .try_iter()
            .map(|update| match update {
                Update::Blocks { values, .. } => values.iter().map(|(_, value)| value.byte_count()).sum(),
                Update::Progress { .. } | Update::End { .. } | Update::Failed(_) => 0,
            })
            .sum();
        self.consumed += untaken + on_their_way;
        if self.detached {
            return;
        }
        self.cancel();
    }
}
