//! Owns reading the elements of a column, some rows at a time: pages are unpacked one after another, and of each no more is
//! decoded than is asked for. Leaves what is in a page to `page`.

use std::sync::Arc;

use crate::{
    Result,
    codec::Codec,
    error::Error,
    footer::{Footer, PageHeader},
    input::{Input, Window},
    page::Page,
    schema::{Leaf, Meaning, Physical},
    values::{Column, Values},
};

/// A page's header takes so much at least to be tried, and may take so much.
const HEADER_BYTES: usize = 1 << 10;
const HEADER_BYTES_MAX: usize = 16 << 20;
/// Rows decoded at once: a few bytes of a page can stand for any number of them.
const STEP: usize = 1 << 14;

/// The elements of one column in one group, from the first row to the last.
#[derive(Debug)]
pub struct ColumnReader {
    leaf: Leaf,
    codec: Codec,
    window: Window,
    /// Rows of the group that were not read or skipped.
    left: u64,
    dictionary: Option<Values>,
    page: Option<Page>,
}

impl Footer {
    /// Begins to read a column of a group.
    ///
    /// # Errors
    /// If there is no such column or group, it lies outside the file, or is compressed in a way that is not read here.
    pub fn column(&self, input: &Input, group: usize, column: usize) -> Result<ColumnReader> {
        let none = || Error::damaged(format!("there is no column {column} in group {group}"));
        let leaf = self.leaf(column).ok_or_else(none)?;
        let group = self.groups.get(group).ok_or_else(none)?;
        let chunk = group.chunks.get(column).ok_or_else(none)?;
        Ok(ColumnReader {
            leaf: leaf.clone(),
            codec: Codec::of(chunk.codec)?,
            window: Window::new(input.clone(), chunk.start, chunk.length)?,
            left: group.rows,
            dictionary: None,
            page: None,
        })
    }
}

impl ColumnReader {
    /// Takes elements that the file calls text, or nothing, as bytes that need not be UTF-8.
    #[must_use]
    pub fn as_bytes(mut self) -> Self {
        if self.leaf.physical == Physical::Bytes && self.leaf.meaning == Meaning::Text {
            self.leaf.meaning = Meaning::Bytes;
        }
        self
    }
}

impl ColumnReader {
    /// The next `rows` rows, which must be there.
    ///
    /// # Errors
    /// If the file is damaged, or uses what is not read here; the message names the column.
    pub fn read(&mut self, rows: usize) -> Result<Column> {
        let mut values = Values::empty(self.leaf.kind);
        let mut valid = None;
        self.go(rows, Some((&mut values, &mut valid))).map_err(|error| self.named(error))?;
        Ok(Column { values, valid })
    }

    /// Goes on by so many rows; pages in which nothing is read are not unpacked.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn skip(&mut self, rows: usize) -> Result<()> {
        self.go(rows, None).map_err(|error| self.named(error))
    }

    fn named(&self, error: Error) -> Error {
        match error {
            Error::Damaged(message) => Error::Damaged(format!("column `{}`: {message}", self.leaf.name)),
            error => error,
        }
    }

    fn go(&mut self, rows: usize, mut out: Option<(&mut Values, &mut Option<Vec<bool>>)>) -> Result<()> {
        let mut wanted = rows;
        while wanted > 0 {
            if self.page.as_ref().is_none_or(|page| page.left == 0) {
                let skipped = self.next_page(if out.is_none() { wanted } else { 0 })?;
                wanted -= skipped;
                self.left -= skipped as u64;
                continue;
            }
            let Some(page) = &mut self.page else { continue };
            let now = wanted.min(page.left).min(STEP);
            match &mut out {
                Some((values, valid)) => {
                    page.read(&self.leaf, self.dictionary.as_ref(), now, values, valid)?
                }
                None => {
                    let (mut values, mut valid) = (Values::empty(self.leaf.kind), None);
                    page.read(&self.leaf, self.dictionary.as_ref(), now, &mut values, &mut valid)?;
                }
            }
            page.left -= now;
            wanted -= now;
            self.left -= now as u64;
        }
        Ok(())
    }

    /// Begins the next page of elements, or skips it if it has no more than `skip` rows; how many were skipped.
    fn next_page(&mut self, skip: usize) -> Result<usize> {
        self.page = None;
        loop {
            if self.window.is_empty() {
                return Err(Error::damaged(format!("its pages end {} rows too early", self.left)));
            }
            let header = self.header()?;
            let packed = usize::try_from(header.packed);
            let unpacked = usize::try_from(header.unpacked);
            let (Ok(packed), Ok(unpacked)) = (packed, unpacked) else {
                return Err(Error::damaged(format!(
                    "a page has {} bytes",
                    header.packed.min(header.unpacked)
                )));
            };
            match header.kind {
                0 | 3 => {}
                // An index.
                1 => {
                    self.window.skip(packed)?;
                    continue;
                }
                2 => {
                    self.read_dictionary(&header, packed, unpacked)?;
                    continue;
                }
                kind => return Err(Error::unsupported(format!("a page is of the unknown kind {kind}"))),
            }
            let count = usize::try_from(header.count).ok().filter(|&count| count as u64 <= self.left);
            let count = count.ok_or_else(|| {
                Error::damaged(format!("a page has {} rows where {} are left", header.count, self.left))
            })?;
            if count <= skip {
                self.window.skip(packed)?;
                if count > 0 {
                    return Ok(count);
                }
                continue;
            }
            let raw = self.window.take(packed)?;
            check_sum(&header, raw)?;
            let page = match header.kind {
                0 => Page::older(&self.leaf, &header, count, self.codec.unpack(raw, unpacked)?)?,
                _ => Page::newer(&self.leaf, &header, count, self.codec, raw, unpacked)?,
            };
            self.page = Some(page);
            return Ok(0);
        }
    }

    fn header(&mut self) -> Result<PageHeader> {
        let mut size = HEADER_BYTES;
        loop {
            let bytes = self.window.peek(size)?;
            match PageHeader::read(bytes) {
                Ok((header, length)) => {
                    self.window.skip(length)?;
                    return Ok(header);
                }
                // There may be more of it.
                Err(_) if bytes.len() >= size && size < HEADER_BYTES_MAX => {
                    size = (bytes.len() + 1).max(size * 8)
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn read_dictionary(&mut self, header: &PageHeader, packed: usize, unpacked: usize) -> Result<()> {
        let raw = self.window.take(packed)?;
        check_sum(header, raw)?;
        let data = Arc::new(self.codec.unpack(raw, unpacked)?);
        if !matches!(header.encoding, 0 | 2) {
            return Err(Error::unsupported(format!(
                "a dictionary is written in encoding {}",
                header.encoding
            )));
        }
        let count = usize::try_from(header.count);
        let count =
            count.map_err(|_| Error::damaged(format!("a dictionary has {} elements", header.count)))?;
        // Each takes a byte at least, if only a part of one.
        if count > data.len().saturating_mul(8) {
            return Err(Error::damaged(format!("a dictionary of {} bytes has {count} elements", data.len())));
        }
        let mut page = Page::of_dictionary(&self.leaf, count, data);
        let mut values = Values::empty(self.leaf.kind);
        let mut done = 0;
        while done < count {
            let now = (count - done).min(STEP);
            page.elements(&self.leaf, None, now, &mut values)?;
            done += now;
        }
        self.dictionary = Some(values);
        Ok(())
    }
}

fn check_sum(header: &PageHeader, raw: &[u8]) -> Result<()> {
    match header.crc {
        Some(crc) if crc32fast::hash(raw) != crc.cast_unsigned() => {
            Err(Error::damaged("a page's bytes are not those of which it has the checksum"))
        }
        _ => Ok(()),
    }
}
