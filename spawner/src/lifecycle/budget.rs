//! How often the batch system is asked at all: once in an interval, whatever for, and a few times in a row after a quiet time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Millis;

/// Queries in a row that a quiet time has saved up: a server that is started when nobody else's is goes through its states
/// without waiting for the next interval each time.
const ROW: u64 = 5;

/// Shared by all who ask. What is spent beyond it is paid back by waiting.
#[derive(Clone, Debug)]
pub struct Budget {
    interval: u64,
    /// The end of the intervals that are used up, in milliseconds.
    paid: Arc<AtomicU64>,
}

impl Budget {
    pub fn new(interval: Duration) -> Self {
        Self { interval: u64::try_from(interval.as_millis()).unwrap_or(u64::MAX), paid: Arc::default() }
    }

    /// When the next query may begin.
    pub fn open(&self) -> Millis {
        Millis(self.paid.load(Ordering::Relaxed))
    }

    /// So many commands were, or are being, run.
    pub fn spend(&self, now: Millis, commands: u32) {
        let saved = now.0.saturating_sub(self.interval.saturating_mul(ROW - 1));
        let cost = self.interval.saturating_mul(commands.into());
        let update = |paid: u64| Some(paid.max(saved).saturating_add(cost));
        // The closure always gives a value.
        let _ = self.paid.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_queries_than_intervals_but_for_a_few_in_a_row() {
        let budget = Budget::new(Duration::from_secs(5));
        let mut asked = 0;
        for now in (1_000_000..1_600_000).step_by(100).map(Millis) {
            if budget.open() <= now {
                // Every third takes a second command.
                let commands = 1 + u32::from(asked % 3 == 0);
                budget.clone().spend(now, commands);
                asked += commands;
            }
            let intervals = (now.0 - 1_000_000) / 5000;
            assert!(u64::from(asked) <= intervals + ROW + 1, "{asked} in {intervals}");
        }
        assert!((120..=126).contains(&asked), "{asked} in 120 intervals");
    }
}
