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
        self.shared.consume(value.byte_count(), &self.outbox);
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
            self.leave_values();
        }
    }
}

impl RunningPlan {
    /// Values that arrived and will not be taken no longer count against the client.
    fn leave_values(&mut self) {
        let bytes = self.values.drain(..).map(|(_, _, value)| value.byte_count()).sum();
        self.shared.consume(bytes, &self.outbox);
    }
}

impl Drop for RunningPlan {
    fn drop(&mut self) {
        // First, so that nothing more arrives here.
        self.shared.close(self.submission);
        // The end may be here already, behind the last value: there is nothing to cancel then.
        while let Ok(update) = self.updates.try_recv() {
            self.apply(update);
        }
        self.leave_values();
        if !self.detached {
            self.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn running() -> (RunningPlan, mpsc::Sender<Update>, nuna_wire::Outgoing<FromClient>) {
        let (outbox, outgoing) = nuna_wire::outbox(1 << 30);
        let shared = Arc::new(Shared::new("test".to_owned(), 1, Default::default()));
        let (sender, updates) = mpsc::channel();
        (RunningPlan::new(3, false, vec![1], updates, shared, outbox), sender, outgoing)
    }

    fn blocks(bytes: usize) -> Update {
        let value = Value { header: Bytes::new(), body: Bytes::from(vec![0; bytes]) };
        Update::Blocks { stage: 0, values: vec![(0, value)] }
    }

    fn said(outgoing: &mut nuna_wire::Outgoing<FromClient>) -> Vec<FromClient> {
        outgoing.take_waiting().into_iter().map(|(message, _)| message).collect()
    }

    #[test]
    fn a_small_result_that_was_taken_with_its_end_behind_it_costs_no_message() {
        let (mut running, updates, mut outgoing) = running();
        updates.send(blocks(8)).unwrap();
        assert!(matches!(running.next(Duration::ZERO), Ok(Finished::Block { .. })));
        updates.send(Update::End { read_bytes: 0 }).unwrap();
        drop(running);
        assert!(said(&mut outgoing).is_empty());
    }

    #[test]
    fn what_is_dropped_before_its_end_is_cancelled_and_its_values_count_as_taken() {
        let (running, updates, mut outgoing) = running();
        updates.send(blocks(2 << 20)).unwrap();
        drop(running);
        let expected = [FromClient::Consumed { bytes: 2 << 20 }, FromClient::Cancel { submission: 3 }];
        assert_eq!(said(&mut outgoing), expected);
    }
}
