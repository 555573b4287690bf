//! Owns files of the file system as inputs.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use crate::Input;

/// A file of the file system, as long as it was when it was opened.
#[derive(Debug)]
pub struct Disk {
    file: File,
    length: u64,
    /// Nanoseconds since 1970.
    modified: i128,
}

impl Disk {
    /// # Errors
    /// What the file system says, and `InvalidInput` if it is no plain file.
    pub fn open(path: &Path) -> io::Result<Self> {
        // A pipe would be waited for.
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        let (length, modified) = stamp(&file)?;
        Ok(Self { file, length, modified })
    }

    /// When the file was last written, in nanoseconds since 1970.
    pub fn modified(&self) -> i128 {
        self.modified
    }

    /// Whether the file is still as it was when it was opened.
    pub fn is_unchanged(&self) -> bool {
        stamp(&self.file).is_ok_and(|now| now == (self.length, self.modified))
    }
}

fn stamp(file: &File) -> io::Result<(u64, i128)> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a plain file"));
    }
    Ok((metadata.len(), i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec())))
}

impl Input for Disk {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_plain_file_is_refused_and_not_waited_for() {
        let folder = std::env::temp_dir();
        let error = Disk::open(&folder).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        let error = Disk::open(&folder.join("nuna-no-such-file")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(Disk::open(Path::new("/dev/zero")).is_err());
    }

    #[test]
    fn reading_past_the_end_is_an_error_and_a_change_is_seen() {
        let path = std::env::temp_dir().join(format!("nuna-inputs-{}", std::process::id()));
        std::fs::write(&path, b"0123456789").unwrap();
        let disk = Disk::open(&path).unwrap();
        let mut out = [0; 4];
        disk.read_at(6, &mut out).unwrap();
        assert_eq!((disk.length(), &out, disk.is_unchanged()), (10, b"6789", true));
        assert_eq!(disk.read_at(7, &mut out).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        std::fs::write(&path, b"0123").unwrap();
        assert!(!disk.is_unchanged());
        assert!(disk.read_at(6, &mut out).is_err());
        std::fs::remove_file(&path).unwrap();
    }
}
