//! Owns the inner loops: one small function per operation and dtype, chosen once per program. Bool lanes are bytes
//! of 0 and 1.

use num_complex::Complex;

use crate::{
    buffer::{lanes, lanes_mut},
    cast::CastFrom,
    dtype::DType,
    error::ChunkError,
    simd::widest,
    tile::{
        complex,
        operation::{Binary, Unary},
    },
};

pub(crate) type UnaryKernel = fn(&[u8], &mut [u8]);
pub(crate) type BinaryKernel = fn(&[u8], &[u8], &mut [u8]);
pub(crate) type SelectKernel = fn(&[u8], &[u8], &[u8], &mut [u8]);

#[inline(always)]
pub(crate) fn map1<A: crate::buffer::Lane, R: crate::buffer::Lane>(
    a: &[u8],
    out: &mut [u8],
    f: impl Fn(A) -> R,
) {
    widest(
        #[inline(always)]
        || {
            for (o, &a) in lanes_mut::<R>(out).iter_mut().zip(lanes::<A>(a)) {
                *o = f(a);
            }
        },
    );
}

#[inline(always)]
pub(crate) fn map2<A: crate::buffer::Lane, R: crate::buffer::Lane>(
    a: &[u8],
    b: &[u8],
    out: &mut [u8],
    f: impl Fn(A, A) -> R,
) {
    widest(
        #[inline(always)]
        || {
            for ((o, &a), &b) in lanes_mut::<R>(out).iter_mut().zip(lanes::<A>(a)).zip(lanes::<A>(b)) {
                *o = f(a, b);
            }
        },
    );
}

/// Arithmetic as NumPy has it, one implementation per lane type.
trait Number: crate::buffer::Lane {
    fn add(self, b: Self) -> Self;
    fn sub(self, b: Self) -> Self;
    fn mul(self, b: Self) -> Self;
    fn floor_div(self, b: Self) -> Self;
    fn modulo(self, b: Self) -> Self;
    fn power(self, b: Self) -> Self;
    fn lesser(self, b: Self) -> Self;
    fn greater(self, b: Self) -> Self;
    fn negative(self) -> Self;
    fn magnitude(self) -> Self;
    fn sign(self) -> Self;
    fn is_nan(self) -> bool;
    fn is_finite(self) -> bool;
    fn is_infinite(self) -> bool;
}

macro_rules! integer {
    ($t:ty, $signed:expr, $abs:expr, $sign:expr) => {
        impl Number for $t {
            #[inline(always)]
            fn add(self, b: Self) -> Self {
                self.wrapping_add(b)
            }
            #[inline(always)]
            fn sub(self, b: Self) -> Self {
                self.wrapping_sub(b)
            }
            #[inline(always)]
            fn mul(self, b: Self) -> Self {
                self.wrapping_mul(b)
            }
            #[inline(always)]
            #[allow(unused_comparisons, reason = "one body for signed and unsigned")]
            fn floor_div(self, b: Self) -> Self {
                if b == 0 {
                    return 0;
                }
                let quotient = self.wrapping_div(b);
                let inexact = self.wrapping_rem(b) != 0;
                if $signed && inexact && ((self < 0) != (b < 0)) {
                    quotient.wrapping_sub(1)
                } else {
                    quotient
                }
            }
            #[inline(always)]
            #[allow(unused_comparisons, reason = "one body for signed and unsigned")]
            fn modulo(self, b: Self) -> Self {
                if b == 0 {
                    return 0;
                }
                let rest = self.wrapping_rem(b);
                if $signed && rest != 0 && ((rest < 0) != (b < 0)) { rest.wrapping_add(b) } else { rest }
            }
            #[inline(always)]
            #[allow(unused_comparisons, reason = "one body for signed and unsigned")]
            fn power(self, b: Self) -> Self {
                if $signed && b < 0 {
                    return if self == 1 {
                        1
                    } else if self == (0 as $t).wrapping_sub(1) {
                        if b.wrapping_rem(2) == 0 { 1 } else { self }
                    } else {
                        0
                    };
                }
                let (mut base, mut exponent, mut result) = (self, b, 1 as $t);
                while exponent > 0 {
                    if exponent & 1 == 1 {
                        result = result.wrapping_mul(base);
                    }
                    base = base.wrapping_mul(base);
                    exponent >>= 1;
                }
                result
            }
            #[inline(always)]
            fn lesser(self, b: Self) -> Self {
                self.min(b)
            }
            #[inline(always)]
            fn greater(self, b: Self) -> Self {
                self.max(b)
            }
            #[inline(always)]
            fn negative(self) -> Self {
                (0 as $t).wrapping_sub(self)
            }
            #[inline(always)]
            fn magnitude(self) -> Self {
                ($abs)(self)
            }
            #[inline(always)]
            fn sign(self) -> Self {
                ($sign)(self)
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                false
            }
            #[inline(always)]
            fn is_finite(self) -> bool {
                true
            }
            #[inline(always)]
            fn is_infinite(self) -> bool {
                false
            }
        }
    };
}
integer!(i8, true, i8::wrapping_abs, i8::signum);
integer!(i16, true, i16::wrapping_abs, i16::signum);
integer!(i32, true, i32::wrapping_abs, i32::signum);
integer!(i64, true, i64::wrapping_abs, i64::signum);
integer!(u8, false, |v| v, |v: u8| v.min(1));
integer!(u16, false, |v| v, |v: u16| v.min(1));
integer!(u32, false, |v| v, |v: u32| v.min(1));
integer!(u64, false, |v| v, |v: u64| v.min(1));

macro_rules! float {
    ($t:ty) => {
        impl Number for $t {
            #[inline(always)]
            fn add(self, b: Self) -> Self {
                self + b
            }
            #[inline(always)]
            fn sub(self, b: Self) -> Self {
                self - b
            }
            #[inline(always)]
            fn mul(self, b: Self) -> Self {
                self * b
            }
            #[inline(always)]
            fn floor_div(self, b: Self) -> Self {
                // As CPython and NumPy: from the remainder, so that the two agree.
                if b == 0.0 {
                    return self / b;
                }
                let rest = self % b;
                let mut quotient = (self - rest) / b;
                if rest != 0.0 && ((b < 0.0) != (rest < 0.0)) {
                    quotient -= 1.0;
                }
                if quotient == 0.0 {
                    return (0.0 as $t).copysign(self / b);
                }
                let floor = quotient.floor();
                if quotient - floor > 0.5 { floor + 1.0 } else { floor }
            }
            #[inline(always)]
            fn modulo(self, b: Self) -> Self {
                let rest = self % b;
                if rest == 0.0 {
                    (0.0 as $t).copysign(b)
                } else if (b < 0.0) != (rest < 0.0) {
                    rest + b
                } else {
                    rest
                }
            }
            #[inline(always)]
            fn power(self, b: Self) -> Self {
                self.powf(b)
            }
            #[inline(always)]
            fn lesser(self, b: Self) -> Self {
                if self < b || self.is_nan() { self } else { b }
            }
            #[inline(always)]
            fn greater(self, b: Self) -> Self {
                if self > b || self.is_nan() { self } else { b }
            }
            #[inline(always)]
            fn negative(self) -> Self {
                -self
            }
            #[inline(always)]
            fn magnitude(self) -> Self {
                self.abs()
            }
            #[inline(always)]
            fn sign(self) -> Self {
                if self > 0.0 {
                    1.0
                } else if self < 0.0 {
                    -1.0
                } else {
                    // Zero stays zero and NaN stays NaN.
                    self.abs()
                }
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                self.is_nan()
            }
            #[inline(always)]
            fn is_finite(self) -> bool {
                self.is_finite()
            }
            #[inline(always)]
            fn is_infinite(self) -> bool {
                self.is_infinite()
            }
        }
    };
}
float!(f32);
float!(f64);

/// Binds `$T` to the lane type of a number dtype.
macro_rules! with_number {
    ($dtype:expr, $T:ident => $body:expr, bool => $bool:expr) => {
        match $dtype {
            DType::Bool => $bool,
            // `complex` has the loops of these; none of those here is defined for them.
            DType::C64 | DType::C128 => {
                return Err(ChunkError::Undefined {
                    operation: "an operation of real numbers".to_owned(),
                    dtype: $dtype,
                });
            }
            DType::I8 => {
                type $T = i8;
                $body
            }
            DType::I16 => {
                type $T = i16;
                $body
            }
            DType::I32 => {
                type $T = i32;
                $body
            }
            DType::I64 => {
                type $T = i64;
                $body
            }
            DType::U8 => {
                type $T = u8;
                $body
            }
            DType::U16 => {
                type $T = u16;
                $body
            }
            DType::U32 => {
                type $T = u32;
                $body
            }
            DType::U64 => {
                type $T = u64;
                $body
            }
            DType::F32 => {
                type $T = f32;
                $body
            }
            DType::F64 => {
                type $T = f64;
                $body
            }
        }
    };
}

macro_rules! floats_only {
    ($dtype:expr, $T:ident => $body:expr, $else:expr) => {
        match $dtype {
            DType::F32 => {
                type $T = f32;
                $body
            }
            DType::F64 => {
                type $T = f64;
                $body
            }
            _ => return Err($else),
        }
    };
}

/// A kernel for every unary operation on operands of `dtype`.
pub(crate) fn unary(op: Unary, dtype: DType) -> Result<UnaryKernel, ChunkError> {
    if dtype.is_complex() {
        return complex::unary(op, dtype);
    }
    let undefined = || ChunkError::Undefined { operation: op.to_string(), dtype };
    macro_rules! float_function {
        ($f:ident) => {
            floats_only!(dtype, T => |a, out| map1::<T, T>(a, out, |v| v.$f()), undefined())
        };
    }
    macro_rules! rounding {
        ($f:ident) => {
            match dtype {
                DType::F32 => |a, out| map1::<f32, f32>(a, out, |v| v.$f()),
                DType::F64 => |a, out| map1::<f64, f64>(a, out, |v| v.$f()),
                _ => |a, out| out.copy_from_slice(a),
            }
        };
    }
    let kernel: UnaryKernel = match op {
        Unary::Neg => {
            with_number!(dtype, T => |a, out| map1::<T, T>(a, out, Number::negative), bool => return Err(undefined()))
        }
        Unary::Abs => {
            with_number!(dtype, T => |a, out| map1::<T, T>(a, out, Number::magnitude), bool => |a, out| out.copy_from_slice(a))
        }
        Unary::Sign => {
            with_number!(dtype, T => |a, out| map1::<T, T>(a, out, Number::sign), bool => return Err(undefined()))
        }
        Unary::Conj | Unary::Real => |a, out| out.copy_from_slice(a),
        Unary::Imag => |_, out| out.fill(0),
        Unary::Angle => {
            floats_only!(dtype, T => |a, out| map1::<T, T>(a, out, |v| (0.0 as T).atan2(v)), undefined())
        }
        Unary::Square | Unary::Abs2 => {
            with_number!(dtype, T => |a, out| map1::<T, T>(a, out, |v| v.mul(v)), bool => |a, out| out.copy_from_slice(a))
        }
        Unary::IsNan => {
            with_number!(dtype, T => |a, out| map1::<T, u8>(a, out, |v| u8::from(Number::is_nan(v))), bool => |_, out| out.fill(0))
        }
        Unary::IsFinite => {
            with_number!(dtype, T => |a, out| map1::<T, u8>(a, out, |v| u8::from(Number::is_finite(v))), bool => |_, out| out.fill(1))
        }
        Unary::IsInf => {
            with_number!(dtype, T => |a, out| map1::<T, u8>(a, out, |v| u8::from(Number::is_infinite(v))), bool => |_, out| out.fill(0))
        }
        Unary::Not => match dtype {
            DType::Bool => |a, out| map1::<u8, u8>(a, out, |v| v ^ 1),
            DType::F32 | DType::F64 | DType::C64 | DType::C128 => return Err(undefined()),
            // Bits have no sign, so one loop over bytes serves every integer.
            DType::I8
            | DType::I16
            | DType::I32
            | DType::I64
            | DType::U8
            | DType::U16
            | DType::U32
            | DType::U64 => |a, out| map1::<u8, u8>(a, out, |v| !v),
        },
        Unary::Sqrt => float_function!(sqrt),
        Unary::Cbrt => float_function!(cbrt),
        Unary::Exp => float_function!(exp),
        Unary::Exp2 => float_function!(exp2),
        Unary::Expm1 => float_function!(exp_m1),
        Unary::Ln => float_function!(ln),
        Unary::Log2 => float_function!(log2),
        Unary::Log10 => float_function!(log10),
        Unary::Log1p => float_function!(ln_1p),
        Unary::Sin => float_function!(sin),
        Unary::Cos => float_function!(cos),
        Unary::Tan => float_function!(tan),
        Unary::Asin => float_function!(asin),
        Unary::Acos => float_function!(acos),
        Unary::Atan => float_function!(atan),
        Unary::Sinh => float_function!(sinh),
        Unary::Cosh => float_function!(cosh),
        Unary::Tanh => float_function!(tanh),
        // The standard library's double the operand, which overflows.
        Unary::Asinh => {
            floats_only!(dtype, T => |a, out| map1::<T, T>(a, out, |v| if v.abs() > 1e18 { (v.abs().ln() + (2.0 as T).ln()).copysign(v) } else { v.asinh() }), undefined())
        }
        Unary::Acosh => {
            floats_only!(dtype, T => |a, out| map1::<T, T>(a, out, |v| match v {
                // Where the result is near 0 its digits are those of `v - 1`.
                v if (1.0..2.0).contains(&v) => ((v - 1.0) + ((v - 1.0) * (v + 1.0)).sqrt()).ln_1p(),
                v if v > 1e18 => v.ln() + (2.0 as T).ln(),
                v => v.acosh(),
            }), undefined())
        }
        Unary::Atanh => {
            // Near -1 as near 1: the logarithm is taken of what is above 1.
            floats_only!(dtype, T => |a, out| map1::<T, T>(a, out, |v| (0.5 * (2.0 * v.abs() / (1.0 - v.abs())).ln_1p()).copysign(v)), undefined())
        }
        Unary::Floor => rounding!(floor),
        Unary::Ceil => rounding!(ceil),
        Unary::Trunc => rounding!(trunc),
        Unary::Round => rounding!(round_ties_even),
    };
    Ok(kernel)
}

/// A kernel for every binary operation on operands of `dtype`.
pub(crate) fn binary(op: Binary, dtype: DType) -> Result<BinaryKernel, ChunkError> {
    if dtype.is_complex() {
        return complex::binary(op, dtype);
    }
    let undefined = || ChunkError::Undefined { operation: op.to_string(), dtype };
    macro_rules! arithmetic {
        ($f:ident, bool => $bool:expr) => {
            with_number!(dtype, T => |a, b, out| map2::<T, T>(a, b, out, Number::$f), bool => $bool)
        };
    }
    macro_rules! comparison {
        ($f:tt) => {
            with_number!(dtype, T => |a, b, out| map2::<T, u8>(a, b, out, |a, b| u8::from(a $f b)),
                bool => |a, b, out| map2::<u8, u8>(a, b, out, |a, b| u8::from(a $f b)))
        };
    }
    macro_rules! bits {
        ($f:tt) => {
            // Operands of one integer dtype or bool: bit by bit, whatever their width.
            if dtype.is_float() { return Err(undefined()) } else { |a, b, out| map2::<u8, u8>(a, b, out, |a, b| a $f b) }
        };
    }
    let kernel: BinaryKernel = match op {
        Binary::Add => arithmetic!(add, bool => |a, b, out| map2::<u8, u8>(a, b, out, |a, b| a | b)),
        Binary::Sub => arithmetic!(sub, bool => return Err(undefined())),
        Binary::Mul => arithmetic!(mul, bool => |a, b, out| map2::<u8, u8>(a, b, out, |a, b| a & b)),
        Binary::Div => {
            floats_only!(dtype, T => |a, b, out| map2::<T, T>(a, b, out, |a, b| a / b), undefined())
        }
        Binary::FloorDiv => arithmetic!(floor_div, bool => return Err(undefined())),
        Binary::Rem => arithmetic!(modulo, bool => return Err(undefined())),
        Binary::Pow => arithmetic!(power, bool => return Err(undefined())),
        Binary::Minimum => arithmetic!(lesser, bool => |a, b, out| map2::<u8, u8>(a, b, out, |a, b| a & b)),
        Binary::Maximum => arithmetic!(greater, bool => |a, b, out| map2::<u8, u8>(a, b, out, |a, b| a | b)),
        Binary::Atan2 => {
            floats_only!(dtype, T => |a, b, out| map2::<T, T>(a, b, out, |a, b| a.atan2(b)), undefined())
        }
        Binary::Hypot => {
            floats_only!(dtype, T => |a, b, out| map2::<T, T>(a, b, out, |a, b| a.hypot(b)), undefined())
        }
        Binary::Eq => comparison!(==),
        Binary::Ne => comparison!(!=),
        Binary::Lt => comparison!(<),
        Binary::Le => comparison!(<=),
        Binary::Gt => comparison!(>),
        Binary::Ge => comparison!(>=),
        Binary::And => bits!(&),
        Binary::Or => bits!(|),
        Binary::Xor => bits!(^),
    };
    Ok(kernel)
}

/// Chooses between two operands of `dtype` by a bool.
pub(crate) fn select(dtype: DType) -> SelectKernel {
    fn run<T: crate::buffer::Lane>(condition: &[u8], then: &[u8], otherwise: &[u8], out: &mut [u8]) {
        widest(
            #[inline(always)]
            || {
                let (then, otherwise) = (lanes::<T>(then), lanes::<T>(otherwise));
                for (((o, &c), &t), &e) in
                    lanes_mut::<T>(out).iter_mut().zip(condition).zip(then).zip(otherwise)
                {
                    *o = if c != 0 { t } else { e };
                }
            },
        );
    }
    match dtype.size() {
        1 => run::<u8>,
        2 => run::<u16>,
        4 => run::<u32>,
        8 => run::<u64>,
        _ => run::<Complex<f64>>,
    }
}

/// Converts operands of one dtype to another.
///
/// # Errors
/// If complex numbers would become real ones.
pub(crate) fn cast(from: DType, to: DType) -> Result<UnaryKernel, ChunkError> {
    if from.is_complex() || to.is_complex() {
        return complex::cast(from, to);
    }
    fn number<A, B>(a: &[u8], out: &mut [u8])
    where
        A: crate::buffer::Lane,
        B: crate::buffer::Lane + CastFrom<A>,
    {
        map1::<A, B>(a, out, B::cast_from);
    }
    fn truth<A>(a: &[u8], out: &mut [u8])
    where
        A: crate::buffer::Lane,
        bool: CastFrom<A>,
    {
        map1::<A, u8>(a, out, |v| u8::from(bool::cast_from(v)));
    }
    let kernel: UnaryKernel = with_number!(to, B => with_number!(from, A => number::<A, B>, bool => number::<u8, B>),
        bool => with_number!(from, A => truth::<A>, bool => truth::<u8>));
    Ok(kernel)
}
