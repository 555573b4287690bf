//! Owns with whom clusters end that this process starts. Usually that is this process: each scheduler and worker has a
//! pipe from it. The process that runs a notebook's cells may crash, and its clusters must not go with it, so the kernel
//! names a pipe of its own here, and they end when that loses its writer, however the kernel ended.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

static KERNEL: OnceLock<Lifeline> = OnceLock::new();

/// The reading end of a kernel's pipe.
pub(crate) struct Lifeline {
    pub(crate) path: PathBuf,
    pipe: File,
}

/// Clusters started from now on end with the writer of the named pipe `path`, no longer with this process.
///
/// # Errors
/// If it is no pipe of this user.
pub fn live_with(path: &Path) -> io::Result<()> {
    // Opening would wait for a writer, and one that is gone never comes.
    let pipe = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    let about = pipe.metadata()?;
    if !about.file_type().is_fifo() || about.uid() != nix::unistd::geteuid().as_raw() {
        let message = format!("{} is no pipe of this user", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    // The processes that get it as standard input wait for its end.
    let flags = OFlag::from_bits_truncate(fcntl(&pipe, FcntlArg::F_GETFL)?);
    fcntl(&pipe, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK))?;
    let _ = KERNEL.set(Lifeline { path: path.to_owned(), pipe });
    Ok(())
}

/// The kernel's pipe, if there is a kernel.
pub(crate) fn kernel() -> Option<&'static Lifeline> {
    KERNEL.get()
}

impl Lifeline {
    /// An end of it for another process.
    pub(crate) fn end(&self) -> io::Result<File> {
        self.pipe.try_clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_no_lifeline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lifeline");
        std::fs::write(&path, "").unwrap();
        assert!(live_with(&path).unwrap_err().to_string().contains("is no pipe of this user"));
        assert_eq!(live_with(&folder.path().join("gone")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(kernel().is_none());
    }
}
