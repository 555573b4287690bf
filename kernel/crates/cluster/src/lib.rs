//! Owns starting clusters: a scheduler and its workers as processes of this machine, found by name afterwards, and
//! gone with whoever started them; in a notebook that is the kernel, which outlives the process that runs cells.
//! Or a scheduler that goes on by itself, whose workers are jobs of PBS.
//!
//! Leaves to others: what the processes do (`runtime`), talking to them (`client`), and which jobs there are (`jobs`).

#![forbid(unsafe_code)]

mod address;
mod allowance;
mod cluster;
mod error;
mod lifeline;
mod local;
mod memory;
mod pbs;
mod pick_up;
mod processes;
mod spill;
mod view;

pub use cluster::{Cluster, list};
pub use error::ClusterError;
pub use lifeline::live_with;
pub use local::Local;
pub use memory::{IntoByteCount, parse_bytes, show_bytes};
pub use nuna_client::{Client, ClusterInfo, WorkerInfo};
pub use nuna_jobs::{Pace, PbsCommands};
pub use nuna_wire::ClusterFile;
pub use pbs::Pbs;
pub use pick_up::{Kept, pick_up};
