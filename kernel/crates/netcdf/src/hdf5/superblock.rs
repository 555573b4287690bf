//! Owns the superblock (section II.A): finding it, the widths of numbers, the root group.

use super::{Hdf5, Widths, address, checksum};
use crate::{
    Error, Input, Result,
    cursor::{self, Cursor},
};

const SIGNATURE: [u8; 8] = *b"\x89HDF\r\n\x1a\n";

/// Where the signature is: at 0, or after a user's block of 512 bytes or a power of two times that.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn find_signature(input: &dyn Input) -> Result<Option<u64>> {
    let mut at = 0u64;
    while at.checked_add(8).is_some_and(|end| end <= input.length()) {
        let mut found = [0; 8];
        input.read_at(at, &mut found)?;
        if found == SIGNATURE {
            return Ok(Some(at));
        }
        at = if at == 0 { 512 } else { at * 2 };
        if at > 1 << 30 {
            break;
        }
    }
    Ok(None)
}

impl<'a> Hdf5<'a> {
    pub(crate) fn open(input: &'a dyn Input) -> Result<Self> {
        let start = find_signature(input)?.ok_or_else(|| Error::damaged(0, "there is no HDF5 signature"))?;
        let meta = cursor::meta(input);
        let bytes = meta.bytes(start, 128.min(meta.length() - start))?;
        let mut cursor = Cursor::new(&bytes, start);
        cursor.skip(8)?;
        let version = cursor.u8()?;
        let (widths, base, end, root);
        match version {
            0 | 1 => {
                cursor.skip(4)?;
                widths = width_pair(&mut cursor)?;
                // Reserved, leaf and internal sizes, flags; version 1 has two more.
                cursor.skip(1 + 4 + 4 + if version == 1 { 4 } else { 0 })?;
                base = address(&mut cursor, widths)?.unwrap_or(0);
                address(&mut cursor, widths)?;
                end = address(&mut cursor, widths)?;
                address(&mut cursor, widths)?;
                cursor.uint(widths.offset)?;
                root = address(&mut cursor, widths)?;
            }
            2 | 3 => {
                widths = width_pair(&mut cursor)?;
                cursor.skip(1)?;
                base = address(&mut cursor, widths)?.unwrap_or(0);
                address(&mut cursor, widths)?;
                end = address(&mut cursor, widths)?;
                root = address(&mut cursor, widths)?;
                let length = 12 + 4 * widths.offset + 4;
                checksum::verified(&bytes[..length.min(bytes.len())], start, "the superblock")?;
            }
            other => {
                return Err(Error::Unsupported(format!(
                    "its HDF5 superblock is of version {other}, which is unknown"
                )));
            }
        }
        if let Some(end) = end.map(|end| end.saturating_sub(base).saturating_add(start))
            && end > input.length()
        {
            let message = format!("the file should be {end} bytes long, but has {}", input.length());
            return Err(Error::damaged(input.length(), message));
        }
        // As the C library has it: addresses count from the signature, wherever the file has been moved.
        let meta = meta.from(start);
        let root = root.ok_or_else(|| Error::damaged(start, "there is no root group"))?;
        Ok(Self { meta, widths, root, collections: Default::default() })
    }
}

fn width_pair(cursor: &mut Cursor<'_>) -> Result<Widths> {
    let (offset, length) = (cursor.u8()?, cursor.u8()?);
    if ![2, 4, 8].contains(&offset) || ![2, 4, 8].contains(&length) {
        let message = format!("addresses of {offset} bytes and lengths of {length} bytes are not supported");
        return Err(cursor.damaged(message));
    }
    Ok(Widths { offset: offset.into(), length: length.into() })
}
