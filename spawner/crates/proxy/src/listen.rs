//! The listeners: accept, TLS, serve each connection within limits, drain at the end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use http::header::{HOST, LOCATION};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use crate::Proxy;
use crate::body::{AnyBody, full};
use crate::framing::Framed;
use crate::headers::Peer;
use crate::metrics::Gauge;
use crate::options::Address;
use crate::{api, forward, tls};

/// Headers of one request, and how many.
const HEADER_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 128;
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// What a listener's requests are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Public,
    Api,
    Metrics,
    /// To https on this port.
    Redirect(u16),
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

pub(crate) async fn serve(proxy: Arc<Proxy>) -> anyhow::Result<()> {
    let options = &proxy.options;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let public_tls = options.tls.as_ref().map(tls::acceptor).transpose().context("--ssl-*")?;
    let api_tls = options.api_tls.as_ref().map(tls::acceptor).transpose().context("--api-ssl-*")?;
    let mut listeners = vec![
        (bind(&options.public).await?, Role::Public, public_tls),
        (bind(&options.api).await?, Role::Api, api_tls),
    ];
    if let Some(address) = &options.metrics {
        listeners.push((bind(address).await?, Role::Metrics, None));
    }
    if let Some((address, port)) = &options.redirect {
        listeners.push((bind(address).await?, Role::Redirect(*port), None));
        info!("Added HTTP to HTTPS redirection from {address} to {port}");
    }
    if options.auth_token.is_none() {
        warn!("REST API is not authenticated: set CONFIGPROXY_AUTH_TOKEN");
    }
    let scheme = |tls: bool| if tls { "https" } else { "http" };
    info!(
        "Proxying {}://{} to {}",
        scheme(options.tls.is_some()),
        bound(&listeners[0].0, &options.public),
        options.default_target.as_deref().unwrap_or("(no default)")
    );
    info!(
        "Proxy API at {}://{}/api/routes",
        scheme(options.api_tls.is_some()),
        bound(&listeners[1].0, &options.api)
    );
    if let Some(path) = &options.pid_file {
        info!("Writing pid {} to {}", std::process::id(), path.display());
        std::fs::write(path, std::process::id().to_string())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }

    // Every connection holds a receiver: they hear of the end through it, and are counted by it.
    let (draining, drain) = watch::channel(());
    let slots = Arc::new(Semaphore::new(options.connections_max));
    let mut accepting = Vec::new();
    for (listener, role, acceptor) in listeners {
        // The API stays reachable when clients have taken all connections.
        let slots = if role == Role::Public { slots.clone() } else { Arc::new(Semaphore::new(256)) };
        let door = Door { proxy: proxy.clone(), role, acceptor, slots, drain: drain.clone() };
        accepting.push(tokio::spawn(accept(listener, door)));
    }
    drop(drain);

    tokio::select! {
        _ = terminate.recv() => info!("Terminated; running requests may end"),
        _ = interrupt.recv() => warn!("Interrupted"),
    }
    for task in accepting {
        task.abort();
    }
    let _ = draining.send(());
    tokio::select! {
        () = draining.closed() => debug!("all requests have ended"),
        () = tokio::time::sleep(proxy.options.drain_max) => info!("some requests did not end in time"),
        _ = terminate.recv() => info!("Terminated again"),
        _ = interrupt.recv() => info!("Interrupted again"),
    }
    clean_up(&proxy);
    Ok(())
}

fn clean_up(proxy: &Proxy) {
    let options = &proxy.options;
    for address in [Some(&options.public), Some(&options.api), options.metrics.as_ref()] {
        if let Some(Address::Unix(path)) = address {
            let _ = std::fs::remove_file(path);
        }
    }
    if let Some(path) = &options.pid_file {
        let _ = std::fs::remove_file(path);
    }
}

async fn bind(address: &Address) -> anyhow::Result<Listener> {
    match address {
        Address::Unix(path) => {
            remove_stale_socket(path).await?;
            let listener =
                UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
            Ok(Listener::Unix(listener))
        }
        Address::Tcp { ip, port } if ip.is_empty() => {
            // All addresses of both families, or of the one there is.
            let listener = match TcpListener::bind(("::", *port)).await {
                Ok(listener) => listener,
                Err(_) => TcpListener::bind(("0.0.0.0", *port))
                    .await
                    .with_context(|| format!("cannot listen on port {port}"))?,
            };
            Ok(Listener::Tcp(listener))
        }
        Address::Tcp { ip, port } => {
            let listener = TcpListener::bind((ip.trim_matches(['[', ']']), *port))
                .await
                .with_context(|| format!("cannot listen on {address}"))?;
            Ok(Listener::Tcp(listener))
        }
    }
}

async fn remove_stale_socket(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        bail!("{} exists and is not a socket: remove it or choose another path", path.display());
    }
    if tokio::net::UnixStream::connect(path).await.is_ok() {
        bail!("something already listens on {}", path.display());
    }
    std::fs::remove_file(path).with_context(|| format!("cannot remove the old socket {}", path.display()))
}

fn bound(listener: &Listener, asked: &Address) -> String {
    match listener {
        Listener::Tcp(listener) => listener.local_addr().map_or_else(
            |_| asked.to_string(),
            |address| match asked {
                Address::Tcp { ip, .. } if ip.is_empty() => format!("*:{}", address.port()),
                Address::Tcp { .. } | Address::Unix(_) => address.to_string(),
            },
        ),
        Listener::Unix(_) => asked.to_string(),
    }
}

/// All that serving a connection of one listener needs.
struct Door {
    proxy: Arc<Proxy>,
    role: Role,
    acceptor: Option<TlsAcceptor>,
    slots: Arc<Semaphore>,
    drain: watch::Receiver<()>,
}

async fn accept(listener: Listener, door: Door) {
    let door = Arc::new(door);
    loop {
        let Ok(slot) = door.slots.clone().acquire_owned().await else { return };
        let accepted = match &listener {
            Listener::Tcp(listener) => listener.accept().await.map(|(stream, peer)| {
                let _ = stream.set_nodelay(true);
                keep_alive(&stream);
                (Accepted::Tcp(stream), Some(peer.ip()))
            }),
            Listener::Unix(listener) => {
                listener.accept().await.map(|(stream, _)| (Accepted::Unix(stream), None))
            }
        };
        match accepted {
            Ok((stream, ip)) => {
                let door = door.clone();
                tokio::spawn(async move {
                    let _open = Gauge::enter(&door.proxy.metrics.connections);
                    let peer = Peer { ip, is_tls: door.acceptor.is_some() };
                    match stream {
                        Accepted::Tcp(stream) => secure(&door, peer, stream).await,
                        Accepted::Unix(stream) => secure(&door, peer, stream).await,
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely; accepting again at once would spin.
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

enum Accepted {
    Tcp(TcpStream),
    Unix(tokio::net::UnixStream),
}

async fn secure<S>(door: &Arc<Door>, peer: Peer, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match &door.acceptor {
        None => converse(door, peer, stream).await,
        Some(acceptor) => match tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => converse(door, peer, stream).await,
            Ok(Err(error)) => debug!(ip = ?peer.ip, %error, "TLS handshake failed"),
            Err(_) => debug!(ip = ?peer.ip, "TLS handshake took too long"),
        },
    }
}

async fn converse<S>(door: &Arc<Door>, peer: Peer, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (proxy, role) = (door.proxy.clone(), door.role);
    let service = service_fn(move |request: Request<Incoming>| {
        let proxy = proxy.clone();
        async move {
            Ok::<_, std::convert::Infallible>(match role {
                Role::Public => forward::handle(proxy, peer, request).await,
                Role::Api => api::handle(proxy, request).await,
                Role::Metrics => metrics(&proxy, &request),
                Role::Redirect(port) => redirect(port, &request),
            })
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(door.proxy.options.header_time_max)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .half_close(false)
        .serve_connection(TokioIo::new(Framed::new(stream)), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let mut drain = door.drain.clone();
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = drain.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(ip = ?peer.ip, "connection ended: {}", forward::chain(&error));
    }
}

fn metrics(proxy: &Proxy, request: &Request<Incoming>) -> Response<AnyBody> {
    if request.uri().path() != "/metrics" {
        let mut response = Response::new(full("Not Found"));
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    }
    let routes = proxy.routes().count();
    let mut response = Response::new(full(proxy.metrics.render(routes)));
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
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

/// Notices peers that vanished without a word (after the time the system sets), so that their tunnels end.
pub(crate) fn keep_alive(stream: &TcpStream) {
    use nix::sys::socket::{setsockopt, sockopt};
    let _ = setsockopt(stream, sockopt::KeepAlive, &true);
}
