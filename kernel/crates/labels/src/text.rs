//! Owns the text view of arrays and datasets, laid out as xarray's `repr`.

use std::fmt::{self, Write as _};

use nuna_chunk::Chunk;
use nuna_storage::Attributes;

use crate::{
    DataArray, Dataset,
    coord::{Coord, Coords},
    format,
};

const WIDTH: usize = 80;
/// Attributes shown before the rest is only counted.
const ATTRS_SHOWN: usize = 25;

fn named_sizes(dims: &[String], shape: &[u64]) -> String {
    dims.iter().zip(shape).map(|(dim, n)| format!("{dim}: {n}")).collect::<Vec<_>>().join(", ")
}

/// What stands for elements that have not been computed.
pub(crate) fn lazy(array: &DataArray) -> String {
    let lengths: Vec<String> = array.array.chunks().chunk_shape().iter().map(u64::to_string).collect();
    let comma = if lengths.len() == 1 { "," } else { "" };
    format!("nuna.Array<chunksize=({}{comma})>", lengths.join(", "))
}

/// Coordinates in the order in which they are shown: those along dimensions first.
pub(crate) fn ordered<'a>(coords: &'a Coords, dims: &[String]) -> Vec<(&'a str, &'a Coord)> {
    let place = |name: &str| dims.iter().position(|dim| dim == name).unwrap_or(dims.len());
    let mut all: Vec<_> = coords.iter().map(|(name, coord)| (name, coord.as_ref())).collect();
    all.sort_by_key(|(name, _)| place(name));
    all
}

pub(crate) fn preview(coord: &Coord, width: usize) -> String {
    coord.loaded().map_or_else(|| "...".to_owned(), |values| format::labels(values, width))
}

fn row(
    out: &mut String,
    mark: char,
    name: &str,
    pad: usize,
    dims: &[String],
    dtype: &str,
    bytes: u64,
    rest: impl Fn(usize) -> String,
) {
    let dims = if dims.is_empty() { String::new() } else { format!("({}) ", dims.join(", ")) };
    let start = format!("  {mark} {name:pad$} {dims}{dtype} {} ", format::bytes(bytes));
    let rest = rest(WIDTH.saturating_sub(start.chars().count()));
    let _ = writeln!(out, "{start}{rest}");
}

fn coordinates(out: &mut String, coords: &Coords, dims: &[String], pad: usize) {
    if coords.is_empty() {
        return;
    }
    out.push_str("Coordinates:\n");
    for (name, coord) in ordered(coords, dims) {
        let mark = if coord.dims() == [name.to_owned()] { '*' } else { ' ' };
        row(out, mark, name, pad, coord.dims(), &coord.dtype_name(), coord.byte_count(), |width| {
            preview(coord, width)
        });
    }
}

fn attributes(out: &mut String, attrs: &Attributes) {
    if attrs.is_empty() {
        return;
    }
    out.push_str("Attributes:\n");
    let pad = attrs.keys().map(|key| key.chars().count()).max().unwrap_or(0).min(20) + 1;
    for (key, value) in attrs.iter().take(ATTRS_SHOWN) {
        let line = format!("    {:pad$}  {}", format!("{key}:"), format::attribute(value));
        let cut: String = if line.chars().count() > WIDTH {
            line.chars().take(WIDTH - 3).chain("...".chars()).collect()
        } else {
            line
        };
        let _ = writeln!(out, "{cut}");
    }
    if attrs.len() > ATTRS_SHOWN {
        let _ = writeln!(out, "    ... and {} more", attrs.len() - ATTRS_SHOWN);
    }
}

fn pad<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    names.map(|name| name.chars().count()).max().unwrap_or(0).clamp(8, 20)
}

/// Elements in brackets as NumPy prints them; long axes show their ends.
pub(crate) fn elements(chunk: &Chunk) -> String {
    const EDGE: u64 = 3;
    fn write(chunk: &Chunk, axis: usize, start: usize, cut: bool, out: &mut String) {
        if axis == chunk.ndim() {
            out.push_str(&format::number(chunk.get(start)));
            return;
        }
        let n = chunk.shape()[axis];
        let stride = usize::try_from(chunk.shape()[axis + 1..].iter().product::<u64>()).unwrap_or(0);
        let last = axis + 1 == chunk.ndim();
        let between = if last { ", ".to_owned() } else { format!(",\n{}", " ".repeat(axis + 1)) };
        out.push('[');
        for i in 0..n {
            if cut && n > 2 * EDGE && i == EDGE {
                out.push_str(&between.replace(',', ""));
                out.push_str("...");
            }
            if cut && n > 2 * EDGE && (EDGE..n - EDGE).contains(&i) {
                continue;
            }
            if i > 0 {
                out.push_str(&between);
            }
            write(chunk, axis + 1, start + usize::try_from(i).unwrap_or(0) * stride, cut, out);
        }
        out.push(']');
    }
    let mut out = String::new();
    if chunk.is_empty() {
        return format!("[] (shape {:?})", chunk.shape());
    }
    write(chunk, 0, 0, chunk.len() > 200, &mut out);
    out
}

impl fmt::Display for DataArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.as_ref().map(|name| format!(" '{name}'")).unwrap_or_default();
        let sizes = named_sizes(&self.dims, self.shape());
        let sizes = if sizes.is_empty() { String::new() } else { format!(" ({sizes})") };
        let mut out = format!("<nuna.DataArray{name}{sizes}> Size: {}\n", format::bytes(self.nbytes()));
        match &self.loaded {
            Some(chunk) => out.push_str(&elements(chunk)),
            None => {
                let _ = write!(out, "{} {}", self.dtype(), lazy(self));
            }
        }
        out.push('\n');
        coordinates(&mut out, &self.coords, &self.dims, pad(self.coords.iter().map(|(name, _)| name)));
        attributes(&mut out, &self.attrs);
        f.write_str(out.trim_end())
    }
}

impl fmt::Display for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = self.sizes();
        let dims: Vec<String> = sizes.iter().map(|(dim, _)| dim.clone()).collect();
        let shape: Vec<u64> = sizes.iter().map(|(_, n)| *n).collect();
        let mut out = format!("<nuna.Dataset> Size: {}\n", format::bytes(self.nbytes()));
        let _ = writeln!(out, "Dimensions:  ({})", named_sizes(&dims, &shape));
        let pad = pad(self.coords.iter().map(|(name, _)| name).chain(self.variables().map(|(name, _)| name)));
        coordinates(&mut out, &self.coords, &dims, pad);
        out.push_str("Data variables:\n");
        if self.variables.is_empty() {
            out.push_str("    *empty*\n");
        }
        for (name, variable) in self.variables() {
            row(
                &mut out,
                ' ',
                name,
                pad,
                &variable.dims,
                variable.dtype().name(),
                variable.nbytes(),
                |width| match &variable.loaded {
                    Some(chunk) => format::labels(&crate::Values::Numbers(chunk.clone()), width),
                    None => lazy(variable),
                },
            );
        }
        if !self.skipped.is_empty() {
            out.push_str("Not opened:\n");
            for skipped in &self.skipped {
                let _ = writeln!(out, "    {}: {}", skipped.name, skipped.reason);
            }
        }
        attributes(&mut out, &self.attrs);
        f.write_str(out.trim_end())
    }
}
