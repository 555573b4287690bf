//! Owns products of arrays: tensordot, matmul, einsum. Blocks are multiplied pair by pair, and their products summed in a tree.

use ndarray::ArrayView2;
use nuna_chunk::{
    Chunk, ChunkMut, DType, Element,
    reduce::{NanPolicy, Operation, Reduction},
};
use nuna_plan::Splits;

use crate::{
    array::Array,
    error::{ArrayError, ArrayErrorKind},
    grid::ChunkGrid,
    ops::{
        reduce::Axes,
        routine::{Reads, Routine, routine},
    },
    program::AxisRule,
};

fn invalid(message: String) -> ArrayError {
    ArrayErrorKind::Invalid(message).into()
}

/// The sum of products over pairs of axes: axis `of_a[i]` of `a` with axis `of_b[i]` of `b`. The result has the other axes of `a`, then
/// those of `b`. Dtypes promote; integers wrap as in NumPy, floats are multiplied in their own precision and blocks summed in `float64`.
///
/// # Errors
/// If axes are out of range, named twice, or of different lengths.
pub fn tensordot(a: &Array, b: &Array, of_a: &[usize], of_b: &[usize]) -> Result<Array, ArrayError> {
    if of_a.len() != of_b.len() {
        return Err(invalid(format!("`tensordot` pairs axes, but {of_a:?} and {of_b:?} are not as many")));
    }
    for (array, axes) in [(a, of_a), (b, of_b)] {
        array.check_real("tensordot")?;
        for (i, &axis) in axes.iter().enumerate() {
            array.check_axis(axis)?;
            if axes[..i].contains(&axis) {
                return Err(ArrayErrorKind::AxisRepeated { axis, axes: axes.to_vec() }.into());
            }
        }
    }
    for (&i, &j) in of_a.iter().zip(of_b) {
        if a.shape()[i] != b.shape()[j] {
            return Err(invalid(format!(
                "cannot sum over axis {i} of {}, of length {}, with axis {j} of {}, of length {}",
                a.expression(),
                a.shape()[i],
                b.expression(),
                b.shape()[j]
            )));
        }
    }
    let dtype = a.dtype().promote(b.dtype());
    let work = if dtype.is_float() { dtype } else { DType::I64 };
    let free = |array: &Array, summed: &[usize]| -> Vec<usize> {
        (0..array.ndim()).filter(|axis| !summed.contains(axis)).collect()
    };
    let (free_a, free_b) = (free(a, of_a), free(b, of_b));
    let a = a.astype(work).transpose(&[&free_a[..], of_a].concat())?;
    let b = b.astype(work).transpose(&[of_b, &free_b[..]].concat())?;
    // Both cut alike along what is summed.
    let (m, k) = (free_a.len(), of_a.len());
    let mut axes = b.chunks().axes().to_vec();
    axes[..k].clone_from_slice(&a.chunks().axes()[m..]);
    let b = b.rechunk_to(ChunkGrid::from_axes(axes));
    // Of the result: axes of `a`, axes of `b`, and for each axis that is summed one with an element per block.
    let (own_a, own_b) = (a.chunks().axes(), b.chunks().axes());
    let summed = own_a[m..].iter().map(|splits| Splits::Regular { chunk: 1, length: splits.count() });
    let grid: Vec<Splits> =
        own_a[..m].iter().cloned().chain(own_b[k..].iter().cloned()).chain(summed).collect();
    let n = free_b.len();
    let rule = |axis: usize, splits: &Splits| AxisRule::Along { axis: axis as u8, splits: splits.clone() };
    let place_a = |i: usize| if i < m { i } else { n + i };
    let place_b = |i: usize| if i < k { m + n + i } else { m + i - k };
    let rules_a = own_a.iter().enumerate().map(|(i, splits)| rule(place_a(i), splits)).collect();
    let rules_b = own_b.iter().enumerate().map(|(i, splits)| rule(place_b(i), splits)).collect();
    let made =
        Routine { name: "tensordot".to_owned(), dtype: work, grid: ChunkGrid::from_axes(grid), scratch: 0 };
    let products = routine(
        vec![(a, Reads::Rules(rules_a)), (b, Reads::Rules(rules_b))],
        made,
        &(m, k),
        |(m, k), block| {
            product(&block.inputs[0], &block.inputs[1], *m, *k).map_err(|error| error.to_string())
        },
    )?;
    let blocks: Vec<usize> = (m + n..m + n + k).collect();
    let total = match blocks.is_empty() {
        true => products,
        false => products.reduce(Operation::Sum, NanPolicy::Propagate, &blocks, Axes::Drop)?,
    };
    Ok(total.astype(dtype))
}

/// The product of `a`, of which the last `k` axes are summed, and `b`, of which the first are; with `k` axes of length 1 behind.
fn product(a: &Chunk, b: &Chunk, m: usize, k: usize) -> Result<Chunk, nuna_chunk::ChunkError> {
    let rows: u64 = a.shape()[..m].iter().product();
    let inner: u64 = a.shape()[m..].iter().product();
    let columns: u64 = b.shape()[k..].iter().product();
    let shape: Vec<u64> =
        a.shape()[..m].iter().chain(&b.shape()[k..]).copied().chain(std::iter::repeat_n(1, k)).collect();
    let mut out = ChunkMut::zeroed(a.dtype(), &shape);
    let (rows, inner, columns) = (rows as usize, inner as usize, columns as usize);
    match a.dtype() {
        DType::F32 => dot::<f32>(a.elements()?, b.elements()?, out.elements_mut()?, rows, inner, columns),
        DType::F64 => dot::<f64>(a.elements()?, b.elements()?, out.elements_mut()?, rows, inner, columns),
        _ => {
            let (a, b, out) = (a.elements::<i64>()?, b.elements::<i64>()?, out.elements_mut::<i64>()?);
            for i in 0..rows {
                for j in 0..inner {
                    let factor = a[i * inner + j];
                    let line = &b[j * columns..(j + 1) * columns];
                    for (out, &b) in out[i * columns..(i + 1) * columns].iter_mut().zip(line) {
                        *out = out.wrapping_add(factor.wrapping_mul(b));
                    }
                }
            }
        }
    }
    Ok(out.freeze())
}

fn dot<T: Element + ndarray::LinalgScalar>(
    a: &[T],
    b: &[T],
    out: &mut [T],
    rows: usize,
    inner: usize,
    columns: usize,
) {
    let shapes = "as many elements as the shape has";
    let a = ArrayView2::from_shape((rows, inner), a).expect(shapes);
    let b = ArrayView2::from_shape((inner, columns), b).expect(shapes);
    let mut out = ndarray::ArrayViewMut2::from_shape((rows, columns), out).expect(shapes);
    ndarray::linalg::general_mat_mul(T::one(), &a, &b, T::zero(), &mut out);
}

impl Array {
    /// The matrix product as NumPy's `@`: over the last axis of this and the last but one of `other`; axes before are those of
    /// stacks of matrices, and broadcast. An array of one axis is a row on the left and a column on the right.
    ///
    /// # Errors
    /// If an array has no axis, or lengths do not fit.
    pub fn matmul(&self, other: &Array) -> Result<Array, ArrayError> {
        let (m, n) = (self.ndim(), other.ndim());
        if m == 0 || n == 0 {
            return Err(invalid("`matmul` takes arrays with axes; multiply by a scalar instead".to_owned()));
        }
        if n <= 2 {
            return tensordot(self, other, &[m - 1], &[n.saturating_sub(2)]);
        }
        if m == 1 {
            return tensordot(self, other, &[0], &[n - 2]);
        }
        // Stacks: every pair of elements, summed.
        let left = self.expand_dims(m)?;
        let mut right = other.expand_dims(n - 2)?;
        if self.shape()[m - 1] != other.shape()[n - 2] {
            return tensordot(self, other, &[m - 1], &[n - 2]);
        }
        let dtype = self.dtype().promote(other.dtype());
        if !dtype.has_nan() {
            right = right
                .astype(Reduction { operation: Operation::Sum, nan: NanPolicy::Propagate, dtype }.output()?);
        }
        let products = left.mul(&right)?;
        let inner = products.ndim() - 2;
        let total = products.reduce(Operation::Sum, NanPolicy::Propagate, &[inner], Axes::Drop)?;
        Ok(total.astype(dtype))
    }
}

/// Einstein's summation, such as `einsum("ij,jk->ik", &[a, b])`: letters name axes, those missing on the right are summed over. Without
/// `->` the result has the letters that occur once, in alphabetical order. Two arrays that share no letter of the result are
/// multiplied as matrices, others element by element. Dtypes promote first; integers wrap in the dtype of all, as in NumPy.
///
/// # Errors
/// If the letters do not fit the arrays, one array has a letter twice, or lengths differ.
pub fn einsum(subscripts: &str, arrays: &[Array]) -> Result<Array, ArrayError> {
    let text: String = subscripts.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match text.split_once("->") {
        Some((left, right)) => (left.to_owned(), Some(right.to_owned())),
        None => (text, None),
    };
    let names: Vec<Vec<char>> = left.split(',').map(|part| part.chars().collect()).collect();
    let wrong = |message: String| invalid(format!("einsum(\"{subscripts}\"): {message}"));
    if arrays.is_empty() || names.len() != arrays.len() {
        return Err(wrong(format!("it names {} arrays, and {} are given", names.len(), arrays.len())));
    }
    for (names, array) in names.iter().zip(arrays) {
        if let Some(c) = names.iter().find(|c| !c.is_alphabetic()) {
            return Err(wrong(format!("`{c}` is no letter")));
        }
        if names.len() != array.ndim() {
            let (letters, ndim) = (names.len(), array.ndim());
            return Err(wrong(format!(
                "{letters} letters for {}, which has {ndim} axes",
                array.expression()
            )));
        }
        if let Some((_, c)) = names.iter().enumerate().find(|(i, c)| names[..*i].contains(c)) {
            return Err(wrong(format!("`{c}` twice for one array, its diagonal, is not supported")));
        }
    }
    let mut sorted: Vec<char> = names.concat();
    sorted.sort_unstable();
    let output: Vec<char> = match right {
        Some(right) => right.chars().collect(),
        None => sorted.iter().copied().filter(|c| sorted.iter().filter(|d| *d == c).count() == 1).collect(),
    };
    for (i, c) in output.iter().enumerate() {
        if !sorted.contains(c) || output[..i].contains(c) {
            return Err(wrong(format!("`{c}` in the result is in no array, or twice in the result")));
        }
    }
    // All of one dtype from the start: sums of what only one array has must not wrap in that one's.
    let dtype = arrays.iter().fold(arrays[0].dtype(), |dtype, array| dtype.promote(array.dtype()));
    let arrays: Vec<Array> = arrays.iter().map(|array| array.astype(dtype)).collect();
    let (mut held, mut held_names) = (arrays[0].clone(), names[0].clone());
    let wanted =
        |rest: &[Vec<char>], c: &char| output.contains(c) || rest.iter().any(|names| names.contains(c));
    (held, held_names) = summed(held, held_names, |c| wanted(&names[1..], c))?;
    for (i, (array, own)) in arrays.iter().zip(&names).enumerate().skip(1) {
        let rest = &names[i + 1..];
        let (array, own) = summed(array.clone(), own.clone(), |c| held_names.contains(c) || wanted(rest, c))?;
        let shared: Vec<char> = held_names.iter().copied().filter(|c| own.contains(c)).collect();
        for c in &shared {
            let length = |array: &Array, names: &[char]| {
                names.iter().position(|d| d == c).map(|axis| array.shape()[axis])
            };
            let lengths = (length(&held, &held_names), length(&array, &own));
            if lengths.0 != lengths.1 {
                let (a, b) = (lengths.0.unwrap_or(0), lengths.1.unwrap_or(0));
                return Err(wrong(format!("`{c}` has length {a} and {b}")));
            }
        }
        if shared.iter().all(|c| !wanted(rest, c)) {
            let at = |names: &[char]| -> Vec<usize> {
                shared.iter().filter_map(|c| names.iter().position(|d| d == c)).collect()
            };
            held = tensordot(&held, &array, &at(&held_names), &at(&own))?;
            held_names.retain(|c| !shared.contains(c));
            held_names.extend(own.iter().filter(|c| !shared.contains(c)));
            continue;
        }
        let mut all = held_names.clone();
        all.extend(own.iter().filter(|c| !held_names.contains(c)));
        held = spread(&held, &held_names, &all)?.mul(&spread(&array, &own, &all)?)?;
        (held, held_names) = summed(held, all, |c| wanted(rest, c))?;
        held = held.astype(dtype);
    }
    let order: Vec<usize> = output.iter().filter_map(|c| held_names.iter().position(|d| d == c)).collect();
    held.transpose(&order)
}

/// The array summed over letters that nobody wants.
fn summed(
    array: Array,
    names: Vec<char>,
    wanted: impl Fn(&char) -> bool,
) -> Result<(Array, Vec<char>), ArrayError> {
    let gone: Vec<usize> = (0..names.len()).filter(|&axis| !wanted(&names[axis])).collect();
    if gone.is_empty() {
        return Ok((array, names));
    }
    let dtype = array.dtype();
    let total = array.reduce(Operation::Sum, NanPolicy::Propagate, &gone, Axes::Drop)?.astype(dtype);
    Ok((total, names.into_iter().filter(|c| wanted(c)).collect()))
}

/// The array with an axis for each letter, of length 1 where it has none.
fn spread(array: &Array, names: &[char], all: &[char]) -> Result<Array, ArrayError> {
    let order: Vec<usize> = all.iter().filter_map(|c| names.iter().position(|d| d == c)).collect();
    let mut spread = array.transpose(&order)?;
    for (axis, _) in all.iter().enumerate().filter(|(_, c)| !names.contains(c)) {
        spread = spread.expand_dims(axis)?;
    }
    Ok(spread)
}
