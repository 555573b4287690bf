//! Owns one file that many write at once, each an encoded piece (a chunk, a tile) whose length nobody knows before: it lies
//! in a folder beside its final name, and is moved there once it is whole.
//!
//! Threads of the process that made the file put their pieces into it. Other processes, on whatever host, cannot know where
//! it ends, so each appends to a part of its own in the same folder; [`Draft::gather`] appends the parts to the file. A
//! process that dies leaves a part that ends in the middle of a piece, and a block that runs twice the same piece twice:
//! both do no harm.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    error::StorageError,
    place,
    write::{unique, write_error},
};

/// Where a piece lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// Of which variable, and its number there.
pub(crate) type Key = (u32, u64);

/// What may be overwritten: in words, and whether a file is one.
pub(crate) type Replaces = (&'static str, fn(&Path) -> bool);

/// A file that is being written. Dropping it unpublished removes it.
#[derive(Debug)]
pub(crate) struct Draft {
    target: PathBuf,
    folder: PathBuf,
    here: Arc<Here>,
    /// Which files of its name are replaced; none without it.
    replaces: Option<Replaces>,
    published: bool,
}

/// The file, in the process that made it.
#[derive(Debug)]
pub(crate) struct Here {
    path: PathBuf,
    file: File,
    end: AtomicU64,
    places: Mutex<HashMap<Key, Place>>,
}

/// The part of another process.
#[derive(Debug)]
pub(crate) struct Part {
    path: PathBuf,
    end: Mutex<u64>,
}

/// Where pieces go.
#[derive(Clone, Debug)]
pub(crate) enum Pieces {
    Here(Arc<Here>),
    Part(Arc<Part>),
}

/// By folder: the files that this process makes, and the parts that it writes.
static HERE: Mutex<Vec<(PathBuf, Weak<Here>)>> = Mutex::new(Vec::new());
static PARTS: Mutex<Vec<(PathBuf, Weak<Part>)>> = Mutex::new(Vec::new());

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// In front of each piece of a part.
const HEAD_BYTES: usize = 40;
const MAGIC: u64 = 0x6e75_6e61_7069_6563;

/// What stands before a piece: what it is, how long, and a sum over that, since what a process wrote last may be garbage.
fn head((variable, number): Key, bytes: u64) -> [u8; HEAD_BYTES] {
    let words = [MAGIC, u64::from(variable), number, bytes];
    let sum =
        words.iter().fold(1u64, |sum, word| (sum ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23));
    let mut out = [0; HEAD_BYTES];
    for (place, word) in out.chunks_exact_mut(8).zip(words.into_iter().chain([sum])) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    out
}

fn parse(found: &[u8; HEAD_BYTES]) -> Option<(Key, u64)> {
    let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| found[8 * at + i]));
    let key = (u32::try_from(word(1)).ok()?, word(2));
    (*found == head(key, word(3))).then_some((key, word(3)))
}

impl Draft {
    /// Makes a file whose pieces begin at `first`.
    ///
    /// # Errors
    /// If `path` exists and may not be replaced, or the file system refuses.
    pub(crate) fn create(path: &Path, first: u64, replaces: Option<Replaces>) -> Result<Self, StorageError> {
        if place::is_remote(path) {
            let message = "files are written to the file system only".to_owned();
            return Err(StorageError::Write { path: place::shown(path), message });
        }
        let target = std::path::absolute(path).map_err(|error| write_error(path, &error))?;
        check_target(&target, replaces)?;
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
            let message = "it has no name of its own".to_owned();
            return Err(StorageError::Write { path: target, message });
        };
        let folder = parent.join(format!(".{}.partial-{}", name.to_string_lossy(), unique()));
        fs::create_dir_all(&folder).map_err(|error| write_error(&folder, &error))?;
        let path = folder.join("file");
        let made = File::options().read(true).write(true).create_new(true).open(&path);
        let file = made.map_err(|error| {
            let _ = fs::remove_dir(&folder);
            write_error(&path, &error)
        })?;
        let here = Arc::new(Here { path, file, end: AtomicU64::new(first), places: Mutex::default() });
        let mut known = locked(&HERE);
        known.retain(|(_, here)| here.strong_count() > 0);
        known.push((folder.clone(), Arc::downgrade(&here)));
        Ok(Self { target, folder, here, replaces, published: false })
    }

    /// How writers find it.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn pieces(&self) -> Pieces {
        Pieces::Here(self.here.clone())
    }

    /// Brings what other processes wrote into the file, and says where the pieces of each variable are, which has as many as
    /// `counts` says.
    ///
    /// # Errors
    /// If a piece was never written, or the file system refuses.
    pub(crate) fn gather(&self, counts: &[u64]) -> Result<Vec<Vec<Place>>, StorageError> {
        let entries = fs::read_dir(&self.folder).map_err(|error| write_error(&self.folder, &error))?;
        let mut parts = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| write_error(&self.folder, &error))?.path();
            if path != self.here.path {
                parts.push(path);
            }
        }
        parts.sort();
        for part in parts {
            self.append(&part).map_err(|error| write_error(&part, &error))?;
            fs::remove_file(&part).map_err(|error| write_error(&part, &error))?;
        }
        let places = locked(&self.here.places);
        let all = counts.iter().enumerate().map(|(variable, &count)| {
            let one = |number| {
                places.get(&(variable as u32, number)).copied().ok_or_else(|| StorageError::Write {
                    path: self.target.clone(),
                    message: format!(
                        "piece {number} of {count} of its array {variable} was written by no worker that shares this file \
                         system; write to a folder that all workers share"
                    ),
                })
            };
            (0..count).map(one).collect()
        });
        all.collect()
    }

    /// Appends a part, heads of its pieces and all.
    fn append(&self, part: &Path) -> io::Result<()> {
        let mut part = File::open(part)?;
        let length = part.metadata()?.len();
        let mut found = Vec::new();
        let mut at = 0u64;
        while let Some(begin) = at.checked_add(HEAD_BYTES as u64).filter(|&begin| begin <= length) {
            let mut head = [0; HEAD_BYTES];
            part.read_exact_at(&mut head, at)?;
            let Some((key, bytes)) = parse(&head) else { break };
            let Some(end) = begin.checked_add(bytes).filter(|&end| end <= length) else { break };
            found.push((key, Place { offset: begin, bytes }));
            at = end;
        }
        let start = self.here.end.fetch_add(at, Ordering::Relaxed);
        let mut file = File::options().write(true).open(&self.here.path)?;
        file.seek(SeekFrom::Start(start))?;
        part.rewind()?;
        let copied = io::copy(&mut part.take(at), &mut file)?;
        if copied != at {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let found =
            found.into_iter().map(|(key, place)| (key, Place { offset: start + place.offset, ..place }));
        locked(&self.here.places).extend(found);
        Ok(())
    }

    /// Where pieces end.
    pub(crate) fn end(&self) -> u64 {
        self.here.end.load(Ordering::Relaxed)
    }

    /// Writes at a place, what stands around the pieces.
    pub(crate) fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.here.file.write_all_at(bytes, offset)
    }

    /// As an error of this file.
    pub(crate) fn blame(&self, error: &impl ToString) -> StorageError {
        StorageError::Write { path: self.target.clone(), message: error.to_string() }
    }

    /// Gives the file its name; where nothing is to be replaced, not even what another one wrote this very moment.
    fn take_name(&self) -> io::Result<()> {
        if self.replaces.is_none() {
            match fs::hard_link(&self.here.path, &self.target) {
                // Its other name goes with the folder.
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
                // Some file systems have no second names.
                Err(_) => {}
            }
        }
        fs::rename(&self.here.path, &self.target)
    }

    /// Moves the file to its name.
    ///
    /// # Errors
    /// If another one took the name meanwhile, or the file system refuses.
    pub(crate) fn publish(mut self) -> Result<(), StorageError> {
        check_target(&self.target, self.replaces)?;
        self.take_name().map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => StorageError::Exists { path: self.target.clone() },
            _ => write_error(&self.target, &error),
        })?;
        self.published = true;
        fs::remove_dir_all(&self.folder).map_err(|error| write_error(&self.folder, &error))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.published {
            // Best effort: the folder's name says what it is.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

fn check_target(target: &Path, replaces: Option<Replaces>) -> Result<(), StorageError> {
    let path = target.to_owned();
    match replaces {
        _ if !target.exists() => Ok(()),
        None => Err(StorageError::Exists { path }),
        Some((_, is_one)) if is_one(target) => Ok(()),
        Some((what, _)) => Err(StorageError::ExistsNot { path, what: what.to_owned() }),
    }
}

impl Pieces {
    /// The way of this process to the file that is made in `folder`.
    ///
    /// # Errors
    /// If the folder is not there.
    pub(crate) fn open(folder: &Path) -> Result<Self, StorageError> {
        fn known<T>(all: &Mutex<Vec<(PathBuf, Weak<T>)>>, folder: &Path) -> Option<Arc<T>> {
            locked(all).iter().find(|(of, _)| of == folder).and_then(|(_, it)| it.upgrade())
        }
        if let Some(here) = known(&HERE, folder) {
            return Ok(Pieces::Here(here));
        }
        if let Some(part) = known(&PARTS, folder) {
            return Ok(Pieces::Part(part));
        }
        // Two threads may make two parts, which is as good.
        let path = folder.join(format!("part-{}", unique()));
        let made = File::options().write(true).create_new(true).open(&path);
        made.map_err(|error| write_error(&path, &error))?;
        let part = Arc::new(Part { path, end: Mutex::new(0) });
        let mut parts = locked(&PARTS);
        parts.retain(|(_, part)| part.strong_count() > 0);
        parts.push((folder.to_owned(), Arc::downgrade(&part)));
        Ok(Pieces::Part(part))
    }

    /// Writes a piece.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn put(&self, key: Key, bytes: &[u8]) -> Result<(), StorageError> {
        let length = bytes.len() as u64;
        match self {
            Pieces::Here(here) => {
                let offset = here.end.fetch_add(length, Ordering::Relaxed);
                here.file.write_all_at(bytes, offset).map_err(|error| write_error(&here.path, &error))?;
                locked(&here.places).insert(key, Place { offset, bytes: length });
                Ok(())
            }
            Pieces::Part(part) => {
                let mut end = locked(&part.end);
                // Closed after each piece: only then do other hosts see it on every file system.
                let file = File::options().write(true).open(&part.path);
                let written = file.and_then(|file| {
                    file.write_all_at(&head(key, length), *end)?;
                    file.write_all_at(bytes, *end + HEAD_BYTES as u64)
                });
                // What failed is overwritten by the next one.
                written.map_err(|error| write_error(&part.path, &error))?;
                *end += HEAD_BYTES as u64 + length;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As another process opens it.
    fn elsewhere(draft: &Draft) -> Pieces {
        let all: Vec<_> = std::mem::take(&mut *locked(&HERE));
        locked(&PARTS).clear();
        let pieces = Pieces::open(draft.folder()).unwrap();
        locked(&HERE).extend(all);
        pieces
    }

    #[test]
    fn pieces_of_all_processes_come_into_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.bin");
        let draft = Draft::create(&target, 8, None).unwrap();
        draft.write_at(0, b"headhead").unwrap();
        Pieces::open(draft.folder()).unwrap().put((0, 1), b"here").unwrap();
        let other = elsewhere(&draft);
        assert!(matches!(other, Pieces::Part(_)));
        other.put((0, 0), b"other").unwrap();
        other.put((1, 0), b"").unwrap();
        // A block that ran twice, in a process that died in the middle of the next piece.
        let dead = elsewhere(&draft);
        dead.put((0, 1), b"here").unwrap();
        dead.put((0, 2), b"never whole").unwrap();
        let Pieces::Part(part) = &dead else { panic!("{dead:?}") };
        let bytes = fs::read(&part.path).unwrap();
        fs::write(&part.path, &bytes[..bytes.len() - 3]).unwrap();
        let missing = draft.gather(&[3, 1]).unwrap_err().to_string();
        assert!(missing.contains("piece 2 of 3 of its array 0"), "{missing}");
        let places = draft.gather(&[2, 1]).unwrap();
        assert!(!target.exists());
        draft.publish().unwrap();
        let bytes = fs::read(&target).unwrap();
        let read = |place: Place| &bytes[place.offset as usize..(place.offset + place.bytes) as usize];
        assert_eq!(
            (read(places[0][0]), read(places[0][1]), read(places[1][0])),
            (&b"other"[..], &b"here"[..], &b""[..])
        );
        assert_eq!(&bytes[..8], b"headhead");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_not_published_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.bin");
        let draft = Draft::create(&target, 0, None).unwrap();
        Pieces::open(draft.folder()).unwrap().put((0, 0), b"lost").unwrap();
        let gone = draft.folder().to_owned();
        drop(draft);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(Pieces::open(&gone).unwrap_err().to_string().contains("cannot write"));
        let late = Draft::create(&target, 0, None).unwrap();
        std::os::unix::fs::symlink("nowhere", &target).unwrap();
        assert!(
            matches!(late.publish().unwrap_err(), StorageError::Exists { .. }),
            "a name is never taken away"
        );
        fs::remove_file(&target).unwrap();
        fs::write(&target, "mine").unwrap();
        assert!(matches!(Draft::create(&target, 0, None).unwrap_err(), StorageError::Exists { .. }));
        let remote = Draft::create(Path::new("s3://bucket/a.bin"), 0, None).unwrap_err().to_string();
        assert!(remote.contains("file system only"), "{remote}");
        let not_mine = Draft::create(&target, 0, Some(("a picture", |_| false))).unwrap_err().to_string();
        assert!(not_mine.contains("is not a picture"), "{not_mine}");
        Draft::create(&target, 0, Some(("a picture", |_| true))).unwrap().publish().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"");
    }
}
