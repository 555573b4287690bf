//! What people are told about a user server: one sentence, how far it is, and how it ended.

use std::time::Duration;

use nuna_pbs::{Job, JobId};
use serde::Serialize;

use super::exit_status;
use super::server::{News, UserServer};
use super::state::{Address, Ending, Failure, Reason, ServerId, State};
use crate::config::System;

/// Three values: PBS's silence says nothing about a user server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Poll {
    Alive,
    Gone,
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct View {
    pub id: ServerId,
    pub state: &'static str,
    pub job: Option<JobId>,
    pub address: Option<Address>,
    pub exit: Option<i32>,
    pub message: String,
    pub poll: Poll,
    pub progress: u8,
    pub failed: bool,
    /// Stable word for what went wrong.
    pub failure: Option<Failure>,
    /// More lines about a failure, such as the end of what the user server printed.
    pub detail: Option<String>,
    pub server_name: String,
    pub profile: String,
    pub queue: String,
    /// Times are seconds since the epoch.
    pub requested_at: i64,
    /// The batch system's own words while the job waits.
    pub comment: Option<String>,
    /// Jobs that wait in the queue, and how many of them came before this one.
    pub waiting: Option<usize>,
    pub ahead: Option<usize>,
    /// When the scheduler thinks that the job starts, while it waits.
    pub expected_start: Option<i64>,
    /// When the job began, and when its walltime is over: with it, the user server ends.
    pub started_at: Option<i64>,
    pub ends_at: Option<i64>,
    #[serde(skip)]
    pub user: String,
}

impl View {
    pub fn is_gone(&self) -> bool {
        self.state == "gone"
    }

    /// Nothing follows for the one who waits for the start.
    pub fn is_settled(&self) -> bool {
        matches!(self.state, "running" | "gone")
    }
}

/// Whether PBS answered last time; `silent_for` how long it has not.
#[derive(Clone, Debug, PartialEq)]
pub enum PbsHealth {
    /// Not asked yet.
    Unknown,
    Answers,
    Silent {
        words: String,
    },
}

impl UserServer {
    pub fn view(&self, pbs: &PbsHealth) -> View {
        let (failure, detail, exit) = match &self.state {
            State::Gone { ending, .. } => (ending.failure, ending.detail.clone(), ending.exit),
            State::Stopping { reason, .. } | State::Lost { reason, .. } => {
                let (failure, _, detail) = told(self.system, reason);
                (failure, detail, None)
            }
            State::Submitting { .. }
            | State::Queued { .. }
            | State::Starting { .. }
            | State::Running { .. } => (None, None, None),
        };
        let address = match &self.state {
            State::Running { address, .. } => Some(address.clone()),
            State::Submitting { .. }
            | State::Lost { .. }
            | State::Queued { .. }
            | State::Starting { .. }
            | State::Stopping { .. }
            | State::Gone { .. } => None,
        };
        let is_pending = matches!(&self.state, State::Queued { .. });
        let has_job = matches!(&self.state, State::Starting { .. } | State::Running { .. });
        let news = |told: bool| told.then_some(&self.news);
        let started_at = news(has_job).and_then(|news| news.start_time);
        let asked = (self.spec.walltime_seconds > 0).then(|| Duration::from_secs(self.spec.walltime_seconds));
        // PBS may give a job less, or more, than was asked for.
        let walltime =
            self.news.walltime.or(asked).and_then(|walltime| i64::try_from(walltime.as_secs()).ok());
        View {
            server_name: self.spec.server_name.clone(),
            profile: self.spec.profile.clone(),
            queue: self.spec.queue.clone(),
            requested_at: self.spec.requested.seconds(),
            comment: news(is_pending)
                .and_then(|news| news.comment.as_deref())
                .map(|comment| without_prefix(comment).to_owned())
                .filter(|comment| !comment.is_empty()),
            waiting: news(is_pending).and_then(|news| news.position).map(|position| position.waiting),
            ahead: news(is_pending).and_then(|news| news.position).map(|position| position.ahead),
            expected_start: news(is_pending).and_then(|news| news.estimated_start),
            started_at,
            ends_at: started_at.zip(walltime).and_then(|(start, walltime)| start.checked_add(walltime)),
            id: self.spec.id.clone(),
            state: self.state.word(),
            job: self.state.job().cloned(),
            address,
            exit,
            message: self.message(pbs),
            poll: self.poll(pbs),
            progress: self.progress(),
            failed: failure.is_some(),
            failure,
            detail,
            user: self.spec.user.to_string(),
        }
    }

    fn poll(&self, pbs: &PbsHealth) -> Poll {
        match (&self.state, pbs) {
            (State::Gone { .. }, _) => Poll::Gone,
            (State::Submitting { .. }, _) => Poll::Alive,
            (_, PbsHealth::Answers) => Poll::Alive,
            (_, PbsHealth::Unknown | PbsHealth::Silent { .. }) => Poll::Unknown,
        }
    }

    fn progress(&self) -> u8 {
        match &self.state {
            State::Submitting { .. } => 5,
            State::Queued { .. } => 20,
            State::Starting { .. } if self.spec.environment.is_some() => 60,
            State::Starting { .. } => 80,
            State::Running { .. } | State::Lost { .. } | State::Stopping { .. } | State::Gone { .. } => 100,
        }
    }

    fn message(&self, pbs: &PbsHealth) -> String {
        let system = self.system;
        let silent = |rest: &str| match pbs {
            PbsHealth::Silent { words } => {
                Some(format!("{system} does not answer at the moment ({words}); {rest}."))
            }
            PbsHealth::Unknown | PbsHealth::Answers => None,
        };
        match &self.state {
            State::Submitting { stop: None } => format!("Submitting a job to queue {}.", self.spec.queue),
            State::Submitting { stop: Some(_) } => format!("Stopping; {system} is still accepting the job."),
            State::Queued { job, .. } => {
                silent(&format!("job {job} keeps its place in queue {}", self.spec.queue))
                    .unwrap_or_else(|| queued(system, job, &self.spec.queue, &self.news))
            }
            State::Starting { job, .. } => {
                let host =
                    self.news.exec_host.as_deref().map(|host| format!(" on {host}")).unwrap_or_default();
                let what = if self.spec.environment.is_some() { "started" } else { "runs" };
                if self.news.is_suspended {
                    format!("Job {job} is suspended by {system}{host}.")
                } else {
                    let rest = format!("job {job} {what}{host}, and its notebook server goes on starting");
                    silent(&rest).unwrap_or_else(|| {
                        format!("Job {job} {what}{host}; the notebook server is starting.")
                    })
                }
            }
            State::Running { job, .. } if self.news.is_suspended => {
                format!("Job {job} is suspended by {system}.")
            }
            State::Running { job, .. } => silent(&format!("job {job} was running when it last did"))
                .unwrap_or_else(|| format!("The notebook server runs in job {job}.")),
            State::Lost { reason, .. } => told(system, reason).1,
            State::Stopping { job, reason, .. } => {
                let mut message = match reason {
                    Reason::Requested => format!("Stopping job {job}."),
                    Reason::QueueWait { .. }
                    | Reason::StartLimit { .. }
                    | Reason::NeverRuns { .. }
                    | Reason::LaunchFailed(_)
                    | Reason::QueuedAgain
                    | Reason::NoAnswer { .. }
                    | Reason::Restarted
                    | Reason::Unclaimed => told(system, reason).1,
                };
                if let Some(words) = &self.news.delete_words {
                    message.push_str(&format!(" {system} did not delete job {job} yet: {words}"));
                }
                if let PbsHealth::Silent { words } = pbs {
                    message.push_str(&format!(" {system} does not answer at the moment ({words})."));
                }
                message
            }
            State::Gone { ending, .. } => ending.message.clone(),
        }
    }
}

fn queued(system: System, job: &JobId, queue: &str, news: &News) -> String {
    let mut message = if news.is_held {
        format!("Job {job} is held in queue {queue}")
    } else {
        format!("Job {job} waits in queue {queue}")
    };
    if let Some(position) = news.position.filter(|position| position.ahead > 0) {
        message.push_str(&format!(", {} of {} waiting jobs before it", position.ahead, position.waiting));
    }
    if let Some(start) = news.estimated_start.and_then(moment) {
        message.push_str(&format!(", expected to start at {start}"));
    }
    message.push('.');
    if let Some(comment) = news.comment.as_deref().map(without_prefix).filter(|comment| !comment.is_empty()) {
        message.push_str(&format!(" {system}: {comment}"));
    }
    message
}

/// PBS's comment on a waiting job, without the words that say only that it waits.
fn without_prefix(comment: &str) -> &str {
    comment.strip_prefix("Not Running: ").unwrap_or(comment).trim()
}

pub(crate) fn moment(seconds: i64) -> Option<String> {
    let at = jiff::Timestamp::from_second(seconds).ok()?;
    Some(at.strftime("%H:%M UTC on %-d %B").to_string())
}

pub(crate) fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

/// A reason as failure, sentence and further lines.
fn told(system: System, reason: &Reason) -> (Option<Failure>, String, Option<String>) {
    match reason {
        Reason::Requested => (None, "The server was stopped.".to_owned(), None),
        Reason::QueueWait { limit, words } => {
            let pbs = words
                .as_deref()
                .map(|words| format!(" {system}: {}", without_prefix(words)))
                .unwrap_or_default();
            let message = format!(
                "The job waited {} in the queue, which is the limit; it was removed. Try a smaller profile, or later.{pbs}",
                in_words(*limit)
            );
            (Some(Failure::QueueWait), message, None)
        }
        Reason::StartLimit { limit } => {
            let message = format!(
                "The job runs, but its notebook server did not answer within {}; it was stopped. \
                 The job's output file in your home folder may say why.",
                in_words(*limit)
            );
            (Some(Failure::StartLimit), message, None)
        }
        Reason::NeverRuns { words } => {
            let message = format!(
                "{system} has nothing that could run the job, so it was removed. Choose less. {system}: {words}"
            );
            (Some(Failure::PbsRejected), message, None)
        }
        Reason::LaunchFailed(report) => {
            let detail = Some(report.tail.trim().to_owned()).filter(|tail| !tail.is_empty());
            (
                Some(Failure::LaunchFailed),
                format!("The notebook server did not start: {}", report.message),
                detail,
            )
        }
        Reason::QueuedAgain => (
            Some(Failure::JobEnded),
            format!(
                "{system} ended the job and queued it again after its notebook server had begun. That cannot begin twice, \
                 so the job was removed; start the server again."
            ),
            None,
        ),
        Reason::NoAnswer { words } => (
            Some(Failure::PbsUnreachable),
            format!(
                "{system} did not say whether it took the job ({words}). If it did, the job is removed; try again."
            ),
            None,
        ),
        Reason::Unclaimed => (
            None,
            "JupyterHub did not ask about this server any more, so its job was removed.".to_owned(),
            None,
        ),
        Reason::Restarted => (
            Some(Failure::Restarted),
            "The service was restarted while the job was being submitted; try again.".to_owned(),
            None,
        ),
    }
}

/// How a user server ended whose job is over, or is no longer listed (`seen` is `None`).
pub(crate) fn ending(system: System, state: &State, seen: Option<&Job>) -> Ending {
    let exit = seen.and_then(|job| job.exit_status);
    let how = how_the_job_ended(system, seen, exit);
    let (failure, message, detail) = match state {
        // All the launcher knows is that it was told to end.
        State::Stopping { job, reason: Reason::LaunchFailed(report), .. }
            if seen.is_some_and(reached_walltime) =>
        {
            (
                Some(Failure::LaunchFailed),
                format!(
                    "Job {job} reached its walltime before its notebook server answered: {}",
                    report.message
                ),
                told(system, &Reason::LaunchFailed(report.clone())).2,
            )
        }
        State::Stopping { reason, .. } | State::Lost { reason, .. } => told(system, reason),
        State::Running { .. } if exit == Some(0) => (None, "The server ended by itself.".to_owned(), None),
        State::Running { job, .. } => (Some(Failure::JobEnded), format!("Job {job} ended: {how}."), None),
        State::Queued { job, .. } | State::Starting { job, .. } => (
            Some(Failure::JobEnded),
            format!("Job {job} ended before its notebook server answered: {how}."),
            None,
        ),
        State::Submitting { .. } | State::Gone { .. } => (None, how, None),
    };
    Ending { exit, failure, message, detail }
}

/// Its walltime was over, whoever ended it then: PBS, or a `qdel` of ours that was faster.
fn reached_walltime(job: &Job) -> bool {
    let is_used = job.walltime.zip(job.walltime_used).is_some_and(|(limit, used)| used >= limit);
    is_used || job.exit_status == Some(exit_status::WALLTIME)
}

fn how_the_job_ended(system: System, seen: Option<&Job>, exit: Option<i32>) -> String {
    let Some(job) = seen else { return format!("{system} does not know it any more") };
    let reason = match exit {
        Some(exit) => exit_status::words(system, exit),
        None => format!("{system} gives no exit status"),
    };
    match job.comment.as_deref().filter(|comment| !comment.is_empty()) {
        Some(comment) => format!("{reason}. {system}: {}", comment.trim_end_matches('.')),
        None => reason,
    }
}
