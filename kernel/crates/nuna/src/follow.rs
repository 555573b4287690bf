//! Owns what follows from the results of [`Tasks`]: further steps, a reduction to one result, and [`Task`], which has one
//! result.

use std::{marker::PhantomData, time::Duration};

use nuna_ship::{Call, Farm, Ship, ShipError};
use serde::{Serialize, de::DeserializeOwned};

use crate::tasks::{Tasks, TasksError};

/// One result to come: of [`submit`](crate::MapTasks::submit), or of a [reduction](Tasks::reduce). It starts with
/// [`start`](Self::start) or when the result is asked for. Dropping the last clone cancels.
pub struct Task<T> {
    tasks: Tasks<T>,
}

impl<T> Clone for Task<T> {
    fn clone(&self) -> Self {
        Task { tasks: self.tasks.clone() }
    }
}

impl<T: DeserializeOwned> Task<T> {
    /// The result. Waits for it; may be asked again.
    ///
    /// # Errors
    /// What the task failed with, or [`TasksError::Nothing`] where no parameters were reduced.
    pub fn result(&self) -> Result<T, TasksError> {
        let next = self.tasks.as_completed().next_indexed();
        next.map_or_else(|| Err(TasksError::Nothing { label: self.tasks.label() }), |(_, outcome)| outcome)
    }
}

impl<T> Task<T> {
    pub(crate) fn new(tasks: Tasks<T>) -> Self {
        Task { tasks }
    }

    /// Sends it off without waiting for the result.
    #[must_use]
    pub fn start(self) -> Self {
        Task { tasks: self.tasks.start() }
    }

    /// Further attempts for each call that panics or fails. Has no effect once it was started.
    #[must_use]
    pub fn retries(self, retries: u32) -> Self {
        Task { tasks: self.tasks.retries(retries) }
    }

    /// Runs before what has a lower one; see [`Tasks::priority`].
    #[must_use]
    pub fn priority(self, priority: i32) -> Self {
        Task { tasks: self.tasks.priority(priority) }
    }

    /// How long each attempt may run; see [`Tasks::timeout`].
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Task { tasks: self.tasks.timeout(timeout) }
    }

    /// What the dashboard and error messages call it.
    #[must_use]
    pub fn named(self, label: impl Into<String>) -> Self {
        Task { tasks: self.tasks.named(label) }
    }

    /// Calls `closure` with the result, on a worker; see [`Tasks::then`].
    #[must_use]
    pub fn then<R, F>(&self, closure: F) -> Task<R>
    where
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        F: Fn(T) -> R + Copy + Ship + 'static,
    {
        Task { tasks: self.tasks.then(closure) }
    }

    /// Whether the result has arrived. Does not wait.
    pub fn is_done(&self) -> bool {
        self.tasks.done() > 0
    }

    /// Stops it, if it has not run. A result that arrived stays.
    pub fn cancel(&self) {
        self.tasks.cancel();
    }
}

impl<T> Tasks<T> {
    /// Calls `closure` with each result, on the worker that made it: `T` never travels. A failed task stays failed, and the
    /// message names the step.
    ///
    /// Say it before the tasks start. These tasks stay as they are: if they are gathered too, they run for themselves.
    #[must_use]
    pub fn then<R, F>(&self, closure: F) -> Tasks<R>
    where
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        F: Fn(T) -> R + Copy + Ship + 'static,
    {
        self.followed(Call::over_tasks(closure), Farm::then)
    }

    /// Makes one result of all on the workers, by calls on pairs: neighbours in the order of the parameters, then pairs of
    /// pairs, and so on. Which pairs there are depends on the number of tasks alone, so that the result has the same bits
    /// however many workers there are. `closure` must not mind the grouping, as `+` does not.
    ///
    /// The first failed task fails the whole. Say it before the tasks start; see [`then`](Self::then).
    #[must_use]
    pub fn reduce<F>(&self, closure: F) -> Task<T>
    where
        T: Serialize + DeserializeOwned + 'static,
        F: Fn(T, T) -> T + Copy + Ship + 'static,
    {
        let call = Call::over_tasks(move |(left, right): (T, T)| closure(left, right));
        Task { tasks: self.followed(call, Farm::reduce) }
    }

    fn followed<R>(&self, call: Result<Call, ShipError>, how: fn(Farm, Call) -> Farm) -> Tasks<R> {
        self.extended(PhantomData, |farm, _| Ok(how(farm, call?)))
    }
}
