//! Processes that die: workers in the middle of a computation, and whoever started them all. Schedulers: `restart.rs`.

mod support;

use std::time::Duration;

use nuna_plan::{BlockGrid, BlockMap, Engine, EngineError, Finished, Keep, Source};
use nuna_wire::cluster_file::process_exists;
use support::*;

fn kill(pid: u32) {
    let status = std::process::Command::new("kill")
        .args(["-9", &pid.to_string()])
        .status()
        .expect("kill is everywhere");
    assert!(status.success(), "kill -9 {pid}");
}

#[test]
fn a_killed_worker_changes_nothing_but_the_time() {
    let started = start(3, 1);
    let client = started.cluster.client();
    let mut plan = tree("sleep 2", 600, 5);
    plan.stages[1].work.payload = b"sleep 1".to_vec();
    let expected = run(&client, plan.clone()).unwrap();
    let mut running = client.submit(plan).unwrap();
    // Once a part is done, some of it is lost with the worker.
    wait_until(
        "part of the plan is done",
        || matches!(running.next(Duration::from_millis(20)), Ok(Finished::Waiting { done, .. }) if done > 100),
    );
    kill(client.info().workers[1].pid);
    assert_eq!(collect(running).unwrap(), expected);
}

#[test]
fn held_values_lost_with_their_worker_are_computed_again() {
    let started = start(2, 1);
    let client = started.cluster.client();
    let held = client.new_held_id();
    let first = stage("square", BlockGrid::line(40), Keep::No);
    let second = reads(stage("sum", BlockGrid::line(40), Keep::Hold(held)), Source::Stage(0), BlockMap::Same);
    run(&client, plan(vec![first, second])).unwrap();
    let dead = client.info().workers[0].pid;
    kill(dead);
    wait_until("the scheduler knows", || client.info().workers.iter().all(|worker| worker.pid != dead));
    let read = plan(vec![reads(
        stage("sum", BlockGrid::line(40), Keep::Deliver),
        Source::Held(held),
        BlockMap::Same,
    )]);
    let results = run(&client, read).unwrap();
    assert!(results.len() == 40 && results.iter().all(|(&(_, block), &value)| value == block * block));
}

#[test]
fn dead_workers_are_replaced() {
    let started = start(2, 1);
    let client = started.cluster.client();
    let before: Vec<u32> = client.info().workers.iter().map(|worker| worker.pid).collect();
    before.iter().for_each(|&pid| kill(pid));
    wait_until("two new workers", || {
        let info = client.info();
        info.workers.len() == 2 && info.workers.iter().all(|worker| !before.contains(&worker.pid))
    });
    assert_eq!(run(&client, farm("square", 100)).unwrap().len(), 100);
}

#[test]
fn a_task_that_takes_its_workers_with_it_is_given_up() {
    let started = start(2, 1);
    let client = started.cluster.client();
    let error = run(&client, farm("crash 3", 20)).unwrap_err();
    let EngineError::Task { message, .. } = &error else { panic!("{error}") };
    assert!(message.contains("workers ended while they ran it"), "{message}");
}

#[test]
fn shutdown_leaves_no_process_and_no_file() {
    let started = start(2, 1);
    let mut pids: Vec<u32> = started.cluster.info().workers.iter().map(|worker| worker.pid).collect();
    pids.push(started.cluster.file().pid);
    assert!(pids.iter().all(|&pid| process_exists(pid)));
    let name = started.cluster.name().to_owned();
    started.cluster.shutdown();
    assert!(!pids.iter().any(|&pid| process_exists(pid)));
    let folder = started.folder.path().join("clusters");
    assert!(!folder.join(&name).exists() && !folder.join(format!("{name}.json")).exists());
}

/// Not a test of its own: what the next one runs in another process, to be killed.
#[test]
fn start_a_cluster_and_wait_to_be_killed() {
    let Ok(report) = std::env::var("NUNA_TEST_REPORT") else { return };
    let started = start(2, 1);
    let mut pids: Vec<String> =
        started.cluster.info().workers.iter().map(|worker| worker.pid.to_string()).collect();
    pids.push(started.cluster.file().pid.to_string());
    std::fs::write(format!("{report}.new"), pids.join(" ")).unwrap();
    std::fs::rename(format!("{report}.new"), report).unwrap();
    std::thread::sleep(PATIENCE);
}

#[test]
fn nothing_is_left_when_the_starter_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("pids");
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "start_a_cluster_and_wait_to_be_killed"]).env("NUNA_TEST_REPORT", &report);
    let mut child = nuna_testing::Guarded::start(&mut command);
    wait_until("the other process has a cluster", || report.exists());
    let pids: Vec<u32> =
        std::fs::read_to_string(&report).unwrap().split(' ').map(|pid| pid.parse().unwrap()).collect();
    assert!(pids.len() == 3 && pids.iter().all(|&pid| process_exists(pid)));
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("its cluster has ended", || !pids.iter().any(|&pid| process_exists(pid)));
}
