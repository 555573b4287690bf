//! Owns a worker's decisions: which of its blocks to begin, which inputs to fetch for them, what memory allows, what
//! to spill, and what to give back. A state machine over plain data: no sockets, no threads, no clocks.
//!
//! Leaves to others: the values themselves, threads, files and connections (`runtime`), and who gets what
//! (`scheduler`). Here a value is a number of bytes that is in memory, on disk, or on its way.

#![forbid(unsafe_code)]

mod adopt;
mod consistent;
mod event;
mod gather;
mod inventory;
mod memory;
mod worker;

pub use event::{Effect, Event, Settings};
pub use worker::{Usage, Worker};

/// A block of a stage.
pub type Block = (nuna_wire::StageKey, u64);
