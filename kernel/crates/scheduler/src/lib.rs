//! Owns every decision of the scheduler: which worker runs which blocks, what is freed, what runs again after a
//! loss, and when a computation is over. A state machine over plain data: no sockets, no clocks, no randomness.
//!
//! Leaves to others: sockets, timers and libraries (`runtime`), what a worker does with its blocks (`worker`).
//!
//! A block is *waiting* (for its inputs), *ready*, *leased* (to one worker), *stored* (done, and its value is
//! needed) or *finished* (done, and its value is not). Dependencies are computed from the plan's maps, never
//! stored: a block costs one byte for its state, two for its holder, and one more in a stage where something is counted:
//! readers to come, or inputs that are not done.

#![forbid(unsafe_code)]

mod completion;
mod consistent;
mod demand;
mod drain;
mod event;
mod fair;
mod handover;
pub mod journal;
mod lifetime;
mod loss;
mod needs;
mod placement;
mod published;
mod restore;
mod scheduler;
mod stage;
mod unreachable;

pub use demand::Demand;
pub use event::{Effect, Event, Note, Outcome, Settings};
pub use scheduler::{Scheduler, Totals};
