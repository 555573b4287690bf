//! Owns what PBS's list of jobs means for a farm, and when it is asked for: one list for all jobs, as rarely as will do.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use nuna_pbs::{JobId, JobState, Presence, Snapshot};

use super::{Effect, Farm, Job, Stage};

/// PBS is asked this many times less often while every job has its worker: their connections tell more.
const POLL_RARELY: u32 = 6;
/// And it may be busy with us for no more than this part of the time.
const POLL_SHARE: u32 = 10;
/// A job that no complete list has named so often is over.
const ABSENT_MAX: u8 = 2;

impl Farm {
    /// When PBS is asked for all jobs.
    pub(super) fn plan_query(&mut self, now: Instant) {
        let known = |job: &&Job| job.stage != Stage::Submitting;
        if !self.jobs.values().any(|job| known(&job)) {
            self.query_at = None;
            return;
        }
        if self.asking {
            return;
        }
        let waiting = self.jobs.values().filter(known).any(|job| job.stage != Stage::Joined);
        let poll = if waiting { self.pace.poll } else { self.pace.poll * POLL_RARELY };
        let latest = now + poll.max(self.query_cost * POLL_SHARE);
        let at = *self.query_at.get_or_insert(latest);
        if at > latest {
            self.query_at = Some(latest);
        }
        if at <= now {
            self.asking = true;
            self.query_at = None;
            self.effects.push(Effect::Query);
        }
    }

    pub(super) fn listed(
        &mut self,
        now: Instant,
        snapshot: &Snapshot,
        names: &BTreeMap<u32, JobId>,
        took: Duration,
    ) {
        self.asking = false;
        self.query_cost = took;
        self.query_at = None;
        if self.failures_in_a_row == 0 && self.put_off == 0 {
            self.trouble = None;
        }
        for (&ticket, id) in names {
            match self.jobs.get_mut(&ticket) {
                Some(job) if job.id.is_none() && job.stage != Stage::Submitting => {
                    job.id = Some(id.clone());
                    if job.stage == Stage::Unsure {
                        self.enter(now, ticket, Stage::Queued);
                    }
                }
                Some(_) => {}
                // An earlier farm was lost while it submitted it, or had given it up for lost.
                None => self.adopt(now, ticket, id.clone()),
            }
        }
        let mut over: Vec<(u32, String)> = Vec::new();
        let mut started = Vec::new();
        for (&ticket, job) in &mut self.jobs {
            let Some(id) = &job.id else {
                // The list was asked for after qsub had given up, or its worker had left, and it is not there.
                if matches!(job.stage, Stage::Unsure | Stage::Leaving) && snapshot.complete {
                    job.absent += 1;
                    if job.absent > ABSENT_MAX {
                        over.push((ticket, "PBS does not know it".to_owned()));
                    }
                }
                continue;
            };
            match snapshot.presence(id) {
                Presence::Listed(found) if found.state.is_over() => over.push((ticket, how_it_ended(found))),
                Presence::Listed(found) => {
                    job.absent = 0;
                    if found.state == JobState::Running && job.stage == Stage::Queued {
                        started.push(ticket);
                    }
                }
                Presence::Absent => {
                    job.absent += 1;
                    if job.absent >= ABSENT_MAX {
                        over.push((ticket, "PBS does not know it any more".to_owned()));
                    }
                }
                Presence::Unknown => {}
            }
        }
        for ticket in started {
            self.enter(now, ticket, Stage::Starting);
        }
        for (ticket, how) in over {
            self.over(now, ticket, &how);
        }
    }

    fn over(&mut self, now: Instant, ticket: u32, how: &str) {
        let label = self.label(ticket);
        let Some(job) = self.jobs.get(&ticket) else { return };
        match job.stage {
            // Its worker has not noticed yet; the connection will tell.
            Stage::Joined => self.leaves(now, ticket, true),
            Stage::Leaving => {}
            Stage::Submitting | Stage::Unsure | Stage::Queued | Stage::Starting => {
                if !job.given_up {
                    let reason = format!("job {label} ended before its worker had joined: {how}");
                    self.failed(now, reason, false, Some(ticket));
                }
            }
        }
        self.jobs.remove(&ticket);
    }
}

/// In words for a person.
fn how_it_ended(job: &nuna_pbs::Job) -> String {
    let comment = job.comment.clone().filter(|comment| !comment.is_empty());
    match (job.exit_status, comment) {
        (Some(code), Some(comment)) => format!("exit code {code}; PBS says: {comment}"),
        (Some(code), None) => format!("exit code {code}"),
        (None, Some(comment)) => format!("PBS says: {comment}"),
        (None, None) => "PBS does not say why".to_owned(),
    }
}
