//! Owns chunks that are written side by side in one piece of memory, so that they leave as one value without a copy.

use bytes::Bytes;
use nuna_plan::Value;

use crate::{
    buffer::{Buffer, Lane, lanes_mut},
    chunk::{Chunk, PART_ALIGNMENT, byte_len, parts_header},
    dtype::DType,
    region::Shape,
};

/// Several chunks in one buffer.
pub(crate) struct PartsMut {
    parts: Vec<(DType, Shape)>,
    buffer: Buffer,
}

/// One of them, to be written.
pub(crate) struct PartMut<'a> {
    dtype: DType,
    shape: &'a [u64],
    bytes: &'a mut [u8],
}

impl PartsMut {
    /// All elements are zero.
    ///
    /// # Panics
    /// If they are larger than this machine can address.
    pub(crate) fn zeroed(parts: Vec<(DType, Shape)>) -> Self {
        let total = parts.iter().map(|(dtype, shape)| placed(*dtype, shape).1).sum();
        Self { parts, buffer: Buffer::zeroed(total) }
    }

    /// All of them at once.
    pub(crate) fn split(&mut self) -> Vec<PartMut<'_>> {
        let mut rest = self.buffer.as_mut_slice();
        let mut found = Vec::with_capacity(self.parts.len());
        for (dtype, shape) in &self.parts {
            let (length, step) = placed(*dtype, shape);
            let (part, after) = std::mem::take(&mut rest).split_at_mut(step);
            found.push(PartMut { dtype: *dtype, shape, bytes: &mut part[..length] });
            rest = after;
        }
        found
    }

    /// The chunks. Each keeps the memory of all.
    pub(crate) fn freeze(self) -> Vec<Chunk> {
        let data = self.buffer.freeze();
        let mut at = 0;
        let part = |(dtype, shape): (DType, Shape)| {
            let (length, step) = placed(dtype, &shape);
            let bytes = if length == 0 { Bytes::new() } else { data.slice(at..at + length) };
            at += step;
            Chunk::new(dtype, &shape, bytes).expect("as long as it was made, and written as its dtype")
        };
        self.parts.into_iter().map(part).collect()
    }

    /// As [`Chunk::parts_to_value`].
    pub(crate) fn into_value(self) -> Value {
        Value { header: parts_header(self.parts), body: self.buffer.freeze() }
    }
}

/// Bytes of a part, and to the next.
fn placed(dtype: DType, shape: &[u64]) -> (usize, usize) {
    let length = byte_len(dtype, shape).unwrap_or_else(|error| panic!("{error}"));
    (length, length.next_multiple_of(PART_ALIGNMENT))
}

impl PartMut<'_> {
    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    pub(crate) fn shape(&self) -> &[u64] {
        self.shape
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes
    }

    /// As the lanes of its dtype, which the caller knows.
    pub(crate) fn elements_of_mut<T: Lane>(&mut self) -> &mut [T] {
        lanes_mut(self.bytes)
    }
}
