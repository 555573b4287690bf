//! The seam between those who need jobs and the batch system that runs them.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::{DeleteError, JobId, Presence, Queues, Snapshot, StatusError, SubmitError, UserName};

/// A batch system. Every call has a time limit of its own; none retries.
#[async_trait]
pub trait BatchSystem: Send + Sync {
    /// Submits `script`, the whole text with its `#PBS` lines, as `user`. Returns once the job's id is known.
    ///
    /// After [`SubmitError::TimedOut`] the job may exist all the same: look for its name in a later snapshot.
    async fn submit(&self, user: &UserName, script: &str) -> Result<JobId, SubmitError>;

    /// All jobs of the server that this process may see and that are not over; some that are may be among them. An array is one
    /// of them; its jobs are not (see [`BatchSystem::sub_jobs`] and [`crate::Job::untouched`]).
    ///
    /// One query, however many jobs the caller follows.
    async fn jobs(&self) -> Result<Snapshot, StatusError>;

    /// What the server still knows of these jobs, over or not; one query for some hundreds. Nothing, where
    /// [`BatchSystem::jobs`] lists all that is remembered.
    async fn remembered(&self, jobs: &[JobId]) -> Result<Snapshot, StatusError> {
        let _ = jobs;
        Ok(Snapshot { jobs: BTreeMap::new(), server_time: None, complete: true })
    }

    /// [`BatchSystem::jobs`], and those of `followed` that are over, as far as the server remembers them. See
    /// [`Snapshot::presence`] for what its silence means of jobs that are followed.
    ///
    /// The history of a server is all users' jobs of two weeks: asked for as a whole it would be hundreds of megabytes
    /// each time, so only those are asked for by name that were there before and are not any more.
    async fn follow(&self, followed: &[JobId]) -> Result<Snapshot, StatusError> {
        self.follow_counted(followed).await.map(|(snapshot, _)| snapshot)
    }

    /// The same, and how many queries it took.
    async fn follow_counted(&self, followed: &[JobId]) -> Result<(Snapshot, u32), StatusError> {
        let mut queries = 1;
        let mut snapshot = self.jobs().await?;
        let is_missing = |job: &&JobId| !matches!(snapshot.presence(job), Presence::Listed(_));
        let missing: Vec<JobId> = followed.iter().filter(is_missing).cloned().collect();
        if !missing.is_empty() {
            let more = self.remembered(&missing).await?;
            snapshot.jobs.extend(more.jobs);
            snapshot.complete &= more.complete;
            queries += 1;
        }
        Ok((snapshot, queries))
    }

    /// The queues as they are at this moment: what they allow, what runs and waits in them, what is free. One query, whoever asks.
    /// Nothing is known of the queues of a batch system that does not say.
    async fn queue_states(&self) -> Result<Queues, StatusError> {
        Ok(Queues::default())
    }

    /// These arrays with all of their jobs, over or not; one query. What is not listed of an array is unknown to the server.
    async fn sub_jobs(&self, arrays: &[JobId]) -> Result<Snapshot, StatusError>;

    /// Whether [`BatchSystem::jobs`] shows the jobs of all users: a server may keep them from this process, and what
    /// it keeps back looks like what is gone.
    async fn sees_all_jobs(&self) -> Result<bool, StatusError> {
        Ok(true)
    }

    /// Deletes `job` of `user`. A job that is finished or unknown counts as deleted.
    ///
    /// Returns when PBS has accepted the request; the job ends some seconds later.
    async fn delete(&self, user: &UserName, job: &JobId) -> Result<(), DeleteError>;

    /// The same for several jobs of `user`, in few requests. The first failure is told after all were tried.
    async fn delete_all(&self, user: &UserName, jobs: &[JobId]) -> Result<(), DeleteError> {
        let mut outcome = Ok(());
        for job in jobs {
            outcome = outcome.and(self.delete(user, job).await);
        }
        outcome
    }
}
