//! Owns the partial result of a reduction: updated with chunks, merged with others of its kind, finished.

use nuna_plan::Value;
use smallvec::SmallVec;

use crate::{
    buffer::{lanes, lanes_mut},
    chunk::{Chunk, ChunkMut},
    dtype::DType,
    error::ChunkError,
    parts::PartsMut,
    reduce::{
        NanPolicy, Operation, Reduction, complex,
        counter::{self, Counter, with_counter},
        fold::{self, All, Any, Count, Fold, FoldVisitor, Max, Min, Missing, Prod, Sum},
        moments::{Moments, Place, SumCount, Variance, better},
        walk::walk,
    },
    region::Shape,
};

/// A partial result over the cells that stay. Reduced axes have length 1 in it.
pub struct Accumulator {
    reduction: Reduction,
    reduced: SmallVec<[bool; 6]>,
    shape: Shape,
    /// Its parts, and last the place for `uniform`.
    parts: PartsMut,
    /// Elements per cell, where no NaN is skipped and all cells have had equally many.
    uniform: i64,
}

/// Binds `$T` to the lane type of a dtype (`u8` for bool). Complex dtypes have been dealt with before.
macro_rules! with_lane {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            DType::C64 | DType::C128 => unreachable!("`complex` reduces complex numbers"),
            DType::Bool | DType::U8 => {
                type $T = u8;
                $body
            }
            DType::I8 => {
                type $T = i8;
                $body
            }
            DType::I16 => {
                type $T = i16;
                $body
            }
            DType::I32 => {
                type $T = i32;
                $body
            }
            DType::I64 => {
                type $T = i64;
                $body
            }
            DType::U16 => {
                type $T = u16;
                $body
            }
            DType::U32 => {
                type $T = u32;
                $body
            }
            DType::U64 => {
                type $T = u64;
                $body
            }
            DType::F32 => {
                type $T = f32;
                $body
            }
            DType::F64 => {
                type $T = f64;
                $body
            }
        }
    };
}

/// Binds `$fold` to the fold of a one-value reduction over lanes of type `$T`.
macro_rules! with_fold {
    ($reduction:expr, $T:ident, $fold:ident => $body:expr, else $else:expr) => {{
        let reduction: Reduction = $reduction;
        let skip = reduction.skips();
        macro_rules! arm {
            ($value:expr) => {{ let $fold = $value; $body }};
        }
        match reduction.operation {
            Operation::Sum | Operation::Prod => {
                let sum = reduction.operation == Operation::Sum;
                match reduction.output()? {
                    DType::U64 => with_lane!(reduction.dtype, $T => if sum { arm!(Sum::<u64, false>::new()) } else { arm!(Prod::<u64, false>::new()) }),
                    DType::I64 => with_lane!(reduction.dtype, $T => if sum { arm!(Sum::<i64, false>::new()) } else { arm!(Prod::<i64, false>::new()) }),
                    _ => with_lane!(reduction.dtype, $T => match (sum, skip) {
                        (true, true) => arm!(Sum::<f64, true>::new()),
                        (true, false) => arm!(Sum::<f64, false>::new()),
                        (false, true) => arm!(Prod::<f64, true>::new()),
                        (false, false) => arm!(Prod::<f64, false>::new()),
                    }),
                }
            }
            // Without NaN to skip, a mean is a sum and the number of elements.
            Operation::Mean if !skip => with_lane!(reduction.dtype, $T => arm!(Sum::<f64, false>::new())),
            Operation::Min => with_lane!(reduction.dtype, $T => if skip { arm!(Min::<$T, true>::new()) } else { arm!(Min::<$T, false>::new()) }),
            Operation::Max => with_lane!(reduction.dtype, $T => if skip { arm!(Max::<$T, true>::new()) } else { arm!(Max::<$T, false>::new()) }),
            Operation::Count => with_lane!(reduction.dtype, $T => arm!(Count)),
            Operation::Any => with_lane!(reduction.dtype, $T => arm!(Any)),
            Operation::All => with_lane!(reduction.dtype, $T => arm!(All)),
            Operation::Mean | Operation::Var { .. } | Operation::Std { .. } | Operation::ArgMin | Operation::ArgMax => $else,
        }
    }};
}

/// Whether its second part is counts that are as narrow as they can be: means where NaN is skipped.
fn counts_narrowly(reduction: Reduction) -> bool {
    reduction.operation == Operation::Mean && reduction.skips() && !reduction.dtype.is_complex()
}

/// What a partial result has last: its elements per cell.
fn uniform_of(parts: &[Chunk]) -> Result<i64, ChunkError> {
    let Some(uniform) = parts.last() else {
        return Err(ChunkError::Header("a partial result without parts".to_owned()));
    };
    Ok(uniform.elements::<i64>()?.first().copied().unwrap_or(0))
}

/// A chunk of `float32` or `float64`, without another of doubles beside it.
fn floats(dtype: DType, shape: &[u64], values: impl Iterator<Item = f64>) -> Chunk {
    let mut made = ChunkMut::new(dtype, shape);
    if dtype == DType::F32 {
        made.elements_of_mut::<f32>().iter_mut().zip(values).for_each(|(to, value)| *to = value as f32);
    } else {
        made.elements_of_mut::<f64>().iter_mut().zip(values).for_each(|(to, value)| *to = value);
    }
    made.freeze()
}

fn start_of<T, F: Fold<T>>(fold: F, to: &mut [u8]) {
    lanes_mut::<F::Partial>(to).fill(fold.start());
}

fn update_with<T: Missing, F: Fold<T>>(fold: F, chunk: &Chunk, reduced: &[bool], to: &mut [u8]) {
    let mut visitor = FoldVisitor { fold, from: lanes::<T>(chunk.bytes()), to: lanes_mut::<F::Partial>(to) };
    walk(chunk.shape(), reduced, &mut visitor);
}

fn merge_with<T, F: Fold<T>>(fold: F, to: &mut [u8], other: &[u8]) {
    fold::merge::<T, F>(fold, lanes_mut::<F::Partial>(to), lanes::<F::Partial>(other));
}

impl Accumulator {
    /// An empty result for cells of `shape`, where `reduced` axes are taken away. Their lengths say how much is to be expected;
    /// more may come.
    ///
    /// # Errors
    /// If the reduction is not defined for its dtype.
    pub fn new(reduction: Reduction, shape: &[u64], reduced: &[bool]) -> Result<Self, ChunkError> {
        let expected = shape.iter().zip(reduced).filter(|(_, r)| **r).map(|(n, _)| *n);
        Self::expecting(expected.fold(1, u64::saturating_mul), reduction, shape, reduced)
    }

    /// All that these partial results stand for, in cells as [`new`](Self::new) has them. They are merged in this order, which
    /// is part of the result's last bits.
    ///
    /// # Errors
    /// As [`new`](Self::new) and [`merge`](Self::merge).
    pub fn merged(
        reduction: Reduction,
        shape: &[u64],
        reduced: &[bool],
        partials: Vec<Vec<Chunk>>,
    ) -> Result<Self, ChunkError> {
        let mut expected = 0u64;
        for parts in &partials {
            expected = expected.saturating_add(uniform_of(parts)?.try_into().unwrap_or(u64::MAX));
        }
        let mut all = Self::expecting(expected, reduction, shape, reduced)?;
        for parts in partials {
            all.merge(&parts)?;
        }
        Ok(all)
    }

    fn expecting(
        expected: u64,
        reduction: Reduction,
        shape: &[u64],
        reduced: &[bool],
    ) -> Result<Self, ChunkError> {
        assert_eq!(shape.len(), reduced.len(), "one flag per axis");
        let shape: Shape = shape.iter().zip(reduced).map(|(&n, &r)| if r { 1 } else { n }).collect();
        let mut dtypes = Self::part_dtypes(reduction)?;
        if counts_narrowly(reduction) {
            dtypes[1] = counter::dtype_for(expected);
        }
        let dtypes = dtypes.into_iter().map(|dtype| (dtype, shape.clone()));
        let mut memory = PartsMut::zeroed(dtypes.chain([(DType::I64, Shape::new())]).collect());
        if shape.iter().all(|&n| n > 0) {
            let mut parts = memory.split();
            let first = parts[0].bytes_mut();
            if reduction.dtype.is_complex() {
                complex::start(reduction, first);
            } else {
                with_fold!(reduction, T, fold => start_of::<T, _>(fold, first), else {
                    if matches!(reduction.operation, Operation::ArgMin | Operation::ArgMax) {
                        parts[1].elements_of_mut::<i64>().fill(-1);
                    }
                });
            }
        }
        let parts = memory;
        Ok(Self { reduction, reduced: reduced.into(), shape, parts, uniform: 0 })
    }

    /// Makes a mean's counters as wide as `uniform` elements per cell need, and no narrower than `least`.
    fn widen(&mut self, least: DType) {
        let needed = counter::dtype_for(self.uniform.try_into().unwrap_or(u64::MAX));
        let needed = if least.size() > needed.size() { least } else { needed };
        let mut old = self.parts.split();
        if !counts_narrowly(self.reduction) || old[1].dtype().size() >= needed.size() {
            return;
        }
        let shape = || self.shape.clone();
        let mut wider =
            PartsMut::zeroed(vec![(DType::F64, shape()), (needed, shape()), (DType::I64, Shape::new())]);
        {
            let mut new = wider.split();
            new[0].bytes_mut().copy_from_slice(old[0].bytes_mut());
            with_counter!(needed, C => with_counter!(old[1].dtype(), B => {
                counter::add::<C, B>(new[1].elements_of_mut(), old[1].elements_of_mut());
            }));
        }
        self.parts = wider;
    }

    pub(super) fn part_dtypes(reduction: Reduction) -> Result<Vec<DType>, ChunkError> {
        reduction.output()?;
        Ok(match reduction.operation {
            Operation::Sum | Operation::Prod => match reduction.output()? {
                DType::F32 => vec![DType::F64],
                DType::C64 => vec![DType::C128],
                dtype => vec![dtype],
            },
            Operation::Mean => {
                let sum = if reduction.dtype.is_complex() { DType::C128 } else { DType::F64 };
                if reduction.skips() { vec![sum, DType::I64] } else { vec![sum] }
            }
            Operation::Var { .. } | Operation::Std { .. } => vec![DType::I64, DType::F64, DType::F64],
            Operation::Min | Operation::Max => vec![reduction.dtype],
            Operation::Count => vec![DType::I64],
            Operation::Any | Operation::All => vec![DType::Bool],
            Operation::ArgMin | Operation::ArgMax => vec![reduction.dtype, DType::I64],
        })
    }

    /// Takes in a chunk. Its axes that stay have the result's lengths; `origin` is where it starts along the reduced axis,
    /// which only argmin and argmax look at.
    ///
    /// # Errors
    /// If the chunk has another dtype or shape than promised.
    pub fn update(&mut self, chunk: &Chunk, origin: u64) -> Result<(), ChunkError> {
        let fits = chunk.ndim() == self.shape.len()
            && chunk.shape().iter().zip(&self.shape).zip(&self.reduced).all(|((&n, &own), &r)| r || n == own);
        if !fits {
            let region = format!("{:?}", chunk.shape());
            return Err(ChunkError::Outside { region, shape: self.shape.to_vec() });
        }
        if chunk.dtype() != self.reduction.dtype {
            return Err(ChunkError::DType { asked: self.reduction.dtype, found: chunk.dtype() });
        }
        let per_cell: u64 =
            chunk.shape().iter().zip(&self.reduced).filter(|(_, r)| **r).map(|(n, _)| n).product();
        self.uniform += per_cell as i64;
        if chunk.is_empty() {
            return Ok(());
        }
        self.widen(DType::U8);
        let reduced = &self.reduced;
        let reduction = self.reduction;
        let mut parts = self.parts.split();
        parts.pop();
        if reduction.dtype.is_complex() {
            complex::update(reduction, chunk, reduced, &mut parts);
            return Ok(());
        }
        if let [one] = &mut parts[..] {
            let to = one.bytes_mut();
            with_fold!(reduction, T, fold => update_with::<T, _>(fold, chunk, reduced, to), else unreachable!("several parts"));
            return Ok(());
        }
        with_lane!(reduction.dtype, T => {
            let from = lanes::<T>(chunk.bytes());
            match (&mut parts[..], reduction.operation) {
                ([sum, count], Operation::Mean) => {
                    let sum = sum.elements_of_mut();
                    with_counter!(count.dtype(), C => {
                        let count = count.elements_of_mut::<C>();
                        walk(chunk.shape(), reduced, &mut SumCount { from, sum, count });
                    });
                }
                ([value, index], operation) => {
                    let (value, index) = (lanes_mut::<T>(value.bytes_mut()), index.elements_of_mut());
                    let greatest = operation == Operation::ArgMax;
                    let (origin, skip) = (origin as i64, reduction.nan == NanPolicy::Skip);
                    walk(chunk.shape(), reduced, &mut Place { from, value, index, origin, greatest, skip });
                }
                ([count, mean, m2], _) => {
                    let (count, mean, m2) = (count.elements_of_mut(), mean.elements_of_mut(), m2.elements_of_mut());
                    if reduction.skips() {
                        walk(chunk.shape(), reduced, &mut Variance::<T, true> { from, count, mean, m2 });
                    } else {
                        walk(chunk.shape(), reduced, &mut Variance::<T, false> { from, count, mean, m2 });
                    }
                }
                _ => unreachable!("reductions have one to three parts"),
            }
        });
        Ok(())
    }

    /// Takes in what another accumulator of the same reduction and shape gave up with [`Accumulator::into_parts`].
    /// The order of merges is part of the result's last bits, so callers keep it fixed.
    ///
    /// # Errors
    /// If the parts are not of this reduction.
    pub fn merge(&mut self, parts: &[Chunk]) -> Result<(), ChunkError> {
        let given = uniform_of(parts)?;
        let parts = &parts[..parts.len() - 1];
        let mut own_parts = self.parts.split();
        own_parts.pop();
        if parts.len() != own_parts.len() {
            return Err(ChunkError::Header(format!(
                "a partial result of {} parts, not {}",
                parts.len(),
                own_parts.len()
            )));
        }
        let narrow = counts_narrowly(self.reduction);
        for (at, (own, other)) in own_parts.iter().zip(parts).enumerate() {
            let counts = narrow && at == 1 && counter::is_counter(other.dtype());
            if own.dtype() != other.dtype() && !counts {
                return Err(ChunkError::DType { asked: own.dtype(), found: other.dtype() });
            }
            if own.shape() != other.shape() {
                let region = format!("{:?}", other.shape());
                return Err(ChunkError::Outside { region, shape: own.shape().to_vec() });
            }
        }
        self.uniform += given;
        if self.shape.contains(&0) {
            return Ok(());
        }
        if narrow {
            self.widen(parts[1].dtype());
        }
        let mut own_parts = self.parts.split();
        own_parts.pop();
        let reduction = self.reduction;
        if reduction.dtype.is_complex() {
            complex::merge(reduction, &mut own_parts, parts);
            return Ok(());
        }
        match (&mut own_parts[..], parts) {
            ([own], [other]) => {
                let own = own.bytes_mut();
                with_fold!(reduction, T, fold => merge_with::<T, _>(fold, own, other.bytes()), else unreachable!("several parts"));
            }
            ([sum, count], [other_sum, other_count]) if reduction.operation == Operation::Mean => {
                for (a, b) in sum.elements_of_mut::<f64>().iter_mut().zip(other_sum.elements_of::<f64>()) {
                    *a += b;
                }
                with_counter!(count.dtype(), C => with_counter!(other_count.dtype(), B => {
                    counter::add::<C, B>(count.elements_of_mut(), other_count.elements_of());
                }));
            }
            ([value, index], [other_value, other_index]) => with_lane!(reduction.dtype, T => {
                let (value, index) = (lanes_mut::<T>(value.bytes_mut()), index.elements_of_mut::<i64>());
                let greatest = reduction.operation == Operation::ArgMax;
                let others = lanes::<T>(other_value.bytes()).iter().zip(other_index.elements_of::<i64>());
                for ((v, i), (&ov, &oi)) in value.iter_mut().zip(index).zip(others) {
                    if oi >= 0 && better(*v, *i, ov, greatest, reduction.nan == NanPolicy::Skip) {
                        (*v, *i) = (ov, oi);
                    }
                }
            }),
            ([count, mean, m2], [other_count, other_mean, other_m2]) => {
                let own = count
                    .elements_of_mut::<i64>()
                    .iter_mut()
                    .zip(mean.elements_of_mut::<f64>())
                    .zip(m2.elements_of_mut::<f64>());
                let other = other_count
                    .elements_of::<i64>()
                    .iter()
                    .zip(other_mean.elements_of::<f64>())
                    .zip(other_m2.elements_of::<f64>());
                for (((n, mean), m2), ((&on, &om), &om2)) in own.zip(other) {
                    let merged = Moments { count: *n, mean: *mean, m2: *m2 }.merge(Moments {
                        count: on,
                        mean: om,
                        m2: om2,
                    });
                    (*n, *mean, *m2) = (merged.count, merged.mean, merged.m2);
                }
            }
            _ => unreachable!("the numbers of parts were compared"),
        }
        Ok(())
    }

    /// The partial result as chunks: its parts, then the number of elements per cell.
    pub fn into_parts(self) -> Vec<Chunk> {
        self.whole().freeze()
    }

    /// [`into_parts`](Self::into_parts) as [`Chunk::parts_to_value`] puts them together, without a copy.
    pub fn into_value(self) -> Value {
        self.whole().into_value()
    }

    fn whole(mut self) -> PartsMut {
        if let Some(uniform) = self.parts.split().last_mut() {
            uniform.elements_of_mut::<i64>().fill(self.uniform);
        }
        self.parts
    }

    /// The result; reduced axes keep length 1.
    ///
    /// # Errors
    /// If argmin or argmax saw nothing but NaN, or an extreme saw nothing at all.
    pub fn finish(self) -> Result<Chunk, ChunkError> {
        let output = self.reduction.output()?;
        let uniform = self.uniform;
        if self.reduction.needs_elements() && uniform == 0 && !self.shape.contains(&0) {
            return Err(ChunkError::EmptyAxis { operation: "a minimum or maximum" });
        }
        let mut parts = self.parts.freeze().into_iter();
        let mut part = || parts.next().expect("the constructor made them");
        Ok(match self.reduction.operation {
            Operation::Sum
            | Operation::Prod
            | Operation::Min
            | Operation::Max
            | Operation::Count
            | Operation::Any
            | Operation::All => part().cast(output),
            Operation::Mean if self.reduction.dtype.is_complex() => {
                let sum = part();
                let count = self.reduction.skips().then(&mut part);
                complex::mean(&sum, count.as_ref(), uniform).cast(output)
            }
            Operation::Mean => {
                let sum = part();
                let sums = sum.elements_of::<f64>().iter();
                if self.reduction.skips() {
                    let count = part();
                    with_counter!(count.dtype(), C => {
                        floats(output, &self.shape, sums.zip(count.elements_of::<C>()).map(|(&sum, &count)| {
                            let count = count.number();
                            if count == 0 { f64::NAN } else { sum / count as f64 }
                        }))
                    })
                } else {
                    let mean = |&sum: &f64| if uniform == 0 { f64::NAN } else { sum / uniform as f64 };
                    floats(output, &self.shape, sums.map(mean))
                }
            }
            Operation::Var { ddof } | Operation::Std { ddof } => {
                let root = matches!(self.reduction.operation, Operation::Std { .. });
                let (count, _mean, m2) = (part(), part(), part());
                let own = count.elements_of::<i64>().iter().zip(m2.elements_of::<f64>());
                let spread = own.map(|(&count, &m2)| {
                    let freedom = count - i64::from(ddof);
                    let value = if freedom <= 0 { f64::NAN } else { m2 / freedom as f64 };
                    if root { value.sqrt() } else { value }
                });
                floats(output, &self.shape, spread)
            }
            Operation::ArgMin | Operation::ArgMax => {
                let (_value, index) = (part(), part());
                if index.elements_of::<i64>().contains(&-1) {
                    return Err(ChunkError::EmptyAxis {
                        operation: "argmin or argmax where every value is NaN",
                    });
                }
                // A copy: the index alone would keep the memory of the values.
                Chunk::from_slice(index.shape(), index.elements_of::<i64>())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reduce(chunk: &Chunk, operation: Operation, nan: NanPolicy, reduced: &[bool]) -> Chunk {
        let reduction = Reduction { operation, nan, dtype: chunk.dtype() };
        let mut whole = Accumulator::new(reduction, chunk.shape(), reduced).unwrap();
        whole.update(chunk, 0).unwrap();
        whole.finish().unwrap()
    }

    const N: f64 = f64::NAN;

    #[test]
    fn nan_policies() {
        let chunk = Chunk::from_slice(&[2, 3], &[1.0, N, 3.0, N, N, N]);
        let skip = |op| reduce(&chunk, op, NanPolicy::Skip, &[false, true]).to_vec::<f64>();
        let keep = |op| reduce(&chunk, op, NanPolicy::Propagate, &[true, false]).to_vec::<f64>();
        assert_eq!(skip(Operation::Sum), [4.0, 0.0]);
        assert_eq!(skip(Operation::Prod), [3.0, 1.0]);
        assert_eq!(skip(Operation::Mean)[0], 2.0);
        assert!(skip(Operation::Mean)[1].is_nan());
        assert_eq!(skip(Operation::Count), [2.0, 0.0]);
        assert_eq!(skip(Operation::Max)[0], 3.0);
        assert!(skip(Operation::Min)[1].is_nan());
        assert_eq!(skip(Operation::Std { ddof: 0 })[0], 1.0);
        assert!(keep(Operation::Min).iter().all(|v| v.is_nan()));
        assert!(keep(Operation::Mean).iter().all(|v| v.is_nan()));
    }

    #[test]
    fn integers_widen() {
        let chunk = Chunk::from_slice(&[4], &[250u8, 250, 3, 1]);
        let all = |op| reduce(&chunk, op, NanPolicy::Skip, &[true]);
        assert_eq!(all(Operation::Sum), Chunk::from_slice(&[1], &[504u64]));
        assert_eq!(all(Operation::Mean), Chunk::from_slice(&[1], &[126.0f64]));
        assert_eq!(all(Operation::Min), Chunk::from_slice(&[1], &[1u8]));
        assert_eq!(all(Operation::ArgMax), Chunk::from_slice(&[1], &[0i64]));
        assert_eq!(all(Operation::All), Chunk::from_slice(&[1], &[true]));
        let flags = Chunk::from_slice(&[3], &[true, false, true]);
        assert_eq!(
            reduce(&flags, Operation::Sum, NanPolicy::Skip, &[true]),
            Chunk::from_slice(&[1], &[2i64])
        );
    }

    #[test]
    fn empty_axes() {
        let chunk = Chunk::from_slice::<f32>(&[0, 2], &[]);
        let all = |op| reduce(&chunk, op, NanPolicy::Skip, &[true, false]).to_vec::<f32>();
        assert_eq!(all(Operation::Sum), [0.0, 0.0]);
        assert_eq!(all(Operation::Prod), [1.0, 1.0]);
        assert!(all(Operation::Mean).iter().all(|v| v.is_nan()));
        let reduction = Reduction { operation: Operation::Min, nan: NanPolicy::Skip, dtype: DType::F32 };
        let least = Accumulator::new(reduction, &[0, 2], &[true, false]).unwrap();
        assert!(least.finish().is_err());
    }

    #[test]
    fn a_large_mean_does_not_lose_a_small_variance() {
        let values: Vec<f64> = (0..100_000).map(|i| 1e9 + f64::from(i % 7)).collect();
        let exact = {
            let shifted: Vec<f64> = (0..100_000).map(|i| f64::from(i % 7)).collect();
            let mean = shifted.iter().sum::<f64>() / 1e5;
            shifted.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / 1e5
        };
        let chunk = Chunk::from_slice(&[100_000], &values);
        let var = reduce(&chunk, Operation::Var { ddof: 0 }, NanPolicy::Skip, &[true]).to_vec::<f64>()[0];
        // Deviations from a mean of 1e9 carry an error of 1e-7 each, squared and averaged far less.
        assert!((var - exact).abs() < 1e-6, "{var} and {exact}");
    }

    #[test]
    fn counters_grow_with_what_they_count() {
        let reduction = Reduction { operation: Operation::Mean, nan: NanPolicy::Skip, dtype: DType::F32 };
        let rows = |n: u64| {
            let values: Vec<f32> =
                (0..n).flat_map(|i| [i as f32, if i % 2 == 0 { 1.0 } else { f32::NAN }]).collect();
            Chunk::from_slice(&[n, 2], &values)
        };
        // Little is expected, then come as many as 8, 16 and 32 bits cannot count; half of the second column is NaN.
        let mut mean = Accumulator::new(reduction, &[1, 2], &[true, false]).unwrap();
        let mut parts = Vec::new();
        for n in [200, 100, 70_000] {
            mean.update(&rows(n), 0).unwrap();
            let mut own = Accumulator::new(reduction, &[n, 2], &[true, false]).unwrap();
            own.update(&rows(n), 0).unwrap();
            parts.push(own.into_parts());
        }
        let dtypes: Vec<DType> = parts.iter().map(|parts| parts[1].dtype()).collect();
        assert_eq!(dtypes, [DType::U8, DType::U8, DType::U32]);
        let sum: f64 = [200u64, 100, 70_000].iter().map(|&n| (0..n).map(|i| i as f64).sum::<f64>()).sum();
        let whole = mean.finish().unwrap();
        assert_eq!(whole.to_vec::<f32>(), [(sum / 70_300.0) as f32, 1.0]);
        for order in [[0, 1, 2], [2, 0, 1]] {
            let partials = order.map(|at| parts[at].clone()).to_vec();
            let merged = Accumulator::merged(reduction, &[1, 2], &[true, false], partials).unwrap();
            let counted = merged.into_parts();
            assert_eq!(counted[1], Chunk::from_slice(&[1, 2], &[70_300u32, 35_150]));
        }
    }

    #[test]
    fn merged_parts_equal_the_whole() {
        let values: Vec<f32> =
            (0..6 * 40 * 10).map(|i| if i % 11 == 0 { f32::NAN } else { (i * 7919 % 1000) as f32 }).collect();
        let chunk = Chunk::from_slice(&[6, 40, 10], &values);
        for operation in [
            Operation::Sum,
            Operation::Mean,
            Operation::Std { ddof: 1 },
            Operation::Min,
            Operation::Max,
            Operation::Count,
            Operation::Any,
            Operation::All,
        ] {
            for reduced in
                [[true, false, true], [false, true, false], [true, true, true], [false, false, true]]
            {
                let reduction = Reduction { operation, nan: NanPolicy::Skip, dtype: DType::F32 };
                let whole = reduce(&chunk, operation, NanPolicy::Skip, &reduced);
                // Two halves along the middle axis: merged if it is reduced, side by side if not.
                if !reduced[1] {
                    continue;
                }
                let mut merged = Accumulator::new(reduction, chunk.shape(), &reduced).unwrap();
                for half in [0..13, 13..40] {
                    let piece = chunk.slice(&crate::Region::new([0..6, half, 0..10])).unwrap();
                    let mut part = Accumulator::new(reduction, piece.shape(), &reduced).unwrap();
                    part.update(&piece, 0).unwrap();
                    merged.merge(&part.into_parts()).unwrap();
                }
                let merged = merged.finish().unwrap().to_vec::<f64>();
                for (a, b) in merged.iter().zip(whole.to_vec::<f64>()) {
                    // Sums of 2400 float32 values in float64, rounded to float32: one unit in the last place.
                    assert!((a - b).abs() <= 2e-7 * b.abs(), "{operation:?} {reduced:?}: {a} and {b}");
                }
            }
        }
    }
}
