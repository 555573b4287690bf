//! `nuna-spawner check`: reads the configuration, tries everything it names, and says what to mend.

use std::fmt::Display;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nuna_pbs::BatchSystem;

use crate::app::{Parts, commands};
use crate::auth::Directory;
use crate::config::Config;
use crate::{journal, listen};

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
pub async fn run(path: &Path, out: &mut dyn Write) -> usize {
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
    if let Some(parts) = parts {
        for line in parts.directory.probe().await {
            report.outcome("directory.servers", line);
        }
    }
    batch(&config, &mut report).await;
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
    for (key, path) in [
        ("batch.qsub", &config.batch.qsub),
        ("batch.qstat", &config.batch.qstat),
        ("batch.qdel", &config.batch.qdel),
    ] {
        report.outcome(key, is_program(path).map(|()| format!("{} is a program", path.display())));
    }
    let commands = commands(&config.batch);
    if let Some(outcome) = commands.helper().await {
        let good = |version| format!("this account may call the helper, {version}");
        let wrong = |error| {
            format!(
                "{error}; sudoers needs a line such as `nuna ALL=(root) NOPASSWD:NOSETENV: /usr/libexec/nuna-submit`"
            )
        };
        report.outcome("batch.run_as", outcome.map(good).map_err(wrong));
    }
    match commands.server().await {
        Ok(facts) => {
            report.good(format_args!("batch: PBS server {} answers, version {}", facts.name, facts.version));
            if !facts.query_other_jobs {
                report.wrong(
                    "batch: qstat does not show other users' jobs to this account; set the server's \
                     query_other_jobs = True (qmgr), or make the service's account an operator",
                );
            }
            if !facts.job_history {
                report.notice(
                    "batch: PBS forgets jobs as they end, so people are not told how theirs ended; \
                     set the server's job_history_enable = True",
                );
            }
        }
        Err(error) => report.wrong(format_args!("batch.qstat: {error}")),
    }
    match commands.jobs().await {
        Ok(snapshot) => report.good(format_args!("batch.qstat: PBS lists {} jobs", snapshot.jobs.len())),
        Err(error) => report.wrong(format_args!("batch.qstat: {error}")),
    }
}

fn is_program(path: &Path) -> Result<(), String> {
    let metadata = std::fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
        return Err(format!("{} is not an executable file", path.display()));
    }
    Ok(())
}
