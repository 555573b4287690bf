//! The driver: runs the site's `qsub`, `qstat` and `qdel`, and reads what they say.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

use crate::caller::{Caller, RunAs};
use crate::error::{exit, is_about_connection, words};
use crate::process::{Finished, Trouble};
use crate::{
    BatchSystem, DeleteError, JobId, Queues, Rejection, Snapshot, StatusError, SubmitError, UserName, queues,
    separated, status, torque,
};

/// A slow server answers `qstat` for 10,000 jobs in some seconds; more is trouble.
const LIMIT_DEFAULT: Duration = Duration::from_secs(30);
/// What `qsub` puts into a job's name and attributes is bounded by PBS, the script by `jobscript_max_size`.
const SCRIPT_BYTES_MAX: usize = 4 << 20;

/// Ids that one `qstat` gets.
const IDS_MAX: usize = 200;
/// Ids that one `qdel` gets: `nuna-submit` takes 64.
const DELETED_MAX: usize = 50;

/// What `qstat -x` says, with an empty list and exit code 0, where `job_history_enable` is not set.
const NO_HISTORY: &str = "not configured to maintain job history";

/// What it says of an id that the server does not know.
const UNKNOWN_JOB: &str = "Unknown Job Id";

/// Which of PBS's descendants is installed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// OpenPBS and PBS Professional.
    #[default]
    Pbs,
    /// Read from Torque's sources, and not tried on a real one. Without arrays of jobs.
    Torque,
}

/// The commands of an installed PBS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commands {
    pub dialect: Dialect,
    pub qsub: PathBuf,
    pub qstat: PathBuf,
    pub qdel: PathBuf,
    /// Added to the commands' otherwise fixed environment; `{user}` in a value is replaced by the job's user.
    pub environment: BTreeMap<String, String>,
    pub run_as: RunAs,
    /// For each command.
    pub timeout: Duration,
}

/// What matters of the server's own settings (`qstat -B -f -F json`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    pub name: String,
    pub version: String,
    /// Without it, `qstat` shows this process only its own jobs, and nothing can be said of the others'.
    pub query_other_jobs: bool,
    /// Without it, how a job ended is forgotten at once.
    pub job_history: bool,
}

impl Default for Commands {
    fn default() -> Self {
        Self {
            dialect: Dialect::Pbs,
            qsub: PathBuf::from("/opt/pbs/bin/qsub"),
            qstat: PathBuf::from("/opt/pbs/bin/qstat"),
            qdel: PathBuf::from("/opt/pbs/bin/qdel"),
            environment: BTreeMap::new(),
            run_as: RunAs::Myself,
            timeout: LIMIT_DEFAULT,
        }
    }
}

impl Commands {
    /// Asks the server who it is: to be called once, so that a wrong set-up is found before a user finds it.
    pub async fn server(&self) -> Result<ServerFacts, StatusError> {
        let answer = self.details("-B").await?;
        let (name, server) = answer["Server"]
            .as_object()
            .and_then(|servers| servers.iter().next())
            .ok_or_else(|| StatusError::Unreadable { message: "qstat -B -f names no server".to_owned() })?;
        let is_on = |key: &str| server[key].as_str() == Some("True") || server[key].as_bool() == Some(true);
        let version = answer["pbs_version"].as_str().or_else(|| server["pbs_version"].as_str());
        Ok(ServerFacts {
            name: name.clone(),
            version: version.unwrap_or("unknown").to_owned(),
            query_other_jobs: is_on("query_other_jobs"),
            job_history: match self.dialect {
                Dialect::Pbs => is_on("job_history_enable"),
                Dialect::Torque => {
                    queues::number(&server["keep_completed"]).is_some_and(|seconds| seconds > 0)
                }
            },
        })
    }

    /// What the server tells of its queues (`-Q`) or itself (`-B`), in the shape of PBS's JSON.
    async fn details(&self, option: &'static str) -> Result<serde_json::Value, StatusError> {
        match self.dialect {
            Dialect::Pbs => {
                let finished = self.qstat(&[option, "-f", "-F", "json"]).await?;
                serde_json::from_slice(&finished.stdout).map_err(|error| StatusError::Unreadable {
                    message: format!("qstat {option} -f -F json: {error}"),
                })
            }
            Dialect::Torque => {
                let finished = self.qstat(&[option, "-f"]).await?;
                Ok(torque::details(if option == "-Q" { "Queue" } else { "Server" }, &finished.stdout))
            }
        }
    }

    /// What the queues allow: to be read once, before jobs are submitted that no queue would take.
    ///
    /// # Errors
    /// If the server cannot be asked, or its answer not be read.
    pub async fn queues(&self) -> Result<Queues, StatusError> {
        let queues = queues::all(&self.details("-Q").await?);
        let answer = self.details("-B").await?;
        let server = answer["Server"].as_object().and_then(|servers| servers.values().next());
        let default = server.and_then(|server| server["default_queue"].as_str()).map(str::to_owned);
        let array_size_max = server.and_then(|server| queues::number(&server["max_array_size"]));
        Ok(Queues { queues, default, array_size_max })
    }

    /// The commands of this machine: in the folder that `NUNA_PBS_BIN` names, else that of `PATH` with a `qsub` in
    /// it, else below the installation folder that PBS's own configuration names. Variables that say which server
    /// is meant are passed on. None if there is no `qsub`.
    pub fn found() -> Option<Self> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let named = variable("NUNA_PBS_BIN").map(PathBuf::from);
        let path = variable("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
        let configuration = variable("PBS_CONF_FILE").map_or_else(|| "/etc/pbs.conf".into(), PathBuf::from);
        let text = std::fs::read_to_string(configuration).unwrap_or_default();
        let installed = text.lines().find_map(|line| line.trim().strip_prefix("PBS_EXEC=")).map(str::trim);
        let candidates: Vec<PathBuf> = match named {
            Some(folder) => vec![folder],
            None => {
                let path: Vec<PathBuf> = path;
                path.into_iter().chain(installed.map(|folder| PathBuf::from(folder).join("bin"))).collect()
            }
        };
        let folder = candidates.into_iter().find(|folder| folder.join("qsub").is_file())?;
        let environment = ["PBS_CONF_FILE", "PBS_SERVER", "PBS_DEFAULT", "NUNA_PBS_DIR", "NUNA_PBS_USER"]
            .into_iter()
            .filter_map(|name| {
                Some((name.to_owned(), std::env::var(name).ok().filter(|text| !text.is_empty())?))
            })
            .collect();
        Some(Self {
            qsub: folder.join("qsub"),
            qstat: folder.join("qstat"),
            qdel: folder.join("qdel"),
            environment,
            ..Self::default()
        })
    }

    /// Asks the helper for its version, which proves that this account may call it. Nothing to ask without one.
    pub async fn helper(&self) -> Option<Result<String, String>> {
        self.caller().helper().await
    }

    fn caller(&self) -> Caller {
        let Self { run_as, environment, timeout, .. } = self.clone();
        Caller { run_as, environment, timeout }
    }

    async fn qstat(&self, arguments: &[&str]) -> Result<Finished, StatusError> {
        // qstat prints local times without their zone.
        let finished =
            self.caller().myself(&self.qstat, arguments, &[("TZ", "UTC")]).await.map_err(|trouble| {
                match trouble {
                    Trouble::TimedOut => StatusError::TimedOut { limit: self.timeout },
                    Trouble::NotRun(message) | Trouble::Failed(message) => StatusError::Failed { message },
                }
            })?;
        let is_away = match finished.code {
            Some(0) => false,
            Some(255 | exit::UNREACHABLE) if self.dialect == Dialect::Pbs => true,
            Some(_) | None => is_about_connection(&finished.stderr),
        };
        // Without a server it still prints its own version as JSON, and no jobs.
        if is_away || (finished.stdout.is_empty() && finished.code != Some(0)) {
            let words = words("qstat", &finished.stderr);
            return Err(match finished.code {
                _ if is_away => StatusError::Unreachable { words },
                Some(code) => StatusError::Failed { message: format!("{words} (qstat exit code {code})") },
                None => StatusError::Failed { message: "qstat was ended by a signal".to_owned() },
            });
        }
        Ok(finished)
    }

    /// One `qstat -f` with these options and ids. Of ids that are named, those that it does not list are unknown to the server.
    async fn list(&self, options: &[&'static str], ids: &[JobId]) -> Result<Listing, StatusError> {
        let arguments = |format: &'static str| {
            let options = options.iter().copied().chain(["-f", "-F", format]);
            options.chain(ids.iter().map(JobId::as_str)).collect::<Vec<_>>()
        };
        let mut finished = self.qstat(&arguments("json")).await?;
        let mut snapshot = match status::parse(&finished.stdout) {
            Ok(snapshot) => snapshot,
            Err(fault) => {
                finished = self.qstat(&arguments("dsv")).await?;
                let second = separated::parse(&finished.stdout).and_then(|snapshot| {
                    // PBS without jobs says so in JSON. Silence is no list, or every job would be taken for gone.
                    if snapshot.jobs.is_empty() { Err("it names no job".to_owned()) } else { Ok(snapshot) }
                });
                second.map_err(|second| StatusError::Unreadable {
                    message: format!("{fault} (json); {second} (dsv)"),
                })?
            }
        };
        if finished.stderr.contains(NO_HISTORY) {
            return Ok(Listing::NoHistory);
        }
        let is_whole = match finished.code {
            Some(0) => finished.stderr.trim().is_empty(),
            Some(exit::UNKNOWN_JOB) if !ids.is_empty() => is_about_unknown_jobs(&finished.stderr),
            Some(_) | None => false,
        };
        // PBS lists what it can and reports the rest in its exit code, or in words alone: a list that comes with a
        // complaint may lack anything, and a job that is wrongly taken for gone is somebody's lost work.
        if !is_whole {
            if snapshot.jobs.is_empty() {
                let words = words("qstat", &finished.stderr);
                let code = finished.code.map_or_else(|| "none".to_owned(), |code| code.to_string());
                return Err(StatusError::Failed { message: format!("{words} (qstat exit code {code})") });
            }
            snapshot.complete = false;
        }
        Ok(Listing::Read(snapshot))
    }

    /// `qstat -x`, which lists everything that Torque remembers.
    async fn list_of_torque(&self) -> Result<Snapshot, StatusError> {
        let finished = self.qstat(&["-x"]).await?;
        let mut snapshot =
            torque::parse(&finished.stdout).map_err(|message| StatusError::Unreadable { message })?;
        let is_whole = finished.code == Some(0) && finished.stderr.trim().is_empty();
        if !is_whole && snapshot.jobs.is_empty() {
            return Err(StatusError::Failed { message: words("qstat", &finished.stderr) });
        }
        if finished.stdout.trim_ascii().is_empty() {
            // Old releases say so that there are no jobs; else, silence is no list.
            let answer = self.details("-B").await?;
            let server = answer["Server"].as_object().and_then(|servers| servers.values().next());
            if server.and_then(|server| queues::number(&server["total_jobs"])) != Some(0) {
                let message = "qstat -x says nothing, and qstat -B -f does not say that there are no jobs";
                return Err(StatusError::Unreadable { message: message.to_owned() });
            }
        }
        snapshot.complete &= is_whole;
        Ok(snapshot)
    }

    /// What the server knows of `ids`, in as few queries as their number allows.
    async fn of(&self, options: &[&'static str], ids: &[JobId]) -> Result<Snapshot, StatusError> {
        let mut all = Snapshot { jobs: BTreeMap::new(), server_time: None, complete: true };
        for some in ids.chunks(IDS_MAX) {
            let with_history: Vec<&'static str> = ["-x"].into_iter().chain(options.iter().copied()).collect();
            let snapshot = match self.list(&with_history, some).await? {
                Listing::Read(snapshot) => snapshot,
                Listing::NoHistory => match self.list(options, some).await? {
                    Listing::Read(snapshot) => snapshot,
                    Listing::NoHistory => return Err(no_history_was_asked_for()),
                },
            };
            all.jobs.extend(snapshot.jobs);
            all.server_time = snapshot.server_time;
            all.complete &= snapshot.complete;
        }
        Ok(all)
    }
}

impl Dialect {
    /// Whether this exit code of `qdel` means that the job is over already.
    fn says_over(self, code: i32) -> bool {
        match self {
            Self::Pbs => matches!(code, exit::FINISHED | exit::HISTORY_DELETED | exit::ARRAY_JOB_OVER),
            Self::Torque => matches!(code, exit::TORQUE_BAD_STATE | exit::TORQUE_EXITING),
        }
    }
}

/// Whether all that `qstat` complains of is ids that the server does not know.
fn is_about_unknown_jobs(stderr: &str) -> bool {
    let mut lines = stderr.lines().filter(|line| !line.trim().is_empty()).peekable();
    lines.peek().is_some() && lines.all(|line| line.contains(UNKNOWN_JOB))
}

fn no_history_was_asked_for() -> StatusError {
    let message = "qstat complains that there is no history though none was asked for".to_owned();
    StatusError::Unreadable { message }
}

enum Listing {
    Read(Snapshot),
    /// The server keeps no history: it printed nothing and called that success.
    NoHistory,
}

#[async_trait]
impl BatchSystem for Commands {
    async fn submit(&self, user: &UserName, script: &str) -> Result<JobId, SubmitError> {
        if script.len() > SCRIPT_BYTES_MAX || script.contains('\0') {
            let message = format!("the script has a null byte or more than {SCRIPT_BYTES_MAX} bytes");
            return Err(SubmitError::NotRun { message });
        }
        let options: &[&str] = match self.dialect {
            // No background process of the user that stays behind on this machine.
            Dialect::Pbs => &["-f"],
            // There it would ask for a job that survives its nodes.
            Dialect::Torque => &[],
        };
        let finished =
            self.caller().user(user, &self.qsub, "qsub", options, Some(script.to_owned())).await.map_err(
                |trouble| match trouble {
                    Trouble::TimedOut => SubmitError::TimedOut { limit: self.timeout },
                    Trouble::NotRun(message) => SubmitError::NotRun { message },
                    Trouble::Failed(message) => SubmitError::Failed { message },
                },
            )?;
        let words = words("qsub", &finished.stderr);
        match finished.code {
            Some(0) => {
                let stdout = String::from_utf8_lossy(&finished.stdout);
                // A submission hook may greet before the id.
                let last =
                    stdout.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
                last.parse().map_err(|error| SubmitError::Failed {
                    message: format!("qsub reports success, but {error}; it also says: {words}"),
                })
            }
            Some(exit::UNREACHABLE) if self.dialect == Dialect::Pbs => {
                Err(SubmitError::Unreachable { words })
            }
            Some(_) if is_about_connection(&finished.stderr) => Err(SubmitError::Unreachable { words }),
            Some(exit_code) => {
                let kind = match self.dialect {
                    Dialect::Pbs => Rejection::from_exit_code(exit_code),
                    Dialect::Torque => Rejection::from_words_of_torque(&finished.stderr),
                };
                let words = if words.is_empty() { "no reason was given".to_owned() } else { words };
                Err(SubmitError::Rejected { exit_code, words, kind })
            }
            None => Err(SubmitError::Failed { message: "qsub was ended by a signal".to_owned() }),
        }
    }

    async fn jobs(&self) -> Result<Snapshot, StatusError> {
        if self.dialect == Dialect::Torque {
            return self.list_of_torque().await;
        }
        match self.list(&[], &[]).await? {
            Listing::Read(snapshot) => Ok(snapshot),
            Listing::NoHistory => Err(no_history_was_asked_for()),
        }
    }

    async fn remembered(&self, jobs: &[JobId]) -> Result<Snapshot, StatusError> {
        match self.dialect {
            Dialect::Pbs => self.of(&[], jobs).await,
            // Its list of all jobs has them.
            Dialect::Torque => Ok(Snapshot { jobs: BTreeMap::new(), server_time: None, complete: true }),
        }
    }

    async fn sub_jobs(&self, arrays: &[JobId]) -> Result<Snapshot, StatusError> {
        match self.dialect {
            Dialect::Pbs => self.of(&["-t"], arrays).await,
            Dialect::Torque => {
                Err(StatusError::Failed { message: "arrays of jobs are not read from Torque".to_owned() })
            }
        }
    }

    async fn sees_all_jobs(&self) -> Result<bool, StatusError> {
        match self.run_as {
            // Its own it always sees.
            RunAs::Myself | RunAs::Label => Ok(true),
            RunAs::Helper { .. } => Ok(self.server().await?.query_other_jobs),
        }
    }

    /// `qstat -Q`, and `pbsnodes` where it stands beside `qstat`.
    async fn queue_states(&self) -> Result<Queues, StatusError> {
        let mut queues = queues::all(&self.details("-Q").await?);
        let pbsnodes = self.qstat.with_file_name("pbsnodes");
        // Torque's prints no JSON.
        if self.dialect == Dialect::Pbs && pbsnodes.is_file() {
            let answer = self.caller().myself(&pbsnodes, &["-a", "-F", "json"], &[("TZ", "UTC")]).await;
            // What is free is a help, and no more: without it, the rest is told all the same.
            if let Ok(finished) = answer {
                let _ = queues::add_free(&mut queues, &finished.stdout);
            }
        }
        Ok(Queues { queues, default: None, array_size_max: None })
    }

    async fn delete(&self, user: &UserName, job: &JobId) -> Result<(), DeleteError> {
        self.delete_some(user, &[job.as_str()]).await
    }

    async fn delete_all(&self, user: &UserName, jobs: &[JobId]) -> Result<(), DeleteError> {
        let mut outcome = Ok(());
        for some in jobs.chunks(DELETED_MAX) {
            let ids: Vec<&str> = some.iter().map(JobId::as_str).collect();
            outcome = outcome.and(self.delete_some(user, &ids).await);
        }
        outcome
    }
}

impl Commands {
    /// One `qdel`. Its exit code is that of the last job it could not delete; all others were.
    async fn delete_some(&self, user: &UserName, ids: &[&str]) -> Result<(), DeleteError> {
        let finished =
            self.caller().user(user, &self.qdel, "qdel", ids, None).await.map_err(
                |trouble| match trouble {
                    Trouble::TimedOut => DeleteError::TimedOut { limit: self.timeout },
                    Trouble::NotRun(message) | Trouble::Failed(message) => DeleteError::Failed { message },
                },
            )?;
        let words = words("qdel", &finished.stderr);
        match finished.code {
            Some(0 | exit::UNKNOWN_JOB) => Ok(()),
            Some(code) if self.dialect.says_over(code) => Ok(()),
            Some(exit::UNREACHABLE) if self.dialect == Dialect::Pbs => {
                Err(DeleteError::Unreachable { words })
            }
            Some(_) if is_about_connection(&finished.stderr) => Err(DeleteError::Unreachable { words }),
            Some(exit_code) => Err(DeleteError::Rejected { exit_code, words }),
            None => Err(DeleteError::Failed { message: "qdel was ended by a signal".to_owned() }),
        }
    }
}
