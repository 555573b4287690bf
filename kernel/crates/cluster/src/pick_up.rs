//! Owns finding clusters again that an earlier process of the same kernel has started: that process crashed, they did
//! not, and this one takes their care over.

use std::{
    fs,
    path::Path,
    sync::{Mutex, PoisonError, mpsc},
    time::{Duration, Instant},
};

use nuna_client::{Ask, Client, Told};
use nuna_wire::{ClusterFile, cluster_file};

use crate::{
    cluster::{Cluster, Local, list},
    error::ClusterError,
    lifeline,
    processes::{self, Process},
};

/// How long all of them together may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Clusters that were picked up. They end with the kernel or when they are told to, not with the last handle.
static KEPT: Mutex<Vec<Cluster>> = Mutex::new(Vec::new());

/// A cluster that outlived the process that started it.
#[derive(Clone, Debug)]
pub struct Kept {
    pub name: String,
    /// The cluster, or why it cannot be used.
    pub cluster: Result<Cluster, String>,
}

/// Attaches to this kernel's clusters, watches over their workers, and makes the one started last the one that
/// `compute()` uses. Without a kernel there are none.
pub fn pick_up() -> Vec<Kept> {
    let Some(own) = lifeline::kernel() else { return Vec::new() };
    let mut files: Vec<ClusterFile> =
        list().into_iter().filter(|file| file.lifeline.as_deref() == Some(&own.path)).collect();
    files.sort_by(|a, b| a.started.cmp(&b.started));
    let answers: Vec<_> = files
        .into_iter()
        .map(|file| {
            let name = file.name.clone();
            let (sender, answer) = mpsc::channel();
            let asked = std::thread::Builder::new()
                .name("nuna-pick-up".into())
                .spawn(move || drop(sender.send(attach(file).map_err(|error| error.to_string()))));
            (name, asked.map(|_| answer))
        })
        .collect();
    let until = Instant::now() + PATIENCE;
    let mut kept = Vec::new();
    for (name, answer) in answers {
        let cluster = match answer {
            Ok(answer) => match answer.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Ok(None)) => continue,
                Ok(Ok(Some((file, client, local)))) => Ok(Cluster::started(file, client, local)),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(format!("it did not answer within {} s", PATIENCE.as_secs())),
            },
            Err(error) => Err(error.to_string()),
        };
        kept.push(Kept { name, cluster });
    }
    let clusters = kept.iter().filter_map(|kept| kept.cluster.clone().ok());
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).extend(clusters);
    kept
}

/// The cluster of that name, if it was picked up and still runs.
pub(crate) fn kept(name: &str) -> Option<Cluster> {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    kept.retain(|cluster| !cluster.client().is_lost());
    kept.iter().find(|cluster| cluster.name() == name).cloned()
}

/// Ends clusters that were picked up, that nothing has used since, and that hold nothing under a name: a new one takes
/// their place, as it would have if the variable of the old one had not been lost. Gives their names.
pub(crate) fn retire() -> Vec<String> {
    let unused: Vec<Cluster> = {
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extract_if(.., |cluster| cluster.is_unused() && holds_nothing(cluster)).collect()
    };
    for cluster in &unused {
        cluster.shutdown();
    }
    unused.iter().map(|cluster| cluster.name().to_owned()).collect()
}

fn holds_nothing(cluster: &Cluster) -> bool {
    // One that does not answer is left alone.
    matches!(cluster.client().ask(Ask::List), Ok(Told::Listed(published)) if published.is_empty())
}

/// Nothing if the cluster was still being started, in which case it is ended.
fn attach(file: ClusterFile) -> Result<Option<(ClusterFile, Client, Local)>, ClusterError> {
    let client = Client::connect(&file)?;
    let program = fs::read_link(format!("/proc/{}/exe", file.pid))
        .ok()
        .filter(|path| path.is_file())
        .map_or_else(processes::program, Ok)?;
    let folder = file.certificates.clone();
    let scheduler = Process::found(&program, "scheduler", &folder.join("scheduler.json"), file.pid);
    let info = client.info();
    let mut workers: Vec<Process> = worker_options(&folder)
        .into_iter()
        .map(|(name, path)| {
            // One that is not there is started again by whoever watches over them.
            let pid = info.workers.iter().find(|worker| worker.name == name).map_or(0, |worker| worker.pid);
            Process::found(&program, "worker", &path, pid)
        })
        .collect();
    if workers.iter_mut().all(|worker| worker.ended().is_some()) && info.workers.is_empty() {
        client.shut_down_cluster();
        return Ok(None);
    }
    let local = Local { scheduler, workers, directory: cluster_file::clusters_directory(), folder };
    Ok(Some((file, client, local)))
}

/// Name and file of each worker's options, in their order.
fn worker_options(folder: &Path) -> Vec<(String, std::path::PathBuf)> {
    let mut found: Vec<(usize, String, std::path::PathBuf)> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            let stem = path.file_name()?.to_str()?.strip_prefix("worker-")?.strip_suffix(".json")?.to_owned();
            let options = nuna_runtime::worker::Options::read(&path).ok()?;
            Some((stem.parse().ok()?, options.name, path))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, name, path)| (name, path)).collect()
}
