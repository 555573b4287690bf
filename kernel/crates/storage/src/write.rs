//! Owns writing: a new store is built beside its final name and moved there once it is whole, so that a failed write
//! leaves nothing that looks like a result. Chunk files are moved into place too, because a block may run twice.

use std::{
    borrow::Cow,
    fs,
    hash::{BuildHasher as _, RandomState},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use nuna_array::{ChunkSink, ChunkWriter, SinkSpec};
use nuna_chunk::{Chunk, DType, Region};
use nuna_plan::TaskError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    ZARR_KIND,
    codec::{self, WrittenArray},
    direct::Direct,
    error::StorageError,
    json::Attributes,
    metadata::{self, ZarrFormat},
    pieces::pieces,
    place,
};

/// Below the store while it is written: chunks that are not whole yet.
const DRAFTS: &str = ".drafts";

/// How a store is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    pub format: ZarrFormat,
    /// Level of zstd; 0 stores chunks as they are.
    pub zstd_level: i32,
    /// Replace a Zarr store of that name.
    pub overwrite: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { format: ZarrFormat::V3, zstd_level: 3, overwrite: false }
    }
}

/// A variable to be written.
#[derive(Clone, Debug)]
pub struct NewVariable {
    pub name: String,
    pub dims: Vec<String>,
    /// `None` for text.
    pub dtype: Option<DType>,
    pub shape: Vec<u64>,
    pub chunk_shape: Vec<u64>,
    pub attrs: Attributes,
}

/// A store that is being written. Dropping it unfinished removes what was written.
#[derive(Debug)]
pub struct NewStore {
    target: PathBuf,
    partial: PathBuf,
    options: StoreOptions,
    variables: Vec<(NewVariable, String)>,
    finished: bool,
}

/// A name that no other process uses.
pub(crate) fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{:016x}", RandomState::new().hash_one((number, std::process::id())))
}

pub(crate) fn write_error(path: &Path, error: &std::io::Error) -> StorageError {
    StorageError::Write { path: path.to_owned(), message: error.to_string() }
}

impl NewStore {
    /// Writes the metadata of a new store, in a folder beside `path`.
    ///
    /// # Errors
    /// If `path` exists and may not be replaced, a variable's name cannot be a folder's, or the file system refuses.
    pub fn create(
        path: impl AsRef<Path>,
        attrs: &Attributes,
        variables: Vec<NewVariable>,
        options: StoreOptions,
    ) -> Result<Self, StorageError> {
        if place::is_remote(path.as_ref()) {
            let message = "stores are written to the file system only".to_owned();
            return Err(StorageError::Write { path: place::shown(path.as_ref()), message });
        }
        let target =
            std::path::absolute(path.as_ref()).map_err(|error| write_error(path.as_ref(), &error))?;
        check_target(&target, options.overwrite)?;
        let folder = target.parent().filter(|_| target.file_name().is_some()).ok_or_else(|| {
            StorageError::Write { path: target.clone(), message: "it has no name of its own".to_owned() }
        })?;
        fs::create_dir_all(folder).map_err(|error| write_error(folder, &error))?;
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let partial = folder.join(format!(".{name}.partial-{}", unique()));
        let drafts = partial.join(DRAFTS);
        fs::create_dir_all(&drafts).map_err(|error| write_error(&partial, &error))?;
        let mut store = Self { target, partial, options, variables: Vec::new(), finished: false };
        for variable in variables {
            let bad_name = variable.name.is_empty()
                || variable.name.starts_with('.')
                || variable.name.contains(['/', '\\', '\0'])
                || variable.name == "zarr.json";
            if bad_name {
                let message = "its name cannot be the name of a folder".to_owned();
                return Err(StorageError::Variable { variable: variable.name, message });
            }
            let document = match store.options.format {
                ZarrFormat::V2 => v2_array(&variable, store.options.zstd_level),
                ZarrFormat::V3 => v3_array(&variable, store.options.zstd_level),
            };
            store.variables.push((variable, document.to_string()));
        }
        store.write_metadata(attrs)?;
        Ok(store)
    }

    fn put(&self, key: &str, value: &Value) -> Result<(), StorageError> {
        let file = self.partial.join(key);
        let text = serde_json::to_string_pretty(value).expect("a JSON value always encodes");
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).map_err(|error| write_error(folder, &error))?;
        }
        fs::write(&file, text).map_err(|error| write_error(&file, &error))
    }

    fn write_metadata(&self, attrs: &Attributes) -> Result<(), StorageError> {
        let parsed =
            |document: &str| serde_json::from_str::<Value>(document).expect("written by this module");
        match self.options.format {
            ZarrFormat::V3 => {
                let mut nodes = serde_json::Map::new();
                for (variable, document) in &self.variables {
                    let mut node = parsed(document);
                    node["attributes"] = Value::Object(variable.attrs.clone());
                    node["dimension_names"] = json!(variable.dims);
                    if variable.dtype.is_some_and(DType::is_float)
                        && !variable.attrs.contains_key("_FillValue")
                    {
                        // xarray's spelling of NaN: in v3 only the attribute means "missing".
                        node["attributes"]["_FillValue"] = json!("AAAAAAAA+H8=");
                    }
                    self.put(&format!("{}/zarr.json", variable.name), &node)?;
                    nodes.insert(variable.name.clone(), node);
                }
                let group = json!({
                    "zarr_format": 3, "node_type": "group", "attributes": attrs,
                    "consolidated_metadata": {"kind": "inline", "must_understand": false, "metadata": nodes},
                });
                self.put("zarr.json", &group)
            }
            ZarrFormat::V2 => {
                let mut nodes = serde_json::Map::new();
                nodes.insert(".zgroup".to_owned(), json!({"zarr_format": 2}));
                nodes.insert(".zattrs".to_owned(), Value::Object(attrs.clone()));
                for (variable, document) in &self.variables {
                    let mut attrs = variable.attrs.clone();
                    attrs.insert("_ARRAY_DIMENSIONS".to_owned(), json!(variable.dims));
                    nodes.insert(format!("{}/.zarray", variable.name), parsed(document));
                    nodes.insert(format!("{}/.zattrs", variable.name), Value::Object(attrs));
                }
                for (key, node) in &nodes {
                    self.put(key, node)?;
                }
                self.put(".zmetadata", &json!({"zarr_consolidated_format": 1, "metadata": nodes}))
            }
        }
    }

    fn variable(&self, name: &str) -> &(NewVariable, String) {
        self.variables.iter().find(|(v, _)| v.name == name).expect("callers name variables that they created")
    }

    /// The target of one variable for a plan.
    ///
    /// # Panics
    /// If the store was not created with that variable.
    pub fn sink(&self, name: &str) -> ZarrSink {
        let (variable, metadata) = self.variable(name);
        let address = Address {
            name: name.to_owned(),
            root: self.partial.clone(),
            format: self.options.format,
            metadata: metadata.clone(),
        };
        ZarrSink { variable: variable.clone(), address }
    }

    /// Writes a variable that is in memory.
    ///
    /// # Errors
    /// If a chunk cannot be encoded or written.
    pub fn write(&self, name: &str, chunk: &Chunk) -> Result<(), StorageError> {
        let writer = ZarrWriter::open(self.sink(name).address)?;
        writer.write(&Region::new(chunk.shape().iter().map(|&n| 0..n)), chunk)
    }

    /// Writes a variable of text.
    ///
    /// # Errors
    /// As [`NewStore::write`].
    pub fn write_text(&self, name: &str, text: Vec<String>) -> Result<(), StorageError> {
        let writer = ZarrWriter::open(self.sink(name).address)?;
        codec::write_text(&writer.array, text)
            .map_err(|failure| StorageError::Variable { variable: name.to_owned(), message: failure.message })
    }

    /// Moves the whole store to its name.
    ///
    /// # Errors
    /// If another one took the name meanwhile, or the file system refuses.
    pub fn finish(mut self) -> Result<(), StorageError> {
        check_target(&self.target, self.options.overwrite)?;
        // What killed processes have left.
        let drafts = self.partial.join(DRAFTS);
        fs::remove_dir_all(&drafts).map_err(|error| write_error(&drafts, &error))?;
        let old = self.target.exists().then(|| self.partial.with_extension("old"));
        if let Some(old) = &old {
            fs::rename(&self.target, old).map_err(|error| write_error(&self.target, &error))?;
        }
        fs::rename(&self.partial, &self.target).map_err(|error| write_error(&self.target, &error))?;
        self.finished = true;
        if let Some(old) = &old {
            fs::remove_dir_all(old).map_err(|error| write_error(old, &error))?;
        }
        Ok(())
    }
}

impl Drop for NewStore {
    fn drop(&mut self) {
        if !self.finished {
            // Best effort: the folder's name says what it is.
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}

fn check_target(target: &Path, overwrite: bool) -> Result<(), StorageError> {
    if !target.exists() {
        return Ok(());
    }
    let is_empty = fs::read_dir(target).is_ok_and(|mut entries| entries.next().is_none());
    match (overwrite, is_empty || metadata::is_node(target)) {
        (_, true) if is_empty => Ok(()),
        (false, _) => Err(StorageError::Exists { path: target.to_owned() }),
        (true, true) => Ok(()),
        (true, false) => {
            let what = "a Zarr store".to_owned();
            Err(StorageError::ExistsNot { path: target.to_owned(), what })
        }
    }
}

/// What chunks that were never written hold.
fn fill_value(dtype: Option<DType>) -> Value {
    match dtype {
        None => json!(""),
        Some(DType::Bool) => json!(false),
        Some(dtype) if dtype.is_float() => json!("NaN"),
        Some(dtype) if dtype.is_complex() => json!([0.0, 0.0]),
        Some(_) => json!(0),
    }
}

fn v3_array(variable: &NewVariable, zstd_level: i32) -> Value {
    let to_bytes = match variable.dtype {
        None => json!({"name": "vlen-utf8"}),
        Some(dtype) if dtype.size() == 1 => json!({"name": "bytes"}),
        Some(_) => json!({"name": "bytes", "configuration": {"endian": "little"}}),
    };
    let mut codecs = vec![to_bytes];
    if zstd_level != 0 {
        codecs.push(json!({"name": "zstd", "configuration": {"level": zstd_level, "checksum": false}}));
    }
    json!({
        "zarr_format": 3, "node_type": "array", "shape": variable.shape,
        "data_type": variable.dtype.map_or("string", DType::name),
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": variable.chunk_shape}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill_value(variable.dtype), "codecs": codecs, "storage_transformers": [],
    })
}

fn v2_array(variable: &NewVariable, zstd_level: i32) -> Value {
    let (dtype, filters) = match variable.dtype {
        None => ("|O".to_owned(), json!([{"id": "vlen-utf8"}])),
        Some(dtype) => {
            // NumPy's kind letters are the first letters of its names.
            let code = &dtype.name()[..1];
            let order = if dtype.size() == 1 { '|' } else { '<' };
            (format!("{order}{code}{}", dtype.size()), Value::Null)
        }
    };
    let compressor = if zstd_level == 0 {
        Value::Null
    } else {
        json!({"id": "zstd", "level": zstd_level, "checksum": false})
    };
    // In v2 the fill value means "missing" to xarray, so integers have none.
    let fill =
        if variable.dtype.is_some_and(DType::is_float) { fill_value(variable.dtype) } else { Value::Null };
    json!({
        "zarr_format": 2, "shape": variable.shape, "chunks": variable.chunk_shape, "dtype": dtype,
        "compressor": compressor, "fill_value": fill, "order": "C", "filters": filters, "dimension_separator": ".",
    })
}

/// One variable of a store being written, as plans name it.
#[derive(Clone, Debug)]
pub struct ZarrSink {
    variable: NewVariable,
    address: Address,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Address {
    name: String,
    root: PathBuf,
    format: ZarrFormat,
    metadata: String,
}

impl ChunkSink for ZarrSink {
    fn name(&self) -> String {
        self.variable.name.clone()
    }

    fn dtype(&self) -> DType {
        self.variable.dtype.expect("text is never planned, it is written from memory")
    }

    fn shape(&self) -> &[u64] {
        &self.variable.shape
    }

    fn chunk_shape(&self) -> &[u64] {
        &self.variable.chunk_shape
    }

    /// A chunk cut out of the block or filled up, and the same compressed.
    fn scratch_bytes(&self) -> u64 {
        let size = self.variable.dtype.map_or(0, DType::size) as u64;
        let chunk = self.variable.chunk_shape.iter().fold(size, |bytes, &n| bytes.saturating_mul(n));
        chunk.saturating_mul(2).saturating_add(chunk / 128)
    }

    fn spec(&self) -> SinkSpec {
        let payload = postcard::to_stdvec(&self.address).expect("plain data always encodes");
        SinkSpec { kind: ZARR_KIND.to_owned(), payload }
    }
}

/// Opens what [`ZarrSink::spec`] described.
pub(crate) fn open_writer(payload: &[u8]) -> Result<Box<dyn ChunkWriter>, TaskError> {
    let address: Address = postcard::from_bytes(payload).map_err(|error| {
        TaskError::fatal(format!("the address of an array to write cannot be decoded: {error}"))
    })?;
    Ok(Box::new(ZarrWriter::open(address).map_err(StorageError::into_task)?))
}

/// An array open for writing whole chunks, by several threads and processes at once.
pub struct ZarrWriter {
    array: WrittenArray,
    direct: Option<Direct>,
    chunk_shape: Vec<u64>,
    fill: Vec<u8>,
    address: Address,
}

impl ZarrWriter {
    fn open(address: Address) -> Result<Self, StorageError> {
        let array = codec::open_written(&address.root, &address.name, address.format, &address.metadata)
            .map_err(|message| StorageError::Variable { variable: address.name.clone(), message })?;
        let chunk_shape = codec::stored_chunk_shape(&array);
        let fill = array.fill_value().as_ne_bytes().to_vec();
        let direct = Direct::of_written(address.format, &address.metadata);
        Ok(Self { array, direct, chunk_shape, fill, address })
    }

    fn refused(&self, message: String) -> StorageError {
        StorageError::Variable { variable: self.address.name.clone(), message }
    }

    /// Writes a box that covers whole stored chunks.
    ///
    /// # Errors
    /// If the box cuts a chunk, or a file cannot be written.
    pub fn write(&self, region: &Region, chunk: &Chunk) -> Result<(), StorageError> {
        let grid = (self.array.shape(), &self.chunk_shape[..]);
        let refused = |message| self.refused(message);
        pieces(region, chunk, grid, &self.fill, refused, |indices, bytes| self.write_chunk(indices, bytes))
    }

    fn write_chunk(&self, indices: &[u64], bytes: Cow<'_, [u8]>) -> Result<(), StorageError> {
        // The first element is one, and every other is the one before.
        let element = self.fill.len();
        let starts = element > 0 && bytes.get(..element) == Some(&self.fill[..]);
        if starts && bytes[element..] == bytes[..bytes.len() - element] {
            return Ok(());
        }
        let file = self.address.root.join(codec::chunk_key(&self.array, indices));
        let folder = file.parent().expect("a chunk's key has the array's folder in front");
        // A process that was cut off, and writes when the store is finished, finds no place for drafts any more.
        let draft = self.address.root.join(DRAFTS).join(unique());
        let put = |encoded: &[u8]| {
            let written = fs::write(&draft, encoded).and_then(|()| fs::create_dir_all(folder));
            written.and_then(|()| fs::rename(&draft, &file)).map_err(|error| {
                let _ = fs::remove_file(&draft);
                write_error(&file, &error)
            })
        };
        match &self.direct {
            Some(direct) => direct.encoded(&bytes, put).map_err(|message| self.refused(message))?,
            None => {
                let encoded = codec::encode(&self.array, indices, bytes.into_owned());
                put(&encoded.map_err(|failure| self.refused(failure.message))?)
            }
        }
    }
}

impl ChunkWriter for ZarrWriter {
    fn write(&self, region: &Region, chunk: &Chunk) -> Result<(), TaskError> {
        self.write(region, chunk).map_err(StorageError::into_task)
    }
}
