//! Owns how a block gets its inputs: what is here is pinned, what is on disk is loaded, the rest is fetched from the
//! peers that have it, each value once for all blocks that wait for it.

use std::collections::BTreeMap;

use nuna_wire::{StageKey, WorkerId, message::FromWorker};

use crate::{
    Block,
    event::Effect,
    memory::{Held, Place},
    worker::Worker,
};

/// A block that waits for inputs.
pub(crate) struct Gathering {
    pub(crate) missing: usize,
}

impl Worker {
    pub(crate) fn locate(&mut self, stage: StageKey, start: u64, end: u64, worker: WorkerId) {
        let runs = self.located.entry(stage).or_default();
        // A run told later is the truth about its blocks; earlier runs keep what sticks out of it.
        let overlapping: Vec<(u64, u64, WorkerId)> = runs
            .range(..end)
            .rev()
            .take_while(|&(_, &(until, _))| until > start)
            .map(|(&from, &(until, of))| (from, until, of))
            .collect();
        for (from, until, of) in overlapping {
            runs.remove(&from);
            if from < start {
                runs.insert(from, (start, of));
            }
            if until > end {
                runs.insert(end, (until, of));
            }
        }
        runs.insert(start, (end, worker));
    }

    fn location(&self, (stage, block): Block) -> Option<WorkerId> {
        let (_, &(end, worker)) = self.located.get(&stage)?.range(..=block).next_back()?;
        (block < end).then_some(worker)
    }

    /// Starts to collect what `block`, which has begun, reads; runs it if everything is here.
    pub(crate) fn gather(&mut self, block: Block) {
        let definition = &self.stages[&block.0].definition;
        let mut reads: Vec<Block> = Vec::new();
        for (input, &source) in definition.stage.inputs.iter().zip(&definition.inputs) {
            let indices = input.map.read_indices(&definition.stage.grid, block.1);
            reads.extend(indices.into_iter().map(|read| (source, read)));
        }
        reads.sort_unstable();
        reads.dedup();
        let mut missing = 0;
        let mut load = Vec::new();
        let mut fetch: BTreeMap<WorkerId, Vec<Block>> = BTreeMap::new();
        let mut nowhere = None;
        self.age += 1;
        for &read in &reads {
            let location = self.location(read);
            match self.values.get_mut(&read) {
                Some(held) => {
                    held.pins += 1;
                    held.used = self.age;
                    self.begun.get_mut(&block).expect("gathered blocks have begun").pinned.push(read);
                    match held.place {
                        Place::Memory => {}
                        Place::Disk => {
                            held.place = Place::Loading;
                            load.push(read);
                            missing += 1;
                            self.awaited.entry(read).or_default().push(block);
                        }
                        // A value that leaves the memory comes back once it is written: if it counted as here, it would
                        // come back into memory that nobody has reserved.
                        Place::Loading | Place::Spilling => {
                            missing += 1;
                            self.awaited.entry(read).or_default().push(block);
                        }
                    }
                }
                None => match location {
                    Some(holder) if holder != self.settings.id => {
                        missing += 1;
                        // An entry without waiters is a fetch that outlived those who wanted it: it serves this block.
                        let waiters = self.awaited.entry(read).or_insert_with(|| {
                            fetch.entry(holder).or_default().push(read);
                            Vec::new()
                        });
                        waiters.push(block);
                    }
                    Some(_) | None => nowhere = Some(read),
                },
            }
        }
        if !load.is_empty() {
            self.effects.push(Effect::Load(load));
        }
        for (holder, blocks) in fetch {
            self.effects.push(Effect::Fetch { holder, blocks });
        }
        if let Some(read) = nowhere {
            // The scheduler believes it is here. Say so, and it will be made anew.
            self.gathering.insert(block, Gathering { missing });
            self.give_back(block, read, self.settings.id);
        } else if missing == 0 {
            self.run_gathered(block);
        } else {
            self.gathering.insert(block, Gathering { missing });
        }
    }

    /// A block cannot run here for want of `input`.
    fn give_back(&mut self, block: Block, input: Block, holder: WorkerId) {
        self.gathering.remove(&block);
        // Fetches under way for it go on: their values may serve others.
        for waiters in self.awaited.values_mut() {
            waiters.retain(|&waiter| waiter != block);
        }
        self.end(block);
        self.effects.push(Effect::Send(FromWorker::InputMissing {
            stage: block.0,
            block: block.1,
            input: input.0,
            input_block: input.1,
            worker: holder,
        }));
    }

    pub(crate) fn fetched(&mut self, value: Block, bytes: u64) {
        let stays = self.adoption_ended(value);
        let Some(waiters) = self.awaited.remove(&value) else {
            // Whoever wanted it is gone. What this worker itself has under that name stays.
            if !self.values.contains_key(&value) {
                self.effects.push(Effect::Discard(vec![value]));
            }
            return;
        };
        self.age += 1;
        if let Some(held) = self.values.get(&value) {
            // Computed here in the meantime; the store keeps what it had, which is the same.
            if stays {
                self.adopted.push(value);
            }
            return match held.place {
                Place::Memory => self.arrived(value, waiters),
                Place::Spilling | Place::Disk | Place::Loading => self.load_for(value, waiters),
            };
        }
        self.memory += bytes;
        let held = Held { bytes, place: Place::Memory, pins: 0, used: self.age, copy: !stays, orphan: false };
        self.values.insert(value, held);
        self.arrived(value, waiters);
        if stays {
            self.adopted.push(value);
        } else if self.values[&value].pins == 0 {
            // Nobody waits for it: dropped stages, blocks given back.
            self.discard(value);
        }
    }

    /// Blocks waited for another worker to send a value that this one has, but not in memory: they wait for that instead.
    fn load_for(&mut self, value: Block, waiters: Vec<Block>) {
        if waiters.is_empty() {
            return;
        }
        for block in &waiters {
            self.pin(value, *block);
        }
        self.awaited.insert(value, waiters);
        let held = self.values.get_mut(&value).expect("the caller has looked");
        if held.place == Place::Disk {
            held.place = Place::Loading;
            self.effects.push(Effect::Load(vec![value]));
        }
    }

    /// It stays for that block, which waits for it and may have pinned it already.
    fn pin(&mut self, value: Block, block: Block) {
        let begun = self.begun.get_mut(&block).expect("blocks that wait have begun");
        if !begun.pinned.contains(&value) {
            begun.pinned.push(value);
            self.values.get_mut(&value).expect("callers have looked").pins += 1;
        }
    }

    /// A value is in memory; the blocks that waited for it run if it was the last.
    pub(crate) fn arrived(&mut self, value: Block, waiters: Vec<Block>) {
        for block in waiters {
            self.pin(value, block);
            let gathering = self.gathering.get_mut(&block).expect("blocks that wait are gathering");
            gathering.missing -= 1;
            if gathering.missing == 0 {
                self.gathering.remove(&block);
                self.run_gathered(block);
            }
        }
    }

    /// All inputs of a block are in memory, and counted there instead of among what was promised.
    fn run_gathered(&mut self, block: Block) {
        let inputs = self.stages[&block.0].definition.stage.bound.inputs;
        let begun = self.begun.get_mut(&block).expect("gathered blocks have begun");
        let inputs = inputs.min(begun.reserved);
        begun.reserved -= inputs;
        self.reserved -= inputs;
        self.effects.push(Effect::Run { stage: block.0, start: block.1, end: block.1 + 1 });
    }

    /// A value cannot be had: the blocks that wait for it go back.
    pub(crate) fn input_failed(&mut self, value: Block, holder: WorkerId) {
        if self.adoption_ended(value) {
            self.refused_adoptions.push(value);
        }
        for block in self.awaited.remove(&value).unwrap_or_default() {
            self.give_back(block, value, holder);
        }
    }
}
