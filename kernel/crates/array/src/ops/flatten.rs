//! Owns putting neighbouring axes into one and one axis into several, in C order.

use nuna_plan::Splits;

use crate::{
    array::Array,
    error::{ArrayError, ArrayErrorKind},
    grid::{ChunkGrid, bounds, normal},
    ops::routine::{Reads, Routine, routine},
    planner::own_cuts,
    program::AxisRule,
};

impl Array {
    /// `count` axes from `first` on as one, in C order. All of them but the first become one chunk each; the first stays in its
    /// chunks, or shorter ones.
    ///
    /// # Errors
    /// If there are not so many axes, or none is named.
    pub fn flatten(&self, first: usize, count: usize) -> Result<Array, ArrayError> {
        if count == 0 || first + count > self.ndim() {
            return Err(ArrayErrorKind::Invalid(format!(
                "`flatten` of {count} axes from {first} on of {}, which has {}",
                self.expression(),
                self.ndim()
            ))
            .into());
        }
        if count == 1 {
            return Ok(self.clone());
        }
        let inner: Vec<usize> = (first + 1..first + count).collect();
        let length: u64 = inner.iter().map(|&axis| self.shape()[axis]).product();
        let input = self.whole_along(&inner);
        let own = input.chunks().axes();
        let cuts = bounds(&own[first]).into_iter().map(|cut| cut * length).collect();
        let mut grid = own[..first].to_vec();
        grid.push(if self.is_empty() {
            Splits::Regular { chunk: 1, length: self.shape()[first] * length }
        } else {
            normal(cuts)
        });
        grid.extend(own[first + count..].iter().cloned());
        let rules = own.iter().enumerate().map(|(axis, splits)| match axis {
            _ if inner.contains(&axis) => AxisRule::Fixed { start: 0, end: self.shape()[axis] },
            _ => {
                let place = if axis < first + count { axis } else { axis + 1 - count };
                AxisRule::Along { axis: place as u8, splits: splits.clone() }
            }
        });
        let rules = Reads::Rules(rules.collect());
        let made = Routine {
            name: format!("flatten({first}, {count})"),
            dtype: self.dtype(),
            grid: ChunkGrid::from_axes(grid),
            scratch: 0,
        };
        routine(vec![(input, rules)], made, &(first, count), |(first, count), block| {
            let chunk = &block.inputs[0];
            let mut shape = chunk.shape().to_vec();
            let length = shape[*first..first + count].iter().product();
            shape.splice(*first..first + count, [length]);
            chunk.reshape(&shape).map_err(|error| error.to_string())
        })
    }

    /// One axis as several of the given lengths, in C order: the inverse of [`flatten`](Array::flatten). Blocks are cut where
    /// the first of them is; the others are one chunk each.
    ///
    /// # Errors
    /// If the axis is out of range, or its length is not the product of the lengths.
    pub fn unflatten(&self, axis: usize, lengths: &[u64]) -> Result<Array, ArrayError> {
        self.check_axis(axis)?;
        let product = lengths.iter().try_fold(1u64, |product, &n| product.checked_mul(n));
        if lengths.is_empty() || product != Some(self.shape()[axis]) {
            return Err(ArrayErrorKind::Invalid(format!(
                "axis {axis} of {}, of length {}, is not axes of lengths {lengths:?}",
                self.expression(),
                self.shape()[axis]
            ))
            .into());
        }
        let inner: u64 = lengths[1..].iter().product();
        let mut grid = self.chunks().axes().to_vec();
        let whole = |&length: &u64| Splits::Regular { chunk: length.max(1), length };
        if self.is_empty() {
            grid.splice(axis..=axis, lengths.iter().map(whole));
            let shape = ChunkGrid::from_axes(grid).shape();
            return Ok(Array::zeros(&shape, self.dtype()));
        }
        // Cuts where a line of inner axes ends, so many as there were.
        let mut cuts: Vec<u64> = bounds(&grid[axis]).into_iter().map(|cut| cut / inner).collect();
        cuts.push(lengths[0]);
        cuts.dedup();
        grid[axis] = normal(cuts.iter().map(|cut| cut * inner).collect());
        let input = self.rechunk_to(ChunkGrid::from_axes(grid.clone()));
        let outer = normal(cuts);
        grid.splice(axis..=axis, std::iter::once(outer).chain(lengths[1..].iter().map(whole)));
        let mut rules = own_cuts(input.chunks());
        for (at, rule) in rules.iter_mut().enumerate().skip(axis + 1) {
            let splits = input.chunks().axes()[at].clone();
            *rule = AxisRule::Along { axis: (at + lengths.len() - 1) as u8, splits };
        }
        let made = Routine {
            name: format!("unflatten({axis})"),
            dtype: self.dtype(),
            grid: ChunkGrid::from_axes(grid),
            scratch: 0,
        };
        let environment = (axis, lengths[1..].to_vec());
        routine(vec![(input, Reads::Rules(rules))], made, &environment, |(axis, inner), block| {
            let chunk = &block.inputs[0];
            let mut shape = chunk.shape().to_vec();
            let outer = shape[*axis] / inner.iter().product::<u64>().max(1);
            shape.splice(*axis..=*axis, std::iter::once(outer).chain(inner.iter().copied()));
            chunk.reshape(&shape).map_err(|error| error.to_string())
        })
    }
}
