//! Owns rows of a table as values of a type: what a table of parameters is for a task farm.

use serde::{
    Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor,
        value::Error,
    },
    forward_to_deserialize_any,
};

use crate::{
    column::{Column, Data},
    error::FrameError,
    table::DataTable,
};

impl DataTable {
    /// The rows as values: a struct's fields are the columns of their names, others are left out; a tuple has all columns in
    /// order; of a table with one column a plain number or text will do. What is missing is `None`, so that the field is to be
    /// an `Option`; dates and times are text. Integers may be read as floating-point numbers, not the other way round.
    ///
    /// ```text
    /// #[derive(Serialize, Deserialize)]
    /// struct Run { viscosity: f64, steps: u32, label: Option<String> }
    /// let runs = scan_csv("runs.csv")?.compute()?.to_rows::<Run>()?;
    /// let energies = cluster.map(runs, simulate).gather()?;
    /// ```
    ///
    /// # Errors
    /// If a column is not there, or an element does not fit its field: which one, and in which row, counted from 0.
    pub fn to_rows<T: DeserializeOwned>(&self) -> Result<Vec<T>, FrameError> {
        let row = |row: usize| {
            T::deserialize(Place { table: self, row, column: None }).map_err(|error| FrameError::Types {
                expression: format!("row {row} as {}", std::any::type_name::<T>()),
                message: error.to_string(),
            })
        };
        (0..self.len()).map(row).collect()
    }
}

/// Methods of a [`Deserializer`] that are told the name of a type, for sources to which names say nothing.
#[doc(hidden)]
#[macro_export]
macro_rules! deserialize_named {
    ($self:ident, $visitor:ident, unit => $unit:expr, newtype => $newtype:expr) => {
        fn deserialize_unit_struct<V: Visitor<'de>>(
            $self,
            _: &'static str,
            $visitor: V,
        ) -> Result<V::Value, Self::Error> {
            $unit
        }

        fn deserialize_newtype_struct<V: Visitor<'de>>(
            $self,
            _: &'static str,
            $visitor: V,
        ) -> Result<V::Value, Self::Error> {
            $visitor.visit_newtype_struct($newtype)
        }

        fn deserialize_tuple_struct<V: Visitor<'de>>(
            $self,
            _: &'static str,
            length: usize,
            $visitor: V,
        ) -> Result<V::Value, Self::Error> {
            $self.deserialize_tuple(length, $visitor)
        }
    };
}

/// A row, or one element of it.
#[derive(Clone, Copy)]
struct Place<'a> {
    table: &'a DataTable,
    row: usize,
    /// None of a row.
    column: Option<usize>,
}

impl<'a> Place<'a> {
    /// The element; of a row the only one.
    fn element(self) -> Result<Self, Error> {
        let count = self.table.columns.len();
        if self.column.is_none() && count != 1 {
            return Err(Error::custom(format!(
                "the table has {count} columns; a struct with a field for each that is needed is to be read from it, or a tuple of all"
            )));
        }
        Ok(Place { column: self.column.or(Some(0)), ..self })
    }

    /// The column of [`element`](Self::element).
    fn column(self) -> Result<&'a Column, Error> {
        let index = self.element()?.column.unwrap_or(0);
        Ok(&self.table.columns[index])
    }

    fn elements(self) -> Elements<'a> {
        Elements { row: self, columns: 0..self.table.columns.len() }
    }

    fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        use crate::column::ColumnType::{Bool, Date, Float64, Int64, Text, Time};
        let column = self.column()?;
        if !column.is_valid(self.row) {
            return Err(Error::custom(
                "it is missing; let the field be an `Option`, or fill it with `.fillna(…)`",
            ));
        }
        match (column.kind, &column.data) {
            (Int64, Data::Int(values)) => visitor.visit_i64(values[self.row]),
            (Float64, Data::Float(values)) => visitor.visit_f64(values[self.row]),
            (Bool, Data::Bool(values)) => visitor.visit_bool(values[self.row]),
            (Text | Date | Time | Int64 | Float64 | Bool, _) => {
                visitor.visit_string(column.show(self.row).unwrap_or_default())
            }
        }
    }
}

macro_rules! elements {
    ($($function:ident)+) => {$(
        fn $function<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.visit(visitor)
        }
    )+};
}

impl<'de> Deserializer<'de> for Place<'_> {
    type Error = Error;

    elements! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64 deserialize_char
        deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_unit deserialize_identifier
    }

    forward_to_deserialize_any! { map struct }

    deserialize_named! {
        self, visitor,
        unit => if self.column.is_some() { self.visit(visitor) } else { visitor.visit_unit() },
        newtype => self
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.column.is_some() { self.visit(visitor) } else { visitor.visit_map(self.elements()) }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.column.is_some() { self.visit(visitor) } else { visitor.visit_seq(self.elements()) }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        let count = self.table.columns.len();
        if self.column.is_none() && length != count {
            return Err(Error::custom(format!(
                "the table has {count} columns, the tuple {length}; select columns first, or use a struct"
            )));
        }
        self.deserialize_seq(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let element = self.element()?;
        if element.column()?.is_valid(self.row) { visitor.visit_some(element) } else { visitor.visit_none() }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let text = self.column()?.show(self.row).unwrap_or_default();
        IntoDeserializer::<Error>::into_deserializer(text).deserialize_enum(name, variants, visitor)
    }
}

/// The elements of a row, one after the other.
struct Elements<'a> {
    row: Place<'a>,
    /// Those to come.
    columns: std::ops::Range<usize>,
}

impl Elements<'_> {
    fn next<'de, S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some(column) = self.columns.next() else { return Ok(None) };
        let element = Place { column: Some(column), ..self.row };
        let name = &self.row.table.schema.0[column].0;
        let named = |error| Error::custom(format!("column `{name}`: {error}"));
        seed.deserialize(element).map(Some).map_err(named)
    }
}

impl<'de> MapAccess<'de> for Elements<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        if self.columns.is_empty() {
            return Ok(None);
        }
        let name = self.row.table.schema.0[self.columns.start].0.as_str();
        seed.deserialize(IntoDeserializer::<Error>::into_deserializer(name)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        self.next(seed)?.ok_or_else(|| Error::custom("there is no such column"))
    }
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        self.next(seed)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Run {
        steps: u32,
        viscosity: f64,
        scheme: Scheme,
        label: Option<String>,
        #[serde(default)]
        seed: u64,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    enum Scheme {
        Upwind,
        Central,
    }

    fn table() -> DataTable {
        let steps = vec![10_i64, 20];
        let table = DataTable::new().with_text("scheme", ["Upwind", "Central"]).unwrap();
        let table = table.with_i64("steps", steps.clone()).unwrap().with_i64("viscosity", steps).unwrap();
        let mut label = Column::new(crate::ColumnType::Text, Data::Text(Default::default()), None);
        if let Data::Text(text) = &mut label.data {
            text.push(b"first").unwrap();
            text.push(b"").unwrap();
        }
        label.valid = Some(vec![true, false]);
        table.with("label", label).unwrap().with_bool("unused", [true, false]).unwrap()
    }

    #[test]
    fn a_structs_fields_are_the_columns_of_their_names() {
        let rows: Vec<Run> = table().to_rows().unwrap();
        let first =
            Run { steps: 10, viscosity: 10.0, scheme: Scheme::Upwind, label: Some("first".into()), seed: 0 };
        let second = Run { steps: 20, viscosity: 20.0, scheme: Scheme::Central, label: None, seed: 0 };
        assert_eq!(rows, [first, second]);
        assert_eq!(DataTable::new().to_rows::<Run>().unwrap(), []);
    }

    #[test]
    fn tuples_have_all_columns_and_one_column_needs_none() {
        let two = DataTable::new().with_f64("a", [0.5, f64::NAN]).unwrap().with_i64("b", [1, -1]).unwrap();
        let rows: Vec<(f64, i8)> = two.to_rows().unwrap();
        assert!(rows[0] == (0.5, 1) && rows[1].0.is_nan() && rows[1].1 == -1);
        let one = DataTable::new().with_i64("seed", [7, 8]).unwrap();
        assert_eq!(one.to_rows::<u64>().unwrap(), [7, 8]);
        assert_eq!(one.to_rows::<Option<f32>>().unwrap(), [Some(7.0), Some(8.0)]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        #[derive(Debug, Deserialize)]
        #[allow(dead_code, reason = "it is never made")]
        struct Wrong<T> {
            label: T,
        }
        #[derive(Debug, Deserialize)]
        #[allow(dead_code, reason = "it is never made")]
        struct Absent {
            lable: f64,
        }
        let says = |error: FrameError, parts: &[&str]| {
            let text = error.to_string();
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        };
        says(table().to_rows::<Wrong<String>>().unwrap_err(), &["row 1 as", "column `label`: it is missing"]);
        says(
            table().to_rows::<Wrong<f64>>().unwrap_err(),
            &["row 0 as", "column `label`: invalid type: string"],
        );
        says(table().to_rows::<Absent>().unwrap_err(), &["missing field `lable`"]);
        says(table().to_rows::<(i64, i64)>().unwrap_err(), &["5 columns, the tuple 2"]);
        says(table().to_rows::<i64>().unwrap_err(), &["the table has 5 columns"]);
        let negative = DataTable::new().with_i64("n", [-1]).unwrap();
        says(negative.to_rows::<u8>().unwrap_err(), &["invalid value: integer `-1`"]);
    }
}
