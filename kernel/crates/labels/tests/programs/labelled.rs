//! Owns what programs do with labelled arrays: one function per kind of operation, one line each in [`OPERATIONS`].

use nuna_array::{Binary, NanPolicy};
use nuna_labels::{
    Calendar, DataArray, GroupBy, Label, LabelError, Pick, Selection, Times, Values, concat, slice,
};

use crate::{
    arrays::{REDUCTIONS, UNARY, chunks, is_order_free, python_bool},
    program::{self, Choose, Draw, Input, Line, literals},
    random::{DTYPES, Random},
};

type Call = program::Call<DataArray>;
type Drawn<'a, 'b> = &'a mut Draw<'b, DataArray>;

/// How often each is drawn, and what it makes; as in `arrays.rs`.
pub(crate) const OPERATIONS: &[(u64, Choose<DataArray>)] = &[
    (22, binary),
    (8, scalar),
    (10, unary),
    (5, where_),
    (5, where_or),
    (3, fillna),
    (3, clip),
    (3, astype),
    (16, reduce),
    (8, isel),
    (7, sel),
    (4, sel_between),
    (3, sel_nearest),
    (5, transpose),
    (3, rename),
    (5, concat_),
    (8, groupby),
    (4, groupby_several),
    (6, weighted),
    (3, rechunk),
];

const DAY: i64 = 86_400_000_000;

/// Labels of one dimension: `count` of them from position `from` of an endless line, so that two such lines overlap.
fn labels(kind: u64, from: i64, count: u64) -> Option<Values> {
    let positions = (from..from + count as i64).map(|at| at as f64);
    match kind {
        0 => None,
        1 => Some(Values::from(positions.map(|at| at * 2.5 - 10.0).collect::<Vec<_>>())),
        2 => Some(Values::from(positions.map(|at| 90.0 - at * 10.0).collect::<Vec<_>>())),
        3 => Some(Values::from((0..count).map(|at| format!("n{}", at as i64 + from)).collect::<Vec<_>>())),
        // From 1999-12-20, every 17 days.
        _ => Some(Values::Times(Times {
            calendar: Calendar::Standard,
            micros: (0..count).map(|at| (10_945 + 17 * (at as i64 + from)) * DAY).collect(),
        })),
    }
}

/// One to three arrays along some of `t`, `y` and `x`, with labels that mostly agree.
pub(crate) fn inputs(random: &mut Random) -> Vec<Input> {
    let kinds = [("t", *random.pick(&[4, 4, 4, 0])), ("y", random.below(4)), ("x", random.below(4))];
    let lengths = [1 + random.below(12), 1 + random.below(6), 1 + random.below(5)];
    let count = 1 + random.index(3);
    (0..count)
        .map(|number| {
            let mut axes: Vec<usize> = (0..3).filter(|_| random.chance(70)).collect();
            if random.chance(25) {
                axes.reverse();
            }
            let (mut dims, mut shape, mut lines) = (Vec::new(), Vec::new(), Vec::new());
            for axis in axes {
                let (dim, kind) = kinds[axis];
                let mut from = 0;
                let mut length = if random.chance(3) { 0 } else { lengths[axis] };
                if number > 0 && kind > 0 && random.chance(20) {
                    from = random.range(-1, 2);
                    length = 1 + random.below(8);
                }
                dims.push(dim.to_owned());
                shape.push(length);
                let kind = if random.chance(7) { 0 } else { kind };
                if let Some(values) = labels(kind, from, length) {
                    lines.push(Line { dim: dim.to_owned(), values });
                }
            }
            let dtype = random.dtype();
            let chunk = random.chunk(dtype, &shape);
            Input { chunk, chunks: chunks(random, &shape), dims, lines }
        })
        .collect()
}

const BINARY: [(Binary, &str); 14] = [
    (Binary::Add, "np.add"),
    (Binary::Sub, "np.subtract"),
    (Binary::Mul, "np.multiply"),
    (Binary::Div, "np.true_divide"),
    (Binary::Rem, "np.remainder"),
    (Binary::Minimum, "np.minimum"),
    (Binary::Maximum, "np.maximum"),
    (Binary::Eq, "np.equal"),
    (Binary::Ne, "np.not_equal"),
    (Binary::Lt, "np.less"),
    (Binary::Ge, "np.greater_equal"),
    (Binary::And, "np.bitwise_and"),
    (Binary::Or, "np.bitwise_or"),
    (Binary::Xor, "np.bitwise_xor"),
];

fn binary(draw: Drawn<'_, '_>) -> Option<Call> {
    let (a, b) = (draw.any(), draw.any());
    let (op, name) = *draw.random.pick(&BINARY);
    let rust = format!("$0.binary(Binary::{op:?}, &$1)?");
    Some(Call::new(&[a, b], rust, format!("{name}($0, $1)"), move |v| Ok(v[0].binary(op, &v[1])?)))
}

fn scalar(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let (op, name) = *draw.random.pick(&BINARY);
    let value = draw.scalar();
    // xarray cannot have these on the left.
    if matches!(value, nuna_array::Scalar::UInt(_)) {
        return None;
    }
    let (r, p) = literals(value);
    Some(if draw.random.chance(70) {
        let rust = format!("$0.binary(Binary::{op:?}, {r})?");
        Call::new(&[a], rust, format!("{name}($0, {p})"), move |v| Ok(v[0].binary(op, value)?))
    } else {
        let rust = format!("$0.binary_from(Binary::{op:?}, {r})?");
        Call::new(&[a], rust, format!("{name}({p}, $0)"), move |v| Ok(v[0].binary_from(op, value)?))
    })
}

fn unary(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let (op, python, ulps) = *draw.random.pick(&UNARY);
    let rust = format!("$0.unary(Unary::{op:?})?");
    let python = format!("labelled($0, {})", python.replace("$0", "$0.values"));
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].unary(op)?)).ulps(ulps))
}

fn where_(draw: Drawn<'_, '_>) -> Option<Call> {
    let (a, condition) = (draw.any(), draw.any());
    Some(Call::new(&[a, condition], "$0.where_(&$1)?", "xwhere($0, $1)", |v| Ok(v[0].where_(&v[1])?)))
}

fn where_or(draw: Drawn<'_, '_>) -> Option<Call> {
    let (a, condition) = (draw.any(), draw.any());
    if draw.random.chance(50) {
        let other = draw.any();
        let operands = [a, condition, other];
        return Some(Call::new(&operands, "$0.where_or(&$1, &$2)?", "xwhere($0, $1, $2)", |v| {
            Ok(v[0].where_or(&v[1], &v[2])?)
        }));
    }
    let value = draw.scalar();
    let (r, p) = literals(value);
    let (rust, python) = (format!("$0.where_or(&$1, {r})?"), format!("xwhere($0, $1, {p})"));
    Some(Call::new(&[a, condition], rust, python, move |v| Ok(v[0].where_or(&v[1], value)?)))
}

fn fillna(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.suiting(|v| v.dtype().is_float())?;
    let value = draw.scalar();
    let (r, p) = literals(value);
    let (rust, python) = (format!("$0.fillna({r})?"), format!("$0.fillna({p})"));
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].fillna(value)?)))
}

fn clip(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let (low, high) = (draw.scalar(), draw.scalar());
    let ((low_rust, low_python), (high_rust, high_python)) = (literals(low), literals(high));
    let rust = format!("$0.clip({low_rust}, {high_rust})?");
    let python = format!("np.minimum(np.maximum($0, {low_python}), {high_python})");
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].clip(low, high)?)))
}

fn astype(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let dtype = *draw.random.pick(&DTYPES);
    let python = format!("labelled($0, cast($0.values, \"{dtype}\"))");
    Some(Call::new(&[a], format!("$0.astype(DType::{dtype:?})"), python, move |v| Ok(v[0].astype(dtype))))
}

pub(crate) fn dim(draw: Drawn<'_, '_>, a: usize) -> Option<String> {
    let dims = draw.value(a).dims().to_vec();
    if draw.mistaken() {
        return Some("nowhere".to_owned());
    }
    (!dims.is_empty()).then(|| draw.random.pick(&dims).clone())
}

pub(crate) fn dims(draw: Drawn<'_, '_>, a: usize) -> Vec<String> {
    let all = draw.value(a).dims().to_vec();
    let mut named: Vec<String> = all.into_iter().filter(|_| draw.random.chance(60)).collect();
    if draw.mistaken() {
        named.push("nowhere".to_owned());
    }
    named
}

fn reduce(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let dims = dims(draw, a);
    let (operation, name) = *draw.random.pick(&REDUCTIONS);
    let nan = if draw.random.chance(60) { NanPolicy::Skip } else { NanPolicy::Propagate };
    let skip = python_bool(nan == NanPolicy::Skip);
    let rust = format!(
        "$0.reduce(Operation::{operation:?}, NanPolicy::{nan:?}, {dims:?} as [&str; {}])?",
        dims.len()
    );
    let python = format!("xreduced($0, {dims:?}, {skip}, {name})");
    let order_free = is_order_free(operation, draw.value(a).dtype().is_float());
    let call = Call::new(&[a], rust, python, move |v| Ok(v[0].reduce(operation, nan, &dims[..])?));
    Some(if order_free { call } else { call.ordered() })
}

fn isel(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let dim = dim(draw, a)?;
    let length = draw.value(a).axis(&dim).map_or(1, |axis| draw.value(a).shape()[axis]);
    let (pick, rust, python) = match draw.random.below(3) {
        0 if length > 0 => {
            let at = draw.positions(length).first().copied().unwrap_or(0);
            (Pick::At(at), format!("{at}i64"), at.to_string())
        }
        1 => {
            let list = draw.positions(length);
            let code = format!("np.array({list:?}, int)");
            (Pick::List(list.clone()), format!("vec!{list:?} as Vec<i64>"), code)
        }
        _ => {
            let (start, stop, step) = draw.slice(length);
            let end = |end: Option<i64>| end.map_or_else(|| "None".to_owned(), |at| at.to_string());
            let code = format!("slice({}, {}, {step})", end(start), end(stop));
            (slice(start, stop, step), format!("slice({start:?}, {stop:?}, {step})"), code)
        }
    };
    let (rust, python) = (format!("$0.isel({dim:?}, {rust})?"), format!("$0.isel({dim}={python})"));
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].isel(&dim, pick.clone())?)))
}

/// A label, and how Rust and Python write it.
type Written = (Label, String, String);

/// A label along a dimension that has any, and the same in both codes. Only where labels are unique and ascend: pandas
/// does other things for others.
fn label(draw: Drawn<'_, '_>, a: usize) -> Option<(String, Vec<Written>)> {
    let dims = draw.value(a).dims().to_vec();
    let dim = if dims.is_empty() { return None } else { draw.random.pick(&dims).clone() };
    let values = draw.value(a).coords().index(&dim)?.values().ok()?.clone();
    let mut found = Vec::new();
    for _ in 0..3 {
        let at = draw.random.index(values.len().max(1));
        found.push(match &values {
            Values::Numbers(chunk) => {
                let numbers = chunk.to_vec::<f64>();
                if !numbers.windows(2).all(|pair| pair[0] < pair[1]) {
                    return None;
                }
                let off = if draw.mistaken() { 0.7 } else { 0.0 };
                let x = numbers.get(at).copied().unwrap_or(3.0) + off;
                (Label::Number(x), format!("{x:?}"), format!("{x:?}"))
            }
            Values::Text(text) => {
                if !text.windows(2).all(|pair| pair[0] < pair[1]) {
                    return None;
                }
                let name = text.get(at).cloned().unwrap_or_default();
                (Label::Text(name.clone()), format!("{name:?}"), format!("{name:?}"))
            }
            Values::Times(times) => {
                if times.is_empty() || !times.micros.windows(2).all(|pair| pair[0] < pair[1]) {
                    return None;
                }
                let digits = *draw.random.pick(&[4, 7, 10]);
                let text = times.iso(at)[..digits].to_owned();
                (Label::Text(text.clone()), format!("{text:?}"), format!("{text:?}"))
            }
        });
    }
    Some((dim, found))
}

fn sel(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let (dim, labels) = label(draw, a)?;
    if draw.random.chance(60) || matches!(draw.value(a).coords().index(&dim)?.values(), Ok(Values::Times(_)))
    {
        let (label, r, p) = labels[0].clone();
        let (rust, python) = (format!("$0.sel({dim:?}, {r})?"), format!("$0.sel({dim}={p})"));
        return Some(Call::new(&[a], rust, python, move |v| {
            Ok(v[0].sel(&dim, Selection::One(label.clone()))?)
        }));
    }
    let r: Vec<String> = labels.iter().map(|(_, r, _)| r.clone()).collect();
    let p: Vec<String> = labels.iter().map(|(_, _, p)| p.clone()).collect();
    let all: Vec<Label> = labels.into_iter().map(|(label, _, _)| label).collect();
    let rust = format!("$0.sel({dim:?}, vec![{}])?", r.join(", "));
    let python = format!("$0.sel({dim}=[{}])", p.join(", "));
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].sel(&dim, Selection::Many(all.clone()))?)))
}

fn sel_between(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let (dim, mut labels) = label(draw, a)?;
    labels.sort_by(|(a, ..), (b, ..)| match (a, b) {
        (Label::Number(a), Label::Number(b)) => a.total_cmp(b),
        (Label::Text(a), Label::Text(b)) => a.cmp(b),
        _ => std::cmp::Ordering::Equal,
    });
    let ((low, low_rust, low_python), (high, high_rust, high_python)) =
        (labels[0].clone(), labels[2].clone());
    let rust = format!("$0.sel({dim:?}, {low_rust}..={high_rust})?");
    let python = format!("$0.sel({dim}=slice({low_python}, {high_python}))");
    let all = Selection::Between { start: Some(low), end: Some(high), with_end: true };
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].sel(&dim, all.clone())?)))
}

fn sel_nearest(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let (dim, labels) = label(draw, a)?;
    let Label::Number(x) = labels[0].0 else { return None };
    let x = x + *draw.random.pick(&[0.3, -0.4, 100.0]);
    let rust = format!("$0.sel_nearest({dim:?}, {x:?})?");
    let python = format!("$0.sel({dim}={x:?}, method=\"nearest\")");
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].sel_nearest(&dim, x)?)))
}

fn transpose(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let dims = draw.value(a).dims().to_vec();
    let mut order: Vec<String> =
        draw.random.shuffled(dims.len()).into_iter().map(|axis| dims[axis].clone()).collect();
    // Without names it is all of them the other way round, in xarray.
    if order.len() > 1 && draw.mistaken() {
        order.pop();
    }
    let rust = format!("$0.transpose({order:?} as [&str; {}])?", order.len());
    let python = format!("$0.transpose(*{order:?})");
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].transpose(&order[..])?)))
}

fn rename(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let from = dim(draw, a)?;
    let to = *draw.random.pick(&["x", "y", "w"]);
    let (rust, python) =
        (format!("$0.rename({from:?}, {to:?})?"), format!("$0.rename({{{from:?}: {to:?}}})"));
    (from != to).then(|| Call::new(&[a], rust, python, move |v| Ok(v[0].rename(&from, to)?)))
}

fn concat_(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let dim = dim(draw, a)?;
    let own = draw.value(a).clone();
    let mistaken = draw.mistaken();
    let b = draw.suiting(|other| {
        let sorted = |v: &DataArray| {
            let mut names: Vec<_> = v.dims().to_vec();
            names.sort();
            names
        };
        let labelled = |v: &DataArray| v.coords().index(&dim).is_some();
        mistaken || sorted(other) == sorted(&own) && labelled(other) == labelled(&own)
    })?;
    let rust = format!("concat(&[$0.clone(), $1.clone()], {dim:?})?");
    let python = format!("xconcat($0, $1, {dim:?})");
    Some(Call::new(&[a, b], rust, python, move |v| Ok(concat(v, &dim)?)))
}

/// What xarray's groups have under that name.
fn reduced(groups: &GroupBy, name: &str) -> Result<DataArray, LabelError> {
    match name {
        "sum" => groups.sum(),
        "mean" => groups.mean(),
        "min" => groups.min(),
        "max" => groups.max(),
        "count" => groups.count(),
        "var" => groups.var(),
        "std" => groups.std(),
        "median" => groups.median(),
        other => unreachable!("no operation draws {other}"),
    }
}

fn groupby(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let dim = dim(draw, a)?;
    let is_time =
        matches!(draw.value(a).coords().index(&dim).map(|c| c.values()), Some(Ok(Values::Times(_))));
    let key = match draw.random.pick(&["month", "season", "year", "dayofyear", ""]) {
        part if is_time && !part.is_empty() => format!("{dim}.{part}"),
        _ => dim,
    };
    let name = *draw.random.pick(&["sum", "mean", "min", "max", "count", "var", "std"]);
    let skip = name == "count" || draw.random.chance(60);
    let rust = format!("$0.groupby({key:?})?.skipna({skip}).{name}()?");
    let python = format!("xgrouped($0, {key:?}, {}, {name:?})", python_bool(skip));
    let call = Call::new(&[a], rust, python, move |v| Ok(reduced(&v[0].groupby(&key)?.skipna(skip), name)?));
    Some(if matches!(name, "min" | "max" | "count") { call } else { call.ordered() })
}

fn groupby_several(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let mut keys: Vec<String> = Vec::new();
    for _ in 0..2 + draw.random.below(2) {
        let dim = dim(draw, a)?;
        let labels = draw.value(a).coords().index(&dim).map(|coord| coord.values().cloned());
        let key = match draw.random.pick(&["month", "season", "year", ""]) {
            part if matches!(labels, Some(Ok(Values::Times(_)))) && !part.is_empty() => {
                format!("{dim}.{part}")
            }
            _ => dim,
        };
        if !keys.contains(&key) || draw.mistaken() {
            keys.push(key);
        }
    }
    let name = *draw.random.pick(&["sum", "mean", "min", "max", "count", "var", "std", "median"]);
    let skip = name == "count" || draw.random.chance(60);
    let rust = format!("$0.groupby(vec!{keys:?} as Vec<&str>)?.skipna({skip}).{name}()?");
    let python = format!("xgrouped_several($0, {keys:?}, {}, {name:?})", python_bool(skip));
    let call =
        Call::new(&[a], rust, python, move |v| Ok(reduced(&v[0].groupby(keys.clone())?.skipna(skip), name)?));
    Some(if matches!(name, "min" | "max" | "count") { call } else { call.ordered() })
}

fn weighted(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    // Weights hold no NaN, and small ones none that are beyond all bounds.
    let weights = draw.suiting(|v| !v.dtype().is_float() && v.dtype().size() <= 2)?;
    let dims = dims(draw, a);
    let is_mean = draw.random.chance(60);
    let name = if is_mean { "mean" } else { "sum" };
    let rust = format!("$0.weighted(&$1)?.{name}({dims:?} as [&str; {}])?", dims.len());
    let python = format!("xweighted($0, $1, {dims:?}, {name:?})");
    let call = Call::new(&[a, weights], rust, python, move |v| {
        let weighted = v[0].weighted(&v[1])?;
        Ok(if is_mean { weighted.mean(&dims[..]) } else { weighted.sum(&dims[..]) }?)
    });
    Some(call.ordered())
}

fn rechunk(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let (dims, shape) = (draw.value(a).dims().to_vec(), draw.value(a).shape().to_vec());
    let lengths = chunks(draw.random, &shape).into_iter().map(|length| length as i64);
    let to: Vec<(String, i64)> = dims.into_iter().zip(lengths).collect();
    let rust = format!("$0.rechunk({to:?} as [(&str, i64); {}])?", to.len());
    Some(Call::new(&[a], rust, "$0", move |v| Ok(v[0].rechunk(to.clone())?)))
}
