//! Owns `+ - * / % & | ^ - !` on arrays and values. An operator cannot return an error, so a mistake panics with the
//! message that the method (`add`, `sub`, …) would return; in a notebook it shows at that line.

use std::ops;

use nuna_chunk::tile::{Binary, Unary};

use crate::{array::Array, ops::elementwise::Operand};

/// One impl for everything on the right, not one per type: only so does `(&a * 2).sum(…)` infer without annotations.
macro_rules! operator {
    ($trait:ident, $method:ident, $op:ident) => {
        impl<T: Into<Operand>> ops::$trait<T> for Array {
            type Output = Array;
            #[track_caller]
            fn $method(self, other: T) -> Array {
                self.binary(Binary::$op, other).unwrap_or_else(|error| panic!("{error}"))
            }
        }
        impl<T: Into<Operand>> ops::$trait<T> for &Array {
            type Output = Array;
            #[track_caller]
            fn $method(self, other: T) -> Array {
                self.binary(Binary::$op, other).unwrap_or_else(|error| panic!("{error}"))
            }
        }
    };
}
operator!(Add, add, Add);
operator!(Sub, sub, Sub);
operator!(Mul, mul, Mul);
operator!(Div, div, Div);
operator!(Rem, rem, Rem);
operator!(BitAnd, bitand, And);
operator!(BitOr, bitor, Or);
operator!(BitXor, bitxor, Xor);

/// On the left only `f64` and `i64`: a literal there has one type to become.
macro_rules! scalar_operator {
    ($($trait:ident, $method:ident, $op:ident, $scalar:ty, $array:ty;)*) => {$(
        impl ops::$trait<$array> for $scalar {
            type Output = Array;
            #[track_caller]
            fn $method(self, other: $array) -> Array {
                other.binary_from(Binary::$op, self).unwrap_or_else(|error| panic!("{error}"))
            }
        }
    )*};
}
macro_rules! scalar_operators {
    ($($scalar:ty, $array:ty;)*) => {$(scalar_operator! {
        Add, add, Add, $scalar, $array;
        Sub, sub, Sub, $scalar, $array;
        Mul, mul, Mul, $scalar, $array;
        Div, div, Div, $scalar, $array;
        Rem, rem, Rem, $scalar, $array;
    })*};
}
scalar_operators! { f64, Array; f64, &Array; i64, Array; i64, &Array; }

macro_rules! unary_operator {
    ($trait:ident, $method:ident, $op:ident, $($t:ty),*) => {$(
        impl ops::$trait for $t {
            type Output = Array;
            #[track_caller]
            fn $method(self) -> Array {
                self.unary(Unary::$op).unwrap_or_else(|error| panic!("{error}"))
            }
        }
    )*};
}
unary_operator!(Neg, neg, Neg, Array, &Array);
unary_operator!(Not, not, Not, Array, &Array);
