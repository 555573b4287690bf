//! Owns the reading of the shell and control channels, and the answers that need no evaluator; cells, comm messages and
//! questions about code are handed on.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use zeromq::{RouterRecvHalf, SocketRecv};

use super::{Kernel, comm, control, language};
use crate::{
    evaluator::{commands::without_commands, split},
    message::{Message, Signer},
};

/// How long an answer about history waits for that of earlier sessions.
const HISTORY_PATIENCE: Duration = Duration::from_secs(2);

/// Where requests go that are not answered here.
#[derive(Clone)]
pub(super) struct Rooms {
    pub(super) cells: mpsc::Sender<Message>,
    pub(super) comms: mpsc::Sender<Message>,
    pub(super) stop: watch::Sender<bool>,
}

/// Reads requests until the socket or the kernel ends. What is not a signed message is logged and dropped.
pub(super) async fn answer(
    kernel: Arc<Kernel>,
    mut socket: RouterRecvHalf,
    signer: Signer,
    replies: mpsc::Sender<Message>,
    rooms: Rooms,
) {
    loop {
        let frames = match socket.recv().await {
            Ok(frames) => frames.into_vec(),
            Err(error) => {
                tracing::warn!(%error, "reading a request");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let request = match signer.read(frames) {
            Ok(request) => request,
            Err(error) => {
                tracing::warn!(%error, "dropped frames that are not a message for this kernel");
                continue;
            }
        };
        route(&kernel, request, &replies, &rooms).await;
    }
}

async fn route(kernel: &Arc<Kernel>, request: Message, replies: &mpsc::Sender<Message>, rooms: &Rooms) {
    if let Some(subshell) = request.subshell()
        && !kernel.subshells.lock().unwrap_or_else(PoisonError::into_inner).knows(subshell)
    {
        let reason = format!("there is no subshell {subshell:?}; it was deleted, or never made");
        return reply(kernel, &request, control::refused("UnknownSubshell", &reason), replies).await;
    }
    if request.kind() == "execute_request" {
        if let Err(refused) = rooms.cells.try_send(request) {
            let request = refused.into_inner();
            let reason = "too many cells are waiting; this one was not taken";
            reply(kernel, &request, control::refused("QueueFull", reason), replies).await;
        }
        return;
    }
    if comm::is_comm(request.kind()) {
        if rooms.comms.try_send(request).is_err() {
            tracing::warn!("a comm message was dropped: its handlers are too slow, or the kernel ends");
        }
        return;
    }
    if language::is_asked(&request) {
        // It may ask the compiler, for which no other request waits.
        tokio::spawn(language::answer(Arc::clone(kernel), request, replies.clone()));
        return;
    }
    if request.kind() == "history_request" {
        let (kernel, replies) = (Arc::clone(kernel), replies.clone());
        tokio::spawn(async move {
            // Without the earlier ones, if they take long to read.
            let _ = tokio::time::timeout(HISTORY_PATIENCE, kernel.open_history()).await;
            let content =
                kernel.session.lock().unwrap_or_else(PoisonError::into_inner).history(&request.content);
            reply(&kernel, &request, content, &replies).await;
        });
        return;
    }
    match control::respond(kernel, &request).map(|(_, content)| content).or_else(|| respond(kernel, &request))
    {
        Some(content) => reply(kernel, &request, content, replies).await,
        None => {
            // The protocol has no answer for it, but a client that waits for idle shall not wait for ever.
            tracing::warn!(kind = request.kind(), "a message of an unknown type");
            kernel.status(&request.header, "busy").await;
            kernel.status(&request.header, "idle").await;
        }
    }
    if request.kind() == "shutdown_request" {
        let _ = rooms.stop.send(true);
    }
}

async fn reply(kernel: &Kernel, request: &Message, content: Value, replies: &mpsc::Sender<Message>) {
    let kind = request.kind();
    let kind = format!("{}_reply", kind.strip_suffix("_request").unwrap_or(kind));
    kernel.status(&request.header, "busy").await;
    // The sockets' tasks live as long as the kernel.
    let _ = replies.send(request.reply(&kernel.id, &kind, content)).await;
    kernel.status(&request.header, "idle").await;
}

fn respond(kernel: &Kernel, request: &Message) -> Option<Value> {
    let content = &request.content;
    Some(match request.kind() {
        "kernel_info_request" => kernel_info(),
        "is_complete_request" => match content["code"].as_str() {
            Some(code) => is_complete(code),
            None => {
                control::refused("BadRequest", "an is_complete_request has its code in the text field `code`")
            }
        },
        "comm_info_request" => kernel.comms.lock().unwrap_or_else(PoisonError::into_inner).info(content),
        _ => return None,
    })
}

fn kernel_info() -> Value {
    json!({
        "status": "ok",
        "protocol_version": "5.4",
        "implementation": "nuna",
        "implementation_version": env!("CARGO_PKG_VERSION"),
        "language_info": {
            "name": "rust", "version": "2024", "mimetype": "text/x-rust", "file_extension": ".rs",
            "pygments_lexer": "rust", "codemirror_mode": {"name": "rust"}, "nbconvert_exporter": "script",
        },
        "banner": "Nuna: Rust with labelled, chunked arrays and clusters. `:help` lists commands.",
        "debugger": false,
        "supported_features": ["kernel subshells"],
        "help_links": [{"text": "The Rust Reference", "url": "https://doc.rust-lang.org/reference/"}],
    })
}

fn is_complete(code: &str) -> Value {
    if code.trim_start().starts_with('?') {
        return json!({"status": "complete"});
    }
    match split::split(&without_commands(code)) {
        Ok(_) => json!({"status": "complete"}),
        Err(error) if error.at_end => json!({"status": "incomplete", "indent": "    "}),
        Err(_) => json!({"status": "invalid"}),
    }
}
