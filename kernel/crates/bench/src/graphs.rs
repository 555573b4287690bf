//! Owns the counterpart of `w1b_graphs.py`: tasks that depend on one another.

use clap::ValueEnum;
use nuna::prelude::*;
use serde_json::json;

use crate::{Shape, meter::Meter};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum GraphOf {
    /// 500 chains of `n / 500` steps.
    Chains,
    /// `n / 2` tasks, and their results added in pairs until one is left.
    Tree,
}

/// Starts a cluster, runs about `count` dependent tasks, prints the line.
///
/// # Errors
/// If the cluster does not start or a task fails.
pub fn graph(shape: &Shape, of: GraphOf, count: u64) -> anyhow::Result<()> {
    let (cluster, start_seconds) = shape.start()?;
    let meter = Meter::start();
    let (workload, tasks, sum, expected) = match of {
        GraphOf::Chains => {
            let chains = count.min(500);
            let steps = (count / chains.max(1)).max(1);
            let mut tasks = cluster.map(0..chains, |x: u64| x + 1);
            for _ in 1..steps {
                tasks = tasks.then(|x: u64| x + 1);
            }
            let sum: u64 = tasks.gather()?.iter().sum();
            ("w1b_chains", chains * steps, sum, chains * steps + chains * (chains - 1) / 2)
        }
        GraphOf::Tree => {
            let leaves = (count / 2).max(1);
            let sum = cluster.map(0..leaves, |x: u64| x + 1).reduce(|a: u64, b: u64| a + b).result()?;
            ("w1b_tree", 2 * leaves - 1, sum, leaves * (leaves + 1) / 2)
        }
    };
    let reading = meter.stop();
    cluster.shutdown();
    anyhow::ensure!(sum == expected, "the sum is {sum}, not {expected}");
    let more = json!({
        "n": tasks,
        "tasks_per_s": tasks as f64 / reading.seconds,
        "us_per_task": 1e6 * reading.seconds / tasks as f64,
        "result": sum,
    });
    shape.report(workload, start_seconds, reading, more);
    Ok(())
}
