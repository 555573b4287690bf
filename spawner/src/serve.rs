//! `nuna-spawner serve`: everything is checked, then both listeners open; SIGTERM lets requests end first. Jobs go
//! on without the service, and its next life finds them in the journal.

use std::future::Future;
use std::sync::Arc;

use anyhow::Context;
use nuna_pbs::BatchSystem;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::app::{self, App, Parts};
use crate::config::{Config, Fault};
use crate::listen::{HubListener, serve_nodes};
use crate::router;

/// A service that listens.
pub struct Serving {
    pub app: Arc<App>,
    /// Where launchers reach it; the port is known even if the configuration said 0.
    pub nodes: std::net::SocketAddr,
    ending: watch::Sender<bool>,
    tasks: tokio::task::JoinSet<()>,
    keeper: tokio::task::JoinHandle<()>,
}

/// Opens the listeners, and returns once both accept.
pub async fn start(config: Config, batch: Arc<dyn BatchSystem>) -> anyhow::Result<Serving> {
    let parts = Parts::new(&config).map_err(|faults| anyhow::anyhow!(lines(&faults)))?;
    let gateway = app::gateway(&config)?;
    let hub = HubListener::bind(&config.socket)?;
    let nodes = TcpListener::bind(config.nodes.listen)
        .await
        .with_context(|| format!("nodes.listen: cannot listen on {}", config.nodes.listen))?;
    let address = nodes.local_addr().context("nodes.listen")?;
    let (ending, ended) = watch::channel(false);
    let drain = config.limits.drain();
    let (app, keeper) = app::start(config, parts, batch, ended.clone())?;
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(hub.serve(router::hub(app.clone()), ended.clone(), drain));
    let (settings, nodes_router) = (app.config.nodes.clone(), router::nodes(app.clone(), gateway));
    tasks.spawn(async move { serve_nodes(nodes, nodes_router, &settings, ended, drain).await });
    info!(socket = %app.config.socket.path.display(), nodes = %address, "serving");
    Ok(Serving { app, nodes: address, ending, tasks, keeper })
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

fn lines(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
