//! Owns directories: classic and BigTIFF headers, both byte orders, the entries of one directory and their values (TIFF 6.0
//! section 2; BigTIFF as libtiff writes it).

use nuna_inputs::{Input, Meta};

use crate::{Error, Result};

/// Work that reading all directories of one file may be.
const READ_MAX: u64 = 256 << 20;

/// What a file says about itself, within bounds.
pub(crate) fn meta(input: &dyn Input) -> Meta<'_> {
    Meta::new(input, READ_MAX)
}

/// How numbers lie in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) big_endian: bool,
    /// BigTIFF: offsets of 8 bytes.
    pub(crate) wide: bool,
}

impl Numbers {
    pub(crate) fn uint(self, bytes: &[u8]) -> u64 {
        let join = |n: u64, &byte: &u8| n << 8 | u64::from(byte);
        if self.big_endian { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) }
    }
}

/// The header: how numbers lie, and where the first directory is. `None` for what is no TIFF.
pub(crate) fn header(meta: &Meta<'_>) -> Result<Option<(Numbers, u64)>> {
    if meta.length() < 8 {
        return Ok(None);
    }
    let first = meta.bytes(0, 8)?;
    let big_endian = match &first[..2] {
        b"II" => false,
        b"MM" => true,
        _ => return Ok(None),
    };
    let numbers = Numbers { big_endian, wide: false };
    match numbers.uint(&first[2..4]) {
        42 => Ok(Some((numbers, numbers.uint(&first[4..8])))),
        43 => {
            if numbers.uint(&first[4..6]) != 8 {
                return Err(Error::damaged(4, "the offsets of a BigTIFF are not of 8 bytes"));
            }
            let at = numbers.uint(&meta.bytes(8, 8)?);
            Ok(Some((Numbers { wide: true, ..numbers }, at)))
        }
        _ => Ok(None),
    }
}

/// More entries than this no directory has.
const ENTRIES_MAX: u64 = 4096;
/// Values that one entry of metadata may have; where tiles lie is read apart.
const VALUES_MAX: u64 = 1 << 20;

/// One entry: values of one kind, at a place of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) tag: u16,
    kind: u16,
    pub(crate) count: u64,
    pub(crate) at: u64,
}

impl Entry {
    fn size(self) -> Result<u64> {
        match self.kind {
            1 | 2 | 6 | 7 => Ok(1),
            3 | 8 => Ok(2),
            4 | 9 | 11 | 13 => Ok(4),
            5 | 10 | 12 | 16 | 17 | 18 => Ok(8),
            kind => Err(Error::damaged(self.at, format!("tag {} is of the unknown type {kind}", self.tag))),
        }
    }
}

/// A directory, which describes one image.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    pub(crate) numbers: Numbers,
    pub(crate) at: u64,
    entries: Vec<Entry>,
    /// Where the next one is.
    pub(crate) next: Option<u64>,
}

impl Directory {
    pub(crate) fn read(meta: &Meta<'_>, numbers: Numbers, at: u64) -> Result<Self> {
        let (count_bytes, entry_bytes, word) = if numbers.wide { (8, 20, 8) } else { (2, 12, 4) };
        let count = numbers.uint(&meta.bytes(at, count_bytes)?);
        if count == 0 || count > ENTRIES_MAX {
            return Err(Error::damaged(at, format!("a directory pretends to have {count} entries")));
        }
        // The number of entries is small, and the place is in the file: no sum here overflows.
        let start = at + count_bytes;
        let bytes = meta.bytes(start, count * entry_bytes + word)?;
        let word = word as usize;
        let (listed, next) = bytes.split_at(bytes.len() - word);
        let mut entries = Vec::with_capacity(count as usize);
        for (number, raw) in listed.chunks_exact(entry_bytes as usize).enumerate() {
            let mut entry = Entry {
                tag: numbers.uint(&raw[..2]) as u16,
                kind: numbers.uint(&raw[2..4]) as u16,
                count: numbers.uint(&raw[4..4 + word]),
                at: start + number as u64 * entry_bytes + 4 + word as u64,
            };
            // Values that fit lie in the entry; others where it says. Unknown kinds are an error once somebody asks.
            let bytes = entry.size().unwrap_or(1).checked_mul(entry.count);
            if bytes.is_none_or(|bytes| bytes > word as u64) {
                entry.at = numbers.uint(&raw[4 + word..]);
            }
            entries.push(entry);
        }
        let next = Some(numbers.uint(next)).filter(|&next| next != 0);
        Ok(Self { numbers, at, entries, next })
    }

    pub(crate) fn entry(&self, tag: u16) -> Option<Entry> {
        self.entries.iter().copied().find(|entry| entry.tag == tag)
    }

    /// The bytes of an entry of metadata.
    pub(crate) fn raw(&self, meta: &Meta<'_>, entry: Entry) -> Result<Vec<u8>> {
        if entry.count > VALUES_MAX {
            let message = format!("tag {} pretends to have {} values", entry.tag, entry.count);
            return Err(Error::damaged(entry.at, message));
        }
        Ok(meta.bytes(entry.at, entry.count * entry.size()?)?)
    }

    fn unsigned(&self, entry: Entry, bytes: &[u8]) -> Result<Vec<u64>> {
        if !matches!(entry.kind, 1 | 3 | 4 | 7 | 13 | 16 | 18) {
            let message =
                format!("tag {} is of type {}, but a whole number is expected", entry.tag, entry.kind);
            return Err(Error::damaged(entry.at, message));
        }
        Ok(bytes.chunks_exact(entry.size()? as usize).map(|value| self.numbers.uint(value)).collect())
    }

    pub(crate) fn uints(&self, meta: &Meta<'_>, tag: u16) -> Result<Option<Vec<u64>>> {
        let Some(entry) = self.entry(tag) else { return Ok(None) };
        self.unsigned(entry, &self.raw(meta, entry)?).map(Some)
    }

    /// The only, or first, value.
    pub(crate) fn uint(&self, meta: &Meta<'_>, tag: u16) -> Result<Option<u64>> {
        Ok(self.uints(meta, tag)?.and_then(|values| values.first().copied()))
    }

    /// The first `count` values of an entry that may be as long as the file.
    pub(crate) fn places(&self, meta: &Meta<'_>, entry: Entry, count: u64) -> Result<Vec<u64>> {
        if entry.count < count {
            let message = format!("tag {} has {} values, but {count} are needed", entry.tag, entry.count);
            return Err(Error::damaged(entry.at, message));
        }
        let length = count.checked_mul(entry.size()?);
        let length = length.ok_or_else(|| Error::damaged(entry.at, "a list is beyond any file"))?;
        self.unsigned(entry, &meta.bulk(entry.at, length)?)
    }

    pub(crate) fn doubles(&self, meta: &Meta<'_>, tag: u16) -> Result<Option<Vec<f64>>> {
        let Some(entry) = self.entry(tag) else { return Ok(None) };
        let bytes = self.raw(meta, entry)?;
        match entry.kind {
            11 => Ok(Some(
                bytes
                    .chunks_exact(4)
                    .map(|value| f64::from(f32::from_bits(self.numbers.uint(value) as u32)))
                    .collect(),
            )),
            12 => Ok(Some(
                bytes.chunks_exact(8).map(|value| f64::from_bits(self.numbers.uint(value))).collect(),
            )),
            kind => {
                let message = format!("tag {tag} is of type {kind}, but numbers with a point are expected");
                Err(Error::damaged(entry.at, message))
            }
        }
    }

    /// Text up to its first NUL.
    pub(crate) fn text(&self, meta: &Meta<'_>, tag: u16) -> Result<Option<String>> {
        let Some(entry) = self.entry(tag) else { return Ok(None) };
        let bytes = self.raw(meta, entry)?;
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        Ok(Some(String::from_utf8_lossy(&bytes[..end]).into_owned()))
    }
}
