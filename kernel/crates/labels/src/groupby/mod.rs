//! Owns group-by along dimensions: reductions of each group in one pass over the chunks. What the groups are is said in `key`
//! and `grouping`, functions of each group are in `map`, differences from a climatology in `climatology`.
//!
//! Attributes and the name stay, as in xarray's reductions of one array. Coordinates along grouped dimensions go away;
//! the groups' names become coordinates.

mod climatology;
mod dataset;
mod grouping;
mod key;
mod map;
mod order;
mod partial;
mod periods;

use std::sync::Arc;

use nuna_array::{Array, Binary, DType, Scalar};
use nuna_chunk::{Chunk, ChunkError};
use nuna_storage::Attributes;

pub use dataset::DatasetGroupBy;
pub use key::{Bins, GroupKey, GroupKeys};

use crate::{
    DataArray, LabelError, Quantiles, Result,
    coord::{Coord, Values},
    counted::Makes,
};
use grouping::{Grouping, Part};
use partial::{GroupOp, Task};

/// The group of an element that is in none, such as one outside all bins.
const NO_GROUP: u32 = u32::MAX;

/// An array whose elements are sorted into groups; from [`DataArray::groupby`], [`DataArray::groupby_bins`] and
/// [`DataArray::resample`].
///
/// Results have a dimension for each key: in place of the grouped dimension if there is one, else last. Combinations of
/// keys without elements are NaN there, and make floats of integers, as in xarray.
#[derive(Clone, Debug)]
pub struct GroupBy {
    pub(crate) array: DataArray,
    pub(crate) by: Arc<Grouping>,
    skipna: bool,
    ddof: u32,
}

fn distinct(groups: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let mut set: Vec<u32> = groups.into_iter().collect();
    set.sort_unstable();
    set.dedup();
    set
}

/// What makes the groups of one axis: of an array, the axis, the group of every position, and how many groups there are.
type Reduce<'a> = &'a dyn Fn(&Array, usize, &[u32], u32) -> Result<Array>;

impl GroupBy {
    pub(crate) fn new(array: DataArray, by: Arc<Grouping>) -> Result<Self> {
        by.check(&array)?;
        Ok(Self { array, by, skipna: true, ddof: 0 })
    }

    /// What the keys are called.
    pub fn keys(&self) -> Vec<String> {
        self.by.keys.iter().map(|key| key.name.clone()).collect()
    }

    /// The names of the groups, of the first key if there are several.
    pub fn labels(&self) -> &Values {
        &self.by.keys[0].labels
    }

    /// The names of one key's groups.
    ///
    /// # Errors
    /// If no key is called so.
    pub fn labels_of(&self, key: &str) -> Result<&Values> {
        self.by.keys.iter().find(|own| own.name == key).map(|own| &own.labels).ok_or_else(|| {
            let reason = format!("the keys are {}", self.by.title());
            LabelError::GroupKey { key: key.to_owned(), reason }
        })
    }

    /// How many groups there are, those without elements too.
    pub fn len(&self) -> usize {
        self.by.keys.iter().map(|key| key.labels.len()).product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Chooses whether the reduction that follows skips NaNs; it does unless told.
    #[must_use]
    pub fn skipna(&self, skip: bool) -> Self {
        Self { skipna: skip, ..self.clone() }
    }

    /// What is taken from the number of elements in [`var`](GroupBy::var) and [`std`](GroupBy::std); 0 unless told.
    #[must_use]
    pub fn ddof(&self, ddof: u32) -> Self {
        Self { ddof, ..self.clone() }
    }

    /// The same groups of another array of the same dimensions.
    fn of(&self, array: DataArray) -> Self {
        Self { array, ..self.clone() }
    }

    /// Checks that there are groups to be made.
    fn check(&self) -> Result<()> {
        let dtype = self.array.dtype();
        if dtype.is_complex() {
            let error = ChunkError::Undefined { operation: "a reduction by groups".to_owned(), dtype };
            return Err(LabelError::Array(error.into()));
        }
        let Some((dim, _)) = self.by.sizes().find(|(_, n)| *n == 0) else { return Ok(()) };
        let owner = self.array.describe();
        Err(LabelError::Invalid(format!("dimension `{dim}` of {owner} is empty, there are no groups")))
    }

    /// Makes the groups of one part after the other: by `first`, then what that made by `then`. `empty` is what
    /// combinations without elements become.
    fn over(&self, parts: &[Part], first: Reduce<'_>, then: Reduce<'_>, empty: Scalar) -> Result<DataArray> {
        self.check()?;
        let (mut array, mut dims) = (self.array.array.clone(), self.array.dims.clone());
        let mut filled = Vec::new();
        for (place, part) in parts.iter().enumerate() {
            let (lines, names, axis) = part.lines(&array, &dims)?;
            let reduce = if place == 0 { first } else { then };
            (array, dims) =
                (self.groups_of(&lines, axis, part, parts.len() > 1, reduce, &mut filled)?, names);
            dims[axis] = part.dim();
        }
        // Only now: what is filled in must not be counted.
        for (part, (dim, places)) in parts.iter().zip(filled) {
            let axis = dims.iter().position(|d| *d == dim).unwrap_or(0);
            if let Some(places) = places {
                array = crate::align::placed(&array, axis, &places, empty)?;
            }
            if part.keys.len() > 1 {
                array = array.unflatten(axis, &part.counts)?;
            }
            dims.splice(axis..=axis, part.keys.iter().map(|&key| self.by.keys[key].name.clone()));
        }
        if !self.by.is_line() {
            let is_key = |dim: &&String| self.by.keys.iter().any(|key| key.name == **dim);
            let kept = dims.iter().filter(|dim| !is_key(dim)).cloned();
            let sorted: Vec<String> = kept.chain(self.keys()).collect();
            let order: Vec<usize> =
                sorted.iter().filter_map(|dim| dims.iter().position(|d| d == dim)).collect();
            (array, dims) = (array.transpose(&order)?, sorted);
        }
        let coords = self.by.coords(&self.array.coords);
        Ok(DataArray { array, dims, coords, loaded: None, ..self.array.clone() })
    }

    /// The groups of one part along an axis. With `pack` groups without elements are left out, and `filled` says where the
    /// others belong.
    fn groups_of(
        &self,
        lines: &Array,
        axis: usize,
        part: &Part,
        pack: bool,
        reduce: Reduce<'_>,
        filled: &mut Vec<(String, Option<crate::align::Places>)>,
    ) -> Result<Array> {
        let count = part.count()?;
        let inside: Vec<(i64, u32)> =
            (0..).zip(part.codes.iter().copied()).filter(|(_, code)| *code != NO_GROUP).collect();
        let (places, mut codes): (Vec<i64>, Vec<u32>) = inside.into_iter().unzip();
        let present = distinct(codes.iter().copied());
        if present.is_empty() {
            // One line says of what dtype nothing is.
            filled.push((part.dim(), Some(vec![None; count as usize])));
            return reduce(&lines.slice_axis(axis, Some(0), Some(1), 1)?, axis, &[0], 1);
        }
        let source = if places.len() < part.codes.len() { lines.take(axis, &places)? } else { lines.clone() };
        if !pack || present.len() == count as usize {
            filled.push((part.dim(), None));
            return reduce(&source, axis, &codes, count);
        }
        let place = |code: u32| present.binary_search(&code).ok();
        for code in &mut codes {
            *code = place(*code).and_then(|at| u32::try_from(at).ok()).unwrap_or(0);
        }
        filled.push((part.dim(), Some((0..count).map(place).collect())));
        reduce(&source, axis, &codes, u32::try_from(present.len()).unwrap_or(count))
    }

    /// Reduced, with the units that this leaves to times.
    fn made(&self, op: GroupOp) -> Result<DataArray> {
        let makes = match op {
            GroupOp::Mean | GroupOp::Min | GroupOp::Max | GroupOp::First | GroupOp::Last => Makes::Instants,
            GroupOp::Std => Makes::Durations,
            GroupOp::Sum | GroupOp::Prod | GroupOp::Count | GroupOp::Var | GroupOp::Any | GroupOp::All => {
                Makes::Numbers
            }
        };
        Ok(self.reduce(op)?.after(makes))
    }

    fn reduce(&self, op: GroupOp) -> Result<DataArray> {
        let many = self.by.parts.len() > 1;
        let make = |op: GroupOp, skipna: bool| {
            move |source: &Array, axis: usize, codes: &[u32], labels: u32| {
                partial::reduce(&Task {
                    source,
                    axis,
                    codes,
                    labels,
                    op,
                    skipna,
                    ddof: self.ddof,
                    name: format!("{}({})", op.name(), self.by.title()),
                })
            }
        };
        let (nan, first) = (Scalar::Float(f64::NAN), make(op, self.skipna));
        match op {
            GroupOp::First | GroupOp::Last => {
                let merged = self.by.merged()?.into_owned();
                self.over(&[merged], &first, &first, nan)
            }
            GroupOp::Count => self.over(&self.by.parts, &first, &make(GroupOp::Sum, false), nan),
            // Nothing of nothing is true, and all of it.
            GroupOp::Any => self.over(&self.by.parts, &first, &first, Scalar::Bool(false)),
            GroupOp::All => self.over(&self.by.parts, &first, &first, Scalar::Bool(true)),
            // Of groups of groups: in doubles until the last, and by sums and counts.
            GroupOp::Sum | GroupOp::Prod if many && self.array.dtype() == DType::F32 => {
                Ok(self.of(self.array.astype(DType::F64)).reduce(op)?.astype(DType::F32))
            }
            GroupOp::Mean if many => {
                let by = self.of(self.array.astype(DType::F64));
                let mean = by.reduce(GroupOp::Sum)?.binary(Binary::Div, &by.reduce(GroupOp::Count)?)?;
                Ok(mean.astype(self.array.dtype().to_float()))
            }
            GroupOp::Var if many => {
                let by = self.of(self.array.astype(DType::F64));
                let apart = by.of(DataArray { coords: self.array.coords.clone(), ..by.anomaly()? });
                let mut squares = apart.array.square()?;
                if self.skipna {
                    // What is missing, not what infinity minus infinity is.
                    squares = squares.where_or(&self.array.notnull()?, 0.0)?;
                }
                let squares = apart.of(squares).skipna(false);
                let count = by.reduce(GroupOp::Count)?.binary(Binary::Sub, i64::from(self.ddof))?;
                let count = count.where_(&count.greater(0)?)?;
                let variance = squares.reduce(GroupOp::Sum)?.binary(Binary::Div, &count)?;
                Ok(variance.astype(self.array.dtype().to_float()))
            }
            // A variance may be beyond what the spread's dtype holds.
            GroupOp::Std if many => {
                let variance = self.of(self.array.astype(DType::F64)).reduce(GroupOp::Var)?;
                Ok(variance.sqrt()?.astype(self.array.dtype().to_float()))
            }
            // What is NaN by now is what was added up, such as infinity and its negative.
            GroupOp::Sum | GroupOp::Prod => self.over(&self.by.parts, &first, &make(op, false), nan),
            _ => self.over(&self.by.parts, &first, &first, nan),
        }
    }

    /// The quantile `q` of each group, from 0 to 1, by linear interpolation between elements. NaNs are skipped unless
    /// [`skipna`](GroupBy::skipna) says otherwise; a group without elements is NaN. The result is `float64`. As in xarray
    /// one `q` becomes a coordinate without dimensions, several become the last dimension, `quantile`.
    ///
    /// Elements of one group come together in one block; see `explain` for what moves.
    ///
    /// # Errors
    /// If `q` is not from 0 to 1, or the dimension is empty.
    pub fn quantile(&self, q: impl Into<Quantiles>) -> Result<DataArray> {
        let q = q.into();
        match q.at() {
            [one] if q.is_single() => self.one_quantile(*one),
            at => self.quantiles(at),
        }
    }

    /// Along a dimension of their own, the last, as in xarray.
    fn quantiles(&self, at: &[f64]) -> Result<DataArray> {
        let made: Vec<DataArray> = at.iter().map(|&q| self.one_quantile(q)).collect::<Result<_>>()?;
        let Some(first) = made.first() else {
            return Err(LabelError::Invalid("quantiles of groups: name at least one".to_owned()));
        };
        let axis = first.ndim();
        let lines: Vec<Array> =
            made.iter().map(|one| Ok(one.array.expand_dims(axis)?)).collect::<Result<_>>()?;
        let array = nuna_array::concat(&lines, axis)?;
        let dims: Vec<String> = first.dims.iter().cloned().chain(["quantile".to_owned()]).collect();
        crate::data_array::distinct(&dims)?;
        let mut coords = first.coords.clone();
        coords.insert("quantile", Arc::new(Coord::line("quantile", at.to_vec().into(), Attributes::new())));
        Ok(DataArray { dims, coords, ..first.with_array(array) })
    }

    fn one_quantile(&self, q: f64) -> Result<DataArray> {
        let mut result = self.ordered(q, DType::F64, format!("quantile({}, {q})", self.by.title()))?;
        let values = Values::Numbers(Chunk::scalar(DType::F64, Scalar::Float(q)));
        let coord = Coord::new(Vec::new(), Vec::new(), values, Attributes::new());
        result.coords.insert("quantile", Arc::new(coord));
        Ok(result)
    }

    /// The median of each group: the mean of the two elements in the middle where they are an even number. NaNs are
    /// skipped unless [`skipna`](GroupBy::skipna) says otherwise.
    ///
    /// # Errors
    /// If the dimension is empty.
    pub fn median(&self) -> Result<DataArray> {
        self.ordered(0.5, self.array.dtype().to_float(), format!("median({})", self.by.title()))
    }

    fn ordered(&self, q: f64, output: DType, name: String) -> Result<DataArray> {
        if !(0.0..=1.0).contains(&q) {
            return Err(LabelError::Invalid(format!("a quantile is from 0 to 1, not {q}")));
        }
        let make = |source: &Array, axis: usize, codes: &[u32], labels: u32| {
            order::quantile(source, axis, (codes, labels), q, (self.skipna, output), name.clone())
        };
        let merged = self.by.merged()?.into_owned();
        self.over(&[merged], &make, &make, Scalar::Float(f64::NAN))
    }
}

macro_rules! group_reductions {
    ($($(#[$doc:meta])* $name:ident => $op:ident;)*) => {
        impl GroupBy {$(
            $(#[$doc])*
            ///
            /// NaNs are skipped unless [`skipna`](GroupBy::skipna) says otherwise. A group without elements, as resampling
            /// and bins have them, is NaN, and makes floats of integers, as in xarray.
            ///
            /// # Errors
            /// If the dimension is empty.
            pub fn $name(&self) -> Result<DataArray> {
                self.made(GroupOp::$op)
            }
        )*}
    };
}
group_reductions!(
    /// The sum of each group; 0 where all elements are NaN. Integers give 64 bits.
    sum => Sum;
    /// The product of each group; 1 where all elements are NaN. Integers give 64 bits.
    prod => Prod;
    /// The mean of each group. Integers give `float64`.
    mean => Mean;
    /// The least element of each group.
    min => Min;
    /// The greatest element of each group.
    max => Max;
    /// How many elements of each group are not NaN.
    count => Count;
    /// The variance of each group (`ddof` 0 unless [`ddof`](GroupBy::ddof) says otherwise).
    var => Var;
    /// The standard deviation of each group (`ddof` 0 unless [`ddof`](GroupBy::ddof) says otherwise).
    std => Std;
    /// The first element of each group that is not NaN.
    first => First;
    /// The last element of each group that is not NaN.
    last => Last;
);

impl GroupBy {
    /// Whether any element of each group is true, or not 0. False without elements.
    ///
    /// # Errors
    /// If the dimension is empty.
    pub fn any(&self) -> Result<DataArray> {
        self.made(GroupOp::Any)
    }

    /// Whether all elements of each group are true, or not 0. True without elements.
    ///
    /// # Errors
    /// If the dimension is empty.
    pub fn all(&self) -> Result<DataArray> {
        self.made(GroupOp::All)
    }
}
