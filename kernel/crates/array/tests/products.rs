//! Products, histograms, random numbers, functions with neighbours: against plain loops, and the same however the arrays are cut.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::sync::Arc;

use nuna_array::{
    Array, Chunk, DType, MapBlocks, MapOver, Pad, Random, SparseWeights, ThreadEngine, edges, einsum,
    histogram, tensordot,
};
use nuna_plan::Engine;

fn engine() -> Arc<dyn Engine> {
    Arc::new(ThreadEngine::new(2))
}

fn chunk(array: &Array) -> Chunk {
    let chunk = array.compute_with(&engine()).unwrap();
    assert_eq!((chunk.shape(), chunk.dtype()), (array.shape(), array.dtype()), "{}", array.expression());
    chunk
}

fn values(array: &Array) -> Vec<f64> {
    chunk(array).to_vec()
}

fn counting(shape: &[u64], chunks: &[u64], dtype: DType) -> Array {
    let count: u64 = shape.iter().product();
    let elements: Vec<i64> = (0..count as i64).map(|i| (i * 7) % 11 - 4).collect();
    Array::from_chunk_in(Chunk::from_slice(shape, &elements).cast(dtype), chunks).unwrap()
}

/// Element `(i, j)` of the product of two matrices of integers.
fn product(a: &[f64], b: &[f64], inner: usize, columns: usize) -> Vec<f64> {
    let rows = a.len() / inner;
    let cell = |i: usize, j: usize| (0..inner).map(|k| a[i * inner + k] * b[k * columns + j]).sum();
    (0..rows * columns).map(|c| cell(c / columns, c % columns)).collect()
}

#[test]
fn matrices_multiply_in_any_chunks() {
    for dtype in [DType::F64, DType::F32, DType::I64, DType::U8] {
        for (cut_a, cut_b) in [([6, 5], [5, 4]), ([2, 2], [3, 1]), ([1, 1], [1, 4])] {
            let (a, b) = (counting(&[6, 5], &cut_a, dtype), counting(&[5, 4], &cut_b, dtype));
            let expected = product(&values(&a), &values(&b), 5, 4);
            let found = a.matmul(&b).unwrap();
            assert_eq!(found.dtype(), dtype);
            let wrapped = |v: &f64| if dtype == DType::U8 { (*v as i64 as u8) as f64 } else { *v };
            assert_eq!(
                values(&found),
                expected.iter().map(wrapped).collect::<Vec<_>>(),
                "{dtype} {cut_a:?} {cut_b:?}"
            );
        }
    }
}

#[test]
fn rows_columns_and_stacks_multiply_as_in_numpy() {
    let (a, b) = (counting(&[3], &[2], DType::F64), counting(&[3, 2], &[2, 2], DType::F64));
    assert_eq!(values(&a.matmul(&b).unwrap()), product(&values(&a), &values(&b), 3, 2));
    assert_eq!(chunk(&a.matmul(&a).unwrap()).shape(), [0u64; 0]);
    let stack = counting(&[4, 2, 3], &[3, 1, 2], DType::F64);
    let found = stack.matmul(&b).unwrap();
    assert_eq!(found.shape(), [4, 2, 2]);
    assert_eq!(values(&found), product(&values(&stack), &values(&b), 3, 2));
    let other = counting(&[4, 3, 5], &[2, 3, 2], DType::F64);
    let found = stack.matmul(&other).unwrap();
    assert_eq!(found.shape(), [4, 2, 5]);
    let (left, right) = (values(&stack), values(&other));
    for i in 0..4 {
        let expected = product(&left[i * 6..(i + 1) * 6], &right[i * 15..(i + 1) * 15], 3, 5);
        assert_eq!(values(&found)[i * 10..(i + 1) * 10], expected);
    }
    assert!(a.matmul(&counting(&[4, 2], &[4, 2], DType::F64)).is_err());
    assert!(a.matmul(&Array::scalar(1.0)).is_err());
}

#[test]
fn einsum_is_what_its_letters_say() {
    let (a, b) = (counting(&[3, 4], &[2, 3], DType::F64), counting(&[4, 5], &[4, 2], DType::F64));
    let with = |text: &str, arrays: &[&Array]| {
        einsum(text, &arrays.iter().map(|a| (*a).clone()).collect::<Vec<_>>()).unwrap()
    };
    let product = values(&a.matmul(&b).unwrap());
    assert_eq!(values(&with("ij,jk->ik", &[&a, &b])), product);
    assert_eq!(values(&with("ij,jk", &[&a, &b])), product);
    assert_eq!(
        values(&with("ij,jk->ki", &[&a, &b])),
        values(&a.matmul(&b).unwrap().transpose(&[1, 0]).unwrap())
    );
    assert_eq!(values(&with("ij->", &[&a])), [values(&a).iter().sum::<f64>()]);
    assert_eq!(values(&with("ij->ji", &[&a])), values(&a.transpose(&[1, 0]).unwrap()));
    assert_eq!(values(&with("ij,ij->ij", &[&a, &a])), values(&(&a * &a)));
    assert_eq!(values(&with("ij,ij->i", &[&a, &a])), values(&(&a * &a).sum(&[1]).unwrap()));
    assert_eq!(values(&with("ij,jk,k->i", &[&a, &b, &counting(&[5], &[5], DType::F64)])).len(), 3);
    for (text, arrays) in
        [("ij,jk->iz", 2), ("ii->i", 1), ("ij,jk->ii", 2), ("i,jk", 2), ("ij", 2), ("i1->i", 1)]
    {
        let arrays: Vec<Array> = [&a, &b].into_iter().take(arrays).cloned().collect();
        assert!(einsum(text, &arrays).is_err(), "{text}");
    }
    assert!(einsum("ij,jk->ik", &[a.clone(), a.clone()]).is_err(), "lengths differ");
    assert!(tensordot(&a, &b, &[1], &[1]).is_err());
}

#[test]
fn nothing_summed_over_is_zero() {
    let (a, b) = (Array::zeros(&[2, 0], DType::F64), Array::zeros(&[0, 3], DType::F64));
    assert_eq!(values(&a.matmul(&b).unwrap()), [0.0; 6]);
}

#[test]
fn bins_count_each_element_once() {
    let elements = [0.0, 0.5, 1.0, 1.0, 2.0, 3.0, -0.1, 3.1, f64::NAN, 2.999];
    let bins = edges(3, 0.0, 3.0).unwrap();
    for cut in [10, 3, 1] {
        let a = Array::from_chunk_in(Chunk::from_slice(&[10], &elements), &[cut]).unwrap();
        let found = histogram(std::slice::from_ref(&a), std::slice::from_ref(&bins), None).unwrap();
        assert_eq!(chunk(&found).to_vec::<i64>(), [2, 2, 3]);
        let weighted = histogram(
            std::slice::from_ref(&a),
            std::slice::from_ref(&bins),
            Some(&Array::full(&[10], 0.5, DType::F64)),
        )
        .unwrap();
        assert_eq!(values(&weighted), [1.0, 1.0, 1.5]);
        let joint = histogram(&[a.clone(), a], &[bins.clone(), vec![0.0, 1.0, 10.0]], None).unwrap();
        assert_eq!(chunk(&joint).to_vec::<i64>(), [2, 0, 0, 2, 0, 3]);
    }
    let uneven = histogram(&[Array::arange(0, 1, 100)], &[vec![0.0, 1.0, 50.0, 99.0]], None).unwrap();
    assert_eq!(chunk(&uneven).to_vec::<i64>(), [1, 49, 50]);
    let a = Array::arange(0, 1, 4);
    assert!(histogram(std::slice::from_ref(&a), &[vec![1.0]], None).is_err());
    assert!(histogram(std::slice::from_ref(&a), &[vec![1.0, f64::NAN]], None).is_err());
    assert!(histogram(&[a, Array::arange(0, 1, 5)], &[bins.clone(), bins], None).is_err());
    assert!(edges(0, 0.0, 1.0).is_err());
}

#[test]
fn random_numbers_do_not_depend_on_chunks() {
    let all = [
        Random::Uniform { low: -1.0, high: 3.0 },
        Random::Normal { mean: 5.0, std: 2.0 },
        Random::Exponential { scale: 2.0 },
        Random::Integers { low: -3, high: 4 },
    ];
    for random in all {
        let whole = chunk(&Array::random(7, random, &[40, 1, 50], Some(&[40, 1, 50])).unwrap());
        for cuts in [[7, 1, 50], [1, 1, 13], [40, 1, 3]] {
            let cut = chunk(&Array::random(7, random, &[40, 1, 50], Some(&cuts)).unwrap());
            assert_eq!(cut.bytes(), whole.bytes(), "{random:?} {cuts:?}");
        }
        assert_ne!(chunk(&Array::random(8, random, &[40, 1, 50], None).unwrap()).bytes(), whole.bytes());
    }
}

#[test]
fn random_numbers_are_distributed_as_asked() {
    let count = 200_000u64;
    let moments = |random| {
        let values = values(&Array::random(42, random, &[count], None).unwrap());
        let mean = values.iter().sum::<f64>() / count as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count as f64;
        let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(l, h), &v| (l.min(v), h.max(v)));
        (mean, variance, low, high)
    };
    // Five standard errors of each: 1 in 1.7 million, and the seed is fixed.
    let near =
        |found: f64, expected: f64, error: f64| assert!((found - expected).abs() < 5.0 * error, "{found}");
    let root = (count as f64).sqrt();
    let (mean, variance, low, high) = moments(Random::Uniform { low: -1.0, high: 3.0 });
    near(mean, 1.0, (4.0f64 / 3.0).sqrt() / root);
    near(variance, 4.0 / 3.0, 1.2 / root);
    assert!(low >= -1.0 && high < 3.0);
    let (mean, variance, ..) = moments(Random::Normal { mean: 5.0, std: 2.0 });
    near(mean, 5.0, 2.0 / root);
    near(variance, 4.0, 4.0 * 1.4143 / root);
    let (mean, variance, low, _) = moments(Random::Exponential { scale: 2.0 });
    near(mean, 2.0, 2.0 / root);
    near(variance, 4.0, 4.0 * 2.83 / root);
    assert!(low >= 0.0);
    let (mean, _, low, high) = moments(Random::Integers { low: -3, high: 4 });
    near(mean, 0.0, 2.0 / root);
    assert_eq!((low, high), (-3.0, 3.0));
    assert!(Array::random(0, Random::Integers { low: 4, high: 4 }, &[1], None).is_err());
    assert!(Array::random(0, Random::Normal { mean: 0.0, std: -1.0 }, &[1], None).is_err());
}

#[test]
fn a_function_sees_its_neighbours() {
    let elements: Vec<f64> = (0..7 * 9).map(|i| f64::from((i * 31) % 17)).collect();
    let smooth = |cuts: &[u64], mode| {
        let a = Array::from_chunk_in(Chunk::from_slice(&[7, 9], &elements), cuts).unwrap();
        let options = MapBlocks { name: "smooth".to_owned(), dtype: DType::F64, chunks: None };
        let smoothed = a.map_overlap(options, &[1, 2], mode, |block| {
            let chunk = &block.inputs[0];
            let (rows, columns) = (chunk.shape()[0] as usize, chunk.shape()[1] as usize);
            let from = chunk.to_vec::<f64>();
            let mut out = Vec::new();
            for i in 1..rows - 1 {
                for j in 2..columns - 2 {
                    out.push(from[(i - 1) * columns + j - 2] + from[(i + 1) * columns + j + 2]);
                }
            }
            Ok(Chunk::from_slice(&[rows as u64 - 2, columns as u64 - 4], &out))
        });
        values(&smoothed.unwrap())
    };
    for mode in [Pad::Wrap, Pad::Edge, Pad::Reflect, Pad::Constant(0.5.into())] {
        let whole = smooth(&[7, 9], mode);
        for cuts in [[3, 4], [1, 1], [2, 9]] {
            assert_eq!(smooth(&cuts, mode), whole, "{mode:?} {cuts:?}");
        }
    }
    let wrapped = smooth(&[3, 4], Pad::Wrap);
    let at = |i: i64, j: i64| elements[(i.rem_euclid(7) * 9 + j.rem_euclid(9)) as usize];
    for i in 0..7 {
        for j in 0..9 {
            assert_eq!(wrapped[(i * 9 + j) as usize], at(i - 1, j - 2) + at(i + 1, j + 2));
        }
    }
}

#[test]
fn a_function_gets_whole_axes() {
    let a = counting(&[4, 6], &[2, 2], DType::F64);
    let options =
        MapOver { name: "ends".to_owned(), dtype: DType::F64, axes: vec![1], lengths: vec![Some(2)] };
    let ends = a.map_over(&options, |block| {
        let chunk = &block.inputs[0];
        let line = chunk.shape()[1] as usize;
        let ends: Vec<f64> = chunk.to_vec::<f64>().chunks(line).flat_map(|l| [l[0], l[line - 1]]).collect();
        Ok(Chunk::from_slice(&[chunk.shape()[0], 2], &ends))
    });
    let all = values(&a);
    let expected: Vec<f64> = all.chunks(6).flat_map(|line| [line[0], line[5]]).collect();
    assert_eq!(values(&ends.unwrap()), expected);
}

#[test]
fn sparse_weights_make_another_grid() {
    let a = counting(&[5, 2, 3], &[2, 1, 2], DType::F32);
    let weights = SparseWeights {
        rows: vec![3, 0, 0],
        columns: vec![5, 0, 1],
        values: vec![2.0, 0.25, 0.75],
        shape: vec![2, 2],
    };
    let found = a.regrid(&weights, 2).unwrap();
    assert_eq!((found.shape(), found.dtype()), (&[5, 2, 2][..], DType::F32));
    let from = values(&a);
    for (map, cells) in values(&found).chunks(4).enumerate() {
        let from = &from[map * 6..];
        assert_eq!(cells[0], 0.25 * from[0] + 0.75 * from[1]);
        assert!(cells[1].is_nan() && cells[2].is_nan());
        assert_eq!(cells[3], 2.0 * from[5]);
    }
    assert!(a.regrid(&weights, 1).is_err());
    assert!(a.regrid(&SparseWeights { columns: vec![6, 0, 1], ..weights.clone() }, 2).is_err());
    assert!(a.regrid(&SparseWeights { rows: vec![4, 0, 0], ..weights.clone() }, 2).is_err());
    assert!(a.regrid(&SparseWeights { values: vec![1.0], ..weights }, 2).is_err());
}

#[test]
fn lines_of_numbers_end_where_they_should() {
    assert_eq!(values(&Array::linspace(0.0, 1.0, 5)), [0.0, 0.25, 0.5, 0.75, 1.0]);
    assert_eq!(values(&Array::linspace(2.0, 1.0, 1)), [2.0]);
    assert_eq!(values(&Array::linspace(2.0, 1.0, 0)), [0.0; 0]);
    assert_eq!(values(&Array::linspace(0.0, 0.3, 4))[3], 0.3);
}
