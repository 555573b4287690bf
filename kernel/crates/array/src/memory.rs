//! Owns arrays that are in this process's memory already, as a source: their elements travel inside the plan.

use std::sync::Arc;

use nuna_chunk::{Chunk, DType, Region, Shape};
use nuna_plan::{TaskError, Value};

use crate::source::{ChunkReader, ChunkSource, SourceSpec};

pub(crate) const KIND: &str = "memory";

/// A chunk as a source.
pub(crate) struct MemorySource {
    chunk: Chunk,
    chunk_shape: Shape,
}

impl MemorySource {
    pub(crate) fn new(chunk: Chunk, chunk_shape: &[u64]) -> Arc<Self> {
        Arc::new(Self { chunk, chunk_shape: chunk_shape.into() })
    }
}

impl ChunkSource for MemorySource {
    fn name(&self) -> String {
        "array".to_owned()
    }

    fn dtype(&self) -> DType {
        self.chunk.dtype()
    }

    fn shape(&self) -> &[u64] {
        self.chunk.shape()
    }

    fn chunk_shape(&self) -> &[u64] {
        &self.chunk_shape
    }

    fn spec(&self) -> SourceSpec {
        let value = self.chunk.to_value();
        let payload = postcard::to_stdvec(&value).expect("bytes always encode");
        SourceSpec { kind: KIND.to_owned(), payload }
    }

    fn scratch_bytes(&self, _bytes: u64) -> u64 {
        0
    }

    fn random_access(&self) -> bool {
        true
    }
}

pub(crate) fn open(payload: &[u8]) -> Result<Box<dyn ChunkReader>, TaskError> {
    let value: Value = postcard::from_bytes(payload)
        .map_err(|error| TaskError::fatal(format!("an array inside the plan cannot be decoded: {error}")))?;
    let chunk = Chunk::from_value(&value)
        .map_err(|error| TaskError::fatal(format!("an array inside the plan cannot be decoded: {error}")))?;
    Ok(Box::new(MemoryReader(chunk)))
}

struct MemoryReader(Chunk);

impl ChunkReader for MemoryReader {
    fn read(&self, region: &Region) -> Result<Chunk, TaskError> {
        self.0.slice(region).map_err(|error| TaskError::fatal(error.to_string()))
    }
}
