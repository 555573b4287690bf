//! `[batch]`: the PBS commands, whose account they run under, and how often PBS is asked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{Faults, seconds};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchSettings {
    pub qsub: PathBuf,
    pub qstat: PathBuf,
    pub qdel: PathBuf,
    pub run_as: RunAsSettings,
    /// Between two queries while somebody waits; one query serves everybody.
    pub interval_seconds: f64,
    /// For one command.
    pub timeout_seconds: f64,
    /// Added to the commands' environment.
    pub environment: BTreeMap<String, String>,
}

/// Whose account `qsub` and `qdel` run under.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum RunAsSettings {
    Word(RunAsWord),
    /// A helper that takes `USER qsub|qdel ARGUMENTS…`: `["sudo", "-n", "/usr/libexec/nuna-submit"]`.
    Helper(Vec<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunAsWord {
    /// The service's own: everybody's jobs belong to it.
    Myself,
    /// The embedded batch system's label: for demos and tests.
    Label,
}

impl Default for BatchSettings {
    fn default() -> Self {
        Self {
            qsub: PathBuf::from("/opt/pbs/bin/qsub"),
            qstat: PathBuf::from("/opt/pbs/bin/qstat"),
            qdel: PathBuf::from("/opt/pbs/bin/qdel"),
            run_as: RunAsSettings::Helper(
                ["sudo", "-n", "/usr/libexec/nuna-submit"].map(str::to_owned).to_vec(),
            ),
            interval_seconds: 5.0,
            timeout_seconds: 20.0,
            environment: BTreeMap::new(),
        }
    }
}

impl BatchSettings {
    pub(super) fn check(&self, faults: &mut Faults) {
        for (key, path) in
            [("batch.qsub", &self.qsub), ("batch.qstat", &self.qstat), ("batch.qdel", &self.qdel)]
        {
            faults.absolute(key, path);
        }
        faults.seconds("batch.interval_seconds", self.interval_seconds, 600.0);
        faults.seconds("batch.timeout_seconds", self.timeout_seconds, 600.0);
        if let RunAsSettings::Helper(argv) = &self.run_as
            && argv.first().is_none_or(String::is_empty)
        {
            faults.add(
                "batch.run_as",
                "the helper's command line is empty",
                "write [\"sudo\", \"-n\", \"/usr/libexec/nuna-submit\"], \"label\" or \"myself\"",
            );
        }
        for name in self.environment.keys() {
            if !super::launcher::is_variable(name) {
                faults.add(
                    format!("batch.environment.{name}"),
                    "not a variable's name",
                    "use letters, digits and _",
                );
            }
        }
    }

    pub fn interval(&self) -> Duration {
        seconds(self.interval_seconds)
    }

    pub fn timeout(&self) -> Duration {
        seconds(self.timeout_seconds)
    }
}
