//! Owns group-by along one dimension: reductions of each group in one pass over the chunks, functions of each group, and
//! differences from a climatology. What the groups are is said in `key`.
//!
//! Attributes and the name stay, as in xarray's reductions of one array. Coordinates along the grouped dimension go away;
//! the groups' names become a coordinate.

mod dataset;
mod key;
mod order;
mod partial;

use std::{ops, sync::Arc};

use nuna_array::{Array, Binary, DType, Scalar};
use nuna_chunk::{Chunk, ChunkError};
use nuna_storage::Attributes;

pub use dataset::DatasetGroupBy;
pub use key::{Bins, GroupKey};

use crate::{
    DataArray, LabelError, Result,
    coord::{Coord, Values},
    select::Positions,
};
use partial::{GroupOp, Task};

/// The group of an element that is in none, such as one outside all bins.
const NO_GROUP: u32 = u32::MAX;

/// An array whose elements along one dimension are sorted into groups; from [`DataArray::groupby`],
/// [`DataArray::groupby_bins`] and [`DataArray::resample`].
#[derive(Clone, Debug)]
pub struct GroupBy {
    pub(crate) array: DataArray,
    pub(crate) by: Arc<Grouping>,
    skipna: bool,
    ddof: u32,
}

/// How the positions along a dimension are sorted into groups.
#[derive(Debug)]
pub(crate) struct Grouping {
    pub(crate) dim: String,
    /// What the new dimension is called: `month`.
    pub(crate) group: String,
    /// The group of every position along `dim`, or [`NO_GROUP`].
    pub(crate) codes: Vec<u32>,
    /// The names of the groups; those without elements are here too.
    pub(crate) labels: Values,
    pub(crate) attrs: Attributes,
}

fn distinct(groups: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let mut set: Vec<u32> = groups.into_iter().collect();
    set.sort_unstable();
    set.dedup();
    set
}

impl Grouping {
    /// The coordinate that names the groups.
    pub(crate) fn coord(&self) -> Arc<Coord> {
        Arc::new(Coord::line(&self.group, self.labels.clone(), self.attrs.clone()))
    }

    fn count(&self) -> Result<u32> {
        u32::try_from(self.labels.len())
            .ok()
            .filter(|&n| n < NO_GROUP)
            .ok_or_else(|| LabelError::Invalid(format!("{} groups are too many", self.labels.len())))
    }

    /// Positions of each group, in the order of the groups.
    fn members(&self) -> Vec<Vec<u64>> {
        let mut members = vec![Vec::new(); self.labels.len()];
        for (at, &code) in (0..).zip(&self.codes) {
            if let Some(group) = members.get_mut(code as usize) {
                group.push(at);
            }
        }
        members
    }
}

impl GroupBy {
    pub(crate) fn new(array: DataArray, by: Arc<Grouping>) -> Result<Self> {
        let axis = array.axis(&by.dim)?;
        if array.shape()[axis] != by.codes.len() as u64 {
            return Err(LabelError::Sizes {
                operation: "groupby".to_owned(),
                dim: by.dim.clone(),
                left: array.describe(),
                left_size: array.shape()[axis],
                right: format!("the key `{}`", by.group),
                right_size: by.codes.len() as u64,
            });
        }
        Ok(Self { array, by, skipna: true, ddof: 0 })
    }

    /// The names of the groups.
    pub fn labels(&self) -> &Values {
        &self.by.labels
    }

    /// How many groups there are, those without elements too.
    pub fn len(&self) -> usize {
        self.by.labels.len()
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

    /// The elements that are in a group, the axis, and their groups.
    fn grouped(&self) -> Result<(Array, usize, Vec<u32>)> {
        let dtype = self.array.dtype();
        if dtype.is_complex() {
            let error = ChunkError::Undefined { operation: "a reduction by groups".to_owned(), dtype };
            return Err(LabelError::Array(error.into()));
        }
        let axis = self.array.axis(&self.by.dim)?;
        let codes = &self.by.codes;
        if codes.is_empty() {
            return Err(LabelError::Invalid(format!(
                "dimension `{}` of {} is empty, there are no groups",
                self.by.dim,
                self.array.describe()
            )));
        }
        if !codes.contains(&NO_GROUP) {
            return Ok((self.array.array.clone(), axis, codes.clone()));
        }
        let (places, codes): (Vec<i64>, Vec<u32>) =
            (0..).zip(codes.iter().copied()).filter(|(_, code)| *code != NO_GROUP).unzip();
        Ok((self.array.array.take(axis, &places)?, axis, codes))
    }

    /// A result with the groups in place of the grouped dimension.
    fn labelled(&self, axis: usize, array: Array) -> DataArray {
        let by = &self.by;
        let mut dims = self.array.dims.clone();
        dims[axis].clone_from(&by.group);
        let mut coords = self.array.coords.without(&by.dim);
        coords.insert(&by.group, by.coord());
        DataArray { array, dims, coords, loaded: None, ..self.array.clone() }
    }

    fn nothing(&self, axis: usize, dtype: DType) -> DataArray {
        let mut shape = self.array.shape().to_vec();
        shape[axis] = self.by.labels.len() as u64;
        self.labelled(axis, Array::full(&shape, f64::NAN, dtype.to_float()))
    }

    fn reduce(&self, op: GroupOp) -> Result<DataArray> {
        let (source, axis, codes) = self.grouped()?;
        if codes.is_empty() {
            return Ok(self.nothing(axis, source.dtype()));
        }
        let array = partial::reduce(&Task {
            source: &source,
            axis,
            codes: &codes,
            labels: self.by.count()?,
            op,
            skipna: self.skipna,
            ddof: self.ddof,
            name: format!("{}({})", op.name(), self.by.group),
        })?;
        Ok(self.labelled(axis, array))
    }

    /// The quantile `q` of each group, from 0 to 1, by linear interpolation between elements. NaNs are skipped unless
    /// [`skipna`](GroupBy::skipna) says otherwise; a group without elements is NaN. The result is `float64`. As in xarray
    /// `q` becomes a coordinate without dimensions.
    ///
    /// Elements of one group come together in one block; see `explain` for what moves.
    ///
    /// # Errors
    /// If `q` is not from 0 to 1, or the dimension is empty.
    pub fn quantile(&self, q: f64) -> Result<DataArray> {
        let mut result = self.ordered(q, DType::F64, format!("quantile({}, {q})", self.by.group))?;
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
        self.ordered(0.5, self.array.dtype().to_float(), format!("median({})", self.by.group))
    }

    fn ordered(&self, q: f64, output: DType, name: String) -> Result<DataArray> {
        if !(0.0..=1.0).contains(&q) {
            return Err(LabelError::Invalid(format!("a quantile is from 0 to 1, not {q}")));
        }
        let (source, axis, codes) = self.grouped()?;
        if codes.is_empty() {
            return Ok(self.nothing(axis, output));
        }
        let array =
            order::quantile(&source, axis, (&codes, self.by.count()?), q, (self.skipna, output), name)?;
        Ok(self.labelled(axis, array))
    }

    /// The part of the array that is in one group, by the group's place in [`labels`](GroupBy::labels).
    ///
    /// # Errors
    /// If there is no such group.
    pub fn group(&self, place: usize) -> Result<DataArray> {
        let members = self.by.members();
        let Some(list) = members.get(place) else {
            let (have, group) = (members.len(), &self.by.group);
            return Err(LabelError::Invalid(format!("there is no group {place} of {have} along `{group}`")));
        };
        self.array.take(self.array.axis(&self.by.dim)?, &Positions::from_list(list.clone()))
    }

    /// Applies a function to the part of each group, and puts the results together: along the grouped dimension, in the
    /// order of the array, if they have it at its length; else one after the other, along a dimension of the groups.
    /// Groups without elements are left out.
    ///
    /// # Errors
    /// Those of the function, or if the results do not fit together.
    pub fn map(&self, mut function: impl FnMut(DataArray) -> Result<DataArray>) -> Result<DataArray> {
        let by = &self.by;
        let members = by.members();
        let (mut parts, mut present) = (Vec::new(), Vec::new());
        for (place, list) in members.iter().enumerate().filter(|(_, list)| !list.is_empty()) {
            let part = self.array.take(self.array.axis(&by.dim)?, &Positions::from_list(list.clone()))?;
            parts.push(function(part)?);
            present.push(place);
        }
        let Some(first) = parts.first() else {
            let message = format!("no element of {} is in a group of `{}`", self.array.describe(), by.group);
            return Err(LabelError::Invalid(message));
        };
        if let Ok(axis) = first.axis(&by.dim) {
            let lengths: Result<Vec<u64>> =
                parts.iter().map(|part| part.axis(&by.dim).map(|axis| part.shape()[axis])).collect();
            let whole = crate::concat(&parts, &by.dim)?;
            if !lengths?.iter().zip(&present).all(|(&n, &place)| n == members[place].len() as u64) {
                return Ok(whole);
            }
            // Back to the order of the array.
            let order: Vec<u64> = members.into_iter().flatten().collect();
            let mut back: Vec<usize> = (0..order.len()).collect();
            back.sort_by_key(|&at| order[at]);
            let back = back.into_iter().map(|at| at as u64).collect();
            return whole.take(axis, &Positions::from_list(back));
        }
        let labels = by.labels.take(&[present.len() as u64], &present);
        let coord = Coord::line(&by.group, labels, by.attrs.clone());
        let arrays: Result<Vec<Array>> = parts
            .iter()
            .map(|part| Ok(crate::arithmetic::like(part, first)?.array.expand_dims(0)?))
            .collect();
        let array = nuna_array::concat(&arrays?, 0)?;
        let dims = std::iter::once(by.group.clone()).chain(first.dims.iter().cloned()).collect();
        let mut coords = first.coords.clone();
        coords.insert(&by.group, Arc::new(coord));
        Ok(DataArray { array, dims, coords, loaded: None, ..first.clone() })
    }

    /// The array minus `climatology` of each element's group, which must have the groups as a dimension. An element that
    /// is in no group gives NaN.
    ///
    /// # Errors
    /// If it lacks the dimension or one of the groups.
    pub fn binary(&self, op: Binary, climatology: &DataArray) -> Result<DataArray> {
        let by = &self.by;
        let axis = climatology.axis(&by.group)?;
        let index = climatology.index(&by.group)?.values()?;
        let keys: std::collections::HashMap<_, u64> = index.keys().into_iter().zip(0..).collect();
        let own = by.labels.keys();
        let mut places = vec![0u64; own.len()];
        for code in distinct(by.codes.iter().copied()).into_iter().filter(|&code| code != NO_GROUP) {
            let at = code as usize;
            places[at] = *keys.get(&own[at]).ok_or_else(|| LabelError::NoLabel {
                dim: by.group.clone(),
                label: by.labels.show(at),
                hint: format!("{} lacks this group", climatology.describe()),
            })?;
        }
        let of = |code: u32| places.get(code as usize).copied();
        let list = by.codes.iter().map(|&code| of(code).unwrap_or(0)).collect();
        let mut spread = climatology.take(axis, &Positions::List(list))?;
        // Named as the array's own dimension, the labels of the groups become a coordinate along it.
        spread.coords.retain(|name, _| name != by.group);
        if by.group != by.dim {
            spread = spread.rename(&by.group, &by.dim)?;
        }
        let mut result = self.array.binary(op, &spread)?;
        if by.codes.contains(&NO_GROUP) {
            let inside: Vec<bool> = by.codes.iter().map(|&code| code != NO_GROUP).collect();
            let inside =
                DataArray::from_chunk(Chunk::from_slice(&[inside.len() as u64], &inside), [&by.dim])?;
            result = result.where_(&inside)?;
        } else if by.group != by.dim && result.coords.get(&by.group).is_none() {
            let labels: Vec<usize> = by.codes.iter().map(|&code| code as usize).collect();
            let labels = by.labels.take(&[labels.len() as u64], &labels);
            result.coords.insert(&by.group, Arc::new(Coord::line(&by.dim, labels, Attributes::new())));
        }
        Ok(DataArray { name: self.array.name.clone(), ..result })
    }

    /// Each element minus the mean of its group.
    ///
    /// # Errors
    /// As the mean.
    pub fn anomaly(&self) -> Result<DataArray> {
        self.binary(Binary::Sub, &self.mean()?)
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
                self.reduce(GroupOp::$op)
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
    /// The elements at the periods' beginnings, with the labels of all periods; NaN where there is none. This and the four
    /// after it are for periods shorter than what lies between the labels there are: `t.resample("time", "6h")?.interpolate()?`.
    ///
    /// # Errors
    /// If the groups are not periods of time, or a label stands twice.
    pub fn asfreq(&self) -> Result<DataArray> {
        self.array.reindex(&self.by.dim, self.periods()?)
    }

    /// [`asfreq`](GroupBy::asfreq) with the last element before.
    ///
    /// # Errors
    /// As [`asfreq`](GroupBy::asfreq).
    pub fn ffill(&self) -> Result<DataArray> {
        self.array.reindex_with(&self.by.dim, self.periods()?, crate::Method::Pad)
    }

    /// [`asfreq`](GroupBy::asfreq) with the next element after.
    ///
    /// # Errors
    /// As [`asfreq`](GroupBy::asfreq).
    pub fn bfill(&self) -> Result<DataArray> {
        self.array.reindex_with(&self.by.dim, self.periods()?, crate::Method::Backfill)
    }

    /// [`asfreq`](GroupBy::asfreq) with the nearest element.
    ///
    /// # Errors
    /// As [`asfreq`](GroupBy::asfreq).
    pub fn nearest(&self) -> Result<DataArray> {
        self.array.reindex_with(&self.by.dim, self.periods()?, crate::Method::Nearest)
    }

    /// [`asfreq`](GroupBy::asfreq) with what lies on a straight line between the elements beside; see [`DataArray::interp`].
    ///
    /// # Errors
    /// As [`asfreq`](GroupBy::asfreq).
    pub fn interpolate(&self) -> Result<DataArray> {
        self.array.interp(&self.by.dim, self.periods()?)
    }

    fn periods(&self) -> Result<Values> {
        match &self.by.labels {
            times @ Values::Times(_) if self.by.group == self.by.dim => Ok(times.clone()),
            _ => Err(LabelError::Invalid(format!(
                "groups by `{}` are no periods of time; these come from `resample`",
                self.by.group
            ))),
        }
    }

    /// Whether any element of each group is true, or not 0. False without elements.
    ///
    /// # Errors
    /// If the dimension is empty.
    pub fn any(&self) -> Result<DataArray> {
        self.reduce(GroupOp::Any)
    }

    /// Whether all elements of each group are true, or not 0. True without elements.
    ///
    /// # Errors
    /// If the dimension is empty.
    pub fn all(&self) -> Result<DataArray> {
        self.reduce(GroupOp::All)
    }
}

macro_rules! group_operator {
    ($trait:ident, $method:ident, $($left:ty, $right:ty);*) => {$(
        impl ops::$trait<$right> for $left {
            type Output = DataArray;
            #[track_caller]
            fn $method(self, climatology: $right) -> DataArray {
                self.binary(Binary::$trait, &climatology).unwrap_or_else(|error| panic!("{error}"))
            }
        }
    )*};
}
group_operator!(Sub, sub, GroupBy, DataArray; GroupBy, &DataArray; &GroupBy, DataArray; &GroupBy, &DataArray);
group_operator!(Add, add, GroupBy, DataArray; GroupBy, &DataArray; &GroupBy, DataArray; &GroupBy, &DataArray);
group_operator!(Mul, mul, GroupBy, DataArray; GroupBy, &DataArray; &GroupBy, DataArray; &GroupBy, &DataArray);
group_operator!(Div, div, GroupBy, DataArray; GroupBy, &DataArray; &GroupBy, DataArray; &GroupBy, &DataArray);
