//! Owns the scheduler process: it listens, keeps the cluster file and the dashboard, and runs the loop that feeds the
//! state machine.

mod driver;
mod jobs;
mod journal;
mod peers;
pub mod supervise;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::Context;
use nuna_dashboard::{Dashboard, register};
use nuna_wire::{Acceptor, ClusterFile, Credentials, Door, Party, connection::CONNECTIONS_MAX};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, sync::mpsc};

use crate::{INBOX_MESSAGES, lifeline};

/// What a scheduler needs to know. No secrets: those are in the folder of certificates, and the token it makes itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The cluster's name.
    pub name: String,
    /// Where the cluster file goes.
    pub directory: PathBuf,
    pub certificates: PathBuf,
    pub listen: SocketAddr,
    pub dashboard: SocketAddr,
    /// RFC 3339.
    pub started: String,
    /// The kernel that starts it, or nothing.
    pub origin: String,
    /// Whether the process ends when its standard input does.
    pub lifeline: bool,
    /// Its workers, if they are jobs of a batch system.
    #[serde(default)]
    pub jobs: Option<Box<Jobs>>,
    /// It ends by itself once no client has been there, and nothing has run, for so long.
    #[serde(default)]
    pub linger_seconds: Option<u64>,
    /// What there is once for all workers, such as licences: name and amount.
    #[serde(default)]
    pub shared: Vec<(String, u32)>,
    /// The process that starts it again if it is lost.
    #[serde(default)]
    pub supervisor: Option<u32>,
    /// Nobody stays to do that, so another process of the same program does.
    #[serde(default)]
    pub supervises_itself: bool,
    /// The pipe that is its standard input, if a kernel holds the other end; the cluster file says so.
    pub kernel_lifeline: Option<PathBuf>,
}

/// Workers that are jobs of a batch system.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jobs {
    pub settings: nuna_jobs::Settings,
    /// What each worker needs to know, but for the scheduler's port and its own name.
    pub worker: crate::worker::Options,
}

impl Options {
    /// # Errors
    /// If the file cannot be read, or holds anything else.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        crate::read_options(path)
    }
}

/// Runs a scheduler until a client, a signal or its lifeline ends it. The cluster file is there once it listens,
/// and gone once it has ended.
///
/// # Errors
/// If it cannot listen or write the cluster file.
pub fn serve(mut options: Options) -> anyhow::Result<()> {
    if options.supervises_itself {
        match supervise::supervisor() {
            None => return supervise::run(&options),
            supervisor => options.supervisor = supervisor,
        }
    }
    let ending = if options.lifeline { lifeline::watch_standard_input()? } else { lifeline::endless() };
    // One thread receives, decides and sends: between two of them every message would wait for a wake-up or two, which
    // take longer than all that is done with it. Browsers are served by another.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let aside = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("dashboard")
        .enable_all()
        .build()?;
    let result = runtime.block_on(run(options, ending, aside.handle()));
    aside.shutdown_timeout(END_PATIENCE);
    runtime.shutdown_timeout(END_PATIENCE);
    result
}

/// What still runs when all is told waits no longer.
const END_PATIENCE: std::time::Duration = std::time::Duration::from_millis(200);

async fn run(
    options: Options,
    ending: lifeline::Ending,
    aside: &tokio::runtime::Handle,
) -> anyhow::Result<()> {
    let epoch = Instant::now();
    let credentials = Credentials::read(&options.certificates, Party::Scheduler)?;
    let acceptor = Acceptor::new(&credentials, &nuna_ship::build_id().to_string())?;
    let (journal, before) = journal::Journal::open(&options.certificates);
    let epoch = before.as_ref().and_then(|before| epoch.checked_sub(before.age)).unwrap_or(epoch);
    // What workers, clients and browsers know of a scheduler that was lost stays true, where it can.
    let lost = before
        .as_ref()
        .and_then(|_| ClusterFile::read(&options.directory.join(format!("{}.json", options.name))).ok());
    let listener = listen(options.listen, lost.as_ref().map(|lost| lost.scheduler)).await?;
    let token =
        lost.as_ref().map_or_else(|| hex::encode(rand::random::<[u8; 32]>()), |lost| lost.token.clone());
    let settings = |bind| {
        let mut settings = nuna_dashboard::Settings::new(&options.name, bind, &token);
        settings.origin.clone_from(&options.origin);
        settings.started = epoch;
        settings
    };
    let same = lost.as_ref().and_then(|lost| lost.dashboard.strip_prefix("http://")?.parse().ok());
    let (recorder, dashboard) = match same {
        Some(same) => match aside.spawn(Dashboard::start(settings(same))).await? {
            Ok(started) => started,
            Err(_) => aside.spawn(Dashboard::start(settings(options.dashboard))).await??,
        },
        None => aside.spawn(Dashboard::start(settings(options.dashboard))).await??,
    };
    let shared = options.shared.into_iter().collect();
    let (mut own_jobs, linger_seconds) = (options.jobs, options.linger_seconds);
    if let Some(jobs) = &mut own_jobs {
        // What somebody has asked for since the cluster began.
        if let Some((least, most)) = before.as_ref().and_then(|before| before.image.scaled) {
            (jobs.settings.least, jobs.settings.most) = (least, most);
        }
        jobs::write_worker_options(jobs, listener.local_addr()?)?;
    }
    let file = ClusterFile {
        name: options.name,
        scheduler: listener.local_addr()?,
        dashboard: dashboard.url(),
        token,
        pid: std::process::id(),
        host: nuna_wire::cluster_file::this_host(),
        started: options.started,
        origin: options.origin,
        certificates: options.certificates,
        lifeline: options.kernel_lifeline,
        supervisor: options.supervisor,
    };
    file.write(&options.directory)?;
    let _removed_at_the_end = Removal { file: file.clone(), directory: options.directory };
    let registrar = register::Service::from_env().and_then(|service| {
        let registration = register::Registration {
            name: file.name.clone(),
            dashboard: file.dashboard.clone(),
            token: file.token.clone(),
            started: file.started.clone(),
            origin: file.origin.clone(),
        };
        let started = register::Registrar::start(service, registration);
        started.inspect_err(|error| tracing::warn!(%error, "the hub will not show this cluster")).ok()
    });
    tracing::info!(name = file.name, address = %file.scheduler, dashboard = file.dashboard, "the cluster is up");
    let (sender, inbox) = mpsc::channel(INBOX_MESSAGES);
    let door = Door::new(acceptor, CONNECTIONS_MAX);
    tokio::spawn(peers::count_refusals(door.refusals(), recorder.clone()));
    tokio::spawn(peers::listen(listener, door, sender.downgrade()));
    let (jobs, following) = match own_jobs {
        Some(own) => {
            let (orders, following) = jobs::follow(own.settings, before.is_some(), sender.downgrade());
            (Some(orders), Some(following))
        }
        None => (None, None),
    };
    let company =
        driver::Company { jobs, linger: linger_seconds.map(std::time::Duration::from_secs), shared };
    let about = driver::About { name: file.name.clone(), dashboard: file.dashboard.clone(), epoch };
    let driver = driver::Driver::new(about, recorder, sender, company, journal, before);
    let journal = driver.run(inbox, ending).await;
    journal.remove();
    if let Some(following) = following {
        // It limits itself.
        let _ = following.await;
    }
    if let Some(registrar) = registrar {
        registrar.stop().await;
    }
    Ok(())
}

/// Listens where the scheduler did that this one takes the place of, if possible.
async fn listen(wanted: SocketAddr, before: Option<SocketAddr>) -> anyhow::Result<TcpListener> {
    if let Some(before) = before.filter(|before| before.ip() == wanted.ip()) {
        match TcpListener::bind(before).await {
            Ok(listener) => return Ok(listener),
            Err(error) => tracing::warn!(%error, %before, "cannot listen where the lost scheduler did"),
        }
    }
    TcpListener::bind(wanted).await.with_context(|| format!("cannot listen on {wanted}"))
}

struct Removal {
    file: ClusterFile,
    directory: PathBuf,
}

impl Drop for Removal {
    fn drop(&mut self) {
        // Whoever starts it again needs the file, the keys and the journal.
        if std::thread::panicking() {
            return;
        }
        self.file.remove(&self.directory);
    }
}
