//! Owns what a person may say about a plot, and the sizes that follow from it.

use crate::{LabelError, Result};

/// How a plot is drawn; what is not said is chosen from the data.
///
/// ```text
/// sst.isel("time", 0)?.plot_with(PlotOptions::new().robust().cmap("coolwarm").title("SST"))?
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlotOptions {
    pub(crate) title: Option<String>,
    pub(crate) vmin: Option<f64>,
    pub(crate) vmax: Option<f64>,
    pub(crate) robust: bool,
    pub(crate) log: bool,
    pub(crate) cmap: Option<String>,
    pub(crate) bins: Option<usize>,
    pub(crate) no_coastlines: bool,
    pub(crate) size: Option<(u32, u32)>,
    pub(crate) col: Option<String>,
    pub(crate) row: Option<String>,
    pub(crate) wrap: Option<usize>,
}

/// Pixels; smaller than this, axes leave no room for the data, and a larger picture is not for a screen.
const SIDE: std::ops::RangeInclusive<u32> = 160..=4000;
const BINS_MAX: usize = 10_000;

impl PlotOptions {
    pub fn new() -> Self {
        Self::default()
    }

    /// The line above the plot; else what was selected away, such as `lat = 30.0`.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Lowest value of the colours, or of a line's or histogram's value axis.
    pub fn vmin(mut self, vmin: f64) -> Self {
        self.vmin = Some(vmin);
        self
    }

    /// Highest value, as [`vmin`](Self::vmin).
    pub fn vmax(mut self, vmax: f64) -> Self {
        self.vmax = Some(vmax);
        self
    }

    /// Colours from the 2nd to the 98th percentile, as in xarray, so that single extremes do not hide the rest.
    pub fn robust(mut self) -> Self {
        self.robust = true;
        self
    }

    /// Values on a logarithmic scale; those that are not positive stay blank. Counts, in a histogram.
    pub fn log(mut self) -> Self {
        self.log = true;
        self
    }

    /// `viridis`, `coolwarm` or `greys`; else viridis, or coolwarm around zero where data lie on both sides of it.
    pub fn cmap(mut self, name: impl Into<String>) -> Self {
        self.cmap = Some(name.into());
        self
    }

    /// Bins of a histogram of equal width; else as NumPy's `auto`.
    pub fn bins(mut self, bins: usize) -> Self {
        self.bins = Some(bins);
        self
    }

    /// Leaves out the coastlines of a map.
    pub fn no_coastlines(mut self) -> Self {
        self.no_coastlines = true;
        self
    }

    /// Width and height in pixels; else 640 by 400.
    pub fn size(mut self, width: u32, height: u32) -> Self {
        self.size = Some((width, height));
        self
    }

    /// A panel for each label along this dimension, side by side, with the same axes and colours:
    /// `t.plot_with(PlotOptions::new().col("time").wrap(4))`.
    pub fn col(mut self, dim: impl Into<String>) -> Self {
        self.col = Some(dim.into());
        self
    }

    /// A row of panels for each label along this dimension.
    pub fn row(mut self, dim: impl Into<String>) -> Self {
        self.row = Some(dim.into());
        self
    }

    /// At most so many panels side by side; the others come below.
    pub fn wrap(mut self, panels: usize) -> Self {
        self.wrap = Some(panels);
        self
    }

    pub(crate) fn has_panels(&self) -> bool {
        self.col.is_some() || self.row.is_some() || self.wrap.is_some()
    }

    pub(crate) fn width(&self) -> f64 {
        self.size.map_or(640.0, |(width, _)| f64::from(width))
    }

    pub(crate) fn height(&self) -> f64 {
        self.size.map_or(400.0, |(_, height)| f64::from(height))
    }

    pub(crate) fn check(&self) -> Result<()> {
        if let Some((width, height)) = self.size
            && !(SIDE.contains(&width) && SIDE.contains(&height))
        {
            return Err(LabelError::Invalid(format!(
                "a plot of {width} by {height} pixels cannot be drawn; sides go from {} to {}",
                SIDE.start(),
                SIDE.end()
            )));
        }
        if let Some(bins) = self.bins
            && !(1..=BINS_MAX).contains(&bins)
        {
            return Err(LabelError::Invalid(format!(
                "a histogram has 1 to {BINS_MAX} bins, {bins} were asked for"
            )));
        }
        for (name, limit) in [("vmin", self.vmin), ("vmax", self.vmax)] {
            if let Some(limit) = limit.filter(|limit| !limit.is_finite()) {
                return Err(LabelError::Invalid(format!(
                    "{name} is {limit}; the limits of a plot are numbers"
                )));
            }
        }
        if let (Some(low), Some(high)) = (self.vmin, self.vmax)
            && low.partial_cmp(&high) != Some(std::cmp::Ordering::Less)
        {
            return Err(LabelError::Invalid(format!("vmin {low} is not below vmax {high}")));
        }
        Ok(())
    }

    /// As [`check`](Self::check), where [`log`](Self::log) is about the values that `vmin` and `vmax` limit.
    pub(crate) fn check_values(&self) -> Result<()> {
        self.check()?;
        for (name, limit) in [("vmin", self.vmin), ("vmax", self.vmax)] {
            if let Some(limit) = limit.filter(|limit| self.log && *limit <= 0.0) {
                return Err(LabelError::Invalid(format!(
                    "{name} is {limit}, which a logarithmic scale does not reach; give a positive one, or leave out log()"
                )));
            }
        }
        Ok(())
    }

    /// The range of the finite `values` that the plot covers; `None` if there are none.
    pub(crate) fn range(&self, values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
        let mut finite: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        let (mut low, mut high) = finite
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)));
        if low > high {
            return None;
        }
        if self.robust {
            let mut at = |share: f64| {
                let index = ((finite.len() - 1) as f64 * share).round() as usize;
                *finite.select_nth_unstable_by(index, f64::total_cmp).1
            };
            (low, high) = (at(0.02), at(0.98));
        }
        let given = |value: Option<f64>, else_: f64| match value {
            Some(value) if self.log => value.log10(),
            Some(value) => value,
            None => else_,
        };
        let (low, high) = (given(self.vmin, low), given(self.vmax, high));
        // One limit may lie beyond all data.
        Some(if low <= high { (low, high) } else { (low.min(high), low.max(high)) })
    }
}
