//! Owns the book-keeping of one stage: the state of each block, who has it, and which blocks may run.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use nuna_plan::{AxisMap, BlockMap, HeldId, Keep, RangeSet, Stage};
use nuna_wire::{ClientId, StageKey, WorkerId, message::Blocks};

use crate::fair::Rank;

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

impl BlockState {
    const ALL: [Self; 5] = [Self::Waiting, Self::Ready, Self::Leased, Self::Stored, Self::Finished];
}

/// Readers of a held value are not counted.
pub(crate) const UNCOUNTED: u32 = u32::MAX;

/// In a block's mark, beside its state: the client has it.
const DELIVERED: u8 = 0x80;

/// A number per block, nearly always small: a byte each, once one of them is not 0.
#[derive(Default)]
struct Counts {
    small: Vec<u8>,
    /// Those that do not fit.
    large: BTreeMap<u64, u32>,
}

impl Counts {
    /// Stands for a number in `large`.
    const LARGE: u8 = u8::MAX;
    /// Stands for [`UNCOUNTED`].
    const NONE: u8 = u8::MAX - 1;

    fn get(&self, block: u64) -> u32 {
        match self.small.get(block as usize) {
            None => 0,
            Some(&Self::NONE) => UNCOUNTED,
            Some(&Self::LARGE) => self.large.get(&block).copied().unwrap_or(0),
            Some(&count) => u32::from(count),
        }
    }

    fn set(&mut self, block: u64, count: u32, blocks: usize) {
        if self.small.is_empty() {
            if count == 0 {
                return;
            }
            self.small = vec![0; blocks];
        }
        let small = match count {
            UNCOUNTED => Self::NONE,
            _ => u8::try_from(count).ok().filter(|&count| count < Self::NONE).unwrap_or(Self::LARGE),
        };
        if self.small[block as usize] == Self::LARGE && small != Self::LARGE {
            self.large.remove(&block);
        }
        if small == Self::LARGE {
            self.large.insert(block, count);
        }
        self.small[block as usize] = small;
    }
}

pub(crate) struct StageState {
    pub(crate) key: StageKey,
    pub(crate) computation: u32,
    /// Who submitted it.
    pub(crate) client: ClientId,
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
    /// The state of each block, as a [`BlockState`], and whether the client has it: [`DELIVERED`]. With `holders` these are
    /// the three bytes that a block costs.
    marks: Vec<u8>,
    /// Leased and stored blocks: with whom. Meaningless for others.
    pub(crate) holders: Vec<WorkerId>,
    /// Waiting blocks: inputs that are not stored, or 0 while none has been looked at. Stored blocks: readers that
    /// are not done.
    counts: Counts,
    /// Stored blocks that the client was told to fetch.
    pub(crate) offered: BTreeSet<u64>,
    pub(crate) ready: Ready,
    pub(crate) done: u64,
    /// What each block takes while it is leased: name and amount.
    pub(crate) needs: Vec<(String, u32)>,
    leased: u64,
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
        (client, computation, index): (ClientId, u32, u32),
        priority: u32,
        stage: Stage,
        inputs: Vec<StageKey>,
    ) -> Self {
        let count = stage.grid.count() as usize;
        let held = match stage.keep {
            Keep::Hold(id) => Some(id),
            Keep::No | Keep::Deliver => None,
        };
        Self {
            key,
            computation,
            client,
            index,
            priority,
            marks: vec![BlockState::Waiting as u8; count],
            holders: vec![WorkerId(0); count],
            counts: Counts::default(),
            offered: BTreeSet::new(),
            ready: Ready::default(),
            done: 0,
            needs: Vec::new(),
            leased: 0,
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

    pub(crate) fn rank(&self) -> Rank {
        Rank::new(self.priority, self.client, self.computation, self.key)
    }

    pub(crate) fn block_count(&self) -> u64 {
        self.marks.len() as u64
    }

    pub(crate) fn state(&self, block: u64) -> BlockState {
        BlockState::ALL[usize::from(self.marks[block as usize] & !DELIVERED)]
    }

    pub(crate) fn set_state(&mut self, block: u64, state: BlockState) {
        let leased = u64::from(self.state(block) == BlockState::Leased);
        self.leased = self.leased + u64::from(state == BlockState::Leased) - leased;
        let mark = &mut self.marks[block as usize];
        *mark = *mark & DELIVERED | state as u8;
    }

    /// How many blocks workers have been told to run.
    pub(crate) fn leased(&self) -> u64 {
        self.leased
    }

    /// Before any of them was leased or delivered.
    pub(crate) fn set_all(&mut self, state: BlockState) {
        self.marks.fill(state as u8);
    }

    pub(crate) fn holder(&self, block: u64) -> WorkerId {
        self.holders[block as usize]
    }

    pub(crate) fn count(&self, block: u64) -> u32 {
        self.counts.get(block)
    }

    pub(crate) fn set_count(&mut self, block: u64, count: u32) {
        self.counts.set(block, count, self.marks.len());
    }

    pub(crate) fn delivers(&self) -> bool {
        matches!(self.stage.keep, Keep::Deliver)
    }

    pub(crate) fn is_delivered(&self, block: u64) -> bool {
        !self.delivers() || self.marks[block as usize] & DELIVERED != 0
    }

    pub(crate) fn set_delivered(&mut self, block: u64) {
        self.marks[block as usize] |= DELIVERED;
    }

    /// Its worker has the value of a block, which so many are to read, and which the client fetches if it is `offered`.
    pub(crate) fn store(&mut self, block: u64, readers: u32, bytes: u64, offered: bool) {
        self.set_state(block, BlockState::Stored);
        self.set_count(block, readers);
        self.stored_count += 1;
        self.stored_bytes += bytes;
        if offered {
            self.offered.insert(block);
        }
    }

    /// Whether nobody but the scheduler knows which of its blocks are done: no reader, client or holder.
    pub(crate) fn is_unwitnessed(&self) -> bool {
        self.consumers.is_empty() && self.held.is_none() && !self.delivers()
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
                    AxisMap::Overlap { .. } | AxisMap::Windows { .. } => false,
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

#[cfg(test)]
mod tests {
    use nuna_plan::{BlockGrid, MemoryBound, Work, WorkKind};

    use super::*;

    fn state(blocks: u64, keep: Keep) -> StageState {
        let stage = Stage {
            name: "tasks".to_owned(),
            grid: BlockGrid::line(blocks),
            inputs: Vec::new(),
            work: Work { kind: WorkKind::Call, payload: Vec::new(), libraries: Vec::new() },
            bound: MemoryBound::default(),
            keep,
            retries: 0,
            origin: None,
        };
        StageState::new(StageKey(1), (ClientId(1), 1, 0), 0, stage, Vec::new())
    }

    #[test]
    fn a_block_costs_three_bytes_until_something_of_it_is_counted() {
        let stage = state(1_000_000, Keep::Deliver);
        let bytes = stage.marks.capacity()
            + stage.holders.capacity() * size_of::<WorkerId>()
            + stage.counts.small.capacity();
        assert_eq!(bytes, 3_000_000);
    }

    #[test]
    fn a_state_and_its_delivery_do_not_disturb_each_other() {
        let mut stage = state(3, Keep::Deliver);
        stage.set_all(BlockState::Ready);
        stage.set_state(1, BlockState::Leased);
        stage.set_delivered(1);
        stage.set_state(1, BlockState::Finished);
        assert!(stage.is_delivered(1) && !stage.is_delivered(0));
        for state in BlockState::ALL {
            stage.set_state(1, state);
            assert_eq!((stage.state(1), stage.state(0)), (state, BlockState::Ready));
            assert!(stage.is_delivered(1));
        }
    }

    #[test]
    fn counts_of_every_size_are_kept() {
        let mut stage = state(4, Keep::No);
        assert_eq!(stage.count(3), 0);
        for count in [0, 1, 253, 254, 255, 256, 70_000, UNCOUNTED - 1, UNCOUNTED, 254, 0] {
            stage.set_count(2, count);
            assert_eq!((stage.count(2), stage.count(1)), (count, 0));
        }
        assert!(stage.counts.large.is_empty());
    }
}
