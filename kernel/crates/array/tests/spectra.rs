//! Transforms, windows, trends and complex numbers as NumPy and SciPy have them (`oracle/record_spectra.py`), whatever the chunks.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::sync::Arc;

use nuna_array::{
    Array, Axes, Binary, Chunk, Complex, DType, FftOptions, NanPolicy, Norm, Operation, PsdOptions, Symmetry,
    ThreadEngine, Trend, Unary, Window, fftfreq, rfftfreq,
};
use nuna_plan::Engine;
use proptest::prelude::*;
use serde_json::Value;

fn engine() -> Arc<dyn Engine> {
    Arc::new(ThreadEngine::new(2))
}

/// As the recording script makes them.
fn numbers(shape: &[u64], dtype: DType, seed: u64) -> Chunk {
    let count = shape.iter().product::<u64>();
    let value = |i: u64| ((i * 7919 + seed * 31) % 1009) as f64 / 500.0 - 1.0;
    if dtype.is_complex() {
        let values: Vec<_> = (0..count).map(|i| Complex::new(value(2 * i), value(2 * i + 1))).collect();
        return Chunk::from_slice(shape, &values).cast(dtype);
    }
    let scale = if dtype.name().starts_with("int") { 50.0 } else { 1.0 };
    Chunk::from_slice(shape, &(0..count).map(|i| value(i) * scale).collect::<Vec<_>>()).cast(dtype)
}

/// Real and imaginary parts of everything.
fn parts(chunk: &Chunk) -> Vec<f64> {
    let wide = chunk.cast(DType::C128);
    wide.elements::<Complex<f64>>().unwrap().iter().flat_map(|z| [z.re, z.im]).collect()
}

fn recorded(result: &Value) -> (DType, Vec<u64>, Vec<f64>) {
    let dtype: DType = result["dtype"].as_str().unwrap().parse().unwrap();
    let shape = result["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
    let single = dtype.real_part() == DType::F32;
    let number = |text: &Value| {
        let bits = u64::from_str_radix(text.as_str().unwrap(), 16).unwrap();
        if single { f64::from(f32::from_bits(u32::try_from(bits).unwrap())) } else { f64::from_bits(bits) }
    };
    let values = result["values"].as_array().unwrap().iter().map(number);
    let values =
        if dtype.is_complex() { values.collect() } else { values.flat_map(|re| [re, 0.0]).collect() };
    (dtype, shape, values)
}

fn list(case: &Value, key: &str) -> Vec<u64> {
    case[key].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect()
}

fn trend(case: &Value) -> Option<Trend> {
    match case["trend"].as_str() {
        Some("constant") => Some(Trend::Constant),
        Some("linear") => Some(Trend::Linear),
        Some(other) => panic!("trend {other}"),
        None => None,
    }
}

fn run(case: &Value, input: &Array) -> Array {
    let axis = case["axis"].as_u64().unwrap_or(0) as usize;
    let axes: Vec<usize> = case["axes"]
        .as_array()
        .map_or_else(Vec::new, |a| a.iter().map(|n| n.as_u64().unwrap() as usize).collect());
    let norm = match case["norm"].as_str() {
        Some("ortho") => Norm::Ortho,
        Some("forward") => Norm::Forward,
        _ => Norm::Backward,
    };
    let options = FftOptions { n: case["n"].as_u64(), norm };
    let name = case["name"].as_str().unwrap_or("");
    let made = match case["op"].as_str().unwrap() {
        "fft" => input.fft_with(axis, options),
        "ifft" => input.ifft_with(axis, options),
        "rfft" => input.rfft_with(axis, options),
        "irfft" => input.irfft_with(axis, options),
        "fftn" => input.fftn(&axes),
        "ifftn" => input.ifftn(&axes),
        "rfftn" => input.rfftn(&axes),
        "irfftn" => input.irfftn(&axes),
        "fft2" => input.fft2(),
        "fftshift" => input.fftshift(&axes),
        "ifftshift" => input.ifftshift(&axes),
        "fftfreq" => Ok(fftfreq(case["n"].as_u64().unwrap(), case["spacing"].as_f64().unwrap())),
        "rfftfreq" => Ok(rfftfreq(case["n"].as_u64().unwrap(), case["spacing"].as_f64().unwrap())),
        "window" => {
            let parameter = case["parameter"].as_f64().unwrap_or(f64::NAN);
            let window = match case["window"].as_str().unwrap() {
                "boxcar" => Window::Boxcar,
                "hann" => Window::Hann,
                "hamming" => Window::Hamming,
                "blackman" => Window::Blackman,
                "bartlett" => Window::Bartlett,
                "kaiser" => Window::Kaiser { beta: parameter },
                "tukey" => Window::Tukey { alpha: parameter },
                other => panic!("window {other}"),
            };
            let symmetry = if case["periodic"] == true { Symmetry::Periodic } else { Symmetry::Symmetric };
            Array::full(&[case["n"].as_u64().unwrap()], 1.0, DType::F64).window(0, window, symmetry)
        }
        "detrend" => input.detrend(axis, trend(case).unwrap()),
        "psd" => {
            let (segment, overlap) = (case["segment"].as_u64(), case["overlap"].as_u64());
            let spacing = case["spacing"].as_f64().unwrap();
            input
                .psd(axis, PsdOptions { segment, overlap, window: Window::Hann, trend: trend(case), spacing })
        }
        "unary" => input.unary(match name {
            "negative" => Unary::Neg,
            "abs" => Unary::Abs,
            "square" => Unary::Square,
            "sqrt" => Unary::Sqrt,
            "exp" => Unary::Exp,
            "conj" => Unary::Conj,
            "real" => Unary::Real,
            "imag" => Unary::Imag,
            "angle" => Unary::Angle,
            "abs2" => Unary::Abs2,
            other => panic!("unary {other}"),
        }),
        "binary" => {
            let op = match name {
                "add" => Binary::Add,
                "subtract" => Binary::Sub,
                "multiply" => Binary::Mul,
                "divide" => Binary::Div,
                "equal" => Binary::Eq,
                "not_equal" => Binary::Ne,
                other => panic!("binary {other}"),
            };
            let dtype = case["other"].as_str().unwrap().parse().unwrap();
            let other =
                Array::from_chunk(numbers(&list(case, "shape"), dtype, case["seed"].as_u64().unwrap() + 1));
            if op == Binary::Div { other.binary(op, input) } else { input.binary(op, &other) }
        }
        "reduce" => {
            let operation = match name {
                "sum" => Operation::Sum,
                "prod" => Operation::Prod,
                "mean" => Operation::Mean,
                "any" => Operation::Any,
                "all" => Operation::All,
                other => panic!("reduction {other}"),
            };
            input.reduce(operation, NanPolicy::Propagate, &axes, Axes::Drop)
        }
        other => panic!("operation {other}"),
    };
    made.unwrap()
}

/// Every recorded case, the input in one chunk or in chunks of `chunk` elements along each axis.
fn check(chunk: u64) {
    let cases: Vec<Value> = serde_json::from_str(include_str!("oracle/spectra.json")).unwrap();
    assert!(cases.len() > 400, "{} cases", cases.len());
    let engine = engine();
    let mut failures = Vec::new();
    for case in &cases {
        let shape = list(case, "shape");
        let dtype: DType = case["dtype"].as_str().unwrap().parse().unwrap();
        let lengths: Vec<u64> = shape.iter().map(|_| chunk).collect();
        let input =
            Array::from_chunk_in(numbers(&shape, dtype, case["seed"].as_u64().unwrap()), &lengths).unwrap();
        let found = run(case, &input).compute_with(&engine).unwrap();
        let (dtype, shape, values) = recorded(&case["result"]);
        let brief = || {
            let mut brief = case.clone();
            brief.as_object_mut().unwrap().remove("result");
            brief.to_string()
        };
        if (found.dtype(), found.shape()) != (dtype, &shape[..]) {
            failures.push(format!(
                "{} {:?} instead of {dtype} {shape:?}: {}",
                found.dtype(),
                found.shape(),
                brief()
            ));
            continue;
        }
        // Sums of up to 120 terms of size 1 in other orders; relative to the largest, since small ones are differences.
        let unit = if dtype.real_part() == DType::F32 { f64::from(f32::EPSILON) } else { f64::EPSILON };
        let scale = values.iter().fold(1e-3, |most: f64, v| most.max(v.abs()));
        let bad = parts(&found)
            .into_iter()
            .zip(values)
            .find(|(a, b)| (a - b).abs() > 32.0 * unit * scale || a.is_nan() != b.is_nan());
        if let Some((a, b)) = bad {
            failures.push(format!("{a} instead of {b}: {}", brief()));
        }
    }
    assert!(
        failures.is_empty(),
        "{} cases differ; the first:\n{}",
        failures.len(),
        failures[..failures.len().min(5)].join("\n")
    );
}

#[test]
fn numpy_and_scipy_agree_with_one_chunk() {
    check(1000);
}

#[test]
fn numpy_and_scipy_agree_with_small_chunks() {
    check(3);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_chunks_give_the_same_bits(
        shape in prop::collection::vec(1u64..40, 1..4),
        cuts in prop::collection::vec(1u64..12, 3),
        axis in 0usize..3,
        seed in 0u64..1000,
        complex in any::<bool>(),
    ) {
        let axis = axis % shape.len();
        let dtype = if complex { DType::C64 } else { DType::F32 };
        let chunk = numbers(&shape, dtype, seed);
        let whole = Array::from_chunk(chunk.clone());
        let cut = Array::from_chunk_in(chunk, &cuts[..shape.len()]).unwrap();
        let engine = engine();
        let made = |a: &Array| -> Vec<Array> {
            let window = |a: &Array| a.window(axis, Window::Hann, Symmetry::Symmetric).unwrap();
            let mut all = vec![a.fft(axis).unwrap(), window(a).ifft(axis).unwrap(), window(a).fft(axis).unwrap().abs2().unwrap()];
            if !complex {
                let trend = a.detrend(axis, Trend::Linear).unwrap();
                all.extend([window(&trend).rfft(axis).unwrap(), trend, a.psd(axis, PsdOptions::default()).unwrap()]);
            }
            all
        };
        for (a, b) in made(&whole).iter().zip(made(&cut)) {
            let name = a.expression();
            let (a, b) = (a.compute_with(&engine).unwrap(), b.compute_with(&engine).unwrap());
            prop_assert_eq!(a.bytes(), b.bytes(), "{}", name);
        }
    }
}

#[test]
fn steps_along_an_axis_are_one_function() {
    let input = Array::from_chunk_in(numbers(&[30, 8, 8], DType::F32, 1), &[4, 4, 8]).unwrap();
    let steps =
        input.detrend(0, Trend::Constant).unwrap().window(0, Window::Hann, Symmetry::Symmetric).unwrap();
    let power = steps.rfft(0).unwrap().abs2().unwrap();
    assert!(power.expression().starts_with("detrend+window+rfft+abs2(0)"), "{}", power.expression());
    assert_eq!((power.dtype(), power.shape()), (DType::F32, &[16, 8, 8][..]));
    // What is not a step, and steps along another axis, are functions of their own.
    assert!(steps.rfft(1).unwrap().expression().starts_with("rfft(1)"));
    let apart = (steps.rfft(0).unwrap() * 1).abs2().unwrap();
    assert!(apart.expression().starts_with("abs2("), "{}", apart.expression());
    let (joined, apart) = (power.compute_with(&engine()).unwrap(), apart.compute_with(&engine()).unwrap());
    assert_eq!(joined, apart);
}

#[test]
fn mistakes_are_named_when_the_expression_is_built() {
    let real = Array::from_slice(&[2, 3], &[1.0; 6]).unwrap();
    let complex = real.fft(1).unwrap();
    let none = Array::from_slice::<f64>(&[0, 3], &[]).unwrap();
    let says = |made: Result<Array, nuna_array::ArrayError>, what: &[&str]| {
        let error = made.unwrap_err().to_string();
        assert!(what.iter().all(|w| error.contains(w)), "{error}");
    };
    says(real.fft(2), &["axis 2", "2 axes"]);
    says(complex.rfft(0), &["rfft", "complex128"]);
    says(complex.detrend(0, Trend::Linear), &["detrend", "complex128"]);
    says(none.fft(0), &["fft", "length 0"]);
    says(real.fft_with(0, FftOptions { n: Some(0), norm: Norm::Ortho }), &["fft", "0 elements"]);
    says(real.fftn(&[0, 0]), &["named twice"]);
    says(real.index_axis(0, 0).unwrap().fft2(), &["out of range"]);
    says(real.psd(1, PsdOptions { overlap: Some(3), ..PsdOptions::default() }), &["segments of 3"]);
    says(real.psd(1, PsdOptions { spacing: 0.0, ..PsdOptions::default() }), &["spacing"]);
    says(real.window(1, Window::Kaiser { beta: -1.0 }, Symmetry::Symmetric), &["Kaiser", "-1"]);
    says(complex.less(1.0), &["<", "complex128"]);
    says(complex.max(&[0]), &["max", "complex128"]);
    says(complex.try_astype(DType::F32), &["complex128", "float32", "`abs`"]);
    says(complex.sort(0), &["sort", "complex128"]);
    // Another axis may be empty.
    assert!(none.fft(1).unwrap().compute_with(&engine()).unwrap().is_empty());
}
