//! Owns [`ThreadEngine`]: plans run on threads of this process, without a cluster. Blocks that finish a reduction run
//! before new ones are started, and what nobody will read any more is freed at once.

use std::{
    any::Any,
    collections::{BinaryHeap, HashMap, HashSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use nuna_plan::{
    Engine, EngineError, Executor, Finished, HeldId, Keep, Plan, Prepared, Progress, Running, Source,
    TaskError, Value, WorkKind,
};

use crate::executor::executor;

/// An engine made of threads of this process.
pub struct ThreadEngine {
    threads: usize,
    held: Arc<Mutex<HeldBlocks>>,
    next_held: AtomicU64,
}

#[derive(Default)]
struct HeldBlocks {
    stages: HashMap<HeldId, HashMap<u64, Value>>,
    /// Released while their plan still ran.
    released: HashSet<HeldId>,
}

impl ThreadEngine {
    /// An engine with `threads` compute threads, at least one. They are started per plan.
    pub fn new(threads: usize) -> Self {
        Self { threads: threads.max(1), held: Arc::default(), next_held: AtomicU64::new(1) }
    }
}

impl Engine for ThreadEngine {
    fn submit(&self, plan: Plan) -> Result<Box<dyn Running>, EngineError> {
        plan.validate()?;
        for stage in &plan.stages {
            for input in &stage.inputs {
                if let Source::Held(id) = input.source
                    && !lock(&self.held).stages.contains_key(&id)
                {
                    return Err(EngineError::Refused(format!(
                        "stage `{}` reads persisted blocks {} that this process does not hold any more; persist them again",
                        stage.name, id.0
                    )));
                }
            }
        }
        let run = Arc::new(Run {
            state: Mutex::new(State::new(&plan)),
            changed: Condvar::new(),
            held: self.held.clone(),
            plan,
        });
        for number in 0..self.threads {
            let run = run.clone();
            thread::Builder::new()
                .name(format!("compute {number}"))
                .spawn(move || {
                    // A fault of the engine itself must not leave anyone waiting for a thread that is gone.
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run.work(number))) {
                        let message = format!(
                            "a compute thread of this process broke: {}",
                            panic_message(panic.as_ref())
                        );
                        lock(&run.state).failed.get_or_insert(EngineError::Refused(message));
                        run.changed.notify_all();
                    }
                })
                .map_err(|error| EngineError::Refused(format!("cannot start a compute thread: {error}")))?;
        }
        Ok(Box::new(ThreadRun { run }))
    }

    fn new_held_id(&self) -> HeldId {
        HeldId(self.next_held.fetch_add(1, Relaxed))
    }

    fn release(&self, held: HeldId) {
        let mut blocks = lock(&self.held);
        blocks.stages.remove(&held);
        blocks.released.insert(held);
    }

    fn thread_count(&self) -> usize {
        self.threads
    }

    fn describe(&self) -> String {
        format!("{} threads of this process", self.threads)
    }
}

struct Run {
    plan: Plan,
    state: Mutex<State>,
    changed: Condvar,
    held: Arc<Mutex<HeldBlocks>>,
}

type Opened = Result<Arc<dyn Prepared>, TaskError>;

struct State {
    stages: Vec<StageState>,
    /// Blocks whose inputs are there: later stages first, then in order.
    ready: BinaryHeap<(u32, std::cmp::Reverse<u64>)>,
    delivered: VecDeque<(u32, u64, Value)>,
    done: u64,
    total: u64,
    read_bytes: u64,
    failed: Option<EngineError>,
    cancelled: bool,
}

struct StageState {
    /// The next block to start of a stage that waits for nothing; `None` if blocks become ready one by one.
    cursor: Option<u64>,
    count: u64,
    done: u64,
    /// For each block, inputs that are not there yet.
    unmet: Vec<u64>,
    values: HashMap<u64, (Value, u64)>,
    /// Stages that read this one, and through which input.
    readers: Vec<(usize, usize)>,
    prepared: Option<Opened>,
}

impl State {
    fn new(plan: &Plan) -> Self {
        let mut ready = BinaryHeap::new();
        let mut stages: Vec<StageState> = Vec::new();
        for (number, stage) in plan.stages.iter().enumerate() {
            let count = stage.grid.count();
            let waits = stage.inputs.iter().any(|i| matches!(i.source, Source::Stage(_)));
            let mut unmet = Vec::new();
            if waits {
                for block in 0..count {
                    let reads = |input: &nuna_plan::Input| match input.source {
                        Source::Stage(_) => input.map.read_count(&stage.grid, block),
                        Source::Held(_) => 0,
                    };
                    let missing = stage.inputs.iter().map(reads).sum();
                    if missing == 0 {
                        ready.push((number as u32, std::cmp::Reverse(block)));
                    }
                    unmet.push(missing);
                }
            }
            for (input, source) in stage.inputs.iter().enumerate() {
                if let Source::Stage(source) = source.source {
                    stages[source as usize].readers.push((number, input));
                }
            }
            let cursor = (!waits).then_some(0);
            stages.push(StageState {
                cursor,
                count,
                done: 0,
                unmet,
                values: HashMap::new(),
                readers: Vec::new(),
                prepared: None,
            });
        }
        let total = plan.block_count();
        Self {
            stages,
            ready,
            delivered: VecDeque::new(),
            done: 0,
            total,
            read_bytes: 0,
            failed: None,
            cancelled: false,
        }
    }

    fn over(&self) -> bool {
        self.cancelled || self.failed.is_some() || self.done == self.total
    }

    /// The next block to run: what ends something before what begins something.
    fn next(&mut self) -> Option<(usize, u64)> {
        if let Some((stage, block)) = self.ready.pop() {
            return Some((stage as usize, block.0));
        }
        for (number, stage) in self.stages.iter_mut().enumerate() {
            if let Some(cursor) = &mut stage.cursor
                && *cursor < stage.count
            {
                *cursor += 1;
                return Some((number, *cursor - 1));
            }
        }
        None
    }
}

impl Run {
    fn work(&self, thread: usize) {
        loop {
            let (stage, block, inputs) = {
                let mut state = lock(&self.state);
                let (stage, block) = loop {
                    if state.over() {
                        return;
                    }
                    if let Some(next) = state.next() {
                        break next;
                    }
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                };
                match self.inputs(&state, stage, block) {
                    Ok(inputs) => (stage, block, inputs),
                    Err(error) => {
                        self.fail(&mut state, stage, block, thread, error);
                        return;
                    }
                }
            };
            let result = self.attempt(stage, block, inputs);
            let read_bytes = nuna_plan::meter::take_read_bytes();
            let mut state = lock(&self.state);
            state.read_bytes += read_bytes;
            match result {
                Ok(value) => self.finish(&mut state, stage, block, value),
                Err(error) => self.fail(&mut state, stage, block, thread, error),
            }
        }
    }

    fn inputs(&self, state: &State, stage: usize, block: u64) -> Result<Vec<Vec<Value>>, TaskError> {
        let stage = &self.plan.stages[stage];
        let mut inputs = Vec::with_capacity(stage.inputs.len());
        for input in &stage.inputs {
            let blocks = input.map.read_indices(&stage.grid, block);
            inputs.push(match input.source {
                Source::Stage(source) => {
                    let values = &state.stages[source as usize].values;
                    blocks
                        .iter()
                        .map(|b| values.get(b).expect("a block is ready once its inputs are there").0.clone())
                        .collect()
                }
                Source::Held(id) => {
                    let held = lock(&self.held);
                    let missing = || {
                        TaskError::fatal(format!(
                            "persisted blocks {} were released while they were read",
                            id.0
                        ))
                    };
                    let values = held.stages.get(&id).ok_or_else(missing)?;
                    blocks
                        .iter()
                        .map(|b| values.get(b).cloned().ok_or_else(missing))
                        .collect::<Result<_, _>>()?
                }
            });
        }
        Ok(inputs)
    }

    fn attempt(&self, number: usize, block: u64, inputs: Vec<Vec<Value>>) -> Result<Value, TaskError> {
        let stage = &self.plan.stages[number];
        let prepared = self.prepared(number)?;
        let mut attempt = 0;
        loop {
            let run = catch_unwind(AssertUnwindSafe(|| prepared.run(block, inputs.clone())));
            match run.unwrap_or_else(|panic| {
                Err(TaskError::fatal(format!("panicked: {}", panic_message(panic.as_ref()))))
            }) {
                Err(error) if error.retryable && attempt < stage.retries => attempt += 1,
                result => return result,
            }
        }
    }

    fn prepared(&self, number: usize) -> Opened {
        if let Some(opened) = &lock(&self.state).stages[number].prepared {
            return opened.clone();
        }
        let stage = &self.plan.stages[number];
        let executor: Arc<dyn Executor> = match stage.work.kind {
            WorkKind::Array => executor(),
            WorkKind::Call => nuna_ship::executor(),
        };
        // Two threads may open the stage at once; the first to come back is kept.
        let opened = catch_unwind(AssertUnwindSafe(|| executor.prepare(stage)))
            .unwrap_or_else(|panic| {
                Err(TaskError::fatal(format!("panicked while opening: {}", panic_message(panic.as_ref()))))
            })
            .map(Arc::from);
        lock(&self.state).stages[number].prepared.get_or_insert(opened).clone()
    }

    fn finish(&self, state: &mut State, number: usize, block: u64, value: Value) {
        let stage = &self.plan.stages[number];
        // What this block read may not be needed any more.
        for input in &stage.inputs {
            if let Source::Stage(source) = input.source {
                for read in input.map.read_indices(&stage.grid, block) {
                    let values = &mut state.stages[source as usize].values;
                    if let Some((_, readers)) = values.get_mut(&read) {
                        *readers -= 1;
                        if *readers == 0 {
                            values.remove(&read);
                        }
                    }
                }
            }
        }
        let mut reads = 0;
        for (reader, input) in state.stages[number].readers.clone() {
            let reading = &self.plan.stages[reader];
            for waiting in reading.inputs[input].map.reader_indices(&reading.grid, block) {
                reads += 1;
                let unmet = &mut state.stages[reader].unmet[waiting as usize];
                *unmet -= 1;
                if *unmet == 0 {
                    state.ready.push((reader as u32, std::cmp::Reverse(waiting)));
                }
            }
        }
        if reads > 0 {
            state.stages[number].values.insert(block, (value.clone(), reads));
        }
        match stage.keep {
            Keep::No => {}
            Keep::Deliver => state.delivered.push_back((number as u32, block, value)),
            Keep::Hold(id) => {
                let mut held = lock(&self.held);
                if !held.released.contains(&id) {
                    held.stages.entry(id).or_default().insert(block, value);
                }
            }
        }
        state.done += 1;
        state.stages[number].done += 1;
        self.changed.notify_all();
    }

    fn fail(&self, state: &mut State, number: usize, block: u64, thread: usize, error: TaskError) {
        let stage = &self.plan.stages[number];
        state.failed.get_or_insert(EngineError::Task {
            task: format!("{}[{block}]", stage.name),
            worker: format!("thread {thread} of this process"),
            cell: stage.origin.as_ref().map(|o| o.cell).filter(|&cell| cell > 0),
            message: error.message,
        });
        self.changed.notify_all();
    }
}

struct ThreadRun {
    run: Arc<Run>,
}

impl Running for ThreadRun {
    fn next(&mut self, patience: Duration) -> Result<Finished, EngineError> {
        let deadline = Instant::now() + patience;
        let mut state = lock(&self.run.state);
        loop {
            if let Some(error) = &state.failed {
                return Err(error.clone());
            }
            if let Some((stage, block, value)) = state.delivered.pop_front() {
                return Ok(Finished::Block { stage, block, value });
            }
            if state.cancelled {
                return Err(EngineError::Cancelled);
            }
            if state.done == state.total {
                // Stages without blocks still hold something: nothing.
                for stage in &self.run.plan.stages {
                    if let Keep::Hold(id) = stage.keep {
                        let mut held = lock(&self.run.held);
                        if !held.released.contains(&id) {
                            held.stages.entry(id).or_default();
                        }
                    }
                }
                return Ok(Finished::End);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Finished::Waiting { done: state.done, total: state.total });
            }
            state = self.run.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn progress(&self) -> Progress {
        let state = lock(&self.run.state);
        let stages = state.stages.iter().map(|stage| stage.done).collect();
        Progress { done: state.done, total: state.total, stages, read_bytes: state.read_bytes }
    }

    fn cancel(&mut self) {
        lock(&self.run.state).cancelled = true;
        self.run.changed.notify_all();
    }
}

impl Drop for ThreadRun {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// A poisoned lock only means that some block panicked; the state is changed in whole steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .unwrap_or_else(|| "with a value that is no text".to_owned())
}

#[cfg(test)]
mod tests {
    use nuna_plan::PlanError;

    use super::*;

    #[test]
    fn a_plan_without_stages_is_refused() {
        let plan = Plan { label: "nothing".to_owned(), stages: Vec::new(), terms: Default::default() };
        let error = ThreadEngine::new(1).submit(plan).err().unwrap();
        assert_eq!(error, EngineError::Plan(PlanError::Empty { plan: "nothing".to_owned() }));
    }
}
