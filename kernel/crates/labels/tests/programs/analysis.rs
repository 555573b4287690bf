//! Owns what programs do for analysis: Fourier transforms, products over axes, histograms, regridding; one line each in
//! [`OPERATIONS`].

use nuna_array::Array;
use nuna_array::{FftOptions, Norm, SparseWeights, Symmetry, Trend, Window, einsum, histogram, tensordot};

use crate::program::{self, Choose, Draw};

type Call = program::Call<Array>;
type Drawn<'a, 'b> = &'a mut Draw<'b, Array>;

/// As in `arrays.rs`.
pub(crate) const OPERATIONS: &[(u64, Choose<Array>)] = &[
    (5, spectrum),
    (2, there_and_back),
    (2, detrend),
    (2, window),
    (3, tensordot_),
    (4, einsum_),
    (3, histogram_),
    (3, regrid),
];

/// An axis with elements; without, both sides refuse, which is asked for seldom.
fn filled_axis(draw: Drawn<'_, '_>, a: usize) -> Option<usize> {
    let axis = draw.axis(a)?;
    let length = draw.array(a).shape().get(axis).copied();
    (length != Some(0) || draw.mistaken()).then_some(axis)
}

fn spectrum(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let axis = filled_axis(draw, a)?;
    let n = draw.random.chance(40).then(|| draw.random.below(9) + u64::from(!draw.mistaken()));
    let (norm, norm_python) = *draw.random.pick(&[
        (Norm::Backward, "backward"),
        (Norm::Ortho, "ortho"),
        (Norm::Forward, "forward"),
    ]);
    let kind = *draw.random.pick(&["fft", "ifft", "rfft"]);
    let part = *draw.random.pick(&["real", "imag", "abs2"]);
    let options = FftOptions { n, norm };
    let rust = format!("$0.{kind}_with({axis}, FftOptions {{ n: {n:?}, norm: Norm::{norm:?} }})?.{part}()?");
    let n_python = n.map_or_else(|| "None".to_owned(), |n| n.to_string());
    let python = format!("spectrum($0, {axis}, {n_python}, \"{norm_python}\", \"{kind}\", \"{part}\")");
    Some(Call::new(&[a], rust, python, move |v| {
        let transformed = match kind {
            "fft" => v[0].fft_with(axis, options)?,
            "ifft" => v[0].ifft_with(axis, options)?,
            _ => v[0].rfft_with(axis, options)?,
        };
        Ok(match part {
            "real" => transformed.real()?,
            "imag" => transformed.imag()?,
            _ => transformed.abs2()?,
        })
    }))
}

fn there_and_back(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let axis = filled_axis(draw, a)?;
    let n = draw.array(a).shape().get(axis).copied().unwrap_or(1).max(1);
    let rust =
        format!("$0.rfft({axis})?.irfft_with({axis}, FftOptions {{ n: Some({n}), norm: Norm::Backward }})?");
    let python = format!("there_and_back($0, {axis})");
    Some(Call::new(&[a], rust, python, move |v| {
        let options = FftOptions { n: Some(n), norm: Norm::Backward };
        Ok(v[0].rfft(axis)?.irfft_with(axis, options)?)
    }))
}

fn detrend(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let axis = filled_axis(draw, a)?;
    let (trend, name) = *draw.random.pick(&[(Trend::Constant, "constant"), (Trend::Linear, "linear")]);
    let rust = format!("$0.detrend({axis}, Trend::{trend:?})?");
    let python = format!("detrended($0, {axis}, {name:?})");
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].detrend(axis, trend)?)))
}

fn window(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let axis = filled_axis(draw, a)?;
    let (window, name) = *draw.random.pick(&[
        (Window::Hann, "hann"),
        (Window::Hamming, "hamming"),
        (Window::Blackman, "blackman"),
    ]);
    let symmetry = *draw.random.pick(&[Symmetry::Symmetric, Symmetry::Periodic]);
    let rust = format!("$0.window({axis}, Window::{window:?}, Symmetry::{symmetry:?})?");
    let periodic = if symmetry == Symmetry::Periodic { "True" } else { "False" };
    let python = format!("windowed($0, {axis}, {name:?}, {periodic})");
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].window(axis, window, symmetry)?)))
}

fn tensordot_(draw: Drawn<'_, '_>) -> Option<Call> {
    let (a, b) = (draw.any(), draw.any());
    let (left, right) = (draw.array(a).shape().to_vec(), draw.array(b).shape().to_vec());
    let mistaken = draw.mistaken();
    let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
    for (i, &length) in left.iter().enumerate() {
        let fits: Vec<usize> =
            (0..right.len()).filter(|j| !of_b.contains(j) && (mistaken || right[*j] == length)).collect();
        if !fits.is_empty() && draw.random.chance(60) {
            of_a.push(i);
            of_b.push(*draw.random.pick(&fits));
        }
    }
    let rust = format!("tensordot(&$0, &$1, &{of_a:?}, &{of_b:?})?");
    let python = format!("product(lambda a, b: np.tensordot(a, b, ({of_a:?}, {of_b:?})), $0, $1)");
    Some(Call::new(&[a, b], rust, python, move |v| Ok(tensordot(&v[0], &v[1], &of_a, &of_b)?)).ordered())
}

/// Letters of one array: those of another where lengths agree, mostly.
fn einsum_(draw: Drawn<'_, '_>) -> Option<Call> {
    let (a, b) = (draw.any(), draw.any());
    let (left, right) = (draw.array(a).shape().to_vec(), draw.array(b).shape().to_vec());
    if left.len() + right.len() > 8 {
        return None;
    }
    let of_a: Vec<char> = ('a'..).take(left.len()).collect();
    let mut of_b: Vec<char> = ('p'..).take(right.len()).collect();
    for (j, &n) in right.iter().enumerate() {
        let fits: Vec<char> =
            of_a.iter().zip(&left).filter(|(c, m)| **m == n && !of_b.contains(c)).map(|(c, _)| *c).collect();
        if !fits.is_empty() && draw.random.chance(70) {
            of_b[j] = *draw.random.pick(&fits);
        }
    }
    let is_single = draw.random.chance(25);
    let mut all = of_a.clone();
    if !is_single {
        all.extend(of_b.iter().filter(|c| !of_a.contains(c)));
    }
    let mut output: String = draw
        .random
        .shuffled(all.len())
        .into_iter()
        .filter(|_| draw.random.chance(50))
        .map(|i| all[i])
        .collect();
    if draw.mistaken() {
        output.push('z');
    }
    let (of_a, of_b) = (of_a.iter().collect::<String>(), of_b.iter().collect::<String>());
    if is_single {
        let text = format!("{of_a}->{output}");
        let rust = format!("einsum({text:?}, &[$0.clone()])?");
        let python = format!("einsummed({text:?}, $0)");
        return Some(Call::new(&[a], rust, python, move |v| Ok(einsum(&text, &v[..1])?)).ordered());
    }
    let text = format!("{of_a},{of_b}->{output}");
    let rust = format!("einsum({text:?}, &[$0.clone(), $1.clone()])?");
    let python = format!("einsummed({text:?}, $0, $1)");
    Some(Call::new(&[a, b], rust, python, move |v| Ok(einsum(&text, v)?)).ordered())
}

pub(crate) fn edges(draw: Drawn<'_, '_>) -> Vec<f64> {
    let mut edges: Vec<f64> =
        (0..2 + draw.random.below(6)).map(|_| draw.random.range(-30, 60) as f64 / 2.0).collect();
    edges.sort_by(f64::total_cmp);
    if !draw.mistaken() {
        edges.dedup();
    }
    edges
}

fn histogram_(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let shape = draw.array(a).shape().to_vec();
    let alike = |v: &Array| v.shape() == shape;
    let mut operands = vec![a];
    if draw.random.chance(40) {
        operands.push(draw.suiting(alike)?);
    }
    let bins: Vec<Vec<f64>> = operands.iter().map(|_| edges(draw)).collect();
    let points = operands.len();
    let weighted = draw.random.chance(40);
    if weighted {
        operands.push(draw.suiting(alike)?);
    }
    let names: Vec<String> = (0..points).map(|i| format!("${i}.clone()")).collect();
    let weights = if weighted { format!("Some(&${points})") } else { "None".to_owned() };
    let edges: Vec<String> = bins.iter().map(|edges| format!("vec!{edges:?}")).collect();
    let rust = format!("histogram(&[{}], &[{}], {weights})?", names.join(", "), edges.join(", "));
    let names: Vec<String> = (0..points).map(|i| format!("${i}")).collect();
    let weights = if weighted { format!("${points}") } else { "None".to_owned() };
    let python = format!("counted([{}], {bins:?}, {weights})", names.join(", "));
    let call =
        Call::new(&operands, rust, python, move |v| Ok(histogram(&v[..points], &bins, v.get(points))?));
    Some(if weighted { call.ordered() } else { call })
}

fn regrid(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let shape = draw.array(a).shape().to_vec();
    let axes = 1 + draw.random.index(2);
    let from: u64 = shape[shape.len().saturating_sub(axes)..].iter().product();
    if shape.len() < axes || from == 0 {
        return None;
    }
    let to: Vec<u64> = (0..1 + draw.random.index(axes)).map(|_| 1 + draw.random.below(4)).collect();
    let count = draw.random.below(12);
    let cells: u64 = to.iter().product();
    let beyond = u64::from(draw.mistaken());
    let rows: Vec<u64> = (0..count).map(|_| draw.random.below(cells + beyond)).collect();
    let columns: Vec<u64> = (0..count).map(|_| draw.random.below(from + beyond)).collect();
    let values: Vec<f64> = (0..count).map(|_| draw.random.range(-8, 24) as f64 / 16.0).collect();
    let rust = format!(
        "$0.regrid(&SparseWeights {{ rows: vec!{rows:?}, columns: vec!{columns:?}, values: vec!{values:?}, shape: vec!{to:?} }}, {axes})?"
    );
    let python = format!("regridded($0, {rows:?}, {columns:?}, {values:?}, {to:?}, {axes})");
    let weights = SparseWeights { rows, columns, values, shape: to };
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].regrid(&weights, axes)?)))
}
