//! Owns object headers (section IV.A): the messages of an object, gathered from all blocks, shared ones looked up.

use std::collections::HashSet;

use super::{Hdf5, address, checksum};
use crate::{Error, Result, cursor::Cursor};

/// Kinds of messages that are read here.
pub(crate) mod kind {
    pub(crate) const DATASPACE: u16 = 0x1;
    pub(crate) const LINK_INFO: u16 = 0x2;
    pub(crate) const DATATYPE: u16 = 0x3;
    pub(crate) const FILL_OLD: u16 = 0x4;
    pub(crate) const FILL: u16 = 0x5;
    pub(crate) const LINK: u16 = 0x6;
    pub(crate) const EXTERNAL: u16 = 0x7;
    pub(crate) const LAYOUT: u16 = 0x8;
    pub(crate) const FILTERS: u16 = 0xb;
    pub(crate) const ATTRIBUTE: u16 = 0xc;
    pub(crate) const CONTINUATION: u16 = 0x10;
    pub(crate) const SYMBOL_TABLE: u16 = 0x11;
    pub(crate) const ATTRIBUTE_INFO: u16 = 0x15;
}

/// One message, its own bytes.
pub(crate) struct Message {
    pub(crate) kind: u16,
    pub(crate) at: u64,
    pub(crate) data: Vec<u8>,
}

impl Message {
    pub(crate) fn cursor(&self) -> Cursor<'_> {
        Cursor::new(&self.data, self.at)
    }
}

/// The messages of one object.
pub(crate) struct Object {
    pub(crate) messages: Vec<Message>,
}

impl Object {
    pub(crate) fn first(&self, kind: u16) -> Option<&Message> {
        self.messages.iter().find(|message| message.kind == kind)
    }
}

const SHARED: u8 = 2;

impl Hdf5<'_> {
    /// Reads the header at `at`.
    pub(crate) fn object(&self, at: u64) -> Result<Object> {
        let mut messages = self.raw_messages(at)?;
        for (message, flags) in &mut messages {
            if *flags & SHARED != 0 {
                message.data = self.shared(&message.data, message.at, message.kind)?;
            }
        }
        Ok(Object { messages: messages.into_iter().map(|(message, _)| message).collect() })
    }

    /// The bytes of a message that is kept in another object, such as a named datatype.
    pub(crate) fn shared(&self, data: &[u8], at: u64, kind: u16) -> Result<Vec<u8>> {
        let mut cursor = Cursor::new(data, at);
        let (version, class) = (cursor.u8()?, cursor.u8()?);
        match (version, class) {
            (1, _) => cursor.skip(6)?,
            (2, _) | (3, 2) => {}
            (3, _) => {
                let message = "it uses a table of shared messages, which is not supported; `h5repack` writes files without";
                return Err(Error::Unsupported(message.to_owned()));
            }
            _ => {
                return Err(
                    cursor.damaged(format!("a shared message is of version {version}, which is unknown"))
                );
            }
        }
        let at =
            self.address(&mut cursor)?.ok_or_else(|| cursor.damaged("a shared message leads nowhere"))?;
        let found = self.raw_messages(at)?.into_iter().find(|(message, _)| message.kind == kind);
        match found {
            Some((message, flags)) if flags & SHARED == 0 => Ok(message.data),
            _ => Err(Error::damaged(at, "a shared message is not where it should be")),
        }
    }

    fn raw_messages(&self, at: u64) -> Result<Vec<(Message, u8)>> {
        let start = self.meta.bytes(at, 16.min(self.meta.length().saturating_sub(at)))?;
        if start.starts_with(b"OHDR") { self.messages_v2(at) } else { self.messages_v1(at) }
    }

    fn messages_v1(&self, at: u64) -> Result<Vec<(Message, u8)>> {
        let head = self.meta.bytes(at, 16)?;
        let mut cursor = Cursor::new(&head, at);
        let version = cursor.u8()?;
        if version != 1 {
            return Err(Error::damaged(
                at,
                format!("an object header is expected here, found version {version}"),
            ));
        }
        cursor.skip(7)?;
        let size = u64::from(cursor.u32()?);
        let mut blocks = vec![(at + 16, size)];
        let mut seen = HashSet::new();
        let mut messages = Vec::new();
        while let Some((at, size)) = blocks.pop() {
            if !seen.insert(at) {
                return Err(Error::damaged(at, "blocks of an object header point in circles"));
            }
            let bytes = self.meta.bytes(at, size)?;
            let mut cursor = Cursor::new(&bytes, at);
            while cursor.left() >= 8 {
                let place = at + (bytes.len() - cursor.left()) as u64 + 8;
                let (kind, length) = (cursor.u16()?, cursor.u16()?);
                let flags = cursor.u8()?;
                cursor.skip(3)?;
                let data = cursor.take(length.into())?;
                self.add(kind, flags, place, data, &mut blocks, &mut messages)?;
            }
        }
        Ok(messages)
    }

    fn messages_v2(&self, at: u64) -> Result<Vec<(Message, u8)>> {
        let head = self.meta.bytes(at, 34.min(self.meta.length() - at))?;
        let mut cursor = Cursor::new(&head, at);
        cursor.expect(b"OHDR")?;
        let version = cursor.u8()?;
        if version != 2 {
            return Err(cursor.damaged(format!("an object header is of version {version}, which is unknown")));
        }
        let header_flags = cursor.u8()?;
        if header_flags & 0x20 != 0 {
            cursor.skip(16)?;
        }
        if header_flags & 0x10 != 0 {
            cursor.skip(4)?;
        }
        let size = cursor.uint(1 << (header_flags & 3))?;
        let prefix = (head.len() - cursor.left()) as u64;
        let total = size
            .checked_add(prefix + 4)
            .ok_or_else(|| cursor.damaged("an object header is beyond memory"))?;
        let tracked = header_flags & 4 != 0;
        let mut blocks = vec![(at, total)];
        let mut seen = HashSet::new();
        let mut messages = Vec::new();
        while let Some((block, size)) = blocks.pop() {
            if !seen.insert(block) {
                return Err(Error::damaged(block, "blocks of an object header point in circles"));
            }
            let bytes = self.meta.bytes(block, size)?;
            let bytes = checksum::verified(&bytes, block, "an object header")?;
            let mut cursor = Cursor::new(bytes, block);
            if block == at {
                cursor.skip(prefix as usize)?;
            } else {
                cursor.expect(b"OCHK")?;
            }
            let head = if tracked { 6 } else { 4 };
            // What is shorter than a message's head is a gap.
            while cursor.left() >= head {
                let kind = cursor.u8()?;
                let length = cursor.u16()?;
                let flags = cursor.u8()?;
                if tracked {
                    cursor.skip(2)?;
                }
                let place = block + (bytes.len() - cursor.left()) as u64;
                let data = cursor.take(length.into())?;
                self.add(kind.into(), flags, place, data, &mut blocks, &mut messages)?;
            }
        }
        Ok(messages)
    }

    fn add(
        &self,
        kind: u16,
        flags: u8,
        at: u64,
        data: &[u8],
        blocks: &mut Vec<(u64, u64)>,
        messages: &mut Vec<(Message, u8)>,
    ) -> Result<()> {
        if kind == kind::CONTINUATION {
            let mut cursor = Cursor::new(data, at);
            if let Some(block) = address(&mut cursor, self.widths)? {
                blocks.push((block, self.length(&mut cursor)?));
            }
        } else {
            messages.push((Message { kind, at, data: data.to_vec() }, flags));
        }
        Ok(())
    }
}
