//! Owns heat maps: cells averaged to at most the drawing's resolution, as one embedded PNG, and the colour bar.

use std::{fmt::Write as _, io::Write as _};

use base64::Engine as _;
use flate2::{Compression, Crc, write::ZlibEncoder};

use crate::{
    DataArray, LabelError, Result,
    plot::{
        Frame, Plot, PlotOptions,
        axis::{Edges, Places, Scale},
        colour::Colours,
        labelled,
        map::{self, Angle},
        nothing, paper, positions,
    },
};

/// Cells of the image along each side at most; about two per pixel of the drawing.
const CELLS_MAX: usize = 1000;

/// A heat map before anybody has said where it stands.
pub(super) struct Picture {
    cells: Cells,
    x: (Option<Side>, Places, String),
    y: (Option<Side>, Places, String),
    /// Longitudes and latitudes of its edges, of a map.
    earth: Option<((f64, f64), (f64, f64))>,
}

/// Whether a map of two dimensions has them the other way round: north belongs at the top, however the array is laid out.
pub(super) fn is_turned(array: &DataArray, y_dim: &str, x_dim: &str) -> bool {
    map::angle(array, y_dim) == Some(Angle::Longitude) && map::angle(array, x_dim) == Some(Angle::Latitude)
}

impl Picture {
    /// Of an array with two dimensions.
    pub(super) fn of(array: &DataArray, options: &PlotOptions) -> Result<Self> {
        let (y_dim, x_dim) = (array.dims[0].clone(), array.dims[1].clone());
        let (x, x_scale, x_title) = positions(array, &x_dim)?;
        let (y, y_scale, y_title) = positions(array, &y_dim)?;
        let values = array.values_f64()?;
        let mut cells = Cells::averaged(&values, y.len(), x.len());
        if options.log {
            // The logarithm of what is not positive is no number, and stays blank.
            cells
                .values
                .iter_mut()
                .for_each(|value| *value = if *value > 0.0 { value.log10() } else { f64::NAN });
        }
        // The image's first row is the top; larger coordinates go up and to the right, as in xarray.
        if !descends(&y) {
            cells.flip_rows();
        }
        if descends(&x) {
            cells.flip_columns();
        }
        let (x_side, y_side) = (Side::of(&x), Side::of(&y));
        let degrees = |side: &Option<Side>, dim: &str, wanted: Angle| {
            side.as_ref().filter(|_| map::angle(array, dim) == Some(wanted)).map(Side::extent)
        };
        let earth = degrees(&x_side, &x_dim, Angle::Longitude).zip(degrees(&y_side, &y_dim, Angle::Latitude));
        let ticks = |side: &Option<Side>, angle: Angle, positions: &[f64], scale: &Scale| match side {
            Some(side) if earth.is_some() => map_ticks(angle, side),
            _ => places(positions, side, scale),
        };
        let x_ticks = ticks(&x_side, Angle::Longitude, &x, &x_scale);
        let y_ticks = ticks(&y_side, Angle::Latitude, &y, &y_scale);
        Ok(Self { cells, x: (x_side, x_ticks, x_title), y: (y_side, y_ticks, y_title), earth })
    }

    /// The values of its cells, NaN where there is none.
    pub(super) fn values(&self) -> impl Iterator<Item = f64> {
        self.cells.values.iter().copied()
    }

    pub(super) fn is_map(&self) -> bool {
        self.earth.is_some()
    }

    /// The part of a box that it takes: a map keeps its proportion.
    pub(super) fn frame(&self, whole: Frame) -> Frame {
        self.earth.map_or(whole, |(x, y)| map::proportioned(whole, x, y))
    }

    /// Draws cells, coastlines and axes.
    pub(super) fn paint(
        &self,
        svg: &mut String,
        frame: Frame,
        colours: Colours,
        edges: Edges,
        options: &PlotOptions,
    ) -> Result<()> {
        let pixels: Vec<u8> = self.cells.values.iter().flat_map(|&v| colours.of(v)).collect();
        image(svg, frame, self.cells.columns, self.cells.rows, &pixels)?;
        let ((x_side, x_ticks, x_title), (y_side, y_ticks, y_title)) = (&self.x, &self.y);
        if let (Some((longitudes, latitudes)), Some(x_side), Some(y_side)) = (self.earth, x_side, y_side)
            && !options.no_coastlines
        {
            let clip = frame.clip(svg);
            let near = |side: &Side, (low, high): (f64, f64), value: f64| {
                let room = (10.0 / (high - low)).max(0.3);
                Some(side.at(value)).filter(|at| (-room..=1.0 + room).contains(at))
            };
            map::coastlines(
                svg,
                frame,
                &clip,
                &|longitude| near(x_side, longitudes, longitude),
                &|latitude| near(y_side, latitudes, latitude),
            );
        }
        edges.draw(svg, frame, (x_ticks, x_title), (y_ticks, y_title));
        Ok(())
    }
}

pub(super) fn draw(array: &DataArray, options: &PlotOptions) -> Result<Plot> {
    if is_turned(array, &array.dims[0], &array.dims[1]) {
        return draw(&array.transpose([array.dims[1].as_str(), array.dims[0].as_str()])?, options);
    }
    let picture = Picture::of(array, options)?;
    let Some((low, high)) = options.range(picture.values()) else { return Err(nothing(array)) };
    let colours = Colours::fitting(low, high, options)?;
    let whole =
        Frame { left: 76.0, top: 28.0, width: options.width() - 190.0, height: options.height() - 84.0 };
    let frame = picture.frame(whole);
    // No blank paper below a map that is wider than high.
    let fitted = match (picture.is_map(), options.size) {
        (true, None) => options.clone().size(options.width() as u32, (frame.height + 84.0).ceil() as u32),
        _ => options.clone(),
    };
    let mut svg = paper(array, if picture.is_map() { "map" } else { "heat map" }, &fitted);
    picture.paint(&mut svg, frame, colours, Edges::BOTH, options)?;
    bar(&mut svg, colours, frame, &labelled(array.name(), array.attrs()), options)?;
    svg.push_str("</svg>");
    Ok(Plot { svg })
}

/// Round degrees, of which 30 is one.
fn map_ticks(angle: Angle, side: &Side) -> Places {
    let (low, high) = side.extent();
    let raw = (high - low) / 6.0;
    let steps = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0];
    let Some(step) = steps.into_iter().find(|step| *step >= raw * 0.99).filter(|step| raw * 4.0 >= *step)
    else {
        return Scale::Number
            .ticks(low, high)
            .into_iter()
            .map(|(v, _)| (side.at(v), angle.tick(v)))
            .collect();
    };
    let first = (low / step).ceil();
    let ticks = (0..40).map(|i| (first + f64::from(i)) * step).take_while(|v| *v <= high + step * 1e-9);
    ticks.map(|v| (side.at(v), angle.tick(v))).collect()
}

/// A side made of equal cells whose coordinates, in order, may be uneven.
struct Side {
    ascending: Vec<f64>,
}

impl Side {
    /// `None` without an order.
    fn of(positions: &[f64]) -> Option<Self> {
        let mut ascending = positions.to_vec();
        if descends(positions) {
            ascending.reverse();
        }
        let ordered = !ascending.is_empty() && ascending.windows(2).all(|pair| pair[0] < pair[1]);
        ordered.then_some(Self { ascending })
    }

    /// Where `value` lies, from 0 at the outer edge of the first cell to 1 at that of the last; beyond these, outside.
    fn at(&self, value: f64) -> f64 {
        let places = &self.ascending;
        let n = places.len();
        if n == 1 {
            return 0.5 + (value - places[0]);
        }
        let after = places.partition_point(|&p| p < value).clamp(1, n - 1);
        let (a, b) = (places[after - 1], places[after]);
        ((after - 1) as f64 + (value - a) / (b - a) + 0.5) / n as f64
    }

    /// The coordinates of both outer edges.
    fn extent(&self) -> (f64, f64) {
        let places = &self.ascending;
        let n = places.len();
        if n == 1 {
            return (places[0] - 0.5, places[0] + 0.5);
        }
        (places[0] - (places[1] - places[0]) / 2.0, places[n - 1] + (places[n - 1] - places[n - 2]) / 2.0)
    }
}

struct Cells {
    rows: usize,
    columns: usize,
    values: Vec<f64>,
}

impl Cells {
    /// Means of blocks of elements, NaNs left out.
    fn averaged(values: &[f64], rows: usize, columns: usize) -> Self {
        let (by_row, by_column) = (rows.div_ceil(CELLS_MAX).max(1), columns.div_ceil(CELLS_MAX).max(1));
        let (out_rows, out_columns) = (rows.div_ceil(by_row), columns.div_ceil(by_column));
        let (mut sums, mut counts) = (vec![0.0; out_rows * out_columns], vec![0.0; out_rows * out_columns]);
        for row in 0..rows {
            for column in 0..columns {
                let value = values[row * columns + column];
                if value.is_finite() {
                    let at = row / by_row * out_columns + column / by_column;
                    sums[at] += value;
                    counts[at] += 1.0;
                }
            }
        }
        let values = sums.iter().zip(&counts).map(|(sum, count)| sum / count).collect();
        Self { rows: out_rows, columns: out_columns, values }
    }

    fn flip_rows(&mut self) {
        let rows: Vec<Vec<f64>> =
            self.values.chunks(self.columns.max(1)).rev().map(<[f64]>::to_vec).collect();
        self.values = rows.concat();
    }

    fn flip_columns(&mut self) {
        self.values.chunks_mut(self.columns.max(1)).for_each(<[f64]>::reverse);
    }
}

fn descends(positions: &[f64]) -> bool {
    positions.first() > positions.last()
}

/// Where ticks stand; without an order, positions are all that can be written.
fn places(positions: &[f64], side: &Option<Side>, scale: &Scale) -> Places {
    let n = positions.len() as f64;
    let Some(side) = side else {
        let ticks = Scale::Number.ticks(0.0, n - 1.0);
        return ticks.into_iter().map(|(value, text)| ((value + 0.5) / n, text)).collect();
    };
    let (low, high) = (side.ascending[0], side.ascending[side.ascending.len() - 1]);
    scale.ticks(low, high).into_iter().map(|(value, text)| (side.at(value), text)).collect()
}

pub(super) fn bar(
    svg: &mut String,
    colours: Colours,
    beside: Frame,
    title: &str,
    options: &PlotOptions,
) -> Result<()> {
    const STEPS: usize = 128;
    let frame = Frame { left: beside.left + beside.width + 20.0, width: 16.0, ..beside };
    let value = |i: usize| colours.high + (colours.low - colours.high) * i as f64 / (STEPS - 1) as f64;
    let pixels: Vec<u8> = (0..STEPS).flat_map(|i| colours.of(value(i))).collect();
    image(svg, frame, 1, STEPS, &pixels)?;
    let Frame { left, top, width, height } = frame;
    let _ = write!(
        svg,
        "<rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" fill=\"none\" stroke=\"#444\"/>"
    );
    let scale = if options.log { Scale::Log } else { Scale::Number };
    for (value, text) in scale.ticks(colours.low, colours.high) {
        let y = top + height - (value - colours.low) / (colours.high - colours.low) * height;
        let x = left + width;
        let _ = write!(
            svg,
            "<path d=\"M{x:.1} {y:.1}h4\" stroke=\"#444\"/><text x=\"{:.1}\" y=\"{:.1}\">{text}</text>",
            x + 7.0,
            y + 4.0
        );
    }
    let _ = write!(
        svg,
        "<text transform=\"translate({:.1} {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        left + 84.0,
        top + height / 2.0,
        crate::html::escape(title)
    );
    Ok(())
}

fn image(svg: &mut String, frame: Frame, width: usize, height: usize, pixels: &[u8]) -> Result<()> {
    let png = png(width, height, pixels)
        .map_err(|error| LabelError::Invalid(format!("the image could not be made: {error}")))?;
    let data = base64::engine::general_purpose::STANDARD.encode(png);
    let Frame { left, top, width, height } = frame;
    let _ = write!(
        svg,
        "<image x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" preserveAspectRatio=\"none\" \
         style=\"image-rendering:pixelated\" href=\"data:image/png;base64,{data}\"/>"
    );
    Ok(())
}

/// A PNG of eight-bit RGBA: three chunks, each with length, kind, content and checksum.
fn png(width: usize, height: usize, pixels: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8; 4], content: &[u8]| {
        let mut crc = Crc::new();
        crc.update(kind);
        crc.update(content);
        out.extend_from_slice(&u32::try_from(content.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(kind);
        out.extend_from_slice(content);
        out.extend_from_slice(&crc.sum().to_be_bytes());
    };
    let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes();
    let header: Vec<u8> = [&side(width)[..], &side(height), &[8, 6, 0, 0, 0]].concat();
    chunk(b"IHDR", &header);
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    for row in pixels.chunks(width * 4) {
        // Filter 0: the row as it is.
        encoder.write_all(&[0])?;
        encoder.write_all(row)?;
    }
    chunk(b"IDAT", &encoder.finish()?);
    chunk(b"IEND", &[]);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_array_is_averaged_without_its_nans() {
        let mut values = vec![1.0; 2 * 2000];
        values[0] = f64::NAN;
        values[1] = 5.0;
        let cells = Cells::averaged(&values, 2, 2000);
        assert_eq!((cells.rows, cells.columns), (2, 1000));
        assert_eq!((cells.values[0], cells.values[1]), (5.0, 1.0));
    }

    #[test]
    fn ticks_find_their_cells_on_uneven_and_descending_axes() {
        let at = |positions: &[f64]| places(positions, &Side::of(positions), &Scale::Number);
        let even = at(&[0.0, 1.0, 2.0, 3.0]);
        let one = even.iter().find(|t| t.1.starts_with('1')).unwrap();
        assert!((one.0 - 1.5 / 4.0).abs() < 1e-12, "{even:?}");
        assert_eq!(at(&[3.0, 2.0, 1.0, 0.0]), even);
        let uneven = at(&[0.0, 10.0, 100.0]);
        let zero = &uneven[0];
        assert!((zero.0 - 0.5 / 3.0).abs() < 1e-12, "{uneven:?}");
    }
}
