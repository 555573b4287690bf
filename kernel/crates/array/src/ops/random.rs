//! Owns random arrays. An element's number depends on the seed and on where it lies, not on chunks, threads or workers: each is made
//! by Philox 4x32-10 (Salmon, Moraes, Dror and Shaw 2011), a function of key (the seed) and counter (the element's index).

use nuna_chunk::{Chunk, ChunkMut, DType};
use nuna_plan::{BlockGrid, Splits};
use serde::{Deserialize, Serialize};

use crate::{
    array::Array,
    error::{ArrayError, ArrayErrorKind},
    grid::ChunkGrid,
    ops::routine::{Routine, routine},
};

/// How random numbers are distributed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Random {
    /// `float64` in `low..high`.
    Uniform { low: f64, high: f64 },
    /// `float64`, by Box and Muller's transformation.
    Normal { mean: f64, std: f64 },
    /// `float64` from 0.
    Exponential { scale: f64 },
    /// `int64` in `low..high`, each with the same probability but for 2⁻⁶⁴ of the range.
    Integers { low: i64, high: i64 },
}

impl Array {
    /// Random numbers of a given shape, the same for the same seed whatever the chunks. `chunks` of `None` cuts as
    /// [`full`](Array::full) does.
    ///
    /// # Errors
    /// If the distribution has no numbers (a range that is empty or not finite, a negative width), or chunks do not fit the shape.
    pub fn random(
        seed: u64,
        random: Random,
        shape: &[u64],
        chunks: Option<&[u64]>,
    ) -> Result<Array, ArrayError> {
        let possible = match random {
            Random::Uniform { low, high } => low.is_finite() && high.is_finite() && low <= high,
            Random::Normal { mean, std } => mean.is_finite() && std.is_finite() && std >= 0.0,
            Random::Exponential { scale } => scale.is_finite() && scale >= 0.0,
            Random::Integers { low, high } => low < high,
        };
        if !possible {
            return Err(ArrayErrorKind::Invalid(format!("{random:?} is no distribution to draw from")).into());
        }
        let dtype = if matches!(random, Random::Integers { .. }) { DType::I64 } else { DType::F64 };
        let grid = match chunks {
            Some(chunks) => ChunkGrid::regular(shape, chunks)?,
            None => Array::full(shape, 0, dtype).chunks().clone(),
        };
        let name = match random {
            Random::Uniform { .. } => "random uniform",
            Random::Normal { .. } => "random normal",
            Random::Exponential { .. } => "random exponential",
            Random::Integers { .. } => "random integers",
        };
        let axes = grid.axes().to_vec();
        let made = Routine { name: name.to_owned(), dtype, grid, scratch: 0 };
        routine(Vec::new(), made, &(seed, random, axes), |(seed, random, axes), block| {
            Ok(drawn(*seed, *random, axes, block.index))
        })
    }
}

fn drawn(seed: u64, random: Random, axes: &[Splits], block: u64) -> Chunk {
    let coords = BlockGrid::new(axes.iter().map(Splits::count)).coords(block);
    let ranges: Vec<_> = axes.iter().zip(&coords).map(|(splits, &c)| splits.range(c)).collect();
    let shape: Vec<u64> = ranges.iter().map(|r| r.end - r.start).collect();
    let mut below = vec![1u64; axes.len()];
    for axis in (1..axes.len()).rev() {
        below[axis - 1] = below[axis].wrapping_mul(crate::grid::length(&axes[axis]));
    }
    let dtype = if matches!(random, Random::Integers { .. }) { DType::I64 } else { DType::F64 };
    let mut out = ChunkMut::new(dtype, &shape);
    let count: u64 = shape.iter().product();
    let run = shape.last().copied().unwrap_or(1).max(1);
    let lines = BlockGrid::new(shape.iter().take(shape.len().saturating_sub(1)).copied());
    let first_of = |line: u64| {
        let at = lines.coords(line);
        let line: u64 =
            at.iter().zip(&ranges).zip(&below).map(|((&i, r), &b)| (r.start + i).wrapping_mul(b)).sum();
        line.wrapping_add(ranges.last().map_or(0, |r| r.start))
    };
    let element = |index: u64| random.of(philox(seed, index));
    for line in 0..count / run {
        let (first, place) = (first_of(line), (line * run) as usize);
        match dtype {
            DType::I64 => {
                let out = &mut out.elements_mut::<i64>().expect("made so")[place..place + run as usize];
                out.iter_mut().zip(first..).for_each(|(out, index)| *out = element(index).1);
            }
            _ => {
                let out = &mut out.elements_mut::<f64>().expect("made so")[place..place + run as usize];
                out.iter_mut().zip(first..).for_each(|(out, index)| *out = element(index).0);
            }
        }
    }
    out.freeze()
}

impl Random {
    /// The number that 128 random bits become, as the dtype it has.
    fn of(self, bits: [u32; 4]) -> (f64, i64) {
        let words =
            [u64::from(bits[1]) << 32 | u64::from(bits[0]), u64::from(bits[3]) << 32 | u64::from(bits[2])];
        // 53 bits, from 0 to 1 without 1.
        let unit = |word: u64| (word >> 11) as f64 * (1.0 / (1u64 << 53) as f64);
        match self {
            Random::Uniform { low, high } => (low + (high - low) * unit(words[0]), 0),
            Random::Exponential { scale } => (-scale * (-unit(words[0])).ln_1p(), 0),
            Random::Normal { mean, std } => {
                let radius = (-2.0 * (-unit(words[0])).ln_1p()).sqrt();
                (mean + std * radius * (std::f64::consts::TAU * unit(words[1])).cos(), 0)
            }
            Random::Integers { low, high } => {
                let range = high.wrapping_sub(low) as u64;
                let place = (u128::from(words[0]) * u128::from(range)) >> 64;
                (0.0, low.wrapping_add(place as i64))
            }
        }
    }
}

/// 128 random bits for a key and a counter.
fn philox(key: u64, counter: u64) -> [u32; 4] {
    philox_words([key as u32, (key >> 32) as u32], [counter as u32, (counter >> 32) as u32, 0, 0])
}

fn philox_words(mut key: [u32; 2], mut c: [u32; 4]) -> [u32; 4] {
    const MULTIPLY: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
    const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        let (a, b) = (MULTIPLY[0] * u64::from(c[0]), MULTIPLY[1] * u64::from(c[2]));
        c = [(b >> 32) as u32 ^ c[1] ^ key[0], b as u32, (a >> 32) as u32 ^ c[3] ^ key[1], a as u32];
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_those_of_the_published_vectors() {
        // Known answers that come with Random123 1.14.
        assert_eq!(philox_words([0, 0], [0; 4]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox_words([u32::MAX; 2], [u32::MAX; 4]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox_words([0xa409_3822, 0x299f_31d0], [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }
}
