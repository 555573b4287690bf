//! Bounds, clocks and what is counted.

use super::*;
use crate::protocol::Record;

fn joined(worker: u32, threads: u16) -> Recorded {
    Recorded::Event(Event::WorkerJoined { worker, name: format!("w{worker}"), threads, memory_limit: 100 })
}

fn span(stage: u32, block: u64, worker: u32, thread: u16, kind: SpanKind) -> TaskSpan {
    TaskSpan { stage, block, worker, thread, start_us: block * 10, duration_us: 10, kind }
}

fn state_with_one_stage() -> State {
    let mut state = State::new("local-1".into(), 0);
    state.apply(0, joined(1, 2));
    state.apply(0, joined(2, 3));
    state.apply(1, Recorded::Event(Event::ComputationStarted { computation: 1, label: "In [1]".into() }));
    state.apply(
        1,
        Recorded::Event(Event::StageStarted { computation: 1, stage: 5, name: "mean".into(), blocks: 4 }),
    );
    state
}

fn all() -> Topics {
    Topic::ALL.into_iter().fold(Topics::default(), Topics::with)
}

#[test]
fn lanes_are_given_once_and_never_moved() {
    let mut state = state_with_one_stage();
    assert_eq!(state.workers[&2].first_lane, 2);
    state.apply(2, Recorded::Event(Event::WorkerLeft { worker: 1, lost: true }));
    state.apply(3, joined(3, 4));
    assert_eq!(state.workers[&3].first_lane, 5);
    assert_eq!(state.workers_lost, 1);
}

#[test]
fn only_computed_blocks_count_towards_progress() {
    let mut state = state_with_one_stage();
    state.apply(
        9,
        Recorded::Event(Event::Tasks(vec![
            span(5, 0, 1, 0, SpanKind::Compute),
            span(5, 1, 1, 1, SpanKind::Transfer),
            span(5, 2, 2, 0, SpanKind::Failed),
            span(5, 3, 2, 0, SpanKind::Compute),
        ])),
    );
    let progress = state.stages[&5].progress;
    assert_eq!((progress.done, progress.failed, progress.busy_us, progress.last_us), (2, 1, 30, 40));
    assert_eq!(state.now_us(), 40, "the clock never lags behind a span");
}

#[test]
fn a_snapshot_and_the_next_news_hold_every_span_once() {
    let mut state = state_with_one_stage();
    state.apply(5, Recorded::Event(Event::Tasks(vec![span(5, 0, 1, 0, SpanKind::Compute)])));
    state.tick(6, 0);
    state.apply(7, Recorded::Event(Event::Tasks(vec![span(5, 1, 1, 0, SpanKind::Compute)])));
    let count = |bytes: &[u8]| -> usize {
        Record::decode_all(bytes)
            .unwrap()
            .into_iter()
            .map(|record| if let Record::Tasks { spans, .. } = record { spans.len() } else { 0 })
            .sum()
    };
    assert_eq!(count(&state.snapshot(all(), 0, 0)), 1);
    assert_eq!(count(&state.tick(8, 0).topics[Topic::Tasks as usize]), 1);
    assert_eq!(count(&state.snapshot(all(), 0, 0)), 2);
    assert_eq!(count(&state.tick(9, 0).topics[Topic::Tasks as usize]), 0);
}

#[test]
fn spans_and_finished_computations_stay_bounded() {
    let mut state = state_with_one_stage();
    for round in 0..12 {
        let spans = (0..20_000).map(|i| span(5, round * 20_000 + i, 1, 0, SpanKind::Compute)).collect();
        state.apply(5, Recorded::Event(Event::Tasks(spans)));
    }
    assert_eq!(state.spans.len(), SPANS_MAX);
    assert_eq!(state.tasks_done, 240_000);
    assert!(state.fresh_spans.len() <= FRESH_SPANS_MAX);
    for computation in 10..10 + 2 * FINISHED_COMPUTATIONS_MAX as u32 {
        let label = String::new();
        state.apply(6, Recorded::Event(Event::ComputationStarted { computation, label }));
        let (stage, name) = (computation, String::new());
        state.apply(6, Recorded::Event(Event::StageStarted { computation, stage, name, blocks: 1 }));
        let outcome = Outcome::Succeeded;
        state.apply(6, Recorded::Event(Event::ComputationFinished { computation, outcome }));
    }
    assert_eq!(state.computations.len(), FINISHED_COMPUTATIONS_MAX + 1, "the running one stays");
    assert_eq!(state.stages.len(), FINISHED_COMPUTATIONS_MAX + 1);
}

#[test]
fn totals_are_kept_once_a_second_and_leave_out_lost_workers() {
    let mut state = state_with_one_stage();
    let sample = |worker| {
        Recorded::Event(Event::WorkerSample {
            worker,
            managed_bytes: 10,
            spilled_bytes: 1,
            rss_bytes: 20,
            cpu_permille: 1000,
            threads_busy: 1,
        })
    };
    state.apply(1, sample(1));
    state.apply(1, sample(2));
    state.tick(1_000_000, 0);
    state.tick(1_500_000, 0);
    state.apply(1_600_000, Recorded::Event(Event::WorkerLeft { worker: 2, lost: false }));
    state.tick(2_000_000, 0);
    let seen: Vec<_> = state.totals.iter().map(|t| (t.at_us, t.managed_bytes, t.limit_bytes)).collect();
    assert_eq!(seen, [(1_000_000, 20, 200), (2_000_000, 10, 100)]);
}

#[test]
fn the_span_under_a_pointer_is_found_by_lane_and_time() {
    let mut state = state_with_one_stage();
    state.apply(
        5,
        Recorded::Event(Event::Tasks(vec![
            span(5, 1, 2, 1, SpanKind::Compute),
            span(5, 9, 2, 2, SpanKind::Compute),
        ])),
    );
    assert_eq!(state.span_at(3, 15, 0).map(|s| s.block), Some(1));
    assert_eq!(state.span_at(4, 15, 0), None);
    assert_eq!(state.span_at(4, 88, 5).map(|s| s.block), Some(9));
    assert_eq!(state.span_at(99, 15, 0), None);
}
