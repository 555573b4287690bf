//! Owns line plots: one line, or one for each label of a dimension, told apart by colour and dash.

use std::fmt::Write as _;

use crate::{
    DataArray, LabelError, Result,
    html::escape,
    plot::{
        Frame, Plot, PlotOptions,
        axis::{Edges, Scale},
        labelled, nothing, paper, positions,
    },
};

/// Okabe and Ito's colours, which the colour-blind can tell apart; yellow is too light for a line on white.
const COLOURS: [&str; 7] = ["#1f6fb4", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#333333"];
const DASHES: [&str; 3] = ["", "6 3", "2 3"];
/// More lines than this cannot be told apart.
const LINES_MAX: usize = 20;
const LEGEND_WIDTH: f64 = 120.0;

/// One line with its entry in the legend.
struct Series {
    label: String,
    values: Vec<f64>,
}

/// Lines before anybody has said where they stand.
pub(super) struct Chart {
    x: Vec<f64>,
    scale: Scale,
    x_title: String,
    series: Vec<Series>,
    /// What the legend is called, if there is one.
    legend: Option<String>,
}

/// The ends of both axes.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    x: (f64, f64),
    y: (f64, f64),
}

impl Chart {
    /// Of an array with one dimension, or with `hue` and another one.
    pub(super) fn of(array: &DataArray, hue: Option<&str>) -> Result<Self> {
        let (along, series, legend) = match hue {
            Some(hue) => series_of(array, hue)?,
            None => {
                let values = array.values_f64()?;
                (array.dims[0].clone(), vec![Series { label: String::new(), values }], None)
            }
        };
        let (x, scale, x_title) = positions(array, &along)?;
        Ok(Self { x, scale, x_title, series, legend })
    }

    /// Room for the legend on the right.
    pub(super) fn margin(&self) -> f64 {
        if self.legend.is_some() { LEGEND_WIDTH } else { 20.0 }
    }

    pub(super) fn key(&self, svg: &mut String, frame: Frame) {
        if let Some(title) = &self.legend {
            key(svg, frame, title, &self.series);
        }
    }

    fn is_known(&self, options: &PlotOptions, i: usize, value: f64) -> bool {
        self.x[i].is_finite() && height_of(options, value).is_finite()
    }

    /// Points that are drawn.
    fn points(&self, options: &PlotOptions) -> impl Iterator<Item = (f64, f64)> {
        let all = self.series.iter().flat_map(|s| s.values.iter().enumerate());
        let known = all.filter(|&(i, &value)| self.is_known(options, i, value));
        known.map(|(i, &value)| (self.x[i], height_of(options, value))).collect::<Vec<_>>().into_iter()
    }

    /// What holds the points of all; nothing if there are none.
    pub(super) fn limits(charts: &[Chart], options: &PlotOptions) -> Option<Limits> {
        let all = || charts.iter().flat_map(|chart| chart.points(options));
        let (low, high) =
            all().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (x, _)| (low.min(x), high.max(x)));
        let (y_low, y_high) = options.range(all().map(|(_, y)| y))?;
        let room = if options.vmin.is_some() && options.vmax.is_some() { 0.0 } else { 0.05 };
        (low <= high).then(|| Limits { x: widened(low, high, 0.0), y: widened(y_low, y_high, room) })
    }

    /// Draws axes and lines.
    pub(super) fn paint(
        &self,
        svg: &mut String,
        frame: Frame,
        limits: Limits,
        edges: Edges,
        y_title: &str,
        options: &PlotOptions,
    ) {
        let Limits { x: (x_low, x_high), y: (y_low, y_high) } = limits;
        let ticks = |scale: &Scale, low: f64, high: f64| {
            scale.ticks(low, high).into_iter().map(|(v, text)| ((v - low) / (high - low), text)).collect()
        };
        let y_scale = if options.log { Scale::Log } else { Scale::Number };
        edges.draw(
            svg,
            frame,
            (&ticks(&self.scale, x_low, x_high), &self.x_title),
            (&ticks(&y_scale, y_low, y_high), y_title),
        );
        let clip = frame.clip(svg);
        let place = |x: f64, y: f64| {
            (
                frame.left + (x - x_low) / (x_high - x_low) * frame.width,
                frame.top + frame.height - (height_of(options, y) - y_low) / (y_high - y_low) * frame.height,
            )
        };
        let known = |i: usize, value: f64| self.is_known(options, i, value);
        for (number, line) in self.series.iter().enumerate() {
            // A missing value interrupts the line; a value alone between two is a dot.
            let mut path = String::new();
            for (i, &value) in line.values.iter().enumerate().filter(|&(i, &value)| known(i, value)) {
                let before = i > 0 && known(i - 1, line.values[i - 1]);
                let after = line.values.get(i + 1).is_some_and(|&next| known(i + 1, next));
                let (px, py) = place(self.x[i], value);
                let _ = match (before, after) {
                    (true, _) => write!(path, "L{px:.1} {py:.1}"),
                    (false, true) => write!(path, "M{px:.1} {py:.1}"),
                    (false, false) => write!(path, "M{px:.1} {py:.1}h0.01"),
                };
            }
            let _ = write!(
                svg,
                "<path d=\"{path}\" fill=\"none\" {} stroke-linejoin=\"round\" stroke-linecap=\"round\" clip-path=\"url(#{clip})\"/>",
                stroke(number)
            );
        }
    }
}

fn height_of(options: &PlotOptions, value: f64) -> f64 {
    if options.log { value.log10() } else { value }
}

/// A line, or one for each label along `hue`.
pub(super) fn draw(array: &DataArray, hue: Option<&str>, options: &PlotOptions) -> Result<Plot> {
    let charts = [Chart::of(array, hue)?];
    let Some(limits) = Chart::limits(&charts, options) else { return Err(nothing(array)) };
    let frame = Frame {
        left: 76.0,
        top: 28.0,
        width: options.width() - 76.0 - charts[0].margin(),
        height: options.height() - 84.0,
    };
    let mut svg = paper(array, "line", options);
    charts[0].paint(&mut svg, frame, limits, Edges::BOTH, &labelled(array.name(), array.attrs()), options);
    charts[0].key(&mut svg, frame);
    svg.push_str("</svg>");
    Ok(Plot { svg })
}

/// The dimension along which lines run, the lines, and what the legend is called.
fn series_of(array: &DataArray, hue: &str) -> Result<(String, Vec<Series>, Option<String>)> {
    let axis = array.axis(hue)?;
    let along = array.dims[1 - axis].clone();
    let (count, length) = (array.shape()[axis] as usize, array.shape()[1 - axis] as usize);
    if count > LINES_MAX {
        return Err(LabelError::Invalid(format!(
            "{count} lines, one for each label of `{hue}`, cannot be told apart; select at most {LINES_MAX}, such as isel(\"{hue}\", 0..{LINES_MAX})"
        )));
    }
    let values = array.values_f64()?;
    let coord = array.coords.index(hue).map(|coord| coord.values()).transpose()?;
    let series: Vec<Series> = (0..count)
        .map(|i| {
            let at = |j: usize| if axis == 0 { values[i * length + j] } else { values[j * count + i] };
            Series {
                label: coord.as_ref().map_or_else(|| i.to_string(), |coord| coord.show(i)),
                values: (0..length).map(at).collect(),
            }
        })
        .collect();
    let title = array.coords.index(hue).map_or_else(|| hue.to_owned(), |c| labelled(Some(hue), c.attrs()));
    Ok((along, series, Some(title)))
}

fn stroke(number: usize) -> String {
    let dash = DASHES[number / COLOURS.len() % DASHES.len()];
    let dash = if dash.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dash}\"") };
    format!("stroke=\"{}\" stroke-width=\"1.6\"{dash}", COLOURS[number % COLOURS.len()])
}

fn key(svg: &mut String, frame: Frame, title: &str, series: &[Series]) {
    /// Longer labels are cut; the whole one is in the tooltip.
    const LETTERS: usize = 13;
    let left = frame.left + frame.width + 12.0;
    let cut = |text: &str| {
        if text.chars().count() <= LETTERS {
            return text.to_owned();
        }
        text.chars().take(LETTERS - 1).chain(['…']).collect()
    };
    let step = (frame.height / (series.len() + 1) as f64).min(16.0);
    let _ = write!(
        svg,
        "<text x=\"{left:.1}\" y=\"{:.1}\" font-weight=\"600\">{}<title>{}</title></text>",
        frame.top + 4.0,
        escape(&cut(title)),
        escape(title)
    );
    for (number, line) in series.iter().enumerate() {
        let y = frame.top + 4.0 + step * (number + 1) as f64;
        let _ = write!(
            svg,
            "<path d=\"M{left:.1} {:.1}h18\" {}/><text x=\"{:.1}\" y=\"{y:.1}\">{}<title>{}</title></text>",
            y - 4.0,
            stroke(number),
            left + 24.0,
            escape(&cut(&line.label)),
            escape(&line.label)
        );
    }
}

/// A range with some room, never empty.
pub(super) fn widened(low: f64, high: f64, share: f64) -> (f64, f64) {
    if low == high {
        let room = if low == 0.0 { 1.0 } else { low.abs() * 0.5 };
        return (low - room, high + room);
    }
    let room = (high - low) * share;
    (low - room, high + room)
}
