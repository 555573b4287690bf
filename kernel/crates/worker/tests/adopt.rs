//! What a worker does with values that another one hands over to it.

use nuna_plan::{BlockGrid, BlockMap, Input, Keep, MemoryBound, Source, Stage, Work, WorkKind};
use nuna_wire::{
    StageKey, WorkerId,
    message::{Blocks, FromWorker, Located, StageDefinition},
};
use nuna_worker::{Effect, Event, Settings, Worker};

const HELD: StageKey = StageKey(1);
const LEAVES: WorkerId = WorkerId(2);
const BYTES: u64 = 100;

fn worker(memory_bytes: u64) -> Worker {
    let mut worker = Worker::new(Settings { id: WorkerId(1), threads: 1, memory_bytes, value_bytes: 0 });
    assert_eq!(worker.handle([define(HELD.0, None)]), []);
    worker
}

fn define(key: u32, reads: Option<StageKey>) -> Event {
    let input = Input { source: Source::Stage(0), map: BlockMap::Same };
    let stage = Stage {
        name: format!("stage {key}"),
        grid: BlockGrid::line(100),
        inputs: reads.map(|_| input).into_iter().collect(),
        work: Work { kind: WorkKind::Call, payload: Vec::new(), libraries: Vec::new() },
        bound: MemoryBound { inputs: if reads.is_some() { BYTES } else { 0 }, output: BYTES, scratch: 0 },
        keep: Keep::No,
        retries: 0,
        origin: None,
    };
    let inputs = reads.into_iter().collect();
    Event::Define(Box::new(StageDefinition { key: StageKey(key), stage, inputs, retain: true, priority: 1 }))
}

fn run(start: u64, end: u64) -> Blocks {
    Blocks { stage: HELD, start, end }
}

fn adopt(start: u64, end: u64) -> Event {
    Event::Adopt { blocks: run(start, end), from: LEAVES, bytes: BYTES }
}

fn adopted(start: u64, end: u64) -> Effect {
    Effect::Send(FromWorker::Adopted { stage: HELD, runs: vec![(start, end)] })
}

fn not_adopted(start: u64, end: u64) -> Effect {
    Effect::Send(FromWorker::NotAdopted { stage: HELD, runs: vec![(start, end)] })
}

fn fetched(block: u64) -> Event {
    Event::Fetched { block: (HELD, block), bytes: BYTES }
}

/// Which blocks it asks for.
fn fetch(effects: &[Effect]) -> Vec<u64> {
    let [Effect::Fetch { holder: LEAVES, blocks }] = effects else { panic!("{effects:?}") };
    blocks.iter().map(|&(_, block)| block).collect()
}

#[test]
fn values_are_fetched_a_part_of_the_memory_at_a_time_and_kept() {
    let mut worker = worker(16 * BYTES);
    let mut coming = fetch(&worker.handle([adopt(0, 6)]));
    assert_eq!(coming, [0, 1], "an eighth of the memory");
    let mut arrived = Vec::new();
    while let Some(block) = coming.pop() {
        for effect in worker.handle([fetched(block)]) {
            match effect {
                Effect::Fetch { blocks, .. } => coming.extend(blocks.iter().map(|&(_, block)| block)),
                Effect::Send(FromWorker::Adopted { runs, .. }) => {
                    arrived.extend(runs.into_iter().flat_map(|(start, end)| start..end));
                }
                other => panic!("{other:?}"),
            }
        }
        let usage = worker.usage();
        assert!(usage.memory_bytes + usage.reserved_bytes <= 16 * BYTES && usage.reserved_bytes <= 2 * BYTES);
    }
    arrived.sort_unstable();
    assert_eq!(arrived, [0, 1, 2, 3, 4, 5]);
    assert_eq!(worker.usage().memory_bytes, 6 * BYTES);
    let stored = worker.inventory().stored;
    assert_eq!(stored, [(run(0, 6), BYTES)], "as its own, also for another scheduler");
}

#[test]
fn values_wait_for_room_that_others_leave_when_they_are_spilled() {
    let mut worker = worker(8 * BYTES);
    for block in 10..18 {
        worker.handle([Event::Lease { blocks: run(block, block + 1), inputs: Vec::new() }]);
        worker.handle([Event::Finished {
            block: (HELD, block),
            bytes: BYTES,
            duration_us: 9_000,
            kept: true,
        }]);
    }
    assert_eq!(worker.usage().memory_bytes, 8 * BYTES);
    let effects = worker.handle([adopt(0, 1)]);
    let [Effect::Spill(values)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!(fetch(&worker.handle([Event::Spilled { block: values[0], done: true }])), [0]);
    assert_eq!(worker.handle([fetched(0)]), [adopted(0, 1)]);
    assert!(worker.usage().memory_bytes <= 8 * BYTES);
}

#[test]
fn what_is_there_as_a_copy_or_on_its_way_is_not_fetched_again() {
    let mut worker = worker(100 * BYTES);
    let located = Located { blocks: run(0, 1), worker: LEAVES };
    let reader = Blocks { stage: StageKey(2), start: 0, end: 1 };
    let lease = Event::Lease { blocks: reader, inputs: vec![located] };
    assert_eq!(fetch(&worker.handle([define(2, Some(HELD)), lease])), [0]);
    assert_eq!(worker.handle([adopt(0, 1)]), []);
    let effects = worker.handle([fetched(0)]);
    assert_eq!(effects, [Effect::Run { stage: StageKey(2), start: 0, end: 1 }, adopted(0, 1)]);
    assert_eq!(worker.handle([adopt(0, 1)]), [adopted(0, 1)], "and once more, it is there");
    assert_eq!(worker.inventory().stored, [(run(0, 1), BYTES)]);
}

#[test]
fn what_cannot_be_had_or_kept_is_refused() {
    let mut worker = worker(40 * BYTES);
    assert_eq!(fetch(&worker.handle([adopt(3, 4)])), [3]);
    let failed = Event::FetchFailed { block: (HELD, 3), holder: LEAVES };
    assert_eq!(worker.handle([failed]), [not_adopted(3, 4)]);
    let large = Event::Adopt { blocks: run(5, 6), from: LEAVES, bytes: 30 * BYTES };
    assert_eq!(worker.handle([large]), [not_adopted(5, 6)]);
    let coming = fetch(&worker.handle([adopt(10, 30)]));
    let effects = worker.handle([Event::Drain { reason: "its job ends".into() }]);
    assert!(effects.contains(&not_adopted(10 + coming.len() as u64, 30)), "{effects:?}");
    assert_eq!(worker.handle([adopt(40, 41)]), [not_adopted(40, 41)], "it leaves itself");
    let effects = worker.handle(coming.iter().map(|&block| fetched(block)));
    assert_eq!(effects, [adopted(10, 10 + coming.len() as u64)], "what was on its way stays");
}

#[test]
fn what_is_forgotten_on_its_way_leaves_nothing_behind() {
    let mut worker = worker(16 * BYTES);
    assert_eq!(fetch(&worker.handle([adopt(0, 6)])), [0, 1]);
    assert_eq!(worker.handle([Event::Forget(vec![run(0, 6)])]), []);
    for block in [0, 1] {
        assert_eq!(worker.handle([fetched(block)]), [Effect::Discard(vec![(HELD, block)])]);
    }
    assert_eq!(worker.usage(), Default::default());
    assert_eq!(fetch(&worker.handle([adopt(0, 6)])), [0, 1], "and may come again");
}
