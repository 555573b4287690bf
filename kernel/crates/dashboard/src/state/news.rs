//! What viewers are sent: what changed since the last tick, and the past for those who have just come.

use super::{
    ComputationInfo, FailureInfo, SNAPSHOT_SPANS_MAX, StageInfo, State, TOTALS_EVERY_US, TOTALS_MAX, Topic,
    Topics, WorkerInfo,
};
use crate::event::TaskSpan;
use crate::protocol::{Record, VERSION, encode_spans};

/// One tick's news, encoded once for all viewers.
#[derive(Debug, Default)]
pub struct News {
    /// The clock and changed dictionary entries: for everyone, and before anything that refers to them.
    pub common: Vec<u8>,
    /// Indexed by [`Topic`]; empty when nothing changed.
    pub topics: [Vec<u8>; 5],
}

impl State {
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
