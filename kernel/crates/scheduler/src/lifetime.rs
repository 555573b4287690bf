//! Owns the life of clients, computations and held values: submitted, running, over, and forgotten once nothing that
//! is left could have to be recomputed from them.

use std::{collections::BTreeMap, collections::BTreeSet, time::Instant};

use nuna_plan::{BlockMap, EngineError, HeldId, Keep, Plan, Source};
use nuna_wire::{
    ClientId, StageKey, WorkerId,
    message::{ToClient, ToWorker},
};

use crate::{
    event::{Effect, Note, Outcome},
    journal::{Accepted, Record},
    scheduler::{Client, Computation, Scheduler},
    stage::{BlockState, StageState},
};

impl Scheduler {
    pub(crate) fn computation(&self, id: u32) -> &Computation {
        self.computations.get(&id).expect("computations outlive their stages")
    }

    pub(crate) fn computation_mut(&mut self, id: u32) -> &mut Computation {
        self.computations.get_mut(&id).expect("computations outlive their stages")
    }

    pub(crate) fn client_joined(&mut self, now: Instant, client: ClientId) {
        let state = Client {
            last_heard: now,
            outstanding_bytes: 0,
            submissions: BTreeMap::new(),
            held: BTreeMap::new(),
        };
        let before = self.clients.insert(client, state);
        assert!(before.is_none(), "{client:?} joined twice");
        self.journal(Record::Client(client));
    }

    pub(crate) fn client_left(&mut self, client: ClientId) {
        let Some(gone) = self.clients.remove(&client) else { return };
        self.journal(Record::ClientGone(client));
        self.workers.values_mut().for_each(|worker| worker.turns.forget(client));
        for computation in gone.submissions.into_values() {
            if !self.computations.get(&computation).is_some_and(|computation| computation.detached) {
                self.end(computation, Outcome::Cancelled);
            }
        }
        for held in gone.held.into_keys() {
            self.release_unneeded(held);
        }
    }

    pub(crate) fn submit(&mut self, now: Instant, client: ClientId, submission: u32, plan: Plan) {
        let inputs = match self.check(client, submission, &plan) {
            Ok(inputs) => inputs,
            Err(error) => return self.to_client(client, ToClient::Failed { submission, error }),
        };
        let (computation, first) = (self.next_computation, self.next_stage);
        let key = |input| match input {
            Ok(earlier) => StageKey(first + earlier),
            Err(held) => held,
        };
        let inputs = inputs.into_iter().map(|inputs| inputs.into_iter().map(key).collect()).collect();
        let accepted =
            Box::new(Accepted { computation, client, submission, first: StageKey(first), plan, inputs });
        self.journal(Record::Plan(accepted.clone()));
        for held in accepted.plan.stages.iter().filter_map(held_by) {
            self.held_by_client(client, held);
        }
        let keys = self.install(now, *accepted);
        for &key in &keys {
            self.open(key);
        }
        if self.computation(computation).total == 0 {
            self.finish(computation, Outcome::Done, None);
        }
    }

    fn held_by_client(&mut self, client: ClientId, held: HeldId) {
        self.lost.remove(&held);
        self.clients.get_mut(&client).expect("checked with the plan").held.insert(held, 1);
    }

    /// Takes a plan in. Its blocks wait until [`Scheduler::open`], or until it is known which are done.
    pub(crate) fn install(&mut self, now: Instant, accepted: Accepted) -> Vec<StageKey> {
        let Accepted { computation: id, client, submission, first: StageKey(first), plan, inputs } = accepted;
        let count = plan.stages.len() as u32;
        self.next_computation = self.next_computation.max(id + 1);
        self.next_stage = self.next_stage.max(first + count);
        let total = plan.block_count();
        self.effects.push(Effect::Note(Note::ComputationStarted { computation: id, label: plan.label }));
        let keys: Vec<StageKey> = (first..first + count).map(StageKey).collect();
        let computation = Computation {
            client,
            submission,
            stages: keys.clone(),
            running: true,
            done: 0,
            total,
            read_bytes: 0,
            offered: 0,
            last_progress: now,
            detached: plan.terms.detached,
        };
        self.computations.insert(id, computation);
        if let Some(client) = self.clients.get_mut(&client) {
            client.submissions.insert(submission, id);
        }
        for (((index, stage), inputs), key) in
            plan.stages.into_iter().enumerate().zip(inputs).zip(keys.iter().copied())
        {
            if let Some(held) = held_by(&stage) {
                self.held.insert(held, key);
            }
            for (input, source) in inputs.iter().enumerate() {
                self.stage_mut(*source).consumers.push((key, input));
            }
            let blocks = stage.grid.count();
            self.effects.push(Effect::Note(Note::StageStarted {
                computation: id,
                stage: key,
                name: stage.name.clone(),
                blocks,
            }));
            let priority = crate::fair::priority(plan.terms.priority, count - 1 - index as u32);
            let mut state = StageState::new(key, (client, id, index as u32), priority, stage, inputs);
            state.needs.clone_from(&plan.terms.needs);
            self.stages.insert(key, state);
        }
        keys
    }

    /// What a plan's inputs are (earlier stages, or held ones), if it may run here.
    fn check(
        &self,
        client: ClientId,
        submission: u32,
        plan: &Plan,
    ) -> Result<Vec<Vec<Result<u32, StageKey>>>, EngineError> {
        plan.validate()?;
        self.check_needs(&plan.label, &plan.terms)?;
        if plan.terms.detached && plan.stages.iter().any(|stage| stage.keep != Keep::No) {
            return Err(EngineError::Refused(format!(
                "`{}` is to go on without its client, so it can neither deliver nor hold anything",
                plan.label
            )));
        }
        let state = self.clients.get(&client).ok_or(EngineError::Cancelled)?;
        if state.submissions.contains_key(&submission) {
            return Err(EngineError::Refused(format!("submission {submission} was given out before")));
        }
        let mut holds = BTreeSet::new();
        let mut inputs = Vec::with_capacity(plan.stages.len());
        for stage in &plan.stages {
            if let Keep::Hold(held) = stage.keep
                && (self.held.contains_key(&held) || !holds.insert(held))
            {
                return Err(EngineError::Refused(format!(
                    "stage `{}` is to be kept as {held:?}, which is taken",
                    stage.name
                )));
            }
            self.check_bound(&stage.name, stage.bound.total(), stage.grid.count())?;
            let mut sources = Vec::with_capacity(stage.inputs.len());
            for input in &stage.inputs {
                sources.push(match input.source {
                    Source::Stage(earlier) => Ok(earlier),
                    Source::Held(held) => {
                        let key = *self.held.get(&held).ok_or_else(|| {
                            let name = &stage.name;
                            EngineError::Refused(match self.lost.get(&held) {
                                Some(reason) => format!(
                                    "stage `{name}` reads a persisted result that was lost ({reason}); persist it again"
                                ),
                                None => format!(
                                    "stage `{name}` reads a persisted result that this cluster does not hold (any more); persist it again"
                                ),
                            })
                        })?;
                        let found = match &input.map {
                            BlockMap::Same => &stage.grid,
                            BlockMap::Axes { input_grid, .. } => input_grid,
                        };
                        let expected = &self.stage(key).stage.grid;
                        if found != expected {
                            return Err(EngineError::Refused(format!(
                                "stage `{}` reads a persisted result of {:?} blocks as if it had {:?}",
                                stage.name,
                                expected.shape(),
                                found.shape()
                            )));
                        }
                        Err(key)
                    }
                });
            }
            inputs.push(sources);
        }
        Ok(inputs)
    }

    fn check_bound(&self, stage: &str, needed: u64, blocks: u64) -> Result<(), EngineError> {
        let hellos = self.workers.values().map(|worker| &worker.hello);
        match hellos.map(|hello| (hello.memory_bytes, hello.limit_bytes)).max() {
            Some((limit, of)) if blocks > 0 && needed > limit => Err(EngineError::Memory {
                stage: stage.to_owned(),
                needed,
                limit,
                suggestion: format!(
                    "blocks {} times smaller, as its process needs the rest of its {of} bytes itself",
                    needed.div_ceil(limit.max(1))
                ),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Fails computations that no worker has the memory for, now that the workers are others.
    pub(crate) fn check_bounds(&mut self) {
        let mut failures = Vec::new();
        for stage in self.stages.values().filter(|stage| stage.done < stage.block_count()) {
            if let Err(error) =
                self.check_bound(&stage.stage.name, stage.stage.bound.total(), stage.block_count())
            {
                failures.push((stage.computation, error));
            }
        }
        for (computation, error) in failures {
            self.fail_with_readers(computation, error);
        }
    }

    /// Makes ready what can run from the start.
    fn open(&mut self, key: StageKey) {
        let stage = self.stage(key);
        let count = stage.block_count();
        if stage.inputs.is_empty() {
            let shares = self.shares(count);
            let stage = self.stage_mut(key);
            stage.set_all(BlockState::Ready);
            let mut start = 0;
            for (worker, share) in shares {
                stage.ready.insert(start..start + share, worker);
                start += share;
            }
            let rank = stage.rank();
            if count > 0 {
                self.ready_stages.insert(rank);
            }
            return;
        }
        let own = self.computation(stage.computation).stages.first().copied();
        let reads_held = stage.inputs.iter().any(|&input| Some(input) < own);
        if reads_held || !stage.surely_reads() {
            for block in 0..count {
                self.recount(key, block);
            }
        }
    }

    /// Who should run which part of `count` blocks that read nothing: neighbours stay together, so that what they
    /// make is where the blocks that read it will run.
    fn shares(&self, count: u64) -> Vec<(Option<WorkerId>, u64)> {
        let threads: u64 = self.workers.values().map(|worker| u64::from(worker.hello.threads.max(1))).sum();
        if count < 2 * threads || threads == 0 {
            return if count > 0 { vec![(None, count)] } else { Vec::new() };
        }
        let (mut passed, mut given) = (0, 0);
        let mut shares = Vec::with_capacity(self.workers.len());
        for (&id, worker) in &self.workers {
            passed += u64::from(worker.hello.threads.max(1));
            let until = (u128::from(count) * u128::from(passed) / u128::from(threads)) as u64;
            shares.push((Some(id), until - given));
            given = until;
        }
        shares
    }

    pub(crate) fn cancel(&mut self, client: ClientId, submission: u32) {
        let computation =
            self.clients.get_mut(&client).and_then(|client| client.submissions.remove(&submission));
        if let Some(computation) = computation {
            self.end(computation, Outcome::Cancelled);
        }
    }

    /// The computation is over: `error` says why, or it is done.
    pub(crate) fn finish(&mut self, id: u32, outcome: Outcome, error: Option<EngineError>) {
        let computation = self.computation(id);
        let (client, submission) = (computation.client, computation.submission);
        if let Some(client) = self.clients.get_mut(&client) {
            client.submissions.remove(&submission);
        }
        let message = match error {
            Some(error) => ToClient::Failed { submission, error },
            None => ToClient::Finished { submission, read_bytes: self.computation(id).read_bytes },
        };
        self.to_client(client, message);
        self.end(id, outcome);
    }

    pub(crate) fn fail(&mut self, id: u32, error: EngineError) {
        if self.computations.get(&id).is_some_and(|computation| computation.running) {
            self.finish(id, Outcome::Failed, Some(error));
        }
    }

    /// Fails a computation, and those that wait for what it was to make.
    pub(crate) fn fail_with_readers(&mut self, id: u32, error: EngineError) {
        let Some(computation) = self.computations.get(&id) else { return };
        if computation.running {
            return self.fail(id, error);
        }
        // It was over, and ran again for the sake of others.
        for reader in self.readers_of(id) {
            self.fail_with_readers(reader, error.clone());
        }
    }

    /// Fails a computation for good. If it was over, what it holds cannot be made again, nor what was made from that.
    pub(crate) fn give_up(&mut self, id: u32, error: EngineError) {
        let Some(computation) = self.computations.get(&id) else { return };
        if computation.running {
            return self.fail(id, error);
        }
        for reader in self.readers_of(id) {
            self.give_up(reader, error.clone());
        }
        // It may have gone with the last of them.
        let Some(computation) = self.computations.get(&id) else { return };
        for key in computation.stages.clone() {
            if let Some(held) = self.stage_mut(key).held.take() {
                self.held.remove(&held);
                if self.is_needed(held) {
                    self.lost.insert(held, error.to_string());
                }
                self.free_unread(key);
            }
        }
        self.collect(id);
    }

    /// Other computations that read what this one has left.
    fn readers_of(&self, id: u32) -> BTreeSet<u32> {
        let stages = self.computation(id).stages.iter().filter_map(|key| self.stages.get(key));
        let consumers = stages.flat_map(|stage| stage.consumers.iter());
        consumers
            .map(|(consumer, _)| self.stage(*consumer).computation)
            .filter(|&reader| reader != id)
            .collect()
    }

    /// Stops a computation and forgets what nobody can need of it.
    pub(crate) fn end(&mut self, id: u32, outcome: Outcome) {
        let Some(computation) = self.computations.get_mut(&id) else { return };
        if !computation.running {
            return self.collect(id);
        }
        computation.running = false;
        self.effects.push(Effect::Note(Note::ComputationFinished { computation: id, outcome }));
        self.journal(Record::Over { computation: id });
        if outcome != Outcome::Done {
            // What it was to leave behind will never be whole.
            for key in self.computation(id).stages.clone() {
                if let Some(held) = self.stage_mut(key).held.take() {
                    self.held.remove(&held);
                    self.free_unread(key);
                }
            }
            let error =
                EngineError::Refused("it reads a persisted result whose computation did not finish".into());
            for reader in self.readers_of(id) {
                self.fail_with_readers(reader, error.clone());
            }
        }
        self.collect(id);
    }

    /// Takes one use of what a client holds away.
    pub(crate) fn release(&mut self, client: ClientId, held: HeldId) {
        let Some(client) = self.clients.get_mut(&client) else { return };
        let Some(uses) = client.held.get_mut(&held) else { return };
        *uses -= 1;
        if *uses == 0 {
            client.held.remove(&held);
            self.release_unneeded(held);
        }
    }

    pub(crate) fn is_needed(&self, held: HeldId) -> bool {
        self.clients.values().any(|client| client.held.contains_key(&held))
            || self.published.values().any(|publication| publication.held.contains(&held))
    }

    /// Frees held values if no client holds them any more and they are not published.
    pub(crate) fn release_unneeded(&mut self, held: HeldId) {
        if self.is_needed(held) {
            return;
        }
        self.lost.remove(&held);
        let Some(key) = self.held.remove(&held) else { return };
        let stage = self.stage_mut(key);
        stage.held = None;
        let id = stage.computation;
        for block in 0..self.stage(key).block_count() {
            if self.stage(key).state(block) != BlockState::Stored {
                continue;
            }
            let readers = self.readers_left(key, block);
            self.stage_mut(key).set_count(block, readers);
            if readers == 0 {
                self.free(key, block);
            }
        }
        self.collect(id);
    }

    /// Forgets computations that are over, hold nothing, and are not what others would be recomputed from.
    pub(crate) fn collect(&mut self, id: u32) {
        let mut candidates = vec![id];
        while let Some(id) = candidates.pop() {
            let Some(computation) = self.computations.get(&id) else { continue };
            let holds = computation.stages.iter().any(|key| self.stage(*key).held.is_some());
            if computation.running || holds || !self.readers_of(id).is_empty() {
                continue;
            }
            candidates.extend(self.remove(id));
        }
    }

    /// Removes a computation; returns those whose results it read.
    fn remove(&mut self, id: u32) -> BTreeSet<u32> {
        let computation = self.computations.remove(&id).expect("the caller has looked it up");
        self.journal(Record::Removed { computation: id });
        let mut sources = BTreeSet::new();
        let mut dropped: BTreeMap<WorkerId, Vec<StageKey>> = BTreeMap::new();
        for key in computation.stages {
            let stage = self.stages.remove(&key).expect("stages of a computation are there as long as it is");
            self.ready_stages.remove(&stage.rank());
            for (of, worker) in &mut self.workers {
                if worker.queued.remove(&key).is_some() {
                    self.hungry.insert(*of);
                }
                if stage.defined.contains(of) || stage.copies.contains(of) {
                    dropped.entry(*of).or_default().push(key);
                }
            }
            self.forget.retain(|&(_, of), _| of != key);
            for source in stage.inputs {
                if let Some(source) = self.stages.get_mut(&source) {
                    source.consumers.retain(|&(consumer, _)| consumer != key);
                    if source.computation != id {
                        sources.insert(source.computation);
                    }
                }
            }
        }
        for (worker, stages) in dropped {
            self.to_worker(worker, ToWorker::Drop(stages));
        }
        // Values that only this computation was still to read.
        for &source in &sources {
            for key in self
                .computations
                .get(&source)
                .map(|computation| computation.stages.clone())
                .unwrap_or_default()
            {
                if self.stage(key).held.is_none() && self.stage(key).stored_count > 0 {
                    self.free_unread(key);
                }
            }
        }
        sources
    }

    fn free_unread(&mut self, key: StageKey) {
        for block in 0..self.stage(key).block_count() {
            let stage = self.stage(key);
            if stage.state(block) == BlockState::Stored && !stage.offered.contains(&block) {
                let readers = self.readers_left(key, block);
                self.stage_mut(key).set_count(block, readers);
                if readers == 0 {
                    self.free(key, block);
                }
            }
        }
    }
}

/// What a stage's values are held as.
pub(crate) fn held_by(stage: &nuna_plan::Stage) -> Option<HeldId> {
    match stage.keep {
        Keep::Hold(held) => Some(held),
        Keep::No | Keep::Deliver => None,
    }
}
