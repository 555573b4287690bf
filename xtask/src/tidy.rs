//! Owns the rules that no compiler knows: which crate may use which, how a file opens, and what may not be committed.

use std::{collections::BTreeMap, fs, process::Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::tools::Repository;

/// Our crates that each crate may use; a new edge is a design change and belongs in ARCHITECTURE.md too.
const EDGES: &[(&str, &[&str])] = &[
    ("nuna-plan", &[]),
    ("nuna-chunk", &["nuna-plan"]),
    ("nuna-ship", &["nuna-plan"]),
    ("nuna-wire", &["nuna-plan"]),
    ("nuna-fft", &[]),
    ("nuna-array", &["nuna-chunk", "nuna-fft", "nuna-plan", "nuna-ship"]),
    ("nuna-inputs", &[]),
    ("nuna-geotiff", &["nuna-inputs"]),
    ("nuna-netcdf", &["nuna-inputs"]),
    ("nuna-remote", &[]),
    ("nuna-parquet", &[]),
    (
        "nuna-storage",
        &[
            "nuna-array",
            "nuna-chunk",
            "nuna-geotiff",
            "nuna-inputs",
            "nuna-netcdf",
            "nuna-parquet",
            "nuna-plan",
            "nuna-remote",
        ],
    ),
    ("nuna-labels", &["nuna-array", "nuna-chunk", "nuna-plan", "nuna-storage", "nuna-ship"]),
    ("nuna-frame", &["nuna-array", "nuna-labels", "nuna-parquet", "nuna-plan", "nuna-ship"]),
    ("nuna-scheduler", &["nuna-plan", "nuna-wire"]),
    ("nuna-worker", &["nuna-plan", "nuna-wire"]),
    ("nuna-simulation", &["nuna-plan", "nuna-scheduler", "nuna-wire", "nuna-worker"]),
    ("nuna-dashboard", &[]),
    ("nuna-testing", &[]),
    ("nuna-jobs", &["nuna-pbs"]),
    (
        "nuna-runtime",
        &[
            "nuna-array",
            "nuna-dashboard",
            "nuna-jobs",
            "nuna-plan",
            "nuna-scheduler",
            "nuna-ship",
            "nuna-storage",
            "nuna-wire",
            "nuna-worker",
        ],
    ),
    ("nuna-client", &["nuna-plan", "nuna-ship", "nuna-wire"]),
    (
        "nuna-cluster",
        &["nuna-client", "nuna-jobs", "nuna-pbs", "nuna-plan", "nuna-runtime", "nuna-ship", "nuna-wire"],
    ),
    (
        "nuna",
        &[
            "nuna-array",
            "nuna-chunk",
            "nuna-client",
            "nuna-cluster",
            "nuna-frame",
            "nuna-labels",
            "nuna-parquet",
            "nuna-plan",
            "nuna-runtime",
            "nuna-ship",
            "nuna-storage",
            "nuna-wire",
        ],
    ),
    ("nuna-bench", &["nuna"]),
    ("nuna-cli", &["nuna", "nuna-cluster", "nuna-kernel", "nuna-runtime", "nuna-ship", "nuna-wire"]),
    ("nuna-kernel", &["nuna"]),
    ("nuna-spawner", &["nuna-gateway", "nuna-pbs", "nuna-slurm", "nuna-systemd"]),
    ("nuna-gateway", &[]),
    ("nuna-proxy", &["nuna-systemd"]),
    ("nuna-pbs", &[]),
    ("nuna-slurm", &["nuna-pbs"]),
    ("nuna-singleuser", &[]),
    ("nuna-submit", &[]),
    ("nuna-systemd", &[]),
    ("nuna-embedded-pbs", &["nuna-pbs"]),
    ("nuna-embedded-directory", &[]),
    ("xtask", &[]),
];

/// State machines: neither sockets nor clocks.
const WITHOUT_IO: &[&str] =
    &["kernel/crates/scheduler/src", "kernel/crates/worker/src", "kernel/crates/jobs/src/farm.rs"];
const IO_WORDS: &[&str] =
    &["std::net", "std::fs", "tokio::", "Instant::now", "SystemTime::now", "thread::sleep", "std::process"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    path: Option<String>,
    kind: Option<String>,
}

pub(crate) fn run(repository: &Repository) -> Result<()> {
    let mut faults = Vec::new();
    edges(repository, &mut faults)?;
    files(repository, &mut faults)?;
    if faults.is_empty() {
        println!("== structure: in order");
        return Ok(());
    }
    bail!("the house's rules are broken:\n{}", faults.join("\n"))
}

fn edges(repository: &Repository, faults: &mut Vec<String>) -> Result<()> {
    let output = repository
        .cargo()
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .stderr(Stdio::inherit())
        .output()
        .context("running cargo metadata")?;
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("reading cargo metadata")?;
    let allowed: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    for package in &metadata.packages {
        let Some(allowed) = allowed.get(package.name.as_str()) else {
            faults.push(format!(
                "crate {} has no line in xtask/src/tidy.rs: say what it may use",
                package.name
            ));
            continue;
        };
        for dependency in &package.dependencies {
            let ours = dependency.path.is_some() && dependency.kind.is_none();
            if ours && !allowed.contains(&dependency.name.as_str()) {
                faults.push(format!(
                    "crate {} uses {}, which is not among its edges {allowed:?}; either the code is in the wrong \
                     room, or ARCHITECTURE.md and xtask/src/tidy.rs change with it",
                    package.name, dependency.name
                ));
            }
        }
    }
    Ok(())
}

fn files(repository: &Repository, faults: &mut Vec<String>) -> Result<()> {
    let output =
        repository.command("git").args(["ls-files", "*.rs"]).output().context("listing files with git")?;
    for name in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(text) = fs::read_to_string(repository.path(name)) else { continue };
        let is_source = name.contains("/src/") && !name.ends_with("_tests.rs");
        if is_source && !text.trim_start().starts_with("//!") {
            faults.push(format!(
                "{name}: a file opens with `//!` lines that say what it owns and what it leaves to others"
            ));
        }
        if WITHOUT_IO.iter().any(|folder| name.starts_with(folder)) && !name.contains("tests") {
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            for (number, line) in lines.enumerate() {
                if let Some(word) = IO_WORDS.iter().find(|word| line.contains(**word)) {
                    faults.push(format!(
                        "{name}: code line {}: `{word}` in a state machine without I/O or clocks",
                        number + 1
                    ));
                }
            }
        }
    }
    Ok(())
}
