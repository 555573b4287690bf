//! What is known about one cluster: workers, computations, stages, recent spans, totals over time.
//!
//! Pure state: events and the time come in, encoded records and summaries go out. Sockets and clocks are
//! `stream.rs` and `server.rs`. Everything kept is bounded by a constant below, so a cluster that runs
//! for weeks costs what one that runs for an hour costs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::event::{Event, Outcome, Recorded, SpanKind, TaskSpan};
use crate::protocol::{
    ComputationState, Record, Sample, StageProgress, Totals, VERSION, WorkerState, encode_spans,
};

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

/// What a viewer may subscribe to. Dictionaries (workers, computations, stages) go to everyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Topic {
    Tasks = 0,
    Progress = 1,
    Workers = 2,
    Totals = 3,
    Failures = 4,
}

impl Topic {
    pub const ALL: [Self; 5] = [Self::Tasks, Self::Progress, Self::Workers, Self::Totals, Self::Failures];

    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "tasks" => Self::Tasks,
            "progress" => Self::Progress,
            "workers" => Self::Workers,
            "totals" => Self::Totals,
            "failures" => Self::Failures,
            _ => return None,
        })
    }
}

/// A set of [`Topic`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Topics(u8);

impl Topics {
    pub fn with(self, topic: Topic) -> Self {
        Self(self.0 | 1 << topic as usize)
    }
    pub fn contains(self, topic: Topic) -> bool {
        self.0 & (1 << topic as usize) != 0
    }
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

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

/// One tick's news, encoded once for all viewers.
#[derive(Debug, Default)]
pub struct News {
    /// The clock and changed dictionary entries: for everyone, and before anything that refers to them.
    pub common: Vec<u8>,
    /// Indexed by [`Topic`]; empty when nothing changed.
    pub topics: [Vec<u8>; 5],
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

    /// Advances the clock and takes what changed since the last call.
    pub fn tick(&mut self, now_us: u64, spans_dropped: u64) -> News {
        self.latest_us = self.latest_us.max(now_us);
        if self.totals.back().is_none_or(|last| self.latest_us >= last.at_us + TOTALS_EVERY_US) {
            if self.totals.len() == TOTALS_MAX {
                self.totals.pop_front();
            }
            self.totals.push_back(self.current_totals());
            self.fresh_totals = (self.fresh_totals + 1).min(TOTALS_MAX);
        }

        let mut news = News::default();
        Record::Clock { now_us: self.latest_us, spans_dropped }.encode(&mut news.common);
        for worker in std::mem::take(&mut self.changed_workers) {
            self.workers.get(&worker).into_iter().for_each(|info| info.record().encode(&mut news.common));
        }
        for computation in std::mem::take(&mut self.changed_computations) {
            self.computations
                .get(&computation)
                .into_iter()
                .for_each(|info| info.record().encode(&mut news.common));
        }
        for stage in std::mem::take(&mut self.changed_stages) {
            self.stages.get(&stage).into_iter().for_each(|info| info.record().encode(&mut news.common));
        }
        let fresh = std::mem::take(&mut self.fresh_spans);
        self.encode_spans(&mut news.topics[Topic::Tasks as usize], &fresh);
        let changed = std::mem::take(&mut self.changed_progress);
        let progress: Vec<_> =
            changed.iter().filter_map(|stage| self.stages.get(stage)).map(|info| info.progress).collect();
        if !progress.is_empty() {
            Record::Progress(progress).encode(&mut news.topics[Topic::Progress as usize]);
        }
        let changed = std::mem::take(&mut self.changed_samples);
        let samples: Vec<_> =
            changed.iter().filter_map(|worker| self.workers.get(worker)).map(|info| info.sample).collect();
        if !samples.is_empty() {
            Record::Samples(samples).encode(&mut news.topics[Topic::Workers as usize]);
        }
        let count = std::mem::take(&mut self.fresh_totals);
        self.encode_totals(&mut news.topics[Topic::Totals as usize], count);
        let count = std::mem::take(&mut self.fresh_failures);
        self.encode_failures(&mut news.topics[Topic::Failures as usize], count);
        news
    }

    /// Everything a viewer needs to start, or to start over: hello, dictionaries and `topics`.
    /// `spans_skipped` of zero means it is new; otherwise it is told how much it missed.
    pub fn snapshot(&self, topics: Topics, spans_skipped: u64, spans_dropped: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let (started_unix_ms, now_us) = (self.started_unix_ms, self.latest_us);
        Record::Hello { version: VERSION, started_unix_ms, now_us, name: self.name.clone() }.encode(&mut out);
        Record::Reset { spans_skipped }.encode(&mut out);
        Record::Clock { now_us, spans_dropped }.encode(&mut out);
        self.workers.values().for_each(|info| info.record().encode(&mut out));
        self.computations.values().for_each(|info| info.record().encode(&mut out));
        self.stages.values().for_each(|info| info.record().encode(&mut out));
        self.encode_history(&mut out, topics);
        out
    }

    /// The past of `topics`, for a viewer that has the dictionaries and subscribes to more.
    pub fn encode_history(&self, out: &mut Vec<u8>, topics: Topics) {
        if topics.contains(Topic::Progress) && !self.stages.is_empty() {
            Record::Progress(self.stages.values().map(|info| info.progress).collect()).encode(out);
        }
        if topics.contains(Topic::Workers) && !self.workers.is_empty() {
            Record::Samples(self.workers.values().map(|info| info.sample).collect()).encode(out);
        }
        if topics.contains(Topic::Totals) {
            // What the next tick sends anyway must not come twice.
            let sent = self.totals.len() - self.fresh_totals;
            let totals: Vec<_> = self.totals.iter().take(sent).copied().collect();
            if !totals.is_empty() {
                Record::Totals(totals).encode(out);
            }
        }
        if topics.contains(Topic::Failures) {
            for failure in self.failures.iter().take(self.failures.len() - self.fresh_failures) {
                failure.record().encode(out);
            }
        }
        if topics.contains(Topic::Tasks) {
            let sent = self.spans.len().saturating_sub(self.fresh_spans.len());
            let spans: Vec<_> =
                self.spans.iter().take(sent).skip(sent.saturating_sub(SNAPSHOT_SPANS_MAX)).copied().collect();
            self.encode_spans(out, &spans);
        }
    }

    fn encode_spans(&self, out: &mut Vec<u8>, spans: &[TaskSpan]) {
        encode_spans(out, spans, |span| self.lane(span));
    }

    fn lane(&self, span: &TaskSpan) -> Option<u32> {
        let info = self.workers.get(&span.worker)?;
        (span.thread < info.threads).then(|| info.first_lane + u32::from(span.thread))
    }

    fn encode_totals(&self, out: &mut Vec<u8>, latest: usize) {
        if latest > 0 {
            let skip = self.totals.len() - latest;
            Record::Totals(self.totals.iter().skip(skip).copied().collect()).encode(out);
        }
    }

    fn encode_failures(&self, out: &mut Vec<u8>, latest: usize) {
        for failure in self.failures.iter().skip(self.failures.len() - latest) {
            failure.record().encode(out);
        }
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

impl WorkerInfo {
    fn record(&self) -> Record {
        Record::Worker {
            worker: self.worker,
            first_lane: self.first_lane,
            threads: self.threads,
            state: self.state,
            memory_limit: self.memory_limit,
            name: self.name.clone(),
        }
    }
}

impl ComputationInfo {
    fn record(&self) -> Record {
        Record::Computation {
            computation: self.computation,
            state: self.state,
            started_us: self.started_us,
            finished_us: self.finished_us,
            label: self.label.clone(),
        }
    }
}

impl StageInfo {
    fn record(&self) -> Record {
        Record::Stage {
            stage: self.stage,
            computation: self.computation,
            blocks: self.blocks,
            started_us: self.started_us,
            name: self.name.clone(),
        }
    }
}

impl FailureInfo {
    fn record(&self) -> Record {
        Record::Failure {
            at_us: self.at_us,
            block: self.block,
            stage: self.stage,
            worker: self.worker,
            message: self.message.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(worker: u32, threads: u16) -> Recorded {
        Recorded::Event(Event::WorkerJoined {
            worker,
            name: format!("w{worker}"),
            threads,
            memory_limit: 100,
        })
    }

    fn span(stage: u32, block: u64, worker: u32, thread: u16, kind: SpanKind) -> TaskSpan {
        TaskSpan { stage, block, worker, thread, start_us: block * 10, duration_us: 10, kind }
    }

    fn state_with_one_stage() -> State {
        let mut state = State::new("local-1".into(), 0);
        state.apply(0, joined(1, 2));
        state.apply(0, joined(2, 3));
        state.apply(1, Recorded::Event(Event::ComputationStarted { computation: 1, label: "In [1]".into() }));
        state.apply(
            1,
            Recorded::Event(Event::StageStarted { computation: 1, stage: 5, name: "mean".into(), blocks: 4 }),
        );
        state
    }

    fn all() -> Topics {
        Topic::ALL.into_iter().fold(Topics::default(), Topics::with)
    }

    #[test]
    fn lanes_are_given_once_and_never_moved() {
        let mut state = state_with_one_stage();
        assert_eq!(state.workers[&2].first_lane, 2);
        state.apply(2, Recorded::Event(Event::WorkerLeft { worker: 1, lost: true }));
        state.apply(3, joined(3, 4));
        assert_eq!(state.workers[&3].first_lane, 5);
        assert_eq!(state.workers_lost, 1);
    }

    #[test]
    fn only_computed_blocks_count_towards_progress() {
        let mut state = state_with_one_stage();
        state.apply(
            9,
            Recorded::Event(Event::Tasks(vec![
                span(5, 0, 1, 0, SpanKind::Compute),
                span(5, 1, 1, 1, SpanKind::Transfer),
                span(5, 2, 2, 0, SpanKind::Failed),
                span(5, 3, 2, 0, SpanKind::Compute),
            ])),
        );
        let progress = state.stages[&5].progress;
        assert_eq!((progress.done, progress.failed, progress.busy_us, progress.last_us), (2, 1, 30, 40));
        assert_eq!(state.now_us(), 40, "the clock never lags behind a span");
    }

    #[test]
    fn a_snapshot_and_the_next_news_hold_every_span_once() {
        let mut state = state_with_one_stage();
        state.apply(5, Recorded::Event(Event::Tasks(vec![span(5, 0, 1, 0, SpanKind::Compute)])));
        state.tick(6, 0);
        state.apply(7, Recorded::Event(Event::Tasks(vec![span(5, 1, 1, 0, SpanKind::Compute)])));
        let count = |bytes: &[u8]| -> usize {
            Record::decode_all(bytes)
                .unwrap()
                .into_iter()
                .map(|record| if let Record::Tasks { spans, .. } = record { spans.len() } else { 0 })
                .sum()
        };
        assert_eq!(count(&state.snapshot(all(), 0, 0)), 1);
        assert_eq!(count(&state.tick(8, 0).topics[Topic::Tasks as usize]), 1);
        assert_eq!(count(&state.snapshot(all(), 0, 0)), 2);
        assert_eq!(count(&state.tick(9, 0).topics[Topic::Tasks as usize]), 0);
    }

    #[test]
    fn spans_and_finished_computations_stay_bounded() {
        let mut state = state_with_one_stage();
        for round in 0..12 {
            let spans = (0..20_000).map(|i| span(5, round * 20_000 + i, 1, 0, SpanKind::Compute)).collect();
            state.apply(5, Recorded::Event(Event::Tasks(spans)));
        }
        assert_eq!(state.spans.len(), SPANS_MAX);
        assert_eq!(state.tasks_done, 240_000);
        assert!(state.fresh_spans.len() <= FRESH_SPANS_MAX);
        for computation in 10..10 + 2 * FINISHED_COMPUTATIONS_MAX as u32 {
            let label = String::new();
            state.apply(6, Recorded::Event(Event::ComputationStarted { computation, label }));
            let (stage, name) = (computation, String::new());
            state.apply(6, Recorded::Event(Event::StageStarted { computation, stage, name, blocks: 1 }));
            let outcome = Outcome::Succeeded;
            state.apply(6, Recorded::Event(Event::ComputationFinished { computation, outcome }));
        }
        assert_eq!(state.computations.len(), FINISHED_COMPUTATIONS_MAX + 1, "the running one stays");
        assert_eq!(state.stages.len(), FINISHED_COMPUTATIONS_MAX + 1);
    }

    #[test]
    fn totals_are_kept_once_a_second_and_leave_out_lost_workers() {
        let mut state = state_with_one_stage();
        let sample = |worker| {
            Recorded::Event(Event::WorkerSample {
                worker,
                managed_bytes: 10,
                spilled_bytes: 1,
                rss_bytes: 20,
                cpu_permille: 1000,
                threads_busy: 1,
            })
        };
        state.apply(1, sample(1));
        state.apply(1, sample(2));
        state.tick(1_000_000, 0);
        state.tick(1_500_000, 0);
        state.apply(1_600_000, Recorded::Event(Event::WorkerLeft { worker: 2, lost: false }));
        state.tick(2_000_000, 0);
        let seen: Vec<_> = state.totals.iter().map(|t| (t.at_us, t.managed_bytes, t.limit_bytes)).collect();
        assert_eq!(seen, [(1_000_000, 20, 200), (2_000_000, 10, 100)]);
    }

    #[test]
    fn the_span_under_a_pointer_is_found_by_lane_and_time() {
        let mut state = state_with_one_stage();
        state.apply(
            5,
            Recorded::Event(Event::Tasks(vec![
                span(5, 1, 2, 1, SpanKind::Compute),
                span(5, 9, 2, 2, SpanKind::Compute),
            ])),
        );
        assert_eq!(state.span_at(3, 15, 0).map(|s| s.block), Some(1));
        assert_eq!(state.span_at(4, 15, 0), None);
        assert_eq!(state.span_at(4, 88, 5).map(|s| s.block), Some(9));
        assert_eq!(state.span_at(99, 15, 0), None);
    }
}
