//! Owns the scheduler's interface: what may happen, and what is to be done about it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use nuna_plan::{HeldId, Plan, TaskError, Value};
use nuna_wire::{
    ClientId, StageKey, WorkerId,
    message::{Ask, ClientReturn, Completed, Sample, ToClient, ToWorker, WorkerHello, WorkerReturn},
};

use crate::journal::Record;

/// What can be tuned. The defaults suit a cluster in one building.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A worker or client that was silent for so long is given up.
    pub silence_max: Duration,
    /// A computation fails once there has been no worker at all for so long.
    pub no_worker_patience: Duration,
    /// How much work a worker has at hand, per thread. Longer hides latency, shorter balances better.
    pub lease_target: Duration,
    /// Bytes delivered to a client that it has not taken; its stages are withheld above that.
    pub client_window_bytes: u64,
    /// A block that has taken so many workers with it is not tried again.
    pub losses_max: u32,
    /// A block that so many workers had to break off because their jobs ended is not tried again.
    pub cut_short_max: u32,
    /// What there is once for all workers, such as licences.
    pub shared: BTreeMap<String, u32>,
    /// How often clients hear how far their computations are.
    pub progress_interval: Duration,
    /// How long a scheduler that takes the place of a lost one waits for the workers it had.
    pub workers_return_max: Duration,
    /// The same for clients, whose computations end if they do not return.
    pub clients_return_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            silence_max: Duration::from_secs(30),
            no_worker_patience: Duration::from_secs(60),
            lease_target: Duration::from_millis(50),
            client_window_bytes: 256 << 20,
            losses_max: 3,
            cut_short_max: 10,
            shared: BTreeMap::new(),
            progress_interval: Duration::from_millis(100),
            workers_return_max: Duration::from_secs(10),
            clients_return_max: Duration::from_secs(20),
        }
    }
}

#[derive(Clone, Debug)]
pub enum Event {
    ClientJoined(ClientId),
    /// Its connection ended; what it had running is cancelled, what it held and did not publish is freed.
    ClientLeft(ClientId),
    ClientHeard(ClientId),
    /// It was connected to a scheduler that was lost, and is back.
    ClientReturned {
        client: ClientId,
        state: ClientReturn,
    },
    Submit {
        client: ClientId,
        submission: u32,
        plan: Box<Plan>,
    },
    Cancel {
        client: ClientId,
        submission: u32,
    },
    /// The client has one use less for it.
    Release {
        client: ClientId,
        held: HeldId,
    },
    Ask {
        client: ClientId,
        request: u32,
        ask: Ask,
    },
    Received {
        client: ClientId,
        submission: u32,
        stage: u32,
        blocks: Vec<u64>,
    },
    Missing {
        client: ClientId,
        submission: u32,
        stage: u32,
        block: u64,
        worker: WorkerId,
    },
    Consumed {
        client: ClientId,
        bytes: u64,
    },
    WorkerJoined {
        worker: WorkerId,
        hello: WorkerHello,
    },
    /// Its connection ended, whoever ended it.
    WorkerLeft(WorkerId),
    WorkerHeard(WorkerId),
    /// It was connected to a scheduler that was lost, and is back. Only while [`crate::Scheduler::awaits_return`].
    WorkerReturned {
        worker: WorkerId,
        hello: WorkerHello,
        state: WorkerReturn,
    },
    Sample {
        worker: WorkerId,
        sample: Sample,
    },
    /// Blocks of one stage, each with its value if that was small enough to travel along.
    Completed {
        worker: WorkerId,
        stage: StageKey,
        blocks: Vec<(Completed, Option<Value>)>,
    },
    Failed {
        worker: WorkerId,
        stage: StageKey,
        block: u64,
        error: TaskError,
    },
    InputMissing {
        worker: WorkerId,
        stage: StageKey,
        block: u64,
        input: StageKey,
        input_block: u64,
        holder: WorkerId,
    },
    /// It failed to fetch anything from a peer, whose connection it could not use.
    Unreachable {
        worker: WorkerId,
        holder: WorkerId,
        error: String,
    },
    Reclaimed {
        worker: WorkerId,
        stage: StageKey,
        runs: Vec<(u64, u64)>,
    },
    /// Values that it was to take over from one that leaves are with it.
    Adopted {
        worker: WorkerId,
        stage: StageKey,
        runs: Vec<(u64, u64)>,
    },
    /// They are not, and will not be.
    NotAdopted {
        worker: WorkerId,
        stage: StageKey,
        runs: Vec<(u64, u64)>,
    },
    /// It will begin to drain then.
    WorkerLasts {
        worker: WorkerId,
        until: Instant,
    },
    /// It takes no more blocks; once nothing is left with it that is awaited, it may go.
    Draining {
        worker: WorkerId,
    },
    /// It is to leave, though nothing is wrong with it.
    Retire {
        worker: WorkerId,
    },
    /// So many workers will come if nothing goes wrong; and what is wrong.
    Coming {
        workers: u32,
        trouble: Option<String>,
    },
    /// The deadline has come.
    Tick,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    ToWorker {
        worker: WorkerId,
        message: ToWorker,
    },
    ToClient {
        client: ClientId,
        message: ToClient,
    },
    /// Values that travelled with their completion, on to the client.
    Deliver {
        client: ClientId,
        submission: u32,
        stage: u32,
        values: Vec<(u64, Value)>,
    },
    DisconnectWorker {
        worker: WorkerId,
        reason: String,
    },
    /// A worker that was to leave has nothing left to do, and may end.
    Dismiss {
        worker: WorkerId,
    },
    DisconnectClient {
        client: ClientId,
        reason: String,
    },
    /// For whoever watches.
    Note(Note),
    /// Not to be forgotten if this process is lost.
    Journal(Record),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    ComputationStarted { computation: u32, label: String },
    StageStarted { computation: u32, stage: StageKey, name: String, blocks: u64 },
    ComputationFinished { computation: u32, outcome: Outcome },
    Dismissed { worker: WorkerId, reason: String },
    Failure { stage: StageKey, block: u64, worker: WorkerId, message: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Failed,
    Cancelled,
}
