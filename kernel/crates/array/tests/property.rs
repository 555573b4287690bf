//! Any chunking gives what one chunk gives, and moving chunks changes nothing.

use std::sync::Arc;

use nuna_array::{Array, Axes, Chunk, ChunkGrid, NanPolicy, Operation, ThreadEngine};
use nuna_plan::Engine;
use proptest::prelude::*;

fn engine() -> Arc<dyn Engine> {
    Arc::new(ThreadEngine::new(2))
}

/// A shape, and two ways to cut it into uneven chunks.
fn shapes() -> impl Strategy<Value = (Vec<u64>, Vec<Vec<u64>>, Vec<Vec<u64>>)> {
    prop::collection::vec(1u64..12, 1..4).prop_flat_map(|shape| {
        let cuts = |shape: Vec<u64>| -> Vec<BoxedStrategy<Vec<u64>>> {
            shape
                .into_iter()
                .map(|n| prop::collection::vec(1u64..6, 1..12).prop_map(move |c| fit(n, &c)).boxed())
                .collect()
        };
        (Just(shape.clone()), cuts(shape.clone()), cuts(shape))
    })
}

/// Chunk lengths that add up to `length`.
fn fit(length: u64, wanted: &[u64]) -> Vec<u64> {
    let mut left = length;
    let mut out = Vec::new();
    for &n in wanted {
        let take = n.min(left);
        if take > 0 {
            out.push(take);
            left -= take;
        }
    }
    if left > 0 {
        out.push(left);
    }
    out
}

fn numbers(shape: &[u64], seed: u64) -> Chunk {
    let count = shape.iter().product::<u64>();
    // Small whole numbers and a few NaN: sums are exact, so that results must be equal to the bit.
    let value = |i: u64| {
        let mixed = (i + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        if mixed.is_multiple_of(11) { f64::NAN } else { (mixed % 201) as f64 - 100.0 }
    };
    Chunk::from_slice(shape, &(0..count).map(value).collect::<Vec<_>>())
}

fn bits(chunk: &Chunk) -> (Vec<u64>, Vec<u64>) {
    // Every NaN counts as the same.
    let canonical = |v: f64| if v.is_nan() { f64::NAN.to_bits() } else { v.to_bits() };
    (chunk.shape().to_vec(), chunk.to_vec::<f64>().into_iter().map(canonical).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_chunking_equals_one_chunk((shape, first, second) in shapes(), seed in 0u64..1000, mask in 0u32..8) {
        let whole = Array::from_chunk(numbers(&shape, seed));
        let cut = whole.rechunk_to(ChunkGrid::listed(&shape, &first).unwrap());
        let moved = cut.persist_with(&engine_of(&ENGINE)).unwrap().rechunk_to(ChunkGrid::listed(&shape, &second).unwrap());
        let axes: Vec<usize> = (0..shape.len()).filter(|a| mask >> a & 1 == 1).collect();
        let program = |a: &Array| -> Vec<Array> {
            let shifted = (a * 3 - 1).abs().unwrap();
            let reduce = |op, nan| shifted.reduce(op, nan, &axes, Axes::Keep).unwrap();
            vec![
                shifted.clone(),
                reduce(Operation::Sum, NanPolicy::Skip),
                reduce(Operation::Count, NanPolicy::Skip),
                reduce(Operation::Max, NanPolicy::Propagate),
                &shifted - &reduce(Operation::Min, NanPolicy::Skip),
                shifted.slice_axis(0, None, None, -2).unwrap(),
            ]
        };
        let engine = engine_of(&ENGINE);
        let expected = nuna_array::compute(&program(&whole), &engine).unwrap();
        for array in [cut, moved] {
            let found = nuna_array::compute(&program(&array), &engine).unwrap();
            for (a, b) in found.iter().zip(&expected) {
                prop_assert_eq!(bits(a), bits(b));
            }
        }
    }
}

static ENGINE: std::sync::OnceLock<Arc<dyn Engine>> = std::sync::OnceLock::new();

fn engine_of(cell: &std::sync::OnceLock<Arc<dyn Engine>>) -> Arc<dyn Engine> {
    cell.get_or_init(engine).clone()
}

#[test]
fn a_rechunk_across_all_blocks_splits_them_first() {
    let shape = [1000u64, 700, 2];
    let values: Vec<f64> = (0..1_400_000).map(f64::from).collect();
    let whole = Array::from_chunk_in(Chunk::from_slice(&shape, &values), &[100, 700, 2]).unwrap();
    let columns = whole.mean(&[2]).unwrap().rechunk(&[1000, 70]).unwrap();
    let plan = columns.plan().unwrap();
    assert!(plan.stages.iter().any(|s| s.name.starts_with("split")), "{}", columns.explain().unwrap());
    let largest = plan.stages.iter().map(|s| s.bound.inputs).max().unwrap();
    assert!(
        largest <= 8 * 1000 * 70,
        "no block is given more than it needs, but one is given {largest} bytes"
    );
    let chunk = columns.compute_with(&engine()).unwrap();
    assert!(chunk.to_vec::<f64>().iter().enumerate().all(|(i, &v)| v == 2.0 * i as f64 + 0.5));
}
