//! Owns what goes wrong, and when: counts and times, drawn from the seed before the run.

use rand::{Rng, rngs::StdRng};

use crate::agenda::{MILLISECOND, SECOND, Time};

/// One thing that goes wrong. Who it befalls is drawn when it happens, among those that are there then.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// A worker's process ends without a word, and another takes its place later.
    Kill { back: Time },
    /// A worker is to leave, as before its walltime: it drains, and ends once it may, or when its time is up.
    Leave { within: Time },
    /// A worker more.
    Join,
    /// The scheduler and a worker do not hear each other for a while.
    CutWorker { lasts: Time },
    /// The scheduler and a client do not hear each other for a while.
    CutClient { lasts: Time },
    /// The connection of a worker breaks, and with it goes what is on its way. Both live on, and it tries to come back.
    BreakWorker { notices: Time, back: Time },
    /// That of a client.
    BreakClient { notices: Time, back: Time },
    /// Two workers do not hear each other for a while.
    CutPeers { lasts: Time },
    /// A client's process ends, and a new one begins its work again.
    RestartClient { back: Time },
    /// The program of a client does something else than take its results.
    SlowClient { lasts: Time },
    /// A disk takes this many times as long from now on.
    SlowDisk { factor: u64 },
    /// A part of what is written to or read from a disk fails from now on.
    BadDisk { permille: u32 },
    /// The scheduler's process ends, with what of its journal it has not written, and another takes its place.
    CrashScheduler { unwritten: Time, back: Time },
}

/// How often each thing goes wrong in a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub kills: u32,
    pub leaves: u32,
    pub joins: u32,
    pub worker_cuts: u32,
    pub client_cuts: u32,
    pub worker_breaks: u32,
    pub client_breaks: u32,
    pub peer_cuts: u32,
    pub client_restarts: u32,
    pub slow_clients: u32,
    pub slow_disks: u32,
    pub bad_disks: u32,
    pub scheduler_crashes: u32,
    /// When the last of them happens at the latest, in microseconds.
    pub until: u64,
}

impl Faults {
    /// Each kind with its own probability, so that most pairs of kinds meet in some seed.
    pub fn random(rng: &mut StdRng) -> Self {
        fn some(rng: &mut StdRng, probability: f64, max: u32) -> u32 {
            if rng.random_bool(probability) { rng.random_range(1..=max) } else { 0 }
        }
        Self {
            kills: some(rng, 0.6, 10),
            leaves: some(rng, 0.25, 3),
            joins: some(rng, 0.25, 3),
            worker_cuts: some(rng, 0.3, 3),
            client_cuts: some(rng, 0.1, 1),
            worker_breaks: some(rng, 0.2, 2),
            client_breaks: some(rng, 0.15, 2),
            peer_cuts: some(rng, 0.2, 3),
            client_restarts: some(rng, 0.15, 2),
            slow_clients: some(rng, 0.2, 2),
            slow_disks: some(rng, 0.3, 2),
            bad_disks: some(rng, 0.2, 2),
            scheduler_crashes: some(rng, 0.3, 3),
            until: [20, 100, 500][rng.random_range(0..3)] * MILLISECOND,
        }
    }

    pub(crate) fn schedule(&self, rng: &mut StdRng) -> Vec<(Time, Fault)> {
        let mut schedule = Vec::new();
        // Most cuts are over before anybody gives up; some are not.
        fn lasts(rng: &mut StdRng) -> Time {
            if rng.random_bool(0.3) {
                rng.random_range(20 * SECOND..50 * SECOND)
            } else {
                rng.random_range(MILLISECOND..500 * MILLISECOND)
            }
        }
        let back = |rng: &mut StdRng| rng.random_range(0..30 * MILLISECOND);
        let mut add = |count: u32, rng: &mut StdRng, fault: &dyn Fn(&mut StdRng) -> Fault| {
            for _ in 0..count {
                let when = rng.random_range(0..self.until.max(1));
                schedule.push((when, fault(rng)));
            }
        };
        add(self.kills, rng, &|rng| Fault::Kill { back: back(rng) });
        add(self.leaves, rng, &|rng| Fault::Leave { within: lasts(rng) });
        add(self.joins, rng, &|_| Fault::Join);
        add(self.worker_cuts, rng, &|rng| Fault::CutWorker { lasts: lasts(rng) });
        add(self.client_cuts, rng, &|rng| Fault::CutClient { lasts: lasts(rng) });
        let soon = |rng: &mut StdRng| rng.random_range(0..100 * MILLISECOND);
        add(self.worker_breaks, rng, &|rng| Fault::BreakWorker { notices: soon(rng), back: soon(rng) });
        add(self.client_breaks, rng, &|rng| Fault::BreakClient { notices: soon(rng), back: soon(rng) });
        add(self.peer_cuts, rng, &|rng| Fault::CutPeers { lasts: lasts(rng) });
        add(self.client_restarts, rng, &|rng| Fault::RestartClient { back: back(rng) });
        add(self.slow_clients, rng, &|rng| Fault::SlowClient { lasts: lasts(rng) });
        add(self.slow_disks, rng, &|rng| Fault::SlowDisk { factor: rng.random_range(5..200) });
        add(self.bad_disks, rng, &|rng| Fault::BadDisk { permille: rng.random_range(10..300) });
        add(self.scheduler_crashes, rng, &|rng| Fault::CrashScheduler {
            unwritten: if rng.random_bool(0.5) { 0 } else { rng.random_range(0..100 * MILLISECOND) },
            back: rng.random_range(0..3 * SECOND),
        });
        schedule
    }
}
