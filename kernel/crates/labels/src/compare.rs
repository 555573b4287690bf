//! Owns comparisons of coordinates with a label or another coordinate, also of text and times: masks for `where_` and
//! [`where_drop`](DataArray::where_drop).

use std::cmp::Ordering;

use nuna_chunk::Chunk;

use crate::{
    DataArray, LabelError, Result,
    coord::{Coord, Values, whole},
    label::{Label, as_stored},
    time::{NOT_A_TIME, parse_instant},
};

/// What a coordinate is compared with.
#[derive(Clone, Debug)]
pub enum Compared<'a> {
    Label(Label),
    Coord(&'a Coord),
}

impl<T: Into<Label>> From<T> for Compared<'_> {
    fn from(label: T) -> Self {
        Compared::Label(label.into())
    }
}

impl<'a> From<&'a Coord> for Compared<'a> {
    fn from(coord: &'a Coord) -> Self {
        Compared::Coord(coord)
    }
}

/// How labels lie to another; nothing where either is NaN or a missing time.
type Orders = Vec<Option<Ordering>>;

impl Coord {
    /// True or false for each label, along the coordinate's dimensions.
    fn mask(&self, mask: &[bool]) -> Result<DataArray> {
        DataArray::from_chunk(Chunk::from_slice(&self.shape, mask), &self.dims)
    }

    fn refuse(&self, what: &str, values: &Values, hint: &str) -> LabelError {
        let (dims, holds) = (self.dims.join(", "), values.dtype_name());
        LabelError::Invalid(format!("labels along ({dims}) are {holds}, and {what} is not; {hint}"))
    }

    fn against(&self, values: &Values, label: &Label) -> Result<Orders> {
        Ok(match (values, label) {
            (Values::Numbers(chunk), Label::Number(_) | Label::Whole(_)) => {
                match (whole(chunk), label.whole()) {
                    (Some(numbers), Some(x)) => numbers.iter().map(|own| Some(own.cmp(&x))).collect(),
                    _ => {
                        let x = as_stored(label.as_f64(), chunk.dtype());
                        chunk.to_vec::<f64>().iter().map(|own| own.partial_cmp(&x)).collect()
                    }
                }
            }
            (Values::Text(text), Label::Text(other)) => text.iter().map(|own| Some(own.cmp(other))).collect(),
            (Values::Times(times), Label::Text(date)) => {
                let hint = "dates are written like 2001, 2001-06, 2001-06-15 or 2001-06-15T12:00";
                let instant = parse_instant(date, times.calendar)
                    .ok_or_else(|| self.refuse(&label.to_string(), values, hint))?
                    .start;
                times.micros.iter().map(|&own| (own != NOT_A_TIME).then(|| own.cmp(&instant))).collect()
            }
            (Values::Numbers(_), Label::Text(_)) => {
                return Err(self.refuse(&label.to_string(), values, "compare with a number"));
            }
            (Values::Text(_) | Values::Times(_), Label::Number(_) | Label::Whole(_)) => {
                return Err(self.refuse(&label.to_string(), values, "compare with text"));
            }
        })
    }

    fn orders(&self, other: &Compared<'_>) -> Result<Orders> {
        let values = self.values()?;
        let other = match other {
            Compared::Label(label) => return self.against(values, label),
            Compared::Coord(other) => other,
        };
        if (&self.dims, &self.shape) != (&other.dims, &other.shape) {
            let of = |coord: &Coord| format!("({}) of shape {:?}", coord.dims.join(", "), coord.shape);
            return Err(LabelError::Invalid(format!(
                "comparing coordinates along {} and {}: they must be the same",
                of(self),
                of(other)
            )));
        }
        let theirs = other.values()?;
        Ok(match (values, theirs) {
            (Values::Numbers(a), Values::Numbers(b)) => {
                a.to_vec::<f64>().iter().zip(b.to_vec::<f64>()).map(|(a, b)| a.partial_cmp(&b)).collect()
            }
            (Values::Text(a), Values::Text(b)) => {
                a.iter().zip(b.iter()).map(|(a, b)| Some(a.cmp(b))).collect()
            }
            (Values::Times(a), Values::Times(b)) if a.fits(b) => {
                let there = |t: i64| t != NOT_A_TIME;
                let pairs = a.micros.iter().zip(b.micros.iter());
                pairs.map(|(&a, &b)| (there(a) && there(b)).then(|| a.cmp(&b))).collect()
            }
            _ => return Err(self.refuse(&theirs.dtype_name(), values, "compare labels of one kind")),
        })
    }

    fn compared(
        &self,
        other: &Compared<'_>,
        is_true: impl Fn(Option<Ordering>) -> bool,
    ) -> Result<DataArray> {
        self.mask(&self.orders(other)?.into_iter().map(is_true).collect::<Vec<_>>())
    }

    /// Where labels are one of these: `ds.coord("basin")?.isin(["Atlantic", "Arctic"])?`.
    ///
    /// # Errors
    /// If one of them is of another kind than the labels.
    pub fn isin<T: Into<Label>>(&self, labels: impl IntoIterator<Item = T>) -> Result<DataArray> {
        let values = self.values()?;
        let mut mask = vec![false; values.len()];
        for label in labels {
            for (found, order) in mask.iter_mut().zip(self.against(values, &label.into())?) {
                *found |= order == Some(Ordering::Equal);
            }
        }
        self.mask(&mask)
    }

    fn text(&self, operation: &str) -> Result<&[String]> {
        match self.values()? {
            Values::Text(text) => Ok(text),
            values => Err(self.refuse("text", values, &format!("`{operation}` is for text"))),
        }
    }

    /// Where text has `part` in it.
    ///
    /// # Errors
    /// If the labels are no text.
    pub fn contains(&self, part: &str) -> Result<DataArray> {
        self.mask(&self.text("contains")?.iter().map(|own| own.contains(part)).collect::<Vec<_>>())
    }

    /// Where text begins with `start`.
    ///
    /// # Errors
    /// If the labels are no text.
    pub fn starts_with(&self, start: &str) -> Result<DataArray> {
        self.mask(&self.text("starts_with")?.iter().map(|own| own.starts_with(start)).collect::<Vec<_>>())
    }

    /// Where text ends with `end`.
    ///
    /// # Errors
    /// If the labels are no text.
    pub fn ends_with(&self, end: &str) -> Result<DataArray> {
        self.mask(&self.text("ends_with")?.iter().map(|own| own.ends_with(end)).collect::<Vec<_>>())
    }

    /// The labels where a mask is true, `other` elsewhere: for text what [`DataArray::where_or`] is for numbers. `other` is text,
    /// a number, a date, or a coordinate along the same dimensions.
    ///
    /// # Errors
    /// If the mask is along other dimensions, or `other` is of another kind.
    pub fn where_or<'a>(&self, mask: &DataArray, other: impl Into<Compared<'a>>) -> Result<Coord> {
        if (&self.dims[..], &self.shape[..]) != (mask.dims(), mask.shape()) {
            return Err(LabelError::Invalid(format!(
                "a mask along ({}) of shape {:?} for labels along ({}) of shape {:?}",
                mask.dims().join(", "),
                mask.shape(),
                self.dims.join(", "),
                self.shape
            )));
        }
        let values = self.values()?;
        let other = match other.into() {
            Compared::Coord(other) if (&self.dims, &self.shape) == (&other.dims, &other.shape) => {
                other.values()?.clone()
            }
            Compared::Coord(other) => {
                return Err(self.refuse(
                    &other.dims.join(", "),
                    values,
                    "take one along the same dimensions",
                ));
            }
            Compared::Label(label) => {
                let repeated = values.len();
                match (values, label) {
                    (Values::Numbers(_), Label::Number(x)) => vec![x; repeated].into(),
                    (Values::Numbers(_), Label::Whole(x)) => vec![x; repeated].into(),
                    (Values::Text(_), Label::Text(text)) => vec![text; repeated].into(),
                    (Values::Times(times), Label::Text(date)) => {
                        let instant = parse_instant(&date, times.calendar)
                            .ok_or_else(|| self.refuse(&date, values, "give a date such as 2001-06-15"))?;
                        let micros = vec![instant.start; repeated].into();
                        Values::Times(crate::Times { calendar: times.calendar, micros })
                    }
                    (_, label) => {
                        return Err(self.refuse(&label.to_string(), values, "give one of its kind"));
                    }
                }
            }
        };
        let n = values.len();
        let both = Values::joined(&self.dims.join(", "), &[values, &other])?;
        let mask = mask.to_chunk()?.to_vec::<f64>();
        let places: Vec<usize> =
            mask.into_iter().enumerate().map(|(at, x)| if x != 0.0 { at } else { at + n }).collect();
        Ok(Coord::new(
            self.dims.clone(),
            self.shape.clone(),
            both.take(&self.shape, &places),
            self.attrs.clone(),
        ))
    }
}

macro_rules! comparisons {
    ($($(#[$doc:meta])* $name:ident => $is_true:expr;)*) => {
        impl Coord {$(
            $(#[$doc])*
            /// `other` is text, a number, a date such as `"2001-06"` (its beginning), or a coordinate along the same dimensions. A
            /// missing label is only unequal.
            ///
            /// # Errors
            /// If `other` is of another kind than the labels.
            pub fn $name<'a>(&self, other: impl Into<Compared<'a>>) -> Result<DataArray> {
                self.compared(&other.into(), $is_true)
            }
        )*}
    };
}
comparisons!(
    /// Where labels equal `other`: `t.where_(&ds.coord("station")?.equal("Alert")?)`.
    equal => |order| order == Some(Ordering::Equal);
    /// Where labels differ from `other`.
    not_equal => |order| order != Some(Ordering::Equal);
    /// Where labels come before `other`, text by its characters' numbers.
    less => |order| order == Some(Ordering::Less);
    /// Where labels come before `other`, or equal it.
    less_equal => |order| matches!(order, Some(Ordering::Less | Ordering::Equal));
    /// Where labels come after `other`.
    greater => |order| order == Some(Ordering::Greater);
    /// Where labels come after `other`, or equal it.
    greater_equal => |order| matches!(order, Some(Ordering::Greater | Ordering::Equal));
);
