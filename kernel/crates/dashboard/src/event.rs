//! What the scheduler tells the dashboard, and the handle it tells it through.
//!
//! Owns the event types and [`Recorder`]. What becomes of an event is decided in `state.rs`.
//! All times are microseconds since the cluster started, on the scheduler's clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::{Notify, mpsc};

/// Something that happened in the cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    WorkerJoined {
        worker: u32,
        name: String,
        threads: u16,
        memory_limit: u64,
    },
    WorkerLeft {
        worker: u32,
        /// True if it vanished; false if it left by itself or was asked to.
        lost: bool,
    },
    WorkerSample {
        worker: u32,
        managed_bytes: u64,
        spilled_bytes: u64,
        rss_bytes: u64,
        /// 1000 is one core fully used.
        cpu_permille: u32,
        threads_busy: u16,
    },
    ComputationStarted {
        computation: u32,
        label: String,
    },
    StageStarted {
        computation: u32,
        /// Unique in the cluster, not only in its computation.
        stage: u32,
        name: String,
        blocks: u64,
    },
    /// Finished spans, in any order; one event may mix workers and stages.
    Tasks(Vec<TaskSpan>),
    ComputationFinished {
        computation: u32,
        outcome: Outcome,
    },
    Failure {
        stage: u32,
        block: u64,
        worker: u32,
        message: String,
    },
    /// So many connections to the scheduler were refused until now, for this reason.
    Refused {
        reason: &'static str,
        connections: u64,
    },
}

/// One thing a worker's thread did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskSpan {
    pub stage: u32,
    pub block: u64,
    pub worker: u32,
    pub thread: u16,
    pub start_us: u64,
    pub duration_us: u32,
    pub kind: SpanKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpanKind {
    /// Counts towards its stage's progress.
    Compute,
    Transfer,
    Spill,
    Failed,
}

/// How a computation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    Succeeded,
    Failed,
    Cancelled,
}

/// Spans waiting for the dashboard. Above this they are counted, not kept: a dashboard that cannot
/// keep up shows holes in the task stream, and the scheduler neither waits nor grows.
pub const QUEUED_SPANS_MAX: usize = 400_000;

/// At so many waiting spans the dashboard is woken; until then it looks by itself, a dozen times a second. Waking it for
/// every event would cost the scheduler's thread more than its decisions do.
const WAKE_AT_SPANS: usize = QUEUED_SPANS_MAX / 8;

/// Worker samples waiting for the dashboard; the next sample replaces a dropped one within a second.
const QUEUED_SAMPLES_MAX: usize = 50_000;

/// What travels from a [`Recorder`] to the aggregating task.
#[derive(Debug)]
pub(crate) enum Recorded {
    Event(Event),
    /// Spans that were not kept, by stage: computed and failed.
    Overflow(BTreeMap<u32, (u64, u64)>),
}

#[derive(Debug, Default)]
struct Queued {
    spans: AtomicUsize,
    samples: AtomicUsize,
    spans_dropped: AtomicU64,
    /// More spans wait than should.
    many: Notify,
}

/// Where the scheduler puts its events. Cheap to clone; recording never blocks and never fails.
#[derive(Clone, Debug)]
pub struct Recorder {
    sender: Option<mpsc::UnboundedSender<(Instant, Recorded)>>,
    queued: Arc<Queued>,
}

impl Recorder {
    /// A recorder that forgets everything, for tests and for schedulers without a dashboard.
    pub fn disabled() -> Self {
        Self { sender: None, queued: Arc::default() }
    }

    pub(crate) fn channel() -> (Self, Recordings) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let queued = Arc::<Queued>::default();
        (Self { sender: Some(sender), queued: queued.clone() }, Recordings { receiver, queued })
    }

    /// Hands an event over. Events of one recorder arrive in order.
    pub fn record(&self, event: Event) {
        let Some(sender) = &self.sender else { return };
        let recorded = match event {
            Event::Tasks(spans) => {
                if spans.is_empty() {
                    return;
                }
                let before = self.queued.spans.fetch_add(spans.len(), Ordering::Relaxed);
                if before + spans.len() > QUEUED_SPANS_MAX {
                    self.queued.spans.fetch_sub(spans.len(), Ordering::Relaxed);
                    self.queued.spans_dropped.fetch_add(spans.len() as u64, Ordering::Relaxed);
                    Recorded::Overflow(count_by_stage(&spans))
                } else {
                    if before < WAKE_AT_SPANS && before + spans.len() >= WAKE_AT_SPANS {
                        self.queued.many.notify_one();
                    }
                    Recorded::Event(Event::Tasks(spans))
                }
            }
            Event::WorkerSample { .. } => {
                if self.queued.samples.fetch_add(1, Ordering::Relaxed) >= QUEUED_SAMPLES_MAX {
                    self.queued.samples.fetch_sub(1, Ordering::Relaxed);
                    return;
                }
                Recorded::Event(event)
            }
            // These are few: bounded by the number of workers, stages, failed attempts, and seconds.
            Event::WorkerJoined { .. }
            | Event::WorkerLeft { .. }
            | Event::ComputationStarted { .. }
            | Event::StageStarted { .. }
            | Event::ComputationFinished { .. }
            | Event::Failure { .. }
            | Event::Refused { .. } => Recorded::Event(event),
        };
        // Fails only after the dashboard has stopped, when nobody looks any more.
        let _ = sender.send((Instant::now(), recorded));
    }

    /// Spans that were counted but not kept, because the dashboard was behind.
    pub fn spans_dropped(&self) -> u64 {
        self.queued.spans_dropped.load(Ordering::Relaxed)
    }
}

/// The receiving end of every clone of one [`Recorder`].
#[derive(Debug)]
pub(crate) struct Recordings {
    receiver: mpsc::UnboundedReceiver<(Instant, Recorded)>,
    queued: Arc<Queued>,
}

impl Recordings {
    /// Returns when so much waits that it should be taken soon.
    pub(crate) async fn many(&self) {
        self.queued.many.notified().await;
    }

    /// The next event if one is waiting, and when it was recorded. Nobody is woken when one comes.
    pub(crate) fn try_next(&mut self) -> Option<(Instant, Recorded)> {
        let (at, recorded) = self.receiver.try_recv().ok()?;
        self.release(&recorded);
        Some((at, recorded))
    }

    pub(crate) fn spans_dropped(&self) -> u64 {
        self.queued.spans_dropped.load(Ordering::Relaxed)
    }

    fn release(&self, recorded: &Recorded) {
        match recorded {
            Recorded::Event(Event::Tasks(spans)) => {
                self.queued.spans.fetch_sub(spans.len(), Ordering::Relaxed);
            }
            Recorded::Event(Event::WorkerSample { .. }) => {
                self.queued.samples.fetch_sub(1, Ordering::Relaxed);
            }
            Recorded::Event(_) | Recorded::Overflow(_) => {}
        }
    }
}

fn count_by_stage(spans: &[TaskSpan]) -> BTreeMap<u32, (u64, u64)> {
    let mut counts = BTreeMap::<u32, (u64, u64)>::new();
    for span in spans {
        let (computed, failed) = counts.entry(span.stage).or_default();
        match span.kind {
            SpanKind::Compute => *computed += 1,
            SpanKind::Failed => *failed += 1,
            SpanKind::Transfer | SpanKind::Spill => {}
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(count: u64) -> Vec<TaskSpan> {
        (0..count)
            .map(|block| TaskSpan {
                stage: 7,
                block,
                worker: 1,
                thread: 0,
                start_us: block,
                duration_us: 1,
                kind: SpanKind::Compute,
            })
            .collect()
    }

    #[test]
    fn spans_beyond_the_bound_are_counted_instead_of_kept() {
        let (recorder, mut recordings) = Recorder::channel();
        recorder.record(Event::Tasks(spans(QUEUED_SPANS_MAX as u64)));
        recorder.record(Event::Tasks(spans(5)));
        assert_eq!(recorder.spans_dropped(), 5);
        assert!(matches!(recordings.try_next(), Some((_, Recorded::Event(Event::Tasks(_))))));
        match recordings.try_next() {
            Some((_, Recorded::Overflow(counts))) => assert_eq!(counts[&7], (5, 0)),
            other => panic!("expected the counts of the dropped spans, got {other:?}"),
        }
        // The queue is empty again, so spans are kept again.
        recorder.record(Event::Tasks(spans(5)));
        assert!(
            matches!(recordings.try_next(), Some((_, Recorded::Event(Event::Tasks(kept)))) if kept.len() == 5)
        );
    }

    #[test]
    fn recording_after_the_dashboard_stopped_is_harmless() {
        let (recorder, recordings) = Recorder::channel();
        drop(recordings);
        recorder.record(Event::ComputationStarted { computation: 1, label: "mean".into() });
    }
}
