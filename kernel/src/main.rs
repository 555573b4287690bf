//! `nuna-kernel`: reads a connection file and serves a Jupyter kernel until it is told to stop.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail};
use nuna_kernel::{
    channels,
    connection::Connection,
    evaluator::{direct::Direct, runtime::Runtime},
};

fn main() -> Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("NUNA_LOG").unwrap_or_else(|_| "warn".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    let mut arguments = std::env::args_os().skip(1).filter(|argument| argument != "-f");
    let Some(path) = arguments.next() else {
        bail!("usage: nuna-kernel CONNECTION_FILE; Jupyter writes the file and starts the kernel with it");
    };
    let connection = Connection::read(path.as_ref())?;
    let runtime = Runtime::find()?;
    // jupyter_server names the file after the kernel; the extension finds this notebook's clusters by it.
    let path = std::path::PathBuf::from(path);
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let id = stem.strip_prefix("kernel-").unwrap_or(&stem).to_owned();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the kernel's threads")?
        .block_on(async { channels::serve(connection, Box::new(Direct::new(runtime, id)?)).await })
}
