//! Owns the worker process: its connections, its threads, and the loop that feeds the state machine.

mod compute;
mod data;
mod disk;
mod driver;
mod leave;
mod link;
mod memory;
mod pinning;
mod sample;
mod sealed;
mod spill;
mod store;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use nuna_wire::{
    Acceptor, Connector, Credentials, Fetcher, Party, PayloadMemory, Search,
    message::{Role, RoleAnswer, WorkerHello},
};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, runtime::Handle};

pub use pinning::{Pinning, Share};
pub use spill::SpillFolder;

use crate::{executors::Executors, lifeline};

/// What a worker needs to know. No secrets: those are in the folder of certificates.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// For people: shown in the dashboard and in error messages.
    pub name: String,
    pub scheduler: SocketAddr,
    pub certificates: PathBuf,
    pub threads: u16,
    /// The most that its process may take in all.
    pub memory_bytes: u64,
    /// Where peers and clients fetch values; the port is chosen freely. `0.0.0.0` stands for the address from which
    /// the scheduler is reached.
    pub listen: IpAddr,
    /// Where values go for which there is no memory: the first that has room.
    pub spill: Vec<SpillFolder>,
    /// Whether the process ends when its standard input does.
    pub lifeline: bool,
    /// When the job that this worker is ends, in seconds since 1970; it leaves before that.
    #[serde(default)]
    pub ends_at: Option<u64>,
    /// What tasks may take besides threads and memory: name and amount.
    #[serde(default)]
    pub resources: Vec<(String, u32)>,
    /// How long it goes on without a scheduler, and keeps what it has, if that is lost.
    #[serde(default = "scheduler_patience_seconds")]
    pub scheduler_patience_seconds: u64,
    /// Whether its compute threads are bound to cores.
    #[serde(default)]
    pub pinning: Pinning,
    /// Which part of the cores of this process is its own, if they are.
    #[serde(default)]
    pub share: Share,
}

/// [`Options::scheduler_patience_seconds`] if nobody says.
pub fn scheduler_patience_seconds() -> u64 {
    60
}

impl Options {
    /// # Errors
    /// If the file cannot be read, or holds anything else.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        crate::read_options(path)
    }
}

/// Runs a worker until its scheduler, its lifeline or a fault ends it.
///
/// # Errors
/// If it cannot start, or loses its scheduler.
pub fn serve(options: Options, executors: Executors) -> anyhow::Result<()> {
    let ending = if options.lifeline { lifeline::watch_standard_input()? } else { lifeline::endless() };
    let memory = Arc::new(memory::Memory::new(options.memory_bytes, options.threads));
    // One thread receives from the scheduler, decides, and reports, so that none of these waits for another to wake up;
    // others carry values, so that it does not wait for them either.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let data = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("data")
        .enable_all()
        .build()?;
    let result = runtime.block_on(run(options, executors, ending, memory, data.handle().clone()));
    // Blocks that still run are not waited for: their thread may be busy for hours.
    data.shutdown_timeout(END_PATIENCE);
    runtime.shutdown_timeout(END_PATIENCE);
    result
}

/// What still runs at the end is waited for no longer.
const END_PATIENCE: Duration = Duration::from_millis(200);

async fn run(
    options: Options,
    executors: Executors,
    ending: lifeline::Ending,
    memory: Arc<memory::Memory>,
    data: Handle,
) -> anyhow::Result<()> {
    let credentials = Credentials::read(&options.certificates, Party::Worker)?;
    let build = nuna_ship::build_id().to_string();
    let connector = Connector::new(&credentials, &build)?;
    let acceptor = Acceptor::new(&credentials, &build)?;
    let own = own_address(options.listen, options.scheduler)?;
    let listener = data
        .spawn(TcpListener::bind((own, 0)))
        .await?
        .with_context(|| format!("cannot listen on {own} for the values of this worker"))?;
    let leave = leave::Leave::new(options.ends_at)?;
    let memory_bytes = memory.left_for_values(options.threads);
    let hello = WorkerHello {
        name: options.name.clone(),
        threads: options.threads,
        memory_bytes,
        limit_bytes: options.memory_bytes,
        data_address: listener.local_addr()?,
        disks: disk::look_at(&options.spill),
        pid: std::process::id(),
        resources: options.resources,
    };
    let (connection, answer) =
        connector.connect(options.scheduler, Party::Scheduler, Role::Worker(hello.clone())).await?;
    let RoleAnswer::Worker { id, elapsed_us } = answer else {
        bail!("the scheduler mistook this worker for something else")
    };
    let epoch = Instant::now().checked_sub(Duration::from_micros(elapsed_us)).unwrap_or_else(Instant::now);
    tracing::info!(%id, scheduler = %options.scheduler, "joined the cluster");
    let store = Arc::new(store::Store::new(spill::Spill::new(options.spill), memory.clone()));
    let places = places(options.pinning, options.share, options.threads);
    let pool = compute::Pool::start(options.threads, places, store.clone(), executors, epoch, memory)?;
    data.spawn(data::serve(listener, acceptor, store.clone(), memory_bytes / 32));
    let value_bytes = memory::VALUE_BYTES;
    let settings = nuna_worker::Settings { id, threads: options.threads, memory_bytes, value_bytes };
    // Buffers that are used again and again: a fresh page costs more than what is put in it.
    let fetcher = Fetcher::new(connector.clone())
        .memory(|bytes| Some(Box::new(nuna_array::Buffer::try_new(bytes)?) as Box<dyn PayloadMemory>))
        .sharing(sealed::open);
    let driver = driver::Driver::new(settings, pool.clone(), store, fetcher, data, epoch);
    let search = Search {
        connector,
        address: options.scheduler,
        // Beside the folder of certificates, under the same name.
        file: options.certificates.with_extension("json"),
        role: Role::WorkerAgain { hello, id },
        patience: Duration::from_secs(options.scheduler_patience_seconds),
    };
    let result = driver.run(link::Link::new(search, connection), ending, leave).await;
    pool.stop();
    result
}

/// The cores of each compute thread; none if they are not bound.
fn places(pinning: Pinning, share: Share, threads: u16) -> Vec<BTreeSet<usize>> {
    let allowed = pinning::allowed().map_err(|error| error.to_string());
    let system = Path::new("/sys/devices/system");
    let places = allowed.and_then(|allowed| pinning::places(system, &allowed, pinning, share, threads));
    match places {
        Ok(places) => {
            tracing::info!(cores = ?places[0], "compute threads are bound to cores; these are of the first");
            places
        }
        Err(reason) => {
            tracing::debug!(reason, "compute threads are not bound to cores");
            Vec::new()
        }
    }
}

/// `listen`, or the address of the interface that leads to the scheduler if that is unspecified.
fn own_address(listen: IpAddr, scheduler: SocketAddr) -> anyhow::Result<IpAddr> {
    if !listen.is_unspecified() {
        return Ok(listen);
    }
    // Nothing is sent: the system only looks up the way.
    let any: IpAddr =
        if scheduler.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).context("cannot look for the way to the scheduler")?;
    socket.connect(scheduler).with_context(|| format!("there is no way to the scheduler at {scheduler}"))?;
    Ok(socket.local_addr()?.ip())
}
