//! Owns what can go wrong when a cluster is started.

use std::{io, path::PathBuf};

use nuna_plan::EngineError;

#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error(
        "the program `nuna` was not found: {looked}; install the runtime with `nuna kernel install`, or name the program in NUNA_BIN"
    )]
    NoProgram { looked: String },
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
    #[error(
        "a cluster needs at least one worker and one thread, but {workers} workers of {threads} threads were asked for"
    )]
    Nothing { workers: usize, threads: usize },
    #[error("cannot write {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Credentials(#[from] nuna_wire::CredentialsError),
    #[error(transparent)]
    Engine(#[from] EngineError),
}
