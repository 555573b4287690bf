//! Owns selection by position: what a call gives ([`Pick`], for `isel`), and positions along a dimension as all selections become
//! them. Leaves labels to `select`.

use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo};

use nuna_array::Array;
use nuna_chunk::DType;

use crate::{DataArray, LabelError, Result, coord::Coords};

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

#[cfg(test)]
mod tests {
    use super::*;

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
