//! Owns what one run begins with, and what it came to.

use std::{collections::BTreeMap, time::Duration};

use nuna_scheduler::Settings;
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{faults::Faults, jobs::Job};

/// One run before it begins.
#[derive(Clone, Debug)]
pub struct Setup {
    pub workers: u32,
    /// Threads of each worker: at least, at most.
    pub threads: (u16, u16),
    pub memory_bytes: u64,
    /// Of each worker, besides threads and memory.
    pub resources: Vec<(String, u32)>,
    /// The jobs of each client.
    pub clients: Vec<Vec<Job>>,
    pub faults: Faults,
    /// Workers that never reach each other, counted from 1.
    pub peers_cut: Vec<(u32, u32)>,
    /// After so many microseconds a worker drains, and after so many more its process ends.
    pub walltime: Option<(u64, u64)>,
    pub settings: Settings,
    /// The scheduler's collections are compared after every so many events.
    pub check_every: u64,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub events: u64,
    /// From the start to the end of the last job, in microseconds.
    pub took_us: u64,
    pub workers_lost: u32,
    /// Workers that left with nothing left to do.
    pub dismissed: u32,
    /// Blocks that ran to their end, each time counted.
    pub computed: u64,
    /// Values that workers took over from others that left.
    pub handed_over: u64,
    /// How often the scheduler was lost.
    pub crashes: u32,
    /// Values delivered of each job when the first one ended.
    pub delivered_at_first_end: Vec<u64>,
}

impl Setup {
    /// A few workers, a few jobs of one or two clients, and faults.
    pub fn random(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x5eed);
        let clients = rng.random_range(1..3);
        let jobs = |rng: &mut StdRng| (0..rng.random_range(1..4)).map(|_| Job::random(rng)).collect();
        let settings = Settings {
            // A block may be unlucky as often as there are faults.
            losses_max: 1_000,
            cut_short_max: 1_000,
            no_worker_patience: Duration::from_secs(3600),
            shared: BTreeMap::from([("licence".to_owned(), rng.random_range(1..4))]),
            client_window_bytes: if rng.random_bool(0.3) { 200 } else { 1 << 20 },
            ..Settings::default()
        };
        Self {
            workers: rng.random_range(1..6),
            threads: (1, 3),
            memory_bytes: if rng.random_bool(0.4) { 2_500 } else { 1 << 20 },
            resources: vec![("gpu".to_owned(), rng.random_range(1..3))],
            clients: (0..clients).map(|_| jobs(&mut rng)).collect(),
            faults: Faults::random(&mut rng),
            peers_cut: Vec::new(),
            walltime: rng
                .random_bool(0.3)
                .then(|| (rng.random_range(500_000..3_000_000), rng.random_range(1_000..500_000))),
            settings,
            check_every: 1,
        }
    }
}
