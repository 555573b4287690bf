//! Owns what one directory says about its image: size, elements, blocks (tiles, or strips, which are tiles as wide as the
//! image), and how they are stored.

use nuna_inputs::Meta;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    decode::{Compression, Predictor},
    directory::{Directory, Entry},
    tag,
};

/// What an element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    UInt,
    Int,
    Float,
}

/// How one element is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Element {
    pub kind: Kind,
    /// Bytes: 1, 2, 4 or 8.
    pub size: u32,
}

/// An image of bands, rows and columns.
#[derive(Clone, Debug)]
pub struct Image {
    /// Where its directory lies.
    pub at: u64,
    pub width: u64,
    pub height: u64,
    pub bands: u64,
    pub element: Element,
    /// Rows and columns of a tile. Strips are as wide as the image.
    pub block: (u64, u64),
    pub is_tiled: bool,
    /// Whether each band has tiles of its own; otherwise the bands of a pixel lie together.
    pub is_planar: bool,
    pub compression: Compression,
    pub predictor: Predictor,
    /// The value that stands for none, as GDAL writes it.
    pub nodata: Option<f64>,
    pub(crate) big_endian: bool,
    /// Stored bytes, compressed or not, have their lowest bit first.
    pub(crate) bits_reversed: bool,
    pub(crate) offsets: Entry,
    pub(crate) byte_counts: Option<Entry>,
    pub(crate) directory: Directory,
}

/// A whole image has no more bytes than this, so that arithmetic on shapes never overflows.
const BYTES_MAX: u64 = 1 << 60;
/// Nor a tile, as in libtiff.
const BLOCK_BYTES_MAX: u64 = 1 << 31;
/// Samples of a pixel at most: the tag has 16 bits.
const BANDS_MAX: u64 = 65_535;

impl Image {
    pub(crate) fn of(meta: &Meta<'_>, directory: &Directory) -> Result<Self> {
        let needed = |tag: u16, name: &str| -> Result<u64> {
            directory.uint(meta, tag)?.filter(|&value| value > 0).ok_or_else(|| {
                Error::damaged(directory.at, format!("an image has no {name}, which every image needs"))
            })
        };
        let (width, height) = (needed(tag::WIDTH, "width")?, needed(tag::HEIGHT, "height")?);
        let bands = directory.uint(meta, tag::SAMPLES_PER_PIXEL)?.unwrap_or(1).max(1);
        if bands > BANDS_MAX || width > u64::from(u32::MAX) || height > u64::from(u32::MAX) {
            let message = format!("an image of {bands} bands, {height} rows and {width} columns is none");
            return Err(Error::damaged(directory.at, message));
        }
        let element = element(meta, directory)?;
        let compression = Compression::of(directory.uint(meta, tag::COMPRESSION)?.unwrap_or(1))?;
        let predictor =
            Predictor::of(directory.uint(meta, tag::PREDICTOR)?.unwrap_or(1), compression, element)?;
        check_colours(meta, directory)?;
        let is_tiled =
            directory.entry(tag::TILE_OFFSETS).or_else(|| directory.entry(tag::TILE_WIDTH)).is_some();
        let block = match is_tiled {
            true => (needed(tag::TILE_HEIGHT, "tile height")?, needed(tag::TILE_WIDTH, "tile width")?),
            false => {
                let rows = directory.uint(meta, tag::ROWS_PER_STRIP)?.unwrap_or(height).clamp(1, height);
                (rows, width)
            }
        };
        // Some write where tiles lie as if they were strips.
        let entry = |of_tiles: u16, of_strips: u16| match is_tiled {
            true => directory.entry(of_tiles).or_else(|| directory.entry(of_strips)),
            false => directory.entry(of_strips),
        };
        let offsets = entry(tag::TILE_OFFSETS, tag::STRIP_OFFSETS)
            .ok_or_else(|| Error::damaged(directory.at, "an image has neither tiles nor strips"))?;
        let byte_counts = entry(tag::TILE_BYTE_COUNTS, tag::STRIP_BYTE_COUNTS);
        if byte_counts.is_none() && compression != Compression::None {
            return Err(Error::damaged(
                directory.at,
                "a compressed image does not say how long its parts are",
            ));
        }
        let is_planar = bands > 1 && directory.uint(meta, tag::PLANAR_CONFIGURATION)?.unwrap_or(1) == 2;
        let image = Self {
            at: directory.at,
            width,
            height,
            bands,
            element,
            block,
            is_tiled,
            is_planar,
            compression,
            predictor,
            nodata: nodata(directory.text(meta, tag::GDAL_NODATA)?, element),
            big_endian: directory.numbers.big_endian,
            bits_reversed: directory.uint(meta, tag::FILL_ORDER)?.unwrap_or(1) == 2,
            offsets,
            byte_counts,
            directory: directory.clone(),
        };
        image.check()?;
        Ok(image)
    }

    /// Reads the image whose directory lies at a place, which [`open`](crate::open) said.
    ///
    /// # Errors
    /// As [`open`](crate::open).
    pub fn read(input: &dyn crate::Input, at: u64) -> Result<Self> {
        let meta = crate::directory::meta(input);
        let Some((numbers, _)) = crate::directory::header(&meta)? else {
            return Err(Error::damaged(0, "it is no TIFF file any more"));
        };
        Self::of(&meta, &Directory::read(&meta, numbers, at)?)
    }

    fn check(&self) -> Result<()> {
        let product = |factors: &[u64], most: u64| {
            factors.iter().try_fold(1u64, |n, &factor| n.checked_mul(factor)).filter(|&n| n <= most)
        };
        let size = u64::from(self.element.size);
        if product(&[self.bands, self.height, self.width, size], BYTES_MAX).is_none() {
            return Err(Error::damaged(self.at, "the image is beyond any machine"));
        }
        let (rows, columns) = self.block;
        if product(&[rows, columns, self.bands_in_block(), size], BLOCK_BYTES_MAX).is_none() {
            let message = format!(
                "parts of {rows} rows, {columns} columns and {} bands are more than {BLOCK_BYTES_MAX} bytes, the most that can be read",
                self.bands_in_block()
            );
            return Err(Error::Unsupported(message));
        }
        Ok(())
    }

    /// Bands whose elements lie together in one block.
    pub fn bands_in_block(&self) -> u64 {
        if self.is_planar { 1 } else { self.bands }
    }

    /// Blocks down and across.
    pub(crate) fn blocks(&self) -> (u64, u64) {
        (self.height.div_ceil(self.block.0), self.width.div_ceil(self.block.1))
    }

    /// Bytes of a whole block, decoded.
    pub fn block_bytes(&self) -> u64 {
        self.block.0 * self.block.1 * self.bands_in_block() * u64::from(self.element.size)
    }

    /// Bytes of memory that reading any box takes besides its result: a block as stored, and decoded.
    pub fn scratch_bytes(&self) -> u64 {
        match self.compression {
            Compression::None => (crate::read::PIECE_BYTES as u64).max(self.block_bytes() / self.block.0),
            _ => 2 * self.block_bytes() + self.block_bytes() / 4 + 8192,
        }
    }

    /// Whether any box is read at about the cost of the box.
    pub fn random_access(&self) -> bool {
        self.compression == Compression::None
    }

    /// What elements of blocks that were never written are: little-endian bytes.
    pub(crate) fn fill(&self) -> [u8; 8] {
        fill(self.element, self.nodata.unwrap_or(0.0))
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what the type holds")]
fn fill(element: Element, value: f64) -> [u8; 8] {
    let mut out = [0; 8];
    let size = element.size as usize;
    match (element.kind, size) {
        (Kind::Float, 8) => out = value.to_le_bytes(),
        (Kind::Float, 4) => out[..4].copy_from_slice(&(value as f32).to_le_bytes()),
        (Kind::Float, _) => out[..2].copy_from_slice(&half::f16::from_f64(value).to_le_bytes()),
        (Kind::UInt, _) => {
            let most = if size == 8 { u64::MAX } else { (1 << (8 * size)) - 1 };
            out[..size].copy_from_slice(&(value as u64).min(most).to_le_bytes()[..size]);
        }
        (Kind::Int, _) => {
            let most = i64::MAX >> (64 - 8 * size);
            out[..size].copy_from_slice(&(value as i64).clamp(-most - 1, most).to_le_bytes()[..size]);
        }
    }
    out
}

/// Refuses colours whose parts are stored with fewer pixels than their brightness.
fn check_colours(meta: &Meta<'_>, directory: &Directory) -> Result<()> {
    const YCBCR: u64 = 6;
    if directory.uint(meta, tag::PHOTOMETRIC)? != Some(YCBCR) {
        return Ok(());
    }
    let sampling = directory.uints(meta, tag::YCBCR_SUBSAMPLING)?.unwrap_or_else(|| vec![2, 2]);
    if sampling.iter().all(|&n| n == 1) {
        return Ok(());
    }
    Err(Error::Unsupported(format!(
        "its colours are YCbCr, stored once for several pixels (subsampling {sampling:?}), which is not supported; rewrite it as RGB, for example with gdal_translate -co PHOTOMETRIC=RGB"
    )))
}

fn element(meta: &Meta<'_>, directory: &Directory) -> Result<Element> {
    let one = |tag: u16, default: u64, name: &str| -> Result<u64> {
        let values = directory.uints(meta, tag)?.unwrap_or_default();
        let first = values.first().copied().unwrap_or(default);
        if values.iter().any(|&value| value != first) {
            let message = format!("its bands differ in {name} ({values:?}), which is not supported");
            return Err(Error::Unsupported(message));
        }
        Ok(first)
    };
    let bits = one(tag::BITS_PER_SAMPLE, 1, "their bits")?;
    let format = one(tag::SAMPLE_FORMAT, 1, "what their elements are")?;
    let kind = match format {
        // Undefined is read as libtiff does.
        1 | 4 => Kind::UInt,
        2 => Kind::Int,
        3 => Kind::Float,
        5 | 6 => {
            let message = format!("its elements are complex numbers of {bits} bits, which are not supported");
            return Err(Error::Unsupported(message));
        }
        other => return Err(Error::damaged(directory.at, format!("elements of the unknown kind {other}"))),
    };
    match (kind, bits) {
        (Kind::UInt | Kind::Int, 8 | 16 | 32 | 64) | (Kind::Float, 16 | 32 | 64) => {
            Ok(Element { kind, size: (bits / 8) as u32 })
        }
        _ => {
            let kind = if kind == Kind::Float { "floating-point numbers" } else { "whole numbers" };
            Err(Error::Unsupported(format!(
                "its elements are {kind} of {bits} bits, which are not supported; rewrite it with 8 bits or more, for example with gdal_translate -co NBITS=8"
            )))
        }
    }
}

/// What GDAL's tag says, as near as an element comes to it.
#[expect(clippy::cast_possible_truncation, reason = "rounded to what the type holds")]
fn nodata(text: Option<String>, element: Element) -> Option<f64> {
    let value = number(&text?)?;
    let is_single = (element.kind, element.size) == (Kind::Float, 4);
    Some(if is_single { f64::from(value as f32) } else { value })
}

/// A number as GDAL writes it.
pub(crate) fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    match text.to_ascii_lowercase().as_str() {
        "nan" | "-nan" | "nan(ind)" | "-nan(ind)" => Some(f64::NAN),
        _ => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_written_is_the_nearest_value_of_the_type() {
        let of = |kind, size, value| fill(Element { kind, size }, value)[..size as usize].to_vec();
        assert_eq!(of(Kind::UInt, 1, 300.0), [255]);
        assert_eq!(of(Kind::UInt, 2, -1.0), [0, 0]);
        assert_eq!(of(Kind::UInt, 8, 1e30), [255; 8]);
        assert_eq!(of(Kind::Int, 1, -9999.0), [0x80]);
        assert_eq!(of(Kind::Int, 2, -9999.0), (-9999i16).to_le_bytes());
        assert_eq!(of(Kind::Int, 8, f64::NAN), [0; 8]);
        assert_eq!(of(Kind::Float, 4, -9999.0), (-9999f32).to_le_bytes());
        assert_eq!(of(Kind::Float, 8, 0.1), 0.1f64.to_le_bytes());
    }

    #[test]
    fn numbers_are_read_as_gdal_writes_them() {
        assert_eq!(number(" -3.4e+38 "), Some(-3.4e38));
        assert!(number("nan").is_some_and(f64::is_nan) && number("-nan").is_some_and(f64::is_nan));
        assert_eq!(number("inf"), Some(f64::INFINITY));
        assert_eq!(number("none"), None);
    }
}
