//! The live view of one cluster: what happened, aggregated once, off the scheduling thread, and served to
//! browsers as a page, a binary stream, JSON and Prometheus metrics.
//!
//! Leaves to others: what happens (`scheduler`, through [`Recorder`]), drawing (`labextension/src/views`),
//! and who may reach a cluster from another machine (the hub's service, through [`register`]).
#![forbid(unsafe_code)]

mod auth;
mod event;
mod metrics;
pub mod protocol;
pub mod register;
mod server;
pub mod state;
mod stream;
mod summary;

pub use event::{Event, Outcome, QUEUED_SPANS_MAX, Recorder, SpanKind, TaskSpan};
pub use server::{Dashboard, Settings};
