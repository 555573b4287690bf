//! Owns the values of a worker: in memory, or on disk, where `spill.rs` has put them.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nuna_plan::Value;
use nuna_wire::ValueShape;
use nuna_worker::Block;

use super::{
    memory::Memory,
    sealed,
    spill::{OnDisk, Reading, Spill},
};

#[derive(Clone, Debug)]
enum Place {
    Memory(Value),
    Disk(Arc<OnDisk>),
}

/// Smaller values are read at once, up to so many bytes, where others are read while they are sent.
const LATER_FROM: u64 = 64 << 10;
const AT_ONCE_MAX: u64 = 1 << 20;

/// A value for somebody else.
pub(crate) enum Offer {
    Value(Value),
    /// To be read while it is sent.
    Later(ValueShape, Reading),
}

/// Values by block. Shared by compute threads, the data server and the driver.
pub(crate) struct Store {
    places: Mutex<HashMap<Block, Place>>,
    spill: Spill,
    memory: Arc<Memory>,
    /// Why the last value that was to be written was not, if it was not.
    refused: Mutex<Option<String>>,
}

impl Store {
    pub(crate) fn new(spill: Spill, memory: Arc<Memory>) -> Self {
        Self { places: Mutex::default(), spill, memory, refused: Mutex::default() }
    }

    /// A large value that many processes of a host read moves to memory that they can share.
    pub(crate) fn insert(&self, block: Block, value: Value) {
        let value = sealed::shareable(value);
        let before = self.places().insert(block, Place::Memory(value));
        drop(before);
    }

    /// A value as another worker has it. If it was made here in the meantime, that stays where it is.
    pub(crate) fn insert_fetched(&self, block: Block, value: Value) {
        let unused = match self.places().entry(block) {
            Entry::Occupied(_) => Some(value),
            Entry::Vacant(place) => {
                place.insert(Place::Memory(value));
                None
            }
        };
        drop(unused);
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
            Place::Disk(place) if place.is_lost() => None,
            Place::Disk(place) => {
                place.read().inspect_err(|error| tracing::error!(%error, ?block, "spilled value lost")).ok()
            }
        }
    }

    /// The values for somebody else, who need not wait until all are read. May block on the file.
    pub(crate) fn offer(&self, blocks: &[Block]) -> Vec<Option<Offer>> {
        let mut at_once = 0;
        let offer = |&block| {
            let place = self.places().get(&block).cloned()?;
            if let Place::Disk(place) = place
                && !place.is_lost()
            {
                let bytes = place.byte_count();
                if bytes >= LATER_FROM || at_once + bytes > AT_ONCE_MAX {
                    return Some(Offer::Later(place.shape(), Reading::new(place)));
                }
                at_once += bytes;
            }
            self.get(block).map(Offer::Value)
        };
        blocks.iter().map(offer).collect()
    }

    /// Whether any of these values is on disk.
    pub(crate) fn is_any_on_disk(&self, blocks: &[Block]) -> bool {
        let places = self.places();
        blocks.iter().any(|block| matches!(places.get(block), Some(Place::Disk(_))))
    }

    /// Writes the value to disk and frees its memory. False if that did not work, or it is gone.
    pub(crate) fn spill(&self, block: Block) -> bool {
        let Some(Place::Memory(value)) = self.places().get(&block).cloned() else { return false };
        match self.spill.write(&value) {
            Ok(place) => {
                if lock(&self.refused).take().is_some() {
                    tracing::info!("values can be spilled again");
                }
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
                let error = error.to_string();
                let mut refused = lock(&self.refused);
                // Once, not for each value and each attempt.
                if refused.is_none() {
                    tracing::error!(error, "cannot spill; values stay in memory, and new blocks wait");
                }
                *refused = Some(error);
                false
            }
        }
    }

    /// Reads the value back into memory. False if it is lost.
    pub(crate) fn load(&self, block: Block) -> bool {
        let Some(value) = self.get(block).map(sealed::shareable) else { return false };
        let mut places = self.places();
        let Some(place) = places.get_mut(&block) else { return false };
        let before = std::mem::replace(place, Place::Memory(value));
        drop(places);
        drop(before);
        true
    }

    /// Why values cannot be spilled, if the last one could not.
    pub(crate) fn refused(&self) -> Option<String> {
        lock(&self.refused).clone()
    }

    fn places(&self) -> MutexGuard<'_, HashMap<Block, Place>> {
        lock(&self.places)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use nuna_wire::StageKey;

    use super::{super::spill::SpillFolder, *};

    #[test]
    fn values_survive_the_disk_and_leave_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let folder = SpillFolder { path: directory.path().to_owned(), limit_bytes: None };
        let store = Store::new(Spill::new(vec![folder]), Arc::new(Memory::new(1 << 30, 1)));
        let block = (StageKey(1), 5);
        let value = Value { header: Bytes::from_static(b"head"), body: Bytes::from(vec![3; 10_000]) };
        store.insert(block, value.clone());
        assert!(store.spill(block));
        assert!(!store.spill(block), "it is on disk already");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        assert_eq!(store.get(block), Some(value.clone()));
        store.insert_fetched(block, value.clone());
        assert!(store.is_any_on_disk(&[block]), "what another worker has does not bring it back");
        assert!(store.load(block));
        assert_eq!(store.get(block), Some(value));
        store.remove(&[block]);
        assert_eq!(store.get(block), None);
        assert!(!store.load(block) && !store.spill(block));
    }
}
