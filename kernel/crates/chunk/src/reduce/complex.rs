//! Owns reductions of complex numbers: sum, product, mean, count, any and all. Sums accumulate in `complex128`. A number
//! is NaN if one of its parts is.

use num_complex::Complex;

use crate::{
    buffer::{Lane, lanes, lanes_mut},
    cast::CastFrom,
    chunk::{Chunk, ChunkMut},
    dtype::DType,
    parts::PartMut,
    reduce::{
        Operation, Reduction,
        fold::{self, All, Any, Arithmetic, Count, Fold, FoldVisitor, Missing, Prod, Sum},
        walk::walk,
    },
};

type C = Complex<f64>;

impl Missing for Complex<f32> {
    #[inline(always)]
    fn missing(self) -> bool {
        self.re.is_nan() | self.im.is_nan()
    }
}

impl Missing for C {
    #[inline(always)]
    fn missing(self) -> bool {
        self.re.is_nan() | self.im.is_nan()
    }
}

impl Arithmetic for C {
    const ZERO: Self = Complex::new(0.0, 0.0);
    const ONE: Self = Complex::new(1.0, 0.0);
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self + other
    }
    #[inline(always)]
    fn times(self, other: Self) -> Self {
        self * other
    }
}

impl CastFrom<C> for C {
    #[inline(always)]
    fn cast_from(value: C) -> Self {
        value
    }
}

/// What a reduction has before anything was taken in.
pub(crate) fn start(reduction: Reduction, first: &mut [u8]) {
    match reduction.operation {
        Operation::Prod => lanes_mut::<C>(first).fill(C::ONE),
        Operation::All => first.fill(1),
        // The rest starts at zero, as the memory does.
        _ => {}
    }
}

/// Takes in a chunk. The accumulator has checked that it fits.
pub(crate) fn update(reduction: Reduction, chunk: &Chunk, reduced: &[bool], parts: &mut [PartMut<'_>]) {
    if chunk.dtype() == DType::C64 {
        update_from::<Complex<f32>>(reduction, chunk, reduced, parts);
    } else {
        update_from::<C>(reduction, chunk, reduced, parts);
    }
}

fn update_from<T: Missing>(reduction: Reduction, chunk: &Chunk, reduced: &[bool], parts: &mut [PartMut<'_>])
where
    C: CastFrom<T>,
{
    fn with<T: Lane, F: Fold<T>>(fold: F, chunk: &Chunk, reduced: &[bool], to: &mut PartMut<'_>) {
        let to = lanes_mut::<F::Partial>(to.bytes_mut());
        walk(chunk.shape(), reduced, &mut FoldVisitor { fold, from: lanes::<T>(chunk.bytes()), to });
    }
    let [first, rest @ ..] = parts else { unreachable!("every reduction has a part") };
    match (reduction.operation, reduction.skips()) {
        (Operation::Sum | Operation::Mean, true) => {
            with::<T, _>(Sum::<C, true>::new(), chunk, reduced, first)
        }
        (Operation::Sum | Operation::Mean, false) => {
            with::<T, _>(Sum::<C, false>::new(), chunk, reduced, first)
        }
        (Operation::Prod, true) => with::<T, _>(Prod::<C, true>::new(), chunk, reduced, first),
        (Operation::Prod, false) => with::<T, _>(Prod::<C, false>::new(), chunk, reduced, first),
        (Operation::Count, _) => with::<T, _>(Count, chunk, reduced, first),
        (Operation::Any, _) => with::<T, _>(Any, chunk, reduced, first),
        (Operation::All, _) => with::<T, _>(All, chunk, reduced, first),
        _ => unreachable!("refused when the accumulator was made"),
    }
    if let [count] = rest {
        with::<T, _>(Count, chunk, reduced, count);
    }
}

/// Takes in another partial result. The accumulator has checked that it is of the same kind.
pub(crate) fn merge(reduction: Reduction, own: &mut [PartMut<'_>], other: &[Chunk]) {
    type P = Complex<f64>;
    fn with<T, F: Fold<T>>(fold: F, own: &mut PartMut<'_>, other: &Chunk) {
        fold::merge::<T, F>(
            fold,
            lanes_mut::<F::Partial>(own.bytes_mut()),
            lanes::<F::Partial>(other.bytes()),
        );
    }
    let ([first, rest @ ..], [other, others @ ..]) = (own, other) else {
        unreachable!("every reduction has a part")
    };
    match reduction.operation {
        Operation::Prod => with::<P, _>(Prod::<C, false>::new(), first, other),
        Operation::Count => with::<P, _>(Count, first, other),
        Operation::Any => with::<P, _>(Any, first, other),
        Operation::All => with::<P, _>(All, first, other),
        _ => with::<P, _>(Sum::<C, false>::new(), first, other),
    }
    if let ([count], [other]) = (rest, others) {
        with::<P, _>(Count, count, other);
    }
}

/// Sums over counts: those of each cell, else `uniform` for all. NaN over nothing.
pub(crate) fn mean(sum: &Chunk, count: Option<&Chunk>, uniform: i64) -> Chunk {
    let mut mean = ChunkMut::new(DType::C128, sum.shape());
    let counts = count.map(Chunk::elements_of::<i64>);
    for (index, (to, sum)) in mean.elements_of_mut::<C>().iter_mut().zip(sum.elements_of::<C>()).enumerate() {
        let count = counts.map_or(uniform, |counts| counts[index]);
        *to = if count == 0 { C::new(f64::NAN, f64::NAN) } else { *sum / count as f64 };
    }
    mean.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reduce::{Accumulator, NanPolicy};

    fn z(re: f32, im: f32) -> Complex<f32> {
        Complex::new(re, im)
    }

    fn reduce(chunk: &Chunk, operation: Operation, nan: NanPolicy, reduced: &[bool]) -> Chunk {
        let reduction = Reduction { operation, nan, dtype: chunk.dtype() };
        let mut whole = Accumulator::new(reduction, chunk.shape(), reduced).unwrap();
        whole.update(chunk, 0).unwrap();
        whole.finish().unwrap()
    }

    #[test]
    fn sums_products_and_means() {
        let chunk = Chunk::from_slice(&[2, 2], &[z(1.0, 2.0), z(f32::NAN, 1.0), z(0.0, 1.0), z(3.0, 0.0)]);
        let skip = |op| reduce(&chunk, op, NanPolicy::Skip, &[true, false]);
        assert_eq!(skip(Operation::Sum), Chunk::from_slice(&[1, 2], &[z(1.0, 3.0), z(3.0, 0.0)]));
        assert_eq!(skip(Operation::Prod), Chunk::from_slice(&[1, 2], &[z(-2.0, 1.0), z(3.0, 0.0)]));
        assert_eq!(skip(Operation::Mean), Chunk::from_slice(&[1, 2], &[z(0.5, 1.5), z(3.0, 0.0)]));
        assert_eq!(skip(Operation::Count), Chunk::from_slice(&[1, 2], &[2i64, 1]));
        assert_eq!(skip(Operation::Any), Chunk::from_slice(&[1, 2], &[true, true]));
        assert_eq!(skip(Operation::All), Chunk::from_slice(&[1, 2], &[true, true]));
        let keep = reduce(&chunk, Operation::Mean, NanPolicy::Propagate, &[false, true]);
        let keep = keep.elements::<Complex<f32>>().unwrap();
        assert!(keep[0].re.is_nan() && keep[1] == z(1.5, 0.5), "{keep:?}");
        let none = reduce(&Chunk::from_slice::<C>(&[0], &[]), Operation::Mean, NanPolicy::Skip, &[true]);
        assert!(none.elements::<C>().unwrap()[0].re.is_nan());
    }

    #[test]
    fn merged_parts_equal_the_whole() {
        let values: Vec<C> = (0..3000).map(|i| C::new(f64::from(i % 64), f64::from(i % 7) - 3.0)).collect();
        let chunk = Chunk::from_slice(&[3000], &values);
        for operation in [Operation::Sum, Operation::Mean, Operation::Count, Operation::Any, Operation::All] {
            let reduction = Reduction { operation, nan: NanPolicy::Skip, dtype: DType::C128 };
            let mut merged = Accumulator::new(reduction, &[3000], &[true]).unwrap();
            for half in [0..1234, 1234..3000] {
                let piece = chunk.slice(&crate::Region::new([half])).unwrap();
                let mut part = Accumulator::new(reduction, piece.shape(), &[true]).unwrap();
                part.update(&piece, 0).unwrap();
                merged.merge(&part.into_parts()).unwrap();
            }
            // Sums of small whole numbers are exact.
            let whole = reduce(&chunk, operation, NanPolicy::Skip, &[true]);
            assert_eq!(merged.finish().unwrap(), whole, "{operation:?}");
        }
    }

    #[test]
    fn what_needs_an_order_is_refused() {
        for operation in [Operation::Min, Operation::ArgMax, Operation::Std { ddof: 0 }] {
            let reduction = Reduction { operation, nan: NanPolicy::Propagate, dtype: DType::C64 };
            let error = Accumulator::new(reduction, &[3], &[true]).err().unwrap().to_string();
            assert!(error.ends_with("is not defined for complex64"), "{error}");
        }
    }
}
