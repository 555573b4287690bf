//! Owns the bytes of messages, object headers and the superblock, in the versions that HDF5 1.8 and all later ones read
//! (sections II.A, IV.A). Addresses and lengths have 8 bytes, numbers are little-endian.

use super::super::checksum::lookup3;
use crate::{
    Error, Result,
    read::{Element, Kind},
};

/// Where there is nothing.
pub(super) const NOWHERE: u64 = u64::MAX;

/// Appends numbers to bytes.
pub(super) trait Put {
    fn u16(&mut self, value: u16);
    fn u32(&mut self, value: u32);
    fn u64(&mut self, value: u64);
}

impl Put for Vec<u8> {
    fn u16(&mut self, value: u16) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }
}

/// A datatype of numbers (IV.A.2.d).
pub(super) fn number(element: Element) -> Vec<u8> {
    let bits = element.size as u16 * 8;
    let mut out = Vec::with_capacity(20);
    if element.kind == Kind::Float {
        // The highest bit of the mantissa is implied; the sign is the last bit.
        let (exponent_at, exponent, bias) = if element.size == 4 { (23, 8, 127) } else { (52, 11, 1023) };
        out.extend([0x11, 0x20, (bits - 1) as u8, 0]);
        out.u32(element.size);
        out.u16(0);
        out.u16(bits);
        out.extend([exponent_at, exponent, 0, exponent_at]);
        out.u32(bias);
    } else {
        out.extend([0x10, if element.kind == Kind::Int { 8 } else { 0 }, 0, 0]);
        out.u32(element.size);
        out.u16(0);
        out.u16(bits);
    }
    out
}

/// Text of so many bytes, UTF-8, ended by a zero or the last of them.
pub(super) fn text(bytes: u32) -> Vec<u8> {
    let mut out = vec![0x13, 0x10, 0, 0];
    out.u32(bytes);
    out
}

/// Text that is kept in a heap.
pub(super) fn long_text() -> Vec<u8> {
    let mut out = vec![0x19, 1, 1, 0];
    out.u32(16);
    out.extend(text(1));
    out
}

pub(super) fn reference() -> Vec<u8> {
    let mut out = vec![0x17, 0, 0, 0];
    out.u32(8);
    out
}

/// Lists of references, kept in a heap.
pub(super) fn references() -> Vec<u8> {
    let mut out = vec![0x19, 0, 0, 0];
    out.u32(16);
    out.extend(reference());
    out
}

/// What `REFERENCE_LIST` has: who uses a dimension, for which of its axes. As a C compiler pads it.
pub(super) fn used_by() -> Vec<u8> {
    let mut out = vec![0x16, 2, 0, 0];
    out.u32(16);
    let int = number(Element { kind: Kind::Int, size: 4, big_endian: false });
    for (name, offset, kind) in [("dataset", 0, reference()), ("dimension", 8, int)] {
        let mut padded = name.as_bytes().to_vec();
        padded.resize((name.len() + 1).next_multiple_of(8), 0);
        out.extend(padded);
        out.u32(offset);
        // No axes of its own.
        out.extend([0; 28]);
        out.extend(kind);
    }
    out
}

/// The extent of a dataset or an attribute (IV.A.2.b).
pub(super) enum Space<'a> {
    Scalar,
    /// No elements at all.
    Null,
    Simple {
        shape: &'a [u64],
        unlimited: &'a [bool],
    },
}

pub(super) fn space(space: &Space<'_>) -> Vec<u8> {
    match space {
        Space::Scalar => vec![2, 0, 0, 0],
        Space::Null => vec![2, 0, 0, 2],
        Space::Simple { shape, unlimited } => {
            let grows = unlimited.contains(&true);
            let mut out = vec![2, shape.len() as u8, u8::from(grows), 1];
            shape.iter().for_each(|&n| out.u64(n));
            if grows {
                let most = shape.iter().zip(*unlimited).map(|(&n, &grows)| if grows { NOWHERE } else { n });
                most.for_each(|n| out.u64(n));
            }
            out
        }
    }
}

/// One message of an object's header.
pub(super) struct Message {
    kind: u8,
    data: Vec<u8>,
    /// Which attribute it is, in the order in which they were made.
    order: u16,
}

impl Message {
    pub(super) fn new(kind: u16, data: Vec<u8>) -> Self {
        Self { kind: kind as u8, data, order: 0 }
    }
}

/// The longest message that a header holds.
const MESSAGE_BYTES_MAX: usize = u16::MAX as usize;

/// The header of a group or dataset, being put together.
pub(super) struct Header {
    /// Of what, for errors.
    name: String,
    messages: Vec<Message>,
    attributes: u16,
}

impl Header {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), messages: Vec::new(), attributes: 0 }
    }

    pub(super) fn push(&mut self, kind: u16, data: Vec<u8>) {
        self.messages.push(Message::new(kind, data));
    }

    /// # Errors
    /// If it is longer than a header can hold.
    pub(super) fn attribute(&mut self, name: &str, kind: &[u8], space: &[u8], data: &[u8]) -> Result<()> {
        let mut out = vec![3, 0];
        let total = 9 + name.len() + 1 + kind.len() + space.len() + data.len();
        if total > MESSAGE_BYTES_MAX || self.attributes == u16::MAX {
            return Err(Error::Unsupported(format!(
                "attribute `{name}` of {} is of {} bytes, more than the {MESSAGE_BYTES_MAX} that an attribute of numbers \
                 may have in an HDF5 header; make it a variable",
                self.name,
                data.len()
            )));
        }
        // Lengths are below that of the whole.
        out.u16(name.len() as u16 + 1);
        out.u16(kind.len() as u16);
        out.u16(space.len() as u16);
        out.push(1);
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        out.extend_from_slice(kind);
        out.extend_from_slice(space);
        out.extend_from_slice(data);
        let message =
            Message { order: self.attributes, ..Message::new(super::super::object::kind::ATTRIBUTE, out) };
        self.attributes += 1;
        self.messages.push(message);
        Ok(())
    }

    /// How many attributes there are already.
    pub(super) fn attributes(&self) -> u16 {
        self.attributes
    }

    /// A header of version 2 that keeps attributes in the order in which they were made.
    ///
    /// # Errors
    /// If a message or all of them are longer than a header can hold.
    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        const HEAD: usize = 6;
        let long = |what: &str| {
            Error::Unsupported(format!("{what} of {} is too long for an HDF5 header", self.name))
        };
        let total: usize = self.messages.iter().map(|message| HEAD + message.data.len()).sum();
        let total = u32::try_from(total).map_err(|_| long("what is said"))?;
        let mut out = b"OHDR".to_vec();
        // Attributes are numbered and could have an index by number; the header's length has 4 bytes.
        out.extend([2, 0x04 | 0x08 | 0x02]);
        out.u32(total);
        for message in &self.messages {
            out.push(message.kind);
            out.u16(u16::try_from(message.data.len()).map_err(|_| long("a name"))?);
            out.push(0);
            out.u16(message.order);
            out.extend_from_slice(&message.data);
        }
        out.u32(lookup3(&out));
        Ok(out)
    }
}

/// Bytes of the superblock, which begins the file.
pub(super) const SUPERBLOCK_BYTES: usize = 48;

/// Superblock of version 2 of a file that ends at `end`.
pub(super) fn superblock(root: u64, end: u64) -> Vec<u8> {
    let mut out = b"\x89HDF\r\n\x1a\n".to_vec();
    out.extend([2, 8, 8, 0]);
    for address in [0, NOWHERE, end, root] {
        out.u64(address);
    }
    out.u32(lookup3(&out));
    debug_assert_eq!(out.len(), SUPERBLOCK_BYTES);
    out
}
