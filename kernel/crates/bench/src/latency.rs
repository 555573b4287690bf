//! Owns the counterpart of `w12_latency.py`: one tiny task after another, from `submit` to its result.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::Instant,
};

use nuna::prelude::*;
use serde_json::json;

use crate::{Shape, meter::Meter};

/// Before anything is measured.
const WARM_UP: u64 = 200;

/// Starts a cluster, runs `count` tasks one after another, prints the line. `seconds` is the median.
///
/// # Errors
/// If the cluster does not start or a task fails.
pub fn latency(shape: &Shape, count: u64) -> anyhow::Result<()> {
    let (cluster, start_seconds) = shape.start()?;
    let once = |i: u64| -> anyhow::Result<f64> {
        let started = Instant::now();
        let result = cluster.submit(i, |x: u64| x + 1).result()?;
        anyhow::ensure!(result == i + 1, "{i} + 1 is not {result}");
        Ok(1e3 * started.elapsed().as_secs_f64())
    };
    for i in 0..WARM_UP {
        once(i)?;
    }
    let meter = Meter::start();
    let mut times = (0..count.max(1)).map(once).collect::<anyhow::Result<Vec<f64>>>()?;
    let mut reading = meter.stop();
    cluster.shutdown();
    let mut round_trips = round_trips(count.max(1))?;
    times.sort_by(f64::total_cmp);
    round_trips.sort_by(f64::total_cmp);
    let at = |sorted: &[f64], share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize];
    reading.seconds = at(&times, 0.5) / 1e3;
    let more = json!({
        "n": count,
        "median_ms": at(&times, 0.5),
        "p95_ms": at(&times, 0.95),
        "p99_ms": at(&times, 0.99),
        "min_ms": at(&times, 0.0),
        "max_ms": at(&times, 1.0),
        // What two threads of this process need for one message and its answer: a task needs two such pairs.
        "loopback_round_trip_ms": at(&round_trips, 0.5),
        "result": count,
    });
    shape.report("w12_latency", start_seconds, reading, more);
    Ok(())
}

/// The machine's floor: milliseconds for 64 bytes over loopback and back.
fn round_trips(count: u64) -> anyhow::Result<Vec<f64>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let echo = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut message = [0; 64];
        while stream.read_exact(&mut message).is_ok() {
            stream.write_all(&message)?;
        }
        Ok(())
    });
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut message = [0; 64];
    let mut times = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let started = Instant::now();
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
        times.push(1e3 * started.elapsed().as_secs_f64());
    }
    drop(stream);
    echo.join().map_err(|_| anyhow::anyhow!("the echo's thread panicked"))??;
    Ok(times)
}
