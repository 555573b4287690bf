//! The two listeners: the unix socket for the hub, where the other side's account counts, and TCP for launchers and
//! browsers, where nobody is trusted. Both bound everything: connections, headers, and the time to end.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tower::Service;
use tracing::{info, warn};

use crate::config::{NodesSettings, SocketSettings};
use crate::repeated::Repeated;

/// The hub's own limit for headers, and for a connection that idles.
const HUB_HEADER_TIME_MAX: Duration = Duration::from_secs(60);
/// All headers of one request; a hub's are a few kB.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// The hub alone connects.
const HUB_CONNECTIONS_MAX: usize = 4096;
/// How long a socket's file may have a listener that nobody owns, and how often it is looked at.
const PREDECESSOR_MAX: Duration = Duration::from_secs(3);
const PREDECESSOR_LOOK: Duration = Duration::from_millis(50);
/// After an error of `accept`, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Removes the socket's file when dropped, if it made it.
#[derive(Debug)]
pub struct HubListener {
    listener: UnixListener,
    path: std::path::PathBuf,
    /// None if the file is systemd's.
    inode: Option<u64>,
    uids: Vec<u32>,
}

impl Drop for HubListener {
    fn drop(&mut self) {
        // Not the socket of a successor that replaced ours.
        let found = std::fs::symlink_metadata(&self.path).map(|metadata| metadata.ino()).ok();
        if self.inode.is_some() && found == self.inode {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Whether others could replace the socket in its folder.
pub fn check_socket_folder(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().context("socket.path has no folder")?;
    let metadata = std::fs::metadata(folder).with_context(|| {
        format!("socket.path: {} cannot be read; create it for the service's account", folder.display())
    })?;
    ensure!(metadata.is_dir(), "socket.path: {} is not a folder", folder.display());
    ensure!(
        metadata.mode() & 0o002 == 0 || metadata.mode() & 0o1000 != 0,
        "socket.path: everybody can write to {} (mode {:o}) and could put a socket of their own there; chmod o-w",
        folder.display(),
        metadata.mode() & 0o7777
    );
    Ok(())
}

/// Removes the socket of a service that was killed; fails if somebody listens on it.
fn remove_what_was_left(path: &Path) -> anyhow::Result<()> {
    let give_up = Instant::now() + PREDECESSOR_MAX;
    loop {
        match std::os::unix::net::UnixStream::connect(path) {
            // A command that a killed service was just starting has its listener until the command's program begins.
            Ok(_) if Instant::now() < give_up => std::thread::sleep(PREDECESSOR_LOOK),
            Ok(_) => bail!("socket.path: another program already listens on {}", path.display()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                return std::fs::remove_file(path)
                    .with_context(|| format!("cannot remove {}", path.display()));
            }
            Err(error) => bail!("socket.path: {} is there and cannot be asked: {error}", path.display()),
        }
    }
}

impl HubListener {
    pub fn bind(settings: &SocketSettings) -> anyhow::Result<Self> {
        let path = &settings.path;
        check_socket_folder(path)?;
        if let Ok(metadata) = std::fs::symlink_metadata(path) {
            ensure!(
                metadata.file_type().is_socket(),
                "socket.path: {} exists and is not a socket",
                path.display()
            );
            remove_what_was_left(path)?;
        }
        let listener = UnixListener::bind(path)
            .with_context(|| format!("socket.path: cannot listen on {}", path.display()))?;
        // The hub's account reaches it through the service's group; the peer's uid decides in any case.
        let mode = if settings.allow_users.is_empty() { 0o600 } else { 0o660 };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
            .with_context(|| format!("cannot set the mode of {}", path.display()))?;
        let inode = std::fs::symlink_metadata(path).map(|metadata| metadata.ino()).ok();
        Ok(Self { listener, path: path.clone(), inode, uids: settings.uids() })
    }

    /// One that systemd has opened: its mode and owner are the socket unit's, and the peer's uid decides as ever.
    pub fn passed(
        listener: std::os::unix::net::UnixListener,
        settings: &SocketSettings,
    ) -> anyhow::Result<Self> {
        let address = listener.local_addr().context("the unix socket that systemd passes")?;
        ensure!(
            address.as_pathname() == Some(&settings.path),
            "socket.path is {}, and systemd passes a socket at {address:?}: make ListenStream= of the socket unit the same",
            settings.path.display()
        );
        check_socket_folder(&settings.path)?;
        let listener = UnixListener::from_std(listener).context("the unix socket that systemd passes")?;
        Ok(Self { listener, path: settings.path.clone(), inode: None, uids: settings.uids() })
    }

    pub async fn serve(self, router: Router, ending: watch::Receiver<bool>, drain: Duration) {
        let limit = Connections::new("hub", HUB_CONNECTIONS_MAX, HUB_HEADER_TIME_MAX, ending);
        loop {
            let Some(permit) = limit.place().await else { break };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = limit.ended() => break,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!("the hub's socket accepts nothing: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            match stream.peer_cred() {
                Ok(peer) if self.uids.contains(&peer.uid()) => {}
                Ok(peer) => {
                    warn!(target: "audit", uid = peer.uid(), "an account that may not was refused on the hub's socket; \
                           socket.allow_users names those that may");
                    continue;
                }
                Err(error) => {
                    warn!("the hub's socket does not say who connects: {error}");
                    continue;
                }
            }
            limit.spawn((permit, None), stream, router.clone(), None);
        }
        limit.drain(drain).await;
    }
}

/// On TCP.
pub async fn serve_nodes(
    listener: TcpListener,
    router: Router,
    settings: &NodesSettings,
    ending: watch::Receiver<bool>,
    drain: Duration,
) {
    let limit = Connections::new("nodes", settings.connections_max, settings.header_time(), ending);
    let (hosts, refused) = (Hosts::new(settings.connections_per_host_max), Repeated::default());
    loop {
        let Some(permit) = limit.place().await else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = limit.ended() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                let Some(place) = hosts.place(peer.ip()) else {
                    if let Some(times) = refused.happened() {
                        warn!(
                            target: "audit", %peer, times,
                            "a host with as many connections as one may have (nodes.connections_per_host_max) was refused another"
                        );
                    }
                    continue;
                };
                limit.spawn((permit, Some(place)), stream, router.clone(), Some(peer));
            }
            Err(error) => {
                warn!("the nodes' listener accepts nothing: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    limit.drain(drain).await;
}

/// How many connections each machine has: on a node, everybody can connect, and nobody may take all places.
#[derive(Clone)]
struct Hosts {
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
    max: usize,
}

/// One of a machine's connections, for as long as it is kept.
struct Place {
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
    host: IpAddr,
}

impl Hosts {
    fn new(max: usize) -> Self {
        Self { counts: Arc::default(), max }
    }

    fn place(&self, host: IpAddr) -> Option<Place> {
        let host = host.to_canonical();
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(host).or_default();
        // The hub's proxy brings all browsers from here.
        if *count >= self.max && !host.is_loopback() {
            return None;
        }
        *count += 1;
        Some(Place { counts: self.counts.clone(), host })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = counts.entry(self.host) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// What a connection holds as long as it lasts.
type Held = (tokio::sync::OwnedSemaphorePermit, Option<Place>);

/// Connections of one listener, counted and ended together.
struct Connections {
    /// `hub` or `nodes`, for the log.
    listener: &'static str,
    header_time_max: Duration,
    places: Arc<Semaphore>,
    max: u32,
    ending: watch::Receiver<bool>,
    /// Times that no place was left.
    full: Repeated,
    /// Connections that were closed for what came, or did not come, on them.
    broken: Arc<Repeated>,
}

impl Connections {
    fn new(
        listener: &'static str,
        max: usize,
        header_time_max: Duration,
        ending: watch::Receiver<bool>,
    ) -> Self {
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        let places = Arc::new(Semaphore::new(max as usize));
        let (full, broken) = (Repeated::default(), Arc::default());
        Self { listener, header_time_max, places, max, ending, full, broken }
    }

    async fn ended(&self) {
        let mut ending = self.ending.clone();
        // A sender that is gone means the same.
        let _ = ending.wait_for(|ending| *ending).await;
    }

    /// None when the service ends.
    async fn place(&self) -> Option<tokio::sync::OwnedSemaphorePermit> {
        if self.places.available_permits() == 0
            && let Some(times) = self.full.happened()
        {
            let (listener, max) = (self.listener, self.max);
            warn!(
                listener,
                max,
                times,
                "there are as many connections as there may be: whoever comes now waits for one to end"
            );
        }
        tokio::select! {
            permit = self.places.clone().acquire_owned() => permit.ok(),
            () = self.ended() => None,
        }
    }

    fn spawn<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        held: Held,
        stream: S,
        router: Router,
        peer: Option<SocketAddr>,
    ) {
        let serving = connection(stream, router, peer, self.ending.clone(), self.header_time_max);
        let (listener, broken) = (self.listener, self.broken.clone());
        tokio::spawn(async move {
            let ended = serving.await;
            if let Err(error) = ended
                // The hub's own connections may idle until they are closed.
                && (error.is_parse() || (error.is_timeout() && peer.is_some()))
                && let Some(times) = broken.happened()
            {
                let peer = peer.map(tracing::field::display);
                info!(
                    listener,
                    peer, times, "a connection was closed that brought no proper request in time: {error}"
                );
            }
            drop(held);
        });
    }

    async fn drain(self, limit: Duration) {
        // Every connection holds one until it has ended.
        if tokio::time::timeout(limit, self.places.acquire_many(self.max)).await.is_err() {
            warn!("requests that were not done within {} s are cut off", limit.as_secs_f64());
        }
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    router: Router,
    peer: Option<SocketAddr>,
    mut ending: watch::Receiver<bool>,
    header_time_max: Duration,
) -> hyper::Result<()> {
    let service = tower::service_fn(move |mut request: http::Request<Incoming>| {
        if let Some(peer) = peer {
            request.extensions_mut().insert(ConnectInfo(peer));
        }
        router.clone().call(request)
    });
    // Not hyper-util's builder, which waits without limit for what tells HTTP/2 from HTTP/1. Nobody here speaks 2.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_time_max)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => ended,
        // What it gives is a lock, which must not be kept.
        () = async { drop(ending.wait_for(|ending| *ending).await) } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(folder: &Path) -> SocketSettings {
        SocketSettings { path: folder.join("s"), allow_users: Vec::new() }
    }

    /// A process between `fork` and `exec` still has what its parent had open.
    #[tokio::test]
    async fn a_listener_that_nobody_owns_any_more_is_waited_out() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        let left = std::os::unix::net::UnixListener::bind(&settings.path).unwrap();
        let holder = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            drop(left);
        });
        let listener = HubListener::bind(&settings).unwrap();
        holder.join().unwrap();
        assert!(HubListener::bind(&settings).unwrap_err().to_string().contains("already listens"));
        drop(listener);
        assert!(!settings.path.exists());
    }

    #[test]
    fn one_machine_cannot_take_all_places() {
        let hosts = Hosts::new(2);
        let (one, mapped, two): (IpAddr, IpAddr, IpAddr) =
            ("10.0.0.1".parse().unwrap(), "::ffff:10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let first = hosts.place(one).unwrap();
        let second = hosts.place(mapped).unwrap();
        assert!(hosts.place(one).is_none());
        assert!(hosts.place(two).is_some());
        drop(first);
        let third = hosts.place(one).unwrap();
        assert!(hosts.place(one).is_none());
        let local: Vec<_> = (0..5).map(|_| hosts.place([127, 0, 0, 1].into()).unwrap()).collect();
        drop((second, third, local));
        assert!(hosts.counts.lock().unwrap().is_empty(), "nothing is kept of machines that left");
    }
}
