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
            T::deserialize(Row { table: self, row }).map_err(|error| FrameError::Types {
                expression: format!("row {row} as {}", std::any::type_name::<T>()),
                message: error.to_string(),
            })
        };
        (0..self.len()).map(row).collect()
    }
}

#[derive(Clone, Copy)]
struct Row<'a> {
    table: &'a DataTable,
    row: usize,
}

impl<'a> Row<'a> {
    fn cell(self, column: usize) -> Cell<'a> {
        Cell { name: &self.table.schema.0[column].0, column: &self.table.columns[column], row: self.row }
    }

    /// For what is no row.
    fn only(self) -> Result<Cell<'a>, Error> {
        match self.table.columns.len() {
            1 => Ok(self.cell(0)),
            count => Err(Error::custom(format!(
                "the table has {count} columns; a struct with a field for each that is needed is to be read from it, or a tuple of all"
            ))),
        }
    }
}

macro_rules! only {
    ($($function:ident)+) => {$(
        fn $function<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.only()?.$function(visitor)
        }
    )+};
}

impl<'de> Deserializer<'de> for Row<'_> {
    type Error = Error;

    only! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64 deserialize_char
        deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_option deserialize_unit
        deserialize_identifier
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(Cells { of: self, columns: 0..self.table.columns.len() })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Cells { of: self, columns: 0..self.table.columns.len() })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        if length != self.table.columns.len() {
            let count = self.table.columns.len();
            return Err(Error::custom(format!(
                "the table has {count} columns, the tuple {length}; select columns first, or use a struct"
            )));
        }
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_unit()
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
        self.only()?.deserialize_enum(name, variants, visitor)
    }
}

struct Cells<'a> {
    of: Row<'a>,
    /// Those to come.
    columns: std::ops::Range<usize>,
}

impl<'de> MapAccess<'de> for Cells<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        if self.columns.is_empty() {
            return Ok(None);
        }
        let name = self.of.cell(self.columns.start).name;
        seed.deserialize(IntoDeserializer::<Error>::into_deserializer(name)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let column = self.columns.next().ok_or_else(|| Error::custom("there is no such column"))?;
        self.of.cell(column).read(seed)
    }
}

impl<'de> SeqAccess<'de> for Cells<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        self.columns.next().map(|column| self.of.cell(column).read(seed)).transpose()
    }
}

/// One element of a column.
#[derive(Clone, Copy)]
struct Cell<'a> {
    name: &'a str,
    column: &'a Column,
    row: usize,
}

impl Cell<'_> {
    fn is_missing(self) -> bool {
        !self.column.is_valid(self.row)
    }

    fn read<'de, S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        let name = self.name;
        seed.deserialize(self).map_err(|error| Error::custom(format!("column `{name}`: {error}")))
    }

    fn text(self) -> String {
        self.column.show(self.row).unwrap_or_default()
    }
}

impl<'de> Deserializer<'de> for Cell<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        use crate::column::ColumnType::{Bool, Date, Float64, Int64, Text, Time};
        if self.is_missing() {
            return Err(Error::custom(
                "it is missing; let the field be an `Option`, or fill it with `.fillna(…)`",
            ));
        }
        match (self.column.kind, &self.column.data) {
            (Int64, Data::Int(values)) => visitor.visit_i64(values[self.row]),
            (Float64, Data::Float(values)) => visitor.visit_f64(values[self.row]),
            (Bool, Data::Bool(values)) => visitor.visit_bool(values[self.row]),
            (Text | Date | Time | Int64 | Float64 | Bool, _) => visitor.visit_string(self.text()),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_missing() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        IntoDeserializer::<Error>::into_deserializer(self.text()).deserialize_enum(name, variants, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier
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
