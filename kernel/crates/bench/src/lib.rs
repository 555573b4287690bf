//! Owns whole-cluster benches, each the counterpart of a script of the peers: the same work on the same data, and
//! one JSON line with the same names. `cargo xtask bench` runs them beside those scripts.
//!
//! The programs are in `examples/`; the work is here, because code that travels must live in a library.

mod climatology;
mod csv;
mod floor;
mod graphs;
mod latency;
mod loss;
mod mean;
mod memory;
mod meter;
mod ndvi;
mod rechunk;
mod simulation;
mod spectra;
mod summary;
mod tasks;

pub use climatology::climatology;
pub use csv::csv;
pub use graphs::{GraphOf, graph};
pub use latency::latency;
pub use loss::{LossOf, Victim, loss};
pub use mean::{MeanOf, mean};
pub use memory::memory;
pub use ndvi::ndvi;
pub use rechunk::rechunk;
pub use simulation::simulation;
pub use spectra::spectra;
pub use tasks::tasks;

use std::time::Instant;

use clap::Args;
use nuna::prelude::*;

/// What every bench may be told.
#[derive(Args, Clone, Debug)]
pub struct Shape {
    /// Worker processes.
    #[arg(long, default_value_t = 2)]
    pub procs: usize,
    /// Compute threads per worker process.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Memory of one worker.
    #[arg(long, default_value = "4GB")]
    pub memory_limit: String,
}

impl Shape {
    /// Of one worker.
    fn memory_bytes(&self) -> anyhow::Result<u64> {
        Ok(nuna::parts::cluster::parse_bytes(&self.memory_limit)?)
    }

    /// Starts a cluster and has it run something; also gives the seconds that the start took.
    fn start(&self) -> anyhow::Result<(Cluster, f64)> {
        let started = Instant::now();
        let cluster = Cluster::local()
            .workers(self.procs)
            .threads(self.threads)
            .memory(self.memory_limit.as_str())
            .start()?;
        let seconds = started.elapsed().as_secs_f64();
        cluster.map(0..4 * self.procs as u64, |x: u64| x).gather()?;
        Ok((cluster, seconds))
    }

    /// The line of a workload: what all of them say, and what this one adds.
    fn report(&self, workload: &str, start_seconds: f64, reading: meter::Reading, more: serde_json::Value) {
        let mut line = serde_json::json!({
            "workload": workload,
            "engine": "nuna",
            "seconds": reading.seconds,
            "procs": self.procs,
            "threads": self.threads,
            "memory_limit": self.memory_limit,
            "cluster_start_s": start_seconds,
        });
        tasks::merge(&mut line, reading.memory);
        tasks::merge(&mut line, more);
        emit(&line);
    }
}

#[expect(clippy::print_stdout, reason = "one line is what a bench is run for")]
fn emit(line: &serde_json::Value) {
    println!("{line}");
}
