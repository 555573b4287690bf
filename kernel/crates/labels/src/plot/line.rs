//! Owns line plots: one line, or one for each label of a dimension, told apart by colour and dash.

use std::fmt::Write as _;

use crate::{
    DataArray, LabelError, Result,
    html::escape,
    plot::{Frame, Plot, PlotOptions, axis, axis::Scale, labelled, nothing, paper, positions},
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

pub(super) fn draw(array: &DataArray, options: &PlotOptions) -> Result<Plot> {
    let values = array.values_f64()?;
    lines(array, &array.dims[0], &[Series { label: String::new(), values }], None, options)
}

/// A line for each label along `hue` of an array with two dimensions.
pub(super) fn draw_each(array: &DataArray, hue: &str, options: &PlotOptions) -> Result<Plot> {
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
    lines(array, &along, &series, Some(&title), options)
}

fn lines(
    array: &DataArray,
    dim: &str,
    series: &[Series],
    legend: Option<&str>,
    options: &PlotOptions,
) -> Result<Plot> {
    let (x, scale, x_title) = positions(array, dim)?;
    let height_of = |value: f64| if options.log { value.log10() } else { value };
    let known = |i: usize, value: f64| x[i].is_finite() && height_of(value).is_finite();
    let all = || series.iter().flat_map(|s| s.values.iter().enumerate()).filter(|&(i, &v)| known(i, v));
    let (x_low, x_high) = all()
        .map(|(i, _)| x[i])
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    let range = options.range(all().map(|(_, &value)| height_of(value)));
    let (Some((y_low, y_high)), true) = (range, x_low <= x_high) else { return Err(nothing(array)) };
    let (x_low, x_high) = widened(x_low, x_high, 0.0);
    let room = if options.vmin.is_some() && options.vmax.is_some() { 0.0 } else { 0.05 };
    let (y_low, y_high) = widened(y_low, y_high, room);
    let right = if legend.is_some() { LEGEND_WIDTH } else { 20.0 };
    let frame = Frame {
        left: 76.0,
        top: 28.0,
        width: options.width() - 76.0 - right,
        height: options.height() - 84.0,
    };
    let mut svg = paper(array, "line", options);
    let ticks = |scale: &Scale, low: f64, high: f64| {
        scale.ticks(low, high).into_iter().map(|(v, text)| ((v - low) / (high - low), text)).collect()
    };
    let y_title = labelled(array.name(), array.attrs());
    let y_scale = if options.log { Scale::Log } else { Scale::Number };
    axis::draw(
        &mut svg,
        frame,
        &ticks(&scale, x_low, x_high),
        &x_title,
        &ticks(&y_scale, y_low, y_high),
        &y_title,
    );
    let clip = frame.clip(&mut svg);
    let place = |x: f64, y: f64| {
        (
            frame.left + (x - x_low) / (x_high - x_low) * frame.width,
            frame.top + frame.height - (height_of(y) - y_low) / (y_high - y_low) * frame.height,
        )
    };
    for (number, line) in series.iter().enumerate() {
        // A missing value interrupts the line; a value alone between two is a dot.
        let mut path = String::new();
        for (i, &value) in line.values.iter().enumerate().filter(|&(i, &value)| known(i, value)) {
            let before = i > 0 && known(i - 1, line.values[i - 1]);
            let after = line.values.get(i + 1).is_some_and(|&next| known(i + 1, next));
            let (px, py) = place(x[i], value);
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
    if let Some(title) = legend {
        key(&mut svg, frame, title, series);
    }
    svg.push_str("</svg>");
    Ok(Plot { svg })
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
