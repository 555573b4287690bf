//! Owns Zarr stores that are afar as the codecs see them: chunks and parts of shards by requests, and the chunks of one box
//! on their way before they are wanted.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use nuna_remote::{Client, Location, Part, Pending, RemoteError};
use zarrs::storage::{
    MaybeBytesIterator, ReadableStorageTraits, StorageError as ZarrsError, StoreKey,
    byte_range::{ByteRange, ByteRangeIterator, extract_byte_ranges},
};

/// One value is no longer than this.
pub(crate) const VALUE_BYTES_MAX: u64 = 4 << 30;
/// Chunks of one box that are on their way at a time.
pub(crate) const AHEAD: usize = 8;

/// An error on its way through the codecs.
pub(crate) fn through(error: RemoteError) -> ZarrsError {
    ZarrsError::IOError(Arc::new(std::io::Error::other(error)))
}

/// A store whose values can be asked for before they are wanted.
pub(crate) trait Ahead: ReadableStorageTraits {
    /// Begins to read a value; `None` if there is nothing to wait for.
    fn begin(&self, key: &str) -> Result<Option<Pending>, RemoteError>;

    /// What it means that there is nothing where `key` is.
    ///
    /// # Errors
    /// If it had to be there.
    fn absent(&self, key: &str) -> Result<(), RemoteError>;
}

/// A store at an address.
#[derive(Debug)]
pub(crate) struct RemoteStore {
    root: Location,
}

impl RemoteStore {
    pub(crate) fn new(root: Location) -> Self {
        Self { root }
    }
}

impl Ahead for RemoteStore {
    fn begin(&self, key: &str) -> Result<Option<Pending>, RemoteError> {
        Client::shared()?.start(&self.root.join(key)?, Part::All, VALUE_BYTES_MAX).map(Some)
    }

    /// A chunk that was never written.
    fn absent(&self, _: &str) -> Result<(), RemoteError> {
        Ok(())
    }
}

impl ReadableStorageTraits for RemoteStore {
    fn get_partial_many<'a>(
        &'a self,
        key: &StoreKey,
        byte_ranges: ByteRangeIterator<'a>,
    ) -> Result<MaybeBytesIterator<'a>, ZarrsError> {
        let location = self.root.join(key.as_str()).map_err(through)?;
        let client = Client::shared().map_err(through)?;
        let mut found = Vec::new();
        let mut coming = VecDeque::new();
        for range in byte_ranges {
            let part = match range {
                ByteRange::FromStart(0, None) => Part::All,
                ByteRange::FromStart(start, Some(length)) => Part::Range { start, length },
                ByteRange::FromStart(start, None) => {
                    let Some(size) = client.size(&location).map_err(through)? else { return Ok(None) };
                    Part::Range { start, length: size.saturating_sub(start) }
                }
                ByteRange::Suffix(length) => Part::Last(length),
            };
            if matches!(part, Part::Range { length: 0, .. } | Part::Last(0)) {
                coming.push_back(None);
                continue;
            }
            if coming.len() >= AHEAD {
                let Some(bytes) = next(&mut coming)? else { return Ok(None) };
                found.push(bytes);
            }
            coming.push_back(Some(client.start(&location, part, VALUE_BYTES_MAX).map_err(through)?));
        }
        while !coming.is_empty() {
            let Some(bytes) = next(&mut coming)? else { return Ok(None) };
            found.push(bytes);
        }
        Ok(Some(Box::new(found.into_iter().map(Ok))))
    }

    fn size_key(&self, key: &StoreKey) -> Result<Option<u64>, ZarrsError> {
        let location = self.root.join(key.as_str()).map_err(through)?;
        Client::shared().and_then(|client| client.size(&location)).map_err(through)
    }

    fn supports_get_partial(&self) -> bool {
        true
    }
}

/// The part that was asked for first. No bytes at all are not asked for.
fn next(coming: &mut VecDeque<Option<Pending>>) -> Result<Option<Bytes>, ZarrsError> {
    match coming.pop_front().flatten() {
        Some(pending) => pending.wait().map_err(through),
        None => Ok(Some(Bytes::new())),
    }
}

/// A store of which some values are wanted soon, in a known order.
pub(crate) struct ReadAhead {
    store: Arc<dyn Ahead>,
    queue: Mutex<Queue>,
}

struct Queue {
    /// Not asked for yet.
    later: VecDeque<String>,
    /// On their way; never more than [`AHEAD`].
    coming: HashMap<String, Pending>,
}

impl ReadAhead {
    pub(crate) fn new(store: Arc<dyn Ahead>, keys: impl IntoIterator<Item = String>) -> Self {
        let queue = Queue { later: keys.into_iter().collect(), coming: HashMap::new() };
        Self { store, queue: Mutex::new(queue) }
    }

    /// The value's request if it was foreseen, and those of the next ones are on their way after it.
    fn take(&self, key: &str) -> Result<Option<Pending>, RemoteError> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = queue.coming.remove(key);
        while queue.coming.len() < AHEAD
            && let Some(next) = queue.later.pop_front()
        {
            let Some(pending) = self.store.begin(&next)? else { continue };
            if next == key {
                taken = Some(pending);
            } else {
                queue.coming.insert(next, pending);
            }
        }
        Ok(taken)
    }
}

impl ReadableStorageTraits for ReadAhead {
    fn get_partial_many<'a>(
        &'a self,
        key: &StoreKey,
        byte_ranges: ByteRangeIterator<'a>,
    ) -> Result<MaybeBytesIterator<'a>, ZarrsError> {
        let Some(pending) = self.take(key.as_str()).map_err(through)? else {
            return self.store.get_partial_many(key, byte_ranges);
        };
        let Some(bytes) = pending.wait().map_err(through)? else {
            return self.store.absent(key.as_str()).map(|()| None).map_err(through);
        };
        let ranges: Vec<ByteRange> = byte_ranges.collect();
        if let [ByteRange::FromStart(0, None)] = ranges[..] {
            return Ok(Some(Box::new(std::iter::once(Ok(bytes)))));
        }
        let parts = extract_byte_ranges(&bytes, Box::new(ranges.into_iter()))?;
        Ok(Some(Box::new(parts.into_iter().map(|part| Ok(Bytes::from(part))))))
    }

    fn size_key(&self, key: &StoreKey) -> Result<Option<u64>, ZarrsError> {
        self.store.size_key(key)
    }

    fn supports_get_partial(&self) -> bool {
        self.store.supports_get_partial()
    }
}
