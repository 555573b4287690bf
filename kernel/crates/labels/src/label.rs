//! Owns labels as calls give them: one ([`Label`]), several, or a range ([`Selection`]). Leaves what they select to `select`.

use std::ops::{Range, RangeFrom, RangeInclusive, RangeTo, RangeToInclusive};

use nuna_chunk::DType;

use crate::coord::Key;

/// One label.
#[derive(Clone, Debug, PartialEq)]
pub enum Label {
    Number(f64),
    /// A whole number that `f64` does not hold exactly, such as the identifier of a cell.
    Whole(i64),
    /// Text, or a date such as `2001-06`.
    Text(String),
}

/// Labels as a call gives them: one, several, or a range. `a..=b` holds both ends, `a..b` all before `b`; the ends may
/// stand in either order.
#[derive(Clone, Debug, PartialEq)]
pub enum Selection {
    One(Label),
    Many(Vec<Label>),
    Between { start: Option<Label>, end: Option<Label>, with_end: bool },
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Label::Number(x) => write!(f, "{x}"),
            Label::Whole(x) => write!(f, "{x}"),
            Label::Text(text) => write!(f, "\"{text}\""),
        }
    }
}

macro_rules! labels {
    ($($t:ty: $x:ident => $label:expr),* $(,)?) => {$(
        impl From<$t> for Label {
            fn from($x: $t) -> Self {
                $label
            }
        }
        impl From<$t> for Selection {
            fn from(label: $t) -> Self {
                Selection::One(label.into())
            }
        }
        impl From<Range<$t>> for Selection {
            fn from(range: Range<$t>) -> Self {
                Selection::Between { start: Some(range.start.into()), end: Some(range.end.into()), with_end: false }
            }
        }
        impl From<RangeInclusive<$t>> for Selection {
            fn from(range: RangeInclusive<$t>) -> Self {
                let (start, end) = range.into_inner();
                Selection::Between { start: Some(start.into()), end: Some(end.into()), with_end: true }
            }
        }
        impl From<RangeFrom<$t>> for Selection {
            fn from(range: RangeFrom<$t>) -> Self {
                Selection::Between { start: Some(range.start.into()), end: None, with_end: true }
            }
        }
        impl From<RangeTo<$t>> for Selection {
            fn from(range: RangeTo<$t>) -> Self {
                Selection::Between { start: None, end: Some(range.end.into()), with_end: false }
            }
        }
        impl From<RangeToInclusive<$t>> for Selection {
            fn from(range: RangeToInclusive<$t>) -> Self {
                Selection::Between { start: None, end: Some(range.end.into()), with_end: true }
            }
        }
        impl From<Vec<$t>> for Selection {
            fn from(list: Vec<$t>) -> Self {
                Selection::Many(list.into_iter().map(Into::into).collect())
            }
        }
        impl<const N: usize> From<[$t; N]> for Selection {
            fn from(list: [$t; N]) -> Self {
                Selection::Many(list.into_iter().map(Into::into).collect())
            }
        }
    )*};
}
/// As a double where that is exact.
#[expect(clippy::cast_precision_loss, reason = "asked before")]
fn whole_label(x: i64) -> Label {
    if x.unsigned_abs() <= 1 << f64::MANTISSA_DIGITS { Label::Number(x as f64) } else { Label::Whole(x) }
}

mod from_labels {
    use super::*;
    labels!(
        f64: x => Label::Number(x),
        i32: x => Label::Number(f64::from(x)),
        i64: x => whole_label(x),
        &str: x => Label::Text(x.to_owned()),
        String: x => Label::Text(x),
    );
}

impl Label {
    #[expect(clippy::cast_precision_loss, reason = "what is not exact is asked for by `whole` before")]
    pub(crate) fn as_f64(&self) -> f64 {
        match self {
            Label::Number(x) => *x,
            Label::Whole(x) => *x as f64,
            Label::Text(_) => f64::NAN,
        }
    }

    /// The whole number that this is.
    pub(crate) fn whole(&self) -> Option<i128> {
        match self {
            Label::Whole(x) => Some(i128::from(*x)),
            Label::Number(x) => match Key::number(*x) {
                Key::Whole(x) => Some(x),
                _ => None,
            },
            Label::Text(_) => None,
        }
    }
}

/// A number as labels of a dtype hold it: 0.1 is the label of `float32` that is nearest to it, as in xarray.
#[expect(clippy::cast_possible_truncation, reason = "to the label's own precision")]
pub(crate) fn as_stored(x: f64, dtype: DType) -> f64 {
    if dtype == DType::F32 { f64::from(x as f32) } else { x }
}
