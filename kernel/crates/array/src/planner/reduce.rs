//! Owns how a reduction becomes stages: partial results of groups of blocks, then a tree of merges whose shape depends on
//! chunks alone.

use std::{collections::HashMap, ops::Range};

use nuna_chunk::reduce::Reduction;
use nuna_plan::{AxisMap, BlockGrid, BlockMap, Input, Keep, MemoryBound, Source, Splits};

use crate::{
    error::ArrayError,
    expr::{Node, Op},
    grid::longest,
    planner::{
        Blocks, Draft, Planner, along, cuts,
        demand::{elements_of, part_of},
        joint::Part,
        stage::StageBuilder,
    },
    program::{AxisRule, Finish, Head, Program},
};

/// Partial results that one task merges at most.
const SPLIT_EVERY: u64 = 16;
/// Of larger ones so many that they take no more than this together, but two at least: they wait in memory for each other.
const MERGED_BYTES: u64 = 32 << 20;
/// Blocks are merged along reduced axes until a partial result is this many times smaller than what it stands for.
pub(super) const PARTIAL_RATIO: u64 = 8;
/// Pieces smaller than this are not worth a task each.
const TASK_BYTES: u64 = 8 << 20;
/// A partial result that is this many times smaller than the block it lies in is taken out of it by itself.
const PICKED_SHARE: u64 = 4;
/// As many blocks are left for workers to share, if there were as many.
const BLOCKS_WANTED: u64 = 16;
/// Blocks of this many bytes are not cut any smaller.
const CUT_BYTES: u64 = 512 << 10;

/// What is reduced, and how: the parts of [`Op::Reduce`].
#[derive(Clone, Copy)]
pub(super) struct Reduced<'n> {
    pub(super) input: &'n Node,
    pub(super) reduction: Reduction,
    pub(super) reduced: &'n [bool],
    pub(super) keep_axes: bool,
}

impl<'n> Reduced<'n> {
    pub(super) fn of(node: &'n Node) -> Option<Self> {
        match &node.op {
            Op::Reduce { input, reduction, reduced, keep_axes } => {
                Some(Self { input, reduction: *reduction, reduced, keep_axes: *keep_axes })
            }
            _ => None,
        }
    }

    /// Bytes of the partial result over blocks cut like this.
    pub(super) fn partial_bytes(&self, axes: &[Splits]) -> u64 {
        let kept = axes.iter().zip(self.reduced).filter(|(_, reduced)| !**reduced);
        kept.map(|(splits, _)| longest(splits)).fold(self.reduction.partial_bytes(), u64::saturating_mul)
    }

    /// Whether a result over blocks cut like this takes no merging.
    fn is_whole(&self, axes: &[Splits]) -> bool {
        axes.iter().zip(self.reduced).all(|(splits, &reduced)| !reduced || splits.count() == 1)
    }

    /// The axes of the input in the order in which stages count their blocks: those that are reduced last. What is to be
    /// merged is computed one after another, by one worker for the most part, and need not wait for long.
    pub(super) fn order(&self) -> Vec<usize> {
        let (reduced, kept): (Vec<usize>, Vec<usize>) =
            (0..self.reduced.len()).partition(|&a| self.reduced[a]);
        [kept, reduced].concat()
    }

    /// The axis of the result's grid that each axis of the input becomes; none for those that are reduced.
    fn out_axes(&self) -> Vec<Option<u8>> {
        let mut next = 0;
        let place = |&reduced: &bool| {
            let own = next;
            next += u8::from(!reduced || self.keep_axes);
            (!reduced).then_some(own)
        };
        self.reduced.iter().map(place).collect()
    }

    /// The cuts of a result whose input is cut like this.
    fn out_splits(&self, axes: &[Splits]) -> Vec<Splits> {
        let one = Splits::Regular { chunk: 1, length: 1 };
        let of = |(splits, &reduced): (&Splits, &bool)| match reduced {
            false => Some(splits.clone()),
            true => self.keep_axes.then(|| one.clone()),
        };
        axes.iter().zip(self.reduced).filter_map(of).collect()
    }
}

impl Planner<'_> {
    /// A reduction's stages; the last of them has the node's own blocks.
    pub(super) fn reduce(&mut self, node: &Node, what: Reduced<'_>, keep: Keep) -> Result<u32, ArrayError> {
        let part = match self.part_of(node)? {
            Some(part) => part,
            None => {
                let element = what.input.dtype.size() as u64;
                let axes = grouped(&[what.input], element, what.reduction.partial_bytes(), what.reduced);
                let given_bytes = what.partial_bytes(&axes);
                let order = what.order();
                Part { stage: None, axes, order, parts: None, given_bytes, partial_bytes: given_bytes }
            }
        };
        let axes = what.out_splits(&part.axes);
        if axes == node.grid.axes() {
            return self.finished(node, what, keep, part);
        }
        // The first step has other blocks.
        let stage = self.finished(node, what, Keep::No, part)?;
        self.done.insert(node.id, Blocks::new(Source::Stage(stage), axes));
        self.emit(node, keep)
    }

    /// The stages of a reduction of which only these blocks are wanted. They are merged in the same order as if all were, so that
    /// they hold the same bits.
    pub(super) fn reduce_part(
        &mut self,
        node: &Node,
        what: Reduced<'_>,
        window: &[Range<u64>],
    ) -> Result<Blocks, ArrayError> {
        let element = what.input.dtype.size() as u64;
        let mut axes = grouped(&[what.input], element, what.reduction.partial_bytes(), what.reduced);
        let given_bytes = what.partial_bytes(&axes);
        let wanted = elements_of(node.grid.axes(), window);
        for (axis, place) in what.out_axes().into_iter().enumerate() {
            if let Some(place) = place {
                let blocks = axes[axis].overlapping(wanted[place as usize].clone());
                axes[axis] = part_of(&axes[axis], &blocks);
            }
        }
        let out = what.out_splits(&axes);
        let order = what.order();
        let part = Part { stage: None, axes, order, parts: None, given_bytes, partial_bytes: given_bytes };
        let stage = self.finished(node, what, Keep::No, part)?;
        Ok(Blocks::new(Source::Stage(stage), out))
    }

    /// The stages of a reduction whose input is cut like this.
    fn finished(
        &mut self,
        node: &Node,
        what: Reduced<'_>,
        keep: Keep,
        part: Part,
    ) -> Result<u32, ArrayError> {
        if part.stage.is_some() {
            return Ok(self.merge(node, what, keep, part));
        }
        let axes = part.axes;
        let Reduced { input, reduction, reduced, keep_axes } = what;
        let single = what.is_whole(&axes);
        let (grid, rules) = if single {
            let whole = |splits: &Splits| {
                let range = splits.range(0);
                AxisRule::Fixed { start: range.start, end: range.end }
            };
            let rules = axes.iter().zip(what.out_axes()).map(|(splits, place)| match place {
                None => whole(splits),
                Some(axis) => AxisRule::Along { axis, splits: splits.clone() },
            });
            (BlockGrid::new(what.out_splits(&axes).iter().map(Splits::count)), rules.collect())
        } else {
            ordered(&axes, &part.order)
        };
        let pieces = input.grid.axes().to_vec();
        let mut builder = StageBuilder::new(self, grid.clone());
        let root = builder.root(input, rules)?;
        let mut bound = builder.bound_in_pieces(&[&root], &pieces, reduced, part.given_bytes);
        if single {
            // The result is made beside what it is made of.
            let cells = what.out_splits(&axes).iter().map(longest).fold(1, u64::saturating_mul);
            bound.scratch = bound.scratch.saturating_add(cells.saturating_mul(node.dtype.size() as u64));
        }
        let (inputs, nodes, sources) = builder.finish();
        let finish = single.then_some(if keep_axes { Finish::KeepAxes } else { Finish::DropAxes });
        let head = Head::Partial { root, pieces, reduction, reduced: reduced.to_vec(), finish };
        let program = Program { sources, nodes, head };
        let label = node.label();
        let read = match &input.op {
            Op::Source(source) => format!("read {}, ", source.name()),
            _ => String::new(),
        };
        let draft = Draft {
            name: if single { format!("{read}{label}") } else { format!("{read}{label} partial") },
            grid,
            keep: if single { keep } else { Keep::No },
            origin: node.origin.clone(),
        };
        let stage = self.push(draft, inputs, &program, Vec::new(), bound);
        if single {
            return Ok(stage);
        }
        Ok(self.merge(node, what, keep, Part { stage: Some(stage), axes, ..part }))
    }

    /// The tree that merges partial results, and ends with the result in blocks as those are cut along the axes that stay.
    fn merge(&mut self, node: &Node, what: Reduced<'_>, keep: Keep, part: Part) -> u32 {
        let Reduced { reduction, reduced, keep_axes, .. } = what;
        let finish = if keep_axes { Finish::KeepAxes } else { Finish::DropAxes };
        let Part { stage, mut axes, order, mut parts, mut given_bytes, partial_bytes } = part;
        let mut stage = stage.expect("the first step has been planned");
        let out_grid = BlockGrid::new(what.out_splits(&axes).iter().map(Splits::count));
        let out_axes = what.out_axes();
        let label = node.label();
        // Of a block that is mostly others' little is wanted by many: taken out where it is, at once.
        let mut picks = parts.is_some() && given_bytes / PICKED_SHARE >= partial_bytes;
        loop {
            let fan_in = if picks { 1 } else { (MERGED_BYTES / given_bytes.max(1)).clamp(2, SPLIT_EVERY) };
            let open: Vec<usize> = (0..axes.len()).filter(|&a| reduced[a] && axes[a].count() > 1).collect();
            let together: u64 = open.iter().map(|&a| axes[a].count()).product();
            let (input_grid, _) = ordered(&axes, &order);
            let last = !picks && together <= fan_in;
            // Each open axis shrinks by the same factor, such that a task merges about `fan_in` in all.
            let size = match (last, picks) {
                (true, _) => u64::MAX,
                (_, true) => 1,
                _ => (fan_in as f64).powf(1.0 / open.len() as f64).floor().max(2.0) as u64,
            };
            let merged = open.iter().map(|&a| axes[a].count().min(size)).fold(1, u64::saturating_mul);
            let bound = MemoryBound {
                inputs: given_bytes.saturating_mul(merged),
                output: partial_bytes,
                scratch: partial_bytes,
            };
            // Along axes that stay, blocks are those of the result once that is the last step.
            let place = |at: usize| if last { out_axes[order[at]] } else { Some(at as u8) };
            let maps = order.iter().enumerate().map(|(at, &axis)| match (reduced[axis], place(at)) {
                (true, _) if last => AxisMap::All,
                (true, _) => AxisMap::Group { axis: at as u8, size },
                (false, place) => AxisMap::Along { axis: place.expect("kept axes have a place"), offset: 0 },
            });
            let map = match picks {
                true => BlockMap::Same,
                false => BlockMap::Axes { input_grid, axes: maps.collect() },
            };
            let mut cells = vec![AxisRule::Fixed { start: 0, end: 1 }; axes.len()];
            for (at, &axis) in order.iter().enumerate().filter(|(_, axis)| !reduced[**axis]) {
                let place = place(at).expect("kept axes have a place");
                cells[axis] = AxisRule::Along { axis: place, splits: axes[axis].clone() };
            }
            let head = Head::Merge {
                cells,
                parts,
                reduction,
                reduced: reduced.to_vec(),
                finish: last.then_some(finish),
            };
            if !last && !picks {
                for &axis in &open {
                    axes[axis] = Splits::Regular { chunk: 1, length: axes[axis].count().div_ceil(size) };
                }
            }
            let draft = Draft {
                name: match (last, picks) {
                    (true, _) => label.clone(),
                    (_, true) => format!("{label} pick"),
                    _ => format!("{label} merge"),
                },
                grid: if last { out_grid.clone() } else { ordered(&axes, &order).0 },
                keep: if last { keep } else { Keep::No },
                origin: node.origin.clone(),
            };
            let program = Program { sources: Vec::new(), nodes: Vec::new(), head };
            let inputs = vec![Input { source: Source::Stage(stage), map }];
            stage = self.push(draft, inputs, &program, Vec::new(), bound);
            if last {
                return stage;
            }
            (parts, given_bytes, picks) = (None, partial_bytes, false);
        }
    }
}

/// The grid of a stage whose axes are those of its input in this order, and what its blocks cover.
pub(super) fn ordered(axes: &[Splits], order: &[usize]) -> (BlockGrid, Vec<AxisRule>) {
    let mut rules = vec![AxisRule::Fixed { start: 0, end: 0 }; axes.len()];
    for (at, &axis) in order.iter().enumerate() {
        rules[axis] = AxisRule::Along { axis: at as u8, splits: axes[axis].clone() };
    }
    (BlockGrid::new(order.iter().map(|&axis| axes[axis].count())), rules)
}

/// Cuts for the first step of reductions over inputs that are cut alike: blocks merged along reduced axes while their partial
/// result (`partial` bytes a cell) would be nearly as large as they are (`element` bytes an element), or they are too small for
/// a task. Where too few blocks would be left, they are cut along the axes that stay, as far as stored chunks, and blocks of other
/// stages, stay whole.
/// Depends on shapes and chunks alone, so that results do not depend on the cluster.
pub(super) fn grouped(inputs: &[&Node], element: u64, partial: u64, reduced: &[bool]) -> Vec<Splits> {
    let Some(input) = inputs.first() else { return Vec::new() };
    let mut axes = input.grid.axes().to_vec();
    let bytes = |axes: &[Splits]| axes.iter().map(longest).fold(element, u64::saturating_mul).max(1);
    let count = |axes: &[Splits]| axes.iter().map(Splits::count).fold(1, u64::saturating_mul);
    let cells = axes.iter().zip(reduced).filter(|(_, r)| !**r).map(|(s, _)| longest(s)).product::<u64>();
    // The same however the axes that stay are cut.
    let for_ratio = PARTIAL_RATIO.saturating_mul(cells.saturating_mul(partial)).div_ceil(bytes(&axes));
    let factors =
        |axes: &[Splits]| -> Vec<f64> { inputs.iter().flat_map(|input| read_factors(input, axes)).collect() };
    for axis in (0..axes.len()).filter(|&axis| !reduced[axis]) {
        while count(&axes) / BLOCKS_WANTED < for_ratio
            && bytes(&axes) / 2 >= CUT_BYTES
            && let Some(halves) = halved(&axes[axis])
        {
            let before = factors(&axes);
            let own = std::mem::replace(&mut axes[axis], halves);
            if factors(&axes).iter().zip(before).any(|(after, before)| *after > before) {
                axes[axis] = own;
                break;
            }
        }
    }
    let for_overhead = (TASK_BYTES / bytes(&axes)).min(count(&axes) / 64);
    let mut group = for_ratio.min(count(&axes) / BLOCKS_WANTED).max(for_overhead).max(1);
    for axis in (0..axes.len()).rev().filter(|&a| reduced[a]) {
        let blocks = axes[axis].count();
        let size = group.min(blocks).max(1);
        if size > 1 {
            axes[axis] = cuts::merged(&axes[axis], size);
        }
        group /= size;
    }
    axes
}

/// Every block as two.
fn halved(splits: &Splits) -> Option<Splits> {
    match splits {
        Splits::Regular { chunk, length } if chunk.is_multiple_of(2) => {
            Some(Splits::Regular { chunk: chunk / 2, length: *length })
        }
        _ => None,
    }
}

/// How often blocks that cut `input` like this read what is below, chunk by chunk, in units of what they need.
fn read_factors(input: &Node, axes: &[Splits]) -> Vec<f64> {
    let grid = BlockGrid::new(axes.iter().map(Splits::count));
    let factor = |(node, rules): &(Node, Vec<AxisRule>)| match &node.op {
        Op::Source(source) => {
            let stored = source.shape().iter().zip(source.chunk_shape());
            let stored = stored.map(|(&length, &chunk)| Splits::Regular { chunk: chunk.max(1), length });
            cuts::read_factor(rules, &stored.collect::<Vec<_>>(), &grid)
        }
        _ => cuts::read_factor(rules, node.grid.axes(), &grid),
    };
    leaves(input, along(axes)).iter().map(factor).collect()
}

/// The stored arrays that blocks of `node`, cut like this, read and must decode, each with the box.
pub(super) fn reads(node: &Node, rules: Vec<AxisRule>) -> Vec<(Node, Vec<AxisRule>)> {
    let mut found = leaves(node, rules);
    found.retain(|(node, _)| matches!(node.op, Op::Source(_)));
    found
}

/// [`reads`], and what other stages make.
fn leaves(node: &Node, rules: Vec<AxisRule>) -> Vec<(Node, Vec<AxisRule>)> {
    let mut found = Vec::new();
    let mut seen: HashMap<u64, Vec<Vec<AxisRule>>> = HashMap::new();
    let mut open = vec![(node.clone(), rules)];
    while let Some((node, rules)) = open.pop() {
        let known = seen.entry(node.id).or_default();
        if known.contains(&rules) {
            continue;
        }
        known.push(rules.clone());
        match &node.op {
            Op::Source(source) if source.random_access() => {}
            Op::Source(_) | Op::Reduce { .. } | Op::Opaque { .. } | Op::Held(_) => found.push((node, rules)),
            _ => open.extend(node.inputs().into_iter().cloned().zip(cuts::of_inputs(&node, &rules))),
        }
    }
    found
}
