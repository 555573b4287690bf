//! Starts a cluster, says so with its workers' process ids, and waits to be killed.
use nuna::prelude::*;

pub fn run(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let cluster = Cluster::local().workers(2).threads(1).memory("512MB").start()?;
    // They have worked; on a busy machine one of them may have done it all.
    let squares = cluster.map(0..64_u64, |number: u64| number * number).batch(1).gather()?;
    assert_eq!(squares.iter().sum::<u64>(), 85344);
    let pids: Vec<u32> = cluster.info().workers.iter().map(|worker| worker.pid).collect();
    println!("ready {pids:?}");
    loop {
        std::thread::park();
    }
}
