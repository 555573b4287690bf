//! Owns reading bytes at a place: files, bytes in memory, and for metadata a view ([`Meta`]) that keeps pages and limits how
//! much is read in all, so that no file can keep a reader busy for ever.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fs::File,
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
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
        // A pipe would be waited for.
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        let (length, modified) = stamp(&file)?;
        Ok(Self { file, length, modified })
    }

    /// When the file was last written, in nanoseconds since 1970.
    pub fn modified(&self) -> i128 {
        self.modified
    }

    /// Whether the file is still as it was when it was opened.
    pub fn is_unchanged(&self) -> bool {
        stamp(&self.file).is_ok_and(|now| now == (self.length, self.modified))
    }
}

fn stamp(file: &File) -> Result<(u64, i128)> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Error::Unsupported("it is not a plain file".to_owned()));
    }
    Ok((metadata.len(), i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec())))
}

impl Input for Disk {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }
}

/// The directories of most files fit into one page.
const PAGE: u64 = 16 << 10;
/// Pages kept: 4 MiB.
const PAGES_MAX: usize = 256;
/// Work that reading all directories of one file may be.
const READ_MAX: u64 = 256 << 20;

/// Metadata of one input.
pub(crate) struct Meta<'a> {
    input: &'a dyn Input,
    pages: RefCell<HashMap<u64, Rc<[u8]>>>,
    left: Cell<u64>,
}

impl<'a> Meta<'a> {
    pub(crate) fn new(input: &'a dyn Input) -> Self {
        Self { input, pages: RefCell::default(), left: Cell::new(READ_MAX) }
    }

    pub(crate) fn length(&self) -> u64 {
        self.input.length()
    }

    /// Bytes at a place, counted against the limit.
    pub(crate) fn bytes(&self, at: u64, length: u64) -> Result<Vec<u8>> {
        let size = self.check(at, length)?;
        let left = self.left.get().checked_sub(length.max(16)).ok_or_else(|| {
            Error::damaged(at, "the directories are beyond all bounds, as if they pointed in circles")
        })?;
        self.left.set(left);
        let mut out = Vec::with_capacity(size);
        while out.len() < size {
            let place = at + out.len() as u64;
            let page = self.page(place / PAGE)?;
            let from = &page[(place % PAGE) as usize..];
            out.extend_from_slice(&from[..from.len().min(size - out.len())]);
        }
        Ok(out)
    }

    /// Bytes at a place, however many, past the pages. The caller asks for each place once.
    pub(crate) fn bulk(&self, at: u64, length: u64) -> Result<Vec<u8>> {
        let mut out = vec![0; self.check(at, length)?];
        self.input.read_at(at, &mut out)?;
        Ok(out)
    }

    /// Nothing longer than the file is ever asked for.
    fn check(&self, at: u64, length: u64) -> Result<usize> {
        if at.checked_add(length).is_none_or(|end| end > self.length()) {
            let message = format!("{length} bytes are expected here, but the file ends at {}", self.length());
            return Err(Error::damaged(at, message));
        }
        usize::try_from(length).map_err(|_| Error::damaged(at, "a length is beyond memory"))
    }

    fn page(&self, number: u64) -> Result<Rc<[u8]>> {
        if let Some(page) = self.pages.borrow().get(&number) {
            return Ok(page.clone());
        }
        let start = number * PAGE;
        let mut page = vec![0; PAGE.min(self.length().saturating_sub(start)) as usize];
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
