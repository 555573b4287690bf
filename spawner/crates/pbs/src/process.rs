//! Runs one command: nothing inherited, text to its standard input, a limit on time and on what it prints.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

/// 10,000 jobs with long variable lists are about 50 MB.
const STDOUT_BYTES_MAX: u64 = 512 << 20;
const STDERR_BYTES_MAX: u64 = 64 << 10;
/// What a command's own background process may delay the end of its output by.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// Between asking a late command to end and ending it.
const KILL_DELAY: Duration = Duration::from_millis(500);

pub(crate) struct Invocation {
    pub(crate) argv: Vec<OsString>,
    pub(crate) environment: BTreeMap<String, OsString>,
    pub(crate) folder: PathBuf,
    pub(crate) stdin: Option<String>,
}

/// What a command did.
#[derive(Debug)]
pub struct Finished {
    /// Absent if a signal ended it.
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// Why there is nothing to read.
#[derive(Debug)]
pub enum Trouble {
    TimedOut,
    /// It did not run at all, with a sentence.
    NotRun(String),
    /// What it did is not known, with a sentence.
    Failed(String),
}

pub(crate) async fn run(invocation: Invocation, limit: Duration) -> Result<Finished, Trouble> {
    let Some((program, arguments)) = invocation.argv.split_first() else {
        return Err(Trouble::NotRun("no command is configured".to_owned()));
    };
    let name = Path::new(program).display().to_string();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(&invocation.environment)
        .current_dir(&invocation.folder)
        .stdin(if invocation.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Its own group, so that a limit ends what it started too, and a Ctrl-C on us is not one on it.
        .process_group(0)
        .kill_on_drop(true);
    let mut child =
        command.spawn().map_err(|error| Trouble::NotRun(format!("cannot run {name}: {error}")))?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let input = child.stdin.take();
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let status = {
        let talk = async {
            tokio::join!(
                async {
                    if let (Some(mut input), Some(text)) = (input, &invocation.stdin) {
                        // A command that refuses early does not read to the end; its exit code says why.
                        let _ = input.write_all(text.as_bytes()).await;
                        let _ = input.shutdown().await;
                    }
                },
                read(output, STDOUT_BYTES_MAX, &mut stdout),
                read(errors, STDERR_BYTES_MAX, &mut stderr),
            )
        };
        tokio::pin!(talk);
        let whole = async {
            tokio::select! {
                _ = &mut talk => child.wait().await,
                status = child.wait() => {
                    let _ = timeout(DRAIN_MAX, &mut talk).await;
                    status
                }
            }
        };
        timeout(limit, whole).await.ok()
    };
    let status = match status {
        Some(status) => {
            status.map_err(|error| Trouble::Failed(format!("cannot wait for {name}: {error}")))?
        }
        None => {
            if let Some(group) = group {
                // Not permitted for what sudo runs; nuna-submit sets such a command a limit of its own.
                let _ = killpg(group, Signal::SIGTERM);
                let _ = timeout(KILL_DELAY, child.wait()).await;
                let _ = killpg(group, Signal::SIGKILL);
            }
            let _ = child.start_kill();
            return Err(Trouble::TimedOut);
        }
    };
    if stdout.len() as u64 >= STDOUT_BYTES_MAX {
        return Err(Trouble::Failed(format!("{name} printed more than {} MiB", STDOUT_BYTES_MAX >> 20)));
    }
    Ok(Finished { code: status.code(), stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() })
}

/// Reads to the end, keeping at most `limit` bytes, so that the command never blocks on a full pipe.
async fn read(source: Option<impl AsyncRead + Unpin>, limit: u64, into: &mut Vec<u8>) {
    let Some(mut source) = source else { return };
    let _ = (&mut source).take(limit).read_to_end(into).await;
    let _ = tokio::io::copy(&mut source, &mut tokio::io::sink()).await;
}
