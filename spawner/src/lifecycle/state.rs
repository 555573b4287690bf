//! One user server as data: what is known about it, and which state it is in. Everything here goes to the journal.

use std::fmt;
use std::time::Duration;

use nuna_pbs::{JobId, UserName};
use serde::{Deserialize, Serialize};

use crate::clock::Millis;
use crate::secret::{Digest, Sealed};

/// 32 hexadecimal digits; the hub knows a user server by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServerId(String);

impl ServerId {
    pub fn parse(text: &str) -> Option<Self> {
        let valid = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        valid.then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What was asked for, and what proves that a launcher is ours.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    pub id: ServerId,
    pub user: UserName,
    pub server_name: String,
    pub profile: String,
    pub queue: String,
    /// What was asked for; 0 in a journal of an older version.
    #[serde(default)]
    pub walltime_seconds: u64,
    /// The job's name in PBS. A job whose id was lost is found again by it.
    pub tag: String,
    pub requested: Millis,
    pub code: Digest,
    /// Dropped once it is handed over.
    pub environment: Option<Sealed>,
    /// Given to the launcher in exchange for the code.
    pub ticket: Option<Digest>,
    /// The hub has said that it asks about the server this often.
    #[serde(default)]
    pub asked_every: Option<Duration>,
}

/// Where the user server answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum State {
    /// `qsub` is running. A stop that comes now waits for the job's id.
    Submitting {
        stop: Option<Reason>,
    },
    /// Nobody knows whether PBS took the job. If it turns up, it is removed.
    Lost {
        until: Millis,
        reason: Reason,
    },
    Queued {
        job: JobId,
        since: Millis,
    },
    /// The job runs; its user server does not answer yet.
    Starting {
        job: JobId,
        since: Millis,
    },
    Running {
        job: JobId,
        since: Millis,
        address: Address,
    },
    Stopping {
        job: JobId,
        since: Millis,
        reason: Reason,
    },
    Gone {
        at: Millis,
        job: Option<JobId>,
        ending: Ending,
    },
}

impl State {
    pub fn job(&self) -> Option<&JobId> {
        match self {
            Self::Submitting { .. } | Self::Lost { .. } => None,
            Self::Queued { job, .. }
            | Self::Starting { job, .. }
            | Self::Running { job, .. }
            | Self::Stopping { job, .. } => Some(job),
            Self::Gone { job, .. } => job.as_ref(),
        }
    }

    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Gone { .. })
    }

    pub fn word(&self) -> &'static str {
        match self {
            Self::Submitting { .. } => "submitting",
            Self::Queued { .. } => "queued",
            Self::Starting { .. } => "starting",
            Self::Running { .. } => "running",
            Self::Lost { .. } | Self::Stopping { .. } => "stopping",
            Self::Gone { .. } => "gone",
        }
    }
}

/// Why a user server is being stopped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reason {
    Requested,
    QueueWait {
        limit: Duration,
        words: Option<String>,
    },
    StartLimit {
        limit: Duration,
    },
    /// PBS says that nothing it has could ever run the job.
    NeverRuns {
        words: String,
    },
    LaunchFailed(LaunchReport),
    /// PBS queued the job again after its one code was used.
    QueuedAgain,
    /// `qsub` gave no answer in time.
    NoAnswer {
        words: String,
    },
    /// The service was restarted while `qsub` was running; the hub never learned the server's id.
    Restarted,
    /// The hub asks about others and not about this one.
    Unclaimed,
}

/// What the launcher said when the user server did not come up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LaunchReport {
    pub message: String,
    pub exit: Option<i32>,
    pub tail: String,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    pub exit: Option<i32>,
    /// Absent if this is how it should end.
    pub failure: Option<Failure>,
    /// One sentence for a page.
    pub message: String,
    /// More lines, for a page that has room.
    pub detail: Option<String>,
}

/// Stable words for what went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    PbsRejected,
    PbsUnreachable,
    QueueWait,
    StartLimit,
    LaunchFailed,
    JobEnded,
    Restarted,
    Internal,
}

impl Failure {
    pub fn code(self) -> &'static str {
        match self {
            Self::PbsRejected => "pbs_rejected",
            Self::PbsUnreachable => "pbs_unreachable",
            Self::QueueWait => "queue_wait",
            Self::StartLimit => "start_limit",
            Self::LaunchFailed => "launch_failed",
            Self::JobEnded => "job_ended",
            Self::Restarted => "restarted",
            Self::Internal => "internal",
        }
    }
}

/// The service's patience.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub queue_wait: Duration,
    pub start: Duration,
    /// A job without an id may turn up this long after its `qsub`.
    pub lost: Duration,
    /// How long a user server that is gone is remembered.
    pub remember: Duration,
    /// How long the hub may not ask about a server while it is heard. Zero: for ever.
    pub unclaimed: Duration,
    pub servers_max: usize,
    /// Of one person.
    pub servers_per_user_max: usize,
}
