//! One of four workers is killed at a moment that a seed decides, in the middle of a rechunk to files, a reduction, a
//! farm in which tasks fail, and a farm of large results: the same bits as without, and never a hang.
//!
//! `NUNA_LOSS_SEEDS=50 cargo test -p nuna-cluster --test loss_by_seed` runs so many seeds; `NUNA_LOSS_SEED=n` one.

mod support;

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use nuna_plan::{AxisMap, BlockGrid, BlockMap, Engine, Keep, Plan, Source};
use rand::{Rng, SeedableRng, rngs::StdRng};
use support::*;

const SEEDS: u64 = 3;

fn seeds() -> std::ops::Range<u64> {
    let number = |variable: &str| {
        let text = std::env::var(variable).ok()?;
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{variable} is a number, not `{text}`")))
    };
    match number("NUNA_LOSS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("NUNA_LOSS_SEEDS").unwrap_or(SEEDS),
    }
}

/// From maps to time series: every file has a part of every map.
fn rechunk(folder: &Path) -> Plan {
    let maps = BlockGrid::new([16, 6]);
    let axes = vec![AxisMap::All, AxisMap::Along { axis: 0, offset: 0 }];
    let map = BlockMap::Axes { input_grid: maps.clone(), axes };
    let store = format!("store 5 {}", folder.display());
    plan(vec![
        stage("mix 3", maps.clone(), Keep::No),
        reads(stage("mix 2", maps, Keep::No), Source::Stage(0), BlockMap::Same),
        reads(stage(&store, BlockGrid::new([6, 10]), Keep::Deliver), Source::Stage(1), map),
    ])
}

/// A tree, whose numbers show the order of what was combined.
fn reduction() -> Plan {
    let mut tree = tree("mix 3", 240, 4);
    for stage in &mut tree.stages[1..] {
        stage.work.payload = b"mix 2".to_vec();
    }
    tree
}

/// Every task fails the first time.
fn failing_farm(folder: &Path) -> Plan {
    // What remembers the failures is no result, and may be cut short: its name has a dot.
    let mut farm = farm(&format!("flaky {}", folder.join("tried.").display()), 300);
    farm.stages[0].retries = 3;
    // What reads them takes its time; the failures alone would be over at once.
    let all =
        BlockMap::Axes { input_grid: BlockGrid::line(300), axes: vec![AxisMap::Group { axis: 0, size: 3 }] };
    farm.stages.push(reads(stage("mix 5", BlockGrid::line(100), Keep::Deliver), Source::Stage(0), all));
    farm
}

/// Results that the client fetches from the workers.
fn large_farm() -> Plan {
    let line = || BlockGrid::line(120);
    plan(vec![
        stage("mix 4", line(), Keep::No),
        reads(stage("large 300000", line(), Keep::Deliver), Source::Stage(0), BlockMap::Same),
    ])
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).expect("the test has made it");
    let read = |path: std::path::PathBuf| {
        let name = path.file_name()?.to_str()?.to_owned();
        (!name.contains('.')).then(|| (name, std::fs::read(&path).expect("it is listed")))
    };
    entries.filter_map(|entry| read(entry.expect("readable").path())).collect()
}

/// What a run gave: delivered values, and files.
type Outcome = (Results, BTreeMap<String, Vec<u8>>);

/// Runs `plan` on four workers, first undisturbed, then with one worker killed for each seed.
fn same_bits_whoever_is_killed(plan: impl Fn(&Path) -> Plan) {
    let started = start(4, 1);
    let client = started.cluster.client();
    let run_once = |kill: Option<(Duration, usize)>| -> Outcome {
        let folder = tempfile::tempdir().expect("a temporary folder");
        wait_until("four workers are there", || client.info().workers.len() == 4);
        let victim = kill.map(|(after, worker)| (after, client.info().workers[worker].pid));
        let running = client.submit(plan(folder.path())).expect("the cluster is there");
        let results = std::thread::scope(|scope| {
            if let Some((after, pid)) = victim {
                scope.spawn(move || {
                    // The moment is what is tried here; nothing is waited for.
                    std::thread::sleep(after);
                    let pid = nix::unistd::Pid::from_raw(pid as i32);
                    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it runs");
                });
            }
            collect(running)
        });
        let results = results.unwrap_or_else(|error| panic!("killed {victim:?}: {error}"));
        if let Some((_, pid)) = victim {
            wait_until("the scheduler knows", || {
                client.info().workers.iter().all(|worker| worker.pid != pid)
            });
        }
        (results, files(folder.path()))
    };
    let begin = Instant::now();
    let expected = run_once(None);
    let undisturbed = begin.elapsed();
    for seed in seeds() {
        let mut rng = StdRng::seed_from_u64(seed);
        let after = undisturbed.mul_f64(rng.random_range(0.0..1.0));
        let found = run_once(Some((after, rng.random_range(0..4))));
        let replay = format!(
            "seed {seed}, a kill at {after:?}; replay with NUNA_LOSS_SEED={seed} cargo test -p nuna-cluster --test loss_by_seed"
        );
        assert!(found.0 == expected.0, "other results: {replay}");
        assert!(found.1 == expected.1, "other files: {replay}");
    }
    eprintln!("{} kills, undisturbed {undisturbed:?}, all in {:?}", seeds().count(), begin.elapsed());
}

#[test]
fn a_rechunk_to_files_has_the_same_bits_whoever_is_killed() {
    same_bits_whoever_is_killed(rechunk);
}

#[test]
fn a_reduction_has_the_same_bits_whoever_is_killed() {
    same_bits_whoever_is_killed(|_| reduction());
}

#[test]
fn a_farm_with_failures_has_the_same_bits_whoever_is_killed() {
    same_bits_whoever_is_killed(failing_farm);
}

#[test]
fn large_results_arrive_once_whoever_is_killed() {
    same_bits_whoever_is_killed(|_| large_farm());
}
