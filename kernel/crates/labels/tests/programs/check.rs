//! Owns running programs: in Nuna fused, step by step and in one chunk, in Python on what Nuna computed, and making a failing
//! one small.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Arc,
};

use nuna_array::{Array, Chunk, ThreadEngine};
use nuna_labels::{Coord, DataArray, Values};
use nuna_plan::Engine;
use serde_json::{Value, json};

use crate::program::{Call, Input, PANICKED, Program, Step, Subject};

/// A Python process that answers for files of programs.
pub(crate) struct Python {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
    folder: tempfile::TempDir,
}

impl Python {
    pub(crate) fn start(python: PathBuf) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle/programs.py");
        let mut child = Command::new(python)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start Python: {error}"));
        let (to, from) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, to, from, folder: tempfile::tempdir().unwrap() }
    }

    /// Per program the first step that differs, and how.
    pub(crate) fn ask(&mut self, programs: &[Value], data: &[u8]) -> Vec<Option<(usize, String)>> {
        let path = self.folder.path().join("programs.json");
        fs::write(&path, serde_json::to_vec(programs).unwrap()).unwrap();
        fs::write(self.folder.path().join("programs.json.data"), data).unwrap();
        writeln!(self.to.as_mut().unwrap(), "{}", path.display()).unwrap();
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        let answer: Vec<Value> = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("Python said {line:?}: {error}; what it failed with is above"));
        let difference = |v: &Value| {
            let message = v["message"].as_str()?.to_owned();
            Some((v["step"].as_u64().unwrap() as usize, message))
        };
        answer.iter().map(difference).collect()
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // It ends with its input.
        self.to.take();
        let _ = self.child.wait();
    }
}

/// One step as Nuna has it.
enum Outcome<V> {
    Value(V, Chunk),
    Refused(String),
    /// An operand has no value.
    Skipped,
}

/// What a program did in Nuna, and what is wrong with that without asking anyone.
struct Ran<V> {
    outcomes: Vec<Outcome<V>>,
    wrong: Option<(usize, String)>,
}

/// Bits, with every NaN the same.
fn bits(chunk: &Chunk) -> Vec<u64> {
    if !chunk.dtype().is_float() {
        return chunk.bytes().iter().map(|b| u64::from(*b)).collect();
    }
    let canonical = |v: f64| if v.is_nan() { f64::NAN.to_bits() } else { v.to_bits() };
    chunk.to_vec::<f64>().into_iter().map(canonical).collect()
}

pub(crate) fn same_bits(a: &Chunk, b: &Chunk) -> bool {
    a.dtype() == b.dtype() && a.shape() == b.shape() && bits(a) == bits(b)
}

/// The lazy value of every step, or why there is none.
fn build<V: Subject>(program: &Program<V>, whole: bool) -> Vec<Option<Result<V, String>>> {
    let mut values: Vec<Option<Result<V, String>>> = Vec::new();
    for step in &program.steps {
        let value = match step {
            Step::Input(input) if whole => {
                let chunks = input.chunk.shape().iter().map(|&n| n.max(1)).collect();
                Some(Step::<V>::Input(Input { chunks, ..input.clone() }).apply(&[]))
            }
            Step::Input(_) => Some(step.apply(&[])),
            Step::Call(call) => {
                let operands: Option<Vec<V>> =
                    call.operands.iter().map(|&at| values[at].as_ref()?.as_ref().ok().cloned()).collect();
                operands.map(|operands| step.apply(&operands))
            }
        };
        values.push(value);
    }
    values
}

fn run<V: Subject>(program: &Program<V>, engine: &Arc<dyn Engine>) -> Ran<V> {
    let mut wrong: Option<(usize, String)> = None;
    let mut built = build(program, false);
    let calls: Vec<usize> = (0..built.len()).filter(|&at| matches!(built[at], Some(Ok(_)))).collect();
    let arrays: Vec<Array> =
        calls.iter().map(|&at| built[at].as_ref().unwrap().as_ref().unwrap().array().clone()).collect();
    let mut computed: HashMap<usize, Chunk> = HashMap::new();
    match nuna_array::compute_stepwise(&arrays, engine) {
        Ok(chunks) => computed.extend(calls.iter().copied().zip(chunks)),
        // One of them has no value, such as the place of the least of nothing: which?
        Err(_) => {
            for (&at, array) in calls.iter().zip(&arrays) {
                match array.compute_with(engine) {
                    Ok(chunk) => {
                        computed.insert(at, chunk);
                    }
                    Err(error) => built[at] = Some(Err(error.to_string())),
                }
            }
        }
    }
    let last = calls.iter().rev().find(|at| computed.contains_key(at));
    if let Some(&last) = last {
        let array = built[last].as_ref().unwrap().as_ref().unwrap().array().clone();
        match array.compute_with(engine) {
            Ok(chunk) if same_bits(&chunk, &computed[&last]) => {}
            Ok(chunk) => {
                wrong =
                    Some((last, format!("optimised it is {chunk:?}, step by step {:?}", computed[&last])));
            }
            Err(error) => wrong = Some((last, format!("has a value step by step, but optimised: {error}"))),
        }
        let order_free = program.up_to(last).steps.iter().all(|step| match step {
            Step::Call(call) => call.is_order_free,
            Step::Input(_) => true,
        });
        if order_free && wrong.is_none() {
            let whole = build(program, true);
            match whole[last].as_ref().unwrap().as_ref().map(|v| v.array().compute_with(engine)) {
                Ok(Ok(chunk)) if same_bits(&chunk, &computed[&last]) => {}
                Ok(Ok(chunk)) => {
                    let found = &computed[&last];
                    wrong = Some((last, format!("with inputs of one chunk it is {chunk:?}, not {found:?}")));
                }
                Ok(Err(error)) => wrong = Some((last, format!("with inputs of one chunk: {error}"))),
                Err(error) => wrong = Some((last, format!("with inputs of one chunk: {error}"))),
            }
        }
    }
    let mut outcomes = Vec::with_capacity(built.len());
    for (at, value) in built.into_iter().enumerate() {
        outcomes.push(match (value, computed.remove(&at)) {
            (Some(Ok(value)), Some(chunk)) => {
                let array = value.array();
                if (chunk.dtype(), chunk.shape()) != (array.dtype(), array.shape()) {
                    wrong = Some((at, format!("{array:?} came out as {chunk:?}")));
                }
                // What is made of nothing, or of a part that has a value, may come of what as a whole has none.
                let has_operands = match &program.steps[at] {
                    Step::Call(call) => {
                        call.operands.iter().all(|&o| matches!(outcomes[o], Outcome::Value(..)))
                    }
                    Step::Input(_) => true,
                };
                if has_operands { Outcome::Value(value, chunk) } else { Outcome::Skipped }
            }
            (Some(Err(message)), _) => {
                if message.contains(PANICKED) || message.contains("panicked") {
                    wrong = Some((at, message.clone()));
                }
                // What fails because an earlier step does is not this step's matter.
                let Step::Call(call) = &program.steps[at] else { panic!("input {at}: {message}") };
                let operands = call.operands.iter();
                if operands.clone().all(|&o| matches!(outcomes[o], Outcome::Value(..))) {
                    Outcome::Refused(message)
                } else {
                    Outcome::Skipped
                }
            }
            (_, _) => Outcome::Skipped,
        });
    }
    Ran { outcomes, wrong }
}

/// The file that Python reads: steps with values that lie in `data`.
fn describe<V: Subject + Labels>(program: &Program<V>, ran: &Ran<V>, data: &mut Vec<u8>) -> Value {
    let steps = program.steps.iter().zip(&ran.outcomes).map(|(step, outcome)| {
        let mut described = match step {
            Step::Input(_) => json!({}),
            Step::Call(call) => json!({
                "python": call.fill(&call.python, "v"),
                "operands": call.operands,
                "ulps": call.ulps,
            }),
        };
        match outcome {
            Outcome::Value(value, chunk) => {
                described["value"] = place(chunk, data);
                value.describe(&mut described["value"], data);
            }
            Outcome::Refused(message) => described["error"] = json!(message),
            Outcome::Skipped => described["skipped"] = json!(true),
        }
        described
    });
    steps.collect()
}

pub(crate) fn place(chunk: &Chunk, data: &mut Vec<u8>) -> Value {
    data.resize(data.len().next_multiple_of(16), 0);
    let offset = data.len();
    data.extend_from_slice(chunk.bytes());
    json!({"dtype": chunk.dtype().name(), "shape": chunk.shape(), "offset": offset})
}

/// Adds the labels, if there are any.
pub(crate) trait Labels {
    fn describe(&self, value: &mut Value, data: &mut Vec<u8>);
}

impl Labels for Array {
    fn describe(&self, _: &mut Value, _: &mut Vec<u8>) {}
}

impl Labels for DataArray {
    fn describe(&self, value: &mut Value, data: &mut Vec<u8>) {
        value["dims"] = json!(self.dims());
        let coord = |coord: &Coord, data: &mut Vec<u8>| {
            let mut described = json!({"dims": coord.dims(), "shape": coord.shape()});
            match coord.values().unwrap() {
                Values::Numbers(chunk) => {
                    described["numbers"] = place(&chunk.reshape(coord.shape()).unwrap(), data)
                }
                Values::Times(times) => described["times"] = json!(times.micros.to_vec()),
                Values::Text(text) => described["text"] = json!(text.to_vec()),
            }
            described
        };
        value["coords"] = json!({});
        for (name, found) in self.coords().iter() {
            value["coords"][name] = coord(found, data);
        }
    }
}

/// Programs handed to Python in one file.
const BATCH: u64 = 250;
/// Failing programs that are shown at most.
const SHOWN: usize = 6;
/// Programs tried at most while one is made smaller.
const TRIES: usize = 150;

pub(crate) struct Checker {
    python: Python,
    engine: Arc<dyn Engine>,
}

impl Checker {
    pub(crate) fn new(python: PathBuf) -> Self {
        Self { python: Python::start(python), engine: Arc::new(ThreadEngine::new(2)) }
    }

    /// The first wrong step of each.
    fn check<V: Subject + Labels>(&mut self, programs: &[Program<V>]) -> Vec<Option<(usize, String)>> {
        let mut data = Vec::new();
        let ran: Vec<Ran<V>> = programs.iter().map(|program| run(program, &self.engine)).collect();
        let described: Vec<Value> =
            programs.iter().zip(&ran).map(|(program, ran)| describe(program, ran, &mut data)).collect();
        let told = self.python.ask(&described, &data);
        ran.into_iter().zip(told).map(|(ran, told)| told.or(ran.wrong)).collect()
    }

    /// Runs the programs of all seeds and fails with the smallest forms of what differs.
    pub(crate) fn check_all<V: Subject + Labels>(
        &mut self,
        seeds: std::ops::Range<u64>,
        program: impl Fn(u64) -> Program<V>,
    ) {
        let mut failures: Vec<String> = Vec::new();
        let mut kinds: HashMap<String, u64> = HashMap::new();
        let mut start = seeds.start;
        while start < seeds.end {
            let end = (start + BATCH).min(seeds.end);
            let programs: Vec<Program<V>> = (start..end).map(&program).collect();
            for (program, wrong) in programs.iter().zip(self.check(&programs)) {
                let Some((step, message)) = wrong else { continue };
                // One of each kind is made small; the same mistake is often found a hundred times.
                let kind = match &program.steps[step] {
                    Step::Call(call) => without_numbers(&call.python),
                    Step::Input(_) => String::new(),
                };
                let seen = kinds.entry(kind).or_default();
                *seen += 1;
                if *seen == 1 && failures.len() < SHOWN {
                    let (small, message) = self.shrink(program.clone(), step, message);
                    failures.push(format!("seed {}: {message}\n{}", program.seed, small.code()));
                }
            }
            start = end;
        }
        let found: u64 = kinds.values().sum();
        assert!(
            found == 0,
            "{found} of {} programs differ: {kinds:?}\nNUNA_PROGRAMS_FROM=SEED NUNA_PROGRAMS=1 runs one of them\n\n{}",
            seeds.end - seeds.start,
            failures.join("\n\n")
        );
    }

    /// The smallest program found that is wrong too.
    fn shrink<V: Subject + Labels>(
        &mut self,
        program: Program<V>,
        step: usize,
        message: String,
    ) -> (Program<V>, String) {
        let mut tries = 0;
        let mut small = program.up_to(step);
        let mut wrong = message;
        if self.check(std::slice::from_ref(&small))[0].is_none() {
            return (program, wrong);
        }
        loop {
            let mut is_smaller = false;
            for candidate in self.smaller(&small) {
                tries += 1;
                if tries > TRIES {
                    return (small, wrong);
                }
                if let Some((_, message)) = self.check(std::slice::from_ref(&candidate)).remove(0) {
                    (small, wrong, is_smaller) = (candidate, message, true);
                    break;
                }
            }
            if !is_smaller {
                return (small, wrong);
            }
        }
    }

    /// Programs that are a little smaller, the smallest first.
    fn smaller<V: Subject + Labels>(&self, program: &Program<V>) -> Vec<Program<V>> {
        let mut out = Vec::new();
        let last = program.steps.len() - 1;
        let ran = run(program, &self.engine);
        for at in (0..last).rev() {
            if let (Step::Call(_), Outcome::Value(value, chunk)) = (&program.steps[at], &ran.outcomes[at]) {
                out.push(with(program, at, value.to_input(chunk.clone())).up_to(last));
            }
        }
        // One operand for two.
        if let Step::Call(call) = &program.steps[last] {
            for (place, other) in (1..call.operands.len()).map(|place| (place, call.operands[0])) {
                let mut operands = call.operands.clone();
                if operands[place] != other {
                    operands[place] = other;
                    let mut changed = program.clone();
                    changed.steps[last] = Step::Call(Call { operands, ..call.clone() });
                    out.push(changed.up_to(last));
                }
            }
        }
        let longest = program.inputs().flat_map(|(_, i)| i.chunk.shape().to_vec()).max().unwrap_or(0);
        for length in 2..=longest {
            for half in [true, false] {
                // All inputs that are as long at once, so that they still fit each other.
                let mut changed = program.clone();
                for (at, input) in program.inputs() {
                    let mut cut = input.clone();
                    for axis in (0..cut.chunk.ndim()).filter(|&axis| input.chunk.shape()[axis] == length) {
                        cut = cut_axis(&cut, axis, if half { length.div_ceil(2) } else { length - 1 });
                    }
                    changed.steps[at] = Step::Input(cut);
                }
                out.push(changed);
            }
        }
        for (at, input) in program.inputs() {
            for axis in (0..input.chunk.ndim()).filter(|&axis| input.chunk.shape()[axis] > 1) {
                let rows = input.chunk.shape()[axis];
                out.push(with(program, at, cut_axis(input, axis, 1)));
                out.push(with(program, at, last_rows(input, axis, rows / 2)));
                out.push(with(program, at, last_rows(input, axis, 1)));
            }
            let whole: Vec<u64> = input.chunk.shape().iter().map(|&n| n.max(1)).collect();
            if whole != input.chunks {
                out.push(with(program, at, Input { chunks: whole, ..input.clone() }));
            }
            if !input.lines.is_empty() {
                out.push(with(program, at, Input { lines: Vec::new(), ..input.clone() }));
            }
            for element in 0..input.chunk.len().min(12) {
                if let Some(chunk) = with_one(&input.chunk, element) {
                    out.push(with(program, at, Input { chunk, ..input.clone() }));
                }
            }
        }
        out
    }
}

impl<V> Program<V> {
    fn inputs(&self) -> impl Iterator<Item = (usize, &Input)> {
        self.steps.iter().enumerate().filter_map(|(at, step)| match step {
            Step::Input(input) => Some((at, input)),
            Step::Call(_) => None,
        })
    }
}

fn with<V: Clone>(program: &Program<V>, at: usize, input: Input) -> Program<V> {
    let mut changed = program.clone();
    changed.steps[at] = Step::Input(input);
    changed
}

fn cut_axis(input: &Input, axis: usize, length: u64) -> Input {
    sliced(input, axis, 0, length)
}

fn last_rows(input: &Input, axis: usize, length: u64) -> Input {
    sliced(input, axis, input.chunk.shape()[axis] - length, length)
}

/// Elements `start..start + length` along an axis, and their labels.
fn sliced(input: &Input, axis: usize, start: u64, length: u64) -> Input {
    let stop = Some((start + length) as i64);
    let array = Array::from_chunk(input.chunk.clone()).slice_axis(axis, Some(start as i64), stop, 1).unwrap();
    let mut cut = Input { chunk: array.compute().unwrap(), ..input.clone() };
    if let Some(dim) = cut.dims.get(axis) {
        let (from, to) = (start as usize, (start + length) as usize);
        for line in cut.lines.iter_mut().filter(|line| line.dim == *dim) {
            line.values = match &line.values {
                Values::Numbers(chunk) => Values::from(chunk.to_vec::<f64>()[from..to].to_vec()),
                Values::Text(text) => Values::from(text[from..to].to_vec()),
                Values::Times(times) => Values::Times(nuna_labels::Times {
                    calendar: times.calendar,
                    micros: times.micros[from..to].to_vec().into(),
                }),
            };
        }
    }
    cut
}

/// The chunk with one element made 1, unless it is.
fn with_one(chunk: &Chunk, element: usize) -> Option<Chunk> {
    if chunk.get(element).as_f64() == 1.0 {
        return None;
    }
    let one = Chunk::full(chunk.dtype(), &[], nuna_array::Scalar::Int(1));
    let size = chunk.dtype().size();
    let mut bytes = chunk.bytes().to_vec();
    bytes[element * size..(element + 1) * size].copy_from_slice(one.bytes());
    Chunk::new(chunk.dtype(), chunk.shape(), bytes.into()).ok()
}

fn without_numbers(code: &str) -> String {
    let mut text: String = code.chars().filter(|c| !c.is_ascii_digit() && *c != '-').collect();
    text.truncate(text.find('[').unwrap_or(text.len()));
    text
}
