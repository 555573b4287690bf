//! Owns what the peers' `limits.py` says of this machine: how fast one thread decodes and encodes the very data, which no
//! program that reads and writes it can do without.

use std::path::Path;

use serde_json::Value;

use super::engine::{measure, number};
use crate::tools::Repository;

pub(super) struct Limits(Value);

impl Limits {
    /// Runs it. `None` if it fails, which is said.
    pub(super) fn measured(
        repository: &Repository,
        (folder, python): &(std::path::PathBuf, std::path::PathBuf),
        data: &Path,
        scratch: &Path,
    ) -> Option<Self> {
        let mut command = repository.command(python);
        command.current_dir(scratch).arg(folder.join("limits.py")).arg("--data").arg(data);
        command.arg("--scratch").arg(scratch.join("peers"));
        measure("limits.py", &mut command).inspect_err(|error| println!("-- {error:#}")).ok().map(Self)
    }

    /// Seconds for so many megabytes of elements, by one thread, at the rate of that name.
    pub(super) fn seconds(&self, rate: &str, megabytes: f64) -> Option<f64> {
        let rate = &self.0[rate];
        let megabytes_per_second = rate.as_f64().or_else(|| rate["mb_s_raw"].as_f64())?;
        Some(megabytes / megabytes_per_second).filter(|seconds| seconds.is_finite())
    }
}

/// Megabytes of elements that a program went through, and on how many threads.
pub(super) fn moved(ours: &Value) -> (f64, f64) {
    let megabytes = 1e3 * number(ours, "gb_per_s") * number(ours, "seconds");
    (megabytes, number(ours, "procs") * number(ours, "threads"))
}
