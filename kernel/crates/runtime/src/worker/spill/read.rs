//! Owns how values come back from disk: whole, or part by part for whoever they are sent to. What is not what was written is
//! an error, and lost from then on.

use std::{
    io,
    os::unix::fs::FileExt,
    sync::{Arc, atomic::Ordering},
};

use nuna_array::Buffer;
use nuna_plan::Value;
use nuna_wire::{Parts, ValueShape};

use super::{OnDisk, PART, Piece, pack};

impl OnDisk {
    /// Bytes of the value, not of the disk.
    pub(crate) fn byte_count(&self) -> u64 {
        (self.header + self.body) as u64
    }

    pub(crate) fn shape(&self) -> ValueShape {
        ValueShape { header: self.header as u32, body: self.body as u64 }
    }

    /// Whether it is known that it cannot be read.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// # Errors
    /// If the disk fails, or gives anything else than what was written.
    pub(crate) fn read(&self) -> io::Result<Value> {
        let mut header = Buffer::new(self.header);
        let mut body = Buffer::new(self.body);
        let mut progress = Progress::default();
        while progress.body < self.body {
            let (at, length) = (progress.body, self.part(&progress));
            self.read_body(&mut progress, &mut body.as_mut_slice()[at..at + length])?;
        }
        self.read_header(&progress, header.as_mut_slice())?;
        Ok(Value { header: header.freeze(), body: body.freeze() })
    }

    /// The piece of the body that comes next, and where in it.
    fn piece(&self, progress: &Progress) -> Option<Piece> {
        // Header and body as they are share a piece.
        let index = if self.pieces.len() > 1 { progress.piece + 1 } else { 0 };
        self.pieces.get(index).copied()
    }

    /// Bytes of the body that come next.
    fn part(&self, progress: &Progress) -> usize {
        match self.pieces.len() {
            0 | 1 => PART.min(self.body - progress.body),
            _ => self.piece(progress).map_or(0, |piece| piece.length),
        }
    }

    /// Reads the next part of the body.
    fn read_body(&self, progress: &mut Progress, part: &mut [u8]) -> io::Result<()> {
        let missing = || io::Error::other("it was never written");
        let outcome = self.piece(progress).ok_or_else(missing).and_then(|piece| {
            if self.pieces.len() == 1 {
                let at = piece.offset + (self.header + progress.body) as u64;
                self.file.read_exact_at(part, at)
            } else if part.len() != piece.length {
                Err(missing())
            } else if piece.stored == piece.length {
                self.file.read_exact_at(part, piece.offset)
            } else {
                let buffer = progress.packed.get_or_insert_with(pack::buffer);
                let packed = &mut buffer[..piece.stored];
                self.file.read_exact_at(packed, piece.offset).and_then(|()| pack::unpack(packed, part))
            }
        });
        progress.piece += 1;
        progress.body += part.len();
        progress.checksum = crc32c::crc32c_append(progress.checksum, part);
        self.known(outcome)
    }

    /// Reads the header after all of the body, and compares.
    fn read_header(&self, progress: &Progress, header: &mut [u8]) -> io::Result<()> {
        let first = self.pieces.first().ok_or_else(|| io::Error::other("it was never written"));
        let outcome = first.and_then(|first| self.file.read_exact_at(header, first.offset)).and_then(|()| {
            if crc32c::crc32c_append(progress.checksum, header) == self.checksum {
                return Ok(());
            }
            Err(io::Error::new(io::ErrorKind::InvalidData, "the disk gave other bytes than were written"))
        });
        self.known(outcome)
    }

    fn known(&self, outcome: io::Result<()>) -> io::Result<()> {
        if outcome.is_err() {
            self.lost.store(true, Ordering::Relaxed);
        }
        outcome
    }

    /// How many bytes of the disk it takes.
    #[cfg(test)]
    pub(super) fn stored(&self) -> usize {
        self.pieces.iter().map(|piece| piece.stored).sum()
    }
}

/// How far a value has been read.
#[derive(Default)]
struct Progress {
    /// Pieces and bytes of the body.
    piece: usize,
    body: usize,
    checksum: u32,
    /// What is unpacked next.
    packed: Option<Vec<u8>>,
}

/// A value on its way from disk to somebody else.
pub(crate) struct Reading {
    place: Arc<OnDisk>,
    progress: Progress,
}

impl Reading {
    pub(crate) fn new(place: Arc<OnDisk>) -> Self {
        Self { place, progress: Progress::default() }
    }
}

impl Parts for Reading {
    fn byte_count(&self) -> u64 {
        self.place.byte_count()
    }

    fn next_part(&mut self, part: &mut Vec<u8>) -> io::Result<()> {
        let Self { place, progress } = self;
        if progress.body < place.body {
            part.resize(place.part(progress), 0);
            place.read_body(progress, part)?;
        }
        if progress.body == place.body {
            let body = part.len();
            part.resize(body + place.header, 0);
            place.read_header(progress, &mut part[body..])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{
        super::{Spill, SpillFolder},
        *,
    };

    fn on_disk(value: &Value, packed: bool) -> (tempfile::TempDir, Arc<OnDisk>) {
        let directory = tempfile::tempdir().unwrap();
        let folder = SpillFolder { path: directory.path().to_owned(), limit_bytes: None };
        let spill = Spill::new(vec![folder]);
        spill.pretend_rate(if packed { 10_000_000 } else { 10_000_000_000 });
        (directory, Arc::new(spill.write(value).unwrap()))
    }

    fn value(length: usize) -> Value {
        let body: Vec<u8> = (0..length).map(|at| (at / 5000) as u8).collect();
        Value { header: Bytes::from_static(b"head"), body: body.into() }
    }

    fn parts(place: &Arc<OnDisk>) -> io::Result<Vec<Vec<u8>>> {
        let mut reading = Reading::new(place.clone());
        let (mut parts, mut bytes) = (Vec::new(), 0);
        while bytes < reading.byte_count() {
            let mut part = Vec::new();
            reading.next_part(&mut part)?;
            assert!(!part.is_empty());
            bytes += part.len() as u64;
            parts.push(part);
        }
        Ok(parts)
    }

    #[test]
    fn parts_are_the_body_and_then_the_header() {
        for length in [0, 1, PART, PART + 1, 5 * PART - 3] {
            for packed in [false, true] {
                let value = value(length);
                let (_directory, place) = on_disk(&value, packed);
                assert_eq!(place.read().unwrap(), value);
                let parts = parts(&place).unwrap();
                assert_eq!(parts.concat(), [&value.body[..], b"head"].concat(), "{length} {packed}");
                assert!(packed || parts.iter().all(|part| part.len() <= PART + 4));
            }
        }
    }

    #[test]
    fn what_the_disk_has_lost_is_an_error_and_known_from_then_on() {
        for packed in [false, true] {
            for read in
                [|place: &Arc<OnDisk>| place.read().map(drop), |place: &Arc<OnDisk>| parts(place).map(drop)]
            {
                let (_directory, place) = on_disk(&value(5 * PART), packed);
                let last = place.pieces[place.pieces.len() - 1];
                place.file.write_all_at(&[0xee; 100], last.offset + last.stored as u64 - 100).unwrap();
                assert!(!place.is_lost());
                assert_eq!(read(&place).unwrap_err().kind(), io::ErrorKind::InvalidData);
                assert!(place.is_lost());
            }
        }
    }
}
