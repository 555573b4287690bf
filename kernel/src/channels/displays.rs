//! Owns what stands between printed text and messages: evcxr's convention for displays, by which `nuna::display` and
//! `nuna::comm` send whole messages too. No I/O.

use bytes::Bytes;
use serde_json::{Value, json};

const BEGIN: &str = "EVCXR_BEGIN_CONTENT ";
const END: &str = "EVCXR_END_CONTENT";
/// Stands for a media type where a cell sends a whole message.
const MESSAGE: &str = "application/x-nuna-message";
/// A block that grows beyond this without an end is text.
const BLOCK_BYTES_MAX: usize = 512 << 20;
/// What a cell may send.
const KINDS: [&str; 6] =
    ["display_data", "update_display_data", "clear_output", "comm_open", "comm_msg", "comm_close"];

/// A message for the notebook, all but its headers.
#[derive(Debug, PartialEq)]
pub(super) struct Shown {
    pub(super) kind: &'static str,
    pub(super) content: Value,
    pub(super) metadata: Value,
    pub(super) buffers: Vec<Bytes>,
}

impl Shown {
    pub(super) fn stream(name: &str, text: &str) -> Self {
        Self::new("stream", json!({"name": name, "text": text}))
    }

    fn new(kind: &'static str, content: Value) -> Self {
        Self { kind, content, metadata: json!({}), buffers: Vec::new() }
    }
}

/// Finds displays in what one request prints to its standard output.
#[derive(Default)]
pub(super) struct Displays {
    /// What may be the beginning of a mark; or a block from its mark on.
    held: String,
    /// So much of a held block has no end in it.
    searched: usize,
    /// A block has just ended; the end of its line is not text.
    line_ends: bool,
}

impl Displays {
    pub(super) fn holds_nothing(&self) -> bool {
        self.held.is_empty() && !self.line_ends
    }

    pub(super) fn read(&mut self, text: &str) -> Vec<Shown> {
        let mut out = Vec::new();
        if text.is_empty() {
            return out;
        }
        let line_ended = std::mem::take(&mut self.line_ends);
        self.held.push_str(text.strip_prefix('\n').filter(|_| line_ended).unwrap_or(text));
        let held = std::mem::take(&mut self.held);
        let mut at = 0;
        loop {
            let begin = if self.searched > 0 { Some(0) } else { held[at..].find(BEGIN) };
            let Some(begin) = begin.map(|begin| at + begin) else {
                // What may become the mark waits for the rest of it.
                let rest = &held[at..];
                let keep = (1..BEGIN.len()).rev().find(|&n| rest.ends_with(&BEGIN[..n])).unwrap_or(0);
                let (now, later) = rest.split_at(rest.len() - keep);
                text_of(now, &mut out);
                self.held = later.to_owned();
                return out;
            };
            let mut from = begin + self.searched.max(BEGIN.len());
            while !held.is_char_boundary(from) {
                from -= 1;
            }
            self.searched = 0;
            text_of(&held[at..begin], &mut out);
            let Some(end) = held[from..].find(END).map(|end| from + end) else {
                let length = held.len() - begin;
                if length > BLOCK_BYTES_MAX {
                    text_of(&held[begin..], &mut out);
                } else {
                    self.searched = length.saturating_sub(END.len() - 1).max(BEGIN.len());
                    // Copied only once, when it begins.
                    self.held = if begin == 0 { held } else { held[begin..].to_owned() };
                }
                return out;
            };
            out.extend(block(&held[begin + BEGIN.len()..end]));
            at = end + END.len();
            at += usize::from(held[at..].starts_with('\n'));
            self.line_ends = at == end + END.len() && at == held.len();
        }
    }

    /// What is held when the cell has ended: it was text after all.
    pub(super) fn rest(&mut self) -> Vec<Shown> {
        let mut out = Vec::new();
        text_of(&std::mem::take(&mut self.held), &mut out);
        (self.searched, self.line_ends) = (0, false);
        out
    }
}

fn text_of(text: &str, out: &mut Vec<Shown>) {
    if !text.is_empty() {
        out.push(Shown::stream("stdout", text));
    }
}

fn block(block: &str) -> Option<Shown> {
    let (kind, data) = block.split_once('\n').unwrap_or((block, ""));
    let data = data.strip_suffix('\n').unwrap_or(data);
    match kind.trim() {
        MESSAGE => message_of(data),
        kind => {
            Some(Shown::new("display_data", json!({"data": {kind: data}, "metadata": {}, "transient": {}})))
        }
    }
}

/// The message that `nuna::display` wrote; what a cell may not send is dropped.
fn message_of(text: &str) -> Option<Shown> {
    let mut message: Value = serde_json::from_str(text).ok()?;
    let kind = KINDS.into_iter().find(|kind| message["msg_type"] == *kind)?;
    let buffers = message["buffers"].as_array().into_iter().flatten();
    let buffers = buffers.map(|text| nuna::comm::bytes_of(text.as_str()?).map(Bytes::from));
    let buffers = buffers.collect::<Option<Vec<Bytes>>>()?;
    let metadata = if message["metadata"].is_object() { message["metadata"].take() } else { json!({}) };
    Some(Shown { kind, content: message["content"].take(), metadata, buffers })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(shown: &[Shown]) -> Vec<&str> {
        shown.iter().map(|shown| shown.content["text"].as_str().unwrap_or(shown.kind)).collect()
    }

    #[test]
    fn displays_are_found_across_prints() {
        let whole = "before\nEVCXR_BEGIN_CONTENT text/html\n<b>x</b>\nEVCXR_END_CONTENT\nafter";
        for at in 0..whole.len() {
            let mut displays = Displays::default();
            let mut out = displays.read(&whole[..at]);
            out.extend(displays.read(&whole[at..]));
            out.extend(displays.rest());
            let shown = out.iter().position(|shown| shown.kind == "display_data").unwrap();
            assert_eq!(out[shown].content["data"], json!({"text/html": "<b>x</b>"}), "cut at {at}");
            assert_eq!(texts(&out[..shown]).concat(), "before\n", "cut at {at}");
            assert_eq!(texts(&out[shown + 1..]).concat(), "after", "cut at {at}");
        }
    }

    #[test]
    fn a_block_without_an_end_is_looked_through_once() {
        let mut displays = Displays::default();
        displays.read("EVCXR_BEGIN_CONTENT text/plain\n");
        let part = "x".repeat(64 << 10);
        let begun = std::time::Instant::now();
        (0..800).for_each(|_| assert!(displays.read(&part).is_empty()));
        let shown = displays.read("\nEVCXR_END_CONTENT\n");
        assert_eq!(shown[0].content["data"]["text/plain"].as_str().unwrap().len(), 800 * part.len());
        // Looking again from the beginning each time would take minutes.
        assert!(begun.elapsed().as_secs() < 60);
    }

    #[test]
    fn a_cell_sends_messages_about_its_output_and_comms_only() {
        let sent = message_of(r#"{"msg_type": "clear_output", "content": {"wait": true}}"#).unwrap();
        assert_eq!((sent.kind, sent.content), ("clear_output", json!({"wait": true})));
        let sent =
            message_of(r#"{"msg_type": "comm_msg", "content": {"comm_id": "a"}, "buffers": ["AAE="]}"#);
        assert_eq!(sent.unwrap().buffers, [Bytes::from_static(&[0, 1])]);
        assert_eq!(message_of(r#"{"msg_type": "shutdown_reply", "content": {}}"#), None);
        assert_eq!(message_of(r#"{"msg_type": "comm_msg", "content": {}, "buffers": ["-"]}"#), None);
        assert_eq!(message_of("{"), None);
    }
}
