//! Owns plots as SVG: lines, heat maps and maps with a colour bar, panels of these, histograms.
//!
//! Drawn without a plotting library: what is needed is axes, a path and an image, a heat map of a million cells must
//! be one embedded image rather than a million rectangles, and every crate here is compiled on every user's machine.

mod axis;
mod colour;
mod facet;
mod histogram;
mod image;
mod line;
mod map;
mod options;

use std::fmt::Write as _;

use crate::{DataArray, LabelError, Result, coord::Values};
use axis::Scale;
pub use options::PlotOptions;

/// A drawing. Shown by a notebook, or written with [`Plot::save`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plot {
    svg: String,
}

/// Elements computed for a plot at most; beyond it, a selection is a better picture anyway.
const BYTES_MAX: u64 = 1 << 30;

/// The box inside the axes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

impl Frame {
    /// Defines a clip path of this box and gives its name. Drawings on one page that share a name share the box, too.
    pub(crate) fn clip(&self, svg: &mut String) -> String {
        let Frame { left, top, width, height } = self;
        let name = format!("nuna-frame-{left:.0}-{top:.0}-{width:.0}-{height:.0}");
        let _ = write!(
            svg,
            "<clipPath id=\"{name}\"><rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\"/></clipPath>"
        );
        name
    }
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
    /// Draws it: a line for one dimension, a heat map for two, which is a map of the Earth where these are longitude
    /// and latitude; dimensions of length 1 do not count. NaNs stay blank.
    ///
    /// # Errors
    /// If it has other dimensions, nothing but NaN, or as [`compute`](DataArray::compute).
    pub fn plot(&self) -> Result<Plot> {
        self.plot_with(PlotOptions::new())
    }

    /// As [`plot`](DataArray::plot), with what `options` say; with [`col`](PlotOptions::col) or [`row`](PlotOptions::row) a panel
    /// for each label along that dimension.
    ///
    /// # Errors
    /// As [`plot`](DataArray::plot), and if options do not fit each other.
    pub fn plot_with(&self, options: PlotOptions) -> Result<Plot> {
        options.check_values()?;
        if options.has_panels() {
            return facet::draw(self, None, &options);
        }
        let flat = self.flat_but(&[])?;
        match flat.ndim() {
            1 => line::draw(&flat, None, &options),
            2 => image::draw(&flat, &options),
            n => Err(LabelError::Invalid(format!(
                "a plot needs 1 or 2 dimensions, {} has {n} ({}); select or average over the others, such as isel(\"{}\", 0), \
                 or draw how its values are distributed with plot_hist()",
                self.describe(),
                flat.sizes_text(),
                flat.dims.first().map_or("time", String::as_str)
            ))),
        }
    }

    /// Draws one line for each label along `hue` of an array with two dimensions, with a legend.
    ///
    /// # Errors
    /// If there is no such dimension, more than 20 labels along it, another number of dimensions, or as
    /// [`plot`](DataArray::plot).
    pub fn plot_lines(&self, hue: &str, options: PlotOptions) -> Result<Plot> {
        options.check_values()?;
        self.axis(hue)?;
        if options.has_panels() {
            return facet::draw(self, Some(hue), &options);
        }
        let flat = self.flat_but(&[hue])?;
        if flat.ndim() != 2 {
            return Err(LabelError::Invalid(format!(
                "lines need two dimensions, `{hue}` and the one along which they run; {} has {} ({})",
                self.describe(),
                flat.ndim(),
                flat.sizes_text()
            )));
        }
        line::draw(&flat, Some(hue), &options)
    }

    /// Draws how the values of all elements are distributed, whatever the dimensions. NaNs do not count.
    ///
    /// # Errors
    /// If there is nothing but NaN, or as [`compute`](DataArray::compute).
    pub fn plot_hist(&self, options: PlotOptions) -> Result<Plot> {
        options.check()?;
        if options.has_panels() {
            return Err(LabelError::Invalid("a histogram has no panels; draw one of each part".to_owned()));
        }
        self.fits_a_plot()?;
        histogram::draw(self, &options)
    }

    /// Without its dimensions of length 1 but those named, as long as one is left.
    fn flat_but(&self, kept: &[&str]) -> Result<DataArray> {
        let mut flat = self.clone();
        while let Some(axis) = (0..flat.ndim())
            .find(|&axis| flat.shape()[axis] == 1 && !kept.contains(&flat.dims[axis].as_str()))
            && flat.ndim() > 1 + kept.len()
        {
            flat = flat.isel(&flat.dims[axis].clone(), 0)?;
        }
        flat.fits_a_plot()?;
        Ok(flat)
    }

    fn fits_a_plot(&self) -> Result<()> {
        if self.nbytes() <= BYTES_MAX {
            return Ok(());
        }
        Err(LabelError::Invalid(format!(
            "a plot of {} ({}) would fetch {}; select a part of it or average first",
            self.describe(),
            self.sizes_text(),
            crate::format::bytes(self.nbytes())
        )))
    }

    fn sizes_text(&self) -> String {
        let sizes: Vec<String> =
            self.dims.iter().zip(self.shape()).map(|(d, n)| format!("{d}: {n}")).collect();
        sizes.join(", ")
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
fn paper(array: &DataArray, what: &str, options: &PlotOptions) -> String {
    let (width, height) = (options.width(), options.height());
    let label = crate::html::escape(&format!("{what} of {}", labelled(array.name(), array.attrs())));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-label=\"{label}\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"11\" fill=\"#222\">\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>"
    );
    let title = options.title.clone().unwrap_or_else(|| title(array));
    if !title.is_empty() {
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"18\" text-anchor=\"middle\" font-size=\"12\">{}</text>",
            width / 2.0,
            crate::html::escape(&title)
        );
    }
    svg
}

fn nothing(array: &DataArray) -> LabelError {
    LabelError::Invalid(format!("{} has no values to plot, all of them are missing", array.describe()))
}
