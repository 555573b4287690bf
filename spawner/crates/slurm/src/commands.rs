//! The driver: runs the site's `sbatch`, `squeue`, `scancel` and `scontrol`, and reads what they say.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use nuna_pbs::{
    BatchSystem, Caller, DeleteError, Finished, JobId, Queues, RunAs, Snapshot, StatusError, SubmitError,
    Trouble, UserName,
};

use crate::ClusterFacts;
use crate::complaints::{About, about, of_living_jobs, rejection, words};
use crate::configuration;
use crate::list::{self, Mark};

/// `squeue` gives up after some ten seconds by itself (`MessageTimeout`).
const LIMIT_DEFAULT: Duration = Duration::from_secs(30);
/// Slurm's own bound on a script (`SchedulerParameters=max_script_size`).
const SCRIPT_BYTES_MAX: usize = 4 << 20;
/// Ids that one `scancel` gets.
const IDS_MAX: usize = 50;

/// Times as seconds since the epoch, indices of arrays whole, and none of the settings by which people make `squeue`
/// show them less.
const SQUEUE_ENVIRONMENT: [(&str, &str); 3] =
    [("SLURM_TIME_FORMAT", "%s"), ("SLURM_BITSTR_LEN", "0"), ("LC_ALL", "C.UTF-8")];

/// The commands of an installed Slurm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commands {
    pub sbatch: PathBuf,
    pub squeue: PathBuf,
    pub scancel: PathBuf,
    pub scontrol: PathBuf,
    /// In whose name jobs are submitted and cancelled, environment, and limit for each command.
    pub caller: Caller,
}

impl Default for Commands {
    fn default() -> Self {
        let path = |name: &str| Path::new("/usr/bin").join(name);
        Self {
            sbatch: path("sbatch"),
            squeue: path("squeue"),
            scancel: path("scancel"),
            scontrol: path("scontrol"),
            caller: Caller {
                run_as: RunAs::Myself,
                environment: std::collections::BTreeMap::new(),
                timeout: LIMIT_DEFAULT,
            },
        }
    }
}

impl Commands {
    /// Asks the controller who it is: to be called once, so that a wrong set-up is found before a user finds it.
    ///
    /// # Errors
    /// If the controller cannot be asked, or its answer not be read.
    pub async fn cluster(&self) -> Result<ClusterFacts, StatusError> {
        let text = self.scontrol(&["show", "config"]).await?;
        configuration::cluster(&text).map_err(|message| StatusError::Unreadable { message })
    }

    /// What the partitions allow.
    ///
    /// # Errors
    /// If the controller cannot be asked.
    pub async fn queues(&self) -> Result<Queues, StatusError> {
        let array_size_max = self.cluster().await?.array_size_max;
        let text = self.scontrol(&["--all", "--oneliner", "show", "partition"]).await?;
        Ok(configuration::partitions(&text, array_size_max))
    }

    async fn scontrol(&self, arguments: &[&str]) -> Result<String, StatusError> {
        let finished = self.ask(&self.scontrol, "scontrol", arguments).await?;
        Ok(String::from_utf8_lossy(&finished.stdout).into_owned())
    }

    /// Runs what only asks. Exit code 0 counts; anything else is an error, whatever was printed before it.
    async fn ask(&self, program: &Path, name: &str, arguments: &[&str]) -> Result<Finished, StatusError> {
        let finished = self.caller.myself(program, arguments, &SQUEUE_ENVIRONMENT).await.map_err(
            |trouble| match trouble {
                Trouble::TimedOut => StatusError::TimedOut { limit: self.caller.timeout },
                Trouble::NotRun(message) | Trouble::Failed(message) => StatusError::Failed { message },
            },
        )?;
        if finished.code == Some(0) {
            return Ok(finished);
        }
        let words = words(name, &finished.stderr);
        Err(match (about(&finished.stderr), finished.code) {
            (About::Connection | About::Silence, _) => StatusError::Unreachable { words },
            (About::Request, Some(code)) => {
                StatusError::Failed { message: format!("{words} ({name} exit code {code})") }
            }
            (About::Request, None) => {
                StatusError::Failed { message: format!("{name} was ended by a signal") }
            }
        })
    }

    /// One list of all that the controller remembers, read by `read`.
    async fn list(
        &self,
        read: impl FnOnce(&[u8], &Mark) -> Result<Snapshot, String>,
    ) -> Result<Snapshot, StatusError> {
        let mark = Mark::fresh().map_err(|message| StatusError::Failed { message })?;
        let format = mark.format();
        let arguments = ["--all", "--noheader", "--states=all", "-O", &format];
        let finished = self.ask(&self.squeue, "squeue", &arguments).await?;
        let mut snapshot = read(&finished.stdout, &mark)
            .map_err(|message| StatusError::Unreadable { message: format!("squeue: {message}") })?;
        // A list that comes with a complaint may lack anything, and a job that is wrongly taken for gone is
        // somebody's lost work.
        snapshot.complete &= finished.stderr.trim().is_empty();
        Ok(snapshot)
    }

    /// One `scancel`, which goes on after an id it cannot cancel.
    async fn cancel(&self, user: &UserName, jobs: &[JobId]) -> Result<(), DeleteError> {
        let ids: Vec<String> = jobs.iter().map(slurm_id).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let finished =
            self.caller.user(user, &self.scancel, "scancel", &ids, None).await.map_err(|trouble| {
                match trouble {
                    Trouble::TimedOut => DeleteError::TimedOut { limit: self.caller.timeout },
                    Trouble::NotRun(message) | Trouble::Failed(message) => DeleteError::Failed { message },
                }
            })?;
        let complaint = of_living_jobs(&finished.stderr);
        let words = words("scancel", &complaint);
        match (about(&complaint), finished.code) {
            (About::Connection | About::Silence, _) => Err(DeleteError::Unreachable { words }),
            (About::Request, Some(0)) => Ok(()),
            // All that it complained of is over.
            (About::Request, Some(_)) if words.is_empty() && !finished.stderr.trim().is_empty() => Ok(()),
            (About::Request, Some(exit_code)) => Err(DeleteError::Rejected { exit_code, words }),
            (About::Request, None) => {
                Err(DeleteError::Failed { message: "scancel was ended by a signal".to_owned() })
            }
        }
    }
}

/// `12`, `12` for the array `12[]`, `12_3` for its job `12[3]`.
fn slurm_id(job: &JobId) -> String {
    match job.index() {
        Some(index) => format!("{}_{index}", job.sequence()),
        None => job.sequence().to_string(),
    }
}

/// Whether the script's directives make it an array; `sbatch` answers with the same kind of number either way.
fn is_array(script: &str) -> bool {
    script
        .lines()
        .take_while(|line| line.trim().is_empty() || line.starts_with('#'))
        .filter_map(|line| line.strip_prefix("#SBATCH"))
        .flat_map(str::split_whitespace)
        .any(|word| word == "--array" || word.starts_with("--array=") || word.starts_with("-a"))
}

#[async_trait]
impl BatchSystem for Commands {
    async fn submit(&self, user: &UserName, script: &str) -> Result<JobId, SubmitError> {
        if script.len() > SCRIPT_BYTES_MAX || script.contains('\0') {
            let message = format!("the script has a null byte or more than {SCRIPT_BYTES_MAX} bytes");
            return Err(SubmitError::NotRun { message });
        }
        let script_text = Some(script.to_owned());
        let finished =
            self.caller.user(user, &self.sbatch, "sbatch", &["--parsable"], script_text).await.map_err(
                |trouble| match trouble {
                    Trouble::TimedOut => SubmitError::TimedOut { limit: self.caller.timeout },
                    Trouble::NotRun(message) => SubmitError::NotRun { message },
                    Trouble::Failed(message) => SubmitError::Failed { message },
                },
            )?;
        let words = words("sbatch", &finished.stderr);
        match (finished.code, about(&finished.stderr)) {
            (Some(0), _) => {
                let stdout = String::from_utf8_lossy(&finished.stdout);
                // A site's wrapper may greet before the id; behind it stands the cluster's name where there are several.
                let last =
                    stdout.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
                let number = last.split(';').next().unwrap_or_default();
                let id = number.parse::<JobId>().map_err(|error| SubmitError::Failed {
                    message: format!("sbatch reports success, but {error}; it also says: {words}"),
                })?;
                Ok(if is_array(script) { id.sub_job(0).array().unwrap_or(id) } else { id })
            }
            (Some(_), About::Connection) => Err(SubmitError::Unreachable { words }),
            // The request may have been taken: a controller that was only slow has the job.
            (Some(_), About::Silence) => Err(SubmitError::Failed { message: words }),
            (Some(exit_code), About::Request) => {
                let kind = rejection(&finished.stderr);
                let words = if words.is_empty() { "no reason was given".to_owned() } else { words };
                Err(SubmitError::Rejected { exit_code, words, kind })
            }
            (None, _) => Err(SubmitError::Failed { message: "sbatch was ended by a signal".to_owned() }),
        }
    }

    async fn jobs(&self) -> Result<Snapshot, StatusError> {
        self.list(list::jobs).await
    }

    async fn sub_jobs(&self, arrays: &[JobId]) -> Result<Snapshot, StatusError> {
        self.list(|stdout, mark| list::sub_jobs(stdout, mark, arrays)).await
    }

    /// With `PrivateData=jobs`, only root and Slurm's own account are known here to see everybody's.
    async fn sees_all_jobs(&self) -> Result<bool, StatusError> {
        if self.caller.run_as == RunAs::Myself {
            // Its own it always sees.
            return Ok(true);
        }
        let facts = self.cluster().await?;
        Ok(!facts.jobs_are_private || self.is_trusted(&facts))
    }

    async fn queue_states(&self) -> Result<Queues, StatusError> {
        let text = self.scontrol(&["--all", "--oneliner", "show", "partition"]).await?;
        Ok(configuration::partitions(&text, None))
    }

    async fn delete(&self, user: &UserName, job: &JobId) -> Result<(), DeleteError> {
        self.cancel(user, std::slice::from_ref(job)).await
    }

    async fn delete_all(&self, user: &UserName, jobs: &[JobId]) -> Result<(), DeleteError> {
        let mut outcome = Ok(());
        for some in jobs.chunks(IDS_MAX) {
            outcome = outcome.and(self.cancel(user, some).await);
        }
        outcome
    }
}

impl Commands {
    fn is_trusted(&self, facts: &ClusterFacts) -> bool {
        let own = nix::unistd::geteuid();
        let name = nix::unistd::User::from_uid(own).ok().flatten().map(|user| user.name);
        own.is_root() || name.as_deref() == Some(&facts.slurm_user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_known_by_their_directives() {
        for (script, expected) in [
            ("#!/bin/sh\n#SBATCH --array=1-3\ntrue\n", true),
            ("#!/bin/sh\n\n#SBATCH -p x -a 1-3\ntrue\n", true),
            ("#!/bin/sh\n#SBATCH --account=a\ntrue\n", false),
            ("#!/bin/sh\ntrue\n#SBATCH --array=1-3\n", false),
        ] {
            assert_eq!(is_array(script), expected, "{script}");
        }
    }

    #[test]
    fn ids_are_written_as_slurm_writes_them() {
        for (text, expected) in [("12", "12"), ("12[]", "12"), ("12[3]", "12_3")] {
            assert_eq!(slurm_id(&text.parse().unwrap()), expected);
        }
    }
}
