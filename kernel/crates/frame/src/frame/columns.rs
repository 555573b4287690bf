//! Owns how columns are named where a frame is told which.

use crate::{
    error::FrameError,
    expr::{Expr, Node, col},
};

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

/// Names alone.
pub(super) fn names(columns: impl IntoColumns) -> Result<Vec<String>, FrameError> {
    let one = |expr: Expr| match &*expr.node {
        Node::Column(name) => Ok(name.clone()),
        _ => Err(FrameError::Types {
            expression: expr.to_string(),
            message: "a column of the frame is needed here; make it one with `.with_column(…)`".to_owned(),
        }),
    };
    columns.into_columns().into_iter().map(one).collect()
}
