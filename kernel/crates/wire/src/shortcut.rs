//! Owns the short way between processes of one user on one host: a Unix socket beside the TCP port of a worker's data server,
//! over which values travel without being encrypted and without the network's layers. It has a name, and no file.
//!
//! Whoever is at the other end must run under the same user, as the kernel of the system says; that user could read this
//! process's keys and memory anyway. Everybody else, and every other host, takes the long way.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixListener, UnixStream},
};
use tokio_rustls::TlsStream;

use crate::credentials::Credentials;

/// The short ways of one cluster. They are named after it, so that those of another never answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shortcuts {
    cluster: u64,
}

impl Shortcuts {
    pub(crate) fn of(credentials: &Credentials) -> Self {
        let mut hasher = DefaultHasher::new();
        credentials.authority().hash(&mut hasher);
        Self { cluster: hasher.finish() }
    }

    /// In Linux's abstract namespace, which belongs to a network namespace just as the port does, and in which a name is free
    /// again once its process has ended.
    fn name(self, address: SocketAddr) -> String {
        format!("\0nuna/{:016x}/{address}", self.cluster)
    }

    /// # Errors
    /// If the name is taken, which another user may have done to annoy.
    pub(crate) fn listen(self, address: SocketAddr) -> io::Result<UnixListener> {
        UnixListener::bind(self.name(address))
    }

    /// The way to whoever serves at `address`, if that is on this host and of this user.
    pub(crate) async fn connect(self, address: SocketAddr) -> Option<UnixStream> {
        let stream = UnixStream::connect(self.name(address)).await.ok()?;
        is_own(&stream).then_some(stream)
    }
}

/// The process at the other end, if this one's namespace has a number for it.
pub(crate) fn process_of(stream: &Stream) -> Option<u32> {
    let Stream::Short(stream) = stream else { return None };
    let pid = u32::try_from(stream.peer_cred().ok()?.pid()?).ok()?;
    Some(pid).filter(|&pid| pid != 0)
}

/// Whether the process at the other end ran under this process's user when it connected or listened.
pub(crate) fn is_own(stream: &UnixStream) -> bool {
    /// What the kernel says of users that have no number in this namespace.
    const NOBODY: u32 = 65_534;
    let own = nix::unistd::geteuid().as_raw();
    own != NOBODY && stream.peer_cred().is_ok_and(|peer| peer.uid() == own)
}

/// Either way.
#[derive(Debug)]
pub enum Stream {
    Long(Box<TlsStream<TcpStream>>),
    Short(UnixStream),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Long(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Short(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Long(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Short(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Long(stream) => Pin::new(stream).poll_flush(cx),
            Self::Short(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Long(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Short(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
