//! Owns trends: what is taken away from a line before it is transformed.

use serde::{Deserialize, Serialize};

use crate::line::Float;

/// What is taken away from each line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Trend {
    /// Its mean.
    Constant,
    /// The straight line that fits it best, by least squares.
    Linear,
}

impl Trend {
    /// Takes the trend away. Sums are in `float64`. A NaN makes the whole line NaN.
    pub(crate) fn remove<P: Float>(self, line: &mut [P]) {
        let n = line.len();
        if n == 0 {
            return;
        }
        let mean = sum(line) / n as f64;
        if self == Trend::Constant || n == 1 {
            for x in line {
                *x = P::rounded((*x).into() - mean);
            }
            return;
        }
        let middle = (n - 1) as f64 / 2.0;
        let rise: f64 = line.iter().enumerate().map(|(i, &x)| (i as f64 - middle) * (x.into() - mean)).sum();
        // The sum of (i - middle)² in closed form.
        let length = n as f64;
        let slope = rise / (length * (length * length - 1.0) / 12.0);
        for (i, x) in line.iter_mut().enumerate() {
            *x = P::rounded((*x).into() - mean - slope * (i as f64 - middle));
        }
    }
}

/// Sums side by side, so that none waits for the one before.
const LANES: usize = 8;

/// In an order that is the same wherever the line lies.
fn sum<P: Float>(line: &[P]) -> f64 {
    let (whole, rest) = line.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for values in whole {
        for (lane, &x) in lanes.iter_mut().zip(values) {
            *lane += x.into();
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane += x.into();
    }
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_straight_line_is_nothing_but_trend() {
        let mut line: Vec<f64> = (0..100).map(|i| 3.0 - 0.25 * f64::from(i)).collect();
        Trend::Linear.remove(&mut line);
        assert!(line.iter().all(|x| x.abs() < 1e-13), "{line:?}");
        let mut line = vec![1.0f32, 2.0, 6.0];
        Trend::Constant.remove(&mut line);
        assert_eq!(line, [-2.0, -1.0, 3.0]);
        for trend in [Trend::Constant, Trend::Linear] {
            let mut one = vec![7.0f64];
            trend.remove(&mut one);
            assert_eq!(one, [0.0]);
            let mut lost = vec![1.0, f64::NAN, 2.0];
            trend.remove(&mut lost);
            assert!(lost.iter().all(|x| x.is_nan()));
            trend.remove::<f64>(&mut []);
        }
    }
}
