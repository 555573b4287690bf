//! Owns what a worker says of itself to a scheduler that took the place of a lost one: what it has, and what it does.

use std::collections::BTreeSet;

use nuna_wire::{
    StageKey,
    message::{Blocks, WorkerReturn},
};

use crate::{Block, worker::Worker};

impl Worker {
    /// What is here of stages that are not over. A block that waits, gathers or runs is leased, whatever came of it since.
    pub fn inventory(&self) -> WorkerReturn {
        let there = |key: StageKey| self.stages.get(&key).is_some_and(|stage| !stage.dropped);
        let mut stored: Vec<(Blocks, u64)> = Vec::new();
        // What is on its way will be a copy by the time it is to be forgotten.
        let mut copies: BTreeSet<StageKey> = self.awaited.keys().map(|&(stage, _)| stage).collect();
        let mut bytes = 0;
        for (&(stage, block), held) in &self.values {
            if held.copy {
                copies.insert(stage);
            } else if there(stage) {
                match stored.last_mut() {
                    Some((run, mean)) if run.stage == stage && run.end == block => {
                        run.end += 1;
                        bytes += held.bytes;
                        *mean = bytes / (run.end - run.start);
                    }
                    Some(_) | None => {
                        bytes = held.bytes;
                        stored.push((Blocks { stage, start: block, end: block + 1 }, bytes));
                    }
                }
            }
        }
        let mut leased: Vec<Blocks> = Vec::new();
        for (&stage, state) in self.stages.iter().filter(|(_, state)| !state.dropped) {
            let runs = state.queue.runs();
            leased.extend(runs.map(|run| Blocks { stage, start: run.start, end: run.end }));
        }
        let mut begun: Vec<Block> = self.begun.keys().copied().filter(|block| there(block.0)).collect();
        begun.sort_unstable();
        leased.extend(begun.into_iter().map(|(stage, block)| Blocks { stage, start: block, end: block + 1 }));
        let stages = self.stages.iter().filter(|(_, state)| !state.dropped).map(|(&key, _)| key).collect();
        WorkerReturn { stages, stored, copies: copies.into_iter().collect(), leased }
    }

    pub fn is_draining(&self) -> bool {
        self.draining
    }
}
