//! Operations along axes: worked examples, and the same bits however the array is cut.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::sync::Arc;

use nuna_array::{Array, Chunk, DType, NanPolicy, Operation, Pad, Rolling, Scan, ThreadEngine};
use nuna_plan::Engine;

fn engine() -> Arc<dyn Engine> {
    Arc::new(ThreadEngine::new(2))
}

fn chunk(array: &Array) -> Chunk {
    let chunk = array.compute_with(&engine()).unwrap();
    assert_eq!((chunk.shape(), chunk.dtype()), (array.shape(), array.dtype()), "{}", array.expression());
    chunk
}

fn line(values: &[f64]) -> Array {
    Array::from_slice(&[values.len() as u64], values).unwrap()
}

fn values(array: &Array) -> Vec<f64> {
    chunk(array).to_vec()
}

#[test]
fn worked_examples() {
    let a = line(&[3.0, 1.0, 2.0, 5.0]);
    assert_eq!(values(&a.cumsum(0).unwrap()), [3.0, 4.0, 6.0, 11.0]);
    assert_eq!(values(&a.cumprod(0).unwrap()), [3.0, 3.0, 6.0, 30.0]);
    assert_eq!(values(&a.sort(0).unwrap()), [1.0, 2.0, 3.0, 5.0]);
    assert_eq!(values(&a.argsort(0).unwrap()), [1.0, 2.0, 0.0, 3.0]);
    assert_eq!(values(&a.median(&[0]).unwrap()), [2.5]);
    assert_eq!(values(&a.roll(1, 0).unwrap()), [5.0, 3.0, 1.0, 2.0]);
    assert_eq!(values(&a.roll(-5, 0).unwrap()), [1.0, 2.0, 5.0, 3.0]);
    assert_eq!(values(&a.shift(1, 0, 0).unwrap()), [0.0, 3.0, 1.0, 2.0]);
    assert_eq!(values(&a.shift(-9, 0, 7).unwrap()), [7.0; 4]);
    assert_eq!(values(&a.flip(0).unwrap()), [5.0, 2.0, 1.0, 3.0]);
    assert_eq!(values(&a.repeat(2, 0).unwrap()), [3.0, 3.0, 1.0, 1.0, 2.0, 2.0, 5.0, 5.0]);
    assert_eq!(values(&a.tile(2, 0).unwrap()), [3.0, 1.0, 2.0, 5.0, 3.0, 1.0, 2.0, 5.0]);
    assert_eq!(values(&a.tile(0, 0).unwrap()), [0.0; 0]);
    assert_eq!(values(&a.diff(1, 0).unwrap()), [-2.0, 1.0, 3.0]);
    assert_eq!(values(&a.diff(2, 0).unwrap()), [3.0, 2.0]);
    assert_eq!(values(&a.diff(9, 0).unwrap()), [0.0; 0]);
    assert_eq!(values(&a.coarsen(Operation::Mean, NanPolicy::Skip, 0, 2).unwrap()), [2.0, 3.5]);
    assert_eq!(values(&a.coarsen(Operation::Sum, NanPolicy::Skip, 0, 3).unwrap()), [6.0]);
    assert_eq!(values(&a.quantile(&[0.0, 0.5, 1.0], NanPolicy::Skip, &[0]).unwrap()), [1.0, 2.5, 5.0]);
    let padded = |mode| values(&line(&[1.0, 2.0, 3.0]).pad(0, 2, 4, mode).unwrap());
    assert_eq!(padded(Pad::Constant(9.into())), [9.0, 9.0, 1.0, 2.0, 3.0, 9.0, 9.0, 9.0, 9.0]);
    assert_eq!(padded(Pad::Edge), [1.0, 1.0, 1.0, 2.0, 3.0, 3.0, 3.0, 3.0, 3.0]);
    assert_eq!(padded(Pad::Symmetric), [2.0, 1.0, 1.0, 2.0, 3.0, 3.0, 2.0, 1.0, 1.0]);
    assert_eq!(padded(Pad::Reflect), [3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0, 2.0, 3.0]);
    assert_eq!(padded(Pad::Wrap), [2.0, 3.0, 1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 1.0]);
}

#[test]
fn windows_end_where_the_axis_does() {
    let a = line(&[1.0, f64::NAN, 3.0, 5.0, 7.0]);
    let mean = |left, right, least| values(&a.rolling(Rolling::Mean, 0, left, right, least).unwrap());
    assert_eq!(mean(1, 1, 1), [1.0, 2.0, 4.0, 5.0, 6.0]);
    let full = mean(1, 1, 3);
    assert!(full[..3].iter().all(|v| v.is_nan()) && full[4].is_nan());
    assert_eq!(full[3], 5.0);
    assert_eq!(mean(100, 0, 1), [1.0, 1.0, 2.0, 3.0, 4.0]);
}

/// Everything of which the result does not depend on chunks, not even in its last bit, by name.
fn operations(a: &Array, axis: usize) -> Vec<(String, Array)> {
    let n = a.shape()[axis];
    let mut all = vec![
        ("sort", a.sort(axis)),
        ("argsort", a.argsort(axis)),
        ("cummin", a.scan(Scan::Min, NanPolicy::Propagate, axis)),
        ("median", a.median(&[axis])),
        ("nanmedian", a.nanmedian(&[axis])),
        ("nanmedian of all", a.nanmedian(&a.all_axes())),
        ("quantiles", a.quantile(&[0.1, 0.5, 0.9], NanPolicy::Skip, &[axis])),
        ("quantiles of all", a.quantile(&[0.25, 0.75], NanPolicy::Skip, &a.all_axes())),
        ("roll", a.roll(3, axis)),
        ("shift", a.shift(-2, axis, 0)),
        ("diff", a.diff(2, axis)),
        ("flip", a.flip(axis)),
        ("repeat", a.repeat(3, axis)),
        ("tile", a.tile(2, axis)),
        ("coarsen", a.coarsen(Operation::Max, NanPolicy::Propagate, axis, 3)),
        ("coarsen count", a.coarsen(Operation::Count, NanPolicy::Skip, axis, 2)),
        ("pad", a.pad(axis, 2, 1, Pad::Constant(1.into()))),
    ];
    if n > 1 {
        all.push(("reflect", a.pad(axis, 5, 7, Pad::Reflect)));
        all.push(("wrap", a.pad(axis, 5, 7, Pad::Wrap)));
    }
    if a.dtype().is_integer() {
        all.push(("cumsum", a.cumsum(axis)));
        all.push(("cumprod", a.cumprod(axis)));
    }
    for rolling in [Rolling::Sum, Rolling::Min, Rolling::Std { ddof: 0 }, Rolling::Median, Rolling::Count] {
        for (left, right) in [(2, 0), (1, 3), (20, 20)] {
            all.push(("rolling", a.rolling(rolling, axis, left, right, 1)));
        }
    }
    all.into_iter().map(|(name, made)| (name.to_owned(), made.unwrap())).collect()
}

#[test]
fn chunks_do_not_show() {
    let shape = [7u64, 1, 12];
    let elements: Vec<f64> =
        (0..84).map(|i| if i % 11 == 5 { f64::NAN } else { f64::from((i * 53) % 29) * 0.37 - 3.0 }).collect();
    let floats = Chunk::from_slice(&shape, &elements);
    let inputs = [floats.clone(), floats.cast(DType::F32), floats.cast(DType::I16), floats.cast(DType::Bool)];
    for input in inputs {
        if input.dtype() == DType::Bool {
            continue;
        }
        for axis in 0..3 {
            let whole = operations(&Array::from_chunk(input.clone()), axis);
            for cuts in [[1, 1, 1], [3, 1, 5], [7, 1, 4], [2, 1, 12]] {
                let cut = Array::from_chunk_in(input.clone(), &cuts).unwrap();
                for ((name, expected), (_, found)) in whole.iter().zip(operations(&cut, axis)) {
                    let (expected, found) = (chunk(expected), chunk(&found));
                    assert_eq!(
                        expected.bytes(),
                        found.bytes(),
                        "{name} of {} along {axis} in chunks of {cuts:?}: {expected:?}, but {found:?}",
                        input.dtype()
                    );
                }
            }
        }
    }
}

#[test]
fn sums_go_on_from_block_to_block() {
    let elements: Vec<f32> = (0..1000).map(|i| (i as f32).sin()).collect();
    let mut held = 0.0f64;
    let expected: Vec<f32> = elements
        .iter()
        .map(|&v| {
            held += f64::from(v);
            held as f32
        })
        .collect();
    let cut = Array::from_chunk_in(Chunk::from_slice(&[1000], &elements), &[37]).unwrap();
    let found = chunk(&cut.cumsum(0).unwrap());
    assert_eq!(found.dtype(), DType::F32);
    for (found, expected) in found.to_vec::<f32>().iter().zip(&expected) {
        assert!((found - expected).abs() <= expected.abs() * 2e-7 + 1e-12, "{found}, not {expected}");
    }
}

#[test]
fn empty_arrays_stay_empty() {
    let a = Array::from_slice::<f64>(&[0, 3], &[]).unwrap();
    for axis in [0, 1] {
        assert_eq!(chunk(&a.cumsum(axis).unwrap()).shape(), [0, 3]);
        assert_eq!(chunk(&a.sort(axis).unwrap()).shape(), [0, 3]);
        assert_eq!(chunk(&a.rolling(Rolling::Mean, axis, 1, 1, 1).unwrap()).shape(), [0, 3]);
        assert_eq!(chunk(&a.roll(1, axis).unwrap()).shape(), [0, 3]);
        assert_eq!(chunk(&a.diff(1, 0).unwrap()).shape(), [0, 3]);
        assert_eq!(chunk(&a.coarsen(Operation::Mean, NanPolicy::Skip, axis, 2).unwrap()).len(), 0);
    }
    assert!(values(&a.nanmedian(&[0]).unwrap()).iter().all(|v| v.is_nan()));
    assert_eq!(chunk(&a.nanmedian(&[1]).unwrap()).shape(), [0]);
    assert_eq!(values(&a.pad(0, 1, 0, Pad::Constant(2.into())).unwrap()), [2.0; 3]);
}

#[test]
fn mistakes_are_errors_when_the_expression_is_built() {
    let a = line(&[1.0, 2.0]);
    assert!(a.cumsum(1).is_err());
    assert!(a.quantile(&[1.5], NanPolicy::Skip, &[0]).is_err());
    assert!(a.quantile(&[f64::NAN], NanPolicy::Skip, &[0]).is_err());
    assert!(a.quantile(&[], NanPolicy::Skip, &[0]).is_err());
    assert!(a.quantile(&[0.5], NanPolicy::Skip, &[0, 0]).is_err());
    assert!(a.coarsen(Operation::Mean, NanPolicy::Skip, 0, 0).is_err());
    let empty = Array::from_slice::<f64>(&[0], &[]).unwrap();
    assert!(empty.pad(0, 1, 0, Pad::Edge).is_err());
    assert!(line(&[1.0]).pad(0, 1, 0, Pad::Reflect).is_err());
    let bytes = Array::from_slice(&[2], &[1u8, 2]).unwrap();
    assert!(bytes.pad(0, 1, 1, Pad::Constant(300.into())).is_err());
}

#[test]
fn windows_are_read_with_the_blocks_they_reach_only() {
    let a = Array::from_chunk_in(Chunk::from_slice(&[100], &[1.0f64; 100]), &[10]).unwrap();
    let base = a.map_blocks(
        nuna_array::MapBlocks { name: "copy".to_owned(), dtype: DType::F64, chunks: None },
        |b| Ok(b.inputs[0].clone()),
    );
    let plan = base.unwrap().rolling(Rolling::Mean, 0, 3, 3, 1).unwrap().plan().unwrap();
    let last = plan.stages.last().unwrap();
    let reads = |block| last.inputs[0].map.read_indices(&last.grid, block);
    assert_eq!(reads(0), [0, 1]);
    assert_eq!(reads(5), [4, 5, 6]);
    assert_eq!(reads(9), [8, 9]);
}
