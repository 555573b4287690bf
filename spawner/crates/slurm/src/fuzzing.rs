//! Owns the way of fuzzers to parsers of what Slurm's commands print. No part of the interface.

use nuna_pbs::{JobId, Queues, Snapshot};

use crate::{ClusterFacts, configuration, list};

/// What ends each field of an answer: always the same here.
pub fn mark() -> String {
    let format = list::Mark::of(&[7; 12]).format();
    format
        .split(',')
        .next()
        .and_then(|field| field.split_once(':'))
        .map(|(_, mark)| mark.to_owned())
        .unwrap_or_default()
}

/// Of `squeue`: all jobs, and those of the arrays among them.
///
/// # Errors
/// If one of the two is none.
pub fn jobs(stdout: &[u8]) -> Result<(Snapshot, Snapshot), String> {
    let mark = list::Mark::of(&[7; 12]);
    let all = list::jobs(stdout, &mark)?;
    let arrays: Vec<JobId> = all.jobs.keys().cloned().collect();
    Ok((all, list::sub_jobs(stdout, &mark, &arrays)?))
}

/// Of `scontrol show config`.
///
/// # Errors
/// If it is none.
pub fn cluster(text: &str) -> Result<ClusterFacts, String> {
    configuration::cluster(text)
}

/// Of `scontrol --oneliner show partition`.
pub fn partitions(text: &str) -> Queues {
    configuration::partitions(text, None)
}
