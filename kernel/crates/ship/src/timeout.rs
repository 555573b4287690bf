//! Owns limits on how long a call may run. Nothing can interrupt a closure from outside, so a block with a limit runs on a
//! thread of its own while the compute thread watches. A call that takes too long is left to its thread, counts as
//! failed, and the block goes on with a new thread at the call after it; what was done before is in a log and is not
//! run again.
//!
//! A thread that was left ends after its call, if that ever does. Until then it takes a core: whoever runs a worker asks
//! [`runaways`] and replaces the process when there are too many.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use nuna_plan::{TaskError, Value, meter};

use crate::{
    call::{Cause, TaskFault, TaskRoutine},
    panics,
};

/// As of compute threads.
const STACK_BYTES: usize = 8 << 20;

static RUNAWAYS: AtomicUsize = AtomicUsize::new(0);

/// Threads of this process that are still busy with a call that was given up.
pub fn runaways() -> usize {
    RUNAWAYS.load(Ordering::Relaxed)
}

/// How calls of a block are made.
pub(crate) enum Calls {
    /// One after another, however long they take.
    Unlimited,
    Limited(Limited),
}

/// The calls of one thread. After a call that was too long another thread begins the block again, and is given what is
/// in the log.
pub(crate) struct Limited {
    shared: Arc<Shared>,
    generation: u64,
    next: std::cell::Cell<usize>,
}

struct Shared {
    state: Mutex<State>,
    finished: Condvar,
    limit: Duration,
}

#[derive(Default)]
struct State {
    /// How the block's calls went, in order.
    log: Vec<Entry>,
    /// When the call that runs began.
    started: Option<Instant>,
    /// Threads of earlier generations were left.
    generation: u64,
    ended: Option<Result<Value, TaskError>>,
    read_bytes: u64,
}

#[derive(Clone)]
enum Entry {
    Done { consumed: usize, output: Vec<u8> },
    Failed { consumed: usize, fault: TaskFault },
    TimedOut,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Calls {
    pub(crate) fn run(
        &self,
        routine: &dyn TaskRoutine,
        input: &mut &[u8],
        output: &mut Vec<u8>,
    ) -> Result<(), TaskFault> {
        match self {
            Self::Unlimited => routine.run(input, output),
            Self::Limited(calls) => calls.run(routine, input, output),
        }
    }
}

impl Limited {
    fn run(
        &self,
        routine: &dyn TaskRoutine,
        input: &mut &[u8],
        output: &mut Vec<u8>,
    ) -> Result<(), TaskFault> {
        let number = self.next.replace(self.next.get() + 1);
        {
            let mut state = self.shared.lock();
            if let Some(entry) = state.log.get(number).cloned() {
                drop(state);
                return self.again(entry, routine, input, output);
            }
            state.started = Some(Instant::now());
        }
        let (before, from) = (*input, output.len());
        let result = routine.run(input, output);
        let consumed = before.len() - input.len();
        let mut state = self.shared.lock();
        if state.generation != self.generation {
            return Err(TaskFault::left());
        }
        state.started = None;
        state.log.push(match &result {
            Ok(()) => Entry::Done { consumed, output: output[from..].to_vec() },
            Err(fault) => Entry::Failed { consumed, fault: fault.clone() },
        });
        result
    }

    /// What came of a call the first time.
    fn again(
        &self,
        entry: Entry,
        routine: &dyn TaskRoutine,
        input: &mut &[u8],
        output: &mut Vec<u8>,
    ) -> Result<(), TaskFault> {
        match entry {
            Entry::Done { consumed, output: bytes } => {
                *input = input.get(consumed..).unwrap_or_default();
                output.extend_from_slice(&bytes);
                Ok(())
            }
            Entry::Failed { consumed, fault } => {
                *input = input.get(consumed..).unwrap_or_default();
                Err(fault)
            }
            Entry::TimedOut => {
                let parameter = routine.skip(input)?;
                let message = format!("timed out, as it ran for more than {:?}", self.shared.limit);
                Err(TaskFault { message, location: None, parameter, cause: Cause::TimedOut })
            }
        }
    }
}

/// Runs a block whose calls may each take `limit`.
///
/// # Errors
/// What `run` ended with, or if the system has no threads left.
pub(crate) fn within(
    limit: Duration,
    run: impl Fn(&Calls) -> Result<Value, TaskError> + Clone + Send + 'static,
) -> Result<Value, TaskError> {
    let shared = Arc::new(Shared { state: Mutex::default(), finished: Condvar::new(), limit });
    start(&shared, 0, run.clone())?;
    let mut state = shared.lock();
    loop {
        if let Some(ended) = state.ended.take() {
            meter::add_read_bytes(state.read_bytes);
            return ended;
        }
        let left = state.started.map_or(limit, |at| limit.saturating_sub(at.elapsed()));
        if left.is_zero() {
            state.started = None;
            state.log.push(Entry::TimedOut);
            state.generation += 1;
            let generation = state.generation;
            RUNAWAYS.fetch_add(1, Ordering::Relaxed);
            drop(state);
            start(&shared, generation, run.clone())?;
            state = shared.lock();
            continue;
        }
        state = shared.finished.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
    }
}

fn start(
    shared: &Arc<Shared>,
    generation: u64,
    run: impl Fn(&Calls) -> Result<Value, TaskError> + Send + 'static,
) -> Result<(), TaskError> {
    let shared = Arc::clone(shared);
    let work = move || {
        let calls =
            Calls::Limited(Limited { shared: Arc::clone(&shared), generation, next: Default::default() });
        let ended = panics::catch(|| run(&calls)).unwrap_or_else(|panicked| Err(panicked.into()));
        let mut state = shared.lock();
        if state.generation == generation {
            state.read_bytes = meter::take_read_bytes();
            state.ended = Some(ended);
            shared.finished.notify_one();
        } else {
            RUNAWAYS.fetch_sub(1, Ordering::Relaxed);
        }
    };
    let thread = std::thread::Builder::new().name("task".to_owned()).stack_size(STACK_BYTES).spawn(work);
    thread.map(drop).map_err(|error| {
        TaskError::transient(format!("no thread can be started for tasks with a timeout: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32};

    use nuna_plan::Stage;

    use super::*;
    use crate::{Call, Failure, Farm, FarmOptions, executor, outcomes};

    const LIMIT: Duration = Duration::from_millis(700);

    fn plan(farm: Farm, retries: u32) -> Vec<Stage> {
        let (label, timeout) = ("slow".to_owned(), Some(LIMIT));
        let options = FarmOptions {
            label,
            retries,
            timeout,
            thread_count: 1,
            batch: Some(8),
            origin: None,
            terms: Default::default(),
        };
        farm.plan(&options).unwrap().0.stages
    }

    fn run(stages: &[Stage]) -> Vec<Result<u64, Failure>> {
        let prepared = executor().prepare(&stages[0]).unwrap();
        outcomes(&prepared.run(0, Vec::new()).unwrap()).unwrap()
    }

    #[test]
    fn a_call_that_is_too_long_fails_alone_and_its_thread_ends_when_it_does() {
        static STUCK: AtomicBool = AtomicBool::new(true);
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let call = Call::over_tasks(|x: u64| {
            CALLS.fetch_add(1, Ordering::Relaxed);
            while x == 2 && STUCK.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
            x * 10
        });
        let farm = Farm::new(call.unwrap(), 0..5_u64).unwrap();
        let farm = farm.then(Call::over_tasks(|x: u64| x + 1).unwrap());
        let results = run(&plan(farm, 1));
        let done: Vec<u64> = results.iter().flatten().copied().collect();
        assert_eq!(done, [1, 11, 31, 41]);
        let failure = results[2].as_ref().unwrap_err();
        assert!(failure.timed_out && !failure.panicked && failure.attempts == 2, "{failure:?}");
        let text = failure.to_string();
        assert!(text.starts_with("failed: timed out, as it ran for more than 700ms"), "{text}");
        assert!(text.ends_with("with parameter 2, 2 times"), "{text}");
        assert_eq!(CALLS.load(Ordering::Relaxed), 6, "four once, one twice");
        assert_eq!(runaways(), 2);
        STUCK.store(false, Ordering::Relaxed);
        while runaways() > 0 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_second_attempt_may_be_in_time() {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let call = Call::over_tasks(|x: u64| {
            if CALLS.fetch_add(1, Ordering::Relaxed) == 0 {
                std::thread::sleep(LIMIT * 2);
            }
            x
        });
        let farm = Farm::new(call.unwrap(), [7_u64]).unwrap();
        assert_eq!(run(&plan(farm, 1)), [Ok(7)]);
    }

    #[test]
    fn a_panic_within_the_limit_stays_a_panic() {
        let call = Call::over_tasks(|x: u64| 10 / x);
        let results = run(&plan(Farm::new(call.unwrap(), 0..3_u64).unwrap(), 0));
        assert!(results[0].as_ref().unwrap_err().panicked);
        assert_eq!(results[1..], [Ok(10), Ok(5)]);
    }
}
