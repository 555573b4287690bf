//! The HTTP side: every route, who may use it, and the WebSocket's life. What is shown is `state.rs`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Query, Request, State as Extract};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::auth::{Gate, Verdict};
use crate::event::Recorder;
use crate::state::{State, Topic, Topics};
use crate::stream::{self, Command, Shared, VIEWERS_MAX};
use crate::{metrics, summary};

/// A viewer that takes no bytes for this long is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(20);
const PING_EVERY: Duration = Duration::from_secs(15);
/// A viewer says only what it wants to see.
const REQUEST_BYTES_MAX: usize = 4096;
const COMMANDS_MAX: usize = 256;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// What a dashboard needs to know.
#[derive(Clone)]
pub struct Settings {
    /// The cluster's name.
    pub name: String,
    /// Port 0 takes a free one; ask [`Dashboard::address`].
    pub bind: SocketAddr,
    /// What a viewer must present.
    pub token: String,
    /// Kernel id of the notebook that started the cluster, or empty.
    pub origin: String,
    /// Zero of the clock of all recorded times.
    pub started: Instant,
}

impl Settings {
    pub fn new(name: impl Into<String>, bind: SocketAddr, token: impl Into<String>) -> Self {
        Self { name: name.into(), bind, token: token.into(), origin: String::new(), started: Instant::now() }
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("name", &self.name)
            .field("bind", &self.bind)
            .field("token", &"***")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// A running dashboard. Dropping it stops listening and closes every view.
#[derive(Debug)]
pub struct Dashboard {
    address: SocketAddr,
    server: JoinHandle<()>,
    stream: JoinHandle<()>,
}

impl Dashboard {
    /// Listens and starts to aggregate; needs a running tokio runtime.
    ///
    /// # Errors
    /// If the address cannot be bound, or the token is empty.
    pub async fn start(settings: Settings) -> std::io::Result<(Recorder, Self)> {
        if settings.token.is_empty() {
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                format!("the dashboard of cluster {} has no token: anyone could watch it", settings.name),
            ));
        }
        let listener = TcpListener::bind(settings.bind).await.map_err(|error| {
            std::io::Error::new(
                error.kind(),
                format!("cannot serve the dashboard on {}: {error}", settings.bind),
            )
        })?;
        let address = listener.local_addr()?;
        let since_start = settings.started.elapsed();
        let started_unix_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| u64::try_from(now.saturating_sub(since_start).as_millis()).unwrap_or(0));
        let (recorder, recordings) = Recorder::channel();
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let shared = Shared::new(State::new(settings.name.clone(), started_unix_ms), settings.started);
        let stream = tokio::spawn(stream::run(shared.clone(), recordings, receiver));
        let gate = Gate::new(settings.token, &settings.name);
        let app = Arc::new(App { gate, origin: settings.origin, shared, commands });
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router(app)).await {
                tracing::error!(%error, %address, "the dashboard stopped serving");
            }
        });
        Ok((recorder, Self { address, server, stream }))
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://HOST:PORT`, as the cluster file wants it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        self.server.abort();
        self.stream.abort();
    }
}

struct App {
    gate: Gate,
    origin: String,
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(|| asset("text/html; charset=utf-8", include_str!("../assets/index.html"))))
        .route("/page.js", get(|| asset("text/javascript; charset=utf-8", include_str!("../assets/page.js"))))
        .route("/page.css", get(|| asset("text/css; charset=utf-8", include_str!("../assets/page.css"))))
        .route("/ws", get(websocket))
        .route("/api/cluster", get(cluster))
        .route("/api/tasks", get(tasks))
        .route("/api/failures", get(failures))
        .route("/metrics", get(prometheus))
        .layer(middleware::from_fn_with_state(app.clone(), authorize))
        // The only route without a token: it proves that we hold it.
        .route("/api/identity", get(identity))
        .layer(middleware::map_response(harden))
        .with_state(app)
}

async fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn authorize(Extract(app): Extract<Arc<App>>, request: Request<Body>, next: Next) -> Response {
    match app.gate.check(request.headers()) {
        Verdict::Allowed => next.run(request).await,
        Verdict::ForeignOrigin => refuse(
            StatusCode::FORBIDDEN,
            "foreign_origin",
            "this request was made by a page of another site; open the dashboard's own page",
        ),
        Verdict::Unknown => match with_token_removed(&app.gate, &request) {
            Some(location) => (
                StatusCode::SEE_OTHER,
                [(header::LOCATION, location), (header::SET_COOKIE, app.gate.set_cookie())],
            )
                .into_response(),
            None => refuse(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "this dashboard needs its cluster's token: run `nuna cluster list` for its address, \
                 or open it from JupyterLab",
            ),
        },
    }
}

/// For `GET /?token=…` with the right token: the same page without it, so that it stays out of the history.
fn with_token_removed(gate: &Gate, request: &Request<Body>) -> Option<String> {
    let path = request.uri().path();
    if path != "/" {
        return None;
    }
    let token = request.uri().query()?.split('&').find_map(|pair| pair.strip_prefix("token="))?;
    gate.is_token(token).then(|| "./".to_owned())
}

fn refuse(status: StatusCode, code: &'static str, message: &str) -> Response {
    (status, axum::Json(serde_json::json!({ "code": code, "message": message }))).into_response()
}

#[derive(Deserialize)]
struct Nonce {
    nonce: String,
}

async fn identity(Extract(app): Extract<Arc<App>>, Query(Nonce { nonce }): Query<Nonce>) -> Response {
    match app.gate.identity(&nonce) {
        Some(identity) => identity.into_response(),
        None => refuse(StatusCode::BAD_REQUEST, "bad_nonce", "the nonce must be 8 to 64 bytes in hex"),
    }
}

async fn cluster(Extract(app): Extract<Arc<App>>) -> Response {
    axum::Json(summary::cluster(&app.shared.state(), &app.origin)).into_response()
}

async fn failures(Extract(app): Extract<Arc<App>>) -> Response {
    axum::Json(summary::failures(&app.shared.state())).into_response()
}

#[derive(Deserialize)]
struct TaskQuery {
    lane: Option<u32>,
    at_us: Option<u64>,
    slack_us: Option<u64>,
    limit: Option<usize>,
}

/// With `lane` and `at_us`: the task there, or null. Without: the latest ones, `limit` of them.
async fn tasks(Extract(app): Extract<Arc<App>>, Query(query): Query<TaskQuery>) -> Response {
    let state = app.shared.state();
    match (query.lane, query.at_us) {
        (Some(lane), Some(at_us)) => {
            let found = state.span_at(lane, at_us, query.slack_us.unwrap_or(0));
            axum::Json(found.map(|span| summary::task(&state, span))).into_response()
        }
        _ => axum::Json(summary::latest_tasks(&state, query.limit.unwrap_or(100))).into_response(),
    }
}

async fn prometheus(Extract(app): Extract<Arc<App>>) -> Response {
    let text = metrics::render(&app.shared.state(), app.shared.counters());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn websocket(Extract(app): Extract<Arc<App>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .max_message_size(REQUEST_BYTES_MAX)
        .max_frame_size(REQUEST_BYTES_MAX)
        .on_upgrade(move |socket| view(app, socket))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ViewerRequest {
    subscribe: Vec<String>,
}

async fn view(app: Arc<App>, socket: WebSocket) {
    let (queue, mut messages) = stream::viewer_queue();
    let (mut sink, mut source) = socket.split();
    // Its first words name what it wants, so that the snapshot brings exactly that.
    let first = tokio::time::timeout(SEND_TIMEOUT, source.next()).await;
    let topics = match first {
        Ok(Some(Ok(Message::Text(text)))) => parse_request(&text),
        _ => Err("the first message must be a subscription, such as {\"subscribe\": [\"tasks\"]}".to_owned()),
    };
    let topics = match topics {
        Ok(topics) => topics,
        Err(reason) => {
            close(&mut sink, 1008, reason).await;
            return;
        }
    };
    let (reply, joined) = oneshot::channel();
    if app.commands.send(Command::Join { queue, reply }).await.is_err() {
        return;
    }
    let Ok(Some(viewer)) = joined.await else {
        close(&mut sink, 1013, format!("{VIEWERS_MAX} views of this cluster are open already; close one"))
            .await;
        return;
    };
    if app.commands.send(Command::Subscribe { viewer, topics }).await.is_err() {
        return;
    }
    let mut pings = tokio::time::interval(PING_EVERY);
    let reason = loop {
        let outgoing = tokio::select! {
            message = messages.recv() => match message {
                Some(bytes) => Message::Binary(bytes),
                None => break Some((1001, "the cluster stopped".to_owned())),
            },
            _ = pings.tick() => Message::Ping(bytes::Bytes::new()),
            incoming = source.next() => match incoming {
                Some(Ok(Message::Text(text))) => match parse_request(&text) {
                    Ok(topics) => {
                        if app.commands.send(Command::Subscribe { viewer, topics }).await.is_err() {
                            break Some((1001, "the cluster stopped".to_owned()));
                        }
                        continue;
                    }
                    Err(reason) => break Some((1008, reason)),
                },
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(Message::Binary(_))) => break Some((1003, "requests are JSON text".to_owned())),
                Some(Ok(Message::Close(_)) | Err(_)) | None => break None,
            },
        };
        match tokio::time::timeout(SEND_TIMEOUT, sink.send(outgoing)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => break None,
        }
    };
    // Fails only when the stream has ended, and forgot us with it.
    let _ = app.commands.send(Command::Leave { viewer }).await;
    if let Some((code, reason)) = reason {
        close(&mut sink, code, reason).await;
    }
}

fn parse_request(text: &str) -> Result<Topics, String> {
    let request: ViewerRequest =
        serde_json::from_str(text).map_err(|error| format!("cannot read the subscription: {error}"))?;
    let mut topics = Topics::default();
    for name in &request.subscribe {
        let topic = Topic::parse(name).ok_or_else(|| format!("unknown topic {name:.40}"))?;
        topics = topics.with(topic);
    }
    Ok(topics)
}

async fn close(sink: &mut (impl SinkExt<Message> + Unpin), code: u16, mut reason: String) {
    // A close frame holds 123 bytes of text.
    while reason.len() > 120 {
        reason.pop();
    }
    let frame = CloseFrame { code, reason: reason.into() };
    let _ = tokio::time::timeout(SEND_TIMEOUT, sink.send(Message::Close(Some(frame)))).await;
}

#[cfg(test)]
mod tests {
    /// `npm test` compares the built page with its sources byte for byte; without npm, at least see that all
    /// of it is here and that what `connection.ts` speaks is what we speak.
    #[test]
    fn the_embedded_page_is_whole() {
        let page = include_str!("../assets/index.html");
        let script = include_str!("../assets/page.js");
        let style = include_str!("../assets/page.css");
        assert!(page.contains("page.js") && page.contains("page.css"));
        assert!(
            !page.contains("style=\"") && !page.contains("onload="),
            "the content policy forbids inline code"
        );
        assert!(script.contains(&format!("var VERSION = {};", crate::protocol::VERSION)));
        for view in ["TaskStreamView", "ProgressView", "WorkersView", "MemoryView"] {
            assert!(script.contains(view), "{view} is not in the built page");
        }
        assert!(style.contains(".nuna-view"));
        let bytes = page.len() + script.len() + style.len();
        assert!(bytes < 100_000, "the page has {bytes} bytes");
    }
}
