//! Owns a small seeded generator, and the elements of random arrays: ordinary ones, and what breaks programs (NaN,
//! infinities, -0.0, the ends of integers).

use nuna_array::{Chunk, DType};

/// The dtypes that programs hold.
pub(crate) const DTYPES: [DType; 11] = [
    DType::Bool,
    DType::I8,
    DType::I16,
    DType::I32,
    DType::I64,
    DType::U8,
    DType::U16,
    DType::U32,
    DType::U64,
    DType::F32,
    DType::F64,
];

/// SplitMix64: every seed is a good one.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add(1))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`, which is at least 1.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn index(&mut self, bound: usize) -> usize {
        self.below(bound as u64) as usize
    }

    /// From `low` to `high`, both included.
    pub(crate) fn range(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1) as u64) as i64
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.index(from.len())]
    }

    pub(crate) fn shuffled(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for i in (1..count).rev() {
            order.swap(i, self.index(i + 1));
        }
        order
    }

    pub(crate) fn dtype(&mut self) -> DType {
        // Floats are what people have; the others are where promotion goes wrong.
        if self.chance(35) { *self.pick(&[DType::F64, DType::F32]) } else { *self.pick(&DTYPES) }
    }

    /// An integer of any size, often at the end of some dtype.
    pub(crate) fn odd_integer(&mut self) -> i128 {
        let ends = [8, 16, 32, 64].map(|bits| 1i128 << (bits - 1));
        let end = *self.pick(&ends);
        match self.below(6) {
            0 => -end,
            1 => end - 1,
            2 => end,
            3 => 2 * end - 1,
            4 => i128::from(self.next()),
            _ => i128::from(self.range(-9, 9)),
        }
    }

    pub(crate) fn odd_float(&mut self) -> f64 {
        match self.below(10) {
            0 => f64::NAN,
            1 => f64::INFINITY,
            2 => f64::NEG_INFINITY,
            3 => -0.0,
            4 => f64::from(*self.pick(&[f32::MAX, f32::MIN_POSITIVE, f32::EPSILON, -f32::MAX])),
            5 => *self.pick(&[f64::MAX, f64::MIN_POSITIVE, 5e-324, -1e300, 1e-300]),
            6 => self.odd_integer() as f64,
            _ => self.range(-99, 99) as f64 / 7.0,
        }
    }

    /// Elements of one array.
    pub(crate) fn chunk(&mut self, dtype: DType, shape: &[u64]) -> Chunk {
        let count = shape.iter().product::<u64>();
        let odd = self.chance(35);
        let with_nan = self.chance(50);
        if dtype.is_float() {
            let value = |random: &mut Self| match random.below(7) {
                0 if with_nan => f64::NAN,
                _ if odd => random.odd_float(),
                _ => random.range(-400, 400) as f64 / 8.0,
            };
            let values: Vec<f64> = (0..count).map(|_| value(self)).collect();
            return Chunk::from_slice(shape, &values).cast(dtype);
        }
        let value =
            |random: &mut Self| if odd { random.odd_integer() } else { random.range(-20, 100).into() };
        let values: Vec<i128> = (0..count).map(|_| value(self)).collect();
        if dtype == DType::Bool {
            return Chunk::from_slice(shape, &values.iter().map(|v| v % 2 == 0).collect::<Vec<_>>());
        }
        // Cut to the dtype's bits.
        Chunk::from_slice(shape, &values.iter().map(|v| *v as u64).collect::<Vec<_>>()).cast(dtype)
    }
}
