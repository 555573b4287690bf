//! Owns where values are and what makes room for more: copies of other workers' values are dropped, then the values
//! used longest ago go to disk, those that leased blocks read last. A block begins only if its bound fits; only a worker that does nothing else may exceed
//! its limit, since waiting would never end. Where the disks refuse values that fill the memory, blocks wait for some to go, and
//! are given up if none does.

use std::collections::BTreeSet;

use nuna_wire::{StageKey, message::Blocks};

use crate::{Block, event::Effect, worker::Worker};

/// Share of the memory that is made free at once where less would do.
const AHEAD_SHARE: u64 = 24;

/// Copies that nobody reads are kept as far as each thread's last block read so many, up to so many bytes and this share of the
/// memory.
const IDLE_COPIES_MAX: u64 = 128 << 20;
const IDLE_COPIES_SHARE: u64 = 4;

/// [`Event::SpillAgain`](crate::Event::SpillAgain) may come so often while disks refuse everything, before what waits is given up.
const REFUSALS_MAX: u32 = 10;

/// Whether a block may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    There,
    /// What can be done about it is under way.
    Later,
    /// Nothing could be done about it for long.
    Never,
}

/// A copy of another worker's value, as it was when the last block that had begun and read it was done.
pub(crate) struct IdleCopy {
    pub(crate) block: Block,
    pub(crate) used: u64,
    pub(crate) bytes: u64,
}

/// A value this worker has.
pub(crate) struct Held {
    pub(crate) bytes: u64,
    pub(crate) place: Place,
    /// Blocks that have begun and read it.
    pub(crate) pins: u32,
    /// When it was used last, as a number that grows.
    pub(crate) used: u64,
    /// Another worker has it too.
    pub(crate) copy: bool,
    /// It is being read from disk for blocks that are gone, so none has promised it room: see [`Worker::orphaned`].
    pub(crate) orphan: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Memory,
    /// In memory until it is written.
    Spilling,
    Disk,
    /// On disk until it is read.
    Loading,
}

impl Worker {
    /// Whether `need` more bytes may be promised. If not, what can be done about it is under way.
    pub(crate) fn make_room(&mut self, need: u64) -> Room {
        let limit = self.settings.memory_bytes;
        let taken = self.taken().saturating_add(need);
        if taken <= limit {
            self.stuck = 0;
            return Room::There;
        }
        // What is being written becomes free without asking for more.
        let mut excess = (taken - limit).saturating_sub(self.spilling_bytes);
        if excess == 0 {
            return Room::Later;
        }
        // Values that blocks leased to this worker are about to read would only have to come back.
        let wanted: BTreeSet<StageKey> = (self.stages.values())
            .filter(|stage| !stage.queue.is_empty())
            .flat_map(|stage| stage.definition.inputs.iter().copied())
            .collect();
        let mut idle: Vec<(bool, bool, u64, Block, u64)> = self
            .values
            .iter()
            .filter(|(_, held)| held.pins == 0 && held.place == Place::Memory)
            .map(|(&block, held)| (wanted.contains(&block.0), !held.copy, held.used, block, held.bytes))
            .collect();
        idle.sort_unstable();
        // Looking through all values for each small block would take longer than the block: some more are written at once.
        let mut ahead = limit / AHEAD_SHARE;
        let mut spill = Vec::new();
        for (wanted, own, _, block, bytes) in idle {
            if excess == 0 && (wanted || ahead == 0) {
                break;
            }
            if own && self.refused {
                continue;
            }
            ahead = ahead.saturating_sub(bytes.saturating_sub(excess));
            excess = excess.saturating_sub(bytes);
            if own {
                self.values.get_mut(&block).expect("listed above").place = Place::Spilling;
                self.spilling += 1;
                self.spilling_bytes += bytes;
                spill.push(block);
            } else {
                self.discard(block);
            }
        }
        if !spill.is_empty() {
            self.effects.push(Effect::Spill(spill));
        }
        let held = self.taken();
        if held.saturating_add(need) <= limit {
            self.stuck = 0;
            return Room::There;
        }
        if !self.begun.is_empty() || self.spilling > 0 {
            return Room::Later;
        }
        if !self.refused || held <= limit {
            // Beyond the limit by no more than this block's need, and by no block more while the disks refuse.
            return Room::There;
        }
        if self.stuck >= REFUSALS_MAX { Room::Never } else { Room::Later }
    }

    pub(crate) fn taken(&self) -> u64 {
        let known = self.values.len() as u64 * self.settings.value_bytes;
        self.memory.saturating_add(self.reserved).saturating_add(self.orphaned).saturating_add(known)
    }

    /// No block that has begun reads this copy any more. The next ones may, so some are kept: what was put there is as good as
    /// memory that is free, but fresh memory costs more than memory that was used before.
    pub(crate) fn idle_copy(&mut self, copy: IdleCopy) {
        self.idle_copies_bytes += copy.bytes;
        self.idle_copies.push_back(copy);
        let most = IDLE_COPIES_MAX
            .min(self.settings.memory_bytes / IDLE_COPIES_SHARE)
            .min(self.copies_read.saturating_mul(u64::from(self.settings.threads.max(1))));
        while self.idle_copies_bytes > most
            && let Some(IdleCopy { block, used, bytes }) = self.idle_copies.pop_front()
        {
            self.idle_copies_bytes -= bytes;
            // What was read again since is further back in the queue too.
            let idle =
                |held: &Held| held.copy && held.pins == 0 && held.used == used && held.place == Place::Memory;
            if self.values.get(&block).is_some_and(idle) {
                self.discard(block);
            }
        }
    }

    /// A block that ran here has left its value in the store.
    pub(crate) fn keep(&mut self, block: Block, bytes: u64) {
        let wanted = self.stages.get(&block.0).is_some_and(|stage| !stage.dropped);
        if !wanted {
            self.effects.push(Effect::Discard(vec![block]));
            return;
        }
        self.age += 1;
        self.discard_accounts(block);
        self.memory += bytes;
        let held = Held { bytes, place: Place::Memory, pins: 0, used: self.age, copy: false, orphan: false };
        self.values.insert(block, held);
    }

    pub(crate) fn spill_ended(&mut self, block: Block, done: bool) {
        self.spilling -= 1;
        let Some(held) = self.values.get_mut(&block).filter(|held| held.place == Place::Spilling) else {
            // Forgotten in the meantime, or made anew: whoever waited for it will find out where it goes back to.
            return self.input_failed(block, self.settings.id);
        };
        self.spilling_bytes -= held.bytes;
        if !done {
            // It stays in memory; whoever needs room will ask again.
            held.place = Place::Memory;
            self.refused = true;
            let waiters = self.awaited.remove(&block).unwrap_or_default();
            return self.arrived(block, waiters);
        }
        self.memory -= held.bytes;
        self.spilled += held.bytes;
        self.stuck = 0;
        if held.pins > 0 {
            // A block that has begun in the meantime waits for it.
            held.place = Place::Loading;
            self.effects.push(Effect::Load(vec![block]));
        } else {
            held.place = Place::Disk;
            // Those that wait for another worker to send it go on: its arrival, or failure, is yet to come.
            if self.awaited.get(&block).is_some_and(Vec::is_empty) {
                self.awaited.remove(&block);
            }
        }
    }

    pub(crate) fn load_ended(&mut self, block: Block, done: bool) {
        match self.values.get_mut(&block) {
            Some(held) if held.place == Place::Loading && done => {
                if std::mem::take(&mut held.orphan) {
                    self.orphaned -= held.bytes;
                }
                held.place = Place::Memory;
                self.spilled -= held.bytes;
                self.memory += held.bytes;
                let waiters = self.awaited.remove(&block).unwrap_or_default();
                self.arrived(block, waiters);
            }
            Some(held) if held.place == Place::Loading => {
                self.discard(block);
                self.input_failed(block, self.settings.id);
            }
            // Forgotten in the meantime, or made anew, which those that wait will find out where they go back to.
            Some(_) | None => self.input_failed(block, self.settings.id),
        }
    }

    pub(crate) fn forget(&mut self, run: Blocks) {
        self.discard_where(run.stage, run.start, run.end);
    }

    pub(crate) fn discard_where(&mut self, stage: nuna_wire::StageKey, start: u64, end: u64) {
        self.forget_adoptions(stage, start, end);
        let gone: Vec<Block> =
            self.values.range((stage, start)..(stage, end)).map(|(&block, _)| block).collect();
        gone.into_iter().for_each(|block| self.discard(block));
    }

    pub(crate) fn discard(&mut self, block: Block) {
        self.discard_accounts(block);
        self.effects.push(Effect::Discard(vec![block]));
    }

    fn discard_accounts(&mut self, block: Block) {
        let Some(held) = self.values.remove(&block) else { return };
        // Room in memory or on disk.
        (self.refused, self.stuck) = (false, 0);
        if held.orphan {
            self.orphaned -= held.bytes;
        }
        match held.place {
            Place::Memory => self.memory -= held.bytes,
            Place::Spilling => {
                self.memory -= held.bytes;
                self.spilling_bytes -= held.bytes;
            }
            Place::Disk | Place::Loading => self.spilled -= held.bytes,
        }
        for begun in self.begun.values_mut() {
            if held.pins > 0 {
                begun.pinned.retain(|&pinned| pinned != block);
            }
        }
    }
}
