//! Owns reading fields: from bytes to numbers, truths, dates and text, a column at a time.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    column::{Column, ColumnType, Data, Span, Text},
    time,
};

/// What a field may hold instead of a value, in all columns but those of text.
const NULLS: [&str; 14] =
    ["NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NAN", "-nan", "-NaN", "null", "NULL", "Null", "None", "<NA>"];

/// Which fields count as missing. An empty field always does, unless it is text and stands in quotes.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) enum Nulls {
    /// The usual spellings, in columns other than text.
    #[default]
    Usual,
    /// These, in columns of any type.
    These(Vec<String>),
}

impl Nulls {
    #[cold]
    fn has(&self, field: &[u8]) -> bool {
        match self {
            Nulls::Usual => NULLS.iter().any(|null| null.as_bytes() == field),
            Nulls::These(nulls) => nulls.iter().any(|null| null.as_bytes() == field),
        }
    }
}

/// A field that was read.
pub(crate) enum Value {
    /// Integers, days and microseconds.
    Whole(i64),
    Float(f64),
    Truth(bool),
    Text,
}

impl Value {
    /// `None` if the field holds no such value.
    pub(crate) fn parse(kind: ColumnType, field: &[u8]) -> Option<Value> {
        Some(match kind {
            ColumnType::Int64 => Value::Whole(integer(field)?),
            ColumnType::Float64 => Value::Float(float(field)?),
            ColumnType::Bool => Value::Truth(truth(field)?),
            ColumnType::Date => Value::Whole(time::parse_date(field)?),
            ColumnType::Time => Value::Whole(time::parse_time(field)?),
            ColumnType::Text => Value::Text,
        })
    }

    pub(crate) fn whole(self) -> Option<i64> {
        if let Value::Whole(value) = self { Some(value) } else { None }
    }

    pub(crate) fn float(self) -> Option<f64> {
        if let Value::Float(value) = self { Some(value) } else { None }
    }

    pub(crate) fn truth(self) -> Option<bool> {
        if let Value::Truth(value) = self { Some(value) } else { None }
    }
}

/// Decimal, with a sign if there is one.
#[inline(always)]
fn integer(field: &[u8]) -> Option<i64> {
    let (digits, negative) = match field {
        [b'-', rest @ ..] => (rest, true),
        [b'+', rest @ ..] => (rest, false),
        rest => (rest, false),
    };
    if digits.is_empty() {
        return None;
    }
    if digits.len() > 18 {
        // May not fit.
        return std::str::from_utf8(field).ok()?.parse().ok();
    }
    let mut value = 0_i64;
    for &digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if negative { -value } else { value })
}

#[inline(always)]
fn float(field: &[u8]) -> Option<f64> {
    fast_float2::parse(field).ok()
}

fn truth(field: &[u8]) -> Option<bool> {
    match field {
        b"true" | b"True" | b"TRUE" => Some(true),
        b"false" | b"False" | b"FALSE" => Some(false),
        _ => None,
    }
}

/// Whether a number is written as an integer that does not fit into one: as a float it would lose digits.
pub(crate) fn is_too_large(field: &[u8]) -> bool {
    let digits = field.strip_prefix(b"-").unwrap_or(field);
    digits.len() > 18 && digits.iter().all(u8::is_ascii_digit) && integer(field).is_none()
}

/// Whether a field is missing, for a column of that type.
pub(crate) fn is_null(kind: ColumnType, field: &[u8], quoted: bool, nulls: &Nulls) -> bool {
    if kind == ColumnType::Text {
        let is_empty = field.is_empty() && !quoted;
        return is_empty || (matches!(nulls, Nulls::These(_)) && !quoted && nulls.has(field));
    }
    let field = field.trim_ascii();
    field.is_empty() || nulls.has(field)
}

/// Reads a column's fields. A field that is no such value adds its row to `bad` and counts as missing.
pub(crate) fn column(
    kind: ColumnType,
    bytes: &Arc<Vec<u8>>,
    spans: &[Span],
    nulls: &Nulls,
    bad: &mut Vec<usize>,
) -> Column {
    match kind {
        ColumnType::Int64 => {
            let (values, valid) = fields(kind, bytes, spans, nulls, bad, integer);
            Column { kind, data: Data::Int(values), valid }
        }
        ColumnType::Date => {
            let (values, valid) = fields(kind, bytes, spans, nulls, bad, time::parse_date);
            Column { kind, data: Data::Int(values), valid }
        }
        ColumnType::Time => {
            let (values, valid) = fields(kind, bytes, spans, nulls, bad, time::parse_time);
            Column { kind, data: Data::Int(values), valid }
        }
        ColumnType::Float64 => {
            let (values, valid) = fields(kind, bytes, spans, nulls, bad, float);
            Column { kind, data: Data::Float(values), valid }
        }
        ColumnType::Bool => {
            let (values, valid) = fields(kind, bytes, spans, nulls, bad, truth);
            Column { kind, data: Data::Bool(values), valid }
        }
        ColumnType::Text => {
            let checks = matches!(nulls, Nulls::These(_));
            let missing = |span: &Span| {
                (span.len() == 0 || checks) && is_null(kind, span.of(bytes), span.is_quoted(), nulls)
            };
            let valid = spans.iter().any(missing).then(|| spans.iter().map(|span| !missing(span)).collect());
            Column { kind, data: Data::Text(Text { bytes: bytes.clone(), spans: spans.to_vec() }), valid }
        }
    }
}

#[inline(always)]
fn fields<T: Copy + Default>(
    kind: ColumnType,
    bytes: &[u8],
    spans: &[Span],
    nulls: &Nulls,
    bad: &mut Vec<usize>,
    parse: impl Fn(&[u8]) -> Option<T>,
) -> (Vec<T>, Option<Vec<bool>>) {
    let mut values = Vec::with_capacity(spans.len());
    let mut valid: Option<Vec<bool>> = None;
    for (row, span) in spans.iter().enumerate() {
        let field = span.of(bytes);
        // Numbers first: of all spellings of nothing, none reads as a number but those of NaN.
        let value = parse(field).or_else(|| parse(field.trim_ascii()));
        match value {
            Some(value) if !(kind == ColumnType::Float64 && is_word(field)) => values.push(value),
            found => {
                let is_null = is_null(kind, field, span.is_quoted(), nulls);
                if is_null || found.is_none() {
                    valid.get_or_insert_with(|| vec![true; spans.len()])[row] = false;
                    values.push(T::default());
                    if !is_null {
                        bad.push(row);
                    }
                } else {
                    values.push(found.unwrap_or_default());
                }
            }
        }
    }
    (values, valid)
}

/// Whether a float is a word, such as `nan` or `inf`: rare, and then it may mean missing.
#[inline(always)]
fn is_word(field: &[u8]) -> bool {
    field.last().is_some_and(|b| b.is_ascii_alphabetic())
}
