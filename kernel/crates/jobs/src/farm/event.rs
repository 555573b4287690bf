//! Owns what a farm is told, what it has done, and how it says that things stand.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use nuna_pbs::{JobId, Snapshot};

/// What is known of a job that was not submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Trying again cannot help.
    Lasting,
    /// It would be one too many, or an array too large: fewer may be taken, or the same once others have ended.
    Full,
    /// The queue takes no jobs at present.
    Closed,
    /// There is nobody to ask: PBS cannot be reached.
    Away,
    /// There is no such job; the next may be taken.
    Passing,
    /// Nobody knows whether there is one.
    Unsure,
}

#[derive(Clone, Debug)]
pub enum Event {
    /// Somebody wants so many workers.
    Want {
        least: u32,
        most: u32,
    },
    /// How many workers the work at hand could use, and the jobs whose workers have nothing to do.
    Demand {
        workers: u32,
        idle: BTreeSet<u32>,
    },
    /// `id` is an array's if it was one; its jobs are those that were submitted with `ticket`.
    Submitted {
        ticket: u32,
        id: JobId,
    },
    NotSubmitted {
        ticket: u32,
        reason: String,
        refusal: Refusal,
    },
    /// `names` are the jobs of this cluster that are not over, and those in any case that have none of our ids yet; `took` is
    /// what the answer cost.
    Listed {
        snapshot: Box<Snapshot>,
        names: BTreeMap<u32, JobId>,
        took: Duration,
    },
    NotListed {
        reason: String,
    },
    /// The worker of a job is there, leaves by itself, or is gone.
    Joined(u32),
    Leaving(u32),
    Left(u32),
    Tick,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// One job, or an array of `count` jobs of which this is the first.
    Submit {
        ticket: u32,
        count: u32,
    },
    /// Ask for all jobs.
    Query,
    Delete {
        ticket: u32,
        id: JobId,
    },
    /// Have the worker of that job finish what it does and leave.
    Retire {
        ticket: u32,
    },
}

/// How things stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub least: u32,
    pub most: u32,
    /// Submitted and not started, or about to be.
    pub queued: u32,
    /// Started, without a worker yet.
    pub starting: u32,
    pub joined: u32,
    pub leaving: u32,
    /// Calls of `qsub`, all of them.
    pub submissions: u32,
    /// Those that PBS gave an id.
    pub accepted: u32,
    /// Those that PBS refused, and jobs that ended before their worker was of use.
    pub failures: u32,
    /// Why nothing is submitted any more.
    pub paused: Option<String>,
    /// Whose job's log may say more about that.
    pub suspect: Option<u32>,
    /// What is wrong with PBS at present.
    pub trouble: Option<String>,
}

impl Status {
    /// Workers that will come if nothing goes wrong.
    pub fn coming(&self) -> u32 {
        self.queued + self.starting
    }
}
