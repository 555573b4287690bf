//! Owns sorting along an axis. NaNs come last, as in NumPy.

use std::cmp::Ordering;

use super::{each_line, is_nan};
use crate::{
    chunk::Chunk,
    dtype::{Ordered, with_dtype},
};

/// Numbers in their order, then NaNs.
fn ascending<T: Ordered>(a: &T, b: &T) -> Ordering {
    a.partial_cmp(b).unwrap_or_else(|| is_nan(*a).cmp(&is_nan(*b)))
}

/// Every line in ascending order, NaNs last; the same dtype and shape.
pub fn sort(chunk: &Chunk, axis: usize) -> Chunk {
    let n = chunk.shape()[axis];
    with_dtype!(chunk.dtype(), T => each_line::<T, T>(chunk, axis, n, |line, out| {
        out.copy_from_slice(line);
        out.sort_unstable_by(ascending);
    }))
}

/// The indices that sort every line, as `int64`: equal elements in the order they are in, NaNs last.
pub fn argsort(chunk: &Chunk, axis: usize) -> Chunk {
    let n = chunk.shape()[axis];
    with_dtype!(chunk.dtype(), T => each_line::<T, i64>(chunk, axis, n, |line, out| {
        out.iter_mut().zip(0..).for_each(|(index, i)| *index = i);
        out.sort_by(|&a, &b| ascending(&line[a as usize], &line[b as usize]));
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nans_come_last_and_ties_stay_in_order() {
        let chunk = Chunk::from_slice(&[6], &[2.0f32, f32::NAN, -1.0, f32::INFINITY, 2.0, f32::NAN]);
        let sorted = sort(&chunk, 0);
        assert_eq!(sorted.to_vec::<f32>()[..4], [-1.0, 2.0, 2.0, f32::INFINITY]);
        assert!(sorted.to_vec::<f32>()[4..].iter().all(|v| v.is_nan()));
        assert_eq!(argsort(&chunk, 0).to_vec::<i64>(), [2, 0, 4, 3, 1, 5]);
        let flags = Chunk::from_slice(&[2, 2], &[true, false, false, true]);
        assert_eq!(sort(&flags, 0).to_vec::<bool>(), [false, false, true, true]);
        assert_eq!(sort(&flags, 1).to_vec::<bool>(), [false, true, false, true]);
    }
}
