//! Values that many processes of one host read: they are there once.

mod support;

use std::collections::BTreeSet;

use nuna_plan::{AxisMap, BlockGrid, BlockMap, Engine, HeldId, Keep, Source};
use support::*;

/// The files of shared values that a process has mapped, by number.
fn mapped(pid: u32) -> BTreeSet<String> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("the worker is there");
    let shared = maps.lines().filter(|line| line.contains("/memfd:nuna-value"));
    shared.map(|line| line.split_whitespace().nth(4).expect("an inode").to_owned()).collect()
}

/// Has the value that `word` makes read by tasks on all workers; it stays held.
fn scatter(started: &Started, word: &str, tasks: u64) -> HeldId {
    let client = started.cluster.client();
    let held = client.new_held_id();
    run(&client, plan(vec![stage(word, BlockGrid::line(1), Keep::Hold(held))])).expect("it is made");
    let map = BlockMap::Axes { input_grid: BlockGrid::line(1), axes: vec![AxisMap::All] };
    let read = reads(stage("sleep 20", BlockGrid::line(tasks), Keep::Deliver), Source::Held(held), map);
    assert_eq!(run(&client, plan(vec![read])).expect("it is read").len() as u64, tasks);
    held
}

fn pids(started: &Started) -> Vec<u32> {
    started.cluster.info().workers.iter().map(|worker| worker.pid).collect()
}

#[test]
fn a_value_that_all_read_is_one_piece_of_memory_until_nobody_has_it() {
    let started = start(4, 1);
    let held = scatter(&started, "shared 8000000", 200);
    let all: Vec<BTreeSet<String>> = pids(&started).into_iter().map(mapped).collect();
    assert!(all.iter().all(|files| files.len() == 1), "{all:?}");
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{all:?}");
    started.cluster.client().release(held);
    wait_until("it is gone", || pids(&started).into_iter().all(|pid| mapped(pid).is_empty()));
}

#[test]
fn small_values_and_those_that_few_read_are_nobody_elses() {
    let started = start(2, 1);
    scatter(&started, "shared 80000", 40);
    scatter(&started, "large 8000000", 40);
    assert!(pids(&started).into_iter().all(|pid| mapped(pid).is_empty()));
}

/// Prints what eight workers take up, in MB, before and after 200 MB were scattered to them: sent to each, and shared.
#[test]
#[ignore = "a measurement"]
fn two_hundred_megabytes_for_eight_workers() {
    let of = |pid: u32, what: &str| -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the worker is there");
        let line = text.lines().find(|line| line.starts_with(what)).expect("a line of each");
        line.split_whitespace().nth(1).expect("kB").parse::<u64>().expect("a number") / 1000
    };
    for word in ["large 200000000", "shared 200000000"] {
        let started = start_with_memory(8, 1, "1GB");
        let sum = |what: &str| pids(&started).into_iter().map(|pid| of(pid, what)).sum::<u64>();
        let before = sum("Pss:");
        let begin = std::time::Instant::now();
        scatter(&started, word, 400);
        let took = begin.elapsed();
        eprintln!(
            "{word}: {before} MB before, {} MB after, of which shared {}; {took:.2?}",
            sum("Pss:"),
            sum("Pss_Shmem:")
        );
    }
}
