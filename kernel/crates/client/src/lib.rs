//! Owns the client's side of a cluster: plans go out, results come back, for programs that know nothing of sockets.
//! [`Client`] implements [`nuna_plan::Engine`]; its calls block, and a thread of its own keeps the connection.
//!
//! Leaves to others: starting and finding clusters (`cluster`), where blocks run (`scheduler`), and what they mean.

#![forbid(unsafe_code)]

mod awaited;
mod connection;
mod running;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use nuna_plan::{Engine, EngineError, HeldId, Plan, Running};
use nuna_wire::{ClusterFile, Connector, Credentials, Outbox, Party, Payload, message::FromClient};

pub use nuna_wire::message::{Ask, ClusterInfo, PublishError, Published, Told, WorkerInfo};

use connection::{Shared, Update};
use running::RunningPlan;

/// The scheduler answers between two messages of workers.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);
/// How long a scheduler is waited for that takes the place of a lost one.
const SCHEDULER_PATIENCE: Duration = Duration::from_secs(60);

/// A connection to a cluster. Clones share it; it ends with the last of them.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    outbox: Outbox<FromClient>,
    next_submission: AtomicU32,
    next_request: AtomicU32,
    next_held: AtomicU64,
}

impl Client {
    /// Connects to a running cluster.
    ///
    /// # Errors
    /// If its credentials cannot be read, it does not answer, or it runs another build of Nuna.
    pub fn connect(file: &ClusterFile) -> Result<Self, EngineError> {
        Self::connect_with(file, SCHEDULER_PATIENCE)
    }

    /// Connects to a running cluster. If its scheduler is lost, another is waited for so long.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect_with(file: &ClusterFile, patience: Duration) -> Result<Self, EngineError> {
        let lost = |error: &dyn std::fmt::Display| EngineError::Lost {
            engine: format!("cluster {}", file.name),
            message: error.to_string(),
        };
        let credentials =
            Credentials::read(&file.certificates, Party::Client).map_err(|error| lost(&error))?;
        let build = nuna_ship::build_id().to_string();
        let connector = Connector::new(&credentials, &build).map_err(|error| lost(&error))?;
        let (sender, receiver) = mpsc::channel();
        let way = connection::Way {
            name: file.name.clone(),
            address: file.scheduler,
            // Beside the folder of certificates, under the same name.
            file: file.certificates.with_extension("json"),
            connector,
            patience,
        };
        std::thread::Builder::new()
            .name("nuna-client".into())
            .spawn(move || connection::run(way, &sender))
            .map_err(|error| lost(&error))?;
        let (shared, outbox) = receiver
            .recv()
            .map_err(|_| lost(&"the connection's thread ended before it was up"))?
            .map_err(|error| lost(&error))?;
        Ok(Self {
            inner: Arc::new(Inner {
                shared,
                outbox,
                next_submission: AtomicU32::new(1),
                next_request: AtomicU32::new(1),
                next_held: AtomicU64::new(1),
            }),
        })
    }

    /// The cluster as last heard of, at most about a second ago.
    pub fn info(&self) -> ClusterInfo {
        self.inner.shared.info().clone()
    }

    /// Waits until at least `count` workers are there.
    ///
    /// # Errors
    /// If they are not there in time, or the connection is lost.
    pub fn wait_for_workers(&self, count: usize, patience: Duration) -> Result<(), EngineError> {
        let until = Instant::now() + patience;
        let mut info = self.inner.shared.info();
        loop {
            if info.workers.len() >= count {
                return Ok(());
            }
            if let Some(error) = self.inner.shared.lost() {
                return Err(error);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(EngineError::Refused(format!(
                    "{} of {count} workers of cluster {} are there after {} s; look at the workers' logs for what keeps the others",
                    info.workers.len(),
                    info.name,
                    patience.as_secs_f64()
                )));
            }
            if nuna_plan::engine::interrupted() {
                return Err(EngineError::Cancelled);
            }
            info = self
                .inner
                .shared
                .changed
                .wait_timeout(info, left.min(running::POLL))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Asks about published data, and waits for the answer.
    ///
    /// # Errors
    /// If the connection is lost, the program is interrupted, or there is no answer within half a minute.
    pub fn ask(&self, ask: Ask) -> Result<Told, EngineError> {
        let request = self.inner.next_request.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = mpsc::channel();
        let sent = {
            let _gate = self.inner.shared.gate();
            self.inner.shared.await_answer(request, sender, ask.clone());
            self.send(FromClient::Ask { request, ask }, Payload::new())
        };
        let told = sent.and_then(|()| self.answer(&answer));
        self.inner.shared.forget_answer(request);
        told
    }

    fn answer(&self, answer: &mpsc::Receiver<Told>) -> Result<Told, EngineError> {
        let mut until = Instant::now() + ANSWER_PATIENCE;
        loop {
            if self.inner.shared.is_away() {
                until = Instant::now() + ANSWER_PATIENCE;
            }
            if let Ok(told) = answer.recv_timeout(running::POLL) {
                return Ok(told);
            }
            if let Some(error) = self.inner.shared.lost() {
                return Err(error);
            }
            if nuna_plan::engine::interrupted() {
                return Err(EngineError::Cancelled);
            }
            if Instant::now() >= until {
                let message = format!("it did not answer within {} s", ANSWER_PATIENCE.as_secs());
                return Err(EngineError::Lost { engine: self.describe(), message });
            }
        }
    }

    /// Asks for `least` workers while there is work, and never more than `most`. Of use only where workers are jobs.
    ///
    /// # Errors
    /// If the connection is lost.
    pub fn scale(&self, least: u32, most: u32) -> Result<(), EngineError> {
        self.send(FromClient::Scale { least, most }, Payload::new())
    }

    /// Ends the cluster: scheduler, workers, and what they hold.
    pub fn shut_down_cluster(&self) {
        // If the connection is gone, so is the cluster, or it will be when it notices.
        let _ = self.inner.outbox.send(FromClient::ShutDown, Payload::new());
    }

    /// Whether the connection has ended.
    pub fn is_lost(&self) -> bool {
        self.inner.shared.lost().is_some()
    }

    /// Whether the scheduler was lost, and another is searched for.
    pub fn is_away(&self) -> bool {
        self.inner.shared.is_away()
    }

    /// No scheduler will take the place of a lost one: whoever waits for it hears `reason`. One that is there is not
    /// affected.
    pub fn give_up(&self, reason: impl Into<String>) {
        self.inner.shared.give_up(reason.into());
    }

    fn send(&self, message: FromClient, payload: Payload) -> Result<(), EngineError> {
        let sent = self.inner.outbox.send(message, payload);
        sent.map_err(|error| self.inner.shared.unsent(&error.to_string()))
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("cluster", &self.inner.shared.name)
            .field("id", &self.inner.shared.id)
            .finish_non_exhaustive()
    }
}

impl Engine for Client {
    fn submit(&self, plan: Plan) -> Result<Box<dyn Running>, EngineError> {
        if let Some(error) = self.inner.shared.lost() {
            return Err(error);
        }
        plan.validate()?;
        let shared = &self.inner.shared;
        let detached = plan.terms.detached;
        let blocks = plan.stages.iter().map(|stage| stage.grid.count()).collect();
        let (sender, updates) = mpsc::channel::<Update>();
        let gate = shared.gate();
        shared.upload(&plan, &self.inner.outbox)?;
        let submission = self.inner.next_submission.fetch_add(1, Ordering::Relaxed);
        lock(&shared.holds).submitted(&plan);
        shared.open(submission, sender, plan.clone());
        let sent = self.send(FromClient::Submit { submission, plan: Box::new(plan) }, Payload::new());
        drop(gate);
        if let Err(error) = sent {
            shared.close(submission);
            return Err(error);
        }
        Ok(Box::new(RunningPlan::new(
            submission,
            detached,
            blocks,
            updates,
            self.inner.shared.clone(),
            self.inner.outbox.clone(),
        )))
    }

    fn new_held_id(&self) -> HeldId {
        // The client's number in the upper half: two clients of one cluster never give out the same.
        HeldId(u64::from(self.inner.shared.id) << 32 | self.inner.next_held.fetch_add(1, Ordering::Relaxed))
    }

    fn release(&self, held: HeldId) {
        let _gate = self.inner.shared.gate();
        lock(&self.inner.shared.holds).released(held);
        let _ = self.inner.outbox.send(FromClient::Release(held), Payload::new());
    }

    fn thread_count(&self) -> usize {
        self.inner
            .shared
            .info()
            .workers
            .iter()
            .map(|worker| usize::from(worker.threads))
            .sum::<usize>()
            .max(1)
    }

    fn describe(&self) -> String {
        format!("cluster {}", self.inner.shared.name)
    }

    fn memory_bytes(&self) -> Option<u64> {
        let info = self.inner.shared.info();
        info.workers.iter().map(|worker| worker.memory_bytes / u64::from(worker.threads.max(1))).min()
    }

    fn spill_bytes(&self) -> u64 {
        spill_bytes(&self.inner.shared.info().workers)
    }

    fn worker_count(&self) -> Option<usize> {
        Some(self.inner.shared.info().workers.len())
    }
}

/// Every worker gets the same share of what there is to put away, so the disk with the least for each of its workers is full
/// first.
fn spill_bytes(workers: &[WorkerInfo]) -> u64 {
    let mut sharing: HashMap<u64, (u64, u64)> = HashMap::new();
    for disk in workers.iter().flat_map(|worker| &worker.disks) {
        let (free, workers) = sharing.entry(disk.id).or_insert((disk.free_bytes, 0));
        *free = disk.free_bytes.min(*free);
        *workers += 1;
    }
    let of_disk = |disk: &nuna_wire::message::Disk| {
        let (free, workers) = sharing[&disk.id];
        (free / workers).min(disk.limit_bytes)
    };
    let of_worker = |worker: &WorkerInfo| worker.disks.iter().map(of_disk).fold(0, u64::saturating_add);
    workers.iter().map(of_worker).min().unwrap_or(0).saturating_mul(workers.len() as u64)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_workers_can_put_away_is_so_much_for_each_as_the_worst_off_has() {
        let worker = |disks: &[(u64, u64, u64)]| WorkerInfo {
            id: nuna_wire::WorkerId(1),
            name: String::new(),
            pid: 1,
            threads: 1,
            memory_bytes: 0,
            used_bytes: 0,
            disks: disks
                .iter()
                .map(|&(id, free_bytes, limit_bytes)| nuna_wire::message::Disk {
                    id,
                    free_bytes,
                    limit_bytes,
                })
                .collect(),
        };
        let all = u64::MAX;
        assert_eq!(spill_bytes(&[]), 0);
        assert_eq!(spill_bytes(&[worker(&[(1, 100, all)]), worker(&[(1, 90, all)])]), 90);
        assert_eq!(spill_bytes(&[worker(&[(1, 100, all)]), worker(&[(2, 30, all)])]), 60);
        assert_eq!(spill_bytes(&[worker(&[(1, 100, 20)]), worker(&[(1, 100, 20)])]), 40);
        assert_eq!(spill_bytes(&[worker(&[(1, 100, 20), (3, 1000, all)])]), 1020);
        assert_eq!(spill_bytes(&[worker(&[(1, 100, all)]), worker(&[])]), 0);
    }
}
