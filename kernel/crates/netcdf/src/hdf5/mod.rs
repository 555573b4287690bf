//! Owns HDF5 files (the HDF Group's file format specification, version 3.0, whose sections are named in each file) and how
//! NetCDF4 uses them.
//!
//! `superblock` finds the file, `object` reads headers, `message` and `datatype` what is in them, `heap` and `btree` the
//! structures behind, `group` names, `attribute` values, `chunks` where chunks lie, `netcdf4` dimensions. `write` makes new files.

mod attribute;
mod btree;
mod checksum;
mod chunks;
mod datatype;
mod group;
mod heap;
mod message;
mod netcdf4;
mod object;
mod superblock;
pub(crate) mod write;

use crate::{Result, cursor::Cursor};

pub(crate) use attribute::plain;
pub use chunks::ChunkIndex;
pub(crate) use chunks::{Located, locate};
pub(crate) use heap::long_text;
pub(crate) use netcdf4::open;
pub(crate) use superblock::find_signature;

/// Bytes of an address and of a length in this file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Widths {
    pub(crate) offset: usize,
    pub(crate) length: usize,
}

/// An open file's metadata.
pub(crate) struct Hdf5<'a> {
    pub(crate) meta: nuna_inputs::Meta<'a>,
    pub(crate) widths: Widths,
    pub(crate) root: u64,
    /// Collections of the global heap that were read already.
    pub(crate) collections: std::cell::RefCell<heap::Collections>,
}

impl Hdf5<'_> {
    /// An address; `None` where there is nothing.
    pub(crate) fn address(&self, cursor: &mut Cursor<'_>) -> Result<Option<u64>> {
        address(cursor, self.widths)
    }

    pub(crate) fn length(&self, cursor: &mut Cursor<'_>) -> Result<u64> {
        cursor.uint(self.widths.length)
    }
}

pub(crate) fn address(cursor: &mut Cursor<'_>, widths: Widths) -> Result<Option<u64>> {
    let found = cursor.uint(widths.offset)?;
    let none = if widths.offset >= 8 { u64::MAX } else { (1 << (8 * widths.offset)) - 1 };
    Ok((found != none).then_some(found))
}
