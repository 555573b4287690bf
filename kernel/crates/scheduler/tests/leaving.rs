//! Workers that leave because their jobs end: nothing is lost by it, and no task is blamed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::time::Duration;

use nuna_plan::{BlockMap, HeldId, Keep, Source};
use nuna_scheduler::Event;
use nuna_wire::WorkerId;
use support::*;

const LEAVES: WorkerId = WorkerId(0);

fn give_back_all_but_first(cluster: &mut Cluster) {
    let worker = cluster.workers.get_mut(&LEAVES).unwrap();
    let mut back: Vec<_> = worker.leased.drain(1..).collect();
    back.sort_unstable();
    for (stage, block) in back {
        cluster.handle(Event::Reclaimed { worker: LEAVES, stage, runs: vec![(block, block + 1)] });
    }
}

#[test]
fn a_worker_that_drains_finishes_what_it_runs_gets_nothing_more_and_goes() {
    let mut cluster = cluster().workers(2);
    let farm = cluster.submit(farm(20));
    assert!(cluster.workers[&LEAVES].leased.len() > 1);
    give_back_all_but_first(&mut cluster);
    cluster.handle(Event::Draining { worker: LEAVES });
    let has = cluster.workers[&LEAVES].leased.len();
    // What came back before it said so may have been leased to it again; it gives that back too.
    give_back_all_but_first(&mut cluster);
    assert!(has >= 1 && cluster.workers[&LEAVES].leased.len() == 1 && cluster.dismissed.is_empty());
    cluster.work(0, 1);
    assert_eq!(cluster.dismissed, [LEAVES]);
    cluster.run();
    assert!(cluster.finished(farm));
    assert_eq!(cluster.delivered.len(), 20);
    assert_eq!(cluster.ran.iter().filter(|(worker, ..)| *worker == LEAVES).count(), 1);
}

#[test]
fn a_worker_without_work_goes_as_soon_as_it_is_retired() {
    let mut cluster = cluster().workers(2);
    cluster.handle(Event::Retire { worker: LEAVES });
    assert_eq!(cluster.dismissed, [LEAVES]);
    let farm = cluster.submit(farm(5));
    cluster.run();
    assert!(cluster.finished(farm));
}

#[test]
fn attempts_cut_short_by_the_end_of_jobs_are_not_failures_until_there_are_very_many() {
    let mut cluster = cluster();
    let farm = cluster.submit(farm(1));
    // More than the losses that are taken for the block's fault.
    for number in 0..10 {
        cluster.join(number, 1, GIGABYTE);
        cluster.handle(Event::Draining { worker: WorkerId(number) });
        assert_eq!(cluster.workers[&WorkerId(number)].leased.len(), 1);
        cluster.lose(number);
        assert_eq!(cluster.failure(farm), None, "after {number}");
    }
    cluster.join(10, 1, GIGABYTE);
    cluster.handle(Event::Draining { worker: WorkerId(10) });
    cluster.lose(10);
    assert!(cluster.failure(farm).unwrap().contains("a longer walltime"), "{:?}", cluster.failure(farm));
}

/// Two workers that hold six values between them, of which one leaves; the six are read after that.
fn leave_with_values(cluster: &mut Cluster) -> usize {
    let held = HeldId(5);
    let mut plan = farm(6);
    plan.stages[0].keep = Keep::Hold(held);
    let first = cluster.submit(plan);
    cluster.run();
    assert!(cluster.finished(first));
    assert!(!cluster.workers[&LEAVES].stored.is_empty() && cluster.workers[&LEAVES].stored.len() < 6);
    cluster.handle(Event::Retire { worker: LEAVES });
    for _ in 0..80 {
        cluster.pass(Duration::from_millis(500));
        cluster.workers.keys().copied().collect::<Vec<_>>().into_iter().for_each(|worker| {
            cluster.handle(Event::WorkerHeard(worker));
        });
        cluster.handle(Event::ClientHeard(CLIENT));
    }
    assert_eq!(cluster.dismissed, [LEAVES]);
    cluster.run();
    let mut read = farm(6);
    read.stages[0].inputs.push(nuna_plan::Input { source: Source::Held(held), map: BlockMap::Same });
    let second = cluster.submit(read);
    cluster.run();
    assert!(cluster.finished(second));
    cluster.ran.len() - 12
}

#[test]
fn values_of_a_worker_that_leaves_are_handed_over_and_not_made_again() {
    let mut cluster = cluster().workers(2);
    assert_eq!(leave_with_values(&mut cluster), 0);
    assert!(cluster.adopted > 0);
}

#[test]
fn values_that_nobody_takes_over_are_made_anew() {
    for adopts in [Adopts::None, Adopts::Silently] {
        let mut cluster = cluster().workers(2);
        cluster.adopts = adopts;
        assert!(leave_with_values(&mut cluster) > 0);
    }
}

#[test]
fn values_that_no_other_has_the_memory_for_are_made_anew() {
    let mut cluster = cluster();
    cluster.join(0, 1, GIGABYTE);
    cluster.join(1, 1, 10);
    assert!(leave_with_values(&mut cluster) > 0);
    assert_eq!(cluster.adopted, 0);
}

#[test]
fn workers_of_short_jobs_take_values_over_unless_they_are_about_to_leave_too() {
    for (left, takes) in [(300, true), (30, false)] {
        let mut cluster = cluster().workers(2);
        let now = cluster.now;
        // Half a second in all, of which so many milliseconds are left when the other leaves.
        let until = now + Duration::from_millis(500);
        cluster.handle(Event::WorkerLasts { worker: WorkerId(1), until });
        let mut plan = farm(6);
        plan.stages[0].keep = Keep::Hold(HeldId(5));
        cluster.submit(plan);
        cluster.run();
        assert!(!cluster.workers[&LEAVES].stored.is_empty());
        cluster.now = until - Duration::from_millis(left);
        cluster.handle(Event::Retire { worker: LEAVES });
        assert_eq!((cluster.adopted > 0, cluster.dismissed.as_slice()), (takes, [LEAVES].as_slice()));
    }
}

#[test]
fn a_value_made_while_its_worker_leaves_is_handed_over_too() {
    let mut cluster = cluster().workers(2);
    let farm = cluster.submit(tree(20, 20));
    give_back_all_but_first(&mut cluster);
    cluster.handle(Event::Draining { worker: LEAVES });
    give_back_all_but_first(&mut cluster);
    assert_eq!((cluster.workers[&LEAVES].leased.len(), cluster.adopted), (1, 0));
    cluster.work(0, 1);
    assert_eq!((cluster.adopted, cluster.dismissed.as_slice()), (1, [LEAVES].as_slice()));
    cluster.run();
    assert!(cluster.finished(farm));
    assert_eq!(cluster.ran.len(), 21, "none of them twice");
}

#[test]
fn blocks_that_would_not_be_done_in_time_are_left_to_others() {
    let mut cluster = cluster().workers(1);
    cluster.duration_us = 2_000_000;
    let now = cluster.now;
    cluster.handle(Event::WorkerLasts { worker: LEAVES, until: now + Duration::from_secs(60) });
    let farm = cluster.submit(farm(40));
    // One block after another, until there is no time for the next.
    let mut done = 0;
    while !cluster.workers[&LEAVES].leased.is_empty() {
        cluster.now += Duration::from_secs(2);
        cluster.work(0, 1);
        done += 1;
        assert!(done <= 31, "it was given blocks beyond its end");
    }
    assert!((25..=31).contains(&done), "{done} blocks of 2 s in 60 s");
    assert!(!cluster.finished(farm));
    cluster.join(1, 1, GIGABYTE);
    cluster.run();
    assert!(cluster.finished(farm), "{:?} after {done}", cluster.scheduler.totals());
}

#[test]
fn every_thread_has_a_block_however_long_blocks_take() {
    let mut cluster = cluster();
    cluster.duration_us = 10_000_000;
    cluster.join(0, 4, GIGABYTE);
    cluster.submit(farm(100));
    cluster.work(0, 40);
    assert!(cluster.workers[&LEAVES].leased.len() >= 4, "{}", cluster.workers[&LEAVES].leased.len());
}

#[test]
fn work_waits_for_workers_that_are_coming_and_not_for_those_that_are_not() {
    let mut cluster = cluster();
    let farm = cluster.submit(farm(3));
    cluster.handle(Event::Coming { workers: 2, trouble: None });
    for _ in 0..600 {
        cluster.pass(Duration::from_secs(1));
        let client = CLIENT;
        cluster.handle(Event::ClientHeard(client));
    }
    assert_eq!(cluster.failure(farm), None);
    let trouble = Some("PBS did not accept the job: no such account".to_owned());
    cluster.handle(Event::Coming { workers: 0, trouble });
    for _ in 0..70 {
        cluster.pass(Duration::from_secs(1));
        cluster.handle(Event::ClientHeard(CLIENT));
    }
    assert!(cluster.failure(farm).unwrap().contains("no such account"), "{:?}", cluster.failure(farm));
}
