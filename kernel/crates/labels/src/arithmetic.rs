//! Owns elementwise operations by dimension name: broadcasting, alignment of coordinates (inner join, as xarray), and
//! the operators. An operator cannot return an error, so it panics with the message that [`DataArray::binary`] returns.

use std::ops;

use nuna_array::{Array, Binary, Operand, Scalar, Unary};
use nuna_storage::Attributes;

use crate::{
    DataArray, Join, LabelError, Result,
    align::in_common,
    counted::{Makes, units},
    positions::Positions,
    select::span,
};

/// The other side of an operation.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "lives on the stack of one operation, never in a collection")]
pub enum Other {
    Array(DataArray),
    Scalar(Scalar),
}

impl From<DataArray> for Other {
    fn from(array: DataArray) -> Self {
        Other::Array(array)
    }
}

impl From<&DataArray> for Other {
    fn from(array: &DataArray) -> Self {
        Other::Array(array.clone())
    }
}

impl<T: Into<Scalar>> From<T> for Other {
    fn from(value: T) -> Self {
        Other::Scalar(value.into())
    }
}

/// Both arrays cut to the labels they have in common.
pub(crate) fn align(operation: &str, left: &DataArray, right: &DataArray) -> Result<(DataArray, DataArray)> {
    let (mut a, mut b) = (left.clone(), right.clone());
    for dim in left.dims.iter().filter(|dim| right.dims.contains(dim)) {
        let (axis, there) = (a.axis(dim)?, b.axis(dim)?);
        if let (Some(ours), Some(theirs)) = (a.coords.index(dim).cloned(), b.coords.index(dim).cloned())
            && !std::sync::Arc::ptr_eq(&ours, &theirs)
        {
            let (ours, theirs) = (ours.values()?, theirs.values()?);
            if !ours.same(theirs) {
                let (mine, yours) = in_common(dim, ours, theirs)?;
                if mine.is_empty() {
                    return Err(LabelError::NothingInCommon {
                        operation: operation.to_owned(),
                        dim: dim.clone(),
                        left: left.describe(),
                        left_range: span(ours),
                        right: right.describe(),
                        right_range: span(theirs),
                    });
                }
                a = a.take(axis, &narrowed(mine))?;
                b = b.take(there, &narrowed(yours))?;
            }
        }
        let (left_size, right_size) = (a.shape()[axis], b.shape()[there]);
        if left_size != right_size {
            return Err(LabelError::Sizes {
                operation: operation.to_owned(),
                dim: dim.clone(),
                left: left.describe(),
                left_size,
                right: right.describe(),
                right_size,
            });
        }
    }
    Ok((a, b))
}

/// A slice where the positions follow each other: cheaper than a list.
fn narrowed(list: Vec<u64>) -> Positions {
    match list.first() {
        Some(&start) if list.iter().zip(start..).all(|(&at, expected)| at == expected) => {
            Positions::Slice { start, step: 1, count: list.len() as u64 }
        }
        _ => Positions::List(list),
    }
}

/// The array with its dimensions in the order of another's, which must have the same.
pub(crate) fn like(of: &DataArray, other: &DataArray) -> Result<DataArray> {
    if of.dims == other.dims { Ok(of.clone()) } else { of.transpose(other.dims.as_slice()) }
}

/// The left side's dimensions, then those that only the right side has.
pub(crate) fn union(left: &[String], right: &[String]) -> Vec<String> {
    left.iter().chain(right.iter().filter(|dim| !left.contains(dim))).cloned().collect()
}

/// The array with axes in the order of `dims`; dimensions it lacks become axes of length 1, but not in front.
pub(crate) fn spread(of: &DataArray, dims: &[String]) -> Result<Array> {
    let order: Vec<usize> = dims.iter().filter_map(|dim| of.dims.iter().position(|d| d == dim)).collect();
    let mut array = of.array.transpose(&order)?;
    let first = dims.iter().position(|dim| of.dims.contains(dim)).unwrap_or(dims.len());
    for (axis, _) in dims.iter().skip(first).enumerate().filter(|(_, dim)| !of.dims.contains(dim)) {
        array = array.expand_dims(axis)?;
    }
    Ok(array)
}

/// Attributes that both have alike, or only one has.
pub(crate) fn merge_attrs(left: &Attributes, right: &Attributes) -> Attributes {
    let agreed = left.iter().filter(|(key, value)| right.get(*key).is_none_or(|theirs| theirs == *value));
    let added = right.iter().filter(|(key, _)| !left.contains_key(*key));
    agreed.chain(added).map(|(key, value)| (key.clone(), value.clone())).collect()
}

impl DataArray {
    /// An operation on this array and another, or a value. Dimensions broadcast by name; along shared dimensions only
    /// labels that both have remain.
    ///
    /// # Errors
    /// [`LabelError::Sizes`] or [`LabelError::NothingInCommon`], naming both sides.
    pub fn binary(&self, op: Binary, other: impl Into<Other>) -> Result<DataArray> {
        match other.into() {
            Other::Scalar(value) => {
                let made = self.with_array(self.array.binary(op, value)?);
                Ok(made.after(Makes::by_binary(op, false)))
            }
            Other::Array(other) => {
                let makes =
                    Makes::by_binary(op, units(&self.attrs).is_some() && units(&other.attrs).is_some());
                let other = other.counted_like(&self.attrs)?;
                let (left, right) = align(&op.to_string(), self, &other)?;
                let dims = union(&left.dims, &right.dims);
                let array = spread(&left, &dims)?.binary(op, spread(&right, &dims)?)?;
                let name = if self.name == other.name { self.name.clone() } else { None };
                let attrs = makes.attrs(merge_attrs(&self.attrs, &other.attrs));
                Ok(DataArray {
                    array,
                    dims,
                    coords: left.coords.merge(&right.coords),
                    attrs,
                    name,
                    loaded: None,
                })
            }
        }
    }

    /// [`binary`](DataArray::binary) with another join of the labels along shared dimensions: elements that one side lacks are
    /// NaN, which makes floats of integers.
    ///
    /// # Errors
    /// As [`align`](crate::align()).
    pub fn binary_with(&self, op: Binary, other: &DataArray, join: Join) -> Result<DataArray> {
        let both = crate::align(&[self.clone(), other.clone()], join)?;
        both[0].binary(op, &both[1])
    }

    /// `value op self`.
    ///
    /// # Errors
    /// If the operation is not defined for the dtype.
    pub fn binary_from(&self, op: Binary, value: impl Into<Scalar>) -> Result<DataArray> {
        Ok(self.with_array(self.array.binary_from(op, value)?))
    }

    /// An operation on every element.
    ///
    /// # Errors
    /// If it is not defined for the dtype.
    pub fn unary(&self, op: Unary) -> Result<DataArray> {
        Ok(self.with_array(self.array.unary(op)?).after(Makes::by_unary(op)))
    }

    /// With the units that an operation on times leaves.
    pub(crate) fn after(self, makes: Makes) -> DataArray {
        DataArray { attrs: makes.attrs(self.attrs), ..self }
    }

    /// Its elements where `condition` is true, NaN elsewhere. Integers become floats.
    ///
    /// # Errors
    /// As [`binary`](DataArray::binary).
    pub fn where_(&self, condition: &DataArray) -> Result<DataArray> {
        self.where_or(condition, f64::NAN)
    }

    /// Its elements where `condition` is true, `other` elsewhere.
    ///
    /// # Errors
    /// As [`binary`](DataArray::binary).
    pub fn where_or(&self, condition: &DataArray, other: impl Into<Other>) -> Result<DataArray> {
        let (left, mut condition) = align("where", self, condition)?;
        let (left, other) = match other.into() {
            Other::Scalar(value) => (left, Other::Scalar(value)),
            Other::Array(other) => {
                let other = other.counted_like(&self.attrs)?;
                let (left, other) = align("where", &left, &other)?;
                condition = align("where", &left, &condition)?.1;
                // Dimensions that only these two have must agree as well.
                let (aligned, other) = align("where", &condition, &other)?;
                condition = aligned;
                (left, Other::Array(other))
            }
        };
        let mut dims = union(&left.dims, &condition.dims);
        let mut coords = left.coords.merge(&condition.coords);
        let otherwise = match &other {
            Other::Scalar(value) => Operand::Scalar(*value),
            Other::Array(other) => {
                dims = union(&dims, &other.dims);
                coords = coords.merge(&other.coords);
                // What two of the three disagree about is not the third one's to say.
                let sides = [&left.coords, &condition.coords, &other.coords];
                coords.retain(|name, coord| {
                    coord.dims() == [name]
                        || sides.iter().filter_map(|side| side.get(name)).all(|c| c.same(coord))
                });
                Operand::Array(spread(other, &dims)?)
            }
        };
        let array = spread(&left, &dims)?.where_(&spread(&condition, &dims)?, otherwise)?;
        Ok(DataArray { array, dims, coords, ..self.with_array(self.array.clone()) })
    }

    /// NaN replaced by a value, or by the elements of another array, which is given this one's labels first and may lack
    /// dimensions.
    ///
    /// # Errors
    /// As [`binary`](DataArray::binary).
    pub fn fillna(&self, value: impl Into<Other>) -> Result<DataArray> {
        match value.into() {
            Other::Scalar(value) => Ok(self.with_array(self.array.fillna(value)?)),
            Other::Array(other) => self.where_or(&self.notnull()?, other.reindex_like(self)?),
        }
    }

    /// True where it is not NaN.
    ///
    /// # Errors
    /// Never at present.
    pub fn notnull(&self) -> Result<DataArray> {
        Ok(self.with_array(self.array.isnan()?.unary(Unary::Not)?).after(Makes::Numbers))
    }

    /// Degrees as radians. `float32` stays, everything else gives `float64`. The attribute `units` goes away.
    ///
    /// # Errors
    /// Never for numbers.
    pub fn to_radians(&self) -> Result<DataArray> {
        Ok(self.without_units(self.array.to_radians()?))
    }

    /// Radians as degrees; see [`to_radians`](DataArray::to_radians).
    ///
    /// # Errors
    /// Never for numbers.
    pub fn to_degrees(&self) -> Result<DataArray> {
        Ok(self.without_units(self.array.to_degrees()?))
    }

    /// Rounded to so many decimals, halves of the last one to even, as NumPy's `round(decimals)`; of -2 to hundreds. Integers stay
    /// as they are where there is nothing to round.
    ///
    /// # Errors
    /// If integers are to be rounded to tens or more, or the elements are complex.
    pub fn round_to(&self, decimals: i32) -> Result<DataArray> {
        if !self.dtype().is_float() {
            if decimals >= 0 && !self.dtype().is_complex() {
                return Ok(self.clone());
            }
            return Err(LabelError::Invalid(format!(
                "rounding {} of {} to {decimals} decimals; take `astype(DType::F64)` first",
                self.describe(),
                self.dtype()
            )));
        }
        let scale = 10_f64.powi(decimals.unsigned_abs().min(300).cast_signed());
        let (there, back) =
            if decimals < 0 { (Binary::Div, Binary::Mul) } else { (Binary::Mul, Binary::Div) };
        self.binary(there, scale)?.round()?.binary(back, scale)
    }

    fn without_units(&self, array: Array) -> DataArray {
        let mut with = self.with_array(array);
        with.attrs.remove("units");
        with
    }

    /// Values limited to `low..=high`, each a value or an array; NaN stays, and a limit that is NaN makes NaN.
    ///
    /// # Errors
    /// As [`binary`](DataArray::binary).
    pub fn clip(&self, low: impl Into<Other>, high: impl Into<Other>) -> Result<DataArray> {
        match (low.into(), high.into()) {
            (Other::Scalar(low), Other::Scalar(high)) => Ok(self.with_array(self.array.clip(low, high)?)),
            (low, high) => {
                let limited = self.binary(Binary::Maximum, low)?.binary(Binary::Minimum, high)?;
                Ok(DataArray { name: self.name.clone(), attrs: self.attrs.clone(), ..limited })
            }
        }
    }
}

macro_rules! comparisons {
    ($($name:ident => $op:ident),*) => {
        impl DataArray {$(
            /// Of each element and its counterpart; see [`binary`](DataArray::binary).
            ///
            /// # Errors
            /// As [`binary`](DataArray::binary).
            pub fn $name(&self, other: impl Into<Other>) -> Result<DataArray> {
                self.binary(Binary::$op, other)
            }
        )*}
    };
}
comparisons!(equal => Eq, not_equal => Ne, less => Lt, less_equal => Le, greater => Gt, greater_equal => Ge,
             pow => Pow, minimum => Minimum, maximum => Maximum, floor_div => FloorDiv, atan2 => Atan2, hypot => Hypot);

macro_rules! functions {
    ($($name:ident => $op:ident),*) => {
        impl DataArray {$(
            /// Of every element.
            ///
            /// # Errors
            /// If it is not defined for the dtype.
            pub fn $name(&self) -> Result<DataArray> {
                self.unary(Unary::$op)
            }
        )*}
    };
}
functions!(abs => Abs, sign => Sign, square => Square, sqrt => Sqrt, exp => Exp, ln => Ln, log10 => Log10,
           log1p => Log1p, sin => Sin, cos => Cos, tan => Tan, floor => Floor, ceil => Ceil, round => Round,
           isnull => IsNan, isfinite => IsFinite, conj => Conj, real => Real, imag => Imag, angle => Angle,
           abs2 => Abs2, exp2 => Exp2, expm1 => Expm1, log2 => Log2, cbrt => Cbrt, trunc => Trunc, isinf => IsInf,
           asin => Asin, acos => Acos, atan => Atan, sinh => Sinh, cosh => Cosh, tanh => Tanh, asinh => Asinh,
           acosh => Acosh, atanh => Atanh);

/// One impl for everything on the right, not one per type: only so does `(&a * 2.0).mean("time")` infer without
/// annotations. On the left only `f64` and `i64`, as for arrays.
macro_rules! operators {
    ($($trait:ident, $method:ident, $op:ident;)*) => {$(
        operators!(@array $trait, $method, $op, DataArray);
        operators!(@array $trait, $method, $op, &DataArray);
    )*};
    (@array $trait:ident, $method:ident, $op:ident, $left:ty) => {
        impl<T: Into<Other>> ops::$trait<T> for $left {
            type Output = DataArray;
            #[track_caller]
            fn $method(self, other: T) -> DataArray {
                self.binary(Binary::$op, other).unwrap_or_else(|error| panic!("{error}"))
            }
        }
    };
    (@scalar $($scalar:ty, $array:ty;)*) => {$(
        operators!(@left Add, add, $scalar, $array);
        operators!(@left Sub, sub, $scalar, $array);
        operators!(@left Mul, mul, $scalar, $array);
        operators!(@left Div, div, $scalar, $array);
    )*};
    (@left $op:ident, $method:ident, $scalar:ty, $array:ty) => {
        impl ops::$op<$array> for $scalar {
            type Output = DataArray;
            #[track_caller]
            fn $method(self, array: $array) -> DataArray {
                array.binary_from(Binary::$op, self).unwrap_or_else(|error| panic!("{error}"))
            }
        }
    };
}
operators! {
    Add, add, Add;
    Sub, sub, Sub;
    Mul, mul, Mul;
    Div, div, Div;
    Rem, rem, Rem;
    BitAnd, bitand, And;
    BitOr, bitor, Or;
    BitXor, bitxor, Xor;
}
operators!(@scalar f64, DataArray; f64, &DataArray; i64, DataArray; i64, &DataArray;);

macro_rules! unary_operator {
    ($trait:ident, $method:ident, $op:ident, $($t:ty),*) => {$(
        impl ops::$trait for $t {
            type Output = DataArray;
            #[track_caller]
            fn $method(self) -> DataArray {
                self.unary(Unary::$op).unwrap_or_else(|error| panic!("{error}"))
            }
        }
    )*};
}
unary_operator!(Neg, neg, Neg, DataArray, &DataArray);
unary_operator!(Not, not, Not, DataArray, &DataArray);
