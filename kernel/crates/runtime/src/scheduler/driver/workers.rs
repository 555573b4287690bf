//! Owns the conversation with workers: who comes and goes, what they report, and what they are sent.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use bytes::Bytes;
use nuna_dashboard::{Event as Recorded, SpanKind, TaskSpan};
use nuna_jobs::driver::Order;
use nuna_plan::LibraryId;
use nuna_scheduler::Event;
use nuna_wire::{
    Incoming, Payload, WorkerId,
    message::{FromWorker, RETURN_RUNS_MAX, RoleAnswer, ToWorker, WorkerHello},
    outbox,
    payload::unpack,
};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    super::peers::{Input, converse},
    Driver, WorkerPeer, refuse,
};
use crate::OUTBOX_BYTES_MAX;

const WORKERS_MAX: usize = 60_000;

impl Driver {
    pub(super) fn welcome_worker(
        &mut self,
        incoming: Incoming,
        place: OwnedSemaphorePermit,
        worker: WorkerId,
        hello: &WorkerHello,
    ) -> bool {
        if self.workers.len() >= WORKERS_MAX {
            refuse(incoming, format!("the cluster has {WORKERS_MAX} workers already"));
            return false;
        }
        let (outbox, outgoing) = outbox(OUTBOX_BYTES_MAX);
        let elapsed_us = self.about.epoch.elapsed().as_micros() as u64;
        converse(
            incoming,
            place,
            RoleAnswer::Worker { id: worker, elapsed_us },
            outgoing,
            self.inbox.clone(),
            move |message, payload| Input::Worker(worker, message, payload),
            move |reason| Input::WorkerGone(worker, reason),
        );
        tracing::info!(%worker, name = hello.name, address = %hello.data_address, "a worker has joined");
        self.recorder.record(Recorded::WorkerJoined {
            worker: u32::from(worker.0),
            name: hello.name.clone(),
            threads: hello.threads,
            memory_limit: hello.limit_bytes,
        });
        let name = hello.name.clone();
        self.order(Order::Joined(name.clone()));
        self.workers.insert(worker, WorkerPeer { name, outbox, libraries: HashSet::new() });
        self.changed = true;
        true
    }

    pub(super) fn worker_gone(&mut self, worker: WorkerId, reason: &str) {
        self.workers_returning.remove(&worker);
        if let Some(peer) = self.workers.remove(&worker) {
            self.order(Order::Left(peer.name));
            tracing::warn!(%worker, reason, "a worker is gone; what only it had will be computed again");
            self.recorder.record(Recorded::WorkerLeft { worker: u32::from(worker.0), lost: true });
            self.changed = true;
            self.handle(Event::WorkerLeft(worker));
        }
    }

    pub(super) fn from_worker(&mut self, worker: WorkerId, message: FromWorker, payload: &Bytes) {
        // Messages that were on their way when it was given up.
        if !self.workers.contains_key(&worker) {
            return;
        }
        let number = u32::from(worker.0);
        let message = match (self.workers_returning.remove(&worker), message) {
            (None, message) => message,
            (Some(hello), FromWorker::Return(state)) => {
                let runs = state.stages.len() + state.copies.len() + state.stored.len() + state.leased.len();
                if runs > RETURN_RUNS_MAX {
                    return self.cut_off_worker(worker, "it returns with more than anybody could keep");
                }
                return self.handle(Event::WorkerReturned { worker, hello, state });
            }
            (Some(_), _) => return self.cut_off_worker(worker, "it has not said what it returns with"),
        };
        match message {
            // It is said once.
            FromWorker::Return(_) => {}
            FromWorker::Completed(stages) => {
                let shapes: Vec<_> = stages
                    .iter()
                    .flat_map(|(_, blocks)| blocks.iter().filter_map(|block| block.inline))
                    .collect();
                let mut values = match unpack(payload, shapes) {
                    Ok(values) => values.into_iter(),
                    Err(error) => return self.cut_off_worker(worker, &error.to_string()),
                };
                let mut spans = Vec::with_capacity(stages.iter().map(|(_, blocks)| blocks.len()).sum());
                for (stage, blocks) in stages {
                    spans.extend(blocks.iter().map(|block| TaskSpan {
                        stage: stage.0,
                        block: block.block,
                        worker: number,
                        thread: block.thread,
                        start_us: block.start_us,
                        duration_us: block.duration_us,
                        kind: SpanKind::Compute,
                    }));
                    let blocks = blocks
                        .into_iter()
                        .map(|block| {
                            let value = if block.inline.is_some() { values.next() } else { None };
                            (block, value)
                        })
                        .collect();
                    self.handle(Event::Completed { worker, stage, blocks });
                }
                self.recorder.record(Recorded::Tasks(spans));
            }
            FromWorker::Failed { stage, block, error } => {
                self.handle(Event::Failed { worker, stage, block, error })
            }
            FromWorker::InputMissing { stage, block, input, input_block, worker: holder } => {
                self.handle(Event::InputMissing { worker, stage, block, input, input_block, holder });
            }
            FromWorker::Unreachable { worker: holder, error } => {
                self.handle(Event::Unreachable { worker, holder, error });
            }
            FromWorker::Reclaimed { stage, runs } => self.handle(Event::Reclaimed { worker, stage, runs }),
            FromWorker::Adopted { stage, runs } => self.handle(Event::Adopted { worker, stage, runs }),
            FromWorker::NotAdopted { stage, runs } => self.handle(Event::NotAdopted { worker, stage, runs }),
            FromWorker::Spans(spans) => {
                use nuna_wire::message::SpanKind as Kind;
                let spans = spans.into_iter().map(|span| TaskSpan {
                    stage: span.stage.0,
                    block: span.block,
                    worker: number,
                    thread: 0,
                    start_us: span.start_us,
                    duration_us: span.duration_us,
                    kind: match span.kind {
                        Kind::Transfer => SpanKind::Transfer,
                        Kind::Spill => SpanKind::Spill,
                    },
                });
                self.recorder.record(Recorded::Tasks(spans.collect()));
            }
            FromWorker::Sample(sample) => {
                self.recorder.record(Recorded::WorkerSample {
                    worker: number,
                    managed_bytes: sample.managed_bytes,
                    spilled_bytes: sample.spilled_bytes,
                    rss_bytes: sample.rss_bytes,
                    cpu_permille: sample.cpu_permille,
                    threads_busy: sample.threads_busy,
                });
                self.handle(Event::Sample { worker, sample });
            }
            FromWorker::Lasts { ms } => {
                // Longer than anybody waits is for ever.
                if let Some(until) = Instant::now().checked_add(Duration::from_millis(ms)) {
                    self.handle(Event::WorkerLasts { worker, until });
                }
            }
            FromWorker::Draining { reason } => {
                tracing::info!(%worker, reason, "a worker is about to leave");
                if let Some(peer) = self.workers.get(&worker) {
                    self.order(Order::Leaving(peer.name.clone()));
                }
                self.handle(Event::Draining { worker });
            }
            FromWorker::Leaving { reason } => self.worker_gone(worker, &reason),
        }
    }

    /// Libraries a stage needs, in its order, once per worker.
    pub(super) fn send_libraries(&mut self, worker: WorkerId, libraries: &[LibraryId]) {
        for id in libraries {
            let Some(peer) = self.workers.get_mut(&worker) else { return };
            if peer.libraries.contains(id) {
                continue;
            }
            if !self.libraries.contains_key(id)
                && self.restarts > 0
                && let Some(found) = self.journal.find_library(*id)
            {
                self.libraries.insert(*id, found);
            }
            let Some(peer) = self.workers.get_mut(&worker) else { return };
            // One that never came is reported by the worker, with the stage that wanted it.
            if let Some(bytes) = self.libraries.get(id) {
                peer.libraries.insert(*id);
                let payload = Payload::raw(bytes.clone());
                self.to_worker(worker, ToWorker::Library(*id), payload);
            }
        }
    }

    pub(super) fn to_worker(&mut self, worker: WorkerId, message: ToWorker, payload: Payload) {
        let sent = self.workers.get(&worker).map(|peer| peer.outbox.send(message, payload));
        if let Some(Err(error)) = sent {
            self.cut_off_worker(worker, &error.to_string());
        }
    }

    /// The connection is closed; what follows from that comes through the inbox, so that effects keep their order.
    pub(super) fn cut_off_worker(&self, worker: WorkerId, reason: &str) {
        tracing::warn!(%worker, reason, "the connection to a worker is cut");
        let (inbox, reason) = (self.inbox.clone(), reason.to_owned());
        tokio::spawn(async move {
            let _ = inbox.send(Input::WorkerGone(worker, reason)).await;
        });
    }
}
