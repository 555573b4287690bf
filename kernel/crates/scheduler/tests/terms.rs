//! On what terms plans run beside others: priority, and turns of clients and of their plans.

mod support;

use nuna_plan::{Plan, Terms};
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
