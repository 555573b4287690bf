//! Clusters of real processes, and plans whose results are easy to know.

#![allow(unreachable_pub, dead_code, reason = "each test binary uses its part of this")]

pub mod workloads;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use nuna_cluster::{Cluster, ClusterError};
use nuna_plan::{
    AxisMap, BlockGrid, BlockMap, Engine, EngineError, Finished, Input, Keep, MemoryBound, Origin, Plan,
    Running, Source, Stage, Work, WorkKind,
};

// As in `examples/node.rs`: one shared library, one build id.
use nuna as _;

pub const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster and the folder of its files.
pub struct Started {
    pub cluster: Cluster,
    pub folder: tempfile::TempDir,
}

/// `examples/node.rs`, which cargo builds with the tests.
pub fn program() -> PathBuf {
    let exe = std::env::current_exe().expect("a test has a program");
    let profile = exe.parent().and_then(|deps| deps.parent()).expect("tests are in target/PROFILE/deps");
    let program = profile.join("examples/node");
    assert!(
        program.is_file(),
        "{} is missing; cargo builds it with `cargo build --examples -p nuna-cluster`",
        program.display()
    );
    program
}

pub fn start(workers: usize, threads: usize) -> Started {
    start_with_memory(workers, threads, "500MB")
}

pub fn start_with_memory(workers: usize, threads: usize, memory: &str) -> Started {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let directory = folder.path().join("clusters");
    let cluster = Cluster::local()
        .workers(workers)
        .threads(threads)
        .memory(memory)
        .program(program())
        .directory(directory)
        .start();
    let cluster = cluster.unwrap_or_else(|error: ClusterError| panic!("{error}"));
    Started { cluster, folder }
}

pub fn stage(word: &str, grid: BlockGrid, keep: Keep) -> Stage {
    Stage {
        name: word.split_whitespace().next().unwrap_or_default().to_owned(),
        grid,
        inputs: Vec::new(),
        work: Work { kind: WorkKind::Array, payload: word.as_bytes().to_vec(), libraries: Vec::new() },
        bound: MemoryBound { inputs: 0, output: 64, scratch: 0 },
        keep,
        retries: 0,
        origin: Some(Origin { cell: 7, line: 1 }),
    }
}

pub fn reads(mut stage: Stage, source: Source, map: BlockMap) -> Stage {
    stage.inputs.push(Input { source, map });
    stage
}

pub fn plan(stages: Vec<Stage>) -> Plan {
    Plan { label: "test".into(), stages, terms: Default::default() }
}

pub fn farm(word: &str, count: u64) -> Plan {
    plan(vec![stage(word, BlockGrid::line(count), Keep::Deliver)])
}

/// A first stage of `count` blocks, summed in groups of `size` until one is left.
pub fn tree(word: &str, count: u64, size: u64) -> Plan {
    let mut stages = vec![stage(word, BlockGrid::line(count), Keep::No)];
    let mut blocks = count;
    while blocks > 1 {
        let grid = BlockGrid::line(blocks);
        blocks = blocks.div_ceil(size);
        let keep = if blocks == 1 { Keep::Deliver } else { Keep::No };
        let map = BlockMap::Axes { input_grid: grid, axes: vec![AxisMap::Group { axis: 0, size }] };
        let source = Source::Stage(stages.len() as u32 - 1);
        stages.push(reads(stage("sum", BlockGrid::line(blocks), keep), source, map));
    }
    plan(stages)
}

/// Every delivered block, by stage and number.
pub type Results = BTreeMap<(u32, u64), u64>;

pub fn collect(mut running: Box<dyn Running>) -> Result<Results, EngineError> {
    let until = Instant::now() + PATIENCE;
    let mut results = Results::new();
    loop {
        match running.next(Duration::from_secs(1))? {
            Finished::Block { stage, block, value } => {
                let number = u64::from_le_bytes(value.body[..8].try_into().expect("at least 8 bytes"));
                let before = results.insert((stage, block), number);
                assert!(before.is_none(), "stage {stage} block {block} was delivered twice");
            }
            Finished::Waiting { done, total } => {
                assert!(Instant::now() < until, "stuck at {done} of {total} blocks")
            }
            Finished::End => return Ok(results),
        }
    }
}

pub fn run(engine: &dyn Engine, plan: Plan) -> Result<Results, EngineError> {
    collect(engine.submit(plan)?)
}

pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
