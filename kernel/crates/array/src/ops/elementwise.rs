//! Owns elementwise operations: broadcasting, promotion, and the choice of chunks for the result.

use nuna_chunk::{
    ChunkError, DType, Scalar, Shape,
    tile::{Binary, Unary},
};
use nuna_plan::Splits;

use crate::{
    array::Array,
    error::{ArrayError, ArrayErrorKind},
    expr::{Expr, Function, Node, Op},
    grid::ChunkGrid,
};

/// The other side of an operation: an array, or a value that takes on the array's dtype.
#[derive(Clone, Debug)]
pub enum Operand {
    Array(Array),
    Scalar(Scalar),
}

impl From<Array> for Operand {
    fn from(array: Array) -> Self {
        Operand::Array(array)
    }
}

impl From<&Array> for Operand {
    fn from(array: &Array) -> Self {
        Operand::Array(array.clone())
    }
}

impl<T: Into<Scalar>> From<T> for Operand {
    fn from(value: T) -> Self {
        Operand::Scalar(value.into())
    }
}

fn constant(value: Scalar, dtype: DType) -> Node {
    Expr::new(Op::Full(value), dtype, ChunkGrid::whole(&[]))
}

/// The shape of an operation on both.
pub(crate) fn broadcast_shapes(operation: &str, a: &Node, b: &Node) -> Result<Shape, ArrayErrorKind> {
    let ndim = a.shape.len().max(b.shape.len());
    let at = |shape: &[u64], from_end: usize| shape.len().checked_sub(from_end).map_or(1, |i| shape[i]);
    let mut shape: Shape = (0..ndim).map(|_| 1).collect();
    for from_end in 1..=ndim {
        let (left, right) = (at(&a.shape, from_end), at(&b.shape, from_end));
        shape[ndim - from_end] = match (left, right) {
            (l, r) if l == r => l,
            (1, r) => r,
            (l, 1) => l,
            (left_length, right_length) => {
                return Err(ArrayErrorKind::Broadcast {
                    operation: operation.to_owned(),
                    left_name: a.to_string(),
                    left: a.shape.to_vec(),
                    right_name: b.to_string(),
                    right: b.shape.to_vec(),
                    axis: from_end,
                    left_length,
                    right_length,
                });
            }
        };
    }
    Ok(shape)
}

/// Chunks for a result of `shape`: along each axis those of the largest operand that has the axis. Operands cut
/// differently are read, or moved, to fit when the plan is made.
fn result_grid(shape: &[u64], inputs: &[&Node]) -> ChunkGrid {
    let mut by_size: Vec<&&Node> = inputs.iter().collect();
    // Stable: of equals the first operand decides.
    by_size.sort_by_key(|node| std::cmp::Reverse(node.byte_count()));
    let axes = (0..shape.len()).map(|axis| {
        let from_end = shape.len() - axis;
        let found = by_size.iter().find_map(|node| {
            let own = node.shape.len().checked_sub(from_end)?;
            (node.shape[own] == shape[axis] && !matches!(node.op, Op::Full(_)))
                .then(|| node.grid.axes()[own].clone())
        });
        found.unwrap_or_else(|| {
            by_size
                .iter()
                .find_map(|node| {
                    let own = node.shape.len().checked_sub(from_end)?;
                    (node.shape[own] == shape[axis]).then(|| node.grid.axes()[own].clone())
                })
                .unwrap_or(Splits::Regular { chunk: shape[axis].max(1), length: shape[axis] })
        })
    });
    ChunkGrid::from_axes(axes.collect())
}

impl Array {
    /// An operation on one array.
    ///
    /// # Errors
    /// [`ArrayErrorKind::Chunk`] if it is not defined for the dtype, such as `-` of bool.
    pub fn unary(&self, op: Unary) -> Result<Array, ArrayError> {
        if let Some(joined) = self.joined_unary(op) {
            return Ok(joined);
        }
        let (_, dtype) = op.dtypes(self.dtype())?;
        let op = Op::Map { function: Function::Unary(op), inputs: vec![self.node.clone()] };
        Ok(Array::from_node(Expr::new(op, dtype, self.node.grid.clone())))
    }

    /// An operation on two arrays, or an array and a value. Shapes broadcast, dtypes promote as in NumPy 2.
    ///
    /// # Errors
    /// [`ArrayErrorKind::Broadcast`] and [`ArrayErrorKind::DTypes`], naming both operands.
    pub fn binary(&self, op: Binary, other: impl Into<Operand>) -> Result<Array, ArrayError> {
        match other.into() {
            Operand::Array(other) => {
                let promoted = self.dtype().promote(other.dtype());
                // Signed and unsigned integers of 64 bits have no common dtype but float64, which cannot tell them apart.
                if op.compares()
                    && promoted.is_float()
                    && self.dtype().is_integer()
                    && other.dtype().is_integer()
                {
                    return match self.dtype() {
                        DType::U64 => compare_exactly(op, self, &other),
                        _ => compare_exactly(op.mirrored(), &other, self),
                    };
                }
                map_binary(op, promoted, &self.node, &other.node)
            }
            Operand::Scalar(value) => {
                let (op, value, promoted) = self.promote_scalar(op, value)?;
                map_binary(op, promoted, &self.node, &constant(value, promoted))
            }
        }
    }

    /// `value op self`.
    ///
    /// # Errors
    /// As [`binary`](Array::binary).
    pub fn binary_from(&self, op: Binary, value: impl Into<Scalar>) -> Result<Array, ArrayError> {
        let value = value.into();
        if op.compares() {
            return self.binary(op.mirrored(), value);
        }
        let (op, value, promoted) = self.promote_scalar(op, value)?;
        map_binary(op, promoted, &constant(value, promoted), &self.node)
    }

    /// The dtype of an operation with a value. A comparison with a value that the dtype cannot hold becomes one that has the
    /// same answer everywhere.
    fn promote_scalar(&self, op: Binary, value: Scalar) -> Result<(Binary, Scalar, DType), ArrayError> {
        let promoted = value.promote(self.dtype());
        match value.check_fits(promoted) {
            Ok(()) => Ok((op, value, promoted)),
            Err(_) if op.is_of_floats() => Ok((op, value, DType::F64)),
            Err(_) if op.compares() => {
                let above = value.as_f64() > 0.0;
                let holds = match op {
                    Binary::Eq => false,
                    Binary::Ne => true,
                    Binary::Lt | Binary::Le => above,
                    _ => !above,
                };
                // Nothing is below the least of a dtype.
                let op = if holds { Binary::Ge } else { Binary::Lt };
                Ok((op, least(promoted), promoted))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub fn add(&self, other: impl Into<Operand>) -> Result<Array, ArrayError> {
        self.binary(Binary::Add, other)
    }

    pub fn sub(&self, other: impl Into<Operand>) -> Result<Array, ArrayError> {
        self.binary(Binary::Sub, other)
    }

    pub fn mul(&self, other: impl Into<Operand>) -> Result<Array, ArrayError> {
        self.binary(Binary::Mul, other)
    }

    pub fn div(&self, other: impl Into<Operand>) -> Result<Array, ArrayError> {
        self.binary(Binary::Div, other)
    }

    pub fn pow(&self, other: impl Into<Operand>) -> Result<Array, ArrayError> {
        self.binary(Binary::Pow, other)
    }

    pub fn equal(&self, other: impl Into<Operand>) -> Result<Array, ArrayError> {
        self.binary(Binary::Eq, other)
    }

    pub fn not_equal(&self, other: impl Into<Operand>) -> Result<Array, ArrayError> {
        self.binary(Binary::Ne, other)
    }

    pub fn less(&self, other: impl Into<Operand>) -> Result<Array, ArrayError> {
        self.binary(Binary::Lt, other)
    }

    pub fn less_equal(&self, other: impl Into<Operand>) -> Result<Array, ArrayError> {
        self.binary(Binary::Le, other)
    }

    pub fn greater(&self, other: impl Into<Operand>) -> Result<Array, ArrayError> {
        self.binary(Binary::Gt, other)
    }

    pub fn greater_equal(&self, other: impl Into<Operand>) -> Result<Array, ArrayError> {
        self.binary(Binary::Ge, other)
    }

    /// The lesser of both; NaN if either is.
    pub fn minimum(&self, other: impl Into<Operand>) -> Result<Array, ArrayError> {
        self.binary(Binary::Minimum, other)
    }

    /// The greater of both; NaN if either is.
    pub fn maximum(&self, other: impl Into<Operand>) -> Result<Array, ArrayError> {
        self.binary(Binary::Maximum, other)
    }

    /// Limits values to `low..=high`; NaN stays.
    pub fn clip(&self, low: impl Into<Operand>, high: impl Into<Operand>) -> Result<Array, ArrayError> {
        self.maximum(low)?.minimum(high)
    }

    /// This array where `condition` is true, else `other`. All three broadcast.
    ///
    /// # Errors
    /// [`ArrayErrorKind::Broadcast`], naming the operands that do not fit.
    pub fn where_(&self, condition: &Array, other: impl Into<Operand>) -> Result<Array, ArrayError> {
        let (dtype, otherwise) = match other.into() {
            Operand::Array(other) => (self.dtype().promote(other.dtype()), other.node),
            Operand::Scalar(value) => {
                let dtype = value.promote(self.dtype());
                value.check_fits(dtype)?;
                (dtype, constant(value, dtype))
            }
        };
        let inner = broadcast_shapes("where", &self.node, &otherwise)?;
        let shape = {
            // The condition against what the two branches give.
            let probe = Expr::new(Op::Full(Scalar::Int(0)), dtype, ChunkGrid::whole(&inner));
            broadcast_shapes("where", &condition.node, &probe).map_err(|mut error| {
                if let ArrayErrorKind::Broadcast { right_name, .. } = &mut error {
                    *right_name = self.expression();
                }
                error
            })?
        };
        let inputs = vec![condition.node.clone(), self.node.clone(), otherwise];
        let grid = result_grid(&shape, &inputs.iter().collect::<Vec<_>>());
        Ok(Array::from_node(Expr::new(Op::Map { function: Function::Select, inputs }, dtype, grid)))
    }

    /// This array with NaN replaced.
    ///
    /// # Errors
    /// As [`where_`](Array::where_).
    pub fn fillna(&self, value: impl Into<Operand>) -> Result<Array, ArrayError> {
        if !self.dtype().has_nan() {
            return Ok(self.clone());
        }
        let value = match value.into() {
            Operand::Scalar(Scalar::Complex(re, im)) => Operand::Scalar(Scalar::Complex(re, im)),
            // Filling a float array keeps its dtype.
            Operand::Scalar(value) => Operand::Scalar(Scalar::Float(value.as_f64())),
            array @ Operand::Array(_) => array,
        };
        self.where_(&self.isnan()?.unary(Unary::Not)?, value)
    }

    /// The same values as `dtype`, converted as NumPy's `astype`.
    ///
    /// # Panics
    /// If complex numbers are to become real ones; [`try_astype`](Array::try_astype) returns that as an error.
    #[track_caller]
    pub fn astype(&self, dtype: DType) -> Array {
        self.try_astype(dtype).unwrap_or_else(|error| panic!("{error}"))
    }

    /// As [`astype`](Array::astype), where the dtypes are not known beforehand.
    ///
    /// # Errors
    /// [`ArrayErrorKind::Chunk`] if complex numbers are to become real ones: take [`real`](Array::real),
    /// [`imag`](Array::imag) or [`abs`](Array::abs) first.
    pub fn try_astype(&self, dtype: DType) -> Result<Array, ArrayError> {
        if dtype == self.dtype() {
            return Ok(self.clone());
        }
        if self.dtype().is_complex() && !dtype.is_complex() && dtype != DType::Bool {
            return Err(ChunkError::ComplexToReal { from: self.dtype(), to: dtype }.into());
        }
        let op = Op::Map { function: Function::Cast, inputs: vec![self.node.clone()] };
        Ok(Array::from_node(Expr::new(op, dtype, self.node.grid.clone())))
    }
}

impl Array {
    /// Degrees as radians. `float32` stays, everything else gives `float64`.
    ///
    /// # Errors
    /// Never for numbers.
    pub fn to_radians(&self) -> Result<Array, ArrayError> {
        self.mul(std::f64::consts::PI / 180.0)
    }

    /// Radians as degrees; see [`to_radians`](Array::to_radians).
    ///
    /// # Errors
    /// Never for numbers.
    pub fn to_degrees(&self) -> Result<Array, ArrayError> {
        self.mul(180.0 / std::f64::consts::PI)
    }
}

macro_rules! unary_methods {
    ($($name:ident => $op:ident),* $(,)?) => {
        impl Array {
            $(pub fn $name(&self) -> Result<Array, ArrayError> {
                self.unary(Unary::$op)
            })*
        }
    };
}
unary_methods!(
    negative => Neg, abs => Abs, sign => Sign, square => Square, sqrt => Sqrt, cbrt => Cbrt, exp => Exp, exp2 => Exp2,
    expm1 => Expm1, ln => Ln, log2 => Log2, log10 => Log10, log1p => Log1p, sin => Sin, cos => Cos, tan => Tan,
    asin => Asin, acos => Acos, atan => Atan, sinh => Sinh, cosh => Cosh, tanh => Tanh, floor => Floor, ceil => Ceil,
    trunc => Trunc, round => Round, isnan => IsNan, isfinite => IsFinite, isinf => IsInf, logical_not => Not,
    conj => Conj, real => Real, imag => Imag, angle => Angle, abs2 => Abs2,
);

/// The least value of an integer dtype.
fn least(dtype: DType) -> Scalar {
    match dtype {
        DType::I8 | DType::I16 | DType::I32 | DType::I64 => Scalar::Int(i64::MIN >> (64 - 8 * dtype.size())),
        _ => Scalar::UInt(0),
    }
}

/// Compares unsigned with signed integers, each as they are.
fn compare_exactly(op: Binary, unsigned: &Array, signed: &Array) -> Result<Array, ArrayError> {
    let fits = signed.binary(Binary::Ge, 0)?;
    let found = unsigned.binary(op, signed.astype(unsigned.dtype()))?;
    // What is negative is below all that is unsigned.
    match op {
        Binary::Ne | Binary::Gt | Binary::Ge => found.binary(Binary::Or, &fits.unary(Unary::Not)?),
        _ => found.binary(Binary::And, &fits),
    }
}

fn map_binary(op: Binary, promoted: DType, a: &Node, b: &Node) -> Result<Array, ArrayError> {
    let shape = broadcast_shapes(&op.to_string(), a, b)?;
    let (_, dtype) = op.dtypes(promoted).map_err(|_| ArrayErrorKind::DTypes {
        operation: op.to_string(),
        left: a.dtype,
        right: b.dtype,
    })?;
    let grid = result_grid(&shape, &[a, b]);
    let op = Op::Map { function: Function::Binary(op, promoted), inputs: vec![a.clone(), b.clone()] };
    Ok(Array::from_node(Expr::new(op, dtype, grid)))
}
