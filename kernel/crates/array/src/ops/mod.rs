//! Owns the operations of [`Array`](crate::Array): shape and dtype rules, checked as the expression is built.

pub(crate) mod elementwise;
mod operators;
pub(crate) mod reduce;
pub(crate) mod select;
pub(crate) mod shape;
