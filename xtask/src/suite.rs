//! Owns the whole test run: which runners there are, in which order, and that none is passed over.

use anyhow::{Result, bail};

use crate::{setup, tidy, tools, tools::Repository};

/// Starts all that `up` starts, and a browser.
const WHOLE_PATH: &str = "hub-config/tests/e2e";

/// Everything, in the order in which a failure is cheapest to find.
pub(crate) fn run(repository: &Repository) -> Result<()> {
    setup::run(repository, setup::Extent::Tests)?;
    // A failing runner does not hide what the others would say.
    let results = [
        ("structure", tidy::run(repository)),
        ("Rust", rust(repository)),
        ("TypeScript", typescript(repository)),
        ("Python", python(repository)),
        ("end to end", end_to_end_ready(repository)),
    ];
    let failed: Vec<_> =
        results.into_iter().filter_map(|(name, result)| Some((name, result.err()?))).collect();
    if failed.is_empty() {
        println!("== every test passed");
        return Ok(());
    }
    for (name, error) in &failed {
        println!("== {name}: {error:#}");
    }
    bail!("{} of the test suites failed", failed.len())
}

/// The tests beside the code: no Python, no processes.
pub(crate) fn rust_units(repository: &Repository) -> Result<()> {
    tools::run(
        "Rust unit tests",
        with_environment(repository, rust_runner(repository)).args(["--workspace", "--lib", "--bins"]),
    )
}

fn rust(repository: &Repository) -> Result<()> {
    tools::run("Rust tests", with_environment(repository, rust_runner(repository)).args(["--workspace"]))
}

fn rust_runner(repository: &Repository) -> std::process::Command {
    let mut cargo = repository.cargo();
    if tools::version_of("cargo-nextest").is_some() {
        cargo.args(["nextest", "run", "--no-fail-fast"]);
    } else {
        cargo.args(["test", "--no-fail-fast"]);
    }
    cargo
}

/// What tests look for: the Python environment and the built programs.
fn with_environment(repository: &Repository, mut command: std::process::Command) -> std::process::Command {
    command.env("NUNA_VENV", repository.venv());
    command.env("NUNA_BIN_DIR", repository.programs());
    // Setup has installed for root what tests would be skipped without: they fail instead.
    if nix::unistd::Uid::effective().is_root() {
        command.env("CI", "1");
    }
    command
}

fn typescript(repository: &Repository) -> Result<()> {
    let mut npm = repository.command("npm");
    npm.args(["test", "--silent"]).current_dir(repository.path("labextension"));
    tools::run("TypeScript tests", &mut npm)
}

fn python(repository: &Repository) -> Result<()> {
    let mut failed = Vec::new();
    // A run for each: the folders are packages of their own, each with its fixtures.
    for folder in ["hub-config/tests", "labextension/tests", "kernel/tests", "docs/tests", "ansible/tests"] {
        if !repository.path(folder).exists() {
            continue;
        }
        let mut pytest = with_environment(repository, repository.command(repository.python()));
        pytest.args(["-m", "pytest", "-q", "--color=no", "-p", "no:cacheprovider"]).arg(folder);
        // Browsers have their turn at the end.
        pytest.arg("--ignore").arg(WHOLE_PATH);
        if let Err(error) = tools::run(&format!("Python tests in {folder}"), &mut pytest) {
            failed.push(format!("{error:#}"));
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("{}", failed.join("; ")) }
}

/// Sets up, then runs the browser tests alone.
pub(crate) fn end_to_end(repository: &Repository) -> Result<()> {
    setup::run(repository, setup::Extent::Tests)?;
    end_to_end_ready(repository)
}

/// The views and panels in a real JupyterLab; then the whole path from login to dashboard. Both in Chromium.
fn end_to_end_ready(repository: &Repository) -> Result<()> {
    let panels = panels(repository);
    let mut pytest = with_environment(repository, repository.command(repository.python()));
    pytest.args(["-m", "pytest", "-q", "--color=no", "-p", "no:cacheprovider", WHOLE_PATH]);
    let whole_path = tools::run("from login to dashboard in Chromium", &mut pytest);
    panels.and(whole_path)
}

fn panels(repository: &Repository) -> Result<()> {
    let mut npm = with_environment(repository, repository.command("npm"));
    npm.args(["run", "--silent", "test:ui"]).current_dir(repository.path("labextension"));
    npm.env("NUNA_DEMO", repository.programs().join("examples/demo"));
    tools::run("end-to-end tests in Chromium", &mut npm)
}
