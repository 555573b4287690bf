//! What is known about one cluster: workers, computations, stages, recent spans, totals over time.
//!
//! Pure state: events and the time come in, encoded records and summaries go out. Sockets and clocks are
//! `stream.rs` and `server.rs`. Everything kept is bounded by a constant below, so a cluster that runs
//! for weeks costs what one that runs for an hour costs.

mod news;
#[cfg(test)]
mod tests;
mod topic;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use news::News;
pub use topic::{Topic, Topics};

use crate::event::{Event, Outcome, Recorded, SpanKind, TaskSpan};
use crate::protocol::{ComputationState, Sample, StageProgress, Totals, WorkerState};

/// Recent spans kept for new viewers and for questions about one task.
pub const SPANS_MAX: usize = 200_000;
/// Spans sent to a viewer that has just come, or has fallen behind.
pub const SNAPSHOT_SPANS_MAX: usize = 100_000;
/// Seconds of totals kept at one-second steps.
pub const TOTALS_MAX: usize = 3600;
const FINISHED_COMPUTATIONS_MAX: usize = 200;
const GONE_WORKERS_MAX: usize = 1000;
const FAILURES_MAX: usize = 200;
const TOTALS_EVERY_US: u64 = 1_000_000;
/// Unsent spans kept between two ticks; beyond this the oldest are skipped for everyone.
const FRESH_SPANS_MAX: usize = 50_000;

#[derive(Clone, Debug)]
pub struct WorkerInfo {
    pub worker: u32,
    pub name: String,
    pub threads: u16,
    pub memory_limit: u64,
    pub state: WorkerState,
    /// Lane of its thread 0; lanes are never reused, so an old span never moves to another worker.
    pub first_lane: u32,
    pub sample: Sample,
}

#[derive(Clone, Debug)]
pub struct ComputationInfo {
    pub computation: u32,
    pub label: String,
    pub state: ComputationState,
    pub started_us: u64,
    pub finished_us: u64,
    pub stages: Vec<u32>,
}

#[derive(Clone, Debug)]
pub struct StageInfo {
    pub stage: u32,
    pub computation: u32,
    pub name: String,
    pub blocks: u64,
    pub started_us: u64,
    pub progress: StageProgress,
}

#[derive(Clone, Debug)]
pub struct FailureInfo {
    pub at_us: u64,
    pub stage: u32,
    pub block: u64,
    pub worker: u32,
    pub message: String,
}

#[derive(Debug)]
pub struct State {
    pub name: String,
    pub started_unix_ms: u64,
    pub workers: BTreeMap<u32, WorkerInfo>,
    pub computations: BTreeMap<u32, ComputationInfo>,
    pub stages: BTreeMap<u32, StageInfo>,
    pub failures: VecDeque<FailureInfo>,
    pub totals: VecDeque<Totals>,
    pub spans: VecDeque<TaskSpan>,
    /// Blocks computed and failed attempts, of all stages ever.
    pub tasks_done: u64,
    pub tasks_failed: u64,
    pub busy_us: u64,
    pub workers_lost: u64,
    /// Connections to the scheduler, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    next_lane: u32,
    latest_us: u64,
    fresh_spans: Vec<TaskSpan>,
    fresh_failures: usize,
    fresh_totals: usize,
    changed_workers: BTreeSet<u32>,
    changed_computations: BTreeSet<u32>,
    changed_stages: BTreeSet<u32>,
    changed_progress: BTreeSet<u32>,
    changed_samples: BTreeSet<u32>,
}

impl State {
    pub fn new(name: String, started_unix_ms: u64) -> Self {
        Self {
            name,
            started_unix_ms,
            workers: BTreeMap::new(),
            computations: BTreeMap::new(),
            stages: BTreeMap::new(),
            failures: VecDeque::new(),
            totals: VecDeque::new(),
            spans: VecDeque::new(),
            tasks_done: 0,
            tasks_failed: 0,
            busy_us: 0,
            workers_lost: 0,
            refused: BTreeMap::new(),
            next_lane: 0,
            latest_us: 0,
            fresh_spans: Vec::new(),
            fresh_failures: 0,
            fresh_totals: 0,
            changed_workers: BTreeSet::new(),
            changed_computations: BTreeSet::new(),
            changed_stages: BTreeSet::new(),
            changed_progress: BTreeSet::new(),
            changed_samples: BTreeSet::new(),
        }
    }

    pub(crate) fn apply(&mut self, now_us: u64, recorded: Recorded) {
        self.latest_us = self.latest_us.max(now_us);
        match recorded {
            Recorded::Event(event) => self.apply_event(event),
            Recorded::Overflow(counts) => {
                for (stage, (computed, failed)) in counts {
                    self.count(stage, computed, failed, 0, now_us);
                }
            }
        }
    }

    fn apply_event(&mut self, event: Event) {
        let now_us = self.latest_us;
        match event {
            Event::WorkerJoined { worker, name, threads, memory_limit } => {
                let first_lane = self.next_lane;
                self.next_lane += u32::from(threads);
                let sample = Sample { worker, ..Sample::default() };
                let state = WorkerState::Here;
                self.workers.insert(
                    worker,
                    WorkerInfo { worker, name, threads, memory_limit, state, first_lane, sample },
                );
                self.changed_workers.insert(worker);
                self.forget_gone_workers();
            }
            Event::WorkerLeft { worker, lost } => {
                if let Some(info) = self.workers.get_mut(&worker) {
                    info.state = if lost { WorkerState::Lost } else { WorkerState::Left };
                    info.sample = Sample { worker, ..Sample::default() };
                    self.workers_lost += u64::from(lost);
                    self.changed_workers.insert(worker);
                    self.changed_samples.insert(worker);
                }
            }
            Event::Refused { reason, connections } => {
                self.refused.insert(reason, connections);
            }
            Event::WorkerSample {
                worker,
                managed_bytes,
                spilled_bytes,
                rss_bytes,
                cpu_permille,
                threads_busy,
            } => {
                if let Some(info) =
                    self.workers.get_mut(&worker).filter(|info| info.state == WorkerState::Here)
                {
                    info.sample = Sample {
                        worker,
                        cpu_permille,
                        threads_busy,
                        managed_bytes,
                        spilled_bytes,
                        rss_bytes,
                    };
                    self.changed_samples.insert(worker);
                }
            }
            Event::ComputationStarted { computation, label } => {
                let state = ComputationState::Running;
                let info = ComputationInfo {
                    computation,
                    label,
                    state,
                    started_us: now_us,
                    finished_us: 0,
                    stages: Vec::new(),
                };
                self.computations.insert(computation, info);
                self.changed_computations.insert(computation);
            }
            Event::StageStarted { computation, stage, name, blocks } => {
                if let Some(info) = self.computations.get_mut(&computation) {
                    info.stages.push(stage);
                }
                let progress = StageProgress { stage, ..StageProgress::default() };
                let info = StageInfo { stage, computation, name, blocks, started_us: now_us, progress };
                self.stages.insert(stage, info);
                self.changed_stages.insert(stage);
                self.changed_progress.insert(stage);
            }
            Event::Tasks(spans) => self.add_spans(spans),
            Event::ComputationFinished { computation, outcome } => {
                if let Some(info) = self.computations.get_mut(&computation) {
                    info.state = match outcome {
                        Outcome::Succeeded => ComputationState::Succeeded,
                        Outcome::Failed => ComputationState::Failed,
                        Outcome::Cancelled => ComputationState::Cancelled,
                    };
                    info.finished_us = now_us;
                    self.changed_computations.insert(computation);
                }
                self.forget_finished_computations();
            }
            Event::Failure { stage, block, worker, message } => {
                if self.failures.len() == FAILURES_MAX {
                    self.failures.pop_front();
                }
                self.failures.push_back(FailureInfo { at_us: now_us, stage, block, worker, message });
                self.fresh_failures = (self.fresh_failures + 1).min(FAILURES_MAX);
            }
        }
    }

    fn add_spans(&mut self, spans: Vec<TaskSpan>) {
        for span in &spans {
            let end = span.start_us + u64::from(span.duration_us);
            self.latest_us = self.latest_us.max(end);
            match span.kind {
                SpanKind::Compute => self.count(span.stage, 1, 0, u64::from(span.duration_us), end),
                SpanKind::Failed => self.count(span.stage, 0, 1, u64::from(span.duration_us), end),
                SpanKind::Transfer | SpanKind::Spill => {}
            }
        }
        let surplus = (self.spans.len() + spans.len()).saturating_sub(SPANS_MAX);
        self.spans.drain(..surplus.min(self.spans.len()));
        self.spans.extend(&spans);
        self.fresh_spans.extend(spans);
        let surplus = self.fresh_spans.len().saturating_sub(FRESH_SPANS_MAX);
        self.fresh_spans.drain(..surplus);
    }

    fn count(&mut self, stage: u32, computed: u64, failed: u64, busy_us: u64, end_us: u64) {
        self.tasks_done += computed;
        self.tasks_failed += failed;
        self.busy_us += busy_us;
        if let Some(info) = self.stages.get_mut(&stage) {
            info.progress.done += computed;
            info.progress.failed += failed;
            info.progress.busy_us += busy_us;
            info.progress.last_us = info.progress.last_us.max(end_us);
            self.changed_progress.insert(stage);
        }
    }

    fn forget_finished_computations(&mut self) {
        let finished: Vec<u32> = self
            .computations
            .values()
            .filter(|info| info.state != ComputationState::Running)
            .map(|info| info.computation)
            .collect();
        for computation in finished.iter().take(finished.len().saturating_sub(FINISHED_COMPUTATIONS_MAX)) {
            for stage in self.computations.remove(computation).into_iter().flat_map(|info| info.stages) {
                self.stages.remove(&stage);
            }
        }
    }

    fn forget_gone_workers(&mut self) {
        let gone: Vec<u32> = self
            .workers
            .values()
            .filter(|info| info.state != WorkerState::Here)
            .map(|info| info.worker)
            .collect();
        for worker in gone.iter().take(gone.len().saturating_sub(GONE_WORKERS_MAX)) {
            self.workers.remove(worker);
        }
    }

    /// The cluster's clock: never behind a span it has seen.
    pub fn now_us(&self) -> u64 {
        self.latest_us
    }

    pub fn here(&self) -> impl Iterator<Item = &WorkerInfo> {
        self.workers.values().filter(|info| info.state == WorkerState::Here)
    }

    pub fn current_totals(&self) -> Totals {
        let mut totals = Totals { at_us: self.latest_us, tasks: self.tasks_done, ..Totals::default() };
        for info in self.here() {
            totals.managed_bytes += info.sample.managed_bytes;
            totals.spilled_bytes += info.sample.spilled_bytes;
            totals.rss_bytes += info.sample.rss_bytes;
            totals.limit_bytes += info.memory_limit;
            totals.cpu_permille += info.sample.cpu_permille;
            totals.threads_busy += u32::from(info.sample.threads_busy);
        }
        totals
    }

    /// The latest span of `lane` that covers `at_us`, within `slack_us` on either side.
    pub fn span_at(&self, lane: u32, at_us: u64, slack_us: u64) -> Option<&TaskSpan> {
        let worker = self
            .workers
            .values()
            .find(|info| (info.first_lane..info.first_lane + u32::from(info.threads)).contains(&lane))?;
        let thread = (lane - worker.first_lane) as u16;
        self.spans.iter().rev().find(|span| {
            span.worker == worker.worker
                && span.thread == thread
                && span.start_us <= at_us.saturating_add(slack_us)
                && at_us <= span.start_us + u64::from(span.duration_us) + slack_us
        })
    }
}
