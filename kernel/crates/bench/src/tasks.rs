//! Owns `bench_tasks`, the counterpart of `w1_taskfarm.py`: trivial tasks through a cluster.

use std::time::Instant;

use nuna::prelude::*;
use serde_json::json;

use crate::{Shape, emit, meter::Meter};

/// Starts a cluster, runs `count` trivial tasks, prints the line.
///
/// # Errors
/// If the cluster does not start or a task fails.
pub fn tasks(shape: &Shape, count: u64) -> anyhow::Result<()> {
    let started = Instant::now();
    let cluster = Cluster::local()
        .workers(shape.procs)
        .threads(shape.threads)
        .memory(shape.memory_limit.as_str())
        .start()?;
    let start_seconds = started.elapsed().as_secs_f64();
    cluster.map(0..1000_u64, |x: u64| x + 1).gather()?;
    let meter = Meter::start();
    let results = cluster.map(0..count, |x: u64| x + 1).gather()?;
    let sum: u64 = results.iter().sum();
    let reading = meter.stop();
    cluster.shutdown();
    anyhow::ensure!(sum == count * (count + 1) / 2, "the sum of 1..={count} is not {sum}");
    let mut line = json!({
        "workload": "w1_taskfarm",
        "engine": "nuna",
        "seconds": reading.seconds,
        "n": count,
        "tasks_per_s": count as f64 / reading.seconds,
        "us_per_task": 1e6 * reading.seconds / count as f64,
        "procs": shape.procs,
        "threads": shape.threads,
        "cluster_start_s": start_seconds,
        "result": sum,
    });
    merge(&mut line, reading.memory);
    emit(&line);
    Ok(())
}

pub(crate) fn merge(line: &mut serde_json::Value, more: serde_json::Value) {
    if let (Some(line), serde_json::Value::Object(more)) = (line.as_object_mut(), more) {
        line.extend(more);
    }
}
