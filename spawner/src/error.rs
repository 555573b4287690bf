//! What a client of the API is told when something goes wrong: status, stable code, a sentence for a page, and the
//! request's id, which the log has with the cause.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{ConnectInfo, FromRequest, Request};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::Instrument;

use crate::auth::SignInError;
use crate::lifecycle::{Failure, ServerId};
use crate::profiles::ChoiceError;
use crate::secret::random_hex;

tokio::task_local! {
    static REQUEST: String;
}

#[derive(Debug)]
pub struct ApiError {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    /// For `already_running`.
    pub id: Option<ServerId>,
}

#[derive(Serialize)]
struct Body<'a> {
    error: Inner<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a ServerId>,
}

#[derive(Serialize)]
struct Inner<'a> {
    code: &'a str,
    message: &'a str,
    request: String,
}

impl ApiError {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), id: None }
    }

    /// The cause goes to the log, not to the client.
    pub fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!("{cause}");
        let message = "The service failed; its log has the reason under this request's number.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    pub fn no_such_server() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no_such_server", "There is no such server, or it ended long ago.")
    }

    pub fn too_slow(limit: Duration) -> Self {
        let message = format!("The request was not complete within {} s.", limit.as_secs());
        Self::new(StatusCode::REQUEST_TIMEOUT, "too_slow", message)
    }

    pub fn ending() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "ending",
            "The service is being restarted; try again in a moment.",
        )
    }

    pub fn failure(failure: Failure, message: &str) -> Self {
        let status = match failure {
            Failure::PbsRejected => StatusCode::UNPROCESSABLE_ENTITY,
            Failure::PbsUnreachable => StatusCode::SERVICE_UNAVAILABLE,
            Failure::Internal
            | Failure::QueueWait
            | Failure::StartLimit
            | Failure::LaunchFailed
            | Failure::JobEnded
            | Failure::Restarted => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, failure.code(), message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let request = REQUEST.try_with(Clone::clone).unwrap_or_default();
        match self.status {
            // The hub asks again and again what the configuration does not offer.
            StatusCode::NOT_IMPLEMENTED => tracing::debug!(code = self.code, "{}", self.message),
            status => tracing::info!(status = status.as_u16(), code = self.code, "{}", self.message),
        }
        let error = Inner { code: self.code, message: &self.message, request };
        (self.status, Json(Body { error, id: self.id.as_ref() })).into_response()
    }
}

impl From<SignInError> for ApiError {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::WrongPassword { .. } => Self::new(
                StatusCode::UNAUTHORIZED,
                "wrong_password",
                "The user name or the password is wrong.",
            ),
            SignInError::NotAllowed => Self::new(
                StatusCode::FORBIDDEN,
                "not_allowed",
                "Name and password are right, but this account may not use JupyterHub. Ask an administrator.",
            ),
            SignInError::Locked { .. } => Self::new(
                StatusCode::FORBIDDEN,
                "account_locked",
                "This account is locked or has expired. Ask an administrator.",
            ),
            SignInError::Gone => Self::new(
                StatusCode::FORBIDDEN,
                "no_such_user",
                "The user directory has no such user any more.",
            ),
            SignInError::NoLookup => Self::new(
                StatusCode::NOT_IMPLEMENTED,
                "not_looked_up",
                "Nobody is looked up here: there is no directory.lookup_dn.",
            ),
            SignInError::Unreachable { .. } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "directory_unreachable",
                "The user directory does not answer, so nobody can sign in at the moment. Try again in a few minutes.",
            ),
            SignInError::Misconfigured { message } => Self::internal(&message),
        }
    }
}

impl From<ChoiceError> for ApiError {
    fn from(error: ChoiceError) -> Self {
        let (status, code) = match &error {
            ChoiceError::NoProfile { .. } => (StatusCode::FORBIDDEN, "no_profile"),
            ChoiceError::NotInGroup { .. } => (StatusCode::FORBIDDEN, "not_in_group"),
            ChoiceError::BadOption { .. } => (StatusCode::BAD_REQUEST, "bad_option"),
        };
        let mut text = error.to_string();
        if let Some(first) = text.get(..1) {
            text = first.to_uppercase() + &text[1..];
        }
        Self::new(status, code, text + ".")
    }
}

/// For a body to come: it is some kilobytes, from this machine or a node.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);

/// JSON whose faults are told as all others are. Values of fields never show: they may be passwords.
pub struct Sent<T>(pub T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> FromRequest<S> for Sent<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bad = |message: &str| ApiError::new(StatusCode::BAD_REQUEST, "bad_request", message);
        let read = tokio::time::timeout(BODY_TIME_MAX, Json::<T>::from_request(request, state)).await;
        match read.map_err(|_| ApiError::too_slow(BODY_TIME_MAX))? {
            Ok(Json(value)) => Ok(Self(value)),
            Err(JsonRejection::JsonDataError(_)) => {
                Err(bad("The JSON does not have the fields this request needs."))
            }
            Err(JsonRejection::JsonSyntaxError(_)) => Err(bad("The body is not JSON.")),
            Err(JsonRejection::MissingJsonContentType(_)) => {
                Err(bad("The content type is not application/json."))
            }
            Err(other) => Err(ApiError::new(other.status(), "bad_request", "The body cannot be read.")),
        }
    }
}

/// Name of the header by which who asks names the request, and is told its name.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Letters of a name that is taken from outside.
const REQUEST_ID_MAX: usize = 64;

/// Gives each request an id, which every line of the log about it carries and the answer too. The hub, and the proxy on this
/// machine, may have given it one.
pub async fn with_request_id(request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    // Only the hub's socket has no address.
    let is_trusted = peer.is_none_or(|peer| peer.0.ip().to_canonical().is_loopback());
    let given = request.headers().get(REQUEST_ID).filter(|_| is_trusted);
    let given = given.and_then(|value| value.to_str().ok()).filter(|id| is_request_id(id)).map(str::to_owned);
    let id = given.unwrap_or_else(|| random_hex::<4>().unwrap_or_default());
    let span = tracing::info_span!("request", id, method = %request.method(), path = request.uri().path());
    let header = HeaderValue::from_str(&id);
    let mut response = REQUEST.scope(id, next.run(request).instrument(span)).await;
    if let Ok(header) = header {
        response.headers_mut().insert(REQUEST_ID, header);
    }
    response
}

/// What can stand in a line of the log without looking like anything else.
fn is_request_id(id: &str) -> bool {
    (1..=REQUEST_ID_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_from_outside_are_plain_words() {
        for id in ["a", "4bf92f35-77b3.4da6_A", &"x".repeat(64)] {
            assert!(is_request_id(id), "{id}");
        }
        for id in ["", " a", "a b", "a=b", "a\"", "a\u{1b}[31m", "ä", "{}", &"x".repeat(65)] {
            assert!(!is_request_id(id), "{id:?}");
        }
    }
}
