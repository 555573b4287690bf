//! Owns set-up: the programs, the Python environment, the JupyterLab extension, the kernel, and for tests the
//! browser. Each step remembers what it was made from, so that a second start costs seconds.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    evcxr,
    tools::{self, Repository},
};

/// How much a set-up is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What `up` runs.
    Run,
    /// And what the tests need besides: oracles, a browser, LDAP's own server.
    Tests,
}

/// Names under which the built programs stand in for the commands that JupyterHub and users know.
const ALIASES: [(&str, &str); 8] = [
    ("configurable-http-proxy", "nuna-proxy"),
    ("qsub", "nuna-pbs"),
    ("qstat", "nuna-pbs"),
    ("qdel", "nuna-pbs"),
    ("pbsnodes", "nuna-pbs"),
    ("qselect", "nuna-pbs"),
    ("qhold", "nuna-pbs"),
    ("qrls", "nuna-pbs"),
];

pub(crate) fn run(repository: &Repository, extent: Extent) -> Result<()> {
    require_tools()?;
    fs::create_dir_all(repository.path("build"))?;
    // The network and the compiler are two different things to wait for.
    std::thread::scope(|scope| {
        let downloads = scope.spawn(|| -> Result<()> {
            python_environment(repository, extent)?;
            hub_package(repository)?;
            labextension(repository)?;
            lab_settings(repository)
        });
        let built = programs(repository);
        let downloaded = downloads.join().expect("a set-up step does not panic");
        built.and(downloaded)
    })?;
    aliases(repository)?;
    kernel(repository)?;
    if extent == Extent::Tests {
        system_packages()?;
        evcxr::build_for_tests(repository)?;
    }
    Ok(())
}

pub(crate) fn require_tools() -> Result<()> {
    let mut missing = Vec::new();
    for (program, remedy) in [
        ("rustc", "install Rust with rustup"),
        ("cc", "install a C compiler (Debian: apt-get install gcc libc6-dev)"),
        ("python3", "install Python 3.11 or later (Debian: apt-get install python3 python3-venv)"),
        ("node", "install Node.js 20 or later (Debian: apt-get install nodejs npm)"),
        ("npm", "install npm (Debian: apt-get install npm)"),
    ] {
        if tools::version_of(program).is_none() {
            missing.push(format!("  {program}: {remedy}"));
        }
    }
    if !missing.is_empty() {
        bail!("programs that Nuna is built with are missing:\n{}", missing.join("\n"));
    }
    let python = tools::version_of("python3").unwrap_or_default();
    let minor = python.strip_prefix("Python 3.").and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    if minor.is_none_or(|minor| minor < 11) {
        bail!("Python 3.11 or later is needed, `python3 --version` says {python:?}");
    }
    let node = tools::version_of("node").unwrap_or_default();
    let major = node.strip_prefix('v').and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    if major.is_none_or(|major| major < 20) {
        bail!("Node.js 20 or later is needed, `node --version` says {node:?}");
    }
    Ok(())
}

/// Compiles everything with the one profile that tests, `up` and packages share.
pub(crate) fn programs(repository: &Repository) -> Result<()> {
    tools::run(
        "build the programs",
        repository.cargo().args([
            "build",
            "--workspace",
            "--bins",
            "--examples",
            "--exclude",
            "xtask",
            "--lib",
        ]),
    )
}

fn python_environment(repository: &Repository, extent: Extent) -> Result<()> {
    let mut lists = vec![repository.path("hub-config/requirements.txt")];
    if extent == Extent::Tests {
        lists.push(repository.path("hub-config/requirements-test.txt"));
    }
    let mut content = String::new();
    for list in &lists {
        content.push_str(&fs::read_to_string(list).with_context(|| format!("reading {}", list.display()))?);
    }
    let full = repository.stamp("python-tests");
    let stamp = if extent == Extent::Tests {
        repository.stamp("python-tests")
    } else {
        repository.stamp("python-run")
    };
    if repository.python().exists() && (stamp.matches(&content) || full_covers(&full, repository)?) {
        return Ok(());
    }
    if !repository.python().exists() {
        let venv = repository.venv();
        tools::run(
            "make the Python environment",
            repository.command("python3").args(["-m", "venv"]).arg(&venv),
        )?;
    }
    let mut pip = repository.command(repository.python());
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    for list in &lists {
        pip.arg("-r").arg(list);
    }
    tools::run("install the Python packages", &mut pip)?;
    stamp.write(&content)
}

/// An environment made for tests also serves `up`, as long as neither list has changed.
fn full_covers(full: &tools::Stamp, repository: &Repository) -> Result<bool> {
    let run = fs::read_to_string(repository.path("hub-config/requirements.txt"))?;
    let tests = fs::read_to_string(repository.path("hub-config/requirements-test.txt"))?;
    Ok(full.matches(&(run + &tests)))
}

/// Installs one of this repository's own packages with what the environment already holds.
fn pip_from_source(repository: &Repository, folder: &Path) -> std::process::Command {
    let mut pip = repository.command(repository.python());
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    pip.args(["--no-build-isolation", "--no-deps", "--force-reinstall"]).arg(folder);
    pip
}

/// The shims that JupyterHub loads.
fn hub_package(repository: &Repository) -> Result<()> {
    let folder = repository.path("hub-config");
    let sources = ["nuna_hub", "pyproject.toml"].map(|name| folder.join(name));
    let content = tools::fingerprint(&sources, &[".py", ".html", ".toml"])?;
    let installed = repository.stamp("hub-package");
    if installed.matches(&content) {
        return Ok(());
    }
    let mut pip = pip_from_source(repository, &folder);
    tools::run("install the hub's shims", &mut pip)?;
    installed.write(&content)
}

fn labextension(repository: &Repository) -> Result<()> {
    let folder = repository.path("labextension");
    let lock = fs::read_to_string(folder.join("package-lock.json"))
        .context("reading labextension/package-lock.json")?;
    let modules = repository.stamp("labextension-modules");
    if !modules.matches(&lock) || !folder.join("node_modules").exists() {
        let mut npm = repository.command("npm");
        npm.args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&folder);
        npm.env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1");
        tools::run("install the extension's npm packages", &mut npm)?;
        modules.write(&lock)?;
    }
    let sources: Vec<PathBuf> =
        ["src", "style", "schema", "nuna_labextension", "package.json", "pyproject.toml", "tsconfig.json"]
            .iter()
            .map(|name| folder.join(name))
            .filter(|path| path.exists() && !path.ends_with("nuna_labextension/labextension"))
            .collect();
    let content = tools::fingerprint(&sources, &[".ts", ".tsx", ".css", ".json", ".py", ".toml", ".svg"])?;
    let built = repository.stamp("labextension");
    if built.matches(&content) {
        return Ok(());
    }
    // The build calls `jupyter-builder`, which lives in the Python environment.
    let path = env::join_paths(
        std::iter::once(repository.venv().join("bin"))
            .chain(env::split_paths(&env::var_os("PATH").unwrap_or_default())),
    )?;
    let mut npm = repository.command("npm");
    npm.args(["run", "--silent", "build"]).current_dir(&folder).env("PATH", &path);
    tools::run("build the JupyterLab extension", &mut npm)?;
    let mut pip = pip_from_source(repository, &folder);
    pip.env("PATH", path);
    tools::run("install the JupyterLab extension", &mut pip)?;
    // The build writes into the package's own folder, so the fingerprint is taken anew.
    built.write(&tools::fingerprint(&sources, &[".ts", ".tsx", ".css", ".json", ".py", ".toml", ".svg"])?)
}

/// What a site decides for everybody: JupyterLab asks no newcomer about news, and asks no server for updates.
fn lab_settings(repository: &Repository) -> Result<()> {
    let folder = repository.venv().join("share/jupyter/lab/settings");
    let source = repository.path("hub-config/embedded/overrides.json");
    fs::create_dir_all(&folder)?;
    fs::copy(&source, folder.join("overrides.json"))
        .map(|_| ())
        .with_context(|| format!("copying {} to {}", source.display(), folder.display()))
}

/// The folder that goes in front of `PATH`: `qsub`, `configurable-http-proxy` and the like.
pub(crate) fn commands_folder(repository: &Repository) -> PathBuf {
    repository.path("build/bin")
}

fn aliases(repository: &Repository) -> Result<()> {
    let folder = commands_folder(repository);
    fs::create_dir_all(&folder)?;
    let own = [
        "nuna",
        "nuna-kernel",
        "nuna-proxy",
        "nuna-pbs",
        "nuna-directory",
        "nuna-spawner",
        "nuna-singleuser",
    ];
    for (alias, program) in ALIASES.into_iter().chain(own.map(|name| (name, name))) {
        let target = repository.programs().join(program);
        let link = folder.join(alias);
        if fs::read_link(&link).is_ok_and(|held| held == target) {
            continue;
        }
        if link.symlink_metadata().is_ok() {
            fs::remove_file(&link)?;
        }
        symlink(&target, &link)
            .with_context(|| format!("linking {} to {}", link.display(), target.display()))?;
    }
    Ok(())
}

/// Puts the kernelspec into the Python environment, where JupyterLab finds it.
fn kernel(repository: &Repository) -> Result<()> {
    let mut nuna = repository.command(repository.programs().join("nuna"));
    nuna.args(["kernel", "install", "--prefix"]).arg(repository.venv());
    tools::run("install the kernel", &mut nuna)
}

/// The browser, what lays networks for several hosts, the LDAP client and the LDAP server that stands for a site's own, and a
/// Slurm, which no language's registry holds.
fn system_packages() -> Result<()> {
    let mut wanted = vec![
        ("chromium", "/usr/bin/chromium"),
        ("iproute2", "/usr/bin/ip"),
        ("ldap-utils", "/usr/bin/ldapsearch"),
        ("slapd", "/usr/sbin/slapd"),
    ];
    // Its tests make accounts of their own, which only root can; for others they are skipped.
    if nix::unistd::Uid::effective().is_root() {
        wanted.extend([
            ("munge", "/usr/sbin/munged"),
            ("slurm-client", "/usr/bin/sbatch"),
            ("slurmctld", "/usr/sbin/slurmctld"),
            ("slurmd", "/usr/sbin/slurmd"),
            ("sudo", "/usr/bin/sudo"),
        ]);
    }
    wanted.push(("fonts-dejavu-core", "/usr/share/fonts/truetype/dejavu"));
    debian(&wanted, "the tests")
}

/// Installs Debian packages of which the file beside the name is missing, as root; for others says which.
pub(crate) fn debian(wanted: &[(&str, &str)], who: &str) -> Result<()> {
    let missing: Vec<&str> =
        wanted.iter().filter(|(_, path)| !Path::new(path).exists()).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!("apt-get install --no-install-recommends {}", missing.join(" "));
    if !nix::unistd::Uid::effective().is_root() {
        bail!("{who} need Debian packages that are not installed; as root: {by_hand}");
    }
    let mut update = std::process::Command::new("apt-get");
    update.args(["update", "-qq"]).env("DEBIAN_FRONTEND", "noninteractive");
    tools::run("read Debian's package lists", &mut update)?;
    let mut install = std::process::Command::new("apt-get");
    install.args(["install", "-y", "-qq", "--no-install-recommends"]).args(&missing);
    install.env("DEBIAN_FRONTEND", "noninteractive").stdin(std::process::Stdio::null());
    tools::run(&format!("install what {who} need from Debian"), &mut install)
        .with_context(|| format!("by hand: {by_hand}"))
}
