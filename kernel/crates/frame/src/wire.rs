//! Owns tables on their way: names, types and lengths in a header, elements as they lie in memory.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use nuna_plan::{TaskError, Value};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    column::{Column, ColumnType, Data, Span, Text},
    table::{DataTable, Schema},
};

#[derive(Serialize, Deserialize)]
struct Head {
    rows: u64,
    columns: Vec<ColumnHead>,
}

#[derive(Serialize, Deserialize)]
struct ColumnHead {
    name: String,
    kind: ColumnType,
    has_missing: bool,
    text_bytes: u64,
}

/// Several tables as one value, and how many rows were left out of them.
pub(crate) fn to_value(tables: &[DataTable], skipped: u64) -> Result<Value, TaskError> {
    let heads: Vec<Head> = tables.iter().map(Head::of).collect();
    let room = heads.iter().try_fold(0_usize, |sum, head| sum.checked_add(head.byte_count()?));
    let mut body = Vec::with_capacity(room.ok_or_else(|| TaskError::fatal("a table is too large"))?);
    for column in tables.iter().flat_map(|table| &table.columns) {
        match &column.data {
            Data::Int(v) => v.iter().for_each(|v| body.extend_from_slice(&v.to_le_bytes())),
            Data::Float(v) => v.iter().for_each(|v| body.extend_from_slice(&v.to_le_bytes())),
            Data::Bool(v) => body.extend(v.iter().map(|&v| u8::from(v))),
            Data::Text(text) => {
                let lengths = text.spans.iter().map(|span| span.len() as u32);
                lengths.for_each(|length| body.extend_from_slice(&length.to_le_bytes()));
                text.spans.iter().for_each(|span| body.extend_from_slice(span.of(&text.bytes)));
            }
        }
        if let Some(valid) = &column.valid {
            body.extend(valid.iter().map(|&v| u8::from(v)));
        }
    }
    let header =
        postcard::to_stdvec(&(skipped, heads)).map_err(|error| TaskError::fatal(error.to_string()))?;
    Ok(Value { header: header.into(), body: body.into() })
}

/// What [`to_value`] made.
pub(crate) fn from_value(value: &Value) -> Result<(Vec<DataTable>, u64), TaskError> {
    some_of_value(value, 0..usize::MAX)
}

/// Some of the tables that [`to_value`] was given, and how many rows were left out of all.
pub(crate) fn some_of_value(value: &Value, tables: Range<usize>) -> Result<(Vec<DataTable>, u64), TaskError> {
    let read = read(&value.header, &value.body, tables);
    read.ok_or_else(|| TaskError::fatal("a block of a table cannot be read"))
}

/// One of the tables of a value, as a value of its own. Rows that were left out count with the first one.
pub(crate) fn nth_table(value: &Value, number: usize) -> Result<Value, TaskError> {
    nth(value, number).ok_or_else(|| TaskError::fatal("a part of a block of a table cannot be read"))
}

fn nth(value: &Value, number: usize) -> Option<Value> {
    let (skipped, heads): (u64, Vec<Head>) = postcard::from_bytes(&value.header).ok()?;
    let mut start = 0_usize;
    for (index, head) in heads.into_iter().enumerate() {
        let end = start.checked_add(head.byte_count()?)?;
        if index == number {
            let skipped = if number == 0 { skipped } else { 0 };
            let header = postcard::to_stdvec(&(skipped, vec![head])).ok()?;
            // A copy, so that the others can be freed.
            let body = Bytes::copy_from_slice(value.body.get(start..end)?);
            return Some(Value { header: header.into(), body });
        }
        start = end;
    }
    None
}

impl Head {
    fn of(table: &DataTable) -> Self {
        let one = |((name, kind), column): (&(String, ColumnType), &Arc<Column>)| ColumnHead {
            name: name.clone(),
            kind: *kind,
            has_missing: column.valid.is_some(),
            text_bytes: match &column.data {
                Data::Text(text) => text.spans.iter().map(|span| span.len() as u64).sum(),
                Data::Int(_) | Data::Float(_) | Data::Bool(_) => 0,
            },
        };
        let columns = table.schema.0.iter().zip(&table.columns).map(one).collect();
        Head { rows: table.rows as u64, columns }
    }

    /// What its elements take.
    fn byte_count(&self) -> Option<usize> {
        let rows = usize::try_from(self.rows).ok()?;
        self.columns.iter().try_fold(0_usize, |sum, column| {
            let elements = match column.kind {
                ColumnType::Int64 | ColumnType::Float64 | ColumnType::Date | ColumnType::Time => {
                    rows.checked_mul(8)?
                }
                ColumnType::Bool => rows,
                ColumnType::Text => {
                    rows.checked_mul(4)?.checked_add(usize::try_from(column.text_bytes).ok()?)?
                }
            };
            sum.checked_add(elements)?.checked_add(if column.has_missing { rows } else { 0 })
        })
    }
}

/// Takes so many bytes off the front.
fn take<'a>(body: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = body.split_at_checked(count)?;
    *body = rest;
    Some(taken)
}

fn words<T>(body: &mut &[u8], rows: usize, word: impl Fn([u8; 8]) -> T) -> Option<Vec<T>> {
    let bytes = take(body, rows.checked_mul(8)?)?;
    Some(bytes.chunks_exact(8).filter_map(|b| b.try_into().ok()).map(word).collect())
}

fn truths(body: &mut &[u8], rows: usize) -> Option<Vec<bool>> {
    Some(take(body, rows)?.iter().map(|&b| b != 0).collect())
}

fn read(header: &[u8], mut body: &[u8], wanted: Range<usize>) -> Option<(Vec<DataTable>, u64)> {
    let (skipped, heads): (u64, Vec<Head>) = postcard::from_bytes(header).ok()?;
    let mut tables = Vec::with_capacity(heads.len());
    for (number, head) in heads.into_iter().enumerate() {
        if !wanted.contains(&number) {
            take(&mut body, head.byte_count()?)?;
            continue;
        }
        let rows = usize::try_from(head.rows).ok()?;
        let mut columns = Vec::with_capacity(head.columns.len());
        let mut schema = Vec::with_capacity(head.columns.len());
        for column in head.columns {
            let data = match column.kind {
                ColumnType::Int64 | ColumnType::Date | ColumnType::Time => {
                    Data::Int(words(&mut body, rows, i64::from_le_bytes)?)
                }
                ColumnType::Float64 => Data::Float(words(&mut body, rows, f64::from_le_bytes)?),
                ColumnType::Bool => Data::Bool(truths(&mut body, rows)?),
                ColumnType::Text => {
                    let lengths = take(&mut body, rows.checked_mul(4)?)?;
                    let bytes = take(&mut body, usize::try_from(column.text_bytes).ok()?)?;
                    let mut spans = Vec::with_capacity(rows);
                    let mut start = 0_usize;
                    for length in lengths.chunks_exact(4).filter_map(|b| b.try_into().ok()) {
                        let end = start.checked_add(u32::from_le_bytes(length) as usize)?;
                        spans.push(Span::new(start, end)?);
                        start = end;
                    }
                    (start == bytes.len()).then_some(())?;
                    Data::Text(Text { bytes: Arc::new(bytes.to_vec()), spans })
                }
            };
            let valid = if column.has_missing { Some(truths(&mut body, rows)?) } else { None };
            columns.push(Arc::new(Column { kind: column.kind, data, valid }));
            schema.push((column.name, column.kind));
        }
        tables.push(DataTable::from_parts(Arc::new(Schema(schema)), columns, rows));
    }
    body.is_empty().then_some((tables, skipped))
}

impl Serialize for DataTable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = to_value(std::slice::from_ref(self), self.skipped).map_err(serde::ser::Error::custom)?;
        (value.header, value.body).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for DataTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (header, body) = <(Bytes, Bytes)>::deserialize(deserializer)?;
        let (mut tables, skipped) = from_value(&Value { header, body }).map_err(D::Error::custom)?;
        match (tables.pop(), tables.is_empty()) {
            (Some(table), true) => Ok(DataTable { skipped, ..table }),
            _ => Err(D::Error::custom("not one table")),
        }
    }
}
