//! Owns the scheduler and worker processes: sockets, timers, threads and files around the state machines of
//! `scheduler` and `worker`. A driver is dull on purpose: receive, `handle`, carry out the effects, wait.
//!
//! Leaves to others: every decision (`scheduler`, `worker`), what a block computes (an [`Executor`] per kind of
//! work), what people see (`dashboard`), and starting the processes (`cluster`, `cli`).

#![deny(unsafe_code)]

mod executors;
mod lifeline;
pub mod scheduler;
pub mod worker;

pub use executors::{Executors, executors};
pub use nuna_plan::Executor;

use std::path::Path;

/// How often each side shows that it is alive.
const HEARTBEAT: std::time::Duration = std::time::Duration::from_secs(1);
/// After so long without a sign of life the other side is given up.
const SILENCE_MAX: std::time::Duration = std::time::Duration::from_secs(30);
/// What may wait to be sent to one worker or client.
const OUTBOX_BYTES_MAX: u64 = 2 << 30;
/// Messages received and not yet handled; a socket is not read while there are as many.
const INBOX_MESSAGES: usize = 1024;

/// Tells the log about a connection that was refused, with how many there were.
fn log_refusal(reason: &str, address: Option<std::net::SocketAddr>, refused: u64) {
    match address {
        Some(address) => tracing::warn!(reason, %address, refused, "a connection was refused"),
        None => tracing::warn!(reason, "no connection can be accepted"),
    }
}

/// Reads a process's options from a JSON file.
///
/// # Errors
/// If the file cannot be read, or holds other keys or values than the options have.
fn read_options<T: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    use anyhow::Context;
    let text =
        std::fs::read(path).with_context(|| format!("cannot read the options file {}", path.display()))?;
    serde_json::from_slice(&text)
        .with_context(|| format!("the options file {} is not usable", path.display()))
}
