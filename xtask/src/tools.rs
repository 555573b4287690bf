//! Owns where things are in a checkout, and how a step runs a program and says that it failed.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail};

/// The checkout and the places that the steps share.
pub(crate) struct Repository {
    pub(crate) root: PathBuf,
}

impl Repository {
    /// The checkout this program was built from.
    pub(crate) fn find() -> Result<Self> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR").context("run this as `cargo xtask …`")?;
        let root = Path::new(&manifest).parent().context("xtask/ lies in the checkout")?.to_path_buf();
        Ok(Self { root })
    }

    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// Where cargo puts what it builds, as the environment says.
    pub(crate) fn target(&self) -> PathBuf {
        match std::env::var_os("CARGO_TARGET_DIR") {
            Some(target) => self.root.join(target),
            None => self.root.join("target"),
        }
    }

    /// The built programs.
    pub(crate) fn programs(&self) -> PathBuf {
        self.target().join("debug")
    }

    /// The project's own Python environment.
    pub(crate) fn venv(&self) -> PathBuf {
        match std::env::var_os("NUNA_VENV") {
            Some(venv) => self.root.join(venv),
            None => self.path("build/venv"),
        }
    }

    pub(crate) fn python(&self) -> PathBuf {
        self.venv().join("bin/python")
    }

    /// A file whose content says what a finished step was made from; equal content means nothing to do.
    pub(crate) fn stamp(&self, name: &str) -> Stamp {
        Stamp { path: self.path("build/stamps").join(name) }
    }

    /// A command that runs in the checkout.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).stdin(Stdio::null());
        command
    }

    pub(crate) fn cargo(&self) -> Command {
        let mut command = self.command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // `cargo run` sets these for xtask itself. A nested cargo must decide anew, and build scripts that watch them
        // (ring's does) would run again, with all that stands on them, whenever cargo is called without xtask.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let of_xtask = ["CARGO_MANIFEST_", "CARGO_PKG_"].iter().any(|prefix| text.starts_with(prefix));
            if of_xtask || ["LD_LIBRARY_PATH", "OUT_DIR", "RUSTC_BOOTSTRAP"].contains(&text.as_ref()) {
                command.env_remove(&name);
            }
        }
        command
    }
}

pub(crate) struct Stamp {
    path: PathBuf,
}

impl Stamp {
    pub(crate) fn matches(&self, content: &str) -> bool {
        fs::read_to_string(&self.path).is_ok_and(|held| held == content)
    }

    pub(crate) fn write(&self, content: &str) -> Result<()> {
        let folder = self.path.parent().context("a stamp lies in a folder")?;
        fs::create_dir_all(folder)?;
        fs::write(&self.path, content).with_context(|| format!("writing {}", self.path.display()))
    }
}

/// Runs `command`, showing its output, and fails with its words when it does.
pub(crate) fn run(title: &str, command: &mut Command) -> Result<()> {
    println!("== {title}");
    let started = Instant::now();
    let status = command.status().with_context(|| format!("{title}: cannot start {command:?}"))?;
    if !status.success() {
        bail!("{title} failed ({status}); to repeat it: {command:?}");
    }
    println!("== {title}: {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// First line that `program --version` prints, if it can be started.
pub(crate) fn version_of(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned())
}

/// Content of all files below `folder` with one of the endings, for stamps: names, sizes and bytes folded.
pub(crate) fn fingerprint(folders: &[PathBuf], endings: &[&str]) -> Result<String> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    let mut pending: Vec<PathBuf> = folders.to_vec();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            let mut entries: Vec<_> =
                fs::read_dir(&path)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
            entries.retain(|entry| {
                !entry.ends_with("node_modules") && !entry.ends_with("lib") && !entry.ends_with("__pycache__")
            });
            entries.sort();
            pending.extend(entries);
        } else if endings.iter().any(|ending| path.to_string_lossy().ends_with(ending)) {
            path.hash(&mut hasher);
            fs::read(&path)?.hash(&mut hasher);
        }
    }
    Ok(format!("{:016x}", hasher.finish()))
}
