//! Owns how many elements of a cell were not NaN: kept in as few bytes as the largest possible count needs, because a partial
//! mean of a large field has one per cell, and several partial results wait for each other.

use crate::{buffer::Lane, dtype::DType, simd::widest};

/// A number of elements.
pub(crate) trait Counter: Lane {
    /// Wraps around, which a counter as wide as [`dtype_for`] says does not see.
    fn plus(self, more: i64) -> Self;
    fn number(self) -> i64;
}

macro_rules! counters {
    ($($T:ty),*) => {$(
        impl Counter for $T {
            #[inline(always)]
            fn plus(self, more: i64) -> Self {
                self.wrapping_add(more as $T)
            }
            #[inline(always)]
            fn number(self) -> i64 {
                self as i64
            }
        }
    )*};
}

counters!(u8, u16, u32, i64);

/// Binds `$C` to the counter of a dtype that [`dtype_for`] gave.
macro_rules! with_counter {
    ($dtype:expr, $C:ident => $body:expr) => {
        match $dtype {
            $crate::dtype::DType::U8 => {
                type $C = u8;
                $body
            }
            $crate::dtype::DType::U16 => {
                type $C = u16;
                $body
            }
            $crate::dtype::DType::U32 => {
                type $C = u32;
                $body
            }
            _ => {
                type $C = i64;
                $body
            }
        }
    };
}
pub(crate) use with_counter;

/// The narrowest dtype that counts so many.
pub(crate) fn dtype_for(most: u64) -> DType {
    match most {
        0..=0xff => DType::U8,
        0x100..=0xffff => DType::U16,
        0x1_0000..=0xffff_ffff => DType::U32,
        _ => DType::I64,
    }
}

/// Whether counts may be kept like this.
pub(crate) fn is_counter(dtype: DType) -> bool {
    matches!(dtype, DType::U8 | DType::U16 | DType::U32 | DType::I64)
}

/// Adds other counts, cell by cell.
pub(crate) fn add<A: Counter, B: Counter>(own: &mut [A], other: &[B]) {
    widest(
        #[inline(always)]
        || {
            for (own, other) in own.iter_mut().zip(other) {
                *own = own.plus(other.number());
            }
        },
    );
}
