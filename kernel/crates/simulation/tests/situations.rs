//! Situations that chance alone would seldom bring about: many workers, many blocks, a task that ends its workers, workers
//! that never reach each other, and clients that compete.

use std::time::{Duration, Instant};

use nuna_scheduler::Settings;
use nuna_simulation::{Faults, Job, Report, Setup, World};

const GIGABYTE: u64 = 1 << 30;

fn setup(workers: u32, clients: Vec<Vec<Job>>) -> Setup {
    Setup {
        workers,
        threads: (1, 1),
        memory_bytes: GIGABYTE,
        resources: Vec::new(),
        clients,
        faults: Faults::default(),
        peers_cut: Vec::new(),
        walltime: None,
        settings: Settings { no_worker_patience: Duration::from_secs(3600), ..Settings::default() },
        check_every: 100,
    }
}

fn run(setup: Setup) -> Report {
    let seed = std::env::var("NUNA_SEED").map_or(1, |seed| seed.parse().expect("NUNA_SEED is a number"));
    let begin = Instant::now();
    let report = World::run(seed, setup);
    eprintln!("{report:?} in {:.1} s", begin.elapsed().as_secs_f64());
    report
}

#[test]
fn ten_thousand_workers_share_a_farm_and_some_are_lost() {
    let mut setup = setup(10_000, vec![vec![Job::farm(40_000, 20_000_000)]]);
    setup.faults = Faults { kills: 40, worker_cuts: 4, until: 40_000_000, ..Faults::default() };
    setup.check_every = 20_000;
    let report = run(setup);
    assert!(report.workers_lost >= 40);
    // Four blocks of twenty seconds for each worker; what is lost runs again.
    assert!(report.took_us < 150_000_000, "{report:?}");
}

#[test]
fn a_million_blocks_are_delivered_once() {
    let mut setup = setup(8, vec![vec![Job::farm(1_000_000, 20)]]);
    setup.faults = Faults { kills: 5, joins: 2, until: 2_000_000, ..Faults::default() };
    setup.check_every = 100_000;
    assert!(run(setup).workers_lost >= 5);
}

#[test]
fn a_scheduler_that_is_lost_again_and_again_ends_nothing() {
    for inline in [1_000, 30_000] {
        let clients = vec![vec![Job::farm(4_000, inline)], vec![Job::tree(2_000, 5, inline)]];
        let mut setup = setup(8, clients);
        setup.faults = Faults { scheduler_crashes: 6, kills: 3, until: 12_000_000, ..Faults::default() };
        let report = run(setup);
        assert!(report.crashes >= 2, "{report:?}");
    }
}

#[test]
fn a_task_that_ends_its_workers_is_given_up_and_named() {
    for block in [0, 7, 99] {
        for threads in [1, 3] {
            let mut setup = setup(4, vec![vec![Job::farm(100, 5_000).with_crash(block)]]);
            setup.threads = (threads, threads);
            let report = run(setup);
            assert_eq!(report.workers_lost, 4, "one more than it may take with it");
        }
    }
}

#[test]
fn workers_that_never_reach_each_other_end_a_computation_or_do_without() {
    for seed in 0..6_u32 {
        let mut setup = setup(
            2,
            vec![vec![Job::transpose(20, 20, 2_000 + u64::from(seed)).or_error("could not be fetched")]],
        );
        setup.peers_cut = vec![(1, 2)];
        run(setup);
    }
}

#[test]
fn equal_computations_of_two_clients_advance_together() {
    for _ in 0..3 {
        let farm = || vec![Job::farm(2_000, 3_000)];
        let report = run(setup(4, vec![farm(), farm()]));
        let slower = report.delivered_at_first_end.iter().min().expect("two jobs");
        assert!(*slower >= 1_400, "one had {slower} of 2,000 blocks when the other had all");
    }
}

#[test]
fn a_short_computation_does_not_wait_for_a_long_one() {
    let long = vec![Job::farm(20_000, 3_000)];
    let short = vec![Job::farm(40, 3_000)];
    let report = run(setup(4, vec![long, short]));
    let [long, short] = report.delivered_at_first_end[..] else { panic!("two jobs") };
    assert_eq!(short, 40);
    assert!(long < 2_000, "the short one was done only after {long} blocks of the long one");
}

#[test]
fn a_computation_of_several_stages_does_not_wait_for_a_long_farm() {
    let report = run(setup(4, vec![vec![Job::farm(20_000, 3_000)], vec![Job::tree(40, 4, 3_000)]]));
    let [long, _] = report.delivered_at_first_end[..] else { panic!("two jobs") };
    assert!(long < 2_000, "the tree was done only after {long} blocks of the farm");
}

#[test]
fn an_urgent_computation_comes_before_all_that_wait() {
    let jobs = (0..10).map(|_| Job::farm(2_000, 3_000)).chain([Job::farm(400, 3_000).with_priority(10)]);
    let report = run(setup(4, vec![jobs.collect()]));
    let (urgent, others) = report.delivered_at_first_end.split_last().expect("eleven jobs");
    assert_eq!(*urgent, 400);
    let others: u64 = others.iter().sum();
    // Before the urgent one is submitted, which happens within 20 ms, others have begun.
    assert!(others < 300, "the urgent one was done only after {others} blocks of the others");
}

#[test]
fn workers_leave_before_their_walltime_and_nothing_is_lost() {
    // Ten seconds of work for four workers of three seconds each, or a little more; blocks of a tenth of a second.
    let mut setup = setup(4, vec![vec![Job::farm(400, 100_000)], vec![Job::tree(60, 4, 100_000)]]);
    setup.walltime = Some((3_000_000, 2_000_000));
    // A block that was broken off once would end it.
    setup.settings.losses_max = 0;
    setup.settings.cut_short_max = 0;
    let report = run(setup);
    assert!(report.dismissed >= 8, "{report:?}");
    // The tree's values lived on with others: each block ran once.
    assert!(report.handed_over > 0, "{report:?}");
    assert_eq!(report.computed, 400 + 60 + 15 + 4 + 1, "{report:?}");
    assert!(report.took_us < 30_000_000, "{report:?}");
}
