//! Owns the seam between the scheduler and those who keep its workers' jobs.

use std::{net::SocketAddr, sync::Arc};

use nuna_jobs::{
    Settings, Status,
    driver::{self, Notice, Order},
};
use nuna_scheduler::Demand;
use nuna_wire::message::JobsInfo;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{Jobs, peers::Input};

/// There should be so many workers that the work at hand is done in this time.
const TARGET_US: f64 = 30e6;

pub(crate) type Orders = mpsc::UnboundedSender<Order>;

/// Writes the file that workers read: the scheduler's address is known only now. It holds no secret, but names the
/// folder that does.
pub(crate) fn write_worker_options(jobs: &Jobs, scheduler: SocketAddr) -> anyhow::Result<()> {
    let options = crate::worker::Options { scheduler, ..jobs.worker.clone() };
    let text = serde_json::to_vec(&options)?;
    Ok(nuna_wire::credentials::write_private(&jobs.settings.worker_options, &text)?)
}

/// Follows the cluster's jobs until nobody gives orders any more. `again` if an earlier process may have submitted some.
pub(crate) fn follow(
    settings: Settings,
    again: bool,
    inbox: mpsc::WeakSender<Input>,
) -> (Orders, JoinHandle<()>) {
    let (orders, taken) = mpsc::unbounded_channel();
    let batch = Arc::new(settings.pbs.commands());
    let (notices, mut told) = mpsc::unbounded_channel::<Notice>();
    tokio::spawn(async move {
        while let Some(notice) = told.recv().await {
            let Some(inbox) = inbox.upgrade() else { return };
            if inbox.send(Input::Jobs(notice)).await.is_err() {
                return;
            }
        }
    });
    let notify = move |notice| drop(notices.send(notice));
    (orders, tokio::spawn(driver::run(settings, again, batch, taken, notify)))
}

/// How many workers the work at hand could use.
pub(crate) fn wanted(demand: &Demand) -> u32 {
    if demand.blocks == 0 {
        return 0;
    }
    let threads = demand.threads.max(1.0);
    let by_blocks = (demand.blocks as f64 / threads).ceil();
    let by_time = (demand.work_us / threads / TARGET_US).ceil();
    by_blocks.min(by_time).clamp(1.0, f64::from(u32::MAX)) as u32
}

pub(crate) fn info(status: &Status) -> JobsInfo {
    JobsInfo {
        least: status.least,
        most: status.most,
        queued: status.queued,
        starting: status.starting,
        leaving: status.leaving,
        submissions: status.submissions,
        accepted: status.accepted,
        failures: status.failures,
        paused: status.paused.clone(),
        trouble: status.trouble.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_work_wants_more_workers_than_there_are_and_short_work_one() {
        let demand =
            |blocks, work_us, threads| wanted(&Demand { blocks, work_us, threads, idle: Vec::new() });
        assert_eq!(demand(0, 0.0, 4.0), 0);
        assert_eq!(demand(1_000_000, 1e6, 4.0), 1);
        assert_eq!(demand(100, 3600e6, 4.0), 25);
        assert_eq!(demand(1000, 3600e6, 4.0), 30);
        assert_eq!(demand(3, 3e9, 0.0), 3);
    }
}
