//! Owns writing into a Zarr store that exists: boxes of its variables, and variables that grow. Chunks are written first and the
//! new shapes last, so that whoever reads meanwhile, or after a failure, finds the store as it was.

use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use nuna_chunk::{Chunk, DType, Region, assemble::Assembly};
use nuna_remote::{Client, Location};
use serde_json::{Value, json};

use crate::{
    cf::{Decode, NOT_A_TIME, Stored},
    codec,
    error::StorageError,
    json::{self, Attributes},
    lock::AppendLock,
    metadata::{self, Format, ZarrFormat},
    packing::{Change, Packed},
    place,
    source::Source,
    write::{Address, NewVariable, ZarrSink, unique, write_error},
};

/// A store that exists and is written into. Dropping it unfinished leaves the store's shapes as they were.
#[derive(Debug)]
pub struct GrownStore {
    root: PathBuf,
    format: ZarrFormat,
    drafts: String,
    variables: Vec<Grown>,
    /// Held from before the store was read, if something is to grow, on a file system.
    lock: Option<AppendLock>,
    may_grow: bool,
}

/// An array of the store.
#[derive(Clone, Debug)]
struct Grown {
    name: String,
    dims: Vec<String>,
    /// The file of its metadata, as it was read.
    file: PathBuf,
    before: Value,
    /// As it will be.
    document: Value,
    dtype: DType,
    decode: Decode,
    attrs: Attributes,
    chunk_shape: Vec<u64>,
    changed: bool,
}

/// How an array of the store is cut and stored.
#[derive(Clone, Debug, PartialEq)]
pub struct GrownLayout {
    pub dims: Vec<String>,
    pub shape: Vec<u64>,
    /// Elements of a stored file along each dimension.
    pub chunk_shape: Vec<u64>,
    /// What is given to be written; `None` for text.
    pub dtype: DType,
    /// What lies in the store.
    pub stored: DType,
    /// As the store has them, but those that say how numbers are packed.
    pub attrs: Attributes,
}

impl GrownStore {
    /// Reads what the store says of its numeric arrays.
    ///
    /// # Errors
    /// If there is no Zarr store, it is neither on the file system nor in a bucket, or its metadata is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StorageError> {
        let refused = |message: &str| StorageError::Write {
            path: place::shown(path.as_ref()),
            message: message.to_owned(),
        };
        if let Some(Location::Http(_)) = place::location(path.as_ref())? {
            return Err(refused("stores are written into on the file system and in buckets (s3://) only"));
        }
        let group = metadata::open(path.as_ref())?;
        let Format::Zarr(format) = group.format else {
            return Err(refused("it is no Zarr store"));
        };
        let root = group.root.clone();
        let mut variables = Vec::new();
        for variable in &group.variables {
            let Source::Zarr(source) = &variable.source else { continue };
            let decode = source.decode().clone();
            let Stored::Plain(_) = decode.stored else { continue };
            let file = match format {
                ZarrFormat::V2 => root.join(&variable.name).join(".zarray"),
                ZarrFormat::V3 => root.join(&variable.name).join("zarr.json"),
            };
            let Some(before) = json::read(&file)? else { continue };
            let array = codec::open_written(&variable.name, format, &before.to_string());
            let array = array
                .map_err(|message| StorageError::Variable { variable: variable.name.clone(), message })?;
            variables.push(Grown {
                name: variable.name.clone(),
                dims: variable.dims.clone(),
                file,
                document: before.clone(),
                before,
                dtype: if counts_time(&decode) { DType::F64 } else { decode.output },
                decode,
                attrs: variable.attrs.clone(),
                chunk_shape: codec::stored_chunk_shape(&array),
                changed: false,
            });
        }
        Ok(Self {
            root,
            format,
            drafts: format!(".drafts-{}", unique()),
            variables,
            lock: None,
            may_grow: false,
        })
    }

    /// The same, for arrays that [`grow`](Self::grow). On a file system others that do so through this crate are kept out until this is
    /// dropped; of other programs, and in buckets, [`finish`](Self::finish) sees what they have put there by then.
    ///
    /// # Errors
    /// As [`open`](Self::open), and if somebody else has opened it so.
    pub fn open_to_grow(path: impl AsRef<Path>) -> Result<Self, StorageError> {
        // Where there is no store there is nothing to lock.
        let root = metadata::open(path.as_ref())?.root;
        let lock = if place::is_remote(&root) { None } else { Some(AppendLock::take(&root)?) };
        let mut store = Self::open(path)?;
        (store.lock, store.may_grow) = (lock, true);
        Ok(store)
    }

    fn find(&self, name: &str) -> Result<&Grown, StorageError> {
        self.variables.iter().find(|grown| grown.name == name).ok_or_else(|| StorageError::Variable {
            variable: name.to_owned(),
            message: format!(
                "{} has no such array of numbers, only {}",
                self.root.display(),
                self.variables.iter().map(|grown| grown.name.as_str()).collect::<Vec<_>>().join(", ")
            ),
        })
    }

    /// How an array is stored, with the length that it has by now.
    ///
    /// # Errors
    /// If there is none of that name, or it is text.
    pub fn layout(&self, name: &str) -> Result<GrownLayout, StorageError> {
        let grown = self.find(name)?;
        let Stored::Plain(stored) = grown.decode.stored else {
            return Err(self.refused(name, "it is stored in half precision".to_owned()));
        };
        Ok(GrownLayout {
            dims: grown.dims.clone(),
            shape: grown.shape(),
            chunk_shape: grown.chunk_shape.clone(),
            dtype: grown.dtype,
            stored,
            attrs: grown.attrs.clone(),
        })
    }

    fn refused(&self, name: &str, message: String) -> StorageError {
        StorageError::Variable {
            variable: name.to_owned(),
            message: format!("{message} in {}", self.root.display()),
        }
    }

    /// Makes an array longer along an axis.
    ///
    /// # Errors
    /// If there is no such array or axis, or the store was not opened for that.
    pub fn grow(&mut self, name: &str, axis: usize, length: u64) -> Result<(), StorageError> {
        let grown = self.find(name)?;
        if !self.may_grow {
            return Err(self.refused(name, "it was opened to be written, not to grow,".to_owned()));
        }
        if grown.document["shape"].get(axis).is_none() {
            return Err(self.refused(name, format!("it lies along {} dimensions only", grown.dims.len())));
        }
        for grown in self.variables.iter_mut().filter(|grown| grown.name == name) {
            grown.document["shape"][axis] = json!(length);
            grown.changed = true;
        }
        Ok(())
    }

    /// The target for the box from `offset` of this shape, whose sides are multiples of stored chunks or end where the array does.
    ///
    /// # Errors
    /// If there is no such array, or its values are encoded in a way that is only read.
    pub fn sink(&self, name: &str, offset: &[u64], shape: &[u64]) -> Result<ZarrSink, StorageError> {
        let grown = self.find(name)?;
        let change = grown.change().map_err(|message| self.refused(name, message))?;
        self.sink_of(grown, grown.dtype, offset, shape, change)
    }

    fn sink_of(
        &self,
        grown: &Grown,
        dtype: DType,
        offset: &[u64],
        shape: &[u64],
        change: Change,
    ) -> Result<ZarrSink, StorageError> {
        let variable = NewVariable {
            name: grown.name.clone(),
            dims: grown.dims.clone(),
            dtype: Some(dtype),
            shape: shape.to_vec(),
            chunk_shape: grown.chunk_shape.clone(),
            attrs: Attributes::new(),
        };
        if !place::is_remote(&self.root) {
            let drafts = self.root.join(&self.drafts);
            fs::create_dir_all(&drafts).map_err(|error| write_error(&drafts, &error))?;
        }
        let address = Address {
            name: grown.name.clone(),
            root: self.root.clone(),
            drafts: self.drafts.clone(),
            format: self.format,
            metadata: grown.document.to_string(),
            offset: offset.to_vec(),
            change,
        };
        Ok(ZarrSink { variable, address })
    }

    /// Writes elements that are in memory from `at` on along an axis, whether a stored chunk begins there or not; along other axes
    /// they are as long as the array. They are as the store has them if `is_stored`, such as counts of time, else as readers get
    /// them.
    ///
    /// # Errors
    /// As [`sink`](Self::sink), and if the chunk in which they begin cannot be read, or they cannot be written.
    pub fn append(
        &self,
        name: &str,
        axis: usize,
        at: u64,
        chunk: &Chunk,
        is_stored: bool,
    ) -> Result<(), StorageError> {
        let grown = self.find(name)?;
        let refused = |message: String| self.refused(name, message);
        let new = match is_stored {
            true => chunk.clone(),
            false => grown.change().and_then(|change| change.apply(chunk)).map_err(refused)?,
        };
        let start = at - at % grown.chunk_shape[axis];
        let mut offset = vec![0; new.ndim()];
        offset[axis] = start;
        let whole = if start == at { new } else { grown.with_before(self, axis, start..at, &new)? };
        self.sink_of(grown, whole.dtype(), &offset, whole.shape(), Change::default())?.write_all(&whole)
    }

    /// Puts the new shapes into the store, one array after the other; a reader may meet some that have grown and others that have
    /// not yet.
    ///
    /// # Errors
    /// If somebody else has changed an array that grows, or the file system refuses; if it refuses after the first one, arrays of
    /// different lengths remain, and the error names where.
    pub fn finish(self) -> Result<(), StorageError> {
        let changed: Vec<&Grown> = self.variables.iter().filter(|grown| grown.changed).collect();
        changed.iter().try_for_each(|grown| grown.check_unchanged())?;
        for grown in &changed {
            self.put(&grown.file, &grown.document)?;
        }
        if !changed.is_empty() {
            self.consolidate(&changed)?;
        }
        Ok(())
    }

    /// Tells the document that holds all of the store's metadata, if there is one.
    fn consolidate(&self, changed: &[&Grown]) -> Result<(), StorageError> {
        let (file, nodes, suffix) = match self.format {
            ZarrFormat::V2 => (self.root.join(".zmetadata"), "/metadata", "/.zarray"),
            ZarrFormat::V3 => (self.root.join("zarr.json"), "/consolidated_metadata/metadata", ""),
        };
        let Some(mut document) = json::read(&file)? else { return Ok(()) };
        let Some(nodes) = document.pointer_mut(nodes) else { return Ok(()) };
        for grown in changed {
            if let Some(node) = nodes.get_mut(format!("{}{suffix}", grown.name)) {
                node["shape"] = grown.document["shape"].clone();
            }
        }
        self.put(&file, &document)
    }

    /// Replaces a document as a whole.
    fn put(&self, file: &Path, document: &Value) -> Result<(), StorageError> {
        let text = serde_json::to_string_pretty(document).expect("a JSON value always encodes");
        if let Some(location) = place::location(file)? {
            Client::shared()?.put(&location, text.into())?.wait()?;
            return Ok(());
        }
        let drafts = self.root.join(&self.drafts);
        let draft = drafts.join(unique());
        let written = fs::create_dir_all(&drafts).and_then(|()| fs::write(&draft, text));
        written.and_then(|()| fs::rename(&draft, file)).map_err(|error| write_error(file, &error))
    }
}

impl Grown {
    fn shape(&self) -> Vec<u64> {
        let lengths = self.document["shape"].as_array();
        lengths.map(|all| all.iter().filter_map(Value::as_u64).collect()).unwrap_or_default()
    }

    /// # Errors
    /// If the store says something else of it than when it was opened.
    fn check_unchanged(&self) -> Result<(), StorageError> {
        if json::read(&self.file)?.as_ref() == Some(&self.before) {
            return Ok(());
        }
        Err(StorageError::Write {
            path: self.file.clone(),
            message:
                "somebody else has changed it meanwhile, so it does not grow; open the store again and repeat"
                    .to_owned(),
        })
    }

    /// Elements as they are stored, and before them along the axis those that are there already.
    fn with_before(
        &self,
        store: &GrownStore,
        axis: usize,
        before: Range<u64>,
        new: &Chunk,
    ) -> Result<Chunk, StorageError> {
        let damaged = |message: String| StorageError::Damaged {
            variable: self.name.clone(),
            file: self.file.clone(),
            message,
        };
        let opened = codec::open(&store.root, &self.name, store.format, &self.before.to_string(), false);
        let along = |range: Range<u64>| {
            let axes = new.shape().iter().enumerate();
            Region::new(axes.map(|(a, &n)| if a == axis { range.clone() } else { 0..n }))
        };
        let region = along(before.clone());
        let bytes = opened.map_err(damaged)?.read_box(&region).map_err(|failure| damaged(failure.message))?;
        let shape = region.shape();
        let old =
            Chunk::new(new.dtype(), &shape, bytes.into()).map_err(|error| damaged(error.to_string()))?;
        let length = before.end - before.start;
        let mut whole: Vec<u64> = new.shape().to_vec();
        whole[axis] += length;
        let mut assembly = Assembly::new(new.dtype(), &whole);
        for (place, part) in [(0..length, &old), (length..whole[axis], new)] {
            let put = assembly.put(&along(place), part, &Region::all(part.shape()));
            put.map_err(|error| damaged(error.to_string()))?;
        }
        Ok(assembly.finish())
    }

    /// What is done with elements so that they are read as they were given.
    fn change(&self) -> Result<Change, String> {
        let Decode { stored, output, missing, scale, offset, .. } = &self.decode;
        let Stored::Plain(stored) = *stored else {
            return Err("half precision is read, not written".to_owned());
        };
        if counts_time(&self.decode) {
            let fill = missing.first().copied().or((stored == DType::I64).then_some(NOT_A_TIME as f64));
            return Ok(Change {
                packed: Some(Packed { dtype: stored, scale: 1.0, offset: 0.0, fill }),
                keep_bits: None,
            });
        }
        if self.decode.is_identity() {
            return Ok(Change::default());
        }
        if *output == DType::Bool || missing.len() > 1 {
            return Err("its elements are encoded in a way that is read, not written,".to_owned());
        }
        let packed = Packed {
            dtype: stored,
            scale: scale.unwrap_or(1.0),
            offset: offset.unwrap_or(0.0),
            fill: missing.first().copied(),
        };
        Ok(Change { packed: Some(packed), keep_bits: None })
    }
}

/// Whether instants lie there as integers, which have nothing for NaN.
fn counts_time(decode: &Decode) -> bool {
    decode.counts_time && decode.output == DType::I64
}

impl Drop for GrownStore {
    fn drop(&mut self) {
        if !place::is_remote(&self.root) {
            // Best effort: the folder's name says what it is.
            let _ = fs::remove_dir_all(self.root.join(&self.drafts));
        }
    }
}
