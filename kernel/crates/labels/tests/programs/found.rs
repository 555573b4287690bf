//! Owns the smallest programs that once went wrong, and what they give.

use nuna_array::{Array, Binary, Chunk, DType, Pad, Unary};
use nuna_labels::DataArray;

fn array<T: nuna_chunk::Element>(values: &[T]) -> Array {
    Array::from_slice(&[values.len() as u64], values).unwrap()
}

#[test]
fn integers_of_64_bits_compare_exactly_whatever_their_signs() {
    let unsigned = array(&[1u64 << 63, (1 << 63) + 1, 5, u64::MAX]);
    let signed = array(&[i64::MAX, i64::MAX, -5, -1]);
    let answers = |op, a: &Array, b: &Array| a.binary(op, b).unwrap().compute().unwrap().to_vec::<bool>();
    for op in [Binary::Eq, Binary::Lt, Binary::Le] {
        assert_eq!(answers(op, &unsigned, &signed), [false; 4], "{op}");
    }
    for op in [Binary::Ne, Binary::Gt, Binary::Ge] {
        assert_eq!(answers(op, &unsigned, &signed), [true; 4], "{op}");
    }
    assert_eq!(answers(Binary::Lt, &signed, &unsigned), [true; 4]);
    assert_eq!(answers(Binary::Ge, &array(&[7i8, -7]), &array(&[7u64, 7])), [true, false]);
}

#[test]
fn comparisons_with_what_a_dtype_cannot_hold_have_answers() {
    let most = array(&[i64::MAX, i64::MIN]);
    let answers = |array: Array| array.compute().unwrap().to_vec::<bool>();
    assert_eq!(answers(most.equal(1u64 << 63).unwrap()), [false, false]);
    assert_eq!(answers(most.less(1u64 << 63).unwrap()), [true, true]);
    assert_eq!(answers(most.binary_from(Binary::Lt, 1u64 << 63).unwrap()), [false, false]);
    assert_eq!(answers(array(&[0u8, 255]).greater(-1).unwrap()), [true, true]);
    assert_eq!(answers(array(&[0u8, 255]).not_equal(300).unwrap()), [true, true]);
}

#[test]
fn small_integers_are_divided_by_large_ones() {
    let quotient = array(&[5i8, -6]).div(200).unwrap();
    assert_eq!(quotient.dtype(), DType::F64);
    assert_eq!(quotient.compute().unwrap().to_vec::<f64>(), [0.025, -0.03]);
    let quotient = array(&[2u8]).binary_from(Binary::Div, 300).unwrap();
    assert_eq!(quotient.compute().unwrap().to_vec::<f64>(), [150.0]);
}

#[test]
fn squares_of_bools_are_int8() {
    let squares = array(&[true, false]).unary(Unary::Square).unwrap();
    assert_eq!(squares.compute().unwrap(), Chunk::from_slice(&[2], &[1i8, 0]));
}

#[test]
fn a_part_of_a_block_is_padded_on_both_sides() {
    let least = array(&[3u16, 2, 9, 4]).rechunk(&[2]).unwrap().index_axis(0, 1).unwrap();
    let rows = least.expand_dims(0).unwrap().broadcast_to(&[2]).unwrap().min(&[]).unwrap();
    let padded = rows.slice_axis(0, Some(0), Some(1), 1).unwrap().pad(0, 4, 1, Pad::Edge).unwrap();
    assert_eq!(padded.compute().unwrap().to_vec::<u16>(), [2; 6]);
}

fn labelled(values: &[f64], labels: &[&str]) -> DataArray {
    DataArray::new(array(values), ["y"]).unwrap().assign_coord("y", labels.to_vec()).unwrap()
}

#[test]
fn repeated_labels_are_not_joined_with_others() {
    let (twice, once) = (labelled(&[1.0, 2.0, 3.0], &["a", "a", "b"]), labelled(&[1.0, 2.0], &["a", "b"]));
    for (left, right) in [(&twice, &once), (&once, &twice)] {
        let message = left.binary(Binary::Add, right).unwrap_err().to_string();
        assert!(message.contains("'a'") && message.contains("several times"), "{message}");
    }
    assert_eq!(twice.binary(Binary::Add, &twice).unwrap().values_f64().unwrap(), [2.0, 4.0, 6.0]);
}

#[test]
fn labels_of_a_dimension_are_kept_beside_a_single_label_of_its_name() {
    let line = labelled(&[1.0, 2.0], &["a", "b"]);
    let one = line.isel("y", 1).unwrap();
    for result in [one.binary(Binary::Mul, &line).unwrap(), line.binary(Binary::Mul, &one).unwrap()] {
        let coord = result.coord("y").unwrap();
        assert_eq!(coord.dims(), ["y"]);
        assert_eq!(result.values_f64().unwrap(), [2.0, 4.0]);
    }
}

#[test]
fn weighted_small_integers_do_not_overflow() {
    let values = DataArray::new(array(&[100i8, 100, 50]), ["y"]).unwrap();
    assert_eq!(values.weighted(&values).unwrap().sum("y").unwrap().item().unwrap(), 22_500.0);
    assert_eq!(values.weighted(&values).unwrap().mean("y").unwrap().item().unwrap(), 90.0);
}

#[test]
fn stacks_of_matrices_of_uint64_are_multiplied_as_integers() {
    let large = Array::from_slice(&[1, 1, 1], &[(1u64 << 32) + 1]).unwrap();
    assert_eq!(large.matmul(&large).unwrap().compute().unwrap().to_vec::<u64>(), [(1 << 33) + 1]);
}

#[test]
fn inverse_hyperbolic_functions_of_huge_numbers_are_finite() {
    for op in [Unary::Asinh, Unary::Acosh] {
        let found = array(&[f64::MAX]).unary(op).unwrap().compute().unwrap().to_vec::<f64>()[0];
        assert!((found - 710.475_860_073_944).abs() < 1e-9, "{op}: {found}");
    }
}

#[test]
fn a_condition_and_its_alternative_must_agree_where_the_array_has_no_dimension() {
    let matrix =
        |shape: &[u64], dims: [&str; 2]| DataArray::new(Array::ones(shape, DType::F64), dims).unwrap();
    let line = DataArray::new(array(&[1.0, 2.0]), ["t"]).unwrap();
    let (condition, other) = (matrix(&[1, 2], ["x", "t"]), matrix(&[2, 4], ["t", "x"]));
    let message = line.where_or(&condition.astype(DType::Bool), &other).unwrap_err().to_string();
    assert!(message.contains("dimension `x` has length 1") && message.contains("but 4 in"), "{message}");
}

#[test]
fn weighted_means_of_float32_stay_and_infinity_of_no_weight_is_no_number() {
    let values = DataArray::new(array(&[f32::INFINITY, 2.0]), ["y"]).unwrap();
    let weights = DataArray::new(array(&[0u16, 3]), ["y"]).unwrap();
    let weighted = values.weighted(&weights).unwrap();
    assert_eq!(weighted.mean("y").unwrap().dtype(), DType::F32);
    assert!(weighted.sum("y").unwrap().item().unwrap().is_nan());
    let known = values.isel("y", 1..).unwrap().weighted(&weights.isel("y", 1..).unwrap()).unwrap();
    assert_eq!(known.mean("y").unwrap().item().unwrap(), 2.0);
}

#[test]
fn any_range_of_no_text_is_nothing() {
    let none = labelled(&[], &[]);
    assert_eq!(none.sel("y", "a"..="b").unwrap().shape(), [0]);
}

#[test]
fn arrays_of_other_dimensions_are_not_joined() {
    let (line, map) = (labelled(&[1.0], &["a"]), labelled(&[2.0], &["b"]).expand_dims("t").unwrap());
    for both in [[line.clone(), map.clone()], [map, line]] {
        let message = nuna_labels::concat(&both, "y").unwrap_err().to_string();
        assert!(message.contains("(t, y)") && message.contains("`expand_dims`"), "{message}");
    }
}

#[test]
fn sums_within_einsum_do_not_wrap_in_the_dtype_of_one_array() {
    let (small, one) = (array(&[100i8, 100, 100]), array(&[1i64]));
    let found = nuna_array::einsum("a,p->p", &[small, one]).unwrap();
    assert_eq!(found.compute().unwrap(), Chunk::from_slice(&[1], &[300i64]));
}

#[test]
fn the_inverse_hyperbolic_cosine_keeps_its_digits_near_1() {
    let found = array(&[1.007_822_6_f32, 1.0]).unary(Unary::Acosh).unwrap().compute().unwrap();
    assert_eq!(found.to_vec::<f32>(), [0.124_999_64, 0.0]);
    let none = array(&[0.5, -3.0, -1e10]).unary(Unary::Acosh).unwrap().compute().unwrap().to_vec::<f64>();
    assert!(none.iter().all(|v| v.is_nan()), "{none:?}");
}

#[test]
fn the_inverse_hyperbolic_tangent_keeps_its_digits_near_minus_1() {
    let found =
        array(&[-0.99998766f32, 0.99998766]).unary(Unary::Atanh).unwrap().compute().unwrap().to_vec::<f32>();
    assert_eq!(found[0], -found[1]);
    assert!((found[1] - 6.0).abs() < 0.1);
}
