//! Owns the most frequent element along an axis.

use super::{each_line, is_nan};
use crate::{
    chunk::Chunk,
    dtype::{Element, Ordered, with_dtype},
    reduce::NanPolicy,
};

/// The most frequent element of every line, of several the least; the axis gets length 1. A NaN that is not skipped gives NaN,
/// and so does a line of nothing else.
///
/// # Panics
/// If the axis is empty and the dtype has no NaN.
pub fn mode(chunk: &Chunk, axis: usize, nan: NanPolicy) -> Chunk {
    with_dtype!(chunk.dtype(), T => {
        let mut kept: Vec<T> = Vec::new();
        each_line::<T, T>(chunk, axis, 1, |line, out| {
            kept.clear();
            kept.extend(line.iter().filter(|v| !is_nan(**v)));
            let lost = kept.len() < line.len() && nan == NanPolicy::Propagate;
            out[0] = match (lost, most_frequent(&mut kept)) {
                (false, Some(value)) => value,
                _ => not_a_number::<T>(line),
            };
        })
    })
}

fn most_frequent<T: Ordered>(values: &mut [T]) -> Option<T> {
    values.sort_unstable_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    let mut best: Option<(usize, T)> = None;
    for run in values.chunk_by(|a, b| a == b) {
        if best.is_none_or(|(count, _)| run.len() > count) {
            best = Some((run.len(), run[0]));
        }
    }
    best.map(|(_, value)| value)
}

/// One of the line's own where there is any, so that this needs no other.
fn not_a_number<T: Element>(line: &[T]) -> T {
    line.iter().copied().find(|v| is_nan(*v)).expect("lines without elements are refused before")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_frequent_ones_it_is_the_least() {
        let chunk = Chunk::from_slice(&[2, 5], &[3, 1, 3, 1, 2, 7, 7, 7, 0, 0]);
        assert_eq!(mode(&chunk, 1, NanPolicy::Propagate).to_vec::<i32>(), [1, 7]);
    }

    #[test]
    fn nans_count_only_where_they_are_not_skipped() {
        let chunk = Chunk::from_slice(
            &[2, 4],
            &[f64::NAN, f64::NAN, 2.0, 1.0, f64::NAN, f64::NAN, f64::NAN, f64::NAN],
        );
        let skipped = mode(&chunk, 1, NanPolicy::Skip).to_vec::<f64>();
        assert!(skipped[0] == 1.0 && skipped[1].is_nan());
        assert!(mode(&chunk, 1, NanPolicy::Propagate).to_vec::<f64>().iter().all(|v| v.is_nan()));
    }
}
