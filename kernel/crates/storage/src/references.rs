//! Owns references as kerchunk writes them, in a JSON file (its specification, versions 0 and 1) or a folder of Parquet files
//! ([`tables`]): Zarr stores of format 2 whose chunks are byte ranges of other files, or of what is at addresses. What cannot be
//! read is named when it is asked for. References that came from an address never lead to files of this machine.

mod new;
mod tables;
mod write;

use std::{
    borrow::Cow,
    collections::HashMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use nuna_remote::{Client, Location, Part, Pending, RemoteError};
use serde_json::{Map, Value};
use zarrs::storage::{
    MaybeBytes, MaybeBytesIterator, ReadableStorageTraits, StorageError as ZarrsError, StoreKey,
    byte_range::{ByteRangeIterator, extract_byte_ranges},
};

use crate::{
    error::StorageError,
    json, place,
    remote::{Ahead, VALUE_BYTES_MAX, through},
};

pub use new::{NewLabels, ReferencesOptions};
use tables::Tables;
pub(crate) use tables::is_tables;
pub use write::write_references;

/// What templates make of an address is no longer: many places for a long text would fill the memory.
const ADDRESS_BYTES_MAX: usize = 1 << 16;
/// Reference files kept in memory: every array of one is opened from the same text.
const KEPT: usize = 8;
/// One at an address, which does not say whether it changed, is read again after this time.
const REMOTE_KEPT: Duration = Duration::from_secs(300);

/// Open references.
#[derive(Debug)]
pub(crate) struct References {
    /// The JSON file, or the folder of tables.
    file: PathBuf,
    /// Of tables only the metadata documents.
    entries: HashMap<String, Entry>,
    tables: Option<Tables>,
}

/// What one key stands for.
#[derive(Clone, Debug)]
enum Entry {
    Inline(Bytes),
    /// A whole file, or a part of one.
    Part {
        file: PathBuf,
        range: Option<(u64, u64)>,
    },
    /// The same at an address.
    Remote {
        location: Location,
        range: Option<(u64, u64)>,
    },
    /// What cannot be read from here, and why.
    Elsewhere(String),
}

impl References {
    /// Reads a reference file or a folder's metadata, or takes them from memory if they have not changed since.
    ///
    /// # Errors
    /// If it cannot be read, is no JSON, or no references.
    pub(crate) fn open(root: &Path) -> Result<Arc<Self>, StorageError> {
        type Known = (PathBuf, Option<(Option<SystemTime>, u64)>, Instant, Arc<References>);
        static OPEN: Mutex<Vec<Known>> = Mutex::new(Vec::new());
        let is_folder = match place::location(root)? {
            Some(location) => !is_json_address(&location),
            None => root.is_dir(),
        };
        let document = if is_folder { place::join(root, tables::METADATA)? } else { root.to_owned() };
        let file = document.as_path();
        let damaged = |message: String| StorageError::Metadata { file: place::shown(file), message };
        let state = match place::is_remote(file) {
            true => None,
            false => {
                let about = std::fs::metadata(file).map_err(|error| damaged(error.to_string()))?;
                Some((about.modified().ok(), about.len()))
            }
        };
        let known = |open: &Vec<Known>| {
            let same = open.iter().find(|(path, known, read, _)| {
                path == file && *known == state && (state.is_some() || read.elapsed() < REMOTE_KEPT)
            });
            same.map(|(.., references)| references.clone())
        };
        if let Some(references) = known(&OPEN.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(references);
        }
        let document = json::read(file)?.ok_or_else(|| damaged("there is no such file".to_owned()))?;
        let parsed = if is_folder { Self::of_tables(root, document) } else { Self::parse(file, document) };
        let references = Arc::new(parsed.map_err(damaged)?);
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(path, ..)| path != file);
        if open.len() >= KEPT {
            open.remove(0);
        }
        open.push((file.to_owned(), state, Instant::now(), references.clone()));
        Ok(references)
    }

    fn parse(file: &Path, document: Value) -> Result<Self, String> {
        let no_references = "it is no reference file: it has neither `refs` nor Zarr's `.zgroup`";
        let Value::Object(mut document) = document else { return Err(no_references.to_owned()) };
        let (refs, templates) = match document.shift_remove("refs") {
            Some(Value::Object(refs)) => {
                match document.get("version") {
                    None => {}
                    Some(version) if version.as_u64() == Some(1) => {}
                    Some(version) => {
                        return Err(format!("references of version {version} are not known, only 0 and 1"));
                    }
                }
                if document.get("gen").and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
                    let message = "its references are generated (`gen`), which is not supported; have kerchunk write them out";
                    return Err(message.to_owned());
                }
                (refs, templates(document.get("templates"))?)
            }
            Some(_) => return Err("`refs` is no object".to_owned()),
            None if document.contains_key(".zgroup") || document.contains_key(".zarray") => {
                (document, Vec::new())
            }
            None => return Err(no_references.to_owned()),
        };
        let folder = Folder::around(file)?;
        let mut entries = HashMap::with_capacity(refs.len());
        for (key, value) in refs {
            let entry = entry(value, &templates, &folder).map_err(|message| format!("`{key}`: {message}"))?;
            entries.insert(key, entry);
        }
        Ok(Self { file: file.to_owned(), entries, tables: None })
    }

    /// What a folder of tables says about itself.
    fn of_tables(root: &Path, document: Value) -> Result<Self, String> {
        let (documents, tables) = Tables::new(root, document)?;
        let bytes = |value: Value| match value {
            Value::String(text) => Bytes::from(text),
            value => value.to_string().into(),
        };
        let entries = documents.into_iter().map(|(key, value)| (key, Entry::Inline(bytes(value)))).collect();
        Ok(Self { file: root.to_owned(), entries, tables: Some(tables) })
    }

    /// What a key stands for; `None` if there is nothing.
    fn entry(&self, key: &str) -> std::io::Result<Option<Cow<'_, Entry>>> {
        match (self.entries.get(key), &self.tables) {
            (Some(entry), _) => Ok(Some(Cow::Borrowed(entry))),
            (None, Some(tables)) => Ok(tables.entry(key)?.map(Cow::Owned)),
            (None, None) => Ok(None),
        }
    }

    /// The metadata document of that name; `None` if there is none.
    pub(crate) fn document(&self, key: &str) -> Result<Option<Value>, StorageError> {
        let damaged = |message: String| StorageError::Metadata {
            file: place::shown(&self.file),
            message: format!("`{key}`: {message}"),
        };
        match self.value(key).map_err(|error| damaged(error.to_string()))? {
            None => Ok(None),
            Some(bytes) => json::from_bytes(bytes.to_vec()).map(Some).map_err(damaged),
        }
    }

    /// The names of the arrays of the group below `prefix` (empty, or a path and a slash), and of groups in it.
    pub(crate) fn children(&self, prefix: &str) -> (Vec<String>, Vec<String>) {
        let named = |suffix: &str| {
            let below = self.entries.keys().filter_map(|key| key.strip_prefix(prefix));
            let names = below.filter_map(|key| key.strip_suffix(suffix));
            let mut names: Vec<String> =
                names.filter(|name| !name.contains('/')).map(str::to_owned).collect();
            names.sort();
            names
        };
        (named("/.zarray"), named("/.zgroup"))
    }

    /// All groups but the outermost, as paths.
    pub(crate) fn groups(&self) -> Vec<String> {
        let mut groups: Vec<String> =
            self.entries.keys().filter_map(|key| key.strip_suffix("/.zgroup")).map(str::to_owned).collect();
        groups.sort();
        groups
    }

    fn value(&self, key: &str) -> std::io::Result<Option<Bytes>> {
        let other = |message: String| std::io::Error::other(message);
        match self.entry(key)?.as_deref() {
            None => Ok(None),
            Some(Entry::Inline(bytes)) => Ok(Some(bytes.clone())),
            Some(Entry::Elsewhere(reason)) => Err(other(reason.clone())),
            Some(Entry::Remote { location, range }) => {
                let client = Client::shared().map_err(std::io::Error::other)?;
                let pending = client.start(location, part(*range), VALUE_BYTES_MAX);
                let bytes = pending.and_then(Pending::wait).map_err(std::io::Error::other)?;
                bytes.map(Some).ok_or_else(|| std::io::Error::other(gone(location)))
            }
            Some(Entry::Part { file, range }) => {
                let failed = |error: std::io::Error| other(format!("{}: {error}", file.display()));
                let mut open = File::open(file).map_err(failed)?;
                let length = open.metadata().map_err(failed)?.len();
                let (start, count) = range.unwrap_or((0, length));
                if start.checked_add(count).is_none_or(|end| end > length) || count > VALUE_BYTES_MAX {
                    let place = format!("bytes {start} to {}", start.saturating_add(count));
                    let name = file.display();
                    return Err(other(format!(
                        "{name} has {length} bytes, and {place} are wanted; was it changed after the references were made?"
                    )));
                }
                let mut bytes = vec![0; count as usize];
                open.seek(SeekFrom::Start(start)).map_err(failed)?;
                open.read_exact(&mut bytes).map_err(failed)?;
                Ok(Some(bytes.into()))
            }
        }
    }
}

/// What a reference leads to must be there: a chunk that was never written has none.
fn gone(location: &Location) -> RemoteError {
    let message = "there is no such thing; was it moved after the references were made?".to_owned();
    RemoteError::Answer { url: location.to_string(), message }
}

fn part(range: Option<(u64, u64)>) -> Part {
    range.map_or(Part::All, |(start, length)| Part::Range { start, length })
}

impl Ahead for References {
    fn begin(&self, key: &str) -> Result<Option<Pending>, RemoteError> {
        // What is wrong with the entry is said by whoever reads it.
        match self.entry(key).ok().flatten().as_deref() {
            Some(Entry::Remote { location, range }) => {
                Client::shared()?.start(location, part(*range), VALUE_BYTES_MAX).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn absent(&self, key: &str) -> Result<(), RemoteError> {
        match self.entry(key).ok().flatten().as_deref() {
            Some(Entry::Remote { location, .. }) => Err(gone(location)),
            _ => Ok(()),
        }
    }
}

impl ReadableStorageTraits for References {
    fn get_partial_many<'a>(
        &'a self,
        key: &StoreKey,
        byte_ranges: ByteRangeIterator<'a>,
    ) -> Result<MaybeBytesIterator<'a>, ZarrsError> {
        let value: MaybeBytes =
            self.value(key.as_str()).map_err(|error| ZarrsError::IOError(Arc::new(error)))?;
        let Some(bytes) = value else { return Ok(None) };
        let parts = extract_byte_ranges(&bytes, byte_ranges)?;
        Ok(Some(Box::new(parts.into_iter().map(|part| Ok(Bytes::from(part))))))
    }

    fn size_key(&self, key: &StoreKey) -> Result<Option<u64>, ZarrsError> {
        let entry = self.entry(key.as_str()).map_err(|error| ZarrsError::IOError(Arc::new(error)))?;
        Ok(match entry.as_deref() {
            None => None,
            Some(Entry::Inline(bytes)) => Some(bytes.len() as u64),
            Some(Entry::Part { range: Some((_, count)), .. }) => Some(*count),
            Some(Entry::Remote { range: Some((_, count)), .. }) => Some(*count),
            Some(Entry::Remote { location, range: None }) => {
                Client::shared().and_then(|client| client.size(location)).map_err(through)?
            }
            Some(Entry::Part { file, range: None }) => std::fs::metadata(file).ok().map(|about| about.len()),
            Some(Entry::Elsewhere(_)) => None,
        })
    }

    fn supports_get_partial(&self) -> bool {
        false
    }
}

/// Texts that stand for others in addresses.
fn templates(given: Option<&Value>) -> Result<Vec<(String, String)>, String> {
    let Some(Value::Object(given)) = given else { return Ok(Vec::new()) };
    given
        .iter()
        .map(|(name, value)| match value.as_str() {
            Some(text) if !text.contains("{{") => Ok((name.clone(), text.to_owned())),
            _ => Err(format!("the template `{name}` is no plain text, which is not supported")),
        })
        .collect()
}

/// Where addresses without a scheme are taken from.
#[derive(Clone, Debug)]
enum Folder {
    Local(PathBuf),
    /// The references' own address.
    Remote(Location),
}

impl Folder {
    /// The folder in which the references lie.
    fn around(references: &Path) -> Result<Self, String> {
        Ok(match place::location(references).map_err(|error| error.to_string())? {
            Some(location) => Self::Remote(location),
            None => Self::Local(references.parent().unwrap_or(Path::new("/")).to_owned()),
        })
    }
}

/// Whether an address is of a JSON file.
pub(crate) fn is_json_address(location: &Location) -> bool {
    let shown = location.to_string();
    shown.trim_end_matches("?…").trim_end_matches('/').to_lowercase().ends_with(".json")
}

fn entry(value: Value, templates: &[(String, String)], folder: &Folder) -> Result<Entry, String> {
    match value {
        Value::String(text) => match text.strip_prefix("base64:") {
            Some(encoded) => {
                let bytes = STANDARD.decode(encoded).map_err(|error| format!("it is not base64: {error}"))?;
                Ok(Entry::Inline(bytes.into()))
            }
            None => Ok(Entry::Inline(text.into())),
        },
        // Metadata may stand there as it is.
        Value::Object(_) => Ok(Entry::Inline(value.to_string().into())),
        Value::Array(parts) => {
            let wrong = || "a reference is an address, or an address, an offset and a length".to_owned();
            let (url, range) = match &parts[..] {
                [Value::String(url)] => (url, None),
                [Value::String(url), offset, length] => {
                    let range = offset.as_u64().zip(length.as_u64()).ok_or_else(wrong)?;
                    (url, Some(range))
                }
                _ => return Err(wrong()),
            };
            let mut url = url.clone();
            for (name, text) in templates {
                let place = format!("{{{{{name}}}}}");
                let more = url.matches(&place).count().saturating_mul(text.len());
                if more > ADDRESS_BYTES_MAX {
                    return Err(format!("the template `{name}` makes an address of {more} bytes and more"));
                }
                url = url.replace(&place, text);
            }
            if url.contains("{{") {
                return Ok(Entry::Elsewhere(format!(
                    "`{url}` holds a template that the reference file does not define"
                )));
            }
            Ok(part_of(&url, range, folder))
        }
        other => Err(format!("`{other}` is no reference")),
    }
}

/// What an address stands for, or a part of it.
fn part_of(url: &str, range: Option<(u64, u64)>, folder: &Folder) -> Entry {
    let scheme = url.split_once("://");
    match (scheme, folder) {
        (Some(("http" | "https" | "s3", _)), _) => match Location::parse(url) {
            Ok(location) => Entry::Remote { location, range },
            Err(error) => Entry::Elsewhere(error.to_string()),
        },
        (None, Folder::Local(folder)) => Entry::Part { file: folder.join(url), range },
        (Some(("file" | "local", path)), Folder::Local(_)) => {
            Entry::Part { file: PathBuf::from(path), range }
        }
        (None, Folder::Remote(own)) if !url.starts_with('/') => match own.beside(url) {
            Ok(location) => Entry::Remote { location, range },
            Err(error) => Entry::Elsewhere(error.to_string()),
        },
        (None | Some(("file" | "local", _)), Folder::Remote(_)) => Entry::Elsewhere(format!(
            "`{url}` is a file of this machine, and the references came from another; copy the reference file if you trust it"
        )),
        (Some((scheme, _)), _) => Entry::Elsewhere(format!(
            "`{url}` is not read: `{scheme}` is not supported, only files, http, https and s3; copy the file and have the references made again"
        )),
    }
}

/// Whether the file looks like references: JSON that starts as they do. Reads no more than its beginning.
pub(crate) fn is_references(file: &Path) -> bool {
    let mut start = [0u8; 256];
    let Ok(mut open) = File::open(file) else { return false };
    let Ok(count) = open.read(&mut start) else { return false };
    let text = String::from_utf8_lossy(&start[..count]);
    text.trim_start().starts_with('{')
}

/// The group's own document of a reference file, for attributes.
pub(crate) fn attributes(references: &References, key: &str) -> Result<Map<String, Value>, StorageError> {
    Ok(match references.document(key)? {
        Some(Value::Object(attrs)) => attrs,
        _ => Map::new(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(document: Value) -> Result<References, String> {
        References::parse(Path::new("/data/refs.json"), document)
    }

    #[test]
    fn references_are_text_or_parts_of_files() {
        let document = json!({
            "version": 1,
            "templates": {"u": "file:///far/a.nc"},
            "refs": {
                ".zgroup": "{\"zarr_format\": 2}",
                "x/.zarray": {"zarr_format": 2},
                "x/0": ["{{u}}", 10, 20],
                "x/1": ["b.nc", 0, 5],
                "x/2": "base64:AAE=",
                "x/3": ["gs://bucket/c.nc", 0, 5],
                "x/4": ["{{v}}", 0, 5],
            },
        });
        let references = parsed(document).unwrap();
        let at = |key: &str| match &references.entries[key] {
            Entry::Part { file, range } => (file.display().to_string(), *range),
            other => panic!("{other:?}"),
        };
        assert_eq!(at("x/0"), ("/far/a.nc".to_owned(), Some((10, 20))));
        assert_eq!(at("x/1"), ("/data/b.nc".to_owned(), Some((0, 5))), "beside the reference file");
        assert_eq!(references.value("x/2").unwrap().unwrap(), &[0u8, 1][..]);
        assert!(references.value("x/3").unwrap_err().to_string().contains("`gs` is not supported"));
        assert!(references.value("x/4").is_err());
        assert_eq!(references.value("x/9").unwrap(), None);
        assert_eq!(references.children(""), (vec!["x".to_owned()], Vec::new()));
        assert_eq!(references.document("x/.zarray").unwrap(), Some(json!({"zarr_format": 2})));
    }

    #[test]
    fn the_older_form_has_no_frame() {
        assert!(parsed(json!({".zgroup": "{}", "x/0": ["a.nc", 0, 1]})).is_ok());
    }

    #[test]
    fn what_is_no_reference_file_says_why() {
        for (document, said) in [
            (json!([]), "no reference file"),
            (json!({"a": 1}), "no reference file"),
            (json!({"version": 7, "refs": {}}), "version 7"),
            (json!({"version": 1, "refs": {}, "gen": [{"key": "a"}]}), "generated"),
            (json!({"version": 1, "refs": {"a/0": ["b", 1]}}), "`a/0`"),
            (json!({"version": 1, "refs": {"a/0": ["b", -1, 2]}}), "`a/0`"),
            (json!({"version": 1, "refs": {"a/0": 5}}), "`a/0`"),
            (json!({"version": 1, "refs": {"a/0": "base64:???"}}), "base64"),
            (json!({"version": 1, "refs": [], "templates": {}}), "`refs`"),
            (
                json!({"version": 1, "refs": {"a/0": ["{{u}}".repeat(300)]}, "templates": {"u": "x".repeat(300)}}),
                "template `u`",
            ),
        ] {
            let message = parsed(document).unwrap_err();
            assert!(message.contains(said), "{message}");
        }
    }
}
