//! What the batch system consists of: nodes, queues with their limits, delays. Read once, checked whole.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use crate::resources::{parse_duration, parse_size_kb};

/// The file given with `--config`. Every key has a default; unknown keys are refused.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Name after the dot in job ids; this machine's name if empty.
    pub(crate) server: String,
    pub(crate) default_queue: String,
    /// How long a job stays queued at least, so that a person sees it wait.
    pub(crate) queue_delay_seconds: f64,
    /// Between the SIGTERM and the SIGKILL of `qdel` and of the walltime.
    pub(crate) kill_delay_seconds: f64,
    /// How long `qstat -x` remembers a finished job.
    pub(crate) history_seconds: u64,
    /// Unfinished jobs the server holds at most.
    pub(crate) jobs_max: usize,
    /// Jobs in one array.
    pub(crate) max_array_size: u32,
    pub(crate) nodes: Vec<NodeSettings>,
    pub(crate) queues: Vec<QueueSettings>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeSettings {
    pub(crate) name: String,
    pub(crate) ncpus: u32,
    pub(crate) mem: String,
    /// What this node's jobs are started with, such as `["/usr/bin/nsenter", "--net=/run/node1"]`: a node may so have
    /// a network or disks of its own. It has to become what follows it. Empty: jobs see this machine.
    #[serde(default)]
    pub(crate) launcher: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct QueueSettings {
    pub(crate) name: String,
    /// Accepts jobs. Absent means yes.
    pub(crate) enabled: Option<bool>,
    /// Starts jobs. Absent means yes.
    pub(crate) started: Option<bool>,
    pub(crate) max_ncpus: Option<u32>,
    pub(crate) max_mem: Option<String>,
    pub(crate) max_walltime: Option<String>,
    pub(crate) default_mem: Option<String>,
    pub(crate) default_walltime: Option<String>,
    /// Running jobs one user may have here.
    pub(crate) max_run_per_user: Option<u32>,
    /// Jobs one user may have here, waiting and running; those of an array are counted each.
    pub(crate) max_queued_per_user: Option<u32>,
    /// Jobs in one array.
    pub(crate) max_array_size: Option<u32>,
    /// If given, only these users may submit.
    pub(crate) acl_users: Option<Vec<String>>,
}

impl QueueSettings {
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled.unwrap_or(true)
    }

    pub(crate) fn is_started(&self) -> bool {
        self.started.unwrap_or(true)
    }
}

impl Default for Settings {
    fn default() -> Self {
        let queue = |name: &str, walltime: &str, default: &str| QueueSettings {
            name: name.to_owned(),
            max_walltime: Some(walltime.to_owned()),
            default_walltime: Some(default.to_owned()),
            ..QueueSettings::default()
        };
        Self {
            server: String::new(),
            default_queue: "workq".to_owned(),
            queue_delay_seconds: 1.0,
            kill_delay_seconds: 10.0,
            history_seconds: 24 * 3600,
            jobs_max: 10_000,
            max_array_size: 10_000,
            nodes: Vec::new(),
            queues: vec![
                queue("workq", "24:00:00", "01:00:00"),
                queue("omp", "24:00:00", "01:00:00"),
                queue("interactive", "12:00:00", "01:00:00"),
            ],
        }
    }
}

impl Settings {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text)
            .with_context(|| format!("{} is not a valid batch configuration", path.display()))
    }

    /// `count` equal nodes, unless the file named some.
    pub(crate) fn fill_nodes(&mut self, count: u32, ncpus: u32, mem: &str) {
        if self.nodes.is_empty() {
            self.nodes = (1..=count)
                .map(|index| NodeSettings {
                    name: format!("node{index}"),
                    ncpus,
                    mem: mem.to_owned(),
                    launcher: Vec::new(),
                })
                .collect();
        }
    }

    pub(crate) fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.nodes.is_empty(), "no nodes: give --nodes or a [[nodes]] table");
        ensure!(!self.queues.is_empty(), "no queues: give at least one [[queues]] table");
        for node in &self.nodes {
            // Sites name nodes by their full host names.
            let is_host = is_name(&node.name.replace('.', "")) && !node.name.starts_with('.');
            ensure!(is_host, "node name {:?} may hold letters, digits, dots, - and _ only", node.name);
            ensure!(node.ncpus > 0, "node {} has no cores", node.name);
            ensure!(
                parse_size_kb(&node.mem).is_some(),
                "node {}: mem = {:?} is not a size",
                node.name,
                node.mem
            );
            if let Some(program) = node.launcher.first() {
                ensure!(
                    Path::new(program).is_absolute(),
                    "node {}: its launcher {program:?} is not an absolute path",
                    node.name
                );
            }
            let same = self.nodes.iter().filter(|other| other.name == node.name).count();
            ensure!(same == 1, "node {} is declared {same} times", node.name);
        }
        for queue in &self.queues {
            let name = &queue.name;
            ensure!(is_name(name), "queue name {name:?} may hold letters, digits, - and _ only");
            let same = self.queues.iter().filter(|other| other.name == *name).count();
            ensure!(same == 1, "queue {name} is declared {same} times");
            for (key, value) in [("max_mem", &queue.max_mem), ("default_mem", &queue.default_mem)] {
                if let Some(value) = value {
                    ensure!(parse_size_kb(value).is_some(), "queue {name}: {key} = {value:?} is not a size");
                }
            }
            for (key, value) in
                [("max_walltime", &queue.max_walltime), ("default_walltime", &queue.default_walltime)]
            {
                if let Some(value) = value {
                    ensure!(
                        parse_duration(value).is_some(),
                        "queue {name}: {key} = {value:?} is not HH:MM:SS"
                    );
                }
            }
        }
        if self.queue(&self.default_queue).is_none() {
            bail!("default_queue = {:?} is not one of the queues", self.default_queue);
        }
        ensure!(
            (1..=1_000_000).contains(&self.max_array_size),
            "max_array_size = {} is outside 1..1000000",
            self.max_array_size
        );
        for (key, seconds) in [
            ("queue_delay_seconds", self.queue_delay_seconds),
            ("kill_delay_seconds", self.kill_delay_seconds),
        ] {
            ensure!((0.0..=86_400.0).contains(&seconds), "{key} = {seconds} is outside 0..86400");
        }
        Ok(())
    }

    pub(crate) fn queue(&self, name: &str) -> Option<&QueueSettings> {
        self.queues.iter().find(|queue| queue.name == name)
    }

    pub(crate) fn queue_delay(&self) -> Duration {
        Duration::from_secs_f64(self.queue_delay_seconds)
    }

    pub(crate) fn kill_delay(&self) -> Duration {
        Duration::from_secs_f64(self.kill_delay_seconds)
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_with_nodes_are_valid() {
        let mut settings = Settings::default();
        assert!(settings.check().is_err(), "no nodes yet");
        settings.fill_nodes(2, 4, "8gb");
        settings.check().unwrap();
    }

    #[test]
    fn mistakes_are_named() {
        assert!(toml::from_str::<Settings>("quewe = 1").unwrap_err().to_string().contains("quewe"));
        let mut settings: Settings = toml::from_str("[[queues]]\nname='workq'\nmax_walltime='long'").unwrap();
        settings.fill_nodes(1, 1, "1gb");
        assert!(settings.check().unwrap_err().to_string().contains("max_walltime"));
    }
}
