//! Owns the inner loops of complex numbers: arithmetic and functions as NumPy has them, and what makes real numbers
//! of them. They have no order, so there is no loop that compares more than equality.

use num_complex::Complex;

use crate::{
    buffer::Lane,
    cast::{self, CastFrom},
    dtype::DType,
    error::ChunkError,
    tile::{
        kernels::{BinaryKernel, UnaryKernel, map1, map2},
        operation::{Binary, Unary},
    },
};

/// What a part of a complex number can do.
trait Part: Lane {
    type Whole: Lane;
    fn sqrt(z: Self::Whole) -> Self::Whole;
    fn exp(z: Self::Whole) -> Self::Whole;
    fn divide(a: Self::Whole, b: Self::Whole) -> Self::Whole;
}

macro_rules! part {
    ($t:ty) => {
        impl Part for $t {
            type Whole = Complex<$t>;

            /// The root in the right half plane. Computed from the absolute value, so that neither part cancels.
            fn sqrt(z: Complex<$t>) -> Complex<$t> {
                if z.re == 0.0 && z.im == 0.0 {
                    return Complex::new(0.0, z.im);
                }
                if z.im.is_infinite() {
                    return Complex::new(<$t>::INFINITY, z.im);
                }
                if z.re.is_infinite() {
                    let lost = if z.im.is_nan() { z.im } else { (0.0 as $t).copysign(z.im) };
                    return if z.re > 0.0 {
                        Complex::new(z.re, lost)
                    } else {
                        Complex::new(lost.abs(), z.re.abs().copysign(z.im))
                    };
                }
                // Halved first where the sum could overflow.
                let scale: $t =
                    if z.re.abs() > <$t>::MAX / 4.0 || z.im.abs() > <$t>::MAX / 4.0 { 0.25 } else { 1.0 };
                let (re, im) = (z.re * scale, z.im * scale);
                let root = ((re.abs() + re.hypot(im)) * 0.5).sqrt();
                let other = im / (root * 2.0);
                let back = (1.0 / scale).sqrt();
                if re >= 0.0 {
                    Complex::new(root * back, other * back)
                } else {
                    Complex::new(other.abs() * back, root.copysign(im) * back)
                }
            }

            fn exp(z: Complex<$t>) -> Complex<$t> {
                let size = z.re.exp();
                if z.im == 0.0 {
                    return Complex::new(size, z.im);
                }
                if size == 0.0 && !z.im.is_finite() {
                    return Complex::new(0.0, 0.0);
                }
                if z.re == <$t>::INFINITY && !z.im.is_finite() {
                    return Complex::new(size, <$t>::NAN);
                }
                let (sin, cos) = z.im.sin_cos();
                Complex::new(size * cos, size * sin)
            }

            /// Smith's division, as NumPy: no square overflows on the way.
            #[inline(always)]
            fn divide(a: Complex<$t>, b: Complex<$t>) -> Complex<$t> {
                if b.re.abs() >= b.im.abs() {
                    if b.re == 0.0 && b.im == 0.0 {
                        return Complex::new(a.re / b.re.abs(), a.im / b.re.abs());
                    }
                    let ratio = b.im / b.re;
                    let scale = 1.0 / (b.re + b.im * ratio);
                    Complex::new((a.re + a.im * ratio) * scale, (a.im - a.re * ratio) * scale)
                } else {
                    let ratio = b.re / b.im;
                    let scale = 1.0 / (b.im + b.re * ratio);
                    Complex::new((a.re * ratio + a.im) * scale, (a.im * ratio - a.re) * scale)
                }
            }
        }
    };
}
part!(f32);
part!(f64);

/// Binds `$P` to the type of a complex dtype's parts.
macro_rules! with_part {
    ($dtype:expr, $P:ident => $body:expr) => {
        if $dtype == DType::C64 {
            type $P = f32;
            $body
        } else {
            type $P = f64;
            $body
        }
    };
}

/// A kernel for a unary operation on complex operands.
pub(crate) fn unary(op: Unary, dtype: DType) -> Result<UnaryKernel, ChunkError> {
    op.dtypes(dtype)?;
    let kernel: UnaryKernel = with_part!(dtype, P => {
        type C = Complex<P>;
        match op {
            Unary::Neg => |a, out| map1::<C, C>(a, out, |z| -z),
            Unary::Square => |a, out| map1::<C, C>(a, out, |z| z * z),
            Unary::Sqrt => |a, out| map1::<C, C>(a, out, <P as Part>::sqrt),
            Unary::Exp => |a, out| map1::<C, C>(a, out, <P as Part>::exp),
            Unary::Conj => |a, out| map1::<C, C>(a, out, |z| z.conj()),
            Unary::Abs => |a, out| map1::<C, P>(a, out, |z| z.re.hypot(z.im)),
            Unary::Real => |a, out| map1::<C, P>(a, out, |z| z.re),
            Unary::Imag => |a, out| map1::<C, P>(a, out, |z| z.im),
            Unary::Angle => |a, out| map1::<C, P>(a, out, |z| z.im.atan2(z.re)),
            Unary::Abs2 => |a, out| map1::<C, P>(a, out, |z| z.re * z.re + z.im * z.im),
            Unary::IsNan => |a, out| map1::<C, u8>(a, out, |z| u8::from(z.re.is_nan() | z.im.is_nan())),
            Unary::IsFinite => |a, out| map1::<C, u8>(a, out, |z| u8::from(z.re.is_finite() & z.im.is_finite())),
            Unary::IsInf => |a, out| map1::<C, u8>(a, out, |z| u8::from(z.re.is_infinite() | z.im.is_infinite())),
            _ => return Err(ChunkError::Undefined { operation: op.to_string(), dtype }),
        }
    });
    Ok(kernel)
}

/// A kernel for a binary operation on complex operands.
pub(crate) fn binary(op: Binary, dtype: DType) -> Result<BinaryKernel, ChunkError> {
    let kernel: BinaryKernel = with_part!(dtype, P => {
        type C = Complex<P>;
        match op {
            Binary::Add => |a, b, out| map2::<C, C>(a, b, out, |a, b| a + b),
            Binary::Sub => |a, b, out| map2::<C, C>(a, b, out, |a, b| a - b),
            Binary::Mul => |a, b, out| map2::<C, C>(a, b, out, |a, b| a * b),
            Binary::Div => |a, b, out| map2::<C, C>(a, b, out, <P as Part>::divide),
            Binary::Eq => |a, b, out| map2::<C, u8>(a, b, out, |a, b| u8::from(a == b)),
            Binary::Ne => |a, b, out| map2::<C, u8>(a, b, out, |a, b| u8::from(a != b)),
            _ => return Err(ChunkError::Undefined { operation: op.to_string(), dtype }),
        }
    });
    Ok(kernel)
}

/// Conversions from and to complex dtypes. Real numbers come as the dtype of the parts: programs convert them to that
/// first.
pub(crate) fn cast(from: DType, to: DType) -> Result<UnaryKernel, ChunkError> {
    fn convert<A: Lane, B: Lane + CastFrom<A>>(a: &[u8], out: &mut [u8]) {
        map1::<A, B>(a, out, B::cast_from);
    }
    cast::check(from, to)?;
    Ok(match (from, to) {
        (DType::F32, DType::C64) => convert::<f32, Complex<f32>>,
        (DType::F64, DType::C128) => convert::<f64, Complex<f64>>,
        (DType::C64, DType::C128) => convert::<Complex<f32>, Complex<f64>>,
        (DType::C128, DType::C64) => convert::<Complex<f64>, Complex<f32>>,
        (DType::C64, DType::Bool) => {
            |a, out| map1::<Complex<f32>, u8>(a, out, |z| u8::from(z != Complex::default()))
        }
        (DType::C128, DType::Bool) => {
            |a, out| map1::<Complex<f64>, u8>(a, out, |z| u8::from(z != Complex::default()))
        }
        _ => {
            return Err(ChunkError::Undefined {
                operation: format!("astype({to}) in one step"),
                dtype: from,
            });
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Chunk, Scalar, tile::Builder};

    fn c(re: f64, im: f64) -> Complex<f64> {
        Complex::new(re, im)
    }

    fn one(op: Unary, z: Complex<f64>) -> Chunk {
        let mut builder = Builder::new();
        let a = builder.input(DType::C128);
        let value = builder.unary(op, a).unwrap();
        builder.finish(value).run(&[1], &[Chunk::from_slice(&[1], &[z])]).unwrap()
    }

    #[test]
    fn functions_are_numpys() {
        let z = |op, at| one(op, at).elements::<Complex<f64>>().unwrap()[0];
        let x = |op, at| one(op, at).elements::<f64>().unwrap()[0];
        assert_eq!(z(Unary::Sqrt, c(-4.0, 0.0)), c(0.0, 2.0));
        assert_eq!(z(Unary::Sqrt, c(-4.0, -0.0)), c(0.0, -2.0));
        assert_eq!(z(Unary::Sqrt, c(3.0, 4.0)), c(2.0, 1.0));
        assert_eq!(z(Unary::Sqrt, c(1e308, 1e308)).re, 1.098_684_113_467_81e154);
        assert_eq!(z(Unary::Exp, c(0.0, 0.0)), c(1.0, 0.0));
        assert_eq!(z(Unary::Square, c(1.0, 2.0)), c(-3.0, 4.0));
        let far = 2f64.powi(600);
        assert_eq!((x(Unary::Abs, c(3.0 * far, 4.0 * far)), x(Unary::Abs2, c(3.0, 4.0))), (5.0 * far, 25.0));
        assert_eq!((x(Unary::Real, c(3.0, 4.0)), x(Unary::Imag, c(3.0, 4.0))), (3.0, 4.0));
        assert_eq!(x(Unary::Angle, c(0.0, 2.0)), std::f64::consts::FRAC_PI_2);
        assert_eq!(one(Unary::IsNan, c(0.0, f64::NAN)).elements::<bool>().unwrap(), [true]);
    }

    #[test]
    fn arithmetic_mixes_with_real_numbers_and_scalars() {
        // (x * i + z) / z, with x in int16 and z in complex64.
        let x = Chunk::from_slice(&[2], &[2i16, -1]);
        let z = Chunk::from_slice(&[2], &[Complex::new(1.0f32, 1.0), Complex::new(0.0, 2.0)]);
        let mut b = Builder::new();
        let (a, w) = (b.input(DType::I16), b.input(DType::C64));
        let i = b.constant(Scalar::Complex(0.0, 1.0), DType::C64);
        let product = b.binary(Binary::Mul, DType::C64, a, i).unwrap();
        let sum = b.binary(Binary::Add, DType::C64, product, w).unwrap();
        let ratio = b.binary(Binary::Div, DType::C64, sum, w).unwrap();
        let out = b.finish(ratio).run(&[2], &[x, z]).unwrap();
        assert_eq!(out.elements::<Complex<f32>>().unwrap(), [Complex::new(2.0, 1.0), Complex::new(0.5, 0.0)]);
    }

    #[test]
    fn what_complex_numbers_cannot_do_is_named() {
        let mut b = Builder::new();
        let a = b.input(DType::C64);
        let error = b.binary(Binary::Lt, DType::C64, a, a).unwrap_err().to_string();
        assert_eq!(error, "< is not defined for complex64");
        let error = b.unary(Unary::Floor, a).unwrap_err().to_string();
        assert_eq!(error, "floor is not defined for complex64");
        let real = b.cast(a, DType::F32);
        let run = b.finish(real).run(&[1], &[Chunk::from_slice(&[1], &[Complex::new(1.0f32, 0.0)])]);
        assert!(matches!(run, Err(ChunkError::ComplexToReal { .. })), "{run:?}");
    }

    #[test]
    fn wide_elements_are_spread_and_chosen_over_several_tiles() {
        let n = 2 * crate::tile::TILE as u64 + 5;
        let whole: Vec<_> = (0..2 * n).map(|i| c(i as f64, -1.0)).collect();
        let row: Vec<_> = (0..n).map(|i| c(0.0, i as f64)).collect();
        let mut b = Builder::new();
        let (x, y) = (b.input(DType::C128), b.input(DType::C128));
        let sum = b.binary(Binary::Add, DType::C128, x, y).unwrap();
        let same = b.binary(Binary::Eq, DType::C128, x, y).unwrap();
        let chosen = b.select(DType::C128, same, x, sum);
        let inputs = [Chunk::from_slice(&[2, n], &whole), Chunk::from_slice(&[n], &row)];
        let out = b.finish(chosen).run(&[2, n], &inputs).unwrap();
        for (i, z) in out.elements::<Complex<f64>>().unwrap().iter().enumerate() {
            assert_eq!(*z, whole[i] + row[i % n as usize]);
        }
    }
}
