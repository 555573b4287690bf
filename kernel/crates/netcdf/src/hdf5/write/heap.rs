//! Owns the global heap of a file being written (section III.E): texts and lists of references, in collections that lie
//! one after the other.

use super::message::Put as _;
use crate::{Error, Result};

/// A collection is closed once it has so many bytes, or as many objects as its numbers allow.
const COLLECTION_BYTES: usize = 64 << 10;
const OBJECTS_MAX: u16 = u16::MAX - 1;
/// Less than that is no collection to HDF5.
const COLLECTION_BYTES_MIN: usize = 4096;
const HEAD: usize = 16;

/// The heap, whose first collection will lie at an address that is known.
pub(super) struct Heap {
    base: u64,
    bytes: Vec<u8>,
    /// Where the open collection begins, and its objects.
    open: Option<(usize, u16)>,
}

impl Heap {
    pub(super) fn new(base: u64) -> Self {
        Self { base, bytes: Vec::new(), open: None }
    }

    /// Adds an object; gives what an element that has it looks like: `length` in its own unit, address and number.
    ///
    /// # Errors
    /// If it is longer than any object.
    pub(super) fn add(&mut self, length: usize, data: &[u8]) -> Result<[u8; 16]> {
        let length = u32::try_from(length)
            .map_err(|_| Error::Unsupported(format!("a text of {length} bytes is beyond what HDF5 holds")))?;
        if let Some((start, objects)) = self.open
            && (objects == OBJECTS_MAX || self.bytes.len() - start + data.len() > COLLECTION_BYTES)
        {
            self.close();
        }
        let (start, number) = match self.open {
            Some((start, objects)) => (start, objects + 1),
            None => {
                let start = self.bytes.len();
                self.bytes.extend_from_slice(b"GCOL");
                self.bytes.extend([1, 0, 0, 0]);
                // Its length, once it is closed.
                self.bytes.u64(0);
                (start, 1)
            }
        };
        self.open = Some((start, number));
        self.bytes.u16(number);
        self.bytes.u16(1);
        self.bytes.u32(0);
        self.bytes.u64(data.len() as u64);
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let mut element = [0; 16];
        element[..4].copy_from_slice(&length.to_le_bytes());
        element[4..12].copy_from_slice(&(self.base + start as u64).to_le_bytes());
        element[12..].copy_from_slice(&u32::from(number).to_le_bytes());
        Ok(element)
    }

    fn close(&mut self) {
        let Some((start, _)) = self.open.take() else { return };
        let used = self.bytes.len() - start;
        let size = used.max(COLLECTION_BYTES_MIN);
        // What is left is an object of number 0, which counts its own head.
        if size - used >= HEAD {
            self.bytes.extend([0; 8]);
            self.bytes.u64((size - used) as u64);
        }
        self.bytes.resize(start + size, 0);
        self.bytes[start + 8..start + 16].copy_from_slice(&(size as u64).to_le_bytes());
    }

    /// All collections.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.close();
        self.bytes
    }
}
