//! Owns the simulation: the scheduler's and the workers' state machines, driven together under one virtual clock, with
//! messages that take their time, connections that are cut, disks that are slow or fail, processes that end, clients
//! that are slow or start again, and tasks that fail. Everything follows from a seed, so whatever goes wrong can be
//! seen again.
//!
//! Leaves to others: every decision (`scheduler`, `worker`), and how real sockets and processes behave (`runtime`, whose
//! drivers [`machine`] and [`machines`] follow step by step).

#![forbid(unsafe_code)]

mod agenda;
mod befall;
mod client;
mod crash;
mod faults;
mod jobs;
mod ledger;
mod machine;
mod machines;
mod network;
mod setup;
mod world;

pub use faults::Faults;
pub use jobs::{Expect, Job};
pub use setup::{Report, Setup};
pub use world::World;
