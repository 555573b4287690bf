//! Owns scattered sequences of numbers: they travel as they lie in memory, and tasks read them where they arrived. So the
//! processes of a node that share a value's memory have one copy of them, whatever their number.
#![expect(unsafe_code, reason = "bytes are read as the numbers that they are")]

use std::{any::Any, ptr::NonNull, sync::Arc};

use bytes::Bytes;

/// Numbers that are their bytes, in the order of this machine; workers have the same build, so also the same order.
pub trait Number: Copy + Send + Sync + 'static + sealed::Sealed {}

mod sealed {
    pub trait Sealed {}
}

macro_rules! numbers {
    ($($number:ty),+) => {$(
        impl sealed::Sealed for $number {}
        impl Number for $number {}
    )+};
}

numbers!(i8, i16, i32, i64, u8, u16, u32, u64, f32, f64);

/// A value of this process and what keeps it there.
pub(super) struct Here<T: ?Sized> {
    value: NonNull<T>,
    owner: Arc<dyn Any + Send + Sync>,
}

// SAFETY: it gives out shared references only, to a value that may be read by several threads and whose owner may be dropped
// by any.
unsafe impl<T: ?Sized + Send + Sync> Send for Here<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Send + Sync> Sync for Here<T> {}

impl<T: ?Sized> Clone for Here<T> {
    fn clone(&self) -> Self {
        Here { value: self.value, owner: Arc::clone(&self.owner) }
    }
}

impl<T: ?Sized> Here<T> {
    pub(super) fn get(&self) -> &T {
        // SAFETY: the owner lives as long as this, and neither moves nor changes what it owns.
        unsafe { self.value.as_ref() }
    }
}

impl<T: Send + Sync + 'static> From<Arc<T>> for Here<T> {
    fn from(owner: Arc<T>) -> Self {
        Here { value: NonNull::from(&*owner), owner }
    }
}

impl<T: Number> Here<[T]> {
    /// The numbers of these bytes: in their place, or as a copy if they lie at an address where numbers do not. Nothing if they
    /// are not as many bytes as whole numbers have.
    pub(super) fn of_bytes(bytes: Bytes) -> Option<Self> {
        if !bytes.len().is_multiple_of(size_of::<T>()) {
            return None;
        }
        // SAFETY: any bytes are some number.
        if let ([], numbers, []) = unsafe { bytes.align_to::<T>() } {
            let value = NonNull::from(numbers);
            // The buffer itself stays where it is when its handle moves.
            return Some(Here { value, owner: Arc::new(bytes) });
        }
        let read = |at: usize| {
            // SAFETY: so many numbers are there, each a whole one.
            unsafe { bytes.as_ptr().cast::<T>().add(at).read_unaligned() }
        };
        let numbers: Vec<T> = (0..bytes.len() / size_of::<T>()).map(read).collect();
        let value = NonNull::from(numbers.as_slice());
        Some(Here { value, owner: Arc::new(numbers) })
    }
}

/// The bytes of numbers.
pub(super) fn bytes_of<T: Number>(numbers: &[T]) -> &[u8] {
    // SAFETY: numbers are their bytes, without gaps.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_where_their_bytes_lie() {
        let numbers: Vec<f64> = (0..100).map(|n| f64::from(n) / 3.0).collect();
        let bytes = Bytes::copy_from_slice(bytes_of(&numbers));
        let here = Here::<[f64]>::of_bytes(bytes.clone()).unwrap();
        assert_eq!(here.get(), numbers);
        let is_there = bytes.as_ptr().cast::<f64>().is_aligned();
        assert_eq!(here.get().as_ptr().cast::<u8>() == bytes.as_ptr(), is_there);
        drop(bytes);
        assert_eq!(here.clone().get(), numbers, "what it reads from stays");
    }

    #[test]
    fn numbers_at_odd_addresses_are_copied_and_halves_of_numbers_are_none() {
        let mut shifted = vec![0_u8];
        shifted.extend_from_slice(bytes_of(&[1_u32, 2, u32::MAX]));
        for start in [1, 5] {
            let bytes = Bytes::from(shifted.clone()).slice(start..);
            let here = Here::<[u32]>::of_bytes(bytes).unwrap();
            assert_eq!(here.get(), &[1, 2, u32::MAX][start / 4..]);
            assert!(here.get().as_ptr().is_aligned());
        }
        assert!(Here::<[u32]>::of_bytes(Bytes::from(shifted)).is_none());
        assert_eq!(Here::<[u32]>::of_bytes(Bytes::new()).unwrap().get(), &[0_u32; 0]);
    }
}
