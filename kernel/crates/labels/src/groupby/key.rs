//! Owns what groups are: parts of a time, values of a coordinate or of an array, bins of values, and periods of time.

use std::sync::Arc;

use nuna_chunk::DType;

use super::{
    GroupBy, Grouping, NO_GROUP,
    grouping::{Key, Keyed},
};
use crate::{
    DataArray, LabelError, Result, Times,
    coord::{Coord, Coords, Values},
    frequency::Frequency,
    time::{NOT_A_TIME, PARTS, SEASONS, TimePart},
};

/// What groups are made by: the name of a coordinate (`"region"`), a part of a time coordinate (`"time.month"`), the values
/// of an array, or bins or periods of these ([`bins`](GroupKey::bins), [`periods`](GroupKey::periods)).
#[derive(Clone, Debug)]
pub enum GroupKey {
    Name(String),
    Array(DataArray),
    Bins(Box<GroupKey>, Bins),
    Periods { dim: String, frequency: String },
}

impl GroupKey {
    /// The bins in which values lie; see [`DataArray::groupby_bins`].
    pub fn bins(key: impl Into<GroupKey>, bins: impl Into<Bins>) -> Self {
        Self::Bins(Box::new(key.into()), bins.into())
    }

    /// Periods of time along a dimension; see [`DataArray::resample`].
    pub fn periods(dim: &str, frequency: &str) -> Self {
        Self::Periods { dim: dim.to_owned(), frequency: frequency.to_owned() }
    }
}

impl From<&GroupKey> for GroupKey {
    fn from(key: &GroupKey) -> Self {
        key.clone()
    }
}

/// One key or several: `"time.month"`, `["time.season", "basin"]`, `("time.year", &regions)`, or `(GroupKey::bins("depth",
/// [0.0, 100.0, 500.0]), "basin")`.
#[derive(Clone, Debug)]
pub struct GroupKeys(Vec<GroupKey>);

macro_rules! keys {
    ($($from:ty),*) => {$(
        impl From<$from> for GroupKeys {
            fn from(key: $from) -> Self {
                Self(vec![key.into()])
            }
        }
    )*};
}
keys!(&str, String, &String, DataArray, &DataArray, GroupKey, &GroupKey);

impl<T: Into<GroupKey>, const N: usize> From<[T; N]> for GroupKeys {
    fn from(keys: [T; N]) -> Self {
        Self(keys.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<GroupKey>> From<Vec<T>> for GroupKeys {
    fn from(keys: Vec<T>) -> Self {
        Self(keys.into_iter().map(Into::into).collect())
    }
}

impl<A: Into<GroupKey>, B: Into<GroupKey>> From<(A, B)> for GroupKeys {
    fn from((a, b): (A, B)) -> Self {
        Self(vec![a.into(), b.into()])
    }
}

impl<A: Into<GroupKey>, B: Into<GroupKey>, C: Into<GroupKey>> From<(A, B, C)> for GroupKeys {
    fn from((a, b, c): (A, B, C)) -> Self {
        Self(vec![a.into(), b.into(), c.into()])
    }
}

impl GroupKeys {
    /// What they sort elements into.
    pub(crate) fn resolve(&self, owner: &str, coords: &Coords) -> Result<Grouping> {
        if self.0.is_empty() {
            return Err(LabelError::Invalid("groups by nothing: name at least one key".to_owned()));
        }
        Grouping::new(self.0.iter().map(|key| key.sorted(owner, coords)).collect::<Result<_>>()?)
    }
}

macro_rules! group_keys {
    ($($from:ty: $x:ident => $key:expr;)*) => {$(
        impl From<$from> for GroupKey {
            fn from($x: $from) -> Self {
                $key
            }
        }
    )*};
}
group_keys! {
    &str: name => Self::Name(name.to_owned());
    String: name => Self::Name(name);
    &String: name => Self::Name(name.clone());
    DataArray: array => Self::Array(array);
    &DataArray: array => Self::Array(array.clone());
}

/// Bins of values: `[0.0, 10.0, 20.0].into()` is (0, 10] and (10, 20], as in pandas' `cut`.
#[derive(Clone, Debug, PartialEq)]
pub struct Bins {
    pub edges: Vec<f64>,
    /// Whether a bin holds its upper edge (else its lower one).
    pub right: bool,
    /// Whether the first bin holds its lower edge too (else the last one its upper edge).
    pub include_lowest: bool,
}

impl From<Vec<f64>> for Bins {
    fn from(edges: Vec<f64>) -> Self {
        Self { edges, right: true, include_lowest: false }
    }
}

impl From<&[f64]> for Bins {
    fn from(edges: &[f64]) -> Self {
        edges.to_vec().into()
    }
}

impl<const N: usize> From<[f64; N]> for Bins {
    fn from(edges: [f64; N]) -> Self {
        edges.to_vec().into()
    }
}

impl Bins {
    fn check(&self, key: &str) -> Result<()> {
        let rising = self.edges.windows(2).all(|pair| pair[0] < pair[1]);
        if self.edges.len() < 2 || !rising || self.edges.iter().any(|x| x.is_nan()) {
            let reason = format!("edges of bins must be at least two and rise, not {:?}", self.edges);
            return Err(LabelError::GroupKey { key: key.to_owned(), reason });
        }
        Ok(())
    }

    fn code(&self, x: f64) -> u32 {
        let edges = &self.edges;
        let below =
            if self.right { edges.partition_point(|&e| e < x) } else { edges.partition_point(|&e| e <= x) };
        match below {
            _ if x.is_nan() => NO_GROUP,
            0 if self.right && self.include_lowest && x == edges[0] => 0,
            n if n == edges.len() && !self.right && self.include_lowest && x == edges[n - 1] => {
                u32::try_from(n - 2).unwrap_or(NO_GROUP)
            }
            0 => NO_GROUP,
            n if n == edges.len() => NO_GROUP,
            n => u32::try_from(n - 1).unwrap_or(NO_GROUP),
        }
    }

    /// `(0.0, 10.0]`. A bin that holds both its edges says so, where pandas writes a lower edge a little below.
    fn labels(&self) -> Values {
        let last = self.edges.len().saturating_sub(2);
        let text = |(at, pair): (usize, &[f64])| {
            let both = self.include_lowest && at == if self.right { 0 } else { last };
            let open = if both || !self.right { '[' } else { '(' };
            let close = if both || self.right { ']' } else { ')' };
            format!("{open}{:?}, {:?}{close}", pair[0], pair[1])
        };
        Values::Text(self.edges.windows(2).enumerate().map(text).collect())
    }
}

/// A key resolved: its name, the dimension, and the values along it.
struct Resolved {
    name: String,
    part: Option<String>,
    coord: Arc<Coord>,
}

impl GroupKey {
    fn text(&self) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::Array(array) => array.name().unwrap_or("group").to_owned(),
            Self::Bins(key, _) => key.text(),
            Self::Periods { dim, .. } => dim.clone(),
        }
    }

    fn sorted(&self, owner: &str, coords: &Coords) -> Result<Keyed> {
        match self {
            Self::Name(_) | Self::Array(_) => self.resolve(owner, coords)?.unique(),
            Self::Bins(key, bins) => key.resolve(owner, coords)?.binned(bins),
            Self::Periods { dim, frequency } => {
                GroupKey::from(dim).resolve(owner, coords)?.resampled(frequency)
            }
        }
    }

    /// Finds the values.
    fn resolve(&self, owner: &str, coords: &Coords) -> Result<Resolved> {
        let text = self.text();
        let bad = |reason: String| LabelError::GroupKey { key: text.clone(), reason };
        let (name, part, coord) = match self {
            Self::Name(key) => {
                let (name, part) = match key.split_once('.') {
                    Some((name, part)) if coords.get(key).is_none() => (name, Some(part.to_owned())),
                    _ => (key.as_str(), None),
                };
                let coord = coords.get(name).cloned().ok_or_else(|| {
                    let have = coords.names().join(", ");
                    bad(format!("{owner} has no coordinate `{name}`; it has {have}"))
                })?;
                (name.to_owned(), part, coord)
            }
            Self::Array(array) => {
                let differs = |dim: &&String| match (coords.index(dim), array.coords.index(dim)) {
                    (Some(ours), Some(theirs)) => !ours.same(theirs),
                    _ => false,
                };
                if let Some(dim) = array.dims().iter().find(differs) {
                    return Err(bad(format!("its labels along `{dim}` are not those of {owner}")));
                }
                let values = Values::Numbers(array.to_chunk()?);
                let coord =
                    Coord::new(array.dims.clone(), array.shape().to_vec(), values, array.attrs.clone());
                (text.clone(), None, Arc::new(coord))
            }
            Self::Bins(..) | Self::Periods { .. } => {
                return Err(bad("bins are made of a name or an array".to_owned()));
            }
        };
        if coord.dims().is_empty() {
            return Err(bad(format!("`{name}` has one value, along no dimension")));
        }
        Ok(Resolved { name, part, coord })
    }
}

impl Resolved {
    fn bad(&self, reason: String) -> LabelError {
        let key = match &self.part {
            Some(part) => format!("{}.{part}", self.name),
            None => self.name.clone(),
        };
        LabelError::GroupKey { key, reason }
    }

    fn keyed(&self, name: &str, codes: Vec<u32>, labels: Values) -> Keyed {
        let attrs = if self.part.is_some() { Default::default() } else { self.coord.attrs().clone() };
        let (dims, shape) = (self.coord.dims().to_vec(), self.coord.shape().to_vec());
        Keyed { key: Key { name: name.to_owned(), labels, attrs }, dims, shape, codes }
    }

    /// Groups of equal values, sorted. What is missing is in none.
    fn unique(&self) -> Result<Keyed> {
        let values = self.coord.values()?;
        let (codes, labels) = match (&self.part, values) {
            (Some(part), Values::Times(times)) => {
                let part = TimePart::from_name(part)
                    .ok_or_else(|| self.bad(format!("`{part}` is not one of {PARTS}")))?;
                if !part.is_in(times.calendar) {
                    let reason = format!("the calendar {} has no weeks that go on", times.calendar);
                    return Err(self.bad(reason));
                }
                let (codes, groups) = number(times.part(part));
                let labels = match part {
                    TimePart::Season => Values::Text(
                        groups.iter().map(|&g| SEASONS[usize::try_from(g).unwrap_or(0)].to_owned()).collect(),
                    ),
                    _ => groups.into(),
                };
                (codes, labels)
            }
            (Some(_), other) => {
                return Err(self.bad(format!("`{}` holds {}, not times", self.name, other.dtype_name())));
            }
            (None, Values::Text(text)) => {
                let (codes, groups) = number(text.iter().cloned().map(Some));
                (codes, Values::Text(groups.into()))
            }
            (None, Values::Times(times)) => {
                let (codes, groups) = number(times.micros.iter().map(|&t| (t != NOT_A_TIME).then_some(t)));
                (codes, Values::Times(Times { calendar: times.calendar, micros: groups.into() }))
            }
            (None, Values::Numbers(chunk)) => {
                // Sorted as numbers; the labels keep their dtype.
                let (codes, firsts) = match chunk.dtype() {
                    DType::U64 => number_by(&chunk.to_vec::<u64>(), Ord::cmp, |_| true),
                    dtype if dtype.is_float() => {
                        number_by(&chunk.to_vec::<f64>(), order_of_floats, |x| !x.is_nan())
                    }
                    _ => number_by(&chunk.to_vec::<i64>(), Ord::cmp, |_| true),
                };
                (codes, values.take(&[firsts.len() as u64], &firsts))
            }
        };
        let group = self.part.as_deref().unwrap_or(&self.name);
        Ok(self.keyed(group, codes, labels))
    }

    fn binned(&self, bins: &Bins) -> Result<Keyed> {
        bins.check(&self.name)?;
        let numbers: Vec<f64> = match (&self.part, self.coord.values()?) {
            (None, Values::Numbers(chunk)) => chunk.to_vec(),
            (None, other) => return Err(self.bad(format!("it holds {}, not numbers", other.dtype_name()))),
            #[expect(clippy::cast_precision_loss, reason = "parts of times are small")]
            (Some(part), Values::Times(times)) => {
                let part = TimePart::from_name(part)
                    .filter(|part| *part != TimePart::Season && part.is_in(times.calendar))
                    .ok_or_else(|| self.bad(format!("`{part}` is not a number")))?;
                times.part(part).into_iter().map(|x| x.map_or(f64::NAN, |x| x as f64)).collect()
            }
            (Some(_), other) => return Err(self.bad(format!("it holds {}, not times", other.dtype_name()))),
        };
        let codes = numbers.into_iter().map(|x| bins.code(x)).collect();
        let name = self.part.as_deref().unwrap_or(&self.name);
        Ok(self.keyed(&format!("{name}_bins"), codes, bins.labels()))
    }

    fn resampled(&self, frequency: &str) -> Result<Keyed> {
        let frequency = Frequency::parse(frequency)?;
        let [dim] = self.coord.dims() else { return Err(self.bad("it has not one dimension".to_owned())) };
        match (&self.part, self.coord.values()?) {
            (None, Values::Times(times)) if *dim == self.name => {
                let (codes, labels) = frequency.bins(dim, times)?;
                Ok(self.keyed(dim, codes, Values::Times(labels)))
            }
            (_, Values::Times(_)) => {
                Err(self.bad(format!("resampling goes along a dimension of times, and this one is `{dim}`")))
            }
            (_, other) => Err(self.bad(format!("it holds {}, not times", other.dtype_name()))),
        }
    }
}

/// Equal, and so one group: both zeros.
fn order_of_floats(a: &f64, b: &f64) -> std::cmp::Ordering {
    if a == b { std::cmp::Ordering::Equal } else { a.total_cmp(b) }
}

/// Numbers values by their sorted order.
fn number<T: Ord + Clone>(values: impl IntoIterator<Item = Option<T>>) -> (Vec<u32>, Vec<T>) {
    let values: Vec<Option<T>> = values.into_iter().collect();
    let mut groups: Vec<T> = values.iter().flatten().cloned().collect();
    groups.sort();
    groups.dedup();
    let code = |value: &Option<T>| {
        let at = value.as_ref().and_then(|value| groups.binary_search(value).ok());
        at.and_then(|at| u32::try_from(at).ok()).unwrap_or(NO_GROUP)
    };
    (values.iter().map(code).collect(), groups)
}

/// The same, with a place of each group instead of its value.
fn number_by<T>(
    values: &[T],
    order: impl Fn(&T, &T) -> std::cmp::Ordering,
    is_one: impl Fn(&T) -> bool,
) -> (Vec<u32>, Vec<usize>) {
    let mut places: Vec<usize> = (0..values.len()).filter(|&at| is_one(&values[at])).collect();
    places.sort_by(|&a, &b| order(&values[a], &values[b]));
    let mut codes = vec![NO_GROUP; values.len()];
    let mut firsts: Vec<usize> = Vec::new();
    for at in places {
        if firsts.last().is_none_or(|&last| order(&values[last], &values[at]).is_ne()) {
            firsts.push(at);
        }
        codes[at] = u32::try_from(firsts.len() - 1).unwrap_or(NO_GROUP);
    }
    (codes, firsts)
}

impl DataArray {
    /// Groups by a part of a time coordinate (`"time.month"`; also year, quarter, season, weekofyear, day, dayofyear,
    /// dayofweek, days_in_month, hour, minute, second), by the values of a coordinate (`"region"`), or by those of an array
    /// along some of the dimensions, which is computed. Groups are sorted; what is NaN is in none.
    ///
    /// Several keys give results with a dimension for each: `t.groupby(["time.season", "basin"])?.mean()?`; arrays and names
    /// mix as `("time.month", &regions)`, bins as `(GroupKey::bins("depth", [0.0, 100.0, 500.0]), "basin")`. Keys that share
    /// no dimension, such as months and a map of regions, are reduced one after the other.
    ///
    /// # Errors
    /// [`LabelError::GroupKey`], saying what can be grouped by.
    pub fn groupby(&self, keys: impl Into<GroupKeys>) -> Result<GroupBy> {
        GroupBy::new(self.clone(), Arc::new(keys.into().resolve(&self.describe(), &self.coords)?))
    }

    /// Groups by the bins in which the values of a coordinate or of an array lie: `groupby_bins("depth", [0.0, 100.0,
    /// 500.0])`. The new dimension is named `depth_bins` and labelled `(0.0, 100.0]`. Values in no bin are left out.
    ///
    /// # Errors
    /// [`LabelError::GroupKey`], also if the edges do not rise.
    pub fn groupby_bins(&self, key: impl Into<GroupKey>, bins: impl Into<Bins>) -> Result<GroupBy> {
        self.groupby(GroupKey::bins(key, bins))
    }

    /// Groups by periods of time along a dimension: `resample("time", "MS")`. Frequencies are those of pandas: `s`, `min`,
    /// `h`, `D`, `W` (to Sunday; `W-WED`), `MS` and `ME` (months by their first or last day), `QS-DEC` (seasons), `QE`, `YS`,
    /// `YE`, with a number in front or none, in any calendar. Bins without elements between the first and the last are NaN.
    ///
    /// # Errors
    /// If the dimension has no times or one is missing, or the frequency is not understood.
    pub fn resample(&self, dim: &str, frequency: &str) -> Result<GroupBy> {
        self.axis(dim)?;
        self.groupby(GroupKey::periods(dim, frequency))
    }
}
