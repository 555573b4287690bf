//! Owns dense linear algebra of one matrix in `float64`: QR by Householder's reflections, singular values by Jacobi's
//! rotations, systems by elimination. Blocks of tall matrices come here, and the small ones that are made of them.
//!
//! Own code, since a library of matrices compiles longer than all of this crate, and Jacobi's method on a small triangle is
//! the most exact there is.

use crate::{chunk::Chunk, dtype::DType};

/// A matrix by columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    rows: usize,
    columns: usize,
    elements: Vec<f64>,
}

/// Rounds of rotations after which singular values are as exact as they get; ten are many.
const SWEEPS: usize = 60;

impl Matrix {
    pub fn zeros(rows: usize, columns: usize) -> Self {
        Self { rows, columns, elements: vec![0.0; rows * columns] }
    }

    pub fn identity(n: usize) -> Self {
        let mut identity = Self::zeros(n, n);
        (0..n).for_each(|i| identity.elements[i * n + i] = 1.0);
        identity
    }

    /// The elements of a chunk of real numbers with two axes, or with one: a column.
    ///
    /// # Panics
    /// If it has another number of axes, or is complex.
    pub fn from_chunk(chunk: &Chunk) -> Self {
        let (rows, columns) = match *chunk.shape() {
            [rows] => (rows as usize, 1),
            [rows, columns] => (rows as usize, columns as usize),
            _ => panic!("a chunk of shape {:?} is no matrix", chunk.shape()),
        };
        let mut matrix = Self::zeros(rows, columns);
        for (i, row) in chunk.to_vec::<f64>().chunks_exact(columns.max(1)).enumerate() {
            row.iter().enumerate().for_each(|(j, value)| matrix.elements[j * rows + i] = *value);
        }
        matrix
    }

    /// Matrices with as many columns, below each other, as one chunk.
    pub fn to_chunk(parts: &[&Matrix], dtype: DType) -> Chunk {
        let columns = parts.first().map_or(0, |part| part.columns);
        let rows: usize = parts.iter().map(|part| part.rows).sum();
        let mut elements = Vec::with_capacity(rows * columns);
        for part in parts {
            assert_eq!(part.columns, columns, "columns of what is put together");
            for i in 0..part.rows {
                elements.extend((0..columns).map(|j| part.at(i, j)));
            }
        }
        Chunk::from_slice(&[rows as u64, columns as u64], &elements).cast(dtype)
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    pub fn at(&self, row: usize, column: usize) -> f64 {
        self.elements[column * self.rows + row]
    }

    pub fn column(&self, column: usize) -> &[f64] {
        &self.elements[column * self.rows..][..self.rows]
    }

    fn column_mut(&mut self, column: usize) -> &mut [f64] {
        &mut self.elements[column * self.rows..][..self.rows]
    }

    /// Two columns, of which `a` is before `b`.
    fn pair(&mut self, a: usize, b: usize) -> (&mut [f64], &mut [f64]) {
        let (left, right) = self.elements.split_at_mut(b * self.rows);
        (&mut left[a * self.rows..][..self.rows], &mut right[..self.rows])
    }

    pub fn transposed(&self) -> Self {
        let mut other = Self::zeros(self.columns, self.rows);
        for j in 0..self.columns {
            self.column(j).iter().enumerate().for_each(|(i, v)| other.elements[i * self.columns + j] = *v);
        }
        other
    }

    pub fn product(&self, other: &Matrix) -> Self {
        assert_eq!(self.columns, other.rows, "a product of matrices");
        let mut product = Self::zeros(self.rows, other.columns);
        for j in 0..other.columns {
            for k in 0..self.columns {
                add_scaled(product.column_mut(j), other.at(k, j), self.column(k));
            }
        }
        product
    }

    /// The first columns, and the others.
    pub fn split_columns(mut self, count: usize) -> (Self, Self) {
        let (rows, others) = (self.rows, self.columns - count);
        let right = Self { rows, columns: others, elements: self.elements.split_off(count * rows) };
        (Self { columns: count, ..self }, right)
    }

    /// Every row multiplied by what belongs to it.
    pub fn scale_rows(&mut self, factor: impl Fn(usize) -> f64) {
        for j in 0..self.columns {
            self.column_mut(j).iter_mut().enumerate().for_each(|(i, v)| *v *= factor(i));
        }
    }

    fn filled(rows: usize, columns: usize, value: f64) -> Self {
        Self { rows, columns, elements: vec![value; rows * columns] }
    }

    fn is_finite(&self) -> bool {
        self.elements.iter().all(|v| v.is_finite())
    }

    /// Orthonormal columns and a triangle whose product it is: `rows × k` and `k × columns`, `k` the smaller of the two. The
    /// triangle's diagonal is not negative, so that there is one answer. What is not finite makes everything NaN.
    pub fn qr(mut self) -> (Matrix, Matrix) {
        let (m, n) = (self.rows, self.columns);
        let k = m.min(n);
        if !self.is_finite() {
            return (Self::filled(m, k, f64::NAN), Self::filled(k, n, f64::NAN));
        }
        let factors: Vec<f64> = (0..k).map(|at| self.reflect(at)).collect();
        let mut q = Self::zeros(m, k);
        for at in (0..k).rev() {
            q.elements[at * m + at] = 1.0;
            let (factor, mirror) = (factors[at], &self.column(at)[at + 1..]);
            for j in at..k {
                apply(&mut q.column_mut(j)[at..], factor, mirror);
            }
        }
        let mut r = Self::zeros(k, n);
        for j in 0..n {
            let kept = k.min(j + 1);
            r.column_mut(j)[..kept].copy_from_slice(&self.column(j)[..kept]);
        }
        for i in (0..k).filter(|&i| r.at(i, i) < 0.0).collect::<Vec<_>>() {
            (i..n).for_each(|j| r.elements[j * k + i] *= -1.0);
            q.column_mut(i).iter_mut().for_each(|v| *v = -*v);
        }
        (q, r)
    }

    /// Mirrors what is right of and below the diagonal's element `at`, so that nothing remains below it; the mirror takes its
    /// place, and its factor is returned.
    fn reflect(&mut self, at: usize) -> f64 {
        let n = self.columns;
        let column = &mut self.column_mut(at)[at..];
        let length = norm(column);
        if length == 0.0 {
            return 0.0;
        }
        let first = column[0];
        let end = -length.copysign(first);
        column[1..].iter_mut().for_each(|v| *v /= first - end);
        column[0] = end;
        let factor = (end - first) / end;
        for j in at + 1..n {
            let (mirror, other) = self.pair(at, j);
            apply(&mut other[at..], factor, &mirror[at + 1..]);
        }
        factor
    }

    /// `U`, the singular values in descending order, and the transpose of `V`, of a matrix with at least as many rows as columns.
    /// Of each row of the latter the element farthest from 0 is positive, so that there is one answer. What is not finite
    /// makes everything NaN.
    pub fn svd(mut self) -> (Matrix, Vec<f64>, Matrix) {
        let (m, n) = (self.rows, self.columns);
        assert!(m >= n, "a matrix with more columns than rows is transposed first");
        if !self.is_finite() {
            return (Self::filled(m, n, f64::NAN), vec![f64::NAN; n], Self::filled(n, n, f64::NAN));
        }
        // Squares of large and small elements must not leave the range of numbers.
        let largest = self.elements.iter().fold(0.0f64, |largest, v| largest.max(v.abs()));
        let scale = if largest > 0.0 { largest } else { 1.0 };
        self.elements.iter_mut().for_each(|v| *v /= scale);
        let mut v = Self::identity(n);
        for _ in 0..SWEEPS {
            let mut rotated = false;
            for p in 0..n {
                for q in p + 1..n {
                    rotated |= rotate(&mut self, &mut v, p, q);
                }
            }
            if !rotated {
                break;
            }
        }
        let lengths: Vec<f64> = (0..n).map(|j| norm(self.column(j))).collect();
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&a, &b| lengths[b].total_cmp(&lengths[a]));
        let (mut u, mut vt, mut values) = (Self::zeros(m, n), Self::zeros(n, n), Vec::with_capacity(n));
        for (to, &from) in order.iter().enumerate() {
            values.push(lengths[from] * scale);
            let line = v.column(from);
            let far = line.iter().fold(0.0f64, |far, x| if x.abs() > far.abs() { *x } else { far });
            let sign = 1.0f64.copysign(far);
            line.iter().enumerate().for_each(|(j, x)| vt.elements[j * n + to] = x * sign);
            if lengths[from] > f64::MIN_POSITIVE {
                let divided = self.column(from).iter().map(|x| x * sign / lengths[from]);
                u.column_mut(to).iter_mut().zip(divided).for_each(|(to, x)| *to = x);
            } else {
                u.complete(to);
            }
        }
        (u, values, vt)
    }

    /// Fills a column with what is orthogonal to those before it.
    fn complete(&mut self, at: usize) {
        let mut best: (f64, Vec<f64>) = (-1.0, Vec::new());
        for axis in 0..self.rows {
            let mut column = vec![0.0; self.rows];
            column[axis] = 1.0;
            // Twice is enough.
            for j in (0..at).chain(0..at) {
                let along = dot(self.column(j), &column);
                add_scaled(&mut column, -along, self.column(j));
            }
            let length = norm(&column);
            if length > best.0 {
                column.iter_mut().for_each(|v| *v /= length);
                best = (length, column);
            }
            if best.0 > 0.7 {
                break;
            }
        }
        self.column_mut(at).copy_from_slice(&best.1);
    }

    /// The triangles of a square matrix with rows exchanged, both in one: `L` without its diagonal of ones below, `U` on and
    /// above the diagonal; the order of the rows, and the sign of that order.
    ///
    /// # Errors
    /// The first column without a pivot: the matrix has no inverse.
    pub fn lu(mut self) -> Result<(Matrix, Vec<usize>, f64), usize> {
        let n = self.rows;
        assert_eq!(n, self.columns, "elimination in a square matrix");
        let (mut order, mut sign): (Vec<usize>, f64) = ((0..n).collect(), 1.0);
        for k in 0..n {
            let pivot = (k..n).fold(k, |best, i| match self.at(i, k).abs() > self.at(best, k).abs() {
                true => i,
                false => best,
            });
            if self.at(pivot, k) == 0.0 {
                return Err(k);
            }
            if pivot != k {
                (0..n).for_each(|j| self.elements.swap(j * n + k, j * n + pivot));
                order.swap(k, pivot);
                sign = -sign;
            }
            let diagonal = self.at(k, k);
            self.column_mut(k)[k + 1..].iter_mut().for_each(|v| *v /= diagonal);
            for j in k + 1..n {
                let factor = -self.at(k, j);
                let (lower, other) = self.pair(k, j);
                add_scaled(&mut other[k + 1..], factor, &lower[k + 1..]);
            }
        }
        Ok((self, order, sign))
    }

    /// `x` in `self · x = b`.
    ///
    /// # Errors
    /// As [`lu`](Matrix::lu).
    pub fn solve(self, b: &Matrix) -> Result<Matrix, usize> {
        let (lu, order, _) = self.lu()?;
        let n = order.len();
        let mut x = Self::zeros(n, b.columns);
        for j in 0..b.columns {
            let column = x.column_mut(j);
            order.iter().enumerate().for_each(|(to, &from)| column[to] = b.at(from, j));
            for k in 0..n {
                let value = column[k];
                add_scaled(&mut column[k + 1..], -value, &lu.column(k)[k + 1..]);
            }
            for k in (0..n).rev() {
                column[k] /= lu.at(k, k);
                let value = column[k];
                add_scaled(&mut column[..k], -value, &lu.column(k)[..k]);
            }
        }
        Ok(x)
    }

    /// The lower triangle whose product with its transpose it is; what is above the diagonal is not read.
    ///
    /// # Errors
    /// The first column at which the matrix is not positive definite.
    pub fn cholesky(mut self) -> Result<Matrix, usize> {
        let n = self.rows;
        for k in 0..n {
            let diagonal = self.at(k, k);
            if diagonal <= 0.0 {
                return Err(k);
            }
            let root = diagonal.sqrt();
            self.column_mut(k)[k..].iter_mut().for_each(|v| *v /= root);
            self.column_mut(k)[..k].fill(0.0);
            for j in k + 1..n {
                let factor = -self.at(j, k);
                let (left, other) = self.pair(k, j);
                add_scaled(&mut other[j..], factor, &left[j..]);
            }
        }
        Ok(self)
    }
}

/// Mirrors `column` at the plane whose normal is 1 followed by `mirror`.
fn apply(column: &mut [f64], factor: f64, mirror: &[f64]) {
    let along = factor * (column[0] + dot(mirror, &column[1..]));
    column[0] -= along;
    add_scaled(&mut column[1..], -along, mirror);
}

/// Rotates two columns of `w` until they are orthogonal, and `v` with them. `false` if they were.
fn rotate(w: &mut Matrix, v: &mut Matrix, p: usize, q: usize) -> bool {
    let (a, b) = w.pair(p, q);
    let (alpha, beta, gamma) = (dot(a, a), dot(b, b), dot(a, b));
    if gamma.abs() <= f64::EPSILON * (alpha * beta).sqrt() {
        return false;
    }
    let zeta = (beta - alpha) / (2.0 * gamma);
    let tangent = 1.0f64.copysign(zeta) / (zeta.abs() + zeta.hypot(1.0));
    let cosine = 1.0 / tangent.hypot(1.0);
    let sine = cosine * tangent;
    for (x, y) in [(a, b), v.pair(p, q)] {
        for (x, y) in x.iter_mut().zip(y) {
            (*x, *y) = (cosine * *x - sine * *y, sine * *x + cosine * *y);
        }
    }
    true
}

/// Eight sums side by side, which processors add at once.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (left, right) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = left.remainder().iter().zip(right.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in left.zip(right) {
        for i in 0..8 {
            sums[i] += a[i] * b[i];
        }
    }
    rest + ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]))
}

fn add_scaled(to: &mut [f64], factor: f64, from: &[f64]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += factor * from);
}

/// The length of a vector, without squares beyond the range of numbers.
fn norm(vector: &[f64]) -> f64 {
    let largest = vector.iter().fold(0.0f64, |largest, v| largest.max(v.abs()));
    if largest == 0.0 {
        return 0.0;
    }
    let scaled: f64 = vector.iter().map(|v| (v / largest) * (v / largest)).sum();
    largest * scaled.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(rows: usize, columns: usize) -> Matrix {
        let mut made = Matrix::zeros(rows, columns);
        let mut state = 1u64;
        for v in &mut made.elements {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *v = (state >> 33) as f64 / f64::from(1u32 << 31) - 0.5;
        }
        made
    }

    fn farthest(a: &Matrix, b: &Matrix) -> f64 {
        assert_eq!((a.rows, a.columns), (b.rows, b.columns));
        a.elements.iter().zip(&b.elements).fold(0.0, |far, (a, b)| far.max((a - b).abs()))
    }

    #[test]
    fn a_matrix_is_the_product_of_its_factors() {
        for (m, n) in [(1, 1), (7, 3), (40, 40), (3, 9), (200, 17)] {
            let a = matrix(m, n);
            let (q, r) = a.clone().qr();
            assert!(farthest(&q.product(&r), &a) < 1e-14);
            assert!(farthest(&q.transposed().product(&q), &Matrix::identity(m.min(n))) < 1e-14);
            assert!((0..m.min(n)).all(|i| r.at(i, i) >= 0.0));
            if m < n {
                continue;
            }
            let (u, s, vt) = a.clone().svd();
            assert!(s.windows(2).all(|pair| pair[0] >= pair[1]));
            let mut scaled = u.clone();
            (0..n).for_each(|j| scaled.column_mut(j).iter_mut().for_each(|v| *v *= s[j]));
            assert!(farthest(&scaled.product(&vt), &a) < 1e-13);
            assert!(farthest(&u.transposed().product(&u), &Matrix::identity(n)) < 1e-13);
            assert!(farthest(&vt.product(&vt.transposed()), &Matrix::identity(n)) < 1e-13);
        }
    }

    #[test]
    fn vectors_of_singular_value_0_are_orthonormal_too() {
        let mut a = matrix(6, 3);
        let copy = a.column(0).to_vec();
        a.column_mut(2).copy_from_slice(&copy);
        a.column_mut(1).fill(0.0);
        let (u, s, _) = a.svd();
        assert!(s[0] > 0.1 && s[1] < 1e-15 && s[2] < 1e-15, "{s:?}");
        assert!(farthest(&u.transposed().product(&u), &Matrix::identity(3)) < 1e-14);
        let (u, s, vt) = Matrix::zeros(4, 2).svd();
        assert_eq!(s, [0.0, 0.0]);
        assert!(farthest(&u.transposed().product(&u), &Matrix::identity(2)) < 1e-15);
        assert_eq!(vt, Matrix::identity(2));
    }

    #[test]
    fn huge_and_tiny_elements_have_singular_values() {
        for scale in [1e300, 1e-300] {
            let mut a = Matrix::identity(2);
            a.elements.iter_mut().for_each(|v| *v *= scale);
            assert_eq!(a.clone().svd().1, [scale, scale]);
            assert_eq!(a.qr().1.at(0, 0), scale);
        }
    }

    #[test]
    fn what_is_not_finite_makes_everything_nan() {
        for odd in [f64::NAN, f64::INFINITY] {
            let mut a = matrix(4, 2);
            a.elements[7] = odd;
            let (q, r) = a.clone().qr();
            let (u, s, vt) = a.svd();
            let all = [&q, &r, &u, &vt];
            assert!(
                all.iter().all(|m| m.elements.iter().all(|v| v.is_nan())) && s.iter().all(|v| v.is_nan())
            );
        }
    }

    #[test]
    fn systems_are_solved_and_singular_ones_refused() {
        let (a, x) = (matrix(30, 30), matrix(30, 4));
        let b = a.product(&x);
        assert!(farthest(&a.solve(&b).unwrap(), &x) < 1e-12);
        let mut singular = matrix(3, 3);
        singular.column_mut(1).fill(0.0);
        assert_eq!(singular.solve(&matrix(3, 1)), Err(1));
    }

    #[test]
    fn positive_definite_matrices_have_a_root() {
        let a = matrix(12, 12);
        let square = a.product(&a.transposed());
        let root = square.clone().cholesky().unwrap();
        assert!(farthest(&root.product(&root.transposed()), &square) < 1e-13);
        assert_eq!(root.at(0, 5), 0.0);
        let mut negative = Matrix::identity(3);
        negative.elements[4] = -1.0;
        assert_eq!(negative.cholesky(), Err(1));
    }
}
