//! Owns putting datasets together by their labels alone: tiles and series in any order.

use crate::{
    Dataset, LabelError, Result, concat,
    coord::{Key, Values},
    merge,
};

/// Joins datasets along every dimension whose labels differ among them, sorted by these, and merges those of other variables:
/// xarray's `combine_by_coords`. Tiles of a map, months of a series, and one variable in each file come together whatever the order.
///
/// # Errors
/// If a dimension that differs has no labels, tiles leave holes, or labels overlap; as [`concat`](crate::concat()) and
/// [`merge`](crate::merge()).
pub fn combine_by_coords(datasets: &[Dataset]) -> Result<Dataset> {
    let mut kinds: Vec<(Vec<String>, Vec<Dataset>)> = Vec::new();
    for dataset in datasets {
        let mut names = dataset.names();
        names.sort();
        match kinds.iter_mut().find(|(own, _)| *own == names) {
            Some((_, alike)) => alike.push(dataset.clone()),
            None => kinds.push((names, vec![dataset.clone()])),
        }
    }
    let whole: Vec<Dataset> = kinds.iter().map(|(_, alike)| combined(alike)).collect::<Result<_>>()?;
    match whole.as_slice() {
        [one] => Ok(one.clone()),
        several => merge(several),
    }
}

/// Datasets of the same variables.
fn combined(alike: &[Dataset]) -> Result<Dataset> {
    let [first, ..] = alike else { return Ok(Dataset::new()) };
    let mut differing = Vec::new();
    for (dim, _) in first.sizes() {
        let labels = |dataset: &Dataset| dataset.coords.index(&dim).cloned();
        let Some(own) = labels(first) else { continue };
        let same = |dataset: &Dataset| labels(dataset).is_some_and(|theirs| theirs.same(&own));
        if !alike.iter().all(same) {
            differing.push(dim);
        }
    }
    if differing.is_empty() && alike.len() > 1 {
        return Err(LabelError::Invalid(format!(
            "{} datasets of the same variables have the same labels along every dimension; nothing says in which order they \
             come: concatenate them along a new dimension",
            alike.len()
        )));
    }
    nested(alike, &differing)
}

/// Joined along the first dimension what is joined along the others.
fn nested(tiles: &[Dataset], dims: &[String]) -> Result<Dataset> {
    let Some((dim, rest)) = dims.split_first() else {
        return match tiles {
            [one] => Ok(one.clone()),
            several => Err(LabelError::Invalid(format!(
                "{} datasets have the same labels along every dimension",
                several.len()
            ))),
        };
    };
    // Those of the same labels belong side by side in the other dimensions.
    let mut rows: Vec<(Values, Vec<Dataset>)> = Vec::new();
    for tile in tiles {
        let labels = tile.coord(dim)?.values()?;
        match rows.iter_mut().find(|(own, _)| own.same(labels)) {
            Some((_, row)) => row.push(tile.clone()),
            None => rows.push((labels.clone(), vec![tile.clone()])),
        }
    }
    let lists: Vec<&Values> = rows.iter().map(|(labels, _)| labels).collect();
    let firsts: Vec<Values> = lists
        .iter()
        .map(|labels| labels.take(&[labels.len().min(1) as u64], &[0][..labels.len().min(1)]))
        .collect();
    if firsts.iter().any(Values::is_empty) {
        return Err(LabelError::Invalid(format!(
            "a dataset has no labels along `{dim}`, nothing says where it belongs"
        )));
    }
    let mut order = Values::joined(dim, &firsts.iter().collect::<Vec<_>>())?.order();
    // Latitudes that run from north to south do so from tile to tile.
    let falls = |labels: &Values| labels.len() > 1 && labels.order().first() != Some(&0);
    if lists.iter().any(|labels| falls(labels)) {
        order.reverse();
    }
    let joined: Vec<Dataset> = order.iter().map(|&at| nested(&rows[at].1, rest)).collect::<Result<_>>()?;
    let whole = concat(&joined, dim)?;
    let labels = whole.coord(dim)?.values()?;
    let sorted = labels.order();
    let keys: Vec<Key> = labels.keys();
    let (rises, falls) =
        (sorted.iter().copied().eq(0..sorted.len()), sorted.iter().rev().copied().eq(0..sorted.len()));
    let twice = sorted.windows(2).find(|pair| keys[pair[0]] == keys[pair[1]]);
    if !(rises || falls) || twice.is_some() {
        return Err(LabelError::Invalid(format!(
            "datasets overlap along `{dim}`: joined by their first labels these neither rise nor fall throughout; select the part \
             of each that is to be kept"
        )));
    }
    Ok(whole)
}
