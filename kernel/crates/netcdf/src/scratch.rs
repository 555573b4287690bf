//! Owns the memory in which a thread puts what it has read and not yet decoded: kept from one chunk to the next, since fresh
//! pages cost about as much as what is done with them.

use std::{
    cell::RefCell,
    ops::{Deref, DerefMut},
};

/// A thread keeps as many,
const KEPT: usize = 3;
/// of no more than so many bytes each.
const KEPT_BYTES_MAX: usize = 32 << 20;

thread_local! {
    static IDLE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes of any contents, which the thread takes back when they are dropped.
pub(crate) struct Scratch {
    bytes: Vec<u8>,
    length: usize,
}

impl Scratch {
    pub(crate) fn new(length: usize) -> Self {
        let kept = IDLE.with_borrow_mut(|idle| {
            let fits = (0..idle.len()).filter(|&i| idle[i].len() >= length);
            let best = fits.min_by_key(|&i| idle[i].len());
            best.map(|i| idle.swap_remove(i))
        });
        Self { bytes: kept.unwrap_or_else(|| vec![0; length]), length }
    }

    pub(crate) fn copy_of(bytes: &[u8]) -> Self {
        let mut copy = Self::new(bytes.len());
        copy.copy_from_slice(bytes);
        copy
    }

    pub(crate) fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }
}

impl Deref for Scratch {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.is_empty() || bytes.len() > KEPT_BYTES_MAX {
            return;
        }
        // A thread that ends has none any more.
        let _ = IDLE.try_with(|idle| {
            let mut idle = idle.borrow_mut();
            if idle.len() == KEPT {
                let shortest = (0..idle.len()).min_by_key(|&i| idle[i].len()).unwrap_or(0);
                idle.swap_remove(shortest);
            }
            idle.push(bytes);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again() {
        let first = Scratch::new(1000);
        let place = first.as_ptr();
        drop(first);
        let mut again = Scratch::new(900);
        assert_eq!((again.as_ptr(), again.len()), (place, 900));
        let other = Scratch::copy_of(&[7; 950]);
        assert_ne!(other.as_ptr(), place);
        assert_eq!(*other, [7; 950]);
        again.truncate(10);
        assert_eq!(again.len(), 10);
        drop(again);
        assert_eq!(Scratch::new(1000).as_ptr(), place, "it has not become shorter");
    }

    #[test]
    fn little_is_kept() {
        let many: Vec<Scratch> = (1..10).map(|i| Scratch::new(i * 100)).collect();
        drop(many);
        drop(Scratch::new(KEPT_BYTES_MAX + 1));
        IDLE.with_borrow(|idle| {
            assert!(idle.len() <= KEPT && idle.iter().all(|bytes| bytes.len() <= KEPT_BYTES_MAX));
        });
    }
}
