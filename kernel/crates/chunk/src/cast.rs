//! Owns the conversion of elements between dtypes, with NumPy's meaning: integers wrap, floats truncate towards
//! zero (and saturate where C leaves it undefined), anything not zero is true.

use crate::{
    buffer::Buffer,
    chunk::{Chunk, ChunkMut},
    dtype::{DType, Element, with_dtype},
    scalar::Scalar,
};

/// Conversion of one element.
pub(crate) trait CastFrom<T>: Sized {
    fn cast_from(value: T) -> Self;
}

macro_rules! numeric {
    ($from:ty => $($to:ty),*) => {
        $(impl CastFrom<$from> for $to {
            #[inline(always)]
            fn cast_from(value: $from) -> Self {
                value as $to
            }
        })*
        impl CastFrom<$from> for bool {
            #[inline(always)]
            fn cast_from(value: $from) -> Self {
                value != (0 as $from)
            }
        }
        impl CastFrom<bool> for $from {
            #[inline(always)]
            fn cast_from(value: bool) -> Self {
                u8::from(value) as $from
            }
        }
    };
}
numeric!(i8 => i8, i16, i32, i64, u8, u16, u32, u64, f32, f64);
numeric!(i16 => i8, i16, i32, i64, u8, u16, u32, u64, f32, f64);
numeric!(i32 => i8, i16, i32, i64, u8, u16, u32, u64, f32, f64);
numeric!(i64 => i8, i16, i32, i64, u8, u16, u32, u64, f32, f64);
numeric!(u8 => i8, i16, i32, i64, u8, u16, u32, u64, f32, f64);
numeric!(u16 => i8, i16, i32, i64, u8, u16, u32, u64, f32, f64);
numeric!(u32 => i8, i16, i32, i64, u8, u16, u32, u64, f32, f64);
numeric!(u64 => i8, i16, i32, i64, u8, u16, u32, u64, f32, f64);
numeric!(f32 => i8, i16, i32, i64, u8, u16, u32, u64, f32, f64);
numeric!(f64 => i8, i16, i32, i64, u8, u16, u32, u64, f32, f64);

impl CastFrom<bool> for bool {
    #[inline(always)]
    fn cast_from(value: bool) -> Self {
        value
    }
}

#[inline(always)]
pub(crate) fn cast_slice<A: Element, B: Element + CastFrom<A>>(from: &[A], to: &mut [B]) {
    for (t, &f) in to.iter_mut().zip(from) {
        *t = B::cast_from(f);
    }
}

impl Chunk {
    /// The same values as another dtype; without a copy if it is the same.
    pub fn cast(&self, dtype: DType) -> Chunk {
        if dtype == self.dtype() {
            return self.clone();
        }
        let mut out = ChunkMut::new(dtype, self.shape());
        with_dtype!(self.dtype(), A => with_dtype!(dtype, B => {
            cast_slice::<A, B>(self.elements_of::<A>(), out.elements_of_mut::<B>());
        }));
        out.freeze()
    }
}

/// The bytes of one scalar as an element of `dtype`.
pub(crate) fn scalar_bytes(value: Scalar, dtype: DType) -> Buffer {
    let mut buffer = Buffer::zeroed(dtype.size());
    with_dtype!(dtype, T => {
        let to = buffer.elements_mut::<T>();
        to[0] = match value {
            Scalar::Bool(v) => T::cast_from(v),
            Scalar::Int(v) => T::cast_from(v),
            Scalar::UInt(v) => T::cast_from(v),
            Scalar::Float(v) => T::cast_from(v),
        };
    });
    buffer
}

/// A scalar as an element type.
pub(crate) fn element<T>(value: Scalar) -> T
where
    T: CastFrom<bool> + CastFrom<i64> + CastFrom<u64> + CastFrom<f64>,
{
    match value {
        Scalar::Bool(v) => T::cast_from(v),
        Scalar::Int(v) => T::cast_from(v),
        Scalar::UInt(v) => T::cast_from(v),
        Scalar::Float(v) => T::cast_from(v),
    }
}
