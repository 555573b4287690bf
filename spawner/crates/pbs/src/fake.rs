//! A batch system in memory, for tests of those who use one: it does nothing until told to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;

use crate::{
    Array, BatchSystem, DeleteError, Indices, Job, JobId, JobState, Snapshot, StatusError, SubmitError,
    UserName,
};

/// What PBS reports for a job that `qdel` ended.
const EXIT_DELETED: i32 = 271;

#[derive(Debug, Default)]
struct State {
    next: u64,
    jobs: BTreeMap<JobId, Job>,
    submissions: Vec<(UserName, JobId, String)>,
    deletions: Vec<(UserName, JobId)>,
    refusals: VecDeque<SubmitError>,
    trouble: Option<StatusError>,
    delete_trouble: Option<DeleteError>,
    has_holes: bool,
    is_deaf: bool,
    is_blind: bool,
    clock: i64,
    queries: usize,
}

impl State {
    /// With arrays as their jobs make them.
    fn all(&self) -> BTreeMap<JobId, Job> {
        let mut all = self.jobs.clone();
        for (id, array) in all.iter_mut().filter(|(id, _)| id.is_array()) {
            let jobs = self.jobs.values().filter(|job| job.id.array().as_ref() == Some(id));
            let numbers = |wanted: fn(&Job) -> bool| {
                jobs.clone().filter(|job| wanted(job)).filter_map(|job| job.id.index()).collect::<Indices>()
            };
            let of = Array { submitted: numbers(|_| true), waiting: numbers(|job| job.state.is_pending()) };
            array.state = if numbers(|job| !job.state.is_over()).is_empty() {
                JobState::Finished
            } else if of.waiting == of.submitted {
                JobState::Queued
            } else {
                JobState::Begun
            };
            array.array = Some(of);
        }
        all
    }

    /// As `qstat` without `-t`: with `-x` of these jobs, without it of all that are not over.
    fn listed(&self, history_of: Option<&[JobId]>) -> BTreeMap<JobId, Job> {
        let mut all = self.all();
        all.retain(|id, job| {
            id.index().is_none() && history_of.map_or(!job.state.is_over(), |jobs| jobs.contains(id))
        });
        all
    }

    fn snapshot(&self, jobs: BTreeMap<JobId, Job>) -> Result<Snapshot, StatusError> {
        match &self.trouble {
            Some(trouble) => Err(trouble.clone()),
            None => Ok(Snapshot {
                jobs: if self.is_blind { Default::default() } else { jobs },
                server_time: Some(self.clock),
                complete: !self.has_holes,
            }),
        }
    }
}

/// Jobs start, end and vanish when the test says so.
#[derive(Debug, Default)]
pub struct FakeBatch {
    state: Mutex<State>,
}

impl FakeBatch {
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panicking test thread leaves plain data behind, which is as good as before.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The next submission fails like this. May be called several times.
    pub fn refuse_next(&self, error: SubmitError) {
        self.state().refusals.push_back(error);
    }

    /// From now on `jobs` fails like this, or succeeds again.
    pub fn set_status_trouble(&self, trouble: Option<StatusError>) {
        self.state().trouble = trouble;
    }

    /// From now on `delete` fails like this, or succeeds again.
    pub fn set_delete_trouble(&self, trouble: Option<DeleteError>) {
        self.state().delete_trouble = trouble;
    }

    /// From now on snapshots are incomplete, or complete again.
    pub fn set_holes(&self, has_holes: bool) {
        self.state().has_holes = has_holes;
    }

    /// From now on deletions are accepted but end nothing, or end jobs again.
    pub fn set_deaf(&self, is_deaf: bool) {
        self.state().is_deaf = is_deaf;
    }

    /// From now on jobs are kept back from this process (and snapshots call themselves complete all the same).
    pub fn set_blind(&self, is_blind: bool) {
        self.state().is_blind = is_blind;
    }

    pub fn set_server_time(&self, seconds: i64) {
        self.state().clock = seconds;
    }

    /// Changes a job at will. Panics if there is none of this id.
    pub fn edit(&self, id: &JobId, change: impl FnOnce(&mut Job)) {
        change(self.state().jobs.get_mut(id).unwrap_or_else(|| panic!("the fake has no job {id}")));
    }

    pub fn start(&self, id: &JobId, host: &str) {
        let now = self.state().clock;
        self.edit(id, |job| {
            job.state = JobState::Running;
            job.exec_host = Some(host.to_owned());
            job.start_time = Some(now);
            job.comment = Some(format!("Job run on ({host}:ncpus=1)"));
        });
    }

    /// The server takes a running job from its node and will begin it anew.
    pub fn queue_again(&self, id: &JobId) {
        self.edit(id, |job| {
            job.state = JobState::Queued;
            job.exec_host = None;
            job.start_time = None;
            job.comment = None;
        });
    }

    pub fn finish(&self, id: &JobId, exit_status: i32, comment: &str) {
        self.edit(id, |job| {
            job.state = JobState::Finished;
            job.exit_status = Some(exit_status);
            job.comment = Some(comment.to_owned());
        });
    }

    /// The server no longer knows the job.
    pub fn forget(&self, id: &JobId) {
        self.state().jobs.remove(id);
    }

    /// A job that somebody submitted past us.
    pub fn insert(&self, job: Job) {
        self.state().jobs.insert(job.id.clone(), job);
    }

    /// Every accepted submission: user, id, script.
    pub fn submissions(&self) -> Vec<(UserName, JobId, String)> {
        self.state().submissions.clone()
    }

    /// Every call of `delete` that was accepted.
    pub fn deletions(&self) -> Vec<(UserName, JobId)> {
        self.state().deletions.clone()
    }

    /// How often `jobs` was called.
    pub fn queries(&self) -> usize {
        self.state().queries
    }
}

/// The value of `#PBS -X value` in a script.
fn directive(script: &str, option: &str) -> Option<String> {
    script
        .lines()
        .filter_map(|line| line.strip_prefix("#PBS "))
        .find_map(|rest| rest.trim().strip_prefix(option).map(|value| value.trim().to_owned()))
}

#[async_trait]
impl BatchSystem for FakeBatch {
    async fn submit(&self, user: &UserName, script: &str) -> Result<JobId, SubmitError> {
        let mut state = self.state();
        if let Some(error) = state.refusals.pop_front() {
            return Err(error);
        }
        state.next += 1;
        let id: JobId = format!("{}.fake", state.next)
            .parse()
            .map_err(|error| SubmitError::Failed { message: format!("{error}") })?;
        let indices = match directive(script, "-J") {
            Some(text) => Some(text.parse::<Indices>().map_err(|error| SubmitError::Rejected {
                exit_code: 2,
                words: error.to_string(),
                kind: crate::Rejection::Other,
            })?),
            None => None,
        };
        let id = if indices.is_some() { id.as_array() } else { id };
        let job = Job {
            name: directive(script, "-N").unwrap_or_else(|| "STDIN".to_owned()),
            owner: user.to_string(),
            queue: directive(script, "-q").unwrap_or_else(|| "workq".to_owned()),
            queued_at: Some(state.clock),
            eligible_since: Some(state.clock),
            ..Job::new(id.clone(), JobState::Queued)
        };
        for index in indices.iter().flat_map(Indices::iter) {
            let one = id.sub_job(index);
            state.jobs.insert(one.clone(), Job { id: one, ..job.clone() });
        }
        state.jobs.insert(id.clone(), job);
        state.submissions.push((user.clone(), id.clone(), script.to_owned()));
        Ok(id)
    }

    async fn jobs(&self) -> Result<Snapshot, StatusError> {
        let mut state = self.state();
        state.queries += 1;
        state.snapshot(state.listed(None))
    }

    async fn remembered(&self, jobs: &[JobId]) -> Result<Snapshot, StatusError> {
        let mut state = self.state();
        state.queries += 1;
        state.snapshot(state.listed(Some(jobs)))
    }

    async fn sub_jobs(&self, arrays: &[JobId]) -> Result<Snapshot, StatusError> {
        let mut state = self.state();
        state.queries += 1;
        let asked =
            |id: &JobId| arrays.contains(id) || id.array().is_some_and(|array| arrays.contains(&array));
        match &state.trouble {
            Some(trouble) => Err(trouble.clone()),
            None => Ok(Snapshot {
                jobs: state.all().into_iter().filter(|(id, _)| asked(id)).collect(),
                server_time: Some(state.clock),
                complete: !state.has_holes,
            }),
        }
    }

    async fn sees_all_jobs(&self) -> Result<bool, StatusError> {
        Ok(!self.state().is_blind)
    }

    async fn delete(&self, user: &UserName, job: &JobId) -> Result<(), DeleteError> {
        let mut state = self.state();
        if let Some(trouble) = &state.delete_trouble {
            return Err(trouble.clone());
        }
        let is_deaf = state.is_deaf;
        for found in
            state.jobs.values_mut().filter(|found| found.id == *job || found.id.array().as_ref() == Some(job))
        {
            if found.owner != user.as_str() {
                return Err(DeleteError::Rejected {
                    exit_code: 159,
                    words: format!("Unauthorized Request  {job}"),
                });
            }
            if !found.state.is_over() && !is_deaf {
                found.exit_status = found.start_time.map(|_| EXIT_DELETED);
                found.state = JobState::Finished;
                found.comment = Some(format!("Job terminated by {user}@fake"));
            }
        }
        state.deletions.push((user.clone(), job.clone()));
        Ok(())
    }
}
