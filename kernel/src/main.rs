//! `nuna-kernel`: reads a connection file and serves a Jupyter kernel until it is told to stop.

#![forbid(unsafe_code)]

use std::{ffi::OsString, io::Write, path::PathBuf};

use anyhow::{Context, Result, bail};
use nuna_kernel::{
    channels,
    connection::Connection,
    evaluator::{
        Evaluator, Kind,
        dep::{self, wrapper},
        direct::Direct,
        evcxr::Evcxr,
        runtime::Runtime,
    },
    language,
};

const USAGE: &str = "usage: nuna-kernel [--evaluator direct|evcxr] CONNECTION_FILE; Jupyter writes the file and starts \
                     the kernel with it";

fn main() -> Result<()> {
    if let Some(orders) = std::env::var_os(wrapper::ORDERS) {
        // Cargo calls this program in the compiler's place.
        let arguments = std::env::args_os().skip(1).collect();
        return Err(wrapper::run(&orders, arguments)).context("compiling a crate of :dep");
    }
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "--runtime-crates") {
        // For whoever packs the runtime.
        return Ok(writeln!(std::io::stdout(), "{}", dep::runtime_crates(&Runtime::find()?)?)?);
    }
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("NUNA_LOG").unwrap_or_else(|_| "warn".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    let mut given = std::env::args_os().skip(1);
    if given.next().is_some_and(|first| first == "index") {
        // The kernel starts itself so for the indexes that completion reads.
        let folder = given.next().context("usage: nuna-kernel index FOLDER")?;
        return language::make::make_missing(&Runtime::find()?, folder.as_ref()).map(drop);
    }
    let (path, kind) = arguments(std::env::args_os().skip(1))?;
    let connection = Connection::read(&path)?;
    // jupyter_server names the file after the kernel; the extension finds this notebook's clusters by it.
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let id = stem.strip_prefix("kernel-").unwrap_or(&stem).to_owned();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the kernel's threads")?
        .block_on(async {
            let evaluator: Box<dyn Evaluator> = match kind {
                Kind::Direct => Box::new(Direct::new(Runtime::find()?, id)?),
                Kind::Evcxr => Box::new(Evcxr::new(&Runtime::folder()?, id)?),
            };
            channels::serve(connection, evaluator).await
        })
}

/// The connection file, and which evaluator is wanted.
fn arguments(mut given: impl Iterator<Item = OsString>) -> Result<(PathBuf, Kind)> {
    let (mut path, mut kind) = (None, Kind::Direct);
    while let Some(argument) = given.next() {
        match argument.to_str() {
            Some("-f") => {}
            Some("--evaluator") => {
                let name = given.next().context("--evaluator wants a name: direct or evcxr")?;
                kind = name.to_string_lossy().parse()?;
            }
            _ if path.is_none() => path = Some(PathBuf::from(argument)),
            _ => bail!("{USAGE}"),
        }
    }
    Ok((path.context(USAGE)?, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &[&str]) -> Result<(PathBuf, Kind)> {
        arguments(given.iter().map(OsString::from))
    }

    #[test]
    fn the_direct_evaluator_runs_cells_unless_another_is_named() {
        assert_eq!(read(&["-f", "c.json"]).unwrap(), ("c.json".into(), Kind::Direct));
        assert_eq!(read(&["--evaluator", "evcxr", "c.json"]).unwrap(), ("c.json".into(), Kind::Evcxr));
        assert!(
            read(&["--evaluator", "python", "c.json"]).unwrap_err().to_string().contains("direct, evcxr")
        );
        assert!(read(&[]).is_err() && read(&["a", "b"]).is_err());
    }
}
