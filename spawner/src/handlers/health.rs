//! Whether the service is well, and its counters.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use crate::app::App;

pub async fn health(State(app): State<Arc<App>>) -> impl IntoResponse {
    let status = if *app.ending.borrow() { "ending" } else { "serving" };
    Json(serde_json::json!({ "status": status, "version": env!("CARGO_PKG_VERSION") }))
}

pub async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], app.metrics.render())
}
