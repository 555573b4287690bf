//! Owns what one chunk of an array is and what can be done with it on one thread: [`DType`] and NumPy 2's
//! casting rules, buffers from a counted pool, [`Chunk`], boxes of elements ([`Region`]), fused elementwise
//! programs over tiles, functions along one axis, dense matrices, and reductions whose partial results merge.
//!
//! Leaves to others: which chunks an array has (`array`), where they are stored (`storage`), who computes them.
//! No graph, no async, no I/O.

#![deny(unsafe_code)]

pub mod along;
pub mod assemble;
mod buffer;
mod cast;
mod chunk;
mod dtype;
mod error;
pub mod matrix;
mod parts;
pub mod reduce;
mod region;
mod scalar;
mod simd;
pub mod tile;

pub use buffer::{Buffer, pool};
pub use chunk::{Chunk, ChunkMut};
pub use dtype::{DType, Element, Ordered};
pub use error::ChunkError;
pub use num_complex::Complex;
pub use region::{Region, Shape};
pub use scalar::Scalar;
