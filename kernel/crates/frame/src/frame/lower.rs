//! Owns turning a frame into what blocks do: pipelines from files to the end of a block, with no more columns than are needed
//! and filters as early as they can be.

use std::sync::Arc;

use super::{Frame, Logical};
use crate::{
    column::ColumnType,
    csv::CsvScan,
    divide::{By, Divided, Then},
    error::FrameError,
    exec::{Job, Sink},
    expr::Node,
    group::Resolved,
    join::{Join, RIGHT_BYTES_MAX},
    parquet::ParquetScan,
    pipeline::{Pipeline, RowOp, Source},
    sort,
    stages::parities,
    table::{DataTable, Schema},
};

/// What one process sorts before it is written, unless something else is said, and how large parts are then.
const SORT_BYTES: u64 = 512 << 20;
const PART_BYTES: u64 = 64 << 20;

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
            Logical::Group { frame, keys, aggs, parts: None } => {
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
            Logical::Sort(frame, by, None) => sort::sorted(&frame.compute()?, by),
            Logical::Sort(_, _, Some(_))
            | Logical::Group { parts: Some(_), .. }
            | Logical::Csv(_)
            | Logical::Parquet(_)
            | Logical::Filter(..)
            | Logical::Project(..)
            | Logical::Join { .. }
            | Logical::Concat(_) => job(self, Sink::Rows, &self.schema, &self.columns())?.execute(&label),
        }
    }

    /// Pipelines that end with these columns and no others, in order.
    pub(crate) fn exactly(&self) -> Result<Vec<Pipeline>, FrameError> {
        let item = |(name, kind): &(String, ColumnType)| (name.clone(), Node::Column(name.clone()), *kind);
        self.ending_with(&self.schema.0.iter().map(item).collect::<Vec<_>>())
    }

    /// Pipelines that end with these columns.
    fn ending_with(&self, items: &[(String, Node, ColumnType)]) -> Result<Vec<Pipeline>, FrameError> {
        let mut needed = Vec::new();
        items.iter().for_each(|(_, node, _)| node.columns(&mut needed));
        let mut pipelines = self.lower(&needed)?;
        for pipeline in &mut pipelines {
            let schema = pipeline.schema();
            let same = |((name, node, kind), own): (&(String, Node, ColumnType), &(String, ColumnType))| {
                *node == Node::Column(name.clone()) && *own == (name.clone(), *kind)
            };
            if schema.0.len() != items.len() || !items.iter().zip(&schema.0).all(same) {
                pipeline.ops.push(RowOp::Project(items.to_vec()));
            }
        }
        Ok(pipelines)
    }

    /// A pipeline over the parts into which the cluster divides these columns of the frame's rows.
    fn divided(
        &self,
        items: &[(String, Node, ColumnType)],
        by: By,
        then: Then,
        parts: u64,
        schema: Arc<Schema>,
    ) -> Result<Vec<Pipeline>, FrameError> {
        let job = |items: &[(String, Node, ColumnType)]| {
            let schema = Schema(items.iter().map(|(name, _, kind)| (name.clone(), *kind)).collect());
            let pipelines = self.ending_with(items)?;
            Ok::<Job, FrameError>(Job {
                pipelines,
                sink: Sink::Rows,
                schema: Arc::new(schema),
                first_block: 0,
            })
        };
        let is_key = |(name, _, _): &&(String, Node, ColumnType)| by.iter().any(|(key, _)| key == name);
        let keys = job(&items.iter().filter(is_key).cloned().collect::<Vec<_>>())?;
        let source = if keys.blocks() == 0 {
            // Bounds of files leave everything out.
            Source::Memory(DataTable::empty(schema))
        } else {
            Source::Divided(Divided::new(job(items)?, keys, by, then, parts, schema)?)
        };
        Ok(vec![Pipeline { source, ops: Vec::new() }])
    }

    /// The same, in parts if it is a sort that may be too large for one process.
    pub(crate) fn split_if_large(&self) -> Result<Frame, FrameError> {
        let Logical::Sort(frame, by, None) = &*self.logical else { return Ok(self.clone()) };
        if by.is_empty() {
            return Ok(self.clone());
        }
        let pipelines = frame.lower(&frame.columns())?;
        let bytes = Job { pipelines, sink: Sink::Rows, schema: self.schema.clone(), first_block: 0 }.bytes();
        if bytes <= SORT_BYTES { Ok(self.clone()) } else { self.split_into(bytes.div_ceil(PART_BYTES)) }
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
                let mut all = Vec::new();
                for frame in frames {
                    let pipelines = frame.lower(needed)?;
                    let is_divided = |pipeline: &Pipeline| matches!(pipeline.source, Source::Divided(_));
                    if frames.len() > 1 && pipelines.iter().any(is_divided) {
                        // Blocks of a plan read the same stages, so parts and files do not go together.
                        all.push(Pipeline { source: Source::Memory(frame.compute()?), ops: Vec::new() });
                    } else {
                        all.extend(pipelines);
                    }
                }
                all
            }
            Logical::Sort(frame, by, Some(parts)) => {
                let wanted = with(&mut |all| all.extend(by.iter().map(|(name, _)| name.clone())));
                let named =
                    |(name, kind): &(String, ColumnType)| (name.clone(), Node::Column(name.clone()), *kind);
                let items: Vec<_> =
                    self.schema.0.iter().filter(|(name, _)| wanted.contains(name)).map(named).collect();
                let schema = Schema(items.iter().map(|(name, _, kind)| (name.clone(), *kind)).collect());
                frame.divided(&items, by.clone(), Then::Sort, *parts, Arc::new(schema))?
            }
            Logical::Group { frame, keys, aggs, parts: Some(parts) } => {
                // Named anew, since keys may be called as what is made of them.
                let mut items = Vec::new();
                let mut column = |node: &Node, kind: ColumnType| {
                    let name = items.len().to_string();
                    items.push((name.clone(), node.clone(), kind));
                    Node::Column(name)
                };
                let keys: Vec<_> = keys.iter().map(|(_, node, kind)| (column(node, *kind), *kind)).collect();
                let by = (0..keys.len()).map(|place| (place.to_string(), false)).collect();
                let agg = |(_, agg): &(String, Resolved)| {
                    let input = agg.input.as_ref().map(|node| column(node, agg.kind));
                    Resolved { input, ..agg.clone() }
                };
                let aggs = aggs.iter().map(agg).collect();
                frame.divided(&items, by, Then::Group { keys, aggs }, *parts, self.schema.clone())?
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
