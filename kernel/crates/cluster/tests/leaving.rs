//! Workers that leave while the cluster goes on: what only they have is handed over, not made again.

mod support;

use std::{collections::BTreeMap, path::Path};

use nuna_plan::{BlockGrid, BlockMap, Engine, Keep, Source};
use nuna_wire::cluster_file::process_exists;
use support::*;

/// How often each block was computed.
fn notes(path: &Path) -> BTreeMap<u64, u32> {
    let text = std::fs::read_to_string(path).expect("something was computed");
    let mut times = BTreeMap::new();
    text.lines().for_each(|line| *times.entry(line.parse().expect("a number")).or_default() += 1);
    times
}

#[test]
fn a_drained_worker_hands_over_what_it_holds_and_nothing_is_computed_again() {
    let started = start(3, 1);
    let client = started.cluster.client();
    let path = started.folder.path().join("notes");
    // Thirty values of a megabyte: more than travels with a message.
    let held = client.new_held_id();
    let word = format!("note {} 1000000", path.display());
    run(&client, plan(vec![stage(&word, BlockGrid::line(30), Keep::Hold(held))])).unwrap();
    let once: BTreeMap<u64, u32> = (0..30).map(|block| (block, 1)).collect();
    assert_eq!(notes(&path), once);
    let info = client.info();
    for leaves in info.workers.iter().take(2).map(|worker| worker.pid) {
        // As `nuna worker --drain` asks for it.
        let status = std::process::Command::new("kill").args(["-USR1", &leaves.to_string()]).status();
        assert!(status.expect("kill is everywhere").success());
        wait_until("it has left", || !process_exists(leaves));
        wait_until("the scheduler knows", || client.info().workers.iter().all(|worker| worker.pid != leaves));
    }
    let read = reads(stage("sum", BlockGrid::line(30), Keep::Deliver), Source::Held(held), BlockMap::Same);
    let results = run(&client, plan(vec![read])).unwrap();
    assert!(results.len() == 30 && results.iter().all(|(&(_, block), &value)| value == block));
    assert_eq!(notes(&path), once, "each value was computed once");
}
