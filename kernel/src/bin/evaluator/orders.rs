//! Carries out the kernel's orders other than to run a cell: a shell, the environment, the folder.

use std::{
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use nuna_kernel::evaluator::process::{Answer, Trouble};

/// How often a shell is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// An interrupted shell that still runs after so long is killed.
const STUBBORN: Duration = Duration::from_millis(1500);

fn refused(message: String) -> Answer {
    Answer { error: Some(Trouble { message, location: None }), ..Answer::default() }
}

/// Runs `command`; what it prints goes where a cell's prints go.
pub(crate) fn shell(shell: &str, command: &str) -> Answer {
    // An interrupt that came for the cell before is none of this one's.
    nuna::session::set_cell(nuna::session::cell());
    // A group of its own, so that what the shell started is interrupted with it.
    let started = Command::new(shell).arg("-c").arg(command).stdin(Stdio::null()).process_group(0).spawn();
    let child = match started {
        Ok(child) => child,
        Err(error) => return refused(format!("cannot start {shell}: {error}")),
    };
    match wait(child) {
        Ok((_, true)) => Answer { interrupted: true, ..Answer::default() },
        Ok((status, false)) => Answer { said: failed(status), ..Answer::default() },
        Err(error) => refused(format!("waiting for {shell}: {error}")),
    }
}

/// How it ended, and whether because of an interrupt.
fn wait(mut child: Child) -> std::io::Result<(ExitStatus, bool)> {
    let group = i32::try_from(child.id()).ok().map(Pid::from_raw);
    let signal = |signal| {
        if let Some(group) = group {
            // A group that is gone already is no error.
            let _ = killpg(group, signal);
        }
    };
    let mut interrupted: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status, interrupted.is_some()));
        }
        match interrupted {
            None if nuna::session::interrupted() => {
                signal(Signal::SIGINT);
                interrupted = Some(Instant::now());
            }
            Some(since) if since.elapsed() > STUBBORN => signal(Signal::SIGKILL),
            _ => {}
        }
        std::thread::sleep(LOOK);
    }
}

fn failed(status: ExitStatus) -> Option<String> {
    match (status.code(), status.signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(format!("exit code {code}")),
        (None, Some(signal)) => Some(match Signal::try_from(signal) {
            Ok(name) => format!("signal {name}"),
            Err(_) => format!("signal {signal}"),
        }),
        (None, None) => Some(status.to_string()),
    }
}

#[expect(unsafe_code, reason = "the environment of cells is this process's")]
pub(crate) fn environment(change: Option<(String, Option<String>)>) -> Answer {
    if let Some((name, value)) = change {
        // SAFETY: the kernel has checked that the name is one and that neither holds a zero byte. No cell runs now; a
        // thread that an earlier cell left behind and that reads the environment through C at this very moment is what
        // `std::env::set_var` in a cell would meet as well.
        unsafe {
            match value {
                Some(value) => std::env::set_var(name, value),
                None => std::env::remove_var(name),
            }
        }
    }
    let text = |word: std::ffi::OsString| word.to_string_lossy().into_owned();
    let mut environment: Vec<_> =
        std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect();
    environment.sort();
    Answer { environment, ..Answer::default() }
}

pub(crate) fn folder(to: Option<&str>) -> Answer {
    if let Some(to) = to {
        let home = || std::env::var("HOME").unwrap_or_else(|_| "/".to_owned());
        let to = match to.trim_matches(['"', '\'']) {
            "" | "~" => home(),
            to => to.strip_prefix("~/").map_or_else(|| to.to_owned(), |rest| format!("{}/{rest}", home())),
        };
        if let Err(error) = std::env::set_current_dir(&to) {
            return refused(format!("cannot change to {to}: {error}"));
        }
    }
    match std::env::current_dir() {
        Ok(folder) => Answer { said: Some(folder.display().to_string()), ..Answer::default() },
        Err(error) => refused(format!("the current folder cannot be read: {error}")),
    }
}
