//! Owns expressions as they are computed: what there is, what type each has, and how they read in messages.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{column::ColumnType, error::FrameError, table::Schema, time};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Node {
    Column(String),
    Literal(Literal),
    Binary(Binary, Arc<Node>, Arc<Node>),
    Unary(Unary, Arc<Node>),
    Text(TextOp, Arc<Node>),
    IsIn(Arc<Node>, Vec<Literal>),
    Part(Part, Arc<Node>),
    Cast(ColumnType, Arc<Node>),
    FillNull(Arc<Node>, Literal),
}

/// A value that stands in an expression.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Literal {
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    /// Days since 1970.
    Date(i64),
    /// Microseconds since 1970.
    Time(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    And,
    Or,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Unary {
    Neg,
    Not,
    Abs,
    Floor,
    Sqrt,
    Ln,
    IsNull,
    FromUnix,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum TextOp {
    StartsWith(String),
    EndsWith(String),
    Contains(String),
    Slice { start: usize, length: usize },
    Length,
    Lower,
    Upper,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Part {
    Year,
    Month,
    Day,
    Hour,
    Date,
}

impl Literal {
    pub(crate) fn kind(&self) -> ColumnType {
        match self {
            Literal::Int(_) => ColumnType::Int64,
            Literal::Float(_) => ColumnType::Float64,
            Literal::Bool(_) => ColumnType::Bool,
            Literal::Text(_) => ColumnType::Text,
            Literal::Date(_) => ColumnType::Date,
            Literal::Time(_) => ColumnType::Time,
        }
    }

    /// The same as another type, if it means that: integers as floats, text as dates.
    fn becoming(&self, kind: ColumnType) -> Option<Literal> {
        Some(match (self, kind) {
            (literal, kind) if literal.kind() == kind => literal.clone(),
            (Literal::Int(v), ColumnType::Float64) => Literal::Float(*v as f64),
            (Literal::Text(text), ColumnType::Date) => Literal::Date(time::parse_date(text.as_bytes())?),
            (Literal::Text(text), ColumnType::Time) => Literal::Time(time::parse_time(text.as_bytes())?),
            (Literal::Date(day), ColumnType::Time) => Literal::Time(day.checked_mul(time::DAY)?),
            _ => return None,
        })
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        match self {
            Literal::Int(v) => return write!(f, "{v}"),
            Literal::Float(v) => return write!(f, "{v:?}"),
            Literal::Bool(v) => return write!(f, "{v}"),
            Literal::Text(v) => return write!(f, "{v:?}"),
            Literal::Date(v) => time::write_date(*v, &mut text),
            Literal::Time(v) => time::write_time(*v, &mut text),
        }
        f.write_str(&text)
    }
}

impl Binary {
    fn sign(self) -> &'static str {
        match self {
            Binary::Add => "+",
            Binary::Sub => "-",
            Binary::Mul => "*",
            Binary::Div => "/",
            Binary::Rem => "%",
            Binary::Equal => "==",
            Binary::NotEqual => "!=",
            Binary::Less => "<",
            Binary::LessEqual => "<=",
            Binary::Greater => ">",
            Binary::GreaterEqual => ">=",
            Binary::And => "&",
            Binary::Or => "|",
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Column(name) => f.write_str(name),
            Node::Literal(literal) => write!(f, "{literal}"),
            Node::Binary(op, a, b) => write!(f, "({a} {} {b})", op.sign()),
            Node::Unary(Unary::Neg, a) => write!(f, "-{a}"),
            Node::Unary(Unary::Not, a) => write!(f, "!{a}"),
            Node::Unary(op, a) => write!(f, "{a}.{}()", format!("{op:?}").to_lowercase()),
            Node::Text(TextOp::StartsWith(t), a) => write!(f, "{a}.starts_with({t:?})"),
            Node::Text(TextOp::EndsWith(t), a) => write!(f, "{a}.ends_with({t:?})"),
            Node::Text(TextOp::Contains(t), a) => write!(f, "{a}.contains({t:?})"),
            Node::Text(TextOp::Slice { start, length }, a) => write!(f, "{a}.slice({start}, {length})"),
            Node::Text(op, a) => write!(f, "{a}.{}()", format!("{op:?}").to_lowercase()),
            Node::IsIn(a, list) => {
                let list: Vec<String> = list.iter().take(4).map(ToString::to_string).collect();
                write!(f, "{a}.is_in([{}])", list.join(", "))
            }
            Node::Part(part, a) => write!(f, "{a}.{}()", format!("{part:?}").to_lowercase()),
            Node::Cast(kind, a) => write!(f, "{a}.cast({kind})"),
            Node::FillNull(a, with) => write!(f, "{a}.fillna({with})"),
        }
    }
}

impl Node {
    pub(crate) fn columns(&self, names: &mut Vec<String>) {
        match self {
            Node::Column(name) => {
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
            Node::Literal(_) => {}
            Node::Binary(_, a, b) => {
                a.columns(names);
                b.columns(names);
            }
            Node::Unary(_, a)
            | Node::Text(_, a)
            | Node::IsIn(a, _)
            | Node::Part(_, a)
            | Node::Cast(_, a)
            | Node::FillNull(a, _) => a.columns(names),
        }
    }

    /// The same with other names, where columns are plainly renamed; `None` where one is computed.
    pub(crate) fn renamed(&self, to: &impl Fn(&str) -> Option<String>) -> Option<Node> {
        let inner = |a: &Arc<Node>| Some(Arc::new(a.renamed(to)?));
        Some(match self {
            Node::Column(name) => Node::Column(to(name)?),
            Node::Literal(literal) => Node::Literal(literal.clone()),
            Node::Binary(op, a, b) => Node::Binary(*op, inner(a)?, inner(b)?),
            Node::Unary(op, a) => Node::Unary(*op, inner(a)?),
            Node::Text(op, a) => Node::Text(op.clone(), inner(a)?),
            Node::IsIn(a, list) => Node::IsIn(inner(a)?, list.clone()),
            Node::Part(part, a) => Node::Part(*part, inner(a)?),
            Node::Cast(kind, a) => Node::Cast(*kind, inner(a)?),
            Node::FillNull(a, with) => Node::FillNull(inner(a)?, with.clone()),
        })
    }

    fn wrong(&self, message: String) -> FrameError {
        FrameError::Types { expression: self.to_string(), message }
    }

    /// The same with every conversion spelled out, and its type. After this, evaluation meets equal types only.
    pub(crate) fn resolve(&self, schema: &Schema) -> Result<(Node, ColumnType), FrameError> {
        use ColumnType::{Bool, Date, Float64, Int64, Text, Time};
        Ok(match self {
            Node::Column(name) => (self.clone(), schema.kind(name)?),
            Node::Literal(literal) => (self.clone(), literal.kind()),
            Node::Binary(op, a, b) => {
                let ((a, left), (b, right)) = (a.resolve(schema)?, b.resolve(schema)?);
                let wrong = || {
                    self.wrong(format!("`{}` of {left} and {right}; convert one with `.cast(…)`", op.sign()))
                };
                let (kind, result) = match op {
                    Binary::And | Binary::Or if left == Bool && right == Bool => (Bool, Bool),
                    Binary::Div if left.is_number() && right.is_number() => (Float64, Float64),
                    Binary::Add | Binary::Sub | Binary::Mul | Binary::Rem
                        if left.is_number() && right.is_number() =>
                    {
                        let kind = if left == right { left } else { Float64 };
                        (kind, kind)
                    }
                    Binary::Equal
                    | Binary::NotEqual
                    | Binary::Less
                    | Binary::LessEqual
                    | Binary::Greater
                    | Binary::GreaterEqual => {
                        let kind = match (left, right) {
                            (left, right) if left == right => left,
                            (Int64, Float64) | (Float64, Int64) => Float64,
                            (Date, Time) | (Time, Date) => Time,
                            (kind @ (Date | Time), Text) | (Text, kind @ (Date | Time)) => kind,
                            _ => return Err(wrong()),
                        };
                        (kind, Bool)
                    }
                    _ => return Err(wrong()),
                };
                let (a, b) = (self.convert(a, left, kind)?, self.convert(b, right, kind)?);
                (Node::Binary(*op, Arc::new(a), Arc::new(b)), result)
            }
            Node::Unary(op, a) => {
                let (a, kind) = a.resolve(schema)?;
                let (a, result) = match (op, kind) {
                    (Unary::Neg | Unary::Abs, Int64 | Float64) => (a, kind),
                    (Unary::Floor | Unary::Sqrt | Unary::Ln, Int64 | Float64) => {
                        (self.convert(a, kind, Float64)?, Float64)
                    }
                    (Unary::FromUnix, Int64 | Float64) => (a, Time),
                    (Unary::Not, Bool) => (a, Bool),
                    (Unary::IsNull, _) => (a, Bool),
                    _ => return Err(self.wrong(format!("not defined for {kind}"))),
                };
                (Node::Unary(*op, Arc::new(a)), result)
            }
            Node::Text(op, a) => {
                let (a, kind) = a.resolve(schema)?;
                if kind != Text {
                    return Err(self.wrong(format!("it is {kind}, not text")));
                }
                let result = match op {
                    TextOp::StartsWith(_) | TextOp::EndsWith(_) | TextOp::Contains(_) => Bool,
                    TextOp::Slice { .. } | TextOp::Lower | TextOp::Upper => Text,
                    TextOp::Length => Int64,
                };
                (Node::Text(op.clone(), Arc::new(a)), result)
            }
            Node::IsIn(a, list) => {
                let (mut a, mut kind) = a.resolve(schema)?;
                if kind == Int64 && list.iter().any(|l| l.kind() == Float64) {
                    a = self.convert(a, kind, Float64)?;
                    kind = Float64;
                }
                let same =
                    |l: &Literal| l.becoming(kind).ok_or_else(|| self.wrong(format!("{l} is no {kind}")));
                let list = list.iter().map(same).collect::<Result<_, _>>()?;
                (Node::IsIn(Arc::new(a), list), Bool)
            }
            Node::Part(part, a) => {
                let (a, kind) = a.resolve(schema)?;
                let result = match (part, kind) {
                    (Part::Date, Date | Time) => Date,
                    (Part::Year | Part::Month | Part::Day, Date | Time) | (Part::Hour, Time) => Int64,
                    (_, Int64 | Float64) => {
                        return Err(self.wrong(format!(
                            "it is {kind}, not a date or time; seconds since 1970 become one with `.from_unix()`"
                        )));
                    }
                    (_, Text) => {
                        return Err(self.wrong(
                            "it is text; read it as a date with `.cast(ColumnType::Date)` or `ColumnType::Time`"
                                .to_owned(),
                        ));
                    }
                    _ => return Err(self.wrong(format!("not defined for {kind}"))),
                };
                let a = self.convert(a, kind, Time)?;
                (Node::Part(*part, Arc::new(a)), result)
            }
            Node::Cast(to, a) => {
                let (a, kind) = a.resolve(schema)?;
                (self.convert(a, kind, *to)?, *to)
            }
            Node::FillNull(a, with) => {
                let (a, kind) = a.resolve(schema)?;
                let with = with.becoming(kind).ok_or_else(|| self.wrong(format!("{with} is no {kind}")))?;
                (Node::FillNull(Arc::new(a), with), kind)
            }
        })
    }

    /// `inner` as another type, if it can be.
    fn convert(&self, inner: Node, from: ColumnType, to: ColumnType) -> Result<Node, FrameError> {
        use ColumnType::{Bool, Date, Float64, Int64, Text, Time};
        if from == to {
            return Ok(inner);
        }
        if let Node::Literal(literal) = &inner
            && let Some(literal) = literal.becoming(to)
        {
            return Ok(Node::Literal(literal));
        }
        match (from, to) {
            (Text, Date | Time) if matches!(inner, Node::Literal(_)) => Err(self.wrong(format!(
                "{inner} is no {to}; dates are written like 2024-06-15, times like 2024-06-15 12:30:00"
            ))),
            (Int64 | Bool, Float64)
            | (Float64 | Bool, Int64)
            | (Date, Time)
            | (Time, Date)
            | (Text, _)
            | (_, Text) => Ok(Node::Cast(to, Arc::new(inner))),
            _ => Err(self.wrong(format!("{from} cannot become {to}"))),
        }
    }
}
