//! Owns [`Frame`]: what is to be computed, checked as it is said, and turned into what blocks do when it is asked for.

use std::sync::Arc;

use crate::{
    column::ColumnType,
    csv::{CsvOptions, CsvScan, CsvSource},
    error::FrameError,
    exec::{Job, Pipeline, RowOp, Sink, Source, parities},
    expr::{Expr, Node, col},
    group::{Agg, Resolved},
    join::{Join, RIGHT_BYTES_MAX},
    sort,
    table::{DataTable, Schema},
};

/// A table that is computed when it is asked for: columns of files, and what is done with their rows.
///
/// ```text
/// let usage = scan_csv("/gpfs/usage/*.csv")?;
/// let daily = usage
///     .with_column("day", col("ctime").date())?
///     .groupby(["user", "project", "day"])?
///     .agg([count_rows(), col("size").sum()])?
///     .compute()?;
/// ```
#[derive(Clone, Debug)]
pub struct Frame {
    logical: Arc<Logical>,
    schema: Arc<Schema>,
}

#[derive(Debug)]
enum Logical {
    Csv(Arc<CsvSource>),
    Memory(DataTable),
    Filter(Frame, Node),
    Project(Frame, Vec<(String, Node, ColumnType)>),
    Group { frame: Frame, keys: Vec<(String, Node, ColumnType)>, aggs: Vec<(String, Resolved)> },
    Join { left: Frame, right: Frame, keys: Vec<String>, renamed: Vec<(String, String)>, keeps_left: bool },
    Sort(Frame, Vec<(String, bool)>),
    Top(Frame, Vec<(String, bool)>, usize),
    Head(Frame, usize),
    Concat(Vec<Frame>),
}

/// A frame of CSV files: one path, or a pattern such as `runs/*/out-??.csv`. Types of columns are guessed from the first MiB of
/// the first file, in the order of names; a field that does not fit later is an error that says where it is.
///
/// # Errors
/// If there is no such file, or the first one cannot be read.
pub fn scan_csv(pattern: impl AsRef<std::path::Path>) -> Result<Frame, FrameError> {
    scan_csv_with(pattern, CsvOptions::default())
}

/// [`scan_csv`] with another delimiter, types of columns, and more.
///
/// # Errors
/// As [`scan_csv`].
pub fn scan_csv_with(pattern: impl AsRef<std::path::Path>, options: CsvOptions) -> Result<Frame, FrameError> {
    let pattern = pattern.as_ref().display().to_string();
    let paths = files(&pattern)?;
    let source = CsvSource::open(&pattern, &paths, &options)?;
    let schema = Arc::new(source.schema.clone());
    Ok(Frame { logical: Arc::new(Logical::Csv(source)), schema })
}

/// The files of a pattern, in the order of their names, with absolute paths: workers may be elsewhere in the tree.
fn files(pattern: &str) -> Result<Vec<String>, FrameError> {
    let none = || FrameError::NoFiles { pattern: pattern.to_owned() };
    let absolute = |path: &std::path::Path| match std::path::absolute(path) {
        Ok(path) => path.display().to_string(),
        Err(_) => path.display().to_string(),
    };
    // A file may be called like a pattern.
    let plain = std::path::Path::new(pattern);
    if plain.exists() {
        return Ok(vec![absolute(plain)]);
    }
    let wrong =
        |error: glob::PatternError| FrameError::Invalid(format!("`{pattern}` is no pattern: {error}"));
    let mut paths = Vec::new();
    for path in glob::glob(pattern).map_err(wrong)? {
        let unreadable = |error: glob::GlobError| FrameError::File {
            path: error.path().display().to_string(),
            message: error.error().to_string(),
        };
        paths.push(absolute(&path.map_err(unreadable)?));
    }
    paths.sort();
    if paths.is_empty() { Err(none()) } else { Ok(paths) }
}

/// One below another. All have the same columns, in any order.
///
/// # Errors
/// If there is none, or one has other columns or types.
pub fn concat_frames(frames: &[Frame]) -> Result<Frame, FrameError> {
    let Some(first) = frames.first() else {
        return Err(FrameError::Invalid("there are no frames to put one below another".to_owned()));
    };
    let same = |frame: &Frame| {
        if frame.schema == first.schema {
            return Ok(frame.clone());
        }
        let differ = || {
            FrameError::Invalid(format!(
                "frames with other columns cannot be put one below another: {} and {}",
                first.describe_columns(),
                frame.describe_columns()
            ))
        };
        let fits = |(name, kind): &(String, ColumnType)| frame.schema.kind(name).is_ok_and(|k| k == *kind);
        if frame.schema.0.len() != first.schema.0.len() || !first.schema.0.iter().all(fits) {
            return Err(differ());
        }
        frame.select(first.columns())
    };
    let frames = frames.iter().map(same).collect::<Result<_, _>>()?;
    Ok(Frame { schema: first.schema.clone(), logical: Arc::new(Logical::Concat(frames)) })
}

/// Columns by name, or as expressions: `"user"`, `["user", "day"]`, `[col("t").year().named("year")]`.
pub trait IntoColumns {
    fn into_columns(self) -> Vec<Expr>;
}

macro_rules! into_columns {
    ($([$($generic:tt)*] $from:ty, $value:ident => $columns:expr);* $(;)?) => {$(
        impl<$($generic)*> IntoColumns for $from {
            fn into_columns(self) -> Vec<Expr> {
                let $value = self;
                $columns
            }
        }
    )*};
}

into_columns! {
    [] &str, name => vec![col(name)];
    [] String, name => vec![col(&name)];
    [] &String, name => vec![col(name)];
    [] Expr, expr => vec![expr];
    [const N: usize] [&str; N], names => names.into_iter().map(col).collect();
    [const N: usize] [String; N], names => names.iter().map(|name| col(name)).collect();
    [const N: usize] [Expr; N], exprs => exprs.into();
    [] &[&str], names => names.iter().map(|name| col(name)).collect();
    [] &[String], names => names.iter().map(|name| col(name)).collect();
    [] Vec<&str>, names => names.into_iter().map(col).collect();
    [] Vec<String>, names => names.iter().map(|name| col(name)).collect();
    [] Vec<Expr>, exprs => exprs;
}

/// A group's keys may be so many: which of them are missing is a word of bits.
const KEYS_MAX: usize = 64;

/// Names alone.
fn names(columns: impl IntoColumns) -> Result<Vec<String>, FrameError> {
    let one = |expr: Expr| match &*expr.node {
        Node::Column(name) => Ok(name.clone()),
        _ => Err(FrameError::Types {
            expression: expr.to_string(),
            message: "a column of the frame is needed here; make it one with `.with_column(…)`".to_owned(),
        }),
    };
    columns.into_columns().into_iter().map(one).collect()
}

impl From<DataTable> for Frame {
    fn from(table: DataTable) -> Self {
        Frame { schema: table.schema.clone(), logical: Arc::new(Logical::Memory(table)) }
    }
}

impl From<&DataTable> for Frame {
    fn from(table: &DataTable) -> Self {
        table.clone().into()
    }
}

impl From<&Frame> for Frame {
    fn from(frame: &Frame) -> Self {
        frame.clone()
    }
}

impl DataTable {
    /// The same as a frame, for what frames can do.
    pub fn frame(&self) -> Frame {
        self.into()
    }
}

impl Frame {
    fn of(logical: Logical, schema: Schema) -> Result<Frame, FrameError> {
        Ok(Frame { logical: Arc::new(logical), schema: Arc::new(schema.check()?) })
    }

    /// Names of the columns, in order.
    pub fn columns(&self) -> Vec<String> {
        self.schema.names()
    }

    /// # Errors
    /// [`FrameError::NoColumn`].
    pub fn column_type(&self, name: &str) -> Result<ColumnType, FrameError> {
        self.schema.kind(name)
    }

    pub(crate) fn describe_columns(&self) -> String {
        let columns: Vec<String> =
            self.schema.0.iter().map(|(name, kind)| format!("{name} ({kind})")).collect();
        columns.join(", ")
    }

    fn resolve(&self, expr: &Expr) -> Result<(String, Node, ColumnType), FrameError> {
        let (node, kind) = expr.node.resolve(&self.schema)?;
        Ok((expr.output_name(), node, kind))
    }

    /// These columns, by name or computed, in this order.
    ///
    /// # Errors
    /// If a column is not there, two have one name, or an expression does not fit its columns' types.
    pub fn select(&self, columns: impl IntoColumns) -> Result<Frame, FrameError> {
        let items: Vec<_> =
            columns.into_columns().iter().map(|expr| self.resolve(expr)).collect::<Result<_, _>>()?;
        let schema = Schema(items.iter().map(|(name, _, kind)| (name.clone(), *kind)).collect());
        Self::of(Logical::Project(self.clone(), items), schema)
    }

    /// All columns but these.
    ///
    /// # Errors
    /// If one is not there.
    pub fn drop(&self, columns: impl IntoColumns) -> Result<Frame, FrameError> {
        let dropped = names(columns)?;
        dropped.iter().try_for_each(|name| self.schema.position(name).map(|_| ()))?;
        self.select(self.columns().into_iter().filter(|name| !dropped.contains(name)).collect::<Vec<_>>())
    }

    /// The same with a further column, or with another one in the place of the one that has this name.
    ///
    /// # Errors
    /// As [`select`](Self::select).
    pub fn with_column(&self, name: &str, expr: impl Into<Expr>) -> Result<Frame, FrameError> {
        let expr = expr.into().named(name);
        let mut columns: Vec<Expr> = self.columns().iter().map(|name| col(name)).collect();
        match self.schema.position(name) {
            Ok(place) => columns[place] = expr,
            Err(_) => columns.push(expr),
        }
        self.select(columns)
    }

    /// The same with another name for a column.
    ///
    /// # Errors
    /// If there is no such column, or another one has that name.
    pub fn rename(&self, from: &str, to: &str) -> Result<Frame, FrameError> {
        let place = self.schema.position(from)?;
        let mut columns: Vec<Expr> = self.columns().iter().map(|name| col(name)).collect();
        columns[place] = col(from).named(to);
        self.select(columns)
    }

    /// The rows for which the condition is true; where it is missing, it is not.
    ///
    /// # Errors
    /// If the condition is no truth, or does not fit its columns' types.
    pub fn filter(&self, condition: impl Into<Expr>) -> Result<Frame, FrameError> {
        let condition = condition.into();
        let (_, node, kind) = self.resolve(&condition)?;
        if kind != ColumnType::Bool {
            return Err(FrameError::Types {
                expression: condition.to_string(),
                message: format!("a condition is true or false, this is {kind}"),
            });
        }
        Ok(Frame { schema: self.schema.clone(), logical: Arc::new(Logical::Filter(self.clone(), node)) })
    }

    /// Groups rows by the values of columns. What is missing is a group too. Of no columns, all rows are one group.
    ///
    /// # Errors
    /// As [`select`](Self::select).
    pub fn groupby(&self, keys: impl IntoColumns) -> Result<FrameGroupBy, FrameError> {
        let keys: Vec<_> =
            keys.into_columns().iter().map(|expr| self.resolve(expr)).collect::<Result<_, _>>()?;
        if keys.len() > KEYS_MAX {
            return Err(FrameError::Invalid(format!("{} keys are more than {KEYS_MAX}", keys.len())));
        }
        Ok(FrameGroupBy { frame: self.clone(), keys })
    }

    /// One row of what is known of all rows.
    ///
    /// # Errors
    /// As [`FrameGroupBy::agg`].
    pub fn agg(&self, aggs: impl IntoIterator<Item = Agg>) -> Result<Frame, FrameError> {
        self.groupby(Vec::<Expr>::new())?.agg(aggs)
    }

    /// The rows that have a partner in a small table with the same values in `keys`, once for each partner, with the small
    /// table's other columns beside them. A name that both have becomes `name_right`. Keys that are missing have no partner.
    ///
    /// # Errors
    /// If a key is not in both, or has another type there. When it is computed, if the small table is larger than 32 MiB.
    pub fn join(&self, small: impl Into<Frame>, keys: impl IntoColumns) -> Result<Frame, FrameError> {
        self.join_as(small.into(), names(keys)?, false)
    }

    /// As [`join`](Self::join), but rows without a partner stay, with nothing in the small table's columns.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn left_join(&self, small: impl Into<Frame>, keys: impl IntoColumns) -> Result<Frame, FrameError> {
        self.join_as(small.into(), names(keys)?, true)
    }

    fn join_as(&self, right: Frame, keys: Vec<String>, keeps_left: bool) -> Result<Frame, FrameError> {
        if keys.is_empty() {
            return Err(FrameError::Invalid("a join needs columns to join on".to_owned()));
        }
        for key in &keys {
            let (own, other) = (self.schema.kind(key)?, right.schema.kind(key)?);
            if own != other {
                return Err(FrameError::Types {
                    expression: format!("join on `{key}`"),
                    message: format!(
                        "it is {own} on the left and {other} on the right; convert one with `.cast(…)`"
                    ),
                });
            }
        }
        let mut schema = Schema::clone(&self.schema);
        let mut renamed = Vec::new();
        for (name, kind) in right.schema.0.iter().filter(|(name, _)| !keys.contains(name)) {
            let taken = self.schema.position(name).is_ok();
            let to = if taken { format!("{name}_right") } else { name.clone() };
            schema.0.push((to.clone(), *kind));
            renamed.push((name.clone(), to));
        }
        Self::of(Logical::Join { left: self.clone(), right, keys, renamed, keeps_left }, schema)
    }

    fn order(&self, columns: impl IntoColumns, descending: bool) -> Result<Vec<(String, bool)>, FrameError> {
        let names = names(columns)?;
        names.iter().try_for_each(|name| self.schema.position(name).map(|_| ()))?;
        Ok(names.into_iter().map(|name| (name, descending)).collect())
    }

    /// All rows in ascending order; what is missing comes last, and equal rows stay as they were. The result is sorted where
    /// it is asked for, so it has to fit there.
    ///
    /// # Errors
    /// If a column is not there.
    pub fn sort(&self, columns: impl IntoColumns) -> Result<Frame, FrameError> {
        let by = self.order(columns, false)?;
        Ok(Frame { schema: self.schema.clone(), logical: Arc::new(Logical::Sort(self.clone(), by)) })
    }

    /// All rows in descending order; what is missing still comes last.
    ///
    /// # Errors
    /// As [`sort`](Self::sort).
    pub fn sort_descending(&self, columns: impl IntoColumns) -> Result<Frame, FrameError> {
        let by = self.order(columns, true)?;
        Ok(Frame { schema: self.schema.clone(), logical: Arc::new(Logical::Sort(self.clone(), by)) })
    }

    /// The `count` rows with the largest values, in descending order. No more than those ever lie in memory.
    ///
    /// # Errors
    /// As [`sort`](Self::sort).
    pub fn top_k(&self, count: usize, columns: impl IntoColumns) -> Result<Frame, FrameError> {
        let by = self.order(columns, true)?;
        Ok(Frame { schema: self.schema.clone(), logical: Arc::new(Logical::Top(self.clone(), by, count)) })
    }

    /// The `count` rows with the smallest values, in ascending order.
    ///
    /// # Errors
    /// As [`sort`](Self::sort).
    pub fn bottom_k(&self, count: usize, columns: impl IntoColumns) -> Result<Frame, FrameError> {
        let by = self.order(columns, false)?;
        Ok(Frame { schema: self.schema.clone(), logical: Arc::new(Logical::Top(self.clone(), by, count)) })
    }

    /// The first `count` rows. Reads no more blocks than it needs.
    #[must_use]
    pub fn head(&self, count: usize) -> Frame {
        Frame { schema: self.schema.clone(), logical: Arc::new(Logical::Head(self.clone(), count)) }
    }

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
            | Logical::Filter(..)
            | Logical::Project(..)
            | Logical::Join { .. }
            | Logical::Concat(_) => job(self, Sink::Rows, &self.schema, &self.columns())?.execute(&label),
        }
    }

    /// Writes the rows as CSV into a folder, which is made if it is not there: a file for each block, written where it is
    /// computed, called `part-00000.csv` and so on in the order of the rows. How many rows there are.
    ///
    /// # Errors
    /// If the folder has such files already, or cannot be written; and as [`compute`](Self::compute).
    pub fn write_csv(&self, folder: impl AsRef<std::path::Path>) -> Result<u64, FrameError> {
        let folder = std::path::absolute(folder.as_ref()).unwrap_or_else(|_| folder.as_ref().to_owned());
        let path = folder.display().to_string();
        let failed =
            |error: std::io::Error| FrameError::File { path: path.clone(), message: error.to_string() };
        std::fs::create_dir_all(&folder).map_err(failed)?;
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if name.to_string_lossy().starts_with("part-") {
                return Err(FrameError::File {
                    path: path.clone(),
                    message: format!(
                        "it has {} already; write into another folder, so that parts do not mix",
                        name.to_string_lossy()
                    ),
                });
            }
        }
        let job = Job {
            pipelines: self.exactly()?,
            sink: Sink::WriteCsv { folder: path },
            schema: self.schema.clone(),
            first_block: 0,
        };
        let counts = job.execute(&format!("write {}", self.label()))?;
        Ok(counts.column_i64("rows")?.iter().map(|&rows| rows as u64).sum())
    }

    /// What would be computed, in words: from the result down to the files.
    pub fn explain(&self) -> String {
        self.explained()
    }

    /// Pipelines that end with these columns and no others, in order.
    fn exactly(&self) -> Result<Vec<Pipeline>, FrameError> {
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
        Ok(match &*self.logical {
            Logical::Csv(source) => {
                let mut wanted: Vec<usize> =
                    needed.iter().map(|name| source.schema.position(name)).collect::<Result<_, _>>()?;
                wanted.sort_unstable();
                wanted.dedup();
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

    /// What it is called on the dashboard and in messages.
    pub(crate) fn label(&self) -> String {
        match &*self.logical {
            Logical::Csv(source) => format!("read {}", source.name),
            Logical::Memory(_) => "table".to_owned(),
            Logical::Filter(frame, _) | Logical::Project(frame, _) => frame.label(),
            Logical::Group { keys, .. } => {
                let keys: Vec<&str> = keys.iter().map(|(name, _, _)| name.as_str()).collect();
                format!("groupby({})", keys.join(", "))
            }
            Logical::Join { left, keys, .. } => format!("{}, join({})", left.label(), keys.join(", ")),
            Logical::Sort(_, by) => format!("sort({})", list(by)),
            Logical::Top(_, by, count) => format!("top {count} by {}", list(by)),
            Logical::Head(frame, count) => format!("{}, first {count}", frame.label()),
            Logical::Concat(frames) => format!("{} tables", frames.len()),
        }
    }

    fn explained(&self) -> String {
        let below = |frames: &[&Frame], line: String| {
            let inner: Vec<String> =
                frames.iter().map(|frame| frame.explained().replace('\n', "\n  ")).collect();
            format!("{line}\n  {}", inner.join("\n  "))
        };
        let columns = |items: &[(String, Node, ColumnType)]| {
            let item = |(name, node, _): &(String, Node, ColumnType)| match node {
                Node::Column(from) if from == name => name.clone(),
                node => format!("{name} = {node}"),
            };
            items.iter().map(item).collect::<Vec<_>>().join(", ")
        };
        match &*self.logical {
            Logical::Csv(source) => format!(
                "read {}: {} files, {} blocks of {} bytes; {}",
                source.name,
                source.files.len(),
                source.blocks,
                source.block_bytes,
                self.describe_columns()
            ),
            Logical::Memory(table) => {
                format!("table in memory: {} rows; {}", table.rows, self.describe_columns())
            }
            Logical::Filter(frame, node) => below(&[frame], format!("filter {node}")),
            Logical::Project(frame, items) => below(&[frame], format!("select {}", columns(items))),
            Logical::Group { frame, keys, aggs } => {
                let aggs: Vec<&str> = aggs.iter().map(|(name, _)| name.as_str()).collect();
                below(&[frame], format!("groupby {}: {}", columns(keys), aggs.join(", ")))
            }
            Logical::Join { left, right, keys, keeps_left, .. } => {
                let kind = if *keeps_left { "left join" } else { "join" };
                below(&[left, right], format!("{kind} on {}", keys.join(", ")))
            }
            Logical::Sort(frame, _) | Logical::Top(frame, ..) | Logical::Head(frame, _) => {
                below(&[frame], self.label())
            }
            Logical::Concat(frames) => {
                below(&frames.iter().collect::<Vec<_>>(), "one below another".to_owned())
            }
        }
    }
}

fn list(by: &[(String, bool)]) -> String {
    let one = |(name, descending): &(String, bool)| {
        if *descending { format!("{name} descending") } else { name.clone() }
    };
    by.iter().map(one).collect::<Vec<_>>().join(", ")
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
            _ => self.ops.insert(place, RowOp::Filter(node)),
        }
    }
}

/// Rows by the values of columns, of which [`agg`](Self::agg) says what is to be known.
#[derive(Clone, Debug)]
pub struct FrameGroupBy {
    frame: Frame,
    keys: Vec<(String, Node, ColumnType)>,
}

impl FrameGroupBy {
    /// A row per group, in ascending order of the keys.
    ///
    /// # Errors
    /// If a column is not there, two would have one name, or an aggregation is not defined for its type.
    pub fn agg(&self, aggs: impl IntoIterator<Item = Agg>) -> Result<Frame, FrameError> {
        let resolve = |agg: Agg| Ok((agg.output_name(), agg.resolve(&self.frame.schema)?));
        let aggs: Vec<(String, Resolved)> =
            aggs.into_iter().map(resolve).collect::<Result<_, FrameError>>()?;
        let keys = self.keys.iter().map(|(name, _, kind)| (name.clone(), *kind));
        let schema =
            Schema(keys.chain(aggs.iter().map(|(name, agg)| (name.clone(), agg.output()))).collect());
        let keys = self.keys.clone();
        Frame::of(Logical::Group { frame: self.frame.clone(), keys, aggs }, schema)
    }

    /// How many rows each group has, as `count`.
    ///
    /// # Errors
    /// As [`agg`](Self::agg).
    pub fn count(&self) -> Result<Frame, FrameError> {
        self.agg([crate::group::count_rows()])
    }

    /// Sums of a column, under its own name.
    ///
    /// # Errors
    /// As [`agg`](Self::agg).
    pub fn sum(&self, column: &str) -> Result<Frame, FrameError> {
        self.agg([col(column).sum().named(column)])
    }

    /// Means of a column, under its own name.
    ///
    /// # Errors
    /// As [`agg`](Self::agg).
    pub fn mean(&self, column: &str) -> Result<Frame, FrameError> {
        self.agg([col(column).mean().named(column)])
    }
}
