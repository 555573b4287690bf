//! Owns files at addresses as inputs: what a file says about itself is read in blocks that a process keeps, ever more of them
//! while it is read on; elements by requests for several places at once, on their way before they are wanted.

use std::{
    collections::VecDeque,
    io,
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use nuna_inputs::{Ahead, Input};
use nuna_remote::{Client, Location, Pending, RemoteError, Version};

use crate::{error::StorageError, kept::Kept, remote::AHEAD};

/// What is kept of files is kept in blocks of so many bytes.
const BLOCK: u64 = 64 << 10;
/// Blocks that the first request asks for: most files describe themselves there.
const FIRST_BLOCKS: u64 = 2;
/// Blocks of one request while a file is read on.
const BLOCKS_MAX: u64 = 16;
/// Longer reads are elements, which nobody wants twice.
const KEPT_MAX: u64 = 4 * BLOCK;
/// Places that lie no further apart are one request.
const GAP: u64 = 64 << 10;
/// As long as it is not longer than this, or one place is.
const REQUEST_BYTES: u64 = 8 << 20;
/// Bytes on their way at a time, or one request if that is longer.
pub(crate) const AHEAD_BYTES: u64 = 32 << 20;

/// Blocks of all files of the process, by the file's number: 32 MiB.
static BLOCKS: Kept<(u64, u64), Bytes> = Kept::new(4096, 32 << 20, Bytes::len);

/// A file at an address, as it was when it was opened.
#[derive(Debug)]
pub(crate) struct Object {
    location: Location,
    version: Version,
    /// Its own in this process.
    number: u64,
    /// Held while blocks are fetched, so that threads do not ask for the same ones.
    reading: Mutex<Reading>,
}

/// How a file is read: where the last request for blocks ended, and how many it was for.
#[derive(Debug)]
struct Reading {
    next: u64,
    count: u64,
}

fn other(error: RemoteError) -> io::Error {
    io::Error::other(error)
}

impl Object {
    /// Asks for the front of what is at `location`; `None` if nothing is there.
    ///
    /// # Errors
    /// What the server says, and if it sends no parts of files.
    pub(crate) fn open(location: Location) -> Result<Option<Self>, StorageError> {
        let Some(head) = Client::shared()?.head(&location, FIRST_BLOCKS * BLOCK)? else { return Ok(None) };
        let object = Self::at(location, head.version);
        object.keep(0, &head.bytes);
        Ok(Some(object))
    }

    /// A file that was opened before, here or elsewhere. Nothing is asked for yet.
    pub(crate) fn at(location: Location, version: Version) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Relaxed);
        let reading = Mutex::new(Reading { next: FIRST_BLOCKS, count: FIRST_BLOCKS });
        Self { location, version, number, reading }
    }

    pub(crate) fn version(&self) -> &Version {
        &self.version
    }

    fn keep(&self, first: u64, bytes: &Bytes) {
        for (block, at) in (first..).zip((0..bytes.len()).step_by(BLOCK as usize)) {
            let end = (at + BLOCK as usize).min(bytes.len());
            // A copy: a part would hold the whole.
            BLOCKS.put((self.number, block), &Bytes::copy_from_slice(&bytes[at..end]).into());
        }
    }

    fn begin(&self, range: Range<u64>) -> Result<Pending, RemoteError> {
        Client::shared()?.start_of_version(
            &self.location,
            range.start,
            range.end - range.start,
            &self.version,
        )
    }

    fn wait(&self, pending: Pending) -> Result<Bytes, RemoteError> {
        pending.wait()?.ok_or_else(|| RemoteError::Changed {
            url: self.location.to_string(),
            message: "it is there no more".to_owned(),
        })
    }

    /// One block, and those after it that are probably wanted too; `wanted` of them surely.
    fn block(&self, block: u64, wanted: u64) -> Result<Bytes, RemoteError> {
        let known = || BLOCKS.get(&(self.number, block)).map(|bytes| Bytes::clone(&bytes));
        if let Some(bytes) = known() {
            return Ok(bytes);
        }
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have waited for it meanwhile.
        if let Some(bytes) = known() {
            return Ok(bytes);
        }
        reading.count = match block == reading.next {
            true => (reading.count * 2).min(BLOCKS_MAX),
            false => FIRST_BLOCKS,
        };
        let count = reading.count.max(wanted);
        let start = block * BLOCK;
        let end = start.saturating_add(count * BLOCK).min(self.version.length);
        let bytes = self.wait(self.begin(start..end)?)?;
        reading.next = block + count;
        self.keep(block, &bytes);
        Ok(bytes.slice(..bytes.len().min(BLOCK as usize)))
    }
}

impl Input for Object {
    fn length(&self) -> u64 {
        self.version.length
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let length = out.len() as u64;
        let end = offset.checked_add(length).filter(|&end| end <= self.version.length);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        if length > KEPT_MAX {
            // In parts side by side: one connection is slow.
            let parts = (offset..end).step_by(REQUEST_BYTES as usize);
            let places: Vec<_> = parts.map(|at| at..(at + REQUEST_BYTES).min(end)).collect();
            let mut reads = Requests::new(self, &places);
            for place in places {
                let to = (place.start - offset) as usize..(place.end - offset) as usize;
                reads.read_at(place.start, &mut out[to])?;
            }
            return Ok(());
        }
        let mut done = 0;
        while done < out.len() {
            let at = offset + done as u64;
            let wanted = (end - 1) / BLOCK - at / BLOCK + 1;
            let block = self.block(at / BLOCK, wanted).map_err(other)?;
            let from = block.get((at % BLOCK) as usize..).unwrap_or_default();
            let count = from.len().min(out.len() - done);
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            out[done..done + count].copy_from_slice(&from[..count]);
            done += count;
        }
        Ok(())
    }

    fn is_far(&self) -> bool {
        true
    }

    fn ahead(&self, places: &[Range<u64>]) -> Option<Box<dyn Ahead + '_>> {
        Some(Box::new(Requests::new(self, places)))
    }
}

/// Requests for places that are wanted soon, in their order.
struct Requests<'a> {
    object: &'a Object,
    /// Not asked for yet.
    later: VecDeque<Range<u64>>,
    coming: VecDeque<(Range<u64>, Pending)>,
    coming_bytes: u64,
    /// The last one that came.
    here: (Range<u64>, Bytes),
}

impl<'a> Requests<'a> {
    fn new(object: &'a Object, places: &[Range<u64>]) -> Self {
        let later = together(places);
        Self { object, later, coming: VecDeque::new(), coming_bytes: 0, here: (0..0, Bytes::new()) }
    }

    fn start(&mut self) -> Result<(), RemoteError> {
        while self.coming.len() < AHEAD
            && let Some(next) = self.later.front()
        {
            let bytes = next.end - next.start;
            if !self.coming.is_empty() && self.coming_bytes + bytes > AHEAD_BYTES {
                break;
            }
            let pending = self.object.begin(next.clone())?;
            self.coming_bytes += bytes;
            self.coming.extend(self.later.pop_front().map(|next| (next, pending)));
        }
        Ok(())
    }
}

impl Ahead for Requests<'_> {
    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset.saturating_add(out.len() as u64);
        let holds = |range: &Range<u64>| range.start <= offset && end <= range.end;
        if !holds(&self.here.0) {
            self.here = (0..0, Bytes::new());
            self.start().map_err(other)?;
            if !self.coming.front().is_some_and(|(range, _)| holds(range)) {
                return self.object.read_at(offset, out);
            }
            if let Some((range, pending)) = self.coming.pop_front() {
                self.coming_bytes -= range.end - range.start;
                let bytes = self.object.wait(pending).map_err(other)?;
                self.here = (range, bytes);
                self.start().map_err(other)?;
            }
        }
        let at = (offset - self.here.0.start) as usize;
        let from = self.here.1.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(from);
        Ok(())
    }
}

/// Requests for places in their order: neighbours are one.
fn together(places: &[Range<u64>]) -> VecDeque<Range<u64>> {
    let mut out: VecDeque<Range<u64>> = VecDeque::new();
    for place in places.iter().filter(|place| !place.is_empty()) {
        match out.back_mut() {
            Some(last)
                if place.start >= last.start
                    && place.start.saturating_sub(last.end) <= GAP
                    && place.end.max(last.end) - last.start <= REQUEST_BYTES =>
            {
                last.end = last.end.max(place.end);
            }
            _ => out.push_back(place.clone()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_request_as_long_as_it_is_short() {
        const MIB: u64 = 1 << 20;
        let of = |places: &[(u64, u64)]| -> Vec<(u64, u64)> {
            let places: Vec<_> = places.iter().map(|&(start, end)| start..end).collect();
            together(&places).into_iter().map(|range| (range.start, range.end)).collect()
        };
        assert_eq!(of(&[(0, 10), (10, 20), (GAP + 20, GAP + 21), (2 * GAP + 22, 3 * GAP)]).len(), 2);
        assert_eq!(of(&[(0, 10), (5, 6), (6, 8)]), [(0, 10)], "what is there already");
        assert_eq!(of(&[(100, 110), (0, 10)]), [(100, 110), (0, 10)], "the order is kept");
        assert_eq!(of(&[(0, 6 * MIB), (6 * MIB, 9 * MIB)]), [(0, 6 * MIB), (6 * MIB, 9 * MIB)]);
        assert_eq!(of(&[(0, 40 * MIB)]), [(0, 40 * MIB)]);
        assert!(of(&[(3, 3)]).is_empty());
    }
}
