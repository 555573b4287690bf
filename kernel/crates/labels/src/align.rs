//! Owns alignment: the labels that several arrays or datasets get in common, and giving one other labels along a
//! dimension. Messages name the labels that differ.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use nuna_array::{Array, Operand, Scalar};
use nuna_chunk::{Chunk, DType};

use crate::{
    DataArray, Dataset, LabelError, Result, Times,
    coord::{Coord, Coords, Key, Values},
    positions::Positions,
    select::span,
    time::NOT_A_TIME,
};

/// Which labels remain along a dimension that several arrays have, as in xarray.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Join {
    /// Those that all have, in the order of the first.
    #[default]
    Inner,
    /// Those that any has, sorted unless they are equal.
    Outer,
    /// The first one's.
    Left,
    /// The last one's.
    Right,
    /// They must be equal.
    Exact,
    /// The first one's, whatever the others' are; lengths must be equal.
    Override,
}

/// Where a label that is not there gets its elements from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// The nearest label; of two equally near, the one after.
    Nearest,
    /// The last label before: forward fill.
    Pad,
    /// The next label after: backward fill.
    Backfill,
}

/// How [`DataArray::reindex_with`] fills in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reindex {
    /// Nothing: only equal labels.
    pub method: Option<Method>,
    /// How far a label may be from the one whose elements it gets: in its own unit, times in seconds.
    pub tolerance: Option<f64>,
    /// What other elements become; NaN makes floats of integers. Other coordinates get NaN, missing times or no text.
    pub fill_value: Scalar,
}

impl Default for Reindex {
    fn default() -> Self {
        Self { method: None, tolerance: None, fill_value: Scalar::Float(f64::NAN) }
    }
}

impl Method {
    /// These rules for [`DataArray::reindex_with`].
    #[must_use]
    pub fn within(self, tolerance: f64) -> Reindex {
        Reindex { method: Some(self), tolerance: Some(tolerance), ..Reindex::default() }
    }
}

impl From<Method> for Reindex {
    fn from(method: Method) -> Self {
        Self { method: Some(method), ..Self::default() }
    }
}

/// What differs between two lists of labels, for messages.
pub(crate) fn difference(left: (&str, &Values), right: (&str, &Values)) -> String {
    const SHOWN: usize = 4;
    let only = |(owner, values): (&str, &Values), other: &Values| {
        let there: HashSet<Key> = other.keys().into_iter().collect();
        let missing: Vec<usize> = values
            .keys()
            .iter()
            .enumerate()
            .filter(|(_, key)| !there.contains(key))
            .map(|(at, _)| at)
            .collect();
        let shown: Vec<String> = missing.iter().take(SHOWN).map(|&at| values.show(at)).collect();
        match missing.len() {
            0 => None,
            n if n > SHOWN => Some(format!("{n} are only in {owner} ({}, …)", shown.join(", "))),
            _ => Some(format!("only {owner} has {}", shown.join(", "))),
        }
    };
    let parts: Vec<String> = [only(left, right.1), only(right, left.1)].into_iter().flatten().collect();
    match (left.1, right.1) {
        (Values::Times(a), Values::Times(b)) if !a.fits(b) => {
            format!("{} counts times in the calendar {}, {} in {}", left.0, a.calendar, right.0, b.calendar)
        }
        _ if parts.is_empty() => "they are in another order, or some stand twice".to_owned(),
        _ => parts.join(" and "),
    }
}

impl Times {
    /// Whether instants of both can be compared.
    pub(crate) fn fits(&self, other: &Times) -> bool {
        self.calendar == other.calendar || self.calendar.is_gregorian() && other.calendar.is_gregorian()
    }
}

impl Values {
    /// Positions in ascending order; equal labels keep theirs. NaN and missing times come last.
    pub(crate) fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.len()).collect();
        match self {
            Values::Numbers(chunk) if chunk.dtype() == DType::U64 => {
                let numbers = chunk.to_vec::<u64>();
                order.sort_by_key(|&at| numbers[at]);
            }
            Values::Numbers(chunk) if chunk.dtype().is_float() => {
                let numbers = chunk.to_vec::<f64>();
                order.sort_by(|&a, &b| {
                    let (a, b) = (numbers[a], numbers[b]);
                    a.is_nan().cmp(&b.is_nan()).then(a.partial_cmp(&b).unwrap_or(std::cmp::Ordering::Equal))
                });
            }
            Values::Numbers(chunk) => {
                let numbers = chunk.to_vec::<i64>();
                order.sort_by_key(|&at| numbers[at]);
            }
            Values::Times(times) => {
                order.sort_by_key(|&at| (times.micros[at] == NOT_A_TIME, times.micros[at]))
            }
            Values::Text(text) => order.sort_by(|&a, &b| text[a].cmp(&text[b])),
        }
        order
    }

    /// Whether a label is NaN, a missing time or no text.
    pub(crate) fn is_missing(&self, at: usize) -> bool {
        match self {
            Values::Numbers(chunk) => chunk.get(at).as_f64().is_nan(),
            Values::Times(times) => times.micros[at] == NOT_A_TIME,
            Values::Text(text) => text[at].is_empty(),
        }
    }

    /// As doubles for distances: times in seconds.
    #[expect(clippy::cast_precision_loss, reason = "only compared")]
    pub(crate) fn distances(&self) -> Option<Vec<f64>> {
        match self {
            Values::Numbers(chunk) => Some(chunk.to_vec()),
            Values::Times(times) => Some(
                times
                    .micros
                    .iter()
                    .map(|&t| if t == NOT_A_TIME { f64::NAN } else { t as f64 / 1e6 })
                    .collect(),
            ),
            Values::Text(_) => None,
        }
    }

    /// Numbers as numbers of this dtype, everything else as it is.
    fn cast(&self, dtype: DType) -> Values {
        match self {
            Values::Numbers(chunk) => Values::Numbers(chunk.cast(dtype)),
            other => other.clone(),
        }
    }

    /// Labels of the same kind one after the other; numbers promote.
    pub(crate) fn joined(dim: &str, parts: &[&Values]) -> Result<Values> {
        let dtype = parts.iter().filter_map(|part| match part {
            Values::Numbers(chunk) => Some(chunk.dtype()),
            Values::Times(_) | Values::Text(_) => None,
        });
        let dtype = dtype.reduce(DType::promote).unwrap_or(DType::F64);
        let parts: Vec<Values> = parts.iter().map(|part| part.cast(dtype)).collect();
        crate::build::join(&parts.iter().collect::<Vec<_>>()).ok_or_else(|| {
            let kinds: Vec<String> = parts.iter().map(Values::dtype_name).collect();
            LabelError::Invalid(format!("labels along `{dim}` of {} do not go together", kinds.join(" and ")))
        })
    }

    /// The labels at these places; where there is none a NaN, a missing time or no text.
    pub(crate) fn at(&self, shape: &[u64], places: &[Option<usize>]) -> Values {
        let list: Vec<usize> = places.iter().map(|place| place.unwrap_or(0)).collect();
        if places.iter().all(Option::is_some) {
            return self.take(shape, &list);
        }
        match self {
            Values::Numbers(chunk) => {
                let dtype = chunk.dtype().to_float();
                let numbers = chunk.to_vec::<f64>();
                let of = |place: &Option<usize>| place.map_or(f64::NAN, |at| numbers[at]);
                let taken: Vec<f64> = places.iter().map(of).collect();
                Values::Numbers(Chunk::from_slice(shape, &taken).cast(dtype))
            }
            Values::Times(times) => {
                let of = |place: &Option<usize>| place.map_or(NOT_A_TIME, |at| times.micros[at]);
                Values::Times(Times { calendar: times.calendar, micros: places.iter().map(of).collect() })
            }
            Values::Text(text) => {
                let of = |place: &Option<usize>| place.map_or_else(String::new, |at| text[at].clone());
                Values::Text(places.iter().map(of).collect())
            }
        }
    }
}

/// Places along a dimension, one for each of new labels; nothing where the elements are filled in.
pub(crate) type Places = Vec<Option<usize>>;

/// Where the elements of each of the labels `to` are among those of `from`.
pub(crate) fn places(dim: &str, from: &Values, to: &Values, options: &Reindex) -> Result<Places> {
    let refuse = |reason: String| Err(LabelError::Invalid(format!("aligning along `{dim}`: {reason}")));
    match (from, to) {
        (Values::Times(a), Values::Times(b)) if !a.fits(b) => {
            return refuse(format!(
                "labels in the calendar {} and in {} are not the same times",
                a.calendar, b.calendar
            ));
        }
        (Values::Numbers(_), Values::Numbers(_))
        | (Values::Times(_), Values::Times(_))
        | (Values::Text(_), Values::Text(_)) => {}
        _ => {
            return refuse(format!(
                "labels of {} and of {}, which are never equal",
                from.dtype_name(),
                to.dtype_name()
            ));
        }
    }
    let mut seen: HashMap<Key, usize> = HashMap::with_capacity(from.len());
    for (at, key) in from.keys().into_iter().enumerate() {
        if seen.insert(key, at).is_some() {
            return refuse(format!(
                "the label {} stands several times; take the first of each with `drop_duplicates(\"{dim}\")`",
                from.show(at)
            ));
        }
    }
    let mut places: Places = to.keys().iter().map(|key| seen.get(key).copied()).collect();
    let Some(method) = options.method else { return Ok(places) };
    let (Some(have), Some(want)) = (from.distances(), to.distances()) else {
        return refuse("text has no neighbours; leave `method` out".to_owned());
    };
    let order = from.order();
    let order = &order[..order.iter().take_while(|&&at| !have[at].is_nan()).count()];
    for (place, &x) in places.iter_mut().zip(&want) {
        if place.is_some() || x.is_nan() {
            continue;
        }
        let above = order.partition_point(|&at| have[at] < x);
        let (before, after) = (above.checked_sub(1).map(|i| order[i]), order.get(above).copied());
        let found = match method {
            Method::Pad => before,
            Method::Backfill => after,
            // As pandas: of two equally near the one after.
            Method::Nearest => match (before, after) {
                (Some(a), Some(b)) => Some(if x - have[a] < have[b] - x { a } else { b }),
                (a, b) => a.or(b),
            },
        };
        *place = found.filter(|&at| options.tolerance.is_none_or(|most| (have[at] - x).abs() <= most));
    }
    Ok(places)
}

/// The elements at places along an axis; `fill` where there is none, which makes floats of integers if it is one.
pub(crate) fn placed(array: &Array, axis: usize, places: &[Option<usize>], fill: Scalar) -> Result<Array> {
    let complete = places.iter().all(Option::is_some);
    if places.iter().all(Option::is_none) {
        let dtype = match fill {
            Scalar::Float(_) if !complete => array.dtype().to_float(),
            _ => array.dtype(),
        };
        let mut shape = array.shape().to_vec();
        shape[axis] = places.len() as u64;
        return Ok(Array::full(&shape, fill, dtype));
    }
    let list = places.iter().map(|place| place.unwrap_or(0) as u64).collect();
    let taken = Positions::from_list(list).of(array, axis)?;
    if complete {
        return Ok(taken);
    }
    let there: Vec<bool> = places.iter().map(Option::is_some).collect();
    let mut shape = vec![1; array.ndim() - axis];
    shape[0] = there.len() as u64;
    let there = Array::from_chunk(Chunk::from_slice(&shape, &there));
    Ok(taken.where_(&there, Operand::Scalar(fill))?)
}

/// Positions of the labels that both sides have, in the left side's order.
pub(crate) fn in_common(dim: &str, left: &Values, right: &Values) -> Result<(Vec<u64>, Vec<u64>)> {
    let found = places(dim, right, left, &Reindex::default())?;
    let pairs: (Vec<u64>, Vec<u64>) =
        (0..).zip(found).filter_map(|(at, place)| place.map(|there| (at, there as u64))).unzip();
    // As in xarray also where the label is one that the other side has not.
    let mut seen = HashSet::with_capacity(left.len());
    for (at, key) in left.keys().into_iter().enumerate() {
        if !seen.insert(key) {
            return Err(LabelError::Invalid(format!(
                "the label {} stands several times along `{dim}`; take the first of each with `drop_duplicates(\"{dim}\")`",
                left.show(at)
            )));
        }
    }
    Ok(pairs)
}

impl Coord {
    /// Other labels along a dimension, of this coordinate's own.
    pub(crate) fn at(&self, dim: &str, places: &[Option<usize>]) -> Result<Coord> {
        let Some(axis) = self.dims.iter().position(|d| d == dim) else {
            return Err(LabelError::Invalid(format!("a coordinate without `{dim}`")));
        };
        let count = |shape: &[u64]| usize::try_from(shape.iter().product::<u64>()).unwrap_or(usize::MAX);
        let (outer, inner) = (count(&self.shape[..axis]), count(&self.shape[axis + 1..]));
        let length = count(&self.shape[axis..=axis]);
        let mut flat = Vec::with_capacity(outer * places.len() * inner);
        for o in 0..outer {
            for place in places {
                flat.extend((0..inner).map(|i| place.map(|at| (o * length + at) * inner + i)));
            }
        }
        let mut shape = self.shape.clone();
        shape[axis] = places.len() as u64;
        let values = self.values()?.at(&shape, &flat);
        Ok(Coord::new(self.dims.clone(), shape, values, self.attrs.clone()))
    }
}

impl Coords {
    /// With `index` along its dimension; other coordinates along it are taken at `places`.
    fn reindexed(&self, dim: &str, index: &Arc<Coord>, places: &[Option<usize>]) -> Result<Coords> {
        self.try_map(|name, coord| match () {
            () if name == dim && coord.dims == [dim] => Ok(index.clone()),
            () if coord.dims.iter().any(|d| d == dim) => Ok(Arc::new(coord.at(dim, places)?)),
            () => Ok(coord.clone()),
        })
    }
}

/// The same labels as `index` along its dimension.
pub(crate) fn reindexed<T: Align>(of: &T, index: &Arc<Coord>, options: &Reindex) -> Result<T> {
    let dim = &index.dims[0];
    let (owner, _, coords) = of.parts();
    let Some(own) = coords.index(dim) else {
        return Err(LabelError::NoCoord { owner, name: dim.clone(), have: coords.names() });
    };
    if own.same(index) {
        return Ok(of.clone());
    }
    let places = places(dim, own.values()?, index.values()?, options)?;
    of.place(dim, index, &places, options.fill_value)
}

macro_rules! reindexing {
    ($($type:ident: $what:literal;)*) => {$(
        impl $type {
            #[doc = concat!("Gives ", $what, " other labels along a dimension: elements of labels that it has stay, those of others")]
            /// are NaN (which makes floats of integers).
            ///
            /// # Errors
            /// If the dimension has no labels, they are of another kind, or one of them stands twice.
            pub fn reindex(&self, dim: &str, labels: impl Into<Values>) -> Result<$type> {
                self.reindex_with(dim, labels, Reindex::default())
            }

            #[doc = concat!("[`reindex`](", stringify!($type), "::reindex) with a method for labels that it has not, such as")]
            /// [`Method::Nearest`], a tolerance, or another value than NaN.
            ///
            /// # Errors
            #[doc = concat!("As [`reindex`](", stringify!($type), "::reindex).")]
            pub fn reindex_with(
                &self,
                dim: &str,
                labels: impl Into<Values>,
                options: impl Into<Reindex>,
            ) -> Result<$type> {
                let attrs = self.coords.index(dim).map(|own| own.attrs.clone()).unwrap_or_default();
                reindexed(self, &Arc::new(Coord::line(dim, labels.into(), attrs)), &options.into())
            }

            #[doc = concat!("The labels of another `", stringify!($type), "`, along the dimensions that both have.")]
            ///
            /// # Errors
            #[doc = concat!("As [`reindex`](", stringify!($type), "::reindex).")]
            pub fn reindex_like(&self, other: &$type) -> Result<$type> {
                let mut like = self.clone();
                for (dim, index) in other.coords.iter() {
                    if index.dims == [dim] && self.coords.index(dim).is_some() {
                        like = reindexed(&like, index, &Reindex::default())?;
                    }
                }
                Ok(like)
            }
        }
    )*};
}
reindexing! {
    DataArray: "it";
    Dataset: "every variable that has it";
}

impl DataArray {
    /// The elements at `places` along a dimension, labelled by `index`.
    fn placed(
        &self,
        dim: &str,
        index: &Arc<Coord>,
        places: &[Option<usize>],
        fill: Scalar,
    ) -> Result<DataArray> {
        let coords = self.coords.reindexed(dim, index, places)?;
        let array = placed(&self.array, self.axis(dim)?, places, fill)?;
        Ok(DataArray { array, coords, loaded: None, ..self.clone() })
    }
}

/// What can be aligned.
pub trait Align: Clone {
    #[doc(hidden)]
    fn parts(&self) -> (String, Vec<(String, u64)>, &Coords);
    #[doc(hidden)]
    fn relabel(&self, index: &Arc<Coord>, options: &Reindex, force: bool) -> Result<Self>;
    #[doc(hidden)]
    fn place(&self, dim: &str, index: &Arc<Coord>, places: &[Option<usize>], fill: Scalar) -> Result<Self>;
}

impl Align for DataArray {
    fn parts(&self) -> (String, Vec<(String, u64)>, &Coords) {
        let sizes = self.dims.iter().cloned().zip(self.shape().iter().copied()).collect();
        (self.describe(), sizes, &self.coords)
    }

    fn place(&self, dim: &str, index: &Arc<Coord>, places: &[Option<usize>], fill: Scalar) -> Result<Self> {
        self.placed(dim, index, places, fill)
    }

    fn relabel(&self, index: &Arc<Coord>, options: &Reindex, force: bool) -> Result<Self> {
        if !force {
            return reindexed(self, index, options);
        }
        let mut with = self.clone();
        with.coords.insert(&index.dims[0], index.clone());
        Ok(with)
    }
}

impl Align for Dataset {
    fn parts(&self) -> (String, Vec<(String, u64)>, &Coords) {
        (self.describe(), self.sizes(), &self.coords)
    }

    fn place(&self, dim: &str, index: &Arc<Coord>, places: &[Option<usize>], fill: Scalar) -> Result<Self> {
        let coords = self.coords.reindexed(dim, index, places)?;
        self.along(dim, coords, |variable| variable.placed(dim, index, places, fill))
    }

    fn relabel(&self, index: &Arc<Coord>, options: &Reindex, force: bool) -> Result<Self> {
        if !force {
            return reindexed(self, index, options);
        }
        let dim = &index.dims[0];
        let mut coords = self.coords.clone();
        coords.insert(dim, index.clone());
        self.along(dim, coords, |variable| variable.relabel(index, options, force))
    }
}

/// The same labels for all, along every dimension that several have; elements that are not there are NaN. Dimensions in
/// `except` are left alone.
///
/// # Errors
/// If labels are of different kinds or calendars, one stands twice, or lengths of dimensions without labels differ; with
/// [`Join::Exact`] if labels differ. All are named.
pub(crate) fn aligned<T: Align>(
    items: &[T],
    join: Join,
    except: &[&str],
    options: &Reindex,
) -> Result<Vec<T>> {
    let mut items = items.to_vec();
    let mut dims: Vec<String> = Vec::new();
    for item in &items {
        for (dim, _) in item.parts().1 {
            if !dims.contains(&dim) && !except.contains(&dim.as_str()) {
                dims.push(dim);
            }
        }
    }
    for dim in &dims {
        let mut owners: Vec<(String, u64)> = Vec::new();
        let mut indexes: Vec<(String, Arc<Coord>)> = Vec::new();
        for item in &items {
            let (owner, sizes, coords) = item.parts();
            let Some((_, size)) = sizes.iter().find(|(d, _)| d == dim) else { continue };
            match coords.index(dim) {
                Some(index) => indexes.push((owner, index.clone())),
                None => owners.push((owner, *size)),
            }
        }
        let index = if indexes.is_empty() { None } else { Some(joined(dim, &indexes, join)?) };
        if let Some(index) = &index {
            for item in &mut items {
                if item.parts().2.index(dim).is_some() {
                    *item = item.relabel(index, options, join == Join::Override)?;
                }
            }
        }
        // What has no labels must be as long as the rest.
        let first = match (&index, indexes.first()) {
            (Some(index), Some((owner, _))) => Some((owner.clone(), index.shape[0])),
            _ => owners.first().cloned(),
        };
        if let Some((left, left_size)) = first
            && let Some((right, right_size)) = owners.into_iter().find(|(_, size)| *size != left_size)
        {
            let operation = "align".to_owned();
            return Err(LabelError::Sizes {
                operation,
                dim: dim.clone(),
                left,
                left_size,
                right,
                right_size,
            });
        }
    }
    Ok(items)
}

fn joined(dim: &str, indexes: &[(String, Arc<Coord>)], join: Join) -> Result<Arc<Coord>> {
    let (Some((owner, first)), Some((_, last))) = (indexes.first(), indexes.last()) else {
        return Err(LabelError::Invalid(format!("nothing is labelled along `{dim}`")));
    };
    let Some((other, differs)) = indexes.iter().find(|(_, index)| !first.same(index)) else {
        return Ok(first.clone());
    };
    let attrs = first.attrs.clone();
    match join {
        Join::Left => Ok(first.clone()),
        Join::Right => Ok(last.clone()),
        Join::Override => match indexes.iter().find(|(_, index)| index.shape != first.shape) {
            Some((right, index)) => Err(LabelError::Sizes {
                operation: "align".to_owned(),
                dim: dim.to_owned(),
                left: owner.clone(),
                left_size: first.shape[0],
                right: right.clone(),
                right_size: index.shape[0],
            }),
            None => Ok(first.clone()),
        },
        Join::Exact => Err(LabelError::Invalid(format!(
            "the labels along `{dim}` of {owner} and {other} differ: {}; choose another join, or select the same range",
            difference((owner, first.values()?), (other, differs.values()?))
        ))),
        Join::Inner => {
            let mut values = first.values()?.clone();
            for (_, index) in &indexes[1..] {
                let found = places(dim, index.values()?, &values, &Reindex::default())?;
                let kept: Vec<usize> =
                    found.iter().enumerate().filter(|(_, place)| place.is_some()).map(|(at, _)| at).collect();
                values = values.take(&[kept.len() as u64], &kept);
            }
            if values.is_empty() && first.shape[0] > 0 && differs.shape[0] > 0 {
                return Err(LabelError::NothingInCommon {
                    operation: "align".to_owned(),
                    dim: dim.to_owned(),
                    left: owner.clone(),
                    left_range: span(first.values()?),
                    right: other.clone(),
                    right_range: span(differs.values()?),
                });
            }
            Ok(Arc::new(Coord::line(dim, values, attrs)))
        }
        Join::Outer => {
            let lists: Result<Vec<&Values>> = indexes.iter().map(|(_, index)| index.values()).collect();
            let all = Values::joined(dim, &lists?)?;
            let (order, keys) = (all.order(), all.keys());
            let mut kept: Vec<usize> = Vec::with_capacity(order.len());
            for at in order {
                if kept.last().is_none_or(|&last| keys[last] != keys[at]) {
                    kept.push(at);
                }
            }
            Ok(Arc::new(Coord::line(dim, all.take(&[kept.len() as u64], &kept), attrs)))
        }
    }
}

/// Gives arrays or datasets the same labels along every dimension that several of them have: `align(&[a, b],
/// Join::Outer)`. Elements that are not there are NaN, which makes floats of integers.
///
/// # Errors
/// If labels are of different kinds or calendars, one stands twice, or lengths of dimensions without labels differ; with
/// [`Join::Exact`] if labels differ. With [`Join::Inner`] also if nothing is in common. All are named.
pub fn align<T: Align>(items: &[T], join: Join) -> Result<Vec<T>> {
    aligned(items, join, &[], &Reindex::default())
}
