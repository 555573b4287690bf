//! Owns the kernel's lifeline: a named pipe in the kernel's folder whose only writer is the kernel, and which never
//! carries a byte. Clusters that cells start hold its other end, so they outlive a crash of the process that runs cells,
//! and end with the kernel, however that ends.

use std::{
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use nix::sys::stat::Mode;

/// Where it is in a kernel's folder.
pub fn path(folder: &Path) -> PathBuf {
    folder.join("lifeline")
}

/// The writing end. The system closes it with the kernel; no other process inherits it.
pub struct Lifeline {
    _writer: File,
}

impl Lifeline {
    /// # Errors
    /// If the folder's file system knows no named pipes.
    pub fn new(folder: &Path) -> Result<Self> {
        let path = path(folder);
        nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)
            .with_context(|| format!("making the named pipe {}", path.display()))?;
        // Also for reading, since opening for writing alone would wait for a reader.
        let writer = OpenOptions::new().read(true).write(true).open(&path);
        let writer = writer.with_context(|| format!("opening the named pipe {}", path.display()))?;
        Ok(Self { _writer: writer })
    }
}
