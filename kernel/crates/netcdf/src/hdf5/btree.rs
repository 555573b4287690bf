//! Owns B-trees: version 1 (section III.A.1) with symbols of old groups and with chunks, version 2 (III.A.2) with links,
//! attributes and chunks. Both are walked without recursion, each node once.

use std::collections::HashSet;

use super::{Hdf5, checksum};
use crate::{Error, Result, cursor::Cursor};

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    Next,
    Stop,
}

/// Levels of a tree.
const DEPTH_MAX: u16 = 32;

impl Hdf5<'_> {
    /// Visits the entries of the leaves at the bottom of a version 1 tree: the key's bytes and the child's address.
    pub(crate) fn btree1(
        &self,
        root: u64,
        node_type: u8,
        key_bytes: usize,
        visit: &mut dyn FnMut(&[u8], u64) -> Result<()>,
    ) -> Result<()> {
        let mut nodes = vec![(root, None)];
        let mut seen = HashSet::new();
        while let Some((at, expected)) = nodes.pop() {
            if !seen.insert(at) {
                return Err(Error::damaged(at, "nodes of a tree point in circles"));
            }
            let head = self.meta.bytes(at, 8 + 2 * self.widths.offset as u64)?;
            let mut cursor = Cursor::new(&head, at);
            cursor.expect(b"TREE")?;
            let (kind, level, count) = (cursor.u8()?, cursor.u8()?, cursor.u16()?);
            if kind != node_type || expected.is_some_and(|expected| expected != level) {
                return Err(Error::damaged(at, "a node of a tree is of another kind or level than expected"));
            }
            let length = usize::from(count) * (key_bytes + self.widths.offset);
            let start = at + head.len() as u64;
            let bytes = self.meta.bytes(start, length as u64)?;
            let mut cursor = Cursor::new(&bytes, start);
            let from = nodes.len();
            for _ in 0..count {
                let key = cursor.take(key_bytes)?;
                let child = self.address(&mut cursor)?;
                let child = child.ok_or_else(|| Error::damaged(at, "a node of a tree leads nowhere"))?;
                match level.checked_sub(1) {
                    Some(below) => nodes.push((child, Some(below))),
                    None => visit(key, child)?,
                }
            }
            // First things first.
            nodes[from..].reverse();
        }
        Ok(())
    }

    /// Visits the records of a version 2 tree, not in order: their bytes and where their node is.
    pub(crate) fn btree2(&self, at: u64, visit: &mut dyn FnMut(&[u8], u64) -> Result<Visit>) -> Result<()> {
        let widths = self.widths;
        let head = self.meta.bytes(at, 22 + widths.offset as u64 + widths.length as u64)?;
        let head = checksum::verified(&head, at, "a tree")?;
        let mut cursor = Cursor::new(head, at);
        cursor.expect(b"BTHD")?;
        cursor.skip(2)?;
        let node_bytes = u64::from(cursor.u32()?);
        let record_bytes = u64::from(cursor.u16()?);
        let depth = cursor.u16()?;
        cursor.skip(2)?;
        let root = self.address(&mut cursor)?;
        let root_records = u64::from(cursor.u16()?);
        let Some(root) = root else { return Ok(()) };
        let limits = limits(node_bytes, record_bytes, depth, widths.offset as u64)
            .ok_or_else(|| Error::damaged(at, "a tree has impossible sizes"))?;
        let mut nodes = vec![(root, depth, root_records)];
        let mut seen = HashSet::new();
        while let Some((at, depth, count)) = nodes.pop() {
            if !seen.insert(at) {
                return Err(Error::damaged(at, "nodes of a tree point in circles"));
            }
            let below = (depth > 0).then(|| limits[usize::from(depth) - 1]);
            let pointer = below.map_or(0, |below| {
                widths.offset as u64 + limits[0].count_bytes + if depth > 1 { below.total_bytes } else { 0 }
            });
            if count > limits[usize::from(depth)].records {
                return Err(Error::damaged(at, "a node of a tree has more records than fit"));
            }
            let length = 6 + count * record_bytes + if depth > 0 { (count + 1) * pointer } else { 0 } + 4;
            let bytes = self.meta.bytes(at, length)?;
            let bytes = checksum::verified(&bytes, at, "a node of a tree")?;
            let mut cursor = Cursor::new(bytes, at);
            cursor.expect(if depth > 0 { b"BTIN" } else { b"BTLF" })?;
            cursor.skip(2)?;
            for _ in 0..count {
                if visit(cursor.take(record_bytes as usize)?, at)? == Visit::Stop {
                    return Ok(());
                }
            }
            if let Some(below) = below {
                for _ in 0..=count {
                    let child = self.address(&mut cursor)?;
                    let child = child.ok_or_else(|| Error::damaged(at, "a node of a tree leads nowhere"))?;
                    let records = cursor.uint(limits[0].count_bytes as usize)?;
                    if depth > 1 {
                        cursor.skip(below.total_bytes as usize)?;
                    }
                    nodes.push((child, depth - 1, records));
                }
            }
        }
        Ok(())
    }
}

/// What fits into a node at one depth.
#[derive(Clone, Copy, Debug)]
struct Limit {
    records: u64,
    /// Bytes of the number of records in a child.
    count_bytes: u64,
    /// Bytes of the number of records in and below.
    total_bytes: u64,
    total: u64,
}

fn limits(node_bytes: u64, record_bytes: u64, depth: u16, offset: u64) -> Option<Vec<Limit>> {
    let bytes = |limit: u64| u64::from(limit.checked_ilog2().unwrap_or(0)) / 8 + 1;
    if record_bytes == 0 || depth > DEPTH_MAX {
        return None;
    }
    let records = node_bytes.checked_sub(10)? / record_bytes;
    let mut limits = vec![Limit { records, count_bytes: bytes(records), total_bytes: 0, total: records }];
    for _ in 0..depth {
        let below = *limits.last()?;
        let pointer = offset + limits[0].count_bytes + below.total_bytes;
        let records = node_bytes.checked_sub(10 + pointer)? / (record_bytes + pointer);
        let total = (records + 1).checked_mul(below.total)?.checked_add(records)?;
        limits.push(Limit { records, count_bytes: limits[0].count_bytes, total_bytes: bytes(total), total });
    }
    Some(limits)
}
