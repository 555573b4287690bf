//! Owns the value of a block as workers hold it and send it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What a block computed: a small header that says how to read it, and raw bytes.
///
/// For arrays the header is a `nuna_chunk` header (dtype and shape) and the body little-endian elements in
/// C order; for calls the body is `postcard` and the header empty, or `shared` where the value was scattered:
/// then the processes of a host may share its memory. Nobody between the two ends looks inside the body.
/// The body starts at an address aligned to 16 bytes; readers copy where an owner broke that rule.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Value {
    pub header: Bytes,
    pub body: Bytes,
}

impl Value {
    /// Bytes this value occupies, for memory accounting.
    pub fn byte_count(&self) -> u64 {
        (self.header.len() + self.body.len()) as u64
    }
}
