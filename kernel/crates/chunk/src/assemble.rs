//! Owns moving boxes of elements between chunks of one dtype: slices with steps, transposes, repetition along
//! broadcast axes, picking of indices, and putting a chunk together from pieces of several.

use smallvec::SmallVec;

use crate::{
    chunk::{Chunk, ChunkMut},
    error::ChunkError,
    region::{Region, Shape},
};

/// Strides in elements of a C-ordered array.
pub fn strides(shape: &[u64]) -> SmallVec<[usize; 6]> {
    let mut strides: SmallVec<[usize; 6]> = SmallVec::from_elem(0, shape.len());
    let mut step = 1usize;
    for (stride, &n) in strides.iter_mut().zip(shape).rev() {
        *stride = step;
        step *= n as usize;
    }
    strides
}

/// Copies a box of elements described by strides on both sides. Bytes are moved in units of `size`.
#[derive(Clone)]
struct Walk<'a> {
    shape: &'a [u64],
    from_strides: &'a [isize],
    to_strides: &'a [usize],
    size: usize,
}

impl Walk<'_> {
    fn copy(&self, from: &[u8], from_offset: isize, to: &mut [u8], to_offset: usize) {
        if self.shape.contains(&0) {
            return;
        }
        // How many trailing axes are contiguous on both sides and can be copied at once.
        let mut run = 1usize;
        let mut axes = self.shape.len();
        while axes > 0 {
            let axis = axes - 1;
            let n = self.shape[axis] as usize;
            if n != 1 && (self.from_strides[axis] != run as isize || self.to_strides[axis] != run) {
                break;
            }
            run *= n;
            axes -= 1;
        }
        if run == 1
            && let Some(near) =
                (0..axes.saturating_sub(1)).find(|&a| self.from_strides[a] == 1 && self.shape[a] > 1)
            && self.shape[axes - 1] > 1
        {
            return self.transpose(near, axes - 1, from, from_offset, to, to_offset);
        }
        // Axes are walked outside in; the contiguous tail is copied at once.
        self.step(0, axes, run, from, from_offset, to, to_offset);
    }

    /// Elements that lie side by side along axis `near` in the source, and along `last` in the result: copied in small
    /// squares, so that the cache lines of both sides are used whole.
    fn transpose(
        &self,
        near: usize,
        last: usize,
        from: &[u8],
        from_offset: isize,
        to: &mut [u8],
        to_offset: usize,
    ) {
        let outer: SmallVec<[usize; 6]> =
            (0..self.shape.len()).filter(|&a| a != near && a != last && self.shape[a] != 1).collect();
        let total: usize = outer.iter().map(|&a| self.shape[a] as usize).product();
        for number in 0..total {
            let (mut rest, mut f, mut t) = (number, from_offset, to_offset);
            for &axis in outer.iter().rev() {
                let n = self.shape[axis] as usize;
                f += (rest % n) as isize * self.from_strides[axis];
                t += rest % n * self.to_strides[axis];
                rest /= n;
            }
            let rows = (self.shape[near] as usize, self.to_strides[near]);
            let columns = (self.shape[last] as usize, self.from_strides[last], self.to_strides[last]);
            match self.size {
                1 => squares::<1>(rows, columns, from, f, to, t),
                2 => squares::<2>(rows, columns, from, f, to, t),
                4 => squares::<4>(rows, columns, from, f, to, t),
                8 => squares::<8>(rows, columns, from, f, to, t),
                _ => squares::<16>(rows, columns, from, f, to, t),
            }
        }
    }

    fn step(
        &self,
        axis: usize,
        axes: usize,
        run: usize,
        from: &[u8],
        from_offset: isize,
        to: &mut [u8],
        to_offset: usize,
    ) {
        let size = self.size;
        if axis == axes {
            let f = from_offset as usize * size;
            let t = to_offset * size;
            to[t..t + run * size].copy_from_slice(&from[f..f + run * size]);
            return;
        }
        let n = self.shape[axis] as usize;
        if axis + 1 == axes && run > 1 {
            return rows(
                (n, run * size),
                (from, from_offset as usize * size, self.from_strides[axis] * size as isize),
                (to, to_offset * size, self.to_strides[axis] * size),
            );
        }
        if axis + 1 == axes && run == 1 {
            let (fs, ts) = (self.from_strides[axis], self.to_strides[axis]);
            match size {
                1 => scatter::<1>(n, from, from_offset, fs, to, to_offset, ts),
                2 => scatter::<2>(n, from, from_offset, fs, to, to_offset, ts),
                4 => scatter::<4>(n, from, from_offset, fs, to, to_offset, ts),
                8 => scatter::<8>(n, from, from_offset, fs, to, to_offset, ts),
                _ => scatter::<16>(n, from, from_offset, fs, to, to_offset, ts),
            }
            return;
        }
        for i in 0..n {
            self.step(
                axis + 1,
                axes,
                run,
                from,
                from_offset + i as isize * self.from_strides[axis],
                to,
                to_offset + i * self.to_strides[axis],
            );
        }
    }
}

fn squares<const SIZE: usize>(
    (rows, row_step): (usize, usize),
    (columns, column_from, column_to): (usize, isize, usize),
    from: &[u8],
    from_offset: isize,
    to: &mut [u8],
    to_offset: usize,
) {
    const SIDE: usize = 32;
    let (from, _) = from.as_chunks::<SIZE>();
    let (to, _) = to.as_chunks_mut::<SIZE>();
    for row in (0..rows).step_by(SIDE) {
        for column in (0..columns).step_by(SIDE) {
            for i in row..rows.min(row + SIDE) {
                for j in column..columns.min(column + SIDE) {
                    let source = from_offset + i as isize + j as isize * column_from;
                    to[to_offset + i * row_step + j * column_to] = from[source as usize];
                }
            }
        }
    }
}

/// Copies `n` rows of `length` bytes, each side's so many bytes apart.
fn rows(
    (n, length): (usize, usize),
    (from, from_start, from_step): (&[u8], usize, isize),
    (to, to_start, to_step): (&mut [u8], usize, usize),
) {
    let (mut f, mut t) = (from_start, to_start);
    for _ in 0..n {
        to[t..t + length].copy_from_slice(&from[f..f + length]);
        f = f.wrapping_add_signed(from_step);
        t += to_step;
    }
}

fn scatter<const SIZE: usize>(
    n: usize,
    from: &[u8],
    from_offset: isize,
    from_stride: isize,
    to: &mut [u8],
    to_offset: usize,
    to_stride: usize,
) {
    let (from, _) = from.as_chunks::<SIZE>();
    let (to, _) = to.as_chunks_mut::<SIZE>();
    for i in 0..n {
        to[to_offset + i * to_stride] = from[(from_offset + i as isize * from_stride) as usize];
    }
}

/// One axis of a slice: `count` elements from `start`, `step` apart (may be negative, never 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Stride {
    pub start: u64,
    pub step: i64,
    pub count: u64,
}

impl Stride {
    /// The last element it takes, if any.
    pub fn last(&self) -> Option<u64> {
        let steps = i64::try_from(self.count.checked_sub(1)?).ok()?;
        self.start.checked_add_signed(self.step.checked_mul(steps)?)
    }
}

impl Chunk {
    /// The elements of a box; without a copy if the box is the whole chunk or contiguous in it.
    ///
    /// # Errors
    /// [`ChunkError::Outside`] if the box does not fit.
    pub fn slice(&self, region: &Region) -> Result<Chunk, ChunkError> {
        if !region.fits(self.shape()) {
            return Err(ChunkError::Outside { region: region.to_string(), shape: self.shape().to_vec() });
        }
        let shape = region.shape();
        if shape[..] == *self.shape() {
            return Ok(self.clone());
        }
        if let Some(chunk) = self.contiguous_slice(region, &shape) {
            return Ok(chunk);
        }
        let strides: SmallVec<[isize; 6]> = strides(self.shape()).iter().map(|&s| s as isize).collect();
        let offset = region.ranges().iter().zip(&strides).map(|(r, &s)| r.start as isize * s).sum();
        Ok(self.gather(&shape, &strides, offset))
    }

    /// A leading-axis slice of full rows is a view of the same bytes.
    fn contiguous_slice(&self, region: &Region, shape: &[u64]) -> Option<Chunk> {
        let partial = (0..shape.len()).rev().find(|&axis| shape[axis] != self.shape()[axis])?;
        if shape[..partial].iter().any(|&n| n != 1) || shape.contains(&0) {
            return None;
        }
        let size = self.dtype().size();
        let start: usize =
            region.ranges().iter().zip(strides(self.shape())).map(|(r, s)| r.start as usize * s).sum();
        let len = region.len() as usize;
        Chunk::new(self.dtype(), shape, self.bytes().slice(start * size..(start + len) * size)).ok()
    }

    /// Elements taken with a step along each axis.
    ///
    /// # Errors
    /// [`ChunkError::Outside`] if an axis leaves the chunk.
    pub fn stride(&self, axes: &[Stride]) -> Result<Chunk, ChunkError> {
        let inside = axes.len() == self.ndim()
            && axes
                .iter()
                .zip(self.shape())
                .all(|(a, &n)| a.count == 0 || (a.start < n && a.last().is_some_and(|last| last < n)));
        if !inside {
            return Err(ChunkError::Outside { region: format!("{axes:?}"), shape: self.shape().to_vec() });
        }
        let shape: Shape = axes.iter().map(|a| a.count).collect();
        let own = strides(self.shape());
        let offset = axes
            .iter()
            .zip(&own)
            .map(|(a, &s)| if a.count == 0 { 0 } else { a.start as isize * s as isize })
            .sum();
        let steps: SmallVec<[isize; 6]> =
            axes.iter().zip(&own).map(|(a, &s)| a.step as isize * s as isize).collect();
        Ok(self.gather(&shape, &steps, offset))
    }

    /// Axis `i` of the result is axis `order[i]` of the chunk.
    ///
    /// # Panics
    /// If `order` is not a permutation of the axes; expressions check it when built.
    pub fn transpose(&self, order: &[usize]) -> Chunk {
        assert_eq!(order.len(), self.ndim(), "an order of {} axes", self.ndim());
        let own = strides(self.shape());
        let shape: Shape = order.iter().map(|&axis| self.shape()[axis]).collect();
        let steps: SmallVec<[isize; 6]> = order.iter().map(|&axis| own[axis] as isize).collect();
        self.gather(&shape, &steps, 0)
    }

    /// Repeats axes of length 1, and puts new axes in front.
    ///
    /// # Panics
    /// If the shapes do not broadcast; expressions check it when built.
    pub fn broadcast_to(&self, shape: &[u64]) -> Chunk {
        if shape == self.shape() {
            return self.clone();
        }
        let extra = shape.len() - self.ndim();
        let own = strides(self.shape());
        let steps: SmallVec<[isize; 6]> = (0..shape.len())
            .map(|axis| match axis.checked_sub(extra) {
                Some(i) if self.shape()[i] != 1 => {
                    assert_eq!(self.shape()[i], shape[axis], "shape {:?} as {shape:?}", self.shape());
                    own[i] as isize
                }
                _ => 0,
            })
            .collect();
        self.gather(shape, &steps, 0)
    }

    /// The elements at `indices` along `axis`.
    ///
    /// # Errors
    /// [`ChunkError::Outside`] if an index is not below the axis' length.
    pub fn take(&self, axis: usize, indices: &[u64]) -> Result<Chunk, ChunkError> {
        let length = self.shape()[axis];
        if let Some(bad) = indices.iter().find(|&&i| i >= length) {
            return Err(ChunkError::Outside {
                region: format!("index {bad} of axis {axis}"),
                shape: self.shape().to_vec(),
            });
        }
        let mut shape: Shape = self.shape().into();
        shape[axis] = indices.len() as u64;
        let outer: u64 = shape[..axis].iter().product();
        let inner = shape[axis + 1..].iter().product::<u64>() as usize * self.dtype().size();
        let mut out = ChunkMut::new(self.dtype(), &shape);
        let to = out.bytes_mut();
        let mut at = 0;
        for block in 0..outer as usize {
            for &index in indices {
                let from = (block * length as usize + index as usize) * inner;
                to[at..at + inner].copy_from_slice(&self.bytes()[from..from + inner]);
                at += inner;
            }
        }
        Ok(out.freeze())
    }

    fn gather(&self, shape: &[u64], steps: &[isize], offset: isize) -> Chunk {
        let mut out = ChunkMut::new(self.dtype(), shape);
        let walk =
            Walk { shape, from_strides: steps, to_strides: &strides(shape), size: self.dtype().size() };
        walk.copy(self.bytes(), offset, out.bytes_mut(), 0);
        out.freeze()
    }
}

/// Puts a chunk together from boxes of others.
pub struct Assembly {
    out: ChunkMut,
    filled: u64,
}

impl Assembly {
    pub fn new(dtype: crate::DType, shape: &[u64]) -> Self {
        Self { out: ChunkMut::new(dtype, shape), filled: 0 }
    }

    /// Copies the box `from` of `chunk` to where `to` starts in the result. Boxes must not cover each other.
    ///
    /// # Errors
    /// If a box leaves its chunk, the boxes differ in shape, or the dtypes differ.
    pub fn put(&mut self, to: &Region, chunk: &Chunk, from: &Region) -> Result<(), ChunkError> {
        if chunk.dtype() != self.out.dtype() {
            return Err(ChunkError::DType { asked: self.out.dtype(), found: chunk.dtype() });
        }
        for (region, shape) in [(to, self.out.shape()), (from, chunk.shape())] {
            if !region.fits(shape) || to.shape() != from.shape() {
                return Err(ChunkError::Outside { region: region.to_string(), shape: shape.to_vec() });
            }
        }
        let from_strides: SmallVec<[isize; 6]> = strides(chunk.shape()).iter().map(|&s| s as isize).collect();
        let to_strides = strides(self.out.shape());
        let from_offset = from.ranges().iter().zip(&from_strides).map(|(r, &s)| r.start as isize * s).sum();
        let to_offset = to.ranges().iter().zip(&to_strides).map(|(r, &s)| r.start as usize * s).sum();
        let shape = to.shape();
        let walk = Walk {
            shape: &shape,
            from_strides: &from_strides,
            to_strides: &to_strides,
            size: chunk.dtype().size(),
        };
        walk.copy(chunk.bytes(), from_offset, self.out.bytes_mut(), to_offset);
        self.filled += to.len();
        Ok(())
    }

    /// The finished chunk.
    ///
    /// # Panics
    /// If the pieces did not cover it: an element would be arbitrary.
    pub fn finish(self) -> Chunk {
        let len: u64 = self.out.shape().iter().product();
        assert_eq!(self.filled, len, "pieces for a chunk of shape {:?}", self.out.shape());
        self.out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(shape: &[u64]) -> Chunk {
        let n = shape.iter().product::<u64>() as i32;
        Chunk::from_slice(shape, &(0..n).collect::<Vec<_>>())
    }

    #[test]
    fn slices_take_boxes() {
        let chunk = counting(&[3, 4]);
        assert_eq!(chunk.slice(&Region::new([1..3, 1..3])).unwrap().to_vec::<i32>(), [5, 6, 9, 10]);
        let rows = chunk.slice(&Region::new([1..2, 0..4])).unwrap();
        assert_eq!(rows.to_vec::<i32>(), [4, 5, 6, 7]);
        assert_eq!(rows.bytes().as_ptr(), chunk.bytes()[16..].as_ptr(), "full rows are a view");
        assert!(chunk.slice(&Region::new([0..4, 0..1])).is_err());
        assert_eq!(chunk.slice(&Region::new([1..1, 0..4])).unwrap().shape(), [0, 4]);
    }

    #[test]
    fn strides_go_both_ways() {
        let chunk = counting(&[2, 5]);
        let rows = Stride { start: 1, step: -1, count: 2 };
        let columns = Stride { start: 4, step: -2, count: 3 };
        assert_eq!(chunk.stride(&[rows, columns]).unwrap().to_vec::<i32>(), [9, 7, 5, 4, 2, 0]);
        assert!(chunk.stride(&[rows, Stride { start: 1, step: -1, count: 3 }]).is_err());
    }

    #[test]
    fn transposes_and_broadcasts() {
        let chunk = counting(&[2, 3]);
        assert_eq!(chunk.transpose(&[1, 0]).to_vec::<i32>(), [0, 3, 1, 4, 2, 5]);
        let row = counting(&[3]).broadcast_to(&[2, 3]);
        assert_eq!(row.to_vec::<i32>(), [0, 1, 2, 0, 1, 2]);
        let column = counting(&[2, 1]).broadcast_to(&[2, 2]);
        assert_eq!(column.to_vec::<i32>(), [0, 0, 1, 1]);
        let large = counting(&[3, 50, 70]);
        let turned = large.transpose(&[2, 0, 1]);
        for (flat, &value) in turned.elements::<i32>().unwrap().iter().enumerate() {
            let (x, t, y) = (flat / 150, flat / 50 % 3, flat % 50);
            assert_eq!(value as usize, (t * 50 + y) * 70 + x);
        }
        assert_eq!(counting(&[2, 1, 3]).transpose(&[2, 0, 1]).to_vec::<i32>(), [0, 3, 1, 4, 2, 5]);
    }

    #[test]
    fn takes_indices_along_an_axis() {
        assert_eq!(counting(&[2, 3]).take(1, &[2, 0, 2]).unwrap().to_vec::<i32>(), [2, 0, 2, 5, 3, 5]);
        assert!(counting(&[2, 3]).take(1, &[3]).is_err());
    }

    #[test]
    fn pieces_make_a_whole() {
        let whole = counting(&[4, 5]);
        let mut assembly = Assembly::new(whole.dtype(), &[4, 5]);
        for rows in [0..1, 1..4] {
            for columns in [0..2, 2..5] {
                let region = Region::new([rows.clone(), columns]);
                let piece = whole.slice(&region).unwrap();
                assembly.put(&region, &piece, &Region::all(piece.shape())).unwrap();
            }
        }
        assert_eq!(assembly.finish(), whole);
    }
}
