//! Owns `bench_tasks`, the counterpart of `w1_taskfarm.py`: trivial tasks through a cluster.

use nuna::prelude::*;
use serde_json::json;

use crate::{Shape, meter::Meter};

/// Starts a cluster, runs `count` trivial tasks in batches of `batch`, prints the line. A batch of 1 makes every task a
/// block of its own: leased, reported and delivered by itself.
///
/// # Errors
/// If the cluster does not start or a task fails.
pub fn tasks(shape: &Shape, count: u64, batch: Option<u64>) -> anyhow::Result<()> {
    let (cluster, start_seconds) = shape.start()?;
    let farm = |count: u64| {
        let tasks = cluster.map(0..count, |x: u64| x + 1);
        if let Some(batch) = batch { tasks.batch(batch) } else { tasks }
    };
    farm(1000).gather()?;
    let meter = Meter::start();
    let tasks = farm(count).start();
    // All parameters are packed, the plan is accepted, and a worker has everything it needs.
    tasks.as_completed().next().transpose()?;
    let first = meter.elapsed();
    let results = tasks.gather()?;
    let sum: u64 = results.iter().sum();
    let reading = meter.stop();
    cluster.shutdown();
    anyhow::ensure!(sum == count * (count + 1) / 2, "the sum of 1..={count} is not {sum}");
    let more = json!({
        "n": count,
        "batch": batch,
        "tasks_per_s": count as f64 / reading.seconds,
        "first_result_s": first,
        "us_per_task": 1e6 * reading.seconds / count as f64,
        "result": sum,
    });
    shape.report("w1_taskfarm", start_seconds, reading, more);
    Ok(())
}

pub(crate) fn merge(line: &mut serde_json::Value, more: serde_json::Value) {
    if let (Some(line), serde_json::Value::Object(more)) = (line.as_object_mut(), more) {
        line.extend(more);
    }
}
