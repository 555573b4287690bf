//! Owns files of NetCDF4 and HDF5 ([`hdf5`]) and of NetCDF3 ([`classic`]) as bytes: what one group holds ([`open`]), where
//! the elements of a variable lie ([`Placement`]), and reading a box of them ([`Reader`]), all with positioned reads and no
//! C library. [`NewGroup`] writes what a new NetCDF4 file says about itself, around chunks that are in it already.
//!
//! Leaves to others: what attributes mean (`storage`'s CF decoding), when what is read, and on which machine.
//!
//! Nothing here trusts a file: lengths are compared with the file's before memory is asked for, what points in circles is
//! an error, and what a whole opening may read is limited (`inputs`).

#![forbid(unsafe_code)]

mod attribute;
mod classic;
mod cursor;
mod error;
mod filter;
mod hdf5;
mod read;
mod scratch;

pub use attribute::Attribute;
pub use error::Error;
pub use filter::{Filter, deflated, unshuffle};
pub use hdf5::{
    ChunkIndex,
    write::{Data, ELEMENTS_FROM, NewGroup, NewLayout, NewVariable, StoredChunk, Value},
};
pub use nuna_inputs::Input;
pub use read::{ChunkPlace, Element, Kind, Layout, Placement, Reader};

/// What can go wrong in a file.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kinds of files, told apart by their first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// NetCDF4 files are HDF5 files.
    Hdf5,
    /// NetCDF3: classic, with 64-bit offsets, or with 64-bit data.
    Classic,
}

/// One group of a file: what it says about itself, no elements.
#[derive(Clone, Debug)]
pub struct Group {
    pub format: Format,
    pub attributes: Vec<(String, Attribute)>,
    pub variables: Vec<Variable>,
    /// Names of the groups in it.
    pub groups: Vec<String>,
    /// What cannot be read, and why.
    pub skipped: Vec<(String, String)>,
}

/// A variable of a group.
#[derive(Clone, Debug)]
pub struct Variable {
    pub name: String,
    pub dims: Vec<String>,
    pub attributes: Vec<(String, Attribute)>,
    pub placement: Placement,
}

/// What the first bytes of a file say it is; `None` for anything else.
///
/// # Errors
/// If it cannot be read.
pub fn format(input: &dyn Input) -> Result<Option<Format>> {
    if hdf5::find_signature(input)?.is_some() {
        return Ok(Some(Format::Hdf5));
    }
    Ok(classic::version(input)?.map(|_| Format::Classic))
}

/// Reads what the group at `path` (`""` or `"/"`: the root) says about itself.
///
/// # Errors
/// [`Error::NotNetcdf`] for another kind of file, [`Error::NoGroup`], and [`Error::Damaged`] with the place.
pub fn open(input: &dyn Input, path: &str) -> Result<Group> {
    match format(input)? {
        Some(Format::Hdf5) => hdf5::open(input, path),
        Some(Format::Classic) => classic::open(input, path),
        None => {
            let mut first = vec![0; usize::try_from(input.length().min(8)).unwrap_or(8)];
            input.read_at(0, &mut first)?;
            Err(Error::NotNetcdf { first })
        }
    }
}
