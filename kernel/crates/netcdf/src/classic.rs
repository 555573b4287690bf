//! Owns NetCDF3 files (NetCDF's file format specification, "The NetCDF Classic Format", and CDF-5's): the header. All
//! numbers are big-endian; record variables lie interleaved.

use crate::{
    Attribute, Error, Format, Group, Input, Layout, Placement, Result, Variable, cursor,
    hdf5::plain,
    read::{Element, Kind},
};

/// 1: classic, 2: 64-bit offsets, 5: 64-bit data.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn version(input: &dyn Input) -> Result<Option<u8>> {
    let mut first = [0; 4];
    if input.length() < 4 {
        return Ok(None);
    }
    input.read_at(0, &mut first)?;
    Ok(match first {
        [b'C', b'D', b'F', version @ (1 | 2 | 5)] => Some(version),
        _ => None,
    })
}

const DIMENSIONS: u32 = 10;
const VARIABLES: u32 = 11;
const ATTRIBUTES: u32 = 12;
/// Names are short in every library.
const NAME_MAX: u64 = 1 << 16;
/// Axes of a variable.
const RANK_MAX: u64 = 1024;

struct Header<'a> {
    meta: nuna_inputs::Meta<'a>,
    at: u64,
    version: u8,
}

struct Found {
    name: String,
    ids: Vec<u64>,
    attributes: Vec<(String, Attribute)>,
    element: Element,
    begin: u64,
}

pub(crate) fn open(input: &dyn Input, path: &str) -> Result<Group> {
    if path.split('/').any(|name| !name.is_empty()) {
        return Err(Error::NoGroup { group: path.to_owned(), have: Vec::new() });
    }
    let version = version(input)?.ok_or_else(|| Error::damaged(0, "there is no NetCDF3 signature"))?;
    let mut header = Header { meta: cursor::meta(input), at: 4, version };
    let streaming = if version == 5 { u64::MAX } else { u64::from(u32::MAX) };
    let records = header.count()?;
    let dims = header.dims()?;
    let attributes = header.attributes()?;
    let found = header.variables()?;
    let mut group = Group {
        format: Format::Classic,
        attributes,
        variables: Vec::new(),
        groups: Vec::new(),
        skipped: Vec::new(),
    };
    let is_record = |ids: &[u64]| {
        let first = ids.first().and_then(|&id| dims.get(usize::try_from(id).ok()?));
        first.is_some_and(|(_, length)| *length == 0)
    };
    // Bytes of one record of a variable.
    let row = |found: &Found| -> Option<u64> {
        found.ids.iter().skip(1).try_fold(u64::from(found.element.size), |bytes, &id| {
            bytes.checked_mul(dims.get(usize::try_from(id).ok()?)?.1)
        })
    };
    let in_records: Vec<&Found> = found.iter().filter(|found| is_record(&found.ids)).collect();
    // One record variable alone is not padded.
    let padded =
        |bytes: u64| if in_records.len() == 1 { Some(bytes) } else { bytes.checked_next_multiple_of(4) };
    let stride = in_records
        .iter()
        .try_fold(0u64, |sum, found| sum.checked_add(padded(row(found)?)?))
        .ok_or_else(|| Error::damaged(4, "records are beyond any file"))?;
    let records = if records == streaming {
        let first = in_records.iter().map(|found| found.begin).min().unwrap_or(0);
        input.length().saturating_sub(first).checked_div(stride).unwrap_or(0)
    } else {
        records
    };
    for found in &found {
        let mut names = Vec::new();
        let mut shape = Vec::new();
        for (axis, &id) in found.ids.iter().enumerate() {
            let dim = usize::try_from(id).ok().and_then(|id| dims.get(id));
            let Some((name, length)) = dim else {
                return Err(Error::damaged(
                    4,
                    format!("`{}` has dimension {id}, of {}", found.name, dims.len()),
                ));
            };
            let is_record = *length == 0 && axis == 0;
            names.push(name.clone());
            shape.push(if is_record { records } else { *length });
        }
        let layout = if is_record(&found.ids) {
            Layout::Records { address: found.begin, stride }
        } else {
            Layout::Contiguous { address: found.begin }
        };
        let fill = default_fill(found.element);
        let placement =
            Placement { element: found.element, stored_shape: shape.clone(), shape, fill, layout };
        match placement.check() {
            Ok(()) => group.variables.push(Variable {
                name: found.name.clone(),
                dims: names,
                attributes: found.attributes.clone(),
                placement,
            }),
            Err(error) => group.skipped.push((found.name.clone(), error.to_string())),
        }
    }
    Ok(group)
}

/// Nothing is missing in these files, so it is never seen.
fn default_fill(element: Element) -> Vec<u8> {
    vec![0; element.size as usize]
}

impl Header<'_> {
    fn number(&mut self, bytes: u64) -> Result<u64> {
        let found = self.meta.bytes(self.at, bytes)?;
        self.at += bytes;
        Ok(found.iter().fold(0, |n, &byte| n << 8 | u64::from(byte)))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(self.number(4)? as u32)
    }

    /// A number that is never negative: lengths and counts.
    fn count(&mut self) -> Result<u64> {
        self.number(if self.version == 5 { 8 } else { 4 })
    }

    /// How many entries a list has, which starts with its tag.
    fn list(&mut self, tag: u32) -> Result<u64> {
        let (found, count) = (self.u32()?, self.count()?);
        if found != tag && (found != 0 || count != 0) {
            return Err(Error::damaged(
                self.at,
                format!("a list of kind {tag} is expected here, found {found}"),
            ));
        }
        // Every entry takes at least eight bytes.
        if count > self.meta.length() / 8 {
            return Err(Error::damaged(
                self.at,
                format!("a list of {count} entries is longer than the file"),
            ));
        }
        Ok(count)
    }

    fn padded(&mut self, length: u64) -> Result<Vec<u8>> {
        let bytes = self.meta.bytes(self.at, length)?;
        self.at = (self.at + length).next_multiple_of(4);
        Ok(bytes)
    }

    fn name(&mut self) -> Result<String> {
        let length = self.count()?;
        if length > NAME_MAX {
            return Err(Error::damaged(self.at, format!("a name of {length} bytes")));
        }
        let bytes = self.padded(length)?;
        // The library ends names where C does.
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }

    fn dims(&mut self) -> Result<Vec<(String, u64)>> {
        let mut dims = Vec::new();
        for _ in 0..self.list(DIMENSIONS)? {
            dims.push((self.name()?, self.count()?));
        }
        Ok(dims)
    }

    fn element(&mut self) -> Result<Element> {
        let (kind, size) = match self.u32()? {
            1 => (Kind::Int, 1),
            2 => (Kind::Text, 1),
            3 => (Kind::Int, 2),
            4 => (Kind::Int, 4),
            5 => (Kind::Float, 4),
            6 => (Kind::Float, 8),
            7 => (Kind::UInt, 1),
            8 => (Kind::UInt, 2),
            9 => (Kind::UInt, 4),
            10 => (Kind::Int, 8),
            11 => (Kind::UInt, 8),
            other => {
                return Err(Error::damaged(self.at, format!("a type of number {other}, which is unknown")));
            }
        };
        Ok(Element { kind, size, big_endian: true })
    }

    fn attributes(&mut self) -> Result<Vec<(String, Attribute)>> {
        let mut attributes = Vec::new();
        for _ in 0..self.list(ATTRIBUTES)? {
            let name = self.name()?;
            let element = self.element()?;
            let count = self.count()?;
            let length = count.checked_mul(element.size.into());
            let bytes = self.padded(length.unwrap_or(u64::MAX))?;
            let value = if element.kind == Kind::Text {
                let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
                Attribute::Text(vec![String::from_utf8_lossy(&bytes[..end]).into_owned()])
            } else {
                plain(element, &bytes)
            };
            attributes.push((name, value));
        }
        Ok(attributes)
    }

    fn variables(&mut self) -> Result<Vec<Found>> {
        let mut variables = Vec::new();
        for _ in 0..self.list(VARIABLES)? {
            let name = self.name()?;
            let rank = self.count()?;
            if rank > RANK_MAX {
                return Err(Error::damaged(self.at, format!("`{name}` has {rank} axes")));
            }
            let mut ids = Vec::new();
            for _ in 0..rank {
                ids.push(self.count()?);
            }
            let attributes = self.attributes()?;
            let element = self.element()?;
            // Its size, which is too small a number for large variables, follows from the rest.
            self.count()?;
            let begin = self.number(if self.version == 1 { 4 } else { 8 })?;
            variables.push(Found { name, ids, attributes, element, begin });
        }
        Ok(variables)
    }
}
