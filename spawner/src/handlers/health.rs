//! Whether the service lives, whether it is ready and which part is not, and its counters.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde_json::json;

use crate::app::App;
use crate::auth::DirectoryState;
use crate::lifecycle::PbsHealth;

/// The service lives: it answers, whatever it may lack.
pub async fn health(State(app): State<Arc<App>>) -> impl IntoResponse {
    let status = if *app.ending.borrow() { "ending" } else { "serving" };
    let (answers, words) = match app.keeper.pbs() {
        PbsHealth::Unknown => (None, None),
        PbsHealth::Answers => (Some(true), None),
        PbsHealth::Silent { words } => (Some(false), Some(words)),
    };
    let batch = json!({
        "system": app.config.batch.system.to_string(), "answers": answers, "words": words,
    });
    Json(json!({ "status": status, "version": env!("CARGO_PKG_VERSION"), "batch": batch }))
}

/// The service can do its work. It is ready once the journal takes changes and the batch system has been asked; that a
/// batch system or a directory is away is told, and is no reason to take the service away too.
pub async fn ready(State(app): State<Arc<App>>) -> impl IntoResponse {
    let mut servers = app.directory.servers();
    if servers.iter().any(|server| server.state == DirectoryState::NotAsked) {
        // Nobody has signed in yet.
        app.directory.probe().await;
        servers = app.directory.servers();
    }
    let (parts, is_ending) = (app.metrics.parts(), *app.ending.borrow());
    let is_ready = parts.journal_takes && parts.pbs_asked && !is_ending;
    let answers = servers.iter().any(|server| server.state == DirectoryState::Answers);
    let body = json!({
        "ready": is_ready,
        "ending": is_ending,
        "parts": {
            "journal": {
                "ok": parts.journal_takes,
                "bytes": app.journal.bytes(),
            },
            "batch": {
                "ok": parts.pbs_answers,
                "system": app.config.batch.system.to_string(),
                "asked": parts.pbs_asked,
            },
            "directory": {
                "ok": answers,
                "servers": servers,
            },
        },
    });
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body))
}

pub async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    let text = app.metrics.render(&app.directory.servers(), app.journal.bytes());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}
