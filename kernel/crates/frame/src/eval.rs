//! Owns computing resolved expressions over the rows of a table, a column at a time.

use std::{collections::HashSet, sync::Arc};

use crate::{
    column::{Column, ColumnType, Data, Span, Text, float_key},
    error::FrameError,
    expr::{Binary, Literal, Node, Part, TextOp, Unary},
    table::DataTable,
    time,
};

type Valid = Option<Vec<bool>>;

/// Computes `node` for every row. The node is resolved, so operands have the types that operations expect.
pub(crate) fn eval(node: &Node, table: &DataTable) -> Result<Arc<Column>, FrameError> {
    Ok(match node {
        Node::Column(name) => table.column(name)?.clone(),
        Node::Literal(literal) => Arc::new(constant(literal, table.rows)?),
        Node::Binary(op, a, b) => Arc::new(binary(node, *op, &*eval(a, table)?, &*eval(b, table)?)?),
        Node::Unary(op, a) => Arc::new(unary(node, *op, &*eval(a, table)?)?),
        Node::Text(op, a) => Arc::new(text(op, &*eval(a, table)?)?),
        Node::IsIn(a, list) => Arc::new(is_in(&*eval(a, table)?, list)),
        Node::Part(part, a) => Arc::new(part_of(*part, &*eval(a, table)?)?),
        Node::Cast(kind, a) => Arc::new(cast(node, *kind, &*eval(a, table)?)?),
        Node::FillNull(a, with) => {
            let a = eval(a, table)?;
            if a.valid.is_none() { a } else { Arc::new(fill(&a, with)?) }
        }
    })
}

/// The rows for which `node` is true; missing is not.
pub(crate) fn mask(node: &Node, table: &DataTable) -> Result<Vec<bool>, FrameError> {
    let column = eval(node, table)?;
    let Data::Bool(values) = &column.data else { return Err(odd()) };
    Ok(match &column.valid {
        None => values.clone(),
        Some(valid) => values.iter().zip(valid).map(|(&value, &valid)| value && valid).collect(),
    })
}

/// Cannot happen for resolved expressions over tables of the schema they were resolved for.
fn odd() -> FrameError {
    FrameError::Invalid("an expression met a column of another type than it was made for".to_owned())
}

fn constant(literal: &Literal, rows: usize) -> Result<Column, FrameError> {
    let data = match literal {
        Literal::Int(v) | Literal::Date(v) | Literal::Time(v) => Data::Int(vec![*v; rows]),
        Literal::Float(v) => Data::Float(vec![*v; rows]),
        Literal::Bool(v) => Data::Bool(vec![*v; rows]),
        Literal::Text(v) => Data::Text(Text::constant(v, rows)?),
    };
    Ok(Column { kind: literal.kind(), data, valid: None })
}

fn both(a: &Valid, b: &Valid) -> Valid {
    match (a, b) {
        (None, None) => None,
        (Some(valid), None) | (None, Some(valid)) => Some(valid.clone()),
        (Some(a), Some(b)) => Some(a.iter().zip(b).map(|(&a, &b)| a && b).collect()),
    }
}

fn binary(node: &Node, op: Binary, a: &Column, b: &Column) -> Result<Column, FrameError> {
    let valid = both(&a.valid, &b.valid);
    match (op, &a.data, &b.data) {
        (Binary::And | Binary::Or, Data::Bool(x), Data::Bool(y)) => {
            Ok(logic(op == Binary::Or, (a, x), (b, y)))
        }
        (
            Binary::Equal
            | Binary::NotEqual
            | Binary::Less
            | Binary::LessEqual
            | Binary::Greater
            | Binary::GreaterEqual,
            _,
            _,
        ) => {
            let values = match (&a.data, &b.data) {
                (Data::Int(a), Data::Int(b)) => compare(op, a, b),
                (Data::Float(a), Data::Float(b)) => compare(op, a, b),
                (Data::Bool(a), Data::Bool(b)) => compare(op, a, b),
                (Data::Text(a), Data::Text(b)) => {
                    (0..a.spans.len()).map(|row| holds(op, &a.get(row), &b.get(row))).collect()
                }
                _ => return Err(odd()),
            };
            Ok(Column { kind: ColumnType::Bool, data: Data::Bool(values), valid })
        }
        (_, Data::Float(x), Data::Float(y)) => {
            let each = |f: fn(f64, f64) -> f64| x.iter().zip(y).map(|(&a, &b)| f(a, b)).collect();
            let values = match op {
                Binary::Add => each(|a, b| a + b),
                Binary::Sub => each(|a, b| a - b),
                Binary::Mul => each(|a, b| a * b),
                Binary::Div => each(|a, b| a / b),
                // The sign of the divisor, as in Python.
                Binary::Rem => each(|a, b| {
                    let rest = a % b;
                    if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }
                }),
                _ => return Err(odd()),
            };
            Ok(Column { kind: ColumnType::Float64, data: Data::Float(values), valid })
        }
        (_, Data::Int(x), Data::Int(y)) => whole(node, op, x, y, valid),
        _ => Err(odd()),
    }
}

/// Arithmetic of integers. What overflows is an error, unless it is missing anyway.
fn whole(node: &Node, op: Binary, x: &[i64], y: &[i64], valid: Valid) -> Result<Column, FrameError> {
    let mut valid = valid;
    let operation: fn(i64, i64) -> Option<i64> = match op {
        Binary::Add => i64::checked_add,
        Binary::Sub => i64::checked_sub,
        Binary::Mul => i64::checked_mul,
        Binary::Rem => {
            // By 0 there is no rest.
            if y.contains(&0) {
                let valid = valid.get_or_insert_with(|| vec![true; x.len()]);
                valid.iter_mut().zip(y).filter(|(_, y)| **y == 0).for_each(|(valid, _)| *valid = false);
            }
            |a, b| match b {
                0 => Some(0),
                _ => {
                    let rest = a.wrapping_rem(b);
                    Some(if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })
                }
            }
        }
        _ => return Err(odd()),
    };
    let mut values = Vec::with_capacity(x.len());
    for (row, (&a, &b)) in x.iter().zip(y).enumerate() {
        match operation(a, b) {
            Some(value) => values.push(value),
            None if valid.as_ref().is_some_and(|valid| !valid[row]) => values.push(0),
            None => {
                return Err(FrameError::Types {
                    expression: node.to_string(),
                    message: format!(
                        "{a} and {b} give more than fits into int64; use `.cast(ColumnType::Float64)`"
                    ),
                });
            }
        }
    }
    Ok(Column::new(ColumnType::Int64, Data::Int(values), valid))
}

#[inline(always)]
fn holds<T: PartialOrd + ?Sized>(op: Binary, a: &T, b: &T) -> bool {
    match op {
        Binary::Equal => a == b,
        Binary::NotEqual => a != b,
        Binary::Less => a < b,
        Binary::LessEqual => a <= b,
        Binary::Greater => a > b,
        _ => a >= b,
    }
}

fn compare<T: PartialOrd>(op: Binary, a: &[T], b: &[T]) -> Vec<bool> {
    a.iter().zip(b).map(|(a, b)| holds(op, a, b)).collect()
}

/// And, or or: something missing counts only where the other side does not decide alone.
fn logic(or: bool, (a, x): (&Column, &[bool]), (b, y): (&Column, &[bool])) -> Column {
    let values: Vec<bool> = x.iter().zip(y).map(|(&x, &y)| if or { x || y } else { x && y }).collect();
    if a.valid.is_none() && b.valid.is_none() {
        return Column::bool(values);
    }
    let decides = |column: &Column, values: &[bool], row: usize| column.is_valid(row) && values[row] == or;
    let (mut result, mut valid) = (Vec::with_capacity(x.len()), Vec::with_capacity(x.len()));
    for row in 0..x.len() {
        let decided = decides(a, x, row) || decides(b, y, row);
        result.push(if decided { or } else { !or });
        valid.push(decided || (a.is_valid(row) && b.is_valid(row)));
    }
    Column::new(ColumnType::Bool, Data::Bool(result), Some(valid))
}

fn unary(node: &Node, op: Unary, a: &Column) -> Result<Column, FrameError> {
    let rows = a.len();
    let (kind, data) = match (op, &a.data) {
        (Unary::IsNull, _) => {
            return Ok(Column::bool((0..rows).map(|row| !a.is_valid(row)).collect()));
        }
        (Unary::Not, Data::Bool(v)) => (ColumnType::Bool, Data::Bool(v.iter().map(|v| !v).collect())),
        (Unary::Neg | Unary::Abs, Data::Int(v)) => {
            let operation = if op == Unary::Neg { i64::checked_neg } else { i64::checked_abs };
            let values: Option<Vec<i64>> = v
                .iter()
                .enumerate()
                .map(|(row, &v)| if a.is_valid(row) { operation(v) } else { Some(0) })
                .collect();
            let values = values.ok_or_else(|| FrameError::Types {
                expression: node.to_string(),
                message: format!("{} has no opposite in int64", i64::MIN),
            })?;
            (a.kind, Data::Int(values))
        }
        (Unary::FromUnix, Data::Int(v)) => {
            let mut values = Vec::with_capacity(rows);
            for (row, &v) in v.iter().enumerate() {
                values.push(if a.is_valid(row) {
                    seconds(node, v.checked_mul(time::SECOND), v as f64)?
                } else {
                    0
                });
            }
            (ColumnType::Time, Data::Int(values))
        }
        (Unary::FromUnix, Data::Float(v)) => {
            // NaN is no instant.
            let valid: Vec<bool> =
                v.iter().enumerate().map(|(row, v)| a.is_valid(row) && !v.is_nan()).collect();
            let mut values = Vec::with_capacity(rows);
            for (&v, &valid) in v.iter().zip(&valid) {
                values.push(if valid { seconds(node, whole_of((v * 1e6).round()), v)? } else { 0 });
            }
            return Ok(Column::new(ColumnType::Time, Data::Int(values), Some(valid)));
        }
        (op, Data::Float(v)) => {
            let operation: fn(f64) -> f64 = match op {
                Unary::Neg => |v| -v,
                Unary::Abs => f64::abs,
                Unary::Floor => f64::floor,
                Unary::Sqrt => f64::sqrt,
                Unary::Ln => f64::ln,
                Unary::Not | Unary::IsNull | Unary::FromUnix => return Err(odd()),
            };
            (ColumnType::Float64, Data::Float(v.iter().map(|&v| operation(v)).collect()))
        }
        _ => return Err(odd()),
    };
    Ok(Column { kind, data, valid: a.valid.clone() })
}

fn seconds(node: &Node, micros: Option<i64>, from: f64) -> Result<i64, FrameError> {
    micros.ok_or_else(|| FrameError::Types {
        expression: node.to_string(),
        message: format!("{from} seconds since 1970 are no date; are they milliseconds or nanoseconds?"),
    })
}

/// A float without fraction as an integer, if it is one.
fn whole_of(value: f64) -> Option<i64> {
    // The bounds are powers of two, so they are exact.
    (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value).then_some(value as i64)
}

fn text(op: &TextOp, a: &Column) -> Result<Column, FrameError> {
    let Data::Text(texts) = &a.data else { return Err(odd()) };
    let rows = texts.spans.len();
    let bools = |values: Vec<bool>| (ColumnType::Bool, Data::Bool(values));
    let (kind, data) = match op {
        TextOp::StartsWith(part) => {
            bools((0..rows).map(|r| texts.get(r).starts_with(part.as_bytes())).collect())
        }
        TextOp::EndsWith(part) => bools((0..rows).map(|r| texts.get(r).ends_with(part.as_bytes())).collect()),
        TextOp::Contains(part) => {
            let finder = memchr::memmem::Finder::new(part.as_bytes());
            bools((0..rows).map(|r| finder.find(texts.get(r)).is_some()).collect())
        }
        TextOp::Length => {
            let lengths = (0..rows).map(|r| letters(texts.get(r)) as i64).collect();
            (ColumnType::Int64, Data::Int(lengths))
        }
        TextOp::Slice { start, length } => {
            let spans = texts.spans.iter().map(|&span| cut(span, &texts.bytes, *start, *length)).collect();
            (ColumnType::Text, Data::Text(Text { bytes: texts.bytes.clone(), spans }))
        }
        TextOp::Lower | TextOp::Upper => {
            let mut made = Text::default();
            for row in 0..rows {
                let text = texts.str(row);
                let text = if *op == TextOp::Lower { text.to_lowercase() } else { text.to_uppercase() };
                made.push(text.as_bytes())?;
            }
            (ColumnType::Text, Data::Text(made))
        }
    };
    Ok(Column { kind, data, valid: a.valid.clone() })
}

fn letters(text: &[u8]) -> usize {
    // All but continuation bytes.
    text.iter().filter(|&&b| b & 0xc0 != 0x80).count()
}

fn cut(span: Span, bytes: &[u8], start: usize, length: usize) -> Span {
    let text = span.of(bytes);
    let (from, to) = if text[..text.len().min(start.saturating_add(length))].is_ascii() {
        (start.min(text.len()), start.saturating_add(length).min(text.len()))
    } else {
        let mut begins = (0..text.len()).filter(|&at| text[at] & 0xc0 != 0x80);
        let from = begins.nth(start).unwrap_or(text.len());
        // The letter at `from` is taken already.
        let to = match length {
            0 => from,
            length => begins.nth(length - 1).unwrap_or(text.len()),
        };
        (from, to)
    };
    // A part of a span is a span.
    Span::new(span.start() + from, span.start() + to.max(from)).unwrap_or_default()
}

fn is_in(a: &Column, list: &[Literal]) -> Column {
    let values = match &a.data {
        Data::Int(v) => {
            let set: HashSet<i64> = list
                .iter()
                .filter_map(|l| match l {
                    Literal::Int(v) | Literal::Date(v) | Literal::Time(v) => Some(*v),
                    _ => None,
                })
                .collect();
            v.iter().map(|v| set.contains(v)).collect()
        }
        Data::Float(v) => {
            let set: HashSet<u64> = list
                .iter()
                .filter_map(|l| match l {
                    Literal::Float(v) => Some(float_key(*v)),
                    _ => None,
                })
                .collect();
            v.iter().map(|&v| set.contains(&float_key(v))).collect()
        }
        Data::Bool(v) => v.iter().map(|&v| list.contains(&Literal::Bool(v))).collect(),
        Data::Text(v) => {
            let set: HashSet<&[u8]> = list
                .iter()
                .filter_map(|l| match l {
                    Literal::Text(text) => Some(text.as_bytes()),
                    _ => None,
                })
                .collect();
            (0..v.spans.len()).map(|row| set.contains(v.get(row))).collect()
        }
    };
    Column { kind: ColumnType::Bool, data: Data::Bool(values), valid: a.valid.clone() }
}

fn part_of(part: Part, a: &Column) -> Result<Column, FrameError> {
    let Data::Int(micros) = &a.data else { return Err(odd()) };
    fn each(micros: &[i64], part: impl Fn(i64) -> i64) -> Vec<i64> {
        micros.iter().map(|&micros| part(micros)).collect()
    }
    let values = match part {
        Part::Date => each(micros, |v| v.div_euclid(time::DAY)),
        Part::Year => each(micros, |v| time::civil(v.div_euclid(time::DAY)).0),
        Part::Month => each(micros, |v| time::civil(v.div_euclid(time::DAY)).1),
        Part::Day => each(micros, |v| time::civil(v.div_euclid(time::DAY)).2),
        Part::Hour => each(micros, |v| v.rem_euclid(time::DAY) / (3600 * time::SECOND)),
    };
    let kind = if part == Part::Date { ColumnType::Date } else { ColumnType::Int64 };
    Ok(Column { kind, data: Data::Int(values), valid: a.valid.clone() })
}

fn fill(a: &Column, with: &Literal) -> Result<Column, FrameError> {
    let Some(valid) = &a.valid else { return Ok(a.clone()) };
    let data = match (&a.data, with) {
        (Data::Int(v), Literal::Int(w) | Literal::Date(w) | Literal::Time(w)) => {
            Data::Int(v.iter().zip(valid).map(|(&v, &valid)| if valid { v } else { *w }).collect())
        }
        (Data::Float(v), Literal::Float(w)) => {
            Data::Float(v.iter().zip(valid).map(|(&v, &valid)| if valid { v } else { *w }).collect())
        }
        (Data::Bool(v), Literal::Bool(w)) => {
            Data::Bool(v.iter().zip(valid).map(|(&v, &valid)| if valid { v } else { *w }).collect())
        }
        (Data::Text(v), Literal::Text(w)) => {
            let mut text = Text::default();
            for (row, &valid) in valid.iter().enumerate() {
                text.push(if valid { v.get(row) } else { w.as_bytes() })?;
            }
            Data::Text(text)
        }
        _ => return Err(odd()),
    };
    Ok(Column { kind: a.kind, data, valid: None })
}

fn cast(node: &Node, to: ColumnType, a: &Column) -> Result<Column, FrameError> {
    let wrong = |row: usize| FrameError::Types {
        expression: node.to_string(),
        message: format!("{:?} is no {to}", a.show(row).unwrap_or_default()),
    };
    let valid = a.valid.clone();
    /// Elements that are there, each converted or an error; 0 for the others.
    fn each<T: Default>(
        a: &Column,
        wrong: impl Fn(usize) -> FrameError,
        convert: impl Fn(usize) -> Option<T>,
    ) -> Result<Vec<T>, FrameError> {
        let one =
            |row| if a.is_valid(row) { convert(row).ok_or_else(|| wrong(row)) } else { Ok(T::default()) };
        (0..a.len()).map(one).collect()
    }
    let data = match (&a.data, to) {
        (Data::Int(v), ColumnType::Float64) => Data::Float(v.iter().map(|&v| v as f64).collect()),
        (Data::Int(v), ColumnType::Time) => Data::Int(each(a, wrong, |row| v[row].checked_mul(time::DAY))?),
        (Data::Int(v), ColumnType::Date) => Data::Int(v.iter().map(|v| v.div_euclid(time::DAY)).collect()),
        (Data::Float(v), ColumnType::Int64) => Data::Int(each(a, wrong, |row| whole_of(v[row].trunc()))?),
        (Data::Bool(v), ColumnType::Int64) => Data::Int(v.iter().map(|&v| i64::from(v)).collect()),
        (Data::Bool(v), ColumnType::Float64) => {
            Data::Float(v.iter().map(|&v| f64::from(u8::from(v))).collect())
        }
        (Data::Text(v), _) => {
            let parse = crate::csv::parse::Value::parse;
            match to {
                ColumnType::Int64 | ColumnType::Date | ColumnType::Time => {
                    Data::Int(each(a, wrong, |row| {
                        parse(to, v.get(row).trim_ascii()).and_then(crate::csv::parse::Value::whole)
                    })?)
                }
                ColumnType::Float64 => Data::Float(each(a, wrong, |row| {
                    parse(to, v.get(row).trim_ascii()).and_then(crate::csv::parse::Value::float)
                })?),
                ColumnType::Bool => Data::Bool(each(a, wrong, |row| {
                    parse(to, v.get(row).trim_ascii()).and_then(crate::csv::parse::Value::truth)
                })?),
                ColumnType::Text => Data::Text(v.clone()),
            }
        }
        (_, ColumnType::Text) => {
            let mut made = Text::default();
            let mut text = String::new();
            for row in 0..a.len() {
                text.clear();
                if a.is_valid(row) {
                    a.write(row, &mut text);
                }
                made.push(text.as_bytes())?;
            }
            Data::Text(made)
        }
        _ => return Err(odd()),
    };
    Ok(Column { kind: to, data, valid })
}
