//! Starts a cluster, says so with its workers' process ids, and waits to be killed.
use nuna::prelude::*;

pub fn run(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let cluster = Cluster::local().workers(2).threads(1).memory("512MB").start()?;
    let pids = cluster.map(0..64_u32, |_: u32| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        std::process::id()
    });
    let mut pids = pids.batch(1).gather()?;
    pids.sort_unstable();
    pids.dedup();
    println!("ready {pids:?}");
    loop {
        std::thread::park();
    }
}
