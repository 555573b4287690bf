//! Owns the one language that the array crates write and the scheduler and workers read: stages of blocks,
//! the affine maps between their grids, the value of a block, and the two traits at its ends ([`Engine`]
//! accepts plans, [`Executor`] runs blocks).
//!
//! Leaves to others: what a block computes (`array`, `ship`), where it runs (`scheduler`), and how values
//! travel (`wire`, `runtime`). Nothing here does I/O.

#![forbid(unsafe_code)]

pub mod engine;
pub mod executor;
pub mod grid;
pub mod map;
pub mod meter;
pub mod range_set;
pub mod stage;
pub mod value;
pub mod watch;

pub use engine::{Engine, EngineError, Finished, Progress, Running, default_engine, set_default_engine};
pub use executor::{Executor, Prepared, TaskError};
pub use grid::BlockGrid;
pub use map::{AxisMap, BlockMap, Splits};
pub use range_set::RangeSet;
pub use stage::{
    HeldId, Input, Keep, LibraryId, MemoryBound, Origin, Plan, PlanError, Source, Stage, Terms, Work,
    WorkKind,
};
pub use value::Value;
