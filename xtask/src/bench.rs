//! Owns the benches: Nuna's own programs, and the peers' scripts beside them when they are at hand.

mod analysis;
mod engine;
mod limits;
mod proxy;
mod websocket;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{setup, tools, tools::Repository};

#[derive(Args)]
pub(crate) struct Options {
    /// `kernel`, `mean` (time mean of a Zarr store), `tasks` (100,000 trivial tasks), or `engine` (tasks, graphs, latency,
    /// simulation, memory and rechunk, as a table; not among `all`), `analysis` (means, NDVI, spectra, CSV; the same), or `proxy` (beside
    /// configurable-http-proxy and nginx; the same).
    #[arg(default_value = "all")]
    which: String,
    /// Folder that the peers' `gen_data.py` wrote; `mean` needs it.
    #[arg(long, env = "NUNA_BENCH_DATA")]
    data: Option<PathBuf>,
    /// Folder of the peers' scripts; without it Nuna runs alone. For `kernel` no folder is needed: it has evcxr_jupyter
    /// built into `build/bench`, once.
    #[arg(long, env = "NUNA_BENCH_PEERS", num_args = 0..=1, default_missing_value = "")]
    peers: Option<PathBuf>,
    /// Python that has the peers' packages.
    #[arg(long, env = "NUNA_BENCH_PYTHON")]
    python: Option<PathBuf>,
    /// The peer's kernel, where it is neither in `build/bench` nor on `PATH`.
    #[arg(long, env = "NUNA_BENCH_EVCXR")]
    evcxr: Option<PathBuf>,
    /// Of `engine` and `analysis`: the entries with this in their title, such as `w4`.
    #[arg(long)]
    only: Option<String>,
}

pub(crate) fn run(repository: &Repository, options: &Options) -> Result<()> {
    let all = options.which == "all";
    if !all && !["kernel", "mean", "tasks", "engine", "analysis", "proxy"].contains(&options.which.as_str()) {
        bail!(
            "no bench is called {:?}; there are kernel, mean, tasks, engine, analysis, proxy and all",
            options.which
        );
    }
    if options.which == "proxy" {
        return proxy::run(repository);
    }
    setup::run(repository, setup::Extent::Run)?;
    if options.which == "engine" {
        return engine::run(repository, options);
    }
    if options.which == "analysis" {
        return analysis::run(repository, options);
    }
    if all || options.which == "kernel" {
        let mut bench = repository.command(repository.python());
        bench.arg(repository.path("kernel/tests/bench_kernel.py")).env("NUNA_BIN_DIR", repository.programs());
        if let Some(program) = evcxr(repository, options)? {
            bench.arg("--evcxr").arg(program);
        }
        tools::run("kernels", &mut bench)?;
    }
    if all || options.which == "tasks" {
        tools::run(
            "100,000 trivial tasks, Nuna",
            repository.command(program(repository, "tasks")).env("NUNA_BIN", nuna(repository)),
        )?;
        peer(
            repository,
            options,
            "w1_taskfarm.py",
            &[&["--engine", "dask", "--n", "20000"], &["--engine", "pool-chunked"]],
        )?;
    }
    if all || options.which == "mean" {
        let Some(data) = &options.data else {
            bail!("the mean needs data: run the peers' gen_data.py and pass its folder with --data");
        };
        for store in ["v3_slab", "v3_box", "v2_slab", "v2_box"] {
            let mut bench = repository.command(program(repository, "mean"));
            bench.env("NUNA_BIN", nuna(repository)).arg(data.join(format!("d1_{store}.zarr")));
            tools::run(&format!("time mean of {store}, Nuna"), &mut bench)?;
        }
        let mut bench = repository.command(program(repository, "mean"));
        bench.env("NUNA_BIN", nuna(repository)).arg(data.join("d1_nc"));
        tools::run("time mean of NetCDF files, Nuna", &mut bench)?;
        let folder = absolute(data)?.display().to_string();
        for engine in ["dask", "dask-threads", "numpy"] {
            peer(repository, options, "w3_netcdf_mean.py", &[&["--data", &folder, "--engine", engine]])?;
        }
        for store in ["v3_slab", "v3_box"] {
            for engine in ["dask", "dask-threads"] {
                peer(
                    repository,
                    options,
                    "w2_zarr_mean.py",
                    &[&["--data", &folder, "--store", store, "--engine", engine]],
                )?;
            }
        }
    }
    Ok(())
}

fn program(repository: &Repository, name: &str) -> PathBuf {
    repository.programs().join("examples").join(format!("bench_{name}"))
}

/// `std::path::absolute` follows no links: a virtual environment's Python is a link that must stay one.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("finding {}", path.display()))
}

fn nuna(repository: &Repository) -> PathBuf {
    repository.programs().join("nuna")
}

/// The peer's kernel. `None` leaves it to the bench to look on `PATH`, and to say that it is missing.
fn evcxr(repository: &Repository, options: &Options) -> Result<Option<PathBuf>> {
    if let Some(program) = &options.evcxr {
        if !program.is_file() {
            bail!("there is no {}, which --evcxr names", program.display());
        }
        return absolute(program).map(Some);
    }
    let root = repository.path("build/bench");
    let program = root.join("bin/evcxr_jupyter");
    if !program.is_file() && options.peers.is_some() {
        let mut install = repository.cargo();
        install.args(["install", "--locked", "evcxr_jupyter", "--root"]).arg(&root);
        // It must not become a part of this workspace, nor take its flags.
        install.current_dir(std::env::temp_dir()).env_remove("RUSTFLAGS");
        tools::run("building evcxr_jupyter, once", &mut install)?;
    }
    Ok(program.is_file().then_some(program))
}

fn peers(options: &Options) -> Result<engine::Peers> {
    let folder = options.peers.as_ref().filter(|folder| !folder.as_os_str().is_empty());
    let (Some(folder), Some(python)) = (folder, &options.python) else { return Ok(None) };
    Ok(Some((absolute(folder)?, absolute(python)?)))
}

fn peer(repository: &Repository, options: &Options, script: &str, runs: &[&[&str]]) -> Result<()> {
    let Some((folder, python)) = peers(options)? else {
        println!("== {script}: no --peers and --python, so Nuna's figures stand alone");
        return Ok(());
    };
    // They make folders where they are started.
    let scratch = repository.path("build/bench");
    std::fs::create_dir_all(&scratch).with_context(|| format!("creating {}", scratch.display()))?;
    for arguments in runs {
        let mut command = repository.command(&python);
        command.current_dir(&scratch).arg(folder.join(script)).args(*arguments);
        tools::run(&format!("{script} {}", arguments.join(" ")), &mut command)?;
    }
    Ok(())
}
