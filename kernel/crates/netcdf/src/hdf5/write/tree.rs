//! Owns the index of chunks of a file being written: a B-tree of version 1 (section III.A.1), which every HDF5 reads, made
//! from the bottom up.

use super::message::{NOWHERE, Put as _};
use crate::{Error, Result};

/// Children of a node: twice the number that files without another one have.
const CHILDREN_MAX: usize = 64;

/// A chunk that lies in the file: its number in the row-major grid of chunks is its place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredChunk {
    pub address: u64,
    pub bytes: u64,
}

/// Writes the tree of a dataset, each node through `put`, which says where it went. `None` if there are no chunks.
///
/// # Errors
/// What `put` says, and if a chunk is longer than HDF5 allows.
pub(super) fn tree(
    shape: &[u64],
    chunk_shape: &[u64],
    element_bytes: u32,
    chunks: &[StoredChunk],
    at: u64,
    put: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<Option<u64>> {
    if chunks.is_empty() {
        return Ok(None);
    }
    let counts: Vec<u64> = shape.iter().zip(chunk_shape).map(|(&n, &chunk)| n.div_ceil(chunk)).collect();
    // The first element of a chunk; behind the last axis HDF5 counts the bytes of an element.
    let first = |mut number: u64| {
        let mut offsets = vec![0; shape.len() + 1];
        for axis in (0..shape.len()).rev() {
            offsets[axis] = number % counts[axis] * chunk_shape[axis];
            number /= counts[axis];
        }
        offsets
    };
    let key = |number: usize| -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(16 + 8 * shape.len());
        let Some(chunk) = chunks.get(number) else {
            // Behind all of them: one further than the last along every axis.
            out.u64(0);
            let last = first(chunks.len() as u64 - 1);
            let steps = chunk_shape.iter().copied().chain([u64::from(element_bytes)]);
            last.iter().zip(steps).for_each(|(offset, step)| out.u64(offset + step));
            return Ok(out);
        };
        out.u32(u32::try_from(chunk.bytes).map_err(|_| too_long(chunk.bytes))?);
        out.u32(0);
        first(number as u64).iter().for_each(|&offset| out.u64(offset));
        Ok(out)
    };
    let key_bytes = 8 + 8 * (shape.len() + 1);
    let node_bytes = 24 + CHILDREN_MAX * (8 + key_bytes) + key_bytes;
    // Of each child the first chunk below it and its address.
    let mut level: Vec<(usize, u64)> =
        chunks.iter().enumerate().map(|(number, chunk)| (number, chunk.address)).collect();
    let mut at = at;
    for height in 0u8.. {
        let nodes = level.len().div_ceil(CHILDREN_MAX);
        let mut above = Vec::with_capacity(nodes);
        for (node, children) in level.chunks(CHILDREN_MAX).enumerate() {
            let sibling = |there: bool, address: u64| if there { address } else { NOWHERE };
            let mut out = Vec::with_capacity(node_bytes);
            out.extend_from_slice(b"TREE");
            out.extend([1, height]);
            out.u16(children.len() as u16);
            out.u64(sibling(node > 0, at.wrapping_sub(node_bytes as u64)));
            out.u64(sibling(node + 1 < nodes, at + node_bytes as u64));
            for &(first, address) in children {
                out.extend(key(first)?);
                out.u64(address);
            }
            let next = level.get((node + 1) * CHILDREN_MAX).map_or(chunks.len(), |&(first, _)| first);
            out.extend(key(next)?);
            out.resize(node_bytes, 0);
            put(&out)?;
            above.push((children[0].0, at));
            at += node_bytes as u64;
        }
        if let [(_, root)] = above[..] {
            return Ok(Some(root));
        }
        level = above;
    }
    unreachable!("each level has fewer nodes than the one below")
}

fn too_long(bytes: u64) -> Error {
    Error::Unsupported(format!(
        "a chunk of {bytes} bytes is more than the 4 GiB that HDF5 allows; use smaller chunks"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cursor::meta,
        hdf5::{Hdf5, Widths},
    };

    #[test]
    fn a_tree_of_several_levels_has_every_chunk_once() {
        let chunks: Vec<StoredChunk> =
            (0..70 * 71).map(|n| StoredChunk { address: 1000 + n * 8, bytes: n }).collect();
        let mut bytes = Vec::new();
        let mut put = |node: &[u8]| {
            bytes.extend_from_slice(node);
            Ok(())
        };
        let root = tree(&[700, 142], &[10, 2], 4, &chunks, 0, &mut put).unwrap().unwrap();
        let node_bytes = 24 + 64 * 40 + 32;
        assert_eq!(bytes.len(), node_bytes * (78 + 2 + 1));
        assert_eq!(root as usize, node_bytes * 80);
        let mut found = Vec::new();
        let widths = Widths { offset: 8, length: 8 };
        let hdf5 = Hdf5 { meta: meta(&bytes), widths, root: 0, collections: Default::default() };
        hdf5.btree1(root, 1, 32, &mut |key, child| {
            let word = |at: usize| u64::from_le_bytes(key[at..at + 8].try_into().unwrap());
            found.push((word(8), word(16), u64::from(word(0) as u32), child));
            Ok(())
        })
        .unwrap();
        let expected: Vec<_> = (0..70 * 71).map(|n| (n / 71 * 10, n % 71 * 2, n, 1000 + n * 8)).collect();
        assert_eq!(found, expected);
    }
}
