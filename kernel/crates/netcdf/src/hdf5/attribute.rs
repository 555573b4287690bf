//! Owns attributes (section IV.A.2.m), in headers and in heaps, and their values.

use super::{
    Hdf5,
    btree::Visit,
    datatype::{Datatype, Type, datatype},
    object::{Message, Object, kind},
};
use crate::{
    Attribute, Error, Result,
    cursor::Cursor,
    read::{Element, Kind},
};

/// An attribute as it lies in the file.
pub(crate) struct RawAttribute {
    pub(crate) name: String,
    pub(crate) datatype: Datatype,
    pub(crate) data: Vec<u8>,
    pub(crate) count: u64,
    at: u64,
}

impl Hdf5<'_> {
    /// The attributes of an object, as they were made. What is in a heap comes in no certain order, so by name.
    pub(crate) fn attributes(&self, object: &Object) -> Result<Vec<RawAttribute>> {
        let mut found = Vec::new();
        for message in object.messages.iter().filter(|message| message.kind == kind::ATTRIBUTE) {
            found.push(self.attribute(message)?);
        }
        if let Some(info) = object.first(kind::ATTRIBUTE_INFO) {
            let mut cursor = info.cursor();
            cursor.skip(1)?;
            if cursor.u8()? & 1 != 0 {
                cursor.skip(2)?;
            }
            let (heap, index) = (self.address(&mut cursor)?, self.address(&mut cursor)?);
            if let (Some(heap), Some(index)) = (heap, index) {
                let heap = self.fractal_heap(heap)?;
                let mut dense = Vec::new();
                self.btree2(index, &mut |record, at| {
                    let mut cursor = Cursor::new(record, at);
                    let id = cursor.take(heap.id_bytes())?;
                    let flags = cursor.u8()?;
                    let order = cursor.u32()?;
                    let mut data = heap.get(id)?;
                    if flags & 2 != 0 {
                        data = self.shared(&data, at, kind::ATTRIBUTE)?;
                    }
                    let message = Message { kind: kind::ATTRIBUTE, at, data };
                    dense.push((order, self.attribute(&message)?));
                    Ok(Visit::Next)
                })?;
                dense.sort_by(|(a, first), (b, second)| a.cmp(b).then_with(|| first.name.cmp(&second.name)));
                found.extend(dense.into_iter().map(|(_, attribute)| attribute));
            }
        }
        Ok(found)
    }

    fn attribute(&self, message: &Message) -> Result<RawAttribute> {
        let mut cursor = message.cursor();
        let version = cursor.u8()?;
        let flags = cursor.u8()?;
        if !(1..=3).contains(&version) {
            return Err(cursor.damaged(format!("an attribute is of version {version}, which is unknown")));
        }
        let [name, kind_bytes, space] = [cursor.u16()?, cursor.u16()?, cursor.u16()?].map(usize::from);
        if version == 3 {
            cursor.skip(1)?;
        }
        let padded = |length: usize| if version == 1 { length.next_multiple_of(8) } else { length };
        let text = cursor.take(padded(name))?;
        let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
        let name = String::from_utf8_lossy(text).into_owned();
        let kind_data = cursor.take(padded(kind_bytes))?;
        let space_data = cursor.take(padded(space))?;
        let shared = |bit: u8, data: &[u8], kind: u16| {
            if version > 1 && flags & bit != 0 {
                self.shared(data, message.at, kind)
            } else {
                Ok(data.to_vec())
            }
        };
        let kind_data = shared(1, kind_data, kind::DATATYPE)?;
        let space_data = shared(2, space_data, kind::DATASPACE)?;
        let datatype = datatype(&mut Cursor::new(&kind_data, message.at))?;
        let space = self.dataspace(&Message { kind: kind::DATASPACE, at: message.at, data: space_data })?;
        let count = if space.is_null {
            Some(0)
        } else {
            space.shape.iter().try_fold(1u64, |count, &n| count.checked_mul(n))
        };
        let count = count.ok_or_else(|| cursor.damaged("an attribute is beyond memory"))?;
        let length = count.checked_mul(datatype.size.into()).and_then(|length| usize::try_from(length).ok());
        let data = cursor.take(length.unwrap_or(usize::MAX))?.to_vec();
        Ok(RawAttribute { name, datatype, data, count, at: message.at })
    }

    /// The value; `None` if it is of a type that attributes of NetCDF do not have.
    pub(crate) fn value(&self, raw: &RawAttribute) -> Result<Option<Attribute>> {
        let Type::Plain(element) = &raw.datatype.kind else { return Ok(None) };
        if element.kind == Kind::LongText {
            if raw.datatype.size as usize != 8 + self.widths.offset {
                return Err(Error::damaged(raw.at, "text of variable length in elements of another size"));
            }
            return Ok(Some(Attribute::Text(self.text(&raw.data, raw.at)?)));
        }
        Ok(Some(plain(*element, &raw.data)))
    }

    /// For each element of an attribute that holds lists of references, the first address.
    pub(crate) fn first_references(&self, raw: &RawAttribute) -> Result<Vec<Option<u64>>> {
        let mut cursor = Cursor::new(&raw.data, raw.at);
        let mut out = Vec::new();
        match &raw.datatype.kind {
            Type::List(base) if **base == Type::Reference => {
                for _ in 0..raw.count {
                    let count = cursor.u32()?;
                    let data = self.global(&mut cursor)?.filter(|_| count > 0);
                    out.push(match data {
                        Some(data) => self.address(&mut Cursor::new(&data, raw.at))?,
                        None => None,
                    });
                }
            }
            Type::Reference => {
                for _ in 0..raw.count {
                    out.push(self.address(&mut cursor)?);
                }
            }
            _ => {}
        }
        Ok(out)
    }
}

/// Values of a type of fixed size.
pub(crate) fn plain(element: Element, data: &[u8]) -> Attribute {
    let size = element.size as usize;
    let word = |bytes: &[u8]| -> u64 {
        let fold = |n: u64, &byte: &u8| n << 8 | u64::from(byte);
        if element.big_endian { bytes.iter().fold(0, fold) } else { bytes.iter().rev().fold(0, fold) }
    };
    let words = || data.chunks_exact(size).map(word);
    match (element.kind, size) {
        (Kind::Text | Kind::LongText, _) => {
            let text = |bytes: &[u8]| {
                let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
                String::from_utf8_lossy(&bytes[..end]).into_owned()
            };
            Attribute::Text(data.chunks_exact(size).map(text).collect())
        }
        (Kind::Float, 2) => Attribute::F32(words().map(|bits| half(bits as u16)).collect()),
        (Kind::Float, 4) => Attribute::F32(words().map(|bits| f32::from_bits(bits as u32)).collect()),
        (Kind::Float, _) => Attribute::F64(words().map(f64::from_bits).collect()),
        (Kind::UInt | Kind::Bool, _) => Attribute::UInt(words().collect()),
        (Kind::Int, _) => {
            let unused = 64 - 8 * size.min(8) as u32;
            Attribute::Int(words().map(|bits| (bits << unused) as i64 >> unused).collect())
        }
    }
}

fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    sign * match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f32.powi(exponent - 15),
    }
}
