//! Idle connections, kept for a while for whoever asks for the same target next.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an idle connection is kept.
const IDLE_MAX: Duration = Duration::from_secs(20);
/// Idle connections kept per target and worker for that long; those a burst leaves beyond them go sooner, for a
/// user's server may have few file descriptors.
const IDLE_PER_TARGET_MAX: usize = 32;
const IDLE_AFTER_BURST_MAX: Duration = Duration::from_secs(2);

/// A connection of which it can be seen whether another request may be sent over it.
pub(crate) trait Reusable {
    fn is_free(&mut self) -> bool;
}

impl Reusable for tokio::net::TcpStream {
    fn is_free(&mut self) -> bool {
        // An end that came in the meantime, or an answer that nobody asked for.
        matches!(self.try_read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }
}

/// By the target's key, the most recently used last; never held across a wait.
pub(crate) struct IdlePool<C>(Mutex<HashMap<Arc<str>, Vec<Idle<C>>>>);

struct Idle<C> {
    connection: C,
    since: Instant,
}

impl<C: Reusable> IdlePool<C> {
    pub(crate) fn new() -> Self {
        Self(Mutex::default())
    }

    /// A connection that, as far as can be seen, is still open.
    pub(crate) fn take(&self, key: &str) -> Option<C> {
        let mut all = self.lock();
        let kept = all.get_mut(key)?;
        loop {
            let mut connection = kept.pop()?.connection;
            if connection.is_free() {
                return Some(connection);
            }
        }
    }

    pub(crate) fn keep(&self, key: &Arc<str>, connection: C) {
        let idle = Idle { connection, since: Instant::now() };
        let mut all = self.lock();
        match all.get_mut(key) {
            Some(kept) => kept.push(idle),
            None => {
                all.insert(key.clone(), vec![idle]);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Vec<Idle<C>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes what has ended or been idle for too long.
    pub(crate) fn sweep(&self, now: Instant) {
        self.lock().retain(|_, idle| {
            let surplus = idle.len().saturating_sub(IDLE_PER_TARGET_MAX);
            let mut place = 0;
            // The longest idle come first.
            idle.retain_mut(|one| {
                place += 1;
                let limit = if place <= surplus { IDLE_AFTER_BURST_MAX } else { IDLE_MAX };
                one.connection.is_free() && now.saturating_duration_since(one.since) < limit
            });
            !idle.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake(bool);

    impl Reusable for Fake {
        fn is_free(&mut self) -> bool {
            self.0
        }
    }

    #[test]
    fn what_has_ended_or_is_old_is_not_given_out() {
        let pool = IdlePool::new();
        let key: Arc<str> = "http://a".into();
        assert!(pool.take(&key).is_none());
        pool.keep(&key, Fake(true));
        pool.keep(&key, Fake(false));
        assert!(pool.take(&key).is_some_and(|fake| fake.0));
        assert!(pool.take(&key).is_none());
        pool.keep(&key, Fake(true));
        pool.sweep(Instant::now() + IDLE_MAX / 2);
        assert!(pool.take("http://b").is_none() && pool.take(&key).is_some());
        pool.keep(&key, Fake(true));
        pool.sweep(Instant::now() + IDLE_MAX);
        assert!(pool.take(&key).is_none());
    }

    #[test]
    fn more_than_a_few_go_soon_after_a_burst() {
        let pool = IdlePool::new();
        let key: Arc<str> = "http://a".into();
        (0..IDLE_PER_TARGET_MAX + 5).for_each(|_| pool.keep(&key, Fake(true)));
        pool.sweep(Instant::now() + IDLE_AFTER_BURST_MAX);
        assert_eq!(std::iter::from_fn(|| pool.take(&key)).count(), IDLE_PER_TARGET_MAX);
    }
}
