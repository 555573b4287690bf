//! `nuna-singleuser`: what a user server's PBS job runs.
//!
//! The job script holds nothing but a one-time code, which arrives on standard input. This program exchanges it
//! with the spawner service for the environment (which no PBS command ever sees), starts the user server on a free
//! port, tells the service once that port answers, and stays until the server ends. What the environment holds is
//! the service's decision; profiles, users and the hub are unknown here.
#![forbid(unsafe_code)]

mod address;
mod child;
mod launch;
mod output;
mod secret;
mod service;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::launch::Settings;

/// Runs a JupyterHub user server inside a batch job.
///
/// Reads a one-time code from standard input, exchanges it for the server's environment, and reports the address.
#[derive(Debug, Parser)]
#[command(name = "nuna-singleuser", version)]
struct Arguments {
    /// Address of the spawner service, such as http://hub:8092/services/nuna.
    #[arg(long, env = "NUNA_SERVICE_URL")]
    service: String,
    /// Address or host name the user server listens on, if not the one this node reaches the service from.
    #[arg(long)]
    bind: Option<String>,
    /// Seconds the user server has until its port must answer.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    start_seconds: u64,
    /// Seconds between asking the user server to end and ending it.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    grace_seconds: u64,
    /// Seconds a service that does not answer is tried again: a server that has come up outlasts its restart.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    service_seconds: u64,
}

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    if words.nth(1).is_some_and(|first| first == child::ROLE) {
        // Only ever started by ourselves.
        let error = child::become_server(words);
        eprintln!("nuna-singleuser: {error:#}");
        return ExitCode::from(127);
    }
    let arguments = Arguments::parse();
    let settings = Settings {
        service: arguments.service,
        bind: arguments.bind,
        start_limit: Duration::from_secs(arguments.start_seconds),
        grace: Duration::from_secs(arguments.grace_seconds),
        service_patience: Duration::from_secs(arguments.service_seconds),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("nuna-singleuser: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(launch::run(settings));
    // Whoever still holds the server's output must not hold up the job's end.
    runtime.shutdown_timeout(Duration::from_millis(200));
    match outcome {
        Ok(code) => ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1)),
        Err(error) => {
            eprintln!("nuna-singleuser: {error:#}");
            ExitCode::FAILURE
        }
    }
}
