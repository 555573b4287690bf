//! Owns reading a file's bytes: nothing is asked for that lies beyond its end.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path, sync::Arc};

use crate::{Result, error::Error};

/// Bytes read at a time.
const PIECE: usize = 512 << 10;

/// A file that is open, or one that is in memory.
#[derive(Clone, Debug)]
pub struct Input {
    held: Held,
    length: u64,
}

#[derive(Clone, Debug)]
enum Held {
    File(Arc<File>),
    Memory(Arc<Vec<u8>>),
}

impl Input {
    /// # Errors
    /// What the file system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
        }
        Ok(Input { held: Held::File(Arc::new(file)), length: about.len() })
    }

    /// A whole file in memory, for those that come from afar.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Input { length: bytes.len() as u64, held: Held::Memory(Arc::new(bytes)) }
    }

    /// Bytes of the file.
    pub fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn read(&self, at: u64, length: usize) -> Result<Vec<u8>> {
        if at.checked_add(length as u64).is_none_or(|end| end > self.length) {
            return Err(Error::damaged(format!(
                "{length} bytes from byte {at} on are asked for, and the file has {}",
                self.length
            )));
        }
        match &self.held {
            Held::File(file) => {
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, at)?;
                Ok(bytes)
            }
            // Within the length, so within memory.
            Held::Memory(bytes) => Ok(bytes[at as usize..at as usize + length].to_vec()),
        }
    }
}

/// A part of a file that is read from its front to its end, some at a time.
#[derive(Debug)]
pub(crate) struct Window {
    input: Input,
    /// Read, and not all used.
    bytes: Vec<u8>,
    used: usize,
    /// Where in the file what is not read yet begins and ends.
    next: u64,
    end: u64,
}

impl Window {
    pub(crate) fn new(input: Input, start: u64, length: u64) -> Result<Self> {
        let end = start.checked_add(length).filter(|&end| end <= input.length);
        let end = end.ok_or_else(|| {
            Error::damaged(format!(
                "a column is said to lie at bytes {start} to {}, and the file has {}",
                start.saturating_add(length),
                input.length
            ))
        })?;
        Ok(Window { input, bytes: Vec::new(), used: 0, next: start, end })
    }

    /// What is read and not used, at least `count` bytes if so many are left.
    pub(crate) fn peek(&mut self, count: usize) -> Result<&[u8]> {
        let there = self.bytes.len() - self.used;
        if there < count && self.next < self.end {
            let left = usize::try_from(self.end - self.next).unwrap_or(usize::MAX);
            let more = self.input.read(self.next, (count - there).max(PIECE).min(left))?;
            self.next += more.len() as u64;
            if there == 0 {
                self.bytes = more;
            } else {
                self.bytes.drain(..self.used);
                self.bytes.extend_from_slice(&more);
            }
            self.used = 0;
        }
        Ok(&self.bytes[self.used..])
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.used == self.bytes.len() && self.next == self.end
    }

    fn left(&self) -> u64 {
        (self.bytes.len() - self.used) as u64 + (self.end - self.next)
    }

    /// Goes on by so many bytes, without reading them if they are not read yet.
    pub(crate) fn skip(&mut self, count: usize) -> Result<()> {
        if count as u64 > self.left() {
            return Err(Error::damaged("a page ends behind its column"));
        }
        let here = count.min(self.bytes.len() - self.used);
        self.used += here;
        self.next += (count - here) as u64;
        Ok(())
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Result<&[u8]> {
        if count as u64 > self.left() {
            return Err(Error::damaged("a page ends behind its column"));
        }
        self.peek(count)?;
        let from = self.used;
        self.used += count;
        Ok(&self.bytes[from..from + count])
    }
}
