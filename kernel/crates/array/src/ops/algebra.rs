//! Owns linear algebra of matrices in chunks: QR and singular values of tall ones, least squares, systems of equations.
//!
//! A tall matrix is cut into blocks of rows. Each becomes a triangle, the triangles below each other are a matrix that is
//! less tall, and so on until one block is left (TSQR). What is done there is in `nuna_chunk::matrix`.

use nuna_chunk::{DType, matrix::Matrix};
use nuna_plan::Splits;

use crate::{
    array::Array,
    error::{ArrayError, ArrayErrorKind},
    grid::{ChunkGrid, bounds, normal},
    ops::{
        routine::{AlongAxes, Reads, Routine, routine},
        shape::concat,
    },
};

/// Bytes of the blocks of rows in which tall matrices are factored.
const BLOCK_BYTES: u64 = 16 << 20;
/// Blocks have at least so many rows per column, so that the triangles are a quarter of them.
const ROWS_PER_COLUMN: u64 = 4;
/// Bytes that factoring a block takes for each of its bytes: its copy, its reflections and `Q`, with `float32` as `float64`.
const SCRATCH: u64 = 8;

fn invalid(message: String) -> ArrayError {
    ArrayErrorKind::Invalid(message).into()
}

impl Array {
    /// Rows and columns.
    fn matrix_shape(&self, operation: &str) -> Result<(u64, u64), ArrayError> {
        self.check_real(operation)?;
        match *self.shape() {
            [rows, columns] => Ok((rows, columns)),
            _ => Err(invalid(format!(
                "`{operation}` takes a matrix, but {} has shape {:?}",
                self.expression(),
                self.shape()
            ))),
        }
    }

    fn square_length(&self, operation: &str) -> Result<u64, ArrayError> {
        let (rows, columns) = self.matrix_shape(operation)?;
        if rows == columns {
            return Ok(rows);
        }
        Err(invalid(format!(
            "`{operation}` takes a square matrix, but {} has shape {:?}",
            self.expression(),
            self.shape()
        )))
    }

    /// The matrix in blocks of all columns and so many rows that factoring pays.
    fn in_row_blocks(&self, columns: u64) -> Array {
        let wide = self.whole_along(&[1]);
        let rows = (BLOCK_BYTES / (8 * columns)).max(ROWS_PER_COLUMN * columns);
        let own = bounds(&wide.chunks().axes()[0]);
        let length = self.shape()[0];
        let mut cuts = vec![0];
        for &cut in &own {
            // No block is wider than tall, also not the last.
            if cut - cuts[cuts.len() - 1] >= rows && length - cut >= columns {
                cuts.push(cut);
            }
        }
        cuts.push(length);
        let mut axes = wide.chunks().axes().to_vec();
        axes[0] = normal(cuts);
        wide.rechunk_to(ChunkGrid::from_axes(axes))
    }

    /// `Q` with orthonormal columns and the triangle `R` whose product this matrix is, as `numpy.linalg.qr`: of shape `(m, n)`
    /// they have `(m, k)` and `(k, n)`, `k` being the smaller length. `R`'s diagonal is not negative. `float32` stays,
    /// everything else gives `float64`; computed in `float64`. A NaN or an infinity makes everything NaN.
    ///
    /// A tall matrix is factored by blocks of rows, each with all columns; `Q` reads it a second time. A wide one becomes one block.
    ///
    /// # Errors
    /// If it has not two axes, or is complex.
    pub fn qr(&self) -> Result<(Array, Array), ArrayError> {
        let (m, n) = self.matrix_shape("qr")?;
        let (k, dtype) = (m.min(n), self.dtype().to_float());
        if k == 0 {
            return Ok((Array::zeros(&[m, k], dtype), Array::zeros(&[k, n], dtype)));
        }
        if m < n {
            // Side by side in one chunk.
            let both = self.of_whole("qr", [m, m + n], |chunk, dtype| {
                let (q, r) = Matrix::from_chunk(chunk).qr();
                let (q, r) = (q.transposed(), r.transposed());
                Ok(Matrix::to_chunk(&[&q, &r], dtype).transpose(&[1, 0]))
            })?;
            let (m, q) = (m as i64, both.slice_axis(1, None, Some(m as i64), 1)?);
            return Ok((q, both.slice_axis(1, Some(m), None, 1)?));
        }
        let blocks = self.in_row_blocks(n);
        let count = blocks.chunks().axes()[0].count();
        if count <= 1 {
            let both = self.of_whole("qr", [m + n, n], |chunk, dtype| {
                let (q, r) = Matrix::from_chunk(chunk).qr();
                Ok(Matrix::to_chunk(&[&q, &r], dtype))
            })?;
            let m = m as i64;
            return Ok((both.slice_axis(0, None, Some(m), 1)?, both.slice_axis(0, Some(m), None, 1)?));
        }
        let (q, r) = blocks.triangles(n)?.qr()?;
        let made = Routine {
            name: "qr".to_owned(),
            dtype,
            grid: blocks.chunks().clone(),
            scratch: blocks.block_bytes(DType::F64).saturating_mul(4),
        };
        let reads = vec![(blocks, Reads::Own), (q.rechunk(&[n, n])?, Reads::Own)];
        let q = routine(reads, made, &dtype, |dtype, block| {
            let (own, _) = Matrix::from_chunk(&block.inputs[0]).qr();
            Ok(Matrix::to_chunk(&[&own.product(&Matrix::from_chunk(&block.inputs[1]))], *dtype))
        })?;
        Ok((q, r.astype(dtype)))
    }

    /// The triangles of all blocks of rows below each other, in `float64`.
    fn triangles(&self, n: u64) -> Result<Array, ArrayError> {
        let rows = Splits::Regular { chunk: n, length: n * self.chunks().axes()[0].count() };
        let made = Routine {
            name: "qr of blocks".to_owned(),
            dtype: DType::F64,
            grid: ChunkGrid::from_axes(vec![rows, Splits::Regular { chunk: n, length: n }]),
            scratch: self.block_bytes(DType::F64).saturating_mul(3),
        };
        routine(vec![(self.clone(), Reads::Own)], made, &(), |(), block| {
            let (_, r) = Matrix::from_chunk(&block.inputs[0]).qr();
            Ok(Matrix::to_chunk(&[&r], DType::F64))
        })
    }

    /// A function of the matrix as one chunk, in `float64` and given as the dtype that floats of it have.
    fn of_whole<F>(&self, name: &str, shape: [u64; 2], function: F) -> Result<Array, ArrayError>
    where
        F: Fn(&nuna_chunk::Chunk, DType) -> Result<nuna_chunk::Chunk, String>
            + Copy
            + nuna_ship::Ship
            + 'static,
    {
        let dtype = self.dtype().to_float();
        let lengths = shape.map(Some);
        let along = AlongAxes { name, axes: &[0, 1], dtype, lengths: &lengths, scratch: SCRATCH };
        self.over_axes(&along, &dtype, move |dtype, block| function(&block.inputs[0], *dtype))
    }

    /// The singular value decomposition `U · diag(S) · Vᵀ`, as `numpy.linalg.svd` with `full_matrices=False`: of shape `(m, n)`
    /// these have `(m, k)`, `(k)` in descending order and `(k, n)`, `k` being the smaller length. In each row of `Vᵀ` (of a wide matrix,
    /// in each column of `U`) the element farthest from 0 is positive. `float32` stays, everything else gives `float64`; computed
    /// in `float64`. A NaN or an infinity makes everything NaN.
    ///
    /// A tall matrix becomes a triangle by [`qr`](Array::qr), a wide one is transposed. The triangle is one block.
    ///
    /// # Errors
    /// If it has not two axes, or is complex.
    pub fn svd(&self) -> Result<(Array, Array, Array), ArrayError> {
        let (m, n) = self.matrix_shape("svd")?;
        if m < n {
            let (u, s, vt) = self.transpose(&[1, 0])?.svd()?;
            return Ok((vt.transpose(&[1, 0])?, s, u.transpose(&[1, 0])?));
        }
        let dtype = self.dtype().to_float();
        if n == 0 {
            let empty = |shape: &[u64]| Array::zeros(shape, dtype);
            return Ok((empty(&[m, 0]), empty(&[0]), empty(&[0, 0])));
        }
        let (q, r) = self.astype(DType::F64).qr()?;
        // `U` of the triangle, the values and `Vᵀ`, below each other.
        let all = r.of_whole("svd", [2 * n + 1, n], |chunk, dtype| {
            let (u, s, vt) = Matrix::from_chunk(chunk).svd();
            let s = Matrix::from_chunk(&nuna_chunk::Chunk::from_slice(&[1, s.len() as u64], &s));
            Ok(Matrix::to_chunk(&[&u, &s, &vt], dtype))
        })?;
        let n = n as i64;
        let u = q.matmul(&all.slice_axis(0, None, Some(n), 1)?)?;
        let vt = all.slice_axis(0, Some(n + 1), None, 1)?;
        Ok((u.astype(dtype), all.index_axis(0, n)?.astype(dtype), vt.astype(dtype)))
    }

    /// `x` in `self · x = b`, with a square matrix and `b` of one axis or, for several right sides, two. `float32` stays if both
    /// are, everything else gives `float64`; computed in `float64`. A NaN makes NaN what depends on it. The matrix becomes one
    /// block; right sides stay in chunks.
    ///
    /// # Errors
    /// If the shapes do not fit; when computed, if the matrix is singular: a pivot is 0.
    pub fn solve(&self, b: &Array) -> Result<Array, ArrayError> {
        let n = self.square_length("solve")?;
        b.check_real("solve")?;
        if !(1..=2).contains(&b.ndim()) || b.shape()[0] != n {
            return Err(invalid(format!(
                "`solve` with a matrix of shape {:?} takes {n} rows on the right, not shape {:?}",
                self.shape(),
                b.shape()
            )));
        }
        let dtype = self.dtype().promote(b.dtype()).to_float();
        if b.ndim() == 1 {
            return self.solve(&b.expand_dims(1)?)?.squeeze(&[1]);
        }
        if n == 0 {
            return Ok(Array::zeros(b.shape(), dtype));
        }
        let (a, b) = (self.whole_along(&[0, 1]), b.whole_along(&[0]));
        let fixed = crate::program::AxisRule::Fixed { start: 0, end: n };
        let scratch = 2 * (a.block_bytes(DType::F64) + b.block_bytes(DType::F64));
        let made = Routine { name: "solve".to_owned(), dtype, grid: b.chunks().clone(), scratch };
        let reads = vec![(a, Reads::Rules(vec![fixed.clone(), fixed])), (b, Reads::Own)];
        routine(reads, made, &dtype, |dtype, block| {
            let (a, b) = (Matrix::from_chunk(&block.inputs[0]), Matrix::from_chunk(&block.inputs[1]));
            let x = a.solve(&b).map_err(|column| singular("solve", column))?;
            Ok(Matrix::to_chunk(&[&x], *dtype))
        })
    }

    /// The inverse of a square matrix; see [`solve`](Array::solve), which needs it seldom.
    ///
    /// # Errors
    /// As [`solve`](Array::solve).
    pub fn inv(&self) -> Result<Array, ArrayError> {
        let n = self.square_length("inv")?;
        if n == 0 {
            return Ok(self.astype(self.dtype().to_float()));
        }
        self.of_whole("inv", [n, n], |chunk, dtype| {
            let a = Matrix::from_chunk(chunk);
            let identity = Matrix::identity(a.rows());
            Ok(Matrix::to_chunk(&[&a.solve(&identity).map_err(|column| singular("inv", column))?], dtype))
        })
    }

    /// The determinant of a square matrix, without axes; of none it is 1. `float32` stays, everything else gives `float64`. The
    /// matrix becomes one block.
    ///
    /// # Errors
    /// If it is not a square matrix.
    pub fn det(&self) -> Result<Array, ArrayError> {
        let n = self.square_length("det")?;
        if n == 0 {
            return Ok(Array::full(&[], 1.0, self.dtype().to_float()));
        }
        let one = self.of_whole("det", [1, 1], |chunk, dtype| {
            let determinant = Matrix::from_chunk(chunk)
                .lu()
                .map_or(0.0, |(lu, _, sign)| (0..lu.rows()).fold(sign, |product, i| product * lu.at(i, i)));
            Ok(nuna_chunk::Chunk::from_slice(&[1, 1], &[determinant]).cast(dtype))
        })?;
        one.squeeze(&[0, 1])
    }

    /// The lower triangle whose product with its transpose this symmetric matrix is; above the diagonal it is not read.
    /// `float32` stays, everything else gives `float64`. The matrix becomes one block.
    ///
    /// # Errors
    /// If it is not square; when computed, if it is not positive definite.
    pub fn cholesky(&self) -> Result<Array, ArrayError> {
        let n = self.square_length("cholesky")?;
        if n == 0 {
            return Ok(self.astype(self.dtype().to_float()));
        }
        self.of_whole("cholesky", [n, n], |chunk, dtype| {
            let root = Matrix::from_chunk(chunk).cholesky();
            let root = root.map_err(|column| {
                format!("`cholesky` of a matrix that is not positive definite: column {column}")
            })?;
            Ok(Matrix::to_chunk(&[&root], dtype))
        })
    }

    /// `x` for which `self · x` comes closest to `b` in the sum of squares, as `numpy.linalg.lstsq`; `b` has one axis or, for
    /// several right sides, two. Of several such `x` the shortest: singular values below ε times the larger length of the
    /// largest one count as 0. `float32` stays if both are, everything else gives `float64`; computed in `float64`. A NaN or an
    /// infinity makes everything NaN.
    ///
    /// A tall matrix is factored by blocks of rows, together with `b`, in one pass.
    ///
    /// # Errors
    /// If the shapes do not fit, or there is nothing to fit.
    pub fn lstsq(&self, b: &Array) -> Result<Array, ArrayError> {
        let (m, n) = self.matrix_shape("lstsq")?;
        b.check_real("lstsq")?;
        if !(1..=2).contains(&b.ndim()) || b.shape()[0] != m || m == 0 || n == 0 {
            return Err(invalid(format!(
                "`lstsq` of a matrix of shape {:?} with a right side of shape {:?}: both need as many rows, at least one, and the \
                 matrix a column",
                self.shape(),
                b.shape()
            )));
        }
        if b.ndim() == 1 {
            return self.lstsq(&b.expand_dims(1)?)?.squeeze(&[1]);
        }
        let dtype = self.dtype().promote(b.dtype()).to_float();
        let (a, b) = (self.astype(DType::F64), b.astype(DType::F64));
        let sides = b.shape()[1];
        // The triangle of both side by side holds that of the matrix, and `Qᵀ · b` beside it.
        let both = concat(&[a.whole_along(&[1]), b.whole_along(&[1])], 1)?;
        let (_, r) = both.qr()?;
        let lengths = [Some(n), Some(sides)];
        let along = AlongAxes { name: "lstsq", axes: &[0, 1], dtype, lengths: &lengths, scratch: SCRATCH };
        let cut = f64::EPSILON * m.max(n) as f64;
        r.over_axes(&along, &(n as usize, cut, dtype), |(n, cut, dtype), block| {
            let r = Matrix::from_chunk(&block.inputs[0]);
            Ok(Matrix::to_chunk(&[&shortest(&r, *n, *cut)], *dtype))
        })
    }
}

fn singular(operation: &str, column: usize) -> String {
    format!(
        "`{operation}` with a singular matrix: column {column} has no pivot; take `lstsq` for the nearest solution"
    )
}

/// The shortest `x` for which the first `n` columns come closest to the others.
fn shortest(r: &Matrix, n: usize, cut: f64) -> Matrix {
    let (left, right) = r.clone().split_columns(n);
    let is_wide = left.rows() < left.columns();
    let (u, s, vt) = if is_wide { left.transposed().svd() } else { left.svd() };
    let (u, vt) = if is_wide { (vt.transposed(), u.transposed()) } else { (u, vt) };
    let least = cut * s.first().copied().unwrap_or(0.0);
    let mut along = u.transposed().product(&right);
    along.scale_rows(|i| if s[i] > least || s[i].is_nan() { 1.0 / s[i] } else { 0.0 });
    vt.transposed().product(&along)
}
