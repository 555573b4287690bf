//! What a caller is told when something is refused or fails: status, stable code, safe text, request id.
//! The cause goes to the log under the same id.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::page;

#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// Shown as a page instead of JSON, since a person is looking.
    is_page: bool,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), is_page: false }
    }

    pub(crate) fn not_signed_in() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "not_signed_in", "sign in to the hub first")
    }

    pub(crate) fn no_such_cluster(name: &str) -> Self {
        // The same words for a cluster of someone else: its existence is theirs too.
        let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
        Self::new(
            StatusCode::NOT_FOUND,
            "no_such_cluster",
            format!("no cluster of yours named {name} is running"),
        )
    }

    pub(crate) fn hub_unreachable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "hub_unreachable",
            "the hub does not answer at the moment, so nobody can be recognised; try again in a minute",
        )
    }

    pub(crate) fn foreign_origin() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "foreign_origin",
            "this request was made by a page of another site; open the dashboard from JupyterLab or the hub",
        )
    }

    pub(crate) fn as_page(mut self) -> Self {
        self.is_page = true;
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let request = hex::encode(rand::random::<[u8; 6]>());
        // Browsers and clusters ask again every few seconds, so a refusal by itself is no news.
        if self.status.is_server_error() {
            tracing::warn!(status = self.status.as_u16(), code = self.code, %request, message = %self.message, "failed");
        } else {
            tracing::debug!(status = self.status.as_u16(), code = self.code, %request, message = %self.message, "refused");
        }
        if self.is_page {
            let text = page::trouble(&self.message, &request);
            return (self.status, [(header::CONTENT_TYPE, page::HTML)], text).into_response();
        }
        let body = serde_json::json!({
            "error": { "code": self.code, "message": self.message, "request": request }
        });
        (self.status, Json(body)).into_response()
    }
}
