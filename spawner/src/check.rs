//! `nuna-spawner check`: reads the configuration, tries everything it names, and says what to mend.

use std::fmt::Display;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use nuna_pbs::{BatchSystem, JobId, UserName};

use crate::app::{Batch, Parts};
use crate::auth::{Directory, SignInError};
use crate::config::{Config, RunAsSettings, System};
use crate::fit::{self, Finding};
use crate::{journal, listen};

mod machine;

/// A batch system that remembers jobs for less than this after their end may have forgotten one before it is asked.
const FORGETFUL: Duration = Duration::from_secs(60);

/// A job's number that is higher than any that is given out.
const NO_JOB: &str = "999999999";

/// Lines about what is well and what is not.
struct Report<'a> {
    out: &'a mut dyn Write,
    faults: usize,
}

impl Report<'_> {
    fn good(&mut self, line: impl Display) {
        let _ = writeln!(self.out, "good   {line}");
    }

    fn wrong(&mut self, line: impl Display) {
        self.faults += 1;
        let _ = writeln!(self.out, "WRONG  {line}");
    }

    fn notice(&mut self, line: impl Display) {
        let _ = writeln!(self.out, "notice {line}");
    }

    fn outcome(&mut self, key: &str, outcome: Result<String, String>) {
        match outcome {
            Ok(line) => self.good(format_args!("{key}: {line}")),
            Err(line) => self.wrong(format_args!("{key}: {line}")),
        }
    }
}

/// Gives the number of faults found.
pub async fn run(path: &Path, user: Option<&UserName>, out: &mut dyn Write) -> usize {
    let mut report = Report { out, faults: 0 };
    let config = match Config::read(path) {
        Ok(config) => config,
        Err(error) => {
            report.wrong(error);
            return report.faults;
        }
    };
    report.good(format_args!("{}: every key is known and every value fits", path.display()));
    for (key, profile) in &config.profiles {
        let groups =
            if profile.groups.is_empty() { "everybody".to_owned() } else { profile.groups.join(", ") };
        if profile.is_abstract {
            report.good(format_args!("profiles.{key}: others inherit from it"));
            continue;
        }
        report.good(format_args!("profiles.{key}: queue {}, for {groups}", profile.queue));
    }
    let parts = match Parts::new(&config) {
        Ok(parts) => Some(parts),
        Err(faults) => {
            for fault in faults {
                report.wrong(fault);
            }
            None
        }
    };
    folders(&config, &mut report);
    machine::files(path, &config, &mut report);
    machine::names(&config, &mut report).await;
    if let Some(parts) = &parts {
        for line in parts.directory.probe().await {
            report.outcome("directory.servers", line);
        }
    }
    batch(&config, &mut report).await;
    if let Some(user) = user {
        person(&config, parts.as_ref(), user, &mut report).await;
    }
    report.faults
}

fn folders(config: &Config, report: &mut Report<'_>) {
    let state = journal::private_folder(&config.state.folder)
        .map(|()| format!("{} is private", config.state.folder.display()))
        .map_err(|error| error.to_string());
    report.outcome("state.folder", state);
    match listen::check_socket_folder(&config.socket.path) {
        Ok(()) => report.good(format_args!("socket.path: {} can be created", config.socket.path.display())),
        Err(error) => report.wrong(format_args!("{error:#}")),
    }
    match std::net::TcpListener::bind(config.nodes.listen) {
        Ok(_) => report.good(format_args!("nodes.listen: {} is free", config.nodes.listen)),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            report.notice(format_args!(
                "nodes.listen: {} is in use, by this service one hopes",
                config.nodes.listen
            ));
        }
        Err(error) => {
            report.wrong(format_args!("nodes.listen: cannot listen on {}: {error}", config.nodes.listen))
        }
    }
    let program = &config.launcher.program;
    match is_program(program) {
        Ok(()) => report.good(format_args!("launcher.program: {} is a program", program.display())),
        Err(why) => report.notice(format_args!(
            "launcher.program: {why} on this machine; compute nodes must have it at this path"
        )),
    }
}

async fn batch(config: &Config, report: &mut Report<'_>) {
    for (key, path) in config.batch.programs() {
        report.outcome(key, is_program(&path).map(|()| format!("{} is a program", path.display())));
    }
    let batch = Batch::new(&config.batch);
    let helper = match &batch {
        Batch::Pbs(commands) => commands.helper().await,
        Batch::Slurm(commands) => commands.caller.helper().await,
    };
    if let Some(outcome) = helper {
        let good = |version| format!("this account may call the helper, {version}");
        let wrong = |error| {
            format!(
                "{error}; sudoers needs a line such as `nuna ALL=(root) NOPASSWD:NOSETENV: /usr/libexec/nuna-submit`"
            )
        };
        report.outcome("batch.run_as", outcome.map(good).map_err(wrong));
    }
    let (key, queues) = match &batch {
        Batch::Pbs(commands) => {
            pbs(commands, config.batch.system, report).await;
            ("batch.qstat", commands.queues().await)
        }
        Batch::Slurm(commands) => {
            slurm(commands, report).await;
            ("batch.scontrol", commands.queues().await)
        }
    };
    match queues {
        Ok(queues) => {
            for finding in fit::profiles(config, &queues) {
                match finding {
                    Finding::Wrong(line) => report.wrong(line),
                    Finding::Notice(line) => report.notice(line),
                }
            }
        }
        Err(error) => report.wrong(format_args!("{key}: {error}")),
    }
    let key = match config.batch.system {
        System::Pbs | System::Torque => "batch.qstat",
        System::Slurm => "batch.squeue",
    };
    let system = config.batch.system;
    match batch.into_system().jobs().await {
        Ok(snapshot) => {
            report.good(format_args!("{key}: {system} lists {} jobs", snapshot.jobs.len()));
            if let Some(theirs) = snapshot.server_time {
                report.outcome("clock", machine::clock(theirs, crate::clock::Clock::start().now().seconds()));
            }
        }
        Err(error) => report.wrong(format_args!("{key}: {error}")),
    }
}

/// Somebody as the directory, this machine and the batch system know them.
async fn person(config: &Config, parts: Option<&Parts>, user: &UserName, report: &mut Report<'_>) {
    if let Some(parts) = parts {
        match parts.directory.look_up(user).await {
            Ok(identity) => {
                let rank = if identity.admin { ", administers JupyterHub" } else { "" };
                report.good(format_args!(
                    "--user: the directory has {user}, in the groups {:?}{rank}",
                    identity.groups
                ));
                let allowed = parts.profiles.allowed(&identity.groups);
                let keys: Vec<&str> = allowed.iter().map(|(key, _)| *key).collect();
                if keys.is_empty() {
                    report.wrong(format_args!(
                        "--user: no profile is for any of these groups; see `groups` of the profiles"
                    ));
                } else {
                    report.good(format_args!("--user: {user} may choose {}", keys.join(", ")));
                }
            }
            Err(error @ SignInError::NoLookup) => {
                report.notice(format_args!(
                    "--user: {error}, so the directory was not asked about {user}; see directory.lookup_dn"
                ));
            }
            Err(error) => report.wrong(format_args!("--user: {user}: {error}")),
        }
    }
    if !matches!(config.batch.run_as, RunAsSettings::Helper(_)) {
        return;
    }
    report.outcome("--user", machine::account(user));
    // One that no batch system has given out: the command runs in their name, and finds nothing to do.
    let Ok(nothing) = NO_JOB.parse::<JobId>() else { return };
    match Batch::new(&config.batch).into_system().delete(user, &nothing).await {
        Ok(()) => report.good(format_args!("--user: {} runs in the name of {user}", config.batch.system)),
        Err(error) => report.wrong(format_args!("--user: a command in the name of {user} failed: {error}")),
    }
}

async fn pbs(commands: &nuna_pbs::Commands, system: System, report: &mut Report<'_>) {
    match commands.server().await {
        Ok(facts) => {
            report.good(format_args!(
                "batch: {system} server {} answers, version {}",
                facts.name, facts.version
            ));
            if !facts.query_other_jobs {
                report.wrong(
                    "batch: qstat does not show other users' jobs to this account; set the server's \
                     query_other_jobs = True (qmgr), or make the service's account an operator",
                );
            }
            if !facts.job_history {
                let setting = if system == System::Torque {
                    "keep_completed = 300"
                } else {
                    "job_history_enable = True"
                };
                report.notice(format_args!(
                    "batch: {system} forgets jobs as they end, so people are not told how theirs ended; \
                     set the server's {setting}"
                ));
            }
        }
        Err(error) => report.wrong(format_args!("batch.qstat: {error}")),
    }
}

async fn slurm(commands: &nuna_slurm::Commands, report: &mut Report<'_>) {
    match commands.cluster().await {
        Ok(facts) => {
            report.good(format_args!(
                "batch: Slurm's cluster {} answers, version {}",
                facts.name, facts.version
            ));
            if facts.memory < FORGETFUL {
                report.notice(format_args!(
                    "batch: Slurm forgets jobs {} s after their end, so people may not be told how theirs ended; \
                     set MinJobAge = 300 in slurm.conf",
                    facts.memory.as_secs()
                ));
            }
            if !facts.enforces_limits {
                report.notice(
                    "batch: Slurm takes jobs that a partition never runs, which people learn after a minute; \
                     set EnforcePartLimits = ALL in slurm.conf for an answer at once",
                );
            }
        }
        Err(error) => report.wrong(format_args!("batch.scontrol: {error}")),
    }
    if matches!(commands.sees_all_jobs().await, Ok(false)) {
        report.wrong(
            "batch: squeue does not show other users' jobs to this account; take `jobs` out of PrivateData in \
             slurm.conf, or let the service run as Slurm's own account",
        );
    }
}

fn is_program(path: &Path) -> Result<(), String> {
    let metadata = std::fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
        return Err(format!("{} is not an executable file", path.display()));
    }
    Ok(())
}
