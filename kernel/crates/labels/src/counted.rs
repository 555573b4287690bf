//! Owns arrays that count times. No element is a time: a variable of times holds numbers, and its attributes `units` (`days since
//! 2000-01-01`) and `calendar` say what they count. Here two that count otherwise are brought together, and what becomes of the
//! units is decided: a difference of times is no time.

use nuna_array::{Binary, Operation, Unary};
use nuna_chunk::DType;
use nuna_storage::Attributes;

use crate::{Calendar, DataArray, LabelError, Result, time::TimeUnits};

/// What an operation makes of instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Makes {
    Instants,
    /// Lengths of time, in the same unit.
    Durations,
    /// Numbers without a unit.
    Numbers,
}

impl Makes {
    pub(crate) fn by_reduction(operation: Operation) -> Self {
        match operation {
            Operation::Std { .. } => Makes::Durations,
            Operation::Sum
            | Operation::Prod
            | Operation::Var { .. }
            | Operation::Count
            | Operation::Any
            | Operation::All
            | Operation::ArgMin
            | Operation::ArgMax => Makes::Numbers,
            _ => Makes::Instants,
        }
    }

    pub(crate) fn by_unary(operation: Unary) -> Self {
        match operation {
            Unary::IsNan | Unary::IsFinite | Unary::IsInf | Unary::Not | Unary::Sign => Makes::Numbers,
            _ => Makes::Instants,
        }
    }

    /// Of instants and instants, or with numbers on one side.
    pub(crate) fn by_binary(operation: Binary, both: bool) -> Self {
        match operation {
            Binary::Sub if both => Makes::Durations,
            Binary::Eq | Binary::Ne | Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge => Makes::Numbers,
            Binary::Div | Binary::FloorDiv if both => Makes::Numbers,
            _ => Makes::Instants,
        }
    }

    /// The attributes of what was made of an array that had these.
    pub(crate) fn attrs(self, mut attrs: Attributes) -> Attributes {
        if self == Makes::Instants || units(&attrs).is_none() {
            return attrs;
        }
        let unit =
            attrs.get("units").and_then(|units| units.as_str()).and_then(|units| units.split_once(" since "));
        let unit = unit.map(|(unit, _)| unit.trim().to_owned());
        attrs.shift_remove("calendar");
        match (self, unit) {
            (Makes::Durations, Some(unit)) => attrs.insert("units".to_owned(), unit.into()),
            _ => attrs.shift_remove("units"),
        };
        attrs
    }
}

/// How elements count instants, if their attributes say that they do.
pub(crate) fn units(attrs: &Attributes) -> Option<TimeUnits> {
    let text = |key: &str| attrs.get(key).and_then(|value| value.as_str());
    TimeUnits::parse(text("units").filter(|units| units.contains(" since "))?, text("calendar"))
}

fn fits(a: Calendar, b: Calendar) -> bool {
    a == b || a.is_gregorian() && b.is_gregorian()
}

impl DataArray {
    /// The same times, counted as an array with the attributes `like` counts its own; as it is where either counts none. Integers
    /// stay where all of them are whole in the other unit too, else they become `float64`.
    ///
    /// # Errors
    /// If they count in calendars that do not go together.
    pub(crate) fn counted_like(&self, like: &Attributes) -> Result<DataArray> {
        let (Some(own), Some(wanted)) = (units(&self.attrs), units(like)) else { return Ok(self.clone()) };
        if !fits(own.calendar, wanted.calendar) {
            return Err(LabelError::Invalid(format!(
                "{} counts times in the calendar {}, the other in {}; these are not the same times",
                self.describe(),
                own.calendar,
                wanted.calendar
            )));
        }
        let mut counted = self.clone();
        for key in ["units", "calendar"] {
            match like.get(key) {
                Some(value) => counted.attrs.insert(key.to_owned(), value.clone()),
                None => counted.attrs.shift_remove(key),
            };
        }
        if own == wanted || (own.unit, own.parts, own.origin) == (wanted.unit, wanted.parts, wanted.origin) {
            return Ok(counted);
        }
        let (up, down) = (
            i128::from(own.unit) * i128::from(wanted.parts),
            i128::from(wanted.unit) * i128::from(own.parts),
        );
        let shift = (i128::from(own.origin) - i128::from(wanted.origin)) * i128::from(wanted.parts);
        let whole = up % down == 0 && shift % i128::from(wanted.unit) == 0;
        let (factor, further) = (up / down, shift / i128::from(wanted.unit));
        let array = match (i64::try_from(factor), i64::try_from(further)) {
            (Ok(factor), Ok(further)) if whole && self.dtype().is_integer() => {
                self.array.astype(DType::I64).mul(factor)?.add(further)?
            }
            #[expect(
                clippy::cast_precision_loss,
                reason = "of microseconds in 200,000 years, as accurate as doubles count"
            )]
            _ => {
                let numbers = self.array.astype(DType::F64);
                numbers.mul(up as f64)?.div(down as f64)?.add(shift as f64 / wanted.unit as f64)?
            }
        };
        Ok(DataArray { array, loaded: None, ..counted })
    }
}
