//! Owns variables of NetCDF and HDF5 files as sources: their CF decoding, the descriptor that travels ([`NetcdfSource`]),
//! and the readers that a process keeps open, so that the chunks of a variable are located once for each file.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use nuna_array::{ChunkReader, ChunkSource, SourceSpec};
use nuna_chunk::{Buffer, Chunk, DType, Region};
use nuna_netcdf::{Attribute, Element, Kind, Placement, Reader};
use nuna_plan::TaskError;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    NETCDF_KIND,
    cf::{Decode, Stored},
    error::StorageError,
    file::{File, OpenFile, Stamp, changed, unread},
    json::Attributes,
    kept::Kept,
    metadata::{Format, Group, Skipped, Variable},
    object::AHEAD_BYTES,
    place,
    source::Source,
};

/// A variable of a file: where its elements lie, and how they are decoded. Cheap to clone.
#[derive(Clone, Debug)]
pub struct NetcdfSource {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Of text made of characters, without the dimension of its length.
    shape: Vec<u64>,
    chunk_shape: Vec<u64>,
    address: Address,
}

/// What travels to workers: everything but the chunks' places, which are many.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Address {
    name: String,
    file: PathBuf,
    stamp: Stamp,
    placement: Placement,
    decode: Decode,
    is_text: bool,
}

/// Reads what the group at `group` (`""`: the root) of a NetCDF or HDF5 file says about itself.
///
/// # Errors
/// If there is no such file or group, or it is damaged. What one variable alone has wrong goes to [`Group::skipped`].
pub fn open_netcdf(path: impl AsRef<Path>, group: &str) -> Result<Group, StorageError> {
    open_netcdf_file(&OpenFile::open(path)?, group)
}

/// [`open_netcdf`] of a file that is open.
///
/// # Errors
/// As [`open_netcdf`].
pub fn open_netcdf_file(open: &OpenFile, group: &str) -> Result<Group, StorageError> {
    let OpenFile { path, file } = open;
    let found = nuna_netcdf::open(file, group)
        .map_err(|error| StorageError::File { path: place::shown(path), message: error.to_string() })?;
    let mut opened = Group {
        path: place::shown(path),
        root: path.clone(),
        format: Format::Netcdf,
        attrs: attributes(&found.attributes),
        variables: Vec::new(),
        skipped: found.skipped.into_iter().map(|(name, reason)| Skipped { name, reason }).collect(),
    };
    for name in found.groups {
        let inner = format!("{}/{name}", group.trim_matches('/'));
        let reason =
            format!("it is a group; open it with `open_netcdf_group(path, \"{}\")`", inner.trim_matches('/'));
        opened.skipped.push(Skipped { name, reason });
    }
    for variable in found.variables {
        let name = variable.name.clone();
        match variable_of(variable, path, file) {
            Ok(variable) => opened.variables.push(variable),
            Err(reason) => opened.skipped.push(Skipped { name, reason }),
        }
    }
    Ok(opened)
}

fn variable_of(variable: nuna_netcdf::Variable, path: &Path, file: &File) -> Result<Variable, String> {
    let nuna_netcdf::Variable { name, mut dims, attributes: found, placement } = variable;
    let mut attrs = attributes(&found);
    let (stored, is_text) = stored(placement.element)?;
    if is_text && is_characters(&placement) {
        dims.pop();
    }
    let single = |key: &str| {
        found.iter().find(|(name, _)| name == key).map(|(_, value)| matches!(value, Attribute::F32(_)))
    };
    let (scale, offset) = (single("scale_factor"), single("add_offset"));
    let decode = Decode::from_typed_attributes(stored, &mut attrs, scale, offset);
    if is_text {
        attrs.shift_remove("_Encoding");
    }
    let address = Address {
        name: name.clone(),
        file: path.to_owned(),
        stamp: file.stamp(),
        placement,
        decode,
        is_text,
    };
    Ok(Variable { name, dims, attrs, source: Source::Netcdf(NetcdfSource::new(address)) })
}

/// Text of single characters, whose last axis is its length.
fn is_characters(placement: &Placement) -> bool {
    placement.element.kind == Kind::Text && placement.element.size == 1 && !placement.shape.is_empty()
}

/// The type of elements; `true` for text, whose type means nothing.
fn stored(element: Element) -> Result<(Stored, bool), String> {
    let plain = |dtype| Ok((Stored::Plain(dtype), false));
    match (element.kind, element.size) {
        (Kind::Int, 1) => plain(DType::I8),
        (Kind::Int, 2) => plain(DType::I16),
        (Kind::Int, 4) => plain(DType::I32),
        (Kind::Int, 8) => plain(DType::I64),
        (Kind::UInt, 1) => plain(DType::U8),
        (Kind::UInt, 2) => plain(DType::U16),
        (Kind::UInt, 4) => plain(DType::U32),
        (Kind::UInt, 8) => plain(DType::U64),
        (Kind::Bool, 1) => plain(DType::Bool),
        (Kind::Float, 2) => Ok((Stored::F16, false)),
        (Kind::Float, 4) => plain(DType::F32),
        (Kind::Float, 8) => plain(DType::F64),
        (Kind::Text | Kind::LongText, _) => Ok((Stored::Plain(DType::U8), true)),
        (kind, size) => Err(format!("its elements ({kind:?} of {size} bytes) are not supported")),
    }
}

pub(crate) fn attributes(found: &[(String, Attribute)]) -> Attributes {
    found.iter().map(|(name, value)| (name.clone(), json(name, value))).collect()
}

/// One value alone is not a list, as in xarray.
fn json(name: &str, value: &Attribute) -> Value {
    fn list<T>(values: &[T], one: impl Fn(&T) -> Value) -> Value {
        match values {
            [value] => one(value),
            values => values.iter().map(one).collect(),
        }
    }
    let number = |x: f64| match serde_json::Number::from_f64(x) {
        Some(number) => Value::Number(number),
        None if x.is_nan() => "NaN".into(),
        None if x > 0.0 => "Infinity".into(),
        None => "-Infinity".into(),
    };
    // What decodes elements must be exact; everything else looks as it was written.
    let is_exact = ["_FillValue", "missing_value", "scale_factor", "add_offset"].contains(&name);
    match value {
        Attribute::Text(texts) if texts.is_empty() => "".into(),
        Attribute::Text(texts) => list(texts, |text| text.as_str().into()),
        Attribute::Int(values) => list(values, |&value| value.into()),
        Attribute::UInt(values) => list(values, |&value| value.into()),
        Attribute::F64(values) => list(values, |&value| number(value)),
        Attribute::F32(values) => list(values, |&value| {
            let short = value.to_string().parse().unwrap_or_else(|_| f64::from(value));
            number(if is_exact { f64::from(value) } else { short })
        }),
    }
}

impl NetcdfSource {
    fn new(address: Address) -> Self {
        let placement = &address.placement;
        let mut shape = placement.shape.clone();
        let mut chunk_shape = placement.chunk_shape();
        if address.is_text && is_characters(placement) {
            shape.pop();
            chunk_shape.pop();
        }
        let chunk_shape = chunk_shape.into_iter().map(|n| n.max(1)).collect();
        Self { inner: Arc::new(Inner { shape, chunk_shape, address }) }
    }

    /// As [`Source::from_spec`].
    pub(crate) fn from_spec(spec: &SourceSpec, shape: &[u64]) -> Result<Self, String> {
        let address: Address = postcard::from_bytes(&spec.payload)
            .map_err(|error| format!("the address of a variable cannot be decoded: {error}"))?;
        let source = Self::new(address);
        if source.inner.shape != shape {
            return Err(format!("a variable has shape {:?}, expected {shape:?}", source.inner.shape));
        }
        Ok(source)
    }

    pub(crate) fn is_text(&self) -> bool {
        self.inner.address.is_text
    }

    pub fn decode(&self) -> &Decode {
        &self.inner.address.decode
    }

    /// The file it is in.
    pub fn file(&self) -> &Path {
        &self.inner.address.file
    }

    fn reader(&self) -> Result<NetcdfReader, StorageError> {
        NetcdfReader::open(self.inner.address.clone())
    }

    pub(crate) fn read_all(&self) -> Result<Chunk, StorageError> {
        self.reader()?.read(&Region::new(self.inner.shape.iter().map(|&n| 0..n)))
    }

    pub(crate) fn read_all_text(&self) -> Result<Vec<String>, StorageError> {
        let reader = self.reader()?;
        reader.open.read_text().map_err(|error| blame(&reader.address, error))
    }
}

impl ChunkSource for NetcdfSource {
    fn name(&self) -> String {
        self.inner.address.name.clone()
    }

    fn dtype(&self) -> DType {
        self.inner.address.decode.output
    }

    fn shape(&self) -> &[u64] {
        &self.inner.shape
    }

    fn chunk_shape(&self) -> &[u64] {
        &self.inner.chunk_shape
    }

    fn spec(&self) -> SourceSpec {
        let payload = postcard::to_stdvec(&self.inner.address).expect("plain data always encodes");
        SourceSpec { kind: NETCDF_KIND.to_owned(), payload }
    }

    fn scratch_bytes(&self, bytes: u64) -> u64 {
        let decode = &self.inner.address.decode;
        let stored = bytes / decode.output.size() as u64 * decode.stored.size() as u64;
        let ahead = if place::is_remote(self.file()) { AHEAD_BYTES } else { 0 };
        self.inner.address.placement.scratch_bytes() + ahead + if decode.is_identity() { 0 } else { stored }
    }

    fn random_access(&self) -> bool {
        self.inner.address.placement.random_access()
    }
}

/// Opens what [`NetcdfSource::spec`] described.
pub(crate) fn open_reader(payload: &[u8]) -> Result<Box<dyn ChunkReader>, TaskError> {
    let address: Address = postcard::from_bytes(payload)
        .map_err(|error| TaskError::fatal(format!("the address of a variable cannot be decoded: {error}")))?;
    Ok(Box::new(NetcdfReader::open(address).map_err(StorageError::into_task)?))
}

/// Readers that stay open: files that one process keeps, and places of chunks, 40 bytes each.
static KEPT: Kept<Vec<u8>, Reader<File>> = Kept::new(256, 4 << 20, Reader::chunks);

/// An open variable.
struct NetcdfReader {
    open: Arc<Reader<File>>,
    address: Address,
}

impl NetcdfReader {
    fn open(address: Address) -> Result<Self, StorageError> {
        let file = File::again(&address.file, &address.stamp)
            .map_err(|error| unread(&address.name, &address.file, &error))?
            .ok_or_else(|| changed(&address.name, &address.file))?;
        let key = postcard::to_stdvec(&(&address.file, &address.stamp, &address.placement))
            .expect("plain data always encodes");
        if let Some(open) = KEPT.get(&key) {
            return Ok(Self { open, address });
        }
        // Two threads may locate the same chunks at once; the second one's are as good.
        let reader = Reader::new(file, address.placement.clone()).map_err(|error| blame(&address, error))?;
        let open = Arc::new(reader);
        KEPT.put(key, &open);
        Ok(Self { open, address })
    }

    fn read(&self, region: &Region) -> Result<Chunk, StorageError> {
        let decode = &self.address.decode;
        let shape: Vec<u64> = region.shape().to_vec();
        let odd = |message: String| StorageError::Damaged {
            variable: self.address.name.clone(),
            file: place::shown(&self.address.file),
            message,
        };
        if self.address.is_text || !region.fits(&self.address.placement.shape) {
            return Err(odd(format!("there is no box {region:?} of numbers in it")));
        }
        let mut out = Buffer::new(region.len() as usize * decode.stored.size());
        self.open.read(region.ranges(), out.as_mut_slice()).map_err(|error| blame(&self.address, error))?;
        let bytes: Bytes = out.freeze();
        nuna_plan::meter::add_read_bytes(bytes.len() as u64);
        Chunk::new(decode.output, &shape, decode.apply(bytes)).map_err(|error| odd(error.to_string()))
    }
}

impl ChunkReader for NetcdfReader {
    fn read(&self, region: &Region) -> Result<Chunk, TaskError> {
        self.read(region).map_err(StorageError::into_task)
    }
}

fn blame(address: &Address, error: nuna_netcdf::Error) -> StorageError {
    match error {
        nuna_netcdf::Error::Io(error) => unread(&address.name, &address.file, &error),
        other => StorageError::Damaged {
            variable: address.name.clone(),
            file: place::shown(&address.file),
            message: other.to_string(),
        },
    }
}
