//! The listeners' sockets: those that systemd has opened (`LISTEN_FDS`, by the names of `LISTEN_FDNAMES`), or ones of our own.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use nuna_systemd::Passed;
use tokio::net::{TcpListener, UnixListener};

use crate::options::Address;

/// What sockets may be called (`FileDescriptorName=` of their units).
const NAMES: [&str; 4] = ["public", "api", "metrics", "redirect"];

pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The sockets that were passed and are not yet taken.
pub(crate) struct Sockets {
    passed: Vec<(String, Passed)>,
    /// Files of sockets that are ours to remove at the end.
    files: Vec<PathBuf>,
}

impl Sockets {
    /// # Errors
    /// If a name is not one of ours, or comes twice: a socket that nobody accepts from would keep its clients waiting.
    pub(crate) fn new(passed: Vec<(String, Passed)>) -> anyhow::Result<Self> {
        for (index, (name, _)) in passed.iter().enumerate() {
            ensure!(
                NAMES.contains(&name.as_str()),
                "systemd passes a socket named {name:?}: set FileDescriptorName= of its unit to one of {}",
                NAMES.join(", ")
            );
            ensure!(
                passed[..index].iter().all(|(earlier, _)| earlier != name),
                "systemd passes two sockets named {name:?}: take a ListenStream= out of the socket unit, or give it a unit \
                 and a name of its own"
            );
        }
        Ok(Self { passed, files: Vec::new() })
    }

    /// The socket passed by this name, which must be at `address`; without one, `address` is bound.
    pub(crate) async fn listen(&mut self, name: &str, address: &Address) -> anyhow::Result<Listener> {
        let Some(index) = self.passed.iter().position(|(passed, _)| passed == name) else {
            if let Address::Unix(path) = address {
                self.files.push(path.clone());
            }
            return bind(address).await;
        };
        let (_, socket) = self.passed.swap_remove(index);
        let wrong = |found: &dyn std::fmt::Debug| {
            format!(
                "the options say that {name} listens on {address}, and systemd passes a socket on {found:?}: make \
                 ListenStream= of its unit the same"
            )
        };
        match socket {
            Passed::Tcp(socket) => {
                let found = socket.local_addr().with_context(|| format!("the socket {name:?}"))?;
                let is_meant = match address {
                    Address::Tcp { ip, port } if ip.is_empty() => *port == found.port(),
                    Address::Tcp { ip, port } => tokio::net::lookup_host((bare(ip), *port))
                        .await
                        .with_context(|| format!("cannot find the address of {ip}"))?
                        .any(|meant| meant == found),
                    Address::Unix(_) => false,
                };
                ensure!(is_meant, wrong(&found));
                Ok(Listener::Tcp(TcpListener::from_std(socket)?))
            }
            Passed::Unix(socket) => {
                let found = socket.local_addr().with_context(|| format!("the socket {name:?}"))?;
                let is_meant =
                    matches!(address, Address::Unix(path) if found.as_pathname() == Some(path.as_path()));
                ensure!(is_meant, wrong(&found));
                Ok(Listener::Unix(UnixListener::from_std(socket)?))
            }
        }
    }

    /// To be asked once all listeners are there.
    ///
    /// # Errors
    /// If a socket was passed for a listener that the options do not ask for.
    pub(crate) fn files(self) -> anyhow::Result<Vec<PathBuf>> {
        match self.passed.first() {
            None => Ok(self.files),
            Some((name, _)) => bail!(
                "systemd passes a socket named {name:?}, and no option says that there is such a listener: add \
                 --{name}-port, or take the unit out of Sockets="
            ),
        }
    }
}

/// As it is looked up.
fn bare(ip: &str) -> &str {
    ip.trim_matches(['[', ']'])
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
            let listener = TcpListener::bind((bare(ip), *port))
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
