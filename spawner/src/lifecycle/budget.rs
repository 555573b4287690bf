//! How often the batch system is asked at all: once in an interval, whatever for. A quiet time saves nothing up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Millis;

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
        let cost = self.interval.saturating_mul(commands.into());
        let update = |paid: u64| Some(paid.max(now.0).saturating_add(cost));
        // The closure always gives a value.
        let _ = self.paid.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_queries_than_intervals() {
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
            // The one of this interval, and the second command of a query.
            assert!(u64::from(asked) <= intervals + 2, "{asked} in {intervals}");
        }
        assert!((118..=121).contains(&asked), "{asked} in 120 intervals");
        // After an hour without a query there is one, and not two.
        let later = Millis(5_200_000);
        budget.spend(later, 1);
        assert!(budget.open() > later);
    }
}
