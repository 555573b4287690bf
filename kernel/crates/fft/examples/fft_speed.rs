//! How fast one thread makes spectra: `cargo run -p nuna-fft --example fft_speed`. Prints GB/s of input.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program for people")]

use std::time::Instant;

use num_complex::Complex;
use nuna_fft::{Chain, Data, DataMut, Norm, Precision, Step, Symmetry, Trend, Window};

fn best(bytes: usize, what: &str, mut run: impl FnMut()) {
    let seconds = (0..5)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    println!("{what:52} {:6.2} GB/s", bytes as f64 / seconds / 1e9);
}

fn main() {
    for (n, inner) in [(1024usize, 4096usize), (1024, 16384), (1024, 1), (1000, 4096), (8760, 512)] {
        let lines = if inner == 1 { 4096 } else { inner };
        let values: Vec<f32> = (0..n * lines).map(|i| (i * 7919 % 1009) as f32).collect();
        let m = n / 2 + 1;
        let mut complex = vec![Complex::default(); m * lines];
        let mut real = vec![0f32; m * lines];
        let window = Window::Hann.factors(n, Symmetry::Symmetric).unwrap();
        let steps = [
            Step::Detrend(Trend::Constant),
            Step::Window(window),
            Step::Rfft { n: n as u64, norm: Norm::Backward },
            Step::Abs2,
        ];
        let rfft = Chain(vec![steps[2].clone()]);
        let power = Chain(steps.to_vec());
        let shape = format!("{lines} lines of {n}, {inner} apart");
        best(values.len() * 4, &format!("rfft of {shape}"), || {
            f32::transform(&rfft, n as u64, inner, Data::Real(&values), DataMut::Complex(&mut complex))
                .unwrap();
        });
        best(values.len() * 4, &format!("power of {shape}"), || {
            f32::transform(&power, n as u64, inner, Data::Real(&values), DataMut::Real(&mut real)).unwrap();
        });
    }
}
