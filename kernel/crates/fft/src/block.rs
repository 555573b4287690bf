//! Owns the way of lines from a block to the steps and into another block.

use num_complex::Complex;

use crate::line::{Chain, Float, Machine};

/// A block's elements in C order.
pub enum Data<'a, P> {
    Real(&'a [P]),
    Complex(&'a [Complex<P>]),
}

/// A block to be filled.
pub enum DataMut<'a, P> {
    Real(&'a mut [P]),
    Complex(&'a mut [Complex<P>]),
}

impl<P> Data<'_, P> {
    fn len(&self) -> usize {
        match self {
            Data::Real(data) => data.len(),
            Data::Complex(data) => data.len(),
        }
    }
}

impl<P> DataMut<'_, P> {
    fn len(&self) -> usize {
        match self {
            DataMut::Real(data) => data.len(),
            DataMut::Complex(data) => data.len(),
        }
    }
}

/// `f32` or `f64`: all that is generic is compiled in this crate.
pub trait Precision: Sized {
    /// Takes every line of `length` elements through the steps; `inner` is how many elements follow the axis. Each line of the result
    /// depends on its own line alone, to the last bit.
    ///
    /// # Errors
    /// If the blocks are not of the sizes and kinds that the steps have, or a step cannot follow the one before.
    fn transform(
        chain: &Chain,
        length: u64,
        inner: usize,
        from: Data<'_, Self>,
        to: DataMut<'_, Self>,
    ) -> Result<(), String>;
}

impl Precision for f32 {
    fn transform(
        chain: &Chain,
        length: u64,
        inner: usize,
        from: Data<'_, Self>,
        to: DataMut<'_, Self>,
    ) -> Result<(), String> {
        transform(chain, length, inner, from, to)
    }
}

impl Precision for f64 {
    fn transform(
        chain: &Chain,
        length: u64,
        inner: usize,
        from: Data<'_, Self>,
        to: DataMut<'_, Self>,
    ) -> Result<(), String> {
        transform(chain, length, inner, from, to)
    }
}

/// Lines gathered at a time, and what they should take together: with the results they stay in the second-level cache.
const LINES: (usize, usize) = (16, 64);
const GATHERED_BYTES: u64 = 256 << 10;
/// Elements of a line moved at a time: a cache line of `float32`.
const SQUARE: usize = 16;
/// Between gathered lines, whose lengths are often powers of two: without it their beginnings share the same few places of the cache.
const GAP: usize = SQUARE;

/// Bytes that [`Precision::transform`] takes besides both blocks. `part` is the size of a real element.
pub fn scratch_bytes(chain: &Chain, length: u64, complex: bool, part: u64) -> u64 {
    let longest = chain.longest(length, complex).max(1).saturating_add(GAP as u64);
    let many = gathered_lines(length.saturating_mul(if complex { 2 * part } else { part }));
    // Gathered lines and their results; the line being worked on, segments, factors, and plans, which for lengths with large
    // prime factors are several times as long.
    let lines = 2 * many as u64 + 32;
    longest.saturating_mul(lines).saturating_mul(2 * part).saturating_add(64 << 10)
}

/// How many lines of so many bytes are gathered at a time.
fn gathered_lines(bytes: u64) -> usize {
    let fit = (GATHERED_BYTES / bytes.max(1)).min(LINES.1 as u64);
    (fit as usize).max(LINES.0)
}

fn transform<P: Float>(
    chain: &Chain,
    length: u64,
    inner: usize,
    from: Data<'_, P>,
    to: DataMut<'_, P>,
) -> Result<(), String> {
    let complex = matches!(from, Data::Complex(_));
    let (becomes, becomes_complex) = chain.gives(length, complex);
    let (n, m) = (length as usize, becomes as usize);
    let line = n.checked_mul(inner).unwrap_or(0).max(1);
    let outer = from.len() / line;
    if becomes_complex != matches!(to, DataMut::Complex(_))
        || outer * n * inner != from.len()
        || outer.checked_mul(m).and_then(|l| l.checked_mul(inner)) != Some(to.len())
    {
        return Err(format!(
            "`{}` of {} elements in lines of {length} does not give {}",
            chain.name(),
            from.len(),
            to.len()
        ));
    }
    if to.len() == 0 {
        return Ok(());
    }
    let mut machine = Machine::<P>::new(chain, length, complex)?;
    match (from, to) {
        (Data::Real(from), DataMut::Real(to)) => {
            let feed = |machine: &mut Machine<P>, line: &[P]| refill(&mut machine.real, line);
            lines(&mut machine, from, to, (outer, n, m, inner), feed, |machine| &machine.real)
        }
        (Data::Real(from), DataMut::Complex(to)) => {
            let feed = |machine: &mut Machine<P>, line: &[P]| refill(&mut machine.real, line);
            lines(&mut machine, from, to, (outer, n, m, inner), feed, |machine| &machine.complex)
        }
        (Data::Complex(from), DataMut::Real(to)) => {
            let feed = |machine: &mut Machine<P>, line: &[Complex<P>]| refill(&mut machine.complex, line);
            lines(&mut machine, from, to, (outer, n, m, inner), feed, |machine| &machine.real)
        }
        (Data::Complex(from), DataMut::Complex(to)) => {
            let feed = |machine: &mut Machine<P>, line: &[Complex<P>]| refill(&mut machine.complex, line);
            lines(&mut machine, from, to, (outer, n, m, inner), feed, |machine| &machine.complex)
        }
    }
}

fn refill<T: Copy>(line: &mut Vec<T>, from: &[T]) {
    line.clear();
    line.extend_from_slice(from);
}

/// `outer` times `inner` lines of `n` elements become lines of `m`.
fn lines<P: Float, A: Copy + Default, B: Copy + Default>(
    machine: &mut Machine<P>,
    from: &[A],
    to: &mut [B],
    (outer, n, m, inner): (usize, usize, usize, usize),
    feed: impl Fn(&mut Machine<P>, &[A]),
    result: impl Fn(&Machine<P>) -> &Vec<B>,
) -> Result<(), String> {
    if inner == 1 {
        for (from, to) in from.chunks_exact(n).zip(to.chunks_exact_mut(m)) {
            feed(machine, from);
            machine.run()?;
            to.copy_from_slice(result(machine));
        }
        return Ok(());
    }
    let many = gathered_lines((n * size_of::<A>()) as u64);
    let (gathered_step, done_step) = (n + GAP, m + GAP);
    let mut gathered = vec![A::default(); many * gathered_step];
    let mut done = vec![B::default(); many * done_step];
    for block in 0..outer {
        let (from, to) = (&from[block * n * inner..][..n * inner], &mut to[block * m * inner..][..m * inner]);
        for first in (0..inner).step_by(many) {
            let count = many.min(inner - first);
            turn(&from[first..], inner, &mut gathered, gathered_step, (n, count));
            for (given, done) in gathered.chunks(gathered_step).zip(done.chunks_mut(done_step)).take(count) {
                feed(machine, &given[..n]);
                machine.run()?;
                done[..m].copy_from_slice(result(machine));
            }
            turn(&done, done_step, &mut to[first..], inner, (count, m));
        }
    }
    Ok(())
}

/// Rows, `step` elements apart, become columns of rows that are `new_step` apart. In squares, through a copy that stays in the
/// first-level cache: cache lines of both sides are used whole, wherever they lie.
fn turn<T: Copy + Default>(
    from: &[T],
    step: usize,
    to: &mut [T],
    new_step: usize,
    (rows, columns): (usize, usize),
) {
    for row in (0..rows).step_by(SQUARE) {
        let high = SQUARE.min(rows - row);
        for column in (0..columns).step_by(SQUARE) {
            let wide = SQUARE.min(columns - column);
            let mut square = [[T::default(); SQUARE]; SQUARE];
            if high == SQUARE && wide == SQUARE {
                for (r, line) in square.iter_mut().enumerate() {
                    line.copy_from_slice(&from[(row + r) * step + column..][..SQUARE]);
                }
                for c in 0..SQUARE {
                    let slots = &mut to[(column + c) * new_step + row..][..SQUARE];
                    for r in 0..SQUARE {
                        slots[r] = square[r][c];
                    }
                }
            } else {
                for (r, line) in square.iter_mut().enumerate().take(high) {
                    line[..wide].copy_from_slice(&from[(row + r) * step + column..][..wide]);
                }
                for c in 0..wide {
                    let slots = &mut to[(column + c) * new_step + row..][..high];
                    for (slot, line) in slots.iter_mut().zip(&square) {
                        *slot = line[c];
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Norm, Step, Symmetry, Trend, Welch, Window};

    /// The definition, term by term.
    fn dft(line: &[Complex<f64>], inverse: bool) -> Vec<Complex<f64>> {
        let n = line.len() as f64;
        let sign = if inverse { 1.0 } else { -1.0 };
        (0..line.len())
            .map(|k| {
                let turn = |j: usize| Complex::cis(sign * std::f64::consts::TAU * (k * j) as f64 / n);
                line.iter().enumerate().map(|(j, z)| z * turn(j)).sum()
            })
            .collect()
    }

    fn numbers(n: usize) -> Vec<f64> {
        (0..n).map(|i| ((i * 7919 + 13) % 1009) as f64 / 500.0 - 1.0).collect()
    }

    fn near(found: &[Complex<f64>], expected: &[Complex<f64>]) {
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(expected) {
            // Sums of some hundred products of size 1, in other orders.
            assert!((a - b).norm() < 1e-11, "{a} and {b}");
        }
    }

    #[test]
    fn transforms_of_any_length_are_the_definition() {
        for n in [1usize, 2, 3, 4, 5, 7, 12, 17, 64, 97, 120] {
            let real = numbers(n);
            let whole: Vec<Complex<f64>> = real.iter().map(|&x| Complex::new(x, 0.0)).collect();
            let turned: Vec<Complex<f64>> =
                numbers(2 * n).chunks(2).map(|p| Complex::new(p[0], p[1])).collect();
            let length = n as u64;
            for inverse in [false, true] {
                let chain = Chain(vec![Step::Fft { n: length, inverse, norm: Norm::Ortho }]);
                let scale = 1.0 / (n as f64).sqrt();
                let expected = |line: &[Complex<f64>]| -> Vec<_> {
                    dft(line, inverse).iter().map(|z| z * scale).collect()
                };
                let mut out = vec![Complex::default(); n];
                f64::transform(&chain, length, 1, Data::Real(&real), DataMut::Complex(&mut out)).unwrap();
                near(&out, &expected(&whole));
                f64::transform(&chain, length, 1, Data::Complex(&turned), DataMut::Complex(&mut out))
                    .unwrap();
                near(&out, &expected(&turned));
            }
            let chain = Chain(vec![Step::Rfft { n: length, norm: Norm::Backward }]);
            let mut half = vec![Complex::default(); n / 2 + 1];
            f64::transform(&chain, length, 1, Data::Real(&real), DataMut::Complex(&mut half)).unwrap();
            near(&half, &dft(&whole, false)[..n / 2 + 1]);
            let chain = Chain(vec![Step::Irfft { n: length, norm: Norm::Backward }]);
            let mut back = vec![0.0; n];
            let m = half.len() as u64;
            f64::transform(&chain, m, 1, Data::Complex(&half), DataMut::Real(&mut back)).unwrap();
            assert!(back.iter().zip(&real).all(|(a, b)| (a - b).abs() < 1e-13), "{back:?}");
        }
    }

    #[test]
    fn lines_along_any_axis_are_the_same_lines() {
        let (outer, n, inner) = (3usize, 30usize, 45usize);
        let values: Vec<f32> = numbers(outer * n * inner).iter().map(|&x| x as f32).collect();
        let window = Window::Hann.factors(n, Symmetry::Symmetric).unwrap();
        let chain = Chain(vec![
            Step::Detrend(Trend::Linear),
            Step::Window(window),
            Step::Rfft { n: 40, norm: Norm::Forward },
            Step::Abs2,
        ]);
        let mut all = vec![0f32; outer * 21 * inner];
        f32::transform(&chain, 30, inner, Data::Real(&values), DataMut::Real(&mut all)).unwrap();
        for o in 0..outer {
            for i in 0..inner {
                let line: Vec<f32> = (0..n).map(|j| values[(o * n + j) * inner + i]).collect();
                let mut one = vec![0f32; 21];
                f32::transform(&chain, 30, 1, Data::Real(&line), DataMut::Real(&mut one)).unwrap();
                let found: Vec<f32> = (0..21).map(|j| all[(o * 21 + j) * inner + i]).collect();
                assert_eq!(found, one, "bit for bit");
            }
        }
    }

    #[test]
    fn a_sine_has_its_power_where_its_frequency_is() {
        // Ten oscillations in each segment of 128, amplitude 2: a density whose integral is the mean square, 2.
        let line: Vec<f64> =
            (0..1024).map(|i| 2.0 * (std::f64::consts::TAU * 10.0 * i as f64 / 128.0).sin()).collect();
        let window = Window::Hann.factors(128, Symmetry::Periodic).unwrap();
        let scale = 1.0 / window.iter().map(|w| w * w).sum::<f64>();
        let welch = Welch { advance: 64, trend: Some(Trend::Constant), window, scale };
        let mut power = vec![0.0; 65];
        let chain = Chain(vec![Step::Welch(welch)]);
        f64::transform(&chain, 1024, 1, Data::Real(&line), DataMut::Real(&mut power)).unwrap();
        let peak = (0..65).max_by(|&a, &b| power[a].total_cmp(&power[b])).unwrap();
        let total = power.iter().sum::<f64>() / 128.0;
        assert_eq!(peak, 10);
        assert!((total - 2.0).abs() < 1e-12, "{total}");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let line = [1.0f64, 2.0, 3.0];
        let refused = |step: Step, to: DataMut<'_, f64>| {
            f64::transform(&Chain(vec![step]), 3, 1, Data::Real(&line), to).unwrap_err()
        };
        refused(Step::Irfft { n: 4, norm: Norm::Backward }, DataMut::Real(&mut [0.0; 4]));
        refused(Step::Window(vec![1.0; 2]), DataMut::Real(&mut [0.0; 3]));
        refused(Step::Abs2, DataMut::Complex(&mut [Complex::default(); 3]));
        refused(Step::Abs2, DataMut::Real(&mut [0.0; 2]));
        let welch = Welch { advance: 1, trend: None, window: vec![1.0; 4], scale: 1.0 };
        refused(Step::Welch(welch), DataMut::Real(&mut [0.0; 3]));
    }
}
