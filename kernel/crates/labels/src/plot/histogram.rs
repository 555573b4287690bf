//! Owns histograms of all elements of an array, whatever its dimensions.

use std::fmt::Write as _;

use crate::{
    DataArray, Result,
    plot::{Frame, Plot, PlotOptions, axis, axis::Scale, labelled, line::widened, nothing, paper},
};

pub(super) fn draw(array: &DataArray, options: &PlotOptions) -> Result<Plot> {
    let values = array.values_f64()?;
    // The log of `options` is of the counts.
    let linear = PlotOptions { log: false, ..options.clone() };
    let Some((low, high)) = linear.range(values.iter().copied()) else { return Err(nothing(array)) };
    let (low, high) = if low == high { widened(low, high, 0.0) } else { (low, high) };
    let bins = options.bins.unwrap_or_else(|| automatic(&values, low, high));
    let counts = count(&values, low, high, bins);
    let top = counts.iter().copied().max().unwrap_or(0).max(1) as f64;
    let height_of = |n: f64| if options.log { n.log10() } else { n };
    // On a logarithmic axis a bin with one element still has a height.
    let floor = if options.log { -0.3 } else { 0.0 };
    let ceiling = floor + (height_of(top) - floor).max(0.5) * 1.05;
    let frame =
        Frame { left: 76.0, top: 28.0, width: options.width() - 96.0, height: options.height() - 84.0 };
    let mut svg = paper(array, "histogram", options);
    let x_ticks = Scale::Number.ticks(low, high).into_iter();
    let x_ticks = x_ticks.map(|(v, text)| ((v - low) / (high - low), text)).collect();
    let scale = if options.log { Scale::Log } else { Scale::Number };
    let y_ticks = scale.ticks(floor, ceiling).into_iter();
    let y_ticks = y_ticks.map(|(v, text)| ((v - floor) / (ceiling - floor), text)).collect();
    let title = labelled(array.name(), array.attrs());
    axis::draw(&mut svg, frame, &x_ticks, &title, &y_ticks, "count");
    let bottom = frame.top + frame.height;
    let width = frame.width / bins as f64;
    let mut path = String::new();
    for (bin, &n) in counts.iter().enumerate().filter(|(_, n)| **n > 0) {
        let x = frame.left + bin as f64 * width;
        let height = (height_of(n as f64) - floor) / (ceiling - floor) * frame.height;
        let _ = write!(path, "M{x:.2} {bottom:.1}v{:.2}h{width:.2}V{bottom:.1}z", -height);
    }
    let _ = write!(
        svg,
        "<path d=\"{path}\" fill=\"#1f6fb4\" fill-opacity=\"0.85\" stroke=\"#fff\" stroke-width=\"0.4\"/></svg>"
    );
    Ok(Plot { svg })
}

/// Elements in `bins` equal parts of `low..=high`, the last with its upper end, as in NumPy. NaN and what lies outside
/// counts nowhere.
fn count(values: &[f64], low: f64, high: f64, bins: usize) -> Vec<u64> {
    let mut counts = vec![0; bins];
    let scale = bins as f64 / (high - low);
    for &value in values.iter().filter(|value| (low..=high).contains(*value)) {
        counts[(((value - low) * scale) as usize).min(bins - 1)] += 1;
    }
    counts
}

/// NumPy's `auto`: the narrower of Sturges' and of Freedman and Diaconis' bins.
/// <https://numpy.org/doc/stable/reference/generated/numpy.histogram_bin_edges.html>
fn automatic(values: &[f64], low: f64, high: f64) -> usize {
    const MAX: f64 = 200.0;
    let mut inside: Vec<f64> = values.iter().copied().filter(|v| (low..=high).contains(v)).collect();
    let n = inside.len() as f64;
    let sturges = (high - low) / (n.max(1.0).log2() + 1.0);
    let mut quartile = |share: f64| {
        let index = ((n - 1.0) * share).round() as usize;
        *inside.select_nth_unstable_by(index, f64::total_cmp).1
    };
    let spread = if n > 0.0 { quartile(0.75) - quartile(0.25) } else { 0.0 };
    let diaconis = 2.0 * spread / n.max(1.0).cbrt();
    let width = if diaconis > 0.0 { diaconis.min(sturges) } else { sturges };
    ((high - low) / width).ceil().clamp(1.0, MAX) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_numpys() {
        // np.histogram([0, 1, 2, 2.5, 4], bins=4, range=(0, 4))
        assert_eq!(count(&[0.0, 1.0, 2.0, 2.5, 4.0, f64::NAN, 9.0], 0.0, 4.0, 4), [1, 1, 2, 1]);
        // len(np.histogram_bin_edges(np.arange(100.0), 'auto')) - 1
        let values: Vec<f64> = (0..100).map(f64::from).collect();
        assert_eq!(automatic(&values, 0.0, 99.0), 8);
        assert_eq!(automatic(&[3.0, 3.0], 1.5, 4.5), 2);
    }
}
