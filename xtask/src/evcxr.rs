//! Owns the evcxr evaluator's set-up: a workspace of its own, so that its minutes of compilation are spent on request and
//! in the test run, never by who only wants the kernel.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

use crate::tools::{self, Repository};

const PROGRAM: &str = "nuna-evcxr";

/// Builds the program and makes its kernel known to the project's own JupyterLab.
pub(crate) fn run(repository: &Repository) -> Result<()> {
    let nuna = repository.programs().join("nuna");
    if !nuna.is_file() || !repository.python().is_file() {
        bail!("the kernel is not set up yet: `cargo xtask setup` first");
    }
    build(repository)?;
    let mut install = repository.command(nuna);
    install.args(["kernel", "install", "--evaluator", "evcxr", "--prefix"]).arg(repository.venv());
    tools::run("install the evcxr kernel", &mut install)
}

/// For the test run: what stands behind evcxr is a download that the kernel itself never needs, so where it cannot be had
/// its tests are left out, and say why, and all others run.
pub(crate) fn build_for_tests(repository: &Repository) -> Result<()> {
    let missing = repository.programs().join("nuna-evcxr.missing");
    match standard_library_source(repository) {
        Ok(()) => {
            let _ = fs::remove_file(&missing);
            build(repository)
        }
        Err(error) => {
            println!("== the evcxr evaluator is left out, and its tests with it: {error:#}");
            fs::write(&missing, format!("{error:#}"))
                .with_context(|| format!("writing {}", missing.display()))
        }
    }
}

/// Builds the program and puts it beside the kernel, which looks for it there.
pub(crate) fn build(repository: &Repository) -> Result<()> {
    standard_library_source(repository)?;
    // Another folder than the kernel's: cargo locks one for as long as it builds.
    let target = repository.target().join("evcxr");
    let mut cargo = repository.cargo();
    cargo.args(["build", "--locked", "--manifest-path", "kernel/crates/evcxr-evaluator/Cargo.toml"]);
    tools::run("build the evcxr evaluator", cargo.arg("--target-dir").arg(&target))?;
    let built = target.join("debug").join(PROGRAM);
    let beside = repository.programs().join(PROGRAM);
    // One that runs can be replaced, but not written to.
    let new = beside.with_extension("new");
    fs::copy(&built, &new)
        .and_then(|_| fs::rename(&new, &beside))
        .with_context(|| format!("copying {} to {}", built.display(), beside.display()))
}

/// evcxr reads the standard library's source to find the types of variables.
fn standard_library_source(repository: &Repository) -> Result<()> {
    let output = repository.command("rustc").args(["--print", "sysroot"]).output().context("asking rustc")?;
    let sysroot = Path::new(std::str::from_utf8(&output.stdout)?.trim()).to_owned();
    let library = sysroot.join("lib/rustlib/src/rust/library");
    if !library.is_dir() {
        let mut rustup = repository.command("rustup");
        tools::run("fetch the standard library's source", rustup.args(["component", "add", "rust-src"]))
            .context("evcxr needs the source of the standard library (Debian: apt-get install rust-src)")?;
    }
    // evcxr asks cargo for the crates that the standard library uses. Where they are not at hand it knows no types of the
    // standard library either, and says so of every variable.
    let mut fetch = repository.cargo();
    // The standard library's manifests use features that only it may.
    fetch.env("RUSTC_BOOTSTRAP", "1").args(["fetch", "--quiet", "--locked", "--manifest-path"]);
    fetch.arg(library.join("Cargo.toml"));
    tools::run("fetch what the standard library uses", &mut fetch)
        .context("evcxr needs the crates that the standard library uses, which cargo could not fetch")
}
