//! Random programs whose results NumPy recorded (`oracle/record.py`): dtype and shape must be equal, integers and bools
//! equal, floats within a tolerance for the order of summation and the last bits of `exp` and `sin`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::sync::Arc;

use nuna_array::{
    Array, Axes, Binary, Chunk, ChunkGrid, DType, Index, NanPolicy, Operation, ThreadEngine, Unary, concat,
};
use nuna_plan::Engine;
use serde_json::Value;

fn number(step: &Value, key: &str) -> usize {
    step[key].as_u64().unwrap_or_else(|| panic!("{key} in {step}")) as usize
}

fn list<T>(step: &Value, key: &str, get: impl Fn(&Value) -> Option<T>) -> Vec<T> {
    step[key]
        .as_array()
        .unwrap_or_else(|| panic!("{key} in {step}"))
        .iter()
        .map(|v| get(v).unwrap())
        .collect()
}

fn shape(step: &Value, key: &str) -> Vec<u64> {
    list(step, key, Value::as_u64)
}

/// Floats travel as the bits of `float64`, everything else in decimal.
fn chunk(dtype: DType, shape: &[u64], values: &Value) -> Chunk {
    let texts: Vec<&str> = values.as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
    let whole = if dtype.is_float() {
        let bits: Vec<f64> =
            texts.iter().map(|t| f64::from_bits(u64::from_str_radix(t, 16).unwrap())).collect();
        Chunk::from_slice(shape, &bits)
    } else if dtype == DType::U64 {
        Chunk::from_slice(shape, &texts.iter().map(|t| t.parse().unwrap()).collect::<Vec<u64>>())
    } else {
        Chunk::from_slice(shape, &texts.iter().map(|t| t.parse().unwrap()).collect::<Vec<i64>>())
    };
    whole.cast(dtype)
}

fn binary(name: &str) -> Binary {
    match name {
        "add" => Binary::Add,
        "sub" => Binary::Sub,
        "mul" => Binary::Mul,
        "div" => Binary::Div,
        "floordiv" => Binary::FloorDiv,
        "rem" => Binary::Rem,
        "minimum" => Binary::Minimum,
        "maximum" => Binary::Maximum,
        "eq" => Binary::Eq,
        "ne" => Binary::Ne,
        "lt" => Binary::Lt,
        "le" => Binary::Le,
        "gt" => Binary::Gt,
        "ge" => Binary::Ge,
        "and" => Binary::And,
        "or" => Binary::Or,
        "xor" => Binary::Xor,
        other => panic!("binary {other}"),
    }
}

fn unary(name: &str) -> Unary {
    match name {
        "neg" => Unary::Neg,
        "abs" => Unary::Abs,
        "sign" => Unary::Sign,
        "square" => Unary::Square,
        "sqrt" => Unary::Sqrt,
        "exp" => Unary::Exp,
        "sin" => Unary::Sin,
        "ln" => Unary::Ln,
        "floor" => Unary::Floor,
        "ceil" => Unary::Ceil,
        "round" => Unary::Round,
        "isnan" => Unary::IsNan,
        "not" => Unary::Not,
        other => panic!("unary {other}"),
    }
}

fn operation(name: &str) -> Operation {
    match name {
        "sum" => Operation::Sum,
        "prod" => Operation::Prod,
        "mean" => Operation::Mean,
        "min" => Operation::Min,
        "max" => Operation::Max,
        "std" => Operation::Std { ddof: 0 },
        "var" => Operation::Var { ddof: 0 },
        "any" => Operation::Any,
        "all" => Operation::All,
        "count" => Operation::Count,
        other => panic!("reduction {other}"),
    }
}

/// How the arrays of a program are cut.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cuts {
    /// As the program says.
    Given,
    /// One chunk each.
    Whole,
    /// One element per chunk.
    Single,
}

fn run(steps: &[Value], cuts: Cuts) -> Array {
    let mut values: Vec<Array> = Vec::new();
    for step in steps {
        let at = |key: &str| values[number(step, key)].clone();
        let next = match step["op"].as_str().unwrap() {
            "array" => {
                let shape = shape(step, "shape");
                let data = chunk(step["dtype"].as_str().unwrap().parse().unwrap(), &shape, &step["values"]);
                match cuts {
                    Cuts::Given => Array::from_chunk_in(data, &self::shape(step, "chunks")).unwrap(),
                    Cuts::Whole => Array::from_chunk(data),
                    Cuts::Single => Array::from_chunk_in(data, &vec![1; shape.len()]).unwrap(),
                }
            }
            "binary" => at("a").binary(binary(step["name"].as_str().unwrap()), at("b")).unwrap(),
            "scalar" => {
                let op = binary(step["name"].as_str().unwrap());
                match step["int"].as_i64() {
                    Some(value) => at("a").binary(op, value).unwrap(),
                    None => at("a").binary(op, step["float"].as_f64().unwrap()).unwrap(),
                }
            }
            "unary" => at("a").unary(unary(step["name"].as_str().unwrap())).unwrap(),
            "reduce" => {
                let axes = list(step, "axes", |v| v.as_u64().map(|a| a as usize));
                let nan =
                    if step["skip"].as_bool().unwrap() { NanPolicy::Skip } else { NanPolicy::Propagate };
                at("a").reduce(operation(step["name"].as_str().unwrap()), nan, &axes, Axes::Drop).unwrap()
            }
            "where" => at("a").where_(&at("c"), at("b")).unwrap(),
            "cast" => at("a").astype(step["dtype"].as_str().unwrap().parse().unwrap()),
            "slice" => {
                let index = list(step, "index", |part| {
                    Some(match part {
                        Value::Null => Index::All,
                        Value::Number(at) => Index::At(at.as_i64()?),
                        parts => Index::Slice {
                            start: parts[0].as_i64(),
                            stop: parts[1].as_i64(),
                            step: parts[2].as_i64()?,
                        },
                    })
                });
                at("a").index(&index).unwrap()
            }
            "transpose" => {
                at("a").transpose(&list(step, "order", |v| v.as_u64().map(|a| a as usize))).unwrap()
            }
            "take" => at("a").take(number(step, "axis"), &list(step, "indices", Value::as_i64)).unwrap(),
            "concat" => concat(&[at("a"), at("b")], number(step, "axis")).unwrap(),
            "rechunk" if cuts == Cuts::Given => at("a").rechunk(&shape(step, "chunks")).unwrap(),
            "rechunk" => at("a").rechunk_to(ChunkGrid::whole(at("a").shape())),
            "expand" => at("a").expand_dims(number(step, "axis")).unwrap(),
            "fillna" => at("a").fillna(step["float"].as_f64().unwrap()).unwrap(),
            other => panic!("step {other}"),
        };
        values.push(next);
    }
    values.pop().unwrap()
}

fn programs() -> Vec<Value> {
    serde_json::from_str(include_str!("oracle/numpy.json")).unwrap()
}

/// `None` if they agree, else how they differ.
fn difference(found: &Chunk, expected: &Chunk) -> Option<String> {
    if found.dtype() != expected.dtype() || found.shape() != expected.shape() {
        return Some(format!(
            "{} {:?} instead of {} {:?}",
            found.dtype(),
            found.shape(),
            expected.dtype(),
            expected.shape()
        ));
    }
    if !found.dtype().is_float() {
        return (found != expected).then(|| format!("{found:?} instead of {expected:?}"));
    }
    // A few roundings of the operands' magnitude: chains of up to nine operations, sums of up to 5000 values.
    let tolerance = if found.dtype() == DType::F32 { 4e-6 } else { 1e-11 };
    let (a, b) = (found.to_vec::<f64>(), expected.to_vec::<f64>());
    let scale = b.iter().filter(|v| v.is_finite()).fold(0.0f64, |m, v| m.max(v.abs()));
    let bad = a.iter().zip(&b).position(|(x, y)| {
        let same = x == y || (x.is_nan() && y.is_nan());
        // False for a NaN on one side only, which is a difference too.
        let is_close = (x - y).abs() <= tolerance * scale.max(1e-30);
        !same && !is_close
    })?;
    Some(format!("element {bad} is {} instead of {}", a[bad], b[bad]))
}

#[derive(Clone, Copy, PartialEq)]
enum Plans {
    Fused,
    Stepwise,
}

fn check(cuts: Cuts, plans: Plans, threads: usize) {
    let engine: Arc<dyn Engine> = Arc::new(ThreadEngine::new(threads));
    let mut failures = Vec::new();
    for program in programs() {
        let array = run(program["steps"].as_array().unwrap(), cuts);
        let expected = chunk(
            program["dtype"].as_str().unwrap().parse().unwrap(),
            &shape(&program, "shape"),
            &program["values"],
        );
        let computed = match plans {
            Plans::Fused => array.compute_with(&engine),
            Plans::Stepwise => {
                nuna_array::compute_stepwise(&[array], &engine).map(|mut chunks| chunks.remove(0))
            }
        };
        let failure = match computed {
            Ok(found) => difference(&found, &expected),
            Err(error) => Some(error.to_string()),
        };
        if let Some(failure) = failure {
            let steps: Vec<String> =
                program["steps"].as_array().unwrap().iter().map(Value::to_string).collect();
            failures.push(format!(
                "seed {}, cuts {cuts:?}: {failure}\n  {}",
                program["seed"],
                steps.join("\n  ")
            ));
        }
    }
    assert!(
        failures.is_empty(),
        "{} programs differ; the first:\n{}",
        failures.len(),
        failures[..failures.len().min(3)].join("\n")
    );
}

#[test]
fn numpy_agrees_with_chunks_as_given() {
    check(Cuts::Given, Plans::Fused, 2);
}

#[test]
fn numpy_agrees_with_one_chunk() {
    check(Cuts::Whole, Plans::Fused, 1);
}

#[test]
fn numpy_agrees_with_one_element_per_chunk() {
    check(Cuts::Single, Plans::Fused, 2);
}

#[test]
fn numpy_agrees_with_plans_that_are_not_optimised() {
    check(Cuts::Given, Plans::Stepwise, 2);
}
