//! What is known of jobs at one moment.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::{Indices, JobId};

/// The states of a job, which are PBS's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobState {
    Queued,
    Held,
    /// Until its start time, or for files.
    Waiting,
    /// Between two servers.
    Transit,
    Running,
    /// By the scheduler (`S`) or because the machine's owner is back (`U`).
    Suspended,
    Exiting,
    Finished,
    /// Now another server's.
    Moved,
    /// An array of which at least one job has started.
    Begun,
    /// A job of an array that is over (`X`).
    Expired,
    /// A letter of a newer PBS, `?` for a word of a newer Slurm.
    Other(char),
}

impl JobState {
    pub fn from_letter(letter: char) -> Self {
        match letter {
            'Q' => Self::Queued,
            'H' => Self::Held,
            'W' => Self::Waiting,
            'T' => Self::Transit,
            'R' => Self::Running,
            'S' | 'U' => Self::Suspended,
            'E' => Self::Exiting,
            'F' => Self::Finished,
            'M' => Self::Moved,
            'B' => Self::Begun,
            'X' => Self::Expired,
            other => Self::Other(other),
        }
    }

    /// Nothing of the job runs any more on this server, nor ever will.
    pub fn is_over(self) -> bool {
        match self {
            Self::Finished | Self::Moved | Self::Expired => true,
            Self::Queued
            | Self::Held
            | Self::Waiting
            | Self::Transit
            | Self::Running
            | Self::Suspended
            | Self::Exiting
            | Self::Begun
            | Self::Other(_) => false,
        }
    }

    /// It has not started yet.
    pub fn is_pending(self) -> bool {
        match self {
            Self::Queued | Self::Held | Self::Waiting | Self::Transit => true,
            Self::Running
            | Self::Suspended
            | Self::Exiting
            | Self::Finished
            | Self::Moved
            | Self::Begun
            | Self::Expired
            | Self::Other(_) => false,
        }
    }
}

/// One job. Times are seconds since the epoch by the server's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub id: JobId,
    pub name: String,
    /// Without `@host`. Empty if PBS would not say.
    pub owner: String,
    pub state: JobState,
    pub queue: String,
    /// Why it waits, or how it ended, in the batch system's words without control characters.
    pub comment: Option<String>,
    /// The scheduler says that nothing it has could ever run it as it was asked for.
    pub never_runs: bool,
    /// The first host of `exec_host`.
    pub exec_host: Option<String>,
    /// As PBS counts: 256 and a signal's number added, negative for PBS's own reasons (−29: walltime).
    pub exit_status: Option<i32>,
    /// When the scheduler thinks it will start.
    pub estimated_start: Option<i64>,
    pub start_time: Option<i64>,
    /// What it asked for.
    pub walltime: Option<Duration>,
    pub walltime_used: Option<Duration>,
    /// When it entered the queue (`qtime`).
    pub queued_at: Option<i64>,
    /// Since when it could run (`etime`); absent while held or waiting.
    pub eligible_since: Option<i64>,
    /// If it is an array, which of its jobs there are.
    pub array: Option<Array>,
}

/// What an array's own record says of its jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array {
    /// All, as submitted.
    pub submitted: Indices,
    /// Those that have neither begun nor been deleted.
    pub waiting: Indices,
}

impl Job {
    /// A job about which only id and state are known.
    pub fn new(id: JobId, state: JobState) -> Self {
        Self {
            id,
            name: String::new(),
            owner: String::new(),
            state,
            queue: String::new(),
            comment: None,
            never_runs: false,
            exec_host: None,
            exit_status: None,
            estimated_start: None,
            start_time: None,
            walltime: None,
            walltime_used: None,
            queued_at: None,
            eligible_since: None,
            array: None,
        }
    }

    /// The jobs of an array of which its own record says all there is: those that wait, while none has begun. Nothing if
    /// PBS has to be asked for them, or if this is no array.
    pub fn untouched(&self) -> Option<Vec<Self>> {
        let array = self.array.as_ref()?;
        if !self.state.is_pending() || array.waiting != array.submitted {
            return None;
        }
        let job = |index| Self { id: self.id.sub_job(index), array: None, ..self.clone() };
        Some(array.submitted.iter().map(job).collect())
    }
}

/// All jobs at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub jobs: BTreeMap<JobId, Job>,
    /// The server's clock, seconds since the epoch.
    pub server_time: Option<i64>,
    /// Whether a job that is not listed is certainly unknown to the server. False if PBS reported trouble
    /// beside its list, or if part of the list could not be read.
    pub complete: bool,
}

/// What a snapshot says about one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence<'snapshot> {
    Listed(&'snapshot Job),
    /// The server does not know it (any more).
    Absent,
    /// It is not listed, but the list has holes.
    Unknown,
}

/// How many jobs of the same queue became eligible earlier. An estimate: schedulers reorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuePosition {
    pub ahead: usize,
    pub waiting: usize,
}

impl Snapshot {
    pub fn presence(&self, id: &JobId) -> Presence<'_> {
        // Some sites print the server's full name in one command and its short one in another.
        let same = || self.jobs.values().find(|job| job.id.is_same_job(id));
        let listed = self.jobs.get(id).or_else(same);
        match listed {
            Some(job) => Presence::Listed(job),
            None if self.complete => Presence::Absent,
            None => Presence::Unknown,
        }
    }

    /// Where each queued job stands, by the ids of `jobs`. All at once: each for itself would look at all others.
    pub fn positions(&self) -> HashMap<&JobId, QueuePosition> {
        let since = |job: &Job| (job.eligible_since.or(job.queued_at).unwrap_or(i64::MAX), job.id.sequence());
        let mut queues: HashMap<&str, Vec<_>> = HashMap::new();
        for job in self.jobs.values().filter(|job| job.state == JobState::Queued) {
            queues.entry(&job.queue).or_default().push((since(job), &job.id));
        }
        let mut positions = HashMap::new();
        for waiting in queues.values_mut() {
            waiting.sort_unstable();
            let (mut ahead, mut last) = (0, None);
            for (index, (since, id)) in waiting.iter().enumerate() {
                // Jobs of one array became eligible together.
                if last != Some(since) {
                    (ahead, last) = (index, Some(since));
                }
                positions.insert(*id, QueuePosition { ahead, waiting: waiting.len() });
            }
        }
        positions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> JobId {
        text.parse().unwrap()
    }

    fn snapshot(jobs: &[(&str, JobState, &str, i64)], complete: bool) -> Snapshot {
        let jobs = jobs.iter().map(|(name, state, queue, since)| {
            let job = Job {
                queue: (*queue).to_owned(),
                eligible_since: Some(*since),
                ..Job::new(id(name), *state)
            };
            (id(name), job)
        });
        Snapshot { jobs: jobs.collect(), server_time: None, complete }
    }

    #[test]
    fn silence_of_a_list_with_holes_means_nothing() {
        let jobs = [("5.head", JobState::Running, "short", 0)];
        assert_eq!(snapshot(&jobs, true).presence(&id("6.head")), Presence::Absent);
        assert_eq!(snapshot(&jobs, false).presence(&id("6.head")), Presence::Unknown);
        assert!(matches!(snapshot(&jobs, false).presence(&id("5.head.example.org")), Presence::Listed(_)));
    }

    #[test]
    fn position_counts_earlier_jobs_of_the_same_queue() {
        let jobs = [
            ("1.head", JobState::Running, "short", 1),
            ("2.head", JobState::Queued, "short", 5),
            ("3.head", JobState::Queued, "short", 3),
            ("4.head", JobState::Queued, "long", 1),
            ("5.head", JobState::Queued, "short", 5),
            ("6.head", JobState::Held, "short", 1),
        ];
        let snapshot = snapshot(&jobs, true);
        let positions = snapshot.positions();
        let at = |name: &str| positions.get(&id(name)).copied();
        assert_eq!(at("3.head"), Some(QueuePosition { ahead: 0, waiting: 3 }));
        assert_eq!(at("2.head"), Some(QueuePosition { ahead: 1, waiting: 3 }));
        assert_eq!(at("5.head"), Some(QueuePosition { ahead: 2, waiting: 3 }));
        assert_eq!(at("4.head"), Some(QueuePosition { ahead: 0, waiting: 1 }));
        assert_eq!(at("6.head"), None);
        assert_eq!(at("1.head"), None);
        assert_eq!(positions.len(), 4);
    }

    #[test]
    fn every_state_is_pending_or_over_or_neither() {
        for letter in "QHWTRSUEFMBXz".chars() {
            let state = JobState::from_letter(letter);
            assert!(!(state.is_over() && state.is_pending()), "{letter}");
            assert_eq!(state.is_pending(), "QHWT".contains(letter), "{letter}");
            assert_eq!(state.is_over(), "FMX".contains(letter), "{letter}");
        }
    }
}
