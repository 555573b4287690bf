//! Owns selection: by position ([`Pick`], for `isel`) and by label ([`Selection`], for `sel`), and how either becomes
//! positions along a dimension.

use std::{
    collections::HashMap,
    ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive},
};

use nuna_array::Array;
use nuna_chunk::DType;

use crate::{
    Calendar, DataArray, LabelError, Result,
    coord::{Coords, Key, Values, whole},
    time::{NOT_A_TIME, Times, parse_instant},
};

/// Positions along a dimension, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Positions {
    /// One; the dimension goes away.
    At(u64),
    Slice {
        start: u64,
        step: i64,
        count: u64,
    },
    List(Vec<u64>),
}

impl Positions {
    pub(crate) fn is_single(&self) -> bool {
        matches!(self, Positions::At(_))
    }

    pub(crate) fn list(&self) -> Vec<usize> {
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        match self {
            Positions::At(at) => vec![place(*at)],
            Positions::Slice { start, step, count } => {
                (0..*count).map(|i| place(start.saturating_add_signed(step * i.cast_signed()))).collect()
            }
            Positions::List(list) => list.iter().copied().map(place).collect(),
        }
    }

    /// The elements at them along an axis.
    pub(crate) fn of(&self, array: &Array, axis: usize) -> Result<Array> {
        Ok(match self {
            Positions::At(at) => array.index_axis(axis, at.cast_signed())?,
            Positions::Slice { start, step, count } => {
                let start = start.cast_signed();
                let stop = start + step * count.cast_signed();
                // Past the first element there is nothing before 0, which Python writes as None.
                array.slice_axis(axis, Some(start), if stop < 0 { None } else { Some(stop) }, *step)?
            }
            Positions::List(list) => {
                array.take(axis, &list.iter().map(|at| at.cast_signed()).collect::<Vec<_>>())?
            }
        })
    }

    /// A slice where the positions follow each other, else the list.
    pub(crate) fn from_list(list: Vec<u64>) -> Self {
        let consecutive = list.windows(2).all(|pair| pair[1] == pair[0] + 1);
        match list.first() {
            _ if !consecutive => Positions::List(list),
            Some(&start) => Positions::Slice { start, step: 1, count: list.len() as u64 },
            None => Positions::Slice { start: 0, step: 1, count: 0 },
        }
    }
}

/// Positions as a call gives them. Negative ones count from the end; ranges are cut to the dimension.
#[derive(Clone, Debug)]
pub enum Pick {
    At(i64),
    Slice {
        start: Option<i64>,
        stop: Option<i64>,
        step: i64,
    },
    List(Vec<i64>),
    /// Those at which it is true; one for each position.
    Mask(Vec<bool>),
    /// A mask, or positions, along the dimension itself. It is computed.
    Array(Box<DataArray>),
}

impl From<Vec<bool>> for Pick {
    fn from(mask: Vec<bool>) -> Self {
        Pick::Mask(mask)
    }
}

impl<const N: usize> From<[bool; N]> for Pick {
    fn from(mask: [bool; N]) -> Self {
        Pick::Mask(mask.to_vec())
    }
}

impl From<&DataArray> for Pick {
    fn from(array: &DataArray) -> Self {
        Pick::Array(Box::new(array.clone()))
    }
}

impl From<DataArray> for Pick {
    fn from(array: DataArray) -> Self {
        Pick::Array(Box::new(array))
    }
}

/// Every `step`th position from `start` to before `stop`, as Python's `slice`.
pub fn slice(start: impl Into<Option<i64>>, stop: impl Into<Option<i64>>, step: i64) -> Pick {
    Pick::Slice { start: start.into(), stop: stop.into(), step }
}

macro_rules! pick_integers {
    ($($t:ty),*) => {$(
        impl From<$t> for Pick {
            fn from(at: $t) -> Self {
                Pick::At(at as i64)
            }
        }
        impl From<Range<$t>> for Pick {
            fn from(range: Range<$t>) -> Self {
                Pick::Slice { start: Some(range.start as i64), stop: Some(range.end as i64), step: 1 }
            }
        }
        impl From<RangeInclusive<$t>> for Pick {
            fn from(range: RangeInclusive<$t>) -> Self {
                // Up to the last element there is nothing after -1.
                let stop = (*range.end() as i64).checked_add(1).filter(|&stop| stop != 0);
                Pick::Slice { start: Some(*range.start() as i64), stop, step: 1 }
            }
        }
        impl From<RangeFrom<$t>> for Pick {
            fn from(range: RangeFrom<$t>) -> Self {
                Pick::Slice { start: Some(range.start as i64), stop: None, step: 1 }
            }
        }
        impl From<RangeTo<$t>> for Pick {
            fn from(range: RangeTo<$t>) -> Self {
                Pick::Slice { start: None, stop: Some(range.end as i64), step: 1 }
            }
        }
        impl From<Vec<$t>> for Pick {
            fn from(list: Vec<$t>) -> Self {
                Pick::List(list.into_iter().map(|at| at as i64).collect())
            }
        }
        impl<const N: usize> From<[$t; N]> for Pick {
            fn from(list: [$t; N]) -> Self {
                Pick::List(list.into_iter().map(|at| at as i64).collect())
            }
        }
    )*};
}
pick_integers!(i32, i64, usize);

impl From<RangeFull> for Pick {
    fn from(_: RangeFull) -> Self {
        Pick::Slice { start: None, stop: None, step: 1 }
    }
}

impl Pick {
    /// [`resolve`](Pick::resolve) of an array too, whose labels along the dimension must be those of `coords`.
    pub(crate) fn resolve_in(&self, dim: &str, size: u64, coords: &Coords) -> Result<Positions> {
        let Pick::Array(array) = self else { return self.resolve(dim, size) };
        let refuse = |why: String| LabelError::Invalid(format!("selecting along `{dim}`: {why}"));
        if array.dims() != [dim] {
            return Err(refuse(format!(
                "{} is along ({}); a mask or a list of positions must be along `{dim}` alone; `isel_points` takes points",
                array.describe(),
                array.dims().join(", ")
            )));
        }
        if let (Some(ours), Some(theirs)) = (coords.index(dim), array.coords().index(dim))
            && !ours.same(theirs)
        {
            let names = (("this", ours.values()?), ("the mask", theirs.values()?));
            return Err(refuse(format!("labels differ: {}", crate::align::difference(names.0, names.1))));
        }
        let chunk = array.to_chunk()?;
        match chunk.dtype() {
            DType::Bool => Pick::Mask(chunk.to_vec::<bool>()).resolve(dim, size),
            dtype if dtype.is_integer() => Pick::List(chunk.to_vec::<i64>()).resolve(dim, size),
            dtype => Err(refuse(format!("{} holds {dtype}, neither bools nor positions", array.describe()))),
        }
    }

    pub(crate) fn resolve(&self, dim: &str, size: u64) -> Result<Positions> {
        let n = i64::try_from(size).unwrap_or(i64::MAX);
        let one = |index: i64| {
            let at = if index < 0 { index.saturating_add(n) } else { index };
            u64::try_from(at).ok().filter(|&at| at < size).ok_or_else(|| LabelError::Position {
                dim: dim.to_owned(),
                index,
                size,
            })
        };
        match self {
            Pick::At(index) => one(*index).map(Positions::At),
            Pick::List(list) => {
                list.iter().map(|&index| one(index)).collect::<Result<_>>().map(Positions::List)
            }
            Pick::Mask(mask) if mask.len() as u64 != size => Err(LabelError::Invalid(format!(
                "a mask of {} for dimension `{dim}` of length {size}",
                mask.len()
            ))),
            Pick::Mask(mask) => {
                let kept = (0..).zip(mask).filter(|(_, keep)| **keep).map(|(at, _)| at).collect();
                Ok(Positions::from_list(kept))
            }
            Pick::Array(_) => self.resolve_in(dim, size, &Coords::default()),
            Pick::Slice { step: 0, .. } => {
                Err(LabelError::Invalid(format!("a slice along `{dim}` needs a step other than 0")))
            }
            Pick::Slice { start, stop, step } => {
                // Python's slice.indices.
                let (low, high) = if *step < 0 { (-1, n - 1) } else { (0, n) };
                let place = |at: i64| if at < 0 { at.saturating_add(n).max(low) } else { at.min(high) };
                let start = start.map_or(if *step < 0 { high } else { low }, place);
                let stop = stop.map_or(if *step < 0 { low } else { high }, place);
                let distance = if *step < 0 { start - stop } else { stop - start };
                let count = u64::try_from(distance).unwrap_or(0).div_ceil(step.unsigned_abs());
                Ok(Positions::Slice { start: u64::try_from(start).unwrap_or(0), step: *step, count })
            }
        }
    }
}

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

/// How labels match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Matching {
    Exact,
    Nearest,
}

impl Selection {
    /// The positions that the labels along `dim` select.
    pub(crate) fn resolve(&self, dim: &str, values: &Values, matching: Matching) -> Result<Positions> {
        match self {
            Selection::One(label) => one(dim, values, label, matching),
            Selection::Many(labels) => {
                let index = Index::of(values, matching, labels.len());
                let mut list = Vec::with_capacity(labels.len());
                for label in labels {
                    if let Some(found) = index.find(label) {
                        list.extend_from_slice(found);
                        continue;
                    }
                    match one(dim, values, label, matching)? {
                        Positions::At(at) => list.push(at),
                        several => list.extend(several.list().into_iter().map(|at| at as u64)),
                    }
                }
                Ok(Positions::List(list))
            }
            Selection::Between { start, end, with_end } => {
                between(dim, values, start.as_ref(), end.as_ref(), *with_end)
            }
        }
    }
}

/// Where labels are, for calls with many of them: otherwise each looks through all there are.
struct Index {
    calendar: Option<(Calendar, i64)>,
    dtype: Option<DType>,
    places: HashMap<Key, Vec<u64>>,
}

impl Index {
    /// Empty where it is not worth it.
    fn of(values: &Values, matching: Matching, labels: usize) -> Self {
        const WORTH: usize = 4;
        let calendar = match values {
            Values::Times(times) if labels > WORTH => Some((times.calendar, times.resolution())),
            _ => None,
        };
        let dtype = match values {
            Values::Numbers(chunk) => Some(chunk.dtype()),
            Values::Times(_) | Values::Text(_) => None,
        };
        let mut places: HashMap<Key, Vec<u64>> = HashMap::new();
        if labels > WORTH {
            for (at, key) in (0..).zip(values.keys()) {
                places.entry(key).or_default().push(at);
            }
        }
        if matching == Matching::Nearest {
            // Of labels that stand several times the first is near.
            places.values_mut().for_each(|all| all.truncate(1));
        }
        Self { calendar, dtype, places }
    }

    /// Positions of what is exactly this label; nothing where it has to be looked for, or is not there.
    fn find(&self, label: &Label) -> Option<&[u64]> {
        if self.places.is_empty() {
            return None;
        }
        let key = match (label, self.calendar) {
            (Label::Number(x), None) if !x.is_nan() => Key::number(as_stored(*x, self.dtype?)),
            (Label::Whole(x), None) => Key::Whole(i128::from(*x)),
            (Label::Text(text), None) => Key::Text(text.clone()),
            (Label::Text(text), Some((calendar, resolution))) => {
                let range = parse_instant(text, calendar)?;
                if range.end - range.start > resolution {
                    return None;
                }
                Key::Time(range.start)
            }
            _ => return None,
        };
        self.places.get(&key).map(Vec::as_slice)
    }
}

fn wrong(dim: &str, values: &Values, label: &Label, hint: &str) -> LabelError {
    LabelError::WrongLabel {
        dim: dim.to_owned(),
        label: label.to_string(),
        holds: values.dtype_name(),
        hint: hint.to_owned(),
    }
}

fn one(dim: &str, values: &Values, label: &Label, matching: Matching) -> Result<Positions> {
    let missing = |hint: String| LabelError::NoLabel { dim: dim.to_owned(), label: label.to_string(), hint };
    match (values, label) {
        (Values::Numbers(chunk), Label::Number(_) | Label::Whole(_)) => {
            let exact: Vec<u64> = match (whole(chunk), label) {
                (Some(numbers), _) => match label.whole() {
                    Some(x) => (0..).zip(numbers).filter(|(_, y)| *y == x).map(|(i, _)| i).collect(),
                    None => Vec::new(),
                },
                (None, label) => {
                    let x = as_stored(label.as_f64(), chunk.dtype());
                    (0..).zip(chunk.to_vec::<f64>()).filter(|(_, y)| *y == x).map(|(i, _)| i).collect()
                }
            };
            match exact.as_slice() {
                [] => {}
                [at] => return Ok(Positions::At(*at)),
                [first, ..] if matching == Matching::Nearest => return Ok(Positions::At(*first)),
                _ => return Ok(Positions::from_list(exact)),
            }
            let x = as_stored(label.as_f64(), chunk.dtype());
            if x.is_nan() {
                return Err(missing("NaN is not a label, and near to none".to_owned()));
            }
            match (nearest(chunk.to_vec::<f64>().into_iter().map(|y| y - x)), matching) {
                (Some(at), Matching::Nearest) => Ok(Positions::At(at as u64)),
                (Some(at), Matching::Exact) => {
                    Err(missing(format!("the nearest is {}; `sel_nearest` takes it", values.show(at))))
                }
                (None, _) => Err(missing("the dimension has no labels".to_owned())),
            }
        }
        (Values::Times(times), Label::Text(text)) => {
            let range = parse_instant(text, times.calendar).ok_or_else(|| {
                wrong(
                    dim,
                    values,
                    label,
                    "dates are written like 2001, 2001-06, 2001-06-15 or 2001-06-15T12:00",
                )
            })?;
            if matching == Matching::Nearest {
                #[expect(clippy::cast_precision_loss, reason = "only compared")]
                let distances = times.micros.iter().map(|&t| {
                    if t == NOT_A_TIME { f64::NAN } else { (i128::from(t) - i128::from(range.start)) as f64 }
                });
                let at =
                    nearest(distances).ok_or_else(|| missing("the dimension has no labels".to_owned()))?;
                return Ok(Positions::At(at as u64));
            }
            // A date as fine as the labels themselves names one of them; a coarser one all that lie in it.
            if range.end - range.start <= times.resolution() {
                let exact: Vec<u64> = (0..)
                    .zip(times.micros.iter())
                    .filter(|(_, t)| **t == range.start)
                    .map(|(i, _)| i)
                    .collect();
                match exact.as_slice() {
                    [at] => return Ok(Positions::At(*at)),
                    [] => {}
                    _ => return Ok(Positions::from_list(exact)),
                }
            }
            let inside: Vec<u64> =
                (0..).zip(times.micros.iter()).filter(|(_, t)| range.contains(t)).map(|(i, _)| i).collect();
            if inside.is_empty() {
                Err(missing(format!("the labels go {}", span(values))))
            } else {
                Ok(Positions::from_list(inside))
            }
        }
        (Values::Text(texts), Label::Text(text)) => {
            let all: Vec<u64> = (0..).zip(texts.iter()).filter(|(_, t)| *t == text).map(|(i, _)| i).collect();
            match all.as_slice() {
                [] => Err(missing(format!("the labels are {}", sample(values)))),
                [at] => Ok(Positions::At(*at)),
                _ => Ok(Positions::from_list(all)),
            }
        }
        (Values::Numbers(_), Label::Text(_)) => Err(wrong(dim, values, label, "select with a number")),
        (Values::Times(_), Label::Number(_) | Label::Whole(_)) => {
            Err(wrong(dim, values, label, "select with a date such as \"2001-06\""))
        }
        (Values::Text(_), Label::Number(_) | Label::Whole(_)) => {
            Err(wrong(dim, values, label, "select with text"))
        }
    }
}

/// The place of what is least far, given how far above each is. Of two equally far the one above, as in pandas; of equal ones the
/// first.
fn nearest(above: impl Iterator<Item = f64>) -> Option<usize> {
    let order = |a: f64, b: f64| a.abs().total_cmp(&b.abs()).then(b.total_cmp(&a));
    above.enumerate().filter(|(_, d)| !d.is_nan()).min_by(|a, b| order(a.1, b.1)).map(|(at, _)| at)
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

/// Positions of the integers from one label to another, which may stand in either order.
fn integers_between(
    numbers: &[i128],
    start: Option<&Label>,
    end: Option<&Label>,
    with_end: bool,
) -> Vec<u64> {
    // Between two integers lies none: the bound is the next one inside.
    #[expect(clippy::cast_possible_truncation, reason = "saturates beyond all integers of 64 bits")]
    let bound = |label: Option<&Label>, open: i128, up: bool| match label {
        None => open,
        Some(label) => label.whole().unwrap_or_else(|| {
            let x = label.as_f64();
            (if up { x.ceil() } else { x.floor() }) as i128
        }),
    };
    let swapped = match (start, end) {
        (Some(a), Some(b)) => match (a.whole(), b.whole()) {
            (Some(a), Some(b)) => a > b,
            _ => a.as_f64() > b.as_f64(),
        },
        _ => false,
    };
    let (first, second) = if swapped { (end, start) } else { (start, end) };
    let (low, high) = (bound(first, i128::MIN, true), bound(second, i128::MAX, false));
    let skipped = end.filter(|_| !with_end).and_then(Label::whole);
    let within = |x: i128| low <= x && x <= high && Some(x) != skipped;
    (0..).zip(numbers).filter(|(_, x)| within(**x)).map(|(i, _)| i).collect()
}

fn between(
    dim: &str,
    values: &Values,
    start: Option<&Label>,
    end: Option<&Label>,
    with_end: bool,
) -> Result<Positions> {
    let inside: Vec<u64> = match values {
        Values::Numbers(chunk) => {
            let bound = |label: Option<&Label>, open: f64| match label {
                None => Ok(open),
                Some(label @ Label::Text(_)) => Err(wrong(dim, values, label, "select with numbers")),
                Some(label) if label.as_f64().is_nan() => {
                    Err(wrong(dim, values, label, "NaN is no end of a range"))
                }
                Some(label) => Ok(as_stored(label.as_f64(), chunk.dtype())),
            };
            let (a, b) = (bound(start, f64::NEG_INFINITY)?, bound(end, f64::INFINITY)?);
            if let Some(numbers) = whole(chunk) {
                return Ok(Positions::from_list(integers_between(&numbers, start, end, with_end)));
            }
            let (low, high) = (a.min(b), a.max(b));
            let within = |x: f64| low <= x && x <= high && (with_end || x != b);
            (0..).zip(chunk.to_vec::<f64>()).filter(|(_, x)| within(*x)).map(|(i, _)| i).collect()
        }
        Values::Times(times) => {
            let bound = |label: Option<&Label>| match label {
                None => Ok(None),
                Some(label @ Label::Text(text)) => {
                    parse_instant(text, times.calendar).map(Some).ok_or_else(|| {
                        wrong(dim, values, label, "dates are written like 2001, 2001-06 or 2001-06-15")
                    })
                }
                Some(label) => Err(wrong(dim, values, label, "select with dates")),
            };
            let (start, end) = (bound(start)?, bound(end)?);
            // In either order; what the end names is left out of `a..b`, wherever it stands.
            let swapped = matches!((&start, &end), (Some(a), Some(b)) if a.start > b.start);
            let (first, second) = if swapped { (&end, &start) } else { (&start, &end) };
            let low = first.as_ref().map_or(i64::MIN + 1, |range| range.start);
            let high = second.as_ref().map_or(i64::MAX, |range| range.end);
            let skipped = if with_end { None } else { end.clone() };
            let within = |t: i64| {
                (low..high).contains(&t) && !skipped.as_ref().is_some_and(|range| range.contains(&t))
            };
            (0..).zip(times.micros.iter()).filter(|(_, t)| within(**t)).map(|(i, _)| i).collect()
        }
        // Of nothing any range is nothing, as of numbers.
        Values::Text(texts) if texts.is_empty() => Vec::new(),
        Values::Text(texts) => {
            let at = |label: Option<&Label>, open: u64| match label {
                None => Ok(open),
                Some(label) => match one(dim, values, label, Matching::Exact)? {
                    Positions::At(at) => Ok(at),
                    Positions::Slice { .. } | Positions::List(_) => {
                        Err(LabelError::Invalid(format!("label {label} stands several times along `{dim}`")))
                    }
                },
            };
            let (low, high) = (at(start, 0)?, at(end, texts.len() as u64)?);
            if low > high {
                (high + u64::from(!with_end)..low + 1).collect()
            } else {
                (low..if with_end && end.is_some() { high + 1 } else { high }).collect()
            }
        }
    };
    Ok(Positions::from_list(inside))
}

/// `from … to …`, for messages.
pub(crate) fn span(values: &Values) -> String {
    match values.len() {
        0 => "from nothing to nothing".to_owned(),
        n => format!("from {} to {}", values.show(0), values.show(n - 1)),
    }
}

fn sample(values: &Values) -> String {
    let shown: Vec<_> = (0..values.len().min(6)).map(|i| values.show(i)).collect();
    shown.join(", ") + if values.len() > 6 { ", …" } else { "" }
}

/// The instants of a regular calendar month by month, for tests and examples.
impl Times {
    /// Times from dates such as `2000-01-15`.
    ///
    /// # Errors
    /// If one of them is not a date of the calendar.
    pub fn from_dates<T: AsRef<str>>(dates: &[T], calendar: crate::Calendar) -> Result<Times> {
        let micros: Result<Vec<i64>> = dates
            .iter()
            .map(|date| {
                let range = parse_instant(date.as_ref(), calendar);
                range.map(|r| r.start).ok_or_else(|| {
                    LabelError::Invalid(format!(
                        "`{}` is not a date of the {calendar} calendar",
                        date.as_ref()
                    ))
                })
            })
            .collect();
        Ok(Times { calendar, micros: micros?.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Calendar;

    fn months() -> Values {
        let dates: Vec<String> =
            (2000..2003).flat_map(|y| (1..=12).map(move |m| format!("{y}-{m:02}-01"))).collect();
        Values::Times(Times::from_dates(&dates, Calendar::Standard).unwrap())
    }

    fn sel(values: &Values, selection: impl Into<Selection>) -> Positions {
        selection.into().resolve("x", values, Matching::Exact).unwrap()
    }

    #[test]
    fn date_strings_select_as_in_pandas() {
        let months = months();
        assert_eq!(sel(&months, "2001"), Positions::Slice { start: 12, step: 1, count: 12 });
        assert_eq!(sel(&months, "2001-06"), Positions::Slice { start: 17, step: 1, count: 1 });
        assert_eq!(sel(&months, "2001-06-01"), Positions::At(17));
        assert_eq!(sel(&months, "2000-06"..="2001-02-15"), Positions::Slice { start: 5, step: 1, count: 9 });
        assert_eq!(sel(&months, "2000".."2001"), Positions::Slice { start: 0, step: 1, count: 12 });
        assert_eq!(sel(&months, "2002-11"..), Positions::Slice { start: 34, step: 1, count: 2 });
    }

    #[test]
    fn numbers_select_exactly_nearest_and_by_range_in_either_order() {
        let lat: Values = vec![60.0, 30.0, 0.0, -30.0].into();
        assert_eq!(sel(&lat, 30.0), Positions::At(1));
        assert_eq!(sel(&lat, -30.0..=30.0), Positions::Slice { start: 1, step: 1, count: 3 });
        assert_eq!(sel(&lat, 60.0..0.0), Positions::Slice { start: 0, step: 1, count: 2 });
        let nearest = Selection::from(11.0).resolve("lat", &lat, Matching::Nearest).unwrap();
        assert_eq!(nearest, Positions::At(2));
        let error = Selection::from(11.0).resolve("lat", &lat, Matching::Exact).unwrap_err().to_string();
        assert_eq!(error, "no label 11 along `lat`; the nearest is 0.0; `sel_nearest` takes it");
    }

    #[test]
    fn labels_of_the_wrong_kind_are_refused_with_advice() {
        let error = Selection::from(5).resolve("time", &months(), Matching::Exact).unwrap_err().to_string();
        assert!(error.contains("select with a date such as"), "{error}");
        let error =
            Selection::from("1999").resolve("time", &months(), Matching::Exact).unwrap_err().to_string();
        assert!(error.contains("from 2000-01-01 to 2002-12-01"), "{error}");
    }

    #[test]
    fn positions_follow_python() {
        let resolve = |pick: Pick| pick.resolve("x", 10).unwrap();
        assert_eq!(resolve((-3..).into()), Positions::Slice { start: 7, step: 1, count: 3 });
        assert_eq!(resolve(slice(8, 1, -3)).list(), [8, 5, 2]);
        assert_eq!(resolve(std::ops::RangeInclusive::new(2, -1).into()).list().len(), 8);
        assert_eq!(resolve((-1).into()), Positions::At(9));
        assert!(Pick::At(10).resolve("x", 10).is_err());
    }
}
