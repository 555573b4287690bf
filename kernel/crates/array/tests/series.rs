//! Many arrays as one: a block needs a few of them, and so do its bound and its plan.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use nuna_array::{Array, DType, Random, concat};

const MB: u64 = 1_000_000;

/// 8 MB each, in one chunk.
fn fields(count: u64, source: impl Fn(u64) -> Array) -> Array {
    let all: Vec<Array> = (0..count).map(source).collect();
    concat(&all, 0).unwrap()
}

/// The most that a block of the last stage may take: what it is given, gives, and needs besides.
fn bound(array: &Array) -> (u64, u64) {
    let plan = array.plan().unwrap();
    let bound = plan.stages.last().unwrap().bound;
    (bound.inputs, bound.output + bound.scratch)
}

#[test]
fn a_block_is_bound_by_the_parts_that_lie_in_it() {
    let shape = [1, 1000, 1000];
    let uniform = Random::Uniform { low: 0.0, high: 1.0 };
    let computed = |seed| Array::random(seed, uniform, &shape, Some(&shape)).unwrap();
    let (given, own) = bound(&fields(50, computed).add(1.0).unwrap());
    assert!(given <= 8 * MB && own <= 33 * MB, "{given} {own}");
    let made = |seed| Array::full(&shape, seed as f64, DType::F64).rechunk(&shape).unwrap();
    let (given, own) = bound(&fields(50, made).add(1.0).unwrap());
    assert!(given == 0 && own <= 33 * MB, "{given} {own}");
    // Joins of joins, and a part that all others need too.
    let years = fields(10, |year| fields(12, |month| computed(year * 12 + month)).sub(year as f64).unwrap());
    let (given, own) = bound(&years);
    assert!(given <= 8 * MB && own <= 50 * MB, "{given} {own}");
    let mean = computed(1);
    let apart = fields(10, |at| computed(at).sub(&mean).unwrap());
    let (given, own) = bound(&apart);
    assert!((16 * MB..=90 * MB).contains(&given) && own <= 200 * MB, "{given} {own}");
    // Several in a block.
    let wide = fields(50, made).rechunk(&[5, 1000, 1000]).unwrap().add(1.0).unwrap();
    let (given, own) = bound(&wide);
    assert!(given + own >= 80 * MB && given + own <= 200 * MB, "{given} {own}");
}

#[test]
fn thousands_of_arrays_are_planned_as_one() {
    let numbers = |at: u64| Array::from_slice(&[3], &[at as f64, 1.0, 2.0]).unwrap();
    let series = fields(6000, numbers).add(1.0).unwrap();
    let started = std::time::Instant::now();
    let values = series.compute().unwrap().to_vec::<f64>();
    assert_eq!((values.len(), values[17_997], values[17_999]), (18_000, 6000.0, 3.0));
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}
