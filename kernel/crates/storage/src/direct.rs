//! Owns the short way to stored chunks of plain bytes, compressed with zstd, with zstd by Blosc, with zlib or gzip (their bytes
//! shuffled or not), or not at all, as this crate and xarray write them: decompressed right into the buffer that becomes a chunk, compressed right from one, with contexts that threads keep.
//!
//! Leaves to others: every other chain of codecs, and what is wrong with a chunk that cannot be read (`codec`).

use std::{cell::RefCell, fs, io::Read, ops::Range, path::Path};

use libdeflater::CompressionLvl;
use nuna_chunk::{Buffer, Region};
use nuna_plan::BlockGrid;
use serde_json::Value;
use zstd::bulk::{Compressor, Decompressor};

use crate::{blosc, codec::touched, metadata::ZarrFormat};

/// An array whose chunks are stored so.
#[derive(Debug)]
pub struct Direct {
    chunk_shape: Vec<u64>,
    element_bytes: usize,
    compression: Compression,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    None,
    /// Level, and whether frames carry a checksum.
    Zstd(i32, bool),
    /// Decoded only.
    Blosc,
    /// Of bytes that are shuffled or not. Decoded only.
    Zlib {
        shuffled: bool,
    },
    /// Encoded at its level, if bytes are not shuffled.
    Gzip {
        shuffled: bool,
        level: i32,
    },
}

/// A thread's compressor, for one level with or without checksums.
type Kept = Option<((i32, bool), Compressor<'static>)>;

thread_local! {
    static COMPRESSOR: RefCell<Kept> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    static INFLATE: RefCell<libdeflater::Decompressor> = RefCell::new(libdeflater::Decompressor::new());
    static DEFLATE: RefCell<Option<(i32, libdeflater::Compressor)>> = const { RefCell::new(None) };
    static STORED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static SHUFFLED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A thread keeps the memory of what it reads for the next chunk, but no more than this.
const STORED_MAX: usize = 16 << 20;

impl Direct {
    /// `None` unless chunks are stored so on a regular grid.
    pub fn of(format: ZarrFormat, metadata: &str) -> Option<Self> {
        if cfg!(target_endian = "big") {
            return None;
        }
        let document: Value = serde_json::from_str(metadata).ok()?;
        let (chunks, element_bytes, compression) = match format {
            ZarrFormat::V2 => v2(&document)?,
            ZarrFormat::V3 => v3(&document)?,
        };
        let chunk_shape: Vec<u64> = chunks.as_array()?.iter().map(Value::as_u64).collect::<Option<_>>()?;
        let bytes = chunk_shape.iter().try_fold(element_bytes as u64, |bytes, &n| bytes.checked_mul(n))?;
        (bytes > 0 && bytes <= u64::from(u32::MAX)).then_some(Self {
            chunk_shape,
            element_bytes,
            compression,
        })
    }

    /// [`of`](Self::of), if chunks can also be written so.
    pub fn of_written(format: ZarrFormat, metadata: &str) -> Option<Self> {
        let encodes = |compression| match compression {
            Compression::None | Compression::Zstd(..) => true,
            Compression::Gzip { shuffled, level } => !shuffled && (0..=9).contains(&level),
            Compression::Blosc | Compression::Zlib { .. } => false,
        };
        Self::of(format, metadata).filter(|direct| encodes(direct.compression))
    }

    fn chunk_bytes(&self) -> usize {
        self.chunk_shape.iter().product::<u64>() as usize * self.element_bytes
    }

    /// The elements of a box, chunks that were never written being `fill`. `None` if a chunk cannot be read: the long way
    /// finds out which, and why.
    pub(crate) fn read(
        &self,
        region: &Region,
        fill: &[u8],
        path: impl Fn(&[u64]) -> std::path::PathBuf,
    ) -> Option<Buffer> {
        if region.ndim() != self.chunk_shape.len() || fill.len() != self.element_bytes {
            return None;
        }
        let shape = region.shape();
        let mut out = Buffer::new(usize::try_from(region.len()).ok()? * self.element_bytes);
        let chunks = touched(region, &self.chunk_shape);
        let grid = BlockGrid::new(chunks.iter().map(|r| r.end - r.start));
        for number in 0..grid.count() {
            let indices: Vec<u64> =
                grid.coords(number).iter().zip(&chunks).map(|(c, r)| c + r.start).collect();
            let whole = Region::new(indices.iter().zip(&self.chunk_shape).map(|(&i, &n)| i * n..(i + 1) * n));
            let part = whole.intersect(region);
            let to = part.relative_to(&region.start());
            let run = if part == whole { contiguous(&to, &shape) } else { None };
            if let Some(run) = run {
                let run = run.start * self.element_bytes..run.end * self.element_bytes;
                self.load(&path(&indices), fill, &mut out.as_mut_slice()[run])?;
            } else {
                let mut chunk = Buffer::new(self.chunk_bytes());
                self.load(&path(&indices), fill, chunk.as_mut_slice())?;
                let rows = Rows { extent: &part.shape(), bytes: self.element_bytes };
                let from = rows.at(&part.relative_to(&whole.start()).start(), &self.chunk_shape);
                let to = rows.at(&to.start(), &shape);
                rows.copy(0, chunk.as_slice(), from, &self.chunk_shape, out.as_mut_slice(), to, &shape);
            }
        }
        Some(out)
    }

    /// Decodes the chunk in file `path` into `out`, which is as long as the chunk.
    fn load(&self, path: &Path, fill: &[u8], out: &mut [u8]) -> Option<()> {
        let mut file = match fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                out.chunks_exact_mut(fill.len()).for_each(|element| element.copy_from_slice(fill));
                return Some(());
            }
            Err(_) => return None,
        };
        let length = usize::try_from(file.metadata().ok()?.len()).ok()?;
        // What is longer than any frame of a chunk is no chunk, and not worth the memory.
        let most = match self.compression {
            Compression::None => return (length == out.len() && file.read_exact(out).is_ok()).then_some(()),
            Compression::Zstd(..) => zstd::zstd_safe::compress_bound(out.len()) + 64,
            Compression::Blosc => blosc::frame_bytes_max(out.len()),
            // What deflate cannot make smaller it stores in blocks, with a few bytes each.
            Compression::Zlib { .. } | Compression::Gzip { .. } => out.len() + out.len() / 8 + 4096,
        };
        if length > most {
            return None;
        }
        STORED.with_borrow_mut(|stored| {
            if stored.len() < length {
                stored.resize(length, 0);
            }
            let bytes = &mut stored[..length];
            let done = file.read_exact(bytes).ok().and_then(|()| self.decode(bytes, out));
            if stored.len() > STORED_MAX {
                *stored = Vec::new();
            }
            done
        })
    }

    /// Decodes the bytes of a chunk's file into `out`, which is as long as the chunk. `None` if they are no such chunk's.
    pub fn decode(&self, stored: &[u8], out: &mut [u8]) -> Option<()> {
        if self.compression == Compression::None {
            return (stored.len() == out.len()).then(|| out.copy_from_slice(stored));
        }
        if let Compression::Zlib { shuffled } | Compression::Gzip { shuffled, .. } = self.compression {
            if !shuffled {
                return self.inflate(stored, out);
            }
            return SHUFFLED.with_borrow_mut(|bytes| {
                bytes.resize(out.len(), 0);
                let done = self.inflate(stored, bytes);
                if done.is_some() {
                    nuna_netcdf::unshuffle(bytes, self.element_bytes, out);
                }
                if bytes.capacity() > STORED_MAX {
                    *bytes = Vec::new();
                }
                done
            });
        }
        DECOMPRESSOR.with_borrow_mut(|kept| {
            let decompressor = match kept {
                Some(decompressor) => decompressor,
                None => kept.insert(Decompressor::new().ok()?),
            };
            if self.compression == Compression::Blosc {
                return blosc::decode(stored, out, decompressor);
            }
            let decoded = decompressor.decompress_to_buffer(stored, out).ok()?;
            (decoded == out.len()).then_some(())
        })
    }

    fn inflate(&self, stored: &[u8], out: &mut [u8]) -> Option<()> {
        let decoded = INFLATE.with_borrow_mut(|inflate| match self.compression {
            Compression::Gzip { .. } => inflate.gzip_decompress(stored, out),
            _ => inflate.zlib_decompress(stored, out),
        });
        (decoded.ok()? == out.len()).then_some(())
    }

    /// What [`encode`](Self::encode) may write for a chunk of so many bytes.
    pub fn encoded_bytes_max(&self, chunk_bytes: usize) -> usize {
        match self.compression {
            Compression::None => chunk_bytes,
            // What does not shrink is stored: five bytes for each block of 5,000, and 18 of gzip.
            Compression::Gzip { .. } => chunk_bytes + chunk_bytes / 512 + 64,
            _ => zstd::zstd_safe::compress_bound(chunk_bytes),
        }
    }

    /// Encodes a whole chunk to the start of `out`, and says how many bytes that are.
    ///
    /// # Errors
    /// What the codec says, such as that `out` is too short.
    pub fn encode(&self, chunk: &[u8], out: &mut [u8]) -> Result<usize, String> {
        let setting = match self.compression {
            Compression::Zstd(level, checksum) => (level, checksum),
            Compression::Gzip { shuffled: false, level } => return gzipped(level, chunk, out),
            Compression::Blosc | Compression::Zlib { .. } | Compression::Gzip { .. } => {
                return Err("such chunks are not encoded here".to_owned());
            }
            Compression::None => {
                let start = out.get_mut(..chunk.len()).ok_or("no room for the chunk")?;
                start.copy_from_slice(chunk);
                return Ok(chunk.len());
            }
        };
        COMPRESSOR
            .with_borrow_mut(|kept| {
                let compressor = match kept {
                    Some((known, compressor)) if *known == setting => compressor,
                    _ => {
                        let mut compressor = Compressor::new(setting.0)?;
                        compressor.include_checksum(setting.1)?;
                        &mut kept.insert((setting, compressor)).1
                    }
                };
                compressor.compress_to_buffer(chunk, out)
            })
            .map_err(|error: std::io::Error| error.to_string())
    }

    /// Has `write` write the file of a chunk, which must be whole.
    ///
    /// # Errors
    /// What the codec says.
    pub(crate) fn encoded<T>(&self, chunk: &[u8], write: impl FnOnce(&[u8]) -> T) -> Result<T, String> {
        if self.compression == Compression::None {
            return Ok(write(chunk));
        }
        let mut out = Buffer::new(self.encoded_bytes_max(chunk.len()));
        let length = self.encode(chunk, out.as_mut_slice())?;
        Ok(write(&out.as_slice()[..length]))
    }
}

fn gzipped(level: i32, chunk: &[u8], out: &mut [u8]) -> Result<usize, String> {
    DEFLATE.with_borrow_mut(|kept| {
        let compressor = match kept {
            Some((known, compressor)) if *known == level => compressor,
            _ => {
                let new = CompressionLvl::new(level)
                    .map_err(|error| format!("gzip of level {level}: {error:?}"))?;
                &mut kept.insert((level, libdeflater::Compressor::new(new))).1
            }
        };
        compressor.gzip_compress(chunk, out).map_err(|error| error.to_string())
    })
}

/// Where a box lies in an array of `shape`, in elements, if it is in one piece.
fn contiguous(region: &Region, shape: &[u64]) -> Option<Range<usize>> {
    let extent = region.shape();
    if let Some(axis) = (0..shape.len()).rev().find(|&axis| extent[axis] != shape[axis])
        && extent[..axis].iter().any(|&n| n != 1)
    {
        return None;
    }
    let start = region.ranges().iter().zip(shape).fold(0, |at, (r, &n)| at * n + r.start) as usize;
    Some(start..start + region.len() as usize)
}

/// Copies a box between two arrays in C order.
struct Rows<'a> {
    extent: &'a [u64],
    bytes: usize,
}

impl Rows<'_> {
    /// The byte at which an element starts.
    fn at(&self, index: &[u64], shape: &[u64]) -> usize {
        index.iter().zip(shape).fold(0, |at, (&i, &n)| at * n + i) as usize * self.bytes
    }

    fn copy(
        &self,
        axis: usize,
        from: &[u8],
        from_at: usize,
        from_shape: &[u64],
        to: &mut [u8],
        to_at: usize,
        to_shape: &[u64],
    ) {
        let rest = self.extent.get(axis + 1..).unwrap_or_default();
        let n = self.extent.get(axis).map_or(1, |&n| n as usize);
        if rest.is_empty() {
            let length = n * self.bytes;
            to[to_at..to_at + length].copy_from_slice(&from[from_at..from_at + length]);
            return;
        }
        let step = |shape: &[u64]| shape[axis + 1..].iter().product::<u64>() as usize * self.bytes;
        let (from_step, to_step) = (step(from_shape), step(to_shape));
        for i in 0..n {
            let (from_at, to_at) = (from_at + i * from_step, to_at + i * to_step);
            self.copy(axis + 1, from, from_at, from_shape, to, to_at, to_shape);
        }
    }
}

type Layout<'a> = (&'a Value, usize, Compression);

fn zstd(configuration: &Value) -> Option<Compression> {
    let level = configuration.get("level")?.as_i64()?;
    let checksum = configuration.get("checksum").map_or(Some(false), Value::as_bool)?;
    Some(Compression::Zstd(i32::try_from(level).ok()?, checksum))
}

fn v3(document: &Value) -> Option<Layout<'_>> {
    let element_bytes = match document["data_type"].as_str()? {
        "bool" | "int8" | "uint8" => 1,
        "int16" | "uint16" => 2,
        "int32" | "uint32" | "float32" => 4,
        "int64" | "uint64" | "float64" => 8,
        _ => return None,
    };
    let plain_keys = match &document["chunk_key_encoding"]["name"] {
        Value::String(name) => name == "default" || name == "v2",
        _ => false,
    };
    let transformers = document.get("storage_transformers").and_then(Value::as_array);
    let grid = &document["chunk_grid"];
    if !plain_keys || transformers.is_some_and(|list| !list.is_empty()) || grid["name"] != "regular" {
        return None;
    }
    let (bytes, compression) = document["codecs"].as_array()?.split_first()?;
    let endian = &bytes["configuration"]["endian"];
    if bytes["name"] != "bytes" || !(endian == "little" || element_bytes == 1) {
        return None;
    }
    let compression = match compression {
        [] => Compression::None,
        [codec] if codec["name"] == "zstd" => zstd(&codec["configuration"])?,
        [codec] if codec["name"] == "blosc" => Compression::Blosc,
        [codec] if codec["name"] == "gzip" => gzip(&codec["configuration"], false),
        _ => return None,
    };
    Some((&grid["configuration"]["chunk_shape"], element_bytes, compression))
}

/// The level is only looked at where chunks are encoded.
fn gzip(settings: &Value, shuffled: bool) -> Compression {
    let level = settings["level"].as_i64().and_then(|level| level.try_into().ok());
    Compression::Gzip { shuffled, level: level.unwrap_or(-1) }
}

fn v2(document: &Value) -> Option<Layout<'_>> {
    let dtype = document["dtype"].as_str()?;
    let (code, size) = dtype.split_at_checked(2)?;
    let element_bytes = size.parse().ok().filter(|size| [1, 2, 4, 8].contains(size))?;
    let plain = ["<f", "<i", "<u", "|b", "|i", "|u"].contains(&code) && dtype != "<f2";
    let shuffled = match document["filters"].as_array().map(Vec::as_slice) {
        None | Some([]) => false,
        // Of bytes there is nothing to shuffle.
        Some([filter]) => {
            let own = filter["id"] == "shuffle" && filter["elementsize"] == element_bytes as u64;
            own.then_some(element_bytes > 1)?
        }
        Some(_) => return None,
    };
    if !plain || document["order"] != "C" {
        return None;
    }
    let compressor = &document["compressor"];
    let compression = match compressor["id"].as_str() {
        Some("zlib") => Compression::Zlib { shuffled },
        Some("gzip") => gzip(compressor, shuffled),
        _ if shuffled => return None,
        None if compressor.is_null() => Compression::None,
        Some("zstd") => zstd(compressor)?,
        Some("blosc") => Compression::Blosc,
        _ => return None,
    };
    Some((&document["chunks"], element_bytes, compression))
}
