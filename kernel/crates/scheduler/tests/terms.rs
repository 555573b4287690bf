//! On what terms plans run beside others: priority, and turns of clients and of their plans.

mod support;

use nuna_plan::{Keep, Plan, Terms};
use nuna_scheduler::Event;
use nuna_wire::ClientId;
use support::*;

fn with_priority(plan: Plan, priority: i32) -> Plan {
    Plan { terms: Terms { priority, ..plan.terms }, ..plan }
}

fn ran_of(cluster: &Cluster, submission: u32) -> usize {
    cluster.delivered.iter().filter(|(of, ..)| *of == submission).count()
}

/// Both workers do a block each, again and again.
fn run_until_finished(cluster: &mut Cluster, submission: u32) {
    while !cluster.finished(submission) {
        let ran = cluster.ran.len();
        (0..2).for_each(|number| cluster.work(number, 1));
        assert!(cluster.ran.len() > ran, "nobody has anything to do");
    }
}

#[test]
fn a_plan_of_higher_priority_overtakes_what_waits() {
    let mut cluster = cluster().workers(2);
    cluster.duration_us = 30_000;
    let long = cluster.submit(farm(10_000));
    (0..10).for_each(|_| (0..2).for_each(|number| cluster.work(number, 1)));
    let before = ran_of(&cluster, long);
    let urgent = cluster.submit(with_priority(tree(200, 8), 1));
    run_until_finished(&mut cluster, urgent);
    // What is with the workers already goes first.
    assert!(ran_of(&cluster, long) - before < 20, "{}", ran_of(&cluster, long) - before);
}

#[test]
fn a_plan_of_lower_priority_waits_for_what_is_ready() {
    let mut cluster = cluster().workers(2);
    cluster.duration_us = 30_000;
    let patient = cluster.submit(with_priority(farm(1_000), -5));
    let first = cluster.submit(farm(100));
    run_until_finished(&mut cluster, first);
    assert!(ran_of(&cluster, patient) < 20, "{}", ran_of(&cluster, patient));
    cluster.run();
    assert!(cluster.finished(patient));
}

#[test]
fn a_plan_of_several_stages_does_not_wait_for_a_farm() {
    let mut cluster = cluster().workers(2);
    cluster.duration_us = 30_000;
    let long = cluster.submit(farm(10_000));
    (0..10).for_each(|_| (0..2).for_each(|number| cluster.work(number, 1)));
    let tree = cluster.submit(tree(64, 8));
    run_until_finished(&mut cluster, tree);
    assert!(ran_of(&cluster, long) < 250, "{} blocks of the farm ran meanwhile", ran_of(&cluster, long));
}

#[test]
fn clients_have_equal_shares_however_many_plans_each_has() {
    let mut cluster = cluster().workers(2);
    cluster.duration_us = 30_000;
    let other = ClientId(2);
    cluster.handle(Event::ClientJoined(other));
    for _ in 0..20 {
        cluster.submit(farm(200));
    }
    let plan = Box::new(farm(200));
    cluster.handle(Event::Submit { client: other, submission: 1_000, plan });
    run_until_finished(&mut cluster, 1_000);
    let meanwhile = cluster.delivered.len() - ran_of(&cluster, 1_000);
    assert!((150..300).contains(&meanwhile), "{meanwhile} blocks of the others ran meanwhile");
}

fn with_needs(plan: Plan, name: &str, amount: u32) -> Plan {
    Plan { terms: Terms { needs: vec![(name.to_owned(), amount)], ..plan.terms }, ..plan }
}

fn leased(cluster: &Cluster) -> Vec<usize> {
    cluster.workers.values().map(|worker| worker.leased.len()).collect()
}

#[test]
fn a_worker_has_no_more_of_what_a_block_takes_than_it_has() {
    let mut cluster = cluster();
    cluster.resources = vec![("gpu".to_owned(), 2)];
    cluster.join(0, 8, GIGABYTE);
    cluster.resources = Vec::new();
    cluster.join(1, 8, GIGABYTE);
    let one = cluster.submit(with_needs(farm(20), "gpu", 1));
    assert_eq!(leased(&cluster), [2, 0]);
    let other = cluster.submit(farm(20));
    assert!(leased(&cluster)[1] > 0, "what needs nothing does not wait for it");
    cluster.run();
    assert!(cluster.finished(one) && cluster.finished(other));
    assert!(cluster.ran.iter().all(|&(worker, stage, _)| stage.0 != 1 || worker.0 == 0));
}

#[test]
fn what_all_have_together_is_counted_across_the_cluster() {
    let mut cluster = sharing("licence", 3).workers(5);
    let plan = cluster.submit(with_needs(farm(40), "licence", 1));
    assert_eq!(leased(&cluster).iter().sum::<usize>(), 3);
    cluster.lose(0);
    assert_eq!(leased(&cluster).iter().sum::<usize>(), 3, "a lost worker gives its share back");
    cluster.run();
    assert!(cluster.finished(plan));
}

#[test]
fn what_can_never_be_had_is_refused_with_a_way_out() {
    let mut cluster = sharing("licence", 3).workers(2);
    let plan = cluster.submit(with_needs(farm(4), "gpu", 1));
    let failure = cluster.failure(plan).unwrap();
    assert!(
        failure.contains("needs 1 `gpu`, but no worker has any; start the cluster with `.resource("),
        "{failure}"
    );
    let plan = cluster.submit(with_needs(farm(4), "licence", 4));
    let failure = cluster.failure(plan).unwrap();
    assert!(failure.contains("needs 4 `licence`, but the whole cluster has 3"), "{failure}");
}

#[test]
fn what_the_first_worker_does_not_have_is_refused_when_it_comes() {
    let mut cluster = cluster();
    let plan = cluster.submit(with_needs(farm(4), "gpu", 1));
    assert_eq!(cluster.failure(plan), None);
    cluster.join(0, 1, GIGABYTE);
    assert!(cluster.failure(plan).unwrap().contains("no worker has any"));
}

#[test]
fn a_detached_plan_goes_on_without_its_client() {
    let mut cluster = cluster().workers(2);
    let detached = |mut plan: Plan, keep: Keep| {
        plan.stages[0].keep = keep;
        Plan { terms: Terms { detached: true, ..plan.terms }, ..plan }
    };
    cluster.submit(detached(farm(50), Keep::No));
    cluster.submit(farm(50));
    cluster.handle(Event::ClientLeft(CLIENT));
    cluster.run();
    let ran = |stage| cluster.ran.iter().filter(|&&(_, of, _)| of.0 == stage).count();
    assert_eq!((ran(1), ran(2)), (50, 0));
    assert_eq!(cluster.scheduler.totals().stages, 0, "nothing is left of it");
    cluster.handle(Event::ClientJoined(CLIENT));
    let refused = cluster.submit(detached(farm(5), Keep::Deliver));
    assert!(cluster.failure(refused).unwrap().contains("can neither deliver nor hold"));
}
