//! Owns the seam for whoever watches computations: a notebook shows how far they are. Whoever waits for results submits
//! through [`submit`]; without a watcher that costs nothing.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use crate::{
    engine::{Engine, EngineError, Finished, Progress, Running},
    stage::Plan,
};

/// How long one wait may last, so that whoever watches hears something meanwhile.
const TURN: Duration = Duration::from_millis(200);
/// How often the watcher hears.
const INTERVAL: Duration = Duration::from_millis(100);

/// Somebody who wants to know how far computations are.
pub trait Watch: Send + Sync {
    /// Whether and how this plan is followed. `tasks` is the number of tasks in its blocks, if people count those.
    fn follow(&self, plan: &Plan, tasks: Option<u64>, engine: &Arc<dyn Engine>) -> Option<Box<dyn Follow>>;
}

/// Follows one plan. Dropped with it, if nobody waits for its end.
pub trait Follow: Send {
    /// A few times a second while somebody waits.
    fn progress(&mut self, progress: &Progress);

    /// The plan has come to an end, an error being the reason. Called at most once.
    fn ended(&mut self, progress: &Progress, result: Result<(), &EngineError>);
}

static WATCH: RwLock<Option<Arc<dyn Watch>>> = RwLock::new(None);

/// Makes `watch` hear of every plan from now on, or nobody.
pub fn set_watch(watch: Option<Arc<dyn Watch>>) {
    *WATCH.write().unwrap_or_else(PoisonError::into_inner) = watch;
}

/// Hands a plan to an engine, and what becomes of it to whoever watches.
///
/// # Errors
/// As [`Engine::submit`].
pub fn submit(
    engine: &Arc<dyn Engine>,
    plan: Plan,
    tasks: Option<u64>,
) -> Result<Box<dyn Running>, EngineError> {
    let watch = WATCH.read().unwrap_or_else(PoisonError::into_inner).clone();
    let follow = watch.and_then(|watch| watch.follow(&plan, tasks, engine));
    let running = engine.submit(plan)?;
    Ok(match follow {
        Some(follow) => Box::new(Watched { running, follow: Some(follow), heard: Instant::now() }),
        None => running,
    })
}

struct Watched {
    running: Box<dyn Running>,
    /// Until the end.
    follow: Option<Box<dyn Follow>>,
    heard: Instant,
}

impl Running for Watched {
    fn next(&mut self, patience: Duration) -> Result<Finished, EngineError> {
        let next = self.running.next(patience.min(TURN));
        match &next {
            Ok(Finished::Block { .. } | Finished::Waiting { .. }) => {
                let now = Instant::now();
                if now - self.heard >= INTERVAL
                    && let Some(follow) = &mut self.follow
                {
                    self.heard = now;
                    follow.progress(&self.running.progress());
                }
            }
            Ok(Finished::End) => self.end(Ok(())),
            Err(error) => self.end(Err(error)),
        }
        next
    }

    fn cancel(&mut self) {
        self.end(Err(&EngineError::Cancelled));
        self.running.cancel();
    }

    fn progress(&self) -> Progress {
        self.running.progress()
    }
}

impl Watched {
    fn end(&mut self, result: Result<(), &EngineError>) {
        if let Some(mut follow) = self.follow.take() {
            follow.ended(&self.running.progress(), result);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::value::Value;

    struct Steps(u64);

    impl Running for Steps {
        fn next(&mut self, patience: Duration) -> Result<Finished, EngineError> {
            assert!(patience <= TURN, "a watched wait is short");
            self.0 += 1;
            match self.0 {
                1 => Ok(Finished::Block { stage: 0, block: 0, value: Value::default() }),
                2 => {
                    std::thread::sleep(INTERVAL);
                    Ok(Finished::Waiting { done: 1, total: 2 })
                }
                _ => Ok(Finished::End),
            }
        }

        fn cancel(&mut self) {}

        fn progress(&self) -> Progress {
            Progress { done: self.0, total: 2, ..Progress::default() }
        }
    }

    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<String>>>);

    impl Follow for Heard {
        fn progress(&mut self, progress: &Progress) {
            self.0.lock().unwrap().push(format!("{} of {}", progress.done, progress.total));
        }

        fn ended(&mut self, _: &Progress, result: Result<(), &EngineError>) {
            self.0.lock().unwrap().push(format!("{result:?}"));
        }
    }

    fn watched(heard: &Heard) -> Watched {
        let follow: Box<dyn Follow> = Box::new(heard.clone());
        Watched { running: Box::new(Steps(0)), follow: Some(follow), heard: Instant::now() }
    }

    #[test]
    fn whoever_watches_hears_of_the_way_and_of_the_end_once() {
        let heard = Heard::default();
        let mut running = watched(&heard);
        while running.next(Duration::from_secs(60)).unwrap() != Finished::End {}
        running.cancel();
        assert_eq!(*heard.0.lock().unwrap(), ["2 of 2", "Ok(())"]);
    }

    #[test]
    fn a_cancelled_plan_is_told_as_cancelled() {
        let heard = Heard::default();
        watched(&heard).cancel();
        assert_eq!(*heard.0.lock().unwrap(), ["Err(Cancelled)"]);
    }
}
