//! Plans on real processes: results, failures in words, held values, several clients.

mod support;

use std::time::Duration;

use nuna_plan::{
    BlockGrid, BlockMap, Engine, EngineError, Finished, Keep, MemoryBound, Source, default_engine,
};
use support::*;

#[test]
fn a_farm_delivers_every_block_once() {
    let started = start(2, 1);
    let results = run(&started.cluster.client(), farm("square", 10_000)).unwrap();
    assert_eq!(results.len(), 10_000);
    assert!(results.iter().all(|(&(_, block), &value)| value == block * block));
}

#[test]
fn a_tree_of_sums_crosses_workers() {
    let started = start(3, 2);
    let results = run(&started.cluster.client(), tree("index", 1000, 8)).unwrap();
    assert_eq!(results.values().copied().collect::<Vec<_>>(), [999 * 1000 / 2]);
}

#[test]
fn large_values_are_fetched_from_their_workers() {
    let started = start(2, 1);
    let mut plan = farm("large 3000000", 20);
    plan.stages[0].bound.output = 3_000_000;
    let mut running = started.cluster.client().submit(plan).unwrap();
    let mut seen = 0;
    loop {
        match running.next(PATIENCE).unwrap() {
            Finished::Block { value, block, .. } => {
                assert_eq!((value.body.len(), value.body[0]), (3_000_000, block as u8));
                assert_eq!(&value.header[..], b"u64");
                seen += 1;
            }
            Finished::Waiting { .. } => panic!("nothing within {PATIENCE:?}"),
            Finished::End => break,
        }
    }
    assert_eq!(seen, 20);
}

#[test]
fn values_that_do_not_fit_go_to_disk_and_come_back() {
    // 60 MB where there is room for some 30, all needed at once by the last stage's four blocks, each of which reads a
    // quarter. The rest of the limit is for the process itself.
    let started = start_with_memory(1, 2, "95MB");
    let mut first = stage("large 1000000", BlockGrid::line(60), Keep::No);
    first.bound = MemoryBound { inputs: 0, output: 1_000_000, scratch: 0 };
    let map = BlockMap::Axes {
        input_grid: BlockGrid::line(60),
        axes: vec![nuna_plan::AxisMap::Group { axis: 0, size: 15 }],
    };
    let mut last = reads(stage("sum", BlockGrid::line(4), Keep::Deliver), Source::Stage(0), map);
    last.bound = MemoryBound { inputs: 15_000_000, output: 8, scratch: 0 };
    let results = run(&started.cluster.client(), plan(vec![first, last])).unwrap();
    assert_eq!(results.values().sum::<u64>(), 59 * 60 / 2);
}

#[test]
fn a_failure_names_task_worker_and_cell() {
    let started = start(2, 1);
    let client = started.cluster.client();
    let error = run(&client, farm("fail 13", 100)).unwrap_err();
    let EngineError::Task { task, worker, cell, message } = &error else { panic!("{error}") };
    assert_eq!((task.as_str(), *cell), ("fail[13]", Some(7)));
    assert!(worker.starts_with(started.cluster.name()), "{worker}");
    assert!(message.contains("s3://nowhere"), "{message}");
    let error = run(&client, farm("panic 5", 100)).unwrap_err().to_string();
    assert!(
        error.contains("panic[5]") && error.contains("one too many") && error.contains("In [7]"),
        "{error}"
    );
    assert_eq!(run(&client, farm("square", 10)).unwrap().len(), 10, "the cluster goes on");
}

#[test]
fn failures_worth_another_attempt_get_it() {
    let started = start(2, 1);
    let mut plan = farm(&format!("flaky {}/mark", started.folder.path().display()), 20);
    plan.stages[0].retries = 1;
    assert_eq!(run(&started.cluster.client(), plan).unwrap().len(), 20);
    let plan = farm(&format!("flaky {}/other", started.folder.path().display()), 20);
    assert!(matches!(run(&started.cluster.client(), plan), Err(EngineError::Task { .. })));
}

#[test]
fn held_values_serve_later_plans_of_the_client_until_released() {
    let started = start(2, 1);
    let client = started.cluster.client();
    let held = client.new_held_id();
    let first = plan(vec![stage("square", BlockGrid::line(50), Keep::Hold(held))]);
    assert!(run(&client, first).unwrap().is_empty());
    let read = || {
        plan(vec![reads(
            stage("sum", BlockGrid::line(50), Keep::Deliver),
            Source::Held(held),
            BlockMap::Same,
        )])
    };
    for _ in 0..2 {
        let results = run(&client, read()).unwrap();
        assert!(results.iter().all(|(&(_, block), &value)| value == block * block));
    }
    client.release(held);
    let error = run(&client, read()).unwrap_err().to_string();
    assert!(error.contains("persist it again"), "{error}");
    assert_ne!(client.new_held_id(), held);
}

#[test]
fn a_block_that_no_worker_has_the_memory_for_is_refused_at_once() {
    let started = start_with_memory(1, 1, "20MB");
    let mut plan = farm("square", 4);
    plan.stages[0].bound.scratch = 40_000_000;
    let error = run(&started.cluster.client(), plan).unwrap_err();
    let EngineError::Memory { stage, limit, .. } = &error else { panic!("{error}") };
    assert!(stage == "square" && *limit < 20_000_000, "{error}");
    assert!(error.to_string().contains("the rest of its 20000000 bytes"), "{error}");
}

#[test]
fn dropping_a_running_plan_frees_the_workers_for_the_next() {
    let started = start(1, 1);
    let client = started.cluster.client();
    let mut running = client.submit(farm("sleep 20", 100_000)).unwrap();
    assert!(matches!(running.next(PATIENCE), Ok(Finished::Block { .. })));
    drop(running);
    assert_eq!(run(&client, farm("square", 10)).unwrap().len(), 10);
}

#[test]
fn an_interrupt_cancels_what_is_waited_for() {
    use std::sync::atomic::{AtomicBool, Ordering};
    static STOP: AtomicBool = AtomicBool::new(false);
    let started = start(1, 1);
    let mut running = started.cluster.client().submit(farm("sleep 10000", 3)).unwrap();
    assert!(matches!(running.next(Duration::from_millis(60)), Ok(Finished::Waiting { .. })));
    nuna_plan::engine::set_interrupt_check(Some(|| STOP.load(Ordering::Relaxed)));
    STOP.store(true, Ordering::Relaxed);
    assert_eq!(running.next(PATIENCE), Err(EngineError::Cancelled));
    nuna_plan::engine::set_interrupt_check(None);
}

#[test]
fn two_clients_share_a_cluster() {
    let started = start(2, 1);
    let other = nuna_cluster::Client::connect(started.cluster.file()).unwrap();
    let first = started.cluster.client();
    let (a, b) = (first.submit(farm("sleep 1", 200)).unwrap(), other.submit(farm("square", 200)).unwrap());
    assert_eq!(collect(b).unwrap().len(), 200);
    assert_eq!(collect(a).unwrap().len(), 200);
    assert_ne!(first.new_held_id(), other.new_held_id());
}

#[test]
fn the_cluster_started_last_is_the_default_engine_until_it_ends() {
    let started = start(1, 2);
    let engine = default_engine().expect("a cluster runs");
    assert_eq!(engine.thread_count(), 2);
    assert!(engine.describe().contains(started.cluster.name()));
    assert!(started.cluster.to_string().contains("1 worker, 2 threads"), "{}", started.cluster);
    assert!(started.cluster.html().contains(&format!("{}-0", started.cluster.name())));
    started.cluster.shutdown();
    assert!(default_engine().is_none());
    let error = run(&*engine, farm("square", 1)).unwrap_err();
    assert!(matches!(error, EngineError::Lost { .. }), "{error}");
}
