//! Owns reading what a file says about itself: small parts all over it, by pages that are kept, and no more than a limit.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
};

use crate::{Error, Input};

/// The directories of most files fit into one page.
const PAGE: u64 = 16 << 10;
/// Pages kept: 16 MiB.
const PAGES_MAX: usize = 1024;
/// What is longer is read at once, and not kept.
const PAGED_MAX: u64 = 4 * PAGE;

/// Metadata of one input. Addresses count from a base.
pub struct Meta<'a> {
    input: &'a dyn Input,
    base: u64,
    pages: RefCell<HashMap<u64, Rc<[u8]>>>,
    left: Cell<u64>,
}

impl<'a> Meta<'a> {
    /// All reading together may be `limit` bytes.
    pub fn new(input: &'a dyn Input, limit: u64) -> Self {
        Self { input, base: 0, pages: RefCell::default(), left: Cell::new(limit) }
    }

    /// The same with addresses that count from `base`.
    #[must_use]
    pub fn from(self, base: u64) -> Self {
        Self { base, ..self }
    }

    /// Where addresses count from.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Bytes from the base to the end.
    pub fn length(&self) -> u64 {
        self.input.length().saturating_sub(self.base)
    }

    /// Counts `bytes` of work against the limit.
    ///
    /// # Errors
    /// [`Error::Damaged`] beyond it.
    pub fn charge(&self, at: u64, bytes: u64) -> Result<(), Error> {
        let left = self.left.get().checked_sub(bytes.max(16)).ok_or_else(|| {
            Error::damaged(
                at,
                "the structures of the file are beyond all bounds, as if they pointed in circles",
            )
        })?;
        self.left.set(left);
        Ok(())
    }

    /// Bytes at an address, counted against the limit.
    ///
    /// # Errors
    /// [`Error::Damaged`] for what lies past the end or beyond the limit, [`Error::Io`].
    pub fn bytes(&self, at: u64, length: u64) -> Result<Vec<u8>, Error> {
        let size = self.check(at, length)?;
        self.charge(at, length)?;
        let start = at + self.base;
        let mut out = vec![0; size];
        if length > PAGED_MAX {
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

    /// Bytes at an address, however many, past pages and limit. The caller asks for each place once.
    ///
    /// # Errors
    /// [`Error::Damaged`] for what lies past the end, [`Error::Io`].
    pub fn bulk(&self, at: u64, length: u64) -> Result<Vec<u8>, Error> {
        let mut out = vec![0; self.check(at, length)?];
        self.input.read_at(at + self.base, &mut out)?;
        Ok(out)
    }

    /// Nothing longer than the file is ever asked for.
    fn check(&self, at: u64, length: u64) -> Result<usize, Error> {
        if at.checked_add(length).is_none_or(|end| end > self.length()) {
            let message =
                format!("{length} bytes are expected here, but the file ends at {}", self.input.length());
            return Err(Error::damaged(at.saturating_add(self.base), message));
        }
        usize::try_from(length).map_err(|_| Error::damaged(at, "a length is beyond memory"))
    }

    fn page(&self, number: u64) -> Result<Rc<[u8]>, Error> {
        if let Some(page) = self.pages.borrow().get(&number) {
            return Ok(page.clone());
        }
        let start = number * PAGE;
        let mut page = vec![0; PAGE.min(self.input.length().saturating_sub(start)) as usize];
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

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> Vec<u8> {
        (0..100_000u32).flat_map(u32::to_le_bytes).collect()
    }

    #[test]
    fn bytes_are_those_of_the_file_whatever_their_length() {
        let data = data();
        let meta = Meta::new(&data, u64::MAX).from(100);
        assert_eq!(meta.length(), 399_900);
        for (at, length) in [(0, 8), (16_280, 20), (16_283, 2), (5, 65_536), (7, 65_537), (399_890, 10)] {
            let expected = &data[100 + at..100 + at + length];
            assert_eq!(meta.bytes(at as u64, length as u64).unwrap(), expected, "{at}, {length}");
            assert_eq!(meta.bulk(at as u64, length as u64).unwrap(), expected, "{at}, {length}");
        }
        for (at, length) in [(399_890, 11), (u64::MAX, 1), (0, u64::MAX), (399_901, 0)] {
            assert!(matches!(meta.bytes(at, length), Err(Error::Damaged { .. })), "{at}, {length}");
            assert!(matches!(meta.bulk(at, length), Err(Error::Damaged { .. })), "{at}, {length}");
        }
    }

    #[test]
    fn no_more_is_read_than_the_limit_and_small_reads_count_too() {
        let data = data();
        let meta = Meta::new(&data, 1000);
        meta.bytes(0, 900).unwrap();
        for _ in 0..6 {
            meta.bytes(0, 1).unwrap();
        }
        let error = meta.bytes(0, 1).unwrap_err().to_string();
        assert!(error.contains("in circles"), "{error}");
    }
}
