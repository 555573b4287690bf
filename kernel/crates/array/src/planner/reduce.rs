//! Owns how a reduction becomes stages: partial results of groups of blocks, then a tree of merges whose shape depends on
//! chunks alone.

use std::collections::HashMap;

use nuna_chunk::reduce::Reduction;
use nuna_plan::{AxisMap, BlockGrid, BlockMap, Input, Keep, MemoryBound, Source, Splits};

use crate::{
    error::ArrayError,
    expr::{Node, Op},
    grid::longest,
    planner::{Blocks, Draft, Planner, along, cuts, joint::Part, stage::StageBuilder},
    program::{AxisRule, Finish, Head, Program},
};

/// Partial results that one task merges at most.
const SPLIT_EVERY: u64 = 16;
/// Of larger ones so many that they take no more than this together, but two at least: they wait in memory for each other.
const MERGED_BYTES: u64 = 64 << 20;
/// Blocks are merged along reduced axes until a partial result is this many times smaller than what it stands for.
pub(super) const PARTIAL_RATIO: u64 = 8;
/// Pieces smaller than this are not worth a task each.
const TASK_BYTES: u64 = 8 << 20;
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
                Part { stage: None, axes, parts: None, given_bytes }
            }
        };
        let axes = what.out_splits(&part.axes);
        if axes == node.grid.axes() {
            return self.finished(node, what, keep, part);
        }
        // The first step has other blocks.
        let stage = self.finished(node, what, Keep::No, part)?;
        self.done.insert(node.id, Blocks { source: Source::Stage(stage), axes });
        self.emit(node, keep)
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
        let out_axes = what.out_axes();
        let rules: Vec<AxisRule> = axes
            .iter()
            .enumerate()
            .map(|(axis, splits)| match out_axes[axis] {
                None if single => {
                    let range = splits.range(0);
                    AxisRule::Fixed { start: range.start, end: range.end }
                }
                Some(axis) if single => AxisRule::Along { axis, splits: splits.clone() },
                _ => AxisRule::Along { axis: axis as u8, splits: splits.clone() },
            })
            .collect();
        let grid = match single {
            true => BlockGrid::new(what.out_splits(&axes).iter().map(Splits::count)),
            false => BlockGrid::new(axes.iter().map(Splits::count)),
        };
        let pieces = input.grid.axes().to_vec();
        let mut builder = StageBuilder::new(self, grid.clone());
        let root = builder.root(input, rules)?;
        let bound = builder.bound_in_pieces(&[&root], &pieces, reduced, part.given_bytes);
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
        let Part { stage, mut axes, mut parts, mut given_bytes } = part;
        let mut stage = stage.expect("the first step has been planned");
        let partial_bytes = what.partial_bytes(&axes);
        let out_grid = BlockGrid::new(what.out_splits(&axes).iter().map(Splits::count));
        let out_axes = what.out_axes();
        let label = node.label();
        loop {
            let fan_in = (MERGED_BYTES / given_bytes.max(1)).clamp(2, SPLIT_EVERY);
            let counts: Vec<u64> = axes.iter().map(Splits::count).collect();
            let open: Vec<usize> = (0..axes.len()).filter(|&a| reduced[a] && counts[a] > 1).collect();
            let together: u64 = open.iter().map(|&a| counts[a]).product();
            let input_grid = BlockGrid::new(counts.iter().copied());
            let last = together <= fan_in;
            // Each open axis shrinks by the same factor, such that a task merges about `fan_in` in all.
            let size = if last {
                u64::MAX
            } else {
                (fan_in as f64).powf(1.0 / open.len() as f64).floor().max(2.0) as u64
            };
            // Along axes that stay, blocks are those of the result once that is the last step.
            let place = |axis: usize| if last { out_axes[axis] } else { Some(axis as u8) };
            let maps = (0..axes.len()).map(|axis| match (reduced[axis], place(axis)) {
                (true, _) if last => AxisMap::All,
                (true, _) => AxisMap::Group { axis: axis as u8, size },
                (false, place) => AxisMap::Along { axis: place.expect("kept axes have a place"), offset: 0 },
            });
            let maps: Vec<AxisMap> = maps.collect();
            let cells = axes.iter().enumerate().map(|(axis, splits)| match reduced[axis] {
                true => AxisRule::Fixed { start: 0, end: 1 },
                false => AxisRule::Along {
                    axis: place(axis).expect("kept axes have a place"),
                    splits: splits.clone(),
                },
            });
            let head = Head::Merge {
                cells: cells.collect(),
                parts,
                reduction,
                reduced: reduced.to_vec(),
                finish: last.then_some(finish),
            };
            let merged = if last { together } else { open.iter().map(|&a| counts[a].min(size)).product() };
            let bound = MemoryBound {
                inputs: given_bytes.saturating_mul(merged),
                output: partial_bytes,
                scratch: partial_bytes,
            };
            if !last {
                for &axis in &open {
                    axes[axis] = Splits::Regular { chunk: 1, length: counts[axis].div_ceil(size) };
                }
            }
            let grid = if last { out_grid.clone() } else { BlockGrid::new(axes.iter().map(Splits::count)) };
            let program = Program { sources: Vec::new(), nodes: Vec::new(), head };
            let inputs =
                vec![Input { source: Source::Stage(stage), map: BlockMap::Axes { input_grid, axes: maps } }];
            let draft = Draft {
                name: if last { label.clone() } else { format!("{label} merge") },
                grid,
                keep: if last { keep } else { Keep::No },
                origin: node.origin.clone(),
            };
            stage = self.push(draft, inputs, &program, Vec::new(), bound);
            if last {
                return stage;
            }
            (parts, given_bytes) = (None, partial_bytes);
        }
    }
}

/// Cuts for the first step of reductions over inputs that are cut alike: blocks merged along reduced axes while their partial
/// result (`partial` bytes a cell) would be nearly as large as they are (`element` bytes an element), or they are too small for
/// a task. Where too few blocks would be left, they are cut along the axes that stay, as far as stored chunks allow it.
/// Depends on shapes and chunks alone, so that results do not depend on the cluster.
pub(super) fn grouped(inputs: &[&Node], element: u64, partial: u64, reduced: &[bool]) -> Vec<Splits> {
    let Some(input) = inputs.first() else { return Vec::new() };
    let mut axes = input.grid.axes().to_vec();
    let bytes = |axes: &[Splits]| axes.iter().map(longest).fold(element, u64::saturating_mul).max(1);
    let count = |axes: &[Splits]| axes.iter().map(Splits::count).fold(1, u64::saturating_mul);
    let cells = axes.iter().zip(reduced).filter(|(_, r)| !**r).map(|(s, _)| longest(s)).product::<u64>();
    // The same however the axes that stay are cut.
    let for_ratio = PARTIAL_RATIO.saturating_mul(cells.saturating_mul(partial)).div_ceil(bytes(&axes));
    for axis in (0..axes.len()).filter(|&axis| !reduced[axis]) {
        while count(&axes) / BLOCKS_WANTED < for_ratio
            && bytes(&axes) / 2 >= CUT_BYTES
            && let Some(halves) = halved(&axes[axis])
        {
            let own = std::mem::replace(&mut axes[axis], halves);
            if !inputs.iter().all(|input| reads_whole_chunks(input, &axes)) {
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

/// Whether no stored chunk is decoded for two of the blocks that cut `input` like this.
fn reads_whole_chunks(input: &Node, axes: &[Splits]) -> bool {
    let grid = BlockGrid::new(axes.iter().map(Splits::count));
    reads(input, along(axes)).iter().all(|(node, rules)| match &node.op {
        Op::Source(source) => {
            let stored = source.shape().iter().zip(source.chunk_shape());
            let stored = stored.map(|(&length, &chunk)| Splits::Regular { chunk: chunk.max(1), length });
            cuts::read_factor(rules, &stored.collect::<Vec<_>>(), &grid) <= 1.0
        }
        _ => true,
    })
}

/// The stored arrays that blocks of `node`, cut like this, read and must decode, each with the box.
pub(super) fn reads(node: &Node, rules: Vec<AxisRule>) -> Vec<(Node, Vec<AxisRule>)> {
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
            Op::Source(source) if !source.random_access() => found.push((node, rules)),
            // Blocks of other stages are there for all.
            Op::Source(_) | Op::Reduce { .. } | Op::Opaque { .. } | Op::Held(_) => {}
            _ => open.extend(node.inputs().into_iter().cloned().zip(cuts::of_inputs(&node, &rules))),
        }
    }
    found
}
