//! Owns walking over bytes that were read ([`Cursor`]), and how much of what a file says about itself is read.

use nuna_inputs::{Input, Meta};

use crate::{Error, Result};

/// What one opening, or locating the chunks of one variable, may read: enough for an index of some ten million chunks.
const READ_MAX: u64 = 2 << 30;
/// And at least this, whatever the file's length.
const READ_MIN: u64 = 16 << 20;

/// What a file says about itself, within bounds.
pub(crate) fn meta(input: &dyn Input) -> Meta<'_> {
    Meta::new(input, input.length().saturating_mul(8).min(READ_MAX) + READ_MIN)
}

/// Walks over bytes; past their end is an error with the place.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    origin: u64,
}

impl<'a> Cursor<'a> {
    /// `origin` is where the bytes lie in the file.
    pub(crate) fn new(bytes: &'a [u8], origin: u64) -> Self {
        Self { bytes, at: 0, origin }
    }

    pub(crate) fn damaged(&self, message: impl Into<String>) -> Error {
        Error::damaged(self.origin + self.at as u64, message)
    }

    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let taken = self
            .bytes
            .get(self.at..)
            .and_then(|rest| rest.get(..count))
            .ok_or_else(|| self.damaged(format!("a structure ends {count} bytes short")))?;
        self.at += count;
        Ok(taken)
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    pub(crate) fn skip(&mut self, count: usize) -> Result<()> {
        self.take(count).map(drop)
    }

    /// A little-endian number of up to 8 bytes.
    pub(crate) fn uint(&mut self, bytes: usize) -> Result<u64> {
        let taken = self.take(bytes)?;
        Ok(taken.iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte)))
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16> {
        Ok(self.uint(2)? as u16)
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        Ok(self.uint(4)? as u32)
    }

    pub(crate) fn expect(&mut self, signature: &[u8; 4]) -> Result<()> {
        let at = self.clone();
        let found = self.take(4)?;
        if found != signature {
            let name = String::from_utf8_lossy(signature);
            return Err(at.damaged(format!("`{name}` is expected here, found {found:02x?}")));
        }
        Ok(())
    }
}
