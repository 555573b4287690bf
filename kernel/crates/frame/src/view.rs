//! Owns how tables and frames look, as text and as HTML.

use std::fmt;

use crate::{column::ColumnType, frame::Frame, table::DataTable};

/// Rows shown; of more, the first and the last are.
const ROWS_MAX: usize = 60;
const ENDS: usize = 5;
/// Text longer than this is cut where it is shown.
const LETTERS_MAX: usize = 60;
const MISSING: &str = "";

impl DataTable {
    /// Numbers of the rows that are shown, with a gap where some are not.
    fn shown(&self) -> Vec<Option<usize>> {
        if self.rows <= ROWS_MAX {
            return (0..self.rows).map(Some).collect();
        }
        let last = self.rows - ENDS..self.rows;
        (0..ENDS).map(Some).chain([None]).chain(last.map(Some)).collect()
    }

    fn cell(&self, column: usize, row: Option<usize>) -> String {
        let Some(row) = row else { return "…".to_owned() };
        let text = self.columns[column].show(row).unwrap_or_else(|| MISSING.to_owned());
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        match text.char_indices().nth(LETTERS_MAX) {
            Some((at, _)) => format!("{}…", &text[..at]),
            None => text,
        }
    }

    fn is_right(kind: ColumnType) -> bool {
        matches!(kind, ColumnType::Int64 | ColumnType::Float64)
    }

    fn size(&self) -> String {
        let skipped = match self.skipped {
            0 => String::new(),
            1 => "; 1 malformed row was left out".to_owned(),
            n => format!("; {n} malformed rows were left out"),
        };
        let rows = if self.rows == 1 { "row" } else { "rows" };
        let columns = if self.columns.len() == 1 { "column" } else { "columns" };
        format!("{} {rows}, {} {columns}{skipped}", self.rows, self.columns.len())
    }

    /// As HTML.
    pub fn html(&self) -> String {
        let mut html = "<div class=\"nuna-table\"><table><thead><tr>".to_owned();
        for (name, kind) in &self.schema.0 {
            html += &format!("<th title=\"{kind}\">{}</th>", escape(name));
        }
        html += "</tr></thead><tbody>";
        for row in self.shown() {
            html += "<tr>";
            for (index, (_, kind)) in self.schema.0.iter().enumerate() {
                let align = if Self::is_right(*kind) { "right" } else { "left" };
                html += &format!("<td style=\"text-align:{align}\">{}</td>", escape(&self.cell(index, row)));
            }
            html += "</tr>";
        }
        html + &format!("</tbody></table><div>{}</div></div>", self.size())
    }

    /// Views for a notebook: media type and data.
    pub fn mime_bundle(&self) -> Vec<(&'static str, String)> {
        vec![("text/plain", self.to_string()), ("text/html", self.html())]
    }
}

impl fmt::Display for DataTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.shown();
        let mut lines: Vec<String> = vec![String::new(); rows.len() + 1];
        for (index, (name, kind)) in self.schema.0.iter().enumerate() {
            let mut cells = vec![name.clone()];
            cells.extend(rows.iter().map(|&row| self.cell(index, row)));
            let width = cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
            for (line, cell) in lines.iter_mut().zip(cells) {
                let space = " ".repeat(width - cell.chars().count());
                let gap = if index > 0 { "  " } else { "" };
                *line += gap;
                *line += &if Self::is_right(*kind) { space + &cell } else { cell + &space };
            }
        }
        for line in lines {
            writeln!(f, "{}", line.trim_end())?;
        }
        f.write_str(&self.size())
    }
}

impl Frame {
    /// As HTML.
    pub fn html(&self) -> String {
        let mut html = format!("<div>Frame: {}</div><table><tbody>", escape(&self.label()));
        for name in self.columns() {
            let kind = self.column_type(&name).map_or_else(|_| String::new(), |kind| kind.to_string());
            html += &format!("<tr><td style=\"text-align:left\">{}</td><td>{kind}</td></tr>", escape(&name));
        }
        html + "</tbody></table>"
    }

    /// Views for a notebook: media type and data.
    pub fn mime_bundle(&self) -> Vec<(&'static str, String)> {
        vec![("text/plain", self.to_string()), ("text/html", self.html())]
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame: {}\n{}", self.label(), self.describe_columns())
    }
}

/// Text as it may stand in HTML, in attributes too.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
