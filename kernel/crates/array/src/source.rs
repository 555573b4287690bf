//! Owns the seam to stored arrays: what an array must know of one to plan reads ([`ChunkSource`]), the descriptor
//! that travels to workers ([`SourceSpec`]), and the registry that opens it there ([`register_source_kind`]).
//!
//! Leaves to others: every format (`storage`), and files held in memory ([`crate::memory`]).

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
};

use nuna_chunk::{Chunk, DType, Region};
use nuna_plan::TaskError;
use serde::{Deserialize, Serialize};

/// A stored array as the planner sees it. Metadata only; elements are read by a [`ChunkReader`] on a worker.
pub trait ChunkSource: Send + Sync {
    /// For stage names, `explain()` and messages: `theta`.
    fn name(&self) -> String;

    /// The dtype that readers deliver (after decoding, such as CF scale and offset).
    fn dtype(&self) -> DType;

    fn shape(&self) -> &[u64];

    /// The stored chunks' shape; those at the ends are cut short. Every axis at least 1.
    fn chunk_shape(&self) -> &[u64];

    /// What a worker needs to open it again.
    fn spec(&self) -> SourceSpec;

    /// Memory that a read of `bytes` decoded bytes takes besides its result.
    fn scratch_bytes(&self, bytes: u64) -> u64 {
        bytes
    }

    /// Whether any box can be read without decoding more than the box.
    fn random_access(&self) -> bool {
        false
    }
}

/// Reads elements of a stored array. Shared by a worker's compute threads.
pub trait ChunkReader: Send + Sync {
    /// Reads a box of elements, in C order, as the source's dtype. Chunks that were never written are fill values.
    ///
    /// # Errors
    /// Naming the store, the chunk and the cause; retryable if another attempt might succeed.
    fn read(&self, region: &Region) -> Result<Chunk, TaskError>;
}

/// What travels to a worker so that it can open a stored array.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SourceSpec {
    /// A name given to [`register_source_kind`].
    pub kind: String,
    /// For that kind's opener.
    pub payload: Vec<u8>,
}

/// Opens a stored array from the payload of its [`SourceSpec`].
pub type OpenReader = fn(&[u8]) -> Result<Box<dyn ChunkReader>, TaskError>;

static KINDS: RwLock<BTreeMap<String, OpenReader>> = RwLock::new(BTreeMap::new());

/// Makes a kind of source known to this process. Every process that runs blocks calls it at start-up, for the same kinds.
/// Registering a kind again replaces its opener.
pub fn register_source_kind(kind: &str, open: OpenReader) {
    KINDS.write().unwrap_or_else(PoisonError::into_inner).insert(kind.to_owned(), open);
}

/// Opens a stored array for reading.
///
/// # Errors
/// If the kind was not registered here, or the opener failed.
pub fn open_reader(spec: &SourceSpec) -> Result<Box<dyn ChunkReader>, TaskError> {
    if spec.kind == crate::memory::KIND {
        return crate::memory::open(&spec.payload);
    }
    let open = KINDS.read().unwrap_or_else(PoisonError::into_inner).get(&spec.kind).copied();
    match open {
        Some(open) => open(&spec.payload),
        None => {
            let known: Vec<_> =
                KINDS.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
            Err(TaskError::fatal(format!(
                "this process cannot read sources of kind `{}` (it knows {known:?}); the program that runs blocks must \
                 call `register_source_kind` for it at start-up",
                spec.kind
            )))
        }
    }
}
