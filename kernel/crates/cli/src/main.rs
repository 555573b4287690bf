//! `nuna`: arguments, then a call into the runtime. Owns the command line and nothing else.

mod cluster;
mod doctor;
mod drain;
mod kernel;
mod processes;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

/// Clusters and kernels of Nuna: labelled arrays and task farms for Rust notebooks.
#[derive(Parser)]
#[command(name = "nuna", version, about, max_term_width = 100, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the scheduler of a cluster. Clusters start this themselves.
    Scheduler(ProcessOptions),
    /// Run one worker of a cluster, which clusters and their PBS jobs start themselves; or drain those of yours on
    /// this machine.
    Worker(WorkerOptions),
    /// List and stop clusters that run on this machine.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Make the kernel known to Jupyter.
    #[command(subcommand)]
    Kernel(KernelCommand),
    /// Check this machine: compiler, runtime library, Jupyter, PBS.
    Doctor,
}

#[derive(Args)]
struct ProcessOptions {
    /// JSON file with everything the process needs to know, readable by its owner only. `NUNA_LOG=debug` says
    /// more on standard error.
    #[arg(long, value_name = "FILE")]
    options: PathBuf,
}

#[derive(Args)]
struct WorkerOptions {
    /// JSON file with everything the process needs to know, readable by its owner only. `NUNA_LOG=debug` says
    /// more on standard error.
    #[arg(long, value_name = "FILE", required_unless_present = "drain")]
    options: Option<PathBuf>,
    /// What it is called, if not as the file says. With `--drain`, which one.
    #[arg(long)]
    name: Option<String>,
    /// Run none: ask your workers on this machine to take no more work, and to leave once they have done what they run.
    #[arg(long, conflicts_with_all = ["options", "ends_at"])]
    drain: bool,
    /// With `--drain`: wait for so long until they have left.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, requires = "drain")]
    wait: u64,
    /// When its job ends, in seconds since 1970. It takes no more work some time before, and leaves. SIGTERM makes it
    /// do so at once.
    #[arg(long, value_name = "SECONDS")]
    ends_at: Option<u64>,
}

#[derive(Subcommand)]
enum ClusterCommand {
    /// Show running clusters.
    List {
        /// Print JSON for programs. It holds no token.
        #[arg(long)]
        json: bool,
    },
    /// Stop clusters; their workers and what they hold go with them.
    Stop {
        /// Names, as `list` shows them.
        #[arg(required_unless_present = "all")]
        names: Vec<String>,
        /// Stop every cluster of yours on this machine.
        #[arg(long, conflicts_with = "names")]
        all: bool,
        /// How long each of them may take to send its workers home and to delete jobs that wait.
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        wait: u64,
    },
}

#[derive(Subcommand)]
enum KernelCommand {
    /// Write the kernelspec, after a check that cells compile here.
    Install(kernel::Install),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Scheduler(process) => processes::scheduler(&process.options),
        Command::Worker(WorkerOptions { options: Some(options), name, ends_at, .. }) => {
            processes::worker(&options, name, ends_at)
        }
        Command::Worker(WorkerOptions { name, wait, .. }) => {
            drain::drain(name.as_deref(), std::time::Duration::from_secs(wait))
        }
        Command::Cluster(ClusterCommand::List { json }) => cluster::list(json),
        Command::Cluster(ClusterCommand::Stop { names, all, wait }) => {
            cluster::stop(&names, all, std::time::Duration::from_secs(wait))
        }
        Command::Kernel(KernelCommand::Install(wanted)) => kernel::install(&wanted),
        Command::Doctor => return doctor::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&format!("nuna: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "this is what the person asked for")]
fn print(line: &str) {
    println!("{line}");
}

fn print_error(line: &str) {
    eprintln!("{line}");
}
