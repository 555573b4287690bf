//! Owns how elements of a file become those of a table: integers of all widths, decimals, instants of all units, halves.

use crate::{
    Result,
    error::Error,
    schema::{Kind, Leaf, Meaning, Physical},
    values::Values,
};

/// Julian day of 1970-01-01.
const EPOCH: i64 = 2_440_588;
const DAY: i64 = 86_400_000_000;
/// Floats count integers exactly up to here.
const EXACT: u128 = 1 << 53;
/// Powers of ten that are floats exactly: up to 10^22.
const EXACT_SCALE: u32 = 22;

impl Physical {
    /// Bytes of a plain element; `None` if each has a length of its own, or is a bit.
    pub(crate) fn width(self) -> Option<usize> {
        match self {
            Physical::Int32 | Physical::Float => Some(4),
            Physical::Int64 | Physical::Double => Some(8),
            Physical::Int96 => Some(12),
            Physical::Fixed(length) => Some(length),
            Physical::Bool | Physical::Bytes => None,
        }
    }
}

fn odd(leaf: &Leaf) -> Error {
    Error::damaged(format!("column `{}` has a page of another type than it has itself", leaf.name))
}

impl Leaf {
    /// Appends integers as the file has them.
    pub(crate) fn push_ints(&self, from: impl Iterator<Item = i64>, out: &mut Values) -> Result<()> {
        let large = |value: &dyn std::fmt::Display| {
            Error::unsupported(format!(
                "column `{}` has {value}, which fits into no {:?}",
                self.name, self.kind
            ))
        };
        match (self.meaning, out) {
            (Meaning::Plain | Meaning::Date, Values::Int(out)) => out.extend(from),
            (Meaning::Unsigned, Values::Int(out)) => {
                if self.physical == Physical::Int32 {
                    out.extend(from.map(|value| value & 0xffff_ffff));
                    return Ok(());
                }
                for value in from {
                    let unsigned = value.cast_unsigned();
                    out.push(i64::try_from(unsigned).map_err(|_| large(&unsigned))?);
                }
            }
            (Meaning::Time { multiply: 1, divide }, Values::Int(out)) => {
                out.extend(from.map(|value| value.div_euclid(divide)));
            }
            (Meaning::Time { multiply, .. }, Values::Int(out)) => {
                for value in from {
                    out.push(value.checked_mul(multiply).ok_or_else(|| large(&value))?);
                }
            }
            (Meaning::Decimal { .. }, Values::Int(out)) => out.extend(from),
            (Meaning::Decimal { scale }, Values::Float(out)) => {
                out.extend(from.map(|value| decimal(i128::from(value), scale)));
            }
            _ => return Err(odd(self)),
        }
        Ok(())
    }

    /// Appends plain elements of [`Physical::width`] bytes each.
    pub(crate) fn push_plain(&self, bytes: &[u8], out: &mut Values) -> Result<()> {
        let width = self.physical.width().ok_or_else(|| odd(self))?;
        let each = bytes.chunks_exact(width);
        match (self.physical, out) {
            (Physical::Int32, out) => {
                self.push_ints(each.map(|b| i64::from(i32::from_le_bytes(array(b)))), out)?
            }
            (Physical::Int64, out) => self.push_ints(each.map(|b| i64::from_le_bytes(array(b))), out)?,
            (Physical::Float, Values::Float(out)) => {
                out.extend(each.map(|b| f64::from(f32::from_le_bytes(array(b)))));
            }
            (Physical::Double, Values::Float(out)) => out.extend(each.map(|b| f64::from_le_bytes(array(b)))),
            (Physical::Int96, Values::Int(out)) => {
                for bytes in each {
                    let (nanos, day) = bytes.split_at(8);
                    let nanos = i64::from_le_bytes(array(nanos));
                    let days = i64::from(u32::from_le_bytes(array(day))) - EPOCH;
                    let micros =
                        days.checked_mul(DAY).and_then(|day| day.checked_add(nanos.div_euclid(1000)));
                    out.push(micros.ok_or_else(|| {
                        Error::unsupported(format!(
                            "column `{}` has {nanos} nanoseconds after day {days} since 1970, which fits into no {:?}",
                            self.name, self.kind
                        ))
                    })?);
                }
            }
            (Physical::Fixed(_), out) => {
                each.into_iter().try_for_each(|bytes| self.push_bytes(bytes, out))?
            }
            _ => return Err(odd(self)),
        }
        Ok(())
    }

    /// Appends one element that is bytes.
    pub(crate) fn push_bytes(&self, bytes: &[u8], out: &mut Values) -> Result<()> {
        match (self.meaning, out) {
            (Meaning::Text, Values::Text(out)) => {
                self.check_text(bytes)?;
                out.push(bytes)?;
            }
            (Meaning::Bytes, Values::Text(out)) => out.push(bytes)?,
            (Meaning::Uuid, Values::Text(out)) => {
                let mut text = String::with_capacity(36);
                for (index, byte) in bytes.iter().enumerate() {
                    if matches!(index, 4 | 6 | 8 | 10) {
                        text.push('-');
                    }
                    for digit in [byte >> 4, byte & 15] {
                        text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
                    }
                }
                out.push(text.as_bytes())?;
            }
            (Meaning::Half, Values::Float(out)) => {
                let bits = bytes.try_into().map_err(|_| odd(self))?;
                out.push(half::f16::from_le_bytes(bits).to_f64());
            }
            (Meaning::Decimal { .. }, Values::Int(out)) => {
                let value = self.unscaled(bytes)?;
                let value = i64::try_from(value).map_err(|_| {
                    Error::damaged(format!(
                        "column `{}` has {value}, which has more digits than it says",
                        self.name
                    ))
                })?;
                out.push(value);
            }
            (Meaning::Decimal { scale }, Values::Float(out)) => {
                out.push(decimal(self.unscaled(bytes)?, scale))
            }
            _ => return Err(odd(self)),
        }
        Ok(())
    }

    pub(crate) fn check_text(&self, bytes: &[u8]) -> Result<()> {
        if self.meaning == Meaning::Bytes {
            return Ok(());
        }
        match std::str::from_utf8(bytes) {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::unsupported(format!(
                "column `{}` holds bytes that are no UTF-8: {:02x?}",
                self.name,
                &bytes[..bytes.len().min(16)]
            ))),
        }
    }

    /// The integer of a decimal, which stands with its first byte first.
    fn unscaled(&self, bytes: &[u8]) -> Result<i128> {
        let negative = bytes.first().is_some_and(|&byte| byte > 127);
        let fill = if negative { 255 } else { 0 };
        let (zeros, digits) = bytes.split_at(bytes.len().saturating_sub(16));
        if zeros.iter().any(|&byte| byte != fill) {
            return Err(Error::damaged(format!(
                "column `{}` has a decimal of {} bytes",
                self.name,
                bytes.len()
            )));
        }
        let mut whole = [fill; 16];
        whole[16 - digits.len()..].copy_from_slice(digits);
        Ok(i128::from_be_bytes(whole))
    }

    /// A bound of the file's statistics, which stands there as a plain element does. `None` if it is none, or says nothing
    /// about what the elements become.
    pub(crate) fn bound(&self, bytes: &[u8]) -> Option<Bound> {
        let orders = match (self.physical, self.meaning) {
            // Text by its bytes; of a float's bits nothing is known.
            (Physical::Bytes, Meaning::Text) => return Some(Bound::Text(bytes.to_vec())),
            (Physical::Bool, _) => return Some(Bound::Bool(*bytes.first()? != 0)),
            (Physical::Int32 | Physical::Int64 | Physical::Float | Physical::Double, meaning) => {
                meaning != Meaning::Nothing
            }
            (Physical::Fixed(_) | Physical::Bytes, Meaning::Decimal { .. }) => true,
            (Physical::Fixed(_) | Physical::Bytes | Physical::Int96, _) => false,
        };
        if !orders || self.physical.width().is_some_and(|width| width != bytes.len()) {
            return None;
        }
        let mut value = Values::empty(self.kind);
        match self.physical {
            Physical::Bytes => self.push_bytes(bytes, &mut value).ok()?,
            _ => self.push_plain(bytes, &mut value).ok()?,
        }
        match value {
            Values::Int(v) => v.first().copied().map(Bound::Int),
            Values::Float(v) => v.first().copied().filter(|v| !v.is_nan()).map(Bound::Float),
            Values::Bool(_) | Values::Text(_) => None,
        }
    }
}

/// What elements are not below, or not above.
#[derive(Clone, Debug, PartialEq)]
pub enum Bound {
    /// Also of dates and times.
    Int(i64),
    /// Never NaN. Elements may be NaN nevertheless.
    Float(f64),
    Bool(bool),
    Text(Vec<u8>),
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap_or([0; N])
}

/// The float that is nearest to a decimal.
fn decimal(unscaled: i128, scale: u32) -> f64 {
    if scale == 0 {
        return unscaled as f64;
    }
    if unscaled.unsigned_abs() <= EXACT && scale <= EXACT_SCALE {
        // Both are exact, so the quotient is rounded once.
        return unscaled as f64 / 10_f64.powi(scale.cast_signed());
    }
    // The library knows how to round what is written.
    format!("{unscaled}e-{scale}").parse().unwrap_or(f64::NAN)
}

/// Kinds of integers.
impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Int => "integers",
            Kind::Float => "floats",
            Kind::Bool => "truths",
            Kind::Text => "text",
            Kind::Date => "dates",
            Kind::Time => "times",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_that_do_not_fit_are_errors() {
        let leaf = Leaf {
            name: "t".to_owned(),
            physical: Physical::Int96,
            meaning: Meaning::Plain,
            kind: Kind::Time,
            optional: false,
        };
        let mut out = Values::empty(Kind::Time);
        let mut bytes = [0xff; 12];
        assert!(leaf.push_plain(&bytes, &mut out).is_err());
        bytes[8..].copy_from_slice(&2_440_589_u32.to_le_bytes());
        assert!(leaf.push_plain(&bytes, &mut out).is_ok());
        let Values::Int(found) = out else { panic!("times are integers") };
        assert_eq!(found, [DAY - 1]);
    }

    #[test]
    fn decimals_are_rounded_once() {
        assert_eq!(decimal(12_345, 2), 123.45);
        assert_eq!(decimal(-1, 1), -0.1);
        assert_eq!(decimal(99_999_999_999_999_999_999_999_999_999_999_999_999, 10), 1e28);
        assert_eq!(decimal(9_007_199_254_740_993, 1), 900_719_925_474_099.3);
        assert_eq!(decimal(7, 30), 7e-30);
    }
}
