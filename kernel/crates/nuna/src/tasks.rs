//! Owns [`Tasks`]: the same closure over many parameters, and its results as they come in.
//!
//! Results are kept as the bytes that arrived and decoded when asked for, so a handle can be cloned, kept in a
//! notebook variable and gathered twice, whatever `T` is.

use std::{
    collections::VecDeque,
    marker::PhantomData,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nuna_plan::{Engine, EngineError, Finished, Running, Terms, Value};
use nuna_ship::{Call, Failure, Farm, FarmOptions, Layout, Number, Scattered, Ship, ShipError, scatter};
use serde::{Serialize, de::DeserializeOwned};

use crate::follow::Task;

/// How long one look for results may hold the lock; also how fast an interrupt is noticed.
const PATIENCE: Duration = Duration::from_millis(50);

/// Results of one closure over many parameters. They start with [`start`](Self::start) or when the first result is
/// asked for, so that [`retries`](Self::retries) and the like can still be set. Dropping the last clone cancels.
pub struct Tasks<T> {
    state: Arc<Mutex<State>>,
    result: PhantomData<fn() -> T>,
}

impl<T> Clone for Tasks<T> {
    fn clone(&self) -> Self {
        Tasks { state: Arc::clone(&self.state), result: PhantomData }
    }
}

/// Why tasks gave no result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TasksError {
    /// One task failed at every attempt; `key` is `label[i]`.
    #[error("task {key} {failure}")]
    Task { key: String, index: u64, failure: Failure },
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The closure or its parameters cannot be sent.
    #[error(transparent)]
    Ship(#[from] Arc<ShipError>),
    /// There is no result, as there were no parameters.
    #[error("`{label}` has no result, as it was given no parameters")]
    Nothing { label: String },
    /// What should follow was said too late.
    #[error(
        "tasks `{label}` have started already; say `.then(…)` or `.reduce(…)` before `.start()` and before their first result is asked for"
    )]
    Started { label: String },
    /// Some tasks failed; the rows of the others are written.
    #[error("tasks `{label}` are not complete: {written}; `.partial()` takes what is there")]
    Incomplete { label: String, written: Box<crate::Written> },
    /// A part of the results cannot be written.
    #[error("{message}")]
    Unwritten { message: String },
    #[error("tasks `{label}` cannot be read back: {message}")]
    Unreadable { label: String, message: String },
    #[error(
        "interrupted while waiting for `{label}` ({done} of {total} blocks are done); the tasks go on, ask again to see their results"
    )]
    Interrupted { label: String, done: u64, total: u64 },
}

impl From<ShipError> for TasksError {
    fn from(error: ShipError) -> Self {
        TasksError::Ship(Arc::new(error))
    }
}

struct State {
    engine: Arc<dyn Engine>,
    options: FarmOptions,
    stage: Stage,
    task_count: u64,
}

/// From packed to done.
enum Stage {
    /// Nothing was sent yet. `None` only while it is being sent.
    Packed(Option<Box<Farm>>),
    Under {
        running: Option<Box<dyn Running>>,
        received: Received,
        done: u64,
        total: u64,
    },
    Failed(TasksError),
}

struct Received {
    layout: Layout,
    /// Blocks in order of completion, with their values.
    blocks: Vec<(u64, Value)>,
}

impl<T: DeserializeOwned> Tasks<T> {
    /// All results, in the order of the parameters. Waits for the last one.
    ///
    /// # Errors
    /// The first task that failed at every attempt; [`outcomes`](Self::outcomes) gives the others' results too.
    pub fn gather(&self) -> Result<Vec<T>, TasksError> {
        self.outcomes()?.into_iter().collect()
    }

    /// Every task's result or failure, in the order of the parameters. Waits for the last one.
    ///
    /// # Errors
    /// If the computation as a whole did not come to its end.
    pub fn outcomes(&self) -> Result<Vec<Result<T, TasksError>>, TasksError> {
        let mut completed = self.as_completed();
        let mut outcomes: Vec<Option<Result<T, TasksError>>> = (0..self.len()).map(|_| None).collect();
        while let Some((index, outcome)) = completed.next_indexed() {
            match (outcome, outcomes.get_mut(index as usize)) {
                (Err(error), _) if !matches!(error, TasksError::Task { .. }) => return Err(error),
                (outcome, Some(place)) => *place = Some(outcome),
                (_, None) => {}
            }
        }
        let label = lock(&self.state).options.label.clone();
        let missing =
            || TasksError::Unreadable { label: label.clone(), message: "a result is missing".to_owned() };
        outcomes.into_iter().map(|outcome| outcome.ok_or_else(missing)).collect()
    }

    /// Results in order of completion. Each call starts from the first again.
    pub fn as_completed(&self) -> AsCompleted<T> {
        AsCompleted { tasks: self.clone(), next_block: 0, decoded: VecDeque::new(), ended: false }
    }
}

impl<T> Tasks<T> {
    fn new(engine: Arc<dyn Engine>, farm: Result<Farm, ShipError>, label: String) -> Self {
        let thread_count = engine.thread_count();
        let options = FarmOptions {
            label,
            retries: 0,
            timeout: None,
            thread_count,
            batch: None,
            origin: crate::session::origin(),
            terms: Terms::default(),
        };
        let (stage, task_count) = match farm {
            Ok(farm) => {
                let count = farm.task_count();
                (Stage::Packed(Some(Box::new(farm))), count)
            }
            Err(error) => (Stage::Failed(error.into()), 0),
        };
        Tasks {
            state: Arc::new(Mutex::new(State { engine, options, stage, task_count })),
            result: PhantomData,
        }
    }

    /// Tasks of their own: these ones' parameters and calls, and what `extend` adds to them.
    pub(crate) fn extended<R>(
        &self,
        result: PhantomData<fn() -> R>,
        extend: impl FnOnce(Farm, &FarmOptions) -> Result<Farm, TasksError>,
    ) -> Tasks<R> {
        let state = lock(&self.state);
        let options = state.options.clone();
        let farm = match &state.stage {
            Stage::Packed(Some(farm)) => extend(Farm::clone(farm), &options),
            Stage::Failed(error) => Err(error.clone()),
            Stage::Packed(None) | Stage::Under { .. } => {
                Err(TasksError::Started { label: options.label.clone() })
            }
        };
        let (stage, task_count) = match farm {
            Ok(farm) => {
                let count = farm.result_count();
                (Stage::Packed(Some(Box::new(farm))), count)
            }
            Err(error) => (Stage::Failed(error), 0),
        };
        let engine = Arc::clone(&state.engine);
        Tasks { state: Arc::new(Mutex::new(State { engine, options, stage, task_count })), result }
    }

    /// Further attempts for a task that panics or fails. Has no effect on tasks that were started.
    #[must_use]
    pub fn retries(self, retries: u32) -> Self {
        lock(&self.state).options.retries = retries;
        self
    }

    /// How long each attempt may run, from its start on a worker; without it, as long as it takes. One that takes longer
    /// counts as failed, so [`retries`](Self::retries) apply, and its error has `failure.timed_out`. With
    /// [`then`](Self::then) and [`reduce`](Self::reduce) the limit is for each call.
    ///
    /// Nothing can stop a closure from outside: its thread is left alone, another takes its place, and it ends when the
    /// closure does. A worker on which as many calls of that kind still run as it has threads finishes what else it
    /// has and is replaced. Has no effect on tasks that were started.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        // No call could be that quick, and a limit of nothing must not mean none.
        lock(&self.state).options.timeout = Some(timeout.max(Duration::from_millis(1)));
        self
    }

    /// Tasks of higher priority run first, whoever started when; 0 if not said, -1000 at least and 1000 at most. Among
    /// equals the notebooks and programs that use the cluster take turns, then the task sets and computations of each.
    /// What runs already is not interrupted. Has no effect on tasks that were started.
    #[must_use]
    pub fn priority(self, priority: i32) -> Self {
        lock(&self.state).options.terms.priority = priority;
        self
    }

    /// Each task takes so many of something for as long as it runs: what each worker has (`Cluster::local().resource("gpu", 1)`),
    /// or what all have together (`.shared_resource("licence", 5)`). Never more is in use than there is. It is an error when
    /// the tasks start if no worker, or not even the whole cluster, has so many. What a task that was cancelled or has
    /// timed out still uses is not counted any more. Has no effect on tasks that were started.
    #[must_use]
    pub fn needs(self, name: impl Into<String>, amount: u32) -> Self {
        let name = name.into();
        let mut state = lock(&self.state);
        let needs = &mut state.options.terms.needs;
        needs.retain(|(known, _)| *known != name);
        needs.push((name, amount));
        drop(state);
        self
    }

    /// Fire and forget: sends the tasks off for what they do, not for their results. They go on when this handle is gone, the
    /// notebook's kernel ends, or the connection is lost, for as long as the cluster is there. The dashboard shows them.
    ///
    /// Results are dropped, and so are failures of tasks: let the tasks write what matters, or say
    /// [`to_csv`](Self::to_csv) first, which writes failures too.
    ///
    /// # Errors
    /// If the tasks cannot be sent, have started already, or are refused at once.
    pub fn detach(self) -> Result<(), TasksError> {
        let mut state = lock(&self.state);
        let label = state.options.label.clone();
        if matches!(state.stage, Stage::Under { .. }) {
            return Err(TasksError::Started { label });
        }
        state.options.terms.detached = true;
        state.submit();
        // Refusals come with the first answer; nobody waits for the tasks.
        let looked = state.pump(PATIENCE);
        match looked {
            Err(TasksError::Unreadable { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Tasks sent together; by default so many that workers stay busy and messages few.
    #[must_use]
    pub fn batch(self, tasks: u64) -> Self {
        lock(&self.state).options.batch = Some(tasks.max(1));
        self
    }

    /// What the dashboard and error messages call them.
    #[must_use]
    pub fn named(self, label: impl Into<String>) -> Self {
        lock(&self.state).options.label = label.into();
        self
    }

    /// Sends them off without waiting for results.
    #[must_use]
    pub fn start(self) -> Self {
        lock(&self.state).submit();
        self
    }

    /// How many tasks there are.
    pub fn len(&self) -> usize {
        lock(&self.state).task_count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the dashboard and error messages call them.
    pub fn label(&self) -> String {
        lock(&self.state).options.label.clone()
    }

    /// Whether they were sent off.
    pub fn is_started(&self) -> bool {
        !matches!(lock(&self.state).stage, Stage::Packed(_))
    }

    /// What ended them before their end, if something did.
    pub fn failure(&self) -> Option<TasksError> {
        match &lock(&self.state).stage {
            Stage::Failed(error) => Some(error.clone()),
            Stage::Packed(_) | Stage::Under { .. } => None,
        }
    }

    /// Tasks whose results have arrived.
    pub fn done(&self) -> usize {
        let mut state = lock(&self.state);
        let _ = state.pump(Duration::ZERO);
        match &state.stage {
            Stage::Packed(_) | Stage::Failed(_) => 0,
            Stage::Under { received, .. } => received.task_count() as usize,
        }
    }

    /// Stops what has not started. Results that arrived stay; waiting for the others fails.
    pub fn cancel(&self) {
        let mut state = lock(&self.state);
        match &mut state.stage {
            Stage::Under { running, .. } => {
                if let Some(running) = running {
                    running.cancel();
                }
            }
            Stage::Packed(_) => state.stage = Stage::Failed(EngineError::Cancelled.into()),
            Stage::Failed(_) => {}
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Received {
    fn task_count(&self) -> u64 {
        self.blocks
            .iter()
            .map(|&(block, _)| self.layout.tasks(block))
            .map(|tasks| tasks.end - tasks.start)
            .sum()
    }
}

impl State {
    fn submit(&mut self) {
        let Stage::Packed(farm) = &mut self.stage else { return };
        let Some(farm) = farm.take() else { return };
        let task_count = farm.task_count();
        // Until the scheduler knows that the plan reads them.
        let _scattered = farm.scattered();
        self.stage = match farm.plan(&self.options) {
            Err(error) => Stage::Failed(error.into()),
            Ok((_, layout)) if layout.block_count() == 0 => Stage::Under {
                running: None,
                received: Received { layout, blocks: Vec::new() },
                done: 0,
                total: 0,
            },
            Ok((plan, layout)) => {
                let total = plan.block_count();
                match nuna_plan::watch::submit(&self.engine, plan, Some(task_count)) {
                    Err(error) => Stage::Failed(error.into()),
                    Ok(running) => Stage::Under {
                        running: Some(running),
                        received: Received { layout, blocks: Vec::new() },
                        done: 0,
                        total,
                    },
                }
            }
        };
    }

    /// Takes in what has arrived; waits at most `patience` for more.
    fn pump(&mut self, patience: Duration) -> Result<(), TasksError> {
        let label = self.options.label.clone();
        let error = match &mut self.stage {
            Stage::Packed(_) => return Ok(()),
            Stage::Failed(error) => return Err(error.clone()),
            Stage::Under { running: None, .. } => return Ok(()),
            Stage::Under { running: slot @ Some(_), received, done, total } => {
                let Some(running) = slot else { return Ok(()) };
                let mut patience = patience;
                loop {
                    match running.next(patience) {
                        Ok(Finished::Block { block, value, .. }) => {
                            received.blocks.push((block, value));
                            *done += 1;
                            // Whatever else is there comes along without waiting for it.
                            patience = Duration::ZERO;
                        }
                        Ok(Finished::Waiting { done: so_far, total: of }) => {
                            (*done, *total) = (so_far, of);
                            return Ok(());
                        }
                        Ok(Finished::End) => {
                            *slot = None;
                            let arrived = received.blocks.len() as u64;
                            let wanted = received.layout.block_count();
                            if arrived == wanted {
                                return Ok(());
                            }
                            let message = format!("{arrived} of {wanted} blocks arrived");
                            break TasksError::Unreadable { label, message };
                        }
                        Err(error) => break error.into(),
                    }
                }
            }
        };
        self.stage = Stage::Failed(error.clone());
        Err(error)
    }

    /// The block that completed as number `position`: `Some(None)` if there will be none, `None` if not yet.
    fn completed(&self, position: usize) -> Option<Option<(Layout, u64, Value)>> {
        match &self.stage {
            Stage::Packed(_) | Stage::Failed(_) => None,
            Stage::Under { running, received, .. } => match received.blocks.get(position) {
                Some((block, value)) => Some(Some((received.layout, *block, value.clone()))),
                None if running.is_none() => Some(None),
                None => None,
            },
        }
    }

    fn progress(&self) -> (u64, u64) {
        match &self.stage {
            Stage::Packed(_) | Stage::Failed(_) => (0, 0),
            Stage::Under { done, total, .. } => (*done, *total),
        }
    }
}

/// Iterates over results as they arrive; see [`Tasks::as_completed`].
pub struct AsCompleted<T> {
    tasks: Tasks<T>,
    next_block: usize,
    decoded: VecDeque<(u64, Result<T, TasksError>)>,
    ended: bool,
}

impl<T: DeserializeOwned> AsCompleted<T> {
    /// The next result with the number of its parameter. An error that concerns all tasks ends the iteration.
    pub fn next_indexed(&mut self) -> Option<(u64, Result<T, TasksError>)> {
        loop {
            if let Some(next) = self.decoded.pop_front() {
                return Some(next);
            }
            if self.ended {
                return None;
            }
            match self.next_block() {
                Ok(Some((layout, block, value, label))) => {
                    self.next_block += 1;
                    if let Err(error) = self.decode(layout, block, &value, &label) {
                        self.ended = true;
                        return Some((layout.tasks(block).start, Err(error)));
                    }
                }
                Ok(None) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    return Some((0, Err(error)));
                }
            }
        }
    }

    /// Pairs of parameter number and result.
    pub fn indexed(mut self) -> impl Iterator<Item = (u64, Result<T, TasksError>)> {
        std::iter::from_fn(move || self.next_indexed())
    }

    fn next_block(&self) -> Result<Option<(Layout, u64, Value, String)>, TasksError> {
        lock(&self.tasks.state).submit();
        loop {
            let mut state = lock(&self.tasks.state);
            let label = state.options.label.clone();
            if let Some(completed) = state.completed(self.next_block) {
                return Ok(completed.map(|(layout, block, value)| (layout, block, value, label)));
            }
            if crate::session::interrupted() {
                let (done, total) = state.progress();
                return Err(TasksError::Interrupted { label, done, total });
            }
            state.pump(PATIENCE)?;
        }
    }

    fn decode(&mut self, layout: Layout, block: u64, value: &Value, label: &str) -> Result<(), TasksError> {
        let unreadable = |message: String| TasksError::Unreadable { label: label.to_owned(), message };
        let outcomes = nuna_ship::outcomes::<T>(value).map_err(|error| unreadable(error.message))?;
        let tasks = layout.tasks(block);
        if outcomes.len() as u64 != tasks.end - tasks.start {
            return Err(unreadable(format!("block {block} holds {} results", outcomes.len())));
        }
        self.decoded.extend(tasks.zip(outcomes).map(|(index, outcome)| {
            let key = || format!("{label}[{index}]");
            (index, outcome.map_err(|failure| TasksError::Task { key: key(), index, failure }))
        }));
        Ok(())
    }
}

impl<T: DeserializeOwned> Iterator for AsCompleted<T> {
    type Item = Result<T, TasksError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_indexed().map(|(_, outcome)| outcome)
    }
}

/// What can run a closure over many parameters: a [`Cluster`](crate::Cluster), or any engine. In the prelude.
pub trait MapTasks {
    /// Where the tasks will run.
    fn task_engine(&self) -> Arc<dyn Engine>;

    /// Runs `closure` once for each of `parameters`, on the workers. It may capture plain `Copy` values; a panic
    /// fails its task alone.
    fn map<P, R, F>(&self, parameters: impl IntoIterator<Item = P>, closure: F) -> Tasks<R>
    where
        P: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        F: Fn(P) -> R + Copy + Ship + 'static,
    {
        let farm = farm(|| Call::over_tasks(closure), parameters);
        Tasks::new(self.task_engine(), farm, label_of::<F>())
    }

    /// Runs `closure` once, on a worker, and starts it at once: for work that comes up piece by piece. For many pieces
    /// known beforehand [`map`](Self::map) costs far fewer messages.
    fn submit<P, R, F>(&self, parameter: P, closure: F) -> Task<R>
    where
        P: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        F: Fn(P) -> R + Copy + Ship + 'static,
    {
        let farm = farm(|| Call::over_tasks(closure), [parameter]);
        Task::new(Tasks::new(self.task_engine(), farm, label_of::<F>())).start()
    }

    /// [`map`](Self::map) for a closure that can fail; its error is the task's failure, and counts as an attempt.
    fn try_map<P, R, E, F>(&self, parameters: impl IntoIterator<Item = P>, closure: F) -> Tasks<R>
    where
        P: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        E: std::fmt::Display + 'static,
        F: Fn(P) -> Result<R, E> + Copy + Ship + 'static,
    {
        let shell = move |(): &(), parameter: P| closure(parameter).map_err(|error| format!("{error:#}"));
        let farm = farm(|| Call::over_tasks_with(&(), shell), parameters);
        Tasks::new(self.task_engine(), farm, label_of::<F>())
    }

    /// [`map`](Self::map) for a closure that needs what cannot travel as bytes: `environment` is serialised once, and each
    /// call is lent the worker's copy. [`captures!`](crate::captures) makes one from a list of variables.
    fn map_with<C, P, R, F>(
        &self,
        environment: C,
        parameters: impl IntoIterator<Item = P>,
        closure: F,
    ) -> Tasks<R>
    where
        C: Serialize + DeserializeOwned + Send + Sync + 'static,
        P: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        F: Fn(&C, P) -> R + Copy + Ship + 'static,
    {
        let shell = move |environment: &C, parameter: P| Ok(closure(environment, parameter));
        let farm = farm(|| Call::over_tasks_with(&environment, shell), parameters);
        Tasks::new(self.task_engine(), farm, label_of::<F>())
    }

    /// Brings `value` to the workers, for tasks to read: it travels once to each worker that needs it, not with every task
    /// set. Hand the handle to tasks with [`map_with`](Self::map_with), or as a part of their parameters; there it is the
    /// value. Waits until a worker has it.
    ///
    /// ```text
    /// let table = cluster.scatter(table)?;
    /// let sums = cluster.map_with(captures!(table), 0..1000, |table, i: usize| table[i] * 2.0);
    /// ```
    ///
    /// A worker has it twice: as it travelled, which is counted in its memory and may go to disk, and as the tasks read
    /// it. It is freed when the last handle and the last task set that reads it are gone. If its worker is lost it is
    /// sent again.
    ///
    /// # Errors
    /// If it cannot be serialised, takes more than 192 MiB, or no worker has the memory for it.
    fn scatter<T>(&self, value: T) -> Result<Scattered<T>, TasksError>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let engine = self.task_engine();
        let (plan, scattered) = Scattered::new(&value, Arc::clone(&engine), crate::session::origin())?;
        // Its place is better used for the copy that travels.
        drop(value);
        travel(engine.as_ref(), plan).map(|()| scattered)
    }

    /// As [`scatter`](Self::scatter), of numbers: tasks get a `Scattered<[f64]>` and read the numbers where they arrived. All worker
    /// processes of the node that has them read the same memory; only those of other nodes have a copy each.
    ///
    /// ```text
    /// let table = cluster.scatter_numbers(&table)?;
    /// let sums = cluster.map_with(captures!(table), 0..1000, |table, i: usize| table[i] * 2.0);
    /// ```
    ///
    /// # Errors
    /// As of [`scatter`](Self::scatter).
    fn scatter_numbers<T: Number>(&self, numbers: &[T]) -> Result<Scattered<[T]>, TasksError> {
        let engine = self.task_engine();
        let origin = crate::session::origin();
        let (plan, scattered) = Scattered::of_numbers(numbers, Arc::clone(&engine), origin)?;
        travel(engine.as_ref(), plan).map(|()| scattered)
    }

    /// [`map_with`](Self::map_with) for a closure that can fail.
    fn try_map_with<C, P, R, E, F>(
        &self,
        environment: C,
        parameters: impl IntoIterator<Item = P>,
        closure: F,
    ) -> Tasks<R>
    where
        C: Serialize + DeserializeOwned + Send + Sync + 'static,
        P: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        E: std::fmt::Display + 'static,
        F: Fn(&C, P) -> Result<R, E> + Copy + Ship + 'static,
    {
        let shell = move |environment: &C, parameter: P| {
            closure(environment, parameter).map_err(|error| format!("{error:#}"))
        };
        let farm = farm(|| Call::over_tasks_with(&environment, shell), parameters);
        Tasks::new(self.task_engine(), farm, label_of::<F>())
    }
}

/// Waits until a worker has what a plan brings.
fn travel(engine: &dyn Engine, plan: nuna_plan::Plan) -> Result<(), TasksError> {
    let label = plan.label.clone();
    let mut running = engine.submit(plan)?;
    loop {
        match running.next(PATIENCE)? {
            Finished::End => return Ok(()),
            Finished::Waiting { done, total } if crate::session::interrupted() => {
                return Err(TasksError::Interrupted { label, done, total });
            }
            Finished::Waiting { .. } | Finished::Block { .. } => {}
        }
    }
}

/// The closure and its parameters, packed, with the scattered values that are among them.
fn farm<P: Serialize>(
    call: impl FnOnce() -> Result<Call, ShipError>,
    parameters: impl IntoIterator<Item = P>,
) -> Result<Farm, ShipError> {
    let (farm, scattered) = scatter::collecting(|| Farm::new(call()?, parameters));
    Ok(farm?.reading(scattered))
}

impl MapTasks for crate::Cluster {
    fn task_engine(&self) -> Arc<dyn Engine> {
        self.engine()
    }
}

impl MapTasks for Arc<dyn Engine> {
    fn task_engine(&self) -> Arc<dyn Engine> {
        Arc::clone(self)
    }
}

/// A function's own name; closures have none.
fn label_of<F>() -> String {
    let name = std::any::type_name::<F>();
    match name.rsplit("::").next() {
        Some(last) if !last.contains(['{', '<', '>']) => last.to_owned(),
        _ => "map".to_owned(),
    }
}

/// Lists what a closure needs besides plain values: `captures!(a, b)` clones them into a tuple for
/// [`MapTasks::map_with`], which lends it to a closure written `|(a, b), parameter| …`.
#[macro_export]
macro_rules! captures {
    ($only:ident $(,)?) => { $only.clone() };
    ($($name:ident),+ $(,)?) => { ($($name.clone(),)+) };
}
