//! Owns reading elements: where those of a variable lie ([`Placement`]), and a box of them as little-endian bytes in C
//! order ([`Reader`]). Chunks are located once for each open reader.

use std::ops::Range;

use nuna_inputs::Reads;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Input, Result,
    filter::{self, Filter},
    hdf5::{self, ChunkIndex, Located},
    scratch::Scratch,
};

/// What an element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Int,
    UInt,
    Float,
    /// HDF5's enumeration of FALSE and TRUE.
    Bool,
    /// Text of fixed length; characters of NetCDF are text of length 1, and their last dimension is the length.
    Text,
    /// Text kept in a heap of the file.
    LongText,
}

/// How one element is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Element {
    pub kind: Kind,
    /// Bytes.
    pub size: u32,
    pub big_endian: bool,
}

/// Where elements lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layout {
    /// Never written: all are fill values.
    Empty,
    Compact(Vec<u8>),
    Contiguous {
        address: u64,
    },
    /// NetCDF3's record variables: one row after the other, `stride` bytes apart.
    Records {
        address: u64,
        stride: u64,
    },
    Chunked {
        chunk_shape: Vec<u64>,
        index: ChunkIndex,
        filters: Vec<Filter>,
    },
}

/// All that reading a variable takes besides its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    pub element: Element,
    /// The variable's shape.
    pub shape: Vec<u64>,
    /// What was written of it: less than `shape` along unlimited dimensions that another variable made longer.
    pub stored_shape: Vec<u64>,
    /// The element that was never written, as the file would have it.
    pub fill: Vec<u8>,
    pub layout: Layout,
}

/// Contiguous data are offered in pieces of about this many bytes.
const PIECE_BYTES: u64 = 4 << 20;
/// What lies further apart is read one by one.
const SPAN_BYTES: u64 = 4 << 20;

impl Placement {
    /// The boxes in which it is best read: the file's chunks, or rows of what is not chunked. Every axis at least 1.
    pub fn chunk_shape(&self) -> Vec<u64> {
        if let Layout::Chunked { chunk_shape, .. } = &self.layout {
            return chunk_shape.clone();
        }
        let mut chunk: Vec<u64> = self.shape.iter().map(|&n| n.max(1)).collect();
        for axis in 0..chunk.len() {
            let inner: u64 = chunk[axis + 1..].iter().product::<u64>().max(1) * u64::from(self.element.size);
            if matches!(self.layout, Layout::Records { .. }) && axis == 0 {
                chunk[0] = 1;
            } else {
                chunk[axis] = chunk[axis].min((PIECE_BYTES / inner).max(1));
            }
            if chunk[axis] > 1 {
                break;
            }
        }
        chunk
    }

    /// Whether any box is read at the cost of the box.
    pub fn random_access(&self) -> bool {
        !matches!(self.layout, Layout::Chunked { .. })
    }

    /// Bytes of memory that reading takes besides its result, for each box.
    pub fn scratch_bytes(&self) -> u64 {
        match &self.layout {
            Layout::Chunked { chunk_shape, filters, .. } => {
                let chunk = chunk_shape.iter().product::<u64>() * u64::from(self.element.size);
                // Stored, between filters, decoded.
                if filters.is_empty() { chunk } else { 3 * chunk + chunk / 4 + 8192 }
            }
            _ => SPAN_BYTES,
        }
    }

    fn size(&self) -> usize {
        self.element.size as usize
    }

    /// Refuses what no file can hold, so that arithmetic on shapes never overflows.
    pub(crate) fn check(&self) -> Result<()> {
        const BYTES_MAX: u64 = 1 << 60;
        let bytes_of = |shape: &[u64]| {
            let size = u64::from(self.element.size.max(1));
            // Empty axes hide no overflow of the others.
            shape
                .iter()
                .try_fold(size, |bytes, &n| bytes.checked_mul(n.max(1)))
                .filter(|&bytes| bytes <= BYTES_MAX)
        };
        let fits = self.fill.len() == self.size() && self.stored_shape.len() == self.shape.len();
        if !fits || self.size() == 0 {
            return Err(Error::damaged(0, "the placement of a variable does not fit its elements"));
        }
        if bytes_of(&self.shape).is_none() || bytes_of(&self.stored_shape).is_none() {
            return Err(Error::damaged(0, format!("the shape {:?} is beyond any machine", self.shape)));
        }
        match &self.layout {
            Layout::Chunked { chunk_shape, .. } => {
                if chunk_shape.len() != self.shape.len() {
                    return Err(Error::damaged(0, "chunks have other axes than their variable"));
                }
                chunk_bytes(chunk_shape, self.size()).map(drop)
            }
            Layout::Records { address, stride } => {
                let rows = self.stored_shape.first().copied().unwrap_or(0);
                let end = stride.checked_mul(rows).and_then(|bytes| bytes.checked_add(*address));
                if end.is_none_or(|end| end > BYTES_MAX) {
                    return Err(Error::damaged(*address, "records lie beyond any file"));
                }
                Ok(())
            }
            Layout::Empty | Layout::Compact(_) | Layout::Contiguous { .. } => Ok(()),
        }
    }
}

/// Where one stored chunk lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkPlace {
    /// In the grid of chunks.
    pub index: Vec<u64>,
    /// In the file.
    pub address: u64,
    pub bytes: u64,
    /// All of the variable's filters were applied to it.
    pub is_filtered: bool,
}

/// An open variable. Shared by threads; each read decodes on the thread that asks.
pub struct Reader<I> {
    input: I,
    placement: Placement,
    located: Located,
}

impl<I: Input> Reader<I> {
    /// Locates the chunks.
    ///
    /// # Errors
    /// If the index of the chunks is damaged.
    pub fn new(input: I, placement: Placement) -> Result<Self> {
        placement.check()?;
        let located = match &placement.layout {
            Layout::Chunked { chunk_shape, index, .. } => {
                let chunk_bytes = chunk_bytes(chunk_shape, placement.size())?;
                hdf5::locate(&input, index, chunk_shape, &placement.stored_shape, chunk_bytes as u64)?
            }
            _ => Located::default(),
        };
        Ok(Self { input, placement, located })
    }

    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Where the stored chunks lie; nothing of what is not chunked.
    pub fn places(&self) -> impl Iterator<Item = ChunkPlace> + '_ {
        let chunk_shape = match &self.placement.layout {
            Layout::Chunked { chunk_shape, .. } => chunk_shape.as_slice(),
            _ => &[],
        };
        let counts = self.placement.stored_shape.iter().zip(chunk_shape).map(|(&n, &c)| n.div_ceil(c));
        let counts: Vec<u64> = counts.collect();
        self.located.iter().map(move |place| ChunkPlace {
            index: place.index(&counts),
            address: place.address,
            bytes: place.bytes,
            is_filtered: !place.is_plain && place.mask == 0,
        })
    }

    /// How many chunks are in the file.
    pub fn chunks(&self) -> usize {
        self.located.len()
    }

    /// Reads a box into `out`, which is as long as the box: little-endian elements in C order.
    ///
    /// # Errors
    /// [`Error::Damaged`] with the chunk's place, [`Error::Io`].
    ///
    /// # Panics
    /// If the box is not within the variable's shape, or `out` is not as long.
    pub fn read(&self, region: &[Range<u64>], out: &mut [u8]) -> Result<()> {
        let Placement { shape, stored_shape, fill, .. } = &self.placement;
        let size = self.placement.size();
        assert_eq!(region.len(), shape.len(), "a box has the variable's axes");
        assert!(
            region.iter().zip(shape).all(|(r, &n)| r.start <= r.end && r.end <= n),
            "a box in the variable"
        );
        let extent: Vec<u64> = region.iter().map(|r| r.end - r.start).collect();
        let count: u64 = extent.iter().product();
        assert_eq!(out.len() as u64, count * size as u64, "room for the box");
        if out.is_empty() {
            return Ok(());
        }
        // What was written of the box; the rest is fill values.
        let written: Vec<Range<u64>> =
            region.iter().zip(stored_shape).map(|(r, &n)| r.start.min(n)..r.end.min(n)).collect();
        if written != region || matches!(self.placement.layout, Layout::Empty) {
            fill_with(out, fill);
        }
        if !written.iter().any(Range::is_empty) {
            let to = Target { origin: region, extent: &extent, size };
            match &self.placement.layout {
                Layout::Empty => {}
                Layout::Compact(bytes) => self.compact(bytes, &written, &to, out)?,
                Layout::Contiguous { address } => {
                    let stride =
                        stored_shape.get(1..).unwrap_or_default().iter().product::<u64>() * size as u64;
                    self.rows(*address, stride, &written, &to, out)?;
                }
                Layout::Records { address, stride } => self.rows(*address, *stride, &written, &to, out)?,
                Layout::Chunked { chunk_shape, filters, .. } => {
                    self.chunked(chunk_shape, filters, &written, &to, out)?;
                }
            }
        }
        if self.placement.element.big_endian {
            swap(out, size);
        }
        Ok(())
    }

    /// Reads all elements of a variable of text; trailing NULs and, of fixed text, spaces for padding are left out.
    ///
    /// # Errors
    /// As [`read`](Self::read), and if it is no text, or beyond memory.
    pub fn read_text(&self) -> Result<Vec<String>> {
        let Placement { shape, element, .. } = &self.placement;
        let bytes = shape.iter().try_fold(u64::from(element.size), |bytes, &n| bytes.checked_mul(n));
        let bytes = bytes.filter(|&bytes| bytes <= TEXT_BYTES_MAX).ok_or_else(|| {
            Error::Unsupported(format!("text of shape {shape:?} is more than is read at once"))
        })?;
        let mut raw = vec![0; bytes as usize];
        self.read(&shape.iter().map(|&n| 0..n).collect::<Vec<_>>(), &mut raw)?;
        match element.kind {
            Kind::Text if element.size == 1 => {
                let length = shape.last().copied().unwrap_or(1) as usize;
                if length == 0 {
                    let count: u64 = shape[..shape.len() - 1].iter().product();
                    return Ok(vec![String::new(); count.min(TEXT_BYTES_MAX) as usize]);
                }
                Ok(raw.chunks_exact(length).map(text).collect())
            }
            Kind::Text => Ok(raw.chunks_exact(element.size as usize).map(text).collect()),
            Kind::LongText => hdf5::long_text(&self.input, &raw, element.size as usize),
            _ => Err(Error::Unsupported("it holds no text".to_owned())),
        }
    }

    fn compact(&self, bytes: &[u8], written: &[Range<u64>], to: &Target<'_>, out: &mut [u8]) -> Result<()> {
        let shape = &self.placement.stored_shape;
        let whole: Vec<Range<u64>> = shape.iter().map(|&n| 0..n).collect();
        let expected = shape.iter().product::<u64>() * self.placement.size() as u64;
        if (bytes.len() as u64) < expected {
            return Err(Error::damaged(0, format!("{} compact bytes, expected {expected}", bytes.len())));
        }
        to.copy_from(bytes, &whole, written, out);
        Ok(())
    }

    /// Rows of the first axis lie `stride` bytes apart, everything in a row side by side.
    fn rows(
        &self,
        address: u64,
        stride: u64,
        written: &[Range<u64>],
        to: &Target<'_>,
        out: &mut [u8],
    ) -> Result<()> {
        let shape = &self.placement.stored_shape;
        let size = to.size as u64;
        let beyond = || Error::damaged(address, "the data lie beyond any file");
        let bytes_of = |axes: Range<usize>| {
            shape[axes].iter().try_fold(size, |bytes, &n| bytes.checked_mul(n)).ok_or_else(beyond)
        };
        if shape.is_empty() {
            return Ok(Reads::new(&self.input, Vec::new).read(address, out)?);
        }
        let steps: Vec<u64> = (0..shape.len())
            .map(|axis| if axis == 0 { Ok(stride) } else { bytes_of(axis + 1..shape.len()) })
            .collect::<Result<_>>()?;
        let packed = bytes_of(1..shape.len())? == stride;
        // The outermost axis along which one read is worth it.
        let span = |axis: usize| -> u64 {
            (axis..shape.len()).map(|a| (written[a].end - written[a].start - 1) * steps[a]).sum::<u64>()
                + size
        };
        let wanted =
            |axis: usize| -> u64 { written[axis..].iter().map(|r| r.end - r.start).product::<u64>() * size };
        let first = if packed { 0 } else { 1 };
        let start = (first..shape.len())
            .find(|&axis| span(axis) == wanted(axis) || span(axis) <= SPAN_BYTES)
            .unwrap_or(shape.len());
        let outer: Vec<Range<u64>> = written[..start].to_vec();
        let (span, wanted) = if start < shape.len() { (span(start), wanted(start)) } else { (size, size) };
        let place = |index: &[u64]| -> Result<u64> {
            let first = index.iter().copied().chain(written[start..].iter().map(|r| r.start));
            first.zip(&steps).try_fold(address, |from, (at, &step)| {
                at.checked_mul(step).and_then(|n| from.checked_add(n)).ok_or_else(beyond)
            })
        };
        let mut reads = Reads::new(&self.input, || {
            let mut places = Vec::new();
            // What fails here fails again below, and is said there.
            let _ = each(&outer, &mut |index| {
                let from = place(index)?;
                places.push(from..from.checked_add(span).ok_or_else(beyond)?);
                Ok::<_, Error>(())
            });
            places
        });
        each(&outer, &mut |index| {
            let from = place(index)?;
            let part: Vec<Range<u64>> =
                index.iter().map(|&at| at..at + 1).chain(written[start..].iter().cloned()).collect();
            if let Some(run) = to.run(&part).filter(|_| span == wanted) {
                return Ok(reads.read(from, &mut out[run])?);
            }
            let mut held = vec![0; span as usize];
            reads.read(from, &mut held)?;
            // The span as an array whose first axes are one long, and whose others are as in the file.
            to.copy_strided(&held, &part, start, &steps, out);
            Ok(())
        })
    }

    fn chunked(
        &self,
        chunk_shape: &[u64],
        filters: &[Filter],
        written: &[Range<u64>],
        to: &Target<'_>,
        out: &mut [u8],
    ) -> Result<()> {
        let length = chunk_bytes(chunk_shape, to.size)?;
        let most = filter::stored_bytes_max(filters, length) as u64;
        let grid: Vec<Range<u64>> =
            written.iter().zip(chunk_shape).map(|(r, &n)| r.start / n..r.end.div_ceil(n)).collect();
        let counts: Vec<u64> =
            self.placement.stored_shape.iter().zip(chunk_shape).map(|(&n, &c)| n.div_ceil(c)).collect();
        let number_of = |index: &[u64]| {
            index.iter().zip(&counts).fold(0u64, |n, (&i, &c)| n.wrapping_mul(c).wrapping_add(i))
        };
        let mut reads = Reads::new(&self.input, || {
            let mut places = Vec::new();
            // What pretends to be too long is refused below, and nothing after it is wanted.
            let _ = each(&grid, &mut |index| match self.located.get(number_of(index)) {
                Some(place) if place.bytes > most => Err(()),
                Some(place) => {
                    places.push(place.address..place.address.saturating_add(place.bytes));
                    Ok(())
                }
                None => Ok(()),
            });
            places
        });
        each(&grid, &mut |index| {
            let whole: Vec<Range<u64>> =
                index.iter().zip(chunk_shape).map(|(&i, &n)| i * n..(i + 1).saturating_mul(n)).collect();
            let part: Vec<Range<u64>> =
                whole.iter().zip(written).map(|(w, r)| w.start.max(r.start)..w.end.min(r.end)).collect();
            let run = to.run(&part);
            let Some(place) = self.located.get(number_of(index)) else {
                to.fill(&part, &self.placement.fill, out);
                return Ok(());
            };
            let damaged = |message: String| {
                let index: Vec<String> = index.iter().map(u64::to_string).collect();
                Error::damaged(
                    place.address,
                    format!("chunk ({}) cannot be decoded: {message}", index.join(", ")),
                )
            };
            if place.bytes > most {
                return Err(damaged(format!(
                    "it pretends to be {} bytes, expected {most} at most",
                    place.bytes
                )));
            }
            let filters = if place.is_plain { &[] } else { filters };
            let direct = run.filter(|_| part == whole);
            if let (true, Some(run)) = (filters.is_empty(), &direct) {
                if place.bytes != length as u64 {
                    return Err(damaged(format!("it is {} bytes, expected {length}", place.bytes)));
                }
                return Ok(reads.read(place.address, &mut out[run.clone()])?);
            }
            let mut stored = Scratch::new(place.bytes as usize);
            reads.read(place.address, &mut stored)?;
            if let Some(run) = direct {
                return filter::undo(filters, place.mask, &stored, &mut out[run]).map_err(damaged);
            }
            let mut chunk = Scratch::new(length);
            filter::undo(filters, place.mask, &stored, &mut chunk).map_err(damaged)?;
            to.copy_from(&chunk, &whole, &part, out);
            Ok(())
        })
    }
}

/// More text than this is not read at once.
const TEXT_BYTES_MAX: u64 = 256 << 20;

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn chunk_bytes(chunk_shape: &[u64], size: usize) -> Result<usize> {
    chunk_shape
        .iter()
        .try_fold(size as u64, |bytes, &n| bytes.checked_mul(n))
        .filter(|&bytes| bytes > 0 && bytes <= u64::from(u32::MAX))
        .map(|bytes| bytes as usize)
        .ok_or_else(|| {
            Error::damaged(0, format!("chunks of {chunk_shape:?} elements are beyond what HDF5 can hold"))
        })
}

fn fill_with(out: &mut [u8], fill: &[u8]) {
    if fill.iter().all(|&byte| byte == 0) {
        out.fill(0);
    } else {
        out.chunks_exact_mut(fill.len()).for_each(|element| element.copy_from_slice(fill));
    }
}

fn swap(out: &mut [u8], size: usize) {
    match size {
        2 => out.as_chunks_mut::<2>().0.iter_mut().for_each(|x| x.reverse()),
        4 => out.as_chunks_mut::<4>().0.iter_mut().for_each(|x| x.reverse()),
        8 => out.as_chunks_mut::<8>().0.iter_mut().for_each(|x| x.reverse()),
        _ => {}
    }
}

/// Walks over all indices of a box, the last axis fastest, until something fails.
fn each<E>(
    region: &[Range<u64>],
    visit: &mut dyn FnMut(&[u64]) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    if region.iter().any(Range::is_empty) {
        return Ok(());
    }
    let mut index: Vec<u64> = region.iter().map(|r| r.start).collect();
    loop {
        visit(&index)?;
        let mut axis = index.len();
        loop {
            if axis == 0 {
                return Ok(());
            }
            axis -= 1;
            index[axis] += 1;
            if index[axis] < region[axis].end {
                break;
            }
            index[axis] = region[axis].start;
        }
    }
}

/// The array that a read fills.
struct Target<'a> {
    origin: &'a [Range<u64>],
    extent: &'a [u64],
    size: usize,
}

impl Target<'_> {
    /// The element of the target at which an element of the variable goes.
    fn at(&self, index: impl Iterator<Item = u64>) -> usize {
        index
            .zip(self.origin)
            .zip(self.extent)
            .fold(0, |at, ((i, r), &n)| at * n as usize + (i - r.start) as usize)
    }

    /// The bytes of a box in the target, if they are in one piece.
    fn run(&self, part: &[Range<u64>]) -> Option<Range<usize>> {
        let lengths: Vec<u64> = part.iter().map(|r| r.end - r.start).collect();
        if let Some(axis) = (0..lengths.len()).rev().find(|&axis| lengths[axis] != self.extent[axis])
            && lengths[..axis].iter().any(|&n| n != 1)
        {
            return None;
        }
        let start = self.at(part.iter().map(|r| r.start)) * self.size;
        Some(start..start + lengths.iter().product::<u64>() as usize * self.size)
    }

    /// Visits the rows of a box along the last axis: index of the first element, bytes in a row.
    fn each_row(&self, part: &[Range<u64>], visit: &mut dyn FnMut(&[u64], usize)) {
        let Some((last, outer)) = part.split_last() else {
            visit(&[], self.size);
            return;
        };
        let bytes = (last.end - last.start) as usize * self.size;
        let mut full = vec![0; part.len()];
        let Ok(()) = each::<std::convert::Infallible>(outer, &mut |index| {
            full[..index.len()].copy_from_slice(index);
            full[index.len()] = last.start;
            visit(&full, bytes);
            Ok(())
        });
    }

    fn fill(&self, part: &[Range<u64>], fill: &[u8], out: &mut [u8]) {
        self.each_row(part, &mut |index, bytes| {
            let to = self.at(index.iter().copied()) * self.size;
            fill_with(&mut out[to..to + bytes], fill);
        });
    }

    /// Copies `part` from an array that covers `whole`.
    fn copy_from(&self, from: &[u8], whole: &[Range<u64>], part: &[Range<u64>], out: &mut [u8]) {
        self.each_row(part, &mut |index, bytes| {
            let at = index
                .iter()
                .zip(whole)
                .fold(0, |at, (&i, w)| at * (w.end - w.start) as usize + (i - w.start) as usize);
            let (at, to) = (at * self.size, self.at(index.iter().copied()) * self.size);
            out[to..to + bytes].copy_from_slice(&from[at..at + bytes]);
        });
    }

    /// Copies `part` from bytes that start with its first element and lie in steps of the file along `start..`.
    fn copy_strided(&self, from: &[u8], part: &[Range<u64>], start: usize, steps: &[u64], out: &mut [u8]) {
        self.each_row(part, &mut |index, bytes| {
            let at: u64 =
                (start..part.len()).map(|axis| (index[axis] - part[axis].start) * steps[axis]).sum();
            let (at, to) = (at as usize, self.at(index.iter().copied()) * self.size);
            out[to..to + bytes].copy_from_slice(&from[at..at + bytes]);
        });
    }
}
