//! Owns reductions over axes.

use nuna_chunk::reduce::{NanPolicy, Operation, Reduction};
use nuna_plan::Splits;

use crate::{
    array::Array,
    error::{ArrayError, ArrayErrorKind},
    expr::{Expr, Op},
    grid::ChunkGrid,
};

/// What becomes of the reduced axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axes {
    Drop,
    /// They stay, with length 1.
    Keep,
}

impl Array {
    /// Reduces over `axes`. Shape `(time, y, x)` over axis 0 gives `(y, x)`.
    ///
    /// Chunks reduce in a tree whose shape depends on the chunks alone, so the result is the same to the last bit
    /// whatever computes it (but see [`compute`](crate::compute) for several at once). Floats accumulate in `float64`.
    ///
    /// # Errors
    /// [`ArrayErrorKind::AxisOutOfRange`], [`ArrayErrorKind::AxisRepeated`], and [`ArrayErrorKind::EmptyAxis`] for a minimum or
    /// maximum over nothing.
    pub fn reduce(
        &self,
        operation: Operation,
        nan: NanPolicy,
        axes: &[usize],
        after: Axes,
    ) -> Result<Array, ArrayError> {
        let reduction = Reduction { operation, nan, dtype: self.dtype() };
        let mut reduced = vec![false; self.ndim()];
        for &axis in axes {
            self.check_axis(axis)?;
            if std::mem::replace(&mut reduced[axis], true) {
                return Err(ArrayErrorKind::AxisRepeated { axis, axes: axes.to_vec() }.into());
            }
            if reduction.needs_elements() && self.shape()[axis] == 0 {
                return Err(ArrayErrorKind::EmptyAxis {
                    operation: reduction.to_string(),
                    axis,
                    name: self.expression(),
                }
                .into());
            }
        }
        if matches!(operation, Operation::ArgMin | Operation::ArgMax) && axes.len() != 1 {
            return Err(ArrayErrorKind::Invalid(format!("`{reduction}` takes one axis, not {axes:?}")).into());
        }
        let keep_axes = after == Axes::Keep;
        let own = self.chunks().axes();
        let grid = (0..self.ndim()).filter_map(|axis| match (reduced[axis], keep_axes) {
            (false, _) => Some(own[axis].clone()),
            (true, true) => Some(Splits::Regular { chunk: 1, length: 1 }),
            (true, false) => None,
        });
        let grid = ChunkGrid::from_axes(grid.collect());
        let dtype = reduction.output()?;
        let op = Op::Reduce { input: self.node.clone(), reduction, reduced, keep_axes };
        Ok(Array::from_node(Expr::new(op, dtype, grid)))
    }

    /// All axes, for `sum(&a.all_axes())`.
    pub fn all_axes(&self) -> Vec<usize> {
        (0..self.ndim()).collect()
    }
}

macro_rules! reductions {
    ($($(#[$doc:meta])* $name:ident, $nan_name:ident => $op:expr;)*) => {
        impl Array {$(
            $(#[$doc])*
            /// A NaN makes its cell NaN.
            ///
            /// # Errors
            /// As [`reduce`](Array::reduce).
            pub fn $name(&self, axes: &[usize]) -> Result<Array, ArrayError> {
                self.reduce($op, NanPolicy::Propagate, axes, Axes::Drop)
            }

            $(#[$doc])*
            /// NaNs are skipped.
            ///
            /// # Errors
            /// As [`reduce`](Array::reduce).
            pub fn $nan_name(&self, axes: &[usize]) -> Result<Array, ArrayError> {
                self.reduce($op, NanPolicy::Skip, axes, Axes::Drop)
            }
        )*}
    };
}
reductions! {
    /// Sum over `axes`; 0 over nothing. Integers and bool give 64 bits.
    sum, nansum => Operation::Sum;
    /// Product over `axes`; 1 over nothing.
    prod, nanprod => Operation::Prod;
    /// Mean over `axes`; NaN over nothing. Integers give `float64`.
    mean, nanmean => Operation::Mean;
    /// Least value over `axes`.
    min, nanmin => Operation::Min;
    /// Greatest value over `axes`.
    max, nanmax => Operation::Max;
    /// Standard deviation over `axes`, of the population.
    std, nanstd => Operation::Std { ddof: 0 };
    /// Variance over `axes`, of the population.
    var, nanvar => Operation::Var { ddof: 0 };
}

impl Array {
    /// How many values over `axes` are not NaN, as `int64`.
    ///
    /// # Errors
    /// As [`reduce`](Array::reduce).
    pub fn count(&self, axes: &[usize]) -> Result<Array, ArrayError> {
        self.reduce(Operation::Count, NanPolicy::Skip, axes, Axes::Drop)
    }

    /// Whether any value over `axes` is true (or not 0).
    ///
    /// # Errors
    /// As [`reduce`](Array::reduce).
    pub fn any(&self, axes: &[usize]) -> Result<Array, ArrayError> {
        self.reduce(Operation::Any, NanPolicy::Propagate, axes, Axes::Drop)
    }

    /// Whether all values over `axes` are true (or not 0).
    ///
    /// # Errors
    /// As [`reduce`](Array::reduce).
    pub fn all(&self, axes: &[usize]) -> Result<Array, ArrayError> {
        self.reduce(Operation::All, NanPolicy::Propagate, axes, Axes::Drop)
    }

    /// Index of the first least value along `axis`; NaNs are skipped, and a cell of only NaN is an error when computed.
    ///
    /// # Errors
    /// As [`reduce`](Array::reduce).
    pub fn nanargmin(&self, axis: usize) -> Result<Array, ArrayError> {
        self.reduce(Operation::ArgMin, NanPolicy::Skip, &[axis], Axes::Drop)
    }

    /// Index of the first least value along `axis`, or of the first NaN.
    ///
    /// # Errors
    /// As [`reduce`](Array::reduce).
    pub fn argmin(&self, axis: usize) -> Result<Array, ArrayError> {
        self.reduce(Operation::ArgMin, NanPolicy::Propagate, &[axis], Axes::Drop)
    }

    /// Index of the first greatest value along `axis`, or of the first NaN.
    ///
    /// # Errors
    /// As [`reduce`](Array::reduce).
    pub fn argmax(&self, axis: usize) -> Result<Array, ArrayError> {
        self.reduce(Operation::ArgMax, NanPolicy::Propagate, &[axis], Axes::Drop)
    }

    /// Index of the first greatest value along `axis`; see [`nanargmin`](Array::nanargmin).
    ///
    /// # Errors
    /// As [`reduce`](Array::reduce).
    pub fn nanargmax(&self, axis: usize) -> Result<Array, ArrayError> {
        self.reduce(Operation::ArgMax, NanPolicy::Skip, &[axis], Axes::Drop)
    }
}
