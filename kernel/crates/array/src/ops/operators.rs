//! Owns `+ - * / % & | ^ - !` on arrays and values. An operator cannot return an error, so a mistake panics with the
//! message that the method (`add`, `sub`, …) would return; in a notebook it shows at that line.

use std::ops;

use nuna_chunk::tile::{Binary, Unary};

use crate::array::Array;

macro_rules! operator {
    ($trait:ident, $method:ident, $op:ident) => {
        operator!(@arrays $trait, $method, $op, Array, Array);
        operator!(@arrays $trait, $method, $op, Array, &Array);
        operator!(@arrays $trait, $method, $op, &Array, Array);
        operator!(@arrays $trait, $method, $op, &Array, &Array);
    };
    (@arrays $trait:ident, $method:ident, $op:ident, $left:ty, $right:ty) => {
        impl ops::$trait<$right> for $left {
            type Output = Array;
            #[track_caller]
            fn $method(self, other: $right) -> Array {
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

macro_rules! scalar_operator {
    ($($t:ty),* => $trait:ident, $method:ident, $op:ident) => {$(
        impl ops::$trait<$t> for Array {
            type Output = Array;
            #[track_caller]
            fn $method(self, other: $t) -> Array {
                self.binary(Binary::$op, other).unwrap_or_else(|error| panic!("{error}"))
            }
        }
        impl ops::$trait<$t> for &Array {
            type Output = Array;
            #[track_caller]
            fn $method(self, other: $t) -> Array {
                self.binary(Binary::$op, other).unwrap_or_else(|error| panic!("{error}"))
            }
        }
        impl ops::$trait<Array> for $t {
            type Output = Array;
            #[track_caller]
            fn $method(self, other: Array) -> Array {
                other.binary_from(Binary::$op, self).unwrap_or_else(|error| panic!("{error}"))
            }
        }
        impl ops::$trait<&Array> for $t {
            type Output = Array;
            #[track_caller]
            fn $method(self, other: &Array) -> Array {
                other.binary_from(Binary::$op, self).unwrap_or_else(|error| panic!("{error}"))
            }
        }
    )*};
}
scalar_operator!(f64, f32, i32, i64, u64 => Add, add, Add);
scalar_operator!(f64, f32, i32, i64, u64 => Sub, sub, Sub);
scalar_operator!(f64, f32, i32, i64, u64 => Mul, mul, Mul);
scalar_operator!(f64, f32, i32, i64, u64 => Div, div, Div);
scalar_operator!(f64, f32, i32, i64, u64 => Rem, rem, Rem);

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
