//! Owns exact quantiles along an axis, by linear interpolation between the two nearest elements (method 7 of Hyndman and Fan,
//! NumPy's default).

use serde::{Deserialize, Serialize};

use super::{each_line, is_nan};
use crate::{
    cast::CastFrom,
    chunk::Chunk,
    dtype::{DType, Ordered, with_dtype},
    reduce::NanPolicy,
};

/// Which quantiles, each from 0 to 1, and what becomes of NaNs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    pub at: Vec<f64>,
    pub nan: NanPolicy,
}

/// The quantiles of every line in the order asked for: along `axis` there are as many elements as `at` has. `float32` stays,
/// everything else gives `float64`; computed in `float64`. Nothing, or only NaNs skipped, gives NaN, and so does a NaN that
/// is not skipped.
pub fn quantile(chunk: &Chunk, axis: usize, quantiles: &Quantiles) -> Chunk {
    let count = quantiles.at.len() as u64;
    let single = chunk.dtype().to_float() == DType::F32;
    with_dtype!(chunk.dtype(), T => {
        let mut kept: Vec<T> = Vec::new();
        if single {
            each_line::<T, f32>(chunk, axis, count, |line, out| of_line(line, quantiles, &mut kept, |i, v| out[i] = v as f32))
        } else {
            each_line::<T, f64>(chunk, axis, count, |line, out| of_line(line, quantiles, &mut kept, |i, v| out[i] = v))
        }
    })
}

fn of_line<T>(line: &[T], quantiles: &Quantiles, kept: &mut Vec<T>, mut put: impl FnMut(usize, f64))
where
    T: Ordered,
    f64: CastFrom<T>,
{
    kept.clear();
    kept.extend(line.iter().filter(|v| !is_nan(**v)));
    let lost = kept.len() < line.len() && quantiles.nan == NanPolicy::Propagate;
    if kept.is_empty() || lost {
        (0..quantiles.at.len()).for_each(|i| put(i, f64::NAN));
        return;
    }
    let order = |a: &T, b: &T| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal);
    let last = kept.len() - 1;
    // One quantile needs no order but that around it.
    let several = quantiles.at.len() > 2;
    if several {
        kept.sort_unstable_by(order);
    }
    for (i, &q) in quantiles.at.iter().enumerate() {
        let place = q * last as f64;
        let below = (place.floor() as usize).min(last);
        let (low, high) = if several {
            (kept[below], kept[(below + 1).min(last)])
        } else {
            let (_, low, above) = kept.select_nth_unstable_by(below, order);
            let low = *low;
            (low, above.iter().copied().min_by(order).unwrap_or(low))
        };
        put(i, between(f64::cast_from(low), f64::cast_from(high), place - below as f64));
    }
}

/// NumPy's linear interpolation: from the nearer end, so that it neither overshoots nor depends on the side.
fn between(low: f64, high: f64, t: f64) -> f64 {
    let step = high - low;
    if t >= 0.5 { high - step * (1.0 - t) } else { low + step * t }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64], at: &[f64], nan: NanPolicy) -> Vec<f64> {
        let chunk = Chunk::from_slice(&[values.len() as u64], values);
        quantile(&chunk, 0, &Quantiles { at: at.to_vec(), nan }).to_vec()
    }

    #[test]
    fn quantiles_lie_between_elements() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(of(&values, &[0.5], NanPolicy::Skip), [2.5]);
        assert_eq!(of(&values, &[0.0, 0.25, 1.0], NanPolicy::Skip), [1.0, 1.75, 4.0]);
        assert_eq!(of(&values, &[1.0, 0.0], NanPolicy::Skip), [4.0, 1.0]);
    }

    #[test]
    fn nans_are_skipped_or_spread() {
        let values = [4.0, f64::NAN, 2.0];
        assert_eq!(of(&values, &[0.5], NanPolicy::Skip), [3.0]);
        assert!(of(&values, &[0.5], NanPolicy::Propagate)[0].is_nan());
        assert!(of(&[f64::NAN], &[0.5], NanPolicy::Skip)[0].is_nan());
        assert!(of(&[], &[0.5], NanPolicy::Skip)[0].is_nan());
    }

    #[test]
    fn integers_give_doubles() {
        let chunk = Chunk::from_slice(&[2], &[i64::MAX, i64::MAX - 2]);
        let median = quantile(&chunk, 0, &Quantiles { at: vec![0.5], nan: NanPolicy::Skip });
        assert_eq!((median.dtype(), median.get(0).as_f64()), (DType::F64, i64::MAX as f64));
    }
}
