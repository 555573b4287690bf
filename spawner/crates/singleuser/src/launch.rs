//! From the one-time code to the end of the user server.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::net::TcpStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, timeout};

use crate::address::{self, Listener};
use crate::child::UserServer;
use crate::secret::{Scrubber, read_code};
use crate::service::{Exchange, Failed, Grant, Ready, Service};

/// Another user may take the port that was just found free; rarely three times in a row.
const PORT_ATTEMPTS: u32 = 3;
const POLL_INTERVAL: Duration = Duration::from_millis(100);
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// What a shell reports for SIGTERM.
const EXIT_TERMINATED: i32 = 143;

pub(crate) struct Settings {
    pub(crate) service: String,
    pub(crate) bind: Option<String>,
    pub(crate) start_limit: Duration,
    pub(crate) grace: Duration,
    pub(crate) service_patience: Duration,
}

/// What PBS sends when the job is deleted or its time is over, and what a terminal sends.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// How waiting for a fresh server ended.
enum Start {
    Answers,
    Exited(i32),
    PortTaken { uid: u32 },
    TooLate,
    Signalled,
}

struct Launch {
    service: Service,
    settings: Settings,
    signals: Signals,
    job: String,
    address: IpAddr,
    scrubber: Scrubber,
    grant: Grant,
    folder: PathBuf,
}

/// Runs one user server to its end; the result is its exit code.
pub(crate) async fn run(settings: Settings) -> anyhow::Result<i32> {
    let mut signals = Signals::new().context("cannot listen for signals")?;
    let service = Service::new(&settings.service, settings.service_patience)?;
    let job = ["PBS_JOBID", "SLURM_JOB_ID"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|job| !job.is_empty()))
        .context(
            "neither PBS_JOBID nor SLURM_JOB_ID is set: this program runs inside a job of PBS or Slurm",
        )?;
    let code = read_code().await?;
    let address = address::choose(settings.bind.as_deref(), service.url())?;
    let host = address.to_string();
    let exchange = Exchange { code: &code, job: &job, host: &host };
    let grant = tokio::select! {
        grant = service.exchange(&exchange) => grant?,
        () = signals.next() => return Ok(EXIT_TERMINATED),
    };
    let scrubber = Scrubber::new(&grant.environment, [code, grant.ticket.clone()]);
    let folder = home(&grant.environment);
    let mut launch = Launch { service, settings, signals, job, address, scrubber, grant, folder };
    launch.serve().await
}

/// The user's home, where a login would start too.
fn home(environment: &BTreeMap<String, String>) -> PathBuf {
    let own = || std::env::var_os("HOME").map(PathBuf::from);
    environment.get("HOME").map(PathBuf::from).or_else(own).unwrap_or_else(|| PathBuf::from("/"))
}

impl Launch {
    async fn serve(&mut self) -> anyhow::Result<i32> {
        if let Err(error) = self.check() {
            let message = format!("{error:#}");
            self.report(&message, None, "").await;
            return Err(error);
        }
        let mut attempt = 1;
        let (mut server, port) = loop {
            let port = address::free_port(self.address)?;
            let environment = self.environment(port)?;
            let started = UserServer::start(&self.grant.argv, &environment, &self.folder, &self.scrubber);
            let mut server = match started {
                Ok(server) => server,
                Err(error) => {
                    self.report(&format!("{error:#}"), None, "").await;
                    return Err(error);
                }
            };
            match self.wait_until_ready(&mut server, port).await? {
                Start::Answers => break (server, port),
                Start::PortTaken { uid } if attempt < PORT_ATTEMPTS => {
                    eprintln!("nuna-singleuser: port {port} was taken by user {uid}; trying another");
                    server.end(self.settings.grace).await?;
                    attempt += 1;
                }
                failure => return self.give_up(server, failure, port).await,
            }
        };
        eprintln!(
            "nuna-singleuser: the user server of job {} answers on {}",
            self.job,
            SocketAddr::new(self.address, port)
        );
        self.stay(&mut server, port).await
    }

    /// What would make the server fail in a way that is hard to read.
    fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.grant.argv.is_empty(), "the service named no program to run");
        let mut words = self.grant.argv.iter().chain(self.grant.environment.values());
        ensure!(!words.any(|word| word.contains('\0')), "the service sent a null byte");
        for name in self.grant.environment.keys() {
            ensure!(
                !name.is_empty() && !name.contains(['=', '\0']),
                "the service sent a variable without a usable name: {name:?}"
            );
        }
        ensure!(
            self.folder.is_dir(),
            "the home folder {} does not exist on this node; is it mounted here?",
            self.folder.display()
        );
        Ok(())
    }

    /// The granted environment, and what only this node knows.
    fn environment(&self, port: u16) -> anyhow::Result<BTreeMap<String, String>> {
        let mut environment = self.grant.environment.clone();
        let url = server_url(&environment, self.address, port)?;
        environment.insert("JUPYTERHUB_SERVICE_URL".to_owned(), url);
        environment
            .entry("NUNA_SERVICE_URL".to_owned())
            .or_insert_with(|| self.service.url().as_str().trim_end_matches('/').to_owned());
        let beside = std::env::current_exe().ok().map(|path| path.with_file_name("nuna"));
        if let Some(path) = beside.as_deref().filter(|path| path.is_file()).and_then(Path::to_str)
            && std::env::var_os("NUNA_BIN").is_none()
        {
            environment.entry("NUNA_BIN".to_owned()).or_insert_with(|| path.to_owned());
        }
        Ok(environment)
    }

    async fn wait_until_ready(&mut self, server: &mut UserServer, port: u16) -> anyhow::Result<Start> {
        let deadline = Instant::now() + self.settings.start_limit;
        let target = SocketAddr::new(self.address, port);
        loop {
            tokio::select! {
                // An exit is looked at first: what else listens there then is not ours.
                biased;
                code = server.wait() => {
                    let code = code?;
                    return Ok(match address::listener(self.address, port)? {
                        Listener::Other(uid) => Start::PortTaken { uid },
                        Listener::Nobody | Listener::Ours => Start::Exited(code),
                    });
                }
                () = self.signals.next() => return Ok(Start::Signalled),
                () = tokio::time::sleep_until(deadline) => return Ok(Start::TooLate),
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
            if !matches!(timeout(CONNECT_LIMIT, TcpStream::connect(target)).await, Ok(Ok(_))) {
                continue;
            }
            match address::listener(self.address, port)? {
                Listener::Ours => return Ok(Start::Answers),
                Listener::Other(uid) => return Ok(Start::PortTaken { uid }),
                Listener::Nobody => {}
            }
        }
    }

    async fn give_up(&mut self, mut server: UserServer, failure: Start, port: u16) -> anyhow::Result<i32> {
        let (message, exit, code) = match failure {
            Start::Exited(code) => {
                (format!("the user server ended with exit code {code} before it was ready"), Some(code), code)
            }
            Start::PortTaken { uid } => (
                format!(
                    "other users of this node (the last one was user {uid}) took port after port; try again"
                ),
                None,
                1,
            ),
            Start::TooLate => {
                let seconds = self.settings.start_limit.as_secs();
                (format!("the user server did not answer on port {port} within {seconds} s"), None, 1)
            }
            Start::Signalled => {
                ("the job was ended before the user server was ready".to_owned(), None, EXIT_TERMINATED)
            }
            Start::Answers => bail!("a server that answers is not given up"),
        };
        if exit.is_none() {
            server.end(self.settings.grace).await?;
        }
        let tail = server.tail().await;
        eprintln!("nuna-singleuser: {message}");
        self.report(&message, exit, &tail).await;
        // A server that ends well without ever having answered did not do its work.
        Ok(if code == 0 { 1 } else { code })
    }

    /// Tells the service; whether it hears is not worth failing for, the job's end tells it too.
    async fn report(&self, message: &str, exit: Option<i32>, tail: &str) {
        let failed = Failed { ticket: &self.grant.ticket, message, exit, tail };
        if let Err(error) = self.service.failed(&failed).await {
            eprintln!("nuna-singleuser: {error:#}");
        }
    }

    /// Announces the address and waits for the end.
    async fn stay(&mut self, server: &mut UserServer, port: u16) -> anyhow::Result<i32> {
        let host = self.address.to_string();
        let ready = Ready { ticket: &self.grant.ticket, host: &host, port };
        let announced = tokio::select! {
            announced = self.service.ready(&ready) => announced,
            code = server.wait() => {
                let code = code?;
                let tail = server.tail().await;
                let message = format!("the user server ended with exit code {code} as soon as it was ready");
                self.report(&message, Some(code), &tail).await;
                return Ok(code);
            }
            () = self.signals.next() => return self.end(server).await,
        };
        if let Err(error) = announced {
            // Nobody will ever send anything to this server.
            server.end(self.settings.grace).await?;
            return Err(error);
        }
        tokio::select! {
            code = server.wait() => code,
            () = self.signals.next() => self.end(server).await,
        }
    }

    async fn end(&self, server: &mut UserServer) -> anyhow::Result<i32> {
        server.end(self.settings.grace).await
    }
}

/// What `jupyterhub-singleuser` reads its address from: the hub's own guess with the real host and port.
fn server_url(environment: &BTreeMap<String, String>, address: IpAddr, port: u16) -> anyhow::Result<String> {
    let prefix = environment.get("JUPYTERHUB_SERVICE_PREFIX").map_or("/", String::as_str);
    let given = environment.get("JUPYTERHUB_SERVICE_URL").and_then(|text| reqwest::Url::parse(text).ok());
    let (scheme, path) = match &given {
        Some(url) => (url.scheme(), url.path()),
        None => ("http", prefix),
    };
    ensure!(
        matches!(scheme, "http" | "https"),
        "the service sent a JUPYTERHUB_SERVICE_URL of scheme {scheme}"
    );
    Ok(format!("{scheme}://{}{path}", SocketAddr::new(address, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_s_address_keeps_scheme_and_path() {
        let address = IpAddr::from([10, 0, 0, 5]);
        let with = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let hub = with(&[("JUPYTERHUB_SERVICE_URL", "https://0.0.0.0:8888/user/a%20b/")]);
        assert_eq!(server_url(&hub, address, 4711).unwrap(), "https://10.0.0.5:4711/user/a%20b/");
        // The hub writes port 0 or nothing when it does not know.
        let hub = with(&[
            ("JUPYTERHUB_SERVICE_URL", "http://:0/user/a/"),
            ("JUPYTERHUB_SERVICE_PREFIX", "/user/a/"),
        ]);
        assert_eq!(server_url(&hub, address, 4711).unwrap(), "http://10.0.0.5:4711/user/a/");
        assert_eq!(server_url(&BTreeMap::new(), "::1".parse().unwrap(), 1).unwrap(), "http://[::1]:1/");
        let odd = with(&[("JUPYTERHUB_SERVICE_URL", "file:///etc")]);
        assert!(server_url(&odd, address, 1).is_err());
    }
}
