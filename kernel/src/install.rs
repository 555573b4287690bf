//! Owns what `nuna kernel install` lays out: a runtime folder that needs neither cargo nor a network, and the
//! kernelspec that points to it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::evaluator::{
    Kind, evcxr,
    runtime::{Runtime, on_path},
};

/// Folder name of the kernelspec, and the name that people choose.
pub fn names(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Direct => ("nuna", "Nuna (Rust)"),
        Kind::Evcxr => ("nuna-evcxr", "Nuna (Rust, evcxr)"),
    }
}

/// Writes the kernelspec of an evaluator below `data` (such as `PREFIX/share/jupyter`) and returns its folder. The runtime stays where
/// it was built; `NUNA_RUNTIME_DIR` in the kernelspec names it.
///
/// # Errors
/// If the runtime is incomplete, the compiler found is not the one that built it, or the folder cannot be written.
pub fn install(runtime_folder: &Path, data: &Path, kind: Kind) -> Result<PathBuf> {
    let runtime = Runtime::at(runtime_folder)?;
    match kind {
        Kind::Direct => check_compiler(&runtime)?,
        Kind::Evcxr => drop(evcxr::find(runtime_folder)?),
    }
    let program = ["nuna-kernel", "bin/nuna-kernel"].map(|name| runtime_folder.join(name));
    let Some(program) = program.iter().find(|path| path.is_file()) else {
        bail!("no nuna-kernel in {}; run `cargo build` or unpack the archive anew", runtime_folder.display());
    };
    let (name, display_name) = names(kind);
    let folder = data.join("kernels").join(name);
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let argv = match kind {
        Kind::Direct => json!([program, "{connection_file}"]),
        Kind::Evcxr => json!([program, "--evaluator", "evcxr", "{connection_file}"]),
    };
    let specification = json!({
        "argv": argv,
        "display_name": display_name,
        "language": "rust",
        "interrupt_mode": "message",
        "env": {
            "NUNA_RUNTIME_DIR": runtime_folder,
            "NUNA_RUSTC": on_path(&runtime.rustc).unwrap_or(runtime.rustc.clone()),
            "NUNA_BIN": program.with_file_name("nuna"),
        },
        "metadata": {"debugger": false},
    });
    let path = folder.join("kernel.json");
    fs::write(&path, serde_json::to_string_pretty(&specification)? + "\n")
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(folder)
}

/// Makes the indexes that completion reads, beside the runtime library. Takes some ten seconds; what is there from this
/// build stays. Gives the names of those that were made.
///
/// # Errors
/// If `rustdoc` fails, or the folder cannot be written.
pub fn index(runtime_folder: &Path) -> Result<Vec<&'static str>> {
    let runtime = Runtime::at(runtime_folder)?;
    let folder = runtime.library.parent().context("the runtime library lies in a folder")?;
    crate::language::make::make_missing(&runtime, folder)
}

/// Cells link `libnuna.so`, so they must be compiled by exactly the compiler that built it.
fn check_compiler(runtime: &Runtime) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("check.rs");
    fs::write(&source, "pub fn check() -> u32 { nuna::session::cell() }\n")?;
    let output = std::process::Command::new(&runtime.rustc)
        .arg(&source)
        .args(["--edition=2024", "--crate-type=dylib", "-Cprefer-dynamic", "--emit=metadata"])
        .arg(format!("--extern=nuna={}", runtime.library.display()))
        .arg(format!("-Ldependency={}", runtime.dependencies.display()))
        .arg("-o")
        .arg(folder.path().join("libcheck.rmeta"))
        .stdin(std::process::Stdio::null())
        .output()
        .with_context(|| format!("starting {}; cells need the Rust compiler", runtime.rustc.display()))?;
    if !output.status.success() {
        bail!(
            "{} cannot compile against {}; it must be the very version that built it:\n{}",
            runtime.rustc.display(),
            runtime.library.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
