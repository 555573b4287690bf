//! Owns guessing what the columns of a file hold, from its beginning.

use std::{fs::File, io::Read, sync::Arc};

use super::{
    CsvFile, CsvOptions,
    parse::{Value, is_null, is_too_large},
    read::{BOM, header_fault},
    split::{Dialect, Fields, Input, PADDING, Splitter},
};
use crate::{column::ColumnType, error::FrameError, error::no_column, table::Schema};

const SAMPLE_BYTES: usize = 1 << 20;
/// A header may take so much.
const HEADER_BYTES_MAX: u64 = 64 << 20;

/// The header, if files have one, and names and types of the columns.
pub(super) fn infer(
    file: &CsvFile,
    dialect: &Dialect,
    options: &CsvOptions,
) -> Result<(Option<Vec<String>>, Schema), FrameError> {
    let io = |error: std::io::Error| FrameError::File { path: file.path.clone(), message: error.to_string() };
    let mut opened = File::open(&file.path).map_err(io)?;
    let mut sample = Vec::new();
    let mut size = SAMPLE_BYTES as u64;
    // A row longer than the sample needs a larger one.
    let (first, next, from) = loop {
        let more = size - sample.len() as u64;
        opened.by_ref().take(more).read_to_end(&mut sample).map_err(io)?;
        let is_end = sample.len() as u64 >= file.length || (sample.len() as u64) < size;
        let from = if sample.starts_with(BOM) { BOM.len() } else { 0 };
        let found = Splitter::first_row(dialect, &sample[from..], is_end);
        match found.map_err(|bad| FrameError::Contents(header_fault(&file.path, &bad)))? {
            Some((first, next)) => break (first, from + next, from),
            None if is_end => {
                return Err(FrameError::File {
                    path: file.path.clone(),
                    message: "it holds only empty lines, so its columns have no names".to_owned(),
                });
            }
            None if size >= HEADER_BYTES_MAX => {
                return Err(FrameError::File {
                    path: file.path.clone(),
                    message: format!("its first line is longer than {HEADER_BYTES_MAX} bytes"),
                });
            }
            None => size *= 4,
        }
    };
    let header = options.header.then(|| first.clone());
    let names = match (&options.names, &header) {
        (Some(names), _) if names.len() != first.len() => {
            return Err(FrameError::File {
                path: file.path.clone(),
                message: format!("it has {} columns, but {} names were given", first.len(), names.len()),
            });
        }
        (Some(names), _) => names.clone(),
        (None, Some(header)) => unique(header),
        (None, None) => (1..=first.len()).map(|n| format!("column_{n}")).collect(),
    };
    let rows = if header.is_some() { next } else { from };
    let is_end = sample.len() as u64 >= file.length;
    let kinds = kinds(sample, rows, is_end, dialect, names.len(), options);
    let mut schema = Schema(names.into_iter().zip(kinds).collect()).check()?;
    for (name, kind) in &options.columns {
        let known = schema.names();
        match schema.0.iter_mut().find(|(n, _)| n == name) {
            Some(column) => column.1 = *kind,
            None => return Err(no_column(name, &known)),
        }
    }
    Ok((header, schema))
}

/// Names that stand once each: a second `a` is `a_2`, one without letters `column_3`.
fn unique(header: &[String]) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(header.len());
    for (index, name) in header.iter().enumerate() {
        let base = if name.trim().is_empty() { format!("column_{}", index + 1) } else { name.clone() };
        let mut name = base.clone();
        let mut number = 2;
        while names.contains(&name) || (name != base && header.contains(&name)) {
            name = format!("{base}_{number}");
            number += 1;
        }
        names.push(name);
    }
    names
}

/// Tried in this order: the first that every field fits. What fits nothing, and a column of nothing, is text.
const TRIED: [ColumnType; 5] =
    [ColumnType::Int64, ColumnType::Float64, ColumnType::Bool, ColumnType::Date, ColumnType::Time];

fn kinds(
    mut sample: Vec<u8>,
    from: usize,
    is_end: bool,
    dialect: &Dialect,
    columns: usize,
    options: &CsvOptions,
) -> Vec<ColumnType> {
    let length = sample.len();
    sample.resize(length + PADDING, 0);
    let splitter = Splitter::new(dialect.clone(), columns, &(0..columns).collect::<Vec<_>>());
    let mut fields = Fields::default();
    let input = Input { bytes: &sample, length, limit: usize::MAX, is_end };
    // What is wrong with a row is said when rows are read.
    let _ = splitter.split(input, from, &mut fields);
    sample.extend_from_slice(&fields.side);
    let sample = Arc::new(sample);
    let guess = |spans: &Vec<crate::column::Span>| {
        let mut there = spans
            .iter()
            .map(|span| (span.of(&sample), span.is_quoted()))
            .filter(|(field, quoted)| !is_null(ColumnType::Int64, field, *quoted, &options.nulls))
            .peekable();
        if there.peek().is_none() {
            return ColumnType::Text;
        }
        let there: Vec<&[u8]> = there.map(|(field, _)| field.trim_ascii()).collect();
        let fits = |kind: ColumnType| {
            there.iter().all(|field| {
                Value::parse(kind, field).is_some() && !(kind == ColumnType::Float64 && is_too_large(field))
            })
        };
        TRIED.into_iter().find(|&kind| fits(kind)).unwrap_or(ColumnType::Text)
    };
    fields.spans.iter().map(guess).collect()
}
