//! Owns the mistakes that an expression reports when it is built, and what can go wrong when it is computed.

use std::{error::Error, fmt};

use nuna_chunk::{ChunkError, DType};
use nuna_plan::EngineError;
use nuna_ship::ShipError;

/// Why an expression could not be built or computed: one pointer to an [`ArrayErrorKind`].
///
/// All that a cell does with it (`?`, dropping, printing) is compiled in this library. As an enum, every `?` of a cell
/// had the drops and prints of all kinds compiled into the cell (`docs/decisions/cell-latency.md`).
pub struct ArrayError(Box<dyn Opaque>);

/// Behind a vtable, so that a cell that drops an error calls what is compiled here.
trait Opaque: Send + Sync {
    fn kind(&self) -> &ArrayErrorKind;
}

impl Opaque for ArrayErrorKind {
    fn kind(&self) -> &ArrayErrorKind {
        self
    }
}

impl ArrayError {
    /// What went wrong, for programs that tell one from another.
    pub fn kind(&self) -> &ArrayErrorKind {
        self.0.kind()
    }
}

impl fmt::Debug for ArrayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind().fmt(f)
    }
}

impl fmt::Display for ArrayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.kind(), f)
    }
}

impl Error for ArrayError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.kind().source()
    }
}

impl From<ArrayErrorKind> for ArrayError {
    fn from(kind: ArrayErrorKind) -> Self {
        Self(Box::new(kind))
    }
}

impl From<ChunkError> for ArrayError {
    fn from(error: ChunkError) -> Self {
        ArrayErrorKind::from(error).into()
    }
}

impl From<ShipError> for ArrayError {
    fn from(error: ShipError) -> Self {
        ArrayErrorKind::from(error).into()
    }
}

impl From<EngineError> for ArrayError {
    fn from(error: EngineError) -> Self {
        ArrayErrorKind::from(error).into()
    }
}

/// The kinds of [`ArrayError`].
#[derive(Debug, thiserror::Error)]
pub enum ArrayErrorKind {
    #[error(
        "`{operation}`: shapes {left:?} (of {left_name}) and {right:?} (of {right_name}) do not broadcast; axis {axis} counted from the end has lengths {left_length} and {right_length}"
    )]
    Broadcast {
        operation: String,
        left_name: String,
        left: Vec<u64>,
        right_name: String,
        right: Vec<u64>,
        axis: usize,
        left_length: u64,
        right_length: u64,
    },
    #[error("`{operation}` is not defined for {left} and {right}")]
    DTypes { operation: String, left: DType, right: DType },
    #[error("{0}")]
    Chunk(#[from] ChunkError),
    #[error("axis {axis} is out of range for {name} of shape {shape:?}, which has {ndim} axes")]
    AxisOutOfRange { axis: usize, name: String, shape: Vec<u64>, ndim: usize },
    #[error("axis {axis} is named twice in {axes:?}")]
    AxisRepeated { axis: usize, axes: Vec<usize> },
    #[error("{axes:?} is not an order of the {ndim} axes of {name}")]
    NotAnOrder { axes: Vec<usize>, name: String, ndim: usize },
    #[error("index {index} is out of range for axis {axis} of {name}, which has length {length}")]
    IndexOutOfRange { index: i64, axis: usize, name: String, length: u64 },
    #[error("a slice needs a step other than 0 (axis {axis} of {name})")]
    StepZero { axis: usize, name: String },
    #[error("{found} indices for {name}, which has {ndim} axes")]
    IndexCount { found: usize, name: String, ndim: usize },
    #[error(
        "`{operation}` over axis {axis} of {name}, which has length 0, has no value; select a non-empty range first"
    )]
    EmptyAxis { operation: String, axis: usize, name: String },
    #[error(
        "axis {axis} of {name} has length {length}, so it cannot be taken away; index or reduce it instead"
    )]
    NotSingle { axis: usize, name: String, length: u64 },
    #[error("{name} of shape {shape:?} cannot be broadcast to {to:?}")]
    BroadcastTo { name: String, shape: Vec<u64>, to: Vec<u64> },
    #[error(
        "cannot join {name} of shape {shape:?} and dtype {dtype} to {first_name} of shape {first:?} and dtype {first_dtype} along axis {axis}: the other axes differ"
    )]
    Join {
        name: String,
        shape: Vec<u64>,
        dtype: DType,
        first_name: String,
        first: Vec<u64>,
        first_dtype: DType,
        axis: usize,
    },
    #[error("nothing to join: give at least one array")]
    NothingToJoin,
    #[error(
        "a chunk shape of {chunks:?} does not fit {name} of shape {shape:?}: give one length of at least 1 per axis"
    )]
    ChunkShape { chunks: Vec<u64>, name: String, shape: Vec<u64> },
    #[error("chunks along axis {axis} add up to {total}, but the axis has length {length}")]
    ChunksDoNotCover { axis: usize, total: u64, length: u64 },
    #[error(
        "`{operation}` takes arrays in the same number of chunks, but {left_name} has {left:?} chunks and {right_name} has {right:?}; rechunk one of them"
    )]
    BlockCounts { operation: String, left_name: String, left: Vec<u64>, right_name: String, right: Vec<u64> },
    #[error("cannot write {name} of shape {shape:?} to {sink} of shape {sink_shape:?}")]
    SinkShape { name: String, shape: Vec<u64>, sink: String, sink_shape: Vec<u64> },
    #[error(
        "{name} is held by {holder}, but is to be computed by {engine}; compute it there, or persist it again"
    )]
    HeldElsewhere { name: String, holder: String, engine: String },
    #[error("the function given to map_blocks cannot travel: {0}")]
    Ship(#[from] ShipError),
    #[error("{0}")]
    Engine(#[from] EngineError),
    #[error("block {block} of stage {stage} came back as something else than promised: {message}")]
    Result { stage: u32, block: u64, message: String },
    #[error("{0}")]
    Invalid(String),
}
