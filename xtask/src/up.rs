//! Owns `cargo xtask up`: starts the whole of Nuna on loopback, in order, and stops it. What it is made of is in `demo`.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Args;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::{
    demo::{DEMO_USER, Demo, OTHER_USERS},
    setup,
    supervise::Supervisor,
    tools::Repository,
};

#[derive(Args)]
pub(crate) struct Options {
    /// Port that the browser reaches.
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// Where state and logs are kept.
    #[arg(long)]
    state: Option<PathBuf>,
    /// A TOML file with more `[profiles.NAME]` tables than the demo's own.
    #[arg(long)]
    profiles: Option<PathBuf>,
    /// Start what is built, without looking whether anything changed.
    #[arg(long)]
    no_setup: bool,
}

/// How long a program may take until it answers.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) fn run(repository: &Repository, options: &Options) -> Result<()> {
    if !options.no_setup {
        setup::run(repository, setup::Extent::Run)?;
    }
    TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))
        .with_context(|| format!("port {} is taken; choose another with --port", options.port))?;
    // A handler rather than a mask: the programs started below would inherit a mask and never hear of their end.
    let stop = Stop::default();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop.0)).context("listening for Ctrl-C")?;
    }

    let state = options.state.clone().unwrap_or_else(|| repository.path("build/up"));
    let demo = Demo::prepare(repository, &state, options.port, options.profiles.as_deref())?;
    let mut running = Supervisor::new(state.join("logs"))?;
    start(repository, &demo, &mut running, &stop)?;
    if stop.is_asked() {
        return Ok(());
    }
    println!("\nNuna is up: {}", demo.address());
    println!("  user:     {DEMO_USER}\n  password: {}", demo.password()?);
    println!("  others:   {} (passwords in {})", OTHER_USERS.join(", "), demo.passwords_file().display());
    println!("  logs:     {}\nCtrl-C stops all of it.", state.join("logs").display());
    while !stop.is_asked() {
        running.keep_running()?;
        std::thread::sleep(Duration::from_millis(200));
    }
    println!("\nstopping");
    Ok(())
}

/// Starts everything, each once what it needs answers. Returns early when asked to stop.
fn start(repository: &Repository, demo: &Demo, running: &mut Supervisor, stop: &Stop) -> Result<()> {
    let environment = demo.environment(repository)?;
    let program = |name: &str| {
        let mut command = repository.command(repository.programs().join(name));
        command.envs(environment.clone()).env_remove("JUPYTERHUB_API_TOKEN");
        command
    };
    let mut pbs = program("nuna-pbs");
    // A job that starts at once is never seen to wait, which is what people come to see.
    pbs.args(["server", "--queue-delay", "2", "--die-with-parent", "--state"]).arg(demo.path("pbs"));
    running.start("pbs", pbs)?;
    let mut directory = program("nuna-directory");
    directory
        .args(["--demo", "--die-with-parent", "--listen"])
        .arg(format!("127.0.0.1:{}", demo.ports.directory));
    directory.arg("--users").arg(demo.path("directory/users.toml"));
    running.start("directory", directory)?;
    running.wait_for("the embedded PBS", PATIENCE, || stop.is_asked() || demo.path("pbs/socket").exists())?;
    running
        .wait_for("the embedded directory", PATIENCE, || stop.is_asked() || answers(demo.ports.directory))?;
    if stop.is_asked() {
        return Ok(());
    }

    let mut spawner = program("nuna-spawner");
    spawner.args(["serve", "--die-with-parent", "--config"]).arg(demo.path("spawner/spawner.toml"));
    running.start("spawner", spawner)?;
    running.wait_for("the spawner service", PATIENCE, || stop.is_asked() || answers(demo.ports.service))?;
    if stop.is_asked() {
        return Ok(());
    }

    let mut hub = repository.command(repository.venv().join("bin/jupyterhub"));
    hub.arg("-f").arg(repository.path("hub-config/embedded/jupyterhub_config.py"));
    hub.current_dir(demo.path("hub")).envs(environment.clone());
    running.start("hub", hub)?;
    let port = demo.ports.public;
    // The proxy answers before it has a route; the hub's own health page says that both stand.
    running.wait_for("JupyterHub", PATIENCE, || stop.is_asked() || is_healthy(port))
}

/// Whether Ctrl-C was pressed.
#[derive(Default)]
struct Stop(Arc<AtomicBool>);

impl Stop {
    fn is_asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

fn answers(port: u16) -> bool {
    TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Duration::from_secs(1)).is_ok()
}

/// Whether the hub answers through the proxy.
fn is_healthy(port: u16) -> bool {
    use std::io::{Read, Write};
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(stream, "GET /hub/health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(&status == b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}
