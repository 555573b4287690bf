//! Owns what a store says about itself: finding its format, consolidated metadata or the files in its place, and the
//! variables of one group with their dimensions, attributes and CF decoding.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use nuna_chunk::DType;
use nuna_remote::Location;
use serde_json::{Map, Value};

use crate::{
    bucket::MARK,
    cf::{Decode, Stored},
    dtype,
    error::StorageError,
    json::{self, Attributes},
    place,
    read::{Address, ZarrSource},
    references::{self, References},
    source::Source,
    text::{self, Text},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum ZarrFormat {
    V2,
    V3,
}

/// What kind of store a group is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Zarr(ZarrFormat),
    /// NetCDF3, or NetCDF4 and HDF5.
    Netcdf,
    /// Parts of other files, by a reference file.
    References,
}

/// One group of a store: its metadata, no elements.
#[derive(Clone, Debug)]
pub struct Group {
    /// Where it is, as it may be shown.
    pub path: PathBuf,
    /// Where it is; an address with all that is in it.
    pub(crate) root: PathBuf,
    pub format: Format,
    pub attrs: Attributes,
    pub variables: Vec<Variable>,
    pub skipped: Vec<Skipped>,
}

/// An array of a store. Attributes that encode values have moved into its decoding.
#[derive(Clone, Debug)]
pub struct Variable {
    pub name: String,
    pub dims: Vec<String>,
    pub attrs: Attributes,
    pub source: Source,
}

/// Elements of one array; no arithmetic with their bytes overflows.
const ELEMENTS_MAX: u64 = 1 << 56;

/// What is in the group but cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    pub name: String,
    pub reason: String,
}

/// An array's metadata document, its attributes and dimension names taken out.
struct Document {
    format: ZarrFormat,
    array: Map<String, Value>,
    attrs: Attributes,
    dims: Option<Vec<Option<String>>>,
}

/// Reads the metadata of the group (or the single array) at `path`, in one file where the store is consolidated.
///
/// # Errors
/// If there is nothing at `path`, or no Zarr, or its JSON is damaged. What one variable alone has wrong goes to
/// [`Group::skipped`].
pub fn open(path: impl AsRef<Path>) -> Result<Group, StorageError> {
    open_group(path, "")
}

/// [`open`] for a group in the store, such as `"forecast/surface"`; empty for the outermost.
///
/// # Errors
/// As [`open`], and if there is no such group.
pub fn open_group(path: impl AsRef<Path>, group: &str) -> Result<Group, StorageError> {
    let group = group.trim_matches('/');
    if group.split('/').any(|name| name == "..") {
        let hint = format!("`{group}` leads out of the store");
        return Err(StorageError::NotFound { path: path.as_ref().to_owned(), hint });
    }
    if place::is_remote(path.as_ref()) {
        return open_remote(path.as_ref(), group);
    }
    let root = existing(path.as_ref())?;
    if references::is_references(&root) {
        return open_references(&root, group);
    }
    if !root.is_dir() {
        let hint = "; it is a file, not a folder (`open_netcdf` opens NetCDF and HDF5 files)".to_owned();
        return Err(StorageError::NotZarr { path: root, hint });
    }
    if let Some(document) = json::read(&root.join("zarr.json"))? {
        return match group {
            "" => open_v3(&root, document),
            group => open_v3_group(&root, document, group),
        };
    }
    if let Some(document) = json::read(&root.join(".zmetadata"))? {
        if references::is_tables(&document) {
            return open_references(&root, group);
        }
        return open_v2_consolidated(&root, &document, group);
    }
    if !group.is_empty() {
        return open(existing(&root.join(group))?);
    }
    if let Some(array) = json::read(&root.join(".zarray"))? {
        let attrs = json::read(&root.join(".zattrs"))?;
        let document = v2_document(&root.join(".zarray"), array, attrs)?;
        return Ok(single_array(&root, ZarrFormat::V2, document));
    }
    if root.join(".zgroup").exists() {
        json::read(&root.join(".zgroup"))?;
        return open_v2_files(&root);
    }
    let entries: Vec<_> = listed(&root)?.into_iter().filter(|d| is_node(&root.join(d))).collect();
    let hint = match entries.as_slice() {
        [] => String::new(),
        some => format!("; its subfolders {} do, open one of these", some.join(", ")),
    };
    Err(StorageError::NotZarr { path: root, hint })
}

/// What may be at the root of a store, in the order in which it counts.
pub(crate) const ROOT_DOCUMENTS: [&str; 5] = ["zarr.json", ".zmetadata", ".zarray", ".zgroup", ".zattrs"];

/// A store or a reference file at an address.
fn open_remote(path: &Path, inner: &str) -> Result<Group, StorageError> {
    let Some(location) = place::location(path)? else {
        let hint = "it is no address".to_owned();
        return Err(StorageError::NotFound { path: path.to_owned(), hint });
    };
    let root = PathBuf::from(location.to_text());
    let shown = location.to_string();
    let name = shown.trim_end_matches("?…").trim_end_matches('/').to_lowercase();
    if references::is_json_address(&location) {
        return open_references(&root, inner);
    }
    // Asked for all at once: none waits for what the one before is not.
    let files: Vec<PathBuf> =
        ROOT_DOCUMENTS.iter().map(|name| place::join(&root, name)).collect::<Result<_, _>>()?;
    let begun = files.iter().map(|file| place::begin(file)).collect::<Result<Vec<_>, _>>()?;
    let mut denied = None;
    let mut found = Vec::with_capacity(files.len());
    for (file, reading) in files.iter().zip(begun) {
        found.push(match reading.wait() {
            // Buckets that may not be listed refuse what is not there.
            Err(StorageError::Remote(error)) if error.is_denied() => {
                denied = denied.or(Some(error));
                None
            }
            bytes => json::parsed(file, bytes?)?,
        });
    }
    let mut found = found.into_iter();
    let [v3, consolidated, array, group, attrs] = std::array::from_fn(|_| found.next().flatten());
    if let Some(document) = v3 {
        return match inner {
            "" => open_v3(&root, document),
            inner => open_v3_group(&root, document, inner),
        };
    }
    if let Some(document) = consolidated {
        if references::is_tables(&document) {
            return open_references(&root, inner);
        }
        return open_v2_consolidated(&root, &document, inner);
    }
    if !inner.is_empty() && (array.is_some() || group.is_some()) {
        return open_remote(&place::join(&root, inner)?, "");
    }
    if let Some(array) = array {
        let document = v2_document(&root, array, attrs)?;
        return Ok(single_array(&root, ZarrFormat::V2, document));
    }
    if group.is_some() {
        return open_v2_files(&root);
    }
    if let Some(error) = denied {
        return Err(error.into());
    }
    if let Location::S3 { .. } = location
        && place::begin(&place::join(&root, MARK)?)?.wait()?.is_some()
    {
        let hint = "; a store is being written there, or writing it was cut off".to_owned();
        return Err(StorageError::NotZarr { path: place::shown(&root), hint });
    }
    let is_file = [".nc", ".nc4", ".h5", ".hdf5", ".tif", ".tiff"].iter().any(|end| name.ends_with(end));
    let hint = match is_file {
        true => "; `open_netcdf` and `open_geotiff` open single files, also at addresses",
        false => "; check the spelling",
    };
    Err(StorageError::NotZarr { path: place::shown(&root), hint: hint.to_owned() })
}

/// The names of what is directly below a store, where its metadata does not say it.
fn listed(root: &Path) -> Result<Vec<String>, StorageError> {
    place::folders(root)?.ok_or_else(|| {
        let message = "it does not say what is in it (its metadata is not consolidated), and web servers do not list; have whoever made it call zarr.consolidate_metadata, or open one of its arrays by its own address";
        StorageError::Metadata { file: place::shown(root), message: message.to_owned() }
    })
}

/// Where something lies, as workers with other working folders find it.
///
/// # Errors
/// [`StorageError::NotFound`].
pub(crate) fn existing(path: &Path) -> Result<PathBuf, StorageError> {
    if let Some((scheme, _)) = path.to_string_lossy().split_once("://") {
        let hint = format!("over `{scheme}` nothing is read, only over http, https and from s3");
        return Err(StorageError::NotFound { path: path.to_owned(), hint });
    }
    // Workers have other working folders.
    fs::canonicalize(path).map_err(|error| {
        let here = std::env::current_dir().map(|d| d.display().to_string()).unwrap_or_default();
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound if path.is_relative() => format!("looked in {here}"),
            std::io::ErrorKind::NotFound => {
                "check the spelling, and that the file system is mounted here".to_owned()
            }
            _ => error.to_string(),
        };
        StorageError::NotFound { path: path.to_owned(), hint }
    })
}

pub(crate) fn is_node(path: &Path) -> bool {
    ["zarr.json", ".zgroup", ".zarray", ".zmetadata"].iter().any(|file| path.join(file).exists())
}

fn object(file: &Path, value: Value) -> Result<Map<String, Value>, StorageError> {
    match value {
        Value::Object(map) => Ok(map),
        other => Err(StorageError::Metadata {
            file: file.to_owned(),
            message: format!("expected a JSON object, found `{}`", short(&other)),
        }),
    }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(60).collect()
}

fn open_v3(root: &Path, document: Value) -> Result<Group, StorageError> {
    let file = place::shown(root).join("zarr.json");
    let mut node = object(&file, document)?;
    match node.get("node_type").and_then(Value::as_str) {
        Some("array") => {
            let document = v3_document(&file, node)?;
            return Ok(single_array(root, ZarrFormat::V3, document));
        }
        Some("group") => {}
        _ => {
            let message = "`node_type` is neither \"group\" nor \"array\"".to_owned();
            return Err(StorageError::Metadata { file, message });
        }
    }
    let attrs = take_object(&mut node, "attributes");
    let mut group = Group::empty(root, ZarrFormat::V3, attrs);
    let consolidated = match node.shift_remove("consolidated_metadata") {
        Some(Value::Object(mut consolidated)) => match consolidated.shift_remove("metadata") {
            Some(Value::Object(nodes)) => Some(nodes),
            _ => {
                let message = "`consolidated_metadata` has no `metadata` object".to_owned();
                return Err(StorageError::Metadata { file, message });
            }
        },
        _ => None,
    };
    let nodes: Vec<(String, PathBuf, Value)> = match consolidated {
        Some(nodes) => nodes.into_iter().map(|(name, node)| (name, file.clone(), node)).collect(),
        None => {
            let names = listed(root)?;
            let files = below(root, &names, "zarr.json")?;
            let nodes = json::read_documents(&files)?;
            let found = names.into_iter().zip(files).zip(nodes);
            found.filter_map(|((name, file), node)| Some((name, file, node?))).collect()
        }
    };
    for (name, file, node) in nodes {
        let node = object(&file, node)?;
        if name.contains('/') {
            continue;
        }
        if node.get("node_type").and_then(Value::as_str) == Some("group") {
            group.skip_group(&name);
            continue;
        }
        let document = v3_document(&file, node)?;
        group.add(name.clone(), name, document);
    }
    Ok(group)
}

/// A group in a store of format 3, by the store's consolidated metadata if it has them: web servers do not list.
fn open_v3_group(root: &Path, mut document: Value, group: &str) -> Result<Group, StorageError> {
    let inner = place::join(root, group)?;
    let Some(Value::Object(nodes)) = document.pointer_mut("/consolidated_metadata/metadata").map(Value::take)
    else {
        return open(inner);
    };
    let groups = || -> Vec<String> {
        let is_group = |node: &Value| node.get("node_type").and_then(Value::as_str) == Some("group");
        nodes.iter().filter(|(_, node)| is_group(node)).map(|(name, _)| name.clone()).collect()
    };
    let Some(mut node) = nodes.get(group).cloned() else { return Err(no_group(root, group, &groups())) };
    let below = |name: &str| Some(name.strip_prefix(group)?.strip_prefix('/')?.to_owned());
    let children = nodes.iter().filter_map(|(name, node)| Some((below(name)?, node.clone())));
    let children: Map<String, Value> = children.collect();
    if let Some(node) = node.as_object_mut() {
        node.insert("consolidated_metadata".to_owned(), serde_json::json!({"metadata": children}));
    }
    open_v3(&inner, node)
}

fn no_group(root: &Path, group: &str, groups: &[String]) -> StorageError {
    let hint = match groups {
        [] => format!("there is no group `{group}`, and no other in it"),
        groups => format!("there is no group `{group}`; the groups are {}", groups.join(", ")),
    };
    StorageError::NotFound { path: place::shown(root), hint }
}

fn open_v2_consolidated(root: &Path, document: &Value, group: &str) -> Result<Group, StorageError> {
    let file = place::shown(root).join(".zmetadata");
    let Some(nodes) = document.get("metadata").and_then(Value::as_object) else {
        let message = "it has no `metadata` object".to_owned();
        return Err(StorageError::Metadata { file, message });
    };
    let inner;
    let (root, nodes) = if group.is_empty() {
        (root, nodes)
    } else {
        if !nodes.contains_key(&format!("{group}/.zgroup")) {
            let groups: Vec<String> =
                nodes.keys().filter_map(|key| key.strip_suffix("/.zgroup")).map(str::to_owned).collect();
            return Err(no_group(root, group, &groups));
        }
        let below = |key: &str| Some(key.strip_prefix(group)?.strip_prefix('/')?.to_owned());
        let nodes = nodes.iter().filter_map(|(key, node)| Some((below(key)?, node.clone())));
        inner = (place::join(root, group)?, nodes.collect::<Map<String, Value>>());
        (inner.0.as_path(), &inner.1)
    };
    let attrs = nodes.get(".zattrs").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut group = Group::empty(root, ZarrFormat::V2, attrs);
    for (key, node) in nodes {
        if let Some(name) = key.strip_suffix("/.zarray").filter(|name| !name.contains('/')) {
            let attrs = nodes.get(&format!("{name}/.zattrs")).cloned();
            let document = v2_document(&file, node.clone(), attrs)?;
            group.add(name.to_owned(), name.to_owned(), document);
        } else if let Some(name) = key.strip_suffix("/.zgroup").filter(|name| !name.contains('/')) {
            group.skip_group(name);
        }
    }
    Ok(group)
}

fn open_v2_files(root: &Path) -> Result<Group, StorageError> {
    let attrs = match json::read(&place::join(root, ".zattrs")?)? {
        Some(attrs) => object(&place::shown(root).join(".zattrs"), attrs)?,
        None => Map::new(),
    };
    let mut group = Group::empty(root, ZarrFormat::V2, attrs);
    let names = listed(root)?;
    let files = below(root, &names, ".zarray")?;
    let arrays = json::read_documents(&files)?;
    let attrs = json::read_documents(&below(root, &names, ".zattrs")?)?;
    let groups = json::read_documents(&below(root, &names, ".zgroup")?)?;
    for ((((name, file), array), attrs), inner) in
        names.into_iter().zip(files).zip(arrays).zip(attrs).zip(groups)
    {
        if let Some(array) = array {
            let document = v2_document(&place::shown(&file), array, attrs)?;
            group.add(name.clone(), name, document);
        } else if inner.is_some() {
            group.skip_group(&name);
        }
    }
    Ok(group)
}

/// A document of each of several nodes below a store's root.
fn below(root: &Path, names: &[String], document: &str) -> Result<Vec<PathBuf>, StorageError> {
    names.iter().map(|name| place::join(root, &format!("{name}/{document}"))).collect()
}

/// A group that references describe.
fn open_references(root: &Path, group: &str) -> Result<Group, StorageError> {
    let references = References::open(root)?;
    let prefix = if group.is_empty() { String::new() } else { format!("{group}/") };
    let (arrays, groups) = references.children(&prefix);
    // Some write no documents of groups.
    let is_there = group.is_empty()
        || !arrays.is_empty()
        || !groups.is_empty()
        || references.document(&format!("{prefix}.zgroup"))?.is_some();
    if !is_there {
        return Err(no_group(root, group, &references.groups()));
    }
    let attrs = references::attributes(&references, &format!("{prefix}.zattrs"))?;
    let mut opened =
        Group { format: Format::References, ..Group::empty(root, ZarrFormat::V2, Attributes::new()) };
    if let Some(array) = references.document(&format!("{prefix}.zarray"))? {
        let document = v2_document(root, array, Some(Value::Object(attrs)))?;
        opened.add(stem(root), group.to_owned(), document);
        return Ok(opened);
    }
    opened.attrs = Group::empty(root, ZarrFormat::V2, attrs).attrs;
    for name in arrays {
        let path = format!("{prefix}{name}");
        let Some(array) = references.document(&format!("{path}/.zarray"))? else { continue };
        let attrs = references::attributes(&references, &format!("{path}/.zattrs"))?;
        let document = v2_document(root, array, Some(Value::Object(attrs)))?;
        opened.add(name, path, document);
    }
    for name in groups {
        let reason = format!("it is a group; open it with `open_zarr_group(path, \"{prefix}{name}\")`");
        opened.skipped.push(Skipped { name, reason });
    }
    Ok(opened)
}

fn single_array(root: &Path, format: ZarrFormat, document: Document) -> Group {
    let mut group = Group::empty(root, format, Attributes::new());
    group.add(stem(root), String::new(), document);
    group
}

/// What a single array is called.
fn stem(root: &Path) -> String {
    Path::new(place::shown(root).to_string_lossy().trim_end_matches("?…"))
        .file_stem()
        .map_or_else(|| "array".to_owned(), |stem| stem.to_string_lossy().into_owned())
}

fn take_object(node: &mut Map<String, Value>, key: &str) -> Map<String, Value> {
    match node.shift_remove(key) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

fn v3_document(file: &Path, mut node: Map<String, Value>) -> Result<Document, StorageError> {
    if node.get("zarr_format").and_then(Value::as_u64) != Some(3) {
        let message = format!(
            "`zarr_format` is {}, expected 3",
            node.get("zarr_format").map_or_else(|| "missing".to_owned(), short)
        );
        return Err(StorageError::Metadata { file: file.to_owned(), message });
    }
    let attrs = take_object(&mut node, "attributes");
    node.shift_remove("consolidated_metadata");
    let dims = match node.shift_remove("dimension_names") {
        Some(Value::Array(names)) => Some(names.iter().map(|n| n.as_str().map(str::to_owned)).collect()),
        _ => names_in(&attrs),
    };
    Ok(Document { format: ZarrFormat::V3, array: node, attrs, dims })
}

fn v2_document(file: &Path, array: Value, attrs: Option<Value>) -> Result<Document, StorageError> {
    let array = object(file, array)?;
    let mut attrs = match attrs {
        Some(attrs) => object(&file.with_file_name(".zattrs"), attrs)?,
        None => Map::new(),
    };
    let dims = names_in(&attrs);
    attrs.shift_remove("_ARRAY_DIMENSIONS");
    Ok(Document { format: ZarrFormat::V2, array, attrs, dims })
}

fn names_in(attrs: &Attributes) -> Option<Vec<Option<String>>> {
    let names = attrs.get("_ARRAY_DIMENSIONS")?.as_array()?;
    Some(names.iter().map(|name| name.as_str().map(str::to_owned)).collect())
}

impl Group {
    fn empty(root: &Path, format: ZarrFormat, attrs: Attributes) -> Self {
        let attrs = attrs.into_iter().filter(|(key, _)| !key.to_lowercase().starts_with("_nc")).collect();
        Self {
            path: place::shown(root),
            root: root.to_owned(),
            format: Format::Zarr(format),
            attrs,
            variables: Vec::new(),
            skipped: Vec::new(),
        }
    }

    fn skip_group(&mut self, name: &str) {
        let reason = format!("it is a group; open {}", self.path.join(name).display());
        self.skipped.push(Skipped { name: name.to_owned(), reason });
    }

    /// Adds a variable, or a note why it cannot be used.
    fn add(&mut self, name: String, path: String, document: Document) {
        // Consolidated metadata may say anything.
        if [".", ".."].contains(&path.as_str()) || name.is_empty() {
            let reason = "its name is that of no folder in the store".to_owned();
            self.skipped.push(Skipped { name, reason });
            return;
        }
        match self.variable(&name, path, document) {
            Ok(variable) => self.variables.push(variable),
            Err(reason) => self.skipped.push(Skipped { name, reason }),
        }
    }

    fn variable(&self, name: &str, path: String, document: Document) -> Result<Variable, String> {
        let Document { format, array, mut attrs, dims } = document;
        let shape: Vec<u64> = match array.get("shape") {
            Some(Value::Array(shape)) => shape.iter().map(Value::as_u64).collect::<Option<_>>(),
            _ => None,
        }
        .ok_or("its metadata has no valid `shape`")?;
        // Also where there are no elements: lengths are multiplied in any order.
        let elements = shape.iter().try_fold(1u64, |product, &n| product.checked_mul(n.max(1)));
        if elements.is_none_or(|n| n > ELEMENTS_MAX) {
            return Err(format!("its shape {shape:?} is beyond any machine"));
        }
        let mut array = array;
        if format == ZarrFormat::V2 {
            without_empty_chunks(&mut array, &shape);
        }
        let text = text::of(format, &mut array, &mut attrs)?;
        let stored = match text {
            Some(_) => Stored::Plain(DType::U8),
            None => dtype::stored(format, &mut array, &mut attrs)?,
        };
        let single = path.is_empty();
        let unnamed = |axis: usize| if single { format!("dim_{axis}") } else { format!("{name}_dim_{axis}") };
        let dims = match dims {
            None => (0..shape.len()).map(unnamed).collect(),
            Some(names) if names.len() == shape.len() => names
                .into_iter()
                .enumerate()
                .map(|(axis, name)| name.unwrap_or_else(|| unnamed(axis)))
                .collect::<Vec<_>>(),
            Some(names) => {
                return Err(format!("it has {} dimension names but {} axes", names.len(), shape.len()));
            }
        };
        let mut dims = dims;
        if matches!(text, Some(Text::Fixed { is_characters: true, .. })) {
            dims.pop();
        }
        let fill = match format {
            ZarrFormat::V2 => array.get("fill_value").filter(|fill| !fill.is_null()).cloned(),
            ZarrFormat::V3 => None,
        };
        let decode = Decode::from_attributes(stored, &mut attrs, fill.as_ref().filter(|_| text.is_none()));
        let metadata = Value::Object(array).to_string();
        let address = Address {
            name: name.to_owned(),
            root: self.root.clone(),
            path,
            format,
            metadata,
            decode,
            text,
            is_references: self.format == Format::References,
        };
        let source = ZarrSource::new(address, shape)?;
        Ok(Variable { name: name.to_owned(), dims, attrs, source: Source::Zarr(source) })
    }

    /// The variables by name, for look-ups.
    pub fn by_name(&self) -> BTreeMap<&str, &Variable> {
        self.variables.iter().map(|variable| (variable.name.as_str(), variable)).collect()
    }
}

/// Chunks of no elements, as some write them for axes of no elements, become chunks of one.
fn without_empty_chunks(array: &mut Map<String, Value>, shape: &[u64]) {
    if let Some(Value::Array(chunks)) = array.get_mut("chunks") {
        for (chunk, _) in
            chunks.iter_mut().zip(shape).filter(|(chunk, n)| **n == 0 && chunk.as_u64() == Some(0))
        {
            *chunk = Value::from(1);
        }
    }
}
