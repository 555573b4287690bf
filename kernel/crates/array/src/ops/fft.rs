//! Owns what leads to spectra along an axis: Fourier transforms, windows, trends, power spectral densities. The axis becomes one
//! chunk; each line of elements along it is transformed on its own, so results do not depend on chunks, to the last bit.
//!
//! Trends, windows, one transform and the squares of its absolute values, one after the other along the same axis, are one
//! function over blocks: what is between is never stored. Used twice, such a result is computed twice.

use std::sync::Arc;

use nuna_chunk::{Chunk, ChunkError, ChunkMut, Complex, DType, tile::Unary};
use nuna_fft::{Chain, Data, DataMut, Norm, Precision, Step, Symmetry, Trend, Welch, Window, scratch_bytes};
use nuna_plan::Splits;
use serde::{Deserialize, Serialize};

use crate::{
    array::Array,
    error::{ArrayError, ArrayErrorKind},
    expr::Op,
    grid::ChunkGrid,
    ops::routine::{Reads, Routine, routine},
};

/// How a transform is made.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FftOptions {
    /// Lines are filled with zeros or cut to so many elements; `None`: as many as there are (for [`irfft`](Array::irfft),
    /// twice as many less 2).
    pub n: Option<u64>,
    pub norm: Norm,
}

/// How a power spectral density is estimated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PsdOptions {
    /// Elements of each segment, at most those of the line; `None`: the whole line, which makes it a periodogram.
    pub segment: Option<u64>,
    /// Elements that neighbouring segments have in common; `None`: half of them.
    pub overlap: Option<u64>,
    /// Periodic, as SciPy's.
    pub window: Window,
    pub trend: Option<Trend>,
    /// What lies between two elements, such as seconds.
    pub spacing: f64,
}

impl Default for PsdOptions {
    /// One segment, Hann, without its mean, one unit between elements.
    fn default() -> Self {
        Self {
            segment: None,
            overlap: None,
            window: Window::Hann,
            trend: Some(Trend::Constant),
            spacing: 1.0,
        }
    }
}

/// What a node over lines does, so that a next step can become part of it.
pub(crate) struct Lines {
    input: Array,
    axis: usize,
    chain: Chain,
}

#[derive(Serialize, Deserialize)]
struct Environment {
    axis: usize,
    chain: Chain,
    dtype: DType,
}

impl Environment {
    fn apply(&self, chunk: &Chunk) -> Result<Chunk, String> {
        let length = chunk.shape()[self.axis];
        let inner = chunk.shape()[self.axis + 1..].iter().product::<u64>() as usize;
        let mut shape = chunk.shape().to_vec();
        (shape[self.axis], _) = self.chain.gives(length, chunk.dtype().is_complex());
        let mut out = ChunkMut::new(self.dtype, &shape);
        if self.dtype.real_part() == DType::F32 {
            transform::<f32>(&self.chain, length, inner, chunk, &mut out)?;
        } else {
            transform::<f64>(&self.chain, length, inner, chunk, &mut out)?;
        }
        Ok(out.freeze())
    }
}

fn transform<P>(
    chain: &Chain,
    length: u64,
    inner: usize,
    chunk: &Chunk,
    out: &mut ChunkMut,
) -> Result<(), String>
where
    P: Precision + nuna_chunk::Element,
    Complex<P>: nuna_chunk::Element,
{
    let wrong = |error: ChunkError| error.to_string();
    let from = match chunk.dtype().is_complex() {
        true => Data::Complex(chunk.elements().map_err(wrong)?),
        false => Data::Real(chunk.elements().map_err(wrong)?),
    };
    let to = match out.dtype().is_complex() {
        true => DataMut::Complex(out.elements_mut().map_err(wrong)?),
        false => DataMut::Real(out.elements_mut().map_err(wrong)?),
    };
    P::transform(chain, length, inner, from, to)
}

impl Array {
    /// Another step along `axis`, as a part of what this array is if that is such a step too.
    fn then(&self, axis: usize, step: Step) -> Result<Array, ArrayError> {
        self.check_axis(axis)?;
        if self.shape()[axis] == 0 {
            let (operation, name) = (step.name().to_owned(), self.expression());
            return Err(ArrayErrorKind::EmptyAxis { operation, axis, name }.into());
        }
        let joined = match &self.node.op {
            Op::Opaque { lines: Some(lines), .. } if lines.axis == axis => {
                let transformed =
                    lines.chain.0.iter().any(|s| !matches!(s, Step::Detrend(_) | Step::Window(_)));
                let ends = matches!(lines.chain.0.last(), Some(Step::Fft { .. } | Step::Rfft { .. }));
                (!transformed || (ends && step == Step::Abs2))
                    .then(|| (lines.input.clone(), lines.chain.clone()))
            }
            _ => None,
        };
        let (input, mut chain) = joined.unwrap_or_else(|| {
            let floats = if self.dtype().has_nan() { self.dtype() } else { DType::F64 };
            (self.astype(floats), Chain::default())
        });
        chain.0.push(step);
        Ok(input.through(axis, chain))
    }

    fn through(&self, axis: usize, chain: Chain) -> Array {
        let input = self.whole_along(&[axis]);
        let complex = self.dtype().is_complex();
        let length = self.shape()[axis];
        let (becomes, becomes_complex) = chain.gives(length, complex);
        let part = self.dtype().real_part();
        let dtype = if becomes_complex { part.to_complex() } else { part };
        let mut axes = input.chunks().axes().to_vec();
        axes[axis] = Splits::Regular { chunk: becomes, length: becomes };
        let made = Routine {
            name: format!("{}({axis})", chain.name()),
            dtype,
            grid: ChunkGrid::from_axes(axes),
            scratch: scratch_bytes(&chain, length, complex, part.size() as u64),
        };
        let environment = Environment { axis, chain, dtype };
        // The input as it is cut here: another step reads the same blocks.
        let source = input.clone();
        let mut array =
            routine(vec![(input, Reads::Own)], made, &environment, |environment: &Environment, b| {
                environment.apply(&b.inputs[0])
            })
            .expect("steps and numbers always serialise");
        let lines = Lines { input: source, axis, chain: environment.chain };
        if let Some(expr) = Arc::get_mut(&mut array.node)
            && let Op::Opaque { lines: slot, .. } = &mut expr.op
        {
            *slot = Some(Box::new(lines));
        }
        array
    }

    /// [`abs2`](Array::abs2) as a part of the transform before it.
    pub(crate) fn abs2_of_lines(&self) -> Option<Array> {
        let Op::Opaque { lines: Some(lines), .. } = &self.node.op else { return None };
        let ends = matches!(lines.chain.0.last(), Some(Step::Fft { .. } | Step::Rfft { .. }));
        if ends { self.then(lines.axis, Step::Abs2).ok() } else { None }
    }

    /// Every line along `axis` without its mean or its straight line of best fit, computed in `float64`. The same shape; `float32`
    /// stays, integers and bool give `float64`. A NaN makes its line NaN.
    ///
    /// # Errors
    /// If the axis is out of range or empty, or the numbers are complex.
    pub fn detrend(&self, axis: usize, trend: Trend) -> Result<Array, ArrayError> {
        self.check_axis(axis)?;
        self.check_real("detrend")?;
        self.then(axis, Step::Detrend(trend))
    }

    /// Every line along `axis` multiplied by a window of its length. The same shape; floats and complex numbers keep their dtype,
    /// others give `float64`.
    ///
    /// # Errors
    /// If the axis is out of range or empty, or the window's parameter has no window.
    pub fn window(&self, axis: usize, window: Window, symmetry: Symmetry) -> Result<Array, ArrayError> {
        self.check_axis(axis)?;
        let length = usize::try_from(self.shape()[axis]).unwrap_or(usize::MAX);
        let factors = window.factors(length, symmetry).map_err(ArrayErrorKind::Invalid)?;
        self.then(axis, Step::Window(factors))
    }

    fn length(&self, operation: &str, axis: usize, options: FftOptions, own: u64) -> Result<u64, ArrayError> {
        match options.n.unwrap_or(own) {
            0 => Err(ArrayErrorKind::Invalid(format!(
                "`{operation}` along axis {axis} of {} to 0 elements; give at least 1",
                self.expression()
            ))
            .into()),
            n => Ok(n),
        }
    }

    /// Lines without elements that are to be made longer: zeros, as every other is filled up.
    fn from_nothing(&self, axis: usize, options: FftOptions) -> Array {
        match (self.shape()[axis], options.n) {
            (0, Some(n)) => {
                let mut shape = self.shape().to_vec();
                shape[axis] = n;
                Array::zeros(&shape, self.dtype())
            }
            _ => self.clone(),
        }
    }

    /// The discrete Fourier transform along `axis`, frequencies in the order of [`fftfreq`]. `float32` and `complex64` give
    /// `complex64`, as in NumPy 2, everything else `complex128`. A NaN makes its line NaN.
    ///
    /// # Errors
    /// If the axis is out of range, or empty and no length is given.
    pub fn fft(&self, axis: usize) -> Result<Array, ArrayError> {
        self.fft_with(axis, FftOptions::default())
    }

    /// [`fft`](Array::fft) of another length or scaling.
    ///
    /// # Errors
    /// As [`fft`](Array::fft), and if `n` is 0.
    pub fn fft_with(&self, axis: usize, options: FftOptions) -> Result<Array, ArrayError> {
        self.check_axis(axis)?;
        let n = self.length("fft", axis, options, self.shape()[axis].max(1))?;
        self.from_nothing(axis, options).then(axis, Step::Fft { n, inverse: false, norm: options.norm })
    }

    /// The inverse of [`fft`](Array::fft) along `axis`; complex, with the same dtypes.
    ///
    /// # Errors
    /// As [`fft`](Array::fft).
    pub fn ifft(&self, axis: usize) -> Result<Array, ArrayError> {
        self.ifft_with(axis, FftOptions::default())
    }

    /// [`ifft`](Array::ifft) of another length or scaling.
    ///
    /// # Errors
    /// As [`fft_with`](Array::fft_with).
    pub fn ifft_with(&self, axis: usize, options: FftOptions) -> Result<Array, ArrayError> {
        self.check_axis(axis)?;
        let n = self.length("ifft", axis, options, self.shape()[axis].max(1))?;
        self.from_nothing(axis, options).then(axis, Step::Fft { n, inverse: true, norm: options.norm })
    }

    /// The discrete Fourier transform of real numbers along `axis`: the `n / 2 + 1` frequencies that are not negative, those of
    /// [`rfftfreq`]. `float32` gives `complex64`, as in NumPy 2, everything else `complex128`.
    ///
    /// # Errors
    /// If the axis is out of range or empty, or the numbers are complex.
    pub fn rfft(&self, axis: usize) -> Result<Array, ArrayError> {
        self.rfft_with(axis, FftOptions::default())
    }

    /// [`rfft`](Array::rfft) of another length or scaling.
    ///
    /// # Errors
    /// As [`rfft`](Array::rfft), and if `n` is 0.
    pub fn rfft_with(&self, axis: usize, options: FftOptions) -> Result<Array, ArrayError> {
        self.check_axis(axis)?;
        self.check_real("rfft")?;
        let n = self.length("rfft", axis, options, self.shape()[axis].max(1))?;
        self.from_nothing(axis, options).then(axis, Step::Rfft { n, norm: options.norm })
    }

    /// The inverse of [`rfft`](Array::rfft) along `axis`: real numbers of frequencies that are not negative. Give `n` where the
    /// line had an odd number of elements. Imaginary parts that a real line cannot have are ignored, as in NumPy.
    ///
    /// # Errors
    /// As [`fft`](Array::fft), and if there is but one frequency and no `n`.
    pub fn irfft(&self, axis: usize) -> Result<Array, ArrayError> {
        self.irfft_with(axis, FftOptions::default())
    }

    /// [`irfft`](Array::irfft) of another length or scaling.
    ///
    /// # Errors
    /// As [`irfft`](Array::irfft).
    pub fn irfft_with(&self, axis: usize, options: FftOptions) -> Result<Array, ArrayError> {
        self.check_axis(axis)?;
        let n = self.length("irfft", axis, options, 2 * self.shape()[axis].saturating_sub(1))?;
        let floats = if self.dtype().has_nan() { self.dtype() } else { DType::F64 };
        let spectrum = self.astype(floats.to_complex()).from_nothing(axis, options);
        spectrum.then(axis, Step::Irfft { n, norm: options.norm })
    }

    fn each_axis(
        &self,
        axes: &[usize],
        one: impl Fn(&Array, usize) -> Result<Array, ArrayError>,
    ) -> Result<Array, ArrayError> {
        for (i, &axis) in axes.iter().enumerate() {
            self.check_axis(axis)?;
            if axes[..i].contains(&axis) {
                return Err(ArrayErrorKind::AxisRepeated { axis, axes: axes.to_vec() }.into());
            }
        }
        axes.iter().rev().try_fold(self.clone(), |array, &axis| one(&array, axis))
    }

    /// [`fft`](Array::fft) along each of `axes`. Each axis in turn becomes one chunk.
    ///
    /// # Errors
    /// As [`fft`](Array::fft), and if an axis is named twice.
    pub fn fftn(&self, axes: &[usize]) -> Result<Array, ArrayError> {
        self.each_axis(axes, Array::fft)
    }

    /// [`ifft`](Array::ifft) along each of `axes`.
    ///
    /// # Errors
    /// As [`fftn`](Array::fftn).
    pub fn ifftn(&self, axes: &[usize]) -> Result<Array, ArrayError> {
        self.each_axis(axes, Array::ifft)
    }

    /// [`fftn`](Array::fftn) along the last two axes.
    ///
    /// # Errors
    /// As [`fftn`](Array::fftn), and if there are fewer.
    pub fn fft2(&self) -> Result<Array, ArrayError> {
        let last = self.ndim().saturating_sub(1);
        self.fftn(&[last.wrapping_sub(1), last])
    }

    /// [`ifftn`](Array::ifftn) along the last two axes.
    ///
    /// # Errors
    /// As [`fft2`](Array::fft2).
    pub fn ifft2(&self) -> Result<Array, ArrayError> {
        let last = self.ndim().saturating_sub(1);
        self.ifftn(&[last.wrapping_sub(1), last])
    }

    /// [`rfft`](Array::rfft) along the last of `axes`, then [`fft`](Array::fft) along the others.
    ///
    /// # Errors
    /// As [`fftn`](Array::fftn), and if the numbers are complex.
    pub fn rfftn(&self, axes: &[usize]) -> Result<Array, ArrayError> {
        let last = axes.last().copied();
        self.each_axis(
            axes,
            |array, axis| if Some(axis) == last { array.rfft(axis) } else { array.fft(axis) },
        )
    }

    /// The inverse of [`rfftn`](Array::rfftn).
    ///
    /// # Errors
    /// As [`fftn`](Array::fftn).
    pub fn irfftn(&self, axes: &[usize]) -> Result<Array, ArrayError> {
        let Some((&last, others)) = axes.split_last() else { return Ok(self.clone()) };
        if others.contains(&last) {
            return Err(ArrayErrorKind::AxisRepeated { axis: last, axes: axes.to_vec() }.into());
        }
        self.ifftn(others)?.irfft(last)
    }

    /// Frequency 0 moved to the middle of each of `axes`.
    ///
    /// # Errors
    /// [`ArrayErrorKind::AxisOutOfRange`].
    pub fn fftshift(&self, axes: &[usize]) -> Result<Array, ArrayError> {
        axes.iter().try_fold(self.clone(), |array, &axis| {
            array.check_axis(axis)?;
            let half = (array.shape()[axis] / 2).cast_signed();
            array.roll(half, axis)
        })
    }

    /// The inverse of [`fftshift`](Array::fftshift).
    ///
    /// # Errors
    /// [`ArrayErrorKind::AxisOutOfRange`].
    pub fn ifftshift(&self, axes: &[usize]) -> Result<Array, ArrayError> {
        axes.iter().try_fold(self.clone(), |array, &axis| {
            array.check_axis(axis)?;
            let half = (array.shape()[axis] / 2).cast_signed();
            array.roll(-half, axis)
        })
    }

    /// The power spectral density of real lines along `axis` by Welch's method, as `scipy.signal.welch` (with one segment:
    /// `periodogram`): segments that overlap lose their trend, are windowed and transformed; squares of absolute values are
    /// averaged, scaled to a density, and doubled for frequencies that stand for a negative one too. Frequencies are those
    /// of [`rfftfreq`] for a segment. `float32` stays, integers and bool give `float64`.
    ///
    /// # Errors
    /// If the axis is out of range or empty, the numbers are complex, a segment has no elements or no more than the overlap, or the
    /// spacing is not a number above 0.
    pub fn psd(&self, axis: usize, options: PsdOptions) -> Result<Array, ArrayError> {
        self.check_axis(axis)?;
        self.check_real("psd")?;
        let length = self.shape()[axis];
        let segment = options.segment.unwrap_or(length).min(length.max(1));
        let overlap = options.overlap.unwrap_or(segment / 2);
        let invalid = |message: String| ArrayError::from(ArrayErrorKind::Invalid(message));
        if segment == 0 || overlap >= segment {
            return Err(invalid(format!("segments of {segment} elements cannot have {overlap} in common")));
        }
        if !(options.spacing > 0.0 && options.spacing.is_finite()) {
            return Err(invalid(format!(
                "a spacing of {} between elements; give one above 0",
                options.spacing
            )));
        }
        let window = options
            .window
            .factors(usize::try_from(segment).unwrap_or(usize::MAX), Symmetry::Periodic)
            .map_err(ArrayErrorKind::Invalid)?;
        let scale = options.spacing / window.iter().map(|w| w * w).sum::<f64>();
        self.then(
            axis,
            Step::Welch(Welch { advance: segment - overlap, trend: options.trend, window, scale }),
        )
    }
}

/// The frequencies of [`Array::fft`] for `n` elements that lie `spacing` apart: from 0 up, then the negative ones from the lowest
/// up, in cycles per unit of the spacing.
pub fn fftfreq(n: u64, spacing: f64) -> Array {
    let step = 1.0 / (n as f64 * spacing);
    let positive = n.div_ceil(2);
    let values = (0..n).map(|k| if k < positive { k as f64 } else { k as f64 - n as f64 } * step);
    Array::from_chunk(Chunk::from_slice(&[n], &values.collect::<Vec<_>>()))
}

/// The frequencies of [`Array::rfft`] for `n` elements that lie `spacing` apart.
pub fn rfftfreq(n: u64, spacing: f64) -> Array {
    let step = 1.0 / (n as f64 * spacing);
    let count = if n == 0 { 0 } else { n / 2 + 1 };
    Array::from_chunk(Chunk::from_slice(&[count], &(0..count).map(|k| k as f64 * step).collect::<Vec<_>>()))
}

impl Array {
    /// `abs2`, or what else is one operation on each element.
    pub(crate) fn joined_unary(&self, op: Unary) -> Option<Array> {
        if op == Unary::Abs2 { self.abs2_of_lines() } else { None }
    }
}
