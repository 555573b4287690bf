//! Owns what of each node is wanted at all: a slice of what a function makes has the function called for the blocks that hold it.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

use nuna_plan::Splits;

use crate::{
    expr::{Expr, Node, Op},
    grid::bounds,
    planner::cuts::of_inputs,
    program::AxisRule,
};

/// By expression: a box that holds all that is wanted of it.
#[derive(Default)]
pub(crate) struct Demand(HashMap<u64, Vec<Range<u64>>>);

/// Blocks along each axis.
pub(crate) type BlockWindow = Vec<Range<u64>>;

impl Demand {
    /// All of these, and what they need for it.
    pub(crate) fn of<'a>(goals: impl Iterator<Item = &'a Node>) -> Self {
        let goals: Vec<&Node> = goals.collect();
        let mut demand = Self::default();
        let order = inputs_first(&goals);
        if !order.iter().any(|node| matches!(node.op, Op::Opaque { .. } | Op::Reduce { .. })) {
            return demand;
        }
        for goal in goals {
            demand.want(goal, whole(goal));
        }
        for node in order.into_iter().rev() {
            let Some(wanted) = demand.0.get(&node.id).cloned() else { continue };
            match &node.op {
                Op::Reduce { input, reduced, keep_axes, .. } => {
                    let part = demand.window(node).map(|window| elements_of(node.grid.axes(), &window));
                    let mut part = part.unwrap_or_else(|| whole(node)).into_iter();
                    let along = input.shape.iter().zip(reduced).map(|(&n, &reduced)| match reduced {
                        true if *keep_axes => part.next().map(|_| 0..n).unwrap_or(0..n),
                        true => 0..n,
                        false => part.next().unwrap_or(0..n),
                    });
                    demand.want(input, along.collect());
                }
                // Computed whole, whatever is wanted of them.
                Op::Rechunk { input } if !matches!(input.op, Op::Opaque { .. }) => {
                    demand.want(input, whole(input));
                }
                Op::Opaque { inputs, reads, .. } => {
                    let window = blocks_over(node.grid.axes(), &wanted);
                    for (input, rules) in inputs.iter().zip(reads) {
                        let cut: Vec<AxisRule> = rules.iter().map(|rule| windowed(rule, &window)).collect();
                        demand.want(input, cut.iter().map(super::cuts::span).collect());
                    }
                }
                _ => {
                    let rule = |range: &Range<u64>| AxisRule::Fixed { start: range.start, end: range.end };
                    let cuts: Vec<AxisRule> = wanted.iter().map(rule).collect();
                    for (input, cuts) in node.inputs().into_iter().zip(of_inputs(node, &cuts)) {
                        demand.want(input, cuts.iter().map(super::cuts::span).collect());
                    }
                }
            }
        }
        demand
    }

    fn want(&mut self, node: &Node, part: Vec<Range<u64>>) {
        let known = self.0.entry(node.id).or_insert_with(|| part.clone());
        for (known, part) in known.iter_mut().zip(part) {
            match (known.is_empty(), part.is_empty()) {
                (_, true) => {}
                (true, false) => *known = part,
                (false, false) => *known = known.start.min(part.start)..known.end.max(part.end),
            }
        }
    }

    /// The blocks of a function or a reduction that are wanted; nothing if all of them are, or nobody knows. Of a reduction, which
    /// shares its reading with others only if all of it is made, also nothing if more than half of them are.
    pub(crate) fn window(&self, node: &Expr) -> Option<BlockWindow> {
        let window = blocks_over(node.grid.axes(), self.0.get(&node.id)?);
        let count = |window: &[Range<u64>]| {
            window.iter().map(|part| part.end - part.start).fold(1, u64::saturating_mul)
        };
        let (wanted, all) = (count(&window), node.grid.block_grid().count());
        let is_worth_it = match node.op {
            Op::Reduce { .. } => wanted <= all / 2,
            _ => wanted < all,
        };
        is_worth_it.then_some(window)
    }
}

/// The elements in some blocks.
pub(crate) fn elements_of(axes: &[Splits], window: &[Range<u64>]) -> Vec<Range<u64>> {
    let along = |(splits, part): (&Splits, &Range<u64>)| match part.is_empty() {
        true => 0..0,
        false => splits.range(part.start).start..splits.range(part.end - 1).end,
    };
    axes.iter().zip(window).map(along).collect()
}

fn whole(node: &Node) -> Vec<Range<u64>> {
    node.shape.iter().map(|&n| 0..n).collect()
}

/// Every node once, after its inputs; without recursion, since a notebook can build chains of thousands.
fn inputs_first<'a>(goals: &[&'a Node]) -> Vec<&'a Node> {
    let (mut order, mut seen) = (Vec::new(), HashSet::new());
    let mut open: Vec<(&Node, bool)> = goals.iter().map(|node| (*node, false)).collect();
    while let Some((node, is_done)) = open.pop() {
        if is_done {
            order.push(node);
        } else if seen.insert(node.id) {
            open.push((node, true));
            open.extend(node.inputs().into_iter().map(|input| (input, false)));
        }
    }
    order
}

/// The blocks that hold a box, at least one along each axis that has any.
fn blocks_over(axes: &[Splits], wanted: &[Range<u64>]) -> BlockWindow {
    let along = |(splits, range): (&Splits, &Range<u64>)| {
        let blocks = splits.overlapping(range.clone());
        if blocks.is_empty() { 0..splits.count().min(1) } else { blocks }
    };
    axes.iter().zip(wanted).map(along).collect()
}

/// The cuts of some blocks.
pub(crate) fn part_of(splits: &Splits, blocks: &Range<u64>) -> Splits {
    let cuts = bounds(splits);
    if *blocks == (0..splits.count()) {
        return splits.clone();
    }
    Splits::Listed { bounds: cuts[blocks.start as usize..=blocks.end as usize].to_vec() }
}

/// What some blocks read, where the first of them is number 0.
pub(crate) fn windowed(rule: &AxisRule, window: &[Range<u64>]) -> AxisRule {
    match rule {
        AxisRule::Fixed { .. } => rule.clone(),
        AxisRule::Along { axis, splits } => {
            AxisRule::Along { axis: *axis, splits: part_of(splits, &window[*axis as usize]) }
        }
        AxisRule::Windows { axis, ranges } => {
            let part = &window[*axis as usize];
            let ranges = ranges[part.start as usize..part.end as usize].to_vec();
            AxisRule::Windows { axis: *axis, ranges }
        }
    }
}

/// What is asked for of a part of a node, of which blocks need no more than is there.
pub(crate) fn clipped(rule: &AxisRule, there: &Splits) -> AxisRule {
    let cuts = bounds(there);
    let (low, high) = (cuts.first().copied().unwrap_or(0), cuts.last().copied().unwrap_or(0));
    let within = |at: u64| at.clamp(low, high);
    match rule {
        AxisRule::Fixed { start, end } => AxisRule::Fixed { start: within(*start), end: within(*end) },
        AxisRule::Along { axis, splits } => {
            let bounds = bounds(splits).into_iter().map(within).collect();
            AxisRule::Along { axis: *axis, splits: Splits::Listed { bounds } }
        }
        AxisRule::Windows { axis, ranges } => {
            let ranges = ranges.iter().map(|range| within(range.start)..within(range.end)).collect();
            AxisRule::windows(*axis, ranges)
        }
    }
}
