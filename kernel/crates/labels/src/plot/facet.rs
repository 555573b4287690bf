//! Owns panels: the same plot for each label of one or two dimensions, with the same axes and colours, and one colour bar or
//! legend.

use std::fmt::Write as _;

use nuna_chunk::Chunk;

use crate::{
    DataArray, LabelError, Result,
    coord::Values,
    html::escape,
    plot::{
        Frame, Plot, PlotOptions,
        axis::Edges,
        colour::Colours,
        image::{self, Picture},
        labelled,
        line::Chart,
        nothing, paper,
    },
};

/// More panels than this are too small to be read.
const PANELS_MAX: usize = 60;
const LEFT: f64 = 76.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 56.0;
const GAP: f64 = 12.0;
/// Above a panel, for its label.
const LABEL: f64 = 18.0;

/// Where panels stand.
struct Grid {
    columns: usize,
    count: usize,
    /// Labels stand above each panel, else above the columns and beside the rows.
    is_wrapped: bool,
}

impl Grid {
    fn rows(&self) -> usize {
        self.count.div_ceil(self.columns)
    }

    fn gap(&self) -> f64 {
        if self.is_wrapped { GAP + LABEL } else { GAP }
    }

    fn frame(&self, number: usize, width: f64, height: f64) -> Frame {
        let (row, column) = (number / self.columns, number % self.columns);
        Frame {
            left: LEFT + column as f64 * (width + GAP),
            top: TOP + LABEL + row as f64 * (height + self.gap()),
            width,
            height,
        }
    }

    /// Axes are written on where no panel lies beyond.
    fn edges(&self, number: usize) -> Edges {
        let column = number % self.columns;
        let is_followed = column + 1 < self.columns && number + 1 < self.count;
        Edges { left: column == 0, bottom: number + self.columns >= self.count, is_followed }
    }
}

pub(super) fn draw(array: &DataArray, hue: Option<&str>, options: &PlotOptions) -> Result<Plot> {
    let refuse = |why: String| LabelError::Invalid(format!("panels of {}: {why}", array.describe()));
    let facets: Vec<&str> = [&options.row, &options.col].into_iter().flatten().map(String::as_str).collect();
    if facets.is_empty() || (options.wrap.is_some() && (options.row.is_some() || options.wrap == Some(0))) {
        return Err(refuse(
            "name their dimension with `col`; `wrap` is how many of these stand side by side".to_owned(),
        ));
    }
    let kept: Vec<&str> = facets.iter().copied().chain(hue).collect();
    for (at, dim) in kept.iter().enumerate() {
        array.axis(dim)?;
        if kept[..at].contains(dim) {
            return Err(refuse(format!("`{dim}` cannot be two of row, column and hue")));
        }
    }
    let flat = array.flat_but(&kept)?;
    let mut rest: Vec<String> =
        flat.dims.iter().filter(|dim| !facets.contains(&dim.as_str())).cloned().collect();
    let wanted = if hue.is_some() { 2..=2 } else { 1..=2 };
    if !wanted.contains(&rest.len()) {
        return Err(refuse(format!(
            "beside these a plot has {} dimensions, and there are ({}); select or average over the others",
            if hue.is_some() { "2" } else { "1 or 2" },
            rest.join(", ")
        )));
    }
    if hue.is_none() && rest.len() == 2 && image::is_turned(&flat, &rest[0], &rest[1]) {
        rest.swap(0, 1);
    }
    let size = |dim: &&str| Ok(usize::try_from(flat.shape()[flat.axis(dim)?]).unwrap_or(usize::MAX));
    let sizes: Vec<usize> = facets.iter().map(size).collect::<Result<_>>()?;
    let count = sizes.iter().product();
    if !(1..=PANELS_MAX).contains(&count) {
        return Err(refuse(format!("{count} of them are too many or none; select 1 to {PANELS_MAX}")));
    }
    let columns = match (&options.col, options.wrap) {
        (Some(_), Some(wrap)) => wrap.min(count),
        (Some(_), None) => sizes[sizes.len() - 1],
        (None, _) => 1,
    };
    let grid = Grid { columns, count, is_wrapped: options.row.is_none() };

    // The panels' elements, one after the other.
    let order: Vec<&str> = facets.iter().copied().chain(rest.iter().map(String::as_str)).collect();
    let values = flat.transpose(order)?.values_f64()?;
    let lengths: Vec<u64> =
        rest.iter().map(|dim| Ok(flat.shape()[flat.axis(dim)?])).collect::<Result<_>>()?;
    let of_each = values.len() / count;
    let panels: Vec<DataArray> = (0..count)
        .map(|number| {
            let chunk = Chunk::from_slice(&lengths, &values[number * of_each..(number + 1) * of_each]);
            let panel = DataArray::from_chunk(chunk, &rest)?;
            let coords = flat.coords.within(&rest);
            Ok(DataArray { coords, attrs: flat.attrs.clone(), name: flat.name.clone(), ..panel })
        })
        .collect::<Result<_>>()?;

    let y_title = labelled(array.name(), array.attrs());
    let mut svg;
    if hue.is_none() && rest.len() == 2 {
        let pictures: Vec<Picture> =
            panels.iter().map(|panel| Picture::of(panel, options)).collect::<Result<_>>()?;
        let Some((low, high)) = options.range(pictures.iter().flat_map(Picture::values)) else {
            return Err(nothing(array));
        };
        let colours = Colours::fitting(low, high, options)?;
        let (width, mut height, full) = sides(&grid, options, 114.0);
        // A map has the width or the height that its proportion leaves.
        let shape = pictures[0].frame(Frame { left: 0.0, top: 0.0, width, height });
        let (width, full) = match options.size {
            None if pictures[0].is_map() => {
                height = shape.height;
                (shape.width, (full.0, bottom(&grid, height)))
            }
            _ => (shape.width, full),
        };
        height = height.min(shape.height);
        svg = paper(&flat, "panels", &options.clone().size(full.0 as u32, full.1 as u32));
        for (number, picture) in pictures.iter().enumerate() {
            picture.paint(
                &mut svg,
                grid.frame(number, width, height),
                colours,
                grid.edges(number),
                options,
            )?;
        }
        let last = grid.frame((grid.rows() - 1) * grid.columns, width, height);
        let top = TOP + LABEL;
        let beside = Frame {
            left: LEFT,
            top,
            width: grid.columns as f64 * (width + GAP) - GAP + row_labels(&grid),
            height: last.top + height - top,
        };
        image::bar(&mut svg, colours, beside, &y_title, options)?;
        label(&mut svg, &flat, options, &grid, (width, height))?;
    } else {
        let charts: Vec<Chart> = panels.iter().map(|panel| Chart::of(panel, hue)).collect::<Result<_>>()?;
        let Some(limits) = Chart::limits(&charts, options) else { return Err(nothing(array)) };
        let (width, height, full) = sides(&grid, options, charts[0].margin());
        svg = paper(&flat, "panels", &options.clone().size(full.0 as u32, full.1 as u32));
        for (number, chart) in charts.iter().enumerate() {
            let frame = grid.frame(number, width, height);
            chart.paint(&mut svg, frame, limits, grid.edges(number), &y_title, options);
        }
        let across = grid.columns as f64 * (width + GAP) - GAP + row_labels(&grid);
        charts[0].key(&mut svg, Frame { width: across, ..grid.frame(0, width, height) });
        label(&mut svg, &flat, options, &grid, (width, height))?;
    }
    svg.push_str("</svg>");
    Ok(Plot { svg })
}

/// Room beside the last column for the labels of rows.
fn row_labels(grid: &Grid) -> f64 {
    if grid.is_wrapped { 0.0 } else { LABEL }
}

fn bottom(grid: &Grid, height: f64) -> f64 {
    grid.frame(grid.count - 1, 0.0, height).top + height + BOTTOM
}

/// Width and height of a panel, and of the whole drawing.
fn sides(grid: &Grid, options: &PlotOptions, right: f64) -> (f64, f64, (f64, f64)) {
    let (columns, rows) = (grid.columns as f64, grid.rows() as f64);
    let margins = LEFT + right + row_labels(grid) + (columns - 1.0) * GAP;
    let edges = TOP + LABEL + BOTTOM + (rows - 1.0) * grid.gap();
    match options.size {
        Some((full_width, full_height)) => {
            let (full_width, full_height) = (f64::from(full_width), f64::from(full_height));
            let width = ((full_width - margins) / columns).max(20.0);
            (width, ((full_height - edges) / rows).max(20.0), (full_width, full_height))
        }
        None => {
            let width = ((640.0 - margins) / columns).clamp(170.0, 260.0);
            let height = width * 0.75;
            (width, height, ((margins + columns * width).ceil(), (edges + rows * height).ceil()))
        }
    }
}

/// What is written above panels, and beside the rows of a grid.
fn label(
    svg: &mut String,
    array: &DataArray,
    options: &PlotOptions,
    grid: &Grid,
    (width, height): (f64, f64),
) -> Result<()> {
    let text = |dim: &str, at: usize, room: f64| -> Result<String> {
        let label = match array.coords.index(dim).map(|coord| coord.values()).transpose()? {
            Some(Values::Text(text)) => text[at].clone(),
            Some(values) => values.show(at),
            None => at.to_string(),
        };
        let whole = format!("{dim} = {label}");
        let letters = (room / 6.0).max(4.0) as usize;
        if whole.chars().count() <= letters {
            return Ok(whole);
        }
        // The label says more than the dimension does.
        Ok(if label.chars().count() <= letters {
            label
        } else {
            label.chars().take(letters - 1).chain(['…']).collect()
        })
    };
    let mut above = |frame: Frame, text: &str| {
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            frame.left + frame.width / 2.0,
            frame.top - 5.0,
            escape(text)
        );
    };
    if let Some(col) = &options.col {
        let labelled = if grid.is_wrapped { grid.count } else { grid.columns };
        for number in 0..labelled {
            above(grid.frame(number, width, height), &text(col, number, width)?);
        }
    }
    let Some(row) = &options.row else { return Ok(()) };
    for at in 0..grid.rows() {
        let frame = grid.frame(at * grid.columns + grid.columns - 1, width, height);
        let _ = write!(
            svg,
            "<text transform=\"translate({:.1} {:.1}) rotate(90)\" text-anchor=\"middle\">{}</text>",
            frame.left + frame.width + 8.0,
            frame.top + frame.height / 2.0,
            escape(&text(row, at, height)?)
        );
    }
    Ok(())
}
