//! Owns functions of each group, and putting their results together.

use std::sync::Arc;

use nuna_array::{Array, Scalar};

use super::{GroupBy, grouping::Part};
use crate::{
    DataArray, LabelError, Result,
    align::{Places, placed},
    coord::Coord,
    positions::Positions,
};

impl GroupBy {
    /// The array with the grouped dimensions as one.
    fn stacked(&self, part: &Part) -> Result<DataArray> {
        match part.dims.as_slice() {
            [_] => Ok(self.array.clone()),
            dims => self.array.stack(dims, &part.dim()),
        }
    }

    /// The part of the array that is in one group, by the group's place in [`labels`](GroupBy::labels); combinations of
    /// several keys count on with the last key first. Of groups along several dimensions these are stacked into one, called
    /// `stacked_lat_lon`.
    ///
    /// # Errors
    /// If there is no such group.
    pub fn group(&self, place: usize) -> Result<DataArray> {
        let part = self.by.merged()?;
        let members = part.members()?;
        let Some(list) = members.get(place) else {
            let (have, group) = (members.len(), self.by.title());
            return Err(LabelError::Invalid(format!("there is no group {place} of {have} along `{group}`")));
        };
        let stacked = self.stacked(&part)?;
        stacked.take(stacked.axis(&part.dim())?, &Positions::from_list(list.clone()))
    }

    /// Applies a function to the part of each group, and puts the results together: along the grouped dimension, in the
    /// order of the array, if they have it at its length; else along a dimension for each key. Groups of one key without
    /// elements are left out, combinations of several are NaN.
    ///
    /// Of groups along several dimensions the function sees these stacked into one, called `stacked_lat_lon`.
    ///
    /// # Errors
    /// Those of the function, or if the results do not fit together.
    pub fn map(&self, mut function: impl FnMut(DataArray) -> Result<DataArray>) -> Result<DataArray> {
        let part = self.by.merged()?;
        let members = part.members()?;
        let stacked = self.stacked(&part)?;
        let (dim, axis) = (part.dim(), stacked.axis(&part.dim())?);
        let (mut made, mut present) = (Vec::new(), Vec::new());
        for (place, list) in members.iter().enumerate().filter(|(_, list)| !list.is_empty()) {
            made.push(function(stacked.take(axis, &Positions::from_list(list.clone()))?)?);
            present.push(place);
        }
        let Some(first) = made.first() else {
            let (array, keys) = (self.array.describe(), self.by.title());
            return Err(LabelError::Invalid(format!("no element of {array} is in a group of `{keys}`")));
        };
        if let Ok(axis) = first.axis(&dim) {
            let lengths: Result<Vec<u64>> =
                made.iter().map(|part| part.axis(&dim).map(|axis| part.shape()[axis])).collect();
            let whole = crate::concat(&made, &dim)?;
            if !lengths?.iter().zip(&present).all(|(&n, &place)| n == members[place].len() as u64) {
                return Ok(whole);
            }
            return self.in_order(&part, &whole, axis, members);
        }
        let arrays: Result<Vec<Array>> =
            made.iter().map(|part| Ok(crate::arithmetic::like(part, first)?.array.expand_dims(0)?)).collect();
        let mut array = nuna_array::concat(&arrays?, 0)?;
        let mut coords = first.coords.clone();
        if let [key] = self.by.keys.as_slice() {
            let labels = key.labels.take(&[present.len() as u64], &present);
            coords.insert(&key.name, Arc::new(Coord::line(&key.name, labels, key.attrs.clone())));
        } else {
            let mut places: Places = vec![None; members.len()];
            for (at, place) in present.into_iter().enumerate() {
                places[place] = Some(at);
            }
            array = placed(&array, 0, &places, Scalar::Float(f64::NAN))?.unflatten(0, &part.counts)?;
            for &key in &part.keys {
                coords.insert(&self.by.keys[key].name, self.by.keys[key].coord());
            }
        }
        let names = part.keys.iter().map(|&key| self.by.keys[key].name.clone());
        let dims = names.chain(first.dims.iter().cloned()).collect();
        let made = DataArray { array, dims, coords, loaded: None, ..first.clone() };
        if self.by.parts.len() == 1 {
            return Ok(made);
        }
        let order: Vec<String> = self.keys().into_iter().chain(first.dims.iter().cloned()).collect();
        made.transpose(order)
    }

    /// Elements that come group by group, back in the order of the array.
    fn in_order(
        &self,
        part: &Part,
        whole: &DataArray,
        axis: usize,
        members: Vec<Vec<u64>>,
    ) -> Result<DataArray> {
        let order: Vec<u64> = members.into_iter().flatten().collect();
        if part.dims.len() == 1 {
            let mut back: Vec<usize> = (0..order.len()).collect();
            back.sort_by_key(|&at| order[at]);
            let back = back.into_iter().map(|at| at as u64).collect();
            return whole.take(axis, &Positions::from_list(back));
        }
        let mut places: Places = vec![None; part.codes.len()];
        for (at, place) in order.into_iter().enumerate() {
            places[usize::try_from(place).unwrap_or(usize::MAX)] = Some(at);
        }
        let array = placed(&whole.array, axis, &places, Scalar::Float(f64::NAN))?;
        let array = array.unflatten(axis, &part.shape)?;
        let mut dims = whole.dims.clone();
        dims.splice(axis..=axis, part.dims.iter().cloned());
        let mut coords = whole.coords.without(&part.dim());
        for (name, coord) in self.array.coords.within(&dims).iter() {
            if coord.dims().iter().any(|dim| part.dims.contains(dim)) {
                coords.insert(name, coord.clone());
            }
        }
        Ok(DataArray { array, dims, coords, loaded: None, ..whole.clone() })
    }
}
