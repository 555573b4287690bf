//! The batch system as a state machine: jobs, queues and nodes. No sockets, no processes, no clock.
//!
//! What is shown of it is in `reports`, the room on nodes in `nodes`.
//! `server` brings requests and the ends of processes, and carries out the [`Effect`]s.

mod nodes;
mod reports;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::Refusal;
use crate::job::{Ending, Job, Placement, Ran, State, Used, run_comment};
use crate::protocol::Submission;
use crate::resources::{Request, parse_duration, parse_size_kb};
use crate::settings::{QueueSettings, Settings};

use nodes::FreeNode;

/// What the server reports as its version: the release whose formats are kept.
pub(crate) const PBS_VERSION: &str = "23.06.06";
/// PBS's own number for "killed because the walltime was over".
const EXIT_WALLTIME: i32 = -29;
/// Exit status of a job whose processes the server lost sight of (PBS's `JOB_EXEC_FAIL1`).
pub(crate) const EXIT_LOST: i32 = -1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kill {
    /// SIGTERM, and SIGKILL after the kill delay.
    Gently,
    Now,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Start {
        sequence: u64,
    },
    Stop {
        sequence: u64,
        kill: Kill,
    },
    /// The job is over: its script and spool files may go.
    Forget {
        sequence: u64,
    },
}

/// The part that survives a restart.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    next_sequence: u64,
    jobs: BTreeMap<u64, Job>,
}

pub(crate) struct Batch {
    server: String,
    settings: Settings,
    /// Who may touch everybody's jobs.
    manager: String,
    memory: Memory,
    /// When the nodes were last given or relieved of a job.
    nodes_used: Timestamp,
}

impl Batch {
    /// Continues from `memory`. Jobs that were running are over: their processes died with the server.
    pub(crate) fn new(
        server: String,
        settings: Settings,
        manager: String,
        memory: Memory,
        now: Timestamp,
    ) -> Self {
        let mut batch = Self { server, settings, manager, memory, nodes_used: now };
        let running: Vec<u64> = batch
            .memory
            .jobs
            .values()
            .filter(|job| matches!(job.state, State::Running { .. }))
            .map(|job| job.sequence)
            .collect();
        for sequence in running {
            batch.exited(now, sequence, EXIT_LOST, None);
            let job = batch.memory.jobs.get_mut(&sequence).expect("it was listed above");
            job.comment = job.comment.take().map(|comment| format!("{comment} (the batch server restarted)"));
        }
        batch
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn job(&self, sequence: u64) -> Option<&Job> {
        self.memory.jobs.get(&sequence)
    }

    pub(crate) fn submit(
        &mut self,
        now: Timestamp,
        owner: &str,
        submission: Submission,
    ) -> Result<u64, Refusal> {
        let name = submission.queue.clone().unwrap_or_else(|| self.settings.default_queue.clone());
        // `queue@server` names this server or nothing.
        let name = name.split_once('@').map_or(name.as_str(), |(queue, _)| queue).to_owned();
        let queue = self.settings.queue(&name).ok_or_else(Refusal::unknown_queue)?;
        let mut request = Request::parse(&submission.resources)?;
        if !queue.is_enabled() {
            return Err(Refusal::queue_disabled());
        }
        if queue.acl_users.as_ref().is_some_and(|users| !users.iter().any(|user| user == owner)) {
            return Err(Refusal::not_on_acl());
        }
        apply_limits(queue, &mut request)?;
        let unfinished = self.memory.jobs.values().filter(|job| !job.is_finished()).count();
        if unfinished >= self.settings.jobs_max {
            return Err(Refusal::too_many_jobs(self.settings.jobs_max));
        }
        let sequence = self.memory.next_sequence;
        self.memory.next_sequence += 1;
        let state = State::Queued { held: submission.hold };
        let job = Job {
            sequence,
            owner: owner.to_owned(),
            queue: name,
            submission,
            request,
            created: now,
            modified: now,
            state,
            comment: None,
            used: None,
        };
        self.memory.jobs.insert(sequence, job);
        Ok(sequence)
    }

    /// `qdel`.
    pub(crate) fn delete(
        &mut self,
        now: Timestamp,
        by: &str,
        id: &str,
        force: bool,
        forget: bool,
    ) -> Result<Vec<Effect>, Refusal> {
        let (sequence, full) = self.find(id)?;
        let manager = self.manager.clone();
        let job = self.memory.jobs.get_mut(&sequence).expect("find gave an existing job");
        if job.owner != by && by != manager {
            return Err(Refusal::not_yours(&full));
        }
        let host = job.submission.host.clone();
        match &mut job.state {
            State::Finished { .. } => {
                if forget {
                    self.memory.jobs.remove(&sequence);
                    return Ok(Vec::new());
                }
                Err(Refusal::job_finished_delete(&full))
            }
            State::Queued { .. } => {
                if forget {
                    self.memory.jobs.remove(&sequence);
                    return Ok(vec![Effect::Forget { sequence }]);
                }
                let who = format!("terminated by {by}@{host}");
                job.comment = Some(match job.comment.take() {
                    Some(comment) => format!("{comment} and {who}"),
                    None => format!("Job {who}"),
                });
                job.state = State::Finished { ran: None, ended: now, substate: 91 };
                job.modified = now;
                Ok(vec![Effect::Forget { sequence }])
            }
            State::Running { ending, .. } => {
                *ending = Ending::Deleted { by: format!("{by}@{host}") };
                job.modified = now;
                Ok(vec![Effect::Stop { sequence, kill: if force { Kill::Now } else { Kill::Gently } }])
            }
        }
    }

    /// `qhold` and `qrls`.
    pub(crate) fn set_held(
        &mut self,
        now: Timestamp,
        by: &str,
        id: &str,
        wanted: bool,
    ) -> Result<(), Refusal> {
        let (sequence, full) = self.find(id)?;
        let manager = self.manager.clone();
        let job = self.memory.jobs.get_mut(&sequence).expect("find gave an existing job");
        if job.owner != by && by != manager {
            return Err(Refusal::not_yours(&full));
        }
        match &mut job.state {
            State::Queued { held } => {
                *held = wanted;
                job.modified = now;
                Ok(())
            }
            State::Running { .. } => Err(Refusal::wrong_state(&full)),
            State::Finished { .. } => Err(Refusal::job_finished_delete(&full)),
        }
    }

    /// The job's first process exists.
    pub(crate) fn began(&mut self, now: Timestamp, sequence: u64, pid: u32) {
        if let Some(job) = self.memory.jobs.get_mut(&sequence)
            && let State::Running { session, .. } = &mut job.state
        {
            *session = Some(pid);
            job.modified = now;
        }
    }

    /// All of the job's processes are gone.
    pub(crate) fn exited(&mut self, now: Timestamp, sequence: u64, status: i32, used: Option<Used>) {
        let Some(job) = self.memory.jobs.get_mut(&sequence) else { return };
        let State::Running { placement, started, session, ending } = &job.state else { return };
        let (exit_status, substate, words) = match ending {
            Ending::Deleted { by } => (status, 91, format!("terminated by {by}")),
            Ending::Walltime => (EXIT_WALLTIME, 93, "exceeded resource walltime".to_owned()),
            Ending::ByItself if status == 0 => (0, 92, "finished".to_owned()),
            Ending::ByItself => (status, 93, "failed".to_owned()),
        };
        let walltime_s = seconds_between(*started, now);
        job.comment = Some(format!("{} and {words}", run_comment(*started, placement)));
        job.used = Some(Used { walltime_s, ..used.or(job.used).unwrap_or_default() });
        let ran = Ran { placement: placement.clone(), started: *started, session: *session, exit_status };
        job.state = State::Finished { ran: Some(ran), ended: now, substate };
        job.modified = now;
        self.nodes_used = now;
    }

    pub(crate) fn measured(&mut self, now: Timestamp, sequence: u64, used: Used) {
        if let Some(job) = self.memory.jobs.get_mut(&sequence)
            && let State::Running { started, .. } = &job.state
        {
            job.used = Some(Used { walltime_s: seconds_between(*started, now), ..used });
        }
    }

    /// Starts what can start, stops what has run too long, drops old history.
    pub(crate) fn tick(&mut self, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.enforce_walltime(now, &mut effects);
        self.expire_history(now);
        self.schedule(now, &mut effects);
        effects
    }

    fn enforce_walltime(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        for job in self.memory.jobs.values_mut() {
            let Some(limit) = job.request.walltime_s else { continue };
            if let State::Running { started, ending: ending @ Ending::ByItself, .. } = &mut job.state
                && seconds_between(*started, now) >= limit
            {
                *ending = Ending::Walltime;
                effects.push(Effect::Stop { sequence: job.sequence, kill: Kill::Gently });
            }
        }
    }

    fn expire_history(&mut self, now: Timestamp) {
        let kept_s = self.settings.history_seconds;
        self.memory.jobs.retain(|_, job| match &job.state {
            State::Finished { ended, .. } => seconds_between(*ended, now) < kept_s,
            State::Queued { .. } | State::Running { .. } => true,
        });
    }

    /// First in, first out, with later jobs filling what earlier ones cannot use.
    fn schedule(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let mut free = self.free_nodes();
        let mut order: Vec<(i32, u64)> = self
            .memory
            .jobs
            .values()
            .filter(|job| job.letter(now) == 'Q' && self.eligible_at(job) <= now)
            .map(|job| (-job.submission.priority, job.sequence))
            .collect();
        order.sort_unstable();
        for (_, sequence) in order {
            let job = &self.memory.jobs[&sequence];
            match self.try_place(job, &free) {
                Ok((placement, left)) => {
                    free = left;
                    self.nodes_used = now;
                    let job = self.memory.jobs.get_mut(&sequence).expect("it was listed above");
                    job.comment = Some(run_comment(now, &placement));
                    job.state =
                        State::Running { placement, started: now, session: None, ending: Ending::ByItself };
                    job.modified = now;
                    effects.push(Effect::Start { sequence });
                }
                Err(reason) => {
                    let job = self.memory.jobs.get_mut(&sequence).expect("it was listed above");
                    job.comment = Some(reason);
                }
            }
        }
    }

    fn eligible_at(&self, job: &Job) -> Timestamp {
        let from = job.created + duration(self.settings.queue_delay());
        job.waits_until().map_or(from, |start| start.max(from))
    }

    fn try_place(&self, job: &Job, free: &[FreeNode]) -> Result<(Placement, Vec<FreeNode>), String> {
        let queue =
            self.settings.queue(&job.queue).ok_or_else(|| "Not Running: Queue not started.".to_owned())?;
        if !queue.is_started() {
            return Err("Not Running: Queue not started.".to_owned());
        }
        if let Some(limit) = queue.max_run_per_user {
            let running = self
                .running()
                .filter(|(other, _)| other.owner == job.owner && other.queue == job.queue)
                .count();
            if running >= limit as usize {
                return Err(format!("Not Running: User has reached queue {} running job limit.", job.queue));
            }
        }
        let mut left = free.to_vec();
        let mut placed = Vec::new();
        for chunk in &job.request.chunks {
            for _ in 0..chunk.count {
                let Some(node) = left.iter_mut().find(|node| node.fits(chunk)) else {
                    return Err(self.why_not(job, free));
                };
                placed.push(node.take(chunk));
            }
        }
        Ok((Placement { chunks: placed }, left))
    }

    /// The comment PBS gives a job that found no place: wanted (R), available now (A), there at all (T).
    fn why_not(&self, job: &Job, free: &[FreeNode]) -> String {
        let all: Vec<FreeNode> = self.settings.nodes.iter().map(FreeNode::empty).collect();
        let total_cpus: u32 = all.iter().map(|node| node.ncpus).sum();
        let free_cpus: u32 = free.iter().map(|node| node.ncpus).sum();
        let total_mem: u64 = all.iter().map(|node| node.mem_kb).sum();
        let free_mem: u64 = free.iter().map(|node| node.mem_kb).sum();
        let request = &job.request;
        let mut empty = all.clone();
        let ever = request.chunks.iter().all(|chunk| {
            (0..chunk.count).all(|_| {
                empty.iter_mut().find(|node| node.fits(chunk)).is_some_and(|node| {
                    node.take(chunk);
                    true
                })
            })
        });
        // For a job that can never run, PBS counts everything as available.
        let (head, cpus_there, mem_there) = if ever {
            ("Not Running", free_cpus, free_mem)
        } else {
            ("Can Never Run", total_cpus, total_mem)
        };
        let (cpus, mem) = (request.ncpus(), request.mem_kb().unwrap_or(0));
        if cpus > cpus_there {
            format!(
                "{head}: Insufficient amount of resource: ncpus (R: {cpus} A: {cpus_there} T: {total_cpus})"
            )
        } else if mem > mem_there {
            format!(
                "{head}: Insufficient amount of resource: mem (R: {mem}kb A: {mem_there}kb T: {total_mem}kb)"
            )
        } else if ever {
            format!("{head}: Not enough free nodes available")
        } else {
            format!("{head}: Not enough total nodes available")
        }
    }

    fn running(&self) -> impl Iterator<Item = (&Job, &Placement)> {
        self.memory.jobs.values().filter_map(|job| match &job.state {
            State::Running { placement, .. } => Some((job, placement)),
            State::Queued { .. } | State::Finished { .. } => None,
        })
    }

    fn free_nodes(&self) -> Vec<FreeNode> {
        let mut nodes: Vec<FreeNode> = self.settings.nodes.iter().map(FreeNode::empty).collect();
        for (_, placement) in self.running() {
            for chunk in &placement.chunks {
                if let Some(node) = nodes.iter_mut().find(|node| node.name == chunk.node) {
                    node.give_away(chunk);
                }
            }
        }
        nodes
    }

    /// When [`Batch::tick`] has something to do if nothing else happens.
    pub(crate) fn next_deadline(&self, now: Timestamp) -> Option<Timestamp> {
        self.memory
            .jobs
            .values()
            .filter_map(|job| match &job.state {
                State::Queued { held: true } | State::Finished { .. } => None,
                State::Queued { held: false } => Some(self.eligible_at(job)).filter(|at| *at > now),
                State::Running { started, ending: Ending::ByItself, .. } => {
                    let limit = i64::try_from(job.request.walltime_s?).unwrap_or(i64::MAX / 4);
                    started.checked_add(SignedDuration::from_secs(limit)).ok()
                }
                State::Running { .. } => None,
            })
            .min()
    }

    /// A sequence number from `12`, `12.server`.
    fn find(&self, id: &str) -> Result<(u64, String), Refusal> {
        let full = if id.contains('.') { id.to_owned() } else { format!("{id}.{}", self.server) };
        let (number, server) = id.split_once('.').unwrap_or((id, &self.server));
        number
            .parse::<u64>()
            .ok()
            // As in PBS, a number of ours with another server's name is a job of that server.
            .filter(|sequence| server == self.server && self.memory.jobs.contains_key(sequence))
            .map(|sequence| (sequence, full.clone()))
            .ok_or_else(|| Refusal::unknown_job(&full))
    }
}

/// Fills in the queue's defaults and refuses what goes beyond its maxima.
fn apply_limits(queue: &QueueSettings, request: &mut Request) -> Result<(), Refusal> {
    if request.walltime_s.is_none() {
        let text = queue.default_walltime.as_ref().or(queue.max_walltime.as_ref());
        request.walltime_s = text.and_then(|text| parse_duration(text));
    }
    if request.mem.is_none() {
        request.mem = queue.default_mem.clone().or_else(|| queue.max_mem.clone());
    }
    let over = |value: Option<u64>, limit: Option<u64>| matches!((value, limit), (Some(v), Some(l)) if v > l);
    let mem_max = queue.max_mem.as_deref().and_then(parse_size_kb);
    let walltime_max = queue.max_walltime.as_deref().and_then(parse_duration);
    if over(Some(u64::from(request.ncpus())), queue.max_ncpus.map(u64::from))
        || over(request.mem_kb(), mem_max)
        || over(request.walltime_s, walltime_max)
    {
        return Err(Refusal::over_limit());
    }
    Ok(())
}

fn seconds_between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.duration_since(from).as_secs()).unwrap_or(0)
}

fn duration(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
