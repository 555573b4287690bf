//! One proxied request: find the route, pass it on, pass the answer back, keep the route's activity.

use std::sync::Arc;

use http::header::{HOST, HeaderValue, UPGRADE};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tracing::{debug, error};

use crate::Proxy;
use crate::body::{AnyBody, Watch, Watched, full};
use crate::error_page;
use crate::headers::{self, Peer};
use crate::metrics::count;
use crate::path::routing_path;
use crate::routes::Route;
use crate::tunnel;

const HEALTH_PATH: &str = "/_chp_healthz";

/// Why a request did not reach its target.
struct Trouble {
    status: StatusCode,
    reason: String,
}

pub(crate) async fn handle(proxy: Arc<Proxy>, peer: Peer, request: Request<Incoming>) -> Response<AnyBody> {
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    if path.as_str() == HEALTH_PATH {
        let mut response = Response::new(full(r#"{"status":"OK"}"#));
        response
            .headers_mut()
            .insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        return response;
    }
    let method = request.method().clone();
    let is_upgrade = headers::upgrade(request.headers()).is_some();
    count(if is_upgrade { &proxy.metrics.requests_ws } else { &proxy.metrics.requests_web });
    match forward(&proxy, peer, request, &path).await {
        Ok(response) => {
            proxy.metrics.proxied(response.status().as_u16());
            response
        }
        Err(trouble) => {
            proxy.metrics.proxied(trouble.status.as_u16());
            // The query may hold a token, so it is not logged.
            error!("{} {method} {} {}", trouble.status.as_u16(), path.path(), trouble.reason);
            if is_upgrade {
                // Nobody looks at the page of a failed WebSocket.
                let mut response = Response::new(full(trouble.status.canonical_reason().unwrap_or_default()));
                *response.status_mut() = trouble.status;
                return response;
            }
            error_page::respond(&proxy, trouble.status, path.as_str()).await
        }
    }
}

async fn forward(
    proxy: &Arc<Proxy>,
    peer: Peer,
    mut request: Request<Incoming>,
    path: &PathAndQuery,
) -> Result<Response<AnyBody>, Trouble> {
    let bad = |reason: &str| Trouble { status: StatusCode::BAD_REQUEST, reason: reason.to_owned() };
    if request.method() == Method::CONNECT {
        return Err(Trouble {
            status: StatusCode::METHOD_NOT_ALLOWED,
            reason: "CONNECT is for forward proxies".to_owned(),
        });
    }
    let decoded = routing_path(path.path()).ok_or_else(|| bad("the path is not properly encoded"))?;
    let client_host = host(&request);
    let lookup = if proxy.options.host_routing {
        let name = client_host.as_deref().unwrap_or_default();
        format!("/{}{decoded}", name.split(':').next().unwrap_or_default())
    } else {
        decoded
    };
    let route = proxy
        .routes()
        .find(&lookup)
        .cloned()
        .ok_or_else(|| Trouble { status: StatusCode::NOT_FOUND, reason: "no route".to_owned() })?;

    let upgrade = headers::upgrade(request.headers());
    let client_upgrade = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
    debug!(
        "PROXY {} {} to {}",
        if upgrade.is_some() { "WS" } else { "WEB" },
        path.path(),
        route.target.authority()
    );
    let outgoing = outgoing(proxy, peer, request, path, &route, upgrade.as_ref())?;
    let sent = proxy.upstream.client.request(outgoing);
    let answered = match proxy.options.proxy_timeout {
        None => sent.await,
        Some(limit) => tokio::time::timeout(limit, sent).await.map_err(|_| Trouble {
            status: StatusCode::SERVICE_UNAVAILABLE,
            reason: format!("{} did not answer within {limit:?}", route.target.authority()),
        })?,
    };
    let mut answer = answered.map_err(|error| Trouble {
        status: StatusCode::SERVICE_UNAVAILABLE,
        reason: format!("{}: {}", route.target.authority(), chain(&error)),
    })?;

    let switched = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    let protocol = answer.headers().get(UPGRADE).cloned();
    if switched {
        let client = client_upgrade.ok_or_else(|| Trouble {
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
        parts.headers.insert(http::header::CONNECTION, HeaderValue::from_static("Upgrade"));
        if let Some(protocol) = protocol {
            parts.headers.insert(UPGRADE, protocol);
        }
        route.touch();
        return Ok(Response::from_parts(parts, full("")));
    }
    if parts.status.is_redirection()
        && (proxy.options.auto_rewrite || proxy.options.protocol_rewrite.is_some())
    {
        headers::rewrite_location(
            &mut parts.headers,
            route.target.authority(),
            client_host.as_deref(),
            proxy.options.auto_rewrite,
            proxy.options.protocol_rewrite.as_deref(),
        );
    }
    // A flood of errors and redirects must not make a server look used.
    let body = if parts.status.as_u16() < 300 {
        Watched::new(body, route, Watch::End).boxed_unsync()
    } else {
        body.boxed_unsync()
    };
    Ok(Response::from_parts(parts, body))
}

fn outgoing(
    proxy: &Proxy,
    peer: Peer,
    request: Request<Incoming>,
    path: &PathAndQuery,
    route: &Arc<Route>,
    upgrade: Option<&HeaderValue>,
) -> Result<Request<AnyBody>, Trouble> {
    let bad =
        |error: anyhow::Error| Trouble { status: StatusCode::BAD_REQUEST, reason: format!("{error:#}") };
    let (mut parts, body) = request.into_parts();
    let inner = if proxy.options.include_prefix || route.prefix == "/" {
        path.as_str()
    } else {
        without_prefix(path.as_str(), &route.prefix)
    };
    parts.uri = route.target.uri(inner, proxy.options.prepend_path).map_err(bad)?;
    parts.version = Version::HTTP_11;
    headers::strip_hop_by_hop(&mut parts.headers);
    if proxy.options.x_forward {
        headers::add_forwarded(&mut parts.headers, peer, upgrade.is_some());
    }
    if proxy.options.change_origin || !parts.headers.contains_key(HOST) {
        let host = HeaderValue::from_str(route.target.authority()).map_err(|error| bad(error.into()))?;
        parts.headers.insert(HOST, host);
    }
    for (name, value) in &proxy.options.custom_headers {
        parts.headers.insert(name.clone(), value.clone());
    }
    if let Some(protocol) = upgrade {
        parts.headers.insert(http::header::CONNECTION, HeaderValue::from_static("Upgrade"));
        parts.headers.insert(UPGRADE, protocol.clone());
    }
    let body = Watched::new(body, route.clone(), Watch::EachFrame).boxed_unsync();
    Ok(Request::from_parts(parts, body))
}

/// Drops as many path segments as the prefix has; the prefix is decoded and the path is not.
fn without_prefix<'a>(path: &'a str, prefix: &str) -> &'a str {
    let depth = prefix.matches('/').count();
    let end = path.find('?').unwrap_or(path.len());
    path[..end].match_indices('/').nth(depth).map_or(&path[end..], |(at, _)| &path[at..])
}

fn host(request: &Request<Incoming>) -> Option<String> {
    let named = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    named
        .map(str::to_owned)
        .or_else(|| request.uri().authority().map(|authority| authority.as_str().to_owned()))
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
    fn prefix_is_dropped_by_segments() {
        assert_eq!(without_prefix("/user/a%20b/lab?x=/y", "/user/a b"), "/lab?x=/y");
        assert_eq!(without_prefix("/user/a", "/user/a"), "");
        assert_eq!(without_prefix("/user/a?q", "/user/a"), "?q");
    }
}
