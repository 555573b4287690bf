//! Owns heaps: local ones with names of old groups (section III.D), global ones with text of variable length (III.E), and
//! fractal ones with links and attributes of new groups (III.G).

use std::{collections::HashMap, rc::Rc};

use super::{Hdf5, address, btree::Visit, checksum};
use crate::{Error, Input, Result, cursor::Cursor};

/// Objects of collections of the global heap, by the collection's address.
pub(crate) type Collections = HashMap<u64, Rc<HashMap<u16, Vec<u8>>>>;

/// Collections kept at a time.
const COLLECTIONS_MAX: usize = 4096;
/// A heap's rows: those of 64 bits.
const ROWS_MAX: u64 = 64;

impl Hdf5<'_> {
    /// The data of the local heap at `at`.
    pub(crate) fn local_heap(&self, at: u64) -> Result<Vec<u8>> {
        let bytes = self.meta.bytes(at, 8 + 2 * self.widths.length as u64 + self.widths.offset as u64)?;
        let mut cursor = Cursor::new(&bytes, at);
        cursor.expect(b"HEAP")?;
        cursor.skip(4)?;
        let size = self.length(&mut cursor)?;
        self.length(&mut cursor)?;
        let data = self.address(&mut cursor)?.ok_or_else(|| cursor.damaged("a heap of names has no data"))?;
        Ok(self.meta.bytes(data, size)?)
    }

    /// An object of the global heap, by what an element holds after its length: address and index.
    pub(crate) fn global(&self, cursor: &mut Cursor<'_>) -> Result<Option<Vec<u8>>> {
        let at = self.address(cursor)?;
        let index = cursor.u32()?;
        let Some(at) = at.filter(|&at| at != 0) else { return Ok(None) };
        let known = self.collections.borrow().get(&at).cloned();
        let collection = match known {
            Some(collection) => collection,
            None => {
                let collection = Rc::new(self.collection(at)?);
                let mut kept = self.collections.borrow_mut();
                if kept.len() >= COLLECTIONS_MAX {
                    kept.clear();
                }
                kept.insert(at, collection.clone());
                collection
            }
        };
        let object = u16::try_from(index).ok().and_then(|index| collection.get(&index));
        let object = object.ok_or_else(|| Error::damaged(at, format!("the heap has no object {index}")))?;
        self.meta.charge(at, object.len() as u64)?;
        Ok(Some(object.clone()))
    }

    fn collection(&self, at: u64) -> Result<HashMap<u16, Vec<u8>>> {
        let head = self.meta.bytes(at, 8 + self.widths.length as u64)?;
        let mut cursor = Cursor::new(&head, at);
        cursor.expect(b"GCOL")?;
        cursor.skip(4)?;
        let size = self.length(&mut cursor)?;
        let bytes = self.meta.bytes(at, size)?;
        let mut cursor = Cursor::new(&bytes, at);
        cursor.skip(head.len())?;
        let mut objects = HashMap::new();
        while cursor.left() >= 8 + self.widths.length {
            let index = cursor.u16()?;
            // Object 0 is what is free.
            if index == 0 {
                break;
            }
            cursor.skip(6)?;
            let length = usize::try_from(self.length(&mut cursor)?).unwrap_or(usize::MAX);
            let data = cursor.take(length)?;
            objects.insert(index, data.to_vec());
            cursor.skip((length.next_multiple_of(8) - length).min(cursor.left()))?;
        }
        Ok(objects)
    }

    /// Text from elements of variable length: four bytes of length, then the place in the global heap.
    pub(crate) fn text(&self, elements: &[u8], at: u64) -> Result<Vec<String>> {
        let mut cursor = Cursor::new(elements, at);
        let mut out = Vec::new();
        while cursor.left() > 0 {
            let length = cursor.u32()? as usize;
            let bytes = self.global(&mut cursor)?.unwrap_or_default();
            let text = bytes.get(..length).unwrap_or(&bytes);
            let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
            out.push(String::from_utf8_lossy(&text[..end]).into_owned());
        }
        Ok(out)
    }
}

/// Text of variable length, from the elements of a variable.
pub(crate) fn long_text(input: &dyn Input, elements: &[u8], size: usize) -> Result<Vec<String>> {
    let file = Hdf5::open(input)?;
    if size != 8 + file.widths.offset {
        return Err(Error::damaged(0, format!("text of variable length in elements of {size} bytes")));
    }
    file.text(elements, 0)
}

/// A fractal heap that is open.
pub(crate) struct FractalHeap<'f, 'a> {
    file: &'f Hdf5<'a>,
    at: u64,
    id_bytes: usize,
    offset_bytes: usize,
    length_bytes: usize,
    width: u64,
    start: u64,
    direct_max: u64,
    root: Option<u64>,
    /// Rows of the root if it is an indirect block.
    root_rows: u64,
    huge_index: Option<u64>,
}

/// The bytes that numbers up to `limit` take.
fn bytes_for(limit: u64) -> usize {
    limit.checked_ilog2().unwrap_or(0) as usize / 8 + 1
}

impl<'a> Hdf5<'a> {
    pub(crate) fn fractal_heap(&self, at: u64) -> Result<FractalHeap<'_, 'a>> {
        let widths = self.widths;
        let bytes = self.meta.bytes(at, 26 + 12 * widths.length as u64 + 3 * widths.offset as u64)?;
        let bytes = checksum_or_filters(&bytes, at)?;
        let mut cursor = Cursor::new(bytes, at);
        cursor.expect(b"FRHP")?;
        cursor.skip(1)?;
        let id_bytes = usize::from(cursor.u16()?);
        cursor.skip(2)?;
        cursor.skip(1)?;
        let managed_max = u64::from(cursor.u32()?);
        self.length(&mut cursor)?;
        let huge_index = self.address(&mut cursor)?;
        self.length(&mut cursor)?;
        self.address(&mut cursor)?;
        for _ in 0..8 {
            self.length(&mut cursor)?;
        }
        let width = u64::from(cursor.u16()?);
        let start = self.length(&mut cursor)?;
        let direct_max = self.length(&mut cursor)?;
        let bits = cursor.u16()?;
        cursor.skip(2)?;
        let root = self.address(&mut cursor)?;
        let root_rows = u64::from(cursor.u16()?);
        let sane = start.is_power_of_two()
            && direct_max.is_power_of_two()
            && direct_max >= start
            && direct_max <= 1 << 32
            && width.is_power_of_two()
            && (1..=64).contains(&bits)
            && root_rows <= ROWS_MAX
            && (1..=64).contains(&id_bytes);
        if !sane {
            return Err(Error::damaged(at, "a fractal heap has impossible sizes"));
        }
        let block_bytes = (direct_max.ilog2() as usize).div_ceil(8);
        let length_bytes = block_bytes.min(bytes_for(managed_max));
        let offset_bytes = usize::from(bits).div_ceil(8);
        Ok(FractalHeap {
            file: self,
            at,
            id_bytes,
            offset_bytes,
            length_bytes,
            width,
            start,
            direct_max,
            root,
            root_rows,
            huge_index,
        })
    }
}

/// The header without its checksum, if no filters follow.
fn checksum_or_filters(bytes: &[u8], at: u64) -> Result<&[u8]> {
    let filter_bytes = bytes.get(7..9).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]));
    if filter_bytes != 0 {
        let message =
            "names or attributes of a group are compressed, which is not supported; `h5repack` undoes it";
        return Err(Error::Unsupported(message.to_owned()));
    }
    checksum::verified(bytes, at, "a fractal heap")
}

impl FractalHeap<'_, '_> {
    /// Bytes of an identifier.
    pub(crate) fn id_bytes(&self) -> usize {
        self.id_bytes
    }

    /// The object of an identifier.
    pub(crate) fn get(&self, id: &[u8]) -> Result<Vec<u8>> {
        let mut cursor = Cursor::new(id, self.at);
        let first = cursor.u8()?;
        match first >> 4 & 3 {
            0 => {
                let offset = cursor.uint(self.offset_bytes.min(8))?;
                let length = cursor.uint(self.length_bytes.min(8))?;
                self.managed(offset, length)
            }
            1 => {
                let widths = self.file.widths;
                if widths.offset + widths.length < self.id_bytes {
                    let at = self.file.address(&mut cursor)?;
                    let length = self.file.length(&mut cursor)?;
                    let at = at.ok_or_else(|| Error::damaged(self.at, "an object of a heap is nowhere"))?;
                    return Ok(self.file.meta.bytes(at, length)?);
                }
                self.huge(cursor.uint((self.id_bytes - 1).min(8))?)
            }
            2 => {
                let length = if self.id_bytes <= 17 {
                    usize::from(first & 15) + 1
                } else {
                    (usize::from(first & 15) << 8 | usize::from(cursor.u8()?)) + 1
                };
                Ok(cursor.take(length)?.to_vec())
            }
            other => Err(Error::damaged(
                self.at,
                format!("an object of a heap is of kind {other}, which is unknown"),
            )),
        }
    }

    fn huge(&self, wanted: u64) -> Result<Vec<u8>> {
        let index = self
            .huge_index
            .ok_or_else(|| Error::damaged(self.at, "a heap has no index of its huge objects"))?;
        let mut found = None;
        self.file.btree2(index, &mut |record, at| {
            let mut cursor = Cursor::new(record, at);
            let place = (address(&mut cursor, self.file.widths)?, self.file.length(&mut cursor)?);
            if self.file.length(&mut cursor)? == wanted {
                found = Some(place);
                return Ok(Visit::Stop);
            }
            Ok(Visit::Next)
        })?;
        match found {
            Some((Some(at), length)) => Ok(self.file.meta.bytes(at, length)?),
            _ => Err(Error::damaged(self.at, "a huge object of a heap is nowhere")),
        }
    }

    fn block_bytes(&self, row: u64) -> u64 {
        if row == 0 { self.start } else { self.start.checked_shl((row - 1) as u32).unwrap_or(u64::MAX) }
    }

    fn managed(&self, offset: u64, length: u64) -> Result<Vec<u8>> {
        let damaged = |message: &str| Error::damaged(self.at, message);
        let mut at = self.root.ok_or_else(|| damaged("a heap without blocks has objects"))?;
        let (mut rest, mut rows) = (offset, self.root_rows);
        // Each turn goes to a block that is smaller than the one before, so it ends.
        while rows > 0 {
            let (mut row, mut row_start) = (0, 0u64);
            let (block, column) = loop {
                let size = self.block_bytes(row);
                let end = size.checked_mul(self.width).and_then(|n| n.checked_add(row_start));
                let end =
                    end.filter(|_| row < rows).ok_or_else(|| damaged("an object lies past its heap"))?;
                if rest < end {
                    break (size, (rest - row_start) / size);
                }
                row_start = end;
                row += 1;
            };
            let entry = row * self.width + column;
            let head = 5 + self.file.widths.offset as u64 + self.offset_bytes as u64;
            let head = self.file.meta.bytes(at, head + (entry + 1) * self.file.widths.offset as u64)?;
            let mut cursor = Cursor::new(&head, at);
            cursor.expect(b"FHIB")?;
            cursor.skip(head.len() - 4 - self.file.widths.offset)?;
            at = self
                .file
                .address(&mut cursor)?
                .ok_or_else(|| damaged("an object lies in a block that is not there"))?;
            rest -= row_start + column * block;
            rows = if block <= self.direct_max {
                0
            } else {
                let first_row = (self.start * self.width).ilog2();
                u64::from(block.ilog2().saturating_sub(first_row)) + 1
            };
            if rows > ROWS_MAX {
                return Err(damaged("a heap has impossible sizes"));
            }
        }
        let place = at.checked_add(rest).ok_or_else(|| damaged("an object lies past its heap"))?;
        Ok(self.file.meta.bytes(place, length)?)
    }
}
