//! Owns one block on its way from stored bytes to little-endian elements: compressions and predictors (TIFF 6.0 sections 9, 13
//! and 14; Adobe's technical notes 1 to 3 for deflate and floating-point predictors).

use std::cell::RefCell;

use libdeflater::{DecompressionError, Decompressor};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    image::{Element, Kind},
};

/// How blocks are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compression {
    None,
    Lzw,
    Deflate,
    PackBits,
    Zstd,
}

/// What elements were replaced by before compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Predictor {
    None,
    /// Differences to the element on the left.
    Horizontal,
    /// Bytes of equal rank together, then differences of bytes.
    FloatingPoint,
}

impl Compression {
    pub(crate) fn of(number: u64) -> Result<Self> {
        match number {
            1 => Ok(Compression::None),
            5 => Ok(Compression::Lzw),
            8 | 32946 => Ok(Compression::Deflate),
            32773 => Ok(Compression::PackBits),
            50000 => Ok(Compression::Zstd),
            _ => {
                let name = match number {
                    2 => "CCITT RLE",
                    3 => "CCITT fax 3",
                    4 => "CCITT fax 4",
                    6 => "old JPEG",
                    7 => "JPEG",
                    32809 => "ThunderScan",
                    34676 | 34677 => "SGI LogLuv",
                    34712 => "JPEG 2000",
                    34887 => "LERC",
                    34925 => "LZMA",
                    50001 => "WebP",
                    50002 | 52546 => "JPEG XL",
                    _ => "unknown",
                };
                Err(Error::Unsupported(format!(
                    "it is compressed with method {number} ({name}), which cannot be undone here; those that can are deflate, \
                     lzw, zstd and packbits: rewrite it, for example with gdal_translate -co COMPRESS=DEFLATE"
                )))
            }
        }
    }

    /// The most bytes that so many stored bytes can become; nothing more is worth the memory.
    pub(crate) fn decoded_bytes_max(self, stored: u64) -> u64 {
        match self {
            Compression::None => stored,
            // A code of at least 9 bits stands for less than 4096 bytes.
            Compression::Lzw => stored.saturating_mul(4096),
            Compression::Deflate => stored.saturating_mul(1100),
            Compression::PackBits => stored.saturating_mul(64),
            // Blocks of 128 KiB in 4 bytes.
            Compression::Zstd => stored.saturating_mul(1 << 15),
        }
    }

    /// The most bytes that any sensible encoder makes of so many.
    pub(crate) fn stored_bytes_max(self, decoded: u64) -> u64 {
        match self {
            // Whoever writes a short last strip in full.
            Compression::None => decoded,
            Compression::Lzw => decoded.saturating_mul(2).saturating_add(4096),
            Compression::Deflate | Compression::PackBits | Compression::Zstd => {
                decoded.saturating_add(decoded / 8).saturating_add(4096)
            }
        }
    }
}

impl Predictor {
    pub(crate) fn of(number: u64, compression: Compression, element: Element) -> Result<Self> {
        // As in libtiff, only these know of predictors.
        if !matches!(compression, Compression::Lzw | Compression::Deflate | Compression::Zstd) {
            return Ok(Predictor::None);
        }
        match number {
            1 => Ok(Predictor::None),
            2 => Ok(Predictor::Horizontal),
            3 if element.kind == Kind::Float => Ok(Predictor::FloatingPoint),
            _ => Err(Error::Unsupported(format!(
                "its predictor {number} does not fit its elements, {element:?}"
            ))),
        }
    }
}

thread_local! {
    static INFLATE: RefCell<Decompressor> = RefCell::new(Decompressor::new());
    static UNZSTD: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Decompresses exactly `out`; what there is more, up to so many bytes in all, is left out, as in libtiff.
///
/// # Errors
/// What is wrong with the bytes.
pub(crate) fn decompress(
    compression: Compression,
    stored: &[u8],
    out: &mut [u8],
    longest: usize,
) -> Result<(), String> {
    let most = compression.decoded_bytes_max(stored.len() as u64);
    if out.len() as u64 > most {
        return Err(format!("{} stored bytes cannot hold {} bytes", stored.len(), out.len()));
    }
    let written = match compression {
        Compression::None => {
            let count = stored.len().min(out.len());
            out[..count].copy_from_slice(&stored[..count]);
            count
        }
        Compression::Deflate => inflate(stored, out, longest)?,
        Compression::Lzw => lzw(stored, out)?,
        Compression::PackBits => packbits(stored, out)?,
        Compression::Zstd => unzstd(stored, out, longest)?,
    };
    if written == out.len() {
        Ok(())
    } else {
        Err(format!("it decodes to {written} bytes, expected {}", out.len()))
    }
}

fn inflate(stored: &[u8], out: &mut [u8], longest: usize) -> Result<usize, String> {
    let found = INFLATE.with_borrow_mut(|inflate| inflate.zlib_decompress(stored, out));
    match found {
        Err(DecompressionError::InsufficientSpace) if longest > out.len() => longer(out, longest, |whole| {
            INFLATE.with_borrow_mut(|inflate| inflate.zlib_decompress(stored, whole)).ok()
        }),
        other => other.map_err(|error| format!("deflate: {error}")),
    }
}

fn unzstd(stored: &[u8], out: &mut [u8], longest: usize) -> Result<usize, String> {
    UNZSTD.with_borrow_mut(|kept| {
        let decompressor = match kept {
            Some(decompressor) => decompressor,
            None => kept.insert(zstd::bulk::Decompressor::new().map_err(|error| error.to_string())?),
        };
        match decompressor.decompress_to_buffer(stored, out) {
            Ok(written) => Ok(written),
            Err(_) if longest > out.len() => {
                longer(out, longest, |whole| decompressor.decompress_to_buffer(stored, whole).ok())
            }
            Err(error) => Err(format!("zstd: {error}")),
        }
    })
}

/// A last strip that was written in full, although the image ends before.
fn longer(
    out: &mut [u8],
    longest: usize,
    mut decode: impl FnMut(&mut [u8]) -> Option<usize>,
) -> Result<usize, String> {
    let mut whole = vec![0; out.len()];
    while whole.len() < longest {
        whole.resize(whole.len().saturating_mul(2).min(longest), 0);
        if let Some(written) = decode(&mut whole) {
            let count = written.min(out.len());
            out[..count].copy_from_slice(&whole[..count]);
            return Ok(count);
        }
    }
    Err(format!("it cannot be decoded, or is much longer than {} bytes", out.len()))
}

fn lzw(stored: &[u8], out: &mut [u8]) -> Result<usize, String> {
    if stored.len() > 1 && stored[0] == 0 && stored[1] & 1 == 1 {
        return Err(
            "it is LZW of before TIFF 6.0, which is not supported; rewrite it with gdal_translate".to_owned()
        );
    }
    let mut decoder = weezl::decode::Decoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8);
    let (mut at, mut to) = (0, 0);
    loop {
        let result = decoder.decode_bytes(&stored[at..], &mut out[to..]);
        at += result.consumed_in;
        to += result.consumed_out;
        let status = result.status.map_err(|error| format!("lzw: {error}"))?;
        let is_stuck = result.consumed_in == 0 && result.consumed_out == 0;
        if to == out.len() || matches!(status, weezl::LzwStatus::Done) || is_stuck {
            return Ok(to);
        }
    }
}

fn packbits(stored: &[u8], out: &mut [u8]) -> Result<usize, String> {
    const SHORT: &str = "packbits: the data end early";
    let (mut at, mut to) = (0, 0);
    while to < out.len() {
        let Some(&control) = stored.get(at) else { break };
        at += 1;
        let left = out.len() - to;
        match i8::from_le_bytes([control]) {
            -128 => {}
            run @ -127..=-1 => {
                let value = *stored.get(at).ok_or(SHORT)?;
                at += 1;
                let count = (1 - isize::from(run)).unsigned_abs().min(left);
                out[to..to + count].fill(value);
                to += count;
            }
            literal @ 0.. => {
                let count = (isize::from(literal) + 1).unsigned_abs();
                let run = stored.get(at..at + count).ok_or(SHORT)?;
                at += count;
                let count = count.min(left);
                out[to..to + count].copy_from_slice(&run[..count]);
                to += count;
            }
        }
    }
    Ok(to)
}

/// Undoes a predictor in rows of `bands` interleaved elements, and leaves little-endian bytes. `row` is the bytes of a row.
pub(crate) fn restore(
    predictor: Predictor,
    element: Element,
    big_endian: bool,
    bands: usize,
    row: usize,
    bytes: &mut [u8],
) {
    let size = element.size as usize;
    // Planes of bytes have no order of their own.
    if big_endian && predictor != Predictor::FloatingPoint {
        swap(bytes, size);
    }
    match predictor {
        Predictor::None => {}
        Predictor::Horizontal => {
            for row in bytes.chunks_exact_mut(row.max(1)) {
                match size {
                    1 => add::<u8, 1>(row, bands, u8::from_le_bytes, u8::to_le_bytes, u8::wrapping_add),
                    2 => add::<u16, 2>(row, bands, u16::from_le_bytes, u16::to_le_bytes, u16::wrapping_add),
                    4 => add::<u32, 4>(row, bands, u32::from_le_bytes, u32::to_le_bytes, u32::wrapping_add),
                    _ => add::<u64, 8>(row, bands, u64::from_le_bytes, u64::to_le_bytes, u64::wrapping_add),
                }
            }
        }
        Predictor::FloatingPoint => {
            let mut planes = vec![0; row];
            for row in bytes.chunks_exact_mut(row.max(1)) {
                add::<u8, 1>(row, bands, u8::from_le_bytes, u8::to_le_bytes, u8::wrapping_add);
                planes.copy_from_slice(row);
                match size {
                    2 => join::<2>(&planes, row),
                    4 => join::<4>(&planes, row),
                    _ => join::<8>(&planes, row),
                }
            }
        }
    }
}

/// Every element is the sum of those before it in its band.
#[inline]
fn add<T: Copy + Default, const N: usize>(
    row: &mut [u8],
    bands: usize,
    from: impl Fn([u8; N]) -> T,
    to: impl Fn(T) -> [u8; N],
    sum: impl Fn(T, T) -> T,
) {
    let (elements, _) = row.as_chunks_mut::<N>();
    if bands == 1 {
        let mut last = T::default();
        for element in elements {
            last = sum(last, from(*element));
            *element = to(last);
        }
        return;
    }
    for at in bands..elements.len() {
        elements[at] = to(sum(from(elements[at - bands]), from(elements[at])));
    }
}

/// The highest bytes of all elements come first.
fn join<const N: usize>(planes: &[u8], out: &mut [u8]) {
    let (elements, _) = out.as_chunks_mut::<N>();
    let count = elements.len();
    let planes: [&[u8]; N] = std::array::from_fn(|rank| &planes[(N - 1 - rank) * count..(N - rank) * count]);
    for (at, element) in elements.iter_mut().enumerate() {
        *element = std::array::from_fn(|rank| planes[rank][at]);
    }
}

fn swap(bytes: &mut [u8], size: usize) {
    match size {
        2 => bytes.as_chunks_mut::<2>().0.iter_mut().for_each(|x| x.reverse()),
        4 => bytes.as_chunks_mut::<4>().0.iter_mut().for_each(|x| x.reverse()),
        8 => bytes.as_chunks_mut::<8>().0.iter_mut().for_each(|x| x.reverse()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const F32: Element = Element { kind: Kind::Float, size: 4 };
    const U16: Element = Element { kind: Kind::UInt, size: 2 };

    #[test]
    fn packbits_is_as_in_the_specification() {
        let stored =
            [0xfe, 0xaa, 0x02, 0x80, 0x00, 0x2a, 0xfd, 0xaa, 0x03, 0x80, 0x00, 0x2a, 0x22, 0xf7, 0xaa];
        let mut out = [0; 24];
        decompress(Compression::PackBits, &stored, &mut out, 0).unwrap();
        let expected = [
            0xaa, 0xaa, 0xaa, 0x80, 0x00, 0x2a, 0xaa, 0xaa, 0xaa, 0xaa, 0x80, 0x00, 0x2a, 0x22, 0xaa, 0xaa,
            0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa,
        ];
        assert_eq!(out, expected);
        assert!(decompress(Compression::PackBits, &[5, 1], &mut out, 0).is_err());
    }

    #[test]
    fn differences_are_added_band_by_band_in_both_byte_orders() {
        let differences: [u16; 8] = [10, 1000, 1, 1, 65535, 2, 3, 65000];
        let expected: [u16; 8] = [10, 1000, 11, 1001, 10, 1003, 13, 467];
        for big_endian in [false, true] {
            let write = |n: &u16| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
            let mut bytes: Vec<u8> = differences.iter().flat_map(write).collect();
            restore(Predictor::Horizontal, U16, big_endian, 2, 16, &mut bytes);
            let found: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|&b| u16::from_le_bytes(b)).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn planes_of_bytes_become_numbers() {
        let values = [1.5f32, -2.25, 1e30];
        let planes: Vec<u8> =
            (0..4).flat_map(|rank| values.iter().map(move |value| value.to_be_bytes()[rank])).collect();
        let mut stored = planes.clone();
        for at in (1..stored.len()).rev() {
            stored[at] = planes[at].wrapping_sub(planes[at - 1]);
        }
        restore(Predictor::FloatingPoint, F32, true, 1, 12, &mut stored);
        let found: Vec<f32> = stored.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        assert_eq!(found, values);
    }

    #[test]
    fn a_block_that_pretends_to_be_huge_costs_no_memory() {
        let mut out = vec![0; 1 << 20];
        for compression in [
            Compression::None,
            Compression::Deflate,
            Compression::Lzw,
            Compression::PackBits,
            Compression::Zstd,
        ] {
            let error = decompress(compression, &[1, 2, 3], &mut out, 1 << 30).unwrap_err();
            assert!(error.contains("cannot hold"), "{compression:?}: {error}");
        }
    }

    #[test]
    fn methods_that_are_unknown_say_their_number_and_name() {
        let error = Compression::of(34887).unwrap_err().to_string();
        assert!(error.contains("method 34887 (LERC)"), "{error}");
    }
}
