//! Owns dtypes: their names, sizes, Rust types, and NumPy 2's promotion between arrays. Promotion with weak
//! scalars is in `scalar`, conversion of elements in `cast`.

use std::{fmt, str::FromStr};

use num_complex::Complex;
use serde::{Deserialize, Serialize};

use crate::error::ChunkError;

/// The type of an array's elements, known at run time.
///
/// Times and durations are `I64` here; their unit is a label (`labels`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DType {
    Bool,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    F32,
    F64,
    /// Two `float32`: real and imaginary part.
    C64,
    /// Two `float64`.
    C128,
}

/// What kind of number a dtype is; promotion works on kinds first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Bool,
    Unsigned,
    Signed,
    Float,
    Complex,
}

impl DType {
    pub const ALL: [DType; 13] = [
        DType::Bool,
        DType::I8,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::U8,
        DType::U16,
        DType::U32,
        DType::U64,
        DType::F32,
        DType::F64,
        DType::C64,
        DType::C128,
    ];

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::Bool | DType::I8 | DType::U8 => 1,
            DType::I16 | DType::U16 => 2,
            DType::I32 | DType::U32 | DType::F32 => 4,
            DType::I64 | DType::U64 | DType::F64 | DType::C64 => 8,
            DType::C128 => 16,
        }
    }

    pub fn kind(self) -> Kind {
        match self {
            DType::Bool => Kind::Bool,
            DType::U8 | DType::U16 | DType::U32 | DType::U64 => Kind::Unsigned,
            DType::I8 | DType::I16 | DType::I32 | DType::I64 => Kind::Signed,
            DType::F32 | DType::F64 => Kind::Float,
            DType::C64 | DType::C128 => Kind::Complex,
        }
    }

    /// Whether it is `float32` or `float64`; complex numbers are not.
    pub fn is_float(self) -> bool {
        self.kind() == Kind::Float
    }

    pub fn is_complex(self) -> bool {
        self.kind() == Kind::Complex
    }

    /// Whether elements can be NaN.
    pub fn has_nan(self) -> bool {
        matches!(self.kind(), Kind::Float | Kind::Complex)
    }

    /// The dtype of the parts of a complex dtype; any other is its own real part.
    pub fn real_part(self) -> DType {
        match self {
            DType::C64 => DType::F32,
            DType::C128 => DType::F64,
            real => real,
        }
    }

    /// The complex dtype that holds this one as promotion has it: `complex64` for `float32` and what fits into it.
    pub fn to_complex(self) -> DType {
        self.promote(DType::C64)
    }

    pub fn is_integer(self) -> bool {
        matches!(self.kind(), Kind::Signed | Kind::Unsigned)
    }

    /// NumPy's name: `float32`, `int64`, `bool`.
    pub fn name(self) -> &'static str {
        match self {
            DType::Bool => "bool",
            DType::I8 => "int8",
            DType::I16 => "int16",
            DType::I32 => "int32",
            DType::I64 => "int64",
            DType::U8 => "uint8",
            DType::U16 => "uint16",
            DType::U32 => "uint32",
            DType::U64 => "uint64",
            DType::F32 => "float32",
            DType::F64 => "float64",
            DType::C64 => "complex64",
            DType::C128 => "complex128",
        }
    }

    /// The dtype in which an operation on both is carried out, as NumPy 2 has it for two arrays.
    pub fn promote(self, other: DType) -> DType {
        if self == other {
            return self;
        }
        let (low, high) = if self.kind() <= other.kind() { (self, other) } else { (other, self) };
        match (low.kind(), high.kind()) {
            (Kind::Bool, _) => high,
            (Kind::Unsigned, Kind::Signed) => {
                // The smallest signed type that holds both; past 64 bits NumPy goes to float64.
                let bits = (low.size() * 2).max(high.size());
                match bits {
                    2 => DType::I16,
                    4 => DType::I32,
                    8 => DType::I64,
                    _ => DType::F64,
                }
            }
            (Kind::Unsigned | Kind::Signed, Kind::Float) => {
                if low.size() <= 2 {
                    high
                } else {
                    DType::F64
                }
            }
            // Each part is what a real operand promotes to with it.
            (Kind::Unsigned | Kind::Signed | Kind::Float, Kind::Complex) => {
                if low.promote(high.real_part()) == DType::F32 { DType::C64 } else { DType::C128 }
            }
            _ => {
                if low.size() >= high.size() {
                    low
                } else {
                    high
                }
            }
        }
    }

    /// The dtype of operations that only floats have (`sqrt`, true division, `mean`). Integers and bool compute in
    /// `float64`, also those of 8 and 16 bits, for which NumPy's unary functions choose `float16` and `float32`. Complex
    /// dtypes stay.
    pub fn to_float(self) -> DType {
        match self {
            DType::F32 | DType::C64 | DType::C128 => self,
            _ => DType::F64,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DType {
    type Err = ChunkError;

    /// Accepts NumPy's names and the short forms (`f4`, `i8`, `u2`, with or without `<` or `|`).
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let short = name.trim_start_matches(['<', '|', '=']);
        DType::ALL
            .into_iter()
            .find(|dtype| {
                let code = match dtype.kind() {
                    Kind::Bool => 'b',
                    Kind::Unsigned => 'u',
                    Kind::Signed => 'i',
                    Kind::Float => 'f',
                    Kind::Complex => 'c',
                };
                dtype.name() == name || short == format!("{code}{}", dtype.size())
            })
            .ok_or_else(|| ChunkError::UnknownDType(name.to_owned()))
    }
}

/// A Rust type that elements of some dtype have in memory.
///
/// Complex numbers have no order, so it does not ask for one; see [`Ordered`].
pub trait Element: Copy + Default + PartialEq + Send + Sync + fmt::Debug + 'static + sealed::Plain {
    const DTYPE: DType;
}

/// An element type whose values can be compared: all but the complex ones.
pub trait Ordered: Element + PartialOrd {}

pub(crate) mod sealed {
    /// Plain old data: no padding, and every bit pattern that a chunk may hold is valid (bool bytes are checked
    /// when foreign bytes become a chunk).
    pub trait Plain {}
}

macro_rules! element {
    ($($t:ty => $d:ident),*) => {$(
        impl sealed::Plain for $t {}
        impl Element for $t {
            const DTYPE: DType = DType::$d;
        }
    )*};
}
macro_rules! ordered {
    ($($t:ty),*) => {$(
        impl Ordered for $t {}
    )*};
}
ordered!(bool, i8, i16, i32, i64, u8, u16, u32, u64, f32, f64);
element!(bool => Bool, i8 => I8, i16 => I16, i32 => I32, i64 => I64, u8 => U8, u16 => U16, u32 => U32,
         u64 => U64, f32 => F32, f64 => F64, Complex<f32> => C64, Complex<f64> => C128);

/// Runs one body for complex dtypes, with `$P` bound to the type of their parts, and the other for all others, as
/// [`with_dtype`].
macro_rules! with_any {
    ($dtype:expr, $T:ident => $body:expr, complex $P:ident => $complex:expr) => {
        match $dtype {
            $crate::DType::C64 => {
                type $P = f32;
                $complex
            }
            $crate::DType::C128 => {
                type $P = f64;
                $complex
            }
            real => $crate::dtype::with_dtype!(real, $T => $body),
        }
    };
}
pub(crate) use with_any;

/// Runs the body with `$T` bound to the Rust type of a dtype. Callers have refused complex dtypes, or dealt with them: few
/// operations are the same code for those, and each type costs compile time.
macro_rules! with_dtype {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            complex @ ($crate::DType::C64 | $crate::DType::C128) => {
                unreachable!("{complex} where only real numbers were to come")
            }
            $crate::DType::Bool => {
                type $T = bool;
                $body
            }
            $crate::DType::I8 => {
                type $T = i8;
                $body
            }
            $crate::DType::I16 => {
                type $T = i16;
                $body
            }
            $crate::DType::I32 => {
                type $T = i32;
                $body
            }
            $crate::DType::I64 => {
                type $T = i64;
                $body
            }
            $crate::DType::U8 => {
                type $T = u8;
                $body
            }
            $crate::DType::U16 => {
                type $T = u16;
                $body
            }
            $crate::DType::U32 => {
                type $T = u32;
                $body
            }
            $crate::DType::U64 => {
                type $T = u64;
                $body
            }
            $crate::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::DType::F64 => {
                type $T = f64;
                $body
            }
        }
    };
}
pub(crate) use with_dtype;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promotion_is_numpys() {
        use DType::*;
        for (a, b, expected) in [
            (Bool, I8, I8),
            (U8, I8, I16),
            (U16, I8, I32),
            (U32, I32, I64),
            (U64, I64, F64),
            (U64, I8, F64),
            (I64, F32, F64),
            (I16, F32, F32),
            (U16, F32, F32),
            (I32, F32, F64),
            (F32, F64, F64),
            (U8, U64, U64),
            (Bool, Bool, Bool),
            (Bool, C64, C64),
            (U8, C64, C64),
            (I16, C64, C64),
            (I32, C64, C128),
            (U64, C64, C128),
            (F32, C64, C64),
            (F64, C64, C128),
            (F32, C128, C128),
            (C64, C128, C128),
        ] {
            assert_eq!(a.promote(b), expected, "{a} with {b}");
            assert_eq!(b.promote(a), expected, "{b} with {a}");
        }
    }

    #[test]
    fn names_parse_in_both_forms() {
        for dtype in DType::ALL {
            assert_eq!(dtype.name().parse(), Ok(dtype));
        }
        assert_eq!("<f4".parse(), Ok(DType::F32));
        assert_eq!("|b1".parse(), Ok(DType::Bool));
        assert_eq!("<c8".parse(), Ok(DType::C64));
        assert_eq!("c16".parse(), Ok(DType::C128));
        assert!("float16".parse::<DType>().is_err());
    }
}
