//! Owns what is known of all elements of an array at once: the distinct ones, and approximate quantiles. Blocks make partial results
//! of fixed size, so neither holds more of the array than a block.

use std::collections::BTreeMap;

use nuna_chunk::{
    Chunk, DType,
    reduce::{NanPolicy, Operation},
};
use nuna_plan::Splits;

use crate::{
    array::Array,
    error::{ArrayError, ArrayErrorKind},
    grid::ChunkGrid,
    ops::{
        reduce::Axes,
        routine::{AlongAxes, Reads, Routine, routine},
    },
    submit,
};

/// Distinct elements that a block may have; 1 MiB of them leaves a worker.
const DISTINCT_IN_BLOCK: u64 = 1 << 16;
/// Distinct elements in all, some gigabyte of them.
const DISTINCT_IN_ALL: usize = 1 << 24;
/// What a block says that has more.
const TOO_MANY: u64 = u64::MAX;

/// Leading bits of a double that tell its bucket: sign, exponent, and six of the mantissa.
const BUCKET_BITS: u32 = 18;
const BUCKETS: u64 = 1 << BUCKET_BITS;

/// The distinct elements of an array; from [`Array::unique`].
#[derive(Clone, Debug)]
pub struct Unique {
    /// In ascending order, NaN once and last.
    pub values: Chunk,
    /// How often each occurs.
    pub counts: Vec<u64>,
}

/// A number that orders as the double does; NaNs are one and last, and so are both zeros.
fn key_of(x: f64) -> u64 {
    let x = if x.is_nan() { f64::NAN } else { x + 0.0 };
    let bits = x.to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

fn of_key(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 1 { key & !(1 << 63) } else { !key })
}

/// Elements as numbers that order alike.
fn keys(chunk: &Chunk) -> Vec<u64> {
    match chunk.dtype() {
        dtype if dtype.is_float() => chunk.to_vec::<f64>().into_iter().map(key_of).collect(),
        DType::U64 => chunk.to_vec(),
        _ => chunk.to_vec::<i64>().into_iter().map(|x| x as u64 ^ 1 << 63).collect(),
    }
}

fn of_keys(dtype: DType, keys: &[u64]) -> Chunk {
    let shape = [keys.len() as u64];
    let values = match dtype {
        dtype if dtype.is_float() => {
            Chunk::from_slice(&shape, &keys.iter().map(|&key| of_key(key)).collect::<Vec<_>>())
        }
        DType::U64 => Chunk::from_slice(&shape, keys),
        _ => Chunk::from_slice(&shape, &keys.iter().map(|key| (key ^ 1 << 63) as i64).collect::<Vec<_>>()),
    };
    values.cast(dtype)
}

impl Array {
    /// Something of fixed length of each block, along a new last axis; the others have an element per block.
    fn of_blocks<F>(
        &self,
        name: &str,
        dtype: DType,
        length: u64,
        scratch: u64,
        function: F,
    ) -> Result<Array, ArrayError>
    where
        F: Fn(&u64, &Chunk) -> Vec<u64> + Copy + nuna_ship::Ship + 'static,
    {
        let per_block = |splits: &Splits| Splits::Regular { chunk: 1, length: splits.count() };
        let mut axes: Vec<Splits> = self.chunks().axes().iter().map(per_block).collect();
        axes.push(Splits::Regular { chunk: length, length });
        let made = Routine { name: name.to_owned(), dtype, grid: ChunkGrid::from_axes(axes), scratch };
        let rules = Reads::Rules(crate::planner::own_cuts(self.chunks()));
        routine(vec![(self.clone(), rules)], made, &(length, dtype), move |(length, dtype), block| {
            let mut shape = vec![1; block.inputs[0].ndim()];
            shape.push(*length);
            Ok(Chunk::from_slice(&shape, &function(length, &block.inputs[0])).cast(*dtype))
        })
    }

    /// The distinct elements over all axes, sorted, and how often each occurs. It computes at once, as how many there are is not
    /// known before: blocks send their distinct elements, which are merged one block after the other.
    ///
    /// # Errors
    /// If elements are complex, a block has more than 65,536 distinct ones, or all blocks more than 16 million; as
    /// [`compute`](Array::compute).
    pub fn unique(&self) -> Result<Unique, ArrayError> {
        self.check_real("unique")?;
        if self.is_empty() {
            return Ok(Unique { values: of_keys(self.dtype(), &[]), counts: Vec::new() });
        }
        let block: u64 = self.chunks().chunk_shape().iter().product();
        let most = block.min(DISTINCT_IN_BLOCK);
        // How many there are, these, and how often each occurs.
        let parts = self.of_blocks(
            "unique",
            DType::U64,
            1 + 2 * most,
            4 * self.block_bytes(DType::U64),
            |length, chunk| {
                let most = (*length as usize - 1) / 2;
                let mut sorted = keys(chunk);
                sorted.sort_unstable();
                let mut told = vec![0; *length as usize];
                for run in sorted.chunk_by(|a, b| a == b) {
                    let at = told[0] as usize;
                    if at == most {
                        told[0] = TOO_MANY;
                        return told;
                    }
                    told[0] += 1;
                    (told[1 + at], told[1 + most + at]) = (run[0], run.len() as u64);
                }
                told
            },
        )?;
        let too_many = |most: usize, of: &str| {
            ArrayErrorKind::Invalid(format!(
                "`unique` of {}: {of} has more than {most} distinct elements; round it, count bins with `histogram`, or rechunk it",
                self.expression()
            ))
        };
        let (mut all, most): (BTreeMap<u64, u64>, usize) = (BTreeMap::new(), most as usize);
        submit::each_block(&parts, &submit::engine(), &mut |chunk| {
            let told = chunk.elements::<u64>()?;
            if told[0] == TOO_MANY {
                return Err(too_many(most, "a block").into());
            }
            for at in 0..told[0] as usize {
                *all.entry(told[1 + at]).or_default() += told[1 + most + at];
            }
            if all.len() > DISTINCT_IN_ALL {
                return Err(too_many(DISTINCT_IN_ALL, "it").into());
            }
            Ok(())
        })?;
        let (keys, counts): (Vec<u64>, Vec<u64>) = all.into_iter().unzip();
        Ok(Unique { values: of_keys(self.dtype(), &keys), counts })
    }

    /// Approximate quantiles over all axes: for each entry of `at`, from 0 to 1, a number that differs from the element of that
    /// rank (the lower one of two) by less than 1/128 of its magnitude. Unlike [`quantile`](Array::quantile) no block holds more than
    /// its own elements: each counts its elements in buckets by their leading bits, 2 MiB of them, and counts are added up in a tree.
    /// `float64`; numbers closer to 0 than 2⁻¹⁰²² give 0; NaN if there is no number, or a NaN that is not skipped.
    ///
    /// # Errors
    /// If no quantile is given, or one lies outside 0 to 1; for complex numbers.
    pub fn quantile_approx(&self, at: &[f64], nan: NanPolicy) -> Result<Array, ArrayError> {
        self.check_real("quantile_approx")?;
        if let Some(q) = at.iter().find(|q| !(0.0..=1.0).contains(*q)) {
            let message = format!("a quantile lies between 0 and 1, so {q} is none");
            return Err(ArrayErrorKind::Invalid(message).into());
        }
        if at.is_empty() {
            return Err(
                ArrayErrorKind::Invalid("`quantile_approx` needs at least one quantile".to_owned()).into()
            );
        }
        if self.is_empty() {
            return Ok(Array::full(&[at.len() as u64], f64::NAN, DType::F64));
        }
        // Behind the buckets, how many are NaN.
        let scratch = self.block_bytes(DType::F64) + 8 * BUCKETS;
        let counts = self.of_blocks(
            "quantile_approx of blocks",
            DType::I64,
            BUCKETS + 1,
            scratch,
            |length, chunk| {
                let mut counts = vec![0; *length as usize];
                for x in chunk.to_vec::<f64>() {
                    let bucket = if x.is_nan() { BUCKETS } else { key_of(x) >> (64 - BUCKET_BITS) };
                    counts[bucket as usize] += 1;
                }
                counts
            },
        )?;
        let blocks: Vec<usize> = (0..self.ndim()).collect();
        let counts = match blocks.is_empty() {
            true => counts,
            false => counts.reduce(Operation::Sum, NanPolicy::Propagate, &blocks, Axes::Drop)?,
        };
        let lengths = [Some(at.len() as u64)];
        let along = AlongAxes {
            name: "quantile_approx",
            axes: &[0],
            dtype: DType::F64,
            lengths: &lengths,
            scratch: 0,
        };
        counts.over_axes(&along, &(at.to_vec(), nan), |(at, nan), block| {
            let counts = block.inputs[0].elements::<i64>().map_err(|error| error.to_string())?;
            let found: Vec<f64> = at.iter().map(|&q| ranked(counts, q, *nan)).collect();
            Ok(Chunk::from_slice(&[at.len() as u64], &found))
        })
    }
}

/// What stands for the bucket of the element of rank `q`.
fn ranked(counts: &[i64], q: f64, nan: NanPolicy) -> f64 {
    let (buckets, missing) = counts.split_at(BUCKETS as usize);
    let total: i64 = buckets.iter().sum();
    if total == 0 || (missing[0] > 0 && nan == NanPolicy::Propagate) {
        return f64::NAN;
    }
    let rank = (q * (total - 1) as f64).floor() as i64;
    let mut before = 0;
    for (bucket, count) in (0u64..).zip(buckets) {
        before += count;
        if before > rank {
            let shift = 64 - BUCKET_BITS;
            let (low, high) = (of_key(bucket << shift), of_key((bucket << shift) | ((1 << shift) - 1)));
            // The buckets of infinity hold nothing else but NaNs, which are not here.
            if low.is_infinite() || high.is_infinite() || low.is_nan() || high.is_nan() {
                return if bucket >> (BUCKET_BITS - 1) == 1 { f64::INFINITY } else { f64::NEG_INFINITY };
            }
            let middle = low / 2.0 + high / 2.0;
            return if middle.abs() < f64::MIN_POSITIVE { 0.0 } else { middle };
        }
    }
    f64::NAN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_as_numbers_do_and_lead_back() {
        let numbers = [f64::NEG_INFINITY, -1e300, -1.0, -5e-324, 0.0, 5e-324, 1.0, f64::INFINITY];
        let keys: Vec<u64> = numbers.iter().map(|&x| key_of(x)).collect();
        assert!(keys.is_sorted() && keys.last() < Some(&key_of(f64::NAN)));
        assert!(numbers.iter().zip(&keys).all(|(&x, &key)| of_key(key) == x));
        assert_eq!(key_of(-0.0), key_of(0.0));
        assert_eq!(key_of(-f64::NAN), key_of(f64::NAN));
    }
}
