//! What the scheduler decides, one situation at a time. Every event is followed by a look at its consistency.

mod support;

use std::{collections::BTreeSet, time::Duration};

use nuna_plan::{AxisMap, BlockGrid, BlockMap, HeldId, Keep, Plan, Source};
use nuna_scheduler::{Event, Totals};
use nuna_wire::{
    StageKey, WorkerId,
    message::{Ask, PublishError, ToClient, Told},
};
use support::*;

fn delivered_blocks(cluster: &Cluster, submission: u32) -> Vec<u64> {
    let mut blocks: Vec<u64> =
        cluster.delivered.iter().filter(|(of, _, _)| *of == submission).map(|&(_, _, block)| block).collect();
    blocks.sort_unstable();
    blocks
}

#[test]
fn a_farm_is_shared_and_delivered_once() {
    let mut cluster = cluster().workers(3);
    let farm = cluster.submit(farm(100));
    assert!(cluster.workers.values().all(|worker| !worker.leased.is_empty()), "everybody has work at once");
    cluster.run();
    assert!(cluster.finished(farm));
    assert_eq!(delivered_blocks(&cluster, farm), (0..100).collect::<Vec<_>>());
    let per_worker: BTreeSet<WorkerId> = cluster.ran.iter().map(|&(worker, _, _)| worker).collect();
    assert_eq!(per_worker.len(), 3);
    assert_eq!(
        cluster.scheduler.totals(),
        Totals { workers: 3, clients: 1, ..Totals::default() },
        "nothing is left"
    );
}

#[test]
fn short_blocks_come_in_long_leases() {
    let mut cluster = cluster().workers(2);
    cluster.duration_us = 0;
    cluster.submit(farm(100_000));
    let first = cluster.workers[&WorkerId(0)].leased.len();
    assert!(first <= 4, "nothing is known of the blocks, so {first} are leased");
    cluster.work(0, first);
    let then = cluster.workers[&WorkerId(0)].leased.len();
    assert!(then > 10_000, "blocks take no time, so {then} are leased");
}

#[test]
fn a_plan_waits_for_its_first_worker() {
    let mut cluster = cluster();
    let farm = cluster.submit(farm(10));
    cluster.join(0, 4, GIGABYTE);
    cluster.run();
    assert!(cluster.finished(farm));
}

#[test]
fn a_tree_frees_what_it_has_read() {
    let mut cluster = cluster().workers(2);
    let tree = cluster.submit(tree(64, 4));
    cluster.run();
    assert!(cluster.finished(tree));
    assert_eq!(cluster.ran.len(), 64 + 16 + 4 + 1);
    assert!(cluster.workers.values().all(|worker| worker.stored.is_empty() && worker.definitions.is_empty()));
}

#[test]
fn blocks_run_where_their_inputs_are() {
    let mut cluster = cluster().workers(2);
    let map = BlockMap::Same;
    let stages = vec![
        stage("a", BlockGrid::line(200), Keep::No),
        reads(stage("b", BlockGrid::line(200), Keep::Deliver), Source::Stage(0), map),
    ];
    cluster.submit(plan(stages));
    cluster.run();
    let mut at = std::collections::BTreeMap::new();
    let mut moved = 0;
    for &(worker, stage, block) in &cluster.ran {
        match stage.0 {
            1 => drop(at.insert(block, worker)),
            _ => moved += u32::from(at[&block] != worker),
        }
    }
    assert!(moved <= 10, "{moved} of 200 values had to travel");
}

#[test]
fn lost_worker_returns_its_blocks() {
    let mut cluster = cluster().workers(3);
    let farm = cluster.submit(farm(60));
    cluster.work(1, 3);
    cluster.lose(1);
    cluster.run();
    assert!(cluster.finished(farm));
    assert_eq!(delivered_blocks(&cluster, farm), (0..60).collect::<Vec<_>>(), "each once, those of w1 too");
}

#[test]
fn lost_values_are_computed_again_with_what_they_read() {
    // Three stages in a row: when the last is half done, the first is freed as far as the second is done.
    let mut cluster = cluster().workers(2);
    let stages = vec![
        stage("a", BlockGrid::line(8), Keep::No),
        reads(stage("b", BlockGrid::line(8), Keep::No), Source::Stage(0), BlockMap::Same),
        reads(
            stage("c", BlockGrid::new([]), Keep::Deliver),
            Source::Stage(1),
            BlockMap::Axes { input_grid: BlockGrid::line(8), axes: vec![AxisMap::All] },
        ),
    ];
    let submission = cluster.submit(plan(stages));
    while cluster.ran.iter().filter(|(_, stage, _)| stage.0 == 2).count() < 5 {
        cluster.work(0, 1);
        cluster.work(1, 1);
    }
    let lost = cluster.workers[&WorkerId(0)].stored.len();
    assert!(lost > 0);
    cluster.lose(0);
    cluster.run();
    assert!(cluster.finished(submission), "{:?}", cluster.messages);
    assert_eq!(delivered_blocks(&cluster, submission), [0]);
    assert!(cluster.ran.len() > 17, "some ran twice");
}

#[test]
fn all_workers_may_be_lost_if_others_come() {
    let mut cluster = cluster().workers(2);
    let tree = cluster.submit(tree(32, 2));
    cluster.work(0, 7);
    cluster.work(1, 9);
    cluster.lose(0);
    cluster.lose(1);
    cluster.join(7, 2, GIGABYTE);
    cluster.run();
    assert!(cluster.finished(tree));
}

#[test]
fn without_workers_a_computation_fails_after_a_while() {
    let mut cluster = cluster();
    let farm = cluster.submit(farm(3));
    (0..50).for_each(|_| {
        cluster.handle(Event::ClientHeard(CLIENT));
        cluster.pass(Duration::from_secs(1));
    });
    assert_eq!(cluster.failure(farm), None);
    (0..20).for_each(|_| {
        cluster.handle(Event::ClientHeard(CLIENT));
        cluster.pass(Duration::from_secs(1));
    });
    assert!(cluster.failure(farm).unwrap().contains("no worker has been there for 60 s"));
}

#[test]
fn a_block_that_ends_its_workers_is_given_up_and_named() {
    let mut cluster = cluster();
    let farm = cluster.submit(farm(1));
    for number in 0..4 {
        assert_eq!(cluster.failure(farm), None);
        cluster.join(number, 1, GIGABYTE);
        assert_eq!(cluster.workers[&WorkerId(number)].leased.len(), 1);
        cluster.lose(number);
    }
    let failure = cluster.failure(farm).unwrap();
    assert!(failure.contains("farm[0]") && failure.contains("4 workers ended"), "{failure}");
}

#[test]
fn silent_workers_are_given_up() {
    let mut cluster = cluster().workers(2);
    let farm = cluster.submit(farm(2));
    for _ in 0..31 {
        cluster.handle(Event::ClientHeard(CLIENT));
        cluster.handle(Event::WorkerHeard(WorkerId(1)));
        cluster.pass(Duration::from_secs(1));
    }
    assert_eq!(cluster.workers.keys().copied().collect::<Vec<_>>(), [WorkerId(1)]);
    cluster.run();
    assert!(cluster.finished(farm));
}

#[test]
fn retries_are_counted_per_block() {
    let mut cluster = cluster().workers(1);
    let mut once = farm(1);
    once.stages[0].retries = 2;
    let first = cluster.submit(once.clone());
    cluster.fail(0, true);
    cluster.fail(0, true);
    cluster.run();
    assert!(cluster.finished(first));
    let second = cluster.submit(once.clone());
    (0..3).for_each(|_| cluster.fail(0, true));
    assert!(cluster.failure(second).unwrap().contains("attempt 3"));
    let third = cluster.submit(once);
    cluster.fail(0, false);
    assert!(
        cluster.failure(third).unwrap().contains("farm[0] failed on worker w0"),
        "no second attempt for a bad program"
    );
}

#[test]
fn cancelled_work_is_dropped_everywhere() {
    let mut cluster = cluster().workers(2);
    let long = cluster.submit(tree(100, 2));
    cluster.work(0, 5);
    cluster.work(1, 5);
    cluster.handle(Event::Cancel { client: CLIENT, submission: long });
    assert!(
        cluster
            .workers
            .values()
            .all(|w| w.leased.is_empty() && w.stored.is_empty() && w.definitions.is_empty())
    );
    assert_eq!(cluster.scheduler.totals().stages, 0);
    let next = cluster.submit(farm(3));
    cluster.run();
    assert!(cluster.finished(next) && !cluster.finished(long));
}

#[test]
fn an_idle_worker_gets_half_of_what_a_busy_one_has_not_begun() {
    let mut cluster = cluster().workers(1);
    cluster.duration_us = 4_000;
    cluster.submit(farm(40));
    cluster.work(0, 2);
    let before = cluster.workers[&WorkerId(0)].leased.len();
    while cluster.scheduler.totals().blocks_ready > 0 {
        cluster.work(0, 1);
    }
    let queue = cluster.workers[&WorkerId(0)].leased.len();
    cluster.join(1, 1, GIGABYTE);
    let stolen = cluster.workers[&WorkerId(1)].leased.len();
    assert!(before > 2 && stolen >= queue / 3, "{stolen} of {queue} were handed over");
}

#[test]
fn held_values_stay_until_released_and_are_rebuilt_when_lost() {
    let mut cluster = cluster().workers(2);
    let held = HeldId(5);
    let first = vec![
        stage("a", BlockGrid::line(10), Keep::No),
        reads(stage("b", BlockGrid::line(10), Keep::Hold(held)), Source::Stage(0), BlockMap::Same),
    ];
    let first = cluster.submit(plan(first));
    cluster.run();
    assert!(cluster.finished(first));
    let stored: usize = cluster.workers.values().map(|worker| worker.stored.len()).sum();
    assert_eq!(stored, 10, "b, and nothing of a");
    cluster.lose(0);
    cluster.run();
    assert_eq!(cluster.workers[&WorkerId(1)].stored.len(), 10, "rebuilt, a freed again");
    let read = || {
        plan(vec![reads(stage("c", BlockGrid::line(10), Keep::Deliver), Source::Held(held), BlockMap::Same)])
    };
    let second = cluster.submit(read());
    // Released while it is read: it stays for that reader.
    cluster.handle(Event::Release { client: CLIENT, held });
    cluster.run();
    assert!(cluster.finished(second));
    assert!(cluster.workers.values().all(|worker| worker.stored.is_empty()));
    assert_eq!(cluster.scheduler.totals().stages, 0);
    let third = cluster.submit(read());
    assert!(cluster.failure(third).unwrap().contains("persist it again"));
}

#[test]
fn a_client_that_leaves_takes_its_work_with_it() {
    let mut cluster = cluster().workers(1);
    cluster.submit(plan(vec![stage("a", BlockGrid::line(3), Keep::Hold(HeldId(1)))]));
    cluster.run();
    cluster.submit(farm(50));
    cluster.handle(Event::ClientLeft(CLIENT));
    assert_eq!(cluster.scheduler.totals(), Totals { workers: 1, ..Totals::default() });
    assert!(
        cluster.workers[&WorkerId(0)].stored.is_empty() && cluster.workers[&WorkerId(0)].leased.is_empty()
    );
}

/// Ten blocks under `held`, computed and not released.
fn hold(cluster: &mut Cluster, held: HeldId) {
    let stages = vec![
        stage("a", BlockGrid::line(10), Keep::No),
        reads(stage("b", BlockGrid::line(10), Keep::Hold(held)), Source::Stage(0), BlockMap::Same),
    ];
    let submission = cluster.submit(plan(stages));
    cluster.run();
    assert!(cluster.finished(submission));
}

fn read_of(held: HeldId) -> nuna_plan::Plan {
    plan(vec![reads(stage("c", BlockGrid::line(10), Keep::Deliver), Source::Held(held), BlockMap::Same)])
}

fn publish(name: &str, held: HeldId) -> Ask {
    let (summary, about) = ("ten blocks".to_owned(), vec![1, 2, 3]);
    Ask::Publish { name: name.into(), summary, about, held: vec![held] }
}

#[test]
fn published_values_stay_when_their_client_goes_and_others_get_them() {
    let mut cluster = cluster().workers(2);
    let (held, unpublished) = (HeldId(5), HeldId(6));
    hold(&mut cluster, held);
    hold(&mut cluster, unpublished);
    assert_eq!(cluster.ask(CLIENT, publish("sst", held)), Told::Done);
    // The array that was published is dropped, and its program crashes.
    cluster.handle(Event::Release { client: CLIENT, held });
    cluster.handle(Event::ClientLeft(CLIENT));
    let stored: usize = cluster.workers.values().map(|worker| worker.stored.len()).sum();
    assert_eq!(stored, 10, "what was published, and nothing else");

    cluster.handle(Event::ClientJoined(CLIENT));
    let Told::Listed(listed) = cluster.ask(CLIENT, Ask::List) else { panic!("a list") };
    assert_eq!((listed[0].name.as_str(), listed[0].blocks, listed[0].blocks_stored), ("sst", 10, 10));
    let found = Told::Found { summary: "ten blocks".into(), about: vec![1, 2, 3], held: vec![held] };
    assert_eq!(cluster.ask(CLIENT, Ask::Get { name: "sst".into() }), found);
    assert_eq!(cluster.ask(CLIENT, Ask::Get { name: "sst".into() }), found);
    // A second array of the same: each is released once.
    cluster.handle(Event::Release { client: CLIENT, held });
    assert_eq!(cluster.ask(CLIENT, Ask::Unpublish { name: "sst".into() }), Told::Done);
    let read = cluster.submit(read_of(held));
    cluster.run();
    assert!(cluster.finished(read), "the client that has got it holds it still");
    cluster.handle(Event::Release { client: CLIENT, held });
    assert!(cluster.workers.values().all(|worker| worker.stored.is_empty()));
    assert_eq!(cluster.scheduler.totals().stages, 0);
}

#[test]
fn published_names_are_unique_and_unknown_ones_are_told_from_known_ones() {
    let mut cluster = cluster().workers(1);
    hold(&mut cluster, HeldId(5));
    assert_eq!(cluster.ask(CLIENT, publish("sst", HeldId(5))), Told::Done);
    let taken = PublishError::Taken { name: "sst".into(), summary: "ten blocks".into() };
    assert_eq!(cluster.ask(CLIENT, publish("sst", HeldId(5))), Told::Refused(taken));
    let unknown = PublishError::Unknown { name: "u".into(), there: vec!["sst".into()] };
    assert_eq!(cluster.ask(CLIENT, Ask::Get { name: "u".into() }), Told::Refused(unknown.clone()));
    assert_eq!(cluster.ask(CLIENT, Ask::Unpublish { name: "u".into() }), Told::Refused(unknown));
    let not_held = PublishError::NotHeld { name: "v".into() };
    assert_eq!(cluster.ask(CLIENT, publish("v", HeldId(7))), Told::Refused(not_held.clone()));
    // What another client holds is not this one's to publish.
    let stranger = nuna_wire::ClientId(9);
    cluster.handle(Event::ClientJoined(stranger));
    assert_eq!(cluster.ask(stranger, publish("v", HeldId(5))), Told::Refused(not_held));
    assert!(matches!(
        cluster.ask(CLIENT, publish("", HeldId(5))),
        Told::Refused(PublishError::BadName { .. })
    ));
}

#[test]
fn published_values_are_rebuilt_after_their_client_has_gone() {
    let mut cluster = cluster().workers(2);
    hold(&mut cluster, HeldId(5));
    assert_eq!(cluster.ask(CLIENT, publish("sst", HeldId(5))), Told::Done);
    cluster.handle(Event::ClientLeft(CLIENT));
    cluster.lose(0);
    cluster.handle(Event::ClientJoined(CLIENT));
    let Told::Listed(listed) = cluster.ask(CLIENT, Ask::List) else { panic!("a list") };
    assert!(listed[0].blocks_stored < listed[0].blocks, "{listed:?}");
    cluster.run();
    assert_eq!(cluster.workers[&WorkerId(1)].stored.len(), 10);
}

#[test]
fn published_values_that_cannot_be_rebuilt_say_why() {
    let mut cluster = cluster().workers(2);
    hold(&mut cluster, HeldId(5));
    assert_eq!(cluster.ask(CLIENT, publish("sst", HeldId(5))), Told::Done);
    cluster.lose(0);
    let waiting = cluster.submit(read_of(HeldId(5)));
    while cluster.failure(waiting).is_none() {
        cluster.fail(1, false);
    }
    assert!(cluster.failure(waiting).unwrap().contains("no"), "{:?}", cluster.failure(waiting));
    let Told::Refused(lost) = cluster.ask(CLIENT, Ask::Get { name: "sst".into() }) else { panic!("lost") };
    assert!(lost.to_string().contains("`sst` is lost: task a["), "{lost}");
    let Told::Listed(listed) = cluster.ask(CLIENT, Ask::List) else { panic!("a list") };
    assert!(listed[0].lost.is_some());
    let late = cluster.submit(read_of(HeldId(5)));
    assert!(cluster.failure(late).unwrap().contains("was lost"));
    assert_eq!(cluster.ask(CLIENT, Ask::Unpublish { name: "sst".into() }), Told::Done);
    cluster.handle(Event::Release { client: CLIENT, held: HeldId(5) });
    assert_eq!(cluster.scheduler.totals().stages, 0);
    assert!(cluster.workers.values().all(|worker| worker.stored.is_empty()));
}

#[test]
fn large_values_wait_at_their_worker_until_the_client_has_them() {
    let mut cluster = cluster().workers(2);
    cluster.large = true;
    let submission = cluster.submit(farm(4));
    cluster.run();
    let offered: Vec<(u64, WorkerId)> = cluster
        .messages
        .iter()
        .filter_map(|message| match message {
            ToClient::Available { block, worker, .. } => Some((*block, *worker)),
            _ => None,
        })
        .collect();
    assert_eq!(offered.len(), 4);
    assert!(!cluster.finished(submission));
    let (lost, at) = offered[0];
    cluster.handle(Event::Received {
        client: CLIENT,
        submission,
        stage: 0,
        blocks: offered[1..].iter().map(|o| o.0).collect(),
    });
    assert!(!cluster.finished(submission));
    cluster.lose(at.0);
    cluster.run();
    assert!(
        cluster.ran.iter().filter(|&&(_, _, block)| block == lost).count() == 2,
        "the one not fetched ran again"
    );
    cluster.handle(Event::Received { client: CLIENT, submission, stage: 0, blocks: vec![lost] });
    assert!(cluster.finished(submission));
    assert!(cluster.workers.values().all(|worker| worker.stored.is_empty()));
}

#[test]
fn a_client_that_does_not_take_its_results_gets_no_more_work_done() {
    let mut cluster = cluster().workers(1);
    cluster.value.body = bytes::Bytes::from(vec![0; 1 << 20]);
    let farm = cluster.submit(farm(1000));
    cluster.run();
    let stopped_at = cluster.delivered.len();
    assert!((256..400).contains(&stopped_at), "{stopped_at} MiB were delivered and not taken");
    while !cluster.finished(farm) {
        cluster.handle(Event::Consumed { client: CLIENT, bytes: 100 << 20 });
        cluster.run();
    }
    assert_eq!(cluster.delivered.len(), 1000);
}

#[test]
fn a_bound_above_every_memory_is_refused_by_name() {
    let mut cluster = cluster().workers(1);
    let mut plan = farm(1);
    plan.stages[0].bound.scratch = 3 * GIGABYTE;
    let submission = cluster.submit(plan.clone());
    let failure = cluster.failure(submission).unwrap();
    assert!(failure.contains("`farm`") && failure.contains("4 times smaller"), "{failure}");
    let mut later = support::cluster();
    let submission = later.submit(plan);
    later.join(0, 1, GIGABYTE);
    assert!(later.failure(submission).is_some(), "known as soon as there is a worker");
}

#[test]
fn intermediate_values_do_not_outgrow_the_memory_while_they_can_be_read() {
    let mut cluster = cluster();
    cluster.join(0, 1, 10_000);
    let mut stages = vec![
        stage("a", BlockGrid::line(1000), Keep::No),
        reads(stage("b", BlockGrid::line(500), Keep::Deliver), Source::Stage(0), group(1000, 2)),
    ];
    stages[0].bound.output = 1_000;
    cluster.submit(plan(stages));
    let mut most = 0;
    while !cluster.workers[&WorkerId(0)].leased.is_empty() {
        cluster.work(0, 1);
        most = most.max(cluster.workers[&WorkerId(0)].stored.len());
    }
    assert!(most <= 8, "{most} values of 1000 bytes in 10000");
    assert_eq!(cluster.delivered.len(), 500);
}

#[test]
fn plans_with_wrong_maps_or_nothing_to_do_are_answered() {
    let mut cluster = cluster().workers(1);
    let wrong = plan(vec![
        stage("a", BlockGrid::line(4), Keep::No),
        reads(stage("b", BlockGrid::line(5), Keep::Deliver), Source::Stage(0), BlockMap::Same),
    ]);
    let wrong = cluster.submit(wrong);
    assert!(cluster.failure(wrong).unwrap().contains("the plan cannot run"));
    let nothing = cluster.submit(farm(0));
    assert!(cluster.finished(nothing));
    // Blocks that read nothing at all, since the shift puts their inputs outside.
    let map =
        BlockMap::Axes { input_grid: BlockGrid::line(4), axes: vec![AxisMap::Along { axis: 0, offset: 2 }] };
    let shifted = plan(vec![
        stage("a", BlockGrid::line(4), Keep::No),
        reads(stage("b", BlockGrid::line(4), Keep::Deliver), Source::Stage(0), map),
    ]);
    let shifted = cluster.submit(shifted);
    cluster.run();
    assert!(cluster.finished(shifted));
    assert_eq!(delivered_blocks(&cluster, shifted), [0, 1, 2, 3]);
}

#[test]
fn two_plans_advance_together() {
    let mut cluster = cluster().workers(2);
    cluster.duration_us = 30_000;
    let (a, b) = (cluster.submit(farm(300)), cluster.submit(farm(300)));
    for _ in 0..150 {
        cluster.work(0, 1);
        cluster.work(1, 1);
    }
    let (of_a, of_b) = (delivered_blocks(&cluster, a).len(), delivered_blocks(&cluster, b).len());
    assert!(of_a > 75 && of_b > 75, "{of_a} and {of_b} of 300 each");
}

/// Eight blocks that one block reads.
fn gathering() -> Plan {
    let all = BlockMap::Axes { input_grid: BlockGrid::line(8), axes: vec![AxisMap::All] };
    let last = reads(stage("b", BlockGrid::new([]), Keep::Deliver), Source::Stage(0), all);
    plan(vec![stage("a", BlockGrid::line(8), Keep::No), last])
}

/// Somebody who is to read, what it reads that another worker has, and who that is; all of the second stage's first input.
fn starved(cluster: &Cluster) -> Option<(WorkerId, (StageKey, u64), WorkerId)> {
    let reading = |worker: &&WorkerId| cluster.workers[worker].leased.iter().any(|(stage, _)| stage.0 == 2);
    let reader = *cluster.workers.keys().find(reading)?;
    let stored = |id: &WorkerId| cluster.workers[id].stored.iter().copied().find(|(stage, _)| stage.0 == 1);
    let other = cluster.workers.keys().find(|&&id| id != reader && stored(&id).is_some())?;
    Some((reader, stored(other).expect("just seen"), *other))
}

#[test]
fn workers_that_never_reach_each_other_end_a_computation_with_both_named() {
    let mut cluster = cluster().workers(2);
    let submission = cluster.submit(gathering());
    for _ in 0..100 {
        if let Some((worker, (input, input_block), holder)) = starved(&cluster) {
            let (stage, block) = cluster.workers.get_mut(&worker).unwrap().leased.pop().unwrap();
            cluster.now += Duration::from_secs(8);
            let error = "no route to host".to_owned();
            cluster.handle(Event::Unreachable { worker, holder, error });
            cluster.handle(Event::InputMissing { worker, stage, block, input, input_block, holder });
        }
        if let Some(message) = cluster.failure(submission) {
            assert!(message.contains("no route to host; tried 4 times in 24 s"), "{message}");
            return;
        }
        cluster.work(0, 1);
        cluster.work(1, 1);
    }
    panic!("it went on for ever");
}

#[test]
fn a_worker_that_most_others_cannot_reach_has_to_go_and_the_rest_goes_on() {
    let mut cluster = cluster().workers(4);
    let submission = cluster.submit(farm(40));
    let ids: Vec<WorkerId> = cluster.workers.keys().copied().collect();
    for _ in 0..10 {
        cluster.now += Duration::from_secs(3);
        for &id in &ids {
            cluster.handle(Event::WorkerHeard(id));
        }
        for &worker in &ids[1..] {
            cluster.handle(Event::Unreachable { worker, holder: ids[0], error: "refused".to_owned() });
        }
    }
    assert_eq!(cluster.workers.keys().copied().collect::<Vec<_>>(), ids[1..]);
    cluster.run();
    assert!(cluster.finished(submission));
}

#[test]
fn where_two_halves_do_not_reach_each_other_nobody_has_to_go() {
    let mut cluster = cluster().workers(4);
    let ids: Vec<WorkerId> = cluster.workers.keys().copied().collect();
    for _ in 0..10 {
        cluster.now += Duration::from_secs(3);
        for (worker, holder) in [(0, 2), (0, 3), (1, 2), (1, 3), (2, 0), (3, 1)] {
            let (worker, holder) = (ids[worker], ids[holder]);
            cluster.handle(Event::Unreachable { worker, holder, error: "no route".to_owned() });
        }
    }
    assert_eq!(cluster.workers.len(), 4);
}

#[test]
fn a_short_trouble_between_two_workers_is_waited_out() {
    let mut cluster = cluster().workers(3);
    let submission = cluster.submit(farm(40));
    let ids: Vec<WorkerId> = cluster.workers.keys().copied().collect();
    // Again and again, but never for long.
    for _ in 0..20 {
        cluster.now += Duration::from_secs(31);
        for &id in &ids {
            cluster.handle(Event::WorkerHeard(id));
        }
        for (worker, holder) in [(0, 1), (2, 1), (0, 1), (2, 1)] {
            let (worker, holder) = (ids[worker], ids[holder]);
            cluster.handle(Event::Unreachable { worker, holder, error: "reset".to_owned() });
        }
    }
    assert_eq!(cluster.workers.len(), 3);
    cluster.run();
    assert!(cluster.finished(submission));
}

#[test]
fn a_value_that_cannot_be_fetched_is_made_where_it_is_wanted() {
    let mut cluster = cluster().workers(2);
    let submission = cluster.submit(gathering());
    while cluster.ran.len() < 8 {
        cluster.work(0, 1);
        cluster.work(1, 1);
    }
    // The worker that is to read them all never reaches the other one.
    for _ in 0..8 {
        let reader = *cluster
            .workers
            .iter()
            .find(|(_, worker)| worker.leased.iter().any(|(stage, _)| stage.0 == 2))
            .expect("somebody is to read")
            .0;
        let stored =
            |id: &WorkerId| cluster.workers[id].stored.iter().copied().find(|(stage, _)| stage.0 == 1);
        let other = *cluster.workers.keys().find(|&&id| id != reader).unwrap();
        let Some((input, input_block)) = stored(&other) else { break };
        let (stage, block) = cluster.workers.get_mut(&reader).unwrap().leased.pop().unwrap();
        let (worker, holder) = (reader, other);
        cluster.handle(Event::InputMissing { worker, stage, block, input, input_block, holder });
        let ran = cluster.ran.len();
        cluster.run_until(ran + 1);
        assert_eq!(cluster.ran[ran].0, reader, "block {input_block} is made where it is wanted");
    }
    cluster.run();
    assert!(cluster.finished(submission));
}
