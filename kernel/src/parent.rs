//! Owns the watch over whoever started the kernel. A Jupyter server that is killed cannot stop its kernels, and nobody
//! would find them again; so a kernel ends when its parent has.

use std::time::Duration;

use nix::unistd::getppid;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);

/// What tells that the parent is gone.
#[derive(Debug, PartialEq, Eq)]
enum Watch {
    /// The process that started this one said its own id: another parent means that it has ended.
    Child(i32),
    /// A program stands between; it is known by id and start time, since ids are used again.
    Process(i32, u64),
}

impl Watch {
    /// `named` is `JPY_PARENT_PID`, as jupyter_client sets it; nothing is watched without it, or if there is no such
    /// process here, as when the server runs on another machine or in another container.
    fn new(named: Option<&str>) -> Option<Self> {
        let named: i32 = named?.parse().ok().filter(|id| *id > 1)?;
        if named == getppid().as_raw() {
            return Some(Self::Child(named));
        }
        started(named).map(|since| Self::Process(named, since))
    }

    fn is_gone(&self) -> bool {
        match self {
            Self::Child(id) => getppid().as_raw() != *id,
            Self::Process(id, since) => started(*id) != Some(*since),
        }
    }
}

/// When a process was started, in ticks since the machine was; none if there is no such process, or only its remains.
fn started(id: i32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name may hold anything, so fields are counted from its end.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    if fields.first() == Some(&"Z") {
        return None;
    }
    fields.get(19)?.parse().ok()
}

/// Waits until the parent is gone; for ever if there is none to watch.
pub async fn gone() {
    let named = std::env::var("JPY_PARENT_PID").ok();
    let Some(watch) = Watch::new(named.as_deref()) else { return std::future::pending().await };
    while !watch.is_gone() {
        tokio::time::sleep(LOOK).await;
    }
    tracing::warn!("the process that started this kernel is gone, so the kernel ends");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_is_there_is_watched() {
        assert_eq!(Watch::new(None), None);
        assert_eq!(Watch::new(Some("none")), None);
        assert_eq!(Watch::new(Some("1")), None);
        let own = std::process::id().to_string();
        let watch = Watch::new(Some(&own)).unwrap();
        assert!(matches!(watch, Watch::Process(..)) && !watch.is_gone());
        let parent = Watch::new(Some(&getppid().to_string()));
        assert!(parent.is_none_or(|watch| !watch.is_gone()));
    }

    #[test]
    fn a_process_that_ended_is_gone_also_before_it_is_waited_for() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let watch = Watch::new(Some(&child.id().to_string())).unwrap();
        assert!(!watch.is_gone());
        child.kill().unwrap();
        while !watch.is_gone() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(watch.is_gone());
    }
}
