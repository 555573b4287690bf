//! The listeners: bind, accept, hand on; certificates read anew; drain at the end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tracing::{debug, info, warn};

use crate::converse::{Accepted, Arrival, Door, Role};
use crate::options::{Address, TlsFiles};
use crate::pool::Upstream;
use crate::workers::Workers;
use crate::{Proxy, tls};

/// Connections at the same time to a listener that is not for the public: these stay reachable when clients have
/// taken all of theirs.
const INWARD_CONNECTIONS_MAX: usize = 256;
/// How often the certificates' files are looked at.
const CERTIFICATES_LOOKED_AT_EVERY: Duration = Duration::from_secs(10);

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

pub(crate) async fn serve(proxy: Arc<Proxy>) -> anyhow::Result<()> {
    let options = &proxy.options;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let public_tls = incoming(options.tls.as_ref(), &[tls::HTTP2, tls::HTTP1]).context("--ssl-*")?;
    let api_tls = incoming(options.api_tls.as_ref(), &[tls::HTTP1]).context("--api-ssl-*")?;
    let outgoing = Arc::new(tls::Outgoing::for_targets(options).context("--client-ssl-*")?);
    let mut listeners = vec![
        (bind(&options.public).await?, Role::Public, public_tls.clone()),
        (bind(&options.api).await?, Role::Api, api_tls.clone()),
    ];
    if let Some(address) = &options.metrics {
        listeners.push((bind(address).await?, Role::Metrics, None));
    }
    if let Some((address, port)) = &options.redirect {
        listeners.push((bind(address).await?, Role::Redirect(*port), None));
    }
    announce(options, &listeners);
    if let Some(path) = &options.pid_file {
        info!("Writing pid {} to {}", std::process::id(), path.display());
        std::fs::write(path, std::process::id().to_string())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }

    let workers = Arc::new(Destination::Workers(Workers::start(options.threads, &outgoing)?));
    let here = Arc::new(Destination::Here(Arc::new(Upstream::new(outgoing.clone()))));
    // Every connection holds a receiver: they hear of the end through it, and are counted by it.
    let (draining, drain) = watch::channel(());
    let mut accepting = Vec::new();
    for (listener, role, tls) in listeners {
        let (slots, to) = match role {
            Role::Public => (options.connections_max, &workers),
            Role::Api | Role::Metrics | Role::Redirect(_) => (INWARD_CONNECTIONS_MAX, &here),
        };
        let door = Arc::new(Door { proxy: proxy.clone(), role, tls, drain: drain.clone() });
        accepting.push(tokio::spawn(accept(listener, door, Arc::new(Semaphore::new(slots)), to.clone())));
    }
    drop(drain);
    let reloading = tokio::spawn(reload(public_tls, api_tls, outgoing, signal(SignalKind::hangup())?));

    tokio::select! {
        _ = terminate.recv() => warn!("Terminated"),
        _ = interrupt.recv() => warn!("Interrupted"),
    }
    reloading.abort();
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

fn incoming(
    files: Option<&TlsFiles>,
    protocols: &'static [&'static [u8]],
) -> anyhow::Result<Option<Arc<tls::Incoming>>> {
    files.cloned().map(|files| tls::Incoming::for_listener(files, protocols).map(Arc::new)).transpose()
}

/// The lines that say where to find the proxy, as configurable-http-proxy words them.
fn announce(options: &crate::options::Options, listeners: &[(Listener, Role, Option<Arc<tls::Incoming>>)]) {
    if options.auth_token.is_none() {
        warn!("REST API is not authenticated.");
    }
    for (listener, role, tls) in listeners {
        let scheme = if tls.is_some() { "https" } else { "http" };
        match role {
            Role::Public => {
                let to = options.default_target.as_deref().unwrap_or("(no default)");
                info!("Proxying {scheme}://{} to {to}", bound(listener, &options.public));
            }
            Role::Api => info!("Proxy API at {scheme}://{}/api/routes", bound(listener, &options.api)),
            Role::Metrics => {
                if let Some(address) = &options.metrics {
                    info!("Serve metrics at {scheme}://{}/metrics", bound(listener, address));
                }
            }
            Role::Redirect(port) => {
                if let Some((address, _)) = &options.redirect {
                    info!("Added HTTP to HTTPS redirection from {} to {port}", bound(listener, address));
                }
            }
        }
    }
}

/// Reads certificates anew on SIGHUP, or when their files have changed. Open connections keep what they began with.
async fn reload(
    public: Option<Arc<tls::Incoming>>,
    api: Option<Arc<tls::Incoming>>,
    outgoing: Arc<tls::Outgoing>,
    mut hangup: tokio::signal::unix::Signal,
) {
    let mut ticks = tokio::time::interval(CERTIFICATES_LOOKED_AT_EVERY);
    loop {
        let asked = tokio::select! {
            _ = hangup.recv() => true,
            _ = ticks.tick() => false,
        };
        for tls in [&public, &api].into_iter().flatten() {
            tls.reload(asked);
        }
        outgoing.reload(asked);
    }
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

async fn accept(listener: Listener, door: Arc<Door>, slots: Arc<Semaphore>, to: Arc<Destination>) {
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let accepted = match &listener {
            Listener::Tcp(listener) => listener.accept().await.and_then(|(stream, peer)| {
                let _ = stream.set_nodelay(true);
                keep_alive(&stream);
                Ok((Accepted::Tcp(stream.into_std()?), Some(peer.ip())))
            }),
            Listener::Unix(listener) => {
                listener.accept().await.and_then(|(stream, _)| Ok((Accepted::Unix(stream.into_std()?), None)))
            }
        };
        match accepted {
            Ok((stream, ip)) => {
                let arrival = Arrival { door: door.clone(), stream, ip, slot };
                match to.as_ref() {
                    Destination::Workers(workers) => workers.give(arrival),
                    Destination::Here(upstream) => {
                        tokio::spawn(arrival.serve(upstream.clone()));
                    }
                }
            }
            Err(error) => {
                // Out of file descriptors, most likely; accepting again at once would spin.
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Who serves what a listener accepts.
enum Destination {
    Workers(Workers),
    Here(Arc<Upstream>),
}

/// Notices peers that vanished without a word (after the time the system sets), so that their tunnels end.
pub(crate) fn keep_alive(stream: &TcpStream) {
    use nix::sys::socket::{setsockopt, sockopt};
    let _ = setsockopt(stream, sockopt::KeepAlive, &true);
}
