//! Owns the builder of clusters on this machine.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nuna_client::Client;
use nuna_runtime::{scheduler, worker};
use nuna_wire::{Authority, ClusterFile, Party, cluster_file};

use crate::{
    allowance,
    cluster::{Cluster, Local as Parts},
    error::ClusterError,
    lifeline,
    memory::IntoByteCount,
    pick_up,
    processes::{Process, program},
    spill::{Folders, spill_functions},
};

/// How long scheduler and workers may each take to start.
const START_PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(2);
/// What workers get together if nobody says: the rest is for the notebook and the file cache.
const MEMORY_SHARE: f64 = 0.6;
const MEMORY_MIN: u64 = 16 << 20;

/// A cluster on this machine that has not started.
#[derive(Debug)]
pub struct Local {
    workers: usize,
    threads: Option<usize>,
    memory: Option<Result<u64, ClusterError>>,
    name: Option<String>,
    program: Option<PathBuf>,
    directory: Option<PathBuf>,
    resources: Vec<(String, u32)>,
    shared: Vec<(String, u32)>,
    pinning: worker::Pinning,
    spill: Folders,
}

impl Local {
    pub(crate) fn new() -> Self {
        Self {
            workers: 1,
            threads: None,
            memory: None,
            name: None,
            program: None,
            directory: None,
            resources: Vec::new(),
            shared: Vec::new(),
            pinning: worker::Pinning::Auto,
            spill: Folders::default(),
        }
    }

    /// How many worker processes; 1 if not said. More than one is for tests: threads of one process share chunks.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Threads of each worker; the job's or machine's cores divided among the workers if not said.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Memory of each worker, such as `"4GB"`; a share of the job's or machine's if not said.
    #[must_use]
    pub fn memory(mut self, memory: impl IntoByteCount) -> Self {
        self.memory = Some(memory.into_byte_count());
        self
    }

    spill_functions!("a folder beside the cluster file");

    /// Each worker has so many of something that tasks take with `needs`, such as `"gpu"`.
    #[must_use]
    pub fn resource(mut self, name: impl Into<String>, amount: u32) -> Self {
        self.resources.push((name.into(), amount));
        self
    }

    /// All workers together have so many of something that tasks take with `needs`, such as licences.
    #[must_use]
    pub fn shared_resource(mut self, name: impl Into<String>, amount: u32) -> Self {
        self.shared.push((name.into(), amount));
        self
    }

    /// Workers keep to cores of their own, whatever the machine: for when nobody else needs them. If neither this nor
    /// [`unpinned`](Self::unpinned) is said they do so on machines with several NUMA nodes, within one node each if they
    /// fit, provided that the cores are this cluster's alone: set apart by a batch system's cpuset, or all in use by it.
    #[must_use]
    pub fn pinned(mut self) -> Self {
        self.pinning = worker::Pinning::On;
        self
    }

    /// Workers run wherever the system puts them.
    #[must_use]
    pub fn unpinned(mut self) -> Self {
        self.pinning = worker::Pinning::Off;
        self
    }

    /// The cluster's name; `local-` and some letters if not said.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The program that runs `scheduler` and `worker`; searched for if not said.
    #[must_use]
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self
    }

    /// Where the cluster file goes; the `clusters` folder of the state directory if not said. Elsewhere a cluster is not
    /// found again, so it ends with this process even in a notebook.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Starts the processes, waits for them, and makes the cluster the one that `compute()` uses.
    ///
    /// # Errors
    /// If the program is not found, or a process does not come up; the end of its log is in the message.
    pub fn start(self) -> Result<Cluster, ClusterError> {
        let threads = self.threads.unwrap_or_else(|| (allowance::cores() / self.workers.max(1)).max(1));
        if self.workers == 0 || threads == 0 || threads > usize::from(u16::MAX) {
            return Err(ClusterError::Nothing { workers: self.workers, threads });
        }
        let memory = match self.memory {
            Some(memory) => memory?,
            None => {
                (allowance::memory_bytes().unwrap_or(4 << 30) as f64 * MEMORY_SHARE) as u64
                    / self.workers as u64
            }
        };
        check_memory(memory)?;
        let program = self.program.map_or_else(program, Ok)?;
        let kernel = if self.directory.is_none() { lifeline::kernel() } else { None };
        let directory = self.directory.unwrap_or_else(cluster_file::clusters_directory);
        let running = ClusterFile::list(&directory);
        let name = self.name.unwrap_or_else(|| format!("local-{:06x}", rand::random::<u32>() & 0xff_ffff));
        check_name(&name, &running)?;
        let folder = directory.join(&name);
        let spill = self.spill.choose(&folder.join("spill"))?;
        let cleanup = credentials(&name, &folder)?;
        let options = scheduler::Options {
            kernel_lifeline: kernel.map(|kernel| kernel.path.clone()),
            shared: self.shared,
            supervisor: Some(std::process::id()),
            ..scheduler_options(&name, &directory, &folder)
        };
        let process = Process::start(
            &program,
            "scheduler",
            "scheduler",
            &serde_json::to_value(options).expect("options are plain data"),
            &folder,
            kernel,
        )?;
        let (process, file) = wait_for_scheduler(process, &name, &directory)?;
        let client = Client::connect(&file)?;
        let mut parts = Parts {
            scheduler: process,
            workers: Vec::with_capacity(self.workers),
            directory,
            folder: folder.clone(),
        };
        for number in 0..self.workers {
            let options = worker::Options {
                name: format!("{name}-{number}"),
                scheduler: file.scheduler,
                certificates: folder.clone(),
                threads: threads as u16,
                memory_bytes: memory,
                listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
                spill: spill.clone(),
                lifeline: true,
                ends_at: None,
                resources: self.resources.clone(),
                scheduler_patience_seconds: worker::scheduler_patience_seconds(),
                pinning: self.pinning,
                share: worker::Share { index: number as u16, of: self.workers.min(65_535) as u16 },
            };
            let options = serde_json::to_value(options).expect("options are plain data");
            parts.workers.push(Process::start(
                &program,
                "worker",
                &format!("worker-{number}"),
                &options,
                &folder,
                kernel,
            )?);
        }
        wait_for_workers(&client, &mut parts, self.workers)?;
        cleanup.disarm();
        let cluster = Cluster::started(file, client, parts);
        retired(&pick_up::retire());
        Ok(cluster)
    }
}

/// # Errors
/// If it is less than a worker's program takes up before it has done anything: most likely a unit was forgotten.
pub(crate) fn check_memory(bytes: u64) -> Result<(), ClusterError> {
    if bytes < MEMORY_MIN { Err(ClusterError::LittleMemory { bytes }) } else { Ok(()) }
}

fn retired(names: &[String]) {
    for name in names {
        eprintln!(
            "note: cluster {name}, which nothing has used since its variable was lost and which held nothing, was ended"
        );
    }
}

/// Whether a new cluster may be called that, beside those that run.
pub(crate) fn check_name(name: &str, running: &[ClusterFile]) -> Result<(), ClusterError> {
    let fine = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if !fine || name.is_empty() || name.len() > 64 {
        return Err(ClusterError::BadName { name: name.to_owned() });
    }
    match running.iter().find(|file| file.name == name) {
        Some(taken) => Err(ClusterError::NameTaken { name: name.to_owned(), pid: taken.pid }),
        None => Ok(()),
    }
}

/// Makes the cluster's folder with keys and certificates of all parties; they go again unless the cluster comes up.
pub(crate) fn credentials(name: &str, folder: &Path) -> Result<Cleanup, ClusterError> {
    if folder.exists() {
        // Left behind by a cluster that was killed before it could clean up.
        fs::remove_dir_all(folder)
            .map_err(|source| ClusterError::File { path: folder.to_owned(), source })?;
    }
    let cleanup = Cleanup { folder: folder.to_owned(), armed: true };
    let authority = Authority::new(name)?;
    for party in [Party::Scheduler, Party::Worker, Party::Client] {
        authority.issue(party)?.write(folder, party)?;
    }
    Ok(cleanup)
}

/// For a scheduler that nobody else can reach, and that ends with whoever started it.
pub(crate) fn scheduler_options(name: &str, directory: &Path, folder: &Path) -> scheduler::Options {
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    scheduler::Options {
        name: name.to_owned(),
        directory: directory.to_owned(),
        certificates: folder.to_owned(),
        listen: loopback,
        dashboard: loopback,
        started: jiff::Timestamp::now().to_string(),
        origin: std::env::var("NUNA_KERNEL_ID").unwrap_or_default(),
        lifeline: true,
        kernel_lifeline: None,
        supervisor: None,
        supervises_itself: false,
        jobs: None,
        linger_seconds: None,
        shared: Vec::new(),
    }
}

/// Waits until it is up.
pub(crate) fn wait_for_scheduler(
    mut process: Process,
    name: &str,
    directory: &Path,
) -> Result<(Process, ClusterFile), ClusterError> {
    let path = directory.join(format!("{name}.json"));
    let until = Instant::now() + START_PATIENCE;
    loop {
        // The file is renamed into its place once it is whole.
        if let Ok(file) = ClusterFile::read(&path)
            && (file.pid == process.pid() || file.supervisor == Some(process.pid()))
        {
            return Ok((process, file));
        }
        if let Some(status) = process.ended() {
            let (log, tail) = (process.log.clone(), process.log_tail());
            return Err(ClusterError::SchedulerEnded { status, log, tail });
        }
        if Instant::now() >= until {
            return Err(ClusterError::SchedulerSlow {
                seconds: START_PATIENCE.as_secs(),
                log: process.log.clone(),
            });
        }
        std::thread::sleep(POLL);
    }
}

fn wait_for_workers(client: &Client, parts: &mut Parts, want: usize) -> Result<(), ClusterError> {
    let until = Instant::now() + START_PATIENCE;
    loop {
        match client.wait_for_workers(want, Duration::from_millis(100)) {
            Ok(()) => return Ok(()),
            Err(error) if client.is_lost() => return Err(error.into()),
            Err(error @ nuna_plan::EngineError::Cancelled) => return Err(error.into()),
            Err(_) => {}
        }
        let ended = parts.workers.iter_mut().position(|worker| worker.ended().is_some());
        if ended.is_some() || Instant::now() >= until {
            let worker = &parts.workers[ended.unwrap_or(0)];
            return Err(ClusterError::WorkersSlow {
                have: client.info().workers.len(),
                want,
                seconds: START_PATIENCE.as_secs(),
                log: worker.log.clone(),
                tail: worker.log_tail(),
            });
        }
    }
}

/// Removes a folder of credentials unless the cluster is up.
pub(crate) struct Cleanup {
    folder: PathBuf,
    armed: bool,
}

impl Cleanup {
    pub(crate) fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        if self.armed {
            // Logs stay where the message says they are; keys do not.
            for party in ["scheduler", "worker", "client"] {
                let _ = fs::remove_file(self.folder.join(format!("{party}.key")));
            }
        }
    }
}
