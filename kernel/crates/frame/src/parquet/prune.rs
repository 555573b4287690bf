//! Owns what can be told of a filter from the bounds of a group's columns: whether it may be true for any of its rows.
//!
//! Bounds say nothing of NaN, which compares as false but for `!=`, and where a file has none, anything may be there. What is
//! not understood here may be true.

use nuna_parquet::{Bound, Bounds};

use crate::{
    column::ColumnType,
    expr::{Binary, Literal, Node, Unary},
    time,
};

/// What is known of the values of an expression in a group.
#[derive(Clone, Debug, Default)]
struct Known {
    min: Option<Bound>,
    max: Option<Bound>,
    /// All are missing, or none is.
    is_nothing: bool,
    is_complete: bool,
}

/// Whether a filter may be true for a row of a group of `rows` rows whose columns are within bounds.
pub(super) fn may_hold<'a>(node: &Node, rows: u64, bounds: &dyn Fn(&str) -> Option<&'a Bounds>) -> bool {
    match node {
        Node::Literal(Literal::Bool(value)) => *value,
        Node::Binary(Binary::And, a, b) => may_hold(a, rows, bounds) && may_hold(b, rows, bounds),
        Node::Binary(Binary::Or, a, b) => may_hold(a, rows, bounds) || may_hold(b, rows, bounds),
        Node::Binary(op, a, b) => match (known(a, rows, bounds), known(b, rows, bounds)) {
            (Some(a), Some(b)) => compares(*op, &a, &b),
            _ => true,
        },
        Node::IsIn(a, list) => {
            let Some(known) = known(a, rows, bounds) else { return true };
            list.iter().any(|literal| compares(Binary::Equal, &known, &constant(literal)))
        }
        Node::Unary(Unary::IsNull, a) => known(a, rows, bounds).is_none_or(|known| !known.is_complete),
        Node::Unary(Unary::Not, a) => match &**a {
            Node::Unary(Unary::IsNull, a) => known(a, rows, bounds).is_none_or(|known| !known.is_nothing),
            _ => true,
        },
        _ => true,
    }
}

fn constant(literal: &Literal) -> Known {
    let value = match literal {
        Literal::Int(v) | Literal::Date(v) | Literal::Time(v) => Some(Bound::Int(*v)),
        // Among listed values NaN equals NaN, which no bounds tell.
        Literal::Float(v) if v.is_nan() => None,
        Literal::Float(v) => Some(Bound::Float(*v)),
        Literal::Bool(v) => Some(Bound::Bool(*v)),
        Literal::Text(v) => Some(Bound::Text(v.as_bytes().to_vec())),
    };
    Known { min: value.clone(), max: value, is_nothing: false, is_complete: true }
}

fn known<'a>(node: &Node, rows: u64, bounds: &dyn Fn(&str) -> Option<&'a Bounds>) -> Option<Known> {
    match node {
        Node::Column(name) => {
            let bounds = bounds(name)?;
            Some(Known {
                min: bounds.min.clone(),
                max: bounds.max.clone(),
                is_nothing: bounds.missing == Some(rows),
                is_complete: bounds.missing == Some(0),
            })
        }
        Node::Literal(literal) => Some(constant(literal)),
        // Conversions that keep the order.
        Node::Cast(to, a) => {
            let inner = known(a, rows, bounds)?;
            let each = |bound: Option<Bound>| match (bound?, to, &**a) {
                (Bound::Int(v), ColumnType::Float64, _) => Some(Bound::Float(v as f64)),
                (Bound::Int(day), ColumnType::Time, _) => day.checked_mul(time::DAY).map(Bound::Int),
                (Bound::Int(micros), ColumnType::Date, _) => Some(Bound::Int(micros.div_euclid(time::DAY))),
                _ => None,
            };
            Some(Known { min: each(inner.min), max: each(inner.max), ..inner })
        }
        _ => None,
    }
}

fn compares(op: Binary, a: &Known, b: &Known) -> bool {
    if a.is_nothing || b.is_nothing {
        // Compared with something missing, nothing is true.
        return false;
    }
    // Whether the smallest of one side may come before the largest of the other one.
    let before = |a: &Option<Bound>, b: &Option<Bound>, equal: bool| match (a, b) {
        (Some(a), Some(b)) => order(a, b).is_none_or(|order| order.is_lt() || (equal && order.is_eq())),
        _ => true,
    };
    match op {
        Binary::Less => before(&a.min, &b.max, false),
        Binary::LessEqual => before(&a.min, &b.max, true),
        Binary::Greater => before(&b.min, &a.max, false),
        Binary::GreaterEqual => before(&b.min, &a.max, true),
        Binary::Equal => before(&a.min, &b.max, true) && before(&b.min, &a.max, true),
        Binary::NotEqual => {
            // NaN differs from everything, and is in no bounds.
            let single = |known: &Known| match (&known.min, &known.max) {
                (Some(Bound::Float(_)), _) | (_, Some(Bound::Float(_))) => None,
                (Some(min), Some(max)) if min == max => Some(min.clone()),
                _ => None,
            };
            match (single(a), single(b)) {
                (Some(a), Some(b)) => a != b,
                _ => true,
            }
        }
        Binary::Add | Binary::Sub | Binary::Mul | Binary::Div | Binary::Rem | Binary::And | Binary::Or => {
            true
        }
    }
}

/// `None` for bounds of different types.
fn order(a: &Bound, b: &Bound) -> Option<std::cmp::Ordering> {
    match (a, b) {
        (Bound::Int(a), Bound::Int(b)) => Some(a.cmp(b)),
        (Bound::Float(a), Bound::Float(b)) => a.partial_cmp(b),
        (Bound::Bool(a), Bound::Bool(b)) => Some(a.cmp(b)),
        (Bound::Text(a), Bound::Text(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

    use super::*;
    use crate::{
        expr::{Expr, col, lit},
        table::Schema,
    };

    fn holds(filter: Expr) -> bool {
        let kinds = [
            ("i", ColumnType::Int64),
            ("f", ColumnType::Float64),
            ("t", ColumnType::Text),
            ("d", ColumnType::Date),
            ("none", ColumnType::Int64),
            ("full", ColumnType::Int64),
            ("unknown", ColumnType::Int64),
        ];
        let schema = Schema(kinds.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect());
        let (node, _) = filter.node.resolve(&schema).unwrap();
        let bounds = |min: Bound, max: Bound, missing| Bounds { min: Some(min), max: Some(max), missing };
        let all = [
            ("i", bounds(Bound::Int(10), Bound::Int(20), Some(1))),
            ("f", bounds(Bound::Float(1.5), Bound::Float(1.5), Some(0))),
            ("t", bounds(Bound::Text(b"b".to_vec()), Bound::Text(b"d".to_vec()), None)),
            ("d", bounds(Bound::Int(100), Bound::Int(101), Some(0))),
            ("none", Bounds { missing: Some(5), ..Default::default() }),
            ("full", bounds(Bound::Int(7), Bound::Int(7), Some(0))),
            ("unknown", Bounds::default()),
        ];
        may_hold(&node, 5, &|name| all.iter().find(|(known, _)| *known == name).map(|(_, bounds)| bounds))
    }

    #[test]
    fn groups_in_which_nothing_can_be_true_are_known() {
        let never = [
            col("i").less(10),
            col("i").greater(20),
            col("i").greater_equal(20.5),
            col("i").equal(21),
            lit(9).greater_equal(col("i")),
            col("i").is_in([1, 2, 30]),
            col("f").less(1.5),
            col("f").equal(f64::INFINITY),
            col("t").less("b"),
            col("t").equal("da"),
            col("d").greater("1970-04-12"),
            col("d").less("1970-04-11"),
            col("none").equal(1),
            col("none").not_equal(1),
            col("none").notnull(),
            col("none").is_in([1]),
            col("full").isnull(),
            col("full").not_equal(7),
            col("i").less(10) | col("t").greater("e"),
            col("i").less(15) & col("t").greater("e"),
        ];
        never.into_iter().for_each(|filter| assert!(!holds(filter.clone()), "{filter}"));
        let maybe = [
            col("i").less_equal(10),
            col("i").equal(15),
            col("i").not_equal(15),
            col("i").isnull(),
            // Of NaN bounds know nothing.
            col("f").not_equal(1.5),
            col("f").is_in([f64::NAN]),
            col("f").less(f64::NAN),
            col("t").equal("c"),
            col("t").isnull(),
            col("t").starts_with("x"),
            col("d").greater_equal("1970-04-12"),
            col("none").isnull(),
            col("unknown").equal(1),
            col("unknown").isnull(),
            (col("i") + 100).less(0),
            col("i").less(10) | col("t").greater("c"),
            !col("i").less(10),
            col("none").fillna(1).equal(1),
        ];
        maybe.into_iter().for_each(|filter| assert!(holds(filter.clone()), "{filter}"));
    }
}
