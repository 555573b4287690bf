//! `nuna-proxy`: carries all traffic between browsers, the hub and user servers.
//!
//! It speaks the command line and REST API of configurable-http-proxy, so JupyterHub's own proxy class starts
//! and drives it unchanged. `routes` is the table, pure data; `api` changes it; `forward` uses it.
#![forbid(unsafe_code)]

mod api;
mod body;
mod converse;
mod error_page;
mod forward;
mod framing;
mod headers;
mod idle;
mod listen;
mod log;
mod metrics;
mod options;
mod path;
mod plain;
mod pool;
mod routes;
mod sockets;
mod tls;
mod tunnel;
mod upstream;
mod websocket;
mod workers;

use std::process::ExitCode;
use std::sync::{Arc, RwLock};

use anyhow::Context;
use nuna_systemd::Manager;
use tracing::info;

use crate::metrics::Metrics;
use crate::options::Options;
use crate::routes::{Route, RouteTable};

/// What every request may use.
pub(crate) struct Proxy {
    pub(crate) options: Options,
    /// Held for single look-ups and changes, never across a wait.
    pub(crate) routes: RwLock<RouteTable>,
    pub(crate) metrics: Metrics,
}

impl Proxy {
    pub(crate) fn routes(&self) -> std::sync::RwLockReadGuard<'_, RouteTable> {
        self.routes.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The route for a decoded path, and for a host if those count.
    pub(crate) fn find(&self, path: &str, host: Option<&str>) -> Option<Arc<Route>> {
        if self.options.host_routing {
            let name = host.unwrap_or_default().split(':').next().unwrap_or_default();
            return self.routes().find(&format!("/{name}{path}")).cloned();
        }
        self.routes().find(path).cloned()
    }

    pub(crate) fn routes_mut(&self) -> std::sync::RwLockWriteGuard<'_, RouteTable> {
        self.routes.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nuna-proxy: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let options = Options::from_command_line()?;
    log::start(&options);
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        anyhow::bail!("a cryptography provider was installed twice");
    }
    let mut table = RouteTable::default();
    if let Some(target) = &options.default_target {
        let mut data = serde_json::Map::new();
        data.insert("target".to_owned(), target.clone().into());
        info!("Adding route / -> {target}");
        table.add("/", data, routes::now_ms()).context("--default-target")?;
        info!("Route added / -> {target}");
    }
    let systemd = Manager::from_environment()
        .context("cannot tell systemd anything (a unit of Type=notify sets NOTIFY_SOCKET)")?;
    let passed = nuna_systemd::passed().context("cannot take the sockets that systemd passes")?;
    let proxy = Proxy { options, routes: RwLock::new(table), metrics: Metrics::default() };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(listen::serve(Arc::new(proxy), systemd, passed))
}
