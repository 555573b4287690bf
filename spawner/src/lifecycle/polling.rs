//! When PBS is asked next: one query for everybody, as often as somebody waits for its answer, and no more.

use std::time::Duration;

use super::budget::Budget;
use crate::clock::Millis;

/// While nothing is about to change, PBS is asked this many times less often.
const CALM_FACTOR: u32 = 6;
/// A query may use one part in this many of the time: slow servers are asked less often.
const DUTY: u32 = 10;
/// Whoever waits for PBS to come back waits for this too.
const BACK_OFF_MAX: Duration = Duration::from_secs(15);
/// Whoever waits is told that PBS is silent if a query takes longer, or thrice as long as the last one.
const OVERDUE: Duration = Duration::from_secs(5);

/// How much depends on the next answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// No user server exists.
    Idle,
    /// All of them run.
    Calm,
    /// One is queued, starting or stopping.
    Brisk,
}

#[derive(Clone, Debug)]
pub struct PollPlan {
    interval: Duration,
    budget: Budget,
    is_running: bool,
    asked: Option<Millis>,
    answered: Option<Millis>,
    /// What the last two answers took at least: one that was slow does not make a slow server.
    cost: Duration,
    last_took: Option<Duration>,
    failures: u32,
    soon: bool,
}

impl PollPlan {
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            budget: Budget::new(interval),
            is_running: false,
            asked: None,
            answered: None,
            cost: Duration::ZERO,
            last_took: None,
            failures: 0,
            soon: false,
        }
    }

    /// None while a query runs, or when nobody would read the answer.
    pub fn due(&self, urgency: Urgency) -> Option<Millis> {
        if self.is_running {
            return None;
        }
        // The first one finds jobs that a former life of the service left behind.
        let Some(answered) = self.answered else { return Some(Millis::default()) };
        if self.failures > 0 {
            let wait = self.interval.saturating_mul(1 << self.failures.min(10)).min(BACK_OFF_MAX);
            return (urgency > Urgency::Idle || self.soon).then(|| answered.after(wait.max(self.interval)));
        }
        let wait = match (self.soon, urgency) {
            // Somebody wants to know at once: as soon as the budget lets it.
            (true, _) => Duration::ZERO,
            (false, Urgency::Brisk) => self.interval,
            (false, Urgency::Calm) => self.interval * CALM_FACTOR,
            (false, Urgency::Idle) => return None,
        };
        Some(answered.after(wait.max(self.cost * (DUTY - 1))).max(self.budget.open()))
    }

    /// What others have to pay from who ask the batch system too.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// When the last query was sent.
    pub fn asked(&self) -> Option<Millis> {
        self.asked
    }

    /// When the query that runs has taken too long to be called an answer. It may still become one.
    pub fn overdue(&self) -> Option<Millis> {
        let asked = self.asked.filter(|_| self.is_running)?;
        Some(asked.after(OVERDUE.max(self.cost * 3)))
    }

    pub fn soon(&mut self) {
        self.soon = true;
    }

    pub fn begin(&mut self, now: Millis) {
        self.is_running = true;
        self.soon = false;
        self.asked = Some(now);
        self.budget.spend(now, 1);
    }

    /// Gives the moment the answer was asked for.
    pub fn end(&mut self, now: Millis, succeeded: bool) -> Millis {
        let asked = self.asked.unwrap_or(now);
        self.is_running = false;
        self.answered = Some(now);
        if succeeded {
            let took = now.since(asked);
            self.cost = self.last_took.map_or(took, |last| last.min(took));
            self.last_took = Some(took);
            self.failures = 0;
        } else {
            self.failures = self.failures.saturating_add(1);
        }
        asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(5);

    fn seconds(seconds: u64) -> Millis {
        Millis(seconds * 1000)
    }

    fn asked_once(took: u64) -> PollPlan {
        let mut plan = PollPlan::new(INTERVAL);
        plan.begin(seconds(100 - took));
        plan.end(seconds(100), true);
        plan
    }

    #[test]
    fn first_query_is_due_at_once_even_if_idle() {
        assert_eq!(PollPlan::new(INTERVAL).due(Urgency::Idle), Some(Millis::default()));
    }

    #[test]
    fn interval_follows_urgency() {
        let mut plan = asked_once(0);
        assert_eq!(plan.due(Urgency::Idle), None);
        assert_eq!(plan.due(Urgency::Calm), Some(seconds(130)));
        assert_eq!(plan.due(Urgency::Brisk), Some(seconds(105)));
        plan.soon();
        // Never twice in an interval.
        assert_eq!(plan.due(Urgency::Calm), Some(seconds(105)));
    }

    #[test]
    fn only_one_query_runs() {
        let mut plan = asked_once(0);
        plan.begin(seconds(105));
        plan.soon();
        assert_eq!(plan.due(Urgency::Brisk), None);
    }

    #[test]
    fn slow_server_is_asked_less_often() {
        assert_eq!(asked_once(2).due(Urgency::Brisk), Some(seconds(118)));
    }

    #[test]
    fn a_query_is_overdue_while_it_runs_and_by_what_the_last_one_took() {
        let mut plan = asked_once(0);
        assert_eq!(plan.overdue(), None);
        plan.begin(seconds(105));
        assert_eq!(plan.overdue(), Some(seconds(110)));
        plan.end(seconds(109), true);
        assert_eq!(plan.overdue(), None);
        let mut plan = asked_once(4);
        plan.begin(seconds(200));
        assert_eq!(plan.overdue(), Some(seconds(212)), "a slow server is not a silent one");
    }

    #[test]
    fn one_slow_answer_does_not_make_a_slow_server() {
        let mut plan = asked_once(0);
        plan.begin(seconds(105));
        plan.end(seconds(165), true);
        assert_eq!(plan.due(Urgency::Brisk), Some(seconds(170)), "PBS was paused");
        plan.begin(seconds(170));
        plan.end(seconds(172), true);
        assert_eq!(plan.due(Urgency::Brisk), Some(seconds(172 + 18)));
    }

    #[test]
    fn failures_back_off_and_one_answer_ends_that() {
        let mut plan = asked_once(0);
        for wait in [10, 15, 15] {
            plan.begin(seconds(200));
            plan.end(seconds(200), false);
            assert_eq!(plan.due(Urgency::Brisk), Some(seconds(200 + wait)));
        }
        plan.begin(seconds(300));
        plan.end(seconds(300), true);
        assert_eq!(plan.due(Urgency::Brisk), Some(seconds(305)));
    }
}
