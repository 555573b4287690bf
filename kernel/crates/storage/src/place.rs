//! Owns where stores are: a path of the file system, or an address that `remote` reads. Both travel as a `PathBuf`; an
//! address in it is complete, a token in its query included, and [`shown`] is what people see of it.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use nuna_remote::{Client, Location, Part, Pending};

use crate::error::StorageError;

/// No metadata document and no reference file is longer.
const DOCUMENT_BYTES_MAX: u64 = 1 << 30;

/// Texts are no longer.
const TEXT_BYTES_MAX: u64 = 16 << 20;

/// Reads a text of at most 16 MiB, also from an address; `None` if there is none.
///
/// # Errors
/// If it cannot be read, is longer, or no UTF-8.
pub fn read_text(file: &Path) -> Result<Option<String>, StorageError> {
    let wrong = |message: &str| StorageError::File { path: shown(file), message: message.to_owned() };
    let length = std::fs::metadata(file).map_or(0, |about| about.len());
    let bytes = if length > TEXT_BYTES_MAX { None } else { Some(begin(file)?.wait()?) };
    match bytes {
        Some(None) => Ok(None),
        Some(Some(bytes)) if bytes.len() as u64 <= TEXT_BYTES_MAX => {
            String::from_utf8(bytes).map(Some).map_err(|_| wrong("it is no UTF-8 text"))
        }
        _ => Err(wrong("it is longer than the 16 MiB that such files have at most")),
    }
}

/// Whether it is an address and no path.
pub fn is_remote(path: &Path) -> bool {
    path.to_str().is_some_and(Location::is_address)
}

/// The address, if it is one.
pub(crate) fn location(path: &Path) -> Result<Option<Location>, StorageError> {
    match path.to_str().filter(|text| Location::is_address(text)) {
        Some(text) => Ok(Some(Location::parse(text)?)),
        None => Ok(None),
    }
}

/// What lies below a store's root.
///
/// # Errors
/// If the name leads out of an address.
pub(crate) fn join(root: &Path, key: &str) -> Result<PathBuf, StorageError> {
    Ok(match location(root)? {
        Some(location) => location.join(key)?.to_text().into(),
        None => root.join(key),
    })
}

/// As it may be shown: without an address's query.
pub fn shown(path: &Path) -> PathBuf {
    match location(path) {
        Ok(Some(location)) => location.to_string().into(),
        _ => path.to_owned(),
    }
}

/// What a link in `file` means, or a person who gives a path: an address, or a path of this machine. A document from afar does
/// not lead to files of this machine.
///
/// # Errors
/// If it is no address that can be read.
pub fn resolve(file: Option<&Path>, link: &str) -> Result<PathBuf, StorageError> {
    if let Some(from) = file.map(location).transpose()?.flatten() {
        return Ok(from.resolve(link)?.to_text().into());
    }
    let local = link.strip_prefix("file://").unwrap_or(link);
    if Location::is_address(local) {
        return Ok(Location::parse(local)?.to_text().into());
    }
    let folder = file.and_then(Path::parent).unwrap_or(Path::new(""));
    let path = folder.join(local);
    // Two ways to one file are one; what is not there is said when it is read.
    let whole = || std::path::absolute(&path).unwrap_or_else(|_| path.clone());
    Ok(fs::canonicalize(&path).unwrap_or_else(|_| whole()))
}

/// Files or addresses that are read side by side.
pub(crate) enum Reading {
    Local(PathBuf),
    Remote(Pending),
}

/// Begins to read a whole document.
pub(crate) fn begin(file: &Path) -> Result<Reading, StorageError> {
    Ok(match location(file)? {
        Some(location) => {
            Reading::Remote(Client::shared()?.start(&location, Part::All, DOCUMENT_BYTES_MAX)?)
        }
        None => Reading::Local(file.to_owned()),
    })
}

impl Reading {
    /// The document; `None` if there is none.
    pub(crate) fn wait(self) -> Result<Option<Vec<u8>>, StorageError> {
        match self {
            Self::Remote(pending) => Ok(pending.wait()?.map(|bytes| bytes.to_vec())),
            Self::Local(file) => match read_plain(&file) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(StorageError::Metadata { file, message: error.to_string() }),
            },
        }
    }
}

/// A pipe would be waited for, and devices have no end: documents may name any path.
fn read_plain(file: &Path) -> io::Result<Vec<u8>> {
    let about = fs::metadata(file)?;
    if !about.is_file() {
        return Err(io::Error::other("it is not a plain file"));
    }
    if about.len() > DOCUMENT_BYTES_MAX {
        let message =
            format!("it has {} bytes, more than the {DOCUMENT_BYTES_MAX} of any document", about.len());
        return Err(io::Error::other(message));
    }
    let mut bytes = Vec::new();
    File::open(file)?.take(DOCUMENT_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The names of folders directly below; `None` where nobody lists them.
pub(crate) fn folders(root: &Path) -> Result<Option<Vec<String>>, StorageError> {
    if let Some(location) = location(root)? {
        return Ok(Client::shared()?.folders(&location)?);
    }
    let Ok(entries) = fs::read_dir(root) else { return Ok(Some(Vec::new())) };
    let mut names: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(Some(names))
}
