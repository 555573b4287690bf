//! The binary stream a viewer receives: record layouts, written and read. The one place they are documented;
//! `labextension/src/protocol.ts` mirrors it and is tested against bytes written here.
//!
//! Everything is little-endian. A WebSocket message is any number of records, each an 8-byte header
//! `kind: u8, zero: [u8; 3], length: u32` and `length` bytes of payload. A reader skips kinds it does not know.
//! `text` is `u16` length and UTF-8, always last in its record.
//!
//! | kind | record | payload |
//! | --- | --- | --- |
//! | 1 | hello | version u16, zero u16, zero u32, started_unix_ms u64, now_us u64, name text |
//! | 2 | reset | spans_skipped u64; forget everything, a snapshot follows |
//! | 3 | clock | now_us u64, spans_dropped u64 |
//! | 4 | worker | worker u32, first_lane u32, threads u16, state u8, zero u8, zero u32, memory_limit u64, name text |
//! | 5 | computation | computation u32, state u8, zero [u8; 3], started_us u64, finished_us u64, label text |
//! | 6 | stage | stage u32, computation u32, blocks u64, started_us u64, name text |
//! | 7 | progress | per stage 40 bytes: stage u32, zero u32, done u64, failed u64, busy_us u64, last_us u64 |
//! | 8 | samples | per worker 40 bytes: worker u32, cpu_permille u32, threads_busy u16, zero [u8; 6], managed u64, spilled u64, rss u64 |
//! | 9 | totals | per second 56 bytes: at_us u64, managed u64, spilled u64, rss u64, limit u64, tasks u64, cpu_permille u32, threads_busy u32 |
//! | 10 | tasks | stage u32, count u32, base_us u64, then per task 12 bytes: start u32 after base, packed u32, lane u32 |
//! | 11 | failure | at_us u64, block u64, stage u32, worker u32, message text |
//!
//! `packed` of a task: bits 31-30 kind (0 compute, 1 transfer, 2 spill, 3 failed), bit 29 unit of the duration
//! (0 microseconds, 1 milliseconds), bits 28-0 duration. `lane` is a worker's `first_lane` plus its thread.
//! Worker states: 0 here, 1 left, 2 lost. Computation states: 0 running, 1 succeeded, 2 failed, 3 cancelled.

mod decode;
mod encode;
mod tasks;
#[cfg(test)]
mod tests;

pub(crate) use tasks::encode_spans;

use crate::event::SpanKind;

pub const VERSION: u16 = 1;
/// Bytes of a task on the wire, without its share of the header.
pub const TASK_BYTES: usize = 12;
const TEXT_BYTES_MAX: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum WorkerState {
    Here = 0,
    Left = 1,
    Lost = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ComputationState {
    Running = 0,
    Succeeded = 1,
    Failed = 2,
    Cancelled = 3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct StageProgress {
    pub stage: u32,
    pub done: u64,
    pub failed: u64,
    /// Thread time spent computing.
    pub busy_us: u64,
    /// When its latest block finished; 0 before the first.
    pub last_us: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Sample {
    pub worker: u32,
    pub cpu_permille: u32,
    pub threads_busy: u16,
    pub managed_bytes: u64,
    pub spilled_bytes: u64,
    pub rss_bytes: u64,
}

/// The whole cluster at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Totals {
    pub at_us: u64,
    pub managed_bytes: u64,
    pub spilled_bytes: u64,
    pub rss_bytes: u64,
    pub limit_bytes: u64,
    /// Blocks computed since the cluster started.
    pub tasks: u64,
    pub cpu_permille: u32,
    pub threads_busy: u32,
}

/// A task as a viewer sees it: its worker and thread are one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneSpan {
    pub lane: u32,
    pub start_us: u64,
    pub duration_us: u64,
    pub kind: SpanKind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    Hello {
        version: u16,
        started_unix_ms: u64,
        now_us: u64,
        name: String,
    },
    Reset {
        spans_skipped: u64,
    },
    Clock {
        now_us: u64,
        spans_dropped: u64,
    },
    Worker {
        worker: u32,
        first_lane: u32,
        threads: u16,
        state: WorkerState,
        memory_limit: u64,
        name: String,
    },
    Computation {
        computation: u32,
        state: ComputationState,
        started_us: u64,
        finished_us: u64,
        label: String,
    },
    Stage {
        stage: u32,
        computation: u32,
        blocks: u64,
        started_us: u64,
        name: String,
    },
    Progress(Vec<StageProgress>),
    Samples(Vec<Sample>),
    Totals(Vec<Totals>),
    Tasks {
        stage: u32,
        spans: Vec<LaneSpan>,
    },
    Failure {
        at_us: u64,
        block: u64,
        stage: u32,
        worker: u32,
        message: String,
    },
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProtocolError {
    #[error("record of kind {kind} ends after {have} bytes where {need} are needed")]
    Truncated { kind: u8, have: usize, need: usize },
    #[error("record of kind {kind} has the unknown value {value} for its {field}")]
    Unknown { kind: u8, field: &'static str, value: u8 },
}
