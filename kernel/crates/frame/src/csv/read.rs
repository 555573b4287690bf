//! Owns reading a block of a CSV file: from its bytes to tables of some thousand rows each, which are handed on one after
//! another, so that a block never lies in memory as a whole.
//!
//! A row belongs to the block in which it begins. Blocks are cut anywhere; each looks for its first row itself.

use std::{fs::File, os::unix::fs::FileExt, sync::Arc};

use nuna_plan::TaskError;
use serde::{Deserialize, Serialize};

use super::{
    CsvFile, CsvSource, parse,
    split::{BadRow, Dialect, Fault, Fields, Input, PADDING, Splitter},
};
use crate::{
    column::{Column, ColumnType, TEXT_BYTES_MAX},
    error::io,
    eval,
    expr::Node,
    table::{DataTable, Schema},
};

pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";
/// Bytes read at a time: what a core's own cache holds.
const PIECE: usize = 512 << 10;
/// Read beyond a block's end for the rest of its last row, at a time.
const TAIL: usize = 16 << 10;
/// A row may take so much.
const ROW_BYTES_MAX: usize = 4 * TEXT_BYTES_MAX;
/// Of a file beyond this, lines are not counted for a message.
const COUNTED_BYTES_MAX: u64 = 8 << 30;
/// Of a field, so many bytes are shown.
const SHOWN: usize = 60;

/// Some columns of the rows of files that pass filters.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CsvScan {
    pub(crate) source: Arc<CsvSource>,
    /// Columns of the files, ascending.
    pub(crate) wanted: Vec<usize>,
    /// Resolved. Rows for which one of them is not true are not read any further.
    pub(crate) filters: Vec<Node>,
    /// For each block whether it begins within quotes; empty if line ends cannot be in quotes.
    pub(crate) in_quotes: Vec<bool>,
}

impl CsvScan {
    pub(crate) fn schema(&self) -> Arc<Schema> {
        Arc::new(Schema(self.wanted.iter().map(|&column| self.source.schema.0[column].clone()).collect()))
    }

    /// Hands on the rows of a block. How many were left out because they are malformed.
    pub(crate) fn run(
        &self,
        block: u64,
        take: &mut dyn FnMut(DataTable) -> Result<(), TaskError>,
    ) -> Result<u64, TaskError> {
        let source = &*self.source;
        let number = source.files.partition_point(|file| file.first_block <= block).saturating_sub(1);
        let file = source.files.get(number).ok_or_else(|| TaskError::fatal("no such block of a file"))?;
        let start = (block - file.first_block) * source.block_bytes;
        let end = (start + source.block_bytes).min(file.length);
        let mut reader = Reader::open(file, start)?;
        let mut cutter = Cutter {
            scan: self,
            file,
            splitter: Splitter::new(source.dialect.clone(), source.schema.0.len(), &self.wanted),
            schema: self.schema(),
            plan: self.plan()?,
            fields: Fields::default(),
            skipped: 0,
        };
        let in_quotes = self.in_quotes.get(block as usize).copied().unwrap_or(false);
        let mut from = 0;
        if start == 0 {
            // Not only to the end of the block, which may be within the mark.
            reader.fill(PIECE as u64)?;
            from = if reader.bytes[..reader.filled].starts_with(BOM) { BOM.len() } else { 0 };
        } else if !reader.seek_row(start, end, source, in_quotes)? {
            return Ok(0);
        }
        if reader.is_before_header()? {
            from = cutter.header(&mut reader, from)?;
        }
        loop {
            let limit = usize::try_from(end.saturating_sub(reader.offset)).unwrap_or(usize::MAX);
            if from >= limit {
                break;
            }
            let next = cutter.rows(&mut reader, from, limit, take)?;
            if next >= limit || (reader.is_end() && next >= reader.filled) {
                break;
            }
            if reader.is_end() {
                return Err(TaskError::fatal(format!("{}: its last row cannot be read", file.path)));
            }
            reader.drop_front(next);
            if reader.filled > ROW_BYTES_MAX {
                let at = locate(file, reader.offset);
                return Err(TaskError::fatal(format!(
                    "{at}: a row is longer than {ROW_BYTES_MAX} bytes; is the delimiter or the quote another one?"
                )));
            }
            reader.fill(end)?;
            from = 0;
        }
        nuna_plan::meter::add_read_bytes(end - start);
        Ok(cutter.skipped)
    }

    /// Which columns are read first, because filters need them.
    fn plan(&self) -> Result<Vec<bool>, TaskError> {
        let mut names = Vec::new();
        self.filters.iter().for_each(|filter| filter.columns(&mut names));
        Ok(self.schema().0.iter().map(|(name, _)| names.contains(name)).collect())
    }
}

/// A window of a file that moves forward.
struct Reader<'a> {
    file: &'a CsvFile,
    opened: File,
    /// Where in the file the window begins.
    offset: u64,
    /// The window, and what is behind it.
    bytes: Arc<Vec<u8>>,
    filled: usize,
    /// Bytes of the window, full or not. What follows them are fields that were rewritten.
    size: usize,
}

impl<'a> Reader<'a> {
    fn open(file: &'a CsvFile, offset: u64) -> Result<Self, TaskError> {
        let opened = File::open(&file.path).map_err(|error| io(&file.path, "opening", &error))?;
        let length = opened.metadata().map_err(|error| io(&file.path, "looking at it", &error))?.len();
        if length != file.length {
            return Err(TaskError::fatal(format!(
                "{}: it had {} bytes when it was scanned, and has {length} now; scan it again",
                file.path, file.length
            )));
        }
        Ok(Reader { file, opened, offset, bytes: Arc::default(), filled: 0, size: 0 })
    }

    fn is_end(&self) -> bool {
        self.offset + self.filled as u64 >= self.file.length
    }

    /// The window's own copy of the bytes; what came before it is with whoever still reads it.
    fn own(&mut self) -> &mut Vec<u8> {
        if Arc::get_mut(&mut self.bytes).is_none() {
            let mut copy = Vec::with_capacity(self.bytes.capacity());
            copy.extend_from_slice(&self.bytes[..self.filled]);
            self.bytes = Arc::new(copy);
        }
        Arc::make_mut(&mut self.bytes)
    }

    /// Reads on: up to `end`, or some way beyond if it is there already.
    fn fill(&mut self, end: u64) -> Result<(), TaskError> {
        let (filled, at) = (self.filled, self.offset + self.filled as u64);
        let left = usize::try_from(self.file.length - at).unwrap_or(usize::MAX);
        // A row that did not end needs ever more.
        let room = if at < end {
            usize::try_from(end - at).unwrap_or(usize::MAX).min(PIECE)
        } else {
            TAIL.max(filled)
        };
        let room = room.min(left);
        let path = self.file.path.clone();
        let bytes = self.own();
        if bytes.len() < filled + room + PADDING {
            bytes.resize((filled + room).max(PIECE) + PADDING, 0);
        }
        let size = bytes.len();
        let mut done = 0;
        let mut window = std::mem::take(bytes);
        while done < room {
            match self.opened.read_at(&mut window[filled + done..filled + room], at + done as u64) {
                Ok(0) => {
                    return Err(TaskError::fatal(format!(
                        "{path}: it ends after {} bytes now, and had {} when it was scanned; scan it again",
                        at + done as u64,
                        self.file.length
                    )));
                }
                Ok(count) => done += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io(&path, "reading", &error)),
            }
        }
        *self.own() = window;
        self.filled = filled + room;
        self.size = size;
        Ok(())
    }

    /// Forgets what was read.
    fn drop_front(&mut self, count: usize) {
        let filled = self.filled;
        match Arc::get_mut(&mut self.bytes) {
            Some(bytes) => {
                bytes.truncate(self.size);
                bytes.copy_within(count..filled, 0);
            }
            None => {
                let mut rest = Vec::with_capacity(self.bytes.len());
                rest.extend_from_slice(&self.bytes[count..filled]);
                self.bytes = Arc::new(rest);
            }
        }
        self.filled -= count;
        self.offset += count as u64;
    }

    /// Whether there are only empty lines before the window, so that the header is still to come.
    fn is_before_header(&self) -> Result<bool, TaskError> {
        let mut piece = [0; 256];
        let (mut at, mut after_return) = (0, false);
        while at < self.offset {
            let room = usize::try_from(self.offset - at).unwrap_or(usize::MAX).min(piece.len());
            let count = match self.opened.read_at(&mut piece[..room], at) {
                Ok(0) => return Ok(false),
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(io(&self.file.path, "reading", &error)),
            };
            let mark = if at == 0 && piece[..count].starts_with(BOM) { BOM.len() } else { 0 };
            for &byte in &piece[mark..count] {
                match byte {
                    b'\n' => after_return = false,
                    b'\r' if !after_return => after_return = true,
                    _ => return Ok(false),
                }
            }
            at += count as u64;
        }
        Ok(true)
    }

    /// Moves to the first row that begins in the block; false if there is none.
    fn seek_row(
        &mut self,
        start: u64,
        end: u64,
        source: &CsvSource,
        in_quotes: bool,
    ) -> Result<bool, TaskError> {
        // A row begins after a line end, which may be the byte before.
        self.offset = start - 1;
        let quote = if source.dialect.multiline { source.dialect.quote } else { None };
        let mut inside = in_quotes;
        let mut is_first = true;
        while self.offset + 1 < end {
            self.fill(end)?;
            let mut from = 0;
            let mut found = None;
            if is_first {
                // The quotes before the block count up to its first byte.
                is_first = false;
                if self.bytes[0] == b'\n' && !inside {
                    found = Some(0);
                }
                from = 1;
            }
            let bytes = &self.bytes[..self.filled];
            while found.is_none() {
                let next = match quote {
                    Some(quote) => memchr::memchr2(b'\n', quote, &bytes[from..]),
                    None => memchr::memchr(b'\n', &bytes[from..]),
                };
                let Some(next) = next.map(|next| from + next) else { break };
                match (bytes[next], inside) {
                    (b'\n', false) => found = Some(next),
                    (b'\n', true) => {}
                    _ => inside = !inside,
                }
                from = next + 1;
            }
            match found {
                Some(at) => {
                    self.drop_front(at + 1);
                    return Ok(self.offset < end);
                }
                None if self.is_end() => return Ok(false),
                None => self.drop_front(self.filled),
            }
        }
        Ok(false)
    }
}

/// Cuts a window into rows and reads their fields.
struct Cutter<'a> {
    scan: &'a CsvScan,
    file: &'a CsvFile,
    splitter: Splitter,
    schema: Arc<Schema>,
    /// Which columns filters need.
    plan: Vec<bool>,
    fields: Fields,
    skipped: u64,
}

impl Cutter<'_> {
    /// Reads past the header, if files have one. Where rows begin.
    fn header(&self, reader: &mut Reader<'_>, from: usize) -> Result<usize, TaskError> {
        let Some(expected) = &self.scan.source.header else { return Ok(from) };
        loop {
            let bytes = &reader.bytes[from..reader.filled];
            let first = Splitter::first_row(&self.scan.source.dialect, bytes, reader.is_end());
            match first.map_err(|bad| TaskError::fatal(header_fault(&self.file.path, &bad)))? {
                Some((names, next)) if names == *expected => return Ok(from + next),
                Some((names, _)) => {
                    return Err(TaskError::fatal(format!(
                        "{}: its columns are {}, those of {} are {}",
                        self.file.path,
                        shortened(&names.join(", ")),
                        self.scan.source.files[0].path,
                        shortened(&expected.join(", "))
                    )));
                }
                // Nothing but empty lines.
                None if reader.is_end() => return Ok(reader.filled),
                None if reader.filled > ROW_BYTES_MAX => {
                    return Err(TaskError::fatal(format!("{}: its header has no end", self.file.path)));
                }
                None => reader.fill(0)?,
            }
        }
    }

    /// Cuts what is in the window and hands it on. Where the first row begins that is not complete, or not of this block.
    fn rows(
        &mut self,
        reader: &mut Reader<'_>,
        from: usize,
        limit: usize,
        take: &mut dyn FnMut(DataTable) -> Result<(), TaskError>,
    ) -> Result<usize, TaskError> {
        let mut from = from;
        loop {
            let is_end = reader.is_end();
            let input = Input { bytes: &reader.bytes, length: reader.filled, limit, is_end };
            let cut = self.splitter.split(input, from, &mut self.fields);
            if !self.fields.side.is_empty() {
                let side = std::mem::take(&mut self.fields.side);
                reader.own().extend_from_slice(&side);
            }
            let end = cut.as_ref().map_or_else(|bad| bad.start, |cut| cut.next);
            let kept = self.table(reader, end)?;
            if kept.rows > 0 {
                take(kept)?;
            }
            match cut {
                Ok(cut) => return Ok(cut.next),
                // The row may be whole only with what follows; an error of it comes again then.
                Err(bad) if self.scan.source.skip_bad_rows && !bad.fault.loses_place() => {
                    if bad.next >= reader.filled && !is_end {
                        return Ok(bad.start);
                    }
                    self.skipped += 1;
                    from = bad.next;
                }
                Err(bad) => {
                    let at = locate(self.file, reader.offset + bad.start as u64);
                    let message = explain(&bad.fault, &self.scan.source.schema);
                    return Err(TaskError::fatal(format!("{at}{message}")));
                }
            }
        }
    }

    /// Reads the fields that were cut: those that filters need first, the others of the rows that remain.
    fn table(&mut self, reader: &Reader<'_>, end: usize) -> Result<DataTable, TaskError> {
        let source = &*self.scan.source;
        let mut rows = self.fields.rows;
        if rows == 0 {
            return Ok(DataTable::empty(self.schema.clone()));
        }
        let is_text = |kind: ColumnType| kind == ColumnType::Text;
        // Fields end at ASCII, so what is UTF-8 as a whole is so in each field.
        let checked = self.schema.0.iter().any(|(_, kind)| is_text(*kind))
            && std::str::from_utf8(&reader.bytes[..end.min(reader.filled)]).is_err();
        let mut bad = Vec::new();
        let mut columns: Vec<Option<Arc<Column>>> = vec![None; self.schema.0.len()];
        for phase in [true, false] {
            for (index, (_, kind)) in self.schema.0.iter().enumerate().filter(|(i, _)| self.plan[*i] == phase)
            {
                let before = bad.len();
                let spans = &self.fields.spans[index];
                let column = parse::column(*kind, &reader.bytes, spans, &source.nulls, &mut bad);
                if checked && is_text(*kind) {
                    let broken = |row: &usize| std::str::from_utf8(spans[*row].of(&reader.bytes)).is_err();
                    bad.extend((0..spans.len()).filter(broken));
                }
                if bad.len() > before && !source.skip_bad_rows {
                    return Err(self.bad_field(reader, index, bad[before]));
                }
                columns[index] = Some(Arc::new(column));
            }
            if phase && !self.scan.filters.is_empty() {
                let parsed: (Vec<_>, Vec<_>) = self
                    .schema
                    .0
                    .iter()
                    .zip(&columns)
                    .filter_map(|(named, column)| Some((named.clone(), column.clone()?)))
                    .unzip();
                let some = DataTable::from_parts(Arc::new(Schema(parsed.0)), parsed.1, rows);
                let mut keep = vec![true; rows];
                for filter in &self.scan.filters {
                    let passed = eval::mask(filter, &some)?;
                    keep.iter_mut().zip(passed).for_each(|(keep, passed)| *keep &= passed);
                }
                self.leave_out(&mut keep, &mut bad);
                if keep.iter().any(|keep| !keep) {
                    rows = self.keep(&keep, &mut columns);
                }
            }
        }
        if !bad.is_empty() {
            let mut keep = vec![true; rows];
            self.leave_out(&mut keep, &mut bad);
            rows = self.keep(&keep, &mut columns);
        }
        let columns = columns.into_iter().flatten().collect();
        Ok(DataTable::from_parts(self.schema.clone(), columns, rows))
    }

    /// Takes the bad rows out and counts them.
    fn leave_out(&mut self, keep: &mut [bool], bad: &mut Vec<usize>) {
        bad.sort_unstable();
        bad.dedup();
        self.skipped += bad.len() as u64;
        bad.drain(..).for_each(|row| keep[row] = false);
    }

    /// Goes on with these rows only.
    fn keep(&mut self, keep: &[bool], columns: &mut [Option<Arc<Column>>]) -> usize {
        let rows: Vec<usize> = (0..keep.len()).filter(|&row| keep[row]).collect();
        for column in columns.iter_mut().flatten() {
            *column = Arc::new(column.gather(&rows));
        }
        for spans in &mut self.fields.spans {
            *spans = rows.iter().map(|&row| spans[row]).collect();
        }
        self.fields.starts = rows.iter().map(|&row| self.fields.starts[row]).collect();
        self.fields.rows = rows.len();
        rows.len()
    }

    #[cold]
    fn bad_field(&self, reader: &Reader<'_>, index: usize, row: usize) -> TaskError {
        let (name, kind) = &self.schema.0[index];
        let field = self.fields.spans[index][row].of(&reader.bytes);
        let at = locate(self.file, reader.offset + u64::from(self.fields.starts[row]));
        let shown = shortened(&String::from_utf8_lossy(field));
        TaskError::fatal(match kind {
            ColumnType::Text => format!(
                "{at}, column `{name}`: {shown:?} is not UTF-8; convert the file, for example with iconv"
            ),
            kind => format!(
                "{at}, column `{name}`: {shown:?} is no {kind}; if it means missing, say so with `.nulls([…])`, if the column holds something else, with `.column({name:?}, ColumnType::…)`, or leave such rows out with `.skip_bad_rows(true)`"
            ),
        })
    }
}

fn explain(fault: &Fault, schema: &Schema) -> String {
    let name = |column: usize| {
        schema.0.get(column).map_or_else(|| format!("{}", column + 1), |(name, _)| format!("`{name}`"))
    };
    match fault {
        Fault::Fields { found, expected } => {
            format!(": {found} fields instead of {expected}; `.skip_bad_rows(true)` leaves such rows out")
        }
        Fault::OpenQuote { column, at_end: true } => {
            format!(", column {}: a quote is not closed before the end of the file", name(*column))
        }
        Fault::OpenQuote { column, at_end: false } => format!(
            ", column {}: a quote is not closed on its line; if fields hold line ends, say `.quoted_newlines(true)`, if quotes are letters, `.quote(None)`",
            name(*column)
        ),
        Fault::AfterQuote { column } => format!(
            ", column {}: a closing quote is not followed by a delimiter; if quotes are letters, say `.quote(None)`",
            name(*column)
        ),
        Fault::StrayQuote { column } => format!(
            ", column {}: a quote stands within a field; where fields may hold line ends, that leaves open where rows end",
            name(*column)
        ),
        Fault::LongField { column } => format!(
            ", column {}: a field is longer than {TEXT_BYTES_MAX} bytes; is the delimiter or the quote another one?",
            name(*column)
        ),
    }
}

pub(super) fn header_fault(path: &str, bad: &BadRow) -> String {
    format!("{path}, header{}", explain(&bad.fault, &Schema::default()))
}

/// `path, line 12`, found by counting line ends up to there.
fn locate(file: &CsvFile, offset: u64) -> String {
    let unknown = format!("{}, byte {offset}", file.path);
    if offset > COUNTED_BYTES_MAX {
        return unknown;
    }
    let Ok(opened) = File::open(&file.path) else { return unknown };
    let mut piece = vec![0; PIECE];
    let (mut at, mut lines) = (0, 1);
    while at < offset {
        let room = (offset - at).min(PIECE as u64) as usize;
        match opened.read_at(&mut piece[..room], at) {
            Ok(0) | Err(_) => return unknown,
            Ok(count) => {
                lines += memchr::memchr_iter(b'\n', &piece[..count]).count();
                at += count as u64;
            }
        }
    }
    format!("{}, line {lines}", file.path)
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// Whether the number of quotes in a block is odd.
pub(crate) fn quote_parity(source: &CsvSource, block: u64) -> Result<bool, TaskError> {
    let number = source.files.partition_point(|file| file.first_block <= block).saturating_sub(1);
    let file = source.files.get(number).ok_or_else(|| TaskError::fatal("no such block of a file"))?;
    let start = (block - file.first_block) * source.block_bytes;
    let end = (start + source.block_bytes).min(file.length);
    let Dialect { quote: Some(quote), .. } = source.dialect else { return Ok(false) };
    let mut reader = Reader::open(file, start)?;
    let mut odd = false;
    while reader.offset < end {
        reader.fill(end)?;
        odd ^= memchr::memchr_iter(quote, &reader.bytes[..reader.filled]).count() % 2 == 1;
        reader.drop_front(reader.filled);
    }
    Ok(odd)
}
