//! What is written is read again, also by the TypeScript side.

use super::{tasks::encode_tasks, *};
use crate::event::TaskSpan;

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
    assert!(std::fs::read(path).unwrap() == bytes, "{path} is stale; run again with NUNA_WRITE_FIXTURES=1");
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
        .map(|i| LaneSpan { lane: i, start_us: u64::from(i) * hour, duration_us: 5, kind: SpanKind::Compute })
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
    Record::Failure { at_us: 0, block: 0, stage: 0, worker: 0, message: "é".repeat(4000) }.encode(&mut bytes);
    match &Record::decode_all(&bytes).unwrap()[..] {
        [Record::Failure { message, .. }] => assert_eq!(message.len(), TEXT_BYTES_MAX),
        other => panic!("{other:?}"),
    }
}
