//! Arrays computed on the threads of this process, against values worked out by hand or by plain loops.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::sync::Arc;

use nuna_array::{
    Array, ArrayErrorKind, Axes, Chunk, DType, Index, MapBlocks, NanPolicy, Operation, Region, ThreadEngine,
    concat, stack,
};
use nuna_plan::{Engine, EngineError};

fn engine() -> Arc<dyn Engine> {
    Arc::new(ThreadEngine::new(2))
}

fn counting(shape: &[u64], chunks: &[u64]) -> Array {
    let values: Vec<f64> = (0..shape.iter().product::<u64>()).map(|i| i as f64).collect();
    Array::from_chunk_in(Chunk::from_slice(shape, &values), chunks).unwrap()
}

fn values(array: &Array) -> Vec<f64> {
    let chunk = array.compute_with(&engine()).unwrap();
    assert_eq!(chunk.shape(), array.shape());
    assert_eq!(chunk.dtype(), array.dtype());
    chunk.to_vec::<f64>()
}

#[test]
fn elementwise_operations_fuse_and_broadcast() {
    let a = counting(&[4, 5], &[2, 3]);
    let row = counting(&[5], &[2]);
    let column = counting(&[4, 1], &[3, 1]);
    let result = (&a - &row) / 2.0 + &column * 10;
    let expected: Vec<f64> =
        (0..20).map(|i| (f64::from(i) - f64::from(i % 5)) / 2.0 + f64::from(i / 5) * 10.0).collect();
    assert_eq!(values(&result), expected);
    assert_eq!(
        result.plan().unwrap().stages.len(),
        1,
        "one stage for the whole chain:\n{}",
        result.explain().unwrap()
    );
}

#[test]
fn weak_scalars_keep_the_dtype() {
    let a = Array::from_slice(&[3], &[1.0f32, 2.0, 3.0]).unwrap();
    assert_eq!((&a * 0.5).dtype(), DType::F32);
    let i = Array::from_slice(&[3], &[1u8, 2, 3]).unwrap();
    assert_eq!((&i + 1).dtype(), DType::U8);
    assert_eq!((&i + 1.5).dtype(), DType::F64);
    assert_eq!((&i / 2).dtype(), DType::F64);
    assert!(i.add(300).is_err(), "300 does not fit into uint8");
    assert_eq!(i.less(300).unwrap().compute_with(&engine()).unwrap().to_vec::<bool>(), [true; 3]);
}

#[test]
fn mistakes_name_both_operands() {
    let a = counting(&[4, 5], &[4, 5]);
    let b = counting(&[3], &[3]);
    let error = a.add(&b).unwrap_err().to_string();
    assert!(error.contains("[4, 5]") && error.contains("[3]"), "{error}");
    let flags = a.greater(1).unwrap();
    let error = flags.sub(&flags).unwrap_err().to_string();
    assert!(error.contains("bool"), "{error}");
    assert!(matches!(a.sum(&[2]).unwrap_err().kind(), ArrayErrorKind::AxisOutOfRange { axis: 2, .. }));
    assert!(matches!(a.sum(&[1, 1]).unwrap_err().kind(), ArrayErrorKind::AxisRepeated { axis: 1, .. }));
    assert!(matches!(
        a.index_axis(0, 4).unwrap_err().kind(),
        ArrayErrorKind::IndexOutOfRange { index: 4, length: 4, .. }
    ));
    let empty = counting(&[0, 2], &[1, 2]);
    assert!(matches!(empty.min(&[0]).unwrap_err().kind(), ArrayErrorKind::EmptyAxis { .. }));
}

#[test]
fn reductions_over_any_axes() {
    let a = counting(&[6, 7, 8], &[2, 3, 5]);
    let whole: f64 = (0..336).map(f64::from).sum();
    assert_eq!(values(&a.sum(&[0, 1, 2]).unwrap()), [whole]);
    assert_eq!(values(&a.mean(&[0]).unwrap())[..2], [140.0, 141.0]);
    let kept = a.reduce(Operation::Max, NanPolicy::Skip, &[1, 2], Axes::Keep).unwrap();
    assert_eq!(kept.shape(), [6, 1, 1]);
    assert_eq!(values(&kept), [55.0, 111.0, 167.0, 223.0, 279.0, 335.0]);
    let anomaly = &a - &a.reduce(Operation::Mean, NanPolicy::Skip, &[0], Axes::Keep).unwrap();
    assert_eq!(values(&anomaly.sum(&[0, 1, 2]).unwrap()), [0.0]);
    assert_eq!(values(&a.nanargmax(2).unwrap().max(&[0, 1]).unwrap()), [7.0]);
    assert_eq!(values(&a.nanargmin(0).unwrap().sum(&[0, 1]).unwrap()), [0.0]);
}

#[test]
fn a_deep_tree_merges_in_several_levels() {
    let a = counting(&[2000, 3], &[1, 2]);
    assert_eq!(values(&a.sum(&[0, 1]).unwrap()), [(0..6000).map(f64::from).sum::<f64>()]);
    let plan = a.sum(&[0, 1]).unwrap().plan().unwrap();
    assert!(plan.stages.len() >= 3, "{plan:#?}");
    assert!(plan.stages.iter().all(|s| s.bound.total() < 1 << 20), "no stage holds the whole array");
}

#[test]
fn empty_arrays() {
    let a = counting(&[0, 3], &[1, 2]);
    assert_eq!(values(&a), [0.0; 0]);
    assert_eq!(values(&a.sum(&[0]).unwrap()), [0.0; 3]);
    assert!(values(&a.mean(&[0]).unwrap()).iter().all(|v| v.is_nan()));
    assert_eq!(values(&a.prod(&[0, 1]).unwrap()), [1.0]);
    assert_eq!(values(&a.sum(&[1]).unwrap()), [0.0; 0]);
    assert_eq!(values(&counting(&[3], &[2]).slice_axis(0, Some(2), Some(1), 1).unwrap()), [0.0; 0]);
}

#[test]
fn slices_and_indices() {
    let a = counting(&[6, 8], &[2, 3]);
    let all = |rows: &[i64], columns: &[i64]| -> Vec<f64> {
        rows.iter().flat_map(|r| columns.iter().map(move |c| (r * 8 + c) as f64)).collect()
    };
    let sliced = a.index(&[Index::from(1..5), Index::Slice { start: None, stop: None, step: -3 }]).unwrap();
    assert_eq!(values(&sliced), all(&[1, 2, 3, 4], &[7, 4, 1]));
    assert_eq!(values(&sliced.index(&[Index::At(-1), Index::from(0..2)]).unwrap()), all(&[4], &[7, 4]));
    assert_eq!(values(&a.take(1, &[7, 0, 0, -2]).unwrap()), all(&[0, 1, 2, 3, 4, 5], &[7, 0, 0, 6]));
    assert_eq!(
        values(&a.slice_axis(0, Some(1), None, 2).unwrap().slice_axis(0, None, None, -1).unwrap()),
        all(&[5, 3, 1], &[0, 1, 2, 3, 4, 5, 6, 7])
    );
    assert_eq!(values(&a.index_axis(0, 3).unwrap().take(0, &[1, 5]).unwrap()), all(&[3], &[1, 5]));
}

#[test]
fn axes_move_and_arrays_join() {
    let a = counting(&[2, 3], &[1, 2]);
    assert_eq!(values(&a.transpose(&[1, 0]).unwrap()), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!(a.expand_dims(1).unwrap().shape(), [2, 1, 3]);
    assert_eq!(a.expand_dims(1).unwrap().squeeze(&[1]).unwrap().shape(), [2, 3]);
    assert!(matches!(a.squeeze(&[0]).unwrap_err().kind(), ArrayErrorKind::NotSingle { .. }));
    let joined = concat(&[a.clone(), a.clone() * 10], 0).unwrap();
    assert_eq!(values(&joined)[6..], [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
    assert_eq!(values(&joined.index_axis(0, 2).unwrap()), [0.0, 10.0, 20.0]);
    let stacked = stack(&[a.clone(), -&a], 2).unwrap();
    assert_eq!(stacked.shape(), [2, 3, 2]);
    assert_eq!(values(&stacked)[..4], [0.0, 0.0, 1.0, -1.0]);
    assert_eq!(values(&a.broadcast_to(&[2, 2, 3]).unwrap())[6..9], [0.0, 1.0, 2.0]);
    assert!(concat(&[a.clone(), counting(&[2, 4], &[1, 1])], 0).is_err());
}

#[test]
fn missing_values() {
    let n = f64::NAN;
    let a = Array::from_slice(&[2, 3], &[1.0, n, 3.0, n, n, 6.0]).unwrap();
    assert_eq!(values(&a.nanmean(&[0]).unwrap())[0], 1.0);
    assert!(values(&a.nanmean(&[0]).unwrap())[1].is_nan());
    assert_eq!(values(&a.fillna(0).unwrap()), [1.0, 0.0, 3.0, 0.0, 0.0, 6.0]);
    assert_eq!(values(&a.count(&[0, 1]).unwrap()), [3.0]);
    let kept = a.where_(&a.greater(2).unwrap(), f64::NAN).unwrap();
    assert_eq!(values(&kept.nansum(&[0, 1]).unwrap()), [9.0]);
    assert_eq!(values(&a.clip(2, 5).unwrap().nansum(&[0, 1]).unwrap()), [10.0]);
}

#[test]
fn rechunked_results_are_the_same() {
    let a = counting(&[40, 30], &[7, 4]);
    let moved = (&a * 2).rechunk(&[40, 5]).unwrap();
    assert_eq!(moved.chunks().chunk_lengths()[1], [5; 6]);
    assert_eq!(values(&moved), values(&(&a * 2)));
    // A column of means is moved to row chunks and back.
    let means = a.mean(&[1]).unwrap().rechunk(&[40]).unwrap();
    assert_eq!(values(&(&a.transpose(&[1, 0]).unwrap() - &means)).len(), 1200);
}

#[test]
fn persisted_arrays_are_read_where_they_are() {
    let engine = engine();
    let a = counting(&[10, 10], &[3, 10]);
    let held = (&a + 1).persist_with(&engine).unwrap();
    let sum = held.sum(&[0, 1]).unwrap().compute_with(&engine).unwrap();
    assert_eq!(sum.to_vec::<f64>(), [(1..=100).map(f64::from).sum::<f64>()]);
    let sliced = held.slice_axis(0, Some(4), Some(8), 1).unwrap().compute_with(&engine).unwrap();
    assert_eq!(sliced.to_vec::<f64>()[0], 41.0);
    let elsewhere: Arc<dyn Engine> = Arc::new(ThreadEngine::new(1));
    assert!(matches!(
        held.compute_with(&elsewhere).unwrap_err().kind(),
        ArrayErrorKind::HeldElsewhere { .. }
    ));
}

#[test]
fn functions_run_on_blocks() {
    let a = counting(&[10, 4], &[3, 4]);
    let shift = 0.25f64;
    let options = MapBlocks { name: "shift".to_owned(), dtype: DType::F64, chunks: None };
    let shifted = (&a * 2)
        .map_blocks(options.clone(), move |block| {
            let input = block.inputs.first().ok_or("no input")?;
            let moved: Vec<f64> = input.to_vec::<f64>().iter().map(|v| v + shift).collect();
            Ok(Chunk::from_slice(input.shape(), &moved))
        })
        .unwrap();
    let result = values(&(shifted - 1));
    assert!(result.iter().enumerate().all(|(i, v)| *v == i as f64 * 2.0 + 0.25 - 1.0), "{result:?}");

    let wrong = a.map_blocks(options.clone(), |_| Ok(Chunk::from_slice(&[1], &[0i8]))).unwrap();
    let error = wrong.compute_with(&engine()).unwrap_err().to_string();
    assert!(error.contains("int8") && error.contains("float64"), "{error}");

    let bad =
        a.map_blocks(options, |block| {
            if block.index == 2 { panic!("no luck") } else { Err("bad weather".to_owned()) }
        })
        .unwrap();
    let error = bad.compute_with(&engine()).unwrap_err();
    let ArrayErrorKind::Engine(EngineError::Task { task, message, .. }) = error.kind() else {
        panic!("another error")
    };
    assert!(task.starts_with("map_blocks(shift)["), "{task}");
    assert!(message.contains("bad weather") || message.contains("no luck"), "{message}");
}

#[test]
fn several_arrays_share_a_plan() {
    let a = counting(&[20], &[4]);
    let mean = a.mean(&[0]).unwrap();
    let chunks = nuna_array::compute(&[mean.clone(), &a - &mean, mean], &engine()).unwrap();
    assert_eq!(chunks[0].to_vec::<f64>(), [9.5]);
    assert_eq!(chunks[1].to_vec::<f64>()[0], -9.5);
    assert_eq!(chunks[2], chunks[0]);
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let noise: Vec<f32> =
        (0..60_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 * 1e-3).collect();
    let a = Array::from_chunk_in(Chunk::from_slice(&[300, 200], &noise), &[7, 33]).unwrap();
    let expressions = [a.mean(&[0]).unwrap(), a.std(&[0, 1]).unwrap(), (&a / 3.0).sum(&[1]).unwrap()];
    for expression in expressions {
        let one = expression.compute_with(&(Arc::new(ThreadEngine::new(1)) as Arc<dyn Engine>)).unwrap();
        for threads in [2, 5] {
            let many =
                expression.compute_with(&(Arc::new(ThreadEngine::new(threads)) as Arc<dyn Engine>)).unwrap();
            assert_eq!(one, many, "{expression:?}");
        }
    }
}

#[test]
fn long_chains_neither_overflow_nor_slow_down() {
    let mut a = counting(&[8], &[3]);
    for _ in 0..20_000 {
        a = a + 1;
    }
    assert_eq!(values(&a)[0], 20_000.0);
}

#[test]
fn ranges_and_constants() {
    assert_eq!(values(&Array::arange(2, 3, 4)), [2.0, 5.0, 8.0, 11.0]);
    assert_eq!(values(&(Array::full(&[2, 2], 7, DType::I16) * 2)), [14.0; 4]);
    assert_eq!(values(&Array::scalar(1.5)), [1.5]);
    let region = Region::all(&[2]);
    assert_eq!(region.len(), 2);
}
