//! Owns groups: the names in one and the objects that they stand for, from symbol tables (section III.B and C), link
//! messages (IV.A.2.g) and heaps of links (IV.A.2.c).

use super::{
    Hdf5,
    btree::Visit,
    object::{Object, kind},
};
use crate::{Error, Result, cursor::Cursor};

/// The names in a group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Links {
    pub(crate) objects: Vec<Link>,
    /// Names that stand for other names, here or in another file, which are not followed: and where they lead, in words.
    pub(crate) elsewhere: Vec<(String, String)>,
}

/// A name and the header it stands for.
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
    pub(crate) fn links(&self, group: &Object) -> Result<Links> {
        let mut links = Links::default();
        for message in &group.messages {
            match message.kind {
                kind::SYMBOL_TABLE => {
                    let mut cursor = message.cursor();
                    let (tree, heap) = (self.address(&mut cursor)?, self.address(&mut cursor)?);
                    if let (Some(tree), Some(heap)) = (tree, heap) {
                        self.symbols(tree, heap, &mut links)?;
                    }
                }
                kind::LINK => self.link(&mut message.cursor(), &mut links)?,
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
                            self.link(&mut Cursor::new(&heap.get(id)?, at), &mut links)?;
                            Ok(Visit::Next)
                        })?;
                    }
                }
                _ => {}
            }
        }
        let objects = &mut links.objects;
        if objects.iter().all(|link| link.order.is_some()) {
            objects.sort_by_key(|link| link.order);
        } else {
            objects.sort_by(|a, b| a.name.cmp(&b.name));
        }
        Ok(links)
    }

    fn symbols(&self, tree: u64, heap: u64, links: &mut Links) -> Result<()> {
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
                cursor.skip(4)?;
                let value = u64::from(cursor.u32()?);
                cursor.skip(12)?;
                let text = |place: u64| -> Result<String> {
                    let text = usize::try_from(place).ok().and_then(|at| names.get(at..));
                    let text =
                        text.ok_or_else(|| Error::damaged(at, "a name lies past the heap of names"))?;
                    let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
                    self.meta.charge(at, end as u64)?;
                    Ok(String::from_utf8_lossy(&text[..end]).into_owned())
                };
                // What is cached of soft links is where their value lies.
                if cached == 2 {
                    links.elsewhere.push((text(name)?, soft(&text(value)?)));
                } else if let Some(header) = header {
                    links.objects.push(Link { name: text(name)?, at: header, order: None });
                }
            }
            Ok(())
        })
    }

    fn link(&self, cursor: &mut Cursor<'_>, links: &mut Links) -> Result<()> {
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
            let length = usize::from(cursor.u16()?);
            let value = cursor.take(length)?;
            let reason = match class {
                1 => soft(&String::from_utf8_lossy(value)),
                64 => "it is a link into another file, which is not followed; open that file".to_owned(),
                _ => format!("it is a link of class {class}, which is unknown"),
            };
            links.elsewhere.push((name, reason));
            return Ok(());
        }
        let at = self.address(cursor)?.ok_or_else(|| cursor.damaged(format!("`{name}` leads nowhere")))?;
        links.objects.push(Link { name, at, order });
        Ok(())
    }
}

fn soft(target: &str) -> String {
    format!("it is a soft link, which is not followed; use `{target}`, which it leads to")
}
