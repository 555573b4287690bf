//! Owns datasets put together: merged into one with the variables of all, or joined along a dimension.

use std::sync::Arc;

use nuna_array::{Array, Binary};

use crate::{
    DataArray, Dataset, Join, LabelError, Result,
    align::{Align, Reindex, aligned, difference},
    arithmetic::like,
    coord::{Coord, Coords, Values},
};

/// What makes variables of one name one variable, as in xarray.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compat {
    /// Equal wherever neither is NaN; each fills the other's gaps. Both are computed to see.
    #[default]
    NoConflicts,
    /// Equal, NaN where NaN. Both are computed to see.
    Equals,
    /// The first one is taken, whatever the others are.
    Override,
}

/// How [`merge_with`] puts datasets together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merge {
    pub compat: Compat,
    pub join: Join,
}

impl Default for Merge {
    fn default() -> Self {
        Self { compat: Compat::NoConflicts, join: Join::Outer }
    }
}

/// One dataset with the variables and coordinates of all. Labels are joined ([`Join::Outer`]); variables that several have
/// must not conflict ([`Compat::NoConflicts`]). Attributes are the first one's.
///
/// # Errors
/// [`LabelError::Invalid`], naming the variable and where it differs, or the labels that do not go together.
pub fn merge(datasets: &[Dataset]) -> Result<Dataset> {
    merge_with(datasets, Merge::default())
}

/// [`merge`] with another join, or another rule for variables of one name.
///
/// # Errors
/// As [`merge`].
pub fn merge_with(datasets: &[Dataset], options: Merge) -> Result<Dataset> {
    let datasets = aligned(datasets, options.join, &[], &Reindex::default())?;
    let Some(first) = datasets.first() else { return Ok(Dataset::new()) };
    let mut coords = first.coords.clone();
    for other in &datasets[1..] {
        for (name, coord) in other.coords.iter() {
            match coords.get(name) {
                None => coords.insert(name, coord.clone()),
                Some(ours) if options.compat != Compat::Override && !ours.same(coord) => {
                    let fill = options.compat == Compat::NoConflicts && ours.dims() == coord.dims();
                    let united =
                        if fill { filled(ours.values()?, coord.values()?, ours.shape())? } else { None };
                    let Some(values) = united else { return Err(coords_differ(name, ours, coord)?) };
                    let (dims, shape) = (ours.dims().to_vec(), ours.shape().to_vec());
                    coords.insert(name, Arc::new(Coord::new(dims, shape, values, ours.attrs().clone())));
                }
                Some(_) => {}
            }
        }
    }
    let mut variables: Vec<(String, DataArray)> = Vec::new();
    let mut places: std::collections::HashMap<String, usize> = std::collections::HashMap::new();
    for (name, variable) in datasets.iter().flat_map(|dataset| &dataset.variables) {
        match places.get(name) {
            None => {
                places.insert(name.clone(), variables.len());
                variables.push((name.clone(), variable.clone()));
            }
            Some(&at) => variables[at].1 = unite(name, &variables[at].1, variable, options.compat)?,
        }
    }
    for (name, variable) in &mut variables {
        if coords.get(name).is_some() {
            return Err(LabelError::Invalid(format!(
                "merge: `{name}` is a variable in one dataset and a coordinate in another; rename it, or make it a coordinate with `set_coords`"
            )));
        }
        variable.coords = coords.within(&variable.dims);
    }
    let text = text_of(&datasets);
    Ok(Dataset { variables, coords, attrs: first.attrs.clone(), text, ..Dataset::new() })
}

/// Names of variables of text.
fn text_of(datasets: &[Dataset]) -> Vec<String> {
    let mut text: Vec<String> = Vec::new();
    for name in datasets.iter().flat_map(|dataset| &dataset.text) {
        if !text.contains(name) {
            text.push(name.clone());
        }
    }
    text
}

fn coords_differ(name: &str, ours: &Coord, theirs: &Coord) -> Result<LabelError> {
    let how = if ours.dims() == theirs.dims() {
        difference(("one", ours.values()?), ("the other", theirs.values()?))
    } else {
        format!("one is along ({}), the other along ({})", ours.dims().join(", "), theirs.dims().join(", "))
    };
    Ok(LabelError::Invalid(format!(
        "merge: the coordinate `{name}` differs: {how}; drop it in one with `drop_var`, or choose Compat::Override"
    )))
}

/// Labels of which each fills the other's gaps; nothing if two differ.
fn filled(ours: &Values, theirs: &Values, shape: &[u64]) -> Result<Option<Values>> {
    if ours.len() != theirs.len() {
        return Ok(None);
    }
    let (Ok(both), n) = (Values::joined("", &[ours, theirs]), ours.len()) else { return Ok(None) };
    let keys = both.keys();
    let mut places = Vec::with_capacity(n);
    for at in 0..n {
        places.push(match (both.is_missing(at), both.is_missing(at + n)) {
            (false, false) if keys[at] != keys[at + n] => return Ok(None),
            (true, false) => at + n,
            _ => at,
        });
    }
    Ok(Some(both.take(shape, &places)))
}

fn unite(name: &str, ours: &DataArray, theirs: &DataArray, compat: Compat) -> Result<DataArray> {
    if compat == Compat::Override {
        return Ok(ours.clone());
    }
    let conflict = |what: String| {
        Err(LabelError::Invalid(format!(
            "merge: variable `{name}` {what}; rename one of them, or choose Compat::Override to keep the first"
        )))
    };
    let mut sorted = (ours.dims.clone(), theirs.dims.clone());
    sorted.0.sort();
    sorted.1.sort();
    if sorted.0 != sorted.1 {
        return conflict(format!(
            "is along ({}) and along ({})",
            ours.dims.join(", "),
            theirs.dims.join(", ")
        ));
    }
    let theirs = like(&theirs.counted_like(&ours.attrs)?, ours)?;
    let (a, b) = (&ours.array, &theirs.array);
    let differ = a.binary(Binary::Ne, b)?;
    let nulls = |a: &Array| a.unary(nuna_array::Unary::IsNan);
    let conflicts = match compat {
        // A NaN differs from everything; where both are, that is no difference, and with NoConflicts where one is.
        Compat::NoConflicts => {
            let either = nulls(a)?.binary(Binary::Or, &nulls(b)?)?;
            differ.binary(Binary::Gt, &either)?
        }
        Compat::Equals | Compat::Override => {
            let both = nulls(a)?.binary(Binary::And, &nulls(b)?)?;
            differ.binary(Binary::Gt, &both)?
        }
    };
    let count =
        conflicts.sum(&conflicts.all_axes())?.compute()?.to_vec::<i64>().first().copied().unwrap_or(0);
    if count > 0 {
        return conflict(format!("differs in {count} of {} elements", a.len()));
    }
    match compat {
        Compat::NoConflicts if ours.dtype().is_float() => {
            Ok(ours.with_array(a.where_(&nulls(a)?.unary(nuna_array::Unary::Not)?, b)?))
        }
        _ => Ok(ours.clone()),
    }
}

/// What can be joined along a dimension.
pub trait Concat: Align {
    #[doc(hidden)]
    fn concat_aligned(parts: &[Self], dim: &str) -> Result<Self>;
}

/// Joins arrays or datasets along a dimension that they have, or a new one in front. Labels along other dimensions must be
/// equal; see [`concat_with`]. Names, attributes and other coordinates are the first one's.
///
/// # Errors
/// If there is none, dimensions differ, or lengths or labels along the others do.
pub fn concat<T: Concat>(parts: &[T], dim: &str) -> Result<T> {
    concat_with(parts, dim, Join::Exact)
}

/// [`concat`] with another join of the labels along other dimensions: [`Join::Outer`] fills with NaN, [`Join::Inner`] keeps
/// what all have.
///
/// # Errors
/// As [`concat`].
pub fn concat_with<T: Concat>(parts: &[T], dim: &str, join: Join) -> Result<T> {
    if parts.is_empty() {
        return Err(LabelError::Invalid("nothing to join: give at least one array".to_owned()));
    }
    T::concat_aligned(&aligned(parts, join, &[dim], &Reindex::default())?, dim)
}

impl Concat for DataArray {
    fn concat_aligned(parts: &[DataArray], dim: &str) -> Result<DataArray> {
        if parts.iter().any(|part| part.dims.iter().any(|d| d == dim)) {
            return crate::build::concat(parts, dim);
        }
        let wide: Result<Vec<_>> = parts.iter().map(|part| part.expand_dims(dim)).collect();
        crate::build::concat(&wide?, dim)
    }
}

impl Concat for Dataset {
    /// Variables without the dimension are the first one's, unless no dataset has the dimension: then all of them get it.
    fn concat_aligned(parts: &[Dataset], dim: &str) -> Result<Dataset> {
        let has = |dataset: &Dataset| dataset.sizes().iter().any(|(d, _)| d == dim);
        if !parts.iter().any(has) {
            let wide: Result<Vec<_>> = parts.iter().map(|part| part.expand_dims(dim)).collect();
            return Self::concat_aligned(&wide?, dim);
        }
        let Some(first) = parts.first() else { return Ok(Dataset::new()) };
        let mut coords = Coords::default();
        for (name, coord) in first.coords.iter() {
            if !coord.dims().iter().any(|d| d == dim) {
                coords.insert(name, coord.clone());
                continue;
            }
            let all: Option<Vec<&Arc<Coord>>> = parts.iter().map(|part| part.coords.get(name)).collect();
            let Some(all) = all.filter(|_| coord.dims() == [dim]) else { continue };
            let values: Result<Vec<&Values>> = all.iter().map(|coord| coord.values()).collect();
            let values = Values::joined(name, &values?)?;
            coords.insert(name, Arc::new(Coord::line(dim, values, coord.attrs().clone())));
        }
        let text = text_of(parts);
        let mut joined = Dataset { coords, attrs: first.attrs.clone(), text, ..Dataset::new() };
        for (name, variable) in &first.variables {
            let all: Result<Vec<DataArray>> = parts
                .iter()
                .map(|part| part.var(name).map(|v| DataArray { coords: v.coords.without(dim), ..v }))
                .collect();
            let all = all.map_err(|error| LabelError::Invalid(format!("concat along `{dim}`: {error}")))?;
            let whole = if all.iter().any(|part| part.dims.iter().any(|d| d == dim)) {
                crate::build::concat(&all, dim)?
            } else {
                variable.clone()
            };
            let coords = joined.coords.within(&whole.dims);
            joined.variables.push((name.clone(), DataArray { coords, ..whole }));
        }
        Ok(joined)
    }
}
