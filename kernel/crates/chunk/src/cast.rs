//! Owns the conversion of elements between dtypes, with NumPy's meaning: integers wrap, floats truncate towards
//! zero (and saturate where C leaves it undefined), anything not zero is true.

use num_complex::Complex;

use crate::{
    buffer::Buffer,
    chunk::{Chunk, ChunkMut},
    dtype::{DType, Element, with_any, with_dtype},
    error::ChunkError,
    scalar::Scalar,
};

/// Refuses what would lose imaginary parts. Complex to bool is whether it is not 0.
///
/// # Errors
/// [`ChunkError::ComplexToReal`]; NumPy warns there, and goes on.
pub(crate) fn check(from: DType, to: DType) -> Result<(), ChunkError> {
    if from.is_complex() && !to.is_complex() && to != DType::Bool {
        return Err(ChunkError::ComplexToReal { from, to });
    }
    Ok(())
}

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

/// A real number as a complex one.
impl<P: Default> CastFrom<P> for Complex<P> {
    #[inline(always)]
    fn cast_from(value: P) -> Self {
        Complex::new(value, P::default())
    }
}

impl CastFrom<Complex<f32>> for Complex<f64> {
    #[inline(always)]
    fn cast_from(value: Complex<f32>) -> Self {
        Complex::new(value.re.into(), value.im.into())
    }
}

impl CastFrom<Complex<f64>> for Complex<f32> {
    #[inline(always)]
    fn cast_from(value: Complex<f64>) -> Self {
        Complex::new(value.re as f32, value.im as f32)
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
    ///
    /// # Panics
    /// If complex numbers are to become real ones; see [`try_cast`](Chunk::try_cast).
    pub fn cast(&self, dtype: DType) -> Chunk {
        self.try_cast(dtype).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same values as another dtype; without a copy if it is the same.
    ///
    /// # Errors
    /// [`ChunkError::ComplexToReal`].
    pub fn try_cast(&self, dtype: DType) -> Result<Chunk, ChunkError> {
        let own = self.dtype();
        if dtype == own {
            return Ok(self.clone());
        }
        check(own, dtype)?;
        if dtype.is_complex() && !own.is_complex() && own != dtype.real_part() {
            // By way of its parts' dtype, so that there is not one more loop for each pair of dtypes.
            return self.try_cast(dtype.real_part())?.try_cast(dtype);
        }
        let mut out = ChunkMut::new(dtype, self.shape());
        match (own, dtype) {
            (DType::F32, DType::C64) => {
                cast_slice::<f32, Complex<f32>>(self.elements_of(), out.elements_of_mut())
            }
            (DType::F64, DType::C128) => {
                cast_slice::<f64, Complex<f64>>(self.elements_of(), out.elements_of_mut())
            }
            (DType::C64, DType::C128) => {
                cast_slice::<Complex<f32>, Complex<f64>>(self.elements_of(), out.elements_of_mut());
            }
            (DType::C128, DType::C64) => {
                cast_slice::<Complex<f64>, Complex<f32>>(self.elements_of(), out.elements_of_mut());
            }
            _ => with_any!(own, A => with_dtype!(dtype, B => {
                cast_slice::<A, B>(self.elements_of::<A>(), out.elements_of_mut::<B>());
            }), complex P => {
                // Only to bool: the rest was refused, or is above.
                let truths = out.elements_of_mut::<bool>();
                for (to, from) in truths.iter_mut().zip(self.elements_of::<Complex<P>>()) {
                    *to = *from != Complex::<P>::default();
                }
            }),
        }
        Ok(out.freeze())
    }
}

/// The bytes of one scalar as an element of `dtype`. What a complex value has beyond a real dtype makes it NaN.
pub(crate) fn scalar_bytes(value: Scalar, dtype: DType) -> Buffer {
    let mut buffer = Buffer::zeroed(dtype.size());
    with_any!(dtype, T => buffer.elements_mut::<T>()[0] = element(value), complex P => {
        let value = value.as_complex();
        buffer.elements_mut::<Complex<P>>()[0] = Complex::new(value.re as P, value.im as P);
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
        Scalar::Complex(..) => T::cast_from(value.as_f64()),
    }
}
