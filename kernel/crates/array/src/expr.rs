//! Owns expressions: a shared, immutable graph of operations, each with its shape, dtype and chunks. Every rule
//! about shapes has been checked by the time a node exists.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use nuna_chunk::{
    DType, Scalar, Shape,
    assemble::Stride,
    reduce::Reduction,
    tile::{Binary, Unary},
};
use nuna_plan::{Engine, HeldId, Origin};
use nuna_ship::Call;

use crate::{grid::ChunkGrid, ops::fft::Lines, origin, program::AxisRule, source::ChunkSource};

pub(crate) type Node = Arc<Expr>;

pub(crate) struct Expr {
    /// Unique in this process; equal ids are the same node.
    pub(crate) id: u64,
    pub(crate) op: Op,
    pub(crate) dtype: DType,
    pub(crate) shape: Shape,
    pub(crate) grid: ChunkGrid,
    pub(crate) origin: Option<Origin>,
}

/// An elementwise function of inputs that broadcast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Function {
    Unary(Unary),
    /// Both inputs are computed in what this dtype gives.
    Binary(Binary, DType),
    /// Condition, then, otherwise.
    Select,
    Cast,
}

pub(crate) enum Op {
    Source(Arc<dyn ChunkSource>),
    Full(Scalar),
    /// `start + step * i` along the only axis, computed in `i64` or `f64`.
    Range {
        start: Scalar,
        step: Scalar,
    },
    Map {
        function: Function,
        inputs: Vec<Node>,
    },
    Stride {
        input: Node,
        axes: Vec<Stride>,
    },
    Take {
        input: Node,
        axis: usize,
        indices: Arc<[u64]>,
    },
    Transpose {
        input: Node,
        order: Vec<usize>,
    },
    /// Axis *i* is the input's axis `axes[i]`, or a new one of length 1. Input axes not named have length 1.
    Reshape {
        input: Node,
        axes: Vec<Option<usize>>,
    },
    Broadcast {
        input: Node,
    },
    Concat {
        inputs: Vec<Node>,
        axis: usize,
    },
    Rechunk {
        input: Node,
    },
    Reduce {
        input: Node,
        reduction: Reduction,
        reduced: Vec<bool>,
        keep_axes: bool,
    },
    /// A function over blocks.
    Opaque {
        inputs: Vec<Node>,
        /// What of each input a block of the result is made from: one rule per axis of that input.
        reads: Vec<Vec<AxisRule>>,
        call: Arc<Call>,
        /// As a person would write it.
        name: String,
        /// Bytes it takes while it runs, besides its inputs and its result.
        scratch: u64,
        /// What it does with lines along an axis, if that is all.
        lines: Option<Box<Lines>>,
    },
    Held(Arc<Held>),
}

/// Blocks that an engine holds until the last expression naming them is gone.
pub(crate) struct Held {
    pub(crate) id: HeldId,
    pub(crate) engine: Arc<dyn Engine>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.engine.release(self.id);
    }
}

impl Expr {
    pub(crate) fn new(op: Op, dtype: DType, grid: ChunkGrid) -> Node {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let shape = grid.shape();
        Arc::new(Self { id: NEXT.fetch_add(1, Relaxed), op, dtype, shape, grid, origin: origin::current() })
    }

    pub(crate) fn inputs(&self) -> Vec<&Node> {
        match &self.op {
            Op::Source(_) | Op::Full(_) | Op::Range { .. } | Op::Held(_) => Vec::new(),
            Op::Map { inputs, .. } | Op::Concat { inputs, .. } | Op::Opaque { inputs, .. } => {
                inputs.iter().collect()
            }
            Op::Stride { input, .. }
            | Op::Take { input, .. }
            | Op::Transpose { input, .. }
            | Op::Reshape { input, .. }
            | Op::Broadcast { input }
            | Op::Rechunk { input }
            | Op::Reduce { input, .. } => vec![input],
        }
    }

    pub(crate) fn byte_count(&self) -> u64 {
        self.shape.iter().fold(self.dtype.size() as u64, |bytes, &n| bytes.saturating_mul(n))
    }

    /// The operation alone: `mean`, `+`, `theta`.
    pub(crate) fn label(&self) -> String {
        match &self.op {
            Op::Source(source) => source.name(),
            Op::Full(value) => value.to_string(),
            Op::Range { .. } => "arange".to_owned(),
            Op::Map { function, .. } => match function {
                Function::Unary(op) => op.to_string(),
                Function::Binary(op, _) => op.to_string(),
                Function::Select => "where".to_owned(),
                Function::Cast => format!("astype({})", self.dtype),
            },
            Op::Stride { .. } => "slice".to_owned(),
            Op::Take { .. } => "take".to_owned(),
            Op::Transpose { .. } => "transpose".to_owned(),
            Op::Reshape { .. } => "reshape".to_owned(),
            Op::Broadcast { .. } => "broadcast".to_owned(),
            Op::Concat { .. } => "concat".to_owned(),
            Op::Rechunk { .. } => "rechunk".to_owned(),
            Op::Reduce { reduction, reduced, .. } => {
                let axes: Vec<String> =
                    (0..reduced.len()).filter(|&a| reduced[a]).map(|a| a.to_string()).collect();
                format!("{reduction}({})", axes.join(","))
            }
            Op::Opaque { name, .. } => name.clone(),
            Op::Held(_) => "persisted".to_owned(),
        }
    }
}

/// As a person would write it, a few levels deep: what error messages call an operand.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn write(expr: &Expr, depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let inputs = expr.inputs();
            if inputs.is_empty() {
                return f.write_str(&expr.label());
            }
            if depth == 0 {
                return f.write_str("…");
            }
            if let (Op::Map { function: Function::Binary(op, _), .. }, [a, b]) = (&expr.op, &inputs[..]) {
                f.write_str("(")?;
                write(a, depth - 1, f)?;
                write!(f, " {op} ")?;
                write(b, depth - 1, f)?;
                return f.write_str(")");
            }
            write!(f, "{}(", expr.label())?;
            for (i, input) in inputs.iter().take(3).enumerate() {
                if i > 0 {
                    f.write_str(", ")?;
                }
                write(input, depth - 1, f)?;
            }
            f.write_str(if inputs.len() > 3 { ", …)" } else { ")" })
        }
        write(self, 3, f)
    }
}

/// A deep chain of nodes must not overflow the stack when its last handle goes: it is taken apart in a loop.
impl Drop for Expr {
    fn drop(&mut self) {
        fn take(op: &mut Op, out: &mut Vec<Node>) {
            match std::mem::replace(op, Op::Full(Scalar::Int(0))) {
                Op::Map { inputs, .. } | Op::Concat { inputs, .. } | Op::Opaque { inputs, .. } => {
                    out.extend(inputs)
                }
                Op::Stride { input, .. }
                | Op::Take { input, .. }
                | Op::Transpose { input, .. }
                | Op::Reshape { input, .. }
                | Op::Broadcast { input }
                | Op::Rechunk { input }
                | Op::Reduce { input, .. } => out.push(input),
                Op::Source(_) | Op::Full(_) | Op::Range { .. } | Op::Held(_) => {}
            }
        }
        let mut nodes = Vec::new();
        take(&mut self.op, &mut nodes);
        while let Some(node) = nodes.pop() {
            if let Some(mut expr) = Arc::into_inner(node) {
                take(&mut expr.op, &mut nodes);
            }
        }
    }
}
