//! Owns where the chunks of a dataset lie (sections III.A.1 and 2, and VII: fixed and extensible arrays).

use serde::{Deserialize, Serialize};

use super::{
    Hdf5, Widths,
    btree::Visit,
    checksum,
    message::{IndexKind, IndexMessage},
};
use crate::{
    Error, Input, Result,
    cursor::{self, Cursor},
};

/// How the chunks of a dataset are found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkIndex {
    kind: IndexKind,
    /// Nothing was written without one.
    address: Option<u64>,
    /// Where addresses count from.
    base: u64,
    offset_bytes: u8,
    length_bytes: u8,
    max_shape: Vec<Option<u64>>,
    filtered: bool,
    plain_at_ends: bool,
    long_sizes: bool,
}

/// One stored chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// In the grid of chunks, row-major.
    number: u64,
    /// In the file.
    pub(crate) address: u64,
    pub(crate) bytes: u64,
    pub(crate) mask: u32,
    /// No filter was applied.
    pub(crate) is_plain: bool,
}

/// The stored chunks, by number.
#[derive(Debug, Default)]
pub(crate) struct Located {
    places: Vec<Place>,
}

impl Located {
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Place> {
        self.places.iter()
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Place> {
        // Most files have all chunks.
        let guess = usize::try_from(number).ok().and_then(|at| self.places.get(at));
        if let Some(place) = guess.filter(|place| place.number == number) {
            return Some(place);
        }
        self.places.binary_search_by_key(&number, |place| place.number).ok().map(|at| &self.places[at])
    }
}

impl Place {
    /// In a grid of so many chunks along each axis.
    pub(crate) fn index(&self, counts: &[u64]) -> Vec<u64> {
        let mut index = vec![0; counts.len()];
        unravel(self.number, counts, &mut index);
        index
    }
}

impl ChunkIndex {
    pub(crate) fn new(
        file: &Hdf5<'_>,
        message: &IndexMessage,
        max_shape: &[Option<u64>],
        filtered: bool,
    ) -> Self {
        Self {
            kind: message.kind,
            address: message.address,
            base: file.meta.base(),
            offset_bytes: file.widths.offset as u8,
            length_bytes: file.widths.length as u8,
            max_shape: max_shape.to_vec(),
            filtered,
            plain_at_ends: message.plain_at_ends,
            long_sizes: message.long_sizes,
        }
    }
}

/// Reads an index. Chunks outside of `shape` are left out.
pub(crate) fn locate(
    input: &dyn Input,
    index: &ChunkIndex,
    chunk_shape: &[u64],
    shape: &[u64],
    chunk_bytes: u64,
) -> Result<Located> {
    let Some(address) = index.address else { return Ok(Located::default()) };
    let rank = shape.len();
    if chunk_shape.len() != rank || index.max_shape.len() != rank {
        return Err(Error::damaged(address, "chunks have other axes than their variable"));
    }
    let meta = cursor::meta(input).from(index.base);
    let widths = Widths { offset: index.offset_bytes.into(), length: index.length_bytes.into() };
    let file = Hdf5 { meta, widths, root: 0, collections: Default::default() };
    let counts: Vec<u64> = shape.iter().zip(chunk_shape).map(|(&n, &c)| n.div_ceil(c)).collect();
    let mut found = Found { index, chunk_shape, shape, counts, chunk_bytes, places: Vec::new() };
    match index.kind {
        IndexKind::BTree1 => {
            let key = 8 + 8 * (rank + 1);
            file.btree1(address, 1, key, &mut |key, at| {
                let mut cursor = Cursor::new(key, at);
                let (bytes, mask) = (u64::from(cursor.u32()?), cursor.u32()?);
                let mut scaled = Vec::with_capacity(rank);
                for &chunk in chunk_shape {
                    scaled.push(cursor.uint(8)? / chunk);
                }
                found.add(&scaled, at, bytes, mask)
            })?;
        }
        IndexKind::Single(stored) => {
            let (bytes, mask) = stored.unwrap_or((chunk_bytes, 0));
            found.add(&vec![0; rank], address, bytes, mask)?;
        }
        IndexKind::Implicit => {
            let total: u64 = found.counts.iter().product();
            let max = found.max_counts(None);
            file.meta.charge(address, total.saturating_mul(16))?;
            let mut scaled = vec![0; rank];
            for number in 0..total {
                unravel(number, &found.counts, &mut scaled);
                let place = scaled
                    .iter()
                    .zip(&max)
                    .try_fold(0u64, |n, (&i, &c)| n.checked_mul(c)?.checked_add(i))
                    .and_then(|n| n.checked_mul(chunk_bytes)?.checked_add(address));
                let place = place.ok_or_else(|| Error::damaged(address, "chunks lie beyond any file"))?;
                found.add(&scaled, place, chunk_bytes, 0)?;
            }
        }
        IndexKind::FixedArray => {
            let max = found.max_counts(None);
            let mut scaled = vec![0; rank];
            fixed_array(&file, address, &mut |number, entry, at| {
                unravel(number, &max, &mut scaled);
                found.entry(&scaled, &mut Cursor::new(entry, at), widths)
            })?;
        }
        IndexKind::ExtensibleArray => {
            // The unlimited axis comes first.
            let unlimited = index.max_shape.iter().position(Option::is_none).unwrap_or(0);
            let max = found.max_counts(Some(unlimited));
            let mut order: Vec<usize> = (0..rank).collect();
            if rank > 0 {
                order.remove(unlimited);
                order.insert(0, unlimited);
            }
            let limits: Vec<u64> = order.iter().map(|&axis| max[axis]).collect();
            let (mut turned, mut scaled) = (vec![0; rank], vec![0; rank]);
            extensible_array(&file, address, &mut |number, entry, at| {
                unravel(number, &limits, &mut turned);
                for (&axis, &i) in order.iter().zip(&turned) {
                    scaled[axis] = i;
                }
                found.entry(&scaled, &mut Cursor::new(entry, at), widths)
            })?;
        }
        IndexKind::BTree2 => {
            let size_bytes = found.size_bytes(widths);
            file.btree2(address, &mut |record, at| {
                let mut cursor = Cursor::new(record, at);
                let place = super::address(&mut cursor, widths)?;
                let (bytes, mask) =
                    if index.filtered { (cursor.uint(size_bytes)?, cursor.u32()?) } else { (chunk_bytes, 0) };
                let mut scaled = Vec::with_capacity(rank);
                for _ in 0..rank {
                    scaled.push(cursor.uint(8)?);
                }
                if let Some(place) = place {
                    found.add(&scaled, place, bytes, mask)?;
                }
                Ok(Visit::Next)
            })?;
        }
    }
    let mut places = found.places;
    if !places.is_sorted_by_key(|place| place.number) {
        places.sort_by_key(|place| place.number);
    }
    places.dedup_by_key(|place| place.number);
    Ok(Located { places })
}

/// The index of a number in a grid whose first axis has no end.
fn unravel(mut number: u64, counts: &[u64], index: &mut [u64]) {
    for axis in (0..counts.len()).rev() {
        if axis == 0 {
            index[0] = number;
        } else {
            let count = counts[axis].max(1);
            index[axis] = number % count;
            number /= count;
        }
    }
}

struct Found<'a> {
    index: &'a ChunkIndex,
    chunk_shape: &'a [u64],
    shape: &'a [u64],
    counts: Vec<u64>,
    chunk_bytes: u64,
    places: Vec<Place>,
}

impl Found<'_> {
    /// Chunks along each axis were it as long as it may become.
    fn max_counts(&self, unlimited: Option<usize>) -> Vec<u64> {
        (0..self.shape.len())
            .map(|axis| {
                let longest = self.index.max_shape[axis].filter(|_| Some(axis) != unlimited);
                longest.unwrap_or(self.shape[axis]).div_ceil(self.chunk_shape[axis])
            })
            .collect()
    }

    /// Bytes of a chunk's length in a filtered index.
    fn size_bytes(&self, widths: Widths) -> usize {
        if self.index.long_sizes {
            return widths.length;
        }
        (1 + (self.chunk_bytes.max(1).ilog2() as usize + 8) / 8).min(8)
    }

    /// An entry of an array of chunks.
    fn entry(&mut self, scaled: &[u64], cursor: &mut Cursor<'_>, widths: Widths) -> Result<()> {
        let place = super::address(cursor, widths)?;
        let (bytes, mask) = if self.index.filtered {
            let size = cursor.left().saturating_sub(4).min(8);
            (cursor.uint(size)?, cursor.u32()?)
        } else {
            (self.chunk_bytes, 0)
        };
        place.map_or(Ok(()), |place| self.add(scaled, place, bytes, mask))
    }

    fn add(&mut self, scaled: &[u64], address: u64, bytes: u64, mask: u32) -> Result<()> {
        if scaled.iter().zip(&self.counts).any(|(&i, &n)| i >= n) {
            return Ok(());
        }
        let number = scaled.iter().zip(&self.counts).fold(0, |n, (&i, &c)| n * c + i);
        let absolute = address.checked_add(self.index.base);
        let absolute = absolute.ok_or_else(|| Error::damaged(address, "a chunk lies beyond any file"))?;
        let cut = scaled
            .iter()
            .zip(self.chunk_shape)
            .zip(self.shape)
            .any(|((&i, &c), &n)| (i + 1).saturating_mul(c) > n);
        let is_plain = self.index.plain_at_ends && cut;
        let bytes = if is_plain { self.chunk_bytes } else { bytes };
        self.places.push(Place { number, address: absolute, bytes, mask, is_plain });
        Ok(())
    }
}

/// Receives the number, bytes and place of each entry of an array.
type Entry<'a> = &'a mut dyn FnMut(u64, &[u8], u64) -> Result<()>;

fn bit(bits: &[u8], at: u64) -> bool {
    usize::try_from(at / 8)
        .ok()
        .and_then(|byte| bits.get(byte))
        .is_some_and(|byte| byte & 0x80 >> (at % 8) != 0)
}

fn entries(bytes: &[u8], entry_bytes: usize, first: u64, at: u64, visit: Entry<'_>) -> Result<()> {
    for (i, entry) in bytes.chunks_exact(entry_bytes).enumerate() {
        visit(first + i as u64, entry, at)?;
    }
    Ok(())
}

fn fixed_array(file: &Hdf5<'_>, at: u64, visit: Entry<'_>) -> Result<()> {
    let widths = file.widths;
    let head = file.meta.bytes(at, 12 + widths.length as u64 + widths.offset as u64)?;
    let head = checksum::verified(&head, at, "an array of chunks")?;
    let mut cursor = Cursor::new(head, at);
    cursor.expect(b"FAHD")?;
    cursor.skip(2)?;
    let entry_bytes = u64::from(cursor.u8()?);
    let page_bits = cursor.u8()?;
    let count = file.length(&mut cursor)?;
    let Some(block) = file.address(&mut cursor)? else { return Ok(()) };
    let impossible = || Error::damaged(at, "an array of chunks has impossible sizes");
    if entry_bytes == 0 || page_bits > 40 {
        return Err(impossible());
    }
    let prefix = 6 + widths.offset as u64;
    let bytes =
        count.checked_mul(entry_bytes).filter(|&bytes| bytes <= file.meta.length()).ok_or_else(impossible)?;
    let page = 1u64 << page_bits;
    if count <= page {
        let data = file.meta.bytes(block, prefix + bytes + 4)?;
        let data = checksum::verified(&data, block, "an array of chunks")?;
        let mut cursor = Cursor::new(data, block);
        cursor.expect(b"FADB")?;
        return entries(&data[prefix as usize..], entry_bytes as usize, 0, block, visit);
    }
    let pages = count.div_ceil(page);
    let start = file.meta.bytes(block, prefix + pages.div_ceil(8) + 4)?;
    let head = checksum::verified(&start, block, "an array of chunks")?;
    Cursor::new(head, block).expect(b"FADB")?;
    let written = &head[prefix as usize..];
    for number in (0..pages).filter(|&number| bit(written, number)) {
        let first = number * page;
        let length = (count - first).min(page) * entry_bytes;
        let place = block + start.len() as u64 + number * (page * entry_bytes + 4);
        let data = file.meta.bytes(place, length + 4)?;
        entries(
            checksum::verified(&data, place, "a page of chunks")?,
            entry_bytes as usize,
            first,
            place,
            visit,
        )?;
    }
    Ok(())
}

fn extensible_array(file: &Hdf5<'_>, at: u64, visit: Entry<'_>) -> Result<()> {
    let widths = file.widths;
    let head = file.meta.bytes(at, 16 + 6 * widths.length as u64 + widths.offset as u64)?;
    let head = checksum::verified(&head, at, "an array of chunks")?;
    let mut cursor = Cursor::new(head, at);
    cursor.expect(b"EAHD")?;
    cursor.skip(2)?;
    let entry_bytes = u64::from(cursor.u8()?);
    let bits = cursor.u8()?;
    let in_index = u64::from(cursor.u8()?);
    let block_min = u64::from(cursor.u8()?);
    let pointers_min = u64::from(cursor.u8()?);
    let page_bits = cursor.u8()?;
    for _ in 0..4 {
        file.length(&mut cursor)?;
    }
    let set = file.length(&mut cursor)?;
    file.length(&mut cursor)?;
    let Some(index) = file.address(&mut cursor)? else { return Ok(()) };
    let sane = entry_bytes > 0
        && (1..=64).contains(&bits)
        && block_min.is_power_of_two()
        && pointers_min.is_power_of_two()
        && pointers_min > 1
        && page_bits <= 40
        && u64::from(bits) >= u64::from(block_min.ilog2());
    if !sane {
        return Err(Error::damaged(at, "an array of chunks has impossible sizes"));
    }
    let offset = widths.offset as u64;
    let place_bytes = u64::from(bits).div_ceil(8);
    let supers = 1 + u64::from(bits) - u64::from(block_min.ilog2());
    let supers_in_index = (2 * u64::from(pointers_min.ilog2())).min(supers);
    let direct = 2 * (pointers_min - 1);
    let page = 1u64 << page_bits;

    let head = 6 + offset;
    let length = head + in_index * entry_bytes + (direct + supers - supers_in_index) * offset + 4;
    let block = file.meta.bytes(index, length)?;
    let block = checksum::verified(&block, index, "an array of chunks")?;
    let mut cursor = Cursor::new(block, index);
    cursor.expect(b"EAIB")?;
    cursor.skip(head as usize - 4)?;
    let own = cursor.take((in_index * entry_bytes) as usize)?;
    let own = &own[..(in_index.min(set) * entry_bytes) as usize];
    entries(own, entry_bytes as usize, 0, index, visit)?;
    let mut first = in_index;
    for number in 0..supers {
        if first >= set {
            break;
        }
        let blocks = 1u64 << (number / 2);
        let elements = block_min << number.div_ceil(2).min(40);
        let covered = blocks.saturating_mul(elements);
        let mut pages_written = Vec::new();
        let mut secondary = Vec::new();
        let in_super = number >= supers_in_index;
        let paged = in_super && elements > page;
        if in_super {
            let Some(at) = file.address(&mut cursor)? else {
                first = first.saturating_add(covered);
                continue;
            };
            let bitmap = if paged { blocks * (elements / page).div_ceil(8) } else { 0 };
            let data = file.meta.bytes(at, head + place_bytes + bitmap + blocks * offset + 4)?;
            let data = checksum::verified(&data, at, "an array of chunks")?;
            Cursor::new(data, at).expect(b"EASB")?;
            let start = (head + place_bytes) as usize;
            pages_written = data[start..start + bitmap as usize].to_vec();
            secondary = data[start + bitmap as usize..].to_vec();
        }
        let mut addresses = Cursor::new(&secondary, index);
        for nth in 0..blocks {
            let at = if in_super { file.address(&mut addresses)? } else { file.address(&mut cursor)? };
            if let Some(at) = at.filter(|_| first < set) {
                let wanted = elements.min(set - first);
                let prefix = head + place_bytes;
                if paged {
                    for number in 0..wanted.div_ceil(page) {
                        if !bit(&pages_written, nth * (elements / page) + number) {
                            continue;
                        }
                        let place = at + prefix + 4 + number * (page * entry_bytes + 4);
                        let data = file.meta.bytes(place, page * entry_bytes + 4)?;
                        let data = checksum::verified(&data, place, "a page of chunks")?;
                        let kept = (wanted - number * page).min(page) * entry_bytes;
                        let from = first + number * page;
                        entries(&data[..kept as usize], entry_bytes as usize, from, place, visit)?;
                    }
                } else {
                    let data = file.meta.bytes(at, prefix + elements * entry_bytes + 4)?;
                    let data = checksum::verified(&data, at, "an array of chunks")?;
                    Cursor::new(data, at).expect(b"EADB")?;
                    let kept = &data[prefix as usize..(prefix + wanted * entry_bytes) as usize];
                    entries(kept, entry_bytes as usize, first, at, visit)?;
                }
            }
            first = first.saturating_add(elements);
        }
    }
    Ok(())
}
