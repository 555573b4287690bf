//! Owns where the chunks of one new array lie: those that HDF5 has, pieces of what is not chunked, and what is small and cannot stay
//! where it is, which is put into the references whole.

use std::collections::BTreeMap;

use nuna_netcdf::{Element, Input as _, Kind, Layout, Placement, Reader};
use nuna_plan::BlockGrid;
use serde_json::{Value, json};

use super::{
    Found, NewArray, NewReferences, ReferencesOptions, Target, Wrong,
    elements::{codec, dtype, fits, unwritten},
    encoded_text, label_of,
};
use crate::{file::File, json::Attributes, netcdf, write::NewVariable};

/// Variables of no more bytes are put into the references whole where their chunks cannot stay where they are.
const WHOLE_BYTES_MAX: u64 = 16 << 20;
/// What is not chunked is cut into chunks of about so many bytes at most.
const PIECE_BYTES_MAX: u64 = 16 << 20;
/// Chunks of fewer bytes are too many.
const PIECE_BYTES_MIN: u64 = 1 << 10;

/// The same variable of several files, one after another along an axis.
pub(super) struct Joined<'a> {
    pub(super) new: &'a NewReferences,
    pub(super) parts: &'a [Found<'a>],
    pub(super) axis: usize,
}

/// Chunks where they lie.
struct Laid {
    chunk_shape: Vec<u64>,
    filters: Vec<Value>,
    chunks: BTreeMap<u64, Target>,
}

impl Joined<'_> {
    fn first(&self) -> &nuna_netcdf::Variable {
        self.parts[0].variable
    }

    fn placements(&self) -> impl Iterator<Item = (usize, &Placement)> {
        self.parts.iter().map(|part| (part.file, &part.variable.placement))
    }

    /// Lengths of the parts along the axis.
    fn lengths(&self) -> Vec<u64> {
        self.placements().map(|(_, placement)| placement.shape.get(self.axis).copied().unwrap_or(1)).collect()
    }

    fn shape(&self) -> Vec<u64> {
        let mut shape = self.first().placement.shape.clone();
        if let Some(n) = shape.get_mut(self.axis) {
            *n = self.lengths().iter().fold(0, |sum: u64, &n| sum.saturating_add(n));
        }
        shape
    }

    pub(super) fn array(&self, path: String, options: &ReferencesOptions) -> Result<NewArray, Wrong> {
        let variable = self.first();
        let element = variable.placement.element;
        let mut attrs = netcdf::attributes(&variable.attributes);
        attrs.insert("_ARRAY_DIMENSIONS".to_owned(), json!(variable.dims));
        // There is no number for it in JSON, and NaN is missing anyway.
        attrs.retain(|key, value| key != "missing_value" || value != "NaN");
        let shape = self.shape();
        if element.kind == Kind::LongText {
            return self.text(path, attrs, shape);
        }
        let laid = match variable.placement.layout {
            Layout::Chunked { .. } => self.chunked(&shape),
            Layout::Compact(_) => Err((0, "its elements lie in the file's own metadata".to_owned())),
            Layout::Empty | Layout::Contiguous { .. } | Layout::Records { .. } => self.rows(&shape),
        };
        let bytes = shape.iter().try_fold(u64::from(element.size), |bytes, &n| bytes.checked_mul(n));
        let is_small = bytes.is_some_and(|bytes| bytes <= WHOLE_BYTES_MAX);
        let (laid, is_whole) = match laid {
            Ok(laid) => (laid, false),
            Err(_) if is_small => (self.whole(&shape)?, true),
            Err(wrong) => return Err(wrong),
        };
        let Laid { chunk_shape, filters, mut chunks } = laid;
        let counts: Vec<u64> = shape.iter().zip(&chunk_shape).map(|(n, c)| n.div_ceil(*c)).collect();
        let all = counts.iter().try_fold(1u64, |all, &n| all.checked_mul(n)).unwrap_or(u64::MAX);
        let given = attrs.get("_FillValue").filter(|value| fits(element, value)).cloned();
        if given.is_some() {
            attrs.shift_remove("_FillValue");
        }
        let never_written = || unwritten(&variable.placement).filter(|_| (chunks.len() as u64) < all);
        let fill = given.or_else(never_written).unwrap_or(Value::Null);
        self.inline(&mut chunks, options.inline_bytes)?;
        let order = Element { big_endian: element.big_endian && !is_whole, ..element };
        let metadata = json!({
            "zarr_format": 2, "shape": shape, "chunks": chunk_shape,
            "dtype": dtype(order).map_err(|message| (0, message))?,
            "compressor": null, "fill_value": fill, "order": "C",
            "filters": if filters.is_empty() { Value::Null } else { filters.into() },
            "dimension_separator": ".",
        });
        Ok(NewArray { path, metadata, attrs, counts, chunks })
    }

    /// Chunks as HDF5 has them.
    fn chunked(&self, shape: &[u64]) -> Result<Laid, Wrong> {
        let Layout::Chunked { chunk_shape, filters, .. } = &self.first().placement.layout else {
            return Err((0, "it has no chunks".to_owned()));
        };
        let codecs = filters.iter().map(|filter| codec(*filter)).collect::<Result<Vec<_>, _>>();
        let codecs = codecs.map_err(|message| (0, message))?;
        let counts: Vec<u64> = shape.iter().zip(chunk_shape).map(|(&n, &c)| n.div_ceil(c)).collect();
        let size = u64::from(self.first().placement.element.size);
        let plain_bytes = chunk_shape.iter().try_fold(size, |bytes, &n| bytes.checked_mul(n));
        let mut chunks = BTreeMap::new();
        let mut before = 0;
        let last = self.parts.len() - 1;
        for (number, (file, placement)) in self.placements().enumerate() {
            let wrong = |message: String| (file, message);
            match &placement.layout {
                Layout::Chunked { chunk_shape: theirs, filters: of_theirs, .. } => {
                    if theirs != chunk_shape || of_theirs != filters {
                        return Err(wrong(format!(
                            "its chunks are {theirs:?}, filtered by {of_theirs:?}, but {chunk_shape:?}, filtered by {filters:?}, in {}",
                            self.new.shown(0).display()
                        )));
                    }
                }
                Layout::Empty => {}
                _ => return Err(wrong("it has no chunks as it has in other files".to_owned())),
            }
            let length = placement.shape.get(self.axis).copied().unwrap_or(1);
            let step = chunk_shape.get(self.axis).copied().unwrap_or(1).max(1);
            if number < last && !length.is_multiple_of(step) {
                return Err(wrong(format!(
                    "its length {length} along the dimension of joining is no multiple of its chunks' length {step}"
                )));
            }
            for place in self.reader(file, placement)?.places() {
                let mut index = place.index;
                if let Some(at) = index.get_mut(self.axis) {
                    *at += before / step;
                }
                let is_filtered = place.is_filtered || filters.is_empty();
                if !is_filtered || (filters.is_empty() && Some(place.bytes) != plain_bytes) {
                    return Err(wrong(format!("chunk {index:?} went through only some of its filters")));
                }
                // What lies beyond the shape was cut off once.
                if let Some(number) = number_of(&index, &counts) {
                    chunks.insert(number, Target::Part { file, offset: place.address, bytes: place.bytes });
                }
            }
            before += length;
        }
        Ok(Laid { chunk_shape: chunk_shape.clone(), filters: codecs, chunks })
    }

    /// Chunks made of what lies in one piece, or in rows.
    fn rows(&self, shape: &[u64]) -> Result<Laid, Wrong> {
        let first = &self.first().placement;
        let size = u64::from(first.element.size);
        let inner = |axis: usize| shape[axis + 1..].iter().fold(size, |bytes, &n| bytes.saturating_mul(n));
        let lengths = self.lengths();
        let is_records = self.placements().any(|(_, p)| matches!(p.layout, Layout::Records { .. }));
        if self.parts.len() > 1 && self.axis > 0 && lengths.iter().any(|&n| n != lengths[0]) {
            return Err((
                0,
                "its files have other lengths along the dimension of joining, which is not its first"
                    .to_owned(),
            ));
        }
        // No chunk may reach from one part into the next, or beyond the last one.
        let mut chunk_shape: Vec<u64> = first.shape.iter().map(|&n| n.max(1)).collect();
        if self.parts.len() > 1 && self.axis == 0 && !chunk_shape.is_empty() {
            chunk_shape[0] = lengths.iter().fold(0, |a, &b| gcd(a, b)).max(1);
        }
        for axis in 0..chunk_shape.len() {
            if is_records && axis == 0 {
                chunk_shape[0] = 1;
                continue;
            }
            // Of an axis along which parts follow each other in equal lengths, and are not the first axis, nothing is cut.
            if self.parts.len() > 1 && axis == self.axis && axis > 0 {
                break;
            }
            chunk_shape[axis] = divisor(chunk_shape[axis], (PIECE_BYTES_MAX / inner(axis).max(1)).max(1));
            if chunk_shape[axis] > 1 {
                break;
            }
        }
        let bytes = chunk_shape.iter().fold(size, |bytes, &n| bytes.saturating_mul(n));
        let counts: Vec<u64> = shape.iter().zip(&chunk_shape).map(|(n, c)| n.div_ceil(*c)).collect();
        let all = counts.iter().fold(1u64, |all, &n| all.saturating_mul(n));
        if bytes < PIECE_BYTES_MIN && all > 1 {
            return Err((0, format!("its {all} pieces of {bytes} bytes are too small to be chunks")));
        }
        let mut chunks = BTreeMap::new();
        let mut before = 0;
        for (file, placement) in self.placements() {
            let (address, stride) = match placement.layout {
                Layout::Empty => (None, 0),
                Layout::Contiguous { address } => {
                    let row = placement.shape.iter().skip(1).fold(size, |bytes, &n| bytes.saturating_mul(n));
                    (Some(address), row)
                }
                Layout::Records { address, stride } => (Some(address), stride),
                _ => return Err((file, "it lies otherwise than in other files".to_owned())),
            };
            if let Some(address) = address {
                if placement.stored_shape != placement.shape {
                    return Err((file, "a part of it was never written".to_owned()));
                }
                let row = placement.shape.iter().skip(1).fold(size, |bytes, &n| bytes.saturating_mul(n));
                let rows = placement.shape.first().copied().unwrap_or(1);
                let before_last = stride.checked_mul(rows.saturating_sub(1));
                let end = before_last.and_then(|bytes| bytes.checked_add(row)?.checked_add(address));
                let length = self.new.again(file)?.length();
                let is_within = end.is_some_and(|end| end <= length);
                if rows > 0 && row > 0 && (!is_within || (rows > 1 && stride < row)) {
                    return Err((
                        file,
                        "it lies beyond the end of the file, which is truncated or damaged".to_owned(),
                    ));
                }
                // Bytes from one element to the next along each axis.
                let mut steps: Vec<u64> = (0..placement.shape.len())
                    .map(|axis| {
                        placement.shape[axis + 1..].iter().fold(size, |bytes, &n| bytes.saturating_mul(n))
                    })
                    .collect();
                if let Some(step) = steps.first_mut() {
                    *step = stride;
                }
                let own: Vec<u64> = placement.shape.iter().zip(&chunk_shape).map(|(n, c)| n / c).collect();
                let count = own.iter().try_fold(1u64, |all, &n| all.checked_mul(n)).unwrap_or(0);
                let grid = BlockGrid::new(own);
                for number in 0..count {
                    let mut index = grid.coords(number);
                    let offset = index
                        .iter()
                        .zip(&chunk_shape)
                        .zip(&steps)
                        .try_fold(address, |offset, ((&i, &c), &step)| {
                            offset.checked_add(i.checked_mul(c)?.checked_mul(step)?)
                        });
                    let offset = offset.ok_or_else(|| (file, "it lies beyond any file".to_owned()))?;
                    if let Some(at) = index.get_mut(self.axis) {
                        *at += before / chunk_shape[self.axis];
                    }
                    if let Some(number) = number_of(&index, &counts) {
                        chunks.insert(number, Target::Part { file, offset, bytes });
                    }
                }
            }
            before += placement.shape.get(self.axis).copied().unwrap_or(1);
        }
        Ok(Laid { chunk_shape, filters: Vec::new(), chunks })
    }

    /// All elements in one chunk within the references.
    fn whole(&self, shape: &[u64]) -> Result<Laid, Wrong> {
        let size = self.first().placement.element.size as usize;
        let mut parts = Vec::with_capacity(self.parts.len());
        for (file, placement) in self.placements() {
            let count = placement.shape.iter().product::<u64>() as usize;
            let mut bytes = vec![0; count * size];
            let region: Vec<_> = placement.shape.iter().map(|&n| 0..n).collect();
            let read = self.reader(file, placement)?.read(&region, &mut bytes);
            read.map_err(|error| (file, error.to_string()))?;
            parts.push(bytes);
        }
        let outer = shape.iter().take(self.axis).product::<u64>() as usize;
        let mut bytes = Vec::with_capacity(parts.iter().map(Vec::len).sum());
        for row in 0..outer {
            for part in &parts {
                let length = part.len() / outer;
                bytes.extend_from_slice(&part[row * length..(row + 1) * length]);
            }
        }
        let chunk_shape: Vec<u64> = shape.iter().map(|&n| n.max(1)).collect();
        let chunks =
            if bytes.is_empty() { BTreeMap::new() } else { BTreeMap::from([(0, Target::Bytes(bytes))]) };
        Ok(Laid { chunk_shape, filters: Vec::new(), chunks })
    }

    /// Text of any length lies in heaps of the file, so it is put into the references.
    fn text(&self, path: String, attrs: Attributes, shape: Vec<u64>) -> Result<NewArray, Wrong> {
        if self.axis > 0 {
            return Err((0, "it is text, and the dimension of joining is not its first".to_owned()));
        }
        let mut texts = Vec::new();
        for (file, placement) in self.placements() {
            texts.extend(
                self.reader(file, placement)?.read_text().map_err(|error| (file, error.to_string()))?,
            );
        }
        let bytes: u64 = texts.iter().map(|text| text.len() as u64).sum();
        if bytes > WHOLE_BYTES_MAX {
            return Err((
                0,
                format!("it is text of {bytes} bytes, and Zarr has no chunks of what HDF5 keeps in heaps"),
            ));
        }
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        let new = NewVariable { name, dims: Vec::new(), dtype: None, chunk_shape: Vec::new(), shape, attrs };
        Ok(NewArray { path, ..label_of(new, encoded_text(&texts).map_err(|message| (0, message))?) })
    }

    fn reader(&self, file: usize, placement: &Placement) -> Result<Reader<File>, Wrong> {
        let wrong = |error: nuna_netcdf::Error| (file, error.to_string());
        Reader::new(self.new.again(file)?, placement.clone()).map_err(wrong)
    }

    /// Takes small chunks from their files.
    fn inline(&self, chunks: &mut BTreeMap<u64, Target>, below: u64) -> Result<(), Wrong> {
        let mut open: Option<(usize, File)> = None;
        for target in chunks.values_mut() {
            let Target::Part { file, offset, bytes } = *target else { continue };
            if bytes >= below.min(WHOLE_BYTES_MAX) {
                continue;
            }
            let source = match open.take() {
                Some((number, source)) if number == file => source,
                _ => self.new.again(file)?,
            };
            let mut held = vec![0; bytes as usize];
            source.read_at(offset, &mut held).map_err(|error| (file, error.to_string()))?;
            *target = Target::Bytes(held);
            open = Some((file, source));
        }
        Ok(())
    }
}

/// A chunk's number; `None` if there is no such chunk.
fn number_of(index: &[u64], counts: &[u64]) -> Option<u64> {
    index.iter().zip(counts).try_fold(0u64, |number, (&i, &n)| {
        (i < n).then_some(())?;
        number.checked_mul(n)?.checked_add(i)
    })
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The largest divisor of `n` that is no larger than `most`.
fn divisor(n: u64, most: u64) -> u64 {
    if n <= most {
        return n;
    }
    let mut best = 1;
    let mut low = 1;
    // Of lengths beyond any file's not all divisors are tried.
    while low <= n / low && low < 1 << 20 {
        if n.is_multiple_of(low) {
            for found in [low, n / low] {
                if found <= most {
                    best = best.max(found);
                }
            }
        }
        low += 1;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divisors_are_the_largest_that_fit() {
        for (n, most, expected) in
            [(12, 5, 4), (13, 5, 1), (365, 100, 73), (7, 9, 7), (1, 1, 1), (1 << 40, 1000, 512)]
        {
            assert_eq!(divisor(n, most), expected, "{n} {most}");
        }
    }
}
