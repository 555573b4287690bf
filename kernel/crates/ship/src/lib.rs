//! A closure as something that can travel: which library holds its code, where in it, and what it captured.
//!
//! Owns the [`Ship`] marker that decides what a closure may capture, [`Call`] (a closure on its way), the
//! registry of [`libraries`], the [`build_id`] that makes offsets and layouts comparable between processes, and
//! the task farm ([`tasks`]): its plan and its [`executor`].
//!
//! Leaves to others: sending libraries (`wire`, `client`, `runtime`), what an array block means (`array`).
//!
//! How it works: a generic function is monomorphised inside the cell's shared object for each closure type, so
//! that object holds both the closure's code and the code that decodes its captures. `dladdr` names the
//! object and the offset; the receiver loads the same bytes and calls the same offset. Both sides run the same build
//! of the runtime library and of `libstd`, which the handshake has checked, so layouts and vtables agree.

// An auto trait is the only way to look inside a closure's captures. `.cargo/config.toml` opens these two
// features for this crate alone; whoever links it stays on stable Rust.
#![feature(auto_traits, negative_impls)]

pub mod build_id;
pub mod call;
mod error;
pub mod libraries;
mod load;
pub mod marker;
mod objects;
pub mod panics;
mod run;
pub mod scatter;
pub mod tasks;
mod timeout;

pub use build_id::{BuildId, build_id};
pub use call::{Blocks, Call, Home};
pub use error::ShipError;
pub use marker::Ship;
pub use nuna_plan::{LibraryId, TaskError};
/// The encoding of parameters, results and environments.
pub use postcard;
pub use run::executor;
pub use scatter::{Number, Scattered};
pub use tasks::{Failure, Farm, FarmOptions, Finishing, Layout, outcomes};
pub use timeout::runaways;
