//! One proxied request: find the route, pass it on, pass the answer back, keep the route's activity.

use std::pin::pin;
use std::sync::Arc;

use http::header::{CONNECTION, COOKIE, HOST, HeaderMap, HeaderValue, UPGRADE};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use tracing::{debug, error};

use crate::Proxy;
use crate::body::{AnyBody, Upload, full};
use crate::error_page;
use crate::headers::{self, Peer};
use crate::metrics::count;
use crate::path::routing_path;
use crate::pool::Upstream;
use crate::routes::Route;
use crate::tunnel;

const HEALTH_PATH: &str = "/_chp_healthz";

/// What all requests of one connection share.
pub(crate) struct Visit {
    pub(crate) proxy: Arc<Proxy>,
    /// Of the worker that has the connection.
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) peer: Peer,
}

/// Why a request did not reach its target.
struct Trouble {
    status: StatusCode,
    reason: String,
}

impl Trouble {
    fn bad(reason: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, reason: reason.into() }
    }

    fn unavailable(route: &Route, what: impl std::fmt::Display) -> Self {
        let reason = format!("{}: {what}", route.target.authority());
        Self { status: StatusCode::SERVICE_UNAVAILABLE, reason }
    }
}

/// A request that has been looked at, and waits to be sent or refused. Behind a pointer: what a waiting function has at
/// hand is moved for each request, and a request is large.
pub(crate) struct Begun {
    method: Method,
    path: PathAndQuery,
    is_upgrade: bool,
    /// Whether to say that the connection is kept, as Node does in every answer.
    keeps: bool,
    prepared: Result<Prepared, Trouble>,
}

/// All that needs no waiting. `Err` is an answer of our own.
pub(crate) fn begin(visit: &Visit, request: Request<Incoming>) -> Result<Box<Begun>, Box<Response<AnyBody>>> {
    let metrics = &visit.proxy.metrics;
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    if path.as_str() == HEALTH_PATH {
        let mut response = Response::new(full(r#"{"status":"OK"}"#));
        response
            .headers_mut()
            .insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        return Err(Box::new(response));
    }
    let method = request.method().clone();
    let is_upgrade = headers::upgrade(request.headers()).is_some();
    let keeps = request.version() == Version::HTTP_11 && !is_upgrade && !headers::closes(request.headers());
    count(if is_upgrade { &metrics.requests_ws } else { &metrics.requests_web });
    let prepared = prepare(visit, request, &path);
    Ok(Box::new(Begun { method, path, is_upgrade, keeps, prepared }))
}

pub(crate) async fn finish(visit: &Visit, begun: Box<Begun>) -> Response<AnyBody> {
    let metrics = &visit.proxy.metrics;
    let Begun { method, path, is_upgrade, keeps, prepared } = *begun;
    let answered = match prepared {
        Ok(prepared) => forward(visit, prepared).await,
        Err(trouble) => Err(trouble),
    };
    let mut response = match answered {
        Ok(response) => {
            metrics.proxied(response.status().as_u16());
            response
        }
        Err(trouble) => {
            metrics.proxied(trouble.status.as_u16());
            // The query may hold a token, so it is not logged.
            error!("{} {method} {} {}", trouble.status.as_u16(), path.path(), trouble.reason);
            if is_upgrade {
                // Nobody looks at the page of a failed WebSocket.
                let mut response = Response::new(full(trouble.status.canonical_reason().unwrap_or_default()));
                *response.status_mut() = trouble.status;
                return response;
            }
            Box::pin(error_page::respond(visit, trouble.status, path.as_str())).await
        }
    };
    if keeps {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("keep-alive"));
    }
    response
}

/// A request ready to be sent, and where.
struct Prepared {
    request: Box<Request<AnyBody>>,
    route: Arc<Route>,
    /// The client's side of a change of protocols, if it asks for one.
    upgrade: Option<hyper::upgrade::OnUpgrade>,
    /// `Host` as the client gave it.
    host: Option<HeaderValue>,
}

fn prepare(visit: &Visit, mut request: Request<Incoming>, path: &PathAndQuery) -> Result<Prepared, Trouble> {
    let proxy = &visit.proxy;
    if request.method() == Method::CONNECT {
        return Err(Trouble {
            status: StatusCode::METHOD_NOT_ALLOWED,
            reason: "CONNECT is for forward proxies".to_owned(),
        });
    }
    let decoded =
        routing_path(path.path()).ok_or_else(|| Trouble::bad("the path is not properly encoded"))?;
    if request.version() == Version::HTTP_2 {
        as_http1(&mut request);
    }
    let host = request.headers().get(HOST).cloned();
    let route = if proxy.options.host_routing {
        let name = host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default();
        let lookup = format!("/{}{decoded}", name.split(':').next().unwrap_or_default());
        proxy.routes().find(&lookup).cloned()
    } else {
        proxy.routes().find(&decoded).cloned()
    };
    let route =
        route.ok_or_else(|| Trouble { status: StatusCode::NOT_FOUND, reason: "no route".to_owned() })?;
    let protocol = headers::upgrade(request.headers());
    let upgrade = protocol.is_some().then(|| hyper::upgrade::on(&mut request));
    debug!(
        "PROXY {} {} to {}",
        if upgrade.is_some() { "WS" } else { "WEB" },
        path.path(),
        route.target.authority()
    );
    let request = Box::new(outgoing(visit, request, path, &route, protocol.as_ref())?);
    Ok(Prepared { request, route, upgrade, host })
}

async fn forward(visit: &Visit, prepared: Prepared) -> Result<Response<AnyBody>, Trouble> {
    let proxy = &visit.proxy;
    let Prepared { request, route, upgrade, host } = prepared;
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
        match proxy.options.proxy_timeout {
            None => sent.await,
            Some(limit) => tokio::time::timeout(limit, sent)
                .await
                .map_err(|_| Trouble::unavailable(&route, format!("no answer within {limit:?}")))?,
        }
    };
    let mut answer = answered.map_err(|error| Trouble::unavailable(&route, format!("{error:#}")))?;

    let switched = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    let protocol = answer.headers().get(UPGRADE).cloned();
    if switched {
        let client = upgrade.ok_or_else(|| Trouble {
            status: StatusCode::BAD_GATEWAY,
            reason: format!("{} switched protocols without being asked", route.target.authority()),
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

/// HTTP/2 names the host in the request's address and may cut a cookie into pieces (RFC 9113, 8.2.3).
fn as_http1(request: &mut Request<Incoming>) {
    if let Some(host) =
        request.uri().authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok())
    {
        request.headers_mut().insert(HOST, host);
    }
    join_cookies(request.headers_mut());
}

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
        AnyBody::Upload(Upload::new(body, route.clone()))
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
    fn prefix_is_dropped_by_segments() {
        assert_eq!(without_prefix("/user/a%20b/lab?x=/y", "/user/a b"), "/lab?x=/y");
        assert_eq!(without_prefix("/user/a", "/user/a"), "");
        assert_eq!(without_prefix("/user/a?q", "/user/a"), "?q");
    }
}
