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

#[cfg(test)]
mod tests {
    use std::{io::Read, os::unix::fs::OpenOptionsExt};

    use super::*;

    #[test]
    fn whoever_holds_the_other_end_sees_the_kernels_end_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let lifeline = Lifeline::new(folder.path()).unwrap();
        let options = nix::fcntl::OFlag::O_NONBLOCK.bits();
        let mut end = OpenOptions::new().read(true).custom_flags(options).open(path(folder.path())).unwrap();
        let waits = end.read(&mut [0; 8]).unwrap_err();
        assert_eq!(waits.kind(), std::io::ErrorKind::WouldBlock);
        drop(lifeline);
        assert_eq!(end.read(&mut [0; 8]).unwrap(), 0);
    }
}
