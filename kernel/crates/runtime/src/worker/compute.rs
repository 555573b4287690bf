//! Owns the compute threads: they take groups of blocks, run them one by one, catch panics, and leave the results
//! where the driver finds them in batches.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use nuna_plan::{Keep, Prepared, TaskError, Value};
use nuna_wire::message::StageDefinition;
use nuna_worker::Block;
use tokio::sync::Notify;

use super::{memory::Memory, pinning, store::Store};
use crate::executors::Executors;

/// Values up to this size travel to the client with the news that they are there.
const INLINE_BYTES_MAX: u64 = 64 << 10;
/// Results wait no longer than this for others to travel with.
const REPORT_INTERVAL: Duration = Duration::from_millis(2);

/// A stage on this worker.
pub(crate) struct StageRun {
    /// Without the payload.
    pub(crate) definition: StageDefinition,
    /// Until it is prepared.
    payload: Mutex<Vec<u8>>,
    prepared: OnceLock<Result<Box<dyn Prepared>, TaskError>>,
    pub(crate) dropped: AtomicBool,
    /// Why a library it needs cannot be used.
    library_error: Option<String>,
}

impl StageRun {
    pub(crate) fn new(definition: StageDefinition, payload: Vec<u8>, library_error: Option<String>) -> Self {
        let (payload, prepared, dropped) = (Mutex::new(payload), OnceLock::new(), AtomicBool::new(false));
        Self { definition, payload, prepared, dropped, library_error }
    }

    fn prepared(&self, executors: &Executors) -> Result<&dyn Prepared, TaskError> {
        let prepared = self.prepared.get_or_init(|| {
            if let Some(message) = &self.library_error {
                return Err(TaskError::fatal(message.clone()));
            }
            let mut stage = self.definition.stage.clone();
            stage.work.payload = std::mem::take(&mut lock(&self.payload));
            let prepare = || executors.of(stage.work.kind).prepare(&stage);
            nuna_ship::panics::catch(prepare).unwrap_or_else(|panic| {
                Err(TaskError::fatal(format!("{panic} (while the stage was prepared)")))
            })
        });
        prepared.as_deref().map_err(Clone::clone)
    }
}

/// How a block ended.
pub(crate) enum Ended {
    /// `inline` holds the value if it is to travel along; `kept` says whether it is in the store.
    Value {
        bytes: u64,
        kept: bool,
        inline: Option<Value>,
    },
    Failed(TaskError),
    /// An input was not in the store.
    InputGone(Block),
    /// Its stage was dropped first.
    Skipped,
}

pub(crate) struct Done {
    pub(crate) block: Block,
    pub(crate) thread: u16,
    pub(crate) start_us: u64,
    pub(crate) duration_us: u32,
    pub(crate) read_bytes: u64,
    pub(crate) ended: Ended,
}

struct Job {
    stage: Arc<StageRun>,
    start: u64,
    end: u64,
}

/// The threads' common state.
pub(crate) struct Pool {
    jobs: Mutex<VecDeque<Job>>,
    work: Condvar,
    done: Mutex<Vec<Done>>,
    /// Wakes the driver when something is done.
    pub(crate) news: Notify,
    pub(crate) busy: AtomicU16,
    stopped: AtomicBool,
    store: Arc<Store>,
    memory: Arc<Memory>,
    executors: Executors,
    /// The zero of all task times.
    epoch: Instant,
}

impl Pool {
    /// Starts `threads` threads, each on its cores if `places` has any.
    ///
    /// # Errors
    /// If the system has no threads left.
    pub(crate) fn start(
        threads: u16,
        places: Vec<BTreeSet<usize>>,
        store: Arc<Store>,
        executors: Executors,
        epoch: Instant,
        memory: Arc<Memory>,
    ) -> std::io::Result<Arc<Self>> {
        let pool = Arc::new(Self {
            jobs: Mutex::default(),
            work: Condvar::new(),
            done: Mutex::default(),
            news: Notify::new(),
            busy: AtomicU16::new(0),
            stopped: AtomicBool::new(false),
            store,
            memory,
            executors,
            epoch,
        });
        for thread in 0..threads {
            let pool = pool.clone();
            let place = places.get(usize::from(thread)).cloned();
            std::thread::Builder::new()
                .name(format!("compute-{thread}"))
                .stack_size(8 << 20)
                .spawn(move || {
                    if let Some(Err(error)) = place.map(|place| pinning::bind(&place)) {
                        tracing::warn!(thread, %error, "a compute thread cannot be bound to its cores, and runs anywhere");
                    }
                    pool.run(thread);
                })?;
        }
        Ok(pool)
    }

    pub(crate) fn push(&self, stage: Arc<StageRun>, start: u64, end: u64) {
        lock(&self.jobs).push_back(Job { stage, start, end });
        self.work.notify_one();
    }

    pub(crate) fn take_done(&self) -> Vec<Done> {
        std::mem::take(&mut lock(&self.done))
    }

    /// Threads end after the block they are at.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.work.notify_all();
    }

    fn run(&self, thread: u16) {
        loop {
            let mut jobs = lock(&self.jobs);
            let job = loop {
                if self.stopped.load(Ordering::Relaxed) {
                    return;
                }
                match jobs.pop_front() {
                    Some(job) => break job,
                    None => jobs = self.work.wait(jobs).unwrap_or_else(PoisonError::into_inner),
                }
            };
            drop(jobs);
            self.busy.fetch_add(1, Ordering::Relaxed);
            self.run_job(thread, &job);
            self.busy.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn run_job(&self, thread: u16, job: &Job) {
        let mut done = Vec::with_capacity((job.end - job.start) as usize);
        let mut start = Instant::now();
        let mut reported = start;
        for number in job.start..job.end {
            let block = (job.stage.definition.key, number);
            let ended = self.run_block(&job.stage, block);
            self.memory.keep();
            let end = Instant::now();
            let elapsed = end - start;
            done.push(Done {
                block,
                thread,
                start_us: (start - self.epoch).as_micros() as u64,
                duration_us: elapsed.as_micros().min(u128::from(u32::MAX)) as u32,
                read_bytes: nuna_plan::meter::take_read_bytes(),
                ended,
            });
            start = end;
            if end - reported >= REPORT_INTERVAL {
                self.report(&mut done);
                reported = end;
            }
        }
        self.report(&mut done);
    }

    fn report(&self, done: &mut Vec<Done>) {
        if !done.is_empty() {
            lock(&self.done).append(done);
            self.news.notify_one();
        }
    }

    fn run_block(&self, run: &StageRun, block: Block) -> Ended {
        if run.dropped.load(Ordering::Relaxed) {
            return Ended::Skipped;
        }
        let prepared = match run.prepared(&self.executors) {
            Ok(prepared) => prepared,
            Err(error) => return Ended::Failed(error),
        };
        let definition = &run.definition;
        let mut inputs = Vec::with_capacity(definition.inputs.len());
        for (input, &source) in definition.stage.inputs.iter().zip(&definition.inputs) {
            let reads = input.map.read_indices(&definition.stage.grid, block.1);
            let mut values = Vec::with_capacity(reads.len());
            for read in reads {
                match self.store.get((source, read)) {
                    Some(value) => values.push(value),
                    None => return Ended::InputGone((source, read)),
                }
            }
            inputs.push(values);
        }
        let result = nuna_ship::panics::catch(|| prepared.run(block.1, inputs));
        let value = match result {
            Ok(Ok(value)) => value,
            Ok(Err(error)) => return Ended::Failed(error),
            Err(panic) => return Ended::Failed(TaskError::fatal(panic.to_string())),
        };
        let bytes = value.byte_count();
        let deliver = matches!(definition.stage.keep, Keep::Deliver);
        let inline = deliver && bytes <= INLINE_BYTES_MAX;
        let kept = definition.retain || (deliver && !inline);
        if kept {
            self.store.insert(block, value.clone());
        }
        Ended::Value { bytes, kept, inline: inline.then_some(value) }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
