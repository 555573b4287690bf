//! Owns the bytes of chunks: 64-byte aligned buffers from a pool that counts them and keeps a few large ones for
//! the next block, since fresh pages cost more than most chunk ops.
#![expect(unsafe_code, reason = "typed views of bytes")]

mod allocation;
mod idle;
mod pages;

use std::{
    alloc::{Layout, handle_alloc_error},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use num_complex::Complex;

use crate::dtype::{Element, sealed};
use allocation::Allocation;
use idle::Idle;
use pages::HUGE_PAGE;

/// What every buffer's address is a multiple of: a cache line, and the widest vector.
pub(crate) const ALIGNMENT: usize = 64;

/// Buffers of this many bytes and more are kept for reuse.
const REUSE_FROM: usize = 1 << 18;
/// Where values and running blocks may take so much, whole huge pages may be more than what is used of them.
const AMPLE: u64 = 1 << 30;
static IN_USE: AtomicU64 = AtomicU64::new(0);
static PEAK: AtomicU64 = AtomicU64::new(0);
/// What live and idle buffers may take up together before idle ones are given back.
static BYTES_MAX: AtomicU64 = AtomicU64::new(u64::MAX);
static FREE: Mutex<Idle> = Mutex::new(Idle::new());

/// The process's chunk memory, counted.
pub mod pool {
    use super::{BYTES_MAX, IN_USE, Idle, PEAK, Relaxed, idle};

    /// Bytes of all live buffers.
    pub fn bytes_in_use() -> u64 {
        IN_USE.load(Relaxed)
    }

    /// The most that [`bytes_in_use`] has been since the last [`reset_peak`].
    pub fn peak_bytes() -> u64 {
        PEAK.load(Relaxed)
    }

    pub fn reset_peak() {
        PEAK.store(bytes_in_use(), Relaxed);
    }

    /// Bytes kept for reuse by nobody in particular.
    pub fn bytes_idle() -> u64 {
        idle().bytes() as u64
    }

    /// From now on nothing is kept for reuse that would make live and idle buffers take more than `bytes` together.
    /// Live buffers are not limited: whoever allocates has reserved what it needs.
    pub fn set_bytes_max(bytes: u64) {
        BYTES_MAX.store(bytes, Relaxed);
    }

    /// Gives idle buffers back to the system.
    pub fn trim() {
        let given = std::mem::replace(&mut *idle(), Idle::new());
        drop(given);
    }
}

/// Owned, writable chunk memory. Becomes [`Bytes`] without a copy.
pub struct Buffer {
    allocation: Option<Allocation>,
    len: usize,
}

impl Buffer {
    /// `len` bytes with any contents (initialised, but maybe with what an earlier buffer left).
    ///
    /// # Panics
    /// If the system has not so much: see [`try_new`](Self::try_new) for lengths that others say.
    pub fn new(len: usize) -> Self {
        Self::try_new(len).unwrap_or_else(|| no_memory(len))
    }

    /// `len` bytes, all zero.
    ///
    /// # Panics
    /// As [`Buffer::new`].
    pub fn zeroed(len: usize) -> Self {
        let (mut buffer, reused) = Self::allocate(len, true).unwrap_or_else(|| no_memory(len));
        if reused {
            buffer.as_mut_slice().fill(0);
        }
        buffer
    }

    /// As [`Buffer::new`]; `None` if the system has not so much.
    pub fn try_new(len: usize) -> Option<Self> {
        Some(Self::allocate(len, false)?.0)
    }

    fn allocate(len: usize, zero: bool) -> Option<(Self, bool)> {
        let capacity = capacity_for(len)?;
        let reused = if capacity >= REUSE_FROM { idle().take(capacity) } else { None };
        let was_reused = reused.is_some();
        let allocation = match reused {
            Some(allocation) => allocation,
            None => {
                make_way(capacity);
                Allocation::new(capacity, zero)?
            }
        };
        let in_use = IN_USE.fetch_add(allocation.capacity as u64, Relaxed) + allocation.capacity as u64;
        PEAK.fetch_max(in_use, Relaxed);
        Some((Self { allocation: Some(allocation), len }, was_reused))
    }

    /// A copy of `bytes` in aligned memory.
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut buffer = Self::new(bytes.len());
        buffer.as_mut_slice().copy_from_slice(bytes);
        buffer
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn allocation(&self) -> &Allocation {
        self.allocation.as_ref().expect("taken only by drop")
    }

    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `start` has at least `len` initialised bytes, owned by self.
        unsafe { std::slice::from_raw_parts(self.allocation().start(), self.len) }
    }

    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and self is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.allocation().start(), self.len) }
    }

    /// The bytes as elements. For `bool`, the caller must have written only 0 and 1, which buffers that start
    /// zeroed and are written through this view do; [`crate::ChunkMut`] sees to it.
    pub(crate) fn elements_mut<T: Element>(&mut self) -> &mut [T] {
        let count = self.len / size_of::<T>();
        // SAFETY: the start is aligned to 64, T is plain data of at most 16 bytes, `count` of them fit.
        unsafe { std::slice::from_raw_parts_mut(self.allocation().start().cast::<T>(), count) }
    }

    /// Hands the memory to `Bytes` as it is.
    pub fn freeze(self) -> Bytes {
        if self.len == 0 { Bytes::new() } else { Bytes::from_owner(self) }
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        self.as_mut_slice()
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(allocation) = self.allocation.take() else { return };
        IN_USE.fetch_sub(allocation.capacity as u64, Relaxed);
        if allocation.capacity >= REUSE_FROM {
            let room = room();
            // Where memory is short, values come and go by way of the disk, and half of what is free is theirs again soon.
            let wanted = if BYTES_MAX.load(Relaxed) < AMPLE { room / 2 } else { 0 };
            let given = idle().keep(allocation, room, wanted);
            drop(given);
        }
    }
}

/// What idle buffers may take up beside the live ones.
fn room() -> usize {
    let left = BYTES_MAX.load(Relaxed).saturating_sub(IN_USE.load(Relaxed));
    usize::try_from(left).unwrap_or(usize::MAX)
}

fn idle() -> MutexGuard<'static, Idle> {
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes that a buffer of `len` takes up. Eighth-of-a-power-of-two classes, so that blocks of nearly the same size reuse each
/// other's pages; whole huge pages where memory is ample and that is no more than an eighth too much.
fn capacity_for(len: usize) -> Option<usize> {
    if len < REUSE_FROM {
        return Some(len.next_multiple_of(ALIGNMENT));
    }
    let class = (len.checked_next_power_of_two()? / 16).max(4096);
    let capacity = len.checked_next_multiple_of(class)?;
    let huge = capacity.checked_next_multiple_of(HUGE_PAGE)?;
    let ample = BYTES_MAX.load(Relaxed) >= AMPLE;
    Some(if ample && huge - len <= len / 8 { huge } else { capacity })
}

/// As the standard library's collections do.
fn no_memory(len: usize) -> ! {
    handle_alloc_error(
        Layout::from_size_align(len.min(isize::MAX as usize), 1).unwrap_or(Layout::new::<u8>()),
    )
}

/// Gives back idle buffers as far as a new one needs their place.
fn make_way(capacity: usize) {
    if BYTES_MAX.load(Relaxed) != u64::MAX {
        let given = idle().shrink(room().saturating_sub(capacity));
        drop(given);
    }
}

/// Bytes as elements, if they are aligned for `T`. The caller vouches that bool bytes are 0 or 1.
pub(crate) fn elements<T: Element>(bytes: &[u8]) -> Option<&[T]> {
    if bytes.is_empty() {
        return Some(&[]);
    }
    if !bytes.as_ptr().cast::<T>().is_aligned() {
        return None;
    }
    // SAFETY: aligned, plain data, and the length rounds down to whole elements.
    Some(unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<T>(), bytes.len() / size_of::<T>()) })
}

/// Element types for which every bit pattern is valid; bool lanes are `u8`.
pub(crate) trait Lane: Copy + Default + PartialEq + sealed::Plain + 'static {}
impl Lane for i8 {}
impl Lane for i16 {}
impl Lane for i32 {}
impl Lane for i64 {}
impl Lane for u8 {}
impl Lane for u16 {}
impl Lane for u32 {}
impl Lane for u64 {}
impl Lane for f32 {}
impl Lane for f64 {}
impl Lane for Complex<f32> {}
impl Lane for Complex<f64> {}

/// Bytes as lanes.
///
/// # Panics
/// If they are not aligned for `T`; chunks and tiles are.
#[inline(always)]
pub(crate) fn lanes<T: Lane>(bytes: &[u8]) -> &[T] {
    assert!(bytes.as_ptr().cast::<T>().is_aligned(), "chunks and tiles are aligned for their dtype");
    // SAFETY: aligned, any bit pattern is a T, and the length rounds down.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<T>(), bytes.len() / size_of::<T>()) }
}

/// Writable bytes as lanes.
///
/// # Panics
/// As [`lanes`].
#[inline(always)]
pub(crate) fn lanes_mut<T: Lane>(bytes: &mut [u8]) -> &mut [T] {
    assert!(bytes.as_ptr().cast::<T>().is_aligned(), "chunks and tiles are aligned for their dtype");
    // SAFETY: as in `lanes`, and the borrow is exclusive.
    unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast::<T>(), bytes.len() / size_of::<T>()) }
}

/// The bytes of some elements.
pub(crate) fn bytes_of<T: Element>(elements: &[T]) -> &[u8] {
    // SAFETY: elements are plain data without padding.
    unsafe { std::slice::from_raw_parts(elements.as_ptr().cast::<u8>(), size_of_val(elements)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_hand_over_without_a_copy() {
        for len in [1, 63, 64, 1000, 1 << 20] {
            let buffer = Buffer::zeroed(len);
            let address = buffer.as_slice().as_ptr();
            assert_eq!(address as usize % ALIGNMENT, 0);
            assert!(buffer.as_slice().iter().all(|&b| b == 0));
            let bytes = buffer.freeze();
            assert_eq!((bytes.as_ptr(), bytes.len()), (address, len));
        }
    }

    #[test]
    fn large_buffers_are_whole_huge_pages_and_nonsense_is_refused() {
        for len in [(1 << 21) - 4096, 2_073_600, 36_000_000, 64 << 20] {
            let buffer = Buffer::zeroed(len);
            let address = buffer.as_slice().as_ptr() as usize;
            assert!(address.is_multiple_of(HUGE_PAGE), "{len}");
            assert!(buffer.allocation().capacity - len <= len / 8, "{len}");
            assert!(buffer.as_slice().iter().all(|&b| b == 0));
        }
        assert!(!Buffer::new(1_200_000).allocation().mapped, "too much would be wasted");
        for len in [usize::MAX, usize::MAX - 70, isize::MAX as usize, 1 << 60] {
            assert!(Buffer::try_new(len).is_none(), "{len}");
        }
    }

    #[test]
    fn a_zeroed_buffer_is_zero_even_when_its_pages_were_used_before() {
        let mut first = Buffer::new(1 << 20);
        first.as_mut_slice().fill(7);
        drop(first);
        assert!(Buffer::zeroed(1 << 20).as_slice().iter().all(|&b| b == 0));
    }
}
