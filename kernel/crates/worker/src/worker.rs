//! Owns the worker's state and its one entry, and which block begins next.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use nuna_plan::RangeSet;
use nuna_wire::{
    StageKey, WorkerId,
    message::{Blocks, FromWorker, Located, StageDefinition},
};

use crate::{
    Block,
    adopt::Adoption,
    event::{Effect, Event, Settings},
    gather::Gathering,
    memory::{Held, IdleCopy, Place, Room},
};

/// Short blocks that read nothing are run in groups of about this length.
const GROUP_US: f64 = 1_000.0;
const GROUP_BLOCKS_MAX: f64 = 512.0;
/// Blocks that are under way at once, per thread: one runs, others wait for a thread or for inputs.
const AHEAD: usize = 3;
/// The same where blocks take less than a millisecond.
const AHEAD_SHORT: usize = 32;

pub(crate) struct Stage {
    pub(crate) definition: StageDefinition,
    /// Leased, not begun.
    pub(crate) queue: RangeSet,
    /// Groups of blocks handed to threads, or waiting for inputs.
    pub(crate) under_way: usize,
    pub(crate) mean_us: Option<f64>,
    /// Goes away when nothing of it runs any more.
    pub(crate) dropped: bool,
}

/// A block that has begun: it waits for inputs, for a thread, or runs.
pub(crate) struct Begun {
    pub(crate) reserved: u64,
    /// Values that must stay in memory for it.
    pub(crate) pinned: Vec<Block>,
    /// The last of its group: when it is done, its thread is free.
    pub(crate) last: bool,
}

/// Decides. See the crate's documentation.
pub struct Worker {
    pub(crate) settings: Settings,
    pub(crate) stages: BTreeMap<StageKey, Stage>,
    /// Stages with blocks to begin, most urgent last.
    pub(crate) queue: BTreeSet<(u32, std::cmp::Reverse<StageKey>)>,
    pub(crate) begun: HashMap<Block, Begun>,
    pub(crate) gathering: BTreeMap<Block, Gathering>,
    /// Inputs on their way, with the blocks that wait for them.
    pub(crate) awaited: BTreeMap<Block, Vec<Block>>,
    /// Where inputs are that are not here.
    pub(crate) located: BTreeMap<StageKey, BTreeMap<u64, (u64, WorkerId)>>,
    pub(crate) values: BTreeMap<Block, Held>,
    /// Values in memory.
    pub(crate) memory: u64,
    pub(crate) spilled: u64,
    /// Promised to blocks that have begun.
    pub(crate) reserved: u64,
    pub(crate) spilling: usize,
    /// A disk has refused a value: no more are sent there before [`Event::SpillAgain`].
    pub(crate) refused: bool,
    /// How often in a row that came, and nothing could begin nor be written since.
    pub(crate) stuck: u32,
    /// Of values that are being written, and still in memory.
    pub(crate) spilling_bytes: u64,
    /// Of values that will be in memory once they are read, for blocks that are gone and took their promises along.
    pub(crate) orphaned: u64,
    /// Groups of blocks under way.
    pub(crate) under_way: usize,
    pub(crate) age: u64,
    /// Used longest ago first; some of them were read again since, or are gone.
    pub(crate) idle_copies: VecDeque<IdleCopy>,
    pub(crate) idle_copies_bytes: u64,
    /// Bytes of copies that the block that ended last read, unless one ended lately that read more.
    pub(crate) copies_read: u64,
    /// Values that are to be taken over from workers that leave.
    pub(crate) adoptions: BTreeMap<Block, Adoption>,
    /// Those for which there was no memory, in order; some are wanted no more.
    pub(crate) adoptions_waiting: VecDeque<Block>,
    /// Those on their way, and what they are promised.
    pub(crate) adoptions_coming: usize,
    pub(crate) adoptions_reserved: u64,
    /// To be reported at the end of the event.
    pub(crate) adopted: Vec<Block>,
    pub(crate) refused_adoptions: Vec<Block>,
    /// It takes no more blocks.
    pub(crate) draining: bool,
    pub(crate) effects: Vec<Effect>,
}

/// What a worker's memory is used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub memory_bytes: u64,
    pub spilled_bytes: u64,
    pub reserved_bytes: u64,
    pub blocks_queued: u64,
    pub blocks_begun: usize,
}

impl Worker {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            stages: BTreeMap::new(),
            queue: BTreeSet::new(),
            begun: HashMap::new(),
            gathering: BTreeMap::new(),
            awaited: BTreeMap::new(),
            located: BTreeMap::new(),
            values: BTreeMap::new(),
            memory: 0,
            spilled: 0,
            reserved: 0,
            spilling: 0,
            refused: false,
            stuck: 0,
            spilling_bytes: 0,
            orphaned: 0,
            under_way: 0,
            age: 0,
            idle_copies: VecDeque::new(),
            idle_copies_bytes: 0,
            copies_read: 0,
            adoptions: BTreeMap::new(),
            adoptions_waiting: VecDeque::new(),
            adoptions_coming: 0,
            adoptions_reserved: 0,
            adopted: Vec::new(),
            refused_adoptions: Vec::new(),
            draining: false,
            effects: Vec::new(),
        }
    }

    /// Applies events that happened together. Effects are returned in the order they must be carried out.
    pub fn handle(&mut self, events: impl IntoIterator<Item = Event>) -> Vec<Effect> {
        for event in events {
            self.apply(event);
        }
        self.adopt();
        self.begin();
        self.report_adoptions();
        std::mem::take(&mut self.effects)
    }

    pub fn usage(&self) -> Usage {
        Usage {
            memory_bytes: self.memory,
            spilled_bytes: self.spilled,
            reserved_bytes: self.reserved,
            blocks_queued: self.stages.values().map(|stage| stage.queue.len()).sum(),
            blocks_begun: self.begun.len(),
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Define(definition) => {
                let stage = Stage {
                    definition: *definition,
                    queue: RangeSet::new(),
                    under_way: 0,
                    mean_us: None,
                    dropped: false,
                };
                self.stages.insert(stage.definition.key, stage);
            }
            Event::Lease { blocks, inputs } => self.lease(blocks, &inputs),
            Event::Drain { reason } => self.drain(reason),
            Event::Adopt { blocks, from, bytes } => self.asked_to_adopt(blocks, from, bytes),
            Event::Forget(runs) => runs.into_iter().for_each(|run| self.forget(run)),
            Event::Drop(stages) => stages.into_iter().for_each(|stage| self.drop_stage(stage)),
            Event::Reclaim { stage, count } => self.reclaim(stage, count),
            Event::Fetched { block, bytes } => self.fetched(block, bytes),
            Event::FetchFailed { block, holder } => self.input_failed(block, holder),
            Event::Finished { block, bytes, duration_us, kept } => {
                if let Some(stage) = self.stages.get_mut(&block.0) {
                    let took = f64::from(duration_us);
                    stage.mean_us = Some(stage.mean_us.map_or(took, |mean| mean.mul_add(0.8, 0.2 * took)));
                }
                self.end(block);
                if kept {
                    self.keep(block, bytes);
                }
            }
            Event::Stopped { block } => self.end(block),
            Event::Spilled { block, done } => self.spill_ended(block, done),
            Event::Loaded { block, done } => self.load_ended(block, done),
            Event::SpillAgain => {
                self.stuck += u32::from(self.refused);
                self.refused = false;
            }
        }
    }

    fn lease(&mut self, blocks: Blocks, inputs: &[Located]) {
        for located in inputs {
            let Blocks { stage, start, end } = located.blocks;
            self.locate(stage, start, end, located.worker);
        }
        let stage = self.stages.get_mut(&blocks.stage).expect("stages are defined before they are leased");
        if self.draining {
            let runs = vec![(blocks.start, blocks.end)];
            self.effects.push(Effect::Send(FromWorker::Reclaimed { stage: blocks.stage, runs }));
            return;
        }
        stage.queue.insert(blocks.start..blocks.end);
        self.queue.insert((stage.definition.priority, std::cmp::Reverse(blocks.stage)));
    }

    fn reclaim(&mut self, key: StageKey, count: u64) {
        let mut runs = Vec::new();
        if let Some(stage) = self.stages.get_mut(&key) {
            let mut left = count;
            while let Some(run) = stage.queue.take_last(left) {
                left -= run.end - run.start;
                runs.push((run.start, run.end));
            }
            self.unqueue_if_empty(key);
        }
        self.effects.push(Effect::Send(FromWorker::Reclaimed { stage: key, runs }));
    }

    fn drain(&mut self, reason: String) {
        if self.draining {
            return;
        }
        self.draining = true;
        self.refuse_adoptions();
        let queued: Vec<StageKey> = self.queue.iter().map(|&(_, std::cmp::Reverse(key))| key).collect();
        for key in queued {
            self.reclaim(key, u64::MAX);
        }
        self.effects.push(Effect::Send(FromWorker::Draining { reason }));
    }

    fn unqueue_if_empty(&mut self, key: StageKey) {
        if let Some(stage) = self.stages.get(&key)
            && stage.queue.is_empty()
        {
            self.queue.remove(&(stage.definition.priority, std::cmp::Reverse(key)));
        }
    }

    fn drop_stage(&mut self, key: StageKey) {
        self.located.remove(&key);
        self.discard_where(key, 0, u64::MAX);
        let Some(stage) = self.stages.get_mut(&key) else { return };
        stage.queue = RangeSet::new();
        stage.dropped = true;
        self.unqueue_if_empty(key);
        let waiting: Vec<Block> =
            self.gathering.range((key, 0)..=(key, u64::MAX)).map(|(&block, _)| block).collect();
        for block in waiting {
            self.gathering.remove(&block);
            for waiters in self.awaited.values_mut() {
                waiters.retain(|&waiter| waiter != block);
            }
            self.end(block);
        }
        self.close_if_over(key);
    }

    /// A block that had begun is over, however it ended.
    pub(crate) fn end(&mut self, block: Block) {
        let Some(begun) = self.begun.remove(&block) else { return };
        self.reserved -= begun.reserved;
        let copies = begun.pinned.iter().filter_map(|value| self.values.get(value)).filter(|held| held.copy);
        let copies: u64 = copies.map(|held| held.bytes).sum();
        // Blocks that read more matter for a while.
        self.copies_read = copies.max(self.copies_read - self.copies_read / 8);
        for value in begun.pinned {
            if let Some(held) = self.values.get_mut(&value) {
                held.pins -= 1;
                if held.pins == 0 && held.copy {
                    let copy = IdleCopy { block: value, used: held.used, bytes: held.bytes };
                    self.idle_copy(copy);
                    continue;
                }
                if held.pins == 0 && held.place == Place::Loading && !held.orphan {
                    held.orphan = true;
                    self.orphaned += held.bytes;
                }
            }
        }
        if begun.last {
            self.under_way -= 1;
            if let Some(stage) = self.stages.get_mut(&block.0) {
                stage.under_way -= 1;
            }
        }
        self.close_if_over(block.0);
    }

    fn close_if_over(&mut self, key: StageKey) {
        if self.stages.get(&key).is_some_and(|stage| stage.dropped && stage.under_way == 0) {
            self.stages.remove(&key);
            self.effects.push(Effect::Close(key));
        }
    }

    /// Begins what threads and memory allow, the most urgent first.
    fn begin(&mut self) {
        while let Some(&(_, std::cmp::Reverse(key))) = self.queue.last() {
            let threads = usize::from(self.settings.threads.max(1));
            let stage = &self.stages[&key];
            let short = stage.mean_us.is_some_and(|mean| mean < 1_000.0);
            let reads = !stage.definition.inputs.is_empty();
            let ahead = if reads && short { AHEAD_SHORT } else { AHEAD };
            if self.under_way >= threads * ahead {
                return;
            }
            let need = stage.definition.stage.bound.total();
            let group = match stage.mean_us {
                Some(mean) if !reads => (GROUP_US / mean.max(0.5)).clamp(1.0, GROUP_BLOCKS_MAX) as u64,
                Some(_) | None => 1,
            };
            // No group so large that it takes a noticeable part of the memory.
            let group =
                group.min((self.settings.memory_bytes / 64).checked_div(need).unwrap_or(u64::MAX)).max(1);
            match self.make_room(need.saturating_mul(group)) {
                Room::There => {}
                Room::Later => return,
                Room::Never => {
                    let stage = self.stages.get_mut(&key).expect("just looked at");
                    if let Some(run) = stage.queue.take_first(1) {
                        self.effects.push(Effect::NoRoom((key, run.start)));
                    }
                    self.unqueue_if_empty(key);
                    // What is given up may free memory: the others wait for that.
                    self.stuck = 0;
                    return;
                }
            }
            let stage = self.stages.get_mut(&key).expect("just looked at");
            let Some(run) = stage.queue.take_first(group) else {
                self.unqueue_if_empty(key);
                continue;
            };
            stage.under_way += 1;
            self.under_way += 1;
            self.unqueue_if_empty(key);
            for block in run.clone() {
                let begun = Begun { reserved: need, pinned: Vec::new(), last: block + 1 == run.end };
                self.reserved += need;
                self.begun.insert((key, block), begun);
            }
            if reads {
                self.gather((key, run.start));
            } else {
                self.effects.push(Effect::Run { stage: key, start: run.start, end: run.end });
            }
        }
    }
}
