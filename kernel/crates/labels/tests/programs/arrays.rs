//! Owns what programs do with arrays: one function per kind of operation, one line each in [`OPERATIONS`].

use nuna_array::{Array, Axes, Binary, Index, NanPolicy, Operand, Operation, Unary, concat, stack};

use crate::{
    program::{self, Choose, Draw, Input, literals},
    random::{DTYPES, Random},
};

type Call = program::Call<Array>;
type Drawn<'a, 'b> = &'a mut Draw<'b, Array>;

/// How often each is drawn, and what it makes. To add an operation: one line here, and a function that chooses its
/// operands and says it in Rust, in Python and as a closure.
pub(crate) const OPERATIONS: &[(u64, Choose<Array>)] = &[
    (22, binary),
    (12, scalar),
    (14, unary),
    (20, reduce),
    (3, arg_reduce),
    (6, where_),
    (2, fillna),
    (3, clip),
    (6, astype),
    (7, index),
    (4, slice_axis),
    (4, take),
    (5, transpose),
    (3, expand_dims),
    (3, squeeze),
    (4, concat_),
    (3, stack_),
    (3, broadcast_to),
    (4, rechunk),
];

/// One to three arrays that broadcast, mostly.
pub(crate) fn inputs(random: &mut Random) -> Vec<Input> {
    let ndim = random.index(5);
    let longest: u64 = [40, 24, 12, 7, 5][ndim];
    let empty = if random.chance(8) { random.index(5) } else { 9 };
    let full: Vec<u64> = (0..ndim)
        .map(|axis| {
            if axis == empty {
                0
            } else if random.chance(15) {
                1
            } else {
                1 + random.below(longest)
            }
        })
        .collect();
    let count = 1 + random.index(3);
    (0..count)
        .map(|_| {
            let skipped = if random.chance(60) { 0 } else { random.index(ndim + 1) };
            let shape: Vec<u64> =
                full[skipped..].iter().map(|&n| if random.chance(12) { 1 } else { n }).collect();
            let dtype = random.dtype();
            let chunk = random.chunk(dtype, &shape);
            Input { chunk, chunks: chunks(random, &shape), dims: Vec::new(), lines: Vec::new() }
        })
        .collect()
}

/// One or two arrays of some hundred thousand elements, in a few chunks.
pub(crate) fn large_inputs(random: &mut Random) -> Vec<Input> {
    let shape = *random.pick(&[[300, 20, 40], [40, 700, 10], [5, 60, 900]]);
    let cut = |random: &mut Random| shape.map(|n: u64| n.div_ceil(1 + random.below(3))).to_vec();
    (0..1 + random.index(2))
        .map(|_| {
            let dtype = random.dtype();
            let chunks = cut(random);
            Input { chunk: random.chunk(dtype, &shape), chunks, dims: Vec::new(), lines: Vec::new() }
        })
        .collect()
}

/// Chunk lengths, a few blocks in all: one chunk, chunks of 1, and what lies between.
pub(crate) fn chunks(random: &mut Random, shape: &[u64]) -> Vec<u64> {
    let mut blocks = 1;
    let lengths = shape.iter().map(|&n| {
        let length = match random.below(4) {
            0 => 1,
            1 => n.max(1),
            _ => 1 + random.below(n.max(1)),
        };
        let length = if blocks * n.div_ceil(length) > 40 { n.max(1) } else { length };
        blocks *= n.div_ceil(length).max(1);
        length
    });
    lengths.collect()
}

const BINARY: [(Binary, &str, u32); 20] = [
    (Binary::Add, "np.add($0, $1)", 0),
    (Binary::Sub, "np.subtract($0, $1)", 0),
    (Binary::Mul, "np.multiply($0, $1)", 0),
    (Binary::Div, "np.true_divide($0, $1)", 0),
    (Binary::FloorDiv, "np.floor_divide($0, $1)", 0),
    (Binary::Rem, "np.remainder($0, $1)", 0),
    (Binary::Pow, "power($0, $1)", 1),
    (Binary::Minimum, "np.minimum($0, $1)", 0),
    (Binary::Maximum, "np.maximum($0, $1)", 0),
    (Binary::Atan2, "precise(np.arctan2, $0, $1)", 1),
    (Binary::Hypot, "precise(np.hypot, $0, $1)", 1),
    (Binary::Eq, "np.equal($0, $1)", 0),
    (Binary::Ne, "np.not_equal($0, $1)", 0),
    (Binary::Lt, "np.less($0, $1)", 0),
    (Binary::Le, "np.less_equal($0, $1)", 0),
    (Binary::Gt, "np.greater($0, $1)", 0),
    (Binary::Ge, "np.greater_equal($0, $1)", 0),
    (Binary::And, "np.bitwise_and($0, $1)", 0),
    (Binary::Or, "np.bitwise_or($0, $1)", 0),
    (Binary::Xor, "np.bitwise_xor($0, $1)", 0),
];

/// What it computes, its code, and how many units of the last place the reference may be away.
pub(crate) const UNARY: [(Unary, &str, u32); 33] = [
    (Unary::Neg, "np.negative($0)", 0),
    (Unary::Abs, "np.absolute($0)", 0),
    (Unary::Sign, "np.sign($0)", 0),
    (Unary::Square, "np.square($0)", 0),
    (Unary::Sqrt, "root($0)", 0),
    (Unary::Cbrt, "precise(np.cbrt, $0)", 1),
    (Unary::Exp, "precise(np.exp, $0)", 1),
    (Unary::Exp2, "precise(np.exp2, $0)", 1),
    (Unary::Expm1, "precise(np.expm1, $0)", 1),
    (Unary::Ln, "precise(np.log, $0)", 1),
    (Unary::Log2, "precise(np.log2, $0)", 1),
    (Unary::Log10, "precise(np.log10, $0)", 2),
    (Unary::Log1p, "precise(np.log1p, $0)", 1),
    (Unary::Sin, "precise(np.sin, $0)", 1),
    (Unary::Cos, "precise(np.cos, $0)", 1),
    (Unary::Tan, "precise(np.tan, $0)", 1),
    (Unary::Asin, "precise(np.arcsin, $0)", 1),
    (Unary::Acos, "precise(np.arccos, $0)", 1),
    (Unary::Atan, "precise(np.arctan, $0)", 1),
    (Unary::Sinh, "precise(np.sinh, $0)", 2),
    (Unary::Cosh, "precise(np.cosh, $0)", 2),
    (Unary::Tanh, "precise(np.tanh, $0)", 2),
    (Unary::Asinh, "precise(np.arcsinh, $0)", 2),
    (Unary::Acosh, "precise(np.arccosh, $0)", 2),
    (Unary::Atanh, "precise(np.arctanh, $0)", 2),
    (Unary::Floor, "rounded(np.floor, $0)", 0),
    (Unary::Ceil, "rounded(np.ceil, $0)", 0),
    (Unary::Trunc, "rounded(np.trunc, $0)", 0),
    (Unary::Round, "rounded(np.rint, $0)", 0),
    (Unary::IsNan, "np.isnan($0)", 0),
    (Unary::IsFinite, "np.isfinite($0)", 0),
    (Unary::IsInf, "np.isinf($0)", 0),
    (Unary::Not, "np.invert($0)", 0),
];

pub(crate) const REDUCTIONS: [(Operation, &str); 12] = [
    (Operation::Sum, "\"sum\""),
    (Operation::Prod, "\"prod\""),
    (Operation::Mean, "\"mean\""),
    (Operation::Min, "\"min\""),
    (Operation::Max, "\"max\""),
    (Operation::Std { ddof: 0 }, "\"std\""),
    (Operation::Var { ddof: 0 }, "\"var\""),
    (Operation::Std { ddof: 1 }, "\"std\", ddof=1"),
    (Operation::Var { ddof: 1 }, "\"var\", ddof=1"),
    (Operation::Any, "\"any\""),
    (Operation::All, "\"all\""),
    (Operation::Count, "\"count\""),
];

/// Whether an operation's result is the same in whatever order the elements come.
pub(crate) fn is_order_free(operation: Operation, is_float: bool) -> bool {
    match operation {
        Operation::Sum | Operation::Prod => !is_float,
        Operation::Mean | Operation::Var { .. } | Operation::Std { .. } => false,
        _ => true,
    }
}

/// Another step whose shape broadcasts with that of `first`.
fn partner(draw: Drawn<'_, '_>, first: usize) -> Option<usize> {
    let shape = draw.array(first).shape().to_vec();
    if draw.mistaken() {
        return Some(draw.any());
    }
    draw.suiting(|other| {
        shape.iter().rev().zip(other.shape().iter().rev()).all(|(a, b)| a == b || *a == 1 || *b == 1)
    })
}

fn binary(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let b = partner(draw, a)?;
    let (op, python, ulps) = *draw.random.pick(&BINARY);
    let rust = format!("$0.binary(Binary::{op:?}, &$1)?");
    Some(Call::new(&[a, b], rust, python, move |v| Ok(v[0].binary(op, &v[1])?)).ulps(ulps))
}

fn scalar(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let (op, python, ulps) = *draw.random.pick(&BINARY);
    let value = draw.scalar();
    let (r, p) = literals(value);
    Some(if draw.random.chance(70) {
        let rust = format!("$0.binary(Binary::{op:?}, {r})?");
        Call::new(&[a], rust, python.replace("$1", &p), move |v| Ok(v[0].binary(op, value)?)).ulps(ulps)
    } else {
        let rust = format!("$0.binary_from(Binary::{op:?}, {r})?");
        let python = python.replace("$0", &p).replace("$1", "$0");
        Call::new(&[a], rust, python, move |v| Ok(v[0].binary_from(op, value)?)).ulps(ulps)
    })
}

fn unary(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let (op, python, ulps) = *draw.random.pick(&UNARY);
    let rust = format!("$0.unary(Unary::{op:?})?");
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].unary(op)?)).ulps(ulps))
}

fn reduce(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let (operation, name) = *draw.random.pick(&REDUCTIONS);
    let ndim = draw.array(a).ndim();
    let mut axes: Vec<usize> = (0..ndim).filter(|_| draw.random.chance(55)).collect();
    if draw.mistaken() {
        axes.push(draw.random.index(ndim + 1));
    }
    let nan = if draw.random.chance(50) { NanPolicy::Skip } else { NanPolicy::Propagate };
    let after = if draw.random.chance(30) { Axes::Keep } else { Axes::Drop };
    let order_free = is_order_free(operation, draw.array(a).dtype().is_float());
    let rust =
        format!("$0.reduce(Operation::{operation:?}, NanPolicy::{nan:?}, &{axes:?}, Axes::{after:?})?");
    let (skip, keep) = (python_bool(nan == NanPolicy::Skip), python_bool(after == Axes::Keep));
    let python = format!("reduced($0, {axes:?}, {skip}, {keep}, {name})");
    let call = Call::new(&[a], rust, python, move |v| Ok(v[0].reduce(operation, nan, &axes, after)?));
    Some(if order_free { call } else { call.ordered() })
}

pub(crate) fn python_bool(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

fn arg_reduce(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let axis = draw.axis(a)?;
    let (operation, name) =
        *draw.random.pick(&[(Operation::ArgMin, "argmin"), (Operation::ArgMax, "argmax")]);
    let nan = if draw.random.chance(50) { NanPolicy::Skip } else { NanPolicy::Propagate };
    let rust = format!("$0.reduce(Operation::{operation:?}, NanPolicy::{nan:?}, &[{axis}], Axes::Drop)?");
    let python = match nan {
        NanPolicy::Skip => format!("nan_arg($0, {axis}, {name:?})"),
        NanPolicy::Propagate => format!("np.{name}($0, {axis})"),
    };
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].reduce(operation, nan, &[axis], Axes::Drop)?)))
}

fn where_(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let condition = partner(draw, a)?;
    if draw.random.chance(50) {
        let other = partner(draw, a)?;
        return Some(Call::new(&[a, condition, other], "$0.where_(&$1, &$2)?", "where($1, $0, $2)", |v| {
            Ok(v[0].where_(&v[1], &v[2])?)
        }));
    }
    let value = draw.scalar();
    let (r, p) = literals(value);
    let (rust, python) = (format!("$0.where_(&$1, {r})?"), format!("where($1, $0, {p})"));
    Some(Call::new(&[a, condition], rust, python, move |v| Ok(v[0].where_(&v[1], value)?)))
}

fn fillna(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.suiting(|v| v.dtype().is_float())?;
    let value = draw.scalar();
    let (r, p) = literals(value);
    let python = format!("where(~np.isnan($0), $0, {p})");
    Some(Call::new(&[a], format!("$0.fillna({r})?"), python, move |v| Ok(v[0].fillna(value)?)))
}

fn clip(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let (low, high) = (draw.scalar(), draw.scalar());
    let ((low_rust, low_python), (high_rust, high_python)) = (literals(low), literals(high));
    let rust = format!("$0.clip({low_rust}, {high_rust})?");
    let python = format!("np.minimum(np.maximum($0, {low_python}), {high_python})");
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].clip(low, Operand::Scalar(high))?)))
}

fn astype(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let dtype = *draw.random.pick(&DTYPES);
    let (rust, python) = (format!("$0.astype(DType::{dtype:?})"), format!("cast($0, \"{dtype}\")"));
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].astype(dtype))))
}

fn python_end(end: Option<i64>) -> String {
    end.map_or_else(|| "None".to_owned(), |at| at.to_string())
}

fn index(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let shape = draw.array(a).shape().to_vec();
    let named = if draw.mistaken() { shape.len() + 1 } else { draw.random.index(shape.len() + 1) };
    let (mut indices, mut python) = (Vec::new(), Vec::new());
    for axis in 0..named {
        let length = shape.get(axis).copied().unwrap_or(1);
        match draw.random.below(4) {
            0 => {
                indices.push(Index::All);
                python.push(":".to_owned());
            }
            1 if length > 0 => {
                let at = draw.positions(length).first().copied().unwrap_or(0);
                indices.push(Index::At(at));
                python.push(at.to_string());
            }
            _ => {
                let (start, stop, step) = draw.slice(length);
                indices.push(Index::Slice { start, stop, step });
                let ends = (
                    start.map_or(String::new(), |v| v.to_string()),
                    stop.map_or(String::new(), |v| v.to_string()),
                );
                python.push(format!("{}:{}:{step}", ends.0, ends.1));
            }
        }
    }
    python.push("...".to_owned());
    let rust: Vec<String> = indices.iter().map(|index| format!("Index::{index:?}")).collect();
    let rust = format!("$0.index(&[{}])?", rust.join(", "));
    let python = format!("$0[{}]", python.join(", "));
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].index(&indices)?)))
}

fn slice_axis(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let axis = draw.axis(a)?;
    let length = draw.array(a).shape().get(axis).copied().unwrap_or(1);
    let (start, stop, step) = draw.slice(length);
    let rust = format!("$0.slice_axis({axis}, {start:?}, {stop:?}, {step})?");
    let python = format!(
        "$0[(slice(None),) * {axis} + (slice({}, {}, {step}), ...)]",
        python_end(start),
        python_end(stop)
    );
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].slice_axis(axis, start, stop, step)?)))
}

fn take(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let axis = draw.axis(a)?;
    let indices = draw.positions(draw.array(a).shape().get(axis).copied().unwrap_or(1));
    let rust = format!("$0.take({axis}, &{indices:?})?");
    // `np.take` of nothing takes any index.
    let python = format!("$0[(slice(None),) * {axis} + (np.array({indices:?}, int),)]");
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].take(axis, &indices)?)))
}

fn transpose(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let mut order = draw.random.shuffled(draw.array(a).ndim());
    if draw.mistaken() {
        order.push(0);
    }
    let (rust, python) = (format!("$0.transpose(&{order:?})?"), format!("np.transpose($0, {order:?})"));
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].transpose(&order)?)))
}

fn expand_dims(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let axis = draw.random.index(draw.array(a).ndim() + 1) + usize::from(draw.mistaken());
    let (rust, python) = (format!("$0.expand_dims({axis})?"), format!("np.expand_dims($0, {axis})"));
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].expand_dims(axis)?)))
}

fn squeeze(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let single = !draw.mistaken();
    let shape = draw.array(a).shape().to_vec();
    let axes: Vec<usize> =
        (0..shape.len()).filter(|&axis| (shape[axis] == 1 || !single) && draw.random.chance(60)).collect();
    let rust = format!("$0.squeeze(&{axes:?})?");
    let python = format!("np.squeeze($0, tuple({axes:?}))");
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].squeeze(&axes)?)))
}

/// Two or three steps that can be joined along `axis`, or any if that is to be refused.
fn joinable(draw: Drawn<'_, '_>, first: usize, axis: Option<usize>) -> Option<Vec<usize>> {
    let shape = draw.array(first).shape().to_vec();
    let mistaken = draw.mistaken();
    let mut all = vec![first];
    for _ in 0..1 + draw.random.index(2) {
        all.push(draw.suiting(|other| {
            let same = |i: usize| Some(i) == axis || other.shape()[i] == shape[i];
            mistaken || (other.ndim() == shape.len() && (0..shape.len()).all(same))
        })?);
    }
    Some(all)
}

fn listed(count: usize, before: &str) -> String {
    (0..count).map(|at| format!("{before}${at}")).collect::<Vec<_>>().join(", ")
}

fn concat_(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let axis = draw.axis(a)?;
    let all = joinable(draw, a, Some(axis))?;
    let names = listed(all.len(), "");
    let rust = format!("array::concat(&[{}], {axis})?", names.replace(',', ".clone(),") + ".clone()");
    let python = format!("np.concatenate([{names}], {axis})");
    Some(Call::new(&all, rust, python, move |v| Ok(concat(v, axis)?)))
}

fn stack_(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let axis = draw.random.index(draw.array(a).ndim() + 1) + usize::from(draw.mistaken());
    let all = joinable(draw, a, None)?;
    let names = listed(all.len(), "");
    let rust = format!("array::stack(&[{}], {axis})?", names.replace(',', ".clone(),") + ".clone()");
    let python = format!("np.stack([{names}], {axis})");
    Some(Call::new(&all, rust, python, move |v| Ok(stack(v, axis)?)))
}

fn broadcast_to(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let mut shape = draw.array(a).shape().to_vec();
    for length in &mut shape {
        if *length == 1 && draw.random.chance(70) || draw.mistaken() {
            *length = draw.random.below(5);
        }
    }
    if draw.random.chance(30) {
        shape.insert(0, draw.random.below(4));
    }
    let rust = format!("$0.broadcast_to(&{shape:?})?");
    let python = format!("np.broadcast_to($0, {shape:?})");
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].broadcast_to(&shape)?)))
}

fn rechunk(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let shape = draw.array(a).shape().to_vec();
    let chunks = chunks(draw.random, &shape);
    Some(Call::new(&[a], format!("$0.rechunk(&{chunks:?})?"), "$0", move |v| Ok(v[0].rechunk(&chunks)?)))
}
