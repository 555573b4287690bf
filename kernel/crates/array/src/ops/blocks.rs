//! Owns arrays that a person's own function makes block by block.

use nuna_chunk::{Chunk, DType, Region};
use nuna_plan::{BlockGrid, Splits};
use nuna_ship::Ship;

use crate::{
    array::Array,
    error::ArrayError,
    grid::ChunkGrid,
    ops::routine::{Routine, routine},
};

impl Array {
    /// The array whose blocks `function` makes from where they lie: `ranges` of the region along each axis. Each block is made
    /// where it is needed, and nothing before. The function returns a chunk of the region's shape and of `dtype`; anything else is
    /// an error when computed.
    ///
    /// # Errors
    /// If `chunks` do not fit the shape, or the closure cannot travel.
    pub fn from_blocks<F>(
        shape: &[u64],
        chunks: &[u64],
        dtype: DType,
        function: F,
    ) -> Result<Array, ArrayError>
    where
        F: Fn(Region) -> Result<Chunk, String> + Copy + Ship + 'static,
    {
        let grid = ChunkGrid::regular(shape, chunks)?;
        let axes = grid.axes().to_vec();
        let made = Routine { name: "from_blocks".to_owned(), dtype, grid, scratch: 0 };
        routine(Vec::new(), made, &axes, move |axes: &Vec<Splits>, block| {
            let coords = BlockGrid::new(axes.iter().map(Splits::count)).coords(block.index);
            function(Region::new(axes.iter().zip(&coords).map(|(splits, &at)| splits.range(at))))
        })
    }
}
