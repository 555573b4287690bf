//! Owns writing rows as CSV, so that they read back as they were: fields with delimiters, quotes or line ends stand in
//! quotes, and so does text that is empty but not missing.

use crate::{
    column::Data,
    table::{DataTable, Schema},
};

pub(crate) struct Writer {
    delimiter: char,
}

impl Default for Writer {
    fn default() -> Self {
        Writer { delimiter: ',' }
    }
}

impl Writer {
    pub(crate) fn header(&self, schema: &Schema, out: &mut String) {
        for (index, (name, _)) in schema.0.iter().enumerate() {
            if index > 0 {
                out.push(self.delimiter);
            }
            self.text(name, out);
        }
        out.push('\n');
    }

    pub(crate) fn rows(&self, table: &DataTable, out: &mut String) {
        for row in 0..table.rows {
            let start = out.len();
            for (index, column) in table.columns.iter().enumerate() {
                if index > 0 {
                    out.push(self.delimiter);
                }
                match &column.data {
                    _ if !column.is_valid(row) => {}
                    Data::Text(text) => self.text(text.str(row), out),
                    Data::Int(_) | Data::Float(_) | Data::Bool(_) => column.write(row, out),
                }
            }
            // An empty line would be no row.
            if out.len() == start {
                out.push_str("\"\"");
            }
            out.push('\n');
        }
    }

    fn text(&self, text: &str, out: &mut String) {
        let special = |c: char| c == self.delimiter || matches!(c, '"' | '\n' | '\r');
        if text.is_empty() || text.contains(special) {
            out.push('"');
            for part in text.split_inclusive('"') {
                out.push_str(part);
                if part.ends_with('"') {
                    out.push('"');
                }
            }
            out.push('"');
        } else {
            out.push_str(text);
        }
    }
}
