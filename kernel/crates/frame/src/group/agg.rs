//! Owns what is asked of each group, as it is written and as workers have it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    column::ColumnType,
    error::FrameError,
    expr::{Expr, Node},
    table::Schema,
};

/// One result per group: `col("size").sum().named("total")`.
#[derive(Clone, Debug)]
pub struct Agg {
    pub(crate) function: Function,
    pub(crate) input: Option<Expr>,
    name: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Function {
    Sum,
    Mean,
    Count,
    Min,
    Max,
    Std,
    Var,
    Unique,
}

impl Function {
    fn name(self) -> &'static str {
        match self {
            Function::Sum => "sum",
            Function::Mean => "mean",
            Function::Count => "count",
            Function::Min => "min",
            Function::Max => "max",
            Function::Std => "std",
            Function::Var => "var",
            Function::Unique => "nunique",
        }
    }
}

/// How many rows there are, whatever is missing. Called `count`.
pub fn count_rows() -> Agg {
    Agg::new(Function::Count, None)
}

impl Agg {
    pub(crate) fn new(function: Function, input: Option<Expr>) -> Self {
        Agg { function, input, name: None }
    }

    /// What the column is to be called, in place of `size_sum`.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    pub(crate) fn output_name(&self) -> String {
        match (&self.name, &self.input) {
            (Some(name), _) => name.clone(),
            (None, None) => "count".to_owned(),
            (None, Some(input)) => format!("{}_{}", input.output_name(), self.function.name()),
        }
    }

    /// The same with its input's conversions spelled out.
    pub(crate) fn resolve(&self, schema: &Schema) -> Result<Resolved, FrameError> {
        let Some(input) = &self.input else {
            return Ok(Resolved { function: self.function, input: None, kind: ColumnType::Int64 });
        };
        let (node, kind) = input.node.resolve(schema)?;
        let wrong = || FrameError::Types {
            expression: format!("{input}.{}()", self.function.name()),
            message: format!("not defined for {kind}"),
        };
        // Truths count as 0 and 1.
        let (node, kind) = match self.function {
            Function::Sum | Function::Mean | Function::Std | Function::Var => match kind {
                ColumnType::Int64 | ColumnType::Float64 => (node, kind),
                ColumnType::Bool => (Node::Cast(ColumnType::Int64, Arc::new(node)), ColumnType::Int64),
                ColumnType::Text | ColumnType::Date | ColumnType::Time => return Err(wrong()),
            },
            Function::Count | Function::Min | Function::Max | Function::Unique => (node, kind),
        };
        Ok(Resolved { function: self.function, input: Some(node), kind })
    }
}

/// An [`Agg`] as workers have it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Resolved {
    pub(crate) function: Function,
    pub(crate) input: Option<Node>,
    /// Of the input.
    pub(crate) kind: ColumnType,
}

impl Resolved {
    pub(crate) fn output(&self) -> ColumnType {
        match self.function {
            Function::Count | Function::Unique => ColumnType::Int64,
            Function::Mean | Function::Std | Function::Var => ColumnType::Float64,
            Function::Sum | Function::Min | Function::Max => self.kind,
        }
    }
}
