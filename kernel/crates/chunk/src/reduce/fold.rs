//! Owns reductions whose partial result is one value per cell: sums, products, extremes, counts, any and all.

use crate::{buffer::Lane, cast::CastFrom, reduce::walk::Visitor, simd::widest};

/// One value folded over elements of type `T`.
pub(crate) trait Fold<T>: Copy {
    type Partial: Lane;
    /// What an empty fold gives.
    fn start(self) -> Self::Partial;
    fn step(self, partial: Self::Partial, value: T) -> Self::Partial;
    fn merge(self, a: Self::Partial, b: Self::Partial) -> Self::Partial;
}

/// Independent partial results inside a row, so that it fills vectors; merged in a fixed order.
const LANES: usize = 16;
/// Elements of a row after which its lanes are merged: keeps long sums accurate.
const RUN: usize = 4096;
/// Columns whose partial results stay in the first-level cache.
const STRIP: usize = 1024;

pub(crate) struct FoldVisitor<'a, T, F: Fold<T>> {
    pub(crate) fold: F,
    pub(crate) from: &'a [T],
    pub(crate) to: &'a mut [F::Partial],
}

impl<T: Lane, F: Fold<T>> Visitor for FoldVisitor<'_, T, F> {
    fn columns(&mut self, from: usize, to: usize, rows: usize, stride: usize, width: usize) {
        let fold = self.fold;
        for strip in (0..width).step_by(STRIP) {
            let count = STRIP.min(width - strip);
            let to = &mut self.to[to + strip..][..count];
            let source = self.from;
            let base = from + strip;
            widest(
                #[inline(always)]
                || {
                    let mut row = 0;
                    // Four rows at a time: a partial result is loaded and stored once for four elements.
                    while row + 4 <= rows {
                        let at = |r: usize| &source[base + (row + r) * stride..][..count];
                        let (a, b, c, d) = (at(0), at(1), at(2), at(3));
                        for j in 0..count {
                            let p = fold.step(fold.step(to[j], a[j]), b[j]);
                            to[j] = fold.step(fold.step(p, c[j]), d[j]);
                        }
                        row += 4;
                    }
                    while row < rows {
                        let a = &source[base + row * stride..][..count];
                        for j in 0..count {
                            to[j] = fold.step(to[j], a[j]);
                        }
                        row += 1;
                    }
                },
            );
        }
    }

    fn row(&mut self, from: usize, to: usize, count: usize) {
        let fold = self.fold;
        for run in self.from[from..from + count].chunks(RUN) {
            let partial = widest(
                #[inline(always)]
                || {
                    let mut lanes = [fold.start(); LANES];
                    let (whole, rest) = run.as_chunks::<LANES>();
                    for values in whole {
                        for lane in 0..LANES {
                            lanes[lane] = fold.step(lanes[lane], values[lane]);
                        }
                    }
                    for (lane, &value) in lanes.iter_mut().zip(rest) {
                        *lane = fold.step(*lane, value);
                    }
                    let mut half = LANES / 2;
                    while half > 0 {
                        for lane in 0..half {
                            lanes[lane] = fold.merge(lanes[lane], lanes[lane + half]);
                        }
                        half /= 2;
                    }
                    lanes[0]
                },
            );
            self.to[to] = fold.merge(self.to[to], partial);
        }
    }
}

/// Merges partial results cell by cell.
pub(crate) fn merge<T, F: Fold<T>>(fold: F, into: &mut [F::Partial], other: &[F::Partial]) {
    for (a, &b) in into.iter_mut().zip(other) {
        *a = fold.merge(*a, b);
    }
}

/// What a fold must know of a number: whether it is missing.
pub(crate) trait Missing: Lane {
    fn missing(self) -> bool;
}

/// What an extreme must know: an order, and its ends.
pub(crate) trait Extreme: Missing + PartialOrd {
    fn least() -> Self;
    fn greatest() -> Self;
    /// What stands for "nothing seen yet" where NaN is skipped; of no meaning for integers.
    fn nothing() -> Self;
}

macro_rules! integers {
    ($($t:ty),*) => {$(
        impl Missing for $t {
            #[inline(always)]
            fn missing(self) -> bool {
                false
            }
        }
        impl Extreme for $t {
            fn least() -> Self {
                <$t>::MIN
            }
            fn greatest() -> Self {
                <$t>::MAX
            }
            fn nothing() -> Self {
                0
            }
        }
    )*};
}
integers!(i8, i16, i32, i64, u8, u16, u32, u64);

macro_rules! floats {
    ($($t:ty),*) => {$(
        impl Missing for $t {
            #[inline(always)]
            fn missing(self) -> bool {
                self.is_nan()
            }
        }
        impl Extreme for $t {
            fn least() -> Self {
                <$t>::NEG_INFINITY
            }
            fn greatest() -> Self {
                <$t>::INFINITY
            }
            fn nothing() -> Self {
                <$t>::NAN
            }
        }
    )*};
}
floats!(f32, f64);

/// Addition and multiplication in the accumulating type.
pub(crate) trait Arithmetic: Lane {
    const ZERO: Self;
    const ONE: Self;
    fn plus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
}

macro_rules! arithmetic {
    ($t:ty, $zero:expr, $one:expr, $plus:expr, $times:expr) => {
        impl Arithmetic for $t {
            const ZERO: Self = $zero;
            const ONE: Self = $one;
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                $plus(self, other)
            }
            #[inline(always)]
            fn times(self, other: Self) -> Self {
                $times(self, other)
            }
        }
    };
}
arithmetic!(f64, 0.0, 1.0, |a: f64, b: f64| a + b, |a: f64, b: f64| a * b);
arithmetic!(i64, 0, 1, i64::wrapping_add, i64::wrapping_mul);
arithmetic!(u64, 0, 1, u64::wrapping_add, u64::wrapping_mul);

macro_rules! fold {
    ($name:ident) => {
        #[derive(Clone, Copy)]
        pub(crate) struct $name<A, const SKIP: bool>(pub(crate) std::marker::PhantomData<A>);
        impl<A, const SKIP: bool> $name<A, SKIP> {
            pub(crate) fn new() -> Self {
                Self(std::marker::PhantomData)
            }
        }
    };
}
fold!(Sum);
fold!(Prod);
fold!(Min);
fold!(Max);

impl<T: Missing, A: Arithmetic + CastFrom<T>, const SKIP: bool> Fold<T> for Sum<A, SKIP> {
    type Partial = A;
    fn start(self) -> A {
        A::ZERO
    }
    #[inline(always)]
    fn step(self, partial: A, value: T) -> A {
        partial.plus(if SKIP && value.missing() { A::ZERO } else { A::cast_from(value) })
    }
    #[inline(always)]
    fn merge(self, a: A, b: A) -> A {
        a.plus(b)
    }
}

impl<T: Missing, A: Arithmetic + CastFrom<T>, const SKIP: bool> Fold<T> for Prod<A, SKIP> {
    type Partial = A;
    fn start(self) -> A {
        A::ONE
    }
    #[inline(always)]
    fn step(self, partial: A, value: T) -> A {
        partial.times(if SKIP && value.missing() { A::ONE } else { A::cast_from(value) })
    }
    #[inline(always)]
    fn merge(self, a: A, b: A) -> A {
        a.times(b)
    }
}

macro_rules! extreme {
    ($name:ident, $order:tt, $start:ident) => {
        impl<T: Extreme, const SKIP: bool> Fold<T> for $name<T, SKIP> {
            type Partial = T;
            fn start(self) -> T {
                if SKIP { T::nothing() } else { T::$start() }
            }
            #[inline(always)]
            fn step(self, partial: T, value: T) -> T {
                // Skipping: NaN stands for nothing yet, so any value replaces it. Otherwise NaN wins and stays.
                let take = value $order partial || if SKIP { partial.missing() } else { value.missing() };
                let keep = !SKIP && partial.missing();
                if take && !keep { value } else { partial }
            }
            #[inline(always)]
            fn merge(self, a: T, b: T) -> T {
                self.step(a, b)
            }
        }
    };
}
extreme!(Min, <, greatest);
extreme!(Max, >, least);

/// Elements that are not NaN.
#[derive(Clone, Copy)]
pub(crate) struct Count;

impl<T: Missing> Fold<T> for Count {
    type Partial = i64;
    fn start(self) -> i64 {
        0
    }
    #[inline(always)]
    fn step(self, partial: i64, value: T) -> i64 {
        partial.wrapping_add(i64::from(!value.missing()))
    }
    #[inline(always)]
    fn merge(self, a: i64, b: i64) -> i64 {
        a.wrapping_add(b)
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Any;

impl<T: Missing> Fold<T> for Any {
    type Partial = u8;
    fn start(self) -> u8 {
        0
    }
    #[inline(always)]
    fn step(self, partial: u8, value: T) -> u8 {
        partial | u8::from(value != T::default())
    }
    #[inline(always)]
    fn merge(self, a: u8, b: u8) -> u8 {
        a | b
    }
}

#[derive(Clone, Copy)]
pub(crate) struct All;

impl<T: Missing> Fold<T> for All {
    type Partial = u8;
    fn start(self) -> u8 {
        1
    }
    #[inline(always)]
    fn step(self, partial: u8, value: T) -> u8 {
        partial & u8::from(value != T::default())
    }
    #[inline(always)]
    fn merge(self, a: u8, b: u8) -> u8 {
        a & b
    }
}
