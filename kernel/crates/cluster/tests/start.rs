//! Clusters that cannot start, and say why.

mod support;

use std::collections::BTreeSet;

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
    let error = local().memory("4").start().unwrap_err().to_string();
    assert!(error.contains("4 bytes of memory; say the unit"), "{error}");
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

/// The cores that each compute thread of a process may use, as the system lists them.
fn cores_of_threads(pid: u32) -> BTreeSet<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    let threads = tasks.into_iter().flatten().flatten().filter_map(|task| {
        let status = std::fs::read_to_string(task.path().join("status")).ok()?;
        let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        line("Name:")?.starts_with("compute-").then(|| line("Cpus_allowed_list:").map(str::to_owned))?
    });
    threads.collect()
}

#[test]
fn workers_keep_to_cores_of_their_own_if_they_are_told_to_and_to_none_if_not() {
    let folder = tempfile::tempdir().unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let all = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
    let local = || {
        let local = Cluster::local().program(program()).directory(folder.path().join("clusters"));
        local.workers(2).threads(1).memory("200MB")
    };
    // A worker may have joined before its thread has been started, and bound to its cores.
    let expect = |cluster: &Cluster, what: &str, wanted: &dyn Fn(&BTreeSet<String>) -> bool| {
        let found = || -> Vec<BTreeSet<String>> {
            cluster.info().workers.iter().map(|worker| cores_of_threads(worker.pid)).collect()
        };
        wait_until(what, || {
            found().len() == 2 && found().iter().all(|cores| cores.len() == 1 && wanted(cores))
        });
        found()
    };
    let free = local().unpinned().start().unwrap();
    expect(&free, "threads have every core", &|cores| cores.contains(all));
    drop(free);
    if std::thread::available_parallelism().unwrap().get() < 2 {
        eprintln!("skipped: two workers cannot have a core each, as there is one");
        return;
    }
    let bound = local().pinned().start().unwrap();
    let found = expect(&bound, "threads have some of the cores", &|cores| !cores.contains(all));
    assert!(found[0] != found[1], "{found:?} of {all}");
    // A worker that is started again takes its own cores again.
    let before = bound.info().workers[0].clone();
    let pid = nix::unistd::Pid::from_raw(before.pid as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    let again = || bound.info().workers.into_iter().find(|worker| worker.name == before.name);
    wait_until("it is there again", || again().is_some_and(|worker| worker.pid != before.pid));
    wait_until("it has its cores again", || cores_of_threads(again().unwrap().pid) == found[0]);
}
