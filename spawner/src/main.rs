//! `nuna-spawner`: command line and signals; all else is in the library.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};
use nuna_pbs::UserName;
use nuna_spawner::app::Batch;
use nuna_spawner::config::Config;
use nuna_spawner::{check, serve};
use nuna_systemd::Manager;
use tokio::signal::unix::{SignalKind, signal};

/// The service behind JupyterHub: sign-in, profiles, user servers as PBS or Slurm jobs, dashboards.
#[derive(Debug, Parser)]
#[command(name = "nuna-spawner", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves until SIGTERM or SIGINT.
    Serve {
        #[arg(long, env = "NUNA_SPAWNER_CONFIG", default_value = "/etc/nuna/spawner.toml")]
        config: PathBuf,
        /// End when the process that started the service ends.
        #[arg(long)]
        die_with_parent: bool,
        /// How the log is written to standard error.
        #[arg(long, value_enum, default_value_t = LogFormat::Text)]
        log: LogFormat,
    },
    /// Reads the configuration, tries what it names, and says what is wrong and how to mend it.
    Check {
        #[arg(long, env = "NUNA_SPAWNER_CONFIG", default_value = "/etc/nuna/spawner.toml")]
        config: PathBuf,
        /// Also looks this person up, in the directory and on this machine, and calls the batch system in their name.
        #[arg(long)]
        user: Option<UserName>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Serve { config, die_with_parent, log } => run(&config, die_with_parent, log),
        Command::Check { config, user } => try_out(&config, user.as_ref()),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("nuna-spawner: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        anyhow::bail!("a cryptography provider was installed twice");
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")
}

fn run(path: &Path, die_with_parent: bool, log: LogFormat) -> anyhow::Result<ExitCode> {
    if die_with_parent {
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM)
            .context("cannot follow the parent process")?;
    }
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("NUNA_LOG").unwrap_or_else(|_| "info,ldap3=warn".into());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => builder.json().init(),
    }
    let config = Config::read(path)?;
    runtime()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let batch = Batch::new(&config.batch).into_system();
        let systemd = Manager::from_environment()
            .context("cannot tell systemd anything (a unit of Type=notify sets NOTIFY_SOCKET)")?;
        let sockets = nuna_systemd::passed().context("cannot take the sockets that systemd passes")?;
        let serving = serve::start(config, batch, systemd, sockets).await?;
        serving
            .until(async move {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            })
            .await
    })?;
    Ok(ExitCode::SUCCESS)
}

fn try_out(path: &Path, user: Option<&UserName>) -> anyhow::Result<ExitCode> {
    let faults = runtime()?.block_on(check::run(path, user, &mut std::io::stdout()));
    if faults == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("nuna-spawner: {faults} thing{} to mend", if faults == 1 { "" } else { "s" });
    Ok(ExitCode::FAILURE)
}
