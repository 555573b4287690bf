//! Owns tables: rows of anything that can be serialised, shown with a column for each field.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

use crate::{display::Display, views::escape};

/// Rows shown; of more, the first and the last are.
const ROWS_MAX: usize = 60;
const ENDS: usize = 10;
/// Text longer than this is cut where it is shown.
const LETTERS_MAX: usize = 80;

/// Rows and columns of text, for showing. Made by [`table`].
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
}

/// A table of `rows`: a column for each field of a struct or key of a map in the order in which they first come, one for
/// each element of a tuple or array, or a single one, `value`. A field that a row does not have stays empty, and so
/// does a number that is NaN or infinite, which rows are written without.
///
/// ```text
/// table(&runs)
/// table(parameters.iter().zip(&results))
/// ```
///
/// # Errors
/// If a row cannot be serialised; names the row.
pub fn table<R: Serialize>(rows: impl IntoIterator<Item = R>) -> Result<Table, TableError> {
    let mut table = Table { columns: Vec::new(), rows: Vec::new() };
    for (row, value) in rows.into_iter().enumerate() {
        let read = serde_json::to_string(&value).and_then(|text| serde_json::from_str::<Cell>(&text));
        table.push(read.map_err(|error| TableError { row, reason: error.to_string() })?);
    }
    Ok(table)
}

/// A row that cannot be shown in a table.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("row {row} cannot be put into a table: {reason}")]
pub struct TableError {
    pub row: usize,
    pub reason: String,
}

impl Table {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    fn push(&mut self, row: Cell) {
        let mut cells = Vec::new();
        match row {
            Cell::Elements(elements) => {
                for (index, element) in elements.into_iter().enumerate() {
                    self.cells(&index.to_string(), element, &mut cells);
                }
            }
            row => self.cells("value", row, &mut cells),
        }
        self.rows.push(cells);
    }

    /// Fields of a row, and of structs in a tuple, are columns; what lies deeper is not.
    fn cells(&mut self, name: &str, cell: Cell, row: &mut Vec<Value>) {
        match cell {
            Cell::Fields(fields) => {
                for (field, value) in fields {
                    self.put(field, value, row);
                }
            }
            Cell::Elements(elements) => {
                let elements = elements.into_iter().map(Cell::into_value).collect();
                self.put(name.to_owned(), Value::Array(elements), row);
            }
            Cell::One(value) => self.put(name.to_owned(), value, row),
        }
    }

    fn put(&mut self, column: String, value: Value, row: &mut Vec<Value>) {
        let index = self.columns.iter().position(|known| *known == column).unwrap_or_else(|| {
            self.columns.push(column);
            self.columns.len() - 1
        });
        if row.len() <= index {
            row.resize(index + 1, Value::Null);
        }
        row[index] = value;
    }

    /// Numbers of the rows that are shown; `None` stands for those left out.
    fn shown(&self) -> Vec<Option<usize>> {
        if self.rows.len() <= ROWS_MAX {
            return (0..self.rows.len()).map(Some).collect();
        }
        let end = (self.rows.len() - ENDS..self.rows.len()).map(Some);
        (0..ROWS_MAX - ENDS).map(Some).chain([None]).chain(end).collect()
    }

    fn cell(&self, row: usize, column: usize) -> (String, bool) {
        match self.rows[row].get(column) {
            None | Some(Value::Null) => (String::new(), false),
            Some(Value::Number(number)) => (number.to_string(), true),
            Some(Value::String(text)) => (cut(text), false),
            Some(other) => (cut(&other.to_string()), false),
        }
    }
}

/// A value with its fields in the order in which they were written, which [`Value`] does not keep.
enum Cell {
    Fields(Vec<(String, Value)>),
    Elements(Vec<Cell>),
    One(Value),
}

impl Cell {
    fn into_value(self) -> Value {
        match self {
            Cell::Fields(fields) => Value::Object(fields.into_iter().collect()),
            Cell::Elements(elements) => Value::Array(elements.into_iter().map(Cell::into_value).collect()),
            Cell::One(value) => value,
        }
    }
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Cell;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cell, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Cell::Fields(fields))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Cell, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = sequence.next_element()? {
                    elements.push(element);
                }
                Ok(Cell::Elements(elements))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Cell, E> {
                Ok(Cell::One(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Cell, E> {
                Ok(Cell::One(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Cell, E> {
                Ok(Cell::One(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Cell, E> {
                Ok(Cell::One(value.into()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Cell, E> {
                Ok(Cell::One(value.into()))
            }

            fn visit_unit<E>(self) -> Result<Cell, E> {
                Ok(Cell::One(Value::Null))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= LETTERS_MAX {
        return text.to_owned();
    }
    text.chars().take(LETTERS_MAX - 1).chain(['…']).collect()
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.shown();
        let cells: Vec<Vec<(String, bool)>> = shown
            .iter()
            .map(|row| {
                let cell = |column| row.map_or_else(|| ("…".to_owned(), false), |row| self.cell(row, column));
                (0..self.columns.len()).map(cell).collect()
            })
            .collect();
        let width = |column: usize| {
            let widths = cells.iter().map(|row| row[column].0.chars().count());
            widths.chain([self.columns[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let line = |cells: Vec<(&str, bool)>| {
            let cells = cells.iter().zip(&widths).map(|((text, right), &width)| {
                if *right { format!("{text:>width$}") } else { format!("{text:<width$}") }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        writeln!(f, "{}", line(self.columns.iter().map(|name| (name.as_str(), false)).collect()))?;
        for row in &cells {
            writeln!(f, "{}", line(row.iter().map(|(text, right)| (text.as_str(), *right)).collect()))?;
        }
        write!(f, "({} rows)", self.rows.len())
    }
}

impl Display for Table {
    fn mime_bundle(&self) -> Vec<(String, String)> {
        let mut html = String::from(
            "<div style=\"max-height:32em;overflow:auto\"><table class=\"dataframe\"><thead><tr><th></th>",
        );
        for column in &self.columns {
            html += &format!("<th scope=\"col\">{}</th>", escape(column));
        }
        html += "</tr></thead><tbody>";
        for row in self.shown() {
            let Some(row) = row else {
                html += &format!("<tr><th>…</th>{}</tr>", "<td>…</td>".repeat(self.columns.len()));
                continue;
            };
            html += &format!("<tr><th scope=\"row\">{row}</th>");
            for column in 0..self.columns.len() {
                let (text, right) = self.cell(row, column);
                let align = if right { "right" } else { "left" };
                html += &format!("<td style=\"text-align:{align}\">{}</td>", escape(&text));
            }
            html += "</tr>";
        }
        html += &format!(
            "</tbody></table></div><div>{} rows × {} columns</div>",
            self.rows.len(),
            self.columns.len()
        );
        vec![("text/plain".to_owned(), self.to_string()), ("text/html".to_owned(), html)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Run {
        steps: u32,
        name: &'static str,
        score: Option<f64>,
    }

    #[test]
    fn fields_are_columns() {
        let runs =
            [Run { steps: 1, name: "<b>", score: None }, Run { steps: 20, name: "b", score: Some(0.5) }];
        let table = table(&runs).unwrap();
        assert_eq!(table.columns(), ["steps", "name", "score"]);
        assert_eq!(table.to_string(), "steps  name  score\n    1  <b>\n   20  b       0.5\n(2 rows)");
        let html = &table.mime_bundle()[1].1;
        assert!(html.contains("&lt;b&gt;") && !html.contains("<b>") && html.contains("2 rows × 3 columns"));
    }

    #[test]
    fn tuples_numbers_and_nothing_are_rows_too() {
        let pair = table([(Run { steps: 1, name: "a", score: None }, 2.5)]).unwrap();
        assert_eq!(pair.columns(), ["steps", "name", "score", "1"]);
        assert_eq!(table([1, 2]).unwrap().columns(), ["value"]);
        assert_eq!(table::<i32>([]).unwrap().to_string(), "\n(0 rows)");
    }

    #[test]
    fn of_many_rows_the_ends_are_shown() {
        let text = table(0..1000).unwrap().to_string();
        assert_eq!(text.lines().count(), 1 + 50 + 1 + 10 + 1);
        assert!(text.contains("…") && text.ends_with("999\n(1000 rows)"), "{text}");
    }
}
