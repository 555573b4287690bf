//! Owns a running cluster as the program that uses it sees it.

use std::{
    ops::RangeInclusive,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use nuna_client::{Client, ClusterInfo};
use nuna_plan::{Engine, default_engine, set_default_engine};
use nuna_runtime::scheduler::supervise::{Next, RESTARTS_MAX, Restarts, WINDOW};
use nuna_wire::{ClusterFile, cluster_file};

use crate::{error::ClusterError, local, pbs, pick_up, processes::Process};

/// How often dead workers are looked for.
const SUPERVISE: Duration = Duration::from_millis(200);
/// Workers restarted within [`RESTART_WINDOW`], per worker of the cluster; more means that something is wrong with all.
const WORKER_RESTARTS_MAX: usize = 5;
/// How long a cluster that others have started may take to end.
const FAREWELL: Duration = Duration::from_secs(10);
/// How long it is waited for whoever takes the place of a lost scheduler.
const RETURN: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(5);
/// What those hear who still wait for a cluster that this program has ended.
const SHUT_DOWN: &str = "it was shut down";
const RESTART_WINDOW: Duration = Duration::from_secs(60);

/// A cluster. Clones share it; the last one to go ends what this process has started. In a notebook the cluster outlives
/// a crash of the process that runs cells, and ends with the kernel at the latest.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    file: ClusterFile,
    client: Client,
    engine: Arc<dyn Engine>,
    /// The processes, if this process started them and they have not been ended.
    local: Mutex<Option<Local>>,
}

/// The processes of a local cluster.
pub(crate) struct Local {
    pub(crate) scheduler: Process,
    pub(crate) workers: Vec<Process>,
    /// Where the cluster file is.
    pub(crate) directory: PathBuf,
    /// Credentials, options and logs.
    pub(crate) folder: PathBuf,
}

/// Every cluster of this user that runs on this machine.
pub fn list() -> Vec<ClusterFile> {
    ClusterFile::list(&cluster_file::clusters_directory())
}

impl Cluster {
    /// A cluster on this machine; `.start()` starts it.
    pub fn local() -> local::Local {
        local::Local::new()
    }

    /// A cluster whose workers are jobs of PBS; `.start()` starts it. It goes on when the notebook ends, until nobody
    /// has used it for a while: `Cluster::attach` finds it again.
    pub fn pbs() -> pbs::Pbs {
        pbs::Pbs::new()
    }

    /// Connects to a cluster that runs, by name. It goes on when this process ends. One that this notebook's kernel
    /// has kept through a crash is the same again, with what it holds.
    ///
    /// # Errors
    /// If there is none of that name, or it cannot be reached.
    pub fn attach(name: &str) -> Result<Self, ClusterError> {
        if let Some(kept) = pick_up::kept(name) {
            set_default_engine(Some(kept.engine()));
            return Ok(kept);
        }
        let running = list();
        let file =
            running.iter().find(|file| file.name == name).cloned().ok_or_else(|| ClusterError::NotFound {
                name: name.to_owned(),
                running: running.iter().map(|file| file.name.clone()).collect(),
            })?;
        let client = Client::connect(&file)?;
        Ok(Self::new(file, client, None))
    }

    pub(crate) fn started(file: ClusterFile, client: Client, local: Local) -> Self {
        Self::new(file, client, Some(local))
    }

    /// One that goes on without this process.
    pub(crate) fn apart(file: ClusterFile, client: Client) -> Self {
        Self::new(file, client, None)
    }

    fn new(file: ClusterFile, client: Client, local: Option<Local>) -> Self {
        let engine: Arc<dyn Engine> = Arc::new(client.clone());
        let supervised = local.is_some();
        let inner = Arc::new(Inner { file, client, engine: engine.clone(), local: Mutex::new(local) });
        if supervised {
            let weak = Arc::downgrade(&inner);
            // Without a supervisor workers are not replaced; everything else works.
            let _ =
                std::thread::Builder::new().name("nuna-supervisor".into()).spawn(move || supervise(&weak));
        }
        set_default_engine(Some(engine));
        Self { inner }
    }

    /// Whether nothing of this process uses it but the list of clusters that were picked up.
    pub(crate) fn is_unused(&self) -> bool {
        let default = default_engine().is_some_and(|engine| Arc::ptr_eq(&engine, &self.inner.engine));
        // Arrays that are held there have the engine; handles have all.
        Arc::strong_count(&self.inner) == 1
            && Arc::strong_count(&self.inner.engine) == 1 + usize::from(default)
    }

    pub fn name(&self) -> &str {
        &self.inner.file.name
    }

    /// For submitting plans directly.
    pub fn client(&self) -> Client {
        self.inner.client.clone()
    }

    /// The client as whatever runs plans.
    pub fn engine(&self) -> Arc<dyn Engine> {
        self.inner.engine.clone()
    }

    /// Address of the dashboard, without the token that it asks for.
    pub fn dashboard_url(&self) -> String {
        // A scheduler that took the place of a lost one may have had to take another port.
        self.inner.client.info().dashboard
    }

    /// Workers and memory, as heard within the last second.
    pub fn info(&self) -> ClusterInfo {
        self.inner.client.info()
    }

    /// What other programs find the cluster by.
    pub fn file(&self) -> &ClusterFile {
        &self.inner.file
    }

    /// Waits until at least `count` workers are there.
    ///
    /// # Errors
    /// If they are not there in time.
    pub fn wait_for_workers(&self, count: usize, patience: Duration) -> Result<(), ClusterError> {
        Ok(self.inner.client.wait_for_workers(count, patience)?)
    }

    /// From now on there should be so many workers. Jobs that are too many are given up at once: those that wait
    /// first, then workers without work, then others once they have finished what they do.
    ///
    /// # Errors
    /// If the workers are not jobs of a batch system, or the connection is lost.
    pub fn scale(&self, workers: u32) -> Result<(), ClusterError> {
        self.adapt(workers..=workers)
    }

    /// From now on there should be as many workers as the work at hand can use, within these bounds. `0..=0` lets all
    /// of them go.
    ///
    /// # Errors
    /// If the workers are not jobs of a batch system, or the connection is lost.
    pub fn adapt(&self, workers: RangeInclusive<u32>) -> Result<(), ClusterError> {
        let (least, most) = workers.into_inner();
        if least > most {
            return Err(ClusterError::BadScale { least, most });
        }
        if self.info().jobs.is_none() {
            return Err(ClusterError::NoJobs { name: self.name().to_owned() });
        }
        Ok(self.inner.client.scale(least, most)?)
    }

    /// Ends scheduler and workers, and waits until they have ended. Ending a cluster twice is fine.
    pub fn shutdown(&self) {
        self.inner.end(true);
    }
}

impl Inner {
    fn processes(&self) -> MutexGuard<'_, Option<Local>> {
        self.local.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends what this process has started; `others` too if the cluster belongs to someone else.
    fn end(&self, others: bool) {
        if default_engine().is_some_and(|engine| Arc::ptr_eq(&engine, &self.engine)) {
            set_default_engine(None);
        }
        let local = self.processes().take();
        match local {
            Some(mut local) => {
                self.client.give_up(SHUT_DOWN);
                self.client.shut_down_cluster();
                local.scheduler.cut();
                local.workers.iter_mut().for_each(Process::cut);
                local.scheduler.join();
                local.workers.iter_mut().for_each(Process::join);
                // The scheduler has done this, unless it was killed.
                self.file.remove(&local.directory);
                let _ = std::fs::remove_dir_all(&local.folder);
                self.wait_until_lost();
            }
            None if others => {
                self.end_elsewhere();
                self.client.give_up(SHUT_DOWN);
                self.wait_until_lost();
            }
            None => {}
        }
    }

    /// Has a scheduler end that others watch over. One that is lost before it has heard of it is replaced, and the next goes on
    /// with its jobs: that one is told too.
    fn end_elsewhere(&self) {
        let file = self.file.certificates.with_extension("json");
        let until = Instant::now() + RETURN;
        let mut told = false;
        while !self.client.is_lost() && Instant::now() < until {
            match (self.client.is_away(), told) {
                // It has done as it was told.
                (true, true) if !file.exists() => return,
                (true, _) => told = false,
                (false, false) => {
                    self.client.shut_down_cluster();
                    told = true;
                }
                (false, true) => {}
            }
            std::thread::sleep(LOOK);
        }
    }

    /// So that whoever looks at it next sees that it has ended.
    fn wait_until_lost(&self) {
        let until = Instant::now() + FAREWELL;
        while !self.client.is_lost() && Instant::now() < until {
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end(false);
    }
}

/// Starts what has died again, for as long as the cluster is there.
fn supervise(cluster: &Weak<Inner>) {
    let mut restarts: Vec<Instant> = Vec::new();
    let mut scheduler = Restarts::default();
    loop {
        std::thread::sleep(SUPERVISE);
        let Some(inner) = cluster.upgrade() else { return };
        let mut processes = inner.processes();
        let Some(local) = processes.as_mut() else { return };
        if inner.client.is_lost() || !inner.restart_scheduler(local, &mut scheduler) {
            return;
        }
        let now = Instant::now();
        restarts.retain(|&at| now - at < RESTART_WINDOW);
        let allowed = WORKER_RESTARTS_MAX * local.workers.len();
        for worker in &mut local.workers {
            // Without a scheduler a new one would end at once.
            if worker.ended().is_some() && restarts.len() < allowed && !inner.client.is_away() {
                // One that left for a reason of its own, as after calls that never end, says nothing about the others.
                if !worker.left() {
                    restarts.push(now);
                }
                // If that fails it is tried again next time, until the limit.
                let _ = worker.restart();
            }
        }
    }
}

impl Inner {
    /// Starts the scheduler again if it was lost. False if it has ended for good.
    fn restart_scheduler(&self, local: &mut Local, restarts: &mut Restarts) -> bool {
        let Some(status) = local.scheduler.ended() else { return true };
        let name = &self.file.name;
        let path = local.directory.join(format!("{name}.json"));
        // One that ends as it should takes its file along.
        if !path.exists() {
            return false;
        }
        match restarts.next(Instant::now()) {
            Next::Wait => true,
            Next::Start => {
                match local.scheduler.restart() {
                    Ok(()) => eprintln!(
                        "note: the scheduler of cluster {name} was lost ({status}) and is started again; workers keep what they have, and what runs goes on"
                    ),
                    Err(error) => {
                        eprintln!("note: the scheduler of cluster {name} was lost ({status}): {error}");
                    }
                }
                true
            }
            Next::GiveUp => {
                let reason = format!(
                    "its scheduler was lost ({status}), and was started again {RESTARTS_MAX} times within {} s without staying; its log {} may say why:\n{}\nStart a new cluster",
                    WINDOW.as_secs(),
                    local.scheduler.log.display(),
                    local.scheduler.log_tail()
                );
                eprintln!("note: cluster {name} is given up: {reason}");
                self.client.give_up(reason);
                // Workers and other clients see by it that none will come.
                let _ = std::fs::remove_file(path);
                false
            }
        }
    }
}
