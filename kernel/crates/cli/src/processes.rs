//! Owns `nuna scheduler` and `nuna worker`: reads the options file that whoever starts them wrote, and serves.
//!
//! Options come as a file because job arguments and environments are visible to everyone on a shared machine; not
//! even the folder with the certificates is named there.

use std::path::Path;

use anyhow::{Context, Result};
use nuna::parts::{executors, runtime};

pub(crate) fn scheduler(options: &Path) -> Result<()> {
    log();
    let options = runtime::scheduler::Options::read(options)?;
    let name = options.name.clone();
    runtime::scheduler::serve(options).with_context(|| format!("scheduler of cluster {name}"))
}

pub(crate) fn worker(options: &Path, name: Option<String>, ends_at: Option<u64>) -> Result<()> {
    log();
    let mut options = runtime::worker::Options::read(options)?;
    options.name = name.unwrap_or(options.name);
    options.ends_at = ends_at.or(options.ends_at);
    let name = options.name.clone();
    runtime::worker::serve(options, executors()).with_context(|| format!("worker {name}"))
}

/// To standard error, which the starter puts where the person finds it.
fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("NUNA_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}
