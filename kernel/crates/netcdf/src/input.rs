//! Owns reading bytes at a place: files, bytes in memory, and for metadata a view ([`Meta`]) that keeps pages and limits
//! how much is read in all, so that no file can keep a reader busy for ever.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::Path,
    rc::Rc,
};

use crate::{Error, Result};

/// Bytes that can be read at any place.
pub trait Input: Send + Sync {
    /// Bytes in all.
    fn length(&self) -> u64;

    /// Fills `out` from `offset` on.
    ///
    /// # Errors
    /// What the system says; `UnexpectedEof` past the end.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
}

impl Input for Vec<u8> {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).ok().and_then(|at| self.get(at..)?.get(..out.len()));
        out.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A file of the file system, as long as it was when it was opened.
#[derive(Debug)]
pub struct Disk {
    file: File,
    length: u64,
    /// Nanoseconds since 1970.
    modified: i128,
}

impl Disk {
    /// # Errors
    /// What the file system says, and if it is no plain file.
    pub fn open(path: &Path) -> Result<Self> {
        use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
        // A pipe would be waited for.
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(Error::Unsupported("it is not a plain file".to_owned()));
        }
        let modified = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Ok(Self { file, length: metadata.len(), modified })
    }

    /// When the file was last written, in nanoseconds since 1970.
    pub fn modified(&self) -> i128 {
        self.modified
    }
}

impl Input for Disk {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }
}

const PAGE: u64 = 16 << 10;
/// Pages kept: 16 MiB.
const PAGES_MAX: usize = 1024;
/// What one opening, or locating the chunks of one variable, may read: enough for an index of some ten million chunks.
const READ_MAX: u64 = 2 << 30;
/// And at least this, whatever the file's length.
const READ_MIN: u64 = 16 << 20;

/// Metadata of one input.
pub(crate) struct Meta<'a> {
    input: &'a dyn Input,
    /// Added to every address.
    pub(crate) base: u64,
    pages: RefCell<HashMap<u64, Rc<[u8]>>>,
    left: Cell<u64>,
}

impl<'a> Meta<'a> {
    pub(crate) fn new(input: &'a dyn Input) -> Self {
        let left = input.length().saturating_mul(8).min(READ_MAX) + READ_MIN;
        Self { input, base: 0, pages: RefCell::default(), left: Cell::new(left) }
    }

    /// Bytes from `base` to the end.
    pub(crate) fn length(&self) -> u64 {
        self.input.length().saturating_sub(self.base)
    }

    /// Counts `bytes` of work against the limit.
    pub(crate) fn charge(&self, at: u64, bytes: u64) -> Result<()> {
        let left = self.left.get().checked_sub(bytes.max(16)).ok_or_else(|| {
            Error::damaged(
                at,
                "the structures of the file are beyond all bounds, as if they pointed in circles",
            )
        })?;
        self.left.set(left);
        Ok(())
    }

    /// Bytes at an address.
    pub(crate) fn bytes(&self, at: u64, length: u64) -> Result<Vec<u8>> {
        if at.checked_add(length).is_none_or(|end| end > self.length()) {
            let message =
                format!("{length} bytes are expected here, but the file ends at {}", self.input.length());
            return Err(Error::damaged(at.saturating_add(self.base), message));
        }
        self.charge(at, length)?;
        let size = usize::try_from(length).map_err(|_| Error::damaged(at, "a length is beyond memory"))?;
        let mut out = vec![0; size];
        let start = at + self.base;
        if length > 4 * PAGE {
            self.input.read_at(start, &mut out)?;
            return Ok(out);
        }
        let mut done = 0;
        while done < size {
            let place = start + done as u64;
            let page = self.page(place / PAGE)?;
            let from = &page[(place % PAGE) as usize..];
            let count = from.len().min(size - done);
            out[done..done + count].copy_from_slice(&from[..count]);
            done += count;
        }
        Ok(out)
    }

    fn page(&self, number: u64) -> Result<Rc<[u8]>> {
        if let Some(page) = self.pages.borrow().get(&number) {
            return Ok(page.clone());
        }
        let start = number * PAGE;
        let mut page = vec![0; PAGE.min(self.input.length() - start) as usize];
        self.input.read_at(start, &mut page)?;
        let page: Rc<[u8]> = page.into();
        let mut pages = self.pages.borrow_mut();
        if pages.len() >= PAGES_MAX {
            pages.clear();
        }
        pages.insert(number, page.clone());
        Ok(page)
    }
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
