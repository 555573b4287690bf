//! Owns block grids: how many blocks there are along each axis, and the row-major number of each.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// Coordinates of a block, one per axis.
pub type Coords = SmallVec<[u64; 6]>;

/// Blocks along each axis. No axes means exactly one block (a scalar, or an unchunked value).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BlockGrid(SmallVec<[u64; 6]>);

impl BlockGrid {
    /// A grid with `blocks[i]` blocks along axis `i`. An axis without blocks makes an empty grid.
    pub fn new(blocks: impl IntoIterator<Item = u64>) -> Self {
        Self(blocks.into_iter().collect())
    }

    /// A one-dimensional grid, as task farms use.
    pub fn line(count: u64) -> Self {
        Self::new([count])
    }

    /// Blocks along each axis.
    pub fn shape(&self) -> &[u64] {
        &self.0
    }

    /// Blocks in all; saturates at `u64::MAX`, which `Plan::validate` refuses.
    pub fn count(&self) -> u64 {
        self.0.iter().fold(1, |product, &n| product.saturating_mul(n))
    }

    /// Coordinates of block `index`, row-major.
    ///
    /// # Panics
    /// If `index` is not below [`count`](Self::count).
    pub fn coords(&self, index: u64) -> Coords {
        assert!(index < self.count(), "block {index} of a grid with {} blocks", self.count());
        let mut rest = index;
        let mut coords: Coords = self.0.clone();
        for (coord, &n) in coords.iter_mut().zip(&self.0).rev() {
            *coord = rest % n;
            rest /= n;
        }
        coords
    }

    /// Row-major number of the block at `coords`.
    ///
    /// # Panics
    /// If a coordinate is outside the grid.
    pub fn index(&self, coords: &[u64]) -> u64 {
        assert_eq!(coords.len(), self.0.len(), "coordinates of another grid");
        coords.iter().zip(&self.0).fold(0, |index, (&coord, &n)| {
            assert!(coord < n, "coordinate {coord} of {n} blocks");
            index * n + coord
        })
    }

    /// Row-major numbers of the blocks in a box, in row-major order.
    pub fn indices_in<'a>(&'a self, ranges: &'a [Range<u64>]) -> impl Iterator<Item = u64> + 'a {
        assert_eq!(ranges.len(), self.0.len(), "box of another grid");
        let total: u64 = ranges.iter().map(|r| r.end.saturating_sub(r.start)).product();
        (0..total).map(move |number| {
            let mut rest = number;
            let mut index = 0;
            let mut stride = 1;
            for (range, &n) in ranges.iter().zip(&self.0).rev() {
                let extent = range.end - range.start;
                index += (range.start + rest % extent) * stride;
                rest /= extent;
                stride *= n;
            }
            index
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_and_indices_are_inverse() {
        let grid = BlockGrid::new([2, 3, 4]);
        for index in 0..grid.count() {
            assert_eq!(grid.index(&grid.coords(index)), index);
        }
    }

    #[test]
    fn a_grid_without_axes_has_one_block() {
        let grid = BlockGrid::new([]);
        assert_eq!(grid.count(), 1);
        assert_eq!(grid.indices_in(&[]).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn a_box_lists_its_blocks_in_row_major_order() {
        let grid = BlockGrid::new([3, 4]);
        assert_eq!(grid.indices_in(&[1..3, 2..4]).collect::<Vec<_>>(), [6, 7, 10, 11]);
    }

    #[test]
    fn an_axis_without_blocks_makes_an_empty_grid() {
        assert_eq!(BlockGrid::new([5, 0]).count(), 0);
    }
}
