//! Owns the process that starts a scheduler again when it is lost, where nobody else stays to do so: clusters that outlive
//! the program that started them. It runs the same command once more, as its child, and does nothing but wait.

use std::{
    env, process,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::Command,
    signal::unix::{SignalKind, signal},
};

use super::Options;

/// Set for the child: who watches over it.
const SUPERVISOR: &str = "NUNA_SCHEDULER_SUPERVISOR";
const POLL: Duration = Duration::from_millis(200);
/// Schedulers started again within [`WINDOW`]; after more the cluster is given up.
pub const RESTARTS_MAX: usize = 5;
pub const WINDOW: Duration = Duration::from_secs(600);

/// When a scheduler was started again.
#[derive(Default)]
pub struct Restarts(Vec<Instant>);

/// What to do about a scheduler that was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Start,
    Wait,
    GiveUp,
}

impl Restarts {
    /// The first time at once, then after waits that double, and not for ever.
    pub fn next(&mut self, now: Instant) -> Next {
        self.0.retain(|&at| now.saturating_duration_since(at) < WINDOW);
        if let Some(&last) = self.0.last() {
            let wait = POLL * (1 << self.0.len().min(16));
            if now.saturating_duration_since(last) < wait {
                return Next::Wait;
            }
            if self.0.len() >= RESTARTS_MAX {
                return Next::GiveUp;
            }
        }
        self.0.push(now);
        Next::Start
    }
}

/// The process that watches over this one, if there is one.
pub(crate) fn supervisor() -> Option<u32> {
    env::var(SUPERVISOR).ok()?.parse().ok()
}

/// Runs the scheduler as a child, again if it is lost, until it ends as it should.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(watch(options))
}

async fn watch(options: &Options) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let program = env::current_exe().context("cannot find out which program this is")?;
    let file = options.directory.join(format!("{}.json", options.name));
    let mut restarts = Restarts::default();
    loop {
        let mut child = Command::new(&program)
            .args(env::args_os().skip(1))
            .env(SUPERVISOR, process::id().to_string())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let status = tokio::select! {
            status = child.wait() => status?,
            _ = terminate.recv() => return end(pid, child).await,
            _ = interrupt.recv() => return end(pid, child).await,
        };
        // One that ends as it should takes its file along; one that never came up has none.
        if status.success() {
            return Ok(());
        }
        if !file.exists() {
            bail!("the scheduler has ended with {status}; what it said is above");
        }
        tracing::error!(%status, "the scheduler was lost; it is started again, with its journal");
        loop {
            match restarts.next(Instant::now()) {
                Next::Start => break,
                Next::Wait => tokio::time::sleep(POLL).await,
                Next::GiveUp => {
                    // Workers and clients see by it that none will come.
                    let _ = std::fs::remove_file(&file);
                    bail!(
                        "the scheduler was lost ({status}), and was started again {RESTARTS_MAX} times within {} s without staying: the cluster is given up",
                        WINDOW.as_secs()
                    );
                }
            }
        }
    }
}

/// This process was told to end: so is its child, which sends workers home.
async fn end(pid: Option<i32>, mut child: tokio::process::Child) -> anyhow::Result<()> {
    if let Some(pid) = pid {
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    child.wait().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheduler_is_started_again_a_few_times_and_then_no_more() {
        let (mut restarts, begin) = (Restarts::default(), Instant::now());
        let (mut started, mut now) = (0, begin);
        loop {
            match restarts.next(now) {
                Next::Start => started += 1,
                Next::Wait => {}
                Next::GiveUp => break,
            }
            now += POLL;
        }
        assert_eq!(started, RESTARTS_MAX);
        let took = now - begin;
        assert!(took > Duration::from_secs(5) && took < Duration::from_secs(30), "{took:?}");
        assert_eq!(restarts.next(now + WINDOW), Next::Start);
    }
}
