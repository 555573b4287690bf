//! Owns the processes of `up`: each leads a group of its own, and all groups end with this program. One that ends
//! before that is started again, as a site's systemd does.

use std::{
    fs::File,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// How long a process may take to end by itself.
const GRACE: Duration = Duration::from_secs(8);

/// How often a process may end within [`RESTART_WINDOW`] before that is taken for its nature.
const RESTARTS_MAX: usize = 5;
const RESTART_WINDOW: Duration = Duration::from_secs(60);

struct Process {
    name: String,
    command: Command,
    child: Child,
    ended: Vec<Instant>,
}

/// Started processes in order; dropping it stops them, the last started first.
pub(crate) struct Supervisor {
    logs: PathBuf,
    running: Vec<Process>,
}

impl Supervisor {
    pub(crate) fn new(logs: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&logs)?;
        Ok(Self { logs, running: Vec::new() })
    }

    /// Starts `command`; what it prints goes to `logs/NAME.log`.
    pub(crate) fn start(&mut self, name: &str, mut command: Command) -> Result<()> {
        let log = self.log(name);
        let file = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        let child = command.spawn().with_context(|| format!("starting {name}: {command:?}"))?;
        self.running.push(Process { name: name.to_owned(), command, child, ended: Vec::new() });
        Ok(())
    }

    /// Starts again what has ended, and says so; an error if it keeps ending.
    pub(crate) fn keep_running(&mut self) -> Result<()> {
        for process in &mut self.running {
            let Some(status) = process.child.try_wait()? else { continue };
            process.ended.retain(|at| at.elapsed() < RESTART_WINDOW);
            process.ended.push(Instant::now());
            if process.ended.len() > RESTARTS_MAX {
                return Err(last_words(&self.logs, &process.name, status));
            }
            println!("{} ended ({status}) and is started again", process.name);
            // What it started shares its group, and would stand in the way of what it starts next.
            let _ = killpg(Pid::from_raw(process.child.id() as i32), Signal::SIGTERM);
            let command = &mut process.command;
            process.child = command.spawn().with_context(|| format!("starting {} again", process.name))?;
        }
        Ok(())
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// Waits until `ready` says so, at most `limit`; a process that ends meanwhile is an error with its last words.
    pub(crate) fn wait_for(&mut self, what: &str, limit: Duration, ready: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !ready() {
            self.check()?;
            if Instant::now() > deadline {
                bail!(
                    "{what} did not become ready within {} s; see {}",
                    limit.as_secs(),
                    self.logs.display()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// An error if any process has ended.
    fn check(&mut self) -> Result<()> {
        for process in &mut self.running {
            if let Some(status) = process.child.try_wait()? {
                return Err(last_words(&self.logs, &process.name, status));
            }
        }
        Ok(())
    }
}

fn last_words(logs: &Path, name: &str, status: ExitStatus) -> anyhow::Error {
    let log = logs.join(format!("{name}.log"));
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    let from = text.lines().count().saturating_sub(15);
    let tail: Vec<&str> = text.lines().skip(from).collect();
    anyhow!("{name} ended ({status}); its last words in {}:\n{}", log.display(), tail.join("\n"))
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        for Process { child, .. } in self.running.iter_mut().rev() {
            let group = Pid::from_raw(child.id() as i32);
            // A group that is gone already is what we want.
            let _ = killpg(group, Signal::SIGTERM);
            let deadline = Instant::now() + GRACE;
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = killpg(group, Signal::SIGKILL);
            let _ = child.wait();
        }
    }
}
