//! Owns programs: steps in single-assignment form, each an input or a call, and how a random one is put together and
//! printed as code of both sides.

use std::{error::Error, fmt::Write, panic, rc::Rc};

use nuna_array::{Array, Chunk, DType, Scalar};
use nuna_labels::{DataArray, Values};

use crate::random::Random;

/// What no step has more of.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) elements: u64,
    pub(crate) blocks: u64,
    pub(crate) axes: usize,
}

/// So that thousands of programs take seconds.
pub(crate) const SMALL: Limits = Limits { elements: 2000, blocks: 150, axes: 6 };
/// So that blocks take more than what is rounded up.
pub(crate) const LARGE: Limits = Limits { elements: 2_000_000, blocks: 60, axes: 6 };

/// What programs are about: arrays, or arrays with labels.
pub(crate) trait Subject: Clone + 'static {
    const IS_LABELLED: bool;
    fn of(input: &Input) -> Result<Self, Box<dyn Error>>;
    fn array(&self) -> &Array;
    /// As an input of the same elements.
    fn to_input(&self, chunk: Chunk) -> Input;
}

/// Labels along a dimension.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) dim: String,
    pub(crate) values: Values,
}

#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub(crate) chunk: Chunk,
    pub(crate) chunks: Vec<u64>,
    /// Empty for arrays without labels.
    pub(crate) dims: Vec<String>,
    pub(crate) lines: Vec<Line>,
}

pub(crate) type Apply<V> = Rc<dyn Fn(&[V]) -> Result<V, Box<dyn Error>>>;

/// One operation on earlier steps. In the code of either side `$0` is the first operand.
#[derive(Clone)]
pub(crate) struct Call<V> {
    pub(crate) operands: Vec<usize>,
    pub(crate) rust: String,
    pub(crate) python: String,
    /// How far floats may be from the reference, in units of the last place.
    pub(crate) ulps: u32,
    /// Whether results depend on the order in which elements come, as sums of floats do.
    pub(crate) is_order_free: bool,
    pub(crate) apply: Apply<V>,
}

impl<V> Call<V> {
    /// Exact, and the same whatever the chunks.
    pub(crate) fn new(
        operands: &[usize],
        rust: impl Into<String>,
        python: impl Into<String>,
        apply: impl Fn(&[V]) -> Result<V, Box<dyn Error>> + 'static,
    ) -> Self {
        Self {
            operands: operands.to_vec(),
            rust: rust.into(),
            python: python.into(),
            ulps: 0,
            is_order_free: true,
            apply: Rc::new(apply),
        }
    }

    pub(crate) fn ulps(self, ulps: u32) -> Self {
        Self { ulps, ..self }
    }

    /// Sums in the order of its chunks.
    pub(crate) fn ordered(self) -> Self {
        Self { is_order_free: false, ..self }
    }
}

#[derive(Clone)]
pub(crate) enum Step<V> {
    Input(Input),
    Call(Call<V>),
}

#[derive(Clone)]
pub(crate) struct Program<V> {
    pub(crate) seed: u64,
    pub(crate) steps: Vec<Step<V>>,
}

/// What an operation may choose from.
pub(crate) struct Draw<'a, V> {
    pub(crate) random: &'a mut Random,
    pub(crate) values: &'a [Option<V>],
}

/// One way to go on; `None` if there is nothing to apply it to.
pub(crate) type Choose<V> = fn(&mut Draw<'_, V>) -> Option<Call<V>>;

impl<V: Subject> Draw<'_, V> {
    /// An earlier step, often the last one.
    pub(crate) fn any(&mut self) -> usize {
        let there: Vec<usize> = (0..self.values.len()).filter(|&at| self.values[at].is_some()).collect();
        if self.random.chance(45) { there[there.len() - 1] } else { *self.random.pick(&there) }
    }

    pub(crate) fn value(&self, at: usize) -> &V {
        self.values[at].as_ref().expect("only steps that gave a value are drawn")
    }

    pub(crate) fn array(&self, at: usize) -> &Array {
        self.value(at).array()
    }

    /// A step for which `suits` holds.
    pub(crate) fn suiting(&mut self, suits: impl Fn(&V) -> bool) -> Option<usize> {
        for _ in 0..8 {
            let at = self.any();
            if suits(self.value(at)) {
                return Some(at);
            }
        }
        None
    }

    /// Whether to ask for something that has no answer, to see that both sides refuse it.
    pub(crate) fn mistaken(&mut self) -> bool {
        self.random.chance(3)
    }

    /// An axis of a step that has any.
    pub(crate) fn axis(&mut self, at: usize) -> Option<usize> {
        let ndim = self.array(at).ndim();
        if self.mistaken() {
            return Some(ndim);
        }
        (ndim > 0).then(|| self.random.index(ndim))
    }

    /// Positions along an axis, also from the end.
    pub(crate) fn positions(&mut self, length: u64) -> Vec<i64> {
        let n = length as i64;
        let count = self.random.below(6);
        let beyond = i64::from(self.mistaken());
        if n + beyond == 0 {
            return Vec::new();
        }
        (0..count).map(|_| self.random.range(-n - beyond, n - 1 + beyond)).collect()
    }

    /// `start, stop, step` as in Python.
    pub(crate) fn slice(&mut self, length: u64) -> (Option<i64>, Option<i64>, i64) {
        let n = length as i64;
        let mut end = || (!self.random.chance(30)).then(|| self.random.range(-n - 2, n + 2));
        let (start, stop) = (end(), end());
        let step = if self.mistaken() { 0 } else { *self.random.pick(&[-3, -2, -1, -1, 1, 1, 1, 2, 3]) };
        (start, stop, step)
    }

    pub(crate) fn scalar(&mut self) -> Scalar {
        match self.random.below(10) {
            0 => Scalar::Bool(self.random.chance(50)),
            1 => {
                let odd = self.random.odd_integer();
                i64::try_from(odd).map_or_else(|_| Scalar::UInt(odd as u64), Scalar::Int)
            }
            2 => Scalar::Float(self.random.odd_float()),
            3..=6 => Scalar::Int(self.random.range(-5, 12)),
            _ => Scalar::Float(self.random.range(-40, 40) as f64 / 8.0),
        }
    }
}

impl<V: Subject> Program<V> {
    /// The program of a seed: inputs, then up to 12 operations.
    pub(crate) fn random(
        seed: u64,
        limits: Limits,
        inputs: impl FnOnce(&mut Random) -> Vec<Input>,
        operations: &[(u64, Choose<V>)],
    ) -> Self {
        let mut random = Random::new(seed);
        let mut steps: Vec<Step<V>> = inputs(&mut random).into_iter().map(Step::Input).collect();
        let mut values: Vec<Option<V>> =
            steps.iter().map(|step| Some(step.apply(&[]).expect("inputs are valid"))).collect();
        let total: u64 = operations.iter().map(|(weight, _)| weight).sum();
        let wanted = steps.len() + 1 + random.index(12);
        for _ in 0..100 {
            if steps.len() == wanted {
                break;
            }
            let mut at = random.below(total);
            let chosen = operations.iter().find(|(weight, _)| {
                let found = at < *weight;
                at = at.wrapping_sub(*weight);
                found
            });
            let (_, choose) = chosen.expect("weights add up to the total");
            let Some(call) = choose(&mut Draw { random: &mut random, values: &values }) else { continue };
            let operands: Vec<V> = call.operands.iter().map(|&at| values[at].clone().unwrap()).collect();
            let step = Step::Call(call);
            let value = match step.apply(&operands) {
                Ok(value) => {
                    let array = value.array();
                    let fits = array.len() <= limits.elements
                        && array.chunks().count() <= limits.blocks
                        && array.ndim() <= limits.axes;
                    if !fits {
                        continue;
                    }
                    Some(value)
                }
                // Refused: Python must refuse it too. Nothing builds on it.
                Err(_) => None,
            };
            values.push(value);
            steps.push(step);
        }
        Self { seed, steps }
    }

    /// The steps that step `last` needs, and itself.
    pub(crate) fn up_to(&self, last: usize) -> Self {
        let mut needed = vec![false; last + 1];
        needed[last] = true;
        for at in (0..=last).rev() {
            if let (true, Step::Call(call)) = (needed[at], &self.steps[at]) {
                call.operands.iter().for_each(|&operand| needed[operand] = true);
            }
        }
        let place: Vec<usize> = (0..=last).map(|at| needed[..at].iter().filter(|n| **n).count()).collect();
        let kept = self.steps[..=last].iter().zip(&needed).filter(|(_, needed)| **needed);
        let steps = kept.map(|(step, _)| match step {
            Step::Input(input) => Step::Input(input.clone()),
            Step::Call(call) => Step::Call(Call {
                operands: call.operands.iter().map(|&operand| place[operand]).collect(),
                ..call.clone()
            }),
        });
        Self { seed: self.seed, steps: steps.collect() }
    }

    /// The calls, without the elements of inputs.
    pub(crate) fn outline(&self) -> String {
        let lines = self.steps.iter().enumerate().map(|(at, step)| match step {
            Step::Input(i) => format!("v{at}: {} {:?} in {:?}", i.chunk.dtype(), i.chunk.shape(), i.chunks),
            Step::Call(call) => format!("v{at} = {}", call.fill(&call.rust, "v")),
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Both sides as code that runs.
    pub(crate) fn code(&self) -> String {
        let mut rust = String::from(
            "use nuna::{prelude::*, Axes, Binary, Index, NanPolicy, Operation, Pad, Rolling, Scan, Unary, Values, Times, Calendar, parts::array};\nuse nuna::{FftOptions, Norm, Side, SparseWeights, Symmetry, binned_mean, einsum, histogram, tensordot};\n",
        );
        let mut python = String::from("from programs import *\n");
        for (at, step) in self.steps.iter().enumerate() {
            let (r, p) = match step {
                Step::Input(input) => (input.rust(V::IS_LABELLED), input.python(V::IS_LABELLED)),
                Step::Call(call) => (call.fill(&call.rust, "v"), call.fill(&call.python, "v")),
            };
            writeln!(rust, "let v{at} = {r};").unwrap();
            writeln!(python, "v{at} = {p}").unwrap();
        }
        let last = self.steps.len() - 1;
        let shown = if V::IS_LABELLED { "to_chunk" } else { "compute" };
        writeln!(rust, "println!(\"{{:?}}\", v{last}.{shown}()?);").unwrap();
        writeln!(python, "print(repr(v{last}))").unwrap();
        format!("Rust cell:\n{rust}\nPython, in kernel/crates/labels/tests/oracle:\n{python}")
    }
}

impl<V: Subject> Step<V> {
    /// Builds the lazy value; a panic is an error that says so.
    pub(crate) fn apply(&self, operands: &[V]) -> Result<V, String> {
        let run = || match self {
            Step::Input(input) => V::of(input),
            Step::Call(call) => (call.apply)(operands),
        };
        match panic::catch_unwind(panic::AssertUnwindSafe(run)) {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(cause) => {
                let text = cause.downcast_ref::<String>().cloned();
                let text = text.or_else(|| cause.downcast_ref::<&str>().map(|s| (*s).to_owned()));
                Err(format!("{PANICKED} {}", text.unwrap_or_default()))
            }
        }
    }
}

/// How the message of an error begins that was a panic.
pub(crate) const PANICKED: &str = "panicked:";

impl<V> Call<V> {
    pub(crate) fn fill(&self, code: &str, prefix: &str) -> String {
        let mut filled = code.to_owned();
        for (number, operand) in self.operands.iter().enumerate() {
            filled = filled.replace(&format!("${number}"), &format!("{prefix}{operand}"));
        }
        filled
    }
}

/// A dtype's Rust type.
#[allow(unreachable_patterns, reason = "dtypes that programs do not hold may come")]
pub(crate) fn rust_type(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "bool",
        DType::I8 => "i8",
        DType::I16 => "i16",
        DType::I32 => "i32",
        DType::I64 => "i64",
        DType::U8 => "u8",
        DType::U16 => "u16",
        DType::U32 => "u32",
        DType::U64 => "u64",
        DType::F32 => "f32",
        DType::F64 => "f64",
        other => panic!("programs hold no {other}"),
    }
}

/// A scalar as Rust and as Python write it.
#[allow(unreachable_patterns, reason = "scalars that programs do not hold may come")]
pub(crate) fn literals(scalar: Scalar) -> (String, String) {
    match scalar {
        Scalar::Bool(true) => ("true".to_owned(), "True".to_owned()),
        Scalar::Bool(false) => ("false".to_owned(), "False".to_owned()),
        Scalar::Int(v) => (format!("{v}i64"), v.to_string()),
        Scalar::UInt(v) => (format!("{v}u64"), v.to_string()),
        Scalar::Float(v) if v.is_nan() => ("f64::NAN".to_owned(), "nan".to_owned()),
        Scalar::Float(v) if v.is_infinite() && v > 0.0 => ("f64::INFINITY".to_owned(), "inf".to_owned()),
        Scalar::Float(v) if v.is_infinite() => ("f64::NEG_INFINITY".to_owned(), "-inf".to_owned()),
        Scalar::Float(v) => (format!("{v:?}f64"), format!("{v:?}")),
        other => panic!("programs hold no {other:?}"),
    }
}

impl Input {
    fn elements(&self) -> (String, String) {
        let all = (0..self.chunk.len()).map(|at| literals(self.chunk.get(at)));
        let (rust, python): (Vec<_>, Vec<_>) = all.unzip();
        let bare = |text: &String| {
            let text = text.trim_end_matches("i64").trim_end_matches("u64");
            match text.strip_prefix("f64::") {
                Some(name) => format!("{}::{name}", rust_type(self.chunk.dtype())),
                None => text.trim_end_matches("f64").to_owned(),
            }
        };
        (rust.iter().map(bare).collect::<Vec<_>>().join(", "), python.join(", "))
    }

    fn rust(&self, is_labelled: bool) -> String {
        let (shape, elements) = (self.chunk.shape(), self.elements().0);
        let kind = rust_type(self.chunk.dtype());
        let array = format!(
            "Array::from_chunk_in(Chunk::from_slice::<{kind}>(&{shape:?}, &[{elements}]), &{:?})?",
            self.chunks
        );
        if !is_labelled {
            return array;
        }
        let lines: String = self
            .lines
            .iter()
            .map(|line| format!(".assign_coord(\"{}\", {})?", line.dim, line.rust()))
            .collect();
        format!("DataArray::new({array}, {:?} as [&str; {}])?{lines}", self.dims, self.dims.len())
    }

    fn python(&self, is_labelled: bool) -> String {
        let array = format!(
            "np.array([{}], \"{}\").reshape({:?})",
            self.elements().1,
            self.chunk.dtype(),
            self.chunk.shape()
        );
        if !is_labelled {
            return array;
        }
        let lines: Vec<String> =
            self.lines.iter().map(|line| format!("{:?}: {}", line.dim, line.python())).collect();
        format!("xr.DataArray({array}, dims={:?}, coords={{{}}})", self.dims, lines.join(", "))
    }
}

impl Line {
    fn rust(&self) -> String {
        match &self.values {
            Values::Numbers(chunk) => format!("vec!{:?}", chunk.to_vec::<f64>()),
            Values::Times(times) => format!(
                "Times {{ calendar: Calendar::Standard, micros: vec!{:?}.into() }}",
                times.micros.to_vec()
            ),
            Values::Text(text) => format!("vec!{text:?}"),
        }
    }

    fn python(&self) -> String {
        match &self.values {
            Values::Numbers(chunk) => format!("np.array({:?}, float)", chunk.to_vec::<f64>()),
            Values::Times(times) => {
                format!("np.array({:?}, \"datetime64[us]\")", times.micros.to_vec())
            }
            Values::Text(text) => format!("{text:?}"),
        }
    }
}

impl Subject for Array {
    const IS_LABELLED: bool = false;

    fn of(input: &Input) -> Result<Self, Box<dyn Error>> {
        Ok(Array::from_chunk_in(input.chunk.clone(), &input.chunks)?)
    }

    fn array(&self) -> &Array {
        self
    }

    fn to_input(&self, chunk: Chunk) -> Input {
        let chunks = self.chunks().chunk_shape().iter().map(|&n| n.max(1)).collect();
        Input { chunk, chunks, dims: Vec::new(), lines: Vec::new() }
    }
}

impl Subject for DataArray {
    const IS_LABELLED: bool = true;

    fn of(input: &Input) -> Result<Self, Box<dyn Error>> {
        let array = Array::of(input)?;
        let mut labelled = DataArray::new(array, &input.dims)?;
        for line in &input.lines {
            labelled = labelled.assign_coord(&line.dim, line.values.clone())?;
        }
        Ok(labelled)
    }

    fn array(&self) -> &Array {
        DataArray::array(self)
    }

    fn to_input(&self, chunk: Chunk) -> Input {
        let chunks = self.array().chunks().chunk_shape().iter().map(|&n| n.max(1)).collect();
        let line = |dim: &String| {
            let values = self.coords().index(dim)?.values().ok()?.clone();
            Some(Line { dim: dim.clone(), values })
        };
        let lines = self.dims().iter().filter_map(line).collect();
        Input { chunk, chunks, dims: self.dims().to_vec(), lines }
    }
}
