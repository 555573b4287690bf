//! Owns the HTML view: collapsible sections as xarray's, colours from Jupyter's theme variables, every text escaped.

use std::fmt::Write as _;

use nuna_storage::Attributes;

use crate::{
    DataArray, Dataset,
    coord::{Coord, Coords},
    format, text,
};

const STYLE: &str = include_str!("html.css");

/// Sections with more rows start closed.
const OPEN_ROWS_MAX: usize = 25;

/// Text that may stand anywhere in HTML.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fn document(kind: &str, title: &str, fallback: &str, body: &str) -> String {
    // The text view is for viewers that drop style sheets.
    format!(
        "<div class=\"nuna-view\"><style>{STYLE}</style><pre class=\"nuna-text\">{}</pre>\
         <div class=\"nuna-wrap\" hidden><div class=\"nuna-header\"><span class=\"nuna-kind\">{}</span> {title}</div>{body}</div></div>",
        escape(fallback),
        escape(kind),
    )
}

fn section(name: &str, rows: &[String]) -> String {
    let open = if rows.len() <= OPEN_ROWS_MAX && !rows.is_empty() { " open" } else { "" };
    format!(
        "<details class=\"nuna-section\"{open}><summary>{}: <span class=\"nuna-count\">({})</span></summary>{}</details>",
        escape(name),
        rows.len(),
        rows.concat()
    )
}

fn dims(dims: &[String], shape: &[u64], coords: &Coords) -> String {
    let mut out = String::from("<div class=\"nuna-dims\"><span class=\"nuna-label\">Dimensions:</span>");
    for (dim, n) in dims.iter().zip(shape) {
        let class = if coords.index(dim).is_some() { " class=\"nuna-index\"" } else { "" };
        let _ = write!(out, "<span{class}>{}</span>: {n} ", escape(dim));
    }
    out + "</div>"
}

fn attribute_list(attrs: &Attributes) -> String {
    if attrs.is_empty() {
        return String::new();
    }
    let mut out = String::from("<dl class=\"nuna-attrs\">");
    for (key, value) in attrs {
        let _ = write!(out, "<dt>{}</dt><dd>{}</dd>", escape(key), escape(&format::attribute(value)));
    }
    out + "</dl>"
}

/// One variable or coordinate: a line, and below it what opens.
fn row(name: &str, is_index: bool, dims: &[String], dtype: &str, preview: &str, detail: &str) -> String {
    let class = if is_index { "nuna-name nuna-index" } else { "nuna-name" };
    format!(
        "<details class=\"nuna-row\"><summary><span class=\"{class}\">{}</span><span class=\"nuna-var-dims\">({})</span>\
         <span class=\"nuna-dtype\">{}</span><span class=\"nuna-preview\">{}</span></summary><div class=\"nuna-detail\">{detail}</div></details>",
        escape(name),
        escape(&dims.join(", ")),
        escape(dtype),
        escape(preview),
    )
}

fn coord_row(name: &str, coord: &Coord) -> String {
    let is_index = coord.dims() == [name.to_owned()];
    let full = coord
        .loaded()
        .map(|values| format!("<pre>{}</pre>", escape(&format::labels(values, 400))))
        .unwrap_or_default();
    let detail = attribute_list(coord.attrs()) + &full;
    row(name, is_index, coord.dims(), &coord.dtype_name(), &text::preview(coord, 60), &detail)
}

fn coords_section(coords: &Coords, dims: &[String]) -> String {
    let rows: Vec<String> =
        text::ordered(coords, dims).into_iter().map(|(name, coord)| coord_row(name, coord)).collect();
    section("Coordinates", &rows)
}

/// Bytes, shape, chunk count and dtype of an array and of its largest chunk.
fn chunk_table(array: &DataArray) -> String {
    let chunks = array.array.chunks();
    let chunk_shape = chunks.chunk_shape();
    let size = array.dtype().size() as u64;
    let shape =
        |shape: &[u64]| format!("({})", shape.iter().map(u64::to_string).collect::<Vec<_>>().join(", "));
    let chunk_bytes = chunk_shape.iter().fold(size, |bytes, &n| bytes.saturating_mul(n));
    format!(
        "<table class=\"nuna-chunks\"><thead><tr><td></td><th>Array</th><th>Chunk</th></tr></thead><tbody>\
         <tr><th>Bytes</th><td>{}</td><td>{}</td></tr><tr><th>Shape</th><td>{}</td><td>{}</td></tr>\
         <tr><th>Count</th><td colspan=\"2\">{} {}</td></tr><tr><th>Type</th><td colspan=\"2\">{}</td></tr>\
         <tr><th>From</th><td colspan=\"2\">{}</td></tr></tbody></table>",
        format::binary_bytes(array.nbytes()),
        format::binary_bytes(chunk_bytes),
        shape(array.shape()),
        shape(&chunk_shape),
        chunks.count(),
        if chunks.count() == 1 { "chunk" } else { "chunks" },
        array.dtype(),
        escape(&array.array.expression()),
    )
}

fn data(array: &DataArray) -> String {
    match &array.loaded {
        Some(chunk) => format!("<pre>{}</pre>", escape(&text::elements(chunk))),
        None => chunk_table(array),
    }
}

fn attrs_section(attrs: &Attributes) -> String {
    let open = if !attrs.is_empty() && attrs.len() <= OPEN_ROWS_MAX { " open" } else { "" };
    format!(
        "<details class=\"nuna-section\"{open}><summary>Attributes: <span class=\"nuna-count\">({})</span></summary>{}</details>",
        attrs.len(),
        attribute_list(attrs)
    )
}

impl DataArray {
    /// As HTML for a notebook, in its light or dark theme.
    pub fn html(&self) -> String {
        let name = self
            .name
            .as_ref()
            .map(|name| format!("<span class=\"nuna-title\">{}</span>", escape(name)))
            .unwrap_or_default();
        let title = format!("{name} <span class=\"nuna-size\">{}</span>", format::bytes(self.nbytes()));
        let body = dims(&self.dims, self.shape(), &self.coords)
            + &format!("<div class=\"nuna-data\">{}</div>", data(self))
            + &coords_section(&self.coords, &self.dims)
            + &attrs_section(&self.attrs);
        document("nuna.DataArray", &title, &self.to_string(), &body)
    }

    /// What a notebook shows: HTML, and text for those that cannot.
    pub fn mime_bundle(&self) -> Vec<(&'static str, String)> {
        vec![("text/html", self.html()), ("text/plain", self.to_string())]
    }
}

impl Dataset {
    /// As HTML for a notebook, in its light or dark theme.
    pub fn html(&self) -> String {
        let (names, shape): (Vec<String>, Vec<u64>) = self.sizes().into_iter().unzip();
        let rows: Vec<String> = self
            .variables()
            .map(|(name, variable)| {
                let preview = match &variable.loaded {
                    Some(chunk) => format::labels(&crate::Values::Numbers(chunk.clone()), 60),
                    None => text::lazy(variable),
                };
                let detail = attribute_list(variable.attrs()) + &data(variable);
                row(name, false, variable.dims(), variable.dtype().name(), &preview, &detail)
            })
            .collect();
        let mut body = dims(&names, &shape, &self.coords)
            + &coords_section(&self.coords, &names)
            + &section("Data variables", &rows);
        if !self.skipped.is_empty() {
            let notes: Vec<String> = self
                .skipped
                .iter()
                .map(|s| format!("<div class=\"nuna-note\">{}: {}</div>", escape(&s.name), escape(&s.reason)))
                .collect();
            body += &section("Not opened", &notes);
        }
        body += &attrs_section(&self.attrs);
        let title = format!("<span class=\"nuna-size\">{}</span>", format::bytes(self.nbytes()));
        document("nuna.Dataset", &title, &self.to_string(), &body)
    }

    /// What a notebook shows: HTML, and text for those that cannot.
    pub fn mime_bundle(&self) -> Vec<(&'static str, String)> {
        vec![("text/html", self.html()), ("text/plain", self.to_string())]
    }
}
