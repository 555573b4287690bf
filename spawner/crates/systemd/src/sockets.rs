//! Sockets that were opened before the service was started, so that nobody is refused while it restarts.

use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// A socket that accepts connections.
#[derive(Debug)]
pub enum Passed {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// What systemd passed (`LISTEN_PID`, `LISTEN_FDS`), with the names of `LISTEN_FDNAMES`, in order. They wait for nothing (non-blocking),
/// and programs that this one starts do not get them.
///
/// # Errors
/// If one is something else than a listening socket of a unix or TCP address.
pub fn passed() -> io::Result<Vec<(String, Passed)>> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').map(str::to_owned);
    let mut sockets = ListenFd::from_env();
    let mut found = Vec::new();
    for index in 0..sockets.len() {
        let name = names.next().unwrap_or_else(|| "unknown".to_owned());
        // Each kind is refused by the other's look at it, and then still there.
        let socket = match sockets.take_unix_listener(index) {
            Ok(socket) => socket.map(Passed::Unix),
            Err(_) => sockets
                .take_tcp_listener(index)
                .map_err(|error| {
                    let wrong = format!(
                        "the socket {name:?} that was passed is neither a listening unix nor TCP socket: {error}"
                    );
                    io::Error::new(error.kind(), wrong)
                })?
                .map(Passed::Tcp),
        };
        let Some(socket) = socket else { continue };
        match &socket {
            Passed::Unix(socket) => {
                socket.set_nonblocking(true)?;
                keep_from_children(socket)?;
            }
            Passed::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                keep_from_children(socket)?;
            }
        }
        found.push((name, socket));
    }
    Ok(found)
}

fn keep_from_children(socket: impl AsFd) -> io::Result<()> {
    fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map(|_| ()).map_err(io::Error::from)
}
