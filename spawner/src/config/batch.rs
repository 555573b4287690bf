//! `[batch]`: which batch system, its commands, whose account they run under, and how often it is asked.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{Faults, seconds};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchSettings {
    pub system: System,
    /// Of PBS or Torque; where its packages put them if not named.
    pub qsub: Option<PathBuf>,
    pub qstat: Option<PathBuf>,
    pub qdel: Option<PathBuf>,
    /// Of Slurm; in `/usr/bin` if not named.
    pub sbatch: Option<PathBuf>,
    pub squeue: Option<PathBuf>,
    pub scancel: Option<PathBuf>,
    pub scontrol: Option<PathBuf>,
    pub run_as: RunAsSettings,
    /// Between two queries while somebody waits; one query serves everybody.
    pub interval_seconds: f64,
    /// For one command.
    pub timeout_seconds: f64,
    /// Added to the commands' environment.
    pub environment: BTreeMap<String, String>,
}

/// The batch system that runs user servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum System {
    #[default]
    Pbs,
    Torque,
    Slurm,
}

impl System {
    /// What its directives in a job script begin with.
    pub fn directive(self) -> &'static str {
        match self {
            Self::Pbs | Self::Torque => "#PBS",
            Self::Slurm => "#SBATCH",
        }
    }
}

/// As people call it.
impl fmt::Display for System {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Pbs => "PBS",
            Self::Torque => "Torque",
            Self::Slurm => "Slurm",
        })
    }
}

/// Whose account jobs are submitted and deleted under.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum RunAsSettings {
    Word(RunAsWord),
    /// A helper that takes `USER qsub|qdel|sbatch|scancel ARGUMENTS…`: `["sudo", "-n", "/usr/libexec/nuna-submit"]`.
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
            system: System::default(),
            qsub: None,
            qstat: None,
            qdel: None,
            sbatch: None,
            squeue: None,
            scancel: None,
            scontrol: None,
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
        for (key, path) in self.programs() {
            faults.absolute(key, &path);
        }
        let others = match self.system {
            System::Pbs | System::Torque => &self.named(System::Slurm),
            System::Slurm => &self.named(System::Pbs),
        };
        for (key, _) in others.iter().filter(|(_, path)| path.is_some()) {
            faults.add(
                *key,
                format!("{} has no such command", self.system),
                "leave it out, or set batch.system to the system that has it",
            );
        }
        if self.system != System::Pbs && self.run_as == RunAsSettings::Word(RunAsWord::Label) {
            faults.add(
                "batch.run_as",
                "\"label\" is for the embedded batch system, which speaks OpenPBS",
                "write [\"sudo\", \"-n\", \"/usr/libexec/nuna-submit\"], or \"myself\"",
            );
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

    /// A system's commands as the file names them.
    fn named(&self, system: System) -> Vec<(&'static str, Option<&PathBuf>)> {
        match system {
            System::Pbs | System::Torque => vec![
                ("batch.qsub", self.qsub.as_ref()),
                ("batch.qstat", self.qstat.as_ref()),
                ("batch.qdel", self.qdel.as_ref()),
            ],
            System::Slurm => vec![
                ("batch.sbatch", self.sbatch.as_ref()),
                ("batch.squeue", self.squeue.as_ref()),
                ("batch.scancel", self.scancel.as_ref()),
                ("batch.scontrol", self.scontrol.as_ref()),
            ],
        }
    }

    /// The commands that are run, by their keys.
    pub fn programs(&self) -> Vec<(&'static str, PathBuf)> {
        let folder = match self.system {
            System::Pbs => "/opt/pbs/bin/",
            System::Torque => "/usr/local/bin/",
            System::Slurm => "/usr/bin/",
        };
        let usual = |key: &str| PathBuf::from(key.replace("batch.", folder));
        let named = self.named(self.system).into_iter();
        named.map(|(key, path)| (key, path.cloned().unwrap_or_else(|| usual(key)))).collect()
    }

    /// One of [`BatchSettings::programs`].
    pub fn program(&self, key: &str) -> PathBuf {
        self.programs().into_iter().find(|(other, _)| *other == key).map(|(_, path)| path).unwrap_or_default()
    }

    pub fn interval(&self) -> Duration {
        seconds(self.interval_seconds)
    }

    pub fn timeout(&self) -> Duration {
        seconds(self.timeout_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> String {
        let settings: BatchSettings = toml::from_str(text).unwrap();
        let mut faults = Faults::default();
        settings.check(&mut faults);
        faults.0.iter().map(|fault| format!("{fault}\n")).collect()
    }

    #[test]
    fn each_system_has_its_own_commands() {
        let settings: BatchSettings =
            toml::from_str("system = 'slurm'\nsqueue = '/opt/slurm/squeue'").unwrap();
        assert_eq!(settings.program("batch.squeue"), PathBuf::from("/opt/slurm/squeue"));
        assert_eq!(settings.program("batch.sbatch"), PathBuf::from("/usr/bin/sbatch"));
        assert_eq!(BatchSettings::default().program("batch.qdel"), PathBuf::from("/opt/pbs/bin/qdel"));
        assert_eq!(faults("") + &faults("system = 'slurm'"), "");
    }

    #[test]
    fn what_means_nothing_to_a_system_is_named() {
        for (text, words) in [
            ("system = 'slurm'\nqstat = '/usr/bin/qstat'", "batch.qstat: Slurm has no such command"),
            ("sbatch = '/usr/bin/sbatch'", "batch.sbatch: PBS has no such command"),
            ("system = 'torque'\nsqueue = '/usr/bin/squeue'", "batch.squeue: Torque has no such command"),
            ("system = 'torque'\nrun_as = 'label'", "batch.run_as: \"label\" is for the embedded"),
            ("system = 'slurm'\nrun_as = 'label'", "batch.run_as: \"label\" is for the embedded"),
            ("system = 'slurm'\nsbatch = 'sbatch'", "batch.sbatch: sbatch is not an absolute path"),
        ] {
            assert!(faults(text).contains(words), "{text}: {}", faults(text));
        }
        assert!(toml::from_str::<BatchSettings>("system = 'lsf'").is_err());
    }
}
