//! Owns orders of rows.

use std::{cmp::Ordering, sync::Arc};

use crate::{column::Column, error::FrameError, group::Grouper, table::DataTable};

/// The order of two rows: by each column in turn, descending where that is said. What is missing comes last either way.
pub(crate) fn order<'a>(
    table: &'a DataTable,
    by: &[(String, bool)],
) -> Result<impl Fn(usize, usize) -> Ordering + 'a, FrameError> {
    let mut columns = Vec::with_capacity(by.len());
    for (name, descending) in by {
        columns.push((table.column(name)?.clone(), *descending));
    }
    Ok(move |a: usize, b: usize| {
        let one = |(column, descending): &(Arc<Column>, bool)| {
            if *descending { column.order_descending(a, b) } else { column.order(a, b) }
        };
        columns.iter().map(one).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    })
}

/// All rows in order; equal ones stay as they were.
pub(crate) fn sorted(table: &DataTable, by: &[(String, bool)]) -> Result<DataTable, FrameError> {
    let order = order(table, by)?;
    let mut rows: Vec<usize> = (0..table.rows).collect();
    rows.sort_by(|&a, &b| order(a, b));
    Ok(table.gather(&rows))
}

/// The first `count` rows in order; of equal ones those that come first.
pub(crate) fn top(table: &DataTable, by: &[(String, bool)], count: usize) -> Result<DataTable, FrameError> {
    let order = order(table, by)?;
    let mut rows: Vec<usize> = (0..table.rows).collect();
    let whole = |a: &usize, b: &usize| order(*a, *b).then(a.cmp(b));
    if count > 0 && count < rows.len() {
        rows.select_nth_unstable_by(count - 1, whole);
    }
    rows.truncate(count);
    rows.sort_unstable_by(whole);
    Ok(table.gather(&rows))
}

/// Rows in ascending order of keys that are all different. A key's values repeat, so each is ordered once, and rows by their
/// values' places.
pub(crate) fn by_keys(keys: &[Arc<Column>], rows: usize) -> Result<Vec<usize>, FrameError> {
    let mut places = vec![0_u128; rows];
    // A row's number is behind its place, so that one comparison tells all.
    let of_row = usize::BITS - rows.leading_zeros();
    let mut bits = of_row;
    for key in keys {
        let mut values = Grouper::new([key.kind]);
        let of_rows = values.assign(std::slice::from_ref(key), rows)?;
        let count = values.len();
        let mut order: Vec<usize> = (0..count).collect();
        let columns = values.columns()?;
        let Some(distinct) = columns.first() else { continue };
        order.sort_unstable_by(|&a, &b| distinct.order(a, b));
        let mut ranks = vec![0_u128; count];
        (0..).zip(order).for_each(|(rank, value)| ranks[value] = rank);
        let width = usize::BITS - count.leading_zeros();
        bits += width;
        if bits > u128::BITS {
            return Ok(slowly(keys, rows));
        }
        for (place, value) in places.iter_mut().zip(of_rows) {
            *place = *place << width | ranks[value as usize];
        }
    }
    let mask = (1 << of_row) - 1;
    (0..).zip(&mut places).for_each(|(row, place)| *place = *place << of_row | row);
    if bits > u64::BITS {
        places.sort_unstable();
        return Ok(places.into_iter().map(|place| (place & mask) as usize).collect());
    }
    let mut places: Vec<u64> = places.into_iter().map(|place| place as u64).collect();
    places.sort_unstable();
    Ok(places.into_iter().map(|place| (place & mask as u64) as usize).collect())
}

/// For keys of more different values than 128 bits can count.
fn slowly(keys: &[Arc<Column>], rows: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows).collect();
    order.sort_unstable_by(|&a, &b| {
        keys.iter().map(|key| key.order(a, b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    });
    order
}
