//! Owns lazy chunked arrays: what is computed, never where. An [`Array`] is an expression; `compute` optimises
//! it, writes a [`nuna_plan::Plan`] and hands that to an engine. The other end is here too: [`executor`] runs the blocks
//! of such plans, and [`ThreadEngine`] is an engine made of this process's threads.
//!
//! Leaves to others: what a chunk can do (`chunk`), dimension names and coordinates (`labels`), files (`storage`),
//! workers (`scheduler`, `runtime`).

#![forbid(unsafe_code)]

mod array;
mod error;
mod executor;
mod explain;
mod expr;
pub mod grid;
mod held;
mod memory;
mod ops;
mod origin;
mod planner;
mod program;
pub mod sink;
pub mod source;
mod submit;
mod threads;

pub use array::{Array, Block, MapBlocks, map_blocks_call};
pub use error::{ArrayError, ArrayErrorKind};
pub use executor::executor;
pub use grid::ChunkGrid;
pub use held::HeldArray;
pub use nuna_chunk::{
    Buffer, Chunk, Complex, DType, Region, Scalar, Shape,
    along::{Rolling, Scan},
    pool,
    reduce::{NanPolicy, Operation},
    tile::{Binary, Unary},
};
pub use nuna_fft::{Norm, Symmetry, Trend, Window};
pub use ops::{
    arrange::Pad,
    distinct::Unique,
    elementwise::Operand,
    fft::{FftOptions, PsdOptions, fftfreq, rfftfreq},
    histogram::{edges, histogram},
    linear::{einsum, tensordot},
    lookup::{Side, binned_mean},
    overlap::{MapOver, SparseWeights},
    random::Random,
    reduce::Axes,
    select::Index,
    shape::{concat, stack},
};
pub use origin::{current as origin, interrupt, set_cell};
pub use sink::{ChunkSink, ChunkWriter, SinkSpec, open_writer, register_sink_kind};
pub use source::{ChunkReader, ChunkSource, SourceSpec, open_reader, register_source_kind};
pub use submit::{compute, compute_stepwise, engine, explain, persist, write};
pub use threads::ThreadEngine;
