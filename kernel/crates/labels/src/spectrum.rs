//! Owns what leads to spectra by dimension name: trends, windows, transforms, and the frequencies that label the result.

use std::sync::Arc;

use nuna_array::{Array, FftOptions, PsdOptions, Symmetry, Trend, Window};
use nuna_storage::Attributes;

use crate::{
    DataArray, LabelError, Result,
    coord::{Coord, Values},
    time::NOT_A_TIME,
};

/// Distances between labels may differ from their mean by this part of it: what rounding to `float32` does to positions.
const TOLERANCE: f64 = 1e-3;

/// What lies between two positions along a dimension.
struct Spacing {
    size: f64,
    /// The unit of frequencies.
    units: Option<String>,
}

impl DataArray {
    /// The spacing of the labels along a dimension: seconds between times, the difference of numbers, 1 without labels.
    fn spacing(&self, dim: &str) -> Result<Spacing> {
        let Some(coord) = self.coords.index(dim) else { return Ok(Spacing { size: 1.0, units: None }) };
        let uneven = |reason: String| {
            LabelError::Invalid(format!(
                "`{dim}` of {} is not evenly spaced: {reason}; interpolate or select an even part of it, or use `array()`",
                self.describe()
            ))
        };
        let positions: Vec<f64> = match coord.values()? {
            Values::Times(times) => {
                if times.micros.contains(&NOT_A_TIME) {
                    return Err(uneven("it holds missing times".to_owned()));
                }
                let first = times.micros.first().copied().unwrap_or(0);
                times.micros.iter().map(|&t| (t - first) as f64 / 1e6).collect()
            }
            Values::Numbers(chunk) => chunk.to_vec::<f64>(),
            Values::Text(_) => return Err(uneven("its labels are text".to_owned())),
        };
        let units = match (coord.values()?, coord.attrs().get("units").and_then(|units| units.as_str())) {
            (Values::Times(_), _) => Some("Hz".to_owned()),
            (_, Some(units)) => Some(format!("1/({units})")),
            _ => None,
        };
        let (Some(first), Some(last)) = (positions.first(), positions.last()) else {
            return Ok(Spacing { size: 1.0, units });
        };
        if positions.len() < 2 {
            return Ok(Spacing { size: 1.0, units });
        }
        let mean = (last - first) / (positions.len() - 1) as f64;
        // The odd one out is named; NaN is no distance at all.
        let off = |at: usize| (positions[at + 1] - positions[at] - mean).abs();
        let odd = (0..positions.len() - 1).max_by(|&a, &b| off(a).total_cmp(&off(b))).filter(|&at| {
            let fits = off(at) <= TOLERANCE * mean.abs();
            !fits
        });
        if let Some(at) = odd {
            let (step, show) =
                (positions[at + 1] - positions[at], |i: usize| coord.values().map(|v| v.show(i)));
            return Err(uneven(format!(
                "from {} to {} is {step}, but {mean} in the mean",
                show(at)?,
                show(at + 1)?
            )));
        }
        if mean == 0.0 {
            return Err(uneven("all its labels are equal".to_owned()));
        }
        Ok(Spacing { size: mean.abs(), units })
    }

    /// The result of a transform along a dimension, which becomes `to`, with labels or without.
    fn transformed(
        &self,
        axis: usize,
        array: Array,
        to: String,
        labels: Option<(Array, Option<String>)>,
    ) -> Result<Self> {
        let dim = self.dims[axis].clone();
        if to != dim && self.dims.contains(&to) {
            return Err(LabelError::DimTwice { dim: to, dims: self.dims.clone() });
        }
        let mut made = self.with_array(array);
        made.coords = self.coords.without(&dim);
        made.dims[axis].clone_from(&to);
        if let Some((frequencies, units)) = labels {
            let mut attrs = Attributes::new();
            if let Some(units) = units {
                attrs.insert("units".to_owned(), units.into());
            }
            let values = Values::Numbers(frequencies.compute()?);
            made.coords.insert(&to, Arc::new(Coord::line(&to, values, attrs)));
        }
        Ok(made)
    }

    /// Without the straight line that fits best along a dimension, as `scipy.signal.detrend`. A NaN makes its line NaN.
    ///
    /// # Errors
    /// [`LabelError::NoDim`], or if the dimension is empty or the numbers complex.
    pub fn detrend(&self, dim: &str) -> Result<Self> {
        self.detrend_by(dim, Trend::Linear)
    }

    /// Without its mean or its straight line along a dimension.
    ///
    /// # Errors
    /// As [`detrend`](DataArray::detrend).
    pub fn detrend_by(&self, dim: &str, trend: Trend) -> Result<Self> {
        Ok(self.with_array(self.array.detrend(self.axis(dim)?, trend)?))
    }

    /// Multiplied along a dimension by a window whose ends are equal, as `numpy.hanning`.
    ///
    /// # Errors
    /// [`LabelError::NoDim`], or if the dimension is empty or the window's parameter has no window.
    pub fn window(&self, dim: &str, window: Window) -> Result<Self> {
        Ok(self.with_array(self.array.window(self.axis(dim)?, window, Symmetry::Symmetric)?))
    }

    /// The Fourier transform of real numbers along a dimension, which becomes `freq_time` (of `time`): frequencies that are not
    /// negative, in Hz along times, else in cycles per unit of the labels. Not scaled, as `numpy.fft.rfft`; `float32` gives
    /// `complex64`.
    ///
    /// # Errors
    /// [`LabelError::NoDim`]; if the labels are not evenly spaced, the dimension is empty, or the numbers are complex.
    pub fn rfft(&self, dim: &str) -> Result<Self> {
        self.rfft_with(dim, FftOptions::default())
    }

    /// [`rfft`](DataArray::rfft) of another length or scaling.
    ///
    /// # Errors
    /// As [`rfft`](DataArray::rfft).
    pub fn rfft_with(&self, dim: &str, options: FftOptions) -> Result<Self> {
        let (axis, spacing) = (self.axis(dim)?, self.spacing(dim)?);
        let array = self.array.rfft_with(axis, options)?;
        let n = options.n.unwrap_or(self.shape()[axis]);
        let labels = (nuna_array::rfftfreq(n, spacing.size), spacing.units);
        self.transformed(axis, array, format!("freq_{dim}"), Some(labels))
    }

    /// The Fourier transform along a dimension, which becomes `freq_time` (of `time`), in the order of `numpy.fft.fft`.
    ///
    /// # Errors
    /// As [`rfft`](DataArray::rfft), but for complex numbers, which are fine.
    pub fn fft(&self, dim: &str) -> Result<Self> {
        self.fft_with(dim, FftOptions::default())
    }

    /// [`fft`](DataArray::fft) of another length or scaling.
    ///
    /// # Errors
    /// As [`fft`](DataArray::fft).
    pub fn fft_with(&self, dim: &str, options: FftOptions) -> Result<Self> {
        let (axis, spacing) = (self.axis(dim)?, self.spacing(dim)?);
        let array = self.array.fft_with(axis, options)?;
        let n = options.n.unwrap_or(self.shape()[axis]);
        let labels = (nuna_array::fftfreq(n, spacing.size), spacing.units);
        self.transformed(axis, array, format!("freq_{dim}"), Some(labels))
    }

    /// The inverse of [`fft`](DataArray::fft) along `freq_time`, which becomes `time` without labels.
    ///
    /// # Errors
    /// [`LabelError::NoDim`], or if the dimension is empty.
    pub fn ifft(&self, dim: &str) -> Result<Self> {
        let axis = self.axis(dim)?;
        self.transformed(axis, self.array.ifft(axis)?, inverse_name(dim), None)
    }

    /// The inverse of [`rfft`](DataArray::rfft) along `freq_time`, which becomes `time` without labels; `n` is how many elements there
    /// were before.
    ///
    /// # Errors
    /// As [`ifft`](DataArray::ifft).
    pub fn irfft(&self, dim: &str, n: u64) -> Result<Self> {
        let axis = self.axis(dim)?;
        let array = self.array.irfft_with(axis, FftOptions { n: Some(n), ..FftOptions::default() })?;
        self.transformed(axis, array, inverse_name(dim), None)
    }

    /// The power spectral density along a dimension, which becomes `freq_time` (of `time`): without the mean, with a Hann window,
    /// as `scipy.signal.periodogram(…, window="hann")`. Its integral over the frequencies is about the variance.
    ///
    /// # Errors
    /// As [`rfft`](DataArray::rfft).
    pub fn power_spectrum(&self, dim: &str) -> Result<Self> {
        self.psd(dim, PsdOptions::default())
    }

    /// The power spectral density along a dimension by segments, as `scipy.signal.welch`. The spacing of the labels replaces that
    /// of `options` where there are labels.
    ///
    /// # Errors
    /// As [`rfft`](DataArray::rfft), and as [`Array::psd`].
    pub fn psd(&self, dim: &str, options: PsdOptions) -> Result<Self> {
        let (axis, spacing) = (self.axis(dim)?, self.spacing(dim)?);
        let size = if self.coords.index(dim).is_some() { spacing.size } else { options.spacing };
        let array = self.array.psd(axis, PsdOptions { spacing: size, ..options })?;
        let segment = options.segment.unwrap_or(u64::MAX).min(self.shape()[axis]);
        let labels = (nuna_array::rfftfreq(segment, size), spacing.units);
        self.transformed(axis, array, format!("freq_{dim}"), Some(labels))
    }
}

fn inverse_name(dim: &str) -> String {
    dim.strip_prefix("freq_").map_or_else(|| format!("inverse_{dim}"), str::to_owned)
}

macro_rules! windows {
    ($($name:ident => $window:ident),*) => {
        impl DataArray {$(
            /// [`window`](DataArray::window) of this shape along a dimension.
            ///
            /// # Errors
            /// As [`window`](DataArray::window).
            pub fn $name(&self, dim: &str) -> Result<Self> {
                self.window(dim, Window::$window)
            }
        )*}
    };
}
windows!(hann => Hann, hamming => Hamming, blackman => Blackman, bartlett => Bartlett);
