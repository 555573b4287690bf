//! Owns the worker's interface: what may happen, and what is to be done about it.

use nuna_wire::{
    StageKey, WorkerId,
    message::{Blocks, FromWorker, Located, StageDefinition},
};

use crate::Block;

#[derive(Clone, Debug)]
pub struct Settings {
    /// This worker's own id.
    pub id: WorkerId,
    pub threads: u16,
    /// What values and running blocks may take up together.
    pub memory_bytes: u64,
    /// What it costs to know a value, wherever it is; part of the memory too.
    pub value_bytes: u64,
}

#[derive(Clone, Debug)]
pub enum Event {
    Define(Box<StageDefinition>),
    Lease {
        blocks: Blocks,
        inputs: Vec<Located>,
    },
    /// Give back what has not begun, and whatever is still leased from now on.
    Drain {
        reason: String,
    },
    /// Take over values of a worker that leaves, each of about so many bytes.
    Adopt {
        blocks: Blocks,
        from: WorkerId,
        bytes: u64,
    },
    Forget(Vec<Blocks>),
    Drop(Vec<StageKey>),
    Reclaim {
        stage: StageKey,
        count: u64,
    },
    /// A value of a peer has arrived.
    Fetched {
        block: Block,
        bytes: u64,
    },
    /// The peer does not have it, or cannot be reached.
    FetchFailed {
        block: Block,
        holder: WorkerId,
    },
    /// A block has run. `kept` if its value is in the store.
    Finished {
        block: Block,
        bytes: u64,
        duration_us: u32,
        kept: bool,
    },
    /// A block has failed, or was given back because an input was gone when it began.
    Stopped {
        block: Block,
    },
    /// A value is on disk, no longer in memory; or could not be written.
    Spilled {
        block: Block,
        done: bool,
    },
    /// Disks that refused a value may be asked again.
    SpillAgain,
    /// A value is back in memory; or could not be read, and is lost.
    Loaded {
        block: Block,
        done: bool,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Run these blocks one after another, on one thread.
    Run {
        stage: StageKey,
        start: u64,
        end: u64,
    },
    Fetch {
        holder: WorkerId,
        blocks: Vec<Block>,
    },
    Spill(Vec<Block>),
    Load(Vec<Block>),
    /// The block cannot begin here, now or later: values that no disk takes fill the memory.
    NoRoom(Block),
    /// Values to be removed from the store, wherever they are.
    Discard(Vec<Block>),
    /// A stage is over: nothing of it will run again.
    Close(StageKey),
    Send(FromWorker),
}
