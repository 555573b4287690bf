//! Owns cumulative sums, products, minima and maxima along an axis.

use serde::{Deserialize, Serialize};

use super::{each_line, is_nan};
use crate::{
    chunk::Chunk,
    dtype::{DType, Kind, Ordered, with_dtype},
    reduce::NanPolicy,
};

/// What is carried along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scan {
    Sum,
    Prod,
    Min,
    Max,
}

impl Scan {
    /// The dtype of the result: as a reduction's, so integers and bool give 64 bits for sums and products.
    pub fn output(self, dtype: DType) -> DType {
        match (self, dtype.kind()) {
            (Scan::Min | Scan::Max, _) | (_, Kind::Float | Kind::Complex) => dtype,
            (_, Kind::Bool | Kind::Signed) => DType::I64,
            (_, Kind::Unsigned) => DType::U64,
        }
    }

    /// The dtype of what is carried from one element to the next: floats are summed in `float64`.
    pub fn carried(self, dtype: DType) -> DType {
        match (self, dtype.kind()) {
            (Scan::Sum | Scan::Prod, Kind::Float) => DType::F64,
            _ => self.output(dtype),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Scan::Sum => "cumsum",
            Scan::Prod => "cumprod",
            Scan::Min => "cummin",
            Scan::Max => "cummax",
        }
    }
}

/// What can be carried.
trait Carried: Ordered {
    fn join(scan: Scan, held: Self, value: Self) -> Self;
    /// What joining changes nothing.
    fn neutral(scan: Scan) -> Self;
}

macro_rules! carried {
    ($($t:ty: $add:expr, $mul:expr, $one:expr, $least:expr, $greatest:expr;)*) => {$(
        impl Carried for $t {
            fn join(scan: Scan, held: Self, value: Self) -> Self {
                match scan {
                    Scan::Sum => $add(held, value),
                    Scan::Prod => $mul(held, value),
                    // A NaN stays, as in `np.minimum.accumulate`.
                    Scan::Min if is_nan(held) || held <= value => held,
                    Scan::Max if is_nan(held) || held >= value => held,
                    Scan::Min | Scan::Max => value,
                }
            }

            fn neutral(scan: Scan) -> Self {
                match scan {
                    Scan::Sum => <$t>::default(),
                    Scan::Prod => $one,
                    Scan::Min => $greatest,
                    Scan::Max => $least,
                }
            }
        }
    )*};
}
carried! {
    bool: |a, b| a || b, |a, b| a && b, true, false, true;
    i8: i8::wrapping_add, i8::wrapping_mul, 1, i8::MIN, i8::MAX;
    i16: i16::wrapping_add, i16::wrapping_mul, 1, i16::MIN, i16::MAX;
    i32: i32::wrapping_add, i32::wrapping_mul, 1, i32::MIN, i32::MAX;
    i64: i64::wrapping_add, i64::wrapping_mul, 1, i64::MIN, i64::MAX;
    u8: u8::wrapping_add, u8::wrapping_mul, 1, u8::MIN, u8::MAX;
    u16: u16::wrapping_add, u16::wrapping_mul, 1, u16::MIN, u16::MAX;
    u32: u32::wrapping_add, u32::wrapping_mul, 1, u32::MIN, u32::MAX;
    u64: u64::wrapping_add, u64::wrapping_mul, 1, u64::MIN, u64::MAX;
    f32: |a, b| a + b, |a, b| a * b, 1.0, f32::NEG_INFINITY, f32::INFINITY;
    f64: |a, b| a + b, |a, b| a * b, 1.0, f64::NEG_INFINITY, f64::INFINITY;
}

/// What a scan gives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Give {
    /// Everything up to and with each element.
    UpTo,
    /// Everything before each element.
    Before,
    /// The end of the line.
    Total,
}

/// Cumulative values along `axis`, of the dtype that [`Scan::output`] gives. NaNs that are skipped count as 0 in sums and as 1 in
/// products; minima and maxima do not skip. With `carry`, of [`Scan::carried`] dtype and one element along `axis`, each line goes on
/// from there.
pub fn scan(chunk: &Chunk, axis: usize, scan: Scan, nan: NanPolicy, carry: Option<&Chunk>) -> Chunk {
    run(chunk, axis, scan, nan, carry, Give::UpTo).cast(scan.output(chunk.dtype()))
}

impl Scan {
    /// The end of every line, of [`carried`](Self::carried) dtype: one element along `axis`. Lines must have elements.
    pub fn totals(self, chunk: &Chunk, axis: usize, nan: NanPolicy) -> Chunk {
        run(chunk, axis, self, nan, None, Give::Total)
    }

    /// Of totals, for each everything before it; for the first what joining changes nothing.
    pub fn before(self, totals: &Chunk, axis: usize) -> Chunk {
        run(totals, axis, self, NanPolicy::Propagate, None, Give::Before)
    }
}

fn run(chunk: &Chunk, axis: usize, scan: Scan, nan: NanPolicy, carry: Option<&Chunk>, give: Give) -> Chunk {
    let carried = scan.carried(chunk.dtype());
    let (chunk, carry) = (chunk.cast(carried), carry.map(|carry| carry.cast(carried)));
    let skip = nan == NanPolicy::Skip && matches!(scan, Scan::Sum | Scan::Prod);
    let length = if give == Give::Total { 1 } else { chunk.shape()[axis] };
    with_dtype!(carried, T => {
        // Of length 1 along the axis, it has one element for each line, in the order that lines are visited in.
        let starts = carry.as_ref().map(|carry| carry.elements_of::<T>());
        let mut number = 0usize;
        each_line::<T, T>(&chunk, axis, length, |line, out| {
            let start = starts.map(|starts| starts[number]);
            number += 1;
            let neutral = T::neutral(scan);
            let mut held = start.unwrap_or(neutral);
            for (i, &value) in line.iter().enumerate() {
                let next = if skip && is_nan(value) { held } else { T::join(scan, held, value) };
                match give {
                    Give::UpTo => out[i] = next,
                    Give::Before => out[i] = held,
                    Give::Total => {}
                }
                held = next;
            }
            if give == Give::Total {
                out[0] = held;
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_go_on_where_the_one_before_ended() {
        let values = [3.0f32, f32::NAN, -1.5, 7.0, 2.0, 0.5];
        let whole = Chunk::from_slice(&[1, 6], &values);
        let parts = [Chunk::from_slice(&[1, 2], &values[..2]), Chunk::from_slice(&[1, 4], &values[2..])];
        for op in [Scan::Sum, Scan::Prod, Scan::Min, Scan::Max] {
            for nan in [NanPolicy::Skip, NanPolicy::Propagate] {
                let expected = scan(&whole, 1, op, nan, None).to_vec::<f32>();
                let totals: Vec<f64> =
                    parts.iter().flat_map(|part| op.totals(part, 1, nan).to_vec::<f64>()).collect();
                let before = op.before(&Chunk::from_slice(&[1, 2], &totals), 1);
                let mut found = Vec::new();
                for (i, part) in parts.iter().enumerate() {
                    let carry = Chunk::from_slice(&[1, 1], &[before.get(i).as_f64()]);
                    found.extend(scan(part, 1, op, nan, Some(&carry)).to_vec::<f32>());
                }
                let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&found), bits(&expected), "{} {nan:?}", op.name());
            }
        }
    }

    #[test]
    fn integers_wrap_in_64_bits_and_bools_count() {
        let bytes = Chunk::from_slice(&[3], &[200u8, 100, 1]);
        let summed = scan(&bytes, 0, Scan::Sum, NanPolicy::Propagate, None);
        assert_eq!((summed.dtype(), summed.to_vec::<u64>()), (DType::U64, vec![200, 300, 301]));
        let flags = Chunk::from_slice(&[3], &[true, false, true]);
        assert_eq!(scan(&flags, 0, Scan::Sum, NanPolicy::Propagate, None).to_vec::<i64>(), [1, 1, 2]);
        let least = scan(&flags, 0, Scan::Min, NanPolicy::Propagate, None);
        assert_eq!((least.dtype(), least.to_vec::<bool>()), (DType::Bool, vec![true, false, false]));
    }
}
