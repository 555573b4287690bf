//! Owns checksums of a field in the form of the peers' `field_summary`, so that results can be compared.

use serde_json::{Map, Value, json};

pub(crate) fn field_summary(shape: &[u64], dtype: &str, values: &[f64]) -> Value {
    let known = || values.iter().copied().filter(|value| !value.is_nan());
    let last = values.len().saturating_sub(1);
    let mut at = Map::new();
    for index in [0, values.len() / 7, values.len() / 3, values.len() / 2, 2 * values.len() / 3, last] {
        // JSON has no NaN; the peers write null too.
        at.insert(index.to_string(), json!(values.get(index)));
    }
    json!({
        "shape": shape,
        "dtype": dtype,
        "nan": values.iter().filter(|value| value.is_nan()).count(),
        "sum": pairwise(&known().collect::<Vec<_>>()),
        "sumsq": pairwise(&known().map(|value| value * value).collect::<Vec<_>>()),
        "at": at,
    })
}

/// NumPy sums pairwise; anything else would differ in digits that mean nothing.
fn pairwise(values: &[f64]) -> f64 {
    const LEAF: usize = 128;
    if values.len() <= LEAF {
        return values.iter().sum();
    }
    let (left, right) = values.split_at(values.len() / 2);
    pairwise(left) + pairwise(right)
}
