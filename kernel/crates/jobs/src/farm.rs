//! Owns the decision which jobs to submit and which to give up. A state machine: time and events come in, effects go
//! out; no I/O, no clocks.
//!
//! A job is *submitting* (or nobody knows whether it was), *queued*, *starting* (PBS runs it), *joined* (its worker is
//! there), or *leaving* (its worker goes or is gone). All but the last count as capacity, so nothing is submitted twice
//! because a queue is long. What is submitted at once is one job, or, where arrays are allowed, an array of all that are
//! missing, whose jobs have their numbers for indices. A failure is a submission that PBS refused, or a job that ended before its worker was of
//! use; after some in a row nothing more is submitted, until somebody scales again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use nuna_pbs::{INDEX_MAX, JobId};

pub use self::event::{Effect, Event, Refusal, Status};
use crate::settings::Pace;

mod event;
mod list;

/// Waits between submissions double until here.
const RETRY_MAX: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Submitting,
    /// `qsub` gave no answer: the job may exist.
    Unsure,
    Queued,
    Starting,
    Joined,
    Leaving,
}

#[derive(Debug)]
struct Job {
    stage: Stage,
    /// The job that was submitted first with it: itself, if it was alone.
    first: u32,
    /// Since when it is in this stage.
    since: Instant,
    id: Option<JobId>,
    joined: Option<Instant>,
    /// Its worker was asked to go, or it was deleted.
    given_up: bool,
    deleted: bool,
    absent: u8,
}

impl Job {
    fn new(now: Instant, stage: Stage, first: u32) -> Self {
        Self { stage, first, since: now, id: None, joined: None, given_up: false, deleted: false, absent: 0 }
    }
}

/// Decides. See the module's documentation.
#[derive(Debug)]
pub struct Farm {
    pace: Pace,
    /// Jobs that are submitted at once, at most; more than one are an array.
    at_once: u32,
    /// Of those, how many PBS may take at present: half of what it has refused, twice what it has taken.
    at_once_now: u32,
    /// Refusals in a row that say nothing against our jobs: what was refused is only put off.
    put_off: u32,
    least: u32,
    most: u32,
    /// Of `least`, how many are still owed while nothing is to be done: jobs that end then are not replaced.
    owed: u32,
    demand: u32,
    idle: BTreeSet<u32>,
    jobs: BTreeMap<u32, Job>,
    next_ticket: u32,
    submissions: u32,
    accepted: u32,
    failures: u32,
    failures_in_a_row: u32,
    paused: Option<String>,
    suspect: Option<u32>,
    trouble: Option<String>,
    /// Nothing is submitted before.
    submit_at: Option<Instant>,
    /// When PBS is asked next; none while an answer is awaited.
    query_at: Option<Instant>,
    asking: bool,
    query_cost: Duration,
    surplus_since: Option<Instant>,
    /// The surplus is somebody's wish, so there is no grace.
    wished: bool,
    effects: Vec<Effect>,
}

impl Farm {
    /// Submits `at_once` jobs at once where as many are missing: 1 for no arrays.
    pub fn new(pace: Pace, least: u32, most: u32, at_once: u32) -> Self {
        Self {
            pace,
            at_once: at_once.max(1),
            at_once_now: at_once.max(1),
            put_off: 0,
            least,
            most: most.max(least),
            owed: least,
            demand: 0,
            idle: BTreeSet::new(),
            jobs: BTreeMap::new(),
            next_ticket: 1,
            submissions: 0,
            accepted: 0,
            failures: 0,
            failures_in_a_row: 0,
            paused: None,
            suspect: None,
            trouble: None,
            submit_at: None,
            query_at: None,
            asking: false,
            query_cost: Duration::ZERO,
            surplus_since: None,
            wished: false,
            effects: Vec::new(),
        }
    }

    /// A job that an earlier farm has submitted.
    pub fn adopt(&mut self, now: Instant, ticket: u32, id: JobId) {
        self.skip(ticket);
        self.submissions += 1;
        self.accepted += 1;
        self.jobs.insert(ticket, Job { id: Some(id), ..Job::new(now, Stage::Queued, ticket) });
        self.query_at = Some(now);
    }

    /// A number that an earlier farm has given out.
    pub fn skip(&mut self, ticket: u32) {
        self.next_ticket = self.next_ticket.max(ticket.saturating_add(1));
    }

    /// Applies one event. Effects are returned in the order they must be carried out.
    pub fn handle(&mut self, now: Instant, event: Event) -> Vec<Effect> {
        match event {
            Event::Want { least, most } => {
                (self.least, self.most, self.owed) = (least, most.max(least), least);
                self.wished = true;
                (self.paused, self.suspect, self.submit_at, self.failures_in_a_row) = (None, None, None, 0);
                (self.at_once_now, self.put_off) = (self.at_once, 0);
            }
            Event::Demand { workers, idle } => (self.demand, self.idle) = (workers, idle),
            Event::Submitted { ticket, id } => self.submitted(now, ticket, id),
            Event::NotSubmitted { ticket, reason, refusal } => {
                self.not_submitted(now, ticket, reason, refusal);
            }
            Event::Listed { snapshot, names, took } => self.listed(now, &snapshot, &names, took),
            Event::NotListed { reason } => {
                self.asking = false;
                self.trouble = Some(reason);
                self.query_at = Some(now + 3 * self.pace.poll);
            }
            Event::Joined(ticket) => self.joined(now, ticket),
            Event::Leaving(ticket) => self.leaves(now, ticket, true),
            Event::Left(ticket) => self.leaves(now, ticket, false),
            Event::Tick => {}
        }
        self.look_after(now);
        self.balance(now);
        self.plan_query(now);
        std::mem::take(&mut self.effects)
    }

    /// When to call `handle` with `Event::Tick` if nothing else arrives first.
    pub fn next_deadline(&self) -> Option<Instant> {
        // Nothing is due that an answer must come first for: a deadline that has passed would be met again and again.
        let busy = self.jobs.values().any(|job| job.stage == Stage::Submitting);
        let may = self.shortage() > 0 && self.paused.is_none() && !busy;
        let wait = self.submit_at.filter(|_| may);
        let query = self.query_at.filter(|_| !self.asking);
        let surplus = self.surplus_since.map(|since| since + self.pace.grace);
        let late = self.jobs.values().filter_map(|job| match job.stage {
            Stage::Starting if !job.given_up => Some(job.since + self.pace.start_patience),
            Stage::Leaving if !job.deleted => Some(job.since + self.pace.end_patience),
            Stage::Submitting
            | Stage::Unsure
            | Stage::Queued
            | Stage::Starting
            | Stage::Joined
            | Stage::Leaving => None,
        });
        [wait, surplus, query].into_iter().flatten().chain(late).min()
    }

    pub fn status(&self) -> Status {
        let count = |stages: &[Stage]| {
            self.jobs
                .values()
                .filter(|job| stages.contains(&job.stage))
                .count()
                .try_into()
                .unwrap_or(u32::MAX)
        };
        Status {
            least: self.least,
            most: self.most,
            queued: count(&[Stage::Submitting, Stage::Unsure, Stage::Queued]),
            starting: count(&[Stage::Starting]),
            joined: count(&[Stage::Joined]),
            leaving: count(&[Stage::Leaving]),
            submissions: self.submissions,
            accepted: self.accepted,
            failures: self.failures,
            paused: self.paused.clone(),
            suspect: self.suspect,
            trouble: self.trouble.clone(),
        }
    }

    /// Jobs whose worker has not joined: they must be deleted when the cluster ends, since nobody else tells them.
    pub fn unstarted(&self) -> Vec<(u32, Option<JobId>)> {
        let waiting = self.jobs.iter().filter(|(_, job)| match job.stage {
            Stage::Submitting | Stage::Unsure | Stage::Queued | Stage::Starting => true,
            Stage::Joined | Stage::Leaving => false,
        });
        waiting.map(|(&ticket, job)| (ticket, job.id.clone())).collect()
    }

    /// The arrays whose jobs are followed.
    pub fn arrays(&self) -> BTreeSet<JobId> {
        self.jobs.values().filter_map(|job| job.id.as_ref()?.array()).collect()
    }

    /// What to ask PBS for: the arrays, and jobs that are of none.
    pub fn known(&self) -> Vec<JobId> {
        let named = |job: &Job| job.id.as_ref().map(|id| id.array().unwrap_or_else(|| id.clone()));
        self.jobs.values().filter_map(named).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Jobs that may exist, but under an id that is not known.
    pub fn nameless(&self) -> BTreeSet<u32> {
        self.jobs.iter().filter(|(_, job)| job.id.is_none()).map(|(&ticket, _)| ticket).collect()
    }

    fn target(&self) -> u32 {
        let least = if self.demand > 0 { self.least } else { self.owed.min(self.least) };
        self.demand.max(least).min(self.most)
    }

    fn capacity(&self) -> u32 {
        let counted = self.jobs.values().filter(|job| job.stage != Stage::Leaving && !job.given_up);
        counted.count().try_into().unwrap_or(u32::MAX)
    }

    fn shortage(&self) -> u32 {
        self.target().saturating_sub(self.capacity())
    }

    fn balance(&mut self, now: Instant) {
        if self.demand > 0 {
            self.owed = self.least;
        }
        let (target, capacity) = (self.target(), self.capacity());
        if capacity > target {
            let since = *self.surplus_since.get_or_insert(now);
            if self.wished || now.saturating_duration_since(since) >= self.pace.grace {
                self.give_up(now, capacity - target);
                // Whoever could not be given up, because it is busy or holds something, is looked at later.
                self.surplus_since = Some(now);
            }
            return;
        }
        (self.surplus_since, self.wished) = (None, false);
        if capacity == target && self.put_off > 0 {
            // What was refused is not wanted any more.
            (self.put_off, self.submit_at, self.trouble) = (0, None, None);
        }
        // One at a time: the answer to the first says whether a second makes sense.
        let busy = self.jobs.values().any(|job| job.stage == Stage::Submitting);
        let early = self.submit_at.is_some_and(|at| now < at);
        if capacity < target && !busy && !early && self.paused.is_none() {
            let ticket = self.next_ticket;
            // Numbers end before PBS's indices do; one is always left, as PBS takes any name.
            let left = INDEX_MAX.saturating_sub(ticket).max(1);
            let count = (target - capacity).min(self.at_once_now).min(left);
            self.next_ticket = ticket.saturating_add(count);
            self.submissions += 1;
            for one in ticket..self.next_ticket {
                self.jobs.insert(one, Job::new(now, Stage::Submitting, ticket));
            }
            self.effects.push(Effect::Submit { ticket, count });
        }
    }

    /// Gives up `count` jobs: those that have done least first, and busy workers only if somebody wished it.
    fn give_up(&mut self, now: Instant, count: u32) {
        let idle = &self.idle;
        let rank = |ticket: u32, job: &Job| match job.stage {
            Stage::Queued => Some(0),
            Stage::Starting => Some(1),
            Stage::Joined if idle.contains(&ticket) => Some(2),
            Stage::Joined if self.wished => Some(3),
            Stage::Submitting | Stage::Unsure | Stage::Joined | Stage::Leaving => None,
        };
        let mut chosen: Vec<(u8, std::cmp::Reverse<u32>)> = self
            .jobs
            .iter()
            .filter(|(_, job)| !job.given_up)
            .filter_map(|(&ticket, job)| Some((rank(ticket, job)?, std::cmp::Reverse(ticket))))
            .collect();
        chosen.sort_unstable();
        for (_, std::cmp::Reverse(ticket)) in chosen.into_iter().take(count as usize) {
            let job = self.jobs.get_mut(&ticket).expect("chosen from the jobs");
            job.given_up = true;
            if job.stage == Stage::Joined {
                self.enter(now, ticket, Stage::Leaving);
                self.effects.push(Effect::Retire { ticket });
            } else {
                self.delete(ticket);
            }
        }
    }

    fn delete(&mut self, ticket: u32) {
        let Some(job) = self.jobs.get_mut(&ticket) else { return };
        if let Some(id) = job.id.clone().filter(|_| !job.deleted) {
            job.deleted = true;
            self.effects.push(Effect::Delete { ticket, id });
        }
    }

    fn enter(&mut self, now: Instant, ticket: u32, stage: Stage) {
        if let Some(job) = self.jobs.get_mut(&ticket)
            && job.stage != stage
        {
            (job.stage, job.since) = (stage, now);
        }
    }

    fn submitted(&mut self, now: Instant, ticket: u32, id: JobId) {
        for one in self.together(ticket) {
            let Some(job) = self.jobs.get_mut(&one) else { continue };
            job.id = Some(if id.is_array() { id.sub_job(one) } else { id.clone() });
            // Its worker may have been faster than qsub's answer.
            if matches!(job.stage, Stage::Submitting | Stage::Unsure) {
                self.enter(now, one, Stage::Queued);
            }
        }
        self.accepted += 1;
        self.submit_at = None;
        self.trouble = None;
        self.put_off = 0;
        self.at_once_now = self.at_once_now.saturating_mul(2).min(self.at_once);
    }

    /// What was submitted at once with that job, itself among them.
    fn together(&self, ticket: u32) -> Vec<u32> {
        self.jobs.iter().filter(|(_, job)| job.first == ticket).map(|(&one, _)| one).collect()
    }

    fn not_submitted(&mut self, now: Instant, ticket: u32, reason: String, refusal: Refusal) {
        let together = self.together(ticket);
        for &one in &together {
            if refusal == Refusal::Unsure {
                // It is looked for by its name.
                self.enter(now, one, Stage::Unsure);
            } else {
                self.jobs.remove(&one);
            }
        }
        match (refusal, together.len()) {
            (Refusal::Full, 2..) => {
                self.at_once_now = (together.len() / 2).try_into().unwrap_or(u32::MAX);
                self.submit_at = Some(now + self.pace.retry);
            }
            (Refusal::Away, _) => self.put_off(now, reason),
            // Such jobs were taken, and are there or were: this one will be when there is room, or the queue is open again.
            (Refusal::Full, _) if !self.jobs.is_empty() => self.put_off(now, reason),
            (Refusal::Closed, _) if self.accepted > 0 => self.put_off(now, reason),
            (Refusal::Lasting | Refusal::Closed, _) => self.failed(now, reason, true, None),
            (Refusal::Full | Refusal::Passing | Refusal::Unsure, _) => self.failed(now, reason, false, None),
        }
    }

    fn put_off(&mut self, now: Instant, reason: String) {
        self.put_off += 1;
        self.submit_at = Some(now + self.wait(self.put_off));
        self.trouble = Some(reason);
    }

    /// After so many refusals in a row.
    fn wait(&self, refusals: u32) -> Duration {
        (self.pace.retry * (1 << refusals.saturating_sub(1).min(10))).min(RETRY_MAX)
    }

    fn failed(&mut self, now: Instant, reason: String, lasting: bool, suspect: Option<u32>) {
        self.failures += 1;
        self.failures_in_a_row += 1;
        self.submit_at = Some(now + self.wait(self.failures_in_a_row));
        if lasting || self.failures_in_a_row >= self.pace.failures_max {
            self.paused = Some(reason.clone());
            self.suspect = suspect;
        }
        self.trouble = Some(reason);
    }

    fn joined(&mut self, now: Instant, ticket: u32) {
        // One of an earlier farm that PBS did not tell of: it is there, so it counts, and its id is learnt from the next list.
        self.skip(ticket);
        let job = self.jobs.entry(ticket).or_insert_with(|| Job::new(now, Stage::Joined, ticket));
        job.joined = Some(now);
        if job.given_up {
            // It was to be deleted while it waited, and began instead.
            self.enter(now, ticket, Stage::Leaving);
            self.effects.push(Effect::Retire { ticket });
        } else {
            self.enter(now, ticket, Stage::Joined);
        }
    }

    /// Its worker does no more; `well` if that is as it should be.
    fn leaves(&mut self, now: Instant, ticket: u32, well: bool) {
        let Some(job) = self.jobs.get_mut(&ticket) else { return };
        let (was, given_up) = (job.stage, job.given_up);
        let lived = job.joined.map_or(Duration::ZERO, |joined| now.saturating_duration_since(joined));
        self.enter(now, ticket, Stage::Leaving);
        self.query_at = Some(self.query_at.map_or(now, |at| at.min(now + self.pace.poll / 4)));
        if was == Stage::Leaving {
            return;
        }
        if well || lived >= self.pace.short_life {
            self.failures_in_a_row = 0;
        } else {
            let reason = format!(
                "the worker of job {} was lost {} s after it had joined",
                self.label(ticket),
                lived.as_secs()
            );
            self.failed(now, reason, false, Some(ticket));
        }
        if !given_up && self.demand == 0 {
            self.owed = self.owed.min(self.least).saturating_sub(1);
        }
    }

    fn label(&self, ticket: u32) -> String {
        let id = self.jobs.get(&ticket).and_then(|job| job.id.as_ref());
        id.map_or_else(|| format!("number {ticket}"), ToString::to_string)
    }

    /// Jobs that take too long to start or to end.
    fn look_after(&mut self, now: Instant) {
        let late = |job: &Job, patience: Duration| now.saturating_duration_since(job.since) >= patience;
        let mut delete = Vec::new();
        let mut never = None;
        for (&ticket, job) in &mut self.jobs {
            match job.stage {
                Stage::Starting if late(job, self.pace.start_patience) && !job.given_up => {
                    job.given_up = true;
                    never = Some(ticket);
                    delete.push(ticket);
                }
                Stage::Leaving if late(job, self.pace.end_patience) && !job.deleted => {
                    // Without an id there is nothing to delete.
                    job.deleted = job.id.is_none();
                    delete.push(ticket);
                }
                Stage::Joined
                    if job
                        .joined
                        .is_some_and(|at| now.saturating_duration_since(at) >= self.pace.short_life) =>
                {
                    self.failures_in_a_row = 0;
                }
                Stage::Submitting
                | Stage::Unsure
                | Stage::Queued
                | Stage::Starting
                | Stage::Joined
                | Stage::Leaving => {}
            }
        }
        delete.into_iter().for_each(|ticket| self.delete(ticket));
        if let Some(ticket) = never {
            let reason = format!(
                "job {} has run for {} s without its worker joining; can its node reach this one?",
                self.label(ticket),
                self.pace.start_patience.as_secs()
            );
            self.failed(now, reason, false, Some(ticket));
        }
    }
}
