//! Owns the processes of `up`: each leads a group of its own, and all groups end with this program.

use std::{
    fs::File,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// How long a process may take to end by itself.
const GRACE: Duration = Duration::from_secs(8);

/// Started processes in order; dropping it stops them, the last started first.
pub(crate) struct Supervisor {
    logs: PathBuf,
    running: Vec<(String, Child)>,
}

impl Supervisor {
    pub(crate) fn new(logs: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&logs)?;
        Ok(Self { logs, running: Vec::new() })
    }

    /// Starts `command`; what it prints goes to `logs/NAME.log`.
    pub(crate) fn start(&mut self, name: &str, command: &mut Command) -> Result<()> {
        let log = self.log(name);
        let file = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        let child = command.spawn().with_context(|| format!("starting {name}: {command:?}"))?;
        self.running.push((name.to_owned(), child));
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
    pub(crate) fn check(&mut self) -> Result<()> {
        for (name, child) in &mut self.running {
            if let Some(status) = child.try_wait()? {
                let log = self.logs.join(format!("{name}.log"));
                let text = std::fs::read_to_string(&log).unwrap_or_default();
                let from = text.lines().count().saturating_sub(15);
                let tail: Vec<&str> = text.lines().skip(from).collect();
                bail!("{name} ended ({status}); its last words in {}:\n{}", log.display(), tail.join("\n"));
            }
        }
        Ok(())
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        for (_, child) in self.running.iter_mut().rev() {
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
