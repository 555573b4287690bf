//! Owns groups of a frame's rows.

use super::{Frame, Logical};
use crate::{
    column::ColumnType,
    error::FrameError,
    expr::{Node, col},
    group::{Agg, Resolved},
    table::Schema,
};

/// Rows by the values of columns, of which [`agg`](Self::agg) says what is to be known.
#[derive(Clone, Debug)]
pub struct FrameGroupBy {
    pub(super) frame: Frame,
    pub(super) keys: Vec<(String, Node, ColumnType)>,
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
        Frame::of(Logical::Group { frame: self.frame.clone(), keys, aggs, parts: None }, schema)
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
