//! Owns the filters of HDF5 chunks: which there are, undoing them, and applying those that are written (HDF5 file format specification 3.0, IV.A.2.l;
//! numbers from the HDF Group's registry of filters).

use std::cell::RefCell;

use libdeflater::{CompressionLvl, Compressor, Decompressor};
use serde::{Deserialize, Serialize};

use crate::scratch::Scratch;

/// A filter that can be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Filter {
    Deflate,
    Shuffle { element_bytes: u32 },
    Fletcher32,
    Zstd,
    Lzf,
}

impl Filter {
    /// The filter of that number.
    ///
    /// # Errors
    /// If it is none of ours: its number and name.
    pub(crate) fn of(number: u16, name: &str, values: &[u32], element_bytes: u32) -> Result<Self, String> {
        match number {
            1 => Ok(Filter::Deflate),
            2 => Ok(Filter::Shuffle {
                element_bytes: values.first().copied().filter(|&n| n > 0).unwrap_or(element_bytes),
            }),
            3 => Ok(Filter::Fletcher32),
            32000 => Ok(Filter::Lzf),
            32015 => Ok(Filter::Zstd),
            _ => {
                let known = match number {
                    4 => "szip",
                    5 => "nbit",
                    6 => "scaleoffset",
                    305 => "lzo",
                    307 => "bzip2",
                    32001 => "blosc",
                    32004 => "lz4",
                    32008 => "bitshuffle",
                    32013 => "zfp",
                    32017 => "sz",
                    32018 => "fcidecomp",
                    32022 => "bitgroom",
                    32023 => "granular bitround",
                    32026 => "blosc2",
                    _ if name.is_empty() => "unnamed",
                    _ => name,
                };
                Err(format!(
                    "its chunks went through HDF5 filter {number} ({known}), which cannot be undone here; those that can are \
                     deflate, shuffle, fletcher32, lzf and zstd: rewrite the file with one of these"
                ))
            }
        }
    }

    fn keeps_size(self) -> bool {
        matches!(self, Filter::Shuffle { .. } | Filter::Fletcher32)
    }

    /// The most bytes that `bytes` bytes become, written by any sensible encoder.
    fn grown(self, bytes: usize) -> usize {
        match self {
            Filter::Shuffle { .. } => bytes,
            Filter::Fletcher32 => bytes.saturating_add(4),
            Filter::Deflate | Filter::Zstd | Filter::Lzf => {
                bytes.saturating_add(bytes / 8).saturating_add(4096)
            }
        }
    }
}

/// The most bytes that a stored chunk of so many decoded bytes has.
pub(crate) fn stored_bytes_max(filters: &[Filter], chunk_bytes: usize) -> usize {
    filters.iter().fold(chunk_bytes, |bytes, filter| filter.grown(bytes))
}

thread_local! {
    static INFLATE: RefCell<Decompressor> = RefCell::new(Decompressor::new());
    static DEFLATE: RefCell<Option<(u32, Compressor)>> = const { RefCell::new(None) };
    static UNZSTD: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Undoes `filters` (in the order in which they were applied; bit `i` of `mask` says that the `i`-th was left out). `out`
/// is as long as the chunk.
///
/// # Errors
/// What is wrong with the bytes.
pub(crate) fn undo(filters: &[Filter], mask: u32, stored: &[u8], out: &mut [u8]) -> Result<(), String> {
    let applied: Vec<Filter> = filters
        .iter()
        .enumerate()
        .filter(|(i, _)| *i >= 32 || mask >> i & 1 == 0)
        .map(|(_, filter)| *filter)
        .collect();
    // Deflate inflates by a factor of 1032 at most. A chunk that pretends more is not worth the memory.
    if applied.contains(&Filter::Deflate) && out.len() / 1100 > stored.len() {
        return Err(format!("{} bytes cannot hold {} bytes deflated", stored.len(), out.len()));
    }
    let mut held = Scratch::new(0);
    let mut first = true;
    for (number, filter) in applied.iter().enumerate().rev() {
        let before = &applied[..number];
        let input: &[u8] = if first { stored } else { &held };
        let exact = before.iter().all(|filter| filter.keeps_size());
        let room = stored_bytes_max(before, out.len());
        if before.is_empty() {
            // The last one writes where the chunk is wanted.
            let written = step(*filter, input, out)?;
            return check(written, out.len());
        }
        if let Filter::Fletcher32 = filter {
            let kept = verified(input)?.len();
            if first {
                held = Scratch::copy_of(&stored[..kept]);
            } else {
                held.truncate(kept);
            }
        } else {
            let mut next = Scratch::new(room);
            let written = step(*filter, input, &mut next)?;
            if exact {
                check(written, room)?;
            }
            next.truncate(written);
            held = next;
        }
        first = false;
    }
    check(stored.len(), out.len())?;
    out.copy_from_slice(stored);
    Ok(())
}

fn check(found: usize, expected: usize) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("it decodes to {found} bytes, expected {expected}")) }
}

/// Undoes one filter and says how many bytes came out.
fn step(filter: Filter, input: &[u8], out: &mut [u8]) -> Result<usize, String> {
    match filter {
        Filter::Deflate => INFLATE.with_borrow_mut(|inflate| {
            inflate.zlib_decompress(input, out).map_err(|error| format!("deflate: {error}"))
        }),
        Filter::Zstd => UNZSTD.with_borrow_mut(|kept| {
            let decompressor = match kept {
                Some(decompressor) => decompressor,
                None => kept.insert(zstd::bulk::Decompressor::new().map_err(|error| error.to_string())?),
            };
            decompressor.decompress_to_buffer(input, out).map_err(|error| format!("zstd: {error}"))
        }),
        Filter::Lzf => lzf(input, out),
        Filter::Shuffle { element_bytes } => {
            check(input.len(), out.len())?;
            unshuffle(input, element_bytes as usize, out);
            Ok(out.len())
        }
        Filter::Fletcher32 => {
            let data = verified(input)?;
            check(data.len(), out.len())?;
            out.copy_from_slice(data);
            Ok(out.len())
        }
    }
}

/// Shuffles and deflates a chunk, and hands it to `done`. Level 1 is the fastest, 9 the smallest.
///
/// # Errors
/// If the level is none of these.
pub fn deflated<R>(
    chunk: &[u8],
    element_bytes: usize,
    level: u32,
    done: impl FnOnce(&[u8]) -> R,
) -> Result<R, String> {
    let lvl = i32::try_from(level).ok().filter(|level| (1..=9).contains(level));
    let lvl = lvl.and_then(|level| CompressionLvl::new(level).ok());
    let lvl = lvl.ok_or_else(|| format!("deflate has the levels 1 to 9, not {level}"))?;
    let shuffled = (element_bytes > 1).then(|| {
        let mut shuffled = Scratch::new(chunk.len());
        shuffle(chunk, element_bytes, &mut shuffled);
        shuffled
    });
    let mut out = Scratch::new(deflated_bytes_max(chunk.len()));
    let written = DEFLATE.with_borrow_mut(|kept| {
        if kept.as_ref().is_none_or(|(known, _)| *known != level) {
            *kept = Some((level, Compressor::new(lvl)));
        }
        let (_, compressor) = kept.as_mut().ok_or("there is no memory to compress with")?;
        compressor
            .zlib_compress(shuffled.as_deref().unwrap_or(chunk), &mut out)
            .map_err(|error| error.to_string())
    })?;
    out.truncate(written);
    Ok(done(&out))
}

/// The most bytes that a chunk of so many has when it is deflated.
fn deflated_bytes_max(bytes: usize) -> usize {
    // Blocks of 5 KB that are stored as they are cost five bytes each, and ends some more.
    bytes.saturating_add(bytes / 900).saturating_add(64)
}

/// Puts bytes of equal rank together. What is left over after the last whole element stays as it is.
fn shuffle(input: &[u8], size: usize, out: &mut [u8]) {
    fn wide<const N: usize>(input: &[u8], count: usize, out: &mut [u8]) {
        let (elements, _) = input.as_chunks::<N>();
        for (plane, bytes) in out.chunks_exact_mut(count.max(1)).take(N).enumerate() {
            for (byte, element) in bytes.iter_mut().zip(elements) {
                *byte = element[plane];
            }
        }
    }
    let count = input.len() / size.max(1);
    match size {
        2 => wide::<2>(input, count, out),
        4 => wide::<4>(input, count, out),
        8 => wide::<8>(input, count, out),
        _ => {
            for (plane, bytes) in out.chunks_exact_mut(count.max(1)).take(size).enumerate() {
                for (i, byte) in bytes.iter_mut().enumerate() {
                    *byte = input[i * size + plane];
                }
            }
        }
    }
    out[count * size..].copy_from_slice(&input[count * size..]);
}

/// Puts bytes of equal rank back to their elements of `size` bytes. What is left over after the last whole element stays as
/// it is.
///
/// # Panics
/// If `out` is not as long as `input`.
pub fn unshuffle(input: &[u8], size: usize, out: &mut [u8]) {
    fn wide<const N: usize>(input: &[u8], count: usize, out: &mut [u8]) {
        let planes: [&[u8]; N] = std::array::from_fn(|plane| &input[plane * count..(plane + 1) * count]);
        let (elements, _) = out.as_chunks_mut::<N>();
        for (i, element) in elements.iter_mut().enumerate().take(count) {
            *element = std::array::from_fn(|plane| planes[plane][i]);
        }
    }
    let count = input.len() / size.max(1);
    match size {
        0 | 1 => out.copy_from_slice(input),
        2 => wide::<2>(input, count, out),
        4 => wide::<4>(input, count, out),
        8 => wide::<8>(input, count, out),
        _ => {
            for (plane, bytes) in input.chunks_exact(count.max(1)).take(size).enumerate() {
                for (i, &byte) in bytes.iter().enumerate().take(count) {
                    out[i * size + plane] = byte;
                }
            }
        }
    }
    let whole = count * size.max(1);
    if size > 1 {
        out[whole..].copy_from_slice(&input[whole..]);
    }
}

/// The bytes before their checksum.
fn verified(input: &[u8]) -> Result<&[u8], String> {
    let (data, stored) = input.split_last_chunk::<4>().ok_or("there is no room for its checksum")?;
    let stored = u32::from_le_bytes(*stored);
    let sum = fletcher32(data);
    // HDF5 before 1.6.3 wrote the bytes of each half in the other order.
    let swapped = (sum & 0x00ff_00ff) << 8 | (sum & 0xff00_ff00) >> 8;
    if stored == sum || stored == swapped || cfg!(feature = "fuzzing") {
        Ok(data)
    } else {
        Err(format!("its fletcher32 checksum is {sum:08x}, but {stored:08x} was stored"))
    }
}

/// As `H5_checksum_fletcher32` adds up: words of two bytes, the higher first.
fn fletcher32(data: &[u8]) -> u32 {
    let (mut low, mut high) = (0u32, 0u32);
    let (words, odd) = data.as_chunks::<2>();
    for block in words.chunks(360) {
        for word in block {
            low += u32::from(u16::from_be_bytes(*word));
            high += low;
        }
        low = (low & 0xffff) + (low >> 16);
        high = (high & 0xffff) + (high >> 16);
    }
    if let [byte] = odd {
        low += u32::from(*byte) << 8;
        high += low;
        low = (low & 0xffff) + (low >> 16);
        high = (high & 0xffff) + (high >> 16);
    }
    low = (low & 0xffff) + (low >> 16);
    high = (high & 0xffff) + (high >> 16);
    high << 16 | low
}

/// LibLZF, h5py's own compression.
fn lzf(input: &[u8], out: &mut [u8]) -> Result<usize, String> {
    const SHORT: &str = "lzf: the data end early";
    let (mut at, mut to) = (0, 0);
    while let Some(&control) = input.get(at) {
        at += 1;
        let control = usize::from(control);
        if control < 32 {
            let run = input.get(at..at + control + 1).ok_or(SHORT)?;
            out.get_mut(to..to + run.len()).ok_or("lzf: more data than expected")?.copy_from_slice(run);
            at += run.len();
            to += run.len();
            continue;
        }
        let mut length = control >> 5;
        if length == 7 {
            length += usize::from(*input.get(at).ok_or(SHORT)?);
            at += 1;
        }
        let back = ((control & 31) << 8) + usize::from(*input.get(at).ok_or(SHORT)?) + 1;
        at += 1;
        let from = to.checked_sub(back).ok_or("lzf: a reference before the start")?;
        if to + length + 2 > out.len() {
            return Err("lzf: more data than expected".to_owned());
        }
        for i in 0..length + 2 {
            out[to + i] = out[from + i];
        }
        to += length + 2;
    }
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffling_is_undone_for_all_sizes_and_remainders() {
        for size in 1..=9usize {
            for length in [0, 1, size, 5 * size, 5 * size + size / 2] {
                let plain: Vec<u8> = (0..length as u8).collect();
                let count = length / size;
                let mut shuffled: Vec<u8> =
                    (0..size).flat_map(|plane| (0..count).map(move |i| (i * size + plane) as u8)).collect();
                shuffled.extend_from_slice(&plain[count * size..]);
                let mut out = vec![0; length];
                shuffle(&plain, size, &mut out);
                assert_eq!(out, shuffled, "{size} {length}");
                unshuffle(&shuffled, size, &mut out);
                assert_eq!(out, plain, "{size} {length}");
            }
        }
    }

    #[test]
    fn filters_that_are_unknown_say_their_number_and_name() {
        let error = Filter::of(4, "", &[], 4).unwrap_err();
        assert!(error.contains("filter 4 (szip)"), "{error}");
        let error = Filter::of(40000, "mine", &[], 4).unwrap_err();
        assert!(error.contains("filter 40000 (mine)"), "{error}");
    }

    #[test]
    fn what_is_deflated_is_inflated_again() {
        let mut state = 1u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(100_003)
        .collect();
        for (size, level) in [(1, 1), (2, 4), (4, 9), (8, 6), (3, 2)] {
            for plain in [&noise[..], &[7; 5000], &noise[..1], &[]] {
                let filters = [Filter::Shuffle { element_bytes: size }, Filter::Deflate];
                let mut out = vec![0; plain.len()];
                let undone =
                    deflated(plain, size as usize, level, |stored| undo(&filters, 0, stored, &mut out));
                undone.unwrap().unwrap();
                assert_eq!(out, plain, "{size} {level}");
            }
        }
        assert!(deflated(&[1], 1, 0, |_| ()).is_err());
        assert!(deflated(&[1], 1, 10, |_| ()).is_err());
    }

    #[test]
    fn a_chunk_that_pretends_to_be_huge_costs_no_memory() {
        let mut out = vec![0; 1 << 20];
        let error = undo(&[Filter::Deflate], 0, &[1, 2, 3], &mut out).unwrap_err();
        assert!(error.contains("cannot hold"), "{error}");
    }
}
