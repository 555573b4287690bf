//! Owns writing: a new store is built beside its final name and moved there once it is whole, so that a failed write
//! leaves nothing that looks like a result. Chunk files are moved into place too, because a block may run twice. In buckets,
//! which move nothing, the documents that make it a store come last ([`bucket`](crate::bucket)).

use std::{
    borrow::Cow,
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    fs,
    hash::{BuildHasher as _, RandomState},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use nuna_array::{ChunkSink, ChunkWriter, SinkSpec};
use nuna_chunk::{Chunk, DType, Region};
use nuna_plan::TaskError;
use nuna_remote::{Client, Location, Pending, RemoteError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    ZARR_KIND,
    bucket::NewBucket,
    codec::{self, WrittenArray},
    compressor::Compressor,
    direct::Direct,
    encoding::{Encoding, check_names},
    error::StorageError,
    json::Attributes,
    metadata::{self, ZarrFormat},
    object::AHEAD_BYTES,
    packing::Change,
    pieces::pieces,
    place,
    remote::AHEAD,
};

/// Below the store while it is written: chunks that are not whole yet.
const DRAFTS: &str = ".drafts";

/// How a store is written.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreOptions {
    pub format: ZarrFormat,
    /// Of every variable whose encoding names none.
    pub compressor: Compressor,
    /// How some variables are stored otherwise, by name.
    pub encoding: BTreeMap<String, Encoding>,
    /// Replace a Zarr store of that name. In the file system it stays until the new one is whole; in a bucket it is removed first.
    pub overwrite: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            format: ZarrFormat::V3,
            compressor: Compressor::default(),
            encoding: BTreeMap::new(),
            overwrite: false,
        }
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
    /// Where it is written: beside its target, or in a bucket its target itself.
    partial: PathBuf,
    bucket: Option<NewBucket>,
    options: StoreOptions,
    variables: Vec<Written>,
    finished: bool,
}

/// A variable, what the store says about it, and how its elements are changed before they are encoded.
#[derive(Debug)]
struct Written {
    variable: NewVariable,
    document: String,
    change: Change,
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
    /// Begins a new store: in a folder beside `path`, or in a bucket (`s3://bucket/name`) at its place.
    ///
    /// # Errors
    /// If `path` exists and may not be replaced, a variable's name cannot be a folder's, an encoding does not fit its variable
    /// or belongs to none, or the file system or bucket refuses.
    pub fn create(
        path: impl AsRef<Path>,
        attrs: &Attributes,
        variables: Vec<NewVariable>,
        options: StoreOptions,
    ) -> Result<Self, StorageError> {
        check_names(options.encoding.keys(), || variables.iter().map(|v| v.name.as_str()))?;
        let variables = variables.into_iter().map(|variable| Written::new(variable, &options));
        let variables = variables.collect::<Result<Vec<_>, _>>()?;
        if let Some(location) = place::location(path.as_ref())? {
            let target = PathBuf::from(location.to_text());
            let bucket = NewBucket::create(location, options.overwrite)?;
            let mut store = Self {
                partial: target.clone(),
                target,
                bucket: Some(bucket),
                options,
                variables,
                finished: false,
            };
            let documents = store.documents(attrs);
            if let Some(bucket) = &mut store.bucket {
                bucket.keep(documents);
            }
            return Ok(store);
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
        let store = Self { target, partial, bucket: None, options, variables, finished: false };
        for (key, text) in store.documents(attrs) {
            store.put(&key, &text)?;
        }
        Ok(store)
    }

    fn put(&self, key: &str, text: &str) -> Result<(), StorageError> {
        let file = self.partial.join(key);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).map_err(|error| write_error(folder, &error))?;
        }
        fs::write(&file, text).map_err(|error| write_error(&file, &error))
    }

    /// What makes it a store, its root's last.
    fn documents(&self, attrs: &Attributes) -> Vec<(String, String)> {
        let text = |value: &Value| serde_json::to_string_pretty(value).expect("a JSON value always encodes");
        let mut documents = Vec::new();
        let parsed =
            |document: &str| serde_json::from_str::<Value>(document).expect("written by this module");
        match self.options.format {
            ZarrFormat::V3 => {
                let mut nodes = serde_json::Map::new();
                for Written { variable, document, change } in &self.variables {
                    let mut node = parsed(document);
                    node["attributes"] = Value::Object(variable.attrs.clone());
                    node["dimension_names"] = json!(variable.dims);
                    if variable.dtype.is_some_and(DType::is_float)
                        && !change.packs()
                        && !variable.attrs.contains_key("_FillValue")
                    {
                        // xarray's spelling of NaN: in v3 only the attribute means "missing".
                        node["attributes"]["_FillValue"] = json!("AAAAAAAA+H8=");
                    }
                    documents.push((format!("{}/zarr.json", variable.name), text(&node)));
                    nodes.insert(variable.name.clone(), node);
                }
                let group = json!({
                    "zarr_format": 3, "node_type": "group", "attributes": attrs,
                    "consolidated_metadata": {"kind": "inline", "must_understand": false, "metadata": nodes},
                });
                documents.push(("zarr.json".to_owned(), text(&group)));
            }
            ZarrFormat::V2 => {
                let mut nodes = serde_json::Map::new();
                nodes.insert(".zgroup".to_owned(), json!({"zarr_format": 2}));
                nodes.insert(".zattrs".to_owned(), Value::Object(attrs.clone()));
                for Written { variable, document, .. } in &self.variables {
                    let mut attrs = variable.attrs.clone();
                    attrs.insert("_ARRAY_DIMENSIONS".to_owned(), json!(variable.dims));
                    nodes.insert(format!("{}/.zarray", variable.name), parsed(document));
                    nodes.insert(format!("{}/.zattrs", variable.name), Value::Object(attrs));
                }
                documents.extend(nodes.iter().map(|(key, node)| (key.clone(), text(node))));
                documents.sort_by_key(|(key, _)| !key.contains('/'));
                let consolidated = json!({"zarr_consolidated_format": 1, "metadata": nodes});
                documents.push((".zmetadata".to_owned(), text(&consolidated)));
            }
        }
        documents
    }

    /// The target of one variable for a plan.
    ///
    /// # Panics
    /// If the store was not created with that variable.
    pub fn sink(&self, name: &str) -> ZarrSink {
        let written = self.variables.iter().find(|written| written.variable.name == name);
        let Written { variable, document, change } =
            written.expect("callers name variables that they created");
        let address = Address {
            name: name.to_owned(),
            root: self.partial.clone(),
            drafts: DRAFTS.to_owned(),
            format: self.options.format,
            metadata: document.clone(),
            offset: vec![0; variable.shape.len()],
            change: change.clone(),
        };
        ZarrSink { variable: variable.clone(), address }
    }

    /// Writes a variable that is in memory.
    ///
    /// # Errors
    /// If a chunk cannot be encoded or written.
    pub fn write(&self, name: &str, chunk: &Chunk) -> Result<(), StorageError> {
        self.sink(name).write_all(chunk)
    }

    /// Writes a variable of text.
    ///
    /// # Errors
    /// As [`NewStore::write`].
    pub fn write_text(&self, name: &str, text: Vec<String>) -> Result<(), StorageError> {
        let writer = ZarrWriter::open(self.sink(name).address)?;
        let chunks =
            codec::encode_text(&writer.array, text).map_err(|failure| writer.refused(failure.message))?;
        let uploads = Uploads::default();
        for (key, bytes) in chunks {
            writer.put(&key, &bytes, &uploads)?;
        }
        uploads.finish()
    }

    /// Moves the whole store to its name; in a bucket, writes what makes it a store.
    ///
    /// # Errors
    /// If another one took the name meanwhile, or the file system or bucket refuses.
    pub fn finish(mut self) -> Result<(), StorageError> {
        if let Some(bucket) = &self.bucket {
            if let Err(error) = bucket.finish() {
                let path = self.target.clone();
                let remains = self.abandon().map(|remains| format!("{error}; {remains}"));
                return Err(remains.map_or(error, |message| StorageError::Write { path, message }));
            }
            self.finished = true;
            return bucket.unmark();
        }
        check_target(&self.target, self.options.overwrite)?;
        // What killed processes have left.
        let drafts = self.partial.join(DRAFTS);
        fs::remove_dir_all(&drafts).map_err(|error| write_error(&drafts, &error))?;
        // A name that nobody else uses, who replaces the same store or was killed while replacing it.
        let old = self.target.exists().then(|| {
            let mut name = self.partial.clone().into_os_string();
            name.push("-replaced");
            PathBuf::from(name)
        });
        if let Some(old) = &old {
            fs::rename(&self.target, old).map_err(|error| write_error(&self.target, &error))?;
        }
        fs::rename(&self.partial, &self.target).map_err(|error| {
            if let Some(old) = &old {
                // What was there stays, rather than nothing.
                let _ = fs::rename(old, &self.target);
            }
            write_error(&self.target, &error)
        })?;
        self.finished = true;
        if let Some(old) = &old {
            fs::remove_dir_all(old).map_err(|error| write_error(old, &error))?;
        }
        Ok(())
    }
}

impl Written {
    fn new(mut variable: NewVariable, options: &StoreOptions) -> Result<Self, StorageError> {
        let refused = |variable: NewVariable, message: String| StorageError::Variable {
            variable: variable.name,
            message,
        };
        let bad_name = variable.name.is_empty()
            || variable.name.starts_with('.')
            || variable.name.contains(['/', '\\', '\0'])
            || variable.name == "zarr.json";
        if bad_name {
            return Err(refused(variable, "its name cannot be the name of a folder".to_owned()));
        }
        let own = Encoding::default();
        let encoding = options.encoding.get(&variable.name).unwrap_or(&own);
        match encoding.of_new(&mut variable, options.format, options.compressor) {
            Ok((document, change)) => Ok(Self { variable, document: document.to_string(), change }),
            Err(message) => Err(refused(variable, message)),
        }
    }
}

impl NewStore {
    /// Removes what was written. If that fails, says what remains where people see it.
    pub fn abandon(mut self) -> Option<String> {
        self.finished = true;
        match &self.bucket {
            Some(bucket) => bucket.abandon(),
            None => fs::remove_dir_all(&self.partial).err().map(|error| {
                format!("what was written could not be removed from {} ({error})", self.partial.display())
            }),
        }
    }
}

impl Drop for NewStore {
    fn drop(&mut self) {
        if !self.finished {
            // Best effort: the folder's name, or the mark in the bucket, says what it is.
            match &self.bucket {
                Some(bucket) => drop(bucket.abandon()),
                None => drop(fs::remove_dir_all(&self.partial)),
            }
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

/// One variable of a store being written, as plans name it.
#[derive(Clone, Debug)]
pub struct ZarrSink {
    pub(crate) variable: NewVariable,
    pub(crate) address: Address,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Address {
    pub(crate) name: String,
    pub(crate) root: PathBuf,
    /// Below the root, for chunks that are not whole yet.
    pub(crate) drafts: String,
    pub(crate) format: ZarrFormat,
    pub(crate) metadata: String,
    /// Where in the stored array the sink's first element is: at the corner of a stored chunk.
    pub(crate) offset: Vec<u64>,
    pub(crate) change: Change,
}

impl ZarrSink {
    /// Writes all of it, from memory.
    pub(crate) fn write_all(&self, chunk: &Chunk) -> Result<(), StorageError> {
        ZarrWriter::open(self.address.clone())?.write(&Region::all(chunk.shape()), chunk)
    }
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

    /// A chunk cut out of the block or filled up, and the same compressed; in a bucket, what is on its way too.
    fn scratch_bytes(&self) -> u64 {
        let size = self.variable.dtype.map_or(0, DType::size) as u64;
        let chunk = self.variable.chunk_shape.iter().fold(size, |bytes, &n| bytes.saturating_mul(n));
        let copies = if self.address.change.is_none() { 2 } else { 4 };
        let on_its_way = if place::is_remote(&self.address.root) { chunk.max(AHEAD_BYTES) } else { 0 };
        chunk.saturating_mul(copies).saturating_add(chunk / 128).saturating_add(on_its_way)
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
    /// In a bucket.
    far: Option<Location>,
}

/// What is on its way into a bucket for one box.
#[derive(Default)]
struct Uploads {
    coming: RefCell<VecDeque<(Pending, u64)>>,
}

impl Uploads {
    /// Begins one more, after others have ended if there are many or they are long.
    fn begin(&self, to: &Location, bytes: &[u8]) -> Result<(), RemoteError> {
        let mut coming = self.coming.borrow_mut();
        let length = bytes.len() as u64;
        let is_full = |coming: &VecDeque<(Pending, u64)>| {
            coming.len() >= AHEAD || coming.iter().map(|(_, n)| n).sum::<u64>() + length > AHEAD_BYTES
        };
        while is_full(&coming)
            && let Some((first, _)) = coming.pop_front()
        {
            first.wait()?;
        }
        coming.push_back((Client::shared()?.put(to, Bytes::copy_from_slice(bytes))?, length));
        Ok(())
    }

    fn finish(self) -> Result<(), StorageError> {
        for (pending, _) in self.coming.into_inner() {
            pending.wait()?;
        }
        Ok(())
    }
}

impl ZarrWriter {
    fn open(address: Address) -> Result<Self, StorageError> {
        let array = codec::open_written(&address.name, address.format, &address.metadata)
            .map_err(|message| StorageError::Variable { variable: address.name.clone(), message })?;
        let chunk_shape = codec::stored_chunk_shape(&array);
        let fill = array.fill_value().as_ne_bytes().to_vec();
        let direct = Direct::of_written(address.format, &address.metadata);
        let far = place::location(&address.root)?;
        Ok(Self { array, direct, chunk_shape, fill, address, far })
    }

    fn refused(&self, message: String) -> StorageError {
        StorageError::Variable { variable: self.address.name.clone(), message }
    }

    /// Writes a box that covers whole stored chunks.
    ///
    /// # Errors
    /// If the box cuts a chunk, or a file cannot be written.
    pub fn write(&self, region: &Region, chunk: &Chunk) -> Result<(), StorageError> {
        let offset = self.address.offset.iter().zip(region.ranges());
        let region = &Region::new(offset.map(|(o, r)| r.start + o..r.end + o));
        let chunk = &self.address.change.apply(chunk).map_err(|message| self.refused(message))?;
        let grid = (self.array.shape(), &self.chunk_shape[..]);
        let refused = |message| self.refused(message);
        let uploads = Uploads::default();
        pieces(region, chunk, grid, &self.fill, refused, |indices, bytes| {
            self.write_chunk(indices, bytes, &uploads)
        })?;
        uploads.finish()
    }

    fn write_chunk(
        &self,
        indices: &[u64],
        bytes: Cow<'_, [u8]>,
        uploads: &Uploads,
    ) -> Result<(), StorageError> {
        // The first element is one, and every other is the one before.
        let element = self.fill.len();
        // In a new store; elsewhere something may be there that it replaces.
        let starts =
            self.address.drafts == DRAFTS && element > 0 && bytes.get(..element) == Some(&self.fill[..]);
        if starts && bytes[element..] == bytes[..bytes.len() - element] {
            return Ok(());
        }
        let key = codec::chunk_key(&self.array, indices);
        let put = |encoded: &[u8]| self.put(&key, encoded, uploads);
        match &self.direct {
            Some(direct) => direct.encoded(&bytes, put).map_err(|message| self.refused(message))?,
            None => {
                let encoded = codec::encode(&self.array, indices, bytes.into_owned());
                put(&encoded.map_err(|failure| self.refused(failure.message))?)
            }
        }
    }

    /// Puts what is encoded to its place.
    fn put(&self, key: &str, encoded: &[u8], uploads: &Uploads) -> Result<(), StorageError> {
        if let Some(root) = &self.far {
            let begun = root.join(key).and_then(|to| uploads.begin(&to, encoded));
            return begun.map_err(StorageError::from);
        }
        let file = self.address.root.join(key);
        let folder = file.parent().expect("a chunk's key has the array's folder in front");
        // A process that was cut off, and writes when the store is finished, finds no place for drafts any more.
        let draft = self.address.root.join(&self.address.drafts).join(unique());
        let written = fs::write(&draft, encoded).and_then(|()| fs::create_dir_all(folder));
        written.and_then(|()| fs::rename(&draft, &file)).map_err(|error| {
            let _ = fs::remove_file(&draft);
            write_error(&file, &error)
        })
    }
}

impl ChunkWriter for ZarrWriter {
    fn write(&self, region: &Region, chunk: &Chunk) -> Result<(), TaskError> {
        self.write(region, chunk).map_err(StorageError::into_task)
    }
}
