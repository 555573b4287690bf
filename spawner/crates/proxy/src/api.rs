//! The REST API on the inward-facing address: `/api/routes` and `/api/routes/PATH`.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::{debug, info, warn};

use crate::Proxy;
use crate::body::{AnyBody, full};
use crate::metrics::count;
use crate::path::{decode, routing_path};
use crate::routes::{clean, now_ms};

const API: &str = "/api/routes";
/// A route's data is a few hundred bytes.
const BODY_BYTES_MAX: usize = 1 << 20;

pub(crate) async fn handle(proxy: Arc<Proxy>, request: Request<Incoming>) -> Response<AnyBody> {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let response = route(&proxy, request).await;
    let status = response.status().as_u16();
    proxy.metrics.api(status);
    match status {
        0..400 => info!("{status} {method} {path}"),
        400..500 => warn!("{status} {method} {path}"),
        _ => tracing::error!("{status} {method} {path}"),
    }
    response
}

async fn route(proxy: &Proxy, request: Request<Incoming>) -> Response<AnyBody> {
    let Some(path) = routing_path_of_api(request.uri().path()) else {
        return text(StatusCode::NOT_FOUND, "Not Found");
    };
    let query = request.uri().query().unwrap_or_default().to_owned();
    let method = request.method().clone();
    if ![Method::GET, Method::POST, Method::DELETE].contains(&method) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "Method not supported");
    }
    if !is_authorized(proxy, &request) {
        debug!("Rejecting API request: wrong or missing token");
        return text(StatusCode::FORBIDDEN, "");
    }
    match method {
        Method::GET => get(proxy, &path, &query),
        Method::POST => post(proxy, &path, request).await,
        _ => delete(proxy, &path),
    }
}

/// The decoded path behind `/api/routes`, or `None` if this is something else.
fn routing_path_of_api(path: &str) -> Option<String> {
    let rest = path.strip_prefix(API)?;
    if rest.is_empty() {
        return Some("/".to_owned());
    }
    rest.starts_with('/').then(|| routing_path(rest)).flatten().map(Cow::into_owned)
}

fn is_authorized(proxy: &Proxy, request: &Request<Incoming>) -> bool {
    let Some(expected) = &proxy.options.auth_token else { return true };
    let given = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once("token"))
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .unwrap_or_default();
    // Compared as MACs under a fresh key, so that time tells nothing about the token.
    let key = ring::hmac::Key::generate(ring::hmac::HMAC_SHA256, &ring::rand::SystemRandom::new());
    key.is_ok_and(|key| {
        ring::hmac::verify(&key, given.as_bytes(), ring::hmac::sign(&key, expected.as_bytes()).as_ref())
            .is_ok()
    })
}

fn get(proxy: &Proxy, path: &str, query: &str) -> Response<AnyBody> {
    count(&proxy.metrics.api_route_get);
    if path != "/" {
        return match proxy.routes().get(path) {
            Some(route) => json(&route.json()),
            None => text(StatusCode::NOT_FOUND, ""),
        };
    }
    let since = match inactive_since(query) {
        Ok(since) => since,
        Err(given) => {
            return text(StatusCode::BAD_REQUEST, &format!("Invalid datestamp '{given}' must be ISO8601."));
        }
    };
    let table = proxy.routes();
    let all: Map<String, Value> = table
        .iter()
        .filter(|(_, route)| since.is_none_or(|since| route.last_activity_ms() < since))
        .map(|(path, route)| (path.to_owned(), route.json()))
        .collect();
    json(&Value::Object(all))
}

/// `inactive_since` or `inactiveSince` in milliseconds.
fn inactive_since(query: &str) -> Result<Option<i64>, String> {
    let value = |name: &str| {
        query
            .split('&')
            .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))
            .map(|(_, value)| value)
    };
    let Some(raw) = value("inactiveSince").or_else(|| value("inactive_since")).filter(|raw| !raw.is_empty())
    else {
        return Ok(None);
    };
    // In a query `+` is a space, but a date's `+` is often left unencoded.
    let text = decode(raw).ok_or_else(|| raw.to_owned())?;
    let parsed = text.parse::<Timestamp>().ok().or_else(|| {
        // Without an offset it is UTC.
        text.parse::<jiff::civil::DateTime>()
            .ok()?
            .to_zoned(jiff::tz::TimeZone::UTC)
            .ok()
            .map(|zoned| zoned.timestamp())
    });
    parsed.map(|at| Some(at.as_millisecond())).ok_or(text)
}

async fn post(proxy: &Proxy, path: &str, request: Request<Incoming>) -> Response<AnyBody> {
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
    let body = match tokio::time::timeout(proxy.options.client_time_max, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return text(StatusCode::PAYLOAD_TOO_LARGE, &format!("Body over {BODY_BYTES_MAX} bytes"));
        }
        Ok(Err(error)) => return text(StatusCode::BAD_REQUEST, &format!("Body cannot be read: {error}")),
        Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "Body did not come in time"),
    };
    let mut data = match serde_json::from_slice::<Value>(&body) {
        Ok(Value::Object(data)) => data,
        Ok(_) => return text(StatusCode::BAD_REQUEST, "Body must be a JSON object"),
        Err(error) => return text(StatusCode::BAD_REQUEST, &format!("Body not valid JSON: {error}")),
    };
    if !data.get("target").is_some_and(Value::is_string) {
        return text(StatusCode::BAD_REQUEST, "Must specify 'target' as string");
    }
    let path = clean(path);
    let target = data.get("target").and_then(Value::as_str).unwrap_or_default().to_owned();
    info!("Adding route {path} -> {target}");
    if proxy.options.host_routing
        && path != "/"
        && let Some(host) = path.split('/').nth(1)
    {
        data.insert("host".to_owned(), host.into());
    }
    let added = proxy.routes_mut().add(&path, data, now_ms());
    match added {
        Ok(_) => {
            count(&proxy.metrics.api_route_add);
            info!("Route added {path} -> {target}");
            text(StatusCode::CREATED, "")
        }
        Err(error) => {
            warn!("Bad POST data for {path}: {error:#}");
            text(StatusCode::BAD_REQUEST, &format!("Bad target: {error:#}"))
        }
    }
}

fn delete(proxy: &Proxy, path: &str) -> Response<AnyBody> {
    count(&proxy.metrics.api_route_delete);
    let removed = proxy.routes_mut().remove(path);
    match removed {
        Some(route) => {
            info!("Removing route {}", route.prefix);
            text(StatusCode::NO_CONTENT, "")
        }
        None => text(StatusCode::NOT_FOUND, ""),
    }
}

fn text(status: StatusCode, message: &str) -> Response<AnyBody> {
    let mut response = Response::new(full(message.to_owned()));
    *response.status_mut() = status;
    response
}

fn json(value: &Value) -> Response<AnyBody> {
    let mut response = Response::new(full(value.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_with_and_without_offset() {
        assert_eq!(inactive_since("x=1"), Ok(None));
        assert_eq!(inactive_since("inactive_since=1970-01-01T00:00:01Z"), Ok(Some(1000)));
        assert_eq!(inactive_since("inactiveSince=1970-01-01T00:00:01.500"), Ok(Some(1500)));
        assert_eq!(inactive_since("inactive_since=1970-01-01T01%3A00%3A00%2B01:00"), Ok(Some(0)));
        assert_eq!(inactive_since("inactive_since=endoftheworld"), Err("endoftheworld".to_owned()));
    }

    #[test]
    fn api_paths_are_decoded() {
        assert_eq!(routing_path_of_api("/api/routes").as_deref(), Some("/"));
        assert_eq!(routing_path_of_api("/api/routes/user/a%20b").as_deref(), Some("/user/a b"));
        assert_eq!(routing_path_of_api("/api/routesx"), None);
        assert_eq!(routing_path_of_api("/other"), None);
    }
}
