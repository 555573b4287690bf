//! The live view of one cluster: what happened, aggregated once, off the scheduling thread.
#![forbid(unsafe_code)]

mod event;

pub use event::{Event, Outcome, QUEUED_SPANS_MAX, Recorder, SpanKind, TaskSpan};
