//! Owns when a worker leaves by itself: before its job ends, or when the system asks it to.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Draining begins so long before the end: a part of the time there is, within bounds.
const MARGIN_SHARE: u32 = 10;
const MARGIN_MIN: Duration = Duration::from_secs(3);
const MARGIN_MAX: Duration = Duration::from_secs(120);
/// Of that, what is left when the worker goes whatever it is busy with.
const SPARE_SHARE: u32 = 4;
const SPARE_MAX: Duration = Duration::from_secs(10);
/// After SIGTERM; PBS kills ten seconds after it if the site has not changed that.
const TERMINATION: Duration = Duration::from_secs(8);

/// What the driver does about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Take no more blocks.
    Drain(String),
    /// Go now.
    Go(String),
}

pub(crate) struct Leave {
    drain_at: Option<Instant>,
    go_at: Option<Instant>,
    drains: bool,
    terminate: Signal,
    interrupt: Signal,
    /// `nuna worker --drain`.
    user: Signal,
}

impl Leave {
    /// `ends_at` in seconds since 1970.
    ///
    /// # Errors
    /// If signals cannot be heard.
    pub(crate) fn new(ends_at: Option<u64>) -> anyhow::Result<Self> {
        let left = ends_at.map(|at| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Duration::from_secs(at).saturating_sub(now)
        });
        let (drain, go) = left.map(until_leaving).unzip();
        let now = Instant::now();
        Ok(Self {
            drain_at: drain.map(|after| now + after),
            go_at: go.map(|after| now + after),
            drains: false,
            terminate: signal(SignalKind::terminate()).context("cannot wait for signals")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot wait for signals")?,
            user: signal(SignalKind::user_defined1()).context("cannot wait for signals")?,
        })
    }

    /// How long the worker will take blocks, if it knows.
    pub(crate) fn lasts(&self) -> Option<Duration> {
        self.drain_at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// The scheduler has asked it to drain; the end stays where it is.
    pub(crate) fn asked(&mut self) {
        self.drains = true;
    }

    /// Whether it drains already.
    pub(crate) fn is_asked(&self) -> bool {
        self.drains
    }

    /// The next turn. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> Turn {
        let drain_at = self.drain_at.filter(|_| !self.drains);
        tokio::select! {
            _ = self.terminate.recv() => self.told("SIGTERM"),
            _ = self.interrupt.recv() => self.told("SIGINT"),
            _ = self.user.recv() => {
                // Without an end: nobody is in a hurry.
                self.drains = true;
                Turn::Drain("somebody has asked it to leave".to_owned())
            }
            () = at(drain_at) => {
                self.drains = true;
                Turn::Drain("its job ends soon".to_owned())
            }
            () = at(self.go_at) => Turn::Go("its job ends".to_owned()),
        }
    }

    fn told(&mut self, signal: &str) -> Turn {
        if self.drains && self.go_at.is_some_and(|at| at <= Instant::now() + TERMINATION) {
            // The second time somebody means it, or the end was near anyway.
            return Turn::Go(format!("it was told to with {signal}"));
        }
        self.drains = true;
        let soon = Instant::now() + TERMINATION;
        self.go_at = Some(self.go_at.map_or(soon, |at| at.min(soon)));
        Turn::Drain(format!("it was told to with {signal}"))
    }
}

/// After how long to drain, and to go, if there is so much time.
fn until_leaving(left: Duration) -> (Duration, Duration) {
    let margin = (left / MARGIN_SHARE).clamp(MARGIN_MIN, MARGIN_MAX);
    let spare = (margin / SPARE_SHARE).min(SPARE_MAX);
    (left.saturating_sub(margin), left.saturating_sub(spare))
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_drains_before_its_end_and_goes_before_it_is_killed() {
        let seconds = |left| {
            let (drain, go) = until_leaving(Duration::from_secs(left));
            (drain.as_secs_f64(), go.as_secs_f64())
        };
        assert_eq!(seconds(60), (54.0, 58.5));
        assert_eq!(seconds(7200), (7080.0, 7190.0));
        assert_eq!(seconds(10), (7.0, 9.25));
        assert_eq!(seconds(1), (0.0, 0.25));
    }
}
