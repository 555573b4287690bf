//! Owns the way from expressions to a plan: which nodes share a stage, where values are moved, how reductions
//! become trees.
//!
//! A stage evaluates an expression for one box of elements at a time, so slices, transposes, casts and elementwise
//! chains cost no stage of their own: they become part of the box that is read. What ends a stage is a reduction, a function
//! given to `map_blocks`, and a rechunk that the store cannot serve directly.

mod bound;
mod cuts;
mod demand;
mod joint;
mod reduce;
mod stage;
mod waves;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use nuna_plan::{
    BlockGrid, Engine, Input, Keep, LibraryId, MemoryBound, Origin, Plan, Source, Splits, Stage, Work,
    WorkKind,
};

use crate::{
    array::{Array, aligned, common_refinement},
    error::{ArrayError, ArrayErrorKind},
    expr::{Node, Op},
    grid::ChunkGrid,
    program::{AxisRule, Head, Program},
    sink::ChunkSink,
};
use demand::{BlockWindow, Demand, part_of, windowed};
use joint::Joint;
use reduce::Reduced;
use stage::StageBuilder;
use waves::Window;
pub(crate) use waves::waves;

/// Further attempts after an I/O error.
const RETRIES: u32 = 3;
/// A rechunk whose blocks read more than this many times their own bytes is split before it is put together.
const READ_FACTOR: f64 = 2.0;
/// Blocks to be split are read several at a time until the pieces are this large,
const PIECE_BYTES: u64 = 64 << 10;
/// but not more than this at once,
const GATHERED_BYTES: u64 = 36 << 20;
/// than leaves room for as many in a worker's memory, where they wait to be split,
const BLOCKS_IN_MEMORY: u64 = 8;
/// besides what every process takes,
const PROCESS_BYTES: u64 = 64 << 20;
/// (in waves, which leave the memory to what waits),
const BLOCKS_IN_WAVES: u64 = 64;
/// or than leaves enough blocks for many workers.
const GATHERED_BLOCKS_MIN: u64 = 48;
/// Neighbouring blocks share pieces as long as all the pieces that one of them reads are no more than this,
const SHARED_BYTES: u64 = 128 << 20;
/// and each thread has this many groups of blocks that share theirs: whoever takes up only a part of a group fetches pieces
/// that another has too.
const GROUPS_PER_THREAD: u64 = 8;
/// But not into more pieces than this.
const PIECES_MAX: u64 = 1 << 22;

/// What is wanted of an expression.
pub(crate) enum Goal<'a> {
    Keep(Keep),
    Write(&'a dyn ChunkSink),
}

/// A plan, and the stage that each goal became.
pub(crate) struct Planned {
    pub(crate) plan: Plan,
    pub(crate) stages: Vec<u32>,
    /// Bytes that are read, and wait between workers until others want them in other blocks.
    pub(crate) moved: u64,
    /// How many pieces they are cut into.
    pub(crate) pieces: u64,
}

/// Writes the plan for some expressions, which share what they have in common.
pub(crate) fn plan(
    label: &str,
    goals: &[(Node, Goal<'_>)],
    engine: &Arc<dyn Engine>,
) -> Result<Planned, ArrayError> {
    plan_with(label, goals, engine, Fusion::Whole)
}

/// How much of an expression one stage evaluates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fusion {
    /// As much as possible.
    Whole,
    /// One operation.
    None,
}

pub(crate) fn plan_with(
    label: &str,
    goals: &[(Node, Goal<'_>)],
    engine: &Arc<dyn Engine>,
    fusion: Fusion,
) -> Result<Planned, ArrayError> {
    let mut planner = Planner::new(engine, fusion);
    if fusion == Fusion::Whole {
        planner.demand = Demand::of(goals.iter().map(|(node, _)| node));
        planner.joint = Joint::among(goals.iter().map(|(node, _)| node), &planner.demand);
    }
    let mut stages = Vec::new();
    let needed = needed(goals);
    for (node, goal) in goals {
        stages.push(match goal {
            Goal::Keep(keep) if !needed.contains(&node.id) => planner.last(node, *keep)?,
            // Another goal reads this one's blocks, so they are delivered by a stage of their own.
            Goal::Keep(keep) => planner.emit(node, *keep)?,
            Goal::Write(sink) => planner.write(node, *sink, None)?,
        });
    }
    Ok(planner.planned(label, stages))
}

/// What is wanted, and also read by another, or wanted twice.
fn needed(goals: &[(Node, Goal<'_>)]) -> HashSet<u64> {
    let mut wanted = HashSet::new();
    let mut twice: HashSet<u64> =
        goals.iter().map(|(node, _)| node.id).filter(|id| !wanted.insert(*id)).collect();
    let mut seen = HashSet::new();
    let mut open: Vec<&Node> =
        if goals.len() > 1 { goals.iter().map(|(node, _)| node).collect() } else { Vec::new() };
    while let Some(node) = open.pop() {
        if seen.insert(node.id) {
            twice.extend(node.inputs().iter().map(|input| input.id).filter(|id| wanted.contains(id)));
            open.extend(node.inputs());
        }
    }
    twice
}

/// Writes the plan for a part of what is to be written.
pub(crate) fn plan_window(
    label: &str,
    node: &Node,
    sink: &dyn ChunkSink,
    engine: &Arc<dyn Engine>,
    window: &Window,
) -> Result<Planned, ArrayError> {
    let mut planner = Planner::new(engine, Fusion::Whole);
    let stage = planner.write(node, sink, Some(window))?;
    Ok(planner.planned(label, vec![stage]))
}

fn shortened(label: &str) -> String {
    const LENGTH: usize = 80;
    if label.chars().count() <= LENGTH {
        label.to_owned()
    } else {
        label.chars().take(LENGTH - 1).chain(['…']).collect()
    }
}

/// Blocks that some stage leaves behind for others.
#[derive(Clone)]
pub(crate) struct Blocks {
    pub(crate) source: Source,
    pub(crate) axes: Vec<Splits>,
    /// The node's axes in the order of the stage's grid; nothing if that is their own.
    pub(crate) order: Vec<usize>,
}

impl Blocks {
    pub(crate) fn new(source: Source, axes: Vec<Splits>) -> Self {
        Self { source, axes, order: Vec::new() }
    }

    fn grid(&self) -> BlockGrid {
        BlockGrid::new(self.axes.iter().map(Splits::count))
    }
}

pub(crate) struct Planner<'a> {
    stages: Vec<Stage>,
    /// By expression: what has a stage already.
    done: HashMap<u64, Blocks>,
    /// Parts of expressions that have a stage, where no more than a part is wanted.
    parts: Vec<(u64, Blocks)>,
    joint: Joint,
    demand: Demand,
    /// Whether only a part of the last stage is made.
    windowed: bool,
    moved: u64,
    pieces: u64,
    engine: &'a Arc<dyn Engine>,
    pub(crate) fusion: Fusion,
}

/// A stage without its work.
struct Draft {
    name: String,
    grid: BlockGrid,
    keep: Keep,
    origin: Option<Origin>,
}

impl<'a> Planner<'a> {
    fn new(engine: &'a Arc<dyn Engine>, fusion: Fusion) -> Self {
        Self {
            stages: Vec::new(),
            done: HashMap::new(),
            parts: Vec::new(),
            joint: Joint::default(),
            demand: Demand::default(),
            windowed: false,
            moved: 0,
            pieces: 0,
            engine,
            fusion,
        }
    }

    fn planned(self, label: &str, stages: Vec<u32>) -> Planned {
        let plan = Plan { label: shortened(label), stages: self.stages, terms: Default::default() };
        Planned { plan, stages, moved: self.moved, pieces: self.pieces }
    }
}

impl Planner<'_> {
    fn push(
        &mut self,
        draft: Draft,
        inputs: Vec<Input>,
        program: &Program,
        libraries: Vec<LibraryId>,
        bound: MemoryBound,
    ) -> u32 {
        let payload = postcard::to_stdvec(program).expect("programs are plain data");
        let Draft { name, grid, keep, origin } = draft;
        let work = Work { kind: WorkKind::Array, payload, libraries };
        self.stages.push(Stage {
            name: shortened(&name),
            grid,
            inputs,
            work,
            bound,
            keep,
            retries: RETRIES,
            origin,
        });
        self.stages.len() as u32 - 1
    }

    /// The node's blocks in its own chunks, kept as asked.
    fn last(&mut self, node: &Node, keep: Keep) -> Result<u32, ArrayError> {
        match &node.op {
            Op::Reduce { input, reduction, reduced, keep_axes } => {
                let what = Reduced { input, reduction: *reduction, reduced, keep_axes: *keep_axes };
                self.reduce(node, what, keep)
            }
            Op::Opaque { .. } => self.call(node, &[], keep, None),
            Op::Source(_)
            | Op::Full(_)
            | Op::Range { .. }
            | Op::Map { .. }
            | Op::Stride { .. }
            | Op::Take { .. }
            | Op::Transpose { .. }
            | Op::Reshape { .. }
            | Op::Broadcast { .. }
            | Op::Concat { .. }
            | Op::Rechunk { .. }
            | Op::Held(_) => self.emit(node, keep),
        }
    }

    /// A stage that evaluates the node's chunks.
    fn emit(&mut self, node: &Node, keep: Keep) -> Result<u32, ArrayError> {
        let mut builder = StageBuilder::new(self, node.grid.block_grid());
        let root = builder.root(node, own_cuts(&node.grid))?;
        let bound = builder.bound(&[&root], None);
        let (inputs, nodes, sources) = builder.finish();
        let program = Program { sources, nodes, head: Head::Emit(root) };
        let computed = if let Op::Rechunk { input } = &node.op { input } else { node };
        let name = match &computed.op {
            Op::Source(source) => format!("read {}", source.name()),
            _ => node.to_string(),
        };
        let draft = Draft { name, grid: node.grid.block_grid(), keep, origin: node.origin.clone() };
        Ok(self.push(draft, inputs, &program, Vec::new(), bound))
    }

    /// The node's blocks for other stages to read; one stage however many ask. A function's blocks are counted in the `order`
    /// of whoever asks first.
    pub(crate) fn blocks(&mut self, node: &Node, order: Vec<usize>) -> Result<Blocks, ArrayError> {
        if let Some(blocks) = self.done.get(&node.id) {
            return Ok(blocks.clone());
        }
        if matches!(node.op, Op::Opaque { .. }) {
            let window = self.demand.window(node);
            let axes = node.grid.axes();
            let axes = match &window {
                None => axes.to_vec(),
                Some(window) => axes.iter().zip(window).map(|(own, part)| part_of(own, part)).collect(),
            };
            let source = Source::Stage(self.call(node, &order, Keep::No, window)?);
            let blocks = Blocks { source, axes, order };
            self.done.insert(node.id, blocks.clone());
            return Ok(blocks);
        }
        if let Some(what) = Reduced::of(node)
            && let Some(window) = self.demand.window(node)
        {
            let blocks = self.reduce_part(node, what, &window)?;
            self.done.insert(node.id, blocks.clone());
            return Ok(blocks);
        }
        let source = match &node.op {
            Op::Held(held) => {
                if !std::ptr::addr_eq(Arc::as_ptr(&held.engine), Arc::as_ptr(self.engine)) {
                    return Err(ArrayErrorKind::HeldElsewhere {
                        name: node.to_string(),
                        holder: held.engine.describe(),
                        engine: self.engine.describe(),
                    }
                    .into());
                }
                Source::Held(held.id)
            }
            _ => Source::Stage(self.last(node, Keep::No)?),
        };
        let blocks = Blocks::new(source, node.grid.axes().to_vec());
        self.done.insert(node.id, blocks.clone());
        Ok(blocks)
    }

    /// What a block of values may take so that several fit a worker's memory, as far as that is known.
    pub(crate) fn block_bytes_max(&self) -> u64 {
        let Some(memory) = self.engine.memory_bytes() else { return u64::MAX };
        if self.windowed {
            memory / BLOCKS_IN_WAVES
        } else {
            memory.saturating_sub(PROCESS_BYTES) / BLOCKS_IN_MEMORY
        }
    }

    /// Has the node's blocks computed in these cuts, if nothing has asked for them yet.
    pub(crate) fn wide_blocks(&mut self, node: &Node, axes: Vec<Splits>) -> Result<(), ArrayError> {
        if !self.done.contains_key(&node.id) {
            let wide = Array::from_node(node.clone()).rechunk_to(ChunkGrid::from_axes(axes.clone())).node;
            let source = Source::Stage(self.emit(&wide, Keep::No)?);
            self.done.insert(node.id, Blocks::new(source, axes));
        }
        Ok(())
    }

    /// A part of the node, cut like this, straight from stores; one stage for each part, however many ask.
    pub(crate) fn part(&mut self, node: &Node, axes: Vec<Splits>) -> Result<Blocks, ArrayError> {
        if let Some((_, blocks)) =
            self.parts.iter().find(|(id, blocks)| *id == node.id && blocks.axes == axes)
        {
            return Ok(blocks.clone());
        }
        let grid = BlockGrid::new(axes.iter().map(Splits::count));
        let mut builder = StageBuilder::new(self, grid.clone());
        builder.reread = true;
        let root = builder.root(node, along(&axes))?;
        let bound = builder.bound(&[&root], None);
        let (inputs, nodes, sources) = builder.finish();
        let program = Program { sources, nodes, head: Head::Emit(root) };
        let name = match &node.op {
            Op::Source(source) => format!("read {}", source.name()),
            _ => node.to_string(),
        };
        let draft = Draft { name, grid, keep: Keep::No, origin: node.origin.clone() };
        let source = Source::Stage(self.push(draft, inputs, &program, Vec::new(), bound));
        let blocks = Blocks::new(source, axes);
        self.parts.push((node.id, blocks.clone()));
        Ok(blocks)
    }

    /// A function's stage. Its grid has the node's axes in this order, or in their own if there is none; and of its blocks
    /// those in `window`, or all.
    fn call(
        &mut self,
        node: &Node,
        order: &[usize],
        keep: Keep,
        window: Option<BlockWindow>,
    ) -> Result<u32, ArrayError> {
        let Op::Opaque { inputs, reads, call, name, scratch, lines: _ } = &node.op else {
            unreachable!("called for functions over blocks only")
        };
        let axes = node.grid.axes();
        let place = |axis: u8| match order.iter().position(|&own| own == axis as usize) {
            Some(at) => at as u8,
            None => axis,
        };
        let first: Vec<u64> = window.iter().flatten().map(|part| part.start).collect();
        let window = window.unwrap_or_else(|| axes.iter().map(|axis| 0..axis.count()).collect());
        let count = |axis: usize| window[axis].end - window[axis].start;
        let grid = match order.is_empty() {
            true => BlockGrid::new((0..axes.len()).map(count)),
            false => BlockGrid::new(order.iter().map(|&axis| count(axis))),
        };
        let mut builder = StageBuilder::new(self, grid.clone());
        let roots = inputs
            .iter()
            .zip(reads)
            .map(|(input, reads)| {
                let of_block = |rule| windowed(rule, &window).placed(place);
                builder.root(input, reads.iter().map(of_block).collect())
            })
            .collect::<Result<Vec<_>, _>>()?;
        let out: u64 = node.grid.chunk_shape().iter().product::<u64>() * node.dtype.size() as u64;
        let mut bound = builder.bound(&roots.iter().collect::<Vec<_>>(), Some(out));
        bound.scratch = bound.scratch.saturating_add(*scratch);
        let (stage_inputs, nodes, sources) = builder.finish();
        let order = order.iter().map(|&axis| axis as u8).collect();
        let head = Head::Call {
            roots,
            call: (**call).clone(),
            dtype: node.dtype,
            shape: axes.to_vec(),
            order,
            first,
        };
        let program = Program { sources, nodes, head };
        let draft = Draft { name: name.clone(), grid, keep, origin: node.origin.clone() };
        Ok(self.push(draft, stage_inputs, &program, call.libraries(), bound))
    }

    /// The whole, or the blocks of it that lie in `window`.
    fn write(
        &mut self,
        node: &Node,
        sink: &dyn ChunkSink,
        window: Option<&Window>,
    ) -> Result<u32, ArrayError> {
        if node.shape[..] != *sink.shape() {
            return Err(ArrayErrorKind::SinkShape {
                name: node.to_string(),
                shape: node.shape.to_vec(),
                sink: sink.name(),
                sink_shape: sink.shape().to_vec(),
            }
            .into());
        }
        let node = Array::from_node(node.clone())
            .try_astype(sink.dtype())?
            .rechunk_to(written_grid(node, sink))
            .node;
        let axes = match window {
            None => node.grid.axes().to_vec(),
            Some(window) => {
                self.windowed = true;
                node.grid.axes().iter().zip(window).map(|(own, part)| cuts::clipped(own, part)).collect()
            }
        };
        let grid = BlockGrid::new(axes.iter().map(Splits::count));
        let mut builder = StageBuilder::new(self, grid.clone());
        let root = builder.root(&node, along(&axes))?;
        let mut bound = builder.bound(&[&root], Some(0));
        bound.scratch = bound.scratch.saturating_add(sink.scratch_bytes());
        let (inputs, nodes, sources) = builder.finish();
        let program = Program { sources, nodes, head: Head::Write { root, sink: sink.spec() } };
        let draft = Draft {
            name: format!("write {}", sink.name()),
            grid,
            keep: Keep::No,
            origin: node.origin.clone(),
        };
        Ok(self.push(draft, inputs, &program, Vec::new(), bound))
    }

    /// Cuts blocks up at the places where others will want them, so that each piece moves once.
    pub(crate) fn split(&mut self, node: &Node, blocks: &Blocks, wanted: &[AxisRule]) -> Blocks {
        let reads_max = SHARED_BYTES.min(self.block_bytes_max());
        let groups_min = GROUPS_PER_THREAD * self.engine.thread_count() as u64;
        let wanted = cuts::shared(&blocks.axes, wanted, node.dtype.size() as u64, reads_max, groups_min);
        let axes: Vec<Splits> =
            blocks.axes.iter().zip(&wanted).map(|(own, wanted)| common_refinement(own, wanted)).collect();
        let grid = BlockGrid::new(axes.iter().map(Splits::count));
        if grid.count() > PIECES_MAX || grid == blocks.grid() {
            return blocks.clone();
        }
        self.pieces = self.pieces.saturating_add(grid.count());
        let rules: Vec<AxisRule> = axes
            .iter()
            .enumerate()
            .map(|(axis, splits)| AxisRule::Along { axis: axis as u8, splits: splits.clone() })
            .collect();
        let mut builder = StageBuilder::new(self, grid.clone());
        let root = builder.leaf(node, blocks, &rules);
        let bound = builder.bound(&[&root], None);
        let (inputs, nodes, sources) = builder.finish();
        let program = Program { sources, nodes, head: Head::Emit(root) };
        let draft =
            Draft { name: format!("split {node}"), grid, keep: Keep::No, origin: node.origin.clone() };
        let stage = self.push(draft, inputs, &program, Vec::new(), bound);
        Blocks::new(Source::Stage(stage), axes)
    }
}

/// The blocks in which a node is written: its own chunks, at multiples of stored ones.
fn written_grid(node: &Node, sink: &dyn ChunkSink) -> ChunkGrid {
    let axes = node.grid.axes().iter().zip(sink.chunk_shape()).zip(&node.shape);
    ChunkGrid::from_axes(
        axes.map(|((splits, &unit), &length)| aligned(splits, unit.max(1), length)).collect(),
    )
}

/// Every axis of a stage's grid covers the same axis of the node.
pub(crate) fn own_cuts(grid: &ChunkGrid) -> Vec<AxisRule> {
    along(grid.axes())
}

fn along(axes: &[Splits]) -> Vec<AxisRule> {
    axes.iter()
        .enumerate()
        .map(|(axis, splits)| AxisRule::Along { axis: axis as u8, splits: splits.clone() })
        .collect()
}
