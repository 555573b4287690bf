//! Owns making references: which Zarr array each variable of NetCDF and HDF5 files is, where its chunks lie, and joining the
//! variables of several files along a dimension. What cannot be a chunk where it lies is put into the references, if it is small.

mod elements;
mod joined;

use std::{collections::BTreeMap, path::PathBuf};

use nuna_chunk::{Chunk, DType};
use nuna_netcdf::{Attribute, Placement};
use serde_json::{Value, json};

use crate::{
    compressor::Compressor,
    encoding::{fill_value, v2_array},
    error::StorageError,
    file::{File, OpenFile, Stamp},
    json::Attributes,
    netcdf, place,
    write::NewVariable,
};

use joined::Joined;

/// Groups within groups.
const DEPTH_MAX: usize = 64;
/// These say what elements mean, so files that are joined have the same.
const DECODING: [&str; 8] = [
    "_FillValue",
    "missing_value",
    "scale_factor",
    "add_offset",
    "_Unsigned",
    "_Encoding",
    "units",
    "calendar",
];

/// How references are made and written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferencesOptions {
    /// Chunks of fewer bytes are put into the references themselves, so that reading them takes no request.
    pub inline_bytes: u64,
    /// How many references a file has, where they are written as Parquet.
    pub record_size: u64,
    /// Paths of files below the folder in which the references lie are written from there on, so that the folder can be moved.
    /// Nuna reads them so; fsspec takes them from its working folder.
    pub relative: bool,
    /// Variables that are left out.
    pub leave_out: Vec<String>,
    /// Replace references of that name.
    pub overwrite: bool,
}

impl Default for ReferencesOptions {
    fn default() -> Self {
        Self {
            inline_bytes: 500,
            record_size: 100_000,
            relative: false,
            leave_out: Vec::new(),
            overwrite: false,
        }
    }
}

/// Labels that take the place of what files have, since each counts in its own units.
#[derive(Clone, Debug)]
pub enum NewLabels {
    Numbers(Chunk),
    Text(Vec<String>),
}

/// A whole store of references, in memory: about 40 bytes for each chunk.
#[derive(Debug, Default)]
pub(super) struct NewReferences {
    pub(super) files: Vec<PathBuf>,
    /// As the files were when their metadata was read.
    stamps: Vec<Stamp>,
    /// By path; empty for the outermost.
    pub(super) groups: Vec<(String, Attributes)>,
    pub(super) arrays: Vec<NewArray>,
}

#[derive(Debug)]
pub(super) struct NewArray {
    pub(super) path: String,
    pub(super) metadata: Value,
    pub(super) attrs: Attributes,
    /// Chunks along each axis.
    pub(super) counts: Vec<u64>,
    /// By their numbers in C order.
    pub(super) chunks: BTreeMap<u64, Target>,
}

/// What a new reference is to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Bytes(Vec<u8>),
    Part { file: usize, offset: u64, bytes: u64 },
}

/// A variable of one of the files.
struct Found<'a> {
    file: usize,
    variable: &'a nuna_netcdf::Variable,
}

impl NewReferences {
    /// References to the groups of one file, or to the outermost groups of several that are joined along `dim`. `labels` take
    /// the place of variables of their names.
    ///
    /// # Errors
    /// Names the file and the variable of which Zarr can have no array.
    pub(super) fn new(
        paths: &[PathBuf],
        dim: &str,
        labels: &[(NewVariable, NewLabels)],
        options: &ReferencesOptions,
    ) -> Result<Self, StorageError> {
        let mut new = Self::default();
        let mut outermost = Vec::with_capacity(paths.len());
        for path in paths {
            let open = OpenFile::open(path)?;
            new.stamps.push(open.file.stamp());
            new.files.push(open.path.clone());
            let file = new.files.len() - 1;
            outermost.push(new.described(&open, file, "", options)?);
        }
        let Some(first) = outermost.first() else { return Ok(new) };
        new.groups.push((String::new(), netcdf::attributes(&first.attributes)));
        for variable in &first.variables {
            let name = &variable.name;
            if options.leave_out.contains(name) {
                continue;
            }
            let mut parts = vec![Found { file: 0, variable }];
            if variable.dims.iter().any(|d| d == dim) {
                for (file, group) in outermost.iter().enumerate().skip(1) {
                    let found = group.variables.iter().find(|other| other.name == *name);
                    let variable =
                        found.ok_or_else(|| new.wrong(name, file, "it is not there".to_owned()))?;
                    parts.push(Found { file, variable });
                }
            }
            let label = labels.iter().find(|(label, _)| label.name == *name);
            let array = match label.filter(|_| means_differ(&parts)) {
                Some((label, values)) => {
                    // Bounds count in the units of what they belong to.
                    let bounds = attribute(variable, "bounds").or_else(|| attribute(variable, "climatology"));
                    let bounds = bounds.and_then(Attribute::text).unwrap_or_default();
                    if first.variables.iter().any(|v| v.name == bounds)
                        && !options.leave_out.iter().any(|n| n == bounds)
                    {
                        let message = format!(
                            "`{name}`, to which its numbers belong, counts in other units in each file; leave it out with `leave_out`"
                        );
                        return Err(new.wrong(bounds, 0, message));
                    }
                    new_label(label.clone(), values)?
                }
                None => new.array(name.clone(), &parts, dim, options)?,
            };
            new.arrays.push(array);
        }
        if let [path] = paths {
            let open = OpenFile::open(path)?;
            for name in &first.groups {
                new.add_group(&open, name.clone(), options, 0)?;
            }
        }
        Ok(new)
    }

    /// A group within the only file, and those in it.
    fn add_group(
        &mut self,
        open: &OpenFile,
        path: String,
        options: &ReferencesOptions,
        depth: usize,
    ) -> Result<(), StorageError> {
        if options.leave_out.contains(&path) {
            return Ok(());
        }
        let group = self.described(open, 0, &path, options)?;
        self.groups.push((path.clone(), netcdf::attributes(&group.attributes)));
        for variable in &group.variables {
            let path = format!("{path}/{}", variable.name);
            if options.leave_out.contains(&variable.name) || options.leave_out.contains(&path) {
                continue;
            }
            let array = self.array(path, &[Found { file: 0, variable }], "", options)?;
            self.arrays.push(array);
        }
        if depth >= DEPTH_MAX {
            let message = format!("group `{path}` lies deeper than {DEPTH_MAX} others");
            return Err(StorageError::File { path: place::shown(&open.path), message });
        }
        for name in group.groups {
            self.add_group(open, format!("{path}/{name}"), options, depth + 1)?;
        }
        Ok(())
    }

    /// What a group says about itself; a variable that nobody can read is an error, unless it is left out.
    fn described(
        &self,
        open: &OpenFile,
        file: usize,
        group: &str,
        options: &ReferencesOptions,
    ) -> Result<nuna_netcdf::Group, StorageError> {
        let found = nuna_netcdf::open(&open.file, group)
            .map_err(|error| StorageError::File { path: self.shown(file), message: error.to_string() })?;
        match found.skipped.iter().find(|(name, _)| !options.leave_out.contains(name)) {
            Some((name, reason)) => {
                Err(self.wrong(name, file, format!("{reason}; leave it out with `leave_out`")))
            }
            None => Ok(found),
        }
    }

    fn shown(&self, file: usize) -> PathBuf {
        self.files.get(file).map(|path| place::shown(path)).unwrap_or_default()
    }

    /// A file as it was when its metadata was read.
    fn again(&self, file: usize) -> Result<File, Wrong> {
        let found = match (self.files.get(file), self.stamps.get(file)) {
            (Some(path), Some(stamp)) => {
                File::again(path, stamp).map_err(|error| (file, error.to_string()))?
            }
            _ => None,
        };
        found.ok_or_else(|| (file, "the file was changed meanwhile".to_owned()))
    }

    fn wrong(&self, variable: &str, file: usize, message: String) -> StorageError {
        let path = self.shown(file);
        let message = format!("no references to `{variable}` can be made: {message}");
        StorageError::File { path, message }
    }

    fn array(
        &self,
        path: String,
        parts: &[Found<'_>],
        dim: &str,
        options: &ReferencesOptions,
    ) -> Result<NewArray, StorageError> {
        let [first, others @ ..] = parts else {
            return Err(self.wrong(&path, 0, "it is in no file".to_owned()));
        };
        let axis = first.variable.dims.iter().position(|d| d == dim).filter(|_| !others.is_empty());
        for other in others {
            if let Some(message) = differ(first.variable, other.variable, axis) {
                return Err(self.wrong(
                    &path,
                    other.file,
                    format!("{message} in {}", self.shown(0).display()),
                ));
            }
        }
        let joined = Joined { new: self, parts, axis: axis.unwrap_or(0) };
        joined.array(path.clone(), options).map_err(|(file, message)| {
            let hint = "; leave it out with `leave_out`, or rewrite the file";
            self.wrong(&path, file, format!("{message}{hint}"))
        })
    }
}

/// What is wrong, and in which file.
type Wrong = (usize, String);

/// Whether the same numbers mean something else in another file.
fn means_differ(parts: &[Found<'_>]) -> bool {
    parts.iter().skip(1).any(|part| {
        let (a, b) = (parts[0].variable, part.variable);
        a.placement.element != b.placement.element
            || DECODING.iter().any(|key| !equal(attribute(a, key), attribute(b, key)))
    })
}

/// NaN is equal to NaN here.
fn equal(a: Option<&Attribute>, b: Option<&Attribute>) -> bool {
    a == b || format!("{a:?}") == format!("{b:?}")
}

fn attribute<'a>(variable: &'a nuna_netcdf::Variable, key: &str) -> Option<&'a Attribute> {
    variable.attributes.iter().find(|(name, _)| name == key).map(|(_, value)| value)
}

/// What keeps two variables from being one array along `axis`.
fn differ(a: &nuna_netcdf::Variable, b: &nuna_netcdf::Variable, axis: Option<usize>) -> Option<String> {
    let (first, second) = (&a.placement, &b.placement);
    let beside = |placement: &Placement| -> Vec<u64> {
        let axes = placement.shape.iter().enumerate().filter(|(at, _)| Some(*at) != axis);
        axes.map(|(_, &n)| n).collect()
    };
    if a.dims != b.dims {
        return Some(format!("its dimensions are {:?} but {:?}", b.dims, a.dims));
    }
    if first.element != second.element {
        return Some(format!("its elements are {:?} but {:?}", second.element, first.element));
    }
    if beside(first) != beside(second) {
        return Some(format!("its shape is {:?} but {:?}", second.shape, first.shape));
    }
    let key = DECODING.iter().find(|key| !equal(attribute(a, key), attribute(b, key)))?;
    Some(format!("its attribute `{key}` is {:?} but {:?}", attribute(b, key), attribute(a, key)))
}

/// An array of labels in memory.
fn new_label(variable: NewVariable, values: &NewLabels) -> Result<NewArray, StorageError> {
    let bytes = match values {
        NewLabels::Numbers(chunk) => chunk.bytes().to_vec(),
        NewLabels::Text(texts) => encoded_text(texts)
            .map_err(|message| StorageError::Variable { variable: variable.name.clone(), message })?,
    };
    let mut variable = variable;
    variable.attrs.insert("_ARRAY_DIMENSIONS".to_owned(), json!(variable.dims));
    Ok(label_of(variable, bytes))
}

fn label_of(mut variable: NewVariable, bytes: Vec<u8>) -> NewArray {
    variable.chunk_shape = variable.shape.iter().map(|&n| n.max(1)).collect();
    let counts: Vec<u64> = variable.shape.iter().map(|&n| n.min(1)).collect();
    let is_empty = counts.contains(&0);
    let chunks = if is_empty { BTreeMap::new() } else { BTreeMap::from([(0, Target::Bytes(bytes))]) };
    // What a fill value is means "missing" to xarray, so integers have none unless it is said.
    let none =
        if variable.dtype.is_some_and(DType::is_float) { fill_value(variable.dtype) } else { Value::Null };
    let fill = variable.attrs.shift_remove("_FillValue").unwrap_or(none);
    let metadata = v2_array(&variable, variable.dtype, &variable.chunk_shape, Compressor::None, &fill);
    NewArray { path: variable.name, metadata, attrs: variable.attrs, counts, chunks }
}

/// As numcodecs' `vlen-utf8` has texts: their number, then each with its length before it.
fn encoded_text(texts: &[String]) -> Result<Vec<u8>, String> {
    let length =
        |n: usize| u32::try_from(n).map(u32::to_le_bytes).map_err(|_| "it is too much text".to_owned());
    let mut bytes = length(texts.len())?.to_vec();
    for text in texts {
        bytes.extend_from_slice(&length(text.len())?);
        bytes.extend_from_slice(text.as_bytes());
    }
    Ok(bytes)
}
