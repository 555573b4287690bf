//! Owns functions along one axis of a chunk: every line of elements along the axis becomes another line. Axes are positions;
//! the caller has checked them.

mod convolve;
mod mode;
mod order;
mod quantile;
mod scan;
mod window;

pub use convolve::convolve;
pub use mode::mode;
pub use order::{argsort, sort};
pub use quantile::{Quantiles, quantile};
pub use scan::{Scan, scan};
pub use window::{Place, Rolling, Windows, rolling};

use crate::{
    chunk::{Chunk, ChunkMut},
    dtype::Element,
};

/// Lines gathered at a time where neighbours in memory belong to different lines: about a page of the source per step.
const TILE: usize = 32;

/// Applies `f` to every line along `axis`; each becomes a line of `length` elements, which `f` fills.
///
/// # Panics
/// If the chunk's elements are not `A`, or there is no such axis.
pub(crate) fn each_line<A: Element, B: Element>(
    chunk: &Chunk,
    axis: usize,
    length: u64,
    mut f: impl FnMut(&[A], &mut [B]),
) -> Chunk {
    let mut shape: crate::Shape = chunk.shape().into();
    let n = shape[axis] as usize;
    shape[axis] = length;
    let outer: u64 = shape[..axis].iter().product();
    let inner = shape[axis + 1..].iter().product::<u64>() as usize;
    let mut out = ChunkMut::zeroed(B::DTYPE, &shape);
    let length = length as usize;
    let (from, to) = (chunk.elements_of::<A>(), out.elements_of_mut::<B>());
    if outer == 0 || inner == 0 {
        return out.freeze();
    }
    if inner == 1 {
        for line in 0..outer as usize {
            f(&from[line * n..(line + 1) * n], &mut to[line * length..(line + 1) * length]);
        }
        return out.freeze();
    }
    let mut lines = vec![A::default(); TILE * n];
    let mut results = vec![B::default(); TILE * length];
    for block in 0..outer as usize {
        let (from, to) = (&from[block * n * inner..], &mut to[block * length * inner..]);
        for first in (0..inner).step_by(TILE) {
            let count = TILE.min(inner - first);
            for j in 0..n {
                for (k, &value) in from[j * inner + first..][..count].iter().enumerate() {
                    lines[k * n + j] = value;
                }
            }
            for k in 0..count {
                f(&lines[k * n..(k + 1) * n], &mut results[k * length..(k + 1) * length]);
            }
            for j in 0..length {
                for (k, value) in to[j * inner + first..][..count].iter_mut().enumerate() {
                    *value = results[k * length + j];
                }
            }
        }
    }
    out.freeze()
}

/// Whether it is a NaN: nothing else differs from itself.
#[expect(clippy::eq_op, reason = "that is the definition")]
pub(crate) fn is_nan<T: Element>(value: T) -> bool {
    value != value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_along_any_axis_are_the_same_lines() {
        let values: Vec<i64> = (0..3 * 5 * 70).map(|i| (i * 7919) % 1000).collect();
        let chunk = Chunk::from_slice(&[3, 5, 70], &values);
        for axis in 0..3 {
            let doubled = each_line::<i64, i64>(&chunk, axis, chunk.shape()[axis] + 1, |line, out| {
                out[0] = line.iter().sum();
                out[1..].copy_from_slice(line);
            });
            let mut order: Vec<usize> = (0..3).filter(|&a| a != axis).collect();
            order.push(axis);
            let (lines, found) = (chunk.transpose(&order), doubled.transpose(&order));
            let n = chunk.shape()[axis] as usize;
            let (lines, found) = (lines.elements_of::<i64>(), found.elements_of::<i64>());
            for (line, found) in lines.chunks(n).zip(found.chunks(n + 1)) {
                assert_eq!(found[0], line.iter().sum::<i64>());
                assert_eq!(&found[1..], line);
            }
        }
    }

    #[test]
    fn no_lines_are_no_work() {
        let empty = Chunk::from_slice::<f64>(&[0, 4], &[]);
        assert_eq!(each_line::<f64, f64>(&empty, 1, 2, |_, _| panic!("there is no line")).shape(), [0, 2]);
        let filled = each_line::<f64, f64>(&empty, 0, 2, |line, out| out.fill(line.len() as f64 + 1.0));
        assert_eq!((filled.shape(), filled.get(7).as_f64()), (&[2, 4][..], 1.0));
    }
}
