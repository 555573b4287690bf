//! Owns files as they are opened, here or far away, what they are by their first bytes, and opening the same ones again.

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use nuna_inputs::{Ahead, Disk, Input};
use nuna_remote::{RemoteError, Version};
use serde::{Deserialize, Serialize};

use crate::{error::StorageError, kept::Kept, metadata::existing, object::Object, place};

/// What a file was when it was opened; another one would be read as garbage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Stamp {
    /// Bytes, and nanoseconds since 1970.
    Here { length: u64, modified: i128 },
    /// Bytes, and what the server calls its state.
    Far { length: u64, tag: Option<String> },
}

/// Bytes of a file, wherever it is.
#[derive(Debug)]
pub(crate) enum File {
    Here(Disk),
    Far(Arc<Object>),
}

/// A file that is open: where it is, as workers find it, and its bytes.
#[derive(Debug)]
pub struct OpenFile {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
}

/// What a file is by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// NetCDF3, NetCDF4 or HDF5.
    Netcdf,
    Tiff,
    Other,
}

/// Files that are far and open, so that what is kept of them is used by all that read them.
static OBJECTS: Kept<(PathBuf, Stamp), Object> = Kept::new(1024, usize::MAX, |_| 0);

impl OpenFile {
    /// Opens a file: a path, or an address that `remote` reads.
    ///
    /// # Errors
    /// If there is no such file, or its server sends no parts of it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StorageError> {
        let path = path.as_ref();
        if let Some(location) = place::location(path)? {
            let whole = PathBuf::from(location.to_text());
            let Some(object) = Object::open(location)? else {
                let hint = "there is nothing at this address; check the spelling".to_owned();
                return Err(StorageError::NotFound { path: place::shown(&whole), hint });
            };
            let file = File::Far(Arc::new(object));
            if let File::Far(object) = &file {
                OBJECTS.put((whole.clone(), file.stamp()), object);
            }
            return Ok(Self { path: whole, file });
        }
        let path = existing(path)?;
        let failed = |message: String| StorageError::File { path: path.clone(), message };
        if path.is_dir() {
            return Err(failed("it is a folder, not a file (`open_zarr` opens Zarr stores)".to_owned()));
        }
        let disk = Disk::open(&path).map_err(|error| failed(error.to_string()))?;
        Ok(Self { path, file: File::Here(disk) })
    }

    /// Opens what lies at `path` if it is one file of elements; `None` for folders, addresses of stores, and JSON.
    ///
    /// # Errors
    /// As [`OpenFile::open`], but for what may be a store at an address.
    pub fn find(path: impl AsRef<Path>) -> Result<Option<Self>, StorageError> {
        let path = path.as_ref();
        let shown = place::shown(path).to_string_lossy().trim_end_matches("?…").to_lowercase();
        let ends = |ends: &[&str]| ends.iter().any(|end| shown.ends_with(end));
        if ends(&[".json"]) {
            return Ok(None);
        }
        if !place::is_remote(path) {
            return if path.is_file() { Self::open(path).map(Some) } else { Ok(None) };
        }
        if ends(&[".zarr", "/"]) {
            return Ok(None);
        }
        match Self::open(path) {
            Ok(open) if open.kind()? != FileKind::Other => Ok(Some(open)),
            Err(error) if ends(&[".nc", ".nc4", ".h5", ".hdf5", ".tif", ".tiff"]) => Err(error),
            // A folder of a bucket is nothing by itself, and web servers say what they like.
            Ok(_)
            | Err(
                StorageError::NotFound { .. }
                | StorageError::Remote(
                    RemoteError::NoRanges { .. } | RemoteError::Status { .. } | RemoteError::Answer { .. },
                ),
            ) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What it is by its first bytes.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn kind(&self) -> Result<FileKind, StorageError> {
        let failed = |message: String| StorageError::File { path: place::shown(&self.path), message };
        if nuna_geotiff::is_tiff(&self.file).map_err(|error| failed(error.to_string()))? {
            return Ok(FileKind::Tiff);
        }
        let found = nuna_netcdf::format(&self.file).map_err(|error| failed(error.to_string()))?;
        Ok(if found.is_some() { FileKind::Netcdf } else { FileKind::Other })
    }
}

impl File {
    /// Opens a file that was opened before; `None` if it is another one now. One that is far is compared when it is read.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn again(path: &Path, stamp: &Stamp) -> io::Result<Option<Self>> {
        let (length, tag) = match stamp {
            Stamp::Here { .. } => {
                let file = Self::Here(Disk::open(path)?);
                return Ok((file.stamp() == *stamp).then_some(file));
            }
            Stamp::Far { length, tag } => (*length, tag.clone()),
        };
        let location = place::location(path).map_err(io::Error::other)?;
        let location = location.ok_or_else(|| io::Error::other("it is no address"))?;
        let make = || Object::at(location, Version { length, tag });
        Ok(Some(Self::Far(OBJECTS.get_or_put((path.to_owned(), stamp.clone()), make))))
    }

    pub(crate) fn stamp(&self) -> Stamp {
        match self {
            Self::Here(disk) => Stamp::Here { length: disk.length(), modified: disk.modified() },
            Self::Far(object) => {
                let Version { length, tag } = object.version();
                Stamp::Far { length: *length, tag: tag.clone() }
            }
        }
    }

    /// Whether it is as it was when it was opened, as far as is known without asking for it.
    pub(crate) fn is_unchanged(&self) -> bool {
        match self {
            Self::Here(disk) => disk.is_unchanged(),
            Self::Far(_) => true,
        }
    }
}

impl Input for File {
    fn length(&self) -> u64 {
        match self {
            Self::Here(disk) => disk.length(),
            Self::Far(object) => object.length(),
        }
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Here(disk) => disk.read_at(offset, out),
            Self::Far(object) => object.read_at(offset, out),
        }
    }

    fn is_far(&self) -> bool {
        matches!(self, Self::Far(_))
    }

    fn ahead(&self, places: &[Range<u64>]) -> Option<Box<dyn Ahead + '_>> {
        match self {
            Self::Here(disk) => disk.ahead(places),
            Self::Far(object) => object.ahead(places),
        }
    }
}

/// A variable's file that could not be read.
pub(crate) fn unread(variable: &str, file: &Path, error: &io::Error) -> StorageError {
    let variable = variable.to_owned();
    match error.get_ref().and_then(|error| error.downcast_ref::<RemoteError>()) {
        Some(error) => StorageError::RemoteVariable { variable, error: error.clone() },
        None => StorageError::Read { variable, file: place::shown(file), message: error.to_string() },
    }
}

/// A variable's file that is another one now.
pub(crate) fn changed(variable: &str, file: &Path) -> StorageError {
    let message = "the file was changed after it was opened; open it again".to_owned();
    StorageError::Damaged { variable: variable.to_owned(), file: place::shown(file), message }
}
