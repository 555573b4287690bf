//! Targets, and connections to them: TCP, TLS and unix sockets.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::{Context as _, bail, ensure};
use http::header::HeaderValue;
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

/// Where a route leads, parsed once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    scheme: Scheme,
    /// `localhost` for a unix socket.
    authority: Authority,
    /// The same as a `Host` header.
    host: HeaderValue,
    /// The target's own path without a trailing slash.
    base: String,
    socket: Option<PathBuf>,
    key: Arc<str>,
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
            return Ok(Self {
                scheme: Scheme::HTTP,
                authority: Authority::from_static("localhost"),
                host: HeaderValue::from_static("localhost"),
                base: format!("/{base}").trim_end_matches('/').to_owned(),
                key: format!("unix:{socket}").into(),
                socket: Some(socket.into()),
            });
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
        // Who the target is told it is has no user name in it.
        let named = authority.as_str().rsplit('@').next().unwrap_or_default();
        Ok(Self {
            host: HeaderValue::from_str(named).with_context(|| format!("{text:?} names no proper host"))?,
            key: format!("{scheme}://{authority}").into(),
            scheme,
            authority,
            base,
            socket: None,
        })
    }

    pub(crate) fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// `Host` for those who want the target's own.
    pub(crate) fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// The target's own path, which requests' paths are appended to.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Whether it is reached over TCP alone.
    pub(crate) fn is_plain(&self) -> bool {
        self.scheme == Scheme::HTTP && self.socket.is_none()
    }

    /// The same for targets that share connections.
    pub(crate) fn key(&self) -> &Arc<str> {
        &self.key
    }

    /// What to ask the target for, given what the proxy was asked for.
    pub(crate) fn uri(&self, path: &PathAndQuery, prepend_base: bool) -> anyhow::Result<Uri> {
        if prepend_base && !self.base.is_empty() {
            let whole = format!("{}{path}", self.base);
            return Ok(Uri::from(whole.parse::<PathAndQuery>().context("the path cannot be forwarded")?));
        }
        Ok(Uri::from(path.clone()))
    }
}

/// Opens a connection, however long that takes.
pub(crate) async fn connect(target: &Target, tls: Option<TlsConnector>) -> std::io::Result<Stream> {
    let host = target.authority.host().trim_matches(['[', ']']);
    if let Some(path) = &target.socket {
        return Ok(Stream::Unix(TokioIo::new(UnixStream::connect(path).await?)));
    }
    let is_tls = target.scheme == Scheme::HTTPS;
    let stream = connect_tcp(target).await?;
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

/// The same without TLS around it.
pub(crate) async fn connect_tcp(target: &Target) -> std::io::Result<TcpStream> {
    let host = target.authority.host().trim_matches(['[', ']']);
    let port = target.authority.port_u16().unwrap_or(if target.scheme == Scheme::HTTPS { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    crate::listen::keep_alive(&stream);
    Ok(stream)
}

pub(crate) enum Stream {
    Tcp(TokioIo<TcpStream>),
    Unix(TokioIo<UnixStream>),
    Tls(Box<TokioIo<tokio_rustls::client::TlsStream<TcpStream>>>),
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
        // Heads come in one piece, for which the system's way of writing pieces costs more than that of writing.
        if let [slice] = slices {
            return self.poll_write(context, slice);
        }
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(target: &str, path: &'static str, prepend_base: bool) -> String {
        let target = Target::parse(target).unwrap();
        target.uri(&PathAndQuery::from_static(path), prepend_base).unwrap().to_string()
    }

    #[test]
    fn target_paths_are_joined_without_double_slashes() {
        assert_eq!(asked("http://127.0.0.1:9/base/", "/x?y=1", true), "/base/x?y=1");
        assert_eq!(asked("http://127.0.0.1:9/base/", "/x", false), "/x");
        assert_eq!(asked("http://h:1", "/%2F%C3", true), "/%2F%C3");
        assert_eq!(asked("http://h:1", "/?q", true), "/?q");
    }

    #[test]
    fn unix_sockets_are_targets() {
        let target = Target::parse("http+unix://%2Frun%2Fx.sock/hub").unwrap();
        assert_eq!(target.socket, Some(PathBuf::from("/run/x.sock")));
        assert_eq!(asked("unix+http://%2Frun%2Fx.sock/hub", "/a", true), "/hub/a");
        assert_ne!(target.key(), Target::parse("http://localhost").unwrap().key());
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "127.0.0.1:80", "ftp://x", "/x", "http+unix://x.sock", "http://"] {
            assert!(Target::parse(text).is_err(), "{text}");
        }
    }
}
