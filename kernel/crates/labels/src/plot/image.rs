//! Owns heat maps: cells averaged to at most the drawing's resolution, as one embedded PNG, and the colour bar.

use std::{fmt::Write as _, io::Write as _};

use base64::Engine as _;
use flate2::{Compression, Crc, write::ZlibEncoder};

use crate::{
    DataArray, LabelError, Result,
    plot::{
        Frame, HEIGHT, Plot, axis,
        axis::{Places, Scale},
        colour::Colours,
        labelled, nothing, paper, positions,
    },
};

/// Cells of the image along each side at most; about two per pixel of the drawing.
const CELLS_MAX: usize = 1000;

pub(super) fn draw(array: &DataArray) -> Result<Plot> {
    let (y_dim, x_dim) = (array.dims[0].clone(), array.dims[1].clone());
    let (x, x_scale, x_title) = positions(array, &x_dim)?;
    let (y, y_scale, y_title) = positions(array, &y_dim)?;
    let values = array.values_f64()?;
    let mut cells = Cells::averaged(&values, y.len(), x.len());
    // The image's first row is the top; larger coordinates go up and to the right, as in xarray.
    if !descends(&y) {
        cells.flip_rows();
    }
    if descends(&x) {
        cells.flip_columns();
    }
    let finite = cells.values.iter().copied().filter(|v| v.is_finite());
    let (low, high) =
        finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return Err(nothing(array));
    }
    let colours = Colours::fitting(low, high);
    let frame = Frame { left: 76.0, top: 28.0, width: 450.0, height: HEIGHT - 84.0 };
    let mut svg = paper(array, "heat map");
    let pixels: Vec<u8> = cells.values.iter().flat_map(|&v| colours.of(v)).collect();
    image(&mut svg, frame, cells.columns, cells.rows, &pixels)?;
    axis::draw(&mut svg, frame, &places(&x, &x_scale), &x_title, &places(&y, &y_scale), &y_title);
    bar(&mut svg, colours, &labelled(array.name(), array.attrs()))?;
    svg.push_str("</svg>");
    Ok(Plot { svg })
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

/// Where ticks stand on a side made of equal cells: interpolated between the cells' coordinates, which may be uneven.
fn places(positions: &[f64], scale: &Scale) -> Places {
    let n = positions.len() as f64;
    let mut ascending = positions.to_vec();
    if descends(positions) {
        ascending.reverse();
    }
    let monotonic = ascending.windows(2).all(|pair| pair[0] < pair[1]);
    let counted: Vec<f64>;
    let scale = if monotonic {
        scale
    } else {
        // Without an order, positions are all that can be written.
        counted = (0..positions.len()).map(|i| i as f64).collect();
        ascending = counted;
        &Scale::Number
    };
    let (Some(&low), Some(&high)) = (ascending.first(), ascending.last()) else { return Vec::new() };
    let ticks = scale.ticks(low, high);
    ticks
        .into_iter()
        .map(|(value, text)| {
            let after = ascending.partition_point(|&p| p < value).min(ascending.len() - 1);
            let index = if after == 0 || ascending[after] <= value {
                after as f64
            } else {
                let (a, b) = (ascending[after - 1], ascending[after]);
                (after - 1) as f64 + (value - a) / (b - a)
            };
            ((index + 0.5) / n, text)
        })
        .collect()
}

fn bar(svg: &mut String, colours: Colours, title: &str) -> Result<()> {
    const STEPS: usize = 128;
    let frame = Frame { left: 546.0, top: 28.0, width: 16.0, height: HEIGHT - 84.0 };
    let value = |i: usize| colours.high + (colours.low - colours.high) * i as f64 / (STEPS - 1) as f64;
    let pixels: Vec<u8> = (0..STEPS).flat_map(|i| colours.of(value(i))).collect();
    image(svg, frame, 1, STEPS, &pixels)?;
    let Frame { left, top, width, height } = frame;
    let _ = write!(
        svg,
        "<rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" fill=\"none\" stroke=\"#444\"/>"
    );
    for (value, text) in Scale::Number.ticks(colours.low, colours.high) {
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
        "<text transform=\"translate(630 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
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
        let at = |positions: &[f64]| places(positions, &Scale::Number);
        let even = at(&[0.0, 1.0, 2.0, 3.0]);
        let one = even.iter().find(|t| t.1.starts_with('1')).unwrap();
        assert!((one.0 - 1.5 / 4.0).abs() < 1e-12, "{even:?}");
        assert_eq!(at(&[3.0, 2.0, 1.0, 0.0]), even);
        let uneven = at(&[0.0, 10.0, 100.0]);
        let zero = &uneven[0];
        assert!((zero.0 - 0.5 / 3.0).abs() < 1e-12, "{uneven:?}");
    }
}
