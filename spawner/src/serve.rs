//! `nuna-spawner serve`: everything is checked, then both listeners open, or those that systemd has opened are taken; SIGTERM lets
//! requests end first. Jobs go on without the service, and its next life finds them in the journal.

use std::future::Future;
use std::sync::Arc;

use anyhow::Context;
use nuna_pbs::BatchSystem;
use nuna_systemd::{Manager, Passed};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::app::{self, App, Parts};
use crate::config::{Config, Fault};
use crate::fit;
use crate::listen::{HubListener, serve_nodes};
use crate::router;

/// A service that listens.
pub struct Serving {
    pub app: Arc<App>,
    /// Where launchers reach it; the port is known even if the configuration said 0.
    pub nodes: std::net::SocketAddr,
    systemd: Manager,
    ending: watch::Sender<bool>,
    tasks: tokio::task::JoinSet<()>,
    keeper: tokio::task::JoinHandle<()>,
}

/// The listeners that systemd has opened, whichever the unit names: what a socket is says what it is for.
struct Sockets {
    hub: Option<std::os::unix::net::UnixListener>,
    nodes: Option<std::net::TcpListener>,
}

impl Sockets {
    fn new(passed: Vec<(String, Passed)>) -> anyhow::Result<Self> {
        let mut sockets = Self { hub: None, nodes: None };
        for (name, socket) in passed {
            let is_second = match socket {
                Passed::Unix(socket) => sockets.hub.replace(socket).is_some(),
                Passed::Tcp(socket) => sockets.nodes.replace(socket).is_some(),
            };
            anyhow::ensure!(
                !is_second,
                "systemd passes more sockets than one unix and one TCP socket: {name:?} is too many; take a ListenStream= \
                 out of the socket unit"
            );
        }
        Ok(sockets)
    }
}

/// Opens the listeners that are not passed, and returns once both accept; systemd is told.
pub async fn start(
    config: Config,
    batch: Arc<dyn BatchSystem>,
    systemd: Manager,
    passed: Vec<(String, Passed)>,
) -> anyhow::Result<Serving> {
    let sockets = Sockets::new(passed)?;
    let parts = Parts::new(&config).map_err(|faults| anyhow::anyhow!(lines(&faults)))?;
    let gateway = app::gateway(&config)?;
    let hub = match sockets.hub {
        Some(socket) => HubListener::passed(socket, &config.socket)?,
        None => HubListener::bind(&config.socket)?,
    };
    let nodes = match sockets.nodes {
        Some(socket) => passed_nodes(socket, config.nodes.listen)?,
        None => TcpListener::bind(config.nodes.listen)
            .await
            .with_context(|| format!("nodes.listen: cannot listen on {}", config.nodes.listen))?,
    };
    let address = nodes.local_addr().context("nodes.listen")?;
    let (ending, ended) = watch::channel(false);
    let drain = config.limits.drain();
    let (app, keeper) = app::start(config, parts, batch, systemd.heart(), ended.clone())?;
    // Beside all else: a batch system that is away must not keep the service from its start.
    tokio::spawn(fit::watch(app.clone(), ended.clone()));
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(hub.serve(router::hub(app.clone()), ended.clone(), drain));
    let (settings, nodes_router) = (app.config.nodes.clone(), router::nodes(app.clone(), gateway));
    tasks.spawn(async move { serve_nodes(nodes, nodes_router, &settings, ended, drain).await });
    info!(socket = %app.config.socket.path.display(), nodes = %address, "serving");
    systemd.ready(&format!("serving on {} and {address}", app.config.socket.path.display()));
    Ok(Serving { app, nodes: address, systemd, ending, tasks, keeper })
}

impl Serving {
    /// Serves until `signal`, then drains.
    pub async fn until(mut self, signal: impl Future<Output = ()>) -> anyhow::Result<()> {
        tokio::select! {
            () = signal => {}
            // Neither ends by itself.
            _ = self.tasks.join_next() => warn!("a listener ended"),
            _ = &mut self.keeper => anyhow::bail!("the task that owns the user servers ended; this is a fault of the program"),
        }
        self.end().await;
        Ok(())
    }

    pub async fn end(mut self) {
        info!("ending: requests under way may finish, jobs go on");
        self.systemd.stopping("requests under way may finish, jobs go on");
        self.ending.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        let limit = self.app.command_max;
        if tokio::time::timeout(limit, &mut self.keeper).await.is_err() {
            self.keeper.abort();
            warn!(
                "PBS commands did not answer within {} s; their jobs are found by name at the next start",
                limit.as_secs()
            );
        }
        info!("ended");
    }
}

/// Launchers are told `nodes.url`, so a socket on another port would never be asked.
fn passed_nodes(
    socket: std::net::TcpListener,
    configured: std::net::SocketAddr,
) -> anyhow::Result<TcpListener> {
    let address = socket.local_addr().context("the TCP socket that systemd passes")?;
    anyhow::ensure!(
        configured.port() == 0 || address.port() == configured.port(),
        "nodes.listen is {configured}, and systemd passes a socket on {address}: make ListenStream= of the socket unit the same"
    );
    TcpListener::from_std(socket).context("the TCP socket that systemd passes")
}

fn lines(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
