//! Owns the book-keeping of one stage: the state of each block, who has it, and which blocks may run.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use nuna_plan::{AxisMap, BlockMap, HeldId, Keep, RangeSet, Stage};
use nuna_wire::{StageKey, WorkerId, message::Blocks};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum BlockState {
    /// Some of its inputs are not stored.
    Waiting,
    /// In [`StageState::ready`].
    Ready,
    /// With the worker in `holders`.
    Leased,
    /// Done; its value is with the worker in `holders`.
    Stored,
    /// Done; nobody needs its value any more.
    Finished,
}

impl BlockState {
    pub(crate) fn is_done(self) -> bool {
        match self {
            BlockState::Stored | BlockState::Finished => true,
            BlockState::Waiting | BlockState::Ready | BlockState::Leased => false,
        }
    }
}

/// Readers of a held value are not counted.
pub(crate) const UNCOUNTED: u32 = u32::MAX;

pub(crate) struct StageState {
    pub(crate) key: StageKey,
    pub(crate) computation: u32,
    /// Its number in the plan.
    pub(crate) index: u32,
    pub(crate) stage: Stage,
    /// What `stage.inputs` read.
    pub(crate) inputs: Vec<StageKey>,
    /// Which stages read this one, and as which of their inputs; those of later plans too.
    pub(crate) consumers: Vec<(StageKey, usize)>,
    /// Set until the values are released.
    pub(crate) held: Option<HeldId>,
    pub(crate) priority: u32,
    pub(crate) states: Vec<BlockState>,
    /// Leased and stored blocks: with whom. Meaningless for others.
    pub(crate) holders: Vec<WorkerId>,
    /// Waiting blocks: inputs that are not stored, or 0 while none has been looked at. Stored blocks: readers that
    /// are not done. Empty if the stage neither reads nor is read.
    counts: Vec<u32>,
    /// Blocks that the client has, one bit each. Empty unless the stage delivers.
    delivered: Vec<u64>,
    /// Stored blocks that the client was told to fetch.
    pub(crate) offered: BTreeSet<u64>,
    pub(crate) ready: Ready,
    pub(crate) done: u64,
    /// Failed attempts of blocks that may be tried again.
    pub(crate) attempts: BTreeMap<u64, u32>,
    /// Workers lost around a block.
    pub(crate) losses: BTreeMap<u64, u32>,
    /// How often a value was not to be had where it is, since somebody last read it.
    pub(crate) missing: BTreeMap<u64, u32>,
    /// Workers that had to leave before they had done a block.
    pub(crate) cut_short: BTreeMap<u64, u32>,
    /// Of recent blocks.
    pub(crate) mean_us: Option<f64>,
    /// What the slowest of recent blocks took: nearly all take less.
    pub(crate) slow_us: f64,
    pub(crate) stored_count: u64,
    pub(crate) stored_bytes: u64,
    /// Workers that have its definition.
    pub(crate) defined: BTreeSet<WorkerId>,
    /// Workers that may have copies of its values.
    pub(crate) copies: BTreeSet<WorkerId>,
}

impl StageState {
    pub(crate) fn new(
        key: StageKey,
        computation: u32,
        index: u32,
        priority: u32,
        stage: Stage,
        inputs: Vec<StageKey>,
    ) -> Self {
        let count = stage.grid.count() as usize;
        let held = match stage.keep {
            Keep::Hold(id) => Some(id),
            Keep::No | Keep::Deliver => None,
        };
        let deliver = matches!(stage.keep, Keep::Deliver);
        Self {
            key,
            computation,
            index,
            priority,
            states: vec![BlockState::Waiting; count],
            holders: vec![WorkerId(0); count],
            counts: if inputs.is_empty() && held.is_none() { Vec::new() } else { vec![0; count] },
            delivered: if deliver { vec![0; count.div_ceil(64)] } else { Vec::new() },
            offered: BTreeSet::new(),
            ready: Ready::default(),
            done: 0,
            attempts: BTreeMap::new(),
            losses: BTreeMap::new(),
            missing: BTreeMap::new(),
            cut_short: BTreeMap::new(),
            mean_us: None,
            slow_us: 0.0,
            stored_count: 0,
            stored_bytes: 0,
            defined: BTreeSet::new(),
            copies: BTreeSet::new(),
            consumers: Vec::new(),
            held,
            stage,
            inputs,
        }
    }

    pub(crate) fn block_count(&self) -> u64 {
        self.states.len() as u64
    }

    pub(crate) fn state(&self, block: u64) -> BlockState {
        self.states[block as usize]
    }

    pub(crate) fn set_state(&mut self, block: u64, state: BlockState) {
        self.states[block as usize] = state;
    }

    pub(crate) fn holder(&self, block: u64) -> WorkerId {
        self.holders[block as usize]
    }

    pub(crate) fn count(&self, block: u64) -> u32 {
        self.counts.get(block as usize).copied().unwrap_or(0)
    }

    pub(crate) fn set_count(&mut self, block: u64, count: u32) {
        if self.counts.is_empty() {
            if count == 0 {
                return;
            }
            self.counts = vec![0; self.states.len()];
        }
        self.counts[block as usize] = count;
    }

    pub(crate) fn delivers(&self) -> bool {
        matches!(self.stage.keep, Keep::Deliver)
    }

    pub(crate) fn is_delivered(&self, block: u64) -> bool {
        !self.delivers() || self.delivered[block as usize / 64] >> (block % 64) & 1 == 1
    }

    pub(crate) fn set_delivered(&mut self, block: u64) {
        self.delivered[block as usize / 64] |= 1 << (block % 64);
    }

    /// Whether workers keep the values when they have them.
    pub(crate) fn retains(&self) -> bool {
        self.held.is_some() || !self.consumers.is_empty()
    }

    pub(crate) fn run(&self, blocks: Range<u64>) -> Blocks {
        Blocks { stage: self.key, start: blocks.start, end: blocks.end }
    }

    /// `name[1, 0]`.
    pub(crate) fn task(&self, block: u64) -> String {
        let coords: Vec<String> = self.stage.grid.coords(block).iter().map(u64::to_string).collect();
        format!("{}[{}]", self.stage.name, coords.join(", "))
    }

    /// How many blocks block `block` reads, of all inputs.
    pub(crate) fn read_total(&self, block: u64) -> u32 {
        let total: u64 =
            self.stage.inputs.iter().map(|input| input.map.read_count(&self.stage.grid, block)).sum();
        u32::try_from(total).expect("a block reads fewer than 2^32 blocks, as stages have no more")
    }

    /// Whether every block reads at least one other, as far as the maps tell without going through all blocks.
    pub(crate) fn surely_reads(&self) -> bool {
        self.stage.inputs.iter().any(|input| match &input.map {
            BlockMap::Same => true,
            BlockMap::Axes { input_grid, axes } => {
                let output = self.stage.grid.shape();
                axes.iter().zip(input_grid.shape()).all(|(axis, &blocks)| match axis {
                    AxisMap::All => blocks > 0,
                    AxisMap::Fixed { start, end } => *start < (*end).min(blocks),
                    AxisMap::Along { axis, offset } => *offset == 0 && output[*axis as usize] <= blocks,
                    AxisMap::Group { axis, size } => {
                        *size > 0 && output[*axis as usize].saturating_sub(1).saturating_mul(*size) < blocks
                    }
                    AxisMap::Overlap { .. } => false,
                })
            }
        })
    }
}

/// The blocks of a stage that may run, each with the worker that has most of what it reads.
#[derive(Default)]
pub(crate) struct Ready {
    by_worker: BTreeMap<Option<WorkerId>, RangeSet>,
    len: u64,
}

impl Ready {
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn insert(&mut self, blocks: Range<u64>, prefer: Option<WorkerId>) {
        self.len += blocks.end - blocks.start;
        self.by_worker.entry(prefer).or_default().insert(blocks);
    }

    pub(crate) fn remove(&mut self, block: u64) {
        let removed = self.by_worker.values_mut().any(|set| set.remove(block));
        assert!(removed, "block {block} is ready but in no list");
        self.by_worker.retain(|_, set| !set.is_empty());
        self.len -= 1;
    }

    /// Workers for which blocks wait.
    pub(crate) fn owners(&self) -> impl Iterator<Item = WorkerId> + '_ {
        self.by_worker.keys().copied().flatten()
    }

    /// A block that is ready should rather go to `worker`.
    pub(crate) fn prefer(&mut self, block: u64, worker: WorkerId) {
        self.remove(block);
        self.insert(block..block + 1, Some(worker));
    }

    /// Whatever waited for `worker` may go anywhere.
    pub(crate) fn forget_worker(&mut self, worker: WorkerId) {
        if let Some(set) = self.by_worker.remove(&Some(worker)) {
            let anywhere = self.by_worker.entry(None).or_default();
            set.runs().for_each(|run| anywhere.insert(run));
        }
    }

    /// The next run for `worker`: its own, then nobody's, then the end of the longest list of another that
    /// `may_rob` lets it have.
    pub(crate) fn take(
        &mut self,
        worker: WorkerId,
        max: u64,
        may_rob: impl Fn(WorkerId, u64) -> bool,
    ) -> Option<Range<u64>> {
        let own = self.by_worker.contains_key(&Some(worker)).then_some(Some(worker));
        let anyone = self.by_worker.contains_key(&None).then_some(None);
        let other = || {
            let others = self.by_worker.iter().filter_map(|(&of, set)| Some((of?, set.len())));
            others.filter(|&(of, len)| may_rob(of, len)).max_by_key(|&(_, len)| len).map(|(of, _)| Some(of))
        };
        let from = own.or(anyone).or_else(other)?;
        let set = self.by_worker.get_mut(&from)?;
        let run = match from {
            // From another's list no more than half, and the far end, so that it keeps what comes next.
            Some(of) if of != worker => set.take_last(max.min(set.len().div_ceil(2))),
            Some(_) | None => set.take_first(max),
        }?;
        if set.is_empty() {
            self.by_worker.remove(&from);
        }
        self.len -= run.end - run.start;
        Some(run)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.by_worker.values().flat_map(RangeSet::iter)
    }
}
