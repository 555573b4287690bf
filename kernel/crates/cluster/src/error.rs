//! Owns what can go wrong when a cluster is started.

use std::{io, net::IpAddr, path::PathBuf};

use nuna_plan::EngineError;

#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error(
        "the program `nuna` was not found: {looked}; install the runtime with `nuna kernel install`, or name the program in NUNA_BIN"
    )]
    NoProgram { looked: String },
    #[error(
        "values cannot be spilled to `{}`, which is not a whole path; begin it with `/`, or with a variable of the workers such as `$TMPDIR`",
        path.display()
    )]
    BadSpillFolder { path: PathBuf },
    #[error("cannot start {}: {source}", program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error("the scheduler ended while it started ({status}); the end of its log {}:\n{tail}", log.display())]
    SchedulerEnded { status: String, log: PathBuf, tail: String },
    #[error("the scheduler was not up within {seconds} s; its log is {}", log.display())]
    SchedulerSlow { seconds: u64, log: PathBuf },
    #[error("{have} of {want} workers were up within {seconds} s; the end of the log {}:\n{tail}", log.display())]
    WorkersSlow { have: usize, want: usize, seconds: u64, log: PathBuf, tail: String },
    #[error(
        "a cluster named {name} is running (process {pid}); use it with `Cluster::attach(\"{name}\")?`, choose another name, or end it with `nuna cluster stop {name}`"
    )]
    NameTaken { name: String, pid: u32 },
    #[error("`{name}` cannot be a cluster's name; use letters, digits, `-` and `_`, 64 at most")]
    BadName { name: String },
    #[error("no cluster named {name} is running{}", if running.is_empty() { String::new() } else { format!(" (there are: {})", running.join(", ")) })]
    NotFound { name: String, running: Vec<String> },
    #[error("`{text}` is not an amount of memory; write for example \"4GB\" or \"500MiB\"")]
    BadMemory { text: String },
    #[error("a worker cannot do with {bytes} bytes of memory; say the unit, for example \"4GB\"")]
    LittleMemory { bytes: u64 },
    #[error(
        "a cluster needs at least one worker and one thread, but {workers} workers of {threads} threads were asked for"
    )]
    Nothing { workers: usize, threads: usize },
    #[error("`{text}` is not a length of time; write for example \"2h\", \"90m\" or \"01:30:00\"")]
    BadWalltime { text: String },
    #[error(
        "between {least} and {most} workers were asked for; ask for one or more, the smaller number first: `.scale(4)` or `.adapt(0..=40)`"
    )]
    BadScale { least: u32, most: u32 },
    #[error(
        "the workers of cluster {name} are not jobs of a batch system, so their number stays as it is; `Cluster::pbs()` starts a cluster that can be scaled"
    )]
    NoJobs { name: String },
    #[error(
        "there is no `qsub` on this machine's PATH, nor below what /etc/pbs.conf names; name its folder in NUNA_PBS_BIN, or use `Cluster::local()`"
    )]
    NoPbs,
    #[error("PBS cannot be asked for its queues: {message}")]
    Pbs { message: String },
    #[error("no job was submitted: {reason}")]
    Submission { reason: String },
    #[error(transparent)]
    Request(#[from] nuna_jobs::RequestError),
    #[error("{address} is no address of this machine; `ip address` shows those that it has")]
    NotHere { address: IpAddr },
    #[error(
        "this machine has no address that other nodes could reach; name one: `Cluster::pbs().address(\"10.0.0.5\".parse()?)`"
    )]
    NoAddress,
    #[error("cannot write {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Credentials(#[from] nuna_wire::CredentialsError),
    #[error(transparent)]
    Engine(#[from] EngineError),
}
