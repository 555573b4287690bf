//! Owns references in Parquet, as fsspec's `LazyReferenceMapper` lays them out: a folder with `.zmetadata` (all metadata
//! documents, and how many references a file has) and for each array files `refs.0.parq`, `refs.1.parq`… with the columns `path`,
//! `offset`, `size` and `raw`, one row for each chunk in C order. A file is read when the first of its chunks is wanted.

use std::{
    collections::HashMap,
    io::{Error, Result},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use nuna_parquet::{Footer, Input, Texts, Values};
use serde_json::{Map, Value};

use super::{Entry, Folder, part_of};
use crate::{error::StorageError, place};

/// The document that says what is in the folder.
pub(crate) const METADATA: &str = ".zmetadata";
/// More references in one file are more than anybody writes.
pub(super) const RECORD_ROWS_MAX: u64 = 1 << 24;
/// References kept in memory, in rows of all files together, but always those of one file.
const ROWS_KEPT: usize = 1 << 21;
/// Files kept, rows or not.
const FILES_KEPT: usize = 256;

/// Whether a store's `.zmetadata` is that of references in Parquet.
pub(crate) fn is_tables(document: &Value) -> bool {
    document.get("record_size").is_some()
}

/// References that are read as they are wanted.
#[derive(Debug)]
pub(super) struct Tables {
    root: PathBuf,
    folder: Folder,
    /// Rows of a file.
    record_rows: u64,
    /// How many chunks arrays have along each axis.
    arrays: HashMap<String, Vec<u64>>,
    /// The files that were wanted last, the latest at the end; `None`: there is no such file.
    kept: Mutex<Vec<(PathBuf, Option<Arc<Record>>)>>,
}

/// One file.
#[derive(Debug, Default)]
struct Record {
    rows: usize,
    path: Option<Column>,
    offset: Vec<i64>,
    size: Vec<i64>,
    raw: Option<Column>,
}

/// Texts or bytes, and which of them are there.
type Column = (Texts, Vec<bool>);

impl Tables {
    /// The metadata documents of `.zmetadata`, and the rest.
    pub(super) fn new(
        root: &Path,
        document: Value,
    ) -> std::result::Result<(Map<String, Value>, Self), String> {
        let Value::Object(mut document) = document else { return Err("it is no object".to_owned()) };
        let record_rows = document.get("record_size").and_then(Value::as_u64);
        let record_rows = record_rows.filter(|rows| (1..=RECORD_ROWS_MAX).contains(rows));
        let record_rows = record_rows.ok_or_else(|| {
            let found = document.get("record_size").map(Value::to_string).unwrap_or_default();
            format!("its `record_size` {found} is no number from 1 to {RECORD_ROWS_MAX}")
        })?;
        let Some(Value::Object(documents)) = document.shift_remove("metadata") else {
            return Err("it has no `metadata` object".to_owned());
        };
        let numbers =
            |value: &Value| -> Option<Vec<u64>> { value.as_array()?.iter().map(Value::as_u64).collect() };
        let mut arrays = HashMap::new();
        for (key, value) in &documents {
            let Some(name) = key.strip_suffix("/.zarray") else { continue };
            let parsed = value.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
            let value = parsed.as_ref().unwrap_or(value);
            // What is wrong with an array's metadata is said when the array is opened.
            let (Some(shape), Some(chunks)) = (numbers(&value["shape"]), numbers(&value["chunks"])) else {
                continue;
            };
            if shape.len() == chunks.len() {
                let counts = shape.iter().zip(&chunks).map(|(&n, &chunk)| n.div_ceil(chunk.max(1)));
                arrays.insert(name.to_owned(), counts.collect());
            }
        }
        let folder = Folder::around(root)?;
        Ok((documents, Self { root: root.to_owned(), folder, record_rows, arrays, kept: Mutex::default() }))
    }

    /// What a chunk's key stands for; `None` if the chunk was never written, or it is no chunk's key.
    pub(super) fn entry(&self, key: &str) -> Result<Option<Entry>> {
        let Some((name, number)) = self.place(key) else { return Ok(None) };
        let file = format!("{name}/refs.{}.parq", number / self.record_rows);
        let file = place::join(&self.root, &file).map_err(Error::other)?;
        let wrong = |message: String| Error::other(format!("{}: {message}", place::shown(&file).display()));
        let Some(record) = self.record(&file)? else { return Ok(None) };
        let row = (number % self.record_rows) as usize;
        if row >= record.rows {
            return Ok(None);
        }
        let text = |texts: &Option<Column>| {
            let (texts, valid) = texts.as_ref()?;
            valid[row].then(|| texts.get(row).to_vec())
        };
        if let Some(raw) = text(&record.raw) {
            return Ok(Some(Entry::Inline(match raw.strip_prefix(b"base64:") {
                Some(encoded) => STANDARD
                    .decode(encoded)
                    .map_err(|e| wrong(format!("row {row}: it is not base64: {e}")))?
                    .into(),
                None => raw.into(),
            })));
        }
        let Some(url) = text(&record.path) else { return Ok(None) };
        let url = String::from_utf8_lossy(&url);
        let range = match (record.offset.get(row), record.size.get(row)) {
            (None | Some(0), None | Some(0)) => None,
            (offset, size) => {
                let number = |value: Option<&i64>| u64::try_from(value.copied().unwrap_or(0)).ok();
                let range = number(offset).zip(number(size));
                Some(range.ok_or_else(|| {
                    wrong(format!("row {row}: {size:?} bytes from {offset:?} on are no part of a file"))
                })?)
            }
        };
        Ok(Some(part_of(&url, range, &self.folder)))
    }

    /// The array of a chunk's key and the chunk's number.
    fn place<'a>(&self, key: &'a str) -> Option<(&'a str, u64)> {
        // Indices may be separated by slashes as well.
        let mut end = key.len();
        while let Some(slash) = key[..end].rfind('/') {
            end = slash;
            let Some(counts) = self.arrays.get(&key[..slash]) else { continue };
            let indices: Option<Vec<u64>> =
                key[slash + 1..].split(['.', '/']).map(|index| index.parse().ok()).collect();
            let indices = indices?;
            if counts.is_empty() && indices == [0] {
                return Some((&key[..slash], 0));
            }
            if indices.len() != counts.len() || indices.iter().zip(counts).any(|(i, n)| i >= n) {
                return None;
            }
            let number = indices
                .iter()
                .zip(counts)
                .try_fold(0u64, |number, (&i, &n)| number.checked_mul(n)?.checked_add(i))?;
            return Some((&key[..slash], number));
        }
        None
    }

    /// The references in a file, from memory if they were wanted lately.
    fn record(&self, file: &Path) -> Result<Option<Arc<Record>>> {
        let lock = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut kept = lock();
            if let Some(at) = kept.iter().position(|(known, _)| known == file) {
                let known = kept.remove(at);
                let record = known.1.clone();
                kept.push(known);
                return Ok(record);
            }
        }
        // Two threads may read the same one at once; the second one's is as good.
        let record = self.read(file)?.map(Arc::new);
        let mut kept = lock();
        kept.retain(|(known, _)| known != file);
        kept.push((file.to_owned(), record.clone()));
        let rows = |kept: &[(PathBuf, Option<Arc<Record>>)]| -> usize {
            kept.iter().filter_map(|(_, record)| record.as_ref()).map(|record| record.rows).sum()
        };
        while kept.len() > 1 && (kept.len() > FILES_KEPT || rows(&kept) > ROWS_KEPT) {
            kept.remove(0);
        }
        Ok(record)
    }

    fn read(&self, file: &Path) -> Result<Option<Record>> {
        let wrong = |message: &dyn std::fmt::Display| {
            Error::other(format!("{}: {message}", place::shown(file).display()))
        };
        let input = if place::is_remote(file) {
            let bytes =
                place::begin(file).and_then(|reading| reading.wait()).map_err(|error| match error {
                    StorageError::Remote(error) => Error::other(error),
                    error => wrong(&error),
                })?;
            let Some(bytes) = bytes else { return Ok(None) };
            Input::from_bytes(bytes)
        } else {
            match Input::open(file) {
                Ok(input) => input,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(wrong(&error)),
            }
        };
        Record::read(&input, self.record_rows).map(Some).map_err(|error| wrong(&error))
    }
}

impl Record {
    fn read(input: &Input, rows_max: u64) -> nuna_parquet::Result<Self> {
        let footer = Footer::read(input)?;
        let unsupported = |message: String| Err(nuna_parquet::Error::Unsupported(message));
        let rows = footer.groups.iter().try_fold(0u64, |rows, group| rows.checked_add(group.rows));
        let Some(rows) = rows.filter(|&rows| rows <= rows_max) else {
            return unsupported(format!(
                "it has more rows than the {rows_max} that files of references are said to have"
            ));
        };
        if let Some((name, reason)) =
            footer.refused.iter().find(|(name, _)| ["path", "raw"].contains(&name.as_str()))
        {
            return unsupported(format!("column `{name}`: {reason}"));
        }
        let mut record = Record { rows: rows as usize, ..Self::default() };
        let column = |name: &str| footer.columns.iter().position(|column| column.name == name);
        for (name, out) in [("offset", &mut record.offset), ("size", &mut record.size)] {
            let Some(column) = column(name) else { continue };
            for (number, group) in footer.groups.iter().enumerate() {
                let read = footer.column(input, number, column)?.read(group.rows as usize)?;
                match read.values {
                    Values::Int(values) => out.extend(values),
                    // What is missing in pandas makes floats of integers.
                    Values::Float(values) => out.extend(values.iter().map(|&value| value as i64)),
                    _ => return unsupported(format!("column `{name}` holds no integers")),
                }
            }
        }
        for (name, out) in [("path", &mut record.path), ("raw", &mut record.raw)] {
            let Some(column) = column(name) else { continue };
            let mut texts = Texts::default();
            let mut valid = Vec::new();
            for (number, group) in footer.groups.iter().enumerate() {
                let read = footer.column(input, number, column)?.as_bytes().read(group.rows as usize)?;
                let there = read.valid.unwrap_or_else(|| vec![true; group.rows as usize]);
                match read.values {
                    Values::Text(more) if texts.places.is_empty() => texts = more,
                    Values::Text(more) => {
                        (0..more.places.len()).try_for_each(|row| texts.push(more.get(row)))?;
                    }
                    // As a column of nothing but NaN is written.
                    Values::Float(values)
                        if values.iter().zip(&there).all(|(value, there)| !there || value.is_nan()) =>
                    {
                        (0..values.len()).try_for_each(|_| texts.push(b""))?;
                        valid.extend(std::iter::repeat_n(false, values.len()));
                        continue;
                    }
                    _ => return unsupported(format!("column `{name}` holds neither text nor bytes")),
                }
                valid.extend(there);
            }
            *out = Some((texts, valid));
        }
        Ok(record)
    }
}
