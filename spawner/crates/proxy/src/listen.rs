//! The listeners: accept, hand on; certificates read anew; systemd is told; drain at the end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use nuna_systemd::{Heart, Manager, Passed};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tracing::{debug, info, warn};

use crate::converse::{Accepted, Arrival, Door, Role};
use crate::options::{Address, TlsFiles};
use crate::pool::Upstream;
use crate::sockets::{Listener, Sockets};
use crate::workers::Workers;
use crate::{Proxy, tls};

/// Connections at the same time to a listener that is not for the public: these stay reachable when clients have
/// taken all of theirs.
const INWARD_CONNECTIONS_MAX: usize = 256;
/// How often the certificates' files are looked at.
const CERTIFICATES_LOOKED_AT_EVERY: Duration = Duration::from_secs(10);

/// Serves until SIGTERM or SIGINT, then drains.
pub(crate) async fn serve(
    proxy: Arc<Proxy>,
    systemd: Manager,
    passed: Vec<(String, Passed)>,
) -> anyhow::Result<()> {
    let options = &proxy.options;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let public_tls = incoming(options.tls.as_ref(), &[tls::HTTP2, tls::HTTP1]).context("--ssl-*")?;
    let api_tls = incoming(options.api_tls.as_ref(), &[tls::HTTP1]).context("--api-ssl-*")?;
    let outgoing = Arc::new(tls::Outgoing::for_targets(options).context("--client-ssl-*")?);
    let mut sockets = Sockets::new(passed)?;
    let mut listeners = vec![
        (sockets.listen("public", &options.public).await?, Role::Public, public_tls.clone()),
        (sockets.listen("api", &options.api).await?, Role::Api, api_tls.clone()),
    ];
    if let Some(address) = &options.metrics {
        listeners.push((sockets.listen("metrics", address).await?, Role::Metrics, None));
    }
    if let Some((address, port)) = &options.redirect {
        listeners.push((sockets.listen("redirect", address).await?, Role::Redirect(*port), None));
    }
    let files = sockets.files()?;
    announce(options, &listeners);
    if let Some(path) = &options.pid_file {
        info!("Writing pid {} to {}", std::process::id(), path.display());
        std::fs::write(path, std::process::id().to_string())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }

    let workers = Arc::new(Workers::start(options.threads, &outgoing)?);
    let beating = tokio::spawn(beat(systemd.heart(), workers.clone()));
    let workers = Arc::new(Destination::Workers(workers));
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
    systemd.ready(&format!("proxying on {}, API on {}", options.public, options.api));
    let reloading = tokio::spawn(reload(public_tls, api_tls, outgoing, signal(SignalKind::hangup())?));

    tokio::select! {
        _ = terminate.recv() => warn!("Terminated"),
        _ = interrupt.recv() => warn!("Interrupted"),
    }
    systemd.stopping("requests under way may finish");
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
    beating.abort();
    clean_up(&proxy, &files);
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

/// A beat of the watchdog says that this thread and every worker take up what they are given: one that hangs is
/// silent, and systemd starts the program anew.
async fn beat(mut heart: Heart, workers: Arc<Workers>) {
    let Some(every) = heart.every() else { return };
    loop {
        workers.answer().await;
        heart.beat();
        tokio::time::sleep(every / 2).await;
    }
}

fn clean_up(proxy: &Proxy, sockets: &[PathBuf]) {
    for path in sockets.iter().chain(&proxy.options.pid_file) {
        let _ = std::fs::remove_file(path);
    }
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
    Workers(Arc<Workers>),
    Here(Arc<Upstream>),
}

/// Notices peers that vanished without a word (after the time the system sets), so that their tunnels end.
pub(crate) fn keep_alive(stream: &TcpStream) {
    use nix::sys::socket::{setsockopt, sockopt};
    let _ = setsockopt(stream, sockopt::KeepAlive, &true);
}
