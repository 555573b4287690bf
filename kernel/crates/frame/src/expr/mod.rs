//! Owns how expressions over columns are written.

mod node;

use std::{fmt, ops, sync::Arc};

pub use self::node::Literal;
pub(crate) use self::node::{Binary, Node, Part, TextOp, Unary};
use crate::{
    column::ColumnType,
    group::{Agg, Function},
};

/// What is computed from the columns of a row: `col("size") / 1024`, `col("user").equal("ann") & col("size").greater(0)`.
///
/// What is computed from something missing is missing, except that `false & missing` is false and `true | missing` is true.
#[derive(Clone, Debug)]
pub struct Expr {
    pub(crate) node: Arc<Node>,
    /// What the column is called, if that was said.
    pub(crate) name: Option<String>,
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, &*self.node) {
            (Some(name), node) if *node != Node::Column(name.clone()) => write!(f, "{name} = {node}"),
            (_, node) => write!(f, "{node}"),
        }
    }
}

/// The column of that name.
pub fn col(name: &str) -> Expr {
    Expr { node: Arc::new(Node::Column(name.to_owned())), name: None }
}

/// The same value in every row.
pub fn lit(value: impl Into<Literal>) -> Expr {
    Expr::of(Node::Literal(value.into()))
}

macro_rules! literals {
    ($($from:ty => $variant:ident),*) => {$(
        impl From<$from> for Literal {
            fn from(value: $from) -> Self {
                Literal::$variant(value.into())
            }
        }

        impl From<$from> for Expr {
            fn from(value: $from) -> Self {
                lit(value)
            }
        }
    )*};
}

literals!(i64 => Int, i32 => Int, u32 => Int, f64 => Float, f32 => Float, bool => Bool, &str => Text, String => Text, &String => Text);

impl From<&Expr> for Expr {
    fn from(expr: &Expr) -> Self {
        expr.clone()
    }
}

/// Methods that make a node of this expression and another one.
macro_rules! comparisons {
    ($($(#[$doc:meta])* $name:ident => $op:ident),* $(,)?) => {
        impl Expr {
            $($(#[$doc])*
            #[must_use]
            pub fn $name(&self, other: impl Into<Expr>) -> Expr {
                self.binary(Binary::$op, other.into())
            })*
        }
    };
}

comparisons! {
    /// Whether both are equal; dates may be compared with text such as `"2024-06-15"`.
    equal => Equal,
    not_equal => NotEqual,
    less => Less,
    less_equal => LessEqual,
    greater => Greater,
    greater_equal => GreaterEqual,
}

impl Expr {
    fn of(node: Node) -> Expr {
        Expr { node: Arc::new(node), name: None }
    }

    fn binary(&self, op: Binary, other: Expr) -> Expr {
        Expr::of(Node::Binary(op, self.node.clone(), other.node))
    }

    fn unary(&self, op: Unary) -> Expr {
        Expr::of(Node::Unary(op, self.node.clone()))
    }

    fn text(&self, op: TextOp) -> Expr {
        Expr::of(Node::Text(op, self.node.clone()))
    }

    fn part(&self, part: Part) -> Expr {
        Expr::of(Node::Part(part, self.node.clone()))
    }

    /// What the column is to be called.
    #[must_use]
    pub fn named(&self, name: &str) -> Expr {
        Expr { node: self.node.clone(), name: Some(name.to_owned()) }
    }

    /// The name that was given, else that of the column that it is made of first.
    pub(crate) fn output_name(&self) -> String {
        fn first(node: &Node) -> Option<String> {
            match node {
                Node::Column(name) => Some(name.clone()),
                Node::Literal(_) => None,
                Node::Binary(_, a, b) => first(a).or_else(|| first(b)),
                Node::Unary(_, a)
                | Node::Text(_, a)
                | Node::IsIn(a, _)
                | Node::Part(_, a)
                | Node::Cast(_, a)
                | Node::FillNull(a, _) => first(a),
            }
        }
        self.name.clone().or_else(|| first(&self.node)).unwrap_or_else(|| "literal".to_owned())
    }

    /// Whether it is one of these.
    #[must_use]
    pub fn is_in<T: Into<Literal>>(&self, values: impl IntoIterator<Item = T>) -> Expr {
        Expr::of(Node::IsIn(self.node.clone(), values.into_iter().map(Into::into).collect()))
    }

    /// Whether it is missing. Never missing itself.
    #[must_use]
    pub fn isnull(&self) -> Expr {
        self.unary(Unary::IsNull)
    }

    /// Whether it is there.
    #[must_use]
    pub fn notnull(&self) -> Expr {
        !self.isnull()
    }

    /// This value where it is missing.
    #[must_use]
    pub fn fillna(&self, value: impl Into<Literal>) -> Expr {
        Expr::of(Node::FillNull(self.node.clone(), value.into()))
    }

    /// Whether a text begins so.
    #[must_use]
    pub fn starts_with(&self, text: &str) -> Expr {
        self.text(TextOp::StartsWith(text.to_owned()))
    }

    /// Whether a text ends so.
    #[must_use]
    pub fn ends_with(&self, text: &str) -> Expr {
        self.text(TextOp::EndsWith(text.to_owned()))
    }

    /// Whether a text has this text in it.
    #[must_use]
    pub fn contains(&self, text: &str) -> Expr {
        self.text(TextOp::Contains(text.to_owned()))
    }

    /// `length` letters of a text from the letter number `start`, or as many as there are.
    #[must_use]
    pub fn slice(&self, start: usize, length: usize) -> Expr {
        self.text(TextOp::Slice { start, length })
    }

    /// How many letters a text has.
    #[must_use]
    pub fn length(&self) -> Expr {
        self.text(TextOp::Length)
    }

    /// A text in small letters.
    #[must_use]
    pub fn lower(&self) -> Expr {
        self.text(TextOp::Lower)
    }

    /// A text in capitals.
    #[must_use]
    pub fn upper(&self) -> Expr {
        self.text(TextOp::Upper)
    }

    #[must_use]
    pub fn abs(&self) -> Expr {
        self.unary(Unary::Abs)
    }

    /// The largest whole number that is not larger; stays a float.
    #[must_use]
    pub fn floor(&self) -> Expr {
        self.unary(Unary::Floor)
    }

    #[must_use]
    pub fn sqrt(&self) -> Expr {
        self.unary(Unary::Sqrt)
    }

    #[must_use]
    pub fn ln(&self) -> Expr {
        self.unary(Unary::Ln)
    }

    /// The year of a date or time.
    #[must_use]
    pub fn year(&self) -> Expr {
        self.part(Part::Year)
    }

    /// The month of a date or time, from 1.
    #[must_use]
    pub fn month(&self) -> Expr {
        self.part(Part::Month)
    }

    /// The day of the month of a date or time, from 1.
    #[must_use]
    pub fn day(&self) -> Expr {
        self.part(Part::Day)
    }

    /// The hour of a time, UTC.
    #[must_use]
    pub fn hour(&self) -> Expr {
        self.part(Part::Hour)
    }

    /// The day on which a time is, UTC.
    #[must_use]
    pub fn date(&self) -> Expr {
        self.part(Part::Date)
    }

    /// Seconds since 1970 (integers or floats) as a time.
    #[must_use]
    pub fn from_unix(&self) -> Expr {
        self.unary(Unary::FromUnix)
    }

    /// As another type. Text is read as in CSV files, and text that is no such value is an error; floats lose their
    /// fraction, and it is an error if they do not fit.
    #[must_use]
    pub fn cast(&self, kind: ColumnType) -> Expr {
        Expr::of(Node::Cast(kind, self.node.clone()))
    }

    fn aggregate(&self, function: Function) -> Agg {
        Agg::new(function, Some(self.clone()))
    }

    /// Sum of what is there; 0 of nothing. It is an error if a sum of integers exceeds `i64`.
    pub fn sum(&self) -> Agg {
        self.aggregate(Function::Sum)
    }

    /// Mean of what is there; missing for nothing.
    pub fn mean(&self) -> Agg {
        self.aggregate(Function::Mean)
    }

    /// How many are there, so not missing.
    pub fn count(&self) -> Agg {
        self.aggregate(Function::Count)
    }

    /// The smallest; NaN only if there is nothing else; missing for nothing.
    pub fn min(&self) -> Agg {
        self.aggregate(Function::Min)
    }

    /// The largest; NaN only if there is nothing else; missing for nothing.
    pub fn max(&self) -> Agg {
        self.aggregate(Function::Max)
    }

    /// Standard deviation with `n - 1`, as pandas has it; missing for less than two.
    pub fn std(&self) -> Agg {
        self.aggregate(Function::Std)
    }

    /// Variance with `n - 1`; missing for less than two.
    pub fn var(&self) -> Agg {
        self.aggregate(Function::Var)
    }

    /// How many different ones are there, not counting missing.
    pub fn nunique(&self) -> Agg {
        self.aggregate(Function::Unique)
    }
}

macro_rules! operators {
    ($($trait:ident, $method:ident);*) => {$(
        impl<T: Into<Expr>> ops::$trait<T> for Expr {
            type Output = Expr;

            fn $method(self, other: T) -> Expr {
                self.binary(operators!(@ $trait), other.into())
            }
        }

        impl<T: Into<Expr>> ops::$trait<T> for &Expr {
            type Output = Expr;

            fn $method(self, other: T) -> Expr {
                self.binary(operators!(@ $trait), other.into())
            }
        }
    )*};
    (@ Add) => { Binary::Add };
    (@ Sub) => { Binary::Sub };
    (@ Mul) => { Binary::Mul };
    (@ Div) => { Binary::Div };
    (@ Rem) => { Binary::Rem };
    (@ BitAnd) => { Binary::And };
    (@ BitOr) => { Binary::Or };
}

operators!(Add, add; Sub, sub; Mul, mul; Div, div; Rem, rem; BitAnd, bitand; BitOr, bitor);

impl ops::Not for Expr {
    type Output = Expr;

    fn not(self) -> Expr {
        self.unary(Unary::Not)
    }
}

impl ops::Neg for Expr {
    type Output = Expr;

    fn neg(self) -> Expr {
        self.unary(Unary::Neg)
    }
}
