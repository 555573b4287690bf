//! Owns writing references, as one JSON file or as a folder of Parquet files: nothing is there under the name before all is.

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use nuna_parquet::{Column, ColumnName, Kind, Texts, Values, Writer};
use nuna_plan::BlockGrid;
use serde_json::{Map, Value, json};

use super::{
    new::{NewArray, NewLabels, NewReferences, ReferencesOptions, Target},
    tables,
};
use crate::{
    error::StorageError,
    json, place,
    write::{NewVariable, unique, write_error},
};

/// Writes references to what `paths` hold, NetCDF or HDF5 files, joined along `dim` if there are several: a file of JSON if
/// `to` ends with `.json`, else a folder of Parquet files. `labels` take the place of variables of their names where these count
/// in other units in each file.
///
/// # Errors
/// If a file cannot be read, a variable cannot be referred to (the error says why), two files do not fit, or `to` exists.
pub fn write_references(
    paths: &[PathBuf],
    dim: &str,
    labels: &[(NewVariable, NewLabels)],
    to: &Path,
    options: &ReferencesOptions,
) -> Result<(), StorageError> {
    if place::is_remote(to) {
        let message = "references are written to the file system only".to_owned();
        return Err(StorageError::Write { path: place::shown(to), message });
    }
    let to = std::path::absolute(to).map_err(|error| write_error(to, &error))?;
    let is_json = to.extension().is_some_and(|end| end.eq_ignore_ascii_case("json"));
    check_target(&to, is_json, options.overwrite)?;
    if options.record_size == 0 || options.record_size > tables::RECORD_ROWS_MAX {
        let message =
            format!("`record_size` is from 1 to {}, not {}", tables::RECORD_ROWS_MAX, options.record_size);
        return Err(StorageError::Write { path: to, message });
    }
    let new = NewReferences::new(paths, dim, labels, options)?;
    let folder = to.parent().unwrap_or(Path::new("/")).to_owned();
    let names: Vec<String> = new
        .files
        .iter()
        .map(|file| {
            if place::shown(file) != *file {
                let message = "its address holds what may be a secret, which would be written down; make references to it without".to_owned();
                return Err(StorageError::File { path: place::shown(file), message });
            }
            let below = file.strip_prefix(&folder).ok().filter(|_| options.relative);
            let name = below.unwrap_or(file).to_str();
            name.map(str::to_owned).ok_or_else(|| {
                let message = "its name is no UTF-8, so that references cannot name it".to_owned();
                StorageError::File { path: file.clone(), message }
            })
        })
        .collect::<Result<_, _>>()?;
    fs::create_dir_all(&folder).map_err(|error| write_error(&folder, &error))?;
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let partial = folder.join(format!(".{name}.partial-{}", unique()));
    let written = match is_json {
        true => write_json(&new, &names, &partial),
        false => write_tables(&new, &names, &partial, options.record_size),
    };
    written.and_then(|()| publish(&partial, &to, is_json, options.overwrite)).inspect_err(|_| {
        // Best effort: its name says what it is.
        let _ = fs::remove_file(&partial);
        let _ = fs::remove_dir_all(&partial);
    })
}

fn check_target(to: &Path, is_json: bool, overwrite: bool) -> Result<(), StorageError> {
    if !to.exists() {
        return Ok(());
    }
    if !overwrite {
        return Err(StorageError::Exists { path: to.to_owned() });
    }
    let is_one = match is_json {
        true => to.is_file() && super::is_references(to),
        false => to.is_dir() && json::read(&to.join(tables::METADATA))?.is_some_and(|d| super::is_tables(&d)),
    };
    match is_one {
        true => Ok(()),
        false => Err(StorageError::ExistsNot { path: to.to_owned(), what: "references".to_owned() }),
    }
}

fn publish(partial: &Path, to: &Path, is_json: bool, overwrite: bool) -> Result<(), StorageError> {
    check_target(to, is_json, overwrite)?;
    let failed = |error: std::io::Error| write_error(to, &error);
    if is_json || !to.exists() {
        return fs::rename(partial, to).map_err(failed);
    }
    let old = partial.with_extension("old");
    fs::rename(to, &old).map_err(failed)?;
    fs::rename(partial, to).map_err(failed)?;
    fs::remove_dir_all(&old).map_err(|error| write_error(&old, &error))
}

/// Metadata documents by their keys.
fn documents(new: &NewReferences) -> Map<String, Value> {
    let mut documents = Map::new();
    for (path, attrs) in &new.groups {
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
        documents.insert(below(".zgroup"), json!({"zarr_format": 2}));
        documents.insert(below(".zattrs"), Value::Object(attrs.clone()));
    }
    for array in &new.arrays {
        documents.insert(format!("{}/.zarray", array.path), array.metadata.clone());
        documents.insert(format!("{}/.zattrs", array.path), Value::Object(array.attrs.clone()));
    }
    documents
}

/// Chunks' keys below their array: `0.3.1`.
fn key(grid: &BlockGrid, number: u64, array: &NewArray) -> String {
    if array.counts.is_empty() {
        return "0".to_owned();
    }
    grid.coords(number).iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

fn write_json(new: &NewReferences, names: &[String], to: &Path) -> Result<(), StorageError> {
    let failed = |error: std::io::Error| write_error(to, &error);
    let mut out = BufWriter::new(File::create_new(to).map_err(failed)?);
    // By hand, so that references are never in memory a second time.
    let mut before = "{\"version\": 1, \"refs\": {\n";
    let mut line = |out: &mut BufWriter<File>, key: &str, value: Value| {
        write!(out, "{before}{}: {value}", Value::from(key)).map_err(failed)?;
        before = ",\n";
        Ok::<_, StorageError>(())
    };
    for (key, document) in documents(new) {
        line(&mut out, &key, document.to_string().into())?;
    }
    for array in &new.arrays {
        let grid = BlockGrid::new(array.counts.iter().copied());
        for (&number, target) in &array.chunks {
            let value = match target {
                Target::Bytes(bytes) => format!("base64:{}", STANDARD.encode(bytes)).into(),
                Target::Part { file, offset, bytes } => json!([names[*file], offset, bytes]),
            };
            line(&mut out, &format!("{}/{}", array.path, key(&grid, number, array)), value)?;
        }
    }
    out.write_all(b"\n}}\n").and_then(|()| out.flush()).map_err(failed)
}

fn write_tables(
    new: &NewReferences,
    names: &[String],
    to: &Path,
    record_size: u64,
) -> Result<(), StorageError> {
    fs::create_dir_all(to).map_err(|error| write_error(to, &error))?;
    let metadata = to.join(tables::METADATA);
    let document = json!({"metadata": documents(new), "record_size": record_size});
    fs::write(&metadata, document.to_string()).map_err(|error| write_error(&metadata, &error))?;
    for array in &new.arrays {
        let folder = to.join(&array.path);
        fs::create_dir_all(&folder).map_err(|error| write_error(&folder, &error))?;
        let all = array.counts.iter().product::<u64>();
        let mut chunks = array.chunks.iter().peekable();
        while let Some(&(&number, _)) = chunks.peek() {
            let record = number / record_size;
            let first = record * record_size;
            let rows = record_size.min(all.saturating_sub(first));
            let mut table = Table::default();
            for row in first..first + rows {
                let target = chunks.next_if(|&(&number, _)| number == row).map(|(_, target)| target);
                table
                    .push(target, names)
                    .map_err(|message| StorageError::Variable { variable: array.path.clone(), message })?;
            }
            let file = folder.join(format!("refs.{record}.parq"));
            table.write(&file)?;
        }
    }
    Ok(())
}

/// Rows of one file.
#[derive(Default)]
struct Table {
    path: Texts,
    has_path: Vec<bool>,
    offset: Vec<i64>,
    size: Vec<i64>,
    raw: Texts,
    has_raw: Vec<bool>,
}

impl Table {
    fn push(&mut self, target: Option<&Target>, names: &[String]) -> Result<(), String> {
        let large = |_| "its chunks lie beyond what references count".to_owned();
        let (path, (offset, size), raw) = match target {
            None => (None, (0, 0), None),
            Some(Target::Bytes(bytes)) => (None, (0, 0), Some(bytes.as_slice())),
            Some(Target::Part { file, offset, bytes }) => {
                let place = (i64::try_from(*offset).map_err(large)?, i64::try_from(*bytes).map_err(large)?);
                (Some(names[*file].as_bytes()), place, None)
            }
        };
        self.has_path.push(path.is_some());
        self.has_raw.push(raw.is_some());
        self.offset.push(offset);
        self.size.push(size);
        self.path.push(path.unwrap_or_default()).map_err(|error| error.to_string())?;
        self.raw.push(raw.unwrap_or_default()).map_err(|error| error.to_string())
    }

    fn write(self, file: &Path) -> Result<(), StorageError> {
        let failed = |message: String| StorageError::Write { path: file.to_owned(), message };
        let out = File::create_new(file).map_err(|error| failed(error.to_string()))?;
        let names = [("path", Kind::Text), ("offset", Kind::Int), ("size", Kind::Int), ("raw", Kind::Text)];
        let names = names.map(|(name, kind)| ColumnName { name: name.to_owned(), kind });
        let columns = [
            Column { values: Values::Text(self.path), valid: Some(self.has_path) },
            Column { values: Values::Int(self.offset), valid: None },
            Column { values: Values::Int(self.size), valid: None },
            Column { values: Values::Text(self.raw), valid: Some(self.has_raw) },
        ];
        let write = || -> nuna_parquet::Result<()> {
            let mut writer = Writer::new(BufWriter::new(out), &names)?.with_bytes("raw");
            writer.write(&columns)?;
            writer.finish().map(drop)
        };
        write().map_err(|error| failed(error.to_string()))
    }
}
