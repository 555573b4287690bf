//! What a worker does with copies of other workers' values once they have been read.

use nuna_plan::{AxisMap, BlockGrid, BlockMap, Input, Keep, MemoryBound, Source, Stage, Work, WorkKind};
use nuna_wire::{
    StageKey, WorkerId,
    message::{Blocks, Located, StageDefinition},
};
use nuna_worker::{Effect, Event, Settings, Worker};

const READ: StageKey = StageKey(1);
const COMPUTED: StageKey = StageKey(2);
const BYTES: u64 = 100;
/// Blocks that read the same value.
const SHARING: u64 = 4;

/// Every four neighbours read one value, which another worker has.
fn sharing() -> StageDefinition {
    let input_grid = BlockGrid::line(10);
    let grid = BlockGrid::new([10, SHARING]);
    let axes = vec![AxisMap::Along { axis: 0, offset: 0 }];
    let stage = Stage {
        name: "computed".to_owned(),
        grid,
        inputs: vec![Input { source: Source::Stage(0), map: BlockMap::Axes { input_grid, axes } }],
        work: Work { kind: WorkKind::Call, payload: Vec::new(), libraries: Vec::new() },
        bound: MemoryBound { inputs: BYTES, output: 0, scratch: 0 },
        keep: Keep::No,
        retries: 0,
        origin: None,
    };
    StageDefinition { key: COMPUTED, stage, inputs: vec![READ], retain: false, priority: 1 }
}

#[test]
fn neighbours_share_a_copy_and_old_copies_make_room_for_new_ones() {
    // A quarter of the memory is for copies that nobody reads at the moment: two of them.
    let memory_bytes = 8 * BYTES + 4;
    let mut worker = Worker::new(Settings { id: WorkerId(1), threads: 1, memory_bytes, value_bytes: 0 });
    let mut fetched = Vec::new();
    let mut discarded = Vec::new();
    let mut ran = 0;
    let located = Located { blocks: Blocks { stage: READ, start: 0, end: 10 }, worker: WorkerId(2) };
    let lease = Event::Lease {
        blocks: Blocks { stage: COMPUTED, start: 0, end: 10 * SHARING },
        inputs: vec![located],
    };
    let mut events = vec![Event::Define(Box::new(sharing())), lease];
    while !events.is_empty() {
        let effects = worker.handle(std::mem::take(&mut events));
        assert!(worker.usage().memory_bytes <= 5 * BYTES, "{:?}", worker.usage());
        for effect in effects {
            match effect {
                Effect::Fetch { blocks, .. } => {
                    fetched.extend(blocks.iter().map(|block| block.1));
                    events.extend(blocks.into_iter().map(|block| Event::Fetched { block, bytes: BYTES }));
                }
                Effect::Run { stage, start, end } => {
                    ran += end - start;
                    events.extend((start..end).map(|number| Event::Finished {
                        block: (stage, number),
                        bytes: 0,
                        duration_us: 9_000,
                        kept: false,
                    }));
                }
                Effect::Discard(blocks) => discarded.extend(blocks.into_iter().map(|block| block.1)),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(ran, 10 * SHARING);
    assert_eq!(fetched, (0..10).collect::<Vec<_>>(), "each value once, for all that read it");
    assert_eq!(discarded, (0..discarded.len() as u64).collect::<Vec<_>>(), "the oldest first");
    assert!((7..=9).contains(&discarded.len()), "{discarded:?}");
    assert_eq!(worker.usage().memory_bytes, (10 - discarded.len() as u64) * BYTES);
}

#[test]
fn a_new_scheduler_is_told_of_copies_that_are_on_their_way() {
    let mut worker =
        Worker::new(Settings { id: WorkerId(1), threads: 1, memory_bytes: 8 * BYTES, value_bytes: 0 });
    let located = Located { blocks: Blocks { stage: READ, start: 0, end: 10 }, worker: WorkerId(2) };
    let lease = Event::Lease { blocks: Blocks { stage: COMPUTED, start: 0, end: 1 }, inputs: vec![located] };
    let block = (READ, 0);
    let fetch = Effect::Fetch { holder: WorkerId(2), blocks: vec![block] };
    assert_eq!(worker.handle([Event::Define(Box::new(sharing())), lease]), [fetch]);
    assert_eq!(worker.inventory().copies, [READ]);
    worker.handle([Event::Fetched { block, bytes: BYTES }]);
    assert_eq!(worker.inventory().copies, [READ]);
    // It is told in return that nobody knows these stages.
    let effects = worker.handle([Event::Drop(vec![READ, COMPUTED])]);
    assert!(effects.contains(&Effect::Discard(vec![block])), "{effects:?}");
}
