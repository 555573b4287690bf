//! Owns windows: factors that fade the ends of a line, as `scipy.signal.windows` has them.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// The shape of a window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Window {
    /// 1 everywhere.
    Boxcar,
    /// A raised cosine that ends at 0.
    Hann,
    /// A raised cosine that ends at 0.08.
    Hamming,
    Blackman,
    /// A triangle that ends at 0.
    Bartlett,
    /// 0 is a boxcar, 5 like Hamming, 6 like Hann, 8.6 like Blackman; at most 700.
    Kaiser {
        beta: f64,
    },
    /// Flat, with cosines over `alpha / 2` of the length at both ends: 0 is a boxcar, 1 is Hann.
    Tukey {
        alpha: f64,
    },
}

/// Whether a window repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Symmetry {
    /// The ends are equal: `numpy.hanning`, and SciPy's windows unless told otherwise.
    #[default]
    Symmetric,
    /// One more element would be equal to the first: `sym=False`, what spectra by segments take.
    Periodic,
}

impl Window {
    /// Its factors for `n` elements; one element is 1.
    ///
    /// # Errors
    /// If `beta` or `alpha` is none that has a window.
    pub fn factors(self, n: usize, symmetry: Symmetry) -> Result<Vec<f64>, String> {
        match self {
            Window::Kaiser { beta } if !(0.0..=700.0).contains(&beta) => {
                return Err(format!("a Kaiser window has a `beta` from 0 to 700, not {beta}"));
            }
            Window::Tukey { alpha } if alpha.is_nan() => {
                return Err("a Tukey window has an `alpha` from 0 to 1, not NaN".to_owned());
            }
            _ => {}
        }
        if n <= 1 {
            return Ok(vec![1.0; n]);
        }
        let length = if symmetry == Symmetry::Periodic { n + 1 } else { n };
        let last = (length - 1) as f64;
        let cosines = |terms: &[f64]| -> Vec<f64> {
            let at = |i: usize| 2.0 * PI * i as f64 / last - PI;
            (0..n)
                .map(|i| terms.iter().zip(0u32..).map(|(a, k)| a * (f64::from(k) * at(i)).cos()).sum())
                .collect()
        };
        Ok(match self {
            Window::Boxcar => vec![1.0; n],
            Window::Hann => cosines(&[0.5, 0.5]),
            Window::Hamming => cosines(&[0.54, 0.46]),
            Window::Blackman => cosines(&[0.42, 0.5, 0.08]),
            Window::Bartlett => (0..n).map(|i| 1.0 - (2.0 * i as f64 / last - 1.0).abs()).collect(),
            Window::Kaiser { beta } => {
                let whole = bessel(beta);
                let at = |i: usize| 2.0 * i as f64 / last - 1.0;
                (0..n).map(|i| bessel(beta * (1.0 - at(i) * at(i)).max(0.0).sqrt()) / whole).collect()
            }
            Window::Tukey { alpha } if alpha <= 0.0 => vec![1.0; n],
            Window::Tukey { alpha } if alpha >= 1.0 => cosines(&[0.5, 0.5]),
            Window::Tukey { alpha } => {
                let width = (alpha * last / 2.0).floor() as usize;
                let fade = |from_end: f64| 0.5 * (1.0 + (PI * (2.0 * from_end / alpha / last - 1.0)).cos());
                (0..n)
                    .map(|i| {
                        let from_end = i.min(length - 1 - i);
                        if from_end <= width { fade(from_end as f64) } else { 1.0 }
                    })
                    .collect()
            }
        })
    }
}

/// The modified Bessel function of order 0 by its series: all terms are positive, so nothing cancels.
fn bessel(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let (mut term, mut sum, mut k) = (1.0, 1.0, 1.0);
    while term > sum * 1e-17 {
        term *= quarter / (k * k);
        sum += term;
        k += 1.0;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_middles() {
        let of = |window: Window, n| window.factors(n, Symmetry::Symmetric).unwrap();
        let near = |found: &[f64], expected: &[f64]| {
            assert_eq!(found.len(), expected.len());
            for (a, b) in found.iter().zip(expected) {
                assert!((a - b).abs() < 1e-15, "{found:?} and {expected:?}");
            }
        };
        near(&of(Window::Hann, 5), &[0.0, 0.5, 1.0, 0.5, 0.0]);
        near(&Window::Hann.factors(4, Symmetry::Periodic).unwrap(), &[0.0, 0.5, 1.0, 0.5]);
        near(&of(Window::Hamming, 3), &[0.08, 1.0, 0.08]);
        near(&of(Window::Bartlett, 5), &[0.0, 0.5, 1.0, 0.5, 0.0]);
        near(&of(Window::Tukey { alpha: 0.5 }, 9), &[0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.0]);
        for window in
            [Window::Boxcar, Window::Blackman, Window::Kaiser { beta: 0.0 }, Window::Tukey { alpha: 2.0 }]
        {
            assert_eq!((of(window, 0), of(window, 1)), (vec![], vec![1.0]));
            near(&of(window, 7)[3..4], &[1.0]);
        }
        assert!(Window::Kaiser { beta: f64::NAN }.factors(3, Symmetry::Symmetric).is_err());
        assert!(Window::Kaiser { beta: 1e6 }.factors(3, Symmetry::Symmetric).is_err());
    }
}
