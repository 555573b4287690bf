//! Owns lazy chunked arrays: what is computed, never where. An [`Array`] is an expression; `compute` optimises
//! it, writes a [`nuna_plan::Plan`] and hands that to an engine. The other end is here too: [`executor`] runs the blocks
//! of such plans, and [`ThreadEngine`] is an engine made of this process's threads.
//!
//! Leaves to others: what a chunk can do (`chunk`), dimension names and coordinates (`labels`), files (`storage`),
//! workers (`scheduler`, `runtime`).

#![forbid(unsafe_code)]

mod memory;
pub mod sink;
pub mod source;

pub use nuna_chunk::{Chunk, DType, Region, Scalar, Shape};
pub use sink::{ChunkSink, ChunkWriter, SinkSpec, open_writer, register_sink_kind};
pub use source::{ChunkReader, ChunkSource, SourceSpec, open_reader, register_source_kind};
