//! Owns `nuna cluster list` and `nuna cluster stop`: the clusters of this person on this machine, by their files.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use nuna::parts::{
    client::Client,
    wire::{
        ClusterFile,
        cluster_file::{clusters_directory, process_exists, this_host},
    },
};

const POLL: Duration = Duration::from_millis(20);

pub(crate) fn list(json: bool) -> Result<()> {
    let clusters = ClusterFile::list(&clusters_directory());
    if json {
        // Without the token: this may end up in a log.
        let rows: Vec<_> = clusters
            .iter()
            .map(|cluster| {
                serde_json::json!({
                    "name": cluster.name, "scheduler": cluster.scheduler, "dashboard": cluster.dashboard,
                    "pid": cluster.pid, "started": cluster.started, "origin": cluster.origin,
                })
            })
            .collect();
        crate::print(&serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    if clusters.is_empty() {
        crate::print("no cluster runs; start one with `Cluster::local().start()?` in a notebook");
        return Ok(());
    }
    crate::print(&format!(
        "{:<24} {:<22} {:<28} {:>8}  {}",
        "NAME", "SCHEDULER", "DASHBOARD", "PID", "STARTED"
    ));
    for cluster in clusters {
        crate::print(&format!(
            "{:<24} {:<22} {:<28} {:>8}  {}",
            cluster.name,
            cluster.scheduler.to_string(),
            cluster.dashboard,
            cluster.pid,
            cluster.started
        ));
    }
    Ok(())
}

/// Stops clusters, each within `wait`: a scheduler sends its workers home, and deletes jobs that wait, before it ends.
///
/// # Errors
/// If there is none of a name, or one goes on; the message has a command that ends it.
pub(crate) fn stop(names: &[String], all: bool, wait: Duration) -> Result<()> {
    let directory = clusters_directory();
    let clusters = ClusterFile::list(&directory);
    let chosen: Vec<&ClusterFile> = if all {
        clusters.iter().collect()
    } else {
        names.iter().map(|name| find(&clusters, name)).collect::<Result<_>>()?
    };
    for cluster in chosen {
        stop_one(cluster, &directory, wait).with_context(|| format!("cannot stop {}", cluster.name))?;
        crate::print(&format!("stopped {}", cluster.name));
    }
    Ok(())
}

fn find<'a>(clusters: &'a [ClusterFile], name: &str) -> Result<&'a ClusterFile> {
    clusters.iter().find(|cluster| cluster.name == name).with_context(|| {
        let running: Vec<&str> = clusters.iter().map(|cluster| cluster.name.as_str()).collect();
        if running.is_empty() {
            format!("there is no cluster {name:?}; none runs")
        } else {
            format!("there is no cluster {name:?}; running are {}", running.join(", "))
        }
    })
}

fn stop_one(cluster: &ClusterFile, directory: &Path, wait: Duration) -> Result<()> {
    if !cluster.host.is_empty() && cluster.host != this_host() {
        return stop_elsewhere(cluster, wait);
    }
    // A supervisor that is a process of its own passes the signal on, also to a scheduler that it has just started in the
    // place of a lost one. It goes first: it would start a scheduler again. The program that has started a local cluster is
    // one too, and is not ours to stop; it ends with the scheduler, or without the file.
    let watching = cluster.supervisor.filter(|&pid| is_scheduler(pid));
    // The file may outlive its scheduler, and process ids come round again.
    let serving = Some(cluster.pid).filter(|&pid| is_scheduler(pid));
    for pid in watching.into_iter().chain(serving) {
        signal(pid, Signal::SIGTERM)?;
    }
    let processes: Vec<u32> = watching.into_iter().chain(serving).collect();
    let deadline = Instant::now() + wait;
    while processes.iter().any(|&pid| process_exists(pid)) {
        if Instant::now() > deadline {
            let pids: Vec<String> = processes.iter().map(u32::to_string).collect();
            let file = directory.join(format!("{}.json", cluster.name));
            // Without its file a cluster is not started again, and its workers see that nobody comes.
            bail!(
                "its scheduler (process {}) still runs after {} s; wait longer with `nuna cluster stop --wait 300 {}`, or end it with\n    rm '{}'; kill -9 {}\nafter which its workers end by themselves, and `qdel` deletes jobs of it that wait in a queue",
                cluster.pid,
                wait.as_secs(),
                cluster.name,
                file.display(),
                pids.join(" ")
            );
        }
        std::thread::sleep(POLL);
    }
    cluster.remove(directory);
    Ok(())
}

/// Whether that process is a scheduler, or watches over one: both run the same command.
fn is_scheduler(pid: u32) -> bool {
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    command.split(|&byte| byte == 0).any(|argument| argument == b"scheduler")
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    let number = i32::try_from(pid).context("its process id is out of range")?;
    match kill(Pid::from_raw(number), signal) {
        // It has ended meanwhile.
        Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot signal process {pid}")),
    }
}

/// One whose scheduler runs on another machine is told over the network.
fn stop_elsewhere(cluster: &ClusterFile, wait: Duration) -> Result<()> {
    let client = Client::connect(cluster).with_context(|| {
        format!("its scheduler at {} on {} does not answer", cluster.scheduler, cluster.host)
    })?;
    client.shut_down_cluster();
    let deadline = Instant::now() + wait;
    while !client.is_lost() {
        if Instant::now() > deadline {
            bail!("its scheduler on {} still runs after {} s", cluster.host, wait.as_secs());
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}
