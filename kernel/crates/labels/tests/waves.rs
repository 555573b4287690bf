//! A rechunk to disk that is larger than the memory of those who compute it is done in waves, and is what it would be.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
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
    memory_bytes: u64,
    disk_bytes: u64,
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
        Some(self.memory_bytes)
    }

    fn spill_bytes(&self) -> u64 {
        self.disk_bytes
    }

    fn describe(&self) -> String {
        "two threads with little memory".to_owned()
    }
}

fn bits(array: &DataArray) -> Vec<u32> {
    let values = array.array().compute().expect("it can be read").to_vec::<f32>();
    values.into_iter().map(f32::to_bits).collect()
}

impl Small {
    fn new(memory_bytes: u64, disk_bytes: u64) -> Arc<Self> {
        let (plans, held) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { threads: ThreadEngine::new(2), plans, held, memory_bytes, disk_bytes })
    }
}

/// A store of slabs of one time each.
fn slabs(folder: &Path, shape: [u64; 3]) -> DataArray {
    let count = shape.iter().product::<u64>();
    let values: Vec<f32> = (0..count).map(|i| if i % 7 == 3 { f32::NAN } else { (i as f32).sin() }).collect();
    let whole = Array::from_chunk(Chunk::from_slice(&shape, &values));
    let slabs = whole.rechunk(&[1, shape[1], shape[2]]).expect("it has three axes");
    let slabs = DataArray::new(slabs, ["time", "y", "x"]).expect("three names").named("field");
    slabs.to_zarr(folder.join("slabs.zarr")).expect("it can be written");
    open_zarr(folder.join("slabs.zarr")).and_then(|set| set.var("field")).expect("just written")
}

/// Writes tiles of all times, and reads them back. How many plans that took.
fn written(engine: &Arc<Small>, array: &DataArray, tile: i64, target: &Path) -> (u64, Vec<u32>) {
    set_default_engine(Some(engine.clone()));
    engine.plans.store(0, Ordering::Relaxed);
    let tiles = array.rechunk([("time", -1), ("y", tile), ("x", tile)]).expect("they are its dimensions");
    tiles.to_zarr_with(target, &StoreOptions::default()).expect("it can be written");
    set_default_engine(None);
    let plans = engine.plans.load(Ordering::Relaxed);
    let hidden = std::fs::read_dir(target).expect("it is a folder").filter_map(Result::ok);
    let hidden = hidden.filter(|entry| entry.file_name().to_string_lossy().starts_with('.'));
    assert_eq!(hidden.count(), 0, "drafts are left in {}", target.display());
    let written = open_zarr(target).and_then(|set| set.var("field")).expect("just written");
    (plans, bits(&written))
}

#[test]
fn a_rechunk_larger_than_the_memory_is_written_in_waves_with_the_same_bits() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let field = slabs(folder.path(), SHAPE);
    // Every wave needs the first row too, wherever it is itself.
    let first_row = field.isel("y", 0).expect("there is one");
    let apart = &field - &first_row;
    let small = Small::new(1_000_000, 0);
    for (name, array) in [("tiles", &field), ("apart", &apart)] {
        let (plans, values) = written(&small, array, 10, &folder.path().join(name));
        assert!(plans >= 6, "{name}: {plans} plans for {} bytes", array.nbytes());
        let held = small.held.load(Ordering::Relaxed);
        assert!((1..2_000_000).contains(&held), "{name}: pieces of {held} bytes wait at once");
        assert!(values == bits(array), "{name}: other values");
    }
}

#[test]
fn with_room_on_local_disks_it_is_written_at_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let field = slabs(folder.path(), [64, 400, 400]);
    for (name, disk_bytes, at_once) in
        [("little", field.nbytes(), false), ("enough", 3 * field.nbytes(), true)]
    {
        let small = Small::new(8_000_000, disk_bytes);
        let (plans, values) = written(&small, &field, 100, &folder.path().join(name));
        assert_eq!(plans == 1, at_once, "{name}: {plans} plans");
        assert!(values == bits(&field), "{name}: other values");
    }
}
