//! Owns what messages of datasets say: dataspace, layout, filters, fill value (sections IV.A.2.b to l).

use serde::{Deserialize, Serialize};

use super::{Hdf5, object::Message};
use crate::{Error, Filter, Result};

/// The extent of a dataset or attribute.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dataspace {
    pub(crate) shape: Vec<u64>,
    /// `None`: unlimited.
    pub(crate) max_shape: Vec<Option<u64>>,
    /// It has no elements at all, not even one.
    pub(crate) is_null: bool,
}

/// Where a dataset's elements lie.
#[derive(Clone, Debug)]
pub(crate) enum LayoutMessage {
    Compact(Vec<u8>),
    Contiguous { address: Option<u64> },
    Chunked { chunk_shape: Vec<u64>, index: IndexMessage },
    Virtual,
}

/// How chunks are found.
#[derive(Clone, Debug)]
pub(crate) struct IndexMessage {
    pub(crate) kind: IndexKind,
    pub(crate) address: Option<u64>,
    /// Chunks that the array's end cuts short were not filtered.
    pub(crate) plain_at_ends: bool,
    /// Bytes of a chunk's length in the index are those of a length, whatever the chunk's size.
    pub(crate) long_sizes: bool,
}

/// What chunks are listed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum IndexKind {
    BTree1,
    /// Stored bytes and filter mask, if it was filtered.
    Single(Option<(u64, u32)>),
    Implicit,
    FixedArray,
    ExtensibleArray,
    BTree2,
}

/// Axes that HDF5 allows.
const RANK_MAX: u8 = 32;

impl Hdf5<'_> {
    pub(crate) fn dataspace(&self, message: &Message) -> Result<Dataspace> {
        let mut cursor = message.cursor();
        let version = cursor.u8()?;
        let rank = cursor.u8()?;
        let flags = cursor.u8()?;
        let is_null = match version {
            1 => {
                cursor.skip(5)?;
                false
            }
            2 => cursor.u8()? == 2,
            _ => return Err(cursor.damaged(format!("a dataspace is of version {version}, which is unknown"))),
        };
        if rank > RANK_MAX {
            return Err(cursor.damaged(format!("{rank} axes are more than HDF5 allows")));
        }
        let mut shape = Vec::new();
        for _ in 0..rank {
            shape.push(self.length(&mut cursor)?);
        }
        let mut max_shape: Vec<Option<u64>> = shape.iter().map(|&n| Some(n)).collect();
        if flags & 1 != 0 {
            let none = if self.widths.length >= 8 { u64::MAX } else { (1 << (8 * self.widths.length)) - 1 };
            for max in &mut max_shape {
                *max = Some(self.length(&mut cursor)?).filter(|&n| n != none);
            }
        }
        Ok(Dataspace { shape, max_shape, is_null })
    }

    pub(crate) fn layout(&self, message: &Message) -> Result<LayoutMessage> {
        let mut cursor = message.cursor();
        let version = cursor.u8()?;
        let unknown =
            |class: u8| Error::damaged(message.at, format!("a layout is of class {class}, which is unknown"));
        match version {
            1 | 2 => {
                let (rank, class) = (cursor.u8()?, cursor.u8()?);
                cursor.skip(5)?;
                let address = if class == 0 { None } else { self.address(&mut cursor)? };
                let mut dims = Vec::new();
                for _ in 0..rank.min(RANK_MAX + 1) {
                    dims.push(u64::from(cursor.u32()?));
                }
                match class {
                    0 => {
                        let size = cursor.u32()?;
                        Ok(LayoutMessage::Compact(cursor.take(size as usize)?.to_vec()))
                    }
                    1 => Ok(LayoutMessage::Contiguous { address }),
                    2 => {
                        dims.pop();
                        Ok(LayoutMessage::Chunked { chunk_shape: dims, index: btree1(address) })
                    }
                    class => Err(unknown(class)),
                }
            }
            3 => match cursor.u8()? {
                0 => {
                    let size = cursor.u16()?;
                    Ok(LayoutMessage::Compact(cursor.take(size.into())?.to_vec()))
                }
                1 => Ok(LayoutMessage::Contiguous { address: self.address(&mut cursor)? }),
                2 => {
                    let rank = cursor.u8()?;
                    let address = self.address(&mut cursor)?;
                    let mut dims = Vec::new();
                    for _ in 0..rank.min(RANK_MAX + 1) {
                        dims.push(u64::from(cursor.u32()?));
                    }
                    dims.pop();
                    Ok(LayoutMessage::Chunked { chunk_shape: dims, index: btree1(address) })
                }
                class => Err(unknown(class)),
            },
            4 | 5 => match cursor.u8()? {
                0 => {
                    let size = cursor.u16()?;
                    Ok(LayoutMessage::Compact(cursor.take(size.into())?.to_vec()))
                }
                1 => Ok(LayoutMessage::Contiguous { address: self.address(&mut cursor)? }),
                2 => {
                    let flags = cursor.u8()?;
                    let rank = cursor.u8()?;
                    let width = usize::from(cursor.u8()?);
                    if !(1..=8).contains(&width) {
                        return Err(cursor.damaged(format!("lengths of chunks take {width} bytes")));
                    }
                    let mut dims = Vec::new();
                    for _ in 0..rank.min(RANK_MAX + 1) {
                        dims.push(cursor.uint(width)?);
                    }
                    dims.pop();
                    let kind = match cursor.u8()? {
                        1 if flags & 2 != 0 => {
                            let bytes = self.length(&mut cursor)?;
                            IndexKind::Single(Some((bytes, cursor.u32()?)))
                        }
                        1 => IndexKind::Single(None),
                        2 => IndexKind::Implicit,
                        3 => {
                            cursor.skip(1)?;
                            IndexKind::FixedArray
                        }
                        4 => {
                            cursor.skip(5)?;
                            IndexKind::ExtensibleArray
                        }
                        5 => {
                            cursor.skip(6)?;
                            IndexKind::BTree2
                        }
                        other => {
                            return Err(cursor.damaged(format!(
                                "an index of chunks is of kind {other}, which is unknown"
                            )));
                        }
                    };
                    let address = self.address(&mut cursor)?;
                    let index = IndexMessage {
                        kind,
                        address,
                        plain_at_ends: flags & 1 != 0,
                        long_sizes: version == 5,
                    };
                    Ok(LayoutMessage::Chunked { chunk_shape: dims, index })
                }
                3 => Ok(LayoutMessage::Virtual),
                class => Err(unknown(class)),
            },
            _ => Err(cursor.damaged(format!("a layout is of version {version}, which is unknown"))),
        }
    }

    /// The value of elements that were never written; `None`: zero.
    pub(crate) fn fill(&self, message: &Message, is_old: bool) -> Result<Option<Vec<u8>>> {
        let mut cursor = message.cursor();
        if is_old {
            let size = cursor.u32()?;
            return Ok(Some(cursor.take(size as usize)?.to_vec()).filter(|bytes| !bytes.is_empty()));
        }
        let version = cursor.u8()?;
        let is_defined = match version {
            1 | 2 => {
                cursor.skip(2)?;
                let defined = cursor.u8()? != 0;
                version == 1 || defined
            }
            3 => cursor.u8()? & 0x20 != 0,
            _ => {
                return Err(cursor.damaged(format!("a fill value is of version {version}, which is unknown")));
            }
        };
        if !is_defined || cursor.left() < 4 {
            return Ok(None);
        }
        let size = cursor.u32()?;
        Ok(Some(cursor.take(size as usize)?.to_vec()).filter(|bytes| !bytes.is_empty()))
    }

    /// The filters, in the order in which they were applied; the inner error is about one that is unknown.
    pub(crate) fn filters(
        &self,
        message: &Message,
        element_bytes: u32,
    ) -> Result<Result<Vec<Filter>, String>> {
        let mut cursor = message.cursor();
        let version = cursor.u8()?;
        let count = cursor.u8()?;
        match version {
            1 => cursor.skip(6)?,
            2 => {}
            _ => {
                return Err(
                    cursor.damaged(format!("a list of filters is of version {version}, which is unknown"))
                );
            }
        }
        let mut filters = Vec::new();
        for _ in 0..count {
            let number = cursor.u16()?;
            let name_length = if version == 1 || number >= 256 { cursor.u16()? } else { 0 };
            cursor.skip(2)?;
            let values_count = cursor.u16()?;
            let name_length = usize::from(name_length);
            let padded = if version == 1 { name_length.next_multiple_of(8) } else { name_length };
            let name = cursor.take(padded)?;
            let name = String::from_utf8_lossy(name.split(|&byte| byte == 0).next().unwrap_or_default())
                .into_owned();
            let mut values = Vec::new();
            for _ in 0..values_count {
                values.push(cursor.u32()?);
            }
            if version == 1 && values_count % 2 == 1 {
                cursor.skip(4)?;
            }
            match Filter::of(number, &name, &values, element_bytes) {
                Ok(filter) => filters.push(filter),
                Err(reason) => return Ok(Err(reason)),
            }
        }
        Ok(Ok(filters))
    }
}

fn btree1(address: Option<u64>) -> IndexMessage {
    IndexMessage { kind: IndexKind::BTree1, address, plain_at_ends: false, long_sizes: false }
}
