//! Owns the seam to arrays being written: what the planner must know of a target ([`ChunkSink`]), the descriptor
//! that travels ([`SinkSpec`]), and the registry that opens it on a worker ([`register_sink_kind`]).
//!
//! Leaves to others: creating the target and its metadata, which happens before the plan starts (`storage`).

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
};

use nuna_chunk::{Chunk, DType, Region};
use nuna_plan::TaskError;
use serde::{Deserialize, Serialize};

/// A stored array that exists already and whose elements are to be written.
pub trait ChunkSink: Send + Sync {
    /// For stage names and messages: `ndvi`.
    fn name(&self) -> String;

    /// The dtype that the writer takes (before encoding).
    fn dtype(&self) -> DType;

    fn shape(&self) -> &[u64];

    /// The stored chunks' shape (shards where there are some). Blocks are cut at multiples of it, so that no two blocks
    /// write the same stored chunk.
    fn chunk_shape(&self) -> &[u64];

    /// Memory that writing a block takes besides the block.
    fn scratch_bytes(&self) -> u64 {
        0
    }

    /// What a worker needs to open it.
    fn spec(&self) -> SinkSpec;
}

/// Writes elements of a stored array. Shared by a worker's compute threads.
pub trait ChunkWriter: Send + Sync {
    /// Writes a box that covers whole stored chunks. Writing the same box twice leaves the same bytes, since a block may run twice.
    ///
    /// # Errors
    /// Naming the store, the chunk and the cause; retryable if another attempt might succeed.
    fn write(&self, region: &Region, chunk: &Chunk) -> Result<(), TaskError>;
}

/// What travels to a worker so that it can open a target.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SinkSpec {
    /// A name given to [`register_sink_kind`].
    pub kind: String,
    /// For that kind's opener.
    pub payload: Vec<u8>,
}

/// Opens a target from the payload of its [`SinkSpec`].
pub type OpenWriter = fn(&[u8]) -> Result<Box<dyn ChunkWriter>, TaskError>;

static KINDS: RwLock<BTreeMap<String, OpenWriter>> = RwLock::new(BTreeMap::new());

/// Makes a kind of target known to this process; see [`crate::register_source_kind`].
pub fn register_sink_kind(kind: &str, open: OpenWriter) {
    KINDS.write().unwrap_or_else(PoisonError::into_inner).insert(kind.to_owned(), open);
}

/// Opens a target for writing.
///
/// # Errors
/// If the kind was not registered here, or the opener failed.
pub fn open_writer(spec: &SinkSpec) -> Result<Box<dyn ChunkWriter>, TaskError> {
    let open = KINDS.read().unwrap_or_else(PoisonError::into_inner).get(&spec.kind).copied();
    match open {
        Some(open) => open(&spec.payload),
        None => Err(TaskError::fatal(format!(
            "this process cannot write targets of kind `{}`; the program that runs blocks must call \
             `register_sink_kind` for it at start-up",
            spec.kind
        ))),
    }
}
