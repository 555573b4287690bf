//! One connection of a client: TLS, HTTP/1.1 or HTTP/2, within limits, until it ends or the proxy does.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HOST, HeaderValue, LOCATION};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tracing::{debug, info, warn};

use crate::Proxy;
use crate::body::{AnyBody, full};
use crate::forward::{self, Visit};
use crate::framing::{Departure, Framed};
use crate::headers::Peer;
use crate::metrics::Gauge;
use crate::plain::HandedOver;
use crate::pool::Upstream;
use crate::{api, plain, tls};

/// Headers of one request; there may be 100 of them, which is hyper's own limit.
pub(crate) const HEADER_BYTES_MAX: usize = 64 << 10;
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Requests at once on one HTTP/2 connection, and what of each is on its way before it is read.
const STREAMS_MAX: u32 = 128;
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// An HTTP/2 client that does not answer is gone.
const PING_EVERY: Duration = Duration::from_secs(30);

/// What a listener's requests are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Public,
    Api,
    Metrics,
    /// To https on this port.
    Redirect(u16),
}

/// All that serving a connection of one listener needs.
pub(crate) struct Door {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) role: Role,
    pub(crate) tls: Option<Arc<tls::Incoming>>,
    pub(crate) drain: watch::Receiver<()>,
}

/// An accepted connection, of no runtime yet.
pub(crate) enum Accepted {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

pub(crate) struct Arrival {
    pub(crate) door: Arc<Door>,
    pub(crate) stream: Accepted,
    pub(crate) ip: Option<IpAddr>,
    /// Held as long as the connection is open.
    pub(crate) slot: OwnedSemaphorePermit,
}

impl Arrival {
    /// Serves it on the calling runtime.
    pub(crate) async fn serve(self, upstream: Arc<Upstream>) {
        let Self { door, stream, ip, slot } = self;
        let _open = Gauge::enter(&door.proxy.metrics.connections);
        let peer = Peer::new(ip, door.tls.is_some(), door.proxy.options.trusts(ip));
        let visit = Visit { proxy: door.proxy.clone(), upstream, peer };
        let visit = Arc::new(visit);
        match stream {
            Accepted::Tcp(stream) => match TcpStream::from_std(stream) {
                Ok(stream) => from_tcp(&door, visit, stream).await,
                Err(error) => debug!(%error, "a connection was lost before it was served"),
            },
            Accepted::Unix(stream) => match UnixStream::from_std(stream) {
                Ok(stream) => Box::pin(secure(&door, visit, stream)).await,
                Err(error) => debug!(%error, "a connection was lost before it was served"),
            },
        }
        drop(slot);
    }
}

async fn from_tcp(door: &Door, visit: Arc<Visit>, stream: TcpStream) {
    let takes_plain = door.role == Role::Public && door.tls.is_none() && door.proxy.options.takes_plain;
    if !takes_plain {
        return Box::pin(secure(door, visit, stream)).await;
    }
    // Boxed, for what hyper needs is large, and most connections do not need it.
    if let Some(HandedOver { stream, read }) = plain::serve(door, &visit, stream).await {
        Box::pin(http1(door, visit, stream, read)).await;
    }
}

async fn secure<S>(door: &Door, visit: Arc<Visit>, stream: S)
where
    S: AsyncRead + AsyncWrite + Departure + Unpin + Send + 'static,
{
    let Some(tls) = &door.tls else { return http1(door, visit, stream, Vec::new()).await };
    match tokio::time::timeout(HANDSHAKE_MAX, Box::pin(tls.current().accept(stream))).await {
        Ok(Ok(stream)) => {
            if stream.get_ref().1.alpn_protocol() == Some(tls::HTTP2) {
                Box::pin(http2(door, visit, stream)).await;
            } else {
                Box::pin(http1(door, visit, stream, Vec::new())).await;
            }
        }
        Ok(Err(error)) => debug!(ip = ?visit.peer.address, %error, "TLS handshake failed"),
        Err(_) => debug!(ip = ?visit.peer.address, "TLS handshake took too long"),
    }
}

/// What is asked, looked at as far as that needs no waiting.
enum Asked {
    Public(Box<forward::Begun>),
    Api(Box<Request<Incoming>>),
    Answered(Response<AnyBody>),
}

fn answer(
    role: Role,
    visit: Arc<Visit>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<AnyBody>, Infallible>> {
    let asked = match role {
        Role::Public => {
            forward::begin(&visit, request).map_or_else(|own| Asked::Answered(*own), Asked::Public)
        }
        Role::Api => Asked::Api(Box::new(request)),
        Role::Metrics => Asked::Answered(metrics(&visit.proxy, &request)),
        Role::Redirect(port) => Asked::Answered(redirect(port, &request)),
    };
    async move {
        Ok(match asked {
            Asked::Public(begun) => forward::finish(&visit, begun).await,
            Asked::Api(request) => Box::pin(api::handle(visit.proxy.clone(), *request)).await,
            Asked::Answered(response) => response,
        })
    }
}

/// Runs a connection to its end, or lets it finish what it does once the proxy is told to end.
macro_rules! until_drained {
    ($door:expr, $visit:expr, $connection:expr) => {{
        let mut connection = std::pin::pin!($connection);
        let mut heard = $door.drain.clone();
        let mut told = std::pin::pin!(heard.changed());
        let (drain, mut is_listening, mut is_draining) = (&$door.drain, false, false);
        let ended = poll_fn(|context| {
            // This runs twice for each request: the end is listened for once, and then looked for.
            if !is_draining && (!is_listening || drain.has_changed().unwrap_or(true)) {
                is_listening = true;
                is_draining = told.as_mut().poll(context).is_ready();
                if is_draining {
                    connection.as_mut().graceful_shutdown();
                }
            }
            connection.as_mut().poll(context)
        })
        .await;
        if let Err(error) = ended {
            note(&$visit, &error);
        }
    }};
}

fn note(visit: &Visit, error: &hyper::Error) {
    let (ip, words) = (&visit.peer.address, forward::chain(error));
    if error.is_parse() || error.is_parse_too_large() {
        warn!(?ip, "refused what is no proper request: {words}");
    } else if error.is_timeout() {
        info!(?ip, "a request was not finished in time");
    } else {
        debug!(?ip, "connection ended: {words}");
    }
}

async fn http1<S>(door: &Door, visit: Arc<Visit>, stream: S, ahead: Vec<u8>)
where
    S: AsyncRead + AsyncWrite + Departure + Unpin + Send + 'static,
{
    let (role, service_visit) = (door.role, visit.clone());
    let service = service_fn(move |request| answer(role, service_visit.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(door.proxy.options.header_time_max)
        .max_buf_size(HEADER_BYTES_MAX)
        .half_close(S::IS_SEEN)
        .serve_connection(
            TokioIo::new(Framed::new(stream, ahead, door.proxy.options.client_time_max)),
            service,
        )
        .with_upgrades();
    until_drained!(door, visit, connection);
}

async fn http2<S>(door: &Door, visit: Arc<Visit>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (role, service_visit) = (door.role, visit.clone());
    let service = service_fn(move |request| answer(role, service_visit.clone(), request));
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(HANDSHAKE_MAX)
        .enable_connect_protocol()
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX as u32)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    until_drained!(door, visit, connection);
}

fn metrics(proxy: &Proxy, request: &Request<Incoming>) -> Response<AnyBody> {
    if request.uri().path() != "/metrics" {
        let mut response = Response::new(full("Not Found"));
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    }
    let routes = proxy.routes().count();
    let mut response = Response::new(full(proxy.metrics.render(routes)));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    response
}

fn redirect(port: u16, request: &Request<Incoming>) -> Response<AnyBody> {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let mut response = Response::new(full(""));
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let location =
        if port == 443 { format!("https://{name}{path}") } else { format!("https://{name}:{port}{path}") };
    match location.parse() {
        Ok(location) if !name.is_empty() => {
            *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
            response.headers_mut().insert(LOCATION, location);
        }
        Ok(_) | Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    response
}
