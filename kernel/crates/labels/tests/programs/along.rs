//! Owns what programs do along axes of arrays: cumulative, sorting, quantiles, windows, borders; one line each in
//! [`OPERATIONS`].

use nuna_array::{Array, NanPolicy, Operation, Pad, Rolling, Scan};

use crate::{
    arrays::{REDUCTIONS, is_order_free, python_bool},
    program::{self, Choose, Draw, literals},
};

type Call = program::Call<Array>;
type Drawn<'a, 'b> = &'a mut Draw<'b, Array>;

/// As in `arrays.rs`.
pub(crate) const OPERATIONS: &[(u64, Choose<Array>)] = &[
    (5, scan),
    (3, sort),
    (2, argsort),
    (4, quantile),
    (6, rolling),
    (3, roll),
    (3, shift),
    (5, pad),
    (2, flip),
    (2, repeat),
    (2, tile),
    (3, diff),
    (4, coarsen),
    (4, matmul),
];

pub(crate) fn policy(draw: Drawn<'_, '_>) -> (NanPolicy, &'static str) {
    let nan = if draw.random.chance(50) { NanPolicy::Skip } else { NanPolicy::Propagate };
    (nan, python_bool(nan == NanPolicy::Skip))
}

fn scan(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let axis = draw.axis(a)?;
    let (nan, skip) = policy(draw);
    let (scan, name) = *draw.random.pick(&[
        (Scan::Sum, "sum"),
        (Scan::Prod, "prod"),
        (Scan::Min, "min"),
        (Scan::Max, "max"),
    ]);
    let rust = format!("$0.scan(Scan::{scan:?}, NanPolicy::{nan:?}, {axis})?");
    let python = format!("scanned($0, {name:?}, {axis}, {skip})");
    let is_float = draw.array(a).dtype().is_float();
    let call = Call::new(&[a], rust, python, move |v| Ok(v[0].scan(scan, nan, axis)?));
    Some(if is_float && matches!(name, "sum" | "prod") { call.ordered() } else { call })
}

fn sort(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let axis = draw.axis(a)?;
    let python = format!("Near(np.sort($0, {axis}))");
    Some(Call::new(&[a], format!("$0.sort({axis})?"), python, move |v| Ok(v[0].sort(axis)?)))
}

fn argsort(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let axis = draw.axis(a)?;
    let python = format!("np.argsort($0, {axis}, kind=\"stable\")");
    Some(Call::new(&[a], format!("$0.argsort({axis})?"), python, move |v| Ok(v[0].argsort(axis)?)))
}

fn quantile(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let ndim = draw.array(a).ndim();
    let axes: Vec<usize> = (0..ndim).filter(|_| draw.random.chance(60)).collect();
    if axes.is_empty() {
        return None;
    }
    let beyond = if draw.mistaken() { 0.5 } else { 0.0 };
    let at: Vec<f64> =
        (0..1 + draw.random.below(3)).map(|_| draw.random.below(101) as f64 / 100.0 + beyond).collect();
    let (nan, skip) = policy(draw);
    let rust = format!("$0.quantile(&{at:?}, NanPolicy::{nan:?}, &{axes:?})?");
    let python = format!("quantile($0, {at:?}, {axes:?}, {skip})");
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].quantile(&at, nan, &axes)?)))
}

fn rolling(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let axis = draw.axis(a)?;
    let (rolling, name) = *draw.random.pick(&[
        (Rolling::Sum, "\"sum\""),
        (Rolling::Mean, "\"mean\""),
        (Rolling::Min, "\"min\""),
        (Rolling::Max, "\"max\""),
        (Rolling::Count, "\"count\""),
        (Rolling::Var { ddof: 0 }, "\"var\""),
        (Rolling::Std { ddof: 1 }, "\"std\", ddof=1"),
        (Rolling::Median, "\"median\""),
    ]);
    let (left, right) = (draw.random.below(6), draw.random.below(4));
    let least = draw.random.below(left + right + 2);
    let rust = format!("$0.rolling(Rolling::{rolling:?}, {axis}, {left}, {right}, {least})?");
    let python = format!("rolling($0, {axis}, {left}, {right}, {least}, {name})");
    let call = Call::new(&[a], rust, python, move |v| Ok(v[0].rolling(rolling, axis, left, right, least)?));
    Some(if matches!(rolling, Rolling::Min | Rolling::Max | Rolling::Count | Rolling::Median) {
        call
    } else {
        call.ordered()
    })
}

fn roll(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let axis = draw.axis(a)?;
    let by = draw.random.range(-9, 9);
    let python = format!("np.roll($0, {by}, {axis})");
    Some(Call::new(&[a], format!("$0.roll({by}, {axis})?"), python, move |v| Ok(v[0].roll(by, axis)?)))
}

fn shift(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let axis = draw.axis(a)?;
    let (by, fill) = (draw.random.range(-9, 9), draw.scalar());
    let (r, p) = literals(fill);
    let rust = format!("$0.shift({by}, {axis}, {r})?");
    let python = format!("shifted($0, {by}, {axis}, {p})");
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].shift(by, axis, fill)?)))
}

fn pad(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let axis = draw.axis(a)?;
    let (before, after) = (draw.random.below(5), draw.random.below(5));
    let fill = draw.scalar();
    let (r, p) = literals(fill);
    let (mode, rust, python) = match draw.random.below(6) {
        0 => (Pad::Edge, "Pad::Edge".to_owned(), "\"edge\"".to_owned()),
        1 => (Pad::Symmetric, "Pad::Symmetric".to_owned(), "\"symmetric\"".to_owned()),
        2 => (Pad::Reflect, "Pad::Reflect".to_owned(), "\"reflect\"".to_owned()),
        3 => (Pad::Wrap, "Pad::Wrap".to_owned(), "\"wrap\"".to_owned()),
        _ => (Pad::Constant(fill), format!("Pad::Constant({r}.into())"), format!("\"constant\", {p}")),
    };
    let rust = format!("$0.pad({axis}, {before}, {after}, {rust})?");
    let python = format!("padded($0, {axis}, {before}, {after}, {python})");
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].pad(axis, before, after, mode)?)))
}

fn flip(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let axis = draw.axis(a)?;
    Some(Call::new(&[a], format!("$0.flip({axis})?"), format!("np.flip($0, {axis})"), move |v| {
        Ok(v[0].flip(axis)?)
    }))
}

fn repeat(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let axis = draw.axis(a)?;
    let times = draw.random.below(4);
    let (rust, python) = (format!("$0.repeat({times}, {axis})?"), format!("np.repeat($0, {times}, {axis})"));
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].repeat(times, axis)?)))
}

fn tile(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let axis = draw.axis(a)?;
    let times = draw.random.below(4);
    let python = format!("np.concatenate([$0] * {times} + [np.take($0, np.array([], int), {axis})], {axis})");
    Some(Call::new(&[a], format!("$0.tile({times}, {axis})?"), python, move |v| Ok(v[0].tile(times, axis)?)))
}

fn diff(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let axis = draw.axis(a)?;
    let n = draw.random.below(4);
    // NumPy asks for the axis only where there is something to do.
    let python = format!("np.diff(np.moveaxis($0, {axis}, {axis}), {n}, {axis})");
    Some(Call::new(&[a], format!("$0.diff({n}, {axis})?"), python, move |v| Ok(v[0].diff(n, axis)?)))
}

fn coarsen(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let axis = draw.axis(a)?;
    let (operation, name): (Operation, &str) = *draw.random.pick(&REDUCTIONS);
    let window = if draw.mistaken() { 0 } else { 1 + draw.random.below(5) };
    let (nan, skip) = policy(draw);
    let rust = format!("$0.coarsen(Operation::{operation:?}, NanPolicy::{nan:?}, {axis}, {window})?");
    let python = format!("coarsened($0, {axis}, {window}, {skip}, {name})");
    let order_free = is_order_free(operation, draw.array(a).dtype().is_float());
    let call = Call::new(&[a], rust, python, move |v| Ok(v[0].coarsen(operation, nan, axis, window)?));
    Some(if order_free { call } else { call.ordered() })
}

fn matmul(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let inner = draw.array(a).shape().last().copied()?;
    let mistaken = draw.mistaken();
    let b = draw.suiting(|v| {
        let shape = v.shape();
        mistaken || shape.len().checked_sub(2).map_or(shape.first(), |axis| shape.get(axis)) == Some(&inner)
    })?;
    Some(Call::new(&[a, b], "$0.matmul(&$1)?", "matmul($0, $1)", |v| Ok(v[0].matmul(&v[1])?)).ordered())
}
