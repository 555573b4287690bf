//! Owns groups: the names in one and the objects that they stand for, from symbol tables (section III.B and C), link
//! messages (IV.A.2.g) and heaps of links (IV.A.2.c).

use super::{
    Hdf5,
    btree::Visit,
    object::{Object, kind},
};
use crate::{Error, Result, cursor::Cursor};

/// A name and the header it stands for. Soft and external links are left out.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) name: String,
    pub(crate) at: u64,
    order: Option<u64>,
}

impl Hdf5<'_> {
    /// Whether an object is a group.
    pub(crate) fn is_group(&self, object: &Object) -> bool {
        [kind::SYMBOL_TABLE, kind::LINK_INFO, kind::LINK].iter().any(|&kind| object.first(kind).is_some())
    }

    /// The links of a group, as they were made where that is known, else by name.
    pub(crate) fn links(&self, group: &Object) -> Result<Vec<Link>> {
        let mut links = Vec::new();
        for message in &group.messages {
            match message.kind {
                kind::SYMBOL_TABLE => {
                    let mut cursor = message.cursor();
                    let (tree, heap) = (self.address(&mut cursor)?, self.address(&mut cursor)?);
                    if let (Some(tree), Some(heap)) = (tree, heap) {
                        self.symbols(tree, heap, &mut links)?;
                    }
                }
                kind::LINK => links.extend(self.link(&mut message.cursor())?),
                kind::LINK_INFO => {
                    let mut cursor = message.cursor();
                    cursor.skip(1)?;
                    if cursor.u8()? & 1 != 0 {
                        cursor.skip(8)?;
                    }
                    let (heap, index) = (self.address(&mut cursor)?, self.address(&mut cursor)?);
                    if let (Some(heap), Some(index)) = (heap, index) {
                        let heap = self.fractal_heap(heap)?;
                        self.btree2(index, &mut |record, at| {
                            // The name's hash, then the identifier.
                            let id = record.get(4..4 + heap.id_bytes());
                            let id = id.ok_or_else(|| Error::damaged(at, "a link's record is too short"))?;
                            links.extend(self.link(&mut Cursor::new(&heap.get(id)?, at))?);
                            Ok(Visit::Next)
                        })?;
                    }
                }
                _ => {}
            }
        }
        if links.iter().all(|link| link.order.is_some()) {
            links.sort_by_key(|link| link.order);
        } else {
            links.sort_by(|a, b| a.name.cmp(&b.name));
        }
        Ok(links)
    }

    fn symbols(&self, tree: u64, heap: u64, links: &mut Vec<Link>) -> Result<()> {
        let names = self.local_heap(heap)?;
        self.btree1(tree, 0, self.widths.length, &mut |_, at| {
            let head = self.meta.bytes(at, 8)?;
            let mut cursor = Cursor::new(&head, at);
            cursor.expect(b"SNOD")?;
            cursor.skip(2)?;
            let count = u64::from(cursor.u16()?);
            let bytes = self.meta.bytes(at + 8, count * (24 + 2 * self.widths.offset as u64))?;
            let mut cursor = Cursor::new(&bytes, at + 8);
            for _ in 0..count {
                let name = cursor.uint(self.widths.offset)?;
                let header = self.address(&mut cursor)?;
                let cached = cursor.u32()?;
                cursor.skip(20)?;
                let text = usize::try_from(name).ok().and_then(|at| names.get(at..));
                let text = text.ok_or_else(|| Error::damaged(at, "a name lies past the heap of names"))?;
                let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
                // What is cached of soft links is their value.
                if let Some(header) = header.filter(|_| cached != 2) {
                    self.meta.charge(at, end as u64)?;
                    let name = String::from_utf8_lossy(&text[..end]).into_owned();
                    links.push(Link { name, at: header, order: None });
                }
            }
            Ok(())
        })
    }

    fn link(&self, cursor: &mut Cursor<'_>) -> Result<Option<Link>> {
        let version = cursor.u8()?;
        if version != 1 {
            return Err(cursor.damaged(format!("a link is of version {version}, which is unknown")));
        }
        let flags = cursor.u8()?;
        let class = if flags & 8 != 0 { cursor.u8()? } else { 0 };
        let order = if flags & 4 != 0 { Some(cursor.uint(8)?) } else { None };
        if flags & 16 != 0 {
            cursor.skip(1)?;
        }
        let length = usize::try_from(cursor.uint(1 << (flags & 3))?).unwrap_or(usize::MAX);
        let name = String::from_utf8_lossy(cursor.take(length)?).into_owned();
        if class != 0 {
            return Ok(None);
        }
        let at = self.address(cursor)?.ok_or_else(|| cursor.damaged(format!("`{name}` leads nowhere")))?;
        Ok(Some(Link { name, at, order }))
    }
}
