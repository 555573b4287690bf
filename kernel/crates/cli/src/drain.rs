//! Owns `nuna worker --drain`: asks this user's workers on this machine to finish what they run, give back the rest and
//! leave, and says which it has asked.

use std::{
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, Uid},
};

use crate::print;

const POLL: Duration = Duration::from_millis(50);

/// A worker process of this user.
struct Found {
    pid: i32,
    /// With the number it is one process's, though numbers come round again.
    since: String,
    name: String,
}

/// Asks the workers called `name`, or all, and waits for them to end for at most `wait`.
///
/// # Errors
/// If there are none, or some are still there after that.
pub(crate) fn drain(name: Option<&str>, wait: Duration) -> Result<()> {
    let mut found = workers();
    found.retain(|worker| name.is_none_or(|name| worker.name == name));
    if found.is_empty() {
        match name {
            Some(name) => bail!("no worker of yours called {name} runs on this machine"),
            None => bail!("no worker of yours runs on this machine"),
        }
    }
    for worker in &found {
        // One that has just ended is as good as drained.
        let _ = kill(Pid::from_raw(worker.pid), Signal::SIGUSR1);
        print(&format!(
            "{} (process {}): takes no more work, and leaves once it has done what it runs",
            worker.name, worker.pid
        ));
    }
    let until = Instant::now() + wait;
    while !wait.is_zero() {
        // Its program is gone from /proc a little before the process is.
        found.retain(|worker| running_since(worker.pid).as_ref() == Some(&worker.since));
        if found.is_empty() {
            print("all have left");
            return Ok(());
        }
        if Instant::now() > until {
            let names: Vec<&str> = found.iter().map(|worker| worker.name.as_str()).collect();
            bail!("still there after {} s: {}; they go on draining", wait.as_secs(), names.join(", "));
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

fn workers() -> Vec<Found> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| Some(Found { pid, since: running_since(pid)?, name: name_of(pid)? })).collect()
}

/// When the process began, in the kernel's ticks, unless it has ended: one that only waits for its parent has.
fn running_since(pid: i32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may hold anything: the state, and as the 20th the beginning.
    let mut words = stat.rsplit_once(") ")?.1.split(' ');
    let state = words.next()?;
    (state != "Z" && state != "X").then(|| words.nth(18).map(str::to_owned))?
}

/// The worker's name, if that process is a worker of this user that runs this very program: its own command line is all
/// that is trusted, and signals go nowhere else.
fn name_of(pid: i32) -> Option<String> {
    let process = Path::new("/proc").join(pid.to_string());
    if std::fs::metadata(&process).ok()?.uid() != Uid::effective().as_raw() {
        return None;
    }
    if std::fs::read_link(process.join("exe")).ok()? != std::env::current_exe().ok()? {
        return None;
    }
    let line = std::fs::read(process.join("cmdline")).ok()?;
    let mut words = line.split(|&byte| byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    if words.nth(1)? != "worker" {
        return None;
    }
    let words: Vec<String> = words.collect();
    // This process, or another that drains.
    if words.iter().any(|word| word == "--drain") {
        return None;
    }
    let after = |option: &str| words.iter().skip_while(|word| *word != option).nth(1).cloned();
    if let Some(name) = after("--name") {
        return Some(name);
    }
    let options = std::fs::read(after("--options")?).unwrap_or_default();
    let options: serde_json::Value = serde_json::from_slice(&options).unwrap_or_default();
    Some(options["name"].as_str().unwrap_or("a worker").to_owned())
}
