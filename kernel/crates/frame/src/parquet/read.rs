//! Owns reading a block of Parquet files: columns that filters need come first, the others only for rows that remain, some
//! thousand rows at a time, so that a group never lies in memory as a whole.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use nuna_parquet::{ColumnReader, Footer, Input, Values};
use nuna_plan::TaskError;
use serde::{Deserialize, Serialize};

use super::{ParquetFile, ParquetSource, Place, fault, places, prune::may_hold};
use crate::{
    column::{Column, ColumnType, Data, Span, TEXT_BYTES_MAX, Text},
    error::{FrameError, io},
    eval,
    expr::Node,
    table::{DataTable, Schema},
};

/// Rows that are looked at together.
const ROWS: usize = 1 << 14;
/// Footers that are kept, for the next blocks of the same files.
const KEPT: usize = 16;
/// What the pages of a column take that are open: one as it lies in the file, one unpacked, a dictionary.
const PAGE_BYTES: u64 = 3 << 20;

/// Some columns of the rows of files that pass filters.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ParquetScan {
    pub(crate) source: Arc<ParquetSource>,
    /// Columns of the schema, ascending.
    wanted: Vec<usize>,
    /// Resolved. Rows for which one of them is not true are not handed on.
    filters: Vec<Node>,
    /// Which groups a block reads.
    blocks: Vec<Vec<Place>>,
    /// Of the largest block, as it lies in memory.
    block_bytes: u64,
    #[serde(skip)]
    footers: Footers,
}

/// Files that were opened last.
#[derive(Clone, Debug, Default)]
struct Footers(Arc<Mutex<Vec<(usize, Opened)>>>);

type Opened = (Input, Arc<Footer>);

impl ParquetScan {
    pub(crate) fn new(source: Arc<ParquetSource>, wanted: Vec<usize>) -> Self {
        let mut scan = ParquetScan {
            source,
            wanted,
            filters: Vec::new(),
            blocks: Vec::new(),
            block_bytes: 0,
            footers: Footers::default(),
        };
        scan.cut();
        scan
    }

    pub(crate) fn schema(&self) -> Arc<Schema> {
        Arc::new(Schema(self.wanted.iter().map(|&column| self.source.schema.0[column].clone()).collect()))
    }

    pub(crate) fn blocks(&self) -> u64 {
        self.blocks.len() as u64
    }

    pub(crate) fn block_bytes(&self) -> u64 {
        self.block_bytes
    }

    /// What a block needs beside what it hands on.
    pub(crate) fn scratch_bytes(&self) -> u64 {
        PAGE_BYTES * self.wanted.len() as u64
    }

    /// Hands on only rows for which `filter` is true; groups without such rows are not read.
    pub(crate) fn filter(&mut self, filter: Node) {
        self.filters.push(filter);
        self.cut();
    }

    /// Puts neighbouring groups together to blocks.
    fn cut(&mut self) {
        let source = &*self.source;
        let names = &source.schema.0;
        let may_pass = |group: &&super::Group| {
            let bounds =
                |name: &str| names.iter().position(|(n, _)| n == name).map(|at| &group.columns[at].bounds);
            group.place.rows > 0
                && self.filters.iter().all(|filter| may_hold(filter, group.place.rows, &bounds))
        };
        let (mut blocks, mut open, mut largest) = (Vec::<Vec<Place>>::new(), u64::MAX, 0);
        let mut in_memory = 0_u64;
        for group in source.groups.iter().filter(may_pass) {
            let bytes: u64 =
                self.wanted.iter().fold(0, |sum, &column| group.columns[column].unpacked.saturating_add(sum));
            let rows = group.place.rows;
            // Elements take more room than packed ones; letters of a dictionary are not counted for each row.
            let room = rows.saturating_mul(9 * self.wanted.len() as u64).max(bytes);
            open = open.saturating_add(bytes);
            match blocks.last_mut() {
                Some(block) if open <= source.block_bytes => {
                    block.push(group.place);
                    in_memory = in_memory.saturating_add(room);
                }
                _ => {
                    blocks.push(vec![group.place]);
                    (open, in_memory) = (bytes, room);
                }
            }
            largest = largest.max(in_memory);
        }
        self.blocks = blocks;
        self.block_bytes = largest;
    }

    /// Hands on the rows of a block.
    pub(crate) fn run(
        &self,
        block: u64,
        take: &mut dyn FnMut(DataTable) -> Result<(), TaskError>,
    ) -> Result<(), TaskError> {
        let block = usize::try_from(block).ok().and_then(|block| self.blocks.get(block));
        let block = block.ok_or_else(|| TaskError::fatal("no such block of a file"))?;
        block.iter().try_for_each(|place| self.group(place, take))
    }

    fn open(&self, number: usize) -> Result<(&ParquetFile, Opened), TaskError> {
        let file = self.source.files.get(number).ok_or_else(|| TaskError::fatal("no such file"))?;
        let mut kept = self.footers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, opened)) = kept.iter().find(|(known, _)| *known == number) {
            return Ok((file, opened.clone()));
        }
        let input = Input::open(Path::new(&file.path)).map_err(|error| io(&file.path, "opening", &error))?;
        if input.length() != file.length {
            return Err(changed(file, &format!("{} bytes", input.length())));
        }
        let footer = Footer::read(&input).map_err(|error| failed(&file.path, error))?;
        let opened = (input, Arc::new(footer));
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push((number, opened.clone()));
        Ok((file, opened))
    }

    /// Hands on the rows of a group that pass the filters.
    fn group(
        &self,
        place: &Place,
        take: &mut dyn FnMut(DataTable) -> Result<(), TaskError>,
    ) -> Result<(), TaskError> {
        let schema = self.schema();
        if self.wanted.is_empty() && self.filters.is_empty() {
            // Their number is all that is asked for.
            let rows = usize::try_from(place.rows).map_err(|_| TaskError::fatal("too many rows"))?;
            return take(DataTable::from_parts(schema, Vec::new(), rows));
        }
        let (file, (input, footer)) = self.open(place.file)?;
        let group = footer.groups.get(place.group).filter(|group| group.rows == place.rows);
        let group = group.ok_or_else(|| changed(file, "other groups of rows"))?;
        let places =
            places(&schema, &footer).map_err(|error| TaskError::fatal(format!("{}: {error}", file.path)))?;
        let mut names = Vec::new();
        self.filters.iter().for_each(|filter| filter.columns(&mut names));
        let mut columns = Vec::with_capacity(places.len());
        let mut bytes = 0;
        for ((name, kind), &column) in schema.0.iter().zip(&places) {
            if ColumnType::of(footer.columns[column].kind) != *kind {
                return Err(changed(file, "other columns"));
            }
            bytes += group.chunks[column].byte_count();
            let reader =
                footer.column(&input, place.group, column).map_err(|error| failed(&file.path, error))?;
            columns.push(Open {
                path: &file.path,
                kind: *kind,
                reader,
                behind: 0,
                is_first: names.contains(name),
            });
        }
        let mut left = place.rows;
        while left > 0 {
            let rows = left.min(ROWS as u64) as usize;
            left -= rows as u64;
            self.batch(&schema, &mut columns, rows, take)?;
        }
        nuna_plan::meter::add_read_bytes(bytes);
        Ok(())
    }

    fn batch(
        &self,
        schema: &Arc<Schema>,
        columns: &mut [Open<'_>],
        rows: usize,
        take: &mut dyn FnMut(DataTable) -> Result<(), TaskError>,
    ) -> Result<(), TaskError> {
        let mut read: Vec<Option<Arc<Column>>> = vec![None; columns.len()];
        let mut keep: Option<Vec<usize>> = None;
        if !self.filters.is_empty() {
            let (mut names, mut some) = (Vec::new(), Vec::new());
            for (index, column) in columns.iter_mut().enumerate().filter(|(_, column)| column.is_first) {
                let values = Arc::new(column.read(rows)?);
                names.push(schema.0[index].clone());
                some.push(values.clone());
                read[index] = Some(values);
            }
            let table = DataTable::from_parts(Arc::new(Schema(names)), some, rows);
            let mut passed = vec![true; rows];
            for filter in &self.filters {
                let mask = eval::mask(filter, &table)?;
                passed.iter_mut().zip(mask).for_each(|(passed, mask)| *passed &= mask);
            }
            let kept: Vec<usize> = (0..rows).filter(|&row| passed[row]).collect();
            if kept.is_empty() {
                columns.iter_mut().filter(|column| !column.is_first).for_each(|column| column.behind += rows);
                return Ok(());
            }
            keep = Some(kept).filter(|kept| kept.len() < rows);
        }
        let mut all = Vec::with_capacity(columns.len());
        for (column, read) in columns.iter_mut().zip(read) {
            let values = match read {
                Some(values) => values,
                None => Arc::new(column.read(rows)?),
            };
            all.push(match &keep {
                Some(keep) => Arc::new(values.gather(keep)),
                None => values,
            });
        }
        let rows = keep.as_ref().map_or(rows, Vec::len);
        take(DataTable::from_parts(schema.clone(), all, rows))
    }
}

fn changed(file: &ParquetFile, now: &str) -> TaskError {
    TaskError::fatal(format!(
        "{}: it had {} bytes when it was scanned, and has {now} now; scan it again",
        file.path, file.length
    ))
}

/// Reading may go well the next time; what is wrong with a file stays so.
fn failed(path: &str, error: nuna_parquet::Error) -> TaskError {
    match error {
        nuna_parquet::Error::Io(error) => io(path, "reading", &error),
        error => FrameError::into(fault(path, &error)),
    }
}

/// A column that is being read.
struct Open<'a> {
    path: &'a str,
    kind: ColumnType,
    reader: ColumnReader,
    /// Rows that nobody needs, and that are still to be skipped.
    behind: usize,
    /// Filters need it.
    is_first: bool,
}

impl Open<'_> {
    fn read(&mut self, rows: usize) -> Result<Column, TaskError> {
        let path = self.path;
        let behind = std::mem::take(&mut self.behind);
        if behind > 0 {
            self.reader.skip(behind).map_err(|error| failed(path, error))?;
        }
        let column = self.reader.read(rows).map_err(|error| failed(path, error))?;
        let data = match column.values {
            Values::Int(v) => Data::Int(v),
            Values::Float(v) => Data::Float(v),
            Values::Bool(v) => Data::Bool(v),
            Values::Text(texts) => {
                let mut spans = Vec::with_capacity(texts.places.len());
                for place in &texts.places {
                    spans.push(Span::new(place.start, place.start + place.length).ok_or_else(|| {
                        TaskError::fatal(format!(
                            "{path}: a text of {} bytes is longer than a table can hold, which is {TEXT_BYTES_MAX}",
                            place.length
                        ))
                    })?);
                }
                Data::Text(Text { bytes: texts.bytes, spans })
            }
        };
        Ok(Column::new(self.kind, data, column.valid))
    }
}
