//! `nuna-pbs mom`: one per running job. Runs the job's shell in a session of its own, carries out the
//! server's signals, and does not leave before every process the job started is gone.
//!
//! It is a child subreaper, so that even a process that made itself a daemon becomes its child and is found.
//! If the server dies, the kernel sends SIGHUP (PDEATHSIG) and the job is ended quickly. The server hears
//! `began PID` and `exited STATUS` on standard output.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, getppid, setsid};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::usage;

/// Between SIGTERM and SIGKILL when the server itself goes away.
const GRACE_AT_SERVER_END: Duration = Duration::from_secs(2);
/// How often a process table full of survivors is looked at again.
const SWEEP_INTERVAL: Duration = Duration::from_millis(20);
/// Sweeps before the mom gives up on processes in uninterruptible sleep.
const SWEEPS_MAX: u32 = 500;

/// Everything the mom needs, in a 0600 file, so that nothing of it shows in a process list.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) shell: String,
    pub(crate) script: String,
    pub(crate) folder: String,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) umask: u32,
    pub(crate) output: String,
    /// Absent when standard error joins standard output.
    pub(crate) error: Option<String>,
    pub(crate) kill_delay_ms: u64,
    /// What the job's node starts its jobs with; empty for this machine as it is.
    pub(crate) launcher: Vec<String>,
}

/// `nuna-pbs mom SPEC SERVER_PID`
pub(crate) fn main(arguments: &[String]) -> anyhow::Result<()> {
    let [spec_path, server] = arguments else { bail!("usage: nuna-pbs mom SPEC SERVER_PID") };
    setsid().context("cannot start a session")?;
    nix::sys::prctl::set_pdeathsig(Signal::SIGHUP)
        .context("cannot ask for a signal at the server's death")?;
    nix::sys::prctl::set_child_subreaper(true).context("cannot become the reaper of the job's processes")?;
    let text = std::fs::read_to_string(spec_path).with_context(|| format!("cannot read {spec_path}"))?;
    let spec: Spec = serde_json::from_str(&text).with_context(|| format!("{spec_path} is damaged"))?;
    // The server may have died before PDEATHSIG was set.
    if getppid().as_raw().to_string() != *server {
        bail!("the batch server is gone");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = runtime.block_on(run(&spec, spec_path))?;
    say(&format!("exited {status}"));
    Ok(())
}

/// The server may be gone; that is no reason to fail.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn create(path: &str, mask: u32) -> anyhow::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o666 & !mask)
        .open(path)
        .with_context(|| format!("cannot write {path}"))
}

async fn run(spec: &Spec, spec_path: &str) -> anyhow::Result<i32> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut kill_now = signal(SignalKind::user_defined1())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let output = create(&spec.output, spec.umask)?;
    let error = match &spec.error {
        Some(path) => create(path, spec.umask)?,
        None => output.try_clone()?,
    };
    let own_program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut argv: Vec<&std::ffi::OsStr> = spec.launcher.iter().map(AsRef::as_ref).collect();
    argv.push(own_program.as_os_str());
    let mut child = tokio::process::Command::new(argv[0])
        .args(&argv[1..])
        .args(["job-shell", spec_path, &std::process::id().to_string()])
        .env_clear()
        .envs(&spec.environment)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(error)
        .spawn()
        .context("cannot start the job's shell")?;
    let session = child.id().context("the job's shell was gone at once")?;
    say(&format!("began {session}"));

    let mut kill_at: Option<Instant> = None;
    let status = loop {
        let deadline = kill_at.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
        tokio::select! {
            status = child.wait() => break status.context("cannot wait for the job's shell")?,
            _ = terminate.recv() => {
                signal_all(Signal::SIGTERM);
                let delay = Duration::from_millis(spec.kill_delay_ms);
                kill_at = Some(kill_at.map_or(Instant::now() + delay, |at| at.min(Instant::now() + delay)));
            }
            _ = hangup.recv() => {
                signal_all(Signal::SIGTERM);
                kill_at = Some(Instant::now() + GRACE_AT_SERVER_END);
            }
            _ = kill_now.recv() => signal_all(Signal::SIGKILL),
            () = tokio::time::sleep_until(deadline), if kill_at.is_some() => {
                signal_all(Signal::SIGKILL);
                kill_at = Some(Instant::now() + SWEEP_INTERVAL);
            }
        }
    };
    sweep().await;
    // 256 + signal is how PBS reports a signalled job (qdel: 271).
    Ok(status.code().unwrap_or_else(|| 256 + status.signal().unwrap_or(0)))
}

fn signal_all(signal: Signal) {
    for pid in usage::descendants(std::process::id()) {
        if let Ok(pid) = i32::try_from(pid) {
            // Gone already is as good as signalled.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

/// The job's shell ended; what it left behind is killed, as PBS kills a job's session.
async fn sweep() {
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    for _ in 0..SWEEPS_MAX {
        signal_all(Signal::SIGKILL);
        loop {
            match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => break,
                Ok(_) => {}
                // No children at all, and what lost its parent would be one.
                Err(nix::errno::Errno::ECHILD) => return,
                Err(_) => break,
            }
        }
        tokio::time::sleep(SWEEP_INTERVAL).await;
    }
}

/// `nuna-pbs job-shell SPEC MOM_PID`: becomes the job's shell.
pub(crate) fn job_shell(arguments: &[String]) -> anyhow::Result<()> {
    let [spec_path, mom] = arguments else { bail!("usage: nuna-pbs job-shell SPEC MOM_PID") };
    setsid().context("cannot start a session")?;
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).context("cannot ask for a signal at the mom's death")?;
    if getppid().as_raw().to_string() != *mom {
        bail!("the job's mom is gone");
    }
    let text = std::fs::read_to_string(spec_path).with_context(|| format!("cannot read {spec_path}"))?;
    let spec: Spec = serde_json::from_str(&text).with_context(|| format!("{spec_path} is damaged"))?;
    umask(Mode::from_bits_truncate(spec.umask));
    std::env::set_current_dir(Path::new(&spec.folder))
        .with_context(|| format!("cannot enter the job's folder {}", spec.folder))?;
    // As in PBS a shell runs the script as a command and stays: a script that kills itself is then reported
    // by the shell (137), and a script without `#!` is read by the shell.
    let error = std::process::Command::new(&spec.shell).args(["-c", "\"$0\"; exit $?", &spec.script]).exec();
    Err(error).with_context(|| format!("cannot run the shell {}", spec.shell))
}
