//! Owns [`DataTable`]: named columns in memory, of which computed frames consist, and so do blocks on their way.

use std::sync::Arc;

use nuna_array::Chunk;
use nuna_labels::DataArray;

use crate::{
    column::{Column, ColumnType, Data, Text},
    error::{FrameError, no_column},
};

/// Names and types of columns, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Schema(pub(crate) Vec<(String, ColumnType)>);

impl Schema {
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }

    pub(crate) fn position(&self, name: &str) -> Result<usize, FrameError> {
        self.0.iter().position(|(n, _)| n == name).ok_or_else(|| no_column(name, &self.names()))
    }

    pub(crate) fn kind(&self, name: &str) -> Result<ColumnType, FrameError> {
        Ok(self.0[self.position(name)?].1)
    }

    /// # Errors
    /// If a name stands twice.
    pub(crate) fn check(self) -> Result<Self, FrameError> {
        let twice =
            self.0.iter().enumerate().find(|(i, (name, _))| self.0[..*i].iter().any(|(n, _)| n == name));
        match twice {
            Some((_, (name, _))) => Err(FrameError::NameTwice { name: name.clone() }),
            None => Ok(self),
        }
    }
}

/// A table in memory: columns of numbers, text, dates and instants, any element of which may be missing.
#[derive(Clone, Debug, Default)]
pub struct DataTable {
    pub(crate) schema: Arc<Schema>,
    pub(crate) columns: Vec<Arc<Column>>,
    pub(crate) rows: usize,
    /// Of the files, rows that were left out because they are malformed.
    pub(crate) skipped: u64,
}

impl DataTable {
    /// Without columns; `with_f64` and the like add them.
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn from_parts(schema: Arc<Schema>, columns: Vec<Arc<Column>>, rows: usize) -> Self {
        debug_assert!(columns.iter().all(|column| column.len() == rows), "columns are equally long");
        DataTable { schema, columns, rows, skipped: 0 }
    }

    pub(crate) fn empty(schema: Arc<Schema>) -> Self {
        let columns = schema.0.iter().map(|(_, kind)| Arc::new(Column::empty(*kind))).collect();
        DataTable { schema, columns, rows: 0, skipped: 0 }
    }

    pub(crate) fn with(mut self, name: &str, column: Column) -> Result<Self, FrameError> {
        if !self.columns.is_empty() && column.len() != self.rows {
            return Err(FrameError::Invalid(format!(
                "column `{name}` has {} rows, the table has {}",
                column.len(),
                self.rows
            )));
        }
        let mut schema = Schema::clone(&self.schema);
        schema.0.push((name.to_owned(), column.kind));
        self.schema = Arc::new(schema.check()?);
        self.rows = column.len();
        self.columns.push(Arc::new(column));
        Ok(self)
    }

    /// Adds a column of numbers; NaN stays NaN.
    ///
    /// # Errors
    /// If it has another length than the others, or a name that one of them has. So do the ones below.
    pub fn with_f64(self, name: &str, values: impl Into<Vec<f64>>) -> Result<Self, FrameError> {
        self.with(name, Column::float(values.into()))
    }

    /// Adds a column of integers.
    ///
    /// # Errors
    /// As [`with_f64`](Self::with_f64).
    pub fn with_i64(self, name: &str, values: impl Into<Vec<i64>>) -> Result<Self, FrameError> {
        self.with(name, Column::int(values.into()))
    }

    /// Adds a column of truths.
    ///
    /// # Errors
    /// As [`with_f64`](Self::with_f64).
    pub fn with_bool(self, name: &str, values: impl Into<Vec<bool>>) -> Result<Self, FrameError> {
        self.with(name, Column::bool(values.into()))
    }

    /// Adds a column of text.
    ///
    /// # Errors
    /// As [`with_f64`](Self::with_f64), and if a text is longer than 16 MiB.
    pub fn with_text<T: AsRef<str>>(
        self,
        name: &str,
        values: impl IntoIterator<Item = T>,
    ) -> Result<Self, FrameError> {
        let mut text = Text::default();
        for value in values {
            text.push(value.as_ref().as_bytes())?;
        }
        self.with(name, Column::new(ColumnType::Text, Data::Text(text), None))
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Malformed rows of the files that were left out, with
    /// [`CsvOptions::skip_bad_rows`](crate::CsvOptions::skip_bad_rows).
    pub fn skipped_rows(&self) -> u64 {
        self.skipped
    }

    /// Names of the columns, in order.
    pub fn columns(&self) -> Vec<String> {
        self.schema.names()
    }

    /// # Errors
    /// [`FrameError::NoColumn`].
    pub fn column_type(&self, name: &str) -> Result<ColumnType, FrameError> {
        self.schema.kind(name)
    }

    pub(crate) fn column(&self, name: &str) -> Result<&Arc<Column>, FrameError> {
        Ok(&self.columns[self.schema.position(name)?])
    }

    /// Missing elements of a column.
    ///
    /// # Errors
    /// [`FrameError::NoColumn`].
    pub fn missing(&self, name: &str) -> Result<usize, FrameError> {
        Ok(self.column(name)?.missing_count())
    }

    /// A column of numbers or truths as `f64`; what is missing is NaN. Integers beyond 2^53 are rounded.
    ///
    /// # Errors
    /// [`FrameError::NoColumn`], and for text, dates and times.
    pub fn column_f64(&self, name: &str) -> Result<Vec<f64>, FrameError> {
        let column = self.column(name)?;
        let mut values: Vec<f64> = match (&column.data, column.kind) {
            (Data::Int(v), ColumnType::Int64) => v.iter().map(|&v| v as f64).collect(),
            (Data::Float(v), _) => v.clone(),
            (Data::Bool(v), _) => v.iter().map(|&v| f64::from(u8::from(v))).collect(),
            _ => return Err(self.not(name, column, "numbers", "column_text")),
        };
        if let Some(valid) = &column.valid {
            values.iter_mut().zip(valid).filter(|(_, valid)| !**valid).for_each(|(v, _)| *v = f64::NAN);
        }
        Ok(values)
    }

    /// A column of integers; of dates, days since 1970; of times, microseconds since 1970.
    ///
    /// # Errors
    /// [`FrameError::NoColumn`], for other types, and if elements are missing.
    pub fn column_i64(&self, name: &str) -> Result<Vec<i64>, FrameError> {
        let column = self.column(name)?;
        let Data::Int(values) = &column.data else {
            return Err(self.not(name, column, "integers", "column_f64 or column_text"));
        };
        self.complete(name, column)?;
        Ok(values.clone())
    }

    /// A column of truths.
    ///
    /// # Errors
    /// [`FrameError::NoColumn`], for other types, and if elements are missing.
    pub fn column_bool(&self, name: &str) -> Result<Vec<bool>, FrameError> {
        let column = self.column(name)?;
        let Data::Bool(values) = &column.data else {
            return Err(self.not(name, column, "truths", "column_text"));
        };
        self.complete(name, column)?;
        Ok(values.clone())
    }

    /// A column of any type as text, as it is shown; what is missing is empty.
    ///
    /// # Errors
    /// [`FrameError::NoColumn`].
    pub fn column_text(&self, name: &str) -> Result<Vec<String>, FrameError> {
        let column = self.column(name)?;
        Ok((0..self.rows).map(|row| column.show(row).unwrap_or_default()).collect())
    }

    /// A column of numbers as an array with the dimension `row`. Integers stay integers if none is missing, else they become
    /// floats with NaN.
    ///
    /// # Errors
    /// [`FrameError::NoColumn`], and for text, dates and times.
    pub fn to_data_array(&self, name: &str) -> Result<DataArray, FrameError> {
        let column = self.column(name)?;
        let shape = [self.rows as u64];
        let chunk = match (&column.data, column.kind, &column.valid) {
            (Data::Int(v), ColumnType::Int64, None) => Chunk::from_slice(&shape, v),
            (Data::Bool(v), _, None) => Chunk::from_slice(&shape, v),
            _ => Chunk::from_slice(&shape, &self.column_f64(name)?),
        };
        let array = DataArray::from_chunk(chunk, ["row"]);
        Ok(array.map_err(|error| FrameError::Invalid(error.to_string()))?.named(name))
    }

    fn not(&self, name: &str, column: &Column, wanted: &str, instead: &str) -> FrameError {
        FrameError::Types {
            expression: format!("column `{name}`"),
            message: format!("it holds {}, not {wanted}; use {instead}", column.kind),
        }
    }

    fn complete(&self, name: &str, column: &Column) -> Result<(), FrameError> {
        match column.missing_count() {
            0 => Ok(()),
            count => Err(FrameError::Types {
                expression: format!("column `{name}`"),
                message: format!(
                    "{count} of {} elements are missing; use column_f64, which has NaN there, or fill them with `.fillna(…)`",
                    self.rows
                ),
            }),
        }
    }

    pub(crate) fn byte_count(&self) -> u64 {
        let column = |column: &Arc<Column>| match &column.data {
            Data::Int(v) => 8 * v.len() as u64,
            Data::Float(v) => 8 * v.len() as u64,
            Data::Bool(v) => v.len() as u64,
            Data::Text(v) => v.spans.iter().map(|span| 8 + span.len() as u64).sum(),
        };
        self.columns.iter().map(column).sum()
    }

    /// Rows in this order.
    pub(crate) fn gather(&self, rows: &[usize]) -> DataTable {
        let columns = self.columns.iter().map(|column| Arc::new(column.gather(rows))).collect();
        DataTable { schema: self.schema.clone(), columns, rows: rows.len(), skipped: self.skipped }
    }

    /// The rows whose element is true.
    pub(crate) fn filter(&self, keep: &[bool]) -> DataTable {
        if keep.iter().all(|&keep| keep) {
            return self.clone();
        }
        let rows: Vec<usize> = (0..self.rows).filter(|&row| keep[row]).collect();
        self.gather(&rows)
    }

    /// The first `count` rows.
    pub fn head(&self, count: usize) -> DataTable {
        if count >= self.rows { self.clone() } else { self.gather(&(0..count).collect::<Vec<_>>()) }
    }
}
