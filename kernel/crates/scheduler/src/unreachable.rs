//! Owns what follows if two workers that both live cannot reach each other: a firewall between nodes, a dead cable.
//! For a while what is wanted is made again where it is wanted; then the worker that many others cannot reach has to
//! go, or, where none stands out, the computation that needs the two ends with an error that names them.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use nuna_plan::EngineError;
use nuna_wire::{StageKey, WorkerId};

use crate::{
    event::{Effect, Note},
    scheduler::Scheduler,
};

/// Shorter troubles are waited out: switches need some seconds to learn a way.
const PATIENCE: Duration = Duration::from_secs(20);
/// Fewer failures than these may be chance.
const FAILURES_MIN: u32 = 3;
/// Without a failure for so long it was another trouble.
const CALM: Duration = Duration::from_secs(30);

/// That one worker fails to fetch from another.
pub(crate) struct Unreached {
    since: Instant,
    last: Instant,
    failures: u32,
    error: String,
}

impl Unreached {
    fn lasts(&self) -> bool {
        self.failures >= FAILURES_MIN && self.last.saturating_duration_since(self.since) >= PATIENCE
    }
}

impl Scheduler {
    pub(crate) fn unreachable(&mut self, now: Instant, worker: WorkerId, holder: WorkerId, error: String) {
        if worker == holder || ![worker, holder].iter().all(|id| self.workers.contains_key(id)) {
            return;
        }
        let pair = self.unreached.entry((worker, holder)).or_insert_with(|| Unreached {
            since: now,
            last: now,
            failures: 0,
            error: String::new(),
        });
        if now.saturating_duration_since(pair.last) > CALM {
            (pair.since, pair.failures) = (now, 0);
        }
        pair.last = now;
        pair.failures += 1;
        pair.error = error;
        if pair.lasts() {
            self.dismiss_the_lonely([worker, holder]);
        }
    }

    /// Of two that cannot reach each other, one has to go if most others cannot reach it either, and the other one is
    /// reached by most.
    fn dismiss_the_lonely(&mut self, pair: [WorkerId; 2]) {
        let apart = |id: WorkerId, all: bool| {
            let pairs = self.unreached.iter().filter(|(_, unreached)| all || unreached.lasts());
            let partners = pairs.filter_map(|(&(from, to), _)| match (from == id, to == id) {
                (true, _) => Some(to),
                (_, true) => Some(from),
                _ => None,
            });
            partners.collect::<BTreeSet<_>>().len()
        };
        let others = self.workers.len() - 1;
        let [one, other] = pair;
        let lonely = [(one, other), (other, one)].into_iter().find(|&(lonely, reached)| {
            2 * apart(lonely, false) > others && 2 * apart(reached, true) <= others
        });
        let Some((lonely, _)) = lonely.filter(|_| others > 1) else { return };
        let partners = apart(lonely, false);
        let reason = format!("it and {partners} of the {others} other workers cannot reach each other");
        self.effects.push(Effect::Note(Note::Dismissed { worker: lonely, reason }));
        self.effects.push(Effect::Dismiss { worker: lonely });
        self.worker_left(lonely);
    }

    pub(crate) fn forget_unreached(&mut self, worker: WorkerId) {
        self.unreached.retain(|&(from, to), _| from != worker && to != worker);
    }

    /// Gives up the computation of a block that `worker` cannot run because it does not reach `holder`, once that has
    /// lasted.
    pub(crate) fn give_up_apart(&mut self, worker: WorkerId, key: StageKey, block: u64, holder: WorkerId) {
        let Some(unreached) = self.unreached.get(&(worker, holder)).filter(|unreached| unreached.lasts())
        else {
            return;
        };
        let (Some(stage), Some(here), Some(there)) =
            (self.stages.get(&key), self.workers.get(&worker), self.workers.get(&holder))
        else {
            return;
        };
        let error = EngineError::Task {
            task: stage.task(block),
            worker: here.hello.name.clone(),
            cell: stage.stage.origin.as_ref().map(|origin| origin.cell).filter(|&cell| cell > 0),
            message: format!(
                "it reads what is on the worker {} ({}), which cannot be reached: {}; tried {} times in {} s. The nodes of a cluster have to reach each other on all TCP ports",
                there.hello.name,
                there.hello.data_address,
                unreached.error,
                unreached.failures,
                unreached.last.saturating_duration_since(unreached.since).as_secs(),
            ),
        };
        let computation = stage.computation;
        self.give_up(computation, error);
    }
}
