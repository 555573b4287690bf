//! Owns what blocks take besides threads and memory: of a worker (a GPU), or of the whole cluster (licences). A block has it
//! from the lease on until it is done, so that no more is ever in use than there is.

use nuna_plan::{EngineError, Terms};
use nuna_wire::StageKey;

use crate::scheduler::{Scheduler, Worker};

impl Scheduler {
    /// How many blocks of a stage more `worker` may have, by what each of them takes.
    pub(crate) fn by_needs(&self, worker: &Worker, key: StageKey) -> u64 {
        let needs = &self.stage(key).needs;
        let free = |name: &str| match self.settings.shared.get(name) {
            Some(&total) => u64::from(total).saturating_sub(self.taken(name)),
            None => of(&worker.hello.resources, name).saturating_sub(self.taken_from(worker, name)),
        };
        let blocks = needs.iter().map(|(name, amount)| free(name) / u64::from(*amount).max(1));
        blocks.min().unwrap_or(u64::MAX)
    }

    /// Of what the whole cluster has.
    pub(crate) fn taken(&self, name: &str) -> u64 {
        self.stages.values().map(|stage| stage.leased() * of(&stage.needs, name)).sum()
    }

    pub(crate) fn taken_from(&self, worker: &Worker, name: &str) -> u64 {
        worker.queued.iter().map(|(&key, &blocks)| blocks * of(&self.stage(key).needs, name)).sum()
    }

    /// Whether a plan's blocks can ever have what they need, as far as can be known yet.
    pub(crate) fn check_needs(&self, label: &str, terms: &Terms) -> Result<(), EngineError> {
        terms.needs.iter().try_for_each(|(name, amount)| self.check_need(label, name, *amount))
    }

    fn check_need(&self, label: &str, name: &str, amount: u32) -> Result<(), EngineError> {
        if let Some(&total) = self.settings.shared.get(name) {
            return if amount <= total {
                Ok(())
            } else {
                Err(EngineError::Refused(format!(
                    "a task of `{label}` needs {amount} `{name}`, but the whole cluster has {total}; ask for fewer with `.needs(\"{name}\", …)`, or start the cluster with `.shared_resource(\"{name}\", {amount})`"
                )))
            };
        }
        let most = self.most_seen.get(name).copied().unwrap_or(0);
        // Others may be yet to come.
        if amount <= most || self.workers.is_empty() || self.coming.0 > 0 {
            return Ok(());
        }
        let there =
            if most == 0 { "no worker has any".to_owned() } else { format!("a worker has {most} at most") };
        Err(EngineError::Refused(format!(
            "a task of `{label}` needs {amount} `{name}`, but {there}; start the cluster with `.resource(\"{name}\", {amount})` for each worker, or `.shared_resource(\"{name}\", …)` for all together"
        )))
    }

    /// A worker has come: what it has is known, and so is what it does not have.
    pub(crate) fn look_at_needs(&mut self, resources: &[(String, u32)]) {
        for (name, amount) in resources {
            let most = self.most_seen.entry(name.clone()).or_default();
            *most = (*most).max(*amount);
        }
        let mut failures = Vec::new();
        for stage in self.stages.values().filter(|stage| stage.done < stage.block_count()) {
            for (name, amount) in &stage.needs {
                if let Err(error) = self.check_need(&stage.stage.name, name, *amount) {
                    failures.push((stage.computation, error));
                }
            }
        }
        for (computation, error) in failures {
            self.fail_with_readers(computation, error);
        }
    }

    /// Whether something is ready that waits for a worker, and not only for what others have in use.
    pub(crate) fn work_waits(&self) -> bool {
        self.ready_stages.iter().any(|rank| self.stage(rank.key).needs.is_empty())
    }

    /// Panics if more is in use than there is.
    pub(crate) fn assert_needs(&self) {
        for (name, &total) in &self.settings.shared {
            assert!(
                self.taken(name) <= u64::from(total),
                "{} of {total} `{name}` are in use",
                self.taken(name)
            );
        }
        for (id, worker) in &self.workers {
            let names = worker.queued.keys().flat_map(|key| &self.stage(*key).needs).map(|(name, _)| name);
            for name in names.filter(|name| !self.settings.shared.contains_key(*name)) {
                let (there, taken) = (of(&worker.hello.resources, name), self.taken_from(worker, name));
                assert!(taken <= there, "{id} has {there} `{name}`, and {taken} are in use");
            }
        }
    }
}

fn of(resources: &[(String, u32)], name: &str) -> u64 {
    resources.iter().filter(|(of, _)| of == name).map(|(_, amount)| u64::from(*amount)).sum()
}
