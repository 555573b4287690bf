//! Owns differences from a climatology: operations on each element and what another array has for its group.

use std::{collections::HashMap, ops, sync::Arc};

use nuna_array::Binary;
use nuna_chunk::Chunk;
use nuna_storage::Attributes;

use super::{GroupBy, NO_GROUP, distinct, grouping::Part};
use crate::{DataArray, LabelError, Result, coord::Coord, positions::Positions};

impl GroupBy {
    /// The array minus (for [`Binary::Sub`]) what `climatology` has for each element's group; it must have every key as a
    /// dimension. An element that is in no group gives NaN.
    ///
    /// # Errors
    /// If it lacks a dimension or one of the groups.
    pub fn binary(&self, op: Binary, climatology: &DataArray) -> Result<DataArray> {
        let by = &self.by;
        let mut spread = climatology.clone();
        for part in &by.parts {
            spread = self.spread(part, &spread)?;
        }
        let mut result = self.array.binary(op, &spread)?;
        for part in &by.parts {
            if part.codes.contains(&NO_GROUP) {
                let inside: Vec<bool> = part.codes.iter().map(|&code| code != NO_GROUP).collect();
                let inside = DataArray::from_chunk(Chunk::from_slice(&part.shape, &inside), &part.dims)?;
                result = result.where_(&inside)?;
                continue;
            }
            let groups: Vec<Vec<usize>> = part.codes.iter().map(|&code| part.labels_of(code)).collect();
            for (at, &key) in part.keys.iter().enumerate() {
                let key = &by.keys[key];
                // As the array's own dimension it has labels already.
                if result.dims.contains(&key.name) || result.coords.get(&key.name).is_some() {
                    continue;
                }
                let places: Vec<usize> = groups.iter().map(|places| places[at]).collect();
                let labels = key.labels.take(&part.shape, &places);
                let coord = Coord::new(part.dims.clone(), part.shape.clone(), labels, Attributes::new());
                result.coords.insert(&key.name, Arc::new(coord));
            }
        }
        Ok(DataArray { name: self.array.name.clone(), ..result })
    }

    /// What a climatology has for the elements along a part's dimensions: these in place of its keys.
    fn spread(&self, part: &Part, climatology: &DataArray) -> Result<DataArray> {
        let names: Vec<&String> = part.keys.iter().map(|&key| &self.by.keys[key].name).collect();
        let axes: Vec<usize> = names.iter().map(|name| climatology.axis(name)).collect::<Result<_>>()?;
        // The place of each key's labels among those of the climatology.
        let mut places: Vec<Vec<Option<u64>>> = Vec::new();
        for &key in &part.keys {
            let key = &self.by.keys[key];
            let there = climatology.index(&key.name)?.values()?.keys();
            let there: HashMap<_, u64> = there.into_iter().zip(0..).collect();
            places.push(key.labels.keys().iter().map(|label| there.get(label).copied()).collect());
        }
        let lengths: Vec<u64> = axes.iter().map(|&axis| climatology.shape()[axis]).collect();
        let mut of: HashMap<u32, u64> = HashMap::from([(NO_GROUP, 0)]);
        for code in distinct(part.codes.iter().copied()).into_iter().filter(|&code| code != NO_GROUP) {
            let mut flat = 0;
            for (at, place) in part.labels_of(code).into_iter().enumerate() {
                let key = &self.by.keys[part.keys[at]];
                let there = places[at][place].ok_or_else(|| LabelError::NoLabel {
                    dim: key.name.clone(),
                    label: key.labels.show(place),
                    hint: format!("{} lacks this group", climatology.describe()),
                })?;
                flat = flat * lengths[at] + there;
            }
            of.insert(code, flat);
        }
        let list = part.codes.iter().map(|code| of.get(code).copied().unwrap_or(0)).collect();
        let (mut array, mut dims, mut axis) = (climatology.array.clone(), climatology.dims.clone(), axes[0]);
        if axes.len() > 1 {
            let kept: Vec<usize> = (0..dims.len()).filter(|axis| !axes.contains(axis)).collect();
            let order: Vec<usize> = kept.iter().chain(&axes).copied().collect();
            array = array.transpose(&order)?.flatten(kept.len(), axes.len())?;
            axis = kept.len();
            dims = kept.iter().map(|&axis| climatology.dims[axis].clone()).chain([String::new()]).collect();
        }
        array = Positions::List(list).of(&array, axis)?;
        if part.dims.len() > 1 {
            array = array.unflatten(axis, &part.shape)?;
        }
        dims.splice(axis..=axis, part.dims.iter().cloned());
        let mut coords = climatology.coords.clone();
        coords.retain(|name, coord| !names.iter().any(|key| **key == name || coord.dims().contains(key)));
        Ok(DataArray { array, dims, coords, loaded: None, ..climatology.clone() })
    }

    /// Each element minus the mean of its group.
    ///
    /// # Errors
    /// As the mean.
    pub fn anomaly(&self) -> Result<DataArray> {
        self.binary(Binary::Sub, &self.mean()?)
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
