//! Owns partial results of reductions: a block's box is taken in piece by piece, so that no more than a piece is in memory.

use std::ops::Range;

use nuna_chunk::{
    Chunk, Region, Shape,
    assemble::Assembly,
    reduce::{Accumulator, Reduction},
};
use nuna_plan::{BlockGrid, Splits, TaskError, Value};

use super::{Evaluation, fatal};
use crate::program::{AxisRule, PartialHead, Root};

/// The chunks of a partial result in a block that has several, or nothing else.
pub(super) fn of_value(value: &Value, parts: Option<(u32, u32)>) -> Result<Vec<Chunk>, TaskError> {
    let mut all = Chunk::parts_from_value(value).map_err(fatal)?;
    let Some((start, end)) = parts else { return Ok(all) };
    let found = all.len();
    if start > end || end as usize > found {
        return Err(TaskError::fatal(format!(
            "a block has {found} partial results, and those from {start} to {end} are asked for; are all workers of one build?"
        )));
    }
    all.truncate(end as usize);
    all.drain(..start as usize);
    Ok(all)
}

/// The pieces of a box, in row-major order; the order is part of the result's last bits.
struct Pieces {
    /// Along each axis.
    cuts: Vec<Vec<Range<u64>>>,
    grid: BlockGrid,
}

impl Pieces {
    /// Cuts at `splits` along those axes that are `cut`.
    fn of(region: &Region, splits: &[Splits], cut: impl Fn(usize) -> bool) -> Self {
        let along = |axis: usize, range: &Range<u64>| {
            if !cut(axis) {
                return vec![range.clone()];
            }
            let within = |block: u64| {
                let own = splits[axis].range(block);
                own.start.max(range.start)..own.end.min(range.end)
            };
            splits[axis].overlapping(range.clone()).map(within).collect()
        };
        let cuts: Vec<_> =
            region.ranges().iter().enumerate().map(|(axis, range)| along(axis, range)).collect();
        let grid = BlockGrid::new(cuts.iter().map(|cuts| cuts.len() as u64));
        Self { cuts, grid }
    }

    fn region(&self, at: &[u64]) -> Region {
        Region::new(self.cuts.iter().zip(at).map(|(cuts, &i)| cuts[i as usize].clone()))
    }
}

/// Where the piece begins along the reduced axis, which matters where there is one only.
fn origin(piece: &Region, reduced: &[bool]) -> u64 {
    let axis = reduced.iter().position(|&reduced| reduced).unwrap_or(0);
    piece.ranges().get(axis).map_or(0, |range| range.start)
}

impl Evaluation<'_> {
    pub(super) fn partial(
        &self,
        root: &Root,
        pieces: &[Splits],
        reduction: Reduction,
        reduced: &[bool],
        coords: &[u64],
    ) -> Result<Accumulator, TaskError> {
        let region = AxisRule::region(&root.region, coords);
        let mut partial = Accumulator::new(reduction, &region.shape(), reduced).map_err(fatal)?;
        let pieces = Pieces::of(&region, pieces, |axis| reduced[axis]);
        for number in 0..pieces.grid.count() {
            let piece = pieces.region(&pieces.grid.coords(number));
            let chunk = self.node(root.node, &piece)?;
            partial.update(&chunk, origin(&piece, reduced)).map_err(fatal)?;
            self.known.borrow_mut().clear();
        }
        Ok(partial)
    }

    /// The partial results of several reductions over one box, one after another: each piece is made once for all.
    pub(super) fn partials(
        &self,
        heads: &[PartialHead],
        pieces: &[Splits],
        coords: &[u64],
    ) -> Result<Value, TaskError> {
        let region = match heads.first() {
            Some(head) => AxisRule::region(&head.root.region, coords),
            None => return Ok(Value::default()),
        };
        let pieces = Pieces::of(&region, pieces, |_| true);
        let mut partials: Vec<Mosaic> = heads.iter().map(|head| Mosaic::new(head, &pieces)).collect();
        for number in 0..pieces.grid.count() {
            let at = pieces.grid.coords(number);
            let piece = pieces.region(&at);
            for (head, partial) in heads.iter().zip(&mut partials) {
                partial.update(head, &at, &piece, &region, &self.node(head.root.node, &piece)?)?;
            }
            self.known.borrow_mut().clear();
        }
        let mut parts = Vec::new();
        for (head, partial) in heads.iter().zip(partials) {
            parts.extend(partial.into_parts(head, &region)?);
        }
        Ok(Chunk::parts_to_value(&parts))
    }
}

/// A partial result whose cells are cut as pieces are: each of its stones has seen those pieces that lie over it.
struct Mosaic {
    /// Pieces along the axes that stay, and one along those that are reduced.
    grid: BlockGrid,
    stones: Vec<Option<(Region, Accumulator)>>,
}

impl Mosaic {
    fn new(head: &PartialHead, pieces: &Pieces) -> Self {
        let counts = pieces.grid.shape().iter().zip(&head.reduced);
        let grid =
            BlockGrid::new(counts.map(|(&count, &reduced)| if reduced { count.min(1) } else { count }));
        let stones = (0..grid.count()).map(|_| None).collect();
        Self { grid, stones }
    }

    fn update(
        &mut self,
        head: &PartialHead,
        at: &[u64],
        piece: &Region,
        region: &Region,
        chunk: &Chunk,
    ) -> Result<(), TaskError> {
        let mut number = 0;
        for ((&at, &reduced), &count) in at.iter().zip(&head.reduced).zip(self.grid.shape()) {
            number = number * count + if reduced { 0 } else { at };
        }
        let stone = &mut self.stones[number as usize];
        if stone.is_none() {
            // Along reduced axes the stone is as long as the whole box.
            let mut shape = piece.shape();
            for (own, (whole, &reduced)) in shape.iter_mut().zip(region.shape().iter().zip(&head.reduced)) {
                *own = if reduced { *whole } else { *own };
            }
            let new = Accumulator::new(head.reduction, &shape, &head.reduced).map_err(fatal)?;
            *stone = Some((piece.clone(), new));
        }
        let Some((_, accumulator)) = stone else { unreachable!("put there above") };
        accumulator.update(chunk, origin(piece, &head.reduced)).map_err(fatal)
    }

    /// The chunks of one partial result over all of `region`.
    fn into_parts(self, head: &PartialHead, region: &Region) -> Result<Vec<Chunk>, TaskError> {
        let mut stones: Vec<(Region, Vec<Chunk>)> = self
            .stones
            .into_iter()
            .flatten()
            .map(|(piece, accumulator)| (piece, accumulator.into_parts()))
            .collect();
        if stones.is_empty() {
            let empty = Accumulator::new(head.reduction, &region.shape(), &head.reduced).map_err(fatal)?;
            return Ok(empty.into_parts());
        }
        if stones.len() == 1 {
            return Ok(stones.remove(0).1);
        }
        let flat = |region: &Region| -> Vec<Range<u64>> {
            let ranges = region.ranges().iter().zip(&head.reduced);
            ranges.map(|(range, &reduced)| if reduced { 0..1 } else { range.clone() }).collect()
        };
        let whole = Region::new(flat(region));
        let shape: Shape = whole.shape();
        let count = stones[0].1.len();
        let mut parts = Vec::with_capacity(count);
        for part in 0..count {
            let first = &stones[0].1[part];
            // The number of elements per cell, which is the same everywhere in a box.
            if part + 1 == count {
                parts.push(first.clone());
                break;
            }
            let mut assembly = Assembly::new(first.dtype(), &shape);
            for (piece, chunks) in &stones {
                let to = Region::new(flat(piece)).relative_to(&whole.start());
                assembly.put(&to, &chunks[part], &Region::all(chunks[part].shape())).map_err(fatal)?;
            }
            parts.push(assembly.finish());
        }
        Ok(parts)
    }
}
