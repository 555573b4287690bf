//! Linear algebra of matrices in several blocks of rows; small ones are compared with NumPy's by random programs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use nuna_array::{Array, Chunk, DType, NanPolicy, Pad, Random, Region};

fn normal(shape: &[u64], chunks: &[u64]) -> Array {
    Array::random(7, Random::Normal { mean: 0.0, std: 1.0 }, shape, Some(chunks)).unwrap()
}

/// The farthest element of a from b.
fn farthest(a: &Array, b: &Array) -> f64 {
    let distance = a.sub(b).unwrap().abs().unwrap().max(&a.all_axes()).unwrap();
    distance.compute().unwrap().get(0).as_f64()
}

fn identity(n: u64) -> Array {
    let line = Array::arange(0, 1, n);
    line.expand_dims(1).unwrap().equal(&line).unwrap().astype(DType::F64)
}

#[test]
fn a_tall_matrix_is_the_product_of_its_factors_whatever_its_blocks() {
    // Three blocks of rows, the last of which would be shorter than wide were it cut there.
    let a = normal(&[2_100_002, 2], &[300_000, 1]);
    let (q, r) = a.qr().unwrap();
    assert!(q.chunks().axes()[0].count() > 1, "{:?}", q.chunks());
    // Errors are relative to the columns' length, about 1400.
    assert!(farthest(&q.matmul(&r).unwrap(), &a) < 1e-11);
    let squares = q.transpose(&[1, 0]).unwrap().matmul(&q).unwrap();
    assert!(farthest(&squares, &identity(2)) < 1e-13);
    let diagonal = r.compute().unwrap();
    assert!(diagonal.get(0).as_f64() > 0.0 && diagonal.get(3).as_f64() > 0.0);
    assert_eq!(diagonal.get(2).as_f64(), 0.0);
    let whole = a.slice_axis(0, None, Some(1_000_000), 1).unwrap();
    let (u, s, vt) = whole.svd().unwrap();
    let again = u.mul(&s).unwrap().matmul(&vt).unwrap();
    assert!(farthest(&again, &whole) < 1e-11);
}

#[test]
fn a_nan_in_one_block_makes_all_factors_nan() {
    let a = normal(&[2_000_000, 2], &[500_000, 2]);
    let odd = Array::arange(0, 1, 2_000_000).equal(1_999_999).unwrap().expand_dims(1).unwrap();
    let a = a.where_(&odd.logical_not().unwrap(), f64::NAN).unwrap();
    let (q, r) = a.qr().unwrap();
    assert_eq!(q.count(&[0, 1]).unwrap().compute().unwrap().get(0).as_f64(), 0.0);
    assert!(r.compute().unwrap().to_vec::<f64>().iter().all(|v| v.is_nan()));
}

#[test]
fn a_line_through_many_points_is_found() {
    let x = Array::linspace(-1.0, 1.0, 3_000_001).rechunk(&[400_000]).unwrap();
    let y = x.mul(2.5).unwrap().add(-0.75).unwrap();
    let columns = nuna_array::stack(&[x.clone(), Array::ones(x.shape(), DType::F64)], 1).unwrap();
    let found = columns.lstsq(&y).unwrap().compute().unwrap().to_vec::<f64>();
    assert!((found[0] - 2.5).abs() < 1e-12 && (found[1] + 0.75).abs() < 1e-12, "{found:?}");
}

#[test]
fn what_is_no_matrix_and_what_has_no_inverse_are_refused() {
    let line = Array::ones(&[3], DType::F64);
    assert!(line.qr().unwrap_err().to_string().contains("takes a matrix"));
    let wide = Array::ones(&[2, 3], DType::F64);
    assert!(wide.inv().unwrap_err().to_string().contains("square"));
    let singular = Array::ones(&[2, 2], DType::F64);
    let message = singular.solve(&Array::ones(&[2], DType::F64)).unwrap().compute().unwrap_err().to_string();
    assert!(message.contains("singular") && message.contains("lstsq"), "{message}");
    let message = identity(2).mul(-1.0).unwrap().cholesky().unwrap().compute().unwrap_err().to_string();
    assert!(message.contains("not positive definite"), "{message}");
    assert!(wide.lstsq(&line).unwrap_err().to_string().contains("as many rows"));
}

#[test]
fn an_inverse_and_a_root_lead_back() {
    let a = normal(&[40, 40], &[7, 11]);
    assert!(farthest(&a.matmul(&a.inv().unwrap()).unwrap(), &identity(40)) < 1e-10);
    let square = a.matmul(&a.transpose(&[1, 0]).unwrap()).unwrap();
    let root = square.cholesky().unwrap();
    assert!(farthest(&root.matmul(&root.transpose(&[1, 0]).unwrap()).unwrap(), &square) < 1e-11);
}

#[test]
fn blocks_are_made_from_where_they_lie() {
    let made = Array::from_blocks(&[5, 4], &[2, 3], DType::I64, |region: Region| {
        let [rows, columns] = region.ranges() else { return Err("two axes".to_owned()) };
        let of_row = |row: u64| columns.clone().map(move |column| (10 * row + column) as i64);
        let elements: Vec<i64> = rows.clone().flat_map(of_row).collect();
        Ok(Chunk::from_slice(&region.shape(), &elements))
    })
    .unwrap();
    let expected: Vec<i64> = (0..5).flat_map(|row| (0..4).map(move |column| 10 * row + column)).collect();
    assert_eq!(made.compute().unwrap().to_vec::<i64>(), expected);
    let wrong = Array::from_blocks(&[4], &[2], DType::I64, |_| Ok(Chunk::from_slice(&[1], &[0i64]))).unwrap();
    assert!(wrong.compute().is_err());
}

#[test]
fn distinct_elements_of_many_blocks_are_counted() {
    let values =
        Array::random(3, Random::Integers { low: -50, high: 50 }, &[400_000], Some(&[10_000])).unwrap();
    let found = values.unique().unwrap();
    assert_eq!(found.values.to_vec::<i64>(), (-50..50).collect::<Vec<_>>());
    assert_eq!(found.counts.iter().sum::<u64>(), 400_000);
    let message = Array::arange(0, 1, 70_000).unique().unwrap_err().to_string();
    assert!(message.contains("more than 65536 distinct"), "{message}");
}

#[test]
fn approximate_quantiles_hold_their_error() {
    let values = normal(&[300_000], &[40_000]).exp().unwrap();
    let at = [0.0, 0.001, 0.25, 0.5, 0.9, 0.999, 1.0];
    let exact = values.quantile(&at, NanPolicy::Propagate, &[0]).unwrap().compute().unwrap().to_vec::<f64>();
    let found = values.quantile_approx(&at, NanPolicy::Propagate).unwrap().compute().unwrap().to_vec::<f64>();
    for (found, exact) in found.iter().zip(&exact) {
        assert!((found - exact).abs() <= exact / 127.0, "{found} for {exact}");
    }
}

#[test]
fn convolution_does_not_depend_on_chunks() {
    let values = normal(&[3, 1000], &[2, 7]);
    let weights: Vec<f64> = (0..40).map(f64::from).collect();
    let in_chunks = values.convolve(1, &weights, Pad::Wrap).unwrap().compute().unwrap();
    let whole =
        values.rechunk(&[3, 1000]).unwrap().convolve(1, &weights, Pad::Wrap).unwrap().compute().unwrap();
    assert_eq!(in_chunks, whole);
}
