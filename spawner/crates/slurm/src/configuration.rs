//! What `scontrol` says of the cluster and its partitions. Only administrators write either, so names need no care.

use std::collections::BTreeMap;
use std::time::Duration;

use nuna_pbs::{Queue, Queues, Share};

use crate::list::duration;

/// What matters of the controller's own settings (`scontrol show config`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterFacts {
    pub name: String,
    pub version: String,
    /// Whose jobs are not shown to just anybody: `PrivateData=jobs`.
    pub jobs_are_private: bool,
    /// Account that the controller runs as, which sees everything.
    pub slurm_user: String,
    /// How long a job that ended can be asked about.
    pub memory: Duration,
    /// Whether a job over a partition's limits is refused at once, and not left to wait for ever.
    pub enforces_limits: bool,
    pub array_size_max: Option<u64>,
}

/// `Key = value` lines.
///
/// # Errors
/// With a sentence, if it names no cluster.
pub(crate) fn cluster(text: &str) -> Result<ClusterFacts, String> {
    let values: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim()))
        .collect();
    let value = |key: &str| values.get(key).copied().unwrap_or_default();
    let name = value("ClusterName");
    if name.is_empty() {
        return Err("scontrol show config names no cluster".to_owned());
    }
    let seconds = value("MinJobAge").split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0);
    let private = value("PrivateData").split(',').any(|what| matches!(what.trim(), "jobs" | "all"));
    // The largest index is one less.
    let array_size_max = value("MaxArraySize").parse::<u64>().ok().map(|size| size.saturating_sub(1));
    Ok(ClusterFacts {
        name: name.to_owned(),
        version: value("SLURM_VERSION").to_owned(),
        jobs_are_private: private,
        slurm_user: value("SlurmUser").split('(').next().unwrap_or_default().to_owned(),
        memory: Duration::from_secs(seconds),
        enforces_limits: !matches!(value("EnforcePartLimits"), "NO" | ""),
        array_size_max,
    })
}

/// Partitions out of `scontrol --oneliner show partition`, one a line.
pub(crate) fn partitions(text: &str, array_size_max: Option<u64>) -> Queues {
    let mut found = Queues { queues: BTreeMap::new(), default: None, array_size_max };
    for line in text.lines() {
        let values: BTreeMap<&str, &str> =
            line.split_whitespace().filter_map(|word| word.split_once('=')).collect();
        let Some(name) = values.get("PartitionName").filter(|name| !name.is_empty()) else { continue };
        let value = |key: &str| values.get(key).copied().unwrap_or_default();
        if value("Default") == "YES" {
            found.default = Some((*name).to_owned());
        }
        found.queues.insert((*name).to_owned(), partition(name, value));
    }
    found
}

fn partition<'a>(name: &str, value: impl Fn(&str) -> &'a str) -> Queue {
    // UP takes and starts jobs, DOWN takes them, DRAIN only starts those it has, INACTIVE neither.
    let (enabled, started) = match value("State") {
        "UP" => (true, true),
        "DOWN" => (true, false),
        "DRAIN" => (false, true),
        _ => (false, false),
    };
    let number = |key: &str| value(key).parse::<u64>().ok();
    Queue {
        name: name.to_owned(),
        enabled,
        started,
        routes: false,
        cores_max: number("MaxCPUsPerNode"),
        memory_max_bytes: number("MaxMemPerNode").and_then(|mebibytes| mebibytes.checked_mul(1 << 20)),
        walltime_max: duration(value("MaxTime")),
        walltime_default: duration(value("DefaultTime")),
        array_size_max: None,
        queued_max: Share::default(),
        waiting_max: Share::default(),
        // AllowGroups and AllowAccounts name groups and accounts: who is in them is not known here.
        users: None,
        ..Queue::default()
    }
}
