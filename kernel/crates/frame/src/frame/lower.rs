//! Owns turning a frame into what blocks do: pipelines from files to the end of a block, with no more columns than are needed
//! and filters as early as they can be.

use std::sync::Arc;

use super::{Frame, Logical};
use crate::{
    column::ColumnType,
    csv::CsvScan,
    error::FrameError,
    exec::{Job, Pipeline, RowOp, Sink, Source, parities},
    expr::Node,
    join::{Join, RIGHT_BYTES_MAX},
    parquet::ParquetScan,
    sort,
    table::{DataTable, Schema},
};

impl Frame {
    /// Computes it. The result has to fit into memory here.
    ///
    /// # Errors
    /// If a file cannot be read or holds what it should not: file, line and column are named.
    pub fn compute(&self) -> Result<DataTable, FrameError> {
        let label = self.label();
        let job = |frame: &Frame, sink: Sink, schema: &Arc<Schema>, needed: &[String]| {
            Ok::<Job, FrameError>(Job {
                pipelines: frame.lower(needed)?,
                sink,
                schema: schema.clone(),
                first_block: 0,
            })
        };
        match &*self.logical {
            Logical::Memory(table) => Ok(table.clone()),
            Logical::Group { frame, keys, aggs } => {
                let mut needed = Vec::new();
                keys.iter().for_each(|(_, node, _)| node.columns(&mut needed));
                aggs.iter()
                    .filter_map(|(_, agg)| agg.input.as_ref())
                    .for_each(|node| node.columns(&mut needed));
                let keys = keys.iter().map(|(_, node, kind)| (node.clone(), *kind)).collect();
                let aggs = aggs.iter().map(|(_, agg)| agg.clone()).collect();
                job(frame, Sink::Group { keys, aggs }, &self.schema, &needed)?.execute(&label)
            }
            Logical::Top(frame, by, count) => {
                let sink = Sink::Top { by: by.clone(), count: *count };
                job(frame, sink, &self.schema, &self.columns())?.execute(&label)
            }
            Logical::Head(frame, count) => {
                job(frame, Sink::Head(*count), &self.schema, &self.columns())?.execute(&label)
            }
            Logical::Sort(frame, by) => sort::sorted(&frame.compute()?, by),
            Logical::Csv(_)
            | Logical::Parquet(_)
            | Logical::Filter(..)
            | Logical::Project(..)
            | Logical::Join { .. }
            | Logical::Concat(_) => job(self, Sink::Rows, &self.schema, &self.columns())?.execute(&label),
        }
    }

    /// Pipelines that end with these columns and no others, in order.
    pub(crate) fn exactly(&self) -> Result<Vec<Pipeline>, FrameError> {
        let mut pipelines = self.lower(&self.columns())?;
        for pipeline in &mut pipelines {
            if pipeline.schema() != self.schema {
                let item =
                    |(name, kind): &(String, ColumnType)| (name.clone(), Node::Column(name.clone()), *kind);
                pipeline.ops.push(RowOp::Project(self.schema.0.iter().map(item).collect()));
            }
        }
        Ok(pipelines)
    }

    /// What each block does up to here, with at least these columns at the end. What has to be known as a whole first is
    /// computed now.
    fn lower(&self, needed: &[String]) -> Result<Vec<Pipeline>, FrameError> {
        let with = |more: &mut dyn FnMut(&mut Vec<String>)| {
            let mut all = needed.to_vec();
            more(&mut all);
            all
        };
        let wanted = |schema: &Schema| {
            let mut wanted: Vec<usize> =
                needed.iter().map(|name| schema.position(name)).collect::<Result<_, FrameError>>()?;
            wanted.sort_unstable();
            wanted.dedup();
            Ok::<_, FrameError>(wanted)
        };
        Ok(match &*self.logical {
            Logical::Parquet(source) => {
                let scan = ParquetScan::new(source.clone(), wanted(&source.schema)?);
                vec![Pipeline { source: Source::Parquet(scan), ops: Vec::new() }]
            }
            Logical::Csv(source) => {
                let wanted = wanted(&source.schema)?;
                let in_quotes = if source.dialect.multiline { parities(source)? } else { Vec::new() };
                let scan = CsvScan { source: source.clone(), wanted, filters: Vec::new(), in_quotes };
                vec![Pipeline { source: Source::Csv(scan), ops: Vec::new() }]
            }
            Logical::Filter(frame, node) => {
                let mut pipelines = frame.lower(&with(&mut |all| node.columns(all)))?;
                pipelines.iter_mut().for_each(|pipeline| pipeline.filter(node));
                pipelines
            }
            Logical::Project(frame, items) => {
                let items: Vec<_> =
                    items.iter().filter(|(name, _, _)| needed.contains(name)).cloned().collect();
                let mut inner = Vec::new();
                items.iter().for_each(|(_, node, _)| node.columns(&mut inner));
                let mut pipelines = frame.lower(&inner)?;
                for pipeline in &mut pipelines {
                    pipeline.ops.push(RowOp::Project(items.clone()));
                }
                pipelines
            }
            Logical::Join { left, right, keys, renamed, keeps_left } => {
                let table = right.compute()?;
                let join = small_side(&table, keys, renamed, needed, *keeps_left)?;
                let left_needed: Vec<String> = with(&mut |all| all.extend(keys.iter().cloned()))
                    .into_iter()
                    .filter(|name| left.schema.position(name).is_ok())
                    .collect();
                let mut pipelines = left.lower(&left_needed)?;
                for pipeline in &mut pipelines {
                    pipeline.ops.push(RowOp::Join(join.clone()));
                }
                pipelines
            }
            Logical::Concat(frames) => {
                let pipelines: Vec<Vec<Pipeline>> =
                    frames.iter().map(|frame| frame.lower(needed)).collect::<Result<_, _>>()?;
                pipelines.into_iter().flatten().collect()
            }
            Logical::Memory(_)
            | Logical::Group { .. }
            | Logical::Sort(..)
            | Logical::Top(..)
            | Logical::Head(..) => {
                vec![Pipeline { source: Source::Memory(self.compute()?), ops: Vec::new() }]
            }
        })
    }
}

/// The small table of a join as workers get it, without columns that nobody reads.
fn small_side(
    table: &DataTable,
    keys: &[String],
    renamed: &[(String, String)],
    needed: &[String],
    keeps_left: bool,
) -> Result<Join, FrameError> {
    let pick = |pairs: &[(String, String)]| {
        let mut schema = Vec::new();
        let mut columns = Vec::new();
        for (from, to) in pairs {
            let column = table.column(from)?.clone();
            schema.push((to.clone(), column.kind));
            columns.push(column);
        }
        Ok::<DataTable, FrameError>(DataTable::from_parts(Arc::new(Schema(schema)), columns, table.rows))
    };
    let key_pairs: Vec<_> = keys.iter().map(|key| (key.clone(), key.clone())).collect();
    let others: Vec<_> = renamed.iter().filter(|(_, to)| needed.contains(to)).cloned().collect();
    let (right_keys, right) = (pick(&key_pairs)?, pick(&others)?);
    let bytes = right_keys.byte_count() + right.byte_count();
    if bytes > RIGHT_BYTES_MAX {
        return Err(FrameError::Invalid(format!(
            "join on {}: the table on the right has {bytes} bytes, and every worker gets a copy, so the limit is {RIGHT_BYTES_MAX}; put the larger one on the left, or filter the right one first",
            keys.join(", ")
        )));
    }
    Ok(Join { keys: keys.to_vec(), right_keys, right, keeps_left, index: Default::default() })
}

impl Pipeline {
    /// Applies a filter as early as it can be.
    fn filter(&mut self, node: &Node) {
        let (mut node, mut place) = (node.clone(), self.ops.len());
        while place > 0 {
            match &self.ops[place - 1] {
                RowOp::Filter(_) => {}
                RowOp::Project(items) => {
                    let plain = |name: &str| {
                        items.iter().find(|(to, _, _)| to == name).and_then(|(_, node, _)| match node {
                            Node::Column(from) => Some(from.clone()),
                            _ => None,
                        })
                    };
                    match node.renamed(&plain) {
                        Some(renamed) => node = renamed,
                        None => break,
                    }
                }
                RowOp::Join(join) => {
                    let mut names = Vec::new();
                    node.columns(&mut names);
                    if names.iter().any(|name| join.right.schema.position(name).is_ok()) {
                        break;
                    }
                }
            }
            place -= 1;
        }
        match (&mut self.source, place) {
            (Source::Csv(scan), 0) => scan.filters.push(node),
            (Source::Parquet(scan), 0) => scan.filter(node),
            _ => self.ops.insert(place, RowOp::Filter(node)),
        }
    }
}
