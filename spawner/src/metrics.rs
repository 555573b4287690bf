//! Counters and gauges in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nuna_pbs::{JobId, Rejection, SubmitError};

use crate::auth::{DirectoryServer, DirectoryState};
use crate::lifecycle::{Failure, PbsHealth};

/// Upper bounds of what a command or an answer takes, in seconds…
const ANSWERS: [f64; 9] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];
/// … of what the service itself takes for an answer…
const OWN: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5];
/// … and of what people wait for.
const WAITS: [f64; 9] = [5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0, 7200.0];

/// How many durations fell below each bound, and their sum.
#[derive(Clone, Copy, Debug)]
struct Histogram {
    bounds: [f64; 9],
    /// Below each bound and not below the one before.
    below: [u64; 9],
    count: u64,
    seconds: f64,
}

impl Histogram {
    fn new(bounds: [f64; 9]) -> Self {
        Self { bounds, below: [0; 9], count: 0, seconds: 0.0 }
    }

    fn add(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        if let Some(at) = self.bounds.iter().position(|bound| seconds <= *bound) {
            self.below[at] += 1;
        }
        self.count += 1;
        self.seconds += seconds;
    }

    fn render(&self, out: &mut String, name: &str, help: &str) {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        self.lines(out, name, "");
    }

    /// With these labels, if there are any.
    fn lines(&self, out: &mut String, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut total = 0;
        for (bound, below) in self.bounds.iter().zip(self.below) {
            total += below;
            let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {total}");
        }
        let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {}", self.count);
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(out, "{name}_sum{labels} {}\n{name}_count{labels} {}", self.seconds, self.count);
    }
}

#[derive(Debug)]
struct Inner {
    sign_ins: BTreeMap<&'static str, u64>,
    sign_in_time: Histogram,
    lookups: BTreeMap<&'static str, u64>,
    submissions: BTreeMap<&'static str, u64>,
    submission_time: Histogram,
    deletions: BTreeMap<&'static str, u64>,
    lists: BTreeMap<&'static str, u64>,
    list_time: Histogram,
    queue_wait: Histogram,
    start_time: Histogram,
    starts: BTreeMap<&'static str, u64>,
    orphans: u64,
    queue_queries: BTreeMap<&'static str, u64>,
    entered: BTreeMap<&'static str, u64>,
    failures: BTreeMap<&'static str, u64>,
    servers: BTreeMap<&'static str, u64>,
    requests: BTreeMap<(&'static str, u16), u64>,
    /// By method, then by route as `router` has it.
    answers: BTreeMap<(&'static str, String), Histogram>,
    journal_failures: u64,
    journal_takes: bool,
    pbs_asked: bool,
    pbs_answers: bool,
    started: f64,
}

impl Default for Inner {
    fn default() -> Self {
        let answers = Histogram::new(ANSWERS);
        let waits = Histogram::new(WAITS);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            sign_ins: BTreeMap::new(),
            sign_in_time: answers,
            lookups: BTreeMap::new(),
            submissions: BTreeMap::new(),
            submission_time: answers,
            deletions: BTreeMap::new(),
            lists: BTreeMap::new(),
            list_time: answers,
            queue_wait: waits,
            start_time: waits,
            starts: BTreeMap::new(),
            orphans: 0,
            queue_queries: BTreeMap::new(),
            entered: BTreeMap::new(),
            failures: BTreeMap::new(),
            servers: BTreeMap::new(),
            requests: BTreeMap::new(),
            answers: BTreeMap::new(),
            journal_failures: 0,
            journal_takes: true,
            pbs_asked: false,
            pbs_answers: false,
            started: since.as_secs_f64(),
        }
    }
}

/// What readiness asks of the parts that the fleet uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// The last commit was taken, or there was none.
    pub journal_takes: bool,
    /// The batch system was asked for all jobs at least once, and has answered or not.
    pub pbs_asked: bool,
    /// It answered the last time.
    pub pbs_answers: bool,
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
            inner.pbs_asked = true;
        });
    }

    /// The queues were asked for.
    pub fn queues_asked(&self, succeeded: bool) {
        self.change(|inner| *inner.queue_queries.entry(word(succeeded)).or_default() += 1);
    }

    /// A user server went from one state to the next, so long after it was asked for.
    pub fn moved(
        &self,
        old: &'static str,
        state: &'static str,
        failure: Option<Failure>,
        since_requested: Duration,
    ) {
        let was_starting = matches!(old, "submitting" | "queued" | "starting");
        self.change(|inner| {
            if matches!(old, "submitting" | "queued") && matches!(state, "starting" | "running") {
                inner.queue_wait.add(since_requested);
            }
            if was_starting && state == "running" {
                inner.start_time.add(since_requested);
                *inner.starts.entry("running").or_default() += 1;
            }
            if was_starting && matches!(state, "stopping" | "gone") {
                *inner.starts.entry(failure.map_or("cancelled", Failure::code)).or_default() += 1;
            }
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

    pub fn orphan_found(&self) {
        self.change(|inner| inner.orphans += 1);
    }

    pub fn journal_failed(&self) {
        self.change(|inner| {
            inner.journal_failures += 1;
            inner.journal_takes = false;
        });
    }

    pub fn journal_took(&self) {
        self.change(|inner| inner.journal_takes = true);
    }

    pub fn parts(&self) -> Parts {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { journal_takes, pbs_asked, pbs_answers, .. } = *inner;
        Parts { journal_takes, pbs_asked, pbs_answers }
    }

    pub fn requested(&self, listener: &'static str, status: u16) {
        self.change(|inner| *inner.requests.entry((listener, status)).or_default() += 1);
    }

    /// `own` leaves out what the answer waited for others. There are as many routes as the router has; "" is for all
    /// other addresses.
    pub fn answered(&self, method: &'static str, route: &str, own: Duration) {
        self.change(|inner| {
            let histogram = inner.answers.entry((method, route.to_owned()));
            histogram.or_insert_with(|| Histogram::new(OWN)).add(own);
        });
    }

    /// All of them, with what the directory's servers and the journal say of themselves.
    pub fn render(&self, directory: &[DirectoryServer], journal_bytes: Option<u64>) -> String {
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
                "nuna_queue_queries_total",
                "counter",
                "Queries of the queues' state by outcome",
                "outcome",
                &inner.queue_queries,
            ),
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
            ("nuna_starts_total", "counter", "Starts of user servers by outcome", "outcome", &inner.starts),
            ("nuna_user_servers", "gauge", "User servers by state", "state", &inner.servers),
        ];
        for (name, kind, help, label, values) in by_word {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (word, value) in values {
                let _ = writeln!(out, "{name}{{{label}=\"{word}\"}} {value}");
            }
        }
        for (name, help, histogram) in [
            ("nuna_sign_in_seconds", "Time of sign-ins", inner.sign_in_time),
            ("nuna_submission_seconds", "Time of qsub or sbatch", inner.submission_time),
            ("nuna_job_list_seconds", "Time of qstat or squeue", inner.list_time),
            ("nuna_queue_wait_seconds", "From the request until the job began", inner.queue_wait),
            ("nuna_start_seconds", "From the request until the user server answered", inner.start_time),
        ] {
            histogram.render(&mut out, name, help);
        }
        directory_servers(&mut out, directory);
        let name = "nuna_http_requests_total";
        let _ = writeln!(out, "# HELP {name} Requests by listener and status\n# TYPE {name} counter");
        for ((listener, status), value) in &inner.requests {
            let _ = writeln!(out, "{name}{{listener=\"{listener}\",status=\"{status}\"}} {value}");
        }
        let name = "nuna_answer_seconds";
        let help = "Time of answers to the hub and to launchers, without what they waited for the directory and the batch system";
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        for ((method, route), histogram) in &inner.answers {
            histogram.lines(&mut out, name, &format!("method=\"{method}\",route=\"{route}\""));
        }
        for (name, kind, help, value) in [
            ("nuna_pbs_answers", "gauge", "1 if PBS answered the last query", u64::from(inner.pbs_answers)),
            ("nuna_orphans_total", "counter", "Jobs of ours that belonged to no user server", inner.orphans),
            (
                "nuna_journal_takes_changes",
                "gauge",
                "1 if the journal took the last change",
                u64::from(inner.journal_takes),
            ),
            ("nuna_journal_bytes", "gauge", "Size of the journal's file", journal_bytes.unwrap_or_default()),
            (
                "nuna_journal_failures_total",
                "counter",
                "Commits the journal did not take",
                inner.journal_failures,
            ),
        ] {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        }
        let (version, system) = (env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
        let _ = writeln!(out, "# HELP nuna_build_info What runs\n# TYPE nuna_build_info gauge");
        let _ = writeln!(out, "nuna_build_info{{version=\"{version}\",architecture=\"{system}\"}} 1");
        let name = "process_start_time_seconds";
        let _ = writeln!(
            out,
            "# HELP {name} When the service began\n# TYPE {name} gauge\n{name} {}",
            inner.started
        );
        out
    }
}

fn directory_servers(out: &mut String, servers: &[DirectoryServer]) {
    let answers = |server: &DirectoryServer| u8::from(server.state == DirectoryState::Answers).to_string();
    type Value<'a> = &'a dyn Fn(&DirectoryServer) -> String;
    let values: [(&str, &str, &str, Value<'_>); 4] = [
        ("nuna_directory_answers", "gauge", "1 if the directory server settled the last question", &answers),
        ("nuna_directory_seconds_sum", "counter", "Time of questions to the directory server", &|server| {
            server.seconds.to_string()
        }),
        ("nuna_directory_seconds_count", "counter", "Questions to the directory server", &|server| {
            server.questions.to_string()
        }),
        (
            "nuna_directory_failures_total",
            "counter",
            "Questions that the directory server did not settle",
            &|server| server.failures.to_string(),
        ),
    ];
    for (name, kind, help, value) in values {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for server in servers {
            // A URL of the configuration: neither quotes nor line ends.
            let _ = writeln!(out, "{name}{{server=\"{}\"}} {}", server.url, value(server));
        }
    }
}

fn word(succeeded: bool) -> &'static str {
    if succeeded { "succeeded" } else { "failed" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_and_outcomes_of_starts_are_counted() {
        let metrics = Metrics::default();
        let second = Duration::from_secs;
        metrics.moved("submitting", "queued", None, second(0));
        metrics.moved("queued", "starting", None, second(20));
        metrics.moved("starting", "running", None, second(40));
        metrics.moved("running", "stopping", None, second(400));
        metrics.moved("stopping", "gone", None, second(401));
        metrics.moved("queued", "stopping", Some(Failure::QueueWait), second(9000));
        metrics.moved("queued", "stopping", None, second(3));
        let text = metrics.render(&[], Some(4096));
        for line in [
            "nuna_starts_total{outcome=\"running\"} 1",
            "nuna_starts_total{outcome=\"cancelled\"} 1",
            "nuna_queue_wait_seconds_bucket{le=\"15\"} 0",
            "nuna_queue_wait_seconds_bucket{le=\"30\"} 1",
            "nuna_queue_wait_seconds_bucket{le=\"+Inf\"} 1",
            "nuna_start_seconds_sum 40",
            "nuna_journal_bytes 4096",
            "nuna_journal_takes_changes 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert!(text.contains(&format!("outcome=\"{}\"}} 1", Failure::QueueWait.code())), "{text}");
        metrics.journal_failed();
        assert!(!metrics.parts().journal_takes);
        metrics.journal_took();
        assert!(metrics.parts().journal_takes && !metrics.parts().pbs_asked);
    }

    #[test]
    fn each_directory_server_has_its_lines() {
        let server = DirectoryServer {
            url: "ldaps://one".to_owned(),
            state: DirectoryState::Silent,
            questions: 3,
            failures: 2,
            seconds: 1.5,
        };
        let text = Metrics::default().render(&[server], None);
        for line in [
            "nuna_directory_answers{server=\"ldaps://one\"} 0",
            "nuna_directory_seconds_sum{server=\"ldaps://one\"} 1.5",
            "nuna_directory_seconds_count{server=\"ldaps://one\"} 3",
            "nuna_directory_failures_total{server=\"ldaps://one\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }

    #[test]
    fn answers_are_counted_up_to_each_end_and_by_route() {
        let metrics = Metrics::default();
        for milliseconds in [1, 4, 60, 9000] {
            metrics.answered("GET", "/servers/{id}", Duration::from_millis(milliseconds));
        }
        metrics.answered("other", "", Duration::ZERO);
        let text = metrics.render(&[], None);
        let labels = "method=\"GET\",route=\"/servers/{id}\"";
        for (end, count) in [("0.001", 1), ("0.0025", 1), ("0.005", 2), ("0.1", 3), ("2.5", 3), ("+Inf", 4)] {
            let line = format!("nuna_answer_seconds_bucket{{{labels},le=\"{end}\"}} {count}\n");
            assert!(text.contains(&line), "{line}{text}");
        }
        assert!(text.contains(&format!("nuna_answer_seconds_count{{{labels}}} 4\n")), "{text}");
        assert!(text.contains("nuna_answer_seconds_count{method=\"other\",route=\"\"} 1\n"), "{text}");
    }
}
