//! Jobs of Slurm behind the seam of `nuna-pbs`: submit one, follow all of them with a single query, cancel one.
//!
//! [`Commands`] is the driver that runs the site's own `sbatch`, `squeue`, `scancel` and `scontrol`. This crate is the
//! only one that runs a Slurm command. What Slurm says is told in the seam's words (`states`), with its own kept
//! beside them; where the two systems differ is in `docs/decisions/slurm.md`.
#![forbid(unsafe_code)]

mod commands;
mod complaints;
mod configuration;
#[doc(hidden)]
pub mod fuzzing;
mod list;
mod states;

pub use commands::Commands;
pub use configuration::ClusterFacts;
