//! Owns partial results in parts: which groups a part has is a hash of their keys, the same wherever it is computed, so that
//! several can put together what blocks know, each some of the parts.

use std::{ops::Range, sync::Arc};

use super::{Groups, Resolved, State, finish, odd, unnamed};
use crate::{
    column::{Column, ColumnType, Data},
    error::FrameError,
    table::{DataTable, Schema},
};

/// Parts of everything that has keys. More would be more and shorter columns in every block.
const PARTS: usize = 8;

/// How partial results lie in a value: for each part the same number of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    parts: usize,
    tables: usize,
}

impl Layout {
    pub(crate) fn of(keys: usize, aggs: &[Resolved]) -> Self {
        let apart = aggs.iter().filter(|agg| State::new(agg).is_apart()).count();
        Layout { parts: if keys == 0 { 1 } else { PARTS }, tables: 1 + apart }
    }

    /// Among how many the parts can be shared out, of `wanted`.
    pub(crate) fn shares(self, wanted: usize) -> usize {
        wanted.clamp(1, self.parts)
    }

    /// The parts of one share.
    pub(crate) fn share(self, share: usize, shares: usize) -> Range<usize> {
        let bound = |share: usize| self.parts * share.min(shares) / shares.max(1);
        bound(share)..bound(share + 1)
    }

    /// The tables of a part in a value that has all of them.
    pub(crate) fn tables(self, part: usize) -> Range<usize> {
        part * self.tables..(part + 1) * self.tables
    }
}

impl Groups {
    /// What [`partial`](Self::partial) makes, for each part.
    pub(crate) fn parted(self) -> Result<Vec<DataTable>, FrameError> {
        let layout = Layout::of(self.keys.kinds.len(), &self.aggs);
        if layout.parts == 1 {
            return self.partial();
        }
        let part_of = self.keys.parts(layout.parts);
        let mut rows: Vec<Vec<usize>> = vec![Vec::new(); layout.parts];
        // Where in its part a group is.
        let mut places = Vec::with_capacity(part_of.len());
        for (group, &part) in part_of.iter().enumerate() {
            places.push(rows[part].len() as i64);
            rows[part].push(group);
        }
        let whole = self.partial()?;
        let (first, apart) = whole.split_first().ok_or_else(odd)?;
        let mut tables = Vec::with_capacity(layout.parts * layout.tables);
        for (part, rows) in rows.iter().enumerate() {
            tables.push(first.gather(rows));
            for pairs in apart {
                let owners = owners(pairs)?;
                let mine = |row: &usize| part_of[owners[*row] as usize] == part;
                let pairs = pairs.gather(&(0..owners.len()).filter(mine).collect::<Vec<_>>());
                tables.push(renumbered(pairs, |owner| places[owner as usize])?);
            }
        }
        Ok(tables)
    }

    /// A row per group, by ascending keys, of parts that have no group in common.
    pub(crate) fn finish_parts(
        kinds: Vec<ColumnType>,
        aggs: &[Resolved],
        tables: Vec<DataTable>,
        schema: Arc<Schema>,
    ) -> Result<DataTable, FrameError> {
        let layout = Layout::of(kinds.len(), aggs);
        let key_count = kinds.len();
        if tables.is_empty() {
            return Groups::new(kinds, aggs).finish(schema);
        }
        let mut whole: Vec<DataTable> = Vec::with_capacity(layout.tables);
        let mut tables = tables.into_iter();
        while let Some(first) = tables.next() {
            let groups = whole.first().map_or(0, |table| table.rows as i64);
            for (place, table) in
                std::iter::once(first).chain(tables.by_ref().take(layout.tables - 1)).enumerate()
            {
                let table =
                    if place > 0 && groups > 0 { renumbered(table, |owner| owner + groups)? } else { table };
                match whole.get_mut(place) {
                    None => whole.push(table),
                    Some(all) => {
                        for (column, more) in all.columns.iter_mut().zip(&table.columns) {
                            Arc::make_mut(column).append(more)?;
                        }
                        all.rows += table.rows;
                    }
                }
            }
        }
        let mut whole = whole.into_iter();
        let first = whole.next().ok_or_else(odd)?;
        // Everything is one group, also if it is nothing.
        let groups = if key_count == 0 { 1 } else { first.rows };
        let mut columns = first.columns.into_iter().map(Arc::unwrap_or_clone);
        let keys: Vec<Column> = columns.by_ref().take(key_count).collect();
        let states = aggs.iter().map(|agg| match State::new(agg) {
            State::Unique { mut pairs } => {
                let table = whole.next().ok_or_else(odd)?;
                pairs.assign(&table.columns, table.rows)?;
                Ok(State::Unique { pairs })
            }
            state => state.adopt(&mut columns),
        });
        let states = states.collect::<Result<_, FrameError>>()?;
        finish(keys, states, aggs, groups, schema)
    }
}

/// Of pairs of group and value, the groups.
fn owners(pairs: &DataTable) -> Result<&[i64], FrameError> {
    match pairs.columns.first().map(|column| &column.data) {
        Some(Data::Int(owners)) => Ok(owners),
        _ => Err(odd()),
    }
}

/// Pairs of group and value, with other numbers for the groups.
fn renumbered(pairs: DataTable, number: impl Fn(i64) -> i64) -> Result<DataTable, FrameError> {
    let owners = Column::int(owners(&pairs)?.iter().map(|&owner| number(owner)).collect());
    let columns = std::iter::once(owners).chain(pairs.columns.into_iter().skip(1).map(Arc::unwrap_or_clone));
    Ok(unnamed(columns.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{column::Text, expr::Node, group::Function};

    const KINDS: [ColumnType; 3] = [ColumnType::Text, ColumnType::Float64, ColumnType::Int64];

    fn aggs() -> Vec<Resolved> {
        let functions = [
            Function::Count,
            Function::Sum,
            Function::Unique,
            Function::Mean,
            Function::Std,
            Function::Unique,
            Function::Max,
        ];
        let input = Some(Node::Column("x".to_owned()));
        functions
            .map(|function| Resolved { function, input: input.clone(), kind: ColumnType::Float64 })
            .to_vec()
    }

    /// Keys of each kind, some of them missing, and values whose sums depend on their order.
    fn block(seed: u64, rows: usize) -> Groups {
        let mut state = seed;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let (mut texts, mut floats, mut ints) = (Text::default(), Vec::new(), Vec::new());
        let (mut values, mut valid) = (Vec::new(), Vec::new());
        for _ in 0..rows {
            let number = random(40);
            texts
                .push(
                    if number < 20 { format!("k{number}") } else { format!("a longer key {number}") }
                        .as_bytes(),
                )
                .unwrap();
            floats.push([0.0, -0.0, f64::NAN, 1.5][random(4) as usize]);
            ints.push(random(3) as i64);
            valid.push(random(5) > 0);
            values.push(random(1 << 30) as f64 / 7.0);
        }
        let keys = [
            Column::new(ColumnType::Text, Data::Text(texts), Some(valid)),
            Column::float(floats),
            Column::int(ints),
        ];
        let mut groups = Groups::new(KINDS, &aggs());
        let inputs = vec![Some(Arc::new(Column::float(values))); aggs().len()];
        groups.update(&keys.map(Arc::new), &inputs, rows).unwrap();
        groups
    }

    fn bits(table: &DataTable) -> Vec<Vec<u64>> {
        let one = |column: &Arc<Column>| match &column.data {
            Data::Int(v) => v.iter().map(|&v| v as u64).collect(),
            Data::Float(v) => v.iter().map(|v| v.to_bits()).collect(),
            Data::Bool(_) => panic!("no column is one of truths"),
            Data::Text(v) => (0..v.spans.len()).map(|row| crate::column::hash_bytes(v.get(row))).collect(),
        };
        table.columns.iter().map(one).collect()
    }

    #[test]
    fn shares_of_parts_come_to_the_same_bits_as_one_who_does_it_all() {
        let outputs = aggs().into_iter().map(|agg| agg.output());
        let schema =
            Arc::new(Schema(KINDS.into_iter().chain(outputs).map(|kind| (String::new(), kind)).collect()));
        let mut whole = Groups::new(KINDS, &aggs());
        // Some blocks have few groups or none.
        let blocks = || (0..12).map(|number| block(number + 1, [300, 3, 0][number as usize % 3]));
        blocks().for_each(|block| whole.merge(&block.partial().unwrap()).unwrap());
        let expected = whole.finish(schema.clone()).unwrap();
        assert!(expected.rows > 300, "{} groups", expected.rows);
        let parted: Vec<Vec<DataTable>> = blocks().map(|block| block.parted().unwrap()).collect();
        let layout = Layout::of(KINDS.len(), &aggs());
        for wanted in [1, 2, 3, 8, 100] {
            let shares = layout.shares(wanted);
            let mut all = Vec::new();
            for share in 0..shares {
                for part in layout.share(share, shares) {
                    let mut groups = Groups::new(KINDS, &aggs());
                    parted.iter().for_each(|tables| groups.merge(&tables[layout.tables(part)]).unwrap());
                    all.extend(groups.partial().unwrap());
                }
            }
            assert_eq!(all.len(), layout.parts * layout.tables, "each part is in one share of {shares}");
            assert!(
                all.iter().step_by(layout.tables).all(|part| part.rows > 20),
                "parts are of about one size"
            );
            let found = Groups::finish_parts(KINDS.to_vec(), &aggs(), all, schema.clone()).unwrap();
            assert_eq!(bits(&found), bits(&expected), "{shares} shares");
        }
    }
}
