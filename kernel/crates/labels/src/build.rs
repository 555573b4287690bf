//! Owns joining arrays along a dimension.

use std::sync::Arc;

use bytes::Bytes;
use nuna_chunk::Chunk;

use crate::{
    DataArray, LabelError, Result,
    coord::{Coord, Coords, Values},
    time::Times,
};

/// Joins arrays along a dimension that all of them have. Names and other coordinates are the first one's.
///
/// # Errors
/// If there is none, dimensions differ, or lengths along the others do.
pub(crate) fn concat(arrays: &[DataArray], dim: &str) -> Result<DataArray> {
    let Some(first) = arrays.first() else {
        return Err(LabelError::Invalid("nothing to join: give at least one array".to_owned()));
    };
    let axis = first.axis(dim)?;
    let mut parts = Vec::with_capacity(arrays.len());
    for other in arrays {
        other.axis(dim)?;
        let lacks = |of: &DataArray, all: &DataArray| all.dims.iter().any(|dim| !of.dims.contains(dim));
        if lacks(other, first) || lacks(first, other) {
            return Err(LabelError::Invalid(format!(
                "concat along `{dim}`: {} has the dimensions ({}), {} has ({}); give both the same with `expand_dims`",
                first.describe(),
                first.dims.join(", "),
                other.describe(),
                other.dims.join(", ")
            )));
        }
        let other = &other.counted_like(&first.attrs)?;
        let aligned =
            if other.dims == first.dims { other.clone() } else { other.transpose(first.dims.as_slice())? };
        for (at, name) in first.dims.iter().enumerate().filter(|(at, _)| *at != axis) {
            let differ = || LabelError::Sizes {
                operation: "concat".to_owned(),
                dim: name.clone(),
                left: first.describe(),
                left_size: first.shape()[at],
                right: other.describe(),
                right_size: aligned.shape()[at],
            };
            if aligned.shape()[at] != first.shape()[at] {
                return Err(differ());
            }
            if let (Some(a), Some(b)) = (first.coords.index(name), aligned.coords.index(name))
                && !a.same(b)
            {
                return Err(LabelError::Invalid(format!(
                    "concat: the coordinates along `{name}` of {} and {} differ: {}",
                    first.describe(),
                    other.describe(),
                    crate::align::difference(
                        (&first.describe(), a.values()?),
                        (&other.describe(), b.values()?)
                    )
                )));
            }
        }
        parts.push(aligned);
    }
    let array = nuna_array::concat(&parts.iter().map(|part| part.array.clone()).collect::<Vec<_>>(), axis)?;
    let mut coords = Coords::default();
    for (name, coord) in first.coords.iter() {
        if !coord.dims.iter().any(|d| d == dim) {
            coords.insert(name, coord.clone());
            continue;
        }
        let others: Option<Vec<_>> = parts.iter().map(|part| part.coords.get(name)).collect();
        if let Some(all) = others.filter(|_| coord.dims == [dim]) {
            let all: Result<Vec<&Values>> = all.iter().map(|coord| coord.values()).collect();
            let joined = Values::joined(name, &all?).map_err(|error| {
                LabelError::Invalid(format!(
                    "concat along `{dim}`: {error}; drop `{name}` with `drop_coords`, or convert it"
                ))
            })?;
            coords.insert(name, Arc::new(Coord::line(dim, joined, coord.attrs.clone())));
        }
    }
    Ok(DataArray { coords, ..first.with_array(array) })
}

/// Labels one after the other; `None` if they are of different kinds.
pub(crate) fn join(parts: &[&Values]) -> Option<Values> {
    match parts.first()? {
        Values::Numbers(first) => {
            let mut bytes = Vec::new();
            for part in parts {
                let Values::Numbers(chunk) = part else { return None };
                if chunk.dtype() != first.dtype() {
                    return None;
                }
                bytes.extend_from_slice(chunk.bytes());
            }
            let count = (bytes.len() / first.dtype().size()) as u64;
            Chunk::new(first.dtype(), &[count], Bytes::from(bytes)).ok().map(Values::Numbers)
        }
        Values::Times(first) => {
            let mut micros = Vec::new();
            for part in parts {
                let Values::Times(times) = part else { return None };
                let both = times.calendar.is_gregorian() && first.calendar.is_gregorian();
                if times.calendar != first.calendar && !both {
                    return None;
                }
                micros.extend_from_slice(&times.micros);
            }
            Some(Values::Times(Times { calendar: first.calendar, micros: micros.into() }))
        }
        Values::Text(_) => {
            let mut all = Vec::new();
            for part in parts {
                let Values::Text(text) = part else { return None };
                all.extend(text.iter().cloned());
            }
            Some(Values::Text(all.into()))
        }
    }
}
