//! Owns which reductions share their first step: those that take in the same elements of stores, in the same blocks. Each
//! element is then read and decoded once, however many results are made of it.
//!
//! The blocks are those that the largest of the partial results asks for, so the tree of a reduction, and with it the last
//! bits of a sum of floats, may be another one than if it were computed by itself.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use nuna_chunk::Shape;
use nuna_plan::{Keep, Splits};

use crate::{
    error::ArrayError,
    expr::{Node, Op},
    grid::longest,
    planner::{
        Draft, Planner,
        demand::Demand,
        own_cuts,
        reduce::{PARTIAL_RATIO, Reduced, grouped, ordered, reads},
        stage::StageBuilder,
    },
    program::{AxisRule, Head, PartialHead, Program},
};

/// Reductions that share a stage at most: their partial results are in memory together.
const HEADS_MAX: usize = 8;
/// Partial results no larger than this are never in the way.
const SMALL_BYTES: u64 = 64 << 10;

/// Where a reduction finds its partial results.
#[derive(Clone)]
pub(super) struct Part {
    /// None if it is still to be planned.
    pub(super) stage: Option<u32>,
    /// How the stage cuts the reduction's input.
    pub(super) axes: Vec<Splits>,
    /// The axes of the input in the order of the stage's grid.
    pub(super) order: Vec<usize>,
    /// Which of the chunks in a block are this reduction's; all of them if nothing is said.
    pub(super) parts: Option<(u32, u32)>,
    /// Bytes of a block, whoever they belong to.
    pub(super) given_bytes: u64,
    /// Bytes of them that are this reduction's, where all of it is made: the order of merges depends on it.
    pub(super) partial_bytes: u64,
}

/// What is known of reductions that share stages, by the reduction's node.
#[derive(Default)]
pub(super) struct Joint {
    companions: HashMap<u64, Arc<[Node]>>,
    parts: HashMap<u64, Part>,
}

impl Joint {
    /// Finds the reductions below these nodes that are worth a common stage.
    pub(super) fn among<'n>(goals: impl Iterator<Item = &'n Node>, demand: &Demand) -> Self {
        let mut buckets: HashMap<(u32, Shape), Vec<Vec<Node>>> = HashMap::new();
        for (level, node) in reductions(goals) {
            // Of those with a window, blocks of their own are made.
            let Some(what) = Reduced::of(&node).filter(|_| demand.window(&node).is_none()) else { continue };
            let alike = buckets.entry((level, what.input.shape.clone())).or_default();
            let same = |nodes: &&mut Vec<Node>| {
                Reduced::of(&nodes[0]).is_some_and(|first| first.input.grid == what.input.grid)
            };
            match alike.iter_mut().find(same) {
                Some(nodes) => nodes.push(node),
                None => alike.push(vec![node]),
            }
        }
        let mut companions = HashMap::new();
        for nodes in buckets.into_values().flatten().filter(|nodes| nodes.len() > 1) {
            for group in sharing(&nodes) {
                for part in group.chunks(HEADS_MAX).filter(|part| part.len() > 1) {
                    let part: Arc<[Node]> = part.into();
                    companions.extend(part.iter().map(|node| (node.id, part.clone())));
                }
            }
        }
        Self { companions, parts: HashMap::new() }
    }
}

/// All reductions, each once, with how many lie below them on the longest way down. Two of the same level do not need each
/// other, also not through others, so a stage for several of them never waits for itself.
fn reductions<'n>(goals: impl Iterator<Item = &'n Node>) -> Vec<(u32, Node)> {
    let mut levels: HashMap<u64, u32> = HashMap::new();
    let mut found = Vec::new();
    // Without recursion: a notebook can build chains of thousands.
    let mut open: Vec<Node> = goals.cloned().collect();
    open.reverse();
    while let Some(node) = open.last().cloned() {
        if levels.contains_key(&node.id) {
            open.pop();
            continue;
        }
        let missing: Vec<Node> =
            node.inputs().into_iter().filter(|input| !levels.contains_key(&input.id)).cloned().collect();
        if !missing.is_empty() {
            open.extend(missing);
            continue;
        }
        let below = node.inputs().iter().map(|input| levels[&input.id]).max().unwrap_or(0);
        let is_reduction = matches!(node.op, Op::Reduce { .. });
        let level = below + u32::from(is_reduction);
        levels.insert(node.id, level);
        if is_reduction {
            found.push((level, node));
        }
        open.pop();
    }
    found
}

/// Those of the reductions, all of inputs cut alike, that read some stored elements in the same boxes.
fn sharing(nodes: &[Node]) -> Vec<Vec<Node>> {
    let mut group: Vec<usize> = (0..nodes.len()).collect();
    let mut first: HashMap<u64, Vec<(Vec<AxisRule>, usize)>> = HashMap::new();
    for (number, node) in nodes.iter().enumerate() {
        let Some(what) = Reduced::of(node) else { continue };
        for (source, cuts) in reads(what.input, own_cuts(&what.input.grid)) {
            let known = first.entry(source.id).or_default();
            match known.iter().find(|(known, _)| *known == cuts) {
                Some((_, other)) => {
                    let (a, b) = (root(&group, *other), root(&group, number));
                    group[a.max(b)] = a.min(b);
                }
                None => known.push((cuts, number)),
            }
        }
    }
    let mut groups: HashMap<usize, Vec<Node>> = HashMap::new();
    for (number, node) in nodes.iter().enumerate() {
        groups.entry(root(&group, number)).or_default().push(node.clone());
    }
    groups.into_values().filter(|group| group.len() > 1).collect()
}

fn root(group: &[usize], mut number: usize) -> usize {
    while group[number] != number {
        number = group[number];
    }
    number
}

impl Planner<'_> {
    /// Where the reduction's partial results are, if it shares the stage that makes them.
    pub(super) fn part_of(&mut self, node: &Node) -> Result<Option<Part>, ArrayError> {
        if let Some(part) = self.joint.parts.get(&node.id) {
            return Ok(Some(part.clone()));
        }
        let Some(companions) = self.joint.companions.get(&node.id).cloned() else { return Ok(None) };
        for companion in companions.iter() {
            self.joint.companions.remove(&companion.id);
        }
        self.partials(&companions)?;
        Ok(self.joint.parts.get(&node.id).cloned())
    }

    /// The stage that makes the partial results of those that go together.
    fn partials(&mut self, nodes: &[Node]) -> Result<(), ArrayError> {
        let all: Vec<(&Node, Reduced<'_>)> =
            nodes.iter().filter_map(|node| Some((node, Reduced::of(node)?))).collect();
        let own = |what: &Reduced<'_>| what.partial_bytes(what.input.grid.axes());
        let Some((_, lead)) = all.iter().max_by_key(|(_, what)| own(what)) else { return Ok(()) };
        // What those over the same axes hold per cell, of elements as wide as the widest.
        let per_cell: u64 = all
            .iter()
            .filter(|(_, w)| w.reduced == lead.reduced)
            .map(|(_, w)| w.reduction.partial_bytes())
            .sum();
        let element = all.iter().map(|(_, what)| what.input.dtype.size() as u64).max().unwrap_or(1);
        let inputs: Vec<&Node> = all.iter().map(|(_, what)| what.input).collect();
        let axes = grouped(&inputs, element, per_cell, lead.reduced);
        let block = axes.iter().map(longest).fold(element, u64::saturating_mul);
        let most = (block / PARTIAL_RATIO).max(lead.partial_bytes(&axes)).max(SMALL_BYTES);
        let members: Vec<(&Node, Reduced<'_>)> =
            all.iter().filter(|(_, what)| what.partial_bytes(&axes) <= most).copied().collect();
        if members.len() < 2 {
            return Ok(());
        }

        let order = lead.order();
        let (grid, rules) = ordered(&axes, &order);
        let pieces = lead.input.grid.axes().to_vec();
        let given_bytes =
            members.iter().map(|(_, what)| what.partial_bytes(&axes)).fold(0, u64::saturating_add);
        let mut builder = StageBuilder::new(self, grid.clone());
        let mut heads = Vec::with_capacity(members.len());
        for (_, what) in &members {
            let root = builder.shared_root(what.input, rules.clone())?;
            heads.push(PartialHead { root, reduction: what.reduction, reduced: what.reduced.to_vec() });
        }
        let roots: Vec<_> = heads.iter().map(|head| &head.root).collect();
        let bound = builder.bound_in_pieces(&roots, &pieces, &vec![true; axes.len()], given_bytes);
        let (inputs, nodes, sources) = builder.finish();
        let counts: Vec<usize> =
            heads.iter().map(|head| head.reduction.part_count()).collect::<Result<_, _>>()?;
        let program = Program { sources, nodes, head: Head::Partials { heads, pieces } };
        let mut labels: Vec<String> = Vec::new();
        let mut seen = HashSet::new();
        labels
            .extend(members.iter().map(|(node, _)| node.label()).filter(|label| seen.insert(label.clone())));
        let draft = Draft {
            name: format!("{} partial", labels.join(", ")),
            grid,
            keep: Keep::No,
            origin: members[0].0.origin.clone(),
        };
        let stage = self.push(draft, inputs, &program, Vec::new(), bound);
        let mut start = 0;
        for ((node, what), count) in members.iter().zip(counts) {
            let count = count as u32;
            let part = Part {
                stage: Some(stage),
                axes: axes.clone(),
                order: order.clone(),
                parts: Some((start, start + count)),
                given_bytes,
                partial_bytes: what.partial_bytes(&axes),
            };
            self.joint.parts.insert(node.id, part);
            start += count;
        }
        Ok(())
    }
}
