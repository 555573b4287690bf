//! Owns what columns hold: by what rules the types of a file become those of a table, and which do not.

use serde::{Deserialize, Serialize};

use crate::{
    Result,
    error::Error,
    thrift::{Reader, Type},
};

/// What the elements of a column are once they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Int,
    Float,
    Bool,
    /// UTF-8.
    Text,
    /// Days since 1970.
    Date,
    /// Microseconds since 1970.
    Time,
}

/// How bytes of a page become elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Physical {
    Bool,
    Int32,
    Int64,
    Int96,
    Float,
    Double,
    Bytes,
    Fixed(usize),
}

/// What elements mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    Plain,
    /// Integers without a sign.
    Unsigned,
    Text,
    /// As text, and nobody says that it is UTF-8.
    Bytes,
    Date,
    /// So many of them are a microsecond, or a microsecond is so many of them.
    Time {
        multiply: i64,
        divide: i64,
    },
    Decimal {
        scale: u32,
    },
    Half,
    Uuid,
    /// Nothing but missing elements.
    Nothing,
}

/// A column of the file's root.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Leaf {
    pub(crate) name: String,
    pub(crate) physical: Physical,
    pub(crate) meaning: Meaning,
    pub(crate) kind: Kind,
    pub(crate) optional: bool,
}

/// A child of the root: a column, or why it is none.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Child {
    Leaf(Leaf),
    Refused { name: String, reason: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Logical {
    Text,
    Nested(&'static str),
    Decimal {
        scale: i32,
        precision: i32,
    },
    Date,
    TimeOfDay,
    /// Units in a second.
    Timestamp(i64),
    Integer {
        signed: bool,
    },
    Null,
    Uuid,
    Half,
    Other(&'static str),
}

#[derive(Default)]
struct Element {
    kind: Option<i32>,
    length: i32,
    repetition: i32,
    name: String,
    children: i32,
    converted: Option<i32>,
    scale: i32,
    precision: i32,
    logical: Option<Logical>,
}

impl Element {
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let mut element = Element::default();
        reader.structure(&mut |r, id, kind| {
            match id {
                1 => element.kind = Some(r.int(kind)?),
                2 => element.length = r.int(kind)?,
                3 => element.repetition = r.int(kind)?,
                4 => element.name = r.text(kind)?,
                5 => element.children = r.int(kind)?,
                6 => element.converted = Some(r.int(kind)?),
                7 => element.scale = r.int(kind)?,
                8 => element.precision = r.int(kind)?,
                10 => element.logical = logical(r, kind)?,
                _ => r.skip(kind)?,
            }
            Ok(())
        })?;
        Ok(element)
    }

    /// What it means, by the newer of two ways to say it.
    fn meaning(&self) -> Option<Logical> {
        if self.logical.is_some() {
            return self.logical;
        }
        match self.converted? {
            0 | 4 | 19 => Some(Logical::Text),
            1 | 2 => Some(Logical::Nested("a map")),
            3 => Some(Logical::Nested("a list")),
            5 => Some(Logical::Decimal { scale: self.scale, precision: self.precision }),
            6 => Some(Logical::Date),
            7 | 8 => Some(Logical::TimeOfDay),
            9 => Some(Logical::Timestamp(1000)),
            10 => Some(Logical::Timestamp(1_000_000)),
            11..=14 => Some(Logical::Integer { signed: false }),
            15..=18 => Some(Logical::Integer { signed: true }),
            20 => Some(Logical::Other("BSON")),
            21 => Some(Logical::Other("an interval")),
            _ => None,
        }
    }

    fn physical(&self) -> Result<Physical> {
        Ok(match self.kind {
            Some(0) => Physical::Bool,
            Some(1) => Physical::Int32,
            Some(2) => Physical::Int64,
            Some(3) => Physical::Int96,
            Some(4) => Physical::Float,
            Some(5) => Physical::Double,
            Some(6) => Physical::Bytes,
            Some(7) => match usize::try_from(self.length) {
                Ok(length) if length > 0 => Physical::Fixed(length),
                _ => {
                    return Err(Error::damaged(format!(
                        "column `{}` has a length of {}",
                        self.name, self.length
                    )));
                }
            },
            kind => {
                return Err(Error::damaged(format!(
                    "column `{}` is of the unknown type {kind:?}",
                    self.name
                )));
            }
        })
    }

    /// As a column, or why it cannot be one.
    fn leaf(self) -> Result<Child> {
        let refused = |name: String, reason: &str| Ok(Child::Refused { name, reason: reason.to_owned() });
        if self.repetition == 2 {
            return refused(self.name, "it is a list");
        }
        let physical = self.physical()?;
        use Physical::{Bool, Bytes, Double, Fixed, Float, Int32, Int64, Int96};
        let (kind, meaning) = match (physical, self.meaning()) {
            (_, Some(Logical::Null)) => (Kind::Text, Meaning::Nothing),
            (Bool, None) => (Kind::Bool, Meaning::Plain),
            (Int32 | Int64, None | Some(Logical::Integer { signed: true })) => (Kind::Int, Meaning::Plain),
            (Int32 | Int64, Some(Logical::Integer { signed: false })) => (Kind::Int, Meaning::Unsigned),
            (Float | Double, None) => (Kind::Float, Meaning::Plain),
            (Int96, None) => (Kind::Time, Meaning::Plain),
            (Bytes, None | Some(Logical::Text)) => (Kind::Text, Meaning::Text),
            (Int32, Some(Logical::Date)) => (Kind::Date, Meaning::Date),
            (Int64, Some(Logical::Timestamp(units))) => {
                let (multiply, divide) =
                    if units > 1_000_000 { (1, units / 1_000_000) } else { (1_000_000 / units, 1) };
                (Kind::Time, Meaning::Time { multiply, divide })
            }
            (Int32 | Int64 | Bytes | Fixed(_), Some(Logical::Decimal { scale, precision })) => {
                let fits = (0..=38).contains(&scale) && (1..=38).contains(&precision) && scale <= precision;
                if !fits || matches!(physical, Fixed(length) if length > 16) {
                    return refused(self.name, "it holds decimals of more than 38 digits");
                }
                let kind = if scale == 0 && precision <= 18 { Kind::Int } else { Kind::Float };
                (kind, Meaning::Decimal { scale: scale.cast_unsigned() })
            }
            (Fixed(2), Some(Logical::Half)) => (Kind::Float, Meaning::Half),
            (Fixed(16), Some(Logical::Uuid)) => (Kind::Text, Meaning::Uuid),
            (_, Some(Logical::TimeOfDay)) => return refused(self.name, "it holds times without a day"),
            (_, Some(Logical::Other(what) | Logical::Nested(what))) => {
                return refused(self.name, &format!("it holds {what}"));
            }
            (Fixed(_), None) => return refused(self.name, "it holds bytes of a fixed length"),
            (physical, Some(logical)) => {
                let reason = format!("it says {logical:?} of {physical:?}, which has no meaning");
                return refused(self.name, &reason);
            }
        };
        Ok(Child::Leaf(Leaf { name: self.name, physical, meaning, kind, optional: self.repetition == 1 }))
    }
}

fn logical(reader: &mut Reader<'_>, kind: Type) -> Result<Option<Logical>> {
    let mut found = None;
    reader.inner(kind, &mut |r, id, kind| {
        let mut integer = (0, 0);
        let mut units = None;
        let mut signed = true;
        // Whatever it is, its fields have to be read past.
        r.inner(kind, &mut |r, field, kind| {
            match (id, field) {
                (5, 1) => integer.0 = r.int(kind)?,
                (5, 2) => integer.1 = r.int(kind)?,
                (8, 2) => r.inner(kind, &mut |r, unit, kind| {
                    units = match unit {
                        1 => Some(1000),
                        2 => Some(1_000_000),
                        3 => Some(1_000_000_000),
                        _ => None,
                    };
                    r.skip(kind)
                })?,
                (10, 2) => signed = r.truth(kind)?,
                _ => r.skip(kind)?,
            }
            Ok(())
        })?;
        found = Some(match id {
            1 | 4 | 12 => Logical::Text,
            2 => Logical::Nested("a map"),
            3 => Logical::Nested("a list"),
            5 => Logical::Decimal { scale: integer.0, precision: integer.1 },
            6 => Logical::Date,
            7 => Logical::TimeOfDay,
            8 => match units {
                Some(units) => Logical::Timestamp(units),
                None => Logical::Other("instants in a unit that nobody knows"),
            },
            10 => Logical::Integer { signed },
            11 => Logical::Null,
            13 => Logical::Other("BSON"),
            14 => Logical::Uuid,
            15 => Logical::Half,
            16 => Logical::Other("variants"),
            17 | 18 => Logical::Other("geometries"),
            _ => Logical::Other("what newer writers know"),
        });
        Ok(())
    })?;
    Ok(found)
}

/// Reads the list of a schema's elements: the root's children, and for each leaf below which child it lies.
pub(crate) fn read(reader: &mut Reader<'_>, kind: Type) -> Result<(Vec<Child>, Vec<usize>)> {
    let mut elements = Vec::new();
    reader.list(kind, &mut |r, _| {
        elements.push(Element::read(r)?);
        Ok(())
    })?;
    let mut elements = elements.into_iter();
    let ended = || Error::damaged("its schema ends too early");
    let root = elements.next().ok_or_else(ended)?;
    let mut children = Vec::new();
    let mut owners = Vec::new();
    for _ in 0..root.children {
        let child = elements.next().ok_or_else(ended)?;
        if child.kind.is_some() {
            owners.push(children.len());
            children.push(child.leaf()?);
            continue;
        }
        let what = match child.meaning() {
            Some(Logical::Nested(what) | Logical::Other(what)) => what,
            _ => "a structure",
        };
        let reason = format!("it is nested, {what}");
        // All that lies below it.
        let mut open = i64::from(child.children);
        while open > 0 {
            let below = elements.next().ok_or_else(ended)?;
            open += i64::from(below.children) - 1;
            if below.kind.is_some() {
                owners.push(children.len());
            }
        }
        children.push(Child::Refused { name: child.name, reason });
    }
    if elements.next().is_some() {
        return Err(Error::damaged("its schema has elements that belong to nothing"));
    }
    Ok((children, owners))
}
