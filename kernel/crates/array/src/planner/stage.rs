//! Owns writing one stage's program: an expression down to stored arrays and to blocks of other stages.

use std::collections::HashMap;

use nuna_chunk::tile;
use nuna_plan::{BlockGrid, Input, MemoryBound, Splits};
use smallvec::SmallVec;

use crate::{
    error::ArrayError,
    expr::{Expr, Function, Node, Op},
    planner::{
        Blocks, Fusion, Planner, READ_FACTOR, bound,
        cuts::{self, block_map, extent, of_inputs, read_factor},
        demand,
    },
    program::{AxisRule, ProgramNode, Root, Step},
    source::{ChunkSource, SourceSpec},
};

/// A store may be read more than once over if that is no more than this in all.
const REREAD_BYTES: f64 = 64e6;

pub(crate) struct StageBuilder<'p, 'e> {
    planner: &'p mut Planner<'e>,
    grid: BlockGrid,
    inputs: Vec<Input>,
    nodes: Vec<ProgramNode>,
    sources: Vec<SourceSpec>,
    /// Nodes written already, by expression and the box they were asked for, of which there is only a digest: in a series of
    /// thousands of files each has a box that says something of every block.
    written: HashMap<u64, Vec<(u128, u32)>>,
    /// Memory that reading takes besides the result, per byte read: the worst of the sources.
    scratch: Vec<(u32, std::sync::Arc<dyn ChunkSource>)>,
    /// The longest box of each node that a block needs, for the memory bound.
    boxes: Vec<SmallVec<[u64; 6]>>,
    /// What blocks are given at most, by the node that reads it.
    given: Vec<bound::Given>,
    /// Joins, of which a block needs but a few inputs.
    joins: Vec<bound::Join>,
    /// Stores are read here whatever that costs: chunks of which other parts of the result need other parts are decoded
    /// again for each of those.
    pub(crate) reread: bool,
}

impl<'p, 'e> StageBuilder<'p, 'e> {
    pub(crate) fn new(planner: &'p mut Planner<'e>, grid: BlockGrid) -> Self {
        Self {
            planner,
            grid,
            inputs: Vec::new(),
            nodes: Vec::new(),
            sources: Vec::new(),
            written: HashMap::new(),
            scratch: Vec::new(),
            boxes: Vec::new(),
            given: Vec::new(),
            joins: Vec::new(),
            reread: false,
        }
    }

    pub(crate) fn finish(self) -> (Vec<Input>, Vec<ProgramNode>, Vec<SourceSpec>) {
        (self.inputs, self.nodes, self.sources)
    }

    /// Writes `expr`, of which each block needs the box that `cuts` says.
    pub(crate) fn root(&mut self, expr: &Node, cuts: Vec<AxisRule>) -> Result<Root, ArrayError> {
        let node = self.write(expr, &cuts)?;
        Ok(Root { node, region: cuts })
    }

    /// A root that may be another's already, or be read by one.
    pub(crate) fn shared_root(&mut self, expr: &Node, cuts: Vec<AxisRule>) -> Result<Root, ArrayError> {
        let node = self.node(expr, &cuts)?;
        Ok(Root { node, region: cuts })
    }

    /// A root that is nothing but blocks of another stage.
    pub(crate) fn leaf(&mut self, expr: &Expr, blocks: &Blocks, cuts: &[AxisRule]) -> Root {
        let node = self.input(expr, blocks, cuts);
        Root { node, region: cuts.to_vec() }
    }

    fn push(&mut self, expr: &Expr, cuts: &[AxisRule], step: Step) -> u32 {
        self.nodes.push(ProgramNode { step, dtype: expr.dtype, shape: expr.shape.clone(), uses: 1 });
        self.boxes.push(bound::longest_box(cuts));
        let node = self.nodes.len() as u32 - 1;
        self.written.entry(expr.id).or_default().push((cuts::digest(cuts), node));
        node
    }

    fn input(&mut self, expr: &Expr, blocks: &Blocks, cuts: &[AxisRule]) -> u32 {
        let part: Option<Vec<AxisRule>> = (blocks.axes != expr.grid.axes())
            .then(|| cuts.iter().zip(&blocks.axes).map(|(cut, there)| demand::clipped(cut, there)).collect());
        let read = part.as_deref().unwrap_or(cuts);
        let map = cuts::in_order(block_map(read, &blocks.axes, &self.grid), &self.grid, &blocks.order);
        self.given.push(bound::Given {
            node: self.nodes.len(),
            bytes: bound::given(read, &blocks.axes, expr.dtype),
            blocks: read.iter().filter_map(cuts::blocks_with_any).collect(),
        });
        self.inputs.push(Input { source: blocks.source, map });
        let input = self.inputs.len() as u32 - 1;
        let order = blocks.order.iter().map(|&axis| axis as u8).collect();
        self.push(expr, cuts, Step::Input { input, axes: blocks.axes.clone(), order })
    }

    fn node(&mut self, expr: &Node, cuts: &[AxisRule]) -> Result<u32, ArrayError> {
        let known = self.written.get(&expr.id).and_then(|known| {
            let digest = cuts::digest(cuts);
            known.iter().find(|(known, _)| *known == digest).map(|(_, node)| *node)
        });
        if let Some(node) = known {
            self.nodes[node as usize].uses += 1;
            return Ok(node);
        }
        if self.planner.fusion == Fusion::None && !matches!(expr.op, Op::Source(_)) {
            return self.from_blocks(expr, expr, cuts);
        }
        self.write(expr, cuts)
    }

    fn write(&mut self, expr: &Node, cuts: &[AxisRule]) -> Result<u32, ArrayError> {
        let step = match &expr.op {
            Op::Reduce { .. } | Op::Opaque { .. } | Op::Held(_) => return self.from_blocks(expr, expr, cuts),
            Op::Source(source) => {
                if !self.readable(expr, source.as_ref(), cuts) {
                    return self.from_blocks(expr, expr, cuts);
                }
                let spec = source.spec();
                let known = self.sources.iter().position(|s| *s == spec);
                let number = known.unwrap_or_else(|| {
                    self.sources.push(spec);
                    self.sources.len() - 1
                }) as u32;
                self.scratch.push((self.nodes.len() as u32, source.clone()));
                Step::Read { source: number }
            }
            Op::Rechunk { input } => {
                if self.readable_below(input, cuts) {
                    return self.node(input, cuts);
                }
                return self.from_blocks(expr, input, cuts);
            }
            Op::Full(value) => Step::Full(*value),
            Op::Range { start, step } => Step::Range { start: *start, step: *step },
            Op::Map { .. } => return self.map(expr, cuts),
            Op::Stride { input, axes } => {
                Step::Stride { input: self.below(expr, input, cuts)?, axes: axes.clone() }
            }
            Op::Take { input, axis, indices } => {
                let below = self.below(expr, input, cuts)?;
                Step::Take { input: below, axis: *axis as u32, indices: indices.to_vec() }
            }
            Op::Transpose { input, order } => {
                let below = self.below(expr, input, cuts)?;
                Step::Transpose { input: below, order: order.iter().map(|&a| a as u32).collect() }
            }
            Op::Reshape { input, axes } => {
                let below = self.below(expr, input, cuts)?;
                Step::Reshape { input: below, axes: axes.iter().map(|a| a.map(|a| a as u32)).collect() }
            }
            Op::Broadcast { input } => Step::Broadcast { input: self.below(expr, input, cuts)? },
            Op::Concat { inputs, axis } => {
                let (mut numbers, mut members) = (Vec::with_capacity(inputs.len()), Vec::new());
                // One box after the other: all of them are as many numbers as inputs times blocks.
                for (input, cuts) in inputs.iter().zip(cuts::of_joined(inputs, *axis, cuts)) {
                    let first = self.nodes.len();
                    numbers.push(self.node(input, &cuts)?);
                    if let Some((grid_axis, blocks)) = cuts::blocks_with_any(&cuts[*axis]) {
                        members.push(bound::Member {
                            nodes: first..self.nodes.len(),
                            axis: grid_axis,
                            blocks,
                        });
                    }
                }
                self.joins.push(bound::Join { node: self.nodes.len(), members });
                Step::Concat { inputs: numbers, axis: *axis as u32 }
            }
        };
        Ok(self.push(expr, cuts, step))
    }

    fn below(&mut self, expr: &Expr, input: &Node, cuts: &[AxisRule]) -> Result<u32, ArrayError> {
        let boxes = of_inputs(expr, cuts);
        self.node(input, &boxes[0])
    }

    /// Reads `expr` from blocks of `computed` (itself, or what it rechunks) that another stage leaves.
    fn from_blocks(&mut self, expr: &Node, computed: &Node, cuts: &[AxisRule]) -> Result<u32, ArrayError> {
        let repeats = repeats(cuts, &self.grid);
        let own = computed.grid.axes();
        let costly = |axes: &[Splits], grid: &BlockGrid| {
            read_factor(cuts, axes, grid) / repeats > READ_FACTOR
                && computed.byte_count() as f64 > REREAD_BYTES / 16.0
        };
        if self.planner.windowed && reads_stores_only(computed) {
            let part: Vec<Splits> =
                own.iter().zip(cuts).map(|(own, cut)| cuts::clipped(own, &cuts::span(cut))).collect();
            let wide =
                cuts::gathered(&part, cuts, computed.dtype.size() as u64, self.planner.block_bytes_max());
            let blocks = self.planner.part(computed, wide)?;
            let blocks = match read_factor(cuts, &blocks.axes, &self.grid) / repeats > READ_FACTOR {
                true => self.planner.split(computed, &blocks, cuts),
                false => blocks,
            };
            return Ok(self.input(expr, &blocks, cuts));
        }
        if costly(own, &self.grid) && reads_stores_only(computed) {
            self.planner.moved = self.planner.moved.saturating_add(computed.byte_count());
            let wide =
                cuts::gathered(own, cuts, computed.dtype.size() as u64, self.planner.block_bytes_max());
            let rules = |axis: usize| AxisRule::Along { axis: axis as u8, splits: wide[axis].clone() };
            if wide != own && self.readable_below(computed, &(0..wide.len()).map(rules).collect::<Vec<_>>()) {
                self.planner.wide_blocks(computed, wide)?;
            }
        }
        let mut blocks = self.planner.blocks(computed, cuts::order(cuts, own))?;
        let moved = read_factor(cuts, &blocks.axes, &self.grid) / repeats;
        // A part of the blocks is a part of the bytes, and not worth a stage.
        let makes_parts = matches!(computed.op, Op::Opaque { .. } | Op::Reduce { .. });
        let is_part = makes_parts && self.planner.demand.window(computed).is_some();
        if moved > READ_FACTOR && computed.byte_count() as f64 > REREAD_BYTES / 16.0 && !is_part {
            blocks = self.planner.split(computed, &blocks, cuts);
        }
        Ok(self.input(expr, &blocks, cuts))
    }

    /// Whether blocks may read these boxes from the store: chunks are not decoded much more than once.
    fn readable(&self, expr: &Expr, source: &dyn ChunkSource, cuts: &[AxisRule]) -> bool {
        if source.random_access() || self.reread {
            return true;
        }
        // A stage that reads the source in its own blocks must not ask for a stage that does the same.
        let own = cuts.iter().zip(expr.grid.axes()).enumerate().all(|(i, (cut, splits))| {
            matches!(cut, AxisRule::Along { axis, splits: s } if *axis as usize == i && s == splits)
        });
        if own {
            return true;
        }
        let stored: Vec<Splits> = source
            .shape()
            .iter()
            .zip(source.chunk_shape())
            .map(|(&length, &chunk)| Splits::Regular { chunk: chunk.max(1), length })
            .collect();
        let factor = read_factor(cuts, &stored, &self.grid);
        let bytes = extent(cuts) as f64 * expr.dtype.size() as f64;
        factor <= READ_FACTOR || bytes * factor <= REREAD_BYTES
    }

    /// Whether everything below is readable in these boxes. Blocks of other stages count as stored in their own chunks.
    fn readable_below(&self, expr: &Node, cuts: &[AxisRule]) -> bool {
        match &expr.op {
            Op::Source(source) => self.readable(expr, source.as_ref(), cuts),
            // Blocks of another stage move once, whoever cuts them.
            Op::Reduce { .. } | Op::Opaque { .. } | Op::Held(_) => true,
            Op::Concat { inputs, axis } => inputs
                .iter()
                .zip(cuts::of_joined(inputs, *axis, cuts))
                .all(|(input, cuts)| self.readable_below(input, &cuts)),
            _ => expr
                .inputs()
                .into_iter()
                .zip(of_inputs(expr, cuts))
                .all(|(input, cuts)| self.readable_below(input, &cuts)),
        }
    }

    /// Fuses the elementwise operations at and below `expr` that have its shape.
    fn map(&mut self, expr: &Node, cuts: &[AxisRule]) -> Result<u32, ArrayError> {
        let mut leaves: Vec<Node> = Vec::new();
        collect_leaves(expr, self.planner.fusion, &mut leaves);
        let mut builder = tile::Builder::new();
        let mut values: HashMap<u64, tile::ValueId> = HashMap::new();
        let mut inputs = Vec::with_capacity(leaves.len());
        for leaf in &leaves {
            values.insert(leaf.id, builder.input(leaf.dtype));
            let extra = cuts.len() - leaf.shape.len();
            let one = AxisRule::Fixed { start: 0, end: 1 };
            let below: Vec<AxisRule> = leaf
                .shape
                .iter()
                .zip(&cuts[extra..])
                .map(|(&n, cut)| if n == 1 { one.clone() } else { cut.clone() })
                .collect();
            inputs.push(self.node(leaf, &below)?);
        }
        let output = fuse(expr, &mut builder, &mut values)?;
        let program = builder.finish(output);
        Ok(self.push(expr, cuts, Step::Map { program, inputs }))
    }

    pub(crate) fn bound(&self, roots: &[&Root], output: Option<u64>) -> MemoryBound {
        let emitted: u64 = roots.iter().map(|root| self.box_bytes(root.node, &root.region)).sum();
        let (scratch, inputs) = (self.scratch_bytes(), self.input_bytes());
        match output {
            Some(output) => MemoryBound { inputs, output, scratch },
            // The boxes of the roots are what is given out.
            None => MemoryBound { inputs, output: emitted, scratch: scratch.saturating_sub(emitted) },
        }
    }

    /// The bound of a block that is evaluated piece by piece along the axes that are `cut`. All roots have the same box.
    pub(crate) fn bound_in_pieces(
        &self,
        roots: &[&Root],
        pieces: &[Splits],
        cut: &[bool],
        partial: u64,
    ) -> MemoryBound {
        let whole = roots.first().map(|root| bound::longest_box(&root.region)).unwrap_or_default();
        let piece: SmallVec<[u64; 6]> = whole
            .iter()
            .zip(pieces)
            .zip(cut)
            .map(|((&n, splits), &cut)| if cut { n.min(crate::grid::longest(splits)) } else { n })
            .collect();
        let (all, part) = (whole.iter().product::<u64>().max(1), piece.iter().product::<u64>().max(1));
        // Boxes below shrink about as the root's does.
        let share = part as f64 / all as f64;
        let scratch = self.scratch_bytes() as f64 * share;
        MemoryBound { inputs: self.input_bytes(), output: partial, scratch: scratch.ceil() as u64 }
    }

    fn box_bytes(&self, node: u32, cuts: &[AxisRule]) -> u64 {
        bound::longest_box(cuts)
            .iter()
            .fold(self.nodes[node as usize].dtype.size() as u64, |b, &n| b.saturating_mul(n))
    }

    /// As if everything a block computes on the way stayed until its end, which is never less than what it takes; but of what
    /// is joined only what lies in a block.
    fn scratch_bytes(&self) -> u64 {
        let sources: HashMap<usize, _> = self.scratch.iter().map(|(node, s)| (*node as usize, s)).collect();
        let bytes = |(index, (node, longest)): (usize, (&ProgramNode, &SmallVec<[u64; 6]>))| {
            let bytes = longest.iter().fold(node.dtype.size() as u64, |b, &n| b.saturating_mul(n));
            let besides = sources.get(&index).map_or(0, |source| source.scratch_bytes(bytes));
            bytes.saturating_add(besides)
        };
        let costs = self.nodes.iter().zip(&self.boxes).enumerate().map(bytes).collect();
        bound::with_joins(costs, &self.joins, |node, _| self.nodes[node].uses <= 1)
    }

    /// What a block is given at most.
    fn input_bytes(&self) -> u64 {
        let mut costs = vec![0; self.nodes.len()];
        for given in &self.given {
            costs[given.node] = given.bytes;
        }
        let given: HashMap<usize, &bound::Given> = self.given.iter().map(|g| (g.node, g)).collect();
        // Where something came in between that wants all of an input for every block, every block is given it.
        bound::with_joins(costs, &self.joins, |node, member| {
            let within = |given: &&bound::Given| {
                given.blocks.iter().any(|(axis, blocks)| {
                    *axis == member.axis
                        && member.blocks.start <= blocks.start
                        && blocks.end <= member.blocks.end
                })
            };
            self.nodes[node].uses <= 1 && given.get(&node).is_none_or(within)
        })
    }
}

/// Whether everything below is read from stores or made from nothing.
fn reads_stores_only(expr: &Expr) -> bool {
    match &expr.op {
        Op::Source(_) => true,
        Op::Reduce { .. } | Op::Opaque { .. } | Op::Held(_) => false,
        _ => expr.inputs().into_iter().all(|input| reads_stores_only(input)),
    }
}

/// How often each block is read because the stage has axes that it has not.
fn repeats(cuts: &[AxisRule], grid: &BlockGrid) -> f64 {
    let used = |axis: usize| {
        cuts.iter().any(|cut| match cut {
            AxisRule::Along { axis: a, .. } | AxisRule::Windows { axis: a, .. } => *a as usize == axis,
            AxisRule::Fixed { .. } => false,
        })
    };
    let repeats: u64 =
        grid.shape().iter().enumerate().filter(|(a, _)| !used(*a)).map(|(_, &n)| n.max(1)).product();
    repeats as f64
}

/// Whether `child` becomes instructions of the program for `root` rather than an operand of it.
fn fuses(root: &Expr, child: &Expr, fusion: Fusion) -> bool {
    match &child.op {
        Op::Map { .. } => fusion == Fusion::Whole && child.shape == root.shape,
        Op::Full(_) => true,
        _ => false,
    }
}

fn collect_leaves(root: &Node, fusion: Fusion, leaves: &mut Vec<Node>) {
    let mut seen = std::collections::HashSet::new();
    let mut open = vec![root.clone()];
    while let Some(expr) = open.pop() {
        let Op::Map { inputs, .. } = &expr.op else { continue };
        for input in inputs {
            if !seen.insert(input.id) {
                continue;
            }
            if fuses(root, input, fusion) {
                open.push(input.clone());
            } else {
                leaves.push(input.clone());
            }
        }
    }
}

/// Writes instructions for `root` and everything below it that fuses; inputs before what reads them, without recursion, since
/// a notebook can build chains of thousands.
fn fuse(
    root: &Node,
    builder: &mut tile::Builder,
    values: &mut HashMap<u64, tile::ValueId>,
) -> Result<tile::ValueId, ArrayError> {
    let mut open = vec![root.clone()];
    while let Some(expr) = open.last().cloned() {
        if values.contains_key(&expr.id) {
            open.pop();
            continue;
        }
        if let Op::Full(value) = &expr.op {
            values.insert(expr.id, builder.constant(*value, expr.dtype));
            open.pop();
            continue;
        }
        let Op::Map { function, inputs } = &expr.op else { unreachable!("leaves have values") };
        let missing: Vec<Node> = inputs.iter().filter(|i| !values.contains_key(&i.id)).cloned().collect();
        if !missing.is_empty() {
            open.extend(missing);
            continue;
        }
        let operands: SmallVec<[tile::ValueId; 3]> = inputs.iter().map(|i| values[&i.id]).collect();
        let value = match function {
            Function::Unary(op) => builder.unary(*op, operands[0])?,
            Function::Binary(op, promoted) => builder.binary(*op, *promoted, operands[0], operands[1])?,
            Function::Select => builder.select(expr.dtype, operands[0], operands[1], operands[2]),
            Function::Cast => builder.cast(operands[0], expr.dtype),
        };
        values.insert(expr.id, value);
        open.pop();
    }
    Ok(values[&root.id])
}
