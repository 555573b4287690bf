//! How a driver's commands are called: as this process or in a user's name, with an environment made for them.
//!
//! The environment is clean, so nothing of this process's own reaches a job's variables, which every user of the
//! cluster can read.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::UserName;
use crate::error::{cleaned, words};
use crate::process::{Finished, Invocation, Trouble, run};

const SEARCH_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// sudo's own, for whatever keeps it from running the command.
const EXIT_SUDO: i32 = 1;

/// In whose name jobs are submitted and deleted. What only asks always runs as this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunAs {
    /// All jobs belong to the account this process runs as.
    Myself,
    /// The same, and the embedded batch system labels each with its user (`NUNA_PBS_USER`).
    Label,
    /// `argv` is followed by the user's name, the command's word (`qsub`, `scancel`), and arguments:
    /// `sudo -n …/nuna-submit`.
    Helper { argv: Vec<String> },
}

/// What all commands of one batch system are called with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub run_as: RunAs,
    /// Added to the commands' otherwise fixed environment; `{user}` in a value is replaced by the job's user.
    pub environment: BTreeMap<String, String>,
    /// For each command.
    pub timeout: Duration,
}

impl Caller {
    /// Runs `program` as this process, with `more` in its environment.
    ///
    /// # Errors
    /// If it did not run, or not to its end in time. What its exit code means is the caller's to say.
    pub async fn myself(
        &self,
        program: &Path,
        arguments: &[&str],
        more: &[(&str, &str)],
    ) -> Result<Finished, Trouble> {
        let argv = std::iter::once(OsString::from(program)).chain(arguments.iter().map(OsString::from));
        let mut environment = self.environment(None);
        environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))));
        let folder = PathBuf::from("/");
        run(Invocation { argv: argv.collect(), environment, folder, stdin: None }, self.timeout).await
    }

    /// Runs `program`, which the helper knows as `word`, in the user's name.
    ///
    /// # Errors
    /// As [`Caller::myself`]; also if sudo or the helper refused, in their words.
    pub async fn user(
        &self,
        user: &UserName,
        program: &Path,
        word: &str,
        arguments: &[&str],
        stdin: Option<String>,
    ) -> Result<Finished, Trouble> {
        let mut argv: Vec<OsString> = match &self.run_as {
            RunAs::Myself | RunAs::Label => vec![program.into()],
            RunAs::Helper { argv } => {
                argv.iter().map(String::as_str).chain([user.as_str(), word]).map(OsString::from).collect()
            }
        };
        argv.extend(arguments.iter().map(OsString::from));
        let environment = self.environment(Some(user));
        let home = environment.get("HOME").map(PathBuf::from);
        let folder = home.filter(|home| home.is_dir()).unwrap_or_else(|| PathBuf::from("/"));
        let finished = run(Invocation { argv, environment, folder, stdin }, self.timeout).await?;
        // sudo and the helper complain in their own names: that is the site's set-up, not the batch system's answer.
        // sudo also warns (of a host name, say) and goes on; then the command has the word, with an exit code of its own.
        let complaint = finished.stderr.lines().find(|line| {
            matches!(self.run_as, RunAs::Helper { .. })
                && ((line.starts_with("sudo:") && finished.code == Some(EXIT_SUDO))
                    || line.starts_with("nuna-submit:"))
        });
        match complaint {
            Some(line) if finished.code != Some(0) => Err(Trouble::NotRun(words("", line))),
            _ => Ok(finished),
        }
    }

    /// Asks the helper for its version, which proves that this account may call it. Nothing to ask without one.
    pub async fn helper(&self) -> Option<Result<String, String>> {
        let RunAs::Helper { argv } = &self.run_as else { return None };
        let line = argv.join(" ");
        let argv = argv.iter().map(String::as_str).chain(["--version"]).map(OsString::from).collect();
        let invocation =
            Invocation { argv, environment: self.environment(None), folder: PathBuf::from("/"), stdin: None };
        Some(match run(invocation, self.timeout).await {
            Ok(finished) if finished.code == Some(0) => {
                Ok(cleaned(&String::from_utf8_lossy(&finished.stdout)))
            }
            Ok(finished) => Err(format!("`{line} --version` failed: {}", words("", &finished.stderr))),
            Err(Trouble::TimedOut) => {
                Err(format!("`{line} --version` did not answer within {} s", self.timeout.as_secs()))
            }
            Err(Trouble::NotRun(message) | Trouble::Failed(message)) => Err(message),
        })
    }

    fn environment(&self, user: Option<&UserName>) -> BTreeMap<String, OsString> {
        let own = |name: &str| std::env::var_os(name);
        let mut environment = BTreeMap::from([("PATH".to_owned(), OsString::from(SEARCH_PATH))]);
        for name in ["HOME", "USER", "LOGNAME"] {
            environment.extend(own(name).map(|value| (name.to_owned(), value)));
        }
        for (name, value) in &self.environment {
            let value = match user {
                Some(user) => value.replace("{user}", user.as_str()),
                None => value.clone(),
            };
            environment.insert(name.clone(), value.into());
        }
        if let (RunAs::Label, Some(user)) = (&self.run_as, user) {
            environment.insert("NUNA_PBS_USER".to_owned(), user.as_str().into());
        }
        environment
    }
}
