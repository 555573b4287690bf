//! Owns values that this worker takes over from one that leaves: it fetches them when it has the memory for them, keeps them as
//! its own, and says so. What it cannot take it refuses; somebody else does, or they are computed again.

use std::collections::{BTreeMap, btree_map::Entry};

use nuna_wire::{
    StageKey, WorkerId,
    message::{Blocks, FromWorker},
};

use crate::{Block, event::Effect, memory::Room, worker::Worker};

/// Values on their way at once, and the share of the memory that they are promised if it is more than one: blocks need the rest.
const COMING_MAX: usize = 256;
const COMING_SHARE: u64 = 8;

/// A value that another worker is to hand over.
pub(crate) struct Adoption {
    from: WorkerId,
    bytes: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// There was no memory for it yet.
    Waiting,
    /// On its way, into so many promised bytes: none if blocks that read it have promised them.
    Coming { reserved: u64 },
    /// The same, and nobody wants it any more.
    Unwanted { reserved: u64 },
}

impl Worker {
    pub(crate) fn asked_to_adopt(&mut self, blocks: Blocks, from: WorkerId, bytes: u64) {
        let known = self.stages.get(&blocks.stage).is_some_and(|stage| !stage.dropped);
        for block in (blocks.start..blocks.end).map(|block| (blocks.stage, block)) {
            if !known || self.draining || bytes > self.settings.memory_bytes / 2 {
                self.refused_adoptions.push(block);
                continue;
            }
            match self.adoptions.entry(block) {
                Entry::Vacant(entry) => {
                    entry.insert(Adoption { from, bytes, state: State::Waiting });
                    self.adoptions_waiting.push_back(block);
                }
                // It was forgotten on its way, and is wanted after all.
                Entry::Occupied(mut entry) => {
                    if let State::Unwanted { reserved } = entry.get().state {
                        entry.get_mut().state = State::Coming { reserved };
                    }
                }
            }
        }
    }

    /// Fetches what there is memory for.
    pub(crate) fn adopt(&mut self) {
        let mut fetch: BTreeMap<WorkerId, Vec<Block>> = BTreeMap::new();
        while self.adoptions_coming < COMING_MAX
            && let Some(&block) = self.adoptions_waiting.front()
        {
            let Some(adoption) = self.adoptions.get(&block).filter(|it| it.state == State::Waiting) else {
                self.adoptions_waiting.pop_front();
                continue;
            };
            let (from, bytes) = (adoption.from, adoption.bytes);
            if let Some(held) = self.values.get_mut(&block) {
                held.copy = false;
                self.adoptions.remove(&block);
                self.adopted.push(block);
            } else if self.awaited.contains_key(&block) {
                self.adoption_comes(block, 0);
            } else if self.has_room_for_adoption(bytes) {
                self.reserved += bytes;
                self.adoption_comes(block, bytes);
                self.awaited.insert(block, Vec::new());
                fetch.entry(from).or_default().push(block);
            } else {
                break;
            }
            self.adoptions_waiting.pop_front();
        }
        for (holder, blocks) in fetch {
            self.effects.push(Effect::Fetch { holder, blocks });
        }
    }

    fn adoption_comes(&mut self, block: Block, reserved: u64) {
        self.adoptions_coming += 1;
        self.adoptions_reserved += reserved;
        self.adoptions.get_mut(&block).expect("just looked at").state = State::Coming { reserved };
    }

    /// Never beyond the limit, and no more than a part of it at once.
    fn has_room_for_adoption(&mut self, bytes: u64) -> bool {
        let limit = self.settings.memory_bytes;
        (self.adoptions_reserved == 0 || self.adoptions_reserved + bytes <= limit / COMING_SHARE)
            && self.make_room(bytes) == Room::There
            && self.taken().saturating_add(bytes) <= limit
    }

    /// A value is here, or cannot be had. Whether it is to stay.
    pub(crate) fn adoption_ended(&mut self, block: Block) -> bool {
        let Some(adoption) = self.adoptions.get(&block) else { return false };
        let (reserved, wanted) = match adoption.state {
            State::Waiting => return false,
            State::Coming { reserved } => (reserved, true),
            State::Unwanted { reserved } => (reserved, false),
        };
        self.adoptions.remove(&block);
        self.adoptions_coming -= 1;
        self.adoptions_reserved -= reserved;
        self.reserved -= reserved;
        wanted
    }

    /// What values on their way are promised. Panics if they are not counted right.
    pub(crate) fn adoptions_promised(&self) -> u64 {
        let coming = self.adoptions.values().filter_map(|adoption| match adoption.state {
            State::Waiting => None,
            State::Coming { reserved } | State::Unwanted { reserved } => Some(reserved),
        });
        let coming: Vec<u64> = coming.collect();
        assert_eq!(self.adoptions_coming, coming.len(), "values on their way to stay");
        assert_eq!(self.adoptions_reserved, coming.iter().sum::<u64>(), "what they are promised");
        self.adoptions_reserved
    }

    /// Values of a stage that nobody wants any more.
    pub(crate) fn forget_adoptions(&mut self, stage: StageKey, start: u64, end: u64) {
        self.adoptions.retain(|&(of, block), adoption| {
            if of != stage || !(start..end).contains(&block) {
                return true;
            }
            match adoption.state {
                State::Waiting => false,
                State::Coming { reserved } | State::Unwanted { reserved } => {
                    adoption.state = State::Unwanted { reserved };
                    true
                }
            }
        });
    }

    /// This worker leaves itself.
    pub(crate) fn refuse_adoptions(&mut self) {
        self.adoptions_waiting.clear();
        let waiting = self.adoptions.extract_if(.., |_, adoption| adoption.state == State::Waiting);
        self.refused_adoptions.extend(waiting.map(|(block, _)| block));
    }

    /// Says what has been taken over, and what will not be.
    pub(crate) fn report_adoptions(&mut self) {
        for (stage, runs) in by_stage(std::mem::take(&mut self.adopted)) {
            self.effects.push(Effect::Send(FromWorker::Adopted { stage, runs }));
        }
        for (stage, runs) in by_stage(std::mem::take(&mut self.refused_adoptions)) {
            self.effects.push(Effect::Send(FromWorker::NotAdopted { stage, runs }));
        }
    }
}

fn by_stage(mut blocks: Vec<Block>) -> BTreeMap<StageKey, Vec<(u64, u64)>> {
    blocks.sort_unstable();
    let mut stages: BTreeMap<StageKey, Vec<(u64, u64)>> = BTreeMap::new();
    for (stage, block) in blocks {
        let runs = stages.entry(stage).or_default();
        match runs.last_mut() {
            Some((_, end)) if *end == block => *end += 1,
            Some(_) | None => runs.push((block, block + 1)),
        }
    }
    stages
}
