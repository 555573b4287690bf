//! Owns the folder of compiled cells: one for each kernel, readable by its owner only, and gone when the kernel is,
//! however that ended. A kernel holds a lock on a file in its folder; the system lets go of it with the process, so a
//! folder whose lock is free was left behind, and the next kernel of the same person removes it.

use std::{
    fs::{self, File},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

const PREFIX: &str = "nuna-cells-";
const LOCK: &str = "lock";
/// A folder without a lock file may be about to get one; after so long it was given up.
const UNLOCKED_MAX: Duration = Duration::from_secs(60);

/// A kernel's folder; dropping it removes it.
pub struct Folder {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Folder {
    /// Makes a folder below `parent`, after removing those that ended kernels of this person left there.
    ///
    /// # Errors
    /// If `parent` cannot be written.
    pub fn new(parent: &Path) -> Result<Self> {
        remove_abandoned(parent);
        for _ in 0..16 {
            let path = parent.join(format!("{PREFIX}{}", uuid::Uuid::new_v4().simple()));
            fs::DirBuilder::new()
                .mode(0o700)
                .create(&path)
                .with_context(|| format!("making {} for compiled cells", path.display()))?;
            let file = File::create_new(path.join(LOCK))
                .with_context(|| format!("making a lock in {}", path.display()))?;
            // Another kernel that starts now may have taken the folder for abandoned between the two lines above.
            if let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock)
                && path.join(LOCK).exists()
            {
                return Ok(Self { path, _lock: lock });
            }
        }
        bail!(
            "no folder for compiled cells in {} could be locked; is it on a file system without locks? Set TMPDIR to a local folder",
            parent.display()
        )
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path)
            && self.path.exists()
        {
            tracing::warn!(%error, folder = %self.path.display(), "compiled cells were left behind");
        }
    }
}

/// Removes what nobody holds. Trouble with one folder is no reason not to start.
fn remove_abandoned(parent: &Path) {
    let me = nix::unistd::geteuid().as_raw();
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let path = entry.path();
        // A symbolic link, or a neighbour's folder, is not ours to touch.
        let Ok(about) = fs::symlink_metadata(&path) else { continue };
        if !about.is_dir() || about.uid() != me {
            continue;
        }
        let free = match File::open(path.join(LOCK)) {
            Ok(file) => Flock::lock(file, FlockArg::LockExclusiveNonblock).map(Some).ok(),
            Err(_) => about
                .modified()
                .ok()
                .and_then(|t| t.elapsed().ok())
                .filter(|age| *age > UNLOCKED_MAX)
                .map(|_| None),
        };
        // The lock, where there is one, is held until the folder is gone.
        if let Some(_lock) = free
            && let Err(error) = fs::remove_dir_all(&path)
        {
            tracing::debug!(%error, folder = %path.display(), "an abandoned folder stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_is_private_and_goes_with_its_kernel() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::new(parent.path()).unwrap();
        let path = folder.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn abandoned_folders_are_removed_and_held_ones_are_not() {
        let parent = tempfile::tempdir().unwrap();
        let held = Folder::new(parent.path()).unwrap();
        let abandoned = parent.path().join("nuna-cells-abandoned");
        fs::create_dir(&abandoned).unwrap();
        File::create(abandoned.join(LOCK)).unwrap();
        let unlocked = parent.path().join("nuna-cells-young");
        fs::create_dir(&unlocked).unwrap();
        let elsewhere = parent.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, parent.path().join("nuna-cells-link")).unwrap();
        let _new = Folder::new(parent.path()).unwrap();
        assert!(held.path().exists() && unlocked.exists() && elsewhere.exists());
        assert!(!abandoned.exists());
    }
}
