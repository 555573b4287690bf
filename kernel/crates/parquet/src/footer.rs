//! Owns what a file says of itself at its end: columns, groups of rows, where the columns of each lie, and between which bounds
//! their elements are.

use crate::{
    Result,
    elements::Bound,
    error::Error,
    input::Input,
    schema::{self, Child, Kind, Leaf, Physical},
    thrift::{Reader, Type},
};

const MAGIC: &[u8] = b"PAR1";
/// The end of a file whose footer is encrypted.
const MAGIC_ENCRYPTED: &[u8] = b"PARE";
/// Read at once: footers are mostly shorter.
const TAIL: u64 = 64 << 10;

/// What a file holds.
#[derive(Clone, Debug)]
pub struct Footer {
    /// Columns that a table can hold, in the file's order.
    pub columns: Vec<ColumnName>,
    /// Those that it cannot, and why.
    pub refused: Vec<(String, String)>,
    pub groups: Vec<Group>,
    leaves: Vec<Leaf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnName {
    pub name: String,
    pub kind: Kind,
}

/// Rows that lie together.
#[derive(Clone, Debug)]
pub struct Group {
    pub rows: u64,
    /// In the order of [`Footer::columns`].
    pub chunks: Vec<Chunk>,
}

/// The elements of one column in one group.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub(crate) start: u64,
    pub(crate) length: u64,
    pub(crate) codec: i32,
    /// Bytes once they are unpacked, as the file says; it may be wrong.
    pub unpacked: u64,
    pub bounds: Bounds,
}

/// What is known of elements without reading them.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    /// None is smaller.
    pub min: Option<Bound>,
    /// None is larger.
    pub max: Option<Bound>,
    /// How many are missing.
    pub missing: Option<u64>,
}

impl Chunk {
    /// Bytes of the file that hold it.
    pub fn byte_count(&self) -> u64 {
        self.length
    }
}

/// As read, before it is known which column it belongs to.
#[derive(Default)]
struct RawChunk {
    path: Option<String>,
    kind: Option<i32>,
    codec: i32,
    unpacked: i64,
    length: i64,
    data: i64,
    dictionary: Option<i64>,
    encrypted: bool,
    min: Option<Vec<u8>>,
    max: Option<Vec<u8>>,
    missing: Option<i64>,
}

impl RawChunk {
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let mut chunk = RawChunk::default();
        reader.structure(&mut |r, id, kind| {
            match id {
                1 => chunk.path = Some(r.text(kind)?),
                3 => r.inner(kind, &mut |r, id, kind| {
                    match id {
                        1 => chunk.kind = Some(r.int(kind)?),
                        4 => chunk.codec = r.int(kind)?,
                        6 => chunk.unpacked = r.long(kind)?,
                        7 => chunk.length = r.long(kind)?,
                        9 => chunk.data = r.long(kind)?,
                        11 => chunk.dictionary = Some(r.long(kind)?),
                        12 => r.inner(kind, &mut |r, id, kind| {
                            match id {
                                // 1 and 2 are bounds by an order that writers did not agree about.
                                3 => chunk.missing = Some(r.long(kind)?),
                                5 => chunk.max = Some(r.binary(kind)?.to_vec()),
                                6 => chunk.min = Some(r.binary(kind)?.to_vec()),
                                _ => r.skip(kind)?,
                            }
                            Ok(())
                        })?,
                        _ => r.skip(kind)?,
                    }
                    Ok(())
                })?,
                8 | 9 => {
                    chunk.encrypted = true;
                    r.skip(kind)?;
                }
                _ => r.skip(kind)?,
            }
            Ok(())
        })?;
        Ok(chunk)
    }

    fn finish(self, leaf: &Leaf, is_ordered: bool) -> Result<Chunk> {
        let name = &leaf.name;
        if self.encrypted {
            return Err(Error::unsupported(format!("column `{name}` is encrypted")));
        }
        if let Some(path) = self.path {
            return Err(Error::unsupported(format!("column `{name}` lies in another file, `{path}`")));
        }
        let physical = match leaf.physical {
            Physical::Bool => 0,
            Physical::Int32 => 1,
            Physical::Int64 => 2,
            Physical::Int96 => 3,
            Physical::Float => 4,
            Physical::Double => 5,
            Physical::Bytes => 6,
            Physical::Fixed(_) => 7,
        };
        if self.kind != Some(physical) {
            return Err(Error::damaged(format!(
                "column `{name}` has another type in a group than in the schema"
            )));
        }
        let start = self.dictionary.filter(|&at| at > 0 && at < self.data).unwrap_or(self.data);
        let (Ok(start), Ok(length)) = (u64::try_from(start), u64::try_from(self.length)) else {
            return Err(Error::damaged(format!(
                "column `{name}` lies at byte {start}, {} long",
                self.length
            )));
        };
        let bound =
            |bytes: Option<Vec<u8>>| bytes.filter(|_| is_ordered).and_then(|bytes| leaf.bound(&bytes));
        let bounds = Bounds {
            min: bound(self.min),
            max: bound(self.max),
            missing: self.missing.and_then(|count| u64::try_from(count).ok()),
        };
        Ok(Chunk {
            start,
            length,
            codec: self.codec,
            unpacked: u64::try_from(self.unpacked).unwrap_or(0),
            bounds,
        })
    }
}

struct RawGroup {
    rows: i64,
    chunks: Vec<RawChunk>,
}

#[derive(Default)]
struct Raw {
    schema: Option<(Vec<Child>, Vec<usize>)>,
    groups: Vec<RawGroup>,
    /// For each leaf whether its bounds follow the order of its type.
    orders: Vec<bool>,
}

impl Raw {
    fn read(bytes: &[u8]) -> Result<Self> {
        let mut raw = Raw::default();
        Reader::new(bytes).structure(&mut |r, id, kind| {
            match id {
                2 => raw.schema = Some(schema::read(r, kind)?),
                4 => r.list(kind, &mut |r, _| {
                    let mut group = RawGroup { rows: 0, chunks: Vec::new() };
                    r.structure(&mut |r, id, kind| {
                        match id {
                            1 => r.list(kind, &mut |r, _| {
                                group.chunks.push(RawChunk::read(r)?);
                                Ok(())
                            })?,
                            3 => group.rows = r.long(kind)?,
                            _ => r.skip(kind)?,
                        }
                        Ok(())
                    })?;
                    raw.groups.push(group);
                    Ok(())
                })?,
                7 => r.list(kind, &mut |r, _| {
                    let mut is_by_type = false;
                    r.structure(&mut |r, id, kind| {
                        is_by_type = id == 1;
                        r.skip(kind)
                    })?;
                    raw.orders.push(is_by_type);
                    Ok(())
                })?,
                _ => r.skip(kind)?,
            }
            Ok(())
        })?;
        Ok(raw)
    }
}

impl Footer {
    /// Reads a file's footer.
    ///
    /// # Errors
    /// [`Error::NotParquet`] for another kind of file, [`Error::Damaged`], [`Error::Unsupported`], and what the file system says.
    pub fn read(input: &Input) -> Result<Self> {
        let length = input.length();
        if length < 12 {
            return Err(Error::NotParquet("begin and end"));
        }
        if input.read(0, 4)? != MAGIC {
            return Err(Error::NotParquet("begin"));
        }
        let tail = input.read(length - length.min(TAIL), length.min(TAIL) as usize)?;
        let (rest, end) = tail.split_at(tail.len() - 8);
        let (size, magic) = end.split_at(4);
        if magic == MAGIC_ENCRYPTED {
            return Err(Error::unsupported("it is encrypted"));
        }
        if magic != MAGIC {
            return Err(Error::NotParquet("end"));
        }
        let size = u32::from_le_bytes(size.try_into().unwrap_or_default()) as usize;
        if size as u64 > length - 12 {
            return Err(Error::damaged(format!(
                "its footer is said to have {size} bytes, the file has {length}"
            )));
        }
        match rest.len().checked_sub(size) {
            Some(from) => Self::parse(&rest[from..]),
            None => Self::parse(&input.read(length - 8 - size as u64, size)?),
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let raw = Raw::read(bytes)?;
        let (children, owners) = raw.schema.ok_or_else(|| Error::damaged("its footer has no schema"))?;
        let mut footer =
            Footer { columns: Vec::new(), refused: Vec::new(), groups: Vec::new(), leaves: Vec::new() };
        // Which of a group's chunks are columns, and whose.
        let mut places = Vec::new();
        for (child, about) in children.into_iter().enumerate() {
            match about {
                Child::Leaf(leaf) => {
                    let place = owners.iter().position(|&owner| owner == child);
                    places
                        .push(place.ok_or_else(|| Error::damaged("its schema has a column without a leaf"))?);
                    footer.columns.push(ColumnName { name: leaf.name.clone(), kind: leaf.kind });
                    footer.leaves.push(leaf);
                }
                Child::Refused { name, reason } => footer.refused.push((name, reason)),
            }
        }
        for group in raw.groups {
            let rows = u64::try_from(group.rows);
            let rows = rows.map_err(|_| Error::damaged(format!("a group has {} rows", group.rows)))?;
            if group.chunks.len() != owners.len() {
                return Err(Error::damaged(format!(
                    "a group has {} columns, the schema {}",
                    group.chunks.len(),
                    owners.len()
                )));
            }
            let mut chunks: Vec<Option<RawChunk>> = group.chunks.into_iter().map(Some).collect();
            let mut own = Vec::with_capacity(places.len());
            for (leaf, &place) in footer.leaves.iter().zip(&places) {
                let is_ordered = raw.orders.get(place).copied().unwrap_or(false);
                let chunk = chunks.get_mut(place).and_then(Option::take).unwrap_or_default();
                own.push(chunk.finish(leaf, is_ordered)?);
            }
            footer.groups.push(Group { rows, chunks: own });
        }
        Ok(footer)
    }

    pub(crate) fn leaf(&self, column: usize) -> Option<&Leaf> {
        self.leaves.get(column)
    }
}

/// Kinds of fields of a page's header.
#[derive(Clone, Debug, Default)]
pub(crate) struct PageHeader {
    pub(crate) kind: i32,
    pub(crate) unpacked: i32,
    pub(crate) packed: i32,
    pub(crate) crc: Option<i32>,
    pub(crate) count: i32,
    pub(crate) encoding: i32,
    pub(crate) level_encoding: i32,
    pub(crate) definition_bytes: i32,
    pub(crate) repetition_bytes: i32,
    pub(crate) is_packed: bool,
}

impl PageHeader {
    /// The header at the front of `bytes`, and how many it takes.
    pub(crate) fn read(bytes: &[u8]) -> Result<(Self, usize)> {
        let mut header = PageHeader { is_packed: true, ..Default::default() };
        let mut reader = Reader::new(bytes);
        let (mut own, mut dictionary, mut newer) = (false, false, false);
        reader.structure(&mut |r, id, kind| {
            match id {
                1 => header.kind = r.int(kind)?,
                2 => header.unpacked = r.int(kind)?,
                3 => header.packed = r.int(kind)?,
                4 => header.crc = Some(r.int(kind)?),
                5 => {
                    own = true;
                    header.inner(r, kind, [1, 2, 3, 0, 0, 0])?;
                }
                7 => {
                    dictionary = true;
                    header.inner(r, kind, [1, 2, 0, 0, 0, 0])?;
                }
                8 => {
                    newer = true;
                    header.inner(r, kind, [1, 4, 0, 5, 6, 7])?;
                }
                _ => r.skip(kind)?,
            }
            Ok(())
        })?;
        let has_own = match header.kind {
            0 => own,
            2 => dictionary,
            3 => newer,
            _ => true,
        };
        if !has_own {
            return Err(Error::damaged(format!("a page of kind {} does not say what it holds", header.kind)));
        }
        Ok((header, reader.position()))
    }

    /// Numbers of the fields for count, encoding, encoding of levels, bytes of definition and repetition levels, packed or not.
    fn inner(&mut self, reader: &mut Reader<'_>, kind: Type, numbers: [i16; 6]) -> Result<()> {
        reader.inner(kind, &mut |r, id, kind| {
            match numbers.iter().position(|&number| number == id) {
                Some(0) => self.count = r.int(kind)?,
                Some(1) => self.encoding = r.int(kind)?,
                Some(2) => self.level_encoding = r.int(kind)?,
                Some(3) => self.definition_bytes = r.int(kind)?,
                Some(4) => self.repetition_bytes = r.int(kind)?,
                Some(5) => self.is_packed = r.truth(kind)?,
                _ => r.skip(kind)?,
            }
            Ok(())
        })
    }
}
