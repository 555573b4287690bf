//! Workers as jobs of a batch system. Owns which jobs to submit and which to give up (`farm`, a state machine without
//! I/O), what a job's script says, what a queue would refuse, and the task that carries decisions out.
//!
//! Leaves to others: the commands of PBS (`nuna-pbs`), the work that needs workers (`scheduler`), and what a worker does
//! when its job ends (`runtime`).

#![forbid(unsafe_code)]

mod check;
pub mod driver;
mod farm;
mod request;
mod select;
mod settings;
mod walltime;

pub use check::{RequestError, check};
pub use farm::{Effect, Event, Farm, Refusal, Status};
pub use request::{Request, Task};
pub use select::SelectChunk;
pub use settings::{Pace, PbsCommands, Settings};
pub use walltime::{parse_walltime, show_walltime};
