//! Owns `cargo xtask up`: Nuna on loopback for one person to try, with nothing that needs root.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::sys::signal::{SigSet, Signal};

use crate::{setup, supervise::Supervisor, tools, tools::Repository};

#[derive(Args)]
pub(crate) struct Options {
    /// Port that the browser reaches.
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// Where state and logs are kept.
    #[arg(long)]
    state: Option<PathBuf>,
    /// Start what is built, without looking whether anything changed.
    #[arg(long)]
    no_setup: bool,
}

/// How long a program may take until it answers.
const PATIENCE: Duration = Duration::from_secs(90);

static STOPPED: AtomicBool = AtomicBool::new(false);

pub(crate) fn run(repository: &Repository, options: &Options) -> Result<()> {
    // Blocked before any thread starts, so that Ctrl-C is read below and nowhere else.
    let mut signals = SigSet::empty();
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().for_each(|signal| signals.add(signal));
    if !options.no_setup {
        setup::run(repository, setup::Extent::Run)?;
    }
    TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))
        .with_context(|| format!("port {} is taken; choose another with --port", options.port))?;
    signals.thread_block()?;
    std::thread::spawn(move || {
        let _ = signals.wait();
        STOPPED.store(true, Ordering::SeqCst);
    });

    let state = options.state.clone().unwrap_or_else(|| repository.path("build/up"));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&state)?;
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700))?;
    let home = state.join("home");
    fs::create_dir_all(&home)?;
    tutorial(repository, &home)?;
    let token = token()?;

    let mut running = Supervisor::new(state.join("logs"))?;
    let environment = environment(repository, &state)?;
    let pbs = state.join("pbs");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&pbs)?;
    let mut server = repository.command(repository.programs().join("nuna-pbs"));
    server.args(["server", "--state"]).arg(&pbs).envs(environment.clone());
    running.start("pbs", &mut server)?;
    let socket = pbs.join("socket");
    running.wait_for("the embedded PBS", PATIENCE, || stop_requested() || socket.exists())?;

    let mut lab = repository.command(repository.venv().join("bin/jupyter-lab"));
    lab.current_dir(&home).envs(environment).env("JUPYTER_TOKEN", &token).env("HOME", &home);
    lab.arg("--no-browser").arg("--ServerApp.ip=127.0.0.1").arg(format!("--ServerApp.port={}", options.port));
    lab.args(["--ServerApp.port_retries=0", "--LabApp.expose_app_in_browser=True", "--ServerApp.allow_root=True"]);
    lab.arg(format!("--ServerApp.root_dir={}", home.display()));
    running.start("jupyterlab", &mut lab)?;
    let port = options.port;
    running.wait_for("JupyterLab", PATIENCE, || stop_requested() || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())?;

    println!("\nNuna is up: http://127.0.0.1:{port}/lab/tree/first-cluster.ipynb?token={token}");
    println!("Logs: {}\nCtrl-C stops all of it.", state.join("logs").display());
    while !stop_requested() {
        running.check()?;
        std::thread::sleep(Duration::from_millis(200));
    }
    println!("\nstopping");
    Ok(())
}

fn stop_requested() -> bool {
    STOPPED.load(Ordering::SeqCst)
}

/// What every process of the stack gets besides the person's own environment.
fn environment(repository: &Repository, state: &Path) -> Result<Vec<(String, String)>> {
    let path = std::env::join_paths(
        [setup::commands_folder(repository), repository.venv().join("bin")]
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    )?;
    let text = |path: &Path| path.display().to_string();
    Ok(vec![
        ("PATH".into(), path.into_string().ok().context("PATH is not text")?),
        ("NUNA_UP_STATE".into(), text(state)),
        ("NUNA_PBS_DIR".into(), text(&state.join("pbs"))),
        ("NUNA_STATE_DIR".into(), text(&state.join("nuna"))),
        ("NUNA_BIN".into(), text(&repository.programs().join("nuna"))),
        // HOME is the demo user's, and rustup looks there for its toolchains.
        ("RUSTUP_HOME".into(), std::env::var("RUSTUP_HOME").unwrap_or_else(|_| format!("{}/.rustup", std::env::var("HOME").unwrap_or_default()))),
        ("CARGO_HOME".into(), std::env::var("CARGO_HOME").unwrap_or_else(|_| format!("{}/.cargo", std::env::var("HOME").unwrap_or_default()))),
    ])
}

/// The notebook and its store, unless the person has them already.
fn tutorial(repository: &Repository, home: &Path) -> Result<()> {
    let notebook = home.join("first-cluster.ipynb");
    if !notebook.exists() {
        fs::copy(repository.path("docs/tutorials/first-cluster.ipynb"), &notebook)?;
    }
    if !home.join("sea.zarr").exists() {
        let mut script = repository.command(repository.python());
        script.arg("-Wignore").arg(repository.path("docs/tutorials/make_store.py")).arg(home.join("sea.zarr"));
        tools::run("write the tutorial's store", &mut script)?;
    }
    Ok(())
}

/// 24 random bytes as text.
fn token() -> Result<String> {
    use std::{fmt::Write, io::Read};
    let mut bytes = [0; 24];
    fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).context("reading /dev/urandom")?;
    if bytes.iter().all(|byte| *byte == 0) {
        bail!("/dev/urandom gave zeros only");
    }
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}
