//! Counters and gauges in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nuna_pbs::{JobId, Rejection, SubmitError};

use crate::lifecycle::{Failure, PbsHealth};

/// Sum and count of durations.
#[derive(Clone, Copy, Debug, Default)]
struct Timing {
    seconds: f64,
    count: u64,
}

impl Timing {
    fn add(&mut self, duration: Duration) {
        self.seconds += duration.as_secs_f64();
        self.count += 1;
    }
}

#[derive(Debug, Default)]
struct Inner {
    sign_ins: BTreeMap<&'static str, u64>,
    sign_in_time: Timing,
    lookups: BTreeMap<&'static str, u64>,
    submissions: BTreeMap<&'static str, u64>,
    submission_time: Timing,
    deletions: BTreeMap<&'static str, u64>,
    lists: BTreeMap<&'static str, u64>,
    list_time: Timing,
    entered: BTreeMap<&'static str, u64>,
    failures: BTreeMap<&'static str, u64>,
    servers: BTreeMap<&'static str, u64>,
    requests: BTreeMap<(&'static str, u16), u64>,
    journal_failures: u64,
    pbs_answers: bool,
}

#[derive(Debug, Default)]
pub struct Metrics(Mutex<Inner>);

impl Metrics {
    fn change(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub fn signed_in(&self, outcome: &'static str, took: Duration) {
        self.change(|inner| {
            *inner.sign_ins.entry(outcome).or_default() += 1;
            inner.sign_in_time.add(took);
        });
    }

    /// Somebody was asked about who has signed in.
    pub fn looked_up(&self, outcome: &'static str) {
        self.change(|inner| *inner.lookups.entry(outcome).or_default() += 1);
    }

    pub fn submitted(&self, outcome: &Result<JobId, SubmitError>, took: Duration) {
        let word = match outcome {
            Ok(_) => "accepted",
            Err(SubmitError::Rejected { kind, .. }) => match kind {
                Rejection::UnknownQueue => "unknown_queue",
                Rejection::QueueDisabled => "queue_disabled",
                Rejection::NotAllowed => "not_allowed",
                Rejection::OverLimit => "over_limit",
                Rejection::UnknownResource => "unknown_resource",
                Rejection::Other => "rejected",
            },
            Err(SubmitError::Unreachable { .. }) => "unreachable",
            Err(SubmitError::TimedOut { .. }) => "timed_out",
            Err(SubmitError::NotRun { .. }) => "not_run",
            Err(SubmitError::Failed { .. }) => "failed",
        };
        self.change(|inner| {
            *inner.submissions.entry(word).or_default() += 1;
            inner.submission_time.add(took);
        });
    }

    pub fn deleted(&self, succeeded: bool) {
        self.change(|inner| *inner.deletions.entry(word(succeeded)).or_default() += 1);
    }

    pub fn listed(&self, succeeded: bool, took: Duration) {
        self.change(|inner| {
            *inner.lists.entry(word(succeeded)).or_default() += 1;
            inner.list_time.add(took);
        });
    }

    pub fn entered(&self, state: &'static str, failure: Option<Failure>) {
        self.change(|inner| {
            *inner.entered.entry(state).or_default() += 1;
            if let (Some(failure), "gone") = (failure, state) {
                *inner.failures.entry(failure.code()).or_default() += 1;
            }
        });
    }

    pub fn set_servers(&self, counts: BTreeMap<&'static str, u64>) {
        self.change(|inner| inner.servers = counts);
    }

    pub fn set_pbs(&self, health: &PbsHealth) {
        self.change(|inner| inner.pbs_answers = *health == PbsHealth::Answers);
    }

    pub fn journal_failed(&self) {
        self.change(|inner| inner.journal_failures += 1);
    }

    pub fn requested(&self, listener: &'static str, status: u16) {
        self.change(|inner| *inner.requests.entry((listener, status)).or_default() += 1);
    }

    pub fn render(&self) -> String {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = String::new();
        let by_word = [
            ("nuna_sign_ins_total", "counter", "Sign-ins by outcome", "outcome", &inner.sign_ins),
            (
                "nuna_standings_total",
                "counter",
                "Questions about people by outcome",
                "outcome",
                &inner.lookups,
            ),
            ("nuna_submissions_total", "counter", "Jobs submitted by outcome", "outcome", &inner.submissions),
            ("nuna_deletions_total", "counter", "Jobs deleted by outcome", "outcome", &inner.deletions),
            ("nuna_job_lists_total", "counter", "Queries of all jobs by outcome", "outcome", &inner.lists),
            (
                "nuna_user_server_states_total",
                "counter",
                "User servers that entered a state",
                "state",
                &inner.entered,
            ),
            (
                "nuna_user_server_failures_total",
                "counter",
                "User servers that failed, by reason",
                "reason",
                &inner.failures,
            ),
            ("nuna_user_servers", "gauge", "User servers by state", "state", &inner.servers),
        ];
        for (name, kind, help, label, values) in by_word {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (word, value) in values {
                let _ = writeln!(out, "{name}{{{label}=\"{word}\"}} {value}");
            }
        }
        for (name, help, timing) in [
            ("nuna_sign_in_seconds", "Time of sign-ins", inner.sign_in_time),
            ("nuna_submission_seconds", "Time of qsub", inner.submission_time),
            ("nuna_job_list_seconds", "Time of qstat", inner.list_time),
        ] {
            let (seconds, count) = (timing.seconds, timing.count);
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} summary");
            let _ = writeln!(out, "{name}_sum {seconds}\n{name}_count {count}");
        }
        let name = "nuna_http_requests_total";
        let _ = writeln!(out, "# HELP {name} Requests by listener and status\n# TYPE {name} counter");
        for ((listener, status), value) in &inner.requests {
            let _ = writeln!(out, "{name}{{listener=\"{listener}\",status=\"{status}\"}} {value}");
        }
        for (name, kind, help, value) in [
            ("nuna_pbs_answers", "gauge", "1 if PBS answered the last query", u64::from(inner.pbs_answers)),
            (
                "nuna_journal_failures_total",
                "counter",
                "Commits the journal did not take",
                inner.journal_failures,
            ),
        ] {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        }
        out
    }
}

fn word(succeeded: bool) -> &'static str {
    if succeeded { "succeeded" } else { "failed" }
}
