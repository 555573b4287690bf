//! Owns the values of a worker: in memory, or in one spill file that has no name, so that it vanishes with the process.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use nix::fcntl::{FallocateFlags, fallocate};
use nuna_array::Buffer;
use nuna_plan::Value;
use nuna_worker::Block;

use super::memory::Memory;

const PAGE: u64 = 4096;
/// Places of values that are gone are kept for others of the same length up to this many bytes in all. Pages of others are
/// given back at once: before they are written to the disk for nothing, and while they are quick to use again.
const REUSED_MAX: u64 = 32 << 20;

#[derive(Clone, Debug)]
enum Place {
    Memory(Value),
    Disk(Arc<OnDisk>),
}

/// A value in the spill file. Its place is another's once nobody reads it any more.
#[derive(Debug)]
struct OnDisk {
    offset: u64,
    header: usize,
    body: usize,
    spill: Arc<Mutex<Spill>>,
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        lock(&self.spill).give_back(self.offset, (self.header + self.body) as u64);
    }
}

/// Values by block. Shared by compute threads, the data server and the driver.
pub(crate) struct Store {
    places: Mutex<HashMap<Block, Place>>,
    spill: Arc<Mutex<Spill>>,
    memory: Arc<Memory>,
}

#[derive(Debug)]
struct Spill {
    directory: PathBuf,
    file: Option<Arc<File>>,
    end: u64,
    /// Values that are there.
    count: usize,
    /// Places without a value, by length.
    free: HashMap<u64, Vec<u64>>,
    free_bytes: u64,
}

impl Spill {
    /// A place for `length` bytes: whole pages, so that a hole can be punched where a value was.
    fn take(&mut self, length: u64) -> io::Result<(Arc<File>, u64)> {
        let file = match &self.file {
            Some(file) => file.clone(),
            None => {
                std::fs::create_dir_all(&self.directory)?;
                self.file.insert(Arc::new(nameless_file(&self.directory)?)).clone()
            }
        };
        self.count += 1;
        let pages = length.next_multiple_of(PAGE);
        if let Some(offset) = self.free.get_mut(&pages).and_then(Vec::pop) {
            self.free_bytes -= pages;
            return Ok((file, offset));
        }
        let offset = self.end;
        self.end += pages;
        Ok((file, offset))
    }

    /// The value of `length` bytes at `offset` is not wanted any more.
    fn give_back(&mut self, offset: u64, length: u64) {
        let file = self.file.as_ref().expect("values on disk have a file");
        let pages = length.next_multiple_of(PAGE);
        self.count -= 1;
        let outcome = if self.count == 0 {
            (self.end, self.free_bytes) = (0, 0);
            self.free.clear();
            file.set_len(0)
        } else if self.free_bytes + pages <= REUSED_MAX {
            self.free_bytes += pages;
            self.free.entry(pages).or_default().push(offset);
            Ok(())
        } else {
            let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            fallocate(&**file, flags, offset as i64, pages.max(1) as i64).map_err(io::Error::from)
        };
        if let Err(error) = outcome {
            // Some file systems cannot; the space comes back when the worker ends.
            tracing::debug!(%error, "cannot give back spill space");
        }
    }
}

impl Store {
    pub(crate) fn new(directory: PathBuf, memory: Arc<Memory>) -> Self {
        let (free, free_bytes) = (HashMap::new(), 0);
        let spill = Spill { directory, file: None, end: 0, count: 0, free, free_bytes };
        Self { places: Mutex::default(), spill: Arc::new(Mutex::new(spill)), memory }
    }

    pub(crate) fn insert(&self, block: Block, value: Value) {
        let before = self.places().insert(block, Place::Memory(value));
        drop(before);
    }

    pub(crate) fn remove(&self, blocks: &[Block]) {
        for block in blocks {
            let before = self.places().remove(block);
            drop(before);
        }
    }

    /// The value, read back from disk if it is there. May block on the file.
    pub(crate) fn get(&self, block: Block) -> Option<Value> {
        let place = self.places().get(&block).cloned()?;
        match place {
            Place::Memory(value) => Some(value),
            Place::Disk(place) => self
                .read(&place)
                .inspect_err(|error| tracing::error!(%error, ?block, "spilled value lost"))
                .ok(),
        }
    }

    /// How many bytes of these values are on disk.
    pub(crate) fn disk_bytes(&self, blocks: &[Block]) -> u64 {
        let places = self.places();
        let on_disk = |block| match places.get(block) {
            Some(Place::Disk(place)) => (place.header + place.body) as u64,
            Some(Place::Memory(_)) | None => 0,
        };
        blocks.iter().map(on_disk).sum()
    }

    /// Writes the value to disk and frees its memory. False if that did not work, or it is gone.
    pub(crate) fn spill(&self, block: Block) -> bool {
        let Some(Place::Memory(value)) = self.places().get(&block).cloned() else { return false };
        match self.write(&value) {
            Ok(place) => {
                let mut places = self.places();
                let Some(current) = places.get_mut(&block) else {
                    drop(places);
                    return false;
                };
                *current = Place::Disk(Arc::new(place));
                drop(places);
                drop(value);
                self.memory.keep();
                true
            }
            Err(error) => {
                tracing::error!(%error, "cannot spill; values stay in memory, and new blocks wait");
                false
            }
        }
    }

    /// Reads the value back into memory. False if it is lost.
    pub(crate) fn load(&self, block: Block) -> bool {
        let Some(value) = self.get(block) else { return false };
        let mut places = self.places();
        let Some(place) = places.get_mut(&block) else { return false };
        let before = std::mem::replace(place, Place::Memory(value));
        drop(places);
        drop(before);
        true
    }

    fn write(&self, value: &Value) -> io::Result<OnDisk> {
        let (file, offset) = lock(&self.spill).take(value.byte_count())?;
        let spill = self.spill.clone();
        let place = OnDisk { offset, header: value.header.len(), body: value.body.len(), spill };
        file.write_all_at(&value.header, offset)?;
        file.write_all_at(&value.body, offset + value.header.len() as u64)?;
        Ok(place)
    }

    fn read(&self, place: &OnDisk) -> io::Result<Value> {
        let &OnDisk { offset, header, body, .. } = place;
        let file = lock(&self.spill).file.clone().expect("values on disk have a file");
        let read = |length: usize, offset: u64| -> io::Result<Bytes> {
            let mut buffer = Buffer::new(length);
            file.read_exact_at(buffer.as_mut_slice(), offset)?;
            Ok(buffer.freeze())
        };
        Ok(Value { header: read(header, offset)?, body: read(body, offset + header as u64)? })
    }

    fn places(&self) -> MutexGuard<'_, HashMap<Block, Place>> {
        lock(&self.places)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn nameless_file(directory: &std::path::Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = directory.join(format!("nuna-spill-{}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use nuna_wire::StageKey;

    use super::*;

    #[test]
    fn values_survive_the_disk_and_leave_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path().to_owned(), Arc::new(Memory::new(1 << 30, 1)));
        let block = (StageKey(1), 5);
        let value = Value { header: Bytes::from_static(b"head"), body: Bytes::from(vec![3; 10_000]) };
        store.insert(block, value.clone());
        assert!(store.spill(block));
        assert!(!store.spill(block), "it is on disk already");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        assert_eq!(store.get(block), Some(value.clone()));
        assert!(store.load(block));
        assert_eq!(store.get(block), Some(value));
        store.remove(&[block]);
        assert_eq!(store.get(block), None);
        assert!(!store.load(block) && !store.spill(block));
    }

    #[test]
    fn values_take_the_places_of_those_that_are_gone() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path().to_owned(), Arc::new(Memory::new(1 << 30, 1)));
        let value = |byte: u8| Value { header: Bytes::new(), body: Bytes::from(vec![byte; 10_000]) };
        let spill = |number: u64, byte: u8| {
            store.insert((StageKey(1), number), value(byte));
            assert!(store.spill((StageKey(1), number)));
        };
        let length = || lock(&store.spill).file.as_ref().unwrap().metadata().unwrap().len();
        (0..10).for_each(|number| spill(number, number as u8));
        let full = length();
        for round in 0..20 {
            store.remove(&[(StageKey(1), round % 10)]);
            spill(round % 10, 100 + round as u8);
        }
        assert_eq!(length(), full, "no page is added for values that replace others");
        for number in 0..10 {
            assert_eq!(store.get((StageKey(1), number)), Some(value(110 + number as u8)));
        }
        (0..10).for_each(|number| store.remove(&[(StageKey(1), number)]));
        assert_eq!(length(), 0, "the last one takes the file's pages along");
        spill(3, 7);
        assert_eq!(store.get((StageKey(1), 3)), Some(value(7)));
    }
}
