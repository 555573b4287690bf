//! Owns a worker's process as the simulation has it: the state machine, with threads, a store and a disk around it that
//! do things one after another, as `runtime/src/worker/driver.rs` does. What a thread or the disk has done shows in the
//! store at once, and reaches the state machine only when the driver wakes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    rc::Rc,
};

use nuna_plan::{TaskError, Value};
use nuna_wire::{
    StageKey, WorkerId,
    message::{Completed, StageDefinition, ToWorker},
};
use nuna_worker::{Block, Event, Worker};

use crate::{
    agenda::Time,
    jobs::{VALUE_BYTES, compute},
};

/// How a block ended on its thread.
pub(crate) enum Ended {
    Value { kept: bool, inline: Option<u64>, duration_us: u32 },
    Failed(TaskError),
    InputGone(Block),
    Skipped,
}

pub(crate) struct Done {
    pub(crate) block: Block,
    pub(crate) ended: Ended,
}

/// What a thread is about to do: the value it will have computed, or why it cannot.
pub(crate) enum Started {
    Computing(u64),
    Over(Ended),
}

#[derive(Clone, Copy)]
struct Stored {
    value: u64,
    on_disk: bool,
}

pub(crate) struct Machine {
    pub(crate) id: WorkerId,
    pub(crate) core: Worker,
    pub(crate) memory_bytes: u64,
    pub(crate) threads: u16,
    pub(crate) threads_free: u16,
    /// Groups of blocks that wait for a thread.
    pub(crate) pool: VecDeque<(StageKey, u64, u64)>,
    pub(crate) definitions: HashMap<StageKey, Rc<StageDefinition>>,
    pub(crate) dropped: HashSet<StageKey>,
    store: HashMap<Block, Stored>,
    in_memory: u64,
    /// Outputs and scratch of the blocks that run.
    pub(crate) running_bytes: u64,
    /// Peers whose addresses it was told.
    pub(crate) peers: BTreeSet<WorkerId>,
    pub(crate) messages: VecDeque<ToWorker>,
    pub(crate) arrived: VecDeque<Event>,
    pub(crate) done: Vec<Done>,
    pub(crate) waking: bool,
    pub(crate) last_heard: Time,
    /// Its scheduler is lost, and it is not back at another.
    pub(crate) away: bool,
    /// What it has to report then.
    pub(crate) unsent: Vec<nuna_scheduler::Event>,
    /// When it begins to drain.
    pub(crate) lasts_until: Option<Time>,
    /// Another was started that takes its place.
    pub(crate) replaced: bool,
    pub(crate) disk_factor: u64,
    pub(crate) disk_fails_permille: u32,
}

impl Machine {
    pub(crate) fn new(id: WorkerId, threads: u16, memory_bytes: u64, now: Time) -> Self {
        let settings = nuna_worker::Settings { id, threads, memory_bytes, value_bytes: 0 };
        Self {
            id,
            core: Worker::new(settings),
            memory_bytes,
            threads,
            threads_free: threads,
            pool: VecDeque::new(),
            definitions: HashMap::new(),
            dropped: HashSet::new(),
            store: HashMap::new(),
            in_memory: 0,
            running_bytes: 0,
            peers: BTreeSet::new(),
            messages: VecDeque::new(),
            arrived: VecDeque::new(),
            done: Vec::new(),
            waking: false,
            last_heard: now,
            away: false,
            unsent: Vec::new(),
            lasts_until: None,
            replaced: false,
            disk_factor: 1,
            disk_fails_permille: 0,
        }
    }

    /// What the driver does with a message before the state machine hears of it.
    pub(crate) fn receive(&mut self, message: ToWorker) -> Option<Event> {
        match message {
            ToWorker::Define(definition) => {
                self.dropped.remove(&definition.key);
                self.definitions.insert(definition.key, Rc::new((*definition).clone()));
                Some(Event::Define(definition))
            }
            ToWorker::Lease { blocks, inputs } => Some(Event::Lease { blocks, inputs }),
            ToWorker::Forget(runs) => Some(Event::Forget(runs)),
            ToWorker::Drop(stages) => {
                self.dropped.extend(stages.iter().filter(|stage| self.definitions.contains_key(stage)));
                Some(Event::Drop(stages))
            }
            ToWorker::Adopt { blocks, from, bytes } => Some(Event::Adopt { blocks, from, bytes }),
            ToWorker::Reclaim { stage, count } => Some(Event::Reclaim { stage, count }),
            ToWorker::Peers(peers) => {
                self.peers.extend(peers.iter().map(|&(id, _)| id));
                None
            }
            ToWorker::Drain => Some(Event::Drain { reason: "it was asked to".into() }),
            ToWorker::Library(_) | ToWorker::Heartbeat | ToWorker::ShutDown => None,
        }
    }

    /// A thread turns to a block: it reads its inputs now.
    pub(crate) fn start(&self, block: Block) -> Started {
        let definition = self.definitions.get(&block.0).expect("stages stay until nothing of them runs");
        if self.dropped.contains(&block.0) {
            return Started::Over(Ended::Skipped);
        }
        let mut inputs = Vec::new();
        for (input, &source) in definition.stage.inputs.iter().zip(&definition.inputs) {
            for read in input.map.read_indices(&definition.stage.grid, block.1) {
                match self.store.get(&(source, read)) {
                    Some(stored) => inputs.push(stored.value),
                    None => return Started::Over(Ended::InputGone((source, read))),
                }
            }
        }
        Started::Computing(compute(block.1, inputs))
    }

    pub(crate) fn insert(&mut self, block: Block, value: u64) {
        let before = self.store.insert(block, Stored { value, on_disk: false });
        if before.is_none_or(|before| before.on_disk) {
            self.in_memory += VALUE_BYTES;
        }
    }

    /// What is there stays where it is.
    pub(crate) fn insert_fetched(&mut self, block: Block, value: u64) {
        if !self.store.contains_key(&block) {
            self.insert(block, value);
        }
    }

    pub(crate) fn remove(&mut self, blocks: &[Block]) {
        for block in blocks {
            if self.store.remove(block).is_some_and(|stored| !stored.on_disk) {
                self.in_memory -= VALUE_BYTES;
            }
        }
    }

    pub(crate) fn get(&self, block: Block) -> Option<u64> {
        self.store.get(&block).map(|stored| stored.value)
    }

    /// False if there is nothing to write, or the disk fails.
    pub(crate) fn spill(&mut self, block: Block, fails: bool) -> bool {
        let Some(stored) = self.store.get_mut(&block).filter(|stored| !stored.on_disk) else { return false };
        if !fails {
            stored.on_disk = true;
            self.in_memory -= VALUE_BYTES;
        }
        !fails
    }

    /// False if it is not there, or the disk fails.
    pub(crate) fn load(&mut self, block: Block, fails: bool) -> bool {
        let Some(stored) = self.store.get_mut(&block) else { return false };
        if fails {
            return false;
        }
        if std::mem::take(&mut stored.on_disk) {
            self.in_memory += VALUE_BYTES;
        }
        true
    }

    /// Panics if more memory is taken up than the worker may use. One whose disk fails has no other place to go.
    pub(crate) fn assert_within_memory(&self) {
        if self.disk_fails_permille > 0 {
            return;
        }
        let usage = self.core.usage();
        let taken = self.in_memory + self.running_bytes;
        assert!(
            taken <= self.memory_bytes,
            "{} takes up {taken} bytes ({} of values, {} of running blocks) of {}: {usage:?}",
            self.id,
            self.in_memory,
            self.running_bytes,
            self.memory_bytes
        );
    }

    /// Panics if anything is left of computations that are over.
    pub(crate) fn assert_empty(&self) {
        let stored: Vec<&Block> = self.store.keys().collect();
        assert!(stored.is_empty(), "{} still stores {stored:?}", self.id);
        assert_eq!(self.core.usage(), nuna_worker::Usage::default(), "{}", self.id);
        let stages: BTreeMap<_, _> = self.definitions.iter().collect();
        assert!(
            stages.is_empty() && self.dropped.is_empty(),
            "{} still has stages {:?}",
            self.id,
            stages.keys()
        );
    }
}

/// A completed block as the driver reports it.
pub(crate) fn completed(block: u64, inline: Option<u64>, duration_us: u32) -> (Completed, Option<Value>) {
    let value = inline.map(|number| Value {
        header: bytes::Bytes::new(),
        body: bytes::Bytes::copy_from_slice(&number.to_le_bytes()),
    });
    let completed = Completed {
        block,
        bytes: VALUE_BYTES,
        start_us: 0,
        duration_us,
        thread: 0,
        read_bytes: 0,
        inline: None,
    };
    (completed, value)
}
