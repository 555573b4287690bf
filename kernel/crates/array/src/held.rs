//! Owns what it takes to name an array's persisted blocks to another program, and to read them there.

use std::sync::Arc;

use nuna_chunk::DType;
use nuna_plan::{Engine, HeldId, Splits};
use serde::{Deserialize, Serialize};

use crate::{
    array::Array,
    expr::{Expr, Held, Op},
    grid::ChunkGrid,
};

/// Persisted blocks and their meaning. The blocks stay with the engine that holds them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldArray {
    pub id: HeldId,
    pub dtype: DType,
    pub axes: Vec<Splits>,
}

impl Array {
    /// What names its blocks, if this is a persisted array and `engine` holds it.
    pub fn held_by(&self, engine: &Arc<dyn Engine>) -> Option<HeldArray> {
        let Op::Held(held) = &self.node.op else { return None };
        let here = std::ptr::addr_eq(Arc::as_ptr(&held.engine), Arc::as_ptr(engine));
        here.then(|| HeldArray { id: held.id, dtype: self.dtype(), axes: self.chunks().axes().to_vec() })
    }

    /// An array of blocks that `engine` holds and the caller has one use of, which the array's end gives back.
    pub fn from_held(held: HeldArray, engine: Arc<dyn Engine>) -> Self {
        let HeldArray { id, dtype, axes } = held;
        let op = Op::Held(Arc::new(Held { id, engine }));
        Self::from_node(Expr::new(op, dtype, ChunkGrid::from_axes(axes)))
    }
}
