//! One proxied request: find the route, pass it on, pass the answer back, keep the route's activity.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, COOKIE, HOST, HeaderMap, HeaderValue, UPGRADE};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use tracing::{debug, error};

use crate::Proxy;
use crate::body::{AnyBody, GaveUp, Upload, full};
use crate::converse::HEADER_BYTES_MAX;
use crate::error_page;
use crate::headers::{self, Peer};
use crate::metrics::count;
use crate::path::routing_path;
use crate::pool::Upstream;
use crate::routes::Route;
use crate::{tunnel, websocket};

pub(crate) const HEALTH_PATH: &str = "/_chp_healthz";

/// What all requests of one connection share.
pub(crate) struct Visit {
    pub(crate) proxy: Arc<Proxy>,
    /// Of the worker that has the connection.
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) peer: Peer,
}

/// Why a request did not reach its target.
pub(crate) struct Trouble {
    status: StatusCode,
    reason: String,
    /// It was the hub that did not answer, which then makes no page about it either.
    is_hub: bool,
}

impl Trouble {
    fn bad(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
    }

    fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), is_hub: false }
    }

    pub(crate) fn unavailable(route: &Route, what: impl std::fmt::Display) -> Self {
        let reason = format!("{}: {what}", route.target.authority());
        Self { status: StatusCode::SERVICE_UNAVAILABLE, reason, is_hub: route.is_hub() }
    }

    pub(crate) fn late(route: &Route, limit: Duration) -> Self {
        let trouble = Self::unavailable(route, format!("no answer within {limit:?}"));
        match trouble.is_hub {
            true => Self { status: StatusCode::GATEWAY_TIMEOUT, ..trouble },
            // As configurable-http-proxy says of every target.
            false => trouble,
        }
    }
}

/// A request that has been looked at, and waits to be sent or refused. Behind a pointer: what a waiting function has at
/// hand is moved for each request, and a request is large.
pub(crate) struct Begun {
    method: Method,
    path: PathAndQuery,
    is_upgrade: bool,
    is_http1: bool,
    /// A WebSocket as a stream of HTTP/2.
    is_within_http2: bool,
    /// Whether to say that the connection is kept, as Node does in every answer.
    keeps: bool,
    prepared: Result<Prepared, Trouble>,
}

/// All that needs no waiting. `Err` is an answer of our own.
pub(crate) fn begin(
    visit: &Visit,
    mut request: Request<Incoming>,
) -> Result<Box<Begun>, Box<Response<AnyBody>>> {
    let metrics = &visit.proxy.metrics;
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    if path.as_str() == HEALTH_PATH {
        let mut response = Response::new(full(r#"{"status":"OK"}"#));
        response
            .headers_mut()
            .insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        return Err(Box::new(response));
    }
    let is_within_http2 = websocket::as_http1(&mut request);
    let method = request.method().clone();
    let is_upgrade = headers::upgrade(request.headers()).is_some();
    let is_http1 = request.version() != Version::HTTP_2;
    let keeps = request.version() == Version::HTTP_11 && !is_upgrade && !headers::closes(request.headers());
    count(if is_upgrade { &metrics.requests_ws } else { &metrics.requests_web });
    let prepared = prepare(visit, request, &path);
    Ok(Box::new(Begun { method, path, is_upgrade, is_http1, is_within_http2, keeps, prepared }))
}

pub(crate) async fn finish(visit: &Visit, begun: Box<Begun>) -> Response<AnyBody> {
    let metrics = &visit.proxy.metrics;
    let Begun { method, path, is_upgrade, is_http1, is_within_http2, keeps, prepared } = *begun;
    let answered = match prepared {
        Ok(prepared) => forward(visit, prepared).await,
        Err(trouble) => Err(trouble),
    };
    let mut response = match answered {
        Ok(response) => {
            metrics.proxied(response.status().as_u16());
            response
        }
        Err(trouble) if is_upgrade => {
            note(visit, &trouble, &method, path.path());
            // Nobody looks at the page of a failed WebSocket.
            let mut response = Response::new(full(trouble.status.canonical_reason().unwrap_or_default()));
            *response.status_mut() = trouble.status;
            return response;
        }
        Err(trouble) => {
            // Whoever sends what is refused for its form may have more behind it.
            let is_the_client_s = trouble.status.is_client_error() && trouble.status != StatusCode::NOT_FOUND;
            let mut response = Box::pin(refused(visit, trouble, &method, path.as_str())).await;
            if is_the_client_s && is_http1 {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    };
    if is_within_http2 {
        websocket::as_http2(&mut response);
    }
    if keeps && !response.headers().contains_key(CONNECTION) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("keep-alive"));
    }
    response
}

/// Counts and logs a request that is not passed on. The query may hold a token, so it is not logged.
fn note(visit: &Visit, trouble: &Trouble, method: &Method, path: &str) {
    let status = trouble.status.as_u16();
    visit.proxy.metrics.proxied(status);
    error!("{status} {method} {path} {}", trouble.reason);
}

/// The page for a request that is not passed on.
pub(crate) async fn refused(
    visit: &Visit,
    trouble: Trouble,
    method: &Method,
    path_and_query: &str,
) -> Response<AnyBody> {
    note(visit, &trouble, method, path_and_query.split('?').next().unwrap_or_default());
    match trouble.is_hub {
        true => error_page::without_hub(trouble.status, method),
        false => error_page::respond(visit, trouble.status, path_and_query).await,
    }
}

/// A request ready to be sent, and where.
struct Prepared {
    request: Box<Request<AnyBody>>,
    route: Arc<Route>,
    /// The client's side of a change of protocols, if it asks for one.
    upgrade: Option<hyper::upgrade::OnUpgrade>,
    /// `Host` as the client gave it.
    host: Option<HeaderValue>,
    /// Of what the client uploads.
    gave_up: Option<GaveUp>,
}

fn prepare(visit: &Visit, mut request: Request<Incoming>, path: &PathAndQuery) -> Result<Prepared, Trouble> {
    let proxy = &visit.proxy;
    if request.method() == Method::CONNECT {
        return Err(Trouble::new(StatusCode::METHOD_NOT_ALLOWED, "CONNECT is for forward proxies"));
    }
    if request.uri().path_and_query().is_none() {
        return Err(Trouble::bad("no path is asked for"));
    }
    // hyper's own limit depends on how the bytes arrive.
    if head_bytes(&request) > HEADER_BYTES_MAX {
        let reason = format!("its head is over {HEADER_BYTES_MAX} bytes");
        return Err(Trouble::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, reason));
    }
    let decoded =
        routing_path(path.path()).ok_or_else(|| Trouble::bad("the path is not properly encoded"))?;
    one_host(&mut request)?;
    if request.version() == Version::HTTP_2 {
        join_cookies(request.headers_mut());
    }
    let host = request.headers().get(HOST).cloned();
    let route = proxy
        .find(&decoded, host.as_ref().and_then(|host| host.to_str().ok()))
        .ok_or_else(|| Trouble::new(StatusCode::NOT_FOUND, "no route"))?;
    let protocol = headers::upgrade(request.headers());
    let upgrade = protocol.is_some().then(|| hyper::upgrade::on(&mut request));
    debug!(
        "PROXY {} {} to {}",
        if upgrade.is_some() { "WS" } else { "WEB" },
        path.path(),
        route.target.authority()
    );
    let request = Box::new(outgoing(visit, request, path, &route, protocol.as_ref())?);
    let gave_up = if let AnyBody::Upload(upload) = request.body() { Some(upload.gave_up()) } else { None };
    Ok(Prepared { request, route, upgrade, host, gave_up })
}

async fn forward(visit: &Visit, prepared: Prepared) -> Result<Response<AnyBody>, Trouble> {
    let proxy = &visit.proxy;
    let Prepared { request, route, upgrade, host, gave_up } = prepared;
    let answered = {
        let target = &route.target;
        let is_upgrade = upgrade.is_some();
        let sent = pin!(async move {
            match is_upgrade {
                // Boxed, since it is rare and large beside the rest.
                true => Box::pin(visit.upstream.send_upgrade(target, *request)).await,
                false => visit.upstream.send(target, request).await,
            }
        });
        match proxy.options.answer_time_max(&route) {
            None => sent.await,
            Some(limit) => {
                tokio::time::timeout(limit, sent).await.map_err(|_| Trouble::late(&route, limit))?
            }
        }
    };
    let mut answer = answered.map_err(|error| match gave_up {
        Some(gave_up) if gave_up.is_so() => Trouble::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the client sent nothing for {:?}", proxy.options.client_time_max),
        ),
        Some(_) | None => Trouble::unavailable(&route, format!("{error:#}")),
    })?;

    let switched = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    let protocol = answer.headers().get(UPGRADE).cloned();
    if switched {
        let client = upgrade.ok_or_else(|| {
            let reason = format!("{} switched protocols without being asked", route.target.authority());
            Trouble::new(StatusCode::BAD_GATEWAY, reason)
        })?;
        let target = hyper::upgrade::on(&mut answer);
        tokio::spawn(tunnel::run(proxy.clone(), client, target, route.clone()));
    }
    let (mut parts, body) = answer.into_parts();
    headers::strip_hop_by_hop(&mut parts.headers);
    parts.version = Version::HTTP_11;
    if switched {
        parts.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        if let Some(protocol) = protocol {
            parts.headers.insert(UPGRADE, protocol);
        }
        route.touch();
        return Ok(Response::from_parts(parts, full("")));
    }
    let may_rewrite = proxy.options.auto_rewrite || proxy.options.protocol_rewrite.is_some();
    if may_rewrite && (parts.status.is_redirection() || parts.status == StatusCode::CREATED) {
        headers::rewrite_location(
            &mut parts.headers,
            route.target.authority(),
            host.as_ref().and_then(|host| host.to_str().ok()),
            proxy.options.auto_rewrite,
            proxy.options.protocol_rewrite.as_deref(),
        );
    }
    // A flood of errors and redirects must not make a server look used.
    let body = if parts.status.as_u16() < 300 { body.counting_for(route) } else { body };
    Ok(Response::from_parts(parts, AnyBody::Answer(body)))
}

/// Bytes of a request's head as HTTP/1.1 writes it.
fn head_bytes<B>(request: &Request<B>) -> usize {
    let path = request.uri().path_and_query().map_or(1, |path| path.as_str().len());
    let fields =
        request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    let around = "  HTTP/1.1\r\n\r\n".len();
    request.method().as_str().len() + path + around + fields.sum::<usize>()
}

/// Sees to it that everybody reads the same host: the request's address counts more than the header (RFC 9112, 3.2.2;
/// HTTP/2 names it there alone), and there is one of them.
fn one_host(request: &mut Request<Incoming>) -> Result<(), Trouble> {
    let authority = request.uri().authority().map(|authority| HeaderValue::from_str(authority.as_str()));
    if let Some(Ok(host)) = authority {
        request.headers_mut().insert(HOST, host);
    }
    let mut all = request.headers().get_all(HOST).iter();
    match (all.next(), all.next()) {
        (Some(_), Some(_)) => Err(Trouble::bad("more than one Host")),
        (Some(host), None) if !headers::is_host(host.as_bytes()) => Err(Trouble::bad("the Host is no host")),
        (None, _) if request.version() == Version::HTTP_11 => Err(Trouble::bad("no Host")),
        (Some(_), None) | (None, _) => Ok(()),
    }
}

/// HTTP/2 may cut a cookie into pieces (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let pieces: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if pieces.len() > 1
        && let Ok(whole) = HeaderValue::from_bytes(&pieces.join(&b"; "[..]))
    {
        headers.insert(COOKIE, whole);
    }
}

fn outgoing(
    visit: &Visit,
    request: Request<Incoming>,
    path: &PathAndQuery,
    route: &Arc<Route>,
    upgrade: Option<&HeaderValue>,
) -> Result<Request<AnyBody>, Trouble> {
    let options = &visit.proxy.options;
    let (mut parts, body) = request.into_parts();
    let uri = if options.include_prefix || route.prefix == "/" {
        route.target.uri(path, options.prepend_path)
    } else {
        let inner = without_prefix(path.as_str(), &route.prefix);
        let inner = if inner.starts_with('/') { inner.to_owned() } else { format!("/{inner}") };
        inner
            .parse()
            .map_err(anyhow::Error::from)
            .and_then(|inner| route.target.uri(&inner, options.prepend_path))
    };
    parts.uri = uri.map_err(|error| Trouble::bad(format!("{error:#}")))?;
    parts.version = Version::HTTP_11;
    headers::strip_hop_by_hop(&mut parts.headers);
    if !visit.peer.is_trusted {
        headers::strip_forwarded(&mut parts.headers);
    }
    if options.x_forward {
        headers::add_forwarded(&mut parts.headers, &visit.peer, upgrade.is_some());
    }
    if options.change_origin || !parts.headers.contains_key(HOST) {
        parts.headers.insert(HOST, route.target.host().clone());
    }
    for (name, value) in &options.custom_headers {
        parts.headers.insert(name.clone(), value.clone());
    }
    if let Some(protocol) = upgrade {
        parts.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        parts.headers.insert(UPGRADE, protocol.clone());
    }
    let body = if hyper::body::Body::is_end_stream(&body) {
        full("")
    } else {
        AnyBody::Upload(Upload::new(body, route.clone(), options.client_time_max))
    };
    Ok(Request::from_parts(parts, body))
}

/// Drops as many path segments as the prefix has; the prefix is decoded and the path is not.
fn without_prefix<'a>(path: &'a str, prefix: &str) -> &'a str {
    let depth = prefix.matches('/').count();
    let end = path.find('?').unwrap_or(path.len());
    path[..end].match_indices('/').nth(depth).map_or(&path[end..], |(at, _)| &path[at..])
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_a_cookie_become_one_header() {
        let mut map = HeaderMap::new();
        map.append(COOKIE, HeaderValue::from_static("a=1"));
        map.append(COOKIE, HeaderValue::from_static("b=2"));
        join_cookies(&mut map);
        assert_eq!(map.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }

    #[test]
    fn every_part_of_a_head_counts() {
        let request = Request::get("/a?b").header("Host", "x").body(()).unwrap();
        assert_eq!(head_bytes(&request), "GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n".len());
        let long = "A".repeat(HEADER_BYTES_MAX);
        let request = Request::builder().method(long.as_str()).uri("/").body(()).unwrap();
        assert!(head_bytes(&request) > HEADER_BYTES_MAX);
    }

    #[test]
    fn prefix_is_dropped_by_segments() {
        assert_eq!(without_prefix("/user/a%20b/lab?x=/y", "/user/a b"), "/lab?x=/y");
        assert_eq!(without_prefix("/user/a", "/user/a"), "");
        assert_eq!(without_prefix("/user/a?q", "/user/a"), "?q");
    }
}
