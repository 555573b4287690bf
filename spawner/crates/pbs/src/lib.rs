//! Jobs of a batch system, as programs see them: submit one, follow all of them with a single query, delete one.
//!
//! [`BatchSystem`] is the seam; [`Commands`] is the driver that runs a PBS site's own `qsub`, `qstat` and `qdel`,
//! and [`fake::FakeBatch`] is the one tests script. This crate is the only one that runs a PBS command; the driver for
//! Slurm is `nuna-slurm`, which calls its commands as this one does ([`Caller`]). Neither knows profiles nor users'
//! rights: what to submit, and whether to, is the caller's.
#![forbid(unsafe_code)]

mod batch;
mod caller;
mod commands;
mod error;
pub mod fake;
#[doc(hidden)]
pub mod fuzzing;
mod id;
mod indices;
mod job;
mod process;
mod queues;
mod separated;
mod status;
mod torque;

pub use batch::BatchSystem;
pub use caller::{Caller, RunAs};
pub use commands::{Commands, Dialect, ServerFacts};
pub use error::{DeleteError, Rejection, StatusError, SubmitError, cleaned, words};
pub use id::{InvalidJobId, InvalidUserName, JobId, UserName};
pub use indices::{INDEX_MAX, Indices, InvalidIndices};
pub use job::{Array, Job, JobState, Presence, QueuePosition, Snapshot};
pub use process::{Finished, Trouble};
pub use queues::{Free, Queue, Queues, Share, size};
