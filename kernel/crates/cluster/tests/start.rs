//! Clusters that cannot start, and say why.

mod support;

use nuna_cluster::{Cluster, ClusterError};
use support::*;

#[test]
fn mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let local = || Cluster::local().program(program()).directory(folder.path().join("clusters"));
    assert!(matches!(local().workers(0).start(), Err(ClusterError::Nothing { workers: 0, .. })));
    assert!(
        matches!(local().memory("much").start(), Err(ClusterError::BadMemory { text }) if text == "much")
    );
    assert!(matches!(local().name("../../etc").start(), Err(ClusterError::BadName { .. })));
    let error = local().program("/does/not/exist").start().unwrap_err().to_string();
    assert!(error.contains("/does/not/exist"), "{error}");
    // A program that is not nuna ends at once; what it said is in the message.
    let error = local().program("/bin/ls").start().unwrap_err();
    assert!(matches!(&error, ClusterError::SchedulerEnded { tail, .. } if tail.contains("ls")), "{error}");
}

#[test]
fn names_are_taken_once_and_lead_back_to_the_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let local = || {
        Cluster::local().program(program()).directory(folder.path().join("clusters")).threads(1).name("mine")
    };
    let cluster = local().start().unwrap();
    assert!(matches!(local().start(), Err(ClusterError::NameTaken { name, .. }) if name == "mine"));
    drop(cluster);
    local().start().unwrap();
}
