//! Owns reading elements: a box of bands, rows and columns as little-endian bytes in C order. Where blocks lie is found out
//! once for each open reader.

use std::ops::Range;

use nuna_inputs::Reads;

use crate::{
    Error, Image, Input, Result,
    decode::{self, Compression, Predictor},
    directory,
};

/// An open image. Shared by threads; each read decodes on the thread that asks.
pub struct Reader<I> {
    input: I,
    image: Image,
    offsets: Vec<u64>,
    /// Empty if the file does not say; blocks are not compressed then.
    byte_counts: Vec<u64>,
}

/// A block: which band's (0 if all lie together), and which.
#[derive(Clone, Copy)]
struct Place {
    plane: u64,
    row: u64,
    column: u64,
}

impl<I: Input> Reader<I> {
    /// Finds out where all blocks lie.
    ///
    /// # Errors
    /// If the lists of places are damaged.
    pub fn new(input: I, image: Image) -> Result<Self> {
        let meta = directory::meta(&input);
        let (down, across) = image.blocks();
        let planes = if image.is_planar { image.bands } else { 1 };
        let count = down.checked_mul(across).and_then(|n| n.checked_mul(planes));
        let count = count.ok_or_else(|| Error::damaged(image.at, "it has more blocks than any file"))?;
        let offsets = image.directory.places(&meta, image.offsets, count)?;
        let byte_counts = match image.byte_counts {
            Some(entry) => image.directory.places(&meta, entry, count)?,
            None => Vec::new(),
        };
        Ok(Self { input, image, offsets, byte_counts })
    }

    pub fn image(&self) -> &Image {
        &self.image
    }

    pub fn input(&self) -> &I {
        &self.input
    }

    /// How many blocks there are.
    pub fn blocks(&self) -> usize {
        self.offsets.len()
    }

    /// Reads a box of bands, rows and columns into `out`, which is as long as the box.
    ///
    /// # Errors
    /// [`Error::Damaged`] with the block's place, [`Error::Io`].
    ///
    /// # Panics
    /// If the box is not within the image, or `out` is not as long.
    pub fn read(&self, region: &[Range<u64>; 3], out: &mut [u8]) -> Result<()> {
        let image = &self.image;
        let within = |r: &Range<u64>, n: u64| r.start <= r.end && r.end <= n;
        let [bands, rows, columns] = region;
        assert!(
            within(bands, image.bands) && within(rows, image.height) && within(columns, image.width),
            "a box in the image"
        );
        let extent = region.iter().map(|r| r.end - r.start).product::<u64>();
        assert_eq!(out.len() as u64, extent * u64::from(image.element.size), "room for the box");
        if out.is_empty() {
            return Ok(());
        }
        let (block_rows, block_columns) = image.block;
        let planes = if image.is_planar { bands.clone() } else { 0..1 };
        let mut scratch = Scratch::default();
        let places = || {
            planes.clone().flat_map(|plane| {
                (rows.start / block_rows..rows.end.div_ceil(block_rows)).flat_map(move |row| {
                    (columns.start / block_columns..columns.end.div_ceil(block_columns))
                        .map(move |column| Place { plane, row, column })
                })
            })
        };
        let mut reads = Reads::new(&self.input, || self.stored(places(), region));
        for place in places() {
            self.block(place, region, &mut reads, &mut scratch, out)?;
        }
        Ok(())
    }

    /// What will be read of blocks, up to one that cannot be as long as it pretends.
    fn stored(&self, places: impl Iterator<Item = Place>, region: &[Range<u64>; 3]) -> Vec<Range<u64>> {
        let image = &self.image;
        let mut wanted = Vec::new();
        for place in places {
            let number = self.number(place);
            let (at, bytes) = (self.offsets[number], self.byte_counts.get(number).copied());
            if at == 0 || bytes == Some(0) {
                continue;
            }
            let to = Target::new(place, image, region);
            let (from, end) = match image.compression {
                Compression::None => (to.rows.start * to.row_bytes, to.rows.end * to.row_bytes),
                _ => (0, usize::try_from(bytes.unwrap_or(0)).unwrap_or(usize::MAX)),
            };
            let most = image.compression.stored_bytes_max((to.stored_rows * to.row_bytes) as u64);
            if end as u64 > most {
                break;
            }
            wanted.push(at.saturating_add(from as u64)..at.saturating_add(end as u64));
        }
        wanted
    }

    fn number(&self, place: Place) -> usize {
        let (down, across) = self.image.blocks();
        ((place.plane * down + place.row) * across + place.column) as usize
    }

    /// Copies what one block has of a box.
    fn block(
        &self,
        place: Place,
        region: &[Range<u64>; 3],
        reads: &mut Reads<'_>,
        scratch: &mut Scratch,
        out: &mut [u8],
    ) -> Result<()> {
        let image = &self.image;
        let number = self.number(place);
        let to = Target::new(place, image, region);
        if self.offsets[number] == 0 || self.byte_counts.get(number) == Some(&0) {
            to.fill(&image.fill()[..to.size], out);
            return Ok(());
        }
        if image.compression == Compression::None {
            return self.plain(number, &to, reads, scratch, out);
        }
        let length = to.stored_rows * to.row_bytes;
        let at = self.offsets[number];
        let damaged = |message: String| {
            let Place { plane, row, column } = place;
            Error::damaged(at, format!("block ({plane}, {row}, {column}) cannot be decoded: {message}"))
        };
        let stored = self.byte_counts[number];
        // Both before any memory is asked for.
        let (least, most) = (length as u64, image.compression.stored_bytes_max(length as u64));
        if stored > most || image.compression.decoded_bytes_max(stored) < least {
            return Err(damaged(format!(
                "it pretends to be {stored} bytes, which cannot be {length} decoded"
            )));
        }
        fetch(reads, at, stored, image.bits_reversed, &mut scratch.stored)?;
        let restore = |bytes: &mut [u8]| {
            decode::restore(image.predictor, image.element, image.big_endian, to.bands, to.row_bytes, bytes);
        };
        // The last strip may have been written in full, although the image ends before; how long that is, is not known of all.
        let longest = match image.is_tiled {
            true => 0,
            false => {
                (2 * image.block_bytes()).max(STRIP_BYTES).min(image.compression.decoded_bytes_max(stored))
            }
        };
        let longest = usize::try_from(longest).unwrap_or(usize::MAX);
        let decompress = |out: &mut [u8]| {
            decode::decompress(image.compression, &scratch.stored, out, longest).map_err(damaged)
        };
        if let Some(run) = to.whole() {
            let out = &mut out[run];
            decompress(out)?;
            restore(out);
            return Ok(());
        }
        scratch.decoded.resize(length, 0);
        decompress(&mut scratch.decoded)?;
        let wanted = &mut scratch.decoded[to.rows.start * to.row_bytes..to.rows.end * to.row_bytes];
        restore(wanted);
        to.copy(wanted, to.rows.clone(), out);
        Ok(())
    }

    /// The same where nothing is compressed: some rows after the other, and only those that are wanted.
    fn plain(
        &self,
        number: usize,
        to: &Target,
        reads: &mut Reads<'_>,
        scratch: &mut Scratch,
        out: &mut [u8],
    ) -> Result<()> {
        let image = &self.image;
        let at = self.offsets[number];
        let length = (to.stored_rows * to.row_bytes) as u64;
        let stored = self.byte_counts.get(number).copied().unwrap_or(length);
        let end = (to.rows.end * to.row_bytes) as u64;
        if stored < end {
            let message = format!("a block is {stored} bytes long, but {length} are expected");
            return Err(Error::damaged(at, message));
        }
        let step = (PIECE_BYTES / to.row_bytes.max(1)).max(1);
        for start in to.rows.clone().step_by(step) {
            let rows = start..(start + step).min(to.rows.end);
            let from = at.checked_add((rows.start * to.row_bytes) as u64);
            let from = from.ok_or_else(|| Error::damaged(at, "a block lies beyond any file"))?;
            fetch(reads, from, (rows.len() * to.row_bytes) as u64, image.bits_reversed, &mut scratch.stored)?;
            decode::restore(
                Predictor::None,
                image.element,
                image.big_endian,
                to.bands,
                to.row_bytes,
                &mut scratch.stored,
            );
            to.copy(&scratch.stored, rows, out);
        }
        Ok(())
    }
}

fn fetch(reads: &mut Reads<'_>, at: u64, count: u64, bits_reversed: bool, out: &mut Vec<u8>) -> Result<()> {
    reads.check(at, count)?;
    out.resize(count as usize, 0);
    reads.read(at, out)?;
    if bits_reversed {
        out.iter_mut().for_each(|byte| *byte = byte.reverse_bits());
    }
    Ok(())
}

/// Memory that is used for one block after the other.
#[derive(Default)]
struct Scratch {
    stored: Vec<u8>,
    decoded: Vec<u8>,
}

/// What one block has of a box, and where it goes.
struct Target {
    /// Bytes of an element.
    size: usize,
    /// Bands in the block, whose elements lie side by side.
    bands: usize,
    row_bytes: usize,
    /// Tiles are stored in full; the last strip ends with the image.
    stored_rows: usize,
    /// Within the block.
    rows: Range<usize>,
    columns: Range<usize>,
    wanted_bands: Range<usize>,
    /// Where the first of them goes: band, row and column of the box.
    first: [usize; 3],
    /// Bands, rows and columns of the box.
    extent: [usize; 3],
}

impl Target {
    fn new(place: Place, image: &Image, region: &[Range<u64>; 3]) -> Self {
        let [bands, rows, columns] = region;
        let (block_rows, block_columns) = image.block;
        // The part of a range that lies in a block, relative to the block, and relative to the range.
        let part = |range: &Range<u64>, from: u64, length: u64| {
            let (start, end) = (range.start.max(from), range.end.min(from + length));
            ((start - from) as usize..(end - from) as usize, (start - range.start) as usize)
        };
        let first_row = place.row * block_rows;
        let (in_rows, to_row) = part(rows, first_row, block_rows);
        let (in_columns, to_column) = part(columns, place.column * block_columns, block_columns);
        let (in_bands, to_band) = match image.is_planar {
            true => (0..1, (place.plane - bands.start) as usize),
            false => (bands.start as usize..bands.end as usize, 0),
        };
        let size = image.element.size as usize;
        let in_block = image.bands_in_block() as usize;
        let stored_rows = if image.is_tiled { block_rows } else { block_rows.min(image.height - first_row) };
        Self {
            size,
            bands: in_block,
            row_bytes: block_columns as usize * in_block * size,
            stored_rows: stored_rows as usize,
            rows: in_rows,
            columns: in_columns,
            wanted_bands: in_bands,
            first: [to_band, to_row, to_column],
            extent: region.each_ref().map(|r| (r.end - r.start) as usize),
        }
    }

    /// The byte at which an element of the box lies.
    fn at(&self, band: usize, row: usize) -> usize {
        let [first_band, first_row, first_column] = self.first;
        let [_, rows, columns] = self.extent;
        (((first_band + band) * rows + first_row + row) * columns + first_column) * self.size
    }

    /// Where the block goes, if it goes there as it is.
    fn whole(&self) -> Option<Range<usize>> {
        let is_whole = self.bands == 1
            && self.rows == (0..self.stored_rows)
            && self.columns.len() == self.extent[2]
            && self.columns.len() * self.size == self.row_bytes;
        let start = self.at(0, 0);
        is_whole.then(|| start..start + self.stored_rows * self.row_bytes)
    }

    fn fill(&self, element: &[u8], out: &mut [u8]) {
        for band in 0..self.wanted_bands.len() {
            for row in 0..self.rows.len() {
                let at = self.at(band, row);
                let to = &mut out[at..at + self.columns.len() * self.size];
                to.chunks_exact_mut(self.size).for_each(|to| to.copy_from_slice(element));
            }
        }
    }

    /// Copies some rows of the block, which `from` starts with.
    fn copy(&self, from: &[u8], rows: Range<usize>, out: &mut [u8]) {
        match (self.bands, self.size) {
            (1, _) => {
                let columns = self.columns.start * self.size..self.columns.end * self.size;
                for (row, from) in rows.zip(from.chunks_exact(self.row_bytes)) {
                    let at = self.at(0, row - self.rows.start);
                    out[at..at + columns.len()].copy_from_slice(&from[columns.clone()]);
                }
            }
            (_, 1) => self.pick::<1>(from, rows, out),
            (_, 2) => self.pick::<2>(from, rows, out),
            (_, 4) => self.pick::<4>(from, rows, out),
            _ => self.pick::<8>(from, rows, out),
        }
    }

    /// The same where the bands of a pixel lie side by side.
    fn pick<const N: usize>(&self, from: &[u8], rows: Range<usize>, out: &mut [u8]) {
        for (row, from) in rows.zip(from.chunks_exact(self.row_bytes)) {
            let (from, _) = from.as_chunks::<N>();
            let from = &from[self.columns.start * self.bands..self.columns.end * self.bands];
            for (to_band, band) in self.wanted_bands.clone().enumerate() {
                let at = self.at(to_band, row - self.rows.start);
                let (to, _) = out[at..at + self.columns.len() * N].as_chunks_mut::<N>();
                for (to, from) in to.iter_mut().zip(from[band..].iter().step_by(self.bands)) {
                    *to = *from;
                }
            }
        }
    }
}

/// Strips of an image that is one strip are looked for up to so many bytes.
const STRIP_BYTES: u64 = 16 << 20;

/// What is not compressed is read in pieces of about so many bytes.
pub(crate) const PIECE_BYTES: usize = 4 << 20;
