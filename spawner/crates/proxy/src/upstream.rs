//! Targets and the pool of connections to them: TCP, TLS and unix sockets.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::body::AnyBody;
use crate::options::Options;
use crate::tls;

const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Idle connections kept per target, and for how long.
const IDLE_PER_TARGET_MAX: usize = 64;
const IDLE_MAX: Duration = Duration::from_secs(20);
/// Marks a host name that is a unix socket's path in hex.
const UNIX_SUFFIX: &str = ".unix-socket";

/// Where a route leads, parsed once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    scheme: Scheme,
    authority: Authority,
    /// The target's own path without a trailing slash.
    base: String,
    is_unix: bool,
}

impl Target {
    /// `http://host:port/base`, `https://…`, or `http+unix://%2Frun%2Fx.sock/base` (also `unix+http`).
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let unix = text.strip_prefix("http+unix://").or_else(|| text.strip_prefix("unix+http://"));
        if let Some(rest) = unix {
            let (socket, base) = rest.split_once('/').unwrap_or((rest, ""));
            let socket =
                crate::path::decode(socket).with_context(|| format!("{text:?} is not properly encoded"))?;
            ensure!(
                socket.starts_with('/'),
                "{text:?} does not name an absolute socket path, such as %2Frun%2Fx.sock"
            );
            let hex: String = socket.bytes().map(|byte| format!("{byte:02x}")).collect();
            let authority = format!("{hex}{UNIX_SUFFIX}").parse().context("the socket's path is too long")?;
            let base = format!("/{base}").trim_end_matches('/').to_owned();
            return Ok(Self { scheme: Scheme::HTTP, authority, base, is_unix: true });
        }
        let uri: Uri =
            text.parse().with_context(|| format!("{text:?} is not a URL such as http://host:port"))?;
        let parts = uri.into_parts();
        let scheme = parts.scheme.with_context(|| format!("{text:?} has no http:// or https://"))?;
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            bail!("{text:?} is neither http:// nor https:// nor http+unix://");
        }
        let authority = parts.authority.with_context(|| format!("{text:?} names no host"))?;
        let base =
            parts.path_and_query.map(|path| path.path().trim_end_matches('/').to_owned()).unwrap_or_default();
        Ok(Self { scheme, authority, base, is_unix: false })
    }

    pub(crate) fn authority(&self) -> &str {
        if self.is_unix { "localhost" } else { self.authority.as_str() }
    }

    /// The upstream URL for a request's path.
    pub(crate) fn uri(&self, path: &str, prepend_base: bool) -> anyhow::Result<Uri> {
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let whole = if prepend_base && !self.base.is_empty() { format!("{}{path}", self.base) } else { path };
        let path: PathAndQuery = whole.parse().context("the path cannot be forwarded")?;
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()
            .context("the target's URL cannot be built")
    }
}

#[derive(Clone)]
pub(crate) struct Upstream {
    pub(crate) client: Client<Connector, AnyBody>,
}

impl Upstream {
    pub(crate) fn new(options: &Options) -> anyhow::Result<Self> {
        let tls = tls::upstream(options)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(IDLE_PER_TARGET_MAX)
            .pool_idle_timeout(IDLE_MAX)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .set_host(false)
            .build(Connector { tls });
        Ok(Self { client })
    }
}

/// Opens connections for the pool.
#[derive(Clone)]
pub(crate) struct Connector {
    tls: Option<TlsConnector>,
}

impl tower::Service<Uri> for Connector {
    type Response = Stream;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Stream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tls = self.tls.clone();
        Box::pin(async move {
            tokio::time::timeout(CONNECT_MAX, connect(uri, tls))
                .await
                .map_err(|_| std::io::Error::new(std::io::ErrorKind::TimedOut, "connecting took too long"))?
        })
    }
}

async fn connect(uri: Uri, tls: Option<TlsConnector>) -> std::io::Result<Stream> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    if let Some(hex) = host.strip_suffix(UNIX_SUFFIX) {
        return Ok(Stream::Unix(TokioIo::new(UnixStream::connect(socket_path(hex)).await?)));
    }
    let is_tls = uri.scheme() == Some(&Scheme::HTTPS);
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    crate::listen::keep_alive(&stream);
    match tls {
        Some(tls) if is_tls => {
            let name = rustls_pki_types::ServerName::try_from(host.to_owned())
                .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidInput, error))?;
            Ok(Stream::Tls(Box::new(TokioIo::new(tls.connect(name, stream).await?))))
        }
        None if is_tls => Err(std::io::Error::new(
            std::io::ErrorKind::Unsupported,
            "no certificate authorities are known for https targets: give --client-ssl-ca or --insecure",
        )),
        Some(_) | None => Ok(Stream::Tcp(TokioIo::new(stream))),
    }
}

fn socket_path(hex: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let bytes: Vec<u8> = hex
        .as_bytes()
        .chunks(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    std::ffi::OsString::from_vec(bytes).into()
}

pub(crate) enum Stream {
    Tcp(TokioIo<TcpStream>),
    Unix(TokioIo<UnixStream>),
    Tls(Box<TokioIo<tokio_rustls::client::TlsStream<TcpStream>>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl Write for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }
}

/// Keeps `Arc` in one place for callers that share TLS settings.
pub(crate) fn connector(config: rustls::ClientConfig) -> TlsConnector {
    TlsConnector::from(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_paths_are_joined_without_double_slashes() {
        let target = Target::parse("http://127.0.0.1:9/base/").unwrap();
        assert_eq!(target.uri("/x?y=1", true).unwrap(), "http://127.0.0.1:9/base/x?y=1");
        assert_eq!(target.uri("/x", false).unwrap(), "http://127.0.0.1:9/x");
        assert_eq!(Target::parse("http://h:1").unwrap().uri("/%2F%C3", true).unwrap().path(), "/%2F%C3");
    }

    #[test]
    fn unix_sockets_are_targets() {
        let target = Target::parse("http+unix://%2Frun%2Fx.sock/hub").unwrap();
        let uri = target.uri("/a", true).unwrap();
        assert_eq!(uri.path(), "/hub/a");
        let hex = uri.host().unwrap().strip_suffix(UNIX_SUFFIX).unwrap();
        assert_eq!(socket_path(hex), PathBuf::from("/run/x.sock"));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "127.0.0.1:80", "ftp://x", "/x", "http+unix://x.sock", "http://"] {
            assert!(Target::parse(text).is_err(), "{text}");
        }
    }
}
