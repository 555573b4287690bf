//! Owns plots of one- and two-dimensional arrays as SVG: a line, or a heat map with a colour bar.
//!
//! Drawn without a plotting library: what is needed is axes, a path and an image, a heat map of a million cells must
//! be one embedded image rather than a million rectangles, and every crate here is compiled on every user's machine.

mod axis;
mod colour;
mod image;
mod line;

use std::fmt::Write as _;

use crate::{DataArray, LabelError, Result, coord::Values};
use axis::Scale;

/// A drawing. Shown by a notebook, or written with [`Plot::save`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plot {
    svg: String,
}

/// Elements computed for a plot at most; beyond it, a selection is a better picture anyway.
const BYTES_MAX: u64 = 1 << 30;

pub(crate) const WIDTH: f64 = 640.0;
pub(crate) const HEIGHT: f64 = 400.0;

/// The box inside the axes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

impl Plot {
    pub fn svg(&self) -> &str {
        &self.svg
    }

    /// Writes the drawing to a file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<std::path::Path>) -> Result<()> {
        let path = path.as_ref();
        std::fs::write(path, &self.svg)
            .map_err(|error| LabelError::Invalid(format!("cannot write {}: {error}", path.display())))
    }

    /// What a notebook shows.
    pub fn mime_bundle(&self) -> Vec<(&'static str, String)> {
        vec![("image/svg+xml", self.svg.clone()), ("text/plain", "<nuna.Plot>".to_owned())]
    }
}

impl std::fmt::Display for Plot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<nuna.Plot>")
    }
}

impl DataArray {
    /// Draws it: a line for one dimension, a heat map for two; dimensions of length 1 do not count. NaNs stay blank.
    ///
    /// # Errors
    /// If it has other dimensions, nothing but NaN, or as [`compute`](DataArray::compute).
    pub fn plot(&self) -> Result<Plot> {
        let mut flat = self.clone();
        while let Some(axis) = flat.shape().iter().position(|&n| n == 1)
            && flat.ndim() > 1
        {
            flat = flat.isel(&flat.dims[axis].clone(), 0)?;
        }
        let sizes: Vec<String> =
            flat.dims.iter().zip(flat.shape()).map(|(d, n)| format!("{d}: {n}")).collect();
        if flat.nbytes() > BYTES_MAX {
            return Err(LabelError::Invalid(format!(
                "a plot of {} ({}) would fetch {}; select a part of it or average first",
                self.describe(),
                sizes.join(", "),
                crate::format::bytes(flat.nbytes())
            )));
        }
        // A selection of what is in memory is computed here, too: the array is small by now.
        match flat.ndim() {
            1 => line::draw(&flat),
            2 => image::draw(&flat),
            n => Err(LabelError::Invalid(format!(
                "a plot needs 1 or 2 dimensions, {} has {n} ({}); select or average over the others, such as isel(\"{}\", 0)",
                self.describe(),
                sizes.join(", "),
                flat.dims.first().map_or("time", String::as_str)
            ))),
        }
    }
}

/// `potential temperature [degC]`, or the name.
fn labelled(name: Option<&str>, attrs: &nuna_storage::Attributes) -> String {
    let text = |key: &str| attrs.get(key).and_then(|value| value.as_str()).filter(|text| !text.is_empty());
    let title = text("long_name").or_else(|| text("standard_name")).or(name).unwrap_or_default();
    match text("units") {
        Some(units) => format!("{title} [{units}]"),
        None => title.to_owned(),
    }
}

/// The positions along a dimension, how they are written, and the axis' title.
pub(crate) fn positions(array: &DataArray, dim: &str) -> Result<(Vec<f64>, Scale, String)> {
    let n = usize::try_from(array.shape()[array.axis(dim)?]).unwrap_or(0);
    let counted = || (0..n).map(|i| i as f64).collect::<Vec<_>>();
    let Some(coord) = array.coords.index(dim) else {
        return Ok((counted(), Scale::Number, dim.to_owned()));
    };
    let title = labelled(Some(dim), coord.attrs());
    Ok(match coord.values()? {
        Values::Numbers(chunk) => (chunk.to_vec::<f64>(), Scale::Number, title),
        Values::Times(times) => {
            let positions =
                times.micros.iter().map(|&t| if t == crate::time::NOT_A_TIME { f64::NAN } else { t as f64 });
            (positions.collect(), Scale::Time(times.calendar), title)
        }
        Values::Text(text) => (counted(), Scale::Text(text.clone()), title),
    })
}

/// What has been selected away, such as `lat = 30.0`; for the title.
fn title(array: &DataArray) -> String {
    let scalars = array.coords.iter().filter(|(_, coord)| coord.dims().is_empty());
    let parts: Vec<String> = scalars
        .filter_map(|(name, coord)| Some(format!("{name} = {}", coord.loaded()?.show(0))))
        .take(4)
        .collect();
    parts.join(", ")
}

/// Opens a drawing: white paper in any theme, since notebooks show SVG as an image that cannot know theirs.
fn paper(array: &DataArray, what: &str) -> String {
    let label = crate::html::escape(&format!("{what} of {}", labelled(array.name(), array.attrs())));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         role=\"img\" aria-label=\"{label}\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"11\" fill=\"#222\">\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>"
    );
    let title = title(array);
    if !title.is_empty() {
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"18\" text-anchor=\"middle\" font-size=\"12\">{}</text>",
            WIDTH / 2.0,
            crate::html::escape(&title)
        );
    }
    svg
}

fn nothing(array: &DataArray) -> LabelError {
    LabelError::Invalid(format!("{} has no values to plot, all of them are missing", array.describe()))
}
