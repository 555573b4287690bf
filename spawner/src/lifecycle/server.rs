//! One user server, from requested to gone: a state machine without I/O or clock.
//!
//! `fleet` holds all of them and tells each what PBS, its launcher and the hub said; `view` says it to people.

use std::collections::VecDeque;
use std::time::Duration;

use nuna_pbs::{Job, JobId, QueuePosition};

use super::state::{Address, Ending, Failure, LaunchReport, Limits, Reason, Spec, State};
use super::view;
use crate::clock::Millis;
use crate::config::System;
use crate::secret::Digest;

/// Transitions kept for the log if something impossible happens.
const STORY_LENGTH_MAX: usize = 16;
/// A job is gone when this many lists in a row do not name it.
const ABSENCES: u8 = 2;
/// And it was queued again when this many in a row call a job pending that had begun.
const RETURNS: u8 = 2;
/// A scheduler may say that a job can never run while nodes come back from a restart.
const HOPELESS_GRACE: Duration = Duration::from_secs(60);
/// A launcher that reported failure ends by itself; `qdel` follows if it does not.
const LAUNCHER_GRACE: Duration = Duration::from_secs(5);
const DELETE_AGAIN_MIN: Duration = Duration::from_secs(5);
const DELETE_AGAIN_MAX: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub enum Event {
    Submitted {
        job: JobId,
    },
    /// PBS certainly has no such job.
    SubmitFailed {
        failure: Failure,
        message: String,
    },
    /// It may have one.
    SubmitUnsure {
        words: String,
    },
    /// The job as PBS lists it in a list asked for at `asked`.
    Seen {
        asked: Millis,
        job: Box<Job>,
        position: Option<QueuePosition>,
    },
    /// A list that is certainly complete, asked for at `asked`, does not name the job.
    NotSeen {
        asked: Millis,
    },
    Exchanged {
        ticket: Digest,
    },
    Ready {
        address: Address,
    },
    LaunchFailed {
        report: LaunchReport,
    },
    Stop,
    /// The hub has forgotten it.
    Unclaimed,
    Deleted,
    DeleteFailed {
        words: String,
    },
    Tick {
        pbs_answers: bool,
    },
}

impl Event {
    fn word(&self) -> &'static str {
        match self {
            Self::Submitted { .. } => "submitted",
            Self::SubmitFailed { .. } => "submit failed",
            Self::SubmitUnsure { .. } => "submit unsure",
            Self::Seen { .. } => "seen",
            Self::NotSeen { .. } => "not seen",
            Self::Exchanged { .. } => "exchanged",
            Self::Ready { .. } => "ready",
            Self::LaunchFailed { .. } => "launch failed",
            Self::Stop => "stop",
            Self::Unclaimed => "unclaimed",
            Self::Deleted => "deleted",
            Self::DeleteFailed { .. } => "delete failed",
            Self::Tick { .. } => "tick",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Before any later effect.
    Save,
    Delete(JobId),
    /// Ask PBS before it would be due.
    PollSoon,
    /// This cannot happen, and did: the log should have the story. The service serves others, so it goes on.
    Impossible(String),
}

/// What PBS said last; lost by a restart and told again by the next list.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct News {
    pub(crate) comment: Option<String>,
    pub(crate) estimated_start: Option<i64>,
    pub(crate) position: Option<QueuePosition>,
    pub(crate) exec_host: Option<String>,
    /// Seconds since the epoch, by the clock of the batch system.
    pub(crate) start_time: Option<i64>,
    pub(crate) walltime: Option<Duration>,
    pub(crate) is_suspended: bool,
    pub(crate) is_held: bool,
    pub(crate) delete_words: Option<String>,
    /// Since when PBS says that the job can never run.
    pub(crate) hopeless_since: Option<Millis>,
}

#[derive(Clone, Debug)]
struct Deletion {
    next: Millis,
    again: Duration,
    is_running: bool,
}

#[derive(Clone, Debug)]
pub struct UserServer {
    pub(crate) spec: Spec,
    /// Whose words people are told.
    pub(crate) system: System,
    pub(crate) state: State,
    pub(crate) news: News,
    absences: u8,
    returns: u8,
    deletion: Deletion,
    story: VecDeque<(Millis, String)>,
}

impl UserServer {
    pub fn requested(now: Millis, spec: Spec) -> Self {
        Self::with_state(now, spec, State::Submitting { stop: None })
    }

    /// As the journal remembers it. What a limit counts from starts anew where the service was not there to see.
    pub fn restored(now: Millis, spec: Spec, state: State, limits: &Limits) -> Self {
        let state = match state {
            State::Submitting { stop } => {
                State::Lost { until: now.after(limits.lost), reason: stop.unwrap_or(Reason::Restarted) }
            }
            State::Lost { reason, .. } => State::Lost { until: now.after(limits.lost), reason },
            State::Starting { job, .. } => State::Starting { job, since: now },
            State::Queued { .. } | State::Running { .. } | State::Stopping { .. } | State::Gone { .. } => {
                state
            }
        };
        Self::with_state(now, spec, state)
    }

    fn with_state(now: Millis, spec: Spec, state: State) -> Self {
        let deletion = Deletion { next: now, again: DELETE_AGAIN_MIN, is_running: false };
        let story = VecDeque::from([(now, format!("begins as {}", state.word()))]);
        Self {
            spec,
            system: System::default(),
            state,
            news: News::default(),
            absences: 0,
            returns: 0,
            deletion,
            story,
        }
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Whether the environment may still be fetched.
    pub fn awaits_launcher(&self) -> bool {
        matches!(self.state, State::Queued { .. } | State::Starting { .. }) && self.spec.environment.is_some()
    }

    /// PBS was silent for this long, which no limit counts.
    pub fn spare(&mut self, now: Millis, silence: Duration) -> Vec<Effect> {
        let (State::Queued { since, .. } | State::Starting { since, .. }) = &mut self.state else {
            return Vec::new();
        };
        *since = since.after(silence).min(now);
        vec![Effect::Save]
    }

    /// How long the hub may not ask about it; `None` if nobody can tell what that means.
    pub fn unclaimed_after(&self, limits: &Limits) -> Option<Duration> {
        let every = self.spec.asked_every.filter(|every| !every.is_zero() && !limits.unclaimed.is_zero())?;
        let lives =
            matches!(self.state, State::Queued { .. } | State::Starting { .. } | State::Running { .. });
        lives.then(|| limits.unclaimed.max(every.saturating_mul(10)))
    }

    /// When a `Tick` is due if nothing else happens first.
    pub fn next_deadline(&self, limits: &Limits, pbs_answers: bool) -> Option<Millis> {
        match &self.state {
            State::Submitting { .. } => None,
            // The next list decides.
            State::Lost { .. } => None,
            State::Queued { since, .. } => {
                let hopeless = self.news.hopeless_since.map(|since| since.after(HOPELESS_GRACE));
                let limit = since.after(limits.queue_wait);
                pbs_answers.then(|| hopeless.map_or(limit, |hopeless| hopeless.min(limit)))
            }
            State::Starting { since, .. } => pbs_answers.then(|| since.after(limits.start)),
            State::Running { .. } => None,
            State::Stopping { .. } => (!self.deletion.is_running).then_some(self.deletion.next),
            State::Gone { at, .. } => Some(at.after(limits.remember)),
        }
    }

    /// Applies one event. Effects are returned in the order they must be carried out.
    pub fn handle(&mut self, now: Millis, limits: &Limits, event: Event) -> Vec<Effect> {
        let before = self.state.word();
        let word = event.word();
        let effects = match event {
            Event::Submitted { job } => self.submitted(now, job),
            Event::SubmitFailed { failure, message } => self.submit_failed(now, failure, message),
            Event::SubmitUnsure { words } => self.submit_unsure(now, limits, words),
            Event::Seen { asked, job, position } => self.seen(now, asked, &job, position),
            Event::NotSeen { asked } => self.not_seen(now, asked),
            Event::Exchanged { ticket } => self.exchanged(now, ticket),
            Event::Ready { address } => self.ready(now, address),
            Event::LaunchFailed { report } => self.launch_failed(now, report),
            Event::Stop => self.stop(now),
            Event::Unclaimed => self.unclaimed(now),
            Event::Deleted => self.deletion_ended(now, None),
            Event::DeleteFailed { words } => self.deletion_ended(now, Some(words)),
            Event::Tick { pbs_answers } => self.tick(now, limits, pbs_answers),
        };
        if self.state.word() != before {
            self.tell(now, format!("{before}, {word}: {}", self.state.word()));
        }
        effects
    }

    fn submitted(&mut self, now: Millis, job: JobId) -> Vec<Effect> {
        match &self.state {
            State::Submitting { stop: None } => {
                self.state = State::Queued { job, since: now };
                vec![Effect::Save, Effect::PollSoon]
            }
            State::Submitting { stop: Some(reason) } => {
                let reason = reason.clone();
                self.begin_stopping(now, job, reason, Duration::ZERO)
            }
            // `qsub` answered after all.
            State::Lost { reason, .. } => {
                let reason = reason.clone();
                self.begin_stopping(now, job, reason, Duration::ZERO)
            }
            State::Queued { .. }
            | State::Starting { .. }
            | State::Running { .. }
            | State::Stopping { .. } => self.impossible(&format!("job {job} was submitted for it")),
            // The list of jobs shows it as nobody's, and it is removed.
            State::Gone { .. } => vec![Effect::PollSoon],
        }
    }

    fn submit_failed(&mut self, now: Millis, failure: Failure, message: String) -> Vec<Effect> {
        match &self.state {
            State::Submitting { .. } | State::Lost { .. } => {
                self.gone(now, Ending { exit: None, failure: Some(failure), message, detail: None })
            }
            State::Gone { .. } => Vec::new(),
            State::Queued { .. }
            | State::Starting { .. }
            | State::Running { .. }
            | State::Stopping { .. } => self.impossible(&format!("qsub failed: {message}")),
        }
    }

    fn submit_unsure(&mut self, now: Millis, limits: &Limits, words: String) -> Vec<Effect> {
        match &self.state {
            State::Submitting { .. } => {
                let until = now.after(limits.lost);
                self.state = State::Lost { until, reason: Reason::NoAnswer { words } };
                vec![Effect::Save, Effect::PollSoon]
            }
            State::Lost { .. } | State::Gone { .. } => Vec::new(),
            State::Queued { .. }
            | State::Starting { .. }
            | State::Running { .. }
            | State::Stopping { .. } => self.impossible(&format!("qsub is unsure: {words}")),
        }
    }

    fn seen(
        &mut self,
        now: Millis,
        asked: Millis,
        seen: &Job,
        position: Option<QueuePosition>,
    ) -> Vec<Effect> {
        self.absences = 0;
        let delete_words = self.news.delete_words.take();
        self.news = News {
            comment: seen.comment.clone(),
            estimated_start: seen.estimated_start,
            position,
            exec_host: seen.exec_host.clone(),
            start_time: seen.start_time,
            walltime: seen.walltime,
            is_suspended: seen.state == nuna_pbs::JobState::Suspended,
            is_held: seen.state == nuna_pbs::JobState::Held,
            delete_words,
            hopeless_since: seen.never_runs.then(|| self.news.hopeless_since.unwrap_or(now)),
        };
        if seen.state.is_over() {
            return match &self.state {
                State::Lost { .. }
                | State::Queued { .. }
                | State::Starting { .. }
                | State::Running { .. }
                | State::Stopping { .. } => self.over(now, Some(seen)),
                State::Submitting { .. } | State::Gone { .. } => Vec::new(),
            };
        }
        if !seen.state.is_pending() {
            self.returns = 0;
        }
        match &self.state {
            State::Lost { reason, .. } => {
                let reason = reason.clone();
                self.begin_stopping(now, seen.id.clone(), reason, Duration::ZERO)
            }
            State::Queued { job, .. } if !seen.state.is_pending() => {
                self.state = State::Starting { job: job.clone(), since: now };
                vec![Effect::Save]
            }
            // A list asked for before the launcher spoke may still call a job pending that has started.
            State::Starting { job, since } | State::Running { job, since, .. }
                if seen.state.is_pending() && asked > *since =>
            {
                let job = job.clone();
                self.queued_again(now, job)
            }
            State::Queued { .. }
            | State::Starting { .. }
            | State::Running { .. }
            | State::Stopping { .. }
            | State::Submitting { .. }
            | State::Gone { .. } => Vec::new(),
        }
    }

    /// PBS took a job that had begun from its node and will begin it anew, as it does when it is restarted itself.
    fn queued_again(&mut self, now: Millis, job: JobId) -> Vec<Effect> {
        // Its code still counts, so it waits as before.
        if self.spec.environment.is_some() {
            self.state = State::Queued { job, since: now };
            return vec![Effect::Save];
        }
        self.returns += 1;
        if self.returns < RETURNS {
            return vec![Effect::PollSoon];
        }
        // The environment is gone with the process that got it: what begins would be refused, again and again.
        self.begin_stopping(now, job, Reason::QueuedAgain, Duration::ZERO)
    }

    fn not_seen(&mut self, now: Millis, asked: Millis) -> Vec<Effect> {
        match &self.state {
            State::Lost { until, .. } if asked >= *until => self.over(now, None),
            State::Lost { .. } | State::Submitting { .. } | State::Gone { .. } => Vec::new(),
            State::Queued { since, .. } if asked <= *since => Vec::new(),
            State::Queued { .. }
            | State::Starting { .. }
            | State::Running { .. }
            | State::Stopping { .. } => {
                self.absences += 1;
                if self.absences >= ABSENCES { self.over(now, None) } else { vec![Effect::PollSoon] }
            }
        }
    }

    fn exchanged(&mut self, now: Millis, ticket: Digest) -> Vec<Effect> {
        match &self.state {
            State::Queued { job, .. } | State::Starting { job, .. } => {
                self.state = State::Starting { job: job.clone(), since: now };
                self.spec.environment = None;
                self.spec.ticket = Some(ticket);
                vec![Effect::Save, Effect::PollSoon]
            }
            State::Submitting { .. }
            | State::Lost { .. }
            | State::Running { .. }
            | State::Stopping { .. }
            | State::Gone { .. } => self.impossible("a code was exchanged"),
        }
    }

    fn ready(&mut self, now: Millis, address: Address) -> Vec<Effect> {
        match &self.state {
            State::Starting { job, .. } => {
                self.state = State::Running { job: job.clone(), since: now, address };
                vec![Effect::Save]
            }
            State::Submitting { .. }
            | State::Lost { .. }
            | State::Queued { .. }
            | State::Running { .. }
            | State::Stopping { .. }
            | State::Gone { .. } => self.impossible("a launcher called it ready"),
        }
    }

    fn launch_failed(&mut self, now: Millis, report: LaunchReport) -> Vec<Effect> {
        match &self.state {
            State::Starting { job, .. } => {
                let job = job.clone();
                self.begin_stopping(now, job, Reason::LaunchFailed(report), LAUNCHER_GRACE)
            }
            State::Submitting { .. }
            | State::Lost { .. }
            | State::Queued { .. }
            | State::Running { .. }
            | State::Stopping { .. }
            | State::Gone { .. } => self.impossible("a launcher reported failure"),
        }
    }

    fn stop(&mut self, now: Millis) -> Vec<Effect> {
        match &mut self.state {
            State::Submitting { stop } => {
                stop.get_or_insert(Reason::Requested);
                vec![Effect::Save]
            }
            State::Queued { job, .. } | State::Starting { job, .. } | State::Running { job, .. } => {
                let job = job.clone();
                self.begin_stopping(now, job, Reason::Requested, Duration::ZERO)
            }
            State::Stopping { .. } => {
                self.deletion.next = self.deletion.next.min(now);
                self.delete_if_due(now).into_iter().collect()
            }
            State::Lost { .. } | State::Gone { .. } => Vec::new(),
        }
    }

    fn unclaimed(&mut self, now: Millis) -> Vec<Effect> {
        match &self.state {
            State::Queued { job, .. } | State::Starting { job, .. } | State::Running { job, .. } => {
                let job = job.clone();
                self.begin_stopping(now, job, Reason::Unclaimed, Duration::ZERO)
            }
            State::Submitting { .. } | State::Lost { .. } | State::Stopping { .. } | State::Gone { .. } => {
                Vec::new()
            }
        }
    }

    fn begin_stopping(&mut self, now: Millis, job: JobId, reason: Reason, grace: Duration) -> Vec<Effect> {
        self.state = State::Stopping { job, since: now, reason };
        self.deletion = Deletion { next: now.after(grace), again: DELETE_AGAIN_MIN, is_running: false };
        let mut effects = vec![Effect::Save];
        effects.extend(self.delete_if_due(now));
        effects.push(Effect::PollSoon);
        effects
    }

    fn delete_if_due(&mut self, now: Millis) -> Option<Effect> {
        let State::Stopping { job, .. } = &self.state else { return None };
        if self.deletion.is_running || self.deletion.next > now {
            return None;
        }
        self.deletion.is_running = true;
        Some(Effect::Delete(job.clone()))
    }

    fn deletion_ended(&mut self, now: Millis, words: Option<String>) -> Vec<Effect> {
        self.deletion.is_running = false;
        self.deletion.next = now.after(self.deletion.again);
        self.deletion.again = (self.deletion.again * 2).min(DELETE_AGAIN_MAX);
        self.news.delete_words = words;
        match &self.state {
            State::Stopping { .. } => vec![Effect::PollSoon],
            State::Submitting { .. }
            | State::Lost { .. }
            | State::Queued { .. }
            | State::Starting { .. }
            | State::Running { .. }
            | State::Gone { .. } => Vec::new(),
        }
    }

    /// Limits are judged only while PBS answers: its silence is nobody's fault, least of all the user's.
    fn tick(&mut self, now: Millis, limits: &Limits, pbs_answers: bool) -> Vec<Effect> {
        let is_hopeless = self.news.hopeless_since.is_some_and(|since| since.after(HOPELESS_GRACE) <= now);
        match &self.state {
            State::Queued { job, .. } if pbs_answers && is_hopeless => {
                let reason = Reason::NeverRuns { words: self.news.comment.clone().unwrap_or_default() };
                let job = job.clone();
                self.begin_stopping(now, job, reason, Duration::ZERO)
            }
            State::Queued { job, since } if pbs_answers && since.after(limits.queue_wait) <= now => {
                let reason = Reason::QueueWait { limit: limits.queue_wait, words: self.news.comment.clone() };
                let job = job.clone();
                self.begin_stopping(now, job, reason, Duration::ZERO)
            }
            State::Starting { job, since } if pbs_answers && since.after(limits.start) <= now => {
                let job = job.clone();
                self.begin_stopping(now, job, Reason::StartLimit { limit: limits.start }, Duration::ZERO)
            }
            State::Stopping { .. } => self.delete_if_due(now).into_iter().collect(),
            State::Submitting { .. }
            | State::Lost { .. }
            | State::Queued { .. }
            | State::Starting { .. }
            | State::Running { .. }
            | State::Gone { .. } => Vec::new(),
        }
    }

    fn over(&mut self, now: Millis, seen: Option<&Job>) -> Vec<Effect> {
        let ending = view::ending(self.system, &self.state, seen);
        self.gone(now, ending)
    }

    fn gone(&mut self, now: Millis, ending: Ending) -> Vec<Effect> {
        self.state = State::Gone { at: now, job: self.state.job().cloned(), ending };
        self.spec.environment = None;
        self.spec.ticket = None;
        vec![Effect::Save]
    }

    fn tell(&mut self, now: Millis, line: String) {
        if self.story.len() == STORY_LENGTH_MAX {
            self.story.pop_front();
        }
        self.story.push_back((now, line));
    }

    fn impossible(&self, what: &str) -> Vec<Effect> {
        let story: Vec<String> = self.story.iter().map(|(at, line)| format!("{} {line}", at.0)).collect();
        let state = self.state.word();
        vec![Effect::Impossible(format!(
            "user server {} is {state}, but {what}; {}",
            self.spec.id,
            story.join("; ")
        ))]
    }
}
