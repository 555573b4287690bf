//! The user server's process: started through this same program, so that it ends if the launcher is killed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getppid};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::output::Output;
use crate::secret::Scrubber;

/// First argument of this program in its other role; not an option a person gives.
pub(crate) const ROLE: &str = "--become-user-server";
/// Output may still be on its way when the process is gone.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);

/// `nuna-singleuser --become-user-server PARENT FOLDER PROGRAM [ARGUMENT…]`. Returns only if that failed.
pub(crate) fn become_server(mut words: impl Iterator<Item = OsString>) -> anyhow::Error {
    let error: anyhow::Result<std::convert::Infallible> = (|| {
        let parent = words.next().context("the parent's process id is missing")?;
        let folder = words.next().context("the folder is missing")?;
        let program = words.next().context("the program is missing")?;
        nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).context("cannot follow the launcher")?;
        // It may have died before that.
        if parent.to_str() != Some(getppid().as_raw().to_string().as_str()) {
            bail!("the launcher is gone");
        }
        std::env::set_current_dir(&folder)
            .with_context(|| format!("cannot enter the folder {}", Path::new(&folder).display()))?;
        let error = std::process::Command::new(&program).args(words).exec();
        let path = std::env::var("PATH").unwrap_or_default();
        Err(error).with_context(|| {
            format!("cannot run {}, looked for on PATH={path}", Path::new(&program).display())
        })
    })();
    match error {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

/// A user server that runs.
pub(crate) struct UserServer {
    child: Child,
    group: Pid,
    output: Output,
    readers: Vec<JoinHandle<()>>,
}

impl UserServer {
    pub(crate) fn start(
        argv: &[String],
        environment: &BTreeMap<String, String>,
        folder: &Path,
        scrubber: &Scrubber,
    ) -> anyhow::Result<Self> {
        let own_program: PathBuf = std::env::current_exe().context("cannot find this program's own file")?;
        let mut child = Command::new(own_program)
            .arg(ROLE)
            .arg(std::process::id().to_string())
            .arg(folder)
            .args(argv)
            // Beside what the job has: modules, scratch folders, the PBS_* variables.
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a process for the user server")?;
        let id =
            child.id().and_then(|id| i32::try_from(id).ok()).context("the user server was gone at once")?;
        let output = Output::default();
        let mut readers = Vec::new();
        if let Some(source) = child.stdout.take() {
            readers.push(tokio::spawn(output.clone().follow(source, scrubber.clone())));
        }
        if let Some(source) = child.stderr.take() {
            readers.push(tokio::spawn(output.clone().follow(source, scrubber.clone())));
        }
        Ok(Self { child, group: Pid::from_raw(id), output, readers })
    }

    /// As a shell counts: 128 and the signal's number for one that was killed.
    pub(crate) async fn wait(&mut self) -> anyhow::Result<i32> {
        let status = self.child.wait().await.context("cannot wait for the user server")?;
        Ok(exit_code(status))
    }

    pub(crate) fn ask_to_end(&self) {
        // Gone already is as good as asked.
        let _ = killpg(self.group, Signal::SIGTERM);
    }

    /// SIGTERM, and SIGKILL after `grace`.
    pub(crate) async fn end(&mut self, grace: Duration) -> anyhow::Result<i32> {
        self.ask_to_end();
        self.end_within(grace).await
    }

    /// Waits for `grace`, then kills.
    pub(crate) async fn end_within(&mut self, grace: Duration) -> anyhow::Result<i32> {
        match timeout(grace, self.wait()).await {
            Ok(code) => code,
            Err(_) => {
                let _ = killpg(self.group, Signal::SIGKILL);
                self.wait().await
            }
        }
    }

    /// The end of what it printed.
    pub(crate) async fn tail(&mut self) -> String {
        for reader in self.readers.drain(..) {
            let _ = timeout(DRAIN_LIMIT, reader).await;
        }
        self.output.tail()
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
