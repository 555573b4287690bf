//! Owns what a resolved group-by is: which group every position is in. Keys that share dimensions are one part, whose codes
//! number the combinations of their labels; keys that share none stay apart, so that a month and a region of a large grid
//! never need a code for each of its elements.

use std::{borrow::Cow, collections::HashSet, sync::Arc};

use nuna_array::Array;
use nuna_storage::Attributes;

use super::NO_GROUP;
use crate::{
    DataArray, LabelError, Result,
    coord::{Coord, Coords, Values},
};

/// Elements whose groups are listed one by one, where keys that share no dimension must be taken as one.
const LISTED_MAX: u64 = 1 << 26;

/// One key with the group of every position along its dimensions, in C order.
#[derive(Debug)]
pub(crate) struct Keyed {
    pub(super) key: Key,
    pub(super) dims: Vec<String>,
    pub(super) shape: Vec<u64>,
    pub(super) codes: Vec<u32>,
}

/// What groups are called along one of the result's dimensions.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    /// What the new dimension is called: `month`.
    pub(super) name: String,
    /// Those of groups without elements are here too.
    pub(super) labels: Values,
    pub(super) attrs: Attributes,
}

impl Key {
    pub(super) fn coord(&self) -> Arc<Coord> {
        Arc::new(Coord::line(&self.name, self.labels.clone(), self.attrs.clone()))
    }
}

/// Keys along the same dimensions.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Taken as one, in C order.
    pub(super) dims: Vec<String>,
    pub(super) shape: Vec<u64>,
    /// Places among [`Grouping::keys`].
    pub(super) keys: Vec<usize>,
    /// Labels of each key.
    pub(super) counts: Vec<u64>,
    /// The group of every position, or [`NO_GROUP`]: numbers of combinations of the keys' labels, the last key's changing
    /// fastest.
    pub(super) codes: Vec<u32>,
}

/// How positions are sorted into groups.
#[derive(Debug)]
pub(crate) struct Grouping {
    /// As they were named; each is a dimension of results.
    pub(super) keys: Vec<Key>,
    /// No dimension is in two of them.
    pub(super) parts: Vec<Part>,
}

fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

impl Part {
    fn one(at: usize, keyed: &Keyed) -> Self {
        Self {
            dims: keyed.dims.clone(),
            shape: keyed.shape.clone(),
            keys: vec![at],
            counts: vec![keyed.key.labels.len() as u64],
            codes: keyed.codes.clone(),
        }
    }

    /// How many groups there are, those without elements too.
    pub(super) fn count(&self) -> Result<u32> {
        let product = self.counts.iter().try_fold(1u64, |product, &n| product.checked_mul(n));
        product
            .and_then(|n| u32::try_from(n).ok())
            .filter(|&n| n < NO_GROUP)
            .ok_or_else(|| LabelError::Invalid(format!("{:?} groups are too many", self.counts)))
    }

    /// The places of the labels that make up a group.
    pub(super) fn labels_of(&self, code: u32) -> Vec<usize> {
        let mut rest = u64::from(code);
        let mut places = vec![0; self.counts.len()];
        for (place, &n) in places.iter_mut().zip(&self.counts).rev() {
            *place = size(rest % n.max(1));
            rest /= n.max(1);
        }
        places
    }

    /// Positions of each group, in the order of the groups.
    pub(super) fn members(&self) -> Result<Vec<Vec<u64>>> {
        let mut members = vec![Vec::new(); self.count()? as usize];
        for (at, &code) in (0..).zip(&self.codes) {
            if let Some(group) = members.get_mut(code as usize) {
                group.push(at);
            }
        }
        Ok(members)
    }

    /// Both sets of keys as one, along the dimensions of both.
    fn with(&self, other: &Part) -> Result<Part> {
        let (mut dims, mut shape) = (self.dims.clone(), self.shape.clone());
        for (dim, &n) in other.dims.iter().zip(&other.shape) {
            match dims.iter().position(|d| d == dim) {
                Some(at) if shape[at] != n => {
                    return Err(LabelError::Invalid(format!(
                        "keys of groups have lengths {} and {n} along `{dim}`",
                        shape[at]
                    )));
                }
                Some(_) => {}
                None => {
                    dims.push(dim.clone());
                    shape.push(n);
                }
            }
        }
        let total = shape.iter().try_fold(1u64, |product, &n| product.checked_mul(n));
        let Some(total) = total.filter(|&total| total <= LISTED_MAX) else {
            return Err(LabelError::Invalid(format!(
                "groups by keys along ({}) together would list {} elements; sum, prod, mean, min, max, count, std, var, any and all of keys that share no dimension need no list",
                dims.join(", "),
                shape.iter().map(u64::to_string).collect::<Vec<_>>().join(" × ")
            )));
        };
        let keys: Vec<usize> = self.keys.iter().chain(&other.keys).copied().collect();
        let counts: Vec<u64> = self.counts.iter().chain(&other.counts).copied().collect();
        let mut both = Part { dims, shape, keys, counts, codes: Vec::new() };
        let groups = other.count()?;
        both.count()?;
        let spread = |part: &Part| -> Vec<u64> {
            // What a step along each of the common dimensions is among the part's codes.
            let step = |dim: &String| {
                let at = part.dims.iter().position(|d| d == dim);
                at.map_or(0, |at| part.shape[at + 1..].iter().product())
            };
            both.dims.iter().map(step).collect()
        };
        let (left, right) = (spread(self), spread(other));
        let grid = nuna_plan::BlockGrid::new(both.shape.iter().copied());
        let code = |at: u64| {
            let coords = grid.coords(at);
            let of = |part: &Part, steps: &[u64]| {
                let at: u64 = coords.iter().zip(steps).map(|(c, step)| c * step).sum();
                part.codes.get(size(at)).copied().unwrap_or(NO_GROUP)
            };
            match (of(self, &left), of(other, &right)) {
                (NO_GROUP, _) | (_, NO_GROUP) => NO_GROUP,
                (a, b) => a * groups + b,
            }
        };
        both.codes = (0..total).map(code).collect();
        Ok(both)
    }

    /// An array's axes with the part's dimensions as one: the array, the names of its axes, and which of them it is. Of
    /// several dimensions it is the last, under a name of its own.
    pub(super) fn lines(&self, array: &Array, dims: &[String]) -> Result<(Array, Vec<String>, usize)> {
        let find = |dim: &String| {
            dims.iter().position(|d| d == dim).ok_or_else(|| LabelError::NoDim {
                owner: "the grouped array".to_owned(),
                dim: dim.clone(),
                dims: dims.to_vec(),
            })
        };
        let axes: Vec<usize> = self.dims.iter().map(find).collect::<Result<_>>()?;
        if let [axis] = axes[..] {
            return Ok((array.clone(), dims.to_vec(), axis));
        }
        let kept: Vec<usize> = (0..dims.len()).filter(|axis| !axes.contains(axis)).collect();
        let order: Vec<usize> = kept.iter().chain(&axes).copied().collect();
        let array = array.transpose(&order)?.flatten(kept.len(), axes.len())?;
        let names = kept.iter().map(|&axis| dims[axis].clone()).chain([self.dim()]).collect();
        Ok((array, names, kept.len()))
    }

    /// What the dimensions are called as one: xarray's `stacked_lat_lon`.
    pub(super) fn dim(&self) -> String {
        match self.dims.as_slice() {
            [dim] => dim.clone(),
            dims => format!("stacked_{}", dims.join("_")),
        }
    }
}

impl Grouping {
    /// # Errors
    /// If two keys have one name.
    pub(crate) fn new(all: Vec<Keyed>) -> Result<Self> {
        let mut names = HashSet::new();
        if let Some(twice) = all.iter().find(|keyed| !names.insert(&keyed.key.name)) {
            let reason = "two keys have this name; `named` gives an array another".to_owned();
            return Err(LabelError::GroupKey { key: twice.key.name.clone(), reason });
        }
        let mut parts: Vec<Part> = Vec::new();
        for (at, keyed) in all.iter().enumerate() {
            let mut part = Part::one(at, keyed);
            let (shared, apart): (Vec<Part>, Vec<Part>) =
                parts.into_iter().partition(|other| other.dims.iter().any(|dim| part.dims.contains(dim)));
            for other in shared.into_iter().rev() {
                part = other.with(&part)?;
            }
            parts = apart;
            parts.push(part);
        }
        Ok(Self { keys: all.into_iter().map(|keyed| keyed.key).collect(), parts })
    }

    /// Every grouped dimension, and its length.
    pub(super) fn sizes(&self) -> impl Iterator<Item = (&String, u64)> {
        self.parts.iter().flat_map(|part| part.dims.iter().zip(part.shape.iter().copied()))
    }

    /// What keys are called together: `season, basin`.
    pub(super) fn title(&self) -> String {
        self.keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// All keys as one part.
    pub(super) fn merged(&self) -> Result<Cow<'_, Part>> {
        let mut parts = self.parts.iter();
        let Some(first) = parts.next() else {
            return Err(LabelError::Invalid("groups by nothing: name at least one key".to_owned()));
        };
        parts.try_fold(Cow::Borrowed(first), |all, part| Ok(Cow::Owned(all.with(part)?)))
    }

    /// The coordinates of results: those along grouped dimensions go away, the labels of groups come.
    pub(super) fn coords(&self, of: &Coords) -> Coords {
        let mut coords = of.clone();
        coords.retain(|_, coord| !self.sizes().any(|(dim, _)| coord.dims().contains(dim)));
        for key in &self.keys {
            coords.insert(&key.name, key.coord());
        }
        coords
    }

    /// Whether groups may stand in place of the grouped dimension: with one of these.
    pub(super) fn is_line(&self) -> bool {
        matches!(self.parts.as_slice(), [part] if part.dims.len() == 1)
    }

    /// Checks that an array has the grouped dimensions, and none that is called as a key.
    pub(super) fn check(&self, array: &DataArray) -> Result<()> {
        for (dim, n) in self.sizes() {
            let axis = array.axis(dim)?;
            if array.shape()[axis] != n {
                return Err(LabelError::Sizes {
                    operation: "groupby".to_owned(),
                    dim: dim.clone(),
                    left: array.describe(),
                    left_size: array.shape()[axis],
                    right: format!("the key `{}`", self.title()),
                    right_size: n,
                });
            }
        }
        let stays = |dim: &String| !self.sizes().any(|(grouped, _)| grouped == dim);
        let mut taken = self.keys.iter().filter(|key| array.dims.contains(&key.name) && stays(&key.name));
        match taken.next() {
            None => Ok(()),
            Some(key) => {
                let reason = format!("{} has a dimension of this name, which stays", array.describe());
                Err(LabelError::GroupKey { key: key.name.clone(), reason })
            }
        }
    }
}
