//! Owns CF decoding of elements: `_FillValue` and `missing_value` to NaN, `scale_factor`, `add_offset`, `_Unsigned`,
//! with xarray's rules for the resulting dtype.
//!
//! Leaves to others: units of time (`labels`), which it only recognises, because integers that count time keep their
//! 64 bits and get the smallest integer instead of NaN.

use base64::Engine as _;
use bytes::Bytes;
use nuna_chunk::{Buffer, DType};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::json::Attributes;

/// How elements lie in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stored {
    Plain(DType),
    /// Half precision is for storage; it is computed in single precision.
    F16,
}

impl Stored {
    pub fn size(self) -> usize {
        match self {
            Stored::Plain(dtype) => dtype.size(),
            Stored::F16 => 2,
        }
    }

    fn is_float(self) -> bool {
        match self {
            Stored::Plain(dtype) => dtype.is_float(),
            Stored::F16 => true,
        }
    }
}

/// The way from stored to delivered elements.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decode {
    pub stored: Stored,
    /// What is delivered.
    pub output: DType,
    /// Stored values that mean "missing".
    pub missing: Vec<f64>,
    pub scale: Option<f64>,
    pub offset: Option<f64>,
    /// Missing integers become `i64::MIN`, which `labels` reads as "not a time".
    pub counts_time: bool,
}

/// What missing elements of integer times become.
pub const NOT_A_TIME: i64 = i64::MIN;

impl Decode {
    /// Takes the attributes that encode values out of `attrs`, as xarray does, and says how to decode.
    /// `store_fill` is the array's own fill value where that means "missing" (Zarr v2).
    ///
    /// CF has no complex numbers: they are delivered as they are, and keep their attributes.
    #[expect(clippy::cast_possible_truncation, reason = "as precise as elements are")]
    pub fn from_attributes(stored: Stored, attrs: &mut Attributes, store_fill: Option<&Value>) -> Self {
        if let Stored::Plain(output) = stored
            && output.is_complex()
        {
            let missing = Vec::new();
            return Self { stored, output, missing, scale: None, offset: None, counts_time: false };
        }
        let stored = match (stored, attrs.get("_Unsigned").and_then(Value::as_str)) {
            (Stored::Plain(dtype), Some("true")) => Stored::Plain(unsigned(dtype)),
            (Stored::Plain(dtype), Some("false")) => Stored::Plain(signed(dtype)),
            _ => stored,
        };
        attrs.shift_remove("_Unsigned");
        let counts_time =
            attrs.get("units").and_then(Value::as_str).is_some_and(|units| units.contains(" since "));
        let attr_fill = attrs.shift_remove("_FillValue");
        let missing_value = attrs.shift_remove("missing_value");
        let mut missing = Vec::new();
        for value in [missing_value.as_ref(), store_fill.or(attr_fill.as_ref())].into_iter().flatten() {
            collect_fill(value, &mut missing);
        }
        if let Stored::Plain(dtype) = stored
            && !dtype.is_float()
        {
            // A fill value written for the other type of the same width, signed or not.
            let all = 2f64.powi(8 * i32::try_from(dtype.size()).unwrap_or(8));
            for value in &mut missing {
                if dtype.name().starts_with('u') && *value < 0.0 {
                    *value += all;
                } else if dtype.name().starts_with('i') && *value >= all / 2.0 && *value < all {
                    *value -= all;
                }
            }
        }
        // One that was written with more digits than elements have is theirs all the same.
        for value in &mut missing {
            match stored {
                Stored::Plain(DType::F32) => *value = f64::from(*value as f32),
                Stored::F16 => *value = half::f16::from_f64(*value).to_f64(),
                Stored::Plain(_) => {}
            }
        }
        missing.retain(|value| !value.is_nan());
        missing.dedup();
        let scale = attrs.shift_remove("scale_factor").as_ref().and_then(number);
        let offset = attrs.shift_remove("add_offset").as_ref().and_then(number);
        let mut output = match stored {
            Stored::Plain(dtype) => dtype,
            Stored::F16 => DType::F32,
        };
        if stored == Stored::Plain(DType::I8) && attrs.get("dtype").and_then(Value::as_str) == Some("bool") {
            attrs.shift_remove("dtype");
            output = DType::Bool;
        } else if scale.is_some() || offset.is_some() {
            // JSON knows only Python's `float`, so both factors are doubles and so is the result.
            output = DType::F64;
        } else if !missing.is_empty() && !stored.is_float() {
            output = match (counts_time, stored.size()) {
                (true, _) => DType::I64,
                (false, 1 | 2) => DType::F32,
                (false, _) => DType::F64,
            };
        }
        Self { stored, output, missing, scale, offset, counts_time }
    }

    /// As [`from_attributes`](Self::from_attributes) where a file knows the types of `scale_factor` and `add_offset`: `None`
    /// if there is none, `true` for single precision. The result is then as precise as xarray makes it.
    pub fn from_typed_attributes(
        stored: Stored,
        attrs: &mut Attributes,
        scale_is_single: Option<bool>,
        offset_is_single: Option<bool>,
    ) -> Self {
        let mut decode = Self::from_attributes(stored, attrs, None);
        let is_single = match (scale_is_single, offset_is_single) {
            (Some(true), Some(true)) => stored.is_float() || stored.size() != 4,
            (Some(true), None) => true,
            _ => false,
        };
        if is_single && decode.output == DType::F64 && (decode.scale.is_some() || decode.offset.is_some()) {
            decode.output = DType::F32;
        }
        decode
    }

    /// Whether stored elements are delivered as they are.
    pub fn is_identity(&self) -> bool {
        self.stored == Stored::Plain(self.output)
            && self.missing.is_empty()
            && self.scale.is_none()
            && self.offset.is_none()
    }

    /// Decodes little-endian elements. The bytes are handed on uncopied where nothing is to be done.
    #[expect(clippy::cast_possible_truncation, reason = "single precision is asked for")]
    pub fn apply(&self, bytes: Bytes) -> Bytes {
        if self.is_identity() {
            return bytes;
        }
        match (self.stored, self.output) {
            (Stored::Plain(_), DType::Bool) => self.map::<1, 1>(&bytes, |[byte]| [u8::from(byte != 0)]),
            (Stored::Plain(DType::F32), DType::F32) => {
                self.map::<4, 4>(&bytes, |x| self.decode_f32(f32::from_le_bytes(x)).to_le_bytes())
            }
            (Stored::F16, DType::F32) => self
                .map::<2, 4>(&bytes, |x| self.decode_f32(half::f16::from_le_bytes(x).to_f32()).to_le_bytes()),
            (Stored::F16, _) => self
                .map::<2, 8>(&bytes, |x| self.decode_f64(half::f16::from_le_bytes(x).to_f64()).to_le_bytes()),
            (Stored::Plain(stored), output) => match stored {
                DType::Bool | DType::U8 => self.numbers::<1>(output, &bytes, |x| i128::from(x[0])),
                DType::I8 => self.numbers::<1>(output, &bytes, |x| i128::from(i8::from_le_bytes(x))),
                DType::I16 => self.numbers::<2>(output, &bytes, |x| i128::from(i16::from_le_bytes(x))),
                DType::U16 => self.numbers::<2>(output, &bytes, |x| i128::from(u16::from_le_bytes(x))),
                DType::I32 => self.numbers::<4>(output, &bytes, |x| i128::from(i32::from_le_bytes(x))),
                DType::U32 => self.numbers::<4>(output, &bytes, |x| i128::from(u32::from_le_bytes(x))),
                DType::I64 => self.numbers::<8>(output, &bytes, |x| i128::from(i64::from_le_bytes(x))),
                DType::U64 => self.numbers::<8>(output, &bytes, |x| i128::from(u64::from_le_bytes(x))),
                DType::F32 => self
                    .map::<4, 8>(&bytes, |x| self.decode_f64(f64::from(f32::from_le_bytes(x))).to_le_bytes()),
                DType::F64 if output == DType::F32 => {
                    self.map::<8, 4>(&bytes, |x| self.decode_f32(f64::from_le_bytes(x) as f32).to_le_bytes())
                }
                DType::F64 => {
                    self.map::<8, 8>(&bytes, |x| self.decode_f64(f64::from_le_bytes(x)).to_le_bytes())
                }
                DType::C64 | DType::C128 => bytes,
            },
        }
    }

    /// Integers to a float, or to a count of time. Every width fits `i128`, which the optimiser folds away.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "as xarray's casts")]
    fn numbers<const N: usize>(
        &self,
        output: DType,
        bytes: &[u8],
        value: impl Fn([u8; N]) -> i128 + Copy,
    ) -> Bytes {
        match output {
            DType::F32 => self.map::<N, 4>(bytes, |x| self.decode_f32(value(x) as f32).to_le_bytes()),
            DType::I64 => self.map::<N, 8>(bytes, |x| {
                let x = value(x);
                if self.missing.contains(&(x as f64)) { NOT_A_TIME } else { x as i64 }.to_le_bytes()
            }),
            _ => self.map::<N, 8>(bytes, |x| self.decode_f64(value(x) as f64).to_le_bytes()),
        }
    }

    fn map<const FROM: usize, const TO: usize>(
        &self,
        bytes: &[u8],
        one: impl Fn([u8; FROM]) -> [u8; TO],
    ) -> Bytes {
        let (elements, _) = bytes.as_chunks::<FROM>();
        let mut out = Buffer::new(elements.len() * TO);
        let (slots, _) = out.as_mut_slice().as_chunks_mut::<TO>();
        for (slot, &element) in slots.iter_mut().zip(elements) {
            *slot = one(element);
        }
        out.freeze()
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "compared in the precision of the result, as xarray does"
    )]
    fn decode_f32(&self, mut x: f32) -> f32 {
        if self.missing.iter().any(|&m| m as f32 == x) {
            return f32::NAN;
        }
        if let Some(scale) = self.scale {
            x *= scale as f32;
        }
        if let Some(offset) = self.offset {
            x += offset as f32;
        }
        x
    }

    fn decode_f64(&self, mut x: f64) -> f64 {
        // A float32 fill value in JSON is a double that went through float32.
        if self.missing.contains(&x) {
            return f64::NAN;
        }
        if let Some(scale) = self.scale {
            x *= scale;
        }
        if let Some(offset) = self.offset {
            x += offset;
        }
        x
    }
}

fn unsigned(dtype: DType) -> DType {
    match dtype {
        DType::I8 => DType::U8,
        DType::I16 => DType::U16,
        DType::I32 => DType::U32,
        DType::I64 => DType::U64,
        other => other,
    }
}

fn signed(dtype: DType) -> DType {
    match dtype {
        DType::U8 => DType::I8,
        DType::U16 => DType::I16,
        DType::U32 => DType::I32,
        DType::U64 => DType::I64,
        other => other,
    }
}

fn collect_fill(value: &Value, out: &mut Vec<f64>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| collect_fill(value, out)),
        value => out.extend(number(value)),
    }
}

/// A number as metadata writes it: plain, as `"NaN"` or `"-Infinity"`, or xarray's base64 of a double.
pub(crate) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(n) => n.as_f64(),
        Value::Bool(b) => Some(f64::from(u8::from(*b))),
        Value::Array(one) if one.len() == 1 => number(&one[0]),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            text => text.parse().ok().or_else(|| {
                let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
                Some(f64::from_le_bytes(bytes.try_into().ok()?))
            }),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn attrs(value: Value) -> Attributes {
        value.as_object().unwrap().clone()
    }

    fn floats(bytes: &Bytes) -> Vec<f64> {
        bytes.as_chunks::<8>().0.iter().map(|&b| f64::from_le_bytes(b)).collect()
    }

    #[test]
    fn packed_integers_are_masked_then_scaled_in_double_precision() {
        let mut a = attrs(json!({"scale_factor": 0.5, "add_offset": 10.0, "_FillValue": -1, "units": "K"}));
        let decode = Decode::from_attributes(Stored::Plain(DType::I16), &mut a, None);
        assert_eq!(decode.output, DType::F64);
        assert_eq!(a, attrs(json!({"units": "K"})));
        let bytes = [4i16, -1, 0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let out = floats(&decode.apply(bytes));
        assert_eq!((out[0], out[2]), (12.0, 10.0));
        assert!(out[1].is_nan());
    }

    #[test]
    fn complex_numbers_are_not_decoded() {
        let mut a = attrs(json!({"scale_factor": 2.0, "_FillValue": [0.0, 0.0]}));
        let decode = Decode::from_attributes(Stored::Plain(DType::C64), &mut a, Some(&json!([0.0, 0.0])));
        assert!(decode.is_identity() && a.contains_key("scale_factor"));
    }

    #[test]
    fn a_nan_fill_value_of_floats_costs_nothing() {
        for fill in [json!("NaN"), json!("AAAAAAAA+H8=")] {
            let mut a = attrs(json!({}));
            let decode = Decode::from_attributes(Stored::Plain(DType::F32), &mut a, Some(&fill));
            assert!(decode.is_identity(), "{fill}");
        }
    }

    #[test]
    fn missing_integers_choose_the_float_that_xarray_chooses() {
        for (stored, expected) in
            [(DType::I16, DType::F32), (DType::U8, DType::F32), (DType::I32, DType::F64)]
        {
            let decode =
                Decode::from_attributes(Stored::Plain(stored), &mut attrs(json!({"missing_value": 3})), None);
            assert_eq!(decode.output, expected);
        }
        let mut time = attrs(json!({"units": "days since 2000-01-01", "_FillValue": -999}));
        let decode = Decode::from_attributes(Stored::Plain(DType::I32), &mut time, None);
        assert_eq!(decode.output, DType::I64);
        let out = decode.apply([-999i32, 5].iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into());
        assert_eq!(out[..8], NOT_A_TIME.to_le_bytes());
        assert_eq!(out[8..], 5i64.to_le_bytes());
    }

    #[test]
    fn signed_bytes_are_told_by_attributes() {
        let mut a = attrs(json!({"_Unsigned": "false", "_FillValue": 255}));
        let decode = Decode::from_attributes(Stored::Plain(DType::U8), &mut a, None);
        assert_eq!((decode.stored, &decode.missing[..]), (Stored::Plain(DType::I8), &[-1.0][..]));
        let out = decode.apply(vec![200, 255].into());
        assert_eq!(out[..4], (-56f32).to_le_bytes());
        assert!(f32::from_le_bytes(out[4..].try_into().unwrap()).is_nan());
    }

    #[test]
    fn a_fill_value_of_more_digits_is_missing_also_where_values_are_scaled() {
        for scale in [json!(null), json!(2.0)] {
            let mut a = attrs(json!({"missing_value": 1e20, "scale_factor": scale}));
            let decode = Decode::from_attributes(Stored::Plain(DType::F32), &mut a, None);
            let size = decode.output.size();
            let out = decode.apply([1e20f32, 1.5].iter().flat_map(|x| x.to_le_bytes()).collect());
            let first = match decode.output {
                DType::F32 => f64::from(f32::from_le_bytes(out[..4].try_into().unwrap())),
                _ => f64::from_le_bytes(out[..8].try_into().unwrap()),
            };
            assert!(first.is_nan() && out.len() == 2 * size, "{scale}");
        }
    }

    #[test]
    fn unsigned_bytes_and_bools_are_told_by_attributes() {
        let mut a = attrs(json!({"_Unsigned": "true", "_FillValue": -1}));
        let decode = Decode::from_attributes(Stored::Plain(DType::I8), &mut a, None);
        assert_eq!(decode.missing, [255.0]);
        let out = decode.apply(vec![200, 255].into());
        assert_eq!(out[..4], 200f32.to_le_bytes());
        assert!(f32::from_le_bytes(out[4..].try_into().unwrap()).is_nan());
        let decode =
            Decode::from_attributes(Stored::Plain(DType::I8), &mut attrs(json!({"dtype": "bool"})), None);
        assert_eq!((decode.output, &decode.apply(vec![0, 2].into())[..]), (DType::Bool, &[0, 1][..]));
    }
}
