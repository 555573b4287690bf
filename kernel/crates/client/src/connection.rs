//! Owns the client's thread: one connection to the scheduler, and fetches of large values from the workers.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{Arc, Condvar, Mutex, MutexGuard, mpsc},
    time::Duration,
};

use bytes::Bytes;
use nuna_plan::{EngineError, Value};
use nuna_wire::{
    ConnectError, Connection, Connector, Fetcher, Outbox, Party, Payload, StageKey, WorkerId,
    connection::Reader,
    frame::unpack,
    message::{ClusterInfo, FromClient, Role, RoleAnswer, ToClient, Told},
    outbox,
};
use tokio::time::{interval, timeout};

use crate::lock;

/// What may wait to be sent: libraries and plans.
const OUTBOX_BYTES_MAX: u64 = 4 << 30;
const HEARTBEAT: Duration = Duration::from_secs(2);
/// The scheduler shows itself every second; after so long without it is given up.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What a running plan hears.
pub(crate) enum Update {
    Blocks { stage: u32, values: Vec<(u64, Value)> },
    Progress { done: u64, total: u64, stages: Vec<u64>, read_bytes: u64 },
    End { read_bytes: u64 },
    Failed(EngineError),
}

/// Who waits for a plan's results.
struct Listener {
    sender: mpsc::Sender<Update>,
    /// Blocks that were fetched and passed on. A block is offered again if its worker is lost before the scheduler has
    /// heard that it is here.
    fetched: HashSet<(u32, u64)>,
}

/// What the thread and the callers share.
pub(crate) struct Shared {
    pub(crate) name: String,
    info: Mutex<ClusterInfo>,
    /// With `info`: something was heard of the cluster, or the connection was lost.
    pub(crate) changed: Condvar,
    plans: Mutex<HashMap<u32, Listener>>,
    /// Who waits for the answer to a request.
    asked: Mutex<HashMap<u32, mpsc::Sender<Told>>>,
    lost: Mutex<Option<EngineError>>,
}

impl Shared {
    pub(crate) fn info(&self) -> MutexGuard<'_, ClusterInfo> {
        lock(&self.info)
    }

    pub(crate) fn lost(&self) -> Option<EngineError> {
        lock(&self.lost).clone()
    }

    pub(crate) fn open(&self, submission: u32, sender: mpsc::Sender<Update>) {
        lock(&self.plans).insert(submission, Listener { sender, fetched: HashSet::new() });
        // The connection may have ended since the caller looked.
        if let Some(error) = self.lost() {
            self.lose(error);
        }
    }

    pub(crate) fn await_answer(&self, request: u32, sender: mpsc::Sender<Told>) {
        lock(&self.asked).insert(request, sender);
    }

    pub(crate) fn forget_answer(&self, request: u32) {
        lock(&self.asked).remove(&request);
    }

    pub(crate) fn close(&self, submission: u32) {
        lock(&self.plans).remove(&submission);
    }

    /// False if nobody waits for that plan any more: it is being cancelled.
    fn tell(&self, submission: u32, update: Update) -> bool {
        lock(&self.plans).get(&submission).is_some_and(|listener| listener.sender.send(update).is_ok())
    }

    /// Passes on a fetched value, unless that was done before.
    fn tell_fetched(&self, submission: u32, stage: u32, block: u64, value: Value) {
        if let Some(listener) = lock(&self.plans).get_mut(&submission)
            && listener.fetched.insert((stage, block))
        {
            let _ = listener.sender.send(Update::Blocks { stage, values: vec![(block, value)] });
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

type Up = (u32, Arc<Shared>, Outbox<FromClient>);

/// Connects, says so to `up`, and serves the connection until it ends.
pub(crate) fn run(
    name: String,
    address: SocketAddr,
    connector: Connector,
    up: &mpsc::Sender<Result<Up, String>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(up.send(Err(error.to_string()))),
    };
    runtime.block_on(async {
        let (id, info, connection) = match connect(&connector, address).await {
            Ok(connected) => connected,
            Err(error) => return drop(up.send(Err(error.to_string()))),
        };
        let shared = Arc::new(Shared {
            name,
            info: Mutex::new(info),
            changed: Condvar::new(),
            plans: Mutex::default(),
            asked: Mutex::default(),
            lost: Mutex::default(),
        });
        let (outbox, outgoing) = outbox::<FromClient>(OUTBOX_BYTES_MAX);
        let weak = outbox.downgrade();
        if up.send(Ok((id, shared.clone(), outbox))).is_err() {
            return;
        }
        let Connection { mut reader, mut writer } = connection;
        let beat = async {
            let mut beats = interval(HEARTBEAT);
            loop {
                beats.tick().await;
                // Gone with the last client and running plan: the writer then closes the connection.
                let Some(outbox) = weak.upgrade() else { return std::future::pending().await };
                let _ = outbox.send(FromClient::Heartbeat, Payload::new());
            }
        };
        let fetcher = Arc::new(Fetcher::new(connector));
        let reason = tokio::select! {
            written = outgoing.write_to(&mut writer) => match written {
                Ok(()) => "it was closed by this process".to_owned(),
                Err(error) => error.to_string(),
            },
            reason = read(&mut reader, &shared, &weak, &fetcher) => reason,
            () = beat => String::new(),
        };
        shared.lose(EngineError::Lost { engine: format!("cluster {}", shared.name), message: reason });
    });
}

async fn connect(
    connector: &Connector,
    address: SocketAddr,
) -> Result<(u32, ClusterInfo, Connection), ConnectError> {
    let role = Role::Client { name: format!("process {}", std::process::id()) };
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
            let bytes = values.iter().map(Value::byte_count).sum();
            let update = Update::Blocks { stage, values: blocks.into_iter().zip(values).collect() };
            if !shared.tell(submission, update)
                && let Some(outbox) = outbox.upgrade()
            {
                // Nobody will take them, and the scheduler counts what was not taken.
                let _ = outbox.send(FromClient::Consumed { bytes }, Payload::new());
            }
        }
        ToClient::Available { submission, stage, key, block, bytes: _, worker, address } => {
            let (shared, outbox, fetcher) = (shared.clone(), outbox.clone(), fetcher.clone());
            tokio::spawn(async move {
                let message = match fetch(&fetcher, address, key, block, worker).await {
                    Some(value) => {
                        shared.tell_fetched(submission, stage, block, value);
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
            // Nobody waits any more: the program was interrupted.
            if let Some(sender) = lock(&shared.asked).remove(&request) {
                let _ = sender.send(told);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_is_offered_twice_is_passed_on_once() {
        let shared = Shared {
            name: "test".into(),
            info: Mutex::default(),
            changed: Condvar::new(),
            plans: Mutex::default(),
            asked: Mutex::default(),
            lost: Mutex::default(),
        };
        let (sender, updates) = mpsc::channel();
        shared.open(1, sender);
        shared.tell_fetched(1, 0, 5, Value::default());
        shared.tell_fetched(1, 0, 5, Value::default());
        shared.tell_fetched(1, 1, 5, Value::default());
        shared.close(1);
        assert_eq!(updates.iter().count(), 2, "of two stages, each once");
    }
}
