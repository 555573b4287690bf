//! Owns convolution along an axis with few weights.

use super::each_line;
use crate::{chunk::Chunk, dtype::DType};

/// Every line of floats convolved with `weights`, where all of these meet elements: lines become shorter by one less than there
/// are weights. Summed in `float64`.
///
/// # Panics
/// If there are no weights, or elements are not floats.
pub fn convolve(chunk: &Chunk, axis: usize, weights: &[f64]) -> Chunk {
    let length = (chunk.shape()[axis] + 1).saturating_sub(weights.len() as u64);
    let sum = |window: &mut dyn Iterator<Item = f64>| -> f64 {
        weights.iter().rev().zip(window).map(|(weight, value)| weight * value).sum()
    };
    if chunk.dtype() == DType::F32 {
        return each_line::<f32, f32>(chunk, axis, length, |line, out| {
            for (window, out) in line.windows(weights.len()).zip(out) {
                *out = sum(&mut window.iter().map(|v| f64::from(*v))) as f32;
            }
        });
    }
    each_line::<f64, f64>(chunk, axis, length, |line, out| {
        for (window, out) in line.windows(weights.len()).zip(out) {
            *out = sum(&mut window.iter().copied());
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_run_against_the_elements() {
        let chunk = Chunk::from_slice(&[4], &[1.0, 2.0, 4.0, 8.0]);
        assert_eq!(convolve(&chunk, 0, &[1.0, 10.0, 100.0]).to_vec::<f64>(), [124.0, 248.0]);
        assert_eq!(convolve(&chunk, 0, &[1.0; 5]).shape(), [0]);
    }
}
