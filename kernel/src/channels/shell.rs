//! Owns the answers to requests on the shell and control channels; cells are handed on.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use zeromq::{RouterRecvHalf, SocketRecv};

use super::{Kernel, language};
use crate::{
    evaluator::{commands::without_commands, split},
    message::{Message, Signer},
};

/// Reads requests until the socket or the kernel ends. What is not a signed message is logged and dropped.
pub(super) async fn answer(
    kernel: Arc<Kernel>,
    mut socket: RouterRecvHalf,
    signer: Signer,
    replies: mpsc::Sender<Message>,
    cells: mpsc::Sender<Message>,
    stop: watch::Sender<bool>,
) {
    loop {
        let frames = match socket.recv().await {
            Ok(frames) => frames.into_vec(),
            Err(error) => {
                tracing::warn!(%error, "reading a request");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
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
        if request.kind() == "execute_request" {
            if let Err(refused) = cells.try_send(request) {
                let request = refused.into_inner();
                let content = json!({"status": "error", "ename": "QueueFull", "evalue": "too many cells are waiting", "traceback": []});
                let _ = replies.send(request.reply(&kernel.id, "execute_reply", content)).await;
            }
            continue;
        }
        if language::is_asked(&request) {
            // It may ask the compiler, for which no other request waits.
            tokio::spawn(language::answer(Arc::clone(&kernel), request, replies.clone()));
            continue;
        }
        kernel.status(&request.header, "busy").await;
        let (kind, content) = respond(&kernel, &request);
        if let Some(kind) = kind {
            let _ = replies.send(request.reply(&kernel.id, kind, content)).await;
        }
        kernel.status(&request.header, "idle").await;
        if request.kind() == "shutdown_request" {
            let _ = stop.send(true);
        }
    }
}

fn respond(kernel: &Arc<Kernel>, request: &Message) -> (Option<&'static str>, Value) {
    let content = &request.content;
    match request.kind() {
        "kernel_info_request" => (Some("kernel_info_reply"), kernel_info()),
        "is_complete_request" => {
            (Some("is_complete_reply"), is_complete(content["code"].as_str().unwrap_or_default()))
        }
        "history_request" => {
            let session = kernel.session.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            (Some("history_reply"), session.history(content))
        }
        "comm_info_request" => (Some("comm_info_reply"), json!({"status": "ok", "comms": {}})),
        "interrupt_request" => {
            kernel.interrupt(&request.header);
            (Some("interrupt_reply"), json!({"status": "ok"}))
        }
        "shutdown_request" => (
            Some("shutdown_reply"),
            json!({"status": "ok", "restart": content["restart"].as_bool().unwrap_or(false)}),
        ),
        // No comm targets exist, and these want no reply.
        "comm_open" | "comm_msg" | "comm_close" | "input_reply" => (None, json!({})),
        "debug_request" => (
            Some("debug_reply"),
            json!({"type": "response", "success": false, "request_seq": content["seq"], "command": content["command"],
                   "message": "this kernel has no debugger"}),
        ),
        kind => {
            tracing::warn!(kind, "a request of an unknown type");
            (None, json!({}))
        }
    }
}

fn kernel_info() -> Value {
    json!({
        "status": "ok",
        "protocol_version": "5.4",
        "implementation": "nuna",
        "implementation_version": env!("CARGO_PKG_VERSION"),
        "language_info": {
            "name": "rust", "version": "2024", "mimetype": "text/rust", "file_extension": ".rs",
            "pygments_lexer": "rust", "codemirror_mode": "rust",
        },
        "banner": "Nuna: Rust with labelled, chunked arrays and clusters. `:help` lists commands.",
        "debugger": false,
        "help_links": [{"text": "The Rust Reference", "url": "https://doc.rust-lang.org/reference/"}],
    })
}

fn is_complete(code: &str) -> Value {
    match split::split(&without_commands(code)) {
        Ok(_) => json!({"status": "complete"}),
        Err(error) if error.at_end => json!({"status": "incomplete", "indent": "    "}),
        Err(_) => json!({"status": "invalid"}),
    }
}
