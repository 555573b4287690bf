//! Whatever the seed, every result arrives once and is right, nothing waits for ever, nobody takes more memory than it
//! has, and in the end nothing is left anywhere.
//!
//! `NUNA_SEED=n cargo test -p nuna-simulation --test seeds` replays one seed; `NUNA_SEEDS=n` runs that many.

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use nuna_simulation::{Setup, World};

const SEEDS: u64 = 1_000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not `{text}`")))
}

fn replay(seed: u64) -> String {
    format!("seed {seed}: replay with NUNA_SEED={seed} cargo test -p nuna-simulation --test seeds")
}

/// Whether the run went well; what was wrong has been printed.
fn goes_well(seed: u64) -> bool {
    let result = std::panic::catch_unwind(|| World::run(seed, Setup::random(seed)));
    if result.is_err() {
        eprintln!("{}", replay(seed));
    }
    result.is_ok()
}

#[test]
fn whatever_happens_results_are_right_and_nothing_is_left() {
    if let Some(seed) = number("NUNA_SEED") {
        let setup = Setup::random(seed);
        eprintln!("{:?}, {} workers, {} clients", setup.faults, setup.workers, setup.clients.len());
        eprintln!("{:?}", World::run(seed, setup));
        return;
    }
    let seeds = number("NUNA_SEEDS").unwrap_or(SEEDS);
    let (next, failed) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    if !goes_well(seed) {
                        failed.lock().expect("nobody panics with it").push(seed);
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().expect("nobody panics with it");
    failed.sort_unstable();
    let list: Vec<String> = failed.iter().take(5).map(|&seed| replay(seed)).collect();
    assert!(failed.is_empty(), "{} of {seeds} seeds fail\n{}", failed.len(), list.join("\n"));
}

#[test]
fn a_seed_gives_the_same_run_again() {
    let seed = 17;
    assert_eq!(World::run(seed, Setup::random(seed)), World::run(seed, Setup::random(seed)));
}
