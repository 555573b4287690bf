//! Owns Parquet files as tables: what their columns become, which groups of rows a block reads, and which none.

mod prune;
mod read;
pub(crate) mod write;

use std::{path::Path, sync::Arc};

use nuna_parquet::{Bounds, Footer, Input, Kind};
use serde::{Deserialize, Serialize};

pub(crate) use self::read::ParquetScan;
use crate::{column::ColumnType, error::FrameError, table::Schema};

/// Unpacked bytes of the columns that are read, of which one block is made; a group of rows is never divided.
const BLOCK_BYTES: u64 = 32 << 20;
/// Footers are read by so many threads: most of it is waiting.
const THREADS: usize = 8;

/// How Parquet files are to be read.
#[derive(Clone, Debug)]
pub struct ParquetOptions {
    without: Vec<String>,
    block_bytes: u64,
}

impl Default for ParquetOptions {
    fn default() -> Self {
        ParquetOptions { without: Vec::new(), block_bytes: BLOCK_BYTES }
    }
}

impl ParquetOptions {
    pub fn new() -> Self {
        Self::default()
    }

    /// Columns that are not there for the frame: nested ones, of which a table can hold none, or those that not all files have.
    #[must_use]
    pub fn without<T: AsRef<str>>(mut self, columns: impl IntoIterator<Item = T>) -> Self {
        self.without.extend(columns.into_iter().map(|name| name.as_ref().to_owned()));
        self
    }

    /// Neighbouring groups of rows are one block as long as the columns that are read have no more bytes together, unpacked;
    /// 32 MiB unless said.
    #[must_use]
    pub fn block_bytes(mut self, bytes: u64) -> Self {
        self.block_bytes = bytes.max(1);
        self
    }
}

impl ColumnType {
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Int => ColumnType::Int64,
            Kind::Float => ColumnType::Float64,
            Kind::Bool => ColumnType::Bool,
            Kind::Text => ColumnType::Text,
            Kind::Date => ColumnType::Date,
            Kind::Time => ColumnType::Time,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ParquetFile {
    pub(crate) path: String,
    /// When it was looked at; a file that has another length later is not the same.
    pub(crate) length: u64,
}

/// Files of the same columns.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ParquetSource {
    pub(crate) name: String,
    pub(crate) files: Vec<ParquetFile>,
    pub(crate) schema: Schema,
    pub(crate) block_bytes: u64,
    /// What was read of the footers. Workers have no use for it.
    #[serde(skip)]
    pub(crate) groups: Vec<Group>,
}

/// Rows that lie together.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) place: Place,
    /// In the schema's order.
    pub(crate) columns: Vec<About>,
}

/// Where rows are.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) file: usize,
    pub(crate) group: usize,
    pub(crate) rows: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) unpacked: u64,
    pub(crate) bounds: Bounds,
}

pub(crate) fn fault(path: &str, error: &nuna_parquet::Error) -> FrameError {
    FrameError::File { path: path.to_owned(), message: error.to_string() }
}

fn footer(path: &str) -> Result<(u64, Footer), FrameError> {
    let input = Input::open(Path::new(path)).map_err(|error| fault(path, &error.into()))?;
    let footer = Footer::read(&input).map_err(|error| fault(path, &error))?;
    Ok((input.length(), footer))
}

/// The footers of files, in order.
fn footers(paths: &[String]) -> Result<Vec<(u64, Footer)>, FrameError> {
    let share = paths.len().div_ceil(THREADS).max(1);
    let parts: Vec<Result<Vec<_>, FrameError>> = std::thread::scope(|scope| {
        let threads: Vec<_> = paths
            .chunks(share)
            .map(|paths| scope.spawn(|| paths.iter().map(|path| footer(path)).collect()))
            .collect();
        let died = || Err(FrameError::Invalid("a thread that reads footers died".to_owned()));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| died())).collect()
    });
    let mut all = Vec::with_capacity(paths.len());
    for part in parts {
        all.extend(part?);
    }
    Ok(all)
}

impl ParquetSource {
    /// Reads the footers of all files.
    pub(crate) fn open(
        name: &str,
        paths: &[String],
        options: &ParquetOptions,
    ) -> Result<Arc<Self>, FrameError> {
        let footers = footers(paths)?;
        let schema_of = |path: &str, footer: &Footer| {
            let is_wanted = |name: &String| !options.without.contains(name);
            let refused: Vec<String> = footer
                .refused
                .iter()
                .filter(|(name, _)| is_wanted(name))
                .map(|(name, reason)| format!("column `{name}`: {reason}"))
                .collect();
            if !refused.is_empty() {
                let names: Vec<&str> = footer
                    .refused
                    .iter()
                    .map(|(name, _)| name.as_str())
                    .chain(options.without.iter().map(String::as_str))
                    .collect();
                return Err(FrameError::File {
                    path: path.to_owned(),
                    message: format!(
                        "{}; tables have plain columns, so leave it out with `scan_parquet_with(…, ParquetOptions::new().without({names:?}))`",
                        refused.join("; ")
                    ),
                });
            }
            let columns = footer.columns.iter().filter(|column| is_wanted(&column.name));
            Schema(columns.map(|column| (column.name.clone(), ColumnType::of(column.kind))).collect())
                .check()
                .map_err(|error| FrameError::File { path: path.to_owned(), message: error.to_string() })
        };
        let (Some(first), Some((_, about))) = (paths.first(), footers.first()) else {
            return Err(FrameError::NoFiles { pattern: name.to_owned() });
        };
        let schema = schema_of(first, about)?;
        for name in &options.without {
            let has = |footer: &Footer| {
                footer.columns.iter().any(|column| column.name == *name)
                    || footer.refused.iter().any(|(refused, _)| refused == name)
            };
            if !footers.iter().any(|(_, footer)| has(footer)) {
                return Err(crate::error::no_column(name, &schema.names()));
            }
        }
        let mut groups = Vec::new();
        let mut files = Vec::with_capacity(paths.len());
        for (file, (path, (length, footer))) in paths.iter().zip(&footers).enumerate() {
            differing(first, &schema, path, &schema_of(path, footer)?)?;
            let places = places(&schema, footer)?;
            for (group, about) in footer.groups.iter().enumerate() {
                let one = |&place: &usize| {
                    let chunk = &about.chunks[place];
                    About { unpacked: chunk.unpacked, bounds: chunk.bounds.clone() }
                };
                let columns = places.iter().map(one).collect();
                groups.push(Group { place: Place { file, group, rows: about.rows }, columns });
            }
            files.push(ParquetFile { path: path.clone(), length: *length });
        }
        Ok(Arc::new(ParquetSource {
            name: name.to_owned(),
            files,
            schema,
            block_bytes: options.block_bytes,
            groups,
        }))
    }
}

/// Where in a file the columns of a schema are.
fn places(schema: &Schema, footer: &Footer) -> Result<Vec<usize>, FrameError> {
    let names: Vec<String> = footer.columns.iter().map(|column| column.name.clone()).collect();
    let place = |(name, _): &(String, ColumnType)| {
        names.iter().position(|known| known == name).ok_or_else(|| crate::error::no_column(name, &names))
    };
    schema.0.iter().map(place).collect()
}

/// Says how a file's columns differ from those of the first one, if they do. Their order is of no account.
fn differing(first: &str, schema: &Schema, path: &str, other: &Schema) -> Result<(), FrameError> {
    let mut differences = Vec::new();
    for (name, kind) in &schema.0 {
        match other.kind(name) {
            Ok(found) if found == *kind => {}
            Ok(found) => differences.push(format!("`{name}` holds {found}, not {kind}")),
            Err(_) => differences.push(format!("`{name}` is not there")),
        }
    }
    for (name, _) in &other.0 {
        if schema.position(name).is_err() {
            differences.push(format!("`{name}` is there only here"));
        }
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(FrameError::File {
        path: path.to_owned(),
        message: format!(
            "its columns are not those of {first}: {}; scan such files apart, make their columns alike with `.with_column(…)`, and put them together with `concat_frames`",
            differences.join(", ")
        ),
    })
}
