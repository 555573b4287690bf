//! Owns how much work there is, for those who decide how many workers there should be.

use crate::scheduler::Scheduler;

/// A block of a stage of which none has been done is taken to last so long.
const UNKNOWN_US: f64 = 1e6;

/// What could be done now if there were more workers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Demand {
    /// Blocks that are leased or could be.
    pub blocks: u64,
    /// How long one thread would be busy with them.
    pub work_us: f64,
    /// Threads of each worker, on average; 0 without workers.
    pub threads: f64,
    /// Names of workers that run nothing and hold nothing.
    pub idle: Vec<String>,
}

impl Scheduler {
    pub fn demand(&self) -> Demand {
        let mut demand = Demand::default();
        for (key, stage) in &self.stages {
            let leased: u64 = self.workers.values().filter_map(|worker| worker.queued.get(key)).sum();
            let blocks = leased + stage.ready.len();
            demand.blocks += blocks;
            demand.work_us += blocks as f64 * stage.mean_us.unwrap_or(UNKNOWN_US);
        }
        let threads: u64 = self.workers.values().map(|worker| u64::from(worker.hello.threads)).sum();
        demand.threads = threads as f64 / self.workers.len().max(1) as f64;
        let idle = |worker: &&crate::scheduler::Worker| {
            worker.queued.is_empty() && worker.stored_bytes == 0 && !worker.draining
        };
        demand.idle = self.workers.values().filter(idle).map(|worker| worker.hello.name.clone()).collect();
        demand
    }
}
