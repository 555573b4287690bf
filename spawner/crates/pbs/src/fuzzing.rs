//! Owns the way of fuzzers to parsers of what PBS's commands print. No part of the interface.

use std::collections::BTreeMap;

use crate::{Queue, Snapshot, queues, separated, status};

/// Of `qstat -f -F json`.
///
/// # Errors
/// If it is none.
pub fn json(stdout: &[u8]) -> Result<Snapshot, String> {
    status::parse(stdout)
}

/// Of `qstat -f -F dsv`.
///
/// # Errors
/// If it is none.
pub fn separated(stdout: &[u8]) -> Result<Snapshot, String> {
    separated::parse(stdout)
}

/// Of `qstat -Q -f -F json`.
///
/// # Errors
/// If it is none.
pub fn queues(stdout: &[u8]) -> Result<BTreeMap<String, Queue>, String> {
    let answer = serde_json::from_slice(stdout).map_err(|error| format!("qstat -Q -f -F json: {error}"))?;
    Ok(queues::all(&answer))
}
