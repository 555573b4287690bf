//! A rechunk to disk that is larger than the memory of those who compute it is done in waves, and is what it would be.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use nuna_array::{Array, Chunk, ThreadEngine};
use nuna_labels::{DataArray, StoreOptions, open_zarr};
use nuna_plan::{Engine, EngineError, HeldId, Plan, Running, set_default_engine};

const SHAPE: [u64; 3] = [60, 120, 160];

/// Threads that say they have little memory, and note what they were given.
struct Small {
    threads: ThreadEngine,
    plans: AtomicU64,
    /// The most bytes that all blocks of stages which nobody asked for take up in one plan.
    held: AtomicU64,
}

impl Engine for Small {
    fn submit(&self, plan: Plan) -> Result<Box<dyn Running>, EngineError> {
        plan.validate().unwrap_or_else(|error| panic!("{error}"));
        self.plans.fetch_add(1, Ordering::Relaxed);
        // Pieces are what moves; the blocks they are cut from are gone when they are there.
        let pieces = plan.stages.iter().filter(|stage| stage.name.starts_with("split"));
        let held = pieces.map(|stage| stage.bound.output * stage.grid.count()).max().unwrap_or(0);
        self.held.fetch_max(held, Ordering::Relaxed);
        self.threads.submit(plan)
    }

    fn new_held_id(&self) -> HeldId {
        self.threads.new_held_id()
    }

    fn release(&self, held: HeldId) {
        self.threads.release(held);
    }

    fn thread_count(&self) -> usize {
        self.threads.thread_count()
    }

    fn memory_bytes(&self) -> Option<u64> {
        Some(1_000_000)
    }

    fn describe(&self) -> String {
        "two threads with little memory".to_owned()
    }
}

fn bits(array: &DataArray) -> Vec<u32> {
    let values = array.array().compute().expect("it can be read").to_vec::<f32>();
    values.into_iter().map(f32::to_bits).collect()
}

#[test]
fn a_rechunk_larger_than_the_memory_is_written_in_waves_with_the_same_bits() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let count = SHAPE.iter().product::<u64>();
    let values: Vec<f32> = (0..count).map(|i| if i % 7 == 3 { f32::NAN } else { (i as f32).sin() }).collect();
    let whole = Array::from_chunk(Chunk::from_slice(&SHAPE, &values));
    let slabs = whole.rechunk(&[1, SHAPE[1], SHAPE[2]]).expect("it has three axes");
    let slabs = DataArray::new(slabs, ["time", "y", "x"]).expect("three names").named("field");
    slabs.to_zarr(folder.path().join("slabs.zarr")).expect("it can be written");

    let small =
        Arc::new(Small { threads: ThreadEngine::new(2), plans: AtomicU64::new(0), held: AtomicU64::new(0) });
    let field =
        open_zarr(folder.path().join("slabs.zarr")).and_then(|set| set.var("field")).expect("just written");
    // Every wave needs the first row too, wherever it is itself.
    let first_row = field.isel("y", 0).expect("there is one");
    let apart = &field - &first_row;
    for (name, array) in [("tiles", &field), ("apart", &apart)] {
        let expected = bits(array);
        let target = folder.path().join(name);
        set_default_engine(Some(small.clone()));
        small.plans.store(0, Ordering::Relaxed);
        let tiles = array.rechunk([("time", -1), ("y", 10), ("x", 10)]).expect("they are its dimensions");
        tiles.to_zarr_with(&target, &StoreOptions::default()).expect("it can be written");
        set_default_engine(None);
        let plans = small.plans.load(Ordering::Relaxed);
        assert!(plans >= 6, "{name}: {plans} plans for {} bytes", 4 * count);
        let held = small.held.load(Ordering::Relaxed);
        assert!((1..2_000_000).contains(&held), "{name}: pieces of {held} bytes wait at once");
        let hidden = std::fs::read_dir(&target).expect("it is a folder").filter_map(Result::ok);
        let hidden = hidden.filter(|entry| entry.file_name().to_string_lossy().starts_with('.'));
        assert_eq!(hidden.count(), 0, "{name}: drafts are left");
        let written = open_zarr(&target).and_then(|set| set.var("field")).expect("just written");
        assert!(bits(&written) == expected, "{name}: other values");
    }
}
