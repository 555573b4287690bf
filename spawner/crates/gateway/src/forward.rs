//! The way to a cluster's dashboard: its page, its questions and its stream, for its owner only, by GET only.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, stream};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use crate::clusters::is_name;
use crate::dashboard::{DashboardError, Proven};
use crate::error::ApiError;
use crate::guard::Caller;
use crate::origin::Kind;
use crate::page::encode;
use crate::registry::Cluster;
use crate::shares::Share;
use crate::{Gateway, Shared, signin, tunnel};

const QUERY_BYTES_MAX: usize = 512;
const BODY_BYTES_MAX: u64 = 32 * 1024 * 1024;
const BODY_LIMIT: Duration = Duration::from_secs(60);

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
/// All that a dashboard serves to a view, and what each is: a dashboard's own word on that is not passed on. Its
/// identity is not for pages.
const PATHS: [(&str, &str); 6] = [
    ("page.js", "text/javascript; charset=utf-8"),
    ("page.css", "text/css; charset=utf-8"),
    ("metrics", "text/plain; version=0.0.4; charset=utf-8"),
    ("api/cluster", JSON),
    ("api/tasks", JSON),
    ("api/failures", JSON),
];

/// The dashboard's page. Who is not signed in is sent to do that.
pub(crate) async fn index(
    State(gateway): State<Shared>,
    Path((user, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let share_and_cluster = async {
        let caller = gateway.caller(&headers, Kind::Page).await?;
        let cluster = gateway.cluster(&caller, &user, &name)?;
        Ok((gateway.requests.take(&caller.user)?, cluster))
    };
    let result = match share_and_cluster.await {
        Ok((share, cluster)) => fetch(share, &cluster, "/", HTML).await,
        Err(error) => Err(error),
    };
    match result {
        Ok(response) => response,
        Err(error)
            if error.status() == StatusCode::UNAUTHORIZED && !headers.contains_key(header::AUTHORIZATION) =>
        {
            let prefix = &gateway.settings.public_prefix;
            let next = format!("{prefix}clusters/{}/{}/", encode(&user), encode(&name));
            signin::redirect(&format!("{prefix}login?next={}", encode(&next)))
        }
        Err(error) => error.as_page().into_response(),
    }
}

/// What the page and the views ask for.
pub(crate) async fn file(
    State(gateway): State<Shared>,
    Path((user, name, path)): Path<(String, String, String)>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let caller = gateway.caller(&headers, Kind::Api).await?;
    let cluster = gateway.cluster(&caller, &user, &name)?;
    let Some((path, kind)) = PATHS.iter().find(|(known, _)| *known == path) else {
        return Err(ApiError::new(StatusCode::NOT_FOUND, "no_such_path", "a dashboard has nothing there"));
    };
    let query = match uri.query() {
        Some(query) if path.starts_with("api/") => {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"=&_.-%+".contains(&byte);
            if query.len() > QUERY_BYTES_MAX || !query.bytes().all(is_plain) {
                return Err(ApiError::new(
                    StatusCode::BAD_REQUEST,
                    "bad_query",
                    "the query is too long or has odd characters",
                ));
            }
            format!("?{query}")
        }
        Some(_) | None => String::new(),
    };
    let share = gateway.requests.take(&caller.user)?;
    fetch(share, &cluster, &format!("/{path}{query}"), kind).await
}

async fn fetch(
    share: Share,
    cluster: &Cluster,
    path: &str,
    kind: &'static str,
) -> Result<Response, ApiError> {
    let connected =
        Proven::connect(cluster.dashboard, &cluster.token).await.map_err(|error| silent(cluster, &error))?;
    let answer = connected.get(path).await.map_err(|error| silent(cluster, &error))?;
    let status = answer.status();
    // Redirects, refusals of our token and server errors are the dashboard's trouble, not the browser's.
    if !(status.is_success() || matches!(status.as_u16(), 400 | 404 | 422)) {
        tracing::warn!(
            user = cluster.user,
            cluster = cluster.name,
            path,
            status = status.as_u16(),
            "a dashboard's odd answer"
        );
        return Err(odd(cluster));
    }
    // Its text is for whoever reads it, never a page.
    let kind = if status.is_success() { kind } else { "text/plain; charset=utf-8" };
    // Only the body is passed on: no header of a dashboard, least of all a cookie for the hub's host.
    let body = Body::from_stream(bounded(answer.into_body(), share));
    Ok((status, [(header::CONTENT_TYPE, HeaderValue::from_static(kind))], body).into_response())
}

/// The body's pieces as they come, up to a size and a time; the share is held until the end.
fn bounded(body: Incoming, share: Share) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    let deadline = tokio::time::Instant::now() + BODY_LIMIT;
    stream::try_unfold((body, 0_u64, share), move |(mut body, sent, share)| async move {
        loop {
            let frame = tokio::time::timeout_at(deadline, body.frame())
                .await
                .map_err(|_| std::io::Error::other(format!("the dashboard took more than {BODY_LIMIT:?}")))?;
            let Some(frame) = frame else { return Ok(None) };
            let Ok(data) = frame.map_err(std::io::Error::other)?.into_data() else { continue };
            let sent = sent + data.len() as u64;
            if sent > BODY_BYTES_MAX {
                return Err(std::io::Error::other(format!(
                    "the dashboard sent more than {BODY_BYTES_MAX} bytes"
                )));
            }
            return Ok(Some((data, (body, sent, share))));
        }
    })
}

/// The live stream: a WebSocket, passed through byte by byte once both sides have agreed.
pub(crate) async fn stream(
    State(gateway): State<Shared>,
    Path((user, name)): Path<(String, String)>,
    mut request: Request,
) -> Result<Response, ApiError> {
    let caller = gateway.caller(request.headers(), Kind::WebSocket).await?;
    let cluster = gateway.cluster(&caller, &user, &name)?;
    let not_a_websocket = || {
        ApiError::new(
            StatusCode::UPGRADE_REQUIRED,
            "not_a_websocket",
            "this is a stream: connect with a WebSocket",
        )
    };
    let key = websocket_key(request.headers()).ok_or_else(not_a_websocket)?;
    let browser = request.extensions_mut().remove::<OnUpgrade>().ok_or_else(not_a_websocket)?;
    let share = gateway.streams.take(&caller.user)?;
    let connected =
        Proven::connect(cluster.dashboard, &cluster.token).await.map_err(|error| silent(&cluster, &error))?;
    let mut answer = connected.upgrade("/ws", key).await.map_err(|error| silent(&cluster, &error))?;
    let accept = answer.headers().get(header::SEC_WEBSOCKET_ACCEPT).cloned();
    let (StatusCode::SWITCHING_PROTOCOLS, Some(accept)) = (answer.status(), accept) else {
        tracing::warn!(
            user = cluster.user,
            cluster = cluster.name,
            status = answer.status().as_u16(),
            "no stream"
        );
        return Err(odd(&cluster));
    };
    let dashboard = hyper::upgrade::on(&mut answer);
    tokio::spawn(tunnel::run(gateway.clone(), caller, cluster, browser, dashboard, share));
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

fn websocket_key(headers: &HeaderMap) -> Option<HeaderValue> {
    let has = |name: header::HeaderName, word: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|value| value.trim().eq_ignore_ascii_case(word))
    };
    let is_websocket = has(header::CONNECTION, "upgrade")
        && has(header::UPGRADE, "websocket")
        && has(header::SEC_WEBSOCKET_VERSION, "13");
    headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| is_websocket && key.len() <= 64).cloned()
}

impl Gateway {
    /// A running cluster that is the caller's. Someone else's is answered as if there were none.
    fn cluster(&self, caller: &Caller, user: &str, name: &str) -> Result<Arc<Cluster>, ApiError> {
        if caller.user != user || !is_name(name) {
            return Err(ApiError::no_such_cluster(name));
        }
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.get(Instant::now(), user, name).ok_or_else(|| ApiError::no_such_cluster(name))
    }
}

fn silent(cluster: &Cluster, error: &DashboardError) -> ApiError {
    tracing::warn!(user = cluster.user, cluster = cluster.name, %error, "a dashboard cannot be reached");
    ApiError::new(
        StatusCode::BAD_GATEWAY,
        "dashboard_unreachable",
        format!("the dashboard of cluster {} does not answer; the cluster may just have ended", cluster.name),
    )
}

fn odd(cluster: &Cluster) -> ApiError {
    ApiError::new(
        StatusCode::BAD_GATEWAY,
        "dashboard_answer",
        format!("the dashboard of cluster {} gave an answer that is not passed on", cluster.name),
    )
}
