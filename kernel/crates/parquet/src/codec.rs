//! Owns compression of pages. What a page says it unpacks to is compared with what its codec could make of so few bytes before
//! memory is asked for.

use std::io::Read;

use crate::{Result, error::Error};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    None,
    Snappy,
    Gzip,
    Zstd,
    Lz4,
}

/// Zstd's quickest, at which it is about as fast as the disk, and smaller than Snappy.
const ZSTD_LEVEL: i32 = 1;

impl Codec {
    pub(crate) fn of(number: i32) -> Result<Self> {
        let refused = |name: &str| {
            Err(Error::unsupported(format!(
                "its pages are compressed with {name}, which is not read here; write it with zstd, snappy, gzip or lz4_raw"
            )))
        };
        match number {
            0 => Ok(Codec::None),
            1 => Ok(Codec::Snappy),
            2 => Ok(Codec::Gzip),
            3 => refused("LZO"),
            4 => refused("Brotli"),
            5 => refused("LZ4 in Hadoop's frames"),
            6 => Ok(Codec::Zstd),
            7 => Ok(Codec::Lz4),
            number => refused(&format!("the codec {number}")),
        }
    }

    /// The most that a byte can unpack to; `None` where growing with what comes out is cheap.
    fn ratio(self) -> Option<usize> {
        match self {
            Codec::None => Some(1),
            // A copy of 64 bytes takes 3; one of 11 takes 2.
            Codec::Snappy => Some(32),
            // A byte of a length counts up to 255.
            Codec::Lz4 => Some(256),
            // By the format 1032.
            Codec::Gzip => Some(1100),
            Codec::Zstd => None,
        }
    }

    /// Unpacks to exactly `size` bytes.
    pub(crate) fn unpack(self, packed: &[u8], size: usize) -> Result<Vec<u8>> {
        let wrong = |why: &dyn std::fmt::Display| {
            Error::damaged(format!(
                "a page of {} bytes does not unpack to {size} bytes with {self:?}: {why}",
                packed.len()
            ))
        };
        if self.ratio().is_some_and(|ratio| size > packed.len().saturating_mul(ratio).saturating_add(64)) {
            return Err(wrong(&"no compression is so strong"));
        }
        let (unpacked, count) = match self {
            Codec::None => (packed.to_vec(), packed.len()),
            Codec::Snappy => {
                let stated = snap::raw::decompress_len(packed).map_err(|error| wrong(&error))?;
                if stated != size {
                    return Err(wrong(&format!("it says {stated} itself")));
                }
                let mut out = vec![0; size];
                let count =
                    snap::raw::Decoder::new().decompress(packed, &mut out).map_err(|error| wrong(&error))?;
                (out, count)
            }
            Codec::Gzip => {
                let mut out = vec![0; size];
                let mut decoder = libdeflater::Decompressor::new();
                let count = decoder.gzip_decompress(packed, &mut out).map_err(|error| wrong(&error))?;
                (out, count)
            }
            Codec::Zstd => {
                let decoder =
                    zstd::stream::read::Decoder::with_buffer(packed).map_err(|error| wrong(&error))?;
                // As much as comes out, which is no more than is there.
                let mut out = Vec::new();
                decoder.take(size as u64 + 1).read_to_end(&mut out).map_err(|error| wrong(&error))?;
                let count = out.len();
                (out, count)
            }
            Codec::Lz4 => {
                let mut out = vec![0; size];
                let count =
                    lz4_flex::block::decompress_into(packed, &mut out).map_err(|error| wrong(&error))?;
                (out, count)
            }
        };
        if count == size { Ok(unpacked) } else { Err(wrong(&format!("{count} came out"))) }
    }
}

/// As pages are written here: with zstd.
pub(crate) fn pack(bytes: &[u8]) -> Result<Vec<u8>> {
    Ok(zstd::bulk::compress(bytes, ZSTD_LEVEL)?)
}

/// zstd's number among codecs.
pub(crate) const WRITTEN: i32 = 6;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

    use super::*;

    #[test]
    fn sizes_that_no_compression_reaches_are_refused_before_memory_is_asked_for() {
        for codec in [Codec::None, Codec::Snappy, Codec::Gzip, Codec::Zstd, Codec::Lz4] {
            assert!(codec.unpack(&[1, 2, 3], usize::MAX >> 1).is_err(), "{codec:?}");
        }
        let bytes = vec![7; 1 << 20];
        let packed = pack(&bytes).unwrap();
        assert!(packed.len() < 1000);
        assert_eq!(Codec::Zstd.unpack(&packed, bytes.len()).unwrap(), bytes);
        assert!(Codec::Zstd.unpack(&packed, bytes.len() - 1).is_err());
        assert!(Codec::Zstd.unpack(&packed, bytes.len() + 1).is_err());
    }
}
