//! Owns completion and inspection: requests that are answered beside the cells, also while one runs.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::Kernel;
use crate::{
    evaluator::{Language, Matches},
    message::Message,
};

const KEYWORDS: &[&str] = &[
    "as", "async", "await", "break", "const", "continue", "else", "enum", "false", "fn", "for", "if", "impl",
    "in", "let", "loop", "match", "mod", "move", "mut", "pub", "ref", "return", "static", "struct", "trait",
    "true", "type", "unsafe", "use", "where", "while",
];

pub(super) fn is_asked(request: &Message) -> bool {
    ["complete_request", "inspect_request"].contains(&request.kind())
}

/// Answers one request.
pub(super) async fn answer(kernel: Arc<Kernel>, request: Message, replies: mpsc::Sender<Message>) {
    kernel.status(&request.header, "busy").await;
    let own = match &kernel.language {
        Some(language) => evaluators_own(&**language, &request).await,
        None => None,
    };
    let (kind, content) = match (own, request.kind()) {
        (Some(answer), _) => answer,
        (None, "complete_request") => ("complete_reply", complete(&kernel, &request.content)),
        (None, _) => ("inspect_reply", inspect(&kernel, &request.content)),
    };
    // The sockets' tasks live as long as the kernel.
    let _ = replies.send(request.reply(&kernel.id, kind, content)).await;
    kernel.status(&request.header, "idle").await;
}

/// The answer of an evaluator that knows the language itself; `None` if it is busy or has nothing to say.
async fn evaluators_own(language: &dyn Language, request: &Message) -> Option<(&'static str, Value)> {
    let code = request.content["code"].as_str()?;
    let before = before_cursor(code, &request.content);
    if request.kind() == "complete_request" {
        let Matches { matches, start, end } = language.complete(code, before.len()).await?;
        // Jupyter counts characters.
        let characters = |at: usize| code.get(..at).map(|text| text.chars().count());
        let content = json!({
            "status": "ok", "matches": matches, "metadata": {},
            "cursor_start": characters(start)?, "cursor_end": characters(end)?,
        });
        return Some(("complete_reply", content));
    }
    let end = before.len() + word_end(code, before.len()).len();
    let data: Map<String, Value> =
        language.inspect(code, end).await?.into_iter().map(|(kind, data)| (kind, json!(data))).collect();
    Some(("inspect_reply", json!({"status": "ok", "found": true, "data": data, "metadata": {}})))
}

/// Bytes of `code` before `cursor`, which counts characters.
fn before_cursor<'a>(code: &'a str, content: &Value) -> &'a str {
    let cursor = content["cursor_pos"].as_u64().unwrap_or(u64::MAX) as usize;
    code.char_indices().nth(cursor).map_or(code, |(at, _)| &code[..at])
}

fn word_end(code: &str, from: usize) -> &str {
    let rest = &code[from..];
    &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())]
}

fn word_start(before: &str) -> &str {
    let start = before
        .rfind(|c: char| !c.is_alphanumeric() && c != '_')
        .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
    &before[start..]
}

fn complete(kernel: &Kernel, content: &Value) -> Value {
    let code = content["code"].as_str().unwrap_or_default();
    let before = before_cursor(code, content);
    let word = word_start(before);
    let end = before.chars().count();
    let start = end - word.chars().count();
    let after_dot = before[..before.len() - word.len()].ends_with(['.', ':']);
    let mut matches: Vec<String> = Vec::new();
    if !after_dot {
        let names = kernel.names.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        matches.extend(names.iter().map(|(name, _)| name.clone()).filter(|name| name.starts_with(word)));
        matches.extend(KEYWORDS.iter().filter(|k| k.starts_with(word)).map(|k| (*k).to_owned()));
    }
    json!({"status": "ok", "matches": matches, "cursor_start": start, "cursor_end": end, "metadata": {}})
}

fn inspect(kernel: &Kernel, content: &Value) -> Value {
    let code = content["code"].as_str().unwrap_or_default();
    let before = before_cursor(code, content);
    let word = format!("{}{}", word_start(before), word_end(code, before.len()));
    let names = kernel.names.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match names.iter().find(|(name, _)| *name == word) {
        Some((name, ty)) => {
            json!({"status": "ok", "found": true, "data": {"text/plain": format!("{name}: {ty}")}, "metadata": {}})
        }
        None => json!({"status": "ok", "found": false, "data": {}, "metadata": {}}),
    }
}
