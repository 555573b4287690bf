//! Owns the messages. Each direction of each kind of connection has one enum; what carries bytes says so.

use std::net::SocketAddr;

use nuna_plan::{EngineError, HeldId, LibraryId, Plan, Stage, TaskError};
use serde::{Deserialize, Serialize};

use crate::{
    id::{StageKey, WorkerId},
    payload::ValueShape,
};

/// Raised whenever a message changes.
pub const PROTOCOL: u32 = 6;

/// The first frame of every connection, from the side that connected. Its form never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    pub protocol: u32,
    pub build: String,
}

/// The answer to a [`Greeting`], which never changes its form either.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GreetingAnswer {
    Welcome,
    Refused { reason: String },
}

/// The second frame: who has connected, and to do what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    Client {
        name: String,
    },
    Worker(WorkerHello),
    /// Wants values of a worker.
    Reader,
    /// A client whose scheduler was lost, with the number it had there. It says [`FromClient::Return`] first.
    ClientAgain {
        name: String,
        id: u32,
    },
    /// A worker whose scheduler was lost, with the id it had there. It says [`FromWorker::Return`] first.
    WorkerAgain {
        hello: WorkerHello,
        id: WorkerId,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerHello {
    pub name: String,
    pub threads: u16,
    /// For values and running blocks.
    pub memory_bytes: u64,
    /// What its process may take in all, as it was told.
    pub limit_bytes: u64,
    /// Where its peers and the clients fetch values.
    pub data_address: SocketAddr,
    /// Where values go for which there is no memory, each disk once.
    pub disks: Vec<Disk>,
    pub pid: u32,
    /// What tasks may take besides threads and memory: name and amount.
    pub resources: Vec<(String, u32)>,
}

/// The answer to a [`Role`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RoleAnswer {
    Client {
        id: u32,
        cluster: ClusterInfo,
    },
    /// `elapsed_us`: age of the cluster, the zero of all task times.
    Worker {
        id: WorkerId,
        elapsed_us: u64,
    },
    Reader,
    Refused {
        reason: String,
    },
}

/// A local disk as a worker found it when it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// The same for workers that share it.
    pub id: u64,
    /// Free bytes; 0 if it is no disk of this host, but memory or a file server.
    pub free_bytes: u64,
    /// What this worker may put there at most.
    pub limit_bytes: u64,
}

/// What a client may know of its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterInfo {
    pub name: String,
    pub dashboard: String,
    pub workers: Vec<WorkerInfo>,
    /// How the jobs of a batch system stand, if workers are such jobs.
    pub jobs: Option<JobsInfo>,
    /// How often its scheduler was lost, and another process went on with its journal.
    pub restarts: u32,
}

/// Workers that are jobs of a batch system, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobsInfo {
    /// How many workers are wanted: so many at least while there is work, and at most.
    pub least: u32,
    pub most: u32,
    /// Submitted, and not started.
    pub queued: u32,
    /// Started, and without a worker yet.
    pub starting: u32,
    /// Jobs whose worker leaves or has left.
    pub leaving: u32,
    /// Calls of the command that submits, since the cluster began.
    pub submissions: u32,
    /// Those that were accepted.
    pub accepted: u32,
    /// Of those refused, and jobs that ended before their worker was of use.
    pub failures: u32,
    /// Why nothing more is submitted until somebody scales again.
    pub paused: Option<String>,
    /// What is wrong with the batch system at present.
    pub trouble: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerInfo {
    pub id: WorkerId,
    pub name: String,
    pub pid: u32,
    pub threads: u16,
    pub memory_bytes: u64,
    pub used_bytes: u64,
    pub disks: Vec<Disk>,
}

/// `submission` is the client's own number for a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromClient {
    /// The payload is the library.
    Library(LibraryId),
    Submit {
        submission: u32,
        plan: Box<Plan>,
    },
    Cancel {
        submission: u32,
    },
    Release(HeldId),
    /// Blocks named in [`ToClient::Available`] have been fetched.
    Received {
        submission: u32,
        stage: u32,
        blocks: Vec<u64>,
    },
    /// A block named in [`ToClient::Available`] could not be fetched there.
    Missing {
        submission: u32,
        stage: u32,
        block: u64,
        worker: WorkerId,
    },
    /// So many bytes of delivered values have been taken by the program.
    Consumed {
        bytes: u64,
    },
    Heartbeat,
    /// Ends the cluster.
    ShutDown,
    /// So many workers are wanted. Of use only where [`ClusterInfo::jobs`] is there.
    Scale {
        least: u32,
        most: u32,
    },
    /// `request` is the client's own number for what it asks.
    Ask {
        request: u32,
        ask: Ask,
    },
    /// What it has and waits for, to a scheduler that took the place of a lost one.
    Return(ClientReturn),
}

/// No list of those who return has more runs; what is beyond is computed again.
pub const RETURN_RUNS_MAX: usize = 8 << 20;

/// All that a client has of a cluster whose scheduler was lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientReturn {
    /// What it holds, and how many of its arrays read that.
    pub held: Vec<(HeldId, u32)>,
    /// What it waits for. All else that it has submitted is cancelled, or over.
    pub submissions: Vec<ReturningSubmission>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReturningSubmission {
    pub submission: u32,
    /// The blocks that it has, by stage.
    pub received: Vec<(u32, Vec<(u64, u64)>)>,
}

/// What a client asks about published data: results that workers hold under a name, until it is taken away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// Keeps `held`, which the client holds, whatever becomes of the client.
    Publish {
        name: String,
        /// For people, in one line.
        summary: String,
        /// For whoever gets it: what the blocks mean.
        about: Vec<u8>,
        held: Vec<HeldId>,
    },
    /// The client holds what it gets, and releases it as if it had made it.
    Get {
        name: String,
    },
    List,
    Unpublish {
        name: String,
    },
}

/// The answer to an [`Ask`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    Done,
    Found { summary: String, about: Vec<u8>, held: Vec<HeldId> },
    Listed(Vec<Published>),
    Refused(PublishError),
}

/// Published data as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    pub name: String,
    pub summary: String,
    /// As far as workers have it.
    pub bytes: u64,
    pub blocks: u64,
    /// Blocks that workers have; the others were lost with a worker and are being made anew.
    pub blocks_stored: u64,
    /// Why it is of no use any more.
    pub lost: Option<String>,
}

/// Why published data could not be had, or data not be published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum PublishError {
    #[error(
        "`{name}` is published already ({summary}); choose another name, or take it away first: `cluster.unpublish(\"{name}\")?`"
    )]
    Taken { name: String, summary: String },
    #[error("nothing is published as `{name}`{}", if there.is_empty() { ", nor is anything else".to_owned() } else { format!("; there is {}", there.join(", ")) })]
    Unknown { name: String, there: Vec<String> },
    #[error("`{name}` cannot be a name; it must not be empty, and 128 bytes at most")]
    BadName { name: String },
    #[error(
        "`{name}` cannot be published: the cluster does not hold its blocks (any more); compute it again"
    )]
    NotHeld { name: String },
    #[error(
        "`{name}` is lost: {reason}. Take it away with `cluster.unpublish(\"{name}\")?`, and publish it anew"
    )]
    Lost { name: String, reason: String },
    #[error(
        "`{name}` cannot be published: its coordinates and attributes are {bytes} bytes, {limit} at most; drop large coordinates first, or make them variables"
    )]
    TooLarge { name: String, bytes: u64, limit: u64 },
    #[error("`{name}` cannot be published: {limit} names are taken; take some away with `cluster.unpublish`")]
    TooMany { name: String, limit: usize },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToClient {
    /// The payload holds the values.
    Delivered {
        submission: u32,
        stage: u32,
        blocks: Vec<u64>,
        shapes: Vec<ValueShape>,
    },
    /// Values too large to pass through the scheduler wait at a worker.
    Available {
        submission: u32,
        stage: u32,
        key: StageKey,
        block: u64,
        bytes: u64,
        worker: WorkerId,
        address: SocketAddr,
    },
    /// Blocks done, of all stages and of each.
    Progress {
        submission: u32,
        done: u64,
        total: u64,
        stages: Vec<u64>,
        read_bytes: u64,
    },
    Finished {
        submission: u32,
        read_bytes: u64,
    },
    Failed {
        submission: u32,
        error: EngineError,
    },
    Cluster(ClusterInfo),
    Heartbeat,
    Told {
        request: u32,
        told: Told,
    },
    /// To one that has returned, once everything goes on: what it waits for and has to submit again.
    Returned {
        unknown: Vec<u32>,
    },
}

/// What a worker must know of a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageDefinition {
    pub key: StageKey,
    pub stage: Stage,
    /// The stage each input reads, in the order of `stage.inputs`.
    pub inputs: Vec<StageKey>,
    /// Whether values are kept for other stages, or for later plans.
    pub retain: bool,
    /// Blocks of a stage with a higher number run first: those that free memory, and those of plans that waited.
    pub priority: u32,
}

/// A run of blocks of one stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocks {
    pub stage: StageKey,
    pub start: u64,
    pub end: u64,
}

/// Who holds a run of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    pub blocks: Blocks,
    pub worker: WorkerId,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToWorker {
    /// The payload is the library; it comes before the first stage that names it.
    Library(LibraryId),
    /// Addresses of peers; they come before the first lease that names them.
    Peers(Vec<(WorkerId, SocketAddr)>),
    Define(Box<StageDefinition>),
    /// Run these blocks; `inputs` says where those of their inputs are that other workers hold.
    Lease {
        blocks: Blocks,
        inputs: Vec<Located>,
    },
    /// Values that nobody reads any more.
    Forget(Vec<Blocks>),
    /// Fetch these values from `from`, which leaves, and keep them; each has about so many bytes. The definition of their stage
    /// and the address of `from` come before.
    Adopt {
        blocks: Blocks,
        from: WorkerId,
        bytes: u64,
    },
    /// Stages that are over: forget what is left of them, and do not start what has not begun.
    Drop(Vec<StageKey>),
    /// Give back up to `count` blocks that have not begun, latest first.
    Reclaim {
        stage: StageKey,
        count: u64,
    },
    Heartbeat,
    /// Give back what has not begun, finish what has, and say [`FromWorker::Draining`].
    Drain,
    ShutDown,
}

/// A block that was run. Times are microseconds since the cluster began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Completed {
    pub block: u64,
    pub bytes: u64,
    pub start_us: u64,
    pub duration_us: u32,
    pub thread: u16,
    /// Decoded bytes that it read from stores.
    pub read_bytes: u64,
    /// The value travels in this frame's payload.
    pub inline: Option<ValueShape>,
}

/// Something that took a while and was not a completed block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    pub stage: StageKey,
    pub block: u64,
    pub start_us: u64,
    pub duration_us: u32,
    pub kind: SpanKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpanKind {
    Transfer,
    Spill,
}

/// A worker's state of health, sent every second.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    pub managed_bytes: u64,
    pub spilled_bytes: u64,
    pub rss_bytes: u64,
    /// Thousandths of one core.
    pub cpu_permille: u32,
    pub threads_busy: u16,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromWorker {
    /// The payload holds the inline values, in order.
    Completed(Vec<(StageKey, Vec<Completed>)>),
    Failed {
        stage: StageKey,
        block: u64,
        error: TaskError,
    },
    /// An input that was said to be at `worker` could not be fetched there.
    InputMissing {
        stage: StageKey,
        block: u64,
        input: StageKey,
        input_block: u64,
        worker: WorkerId,
    },
    /// The connection to that peer could not be made, or broke.
    Unreachable {
        worker: WorkerId,
        error: String,
    },
    /// In answer to [`ToWorker::Reclaim`], possibly nothing.
    Reclaimed {
        stage: StageKey,
        runs: Vec<(u64, u64)>,
    },
    Spans(Vec<Span>),
    Sample(Sample),
    /// In so long it will begin to drain, because its job ends.
    Lasts {
        ms: u64,
    },
    /// It takes no more blocks and has given back those that had not begun; it wants to leave.
    Draining {
        reason: String,
    },
    /// Values that another worker has handed over are here to stay.
    Adopted {
        stage: StageKey,
        runs: Vec<(u64, u64)>,
    },
    /// They could not be had, or not be kept.
    NotAdopted {
        stage: StageKey,
        runs: Vec<(u64, u64)>,
    },
    /// Will end by itself; what it holds is lost.
    Leaving {
        reason: String,
    },
    /// What it has and does, to a scheduler that took the place of a lost one.
    Return(WorkerReturn),
}

/// All that a worker has of a cluster whose scheduler was lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerReturn {
    /// Stages that it has the definitions of.
    pub stages: Vec<StageKey>,
    /// Values of its own, each run with the bytes of one value on average.
    pub stored: Vec<(Blocks, u64)>,
    /// Stages of other workers' values that it has copies of.
    pub copies: Vec<StageKey>,
    /// Blocks that wait or run here, or whose end it has yet to report.
    pub leased: Vec<Blocks>,
}

/// Asks a worker for values, all that it has of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    pub items: Vec<(StageKey, u64)>,
    /// Whether the other side, on the same host, may describe a value instead of sending it.
    pub shares: bool,
}

/// The answer to [`Fetch`], in the same order; the payload holds the values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    pub shapes: Vec<Option<ValueShape>>,
    /// Bodies that are not in the payload, with the numbers of their values.
    pub shared: Vec<(u32, Shared)>,
}

/// Memory of a process that others of its user and host may map: a sealed file without a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// The file, in the process that says so.
    pub descriptor: i32,
    /// By which it is known again.
    pub inode: u64,
    pub length: u64,
}
