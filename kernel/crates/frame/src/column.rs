//! Owns columns in memory: a type, elements in one of four layouts, and which of them are missing.

use std::{cmp::Ordering, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{error::FrameError, time};

/// What the elements of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ColumnType {
    Int64,
    Float64,
    Bool,
    /// UTF-8.
    Text,
    /// A day of the proleptic Gregorian calendar.
    Date,
    /// An instant in UTC, to the microsecond.
    Time,
}

impl ColumnType {
    pub fn name(self) -> &'static str {
        match self {
            ColumnType::Int64 => "int64",
            ColumnType::Float64 => "float64",
            ColumnType::Bool => "bool",
            ColumnType::Text => "text",
            ColumnType::Date => "date",
            ColumnType::Time => "time",
        }
    }

    pub(crate) fn is_number(self) -> bool {
        matches!(self, ColumnType::Int64 | ColumnType::Float64)
    }
}

impl std::fmt::Display for ColumnType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

const LENGTH_BITS: u32 = 24;
const QUOTED: u64 = 1 << 63;

/// A text longer than this is refused, so that a place in a buffer fits into 8 bytes.
pub(crate) const TEXT_BYTES_MAX: usize = (1 << LENGTH_BITS) - 1;

/// Where in a buffer an element's bytes are, and whether it stood in quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Span(u64);

impl Span {
    /// `None` if it is longer than [`TEXT_BYTES_MAX`], or begins beyond 512 GiB.
    #[inline(always)]
    pub(crate) fn new(start: usize, end: usize) -> Option<Self> {
        let length = end - start;
        (length <= TEXT_BYTES_MAX && start < 1 << 39)
            .then_some(Span((start as u64) << LENGTH_BITS | length as u64))
    }

    pub(crate) fn quoted(self) -> Self {
        Span(self.0 | QUOTED)
    }

    pub(crate) fn is_quoted(self) -> bool {
        self.0 & QUOTED != 0
    }

    #[inline(always)]
    pub(crate) fn len(self) -> usize {
        (self.0 & TEXT_BYTES_MAX as u64) as usize
    }

    #[inline(always)]
    pub(crate) fn start(self) -> usize {
        ((self.0 & !QUOTED) >> LENGTH_BITS) as usize
    }

    #[inline(always)]
    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start()..self.start() + self.len()]
    }
}

/// Texts, each a part of one buffer. Cutting, filtering and sorting move places, not letters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text {
    pub(crate) bytes: Arc<Vec<u8>>,
    pub(crate) spans: Vec<Span>,
}

impl Text {
    #[inline(always)]
    pub(crate) fn get(&self, row: usize) -> &[u8] {
        self.spans[row].of(&self.bytes)
    }

    /// As text; the bytes were checked when they came in.
    pub(crate) fn str(&self, row: usize) -> &str {
        std::str::from_utf8(self.get(row)).unwrap_or("\u{fffd}")
    }

    /// The same text for `rows` rows.
    pub(crate) fn constant(text: &str, rows: usize) -> Result<Self, FrameError> {
        let span = Span::new(0, text.len()).ok_or_else(|| too_long(text.len()))?;
        Ok(Text { bytes: Arc::new(text.as_bytes().to_vec()), spans: vec![span; rows] })
    }

    pub(crate) fn push(&mut self, text: &[u8]) -> Result<(), FrameError> {
        // Copies what others still read, which only the first push can meet.
        let bytes = Arc::make_mut(&mut self.bytes);
        let start = bytes.len();
        let span = Span::new(start, start + text.len()).ok_or_else(|| too_long(text.len()))?;
        bytes.extend_from_slice(text);
        self.spans.push(span);
        Ok(())
    }

    fn append(&mut self, other: &Text) -> Result<(), FrameError> {
        if self.spans.is_empty() {
            self.bytes = Arc::default();
        }
        let bytes = Arc::make_mut(&mut self.bytes);
        self.spans.reserve(other.spans.len());
        for span in &other.spans {
            let text = span.of(&other.bytes);
            let start = bytes.len();
            self.spans.push(Span::new(start, start + text.len()).ok_or_else(|| too_long(text.len()))?);
            bytes.extend_from_slice(text);
        }
        Ok(())
    }
}

fn too_long(length: usize) -> FrameError {
    FrameError::Invalid(format!(
        "a text of {length} bytes is longer than a table can hold, or all texts of a column are larger than 512 GiB; the limit of one is {TEXT_BYTES_MAX}"
    ))
}

/// Elements as they lie in memory. Dates are days and times microseconds since 1970.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    Int(Vec<i64>),
    Float(Vec<f64>),
    Bool(Vec<bool>),
    Text(Text),
}

/// One column. What a missing element holds has no meaning.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) kind: ColumnType,
    pub(crate) data: Data,
    /// `None`: none is missing.
    pub(crate) valid: Option<Vec<bool>>,
}

impl Column {
    pub(crate) fn new(kind: ColumnType, data: Data, valid: Option<Vec<bool>>) -> Self {
        let valid = valid.filter(|valid| valid.iter().any(|v| !v));
        Column { kind, data, valid }
    }

    pub(crate) fn empty(kind: ColumnType) -> Self {
        let data = match kind {
            ColumnType::Int64 | ColumnType::Date | ColumnType::Time => Data::Int(Vec::new()),
            ColumnType::Float64 => Data::Float(Vec::new()),
            ColumnType::Bool => Data::Bool(Vec::new()),
            ColumnType::Text => Data::Text(Text::default()),
        };
        Column { kind, data, valid: None }
    }

    pub(crate) fn int(values: Vec<i64>) -> Self {
        Column { kind: ColumnType::Int64, data: Data::Int(values), valid: None }
    }

    pub(crate) fn float(values: Vec<f64>) -> Self {
        Column { kind: ColumnType::Float64, data: Data::Float(values), valid: None }
    }

    pub(crate) fn bool(values: Vec<bool>) -> Self {
        Column { kind: ColumnType::Bool, data: Data::Bool(values), valid: None }
    }

    pub(crate) fn len(&self) -> usize {
        match &self.data {
            Data::Int(v) => v.len(),
            Data::Float(v) => v.len(),
            Data::Bool(v) => v.len(),
            Data::Text(v) => v.spans.len(),
        }
    }

    #[inline(always)]
    pub(crate) fn is_valid(&self, row: usize) -> bool {
        self.valid.as_ref().is_none_or(|valid| valid[row])
    }

    pub(crate) fn missing_count(&self) -> usize {
        self.valid.as_ref().map_or(0, |valid| valid.iter().filter(|v| !**v).count())
    }

    /// Rows in this order; a row may come several times. `None` makes a missing element.
    pub(crate) fn gather_or(&self, rows: &[Option<usize>]) -> Column {
        if self.len() == 0 {
            let mut none = Column::empty(self.kind);
            none.append_missing(rows.len());
            return none;
        }
        let at: Vec<usize> = rows.iter().map(|row| row.unwrap_or(0)).collect();
        let mut gathered = self.gather(&at);
        if rows.iter().any(Option::is_none) {
            let valid = rows.iter().map(|row| row.is_some_and(|row| self.is_valid(row))).collect();
            gathered.valid = Some(valid);
        }
        gathered
    }

    /// Rows in this order.
    pub(crate) fn gather(&self, rows: &[usize]) -> Column {
        let data = match &self.data {
            Data::Int(v) => Data::Int(rows.iter().map(|&row| v[row]).collect()),
            Data::Float(v) => Data::Float(rows.iter().map(|&row| v[row]).collect()),
            Data::Bool(v) => Data::Bool(rows.iter().map(|&row| v[row]).collect()),
            Data::Text(v) => Data::Text(Text {
                bytes: v.bytes.clone(),
                spans: rows.iter().map(|&row| v.spans[row]).collect(),
            }),
        };
        let valid = self.valid.as_ref().map(|valid| rows.iter().map(|&row| valid[row]).collect());
        Column::new(self.kind, data, valid)
    }

    /// The same column, holding no letters that are not its own.
    pub(crate) fn compact(&self) -> Result<Column, FrameError> {
        let mut column = Column::empty(self.kind);
        column.append(self)?;
        Ok(column)
    }

    /// Adds the rows of a column of the same type.
    pub(crate) fn append(&mut self, other: &Column) -> Result<(), FrameError> {
        let (rows, more) = (self.len(), other.len());
        if self.valid.is_some() || other.valid.is_some() {
            let valid = self.valid.get_or_insert_with(|| vec![true; rows]);
            match &other.valid {
                Some(other) => valid.extend_from_slice(other),
                None => valid.resize(rows + more, true),
            }
        }
        match (&mut self.data, &other.data) {
            (Data::Int(a), Data::Int(b)) => a.extend_from_slice(b),
            (Data::Float(a), Data::Float(b)) => a.extend_from_slice(b),
            (Data::Bool(a), Data::Bool(b)) => a.extend_from_slice(b),
            (Data::Text(a), Data::Text(b)) => a.append(b)?,
            _ => {
                return Err(FrameError::Invalid(format!(
                    "a column of {} cannot follow one of {}",
                    other.kind, self.kind
                )));
            }
        }
        Ok(())
    }

    pub(crate) fn append_missing(&mut self, count: usize) {
        let rows = self.len();
        match &mut self.data {
            Data::Int(v) => v.resize(rows + count, 0),
            Data::Float(v) => v.resize(rows + count, f64::NAN),
            Data::Bool(v) => v.resize(rows + count, false),
            Data::Text(v) => v.spans.resize(rows + count, Span::default()),
        }
        self.valid.get_or_insert_with(|| vec![true; rows]).resize(rows + count, false);
    }

    /// Whether two rows are one group: missing equals missing, NaN equals NaN, 0.0 equals -0.0.
    #[inline(always)]
    pub(crate) fn same(&self, row: usize, other: &Column, other_row: usize) -> bool {
        if self.valid.is_some() || other.valid.is_some() {
            match (self.is_valid(row), other.is_valid(other_row)) {
                (true, true) => {}
                (a, b) => return a == b,
            }
        }
        match (&self.data, &other.data) {
            (Data::Int(a), Data::Int(b)) => a[row] == b[other_row],
            (Data::Float(a), Data::Float(b)) => float_key(a[row]) == float_key(b[other_row]),
            (Data::Bool(a), Data::Bool(b)) => a[row] == b[other_row],
            (Data::Text(a), Data::Text(b)) => a.get(row) == b.get(other_row),
            _ => false,
        }
    }

    /// Order for sorting: NaN after all numbers, missing after everything.
    pub(crate) fn order(&self, row: usize, other: usize) -> Ordering {
        match (self.is_valid(row), self.is_valid(other)) {
            (true, true) => self.order_valid(row, other),
            (a, b) => b.cmp(&a),
        }
    }

    /// The other way round, but NaN and what is missing still come last.
    pub(crate) fn order_descending(&self, row: usize, other: usize) -> Ordering {
        if !self.is_valid(row) || !self.is_valid(other) {
            return self.order(row, other);
        }
        match &self.data {
            Data::Float(v) if v[row].is_nan() || v[other].is_nan() => float_order(v[row], v[other]),
            _ => self.order_valid(other, row),
        }
    }

    /// Order of two elements that are there.
    fn order_valid(&self, row: usize, other: usize) -> Ordering {
        match &self.data {
            Data::Int(v) => v[row].cmp(&v[other]),
            Data::Float(v) => float_order(v[row], v[other]),
            Data::Bool(v) => v[row].cmp(&v[other]),
            Data::Text(v) => v.get(row).cmp(v.get(other)),
        }
    }

    /// One element as text, as it is shown and written; `None` if it is missing.
    pub(crate) fn show(&self, row: usize) -> Option<String> {
        if !self.is_valid(row) {
            return None;
        }
        let mut text = String::new();
        self.write(row, &mut text);
        Some(text)
    }

    /// Appends an element that is there.
    pub(crate) fn write(&self, row: usize, out: &mut String) {
        use std::fmt::Write;
        // Writing to a `String` cannot fail.
        let _ = match &self.data {
            Data::Int(v) => match self.kind {
                ColumnType::Date => {
                    time::write_date(v[row], out);
                    Ok(())
                }
                ColumnType::Time => {
                    time::write_time(v[row], out);
                    Ok(())
                }
                _ => write!(out, "{}", v[row]),
            },
            // Shortest that reads back as the same number, with an exponent where that is shorter.
            Data::Float(v) => write!(out, "{:?}", v[row]),
            Data::Bool(v) => write!(out, "{}", v[row]),
            Data::Text(v) => out.write_str(v.str(row)),
        };
    }

    /// Adds each row's element to its hash.
    pub(crate) fn hash_into(&self, hashes: &mut [u64]) {
        match &self.data {
            Data::Int(v) => self.hash_each(hashes, |row| v[row] as u64),
            Data::Float(v) => self.hash_each(hashes, |row| float_key(v[row])),
            Data::Bool(v) => self.hash_each(hashes, |row| u64::from(v[row])),
            Data::Text(v) => self.hash_each(hashes, |row| hash_bytes(v.get(row))),
        }
    }

    #[inline(always)]
    fn hash_each(&self, hashes: &mut [u64], value: impl Fn(usize) -> u64) {
        match &self.valid {
            None => hashes.iter_mut().enumerate().for_each(|(row, hash)| *hash = mix(*hash, value(row))),
            Some(valid) => {
                for (row, (hash, &is_valid)) in hashes.iter_mut().zip(valid).enumerate() {
                    *hash = mix(*hash, if is_valid { value(row) } else { MISSING });
                }
            }
        }
    }
}

const MISSING: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline(always)]
pub(crate) fn mix(hash: u64, value: u64) -> u64 {
    // Added, so that a value equal to the hash does not make 0 of both.
    let product = u128::from((hash ^ value).wrapping_add(0xe703_7ed1_a0b4_28db)) * 0xa076_1d64_78bd_642f;
    (product >> 64) as u64 ^ product as u64
}

/// Short keys are the rule: two overlapping reads cover up to 16 bytes.
#[inline(always)]
pub(crate) fn hash_bytes(bytes: &[u8]) -> u64 {
    let length = bytes.len();
    let word =
        |at: usize| bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
    let half =
        |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
    let seed = length as u64 ^ 0x243f_6a88_85a3_08d3;
    match length {
        0 => seed,
        1..4 => {
            let (a, b, c) = (bytes[0], bytes[length / 2], bytes[length - 1]);
            mix(seed, u64::from(a) << 16 | u64::from(b) << 8 | u64::from(c))
        }
        4..8 => mix(seed, u64::from(half(0)) << 32 | u64::from(half(length - 4))),
        8..=16 => mix(mix(seed, word(0)), word(length - 8)),
        _ => {
            let mut hash = seed;
            let mut at = 0;
            while at + 8 < length {
                hash = mix(hash, word(at));
                at += 8;
            }
            mix(hash, word(length - 8))
        }
    }
}

/// The same for numbers that are one key.
#[inline(always)]
pub(crate) fn float_key(value: f64) -> u64 {
    if value.is_nan() {
        f64::NAN.to_bits()
    } else {
        // -0.0 + 0.0 is 0.0.
        (value + 0.0).to_bits()
    }
}

pub(crate) fn float_order(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}
