//! Owns fused elementwise programs: typed instructions that run over tiles of [`TILE`] elements, so that a chain of
//! operations touches memory once and allocates nothing between.
//!
//! Leaves to others: which operations are fused (`array`).

mod complex;
mod kernels;
mod operation;
mod program;
mod run;

pub use operation::{Binary, Unary};
pub use program::{Builder, Program, ValueId};

/// Elements per tile: a handful of `f64` registers stay in the first-level cache.
pub const TILE: usize = 1024;
