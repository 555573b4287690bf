//! Owns where values go for which there is no memory: folders in order, each with one file without a name, so that it
//! vanishes with the process, however that ends. The next folder is used while one is full or fails.
//!
//! Leaves to others: which values go, and when (`nuna_worker`).

mod pack;
mod read;
mod room;

use std::{
    ffi::OsString,
    fmt::Write as _,
    fs::{DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, fallocate},
    libc,
};
use nuna_plan::Value;
use pack::Rates;
pub(crate) use read::Reading;
use room::{Return, Room};
use serde::{Deserialize, Serialize};

/// A folder that could not be written is left out for so long; one whose disk is full until room comes back, at most for
/// the shorter time.
const BROKEN_PAUSE: Duration = Duration::from_secs(60);
const FULL_PAUSE: Duration = Duration::from_secs(5);
/// Room is short when less than this share of it is left.
const SHORT_SHARE: u64 = 4;
/// So much is written or read, and its checksum made, at once: it stays in the processor's cache in between.
const PART: usize = 256 << 10;
/// No part that is sent is larger, but for its value's header.
pub(crate) const PART_MAX: usize = pack::PIECE;

/// A folder for spilled values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpillFolder {
    /// A component such as `$TMPDIR` stands for what that variable says where the worker runs.
    pub path: PathBuf,
    /// What one worker may put there; what the disk has if nobody says.
    #[serde(default)]
    pub limit_bytes: Option<u64>,
}

impl SpillFolder {
    /// The path with its variables replaced.
    ///
    /// # Errors
    /// If one is not set.
    pub(crate) fn resolve(&self) -> Result<PathBuf, String> {
        resolve(&self.path, |name| std::env::var_os(name))
    }
}

fn resolve(path: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, String> {
    let mut resolved = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) if name.to_str().is_some_and(|name| name.starts_with('$')) => {
                let name = name.to_str().unwrap_or_default();
                let value = variable(&name[1..]).filter(|value| !value.is_empty());
                resolved.push(value.ok_or_else(|| format!("{name} is not set"))?);
            }
            other => resolved.push(other),
        }
    }
    Ok(resolved)
}

/// All folders have refused a value.
#[derive(Debug, thiserror::Error)]
#[error("{}", describe(folders))]
pub(crate) struct Nowhere {
    /// Each with its reason.
    folders: Vec<(PathBuf, String)>,
}

fn describe(folders: &[(PathBuf, String)]) -> String {
    let mut text = "no spill folder takes more".to_owned();
    for (number, (path, reason)) in folders.iter().enumerate() {
        let separator = if number == 0 { ": " } else { "; " };
        let _ = write!(text, "{separator}{}: {reason}", path.display());
    }
    text
}

/// Where values go. Shared by threads.
#[derive(Debug)]
pub(crate) struct Spill {
    folders: Vec<Arc<Folder>>,
}

#[derive(Debug)]
struct Folder {
    settings: SpillFolder,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: Option<Arc<File>>,
    room: Room,
    rates: Rates,
    /// Why it is left out, and until when.
    out: Option<Out>,
}

#[derive(Debug)]
struct Out {
    until: Instant,
    reason: String,
    /// The disk is full: anything that is given back ends it.
    full: bool,
}

/// A value on disk. Its places are others' once nobody reads it any more.
#[derive(Debug)]
pub(crate) struct OnDisk {
    folder: Arc<Folder>,
    file: Arc<File>,
    header: usize,
    body: usize,
    pieces: Vec<Piece>,
    /// Of body and header. What a disk has lost after it took it is found out here: disks and file servers may say so
    /// only to those who wait, and then give what was there before.
    checksum: u32,
    /// It could not be read, or was something else.
    lost: AtomicBool,
}

/// A part of a value: the header and the body as they are, or a part of the body compressed.
#[derive(Clone, Copy, Debug)]
struct Piece {
    offset: u64,
    stored: usize,
    length: usize,
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        for piece in &self.pieces {
            self.folder.give_back(&self.file, piece);
        }
    }
}

impl Spill {
    pub(crate) fn new(folders: Vec<SpillFolder>) -> Self {
        let folder = |settings: SpillFolder| {
            let room = Room::new(settings.limit_bytes.unwrap_or(u64::MAX));
            let state = State { file: None, room, rates: Rates::new(), out: None };
            Arc::new(Folder { settings, state: Mutex::new(state) })
        };
        Self { folders: folders.into_iter().map(folder).collect() }
    }

    /// As if the first folder's disk had been found to take so many bytes a second.
    #[cfg(test)]
    fn pretend_rate(&self, bytes: usize) {
        let mut rates = Rates::new();
        rates.wrote(bytes, Duration::from_secs(1));
        lock(&self.folders[0].state).rates = rates;
    }

    /// Writes it into the first folder that takes it.
    ///
    /// # Errors
    /// If none does, with each one's reason.
    pub(crate) fn write(&self, value: &Value) -> Result<OnDisk, Nowhere> {
        let mut refused = Vec::new();
        for folder in &self.folders {
            match folder.write(value) {
                Ok(place) => return Ok(place),
                Err(reason) => refused.push((folder.settings.path.clone(), reason)),
            }
        }
        Err(Nowhere { folders: refused })
    }
}

impl Folder {
    /// # Errors
    /// Why it does not take it.
    fn write(self: &Arc<Self>, value: &Value) -> Result<OnDisk, String> {
        let (file, packs) = {
            let mut state = lock(&self.state);
            if let Some(out) = &state.out {
                if Instant::now() < out.until {
                    return Err(out.reason.clone());
                }
                state.out = None;
            }
            let file = match &state.file {
                Some(file) => file.clone(),
                None => match self
                    .settings
                    .resolve()
                    .map_err(io::Error::other)
                    .and_then(|path| nameless_file(&path))
                {
                    Ok(file) => state.file.insert(Arc::new(file)).clone(),
                    Err(error) => return Err(self.fail(&mut state, &error)),
                },
            };
            let (taken, limit) = (state.room.taken(), state.room.limit());
            let short = limit.saturating_sub(taken) < limit / SHORT_SHARE && limit < u64::MAX;
            let rates = state.rates;
            drop(state);
            (file, rates.choose(&value.body, short))
        };
        let (header, body) = (value.header.len(), value.body.len());
        let (pieces, lost) = (Vec::new(), AtomicBool::new(false));
        let mut place = OnDisk { folder: self.clone(), file, header, body, pieces, checksum: 0, lost };
        let written =
            if packs { self.write_packed(value, &mut place) } else { self.write_plain(value, &mut place) };
        let refusal = match written {
            Ok(()) => {
                place.checksum = crc32c::crc32c_append(place.checksum, &value.header);
                return Ok(place);
            }
            Err(refusal) => refusal,
        };
        // First, since room that comes back is taken for a reason to try again.
        drop(place);
        match refusal {
            Refusal::Full => {
                let state = lock(&self.state);
                let (taken, limit) = (state.room.taken(), state.room.limit());
                Err(format!("{taken} of {limit} bytes are taken, and {} were wanted", value.byte_count()))
            }
            Refusal::Failed(error) => Err(self.fail(&mut lock(&self.state), &error)),
        }
    }

    fn write_plain(&self, value: &Value, place: &mut OnDisk) -> Result<(), Refusal> {
        let length = value.header.len() + value.body.len();
        let offset = self.take(length)?;
        place.pieces.push(Piece { offset, stored: length, length });
        let start = Instant::now();
        place.file.write_all_at(&value.header, offset).map_err(Refusal::Failed)?;
        let mut after = offset + value.header.len() as u64;
        for part in value.body.chunks(PART) {
            place.checksum = crc32c::crc32c_append(place.checksum, part);
            place.file.write_all_at(part, after).map_err(Refusal::Failed)?;
            after += part.len() as u64;
        }
        lock(&self.state).rates.wrote(length, start.elapsed());
        Ok(())
    }

    fn write_packed(&self, value: &Value, place: &mut OnDisk) -> Result<(), Refusal> {
        let offset = self.take(value.header.len())?;
        let length = value.header.len();
        place.pieces.push(Piece { offset, stored: length, length });
        place.file.write_all_at(&value.header, offset).map_err(Refusal::Failed)?;
        let mut buffer = pack::buffer();
        for piece in value.body.chunks(pack::PIECE) {
            place.checksum = crc32c::crc32c_append(place.checksum, piece);
            let start = Instant::now();
            let packed = pack::pack(piece, &mut buffer);
            let took = start.elapsed();
            let offset = self.take(packed.len())?;
            place.pieces.push(Piece { offset, stored: packed.len(), length: piece.len() });
            let start = Instant::now();
            place.file.write_all_at(packed, offset).map_err(Refusal::Failed)?;
            let mut state = lock(&self.state);
            state.rates.packed(piece.len(), took);
            state.rates.wrote(packed.len(), start.elapsed());
        }
        Ok(())
    }

    fn take(&self, length: usize) -> Result<u64, Refusal> {
        lock(&self.state).room.take(length as u64).ok_or(Refusal::Full)
    }

    fn give_back(&self, file: &File, piece: &Piece) {
        let mut state = lock(&self.state);
        if state.out.as_ref().is_some_and(|out| out.full) {
            state.out = None;
        }
        // Under the lock: the place is nobody else's before it is a hole.
        let outcome = match state.room.give_back(piece.offset, piece.stored as u64) {
            Return::Nothing => Ok(()),
            Return::Cut { length } => file.set_len(length),
            Return::Hole { offset, length } => {
                let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
                fallocate(file, flags, offset as i64, length as i64).map_err(io::Error::from)
            }
        };
        if let Err(error) = outcome {
            // Some file systems cannot; the space comes back when the worker ends.
            tracing::debug!(%error, "cannot give back spill space");
        }
    }

    /// Leaves the folder out for a while.
    fn fail(&self, state: &mut State, error: &io::Error) -> String {
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let reason = error.to_string();
        let pause = if full { FULL_PAUSE } else { BROKEN_PAUSE };
        tracing::warn!(folder = %self.settings.path.display(), %reason, "a spill folder is left out for {} s", pause.as_secs());
        state.out = Some(Out { until: Instant::now() + pause, reason: reason.clone(), full });
        reason
    }
}

enum Refusal {
    /// The limit is reached.
    Full,
    Failed(io::Error),
}

/// A file in `directory`, made if need be, that nobody else can open: it has no name, and is its owner's only.
fn nameless_file(directory: &Path) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mut options = File::options();
    options.read(true).write(true).mode(0o600);
    match options.clone().custom_flags(libc::O_TMPFILE).open(directory) {
        // File servers among others have no nameless files, nor have old kernels.
        Err(error)
            if [Errno::EOPNOTSUPP, Errno::EISDIR, Errno::ENOENT]
                .map(|errno| errno as i32)
                .contains(&error.raw_os_error().unwrap_or_default()) =>
        {
            let path = directory.join(format!(".nuna-spill-{:016x}", rand::random::<u64>()));
            // A link that somebody has put there is not followed.
            let file = options.create_new(true).open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        }
        outcome => outcome,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn folder(path: &Path, limit_bytes: Option<u64>) -> SpillFolder {
        SpillFolder { path: path.to_owned(), limit_bytes }
    }

    fn value(byte: u8, length: usize) -> Value {
        Value { header: Bytes::from_static(b"head"), body: Bytes::from(vec![byte; length]) }
    }

    fn nothing_in(path: &Path) -> bool {
        std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
    }

    #[test]
    fn values_come_back_from_disk_which_nobody_else_sees() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made");
        let spill = Spill::new(vec![folder(&path, None)]);
        let place = spill.write(&value(3, 10_000)).unwrap();
        assert_eq!(place.read().unwrap(), value(3, 10_000));
        assert!(nothing_in(&path), "the file has no name");
        use std::os::unix::fs::PermissionsExt;
        let mode = |metadata: std::fs::Metadata| metadata.permissions().mode() & 0o777;
        assert_eq!(mode(path.metadata().unwrap()), 0o700);
        assert_eq!(mode(place.file.metadata().unwrap()), 0o600);
        let (file, empty) = (place.file.clone(), Value::default());
        let other = spill.write(&empty).unwrap();
        assert_eq!(other.read().unwrap(), empty);
        drop((place, other));
        assert_eq!(file.metadata().unwrap().len(), 0, "the last value takes the file's pages along");
    }

    #[test]
    fn the_next_folder_takes_what_the_first_has_no_room_for_until_it_has() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let spill =
            Spill::new(vec![folder(first.path(), Some(40 << 10)), folder(second.path(), Some(20 << 10))]);
        let folder_of = |place: &OnDisk| place.folder.settings.path.clone();
        let mut places: Vec<OnDisk> =
            (0..3).map(|byte| spill.write(&value(byte, 16 << 10)).unwrap()).collect();
        let paths: Vec<PathBuf> = places.iter().map(folder_of).collect();
        assert_eq!(paths, [first.path(), first.path(), second.path()]);
        let error = spill.write(&value(9, 16 << 10)).unwrap_err().to_string();
        assert!(error.starts_with("no spill folder takes more: "), "{error}");
        for text in
            [&format!("{}: 40960 of 40960 bytes are taken", first.path().display()), "20480 of 20480 bytes"]
        {
            assert!(error.contains(text), "{error}");
        }
        drop(places.remove(0));
        let place = spill.write(&value(9, 16 << 10)).unwrap();
        assert_eq!((folder_of(&place).as_path(), place.read().unwrap()), (first.path(), value(9, 16 << 10)));
        assert_eq!(places[1].read().unwrap(), value(2, 16 << 10));
    }

    #[test]
    fn folders_that_cannot_be_used_are_passed_over_and_named_if_none_can() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, b"mine").unwrap();
        let unset = folder(Path::new("$NUNA_NEVER_SET/spill"), None);
        let fine = folder(&directory.path().join("fine"), None);
        let spill = Spill::new(vec![folder(&file.join("below"), None), unset.clone(), fine]);
        assert_eq!(spill.write(&value(1, 5_000)).unwrap().read().unwrap(), value(1, 5_000));
        let error =
            Spill::new(vec![folder(&file.join("below"), None), unset]).write(&value(1, 5)).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("Not a directory") && error.contains("$NUNA_NEVER_SET is not set"), "{error}");
        assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    }

    #[test]
    fn variables_in_paths_are_those_of_the_worker() {
        let variable = |name: &str| (name == "TMPDIR").then(|| OsString::from("/local/job"));
        assert_eq!(resolve(Path::new("$TMPDIR/nuna"), variable), Ok(PathBuf::from("/local/job/nuna")));
        assert_eq!(resolve(Path::new("/a/b$c"), variable), Ok(PathBuf::from("/a/b$c")));
        assert_eq!(resolve(Path::new("/a/$c"), variable), Err("$c is not set".to_owned()));
    }

    #[test]
    fn values_are_compressed_where_the_disk_is_slow_and_as_they_are_where_it_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let spill = Spill::new(vec![folder(directory.path(), None)]);
        let body: Vec<u8> = (0..5_000_000_u32).flat_map(|at| (at / 1000).to_le_bytes()).collect();
        let field = Value { header: Bytes::from_static(b"field"), body: body.into() };
        spill.pretend_rate(50_000_000);
        let packed = spill.write(&field).unwrap();
        assert!(packed.stored() < 2_000_000, "{} bytes", packed.stored());
        assert_eq!(packed.read().unwrap(), field);
        spill.pretend_rate(5_000_000_000);
        let plain = spill.write(&field).unwrap();
        assert_eq!(plain.stored(), 20_000_005);
        assert_eq!(plain.read().unwrap(), field);
    }

    #[test]
    fn bytes_that_the_disk_has_lost_are_found_out() {
        let directory = tempfile::tempdir().unwrap();
        let place = Spill::new(vec![folder(directory.path(), None)]).write(&value(7, 100_000)).unwrap();
        place.file.write_all_at(&[0; 4096], place.pieces[0].offset + 8192).unwrap();
        assert_eq!(place.read().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    /// Runs the test below where a folder is read-only and another has room for a megabyte.
    #[test]
    fn a_read_only_folder_and_a_full_disk_are_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let script = "set -e; cd \"$0\"; mkdir readonly small; mount -t tmpfs -o size=1m small small; \
                      mount -t tmpfs -o ro none readonly; echo mounted; exec \"$@\"";
        let output = std::process::Command::new("unshare")
            .args(["--mount", "--map-root-user", "sh", "-c", script])
            .arg(directory.path())
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "worker::spill::tests::within_small_disks", "--ignored", "--nocapture"])
            .env("NUNA_TEST_FOLDERS", directory.path())
            .output();
        let output = match output {
            Ok(output) if output.stdout.starts_with(b"mounted") => output,
            other => return eprintln!("not tested, since nothing can be mounted here: {other:?}"),
        };
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }

    #[test]
    #[ignore = "run by the test above"]
    fn within_small_disks() {
        let base = PathBuf::from(std::env::var_os("NUNA_TEST_FOLDERS").unwrap());
        let of = |name: &str| folder(&base.join(name), None);
        let spill = Spill::new(vec![of("readonly"), of("small"), of("last")]);
        let places: Vec<OnDisk> = (0..8).map(|byte| spill.write(&value(byte, 300_000)).unwrap()).collect();
        let of_small = places.iter().filter(|place| place.folder.settings.path == base.join("small")).count();
        assert_eq!(of_small, 3);
        for (byte, place) in places.iter().enumerate() {
            assert_eq!(place.read().unwrap(), value(byte as u8, 300_000));
        }
        drop(places);
        let spill = Spill::new(vec![of("readonly"), of("small")]);
        let mut kept = Vec::new();
        let error = loop {
            match spill.write(&value(1, 50_000)) {
                Ok(place) => kept.push(place),
                Err(error) => break error.to_string(),
            }
        };
        assert!(
            error.contains("Read-only file system") && error.contains("No space left on device"),
            "{error}"
        );
        kept.truncate(5);
        assert_eq!(
            spill.write(&value(2, 50_000)).unwrap().read().unwrap(),
            value(2, 50_000),
            "room came back"
        );
    }
}
