//! Owns measuring: wall time, and resident memory and CPU time of this process with all its descendants, sampled
//! as the peers' `rss_sampler.py` does.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

const INTERVAL: Duration = Duration::from_millis(30);
/// Looking for new processes costs more than looking at known ones.
const TREE_INTERVAL: Duration = Duration::from_millis(250);
/// `sysconf(_SC_CLK_TCK)`, which is 100 on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

pub(crate) struct Meter {
    started: Instant,
    stop: Arc<AtomicBool>,
    sampler: JoinHandle<Value>,
}

pub(crate) struct Reading {
    pub(crate) seconds: f64,
    pub(crate) memory: Value,
}

impl Meter {
    pub(crate) fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let sampler = std::thread::spawn(move || sample(&flag));
        Meter { started: Instant::now(), stop, sampler }
    }

    /// Seconds so far.
    pub(crate) fn elapsed(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    pub(crate) fn stop(self) -> Reading {
        let seconds = self.started.elapsed().as_secs_f64();
        self.stop.store(true, Ordering::Relaxed);
        let memory =
            self.sampler.join().unwrap_or_else(|_| json!({ "sampler_error": "the sampler panicked" }));
        Reading { seconds, memory }
    }
}

fn sample(stop: &AtomicBool) -> Value {
    let mut processes = descendants(std::process::id());
    let first: HashMap<u32, f64> =
        processes.iter().filter_map(|&pid| Some((pid, cpu_seconds(pid)?))).collect();
    let mut last = first.clone();
    let (mut start, mut peak, mut peak_count, mut samples) = (None, 0, 0, 0);
    let mut next_tree = Instant::now() + TREE_INTERVAL;
    loop {
        let total: u64 = processes.iter().filter_map(|&pid| resident_bytes(pid)).sum();
        samples += 1;
        start.get_or_insert(total);
        if total > peak {
            (peak, peak_count) = (total, processes.len());
        }
        let stopping = stop.load(Ordering::Relaxed);
        if stopping || Instant::now() > next_tree {
            processes = descendants(std::process::id());
            last.extend(processes.iter().filter_map(|&pid| Some((pid, cpu_seconds(pid)?))));
            next_tree = Instant::now() + TREE_INTERVAL;
        }
        if stopping {
            break;
        }
        std::thread::sleep(INTERVAL);
    }
    let own = std::process::id();
    let high = processes.iter().filter(|&&pid| pid != own).filter_map(|&pid| bytes_of(pid, "VmHWM:")).max();
    let cpu: f64 = last.iter().map(|(pid, &seconds)| seconds - first.get(pid).copied().unwrap_or(0.0)).sum();
    json!({
        "peak_rss_mb": (peak as f64 / 1e5).round() / 10.0,
        "start_rss_mb": (start.unwrap_or(0) as f64 / 1e5).round() / 10.0,
        // Of the largest process but this one, over its whole life, as the system counts it.
        "peak_process_mb": (high.unwrap_or(0) as f64 / 1e5).round() / 10.0,
        "nproc_at_peak": peak_count,
        "cpu_s": (cpu * 100.0).round() / 100.0,
        "samples": samples,
    })
}

/// `root` and everything below it.
fn descendants(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        if let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok())
            && let Some(parent) = stat(pid).and_then(|fields| fields.first()?.parse().ok())
        {
            children.entry(parent).or_default().push(pid);
        }
    }
    let (mut found, mut next) = (Vec::new(), vec![root]);
    while let Some(pid) = next.pop() {
        found.push(pid);
        next.extend(children.remove(&pid).unwrap_or_default());
    }
    found
}

/// Fields of `/proc/PID/stat` from the parent's id on.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split(' ').skip(1).map(str::to_owned).collect())
}

fn cpu_seconds(pid: u32) -> Option<f64> {
    let fields = stat(pid)?;
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(10)? + ticks(11)?) / TICKS_PER_SECOND)
}

fn resident_bytes(pid: u32) -> Option<u64> {
    bytes_of(pid, "VmRSS:")
}

/// A line of `/proc/PID/status`.
pub(crate) fn bytes_of(pid: u32, field: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}
