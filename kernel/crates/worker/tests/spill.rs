//! What a worker does with values that leave its memory and are wanted again.

use nuna_plan::{BlockGrid, BlockMap, Input, Keep, MemoryBound, Source, Stage, Work, WorkKind};
use nuna_wire::{
    StageKey, WorkerId,
    message::{Blocks, FromWorker, Located, StageDefinition},
};
use nuna_worker::{Effect, Event, Settings, Worker};

fn define(key: u32, reads: Option<u32>, bytes: u64, priority: u32) -> Event {
    let inputs = reads.map(|_| Input { source: Source::Stage(0), map: BlockMap::Same });
    let stage = Stage {
        name: format!("stage {key}"),
        grid: BlockGrid::line(1),
        inputs: inputs.into_iter().collect(),
        work: Work { kind: WorkKind::Call, payload: Vec::new(), libraries: Vec::new() },
        bound: MemoryBound { inputs: if reads.is_some() { 100 } else { 0 }, output: bytes, scratch: 0 },
        keep: Keep::No,
        retries: 0,
        origin: None,
    };
    let inputs = reads.into_iter().map(StageKey).collect();
    Event::Define(Box::new(StageDefinition { key: StageKey(key), stage, inputs, retain: true, priority }))
}

fn lease(stage: u32) -> Event {
    Event::Lease { blocks: Blocks { stage: StageKey(stage), start: 0, end: 1 }, inputs: Vec::new() }
}

fn run(stage: u32) -> Effect {
    Effect::Run { stage: StageKey(stage), start: 0, end: 1 }
}

/// A worker of 300 bytes that writes one value of 100 to disk, for the sake of a block of 250, while another block of
/// 200 that reads the value has begun.
fn spilling() -> (Worker, (StageKey, u64)) {
    let mut worker = Worker::new(Settings { id: WorkerId(1), threads: 1, memory_bytes: 300, value_bytes: 0 });
    let value = (StageKey(1), 0);
    assert_eq!(worker.handle([define(1, None, 100, 1), lease(1)]), [run(1)]);
    assert_eq!(
        worker.handle([Event::Finished { block: value, bytes: 100, duration_us: 9_000, kept: true }]),
        []
    );
    assert_eq!(worker.handle([define(2, None, 250, 2), lease(2)]), [Effect::Spill(vec![value])]);
    assert_eq!(worker.handle([define(3, Some(1), 100, 3), lease(3)]), [], "it waits for what it reads");
    (worker, value)
}

#[test]
fn a_block_waits_for_a_value_that_is_being_written_and_reads_it_back_first() {
    let (mut worker, value) = spilling();
    let taken = |worker: &Worker| worker.usage().memory_bytes + worker.usage().reserved_bytes;
    assert_eq!(worker.handle([Event::Spilled { block: value, done: true }]), [Effect::Load(vec![value])]);
    assert!(taken(&worker) <= 300);
    assert_eq!(worker.handle([Event::Loaded { block: value, done: true }]), [run(3)]);
    assert!(taken(&worker) <= 300);
}

#[test]
fn a_value_that_could_not_be_written_is_still_there() {
    let (mut worker, value) = spilling();
    assert_eq!(worker.handle([Event::Spilled { block: value, done: false }])[0], run(3));
}

#[test]
fn a_value_that_was_forgotten_while_it_was_written_sends_its_readers_back() {
    let (mut worker, value) = spilling();
    let forget = Event::Forget(vec![Blocks { stage: value.0, start: 0, end: 1 }]);
    worker.handle([forget]);
    let effects = worker.handle([Event::Spilled { block: value, done: true }]);
    assert!(matches!(effects[0], Effect::Send(_)), "{effects:?}");
}

/// A worker of 300 bytes of which a block waits for a value from another worker, while it has made the same itself, and writes it
/// to disk for the sake of a third block.
fn spilling_what_is_fetched() -> (Worker, (StageKey, u64)) {
    let mut worker = Worker::new(Settings { id: WorkerId(1), threads: 1, memory_bytes: 300, value_bytes: 0 });
    let value = (StageKey(1), 0);
    let blocks = Blocks { stage: StageKey(3), start: 0, end: 1 };
    let located = Located { blocks: Blocks { stage: value.0, ..blocks }, worker: WorkerId(2) };
    let fetch = Effect::Fetch { holder: WorkerId(2), blocks: vec![value] };
    let lease_reader = Event::Lease { blocks, inputs: vec![located] };
    assert_eq!(worker.handle([define(1, None, 100, 1), define(3, Some(1), 50, 3), lease_reader]), [fetch]);
    assert_eq!(worker.handle([lease(1)]), [run(1)]);
    worker.handle([Event::Finished { block: value, bytes: 100, duration_us: 9_000, kept: true }]);
    assert_eq!(worker.handle([define(2, None, 100, 2), lease(2)]), [Effect::Spill(vec![value])]);
    (worker, value)
}

#[test]
fn a_block_that_waits_for_another_worker_reads_back_what_was_made_here_and_written() {
    let (mut worker, value) = spilling_what_is_fetched();
    assert_eq!(worker.handle([Event::Spilled { block: value, done: true }]), [run(2)]);
    let fetched = Event::Fetched { block: value, bytes: 100 };
    assert_eq!(worker.handle([fetched]), [Effect::Load(vec![value])], "the store has it on disk");
    assert_eq!(worker.handle([Event::Loaded { block: value, done: true }]), [run(3)]);
    assert!(worker.usage().memory_bytes + worker.usage().reserved_bytes <= 300);
}

#[test]
fn a_block_that_waits_for_another_worker_reads_back_what_is_still_being_written() {
    let (mut worker, value) = spilling_what_is_fetched();
    assert_eq!(worker.handle([Event::Fetched { block: value, bytes: 100 }]), []);
    let effects = worker.handle([Event::Spilled { block: value, done: true }]);
    assert_eq!(effects, [Effect::Load(vec![value]), run(2)]);
    assert_eq!(worker.handle([Event::Loaded { block: value, done: true }]), [run(3)]);
}

#[test]
fn a_block_goes_back_if_the_other_worker_fails_and_what_was_made_here_is_written() {
    let (mut worker, value) = spilling_what_is_fetched();
    assert_eq!(worker.handle([Event::Spilled { block: value, done: true }]), [run(2)]);
    let effects = worker.handle([Event::FetchFailed { block: value, holder: WorkerId(2) }]);
    assert!(matches!(effects.as_slice(), [Effect::Send(FromWorker::InputMissing { .. })]), "{effects:?}");
    assert_eq!(worker.usage().blocks_begun, 1);
}

#[test]
fn what_leased_blocks_read_is_spilled_last() {
    let mut worker = Worker::new(Settings { id: WorkerId(1), threads: 1, memory_bytes: 300, value_bytes: 0 });
    for key in [1, 2] {
        assert_eq!(worker.handle([define(key, None, 100, key), lease(key)]), [run(key)]);
        let block = (StageKey(key), 0);
        worker.handle([Event::Finished { block, bytes: 100, duration_us: 9_000, kept: true }]);
    }
    // The first value was used longest ago, but it would have to come back at once.
    assert_eq!(worker.handle([define(3, Some(1), 50, 3), lease(3)]), [Effect::Spill(vec![(StageKey(2), 0)])]);
}

/// A worker of 300 bytes whose values of 100 no disk takes: four of them are there, one beyond the limit, and a block waits.
fn refused() -> Worker {
    let mut worker = Worker::new(Settings { id: WorkerId(1), threads: 1, memory_bytes: 300, value_bytes: 0 });
    for key in 1..=4 {
        let mut effects = worker.handle([define(key, None, 100, 1), lease(key)]);
        if let [Effect::Spill(values)] = effects.as_slice() {
            let refusals: Vec<Event> =
                values.iter().map(|&block| Event::Spilled { block, done: false }).collect();
            effects = worker.handle(refusals);
        }
        assert_eq!(effects, [run(key)], "one block may pass the limit, alone");
        let block = (StageKey(key), 0);
        worker.handle([Event::Finished { block, bytes: 100, duration_us: 9_000, kept: true }]);
    }
    assert_eq!(worker.usage().memory_bytes, 400);
    assert_eq!(
        worker.handle([define(5, None, 100, 1), lease(5)]),
        [],
        "nothing is written before it is time"
    );
    worker
}

/// It is time to ask the disks again, and they refuse. What the worker does after that.
fn refuse_again(worker: &mut Worker) -> Vec<Effect> {
    let effects = worker.handle([Event::SpillAgain]);
    let [Effect::Spill(values)] = effects.as_slice() else { panic!("{effects:?}") };
    worker.handle(values.iter().map(|&block| Event::Spilled { block, done: false }).collect::<Vec<_>>())
}

#[test]
fn blocks_wait_while_disks_refuse_and_begin_once_they_do_not() {
    let mut worker = refused();
    (0..3).for_each(|_| assert_eq!(refuse_again(&mut worker), []));
    let effects = worker.handle([Event::SpillAgain]);
    let [Effect::Spill(values)] = effects.as_slice() else { panic!("{effects:?}") };
    let written: Vec<Event> = values.iter().map(|&block| Event::Spilled { block, done: true }).collect();
    assert_eq!(worker.handle(written), [run(5)]);
    assert!(worker.usage().memory_bytes + worker.usage().reserved_bytes <= 300);
}

#[test]
fn blocks_that_wait_for_room_begin_when_values_are_forgotten() {
    let mut worker = refused();
    assert_eq!(refuse_again(&mut worker), []);
    let run_of = |stage| Blocks { stage: StageKey(stage), start: 0, end: 1 };
    let effects = worker.handle([Event::Forget(vec![run_of(1), run_of(2)])]);
    assert_eq!(effects.last(), Some(&run(5)), "{effects:?}");
}

#[test]
fn a_block_is_given_up_when_disks_refuse_for_long() {
    let mut worker = refused();
    let effects = (0..30).map(|_| refuse_again(&mut worker)).find(|effects| !effects.is_empty());
    assert_eq!(effects, Some(vec![Effect::NoRoom((StageKey(5), 0))]));
    assert_eq!(worker.usage().blocks_queued, 0);
}
