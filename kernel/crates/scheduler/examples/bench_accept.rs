//! Bench: how long the scheduler takes to accept a plan of a million blocks, and what each block costs it in memory. Part of
//! `cargo xtask bench engine`; prints one line of JSON.
#![expect(clippy::print_stdout, reason = "one line is what a bench is run for")]

use std::time::Instant;

use nuna_plan::{
    AxisMap, BlockGrid, BlockMap, Input, Keep, MemoryBound, Plan, Source, Stage, Terms, Work, WorkKind,
};
use nuna_scheduler::{Event, Scheduler, Settings};
use nuna_wire::{ClientId, WorkerId, message::WorkerHello};

const CLIENT: ClientId = ClientId(1);
/// Of each of two stages that read one another, and a tree over them.
const BLOCKS: u64 = 484_000;
const SAMPLES: u32 = 5;

fn stage(name: &str, grid: BlockGrid, inputs: Vec<Input>, keep: Keep) -> Stage {
    let work = Work { kind: WorkKind::Array, payload: Vec::new(), libraries: Vec::new() };
    let bound = MemoryBound { inputs: 1000, output: 1000, scratch: 0 };
    Stage { name: name.to_owned(), grid, inputs, work, bound, keep, retries: 3, origin: None }
}

/// Reads, a step on each, and their sum in groups of 16.
fn plan() -> Plan {
    let mut stages = vec![stage("read", BlockGrid::line(BLOCKS), Vec::new(), Keep::No)];
    let same = Input { source: Source::Stage(0), map: BlockMap::Same };
    stages.push(stage("step", BlockGrid::line(BLOCKS), vec![same], Keep::No));
    let mut count = BLOCKS;
    while count > 1 {
        let input_grid = BlockGrid::line(count);
        let source = Source::Stage(stages.len() as u32 - 1);
        count = count.div_ceil(16);
        let map = BlockMap::Axes { input_grid, axes: vec![AxisMap::Group { axis: 0, size: 16 }] };
        let keep = if count == 1 { Keep::Deliver } else { Keep::No };
        stages.push(stage("sum", BlockGrid::line(count), vec![Input { source, map }], keep));
    }
    Plan { label: "a million blocks".to_owned(), stages, terms: Terms::default() }
}

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096
}

fn main() {
    let mut times = Vec::new();
    let mut bytes = Vec::new();
    let blocks = plan().block_count();
    for _ in 0..SAMPLES {
        let now = Instant::now();
        let mut scheduler = Scheduler::new(Settings::default());
        scheduler.handle(now, Event::ClientJoined(CLIENT));
        for number in 0..2 {
            let hello = WorkerHello {
                name: format!("w{number}"),
                threads: 1,
                memory_bytes: 1 << 30,
                limit_bytes: 1 << 30,
                data_address: ([127, 0, 0, 1], 1).into(),
                disks: Vec::new(),
                pid: 1,
                resources: Default::default(),
            };
            scheduler.handle(now, Event::WorkerJoined { worker: WorkerId(number), hello });
        }
        let plan = Box::new(plan());
        let before = resident_bytes();
        let started = Instant::now();
        let effects = scheduler.handle(now, Event::Submit { client: CLIENT, submission: 1, plan });
        times.push(1e3 * started.elapsed().as_secs_f64());
        assert!(!effects.is_empty(), "workers are given blocks at once");
        bytes.push(resident_bytes().saturating_sub(before) as f64 / blocks as f64);
    }
    times.sort_by(f64::total_cmp);
    bytes.sort_by(f64::total_cmp);
    let median = SAMPLES as usize / 2;
    println!(
        "{{\"workload\":\"accept_plan\",\"engine\":\"nuna\",\"n\":{blocks},\"seconds\":{},\"accept_ms\":{},\"accept_max_ms\":{},\"bytes_per_block\":{}}}",
        times[median] / 1e3,
        times[median],
        times[times.len() - 1],
        bytes[bytes.len() - 1],
    );
}
