//! Owns selection by label (`sel`): how a [`Selection`] becomes positions along a dimension.

use std::collections::HashMap;

use nuna_chunk::DType;

use crate::{
    Calendar, LabelError, Result,
    coord::{Key, Values, whole},
    label::{Label, Selection, as_stored},
    positions::Positions,
    time::{NOT_A_TIME, parse_instant},
};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Calendar, Times};

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
}
