//! `nuna-pbs`: the commands of PBS Pro, and the small batch server behind them.
//!
//! One program plays every role. Called through a symlink named `qsub`, `qstat`, `qdel`, `qselect`, `qhold`,
//! `qrls` or `pbsnodes` it is that command; called by its own name, its first argument says which.
//! This file only chooses; `commands` talks to the server, `server` is the daemon, `mom` watches one job.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "PBS commands answer on standard output")]

mod attributes;
mod batch;
mod commands;
mod error;
mod job;
mod mom;
mod protocol;
mod render;
mod resources;
mod server;
mod settings;
mod usage;

use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "\
nuna-pbs: an embedded batch system that speaks PBS Pro's commands

usage: nuna-pbs server [--state DIR] [--nodes N] [--cores N] [--mem SIZE] [--config FILE]
                       [--queue-delay SECONDS] [--die-with-parent]
       nuna-pbs qsub|qstat|qdel|qselect|qhold|qrls|pbsnodes [arguments as in PBS Pro]

The commands find their server through NUNA_PBS_DIR (the server's state folder).
NUNA_PBS_USER, if set, is the name a job is submitted under: a label for demo users who all
run as one Unix account. Symlink this program as qsub, qstat, … to use it as those commands.";

fn main() -> ExitCode {
    let mut arguments: Vec<String> =
        std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let called_as = arguments
        .first()
        .and_then(|path| Path::new(path).file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let role = if commands::NAMES.contains(&called_as.as_str()) {
        arguments.remove(0);
        called_as
    } else {
        if arguments.len() < 2 {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
        arguments.remove(0);
        arguments.remove(0)
    };
    let code = match role.as_str() {
        "server" => report(server::main(arguments)),
        "mom" => report(mom::main(&arguments)),
        "job-shell" => report(mom::job_shell(&arguments)),
        "--help" | "-h" | "help" => {
            println!("{USAGE}");
            0
        }
        "--version" => {
            println!("nuna-pbs {}", env!("CARGO_PKG_VERSION"));
            0
        }
        name if commands::NAMES.contains(&name) => commands::run(name, &arguments),
        other => {
            eprintln!("nuna-pbs: unknown command {other:?}\n{USAGE}");
            2
        }
    };
    ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1))
}

fn report(outcome: anyhow::Result<()>) -> i32 {
    match outcome {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("nuna-pbs: {error:#}");
            1
        }
    }
}
