//! Owns the builder of clusters whose workers are jobs of PBS. The scheduler runs beside whoever starts it, submits the
//! jobs, and goes on when the notebook ends.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nuna_client::Client;
use nuna_jobs::{Pace, PbsCommands, Request, SelectChunk, Settings, Task, parse_walltime};
use nuna_pbs::{Queues, UserName};
use nuna_runtime::{scheduler, worker};
use nuna_wire::{ClusterFile, cluster_file, credentials::private_directory};

use crate::{
    address,
    cluster::Cluster,
    error::ClusterError,
    local,
    memory::IntoByteCount,
    processes::{Process, program},
    spill::{Folders, spill_functions},
};

/// How long the first submission is waited for, so that a refusal is this cell's error.
const FIRST_SUBMISSION: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// What a worker counts on of its job's memory; the rest is for the program and what it cannot foresee.
const MEMORY_SHARE: f64 = 0.85;
/// For each core, if nobody says.
const MEMORY_PER_CORE: u64 = 4 << 30;
const WALLTIME: Duration = Duration::from_secs(3600);
const LINGER: Duration = Duration::from_secs(600);

/// A cluster of PBS jobs that has not started.
#[derive(Debug)]
pub struct Pbs {
    request: Request,
    job_array: bool,
    cores: Option<u32>,
    memory: Option<u64>,
    threads: Option<u16>,
    least: u32,
    most: u32,
    name: Option<String>,
    program: Option<PathBuf>,
    directory: Option<PathBuf>,
    address: Option<IpAddr>,
    linger: Duration,
    spill: Folders,
    pbs: Option<PbsCommands>,
    pace: Pace,
    resources: Vec<(String, u32)>,
    shared: Vec<(String, u32)>,
    pinning: worker::Pinning,
    /// The first thing that was wrong; reported by whatever is called last.
    fault: Option<ClusterError>,
}

impl Pbs {
    pub(crate) fn new() -> Self {
        Self {
            request: Request {
                queue: None,
                select: None,
                cores: 1,
                memory_bytes: MEMORY_PER_CORE,
                walltime: WALLTIME,
                account: None,
                project: None,
                directives: Vec::new(),
                set_up: Vec::new(),
            },
            job_array: false,
            cores: None,
            memory: None,
            threads: None,
            least: 1,
            most: 1,
            name: None,
            program: None,
            directory: None,
            address: None,
            linger: LINGER,
            spill: Folders::default(),
            pbs: None,
            pace: Pace::default(),
            resources: Vec::new(),
            shared: Vec::new(),
            pinning: worker::Pinning::Auto,
            fault: None,
        }
    }

    fn with<T>(mut self, value: Result<T, ClusterError>, set: impl FnOnce(&mut Self, T)) -> Self {
        match value {
            Ok(value) => set(&mut self, value),
            Err(error) => self.fault = self.fault.or(Some(error)),
        }
        self
    }

    /// Where jobs go; the server's default queue if not said.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.request.queue = Some(queue.into());
        self
    }

    /// Cores of each job, and threads of its worker; if not said, those of `select`, else 1.
    #[must_use]
    pub fn cores(mut self, cores: u32) -> Self {
        self.cores = Some(cores);
        self
    }

    /// Memory of each job, such as `"115GB"`; if not said, that of `select`, else 4 GiB for each core. The worker's process keeps within
    /// 85 % of it; the rest is for what closures allocate themselves.
    #[must_use]
    pub fn memory(self, memory: impl IntoByteCount) -> Self {
        self.with(memory.into_byte_count(), |pbs, bytes| pbs.memory = Some(bytes))
    }

    /// How long each job may run, such as `"2h"` or `"02:00:00"`; an hour if not said. Workers leave before that, and
    /// others take their place while there is work.
    #[must_use]
    pub fn walltime(self, walltime: &str) -> Self {
        let parsed =
            parse_walltime(walltime).ok_or_else(|| ClusterError::BadWalltime { text: walltime.to_owned() });
        self.with(parsed, |pbs, walltime| pbs.request.walltime = walltime)
    }

    /// What jobs ask for in PBS's words, one chunk, such as `"1:ncpus=8:mem=32gb:ngpus=1"`. Workers use the cores and
    /// the memory that it says, unless `cores` and `memory` say less.
    #[must_use]
    pub fn select(mut self, select: impl Into<String>) -> Self {
        self.request.select = Some(select.into());
        self
    }

    /// Whom jobs are charged to (`-A`).
    #[must_use]
    pub fn account(mut self, account: impl Into<String>) -> Self {
        self.request.account = Some(account.into());
        self
    }

    /// Which project jobs belong to (`-P`).
    #[must_use]
    pub fn project(mut self, project: impl Into<String>) -> Self {
        self.request.project = Some(project.into());
        self
    }

    /// One more `#PBS` line, without that word: `"-l place=excl"`. May be called again.
    #[must_use]
    pub fn directive(mut self, directive: impl AsRef<str>) -> Self {
        let directive = directive.as_ref().trim();
        let directive = directive.strip_prefix("#PBS").unwrap_or(directive).trim();
        self.request.directives.push(directive.to_owned());
        self
    }

    /// A line of shell that jobs run before the worker: `"module load hdf5"`. May be called again. Everyone can read it.
    #[must_use]
    pub fn set_up(mut self, line: impl Into<String>) -> Self {
        self.request.set_up.push(line.into());
        self
    }

    /// Workers are submitted as job arrays (`qsub -J`): one call for all that are wanted and not there, each job of the array
    /// a worker. Some sites ask for that, or start arrays sooner. An array is no larger than server and queue allow, and a
    /// single worker, such as the one that takes another's place before its walltime, is a job of its own.
    #[must_use]
    pub fn job_array(mut self) -> Self {
        self.job_array = true;
        self
    }

    /// Threads of each worker, if not as many as cores.
    #[must_use]
    pub fn threads(mut self, threads: u16) -> Self {
        self.threads = Some(threads);
        self
    }

    /// So many workers, each a job of its own; 1 if not said. Jobs that end are replaced while there is work.
    #[must_use]
    pub fn scale(mut self, workers: u32) -> Self {
        (self.least, self.most) = (workers, workers);
        self
    }

    /// As many workers as the work at hand can use, within these bounds.
    #[must_use]
    pub fn adapt(mut self, workers: RangeInclusive<u32>) -> Self {
        (self.least, self.most) = workers.into_inner();
        self
    }

    /// Each worker has so many of something that tasks take with `needs`, such as `"gpu"`; `select` asks PBS for it.
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

    /// Workers run wherever the system puts them. If this is not said they keep to cores of one NUMA node where they fit,
    /// provided that PBS gives each job cores of its own (a cpuset), or the job has all of its node's.
    #[must_use]
    pub fn unpinned(mut self) -> Self {
        self.pinning = worker::Pinning::Off;
        self
    }

    /// The cluster's name; `pbs-` and some letters if not said.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// For how long the cluster goes on when no program uses it, such as `"8h"`; ten minutes if not said.
    #[must_use]
    pub fn linger(self, length: &str) -> Self {
        let parsed =
            parse_walltime(length).ok_or_else(|| ClusterError::BadWalltime { text: length.to_owned() });
        self.with(parsed, |pbs, length| pbs.linger = length)
    }

    /// This machine's address as the nodes of the jobs reach it; found out if not said.
    #[must_use]
    pub fn address(mut self, address: IpAddr) -> Self {
        self.address = Some(address);
        self
    }

    spill_functions!("`/tmp`");

    /// As [`spill`](Self::spill).
    #[must_use]
    pub fn local_directory(self, directory: impl Into<PathBuf>) -> Self {
        self.spill(directory)
    }

    /// The program that runs `scheduler` and `worker`, on a disk that every node has; searched for if not said.
    #[must_use]
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self
    }

    /// Where the cluster file and the keys go, on a disk that every node has; the `clusters` folder of the state
    /// directory if not said.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// The commands of PBS, if not those that are found.
    #[must_use]
    pub fn commands(mut self, commands: PbsCommands) -> Self {
        self.pbs = Some(commands);
        self
    }

    /// How patient the cluster is with PBS, and PBS with it.
    #[must_use]
    pub fn pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// The script of a job, or of an array of as many workers as are asked for, as it would be submitted. Nothing is. A server
    /// or queue may not allow as many in one array; then there are several.
    ///
    /// # Errors
    /// If something is wrong with what it asks for, as far as can be said without asking PBS.
    pub fn job_script(mut self) -> Result<String, ClusterError> {
        let request = self.checked(None, "nobody")?;
        let directory = self.directory.take().unwrap_or_else(cluster_file::clusters_directory);
        let name = self.name.take().unwrap_or_else(|| "NAME".to_owned());
        let program = self.program.take().map_or_else(program, Ok)?;
        let folder = directory.join(name);
        let last = self.at_once(None, "nobody");
        Ok(request.script(&Task {
            stem: "nuna",
            first: 1,
            last: last.min(self.most),
            program: &program,
            options: &folder.join("worker.json"),
            logs: &folder.join("logs"),
        }))
    }

    /// Jobs that may be submitted at once.
    fn at_once(&self, queues: Option<&Queues>, user: &str) -> u32 {
        if !self.job_array {
            return 1;
        }
        let most = queues.and_then(|queues| queues.array_size_max(self.request.queue.as_deref(), user));
        most.map_or(u32::MAX, |most| u32::try_from(most).unwrap_or(u32::MAX)).max(1)
    }

    fn checked(&mut self, queues: Option<&Queues>, user: &str) -> Result<Request, ClusterError> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        if self.most == 0 || self.least > self.most {
            return Err(ClusterError::BadScale { least: self.least, most: self.most });
        }
        let mut request = self.request.clone();
        let chunk = request.select.as_deref().map_or(Ok(SelectChunk::default()), SelectChunk::read)?;
        request.cores = self.cores.or(chunk.cores).unwrap_or(1);
        if self.threads == Some(0) || request.cores > u32::from(u16::MAX) {
            return Err(ClusterError::Nothing { workers: self.most as usize, threads: 0 });
        }
        let usual = || MEMORY_PER_CORE.saturating_mul(u64::from(request.cores));
        request.memory_bytes = self.memory.or(chunk.memory_bytes).unwrap_or_else(usual);
        local::check_memory(request.memory_bytes)?;
        nuna_jobs::check(&request, self.least, queues, user)?;
        Ok(request)
    }

    /// Starts the scheduler, which submits the jobs, and makes the cluster the one that `compute()` uses. Jobs that
    /// wait in a queue are not waited for: see `wait_for_workers`.
    ///
    /// # Errors
    /// If PBS cannot be asked, or would refuse or has refused the first job; if the scheduler does not come up.
    pub fn start(mut self) -> Result<Cluster, ClusterError> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        let pbs = self.pbs.take().or_else(PbsCommands::found).ok_or(ClusterError::NoPbs)?;
        let user = user()?;
        let queues = ask_queues(&pbs)?;
        let request = self.checked(Some(&queues), user.as_str())?;
        let at_once = self.at_once(Some(&queues), user.as_str());
        let program = self.program.map_or_else(program, Ok)?;
        let directory = self.directory.unwrap_or_else(cluster_file::clusters_directory);
        let name = self.name.unwrap_or_else(|| format!("pbs-{:06x}", rand::random::<u32>() & 0xff_ffff));
        local::check_name(&name, &ClusterFile::list(&directory))?;
        let own = match self.address {
            Some(address) if !address::is_here(address) => {
                return Err(ClusterError::NotHere { address });
            }
            Some(address) => address,
            None => address::own_address().ok_or(ClusterError::NoAddress)?,
        };
        let folder = directory.join(&name);
        let cleanup = local::credentials(&name, &folder)?;
        let logs = folder.join("logs");
        private_directory(&logs)?;
        let worker_options = folder.join("worker.json");
        let spill = self.spill.choose(Path::new("/tmp"))?;
        let settings = Settings {
            stem: format!("nuna-{:04x}", rand::random::<u16>()),
            user,
            pbs,
            program: program.clone(),
            worker_options: worker_options.clone(),
            logs,
            at_once,
            least: self.least,
            most: self.most,
            pace: self.pace,
            request,
        };
        let options = scheduler::Options {
            listen: SocketAddr::new(own, 0),
            lifeline: false,
            supervises_itself: true,
            jobs: None,
            linger_seconds: Some(self.linger.as_secs()),
            shared: self.shared,
            ..local::scheduler_options(&name, &directory, &folder)
        };
        let threads = self.threads.unwrap_or(settings.request.cores as u16);
        let memory_bytes = (settings.request.memory_bytes as f64 * MEMORY_SHARE) as u64;
        // The port is known once the scheduler listens; it submits nothing before the file is there.
        let options = scheduler::Options {
            jobs: Some(Box::new(scheduler::Jobs {
                settings,
                worker: worker::Options {
                    name: name.clone(),
                    scheduler: SocketAddr::new(own, 0),
                    certificates: folder.clone(),
                    threads,
                    memory_bytes,
                    listen: if own.is_ipv4() {
                        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
                    } else {
                        IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)
                    },
                    spill,
                    lifeline: false,
                    ends_at: None,
                    resources: self.resources,
                    scheduler_patience_seconds: worker::scheduler_patience_seconds(),
                    pinning: self.pinning,
                    share: worker::Share::default(),
                },
            })),
            ..options
        };
        let options = serde_json::to_value(options).expect("options are plain data");
        let process = Process::start_apart(&program, "scheduler", &options, &folder)?;
        let (process, file) = local::wait_for_scheduler(process, &name, &directory)?;
        let client = Client::connect(&file)?;
        wait_for_submission(&client, self.least)?;
        process.leave();
        cleanup.disarm();
        Ok(Cluster::apart(file, client))
    }
}

fn user() -> Result<UserName, ClusterError> {
    let uid = nix::unistd::geteuid();
    let known = nix::unistd::User::from_uid(uid).ok().flatten().map(|user| user.name);
    let name = known.or_else(|| std::env::var("USER").ok()).unwrap_or_else(|| uid.to_string());
    name.parse().map_err(|error: nuna_pbs::InvalidUserName| ClusterError::Pbs { message: error.to_string() })
}

fn ask_queues(pbs: &PbsCommands) -> Result<Queues, ClusterError> {
    let failed = |message: String| ClusterError::Pbs { message };
    let commands = pbs.commands();
    let ask = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        runtime.block_on(commands.queues()).map_err(|error| error.to_string())
    };
    // A thread of its own: the caller may be inside a runtime.
    let asked = std::thread::spawn(ask).join();
    asked.unwrap_or_else(|_| Err("the question was not finished".to_owned())).map_err(failed)
}

/// Waits until PBS has taken or refused the first job. Where none is due, there is nothing to wait for.
fn wait_for_submission(client: &Client, least: u32) -> Result<(), ClusterError> {
    let until = Instant::now() + FIRST_SUBMISSION;
    while least > 0 && Instant::now() < until {
        let info = client.info();
        if let Some(jobs) = &info.jobs {
            if let Some(reason) = jobs.paused.clone().or_else(|| jobs.trouble.clone()) {
                // Dropping the process ends it.
                return Err(ClusterError::Submission { reason });
            }
            if jobs.accepted > 0 || !info.workers.is_empty() {
                return Ok(());
            }
        }
        if client.is_lost() {
            return Err(client.wait_for_workers(usize::MAX, Duration::ZERO).expect_err("it is lost").into());
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}
