//! Owns runs of cargo for `:dep`: what they are told, reading what they say, and their end when the person interrupts.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::Ordering,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::Command,
    sync::mpsc,
};

use super::{progress::Progress, workspace::PACKAGE, wrapper};
use crate::evaluator::{Running, commands::Surroundings};

/// A run of cargo that says nothing for so long is given up: a crate that compiles longer has hung.
const SILENCE_MAX: Duration = Duration::from_secs(45 * 60);
/// What is interrupted and still runs after so long is killed.
const STUBBORN: Duration = Duration::from_secs(2);

/// How cargo is called, always the same in a session.
pub(super) struct Cargo<'a> {
    pub(super) program: PathBuf,
    pub(super) rustc: &'a Path,
    /// Holds the manifest.
    pub(super) folder: &'a Path,
    pub(super) orders: &'a Path,
    pub(super) surroundings: &'a Surroundings,
    pub(super) running: &'a Running,
}

/// What a run said.
pub(super) struct Said {
    pub(super) success: bool,
    /// Lines of standard output.
    pub(super) lines: Vec<String>,
    pub(super) errors: String,
}

/// Counts what is compiled, for the progress.
#[derive(Default)]
pub(super) struct Count {
    all: usize,
    done: usize,
}

impl Count {
    pub(super) fn of(all: usize) -> Self {
        Self { all, done: 0 }
    }
}

enum Line {
    Out(String),
    Error(String),
}

impl Cargo<'_> {
    /// Beside the compiler, where toolchains have it, else wherever the system finds it.
    pub(super) fn program(rustc: &Path) -> Option<PathBuf> {
        let beside = rustc.with_file_name("cargo");
        if beside.is_file() { Some(beside) } else { crate::evaluator::runtime::on_path(Path::new("cargo")) }
    }

    /// Runs cargo to its end; `None` if the person interrupts, which ends everything that it started.
    pub(super) async fn run(
        &self,
        arguments: &[&str],
        progress: &mut Progress<'_>,
        count: &mut Count,
    ) -> Result<Option<Said>> {
        let cancelled = self.running.cancel.notified();
        tokio::pin!(cancelled);
        cancelled.as_mut().enable();
        if self.running.stop.load(Ordering::SeqCst) {
            return Ok(None);
        }
        let mut command = Command::new(&self.program);
        self.surroundings.apply(&mut command);
        let this = std::env::current_exe().context("finding this program's own file")?;
        command
            .args(arguments)
            .current_dir(self.folder)
            .env("RUSTC", self.rustc)
            .env("RUSTC_WRAPPER", this)
            .env(wrapper::ORDERS, self.orders)
            .env("CARGO_TERM_COLOR", "never")
            .env("CARGO_TERM_PROGRESS_WHEN", "never")
            .env("CARGO_TERM_QUIET", "false")
            .env("CARGO_INCREMENTAL", "0")
            .env_remove("RUSTC_BOOTSTRAP")
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("CARGO_BUILD_TARGET_DIR")
            .env_remove("CARGO_BUILD_TARGET")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("starting {}", self.program.display()))?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        // Whoever gives up on this value ends the compilers too.
        let _guard = Group { group, running: self.running };
        // So does the end of the kernel.
        self.running.build.store(group.map_or(0, Pid::as_raw), Ordering::SeqCst);
        let (sender, mut lines) = mpsc::channel(256);
        tokio::spawn(read(
            child.stdout.take().context("cargo's output was piped")?,
            sender.clone(),
            Line::Out,
        ));
        tokio::spawn(read(child.stderr.take().context("cargo's errors were piped")?, sender, Line::Error));
        let mut said = Said { success: false, lines: Vec::new(), errors: String::new() };
        loop {
            let line = tokio::select! {
                line = tokio::time::timeout(SILENCE_MAX, lines.recv()) => line.with_context(|| {
                    format!("cargo has said nothing for {} minutes and was stopped", SILENCE_MAX.as_secs() / 60)
                })?,
                () = &mut cancelled => {
                    signal(group, Signal::SIGINT);
                    let _ = tokio::time::timeout(STUBBORN, child.wait()).await;
                    return Ok(None);
                }
            };
            match line {
                Some(Line::Out(line)) => said.lines.push(line),
                Some(Line::Error(line)) => {
                    if let Some(doing) = doing(&line, count) {
                        progress.say(&doing).await;
                    }
                    said.errors.push_str(&line);
                    said.errors.push('\n');
                }
                None => break,
            }
        }
        let status =
            tokio::time::timeout(STUBBORN * 10, child.wait()).await.context("cargo did not end")??;
        said.success = status.success();
        Ok(Some(said))
    }
}

/// The processes of one run; dropping it ends those that are left.
struct Group<'a> {
    group: Option<Pid>,
    running: &'a Running,
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        self.running.build.store(0, Ordering::SeqCst);
        signal(self.group, Signal::SIGKILL);
    }
}

fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        // A group that is gone already is no error.
        let _ = killpg(group, signal);
    }
}

async fn read(stream: impl AsyncRead + Unpin, sender: mpsc::Sender<Line>, wrap: fn(String) -> Line) {
    let mut lines = BufReader::new(stream).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        if sender.send(wrap(String::from_utf8_lossy(&line).into_owned())).await.is_err() {
            return;
        }
    }
}

/// What cargo's line means for the person who waits.
fn doing(line: &str, count: &mut Count) -> Option<String> {
    let (word, rest) = line.trim_start().split_once(' ')?;
    let name = rest.split_whitespace().next().unwrap_or_default();
    match word {
        "Compiling" if name == PACKAGE => Some("linking".to_owned()),
        "Compiling" => {
            count.done += 1;
            let all = count.all.max(count.done);
            Some(format!("compiling {name} ({} of {all})", count.done))
        }
        "Blocking" if rest.contains("build directory") || rest.contains("artifact directory") => {
            Some("waiting for another kernel, which is adding crates now".to_owned())
        }
        "Blocking" => Some("waiting for another cargo, which is downloading crates".to_owned()),
        "Updating" => Some(format!("updating {rest}")),
        "Downloading" => Some(format!("downloading {rest}")),
        "Downloaded" => Some(format!("downloaded {name}")),
        "Locking" | "Adding" => Some("choosing versions".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_from_cargos_lines() {
        let mut count = Count { all: 2, done: 0 };
        assert_eq!(doing("   Compiling rand v0.9.2", &mut count).as_deref(), Some("compiling rand (1 of 2)"));
        assert_eq!(doing("   Compiling a v1", &mut count).as_deref(), Some("compiling a (2 of 2)"));
        let waiting = doing("    Blocking waiting for file lock on build directory", &mut count);
        assert!(waiting.unwrap().contains("another kernel"));
        assert_eq!(doing("warning: unused", &mut count), None);
    }
}
