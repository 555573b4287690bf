//! Owns the journal's file: a thread adds records to it in batches, so that nobody who decides waits for a disk, and a
//! scheduler that takes the place of a lost one reads it. Beside it are the cells' libraries, each once.
//!
//! What is written reaches the system's file cache, not necessarily the disk: it outlives the process, not the machine,
//! and the machine's workers and clients would be gone with it. What the records mean is `scheduler`'s.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use nuna_plan::LibraryId;
use nuna_scheduler::journal::{Image, MAGIC, Record, decode, encode};
use tokio::sync::Notify;

/// Records that do not hurry wait so long for others to be written with; so much is lost with the process.
const BATCH: Duration = Duration::from_millis(50);
/// And no more than this is written at once, by about as much as one record.
const BATCH_BYTES: usize = 16 << 20;
/// A journal is written anew once it is this many times as long as it need be, and not short.
const COMPACT_FACTOR: u64 = 4;
const COMPACT_BYTES_MIN: u64 = 16 << 20;
/// A longer one is not read: it would take longer than anybody waits.
const READ_BYTES_MAX: u64 = 8 << 30;

enum Entry {
    Record(Record),
    Library(LibraryId, Bytes),
}

/// Where records go.
pub(crate) struct Journal {
    sender: Option<Sender>,
    writer: Option<JoinHandle<()>>,
    folder: PathBuf,
    /// Handed over so far, and up to the last of them that hurries.
    entries: u64,
    hurrying: u64,
    written: Arc<Written>,
}

/// What waits for the writer. A channel would wake it for every record.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Default)]
struct Waiting {
    entries: Vec<Entry>,
    /// One of them does.
    hurries: bool,
    /// Nothing more will come.
    closed: bool,
    /// Nothing more will be taken.
    ended: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, entry: Entry, hurries: bool) {
        let mut waiting = self.lock();
        if waiting.ended {
            // The writer has said why.
            return;
        }
        let first = waiting.entries.is_empty();
        waiting.entries.push(entry);
        waiting.hurries |= hurries;
        drop(waiting);
        if first || hurries {
            self.wake.notify_one();
        }
    }

    /// What has come together, and whether any of it hurries. Waits for others if none does; nothing at the end.
    fn take(&self) -> Option<(Vec<Entry>, bool)> {
        let mut waiting = self.lock();
        while waiting.entries.is_empty() {
            if waiting.closed {
                return None;
            }
            waiting = self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let until = Instant::now() + BATCH;
        while !waiting.hurries && !waiting.closed {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            waiting = self.wake.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let hurries = std::mem::take(&mut waiting.hurries);
        Some((std::mem::take(&mut waiting.entries), hurries))
    }
}

/// However the writer ends, nothing is gathered for it any more.
struct End<'a>(&'a Queue);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.ended = true;
        waiting.entries = Vec::new();
    }
}

/// The end that records go into.
struct Sender(Arc<Queue>);

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.wake.notify_one();
    }
}

/// How far the writer is.
#[derive(Default)]
pub(crate) struct Written {
    /// Entries; all there can be once it has ended, since nobody shall wait for it then.
    entries: AtomicU64,
    /// After something that hurried, and at the end.
    pub(crate) news: Notify,
}

impl Written {
    fn set(&self, entries: u64) {
        self.entries.store(entries, Ordering::Release);
    }
}

/// What was there when the journal was opened.
pub(crate) struct Before {
    pub(crate) image: Image,
    /// Since when the cluster is there.
    pub(crate) age: Duration,
}

impl Journal {
    /// Opens the journal in `folder`, and says what a scheduler before this one has left there.
    pub(crate) fn open(folder: &Path) -> (Self, Option<Before>) {
        let folder = folder.join("journal");
        let before = read(&folder.join("records")).map(|mut image| {
            image.next.restarts = image.next.restarts.saturating_add(1);
            let began = UNIX_EPOCH + Duration::from_micros(image.began_us.unwrap_or(u64::MAX >> 1));
            let age = SystemTime::now().duration_since(began).unwrap_or_default();
            Before { image, age }
        });
        let mut image = before.as_ref().map(|before| before.image.clone()).unwrap_or_default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        image.began_us.get_or_insert(now.as_micros().try_into().unwrap_or(0));
        let written = Arc::<Written>::default();
        let (mut sender, mut thread) = (None, None);
        match Writer::new(folder.clone(), image, written.clone()) {
            Ok(writer) => {
                let queue = Arc::<Queue>::default();
                let taken = queue.clone();
                let builder = std::thread::Builder::new().name("journal".into());
                thread = builder.spawn(move || writer.run(&taken)).ok();
                sender = thread.is_some().then_some(Sender(queue));
            }
            Err(error) => say_broken(&folder, &error),
        }
        let journal = Self { sender, writer: thread, folder, entries: 0, hurrying: 0, written };
        (journal, before)
    }

    pub(crate) fn record(&mut self, record: Record) {
        let hurries = record.hurries();
        self.send(Entry::Record(record), hurries);
        if hurries {
            self.hurrying = self.entries;
        }
    }

    pub(crate) fn library(&mut self, id: LibraryId, bytes: Bytes) {
        self.send(Entry::Library(id, bytes), false);
    }

    fn send(&mut self, entry: Entry, hurries: bool) {
        if let Some(Sender(queue)) = &self.sender {
            self.entries += 1;
            queue.push(entry, hurries);
        }
    }

    /// Whether all that hurries is written.
    pub(crate) fn stands(&self) -> bool {
        self.sender.is_none() || self.written.entries.load(Ordering::Acquire) >= self.hurrying
    }

    pub(crate) fn written(&self) -> Arc<Written> {
        self.written.clone()
    }

    /// A library that an earlier scheduler was given. Whoever gets it compares its hash.
    pub(crate) fn find_library(&self, id: LibraryId) -> Option<Bytes> {
        fs::read(library_path(&self.folder, id)).ok().map(Bytes::from)
    }

    /// The cluster has ended as it should: there is nothing to go on with.
    pub(crate) fn remove(mut self) {
        drop(self.sender.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn library_path(folder: &Path, id: LibraryId) -> PathBuf {
    folder.join(format!("{}.so", hex::encode(id.0)))
}

fn say_broken(folder: &Path, error: &io::Error) {
    tracing::error!(
        %error, folder = %folder.display(),
        "the journal cannot be written: if this process is lost, its computations are lost with it; make room or another folder writable, and start a new cluster"
    );
}

/// What the journal comes to; nothing if there is none.
fn read(path: &Path) -> Option<Image> {
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits()).open(path);
    let bytes = match file.and_then(read_own) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::error!(%error, path = %path.display(), "the journal cannot be read; what ran before is lost, the cluster starts empty");
            return Some(Image::default());
        }
    };
    let (records, damage) = decode(&bytes);
    let count = records.len();
    let (image, unfit) = Image::of(records);
    let (plans, published) = image.counts();
    if let Some(damage) = damage {
        let aside = path.with_extension("damaged");
        let _ = fs::rename(path, &aside);
        tracing::error!(
            %damage, path = %path.display(), kept = %aside.display(), records = count, plans, published,
            "the journal is damaged; what its whole records tell goes on, what came after them is lost"
        );
    }
    if unfit > 0 {
        tracing::error!(unfit, path = %path.display(), "records of the journal fit to nothing before them, and were left out");
    }
    tracing::warn!(
        plans,
        published,
        "the scheduler of this cluster was lost; this process goes on with its journal"
    );
    Some(image)
}

fn read_own(mut file: File) -> io::Result<Vec<u8>> {
    let about = file.metadata()?;
    if about.uid() != nix::unistd::geteuid().as_raw() || !about.is_file() {
        return Err(io::Error::other("it is no file of this user"));
    }
    if about.len() > READ_BYTES_MAX {
        return Err(io::Error::other(format!("it has {} bytes, {READ_BYTES_MAX} at most", about.len())));
    }
    let mut bytes = Vec::with_capacity(about.len() as usize);
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The journal's file, and what it comes to.
struct Writer {
    folder: PathBuf,
    file: File,
    image: Image,
    /// How long it is, and was when it was last written anew.
    length: u64,
    shortest: u64,
    written: Arc<Written>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.written.set(u64::MAX);
        self.written.news.notify_one();
    }
}

impl Writer {
    fn new(folder: PathBuf, image: Image, written: Arc<Written>) -> io::Result<Self> {
        nuna_wire::credentials::private_directory(&folder).map_err(io::Error::other)?;
        let (file, length) = write_anew(&folder, &image)?;
        Ok(Self { folder, file, image, length, shortest: length, written })
    }

    fn run(mut self, queue: &Queue) {
        let _end = End(queue);
        let mut done = 0;
        while let Some((entries, hurries)) = queue.take() {
            done += entries.len() as u64;
            if let Err(error) = self.take_in(entries) {
                say_broken(&self.folder, &error);
                // A journal with a gap would tell a wrong story.
                let _ = fs::remove_dir_all(&self.folder);
                return;
            }
            self.written.set(done);
            if hurries {
                self.written.news.notify_one();
            }
        }
    }

    fn take_in(&mut self, entries: Vec<Entry>) -> io::Result<()> {
        let mut bytes = Vec::new();
        for entry in entries {
            match entry {
                Entry::Record(record) => {
                    if encode(&record, &mut bytes) {
                        self.image.apply(record);
                    } else {
                        tracing::error!(
                            "a plan is too long for the journal, and will not survive the loss of this process"
                        );
                    }
                }
                Entry::Library(id, library) => {
                    // Whoever wants it after a loss gets it from a client, or is told that it is not there.
                    let path = library_path(&self.folder, id);
                    if let Err(error) = nuna_wire::credentials::write_private(&path, &library) {
                        tracing::warn!(%error, ?id, "a library is not kept for a restart");
                    }
                }
            }
            if bytes.len() >= BATCH_BYTES {
                self.write(&bytes)?;
                bytes.clear();
            }
        }
        self.write(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        if self.length > COMPACT_BYTES_MIN.max(COMPACT_FACTOR * self.shortest) {
            let (file, length) = write_anew(&self.folder, &self.image)?;
            (self.file, self.length, self.shortest) = (file, length, length);
        }
        Ok(())
    }
}

/// Writes the shortest journal that comes to `image` beside the one that is there, and puts it in its place.
fn write_anew(folder: &Path, image: &Image) -> io::Result<(File, u64)> {
    let (path, beside) = (folder.join("records"), folder.join("records.new"));
    let mut bytes = MAGIC.to_vec();
    for record in image.records() {
        encode(&record, &mut bytes);
    }
    let _ = fs::remove_file(&beside);
    let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(&bytes)?;
    fs::rename(&beside, &path)?;
    Ok((file, bytes.len() as u64))
}

#[cfg(test)]
mod tests {
    use nuna_wire::ClientId;

    use super::*;

    fn written(folder: &Path, records: &[Record]) {
        let (mut journal, _) = Journal::open(folder);
        records.iter().for_each(|record| journal.record(record.clone()));
        // As after a loss: the writer has written all it was told, and nobody removes anything.
        drop(journal.sender.take());
        journal.writer.take().unwrap().join().unwrap();
    }

    #[test]
    fn what_was_recorded_is_there_for_the_next_process_until_the_cluster_ends() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Journal::open(folder.path()).1.is_none());
        written(folder.path(), &[Record::Client(ClientId(4))]);
        let (journal, before) = Journal::open(folder.path());
        let image = before.unwrap().image;
        assert!(image.clients.contains(&ClientId(4)));
        assert_eq!(image.next.restarts, 2, "it was opened twice before");
        let mode = fs::metadata(folder.path().join("journal/records")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        journal.remove();
        assert!(Journal::open(folder.path()).1.is_none());
    }

    #[test]
    fn a_damaged_journal_gives_what_is_whole_and_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path(), &[Record::Client(ClientId(4)), Record::Client(ClientId(5))]);
        let path = folder.path().join("journal/records");
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, &bytes).unwrap();
        let image = Journal::open(folder.path()).1.unwrap().image;
        assert!(image.clients.contains(&ClientId(4)) && !image.clients.contains(&ClientId(5)));
        assert!(folder.path().join("journal/records.damaged").exists());
        fs::write(&path, b"something else").unwrap();
        assert!(Journal::open(folder.path()).1.unwrap().image.is_empty());
    }

    #[test]
    fn libraries_are_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(folder.path());
        let id = LibraryId([7; 32]);
        journal.library(id, Bytes::from_static(b"code"));
        drop(journal.sender.take());
        journal.writer.take().unwrap().join().unwrap();
        assert_eq!(Journal::open(folder.path()).0.find_library(id), Some(Bytes::from_static(b"code")));
    }
}
