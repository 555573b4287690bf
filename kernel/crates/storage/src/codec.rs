//! Owns everything that knows the `zarrs` crate: opening an array from its metadata, decoding boxes, encoding chunks.
//! Whatever it panics over in bad files ends here as a message.

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use nuna_chunk::Region;
use nuna_plan::BlockGrid;
use nuna_remote::RemoteError;
use serde_json::{Map, Value};
use zarrs::{
    array::{
        Array, ArrayBytes, ArrayError, ArrayMetadata, ArrayShardedExt as _, ArraySubset,
        ArrayToBytesCodecTraits as _, CodecError, CodecOptions,
    },
    convert::array_metadata_v2_to_v3,
    filesystem::FilesystemStore,
    metadata::{v2::ArrayMetadataV2, v3::ArrayMetadataV3},
    storage::{
        ListableStorageTraits as _, ReadableStorageTraits, StorageError as ZarrsStorageError,
        store::MemoryStore,
    },
};

use crate::{
    error::StorageError,
    metadata::ZarrFormat,
    numcodecs, place,
    references::References,
    remote::{Ahead, ReadAhead, RemoteStore},
};

/// An array that is written. Its store is for text alone, on its way to where it is written.
pub(crate) type WrittenArray = Array<MemoryStore>;
/// An array that is read, from wherever its chunks are.
pub(crate) type StoredArray = Array<dyn ReadableStorageTraits>;

/// Boxes read from a shard at once are grown to this size.
const SHARD_READ_BYTES: u64 = 16 << 20;

/// A failure to decode, told apart from one to read.
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) is_io: bool,
    /// What went wrong on the way from another host.
    pub(crate) remote: Option<RemoteError>,
}

impl Failure {
    fn damaged(message: impl ToString) -> Self {
        Self { message: message.to_string(), is_io: false, remote: None }
    }
}

/// An array to read, and its store if the store is worth asking before its chunks are wanted.
pub(crate) struct Opened {
    pub(crate) array: StoredArray,
    pub(crate) ahead: Option<Arc<dyn Ahead>>,
}

/// Runs what may panic over bad input.
fn guarded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(Failure::damaged(format!("the decoder gave up ({message})")))
    })
}

/// One thread per block is the engine's business; the codecs use the calling thread alone.
pub(crate) fn options() -> CodecOptions {
    CodecOptions::default().with_concurrent_target(1)
}

/// An array to read, from its metadata document. `root` is a folder or an address, which are not touched, or a reference file.
pub(crate) fn open(
    root: &Path,
    path: &str,
    format: ZarrFormat,
    metadata: &str,
    is_references: bool,
) -> Result<Opened, String> {
    let text = |error: StorageError| error.to_string();
    let remote = place::location(root).map_err(text)?;
    let (store, ahead): (Arc<dyn ReadableStorageTraits>, Option<Arc<dyn Ahead>>) = match remote {
        _ if is_references => {
            let references = References::open(root).map_err(text)?;
            (references.clone(), Some(references))
        }
        Some(location) => {
            let store = Arc::new(RemoteStore::new(location));
            (store.clone(), Some(store))
        }
        None => (Arc::new(FilesystemStore::new(root).map_err(|error| error.to_string())?), None),
    };
    Ok(Opened { array: open_in(store, path, format, metadata)?, ahead })
}

/// An array to write, from its metadata document, without touching the store.
pub(crate) fn open_written(path: &str, format: ZarrFormat, metadata: &str) -> Result<WrittenArray, String> {
    open_in(Arc::new(MemoryStore::new()), path, format, metadata)
}

fn open_in<S: ?Sized>(
    store: Arc<S>,
    path: &str,
    format: ZarrFormat,
    metadata: &str,
) -> Result<Array<S>, String> {
    guarded(|| {
        let failure = |message: String| Failure::damaged(message);
        let mut value: Value = serde_json::from_str(metadata).map_err(|e| failure(e.to_string()))?;
        let is_complex = value["dtype"].as_str().is_some_and(|name| name.contains('c'));
        if format == ZarrFormat::V2 && is_complex && value["fill_value"].is_null() {
            // As `zarrs` has it for other numbers: what was never written is 0.
            value["fill_value"] = serde_json::json!([0.0, 0.0]);
        }
        let metadata = match format {
            ZarrFormat::V2 if numcodecs::in_v2(&value).is_some() => {
                ArrayMetadata::V3(with_numcodecs(&value).map_err(failure)?)
            }
            ZarrFormat::V2 => ArrayMetadata::V2(
                serde_json::from_value(value)
                    .map_err(|e| failure(format!("its metadata is damaged: {e}")))?,
            ),
            ZarrFormat::V3 if let Some(Value::Array(codecs)) = value.get_mut("codecs") => {
                *codecs = numcodecs::rewritten(std::mem::take(codecs)).map_err(failure)?;
                ArrayMetadata::V3(
                    serde_json::from_value(value)
                        .map_err(|e| failure(format!("its metadata is damaged: {e}")))?,
                )
            }
            ZarrFormat::V3 => ArrayMetadata::V3(
                serde_json::from_value(value)
                    .map_err(|e| failure(format!("its metadata is damaged: {e}")))?,
            ),
        };
        numcodecs::register();
        let path = if path.is_empty() { "/".to_owned() } else { format!("/{path}") };
        Array::new_with_metadata(store, &path, metadata).map_err(|e| failure(e.to_string()))
    })
    .map_err(|failure| failure.message)
}

/// Metadata of version 2 with codecs of ours, as metadata of version 3.
fn with_numcodecs(metadata: &Value) -> Result<ArrayMetadataV3, String> {
    let codecs = numcodecs::in_v2(metadata).unwrap_or_default();
    let is_text = |codec: &Map<String, Value>| numcodecs::id(codec).starts_with("vlen-");
    let mut plain = metadata.clone();
    plain["compressor"] = Value::Null;
    plain["filters"] =
        codecs.iter().filter(|codec| is_text(codec)).map(|&codec| Value::from(codec.clone())).collect();
    let plain: ArrayMetadataV2 =
        serde_json::from_value(plain).map_err(|error| format!("its metadata is damaged: {error}"))?;
    let mut converted = array_metadata_v2_to_v3(&plain).map_err(|error| error.to_string())?;
    for codec in codecs {
        if !is_text(codec) {
            converted.codecs.extend(numcodecs::converted(codec)?);
        }
    }
    Ok(converted)
}

/// The index of a shard with more parts is worth no memory.
const PARTS_MAX: u64 = 1 << 26;

/// Refuses shards whose parts do not divide them, or are so many that where they lie takes gigabytes; also shards within shards.
///
/// # Errors
/// In words.
pub(crate) fn check_shards(format: ZarrFormat, metadata: &str, shape: &[u64]) -> Result<(), String> {
    if format == ZarrFormat::V2 {
        return Ok(());
    }
    let document: Value = serde_json::from_str(metadata).map_err(|error| error.to_string())?;
    let mut shape = shape.to_vec();
    let mut codecs = document.get("codecs");
    while let Some(Value::Array(listed)) = codecs.take() {
        for codec in listed {
            let configuration = &codec["configuration"];
            let numbers = |key: &str| -> Option<Vec<u64>> {
                configuration[key].as_array()?.iter().map(Value::as_u64).collect()
            };
            match codec["name"].as_str() {
                Some("transpose") => {
                    let order = numbers("order").filter(|order| order.len() == shape.len());
                    let moved: Option<_> = order.and_then(|order| {
                        order.iter().map(|&axis| shape.get(axis as usize).copied()).collect()
                    });
                    shape = moved.ok_or("its codec `transpose` names other axes than it has")?;
                }
                Some("sharding_indexed") => {
                    let inner = numbers("chunk_shape").unwrap_or_default();
                    let divides = |(&outer, &inner): (&u64, &u64)| inner > 0 && outer.is_multiple_of(inner);
                    if inner.len() != shape.len() || !shape.iter().zip(&inner).all(divides) {
                        return Err(format!(
                            "its shards of shape {shape:?} are not divided by parts of shape {inner:?}"
                        ));
                    }
                    let parts = shape.iter().zip(&inner).map(|(outer, inner)| outer / inner);
                    let parts = parts.fold(1u64, u64::saturating_mul);
                    if parts > PARTS_MAX {
                        return Err(format!("its shards have {parts} parts, which is beyond reason"));
                    }
                    shape = inner;
                    codecs = configuration.get("codecs");
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// The box that is best read at once: a chunk, or as many inner chunks of a shard as are worth one read.
pub(crate) fn read_chunk_shape(array: &StoredArray, shape: &[u64], element_bytes: u64) -> Vec<u64> {
    let stored = stored_chunk_shape(array);
    let Some(inner) = array.subchunk_shape() else { return stored };
    let mut read: Vec<u64> = inner.iter().map(|n| n.get()).collect();
    for axis in (0..read.len()).rev() {
        let others: u64 = read.iter().enumerate().filter(|&(a, _)| a != axis).map(|(_, &n)| n).product();
        let step = read[axis];
        let limit = stored[axis].min(shape[axis].max(1).next_multiple_of(step));
        while read[axis] + step <= limit
            && stored[axis].is_multiple_of(step)
            && (read[axis] + step) * others * element_bytes <= SHARD_READ_BYTES
        {
            read[axis] += step;
        }
        // Reads stay inside one shard.
        while !stored[axis].is_multiple_of(read[axis]) {
            read[axis] -= step;
        }
    }
    read
}

/// The shape of the stored chunks (of shards, where there are some).
pub(crate) fn stored_chunk_shape<S: ?Sized>(array: &Array<S>) -> Vec<u64> {
    let origin = vec![0; array.dimensionality()];
    match array.chunk_shape(&origin) {
        Ok(shape) => shape.iter().map(|n| n.get()).collect(),
        Err(_) => vec![1; array.dimensionality()],
    }
}

/// The stored key of one chunk, relative to the store: `theta/c/0/3`.
pub(crate) fn chunk_key<S: ?Sized>(array: &Array<S>, indices: &[u64]) -> String {
    array.chunk_key(indices).as_str().to_owned()
}

fn subset(region: &Region) -> ArraySubset {
    ArraySubset::new_with_ranges(region.ranges())
}

fn failure(error: &ArrayError) -> Failure {
    let io = match error {
        ArrayError::StorageError(ZarrsStorageError::IOError(error)) => Some(error),
        ArrayError::CodecError(CodecError::StorageError(ZarrsStorageError::IOError(error))) => Some(error),
        _ => None,
    };
    let remote = io.and_then(|error| error.get_ref()?.downcast_ref::<RemoteError>().cloned());
    Failure { message: error.to_string(), is_io: io.is_some(), remote }
}

impl Opened {
    /// The array with the chunks of a box on their way, where several are wanted and the store is far.
    fn for_box(&self, region: &Region) -> Option<StoredArray> {
        let store = self.ahead.as_ref().filter(|_| self.array.subchunk_shape().is_none())?;
        let chunks = touched(region, &stored_chunk_shape(&self.array));
        let grid = BlockGrid::new(chunks.iter().map(|r| r.end - r.start));
        if grid.count() < 2 {
            return None;
        }
        let keys = (0..grid.count()).map(|number| {
            let indices: Vec<u64> =
                grid.coords(number).iter().zip(&chunks).map(|(c, r)| c + r.start).collect();
            chunk_key(&self.array, &indices)
        });
        let ahead: Arc<dyn ReadableStorageTraits> = Arc::new(ReadAhead::new(store.clone(), keys));
        Some(self.array.with_storage(ahead))
    }

    /// Decodes a box of elements of fixed size.
    pub(crate) fn read_box(&self, region: &Region) -> Result<Vec<u8>, Failure> {
        read_box(self.for_box(region).as_ref().unwrap_or(&self.array), region)
    }

    /// Decodes a box of text.
    pub(crate) fn read_text(&self, region: &Region) -> Result<Vec<String>, Failure> {
        read_text(self.for_box(region).as_ref().unwrap_or(&self.array), region)
    }
}

/// The chunks that a box touches, along each axis.
pub(crate) fn touched(region: &Region, chunk_shape: &[u64]) -> Vec<Range<u64>> {
    region.ranges().iter().zip(chunk_shape).map(|(r, &n)| r.start / n..r.end.div_ceil(n)).collect()
}

fn read_box(array: &StoredArray, region: &Region) -> Result<Vec<u8>, Failure> {
    guarded(|| {
        let bytes: ArrayBytes<'static> =
            array.retrieve_array_subset_opt(&subset(region), &options()).map_err(|e| failure(&e))?;
        let bytes = bytes.into_fixed().map_err(Failure::damaged)?;
        Ok(bytes.into_owned())
    })
}

fn read_text(array: &StoredArray, region: &Region) -> Result<Vec<String>, Failure> {
    guarded(|| {
        array.retrieve_array_subset_opt::<Vec<String>>(&subset(region), &options()).map_err(|e| failure(&e))
    })
}

/// Encodes one whole chunk.
pub(crate) fn encode(array: &WrittenArray, indices: &[u64], bytes: Vec<u8>) -> Result<Vec<u8>, Failure> {
    guarded(|| {
        let shape = array.chunk_shape(indices).map_err(|e| failure(&e))?;
        array
            .codecs()
            .encode(ArrayBytes::new_flen(bytes), &shape, array.data_type(), array.fill_value(), &options())
            .map(std::borrow::Cow::into_owned)
            .map_err(Failure::damaged)
    })
}

/// Encodes an array of text: its chunks by their keys.
pub(crate) fn encode_text(array: &WrittenArray, text: Vec<String>) -> Result<Vec<(String, Bytes)>, Failure> {
    guarded(|| {
        array.store_array_subset_opt(&array.subset_all(), text, &options()).map_err(|e| failure(&e))?;
        let store = array.storage();
        let mut chunks = Vec::new();
        for key in store.list().map_err(Failure::damaged)? {
            let bytes = store.get(&key).map_err(Failure::damaged)?;
            chunks.extend(bytes.map(|bytes| (key.as_str().to_owned(), bytes)));
        }
        Ok(chunks)
    })
}
