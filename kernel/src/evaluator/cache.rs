//! Owns what compilations gave, on disk, so that cells that were compiled once are not compiled again: not by the next
//! kernel, not in the same one. What an entry depends on is for `compile` to say; here it is a key. Kernels of one
//! person share the folder without locks: an entry is written beside its place and renamed to it, and one that does not
//! hold what its first bytes promise is no entry. Without a folder that is this person's alone, nothing is kept.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, ensure};

/// Changes with the meaning of what is stored.
const FORMAT: &str = "nuna cells 1";
/// What all entries of a person may take together; those not used for longest go first.
const BYTES_MAX: u64 = 256 << 20;
/// After removing, so much is left.
const BYTES_KEPT: u64 = BYTES_MAX / 4 * 3;
/// An entry that is larger is not kept; a cell is some 10 kB to 1 MB.
const ENTRY_BYTES_MAX: u64 = 32 << 20;
/// How many entries are stored between two looks at their sum.
const STORES_PER_SWEEP: u64 = 64;
/// What a kernel that ended while it wrote left behind is removed after so long.
const UNFINISHED_MAX: Duration = Duration::from_secs(3600);
/// How much of an entry's name tells that it was being written.
const UNFINISHED: &str = "unfinished-";

/// Where the setting `NUNA_CELL_CACHE` is: `0` keeps nothing, a path keeps it there.
pub const SETTING: &str = "NUNA_CELL_CACHE";

/// Names one compilation by all that its outcome depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub [u8; 32]);

/// Gathers what an outcome depends on.
pub struct Inputs(blake3::Hasher);

impl Default for Inputs {
    fn default() -> Self {
        let mut inputs = Self(blake3::Hasher::new());
        inputs.add(FORMAT.as_bytes());
        inputs
    }
}

impl Inputs {
    /// Parts are told apart: adding `ab` and `c` is not adding `a` and `bc`.
    pub fn add(&mut self, part: &[u8]) {
        self.0.update(&(part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    /// Adds a file that never changes in place without its size, time or number changing too.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn add_file(&mut self, path: &Path) -> io::Result<()> {
        let path = path.canonicalize()?;
        let about = fs::metadata(&path)?;
        self.add(path.as_os_str().as_encoded_bytes());
        for number in [about.ino(), about.len(), about.mtime() as u64, about.mtime_nsec() as u64] {
            self.add(&number.to_le_bytes());
        }
        Ok(())
    }

    pub fn key(&self) -> Key {
        Key(*self.0.finalize().as_bytes())
    }
}

/// What a compilation gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whether there were no errors.
    pub succeeded: bool,
    /// What the compiler wrote, line by line.
    pub messages: Vec<u8>,
    /// The library; empty if there is none.
    pub library: Vec<u8>,
}

impl Entry {
    /// The body begins with its own hash, under the key, so that half a file or another's is not taken for it.
    fn to_bytes(&self, key: &Key) -> Vec<u8> {
        let mut body = vec![u8::from(self.succeeded)];
        body.extend((self.messages.len() as u64).to_le_bytes());
        body.extend(&self.messages);
        body.extend(&self.library);
        let mut bytes = blake3::keyed_hash(&key.0, &body).as_bytes().to_vec();
        bytes.append(&mut body);
        bytes
    }

    fn from_bytes(bytes: &[u8], key: &Key) -> Option<Self> {
        let (hash, body) = bytes.split_at_checked(32)?;
        if blake3::keyed_hash(&key.0, body) != blake3::Hash::from_slice(hash).ok()? {
            return None;
        }
        let (succeeded, rest) = body.split_first()?;
        let (length, rest) = rest.split_at_checked(8)?;
        let length = u64::from_le_bytes(length.try_into().ok()?);
        let (messages, library) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        Some(Self { succeeded: *succeeded == 1, messages: messages.to_vec(), library: library.to_vec() })
    }
}

/// The folder of one build's entries.
#[derive(Debug)]
pub struct Cache {
    /// Holds a folder for each build.
    base: PathBuf,
    folder: PathBuf,
    stores: AtomicU64,
}

impl Cache {
    /// The cache that the environment asks for, for cells that `build` compiles: the compiler and the runtime library.
    /// `None` if it asks for none, or if none can be had; then cells are compiled each time.
    pub fn find(build: &Key) -> Option<Self> {
        let base = base(|name| std::env::var_os(name).filter(|value| !value.is_empty()))?;
        match Self::at(&base, build) {
            Ok(cache) => Some(cache),
            Err(error) => {
                tracing::warn!("compiled cells are not kept for the next kernel: {error:#}");
                None
            }
        }
    }

    /// # Errors
    /// If the folder cannot be made, or others may write to it.
    pub fn at(base: &Path, build: &Key) -> Result<Self> {
        let name = blake3::Hash::from_bytes(build.0).to_hex();
        let folder = base.join(&name[..16]);
        for path in [base, &folder] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(|| {
                format!("making {}; set {SETTING} to another folder, or to 0", path.display())
            })?;
            check_private(path)?;
        }
        Ok(Self { base: base.to_owned(), folder, stores: AtomicU64::new(0) })
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.folder.join(blake3::Hash::from_bytes(key.0).to_hex().as_str())
    }

    /// What was stored under `key`. Whatever is wrong with it makes it none; a broken one is removed.
    pub fn get(&self, key: &Key) -> Option<Entry> {
        let path = self.path(key);
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
            .open(&path)
            .ok()?;
        let about = file.metadata().ok()?;
        if !about.is_file() || about.uid() != me() || about.len() > ENTRY_BYTES_MAX {
            return None;
        }
        let mut bytes = Vec::with_capacity(about.len() as usize);
        (&file).take(ENTRY_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        let entry = Entry::from_bytes(&bytes, key);
        if entry.is_some() {
            // That it was used keeps it. A file system that cannot say so only forgets it earlier.
            let _ = file.set_modified(SystemTime::now());
        } else {
            tracing::debug!(path = %path.display(), "a kept cell is broken and is compiled again");
            let _ = fs::remove_file(&path);
        }
        entry
    }

    /// Stores `entry` for the next time; a full disk and the like only mean that there is none.
    pub fn put(&self, key: &Key, entry: &Entry) {
        if let Err(error) = self.try_put(key, entry) {
            tracing::debug!(%error, folder = %self.folder.display(), "a compiled cell is not kept");
        }
        if self.stores.fetch_add(1, Ordering::Relaxed).is_multiple_of(STORES_PER_SWEEP) {
            sweep(&self.base, BYTES_MAX, BYTES_KEPT);
        }
    }

    fn try_put(&self, key: &Key, entry: &Entry) -> io::Result<()> {
        let bytes = entry.to_bytes(key);
        if bytes.len() as u64 > ENTRY_BYTES_MAX {
            return Ok(());
        }
        let unfinished = self.folder.join(format!("{UNFINISHED}{}", uuid::Uuid::new_v4().simple()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        let written = file.write_all(&bytes).and_then(|()| fs::rename(&unfinished, self.path(key)));
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written
    }
}

/// Where the environment wants compiled cells to be kept.
fn base(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Option<PathBuf> {
    match variable(SETTING) {
        Some(value) if value == "0" => None,
        Some(path) => std::path::absolute(path).ok(),
        None => {
            // The specification has paths that are not absolute ignored.
            let absolute = |path: PathBuf| path.is_absolute().then_some(path);
            let cache = variable("XDG_CACHE_HOME").map(PathBuf::from).and_then(absolute);
            let home = || variable("HOME").map(|home| PathBuf::from(home).join(".cache")).and_then(absolute);
            cache.or_else(home).map(|cache| cache.join("nuna/cells"))
        }
    }
}

fn me() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// What lies in the folder is run, so nobody else may be able to put anything there.
fn check_private(folder: &Path) -> Result<()> {
    let about = fs::symlink_metadata(folder).with_context(|| format!("looking at {}", folder.display()))?;
    let advice = format!("set {SETTING} to a folder of your own, or to 0");
    ensure!(about.is_dir(), "{} is not a folder; {advice}", folder.display());
    ensure!(about.uid() == me(), "{} belongs to user {}; {advice}", folder.display(), about.uid());
    let mode = about.mode() & 0o777;
    ensure!(
        mode & 0o022 == 0,
        "{} can be written by others (mode {mode:03o}); `chmod 700` it, or {advice}",
        folder.display()
    );
    Ok(())
}

/// Removes what was not used for longest, of all builds, once entries take more than `max` bytes, until they take `kept`.
fn sweep(base: &Path, max: u64, kept: u64) {
    let mut found = Vec::new();
    for folder in fs::read_dir(base).into_iter().flatten().flatten() {
        let inside = fs::read_dir(folder.path()).into_iter().flatten().flatten();
        for entry in inside {
            let Ok(about) = entry.metadata() else { continue };
            let Ok(used) = about.modified() else { continue };
            let is_unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
            if is_unfinished && used.elapsed().is_ok_and(|age| age > UNFINISHED_MAX) {
                let _ = fs::remove_file(entry.path());
            } else if !is_unfinished && about.is_file() {
                found.push((used, about.len(), entry.path()));
            }
        }
        // Goes only if it is empty. A young one may be about to get its first entry.
        let modified = folder.metadata().and_then(|about| about.modified());
        if modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > UNFINISHED_MAX)) {
            let _ = fs::remove_dir(folder.path());
        }
    }
    let mut sum: u64 = found.iter().map(|(_, size, _)| size).sum();
    if sum <= max {
        return;
    }
    found.sort();
    for (_, size, path) in found {
        if sum <= kept {
            return;
        }
        if fs::remove_file(path).is_ok() {
            sum -= size;
        }
    }
}

/// Writes `bytes` to `path` so that who has the file that was there mapped keeps that.
///
/// # Errors
/// If the folder cannot be written.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const BUILD: Key = Key([7; 32]);

    fn key(text: &str) -> Key {
        let mut inputs = Inputs::default();
        inputs.add(text.as_bytes());
        inputs.key()
    }

    fn entry(library: &[u8]) -> Entry {
        Entry { succeeded: true, messages: b"{}\n".to_vec(), library: library.to_vec() }
    }

    #[test]
    fn keys_tell_apart_what_differs_anywhere() {
        let of = |parts: &[&str]| {
            let mut inputs = Inputs::default();
            parts.iter().for_each(|part| inputs.add(part.as_bytes()));
            inputs.key()
        };
        assert_eq!(of(&["let a = 1;", "-Copt-level=0"]), of(&["let a = 1;", "-Copt-level=0"]));
        assert_ne!(of(&["let a = 1;", "-Copt-level=0"]), of(&["let a = 1;", "-Copt-level=2"]));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["a"]), of(&["a", ""]));
    }

    #[test]
    fn a_file_that_is_another_gives_another_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("library");
        let of = |path: &Path| {
            let mut inputs = Inputs::default();
            inputs.add_file(path).map(|()| inputs.key())
        };
        assert!(of(&path).is_err());
        fs::write(&path, "one").unwrap();
        let first = of(&path).unwrap();
        assert_eq!(of(&path).unwrap(), first);
        replace(&path, b"two").unwrap();
        assert_ne!(of(&path).unwrap(), first);
    }

    #[test]
    fn what_was_stored_is_found_by_its_key_and_its_build_only() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path(), &BUILD).unwrap();
        cache.put(&key("a"), &entry(b"library"));
        assert_eq!(cache.get(&key("a")), Some(entry(b"library")));
        assert_eq!(cache.get(&key("b")), None);
        assert_eq!(Cache::at(folder.path(), &Key([8; 32])).unwrap().get(&key("a")), None);
        let path = cache.path(&key("a"));
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_broken_entry_is_none_and_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path(), &BUILD).unwrap();
        let path = cache.path(&key("a"));
        let whole = entry(b"library").to_bytes(&key("a"));
        let changed = |at: usize| whole.iter().enumerate().map(|(i, b)| b ^ u8::from(i == at)).collect();
        let anothers = entry(b"library").to_bytes(&key("b"));
        let broken: [Vec<u8>; 6] = [
            Vec::new(),
            whole[..whole.len() - 1].to_vec(),
            whole[..20].to_vec(),
            changed(0),
            changed(whole.len() - 1),
            anothers,
        ];
        for bytes in broken {
            fs::write(&path, bytes).unwrap();
            assert_eq!(cache.get(&key("a")), None);
            assert!(!path.exists());
        }
        fs::write(&path, &whole).unwrap();
        assert_eq!(cache.get(&key("a")), Some(entry(b"library")));
    }

    #[test]
    fn a_link_is_no_entry() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path(), &BUILD).unwrap();
        let elsewhere = folder.path().join("elsewhere");
        fs::write(&elsewhere, entry(b"library").to_bytes(&key("a"))).unwrap();
        symlink(&elsewhere, cache.path(&key("a"))).unwrap();
        assert_eq!(cache.get(&key("a")), None);
    }

    #[test]
    fn a_folder_that_others_may_write_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let base = parent.path().join("cells");
        fs::create_dir(&base).unwrap();
        fs::set_permissions(&base, fs::Permissions::from_mode(0o777)).unwrap();
        let refused = Cache::at(&base, &BUILD).unwrap_err().to_string();
        assert!(refused.contains("can be written by others (mode 777)"), "{refused}");
        let link = parent.path().join("link");
        symlink(parent.path(), &link).unwrap();
        assert!(Cache::at(&link, &BUILD).unwrap_err().to_string().contains("is not a folder"));
        fs::write(parent.path().join("file"), "").unwrap();
        assert!(Cache::at(&parent.path().join("file"), &BUILD).is_err());
    }

    #[test]
    fn what_was_not_used_for_longest_is_removed_first() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path(), &BUILD).unwrap();
        let old = SystemTime::now() - Duration::from_secs(1000);
        for (age, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
            cache.put(&key(name), &entry(&[0; 1000]));
            let file = File::open(cache.path(&key(name))).unwrap();
            file.set_modified(old + Duration::from_secs(age as u64)).unwrap();
        }
        assert!(cache.get(&key("a")).is_some());
        sweep(folder.path(), 4000, 2500);
        let left: Vec<bool> = ["a", "b", "c", "d"].map(|name| cache.path(&key(name)).exists()).into();
        assert_eq!(left, [true, false, false, true]);
    }

    #[test]
    fn the_folder_of_a_build_that_is_gone_goes_and_a_new_one_stays() {
        let base = tempfile::tempdir().unwrap();
        let (new, gone) = (base.path().join("new"), base.path().join("gone"));
        fs::create_dir(&new).unwrap();
        fs::create_dir(&gone).unwrap();
        File::open(&gone).unwrap().set_modified(SystemTime::now() - 2 * UNFINISHED_MAX).unwrap();
        sweep(base.path(), 4000, 2500);
        assert!(new.exists() && !gone.exists());
    }

    #[test]
    fn the_environment_says_where() {
        let of = |pairs: &[(&str, &str)]| {
            base(|name| pairs.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).into()))
        };
        assert_eq!(of(&[(SETTING, "0"), ("HOME", "/home/a")]), None);
        assert_eq!(of(&[(SETTING, "/scratch/a"), ("HOME", "/home/a")]), Some("/scratch/a".into()));
        assert_eq!(of(&[("XDG_CACHE_HOME", "/c"), ("HOME", "/home/a")]), Some("/c/nuna/cells".into()));
        assert_eq!(
            of(&[("XDG_CACHE_HOME", "c"), ("HOME", "/home/a")]),
            Some("/home/a/.cache/nuna/cells".into())
        );
        assert_eq!(of(&[]), None);
    }
}
