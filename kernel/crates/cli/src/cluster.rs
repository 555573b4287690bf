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

/// A scheduler sends its workers home, and deletes jobs that wait, before it ends.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

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

pub(crate) fn stop(names: &[String], all: bool) -> Result<()> {
    let directory = clusters_directory();
    let clusters = ClusterFile::list(&directory);
    let chosen: Vec<&ClusterFile> = if all {
        clusters.iter().collect()
    } else {
        names.iter().map(|name| find(&clusters, name)).collect::<Result<_>>()?
    };
    for cluster in chosen {
        stop_one(cluster, &directory).with_context(|| format!("cannot stop {}", cluster.name))?;
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

fn stop_one(cluster: &ClusterFile, directory: &Path) -> Result<()> {
    if !cluster.host.is_empty() && cluster.host != this_host() {
        return stop_elsewhere(cluster);
    }
    // The file may outlive its scheduler, and process ids come round again.
    let command = std::fs::read(format!("/proc/{}/cmdline", cluster.pid)).unwrap_or_default();
    if !command.split(|&byte| byte == 0).any(|argument| argument == b"scheduler") {
        cluster.remove(directory);
        return Ok(());
    }
    let pid = i32::try_from(cluster.pid).context("its process id is out of range")?;
    kill(Pid::from_raw(pid), Signal::SIGTERM).with_context(|| format!("cannot signal process {pid}"))?;
    let deadline = Instant::now() + STOP_PATIENCE;
    while process_exists(cluster.pid) {
        if Instant::now() > deadline {
            bail!(
                "its scheduler (process {pid}) still runs after {} s; `kill -9 {pid}` ends it, and its workers end by themselves",
                STOP_PATIENCE.as_secs()
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    cluster.remove(directory);
    Ok(())
}

/// One whose scheduler runs on another machine is told over the network.
fn stop_elsewhere(cluster: &ClusterFile) -> Result<()> {
    let client = Client::connect(cluster).with_context(|| {
        format!("its scheduler at {} on {} does not answer", cluster.scheduler, cluster.host)
    })?;
    client.shut_down_cluster();
    let deadline = Instant::now() + STOP_PATIENCE;
    while !client.is_lost() {
        if Instant::now() > deadline {
            bail!("its scheduler on {} still runs after {} s", cluster.host, STOP_PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
