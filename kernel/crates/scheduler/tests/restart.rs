//! Schedulers that take the place of lost ones: what was done is not done again, and everything arrives once.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::{collections::BTreeMap, time::Duration};

use nuna_plan::{BlockGrid, BlockMap, HeldId, Keep, Plan, Source};
use nuna_scheduler::{
    Event, Scheduler, Settings,
    journal::{Image, Record},
};
use nuna_wire::{
    ClientId, StageKey, WorkerId,
    message::{Ask, Blocks, ClientReturn, ReturningSubmission, ToClient, Told, WorkerHello, WorkerReturn},
};
use support::*;

const HELD: HeldId = HeldId(9);

/// What the client of a scenario knows when its scheduler is lost.
#[derive(Default)]
struct Awaited {
    submissions: Vec<u32>,
    held: Vec<(HeldId, u32)>,
}

impl Awaited {
    fn only(submission: u32) -> Self {
        Self { submissions: vec![submission], held: Vec::new() }
    }
}

fn one(stage: StageKey, block: u64) -> Blocks {
    Blocks { stage, start: block, end: block + 1 }
}

fn hello(number: u16) -> WorkerHello {
    WorkerHello {
        name: format!("w{number}"),
        threads: 1,
        memory_bytes: GIGABYTE,
        limit_bytes: GIGABYTE,
        data_address: "127.0.0.1:1".parse().unwrap(),
        disks: Vec::new(),
        pid: 1,
        resources: Vec::new(),
    }
}

/// The process is lost with the last `forgotten` records; another takes its place.
fn lose_scheduler(cluster: &mut Cluster, forgotten: usize) {
    let journal = &mut cluster.journal;
    journal.truncate(journal.len().saturating_sub(forgotten));
    let (image, unfit) = Image::of(journal.iter().cloned());
    assert_eq!(unfit, 0);
    let (again, unfit) = Image::of(image.records());
    assert_eq!((&again, unfit), (&image, 0));
    cluster.scheduler = Scheduler::restore(Settings::default(), cluster.now, image);
    cluster.messages.clear();
}

fn workers_return(cluster: &mut Cluster) {
    for number in cluster.workers.keys().map(|id| id.0).collect::<Vec<_>>() {
        worker_returns(cluster, number);
    }
}

fn worker_returns(cluster: &mut Cluster, number: u16) {
    let worker = &cluster.workers[&WorkerId(number)];
    let state = WorkerReturn {
        stages: worker.definitions.keys().copied().collect(),
        stored: worker.stored.iter().map(|&(stage, block)| (one(stage, block), 8)).collect(),
        copies: Vec::new(),
        leased: worker.leased.iter().map(|&(stage, block)| one(stage, block)).collect(),
    };
    cluster.handle(Event::WorkerReturned { worker: WorkerId(number), hello: hello(number), state });
}

fn client_returns(cluster: &mut Cluster, awaited: Awaited) {
    let submissions = awaited.submissions.iter().map(|&submission| {
        let mut received: BTreeMap<u32, Vec<(u64, u64)>> = BTreeMap::new();
        for &(of, stage, block) in &cluster.delivered {
            if of == submission {
                received.entry(stage).or_default().push((block, block + 1));
            }
        }
        ReturningSubmission { submission, received: received.into_iter().collect() }
    });
    let state = ClientReturn { held: awaited.held, submissions: submissions.collect() };
    cluster.handle(Event::ClientReturned { client: CLIENT, state });
}

fn unknown(cluster: &Cluster) -> Option<Vec<u32>> {
    cluster.messages.iter().find_map(|message| match message {
        ToClient::Returned { unknown } => Some(unknown.clone()),
        _ => None,
    })
}

/// Blocks that the client is told to fetch.
fn offered(cluster: &Cluster) -> Vec<u64> {
    let blocks = cluster.messages.iter().filter_map(|message| match message {
        ToClient::Available { block, .. } => Some(*block),
        _ => None,
    });
    blocks.collect()
}

fn each_delivered_once(cluster: &Cluster, count: usize) {
    let mut delivered = cluster.delivered.clone();
    delivered.sort_unstable();
    delivered.dedup();
    assert_eq!((delivered.len(), cluster.delivered.len()), (count, count));
}

#[test]
fn whenever_it_is_lost_nothing_runs_again_if_all_return() {
    let total = tree(60, 4).block_count() as usize;
    for ran in 0..total {
        let mut cluster = cluster().workers(3);
        let tree = cluster.submit(tree(60, 4));
        cluster.run_until(ran);
        lose_scheduler(&mut cluster, 0);
        workers_return(&mut cluster);
        assert!(unknown(&cluster).is_none(), "nothing goes on before the client is back");
        client_returns(&mut cluster, Awaited::only(tree));
        assert_eq!(unknown(&cluster), Some(Vec::new()));
        cluster.run();
        assert!(cluster.finished(tree), "after {ran}");
        assert_eq!(cluster.ran.len(), total, "after {ran}");
        each_delivered_once(&cluster, 1);
        assert!(cluster.workers.values().all(|worker| worker.stored.is_empty()));
        assert_eq!(cluster.scheduler.totals().stages, 0);
    }
}

#[test]
fn whenever_it_is_lost_with_a_worker_the_rest_is_made_anew() {
    let shapes: [(fn() -> Plan, usize); 2] = [(|| tree(60, 4), 1), (|| farm(60), 60)];
    for (shape, results) in shapes {
        for ran in 0..60 {
            let mut cluster = cluster().workers(3);
            let submission = cluster.submit(shape());
            cluster.run_until(ran);
            lose_scheduler(&mut cluster, 0);
            cluster.workers.remove(&WorkerId(1));
            client_returns(&mut cluster, Awaited::only(submission));
            workers_return(&mut cluster);
            cluster.run();
            assert!(!cluster.finished(submission), "the third worker is waited for");
            cluster.pass(Duration::from_secs(11));
            cluster.run();
            assert!(cluster.finished(submission), "after {ran}");
            each_delivered_once(&cluster, results);
            assert_eq!(cluster.scheduler.totals().stages, 0);
        }
    }
}

#[test]
fn one_that_was_started_in_place_of_another_says_that_nobody_need_wait() {
    let mut cluster = cluster().workers(2);
    let farm = cluster.submit(farm(20));
    cluster.run_until(5);
    lose_scheduler(&mut cluster, 0);
    cluster.workers.remove(&WorkerId(1));
    workers_return(&mut cluster);
    client_returns(&mut cluster, Awaited::only(farm));
    assert!(unknown(&cluster).is_none(), "the second worker is waited for");
    cluster.workers.insert(WorkerId(7), Worker::default());
    cluster.handle(Event::WorkerJoined { worker: WorkerId(7), hello: hello(1) });
    cluster.run();
    assert!(cluster.finished(farm));
    each_delivered_once(&cluster, 20);
}

#[test]
fn large_results_wait_at_their_workers_and_are_offered_again() {
    let mut cluster = cluster().workers(2);
    cluster.large = true;
    let farm = cluster.submit(farm(10));
    cluster.run_until(6);
    let received = offered(&cluster);
    cluster.delivered.extend(received.iter().take(2).map(|&block| (farm, 0, block)));
    // The scheduler is lost before it hears that these two have been fetched.
    lose_scheduler(&mut cluster, 0);
    client_returns(&mut cluster, Awaited::only(farm));
    workers_return(&mut cluster);
    cluster.run();
    let offered = offered(&cluster);
    assert_eq!(offered.len(), 8, "all but those it has: {offered:?}");
    assert_eq!(cluster.ran.len(), 10, "none runs twice");
    cluster.handle(Event::Received { client: CLIENT, submission: farm, stage: 0, blocks: offered });
    assert!(cluster.finished(farm));
    assert!(cluster.workers.values().all(|worker| worker.stored.is_empty()));
}

#[test]
fn a_plan_the_journal_missed_is_asked_for_again() {
    let mut cluster = cluster().workers(2);
    let first = cluster.journal.len();
    let farm_plan = farm(30);
    let submission = cluster.submit(farm_plan.clone());
    cluster.run_until(7);
    let forgotten = cluster.journal.len() - first;
    lose_scheduler(&mut cluster, forgotten);
    workers_return(&mut cluster);
    client_returns(&mut cluster, Awaited::only(submission));
    assert_eq!(unknown(&cluster), Some(vec![submission]));
    assert!(cluster.workers.values().all(|w| w.leased.is_empty() && w.definitions.is_empty()));
    cluster.delivered.clear();
    cluster.handle(Event::Submit { client: CLIENT, submission, plan: Box::new(farm_plan) });
    // Its stages have keys that no worker has ever seen.
    assert!(cluster.workers.values().flat_map(|w| w.definitions.keys()).all(|key| *key > StageKey(1)));
    cluster.run();
    assert!(cluster.finished(submission));
    each_delivered_once(&cluster, 30);
}

#[test]
fn an_end_that_the_client_did_not_hear_is_told_again() {
    let mut cluster = cluster().workers(1);
    let submission = cluster.submit(farm(5));
    cluster.run();
    // Of the two records that end it neither was written.
    let end = cluster.journal.iter().position(|record| matches!(record, Record::Over { .. })).unwrap();
    let forgotten = cluster.journal.len() - end;
    lose_scheduler(&mut cluster, forgotten);
    workers_return(&mut cluster);
    client_returns(&mut cluster, Awaited::only(submission));
    assert!(cluster.finished(submission));
    assert_eq!(cluster.ran.len(), 5);
}

#[test]
fn what_a_client_was_told_it_holds_is_there_though_no_record_says_that_it_is_whole() {
    let mut cluster = cluster().workers(2);
    let persisted = cluster.submit(plan(vec![stage("a", BlockGrid::line(10), Keep::Hold(HELD))]));
    cluster.run();
    assert!(cluster.finished(persisted));
    let plan_at = cluster.journal.iter().position(|record| matches!(record, Record::Plan(_))).unwrap();
    assert!(cluster.journal[plan_at].hurries(), "the client hears nothing before it is written");
    let forgotten = cluster.journal.len() - plan_at - 1;
    lose_scheduler(&mut cluster, forgotten);
    workers_return(&mut cluster);
    client_returns(&mut cluster, Awaited { submissions: Vec::new(), held: vec![(HELD, 1)] });
    let read = reads(stage("b", BlockGrid::line(10), Keep::Deliver), Source::Held(HELD), BlockMap::Same);
    let submission = cluster.submit(plan(vec![read]));
    cluster.run();
    assert!(cluster.finished(submission));
    each_delivered_once(&cluster, 10);
    assert_eq!(cluster.ran.len(), 20, "nothing ran again");
}

#[test]
fn a_plan_its_client_waits_for_does_not_hurry_into_the_journal() {
    let mut cluster = cluster().workers(1);
    cluster.submit(farm(3));
    let mut writes = plan(vec![stage("writes", BlockGrid::line(4), Keep::No)]);
    writes.terms.detached = true;
    cluster.submit(writes);
    let plans = cluster.journal.iter().filter(|record| matches!(record, Record::Plan(_)));
    assert_eq!(plans.map(Record::hurries).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn what_was_cancelled_meanwhile_is_dropped() {
    let mut cluster = cluster().workers(2);
    cluster.submit(farm(50));
    let wanted = cluster.submit(farm(20));
    cluster.run_until(5);
    lose_scheduler(&mut cluster, 0);
    workers_return(&mut cluster);
    client_returns(&mut cluster, Awaited::only(wanted));
    cluster.run();
    assert!(cluster.finished(wanted));
    assert_eq!(cluster.scheduler.totals().stages, 0);
    assert!(cluster.workers.values().all(|worker| worker.definitions.is_empty()));
}

#[test]
fn a_client_that_does_not_return_ends_its_computations_and_others_go_on() {
    let mut cluster = cluster().workers(2);
    cluster.handle(Event::ClientJoined(ClientId(2)));
    let plan = Box::new(farm(50));
    cluster.handle(Event::Submit { client: ClientId(2), submission: 1, plan });
    cluster.run_until(3);
    lose_scheduler(&mut cluster, 0);
    workers_return(&mut cluster);
    client_returns(&mut cluster, Awaited::default());
    // What asks meanwhile waits, and is answered in the end.
    cluster.handle(Event::Submit { client: CLIENT, submission: 7, plan: Box::new(farm(4)) });
    assert!(cluster.workers.values().all(|w| w.definitions.len() < 2), "nothing new is leased yet");
    cluster.pass(Duration::from_secs(21));
    cluster.run();
    assert!(cluster.finished(7));
    assert_eq!(cluster.scheduler.totals().stages, 0);
}

#[test]
fn published_values_survive_with_their_workers_and_are_made_anew_without() {
    for lost_worker in [false, true] {
        let mut cluster = cluster().workers(2);
        let stages = vec![
            stage("a", BlockGrid::line(10), Keep::No),
            reads(stage("b", BlockGrid::line(10), Keep::Hold(HELD)), Source::Stage(0), BlockMap::Same),
        ];
        cluster.submit(plan(stages));
        cluster.run();
        let ask = Ask::Publish { name: "b".into(), summary: "ten".into(), about: vec![], held: vec![HELD] };
        assert_eq!(cluster.ask(CLIENT, ask.clone()), Told::Done);
        let ran = cluster.ran.len();
        cluster.handle(Event::Release { client: CLIENT, held: HELD });
        lose_scheduler(&mut cluster, 0);
        if lost_worker {
            cluster.workers.remove(&WorkerId(0));
        }
        workers_return(&mut cluster);
        client_returns(&mut cluster, Awaited::default());
        cluster.pass(Duration::from_secs(11));
        cluster.run();
        assert_eq!(cluster.ran.len() == ran, !lost_worker, "only what was lost runs again");
        let stored: usize = cluster.workers.values().map(|worker| worker.stored.len()).sum();
        assert_eq!(stored, 10);
        assert!(matches!(cluster.ask(CLIENT, ask), Told::Refused(_)), "it is there already");
        let Told::Found { held, .. } = cluster.ask(CLIENT, Ask::Get { name: "b".into() }) else {
            panic!("it is there")
        };
        let map = BlockMap::Same;
        let read = reads(stage("c", BlockGrid::line(10), Keep::Deliver), Source::Held(held[0]), map);
        let submission = cluster.submit(plan(vec![read]));
        cluster.run();
        assert!(cluster.finished(submission));
        each_delivered_once(&cluster, 10);
    }
}

#[test]
fn what_goes_on_without_its_client_goes_on_without_its_scheduler_too() {
    let mut cluster = cluster().workers(2);
    let mut writes = plan(vec![stage("writes", BlockGrid::line(40), Keep::No)]);
    writes.terms.detached = true;
    cluster.submit(writes);
    cluster.run_until(10);
    cluster.handle(Event::ClientLeft(CLIENT));
    lose_scheduler(&mut cluster, 0);
    workers_return(&mut cluster);
    cluster.run();
    assert_eq!(cluster.ran.len(), 40, "each once");
    assert_eq!(cluster.scheduler.totals().stages, 0);
}

#[test]
fn failed_attempts_count_on() {
    let mut cluster = cluster().workers(1);
    let mut farm = farm(1);
    farm.stages[0].retries = 2;
    let submission = cluster.submit(farm);
    cluster.fail(0, true);
    cluster.fail(0, true);
    // Lost while the block is with nobody: what the worker runs it keeps.
    cluster.workers.get_mut(&WorkerId(0)).unwrap().leased.clear();
    lose_scheduler(&mut cluster, 0);
    workers_return(&mut cluster);
    client_returns(&mut cluster, Awaited::only(submission));
    cluster.fail(0, true);
    assert!(cluster.failure(submission).unwrap().contains("attempt 3"));
}

#[test]
fn a_failure_counts_though_its_worker_leaves_before_the_others_are_back() {
    for (retryable, says) in [(true, "attempt 2"), (false, "no")] {
        let mut cluster = cluster().workers(2);
        let mut farm = farm(1);
        farm.stages[0].retries = 1;
        let submission = cluster.submit(farm);
        let runs = |cluster: &Cluster| {
            let busy = cluster.workers.iter().find(|(_, worker)| !worker.leased.is_empty());
            busy.map(|(id, _)| id.0)
        };
        let first = runs(&cluster).unwrap();
        lose_scheduler(&mut cluster, 0);
        worker_returns(&mut cluster, first);
        cluster.fail(first, retryable);
        cluster.lose(first);
        worker_returns(&mut cluster, 1 - first);
        client_returns(&mut cluster, Awaited::only(submission));
        assert_eq!(cluster.failure(submission), None, "the first worker may be back");
        cluster.pass(Duration::from_secs(11));
        if retryable {
            let second = runs(&cluster).unwrap();
            cluster.fail(second, true);
        }
        let failure = cluster.failure(submission).unwrap();
        assert!(failure.contains(says) && failure.contains("farm[0]"), "{failure}");
        assert_eq!(cluster.scheduler.totals().stages, 0);
    }
}

#[test]
fn those_that_join_and_come_back_before_the_others_are_there_once() {
    let mut cluster = cluster().workers(1);
    let submission = cluster.submit(farm(6));
    lose_scheduler(&mut cluster, 0);
    cluster.workers.insert(WorkerId(7), Worker::default());
    cluster.handle(Event::WorkerJoined { worker: WorkerId(7), hello: hello(7) });
    cluster.handle(Event::WorkerLeft(WorkerId(7)));
    let second = ClientId(2);
    cluster.handle(Event::ClientJoined(second));
    let mut detached = farm(3);
    detached.stages[0].keep = Keep::No;
    detached.terms.detached = true;
    cluster.handle(Event::Submit { client: second, submission: 1, plan: Box::new(farm(2)) });
    cluster.handle(Event::Submit { client: second, submission: 2, plan: Box::new(detached) });
    cluster.handle(Event::ClientLeft(second));
    let again = ReturningSubmission { submission: 1, received: Vec::new() };
    let state = ClientReturn { held: Vec::new(), submissions: vec![again] };
    cluster.handle(Event::ClientReturned { client: second, state });
    workers_return(&mut cluster);
    client_returns(&mut cluster, Awaited::only(submission));
    let totals = cluster.scheduler.totals();
    assert_eq!((totals.workers, totals.clients), (2, 2));
    assert_eq!(totals.computations_running, 2, "its client submits the third again");
    cluster.run();
    assert!(cluster.finished(submission));
    assert_eq!(cluster.ran.len(), 6 + 3);
}

#[test]
fn no_stage_gets_the_number_of_one_that_only_a_worker_knew_that_is_gone() {
    let mut cluster = cluster().workers(1);
    let submission = cluster.submit(farm(4));
    let known = *cluster.workers[&WorkerId(0)].definitions.keys().next().unwrap();
    lose_scheduler(&mut cluster, 1);
    worker_returns(&mut cluster, 0);
    cluster.lose(0);
    client_returns(&mut cluster, Awaited::only(submission));
    cluster.pass(Duration::from_secs(11));
    assert_eq!(unknown(&cluster), Some(vec![submission]), "the journal has missed the plan");
    cluster.join(1, 1, GIGABYTE);
    cluster.submit(farm(4));
    assert!(cluster.workers[&WorkerId(1)].definitions.keys().all(|&key| key > known));
}

#[test]
fn it_may_be_lost_again_while_it_waits() {
    let mut cluster = cluster().workers(2);
    let submission = cluster.submit(farm(40));
    cluster.run_until(9);
    for _ in 0..3 {
        lose_scheduler(&mut cluster, 0);
        worker_returns(&mut cluster, 0);
        client_returns(&mut cluster, Awaited::only(submission));
    }
    workers_return(&mut cluster);
    cluster.run();
    assert!(cluster.finished(submission));
    each_delivered_once(&cluster, 40);
    assert_eq!(cluster.ran.len(), 40);
}

#[test]
fn blocks_that_nobody_could_tell_of_are_in_the_journal() {
    let mut cluster = cluster().workers(2);
    let submission = cluster.submit(plan(vec![stage("writes", BlockGrid::line(40), Keep::No)]));
    cluster.run_until(25);
    lose_scheduler(&mut cluster, 0);
    workers_return(&mut cluster);
    client_returns(&mut cluster, Awaited::only(submission));
    cluster.run();
    assert!(cluster.finished(submission));
    assert_eq!(cluster.ran.len(), 40);
}
