//! Owns [`Frame`]: what is to be computed, checked as it is said. What blocks do for it is in `lower`, which files it is made of
//! in `scan`.

mod columns;
mod describe;
mod explain;
mod groupby;
mod lower;
mod scan;

use std::sync::Arc;

use self::columns::names;
pub use self::{
    columns::IntoColumns,
    groupby::FrameGroupBy,
    scan::{concat_frames, scan_csv, scan_csv_with, scan_parquet, scan_parquet_with},
};
use crate::{
    column::ColumnType,
    csv::CsvSource,
    error::FrameError,
    expr::{Expr, Node, col},
    group::{Agg, Resolved},
    parquet::ParquetSource,
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
    Parquet(Arc<ParquetSource>),
    Memory(DataTable),
    Filter(Frame, Node),
    Project(Frame, Vec<(String, Node, ColumnType)>),
    Group {
        frame: Frame,
        keys: Vec<(String, Node, ColumnType)>,
        aggs: Vec<(String, Resolved)>,
        parts: Option<u64>,
    },
    Join {
        left: Frame,
        right: Frame,
        keys: Vec<String>,
        renamed: Vec<(String, String)>,
        keeps_left: bool,
    },
    Sort(Frame, Vec<(String, bool)>, Option<u64>),
    Top(Frame, Vec<(String, bool)>, usize),
    Head(Frame, usize),
    Concat(Vec<Frame>),
}

/// More parts would be more values than a plan should have.
const PARTS_MAX: u64 = 4096;

/// A group's keys may be so many: which of them are missing is a word of bits.
const KEYS_MAX: usize = 64;

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
        Ok(Frame { schema: self.schema.clone(), logical: Arc::new(Logical::Sort(self.clone(), by, None)) })
    }

    /// All rows in descending order; what is missing still comes last.
    ///
    /// # Errors
    /// As [`sort`](Self::sort).
    pub fn sort_descending(&self, columns: impl IntoColumns) -> Result<Frame, FrameError> {
        let by = self.order(columns, true)?;
        Ok(Frame { schema: self.schema.clone(), logical: Arc::new(Logical::Sort(self.clone(), by, None)) })
    }

    /// Sorts or groups in so many parts: every block cuts its rows by ranges of the sorted columns or the keys, and each part comes
    /// together on one worker, which sorts or groups it. The result is the same, in the same order; [`write_parquet`] and
    /// [`write_csv`] make a file of each part, and no process ever has all rows. Where nothing is said, a sort that is written and
    /// that may be larger than 512 MiB is done so, and groups are not: all of them come together in one process.
    ///
    /// Rows are read twice, once for their keys, and kept by the cluster in between, on disk where memory does not suffice. There
    /// are fewer parts where too many rows have the same keys; those stay together.
    ///
    /// # Errors
    /// If this is no sort, and no groups by keys.
    ///
    /// [`write_parquet`]: Self::write_parquet
    /// [`write_csv`]: Self::write_csv
    pub fn split_into(&self, parts: u64) -> Result<Frame, FrameError> {
        let parts = Some(parts.clamp(1, PARTS_MAX));
        let logical = match &*self.logical {
            Logical::Sort(frame, by, _) if !by.is_empty() => Logical::Sort(frame.clone(), by.clone(), parts),
            Logical::Group { frame, keys, aggs, .. } if !keys.is_empty() => {
                Logical::Group { frame: frame.clone(), keys: keys.clone(), aggs: aggs.clone(), parts }
            }
            _ => {
                return Err(FrameError::Invalid(format!(
                    "{} is no sort and has no groups that could be split; say it right after `.sort(…)` or `.agg(…)`",
                    self.label()
                )));
            }
        };
        Ok(Frame { logical: Arc::new(logical), schema: self.schema.clone() })
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
    /// What would be computed, in words: from the result down to the files.
    pub fn explain(&self) -> String {
        self.explained()
    }
}
