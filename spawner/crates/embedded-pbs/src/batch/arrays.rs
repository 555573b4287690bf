//! Owns what differs for arrays: whether one may be submitted, what becomes of it when its jobs end or are deleted, and
//! how many of its jobs are in which state.

use jiff::Timestamp;
use nuna_pbs::Indices;

use super::{Array, Batch, Effect, Ending, Job, Key, Kill, State};
use crate::{error::Refusal, job::Counts, protocol::Submission, settings::QueueSettings};

impl Batch {
    /// The array that a submission asks for, if it asks for one.
    pub(super) fn array_of(
        &self,
        queue: &QueueSettings,
        submission: &Submission,
    ) -> Result<Option<Array>, Refusal> {
        let Some((text, running_max)) = &submission.array else { return Ok(None) };
        let indices: Indices = text.parse().map_err(|_| Refusal::bad_value("array_indices_submitted"))?;
        let most = queue
            .max_array_size
            .map_or(self.settings.max_array_size, |most| most.min(self.settings.max_array_size));
        if indices.count() > u64::from(most) {
            return Err(Refusal::array_too_large());
        }
        Ok(Some(Array::new(&indices, text, *running_max)))
    }

    /// Jobs that wait or run, those of arrays each.
    pub(super) fn unfinished(&self, wanted: impl Fn(&Job) -> bool) -> usize {
        let jobs = self.memory.jobs.values().filter(|job| !job.is_finished() && wanted(job));
        jobs.map(|job| job.array.as_ref().map_or(1, |array| array.waiting.len())).sum()
    }

    /// Jobs of an array that have begun.
    pub(super) fn begun_of(&self, sequence: u64) -> impl Iterator<Item = &Job> {
        let of = |index| Key { sequence, index: Some(index) };
        self.memory.jobs.range(of(0)..=of(u32::MAX)).map(|(_, job)| job)
    }

    pub(super) fn counts(&self, job: &Job) -> Counts {
        let Some(array) = &job.array else { return Counts::default() };
        // As in PBS, an array that is over counts nothing any more.
        if job.is_finished() {
            return Counts::default();
        }
        let running = self.begun_of(job.sequence).filter(|job| !job.is_finished()).count();
        let queued = array.waiting.len();
        Counts { queued, running, expired: array.indices().len() - queued - running }
    }

    /// `qdel 12[]`.
    pub(super) fn delete_array(
        &mut self,
        now: Timestamp,
        by: &str,
        sequence: u64,
        full: &str,
        force: bool,
        forget: bool,
    ) -> Result<Vec<Effect>, Refusal> {
        let key = Key::alone(sequence);
        let job = self.memory.jobs.get_mut(&key).expect("find gave an existing job");
        if job.is_finished() && !forget {
            return Err(Refusal::job_finished_delete(full));
        }
        let who = format!("{by}@{}", job.submission.host);
        if let Some(array) = &mut job.array {
            array.waiting.clear();
            array.deleted = Some(who.clone());
        }
        let mut effects = self.stop(now, sequence, &who, force, |_| true);
        if effects.is_empty() {
            effects.extend(self.settle(now, key));
            if forget {
                self.memory.jobs.retain(|other, _| other.sequence != sequence);
            }
        }
        Ok(effects)
    }

    /// `qdel 12[3]` and `qdel 12[2-9:2]`.
    pub(super) fn delete_some(
        &mut self,
        now: Timestamp,
        by: &str,
        sequence: u64,
        indices: &Indices,
        full: &str,
        force: bool,
    ) -> Result<Vec<Effect>, Refusal> {
        let key = Key::alone(sequence);
        let job = self.memory.jobs.get_mut(&key).expect("find gave an existing job");
        if job.is_finished() {
            return Err(Refusal::job_finished_delete(full));
        }
        let who = format!("{by}@{}", job.submission.host);
        let before = job.array.as_ref().map_or(0, |array| array.waiting.len());
        if let Some(array) = &mut job.array {
            array.waiting.retain(|index| !indices.contains(*index));
        }
        let waited = before - job.array.as_ref().map_or(0, |array| array.waiting.len());
        let mut effects = self.stop(now, sequence, &who, force, |index| indices.contains(index));
        // Of several, those that are over are passed over.
        if waited == 0 && effects.is_empty() && indices.count() == 1 {
            return Err(Refusal::array_job_over(full));
        }
        effects.extend(self.settle(now, key));
        Ok(effects)
    }

    /// Ends those jobs of an array that run.
    fn stop(
        &mut self,
        now: Timestamp,
        sequence: u64,
        who: &str,
        force: bool,
        wanted: impl Fn(u32) -> bool,
    ) -> Vec<Effect> {
        let kill = if force { Kill::Now } else { Kill::Gently };
        let mut effects = Vec::new();
        for job in self.memory.jobs.values_mut().filter(|job| job.sequence == sequence) {
            if let State::Running { ending, .. } = &mut job.state
                && job.index.is_some_and(&wanted)
            {
                *ending = Ending::Deleted { by: who.to_owned() };
                job.modified = now;
                effects.push(Effect::Stop { key: job.key(), kill });
            }
        }
        effects
    }

    /// A job of that array is over.
    pub(super) fn one_of_array_ended(
        &mut self,
        now: Timestamp,
        key: Key,
        exit_status: i32,
    ) -> Option<Effect> {
        if let Some(array) = self.memory.jobs.get_mut(&key).and_then(|job| job.array.as_mut()) {
            array.exit_status = Some(match exit_status {
                0 => 0,
                1.. => 1,
                _ => 2,
            });
        }
        self.settle(now, key)
    }

    /// An array none of whose jobs waits or runs is over, and its jobs are history with it.
    fn settle(&mut self, now: Timestamp, key: Key) -> Option<Effect> {
        let job = self.memory.jobs.get(&key)?;
        let array = job.array.as_ref()?;
        let runs = self.begun_of(key.sequence).any(|job| !job.is_finished());
        if job.is_finished() || runs || !array.waiting.is_empty() {
            return None;
        }
        let job = self.memory.jobs.get_mut(&key)?;
        let array = job.array.as_mut()?;
        let (substate, words) = match (&array.deleted, array.exit_status) {
            (Some(by), _) => (91, format!("terminated by {by}")),
            (None, Some(0)) => (92, "finished".to_owned()),
            (None, Some(_)) => (93, "failed".to_owned()),
            // Each job of it was deleted before it began.
            (None, None) => (91, "terminated".to_owned()),
        };
        job.comment = Some(match job.comment.take() {
            Some(comment) => format!("{comment} and {words}"),
            None => format!("Job {words}"),
        });
        job.state = State::Finished { ran: None, ended: now, substate };
        job.modified = now;
        for job in self.memory.jobs.values_mut().filter(|job| job.sequence == key.sequence) {
            job.expired = false;
        }
        Some(Effect::Forget { key })
    }
}
