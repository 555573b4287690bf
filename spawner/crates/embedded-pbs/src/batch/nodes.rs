//! Owns the room on nodes: what is free, whether a chunk fits, and which slot it gets.

use crate::{
    job::PlacedChunk,
    resources::{SelectChunk, parse_size_kb},
    settings::NodeSettings,
};

/// What is left of a node.
#[derive(Clone, Debug)]
pub(super) struct FreeNode {
    pub(super) name: String,
    pub(super) ncpus: u32,
    pub(super) mem_kb: u64,
    /// Slots in use, so that `exec_host` names a free one.
    slots: Vec<u32>,
}

impl FreeNode {
    pub(super) fn empty(node: &NodeSettings) -> Self {
        Self {
            name: node.name.clone(),
            ncpus: node.ncpus,
            mem_kb: parse_size_kb(&node.mem).unwrap_or(0),
            slots: Vec::new(),
        }
    }

    pub(super) fn fits(&self, chunk: &SelectChunk) -> bool {
        self.ncpus >= chunk.ncpus && self.mem_kb >= chunk.mem_kb.unwrap_or(0)
    }

    pub(super) fn take(&mut self, chunk: &SelectChunk) -> PlacedChunk {
        let slot = (0..).find(|slot| !self.slots.contains(slot)).expect("the numbers do not run out");
        let placed = PlacedChunk {
            node: self.name.clone(),
            slot,
            ncpus: chunk.ncpus,
            mem_kb: chunk.mem_kb,
            mpiprocs: chunk.mpiprocs,
        };
        self.give_away(&placed);
        placed
    }

    pub(super) fn give_away(&mut self, chunk: &PlacedChunk) {
        self.ncpus = self.ncpus.saturating_sub(chunk.ncpus);
        self.mem_kb = self.mem_kb.saturating_sub(chunk.mem_kb.unwrap_or(0));
        self.slots.push(chunk.slot);
    }
}
