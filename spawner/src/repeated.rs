//! What strangers can make happen thousands of times is logged now and then, with how often it happened.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines about the same.
const EVERY: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(crate) struct Repeated {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    logged: Option<Instant>,
    untold: u64,
}

impl Repeated {
    /// Another time. If a line about it is due: how many times there were since the last one, this one included.
    pub(crate) fn happened(&self) -> Option<u64> {
        self.happened_at(Instant::now())
    }

    fn happened_at(&self, now: Instant) -> Option<u64> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.untold += 1;
        if inner.logged.is_some_and(|logged| now.saturating_duration_since(logged) < EVERY) {
            return None;
        }
        inner.logged = Some(now);
        Some(std::mem::take(&mut inner.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_rest_in_sums() {
        let (repeated, start) = (Repeated::default(), Instant::now());
        assert_eq!(repeated.happened_at(start), Some(1));
        for second in 1..60 {
            assert_eq!(repeated.happened_at(start + Duration::from_secs(second)), None);
        }
        assert_eq!(repeated.happened_at(start + EVERY), Some(60));
        assert_eq!(repeated.happened_at(start + EVERY), None);
    }
}
