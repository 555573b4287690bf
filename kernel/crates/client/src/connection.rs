//! Owns the client's thread: one connection to the scheduler, and fetches of large values from the workers.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use bytes::Bytes;
use nuna_plan::{EngineError, LibraryId, Plan, Value};
use nuna_wire::{
    ConnectError, Connection, Connector, Fetcher, Outbox, Outgoing, Party, Payload, Search, StageKey,
    WorkerId,
    connection::Reader,
    message::{Ask, ClientReturn, ClusterInfo, FromClient, Role, RoleAnswer, ToClient, Told},
    outbox,
    payload::unpack,
};
use tokio::time::{interval, timeout};

use crate::{
    awaited::{Holds, Listener, Question},
    lock,
};

/// What may wait to be sent: libraries and plans.
const OUTBOX_BYTES_MAX: u64 = 4 << 30;
const HEARTBEAT: Duration = Duration::from_secs(2);
/// The scheduler hears of values taken in steps of so many bytes, or with the next heartbeat: a small part of what it
/// lets wait for one client. A message for each small result would wake both processes for nothing.
const CONSUMED_STEP: u64 = 1 << 20;
/// The scheduler shows itself every second; after so long without it is given up.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What a running plan hears.
pub(crate) enum Update {
    Blocks { stage: u32, values: Vec<(u64, Value)> },
    Progress { done: u64, total: u64, stages: Vec<u64>, read_bytes: u64 },
    End { read_bytes: u64 },
    Failed(EngineError),
}

/// What the thread and the callers share.
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) id: u32,
    /// Held while something is noted here and sent, and while all that is noted here is told to another scheduler: it
    /// is told either way, and not both.
    gate: Mutex<()>,
    info: Mutex<ClusterInfo>,
    /// With `info`: something was heard of the cluster, or the connection was lost.
    pub(crate) changed: Condvar,
    plans: Mutex<HashMap<u32, Listener>>,
    /// Who waits for the answer to a request.
    asked: Mutex<HashMap<u32, Question>>,
    pub(crate) holds: Mutex<Holds>,
    pub(crate) uploaded: Mutex<HashSet<LibraryId>>,
    /// Bytes of values that were taken, and of which the scheduler has not heard.
    consumed: AtomicU64,
    /// Set while there is no scheduler, and another is searched for.
    away: AtomicBool,
    /// Why no other scheduler will come, if somebody knows that.
    given_up: Mutex<Option<String>>,
    lost: Mutex<Option<EngineError>>,
}

impl Shared {
    pub(crate) fn new(name: String, id: u32, info: ClusterInfo) -> Self {
        Self {
            name,
            id,
            gate: Mutex::default(),
            info: Mutex::new(info),
            changed: Condvar::new(),
            plans: Mutex::default(),
            asked: Mutex::default(),
            holds: Mutex::default(),
            uploaded: Mutex::default(),
            consumed: AtomicU64::new(0),
            away: AtomicBool::new(false),
            given_up: Mutex::default(),
            lost: Mutex::default(),
        }
    }

    pub(crate) fn gate(&self) -> MutexGuard<'_, ()> {
        lock(&self.gate)
    }

    pub(crate) fn info(&self) -> MutexGuard<'_, ClusterInfo> {
        lock(&self.info)
    }

    pub(crate) fn lost(&self) -> Option<EngineError> {
        lock(&self.lost).clone()
    }

    pub(crate) fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    pub(crate) fn give_up(&self, reason: String) {
        lock(&self.given_up).get_or_insert(reason);
    }

    pub(crate) fn open(&self, submission: u32, sender: mpsc::Sender<Update>, plan: Plan) {
        lock(&self.plans).insert(submission, Listener::new(sender, plan));
        // The connection may have ended since the caller looked.
        if let Some(error) = self.lost() {
            self.lose(error);
        }
    }

    pub(crate) fn await_answer(&self, request: u32, sender: mpsc::Sender<Told>, ask: Ask) {
        lock(&self.asked).insert(request, Question { sender, ask, again: false });
    }

    pub(crate) fn forget_answer(&self, request: u32) {
        lock(&self.asked).remove(&request);
    }

    pub(crate) fn close(&self, submission: u32) {
        lock(&self.plans).remove(&submission);
    }

    fn tell(&self, submission: u32, update: Update) {
        if let Some(listener) = lock(&self.plans).get(&submission) {
            // Nobody waits for that plan any more: it is being cancelled.
            let _ = listener.sender.send(update);
        }
    }

    /// Passes values on, each once; gives the bytes of those that nobody will take.
    fn pass_on(&self, submission: u32, stage: u32, values: Vec<(u64, Value)>) -> u64 {
        match lock(&self.plans).get_mut(&submission) {
            Some(listener) => listener.pass_on(stage, values),
            None => values.iter().map(|(_, value)| value.byte_count()).sum(),
        }
    }

    /// Values were taken, or nobody will take them: they no longer count against this client.
    pub(crate) fn consume(&self, bytes: u64, outbox: &Outbox<FromClient>) {
        if self.consumed.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) >= CONSUMED_STEP {
            self.say_consumed(outbox);
        }
    }

    fn say_consumed(&self, outbox: &Outbox<FromClient>) {
        let bytes = self.consumed.swap(0, Ordering::Relaxed);
        if bytes > 0 {
            // If the connection is gone, so is the account.
            let _ = outbox.send(FromClient::Consumed { bytes }, Payload::new());
        }
    }

    /// Adds the libraries that `plan` needs and the scheduler does not have.
    pub(crate) fn upload(&self, plan: &Plan, outbox: &Outbox<FromClient>) -> Result<(), EngineError> {
        let wanted = plan.stages.iter().flat_map(|stage| &stage.work.libraries);
        let mut uploaded = lock(&self.uploaded);
        for &id in wanted {
            if uploaded.contains(&id) {
                continue;
            }
            let bytes = nuna_ship::libraries::bytes(id).ok_or_else(|| {
                EngineError::Refused(format!(
                    "the code of this computation is in library {id:?}, which this process has not loaded"
                ))
            })?;
            let sent = outbox.send(FromClient::Library(id), Payload::raw(bytes));
            sent.map_err(|error| self.unsent(&error.to_string()))?;
            uploaded.insert(id);
        }
        Ok(())
    }

    /// Why something could not be sent.
    pub(crate) fn unsent(&self, error: &str) -> EngineError {
        self.lost().unwrap_or_else(|| self.loss(error.to_owned()))
    }

    fn loss(&self, message: String) -> EngineError {
        EngineError::Lost { engine: format!("cluster {}", self.name), message }
    }

    /// Tells a scheduler that takes the place of a lost one everything, before anything else is said.
    fn say_what_is_awaited(&self, outgoing: &mut Outgoing<FromClient>, outbox: &Outbox<FromClient>) {
        let _gate = self.gate();
        // What was to be said to the lost one follows from what is noted here, but for this.
        let waiting = outgoing.take_waiting();
        let orders = waiting
            .into_iter()
            .filter(|(message, _)| matches!(message, FromClient::Scale { .. } | FromClient::ShutDown));
        lock(&self.uploaded).clear();
        // It begins a new account.
        self.consumed.store(0, Ordering::Relaxed);
        let plans = lock(&self.plans);
        let state = ClientReturn {
            held: lock(&self.holds).all(),
            submissions: plans.iter().map(|(&number, listener)| listener.returning(number)).collect(),
        };
        drop(plans);
        let _ = outbox.send(FromClient::Return(state), Payload::new());
        for (message, payload) in orders {
            let _ = outbox.send(message, payload);
        }
        for (&request, question) in lock(&self.asked).iter_mut() {
            question.again = true;
            let _ = outbox.send(FromClient::Ask { request, ask: question.ask.clone() }, Payload::new());
        }
    }

    /// Submits what the scheduler does not know, if somebody still waits for it.
    fn submit_again(&self, unknown: Vec<u32>, outbox: &Outbox<FromClient>) {
        let _gate = self.gate();
        for submission in unknown {
            let Some(plan) = lock(&self.plans).get(&submission).map(|listener| listener.plan.clone()) else {
                continue;
            };
            let sent = self.upload(&plan, outbox).and_then(|()| {
                let message = FromClient::Submit { submission, plan: Box::new(plan) };
                outbox.send(message, Payload::new()).map_err(|error| self.unsent(&error.to_string()))
            });
            if let Err(error) = sent {
                self.tell(submission, Update::Failed(error));
                self.close(submission);
            }
        }
    }

    fn lose(&self, error: EngineError) {
        lock(&self.lost).get_or_insert(error.clone());
        for (_, listener) in lock(&self.plans).drain() {
            let _ = listener.sender.send(Update::Failed(error.clone()));
        }
        self.changed.notify_all();
    }
}

type Up = (Arc<Shared>, Outbox<FromClient>);

/// Where the scheduler is, and again if it is lost.
pub(crate) struct Way {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) file: PathBuf,
    pub(crate) connector: Connector,
    pub(crate) patience: Duration,
}

/// Connects, says so to `up`, and serves the connection until it ends for good.
pub(crate) fn run(way: Way, up: &mpsc::Sender<Result<Up, String>>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(up.send(Err(error.to_string()))),
    };
    runtime.block_on(async {
        let (id, info, mut connection) = match connect(&way.connector, way.address).await {
            Ok(connected) => connected,
            Err(error) => return drop(up.send(Err(error.to_string()))),
        };
        let shared = Arc::new(Shared::new(way.name, id, info));
        let (outbox, mut outgoing) = outbox::<FromClient>(OUTBOX_BYTES_MAX);
        let weak = outbox.downgrade();
        if up.send(Ok((shared.clone(), outbox))).is_err() {
            return;
        }
        let fetcher = Arc::new(Fetcher::new(way.connector.clone()));
        let search = Search {
            connector: way.connector,
            address: way.address,
            file: way.file,
            role: Role::ClientAgain { name: own_name(), id },
            patience: way.patience,
        };
        let reason = loop {
            let Some(reason) = serve(connection, &mut outgoing, &shared, &weak, &fetcher).await else {
                break CLOSED.to_owned();
            };
            shared.away.store(true, Ordering::Relaxed);
            tracing::warn!(reason, cluster = shared.name, "the scheduler is lost; another is searched for");
            let stop = || match weak.upgrade() {
                None => Some(CLOSED.to_owned()),
                Some(_) => lock(&shared.given_up).clone(),
            };
            connection = match search.run(stop).await {
                Ok((connection, RoleAnswer::Client { cluster, .. })) => {
                    *shared.info() = cluster;
                    connection
                }
                Ok(_) => break "its scheduler mistook this client for something else".to_owned(),
                Err(message) => break message,
            };
            let Some(outbox) = weak.upgrade() else { break CLOSED.to_owned() };
            shared.say_what_is_awaited(&mut outgoing, &outbox);
            shared.away.store(false, Ordering::Relaxed);
            shared.changed.notify_all();
        };
        shared.lose(shared.loss(reason));
    });
}

const CLOSED: &str = "it was closed by this process";

/// Carries messages in both directions; nothing if this process has ended that, or why it has ended.
async fn serve(
    connection: Connection,
    outgoing: &mut Outgoing<FromClient>,
    shared: &Arc<Shared>,
    weak: &WeakOutbox,
    fetcher: &Arc<Fetcher>,
) -> Option<String> {
    let Connection { mut reader, mut writer, .. } = connection;
    let beat = async {
        let mut beats = interval(HEARTBEAT);
        // The first would come before what must be said first.
        beats.reset();
        loop {
            beats.tick().await;
            // Gone with the last client and running plan: the writer then closes the connection.
            let Some(outbox) = weak.upgrade() else { return std::future::pending().await };
            shared.say_consumed(&outbox);
            let _ = outbox.send(FromClient::Heartbeat, Payload::new());
        }
    };
    tokio::select! {
        written = outgoing.write_to(&mut writer) => written.err().map(|error| error.to_string()),
        reason = read(&mut reader, shared, weak, fetcher) => Some(reason),
        () = beat => None,
    }
}

fn own_name() -> String {
    format!("process {}", std::process::id())
}

async fn connect(
    connector: &Connector,
    address: SocketAddr,
) -> Result<(u32, ClusterInfo, Connection), ConnectError> {
    let role = Role::Client { name: own_name() };
    let (connection, answer) = connector.connect(address, Party::Scheduler, role).await?;
    match answer {
        RoleAnswer::Client { id, cluster } => Ok((id, cluster, connection)),
        RoleAnswer::Worker { .. } | RoleAnswer::Reader | RoleAnswer::Refused { .. } => {
            Err(ConnectError::Refused {
                address: address.to_string(),
                reason: "it mistook this client for something else".into(),
            })
        }
    }
}

type WeakOutbox = nuna_wire::outbox::WeakOutbox<FromClient>;

async fn read(
    reader: &mut Reader,
    shared: &Arc<Shared>,
    outbox: &WeakOutbox,
    fetcher: &Arc<Fetcher>,
) -> String {
    loop {
        match timeout(SILENCE_MAX, reader.read::<ToClient>()).await {
            Err(_) => return format!("it has not been heard of for {} s", SILENCE_MAX.as_secs()),
            Ok(Err(error)) => return error.to_string(),
            Ok(Ok(None)) => return "the scheduler has ended".to_owned(),
            Ok(Ok(Some((message, payload)))) => {
                if let Err(error) = receive(message, &payload, shared, outbox, fetcher) {
                    return error;
                }
            }
        }
    }
}

fn receive(
    message: ToClient,
    payload: &Bytes,
    shared: &Arc<Shared>,
    outbox: &WeakOutbox,
    fetcher: &Arc<Fetcher>,
) -> Result<(), String> {
    match message {
        ToClient::Delivered { submission, stage, blocks, shapes } => {
            let values = unpack(payload, shapes).map_err(|error| error.to_string())?;
            if values.len() != blocks.len() {
                return Err("the scheduler sent other values than it said".into());
            }
            let bytes = shared.pass_on(submission, stage, blocks.into_iter().zip(values).collect());
            if bytes > 0
                && let Some(outbox) = outbox.upgrade()
            {
                // Nobody will take them, and the scheduler counts what was not taken.
                shared.consume(bytes, &outbox);
            }
        }
        ToClient::Available { submission, stage, key, block, bytes: _, worker, address } => {
            let (shared, outbox, fetcher) = (shared.clone(), outbox.clone(), fetcher.clone());
            tokio::spawn(async move {
                let message = match fetch(&fetcher, address, key, block, worker).await {
                    Some(value) => {
                        shared.pass_on(submission, stage, vec![(block, value)]);
                        FromClient::Received { submission, stage, blocks: vec![block] }
                    }
                    None => FromClient::Missing { submission, stage, block, worker },
                };
                if let Some(outbox) = outbox.upgrade() {
                    let _ = outbox.send(message, Payload::new());
                }
            });
        }
        ToClient::Progress { submission, done, total, stages, read_bytes } => {
            shared.tell(submission, Update::Progress { done, total, stages, read_bytes });
        }
        ToClient::Told { request, told } => {
            if let Told::Found { held, .. } = &told {
                lock(&shared.holds).got(held);
            }
            // If nobody waits any more, the program was interrupted.
            if let Some(question) = lock(&shared.asked).remove(&request) {
                let _ = question.sender.send(question.answer(told));
            }
        }
        ToClient::Finished { submission, read_bytes } => {
            shared.tell(submission, Update::End { read_bytes });
            shared.close(submission);
        }
        ToClient::Failed { submission, error } => {
            shared.tell(submission, Update::Failed(error));
            shared.close(submission);
        }
        ToClient::Cluster(info) => {
            *shared.info() = info;
            shared.changed.notify_all();
        }
        ToClient::Returned { unknown } => {
            if let Some(outbox) = outbox.upgrade() {
                shared.submit_again(unknown, &outbox);
            }
        }
        ToClient::Heartbeat => {}
    }
    Ok(())
}

async fn fetch(
    fetcher: &Fetcher,
    address: SocketAddr,
    key: StageKey,
    block: u64,
    worker: WorkerId,
) -> Option<Value> {
    match fetcher.fetch(address, vec![(key, block)]).await {
        Ok(mut values) => values.pop().flatten(),
        Err(error) => {
            tracing::warn!(%error, %worker, "cannot fetch a result; it will be computed again");
            None
        }
    }
}
