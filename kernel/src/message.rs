//! Owns Jupyter messages: their frames, signature and header. Protocol 5.4,
//! <https://jupyter-client.readthedocs.io/en/stable/messaging.html>.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

/// Ends the routing frames.
const DELIMITER: &[u8] = b"<IDS|MSG>";
/// A message larger than this is refused; a cell of that size is a mistake.
const BYTES_MAX: usize = 256 << 20;

/// A message as one side means it. `identities` route a reply back to who asked.
#[derive(Clone, Debug)]
pub struct Message {
    pub identities: Vec<Bytes>,
    pub header: Value,
    pub parent: Value,
    pub metadata: Value,
    pub content: Value,
    /// Bytes that are no JSON, as comms send them. They are not signed.
    pub buffers: Vec<Bytes>,
}

/// Why frames are not a message of ours. Such frames are logged and dropped.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MessageError {
    #[error("no `<IDS|MSG>` frame among {frames} frames")]
    NoDelimiter { frames: usize },
    #[error(
        "{found} frames after the delimiter, where signature, header, parent, metadata and content are five"
    )]
    Truncated { found: usize },
    #[error("the message has {found} bytes, more than the {limit} allowed")]
    TooLarge { found: usize, limit: usize },
    #[error("the signature does not match: the sender has another key")]
    BadSignature,
    #[error("a message with this signature came before: somebody sends again what was sent once")]
    Repeated,
    #[error("frame `{frame}` is not a JSON object: {reason}")]
    NotJson { frame: &'static str, reason: String },
    #[error("the header has no text field `{field}`")]
    NoField { field: &'static str },
}

/// Signs and checks messages with the connection file's key; an empty key switches both off.
#[derive(Clone)]
pub struct Signer {
    key: Vec<u8>,
    /// Of the messages read last, by all who share this signer.
    seen: Arc<Mutex<Seen>>,
}

/// As many signatures are remembered, as jupyter_client does it.
const SEEN_MAX: usize = 1 << 16;

#[derive(Default)]
struct Seen {
    signatures: HashSet<Bytes>,
    order: VecDeque<Bytes>,
}

impl Seen {
    /// False if the signature was seen before.
    fn add(&mut self, signature: &Bytes) -> bool {
        if !self.signatures.insert(signature.clone()) {
            return false;
        }
        self.order.push_back(signature.clone());
        if self.order.len() > SEEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.signatures.remove(&oldest);
        }
        true
    }
}

impl Signer {
    pub fn new(key: &str) -> Self {
        Self { key: key.as_bytes().to_vec(), seen: Arc::default() }
    }

    fn mac(&self, parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
        if self.key.is_empty() {
            return None;
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        parts.iter().for_each(|part| mac.update(part));
        Some(mac)
    }

    /// Frames for the wire, routing frames first.
    pub fn frames(&self, message: &Message) -> Vec<Bytes> {
        let parts: Vec<Vec<u8>> = [&message.header, &message.parent, &message.metadata, &message.content]
            .iter()
            .map(|value| value.to_string().into_bytes())
            .collect();
        let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let signature =
            self.mac(&slices).map(|mac| hex::encode(mac.finalize().into_bytes())).unwrap_or_default();
        let mut frames = message.identities.clone();
        frames.push(Bytes::from_static(DELIMITER));
        frames.push(signature.into_bytes().into());
        frames.extend(parts.into_iter().map(Bytes::from));
        frames.extend(message.buffers.iter().cloned());
        frames
    }

    /// Reads frames, checking the signature in constant time before anything is parsed.
    ///
    /// # Errors
    /// A [`MessageError`] for anything that is not a whole, signed message.
    pub fn read(&self, frames: Vec<Bytes>) -> Result<Message, MessageError> {
        let size = frames.iter().map(Bytes::len).sum();
        if size > BYTES_MAX {
            return Err(MessageError::TooLarge { found: size, limit: BYTES_MAX });
        }
        let at = frames
            .iter()
            .position(|frame| frame.as_ref() == DELIMITER)
            .ok_or(MessageError::NoDelimiter { frames: frames.len() })?;
        let rest = &frames[at + 1..];
        let [signature, header, parent, metadata, content, buffers @ ..] = rest else {
            return Err(MessageError::Truncated { found: rest.len() });
        };
        if let Some(mac) = self.mac(&[header, parent, metadata, content]) {
            let expected = hex::decode(signature).map_err(|_| MessageError::BadSignature)?;
            mac.verify_slice(&expected).map_err(|_| MessageError::BadSignature)?;
            // A copy, because the frame may be a part of all that was received with it.
            if !self.seen.lock().unwrap_or_else(PoisonError::into_inner).add(&Bytes::from(expected)) {
                return Err(MessageError::Repeated);
            }
        }
        let read = |frame: &'static str, bytes: &Bytes| match serde_json::from_slice::<Value>(bytes) {
            Ok(value) if value.is_object() => Ok(value),
            Ok(_) => Err(MessageError::NotJson { frame, reason: "another JSON value".to_owned() }),
            Err(error) => Err(MessageError::NotJson { frame, reason: error.to_string() }),
        };
        let message = Message {
            identities: frames[..at].to_vec(),
            header: read("header", header)?,
            parent: read("parent_header", parent)?,
            metadata: read("metadata", metadata)?,
            content: read("content", content)?,
            buffers: buffers.to_vec(),
        };
        for field in ["msg_id", "msg_type"] {
            if !message.header[field].is_string() {
                return Err(MessageError::NoField { field });
            }
        }
        Ok(message)
    }
}

impl Message {
    /// `msg_type` of the header.
    pub fn kind(&self) -> &str {
        self.header["msg_type"].as_str().unwrap_or_default()
    }

    /// The subshell that the request is for, if it is not the kernel's own shell.
    pub fn subshell(&self) -> Option<&str> {
        self.header["subshell_id"].as_str()
    }

    /// A message of `kind` in answer to this one; `identities` stay, so that a router finds the way back.
    pub fn reply(&self, session: &str, kind: &str, content: Value) -> Message {
        Message { identities: self.identities.clone(), ..child(session, kind, &self.header, content) }
    }
}

/// A message that belongs to the request with header `parent`, for the iopub channel.
pub fn child(session: &str, kind: &str, parent: &Value, content: Value) -> Message {
    Message {
        identities: vec![Bytes::copy_from_slice(kind.as_bytes())],
        header: json!({
            "msg_id": uuid::Uuid::new_v4().to_string(), "session": session, "username": "kernel",
            "date": jiff::Timestamp::now().to_string(), "msg_type": kind, "version": "5.4",
        }),
        parent: parent.clone(),
        metadata: json!({}),
        content,
        buffers: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Message {
        child("s", "kernel_info_request", &json!({}), json!({"a": 1}))
    }

    #[test]
    fn what_is_signed_reads_back() {
        let signer = Signer::new("key");
        let message = signer.read(signer.frames(&sample())).unwrap();
        assert_eq!(message.kind(), "kernel_info_request");
        assert_eq!(message.content["a"], 1);
    }

    #[test]
    fn another_key_is_refused() {
        let frames = Signer::new("other").frames(&sample());
        assert_eq!(Signer::new("key").read(frames).unwrap_err(), MessageError::BadSignature);
    }

    #[test]
    fn a_changed_frame_is_refused() {
        let signer = Signer::new("key");
        let mut frames = signer.frames(&sample());
        *frames.last_mut().unwrap() = Bytes::from_static(b"{\"a\":2}");
        assert_eq!(signer.read(frames).unwrap_err(), MessageError::BadSignature);
    }

    #[test]
    fn truncated_and_foreign_frames_are_refused() {
        let signer = Signer::new("key");
        let frames = signer.frames(&sample());
        for length in 0..frames.len() {
            assert!(signer.read(frames[..length].to_vec()).is_err(), "{length} frames");
        }
        let open = Signer::new("");
        for content in [&b"\xff\xfe"[..], b"[]", b"", b"{"] {
            let mut frames = open.frames(&sample());
            *frames.last_mut().unwrap() = Bytes::copy_from_slice(content);
            assert!(matches!(open.read(frames).unwrap_err(), MessageError::NotJson { frame: "content", .. }));
        }
    }

    #[test]
    fn a_message_sent_again_is_refused() {
        let signer = Signer::new("key");
        let frames = signer.frames(&sample());
        assert!(signer.read(frames.clone()).is_ok());
        assert_eq!(signer.read(frames).unwrap_err(), MessageError::Repeated);
    }

    #[test]
    fn buffers_come_along() {
        let signer = Signer::new("key");
        let buffers = vec![Bytes::from_static(b"\x00\xff"), Bytes::new()];
        let message = Message { buffers: buffers.clone(), ..sample() };
        assert_eq!(signer.read(signer.frames(&message)).unwrap().buffers, buffers);
    }

    #[test]
    fn deep_json_is_refused() {
        let open = Signer::new("");
        let mut frames = open.frames(&sample());
        *frames.last_mut().unwrap() = format!("{{\"a\":{}", "[".repeat(1_000_000)).into();
        assert!(matches!(open.read(frames).unwrap_err(), MessageError::NotJson { .. }));
    }

    /// One way in which frames are not what was sent.
    #[derive(Clone, Debug)]
    enum Damage {
        Drop(usize),
        Double(usize),
        Swap(usize, usize),
        Flip(usize, usize, u8),
        Cut(usize, usize),
        Put(usize, Vec<u8>),
    }

    fn damage() -> impl Strategy<Value = Damage> {
        let at = 0usize..12;
        prop_oneof![
            at.clone().prop_map(Damage::Drop),
            at.clone().prop_map(Damage::Double),
            (at.clone(), at.clone()).prop_map(|(a, b)| Damage::Swap(a, b)),
            (at.clone(), any::<usize>(), 1u8..).prop_map(|(a, b, c)| Damage::Flip(a, b, c)),
            (at.clone(), any::<usize>()).prop_map(|(a, b)| Damage::Cut(a, b)),
            (at, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(a, b)| Damage::Put(a, b)),
        ]
    }

    fn apply(frames: &mut Vec<Bytes>, damage: Damage) {
        let count = frames.len();
        let inside = |at: usize| (count > 0).then(|| at % count);
        match damage {
            Damage::Drop(at) => drop(inside(at).map(|at| frames.remove(at))),
            Damage::Double(at) => drop(inside(at).map(|at| frames.insert(at, frames[at].clone()))),
            Damage::Swap(a, b) => drop(inside(a).zip(inside(b)).map(|(a, b)| frames.swap(a, b))),
            Damage::Flip(at, byte, bits) => {
                if let Some(at) = inside(at)
                    && !frames[at].is_empty()
                {
                    let mut bytes = frames[at].to_vec();
                    let byte = byte % bytes.len();
                    bytes[byte] ^= bits;
                    frames[at] = bytes.into();
                }
            }
            Damage::Cut(at, length) => {
                if let Some(at) = inside(at) {
                    frames[at] = frames[at].slice(..length % (frames[at].len() + 1));
                }
            }
            Damage::Put(at, bytes) => frames.insert(at.min(count), bytes.into()),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        /// Whatever happens to the frames, reading ends, and what a key signed is never changed without being noticed.
        #[test]
        fn damaged_frames_are_read_as_they_were_or_not_at_all(
            signed in any::<bool>(),
            buffers in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..3),
            damages in prop::collection::vec(damage(), 1..5),
        ) {
            let signer = Signer::new(if signed { "key" } else { "" });
            let buffers = buffers.into_iter().map(Bytes::from).collect();
            let message = Message { buffers, ..sample() };
            let mut frames = signer.frames(&message);
            damages.into_iter().for_each(|damage| apply(&mut frames, damage));
            if let Ok(read) = signer.read(frames) {
                prop_assert!(read.header["msg_id"].is_string() && read.header["msg_type"].is_string());
                prop_assert!(read.content.is_object() && read.parent.is_object() && read.metadata.is_object());
                if signed {
                    prop_assert_eq!((&read.header, &read.content), (&message.header, &message.content));
                }
            }
        }
    }
}
