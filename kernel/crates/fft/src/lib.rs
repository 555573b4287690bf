//! Owns what is done with lines of numbers on the way to spectra: Fourier transforms, windows, trends and power spectral
//! densities, in `float32` or `float64`. Lines lie along one axis of a block in C order; they are gathered a few at a time, so
//! that they stay in the cache whichever axis it is.
//!
//! Leaves to others: which arrays and blocks there are (`array`). A crate of its own because the transforms are generic
//! code that takes long to compile, and would be compiled again with every change beside them.

#![forbid(unsafe_code)]

mod block;
mod line;
mod trend;
mod window;

pub use block::{Data, DataMut, Precision, scratch_bytes};
pub use line::{Chain, Norm, Step, Welch};
pub use trend::Trend;
pub use window::{Symmetry, Window};
