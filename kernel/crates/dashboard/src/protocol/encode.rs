//! Records to bytes; the layouts are documented in `protocol.rs`.

use super::{Record, TEXT_BYTES_MAX, tasks::encode_tasks};

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
}

pub(super) fn record(out: &mut Vec<u8>, kind: u8, payload: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&[kind, 0, 0, 0, 0, 0, 0, 0]);
    let start = out.len();
    payload(out);
    let length = (out.len() - start) as u32;
    out[start - 4..start].copy_from_slice(&length.to_le_bytes());
}

pub(super) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    out.extend_from_slice(&(end as u16).to_le_bytes());
    out.extend_from_slice(&text.as_bytes()[..end]);
}
