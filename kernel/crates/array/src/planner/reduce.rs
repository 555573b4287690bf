//! Owns how a reduction becomes stages: partial results of groups of blocks, then a tree of merges whose shape depends on
//! chunks alone.

use nuna_chunk::reduce::Reduction;
use nuna_plan::{AxisMap, BlockGrid, BlockMap, Input, Keep, MemoryBound, Source, Splits};

use crate::{
    error::ArrayError,
    expr::{Expr, Node, Op},
    grid::longest,
    planner::{Blocks, Draft, Planner, cuts, joint::Part, stage::StageBuilder},
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
        if let Some(part) = self.part_of(node)? {
            let axes = what.out_splits(&part.axes);
            if axes == node.grid.axes() {
                return Ok(self.merge(node, what, keep, part));
            }
            // Others that share the first step have larger blocks.
            let stage = self.merge(node, what, Keep::No, part);
            self.done.insert(node.id, Blocks { source: Source::Stage(stage), axes });
            return self.emit(node, keep);
        }
        let Reduced { input, reduction, reduced, keep_axes } = what;
        let axes = grouped(input, input.dtype.size() as u64, reduction.partial_bytes(), reduced);
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
            true => node.grid.block_grid(),
            false => BlockGrid::new(axes.iter().map(Splits::count)),
        };
        let pieces = input.grid.axes().to_vec();
        let mut builder = StageBuilder::new(self, grid.clone());
        let root = builder.root(input, rules)?;
        let bound = builder.bound_in_pieces(&[&root], &pieces, reduced, what.partial_bytes(&axes));
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
        let given_bytes = what.partial_bytes(&axes);
        Ok(self.merge(node, what, keep, Part { stage, axes, parts: None, given_bytes }))
    }

    /// The tree that merges partial results, and ends with the result in blocks as those are cut along the axes that stay.
    fn merge(&mut self, node: &Node, what: Reduced<'_>, keep: Keep, part: Part) -> u32 {
        let Reduced { reduction, reduced, keep_axes, .. } = what;
        let finish = if keep_axes { Finish::KeepAxes } else { Finish::DropAxes };
        let Part { mut stage, mut axes, mut parts, mut given_bytes } = part;
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

/// Cuts for the first step of a reduction: blocks merged along reduced axes while their partial result (`partial` bytes a
/// cell) would be nearly as large as they are (`element` bytes an element), or they are too small for a task. Depends on
/// shapes alone, so that results do not depend on the cluster.
pub(super) fn grouped(input: &Expr, element: u64, partial: u64, reduced: &[bool]) -> Vec<Splits> {
    let axes = input.grid.axes();
    let chunk = input.grid.chunk_shape();
    let block: u64 = chunk.iter().product::<u64>().saturating_mul(element).max(1);
    let cells: u64 = chunk.iter().zip(reduced).filter(|(_, r)| !**r).map(|(n, _)| n).product();
    let partial = cells.saturating_mul(partial);
    let count = input.grid.count();
    let for_ratio = (PARTIAL_RATIO.saturating_mul(partial)).div_ceil(block).min(count / 16);
    let for_overhead = (TASK_BYTES / block).min(count / 64);
    let mut group = for_ratio.max(for_overhead).max(1);
    let mut out = axes.to_vec();
    for axis in (0..axes.len()).rev().filter(|&a| reduced[a]) {
        let blocks = axes[axis].count();
        let size = group.min(blocks).max(1);
        if size > 1 {
            out[axis] = cuts::merged(&axes[axis], size);
        }
        group /= size;
    }
    out
}
