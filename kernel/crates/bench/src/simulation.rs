//! Owns the counterpart of `w9_simulation.py`: a parametrised simulation, of which every hundredth task fails at its first
//! attempt, with its results in a table. The random numbers are the same, so the counts are too.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
    time::Instant,
};

use nuna::prelude::*;
use serde_json::json;

use crate::{Shape, meter::Meter};

/// Points of one task.
const POINTS: u64 = 15_000;

/// `i`, `a`, `b`, and the share of the unit square in which `a x² + b y² < 1`.
pub(crate) type Row = (u64, f64, f64, f64);

/// As the peers' `sim`. `flags` is a folder in which the first attempt of every hundredth task leaves a file.
fn simulate(flags: Option<&str>, i: u64) -> Result<Row, String> {
    if let Some(flags) = flags
        && i.is_multiple_of(100)
        && File::options().write(true).create_new(true).open(format!("{flags}/{i}")).is_ok()
    {
        return Err(format!("simulated failure of task {i}"));
    }
    let (a, b) = (0.5 + (i % 200) as f64 / 100.0, 0.5 + (i / 200) as f64 / 50.0);
    let uniform = |n: u64| {
        let z = n.wrapping_add(i.wrapping_mul(2 * POINTS) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    };
    let inside = (0..POINTS).filter(|&n| {
        let (x, y) = (uniform(n), uniform(POINTS + n));
        a * (x * x) + b * (y * y) < 1.0
    });
    Ok((i, a, b, inside.count() as f64 / POINTS as f64))
}

/// All of them, each hundredth after it has failed once.
pub(crate) fn rows(cluster: &Cluster, flags: String, count: u64) -> anyhow::Result<Vec<Row>> {
    let tasks = cluster.try_map_with(flags, 0..count, |flags: &String, i: u64| simulate(Some(flags), i));
    Ok(tasks.retries(2).gather()?)
}

/// Starts a cluster, runs `count` simulations, prints the line. `ideal_s` is what the same calls took on as many threads
/// as there are workers, in this process: the mean of right before and right after, since the machine may be slower at one of them.
///
/// # Errors
/// If the cluster does not start, a task fails three times, or `scratch` cannot be written.
pub fn simulation(shape: &Shape, count: u64, scratch: &Path) -> anyhow::Result<()> {
    let folder = scratch.join(format!("w9-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let flags = std::path::absolute(&folder)?.display().to_string();
    let threads = (shape.procs * shape.threads).max(1) as u64;
    let before = alone(count, threads);
    let (cluster, start_seconds) = shape.start()?;
    let meter = Meter::start();
    let rows = rows(&cluster, flags, count)?;
    let mut table = BufWriter::new(File::create(scratch.join("w9.csv"))?);
    writeln!(table, "i,a,b,area")?;
    for (i, a, b, area) in &rows {
        writeln!(table, "{i},{a},{b},{area}")?;
    }
    table.flush()?;
    let reading = meter.stop();
    cluster.shutdown();
    let ideal = f64::midpoint(before, alone(count, threads));
    let failed_once = fs::read_dir(&folder)?.count() as u64;
    fs::remove_dir_all(&folder)?;
    anyhow::ensure!(rows.len() as u64 == count, "{} rows of {count}", rows.len());
    anyhow::ensure!(failed_once == count.div_ceil(100), "{failed_once} tasks failed once");
    let mean = rows.iter().map(|row| row.3).sum::<f64>() / rows.len() as f64;
    let spread = rows.iter().map(|row| (row.3 - mean).powi(2)).sum::<f64>() / (rows.len() as f64 - 1.0);
    let most = rows.iter().map(|row| row.3).fold(f64::NEG_INFINITY, f64::max);
    let least = rows.iter().map(|row| row.3).fold(f64::INFINITY, f64::min);
    let more = json!({
        "n": count,
        "ideal_s": ideal,
        "over_ideal": reading.seconds / ideal,
        "failed_once": failed_once,
        "tasks_per_s": count as f64 / reading.seconds,
        "result": { "rows": rows.len(), "mean": mean, "std": spread.sqrt(), "min": least, "max": most },
    });
    shape.report("w9_simulation", start_seconds, reading, more);
    Ok(())
}

/// Seconds that the same calls take on so many threads of this process, with nothing between.
fn alone(count: u64, threads: u64) -> f64 {
    let started = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                let rows = (thread..count).step_by(threads as usize).map(|i| simulate(None, i));
                std::hint::black_box(rows.filter_map(Result::ok).map(|row| row.3).sum::<f64>())
            });
        }
    });
    started.elapsed().as_secs_f64()
}
