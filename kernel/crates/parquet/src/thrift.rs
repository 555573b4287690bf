//! Owns Thrift's compact protocol, in which footers and page headers are written: as much of it as Parquet needs.

use crate::{Result, error::Error};

/// Structures may lie in one another so deep; Parquet's own need 6.
const DEPTH_MAX: u32 = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    True,
    False,
    Byte,
    Short,
    Int,
    Long,
    Double,
    Binary,
    List,
    Map,
    Struct,
}

impl Type {
    fn of(code: u8) -> Result<Self> {
        Ok(match code {
            1 => Type::True,
            2 => Type::False,
            3 => Type::Byte,
            4 => Type::Short,
            5 => Type::Int,
            6 => Type::Long,
            7 => Type::Double,
            8 => Type::Binary,
            // Sets are written as lists are.
            9 | 10 => Type::List,
            11 => Type::Map,
            12 => Type::Struct,
            code => return Err(Error::damaged(format!("a header has a field of the unknown type {code}"))),
        })
    }
}

fn ended() -> Error {
    Error::damaged("a header ends too early")
}

fn other(wanted: &str, found: Type) -> Error {
    Error::damaged(format!("a header has a field of type {found:?} where one of {wanted} is expected"))
}

/// Bytes from the front to the back.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u32,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0, depth: 0 }
    }

    /// How many bytes were read.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(count).ok_or_else(ended)?;
        let taken = self.bytes.get(self.at..end).ok_or_else(ended)?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        let byte = *self.bytes.get(self.at).ok_or_else(ended)?;
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64> {
        let (value, length) = varint(&self.bytes[self.at..]).ok_or_else(ended)?;
        self.at += length;
        Ok(value)
    }

    /// Reads a structure: `field` gets each field's number and type, and has to read it or [`skip`](Self::skip) it.
    pub(crate) fn structure(
        &mut self,
        field: &mut dyn FnMut(&mut Self, i16, Type) -> Result<()>,
    ) -> Result<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Error::damaged("a header's structures lie in one another without end"));
        }
        let mut id = 0_i16;
        loop {
            let head = self.byte()?;
            if head == 0 {
                break;
            }
            let kind = Type::of(head & 15)?;
            id = match head >> 4 {
                0 => i16::try_from(zigzag(self.varint()?)).map_err(|_| ended())?,
                step => {
                    id.checked_add(i16::from(step)).ok_or_else(|| Error::damaged("fields have no numbers"))?
                }
            };
            field(self, id, kind)?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// A structure in a field.
    pub(crate) fn inner(
        &mut self,
        kind: Type,
        field: &mut dyn FnMut(&mut Self, i16, Type) -> Result<()>,
    ) -> Result<()> {
        if kind != Type::Struct {
            return Err(other("a structure", kind));
        }
        self.structure(field)
    }

    /// A list; `element` reads one.
    pub(crate) fn list(
        &mut self,
        kind: Type,
        element: &mut dyn FnMut(&mut Self, Type) -> Result<()>,
    ) -> Result<()> {
        if kind != Type::List {
            return Err(other("a list", kind));
        }
        let head = self.byte()?;
        let inner = Type::of(head & 15)?;
        let count = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
        // Every element takes a byte at least.
        if count > (self.bytes.len() - self.at) as u64 {
            return Err(ended());
        }
        (0..count).try_for_each(|_| element(self, inner))
    }

    pub(crate) fn long(&mut self, kind: Type) -> Result<i64> {
        match kind {
            Type::Short | Type::Int | Type::Long => Ok(zigzag(self.varint()?)),
            Type::Byte => Ok(i64::from(self.byte()?.cast_signed())),
            kind => Err(other("an integer", kind)),
        }
    }

    pub(crate) fn int(&mut self, kind: Type) -> Result<i32> {
        let value = self.long(kind)?;
        i32::try_from(value)
            .map_err(|_| Error::damaged(format!("a header has {value} where 32 bits are expected")))
    }

    /// A truth of a field; its type is its value.
    pub(crate) fn truth(&mut self, kind: Type) -> Result<bool> {
        match kind {
            Type::True => Ok(true),
            Type::False => Ok(false),
            kind => Err(other("a truth", kind)),
        }
    }

    pub(crate) fn binary(&mut self, kind: Type) -> Result<&'a [u8]> {
        if kind != Type::Binary {
            return Err(other("bytes", kind));
        }
        let length = usize::try_from(self.varint()?).map_err(|_| ended())?;
        self.take(length)
    }

    pub(crate) fn text(&mut self, kind: Type) -> Result<String> {
        let bytes = self.binary(kind)?;
        String::from_utf8(bytes.to_vec())
            .map_err(|_| Error::damaged(format!("a name of a header is no text: {bytes:02x?}")))
    }

    /// Reads past a field.
    pub(crate) fn skip(&mut self, kind: Type) -> Result<()> {
        match kind {
            Type::True | Type::False => Ok(()),
            Type::Byte => self.take(1).map(drop),
            Type::Short | Type::Int | Type::Long => self.varint().map(drop),
            Type::Double => self.take(8).map(drop),
            Type::Binary => self.binary(kind).map(drop),
            Type::Struct => self.structure(&mut |reader, _, kind| reader.skip(kind)),
            Type::List => self.list(kind, &mut |reader, kind| reader.skip_element(kind)),
            Type::Map => {
                let count = self.varint()?;
                if count == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                let (key, value) = (Type::of(kinds >> 4)?, Type::of(kinds & 15)?);
                for _ in 0..count {
                    self.skip_element(key)?;
                    self.skip_element(value)?;
                }
                Ok(())
            }
        }
    }

    fn skip_element(&mut self, kind: Type) -> Result<()> {
        match kind {
            // In a list a truth is a byte.
            Type::True | Type::False => self.take(1).map(drop),
            Type::List | Type::Map => {
                // Lists of lists go through here, not through `structure`.
                self.depth += 1;
                if self.depth > DEPTH_MAX {
                    return Err(Error::damaged("a header's lists lie in one another without end"));
                }
                self.skip(kind)?;
                self.depth -= 1;
                Ok(())
            }
            kind => self.skip(kind),
        }
    }
}

/// A signed number as [`varint`] has it.
pub(crate) fn zigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// A number of 7 bits a byte from the front, and how many bytes it took; `None` if it does not end, or not within 64 bits.
pub(crate) fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().enumerate().take(10) {
        let bits = u64::from(byte & 127);
        if index == 9 && bits > 1 {
            return None;
        }
        value |= bits << (7 * index);
        if byte < 128 {
            return Some((value, index + 1));
        }
    }
    None
}

/// Appends what [`varint`] reads.
pub(crate) fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 128 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A structure being written; fields come in ascending order.
#[derive(Default)]
pub(crate) struct Writer {
    out: Vec<u8>,
    last: Vec<i16>,
}

impl Writer {
    /// Writes one structure.
    pub(crate) fn structure(fields: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer { out: Vec::new(), last: vec![0] };
        fields(&mut writer);
        writer.out.push(0);
        writer.out
    }

    fn field(&mut self, id: i16, code: u8) {
        let last = self.last.last_mut().map_or(0, |last| std::mem::replace(last, id));
        match id - last {
            step @ 1..=15 => self.out.push((step as u8) << 4 | code),
            _ => {
                self.out.push(code);
                self.zigzag(i64::from(id));
            }
        }
    }

    fn zigzag(&mut self, value: i64) {
        write_varint((value << 1 ^ value >> 63).cast_unsigned(), &mut self.out);
    }

    pub(crate) fn int(&mut self, id: i16, value: i32) {
        self.field(id, 5);
        self.zigzag(i64::from(value));
    }

    pub(crate) fn long(&mut self, id: i16, value: i64) {
        self.field(id, 6);
        self.zigzag(value);
    }

    pub(crate) fn truth(&mut self, id: i16, value: bool) {
        self.field(id, if value { 1 } else { 2 });
    }

    pub(crate) fn binary(&mut self, id: i16, value: &[u8]) {
        self.field(id, 8);
        self.bytes(value);
    }

    fn bytes(&mut self, value: &[u8]) {
        write_varint(value.len() as u64, &mut self.out);
        self.out.extend_from_slice(value);
    }

    pub(crate) fn inner(&mut self, id: i16, fields: impl FnOnce(&mut Writer)) {
        self.field(id, 12);
        self.element(fields);
    }

    fn element(&mut self, fields: impl FnOnce(&mut Writer)) {
        self.last.push(0);
        fields(self);
        self.last.pop();
        self.out.push(0);
    }

    fn list_head(&mut self, id: i16, code: u8, count: usize) {
        self.field(id, 9);
        if count < 15 {
            self.out.push((count as u8) << 4 | code);
        } else {
            self.out.push(15 << 4 | code);
            write_varint(count as u64, &mut self.out);
        }
    }

    /// A list of structures.
    pub(crate) fn structures<T>(
        &mut self,
        id: i16,
        items: impl ExactSizeIterator<Item = T>,
        mut fields: impl FnMut(&mut Writer, T),
    ) {
        self.list_head(id, 12, items.len());
        items.for_each(|item| self.element(|writer| fields(writer, item)));
    }

    pub(crate) fn ints(&mut self, id: i16, values: &[i32]) {
        self.list_head(id, 5, values.len());
        values.iter().for_each(|&value| self.zigzag(i64::from(value)));
    }

    pub(crate) fn texts(&mut self, id: i16, values: &[&str]) {
        self.list_head(id, 8, values.len());
        values.iter().for_each(|value| self.bytes(value.as_bytes()));
    }
}
