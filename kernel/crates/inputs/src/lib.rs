//! Owns bytes that are read at places: the trait [`Input`], files of the file system ([`Disk`]) and bytes in memory; and for
//! what a file says about itself a view ([`Meta`]) that keeps pages and limits how much is read in all, so that no file can
//! keep a reader busy for ever.
//!
//! Leaves to others: what the bytes mean (`netcdf`, `geotiff`), and inputs that are far away (`storage`).

#![forbid(unsafe_code)]

mod disk;
mod meta;
mod reads;

use std::{io, ops::Range};

pub use disk::Disk;
pub use meta::Meta;
pub use reads::Reads;

/// Why bytes could not be had; what cannot be true of any file among them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("at byte {at}: {message}; the file is truncated or damaged")]
    Damaged { at: u64, message: String },
}

impl Error {
    fn damaged(at: u64, message: impl Into<String>) -> Self {
        Self::Damaged { at, message: message.into() }
    }
}

/// Bytes that can be read at any place, by several threads at once.
pub trait Input: Send + Sync {
    /// Bytes in all.
    fn length(&self) -> u64;

    /// Fills `out` from `offset` on.
    ///
    /// # Errors
    /// What the system says; `UnexpectedEof` past the end.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Whether each answer is waited for so long that it pays to say beforehand what will be read.
    fn is_far(&self) -> bool {
        false
    }

    /// Begins to read places, which will be read in this order; `None` where nothing is gained by it.
    fn ahead(&self, _places: &[Range<u64>]) -> Option<Box<dyn Ahead + '_>> {
        None
    }
}

/// Bytes that are on their way before they are read.
pub trait Ahead {
    /// As [`Input::read_at`]; quick for places that were said beforehand, in their order.
    ///
    /// # Errors
    /// As [`Input::read_at`].
    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()>;
}

impl Input for Vec<u8> {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).ok().and_then(|at| self.get(at..)?.get(..out.len()));
        out.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}
