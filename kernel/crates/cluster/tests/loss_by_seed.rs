//! One of four workers is killed at a moment that a seed decides, in the middle of a rechunk to files, a reduction, a
//! farm in which tasks fail, and a farm of large results: the same bits as without, and never a hang.
//!
//! `NUNA_LOSS_SEEDS=50 cargo test -p nuna-cluster --test loss_by_seed` runs so many seeds; `NUNA_LOSS_SEED=n` one.

mod support;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use nuna_plan::{Engine, Plan};
use rand::{Rng, SeedableRng, rngs::StdRng};
use support::{workloads::*, *};

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
