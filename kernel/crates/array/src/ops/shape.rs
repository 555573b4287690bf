//! Owns operations that move axes or join arrays, without touching values.

use nuna_chunk::Shape;
use nuna_plan::Splits;

use crate::{
    array::Array,
    error::{ArrayError, ArrayErrorKind},
    expr::{Expr, Op},
    grid::{ChunkGrid, bounds, normal},
};

impl Array {
    pub(crate) fn check_axis(&self, axis: usize) -> Result<(), ArrayError> {
        if axis < self.ndim() {
            return Ok(());
        }
        let (name, shape, ndim) = (self.expression(), self.shape().to_vec(), self.ndim());
        Err(ArrayErrorKind::AxisOutOfRange { axis, name, shape, ndim }.into())
    }

    /// Axis *i* of the result is axis `order[i]` of this array.
    ///
    /// # Errors
    /// [`ArrayErrorKind::NotAnOrder`] if `order` does not name every axis once.
    pub fn transpose(&self, order: &[usize]) -> Result<Array, ArrayError> {
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        if sorted.iter().copied().ne(0..self.ndim()) {
            return Err(ArrayErrorKind::NotAnOrder {
                axes: order.to_vec(),
                name: self.expression(),
                ndim: self.ndim(),
            }
            .into());
        }
        if order.iter().copied().eq(0..self.ndim()) {
            return Ok(self.clone());
        }
        let axes = order.iter().map(|&axis| self.chunks().axes()[axis].clone()).collect();
        let op = Op::Transpose { input: self.node.clone(), order: order.to_vec() };
        Ok(Array::from_node(Expr::new(op, self.dtype(), ChunkGrid::from_axes(axes))))
    }

    /// Puts a new axis of length 1 at position `axis` of the result.
    ///
    /// # Errors
    /// [`ArrayErrorKind::AxisOutOfRange`] if `axis` is above `ndim`.
    pub fn expand_dims(&self, axis: usize) -> Result<Array, ArrayError> {
        if axis > self.ndim() {
            self.check_axis(axis)?;
        }
        let mut axes: Vec<Option<usize>> = (0..self.ndim()).map(Some).collect();
        axes.insert(axis, None);
        Ok(self.reshape_axes(axes))
    }

    /// Takes away axes of length 1.
    ///
    /// # Errors
    /// [`ArrayErrorKind::NotSingle`] if one has another length.
    pub fn squeeze(&self, axes: &[usize]) -> Result<Array, ArrayError> {
        for &axis in axes {
            self.check_axis(axis)?;
            if self.shape()[axis] != 1 {
                return Err(ArrayErrorKind::NotSingle {
                    axis,
                    name: self.expression(),
                    length: self.shape()[axis],
                }
                .into());
            }
        }
        if axes.is_empty() {
            return Ok(self.clone());
        }
        Ok(self.reshape_axes((0..self.ndim()).filter(|axis| !axes.contains(axis)).map(Some).collect()))
    }

    fn reshape_axes(&self, axes: Vec<Option<usize>>) -> Array {
        let grid = axes.iter().map(|axis| match axis {
            Some(axis) => self.chunks().axes()[*axis].clone(),
            None => Splits::Regular { chunk: 1, length: 1 },
        });
        let grid = ChunkGrid::from_axes(grid.collect());
        Array::from_node(Expr::new(Op::Reshape { input: self.node.clone(), axes }, self.dtype(), grid))
    }

    /// Repeats axes of length 1, and puts new axes in front, until the shape is `shape`.
    ///
    /// # Errors
    /// [`ArrayErrorKind::BroadcastTo`] if that cannot give `shape`.
    pub fn broadcast_to(&self, shape: &[u64]) -> Result<Array, ArrayError> {
        if shape == self.shape() {
            return Ok(self.clone());
        }
        let failed = || ArrayErrorKind::BroadcastTo {
            name: self.expression(),
            shape: self.shape().to_vec(),
            to: shape.to_vec(),
        };
        let extra = shape.len().checked_sub(self.ndim()).ok_or_else(failed)?;
        let mut axes = Vec::with_capacity(shape.len());
        // Repeated elements cost nothing to read, only to hold: cut them so that a block stays small.
        let mut bytes =
            self.chunks().chunk_shape().iter().fold(self.dtype().size() as u64, |b, &n| b.saturating_mul(n));
        for (axis, &length) in shape.iter().enumerate().rev() {
            let own = axis.checked_sub(extra).map(|i| (self.shape()[i], &self.chunks().axes()[i]));
            match own {
                Some((n, splits)) if n == length => axes.push(splits.clone()),
                Some((n, _)) if n != 1 => return Err(failed().into()),
                _ => {
                    let chunk = ((64 << 20) / bytes.max(1)).clamp(1, length.max(1));
                    bytes = bytes.saturating_mul(chunk);
                    axes.push(Splits::Regular { chunk, length });
                }
            }
        }
        axes.reverse();
        let op = Op::Broadcast { input: self.node.clone() };
        Ok(Array::from_node(Expr::new(op, self.dtype(), ChunkGrid::from_axes(axes))))
    }
}

/// Joins arrays along an axis that they have. Dtypes promote.
///
/// # Errors
/// [`ArrayErrorKind::Join`] if their other axes differ, naming both arrays.
pub fn concat(arrays: &[Array], axis: usize) -> Result<Array, ArrayError> {
    let Some(first) = arrays.first() else { return Err(ArrayErrorKind::NothingToJoin.into()) };
    first.check_axis(axis)?;
    let dtype = arrays.iter().fold(first.dtype(), |dtype, a| dtype.promote(a.dtype()));
    let others =
        |a: &Array| -> Shape { (0..a.ndim()).filter(|&i| i != axis).map(|i| a.shape()[i]).collect() };
    let mut cuts = vec![0u64];
    for array in arrays {
        if array.ndim() != first.ndim() || others(array) != others(first) {
            return Err(ArrayErrorKind::Join {
                name: array.expression(),
                shape: array.shape().to_vec(),
                dtype: array.dtype(),
                first_name: first.expression(),
                first: first.shape().to_vec(),
                first_dtype: first.dtype(),
                axis,
            }
            .into());
        }
        let start = cuts.last().copied().unwrap_or(0);
        cuts.extend(bounds(&array.chunks().axes()[axis]).into_iter().filter(|&b| b > 0).map(|b| start + b));
    }
    let mut axes = first.chunks().axes().to_vec();
    axes[axis] = normal(cuts);
    let inputs = arrays.iter().map(|a| a.astype(dtype).node).collect();
    Ok(Array::from_node(Expr::new(Op::Concat { inputs, axis }, dtype, ChunkGrid::from_axes(axes))))
}

/// Joins arrays of one shape along a new axis.
///
/// # Errors
/// As [`concat`].
pub fn stack(arrays: &[Array], axis: usize) -> Result<Array, ArrayError> {
    let expanded = arrays.iter().map(|a| a.expand_dims(axis)).collect::<Result<Vec<_>, _>>()?;
    concat(&expanded, axis)
}
