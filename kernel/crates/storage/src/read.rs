//! Owns reading: the descriptor of a stored array ([`ZarrSource`]) and the reader that a worker makes of it.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use nuna_array::{ChunkReader, ChunkSource, SourceSpec};
use nuna_chunk::{Chunk, DType, Region};
use nuna_plan::TaskError;
use serde::{Deserialize, Serialize};

use crate::{
    ZARR_KIND,
    cf::Decode,
    codec,
    direct::Direct,
    error::StorageError,
    metadata::ZarrFormat,
    place,
    remote::AHEAD,
    text::{self, Text},
};

/// A chunk of more bytes is a mistake in its metadata, and no memory is asked for it.
const CHUNK_BYTES_MAX: u64 = 64 << 30;
/// Of a shard only parts are read.
const SHARD_BYTES_MAX: u64 = 1 << 60;

/// More text of fixed length is not read at once.
const TEXT_BYTES_MAX: u64 = 256 << 20;

/// A stored array: where it is, its metadata document, and how its elements are decoded. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ZarrSource {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shape: Vec<u64>,
    chunk_shape: Vec<u64>,
    address: Address,
}

/// What travels to workers: everything that opening takes, so that no worker reads metadata.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Address {
    pub(crate) name: String,
    pub(crate) root: PathBuf,
    /// The array's folder below `root`; empty if the store is one array.
    pub(crate) path: String,
    pub(crate) format: ZarrFormat,
    pub(crate) metadata: String,
    pub(crate) decode: Decode,
    /// Elements are text, and how.
    pub(crate) text: Option<Text>,
    /// `root` is a reference file, not a folder.
    pub(crate) is_references: bool,
}

impl Address {
    fn is_characters(&self) -> bool {
        matches!(self.text, Some(Text::Fixed { is_characters: true, .. }))
    }
}

impl ZarrSource {
    /// `shape` is the stored array's; of text made of characters, the last axis is left out.
    pub(crate) fn new(address: Address, shape: Vec<u64>) -> Result<Self, String> {
        let Address { root, path, format, metadata, decode, is_references, .. } = &address;
        let array = codec::open(root, path, *format, metadata, *is_references)?.array;
        let size = match address.text {
            Some(Text::Fixed { bytes, .. }) => bytes as u64,
            _ => decode.stored.size() as u64,
        };
        let within = |chunk: &[u64], most: u64| {
            let bytes = chunk.iter().try_fold(size, |bytes, &n| bytes.checked_mul(n));
            match bytes.is_some_and(|bytes| bytes <= most) {
                true => Ok(()),
                false => Err(format!("its chunks of shape {chunk:?} are beyond any machine")),
            }
        };
        let stored_chunk_shape = codec::stored_chunk_shape(&array);
        within(&stored_chunk_shape, SHARD_BYTES_MAX)?;
        codec::check_shards(*format, metadata, &stored_chunk_shape)?;
        let chunk_shape = codec::read_chunk_shape(&array, &shape, size);
        within(&chunk_shape, CHUNK_BYTES_MAX)?;
        let (mut shape, mut chunk_shape) = (shape, chunk_shape);
        if address.is_characters() {
            shape.pop();
            chunk_shape.pop();
        }
        Ok(Self { inner: Arc::new(Inner { shape, chunk_shape, address }) })
    }

    /// What [`ChunkSource::spec`] described, without reading metadata again.
    ///
    /// # Errors
    /// If it is not the descriptor of a stored array, or does not fit `shape`.
    pub fn from_spec(spec: &SourceSpec, shape: Vec<u64>) -> Result<Self, String> {
        if spec.kind != ZARR_KIND {
            return Err(format!("`{}` is no stored Zarr array", spec.kind));
        }
        let address: Address = postcard::from_bytes(&spec.payload)
            .map_err(|error| format!("the address of a stored array cannot be decoded: {error}"))?;
        let source = Self::new(address, shape.clone())?;
        if source.inner.shape != shape {
            return Err("text is no array".to_owned());
        }
        Ok(source)
    }

    /// Whether the elements are text, which [`ZarrReader::read_text`] reads and arrays cannot hold.
    pub fn is_text(&self) -> bool {
        self.inner.address.text.is_some()
    }

    pub fn decode(&self) -> &Decode {
        &self.inner.address.decode
    }

    pub fn dtype(&self) -> DType {
        self.inner.address.decode.output
    }

    pub fn shape(&self) -> &[u64] {
        &self.inner.shape
    }

    pub fn chunk_shape(&self) -> &[u64] {
        &self.inner.chunk_shape
    }

    /// Opens it in this process.
    ///
    /// # Errors
    /// If its metadata names a codec that is not known here.
    pub fn reader(&self) -> Result<ZarrReader, StorageError> {
        ZarrReader::open(self.inner.address.clone())
    }

    /// Every element, in memory; for coordinates.
    ///
    /// # Errors
    /// As [`ZarrReader::read`].
    pub fn read_all(&self) -> Result<Chunk, StorageError> {
        self.reader()?.read(&Region::new(self.shape().iter().map(|&n| 0..n)))
    }

    /// Every element of a text array.
    ///
    /// # Errors
    /// As [`ZarrReader::read`].
    pub fn read_all_text(&self) -> Result<Vec<String>, StorageError> {
        self.reader()?.read_text(&Region::new(self.shape().iter().map(|&n| 0..n)))
    }
}

impl ChunkSource for ZarrSource {
    fn name(&self) -> String {
        self.inner.address.name.clone()
    }

    fn dtype(&self) -> DType {
        self.dtype()
    }

    fn shape(&self) -> &[u64] {
        &self.inner.shape
    }

    fn chunk_shape(&self) -> &[u64] {
        &self.inner.chunk_shape
    }

    fn spec(&self) -> SourceSpec {
        let payload = postcard::to_stdvec(&self.inner.address).expect("plain data always encodes");
        SourceSpec { kind: ZARR_KIND.to_owned(), payload }
    }

    /// A compressed chunk (or shard's part; several of those that are far), the same decoded where only a part of it is wanted, and the stored elements
    /// where decoding makes new ones.
    fn scratch_bytes(&self, bytes: u64) -> u64 {
        let decode = &self.inner.address.decode;
        let stored = bytes / decode.output.size() as u64 * decode.stored.size() as u64;
        let chunk = self.inner.chunk_shape.iter().product::<u64>() * decode.stored.size() as u64;
        let is_far = self.inner.address.is_references || place::is_remote(&self.inner.address.root);
        let on_their_way = if is_far { stored.div_ceil(chunk.max(1)).clamp(1, AHEAD as u64) } else { 1 };
        let compressed = (chunk + chunk / 128) * on_their_way;
        let cropped = if chunk > 0 && stored.is_multiple_of(chunk) { 0 } else { chunk };
        compressed + cropped + if decode.is_identity() { 0 } else { stored }
    }
}

/// Opens what [`ZarrSource::spec`] described.
pub(crate) fn open_reader(payload: &[u8]) -> Result<Box<dyn ChunkReader>, TaskError> {
    let address: Address = postcard::from_bytes(payload).map_err(|error| {
        TaskError::fatal(format!("the address of a stored array cannot be decoded: {error}"))
    })?;
    Ok(Box::new(ZarrReader::open(address).map_err(StorageError::into_task)?))
}

/// An open array. Shared by threads; each read decodes on the thread that asks.
pub struct ZarrReader {
    opened: codec::Opened,
    stored_chunk_shape: Vec<u64>,
    direct: Option<Direct>,
    fill: Vec<u8>,
    address: Address,
}

impl ZarrReader {
    fn open(address: Address) -> Result<Self, StorageError> {
        let Address { root, path, format, metadata, is_references, .. } = &address;
        let opened = codec::open(root, path, *format, metadata, *is_references).map_err(|message| {
            StorageError::Unsupported { variable: address.name.clone(), store: place::shown(root), message }
        })?;
        let stored_chunk_shape = codec::stored_chunk_shape(&opened.array);
        let plain = address.text.is_none() && opened.ahead.is_none();
        let direct = if !plain { None } else { Direct::of(address.format, &address.metadata) };
        let fill = opened.array.fill_value().as_ne_bytes().to_vec();
        Ok(Self { opened, stored_chunk_shape, direct, fill, address })
    }

    /// Reads and decodes a box. Whole chunks come without a copy; chunks never written are fill values.
    ///
    /// # Errors
    /// [`StorageError::Chunk`] names the file that is damaged, [`StorageError::Read`] what the file system said.
    pub fn read(&self, region: &Region) -> Result<Chunk, StorageError> {
        let shape: Vec<u64> = region.ranges().iter().map(|r| r.end - r.start).collect();
        let decode = &self.address.decode;
        let bytes = if shape.contains(&0) { Bytes::new() } else { self.read_stored(region)? };
        Chunk::new(decode.output, &shape, decode.apply(bytes)).map_err(|error| StorageError::Chunk {
            variable: self.address.name.clone(),
            file: place::shown(&self.address.root).join(&self.address.path),
            message: error.to_string(),
        })
    }

    fn read_stored(&self, region: &Region) -> Result<Bytes, StorageError> {
        let file = |indices: &[u64]| self.address.root.join(codec::chunk_key(&self.opened.array, indices));
        let inside = region.fits(self.opened.array.shape());
        let direct = self.direct.as_ref().filter(|_| inside);
        let bytes = match direct.and_then(|direct| direct.read(region, &self.fill, file)) {
            Some(buffer) => buffer.freeze(),
            // A whole chunk that the array's end cuts short is decoded whole and cropped by the codecs.
            None => self.opened.read_box(region).map_err(|failure| self.blame(region, failure))?.into(),
        };
        nuna_plan::meter::add_read_bytes(bytes.len() as u64);
        Ok(bytes)
    }

    /// Reads a box of text.
    ///
    /// # Errors
    /// As [`ZarrReader::read`].
    pub fn read_text(&self, region: &Region) -> Result<Vec<String>, StorageError> {
        if region.ranges().iter().any(std::ops::Range::is_empty) {
            return Ok(Vec::new());
        }
        let Some(Text::Fixed { bytes, encoding, is_characters }) = self.address.text else {
            return self.opened.read_text(region).map_err(|failure| self.blame(region, failure));
        };
        let length = self.opened.array.shape().last().copied().filter(|_| is_characters);
        let whole = Region::new(region.ranges().iter().cloned().chain(length.map(|n| 0..n)));
        let count = region.len();
        let bytes = length.map_or(bytes, |n| n as usize);
        if count.checked_mul(bytes.max(1) as u64).is_none_or(|size| size > TEXT_BYTES_MAX) {
            let message = format!("{count} texts of {bytes} bytes each are more than is read at once");
            let (variable, store) = (self.address.name.clone(), place::shown(&self.address.root));
            return Err(StorageError::Unsupported { variable, store, message });
        }
        if bytes == 0 {
            return Ok(vec![String::new(); count as usize]);
        }
        let stored = self.opened.read_box(&whole).map_err(|failure| self.blame(&whole, failure))?;
        Ok(text::decoded(&stored, bytes, encoding))
    }

    /// Finds the chunk that a failed read of several foundered on.
    fn blame(&self, region: &Region, failure: codec::Failure) -> StorageError {
        if let Some(error) = failure.remote {
            // It names its address, and was tried often enough.
            return StorageError::RemoteVariable { variable: self.address.name.clone(), error };
        }
        let chunks = codec::touched(region, &self.stored_chunk_shape);
        let grid = nuna_plan::BlockGrid::new(chunks.iter().map(|r| r.end - r.start));
        let indices_of = |number: u64| -> Vec<u64> {
            grid.coords(number).iter().zip(&chunks).map(|(c, r)| c + r.start).collect()
        };
        let mut culprit = (indices_of(0), failure);
        if grid.count() > 1 {
            for number in 0..grid.count() {
                let indices = indices_of(number);
                let whole = Region::new(
                    indices.iter().zip(&self.stored_chunk_shape).map(|(&i, &n)| i * n..(i + 1) * n),
                );
                let part = Region::new(
                    whole
                        .ranges()
                        .iter()
                        .zip(region.ranges())
                        .map(|(w, r)| w.start.max(r.start)..w.end.min(r.end)),
                );
                let outcome = if self.address.text == Some(Text::Long) {
                    self.opened.read_text(&part).map(drop)
                } else {
                    self.opened.read_box(&part).map(drop)
                };
                if let Err(failure) = outcome {
                    culprit = (indices, failure);
                    break;
                }
            }
        }
        let (indices, failure) = culprit;
        let file = place::shown(&self.address.root).join(codec::chunk_key(&self.opened.array, &indices));
        let variable = self.address.name.clone();
        if failure.is_io {
            StorageError::Read { variable, file, message: failure.message }
        } else {
            StorageError::Chunk { variable, file, message: failure.message }
        }
    }
}

impl ChunkReader for ZarrReader {
    fn read(&self, region: &Region) -> Result<Chunk, TaskError> {
        self.read(region).map_err(StorageError::into_task)
    }
}
