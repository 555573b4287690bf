//! Owns the proof that the worker's collections agree, for tests and the simulation.

use std::collections::HashMap;

use crate::{
    Block,
    memory::Place,
    worker::{Stage, Worker},
};

impl Worker {
    /// Panics if two collections disagree about a value or a block. Holds between any two events.
    pub fn assert_consistent(&self) {
        let bytes = |places: &[Place]| -> u64 {
            let there = self.values.values().filter(|held| places.contains(&held.place));
            there.map(|held| held.bytes).sum()
        };
        assert_eq!(self.memory, bytes(&[Place::Memory, Place::Spilling]), "bytes in memory");
        assert_eq!(self.spilled, bytes(&[Place::Disk, Place::Loading]), "bytes on disk");
        assert_eq!(self.spilling_bytes, bytes(&[Place::Spilling]), "bytes that are being written");
        let orphans: u64 = self.values.values().filter(|held| held.orphan).map(|held| held.bytes).sum();
        assert_eq!(self.orphaned, orphans, "bytes read for blocks that are gone");
        let idle: u64 = self.idle_copies.iter().map(|copy| copy.bytes).sum();
        assert_eq!(self.idle_copies_bytes, idle, "bytes of copies that nobody reads");
        let promised: u64 = self.begun.values().map(|begun| begun.reserved).sum();
        assert_eq!(self.reserved, promised + self.adoptions_promised(), "promised bytes");
        self.assert_pins();
        self.assert_waiting();
        let last = self.begun.values().filter(|begun| begun.last).count();
        assert_eq!(self.under_way, last, "groups under way");
        assert_eq!(self.under_way, self.stages.values().map(|stage| stage.under_way).sum::<usize>());
        let queued = |stage: &&Stage| !stage.queue.is_empty();
        assert_eq!(
            self.queue.len(),
            self.stages.values().filter(queued).count(),
            "stages with blocks to begin"
        );
    }

    fn assert_pins(&self) {
        let mut pins: HashMap<Block, u32> = HashMap::new();
        for value in self.begun.values().flat_map(|begun| &begun.pinned) {
            *pins.entry(*value).or_default() += 1;
        }
        for (value, held) in &self.values {
            assert_eq!(held.pins, pins.remove(value).unwrap_or(0), "{value:?} stays for so many blocks");
        }
        assert!(pins.is_empty(), "blocks read what is gone: {pins:?}");
    }

    /// Every block that gathers waits for as many values as it misses.
    fn assert_waiting(&self) {
        let mut waits: HashMap<Block, usize> = HashMap::new();
        for block in self.awaited.values().flatten() {
            *waits.entry(*block).or_default() += 1;
        }
        for (block, gathering) in &self.gathering {
            assert!(self.begun.contains_key(block), "{block:?} gathers and has not begun");
            assert_eq!(waits.remove(block), Some(gathering.missing), "{block:?} waits for so many values");
        }
        assert!(waits.is_empty(), "blocks wait that do not gather: {waits:?}");
    }
}
