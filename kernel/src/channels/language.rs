//! Owns the messages about completion and inspection; requests are answered beside the cells, also while one runs, by the
//! language service.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::Kernel;
use crate::{
    evaluator::{Language, Matches},
    language::{complete::Completion, cursor},
    message::Message,
};

pub(super) fn is_asked(request: &Message) -> bool {
    ["complete_request", "inspect_request"].contains(&request.kind())
}

/// Answers one request.
pub(super) async fn answer(kernel: Arc<Kernel>, request: Message, replies: mpsc::Sender<Message>) {
    kernel.status(&request.header, "busy").await;
    let (kind, content) = content_of(&kernel, &request).await;
    // The sockets' tasks live as long as the kernel.
    let _ = replies.send(request.reply(&kernel.id, kind, content)).await;
    kernel.status(&request.header, "idle").await;
}

/// Kind and content of the answer.
pub(super) async fn content_of(kernel: &Kernel, request: &Message) -> (&'static str, Value) {
    let content = &request.content;
    let text = content["code"].as_str().unwrap_or_default().to_owned();
    // The protocol's default is the end.
    let cursor = content["cursor_pos"].as_u64().map_or(usize::MAX, |cursor| cursor as usize);
    let own = match &kernel.language {
        Some(language) => evaluators_own(&**language, request).await,
        None => None,
    };
    match (own, request.kind()) {
        (Some(answer), _) => answer,
        (None, "complete_request") => {
            ("complete_reply", completed(&kernel.service.complete(text, cursor).await))
        }
        (None, _) => {
            let detailed = content["detail_level"].as_u64().unwrap_or(0) > 0;
            let mut data = Map::new();
            if let Some(found) = kernel.service.inspect(text, cursor, detailed).await {
                data.insert("text/plain".to_owned(), json!(found.plain));
                data.insert("text/markdown".to_owned(), json!(found.markdown));
            }
            let content = json!({"status": "ok", "found": !data.is_empty(), "data": data, "metadata": {}});
            ("inspect_reply", content)
        }
    }
}

/// The answer of an evaluator that knows the language itself; `None` if it is busy or has nothing to say.
async fn evaluators_own(language: &dyn Language, request: &Message) -> Option<(&'static str, Value)> {
    let code = request.content["code"].as_str()?;
    let characters = request.content["cursor_pos"].as_u64().map_or(usize::MAX, |cursor| cursor as usize);
    let at = cursor::byte_of(code, characters);
    if request.kind() == "complete_request" {
        let Matches { matches, start, end } = language.complete(code, at).await?;
        // Jupyter counts characters.
        let characters = |at: usize| code.get(..at).map(|text| text.chars().count());
        let content = json!({
            "status": "ok", "matches": matches, "metadata": {},
            "cursor_start": characters(start)?, "cursor_end": characters(end)?,
        });
        return Some(("complete_reply", content));
    }
    let end = cursor::word_at(code, at).end;
    let data: Map<String, Value> =
        language.inspect(code, end).await?.into_iter().map(|(kind, data)| (kind, json!(data))).collect();
    Some(("inspect_reply", json!({"status": "ok", "found": true, "data": data, "metadata": {}})))
}

fn completed(completion: &Completion) -> Value {
    let Completion { offers, start, end } = completion;
    let matches: Vec<&str> = offers.iter().map(|offer| offer.text.as_str()).collect();
    let kinds: Vec<Value> = offers
        .iter()
        .map(|offer| {
            json!({"start": start, "end": end, "text": offer.text, "type": offer.kind, "signature": offer.signature})
        })
        .collect();
    json!({
        "status": "ok", "matches": matches, "cursor_start": start, "cursor_end": end,
        "metadata": {"_jupyter_types_experimental": kinds},
    })
}
