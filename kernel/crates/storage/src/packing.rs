//! Owns what is done with elements before they are encoded: numbers packed into smaller ones (CF conventions 1.11, 8.1), and bits
//! that are rounded away.

use nuna_chunk::{Chunk, ChunkMut, DType, Element};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::json::Attributes;

/// Numbers stored as `round((x - add_offset) / scale_factor)`, and NaN as `fill_value`, as CF has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Packing {
    /// An integer dtype, or `float32` for `float64`.
    pub dtype: DType,
    pub scale_factor: f64,
    pub add_offset: f64,
    /// What NaN becomes. Without it, NaN is an error.
    pub fill_value: Option<f64>,
}

/// What is done with elements before they are encoded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) packed: Option<Packed>,
    pub(crate) keep_bits: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Packed {
    pub(crate) dtype: DType,
    pub(crate) scale: f64,
    pub(crate) offset: f64,
    pub(crate) fill: Option<f64>,
}

/// The least and the greatest number of an integer dtype.
fn range(dtype: DType) -> Option<(f64, f64)> {
    Some(match dtype {
        DType::I8 => (i8::MIN.into(), i8::MAX.into()),
        DType::U8 => (0.0, u8::MAX.into()),
        DType::I16 => (i16::MIN.into(), i16::MAX.into()),
        DType::U16 => (0.0, u16::MAX.into()),
        DType::I32 => (i32::MIN.into(), i32::MAX.into()),
        DType::U32 => (0.0, u32::MAX.into()),
        // The greatest that are doubles.
        DType::I64 => (-9_223_372_036_854_775_808.0, 9_223_372_036_854_774_784.0),
        DType::U64 => (0.0, 18_446_744_073_709_549_568.0),
        _ => return None,
    })
}

impl Change {
    /// # Errors
    /// What does not fit elements of that dtype.
    pub(crate) fn of(
        packing: Option<Packing>,
        keep_bits: Option<u32>,
        dtype: Option<DType>,
    ) -> Result<Self, String> {
        if let Some(keep) = keep_bits {
            let Some(mantissa) = dtype.and_then(mantissa_bits) else {
                return Err("only floats have bits of a mantissa to keep".to_owned());
            };
            if keep == 0 || keep > mantissa {
                return Err(format!("`keep_bits` is 1 to {mantissa}, not {keep}"));
            }
        }
        let packed = packing.map(|packing| packing.of(dtype)).transpose()?;
        Ok(Self { packed, keep_bits })
    }

    pub(crate) fn is_none(&self) -> bool {
        self.packed.is_none() && self.keep_bits.is_none()
    }

    pub(crate) fn packs(&self) -> bool {
        self.packed.is_some()
    }

    /// The elements as they are stored.
    ///
    /// # Errors
    /// The first number that has no place in the packed dtype.
    pub(crate) fn apply(&self, chunk: &Chunk) -> Result<Chunk, String> {
        let rounded = match (self.keep_bits, chunk.dtype()) {
            (Some(keep), DType::F32) => {
                let round = |v: f32| f32::from_bits(rounded(u64::from(v.to_bits()), keep, 23) as u32);
                let keep_nan = |&v: &f32| if v.is_finite() { round(v) } else { v };
                let values: Vec<f32> = chunk.to_vec::<f32>().iter().map(keep_nan).collect();
                Chunk::from_slice(chunk.shape(), &values)
            }
            (Some(keep), DType::F64) => {
                let round = |v: f64| f64::from_bits(rounded(v.to_bits(), keep, 52));
                let keep_nan = |&v: &f64| if v.is_finite() { round(v) } else { v };
                let values: Vec<f64> = chunk.to_vec::<f64>().iter().map(keep_nan).collect();
                Chunk::from_slice(chunk.shape(), &values)
            }
            _ => chunk.clone(),
        };
        match self.packed {
            Some(packed) => packed.pack(&rounded),
            None => Ok(rounded),
        }
    }
}

/// The bits of a float with `keep` of its `mantissa` bits.
fn rounded(bits: u64, keep: u32, mantissa: u32) -> u64 {
    let drop = mantissa.saturating_sub(keep);
    if drop == 0 {
        return bits;
    }
    let half = (1u64 << (drop - 1)) - 1;
    (bits + half + (bits >> drop & 1)) & !((1u64 << drop) - 1)
}

impl Packed {
    /// Attributes by which readers undo it.
    pub(crate) fn describe(&self, attrs: &mut Attributes) {
        attrs.insert("scale_factor".to_owned(), json!(self.scale));
        attrs.insert("add_offset".to_owned(), json!(self.offset));
    }

    /// The fill value as JSON writes numbers of the dtype.
    pub(crate) fn fill_json(&self) -> Option<Value> {
        let value = self.fill?;
        Some(match range(self.dtype) {
            // JSON has no numbers for these; Zarr has words.
            None if value.is_nan() => json!("NaN"),
            None if value == f64::INFINITY => json!("Infinity"),
            None if value == f64::NEG_INFINITY => json!("-Infinity"),
            None => json!(value),
            Some(_) if value < 0.0 => json!(value as i64),
            Some(_) => json!(value as u64),
        })
    }

    fn pack(self, chunk: &Chunk) -> Result<Chunk, String> {
        // No copy of what is doubles already, and none between: each number goes to its place.
        let doubles = chunk.cast(DType::F64);
        let doubles = doubles.elements::<f64>().map_err(|error| error.to_string())?;
        let shape = chunk.shape();
        match self.dtype {
            DType::I8 => self.each(shape, doubles, |v| v as i8),
            DType::U8 => self.each(shape, doubles, |v| v as u8),
            DType::I16 => self.each(shape, doubles, |v| v as i16),
            DType::U16 => self.each(shape, doubles, |v| v as u16),
            DType::I32 => self.each(shape, doubles, |v| v as i32),
            DType::U32 => self.each(shape, doubles, |v| v as u32),
            DType::I64 => self.each(shape, doubles, |v| v as i64),
            DType::U64 => self.each(shape, doubles, |v| v as u64),
            DType::F32 => self.each(shape, doubles, |v| v as f32),
            DType::F64 => self.each(shape, doubles, |v| v),
            other => Err(format!("numbers cannot be packed as {other}")),
        }
    }

    /// `convert` is exact, or rounds as floats are rounded: whole numbers are within bounds.
    fn each<T: Element>(
        self,
        shape: &[u64],
        doubles: &[f64],
        convert: impl Fn(f64) -> T,
    ) -> Result<Chunk, String> {
        let range = range(self.dtype);
        let mut packed = ChunkMut::new(self.dtype, shape);
        let places = packed.elements_mut::<T>().map_err(|error| error.to_string())?;
        for (place, &value) in places.iter_mut().zip(doubles) {
            *place = convert(match range {
                Some(range) => self.whole(value, range)?,
                None => self.float(value)?,
            });
        }
        Ok(packed.freeze())
    }

    fn whole(self, value: f64, (least, greatest): (f64, f64)) -> Result<f64, String> {
        if value.is_nan() {
            return self.fill.ok_or_else(|| {
                format!(
                    "there is a NaN, for which {} has no number; give the encoding a `fill_value`",
                    self.dtype
                )
            });
        }
        let stored = ((value - self.offset) / self.scale).round_ties_even();
        if !(least..=greatest).contains(&stored) {
            return Err(format!(
                "{value} would be stored as {stored}, but {} ends at {least} and {greatest}; choose another \
                 `scale_factor` and `add_offset`, or a wider dtype",
                self.dtype
            ));
        }
        if Some(stored) == self.fill {
            return Err(Self::is_fill(value, stored));
        }
        Ok(stored)
    }

    fn float(self, value: f64) -> Result<f64, String> {
        if value.is_nan() {
            return Ok(self.fill.unwrap_or(f64::NAN));
        }
        // As readers have it.
        let as_stored = |v: f64| if self.dtype == DType::F32 { f64::from(v as f32) } else { v };
        let stored = as_stored((value - self.offset) / self.scale);
        if value.is_finite() && !stored.is_finite() {
            return Err(format!(
                "{value} is larger than {} can store with scale_factor {} and add_offset {}; choose others, or a wider dtype",
                self.dtype, self.scale, self.offset
            ));
        }
        if self.fill.map(as_stored) == Some(stored) {
            return Err(Self::is_fill(value, stored));
        }
        Ok(stored)
    }

    fn is_fill(value: f64, stored: f64) -> String {
        format!(
            "{value} would be stored as {stored}, which is the `fill_value` and would be read as missing; choose another"
        )
    }
}

fn mantissa_bits(dtype: DType) -> Option<u32> {
    match dtype {
        DType::F32 => Some(23),
        DType::F64 => Some(52),
        _ => None,
    }
}

impl Packing {
    fn of(&self, from: Option<DType>) -> Result<Packed, String> {
        let Packing { dtype, scale_factor: scale, add_offset: offset, fill_value: fill } = *self;
        if !from.is_some_and(|from| !from.is_complex() && from != DType::Bool) {
            return Err("only numbers can be packed".to_owned());
        }
        if dtype.is_complex() || dtype == DType::Bool {
            return Err(format!("numbers cannot be packed as {dtype}"));
        }
        if !scale.is_normal() || !offset.is_finite() {
            return Err(format!(
                "numbers cannot be packed with scale_factor {scale} and add_offset {offset}"
            ));
        }
        if let (Some(fill), Some((least, greatest))) = (fill, range(dtype))
            && (fill.fract() != 0.0 || !(least..=greatest).contains(&fill))
        {
            return Err(format!("{fill} is no {dtype}, so it cannot be the `fill_value`"));
        }
        Ok(Packed { dtype, scale, offset, fill })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: f64 = f64::NAN;

    #[test]
    fn bits_are_rounded_half_to_even() {
        let change = Change { packed: None, keep_bits: Some(1) };
        let rounded =
            |v: &[f32]| change.apply(&Chunk::from_slice(&[v.len() as u64], v)).unwrap().to_vec::<f32>();
        assert_eq!(rounded(&[1.0, 1.2, 1.25, 1.26, 1.75, -1.75, 3.9]), [1.0, 1.0, 1.0, 1.5, 2.0, -2.0, 4.0]);
        let odd = rounded(&[f32::NAN, f32::INFINITY, -0.0, f32::MIN_POSITIVE / 4.0]);
        assert!(odd[0].is_nan() && odd[1] == f32::INFINITY && odd[2].is_sign_negative());
    }

    #[test]
    fn numbers_are_packed_or_refused() {
        let packed = Packed { dtype: DType::I16, scale: 0.01, offset: 273.15, fill: Some(-32768.0) };
        let pack = |v: f64| packed.pack(&Chunk::from_slice(&[1], &[v])).map(|chunk| chunk.to_vec::<i16>()[0]);
        assert_eq!(pack(273.15), Ok(0));
        assert_eq!(pack(300.0), Ok(2685));
        assert_eq!(pack(N), Ok(-32768));
        assert!(pack(1000.0).unwrap_err().contains("ends at -32768 and 32767"));
        assert!(pack(f64::INFINITY).is_err());
        assert!(pack(273.15 - 327.68).unwrap_err().contains("would be read as missing"));
        let single = Packed { dtype: DType::F32, scale: 1.0, offset: 0.0, fill: Some(-9999.1) };
        let pack_single =
            |v: f64| single.pack(&Chunk::from_slice(&[1], &[v])).map(|chunk| chunk.to_vec::<f32>()[0]);
        assert_eq!(pack_single(0.1), Ok(0.1));
        assert_eq!(pack_single(N), Ok(-9999.1));
        assert_eq!(pack_single(f64::INFINITY), Ok(f32::INFINITY));
        assert!(pack_single(1e39).unwrap_err().contains("larger than float32 can store"));
        assert!(pack_single(f64::from(-9999.1_f32)).unwrap_err().contains("would be read as missing"));
        let longs = Chunk::from_slice(&[3], &[1_i64, -2, 3]);
        let tens = Packed { dtype: DType::I8, scale: 0.1, offset: 0.0, fill: None };
        assert_eq!(tens.pack(&longs).unwrap().to_vec::<i8>(), [10, -20, 30]);
        let words = [(N, "NaN"), (f64::INFINITY, "Infinity"), (f64::NEG_INFINITY, "-Infinity")];
        for (fill, word) in words {
            assert_eq!(Packed { fill: Some(fill), ..single }.fill_json(), Some(json!(word)));
        }
        let without = Packed { fill: None, ..packed };
        assert!(without.pack(&Chunk::from_slice(&[1], &[N])).unwrap_err().contains("fill_value"));
    }
}
