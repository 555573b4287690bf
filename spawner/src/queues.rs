//! What the form says about queues: one query for everybody, and no more often than every few intervals.
//!
//! Nobody waits for the batch system: who looks gets what was known last, and how old it is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nuna_pbs::{BatchSystem, Queues, StatusError};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::lifecycle::budget::Budget;
use crate::metrics::Metrics;

/// Intervals of `[batch]` between two queries: what runs in a queue matters less than one's own job.
const INTERVALS: u32 = 3;
/// After failures the pause doubles up to this.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The very first form may wait this long; later ones do not wait.
const FIRST_WAIT: Duration = Duration::from_millis(1500);

/// What was known at one moment.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub queues: Option<Arc<Queues>>,
    /// Of the queues.
    pub age: Duration,
    /// The batch system's last word, if it was not an answer.
    pub trouble: Option<String>,
}

#[derive(Default)]
struct Inner {
    queues: Option<(Arc<Queues>, Instant)>,
    trouble: Option<String>,
    /// When it was asked last, and how often it has failed since it answered.
    asked: Option<Instant>,
    failures: u32,
    is_running: bool,
}

pub struct QueueBoard {
    inner: Arc<Mutex<Inner>>,
    answered: watch::Sender<u64>,
    batch: Arc<dyn BatchSystem>,
    metrics: Arc<Metrics>,
    pause: Duration,
    limit: Duration,
    budget: Budget,
    clock: Clock,
}

impl QueueBoard {
    pub fn new(
        batch: Arc<dyn BatchSystem>,
        metrics: Arc<Metrics>,
        (interval, limit): (Duration, Duration),
        (budget, clock): (Budget, Clock),
    ) -> Self {
        let (inner, answered) = (Arc::default(), watch::Sender::new(0));
        Self { inner, answered, batch, metrics, pause: interval * INTERVALS, limit, budget, clock }
    }

    /// What is known; asks the batch system, beside the caller, if that has become old.
    pub async fn look(&self) -> Known {
        let mut answered = self.answered.subscribe();
        if self.is_due() {
            self.ask();
        }
        let known = self.known();
        if known.queues.is_some() || known.trouble.is_some() {
            return known;
        }
        // Without an answer in this time, the form goes without.
        let _ = tokio::time::timeout(FIRST_WAIT, answered.changed()).await;
        self.known()
    }

    fn is_due(&self) -> bool {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = self.pause.saturating_mul(1 << inner.failures.min(8)).min(PAUSE_MAX.max(self.pause));
        if inner.is_running || inner.asked.is_some_and(|asked| asked.elapsed() < pause) {
            return false;
        }
        inner.is_running = true;
        inner.asked = Some(Instant::now());
        // Jobs do not wait for it, and are asked for a little later instead.
        self.budget.spend(self.clock.now(), 1);
        true
    }

    fn ask(&self) {
        let (inner, answered) = (self.inner.clone(), self.answered.clone());
        let (batch, metrics, limit) = (self.batch.clone(), self.metrics.clone(), self.limit);
        tokio::spawn(async move {
            let answer = tokio::time::timeout(limit, batch.queue_states()).await;
            let answer = answer.unwrap_or(Err(StatusError::TimedOut { limit }));
            metrics.queues_asked(answer.is_ok());
            {
                let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
                inner.is_running = false;
                match answer {
                    Ok(queues) => {
                        inner.queues = Some((Arc::new(queues), Instant::now()));
                        inner.trouble = None;
                        inner.failures = 0;
                    }
                    Err(error) => {
                        inner.trouble = Some(error.to_string());
                        inner.failures = inner.failures.saturating_add(1);
                    }
                }
            }
            answered.send_modify(|count| *count += 1);
        });
    }

    fn known(&self) -> Known {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        Known {
            queues: inner.queues.as_ref().map(|(queues, _)| queues.clone()),
            age: inner.queues.as_ref().map(|(_, at)| at.elapsed()).unwrap_or_default(),
            trouble: inner.trouble.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use nuna_pbs::fake::FakeBatch;

    use super::*;

    fn board(pause: Duration) -> (QueueBoard, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::default());
        let batch = Arc::new(FakeBatch::new());
        let times = (pause / INTERVALS, Duration::from_secs(5));
        let budget = (Budget::new(times.0), Clock::start());
        (QueueBoard::new(batch, metrics.clone(), times, budget), metrics)
    }

    #[tokio::test]
    async fn many_who_look_at_once_are_one_query() {
        let (board, metrics) = board(Duration::from_secs(3600));
        let looks = (0..50).map(|_| board.look());
        for known in futures::future::join_all(looks).await {
            assert!(known.queues.is_some() && known.trouble.is_none());
        }
        board.look().await;
        assert!(metrics.render(&[], None).contains("nuna_queue_queries_total{outcome=\"succeeded\"} 1\n"));
    }

    #[tokio::test]
    async fn what_is_old_is_shown_while_it_is_asked_for_again() {
        let (board, metrics) = board(Duration::from_millis(30));
        board.look().await;
        tokio::time::sleep(Duration::from_millis(60)).await;
        let known = board.look().await;
        assert!(
            known.queues.is_some() && known.age >= Duration::from_millis(60),
            "nobody waits: {:?}",
            known.age
        );
        let mut answered = board.answered.subscribe();
        while !metrics.render(&[], None).contains("succeeded\"} 2") {
            answered.changed().await.unwrap();
        }
        assert!(board.known().age < known.age);
    }
}
