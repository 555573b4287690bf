//! Owns the elementwise operations' names and dtype rules: in which dtype each computes, and which it gives.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    dtype::{DType, Kind},
    error::ChunkError,
};

/// Operations on one operand. Floats follow IEEE 754; integers wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Unary {
    Neg,
    Abs,
    Sign,
    Square,
    Sqrt,
    Cbrt,
    Exp,
    Exp2,
    Expm1,
    Ln,
    Log2,
    Log10,
    Log1p,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Tanh,
    Asinh,
    Acosh,
    Atanh,
    Floor,
    Ceil,
    Trunc,
    /// Halves go to the even neighbour.
    Round,
    IsNan,
    IsFinite,
    IsInf,
    /// Logical for bool, bitwise for integers.
    Not,
    /// Real numbers are their own conjugate.
    Conj,
    Real,
    /// 0 for real numbers.
    Imag,
    /// In radians; 0 or pi for real numbers.
    Angle,
    /// The square of the absolute value, without a root on the way.
    Abs2,
}

/// Operations on two operands of one dtype.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    /// True division: integers give `float64`.
    Div,
    /// Rounds towards minus infinity; an integer divided by zero is 0.
    FloorDiv,
    /// The sign of the divisor, as in Python; an integer modulo zero is 0.
    Rem,
    /// An integer to a negative power is 0 unless the base is 1 or -1.
    Pow,
    /// NaN if either is.
    Minimum,
    /// NaN if either is.
    Maximum,
    Atan2,
    Hypot,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    And,
    Or,
    Xor,
}

impl Unary {
    /// The dtypes it computes in and gives, for an operand of `dtype`.
    ///
    /// # Errors
    /// [`ChunkError::Undefined`] as NumPy raises `TypeError`.
    pub fn dtypes(self, dtype: DType) -> Result<(DType, DType), ChunkError> {
        let undefined = || ChunkError::Undefined { operation: self.to_string(), dtype };
        if dtype.is_complex() {
            return match self {
                Unary::Neg | Unary::Square | Unary::Sqrt | Unary::Exp | Unary::Conj => Ok((dtype, dtype)),
                Unary::Abs | Unary::Real | Unary::Imag | Unary::Angle | Unary::Abs2 => {
                    Ok((dtype, dtype.real_part()))
                }
                Unary::IsNan | Unary::IsFinite | Unary::IsInf => Ok((dtype, DType::Bool)),
                _ => Err(undefined()),
            };
        }
        let float = dtype.to_float();
        Ok(match self {
            Unary::Neg if dtype == DType::Bool => return Err(undefined()),
            Unary::Sign if dtype == DType::Bool => return Err(undefined()),
            Unary::Not if dtype.is_float() => return Err(undefined()),
            // NumPy squares bools as int8.
            Unary::Square if dtype == DType::Bool => (DType::I8, DType::I8),
            Unary::Neg
            | Unary::Abs
            | Unary::Sign
            | Unary::Square
            | Unary::Conj
            | Unary::Real
            | Unary::Imag
            | Unary::Abs2
            | Unary::Not
            | Unary::Floor
            | Unary::Ceil
            | Unary::Trunc
            | Unary::Round => (dtype, dtype),
            Unary::IsNan | Unary::IsFinite | Unary::IsInf => (dtype, DType::Bool),
            Unary::Sqrt
            | Unary::Cbrt
            | Unary::Exp
            | Unary::Exp2
            | Unary::Expm1
            | Unary::Ln
            | Unary::Log2
            | Unary::Log10
            | Unary::Log1p
            | Unary::Sin
            | Unary::Cos
            | Unary::Tan
            | Unary::Asin
            | Unary::Acos
            | Unary::Atan
            | Unary::Sinh
            | Unary::Cosh
            | Unary::Tanh
            | Unary::Asinh
            | Unary::Acosh
            | Unary::Atanh
            | Unary::Angle => (float, float),
        })
    }
}

impl Binary {
    /// Whether it says how two values compare.
    pub fn compares(self) -> bool {
        matches!(self, Binary::Eq | Binary::Ne | Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge)
    }

    /// Whether it is computed in floats, whatever the operands.
    pub fn is_of_floats(self) -> bool {
        matches!(self, Binary::Div | Binary::Atan2 | Binary::Hypot)
    }

    /// What says the same of operands the other way round; only for comparisons.
    pub fn mirrored(self) -> Self {
        match self {
            Binary::Lt => Binary::Gt,
            Binary::Le => Binary::Ge,
            Binary::Gt => Binary::Lt,
            Binary::Ge => Binary::Le,
            other => other,
        }
    }

    /// The dtypes it computes in and gives, for operands that promote to `dtype`.
    ///
    /// # Errors
    /// [`ChunkError::Undefined`] as NumPy raises `TypeError`.
    pub fn dtypes(self, dtype: DType) -> Result<(DType, DType), ChunkError> {
        let undefined = || ChunkError::Undefined { operation: self.to_string(), dtype };
        if dtype.is_complex() {
            return match self {
                Binary::Add | Binary::Sub | Binary::Mul | Binary::Div => Ok((dtype, dtype)),
                Binary::Eq | Binary::Ne => Ok((dtype, DType::Bool)),
                // No order, no rounding, no bits.
                _ => Err(undefined()),
            };
        }
        let is_bool = dtype.kind() == Kind::Bool;
        // NumPy has no bool arithmetic beyond `+` (or) and `*` (and); division of bools is an int8's.
        let number = if is_bool { DType::I8 } else { dtype };
        Ok(match self {
            Binary::Sub if is_bool => return Err(undefined()),
            Binary::Add | Binary::Sub | Binary::Mul | Binary::Minimum | Binary::Maximum => (dtype, dtype),
            Binary::FloorDiv | Binary::Rem | Binary::Pow => (number, number),
            Binary::Div | Binary::Atan2 | Binary::Hypot => (dtype.to_float(), dtype.to_float()),
            Binary::Eq | Binary::Ne | Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge => {
                (dtype, DType::Bool)
            }
            Binary::And | Binary::Or | Binary::Xor if dtype.is_float() => return Err(undefined()),
            Binary::And | Binary::Or | Binary::Xor => (dtype, dtype),
        })
    }
}

impl fmt::Display for Unary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Unary::Neg => "negative",
            Unary::Not => "not",
            other => return write!(f, "{}", format!("{other:?}").to_lowercase()),
        };
        f.write_str(name)
    }
}

impl fmt::Display for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Binary::Add => "+",
            Binary::Sub => "-",
            Binary::Mul => "*",
            Binary::Div => "/",
            Binary::FloorDiv => "//",
            Binary::Rem => "%",
            Binary::Pow => "**",
            Binary::Minimum => "minimum",
            Binary::Maximum => "maximum",
            Binary::Atan2 => "atan2",
            Binary::Hypot => "hypot",
            Binary::Eq => "==",
            Binary::Ne => "!=",
            Binary::Lt => "<",
            Binary::Le => "<=",
            Binary::Gt => ">",
            Binary::Ge => ">=",
            Binary::And => "&",
            Binary::Or => "|",
            Binary::Xor => "^",
        };
        f.write_str(name)
    }
}
