//! Owns what programs ask of where elements stand: sorted edges, sets, counts, frequent and distinct elements, approximate
//! quantiles; and convolution.

use nuna_array::{Array, Pad, Side, binned_mean};

use crate::{
    along::policy,
    analysis::edges,
    program::{self, Choose, Draw},
};

type Call = program::Call<Array>;
type Drawn<'a, 'b> = &'a mut Draw<'b, Array>;

/// As in `arrays.rs`.
pub(crate) const OPERATIONS: &[(u64, Choose<Array>)] = &[
    (2, searchsorted),
    (1, digitize),
    (1, isin),
    (1, bincount),
    (2, binned),
    (2, mode),
    (3, convolve),
    (2, quantile_approx),
    (2, unique),
];

fn searchsorted(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let sorted = edges(draw);
    let (side, name) = *draw.random.pick(&[(Side::Left, "left"), (Side::Right, "right")]);
    let rust = format!("$0.searchsorted(&{sorted:?}, Side::{side:?})?");
    let python = format!("np.searchsorted({sorted:?}, $0.astype(\"f8\"), {name:?})");
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].searchsorted(&sorted, side)?)))
}

fn digitize(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let edges = edges(draw);
    let (rust, python) =
        (format!("$0.digitize(&{edges:?})?"), format!("np.digitize($0.astype(\"f8\"), {edges:?})"));
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].digitize(&edges)?)))
}

fn isin(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let values: Vec<i64> = (0..draw.random.below(6)).map(|_| draw.random.range(-5, 20)).collect();
    let rust = format!("$0.isin(vec!{values:?} as Vec<i64>)?");
    let python = format!("np.isin($0, np.array({values:?}, object)).astype(bool)");
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].isin(values.clone())?)))
}

fn bincount(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let n = draw.random.below(30);
    let shape = draw.array(a).shape().to_vec();
    if draw.random.chance(50) {
        let (rust, python) = (format!("$0.bincount({n}, None)?"), format!("bincount($0, {n})"));
        return Some(Call::new(&[a], rust, python, move |v| Ok(v[0].bincount(n, None)?)));
    }
    let weights = draw.suiting(|v| v.shape() == shape)?;
    let (rust, python) = (format!("$0.bincount({n}, Some(&$1))?"), format!("bincount($0, {n}, $1)"));
    Some(Call::new(&[a, weights], rust, python, move |v| Ok(v[0].bincount(n, Some(&v[1]))?)).ordered())
}

fn binned(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let shape = draw.array(a).shape().to_vec();
    let values = draw.suiting(|v| v.shape() == shape)?;
    let edges = edges(draw);
    let rust = format!("binned_mean(&[$0.clone()], &[vec!{edges:?}], &$1)?");
    let python = format!("binned_mean($0, {edges:?}, $1)");
    let call = Call::new(&[a, values], rust, python, move |v| {
        Ok(binned_mean(&v[..1], std::slice::from_ref(&edges), &v[1])?)
    });
    Some(call.ordered())
}

fn mode(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let axis = draw.axis(a)?;
    let (nan, skip) = policy(draw);
    let rust = format!("$0.mode({axis}, NanPolicy::{nan:?})?");
    let python = format!("mode($0, {axis}, {skip})");
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].mode(axis, nan)?)))
}

fn convolve(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let axis = draw.axis(a)?;
    let count = draw.random.below(6) + u64::from(!draw.mistaken());
    let weights: Vec<f64> = (0..count).map(|_| draw.random.range(-8, 16) as f64 / 8.0).collect();
    let (mode, rust, name) = *draw.random.pick(&[
        (Pad::Constant(nuna_array::Scalar::Float(0.0)), "Pad::Constant(0.0.into())", "\"constant\", 0.0"),
        (Pad::Edge, "Pad::Edge", "\"edge\""),
        (Pad::Symmetric, "Pad::Symmetric", "\"symmetric\""),
        (Pad::Wrap, "Pad::Wrap", "\"wrap\""),
    ]);
    let rust = format!("$0.convolve({axis}, &{weights:?}, {rust})?");
    let python = format!("convolved($0, {axis}, {weights:?}, {name})");
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].convolve(axis, &weights, mode)?)))
}

fn quantile_approx(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let beyond = if draw.mistaken() { 1.0 } else { 0.0 };
    let at: Vec<f64> =
        (0..1 + draw.random.below(3)).map(|_| draw.random.below(101) as f64 / 100.0 + beyond).collect();
    let (nan, skip) = policy(draw);
    let rust = format!("$0.quantile_approx(&{at:?}, NanPolicy::{nan:?})?");
    let python = format!("quantile_approx($0, {at:?}, {skip})");
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].quantile_approx(&at, nan)?)))
}

fn unique(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    if draw.random.chance(50) {
        let rust = "Array::from_chunk($0.unique()?.values)";
        // Of both zeros any may stand for both.
        return Some(Call::new(&[a], rust, "Near(np.unique($0))", |v| {
            Ok(Array::from_chunk(v[0].unique()?.values))
        }));
    }
    let rust = "{ let counts = $0.unique()?.counts; Array::from_slice(&[counts.len() as u64], &counts)? }";
    Some(Call::new(&[a], rust, "np.unique($0, return_counts=True)[1].astype(\"u8\")", |v| {
        let counts = v[0].unique()?.counts;
        Ok(Array::from_slice(&[counts.len() as u64], &counts)?)
    }))
}
