//! Owns writing files: pages of each column are packed as rows come, and a group of rows is written once it is large enough.

use std::{collections::HashMap, io::Write};

use crate::{
    Result, codec,
    error::Error,
    footer::ColumnName,
    runs::write_runs,
    schema::Kind,
    thrift::Writer as Thrift,
    values::{Column, Values},
};

/// A group has so many rows, or so many packed bytes, whichever comes first.
const GROUP_ROWS: u64 = 1 << 20;
const GROUP_BYTES: usize = 64 << 20;
/// So has a page, of unpacked bytes.
const PAGE_ROWS: usize = 1 << 17;
const PAGE_BYTES: usize = 1 << 20;
/// Texts are written once and then by number, until there are so many bytes of different ones.
const DICTIONARY_BYTES: usize = 1 << 20;
/// Longer texts are no bounds.
const BOUND_BYTES: usize = 64;
const MAGIC: &[u8] = b"PAR1";
const CREATED_BY: &str = concat!("nuna version ", env!("CARGO_PKG_VERSION"));

const PLAIN: i32 = 0;
const RLE: i32 = 3;
const DICTIONARY: i32 = 8;

/// A file being written.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    position: u64,
    columns: Vec<ColumnWriter>,
    /// Of the group that is not written yet.
    rows: u64,
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    rows: u64,
    chunks: Vec<Chunk>,
}

/// Where a column of a group was put.
#[derive(Debug)]
struct Chunk {
    start: u64,
    dictionary_length: u64,
    packed: u64,
    unpacked: u64,
    missing: i64,
    min: Option<Vec<u8>>,
    max: Option<Vec<u8>>,
}

impl<W: Write> Writer<W> {
    /// Begins a file of these columns, any element of which may be missing.
    ///
    /// # Errors
    /// What `out` says.
    pub fn new(mut out: W, columns: &[ColumnName]) -> Result<Self> {
        out.write_all(MAGIC)?;
        let columns = columns.iter().map(|column| ColumnWriter::new(column.clone())).collect();
        Ok(Writer { out, position: MAGIC.len() as u64, columns, rows: 0, groups: Vec::new() })
    }

    /// Says that the texts of a column are bytes, which need not be UTF-8. Without such a column nothing changes.
    #[must_use]
    pub fn with_bytes(mut self, name: &str) -> Self {
        for column in &mut self.columns {
            column.is_bytes |= column.about.name == name;
        }
        self
    }

    /// Adds rows: as many of each column.
    ///
    /// # Errors
    /// If a column is not what the file was begun with, a date is beyond what 32 bits count, or `out` says so.
    pub fn write(&mut self, columns: &[Column]) -> Result<()> {
        let rows = columns.first().map_or(0, |column| column.values.len());
        if columns.len() != self.columns.len() || columns.iter().any(|column| column.values.len() != rows) {
            return Err(Error::unsupported("rows to be written do not fit the file's columns"));
        }
        for (writer, column) in self.columns.iter_mut().zip(columns) {
            writer.write(column)?;
        }
        self.rows += rows as u64;
        let bytes: usize = self.columns.iter().map(|column| column.pages.len()).sum();
        if self.rows >= GROUP_ROWS || bytes >= GROUP_BYTES { self.end_group() } else { Ok(()) }
    }

    fn end_group(&mut self) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut chunks = Vec::with_capacity(self.columns.len());
        for column in &mut self.columns {
            let next = ColumnWriter { is_bytes: column.is_bytes, ..ColumnWriter::new(column.about.clone()) };
            let (bytes, chunk) = std::mem::replace(column, next).finish(self.position)?;
            for part in &bytes {
                self.out.write_all(part)?;
                self.position += part.len() as u64;
            }
            chunks.push(chunk);
        }
        self.groups.push(Group { rows: std::mem::take(&mut self.rows), chunks });
        Ok(())
    }

    /// Writes what is left, and the footer.
    ///
    /// # Errors
    /// What `out` says.
    pub fn finish(mut self) -> Result<W> {
        self.end_group()?;
        let footer = self.footer();
        let size = u32::try_from(footer.len()).map_err(|_| Error::unsupported("its footer exceeds 4 GiB"))?;
        self.out.write_all(&footer)?;
        self.out.write_all(&size.to_le_bytes())?;
        self.out.write_all(MAGIC)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn footer(&self) -> Vec<u8> {
        let rows: u64 = self.groups.iter().map(|group| group.rows).sum();
        Thrift::structure(|footer| {
            footer.int(1, 2);
            footer.structures(2, (0..=self.columns.len()).collect::<Vec<_>>().into_iter(), |out, index| {
                match index.checked_sub(1) {
                    None => {
                        out.binary(4, b"schema");
                        out.int(5, self.columns.len() as i32);
                    }
                    Some(index) => element(&self.columns[index].about, self.columns[index].is_bytes, out),
                }
            });
            footer.long(3, rows.cast_signed());
            footer.structures(4, self.groups.iter(), |out, group| {
                out.structures(1, self.columns.iter().zip(&group.chunks), |out, (column, chunk)| {
                    out.long(2, 0);
                    out.inner(3, |out| chunk.write(&column.about, group.rows, out));
                });
                let sum = |of: fn(&Chunk) -> u64| group.chunks.iter().map(of).sum::<u64>().cast_signed();
                out.long(2, sum(|chunk| chunk.unpacked));
                out.long(3, group.rows.cast_signed());
                out.long(6, sum(|chunk| chunk.packed));
            });
            footer.binary(6, CREATED_BY.as_bytes());
            // All bounds follow the order of their types.
            footer.structures(7, self.columns.iter(), |out, _| out.inner(1, |_| {}));
        })
    }
}

fn physical(kind: Kind) -> i32 {
    match kind {
        Kind::Bool => 0,
        Kind::Date => 1,
        Kind::Int | Kind::Time => 2,
        Kind::Float => 5,
        Kind::Text => 6,
    }
}

fn element(column: &ColumnName, is_bytes: bool, out: &mut Thrift) {
    out.int(1, physical(column.kind));
    // Optional.
    out.int(3, 1);
    out.binary(4, column.name.as_bytes());
    let converted = match column.kind {
        Kind::Text if is_bytes => None,
        Kind::Text => Some(0),
        Kind::Date => Some(6),
        Kind::Time => Some(10),
        Kind::Int | Kind::Float | Kind::Bool => None,
    };
    if let Some(converted) = converted {
        out.int(6, converted);
        out.inner(10, |out| match column.kind {
            Kind::Text => out.inner(1, |_| {}),
            Kind::Date => out.inner(6, |_| {}),
            _ => out.inner(8, |out| {
                out.truth(1, true);
                out.inner(2, |out| out.inner(2, |_| {}));
            }),
        });
    }
}

impl Chunk {
    fn write(&self, about: &ColumnName, rows: u64, out: &mut Thrift) {
        out.int(1, physical(about.kind));
        out.ints(2, &[PLAIN, RLE, DICTIONARY]);
        out.texts(3, &[&about.name]);
        out.int(4, codec::WRITTEN);
        out.long(5, rows.cast_signed());
        out.long(6, self.unpacked.cast_signed());
        out.long(7, self.packed.cast_signed());
        out.long(9, (self.start + self.dictionary_length).cast_signed());
        if self.dictionary_length > 0 {
            out.long(11, self.start.cast_signed());
        }
        out.inner(12, |out| {
            out.long(3, self.missing);
            if let Some(max) = &self.max {
                out.binary(5, max);
            }
            if let Some(min) = &self.min {
                out.binary(6, min);
            }
        });
    }
}

/// Pages of a column of the group that is not written yet.
#[derive(Debug)]
struct ColumnWriter {
    about: ColumnName,
    /// Of texts: nobody says that they are any.
    is_bytes: bool,
    /// Packed, with their headers.
    pages: Vec<u8>,
    unpacked: u64,
    /// Of the page that is not packed yet: whether each row is there, and the elements that are.
    levels: Vec<u32>,
    plain: Vec<u8>,
    bits: Vec<bool>,
    codes: Vec<u32>,
    /// Of text, until there is too much.
    dictionary: Option<Dictionary>,
    /// The dictionary as it was when it was given up; pages before that need it.
    closed: Option<Dictionary>,
    missing: i64,
    range: Range,
}

#[derive(Debug, Default)]
struct Dictionary {
    numbers: HashMap<Vec<u8>, u32>,
    /// As it will be written.
    bytes: Vec<u8>,
}

/// The smallest and the largest element so far.
#[derive(Debug)]
enum Range {
    None,
    Int(i64, i64),
    Float(f64, f64),
    Bool(bool, bool),
    Text(Vec<u8>, Vec<u8>),
}

impl Range {
    fn int(&mut self, value: i64) {
        match self {
            Range::Int(min, max) => (*min, *max) = ((*min).min(value), (*max).max(value)),
            _ => *self = Range::Int(value, value),
        }
    }

    fn float(&mut self, value: f64) {
        match self {
            _ if value.is_nan() => {}
            Range::Float(min, max) => (*min, *max) = (min.min(value), max.max(value)),
            _ => *self = Range::Float(value, value),
        }
    }

    fn truth(&mut self, value: bool) {
        match self {
            Range::Bool(min, max) => (*min, *max) = (*min & value, *max | value),
            _ => *self = Range::Bool(value, value),
        }
    }

    fn text(&mut self, value: &[u8]) {
        match self {
            Range::Text(min, max) => {
                if value < min.as_slice() {
                    *min = value.to_vec();
                } else if value > max.as_slice() {
                    *max = value.to_vec();
                }
            }
            _ => *self = Range::Text(value.to_vec(), value.to_vec()),
        }
    }

    /// As they stand in the file.
    fn bytes(self, kind: Kind) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let short = |text: Vec<u8>| Some(text).filter(|text| text.len() <= BOUND_BYTES);
        let int = |value: i64| match (kind, i32::try_from(value)) {
            (Kind::Date, Ok(day)) => Some(day.to_le_bytes().to_vec()),
            _ => Some(value.to_le_bytes().to_vec()),
        };
        match self {
            Range::None => (None, None),
            Range::Int(min, max) => (int(min), int(max)),
            Range::Float(min, max) => {
                // Both zeros are among the elements, for all that a reader knows.
                let min = if min == 0.0 { -0.0 } else { min };
                let max = if max == 0.0 { 0.0 } else { max };
                (Some(min.to_le_bytes().to_vec()), Some(max.to_le_bytes().to_vec()))
            }
            Range::Bool(min, max) => (Some(vec![u8::from(min)]), Some(vec![u8::from(max)])),
            Range::Text(min, max) => (short(min), short(max)),
        }
    }
}

impl ColumnWriter {
    fn new(about: ColumnName) -> Self {
        ColumnWriter {
            dictionary: (about.kind == Kind::Text).then(Dictionary::default),
            about,
            is_bytes: false,
            pages: Vec::new(),
            unpacked: 0,
            levels: Vec::new(),
            plain: Vec::new(),
            bits: Vec::new(),
            codes: Vec::new(),
            closed: None,
            missing: 0,
            range: Range::None,
        }
    }

    fn write(&mut self, column: &Column) -> Result<()> {
        let is_there = |row: usize| column.valid.as_ref().is_none_or(|valid| valid[row]);
        for row in 0..column.values.len() {
            if !is_there(row) {
                self.missing += 1;
                self.levels.push(0);
            } else {
                self.levels.push(1);
                match (&column.values, self.about.kind) {
                    (Values::Int(v), Kind::Int | Kind::Time) => {
                        self.range.int(v[row]);
                        self.plain.extend_from_slice(&v[row].to_le_bytes());
                    }
                    (Values::Int(v), Kind::Date) => {
                        let day = i32::try_from(v[row]).map_err(|_| {
                            let (name, day) = (&self.about.name, v[row]);
                            Error::unsupported(format!(
                                "column `{name}` has the day {day} since 1970, and dates of files count in 32 bits"
                            ))
                        })?;
                        self.range.int(v[row]);
                        self.plain.extend_from_slice(&day.to_le_bytes());
                    }
                    (Values::Float(v), Kind::Float) => {
                        self.range.float(v[row]);
                        self.plain.extend_from_slice(&v[row].to_le_bytes());
                    }
                    (Values::Bool(v), Kind::Bool) => {
                        self.range.truth(v[row]);
                        self.bits.push(v[row]);
                    }
                    (Values::Text(v), Kind::Text) => self.text(v.get(row))?,
                    _ => {
                        return Err(Error::unsupported(format!(
                            "column `{}` changed its type",
                            self.about.name
                        )));
                    }
                }
            }
            if self.levels.len() >= PAGE_ROWS || self.plain.len() >= PAGE_BYTES {
                self.end_page()?;
            }
        }
        Ok(())
    }

    fn text(&mut self, text: &[u8]) -> Result<()> {
        self.range.text(text);
        let length = |text: &[u8]| {
            let length = u32::try_from(text.len());
            length.map(u32::to_le_bytes).map_err(|_| Error::unsupported("a text exceeds 4 GiB"))
        };
        if let Some(dictionary) = &mut self.dictionary {
            if let Some(&number) = dictionary.numbers.get(text) {
                self.codes.push(number);
                return Ok(());
            }
            if dictionary.bytes.len() + text.len() <= DICTIONARY_BYTES {
                let number = dictionary.numbers.len() as u32;
                dictionary.numbers.insert(text.to_vec(), number);
                dictionary.bytes.extend_from_slice(&length(text)?);
                dictionary.bytes.extend_from_slice(text);
                self.codes.push(number);
                return Ok(());
            }
            // The row at hand is of the next page.
            let level = self.levels.pop();
            self.end_page()?;
            self.levels.extend(level);
            self.closed = self.dictionary.take();
        }
        self.plain.extend_from_slice(&length(text)?);
        self.plain.extend_from_slice(text);
        Ok(())
    }

    fn end_page(&mut self) -> Result<()> {
        let rows = self.levels.len();
        if rows == 0 {
            return Ok(());
        }
        let mut body = vec![0; 4];
        write_runs(&self.levels, 1, &mut body);
        let levels = (body.len() - 4) as u32;
        body[..4].copy_from_slice(&levels.to_le_bytes());
        let mut encoding = PLAIN;
        match self.about.kind {
            Kind::Bool => {
                for eight in self.bits.chunks(8) {
                    body.push(eight.iter().rev().fold(0, |byte, &bit| byte << 1 | u8::from(bit)));
                }
            }
            // Without a dictionary nothing may be numbered, not even nothing at all.
            Kind::Text if self.dictionary.as_ref().is_some_and(|known| !known.numbers.is_empty()) => {
                encoding = DICTIONARY;
                let largest = self.codes.iter().max().copied().unwrap_or(0);
                let width = (u32::BITS - largest.leading_zeros()).max(1);
                body.push(width as u8);
                write_runs(&self.codes, width, &mut body);
            }
            Kind::Int | Kind::Float | Kind::Text | Kind::Date | Kind::Time => {
                body.extend_from_slice(&self.plain)
            }
        }
        page(&mut self.pages, &mut self.unpacked, 0, &body, |out| {
            out.inner(5, |out| {
                out.int(1, rows as i32);
                out.int(2, encoding);
                out.int(3, RLE);
                out.int(4, RLE);
            });
        })?;
        self.levels.clear();
        self.plain.clear();
        self.bits.clear();
        self.codes.clear();
        Ok(())
    }

    /// The dictionary's page if there is one, the others, and what is to be said of them.
    fn finish(mut self, start: u64) -> Result<([Vec<u8>; 2], Chunk)> {
        self.end_page()?;
        let mut first = Vec::new();
        let dictionary = self.closed.or(self.dictionary).filter(|dictionary| !dictionary.numbers.is_empty());
        if let Some(dictionary) = dictionary {
            page(&mut first, &mut self.unpacked, 2, &dictionary.bytes, |out| {
                out.inner(7, |out| {
                    out.int(1, dictionary.numbers.len() as i32);
                    out.int(2, PLAIN);
                });
            })?;
        }
        let (min, max) = self.range.bytes(self.about.kind);
        let chunk = Chunk {
            start,
            dictionary_length: first.len() as u64,
            packed: (first.len() + self.pages.len()) as u64,
            unpacked: self.unpacked,
            missing: self.missing,
            min,
            max,
        };
        Ok(([first, self.pages], chunk))
    }
}

/// Packs a page and appends it with its header, which has a checksum.
fn page(
    out: &mut Vec<u8>,
    unpacked: &mut u64,
    kind: i32,
    body: &[u8],
    about: impl FnOnce(&mut Thrift),
) -> Result<()> {
    let packed = codec::pack(body)?;
    let too_large = |_| Error::unsupported("a page exceeds 2 GiB");
    let (size, packed_size) =
        (i32::try_from(body.len()).map_err(too_large)?, i32::try_from(packed.len()).map_err(too_large)?);
    let header = Thrift::structure(|out| {
        out.int(1, kind);
        out.int(2, size);
        out.int(3, packed_size);
        out.int(4, crc32fast::hash(&packed).cast_signed());
        about(out);
    });
    *unpacked += (header.len() + body.len()) as u64;
    out.extend_from_slice(&header);
    out.extend_from_slice(&packed);
    Ok(())
}
