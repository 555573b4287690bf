//! Owns grouping: rows by their keys with what is known of each group. What is known of blocks is put together in a tree of
//! fixed shape, so sums of floats have the same bits whoever computes them.

mod agg;
mod keys;
mod parts;
mod state;

use std::sync::Arc;

pub use self::agg::{Agg, count_rows};
use self::state::{Partial, State};
pub(crate) use self::{
    agg::{Function, Resolved},
    keys::{Grouper, hash},
    parts::Layout,
};
use crate::{
    column::{Column, ColumnType},
    error::FrameError,
    sort,
    table::{DataTable, Schema},
};

/// Groups with what is known of them.
pub(crate) struct Groups {
    keys: Grouper,
    states: Vec<State>,
    aggs: Vec<Resolved>,
}

impl Groups {
    pub(crate) fn new(kinds: impl IntoIterator<Item = ColumnType>, aggs: &[Resolved]) -> Self {
        Groups {
            keys: Grouper::new(kinds),
            states: aggs.iter().map(State::new).collect(),
            aggs: aggs.to_vec(),
        }
    }

    /// Takes in rows: their keys, and for each aggregation its input.
    pub(crate) fn update(
        &mut self,
        keys: &[Arc<Column>],
        inputs: &[Option<Arc<Column>>],
        rows: usize,
    ) -> Result<(), FrameError> {
        let groups = self.keys.assign(keys, rows)?;
        for (state, input) in self.states.iter_mut().zip(inputs) {
            state.grow(self.keys.len());
            state.update(&groups, input.as_ref())?;
        }
        Ok(())
    }

    /// As tables that [`merge`](Self::merge) takes in: keys and states by row, and a table for each state that is not.
    pub(crate) fn partial(self) -> Result<Vec<DataTable>, FrameError> {
        let rows = self.keys.len();
        let mut columns = self.keys.columns()?;
        let mut apart = Vec::new();
        for state in self.states {
            match state.partial()? {
                Partial::Rows(more) => columns.extend(more),
                Partial::Apart(pairs) => apart.push(unnamed(pairs)),
            }
        }
        let mut tables = vec![unnamed(columns)];
        // Without keys and states by row nobody else knows how many there are.
        tables[0].rows = rows;
        tables.extend(apart);
        Ok(tables)
    }

    pub(crate) fn merge(&mut self, tables: &[DataTable]) -> Result<(), FrameError> {
        let (first, mut apart) = tables.split_first().ok_or_else(odd)?;
        let key_count = self.keys.kinds.len();
        let mut columns = first.columns.get(key_count..).ok_or_else(odd)?;
        let groups = self.keys.assign(&first.columns[..key_count], first.rows)?;
        for state in &mut self.states {
            state.grow(self.keys.len());
            let count = match state {
                State::Count(_) | State::SumInt(_) | State::SumFloat(_) | State::Best { .. } => 1,
                State::Mean { .. } => 2,
                State::Moments { .. } => 3,
                State::Unique { .. } => 0,
            };
            if count == 0 {
                let (table, rest) = apart.split_first().ok_or_else(odd)?;
                apart = rest;
                state.merge(&groups, &table.columns)?;
            } else {
                let (own, rest) = columns.split_at_checked(count).ok_or_else(odd)?;
                columns = rest;
                state.merge(&groups, own)?;
            }
        }
        Ok(())
    }

    /// A row per group, by ascending keys.
    pub(crate) fn finish(self, schema: Arc<Schema>) -> Result<DataTable, FrameError> {
        // Everything is one group, also if it is nothing.
        let groups = if self.keys.kinds.is_empty() { 1 } else { self.keys.len() };
        finish(self.keys.columns()?, self.states, &self.aggs, groups, schema)
    }
}

fn finish(
    keys: Vec<Column>,
    states: Vec<State>,
    aggs: &[Resolved],
    groups: usize,
    schema: Arc<Schema>,
) -> Result<DataTable, FrameError> {
    let mut columns: Vec<Arc<Column>> = keys.into_iter().map(Arc::new).collect();
    let rows = sort::by_keys(&columns, groups)?;
    for (mut state, agg) in states.into_iter().zip(aggs) {
        state.grow(groups);
        columns.push(Arc::new(state.finish(agg.function, groups)?));
    }
    Ok(DataTable::from_parts(schema, columns, groups).gather(&rows))
}

/// Columns on their way: what they are called says nothing.
fn unnamed(columns: Vec<Column>) -> DataTable {
    let rows = columns.first().map_or(0, Column::len);
    let schema = columns.iter().map(|column| (String::new(), column.kind)).collect();
    DataTable::from_parts(Arc::new(Schema(schema)), columns.into_iter().map(Arc::new).collect(), rows)
}

/// Cannot happen: states are made for the columns they get.
fn odd() -> FrameError {
    FrameError::Invalid("a group's state met a column of another type than it was made for".to_owned())
}
