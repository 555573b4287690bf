//! Owns rows on their way: where they come from, and what is done with them before the end of their block.

use std::sync::Arc;

use nuna_plan::{TaskError, Value};
use serde::{Deserialize, Serialize};

use crate::{
    column::{Column, ColumnType},
    csv::CsvScan,
    divide::Divided,
    error::FrameError,
    eval,
    expr::Node,
    join::Join,
    parquet::ParquetScan,
    table::{DataTable, Schema},
};

/// What a block needs beside what it hands on: a window of the file, some thousand rows of it, and their groups.
pub(crate) const SCRATCH_BYTES: u64 = 16 << 20;
/// Rows of a table in memory that are looked at together.
pub(crate) const MEMORY_ROWS: usize = 1 << 16;

/// Where rows come from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Source {
    Csv(CsvScan),
    Parquet(ParquetScan),
    Memory(DataTable),
    /// Parts that other blocks have made.
    Divided(Divided),
}

impl Source {
    pub(crate) fn blocks(&self) -> u64 {
        match self {
            Source::Csv(scan) => scan.source.blocks,
            Source::Parquet(scan) => scan.blocks(),
            Source::Memory(_) => 1,
            Source::Divided(divided) => divided.parts,
        }
    }

    pub(crate) fn block_bytes(&self) -> u64 {
        match self {
            Source::Csv(scan) => scan.source.block_bytes,
            Source::Parquet(scan) => scan.block_bytes(),
            Source::Memory(table) => table.rows as u64 * 8 * table.columns.len() as u64,
            Source::Divided(divided) => divided.block_bytes(),
        }
    }

    /// What reading a block needs beside what it hands on.
    pub(crate) fn scratch_bytes(&self) -> u64 {
        match self {
            Source::Csv(_) | Source::Memory(_) => SCRATCH_BYTES,
            Source::Divided(divided) => SCRATCH_BYTES.saturating_add(divided.block_bytes().saturating_mul(2)),
            Source::Parquet(scan) => SCRATCH_BYTES.saturating_add(scan.scratch_bytes()),
        }
    }

    pub(crate) fn schema(&self) -> Arc<Schema> {
        match self {
            Source::Csv(scan) => scan.schema(),
            Source::Parquet(scan) => scan.schema(),
            Source::Memory(table) => table.schema.clone(),
            Source::Divided(divided) => divided.schema.clone(),
        }
    }
}

/// What is done with rows on their way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum RowOp {
    Filter(Node),
    Project(Vec<(String, Node, ColumnType)>),
    Join(Join),
}

/// Rows from one source to the end of their block.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pipeline {
    pub(crate) source: Source,
    pub(crate) ops: Vec<RowOp>,
}

impl Pipeline {
    pub(crate) fn schema(&self) -> Arc<Schema> {
        let mut schema = self.source.schema();
        for op in &self.ops {
            match op {
                RowOp::Filter(_) => {}
                RowOp::Project(items) => {
                    let items = items.iter().map(|(name, _, kind)| (name.clone(), *kind));
                    schema = Arc::new(Schema(items.collect()));
                }
                RowOp::Join(join) => {
                    let mut joined = Schema::clone(&schema);
                    joined.0.extend(join.right.schema.0.iter().cloned());
                    schema = Arc::new(joined);
                }
            }
        }
        schema
    }

    /// Hands on a block's rows, some thousand at a time.
    pub(crate) fn run(
        &self,
        block: u64,
        values: &[Value],
        take: &mut dyn FnMut(DataTable) -> Result<(), TaskError>,
    ) -> Result<u64, TaskError> {
        let mut through = |mut table: DataTable| {
            for op in &self.ops {
                if table.rows == 0 {
                    return Ok(());
                }
                table = apply(op, table)?;
            }
            if table.rows > 0 { take(table) } else { Ok(()) }
        };
        match &self.source {
            Source::Csv(scan) => scan.run(block, &mut through),
            Source::Parquet(scan) => scan.run(block, &mut through).map(|()| 0),
            Source::Memory(table) => piecewise(table, &mut through).map(|()| table.skipped),
            Source::Divided(divided) => {
                let (table, skipped) = divided.gather(values)?;
                piecewise(&table, &mut through).map(|()| skipped)
            }
        }
    }
}

/// Hands on a table in memory, some thousand rows at a time.
fn piecewise(
    table: &DataTable,
    take: &mut dyn FnMut(DataTable) -> Result<(), TaskError>,
) -> Result<(), TaskError> {
    let mut start = 0;
    while start < table.rows {
        let end = (start + MEMORY_ROWS).min(table.rows);
        let rows: Vec<usize> = (start..end).collect();
        take(if end - start == table.rows { table.clone() } else { table.gather(&rows) })?;
        start = end;
    }
    Ok(())
}

fn apply(op: &RowOp, table: DataTable) -> Result<DataTable, FrameError> {
    match op {
        RowOp::Filter(node) => Ok(table.filter(&eval::mask(node, &table)?)),
        RowOp::Project(items) => {
            let columns: Vec<Arc<Column>> =
                items.iter().map(|(_, node, _)| eval::eval(node, &table)).collect::<Result<_, _>>()?;
            let schema = items.iter().map(|(name, _, kind)| (name.clone(), *kind)).collect();
            Ok(DataTable::from_parts(Arc::new(Schema(schema)), columns, table.rows))
        }
        RowOp::Join(join) => join.run(&table),
    }
}
