//! Owns how an array is cut into chunks: one list of cuts per axis.

use nuna_chunk::{Region, Shape};
use nuna_plan::{BlockGrid, Splits};

use crate::error::{ArrayError, ArrayErrorKind};

/// Cuts along every axis. An axis of length 0 has no chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkGrid {
    axes: Vec<Splits>,
}

/// The most elements any block of these cuts has.
pub(crate) fn longest(splits: &Splits) -> u64 {
    match splits {
        Splits::Regular { chunk, length } => (*chunk).min(*length),
        Splits::Listed { bounds } => bounds.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(0),
    }
}

/// Elements from the first cut to the last.
pub(crate) fn length(splits: &Splits) -> u64 {
    match splits {
        Splits::Regular { length, .. } => *length,
        Splits::Listed { bounds } => bounds.last().copied().unwrap_or(0),
    }
}

/// All cuts, from 0 to the length.
pub(crate) fn bounds(splits: &Splits) -> Vec<u64> {
    match splits {
        Splits::Listed { bounds } => bounds.clone(),
        Splits::Regular { .. } => {
            (0..splits.count()).map(|b| splits.range(b).start).chain([length(splits)]).collect()
        }
    }
}

/// Cuts as a regular grid where they are one, so that equal cuts compare equal and travel in few bytes.
pub(crate) fn normal(bounds: Vec<u64>) -> Splits {
    let length = bounds.last().copied().unwrap_or(0);
    if bounds.first().copied().unwrap_or(0) == 0 && bounds.len() >= 2 {
        let chunk = bounds[1];
        let last = bounds.len() - 2;
        let regular = chunk > 0
            && bounds
                .windows(2)
                .enumerate()
                .all(|(i, w)| w[1] - w[0] == chunk || (i == last && w[1] > w[0] && w[1] - w[0] < chunk));
        if regular {
            return Splits::Regular { chunk, length };
        }
    } else if length == 0 {
        return Splits::Regular { chunk: 1, length: 0 };
    }
    Splits::Listed { bounds }
}

impl ChunkGrid {
    /// Equal chunks, those at the ends cut short. Lengths beyond the axis mean one chunk.
    ///
    /// # Errors
    /// If there is not one length of at least 1 per axis.
    pub fn regular(shape: &[u64], chunks: &[u64]) -> Result<Self, ArrayError> {
        if chunks.len() != shape.len() || chunks.contains(&0) {
            return Err(ArrayErrorKind::ChunkShape {
                chunks: chunks.to_vec(),
                name: "an array".to_owned(),
                shape: shape.to_vec(),
            }
            .into());
        }
        let axes = shape
            .iter()
            .zip(chunks)
            .map(|(&length, &chunk)| Splits::Regular { chunk: chunk.min(length).max(1), length });
        Ok(Self { axes: axes.collect() })
    }

    /// One chunk.
    pub fn whole(shape: &[u64]) -> Self {
        Self { axes: shape.iter().map(|&length| Splits::Regular { chunk: length.max(1), length }).collect() }
    }

    /// Chunks of the given lengths along each axis.
    ///
    /// # Errors
    /// If they do not add up to the shape.
    pub fn listed(shape: &[u64], lengths: &[Vec<u64>]) -> Result<Self, ArrayError> {
        if lengths.len() != shape.len() {
            let chunks = lengths.iter().map(|l| l.len() as u64).collect();
            return Err(ArrayErrorKind::ChunkShape {
                chunks,
                name: "an array".to_owned(),
                shape: shape.to_vec(),
            }
            .into());
        }
        let mut axes = Vec::with_capacity(shape.len());
        for (axis, (lengths, &length)) in lengths.iter().zip(shape).enumerate() {
            let mut bounds = vec![0u64];
            for &n in lengths.iter().filter(|&&n| n > 0) {
                bounds.push(bounds.last().copied().unwrap_or(0).saturating_add(n));
            }
            let total = bounds.last().copied().unwrap_or(0);
            if total != length {
                return Err(ArrayErrorKind::ChunksDoNotCover { axis, total, length }.into());
            }
            axes.push(normal(bounds));
        }
        Ok(Self { axes })
    }

    pub(crate) fn from_axes(axes: Vec<Splits>) -> Self {
        Self { axes }
    }

    pub fn axes(&self) -> &[Splits] {
        &self.axes
    }

    /// Lengths of the array's axes.
    pub fn shape(&self) -> Shape {
        self.axes.iter().map(length).collect()
    }

    /// The longest chunk along each axis.
    pub fn chunk_shape(&self) -> Shape {
        self.axes.iter().map(longest).collect()
    }

    /// Chunk lengths along each axis, as xarray's `chunks`.
    pub fn chunk_lengths(&self) -> Vec<Vec<u64>> {
        self.axes
            .iter()
            .map(|s| {
                (0..s.count())
                    .map(|b| {
                        let r = s.range(b);
                        r.end - r.start
                    })
                    .collect()
            })
            .collect()
    }

    pub fn block_grid(&self) -> BlockGrid {
        BlockGrid::new(self.axes.iter().map(Splits::count))
    }

    /// How many chunks there are.
    pub fn count(&self) -> u64 {
        self.block_grid().count()
    }

    /// The elements of the chunk at `coords`.
    pub fn region(&self, coords: &[u64]) -> Region {
        Region::new(self.axes.iter().zip(coords).map(|(s, &c)| s.range(c)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_chunks_that_are_regular_compare_equal_to_regular_ones() {
        let listed = ChunkGrid::listed(&[10], &[vec![4, 4, 2]]).unwrap();
        assert_eq!(listed, ChunkGrid::regular(&[10], &[4]).unwrap());
        let uneven = ChunkGrid::listed(&[10], &[vec![2, 4, 4]]).unwrap();
        assert_eq!(uneven.chunk_lengths(), [[2, 4, 4]]);
        assert_eq!(uneven.chunk_shape()[..], [4]);
        assert!(ChunkGrid::listed(&[10], &[vec![2, 4]]).is_err());
        assert!(ChunkGrid::regular(&[10], &[0]).is_err());
    }

    #[test]
    fn an_empty_axis_has_no_chunks() {
        let grid = ChunkGrid::regular(&[0, 5], &[3, 2]).unwrap();
        assert_eq!(grid.count(), 0);
        assert_eq!(grid.shape()[..], [0, 5]);
        assert_eq!(ChunkGrid::listed(&[0], &[vec![]]).unwrap(), ChunkGrid::whole(&[0]));
    }
}
