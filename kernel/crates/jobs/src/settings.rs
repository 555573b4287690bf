//! Owns what the task that follows jobs is told: by whom and where they are submitted, and at what pace.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use nuna_pbs::{Commands, UserName};
use serde::{Deserialize, Serialize};

use crate::request::{Request, Task};

/// How patient everybody is. The defaults are polite to a server that many share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pace {
    /// How often PBS is asked for its jobs while some are awaited. It is asked six times less often while all run.
    pub poll: Duration,
    /// For how long there must be too many workers before an adaptive cluster gives some up.
    pub grace: Duration,
    /// Wait after the first failed submission; it doubles with each.
    pub retry: Duration,
    /// Failures in a row after which nothing is submitted any more until somebody scales again.
    pub failures_max: u32,
    /// How long a job may run before its worker joins.
    pub start_patience: Duration,
    /// How long a job may go on after its worker has left.
    pub end_patience: Duration,
    /// A worker that is lost after less than this counts as a failure to start.
    pub short_life: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(10),
            grace: Duration::from_secs(60),
            retry: Duration::from_secs(5),
            failures_max: 3,
            start_patience: Duration::from_secs(600),
            end_patience: Duration::from_secs(90),
            short_life: Duration::from_secs(60),
        }
    }
}

/// Where the commands of PBS are, and what they must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PbsCommands {
    /// The folder of `qsub`, `qstat` and `qdel`.
    pub folder: PathBuf,
    pub environment: BTreeMap<String, String>,
}

impl PbsCommands {
    /// Those of this machine, if it has any.
    pub fn found() -> Option<Self> {
        let found = Commands::found()?;
        Some(Self { folder: found.qsub.parent()?.to_owned(), environment: found.environment })
    }

    pub fn commands(&self) -> Commands {
        Commands {
            qsub: self.folder.join("qsub"),
            qstat: self.folder.join("qstat"),
            qdel: self.folder.join("qdel"),
            environment: self.environment.clone(),
            ..Commands::default()
        }
    }
}

/// All about the jobs of one cluster. No secrets: those are in the folder that `worker_options` names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub request: Request,
    /// Jobs are called after it and their number; short, since PBS once allowed 15 letters.
    pub stem: String,
    pub user: UserName,
    pub pbs: PbsCommands,
    /// The program that runs workers.
    pub program: PathBuf,
    /// The file with everything a worker must know, on a disk that every node has.
    pub worker_options: PathBuf,
    /// Where workers write their logs.
    pub logs: PathBuf,
    /// Jobs that are submitted at once, as an array if they are several; 1 for no arrays.
    pub at_once: u32,
    /// Workers wanted at first.
    pub least: u32,
    pub most: u32,
    pub pace: Pace,
}

impl Settings {
    /// The name of a job and of its worker. An array is called after all its workers' stem, and its jobs' indices are their
    /// numbers.
    pub fn name(&self, ticket: u32) -> String {
        format!("{}-{ticket}", self.stem)
    }

    /// The number in a name of ours.
    pub fn ticket(&self, name: &str) -> Option<u32> {
        name.strip_prefix(&self.stem)?.strip_prefix('-')?.parse().ok()
    }

    pub fn log(&self, ticket: u32) -> PathBuf {
        self.logs.join(format!("{}.log", self.name(ticket)))
    }

    /// What is handed to `qsub`: of one job, or of an array if `last` is another one.
    pub fn script(&self, first: u32, last: u32) -> String {
        self.request.script(&Task {
            stem: &self.stem,
            first,
            last,
            program: &self.program,
            options: &self.worker_options,
            logs: &self.logs,
        })
    }
}
