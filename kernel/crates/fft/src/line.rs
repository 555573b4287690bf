//! Owns what is done with one line: a chain of steps, with the plans of its transforms made once for a block.

use std::sync::Arc;

use num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use rustfft::{Fft, FftDirection, FftNum, FftPlanner};
use serde::{Deserialize, Serialize};

use crate::trend::Trend;

/// Which direction is divided by the number of elements: NumPy's `norm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Norm {
    /// The inverse.
    #[default]
    Backward,
    /// Both, by the square root.
    Ortho,
    /// The forward transform.
    Forward,
}

impl Norm {
    fn factor(self, n: u64, inverse: bool) -> f64 {
        match (self, inverse) {
            (Norm::Ortho, _) => 1.0 / (n as f64).sqrt(),
            (Norm::Backward, true) | (Norm::Forward, false) => 1.0 / n as f64,
            (Norm::Backward, false) | (Norm::Forward, true) => 1.0,
        }
    }
}

/// A power spectral density by Welch's method: the mean over segments that overlap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Welch {
    /// Elements between the beginnings of two segments; at least 1.
    pub advance: u64,
    pub trend: Option<Trend>,
    /// One factor per element of a segment, at least one.
    pub window: Vec<f64>,
    /// What the square of an absolute value is multiplied with; twice that for frequencies that stand for a negative one too.
    pub scale: f64,
}

/// What is done with a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// Of real lines.
    Detrend(Trend),
    /// Multiplied by factors, one per element.
    Window(Vec<f64>),
    /// All frequencies of a line that is filled with zeros or cut to `n` elements; at least 1.
    Fft { n: u64, inverse: bool, norm: Norm },
    /// The frequencies that are not negative, of a real line.
    Rfft { n: u64, norm: Norm },
    /// A real line of `n` elements of the frequencies that are not negative.
    Irfft { n: u64, norm: Norm },
    /// Squares of absolute values: a real line.
    Abs2,
    /// Of a real line, a real line over the frequencies that are not negative.
    Welch(Welch),
}

impl Step {
    /// Elements and kind (`true` is complex) of what becomes of a line.
    fn gives(&self, length: u64, complex: bool) -> (u64, bool) {
        match self {
            Step::Detrend(_) | Step::Window(_) => (length, complex),
            Step::Fft { n, .. } => (*n, true),
            Step::Rfft { n, .. } => (n / 2 + 1, true),
            Step::Irfft { n, .. } => (*n, false),
            Step::Abs2 => (length, false),
            Step::Welch(welch) => (welch.window.len() as u64 / 2 + 1, false),
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Step::Detrend(_) => "detrend",
            Step::Window(_) => "window",
            Step::Fft { inverse: false, .. } => "fft",
            Step::Fft { inverse: true, .. } => "ifft",
            Step::Rfft { .. } => "rfft",
            Step::Irfft { .. } => "irfft",
            Step::Abs2 => "abs2",
            Step::Welch(_) => "welch",
        }
    }
}

/// Steps one after the other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Chain(pub Vec<Step>);

impl Chain {
    /// Elements and kind (`true` is complex) of what becomes of lines.
    pub fn gives(&self, length: u64, complex: bool) -> (u64, bool) {
        self.0.iter().fold((length, complex), |(length, complex), step| step.gives(length, complex))
    }

    /// The longest line on the way.
    pub(crate) fn longest(&self, length: u64, complex: bool) -> u64 {
        let mut at = (length, complex);
        let mut most = length;
        for step in &self.0 {
            let inside = match step {
                Step::Fft { n, .. } | Step::Rfft { n, .. } | Step::Irfft { n, .. } => *n,
                Step::Welch(welch) => welch.window.len() as u64,
                _ => 0,
            };
            at = step.gives(at.0, at.1);
            most = most.max(at.0).max(inside);
        }
        most
    }

    /// By which steps it is called.
    pub fn name(&self) -> String {
        self.0.iter().map(Step::name).collect::<Vec<_>>().join("+")
    }
}

/// `f32` or `f64`.
pub(crate) trait Float: FftNum + Default + Into<f64> {
    fn rounded(value: f64) -> Self;
}

impl Float for f32 {
    #[inline(always)]
    fn rounded(value: f64) -> Self {
        value as f32
    }
}

impl Float for f64 {
    #[inline(always)]
    fn rounded(value: f64) -> Self {
        value
    }
}

/// A step with its plan.
enum Ready<P: Float> {
    Detrend(Trend),
    Window(Vec<P>),
    Complex {
        fft: Arc<dyn Fft<P>>,
        factor: P,
    },
    /// Every frequency of a real line, the negative ones by symmetry; conjugated for the inverse.
    Mirrored {
        fft: Arc<dyn RealToComplex<P>>,
        factor: P,
        inverse: bool,
    },
    Half {
        fft: Arc<dyn RealToComplex<P>>,
        factor: P,
    },
    Back {
        fft: Arc<dyn ComplexToReal<P>>,
        factor: P,
    },
    Abs2,
    Welch {
        fft: Arc<dyn RealToComplex<P>>,
        advance: usize,
        trend: Option<Trend>,
        window: Vec<P>,
        scale: f64,
    },
}

/// A chain ready to run, and the memory that it works in.
pub(crate) struct Machine<P: Float> {
    steps: Vec<Ready<P>>,
    /// The line where it is real, and where it is complex.
    pub(crate) real: Vec<P>,
    pub(crate) complex: Vec<Complex<P>>,
    work: Vec<Complex<P>>,
    segment: Vec<P>,
    power: Vec<f64>,
}

impl<P: Float> Machine<P> {
    pub(crate) fn new(chain: &Chain, length: u64, complex: bool) -> Result<Self, String> {
        let (mut halves, mut wholes) = (RealFftPlanner::<P>::new(), FftPlanner::<P>::new());
        let mut steps = Vec::with_capacity(chain.0.len());
        let mut at = (length, complex);
        let mut work = 0;
        for step in &chain.0 {
            let wrong = || format!("`{}` of a {} line", step.name(), if at.1 { "complex" } else { "real" });
            if let Step::Fft { n: 0, .. } | Step::Rfft { n: 0, .. } | Step::Irfft { n: 0, .. } = step {
                return Err(format!("`{}` over no elements", step.name()));
            }
            let ready = match step {
                Step::Detrend(trend) if !at.1 => Ready::Detrend(*trend),
                Step::Window(factors) if factors.len() as u64 == at.0 => {
                    Ready::Window(factors.iter().map(|&f| P::rounded(f)).collect())
                }
                Step::Fft { n, inverse, norm } if at.1 => {
                    let direction = if *inverse { FftDirection::Inverse } else { FftDirection::Forward };
                    let fft = wholes.plan_fft(*n as usize, direction);
                    work = work.max(fft.get_inplace_scratch_len());
                    Ready::Complex { fft, factor: P::rounded(norm.factor(*n, *inverse)) }
                }
                Step::Fft { n, inverse, norm } => {
                    let fft = halves.plan_fft_forward(*n as usize);
                    work = work.max(fft.get_scratch_len());
                    Ready::Mirrored { fft, factor: P::rounded(norm.factor(*n, *inverse)), inverse: *inverse }
                }
                Step::Rfft { n, norm } if !at.1 => {
                    let fft = halves.plan_fft_forward(*n as usize);
                    work = work.max(fft.get_scratch_len());
                    Ready::Half { fft, factor: P::rounded(norm.factor(*n, false)) }
                }
                Step::Irfft { n, norm } if at.1 => {
                    let fft = halves.plan_fft_inverse(*n as usize);
                    work = work.max(fft.get_scratch_len());
                    Ready::Back { fft, factor: P::rounded(norm.factor(*n, true)) }
                }
                Step::Abs2 if at.1 => Ready::Abs2,
                Step::Welch(welch) if !at.1 && !welch.window.is_empty() && welch.advance > 0 => {
                    if (welch.window.len() as u64) > at.0 {
                        return Err(format!(
                            "segments of {} elements in lines of {}",
                            welch.window.len(),
                            at.0
                        ));
                    }
                    let fft = halves.plan_fft_forward(welch.window.len());
                    work = work.max(fft.get_scratch_len());
                    let window = welch.window.iter().map(|&f| P::rounded(f)).collect();
                    let (advance, trend, scale) = (welch.advance as usize, welch.trend, welch.scale);
                    Ready::Welch { fft, advance, trend, window, scale }
                }
                _ => return Err(wrong()),
            };
            steps.push(ready);
            at = step.gives(at.0, at.1);
        }
        let longest = chain.longest(length, complex) as usize;
        Ok(Self {
            steps,
            real: Vec::with_capacity(longest),
            complex: Vec::with_capacity(longest),
            work: vec![Complex::default(); work],
            segment: Vec::new(),
            power: Vec::new(),
        })
    }

    /// Takes the line in `real` or `complex` through all steps; which of them holds it then, the chain says.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        let Self { steps, real, complex, work, segment, power } = self;
        let zero = Complex::<P>::default();
        for step in steps {
            match step {
                Ready::Detrend(trend) => trend.remove(real),
                Ready::Window(factors) => {
                    // Whichever of them holds the line; the other's contents mean nothing.
                    for (x, &factor) in real.iter_mut().zip(factors.iter()) {
                        *x = *x * factor;
                    }
                    for (z, &factor) in complex.iter_mut().zip(factors.iter()) {
                        *z = z.scale(factor);
                    }
                }
                Ready::Complex { fft, factor } => {
                    complex.resize(fft.len(), zero);
                    fft.process_with_scratch(complex, work);
                    scale(complex, *factor);
                }
                Ready::Mirrored { fft, factor, inverse } => {
                    let n = fft.len();
                    real.resize(n, P::zero());
                    complex.clear();
                    complex.resize(n, zero);
                    let half = n / 2 + 1;
                    fft.process_with_scratch(real, &mut complex[..half], work).map_err(|e| e.to_string())?;
                    scale(&mut complex[..half], *factor);
                    if *inverse {
                        complex[..half].iter_mut().for_each(|z| *z = z.conj());
                    }
                    for i in half..n {
                        complex[i] = complex[n - i].conj();
                    }
                    real.clear();
                }
                Ready::Half { fft, factor } => {
                    real.resize(fft.len(), P::zero());
                    complex.resize(fft.len() / 2 + 1, zero);
                    fft.process_with_scratch(real, complex, work).map_err(|e| e.to_string())?;
                    scale(complex, *factor);
                    real.clear();
                }
                Ready::Back { fft, factor } => {
                    let n = fft.len();
                    complex.resize(n / 2 + 1, zero);
                    real.resize(n, P::zero());
                    // A real line has none; NumPy does not look at them either.
                    complex[0].im = P::zero();
                    if n.is_multiple_of(2) {
                        complex[n / 2].im = P::zero();
                    }
                    fft.process_with_scratch(complex, real, work).map_err(|e| e.to_string())?;
                    if *factor != P::one() {
                        real.iter_mut().for_each(|x| *x = *x * *factor);
                    }
                    complex.clear();
                }
                Ready::Abs2 => {
                    real.clear();
                    real.extend(complex.iter().map(|z| z.re * z.re + z.im * z.im));
                    complex.clear();
                }
                Ready::Welch { fft, advance, trend, window, scale } => {
                    let n = window.len();
                    power.clear();
                    power.resize(n / 2 + 1, 0.0);
                    complex.clear();
                    complex.resize(n / 2 + 1, zero);
                    let mut count = 0.0;
                    for start in (0..=real.len() - n).step_by(*advance) {
                        segment.clear();
                        segment.extend_from_slice(&real[start..start + n]);
                        if let Some(trend) = trend {
                            trend.remove(segment);
                        }
                        for (x, &factor) in segment.iter_mut().zip(window.iter()) {
                            *x = *x * factor;
                        }
                        fft.process_with_scratch(segment, complex, work).map_err(|e| e.to_string())?;
                        for (sum, z) in power.iter_mut().zip(complex.iter()) {
                            let (re, im): (f64, f64) = (z.re.into(), z.im.into());
                            *sum += re * re + im * im;
                        }
                        count += 1.0;
                    }
                    real.clear();
                    for (k, &sum) in power.iter().enumerate() {
                        // The mean, and the last frequency of an even number of elements, stand for themselves alone.
                        let single = k == 0 || (n.is_multiple_of(2) && k == n / 2);
                        real.push(P::rounded(sum / count * *scale * if single { 1.0 } else { 2.0 }));
                    }
                    complex.clear();
                }
            }
        }
        Ok(())
    }
}

fn scale<P: Float>(line: &mut [Complex<P>], factor: P) {
    if factor != P::one() {
        line.iter_mut().for_each(|z| *z = z.scale(factor));
    }
}
