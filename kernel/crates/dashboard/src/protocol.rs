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

use crate::event::{SpanKind, TaskSpan};

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

impl Record {
    /// Appends the record, header included.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello { version, started_unix_ms, now_us, name } => record(out, 1, |out| {
                out.extend_from_slice(&version.to_le_bytes());
                out.extend_from_slice(&[0; 6]);
                put_u64(out, *started_unix_ms);
                put_u64(out, *now_us);
                put_text(out, name);
            }),
            Self::Reset { spans_skipped } => record(out, 2, |out| put_u64(out, *spans_skipped)),
            Self::Clock { now_us, spans_dropped } => record(out, 3, |out| {
                put_u64(out, *now_us);
                put_u64(out, *spans_dropped);
            }),
            Self::Worker { worker, first_lane, threads, state, memory_limit, name } => {
                record(out, 4, |out| {
                    put_u32(out, *worker);
                    put_u32(out, *first_lane);
                    out.extend_from_slice(&threads.to_le_bytes());
                    out.extend_from_slice(&[*state as u8, 0, 0, 0, 0, 0]);
                    put_u64(out, *memory_limit);
                    put_text(out, name);
                })
            }
            Self::Computation { computation, state, started_us, finished_us, label } => {
                record(out, 5, |out| {
                    put_u32(out, *computation);
                    out.extend_from_slice(&[*state as u8, 0, 0, 0]);
                    put_u64(out, *started_us);
                    put_u64(out, *finished_us);
                    put_text(out, label);
                })
            }
            Self::Stage { stage, computation, blocks, started_us, name } => record(out, 6, |out| {
                put_u32(out, *stage);
                put_u32(out, *computation);
                put_u64(out, *blocks);
                put_u64(out, *started_us);
                put_text(out, name);
            }),
            Self::Progress(stages) => record(out, 7, |out| {
                for stage in stages {
                    put_u32(out, stage.stage);
                    put_u32(out, 0);
                    for value in [stage.done, stage.failed, stage.busy_us, stage.last_us] {
                        put_u64(out, value);
                    }
                }
            }),
            Self::Samples(samples) => record(out, 8, |out| {
                for sample in samples {
                    put_u32(out, sample.worker);
                    put_u32(out, sample.cpu_permille);
                    out.extend_from_slice(&sample.threads_busy.to_le_bytes());
                    out.extend_from_slice(&[0; 6]);
                    for value in [sample.managed_bytes, sample.spilled_bytes, sample.rss_bytes] {
                        put_u64(out, value);
                    }
                }
            }),
            Self::Totals(seconds) => record(out, 9, |out| {
                for second in seconds {
                    for value in [
                        second.at_us,
                        second.managed_bytes,
                        second.spilled_bytes,
                        second.rss_bytes,
                        second.limit_bytes,
                        second.tasks,
                    ] {
                        put_u64(out, value);
                    }
                    put_u32(out, second.cpu_permille);
                    put_u32(out, second.threads_busy);
                }
            }),
            Self::Tasks { stage, spans } => encode_tasks(out, *stage, spans),
            Self::Failure { at_us, block, stage, worker, message } => record(out, 11, |out| {
                put_u64(out, *at_us);
                put_u64(out, *block);
                put_u32(out, *stage);
                put_u32(out, *worker);
                put_text(out, message);
            }),
        }
    }

    /// Every record of one message; unknown kinds are skipped.
    ///
    /// # Errors
    /// If a record is shorter than its layout or its text is not where it should be.
    pub fn decode_all(message: &[u8]) -> Result<Vec<Self>, ProtocolError> {
        let mut records = Vec::new();
        let mut rest = message;
        while !rest.is_empty() {
            let mut header = Reader { kind: rest[0], bytes: rest };
            header.take(4)?;
            let length = header.u32()? as usize;
            let mut payload = Reader { kind: rest[0], bytes: header.take(length)? };
            rest = header.bytes;
            if let Some(record) = Self::decode(&mut payload)? {
                records.push(record);
            }
        }
        Ok(records)
    }

    fn decode(r: &mut Reader<'_>) -> Result<Option<Self>, ProtocolError> {
        Ok(Some(match r.kind {
            1 => {
                let version = r.u16()?;
                r.take(6)?;
                Self::Hello { version, started_unix_ms: r.u64()?, now_us: r.u64()?, name: r.text()? }
            }
            2 => Self::Reset { spans_skipped: r.u64()? },
            3 => Self::Clock { now_us: r.u64()?, spans_dropped: r.u64()? },
            4 => {
                let (worker, first_lane, threads) = (r.u32()?, r.u32()?, r.u16()?);
                let state = match r.take(6)?[0] {
                    0 => WorkerState::Here,
                    1 => WorkerState::Left,
                    2 => WorkerState::Lost,
                    value => return Err(ProtocolError::Unknown { kind: r.kind, field: "state", value }),
                };
                Self::Worker { worker, first_lane, threads, state, memory_limit: r.u64()?, name: r.text()? }
            }
            5 => {
                let computation = r.u32()?;
                let state = match r.take(4)?[0] {
                    0 => ComputationState::Running,
                    1 => ComputationState::Succeeded,
                    2 => ComputationState::Failed,
                    3 => ComputationState::Cancelled,
                    value => return Err(ProtocolError::Unknown { kind: r.kind, field: "state", value }),
                };
                Self::Computation {
                    computation,
                    state,
                    started_us: r.u64()?,
                    finished_us: r.u64()?,
                    label: r.text()?,
                }
            }
            6 => Self::Stage {
                stage: r.u32()?,
                computation: r.u32()?,
                blocks: r.u64()?,
                started_us: r.u64()?,
                name: r.text()?,
            },
            7 => Self::Progress(r.many(|r| {
                let stage = r.u32()?;
                r.take(4)?;
                Ok(StageProgress {
                    stage,
                    done: r.u64()?,
                    failed: r.u64()?,
                    busy_us: r.u64()?,
                    last_us: r.u64()?,
                })
            })?),
            8 => Self::Samples(r.many(|r| {
                let (worker, cpu_permille, threads_busy) = (r.u32()?, r.u32()?, r.u16()?);
                r.take(6)?;
                Ok(Sample {
                    worker,
                    cpu_permille,
                    threads_busy,
                    managed_bytes: r.u64()?,
                    spilled_bytes: r.u64()?,
                    rss_bytes: r.u64()?,
                })
            })?),
            9 => Self::Totals(r.many(|r| {
                Ok(Totals {
                    at_us: r.u64()?,
                    managed_bytes: r.u64()?,
                    spilled_bytes: r.u64()?,
                    rss_bytes: r.u64()?,
                    limit_bytes: r.u64()?,
                    tasks: r.u64()?,
                    cpu_permille: r.u32()?,
                    threads_busy: r.u32()?,
                })
            })?),
            10 => {
                let (stage, _count, base) = (r.u32()?, r.u32()?, r.u64()?);
                let spans = r.many(|r| {
                    let start_us = base + u64::from(r.u32()?);
                    let (kind, duration_us) = unpack(r.u32()?);
                    Ok(LaneSpan { lane: r.u32()?, start_us, duration_us, kind })
                })?;
                Self::Tasks { stage, spans }
            }
            11 => Self::Failure {
                at_us: r.u64()?,
                block: r.u64()?,
                stage: r.u32()?,
                worker: r.u32()?,
                message: r.text()?,
            },
            _ => return Ok(None),
        }))
    }
}

/// Appends `spans` grouped by stage. `lane_of` gives `None` for a worker nobody announced; its spans are left out.
pub(crate) fn encode_spans(
    out: &mut Vec<u8>,
    spans: &[TaskSpan],
    mut lane_of: impl FnMut(&TaskSpan) -> Option<u32>,
) {
    let mut by_stage = std::collections::BTreeMap::<u32, Vec<LaneSpan>>::new();
    for span in spans {
        if let Some(lane) = lane_of(span) {
            by_stage.entry(span.stage).or_default().push(LaneSpan {
                lane,
                start_us: span.start_us,
                duration_us: u64::from(span.duration_us),
                kind: span.kind,
            });
        }
    }
    for (stage, spans) in by_stage {
        encode_tasks(out, stage, &spans);
    }
}

fn encode_tasks(out: &mut Vec<u8>, stage: u32, spans: &[LaneSpan]) {
    let Some(base) = spans.iter().map(|span| span.start_us).min() else { return };
    // 2^32 microseconds are 71 minutes; what began later than that after the base goes into another record.
    let (near, far): (Vec<&LaneSpan>, Vec<&LaneSpan>) =
        spans.iter().partition(|span| span.start_us - base <= u64::from(u32::MAX));
    record(out, 10, |out| {
        put_u32(out, stage);
        put_u32(out, near.len() as u32);
        put_u64(out, base);
        out.reserve(near.len() * TASK_BYTES);
        for span in near {
            put_u32(out, (span.start_us - base) as u32);
            put_u32(out, pack(span.kind, span.duration_us));
            put_u32(out, span.lane);
        }
    });
    if !far.is_empty() {
        encode_tasks(out, stage, &far.into_iter().copied().collect::<Vec<_>>());
    }
}

const UNIT_MS: u32 = 1 << 29;
const DURATION_MASK: u32 = UNIT_MS - 1;

fn pack(kind: SpanKind, duration_us: u64) -> u32 {
    let kind = match kind {
        SpanKind::Compute => 0,
        SpanKind::Transfer => 1,
        SpanKind::Spill => 2,
        SpanKind::Failed => 3,
    } << 30;
    if duration_us <= u64::from(DURATION_MASK) {
        kind | duration_us as u32
    } else {
        kind | UNIT_MS | (duration_us / 1000).min(u64::from(DURATION_MASK)) as u32
    }
}

fn unpack(packed: u32) -> (SpanKind, u64) {
    let kind = match packed >> 30 {
        0 => SpanKind::Compute,
        1 => SpanKind::Transfer,
        2 => SpanKind::Spill,
        _ => SpanKind::Failed,
    };
    let value = u64::from(packed & DURATION_MASK);
    (kind, if packed & UNIT_MS == 0 { value } else { value * 1000 })
}

fn record(out: &mut Vec<u8>, kind: u8, payload: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&[kind, 0, 0, 0, 0, 0, 0, 0]);
    let start = out.len();
    payload(out);
    let length = (out.len() - start) as u32;
    out[start - 4..start].copy_from_slice(&length.to_le_bytes());
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    out.extend_from_slice(&(end as u16).to_le_bytes());
    out.extend_from_slice(&text.as_bytes()[..end]);
}

struct Reader<'a> {
    kind: u8,
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, need: usize) -> Result<&'a [u8], ProtocolError> {
        if self.bytes.len() < need {
            return Err(ProtocolError::Truncated { kind: self.kind, have: self.bytes.len(), need });
        }
        let (taken, rest) = self.bytes.split_at(need);
        self.bytes = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, ProtocolError> {
        Ok(u16::from_le_bytes(self.take(2)?.try_into().expect("take gives two bytes")))
    }

    fn u32(&mut self) -> Result<u32, ProtocolError> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into().expect("take gives four bytes")))
    }

    fn u64(&mut self) -> Result<u64, ProtocolError> {
        Ok(u64::from_le_bytes(self.take(8)?.try_into().expect("take gives eight bytes")))
    }

    fn text(&mut self) -> Result<String, ProtocolError> {
        let length = usize::from(self.u16()?);
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    fn many<T>(
        &mut self,
        mut one: impl FnMut(&mut Self) -> Result<T, ProtocolError>,
    ) -> Result<Vec<T>, ProtocolError> {
        let mut all = Vec::new();
        while !self.bytes.is_empty() {
            all.push(one(self)?);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each record; also what the TypeScript decoder is tested with.
    fn one_of_each() -> Vec<Record> {
        vec![
            Record::Hello {
                version: VERSION,
                started_unix_ms: 1_790_000_000_123,
                now_us: 5_000_000_000,
                name: "local-1 µ".into(),
            },
            Record::Reset { spans_skipped: 3 },
            Record::Clock { now_us: 5_000_100_000, spans_dropped: 17 },
            Record::Worker {
                worker: 4,
                first_lane: 28,
                threads: 14,
                state: WorkerState::Lost,
                memory_limit: 115_000_000_000,
                name: "r1i0n3".into(),
            },
            Record::Computation {
                computation: 2,
                state: ComputationState::Failed,
                started_us: 1,
                finished_us: 9_007_199_254_740_991,
                label: "In [7]".into(),
            },
            Record::Stage {
                stage: 11,
                computation: 2,
                blocks: 1_000_000,
                started_us: 77,
                name: "mean(time)".into(),
            },
            Record::Progress(vec![
                StageProgress { stage: 11, done: 10, failed: 1, busy_us: 12_345, last_us: 99 },
                StageProgress { stage: 12, done: 0, failed: 0, busy_us: 0, last_us: 0 },
            ]),
            Record::Samples(vec![Sample {
                worker: 4,
                cpu_permille: 13_950,
                threads_busy: 14,
                managed_bytes: 5 << 33,
                spilled_bytes: 6,
                rss_bytes: 7 << 34,
            }]),
            Record::Totals(vec![Totals {
                at_us: 8,
                managed_bytes: 9,
                spilled_bytes: 10,
                rss_bytes: 11,
                limit_bytes: 12,
                tasks: 13,
                cpu_permille: 14,
                threads_busy: 15,
            }]),
            Record::Tasks {
                stage: 11,
                spans: vec![
                    LaneSpan { lane: 29, start_us: 5_000_000_000, duration_us: 1, kind: SpanKind::Compute },
                    LaneSpan {
                        lane: 28,
                        start_us: 5_000_000_400,
                        duration_us: 250_000,
                        kind: SpanKind::Transfer,
                    },
                    LaneSpan {
                        lane: 31,
                        start_us: 5_000_000_800,
                        duration_us: 1_800_000_000,
                        kind: SpanKind::Spill,
                    },
                    LaneSpan { lane: 30, start_us: 5_000_000_900, duration_us: 0, kind: SpanKind::Failed },
                ],
            },
            Record::Failure {
                at_us: 1,
                block: 1 << 40,
                stage: 11,
                worker: 4,
                message: "panicked: overflow".into(),
            },
        ]
    }

    #[test]
    fn records_survive_the_wire() {
        let mut bytes = Vec::new();
        let records = one_of_each();
        records.iter().for_each(|record| record.encode(&mut bytes));
        assert_eq!(Record::decode_all(&bytes), Ok(records));
    }

    /// The TypeScript tests read this file. `NUNA_WRITE_FIXTURES=1 cargo test -p nuna-dashboard` renews it.
    #[test]
    fn fixture_of_the_typescript_tests_is_current() {
        let mut bytes = Vec::new();
        one_of_each().iter().for_each(|record| record.encode(&mut bytes));
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/records.bin");
        if std::env::var_os("NUNA_WRITE_FIXTURES").is_some() {
            std::fs::write(path, &bytes).unwrap();
        }
        assert!(
            std::fs::read(path).unwrap() == bytes,
            "{path} is stale; run again with NUNA_WRITE_FIXTURES=1"
        );
    }

    #[test]
    fn unknown_kinds_are_skipped_and_short_records_refused() {
        let mut bytes = vec![200, 0, 0, 0, 2, 0, 0, 0, 9, 9];
        Record::Reset { spans_skipped: 1 }.encode(&mut bytes);
        assert_eq!(Record::decode_all(&bytes), Ok(vec![Record::Reset { spans_skipped: 1 }]));
        bytes.pop();
        assert!(matches!(Record::decode_all(&bytes), Err(ProtocolError::Truncated { kind: 2, .. })));
    }

    #[test]
    fn starts_more_than_71_minutes_apart_are_kept_exactly() {
        let hour = 3_600_000_000_u64;
        let spans: Vec<_> = (0..4)
            .map(|i| LaneSpan {
                lane: i,
                start_us: u64::from(i) * hour,
                duration_us: 5,
                kind: SpanKind::Compute,
            })
            .collect();
        let mut bytes = Vec::new();
        encode_tasks(&mut bytes, 1, &spans);
        let back: Vec<_> = Record::decode_all(&bytes)
            .unwrap()
            .into_iter()
            .flat_map(|record| match record {
                Record::Tasks { spans, .. } => spans,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(back, spans);
    }

    #[test]
    fn a_batch_costs_at_most_15_bytes_per_task() {
        let spans: Vec<_> = (0..100)
            .map(|i| TaskSpan {
                stage: (i % 4) as u32,
                block: i,
                worker: 0,
                thread: 0,
                start_us: i,
                duration_us: 9,
                kind: SpanKind::Compute,
            })
            .collect();
        let mut bytes = Vec::new();
        encode_spans(&mut bytes, &spans, |_| Some(0));
        assert!(bytes.len() <= 15 * spans.len(), "{} bytes for {} tasks", bytes.len(), spans.len());
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let mut bytes = Vec::new();
        Record::Failure { at_us: 0, block: 0, stage: 0, worker: 0, message: "é".repeat(4000) }
            .encode(&mut bytes);
        match &Record::decode_all(&bytes).unwrap()[..] {
            [Record::Failure { message, .. }] => assert_eq!(message.len(), TEXT_BYTES_MAX),
            other => panic!("{other:?}"),
        }
    }
}
