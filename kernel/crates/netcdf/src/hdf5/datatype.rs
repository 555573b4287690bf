//! Owns datatypes (section IV.A.2.d): as much of them as variables and attributes of NetCDF use.

use crate::{
    Error, Result,
    cursor::Cursor,
    read::{Element, Kind},
};

/// A type of elements.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Type {
    Plain(Element),
    /// Addresses of objects.
    Reference,
    /// Lists of the type, in the global heap.
    List(Box<Type>),
    /// What cannot be read, in words.
    Other(String),
}

/// A type, and the bytes of one element of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Datatype {
    pub(crate) kind: Type,
    pub(crate) size: u32,
}

/// Types within types.
const DEPTH_MAX: u32 = 8;

pub(crate) fn datatype(cursor: &mut Cursor<'_>) -> Result<Datatype> {
    nested(cursor, 0)
}

fn nested(cursor: &mut Cursor<'_>, depth: u32) -> Result<Datatype> {
    if depth > DEPTH_MAX {
        return Err(cursor.damaged("datatypes are nested too deeply"));
    }
    let first = cursor.u8()?;
    let (class, version) = (first & 15, first >> 4);
    let bits = cursor.uint(3)?;
    let size = cursor.u32()?;
    if size == 0 {
        return Err(cursor.damaged("a datatype has no size"));
    }
    let plain = |kind, big_endian| Type::Plain(Element { kind, size, big_endian });
    let big = bits & 1 != 0;
    let kind = match class {
        0 => {
            let (offset, precision) = (cursor.u16()?, cursor.u16()?);
            let kind = if bits & 8 != 0 { Kind::Int } else { Kind::UInt };
            if [1, 2, 4, 8].contains(&size) && offset == 0 && u32::from(precision) == 8 * size {
                plain(kind, big)
            } else {
                Type::Other(format!("integers of {precision} bits in {size} bytes"))
            }
        }
        1 => {
            let (offset, precision) = (cursor.u16()?, cursor.u16()?);
            let (exponent_at, exponent, mantissa_at, mantissa) =
                (cursor.u8()?, cursor.u8()?, cursor.u8()?, cursor.u8()?);
            let bias = cursor.u32()?;
            let ieee = match size {
                2 => (10, 5, 0, 10, 15),
                4 => (23, 8, 0, 23, 127),
                _ => (52, 11, 0, 52, 1023),
            };
            let order_known = bits & 0x40 == 0;
            if [2, 4, 8].contains(&size)
                && order_known
                && offset == 0
                && u32::from(precision) == 8 * size
                && (exponent_at, exponent, mantissa_at, mantissa, bias) == ieee
            {
                plain(Kind::Float, big)
            } else {
                Type::Other(format!(
                    "floating-point numbers of {precision} bits in {size} bytes that are not IEEE's"
                ))
            }
        }
        3 => plain(Kind::Text, false),
        7 if bits & 15 == 0 => Type::Reference,
        7 => Type::Other("references to parts of datasets".to_owned()),
        8 => {
            let base = nested(cursor, depth + 1)?;
            let names = names(cursor, version, (bits & 0xffff) as usize)?;
            match base.kind {
                Type::Plain(element) if names == ["FALSE", "TRUE"] && element.size == 1 => {
                    plain(Kind::Bool, false)
                }
                Type::Plain(element) => Type::Plain(element),
                _ => Type::Other("an enumeration of something other than integers".to_owned()),
            }
        }
        9 => {
            let base = nested(cursor, depth + 1)?;
            if bits & 15 == 1 { plain(Kind::LongText, false) } else { Type::List(Box::new(base.kind)) }
        }
        2 => Type::Other("times".to_owned()),
        4 => Type::Other("bit fields".to_owned()),
        5 => Type::Other("opaque bytes".to_owned()),
        6 => Type::Other("records (a compound type)".to_owned()),
        10 => Type::Other("arrays in each element".to_owned()),
        _ => return Err(Error::Unsupported(format!("its datatype is of class {class}, which is unknown"))),
    };
    Ok(Datatype { kind, size })
}

/// The first names of an enumeration.
fn names(cursor: &mut Cursor<'_>, version: u8, count: usize) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for _ in 0..count.min(3) {
        let rest = cursor.rest();
        let length =
            rest.iter().position(|&byte| byte == 0).ok_or_else(|| cursor.damaged("a name has no end"))?;
        names.push(String::from_utf8_lossy(&rest[..length]).into_owned());
        let taken = if version < 3 { (length + 1).next_multiple_of(8) } else { length + 1 };
        cursor.skip(taken)?;
    }
    Ok(names)
}
