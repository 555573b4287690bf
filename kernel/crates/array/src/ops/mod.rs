//! Owns the operations of [`Array`](crate::Array): shape and dtype rules, checked as the expression is built.

mod algebra;
pub(crate) mod along;
pub(crate) mod arrange;
mod blocks;
pub(crate) mod distinct;
pub(crate) mod elementwise;
pub(crate) mod fft;
mod flatten;
pub(crate) mod histogram;
pub(crate) mod linear;
pub(crate) mod lookup;
mod operators;
pub(crate) mod overlap;
pub(crate) mod random;
pub(crate) mod reduce;
pub(crate) mod routine;
pub(crate) mod select;
pub(crate) mod shape;
