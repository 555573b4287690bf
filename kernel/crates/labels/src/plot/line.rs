//! Owns line plots.

use std::fmt::Write as _;

use crate::{
    DataArray, Result,
    plot::{Frame, HEIGHT, Plot, WIDTH, axis, axis::Scale, labelled, nothing, paper, positions},
};

pub(super) fn draw(array: &DataArray) -> Result<Plot> {
    let dim = array.dims[0].clone();
    let (x, scale, x_title) = positions(array, &dim)?;
    let y = array.values_f64()?;
    let points: Vec<Option<(f64, f64)>> =
        x.iter().zip(&y).map(|(&x, &y)| (x.is_finite() && y.is_finite()).then_some((x, y))).collect();
    let bounds = |pick: fn(&(f64, f64)) -> f64| {
        let values = points.iter().flatten().map(pick);
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
    };
    let ((x_low, x_high), (y_low, y_high)) = (bounds(|p| p.0), bounds(|p| p.1));
    if x_low > x_high {
        return Err(nothing(array));
    }
    let (x_low, x_high) = widened(x_low, x_high, 0.0);
    let (y_low, y_high) = widened(y_low, y_high, 0.05);
    let frame = Frame { left: 76.0, top: 28.0, width: WIDTH - 96.0, height: HEIGHT - 84.0 };
    let mut svg = paper(array, "line");
    let place = |(x, y): (f64, f64)| {
        (
            frame.left + (x - x_low) / (x_high - x_low) * frame.width,
            frame.top + frame.height - (y - y_low) / (y_high - y_low) * frame.height,
        )
    };
    // A missing value interrupts the line; a value alone between two is a dot.
    let mut path = String::new();
    for (index, point) in points.iter().enumerate() {
        let Some(point) = point else { continue };
        let before = index > 0 && points[index - 1].is_some();
        let after = points.get(index + 1).is_some_and(Option::is_some);
        let (px, py) = place(*point);
        let _ = match (before, after) {
            (true, _) => write!(path, "L{px:.1} {py:.1}"),
            (false, true) => write!(path, "M{px:.1} {py:.1}"),
            (false, false) => write!(path, "M{px:.1} {py:.1}h0.01"),
        };
    }
    let ticks = |scale: &Scale, low: f64, high: f64| {
        scale.ticks(low, high).into_iter().map(|(v, text)| ((v - low) / (high - low), text)).collect()
    };
    let y_title = labelled(array.name(), array.attrs());
    axis::draw(
        &mut svg,
        frame,
        &ticks(&scale, x_low, x_high),
        &x_title,
        &ticks(&Scale::Number, y_low, y_high),
        &y_title,
    );
    let _ = write!(
        svg,
        "<path d=\"{path}\" fill=\"none\" stroke=\"#1f6fb4\" stroke-width=\"1.6\" stroke-linejoin=\"round\" stroke-linecap=\"round\"/></svg>"
    );
    Ok(Plot { svg })
}

/// A range with some room, never empty.
fn widened(low: f64, high: f64, share: f64) -> (f64, f64) {
    if low == high {
        let room = if low == 0.0 { 1.0 } else { low.abs() * 0.5 };
        return (low - room, high + room);
    }
    let room = (high - low) * share;
    (low - room, high + room)
}
