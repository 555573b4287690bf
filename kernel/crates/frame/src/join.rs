//! Owns joins: rows of a large table with those of a small one that have the same keys.

use std::sync::{Arc, OnceLock};

use hashbrown::HashTable;
use serde::{Deserialize, Serialize};

use crate::{
    column::Column,
    error::FrameError,
    group::hash,
    table::{DataTable, Schema},
};

/// The small table may take so much: every worker gets a copy.
pub(crate) const RIGHT_BYTES_MAX: u64 = 32 << 20;

/// What a worker needs to join rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Join {
    pub(crate) keys: Vec<String>,
    /// The small table's keys, named as in the large one.
    pub(crate) right_keys: DataTable,
    /// Its other columns, named as in the result.
    pub(crate) right: DataTable,
    /// Rows without a partner stay, with nothing in the small table's columns.
    pub(crate) keeps_left: bool,
    #[serde(skip)]
    pub(crate) index: Index,
}

/// Rows of the small table by their keys; made by the first block that needs it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index(OnceLock<Arc<Lookup>>);

#[derive(Debug)]
struct Lookup {
    /// The first row of each key.
    table: HashTable<u32>,
    hashes: Vec<u64>,
    /// For each row the next one of the same key.
    next: Vec<u32>,
}

const NONE: u32 = u32::MAX;

impl Join {
    fn lookup(&self) -> Arc<Lookup> {
        let make = || {
            let keys = &self.right_keys.columns;
            let rows = self.right_keys.rows;
            let hashes = hash(keys, rows);
            let mut table: HashTable<u32> = HashTable::with_capacity(rows);
            let mut next = vec![NONE; rows];
            // From the last row, so that rows of a key follow one another in order.
            for row in (0..rows).rev() {
                // What is missing has no partner.
                if !keys.iter().all(|key| key.is_valid(row)) {
                    continue;
                }
                let same = |&other: &u32| keys.iter().all(|key| key.same(row, key, other as usize));
                match table.find_mut(hashes[row], same) {
                    Some(first) => next[row] = std::mem::replace(first, row as u32),
                    None => {
                        table.insert_unique(hashes[row], row as u32, |&row| hashes[row as usize]);
                    }
                }
            }
            Arc::new(Lookup { table, hashes, next })
        };
        self.index.0.get_or_init(make).clone()
    }

    /// The rows of `left`, in order, each as often as it has partners.
    pub(crate) fn run(&self, left: &DataTable) -> Result<DataTable, FrameError> {
        let keys: Vec<Arc<Column>> =
            self.keys.iter().map(|key| Ok(left.column(key)?.clone())).collect::<Result<_, FrameError>>()?;
        let lookup = self.lookup();
        let (mut own, mut others) = (Vec::new(), Vec::new());
        for (row, &hash) in hash(&keys, left.rows).iter().enumerate() {
            let is_there = keys.iter().all(|key| key.is_valid(row));
            let found = lookup.table.find(hash, |&other| {
                let pairs = keys.iter().zip(&self.right_keys.columns);
                is_there
                    && lookup.hashes[other as usize] == hash
                    && pairs.into_iter().all(|(key, right)| key.same(row, right, other as usize))
            });
            let mut partner = found.copied().unwrap_or(NONE);
            if partner == NONE && self.keeps_left {
                own.push(row);
                others.push(None);
            }
            while partner != NONE {
                own.push(row);
                others.push(Some(partner as usize));
                partner = lookup.next[partner as usize];
            }
        }
        let mut joined = left.gather(&own);
        let mut schema = Schema::clone(&joined.schema);
        schema.0.extend(self.right.schema.0.iter().cloned());
        joined.schema = Arc::new(schema);
        joined.columns.extend(self.right.columns.iter().map(|column| Arc::new(column.gather_or(&others))));
        Ok(joined)
    }
}
