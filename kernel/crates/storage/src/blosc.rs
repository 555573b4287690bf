//! Owns frames of Blosc 1 whose blocks are compressed with zstd, as zarr-python writes them to stores of version 2: decoded
//! right into the buffer that becomes a chunk, block by block, so that one block is in the cache between its two steps.
//!
//! The format is c-blosc's `README_CHUNK_FORMAT.rst` and `blosc_d` in its `blosc.c`. Leaves to others: every other codec
//! inside, bits that are shuffled, and what is wrong with a frame (`codec`, by the C library).

use std::cell::RefCell;

use zstd::bulk::Decompressor;

/// Of frames.
const FORMAT: u8 = 2;
/// Bytes before the offsets of the blocks.
const HEADER: usize = 16;
const SHUFFLED: u8 = 0x01;
const COPIED: u8 = 0x02;
const BITS_SHUFFLED: u8 = 0x04;
/// Of formats to come.
const RESERVED: u8 = 0x08;
const NOT_SPLIT: u8 = 0x10;
const ZSTD: u8 = 4;
/// The format of zstd within.
const ZSTD_VERSION: u8 = 1;
/// Elements of a block are compressed byte by byte where they have no more bytes than this,
const SPLITS_MAX: usize = 16;
/// and there are as many of them as this.
const SPLIT_FROM: usize = 128;
/// No block is larger than a frame; a thread keeps no larger block than this for the next.
const KEPT_MAX: usize = 4 << 20;

thread_local! {
    static BLOCK: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// How many bytes a frame takes at most that decodes to so many: it may be stored as it is, with its header.
pub(crate) fn frame_bytes_max(bytes: usize) -> usize {
    bytes.saturating_add(HEADER)
}

/// Decodes a frame into `out`, which is as long as what it holds. `None` if it is not such a frame, or damaged.
pub(crate) fn decode(frame: &[u8], out: &mut [u8], decompressor: &mut Decompressor<'_>) -> Option<()> {
    let (header, _) = frame.split_first_chunk::<HEADER>()?;
    let [format, version, flags, element, ..] = *header;
    let number = |at: usize| Some(u32::from_le_bytes(*header.get(at..)?.first_chunk()?) as usize);
    let (length, block, stored) = (number(4)?, number(8)?, number(12)?);
    // A block is no longer than the whole: the library refuses such frames too.
    if format != FORMAT || length != out.len() || stored != frame.len() || !(1..=length).contains(&block) {
        return None;
    }
    // Nor is an element of nothing, and what later formats may mean is not known.
    if element == 0 || flags & RESERVED != 0 {
        return None;
    }
    if flags & COPIED != 0 {
        return (frame.len() == HEADER + length).then(|| out.copy_from_slice(&frame[HEADER..]));
    }
    if flags >> 5 != ZSTD || version != ZSTD_VERSION || flags & BITS_SHUFFLED != 0 {
        return None;
    }
    let element = usize::from(element);
    let starts = frame.get(HEADER..HEADER.checked_add(length.div_ceil(block).checked_mul(4)?)?)?;
    let (starts, _) = starts.as_chunks::<4>();
    BLOCK.with_borrow_mut(|scratch| {
        for (start, out) in starts.iter().zip(out.chunks_mut(block)) {
            let stored = frame.get(u32::from_le_bytes(*start) as usize..)?;
            let is_last = out.len() < block;
            let split = flags & NOT_SPLIT == 0 && element <= SPLITS_MAX && block / element >= SPLIT_FROM;
            let parts = if split && !is_last { element } else { 1 };
            if flags & SHUFFLED != 0 && element > 1 {
                scratch.resize(out.len(), 0);
                streams(stored, parts, scratch, decompressor)?;
                nuna_netcdf::unshuffle(scratch, element, out);
            } else {
                streams(stored, parts, out, decompressor)?;
            }
        }
        if scratch.capacity() > KEPT_MAX {
            *scratch = Vec::new();
        }
        Some(())
    })
}

/// Decodes a block's streams, which stand one after another, each with its length before it.
fn streams(
    mut stored: &[u8],
    parts: usize,
    out: &mut [u8],
    decompressor: &mut Decompressor<'_>,
) -> Option<()> {
    if !out.len().is_multiple_of(parts) {
        return None;
    }
    let part = out.len() / parts;
    for out in out.chunks_exact_mut(part.max(1)) {
        let (length, rest) = stored.split_first_chunk::<4>()?;
        let (stream, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        if stream.len() == out.len() {
            out.copy_from_slice(stream);
        } else if decompressor.decompress_to_buffer(stream, out).ok()? != out.len() {
            return None;
        }
        stored = rest;
    }
    Some(())
}
