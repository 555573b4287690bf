//! The batch system as a state machine: jobs, queues and nodes. No sockets, no processes, no clock.
//!
//! What is shown of it is in `reports`, the room on nodes in `nodes`, what differs for arrays in `arrays`.
//! `server` brings requests and the ends of processes, and carries out the [`Effect`]s.

mod arrays;
mod nodes;
mod reports;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use nuna_pbs::Indices;
use serde::{Deserialize, Serialize};

use crate::error::Refusal;
use crate::job::{Array, Ending, Job, Key, Placement, Ran, State, Used, begun_comment, run_comment};
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
        key: Key,
    },
    Stop {
        key: Key,
        kill: Kill,
    },
    /// The job is over: its script and spool files may go.
    Forget {
        key: Key,
    },
}

/// The part that survives a restart.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    next_sequence: u64,
    jobs: BTreeMap<Key, Job>,
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
        let running: Vec<Key> = batch
            .memory
            .jobs
            .values()
            .filter(|job| matches!(job.state, State::Running { .. }))
            .map(Job::key)
            .collect();
        for key in running {
            batch.exited(now, key, EXIT_LOST, None);
            let job = batch.memory.jobs.get_mut(&key).expect("it was listed above");
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

    pub(crate) fn job(&self, key: Key) -> Option<&Job> {
        self.memory.jobs.get(&key)
    }

    /// The number in an id of ours.
    pub(crate) fn sequence(&self, id: &str) -> u64 {
        let digits = id.bytes().take_while(u8::is_ascii_digit).count();
        id[..digits].parse().unwrap_or(u64::MAX)
    }

    /// Gives the id.
    pub(crate) fn submit(
        &mut self,
        now: Timestamp,
        owner: &str,
        submission: Submission,
    ) -> Result<String, Refusal> {
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
        let array = self.array_of(queue, &submission)?;
        let count = array.as_ref().map_or(1, |array| array.waiting.len());
        if self.unfinished(|_| true) + count > self.settings.jobs_max {
            return Err(Refusal::too_many_jobs(self.settings.jobs_max));
        }
        if let Some(most) = queue.max_queued_per_user
            && self.unfinished(|job| job.owner == owner && job.queue == name) + count > most as usize
        {
            return Err(Refusal::too_many_of_user(&name));
        }
        let sequence = self.memory.next_sequence;
        self.memory.next_sequence += 1;
        let state = State::Queued { held: submission.hold };
        let job = Job {
            sequence,
            index: None,
            array,
            expired: false,
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
        let id = job.id(&self.server);
        self.memory.jobs.insert(job.key(), job);
        Ok(id)
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
        let (target, full) = self.find(id)?;
        let owner = &self.memory.jobs[&Key::alone(target.sequence())].owner;
        if owner != by && by != self.manager {
            return Err(Refusal::not_yours(&full));
        }
        match target {
            Target::Job(key) => self.delete_job(now, by, key, &full, force, forget),
            Target::Array(sequence) => self.delete_array(now, by, sequence, &full, force, forget),
            Target::Some { sequence, indices } => self.delete_some(now, by, sequence, &indices, &full, force),
        }
    }

    /// One that is no array.
    fn delete_job(
        &mut self,
        now: Timestamp,
        by: &str,
        key: Key,
        full: &str,
        force: bool,
        forget: bool,
    ) -> Result<Vec<Effect>, Refusal> {
        let job = self.memory.jobs.get_mut(&key).expect("find gave an existing job");
        let host = job.submission.host.clone();
        match &mut job.state {
            State::Finished { .. } => {
                if forget {
                    self.memory.jobs.remove(&key);
                    return Ok(Vec::new());
                }
                Err(Refusal::job_finished_delete(full))
            }
            State::Queued { .. } => {
                if forget {
                    self.memory.jobs.remove(&key);
                    return Ok(vec![Effect::Forget { key }]);
                }
                let who = format!("terminated by {by}@{host}");
                job.comment = Some(match job.comment.take() {
                    Some(comment) => format!("{comment} and {who}"),
                    None => format!("Job {who}"),
                });
                job.state = State::Finished { ran: None, ended: now, substate: 91 };
                job.modified = now;
                Ok(vec![Effect::Forget { key }])
            }
            State::Running { ending, .. } => {
                // One whose walltime is over is on its way out already, and was ended by that.
                if *ending != Ending::Walltime {
                    *ending = Ending::Deleted { by: format!("{by}@{host}") };
                }
                job.modified = now;
                Ok(vec![Effect::Stop { key, kill: if force { Kill::Now } else { Kill::Gently } }])
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
        let (target, full) = self.find(id)?;
        let manager = self.manager.clone();
        let key = match target {
            Target::Job(key) => key,
            Target::Array(sequence) => Key::alone(sequence),
            // As in PBS, only an array can be held as a whole.
            Target::Some { .. } => return Err(Refusal::invalid_request(&full)),
        };
        let job = self.memory.jobs.get_mut(&key).expect("find gave an existing job");
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
    pub(crate) fn began(&mut self, now: Timestamp, key: Key, pid: u32) {
        if let Some(job) = self.memory.jobs.get_mut(&key)
            && let State::Running { session, .. } = &mut job.state
        {
            *session = Some(pid);
            job.modified = now;
        }
    }

    /// All of the job's processes are gone.
    pub(crate) fn exited(
        &mut self,
        now: Timestamp,
        key: Key,
        status: i32,
        used: Option<Used>,
    ) -> Vec<Effect> {
        let mut effects = vec![Effect::Forget { key }];
        let Some(job) = self.memory.jobs.get_mut(&key) else { return effects };
        let State::Running { placement, started, session, ending } = &job.state else { return effects };
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
        if let Some(array) = key.array() {
            job.expired = true;
            effects.extend(self.one_of_array_ended(now, array, exit_status));
        }
        effects
    }

    pub(crate) fn measured(&mut self, now: Timestamp, key: Key, used: Used) {
        if let Some(job) = self.memory.jobs.get_mut(&key)
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
                effects.push(Effect::Stop { key: job.key(), kill: Kill::Gently });
            }
        }
    }

    fn expire_history(&mut self, now: Timestamp) {
        let kept_s = self.settings.history_seconds;
        let old: Vec<Key> = self
            .memory
            .jobs
            .values()
            .filter(|job| match &job.state {
                // Jobs of an array are kept as long as it is.
                State::Finished { ended, .. } => {
                    job.index.is_none() && seconds_between(*ended, now) >= kept_s
                }
                State::Queued { .. } | State::Running { .. } => false,
            })
            .map(Job::key)
            .collect();
        if !old.is_empty() {
            self.memory.jobs.retain(|key, _| !old.contains(&key.array().unwrap_or(*key)));
        }
    }

    /// First in, first out, with later jobs filling what earlier ones cannot use.
    fn schedule(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let mut free = self.free_nodes();
        let mut order: Vec<(i32, u64)> = self
            .memory
            .jobs
            .values()
            .filter(|job| matches!(job.letter(now), 'Q' | 'B') && self.eligible_at(job) <= now)
            .map(|job| (-job.submission.priority, job.sequence))
            .collect();
        order.sort_unstable();
        for (_, sequence) in order {
            let key = Key::alone(sequence);
            loop {
                let job = &self.memory.jobs[&key];
                let next = match &job.array {
                    None => None,
                    Some(array) => match array.waiting.first() {
                        Some(&index) => Some(index),
                        None => break,
                    },
                };
                match self.try_place(job, &free) {
                    Ok((placement, left)) => {
                        free = left;
                        self.nodes_used = now;
                        effects.push(Effect::Start { key: self.run(now, key, next, placement) });
                    }
                    Err(reason) => {
                        let job = self.memory.jobs.get_mut(&key).expect("it was listed above");
                        // An array that has begun says when it did.
                        if next.is_none() || job.letter(now) == 'Q' {
                            job.comment = Some(reason);
                        }
                        break;
                    }
                }
                if next.is_none() {
                    break;
                }
            }
        }
    }

    /// The job, or the job `next` of the array, is to run there. Gives its key.
    fn run(&mut self, now: Timestamp, key: Key, next: Option<u32>, placement: Placement) -> Key {
        let job = self.memory.jobs.get_mut(&key).expect("the caller has looked at it");
        let comment = Some(run_comment(now, &placement));
        let state = State::Running { placement, started: now, session: None, ending: Ending::ByItself };
        let Some(index) = next else {
            (job.comment, job.state, job.modified) = (comment, state, now);
            return key;
        };
        let one = Job { comment, state, modified: now, ..job.sub_job(index) };
        if let Some(array) = &mut job.array {
            array.waiting.remove(&index);
            if !array.begun {
                array.begun = true;
                job.comment = Some(begun_comment(now));
                job.modified = now;
            }
        }
        let key = one.key();
        self.memory.jobs.insert(key, one);
        key
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
        if let Some(most) = job.array.as_ref().and_then(|array| array.running_max) {
            let running = self.running().filter(|(other, _)| other.sequence == job.sequence).count();
            if running >= most as usize {
                return Err("Not Running: Number of concurrent running subjobs limit reached".to_owned());
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

    /// What an id means: `12`, `12.server`, `12[].server`, `12[3].server`, `12[1-5,7].server`.
    fn find(&self, id: &str) -> Result<(Target, String), Refusal> {
        let full = if id.contains('.') { id.to_owned() } else { format!("{id}.{}", self.server) };
        let (number, server) = id.split_once('.').unwrap_or((id, &self.server));
        let unknown = || Refusal::unknown_job(&full);
        let (digits, brackets) = match number.split_once('[') {
            Some((digits, rest)) => (digits, Some(rest.strip_suffix(']').ok_or_else(unknown)?)),
            None => (number, None),
        };
        let sequence = digits.parse::<u64>().map_err(|_| unknown())?;
        // As in PBS, a number of ours with another server's name is a job of that server.
        let job = self.memory.jobs.get(&Key::alone(sequence)).filter(|_| server == self.server);
        let job = job.ok_or_else(unknown)?;
        let target = match (&job.array, brackets) {
            (None, None) => Target::Job(job.key()),
            (Some(_), Some("")) => Target::Array(sequence),
            (Some(array), Some(text)) => {
                let indices: Indices = text.parse().map_err(|_| unknown())?;
                // Ranges may reach beyond the array; they have to begin in it.
                let first = indices
                    .iter()
                    .next()
                    .filter(|&index| array.has(index) || text.contains(['-', ',']) && array.reaches(index));
                first.ok_or_else(unknown)?;
                Target::Some { sequence, indices }
            }
            // An array's number alone is nobody's, and neither is an index of what is no array.
            (None, Some(_)) | (Some(_), None) => return Err(unknown()),
        };
        Ok((target, full))
    }
}

/// What a command is about.
enum Target {
    /// No array, nor of one.
    Job(Key),
    Array(u64),
    /// Jobs of an array.
    Some {
        sequence: u64,
        indices: Indices,
    },
}

impl Target {
    fn sequence(&self) -> u64 {
        match self {
            Self::Job(key) => key.sequence,
            Self::Array(sequence) | Self::Some { sequence, .. } => *sequence,
        }
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
