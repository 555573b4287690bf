//! Owns the values of a worker: in memory, or in one spill file that has no name, so that it vanishes with the process.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::{Bytes, BytesMut};
use nix::fcntl::{FallocateFlags, fallocate};
use nuna_plan::Value;
use nuna_worker::Block;

#[derive(Clone, Debug)]
enum Place {
    Memory(Value),
    Disk { offset: u64, header: usize, body: usize },
}

/// Values by block. Shared by compute threads, the data server and the driver.
pub(crate) struct Store {
    places: Mutex<HashMap<Block, Place>>,
    spill: Mutex<Spill>,
}

struct Spill {
    directory: PathBuf,
    file: Option<File>,
    end: u64,
}

impl Store {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { places: Mutex::default(), spill: Mutex::new(Spill { directory, file: None, end: 0 }) }
    }

    pub(crate) fn insert(&self, block: Block, value: Value) {
        let before = self.places().insert(block, Place::Memory(value));
        self.release(before);
    }

    pub(crate) fn remove(&self, blocks: &[Block]) {
        for block in blocks {
            let before = self.places().remove(block);
            self.release(before);
        }
    }

    /// The value, read back from disk if it is there. May block on the file.
    pub(crate) fn get(&self, block: Block) -> Option<Value> {
        let place = self.places().get(&block).cloned()?;
        match place {
            Place::Memory(value) => Some(value),
            Place::Disk { offset, header, body } => self
                .read(offset, header, body)
                .inspect_err(|error| tracing::error!(%error, ?block, "spilled value lost"))
                .ok(),
        }
    }

    /// Writes the value to disk and frees its memory. False if that did not work, or it is gone.
    pub(crate) fn spill(&self, block: Block) -> bool {
        let Some(Place::Memory(value)) = self.places().get(&block).cloned() else { return false };
        match self.write(&value) {
            Ok(offset) => {
                let place = Place::Disk { offset, header: value.header.len(), body: value.body.len() };
                let mut places = self.places();
                let Some(current) = places.get_mut(&block) else {
                    drop(places);
                    self.release(Some(place));
                    return false;
                };
                *current = place;
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
        self.release(Some(before));
        true
    }

    fn write(&self, value: &Value) -> io::Result<u64> {
        let length = value.byte_count();
        let mut spill = self.spill_state();
        if spill.file.is_none() {
            std::fs::create_dir_all(&spill.directory)?;
            spill.file = Some(nameless_file(&spill.directory)?);
        }
        let offset = spill.end;
        // Whole pages, so that a hole can be punched where a value was.
        spill.end += length.next_multiple_of(4096);
        let file = spill.file.as_ref().expect("opened above").try_clone()?;
        drop(spill);
        file.write_all_at(&value.header, offset)?;
        file.write_all_at(&value.body, offset + value.header.len() as u64)?;
        Ok(offset)
    }

    fn read(&self, offset: u64, header: usize, body: usize) -> io::Result<Value> {
        let spill = self.spill_state();
        let file = spill.file.as_ref().expect("values on disk have a file").try_clone()?;
        drop(spill);
        let mut buffer = BytesMut::zeroed(header);
        file.read_exact_at(&mut buffer, offset)?;
        let header_bytes: Bytes = buffer.freeze();
        let mut buffer = BytesMut::zeroed(body);
        file.read_exact_at(&mut buffer, offset + header as u64)?;
        Ok(Value { header: header_bytes, body: buffer.freeze() })
    }

    /// Gives back the disk space of a value that was there.
    fn release(&self, place: Option<Place>) {
        let Some(Place::Disk { offset, header, body }) = place else { return };
        let length = ((header + body) as i64).max(1);
        let spill = self.spill_state();
        let file = spill.file.as_ref().expect("values on disk have a file");
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        if let Err(error) = fallocate(file, flags, offset as i64, length) {
            // Some file systems cannot; the space comes back when the worker ends.
            tracing::debug!(%error, "cannot give back spill space");
        }
    }

    fn places(&self) -> MutexGuard<'_, HashMap<Block, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spill_state(&self) -> MutexGuard<'_, Spill> {
        self.spill.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        let store = Store::new(directory.path().to_owned());
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
}
