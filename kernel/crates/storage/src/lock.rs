//! Owns the file by which one program at a time makes arrays of a store longer.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use crate::{error::StorageError, write::write_error};

/// In the store's folder. No reader of Zarr looks at it.
const NAME: &str = ".nuna-appending";

/// There as long as somebody appends. Dropping it removes it; what a killed program leaves is named to the next one.
#[derive(Debug)]
pub(crate) struct AppendLock {
    file: PathBuf,
}

impl AppendLock {
    /// # Errors
    /// If somebody else appends, or the file system refuses.
    pub(crate) fn take(root: &Path) -> Result<Self, StorageError> {
        let file = root.join(NAME);
        // The file system makes it for one of all who ask, on other machines too.
        match fs::OpenOptions::new().write(true).create_new(true).open(&file) {
            Ok(mut opened) => {
                let lock = Self { file };
                let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
                let owner = format!("process {} on {}", std::process::id(), host.trim());
                opened.write_all(owner.as_bytes()).map_err(|error| write_error(&lock.file, &error))?;
                Ok(lock)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let owner = fs::read_to_string(&file).unwrap_or_default();
                let owner = if owner.is_empty() { "somebody else" } else { owner.trim() };
                Err(StorageError::Write {
                    path: root.to_owned(),
                    message: format!(
                        "{owner} is appending to it; repeat this when that has ended, or, if it was killed, after removing {}",
                        file.display()
                    ),
                })
            }
            Err(error) => Err(write_error(&file, &error)),
        }
    }
}

impl Drop for AppendLock {
    fn drop(&mut self) {
        // Best effort: the next one is told what to remove.
        let _ = fs::remove_file(&self.file);
    }
}
