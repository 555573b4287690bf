//! Owns whole-cluster benches, each the counterpart of a script of the peers: the same work on the same data, and
//! one JSON line with the same names. `cargo xtask bench` runs them beside those scripts.
//!
//! The programs are in `examples/`; the work is here, because code that travels must live in a library.

mod mean;
mod meter;
mod summary;
mod tasks;

pub use mean::{MeanOf, mean};
pub use tasks::tasks;

use clap::Args;

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

#[expect(clippy::print_stdout, reason = "one line is what a bench is run for")]
fn emit(line: &serde_json::Value) {
    println!("{line}");
}
