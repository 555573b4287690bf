//! Owns whether spilled values are compressed, and how: LZ4, piece by piece, where a sample of the value and the speeds
//! measured so far say that it takes less time than writing all of it, or where room is short.
//!
//! Measured on fields of floats and counts: LZ4 packs 500 to 1,500 MB/s and zstd at level 1 250 to 750; of fields with land
//! masks, rounded numbers and counts LZ4 leaves 0.3 to 0.6, of noise all, and four parts of 16 KiB tell within 0.01. So local
//! disks faster than LZ4 get values as they are, without a look, and slow or shared ones get those that become smaller.

use std::{io, time::Duration};

use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};

/// So much is compressed at once; a buffer of about this size is all that it takes.
pub(super) const PIECE: usize = 1 << 20;
/// Smaller values are not worth the look.
const LEAST: usize = 256 << 10;
const SAMPLES: usize = 4;
const SAMPLE: usize = 16 << 10;
/// What compressing must save of the time, and of the room if that is short.
const TIME_SHARE: f64 = 0.9;
const ROOM_SHARE: f64 = 0.85;
/// Bytes a second of one thread, before any were measured.
const PACK_RATE: f64 = 500e6;
/// How much the last measurement counts.
const WEIGHT: f64 = 0.2;
/// Below this a measurement is of the clock, not of the disk.
const MEASURED_LEAST: usize = 64 << 10;

/// Speeds measured so far, in bytes a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    write: Option<f64>,
    pack: f64,
}

impl Rates {
    pub(super) fn new() -> Self {
        Self { write: None, pack: PACK_RATE }
    }

    pub(super) fn wrote(&mut self, bytes: usize, took: Duration) {
        if bytes >= MEASURED_LEAST {
            let rate = bytes as f64 / took.as_secs_f64().max(1e-6);
            // In times, not speeds: they are what is added up.
            self.write = Some(self.write.map_or(rate, |before| mean(before, rate)));
        }
    }

    pub(super) fn packed(&mut self, bytes: usize, took: Duration) {
        if bytes >= MEASURED_LEAST {
            self.pack = mean(self.pack, bytes as f64 / took.as_secs_f64().max(1e-6));
        }
    }

    /// Whether compressing to `ratio` of the size pays.
    fn pays(self, ratio: f64, short_of_room: bool) -> bool {
        if short_of_room && ratio < ROOM_SHARE {
            return true;
        }
        self.write.is_some_and(|write| 1.0 / self.pack + ratio / write < TIME_SHARE / write)
    }

    /// Whether to compress `body`; looks at it only if that could pay at all.
    pub(super) fn choose(self, body: &[u8], short_of_room: bool) -> bool {
        body.len() >= LEAST && self.pays(0.0, short_of_room) && self.pays(sample(body), short_of_room)
    }
}

fn mean(before: f64, now: f64) -> f64 {
    1.0 / ((1.0 - WEIGHT) / before + WEIGHT / now)
}

/// The size that parts of `body` are compressed to, of their own.
fn sample(body: &[u8]) -> f64 {
    let mut packed = vec![0; get_maximum_output_size(SAMPLE)];
    let mut bytes = 0;
    for number in 0..SAMPLES {
        // Within equal parts, at places that no row of a field repeats.
        let part = body.len() / SAMPLES;
        let start = part * number + (part - SAMPLE) * (2 * number + 1) / (2 * SAMPLES);
        bytes += compress_into(&body[start..start + SAMPLE], &mut packed).unwrap_or(SAMPLE);
    }
    bytes as f64 / (SAMPLES * SAMPLE) as f64
}

/// A buffer for [`pack`].
pub(super) fn buffer() -> Vec<u8> {
    vec![0; get_maximum_output_size(PIECE)]
}

/// `piece`, compressed in `buffer`; itself if that is no smaller.
pub(super) fn pack<'a>(piece: &'a [u8], buffer: &'a mut [u8]) -> &'a [u8] {
    match compress_into(piece, buffer) {
        Ok(length) if length < piece.len() => &buffer[..length],
        Ok(_) | Err(_) => piece,
    }
}

/// # Errors
/// If `packed` is anything but `piece` compressed.
pub(super) fn unpack(packed: &[u8], piece: &mut [u8]) -> io::Result<()> {
    match decompress_into(packed, piece) {
        Ok(length) if length == piece.len() => Ok(()),
        Ok(_) | Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "it cannot be decompressed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compression_pays_on_slow_disks_for_values_that_become_smaller_and_where_room_is_short() {
        let second = Duration::from_secs(1);
        let masked: Vec<u8> = (0..1 << 20).map(|at| if at % 4096 < 2048 { 0 } else { noise(at) }).collect();
        let noise: Vec<u8> = (0..1 << 20).map(noise).collect();
        let (mut slow, mut fast) = (Rates::new(), Rates::new());
        assert!(!slow.choose(&masked, false), "nothing is known yet");
        slow.wrote(100_000_000, second);
        fast.wrote(2_000_000_000, second);
        assert!(slow.choose(&masked, false) && !slow.choose(&noise, false));
        assert!(!slow.choose(&masked[..LEAST - 1], false));
        assert!(!fast.choose(&masked, false) && fast.choose(&masked, true) && !fast.choose(&noise, true));
        // Where the processor is as slow as the disk it does not pay either.
        (0..50).for_each(|_| slow.packed(100_000_000, second));
        assert!(!slow.choose(&masked, false));
    }

    #[test]
    fn pieces_come_back_as_they_were_and_damaged_ones_do_not() {
        let piece: Vec<u8> = (0..PIECE).map(|at| (at / 1000) as u8).collect();
        let mut buffer = buffer();
        let mut packed = pack(&piece, &mut buffer).to_vec();
        assert!(packed.len() < PIECE / 10);
        let mut back = vec![0; PIECE];
        unpack(&packed, &mut back).unwrap();
        assert_eq!(back, piece);
        packed.truncate(packed.len() / 2);
        assert!(unpack(&packed, &mut back).is_err());
    }

    fn noise(at: usize) -> u8 {
        ((at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8
            ^ ((at as u64).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33) as u8
    }
}
